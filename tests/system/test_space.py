"""A full disk, or a limit on file sizes: the image is as it was."""
import contextlib
import os
import resource
import shutil
import signal
import unittest

import context  # noqa: F401
import guest
import proc
import qbatch
from fixture import KIB, MIB, ImageTest, main


class FileSizeLimit(ImageTest):
    def test_a_limit_on_the_file_size_costs_nothing_but_the_amend(self):
        self.raw("base.raw", "64M", "write -q -P 9 0 1M")
        image = self.create(size="64M", backing="base.raw", backing_fmt="raw")
        self.io(image, "write -q -z -u 0 64M")
        sha = proc.sha256(image)
        for limit in (600 * KIB, 2 * MIB, 30 * MIB):
            def limited(limit=limit):
                signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
                resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
            answer = qbatch.qbatch("amend", "--json", "-o", "compat=0.10", image, preexec=limited)
            self.assertFalse(answer.crashed, str(answer))
            self.assertEqual((answer.code, answer.status), (1, "failed"), str(answer))
            self.assertIn(answer.error, ("no_space", "io"), str(answer))
            self.assertEqual(proc.sha256(image), sha, str(answer))


@unittest.skipUnless(os.geteuid() == 0, "a small file system can only be mounted by root")
class FullDisk(ImageTest):
    def setUp(self):
        super().setUp()
        self.small = self.path("small")
        os.mkdir(self.small)

    @contextlib.contextmanager
    def mounted(self, size):
        done = proc.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "qbatch-test", self.small])
        if done.code:
            self.skipTest("mounting is not allowed here")
        try:
            yield
        finally:
            proc.must(["umount", self.small])

    def fill(self, leave):
        """Leaves this many bytes free, or fewer where the file itself takes some."""
        stat = os.statvfs(self.small)
        left = max(stat.f_bavail * stat.f_frsize - leave, 0)
        with open(os.path.join(self.small, "filler"), "wb", buffering=0) as f:
            with contextlib.suppress(OSError):
                while left > 0:
                    left -= f.write(b"x" * min(left, 4096))
            os.fsync(f.fileno())

    def test_a_full_disk_leaves_the_image_as_it_was_whatever_is_left(self):
        for leave in (0, 4, 16, 64, 128, 192, 320):
            with self.subTest(kib_left=leave), self.mounted("8M"):
                image = self.create("small/a.qcow2", size="1M", cluster_size=65536)
                self.io(image, "write -q -P 1 0 512k", "write -q -z 0 128k")
                self.snapshot(image, "s")
                self.io(image, "write -q -P 2 128k 64k")
                before, sha = guest_layers(self, image), proc.sha256(image)
                self.fill(leave * KIB)
                answer = qbatch.amend(image, compat="0.10")
                self.assertFalse(answer.crashed, str(answer))
                os.unlink(os.path.join(self.small, "filler"))
                if answer.status != "changed":
                    self.assertEqual(answer.error, "no_space", str(answer))
                    self.assertEqual(proc.sha256(image), sha, str(answer))
                self.assert_sound(image)
                self.assert_same_layers(before, guest_layers(self, image))

    def test_shrinking_works_on_a_nearly_full_disk(self):
        with self.mounted("16M"):
            image = self.create("small/a.qcow2", size="8M")
            self.io(image, "write -q -P 1 0 8M")
            self.fill(256 * KIB)
            self.amended(image, shrink=True, size=MIB)
            self.assert_sound(image)

    def test_the_other_images_of_the_run_go_on(self):
        with self.mounted("4M"):
            image = self.create("small/a.qcow2", size="1M")
            self.io(image, "write -q -P 1 0 512k", "write -q -z 0 128k")
            good = self.create("good.qcow2")
            self.fill(0)
            answer = qbatch.amend([image, good], compat="0.10", zero_clusters="allocate")
            self.assertFalse(answer.crashed, str(answer))
            self.assertEqual(answer.records[1]["status"], "changed", str(answer))


@unittest.skipUnless(shutil.which("mkfs.ext4"), "mkfs.ext4 is not installed")
class FullExt4(FullDisk):
    """The same where space is only promised until the barrier, and the journal takes its part."""

    @contextlib.contextmanager
    def mounted(self, size):
        disk = self.path("disk")
        with open(disk, "wb") as f:
            f.truncate(int(size.rstrip("M")) * MIB)
        proc.must(["mkfs.ext4", "-q", "-F", "-m", "0", disk])
        done = proc.run(["mount", "-o", "loop", disk, self.small])
        if done.code:
            self.skipTest(f"no loop device here: {done.err.strip()}")
        try:
            yield
        finally:
            proc.must(["umount", self.small])
            os.unlink(disk)


def guest_layers(test, image):
    """Read from a copy outside, where there is room."""
    return guest.read_all(test.copy(image, "outside.qcow2"))


@unittest.skipUnless(os.geteuid() == 0, "a file system can only be mounted by root")
class Quota(ImageTest):
    """A quota that is used up: of btrfs, where it concerns root as well, and where a file is not cut then either."""

    @contextlib.contextmanager
    def limited(self, limit):
        there, disk = self.path("btrfs"), self.path("btrfs.disk")
        os.mkdir(there)
        with open(disk, "wb") as f:
            f.truncate(600 * MIB)
        if not shutil.which("btrfs") or proc.run(["mkfs.btrfs", "-q", disk]).code:
            self.skipTest("btrfs-progs are not installed")
        if proc.run(["mount", "-o", "loop", disk, there]).code:
            self.skipTest("btrfs cannot be mounted here")
        try:
            proc.must(["btrfs", "quota", "enable", there])
            proc.must(["btrfs", "subvolume", "create", f"{there}/s"])
            proc.must(["btrfs", "qgroup", "limit", limit, f"{there}/s"])
            yield f"{there}/s"
        finally:
            proc.must(["umount", there])

    def test_the_image_is_as_it_was_and_amended_once_there_is_space(self):
        with self.limited("8M") as there:
            image = self.create(f"{there}/a.qcow2", size="2G")
            self.io(image, "write -q -P 3 0 4M")
            os.sync()
            before, length = self.copy(image, "before.qcow2"), os.path.getsize(image)
            asked = {"preallocation": "metadata", "size": "64G"}
            answer = qbatch.amend(image, cwd=self.folder, **asked)
            self.assertEqual((answer.code, answer.error), (1, "no_space"), str(answer))
            error = answer.first["error"]
            self.assertIn("quota", error["message"].lower())
            self.assertIn("space", error["hint"])
            if os.path.getsize(image) != length:
                self.assertIn(f"its old length of {length} bytes", error["message"])
            self.assert_sound(image)
            proc.must(["qemu-img", "compare", "-q", image, before])
            proc.must(["btrfs", "qgroup", "limit", "none", there])
            self.amended(image, **asked)
            self.assert_sound(image)
            proc.must(["qemu-img", "compare", "-q", image, before])


if __name__ == "__main__":
    main()
