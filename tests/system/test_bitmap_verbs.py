"""bitmaps.rename, add and merge, judged by `qemu-img bitmap` on a copy and by the bits that an NBD client sees."""
import json
import os
import random

import context  # noqa: F401
import bitmaps
import proc
import qbatch
import qcow2
from bitmap_case import BitmapTest
from fixture import GIB, KIB, MIB, main


def items(verb, *mappings):
    """-o of a list of mappings."""
    return {f"bitmaps.{verb}.{i}.{part}": value
            for i, mapping in enumerate(mappings) for part, value in mapping.items()}


def renamed(*pairs):
    return items("rename", *({"from": a, "to": b} for a, b in pairs))


def added(*mappings):
    return items("add", *mappings)


def merged(*pairs):
    return items("merge", *({"from": a, "to": b} for a, b in pairs))


class Rename(BitmapTest):
    def test_all_but_the_name_stays(self):
        image = self.image("a", "b", "c")
        bitmaps.qemu(image, ["--disable", "b"])
        before = bitmaps.all_dirty(image)
        self.amended_keeping_content(image, **renamed(("b", "x,y"), ("a", "n" * 1023)))
        self.assertEqual(bitmaps.shown(image), {"n" * 1023: (65536, ["auto"]), "x,y": (65536, []),
                                                "c": (65536, ["auto"])})
        self.assertEqual(bitmaps.dirty(image, "x,y"), before["b"])
        self.assertEqual(bitmaps.dirty(image, "c"), before["c"])
        self.assertEqual([e.name for e in bitmaps.directory(image)], ["n" * 1023, "x,y", "c"])

    def test_what_is_renamed_already_is_no_change(self):
        image = self.image("a", "b")
        self.amended(image, **renamed(("a", "c")))
        self.amended(image, status="unchanged", **renamed(("a", "c")))
        self.amended(image, **renamed(("a", "c"), ("b", "d")))
        self.assertEqual(sorted(bitmaps.shown(image)), ["c", "d"])

    def test_what_cannot_be_is_refused_by_name(self):
        image = self.image("a", "b", "c")
        for pairs, words in (((("x", "y"),), 'no bitmap "x"; it has "a", "b", "c"'),
                             ((("a", "b"),), '"a" cannot be renamed: there is a bitmap "b" already'),
                             ((("a", "x"), ("x", "y")), '"x" is named twice'),
                             ((("a", "a"),), '"a" is named twice'),
                             ((("a", "x"), ("b", "x")), '"x" is named twice')):
            self.refused(image, "refused", words=words, **renamed(*pairs))
        bitmaps.mark_in_use(image, "b")
        for pairs in ((("b", "x"),), (("x", "b"),)):
            self.refused(image, "refused", words="can only be removed", **renamed(*pairs))
        self.refused(self.create("none.qcow2"), "refused", words="it has none", **renamed(("a", "b")))

    def test_a_name_that_is_removed_may_be_taken(self):
        image = self.image("a", "b")
        dirty = bitmaps.dirty(image, "a")
        self.amended(image, **{"bitmaps.remove": "b", **renamed(("a", "b"))})
        self.assertEqual(bitmaps.all_dirty(image), {"b": dirty})


class Version2(BitmapTest):
    """It has no bitmaps, so that none can be named, and the second run ends as the first."""

    WITH_NAMES = {"rename": [{"from": "a", "to": "b"}], "merge": [{"from": ["a"], "to": "b"}],
                  "clear": ["a"], "enable": ["a"], "disable": ["[b]", "a"]}

    def downgraded(self, verb, value):
        return self.run_manifest(f"""
            version: 1
            policy: {{drop_bitmaps: on}}
            images:
              - {{path: judged.qcow2, compat: "0.10", bitmaps: {{{verb}: {json.dumps(value)}}}}}
            """)

    def test_no_verb_takes_a_name(self):
        image = self.image("a", "b")
        for verb, value in self.WITH_NAMES.items():
            self.copy(image, "judged.qcow2")
            answer = self.downgraded(verb, value)
            self.assertEqual(answer.error, "refused", str(answer))
            self.assertIn(f"bitmaps.{verb} needs compat=1.1", answer.first["error"]["message"])

    def test_patterns_match_none(self):
        image = self.image("a", "b")
        for verb in ("remove", "clear", "enable", "disable"):
            self.copy(image, "judged.qcow2")
            for status in ("changed", "unchanged"):
                self.assertEqual(self.downgraded(verb, ["a*"]).first["status"], status, verb)


