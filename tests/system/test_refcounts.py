"""refcount_bits, lazy_refcounts and the repair of dirty images."""
import context  # noqa: F401
import guest
import proc
import qbatch
import qcow2
from fixture import GIB, MIB, ImageTest, main

WIDTHS = (1, 2, 4, 8, 16, 32, 64)


class Widths(ImageTest):
    def test_every_width_becomes_every_other(self):
        image = self.create(cluster_size=512, size="256k")
        self.io(image, "write -q -P 1 0 128k", "write -q -c -P 2 200k 512", "write -q -z 4k 8k")
        for first in WIDTHS:
            for second in WIDTHS:
                with self.subTest(first=first, second=second):
                    one = self.copy(image, "one.qcow2")
                    if first != 16:
                        self.amended(one, refcount_bits=first)
                    if first != second:
                        self.amended_keeping_content(one, refcount_bits=second)

    def test_a_width_that_is_too_small_for_the_snapshots_is_refused(self):
        image = self.create()
        self.io(image, "write -q -P 1 0 64k")
        for name in "abc":
            self.snapshot(image, name)
        self.refused(image, "refused", refcount_bits=1)
        self.refused(image, "refused", refcount_bits=2)
        self.amended_keeping_content(image, refcount_bits=4)

    def test_widths_that_are_no_power_of_two_up_to_64_are_refused(self):
        image = self.create()
        for bits in (0, 3, 63, 65, 128, -1, 4294967304, "8x", ""):
            with self.subTest(bits=bits):
                self.never_accepted(image, refcount_bits=bits)

    def test_an_empty_image_of_2_mib_clusters_costs_a_few_blocks(self):
        image = self.create(size="16G", cluster_size=2 * MIB)
        record = self.amended(image, refcount_bits=64)
        self.assert_sound(image)
        self.assertLess(record["io"]["write_bytes"], 32 * MIB)

    def test_an_image_with_several_refcount_blocks(self):
        image = self.create(size="8M", cluster_size=512)
        self.io(image, "write -q -P 1 0 4M", "write -q -P 2 7M 1M")
        self.amended_keeping_content(image, refcount_bits=64)
        self.amended_keeping_content(image, refcount_bits=1)


class Lazy(ImageTest):
    def test_lazy_refcounts_go_on_and_off_in_one_sector_and_one_barrier(self):
        image = self.create()
        for value in ("on", "off"):
            record = self.amended(image, lazy_refcounts=value)
            self.assertEqual((record["io"]["write_bytes"], record["io"]["barriers"]), (512, 1))
            shown = guest.info(image)["format-specific"]["data"]["lazy-refcounts"]
            self.assertEqual(shown, value == "on")


class Dirty(ImageTest):
    def dirty(self):
        image = self.create(lazy_refcounts="on")
        self.io(image, "write -q -P 1 0 64k")
        self.killed_io(image, "write -q -P 2 64k 512k", "write -q -z 0 64k")
        self.assertTrue(guest.info(image)["dirty-flag"])
        self.assertNotEqual(guest.check(image)[:3], (0, 0, 0))
        return image

    def test_a_dirty_image_is_repaired_on_the_way(self):
        for request in ({"compat": "0.10"}, {"lazy_refcounts": "off"}, {"refcount_bits": 64},
                        {"size": 2 * MIB}, {"size": 2 * GIB}):
            with self.subTest(**request):
                image = self.dirty()
                self.amended_keeping_content(image, **request)
                self.assertFalse(guest.info(image)["dirty-flag"])

    def test_the_policy_can_refuse_dirty_images(self):
        image = self.dirty()
        answer = self.run_manifest("""
            version: 1
            policy: {on_dirty: fail}
            images: [{path: a.qcow2, compat: "0.10"}]
            """)
        self.assertEqual((answer.code, answer.error), (1, "dirty"), str(answer))
        self.assertTrue(guest.info(image)["dirty-flag"])

    def test_a_refusal_does_not_repair(self):
        self.refused(self.dirty(), "refused", compat="0.10", lazy_refcounts="on")

    def test_a_dirty_image_with_a_damaged_table_is_refused(self):
        image = self.dirty()
        place, entry = self.first_entry(image, 128 << 10)
        for spoiled in (entry + 512, qcow2.load(image).l1()[0] & qcow2.L1_OFFSET, 1 << 40):
            with self.subTest(entry=hex(spoiled)):
                qcow2.patch_u64(image, place, spoiled)
                self.refused(image, "corrupt", compat="0.10")


