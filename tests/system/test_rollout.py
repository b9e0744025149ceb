"""Rollouts: which images each step draws, what ends a run, and how a later call continues."""
import json
import os
import signal
import subprocess
import time
import unittest

import context  # noqa: F401
import family
import proc
import qbatch
import strace
from fixture import OTHER_BUILD, ImageTest, main

MEDDLER = os.environ.get("MEDDLER", "")


class RolloutTest(ImageTest):
    def setUp(self):
        super().setUp()
        self.state = self.path("state")

    def fleet(self, rollout, names=20, keys="lazy_refcounts: on", more=""):
        """Images 00.qcow2, 01.qcow2 ...; the manifest has them all."""
        for i in range(names):
            self.make(f"{i:02}.qcow2")
        self.text = f"""
            version: 1
            rollout: {rollout}
            {more}
            images: [{{path: "*.qcow2", {keys}}}]
            """
        return self.manifest(self.text)

    def make(self, name):
        """An image like all others, unless it is there."""
        if not os.path.exists(self.path("like")):
            self.create("like")
        if not os.path.exists(self.path(name)):
            self.copy(self.path("like"), name)

    def run_it(self, *flags, code=0, **kwargs):
        answer = qbatch.qbatch("--json", "--state", self.state, *flags, self.path("fleet.yaml"),
                               cwd=self.folder, **kwargs)
        self.assertEqual(answer.code, code, str(answer))
        return answer

    def lint(self):
        return qbatch.qbatch("lint", self.path("fleet.yaml"), cwd=self.folder)

    @staticmethod
    def drawn(answer, step):
        """The names of a step's images, in the order in which they are reported."""
        return [os.path.basename(r["path"]) for r in answer.records if r.get("step") == step]

    @staticmethod
    def of_step(answer, status="changed"):
        """How many images of each step have that status."""
        steps = answer.summary["rollout"]["steps"]
        return [sum(r.get("step") == i + 1 and r["status"] == status for r in answer.records)
                for i in range(len(steps))]

    def journal(self):
        """Its records; of several runs the newest."""
        name = sorted(os.listdir(self.state))[-1]
        with open(os.path.join(self.state, name), "rb") as f:
            return [json.loads(line[9:]) for line in f.read().splitlines()]

    def keep_journal(self, wanted):
        """The journal as a kill leaves it: the first lines, up to one that is not wanted."""
        path = os.path.join(self.state, sorted(os.listdir(self.state))[-1])
        with open(path, "rb") as f:
            lines = f.read().splitlines(keepends=True)
        kept = []
        for line in lines:
            if not wanted(json.loads(line[9:])):
                break
            kept.append(line)
        with open(path, "wb") as f:
            f.writelines(kept)

    def is_lazy(self, name):
        done = proc.must(["qemu-img", "info", "--output=json", self.path(name)])
        return json.loads(done).get("format-specific", {}).get("data", {}).get("lazy-refcounts", False)

    def lazy(self):
        names = sorted(n for n in os.listdir(self.folder) if n.endswith(".qcow2"))
        return [n for n in names if self.is_lazy(n)]


