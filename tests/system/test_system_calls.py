"""Whichever system call fails or is the last one: images are old or amended, and the report says why."""
import ctypes
import errno
import os
import platform
import shutil
import signal
import struct
import time
import unittest

import context  # noqa: F401
import guest
import proc
import qbatch
import strace
from fixture import ImageTest, main
from kernel import NO_RING, RING

SANITIZED = bool(os.environ.get("QBATCH_SANITIZED"))  # some ten times slower
NUMBERS = [*range(1, 40, 3 if SANITIZED else 1), *range(40, 1000, 17 if SANITIZED else 11)]
FLEET = ("a", "b", "c", "d")
WRITES = "pwrite64,ftruncate,fdatasync,fallocate"


class FleetTest(ImageTest):
    """Four images alike, whose downgrade appends, flips and reads a backing file's length."""

    def setUp(self):
        super().setUp()
        self.raw("base.raw", "1M", "write -q -P 9 0 1M")
        first = self.create("a.qcow2", size="1M", backing="base.raw", backing_fmt="raw",
                            cluster_size=4096)
        self.io(first, "write -q -P 1 0 64k", "write -q -z 64k 64k", "write -q -z -u 512k 128k")
        self.snapshot(first, "s")
        self.io(first, "write -q -P 2 0 16k")
        self.images = [first] + [self.copy(first, f"{name}.qcow2") for name in FLEET[1:]]
        self.original = self.copy(first, "original")
        self.layers = guest.read_all(first)
        self.fleet = self.manifest("""
            version: 1
            limits: {jobs: 1}
            images: [{path: "?.qcow2", compat: "0.10"}]
            """)
        self.sound = set()  # what files of this test held, once QEMU has looked at it

    def restore(self):
        for image in self.images:
            shutil.copyfile(self.original, image)

    def argv(self, *flags):
        return [qbatch.absolute(qbatch.TOOL), "--json", *flags, self.fleet]

    def assert_old_or_new(self):
        for image in self.images:
            sha = proc.sha256(image)
            if sha not in self.sound:
                self.assert_sound(image)
                self.assert_same_layers(self.layers, guest.read_all(image))
                self.sound.add(sha)

    def version(self, image):
        with open(image, "rb") as f:
            return struct.unpack(">I", f.read(8)[4:])[0]

    def assert_told_what_is(self, answer):
        """`changed` is said of amended images, and `failed` with the cause and the image's name."""
        self.assertEqual([r["path"] for r in answer.records], self.images, str(answer))
        for record in answer.records:
            if record["status"] == "changed":
                self.assertEqual(self.version(record["path"]), 2, str(answer))
        self.assertIsNotNone(answer.summary, str(answer))

    def assert_a_rerun_ends_the_work(self):
        answer = qbatch.qbatch("--json", self.fleet)
        self.assertEqual(answer.code, 0, str(answer))
        self.assertEqual({self.version(image) for image in self.images}, {2})
        self.assert_old_or_new()

    def assert_undone(self, records):
        """What could not be read back after the commit is mistrusted until it is taken back."""
        answer = qbatch.qbatch("undo", "--json", "last", *(r["path"] for r in records))
        self.assertEqual(answer.code, 0, str(answer))
        self.assert_old_or_new()

    def sweep(self, calls, action, *flags, onwards=False):
        """Runs with the first, the second ... call of each kind going wrong, until there are no more;
        of many calls, such as those of the loader and those for four images alike, not every one.
        Yields (words, number, answer)."""
        tried = 0
        for call in calls.split(","):
            for number in NUMBERS:
                self.restore()
                trace = strace.run(self.argv(*flags), f"{call}:{action(number)}:when={number}"
                                                      f"{'+' if onwards else ''}")
                if not trace.hit:
                    break
                if trace.result.code == 127:
                    continue  # the loader's own call: the program did not start
                tried += 1
                yield f"{call} {number}", number, qbatch.Answer(trace.result)
        self.assertGreater(tried, 0 if SANITIZED else 3)


