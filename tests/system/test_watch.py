"""Watching a run: the line on a terminal of any width, JSON, SIGUSR1, systemd's socket."""
import fcntl
import json
import os
import pty
import re
import select
import shutil
import signal
import socket
import struct
import subprocess
import termios
import time
import unittest

import context  # noqa: F401
import proc
import qbatch
import strace
from fixture import ImageTest, main

TOOL = qbatch.absolute(qbatch.TOOL)


@unittest.skipUnless(strace.works(), strace.MISSING)
class Watched(ImageTest):
    """Runs that are slowed down: each barrier takes a while."""

    def setUp(self):
        super().setUp()
        self.original = self.create("original", size="4M")
        self.io(self.original, "write -q -P 1 0 64k", "write -q -z 64k 64k")
        self.restore()
        self.fleet = self.manifest("""
            version: 1
            policy: {sync: file}
            limits: {jobs: 1}
            images: [{path: "*.qcow2", compat: "0.10"}]
            """)

    def restore(self):
        for i in range(60):
            shutil.copyfile(self.original, self.path(f"{i:03}.qcow2"))

    def argv(self, *flags, delay="20ms"):
        return strace.command([TOOL, "--io", "posix", "--no-state", *flags, self.fleet], "/dev/null",
                              f"fdatasync:delay_enter={delay}")

    def on_terminal(self, columns, *flags, interrupt=False):
        """(all that was written to it, exit code) of a run with its standard error on a terminal."""
        leader, follower = pty.openpty()
        fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        run = subprocess.Popen(self.argv(*flags), stdout=subprocess.DEVNULL, stderr=follower,
                               env={**strace.environment(), "TERM": "xterm"})
        os.close(follower)
        seen = b""
        while True:
            ready, _, _ = select.select([leader], [], [], 60)
            try:
                part = os.read(leader, 65536) if ready else b""
            except OSError:
                part = b""
            if not part:
                break
            seen += part
            if interrupt and b"images" in seen:
                interrupt = False
                subprocess.run(["pkill", "-INT", "-P", str(run.pid), "-x", "qbatch"], check=False)
        os.close(leader)
        return seen.decode(), run.wait(60)

    def test_no_line_is_longer_than_the_terminal_and_nothing_stays(self):
        for columns in (200, 40, 20):
            with self.subTest(columns=columns):
                self.restore()
                seen, code = self.on_terminal(columns)
                self.assertEqual(code, 0, seen)
                drawn = [line for line in re.split(r"\r|\n|\x1b\[[0-9]*[A-Z]", seen) if line]
                self.assertGreater(len(drawn), 3)
                self.assertLess(max(map(len, drawn)), columns)
                self.assertTrue(seen.endswith("\r\x1b[J"), repr(seen[-40:]))
                self.assertNotIn("100%", seen)
                self.assertIn(" of 60" if columns > 20 else "%", seen)

    def test_ctrl_c_leaves_no_half_line(self):
        seen, code = self.on_terminal(80, interrupt=True)
        self.assertIn(code, (75, 0), seen)
        self.assertTrue(seen.endswith("\r\x1b[J"), repr(seen[-40:]))

    def test_nothing_of_it_elsewhere(self):
        for flags in ([], ["--progress", "none"], ["-q"]):
            done = subprocess.run(self.argv(*flags, delay="1ms"), capture_output=True, text=True,
                                  env=strace.environment(), check=False)
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            self.restore()

    def test_progress_as_json(self):
        done = subprocess.run(self.argv("--progress", "json"), capture_output=True, text=True,
                              env=strace.environment(), check=False)
        lines = [json.loads(line) for line in done.stderr.splitlines()]
        self.assertGreater(len(lines), 1)
        self.assertEqual([line["done"] for line in lines], sorted(line["done"] for line in lines))
        self.assertEqual((lines[-1]["done"], lines[-1]["images"], lines[-1]["share"]), (60, 60, 1))
        self.assertGreater(lines[-1]["written_bytes"], 0)

    def test_sigusr1_tells_where_things_stand(self):
        run = subprocess.Popen(self.argv(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                               env=strace.environment())
        self.wait_for_the_tracee(run)
        sent = subprocess.run(["pkill", "-USR1", "-P", str(run.pid), "-x", "qbatch"], check=False)
        _, err = run.communicate(timeout=60)
        self.assertEqual(run.returncode, 0, err)
        if sent.returncode == 0:
            self.assertRegex(err, r"^qbatch: ([0-9]+ of 60 images are done, 0 failed|no image is in work)\n$")

    def wait_for_the_tracee(self, tracer):
        """Until the program below strace has a handler for the signal, or has ended already."""
        while tracer.poll() is None:
            found = subprocess.run(["pgrep", "-P", str(tracer.pid), "-x", "qbatch"], capture_output=True, text=True,
                                   check=False).stdout.split()
            if found and proc.catches(int(found[0]), signal.SIGUSR1):
                return
            time.sleep(0.01)

    def test_sigusr1_is_answered_before_any_image_is_in_work(self):
        run = subprocess.Popen([TOOL, "--no-state", "-"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True, cwd=self.folder)
        proc.wait_until_it_catches(run, signal.SIGUSR1)
        run.send_signal(signal.SIGUSR1)  # it waits for its manifest
        self.assertEqual(run.stderr.readline(), "qbatch: no image is in work\n")
        with open(self.fleet, encoding="utf-8") as f:
            out, err = run.communicate(f.read(), timeout=proc.TIMEOUT_SECONDS)
        self.assertEqual(run.returncode, 0, out + err)

    def test_systemd_is_told(self):
        for name in (self.path("notify"), f"@qbatch-test-{os.getpid()}"):
            with self.subTest(name), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
                listener.bind("\0" + name[1:] if name[0] == "@" else name)
                listener.settimeout(60)
                self.restore()
                # Read while it runs: what does not fit the socket's short queue is dropped.
                run = subprocess.Popen(self.argv(), stdout=subprocess.DEVNULL,
                                       env={**strace.environment(), "NOTIFY_SOCKET": name})
                told = [listener.recv(4096).decode()]
                while "STOPPING" not in told[-1]:
                    told.append(listener.recv(4096).decode())
                self.assertEqual(run.wait(), 0)
                self.assertEqual(told[0], "READY=1\nSTATUS=0 of 60 images")
                self.assertTrue(any(word.startswith("STATUS=60 of 60 images, 0 failed, 100%, ")
                                    for word in told), told)
                self.assertEqual(told[-1], "STOPPING=1")


class Paced(ImageTest):
    """One image and limits.rate: nearly all of the run is writing."""

    def test_the_share_follows_the_bytes_that_are_written(self):
        fleet = self.manifest("""
            version: 1
            limits: {rate: 2M}
            policy: {sync: file}
            images: [{path: z.qcow2, compat: "0.10", zero_method: write}]
            """)
        image = self.create("z.qcow2", backing=self.create("base.qcow2", size="8M"), size="8M")
        self.io(image, "write -q -z 0 6M")
        done = subprocess.run([TOOL, "--no-state", "--progress", "json", fleet], capture_output=True,
                              text=True, check=False)
        lines = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]  # not what the host lacks
        self.assertEqual(done.returncode, 0, done.stderr)
        shares = [line["share"] for line in lines]
        self.assertEqual(shares, sorted(shares))
        half = [line for line in lines if 0.25 < line["share"] < 0.8]
        self.assertGreater(len(half), 1, shares)
        for line in half:
            self.assertEqual(line["done"], 0)
            self.assertAlmostEqual(line["written_bytes"] / line["planned_bytes"], line["share"], delta=0.1)


if __name__ == "__main__":
    main()