class Contradictions(ImageTest):
    """Refcounts that the tables contradict: nothing may be allocated from them."""

    def test_a_cluster_in_use_with_refcount_0_is_corruption_not_free_space(self):
        self.raw("base.raw", "1M", "write -q -P 9 0 1M")
        image = self.create(backing="base.raw", backing_fmt="raw")
        self.io(image, "write -q -P 1 0 64k", "write -q -z -u 64k 64k")
        _, entry = self.first_entry(image)
        qcow2.set_refcount(image, (entry & qcow2.L2_OFFSET) >> 16, 0)
        self.refused(image, "corrupt", compat="0.10")

    def test_a_zero_entry_that_points_at_other_data_is_refused(self):
        image = self.create()
        self.io(image, "write -q -P 1 0 64k", "write -q -P 2 64k 64k", "write -q -z 64k 64k")
        _, data = self.first_entry(image)
        place, _ = self.first_entry(image, 65536)
        qcow2.patch_u64(image, place, data | qcow2.ZERO)
        self.refused(image, "corrupt", compat="0.10")

    def test_a_zero_entry_that_points_at_metadata_is_refused(self):
        image = self.create()
        self.io(image, "write -q -P 1 0 64k", "write -q -z 0 64k")
        place, _ = self.first_entry(image)
        found = qcow2.load(image)
        for target in (0, found.refcount_table_offset, found.l1_table_offset,
                       found.l1()[0] & qcow2.L1_OFFSET):
            with self.subTest(target=hex(target)):
                qcow2.patch_u64(image, place, target | qcow2.COPIED | qcow2.ZERO)
                if target:
                    self.refused(image, "corrupt", compat="0.10")

    def test_an_unaligned_zero_entry_is_refused(self):
        image = self.create()
        self.io(image, "write -q -P 1 0 64k", "write -q -z 0 64k")
        place, entry = self.first_entry(image)
        qcow2.patch_u64(image, place, entry + 512)
        self.refused(image, "corrupt", compat="0.10")

    def test_leaks_are_given_back_when_the_refcounts_are_rewritten(self):
        image = self.create()
        self.io(image, "write -q -P 1 0 128k")
        qcow2.append_cluster(image, b"leak")
        self.amended_keeping_content(image, flags=["--on-leaks", "free"], refcount_bits=64)

    def test_copied_follows_when_giving_back_leaks_makes_a_refcount_one(self):
        image = self.create()
        self.io(image, "write -q -P 1 0 256k")
        self.snapshot(image, "lost")
        qcow2.patch_header(image, nb_snapshots=0, snapshots_offset=0)
        for request in ({"refcount_bits": 64}, {"compat": "0.10"}):
            with self.subTest(**request):
                self.amended_keeping_content(self.copy(image, "one.qcow2"),
                                             flags=["--on-leaks", "free"], **request)

    def test_wrong_copied_flags_are_set_right(self):
        image = self.create()
        self.io(image, "write -q -P 1 0 128k", "write -q -z 64k 64k")
        place, entry = self.first_entry(image)
        qcow2.patch_u64(image, place, entry & ~qcow2.COPIED)
        answer = qbatch.amend(image, compat="0.10")
        if answer.status == "changed":
            self.assert_sound(image)
        else:
            self.assertEqual(answer.error, "corrupt", str(answer))


class RefcountsThatAreTooLow(ImageTest):
    """repair=refcounts; the first image is that of QEMU's iotest 112."""

    def twice_referenced(self, **create):
        """A second entry names the first one's cluster, whose refcount stays 1."""
        image = self.create(size="64M", **create)
        self.io(image, "write -q -P 1 0 64k", "write -q -P 2 1M 64k")
        place, entry = self.first_entry(image)
        qcow2.patch_u64(image, place + 8, entry)
        return image

    def test_a_count_that_the_width_cannot_hold_is_right_in_a_wider_one(self):
        image = self.twice_referenced(refcount_bits=1)
        self.assertEqual(guest.check(image)[0], 2)
        self.refused(image, "corrupt", refcount_bits=2, words="repair=refcounts mends it")
        self.refused(image, "refused", repair="refcounts",
                     words="a cluster is referenced 2 times, too often for refcounts of 1 bits")
        record = self.amended_keeping_content(image, repair="refcounts", refcount_bits=2)
        self.assertEqual(record["refcounts_raised"], 1)
        self.io(image, "write -q -P 9 0 64k")  # does not show through the other entry
        self.assert_reads(image, "64k", "64k", 1)

    def test_in_the_same_width_and_with_any_other_key(self):
        for request in ({}, {"size": "128M"}, {"compat": "0.10"}, {"lazy_refcounts": "on"}):
            with self.subTest(**request):
                image = self.twice_referenced()
                self.amended_keeping_content(image, repair="refcounts", **request)
                self.amended(image, status="unchanged", repair="refcounts")

    def test_counts_of_tables_and_of_snapshots(self):
        image = self.create()
        self.io(image, "write -q -P 1 0 256k")
        self.snapshot(image, "s")
        self.io(image, "write -q -P 2 64k 64k")
        found = qcow2.load(image)
        for cluster in [e & qcow2.L1_OFFSET for e in found.l1()][:1] + [
                found.l1_table_offset, found.snapshots_offset, self.first_entry(image)[1]
                & qcow2.L2_OFFSET]:
            qcow2.set_refcount(image, cluster >> 16, 0)
        record = self.amended_keeping_content(image, repair="refcounts", flags=["--verify", "content"])
        self.assertEqual(record["refcounts_raised"], 4)

    def test_wrong_copied_flags_alone(self):
        image = self.create()
        self.io(image, "write -q -P 1 0 256k")
        place, entry = self.first_entry(image)
        qcow2.patch_u64(image, place, entry & ~qcow2.COPIED)
        self.amended_keeping_content(image, repair="refcounts")
        self.assertEqual(self.first_entry(image)[1], entry)

    def test_leaks_stay_leaks(self):
        image = self.twice_referenced()
        qcow2.append_cluster(image, b"leak")
        self.amended(image, repair="refcounts")
        self.assertEqual(guest.check(image)[:3], (3, 0, 1))

    def test_a_sound_image_is_not_written(self):
        image = self.create()
        self.io(image, "write -q -P 1 0 256k")
        sha = proc.sha256(image)
        self.amended(image, status="unchanged", repair="refcounts")
        self.assertEqual(proc.sha256(image), sha)

    def test_damaged_tables_are_not_mended(self):
        image = self.twice_referenced()
        place, entry = self.first_entry(image)
        qcow2.patch_u64(image, place + 16, entry + 512)
        self.refused(image, "corrupt", repair="refcounts")


if __name__ == "__main__":
    main()
