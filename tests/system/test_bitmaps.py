"""The key `bitmaps`, judged by `qemu-img bitmap` on a copy and by the bits that an NBD client sees."""
import os
import struct

import context  # noqa: F401
import bitmaps
import guest
import proc
import qbatch
import qcow2
from bitmap_case import BitmapTest
from fixture import GIB, MIB, main


def removes(*names):
    return [["--remove", name] for name in names]


class Remove(BitmapTest):
    def test_names_and_patterns_are_removed_and_the_others_stay(self):
        for globs, names in (("old-*", ("old-1", "old-2")), ("keep", ("keep",)),
                             ("[ok]*", ("old-1", "old-2", "keep")), ("*-?", ("old-1", "old-2"))):
            with self.subTest(globs):
                image = self.image("old-1", "keep", "old-2", "zz")
                self.assert_done_as_qemu(image, removes(*names), **{"bitmaps.remove": globs})
                self.amended(image, status="unchanged", **{"bitmaps.remove": globs})

    def test_the_last_one_takes_its_extension_and_its_autoclear_bit_along(self):
        image = self.image("a", "b")
        self.assert_done_as_qemu(image, removes("a", "b"), **{"bitmaps.remove": "*"})
        found = qcow2.load(image)
        self.assertIsNone(found.extension(qcow2.EXT_BITMAPS))
        self.assertEqual(found.autoclear_features, 0)
        self.amended(image, status="unchanged", **{"bitmaps.remove": "*"})

    def test_what_matches_none_is_no_change(self):
        image = self.image("a")
        sha = proc.sha256(image)
        for globs in ("b", "b*", "A", "?b"):
            self.amended(image, status="unchanged", **{"bitmaps.remove": globs})
        none = self.create("none.qcow2")
        self.amended(none, status="unchanged", **{"bitmaps.remove": "*"})
        self.assertEqual(proc.sha256(image), sha)

    def test_with_every_other_key_in_one_commit(self):
        image = self.image("a", "b", "c", backing=self.raw("base", "4M"), backing_fmt="raw")
        self.snapshot(image, "s")
        judge = self.copy(image, "judge.qcow2")
        bitmaps.qemu(judge, *removes("a", "c"))
        record = self.amended_keeping_content(
            image, **{"bitmaps.remove": "[ac]", "refcount_bits": 64, "lazy_refcounts": "on",
                      "backing_file": "base"})
        self.assert_same_bitmaps(image, judge)
        self.assertIn({"key": "bitmaps", "from": 3, "to": 1}, record["changes"])

    def test_a_downgrade_is_judged_by_the_bitmaps_that_are_left(self):
        image = self.image("a", "b")
        self.refused(image, "refused", words="1 would be left",
                     **{"compat": "0.10", "bitmaps.remove": "a"})
        self.amended_keeping_content(image, **{"compat": "0.10", "bitmaps.remove": "*"})
        self.assertEqual(qcow2.load(image).version, 2)

    def test_what_a_program_without_bitmaps_has_outdated_counts_as_none(self):
        image = self.image("a")
        qcow2.patch_header(image, autoclear_features=0)
        self.amended(image, status="unchanged", **{"bitmaps.remove": "*"})

    def test_what_counts_as_none_does_not_stay_in_version_2(self):
        """QEMU warns of it there each time it opens the image."""
        image = self.image("a")
        qcow2.patch_header(image, autoclear_features=0)
        self.assertIsNotNone(qcow2.load(image).extension(qcow2.EXT_BITMAPS))
        self.amended(image, compat="0.10")
        self.assertEqual(qcow2.load(image).version, 2)
        self.assertIsNone(qcow2.load(image).extension(qcow2.EXT_BITMAPS))


class Inconsistent(BitmapTest):
    def test_only_those_in_use_are_removed(self):
        image = self.image("a", "b", "c")
        bitmaps.mark_in_use(image, "a", "c")
        self.assert_done_as_qemu(image, removes("a", "c"), **{"bitmaps.remove_inconsistent": "on"})
        self.amended(image, status="unchanged", **{"bitmaps.remove_inconsistent": "on"})

    def test_off_asks_for_nothing(self):
        image = self.image("a")
        bitmaps.mark_in_use(image, "a")
        self.amended(image, status="unchanged", **{"bitmaps.remove_inconsistent": "off"})

    def test_a_name_removes_one_in_use_too(self):
        image = self.image("a", "b")
        bitmaps.mark_in_use(image, "a", "b")
        self.assert_done_as_qemu(image, removes("a"), **{"bitmaps.remove": "a"})


