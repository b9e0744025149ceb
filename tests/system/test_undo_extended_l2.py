"""Undo of amends with L2 entries of another size, and of a shrink to within a cluster that has
subclusters: the tables of both headers say the same of every cluster, or the undo is refused."""
import itertools
import os
import shutil
import unittest

import context  # noqa: F401
import guest
import proc
import qcow2
from fixture import KIB, MIB, main
from test_extended_l2 import is_extended, monitor
from test_undo_proof import UndoTest

OTHERS = ({}, {"size": 1300 * MIB}, {"size": 700 * MIB + 5 * KIB}, {"refcount_bits": 64},
          {"size": 2 * MIB + 512, "lazy_refcounts": "on"}, {"preallocation": "metadata"})


class Conversions(UndoTest):
    def image(self, name, **options):
        image = self.create(name, size="1200M", **options)
        if options.get("compat") == "0.10":
            self.io(image, "write -q -P 1 0 1M", "write -q -P 5 300M 128k")
        else:
            self.io(image, "write -q -P 1 0 1M", "write -q -z 2M 256k", "write -q -P 5 300M 128k",
                    "write -q -P 7 1199M 1M", "write -q -z 1100M 64k")
        if "extended_l2" not in options:  # QEMU 7.2 damages such images
            self.io(image, "write -q -c -P 6 600M 64k")
        self.snapshot(image, "s")
        self.io(image, "write -q -P 9 0 128k", "write -q -P 8 1000M 128k", "discard -q 300M 64k")
        self.snapshot(image, "t")
        self.io(image, "write -q -P 4 600M 64k")
        return image

    def there_and_back(self, image, **options):
        sha, before = proc.sha256(image), guest.read_all(image)
        run = self.amend(image, **options)
        self.undone(run)
        self.assertEqual(proc.sha256(image), sha)
        self.assert_sound(image)
        self.assert_same_layers(before, guest.read_all(image))
        self.assertEqual(self.undo(run).code, 2)  # what is undone stays so
        self.assertEqual(proc.sha256(image), sha)

    def test_on_and_off_with_everything_else_bit_for_bit(self):
        for value, others in itertools.product(("on", "off"), OTHERS):
            with self.subTest(extended_l2=value, **others):
                made = {} if value == "on" else {"extended_l2": "on"}
                image = self.image("a.qcow2", **made)
                self.there_and_back(image, extended_l2=value, **others)
                os.unlink(image)

    def test_between_the_versions(self):
        self.there_and_back(self.image("up.qcow2", compat="0.10"), compat="1.1", extended_l2="on")
        for how in ("allocate", "defer", "share"):
            self.there_and_back(self.image(f"{how}.qcow2", extended_l2="on"), compat="0.10",
                                zero_clusters=how)

    def test_over_a_backing_file(self):
        self.raw("base.raw", "3M", "write -q -P 77 0 3M")
        for value, others in itertools.product(
                ("on", "off"), ({}, {"size": 5 * MIB}, {"size": 1 * MIB + 512},
                                {"preallocation": "metadata"})):
            with self.subTest(extended_l2=value, **others):
                image = self.create("a.qcow2", size="2M", backing="base.raw", backing_fmt="raw",
                                    extended_l2="off" if value == "on" else "on")
                self.io(image, "write -q -P 1 0 64k", "write -q -z 128k 64k", "write -q -P 2 1M 128k")
                self.snapshot(image, "s")
                self.io(image, "write -q -P 3 64k 64k")
                self.there_and_back(image, extended_l2=value, **others)
                os.unlink(image)

    def test_what_a_guest_does_meanwhile_is_kept_or_seen(self):
        """A cluster that both headers map is the guest's; all else is in tables of the new ones."""
        for value in ("on", "off"):
            made = {} if value == "on" else {"extended_l2": "on"}
            image = self.image(f"{value}.qcow2", **made)
            run = self.amend(image, extended_l2=value)
            self.unnoticed(image, self.io, image, "write -q -P 55 600M 64k")
            kept = self.copy(image, f"{value}-kept.qcow2")
            for command in ("write -q -P 7 5M 512", "write -q -z 1000M 64k", "discard -q 0 64k",
                            "write -q -P 7 2M 4k", "write -q -P 3 300M 64k"):
                with self.subTest(command, extended_l2=value):
                    self.unnoticed(image, self.io, image, command)
                    self.refused_to_undo(image, run)
                    with open(kept, "rb") as a, open(image, "r+b") as b:
                        b.write(a.read())
                    stat = os.stat(kept)
                    os.truncate(image, stat.st_size)
            image = self.image(f"{value}-again.qcow2", **made)
            run = self.amend(image, extended_l2=value)
            self.unnoticed(image, self.io, image, "write -q -P 55 600M 64k")
            self.undone(run)
            self.assert_sound(image)
            self.assert_reads(image, 600 * MIB, 64 * KIB, 55)
            self.assertEqual(is_extended(image), value == "off")

    def test_amends_on_top_of_each_other(self):
        image = self.image("a.qcow2")
        sha = proc.sha256(image)
        first = self.amend(image, extended_l2="on")
        then = proc.sha256(image)
        second = self.amend(image, extended_l2="off")
        self.refused_to_undo(image, first)
        self.undone(second)
        self.assertEqual(proc.sha256(image), then)
        stat = os.stat(image)
        self.assertEqual(qcow2.load(image).size, 1200 * MIB)
        answer = self.undo(first)
        if answer.code:  # the second undo has written the image
            self.assertEqual(answer.error, "changed", str(answer))
            self.assert_untouched(image, then, stat)
        else:
            self.assertEqual(proc.sha256(image), sha)

    @unittest.skipUnless(shutil.which("qemu-system-x86_64"), "qemu-system-x86 is not installed")
    def test_vm_state_is_where_it_was(self):
        for size, value in itertools.product(("200M", "512M", "1100M"), ("on", "off")):
            with self.subTest(size=size, extended_l2=value):
                image = self.create("vm.qcow2", size=size)
                self.io(image, "write -q -P 1 0 1M")
                code, words = monitor(image, "savevm one")
                self.assertEqual((code, "rror" in words), (0, False), words)
                proc.must(["qemu-img", "resize", "-q", image, "+300M"])
                monitor(image, "savevm two")
                if value == "off":  # with subclusters that are all alike
                    self.amended(image, extended_l2="on")
                self.there_and_back(image, extended_l2=value)
                for name in ("one", "two"):
                    code, words = monitor(self.copy(image, "loads.qcow2"), f"loadvm {name}")
                    self.assertEqual((code, "rror" in words), (0, False), words)
                os.unlink(image)


