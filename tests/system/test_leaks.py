"""Leaks are evidence: an amend neither makes nor frees any, unless policy.on_leaks says so."""
import os
import re
import struct
import unittest

import context  # noqa: F401
import guest
import proc
import qbatch
import qcow2
from fixture import KIB, MIB, OTHER_BUILD, ImageTest, main

MEDDLER = os.environ.get("MEDDLER", "")
FAIL, FREE = ("--on-leaks", "fail"), ("--on-leaks", "free")


class LeaksTest(ImageTest):
    def leaks(self, image):
        code, corruptions, leaks, words = guest.check(image)
        self.assertEqual((code in (0, 3), corruptions), (True, 0), words)
        return leaks

    def keeps(self, image, shrink=False, **options):
        """Amends: guests read what they read before, and as many clusters leak.  The record."""
        leaks, before = self.leaks(image), guest.read_all(image)
        record = self.amended(image, shrink, **options)
        after = guest.read_all(image)
        if options.get("size"):
            before["active"] = before["active"].resized(after["active"].size)
        self.assert_same_layers(before, after)
        self.assertEqual(self.leaks(image), leaks)
        if record["leaks"] is not None:
            cluster = qcow2.load(image).cluster_size
            self.assertEqual(record["leaks"], {"clusters": leaks, "bytes": leaks * cluster,
                                               "freed": False})
        return record

    def with_lost_table(self, size="256M", name="a.qcow2", **options):
        """100 MiB of data under a table whose L1 entry is wiped, and some that is not lost."""
        image = self.create(name, size=size, cluster_size=16384, **options)  # a table maps 32 MiB
        self.io(image, "write -q -P 1 0 4M", "write -q -P 7 32M 25M", "write -q -z 4M 1M")
        found = qcow2.load(image)
        place = found.l1_table_offset + 8
        table = found.u64(place) & qcow2.L1_OFFSET
        data = [found.u64(table + 8 * i) & qcow2.L2_OFFSET for i in range(1600)]
        self.assertTrue(all(data))
        qcow2.patch_u64(image, place, 0)
        return image, table, data

    def with_lost_snapshot(self, **options):
        """Clusters with a refcount of 2 and one reference, and some with none."""
        image = self.create(**options)
        self.io(image, "write -q -P 1 0 256k", "write -q -z 512k 64k")
        self.snapshot(image, "lost")
        self.io(image, "write -q -P 2 0 64k")
        qcow2.patch_header(image, nb_snapshots=0, snapshots_offset=0)
        return image


