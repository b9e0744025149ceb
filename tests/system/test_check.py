"""`qbatch check` counts what `qemu-img check` counts, and never writes."""
import os

import context  # noqa: F401
import guest
import proc
import qbatch
import qcow2
from fixture import ImageTest, main


class Check(ImageTest):
    def agree(self, image):
        code, corruptions, leaks, _ = guest.check(image)
        sha = proc.sha256(image)
        answer = qbatch.qbatch("check", "--json", image)
        self.assertFalse(answer.crashed, str(answer))
        found = answer.first
        self.assertEqual((found["corruptions"], found["leaks"]), (corruptions, leaks), str(answer))
        self.assertEqual(answer.code, code, str(answer))
        self.assertEqual(proc.sha256(image), sha)

    def test_on_sound_images(self):
        for number, options in enumerate(({}, {"compat": "0.10"}, {"cluster_size": 512},
                                          {"extended_l2": "on"}, {"compression_type": "zstd"},
                                          {"refcount_bits": 1})):
            image = self.create(f"{number}.qcow2", **options)
            self.io(image, "write -q -P 1 0 100k", "write -q -c -P 2 512k 64k", "write -q -z 0 64k")
            with self.subTest(**options):
                self.agree(image)

    def test_on_leaks(self):
        image = self.create()
        for _ in range(3):
            qcow2.append_cluster(image, b"leak")
        self.agree(image)

    def test_on_refcounts_that_are_too_low(self):
        image = self.create()
        self.io(image, "write -q -P 1 0 256k")
        _, entry = self.first_entry(image)
        qcow2.set_refcount(image, (entry & qcow2.L2_OFFSET) >> 16, 0)
        self.agree(image)

    def test_on_wrong_copied_flags(self):
        image = self.create()
        self.io(image, "write -q -P 1 0 256k")
        place, entry = self.first_entry(image)
        qcow2.patch_u64(image, place, entry & ~qcow2.COPIED)
        self.agree(image)

    def test_on_dirty_images(self):
        image = self.create(lazy_refcounts="on")
        self.killed_io(image, "write -q -P 1 0 256k")
        self.agree(image)

    def test_the_mark_corrupt_is_a_finding(self):
        image = self.create()
        with open(image, "r+b") as f:
            f.seek(qcow2.HEADER_FIELDS["incompatible_features"][0] + 7)
            f.write(bytes([qcow2.INCOMPAT_CORRUPT]))
        answer = qbatch.qbatch("check", image)
        self.assertEqual(answer.code, 2, str(answer))
        self.assertIn("ERROR: the image is marked corrupt at 0x48", answer.result.out)
        self.refused(image, "corrupt", lazy_refcounts="on")

    def test_snapshots_without_a_disk_size(self):
        """An entry of version 2 may have none; in version 3 QEMU calls each such entry corrupt."""
        for extra, version in ((0, 2), (8, 2), (0, 3), (8, 3), (16, 3)):
            with self.subTest(extra=extra, version=version):
                image = self.create("s.qcow2", compat="0.10")
                for i in range(3):
                    self.snapshot(image, f"s{i}")
                qcow2.rewrite_snapshots(image, [bytes(extra)] * 2 + [bytes(8) + (1 << 20).to_bytes(8, "big")])
                if version == 3:
                    qcow2.patch_header(image, version=3, header_length=104, refcount_order=4)
                self.agree(image)

    def test_zero_clusters_in_version_2(self):
        """QEMU calls them corrupt once it reads them; its check does not look."""
        image = self.create(size="8M", cluster_size=4096)
        self.io(image, "write -q -z 1M 4k", "write -q -P 1 3M 64k")
        with open(image, "r+b") as f:
            f.seek(7)
            f.write(b"\2")
        answer = qbatch.qbatch("check", image)
        self.assertEqual(answer.code, 2, str(answer))
        found = qcow2.load(image)
        first = found.l2_entry_offset(1 << 20)
        self.assertEqual(found.u64(first), 1)
        self.assertIn(f"ERROR: a version 2 image has 1 zero cluster at {first:#x}\n", answer.result.out)
        with open(image, "r+b") as f:  # a second one, before it
            f.seek(first - 5 * 8)
            f.write((1).to_bytes(8, "big"))
        answer = qbatch.qbatch("check", image)
        self.assertIn(f"2 zero clusters, of which this is the first at {first - 5 * 8:#x}\n", answer.result.out)
        with open(image, "r+b") as f:
            f.seek(first - 5 * 8)
            f.write(bytes(8))
        self.refused(image, "corrupt", compat="0.10")
        self.refused(image, "corrupt", size="16G")

    def test_a_file_may_end_where_an_empty_l1_table_begins(self):
        for compat in ("0.10", "1.1"):
            for request in ({"lazy_refcounts": "off"}, {"compat": "1.1"}, {"compat": "0.10"}, {"size": "1T"}, {"size": "20M"},
                            {"size": "5M"}):
                with self.subTest(f"{compat} {request}"):
                    image = self.create("short.qcow2", size="10M", compat=compat)
                    os.truncate(image, qcow2.load(image).header["l1_table_offset"])
                    self.agree(image)
                    answer = qbatch.amend(image, shrink=True, flags=["--verify", "content"], **request)
                    self.assertIn(answer.status, ("changed", "unchanged"), str(answer))
                    self.io(image, "write -q -P 7 1M 1M", "read -q -P 7 1M 1M")
                    self.assert_sound(image)

    def test_people_are_told_in_words(self):
        done = qbatch.qbatch("check", self.create())
        self.assertEqual(done.code, 0, str(done))
        self.assertIn("No errors", done.result.out)


if __name__ == "__main__":
    main()
