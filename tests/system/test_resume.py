"""State and resume: what a run remembers, and what the next one makes of it."""
import json
import os
import random
import shutil
import subprocess
import time
import zlib

import context  # noqa: F401
import guest
import proc
import qbatch
from fixture import KIB, MIB, ImageTest, main


class StateTest(ImageTest):
    def setUp(self):
        super().setUp()
        self.state = self.path("state")
        self.flags = ["--state", self.state]

    def run_fleet(self, *flags, **kwargs):
        return qbatch.qbatch("--json", *self.flags, *flags, self.fleet, cwd=self.folder, **kwargs)

    def journals(self):
        names = os.listdir(self.state) if os.path.isdir(self.state) else []
        return sorted(os.path.join(self.state, name) for name in names)

    def records(self, journal=None):
        """Every line: the checksum fits, and what follows is JSON."""
        with open(journal or self.journals()[-1], "rb") as f:
            lines = f.read().split(b"\n")
        self.assertEqual(lines.pop(), b"")
        for line in lines:
            self.assertEqual(int(line[:8], 16), zlib.crc32(line[9:]))
        return [json.loads(line[9:]) for line in lines]

    def keep_lines(self, wanted):
        """The journal as it was when the process was killed after these lines."""
        journal = self.journals()[-1]
        with open(journal, "rb") as f:
            lines = f.read().splitlines(keepends=True)
        with open(journal, "wb") as f:
            f.writelines(line for line in lines if wanted(json.loads(line[9:])))

    def status(self, *operands):
        done = proc.run([qbatch.absolute(qbatch.TOOL), "status", "--json", *self.flags, *operands])
        return [json.loads(line) for line in done.out.splitlines()]


