"""What a run tells: people by a table, programs by JSON and exit codes."""
import json
import os

import context  # noqa: F401
import proc
import qbatch
from fixture import ImageTest, main

KEYS = {"path", "status", "before", "after", "changes", "clusters", "io", "phases", "space", "verify"}


class Report(ImageTest):
    def test_a_record_has_all_its_parts(self):
        image = self.create()
        self.io(image, "write -q -P 1 0 64k", "write -q -z 0 64k")
        record = self.amended(image, compat="0.10")
        self.assertLessEqual(KEYS, record.keys())
        self.assertIn("compat", [c["key"] for c in record["changes"]])
        self.assertEqual(record["io"]["barriers"], 2)
        self.assertGreater(record["io"]["read_bytes"], 0)

    def test_the_summary_is_the_last_line_always(self):
        for images in ([self.create()], [self.path("missing")]):
            answer = qbatch.amend(images, lazy_refcounts="on")
            lines = answer.result.out.strip().splitlines()
            self.assertEqual(json.loads(lines[-1])["type"], "summary")
            self.assertFalse(answer.noise, str(answer))

    def test_a_failure_has_code_message_and_hint(self):
        error = self.refused(self.create(), "refused", size=512)["error"]
        self.assertEqual(error["code"], "refused")
        self.assertTrue(error["message"] and error["hint"])
        self.assertIs(error["retryable"], False)

    def test_odd_names_still_give_valid_json(self):
        image = self.create("od d\"\\\n\t.qcow2")
        answer = qbatch.amend(image, lazy_refcounts="on")
        self.assertEqual(answer.first["path"], image)
        os.rename(image, os.fsencode(self.folder) + b"/\xff\xfe.qcow2")
        answer = qbatch.amend([os.fsencode(self.folder).decode() + "/none"], lazy_refcounts="on")
        self.assertFalse(answer.noise)

    def test_report_writes_a_file_in_the_order_of_the_manifest(self):
        names = [f"{i}.qcow2" for i in range(8)]
        for name in names:
            self.create(name)
        manifest = self.manifest("""
            version: 1
            images: [{path: "*.qcow2", lazy_refcounts: on}]
            """)
        report = self.path("report.ndjson")
        done = qbatch.qbatch("--report", report, manifest)
        self.assertEqual(done.code, 0, str(done))
        with open(report, encoding="utf-8") as f:
            records = [json.loads(line) for line in f]
        paths = [os.path.basename(r["path"]) for r in records if "path" in r]
        self.assertEqual(paths, names)

    def test_people_get_a_table_and_a_recap_without_colours_in_a_file(self):
        done = proc.run([qbatch.absolute(qbatch.TOOL), "amend", "-o", "compat=0.10", self.create(),
                         self.path("missing")])
        self.assertEqual(done.code, 1)
        self.assertIn("a.qcow2", done.out + done.err)
        self.assertIn("missing", done.out + done.err)
        self.assertNotIn("\x1b", done.out + done.err)

    def test_help_and_version_are_for_everyone(self):
        for flag in ("--help", "--version"):
            done = proc.run([qbatch.absolute(qbatch.TOOL), flag])
            self.assertEqual(done.code, 0)
            self.assertTrue(done.out.strip())

    def test_without_arguments_usage_and_exit_code_2(self):
        self.assertEqual(proc.run([qbatch.absolute(qbatch.TOOL)]).code, 2)

    def test_both_io_back_ends_write_the_same_bytes(self):
        self.raw("base.raw", "1M", "write -q -P 9 0 1M")
        image = self.create(backing="base.raw", backing_fmt="raw")
        self.io(image, "write -q -P 1 0 128k", "write -q -z 0 64k", "write -q -z -u 512k 64k")
        self.snapshot(image, "s")
        shas = set()
        for io in ("auto", "posix", "uring"):
            one = self.copy(image, f"{io}.qcow2")
            answer = qbatch.amend(one, flags=["--io", io], compat="0.10")
            if io == "uring" and answer.code:
                continue  # the host refuses io_uring
            self.assertEqual(answer.status, "changed", str(answer))
            shas.add(proc.sha256(one))
        self.assertEqual(len(shas), 1)


if __name__ == "__main__":
    main()
