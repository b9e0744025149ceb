"""What earlier versions wrote, read by this one: STABILITY.md is about these promises.

tests/earlier holds what commit e431169, of 2026, wrote: manifests, journals, a report, and the
values that its tables gave as examples of each key.  steps.* are of a later one, whose format of
plans is 1: a rollout that waits for an answer, after orders by qbatch ctl, and a plan with steps and
tags.  Files are never changed; those of later versions may join them."""
import gzip
import json
import os
import shutil
import zlib

import context  # noqa: F401
import guest
import proc
import qbatch
from fixture import MIB, ImageTest, main

EARLIER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../earlier")
FOLDER = "/srv/vm"  # where it was written


def lines_of(name):
    with open(os.path.join(EARLIER, name), encoding="utf-8") as f:
        return f.read().splitlines()


class EarlierRun(ImageTest):
    """A run of an earlier version, as if it had been in this test's folder."""
    def setUp(self):
        super().setUp()
        self.state = self.path("state")

    def take_over(self, name, keep=lambda record: True, extra=(), **of_run):
        """Its manifest and journal.  Paths, and what a record says of a file, become those of here."""
        shutil.copy(os.path.join(EARLIER, name + ".yaml"), self.folder)
        self.fleet = self.path(name + ".yaml")
        os.mkdir(self.state, 0o700)
        records = [json.loads(line[9:]) for line in lines_of(name + ".journal")]
        records[0].update(of_run)
        self.run_id = records[0]["run"]
        self.journal = os.path.join(self.state, self.run_id + ".journal")
        records = [r for r in records if keep(r)]
        with open(os.open(self.journal, os.O_CREAT | os.O_WRONLY, 0o600), "wb") as f:
            for record in [records[0], *extra, *records[1:]]:
                text = json.dumps(self.moved(record), separators=(",", ":")).encode()
                f.write(b"%08x %s\n" % (zlib.crc32(text), text))

    def moved(self, record):
        record = {key: value.replace(FOLDER, os.path.realpath(self.folder))
                  if key in ("path", "manifest") else value for key, value in record.items()}
        if "ino" in record:
            st = os.stat(record["path"])
            self.assertEqual(record["length"], st.st_size, "the image is not as it was left")
            record.update(dev=st.st_dev, ino=st.st_ino, mtime_ns=st.st_mtime_ns)
        return record

    def qbatch(self, *argv):
        return qbatch.qbatch("--json", "--state", self.state, *argv, cwd=self.folder)

    def command(self, name, *argv):
        return qbatch.qbatch(name, "--state", self.state, *argv, cwd=self.folder)

    def unpack(self, name, to):
        with gzip.open(os.path.join(EARLIER, name + ".gz")) as f, open(self.path(to), "wb") as out:
            shutil.copyfileobj(f, out)
        return self.path(to)


