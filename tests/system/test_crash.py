"""A process that reads images dies: of one of them, or because somebody kills it."""
import json
import os
import signal
import subprocess
import time
import unittest

import context  # noqa: F401
import family
import guest
import proc
import qbatch
from fixture import OTHER_BUILD, ImageTest, main

MEDDLER = os.environ.get("MEDDLER", "")
SANITIZED = bool(os.environ.get("QBATCH_SANITIZED"))
N = 12


class CrashTest(ImageTest):
    MANIFEST = """
        version: 1
        limits: {{iops: {iops}}}
        defaults: {{{keys}}}
        images: [{{path: "*.qcow2"}}]
        """

    def fleet(self, n=N, deadly=None):
        """Images that an amend to 0.10 writes tables of; the deadly one has another length."""
        first = self.create("00.qcow2", size="4M", cluster_size=4096)
        self.io(first, "write -q -P 7 1M 256k", "write -q -z 2M 64k")
        images = [first] + [self.copy(first, f"{i:02}.qcow2") for i in range(1, n)]
        if deadly is not None:
            os.truncate(images[deadly], os.path.getsize(images[deadly]) + (1 << 20))
        return images

    def fleet_manifest(self, keys="compat: '0.10'", iops=100000):
        return self.manifest(self.MANIFEST.format(keys=keys, iops=iops))

    def start(self, *argv, **variables):
        state = [] if "--no-state" in argv else ["--state", self.path("state")]
        return subprocess.Popen([qbatch.absolute(qbatch.TOOL), "--json", *state, "--io", "posix", *argv], env={**os.environ, **variables}, text=True, stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE)

    def end(self, run):
        out, err = run.communicate(timeout=proc.TIMEOUT_SECONDS)
        self.assertTrue(out, err)
        *records, summary = (json.loads(line) for line in out.splitlines())
        return {os.path.basename(r["path"]): r for r in records}, summary, err

    def worker(self, run, other_than=0):
        until = time.monotonic() + proc.TIMEOUT_SECONDS
        while time.monotonic() < until and run.poll() is None:
            for child in family.children(run.pid):
                if family.name(child) == "qbatch-images" and child != other_than:
                    return child
            time.sleep(0.002)
        raise RuntimeError("there is no process that reads images")

    def assert_all_sound(self, images, before):
        for image in images:
            self.assert_sound(image)
        for image in images[::5]:
            self.assert_same_layers(before, guest.read_all(image))


