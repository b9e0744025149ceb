"""policy.extend_command: a device that is too small is made larger once, before the first write."""
import json
import os
import shlex
import signal
import subprocess
import time

import context  # noqa: F401
import proc
import qbatch
from fixture import MIB, main
from loop_device import SECTOR, LoopTest

CLUSTER = 65536


class Extend(LoopTest):
    def script(self, *lines):
        """A command that notes its arguments, a line a call, and then does this."""
        path = self.path("grow")
        with open(path, "w", encoding="utf-8") as f:
            f.write("\n".join(["#!/bin/sh", f"cd {shlex.quote(self.folder)}",
                               "flock calls.lock sh -c 'echo \"$@\" >> calls' sh \"$@\"", *lines]) + "\n")
        os.chmod(path, 0o755)
        return path

    def lengthening(self, bytes_more="$2"):
        """Does what a logical volume's extension does, in these bytes."""
        return (f"head -c \"$(({bytes_more}))\" /dev/urandom >> \"$(losetup -n -O BACK-FILE $1)\"",
                "losetup --set-capacity $1")

    def calls(self):
        try:
            with open(self.path("calls"), encoding="utf-8") as f:
                return [line.split() for line in f]
        except FileNotFoundError:
            return []

    def small_device(self, name="disk"):
        """With an image that fits and, made a version 2 one, does not."""
        image = self.overlay()
        return self.on_device(image, -(-os.path.getsize(image) // CLUSTER) * CLUSTER, name)

    def manifest_of(self, *images, policy="", limits="", keys='compat: "0.10", zero_clusters: allocate'):
        paths = "".join(f"\n              - {{path: {image}, {keys}}}" for image in images)
        command = json.dumps([self.path("grow"), "{path}", "{bytes}"])
        return self.manifest(f"""
            version: 1
            policy: {{extend_command: {command}{policy}}}
            limits: {{jobs: 2{limits}}}
            images:{paths}
            """)

    def run_on(self, *images, flags=(), preexec=None, **kwargs):
        return qbatch.qbatch("--json", *flags, self.manifest_of(*images, **kwargs), preexec=preexec)

    def fails(self, device, words, code="no_space", calls=1, **kwargs):
        """The image fails with these words, untouched; the rest of the device as well."""
        size = os.path.getsize(self.path("disk"))
        before = self.digest(size)
        answer = self.run_on(device, **kwargs)
        self.assertEqual((answer.code, answer.status, answer.error), (1, "failed", code), str(answer))
        self.assertIn(words, answer.first["error"]["message"])
        self.assertEqual(self.digest(size), before)
        self.assertEqual(len(self.calls()), calls)
        return answer

    def digest(self, size):
        with open(self.path("disk"), "rb") as f:
            return hash(f.read(size))

    # ---- it works -------------------------------------------------------------------------------
    def test_a_device_gets_what_it_lacks_and_the_image_is_amended(self):
        for verify in "metadata", "content":
            with self.subTest(verify):
                device = self.small_device()
                self.script(*self.lengthening())
                before, size = self.layers(device), os.path.getsize(self.path("disk"))
                answer = self.run_on(device, policy=f", verify: {verify}")
                self.assertEqual((answer.code, answer.status), (0, "changed"), str(answer))
                lacked = answer.first["space"]["device_lacks_bytes"]
                self.assertEqual(self.calls(), [[device, str(lacked)]])
                self.assertEqual(answer.first["image_end_offset"], size + lacked)
                self.assert_same_layers(before, self.layers(device))
                os.unlink(self.path("calls"))
                answer = self.run_on(device)  # nothing is left to do, or to run
                self.assertEqual((answer.status, self.calls()), ("unchanged", []), str(answer))

    def test_more_than_enough_is_as_good_and_sectors_of_odd_numbers_are(self):
        for more in "$2 + 512", "$2 + 511", "$2 + 100000":
            with self.subTest(more):
                device = self.small_device()
                self.script(*self.lengthening(more))
                before = self.layers(device)
                self.assertEqual(self.run_on(device).code, 0)
                self.assert_same_layers(before, self.layers(device))

    def test_a_device_with_room_and_a_file_are_left_alone(self):
        image = self.overlay()
        device = self.on_device(image, 16 * MIB)
        self.script("exit 1")
        answer = self.run_on(device, image)
        self.assertEqual((answer.code, self.calls()), (0, []), str(answer))
        self.assertEqual([r["space"]["device_lacks_bytes"] for r in answer.records], [0, 0])

    def test_a_fleet_in_which_some_lack_room(self):
        small = [self.small_device(f"disk{i}") for i in range(5)]
        before = self.layers(small[0])
        roomy = self.on_device(self.path("a.qcow2"), 16 * MIB, "roomy")
        self.script(f"test $1 = {small[3]} && exit 7", *self.lengthening())
        answer = self.run_on(*small, roomy, self.path("a.qcow2"))
        self.assertEqual([r["status"] for r in answer.records],
                         ["changed"] * 3 + ["failed"] + ["changed"] * 3, str(answer))
        self.assertEqual(sorted(c[0] for c in self.calls()), sorted(small))
        for device in (*small[:3], small[4], roomy):
            self.assert_same_layers(before, self.layers(device))
        self.script(*self.lengthening())  # the reason is gone: the rest is done
        answer = qbatch.qbatch("--json", "--resume", self.path("fleet.yaml"))
        self.assertEqual(answer.code, 0, str(answer))
        self.assertEqual(self.calls()[-1][0], small[3])
        self.assertEqual(len(self.calls()), 6)
        self.assert_same_layers(before, self.layers(small[3]))

    def test_a_dry_run_says_that_it_would_be_run(self):
        device = self.small_device()
        self.script(*self.lengthening())
        sha = proc.sha256(device)
        answer = self.run_on(device, flags=["--dry-run"])
        self.assertEqual((answer.code, answer.status), (0, "would_change"), str(answer))
        self.assertGreater(answer.first["space"]["device_lacks_bytes"], 0)
        shown = proc.run([qbatch.absolute(qbatch.TOOL), "--dry-run", self.path("fleet.yaml")])
        self.assertIn("policy.extend_command is to be run for", shown.out)
        self.assertEqual((proc.sha256(device), self.calls()), (sha, []))
        shown = proc.run([qbatch.absolute(qbatch.TOOL), self.path("fleet.yaml")])
        self.assertIn("policy.extend_command was run for", shown.out)

    def test_the_image_is_locked_and_its_file_not_inherited(self):
        device = self.small_device()
        self.script("readlink /proc/$$/fd/* > open",
                    "qemu-img check -q -f qcow2 $1 > /dev/null 2> said; echo $? > checked",
                    *self.lengthening())
        self.assertEqual(self.run_on(device).code, 0)
        with open(self.path("open"), encoding="utf-8") as f:
            self.assertNotIn(device, f.read())
        with open(self.path("checked"), encoding="utf-8") as f:
            self.assertNotEqual(f.read().strip(), "0")
        with open(self.path("said"), encoding="utf-8") as f:
            self.assertIn("lock", f.read())

    def test_a_parent_that_ignores_its_children_changes_nothing(self):
        device = self.small_device()
        self.script(*self.lengthening())
        answer = self.run_on(device, preexec=lambda: signal.signal(signal.SIGCHLD, signal.SIG_IGN))
        self.assertEqual((answer.code, len(self.calls())), (0, 1), str(answer))

    # ---- it does not ----------------------------------------------------------------------------
    def test_a_command_that_fails_fails_the_image(self):
        self.script("printf 'no\\033[2J extents\\nleft\\n' >&2", "exit 5")
        answer = self.fails(self.small_device(), "grow ended with exit code 5: no\\x1b[2J extents left")
        self.assertTrue(answer.first["error"]["retryable"])
        self.assertIsNone(answer.first["after"])

    def test_one_that_fails_after_it_did_something_fails_the_image_all_the_same(self):
        self.script(*self.lengthening(), "exit 1")
        self.fails(self.small_device(), "ended with exit code 1")

    def test_too_little_fails_the_image(self):
        self.script(*self.lengthening(f"$2 - {SECTOR}"))
        self.fails(self.small_device(), "after policy.extend_command the device has")
        self.fails_with_bytes(SECTOR)

    def fails_with_bytes(self, lacks):
        """What is still missing is told, and the command runs once for an image of a run."""
        answer = self.run_on(self.calls()[0][0])
        self.assertEqual(self.calls()[-1][1], str(lacks), str(answer))
        self.assertIn(f"needs {lacks} bytes more", answer.first["error"]["message"])

    def test_a_program_that_is_missing(self):
        device = self.small_device()
        self.fails(device, "cannot run " + self.path("grow"), calls=0)

    def test_refusals_come_before_it(self):
        self.script(*self.lengthening())
        device = self.small_device()
        self.fails(device, "policy.max_growth", policy=", max_growth: 1k", calls=0)
        self.fails(device, "after: ", code="expectation", calls=0,
                   keys='compat: "0.10", zero_clusters: allocate, after: {dirty: on}')

    def test_files_and_devices_of_such_a_run_are_undone_as_ever(self):
        image, device = self.overlay(), self.small_device()
        before, size = self.layers(image), os.path.getsize(self.path("disk"))
        self.script(*self.lengthening())
        answer = self.run_on(image, device, keys='compat: "0.10", keep_undo: on')
        self.assertEqual([r["status"] for r in answer.records], ["changed", "changed"], str(answer))
        self.assertGreater(os.path.getsize(self.path("disk")), size)
        undone = qbatch.qbatch("undo", "--json", answer.summary["run"])
        self.assertEqual([r["status"] for r in undone.records], ["changed", "changed"], str(undone))
        for path in image, device:
            self.assert_same_layers(before, self.layers(path))

    # ---- it hangs -------------------------------------------------------------------------------
    def test_an_interrupted_run_ends_a_command_that_hangs(self):
        self.script("sleep 40 & echo $! > hangs; mv hangs hanging; wait")
        self.interrupted()

    def test_which_may_clean_up_before_it_ends(self):
        """A shell cannot catch what was ignored when it began."""
        for sandbox in "auto", "off":
            with self.subTest(sandbox):
                self.script("trap 'mv hanging cleaned; exit 3' TERM", "sleep 40 & echo $! > hangs; mv hangs hanging; wait")
                self.interrupted(policy=f", sandbox: {sandbox}", left="cleaned")
                os.unlink(self.path("cleaned"))

    def interrupted(self, left="hanging", **kwargs):
        device = self.small_device()
        sha = proc.sha256(device)
        run = subprocess.Popen([qbatch.absolute(qbatch.TOOL), "--json", self.manifest_of(device, **kwargs)],
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                               preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
        while run.poll() is None and not os.path.exists(self.path("hanging")):
            time.sleep(0.01)
        run.send_signal(signal.SIGINT)
        out, err = run.communicate(timeout=proc.TIMEOUT_SECONDS)
        answer = qbatch.Answer(proc.Result(run.args, run.returncode, out, err))
        self.assertEqual((answer.code, answer.status, answer.error), (75, "interrupted", "cancelled"),
                         str(answer))
        self.assertIn("interrupted while policy.extend_command ran, which was ended",
                      answer.first["error"]["message"])
        self.assert_is_gone(left)
        self.assertEqual(proc.sha256(device), sha)

    def assert_is_gone(self, left="hanging"):
        with open(self.path(left), encoding="utf-8") as f:
            pid = f.read().strip()
        try:
            with open(f"/proc/{pid}/stat", encoding="utf-8") as f:
                self.assertEqual(f.read().rsplit(")", 1)[1].split()[0], "Z")
        except FileNotFoundError:
            pass

    def test_its_time_is_the_image_s(self):
        self.script("sleep 40 & echo $! > hangs; mv hangs hanging; wait")
        self.fails(self.small_device(), "limits.timeout (3 s) ran out while policy.extend_command ran",
                   code="timeout", limits=", timeout: 3")
        self.assert_is_gone()


if __name__ == "__main__":
    main()