class AddedSizes(EarlierRun):
    """Killed: `a` was amended and not yet recorded, `b` was planned, `c` was recorded."""
    def setUp(self):
        super().setUp()
        for name in "abc":
            self.create(name + ".qcow2", cluster_size=4096, lazy_refcounts="off")
        for name in "ac":
            proc.must(["qemu-img", "resize", "-q", self.path(name + ".qcow2"), "2M"])
            os.truncate(self.path(name + ".qcow2"), 16384)

    def killed(self, record):
        return record["is"] in ("run", "planned") or record.get("path", "").endswith("c.qcow2")

    def sizes(self):
        return [guest.info(self.path(name + ".qcow2"))["virtual-size"] // MIB for name in "abc"]

    def test_resumed_a_size_is_added_once_and_what_is_done_is_not_opened(self):
        self.take_over("grow", self.killed)
        answer = self.qbatch("--resume", self.fleet)
        self.assertEqual(answer.code, 0, str(answer))
        self.assertEqual([(r["status"], r["resumed"]) for r in answer.records],
                         [("unchanged", False), ("changed", False), ("unchanged", True)], str(answer))
        self.assertEqual(self.sizes(), [2, 2, 2])

    def test_a_new_run_that_would_add_once_more_is_refused(self):
        self.take_over("grow", self.killed)
        answer = self.qbatch(self.fleet)
        self.assertEqual((answer.code, answer.records), (2, []), str(answer))
        self.assertIn("has added to the size of 3 images", answer.result.err)
        self.assertEqual(self.sizes(), [2, 1, 2])

    def test_records_and_fields_of_a_later_version_are_passed_over(self):
        self.take_over("grow", self.killed, later=[1],
                       extra=[{"is": "later"}, {"is": "later", "path": FOLDER + "/d.qcow2"}])
        self.assertEqual(self.qbatch("--resume", self.fleet).code, 0)
        self.assertEqual(self.sizes(), [2, 2, 2])

    def test_a_journal_of_a_later_format_is_refused_by_every_command(self):
        self.take_over("grow", self.killed, format=3, qbatch="7.8.9")
        sums = [proc.sha256(self.path(name + ".qcow2")) for name in "abc"] + [proc.sha256(self.journal)]
        for answer in (self.qbatch("--resume", self.fleet), self.qbatch(self.fleet),
                       self.qbatch("--retry-failed", self.fleet), self.command("undo", self.run_id),
                       self.command("status", self.run_id)):
            self.assertIn(answer.code, (1, 2), str(answer))
            self.assertEqual(answer.records, [], str(answer))
            self.assertIn("the journal is of format 3, by qbatch 7.8.9", answer.result.err)
        after = [proc.sha256(self.path(name + ".qcow2")) for name in "abc"] + [proc.sha256(self.journal)]
        self.assertEqual(after, sums)


class Undo(EarlierRun):
    def setUp(self):
        super().setUp()
        self.image = self.unpack("undo-after.qcow2", "a.qcow2")
        self.take_over("undo")

    def test_where_a_record_lacks_what_an_undo_is_proved_by_it_is_refused(self):
        sha, stat = proc.sha256(self.image), os.stat(self.image)
        done = self.command("undo", "last")
        self.assertEqual(done.code, 1, str(done))
        self.assertIn("the journal has no record of what the amend wrote", done.result.out)
        self.assert_untouched(self.image, sha, stat)

    def test_its_state_is_listed_and_what_failed_is_tried_again(self):
        shown = proc.must([qbatch.absolute(qbatch.TOOL), "status", "--state", self.state, "last"])
        self.assertRegex(shown, "missing.qcow2 +not_found: cannot open the file")
        self.create("missing.qcow2")
        answer = self.qbatch("--retry-failed", self.fleet)
        self.assertEqual(answer.code, 0, str(answer))
        self.assertEqual([(os.path.basename(r["path"]), r["status"]) for r in answer.records],
                         [("missing.qcow2", "changed")])


class Rollout(EarlierRun):
    """`a` was changed in the first step, `d` was skipped by qbatch ctl; the run has asked."""
    IMAGES = "abcd"

    def setUp(self):
        super().setUp()
        for name in self.IMAGES:
            self.create(name + ".qcow2", compat="0.10", cluster_size=4096)

    def versions(self):
        return [guest.info(self.path(name + ".qcow2"))["format-specific"]["data"]["compat"] for name in self.IMAGES]

    def test_its_answer_begins_the_next_step_and_what_was_skipped_stays_so(self):
        self.assertEqual(qbatch.amend(self.path("a.qcow2"), compat="1.1").code, 0)
        self.take_over("steps", lambda record: record["is"] != "synced")
        shown = proc.must([qbatch.absolute(qbatch.TOOL), "status", "--state", self.state, "last"])
        self.assertIn("step 1 waits for an answer", shown)
        self.assertIn("skip " + os.path.realpath(self.path("d.qcow2")) + ", by root", shown)
        self.assertIn("Z limits wave=2, by root", shown)
        answer = self.qbatch("--resume", "--yes", self.fleet)
        self.assertEqual(answer.code, 3, str(answer))
        self.assertEqual({os.path.basename(r["path"])[0]: (r["status"], r["resumed"]) for r in answer.records},
                         {"a": ("unchanged", True), "b": ("changed", False), "c": ("changed", False),
                          "d": ("skipped", True)}, str(answer))
        self.assertEqual(self.versions(), ["1.1", "1.1", "1.1", "0.10"])

    def test_its_plan_is_shown(self):
        plan = shutil.copy(os.path.join(EARLIER, "steps.qplan"), self.folder)
        shown = proc.must([qbatch.absolute(qbatch.TOOL), "plan", "show", plan])
        self.assertRegex(shown, r"would change \S+d.qcow2 +compat: 0.10 -> 1.1, lazy_refcounts: off -> on\n")
        self.assertIn("steps     1, 4 images\n", shown)
        self.assertIn("labels    ticket: CHG-17\n", shown)

    def test_its_plan_is_carried_out(self):
        plan = shutil.copy(os.path.join(EARLIER, "steps.qplan"), self.folder)
        os.chmod(plan, 0o600)
        there = ('set -e; mount -t tmpfs tmpfs /srv; mkdir /srv/vm; mount --bind "$1" /srv/vm; shift; exec "$@"')
        inside = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"]), "sh", "-c", there, "sh",
                  self.folder]
        if proc.run([*inside, "true"]).code:
            self.skipTest("a folder cannot be mounted here as the one of the plan")
        tool = [qbatch.absolute(qbatch.TOOL), "apply", "--json", "--no-state"]
        done = proc.run([*inside, *tool, "--yes", "--tags", "late", "/srv/vm/steps.qplan"])
        self.assertEqual(done.code, 4, done.out + done.err)  # the rollout asks after its first step
        done = proc.run([*inside, *tool, "--yes", "/srv/vm/steps.qplan"])
        self.assertEqual(done.code, 4, done.out + done.err)
        records = [json.loads(line) for line in done.out.splitlines()[:-1]]
        self.assertEqual([r["error"] and r["error"]["code"] for r in records if r["error"]
                          and r["error"]["code"] != "cancelled"], [])
        self.assertEqual(sum(v == "1.1" for v in self.versions()), 2)


