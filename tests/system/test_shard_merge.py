"""`qbatch report merge` of shards: each image once, and what is missing or there twice is named."""
import json
import os
import shutil

import context  # noqa: F401
import proc
import qbatch
from fixture import ImageTest, main

SHARDS = 3


class Merged(ImageTest):
    def setUp(self):
        super().setUp()
        first = self.create("i00.qcow2")
        for i in range(1, 12):
            shutil.copy(first, self.path(f"i{i:02}.qcow2"))
        self.fleet = self.manifest("""
            version: 1
            images: [{path: "i*.qcow2", size: +1M}]
            """)

    def shard(self, number, report, *flags, of=SHARDS, fleet=None, state="state"):
        answer = qbatch.qbatch("--json", "--state", self.path(state), "--shard", f"{number}/{of}", "--report", report,
                               *flags, fleet or self.fleet, cwd=self.folder)
        self.assertEqual(answer.code, 0, str(answer))
        return answer

    def all_shards(self, *flags):
        for number in range(1, SHARDS + 1):
            self.shard(number, f"r{number}", *flags)
        return [f"r{number}" for number in range(1, SHARDS + 1)]

    def merge(self, *argv):
        answer = qbatch.qbatch("report", "merge", *argv, cwd=self.folder)
        self.assertIsNotNone(answer.summary, str(answer))
        return answer

    def cut(self, report, lines):
        """As a run that was killed leaves it: so many images, and a piece of the next."""
        with open(self.path(report), encoding="utf-8") as f:
            text = f.read().splitlines(keepends=True)
        with open(self.path(report), "w", encoding="utf-8") as f:
            f.writelines(text[:lines])
            f.write(text[lines][:40])

    def test_the_shards_of_a_fleet_are_one_run(self):
        reports = self.all_shards()
        merged = self.merge("--html", "page.html", "--summary", "sum", "--joblog", "log", "--prometheus", ".", *reports)
        self.assertEqual((merged.code, merged.result.err), (0, ""), str(merged))
        self.assertEqual(len({r["path"] for r in merged.records}), 12)
        self.assertEqual((merged.summary["name"], merged.summary["images"], merged.summary["changed"],
                          merged.summary["exit_code"]), ("fleet.yaml", 12, 12, 0))
        self.assertEqual(merged.summary["shards"], {
            "of": SHARDS, "mixed": False, "missing": [], "unfinished": [], "overlapping": [], "in_two": 0,
            "in_two_first": []})
        self.assertEqual([(p["shard"], p["ended"]) for p in merged.summary["parts"]],
                         [(f"{n}/{SHARDS}", True) for n in range(1, SHARDS + 1)])
        with open(self.path("sum"), encoding="utf-8") as f:
            self.assertEqual(json.load(f), merged.summary)
        with open(self.path("log"), encoding="utf-8") as f:
            self.assertEqual(len(f.read().splitlines()), 13)
        with open(self.path("qbatch-fleet.yaml.prom"), encoding="utf-8") as f:
            self.assertIn('qbatch_last_run_images{manifest="fleet.yaml",status="changed"} 12\n', f.read())
        with open(self.path("page.html"), encoding="utf-8") as f:
            page = f.read()
        self.assertIn("<td>2/3", page)
        self.assertEqual(page.count("<svg"), SHARDS)

    def test_the_ticket_of_all_shards_is_that_of_the_whole(self):
        reports = []
        for number in range(1, SHARDS + 1):
            fleet = self.manifest(f"""
                version: 1
                labels: {{ticket: CHG-17, host: h{number}}}
                images: [{{path: "i*.qcow2", size: +1M}}]
                """)
            self.shard(number, f"r{number}", fleet=fleet)
            reports.append(f"r{number}")
        merged = self.merge("--html", "page.html", *reports)
        self.assertEqual(merged.summary["labels"], {"ticket": "CHG-17"})
        self.assertEqual([p["labels"]["host"] for p in merged.summary["parts"]], ["h1", "h2", "h3"])
        with open(self.path("page.html"), encoding="utf-8") as f:
            self.assertIn("CHG-17", f.read().split("<h2", 1)[0])

    def test_one_failed_image_fails_the_whole(self):
        os.truncate(self.path("i05.qcow2"), 100)
        for number in range(1, SHARDS + 1):
            qbatch.qbatch("--json", "--state", self.path("state"), f"--shard={number}/{SHARDS}", "--report",
                          f"r{number}", self.fleet, cwd=self.folder)
        merged = self.merge("r1", "r2", "r3")
        self.assertEqual((merged.code, merged.summary["exit_code"], merged.summary["failed"]), (1, 1, 1))

    def test_a_missing_shard_is_named(self):
        self.all_shards()
        merged = self.merge("--html", "page", "r1", "r3")
        self.assertEqual((merged.code, merged.summary["exit_code"], merged.summary["shards"]["missing"]),
                         (75, 75, [2]))
        self.assertIn("1 of 3 shards is missing: 2\n", merged.result.err)
        with open(self.path("page"), encoding="utf-8") as f:
            self.assertIn("1 of 3 shards is missing: 2", f.read())

    def test_a_shard_that_was_killed_is_unfinished_until_it_is_resumed(self):
        reports = self.all_shards()
        self.cut("r2", 2)
        merged = self.merge(*reports)
        self.assertEqual((merged.code, merged.summary["shards"]["unfinished"]), (75, [2]))
        self.assertIn("1 of 3 shards did not come to its end (killed, or still under way): 2\n", merged.result.err)

    def test_a_shard_that_was_killed_within_its_first_line_costs_the_report_of_no_other(self):
        self.all_shards()
        for text in ("", "{", '{"path":"i03.qcow2","sta'):
            with open(self.path("r2"), "w", encoding="utf-8") as f:
                f.write(text)
            merged = self.merge("r1", "r2", "r3")
            self.assertEqual((merged.code, merged.summary["shards"]["missing"]), (75, [2]), str(merged))
        with open(self.path("r2"), "w", encoding="utf-8") as f:
            f.write("another file")
        self.assertEqual(proc.run([qbatch.absolute(qbatch.TOOL), "report", "merge", "r1", "r2"], cwd=self.folder).code, 2)
        self.cut("r1", 0)
        self.assertEqual(proc.run([qbatch.absolute(qbatch.TOOL), "report", "show", "r1"], cwd=self.folder).code, 2)

    def test_reports_without_a_line_are_of_runs_that_were_killed(self):
        for name in ("r1", "r2"):
            with open(self.path(name), "w", encoding="utf-8"):
                pass
        merged = self.merge("r1", "r2")
        self.assertEqual((merged.code, merged.summary["exit_code"]), (75, 75))
        self.assertIn("no report has a line", merged.result.err)

    def test_shards_that_are_missing_are_counted_and_named(self):
        self.all_shards()
        self.assertIn(": 2 of 3 shards are missing: 2-3\n", self.merge("r1").result.err)

    def test_an_image_that_a_killed_run_changed_counts_as_changed_and_once(self):
        reports = self.all_shards()
        self.assertEqual(len(self.merge(*reports).records), 12)
        self.shard(2, "again", "--new-run", "--set", "size=2M")
        self.cut("r2", 2)
        for files in (["r1", "r2", "again", "r3"], ["again", "r3", "r1", "r2"]):
            merged = self.merge(*files)
            self.assertEqual((merged.code, merged.summary["images"]), (0, 12), str(merged))
            self.assertEqual(len({r["path"] for r in merged.records}), 12)
            killed = [r for r in merged.records if r["of"]["shard"] == f"2/{SHARDS}"]
            self.assertEqual(sum(r["status"] == "changed" for r in killed), 2)
            self.assertEqual(sum(r["status"] == "unchanged" for r in killed), len(killed) - 2)

    def test_a_shard_that_ran_twice_is_named_and_its_images_count_once(self):
        reports = self.all_shards()
        self.shard(3, "twice", "--set", "size=2M", state="other")
        merged = self.merge(*reports, "twice")
        self.assertEqual((merged.code, merged.summary["images"], merged.summary["changed"],
                          merged.summary["shards"]["overlapping"]), (1, 12, 12, [3]))
        self.assertIn("1 of 3 shards is there more than once: 3\n", merged.result.err)

    def test_attempts_of_one_run_are_not_two_runs(self):
        """Each attempt ends by itself: the rollout waits for an answer, which the next one gives."""
        fleet = self.manifest("""
            version: 1
            rollout: {steps: [1], ask: on}
            images: [{path: "i*.qcow2", lazy_refcounts: on}]
            """, "steps.yaml")
        reports = []
        for number in range(1, SHARDS + 1):
            shard = ("--json", "--state", self.path("state"), "--shard", f"{number}/{SHARDS}", fleet)
            for more, code, name in (((), 4, f"a{number}"), (("--resume", "--yes"), 0, f"b{number}")):
                answer = qbatch.qbatch(*more, "--report", name, *shard, cwd=self.folder)
                self.assertEqual(answer.code, code, str(answer))
                reports.append(name)
        merged = self.merge(*reports)
        self.assertEqual((merged.code, merged.result.err), (0, ""))
        self.assertEqual((merged.summary["images"], merged.summary["changed"], merged.summary["shards"]["overlapping"]),
                         (12, 12, []))
        merged = self.merge(*[r for r in reports if r != "b2"])
        self.assertEqual(merged.code, 4)

    def test_one_file_in_two_shards_is_named_by_its_inode(self):
        """Two manifests, each right by itself: one host's has the file by another name."""
        other = self.path("other")
        os.mkdir(other)
        names = [os.path.basename(r["path"]) for r in self.shard(1, "r1").records]
        for i in range(12):
            os.link(self.path(f"i{i:02}.qcow2"), os.path.join(other, f"x{i:02}.qcow2"))
        moved = self.path("other/fleet.yaml")
        with open(moved, "w", encoding="utf-8") as f:
            f.write('version: 1\nimages: [{path: "x*.qcow2", size: 2M}]\n')
        for number in (2, 3):
            self.shard(number, f"r{number}", fleet=moved)
        merged = self.merge("r1", "r2", "r3")
        two = merged.summary["shards"]
        twice = [n for n in names if any(r["path"].endswith("x" + n[1:]) for r in merged.records)]
        self.assertTrue(twice)
        self.assertEqual((merged.code, two["in_two"]), (1, len(twice)))
        self.assertEqual({os.path.basename(t["path"]) for t in two["in_two_first"]}, set(twice))
        self.assertIn("one file is in two shards: ", merged.result.err)

    def test_shards_of_two_divisions_do_not_make_a_whole(self):
        self.all_shards()
        self.shard(1, "r4", "--set", "size=2M", of=4, state="other")
        merged = self.merge("r1", "r2", "r3", "r4")
        self.assertEqual((merged.code, merged.summary["shards"]["of"], merged.summary["shards"]["mixed"]), (1, 3, True))
        self.assertIn("divide the fleet in another way", merged.result.err)

    def test_merged_again_it_says_the_same(self):
        reports = self.all_shards()
        merged = self.merge(*reports)
        with open(self.path("all"), "w", encoding="utf-8") as f:
            f.write(merged.result.out)
        again = self.merge("all")
        self.assertEqual((again.code, again.records, again.summary["shards"]),
                         (0, merged.records, merged.summary["shards"]))

    def test_people_see_the_shards_too(self):
        self.all_shards()
        done = proc.run([qbatch.absolute(qbatch.TOOL), "report", "show", "r1", "r3"], cwd=self.folder)
        self.assertEqual(done.code, 0)
        self.assertRegex(done.out, r"(?m)^run \S+, shard 1/3 on ")
        self.assertIn("1 of 3 shards is missing: 2\n", done.err)

    def test_standard_output_has_one_report(self):
        self.all_shards()
        done = proc.run([qbatch.absolute(qbatch.TOOL), "report", "merge", "--summary", "-", "r1"], cwd=self.folder)
        self.assertEqual((done.code, done.out), (2, ""))


if __name__ == "__main__":
    main()
