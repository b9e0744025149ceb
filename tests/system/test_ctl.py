"""qbatch ctl: a run that is under way is looked at, paused, continued and ended."""
import contextlib
import hashlib
import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import time
import unittest

import context  # noqa: F401
import proc
import qbatch
import strace
from fixture import ImageTest, main
from loop_device import LoopTest

PATIENCE = 60  # seconds, for what comes
RECVFROM = {"x86_64": 45}.get(os.uname().machine, 207)  # the number of that system call


class CtlTest(ImageTest):
    def setUp(self):
        super().setUp()
        self.state = self.path("state")
        self.runs = []

    def tearDown(self):
        for run in self.runs:
            if run.poll() is None:
                run.kill()
            run.communicate()
        super().tearDown()

    def fleet(self, images=6, rate="256k", kib=128, more=""):
        """Images that each take a while: so many KiB are written as zeros, at that rate."""
        self.raw("base.raw", "4M", "write -q -P 9 0 4M")
        first = self.create("00.qcow2", size="4M", backing="base.raw", backing_fmt="raw", cluster_size=4096)
        self.io(first, f"write -q -z -u 0 {kib}k")
        self.images = [first] + [self.copy(first, f"{i:02}.qcow2") for i in range(1, images)]
        return self.manifest(f"""
            version: 1
            limits: {{rate: {rate}, wave: 1}}
            {more}
            images: [{{path: "*.qcow2", compat: "0.10", zero_method: write}}]
            """)

    def waiting_fleet(self, more="rollout: {steps: [1], soak: 1h}"):
        """Images that are amended at once, of a run that then waits."""
        self.images = [self.create(f"{i:02}.qcow2") for i in range(3)]
        return self.manifest(f"""
            version: 1
            {more}
            images: [{{path: "*.qcow2", lazy_refcounts: on}}]
            """)

    def start(self, fleet, *flags, command=(), env=None):
        """A run of a few quick images has no socket where it gives up its rights; one of steps has."""
        with open(fleet, encoding="utf-8") as f:
            flags += () if "rollout" in f.read() or "--sandbox" in flags else ("--sandbox", "off")
        run = subprocess.Popen([qbatch.absolute(qbatch.TOOL), *command, "--json", "--state", self.state, *flags, fleet], env=env,
                               text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.runs.append(run)
        return run

    def end(self, run, code):
        out, err = run.communicate(timeout=PATIENCE)
        self.assertEqual(run.returncode, code, out + err)
        lines = [json.loads(line) for line in out.splitlines()]
        return lines[:-1], lines[-1], err

    def ctl(self, *words, code=0):
        answer = qbatch.qbatch("ctl", "--state", self.state, *words)
        self.assertEqual(answer.code, code, str(answer))
        return answer.result

    def status(self, *run):
        return json.loads(self.ctl("--json", *run, "status").out)

    def socket_path(self):
        names = [n for n in os.listdir(self.state) if n.endswith(".ctl")]
        self.assertEqual(len(names), 1)
        return os.path.join(self.state, names[0])

    def until(self, wanted):
        """The status once it is as wanted; the socket appears before anything is amended."""
        end = time.monotonic() + PATIENCE
        answer = None
        while time.monotonic() < end:
            done = qbatch.qbatch("ctl", "--state", self.state, "--json", "status")
            if done.code == 0:
                answer = json.loads(done.result.out)
                if wanted(answer):
                    return answer
            if not any(run.poll() is None for run in self.runs):
                break
            time.sleep(0.02)
        self.fail(f"it does not come to that: {answer}\n{done}\n" +
                  "\n".join(str(run.communicate()) for run in self.runs if run.poll() is not None))

    def hashes(self):
        def of(path):
            with open(path, "rb") as f:
                return hashlib.sha256(f.read()).hexdigest()
        return [of(image) for image in self.images]

    def journal(self):
        name = sorted(n for n in os.listdir(self.state) if n.endswith(".journal"))[-1]
        with open(os.path.join(self.state, name), "rb") as f:
            return [json.loads(line[9:]) for line in f.read().splitlines()]


class Watched(CtlTest):
    def test_who_watches_sees_that_the_run_waits_and_for_what(self):
        run = self.start(self.waiting_fleet(), "--progress", "json")
        self.until(lambda s: s["waits_for"] == "rollout.soak")
        time.sleep(1.5)
        self.ctl("limits", "deadline=1")
        _, _, err = self.end(run, 75)
        told = [json.loads(line) for line in err.splitlines() if line.startswith("{")]
        self.assertIn(("rollout.soak", None), [(t["waits_for"], t["eta_seconds"]) for t in told])
        self.assertEqual([t["eta_seconds"] for t in told if t["waits_for"]], [None] * sum(1 for t in told if t["waits_for"]))
        self.assertIsNone(told[-1]["waits_for"])

    def test_who_watches_sees_that_the_run_is_paused(self):
        run = self.start(self.waiting_fleet("rollout: {steps: [1], soak: 2}"),
                         "--progress", "json")
        self.until(lambda s: s["waits_for"] == "rollout.soak")
        self.ctl("pause")
        self.until(lambda s: s["state"] == "paused" and s["step"] == 2)
        time.sleep(1)
        self.ctl("continue")
        _, _, err = self.end(run, 0)
        self.assertIn("paused", [json.loads(line)["waits_for"] for line in err.splitlines() if line.startswith("{")])


    def test_who_watches_sees_that_the_command_of_a_gate_runs_and_pauses_behind_it(self):
        """A command that does not come to its end looks like a run that does not, unless that is said."""
        go = self.path("go")
        run = self.start(self.waiting_fleet(f"""
            rollout: {{steps: [1], gate: {{command: [sh, -c, 'until [ -e "{go}" ]; do sleep 0.1; done']}}}}
            """), "--progress", "json")
        s = self.until(lambda s: s["waits_for"] == "rollout.gate")
        self.assertEqual((s["state"], s["done"]), ("waiting", 1))
        self.ctl("pause")
        self.assertEqual(self.status()["state"], "paused")
        time.sleep(1.2)
        with open(go, "w", encoding="utf-8"):
            pass
        s = self.until(lambda s: s["step"] == 2)
        time.sleep(0.5)
        self.assertEqual((self.status()["state"], self.status()["done"]), ("paused", 1))
        self.ctl("continue")
        _, summary, err = self.end(run, 0)
        self.assertEqual(summary["changed"], 3)
        told = [json.loads(line) for line in err.splitlines() if line.startswith("{")]
        self.assertIn(("rollout.gate", None), [(t["waits_for"], t["eta_seconds"]) for t in told])


class Traced(CtlTest):
    def has_socket(self, image, keys="lazy_refcounts: on", more=""):
        manifest = self.manifest(f"""
            version: 1
            {more}
            images: [{{path: "{image}", {keys}}}]
            """)
        traced = strace.run([qbatch.absolute(qbatch.TOOL), "--state", self.state, "--sandbox", "auto", manifest],
                            "bind:delay_enter=1")
        self.assertEqual(traced.result.code, 0, str(traced.result))
        self.assertEqual([n for n in os.listdir(self.state) if n.endswith(".ctl")], [])
        return ".ctl" in traced.log

    def image(self, name, kib=64):
        path = self.create(name, size="256M", compat="0.10")
        self.io(path, f"write -q -P 7 0 {kib}k", "write -q -z 200M 1M")
        return path


@unittest.skipUnless(strace.works(), strace.MISSING)
class Reachable(Traced):
    """A few images: a run that gave up its rights has a socket where it may take long."""

    def test_a_quick_one_has_none(self):
        if os.environ.get("QBATCH_SANITIZED"):
            self.leave_out("a run that gives up its rights", "sanitizers keep a process from doing so")
            return
        self.assertFalse(self.has_socket(self.image("a.qcow2"), 'compat: "1.1"'))

    def test_what_an_image_takes_on_disk(self):
        self.assertTrue(self.has_socket(self.image("a.qcow2", 100 << 10), 'compat: "1.1"'))

    def test_what_a_request_writes_or_reads(self):
        for i, (keys, more) in enumerate((("size: 300M, preallocation: metadata", ""),
                                          ("lazy_refcounts: on", "policy: {verify: content}"),
                                          ("lazy_refcounts: on, zero_method: write", ""),
                                          ("lazy_refcounts: on", "policy: {on_locked: wait}"),
                                          ("lazy_refcounts: on", "policy: {extend_command: ['true']}"))):
            with self.subTest(keys=keys, more=more):
                self.assertTrue(self.has_socket(self.image(f"{i}.qcow2"), f'compat: "1.1", {keys}', more))

    def test_one_that_waits_for_a_guest_is_stopped(self):
        image = self.image("a.qcow2")
        self.use(image)
        run = self.start(self.manifest(f"""
            version: 1
            policy: {{on_locked: wait, lock_timeout: 1h}}
            images: [{{path: "{image}", compat: "1.1"}}]
            """), "--sandbox", "auto")
        self.until(lambda s: s["wave"] > 1)  # it was tried again
        self.ctl("stop")
        self.end(run, 75)


@unittest.skipUnless(strace.works(), strace.MISSING)
class OnDevice(Traced, LoopTest):
    def test_a_block_device(self):
        self.assertTrue(self.has_socket(self.on_device(self.image("a.qcow2"), 8 << 20), 'compat: "1.1"'))


class Paused(CtlTest):
    def test_a_large_run_that_gave_up_its_rights(self):
        fleet = self.fleet(images=10)
        run = self.start(fleet, "--sandbox", "auto")
        self.until(lambda s: s["done"] >= 1)
        self.ctl("pause")
        self.until(lambda s: s["state"] == "paused")
        self.ctl("continue")
        _, summary, _ = self.end(run, 0)
        self.assertEqual([a["what"] for a in summary["hand"]], ["pause", "continue"])
        self.assertEqual(summary["changed"], 10)
        if not os.environ.get("QBATCH_SANITIZED"):
            self.assertTrue(summary["sandbox"]["in_force"])
        self.assertEqual([n for n in os.listdir(self.state) if n.endswith(".ctl")], [])

    def test_no_image_is_amended_until_it_continues(self):
        run = self.start(self.fleet())
        self.until(lambda s: s["done"] >= 1)
        self.assertIn("no new wave", self.ctl("pause").out)
        s = self.until(lambda s: s["state"] == "paused")
        self.assertEqual((s["under_way"], s["busy"]), (0, []))
        self.assertLess(s["done"], len(self.images))
        before = self.hashes()
        time.sleep(1.5)
        self.assertEqual(self.hashes(), before)
        self.assertEqual(self.status()["done"], s["done"])
        self.assertIn("already", self.ctl("pause").out)
        self.ctl("continue")
        records, summary, err = self.end(run, 0)
        self.assertEqual([r["status"] for r in records], ["changed"] * len(self.images))
        self.assertEqual([a["what"] for a in summary["hand"]], ["pause", "continue"])
        self.assertEqual(summary["hand"][0]["uid"], os.geteuid())
        self.assertTrue(summary["hand"][0]["who"])
        self.assertRegex(summary["hand"][0]["at"], r"^20\d\d-\d\d-\d\dT")
        self.assertEqual([r["what"] for r in self.journal() if r["is"] == "hand"], ["pause", "continue"])
        self.assertIn("qbatch ctl: pause, by ", err)

    def test_a_paused_run_can_be_stopped_and_resumed(self):
        fleet = self.fleet(images=4)
        run = self.start(fleet)
        self.until(lambda s: s["done"] >= 1)
        self.ctl("pause")
        self.until(lambda s: s["state"] == "paused")
        self.ctl("stop")
        records, _, _ = self.end(run, 75)
        self.assertEqual({r["status"] for r in records}, {"changed", "interrupted"})
        run = self.start(fleet, "--resume")
        records, summary, _ = self.end(run, 0)
        self.assertEqual({r["status"] for r in records}, {"changed", "unchanged"})
        self.assertNotIn("hand", summary)

    def test_the_deadline_passes_meanwhile(self):
        run = self.start(self.waiting_fleet(""), "--deadline", "1h")
        self.end(run, 0)
        run = self.start(self.fleet(), "--deadline", "2")
        self.until(lambda s: s["images"] == 6)
        self.ctl("pause")
        self.end(run, 75)


class Ended(CtlTest):
    def test_stop_finishes_what_is_under_way(self):
        run = self.start(self.fleet(images=3, rate="16k", kib=1024))
        self.until(lambda s: s["busy"] and s["busy"][0]["doing"] == "writing")
        self.ctl("stop")
        self.assertEqual(self.status()["state"], "stopping")
        self.assertIn("already", self.ctl("stop").out)
        self.ctl("limits", "rate=0")  # it has been seen
        records, summary, _ = self.end(run, 75)
        self.assertEqual(records[0]["status"], "changed")
        self.assertEqual([r["status"] for r in records[1:]], ["interrupted"] * 2)
        self.assertIn("--resume", summary["finish"])

    def test_stop_now_leaves_it_as_it_was(self):
        run = self.start(self.fleet(images=3, rate="64k", kib=1024))
        self.until(lambda s: s["busy"] and s["busy"][0]["doing"] == "writing")
        self.ctl("stop", "--now")
        records, summary, _ = self.end(run, 75)
        self.assertEqual([r["status"] for r in records], ["interrupted"] * 3)
        self.assertEqual(summary["hand"][0]["what"], "stop --now")
        for image in self.images:
            self.assertEqual(json.loads(proc.must(["qemu-img", "info", "--output=json", image]))
                             ["format-specific"]["data"]["compat"], "1.1")

    def test_a_soak_ends(self):
        run = self.start(self.waiting_fleet())
        s = self.until(lambda s: s["waits_for"] == "rollout.soak")
        self.assertEqual((s["state"], s["step"], s["steps"], s["done"]), ("waiting", 1, 2, 1))
        text = self.ctl("status").out
        self.assertIn("waiting for rollout.soak", text)
        self.assertIn("1 of 3 done, 0 failed, 0 under way", text)
        self.ctl("pause")
        self.until(lambda s: s["state"] == "paused")
        self.ctl("stop")
        records, _, _ = self.end(run, 75)
        self.assertEqual(sorted(r["status"] for r in records), ["changed", "interrupted", "interrupted"])
        self.assertEqual([r for r in self.journal() if r["is"] == "step"], [])


class Reached(CtlTest):
    def test_the_socket_is_of_the_user_alone_and_goes_with_the_run(self):
        run = self.start(self.waiting_fleet())
        self.until(lambda s: s["waits_for"])
        self.assertEqual(stat.S_IMODE(os.stat(self.socket_path()).st_mode), 0o600)
        name = os.path.basename(self.socket_path())[:-len(".ctl")]
        self.assertEqual(self.status(name)["run"], name)
        self.assertEqual(self.status("last")["pid"], run.pid)
        self.ctl("stop")
        self.end(run, 75)
        self.assertEqual([n for n in os.listdir(self.state) if n.endswith(".ctl")], [])
        self.assertIn("no run is under way", self.ctl("status", code=2).err)
        self.assertIn("is not under way", self.ctl("last", "status", code=2).err)

    def test_a_folder_whose_name_is_longer_than_an_address(self):
        self.state = self.path("s" * 150)
        run = self.start(self.waiting_fleet())
        self.until(lambda s: s["waits_for"])
        self.ctl("stop")
        self.end(run, 75)

    def test_the_socket_of_a_killed_run_is_recognised_and_replaced(self):
        fleet = self.waiting_fleet()
        run = self.start(fleet)
        self.until(lambda s: s["waits_for"])
        path = self.socket_path()
        proc.kill_whole(run, self.folder)
        self.assertTrue(os.path.exists(path))
        self.assertIn("was killed", self.ctl("last", "status", code=2).err)
        run = self.start(fleet, "--resume")
        self.until(lambda s: s["waits_for"])
        self.assertEqual(self.socket_path(), path)
        self.ctl("stop")
        self.end(run, 75)

    def test_of_two_runs_one_has_to_be_named(self):
        first = self.start(self.waiting_fleet())
        self.until(lambda s: s["waits_for"])
        name = os.path.basename(self.socket_path())[:-len(".ctl")]
        os.mkdir(self.path("other"))
        for i in range(3):
            shutil.copy(self.images[i], self.path(f"other/{i}.qcow2"))
            qbatch.amend(self.path(f"other/{i}.qcow2"), lazy_refcounts="off")
        other = self.manifest("""
            version: 1
            rollout: {steps: [1], soak: 1h}
            images: [{path: "other/*.qcow2", lazy_refcounts: on}]
            """, "other.yaml")
        second = self.start(other)
        end = time.monotonic() + PATIENCE
        while sum(n.endswith(".ctl") for n in os.listdir(self.state)) < 2 and time.monotonic() < end:
            time.sleep(0.02)
        self.assertIn("2 runs are under way", self.ctl("stop", code=2).err)
        self.ctl(name, "stop")
        self.end(first, 75)
        self.ctl("stop")
        self.end(second, 75)

    def test_what_is_no_order_is_refused(self):
        for words in (["ctl"], ["ctl", "halt"], ["ctl", "last", "stop", "x"], ["ctl", "--now", "status"], ["ctl", "skip"],
                      ["ctl", "skip", "a", "b"], ["ctl", "last", "limits"], ["ctl", "reload", "x"]):
            self.assertEqual(qbatch.qbatch(*words).code, 2, words)


class Skipped(CtlTest):
    """The images are amended one after the other; while the run is paused, those that come are known."""

    def paused(self, images=8, more="", flags=()):
        self.fleet_path = self.fleet(images=images, more=more)
        run = self.start(self.fleet_path, *flags)
        self.until(lambda s: s["done"] >= 1)
        self.ctl("pause")
        self.until(lambda s: s["state"] == "paused")
        return run

    def version_of(self, image):
        return json.loads(proc.must(["qemu-img", "info", "--output=json", image]))["format-specific"]["data"]["compat"]

    def test_an_image_that_is_not_begun_stays_as_it_is(self):
        run = self.paused()
        os.symlink(self.images[-2], self.path("by-another-name"))
        before = self.hashes()
        self.assertIn("left as it is", self.ctl("skip", self.images[-1]).out)
        self.assertIn("left as it is", self.ctl("skip", self.path("by-another-name")).out)
        self.assertIn("skipped already", self.ctl("skip", self.images[-1]).out)
        for image, why in ((self.images[0], "has its result"), (self.path("base.raw"), "does not have the image"),
                           (self.path("nowhere"), "does not have the image")):
            self.assertIn(why, self.ctl("skip", image, code=1).err)
        self.ctl("continue")
        records, summary, err = self.end(run, 3)
        self.assertEqual([r["status"] for r in records], ["changed"] * 6 + ["skipped"] * 2)
        self.assertEqual([r["error"] and r["error"]["code"] for r in records], [None] * 6 + ["by_hand"] * 2)
        self.assertEqual(self.hashes()[-2:], before[-2:])
        self.assertNotIn("finish", {k: v for k, v in summary.items() if v})
        skips = [a for a in summary["hand"] if a["what"] == "skip"]
        self.assertEqual([os.path.basename(a["path"]) for a in skips], ["07.qcow2", "06.qcow2"])
        self.assertIn(f"qbatch ctl: skip {self.images[-1]}, by ", err)
        self.assertEqual([r["path"] for r in self.journal() if r.get("what") == "skip"],
                         [self.images[-1], self.images[-2]])

    def test_one_that_is_under_way_is_not_skipped_any_more(self):
        run = self.start(self.fleet(images=2, rate="64k", kib=1024))
        s = self.until(lambda s: s["busy"] and s["busy"][0]["doing"] == "writing")
        self.assertIn("under way", self.ctl("skip", s["busy"][0]["path"], code=1).err)
        self.ctl("limits", "rate=0")
        self.end(run, 0)

    def test_it_is_looked_up_from_another_directory(self):
        run = self.paused()
        answer = proc.run([qbatch.absolute(qbatch.TOOL), "ctl", "--state", self.state, "skip", "07.qcow2"], cwd=self.folder)
        self.assertEqual(answer.code, 0, answer.err)
        self.ctl("continue")
        records, _, _ = self.end(run, 3)
        self.assertEqual(records[7]["status"], "skipped")

    def test_it_stays_skipped_when_the_run_is_resumed_and_a_new_run_amends_it(self):
        run = self.paused()
        self.ctl("skip", self.images[6])
        proc.kill_whole(run, self.folder)
        shown = json.loads(qbatch.qbatch("status", "--state", self.state, "--json", "last").result.out.splitlines()[0])
        self.assertEqual((shown["skipped"], shown["to_finish"]), (1, 8 - shown["changed"] - 1))
        run = self.start(self.fleet_path, "--resume")
        records, summary, _ = self.end(run, 3)
        self.assertEqual([r["status"] for r in records][6:], ["skipped", "changed"])
        self.assertEqual(records[6]["error"]["code"], "by_hand")
        self.assertNotIn("hand", summary)
        self.assertEqual(self.version_of(self.images[6]), "1.1")
        shown = json.loads(qbatch.qbatch("status", "--state", self.state, "--json", "last").result.out.splitlines()[0])
        self.assertEqual((shown["state"], shown["to_finish"], shown["skipped"]), ("ended", 0, 1))
        self.assertEqual([a["what"] for a in shown["hand"]], ["pause", "skip"])
        run = self.start(self.fleet_path)
        records, _, _ = self.end(run, 0)
        self.assertEqual([r["status"] for r in records], ["unchanged"] * 6 + ["changed", "unchanged"])

    def test_a_run_that_is_stopped_meanwhile_has_skipped_it_all_the_same(self):
        run = self.paused()
        self.ctl("skip", self.images[7])
        self.ctl("stop")
        records, _, _ = self.end(run, 75)
        self.assertEqual([r["status"] for r in records[6:]], ["interrupted", "skipped"])
        self.assertEqual(self.end(self.start(self.fleet_path, "--resume"), 3)[0][7]["error"]["code"], "by_hand")

    def test_an_overlay_is_amended_where_its_base_was_skipped(self):
        self.create("first.qcow2")
        base = self.create("base.qcow2")
        overlay = self.create("over.qcow2", backing="base.qcow2")
        self.images = [self.path("first.qcow2"), base, overlay]
        run = self.start(self.manifest("""
            version: 1
            rollout: {steps: [1], order: manifest, soak: 1h}
            images: [{path: [first.qcow2, over.qcow2, base.qcow2], lazy_refcounts: on}]
            """))
        self.until(lambda s: s["waits_for"] == "rollout.soak")
        self.ctl("skip", base)
        self.ctl("stop")
        self.end(run, 75)
        with open(self.path("fleet.yaml"), encoding="utf-8") as f:
            text = f.read()
        with open(self.path("fleet.yaml"), "w", encoding="utf-8") as f:
            f.write(text.replace("soak: 1h", "soak: 0 "))
        records, _, _ = self.end(self.start(self.path("fleet.yaml"), "--resume", "--force-resume"), 3)
        self.assertEqual({os.path.basename(r["path"]): r["status"] for r in records},
                         {"first.qcow2": "unchanged", "over.qcow2": "changed", "base.qcow2": "skipped"})

    def test_another_image_is_drawn_in_its_place(self):
        self.images = [self.create(f"{i:02}.qcow2") for i in range(4)]
        text = """
            version: 1
            rollout: {steps: [1, 2], order: manifest, soak: SOAK}
            images: [{path: "*.qcow2", lazy_refcounts: on}]
            """
        run = self.start(self.manifest(text.replace("SOAK", "1h")))
        self.until(lambda s: s["waits_for"] == "rollout.soak")
        self.ctl("skip", self.images[1])
        self.assertEqual(self.status()["done"], 2)
        self.ctl("stop")
        self.end(run, 75)
        run = self.start(self.manifest(text.replace("SOAK", "0")), "--resume", "--force-resume")
        records, summary, _ = self.end(run, 3)
        self.assertEqual({r["path"]: r["status"] for r in records},
                         dict(zip(self.images, ["unchanged", "skipped", "changed", "changed"])))
        self.assertEqual([s["changed"] for s in summary["rollout"]["steps"]], [0, 1, 1])

    def test_one_that_waits_for_a_lock(self):
        self.images = [self.create(f"{i:02}.qcow2") for i in range(2)]
        self.use(self.images[1])
        run = self.start(self.manifest("""
            version: 1
            policy: {on_locked: wait, lock_timeout: 1h}
            images: [{path: "*.qcow2", lazy_refcounts: on}]
            """))
        self.until(lambda s: s["done"] == 1 and s["under_way"] == 0)
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end and \
                qbatch.qbatch("ctl", "--state", self.state, "skip", self.images[1]).code == 1:
            time.sleep(0.02)  # it is looked at just now
        self.assertEqual([r["status"] for r in self.end(run, 3)[0]], ["changed", "skipped"])


class Limited(CtlTest):
    def test_a_rate_holds_at_once_for_the_image_under_way(self):
        run = self.start(self.fleet(images=1, rate="16k", kib=4096))  # more than four minutes
        self.until(lambda s: s["busy"] and s["busy"][0]["doing"] == "writing")
        self.assertIn("rate=20480; rate, iops and deadline hold at once", self.ctl("limits", "rate=20k").out)
        self.assertEqual(self.status()["limits"], {"rate": "20480"})
        self.assertIn("limit      rate=20480", self.ctl("status").out)
        self.ctl("limits", "rate=0")
        records, summary, _ = self.end(run, 0)
        self.assertEqual(records[0]["status"], "changed")
        self.assertEqual([a["what"] for a in summary["hand"]], ["limits rate=20480", "limits rate=0"])

    def test_a_run_without_a_limit_can_get_one(self):
        run = self.start(self.fleet(images=3, kib=1024), "--set", "zero_method=write")
        self.until(lambda s: s["busy"] and s["busy"][0]["doing"] == "writing")
        self.ctl("limits", "rate=1k", "iops=1000")
        first = self.status()["written_bytes"]
        time.sleep(1.5)
        self.assertLess(self.status()["written_bytes"] - first, 512 << 10)
        self.ctl("limits", "rate=0", "iops=0")
        self.end(run, 0)

    def test_a_window_opens(self):
        hour = time.localtime().tm_hour
        closed = f"{(hour + 2) % 24:02}:00-{(hour + 3) % 24:02}:00"
        run = self.start(self.waiting_fleet(f'limits: {{window: "{closed}"}}'))
        self.until(lambda s: s["waits_for"] == "limits.window")
        self.ctl("limits", "window=any")
        records, _, _ = self.end(run, 0)
        self.assertEqual([r["status"] for r in records], ["changed"] * 3)

    @unittest.skipUnless(os.path.exists("/usr/share/zoneinfo/Asia/Tokyo"), "no time zones are installed")
    def test_a_window_is_in_local_time_also_where_the_run_gave_up_its_rights(self):
        hour = time.gmtime().tm_hour  # nine hours later in Tokyo
        fleet, tokyo = self.fleet(images=12, rate="512k"), {**os.environ, "TZ": "Asia/Tokyo"}
        run = self.start(fleet, "--sandbox", "auto", env=tokyo)
        self.until(lambda s: s["done"] >= 1)
        self.ctl("stop")
        self.end(run, 75)
        run = self.start(fleet, "--sandbox", "auto", "--resume", env=tokyo)  # it needs no name, which has the time
        self.until(lambda s: s["under_way"] >= 1)
        self.ctl("limits", f"window={(hour - 2) % 24:02}:00-{(hour + 2) % 24:02}:00")
        self.until(lambda s: s["waits_for"] == "limits.window")
        self.ctl("limits", "window=any", "rate=0")
        _, summary, _ = self.end(run, 0)
        if not summary["sandbox"]["in_force"]:
            self.leave_out("the sandbox", "this host has none")

    def test_a_few_images_at_a_rate_can_be_reached_too(self):
        run = self.start(self.fleet(images=1, rate="16k", kib=4096), "--sandbox", "auto")
        self.until(lambda s: s["busy"] and s["busy"][0]["doing"] == "writing")
        self.ctl("limits", "rate=0")
        self.end(run, 0)

    def test_more_images_at_once(self):
        run = self.start(self.fleet(images=6, rate="64k", kib=256))
        self.until(lambda s: s["done"] >= 1)
        self.assertLessEqual(self.status()["under_way"], 1)
        self.ctl("limits", "wave=4", "rate=128k")
        self.until(lambda s: s["under_way"] > 1)
        self.ctl("limits", "rate=0")
        self.end(run, 0)

    def test_a_deadline_that_has_passed_ends_the_run(self):
        run = self.start(self.waiting_fleet(), "--deadline", "1h")
        self.until(lambda s: s["waits_for"])
        self.ctl("limits", "deadline=0.1")
        self.end(run, 75)

    def test_what_cannot_be_set_is_refused_by_name_and_nothing_is_set(self):
        run = self.start(self.waiting_fleet())
        self.until(lambda s: s["waits_for"])
        for words, why in ((["rat=1M"], 'no key "rat"; did you mean "rate"?'),
                           (["jobs=2"], "limits.jobs cannot change while a run is in progress"),
                           (["memory=1G"], "limits.memory cannot change"), (["nice=5"], "limits.nice cannot change"),
                           (["ionice=idle"], "limits.ionice cannot change"),
                           (["per_image=1"], "limits.per_image cannot change while a run is in progress as a whole"),
                           (["rate=fast"], "limits.rate: "), (["rate"], '"rate" is not KEY=VALUE'),
                           (["window=25:00-26:00"], "has a time that no day has"),
                           (["rate=1M", "rate=2M"], "limits.rate is named twice"),
                           (["rate=1M", "jobs=2"], "limits.jobs cannot change"),
                           (["policy.on_error=stop"], "no key")):
            self.assertIn(why, self.ctl("limits", *words, code=1).err, words)
        self.assertEqual(self.status()["limits"], {})
        self.assertIn("already", self.ctl("limits", "rate=0").out)
        self.ctl("limits", "per_image.cpu=1h", "timeout=1h", "load=99", "jobs_per_filesystem=1")
        self.assertEqual(set(self.status()["limits"]), {"per_image.cpu", "timeout", "load", "jobs_per_filesystem"})
        self.ctl("stop")
        _, summary, _ = self.end(run, 75)
        self.assertEqual(len(summary["hand"]), 5)

    def test_a_resumed_run_has_the_limits_of_its_manifest(self):
        fleet = self.waiting_fleet()
        run = self.start(fleet)
        self.until(lambda s: s["waits_for"])
        self.ctl("limits", "wave=1")
        self.ctl("stop")
        self.end(run, 75)
        run = self.start(fleet, "--resume")
        self.until(lambda s: s["waits_for"])
        self.assertEqual(self.status()["limits"], {})
        self.ctl("stop")
        self.end(run, 75)


class Reloaded(CtlTest):
    def rewrite(self, *pairs):
        with open(self.file, encoding="utf-8") as f:
            text = f.read()
        for old, new in pairs:
            self.assertIn(old, text)
            text = text.replace(old, new, 1)
        with open(self.file, "w", encoding="utf-8") as f:
            f.write(text)

    def waiting(self, *flags):
        self.images = [self.create(f"{i:02}.qcow2") for i in range(3)]
        self.file = self.manifest("""
            version: 1
            policy: {on_error: stop}
            limits: {rate: 50M, jobs: 1}
            rollout: {steps: [1], soak: 1h}
            images:
              - {path: "00.qcow2", lazy_refcounts: on}
              - {path: "0[12].qcow2", lazy_refcounts: on}
            """)
        run = self.start(self.file, *flags)
        self.until(lambda s: s["waits_for"])
        return run

    def test_changed_limits_hold_and_the_run_can_be_resumed(self):
        run = self.waiting()
        self.assertIn("limits are those already", self.ctl("reload").out)
        self.ctl("limits", "rate=1M", "wave=3")
        self.rewrite(("rate: 50M", "wave: 2, window: any"), ("version", "# by night\nversion"))
        self.assertIn("rate=0, wave=2", self.ctl("reload").out)
        self.assertEqual(self.status()["limits"], {"rate": "0", "wave": "2"})
        self.ctl("stop")
        _, summary, _ = self.end(run, 75)
        self.assertEqual([a["what"] for a in summary["hand"]],
                         ["reload", f"limits rate={1 << 20}", "limits wave=3", "reload", "limits rate=0",
                          "limits wave=2", "stop"])
        run = self.start(self.file, "--resume")  # no --force-resume
        self.until(lambda s: s["waits_for"])
        self.ctl("stop")
        self.end(run, 75)
        self.rewrite(("on_error: stop", "on_error: continue"))
        answer = qbatch.qbatch("--state", self.state, "--resume", self.file)
        self.assertEqual(answer.code, 2)
        self.assertIn("--force-resume", answer.result.err)

    def test_other_differences_are_refused_and_named(self):
        run = self.waiting()
        for old, new, why in (("on_error: stop", "on_error: continue", "differs in policy.on_error (line 2)"),
                              ("on_error: stop", "max_failed: 1", "policy.max_failed (line 2), policy.on_error (gone)"),
                              ("soak: 1h", "soak: 2h", "rollout.soak (line 4)"),
                              ("0[12]", "0[1]", "entry 2 of images (line 7)"),
                              ("jobs: 1", "jobs: 2", "limits.jobs differs, and cannot change"),
                              ("rate: 50M", "rat: 50M", ':3:10: unknown key "rat"'),
                              ("rate: 50M", "rate: 50M, rate: 1", ":3:21: "),
                              ("version: 1", "version: [", ":1:10: ")):
            with open(self.file, encoding="utf-8") as f:
                text = f.read()
            self.rewrite((old, new), ("jobs", "wave: 7, jobs"))
            self.assertIn(why, self.ctl("reload", code=1).err, new)
            with open(self.file, "w", encoding="utf-8") as f:
                f.write(text)
        os.unlink(self.file)
        self.assertIn(f"{self.file}: No such file or directory", self.ctl("reload", code=1).err)
        os.mkfifo(self.file)
        self.assertIn(f"{self.file} is not a regular file", self.ctl("reload", code=1).err)
        self.assertEqual(self.status()["limits"], {})
        self.ctl("stop")
        _, summary, _ = self.end(run, 75)
        self.assertEqual([a["what"] for a in summary["hand"]], ["stop"])

    def test_the_same_manifest_in_other_words_is_the_same(self):
        run = self.waiting()
        with open(self.file, "w", encoding="utf-8") as f:
            f.write("""
# written anew
version: "1"
images:
  - lazy_refcounts: on
    path: 00.qcow2
  - lazy_refcounts: on
    path: '0[12].qcow2'
rollout:
  soak: 1h
  steps:
  - 1
policy:
  on_error: stop
limits:
  jobs: 1
  rate: 10M
""")
        self.assertIn(f"rate={10 << 20}", self.ctl("reload").out)
        self.ctl("stop")
        self.end(run, 75)

    def test_an_option_stays_stronger(self):
        run = self.waiting("--deadline", "1h")
        self.rewrite(("rate: 50M", "deadline: 1"))
        self.assertIn("rate=0;", self.ctl("reload").out)
        self.assertEqual(self.status()["limits"], {"rate": "0"})
        self.ctl("stop")
        self.end(run, 75)

    def test_a_saved_plan_has_no_manifest(self):
        self.images = [self.create(f"{i:02}.qcow2") for i in range(2)]
        fleet = self.manifest("""
            version: 1
            rollout: {steps: [1], soak: 1h}
            images: [{path: "*.qcow2", lazy_refcounts: on}]
            """)
        plan = self.path("fleet.qplan")
        self.assertEqual(qbatch.qbatch("plan", "--save", plan, fleet).code, 0)
        run = self.start(plan, command=("apply", "--yes"))
        self.until(lambda s: s["waits_for"])
        self.assertIn("qbatch ctl limits sets a limit", self.ctl("reload", code=1).err)
        self.ctl("limits", "wave=1")
        self.ctl("stop")
        self.end(run, 75)


class Shown(CtlTest):
    def test_status_page_and_merge_have_what_was_ordered(self):
        fleet = self.waiting_fleet()
        page, report = self.path("run.html"), self.path("run.ndjson")
        run = self.start(fleet, "--html", page, "--report", report)
        self.until(lambda s: s["waits_for"])
        self.ctl("limits", "wave=1")
        left = [i for i in self.images if json.loads(proc.must(["qemu-img", "info", "-U", "--output=json", i]))
                ["format-specific"]["data"]["lazy-refcounts"] is False]
        self.ctl("skip", left[0])
        self.ctl("stop")
        self.end(run, 75)
        shown = qbatch.qbatch("status", "--state", self.state, "last").result.out
        self.assertRegex(shown, r"hand      20\S+Z limits wave=1, by \S+\n +20\S+Z skip " + left[0] + ", by")
        merged, again = (self.path(n) for n in ("merged.html", "again.html"))
        out = qbatch.qbatch("report", "merge", "--html", merged, report).result.out
        total = json.loads(out.splitlines()[-1])
        self.assertEqual([a["what"] for a in total["parts"][0]["hand"]], ["limits wave=1", "skip", "stop"])
        with open(self.path("merged.ndjson"), "w", encoding="utf-8") as f:
            f.write(out)
        text = qbatch.qbatch("report", "show", "--html", again, report).result.out
        self.assertRegex(text, r"  20\S+Z qbatch ctl limits wave=1, by ")
        for name in (page, merged, again):
            with open(name, encoding="utf-8") as f:
                html = f.read()
            self.assertIn("<h2>Orders by qbatch ctl</h2>", html, name)
            self.assertIn(f"<td>skip {left[0]}<td>", html, name)
            self.assertEqual(html.count("<h2>Orders"), 1)


class Hostile(CtlTest):
    def connect(self):
        s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        s.settimeout(PATIENCE)
        s.connect(self.socket_path())
        return s

    def say(self, packet):
        with self.connect() as s:
            s.send(packet)
            return s.recv(1 << 17)

    def test_garbage_silence_and_two_clients_at_a_time(self):
        run = self.start(self.waiting_fleet())
        self.until(lambda s: s["waits_for"])
        for packet in (b"\0", b"{", b"[]", b"null", b'"x"', b"\xff" * 100, b"[" * 4000, b'{"version":1}',
                       b'{"version":1,"command":"quit"}', b'{"version":1,"command":{}}',
                       b'{"version":2,"command":"stop"}', b'{"command":"stop"}'):
            answer = json.loads(self.say(packet))
            self.assertFalse(answer["ok"], packet)
            self.assertTrue(answer["error"])
        self.assertEqual(self.say(b"x" * 5000), b"")  # longer than any request
        silent = [self.connect() for _ in range(6)]
        began = time.monotonic()
        self.assertEqual(self.status()["state"], "waiting")
        self.assertLess(time.monotonic() - began, 10)  # each of them is dropped after two seconds
        for s in silent:
            s.close()
        a, b = self.connect(), self.connect()
        b.send(b'{"version":1,"command":"status"}')
        self.assertEqual(json.loads(b.recv(1 << 17))["pid"], run.pid)
        a.send(b'{"version":1,"command":"pause","caller":"' + b"\\u001b[31m" * 50 + b'"}')
        self.assertTrue(json.loads(a.recv(1 << 17))["ok"])
        a.close()
        b.close()
        self.ctl("stop")
        _, summary, err = self.end(run, 75)
        self.assertNotIn("\x1b", err)
        self.assertLess(len(summary["hand"][0]["who"]), 80)

    def test_a_run_that_a_signal_has_stopped_may_still_do_what_it_was_told(self):
        run = self.start(self.waiting_fleet(), "--sandbox", "off")
        self.until(lambda s: s["waits_for"])
        os.kill(run.pid, signal.SIGSTOP)
        self.assertIn("once it goes on, it may still do what it was told", self.ctl("stop", code=1).err)
        os.kill(run.pid, signal.SIGCONT)
        self.end(run, 75)

    def test_one_who_asks_may_be_stopped_meanwhile(self):
        run = self.start(self.waiting_fleet(), "--sandbox", "off")
        self.until(lambda s: s["waits_for"])
        os.kill(run.pid, signal.SIGSTOP)
        asks = subprocess.Popen([qbatch.absolute(qbatch.TOOL), "ctl", "--state", self.state, "pause"], text=True,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.wait_until_it_receives(asks)
        os.kill(asks.pid, signal.SIGSTOP)
        os.kill(asks.pid, signal.SIGCONT)
        self.wait_until_it_receives(asks)
        os.kill(run.pid, signal.SIGCONT)
        out, err = asks.communicate(timeout=PATIENCE)
        self.assertEqual((asks.returncode, err), (0, ""), out)
        self.ctl("stop")
        self.end(run, 75)

    def wait_until_it_receives(self, process):
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until and process.poll() is None:
            with contextlib.suppress(OSError), open(f"/proc/{process.pid}/syscall", encoding="utf-8") as f:
                if f.read().split()[0] == str(RECVFROM):
                    return
            time.sleep(0.005)
        self.assertIsNone(process.poll(), "it did not wait")

    def test_orders_without_end_fill_a_list_that_ends(self):
        run = self.start(self.waiting_fleet())
        self.until(lambda s: s["waits_for"])
        answers = [json.loads(self.say(b'{"version":1,"command":"%s"}' % (b"continue" if i % 2 else b"pause")))["ok"]
                   for i in range(300)]
        self.assertEqual((all(answers[:200]), any(not ok for ok in answers[250:])), (True, True))
        self.ctl("stop")
        _, summary, _ = self.end(run, 75)
        self.assertEqual(summary["hand"][-1]["what"], "stop")

    @unittest.skipUnless(os.geteuid() == 0, "another user needs root")
    def test_another_user_is_refused(self):
        run = self.start(self.waiting_fleet())
        self.until(lambda s: s["waits_for"])
        for folder in (self.folder, self.state):
            os.chmod(folder, 0o711)
        os.chmod(self.socket_path(), 0o666)
        code = ("import os, socket, sys\nos.setgid(65534); os.setuid(65534)\n"
                "s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)\ns.connect(sys.argv[1])\n"
                "print(s.recv(9999).decode())")
        out = proc.must(["python3", "-c", code, self.socket_path()])
        self.assertIn("belongs to another user", json.loads(out)["error"])
        os.chmod(self.socket_path(), 0o600)
        self.ctl("stop")
        self.end(run, 75)


if __name__ == "__main__":
    main()