class Drawn(RolloutTest):
    def test_steps_are_cumulative_and_the_sample_is_the_same_in_every_run(self):
        self.fleet("{steps: [1, 10%, 50%]}")
        dry = self.run_it("--dry-run")
        self.assertEqual(self.of_step(dry, "would_change"), [1, 1, 8, 10])
        answer = self.run_it()
        self.assertEqual(self.of_step(answer), [1, 1, 8, 10])
        for step in range(1, 5):
            self.assertEqual(self.drawn(answer, step), self.drawn(dry, step))
        self.assertEqual([s["verdict"] for s in answer.summary["rollout"]["steps"]],
                         ["passed"] * 3 + ["none"])
        self.assertNotEqual(self.drawn(answer, 1) + self.drawn(answer, 2) + self.drawn(answer, 3),
                            [f"{i:02}.qcow2" for i in range(10)])
        self.assertEqual(len(self.lazy()), 20)

    def test_the_order_depends_on_the_names_in_the_manifest_alone(self):
        self.fleet("{steps: [3]}")
        here = self.drawn(self.run_it("--dry-run"), 1)
        other = self.path("elsewhere")
        os.mkdir(other)
        for name in os.listdir(self.folder):
            if name.endswith((".qcow2", ".yaml")):
                os.rename(self.path(name), os.path.join(other, name))
        there = qbatch.qbatch("--json", "--no-state", "--dry-run", "fleet.yaml", cwd=other)
        self.assertEqual(self.drawn(there, 1), here)

    def test_in_the_order_of_the_manifest_and_of_the_size(self):
        self.fleet("{steps: [2], order: manifest}", 5)
        self.assertEqual(self.drawn(self.run_it("--dry-run"), 1), ["00.qcow2", "01.qcow2"])
        self.io(self.path("00.qcow2"), "write 0 256k")
        self.io(self.path("02.qcow2"), "write 0 64k")
        self.fleet("{steps: [4], order: size}", 5)
        dry = self.run_it("--dry-run")
        self.assertEqual(self.drawn(dry, 1), ["01.qcow2", "03.qcow2", "04.qcow2", "02.qcow2"])
        self.assertEqual(self.drawn(dry, 2), ["00.qcow2"])

    def test_what_is_as_asked_does_not_count_and_the_next_ones_are_drawn(self):
        self.fleet("{steps: [1, 3], order: manifest}", 8)
        for name in ("00", "01", "04"):
            qbatch.amend(self.path(f"{name}.qcow2"), lazy_refcounts="on")
        answer = self.run_it()
        self.assertEqual(self.drawn(answer, 1), ["00.qcow2", "01.qcow2", "02.qcow2"])
        self.assertEqual(self.drawn(answer, 2), ["03.qcow2", "04.qcow2", "05.qcow2"])
        self.assertEqual(self.of_step(answer), [1, 2, 2])

    def test_a_locked_image_does_not_count(self):
        self.fleet("{steps: [1], order: manifest}", 3)
        self.use(self.path("00.qcow2"))
        answer = self.run_it(code=3)
        self.assertEqual(self.drawn(answer, 1), ["00.qcow2", "01.qcow2"])

    def test_a_backing_file_goes_with_its_first_overlay_and_counts(self):
        self.create("00.qcow2")
        for i in range(1, 6):
            self.create(f"{i:02}.qcow2", backing="00.qcow2" if i in (2, 4) else None)
        self.fleet("{steps: [1, 2, 3], order: manifest}", 6)
        answer = self.run_it()
        self.assertEqual(self.drawn(answer, 1), ["01.qcow2"])
        self.assertEqual(self.drawn(answer, 2), ["00.qcow2", "02.qcow2"])
        self.assertEqual(self.drawn(answer, 3), [])
        self.assertEqual(self.drawn(answer, 4), ["03.qcow2", "04.qcow2", "05.qcow2"])

    def test_a_thousand_images_in_many_steps(self):
        for i in range(1000):
            self.make(f"{i:04}.qcow2")
        self.fleet("{steps: [1, 1%, 5%, 20%, 50%]}", 0)
        answer = self.run_it()
        self.assertEqual(self.of_step(answer), [1, 9, 40, 150, 300, 500])
        self.assertEqual(len({r["path"] for r in answer.records}), 1000)


class Judged(RolloutTest):
    def broken(self, *names):
        for name in names:
            with open(self.path(name), "r+b") as f:
                f.write(b"junk")

    def test_a_failure_in_a_step_ends_the_run_and_leaves_the_others_alone(self):
        self.fleet("{steps: [2, 5], order: manifest}", 10)
        self.broken("03.qcow2")
        answer = self.run_it(code=1)
        self.assertEqual([s["verdict"] for s in answer.summary["rollout"]["steps"]],
                         ["passed", "failed", "none"])
        self.assertEqual(answer.summary["rollout"]["step"], 2)
        self.assertIn("1 image failed", answer.summary["rollout"]["why"])
        left = [r for r in answer.records if r["status"] == "skipped"]
        self.assertTrue({f"0{i}.qcow2" for i in range(5, 10)} <=
                        {os.path.basename(r["path"]) for r in left}, answer)
        self.assertEqual({r["error"]["code"] for r in left}, {"cancelled"})
        self.assertIn("step of the rollout", left[0]["error"]["message"])
        self.assertEqual(self.lazy()[:2], ["00.qcow2", "01.qcow2"])
        self.assertIn("step 2 of 3 failed", answer.result.err)

    def test_as_many_as_the_gate_allows_may_fail_in_each_step(self):
        self.fleet("{steps: [3, 6], order: manifest, gate: {max_failed: 1}}", 12)
        self.broken("01.qcow2", "05.qcow2", "09.qcow2", "10.qcow2")
        answer = self.run_it(code=1)
        self.assertEqual([s["failed"] for s in answer.summary["rollout"]["steps"]], [1, 1, 2])
        self.assertEqual(self.drawn(answer, 1), ["00.qcow2", "01.qcow2", "02.qcow2", "03.qcow2"])

    def test_a_share_is_one_of_the_images_of_the_step(self):
        self.broken_fleet("34%", step=3)
        self.broken_fleet("33%", step=1)

    def broken_fleet(self, share, step):
        for name in os.listdir(self.folder):
            if name.endswith(".qcow2"):
                os.unlink(self.path(name))
        self.fleet(f"{{steps: [3, 6], order: manifest, gate: {{max_failed: {share}}}}}", 12)
        self.broken("01.qcow2", "05.qcow2")
        self.assertEqual(self.run_it("--new-run", code=1).summary["rollout"]["step"], step)

    def test_the_last_step_is_not_judged(self):
        self.fleet("{steps: [1], order: manifest}", 8)
        self.broken("02.qcow2", "04.qcow2")
        answer = self.run_it(code=1)
        self.assertEqual(self.of_step(answer), [1, 5])

    def test_a_resumed_run_tries_the_step_again(self):
        self.fleet("{steps: [2, 5], order: manifest}", 10)
        with open(self.path("03.qcow2"), "rb") as f:
            good = f.read(4)
        self.broken("03.qcow2")
        self.run_it(code=1)
        done = len(self.lazy())
        self.run_it("--resume", code=1)
        self.assertEqual(len(self.lazy()), done)
        with open(self.path("03.qcow2"), "r+b") as f:
            f.write(good)
        answer = self.run_it("--resume")
        self.assertEqual(answer.summary["rollout"]["step"], 3)
        self.assertEqual(self.of_step(answer)[2], 5)
        self.assertEqual([(r["step"], r["verdict"]) for r in self.journal() if r["is"] == "step"],
                         [(1, "passed"), (2, "failed"), (2, "failed"), (2, "passed")])


