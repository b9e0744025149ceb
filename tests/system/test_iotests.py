"""What QEMU's iotests 244 (external data files), 271 (extended L2 entries) and 303 (bitmaps of both compression types)
look at, as far as it concerns amends, sizes and checks: QEMU makes the images and judges them."""
import os
import unittest

import context  # noqa: F401
import bitmaps
import guest
import proc
import qbatch
import qcow2
from bitmap_case import BitmapTest
from fixture import KIB, MIB, ImageTest, main

CONTENT = ("--verify", "content")
CLUSTER, SUB = 64 * KIB, 2 * KIB  # of an image with extended L2 entries, as QEMU makes it


class Mirrored(ImageTest):
    """An image with extended L2 entries, and a raw file on which all was done that was done on it."""

    SIZE = 2083 * KIB  # ends within a cluster and within a subcluster

    def begin(self, backed, longer=0):
        proc.must(["rm", "-f", self.path("a.qcow2"), self.path("mirror")])
        self.mirror = self.raw("mirror", str(self.SIZE))
        backing = {}
        if backed:
            self.raw("base", str(self.SIZE + longer), f"write -q -P 255 0 {self.SIZE + longer}")
            self.io(self.mirror, f"write -q -P 255 0 {self.SIZE}", fmt="raw")
            backing = {"backing": "base", "backing_fmt": "raw"}
        self.image = self.create(size=str(self.SIZE), extended_l2="on", **backing)

    def do(self, *commands):
        """(verb, cluster, offset in it, length): the same on both."""
        real, plain = [], []
        for number, (verb, cluster, offset, length) in enumerate(commands, 1):
            at = f"{cluster * CLUSTER + offset} {length}"
            verbs = {"write": f"write -q -P {number}", "compress": f"write -q -c -P {number}", "zero": "write -q -z",
                     "unmap": "write -q -z -u", "discard": "discard -q"}
            real.append(f"{verbs[verb]} {at}")
            verb = "write -q -z" if verb == "discard" else verbs[verb].replace(" -c", "").replace(" -u", "")
            plain.append(f"{verb} {at}")
        self.io(self.image, *real)
        self.io(self.mirror, *plain, fmt="raw")

    def assert_mirrored(self, image, mirror):
        proc.must(["qemu-img", "compare", "-f", "qcow2", "-F", "raw", image, mirror])
        self.assert_sound(image)

    def same_after(self, **request):
        """Amends a copy, and cuts or lengthens one of the mirror."""
        image, mirror = self.copy(self.image, "copy.qcow2"), self.copy(self.mirror, "copy.raw")
        self.amended(image, shrink=True, flags=CONTENT, **request)
        os.truncate(mirror, guest.info(image)["virtual-size"])
        self.assert_mirrored(image, mirror)
        return image, mirror