class Add(BitmapTest):
    def test_as_qemu_adds_them(self):
        for cluster in (512, 4096, 65536, 2 * MIB):
            with self.subTest(cluster=cluster):
                image = self.create(size=(5 << 20) + 512, cluster_size=cluster)
                self.assert_done_as_qemu(
                    image, [["--add", "a"], ["--add", "-g", "512", "b"], ["--add", "-g", "2G", "c"],
                            ["--add", "--disable", "d"], ["--add", "n" * 1023]],
                    **added({"name": "a"}, {"name": "b", "granularity": 512},
                            {"name": "c", "granularity": "2G"}, {"name": "d", "disabled": "on"},
                            {"name": "n" * 1023}))
                judge = [(e.entries, e.bits, e.flags) for e in bitmaps.directory(self.path("judge.qcow2"))]
                self.assertEqual([(e.entries, e.bits, e.flags) for e in bitmaps.directory(image)], judge)
                self.amended(image, status="unchanged", **added({"name": "a"}, {"name": "c", "granularity": "2G"}))

    def test_no_bits_are_stored_however_large_the_disk(self):
        """And what is there already stays, with its bits."""
        image = self.image("had", size="16T")
        size, dirty = os.stat(image).st_blocks * 512, bitmaps.dirty(image, "had")
        record = self.amended(image, **added(
            *({"name": f"n{i}", "granularity": "64k"} for i in range(20)), {"name": "had"}))
        self.assert_sound(image)
        self.assertLess(record["io"]["write_bytes"], 4 * MIB)
        self.assertLess(os.stat(image).st_blocks * 512 - size, 4 * MIB)
        for entry in bitmaps.directory(image)[1:]:
            self.assertEqual(entry.entries, 512)
            self.assertEqual({qcow2.load(image).u64(entry.table + 8 * i) for i in range(512)}, {0})
        self.assertEqual(bitmaps.dirty(image, "had"), dirty)
        self.assertEqual(bitmaps.dirty(image, "n7"), [])

    def test_one_that_is_there_otherwise_is_refused(self):
        image = self.image("a")
        bitmaps.qemu(image, ["--disable", "a"])
        self.refused(image, "refused", words="there already, and disabled", **added({"name": "a"}))
        self.refused(image, "refused", words="granularity of 65536 bytes, not 4096",
                     **added({"name": "a", "granularity": "4k", "disabled": "on"}))
        self.amended(image, status="unchanged", **added({"name": "a", "disabled": "on"}))
        bitmaps.mark_in_use(image, "a")
        self.refused(image, "refused", words="can only be removed", **added({"name": "a", "disabled": "on"}))

    def test_a_state_that_a_later_verb_gives_is_no_difference(self):
        image = self.create()
        request = {**added({"name": "a"}, {"name": "b", "disabled": "on"}), "bitmaps.disable": "a",
                   "bitmaps.enable": "b"}
        self.amended(image, **request)
        self.assertEqual(bitmaps.shown(image), {"a": (65536, []), "b": (65536, ["auto"])})
        self.amended(image, status="unchanged", **request)

    def test_version_2_cannot_have_one(self):
        old = self.create("old.qcow2", compat="0.10")
        self.refused(old, "refused", words="compat=1.1", **added({"name": "a"}))
        self.amended_keeping_content(old, compat="1.1", **added({"name": "a"}))
        self.assertEqual(sorted(bitmaps.shown(old)), ["a"])
        answer = self.run_manifest("""
            version: 1
            policy: {drop_bitmaps: on}
            images:
              - {path: old.qcow2, compat: "0.10", bitmaps: {add: [{name: b}]}}
            """)
        self.assertEqual(answer.error, "refused", str(answer))
        self.assertIn("compat=1.1", answer.first["error"]["message"])

    def test_the_limits_are_those_of_qemu(self):
        for size, granularity, fits in ((2048 * GIB, 512, True), (2048 * GIB + 512, 512, False),
                                        (2049 * GIB, 1024, True)):
            image = self.create(size=size)
            options = added({"name": "a", "granularity": granularity})
            judge = proc.run(["qemu-img", "bitmap", "--add", "-g", str(granularity),
                              self.copy(image, "judge.qcow2"), "a"])
            self.assertEqual(judge.code == 0, fits)
            if fits:
                self.amended(image, **options)
                self.assert_sound(image)
            else:
                self.refused(image, "refused", words="larger than 512 MiB", **options)
        empty = self.create(size=0)
        self.refused(empty, "refused", words="a disk of 0 bytes", **added({"name": "a"}))
        self.amended(empty, **{"size": "1M", **added({"name": "a"})})
        for name in ("", "n" * 1024):
            self.never_accepted(empty, **added({"name": name}))
        for granularity in (0, 256, 513, "3k", "4G"):
            self.never_accepted(empty, **added({"name": "b", "granularity": granularity}))

    def test_more_bitmaps_than_qemu_allows_are_refused(self):
        image = self.create(cluster_size=65536)
        path = self.path("many.yaml")
        with open(path, "w", encoding="utf-8") as f:
            f.write("version: 1\nimages:\n- path: a.qcow2\n  bitmaps:\n    add:\n")
            f.writelines(f"    - name: n{i}\n" for i in range(65536))
        sha = proc.sha256(image)
        answer = qbatch.qbatch("--json", path, cwd=self.folder)
        self.assertEqual(answer.error, "refused", str(answer)[:2000])
        self.assertIn("65536 bitmaps", answer.first["error"]["message"])
        self.assertEqual(proc.sha256(image), sha)