class Remembered(StateTest):
    def setUp(self):
        super().setUp()
        self.images = [self.create(f"{i}.qcow2") for i in range(4)]
        self.fleet = self.manifest("""
            version: 1
            images: [{path: "?.qcow2", compat: "0.10"}, {path: missing.qcow2, compat: "0.10"}]
            """)

    def test_a_run_writes_down_what_became_of_each_image(self):
        answer = self.run_fleet()
        self.assertEqual(answer.code, 1, str(answer))
        records = self.records()
        self.assertEqual(records[0]["is"], "run")
        self.assertEqual(records[0]["run"], answer.summary["run"])
        self.assertEqual(records[0]["manifest"], os.path.realpath(self.fleet))
        over = {r["path"]: r for r in records if r["is"] in ("changed", "failed")}
        for image in self.images:
            self.assertEqual(over[os.path.realpath(image)]["length"], os.path.getsize(image))
        self.assertEqual(over[os.path.realpath(self.path("missing.qcow2"))]["code"], "not_found")
        self.assertEqual((records[-1]["is"], records[-1]["left"]), ("end", 0))

    def test_status_lists_runs_and_tells_why_images_failed(self):
        run = self.run_fleet().summary["run"]
        listed = self.status()
        self.assertEqual([(r["run"], r["state"], r["failed"]) for r in listed], [(run, "ended", 1)])
        shown = self.status(run)
        self.assertEqual((shown[0]["changed"], shown[0]["failed"], shown[0]["left"]), (4, 1, 0))
        self.assertEqual([r["error"]["code"] for r in shown[1:]], ["not_found"])
        words = proc.must([qbatch.absolute(qbatch.TOOL), "status", *self.flags, "last"])
        self.assertIn("missing.qcow2  not_found: ", words)
        self.assertEqual(qbatch.qbatch("status", *self.flags, "2001").code, 2)

    def test_an_undo_is_shown_with_its_time_and_what_failed_still_failed(self):
        undoable = self.manifest("""
            version: 1
            defaults: {keep_undo: on}
            images: [{path: ["?.qcow2", missing.qcow2], lazy_refcounts: on}]
            """, name="undoable.yaml")
        qbatch.qbatch(*self.flags, undoable, cwd=self.folder)
        before = self.status()[0]
        qbatch.qbatch(*self.flags, "--dry-run", undoable, cwd=self.folder)
        self.assertEqual(self.status(), [before])  # no dry run is among them
        self.assertEqual((before["changed"], before["failed"], before["undone"]), (4, 1, 0))
        proc.must([qbatch.absolute(qbatch.TOOL), "undo", *self.flags, "last"], cwd=self.folder)
        after = self.status()[0]
        self.assertEqual((after["changed"], after["failed"], after["undone"]), (0, 1, 4))
        shown = self.status("last")
        self.assertRegex(shown[0]["undone_at"], r"^20..-..-..T..:..:..Z$")
        self.assertEqual(sorted(r["status"] for r in shown[1:]), ["failed"] + 4 * ["undone"])
        self.assertEqual({r.get("undone_at") for r in shown[1:] if r["status"] == "undone"},
                         {shown[0]["undone_at"]})
        words = proc.must([qbatch.absolute(qbatch.TOOL), "status", *self.flags, "last"])
        self.assertIn(f"\nundone    {shown[0]['undone_at']}\n", words)
        self.assertRegex(words, "(?m)^failed .*missing.qcow2  not_found: ")

    def test_the_list_counts_all_calls_of_a_resumed_run(self):
        os.rename(self.images[0], self.images[0] + ".away")
        self.run_fleet()
        os.rename(self.images[0] + ".away", self.images[0])
        self.run_fleet("--resume")
        self.assertEqual([(r["changed"], r["failed"]) for r in self.status()], [(4, 1)])

    def test_many_equal_failures_of_a_run_are_a_line(self):
        with open(self.path("list"), "w") as f:
            f.writelines(f"no/{i}.qcow2\n" for i in range(300))
            f.write(self.images[0] + "\n")
        fleet = self.manifest("""
            version: 1
            images: [{from_file: list, lazy_refcounts: on}]
            """, name="many.yaml")
        qbatch.qbatch(*self.flags, fleet, cwd=self.folder)
        words = proc.must([qbatch.absolute(qbatch.TOOL), "status", *self.flags, "last"])
        self.assertEqual(words.count("not_found"), 1, words)
        self.assertIn("failed        300 images  not_found: ", words)

    def test_where_nobody_asks_for_it_nothing_is_kept(self):
        env = {**os.environ, "STATE_DIRECTORY": self.state}
        qbatch.qbatch("--no-state", self.fleet, env=env)
        qbatch.qbatch("--dry-run", self.fleet, env=env)
        qbatch.qbatch("amend", "-o", "compat=1.1", self.images[0], env=env)
        self.assertEqual(self.journals(), [])
        qbatch.qbatch("amend", "-o", "compat=v2", *self.flags, self.images[0], env=env)
        self.assertEqual(len(self.journals()), 1)

    def test_the_folder_is_the_one_that_was_said_or_that_the_system_gives(self):
        home = self.path("home")
        env = {k: v for k, v in os.environ.items() if k not in ("STATE_DIRECTORY", "XDG_STATE_HOME")}
        env["HOME"] = home
        qbatch.qbatch(self.fleet, env={**env, "STATE_DIRECTORY": f"{self.path('a')}:{self.path('b')}"})
        self.assertEqual(len(os.listdir(self.path("a"))), 1)
        qbatch.qbatch("--state", self.path("c"), self.fleet,
                      env={**env, "STATE_DIRECTORY": self.path("a")})
        self.assertEqual(len(os.listdir(self.path("c"))), 1)
        self.assertEqual(os.stat(self.path("c")).st_mode & 0o777, 0o700)
        self.assertEqual(os.stat(self.path("a")).st_mode & 0o777, 0o700)
        if os.geteuid() != 0:
            qbatch.qbatch(self.fleet, env=env)
            self.assertEqual(len(os.listdir(os.path.join(home, ".local/state/qbatch"))), 1)
            qbatch.qbatch(self.fleet, env={**env, "XDG_STATE_HOME": self.path("x")})
            self.assertEqual(len(os.listdir(self.path("x/qbatch"))), 1)

    def test_without_a_folder_the_run_goes_on_unless_it_was_asked_for(self):
        self.raw("file", "1k")
        env = {**os.environ, "STATE_DIRECTORY": self.path("file")}
        answer = qbatch.qbatch("--json", self.fleet, env=env)
        self.assertEqual(answer.summary["changed"], 4, str(answer))
        self.assertIn("is not recorded", answer.result.err)
        sha = proc.sha256(self.images[0])
        for flags in (["--state", self.path("file")], ["--resume"], ["--retry-failed"]):
            answer = qbatch.qbatch("--json", *flags, self.fleet, env=env)
            self.assertEqual((answer.code, answer.records), (2, []), str(answer))
        for asked in (["-o", "compat=1.1,keep_undo=on"], ["-o", "lazy_refcounts=on", "--backup", "reflink"]):
            answer = qbatch.qbatch("amend", *asked, self.images[0], env=env)
            self.assertEqual(answer.code, 2, str(answer))
            self.assertIn("file is not a directory", answer.result.err)
        self.assertEqual(proc.sha256(self.images[0]), sha)

    def test_retrying_amends_what_failed_and_nothing_else(self):
        run = self.run_fleet().summary["run"]
        self.create("missing.qcow2")
        answer = self.run_fleet("--retry-failed")
        self.assertEqual(answer.code, 0, str(answer))
        self.assertEqual([(os.path.basename(r["path"]), r["status"]) for r in answer.records],
                         [("missing.qcow2", "changed")])
        self.assertEqual(answer.summary["run"], run)
        self.assertEqual(self.run_fleet("--retry-failed").code, 2)
        self.assertEqual(len(self.journals()), 1)

    def test_resuming_amends_what_failed_and_a_finished_run_is_not_resumed(self):
        run = self.run_fleet().summary["run"]
        self.create("missing.qcow2")
        answer = self.run_fleet("--resume")
        self.assertEqual((answer.code, answer.summary["run"]), (0, run), str(answer))
        self.assertEqual([(r["status"], r["resumed"]) for r in answer.records],
                         [("unchanged", True)] * 4 + [("changed", False)])
        self.assertIsNone(answer.summary["finish"])
        answer = self.run_fleet("--resume")
        self.assertEqual((answer.code, answer.records), (2, []), str(answer))


