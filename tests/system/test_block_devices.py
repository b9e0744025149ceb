"""Images on block devices: the file can neither grow nor shrink."""
import os
import unittest

import context  # noqa: F401
import guest
import proc
import qbatch
import qcow2
from fixture import MIB, ImageTest, main


@unittest.skipUnless(os.geteuid() == 0, "a loop device can only be set up by root")
class BlockDevices(ImageTest):
    def device(self, size):
        """A loop device full of old bytes."""
        path = self.path("disk")
        with open(path, "wb") as f:
            f.write(b"old bytes " * (size // 10 + 1))
            f.truncate(size)
        done = proc.run(["losetup", "--find", "--show", path])
        if done.code:
            self.skipTest(f"no loop device here: {done.err.strip()}")
        device = done.out.strip()
        self.addCleanup(proc.run, ["losetup", "--detach", device])
        return device

    def on_device(self, image, size):
        device = self.device(size)
        proc.must(["dd", f"if={image}", f"of={device}", "bs=64k", "status=none", "conv=fsync"])
        return device

    def layers(self, device):
        """Read from a copy, where there is room for scratch files."""
        copy = self.path("copy.qcow2")
        proc.must(["dd", f"if={device}", f"of={copy}", "bs=64k", "status=none"])
        found = guest.read_all(copy)
        self.assert_sound(copy)
        return found

    def overlay(self):
        base = self.raw("base.raw", "4M", "write -q -P 9 0 4M")
        image = self.create(size="4M", backing=base, backing_fmt="raw")
        self.io(image, "write -q -P 1 0 512k", "write -q -z 0 128k", "write -q -z -u 1M 1M")
        self.snapshot(image, "s")
        self.io(image, "write -q -P 2 64k 64k")
        return image

    def test_a_downgrade_uses_what_is_free_on_the_device_and_never_old_bytes(self):
        device = self.on_device(self.overlay(), 16 * MIB)
        before = self.layers(device)
        for mode in ("share", "allocate"):
            with self.subTest(zero_clusters=mode):
                device = self.on_device(self.path("a.qcow2"), 16 * MIB)
                answer = qbatch.amend(device, compat="0.10", zero_clusters=mode)
                self.assertEqual(answer.code, 0, str(answer))
                self.assert_same_layers(before, self.layers(device))

    def test_a_header_change_is_one_sector_there_too(self):
        device = self.on_device(self.overlay(), 8 * MIB)
        answer = qbatch.amend(device, lazy_refcounts="on")
        self.assertEqual((answer.code, answer.first["io"]["write_bytes"]), (0, 512), str(answer))

    def test_a_device_without_room_is_known_before_the_first_write(self):
        image = self.overlay()
        size = -(-os.path.getsize(image) // 65536) * 65536
        device = self.on_device(image, size)
        sha = proc.sha256(device)
        answer = qbatch.amend(device, compat="0.10", zero_clusters="allocate")
        self.assertEqual((answer.code, answer.error), (1, "no_space"), str(answer))
        self.assertEqual(proc.sha256(device), sha)
        self.assertEqual(qcow2.load(device).version, 3)


if __name__ == "__main__":
    main()