@unittest.skipUnless(strace.works(), strace.MISSING)
class Failures(FleetTest):
    CAUSES = (errno.EIO, errno.ENOSPC, errno.EDQUOT)

    def cause(self, number):
        return self.CAUSES[number % len(self.CAUSES)]

    def action(self, number):
        return f"error={errno.errorcode[self.cause(number)]}"

    def assert_causes(self, answer, cause):
        for record in answer.records:
            if record["status"] != "changed":
                self.assertEqual(record["status"], "failed", str(answer))
                self.assertIn(os.strerror(cause), record["error"]["message"], str(answer))

    def test_one_call_that_fails_costs_one_image_and_its_record_says_why(self):
        for what, number, answer in self.sweep("pread64," + WRITES, self.action, "--io", "posix"):
            with self.subTest(what):
                self.assertFalse(answer.crashed, str(answer))
                failed = [r for r in answer.records if r["status"] != "changed"]
                self.assertLessEqual(len(failed), 1, str(answer))
                if answer.summary["journal_error"]:
                    self.assertIn("what no longer holds", answer.result.err)
                    self.assertEqual(failed, [], str(answer))
                unread = [r for r in failed if r["error"]["code"] == "verify"]  # after the commit
                failed = failed or answer.summary["journal_error"]
                self.assertEqual(answer.code, 5 if unread else 1 if failed else 0, str(answer))
                self.assert_causes(answer, self.cause(number))
                self.assert_told_what_is(answer)
                self.assert_old_or_new()
                if unread:
                    self.assert_undone(unread)
                else:
                    self.assert_a_rerun_ends_the_work()

    def test_writes_that_fail_from_some_moment_on(self):
        for what, number, answer in self.sweep(WRITES, self.action, "--io", "posix", onwards=True):
            with self.subTest(what):
                self.assertEqual(answer.code, 1, str(answer))
                self.assert_told_what_is(answer)
                self.assert_old_or_new()
                self.assert_a_rerun_ends_the_work()

    def test_a_barrier_that_fails_is_never_called_done(self):
        for what, number, answer in self.sweep("fdatasync", lambda n: "error=EIO", "--io", "posix"):
            with self.subTest(what):
                failed = [r["status"] for r in answer.records].count("failed")
                of_journal = "the journal cannot be written" in answer.result.err
                self.assertEqual(failed, 0 if of_journal else 1, str(answer))
                self.assert_causes(answer, errno.EIO)
                self.assert_old_or_new()

    def test_interrupted_calls_are_made_again(self):
        for what, number, answer in self.sweep("pread64," + WRITES, lambda n: "error=EINTR", "--io",
                                         "posix"):
            with self.subTest(what):
                self.assertEqual(answer.code, 0, str(answer))
                self.assert_told_what_is(answer)
                self.assert_old_or_new()

    @unittest.skipUnless(RING, NO_RING)
    def test_a_ring_that_breaks_costs_nothing(self):
        for what, number, answer in self.sweep("io_uring_enter", lambda n: "error=EIO"):
            with self.subTest(what):
                self.assertEqual(answer.code, 0, str(answer))
                self.assert_told_what_is(answer)
                self.assert_old_or_new()


