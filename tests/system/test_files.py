"""Files that are no images to write to: one clear line each, and the others go on."""
import ctypes
import os
import resource
import shutil
import unittest

import context  # noqa: F401
import proc
import qbatch
from fixture import ImageTest, main


class Files(ImageTest):
    def fails(self, path, *codes, **kwargs):
        answer = qbatch.amend(path, lazy_refcounts="on", cwd=self.folder, **kwargs)
        self.assertFalse(answer.crashed or answer.result.timed_out, str(answer))
        self.assertEqual((answer.code, answer.status), (1, "failed"), str(answer))
        self.assertIn(answer.error, codes, str(answer))
        return answer.first

    def test_a_missing_file(self):
        self.fails(self.path("none.qcow2"), "not_found")

    def test_a_folder(self):
        self.fails(self.folder, "not_qcow2", "unsupported", "io", "permission", "refused")

    def test_a_fifo_is_not_waited_for(self):
        os.mkfifo(self.path("fifo"))
        self.fails(self.path("fifo"), "not_qcow2", "unsupported", "refused")

    def test_a_character_device(self):
        self.fails("/dev/null", "not_qcow2", "unsupported", "refused")

    def test_a_raw_file_and_an_empty_one(self):
        self.fails(self.raw("disk.raw", "1M"), "not_qcow2")
        open(self.path("empty"), "w").close()
        self.fails(self.path("empty"), "not_qcow2")

    def test_other_formats(self):
        for fmt in ("qed", "vmdk", "vdi", "vhdx", "vpc", "qcow"):
            path = self.path(f"a.{fmt}")
            if proc.run(["qemu-img", "create", "-q", "-f", fmt, path, "1M"]).code == 0:
                with self.subTest(format=fmt):
                    self.fails(path, "not_qcow2", "unsupported")

    def test_a_link_that_leads_nowhere_and_one_that_leads_to_itself(self):
        os.symlink("none", self.path("dangling"))
        self.fails(self.path("dangling"), "not_found")
        os.symlink("loop", self.path("loop"))
        self.fails(self.path("loop"), "not_found", "io", "refused", "permission")

    def test_a_read_only_file(self):
        image = self.create()
        os.chmod(image, 0o444)
        sha = proc.sha256(image)
        if os.geteuid() == 0:  # root may write anything: ask as nobody
            os.chmod(self.folder, 0o755)
            tool = shutil.copy(qbatch.absolute(qbatch.TOOL), self.path("qbatch"))
            done = qbatch.qbatch("amend", "--json", "-o", "lazy_refcounts=on", image, tool=tool,
                                 cwd=self.folder, preexec=proc.become_nobody)
        else:
            done = qbatch.amend(image, lazy_refcounts="on")
        self.assertEqual((done.code, done.error), (1, "permission"), str(done))
        self.assertEqual(proc.sha256(image), sha)

    def test_the_others_go_on(self):
        good = [self.create(f"{i}.qcow2") for i in range(3)]
        images = [good[0], self.path("missing"), good[1], self.raw("x.raw", "1M"), good[2]]
        answer = qbatch.amend(images, lazy_refcounts="on")
        self.assertEqual(answer.code, 1)
        self.assertEqual([r["status"] for r in answer.records],
                         ["changed", "failed", "changed", "failed", "changed"], str(answer))
        self.assertEqual([r["path"] for r in answer.records], images)

    def test_after_an_error_policy_stop_starts_nothing_more(self):
        images = [self.create(f"{i}.qcow2") for i in range(3)]
        before = proc.sha256(images[2])
        answer = self.run_manifest("""
            version: 1
            policy: {on_error: stop}
            limits: {jobs: 1}
            defaults: {lazy_refcounts: on}
            images: [{path: 0.qcow2}, {path: missing.qcow2}, {path: 1.qcow2}, {path: 2.qcow2}]
            """)
        self.assertIn(answer.code, (1, 2), str(answer))
        self.assertIsNotNone(before)
        self.assertFalse(answer.crashed, str(answer))