class IfAny(StateTest):
    """What an engine starts again until it is done."""

    def setUp(self):
        super().setUp()
        self.images = [self.create(f"{i}.qcow2") for i in range(4)]
        self.fleet = self.manifest("""
            version: 1
            images: [{path: "*.qcow2", size: +1M}]
            """)

    def sizes(self):
        return [json.loads(proc.must(["qemu-img", "info", "-U", "--output=json", i]))["virtual-size"] // MIB
                for i in self.images]

    def test_a_run_that_is_given_until_it_is_done(self):
        used = self.use(self.images[2])
        answer = self.run_fleet("--resume=if-any")  # there is none
        self.assertEqual((answer.code, self.sizes()), (3, [2, 2, 1, 2]), str(answer))
        used.stdin.close()
        used.wait()
        answer = self.run_fleet("--resume=if-any")
        self.assertEqual((answer.code, self.sizes(), len(self.journals())), (0, [2] * 4, 1), str(answer))
        self.assertEqual(sum(r["resumed"] for r in answer.records), 3)
        answer = self.run_fleet("--resume=if-any")  # that run is finished: a new one
        self.assertEqual((answer.code, self.sizes(), len(self.journals())), (0, [3] * 4, 2), str(answer))
        answer = self.run_fleet("--resume=if-any", "--dry-run")
        self.assertEqual((answer.code, self.sizes()), (0, [3] * 4), str(answer))

    def test_no_other_refusal_begins_a_run(self):
        self.use(self.images[2])
        self.assertEqual(self.run_fleet("--resume=if-any").code, 3)
        with open(self.fleet, "a", encoding="utf-8") as f:
            f.write("# another text\n")
        answer = self.run_fleet("--resume=if-any")
        self.assertEqual((answer.code, self.sizes(), len(self.journals())), (2, [2, 2, 1, 2], 1), str(answer))
        self.assertIn("the manifest has changed", answer.result.err)
        self.assertEqual(self.run_fleet("--resume").code, 2)  # nothing else is asked for

    def test_a_size_that_an_undo_took_back_in_part_is_not_added_again(self):
        self.manifest("""
            version: 1
            images: [{path: "*.qcow2", size: +1M, keep_undo: on}]
            """)
        self.assertEqual(self.run_fleet().code, 0)
        self.assertEqual(qbatch.qbatch("undo", "--state", self.state, "last", self.images[0]).code, 0)
        answer = self.run_fleet("--resume=if-any")
        self.assertEqual((answer.code, self.sizes()), (2, [1, 2, 2, 2]), str(answer))