def put(image, at, fmt, *values):
    with open(image, "r+b") as f:
        f.seek(at)
        f.write(struct.pack(fmt, *values))


def entry(image, name="a"):
    return next(e for e in bitmaps.directory(image) if e.name == name)


def first_data(image, name="a"):
    """Where the first entry of its table is that leads to a cluster of bits."""
    e = entry(image, name)
    with open(image, "rb") as f:
        f.seek(e.table)
        table = struct.unpack(f">{e.entries}Q", f.read(8 * e.entries))
    return e.table + 8 * next(i for i, cluster in enumerate(table) if cluster)


# What is wrong with the bitmap "a", of which everything is where it was.
OF_ENTRY = {
    "type": lambda image: put(image, entry(image).at + 16, ">B", 9),
    "granularity": lambda image: put(image, entry(image).at + 17, ">B", 77),
    "flags": lambda image: put(image, entry(image).at + 12, ">I", 0x80),
    "size of the table": lambda image: (put(image, entry(image).table + 8, ">QQ", 0, 0),
                                        put(image, entry(image).at + 8, ">I", 3)),
}
# ... and where what it occupies cannot be told any more.
OF_TABLE = {
    "unaligned table": lambda image: put(image, entry(image).at, ">Q", entry(image).table + 512),
    "no table": lambda image: put(image, entry(image).at, ">Q", 0),
    "table past the end": lambda image: put(image, entry(image).at, ">Q", 1 << 40),
    "entry of the table": lambda image: put(image, first_data(image), ">Q", 0x1234),
    "data past the end": lambda image: put(image, first_data(image), ">Q", 1 << 40),
}
OPENED = (OF_TABLE["table past the end"], OF_TABLE["data past the end"])  # by QEMU, to which that reads zero
# ... of the directory as a whole.
OF_DIRECTORY = {
    "a name of no length": lambda image: put(image, entry(image).at + 18, ">H", 0),
    "a name that never ends": lambda image: put(image, entry(image).at + 18, ">H", 900),
    "its place": lambda image: put(image, extension_at(image) + 16, ">Q", 1 << 40),
}


def extension_at(image):
    """Where the extension's data begins in the header."""
    with open(image, "rb") as f:
        return f.read(4096).index(struct.pack(">I", qcow2.EXT_BITMAPS)) + 8