class AccessTimes(ImageTest):
    """With the mount option relatime the first read after each write writes the inode again."""

    def setUp(self):
        super().setUp()
        self.images = [self.create("0.qcow2")]
        self.images += [self.copy(self.images[0], f"{i}.qcow2") for i in range(1, 12)]

    def amends(self, count, owner=None, **kwargs):
        """Whether the images are read without a trace."""
        long_ago = 10 ** 18
        for image in self.images[:count]:
            os.utime(image, ns=(long_ago, os.stat(image).st_mtime_ns))
            if owner is not None:
                os.chown(image, owner, owner)
        argv = [qbatch.absolute(qbatch.TOOL), "amend", "-q", "-o", "refcount_bits=8"]
        done = proc.run(argv + self.images[:count], **kwargs)
        self.assertEqual(done.code, 0, done.err)
        return {os.stat(image).st_atime_ns for image in self.images[:count]} == {long_ago}

    def test_reading_an_image_leaves_its_access_time(self):
        for count in (1, 12):  # alone it is read back from the disk
            with self.subTest(images=count):
                self.assertTrue(self.amends(count))

    @unittest.skipUnless(os.geteuid() == 0, "files of another owner, which may be amended")
    def test_where_the_kernel_does_not_permit_that_the_image_is_amended_all_the_same(self):
        def without_the_right():
            cap_fowner, pr_capbset_drop = 3, 24
            ctypes.CDLL(None).prctl(pr_capbset_drop, cap_fowner, 0, 0, 0)

        self.amends(12, owner=1234, preexec=without_the_right)

    def test_a_check_leaves_it_too(self):
        os.utime(self.images[0], ns=(0, os.stat(self.images[0]).st_mtime_ns))
        proc.must([qbatch.absolute(qbatch.TOOL), "check", "-q", self.images[0]])
        self.assertEqual(os.stat(self.images[0]).st_atime_ns, 0)


class WrittenByNobody(ImageTest):
    """Files that not even root may write, and more files than may be open."""

    def fails_untouched(self, image, code):
        sha, stat = proc.sha256(image), os.stat(image)
        good = self.create("good.qcow2")
        answer = qbatch.amend([image, good], lazy_refcounts="on")
        self.assertEqual(answer.code, 1, str(answer))
        self.assertEqual([r["status"] for r in answer.records], ["failed", "changed"], str(answer))
        self.assertEqual(answer.error, code, str(answer))
        self.assertEqual(answer.first["path"], image)
        self.assert_untouched(image, sha, stat)

    @unittest.skipUnless(os.geteuid() == 0, "only root makes files immutable")
    def test_an_immutable_file(self):
        image = self.create()
        done = proc.run(["chattr", "+i", image])
        if done.code:
            self.skipTest(f"no immutable files here: {done.err.strip()}")
        self.addCleanup(proc.run, ["chattr", "-i", image])
        self.fails_untouched(image, "permission")

    @unittest.skipUnless(os.geteuid() == 0, "only root mounts")
    def test_a_file_system_mounted_read_only(self):
        folder = self.path("mounted")
        os.mkdir(folder)
        image = self.create("mounted/a.qcow2")
        if proc.run(["mount", "--bind", folder, folder]).code:
            self.skipTest("mounting is not allowed here")
        self.addCleanup(proc.run, ["umount", folder])
        proc.must(["mount", "-o", "remount,bind,ro", folder])
        self.fails_untouched(image, "permission")

    def test_more_images_than_may_be_open_at_once(self):
        first = self.create("00.qcow2")
        self.io(first, "write -q -P 1 0 64k", "write -q -z 64k 64k")
        images = [first] + [self.copy(first, f"{i:02}.qcow2") for i in range(1, 50)]

        def limited():
            resource.setrlimit(resource.RLIMIT_NOFILE, (32, 32))

        answer = qbatch.qbatch("amend", "--json", "-o", "compat=0.10", *images, preexec=limited)
        self.assertEqual(answer.code, 0, str(answer))
        self.assertEqual([r["path"] for r in answer.records], images)
        self.assertEqual({r["status"] for r in answer.records}, {"changed"})
        self.assert_sound(images[-1])


class OneFileTwice(ImageTest):
    def setUp(self):
        super().setUp()
        self.image = self.create()
        self.sha = proc.sha256(self.image)

    def refused_as_duplicate(self, other):
        answer = self.run_manifest(f"""
            version: 1
            defaults: {{lazy_refcounts: on}}
            images: [{{path: a.qcow2}}, {{path: {other}}}]
            """)
        self.assertEqual(answer.code, 2, str(answer))
        self.assertIn("fleet.yaml:3", answer.result.err)
        self.assertEqual(proc.sha256(self.image), self.sha)

    def test_by_its_own_name(self):
        self.refused_as_duplicate("a.qcow2")

    def test_by_another_spelling(self):
        self.refused_as_duplicate("./a.qcow2")

    def test_by_a_symbolic_link(self):
        os.symlink("a.qcow2", self.path("link.qcow2"))
        self.refused_as_duplicate("link.qcow2")

    def test_by_a_hard_link(self):
        os.link(self.image, self.path("hard.qcow2"))
        self.refused_as_duplicate("hard.qcow2")

    def test_on_the_command_line_it_is_amended_once_and_sound(self):
        answer = qbatch.amend([self.image, self.image], compat="0.10")
        self.assertFalse(answer.crashed, str(answer))
        self.assertNotEqual(answer.code, 0, str(answer))
        self.assert_sound(self.image)


if __name__ == "__main__":
    main()
