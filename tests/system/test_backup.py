"""backup: reflink: a clone of each image from before its first write, or nothing is touched."""
import contextlib
import os
import shutil
import subprocess
import time
import unittest

import context  # noqa: F401
import guest
import proc
import qbatch
import strace
from fixture import main
from reflinks import BackupTest, ReflinkTest


class CannotClone(BackupTest):
    def setUp(self):
        super().setUp()
        self.there = self.path("images")
        os.mkdir(self.there)
        kind = proc.must(["stat", "-f", "-c", "%T", self.there]).strip()
        if kind in ("xfs", "btrfs", "overlayfs", "bcachefs", "zfs"):
            self.skipTest(f"{kind} may be able to clone")

    def test_it_is_said_before_anything_is_touched(self):
        images = self.make_fleet(self.there)
        for flags in ([], ["--dry-run"], ["--no-state"]):
            hashes = [proc.sha256(image) for image in images]
            answer = qbatch.qbatch("--json", *flags, self.fleet)
            self.assertEqual((answer.code, answer.records), (2, []), str(answer))
            self.assertIn("cannot clone files", answer.result.err)
            self.assertEqual([proc.sha256(image) for image in images], hashes)
            self.assertEqual(sorted(os.listdir(self.there)), [f"{i}.qcow2" for i in range(4)])

    def test_the_command_line_wins(self):
        images = self.make_fleet(self.there)
        self.assertEqual(qbatch.qbatch("--backup", "none", self.fleet).code, 0)
        answer = qbatch.qbatch("amend", "--json", "--backup", "reflink", "-o", "compat=1.1", *images)
        self.assertEqual((answer.code, answer.records), (2, []), str(answer))
        self.assertEqual(qbatch.qbatch("--backup", "tape", self.fleet).code, 2)


