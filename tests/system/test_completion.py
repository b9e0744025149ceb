"""Completion as a person meets it: interactive bash and zsh on a terminal, a line typed, and TAB."""
import fcntl
import json
import os
import pty
import re
import select
import shutil
import struct
import termios
import time
import unittest

import context  # noqa: F401
import proc
import qbatch
from fixture import ImageTest, main

TOOL = qbatch.absolute(qbatch.TOOL)
TAB, KILL_LINE, SAY = "\t", "\x15", "\x19"  # the last begins no longer sequence: nothing to wait for
BASH = """PS1='> '; bind 'set bell-style none'; bind 'set enable-bracketed-paste off'
bind 'set show-all-if-ambiguous on'; bind 'set completion-query-items 0'; bind 'set page-completions off'
bind -x '"\\C-y": "echo; echo E''ND"'
source completion
"""
ZSH = """PS1='> '; LISTMAX=9999; fpath=($PWD $fpath); autoload -U compinit; compinit -D -u; unsetopt BEEP LIST_AMBIGUOUS
say() { print; print E""ND }; zle -N say; bindkey '^Y' say; bindkey '^U' kill-whole-line
unset zle_bracketed_paste
"""


class Shell:
    """An interactive shell on a pseudo-terminal, in `folder`."""
    GIVE_UP = 120  # seconds without an answer

    def __init__(self, argv, setup, folder, path):
        pid, self.fd = pty.fork()
        if pid == 0:
            os.chdir(folder)
            os.execvpe(argv[0], argv, {"PATH": path, "HOME": folder, "TERM": "dumb", "LC_ALL": "C.UTF-8",
                                       "XDG_STATE_HOME": folder})
        self.pid = pid
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", 100, 240, 0, 0))
        self.ask(setup)

    def ask(self, keys):
        """Types, and then what makes the shell say END: what the terminal showed up to there."""
        os.write(self.fd, keys.encode() + SAY.encode())
        shown, until = b"", time.monotonic() + self.GIVE_UP
        while not re.search(rb"END\r?\n", shown):
            ready = select.select([self.fd], [], [], max(0, until - time.monotonic()))[0]
            if not ready:
                raise AssertionError(f"no answer: {shown!r}")
            shown += os.read(self.fd, 65536)
        text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown.decode(errors="replace"))
        return text.replace("\r", "\n").replace("\a", "")

    def complete(self, line):
        """What TAB adds to the line, or offers."""
        shown = self.ask(line + TAB)
        self.ask(KILL_LINE)
        return shown

    def close(self):
        os.close(self.fd)
        os.waitpid(self.pid, 0)


