"""Loop devices: images on a device that is as long as its backing file, and does not grow by itself."""
import os
import unittest

import guest
import proc
from fixture import ImageTest

SECTOR = 512


@unittest.skipUnless(os.geteuid() == 0, "a loop device can only be set up by root")
class LoopTest(ImageTest):
    def device(self, size, name="disk"):
        """A loop device full of old bytes; it has the whole sectors of its file."""
        path = self.path(name)
        with open(path, "wb") as f:
            f.write(b"old bytes " * (size // 10 + 1))
            f.truncate(size)
        done = proc.run(["losetup", "--find", "--show", path])
        if done.code:
            self.skipTest(f"no loop device here: {done.err.strip()}")
        device = done.out.strip()
        self.addCleanup(proc.run, ["losetup", "--detach", device])
        if proc.run(["losetup", "--set-capacity", device]).code:
            self.skipTest("no loop device here that can become longer")
        return device

    def on_device(self, image, size, name="disk"):
        device = self.device(size, name)
        proc.must(["dd", f"if={image}", f"of={device}", "bs=64k", "status=none", "conv=fsync"])
        return device

    def lengthen(self, device, more, name="disk"):
        """The device gets this many bytes more at its end, old ones as well."""
        size = os.path.getsize(self.path(name))
        with open(self.path(name), "ab") as f:
            f.write(b"more old bytes " * (more // 15 + 1))
            f.truncate(size + more)
        proc.must(["losetup", "--set-capacity", device])

    def layers(self, device):
        """Read from a copy, where there is room for scratch files."""
        copy = self.path("copy.qcow2")
        proc.must(["dd", f"if={device}", f"of={copy}", "bs=64k", "status=none"])
        found = guest.read_all(copy)
        self.assert_sound(copy)
        return found

    def overlay(self, name="a.qcow2"):
        base = self.raw("base.raw", "4M", "write -q -P 9 0 4M")
        image = self.create(name, size="4M", backing=base, backing_fmt="raw")
        self.io(image, "write -q -P 1 0 512k", "write -q -z 0 128k", "write -q -z -u 1M 1M")
        self.snapshot(image, "s")
        self.io(image, "write -q -P 2 64k 64k")
        return image