class Reports(EarlierRun):
    def test_they_are_shown_and_merged(self):
        report = os.path.join(EARLIER, "report.ndjson")
        shown = qbatch.qbatch("report", "show", report)
        self.assertEqual(shown.code, 0, str(shown))
        self.assertRegex(shown.result.out, "changed +a.qcow2 +compat: 1.1 -> 0.10\n")
        self.assertRegex(shown.result.out, "failed +missing.qcow2 +not_found: cannot open the file")
        # Lines of an earlier version lack what is new.
        tool = qbatch.absolute(qbatch.TOOL)
        merged = proc.must([tool, "report", "merge", report]).splitlines()
        for line, earlier in zip(merged, lines_of("report.ndjson")[:2]):
            line = json.loads(line)
            self.assertTrue(line.pop("of")["run"])  # which run each is of is said beside it
            self.assertEqual(line, json.loads(earlier))

    def test_every_field_is_still_there_and_of_the_same_type(self):
        self.unpack("undo-before.qcow2", "a.qcow2")
        shutil.copy(os.path.join(EARLIER, "undo.yaml"), self.folder)
        now = self.qbatch(self.path("undo.yaml"))
        then = [json.loads(line) for line in lines_of("report.ndjson")]
        self.assertEqual(len(now.records), 2, str(now))
        for old, new in zip(then, [*now.records, now.summary]):
            self.assert_holds(old, new, old["type"])

    def assert_holds(self, old, new, where):
        kinds = {int: "number", float: "number"}
        if old is not None and new is not None:
            self.assertEqual(kinds.get(type(old), type(old)), kinds.get(type(new), type(new)), where)
        if isinstance(old, dict):
            for key, value in old.items():
                self.assertIn(key, new, where)
                self.assert_holds(value, new[key], f"{where}.{key}")
        elif isinstance(old, list):
            for a, b in zip(old, new):
                self.assert_holds(a, b, where + "[]")


class Manifests(EarlierRun):
    PLACES = {"amend": "defaults: {{backing_file: missing.qcow2}}\nimages: [{{path: a.qcow2, {}: '{}'}}]",
              "when": "images: [{{path: a.qcow2, compat: '1.1', when: {{{}: '{}'}}}}]",
              "policy": "policy: {{{}: '{}'}}\nimages: [{{path: a.qcow2, compat: '1.1'}}]",
              "limits": "limits: {{{}: '{}'}}\nimages: [{{path: a.qcow2, compat: '1.1'}}]"}

    def setUp(self):
        super().setUp()
        self.create("a.qcow2")
        self.create("missing.qcow2")

    def is_right(self, manifest):
        done = proc.run([qbatch.absolute(qbatch.TOOL), "lint", manifest])
        self.assertEqual(done.code, 0, done.out + done.err)

    def test_each_key_takes_each_value(self):
        tried = 0
        for place, key, values in (line.split(" ") for line in lines_of("manifest-values.txt")):
            for value in values.split("|"):
                self.is_right(self.manifest("version: 1\n" + self.PLACES[place].format(key, value) + "\n"))
                tried += 1
        self.assertEqual(tried, 164)

    def test_whole_manifests_are_right(self):
        for name in "bcd":
            self.create(name + ".qcow2")
        for name in ("grow.yaml", "undo.yaml", "steps.yaml"):
            self.is_right(shutil.copy(os.path.join(EARLIER, name), self.folder))


if __name__ == "__main__":
    main()
