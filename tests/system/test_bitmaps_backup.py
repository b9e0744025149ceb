"""QEMU itself goes on with the bitmaps of an amended image: incremental backups, a commit from an overlay,
and what its own tests of persistent bitmaps ask for, with qbatch in the place of their resizes and changes."""
import unittest

import context  # noqa: F401
import bitmaps
import proc
import storage_daemon
from fixture import GIB, KIB, MIB, ImageTest, main


class DaemonTest(ImageTest):
    def daemon(self):
        return storage_daemon.Daemon(self.folder)

    def assert_same_disk(self, one, other):
        done = proc.run(["qemu-img", "compare", "-f", "qcow2", "-F", "qcow2", one, other], cwd=self.folder)
        self.assertEqual(done.code, 0, done.out + done.err)


@unittest.skipIf(storage_daemon.MISSING, storage_daemon.MISSING)
class IncrementalBackup(DaemonTest):
    """A full backup, writes, an amend, more writes, the increment: it must hold all of the disk."""

    def chain(self, size, amended, bitmap="backup", **options):
        image = self.create(size="64M", **options)
        full = self.create("full.qcow2", size="64M")
        with self.daemon() as vm:
            vm.open("disk", image)
            vm.guest("disk", "write -q -P 1 0 3M", "write -q -P 2 40M 1M")
            vm.add_bitmap("disk", "backup")
            vm.add_bitmap("disk", "fine", granularity=4 * KIB)
            vm.backup("disk", full, "full")
            vm.guest("disk", "write -q -P 3 1M 70k", "write -q -P 4 63M 1M")
        self.amended(image, **amended)
        self.assert_sound(image)
        with self.daemon() as vm:  # before the increment, and one more after it
            vm.open("disk", image)
            vm.guest("disk", "write -q -P 5 20M 5k", f"write -q -P 6 {size - 64 * KIB} 64k")
            for name, base in (("one", full), ("two", self.path("one.qcow2"))):
                step = self.create(f"{name}.qcow2", size=size, backing=base)
                before = vm.bitmaps("disk")[bitmap][1]
                vm.backup("disk", step, "incremental", bitmap=bitmap)
                self.assertGreater(before, 0)
                self.assertLess(before, 8 * MIB)
                self.assertEqual(vm.bitmaps("disk")[bitmap][1], 0)
                vm.guest("disk", "write -q -P 7 22M 1k")
        self.amended(image, **{"bitmaps.remove": "no such", "refcount_bits": 32})
        with self.daemon() as vm:
            vm.open("disk", image)
            step = self.create("three.qcow2", size=size, backing=self.path("two.qcow2"))
            vm.backup("disk", step, "incremental", bitmap=bitmap)
        self.assert_same_disk(image, step)
        self.assert_sound(image)

    def test_after_other_keys(self):
        self.chain(64 * MIB, {"refcount_bits": 64, "lazy_refcounts": "on"})

    def test_after_growing(self):
        self.chain(200 * MIB, {"size": 200 * MIB})

    def test_after_a_rename(self):
        self.chain(64 * MIB, {"bitmaps.rename.0.from": "backup", "bitmaps.rename.0.to": "day, 1"},
                   bitmap="day, 1")

    def test_after_a_merge_into_a_coarser_and_a_finer_one(self):
        self.chain(64 * MIB, {"bitmaps.add.0.name": "all", "bitmaps.add.0.granularity": "1M",
                              "bitmaps.merge.0.from": "fine", "bitmaps.merge.0.to": "all"}, bitmap="all")
        self.chain(70 * MIB, {"bitmaps.merge.0.from": "backup", "bitmaps.merge.0.to": "fine",
                              "size": 70 * MIB}, bitmap="fine", cluster_size=4096)

    def test_a_bitmap_that_was_added_notices_all(self):
        image = self.create(size="64M")
        self.io(image, "write -q -P 1 0 64M")
        self.amended(image, **{"bitmaps.add.0.name": "a"})
        full = self.path("full.qcow2")
        proc.must(["qemu-img", "convert", "-O", "qcow2", image, full])
        with self.daemon() as vm:
            vm.open("disk", image)
            vm.guest("disk", "write -q -P 2 5M 1M", "write -q -z 10M 1M")
            self.assertEqual(vm.bitmaps("disk")["a"], (64 * KIB, 2 * MIB, True))
        step = self.create("one.qcow2", size="64M", backing=full)
        with self.daemon() as vm:
            vm.open("disk", image)
            vm.backup("disk", step, "incremental", bitmap="a")
        self.assert_same_disk(image, step)


