"""compat=0.10: zero clusters become something version 2 can say, in every layer."""
import os

import context  # noqa: F401
import guest
import proc
import qcow2
from fixture import MIB, ImageTest, main


class ZeroClustersAndSnapshots(ImageTest):
    def data_snapshot_zero(self, **create):
        image = self.create(**create)
        self.io(image, "write -q -P 1 0 64k")
        self.snapshot(image, "before")
        self.io(image, "write -q -z 0 64k")
        return image

    def test_a_snapshot_keeps_its_data_when_the_zeroed_cluster_is_still_its_own(self):
        image = self.data_snapshot_zero()
        self.amended_keeping_content(image, compat="0.10")
        self.assert_snapshot_reads(image, "before", 0, 65536, 1)
        self.assert_reads(image, 0, "64k", 0)

    def test_a_snapshot_keeps_its_data_when_a_backing_file_would_show(self):
        self.raw("base.raw", "1M", "write -q -P 9 0 1M")
        image = self.data_snapshot_zero(backing="base.raw", backing_fmt="raw")
        for mode in ("allocate", "share", "defer"):
            with self.subTest(zero_clusters=mode):
                one = self.copy(image, f"{mode}.qcow2")
                self.amended_keeping_content(one, compat="0.10", zero_clusters=mode)

    def test_two_snapshots_share_the_cluster_and_the_active_layer_has_nothing(self):
        image = self.create()
        self.io(image, "write -q -P 1 0 64k")
        self.snapshot(image, "data")
        self.io(image, "write -q -z 0 64k")
        self.snapshot(image, "zero")
        self.io(image, "discard -q 0 1M")
        proc.must(["qemu-img", "snapshot", "-c", "third", image])
        self.amended_keeping_content(image, compat="0.10")
        self.assert_snapshot_reads(image, "data", 0, 65536, 1)

    def test_an_l2_table_shared_by_some_of_the_snapshots_only_is_copied_once_and_stays_shared(self):
        self.raw("base.raw", "1M", "write -q -P 9 0 1M")
        image = self.create(backing="base.raw", backing_fmt="raw")
        self.io(image, "write -q -z -u 0 64k")
        for name in ("one", "two", "three"):
            self.snapshot(image, name)
        self.io(image, "write -q -P 5 64k 64k")
        self.snapshot(image, "four")
        self.amended_keeping_content(image, compat="0.10")
        found = qcow2.load(image)
        tables = [found.l1(s.l1_table_offset, s.l1_size)[0] & qcow2.L1_OFFSET
                  for s in found.snapshots()]
        self.assertEqual(len(set(tables[:3])), 1)
        self.assertEqual(found.refcount(tables[0] // found.cluster_size), 3)

    def test_a_table_shared_by_many_snapshots_is_written_once(self):
        self.raw("base.raw", "1M", "write -q -P 9 0 1M")
        image = self.create(backing="base.raw", backing_fmt="raw", cluster_size=4096)
        self.io(image, "write -q -z -u 0 64k")
        few = self.copy(image, "few.qcow2")
        for number in range(40):
            self.snapshot(image, f"s{number}")
        one = self.amended_keeping_content(few, compat="0.10")
        many = self.amended_keeping_content(image, compat="0.10")
        self.assertEqual(one["clusters"]["expanded"], many["clusters"]["expanded"])
        l1_and_snapshot_tables = 42 * 4096
        self.assertLess(many["io"]["write_bytes"],
                        one["io"]["write_bytes"] + 2 * l1_and_snapshot_tables)

    def test_the_next_guest_write_does_not_land_in_the_snapshot(self):
        self.raw("base.raw", "1M", "write -q -P 9 0 1M")
        image = self.create(backing="base.raw", backing_fmt="raw")
        self.io(image, "write -q -z -u 0 1M")
        self.snapshot(image, "zeros")
        for mode in ("allocate", "share"):
            with self.subTest(zero_clusters=mode):
                one = self.copy(image, f"{mode}.qcow2")
                self.amended(one, compat="0.10", zero_clusters=mode)
                self.io(one, "write -q -P 7 0 1M")
                self.assert_snapshot_reads(one, "zeros", 0, MIB, 0)

    def test_copied_is_set_where_and_only_where_the_clusters_refcount_is_one(self):
        self.raw("base.raw", "1M", "write -q -P 9 0 1M")
        image = self.create(backing="base.raw", backing_fmt="raw")
        self.io(image, "write -q -z -u 0 128k", "write -q -P 3 128k 64k")
        self.snapshot(image, "s")
        self.io(image, "write -q -P 4 0 64k")
        self.amended(image, compat="0.10")
        found = qcow2.load(image)
        for layer, _, entry in found.entries():
            cluster = (entry & qcow2.L2_OFFSET) // found.cluster_size
            if layer == 0 and cluster:
                self.assertEqual(bool(entry & qcow2.COPIED), found.refcount(cluster) == 1)


class ANewSizeOnTheWayDown(ImageTest):
    """Version 2 gives every snapshot the disk's size: the size that the disk then has."""

    def image(self, **create):
        image = self.create(size="32M", cluster_size=65536, **create)
        self.io(image, "write -q -P 42 24M 64k", "write -q -z 25M 128k")
        self.snapshot(image, "foo")
        proc.must(["qemu-img", "resize", "-q", image, "128M"])
        self.io(image, "write -q -P 43 8M 1M", "write -q -P 44 120M 1M", "write -q -z 60M 1M")
        return image

    def test_the_snapshots_size_is_a_way_down(self):
        self.raw("base.raw", "256M", "write -q -P 9 0 256M")
        for create in ({}, {"backing": "base.raw", "backing_fmt": "raw"}):
            with self.subTest(**create):
                image = self.image(**create)
                self.amended_keeping_content(image, True, ["--verify", "content"],
                                             compat="0.10", size=32 * MIB)
                self.assertEqual(qcow2.load(image).version, 2)
                proc.must(["qemu-img", "snapshot", "-a", "foo", image])
                self.assert_reads(image, "24M", "64k", 42)
                self.assert_reads(image, "25M", "64k", 0)

    def test_it_may_be_larger_than_the_disk(self):
        image = self.image()
        proc.must(["qemu-img", "resize", "-q", "--shrink", image, "16M"])
        self.amended_keeping_content(image, compat="0.10", size=32 * MIB)
        self.assert_reads(image, "16M", "16M", 0)

    def test_any_other_size_is_refused_with_the_snapshots_name(self):
        image = self.image()
        self.refused(image, "refused", compat="0.10", words='snapshot "foo"')
        self.refused(image, "refused", compat="0.10", size=64 * MIB, shrink=True,
                     words="its disk has 32 MiB, not 64 MiB")

    def test_one_of_two_sizes_is_refused(self):
        image = self.image()
        self.snapshot(image, "bar")
        for size in (32 * MIB, 128 * MIB):
            self.refused(image, "refused", compat="0.10", size=size, shrink=True)


class WhereNoBackingFileReads(ImageTest):
    def test_zero_clusters_without_a_backing_file_cost_no_space(self):
        image = self.create(size="256M")
        self.io(image, "write -q -z -u 0 256M")
        record = self.amended_keeping_content(image, compat="0.10")
        self.assertEqual(record["clusters"]["expanded"], 0)
        self.assertLess(os.path.getsize(image), 2 * MIB)

    def test_preallocated_zero_clusters_without_a_backing_file_are_freed(self):
        image = self.create(size="16M")
        self.io(image, "write -q -P 1 0 16M", "write -q -z 0 16M")
        before = os.stat(image).st_blocks
        self.amended_keeping_content(image, compat="0.10")
        self.assertLess(os.stat(image).st_blocks * 512, before * 512 - 15 * MIB)

    def test_zeros_over_a_short_backing_file_expand_only_where_it_reaches(self):
        self.raw("base.raw", "256k", "write -q -P 9 0 256k")
        image = self.create(size="64M", backing="base.raw", backing_fmt="raw")
        self.io(image, "write -q -z -u 0 64M")
        record = self.amended_keeping_content(image, compat="0.10")
        self.assertEqual(record["clusters"]["expanded"], 4)

    def test_l2_tables_that_become_empty_are_freed(self):
        image = self.create(size="64M", cluster_size=4096)
        self.io(image, "write -q -z -u 0 64M")
        self.amended_keeping_content(image, compat="0.10")
        found = qcow2.load(image)
        self.assertFalse(any(entry & qcow2.L1_OFFSET for entry in found.l1()))

    def test_the_backing_decision_comes_from_the_request_when_it_removes_the_backing_file(self):
        self.raw("base.raw", "1M", "write -q -P 9 0 1M")
        image = self.create(backing="base.raw", backing_fmt="raw")
        self.io(image, "write -q -z -u 0 1M")
        record = self.amended(image, compat="0.10", backing_file="")
        self.assert_sound(image)
        self.assertEqual(record["clusters"]["expanded"], 0)
        self.assert_reads(image, 0, "1M", 0)

    def test_zeros_stay_zeros_when_the_request_also_adds_a_backing_file(self):
        self.raw("base.raw", "1M", "write -q -P 9 0 1M")
        image = self.create()
        self.io(image, "write -q -z -u 0 512k")
        self.amended(image, compat="0.10", backing_file="base.raw", backing_fmt="raw")
        self.assert_sound(image)
        self.assert_reads(image, 0, "512k", 0)
        self.assert_reads(image, "512k", "512k", 9)


class ZeroModes(ImageTest):
    def overlay(self):
        self.raw("base.raw", "32M", "write -q -P 9 0 1M")
        image = self.create(size="32M", backing="base.raw", backing_fmt="raw")
        self.io(image, "write -q -z -u 0 32M")
        return image

    def test_allocate_gives_each_zero_cluster_a_hole_of_its_own(self):
        image = self.overlay()
        before = os.stat(image).st_blocks * 512
        record = self.amended_keeping_content(image, compat="0.10", zero_clusters="allocate")
        self.assertEqual(record["clusters"]["expanded"], 512)
        self.assertGreaterEqual(os.path.getsize(image), 32 * MIB)
        self.assertLess(os.stat(image).st_blocks * 512, before + MIB)

    def test_share_lets_the_file_barely_grow(self):
        image = self.overlay()
        self.amended_keeping_content(image, compat="0.10", zero_clusters="share")
        self.assertLess(os.path.getsize(image), 2 * MIB)

    def test_after_share_a_guest_can_write_everywhere(self):
        image = self.overlay()
        self.amended(image, compat="0.10", zero_clusters="share")
        self.io(image, "write -q -P 1 0 4M")
        self.assert_reads(image, 0, "4M", 1)
        self.assert_reads(image, "4M", "28M", 0)
        self.assert_sound(image)

    def test_defer_allocates_only_where_the_backing_chain_has_data(self):
        image = self.overlay()
        record = self.amended_keeping_content(image, compat="0.10", zero_clusters="defer")
        self.assertEqual(record["clusters"]["expanded"], 16)

    def test_defer_looks_through_the_whole_chain(self):
        self.raw("bottom.raw", "1M", "write -q -P 9 512k 64k")
        self.create("middle.qcow2", size="1M", backing="bottom.raw", backing_fmt="raw")
        image = self.create(backing="middle.qcow2")
        self.io(image, "write -q -z -u 0 1M")
        record = self.amended_keeping_content(image, compat="0.10", zero_clusters="defer")
        self.assertEqual(record["clusters"]["expanded"], 1)

    def test_a_backing_file_that_is_needed_and_missing_is_named_and_nothing_changes(self):
        image = self.overlay()
        os.unlink(self.path("base.raw"))
        self.refused(image, "backing_missing", compat="0.10", zero_clusters="defer")


class WhatVersion2CannotSay(ImageTest):
    def test_lazy_refcounts_end_with_version_3(self):
        image = self.create(lazy_refcounts="on")
        self.amended(image, compat="0.10")
        self.assertEqual(guest.info(image)["format-specific"]["data"]["compat"], "0.10")

    def test_lazy_refcounts_asked_for_together_with_version_2_are_refused(self):
        self.refused(self.create(), "refused", compat="0.10", lazy_refcounts="on")
        self.refused(self.create(compat="0.10"), "refused", lazy_refcounts="on")

    def test_other_refcount_widths_are_refused(self):
        self.refused(self.create(refcount_bits=8), "refused", compat="0.10")
        self.refused(self.create(), "refused", compat="0.10", refcount_bits=32)

    def test_the_right_refcount_width_in_the_same_request_makes_it_possible(self):
        image = self.create(refcount_bits=64)
        self.io(image, "write -q -P 1 0 128k", "write -q -z 0 64k")
        self.amended_keeping_content(image, compat="0.10", refcount_bits=16)

    def test_a_snapshot_of_another_disk_size_is_refused_by_name(self):
        image = self.create()
        self.io(image, "write -q -P 1 0 64k")
        self.snapshot(image, "smaller")
        proc.must(["qemu-img", "resize", "-q", image, "2M"])
        self.refused(image, "refused", compat="0.10", words="smaller")

    def test_a_snapshot_with_more_than_4_gib_of_vm_state_is_refused_by_name(self):
        image = self.create()
        self.snapshot(image, "huge-ram")
        qcow2.patch_u64(image, qcow2.load(image).snapshots_offset + 40, 5 << 30)
        self.refused(image, "refused", compat="0.10", words="huge-ram")

    def test_zstd_clusters_that_only_a_snapshot_holds_are_found(self):
        image = self.create(compression_type="zstd")
        self.io(image, "write -q -c -P 1 0 64k")
        self.snapshot(image, "s")
        self.io(image, "discard -q 0 1M")
        self.amended_keeping_content(image, compat="0.10")

    def test_an_external_data_file_is_refused(self):
        image = self.create(data_file=self.path("a.data"))
        self.refused(image, "refused", "unsupported", compat="0.10")

    def test_unknown_header_fields_end_with_version_3_and_are_not_read_as_extensions(self):
        image = self.create()
        found = qcow2.load(image)
        first = found.data[112:512]
        qcow2.patch(image, 112, (b"\x11\x22\x33\x44\xff\xff\xff\xff" + first)[:400])
        qcow2.patch_header(image, header_length=120)
        self.io(image, "write -q -P 1 0 64k")
        self.amended_keeping_content(image, compat="0.10")
        kinds = [e.type for e in qcow2.load(image).extensions()]
        self.assertNotIn(0x11223344, kinds)


class Bitmaps(ImageTest):
    def with_bitmap(self):
        image = self.create()
        proc.must(["qemu-img", "bitmap", "--add", image, "backup"])
        self.io(image, "write -q -P 1 0 256k")
        return image

    def test_a_downgrade_that_would_lose_bitmaps_is_refused(self):
        self.refused(self.with_bitmap(), "refused", "unsupported", compat="0.10", words="bitmap")

    def test_with_permission_bitmaps_go_and_their_clusters_are_freed(self):
        image = self.with_bitmap()
        answer = self.run_manifest("""
            version: 1
            policy: {drop_bitmaps: true}
            images:
              - {path: a.qcow2, compat: "0.10"}
            """)
        self.assertEqual(answer.status, "changed", str(answer))
        self.assert_sound(image)
        self.assertIsNone(qcow2.load(image).extension(qcow2.EXT_BITMAPS))


class VmState(ImageTest):
    def test_vm_state_of_a_snapshot_survives(self):
        image = self.create()
        self.io(image, "write -q -P 1 0 64k", "write -q -b -P 171 0 128k")
        self.snapshot(image, "with-ram")
        self.io(image, "write -q -z 0 64k")
        self.amended_keeping_content(image, compat="0.10")
        proc.must(["qemu-img", "snapshot", "-a", "with-ram", image])
        self.io(image, "read -q -b -P 171 0 128k")

    def test_zero_entries_of_vm_state_in_the_active_layer_are_freed_not_expanded(self):
        self.raw("base.raw", "1M", "write -q -P 9 0 1M")
        image = self.create(cluster_size=4096, backing="base.raw", backing_fmt="raw")
        self.io(image, "write -q -b -P 171 0 64k")
        place, _ = self.first_entry(image, 2 * MIB)
        for i in range(16):
            entry = qcow2.load(image).u64(place + 8 * i)
            qcow2.patch_u64(image, place + 8 * i, entry | qcow2.ZERO)
        self.assert_sound(image)
        record = self.amended_keeping_content(image, compat="0.10")
        self.assertEqual(record["clusters"]["expanded"], 0)


if __name__ == "__main__":
    main()