class Killed(CrashTest):
    def test_who_kills_it_once_changes_no_result(self):
        images = self.fleet(30)
        before = guest.read_all(images[0])
        for number in (signal.SIGKILL, signal.SIGSEGV):
            manifest = self.fleet_manifest("compat: '1.1'" if number == signal.SIGSEGV else "compat: '0.10'", iops=100)
            run = self.start(manifest)
            worker = self.worker(run)
            time.sleep(0.3)
            os.kill(worker, number)
            records, summary, err = self.end(run)
            self.assertEqual(run.returncode, 0, err)
            self.assertEqual(len(records), 30)
            self.assertEqual(summary["changed"] + summary["unchanged"], 30, summary)
            self.assertEqual(err.count("the process that works on the images"), 1, err)
            self.assert_all_sound(images, before)
            status = qbatch.qbatch("status", "--json", "--state", self.path("state"), "last")
            self.assertEqual(status.result.code, 0)

    def test_whatever_is_killed_the_run_ends_and_no_image_is_damaged(self):
        images = self.fleet()
        before = guest.read_all(images[0])
        run = self.start(self.fleet_manifest(iops=200))
        worker, deaths = 0, 0
        while run.poll() is None and deaths < 200:
            try:
                worker = self.worker(run, other_than=worker)
                os.kill(worker, signal.SIGKILL)
                deaths += 1
            except (RuntimeError, ProcessLookupError):
                pass
        records, summary, err = self.end(run)
        self.assertIn(run.returncode, (0, 1, 75), err)
        self.assertEqual(len(records), N)
        self.assertLessEqual({r["error"]["code"] for r in records.values() if r["error"]}, {"crashed", "cancelled"})
        self.assertLess(deaths, 3 * N)
        for image in images:
            self.assertEqual(proc.run(["qemu-img", "check", "-q", image]).code & ~3, 0, image)  # leaks, at most
        again = qbatch.qbatch("--json", "--state", self.path("state"), "--resume", self.path("fleet.yaml"))
        if again.code == 2:  # it was finished
            again = qbatch.qbatch("--json", "--new-run", self.path("fleet.yaml"))
        self.assertEqual(again.code, 0, str(again)[-600:])
        self.assert_all_sound(images, before)

    def test_it_goes_with_its_parent(self):
        self.fleet()
        run = self.start(self.fleet_manifest(iops=1))  # so that it has nothing to tell
        worker = self.worker(run)
        time.sleep(0.2)
        others = [worker, *family.children(worker)]
        run.kill()
        run.communicate()
        until = time.monotonic() + 5
        while any(family.is_there(pid) for pid in others) and time.monotonic() < until:
            time.sleep(0.005)
        self.assertEqual([pid for pid in others if family.is_there(pid)], [])
        answer = qbatch.qbatch("--json", "--state", self.path("state"), "--resume", "--force-resume", self.fleet_manifest())
        self.assertEqual(answer.code, 0, str(answer)[-400:])

    def test_an_interrupt_ends_it_as_ever(self):
        images = self.fleet()
        run = self.start(self.fleet_manifest(iops=20))
        self.worker(run)
        time.sleep(0.3)
        run.send_signal(signal.SIGTERM)
        records, summary, err = self.end(run)
        self.assertEqual(run.returncode, 75, err)
        self.assertGreater(summary["interrupted"], 0)
        for image in images:
            self.assert_sound(image)


