"""What a run leaves is finished by the one command that it names, and no size is added to twice."""
import fcntl
import json
import os
import random
import shlex
import shutil
import struct
import subprocess
import time

import context  # noqa: F401
import guest
import proc
import qbatch
import strace
from fixture import MIB, ImageTest, main

NOBODY = 65534


class FinishTest(ImageTest):
    def setUp(self):
        super().setUp()
        self.state = self.path("state folder")
        self.flags = ["--state", self.state]
        self.images = [self.create(f"{i}.qcow2", size="4M") for i in range(4)]
        self.fleet = self.manifest("""
            version: 1
            images: [{path: "?.qcow2", size: +1M}]
            """)

    def run_fleet(self, *flags, **kwargs):
        return qbatch.qbatch("--json", *self.flags, *flags, self.fleet, cwd=self.folder, **kwargs)

    def finish(self, command, cwd=None):
        """Types the command that was shown."""
        words = shlex.split(command)
        self.assertEqual(words[0], "qbatch")
        return qbatch.qbatch(*words[1:], cwd=cwd or self.folder)

    def assert_sizes(self, *mib):
        self.assertEqual([guest.info(i)["virtual-size"] // MIB for i in self.images], list(mib))

    def locked(self, image):
        f = open(image, "rb")
        self.addCleanup(f.close)
        fcntl.fcntl(f, 37, struct.pack("hhqqi", fcntl.F_RDLCK, os.SEEK_SET, 201, 1, 0))
        return f

    def status(self, *operands, env=None):
        done = proc.run([qbatch.absolute(qbatch.TOOL), "status", "--json", *self.flags, *operands],
                        env=env)
        return done, [json.loads(line) for line in done.out.splitlines()]


class Finished(FinishTest):
    def leave_one_locked(self, *flags):
        lock = self.locked(self.images[2])
        answer = self.run_fleet(*flags)
        self.assertEqual((answer.code, answer.records[2]["error"]["code"]), (3, "locked"))
        self.assert_sizes(5, 5, 4, 5)
        lock.close()
        return answer

    def test_a_locked_image_is_amended_later_and_the_others_are_not_added_to(self):
        for again in (None, ["--resume"], ["--retry-failed"]):
            with self.subTest(again):
                answer = self.leave_one_locked()
                self.assertIn(f"to finish: {answer.summary['finish']}\n", answer.result.err)
                done = (self.run_fleet(*again) if again
                        else self.finish(answer.summary["finish"]))
                self.assertEqual((done.code, done.summary["run"]), (0, answer.summary["run"]),
                                 str(done))
                self.assertIsNone(done.summary["finish"])
                self.assert_sizes(5, 5, 5, 5)
                for flags in ("--resume", "--retry-failed"):
                    self.assertEqual(self.run_fleet(flags).code, 2)
                self.setUp()

    def test_running_anew_is_refused_until_the_run_is_finished_or_somebody_insists(self):
        answer = self.leave_one_locked()
        for flags in ([], ["--no-state"]):
            refused = (self.run_fleet() if not flags else
                       qbatch.qbatch("--json", *flags, self.fleet, cwd=self.folder,
                                     env={**os.environ, "STATE_DIRECTORY": self.state}))
            self.assertEqual((refused.code, refused.records), (2, []), str(refused))
            self.assertIn(answer.summary["run"], refused.result.err)
        self.assert_sizes(5, 5, 4, 5)
        dry = self.run_fleet("--dry-run")
        self.assertIn("would add once more", dry.result.err)
        refused = self.run_fleet()
        command = refused.result.err.split("to finish that run: ")[1].strip()
        self.assertEqual(self.finish(command).code, 0)
        self.assert_sizes(5, 5, 5, 5)
        self.assertEqual(self.run_fleet().code, 0)  # a finished run's manifest adds once more
        self.assert_sizes(6, 6, 6, 6)

    def test_the_table_ends_with_the_command(self):
        lock = self.locked(self.images[2])
        for flags in ([], ["-q"]):
            answer = qbatch.qbatch(*self.flags, *flags, "--new-run", self.fleet, cwd=self.folder)
            shown = answer.result.err if flags else answer.result.out
            command = shown.rstrip("\n").split("to finish: ")[1]
        lock.close()
        self.assertEqual(self.finish(command).code, 0)
        self.assert_sizes(6, 6, 5, 6)

    def test_a_new_run_all_the_same_takes_over(self):
        self.leave_one_locked()
        answer = self.run_fleet("--new-run")
        self.assertEqual(answer.code, 0, str(answer))
        self.assert_sizes(6, 6, 5, 6)
        self.assertEqual(self.run_fleet("--resume").code, 2)
        self.assertEqual(self.run_fleet().code, 0)

    def test_where_nothing_was_added_a_new_run_adds_once(self):
        locks = [self.locked(image) for image in self.images]
        self.assertEqual(self.run_fleet().code, 3)
        for lock in locks:
            lock.close()
        self.assertEqual(self.run_fleet().code, 0)
        self.assert_sizes(5, 5, 5, 5)

    def test_failed_locked_and_not_started_images_are_one_run_to_finish(self):
        shutil.copyfile(self.images[1], self.path("good"))
        with open(self.images[1], "r+b") as f:
            f.write(b"junk")
        self.manifest("""
            version: 1
            limits: {jobs: 1}
            policy: {on_error: stop}
            images: [{path: "?.qcow2", size: +1M}]
            """)
        lock = self.locked(self.images[0])
        answer = self.run_fleet()
        self.assertEqual(answer.code, 1, str(answer))
        lock.close()
        os.rename(self.path("good"), self.images[1])
        self.assertEqual(self.finish(answer.summary["finish"]).code, 0)
        self.assert_sizes(5, 5, 5, 5)

    def test_options_that_shape_the_run_are_part_of_the_command(self):
        lock = self.locked(self.images[2])
        answer = self.run_fleet("--set", "lazy_refcounts=on", "-j1")
        lock.close()
        done = self.finish(answer.summary["finish"])
        self.assertEqual(done.code, 0, str(done))
        self.assertTrue(guest.info(self.images[2])["format-specific"]["data"]["lazy-refcounts"])
        self.assert_sizes(5, 5, 5, 5)

    def test_an_amend_names_the_images_that_are_left(self):
        name = self.path("it's locked.qcow2")
        os.rename(self.images[2], name)
        self.images[2] = name
        lock = self.locked(name)
        answer = qbatch.amend(self.images, size="+1M", cwd=self.folder)
        self.assertEqual(answer.code, 3, str(answer))
        lock.close()
        done = self.finish(answer.summary["finish"])
        self.assertEqual((done.code, len(done.records)), (0, 1), str(done))
        self.assert_sizes(5, 5, 5, 5)

    def test_a_run_that_is_not_remembered_says_what_a_second_one_would_do(self):
        self.locked(self.images[2])
        answer = qbatch.qbatch("--json", "--no-state", self.fleet, cwd=self.folder)
        self.assertEqual((answer.code, answer.summary["finish"]), (3, None), str(answer))
        self.assertIn("would add to the sizes", answer.result.err)

    def test_killed_at_any_moment_status_names_the_command(self):
        rng, began = random.Random(7), time.monotonic()
        self.run_fleet()
        took = time.monotonic() - began
        for _ in range(8):
            for image in self.images:
                os.unlink(image)
            shutil.rmtree(self.state, ignore_errors=True)
            self.setUp()
            run = subprocess.Popen([qbatch.absolute(qbatch.TOOL), *self.flags, self.fleet],
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                   cwd=self.folder)
            time.sleep(rng.random() * took)
            proc.kill_whole(run, self.folder)
            if not os.path.isdir(self.state) or not os.listdir(self.state):
                continue
            shown = self.status("last")[1]
            if shown and shown[0].get("finish"):
                done = self.finish(shown[0]["finish"], shown[0]["folder"])
                self.assertEqual(done.code, 0, str(done))
                self.assert_sizes(5, 5, 5, 5)


class Hopeless(FinishTest):
    def typed(self, *argv):
        return proc.run([qbatch.absolute(qbatch.TOOL), *argv], cwd=self.folder).out

    def test_no_command_is_named_where_running_it_again_cannot_help(self):
        shown = self.typed("amend", "-o", "size=1M", self.images[0])
        self.assertIn("refused", shown)
        self.assertNotIn("to finish", shown)
        lock = self.locked(self.images[2])
        shown = self.typed("amend", "-o", "size=1M", *self.images[:3])
        self.assertIn("to finish: qbatch amend -o size=1M -- ", shown)  # the locked one may come out better
        lock.close()

    def test_nor_for_a_run_that_failed_for_good(self):
        manifest = self.manifest("""
            version: 1
            images: [{path: "?.qcow2", size: 1M}]
            """)
        shown = self.typed(manifest, "--state", self.state)
        self.assertIn("4 failed", shown)
        self.assertNotIn("to finish", shown)
        self.assertIsNone(self.status("last")[1][0]["finish"])
        self.assertNotIn("--resume", self.typed("status", "--state", self.state, "last"))

    def test_status_names_it_where_one_of_the_images_may_come_out_better(self):
        lock = self.locked(self.images[2])
        self.run_manifest("""
            version: 1
            images: [{path: "?.qcow2", size: 1M}]
            """, *self.flags)
        lock.close()
        shown = self.status("last")[1][0]
        self.assertEqual((shown["failed"], shown["skipped"]), (3, 1))
        self.assertIn(f"--resume={shown['run']}", shown["finish"])


class Cut(FinishTest):
    """The power is cut: of the journal's sectors that were not synced any subset is lost."""

    def setUp(self):
        super().setUp()
        self.images += [self.create(f"{c}.qcow2", size="4M") for c in "abcdefghijklmnopqrst"]

    def synced(self, text):
        """The greatest offset that a record names as synced."""
        return max(json.loads(line[9:])["length"] for line in text.split(b"\n")
                   if b'"is":"synced"' in line)

    def test_nothing_is_refused_and_nothing_is_added_twice(self):
        self.assertEqual(self.run_fleet().code, 0)
        journal = os.path.join(self.state, os.listdir(self.state)[0])
        with open(journal, "rb") as f:
            text = f.read()
        first, rng, resumed = self.synced(text), random.Random(5), 0
        self.assertGreater(len(text) - first, 2048)
        for piece in [512] * 8 + [4096] * 8:
            lost = bytearray(text[:rng.choice([len(text), rng.randrange(first, len(text))])])
            for at in range(first, len(lost)):
                if at == first or at % piece == 0:
                    kill, noise = rng.random() < 0.4, rng.random() < 0.3
                if kill:
                    lost[at] = rng.randrange(256) if noise else 0
            with open(journal, "wb") as f:
                f.write(lost)
            done, shown = self.status("last")
            self.assertEqual(done.code, 0, done.err)
            self.assertEqual(self.status()[0].code, 0)
            if shown[0]["state"] == "unfinished":
                self.assertEqual(self.run_fleet().code, 2)
            answer = self.run_fleet("--resume=last")
            self.assertEqual(answer.code, 0 if shown[0]["state"] == "unfinished" else 2, str(answer))
            resumed += answer.code == 0
            self.assert_sizes(*[5] * len(self.images))
            done, shown = self.status("last")
            self.assertEqual((done.code, shown[0]["state"]), (0, "ended"), done.err)
        self.assertGreater(resumed, 4)

    def test_damage_of_what_was_synced_is_refused_and_the_manifest_is_not_run_anew(self):
        self.assertEqual(self.run_fleet().code, 0)
        journal = os.path.join(self.state, os.listdir(self.state)[0])
        with open(journal, "rb") as f:
            text = bytearray(f.read())
        del text[text.rindex(b'"is":"end"') - 10:]
        text[self.synced(bytes(text)) // 2] ^= 1
        with open(journal, "wb") as f:
            f.write(text)
        for flags in ([], ["--resume"], ["--resume=last"]):
            answer = self.run_fleet(*flags)
            self.assertEqual((answer.code, answer.records), (2, []), str(answer))
            self.assertRegex(answer.result.err, "line [0-9]+ is damaged")
        self.assertEqual(self.status("last")[0].code, 2)
        self.assert_sizes(*[5] * len(self.images))


class Undone(FinishTest):
    def setUp(self):
        super().setUp()
        self.manifest("""
            version: 1
            images: [{path: "?.qcow2", size: +1M, keep_undo: on}]
            """)

    def undo(self, run, *images):
        answer = qbatch.qbatch("undo", "--json", *self.flags, run, *images)
        self.assertEqual(answer.code, 0, str(answer))

    def test_what_was_undone_is_left_alone_and_its_siblings_are_not_added_to(self):
        run = self.run_fleet().summary["run"]
        self.undo(run, self.images[1])
        shown = self.status(run)[1]
        self.assertEqual((shown[0]["state"], shown[0]["changed"], shown[0]["undone"],
                          shown[0]["to_finish"]), ("ended", 3, 1, 0))
        self.assertEqual([(r["path"], r["status"]) for r in shown[1:]],
                         [(os.path.realpath(self.images[1]), "undone")])
        for flags in (["--resume"], [f"--resume={run}"], ["--retry-failed"], []):
            answer = self.run_fleet(*flags)
            self.assertEqual((answer.code, answer.records), (2, []), str(answer))
        self.assert_sizes(5, 4, 5, 5)
        answer = self.run_fleet("--resume", "--redo")
        self.assertEqual(answer.code, 0, str(answer))
        self.assert_sizes(5, 5, 5, 5)
        self.assertEqual(self.status(run)[1][0]["undone"], 0)

    def test_resuming_after_an_undo_amends_what_was_left_and_nothing_else(self):
        lock = self.locked(self.images[2])
        run = self.run_fleet().summary["run"]
        lock.close()
        self.undo(run, self.images[1])
        self.assertEqual(self.status()[1][0]["to_finish"], 1)
        answer = self.run_fleet("--resume")
        self.assertEqual(answer.code, 0, str(answer))
        self.assertEqual([(r["error"] or {}).get("code") for r in answer.records],
                         [None, "undone", None, None])
        self.assert_sizes(5, 4, 5, 5)

    def test_when_all_is_undone_a_new_run_adds_once(self):
        self.undo(self.run_fleet().summary["run"])
        self.assert_sizes(4, 4, 4, 4)
        self.assertEqual(self.run_fleet().code, 0)
        self.assert_sizes(5, 5, 5, 5)


class Last(FinishTest):
    def test_the_newest_run_is_last_within_a_second_and_when_the_clock_goes_back(self):
        future = os.path.join(self.state, "20990101-000000-fffffe.journal")
        for number in range(8):
            if number == 5:
                shutil.copyfile(os.path.join(self.state, newest + ".journal"), future)
            newest = self.run_fleet().summary["run"]
            self.assertEqual(self.status("last")[1][0]["run"], newest)
        self.assertGreater(newest, "20990101-000000")

    def test_runs_that_begin_at_once_have_names_of_their_own(self):
        self.manifest('{version: 1, images: [{path: missing, compat: "1.1"}]}')
        runs = [subprocess.Popen([qbatch.absolute(qbatch.TOOL), *self.flags, self.fleet],
                                 stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                for _ in range(10)]
        for run in runs:
            run.communicate()
        self.assertEqual(len(os.listdir(self.state)), 10)

    def test_a_dry_run_leaves_nothing_and_is_never_last(self):
        run = self.run_fleet().summary["run"]
        before = os.listdir(self.state)
        self.run_fleet("--dry-run")
        qbatch.amend(self.images, flags=[*self.flags, "--dry-run"], size="+1M", keep_undo="on")
        self.assertEqual(os.listdir(self.state), before)
        self.assertEqual(self.status("last")[1][0]["run"], run)


class Owned(FinishTest):
    """Journals and folders that somebody else could have written."""

    def setUp(self):
        super().setUp()
        if os.geteuid() != 0:
            self.skipTest("needs root")

    def refused(self, words):
        for flags in ([], ["--resume"]):
            answer = self.run_fleet(*flags)
            self.assertEqual((answer.code, answer.records), (2, []), str(answer))
            self.assertIn(words, answer.result.err)
        done = self.status("last")[0]
        self.assertEqual(done.code, 2)
        self.assertIn(words, done.err)
        done = proc.run([qbatch.absolute(qbatch.TOOL), "undo", *self.flags, "last"])
        self.assertEqual(done.code, 2)
        self.assertIn(words, done.err)
        self.assert_sizes(5, 5, 4, 5)

    def leave_a_run(self):
        lock = self.locked(self.images[2])
        self.run_fleet()
        lock.close()
        return os.path.join(self.state, os.listdir(self.state)[0])

    def test_a_folder_of_somebody_else_is_refused_where_it_was_asked_for(self):
        self.leave_a_run()
        os.chown(self.state, NOBODY, NOBODY)
        self.refused("belongs to user")
        answer = qbatch.qbatch("--json", "--new-run", self.fleet, cwd=self.folder,
                               env={**os.environ, "STATE_DIRECTORY": self.state})
        self.assertEqual(answer.code, 0, str(answer))
        self.assertIn("is not recorded", answer.result.err)
        self.assertEqual(len(os.listdir(self.state)), 1)

    def test_a_folder_that_others_can_write_is_refused(self):
        self.leave_a_run()
        for mode in (0o770, 0o707, 0o1777):
            os.chmod(self.state, mode)
            self.refused("can write to the state directory")

    def test_a_folder_that_anybody_could_replace_is_refused(self):
        self.leave_a_run()
        os.mkdir(self.path("open"))
        os.rename(self.state, self.path("open/state"))
        self.state = self.path("open/state")
        self.flags = ["--state", self.state]
        os.chmod(self.path("open"), 0o777)
        self.refused("can be replaced by anyone")
        os.chmod(self.path("open"), 0o1777)
        self.assertEqual(self.run_fleet("--resume").code, 0)

    def test_a_journal_of_somebody_else_is_refused(self):
        journal = self.leave_a_run()
        for spoil, words in ((lambda: os.chown(journal, NOBODY, NOBODY), "belongs to user"),
                             (lambda: os.chmod(journal, 0o622), "other users can write"),
                             (lambda: (os.rename(journal, self.path("j")),
                                       os.symlink(self.path("j"), journal)), "is not a link"),
                             (lambda: (os.unlink(journal), os.mkfifo(journal)), "regular file")):
            spoil()
            done = self.status("last")[0]
            self.assertEqual(done.code, 2)
            self.assertIn(words, done.err)
            answer = self.run_fleet("--resume=last")
            self.assertEqual((answer.code, answer.records), (2, []), str(answer))
            self.assertIn(words, answer.result.err)
            if not os.path.islink(journal) and os.path.isfile(journal):
                os.chown(journal, 0, 0)
                os.chmod(journal, 0o600)

    def test_another_user_does_not_believe_the_journals_of_root(self):
        self.leave_a_run()
        os.chmod(self.folder, 0o755)
        os.chmod(self.state, 0o755)
        done = proc.run(["setpriv", "--reuid", str(NOBODY), "--regid", str(NOBODY),
                         "--clear-groups", qbatch.absolute(qbatch.TOOL), "status", *self.flags,
                         "last"])
        self.assertEqual(done.code, 2, done.err)
        self.assertRegex(done.err, "belongs to user 0|Permission denied")


class Failing(FinishTest):
    """Each write and each sync fails in turn: none is called done, and nothing is added twice."""

    def tried(self, call):
        if not strace.works():
            self.skipTest(strace.MISSING)
        hits = 0
        for number in range(1, 40):
            trace = strace.run([qbatch.absolute(qbatch.TOOL), "--io", "posix", "-q", *self.flags,
                                self.fleet], f"{call}:when={number}", cwd=self.folder)
            self.assertFalse(trace.result.crashed, trace.result.err)
            if not trace.hit:
                break
            hits += 1
            self.assertNotEqual(trace.result.code, 0, f"{call} {number}")
            self.assertIn("qbatch: ", trace.result.err)
            # With a journal, whatever is left is finished by the run; without, nothing was touched.
            if trace.result.code != 2:
                answer = self.run_fleet("--resume=last")
                self.assertIn(answer.code, (0, 2), str(answer))
                if answer.code == 2:
                    self.assertRegex(answer.result.err, "is finished")
                self.assert_sizes(5, 5, 5, 5)
            else:
                self.assert_sizes(4, 4, 4, 4)
            shutil.rmtree(self.folder)
            self.setUp()
        self.assertGreater(hits, 3)
        return hits

    def test_of_syncs(self):
        self.tried("fdatasync:error=EIO")

    def test_of_writes(self):
        self.tried("write:error=ENOSPC")

    def failing_sync(self, injection):
        self.manifest("""
            version: 1
            images: [{path: "?.qcow2", size: +1M, keep_undo: on}]
            """)
        return strace.run([qbatch.absolute(qbatch.TOOL), "--io", "posix", "-q", *self.flags,
                           self.fleet], injection, cwd=self.folder)

    def test_a_sync_of_the_end_that_fails_names_the_promises(self):
        if not strace.works():
            self.skipTest(strace.MISSING)
        calls = self.failing_sync("fdatasync:delay_enter=0").log.count("fdatasync(")
        shutil.rmtree(self.folder)
        self.setUp()
        trace = self.failing_sync(f"fdatasync:error=EIO:when={calls}")
        self.assertTrue(trace.hit)
        self.assertEqual(trace.result.code, 1, trace.result.err)
        for promise in ("what no longer holds", "--resume", "undo may refuse"):
            self.assertIn(promise, trace.result.err)


if __name__ == "__main__":
    main()
