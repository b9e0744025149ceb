"""A running guest's image is never touched, and QEMU never meets a half-amended one."""
import subprocess

import context  # noqa: F401
import proc
import qbatch
from fixture import ImageTest, main


class Held(ImageTest):
    def hold(self, image, *flags):
        """QEMU has the image open, as a running guest does."""
        holder = subprocess.Popen(["qemu-io", "-f", "qcow2", *flags, image], text=True,
                                  stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.addCleanup(self.release, holder)
        holder.stdin.write("length\n")
        holder.stdin.flush()
        holder.stdout.readline()  # it has answered: the image is open
        return holder

    @staticmethod
    def release(holder):
        if holder.poll() is None:
            holder.stdin.close()
            holder.wait(30)
        holder.stdout.close()

    def test_an_image_of_a_running_guest_is_skipped_with_exit_code_3(self):
        image, other = self.create(), self.create("b.qcow2")
        sha = proc.sha256(image)
        holder = self.hold(image)
        answer = qbatch.amend([image, other], lazy_refcounts="on")
        self.assertEqual(answer.code, 3, str(answer))
        self.assertEqual([r["status"] for r in answer.records], ["skipped", "changed"])
        self.assertEqual(answer.error, "locked")
        self.assertEqual(proc.sha256(image), sha)
        self.release(holder)
        self.amended(image, lazy_refcounts="on")

    def test_a_reader_holds_it_too(self):
        image = self.create()
        self.hold(image, "-r")
        answer = qbatch.amend(image, lazy_refcounts="on")
        self.assertEqual((answer.code, answer.status), (3, "skipped"), str(answer))

    def test_a_backing_file_of_a_running_guest_is_skipped(self):
        base = self.create("base.qcow2")
        self.hold(self.create(backing="base.qcow2"))
        answer = qbatch.amend(base, lazy_refcounts="on")
        self.assertEqual((answer.code, answer.status), (3, "skipped"), str(answer))

    def test_a_dry_run_sees_the_lock_too(self):
        image = self.create()
        self.hold(image)
        answer = qbatch.amend(image, flags=["--dry-run"], lazy_refcounts="on")
        self.assertEqual((answer.code, answer.status), (3, "skipped"), str(answer))

    def policy(self, policy):
        return self.run_manifest(f"""
            version: 1
            policy: {policy}
            images: [{{path: a.qcow2, lazy_refcounts: on}}]
            """)

    def test_the_policy_can_make_it_a_failure(self):
        self.hold(self.create())
        answer = self.policy("{on_locked: fail}")
        self.assertEqual((answer.code, answer.status, answer.error), (1, "failed", "locked"),
                         str(answer))

    def test_the_policy_can_wait_for_a_time(self):
        self.hold(self.create())
        answer = self.policy("{on_locked: wait, lock_timeout: 1}")
        self.assertIn(answer.code, (1, 3), str(answer))
        self.assertEqual(answer.error, "locked")

    def test_waiting_ends_when_the_guest_does(self):
        holder = self.hold(self.create())
        argv = [qbatch.absolute(qbatch.TOOL), "--json", self.manifest("""
            version: 1
            policy: {on_locked: wait, lock_timeout: 60}
            images: [{path: a.qcow2, lazy_refcounts: on}]
            """)]
        waiting = subprocess.Popen(argv, text=True, stdout=subprocess.PIPE,
                                   stderr=subprocess.DEVNULL)
        with self.assertRaises(subprocess.TimeoutExpired):
            waiting.wait(1)
        self.release(holder)
        out, _ = waiting.communicate(timeout=60)
        self.assertEqual(waiting.returncode, 0, out)
        self.assertIn('"changed"', out)


class TwoAtOnce(ImageTest):
    def test_two_qbatch_on_one_manifest_lose_nothing(self):
        images = [self.create(f"{i:02}.qcow2") for i in range(20)]
        for image in images:
            self.io(image, "write -q -P 1 0 128k", "write -q -z 0 64k")
        manifest = self.manifest("""
            version: 1
            images: [{path: "*.qcow2", compat: "0.10"}]
            """)
        for _ in range(3):
            both = [subprocess.Popen([qbatch.absolute(qbatch.TOOL), "--json", manifest], text=True,
                                     stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
                    for _ in range(2)]
            for one in both:
                out, _ = one.communicate(timeout=120)
                self.assertIn(one.returncode, (0, 3), out)
        for image in images:
            self.assert_sound(image)
            self.assert_reads(image, 0, "64k", 0)
            self.assert_reads(image, "64k", "64k", 1)
            self.amended(image, status="unchanged", compat="0.10")


if __name__ == "__main__":
    main()