class Resumed(StateTest):
    def setUp(self):
        super().setUp()
        self.raw("base.raw", "4M", "write -q -P 9 0 4M")
        first = self.create("00.qcow2", size="4M", backing="base.raw", backing_fmt="raw",
                            cluster_size=4096)
        self.io(first, "write -q -P 1 0 1M", "write -q -z 256k 256k", "write -q -z -u 2M 1M")
        self.snapshot(first, "s")
        self.io(first, "write -q -P 2 0 128k")
        self.images = [first] + [self.copy(first, f"{i:02}.qcow2") for i in range(1, 24)]
        self.original = self.copy(first, "original")
        self.layers = guest.read_all(first)
        self.text = """
            version: 1
            limits: {jobs: 2, memory: 1M}
            images: [{path: "*.qcow2", compat: "0.10"}]
            """
        self.fleet = self.manifest(self.text)

    def unfinish(self, done):
        """As if the run had been killed: of these images no end is told, and they are as before."""
        names = {os.path.realpath(image) for image in done}
        self.keep_lines(lambda r: r["is"] in ("run", "planned") or r.get("path") in names)
        for image in self.images:
            if image not in done:
                shutil.copyfile(self.original, image)

    def test_what_is_done_is_not_opened_again(self):
        self.run_fleet()
        self.unfinish(self.images[:10])
        self.assertEqual(self.status()[0]["state"], "unfinished")
        opened = []
        for image in self.images[:10]:
            os.utime(image, ns=(1, os.stat(image).st_mtime_ns))
        answer = self.run_fleet("--resume")
        self.assertEqual(answer.code, 0, str(answer))
        for i, record in enumerate(answer.records):
            self.assertEqual(record["status"], "unchanged" if i < 10 else "changed")
            self.assertEqual(record["resumed"], i < 10)
        for image in self.images[:10]:
            opened.append(os.stat(image).st_atime_ns != 1)
        self.assertFalse(any(opened))
        self.assertEqual(len(self.journals()), 1)
        self.assertEqual(self.status()[0]["state"], "ended")

    def test_what_changed_since_is_looked_at_again(self):
        self.run_fleet()
        self.unfinish(self.images[:10])
        shutil.copyfile(self.original, self.images[3])
        answer = self.run_fleet("--resume")
        self.assertEqual([r["resumed"] for r in answer.records[:5]],
                         [True, True, True, False, True], str(answer))
        self.assertEqual(answer.records[3]["status"], "changed")

    def test_a_changed_manifest_is_refused_unless_told(self):
        self.run_fleet()
        self.unfinish(self.images[:10])
        self.manifest(self.text + "\n  # another text\n")
        answer = self.run_fleet("--resume")
        self.assertEqual((answer.code, answer.records), (2, []), str(answer))
        self.assertIn("the manifest has changed", answer.result.err)
        answer = self.run_fleet("--resume", "--force-resume")
        self.assertEqual(answer.code, 0, str(answer))
        self.assertEqual(sum(r["resumed"] for r in answer.records), 10)

    def test_with_another_request_every_image_is_looked_at(self):
        self.run_fleet()
        self.unfinish(self.images[:10])
        self.manifest(self.text.replace("0.10", "1.1"))
        answer = self.run_fleet("--resume", "--force-resume")
        self.assertEqual(answer.code, 0, str(answer))
        self.assertEqual(sum(r["resumed"] for r in answer.records), 0)
        self.assertEqual(answer.records[0]["status"], "changed")

    def test_an_undo_is_not_lost_to_another_request(self):
        """A second amend in one run would put the first one out of reach, also where it is not known
        whether that was made; what is not to be changed is not refused."""
        self.text = self.text.replace("compat:", "keep_undo: on, compat:")
        self.manifest(self.text)
        run = self.run_fleet().summary["run"]
        was, done = proc.sha256(self.original), proc.sha256(self.images[0])
        known = {os.path.realpath(image) for image in self.images[:2]}
        self.keep_lines(lambda r: r["is"] in ("run", "planned", "proof") or r.get("path") in known)
        self.manifest(self.text.replace('"0.10"', '"1.1", lazy_refcounts: on'))
        for _ in range(2):
            answer = self.run_fleet("--resume", "--force-resume")
            self.assertEqual(answer.code, 1, str(answer))
            for record in answer.records:
                self.assertIn("second amend", record["error"]["message"])
            self.assertEqual({proc.sha256(image) for image in self.images}, {done})
        self.manifest(self.text.replace('"0.10"', '"0.10", lazy_refcounts: off'))
        answer = self.run_fleet("--resume", "--force-resume")
        self.assertEqual(answer.code, 0, str(answer))
        back = qbatch.qbatch("undo", "--json", *self.flags, run)
        self.assertEqual(back.code, 0, str(back))
        self.assertEqual({proc.sha256(image) for image in self.images}, {was})
        self.manifest(self.text.replace('"0.10"', '"1.1", lazy_refcounts: on'))
        answer = self.run_fleet("--resume=" + run, "--force-resume", "--redo")
        self.assertEqual(answer.code, 0, str(answer))

    def test_a_torn_last_line_is_told_and_other_damage_is_refused(self):
        self.run_fleet()
        self.unfinish(self.images[:10])
        with open(self.journals()[0], "r+b") as f:
            f.truncate(os.path.getsize(self.journals()[0]) - 7)
        torn = self.path("torn")
        answer = self.run_fleet("--resume")
        self.assertEqual(answer.code, 0, str(answer))
        self.assertIn("the last line of the journal was torn", answer.result.err)
        self.assertEqual(sum(r["resumed"] for r in answer.records), 9)
        with open(self.journals()[0], "rb") as f:
            lines = f.read().split(b"\n")
        offsets = [json.loads(line[9:])["length"] for line in lines if b'"is":"synced"' in line]
        self.assertGreater(max(offsets), 400)  # those of the resumed run: the others were dropped
        shutil.copyfile(self.journals()[0], torn)
        with open(torn, "r+b") as f:
            f.seek(400)
            f.write(b"?")
        shutil.copyfile(torn, self.journals()[0])
        answer = self.run_fleet("--resume=last")
        self.assertEqual((answer.code, answer.records), (2, []), str(answer))
        self.assertRegex(answer.result.err, "line [0-9]+ is damaged")

    def test_an_added_size_is_added_once(self):
        self.fleet = self.manifest(self.text.replace('compat: "0.10"', "size: +1M"))
        self.run_fleet()
        self.keep_lines(lambda r: r["is"] in ("run", "planned"))
        for image in self.images[12:]:
            shutil.copyfile(self.original, image)
        answer = self.run_fleet("--resume")
        self.assertEqual(answer.code, 0, str(answer))
        for image in self.images:
            self.assertEqual(guest.info(image)["virtual-size"], 5 * MIB, image)

    def test_what_an_interrupted_run_appended_is_given_back(self):
        self.run_fleet()
        self.unfinish([])
        length = os.path.getsize(self.original)
        for image in self.images[:3]:
            with open(image, "r+b") as f:
                f.truncate(length + 512 * KIB)
                f.seek(length + 4 * KIB)
                f.write(b"appended")
        with open(self.images[2], "r+b") as f:  # this one had been longer all along
            f.truncate(length - 1)
        self.manifest(self.text.replace('compat: "0.10"', "lazy_refcounts: on"))
        answer = self.run_fleet()
        self.assertEqual(answer.code, 0, str(answer))
        self.assertIn("is unfinished", answer.result.err)
        given = [r["space"]["tail_given_back_bytes"] for r in answer.records]
        self.assertEqual(given[:2], [512 * KIB] * 2)
        self.assertEqual(sum(given[2:]), 0)
        self.assertEqual(os.path.getsize(self.images[0]), length)
        self.assert_sound(self.images[0])
        self.assertEqual([r["state"] for r in self.status()], ["superseded", "ended"])

    def test_killed_at_any_moment_and_resumed_all_the_work_is_done_once(self):
        began = time.monotonic()
        self.run_fleet()
        took, rng = time.monotonic() - began, random.Random(4)
        for number in range(10):
            for image in self.images:
                shutil.copyfile(self.original, image)
            shutil.rmtree(self.state, ignore_errors=True)
            run = subprocess.Popen([qbatch.absolute(qbatch.TOOL), *self.flags, self.fleet],
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            time.sleep(rng.random() * took)
            proc.kill_whole(run, self.folder)
            over = not self.journals() or self.status()[0]["state"] in ("ended", "lost")  # before it said anything
            answer = self.run_fleet(*([] if over or number % 3 == 0 else ["--resume"]))
            self.assertEqual(answer.code, 0, str(answer))
            for image in self.images:
                self.assertEqual(guest.check(image)[:3], (0, 0, 0))
                self.assertEqual(guest.info(image)["format-specific"]["data"]["compat"], "0.10")
            self.assert_same_layers(self.layers, guest.read_all(self.images[number]))
            self.assertNotIn("unfinished", [r["state"] for r in self.status()])

    def test_a_deadline_ends_the_run_like_ctrl_c(self):
        answer = self.run_fleet("--deadline", "0.000001")
        self.assertEqual((answer.code, len(answer.records)), (75, len(self.images)), str(answer))
        self.assertLessEqual({r["status"] for r in answer.records}, {"changed", "interrupted"})
        self.assertEqual(self.status()[0]["state"], "unfinished")
        answer = self.run_fleet("--resume")
        self.assertEqual(answer.code, 0, str(answer))
        self.assert_same_layers(self.layers, guest.read_all(self.images[-1]))


if __name__ == "__main__":
    main()