@unittest.skipIf(storage_daemon.MISSING, storage_daemon.MISSING)
class Persistent(DaemonTest):
    """iotest 165: bits are the same after each restart, also where the image was open read-only."""

    FIRST = ("write -q 0xfff00 64k", "write -q 2M 1M")
    SECOND = ("write -q 256M 128k", "write -q 0x3fff0000 64k")

    def test_bits_survive_amends_between_restarts(self):
        image = self.create(size="1G")
        with self.daemon() as vm:
            vm.open("disk", image)
            vm.add_bitmap("disk", "b")
            vm.guest("disk", *self.FIRST)
            first = vm.sha("disk", "b")
            vm.guest("disk", *self.SECOND)
            second = vm.sha("disk", "b")
        self.assertNotEqual(first, second)
        self.amended(image, **{"bitmaps.clear": "b"})
        with self.daemon() as vm:
            vm.open("disk", image)
            vm.guest("disk", *self.FIRST)
            self.assertEqual(vm.sha("disk", "b"), first)
        with self.daemon() as vm:
            vm.open("disk", image, read_only=True)
            self.assertEqual(vm.sha("disk", "b"), first)
        self.amended(image, **{"bitmaps.rename.0.from": "b", "bitmaps.rename.0.to": "c", "refcount_bits": 8})
        with self.daemon() as vm:
            vm.open("disk", image)
            self.assertEqual(vm.sha("disk", "c"), first)
            vm.guest("disk", *self.SECOND)
            self.assertEqual(vm.sha("disk", "c"), second)

    def test_one_of_a_guest_that_was_killed_is_inconsistent_and_others_are_not(self):
        image = self.create(size="1G")
        self.amended(image, **{"bitmaps.add.0.name": "a", "bitmaps.add.1.name": "b",
                               "bitmaps.add.1.disabled": "on"})
        vm = self.daemon()
        vm.open("disk", image)
        vm.guest("disk", *self.FIRST)
        vm.process.kill()
        vm.process.wait()
        vm.qmp.close()
        vm.log.close()
        in_use = [name for name, (_, flags) in bitmaps.shown(image).items() if "in-use" in flags]
        self.assertIn("a", in_use)
        self.refused(image, "refused", words="can only be removed",
                     **{"bitmaps.rename.0.from": "a", "bitmaps.rename.0.to": "c"})
        self.amended(image, **{"bitmaps.remove_inconsistent": "on", "bitmaps.add.0.name": "a"})
        with self.daemon() as vm:
            vm.open("disk", image)
            self.assertEqual(vm.bitmaps("disk")["a"], (64 * KIB, 0, True))


@unittest.skipIf(storage_daemon.MISSING, storage_daemon.MISSING)
class Resizing(DaemonTest):
    """iotest 246: three granularities, and bitmaps that come and go while the disk changes."""

    def seen(self, image):
        with self.daemon() as vm:
            vm.open("disk", image)
            return vm.bitmaps("disk")

    def test_64g_70g_50g(self):
        image = self.create(size="64G")
        self.amended(image, **{"bitmaps.add.0.name": "Small", "bitmaps.add.0.granularity": "32k",
                               "bitmaps.add.1.name": "Medium",
                               "bitmaps.add.2.name": "Large", "bitmaps.add.2.granularity": "128k"})
        with self.daemon() as vm:
            vm.open("disk", image)
            vm.guest("disk", "write -q 0 32k", f"write -q {60 * GIB} 32k")
        self.amended(image, **{"size": 70 * GIB, "bitmaps.add.0.name": "New"})
        with self.daemon() as vm:
            vm.open("disk", image)
            vm.guest("disk", f"write -q {70 * GIB - 32 * KIB} 32k")
        self.assertEqual(self.seen(image), {
            "Small": (32 * KIB, 96 * KIB, True), "Medium": (64 * KIB, 192 * KIB, True),
            "Large": (128 * KIB, 384 * KIB, True), "New": (64 * KIB, 64 * KIB, True)})
        self.amended(image, shrink=True, **{"size": 50 * GIB, "bitmaps.add.0.name": "NewB",
                                            "bitmaps.remove": "New"})
        self.assert_sound(image)
        self.assertEqual(self.seen(image), {
            "Small": (32 * KIB, 32 * KIB, True), "Medium": (64 * KIB, 64 * KIB, True),
            "Large": (128 * KIB, 128 * KIB, True), "NewB": (64 * KIB, 0, True)})
        self.amended(image, **{"bitmaps.remove": "*"})
        self.assertEqual(self.seen(image), {})


@unittest.skipIf(storage_daemon.MISSING, storage_daemon.MISSING)
class Overlays(DaemonTest):
    """iotests 254 and 260: bitmaps of an image that is a backing file for a while."""

    def test_bitmaps_are_copied_into_an_overlay_and_amended_in_both(self):
        base = self.create("base.qcow2", size="1M")
        with self.daemon() as vm:
            vm.open("base", base)
            vm.add_bitmap("base", "copied")
            vm.add_bitmap("base", "moved")
            vm.guest("base", "write -q 0 512k")
        top = self.create("top.qcow2", size="1M", backing=base)
        self.amended(top, **{"bitmaps.add.0.name": "copied", "bitmaps.add.1.name": "moved"})
        for name in ("copied", "moved"):
            proc.must(["qemu-img", "bitmap", "-b", base, "-F", "qcow2", "--merge", name, top, name])
        self.amended(base, **{"bitmaps.remove": "moved", "bitmaps.rename.0.from": "copied",
                              "bitmaps.rename.0.to": "old"})
        self.amended(top, size=2 * MIB)
        self.assertEqual(bitmaps.all_dirty(base), {"old": [(0, 512 * KIB)]})
        self.assertEqual(bitmaps.all_dirty(top), {"copied": [(0, 512 * KIB)], "moved": [(0, 512 * KIB)]})

    def test_a_commit_is_recorded_in_the_bitmap_of_the_base(self):
        base = self.create("base.qcow2", size=3 * 64 * KIB)
        self.amended(base, **{"bitmaps.add.0.name": "b"})
        with self.daemon() as vm:
            vm.open("base", base)
            vm.guest("base", "write -q 0 64k")
        top = self.create("top.qcow2", size=5 * 64 * KIB, backing=base)
        self.amended(base, size=4 * 64 * KIB)
        with self.daemon() as vm:
            vm.open("base", base)
            vm.open("top", top, backing="base")
            vm.guest("top", "write -q 64k 512", f"write -q {4 * 64}k 512")
            vm.job("block-commit", device="top", base_node="base", top_node="top")
        self.assertEqual(bitmaps.all_dirty(base)["b"], [(0, 128 * KIB), (4 * 64 * KIB, 5 * 64 * KIB)])
        self.amended(base, **{"bitmaps.clear": "b"})
        self.assertEqual(bitmaps.all_dirty(base)["b"], [])


if __name__ == "__main__":
    main()