@unittest.skipUnless(strace.works(), strace.MISSING)
class Signals(FleetTest):
    CALLS = WRITES + ",io_uring_enter"

    def wait_until_closed(self):
        """The kernel keeps a killed program's files open until what it had in a ring is done."""
        inodes = {str(os.stat(image).st_ino) for image in self.images}

        def held():
            with open("/proc/locks") as locks:
                return any(line.split()[-3].split(":")[-1] in inodes for line in locks)

        for _ in range(1000):
            if not held():
                return
            time.sleep(0.01)
        self.fail("a killed run still holds its locks")

    def killed_everywhere(self, *flags):
        for what, number, answer in self.sweep(self.CALLS, lambda n: "signal=KILL", *flags):
            with self.subTest(what):
                self.assertIn(answer.code, (-signal.SIGKILL, 128 + signal.SIGKILL), str(answer))
                self.wait_until_closed()
                self.assert_old_or_new()
                self.assert_a_rerun_ends_the_work()

    def test_kill_9_at_every_call(self):
        self.killed_everywhere()

    def test_kill_9_at_every_call_without_a_ring(self):
        self.killed_everywhere("--io", "posix")

    def test_ctrl_c_and_sigterm_at_every_call(self):
        def action(number):
            return f"signal={'INT' if number % 2 else 'TERM'}"

        for what, number, answer in self.sweep(self.CALLS, action):
            with self.subTest(what):
                self.assertIn(answer.code, (0, 75), str(answer))
                self.assertLessEqual({r["status"] for r in answer.records},
                                     {"changed", "interrupted"}, str(answer))
                self.assertEqual(answer.code == 0,
                                 all(r["status"] == "changed" for r in answer.records), str(answer))
                self.assert_told_what_is(answer)
                self.assert_old_or_new()
                self.assert_a_rerun_ends_the_work()


@unittest.skipUnless(strace.works(), strace.MISSING)
class Hosts(FleetTest):
    """Hosts that lack something: the same images come out."""

    def outcome(self, argv, *injections, preexec=None):
        self.restore()
        if injections:
            trace = strace.run(argv, *injections)
            self.assertTrue(trace.hit, trace.log)
            answer = qbatch.Answer(trace.result)
        else:
            answer = qbatch.Answer(proc.run(argv, preexec=preexec))
        self.assertEqual(answer.code, 0, str(answer))
        self.assert_told_what_is(answer)
        self.assert_old_or_new()
        return answer, [proc.sha256(image) for image in self.images]

    def test_io_uring_forbidden_or_unknown(self):
        _, usual = self.outcome(self.argv())
        for error in ("EPERM", "ENOSYS", "ENOMEM"):
            answer, hashes = self.outcome(self.argv(), f"io_uring_setup:error={error}")
            self.assertEqual(hashes, usual)
            self.assertIn("ordinary system calls", answer.result.err + answer.result.out)

    def test_io_uring_refused_by_a_filter(self):
        if platform.machine() not in ("x86_64", "aarch64"):
            self.skipTest("a filter for this processor is not written")
        _, usual = self.outcome(self.argv())
        _, hashes = self.outcome(self.argv(), preexec=forbid_io_uring)
        self.assertEqual(hashes, usual)

    def test_without_direct_io(self):
        if platform.machine() not in ("x86_64", "aarch64"):
            self.skipTest("a filter for this processor is not written")
        self.raw("big.raw", "64M")
        big = self.create("big.qcow2", size="64M", backing="big.raw", backing_fmt="raw")
        self.io(big, "write -q -z 0 48M")
        before, hashes = guest.read_all(big), set()
        for preexec in (None, forbid_direct_io):
            for flags in ([], ["--io", "posix"]):
                image = self.copy(big, "tried.qcow2")
                argv = [qbatch.absolute(qbatch.TOOL), "amend", "-o", "compat=0.10,zero_method=write",
                        *flags, image]
                done = proc.run(argv, preexec=preexec)
                self.assertEqual(done.code, 0, done.err)
                self.assert_sound(image)
                self.assert_same_layers(before, guest.read_all(image))
                self.assertGreater(os.stat(image).st_blocks * 512, 48 << 20)
                hashes.add(proc.sha256(image))
        self.assertEqual(len(hashes), 1)

    def test_without_fallocate(self):
        self.fleet = self.manifest("""
            version: 1
            limits: {jobs: 1}
            images: [{path: "?.qcow2", compat: "0.10", zero_method: falloc}]
            """)
        self.outcome(self.argv(), "fallocate:error=EOPNOTSUPP")


def forbid_io_uring():
    """Has the kernel answer EPERM to io_uring_setup, as the filters of containers do."""
    forbid(errno.EPERM, (0x15, 0, 1, 425))