class Merge(BitmapTest):
    def dirtied(self, size, cluster, bitmaps_of, seed=1):
        """An image with a bitmap for each (name, granularity), each with other bits."""
        image, rng = self.create(size=size, cluster_size=cluster), random.Random(seed)
        for name, granularity in bitmaps_of:
            bitmaps.qemu(image, ["--add", "-g", str(granularity), name])
            writes = [(rng.randrange(size // 512) * 512, rng.choice((512, 4096, 70000 // 512 * 512)))
                      for _ in range(6)]
            self.io(image, *(f"discard -q {at} {min(length, size - at)}" for at, length in writes))
            bitmaps.qemu(image, ["--disable", name])
        return image

    def merges(self, image, *pairs, **options):
        return self.assert_done_as_qemu(
            image, [["--merge", source, to] for source, to in pairs], **merged(*pairs), **options)

    def test_granularities(self):
        for cluster in (512, 65536):
            for a in (512, MIB):
                for b in (512, 4096, MIB):
                    with self.subTest(cluster=cluster, a=a, b=b):
                        image = self.dirtied(20 * MIB + 1536, cluster, (("a", a), ("b", b)))
                        before = bitmaps.dirty(image, "a")
                        self.merges(image, ("a", "b"))
                        self.assertEqual(bitmaps.dirty(image, "a"), before)
                        self.amended(image, status="unchanged", **merged(("a", "b")))

    def test_one_after_the_other(self):
        for cluster in (512, 4096):
            image = self.dirtied(40 * MIB + 512, cluster,
                                 (("a", 512), ("b", 2 * MIB), ("c", 4096), ("d", 512)))
            self.merges(image, ("c", "a"), ("a", "b"), ("b", "c"), ("d", "d"), ("c", "d"), ("d", "a"))

    def test_several_sources_and_verbs_around_it(self):
        image = self.dirtied(8 * MIB, 4096, (("mon", 4096), ("tue", 65536), ("wed", 512)))
        judge = self.copy(image, "judge.qcow2")
        bitmaps.qemu(judge, ["--add", "-g", "16k", "week"], ["--merge", "mon", "week"],
                     ["--merge", "tue", "week"], ["--merge", "wed", "week"], ["--clear", "tue"],
                     ["--remove", "wed"], ["--enable", "mon"])
        answer = self.run_manifest("""
            version: 1
            images:
              - path: a.qcow2
                bitmaps:
                  rename: [{from: mon, to: monday}]
                  add: [{name: week, granularity: 16k}]
                  merge: [{from: [monday, tue], to: week}, {from: wed, to: week}]
                  clear: [tue]
                  enable: monday
            """)
        self.assertEqual(answer.status, "changed", str(answer))
        self.amended(image, **{**renamed(("monday", "mon")), "bitmaps.remove": "wed"})
        self.assert_same_bitmaps(image, judge)

    def test_what_is_cleared_does_not_keep_what_was_merged_into_it(self):
        image = self.dirtied(8 * MIB, 4096, (("mon", 4096), ("tue", 4096)))
        kept = bitmaps.dirty(image, "mon")
        self.assertNotEqual(kept, [])
        self.amended(image, **merged(("mon", "tue")), **{"bitmaps.clear": "tue"})
        self.assertEqual((bitmaps.dirty(image, "mon"), bitmaps.dirty(image, "tue")), (kept, []))

    def test_with_a_new_size(self):
        """As a merge after `qemu-img resize`."""
        for old, new in ((9 * MIB + 512, 30 * MIB), (30 * MIB, 9 * MIB + 512), (5 * MIB, 5 * MIB + 512)):
            for cluster in (512, 65536):
                with self.subTest(old=old, new=new, cluster=cluster):
                    image = self.dirtied(old, cluster, (("a", MIB), ("b", 512), ("c", 65536)))
                    self.io(image, f"discard -q {old - 512} 512")
                    pairs = (("a", "b"), ("c", "a"), ("b", "c"))
                    judge = self.copy(image, "judge.qcow2")
                    shrink = ["--shrink"] if new < old else []
                    proc.must(["qemu-img", "resize", "-q", *shrink, judge, str(new)])
                    bitmaps.qemu(judge, *(["--merge", source, to] for source, to in pairs))
                    self.amended_keeping_content(image, shrink=new < old, size=new, **merged(*pairs))
                    self.assert_same_bitmaps(image, judge)

    def test_what_is_set_throughout_takes_no_data(self):
        image = self.create(size=64 * MIB, cluster_size=512)
        for name, granularity in (("coarse", 8 * MIB), ("fine", 512)):
            bitmaps.qemu(image, ["--add", "-g", str(granularity), name])
        self.io(image, f"discard -q 0 {20 * MIB}")
        bitmaps.qemu(image, ["--clear", "fine"])
        record = self.amended_keeping_content(image, **merged(("coarse", "fine")))
        self.assertEqual(bitmaps.dirty(image, "fine"), [(0, 24 * MIB)])
        self.assertLess(record["io"]["write_bytes"], 64 * KIB)
        fine = next(e for e in bitmaps.directory(image) if e.name == "fine")
        table = {qcow2.load(image).u64(fine.table + 8 * i) for i in range(fine.entries)}
        self.assertEqual(table, {0, 1})
        proc.must(["qemu-img", "resize", "-q", image, str(65 * MIB)])
        self.assertEqual(bitmaps.dirty(image, "fine"), [(0, 24 * MIB)])

    def test_a_large_disk_costs_what_it_holds(self):
        image = self.create(size=8 << 40)
        for name, granularity in (("fine", 65536), ("coarse", 2 * GIB)):
            bitmaps.qemu(image, ["--add", "-g", str(granularity), name])
        self.io(image, f"write -q {7 << 40} 64k", "write -q 0 64k")
        bitmaps.qemu(image, ["--add", "b"])
        record = self.amended_keeping_content(image, **merged(("fine", "b"), ("coarse", "b")))
        self.assertEqual(bitmaps.dirty(image, "b"), [(0, 2 * GIB), (7 << 40, (7 << 40) + 2 * GIB)])
        self.assertLess(record["io"]["write_bytes"], 2 * MIB)

    def test_what_cannot_be_is_refused_by_name(self):
        image = self.image("a", "b", "c")
        self.refused(image, "refused", words='no bitmap "x"; it has "a", "b", "c"', **merged(("a", "x")))
        self.refused(image, "refused", words='no bitmap "x"', **merged(("x", "a")))
        self.refused(image, "refused", words='no bitmap "*"', **merged(("*", "a")))
        bitmaps.mark_in_use(image, "b")
        self.refused(image, "refused", words='"b" is inconsistent', **merged(("a", "b")))
        self.refused(image, "refused", words='"b" is inconsistent', **merged(("b", "a")))


class Undone(BitmapTest):
    def test_all_verbs_are_undone(self):
        image = self.image("a", "b", "c", size="40M")
        self.undone(image, rename=[{"from": "a", "to": "x"}], add=[{"name": "n", "granularity": "4k"}],
                    merge=[{"from": ["x", "b"], "to": "n"}, {"from": "c", "to": "b"}], clear=["c"],
                    disable=["n"])
        self.undone(image, size="50M", merge=[{"from": "a", "to": "b"}], remove=["c"])
        none = self.create("none.qcow2")
        self.undone(none, add=[{"name": "n"}])


class Reported(BitmapTest):
    def test_each_change_has_its_name_and_kind(self):
        image = self.image("a", "b", "c", "d")
        request = {"bitmaps.remove": "d", **renamed(("a", "x")), **added({"name": "n"}), **merged(("b", "c")),
                   "bitmaps.clear": "b", "bitmaps.disable": "x"}
        for flags, status in ((["--dry-run"], "would_change"), ([], "changed")):
            record = self.amended(image, flags=flags, status=status, **request)
            self.assertEqual(record["bitmaps_changed"], 5)
            self.assertEqual(record["bitmaps_changed_first"], [
                {"name": "d", "removed": True},
                {"name": "x", "from": "a", "renamed": True, "disabled": True},
                {"name": "b", "cleared": True}, {"name": "c", "merged": True}, {"name": "n", "added": True}])
        record = self.amended(image, status="unchanged", **renamed(("a", "x")))
        self.assertEqual(record["bitmaps_changed"], 0)

    def test_people_read_it(self):
        image = self.image("a", "b")
        done = proc.run([qbatch.absolute(qbatch.TOOL), "amend", "-o",
                         qbatch.option_string({**renamed(("a", "x")), "bitmaps.clear": "b"}), image])
        self.assertEqual(done.code, 0, done.err)
        self.assertIn("2 bitmaps changed: x renamed from a, b cleared", done.out + done.err)


class Written(BitmapTest):
    """How the lists are written."""

    def lint(self, text):
        path = self.manifest(f"version: 1\nimages:\n  - {{path: a.qcow2, bitmaps: {text}}}\n")
        done = proc.run([qbatch.absolute(qbatch.TOOL), "lint", path], cwd=self.folder)
        return done.code, done.out + done.err

    def test_mistakes_have_their_line_and_column(self):
        self.image("a")
        for text, place, words in (
                ("{rename: [{from: a}]}", "3:40", 'an item of "rename" without "to"'),
                ("{rename: {from: a, to: b}}", "3:39", "a list of mappings"),
                ("{rename: [a]}", "3:40", "takes a mapping, not a text"),
                ("{rename: []}", "3:39", "empty list"),
                ("{rename: [{from: a, too: b}]}", "3:50", 'did you mean "to"'),
                ("{rename: [{from: a, to: [b]}]}", "3:54", "a text"),
                ("{rename: [{from: a, to: ''}]}", "3:54", "is an empty name"),
                ("{add: [{name: a, granularity: 3k}]}", "3:60", "is not a power of two"),
                ("{add: [{name: a, granularity: 4G}]}", "3:60", "4G"),
                ("{add: [{name: a, disabled: x}]}", "3:57", "x"),
                ("{merge: [{from: [], to: b}]}", "3:46", "empty list"),
                ("{merge: [{from: [a, ''], to: b}]}", "3:50", "is an empty name"),
                ("{merge: [{to: b}]}", "3:39", 'without "from"')):
            with self.subTest(text):
                code, out = self.lint(text)
                self.assertEqual(code, 2, out)
                self.assertIn(f":{place}:", out)
                self.assertIn(words, out)
        self.assertEqual(self.lint("{add: [{name: a}, {name: b, disabled: on}], rename: [{from: a, to: '1'}]}")[0], 0)

    def option(self, *texts):
        argv = [word for text in texts for word in ("-o", text)]
        done = proc.run([qbatch.absolute(qbatch.TOOL), "amend", "--dry-run", *argv, "a.qcow2"], cwd=self.folder)
        return done.code, done.out + done.err

    def test_options_number_the_mappings(self):
        image = self.image("a", "b", "c", "d")
        for texts, words in (
                (["bitmaps.rename.0.from=a"], 'bitmaps.rename.0 has no "to"'),
                (["bitmaps.rename.1.from=a,bitmaps.rename.1.to=b"], "bitmaps.rename.0, is missing"),
                (["bitmaps.rename=a"], "bitmaps.rename.0.from="), (["bitmaps.rename.0.x=a"], "bitmaps.rename.0.x"),
                (["bitmaps.rename.00.from=a"], "bitmaps.rename.00.from"),
                (["bitmaps.rename.x.from=a"], "bitmaps.rename.x.from"),
                (["bitmaps.add.0.name"], "needs a value: NAME"), (["bitmaps.add.0.granularity=3k"], "power of two")):
            code, out = self.option(*texts)
            self.assertEqual(code, 2, f"{texts}: {out}")
            self.assertIn(words, out)
        code, out = self.option("bitmaps.merge.0.from=a,bitmaps.merge.0.from=b,bitmaps.merge.0.to=d",
                                "bitmaps.merge.1.to=a,bitmaps.merge.1.from=c", "bitmaps.add.0.name=n",
                                "bitmaps.add.0.granularity=4k")
        self.assertEqual(code, 0, out)
        argv = [qbatch.absolute(qbatch.TOOL), "amend", "-q", "-o",
                "bitmaps.merge.0.from=b,bitmaps.merge.0.from=c,bitmaps.merge.0.to=a", image]
        judge = self.copy(image, "judge.qcow2")
        bitmaps.qemu(judge, ["--merge", "b", "a"], ["--merge", "c", "a"])
        self.assertEqual(proc.run(argv).code, 0)
        self.assert_same_bitmaps(image, judge)

    def test_set_replaces_the_list_of_the_manifest(self):
        self.image("a", "b")
        answer = self.run_manifest("""
            version: 1
            images:
              - {path: a.qcow2, bitmaps: {add: [{name: x}, {name: y}]}}
            """, "--set", "bitmaps.add.0.name=z")
        self.assertEqual(answer.status, "changed", str(answer))
        self.assertEqual(sorted(bitmaps.shown(self.path("a.qcow2"))), ["a", "b", "z"])

    def test_the_schema_takes_them(self):
        schema = json.loads(proc.must([qbatch.absolute(qbatch.TOOL), "schema"]))
        verbs = schema["$defs"]["amend"]["properties"]["bitmaps"]["properties"]
        self.assertEqual(verbs["add"]["items"]["required"], ["name"])
        self.assertEqual(sorted(verbs["add"]["items"]["properties"]), ["disabled", "granularity", "name"])
        self.assertEqual(verbs["merge"]["items"]["required"], ["from", "to"])


if __name__ == "__main__":
    main()