class Keep(LeaksTest):
    def test_what_lies_under_a_lost_table_is_still_there(self):
        image, table, data = self.with_lost_table()
        lost = qcow2.load(image).data
        for i, options in enumerate(({"compat": "0.10"}, {"refcount_bits": 64}, {"size": 8 << 40},
                                     {"size": 8 * MIB}, {"refcount_bits": 1})):
            with self.subTest(**options):
                copy = self.copy(image, f"{i}.qcow2")
                blocks = os.stat(copy).st_blocks
                record = self.keeps(copy, shrink=True, **options)
                if record["leaks"]:
                    self.assertGreaterEqual(record["leaks"]["bytes"], 25 * MIB)
                self.assertGreaterEqual(os.stat(copy).st_blocks, blocks - 64)
                now = qcow2.load(copy).data
                for offset in [table, *data]:
                    self.assertEqual(now[offset:offset + 16384], lost[offset:offset + 16384])

    def test_a_guest_that_writes_later_leaves_them_alone(self):
        image, _, data = self.with_lost_table()
        self.keeps(image, refcount_bits=32)
        self.io(image, "write -q -P 9 64M 40M")
        now = qcow2.load(image).data
        for offset in data:
            self.assertEqual(now[offset:offset + 16384], b"\7" * 16384)
        self.assertEqual(self.leaks(image), 1601)

    def test_clusters_that_are_counted_too_often(self):
        for options in ({"compat": "0.10"}, {"refcount_bits": 64}, {"refcount_bits": 2},
                        {"size": 64 * KIB}, {"size": 128 * KIB}, {"size": 1 << 40},
                        {"size": 96 * KIB}):
            for kind in ({}, {"cluster_size": 4096}):
                with self.subTest(**options, **kind):
                    image = self.with_lost_snapshot(**kind)
                    self.assertGreater(self.leaks(image), 3)
                    self.keeps(image, shrink=True, **options)
                    self.io(image, "write -q -P 3 0 64k")
                    self.assert_reads(image, 0, 64 * KIB, 3)

    def test_a_width_of_one_bit_holds_no_two(self):
        image = self.with_lost_snapshot()
        words = proc.run(["qemu-img", "check", image]).err
        lost = [int(n) for n in re.findall(r"Leaked cluster (\d+) refcount=1 reference=0", words)]
        self.assertGreater(len(lost), 1)
        record = self.amended(image, refcount_bits=1)
        self.assertEqual(self.leaks(image), record["leaks"]["clusters"])
        self.assertEqual([qcow2.load(image).refcount(c) for c in lost], [1] * len(lost))
        self.assertGreater(record["leaks"]["clusters"], 0)
        self.io(image, "write -q -P 3 64k 64k")
        self.assert_reads(image, 64 * KIB, 64 * KIB, 3)

    def test_counts_that_do_not_fit_are_reduced(self):
        for bits, most in ((8, 255), (2, 3), (1, 1)):
            with self.subTest(bits=bits):
                image = self.create(f"{bits}.qcow2", size="1M")
                self.io(image, "write -q -P 1 0 128k")
                lost = qcow2.append_cluster(image, b"evidence") >> 16
                for i, count in enumerate((300, 65535, 4, 1)):
                    qcow2.append_cluster(image, b"evidence")
                    qcow2.set_refcount(image, lost + 1 + i, count)
                self.keeps(image, refcount_bits=bits)
                found = qcow2.load(image)
                self.assertEqual([found.refcount(lost + i) for i in range(5)],
                                 [min(n, most) for n in (1, 300, 65535, 4, 1)])
                self.assertEqual(found.data[lost << 16:(lost << 16) + 8], b"evidence")

    def test_a_kept_count_goes_down_with_the_references(self):
        image = self.create(size="1M")
        self.io(image, "write -q -P 1 0 1M")
        _, entry = self.first_entry(image, 0)
        place, last = self.first_entry(image, MIB - 1)
        cluster = (last & qcow2.L2_OFFSET) >> 16
        qcow2.set_refcount(image, cluster, 7)
        qcow2.patch_u64(image, place, last & ~qcow2.COPIED)
        self.assertEqual(self.leaks(image), 1)
        self.keeps(image, shrink=True, size=MIB // 2)
        self.assertEqual(qcow2.load(image).refcount(cluster), 6)
        self.assertTrue(entry & qcow2.COPIED)

    def test_leaked_metadata(self):
        """Tables, refcount blocks and L1s that are counted twice, replaced or not."""
        for options in ({"compat": "0.10"}, {"refcount_bits": 64}, {"size": 8 << 40},
                        {"refcount_bits": 1}):
            with self.subTest(**options):
                image = self.create(size="1M")
                self.io(image, "write -q -P 1 0 128k", "write -q -z 512k 64k")
                found = qcow2.load(image)
                table = found.u64(found.l1_table_offset) & qcow2.L1_OFFSET
                block = found.u64(found.refcount_table_offset)
                for place in (table, block, found.l1_table_offset, found.refcount_table_offset, 0):
                    qcow2.set_refcount(image, place >> 16, 2)
                qcow2.patch_u64(image, found.l1_table_offset, table)  # not COPIED
                before, leaks = guest.read_all(image), self.leaks(image)
                record = self.amended(image, **options)
                self.assert_same_layers({"active": before["active"].resized(
                    qcow2.load(image).size)}, guest.read_all(image))
                self.assertEqual(self.leaks(image), record["leaks"]["clusters"])
                if options != {"refcount_bits": 1}:
                    self.assertEqual(self.leaks(image), leaks)
                self.io(image, "write -q -P 3 0 64k")
                self.assert_reads(image, 0, 64 * KIB, 3)
                self.leaks(image)

    def test_the_file_keeps_a_leak_at_its_end(self):
        image = self.create(size="1M", cluster_size=4096)
        self.io(image, "write -q -P 1 0 128k", "write -q -z 512k 64k")
        qcow2.patch(image, os.path.getsize(image) + 5 * MIB, b"x")
        offset = qcow2.append_cluster(image, b"the last word")
        for options in ({"compat": "0.10"}, {"compat": "1.1"}, {"refcount_bits": 64},
                        {"size": 512 * KIB}, {"size": 1 << 40}):
            self.keeps(image, shrink=True, **options)
            self.assertEqual(qcow2.load(image).data[offset:offset + 13], b"the last word")

    def test_more_leaks_than_a_list_would_hold(self):
        """Every other cluster of a sparse file, 1.2 million of them."""
        image = self.create(size="1M", cluster_size=512, refcount_bits=1)
        self.io(image, "write -q -P 1 0 64k", "write -q -z 512k 64k")
        count, cs = 9 << 18, 512
        found = qcow2.load(image)
        at = os.path.getsize(image) // cs
        blocks = -(-count // 4096)
        table = at + blocks  # a new refcount table behind the blocks, which all leak or are counted
        used = {c for c in range(at) if found.refcount(c)}
        used |= set(range(at, table + -(-blocks * 8 // cs)))
        old = {found.u64(found.refcount_table_offset) // cs,
               *range(found.refcount_table_offset // cs,
                      found.refcount_table_offset // cs + found.refcount_table_clusters)}
        bits = bytearray(b"\x55" * (blocks * cs))
        for c in range(table + -(-blocks * 8 // cs)):
            bits[c // 8] &= ~(1 << c % 8)
            if c in used - old:
                bits[c // 8] |= 1 << c % 8
        qcow2.patch(image, at * cs, bytes(bits))
        qcow2.patch(image, table * cs, b"".join(struct.pack(">Q", (at + i) * cs)
                                                for i in range(blocks)).ljust(cs, b"\0"))
        qcow2.patch_header(image, refcount_table_offset=table * cs,
                           refcount_table_clusters=-(-blocks * 8 // cs))
        os.truncate(image, count * cs)
        record = self.amended(image, refcount_bits=2)
        self.assertGreater(record["leaks"]["clusters"], 1 << 20)
        again = qbatch.qbatch("check", "--json", "-q", image)
        self.assertEqual((again.first["corruptions"], again.first["leaks"]),
                         (0, record["leaks"]["clusters"]), again.first.get("findings", [])[:3])
        record = self.amended(image, flags=FREE, refcount_bits=1)
        self.assert_sound(image)
        self.assertGreater(record["clusters"]["deallocated"], 1 << 20)

    def test_the_report_and_the_table_say_so(self):
        image, _, _ = self.with_lost_table()
        summary = qbatch.amend(image, refcount_bits=64, flags=["--dry-run"]).summary
        self.assertEqual((summary["leaked_clusters"], summary["leaked_bytes"]),
                         (1601, 1601 * 16384))
        shown = proc.run([qbatch.absolute(qbatch.TOOL), "amend", "-o", "refcount_bits=64", image])
        self.assertIn("note: leaks: 1,601 leaked clusters (25 MiB) kept", shown.out)

    def test_a_header_only_amend_does_not_look(self):
        image, _, _ = self.with_lost_table(compat="0.10")
        self.assertIsNone(self.keeps(image, compat="1.1")["leaks"])

    @unittest.skipIf(os.environ.get("QBATCH_SANITIZED"), OTHER_BUILD)
    def test_a_leak_that_vanished_is_not_what_was_planned(self):
        image, _, data = self.with_lost_table()
        plain = self.copy(image, "b.qcow2")
        self.amended(plain, refcount_bits=64)
        place, _ = qcow2.load(plain).refcount_place(data[5] // 16384)
        answer = qbatch.qbatch("amend", "--json", "--io", "posix", "-o", "refcount_bits=64", image,
                               env={**os.environ, "LD_PRELOAD": MEDDLER,
                                    "MEDDLE_AT": str(place + 7)})
        self.assertEqual((answer.code, answer.error), (5, "verify"), str(answer))
        self.assertIn("1601 were to be kept", answer.first["error"]["message"])


class FreeAndFail(LeaksTest):
    def test_free_makes_every_refcount_the_number_of_references(self):
        for image, bytes_freed in ((self.with_lost_table()[0], 25 * MIB),
                                   (self.with_lost_snapshot(name="b.qcow2"), 64 * KIB)):
            before, blocks = guest.read_all(image), os.stat(image).st_blocks
            leaks = self.leaks(image)
            record = self.amended(image, flags=[*FREE, "--on-lost-tables", "free"], refcount_bits=64)
            self.assert_sound(image)
            self.assert_same_layers(before, guest.read_all(image))
            self.assertEqual((record["leaks"]["clusters"], record["leaks"]["freed"]),
                             (leaks, True))
            self.assertGreaterEqual(record["clusters"]["deallocated"] *
                                    qcow2.load(image).cluster_size, bytes_freed)
            if bytes_freed > MIB:
                self.assertLess(os.stat(image).st_blocks * 512, blocks * 512 - 24 * MIB)

    def test_fail_refuses_with_a_number_whatever_the_amend_is(self):
        image, _, _ = self.with_lost_table()
        for options in ({"lazy_refcounts": "on"}, {"refcount_bits": 64}, {"compat": "0.10"},
                        {"backing_file": "none.raw", "backing_fmt": "raw"}):
            record = self.refused(image, "leaks", flags=FAIL, **options)
            self.assertIn(f"1601 leaked clusters ({1601 * 16384} bytes)",
                          record["error"]["message"])
            self.assertEqual(record["leaks"], {"clusters": 1601, "bytes": 1601 * 16384,
                                               "freed": False})

    def test_fail_lets_a_clean_image_pass(self):
        for options in ({"lazy_refcounts": "on"}, {"refcount_bits": 64}):
            record = self.amended(self.create(), flags=FAIL, **options)
            self.assertEqual(record["leaks"]["clusters"], 0)

    def test_the_counts_of_a_dirty_image_are_rebuilt_whatever_the_policy(self):
        for what in ("keep", "free", "fail"):
            image = self.create(lazy_refcounts="on")
            self.io(image, "write -q -P 1 0 64k")
            self.killed_io(image, "write -q -P 2 64k 512k", "write -q -z 0 64k")
            qcow2.append_cluster(image, b"leak")
            record = self.amended_keeping_content(image, flags=["--on-leaks", what],
                                                  refcount_bits=32)
            self.assertIsNone(record["leaks"])
            self.assertTrue(record["repaired"])

    def test_free_frees_nothing_where_no_refcount_is_written(self):
        """A smaller disk that ends in the same cluster, of an image with a data file: the tables are only
        looked at."""
        image = self.create(size="128k", data_file=self.path("a.data"))
        self.io(image, "write -q -P 1 0 128k")
        at = qcow2.append_cluster(image, b"leaked bytes")
        for options in ({}, {"shrink": True}):
            size = 127 * 1024 if options else "128k"
            answer = qbatch.amend(image, flags=["--on-leaks", "free"], size=size, **options)
            self.assertEqual((answer.code, answer.status), (0, "changed" if options else "unchanged"), str(answer))
            with open(image, "rb") as f:
                f.seek(at)
                self.assertEqual(f.read(12), b"leaked bytes")
        self.assertIs(answer.first["leaks"]["freed"], False)
        self.assertEqual(guest.check(image)[2], 1)

    def test_the_manifest_says_it_too(self):
        self.with_lost_snapshot()
        for what, code, error in (("fail", 1, "leaks"), ("keep", 0, None), ("free", 0, None)):
            answer = self.run_manifest(f"""
                version: 1
                policy: {{on_leaks: {what}}}
                images: [{{path: a.qcow2, refcount_bits: {64 if what == "free" else 32}}}]
                """)
            self.assertEqual((answer.code, answer.error), (code, error), str(answer))
        self.assert_sound(self.path("a.qcow2"))


class LostTables(LeaksTest):
    """Leaks among which a lost table is are not freed, unless somebody insists."""
    INSIST = ("--on-lost-tables", "free")
    WAYS = ({"repair": "all"}, {"repair": "leaks"}, {"flags": FREE, "refcount_bits": 64},
            {"flags": FREE, "reclaim.compact": "on"})

    def state(self):
        return ("--state", self.path("state"))

    def test_every_way_to_free_them_is_refused(self):
        image, table, _ = self.with_lost_table()
        for way in self.WAYS:
            with self.subTest(**way):
                way = {**way, "flags": [*way.get("flags", ()), *self.state()]}
                dry = qbatch.amend(image, flags=[*way["flags"], "--dry-run"],
                                   **{key: value for key, value in way.items() if key != "flags"})
                record = self.refused(image, "leaks", **way)
                self.assertEqual(record["error"]["offset"], table)
                message = record["error"]["message"]
                self.assertIn(f"the leaked cluster at {table} is an L2 table that nothing names (1 such table, "
                              "with 1600 leaked clusters), and 7 stretches of the active layer, of 33554432 bytes", message)
                self.assertEqual((dry.code, dry.first["error"]["message"]), (1, message))
                self.assertIn("copy the image first", record["error"]["hint"])
                self.assertIn("policy.on_lost_tables: free", record["error"]["hint"])

    def test_insisting_frees_them(self):
        for i, way in enumerate(self.WAYS):
            with self.subTest(**way):
                image, _, _ = self.with_lost_table(name=f"{i}.qcow2")
                before = guest.read_all(image)
                self.amended(image, **{**way, "flags": [*way.get("flags", ()), *self.INSIST, *self.state()]})
                self.assert_sound(image)
                self.assert_same_layers(before, guest.read_all(image))

    def test_the_manifest_insists(self):
        image, _, _ = self.with_lost_table()
        for what, code, error in (("fail", 1, "leaks"), ("free", 0, None)):
            answer = self.run_manifest(f"""
                version: 1
                policy: {{on_lost_tables: {what}}}
                images: [{{path: {image}, repair: all}}]
                """, *self.state())
            self.assertEqual((answer.code, answer.error), (code, error), str(answer))
        self.assert_sound(image)

    def test_the_rest_of_repair_leaves_the_leaks(self):
        image, table, data = self.with_lost_table()
        place, entry = self.first_entry(image, 0)
        qcow2.patch_u64(image, place, entry & ~qcow2.COPIED)
        before = qcow2.load(image).data
        record = self.amended(image, flags=[*self.state(), "-o", "repair=refcounts", "-o", "repair=flags",
                                            "-o", "repair=bitmaps"])
        self.assertEqual((record["flags_corrected"], self.leaks(image)), (1, 1601))
        now = qcow2.load(image).data
        for offset in [table, *data]:
            self.assertEqual(now[offset:offset + 16384], before[offset:offset + 16384])

    def test_one_stretch_is_named_and_a_table_of_one_cluster_is_enough(self):
        image = self.create(size="64M", cluster_size=16384)
        self.io(image, "write -q -P 1 0 4M", "write -q -P 7 48M 1k")
        qcow2.patch_u64(image, qcow2.load(image).l1_table_offset + 8, 0)
        self.refused(image, "leaks", flags=self.state(), repair="all",
                     words=f"with 1 leaked cluster), and the active layer has no entries for guest bytes {32 * MIB} to {64 * MIB - 1}:")

    def test_a_snapshot_that_lost_a_table(self):
        image = self.create(size="64M", cluster_size=16384)
        self.io(image, "write -q -P 1 0 64M")
        self.snapshot(image, "s")
        self.io(image, "write -q -P 2 0 64M")
        found = qcow2.load(image)
        qcow2.patch_u64(image, found.snapshots()[0].l1_table_offset + 8, 0)
        self.refused(image, "leaks", flags=self.state(), repair="all", words="a snapshot has no entries for guest bytes 33554432 ")
        self.amended(image, flags=[*self.state(), *self.INSIST], repair="all")
        self.assert_sound(image)

    def test_extended_entries_and_compressed_clusters(self):
        for i, options in enumerate(({"extended_l2": "on"}, {})):
            image = self.create(f"{i}", size="64M", cluster_size=16384, **options)
            self.io(image, "write -q -P 1 0 4M", "write -q -c -P 7 32M 16k" if not options else "write -q -P 7 32M 1k")
            qcow2.patch_u64(image, qcow2.load(image).l1_table_offset + 8 * (2 if options else 1), 0)
            self.refused(image, "leaks", flags=self.state(), repair="all", words="is an L2 table that nothing names")

    def test_a_dirty_image(self):
        image = self.create(size="64M", lazy_refcounts="on", cluster_size=16384)
        self.io(image, "write -q -P 1 0 4M", "write -q -P 7 32M 4M")
        self.killed_io(image, "write -q -P 2 8M 64k")
        copy = self.copy(image, "b.qcow2")
        qcow2.patch_u64(image, qcow2.load(image).l1_table_offset + 8, 0)
        self.refused(image, "leaks", flags=self.state(), refcount_bits=32)
        self.amended(image, flags=[*self.state(), *self.INSIST], refcount_bits=32)
        self.assert_sound(image)
        self.amended_keeping_content(copy, flags=self.state(), refcount_bits=32)  # nothing is lost here

    def test_past_64_mib_of_other_leaks(self):
        image = self.create(size="96M", cluster_size=16384)
        self.io(image, "write -q -P 1 0 65M")
        found = qcow2.load(image)
        table = found.u64(found.l1_table_offset + 16) & qcow2.L1_OFFSET
        for i in range(2):
            qcow2.patch(image, found.u64(found.l1_table_offset + 8 * i) & qcow2.L1_OFFSET, b"no table" * 2048)
            qcow2.patch_u64(image, found.l1_table_offset + 8 * i, 0)
        qcow2.patch_u64(image, found.l1_table_offset + 16, 0)
        record = self.refused(image, "leaks", flags=self.state(), repair="all")
        self.assertEqual(record["error"]["offset"], table)

    def test_other_leaks_are_freed_as_ever(self):
        image = self.create(size="64M", cluster_size=16384)
        self.io(image, "write -q -P 1 0 4M")
        for data in (b"leak", b"\1" * 16384, bytes(16384), os.urandom(16384)):
            qcow2.append_cluster(image, data)
        found = qcow2.load(image)
        table = found.u64(found.l1_table_offset) & qcow2.L1_OFFSET
        qcow2.append_cluster(image, found.data[table:table + 16384])  # names what is in use
        qcow2.set_refcount(image, (self.first_entry(image, 0)[1] & qcow2.L2_OFFSET) >> 14, 2)
        qcow2.patch_u64(image, table, self.first_entry(image, 0)[1] & ~qcow2.COPIED)
        self.assertEqual(self.leaks(image), 6)
        self.amended_keeping_content(image, flags=self.state(), repair="all")

    def test_no_gap_no_lost_table(self):
        image = self.create(size="64M", cluster_size=16384)
        self.io(image, "write -q -P 1 0 64M")
        place = qcow2.load(image).l1_table_offset + 8
        qcow2.patch_u64(image, place, 0)
        self.io(image, "write -q -P 2 32M 16k")  # a table is there again
        self.assertEqual(self.leaks(image), 2049)
        self.amended_keeping_content(image, flags=self.state(), repair="all")


if __name__ == "__main__":
    main()
