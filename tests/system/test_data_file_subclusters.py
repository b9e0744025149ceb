"""A new size within a cluster of the data file that has subclusters of several sorts: nothing can be copied
there, so what the old image does not show is filled in place.  QEMU is the judge, and resizes in turn."""
import itertools
import os
import unittest

import context  # noqa: F401
import guest
import proc
import qbatch
import qcow2
from fixture import KIB, MIB, OTHER_BUILD, ImageTest, main

SUB = 2 * KIB
EDGE = MIB + 10 * SUB  # where the end is, or shortly after it
SORTS = ("allocated", "zero", "unallocated", "idle")
BACKINGS = {"none": 0, "shorter": EDGE - SUB + 512, "longer": 3 * MIB}


class Subclusters(ImageTest):
    def setUp(self):
        super().setUp()
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(self.folder)
        self.raw("shorter", BACKINGS["shorter"], f"write -q -P 8 0 {BACKINGS['shorter']}")
        self.raw("longer", BACKINGS["longer"], f"write -q -P 9 0 {BACKINGS['longer']}")

    def cases(self):
        for sort, backing, raw, inside in itertools.product(SORTS, BACKINGS, ("off", "on"), (0, 512)):
            if raw == "on" and backing != "none":
                continue
            with self.subTest(sort=sort, backing=backing, raw=raw, inside=inside):
                yield self.make(sort, backing, raw), EDGE + inside
                os.unlink("a.qcow2")
                os.unlink("a.data")

    def make(self, sort, backing, raw="off"):
        """An image of 2 MiB, in which the subclusters around EDGE are of this sort."""
        options = {} if backing == "none" else {"backing": backing, "backing_fmt": "raw"}
        image = self.create(size="2M", data_file="a.data", data_file_raw=raw, extended_l2="on", **options)
        around = f"{EDGE - 2 * SUB} {4 * SUB}"
        if sort == "idle":
            self.io(image, f"write -q -P 5 {MIB} {SUB}", "write -q -P 4 0 4k")
            self.forget(image, MIB)
            return image
        self.io(image, f"write -q -P 5 {MIB} {SUB}", "write -q -P 4 0 4k",
                f"write -q -P 3 {MIB + 60 * KIB} {SUB}")
        if sort != "unallocated":
            self.io(image, f"write -q {'-P 6' if sort == 'allocated' else '-z'} {around}")
        self.assertEqual(qcow2.load(image).partial(), 2)
        return image

    def forget(self, image, at):
        """The cluster there keeps its place, and no subcluster is used: there is no such command."""
        place = qcow2.load(image).l2_entry_offset(at)
        with open(image, "r+b") as f:
            f.seek(place + 8)
            f.write(bytes(8))
        self.io("a.data", f"write -q -z {at} {SUB}", fmt="raw")

    def qemu_resize(self, image, size):
        proc.must(["qemu-img", "resize", "-q", *(["--shrink"] if size < MIB * 2 else []), image, str(size)])

    def junk(self):
        with open("a.data", "ab") as f:
            f.write(b"\xee" * 200 * KIB)

    def assert_raw(self, image):
        now = qcow2.load(image)
        if now.autoclear_features & qcow2.AUTOCLEAR_RAW:
            guest.qemu_img("compare", "-q", "--image-opts",
                           f"driver=raw,size={now.size},file.driver=file,file.filename=a.data",
                           f"driver=qcow2,file.driver=file,file.filename={image}")

    def grown(self, image, size, new):
        self.amended_keeping_content(image, flags=["--verify", "content"], size=new)
        self.assert_reads(image, size, new - size, 0)
        self.assert_raw(image)

    def test_growing(self):
        for image, size in self.cases():
            self.qemu_resize(image, size)
            self.junk()
            before = guest.read_all(image)["active"]
            for new in (size + 512, size + 3 * KIB, size + 20 * KIB, 2 * MIB + 512):
                self.grown(image, size, new)
            self.qemu_resize(image, 4 * MIB)
            after = guest.read_all(image)["active"]
            self.assertTrue(after == before.resized(4 * MIB), after.difference(before.resized(4 * MIB)))
            self.io(image, f"write -q -P 1 {size} 512", f"write -q -P 2 {MIB + 62 * KIB} 2k")
            self.assert_reads(image, size, 512, 1)
            self.assert_reads(image, size + 512, MIB + 62 * KIB - size - 512, 0)

    def test_shrinking(self):
        for image, size in self.cases():
            self.amended_keeping_content(image, shrink=True, flags=["--verify", "content"], size=size)
            self.assertEqual(os.path.getsize("a.data"), size)
            self.assert_raw(image)
            before = guest.read_all(image)["active"]
            self.qemu_resize(image, 3 * MIB)
            after = guest.read_all(image)["active"]
            self.assertTrue(after == before.resized(3 * MIB), after.difference(before.resized(3 * MIB)))

    def test_shrinking_and_growing_again(self):
        for image, size in self.cases():
            self.amended(image, shrink=True, size=size)
            self.grown(image, size, 3 * MIB + 512)
            self.assert_sound(image)

    @unittest.skipUnless(os.environ.get("MEDDLER") and not os.environ.get("QBATCH_SANITIZED"), OTHER_BUILD)
    def test_what_shows_of_the_last_cluster_is_verified(self):
        """A byte of the data file that changes meanwhile matters where a subcluster is allocated."""
        for at, wrong in ((MIB + 100, True), (EDGE - SUB, False)):
            image = self.make("zero", "none")
            self.qemu_resize(image, EDGE + 512)
            env = {**os.environ, "LD_PRELOAD": os.path.abspath(os.environ["MEDDLER"]), "MEDDLE_AT": str(at),
                   "MEDDLE_PATH": self.path("a.data")}
            answer = qbatch.qbatch("amend", "--json", "--io", "posix", "--sandbox=off", "--verify", "content",
                                   "-o", "size=3M", image, env=env)
            self.assertEqual((answer.code, answer.error), (5, "verify") if wrong else (0, None), str(answer))
            os.unlink(image)


if __name__ == "__main__":
    main()