class Broken(BitmapTest):
    """QEMU opens no such image, so nobody but the repair gets rid of the bitmap."""

    def damaged(self, how):
        image = self.image("a", "b")
        before = guest.read_all(image)
        how(image)
        if how not in OPENED:
            opened = proc.run(["qemu-io", "-f", "qcow2", "-c", "write -q 0 512", self.copy(image, "judge.qcow2")])
            self.assertIn("bitmap", opened.err.lower(), "QEMU opens it")
        return image, before

    def mended(self, image, before, names, leaks, **options):
        """The guest's bytes stay, QEMU writes again, and what only the bitmap used has leaked at most."""
        record = self.amended(image, **options)
        code, corruptions, leaked, words = guest.check(image)
        self.assertEqual(corruptions, 0, words)
        self.assertEqual(leaked > 0, leaks, words)
        self.assertEqual(sorted(bitmaps.shown(image)), names)
        self.assert_same_layers(before, guest.read_all(image))
        self.amended(image, status="unchanged", **options)
        if leaks:
            self.amended(image, repair="leaks")
        self.assert_sound(image)
        self.io(image, "write -q -P 9 0 4k")
        self.assert_sound(image)
        return record

    def refused_with_a_hint(self, image):
        for options in ({"bitmaps.remove": "b"}, {"size": "8M"}, {"bitmaps.add.0.name": "c"}):
            self.refused(image, "corrupt", words="repair=bitmaps removes", **options)

    def test_one_that_is_damaged_goes_and_the_other_stays(self):
        for kind, leaks in ((OF_ENTRY, False), (OF_TABLE, True)):
            for name, how in kind.items():
                for options in ({"repair": "bitmaps"}, {"bitmaps.remove": "a"}):
                    with self.subTest(name, **options):
                        image, before = self.damaged(how)
                        self.refused_with_a_hint(image)
                        self.mended(image, before, ["b"], leaks, **options)

    def test_two_of_one_name_go_together(self):
        for options in ({"repair": "bitmaps"}, {"bitmaps.remove": "a"}):
            image, before = self.damaged(lambda image: put(image, entry(image, "b").at + 24, "s", b"a"))
            self.refused(image, "corrupt", words='two bitmaps have the name "a"', **{"bitmaps.remove": "b"})
            self.mended(image, before, [], False, **options)

    def test_all_go_where_the_directory_is_damaged(self):
        for name, how in OF_DIRECTORY.items():
            for options in ({"repair": "bitmaps"}, {"bitmaps.remove": "*"}):
                with self.subTest(name, **options):
                    image, before = self.damaged(how)
                    self.refused_with_a_hint(image)
                    self.refused(image, "corrupt", words="repair=bitmaps", **{"bitmaps.remove": "a"})
                    record = self.mended(image, before, [], True, **options)
                    self.assertTrue(record["bitmaps_dropped"])

    def test_repair_of_all_frees_what_only_they_used(self):
        for how in (OF_TABLE["unaligned table"], OF_DIRECTORY["its place"]):
            image, before = self.damaged(how)
            self.mended(image, before, ["b"] if how in OF_TABLE.values() else [], False, repair="all")

    def test_a_cluster_that_something_else_uses_too_is_kept(self):
        image, before = self.damaged(OF_DIRECTORY["a name of no length"])
        at = qcow2.load(image).l1(*qcow2.load(image).l1s()[0])[0] & qcow2.L1_OFFSET
        put(image, extension_at(image) + 16, ">Q", at)  # the directory is an L2 table
        self.mended(image, before, [], True, repair="bitmaps")

    def test_a_downgrade_drops_them_too(self):
        image, _ = self.damaged(OF_DIRECTORY["its place"])
        answer = self.run_manifest(f"""
            version: 1
            policy: {{drop_bitmaps: true}}
            images: [{{path: {image}, compat: "0.10", repair: all}}]
            """)
        self.assertEqual(answer.status, "changed", str(answer))
        self.assert_sound(image)
        self.assertEqual(bitmaps.shown(image), {})

    def test_an_undo_is_refused_of_what_it_could_not_prove(self):
        image, _ = self.damaged(OF_TABLE["no table"])
        self.refused(image, "unsupported", words="damaged bitmaps", repair="bitmaps", keep_undo="on")


    def test_an_undo_brings_back_an_entry_whose_table_is_sound(self):
        image, _ = self.damaged(OF_ENTRY["granularity"])
        self.undone(image, remove=["a"])


