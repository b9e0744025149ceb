"""size: growing shows zeros, shrinking loses what is cut and nothing else."""
import os
import struct

import context  # noqa: F401
import guest
import proc
import qbatch
import qcow2
from fixture import GIB, KIB, MIB, ImageTest, main


class Grow(ImageTest):
    def test_growing_within_the_l1_is_one_sector(self):
        image = self.create(size="1M")
        self.io(image, "write -q -P 1 0 1M")
        record = self.amended_keeping_content(image, size=4 * MIB)
        self.assertEqual(record["io"]["write_bytes"], 512)

    def test_growing_beyond_the_l1_moves_it(self):
        image = self.create(size="1M", cluster_size=512)
        self.io(image, "write -q -P 1 0 1M")
        self.snapshot(image, "s")
        self.amended_keeping_content(image, size=64 * MIB)

    def test_old_guest_ram_does_not_appear_in_the_new_space(self):
        image = self.create(size="2M", cluster_size=4096)
        self.io(image, "write -q -P 1 0 64k", "write -q -b -P 171 0 64k")
        self.amended_keeping_content(image, size=8 * MIB)
        self.assert_reads(image, "2M", "6M", 0)

    def test_the_longer_backing_file_does_not_appear_behind_the_old_end(self):
        self.raw("base.raw", "4M", "write -q -P 9 0 4M")
        for compat in ("1.1", "0.10"):
            for cluster_size in (512, 4096, 65536):
                with self.subTest(compat=compat, cluster_size=cluster_size):
                    image = self.create(f"{compat}-{cluster_size}.qcow2", size="1000k",
                                        backing="base.raw", backing_fmt="raw", compat=compat,
                                        cluster_size=cluster_size)
                    self.io(image, "write -q -P 1 0 64k")
                    self.amended_keeping_content(image, size=16 * MIB)
                    self.assert_reads(image, "1000k", "15M", 0)

    def test_only_the_backing_files_reach_needs_entries(self):
        self.raw("base.raw", "2M", "write -q -P 9 0 2M")
        image = self.create(size="1M", backing="base.raw", backing_fmt="raw")
        self.amended_keeping_content(image, size=4 * GIB)
        self.assertLess(os.path.getsize(image), 2 * MIB)

    def test_an_abandoned_tail_does_not_become_guest_data(self):
        self.raw("base.raw", "4M", "write -q -P 9 0 4M")
        image = self.create(size="1M", compat="0.10", backing="base.raw", backing_fmt="raw")
        with open(image, "ab") as f:
            f.write(b"garbage!" * 65536)
        self.amended(image, size=8 * MIB)
        self.assert_sound(image)
        self.assert_reads(image, "1M", "7M", 0)

    def test_version_2_without_snapshots_grows(self):
        image = self.create(compat="0.10")
        self.io(image, "write -q -P 1 0 1M")
        self.amended_keeping_content(image, size=3 * MIB)

    def test_version_2_with_snapshots_is_refused(self):
        image = self.create(compat="0.10")
        self.snapshot(image, "s")
        self.refused(image, "refused", size=3 * MIB, words="add compat=1.1")
        self.refused(image, "refused", size=512 * KIB, shrink=True)

    def test_a_disk_of_size_0_with_a_snapshot_can_be_amended(self):
        image = self.create(size="0")
        self.snapshot(image, "nothing")
        self.amended_keeping_content(self.copy(image, "b.qcow2"), size=MIB)
        self.amended_keeping_content(self.copy(image, "c.qcow2"), compat="0.10")
        self.amended_keeping_content(self.copy(image, "d.qcow2"), refcount_bits=64)

    def test_more_than_qemu_can_open_is_refused(self):
        self.refused(self.create(cluster_size=512), size="1E")

    def test_a_size_relative_to_the_old_one(self):
        image = self.create(size="1M")
        self.amended(image, size="+1M")
        self.assertEqual(guest.info(image)["virtual-size"], 2 * MIB)


