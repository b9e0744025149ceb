"""Undo: a run with keep_undo is taken back bit for bit, or refused with the reason."""
import fcntl
import os
import shutil
import struct

import context  # noqa: F401
import guest
import proc
import qbatch
from fixture import KIB, ImageTest, main

REQUESTS = {
    "down": {"compat": "0.10"},
    "wide": {"refcount_bits": 64},
    "lazy": {"lazy_refcounts": "on"},
    "grow": {"size": "+5M"},
    "shrink": {"size": "1M"},
    "name": {"backing_file": "a-much-longer-name-of-the-base.raw"},
    "both": {"compat": "0.10", "backing_file": "other.raw"},
}


class Undo(ImageTest):
    def setUp(self):
        super().setUp()
        self.flags = ["--state", self.path("state")]
        self.raw("base.raw", "8M", "write -q -P 9 0 8M")
        for name in ("other.raw", "a-much-longer-name-of-the-base.raw"):
            shutil.copyfile(self.path("base.raw"), self.path(name))
        self.image = self.create("a.qcow2", size="8M", backing="base.raw", backing_fmt="raw")
        self.io(self.image, "write -q -P 1 0 2M", "write -q -z 1M 1M", "write -q -z -u 4M 1M")
        self.snapshot(self.image, "s")
        self.io(self.image, "write -q -P 2 0 256k")
        self.before = proc.sha256(self.image)
        self.length = os.path.getsize(self.image)

    def amend(self, *images, **options):
        answer = qbatch.amend(list(images) or self.image, shrink=True, flags=self.flags,
                              keep_undo="on", **(options or {"compat": "0.10"}))
        self.assertEqual(answer.code, 0, str(answer))
        return answer.summary["run"]

    def assert_kept(self, image):
        """No error; what is kept for an undo is leaked, as `qemu-img check` calls it."""
        code, corruptions, _, words = guest.check(image)
        self.assertIn(code, (0, 3), words)
        self.assertEqual(corruptions, 0, words)

    def undo(self, run, *operands):
        return qbatch.qbatch("undo", "--json", *self.flags, run, *operands, cwd="/")

    def test_every_kind_of_amend_is_taken_back_bit_for_bit(self):
        for name, options in REQUESTS.items():
            with self.subTest(name):
                image = self.copy(self.image, name + ".qcow2")
                run = self.amend(image, **options)
                self.assertNotEqual(proc.sha256(image), self.before)
                self.assert_kept(image)
                answer = self.undo(run)
                self.assertEqual((answer.code, answer.status), (0, "changed"), str(answer))
                self.assertEqual(os.path.getsize(image), self.length)
                self.assert_sound(image)
                self.assert_same_layers(guest.read_all(self.image), guest.read_all(image))
                if name != "name":  # the longer name stays in bytes that nothing refers to
                    self.assertEqual(proc.sha256(image), self.before)

    def test_an_image_that_was_repaired_on_the_way_is_dirty_again(self):
        image = self.create("dirty.qcow2", lazy_refcounts="on")
        self.killed_io(image, "write -q -P 3 0 512k")
        sha = proc.sha256(image)
        run = self.amend(image, lazy_refcounts="off")
        self.assert_kept(image)
        self.assertEqual(self.undo(run).code, 0)
        self.assertEqual(proc.sha256(image), sha)
        run = self.amend(image, compat="0.10", lazy_refcounts="off")
        self.assert_kept(image)
        self.assertEqual(self.undo(run).code, 0)
        self.assertEqual(proc.sha256(image), sha)

    def test_undone_is_undone_once_and_what_was_not_kept_never(self):
        run = self.amend()
        self.assertEqual(self.undo(run).code, 0)
        answer = self.undo(run)
        self.assertEqual(answer.code, 2, str(answer))
        self.assertIn("was undone already", answer.result.err)
        answer = qbatch.amend(self.image, flags=self.flags, compat="0.10")
        answer = self.undo(answer.summary["run"], self.image)
        self.assertEqual(answer.code, 2, str(answer))
        self.assertIn("kept nothing of it", answer.result.err)

    def test_only_the_images_that_are_named(self):
        other = self.copy(self.image, "b.qcow2")
        run = self.amend(self.image, other)
        os.symlink(other, self.path("link"))
        answer = self.undo(run, self.path("link"), other, self.path("link"))
        self.assertEqual((answer.code, len(answer.records)), (0, 1), str(answer))
        self.assertEqual(proc.sha256(other), self.before)
        self.assertNotEqual(proc.sha256(self.image), self.before)
        self.assertEqual(self.undo(run, self.path("base.raw")).code, 2)
        self.assertEqual(self.undo(run).code, 0)
        self.assertEqual(proc.sha256(self.image), self.before)

    def refused_to_undo(self, run, code="changed"):
        sha, stat = proc.sha256(self.image), os.stat(self.image)
        answer = self.undo(run)
        self.assertEqual((answer.code, answer.status, answer.error), (1, "failed", code),
                         str(answer))
        self.assert_untouched(self.image, sha, stat)

    def test_what_a_guest_wrote_since_is_not_lost(self):
        for number, write in enumerate(("write -q -P 5 6M 64k", "write -q -P 5 0 512")):
            with self.subTest(write):
                shutil.copyfile(self.path("a.qcow2"), self.path(f"kept{number}"))
                run = self.amend()
                os.utime(self.image, ns=(0, os.stat(self.image).st_mtime_ns))  # not mtime: no change
                self.io(self.image, write)
                self.refused_to_undo(run)
                self.assert_kept(self.image)
                shutil.copyfile(self.path(f"kept{number}"), self.image)

    def test_what_it_advises_is_possible(self):
        """A run that is undone is finished: nothing of it is left to resume."""
        run = self.amend()
        self.io(self.image, "write -q -P 5 0 512")
        words = qbatch.qbatch("undo", *self.flags, run, cwd="/").result.out
        self.assertIn("since the run amended it", words)
        self.assertNotIn("while qbatch worked", words)
        self.assertIn("hint: something else replaced or wrote the image, which stays as it is; "
                      "after an amend, finish the run\n", words)
        explained = " ".join(qbatch.qbatch("explain", "changed").result.out.split())
        self.assertIn("An undo stays refused", explained)

    def test_another_file_at_the_path_is_left_alone(self):
        run = self.amend()
        copy = self.copy(self.image, "copy")
        shutil.copystat(self.image, copy)
        os.rename(copy, self.image)
        self.refused_to_undo(run)

    def test_an_image_in_use_is_left_alone(self):
        run = self.amend()
        with open(self.image, "rb") as f:
            lock = struct.pack("hhqqi", fcntl.F_RDLCK, os.SEEK_SET, 201, 1, 0)
            fcntl.fcntl(f, 37, lock)  # F_OFD_SETLK: what a guest holds
            self.refused_to_undo(run, "locked")
        self.assertEqual(self.undo(run).code, 0)

    def test_an_image_and_its_base_are_undone_together(self):
        """The proof of the overlay asks how long its base is, which the undo has locked as well."""
        base = self.create("base.qcow2", size="1M")
        images = [base, *(self.create(f"over{i}.qcow2", size="2M", backing=base, backing_fmt="qcow2") for i in range(3))]
        for image in images:
            self.io(image, "write -q -P 7 0 64k")
        before = {image: proc.sha256(image) for image in images}
        run = self.amend(*images, preallocation="metadata")
        with open(base, "rb") as f:
            fcntl.fcntl(f, 37, struct.pack("hhqqi", fcntl.F_RDLCK, os.SEEK_SET, 201, 1, 0))  # as in the test before
            answer = self.undo(run)
            self.assertEqual([r["error"]["code"] for r in answer.records if r["status"] == "failed"], ["locked"], str(answer))
            self.assertEqual(len(answer.records), len(images), str(answer))
        answer = self.undo(run)
        self.assertEqual(answer.code, 0, str(answer))
        self.assertEqual({image: proc.sha256(image) for image in images}, before)
        run = self.amend(*images, preallocation="metadata")
        answer = self.undo(run)
        self.assertEqual(answer.code, 0, str(answer))
        self.assertEqual(len(answer.records), len(images), str(answer))
        self.assertEqual({image: proc.sha256(image) for image in images}, before)

    def test_a_dry_run_only_says_what_would_be(self):
        run = self.amend()
        sha = proc.sha256(self.image)
        answer = self.undo(run, "--dry-run")
        self.assertEqual((answer.code, answer.status), (0, "would_change"), str(answer))
        self.assertEqual(proc.sha256(self.image), sha)
        self.assertEqual(self.undo(run).code, 0)

    def test_discarding_gives_the_space_back_and_keeps_the_amended_image(self):
        image = self.create("many.qcow2", size="512M", cluster_size=512)
        self.io(image, "write -q -P 1 0 8M", "write -q -z 64M 16M", "discard -q 1M 1M")
        plain = self.copy(image, "plain.qcow2")
        self.amended(plain, compat="0.10")
        layers = guest.read_all(image)
        run = self.amend(image)
        kept = os.stat(image).st_blocks
        self.assertGreater(kept, os.stat(plain).st_blocks)
        answer = self.undo(run, "--discard-undo")
        self.assertEqual((answer.code, answer.status), (0, "changed"), str(answer))
        self.assertLess(os.stat(image).st_blocks * 512, kept * 512 - 64 * KIB)
        self.assert_sound(image)
        self.assert_same_layers(layers, guest.read_all(image))
        self.assertEqual(self.undo(run, image).code, 2)

    def test_without_its_journal_line_on_disk_nothing_is_changed(self):
        """The journal's file system is full: keep_undo means that the image is left alone."""
        if not os.path.exists("/dev/full") or os.geteuid() != 0:
            self.skipTest("needs a file system of its own")
        small = self.path("small")
        os.mkdir(small)
        if proc.run(["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", small]).code:
            self.skipTest("cannot mount")
        try:
            self.flags = ["--state", os.path.join(small, "state")]
            os.mkdir(self.flags[1])
            with open(os.path.join(small, "filler"), "wb") as f:
                f.write(b"x" * 4000)
            images = [self.copy(self.image, f"{i}.qcow2") for i in range(12)]
            answer = qbatch.amend(images, flags=self.flags, keep_undo="on", compat="0.10")
            self.assertFalse(answer.crashed, str(answer))
            for image, record in zip(images, answer.records):
                self.assertIn("journal", (record["error"] or {}).get("message", "journal"))
                self.assertEqual(record["status"], "failed", str(answer))
                self.assertEqual(proc.sha256(image), self.before)
        finally:
            proc.run(["umount", small])


if __name__ == "__main__":
    main()