class Resumed(RolloutTest):
    def test_steps_count_what_an_earlier_attempt_changed(self):
        self.fleet("{steps: [2, 6], order: manifest}", 10)
        self.run_it()
        for i in range(3, 10):
            os.unlink(self.path(f"0{i}.qcow2"))
            self.make(f"0{i}.qcow2")
        # As if it had been killed after the first image of the second step.
        self.keep_journal(lambda r: not r.get("path", "").endswith("03.qcow2"))
        answer = self.run_it("--resume")
        self.assertEqual(self.drawn(answer, 1), ["00.qcow2", "01.qcow2"])
        self.assertEqual(self.drawn(answer, 2), [f"0{i}.qcow2" for i in range(2, 6)])
        self.assertEqual(self.of_step(answer), [0, 3, 4])

    def test_what_was_changed_before_a_kill_could_be_told_counts(self):
        self.fleet("{steps: [2, 6], order: manifest}", 10)
        self.run_it()
        for i in range(2, 10):
            os.unlink(self.path(f"0{i}.qcow2"))
            self.make(f"0{i}.qcow2")
        # The plans of the first step are recorded, and nothing of what became of them.
        self.keep_journal(lambda r: r["is"] in ("run", "planned", "synced"))
        answer = self.run_it("--resume")
        self.assertEqual(self.drawn(answer, 1), ["00.qcow2", "01.qcow2"])
        self.assertEqual(self.of_step(answer), [0, 4, 4])

    def test_after_an_undo_its_step_is_done_again(self):
        self.fleet("{steps: [1, 3], order: manifest}", 6, keys="lazy_refcounts: on, keep_undo: on")
        self.run_it()
        name = self.path("02.qcow2")
        proc.must([qbatch.absolute(qbatch.TOOL), "undo", "--state", self.state, "last", name])
        answer = self.run_it("--resume", "--redo")
        self.assertEqual([r["step"] for r in answer.records if r["status"] == "changed"], [2])

    def test_killed_at_any_moment_each_step_has_what_it_is_to_have(self):
        names = [f"{i:02}.qcow2" for i in range(30)]
        self.fleet("{steps: [1, 10, 20], order: manifest}", 30)
        for after in (0.004, 0.008, 0.012, 0.016, 0.02, 0.03):
            for name in names:
                os.unlink(self.path(name))
            self.fleet("{steps: [1, 10, 20], order: manifest}", 30)
            run = subprocess.Popen([qbatch.absolute(qbatch.TOOL), "--state", self.state, "--new-run", "-q",
                                    self.path("fleet.yaml")], cwd=self.folder,
                                   stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
            try:
                run.wait(after)
            except subprocess.TimeoutExpired:
                proc.kill_whole(run, self.folder)
            before = self.lazy()
            self.assertEqual(before, names[:len(before)])  # a beginning of the order
            if before == names:  # it had come to its end
                continue
            self.run_it("--resume" if before else "--new-run")
            self.assertEqual(self.lazy(), names)
            journal = self.journal()
            self.assertEqual([r["step"] for r in journal if r["is"] == "step"], [1, 2, 3])
            changed = {r["path"]: r["step"] for r in journal
                       if r["is"] in ("changed", "planned") and "step" in r}
            self.assertEqual([list(changed.values()).count(s) for s in (1, 2, 3)], [1, 9, 10])


class Gates(RolloutTest):
    def script(self, text):
        path = self.path("gate")
        with open(path, "w", encoding="utf-8") as f:
            f.write("#!/bin/sh\n" + text)
        os.chmod(path, 0o755)
        return path

    def test_the_command_is_run_after_each_step_but_the_last_and_told_which(self):
        gate = self.script('printf "%s\\n" "$*" >> gate.log\n')
        self.fleet(f"{{steps: [1, 3], gate: {{command: [{gate}, '{{run}}', '{{step}}/{{steps}}', "
                   "'{changed}+{failed}', '{state}', '{path}']}}", 6)
        run = self.run_it().summary["run"]
        with open(self.path("gate.log"), encoding="utf-8") as f:
            self.assertEqual(f.read().splitlines(),
                             [f"{run} 1/3 1+0 {self.state}/ {{path}}", f"{run} 2/3 2+0 {self.state}/ {{path}}"])

    def test_what_an_earlier_attempt_changed_of_the_step_counts(self):
        """The command, and what is said of the step, are about all of it: not about this attempt."""
        gate = self.script('echo "$1" >> gate.log; [ -e fine ]\n')
        self.fleet(f"{{steps: [2], ask: on, gate: {{command: [{gate}, '{{step}} {{changed}}']}}}}", 6)
        self.assertIn("step 1 of 2 failed: 2 images changed", self.run_it(code=1).result.err)
        with open(self.path("fine"), "w", encoding="utf-8"):
            pass
        self.assertIn("step 1 of 2 passed: 2 images changed, 0 failed; the run waits for an answer",
                      self.run_it("--resume", code=4).result.err)
        page = self.path("page.html")
        self.assertIn("step 1 of 2 passed: 2 images changed, 0 failed\n",
                      self.run_it("--resume", "--yes", "--html", page).result.err)
        with open(self.path("gate.log"), encoding="utf-8") as f:
            self.assertEqual(f.read(), "1 2\n" * 2)
        with open(page, encoding="utf-8") as f:
            self.assertIn("in this attempt of the run", f.read())

    def test_a_command_that_fails_ends_the_run(self):
        gate = self.script('echo "smells of smoke" >&2\n[ "$1" -lt 2 ]\n')
        self.fleet(f"{{steps: [1, 3], gate: {{command: [{gate}, '{{step}}']}}}}", 6)
        answer = self.run_it(code=1)
        self.assertEqual([s["verdict"] for s in answer.summary["rollout"]["steps"]],
                         ["passed", "failed", "none"])
        self.assertIn("smells of smoke", answer.summary["rollout"]["why"])
        self.assertEqual(len(self.lazy()), 3)
        self.assertEqual([r["status"] for r in answer.records], ["changed"] * 3 + ["skipped"] * 3)
        quiet = self.run_it("-q", "--resume", code=1)  # of which no image tells
        self.assertRegex(quiet.result.err, "step 2 of 3 failed: .* ended with exit code 1: smells of smoke\n")
        status = qbatch.qbatch("status", "--state", self.state, "last").result.out
        self.assertRegex(status, "steps     1 of 3 passed; step 2 failed: .*smells of smoke; images of each: 1, 2, 0\n")
        status = json.loads(qbatch.qbatch("status", "--state", self.state, "--json", "last").result.out.splitlines()[-1])
        self.assertEqual((status["rollout"]["failed"], "smells of smoke" in status["rollout"]["why"]), (2, True))
        self.assertEqual(len(self.lazy()), 3)
        self.script("exit 0\n")
        self.run_it("--resume")
        self.assertEqual(len(self.lazy()), 6)
        self.assertNotIn("failed", qbatch.qbatch("status", "--state", self.state, "last").result.out.split("steps ")[1].splitlines()[0])

    def test_a_command_that_cannot_be_run_ends_the_run(self):
        self.fleet("{steps: [1], gate: {command: [/nonexistent/gate]}}", 3)
        self.assertIn("/nonexistent/gate", self.run_it(code=1).summary["rollout"]["why"])
        self.assertEqual(len(self.lazy()), 1)

    def test_the_command_is_ended_with_the_run(self):
        gate = self.script("touch started; exec sleep 100\n")
        self.fleet(f"{{steps: [1], gate: {{command: [{gate}]}}}}", 3)
        self.run_it("--deadline", "1", code=75)
        self.assertTrue(os.path.exists(self.path("started")))
        self.script("exit 0\n")
        self.run_it("--resume")

    @unittest.skipUnless(strace.works(), strace.MISSING)
    def test_the_command_is_ended_with_a_run_that_is_killed(self):
        """Also where Landlock is older, and does not keep a process's signals to itself."""
        for injection in ("landlock_create_ruleset:error=EOPNOTSUPP", "landlock_create_ruleset:delay_enter=1"):
            gate = self.script(f"echo $$ > {self.path('pid')}.new; mv {self.path('pid')}.new {self.path('pid')}\n"
                               "exec sleep 100\n")
            self.fleet(f"{{steps: [1], gate: {{command: [{gate}]}}}}", 10)
            run = strace.start([qbatch.absolute(qbatch.TOOL), "--new-run", "--state", self.state, self.path("fleet.yaml")],
                               injection)
            until = time.monotonic() + proc.TIMEOUT_SECONDS
            while not os.path.exists(self.path("pid")) and time.monotonic() < until:
                time.sleep(0.01)
            with open(self.path("pid"), encoding="utf-8") as f:
                pid = int(f.read())
            os.unlink(self.path("pid"))
            os.kill(family.children(run.pid)[0], signal.SIGKILL)
            while family.is_there(pid) and time.monotonic() < until:
                time.sleep(0.01)
            self.assertFalse(family.is_there(pid), injection)
            run.communicate()

    def test_images_of_judged_steps_are_verified_as_the_gate_says(self):
        self.fleet("{steps: [2], gate: {verify: content}}", 4)
        answer = self.run_it()
        self.assertEqual([r["verify"]["mode"] for r in answer.records], ["content"] * 2 + ["metadata"] * 2)
        self.assertEqual({r["verify"]["result"] for r in answer.records}, {"ok"})

    @unittest.skipUnless(os.path.exists(MEDDLER) and not os.environ.get("QBATCH_SANITIZED"), OTHER_BUILD)
    def test_an_image_that_a_guest_would_see_changed_is_too_many(self):
        """Whatever may fail; the byte is one of the guest's, which only `content` looks at."""
        self.make("00.qcow2")
        os.unlink(self.path("like"))
        self.io(self.path("00.qcow2"), "write -P 7 0 64k")
        self.copy(self.path("00.qcow2"), "like")
        self.fleet("{steps: [2], order: manifest, gate: {max_failed: 5, verify: content}}", 6,
                   keys='compat: "0.10"')
        at = json.loads(proc.must(["qemu-img", "map", "--output=json", self.path("00.qcow2")]))[0]["offset"]
        env = dict(os.environ, LD_PRELOAD=os.path.abspath(MEDDLER), MEDDLE_AT=str(at))
        answer = self.run_it("--io", "posix", code=5, env=env)
        self.assertEqual(answer.summary["rollout"]["steps"][0]["verdict"], "failed")
        self.assertEqual({r["status"] for r in answer.records[2:]}, {"skipped"})


class Waits(RolloutTest):
    def test_a_step_rests_before_it_is_judged_and_again_after_a_kill(self):
        gate = self.path("gate")
        with open(gate, "w", encoding="utf-8") as f:
            f.write("#!/bin/sh\ntouch judged\n")
        os.chmod(gate, 0o755)
        self.fleet(f"{{steps: [1], soak: 1000, gate: {{command: [{gate}]}}}}", 3)
        run = subprocess.Popen([qbatch.absolute(qbatch.TOOL), "--state", self.state, self.path("fleet.yaml")],
                               cwd=self.folder, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)
        self.addCleanup(run.stderr.close)
        line = b""
        while b"rollout.soak" not in line:
            line = run.stderr.readline()
            self.assertTrue(line)
        proc.kill_whole(run, self.folder)
        self.assertEqual(len(self.lazy()), 1)
        answer = self.run_it("--resume", "--deadline", "1", code=75)
        self.assertIn("rollout.soak", answer.result.err)
        self.assertEqual(len(self.lazy()), 1)
        self.assertFalse(os.path.exists(self.path("judged")))
        self.fleet(f"{{steps: [1], soak: 0.01, gate: {{command: [{gate}]}}}}", 3)
        self.run_it("--resume", "--force-resume")
        self.assertEqual(len(self.lazy()), 3)

    def test_without_a_terminal_a_question_ends_the_run_and_yes_answers_one(self):
        self.fleet("{steps: [1, 3], ask: on}", 6)
        answer = self.run_it(code=4)
        self.assertEqual(answer.summary["rollout"]["steps"][0]["verdict"], "asked")
        self.assertIn("--yes", answer.summary["finish"])
        self.assertEqual([r["status"] for r in answer.records], ["changed"] + ["skipped"] * 5)
        self.run_it("--yes", code=2)
        self.run_it("--resume", code=4)
        self.assertEqual(len(self.lazy()), 1)
        answer = self.run_it("--resume", "--yes", code=4)
        self.assertEqual(answer.summary["rollout"]["step"], 2)
        self.assertEqual(len(self.lazy()), 3)
        self.run_it("--resume", "--yes")
        self.assertEqual(len(self.lazy()), 6)

    def test_yes_answers_no_question_that_was_not_asked(self):
        self.fleet("{steps: [1, 3], ask: on, gate: {command: [/bin/false]}}", 6)
        self.run_it(code=1)
        self.run_it("--resume", "--yes", code=1)
        self.fleet("{steps: [1, 3], ask: on, gate: {command: [/bin/true]}}", 6)
        self.run_it("--resume", "--yes", "--force-resume", code=4)
        self.assertEqual(len(self.lazy()), 1)

    def at_terminal(self, answers, *flags):
        """The exit code of a run whose questions get these answers."""
        master, terminal = os.openpty()
        self.addCleanup(os.close, master)
        run = subprocess.Popen([qbatch.absolute(qbatch.TOOL), "--progress", "none", "--state", self.state, *flags,
                                self.path("fleet.yaml")], cwd=self.folder, stdin=terminal, stderr=terminal,
                               stdout=subprocess.DEVNULL)
        os.close(terminal)
        said = b""
        for answer in answers:
            while b"[y/N]" not in said:
                said += os.read(master, 1000)
            said = said.split(b"[y/N]", 1)[1]
            if answer == "kill":
                for child in family.children(run.pid):
                    os.kill(child, signal.SIGKILL)
                while b"the rollout ends" not in said:
                    said += os.read(master, 1000)
                self.assertIn(b"ended by signal 9", said)
            elif answer:
                os.write(master, answer)
            else:
                run.send_signal(signal.SIGINT)
        return run.wait(60)

    def test_a_person_answers(self):
        self.fleet("{steps: [1, 3], ask: on}", 6)
        self.assertEqual(self.at_terminal([b"y\n", b"n\n"]), 4)
        self.assertEqual(len(self.lazy()), 3)
        self.assertEqual(self.at_terminal([None], "--resume"), 75)
        self.assertEqual(len(self.lazy()), 3)
        self.assertEqual(self.at_terminal([b"yes\n"], "--resume"), 0)
        self.assertEqual(len(self.lazy()), 6)


    def test_a_question_ends_with_the_process_that_asks_it(self):
        """Nobody has to answer it, and it is not asked again before the step was judged once more."""
        self.fleet("{steps: [1, 3], ask: on}", 10)
        self.assertEqual(self.at_terminal(["kill"]), 75)
        self.assertEqual(len(self.lazy()), 1)
        self.assertEqual(self.at_terminal([b"y\n", b"n\n"], "--resume"), 4)
        self.assertEqual(len(self.lazy()), 3)


class Shown(RolloutTest):
    @staticmethod
    def metrics(folder):
        with open(os.path.join(folder, os.listdir(folder)[0]), encoding="utf-8") as f:
            return f.read()

    def status(self, *flags):
        return proc.must([qbatch.absolute(qbatch.TOOL), "status", "--state", self.state, *flags, "last"])

    def test_status_knows_the_steps_and_what_the_run_waits_for(self):
        self.fleet("{steps: [1, 3], ask: on}", 6)
        self.run_it(code=4)
        words = self.status()
        self.assertIn("steps     0 of 3 passed; step 1 waits for an answer; images of each: 1, 0, 0", words)
        self.assertIn("--yes", words)
        self.run_it("--resume", "--yes", code=4)
        answer = json.loads(self.status("--json").splitlines()[0])
        qbatch.Answer.check_line(qbatch.qbatch("status", "--state", self.state), answer)
        self.assertEqual(answer["rollout"], {"steps": 3, "passed": 1, "asked": True, "changed": [
            {"step": 1, "changed": 1}, {"step": 2, "changed": 2}, {"step": 3, "changed": 0}]})
        self.run_it("--resume", "--yes")
        self.assertIn("steps     2 of 3 passed, the last is not judged; images of each: 1, 2, 3", self.status())
        self.assertNotIn("--yes", self.status())

    def test_metrics_page_and_progress_have_them(self):
        self.fleet("{steps: [1, 3], gate: {command: [/bin/sh, -c, 'echo \"a<b\"; exit {step}']}}", 6)
        page, metrics = self.path("run.html"), self.path("metrics")
        os.mkdir(metrics)
        answer = self.run_it("--html", page, "--prometheus", metrics, "--progress", "json", code=1)
        words = self.metrics(metrics)
        for sample in ("rollout_steps{manifest=\"fleet.yaml\"} 3", "rollout_step{manifest=\"fleet.yaml\"} 1",
                       'rollout_verdict{manifest="fleet.yaml",verdict="failed"} 1',
                       'rollout_verdict{manifest="fleet.yaml",verdict="passed"} 0'):
            self.assertIn(f"qbatch_last_run_{sample}\n", words)
        with open(page, encoding="utf-8") as f:
            words = f.read()
        self.assertIn("Step 1 failed: /bin/sh ended with exit code 1: a&lt;b</p>", words)
        self.assertIn("<tr><td class=n>1<td class=n>1<td class=n>1<td class=n>1<td class=n>0<td>failed\n", words)
        last = [json.loads(line) for line in answer.result.err.splitlines() if line.startswith("{")][-1]
        self.assertEqual((last["step"], last["steps"]), (1, 3))

    def report(self, verb, *argv):
        return qbatch.qbatch("report", verb, *argv, cwd=self.folder)

    def page(self, name):
        with open(self.path(name), encoding="utf-8") as f:
            return f.read()

    def test_a_report_that_is_shown_later_has_the_same_steps(self):
        self.fleet("{steps: [1, 3], gate: {command: [/bin/sh, -c, 'echo \"a<b\"; test {step} = 1']}}", 6)
        self.run_it("--html", "run.html", "--report", "r", code=1)
        os.mkdir(self.path("metrics"))
        self.report("show", "--html", "shown.html", "--prometheus", "metrics", "r")
        steps = [line for line in self.page("run.html").splitlines() if "<td>passed" in line or "<td>failed" in line
                 or "Step 2 failed" in line]
        self.assertEqual(len(steps), 3)
        for line in steps:
            self.assertIn(line + "\n", self.page("shown.html"))
        words = self.metrics(self.path("metrics"))
        self.assertIn('rollout_step{manifest="fleet.yaml"} 2\n', words)
        self.assertIn('rollout_verdict{manifest="fleet.yaml",verdict="failed"} 1\n', words)

    def shards(self, gate, codes):
        """Two shards, each with its steps; only the gate of the second fails, or asks."""
        self.fleet(f"{{steps: [1], {gate}}}", 8)
        for number, code in zip((1, 2), codes):
            answer = self.run_it("--shard", f"{number}/2", "--report", f"r{number}", code=code)
            self.assertGreater(len(answer.records), 0)

    def test_merge_sees_a_step_that_failed_by_its_command_alone(self):
        self.shards("gate: {command: [/bin/sh, -c, 'test -e once || { touch once; exit 0; }; exit 7']}", codes=(0, 1))
        merged = self.report("merge", "--html", "page", "r1", "r2")
        self.assertEqual((merged.code, merged.summary["exit_code"], merged.summary["failed"]), (1, 1, 0), str(merged))
        self.assertEqual([p["rollout"]["steps"][0]["verdict"] for p in merged.summary["parts"]], ["passed", "failed"])
        self.assertEqual(merged.summary["rollout"], merged.summary["parts"][1]["rollout"])
        self.assertEqual(self.report("merge", "r2", "r1").code, 1)
        page = self.page("page")
        self.assertIn("<h2>Steps of run 1</h2>", page)
        self.assertIn("<h2>Steps of run 2</h2>\n<p class=note>Step 1 failed: /bin/sh ended with exit code 7", page)
        with open(self.path("all"), "w", encoding="utf-8") as f:
            f.write(merged.result.out)
        again = self.report("merge", "all")
        self.assertEqual((again.code, [p["rollout"] for p in again.summary["parts"]]),
                         (1, [p["rollout"] for p in merged.summary["parts"]]), str(again))

    def test_the_verdict_of_the_run_that_resumed_a_shard_counts(self):
        self.shards("gate: {command: [/bin/sh, -c, 'test -e once || { touch once; exit 0; }; test -e twice']}",
                    codes=(0, 1))
        with open(self.path("twice"), "w", encoding="utf-8"):
            pass
        self.run_it("--shard", "2/2", "--resume", "--report", "r3")
        merged = self.report("merge", "r1", "r2", "r3")
        self.assertEqual(merged.summary["rollout"]["steps"][0]["verdict"], "passed", str(merged))

    def test_merged_shards_of_which_one_asks_wait_for_an_answer(self):
        self.shards("ask: on", codes=(4, 4))
        self.assertEqual(self.report("merge", "r1", "r2").code, 4)
        self.run_it("--shard", "1/2", "--resume", "--yes", "--report", "r1")
        merged = self.report("merge", "r1", "r2")
        self.assertEqual((merged.code, merged.summary["rollout"]["steps"][0]["verdict"]), (4, "asked"), str(merged))

    def test_reports_of_other_runs_have_none_of_it(self):
        self.fleet("{steps: [1]}", 2)
        with open(self.path("fleet.yaml"), "w", encoding="utf-8") as f:
            f.write('version: 1\nimages: [{path: "*.qcow2", lazy_refcounts: on}]\n')
        metrics = self.path("metrics")
        os.mkdir(metrics)
        answer = self.run_it("--prometheus", metrics)
        self.assertNotIn("rollout", answer.summary)
        self.assertNotIn("step", answer.first)
        self.assertNotIn("rollout", self.metrics(metrics))
        self.assertNotIn("steps", self.status())


class TakenBack(RolloutTest):
    def undo(self, *flags):
        return proc.run([qbatch.absolute(qbatch.TOOL), "undo", "--state", self.state, "last", *flags])

    def test_one_step_is_undone(self):
        self.fleet("{steps: [1, 3], order: manifest}", 6, keys="lazy_refcounts: on, keep_undo: on")
        run = self.run_it().summary["run"]
        self.assertEqual(self.undo("--step", "2").code, 0)
        self.assertEqual(self.lazy(), ["00.qcow2", "03.qcow2", "04.qcow2", "05.qcow2"])
        for step, images, why in (("2", (), "step 2 of run {run} was undone already"),
                                  ("7", (), "step 7 of run {run} changed no image"),
                                  ("2", (self.path("00.qcow2"),), "00.qcow2: not an image of step 2")):
            done = self.undo("--step", step, *images)
            self.assertEqual(done.code, 2)
            self.assertIn(why.format(run=run), done.err)
        self.assertEqual(self.undo("--step", "0").code, 2)
        self.run_it("--resume", "--redo")
        self.assertEqual(len(self.lazy()), 6)
        self.assertEqual(self.undo("--step", "1").code, 0)
        self.assertEqual(self.lazy(), [f"0{i}.qcow2" for i in range(1, 6)])


    def read(self, name, pattern):
        return proc.run(["qemu-io", "-f", "qcow2", "-r", "-c", f"read -P {pattern} 512k 512k", self.path(name)]).out

    def test_an_image_stays_while_one_above_it_relies_on_what_the_run_made_of_it(self):
        """Over nothing, a disk grows without a table of zeros: the old backing file would show in its new part."""
        ground = self.raw("ground.raw", "1M", "write -q -P 7 0 1M")
        base = self.create("base.qcow2", size="1M", backing=ground, backing_fmt="raw")
        self.create("between.qcow2", size="1M", backing=base)
        for name in ("o1.qcow2", "o2.qcow2"):
            self.create(name, size="512k", backing=self.path("between.qcow2"))
        self.text = """
            version: 1
            rollout: {steps: [2], order: manifest}
            images:
              - {path: base.qcow2, backing_file: "", keep_undo: on}
              - {path: "o?.qcow2", size: 1M, keep_undo: on}
            """
        self.manifest(self.text)
        self.run_it()
        self.assertNotIn("verification failed", self.read("o2.qcow2", 0))
        done = self.undo("--json", "--step", "1")
        self.assertEqual(done.code, 1, done.out + done.err)
        answers = {os.path.basename(r["path"]): r for r in map(json.loads, done.out.splitlines())
                   if r["type"] == "image"}
        self.assertEqual({name: r["status"] for name, r in answers.items()},
                         {"base.qcow2": "failed", "o1.qcow2": "changed"})
        self.assertIn("o2.qcow2 above it", answers["base.qcow2"]["error"]["message"])
        self.assertNotIn("verification failed", self.read("o2.qcow2", 0))
        self.assertEqual(self.undo(base).code, 1)
        self.assertEqual(self.undo("--step", "2").code, 0)
        self.assertEqual(self.undo("--step", "1").code, 0)
        self.assertNotIn("verification failed", self.read("base.qcow2", 7))

    def test_what_overlays_do_not_see_is_undone_below_them(self):
        base = self.create("base.qcow2", size="1M", compat="0.10")
        for name in ("o1.qcow2", "o2.qcow2"):
            self.create(name, size="1M", backing=base)
            self.io(self.path(name), "write -q -P 3 0 64k")
        self.text = """
            version: 1
            rollout: {steps: [2], order: manifest}
            images: [{path: "*.qcow2", compat: "1.1", size: 4M, keep_undo: on}]
            """
        self.manifest(self.text)
        self.run_it()
        self.assertEqual(self.undo("--step", "1").code, 0)
        proc.must(["qemu-io", "-f", "qcow2", "-r", "-c", "read -P 3 0 64k", "-c", "read -P 0 64k 4032k",
                   self.path("o2.qcow2")])


class Mistakes(RolloutTest):
    def check(self, rollout, words):
        self.fleet(rollout, 4)
        done = self.lint()
        self.assertEqual(done.code, 2, rollout)
        self.assertIn(words, done.result.err)

    def test_lint_finds_them(self):
        for rollout, words in (("{steps: [0, 2]}", "changes no image"),
                               ("{steps: [0%]}", "changes no image"),
                               ("{steps: [2, 1]}", "is fewer than the step before it"),
                               ("{steps: [50%, 20%]}", "is fewer than the step before it"),
                               ("{steps: [3, 50%]}", "step 2 ends with 2 images, and the one before it with 3"),
                               ("{steps: [101%]}", "101"),
                               ("{steps: [1, 5]}", "step 2 is to change 5 images, and there are 4"),
                               ("{steps: []}", "empty list"),
                               ("{steps: 1}", "a list, such as [1, 1%, 10%]"),
                               ("{order: hash}", "without \"steps\""),
                               ("{steps: [1], order: random}", "random"),
                               ("{steps: [1], gates: {}}", "gate"),
                               ("{steps: [1], gate: {max_fail: 1}}", "max_failed"),
                               ("{steps: [%s]}" % ", ".join(["1"] * 32), "up to 31")):
            with self.subTest(rollout=rollout):
                self.check(rollout, words)

    def test_lint_tells_the_steps_of_a_good_one(self):
        self.fleet("{steps: [1, 50%]}", 5)
        done = self.lint()
        self.assertEqual(done.code, 0, str(done))
        self.assertIn("rollout: 1, 3, then all", done.result.out)

    def test_an_empty_step_is_not_judged(self):
        """The second one has as many images as the first."""
        self.fleet("{steps: [2, 2, 3], gate: {command: [/bin/mkdir, '{step}']}}", 5)
        self.run_it()
        self.assertEqual(sorted(n for n in os.listdir(self.folder) if len(n) == 1), ["1", "3"])

    def test_a_run_takes_steps_as_far_as_the_images_go(self):
        self.fleet("{steps: [3, 50%, 100]}", 4)
        self.assertEqual(self.of_step(self.run_it()), [3, 0, 1, 0])


if __name__ == "__main__":
    main()