class Subclusters(Mirrored):
    """Requests that begin and end anywhere: writes, zeros with and without a hole, discards, compressed clusters."""

    WRITES = (("write", 0, 0, KIB), ("write", 0, 3 * KIB, 512), ("write", 0, 5 * KIB, KIB), ("write", 0, 6 * KIB, SUB),
              ("write", 0, 15 * KIB, 4 * KIB), ("write", 0, 63 * KIB, 4 * KIB), ("zero", 0, SUB, SUB),
              ("write", 2, 0, CLUSTER), ("unmap", 2, 0, CLUSTER // 2), ("write", 3, 0, CLUSTER),
              ("unmap", 3, 0, CLUSTER), ("write", 3, 3 * KIB, 512), ("write", 4, 0, CLUSTER), ("discard", 4, 0, CLUSTER),
              ("compress", 5, 0, CLUSTER), ("compress", 6, 0, CLUSTER), ("write", 6, 3 * KIB, 512))
    ZEROS = (("zero", 8, 0, 3 * CLUSTER), ("zero", 11, 32 * KIB, 2 * CLUSTER), ("zero", 14, 31 * KIB, 2 * CLUSTER),
             ("write", 17, 0, 9 * CLUSTER), ("zero", 17, 0, CLUSTER), ("unmap", 18, 32 * KIB, 2 * CLUSTER),
             ("zero", 21, 31 * KIB, 2 * CLUSTER), ("compress", 26, 0, CLUSTER), ("compress", 27, 0, CLUSTER),
             ("compress", 28, 0, CLUSTER), ("zero", 27, 32 * KIB, CLUSTER), ("zero", 30, 31 * KIB, 8 * KIB),
             ("zero", 32, 0, 35 * KIB))

    def each(self):
        for backed, longer in ((False, 0), (True, 0), (True, 3 * MIB)):
            with self.subTest(backed=backed, longer=longer):
                self.begin(backed, longer)
                self.do(*self.WRITES, *self.ZEROS)
                yield backed

    def test_every_key_keeps_what_they_left(self):
        for backed in self.each():
            for request in ({"refcount_bits": 64}, {"lazy_refcounts": "on"}, {"preallocation": "metadata"},
                            {"preallocation": "falloc"}, {"size": 3 * MIB, "preallocation": "full"},
                            {"size": self.SIZE + 1024}, {"size": 5 * MIB}, {"extended_l2": "off"}, {"compat": "0.10"},
                            {"extended_l2": "off", "size": self.SIZE + 1024}):
                self.same_after(**request)

    def test_a_disk_may_end_anywhere_in_them_and_grow_again(self):
        ends = [cluster * CLUSTER + offset for cluster, offset in (
            (0, 512), (0, 3 * KIB), (0, 16 * KIB), (2, 33 * KIB), (3, SUB), (5, 512), (6, 0), (8, 1024), (11, 32 * KIB),
            (14, 31 * KIB), (17, 5 * KIB), (18, 33 * KIB), (21, 32 * KIB), (27, 32 * KIB), (28, 31 * KIB), (30, 34 * KIB),
            (32, 17 * KIB))]
        for _ in self.each():
            for end in ends:
                with self.subTest(end=end):
                    image, mirror = self.same_after(size=end)
                    self.amended(image, flags=CONTENT, size=3 * MIB)
                    os.truncate(mirror, 3 * MIB)
                    self.assert_mirrored(image, mirror)

    def test_snapshots_keep_theirs_while_a_guest_writes_into_the_amended_image(self):
        """271 looks at copy-on-write of subclusters; here the tables that are copied were written by an amend."""
        for request in ({"refcount_bits": 32}, {"size": 3 * MIB, "snapshots.delete": "gone"},
                        {"preallocation": "metadata"}):
            with self.subTest(**request):
                self.begin(False)
                self.snapshot(self.image, "gone")
                self.do(*[(verb, c, at * KIB, SUB) for c in range(10)
                          for verb, at in (("zero", 14), ("write", 26), ("write", 36))])
                self.snapshot(self.image, "s")
                before = guest.read_all(self.image)["snapshot s"]
                self.image, self.mirror = self.same_after(**request)
                self.do(("write", 0, 30 * KIB, KIB), ("write", 1, 20 * KIB, KIB), ("write", 2, 40 * KIB, KIB),
                        ("write", 3, 26 * KIB, KIB), ("write", 4, 14 * KIB, KIB), ("write", 5, KIB, KIB),
                        ("zero", 6, 30 * KIB, 3 * KIB), ("zero", 7, 26 * KIB, SUB), ("zero", 8, 26 * KIB, KIB),
                        ("zero", 9, 12 * KIB, KIB))
                self.assert_mirrored(self.image, self.mirror)
                after = guest.read_all(self.image)["snapshot s"]
                self.assertTrue(before == after, after.difference(before))

    def test_a_shrink_and_growth_leave_entries_as_those_of_qemu(self):
        """Past the smaller disk's end nothing is left; over a backing file all of it reads zero afterwards."""
        for backed in (False, True):
            self.begin(backed)
            self.do(("write", 0, 0, 2 * CLUSTER), ("discard", 0, 0, 2 * CLUSTER))
            judge = self.copy(self.image, "judge.qcow2")
            for size in (64 * KIB, MIB):
                self.amended(self.image, shrink=True, flags=CONTENT, size=size)
                proc.must(["qemu-img", "resize", "-q", "--shrink", judge, str(size)])
            words = []
            for image in (self.image, judge):
                found = qcow2.load(image)
                at = found.l2_entry_offset(CLUSTER)
                words.append((found.u64(at), found.u64(at + 8)))
            self.assertEqual(words[0], words[1])
            self.assertEqual(words[0][1], 0xffffffff << 32 if backed else 0)

    def test_growth_over_a_backing_file_with_preallocation(self):
        for mode in ("metadata", "falloc", "full"):
            for old, new in ((512 * KIB, MIB), (503 * KIB, 1013 * KIB)):
                for how in ({}, {"preallocation": mode}):
                    with self.subTest(mode=mode, old=old, **how):
                        self.raw("base", "1M", "write -q -P 255 0 1M")
                        image = self.create(size=str(old), extended_l2="on", backing="base", backing_fmt="raw",
                                            **({} if how else {"preallocation": mode}))
                        self.amended(image, flags=CONTENT, size=new, **how)
                        self.assert_reads(image, 0, old, 255)
                        self.assert_reads(image, old, new - old, 0)
                        self.assert_sound(image)

    def test_the_largest_disk(self):
        """Entries of twice the size reach half as far: 1 PiB with clusters of 64 KiB."""
        for cluster, most in ((64, 1024), (16, 64)):
            image = self.create(size="1M", extended_l2="on", cluster_size=f"{cluster}k")
            self.refused(image, "refused", words="too large", size=f"{most + 1}T")
            self.amended(image, size=f"{most}T")
            self.assert_sound(image)
            image = self.create(size=f"{most + 1}T", cluster_size=f"{cluster}k")
            self.refused(image, "refused", words="32 MiB", extended_l2="on")


class Damaged(ImageTest):
    """L2 entries that are wrong, and some that only look so."""

    def made(self, *writes, **options):
        image = self.create(extended_l2="on", **options)
        self.io(image, *writes)
        return image, qcow2.load(image).l2_entry_offset(0)

    def verdict(self, image):
        return qbatch.qbatch("check", "--json", image)

    def test_the_zero_flag_of_a_standard_entry_means_nothing(self):
        """QEMU ignores it; an entry that becomes a standard one must not have it."""
        image, at = self.made("write -q -P 17 0 64k", "write -q -z 128k 64k", "write -q -P 18 192k 64k")
        for cluster in (0, 1, 2):
            entry = qcow2.load(image).u64(at + 16 * cluster)
            qcow2.patch_u64(image, at + 16 * cluster, entry | qcow2.ZERO)
        self.assert_sound(image)
        self.assertEqual(self.verdict(image).code, 0)
        for request in ({"refcount_bits": 64}, {"extended_l2": "off"}, {"size": 192 * KIB + 512}, {"size": 200 * KIB},
                        {"preallocation": "metadata"}, {"size": 64 * KIB + 512}, {"size": 512}):
            with self.subTest(**request):
                self.amended_keeping_content(self.copy(image, "copy.qcow2"), shrink=True, flags=CONTENT, **request)

    def test_entries_that_qemu_cannot_read_are_refused(self):
        both, alone = (0xffffffff | 1 << 32), 1
        for what, writes, place, value in (
                ("allocated and zero", ("write -q 32k 128k",), 24, both),
                ("allocated without a cluster", ("write -q 256k 1k",), 8, alone),
                ("both without a cluster", ("write -q 256k 1k",), 24, 1 << 32 | 1),
                ("compressed with subclusters", ("write -q -c -P 11 0 64k",), 8, 1 << 32 | 1 << 31)):
            with self.subTest(what):
                image, at = self.made(*writes)
                qcow2.patch_u64(image, at + place, value)
                self.assertEqual(guest.check(image)[:2], (2, 1))
                checked = self.verdict(image)
                self.assertEqual((checked.code, checked.first["corruptions"]), (2, 1), str(checked))
                for request in ({"refcount_bits": 64}, {"extended_l2": "off"}, {"repair": "all"},
                                {"preallocation": "metadata"}):
                    self.refused(image, "corrupt", words="impossible subcluster bitmap", **request)

    def test_offsets_that_are_not_aligned_are_refused(self):
        """QEMU mends one of which no subcluster is allocated; what the image shows there depends on that entry alone."""
        self.raw("base", "128k", "write -q -P 255 0 128k")
        for zero in (False, True):
            image, at = self.made("write -q -P 1 4k 2k", *(["write -q -z 4k 2k"] if zero else []), size="128k",
                                  backing="base", backing_fmt="raw")
            qcow2.patch(image, at + 6, b"\2")
            self.assertEqual(guest.check(image)[0], 2)
            self.assertEqual(self.verdict(image).code, 2)
            for request in ({"refcount_bits": 64}, {"extended_l2": "off"}, {"repair": "all"}):
                self.refused(image, "corrupt", words="not cluster aligned", **request)


class DataFile(ImageTest):
    def setUp(self):
        super().setUp()
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(self.folder)  # from where QEMU takes the data file's name

    def made(self, raw="off"):
        """As 244 lays it out: written, discarded, zeroed after a discard, zeroed after a write, zeroed."""
        for name in ("a.qcow2", "a.data"):
            proc.must(["rm", "-f", self.path(name)])
        image = self.create(size="16M", data_file="a.data", data_file_raw=raw)
        self.io(image, "write -q -P 17 1M 4M", "discard -q 2M 2M", "write -q -z 3M 3M")
        return image

    def assert_content(self, image):
        for at, length, byte in ((0, MIB, 0), (MIB, MIB, 17), (2 * MIB, 4 * MIB, 0)):
            self.assert_reads(image, at, length, byte)
        self.assert_sound(image)

    def head(self):
        with open("a.data", "rb") as f:
            return f.read(16 * MIB)

    def test_what_a_guest_left_in_the_data_file_stays(self):
        for raw in ("off", "on"):
            image = self.made(raw)
            before = self.head()
            for request in ({"lazy_refcounts": "on"}, {"refcount_bits": 64}, {"size": "20M"}, {"extended_l2": "on"},
                            {"extended_l2": "off"}, {"size": "22M", "refcount_bits": 16}, {"size": "17M"}):
                with self.subTest(raw=raw, **request):
                    self.amended(image, shrink=True, flags=CONTENT, **request)
                    self.assert_content(image)
                    self.assertEqual(self.head(), before, "bytes of the data file changed")
            self.assertEqual(qbatch.qbatch("check", image).code, 0)

    def test_nothing_shows_through_a_raw_one(self):
        """Not even a backing file that QEMU is given when it opens the image: the data file alone is the disk."""
        self.raw("base", "32M", "write -q -P 42 0 32M")
        image = self.made("on")
        for request in ({}, {"size": "22M"}, {"size": 22 * MIB + 512}, {"size": "18M"}, {"refcount_bits": 64},
                        {"extended_l2": "on"}, {"size": "30M"}):
            with self.subTest(**request):
                if request:
                    self.amended(image, shrink=True, flags=CONTENT, **request)
                self.assert_disk_is_file()

    def assert_disk_is_file(self):
        guest.qemu_img("compare", "-q", "--image-opts", "driver=raw,file.filename=a.data",
                       "driver=qcow2,file.filename=a.qcow2,backing.driver=raw,backing.file.filename=base")

    def test_one_that_becomes_raw_keeps_its_unallocated_clusters(self):
        """QEMU makes raw ones with all clusters allocated, and cannot make one raw.  The file alone is the disk, too;
        what others write to it shows only where the image has a cluster, as the manual says."""
        image = self.made()
        with open("a.data", "r+b") as f:  # what a zeroed cluster had before
            f.seek(2 * MIB)
            f.write(bytes(4 * MIB))
        self.amended(image, flags=CONTENT, data_file_raw="on")
        guest.qemu_img("compare", "-q", "-f", "raw", "-F", "qcow2", "a.data", image)
        self.io("a.data", "write -q -P 3 1M 64k", "write -q -P 4 8M 64k", fmt="raw")
        self.assert_reads(image, MIB, 64 * KIB, 3)
        self.assert_reads(image, 8 * MIB, 64 * KIB, 0)
        self.amended(image, flags=CONTENT, size="20M")
        self.io("a.data", "write -q -P 5 17M 64k", fmt="raw")
        self.assert_reads(image, 17 * MIB, 64 * KIB, 5)
        self.assert_sound(image)

    def test_an_image_that_does_not_name_its_file(self):
        """As `qemu-img amend -o data_file=` leaves it: QEMU is told the name at each start."""
        image = self.made()
        proc.must(["qemu-img", "amend", "-o", "data_file=", image])
        self.amended(image, lazy_refcounts="on", refcount_bits=64)
        self.assertEqual(qbatch.qbatch("check", image).code, 0)
        for request in ({"size": "17M"}, {"data_file_raw": "on"}):
            self.refused(image, "backing_refused", words="data_file=NAME", **request)
        told = "driver=qcow2,file.filename=a.qcow2,data-file.filename=a.data"
        guest.qemu_img("check", "-q", "--image-opts", told)
        proc.must(["qemu-io", "-r", "--image-opts", "-c", "read -P 17 1M 1M", told])
        record = self.amended(image, data_file="a.data", size="17M")
        self.assertTrue(record["data_file_unchecked"])
        self.assert_content(image)

    def test_a_compressed_cluster_in_the_image_is_damage(self):
        image = self.made()
        at, _ = self.first_entry(image, MIB)
        qcow2.patch_u64(image, at, qcow2.COMPRESSED)
        self.assertEqual(guest.check(image)[:2], (2, 1))
        checked = qbatch.qbatch("check", "--json", image)
        self.assertEqual((checked.code, checked.first["corruptions"]), (2, 1), str(checked))
        self.refused(image, "corrupt", words="compressed entry", refcount_bits=64)


class Bitmaps(BitmapTest):
    """303: an enabled and a disabled one of two granularities, in images of both compression types."""

    def test_each_amend_keeps_them(self):
        for kind, requests in (("zlib", ({"size": "12M"}, {"compression_type": "zstd"})),
                               ("zstd", ({"refcount_bits": 64}, {"lazy_refcounts": "on"}, {"size": 5 * MIB + 512},
                                         {"extended_l2": "on"}, {"compression_type": "zlib"},
                                         {"bitmaps.remove": "bitmap-1"}, {"preallocation": "metadata"}))):
            for request in requests:
                with self.subTest(kind=kind, **request):
                    image = self.create(size="10M", compression_type=kind)
                    for number, first, end, more in ((1, 0, 6, []), (2, 6, 8, ["--disable"])):
                        bitmaps.qemu(image, ["--add", "-g", str(1 << (14 + number)), *more, f"bitmap-{number}"])
                        self.io(image, *(f"write -q {i}M 1M" for i in range(first, end)))
                    judge = self.copy(image, "judge.qcow2")
                    size = request.get("size")
                    if size:
                        proc.must(["qemu-img", "resize", "-q", "--shrink", judge, str(size)])
                    if "bitmaps.remove" in request:
                        bitmaps.qemu(judge, ["--remove", "bitmap-1"])
                    self.amended_keeping_content(image, shrink=True, flags=CONTENT, **request)
                    self.assert_same_bitmaps(image, judge)
                    entries = [[(e.name, e.entries, e.flags, e.type, e.bits, e.extra) for e in bitmaps.directory(each)]
                               for each in (image, judge)]
                    self.assertEqual(*entries)


if __name__ == "__main__":
    main()