class Shrink(ImageTest):
    def test_shrinking_needs_permission(self):
        image = self.create(size="4M")
        self.refused(image, "refused", size=MIB)

    def test_shrinking_keeps_the_common_part_and_gives_space_back(self):
        image = self.create(size="16M")
        self.io(image, "write -q -P 1 0 16M")
        before = os.stat(image).st_blocks
        self.amended_keeping_content(image, shrink=True, size=MIB)
        self.assertLess(os.stat(image).st_blocks * 512, before * 512 - 14 * MIB)

    def test_bytes_behind_an_unaligned_new_end_do_not_come_back_with_growth(self):
        for compat in ("0.10", "1.1"):
            with self.subTest(compat=compat):
                image = self.create(f"{compat}.qcow2", compat=compat)
                self.io(image, "write -q -P 1 0 1M")
                self.amended(image, shrink=True, size=100 * KIB)
                self.amended(image, size=MIB)
                self.assert_sound(image)
                self.assert_reads(image, 0, "100k", 1)
                self.assert_reads(image, "100k", 924 * KIB, 0)

    def test_the_same_when_the_last_cluster_is_shared_with_a_snapshot(self):
        image = self.create()
        self.io(image, "write -q -P 1 0 1M")
        self.snapshot(image, "whole")
        self.amended(image, shrink=True, size=100 * KIB)
        self.amended(image, size=MIB)
        self.assert_sound(image)
        self.assert_reads(image, "100k", 924 * KIB, 0)
        self.assert_snapshot_reads(image, "whole", 0, MIB, 1)

    def test_the_same_when_the_last_cluster_is_compressed(self):
        image = self.create()
        self.io(image, "write -q -c -P 1 64k 64k")
        self.amended(image, shrink=True, size=100 * KIB)
        self.amended(image, size=MIB)
        self.assert_sound(image)
        self.assert_reads(image, "64k", 36 * KIB, 1)
        self.assert_reads(image, "100k", 924 * KIB, 0)

    def test_the_same_over_a_backing_file(self):
        self.raw("base.raw", "1M", "write -q -P 9 0 1M")
        image = self.create(backing="base.raw", backing_fmt="raw")
        self.amended(image, shrink=True, size=100 * KIB)
        self.amended(image, size=MIB)
        self.assert_sound(image)
        self.assert_reads(image, 0, "100k", 9)
        self.assert_reads(image, "100k", 924 * KIB, 0)

    def test_shrinking_an_empty_1_tib_image_touches_a_few_clusters(self):
        image = self.create(size="1T")
        record = self.amended(image, shrink=True, size=GIB)
        self.assert_sound(image)
        self.assertLess(record["io"]["write_bytes"], MIB)

    def test_the_l1_gives_its_space_back(self):
        image = self.create(size="64M", cluster_size=512)
        before = qcow2.load(image).l1_size
        self.amended(image, shrink=True, size=MIB)
        self.assert_sound(image)
        self.assertLess(qcow2.load(image).l1_size, before // 8)

    def test_vm_state_of_a_snapshot_survives_a_resize(self):
        image = self.create(size="2M", cluster_size=4096)
        self.io(image, "write -q -P 1 0 2M", "write -q -b -P 171 0 64k")
        self.snapshot(image, "with-ram")
        for size, shrink in ((8 * MIB, False), (512 * KIB, True)):
            with self.subTest(size=size):
                one = self.copy(image, f"{size}.qcow2")
                self.amended_keeping_content(one, shrink=shrink, size=size)
                proc.must(["qemu-img", "snapshot", "-a", "with-ram", one])
                self.io(one, "read -q -b -P 171 0 64k")


class OddSizes(ImageTest):
    def test_a_size_that_is_no_multiple_of_512_stays_byte_exact(self):
        requests = [{"lazy_refcounts": "on"}, {"refcount_bits": 64}, {"compat": "0.10"},
                    {"backing_file": "b.raw", "backing_fmt": "raw"}]
        self.raw("b.raw", "1M")
        for number, request in enumerate(requests):
            with self.subTest(**request):
                image = self.create(f"{number}.qcow2")
                self.io(image, "write -q -P 1 0 64k", "write -q -z 0 64k")
                qcow2.patch_header(image, size=MIB - 137)
                self.amended(image, **request)
                self.assert_sound(image)
                self.assertEqual(qcow2.load(image).size, MIB - 137)

    def test_a_size_of_zero_or_nonsense_is_never_assumed(self):
        image = self.create()
        for size in ("", "x", "1GB", "-1", "99999999999999999999", "1.5", "0x", "1M M", "+"):
            with self.subTest(size=size):
                self.never_accepted(image, size=size)


class JunkBehindTables(ImageTest):
    """What lies past the L1 table, or in its last L2 table past the disk's end, is nobody's; a grown
    disk must not take it for its own."""

    def junk(self, image, place, entry):
        with open(image, "r+b") as f:
            f.seek(place)
            f.write(struct.pack(">Q", entry))

    def test_entries_past_the_l1_table_do_not_become_the_disk(self):
        for cluster, size, grown in ((512, "64K", "128K"), (512, "64K", "96K"), (2 << 20, "1G", "1T"),
                                     (2 << 20, "1G", "3T")):
            image = self.create(f"{cluster}-{grown}.qcow2", size=size, cluster_size=cluster)
            self.io(image, "write -q -P 7 0 64k")
            found = qcow2.load(image)
            l1, n = found.l1_table_offset, found.l1_size
            last = l1 + -(-8 * n // cluster) * cluster
            if os.path.getsize(image) < last:
                os.truncate(image, last)
            needed = -(-qcow2_bytes(grown) // (cluster * cluster // 8))
            places = {n, needed - 1, (n + needed - 1) // 2}
            for i in sorted(p for p in places if l1 + 8 * p + 8 <= last):
                for what, entry in (("valid", found.u64(l1)), ("far", 1 << 40 | 1 << 63), ("odd", 0x1ff)):
                    with self.subTest((cluster, grown, i, what)):
                        copy = self.copy(image, "copy.qcow2")
                        self.junk(copy, l1 + 8 * i, entry)
                        record = self.amended_keeping_content(copy, size=grown)
                        self.assertNotEqual(qcow2.load(copy).l1_table_offset, l1)
                        self.assertTrue(record["clusters"])

    def test_entries_of_the_last_l2_table_past_the_end_do_not_become_the_disk(self):
        for cluster, size, grown in ((512, "5K", "8K"), (512, "5K", "64K"), (2 << 20, "1G", "2G")):
            image = self.create(f"l2-{cluster}-{grown}.qcow2", size=size, cluster_size=cluster)
            self.io(image, "write -q -P 7 0 2k")
            found = qcow2.load(image)
            table = found.u64(found.l1_table_offset) & qcow2.L1_OFFSET
            first = -(-found.size // cluster)
            for i in (first, (first + cluster // 8) // 2, cluster // 8 - 1):
                with self.subTest((cluster, grown, i)):
                    copy = self.copy(image, "copy.qcow2")
                    self.junk(copy, table + 8 * i, 1)  # a zero cluster: valid, and not the disk's
                    before = guest.read_all(copy)
                    answer = qbatch.amend(copy, cwd=self.folder, size=grown)
                    self.assertEqual(answer.code, 0, str(answer))
                    self.assertEqual(qcow2.load(copy).u64(qcow2.load(copy).l2_entry_offset(i * cluster))
                                     if qcow2_bytes(grown) > i * cluster else 0, 0)
                    after = guest.read_all(copy)
                    before["active"] = before["active"].resized(after["active"].size)
                    self.assert_same_layers(before, after)
                    self.assert_sound(copy)


def qcow2_bytes(text):
    return int(text[:-1]) << {"K": 10, "M": 20, "G": 30, "T": 40}[text[-1]]


if __name__ == "__main__":
    main()