class Clones(ReflinkTest):
    def test_a_full_file_system_costs_its_own_images(self):
        self.on_each(self.full)

    def full(self, images):
        """The run does not end before it began: whether clones can be made there is not known, others may be."""
        fill = os.path.join(self.there, "fill")
        with contextlib.suppress(OSError), open(fill, "wb", buffering=0) as f:
            while f.write(b"x" * (1 << 20)) > 0:
                pass
        for piece in (4096, 512):  # what that leaves
            with contextlib.suppress(OSError), open(f"{fill}.{piece}", "wb", buffering=0) as f:
                while f.write(b"x" * piece) > 0:
                    os.fsync(f.fileno())
        before = [proc.sha256(image) for image in images]
        answer = qbatch.qbatch("--json", "--state", self.path("state"), self.fleet)
        self.assertNotEqual(answer.code, 2, str(answer))
        self.assertEqual(len(answer.records), len(images))
        for image, sha, record in zip(images, before, answer.records, strict=True):
            if record["status"] == "failed":
                self.assertEqual(record["error"]["code"], "no_space")
                self.assertEqual(proc.sha256(image), sha)
            self.assert_sound(image)

    @unittest.skipUnless(strace.works(), strace.MISSING)
    def test_a_header_is_not_written_before_its_backup_is_durable(self):
        """Nothing else of such an amend needs a barrier before the header's write."""
        self.on_each(self.durable_first)

    def durable_first(self, images):
        before = [proc.sha256(image) for image in images]
        trace = strace.run([qbatch.absolute(qbatch.TOOL), "amend", "--json", "--io", "posix",
                            "--backup", "reflink", "-o", "lazy_refcounts=on", *images],
                           "syncfs:error=EIO")
        self.assertTrue(trace.hit, trace.log)
        self.assertEqual(trace.result.code, 1, str(trace.result))
        self.assertEqual([proc.sha256(image) for image in images], before)
        self.assertEqual(self.backups(), [])

    def test_an_external_data_file_is_not_cloned(self):
        """The clone would name the same data file, which a shrink cuts."""
        self.on_each(self.data_file_refused)

    def data_file_refused(self, _images):
        data = os.path.join(self.there, "a.data")
        image = self.create(os.path.join(self.there, "d.qcow2"), size="4M", data_file=data)
        self.io(image, "write -q -P 5 0 4M")
        for flags in (["--dry-run"], []):
            for change in ("size=1M", "lazy_refcounts=on"):
                answer = qbatch.qbatch("amend", "--json", "--shrink", "--backup", "reflink", *flags,
                                       "-o", change, image)
                self.assertEqual((answer.code, answer.error), (1, "unsupported"), str(answer))
                self.assertIn("external data file", answer.records[0]["error"]["message"])
        answer = qbatch.qbatch("amend", "--backup", "reflink", "-o", "size=4M", image)  # as it is
        self.assertEqual(answer.code, 0, str(answer))
        self.assertEqual(self.backups(), [])
        self.assert_reads(image, 0, "4M", 5)

    def test_each_image_that_changes_is_cloned_first(self):
        self.on_each(self.cloned_first)

    def cloned_first(self, images):
        before = proc.sha256(images[0])
        self.amended(images[1], compat="0.10")
        os.chmod(images[0], 0o640)
        answer = qbatch.qbatch("--json", self.fleet)
        self.assertEqual(answer.code, 0, str(answer))
        made = [record["backup"] for record in answer.records]
        run = answer.summary["run"]
        self.assertEqual(made, [None if i == 1 else f"{images[i]}.{run}.bak" for i in range(4)])
        self.assertEqual(self.backups(), sorted(filter(None, made)))
        for backup in self.backups():
            self.assertEqual(proc.sha256(backup), before)
        self.assertEqual(os.stat(made[0]).st_mode & 0o777, 0o640)
        self.assertEqual(guest.info(images[0])["format-specific"]["data"]["compat"], "0.10")
        answer = qbatch.qbatch("amend", "--json", "--backup", "reflink", "-o", "lazy_refcounts=off,compat=1.1",
                               images[0])
        self.assertEqual(len(self.backups()), 4, str(answer))
        self.assert_sound(answer.first["backup"])

    def test_an_image_whose_clone_could_not_be_restored_is_not_amended(self):
        """The amended image needs a name, too, which is longer than that of the clone."""
        self.on_each(self.long_name)

    def long_name(self, images):
        for length in (223, 224, 227, 228):
            image = os.path.join(self.there, "n" * length)
            shutil.copyfile(images[0], image)
            sha, state = proc.sha256(image), self.path(f"state-{os.path.basename(self.there)}-{length}")
            answer = qbatch.qbatch("amend", "--json", "--state", state, "--backup", "reflink", "-o", "lazy_refcounts=on,compat=1.1",
                                   image)
            if answer.status != "changed":
                self.assertEqual((length > 223, proc.sha256(image)), (True, sha), str(answer))
                continue
            self.assertEqual(qbatch.qbatch("backup", "restore", "--state", state, "last").code, 0)
            self.assertEqual(proc.sha256(image), sha)

    def test_a_clone_keeps_who_may_use_the_image(self):
        self.on_each(self.attributes_kept)

    LABELS = {"user.where": b"rack 7", "security.selinux": b"system_u:object_r:virt_image_t:s0\0",
              "security.SMACK64": b"guests"}

    def label(self, image):
        kept = {}
        for name, value in self.LABELS.items():
            try:
                os.setxattr(image, name, value)
                kept[name] = value
            except OSError as error:  # what a security module of this host forbids
                self.leave_out(name, str(error))
        self.assertTrue(kept)
        return kept

    def attributes_kept(self, images):
        listed, plain = images[0], images[1]
        proc.must(["setfacl", "-m", "u:1234:rw,g:77:r,m:rw", listed])
        proc.must(["setfacl", "-d", "-m", "u:666:rw", self.there])  # new files are not to get it
        kept = self.label(listed)
        os.chown(listed, 1111, 2222)
        os.chown(plain, 1111, 2222)
        os.chmod(listed, 0o6770)  # with a list, the bits of the group are its mask
        os.chmod(plain, 0o5640)
        listing = proc.must(["getfacl", "-cnp", listed])
        self.assertIn("user:1234:rw", listing)
        answer = qbatch.qbatch("--json", self.fleet)
        self.assertEqual(answer.code, 0, str(answer))
        clone, other = (record["backup"] for record in answer.records[:2])
        self.assertEqual({name: os.getxattr(clone, name) for name in kept}, kept)
        self.assertEqual(proc.must(["getfacl", "-cnp", clone]), listing)
        self.assertEqual([oct(os.stat(path).st_mode & 0o7777) for path in (clone, other)], ["0o770", "0o640"])
        for path in (clone, other):
            self.assertEqual((os.stat(path).st_uid, os.stat(path).st_gid), (1111, 2222))
        self.assertNotIn("system.posix_acl_access", os.listxattr(other))
        self.assertNotIn("user.where", os.listxattr(other))

    @unittest.skipUnless(strace.works(), strace.MISSING)
    def test_without_the_label_of_the_image_there_is_no_clone_and_no_amend(self):
        self.on_each(self.label_lost)

    def label_lost(self, images):
        os.setxattr(images[0], "user.where", b"rack 7")
        before = proc.sha256(images[0])
        trace = strace.run([qbatch.absolute(qbatch.TOOL), "amend", "--json", "--backup", "reflink",
                            "-o", "compat=0.10", images[0]], "fsetxattr:error=ENOSPC")
        self.assertTrue(trace.hit, trace.log)
        answer = qbatch.Answer(trace.result)
        self.assertEqual((answer.code, answer.error), (1, "no_space"), str(answer))
        self.assertIn("user.where", answer.first["error"]["message"])
        self.assertEqual((proc.sha256(images[0]), self.backups()), (before, []))

    def test_images_that_are_not_copied_on_write(self):
        self.on_each(self.not_copied_on_write)

    def not_copied_on_write(self, images):
        image = os.path.join(self.there, "nocow.qcow2")
        with open(image, "wb"):
            pass
        proc.run(["chattr", "+C", image])  # where that is known: btrfs
        with open(images[0], "rb") as source, open(image, "r+b") as target:
            shutil.copyfileobj(source, target)
        sha = proc.sha256(image)
        answer = qbatch.qbatch("amend", "--json", "--backup", "reflink", "-o", "compat=0.10", image)
        self.assertEqual(answer.code, 0, str(answer))
        self.assertEqual(proc.sha256(answer.first["backup"]), sha)

    def test_what_was_not_changed_after_all_leaves_no_clone(self):
        self.on_each(self.no_clone)

    def no_clone(self, images):
        answer = qbatch.qbatch("--json", "--dry-run", self.fleet)
        self.assertEqual((answer.code, self.backups()), (0, []), str(answer))
        answer = qbatch.qbatch("amend", "--json", "--backup", "reflink", "-o", "compat=v2,refcount_bits=8",
                               *images)
        self.assertEqual((answer.code, self.backups()), (1, []), str(answer))

    def test_what_somebody_else_has_under_its_name_stays(self):
        self.on_each(self.not_replaced)

    def not_replaced(self, images):
        """A tenant guesses the name: the run's is known while its report waits for a reader."""
        state, fifo = self.path(f"state-{os.path.basename(self.there)}"), self.path("fifo")
        if not os.path.exists(fifo):
            os.mkfifo(fifo)
        shas = {image: proc.sha256(image) for image in images}
        run = subprocess.Popen([qbatch.absolute(qbatch.TOOL), "--json", "--state", state, "--report", fifo,
                                self.fleet], stdout=subprocess.PIPE, text=True)
        journal = []
        while not journal:
            self.assertIsNone(run.poll())
            time.sleep(0.01)
            journal = [n for n in os.listdir(state) if n.endswith(".journal")] if os.path.isdir(state) else []
        backup = [f"{image}.{journal[0][:-len('.journal')]}.bak" for image in images]
        for path, uid in ((backup[0], 54321), (backup[1], 0)):
            with open(path, "w", encoding="ascii") as f:
                f.write("mine")
            os.chown(path, uid, uid)
        os.symlink(self.path("elsewhere"), backup[2])
        with open(fifo, encoding="utf-8") as f:
            f.read()
        said = run.communicate()[0]
        answer = qbatch.Answer(proc.Result(run.args, run.returncode, said, ""))
        self.assertEqual([r["status"] for r in answer.records], ["failed", "changed", "failed", "changed"],
                         str(answer))
        with open(backup[0], encoding="ascii") as f:
            self.assertEqual(f.read(), "mine")
        self.assertTrue(os.path.islink(backup[2]))
        self.assertFalse(os.path.exists(self.path("elsewhere")))
        for i in (0, 2):
            self.assertEqual(proc.sha256(images[i]), shas[images[i]])
        for i in (1, 3):
            self.assertEqual(proc.sha256(backup[i]), shas[images[i]])

    def test_killed_at_any_moment_an_amended_image_has_its_clone(self):
        self.on_each(self.killed)

    def killed(self, images):
        before = proc.sha256(images[0])
        kept = self.copy(images[0], "kept")
        for number in range(12):
            for image in images:
                shutil.copyfile(kept, image)
            for backup in self.backups():
                os.unlink(backup)
            run = subprocess.Popen([qbatch.absolute(qbatch.TOOL), self.fleet],
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            time.sleep(0.002 * number)
            proc.kill_whole(run, self.folder)
            for backup in self.backups():
                self.assertEqual(proc.sha256(backup), before)
            cloned = {backup.split(".qcow2.")[0] + ".qcow2" for backup in self.backups()}
            for image in images:
                with open(image, "rb") as f:
                    amended = f.read(8)[7] == 2
                self.assertLessEqual(amended, image in cloned)
        answer = qbatch.qbatch("--json", self.fleet)
        self.assertEqual(answer.code, 0, str(answer))


if __name__ == "__main__":
    main()
