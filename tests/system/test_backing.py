"""backing_file and backing_fmt: names in the header, nothing else."""
import os

import context  # noqa: F401
import guest
import proc
import qbatch
import qcow2
from fixture import MIB, ImageTest, main


class Backing(ImageTest):
    def names(self, image):
        shown = guest.info(image)
        return shown.get("backing-filename"), shown.get("backing-filename-format")

    def test_a_backing_file_is_set_changed_and_removed(self):
        self.raw("one.raw", "1M", "write -q -P 1 0 1M")
        self.raw("two.raw", "1M", "write -q -P 2 0 1M")
        image = self.create()
        self.io(image, "write -q -P 7 0 64k")
        for name, byte in (("one.raw", 1), ("two.raw", 2)):
            self.amended(image, backing_file=name, backing_fmt="raw")
            self.assertEqual(self.names(image), (name, "raw"))
            self.assert_reads(image, 0, "64k", 7)
            self.assert_reads(image, "64k", "960k", byte)
        self.amended(image, backing_file="")
        self.assertEqual(self.names(image), (None, None))
        self.assert_reads(image, "64k", "960k", 0)
        self.assert_sound(image)

    def test_long_names_in_small_header_clusters(self):
        """All that qemu-img takes; a longer header on top of that may leave no room."""
        for cluster_size in (512, 1024, 2048, 4096):
            for compat, other in (("0.10", "1.1"), ("1.1", "0.10")):
                for length in (300, 430, 600, 900, 1023):
                    for change in ({}, {"compat": other}):
                        name = "/" + "x" * (length - 1)
                        with self.subTest(f"{cluster_size} {compat} {length} {change}"):
                            self.long_name(cluster_size, compat, name, change)

    def long_name(self, cluster_size, compat, name, change):
        image = self.create("long.qcow2", cluster_size=cluster_size, compat=compat)
        theirs = self.copy(image, "theirs.qcow2")
        taken = proc.run(["qemu-img", "rebase", "-u", "-f", "qcow2", "-b", name, "-F", "raw", theirs]).code == 0
        sha, stat = proc.sha256(image), os.stat(image)
        answer = qbatch.amend(image, cwd=self.folder, backing_file=name, backing_fmt="raw", **change)
        if answer.status == "changed":
            self.assertEqual(self.names(image), (name, "raw"))
            if guest.info(image)["format-specific"]["data"]["compat"] == "1.1":
                self.amended(image, lazy_refcounts="on")  # what changes elsewhere leaves it
                self.assertEqual(self.names(image), (name, "raw"))
        else:
            self.assertFalse(taken and not change, str(answer))
            self.assertEqual(answer.error, "header_full", str(answer))
            self.assert_untouched(image, sha, stat)

    def test_the_format_alone_can_change(self):
        self.raw("one.raw", "1M")
        image = self.create(backing="one.raw", backing_fmt="raw")
        self.amended(image, backing_fmt="qcow2")
        self.assertEqual(qcow2.load(image).extension(qcow2.EXT_BACKING_FORMAT), b"qcow2")
        self.assertEqual(qcow2.load(image).backing_file, "one.raw")

    def test_neither_the_old_nor_the_new_file_need_exist(self):
        self.raw("old.raw", "1M")
        image = self.create(backing="old.raw", backing_fmt="raw")
        os.unlink(self.path("old.raw"))
        self.amended(image, backing_file="/nowhere/new.qcow2", backing_fmt="qcow2")
        self.assertEqual(qcow2.load(image).backing_file, "/nowhere/new.qcow2")
        self.amended(image, lazy_refcounts="on")
        self.amended(image, refcount_bits=64)

    def test_the_report_says_that_the_content_was_not_looked_at(self):
        record = self.amended(self.create(), backing_file="new.raw", backing_fmt="raw")
        self.assertIn("unchecked", str(record).lower())

    def test_the_format_is_the_first_extension_for_older_libvirt(self):
        image = self.create()
        qcow2.patch(image, 112, b"\x12\x34\x56\x78\0\0\0\x08unknown!" + b"\0" * 8)
        self.amended(image, backing_file="new.raw", backing_fmt="raw")
        kinds = [e.type for e in qcow2.load(image).extensions()]
        self.assertEqual(kinds[:1], [qcow2.EXT_BACKING_FORMAT])
        self.assertIn(0x12345678, kinds)

    def test_the_longest_name_fits_and_one_byte_more_does_not(self):
        image = self.create()
        self.amended(image, backing_file="n" * 1023, backing_fmt="raw")
        self.assertEqual(qcow2.load(image).backing_file, "n" * 1023)
        self.never_accepted(image, backing_file="n" * 1024, backing_fmt="raw")

    def test_with_512_byte_clusters_a_name_that_does_not_fit_is_refused(self):
        image = self.create(cluster_size=512)
        self.amended(image, backing_file="n" * 300, backing_fmt="raw")
        self.refused(image, backing_file="n" * 500, backing_fmt="raw")
        self.assertEqual(qcow2.load(image).backing_file, "n" * 300)

    def test_a_name_may_hold_commas_and_any_utf_8(self):
        image = self.create()
        self.amended(image, backing_file="a,b=ü.raw", backing_fmt="raw")
        self.assertEqual(qcow2.load(image).backing_file, "a,b=ü.raw")

    def test_growing_over_a_backing_file_that_comes_with_the_same_request_shows_zeros(self):
        self.raw("long.raw", "4M", "write -q -P 9 0 4M")
        image = self.create(size="1M")
        self.amended(image, size=4 * MIB, backing_file="long.raw", backing_fmt="raw")
        self.assert_sound(image)
        self.assert_reads(image, 0, "1M", 9)
        self.assert_reads(image, "1M", "3M", 0)

    def test_an_image_may_not_become_its_own_backing_file(self):
        image = self.create()
        self.refused(image, "backing_loop", "refused", backing_file="a.qcow2",
                     backing_fmt="qcow2")

    def test_a_chain_that_is_amended_in_one_run_stays_readable(self):
        self.create("base.qcow2", size="2M")
        self.io(self.path("base.qcow2"), "write -q -P 1 0 2M", "write -q -z 0 64k")
        image = self.create("top.qcow2", size="2M", backing="base.qcow2")
        self.io(image, "write -q -z -u 128k 64k")
        before = guest.read_all(image)
        answer = self.run_manifest("""
            version: 1
            defaults: {compat: "0.10"}
            images: [{path: [top.qcow2, base.qcow2]}]
            """)
        self.assertEqual([r["status"] for r in answer.records], ["changed"] * 2, str(answer))
        self.assert_same_layers(before, guest.read_all(image))
        self.assert_sound(image)
        self.assert_sound(self.path("base.qcow2"))


if __name__ == "__main__":
    main()
