"""repair: what it mends, in an image that is not dirty, and what it leaves or refuses."""
import itertools
import os

import context  # noqa: F401
import bitmaps
import guest
import proc
import qbatch
import qcow2
from fixture import MIB, ImageTest, main

CORRUPT = 2  # of the incompatible features
WORDS = ("refcounts", "leaks", "flags")


class RepairTest(ImageTest):
    def setUp(self):
        super().setUp()
        self.flags = ["--state", self.path("state")]

    def used(self, name="image.qcow2", **options):
        """Data, a snapshot, data on top of it."""
        image = self.create(name, size="64M", **options)
        self.io(image, "write -q -P 1 0 256k")
        self.snapshot(image, "s")
        self.io(image, "write -q -P 2 64k 64k", "write -q -P 3 8M 64k")
        return image

    def asked(self, *words):
        return [*self.flags, *itertools.chain(*(["-o", f"repair={word}"] for word in words))]

    def mended(self, image, *words, status="changed", flags=(), **options):
        """The layers read as before.  The record of the report."""
        before = guest.read_all(image)
        record = self.amended(image, flags=[*self.asked(*words), *flags], status=status, **options)
        self.assert_same_layers(before, guest.read_all(image))
        return record

    def host_cluster(self, image, guest_offset):
        return self.first_entry(image, guest_offset)[1] & qcow2.L2_OFFSET

    # ---- kinds of damage ---------------------------------------------------------------------
    def lower(self, image, guest_offset=8 * MIB):
        bits = qcow2.load(image).cluster_bits
        qcow2.set_refcount(image, self.host_cluster(image, guest_offset) >> bits, 0)

    def leak(self, image, n=1):
        return [qcow2.append_cluster(image, b"leak") for _ in range(n)]

    def clear_copied(self, image, guest_offset=8 * MIB):
        place, entry = self.first_entry(image, guest_offset)
        qcow2.patch_u64(image, place, entry & ~qcow2.COPIED)

    def mark(self, image):
        found = qcow2.load(image)
        qcow2.patch_header(image, incompatible_features=found.incompatible_features | CORRUPT)

    def damage_all(self, image):
        self.lower(image)
        self.leak(image, 2)
        self.clear_copied(image, 64 << 10)
        self.mark(image)


class OneWord(RepairTest):
    def test_leaks_are_freed_listed_and_nothing_else_is_done(self):
        image = self.used()
        leaked = self.leak(image, 3)
        dry = qbatch.amend(image, flags=[*self.asked("leaks"), "--dry-run"], cwd=self.folder)
        record = self.mended(image, "leaks")
        self.assert_sound(image)
        for leaks in (dry.first["leaks"], record["leaks"]):
            self.assertEqual((leaks["clusters"], leaks["freed"]), (3, True))
            listed = [(r["offset"], r["bytes"]) for r in leaks["freed_first"]]
            self.assertEqual(listed, [(leaked[0], 3 << 16)])
        self.mended(image, "leaks", status="unchanged")

    def test_leaks_go_whatever_the_policy_says_of_them(self):
        for policy in ("keep", "fail"):
            image = self.used(policy)
            self.leak(image)
            self.mended(image, "leaks", flags=["--on-leaks", policy], lazy_refcounts="on")
            self.assert_sound(image)

    def test_a_count_that_is_too_high_of_a_cluster_in_use(self):
        image = self.used()
        qcow2.set_refcount(image, self.host_cluster(image, 8 * MIB) >> 16, 5)
        self.clear_copied(image)  # as it fits a cluster with several references
        record = self.mended(image, "leaks")
        self.assert_sound(image)
        self.assertEqual(record["leaks"]["clusters"], 1)
        self.assertNotIn("freed_first", record["leaks"])
        self.assertTrue(self.first_entry(image, 8 * MIB)[1] & qcow2.COPIED)

    def test_what_a_word_does_not_name_is_refused_with_the_word_that_does(self):
        for damage, word in ((self.lower, "refcounts"), (self.clear_copied, "flags")):
            image = self.used(word)
            damage(image)
            for other in set(WORDS) - {word, "refcounts"}:
                self.refused(image, "corrupt", flags=self.asked(other),
                             words=f"repair={word} mends it")
            self.mended(image, word)
            self.assert_sound(image)

    def test_flags_alone(self):
        image = self.used()
        self.clear_copied(image)
        record = self.mended(image, "flags")
        self.assertEqual((record["flags_corrected"], record["refcounts_raised"]), (1, 0))
        self.assert_sound(image)

    def test_flags_of_clusters_in_a_data_file(self):
        """It has no refcounts, so QEMU wants them set in each entry."""
        for options in ({}, {"extended_l2": "on"}, {"data_file_raw": "on"}):
            with self.subTest(**options):
                image = self.create("data", size="8M", data_file=self.path("disk.raw"), **options)
                self.io(image, "write -q -P 1 0 64k", "write -q -P 2 1M 256k")
                for offset in range(MIB, MIB + (128 << 10), 64 << 10):
                    self.clear_copied(image, offset)
                self.assertEqual(guest.check(image)[:3], (2, 2, 0))
                found = qbatch.qbatch("check", "--json", image)
                self.assertEqual((found.code, found.first["findings_by_code"]), (2, {"copied_flag_wrong": 2}))
                self.refused(image, "corrupt", flags=self.asked("leaks"), words="repair=flags mends it")
                record = self.mended(image, "flags")
                self.assertEqual(record["flags_corrected"], 2)
                self.assert_sound(image)
                os.unlink(self.path("disk.raw"))

    def test_inconsistent_bitmaps(self):
        image = self.used()
        bitmaps.qemu(image, ["--add", "a"], ["--add", "b"])
        bitmaps.mark_in_use(image, "a")
        for words in (WORDS, ["none"]):
            self.mended(image, *words, status="unchanged")
        self.mended(image, "bitmaps")
        self.assertEqual(list(bitmaps.shown(image)), ["b"])
        self.assert_sound(image)

    def test_all_is_each_of_them(self):
        image = self.used()
        bitmaps.qemu(image, ["--add", "a"], ["--add", "b"])
        bitmaps.mark_in_use(image, "a")
        self.damage_all(image)
        self.mended(image, "all")
        self.assertEqual(list(bitmaps.shown(image)), ["b"])
        self.assert_sound(image)
        self.mended(image, *WORDS, status="unchanged")


