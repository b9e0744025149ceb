"""System calls that go wrong: a program under strace, which fails, delays or interrupts some of them.

An injection is what `strace -e inject=` takes, without the call's number: "pwrite64:error=EIO"."""
import os
import re
import shutil
import subprocess
import tempfile

import kernel
import proc

MISSING = "strace is not installed, or may not trace here"
BLIND = "strace is not installed, or may not read the memory of others here"


def works():
    return bool(shutil.which("strace")) and proc.run(["strace", "-o", "/dev/null", "true"]).code == 0


def reads_memory():
    """Whether it shows what a process reads that is not dumpable: that takes CAP_SYS_PTRACE."""
    return works() and kernel.SEES_OTHERS


class Trace:
    """What a program did that ran to its end, and whether the injection came to pass."""

    def __init__(self, result, log):
        self.result, self.log = result, log

    @property
    def hit(self):
        return bool(re.search(r"\(INJECTED\)|--- SIG(?!CHLD)|\+\+\+ killed", self.log))


def command(argv, log, *injections):
    argv = ["strace", "-f", "-qq", "-o", log, "-e",
            "trace=" + ",".join(i.split(":")[0] for i in injections),
            *(word for i in injections for word in ("-e", f"inject={i}")), *map(str, argv)]
    return argv


def environment():
    """The leak checker of a sanitized build cannot work under a tracer."""
    options = os.environ.get("ASAN_OPTIONS", "")
    return {**os.environ, "ASAN_OPTIONS": f"{options}:detect_leaks=0"}


def run(argv, *injections, **kwargs):
    with tempfile.NamedTemporaryFile("r", prefix="qbatch-strace-") as log:
        result = proc.run(command(argv, log.name, *injections), env=environment(), **kwargs)
        return Trace(result, log.read())


def start(argv, *injections):
    """In the background: a Popen with its output captured."""
    return subprocess.Popen(command(argv, "/dev/null", *injections), env=environment(), text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE)
