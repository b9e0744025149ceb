"""What a run tells: people by a table, programs by JSON and exit codes."""
import json
import os
import pwd
import re

import context  # noqa: F401
import proc
import qbatch
from fixture import ImageTest, main

KEYS = {"path", "status", "before", "after", "changes", "clusters", "io", "phases", "space", "verify"}

CALLER = re.escape(pwd.getpwuid(os.geteuid()).pw_name)


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

    def test_a_code_is_explained_and_a_wrong_one_finds_the_right_one(self):
        done = proc.run([qbatch.absolute(qbatch.TOOL), "explain", "no_space"])
        self.assertEqual(done.code, 0)
        for part in ("what happened", "what is untouched", "what to do"):
            self.assertIn(part, done.out)
        self.assertLess(max(map(len, done.out.splitlines())), 93)
        done = proc.run([qbatch.absolute(qbatch.TOOL), "explain", "no-space"])
        self.assertEqual((done.code, done.out), (2, ""))
        self.assertIn("did you mean no_space?", done.err)
        codes = proc.must([qbatch.absolute(qbatch.TOOL), "explain"])
        self.assertGreater(len(codes.splitlines()), 25)

    def test_the_version_says_what_it_was_built_of_and_what_was_found(self):
        words = proc.must([qbatch.absolute(qbatch.TOOL), "--version", "-v"], cwd=self.folder)
        said = json.loads(proc.must([qbatch.absolute(qbatch.TOOL), "--version", "--json"], cwd=self.folder))
        self.assertEqual(set(said["libraries"]), {"glibc", "liburing", "zlib", "xxHash", "hwloc", "libyaml",
                                                  "zstd", "jansson", "OpenMP"})
        for name, version in said["libraries"].items():
            self.assertRegex(version, r"^[0-9]+(\.[0-9]+)*$", name)
            self.assertIn(f"{name} {version}", words)
        self.assertEqual(said["kernel"]["release"], os.uname().release)
        self.assertEqual(set(said["folder"]), {"error", "locks", "leases", "holes", "zero_range", "o_direct",
                                               "reflink"})
        self.assertIs(said["folder"]["locks"], True)
        self.assertEqual(os.listdir(self.folder), [])  # what was tried left nothing behind
        nowhere = proc.run([qbatch.absolute(qbatch.TOOL), "--version", "--json"], cwd="/proc")
        self.assertIsNone(json.loads(nowhere.out)["folder"]["locks"])

    def test_labels_and_who_ran_it_are_in_every_report(self):
        image = self.create("a.qcow2")
        fleet = self.manifest("""
            version: 1
            name: nightly
            labels: {ticket: CHG-17, team: "storage & <b>"}
            images: [{path: a.qcow2, lazy_refcounts: on}]
            """)
        argv = ["--state", self.path("state"), "--report", "r", "--summary", "s", "--html", "h", "--junit", "j",
                "--prometheus", ".", fleet]
        done = qbatch.qbatch(*argv, cwd=self.folder)
        self.assertEqual(done.code, 0, str(done))
        texts = {}
        for name in ("r", "s", "h", "j", "qbatch-nightly.prom"):
            with open(self.path(name), encoding="utf-8") as f:
                texts[name] = f.read()
            self.assertIn("CHG-17", texts[name], name)
        status = proc.must([qbatch.absolute(qbatch.TOOL), "status", "--state", self.path("state"), "last"])
        self.assertIn("labels    ticket: CHG-17, team: storage & <b>\n", status)
        self.assertNotIn("& <b>", texts["h"] + texts["j"])
        summary, record = json.loads(texts["s"]), json.loads(texts["r"])
        for of in (summary, record["of"], *self.journal_of_last("state")):
            self.assertEqual(of["host"], os.uname().nodename)
            self.assertRegex(of["caller"], f"^{CALLER}")
            self.assertRegex(of.get("command_line") or of["command"], r"^qbatch --state \S+/state --report r ")
        self.assertEqual(record["of"]["labels"], {"ticket": "CHG-17", "team": "storage & <b>"})
        self.assertEqual((record["of"]["run"], record["path"]), (summary["run"], image))

    def test_an_undo_reports_who_undid_which_run(self):
        self.create("a.qcow2")
        fleet = self.manifest("version: 1\nlabels: {ticket: CHG-17}\n"
                              "images: [{path: a.qcow2, lazy_refcounts: on, keep_undo: on}]\n")
        run = qbatch.qbatch("--json", "--state", self.path("state"), fleet).summary["run"]
        undone = qbatch.qbatch("undo", "--json", "--state", self.path("state"), "last")
        for of in (undone.summary, undone.first["of"]):
            self.assertEqual((of["run"], of["host"], of["labels"]), (run, os.uname().nodename, {"ticket": "CHG-17"}))
            self.assertRegex(of["caller"], f"^{CALLER}")
            self.assertRegex(of["command"], "^qbatch undo --json --state ")
            self.assertTrue(of["started"])

    def journal_of_last(self, state):
        name = sorted(os.listdir(self.path(state)))[-1]
        with open(os.path.join(self.path(state), name), encoding="utf-8") as f:
            return [json.loads(f.readline()[9:])]

    def test_without_a_home_the_way_to_name_a_state_directory_is_said(self):
        other = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"] if os.geteuid() == 0 else []
        done = proc.run([*other, qbatch.absolute(qbatch.TOOL), "status"], env={"PATH": os.environ["PATH"]})
        self.assertEqual((done.code, done.out), (2, ""))
        self.assertIn("neither HOME nor XDG_STATE_HOME is set; name one with --state", done.err)

    def test_what_is_no_label_is_a_mistake(self):
        self.create("a.qcow2")
        for labels, words in (("{1a: x}", "is not a name"), ("[x]", "a mapping"), ("{a: [b]}", "a"),
                              ("{a: ''}", "1 to 256"), ("{%s}" % ", ".join(f"k{i}: v" for i in range(33)), "32")):
            fleet = self.manifest(f"version: 1\nlabels: {labels}\nimages: [{{path: a.qcow2, size: 2M}}]\n")
            done = proc.run([qbatch.absolute(qbatch.TOOL), "lint", fleet])
            self.assertEqual(done.code, 2, labels)
            self.assertIn(words, done.err)

    def test_reports_of_several_runs_keep_what_each_was(self):
        self.create("a.qcow2")
        for i, value in enumerate(("on", "off", "on")):
            fleet = self.manifest(f"""
                version: 1
                name: night-{i}
                labels: {{night: "{i}"}}
                images: [{{path: a.qcow2, lazy_refcounts: {value}}}]
                """, name=f"{i}.yaml")
            qbatch.qbatch("--report", f"r{i}", fleet, cwd=self.folder)
        merged = proc.must([qbatch.absolute(qbatch.TOOL), "report", "merge", "r0", "r1", "r2"], cwd=self.folder)
        with open(self.path("all"), "w", encoding="utf-8") as f:
            f.write(merged)
        lines = [json.loads(line) for line in merged.splitlines()]
        self.assertEqual([line["of"]["name"] for line in lines[:-1]], ["night-0", "night-1", "night-2"])
        self.assertEqual([(p["name"], p["labels"], p["host"], p["images"]) for p in lines[-1]["parts"]],
                         [(f"night-{i}", {"night": str(i)}, os.uname().nodename, 1) for i in range(3)])
        for files in (["r0", "r1", "r2"], ["all"]):
            shown = proc.must([qbatch.absolute(qbatch.TOOL), "report", "show", "--html", "h", *files],
                              cwd=self.folder)
            for i, part in enumerate(lines[-1]["parts"]):
                self.assertRegex(shown, rf"(?m)^run .*{i}.yaml, by {CALLER}.*: 1 image in ")
                self.assertIn(part["started"], shown)
            with open(self.path("h"), encoding="utf-8") as f:
                page = f.read()
            self.assertEqual(page.count("<svg"), 3)  # a timeline of each

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