class Mark(RepairTest):
    def test_it_goes_where_nothing_is_wrong(self):
        image = self.used()
        self.mark(image)
        for options in ({"size": "128M"}, {"repair": "refcounts"}, {"repair": "leaks"}):
            self.refused(image, "corrupt", **options)
        record = self.mended(image, "flags", flags=["--verify", "content"])
        self.assertEqual((record["mark_cleared"], record["io"]["write_bytes"]), (True, 512))
        self.assertEqual((record["before"]["corrupt"], record["after"]["corrupt"]), (True, False))
        self.assert_sound(image)
        self.io(image, "write -q -P 9 0 64k")  # QEMU opens it for writing again

    def test_it_stays_where_something_else_is_wrong(self):
        image = self.used()
        self.mark(image)
        self.lower(image)
        self.refused(image, "corrupt", flags=self.asked("flags"), words="repair=refcounts mends it")
        self.mended(image, "flags", "refcounts")
        self.assert_sound(image)
        place, entry = self.first_entry(image, 8 * MIB)
        qcow2.patch_u64(image, place, entry + 512)
        self.mark(image)
        self.refused(image, "corrupt", flags=self.asked("all"), words="repair cannot mend that")


class RefcountTable(RepairTest):
    """Entries that lead to no block."""

    def damages(self, image, cluster):
        found = qcow2.load(image)
        entry, length = found.u64(found.refcount_table_offset), os.path.getsize(image)
        return {"unaligned": entry + 8, "past the end": (length // cluster + 8) * cluster,
                "reserved bits": entry | 1, "something else": found.l1_table_offset, "missing": 0}

    def test_blocks_are_made_anew(self):
        for bits, cluster in itertools.product((1, 16, 64), (512, 65536)):
            image = self.create("x", size="4M", cluster_size=cluster, refcount_bits=bits)
            self.io(image, "write -q -P 1 0 1M")
            for name, entry in self.damages(image, cluster).items():
                with self.subTest(bits=bits, cluster=cluster, damage=name):
                    one = self.copy(image, "one")
                    qcow2.patch_u64(one, qcow2.load(one).refcount_table_offset, entry)
                    self.refused(one, "corrupt", flags=self.asked("leaks"),
                                 words="repair=refcounts mends it")
                    self.mended(one, "refcounts", flags=["--verify", "content"])
                    self.assert_sound(one)

    def test_a_table_that_ends_too_early(self):
        """No entry of it speaks for the last clusters in use."""
        image = self.create(size="16M", cluster_size=512, refcount_bits=64)
        self.io(image, "write -q -P 1 0 10M")
        clusters = qcow2.load(image).refcount_table_clusters
        self.assertGreater(clusters, 4)
        qcow2.patch_header(image, refcount_table_clusters=clusters // 2)
        self.refused(image, "corrupt", flags=self.asked("leaks"))
        self.mended(image, "refcounts", "leaks", flags=["--verify", "content"])
        self.assert_sound(image)

    def test_two_entries_name_one_block(self):
        image = self.create(size="4M", cluster_size=512)
        self.io(image, "write -q -P 1 0 2M")
        found = qcow2.load(image)
        qcow2.patch_u64(image, found.refcount_table_offset + 8,
                        found.u64(found.refcount_table_offset))
        self.mended(image, "refcounts")
        self.assertEqual(guest.check(image)[1], 0)


class Everything(RepairTest):
    def test_with_every_other_key_in_every_width(self):
        for bits in (1, 2, 4, 8, 16, 32, 64):
            with self.subTest(bits=bits):
                image = self.create(f"{bits}", size="64M", refcount_bits=bits)
                self.io(image, "write -q -P 2 64k 64k", "write -q -P 3 8M 64k")
                self.damage_all(image)
                record = self.mended(image, "all", refcount_bits=16, lazy_refcounts="on")
                self.assertEqual((record["refcounts_raised"], record["leaks"]["clusters"]), (1, 2))
                self.assert_sound(image)
                self.mended(image, "all", status="unchanged")

    def test_a_downgrade_of_a_damaged_image(self):
        image = self.used()
        self.io(image, "write -q -z 1M 1M")
        self.damage_all(image)
        self.mended(image, "all", compat="0.10")
        self.assert_sound(image)

    def test_a_list_in_a_manifest(self):
        image = self.used()
        self.damage_all(image)
        before = guest.read_all(image)
        answer = self.run_manifest("""
            version: 1
            images: [{path: image.qcow2, repair: [refcounts, leaks, flags]}]
            """, *self.flags)
        self.assertEqual((answer.code, answer.status), (0, "changed"), str(answer))
        self.assert_sound(image)
        self.assert_same_layers(before, guest.read_all(image))
        answer = self.run_manifest("""
            version: 1
            images: [{path: image.qcow2, repair: [refcounts, flag]}]
            """, *self.flags)
        self.assertEqual(answer.code, 2)
        self.assertIn('did you mean "flags"', answer.result.err)


class Undo(RepairTest):
    def undo(self, *flags):
        return qbatch.qbatch("undo", "--json", *flags, *self.flags, "last", cwd="/")

    def test_it_brings_back_the_damaged_file_byte_for_byte(self):
        damages = {"leaks": lambda i: self.leak(i, 2), "refcounts": self.lower,
                   "flags": self.clear_copied, "all": self.damage_all, "mark": self.mark}
        for name, damage in damages.items():
            with self.subTest(name=name):
                image = self.used(name)
                damage(image)
                sha = proc.sha256(image)
                self.mended(image, "all", keep_undo="on")
                code, corruptions = guest.check(image)[:2]
                self.assertIn(code, (0, 3))
                self.assertEqual(corruptions, 0)
                answer = self.undo()
                self.assertEqual((answer.code, answer.status), (0, "changed"), str(answer))
                self.assertEqual(proc.sha256(image), sha)

    def test_of_a_refcount_block_past_the_end_where_the_amend_then_wrote(self):
        for cluster in (512, 4096, 65536):
            for past in range(4):
                with self.subTest(cluster=cluster, past=past):
                    image = self.create("past", size="4M", cluster_size=cluster)
                    self.io(image, "write -q -P 1 0 256k")
                    found, end = qcow2.load(image), -(-os.path.getsize(image) // cluster)
                    qcow2.patch_u64(image, found.refcount_table_offset + 8 * (cluster // 8 - 1),
                                    (end + past) * cluster)
                    self.undone_byte_for_byte(image)

    def test_of_a_refcount_block_past_the_end_of_a_dirty_image(self):
        image = self.create(size="4M", cluster_size=4096, lazy_refcounts="on")
        self.io(image, "write -q -P 1 0 256k")
        qcow2.patch_header(image, incompatible_features=qcow2.INCOMPAT_DIRTY)
        qcow2.patch_u64(image, qcow2.load(image).refcount_table_offset + 8,
                        -(-os.path.getsize(image) // 4096) * 4096)
        self.undone_byte_for_byte(image)

    def test_of_a_refcount_block_where_the_file_ends_within_a_cluster_of_data(self):
        image = self.create(size="4M", cluster_size=4096)
        self.io(image, "write -q -P 1 0 256k")
        last = -(-os.path.getsize(image) // 4096) - 1
        self.assertEqual(self.host_cluster(image, 252 * 1024), last * 4096)
        os.truncate(image, last * 4096 + 512)
        qcow2.patch_u64(image, qcow2.load(image).refcount_table_offset + 8, last * 4096)
        self.undone_byte_for_byte(image)

    def undone_byte_for_byte(self, image):
        sha = proc.sha256(image)
        self.mended(image, "refcounts", keep_undo="on")
        self.assertEqual(guest.check(image)[1], 0)
        answer = self.undo()
        self.assertEqual((answer.code, answer.status), (0, "changed"), str(answer))
        self.assertEqual(proc.sha256(image), sha)

    def test_it_is_refused_once_a_guest_has_a_cluster_that_leaked(self):
        image = self.used()
        leaked = self.leak(image, 4)
        self.mended(image, "leaks", keep_undo="on")
        self.io(image, "write -q -P 7 16M 256k")
        self.assertIn(self.host_cluster(image, 16 * MIB), leaked)
        before = guest.read_all(image)
        answer = self.undo()
        self.assertEqual((answer.code, answer.error), (1, "changed"), str(answer))
        self.assert_same_layers(before, guest.read_all(image))

    def test_given_up_it_leaves_a_sound_image(self):
        image = self.used()
        self.damage_all(image)
        self.mended(image, "all", keep_undo="on")
        answer = self.undo("--discard-undo")
        self.assertEqual(answer.code, 0, str(answer))
        self.assert_sound(image)


if __name__ == "__main__":
    main()