class Completion:
    """What each of the shells has to know."""
    def setUp(self):
        super().setUp()
        bin_folder = self.path("bin")
        os.mkdir(bin_folder)
        os.symlink(TOOL, os.path.join(bin_folder, "qbatch"))
        self.state = self.path("state")
        self.create("one.qcow2", compat="0.10")
        self.create("two.qcow2")
        for name in ("fleet.yaml", "notes.txt"):
            with open(self.path(name), "w", encoding="utf-8") as f:
                f.write("version: 1\nimages: [{path: one.qcow2, compat: 1.1}]\n")
        self.run = qbatch.qbatch("--json", "--state", self.state, self.path("fleet.yaml")).summary["run"]
        with open(self.path(self.SCRIPT), "w", encoding="utf-8") as f:
            f.write(proc.must([TOOL, "help", "completion", self.NAME]))
        self.shell = Shell(self.ARGV, self.SETUP, self.folder, bin_folder + ":" + os.environ["PATH"])
        self.addCleanup(self.shell.close)
        self.schema = json.loads(proc.must([TOOL, "schema"]))

    def offers(self, line, wanted, not_wanted=()):
        shown = self.shell.complete(line)
        words = re.split(r"[\s=,]+", shown.replace(line.strip(), " "))
        for word in wanted:
            self.assertIn(word, words, f"{line!r} does not offer {word}: {shown!r}")
        for word in not_wanted:
            self.assertNotIn(word, words, f"{line!r} offers {word}: {shown!r}")

    def adds(self, line, whole):
        self.assertIn(whole, self.shell.complete(line))

    def test_every_command_has_something_for_its_operands(self):
        for shell in ("bash", "zsh"):
            done = proc.must([qbatch.absolute(qbatch.TOOL), "help", "completion", shell])
            self.assertNotIn("(null)", done)

    def test_every_amend_key_and_its_words(self):
        keys = {}
        for name, key in self.schema["$defs"]["amend"]["properties"].items():
            if name in ("bitmaps", "snapshots", "reclaim", "convert"):
                for verb, value in key["properties"].items():
                    parts = value.get("items", {}).get("properties")
                    keys.update({f"{name}.{verb}.0.{part}": of for part, of in parts.items()} if parts
                                else {f"{name}.{verb}": value})
            elif name not in ("when", "expect", "after", "backing", "tags"):
                keys[name] = key
        self.offers("qbatch amend -o ", keys)
        self.offers("qbatch --set size=1G,", set(keys) - {"size"})
        self.adds("qbatch amend -o compat=1.1,zero_m", "compat=1.1,zero_method=")
        for name, key in keys.items():
            words = [w for w in key.get("enum", []) if isinstance(w, str)]
            if key.get("$ref", "").endswith("switch"):
                words = ["on", "off"]
            if words:
                self.offers(f"qbatch amend -o size=1G,{name}=", words, ["fleet.yaml", "compat"])
        self.offers("qbatch amend -o backing_fmt=", ["qcow2", "raw"])
        self.adds("qbatch amend -o backing_file=two.q", "backing_file=two.qcow2")

    def test_the_values_of_options_are_their_own(self):
        for between in (" ", "="):
            self.offers("qbatch --progress" + between, ["auto", "json", "none"], ["reflink"])
            self.offers("qbatch --backup" + between, ["none", "reflink"], ["auto", "json"])
            self.offers("qbatch --verify" + between, ["none", "metadata", "content"], ["one.qcow2"])
            self.offers("qbatch --color" + between, ["always", "auto", "never"])
            self.offers("qbatch graph --format" + between, ["tree", "dot", "json"], ["qcow2"])
            self.offers("qbatch --on-leaks" + between, ["keep", "free", "fail"])
        self.offers("qbatch --jobs ", [], ["one.qcow2", "fleet.yaml", "amend"])
        self.offers("qbatch amend -n --io ", ["uring", "posix"])

    def test_the_codes_of_errors_and_of_findings(self):
        self.offers("qbatch explain ", ["no_space", "refcount_too_low", "cluster_leaked"], ["one.qcow2"])

    def test_runs_are_those_of_the_state_folder(self):
        for line in (f"qbatch undo --state {self.state} ", f"qbatch status --state={self.state} ",
                     f"qbatch --state {self.state} --resume=", f"qbatch --state {self.state} --retry-failed="):
            self.offers(line, ["last", self.run], ["fleet.yaml"])
        self.offers("qbatch undo ", [], [self.run])
        self.offers("qbatch backup ", ["list", "restore", "prune"], [self.run])
        self.offers("qbatch backup restore last ", ["one.qcow2"], ["last", "notes.txt"])
        self.offers(f"qbatch backup --state {self.state} list ", ["last", self.run], ["list", "notes.txt"])
        self.offers("qbatch undo last ", ["one.qcow2", "two.qcow2"], ["last", "notes.txt"])

    def test_operands_are_of_the_commands_kind(self):
        self.offers("qbatch ", ["amend", "check", "undo", "fleet.yaml"], ["one.qcow2", "notes.txt"])
        self.offers("qbatch info --manifest ", ["fleet.yaml"], ["one.qcow2", "notes.txt"])
        self.offers("qbatch map ", ["one.qcow2"], ["fleet.yaml", "notes.txt"])
        self.offers("qbatch check ", ["one.qcow2", "two.qcow2"], ["fleet.yaml", "notes.txt"])
        self.offers("qbatch check --manifest ", ["fleet.yaml"], ["one.qcow2", "notes.txt"])
        self.offers("qbatch --dry-run fl", [], ["one.qcow2"])
        self.adds("qbatch lint fl", "fleet.yaml")
        self.offers("qbatch help ", ["keys", "completion", "amend", "size", "on_leaks", "deadline"],
                    ["one.qcow2"])
        self.offers("qbatch help completion ", ["bash", "zsh"])
        self.offers("qbatch help keys ", [], ["bash", "zsh", "one.qcow2"])
        self.offers("qbatch report ", ["show", "merge"], ["fleet.yaml"])
        self.offers("qbatch report show ", ["notes.txt"])
        self.adds("qbatch check no", "notes.txt")  # an image may have any name

    def test_options_are_those_of_the_command(self):
        self.offers("qbatch undo --", ["--discard-undo", "--dry-run"], ["--shrink", "--resume"])
        self.adds("qbatch amend --shr", "--shrink")


class Bash(Completion, ImageTest):
    NAME, SCRIPT, ARGV, SETUP = "bash", "completion", ["bash", "--norc", "--noprofile", "-i"], BASH


@unittest.skipUnless(shutil.which("zsh"), "zsh is not installed")
class Zsh(Completion, ImageTest):
    NAME, SCRIPT, ARGV, SETUP = "zsh", "_qbatch", ["zsh", "-f", "-i"], ZSH


if __name__ == "__main__":
    main()
