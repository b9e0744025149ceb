"""^C, SIGTERM and kill -9 at any moment: each image is its old self or fully amended."""
import json
import os
import random
import shutil
import signal
import subprocess
import time

import context  # noqa: F401
import guest
import proc
import qbatch
from fixture import ImageTest, main

FLEET = 12


class Interrupted(ImageTest):
    def setUp(self):
        super().setUp()
        self.raw("base.raw", "4M", "write -q -P 9 0 4M")
        first = self.create("00.qcow2", size="4M", backing="base.raw", backing_fmt="raw",
                            cluster_size=4096)
        self.io(first, "write -q -P 1 0 1M", "write -q -z 256k 256k", "write -q -z -u 2M 1M")
        self.snapshot(first, "s")
        self.io(first, "write -q -P 2 0 128k")
        self.images = [first] + [self.copy(first, f"{i:02}.qcow2") for i in range(1, FLEET)]
        self.original = self.copy(first, "original")
        self.layers = guest.read_all(first)
        self.fleet = self.manifest("""
            version: 1
            limits: {jobs: 2}
            images: [{path: "*.qcow2", compat: "0.10"}]
            """)

    def start(self):
        return subprocess.Popen([qbatch.absolute(qbatch.TOOL), "--json", self.fleet], text=True,
                                stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)

    def how_long(self):
        """Seconds that a whole run takes here: only to aim at its middle."""
        began = time.monotonic()
        self.start().communicate(timeout=120)
        took = time.monotonic() - began
        self.restore()
        return took

    def restore(self):
        for image in self.images:
            shutil.copyfile(self.original, image)

    def wait_until_closed(self):
        """The kernel keeps the files of a killed program open until what it had in a ring is done."""
        inodes = {str(os.stat(image).st_ino) for image in self.images}

        def held():
            with open("/proc/locks") as locks:
                return any(line.split()[-3].split(":")[-1] in inodes for line in locks)

        for _ in range(1000):
            if not held():
                return
            time.sleep(0.01)
        self.fail("a killed run still holds its locks")

    def slow_run(self, keys=""):
        """A run that has begun to write and takes long over it."""
        fleet = self.manifest(f"""
            version: 1
            limits: {{rate: 64k}}
            images: [{{path: "*.qcow2", compat: "0.10", zero_method: write{keys}}}]
            """, "slow.yaml")
        run = subprocess.Popen([qbatch.absolute(qbatch.TOOL), fleet], text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        size = os.path.getsize(self.original)
        for _ in range(3000):
            if any(os.path.getsize(image) != size for image in self.images):
                return run
            time.sleep(0.01)
        self.fail("the run does not begin to write")

    def test_the_first_signal_is_answered_and_another_run_is_named(self):
        run = self.slow_run()
        other = qbatch.qbatch("amend", "-o", "lazy_refcounts=on", *self.images)
        self.assertEqual(other.code, 3, str(other))
        self.assertRegex(other.result.err, r"another qbatch is under way \(run [0-9a-f-]+ of .*slow.yaml\)")
        run.send_signal(signal.SIGINT)
        out, err = run.communicate(timeout=60)
        self.assertEqual(run.returncode, 75, out + err)
        self.assertIn("qbatch: interrupted: each image is finished or left as it was", err)
        self.assertIn("--resume", out)
        self.assert_old_or_new()

    def status(self, *operands):
        shown = proc.must([qbatch.absolute(qbatch.TOOL), "status", "--json", *operands])
        return [json.loads(line) for line in shown.splitlines()]

    def test_status_counts_what_can_be_put_back_and_has_one_word_for_a_run(self):
        run = self.slow_run(", keep_undo: true")
        run.send_signal(signal.SIGINT)
        out, err = run.communicate(timeout=60)
        self.assertEqual(run.returncode, 75, out + err)
        shown = self.status("last")[0]
        self.assertEqual(shown["undoable"], shown["changed"], shown)
        page = proc.must([qbatch.absolute(qbatch.TOOL), "status", "last"])
        self.assertRegex(page, rf"\nundo +{shown['changed']} images? can be put back\n")
        self.assertEqual(qbatch.qbatch(self.path("slow.yaml"), "--set", "zero_method=auto", "--new-run").code, 0)
        for word in ([], [shown["run"]]):
            runs = {r["run"]: r["state"] for r in self.status(*word) if r["type"] == "run"}
            self.assertEqual(runs[shown["run"]], "superseded")

    def assert_old_or_new(self):
        for image in self.images:
            self.assert_sound(image)
            self.assert_same_layers(self.layers, guest.read_all(image))

    def test_kill_9_at_any_moment_leaves_old_or_new_images_and_the_next_run_ends_the_work(self):
        took, rng = self.how_long(), random.Random(9)
        for _ in range(12):
            run = self.start()
            time.sleep(rng.random() * took)
            run.kill()
            run.communicate()
            self.wait_until_closed()
            self.assert_old_or_new()
            answer = qbatch.qbatch("--json", self.fleet)
            self.assertEqual(answer.code, 0, str(answer))
            self.assert_old_or_new()
            self.restore()

    def test_ctrl_c_and_sigterm_report_every_image_and_exit_75(self):
        took, rng = self.how_long(), random.Random(10)
        codes = set()
        for number in range(10):
            run = self.start()
            time.sleep(rng.random() * took)
            run.send_signal(signal.SIGINT if number % 2 else signal.SIGTERM)
            out, _ = run.communicate(timeout=60)
            answer = qbatch.Answer(proc.Result(["qbatch"], run.returncode, out, ""))
            codes.add(answer.code)
            if answer.code not in (0, -signal.SIGINT, -signal.SIGTERM):  # over, or not yet begun
                self.assertEqual(answer.code, 75, out)
                early = (answer.summary or {}).get("error")  # while the manifest was read
                if early:
                    self.assertEqual(early, "interrupted before the first image; nothing was touched")
                self.assertEqual(len(answer.records), 0 if early else FLEET, out)
                self.assertIsNotNone(answer.summary)
                self.assertLessEqual({r["status"] for r in answer.records},
                                     {"changed", "interrupted", "unchanged"})
            self.assert_old_or_new()
            self.restore()
        self.assertLessEqual(codes, {0, 75, -signal.SIGINT, -signal.SIGTERM})


if __name__ == "__main__":
    main()