class Manifest(BitmapTest):
    def test_lists_in_a_manifest_and_in_defaults(self):
        for name in ("a.qcow2", "b.qcow2", "c.qcow2"):
            self.image("old-1", "x", "keep", name=name)
        answer = self.run_manifest("""
            version: 1
            defaults:
              bitmaps: {remove: [old-*, x]}
            images:
              - path: a.qcow2
              - {path: b.qcow2, bitmaps: {remove: keep}}
              - {path: c.qcow2, bitmaps: {remove_inconsistent: on}}
            """)
        self.assertEqual([r["status"] for r in answer.records], ["changed", "changed", "unchanged"],
                         str(answer))
        left = [sorted(bitmaps.shown(self.path(n))) for n in ("a.qcow2", "b.qcow2", "c.qcow2")]
        self.assertEqual(left, [["keep"], ["old-1", "x"], ["keep", "old-1", "x"]])

    def test_set_replaces_one_list_of_the_manifest(self):
        self.image("a", "b", "c")
        answer = self.run_manifest("""
            version: 1
            images:
              - {path: a.qcow2, bitmaps: {remove: [a]}}
            """, "--set", "bitmaps.remove=b", "--set", "bitmaps.remove=c")
        self.assertEqual(answer.status, "changed", str(answer))
        self.assertEqual(sorted(bitmaps.shown(self.path("a.qcow2"))), ["a"])

    def test_mistakes_have_their_line_and_column(self):
        self.image("a")
        for text, place, words in (
                ("{remov: [a]}", "3:31", 'did you mean "remove"'),
                ("{remove: []}", "3:39", "empty list"),
                ("{remove: [a, '']}", "3:43", "is an empty name"),
                ("{remove: {a: b}}", "3:39", "a text or a list of texts"),
                ("{}", "3:21", "is an empty mapping"),
                ("[a]", "3:30", "a mapping such as {VERB: ...}, not a list"),
                ("{remove_inconsistent: 1}", "3:52", "remove_inconsistent")):
            with self.subTest(text):
                path = self.manifest(f"version: 1\nimages:\n  - {{path: a.qcow2, bitmaps: {text}}}\n")
                done = proc.run([qbatch.absolute(qbatch.TOOL), "lint", path], cwd=self.folder)
                self.assertEqual(done.code, 2, done.err)
                self.assertIn(f":{place}:", done.out + done.err)
                self.assertIn(words, done.out + done.err)
        path = self.manifest("version: 1\nimages:\n  - {path: a.qcow2, bitmaps.remove: a}\n")
        done = proc.run([qbatch.absolute(qbatch.TOOL), "lint", path], cwd=self.folder)
        self.assertIn('belongs inside the mapping "bitmaps"', done.out + done.err)