@unittest.skipIf(SANITIZED or not os.path.exists(MEDDLER), OTHER_BUILD)
class Deadly(CrashTest):
    def deadly(self, when, image, *argv):
        return self.start(*argv, LD_PRELOAD=MEDDLER, MEDDLE_DEADLY=when, MEDDLE_SIZE=str(os.path.getsize(image)))

    def test_an_image_that_ends_each_process_fails_alone(self):
        for when in ("read", "flip"):
            images = self.fleet(deadly=5)
            before = guest.read_all(images[0])
            sha = proc.sha256(images[5])
            manifest = self.fleet_manifest("lazy_refcounts: on")
            files = {kind: self.path(f"{when}.{kind}") for kind in ("ndjson", "xml", "html", "log")}
            run = self.deadly(when, images[5], "--report", files["ndjson"], "--junit", files["xml"],
                              "--html", files["html"], "--joblog", files["log"], "--prometheus", self.folder, manifest)
            records, summary, err = self.end(run)
            self.assertEqual(run.returncode, 1, err)
            self.assertEqual([r for r in records if records[r]["status"] == "failed"], ["05.qcow2"], err)
            error = records["05.qcow2"]["error"]
            self.assertEqual(error["code"], "crashed")
            self.assertRegex(error["message"], "ended by signal 9 .*, and so was one that had this image alone; the image "
                                               "is as it was$")
            self.assertEqual(summary["failed"], 1)
            self.assertEqual(summary["changed"] + summary["unchanged"], N - 1)
            self.assertEqual(summary["errors"], {"crashed": 1})
            self.assertEqual(proc.sha256(images[5]), sha)
            self.assertLessEqual(err.count("the process that works on the images was ended"), 3, err)
            metrics = [self.path(name) for name in os.listdir(self.folder) if name.endswith(".prom")]
            self.assertTrue(metrics)
            for path in (files["ndjson"], files["xml"], files["html"], *metrics):
                with open(path, encoding="utf-8") as f:
                    self.assertIn("crashed", f.read(), path)
                os.unlink(path)
            status = qbatch.qbatch("status", "--state", self.path("state"), "last", "--json")
            self.assertIn("crashed", status.result.out)
            self.assert_all_sound(images, before)
            again = qbatch.qbatch("--json", "--state", self.path("state"), "--retry-failed", manifest)
            self.assertEqual((again.code, again.summary["changed"]), (0, 1), str(again)[-400:])
            for image in images:
                os.unlink(image)

    def test_one_that_dies_after_its_commit_is_found_amended(self):
        images = self.fleet(deadly=3)
        before = guest.read_all(images[0])
        records, summary, err = self.end(self.deadly("flipped", images[3], self.fleet_manifest("lazy_refcounts: on")))
        self.assertEqual(summary["failed"], 0, err)
        self.assertEqual(records["03.qcow2"]["status"], "unchanged")
        self.assert_all_sound(images, before)

    def test_a_size_is_added_once_with_and_without_a_journal(self):
        for state in ([], ["--no-state"]):
            images = self.fleet(deadly=3)
            run = self.deadly("flipped", images[3], self.fleet_manifest("size: +1M"), *state)
            records, summary, err = self.end(run)
            self.assertEqual((run.returncode, summary["failed"]), (0, 0), err)
            for image in images:
                self.assertEqual(qbatch.qbatch("info", "--json", image).first["virtual-size"], 5 << 20, image)
                os.unlink(image)

    def test_too_many_failures_count_those_of_before(self):
        images = self.fleet(deadly=0)
        manifest = self.manifest("""
            version: 1
            policy: {on_error: stop}
            limits: {wave: 1}
            images: [{path: "*.qcow2", lazy_refcounts: on}]
            """)
        records, summary, err = self.end(self.deadly("read", images[0], manifest))
        self.assertEqual(records["00.qcow2"]["error"]["code"], "crashed")
        self.assertEqual((summary["failed"], summary["skipped"]), (1, N - 1), err)

    def test_a_rollout_ends_in_the_step(self):
        images = self.fleet(deadly=1)
        manifest = self.manifest("""
            version: 1
            rollout: {steps: [4], order: manifest}
            images: [{path: "*.qcow2", lazy_refcounts: on}]
            """)
        records, summary, err = self.end(self.deadly("flip", images[1], manifest))
        self.assertEqual(records["01.qcow2"]["error"]["code"], "crashed", err)
        self.assertEqual({records[f"{i:02}.qcow2"]["status"] for i in range(4, N)}, {"interrupted"}, err)
        self.assertIn("the rollout ends", err)
        again = qbatch.qbatch("--json", "--state", self.path("state"), "--resume", manifest)
        self.assertEqual(again.code, 0, str(again)[-600:])
        for image in images:
            self.assert_sound(image)

    def amended(self):
        """Images of a run that can be undone, and what they were."""
        images = self.fleet()
        self.io(images[5], "write -q -P 9 3M 128k")
        before = [proc.sha256(image) for image in images]
        manifest = self.manifest("""
            version: 1
            images: [{path: "*.qcow2", lazy_refcounts: on, keep_undo: on}]
            """)
        done = qbatch.qbatch("--json", "--state", self.path("state"), manifest)
        self.assertEqual((done.code, done.summary["changed"]), (0, N), str(done)[-400:])
        return images, before

    def undo(self, when, image, *flags):
        return self.end(subprocess.Popen(
            [qbatch.absolute(qbatch.TOOL), "undo", "--json", "--io", "posix", "--state", self.path("state"), *flags, "last"], text=True,
            env={**os.environ, "LD_PRELOAD": MEDDLER, "MEDDLE_DEADLY": when, "MEDDLE_INODE": str(os.stat(image).st_ino)},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE))

    def test_an_undo_goes_on_with_the_others(self):
        images, before = self.amended()
        sha = proc.sha256(images[5])
        for when in ("read", "flip", "timed"):
            records, summary, err = self.undo(when, images[5])
            self.assertEqual([r for r in records if records[r]["status"] == "failed"], ["05.qcow2"], err)
            self.assertEqual(records["05.qcow2"]["error"]["code"], "crashed")
            self.assertIn("the image is as it was", records["05.qcow2"]["error"]["message"])
            self.assertNotIn("told what no process of this program tells", err)
            self.assertLessEqual(err.count("the process that works on the images"), 3, err)
            self.assertEqual((summary["changed"] + summary["unchanged"], summary["failed"]), (len(records) - 1, 1), summary)
            self.assertEqual(proc.sha256(images[5]), sha)
        self.assertEqual([proc.sha256(image) for image in images if image != images[5]],
                         [was for i, was in enumerate(before) if i != 5])
        again = qbatch.qbatch("undo", "--json", "--state", self.path("state"), "last")
        self.assertEqual((again.code, again.summary["changed"]), (0, 1), str(again)[-400:])
        self.assertEqual([proc.sha256(image) for image in images], before)

    def test_an_undo_that_dies_after_its_commit_is_found_done(self):
        images, before = self.amended()
        records, summary, err = self.undo("flipped", images[5])
        self.assertEqual((summary["failed"], records["05.qcow2"]["status"]), (0, "unchanged"), err)
        self.assertEqual([proc.sha256(image) for image in images], before)
        again = qbatch.qbatch("undo", "--json", "--state", self.path("state"), "last")
        self.assertEqual(again.code, 2, str(again)[-400:])  # it is recorded that all of them are

    def giving_up(self):
        """Images of a run that kept clusters for its undo."""
        images = self.fleet()
        self.io(images[5], "write -q -P 9 3M 128k")
        before = [guest.read_all(image) for image in (images[0], images[5])]
        done = qbatch.qbatch("--json", "--state", self.path("state"), self.manifest("""
            version: 1
            images: [{path: "*.qcow2", compat: "0.10", keep_undo: on}]
            """))
        self.assertEqual((done.code, done.summary["changed"]), (0, N), str(done)[-400:])
        return images, before

    def assert_given_up(self, images, before):
        again = qbatch.qbatch("undo", "--discard-undo", "--json", "--state", self.path("state"), "last")
        self.assertEqual(again.code, 2, str(again)[-400:])  # it is recorded of all of them
        for image in images:
            self.assert_sound(image)
        for image, was in zip((images[0], images[5]), before):
            self.assert_same_layers(was, guest.read_all(image))

    def test_where_undos_are_given_up_it_goes_on_with_the_others(self):
        images, before = self.giving_up()
        sha = proc.sha256(images[5])
        for when in ("read", "flip"):
            records, summary, err = self.undo(when, images[5], "--discard-undo")
            self.assertEqual([r for r in records if records[r]["status"] == "failed"], ["05.qcow2"], err)
            self.assertEqual(records["05.qcow2"]["error"]["code"], "crashed")
            self.assertIn("the image is as it was", records["05.qcow2"]["error"]["message"])
            self.assertNotIn("told what no process of this program tells", err)
            self.assertEqual((summary["changed"] + summary["unchanged"], summary["failed"]), (len(records) - 1, 1), summary)
            if when == "read":
                self.assertEqual(proc.sha256(images[5]), sha)
        last = qbatch.qbatch("undo", "--discard-undo", "--json", "--state", self.path("state"), "last")
        self.assertEqual((last.code, last.summary["changed"]), (0, 1), str(last)[-400:])
        self.assert_given_up(images, before)

    def test_one_given_up_by_a_process_that_died_after_its_commit_is_found_so(self):
        images, before = self.giving_up()
        records, summary, err = self.undo("flipped", images[5], "--discard-undo")
        self.assertEqual((summary["failed"], records["05.qcow2"]["status"]), (0, "unchanged"), err)
        self.assert_given_up(images, before)


if __name__ == "__main__":
    main()
