"""Every kind of line for programs is what `qbatch schema report` says, and nothing else is."""
import copy
import fcntl
import json
import os
import unittest

import context  # noqa: F401
import proc
import qbatch
import qcow2
import schema
from fixture import ImageTest, main

TOOL = qbatch.absolute(qbatch.TOOL)
EARLIER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../earlier")
ERRORS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../engine/base/errors.def")


@unittest.skipUnless(schema.jsonschema, "python3-jsonschema is not installed")
class ReportSchema(ImageTest):
    def kinds(self, text):
        """The definitions that the lines conform to, in order."""
        found = []
        for line in text.splitlines():
            name, wrong = schema.definition_of(json.loads(line), TOOL)
            self.assertIsNone(wrong, wrong)
            found.append(name)
        return found

    def run_tool(self, *argv, code=0, **kwargs):
        done = proc.run([TOOL, *argv], cwd=self.folder, **kwargs)
        self.assertEqual(done.code, code, f"{argv}: {done.out}{done.err}")
        return done

    def read(self, name):
        with open(self.path(name), encoding="utf-8") as f:
            return f.read()

    def test_it_is_a_schema_and_has_the_codes_of_the_table(self):
        made = schema.report_schema(TOOL)
        schema.jsonschema.Draft202012Validator.check_schema(made)
        with open(ERRORS, encoding="utf-8") as f:
            codes = [line.split(",")[1].strip() for line in f if line.startswith("ERR(")]
        self.assertEqual(made["$defs"]["code"]["enum"], codes)
        # the whole of it, as others use it
        record = json.loads(self.run_tool("amend", "--json", "-o", "compat=0.10", self.create()).out.splitlines()[0])
        validator = schema.jsonschema.Draft202012Validator(made)
        self.assertTrue(validator.is_valid(record))
        self.assertFalse(validator.is_valid({**record, "status": "done"}))
        self.assertTrue(validator.is_valid({**record, "of_a_later_version": 1}))

    def test_runs_of_all_outcomes(self):
        base = self.create("base.qcow2")
        self.create("top.qcow2", backing=base)
        with_snapshot = self.create("snapshots.qcow2")
        self.snapshot(with_snapshot, "old")
        self.create("new.qcow2", compat="0.10")
        self.raw("raw.qcow2", "1M")
        os.rename(self.create("odd.qcow2"), os.path.join(os.fsencode(self.folder), b"odd-\xff.qcow2"))
        self.create("held.qcow2")
        text = """
            version: 1
            labels: {ticket: CHG-17}
            limits: {rate: 1G}
            defaults: {keep_undo: on}
            images:
              - path: [base.qcow2, top.qcow2, new.qcow2, "odd-*.qcow2", missing.qcow2, raw.qcow2]
                compat: 1.1
                lazy_refcounts: on
              - {path: held.qcow2, size: 2M}
              - {path: snapshots.qcow2, snapshots: {delete: ["*"]}, when: {has_snapshots: on}}
            """
        fleet = self.manifest(text)
        with open(self.path("held.qcow2"), "rb") as held:
            fcntl.flock(held, fcntl.LOCK_SH)
            dry = self.run_tool("--dry-run", "--json", fleet, code=1)
            done = self.run_tool("--json", "--report", "r", "--summary", "s", "--progress", "json", "--state", "state",
                                 fleet, code=1)
        self.assertEqual(self.kinds(dry.out), ["image"] * 8 + ["summary"])
        self.assertIn("filesystems", json.loads(dry.out.splitlines()[-1]))
        self.assertEqual(self.kinds(done.out), ["image"] * 8 + ["summary"])
        self.assertEqual(self.kinds(self.read("r")), ["image"] * 8)
        self.assertEqual(self.kinds(self.read("s")), ["summary"])
        self.assertEqual(set(self.kinds("\n".join(line for line in done.err.splitlines() if line[0] == "{"))),
                         {"progress"})
        statuses = {json.loads(line).get("status") for line in (dry.out + done.out).splitlines()[:-1]}
        self.assertLessEqual({"changed", "would_change", "failed", "skipped"}, statuses)
        self.assertIn('"path_bytes_base64"', done.out)
        self.assertIn('"snapshots_deleted_first"', done.out)
        self.assertEqual(self.kinds(self.run_tool("status", "--json", "--state", "state").out), ["listed_run"])
        shown = self.run_tool("status", "--json", "--state", "state", "last").out
        self.assertEqual(self.kinds(shown)[0], "run")
        self.assertEqual(set(self.kinds(shown)[1:]), {"run_image"})
        undone = self.run_tool("undo", "--json", "--state", "state", "last").out
        self.assertEqual(set(self.kinds(undone)[:-1]), {"image"})
        self.assertEqual(self.kinds(undone)[-1], "summary")
        shown = self.run_tool("status", "--json", "--state", "state", "last").out
        self.assertIn('"undone_at"', shown)
        self.assertEqual(set(self.kinds(shown)[1:]), {"run_image"})
        merged = self.run_tool("report", "merge", "r", "r").out
        self.assertEqual(self.kinds(merged), ["image"] * 16 + ["total"])

    def test_leaks_that_are_freed(self):
        image = self.create("leaky.qcow2")
        qcow2.append_cluster(image, b"leak")
        done = self.run_tool("amend", "--json", "-o", "repair=all", image)
        self.assertEqual(self.kinds(done.out), ["image", "summary"])
        self.assertIn('"freed_first"', done.out)

    def test_runs_that_cannot_begin(self):
        for argv in (["--json", "missing.yaml"], ["status", "--json", "--state", ".", "20200101-000000-aaaaaa"],
                     ["amend", "--json", "-o", "compat=9", "x"]):
            self.assertEqual(self.kinds(self.run_tool(*argv, code=2).out), ["rejected"], argv)

    def test_checks(self):
        self.create("clean.qcow2")
        leaky, broken = self.create("leaky.qcow2"), self.create("broken.qcow2")
        for image, cluster, refcount in ((leaky, 6, 1), (broken, 0, 0)):
            self.io(image, "write -q 0 64k")  # clusters 0 to 5, counted in cluster 2
            with open(image, "r+b") as f:
                f.seek(2 * 65536 + 2 * cluster)
                f.write(refcount.to_bytes(2, "big"))
                f.truncate(7 * 65536)
        done = self.run_tool("check", "--json", "clean.qcow2", leaky, broken, "missing.qcow2", code=2)
        self.assertEqual(self.kinds(done.out), ["check"] * 4 + ["check_summary"])
        self.assertEqual([json.loads(line)["status"] for line in done.out.splitlines()[:4]],
                         ["clean", "leaks", "corrupt", "unchecked"])

    def test_lines_of_earlier_versions_have_no_field_of_another_kind(self):
        with open(os.path.join(EARLIER, "report.ndjson"), encoding="utf-8") as f:
            lines = [json.loads(line) for line in f]
        self.assertTrue(lines)
        for line in lines:
            name, wrong = schema.earlier_definition_of(line, TOOL)
            self.assertIsNone(wrong, wrong)

    def test_what_is_not_so_is_seen(self):
        """The judge itself: each field of a line, left out or of another kind, is a complaint."""
        image = self.create()
        record = json.loads(self.run_tool("amend", "--json", "-o", "compat=0.10,size=2M", image).out.splitlines()[0])
        self.assertIsNone(schema.definition_of(record, TOOL)[1])
        for field in set(record) - {"type", "of"}:
            changed = copy.deepcopy(record)
            del changed[field]
            self.assertIsNone(schema.definition_of(changed, TOOL)[0], f"without {field}")
        for field in set(record) - {"type"}:
            self.assertIsNone(schema.definition_of({**record, field: [[]]}, TOOL)[0], field)
        for whole in ("io", "space", "before", "verify", "of", "clusters", "phases"):
            changed = copy.deepcopy(record)
            changed[whole]["more"] = 0
            self.assertIsNone(schema.definition_of(changed, TOOL)[0], whole)


if __name__ == "__main__":
    main()