class CutWithinACluster(UndoTest):
    """A disk of 1 MiB that becomes one of 500 KiB; clusters of 64 KiB have subclusters of 2 KiB."""

    @staticmethod
    def made(writes):
        """Some free clusters are in the file, and none at its end."""
        return ("write -q -P 3 0 192k", *writes, "write -q -P 3 192k 64k", "discard -q 64k 128k")

    def cut(self, name, *writes, backed=True):
        if backed:
            self.raw("base.raw", "1M", "write -q -P 9 0 1M")
        image = self.create(name, size="1M", extended_l2="on",
                            backing="base.raw" if backed else None, backing_fmt="raw")
        self.io(image, *self.made(writes))
        self.sha = proc.sha256(image)
        return image, self.amend(image, size=500 * KIB)

    WRITES = ((), ("write -q -P 1 448k 4k",), ("write -q -P 1 448k 64k",), ("write -q -P 1 500k 12k",),
              ("write -q -P 0 500k 12k",), ("write -q -P 1 499k 2k",), ("write -q -z 448k 64k",),
              ("write -q -z 500k 12k", "write -q -P 1 448k 2k"), ("write -q -P 1 510k 2k",))

    def test_bit_for_bit(self):
        for number, writes in enumerate(self.WRITES):
            for backed in (True, False):
                with self.subTest(writes, backed=backed):
                    image, run = self.cut(f"{number}-{backed}.qcow2", *writes, backed=backed)
                    self.undone(run)
                    self.assertEqual(proc.sha256(image), self.sha)
                    self.assert_sound(image)

    def test_what_was_cut_off_is_back_or_the_undo_refused(self):
        guests = ("write -q -P 7 448k 52k", "write -q -P 7 448k 2k", "write -q -P 7 499k 1k",
                  "write -q -z 448k 52k", "discard -q 448k 52k", "write -q -z 448k 2k")
        outcomes = {True: 0, False: 0}
        for number, (writes, command, backed) in enumerate(
                itertools.product(self.WRITES, guests, (True, False))):
            if not backed and number % 3:
                continue
            with self.subTest(writes, command=command, backed=backed):
                image, run = self.cut(f"{number}.qcow2", *writes, backed=backed)
                before = self.copy(image, "before.qcow2")
                self.unnoticed(image, self.io, image, command)
                saw, sha = guest.read_all(image)["active"], proc.sha256(image)
                answer = self.undo(run)
                outcomes[answer.code == 0] += 1
                if answer.code:
                    self.assertEqual(answer.error, "changed", str(answer))
                    self.assertEqual(proc.sha256(image), sha)
                else:
                    self.check_undone(image, saw, writes, backed)
                for path in (image, before):
                    os.unlink(path)
        self.assertGreater(outcomes[True], 10)
        self.assertGreater(outcomes[False], 10)

    def test_a_subcluster_before_the_cut_is_the_guest_s(self):
        image, run = self.cut("a.qcow2")
        self.unnoticed(image, self.io, image, "write -q -P 7 448k 2k")
        self.undone(run)
        self.assert_reads(image, 448 * KIB, 2 * KIB, 7)
        self.assert_reads(image, 450 * KIB, 62 * KIB, 9)

    def check_undone(self, image, saw, writes, backed):
        """Up to the cut it is what the guest saw, from there on what was there before."""
        reference, _ = self.cut("reference.qcow2", *writes, backed=backed)
        proc.must(["qemu-img", "create", "-q", "-f", "qcow2", "-o", "extended_l2=on",
                   *(["-b", "base.raw", "-F", "raw"] if backed else []), reference, "1M"],
                  cwd=self.folder)
        self.io(reference, *self.made(writes))
        now, was = guest.read_all(image)["active"], guest.read_all(reference)["active"]
        self.assert_sound(image)
        self.assertTrue(now.resized(saw.size) == saw, now.resized(saw.size).difference(saw))
        tail = now.with_zeros(0, saw.size), was.with_zeros(0, saw.size)
        self.assertTrue(tail[0] == tail[1], tail[0].difference(tail[1]))
        os.unlink(reference)


if __name__ == "__main__":
    main()