class Undo(BitmapTest):
    def test_removed_bitmaps_come_back_with_an_undo(self):
        self.undone(self.image("a", "b"), remove=["a"])

    def test_inconsistent_ones_do_too(self):
        image = self.image("a", "b")
        bitmaps.mark_in_use(image, "a")
        self.undone(image, remove_inconsistent="on")

    def test_what_is_kept_is_leaked_until_it_is_discarded(self):
        image = self.image("a", "b")
        answer = self.run_manifest("""
            version: 1
            images:
              - {path: a.qcow2, keep_undo: on, bitmaps: {remove: a}}
            """)
        self.assertEqual(answer.status, "changed", str(answer))
        code, corruptions, leaks, _ = guest.check(image)
        self.assertEqual((code, corruptions), (3, 0))
        self.assertGreaterEqual(leaks, 3)  # directory, table, data
        done = proc.run([qbatch.absolute(qbatch.TOOL), "undo", "--discard-undo", "last"],
                        cwd=self.folder)
        self.assertEqual(done.code, 0, done.out + done.err)
        self.assert_sound(image)
        self.assertEqual(sorted(bitmaps.shown(image)), ["b"])

    def test_an_undo_after_a_guest_is_refused_by_the_directory_it_changed(self):
        """Even where the file's times say nothing."""
        image = self.image("a", "b")
        answer = self.run_manifest("""
            version: 1
            images:
              - {path: a.qcow2, keep_undo: on, bitmaps: {remove: a}}
            """)
        self.assertEqual(answer.status, "changed", str(answer))
        stat = os.stat(image)
        bitmaps.mark_in_use(image, "b")
        os.utime(image, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        done = proc.run([qbatch.absolute(qbatch.TOOL), "undo", "last"], cwd=self.folder)
        self.assertNotEqual(done.code, 0, done.out)

    def test_none_left_that_notices_a_guest_is_refused(self):
        image = self.image("a", "b")
        self.refused(image, "unsupported", words="keep_undo",
                     **{"keep_undo": "on", "bitmaps.remove": "*"})
        bitmaps.mark_in_use(image, "b")
        self.refused(image, "unsupported", words="keep_undo",
                     **{"keep_undo": "on", "bitmaps.remove": "a"})


class States(BitmapTest):
    def test_bits_are_cleared(self):
        image = self.image("a", "b", "day-1", "day-2")
        self.assert_done_as_qemu(image, [["--clear", "a"], ["--clear", "day-1"],
                                         ["--clear", "day-2"]],
                                 **{"bitmaps.clear": "[ad]*"})
        self.amended(image, status="unchanged", **{"bitmaps.clear": "a"})

    def test_recording_is_disabled_and_enabled(self):
        image = self.image("a", "b")
        self.assert_done_as_qemu(image, [["--disable", "a"]], **{"bitmaps.disable": "a"})
        self.amended(image, status="unchanged", **{"bitmaps.disable": "a"})
        self.assert_done_as_qemu(image, [["--enable", "a"]], **{"bitmaps.enable": "*"})

    def test_the_order_is_that_of_the_manual(self):
        """Enabled before disabled, removed before all."""
        image = self.image("a", "b", "c")
        self.amended(image, **{"bitmaps.disable": "b", "bitmaps.enable": "*", "bitmaps.clear": "b",
                               "bitmaps.remove": "a"})
        self.assertEqual(bitmaps.shown(image), {"b": (65536, []), "c": (65536, ["auto"])})
        self.assertEqual(bitmaps.dirty(image, "b"), [])

    def test_names_that_are_not_there_are_refused_and_patterns_are_not(self):
        image = self.image("a", "b")
        for verb in ("clear", "enable", "disable"):
            self.refused(image, "refused", words='it has "a", "b"', **{f"bitmaps.{verb}": "c"})
            self.amended(image, status="unchanged", **{f"bitmaps.{verb}": "c*"})
        none = self.create("none.qcow2")
        self.refused(none, "refused", words="it has none", **{"bitmaps.clear": "c"})
        qcow2.patch_header(image, autoclear_features=0)
        self.refused(image, "refused", words="it has none", **{"bitmaps.clear": "a"})

    def test_an_inconsistent_one_is_refused(self):
        image = self.image("a", "b")
        bitmaps.mark_in_use(image, "b")
        for verb in ("clear", "enable", "disable"):
            self.refused(image, "refused", words="can only be removed",
                         **{f"bitmaps.{verb}": "*"})
        self.amended(image, **{"bitmaps.disable": "a"})


class Resize(BitmapTest):
    """iotest 246 and others: bitmaps follow the disk."""

    def resized(self, image, size, **options):
        judge = self.copy(image, "judge.qcow2")
        shrink = size < guest.info(image)["virtual-size"]
        proc.must(["qemu-img", "resize", "-q", *(["--shrink"] if shrink else []), judge, str(size)])
        record = self.amended_keeping_content(image, shrink=shrink, size=size, **options)
        self.assert_same_bitmaps(image, judge)
        return record

    def bitmap(self, image, name, granularity, *ranges):
        bitmaps.qemu(image, ["--add", "-g", str(granularity), name])
        if ranges:
            self.io(image, *(f"write -q {at} {length}" for at, length in ranges))

    def test_sizes_and_granularities(self):
        for cluster in (512, 4096, 65536):
            for old, new in ((MIB, 3 * MIB), (MIB + 512, MIB + 1024), (5 * MIB - 512, 2 * MIB + 512),
                             (4 * MIB, 64 * MIB), (64 * MIB, 4 * MIB), (3 * MIB, 3 * MIB + 4096)):
                with self.subTest(cluster=cluster, old=old, new=new):
                    image = self.create(size=old, cluster_size=cluster)
                    for bits in (9, 12, 16, 20, 31):
                        self.bitmap(image, f"g{bits}", 1 << bits)
                    self.io(image, f"write -q 0 {64 << 10}", f"write -q {old - 512} 512",
                            f"write -q {old // 2} 512")
                    self.resized(image, new)

    def test_growing_again_after_a_shrink_shows_clear_bits(self):
        image = self.create(size=4 * MIB, cluster_size=512)
        self.bitmap(image, "a", 512, (0, 4 * MIB))
        self.resized(image, MIB + 512 * 3)
        self.resized(image, 8 * MIB)
        self.assertEqual(bitmaps.dirty(image, "a"), [(0, MIB + 512 * 3)])

    def test_a_disk_past_32_gib(self):
        image = self.create(size="20G")
        self.bitmap(image, "a", 65536, (0, 65536), (20 * GIB - 512, 512))
        self.resized(image, 100 * GIB)
        self.amended(image, size=16 << 40)
        self.assert_sound(image)
        self.assertEqual(bitmaps.dirty(image, "a"), [(0, 65536), (20 * GIB - 65536, 20 * GIB)])

    def test_over_a_longer_backing_file(self):
        base = self.raw("base", "8M", "write -q -P 3 0 8M")
        image = self.create(size="2M", backing=base, backing_fmt="raw")
        self.bitmap(image, "a", 65536, (0, 65536))
        self.amended(image, size=4 * MIB)
        self.assert_sound(image)
        self.assertEqual(bitmaps.dirty(image, "a"), [(0, 65536)])

    def test_all_ones_in_a_table(self):
        """QEMU reads such an entry and never writes one, and sets bits of the new part where it makes
        such a disk larger, which must be clear."""
        image = self.create(size=2 * MIB + 512, cluster_size=512)
        self.bitmap(image, "a", 512, (0, 2 * MIB + 512))
        entry = bitmaps.directory(image)[0]
        self.assertEqual(entry.entries, 2)
        for i in range(entry.entries):
            at = entry.table + 8 * i
            found = qcow2.load(image)
            qcow2.set_refcount(image, found.u64(at) // 512, 0)
            qcow2.patch_u64(image, at, 1)
        self.assert_sound(image)
        self.amended_keeping_content(image, size=4 * MIB)
        self.assertEqual(bitmaps.dirty(image, "a"), [(0, 2 * MIB + 512)])

    def test_inconsistent_ones_stay_as_they_are(self):
        image = self.image("a", "b")
        bitmaps.mark_in_use(image, "a")
        self.amended_keeping_content(image, size=100 * GIB)
        self.assertEqual(bitmaps.shown(image)["a"][1], ["auto", "in-use"])
        self.assertEqual(bitmaps.dirty(image, "b"), [(64 << 10, 128 << 10)])

    def test_one_that_would_be_too_large_is_refused_by_its_name(self):
        image = self.create(size="1M")
        self.bitmap(image, "fine", 512)
        self.refused(image, "refused", words='bitmap "fine"', size=4 << 40)
        self.amended_keeping_content(image, **{"size": 4 << 40, "bitmaps.remove": "fine"})

    def test_bits_that_do_not_change_cost_nothing(self):
        """Neither a directory nor a table is written where all stays as it is."""
        image = self.create(size="1G")
        self.bitmap(image, "a", 65536, (0, 65536))
        before = bitmaps.directory(image)[0].at
        self.resized(image, 2 * GIB)
        self.assertEqual(bitmaps.directory(image)[0].at, before)

    def test_with_other_keys_and_an_undo(self):
        image = self.create(size="20G")
        self.bitmap(image, "a", 65536, (0, 65536), (20 * GIB - 512, 512))
        self.bitmap(image, "b", 65536, (65536, 65536))
        self.undone(image, size="64G", remove=["b"])


class Damaged(BitmapTest):
    """A directory that QEMU would not open the image with: one line, and nothing is touched."""

    def entry(self, image, name):
        return next(e for e in bitmaps.directory(image) if e.name == name)

    def damaged(self, at, data, *codes, words):
        image = self.image("a", "b")
        entry = self.entry(image, "b")
        qcow2.patch(image, entry.at + at, data)
        self.refused(image, *codes, words=words, **{"bitmaps.remove": "a"})

    def test_each_field(self):
        for at, data, words in (
                (0, struct.pack(">Q", 0), "cannot be"), (0, struct.pack(">Q", 512), "cannot be"),
                (8, struct.pack(">I", 0), "cannot be"), (8, struct.pack(">I", 2), "the disk needs 1"),
                (8, struct.pack(">I", 0xffffffff), "cannot be"),
                (12, struct.pack(">I", 8), "flags 0x8"), (16, b"\2", "type 2"),
                (17, b"\x08", "granularity"), (17, b"\x20", "granularity"),
                (18, struct.pack(">H", 0), "a name of 0 bytes"),
                (18, struct.pack(">H", 2000), "too short"), (24, b"\0", "NUL inside"),
                (20, struct.pack(">I", 0xffffff00), "too short")):
            with self.subTest(at=at, data=data):
                self.damaged(at, data, "corrupt", words=words)

    def test_a_table_that_lies_elsewhere(self):
        self.damaged(0, struct.pack(">Q", 1 << 40), "corrupt", words="past the end of the file")
        image = self.image("a", "b")
        table = self.entry(image, "a").table
        qcow2.patch_u64(image, self.entry(image, "b").at, table)
        self.refused(image, "corrupt", **{"bitmaps.remove": "a"})

    def test_the_directory_itself(self):
        for number, size, offset, words in ((0, 64, None, "cannot be where"),
                                            (70000, 64, None, "cannot be where"),
                                            (3, None, None, "too short"), (1, None, None, "more than"),
                                            (2, 1 << 27, None, "cannot be where"),
                                            (2, None, 512, "cannot be where"),
                                            (2, None, 1 << 40, "cannot be where")):
            with self.subTest(number=number, size=size, offset=offset):
                image = self.image("a", "b")
                found = next(e for e in qcow2.load(image).extensions()
                             if e.type == qcow2.EXT_BITMAPS)
                _, zero, old_size, old_offset = struct.unpack(">IIQQ", found.data)
                qcow2.patch(image, found.offset, struct.pack(
                    ">IIQQ", number, zero, old_size if size is None else size,
                    old_offset if offset is None else offset))
                self.refused(image, "corrupt", words=words, **{"bitmaps.remove": "a"})

    def test_extra_data_that_is_not_ours(self):
        """A directory entry with extra data, which QEMU never writes."""
        for flags, taken in ((2, False), (2 | 4, True)):
            with self.subTest(flags=flags):
                image = self.image("a")
                entry = self.entry(image, "a")
                found = next(e for e in qcow2.load(image).extensions()
                             if e.type == qcow2.EXT_BITMAPS)
                raw = struct.pack(">QIIBBHI", entry.table, entry.entries, flags, 1, entry.bits, 1, 3)
                keep = raw + b"xyz" + b"a" + b"\0" * 4
                qcow2.patch(image, entry.at, keep)
                qcow2.patch(image, found.offset + 8, struct.pack(">Q", len(keep)))
                if taken:
                    self.amended(image, **{"bitmaps.remove": "a"})
                    self.assert_sound(image)
                else:
                    self.refused(image, "unsupported", words="extra data",
                                 **{"bitmaps.remove": "a"})


class Header(BitmapTest):
    def test_what_is_unknown_survives_byte_for_byte(self):
        """iotest 165 and others look at bitmaps alone; this at all that lies beside them."""
        image = self.image("a", "b")
        found = qcow2.load(image)
        names = next(e for e in found.extensions() if e.type == qcow2.EXT_FEATURE_TABLE)
        # An extension of 8 bytes in the place of the feature name table, as XCP-ng has one.
        raw = struct.pack(">II8s", 0x76617465, 8, b"12345678")
        rest = b"".join(struct.pack(">II", e.type, len(e.data)) + e.data.ljust(-(-len(e.data) // 8) * 8,
                                                                             b"\0")
                        for e in found.extensions() if e.type != qcow2.EXT_FEATURE_TABLE)
        start = names.offset - 8
        qcow2.patch(image, start, (raw + rest).ljust(8 + len(names.data) + len(rest), b"\0"))
        self.assertEqual(sorted(bitmaps.shown(image)), ["a", "b"])
        qcow2.patch_header(image, compatible_features=1 << 40)
        self.amended_keeping_content(image, **{"bitmaps.remove": "a"})
        after = qcow2.load(image)
        self.assertEqual(after.extension(0x76617465), b"12345678")
        self.assertEqual(after.compatible_features, 1 << 40)
        self.assertEqual(sorted(bitmaps.shown(image)), ["b"])

    def test_a_header_of_104_bytes_stays_one(self):
        image = self.image("a", "b")
        with open(image, "r+b") as f:
            head = bytearray(f.read(4096))
            head[100:104] = struct.pack(">I", 104)
            head[104:4096 - 8] = head[112:4096]
            f.seek(0)
            f.write(head)
        self.assertEqual(sorted(bitmaps.shown(image)), ["a", "b"])
        self.amended_keeping_content(image, **{"bitmaps.remove": "a"})
        self.assertEqual(qcow2.load(image).header_length, 104)
        self.assertEqual(sorted(bitmaps.shown(image)), ["b"])


if __name__ == "__main__":
    main()