def forbid_direct_io():
    """Has it answer EINVAL to an openat with O_DIRECT, as file systems without that do."""
    openat = {"x86_64": 257, "aarch64": 56}[platform.machine()]
    forbid(errno.EINVAL,
           (0x15, 0, 3, openat),
           (0x20, 0, 0, 32),              # load the low half of its flags
           (0x45, 0, 1, os.O_DIRECT))     # is the bit among them?


def forbid(error, *steps):
    """A filter for system calls: `steps` begin with the call's number loaded, and lead to the next
    step where it is to fail, else one further."""
    allow, deny = 0x7FFF0000, 0x00050000 | error
    program = b"".join(struct.pack("HBBI", *step) for step in (
        (0x20, 0, 0, 0), *steps, (0x06, 0, 0, deny), (0x06, 0, 0, allow)))
    libc = ctypes.CDLL(None, use_errno=True)
    kept = ctypes.create_string_buffer(program)
    filter_ = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(kept))
    libc.prctl(38, 1, 0, 0, 0)  # PR_SET_NO_NEW_PRIVS
    if libc.prctl(22, 2, ctypes.create_string_buffer(filter_), 0, 0):  # PR_SET_SECCOMP
        raise OSError(ctypes.get_errno(), "seccomp")


@unittest.skipUnless(strace.works(), strace.MISSING)
class OutsideHands(FleetTest):
    """Somebody does something to an image between its append and its flip."""
    PAUSE_SECONDS = 1.5

    def meddle(self, how):
        """Runs the fleet, and calls how(image) for the first image while the first barrier, by
        which time all have been appended to, is kept from ending.  Returns its record."""
        self.restore()
        began = os.path.getsize(self.images[-1])
        run = strace.start(self.argv("--io", "posix"),
                           f"fdatasync:delay_enter={self.PAUSE_SECONDS}s:when=1")
        until = time.monotonic() + 60
        while os.path.getsize(self.images[-1]) == began:
            self.assertLess(time.monotonic(), until, "the append did not come")
            time.sleep(0.005)
        time.sleep(0.1)  # behind its last write
        how(self.images[0])
        out, err = run.communicate(timeout=60)
        answer = qbatch.Answer(proc.Result(["qbatch"], run.returncode, out, err))
        self.assertEqual(answer.code, 1, str(answer))
        self.assertEqual([r["status"] for r in answer.records],
                         ["failed", "changed", "changed", "changed"], str(answer))
        self.assertIn(answer.error, ("changed", "not_found", "corrupt"), str(answer))
        for image in self.images[1:]:
            self.assert_sound(image)
        return answer.first

    def test_another_file_is_moved_over_the_image(self):
        other = self.path("other")

        def replace(image):
            shutil.copyfile(self.original, other)
            os.link(image, self.path("kept"))
            os.rename(other, image)

        self.meddle(replace)
        self.assertEqual(proc.sha256(self.images[0]), proc.sha256(self.original))
        self.assertEqual(proc.sha256(self.path("kept")), proc.sha256(self.original))

    def test_the_image_is_removed(self):
        def remove(image):
            os.rename(image, self.path("kept"))

        self.meddle(remove)
        self.assertEqual(proc.sha256(self.path("kept")), proc.sha256(self.original))

    def test_the_image_is_cut_short(self):
        for size in (0, 600, 40_000, os.path.getsize(self.original)):
            with self.subTest(size=size):
                self.meddle(lambda image, size=size: os.truncate(image, size))
                self.assertEqual(os.path.getsize(self.images[0]), size)
                with open(self.images[0], "rb") as now, open(self.original, "rb") as then:
                    self.assertEqual(now.read(), then.read(size))

    def test_the_header_is_written_by_somebody_else(self):
        def write(image):
            with open(image, "r+b") as f:
                f.seek(24)
                f.write(struct.pack(">Q", 2 << 20))

        self.meddle(write)
        with open(self.images[0], "rb") as f:
            self.assertEqual(struct.unpack(">Q", f.read(32)[24:])[0], 2 << 20)
        self.assertEqual(self.version(self.images[0]), 3)


if __name__ == "__main__":
    main()
