"""Saved plans: what they hold, when an image is stale, and that a file which is not whole is not used."""
import json
import os
import pty
import shlex
import stat
import subprocess
import time

import context  # noqa: F401
import guest
import proc
import qbatch
import qcow2
from fixture import MIB, ImageTest, main


class PlanTest(ImageTest):
    def setUp(self):
        super().setUp()
        self.plan = self.path("fleet.qplan")
        self.state = self.path("state")

    def fleet(self, n=3, text='images: [{path: "i*.qcow2", compat: "1.1", size: +1M}]', **options):
        self.images = [self.create(f"i{i}.qcow2", compat="0.10", **options) for i in range(n)]
        return self.manifest(f"version: 1\nlabels: {{ticket: CHG-17}}\n{text}\n")

    def tool(self, *argv, **kwargs):
        return proc.run([qbatch.absolute(qbatch.TOOL), *argv], cwd=self.folder, **kwargs)

    def save(self, manifest, *flags, code=0):
        done = self.tool("plan", "--save", self.plan, *flags, manifest)
        self.assertEqual(done.code, code, done.out + done.err)

    def apply(self, *flags):
        return qbatch.qbatch("apply", "--json", "--yes", "--state", self.state, *flags, self.plan, cwd=self.folder)

    def sizes(self):
        return [guest.info(i)["virtual-size"] // MIB for i in self.images]


class Applied(PlanTest):
    def test_what_was_planned_is_done_once_and_a_second_time_nothing(self):
        manifest = self.fleet()
        self.save(manifest)
        self.assertEqual(self.sizes(), [1, 1, 1])
        self.assertEqual(stat.S_IMODE(os.stat(self.plan).st_mode), 0o600)
        for status in ("changed", "unchanged", "unchanged"):
            answer = self.apply()
            self.assertEqual((answer.code, [r["status"] for r in answer.records]), (0, [status] * 3), str(answer))
            self.assertEqual(self.sizes(), [2, 2, 2], "a size that is added is saved as the size it comes to")
        self.assertEqual(answer.summary["labels"], {"ticket": "CHG-17"})

    def test_the_manifest_may_be_gone_and_the_directory_another(self):
        os.unlink(self.fleet())
        manifest = self.manifest('version: 1\nimages: [{path: "i*.qcow2", compat: "1.1", size: +1M}]\n')
        self.save(os.path.basename(manifest))
        os.unlink(manifest)
        answer = qbatch.qbatch("apply", "--json", "--yes", self.plan, cwd="/")
        self.assertEqual((answer.code, self.sizes()), (0, [2, 2, 2]), str(answer))

    def test_an_image_that_changed_since_is_stale_and_the_others_are_amended(self):
        self.save(self.fleet())
        proc.must(["qemu-img", "resize", "-q", self.images[1], "7M"])
        sha = proc.sha256(self.images[1])
        answer = self.apply()
        self.assertEqual((answer.code, [r["status"] for r in answer.records]), (1, ["changed", "failed", "changed"]))
        self.assertEqual(answer.records[1]["error"]["code"], "stale")
        self.assertIn("not what it was when the plan was made", answer.records[1]["error"]["message"])
        self.assertEqual(proc.sha256(self.images[1]), sha)

    def test_images_that_became_one_file_are_stale_and_the_others_are_amended(self):
        for make in (os.link, os.symlink):
            self.save(self.fleet())
            os.unlink(self.images[1])
            make(self.images[0], self.images[1])
            sha = proc.sha256(self.images[0])
            answer = self.apply()
            self.assertEqual([(r["status"], (r["error"] or {}).get("code")) for r in answer.records],
                             [("failed", "stale"), ("failed", "stale"), ("changed", None)], str(answer))
            self.assertEqual((answer.code, answer.summary["failed"]), (1, 2))
            self.assertIn(os.path.basename(self.images[1]), answer.records[0]["error"]["message"])
            self.assertEqual(proc.sha256(self.images[0]), sha)
            for image in self.images:
                os.unlink(image)

    def test_an_image_of_which_something_else_would_become_is_stale(self):
        self.fleet()
        for image in self.images:
            self.snapshot(image, "old-1")
        self.save(self.manifest('version: 1\nimages: [{path: "i*.qcow2", snapshots: {delete: ["old-*"]}}]\n'))
        proc.must(["qemu-img", "snapshot", "-d", "old-1", self.images[0]])
        self.snapshot(self.images[0], "old-2")  # as many as before, and another one
        answer = self.apply()
        self.assertEqual([(r["status"], (r["error"] or {}).get("code")) for r in answer.records],
                         [("failed", "stale"), ("changed", None), ("changed", None)], str(answer))
        self.assertIn("would change something else", answer.records[0]["error"]["message"])

    def test_an_amend_that_takes_much_more_is_stale_and_one_that_takes_little_more_is_not(self):
        base = self.create("base.qcow2", size="64M")
        for name, mib in (("i0.qcow2", 60), ("i1.qcow2", 1)):
            self.create(name, size="64M", backing=base)
            self.io(self.path(name), "write -z 0 64k")
        self.images = [self.path("i0.qcow2"), self.path("i1.qcow2")]
        self.save(self.manifest('version: 1\nimages: [{path: "i*.qcow2", compat: "0.10", zero_method: write}]\n'))
        self.io(self.images[0], "write -z 0 60M")
        self.io(self.images[1], "write -z 64k 64k")
        answer = self.apply()
        self.assertEqual([(r["status"], (r["error"] or {}).get("code")) for r in answer.records],
                         [("failed", "stale"), ("changed", None)], str(answer))
        self.assertIn("bytes, and the plan has", answer.records[0]["error"]["message"])

    def test_what_the_plan_refused_stays_refused_and_does_not_end_the_run(self):
        manifest = self.fleet(text='policy: {on_error: stop}\nimages: [{path: "i*.qcow2", compat: "1.1"}]')
        os.truncate(self.images[1], 100)
        self.save(manifest, code=1)
        answer = self.apply()
        self.assertEqual([r["status"] for r in answer.records], ["changed", "failed", "changed"], str(answer))

    def test_overrides_of_the_command_line_are_in_the_plan(self):
        self.save(self.fleet(), "--set", "lazy_refcounts=on,size=5M", "--verify", "content")
        answer = self.apply()
        self.assertEqual((answer.code, self.sizes()), (0, [5, 5, 5]))
        self.assertTrue(all(r["after"]["lazy_refcounts"] and r["verify"]["mode"] == "content" for r in answer.records))

    def test_rewritten_backing_names_are_saved_as_they_come_out(self):
        old, new = self.create("old.qcow2"), self.create("new.qcow2")
        self.images = [self.create("i0.qcow2", backing=old)]
        self.save(self.manifest(f"""
            version: 1
            images:
              - path: i0.qcow2
                backing: {{rewrite: [{{from: '^.*/old.qcow2$', to: '{new}'}}], check_content: on}}
            """))
        self.io(new, "write -P 7 0 64k")
        self.assertEqual(self.apply().records[0]["status"], "failed", "the content is compared once more")
        self.io(new, "write -P 0 0 64k")
        self.assertEqual(self.apply().records[0]["status"], "changed")
        self.assertEqual(guest.info(self.images[0])["backing-filename"], new)

    def test_shards_of_a_plan_are_all_of_it(self):
        self.save(self.fleet(8))
        seen = [r["path"] for n in range(1, 4) for r in self.apply(f"--shard={n}/3").records]
        self.assertEqual(sorted(seen), self.images)
        self.assertEqual(self.sizes(), [2] * 8)

    def test_a_plan_divides_and_draws_as_its_manifest_does_wherever_that_is_called_from(self):
        """The images of a change ticket: the canaries of the dry run, and those of each shard."""
        self.fleet(8)
        names = {"fleet.yaml": ['i*.qcow2', './i*.qcow2', f'../{os.path.basename(self.folder)}/i*.qcow2',
                                f'{self.folder}/i*.qcow2'],
                 self.path("fleet.yaml"): ["i*.qcow2", "./i*.qcow2"]}
        for called, patterns in names.items():
            for pattern in patterns:
                self.manifest("version: 1\nrollout: {steps: [1, 50%]}\n"
                              f'images: [{{path: "{pattern}", compat: "1.1"}}]\n', name="fleet.yaml")
                self.save(called)
                for flags in ((), ("--shard=1/3",), ("--shard=2/3",)):
                    run, plan = ([os.path.basename(r["path"]) for r in answer.records] for answer in (
                        qbatch.qbatch("--json", "--dry-run", *flags, called, cwd=self.folder),
                        self.apply("--dry-run", *flags)))
                    self.assertEqual(plan, run, f"{called}: {pattern} {flags}")

    def test_a_killed_apply_is_resumed_by_the_command_that_it_names(self):
        self.save(self.fleet(12, 'limits: {wave: 1, jobs: 1, iops: 16}\n'
                                 'images: [{path: "i*.qcow2", compat: "1.1", size: +1M}]'))
        process = subprocess.Popen([qbatch.absolute(qbatch.TOOL), "apply", "--yes", "--state", self.state, self.plan],
                                   cwd=self.folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while process.poll() is None and qcow2.load(self.images[0]).size < 2 << 20:
            time.sleep(0.005)
        proc.kill_whole(process, self.folder)
        run = json.loads(self.tool("status", "--json", "--state", self.state, "last").out.splitlines()[0])
        self.assertIn(f"qbatch apply --resume={run['run']} ", run["finish"])
        done = self.tool(*run["finish"].split()[1:])
        self.assertEqual((done.code, self.sizes()), (0, [2] * 12), done.out + done.err)


class InSteps(PlanTest):
    def rollout(self, keys, n=8, more=""):
        """The images are named in the reverse of the order in which a shell lists them."""
        self.images = [self.create(f"i{i}.qcow2", compat="0.10") for i in range(n)]
        names = ", ".join(f'{{path: i{i}.qcow2, compat: "1.1"}}' for i in reversed(range(n)))
        return self.manifest(f"version: 1\nrollout: {keys}\n{more}\nimages: [{names}]\n")

    def upgraded(self):
        return [i for i, image in enumerate(self.images)
                if os.path.getsize(image) > 1000 and guest.info(image)["format-specific"]["data"]["compat"] == "1.1"]

    @staticmethod
    def steps(answer):
        return [(s["images"], s["changed"], s["verdict"]) for s in answer.summary["rollout"]["steps"]]

    def test_a_plan_is_carried_out_in_the_steps_of_its_manifest(self):
        gate = "[/bin/sh, -c, 'echo {step} {changed} >> said']"
        self.save(self.rollout(f"{{steps: [1, 50%], order: manifest, gate: {{max_failed: 3, command: {gate}}}}}"))
        self.assertFalse(os.path.exists(self.path("said")))
        lines = [json.loads(line) for line in self.tool("plan", "show", "--json", self.plan).out.splitlines()]
        self.assertEqual(lines[0]["rollout"]["steps"], ["1", "50%"])
        self.assertEqual([os.path.basename(line["path"]) for line in lines[1:-1]],
                         [f"i{i}.qcow2" for i in reversed(range(8))])
        self.assertIn("\nsteps     1, 4, 8 images\n", self.tool("plan", "show", self.plan).out)
        answer = self.apply()
        self.assertEqual((answer.code, self.steps(answer)),
                         (0, [(1, 1, "passed"), (4, 3, "passed"), (8, 4, "none")]), str(answer))
        self.assertEqual([os.path.basename(r["path"]) for r in answer.records if r["step"] == 2],
                         ["i6.qcow2", "i5.qcow2", "i4.qcow2"])
        with open(self.path("said"), encoding="utf-8") as f:
            self.assertEqual(f.read(), "1 1\n2 3\n")

    def test_the_sample_is_that_of_the_manifest(self):
        manifest = self.rollout("{steps: [2], gate: {command: [/bin/false]}}")
        self.save(manifest)
        lines = [json.loads(line) for line in self.tool("plan", "show", "--json", self.plan).out.splitlines()]
        self.assertEqual([os.path.basename(line["path"]) for line in lines[1:-1]],
                         [f"i{i}.qcow2" for i in reversed(range(8))])  # in the manifest's order, not the sample's
        self.assertEqual(self.apply().code, 1)
        there = self.upgraded()
        self.assertEqual(len(there), 2)
        for image in self.images:
            os.unlink(image)
        self.rollout("{steps: [2], gate: {command: [/bin/false]}}")
        self.assertEqual(qbatch.qbatch("--json", "--state", self.state, manifest, cwd=self.folder).code, 1)
        self.assertEqual(self.upgraded(), there)

    def test_a_step_that_fails_ends_the_run_and_a_stale_image_fails_it(self):
        self.save(self.rollout("{steps: [2], order: manifest}"))
        proc.must(["qemu-img", "resize", "-q", self.images[7], "7M"])
        answer = self.apply()
        self.assertEqual((answer.code, answer.summary["rollout"]["steps"][0]["verdict"]), (1, "failed"), str(answer))
        self.assertLessEqual(len(self.upgraded()), 2)

    def test_what_the_plan_refused_is_not_too_many_for_the_gate(self):
        manifest = self.rollout("{steps: [2], order: manifest}")
        os.truncate(self.images[7], 100)
        self.save(manifest, code=1)
        answer = self.apply()
        self.assertEqual(self.steps(answer), [(2, 2, "passed"), (8, 5, "none")], str(answer))
        self.assertEqual((answer.code, self.upgraded()), (1, list(range(7))))

    def test_a_question_is_answered_by_the_command_that_the_run_names(self):
        self.save(self.rollout("{steps: [1, 3], ask: on}"))
        answer = self.apply()
        self.assertEqual((answer.code, self.steps(answer)[0]), (4, (1, 1, "asked")), str(answer))
        for code, changed in ((4, 3), (0, 8)):
            done = self.tool(*shlex.split(answer.summary["finish"])[1:])
            self.assertEqual((done.code, len(self.upgraded())), (code, changed), done.out + done.err)

    def test_the_command_that_answers_says_yes_once(self):
        self.save(self.rollout("{steps: [1], ask: on}"))
        done = self.tool("apply", "--json", "--yes", "--state", self.state, self.plan)
        self.assertEqual(done.code, 4, done.err)
        finish = json.loads(done.out.splitlines()[-1])["finish"]
        self.assertEqual(finish.count("--yes"), 1, finish)
        self.assertIn(f"\nfinish    cd {self.folder} && {finish}\n",
                      self.tool("status", "--state", self.state, "last").out)
        self.assertEqual(proc.run(["sh", "-c", finish.replace("qbatch", qbatch.absolute(qbatch.TOOL), 1)],
                                  cwd=self.folder).code, 0)

    def test_steps_that_no_manifest_has_are_refused(self):
        self.save(self.rollout("{steps: [1, 3], gate: {max_failed: 10%}}"))
        with open(self.plan, encoding="utf-8") as f:
            lines = f.read().splitlines(keepends=True)
        for change in ({"steps": []}, {"steps": ["3", "1"]}, {"steps": ["0"]}, {"steps": "1"}, {"steps": ["1"] * 32},
                       {"gate.max_failed": "1"}, {"steps": ["1"], "later": "on"}, {"steps": ["1"], "order": "any"}):
            head = json.loads(lines[0])
            head["rollout"] = change
            with open(self.plan, "w", encoding="utf-8") as f:
                f.writelines([json.dumps(head) + "\n"] + lines[1:])
            done = self.tool("apply", "--yes", self.plan)
            self.assertEqual(done.code, 2, f"{change}: {done.out}{done.err}")
            self.assertIn(":1: the plan is not used: ", done.err)
        self.assertEqual(self.upgraded(), [])


class Shown(PlanTest):
    def test_kinds_first_and_then_images(self):
        manifest = self.fleet(4, 'images: [{path: "i[012].qcow2", compat: "1.1"}, {path: "i3.qcow2", size: +1M}]')
        os.truncate(self.images[2], 100)
        self.save(manifest, code=1)
        shown = self.tool("plan", "show", self.plan)
        self.assertEqual(shown.code, 0)
        self.assertEqual(shown.out.splitlines()[0], "2 upgrade, 1 grow, 1 refused")
        self.assertRegex(shown.out, r"(?m)^would change +\S+i3.qcow2 +size: 1 MiB -> 2 MiB$")
        self.assertIn("labels    ticket: CHG-17\n", shown.out)
        lines = [json.loads(line) for line in self.tool("plan", "show", "--json", self.plan).out.splitlines()]
        self.assertEqual([line["type"] for line in lines], ["plan"] + ["image"] * 4 + ["end"])
        self.assertEqual([line["request"] for line in lines[1:5]],
                         [{"compat": "1.1"}] * 3 + [{"size": str(2 << 20)}])


class Asked(PlanTest):
    def test_without_a_terminal_and_yes_nothing_is_done(self):
        self.save(self.fleet())
        done = self.tool("apply", self.plan)
        self.assertEqual((done.code, self.sizes()), (2, [1, 1, 1]))
        self.assertIn("--yes says that the plan is agreed to", done.err)
        self.assertEqual(self.tool("apply", "--dry-run", self.plan).code, 0)

    def test_a_terminal_is_asked(self):
        self.save(self.fleet())
        for answer, code, sizes in (("n\n", 4, [1, 1, 1]), ("\n", 4, [1, 1, 1]), ("y\n", 0, [2, 2, 2])):
            ours, theirs = pty.openpty()
            process = subprocess.Popen([qbatch.absolute(qbatch.TOOL), "apply", self.plan], cwd=self.folder,
                                       stdin=theirs, stderr=theirs, stdout=subprocess.DEVNULL)
            os.close(theirs)
            os.write(ours, answer.encode())
            process.wait(timeout=60)
            os.close(ours)
            self.assertEqual((process.returncode, self.sizes()), (code, sizes))


class Tagged(PlanTest):
    def setUp(self):
        super().setUp()
        self.manifest_path = self.fleet(4, """images:
              - {path: "i[01].qcow2", size: +1M, tags: [web, front]}
              - {path: "i2.qcow2", size: +1M, tags: db}
              - {path: "i3.qcow2", size: +1M}""")

    def test_only_those_that_are_named_are_amended(self):
        self.save(self.manifest_path)
        answer = self.apply("--tags", "front")
        self.assertEqual((answer.code, answer.summary["images"], self.sizes()), (0, 2, [2, 2, 1, 1]), str(answer))
        self.assertEqual((self.apply("--skip-tags", "web,db").code, self.sizes()), (0, [2, 2, 1, 2]))
        self.assertEqual((self.apply().code, self.sizes()), (0, [2, 2, 2, 2]))

    def test_the_question_is_about_those(self):
        self.save(self.manifest_path)
        ours, theirs = pty.openpty()
        process = subprocess.Popen([qbatch.absolute(qbatch.TOOL), "apply", "--tags", "db", self.plan], cwd=self.folder,
                                   stdin=theirs, stderr=theirs, stdout=subprocess.DEVNULL)
        os.close(theirs)
        os.write(ours, b"y\n")
        process.wait(timeout=60)
        shown = os.read(ours, 10000).decode()
        os.close(ours)
        self.assertIn("Amend 1 image? [y/N]", shown)
        self.assertIn("1 grow\r\n", shown)
        self.assertEqual((process.returncode, self.sizes()), (0, [1, 1, 2, 1]))

    def test_a_tag_that_no_image_has_and_a_plan_without_tags(self):
        self.save(self.manifest_path)
        for flags, why in ((("--tags", "dbs"), 'did you mean "db"?'), (("--tags", "web", "--skip-tags", "web"), "leaves no image")):
            done = self.tool("apply", "--yes", *flags, self.plan)
            self.assertEqual((done.code, self.sizes()), (2, [1, 1, 1, 1]), done.err)
            self.assertIn(why, done.err)
        with open(self.plan, encoding="utf-8") as f:
            lines = f.read().splitlines(keepends=True)
        for wrong in ('["a b"]', '[]', '"web"', '[1]', '[""]'):
            with open(self.plan, "w", encoding="utf-8") as f:
                f.writelines([lines[0], lines[1].replace('["web","front"]', wrong)] + lines[2:])
            done = self.tool("apply", "--yes", self.plan)
            self.assertEqual((done.code, self.sizes()), (2, [1, 1, 1, 1]), done.err)
            self.assertIn("tags is not a list of words", done.err.replace('"', ""))


class Trusted(PlanTest):
    def refused(self, words):
        done = self.tool("apply", "--yes", self.plan)
        self.assertEqual((done.code, done.out), (2, ""), done.err)
        self.assertIn(words, done.err)
        self.assertEqual(self.sizes(), [1, 1, 1])

    def test_each_cut_and_each_changed_byte_makes_it_useless(self):
        self.save(self.fleet())
        with open(self.plan, "rb") as f:
            whole = f.read()
        lines = whole.splitlines(keepends=True)
        broken = [whole[:-1], whole[:-20], b"".join(lines[:-1]), b"".join(lines[:2] + lines[3:]), b"",
                  lines[0], whole + lines[1], whole.replace(b'"size":"2097152"', b'"size":"3145728"'),
                  whole.replace(b"i0.qcow2", b"../../x0"), b"{}\n" + whole, whole.replace(b'"format":1', b'"format":2')]
        for text in broken:
            with open(self.plan, "wb") as f:
                f.write(text)
            self.refused("the plan is not used")

    def test_who_else_can_write_it_is_not_trusted(self):
        self.save(self.fleet())
        os.chmod(self.plan, 0o620)
        self.refused("other users can write this plan")
        os.chmod(self.plan, 0o600)
        os.rename(self.plan, self.path("real"))
        os.symlink("real", self.plan)
        self.refused("a plan is not a link")
        os.unlink(self.plan)
        self.refused("No such file")

    def test_a_file_that_is_no_plan_is_not_replaced(self):
        manifest = self.fleet()
        with open(self.plan, "w", encoding="utf-8") as f:
            f.write("my letters\n")
        self.save(manifest, code=2)
        with open(self.plan, encoding="utf-8") as f:
            self.assertEqual(f.read(), "my letters\n")
        self.assertEqual([n for n in os.listdir(self.folder) if n.endswith(".tmp")], [])


if __name__ == "__main__":
    main()
