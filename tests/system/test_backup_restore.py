"""qbatch backup restore: the image is the clone again, and nothing that was written is lost."""
import fcntl
import os
import re
import shutil
import subprocess
import unittest

import context  # noqa: F401
import proc
import qbatch
import qcow2
import strace
from fixture import main
from reflinks import BackupCommand

SANITIZED = bool(os.environ.get("QBATCH_SANITIZED"))  # some ten times slower
WRITES = "fchown,fchmod,fsetxattr,fremovexattr,fsync,renameat2,write,fdatasync"


class RestoreTest(BackupCommand):
    def setUp(self):
        super().setUp()
        self.flags = []

    def amended_name(self, i):
        return self.clones[i].removesuffix(".bak") + ".amended"

    def restore(self, *argv, code=0):
        answer = qbatch.qbatch("backup", "restore", "--json", "--state", self.state, *self.flags, *argv)
        self.assertEqual(answer.code, code, str(answer))
        return answer

    def files(self):
        return sorted(name for name in os.listdir(self.there) if os.path.isfile(os.path.join(self.there, name)))

    def refused(self, image, *codes, words="", argv=()):
        """Not restored, and not a name or a byte of the directory has changed."""
        files = {name: proc.sha256(os.path.join(self.there, name)) for name in self.files()}
        answer = self.restore(*argv, self.run_id, image, code=1)
        self.assertEqual((answer.status, answer.error in codes), ("failed", True), str(answer))
        self.assertIn(words, answer.first["error"]["message"])
        self.assertEqual({name: proc.sha256(os.path.join(self.there, name)) for name in self.files()}, files)


class Restore(RestoreTest):
    def test_images_are_what_they_were(self):
        self.on_each_amended(self.all_back)

    def all_back(self, images):
        before, after = proc.sha256(self.clones[0]), [proc.sha256(image) for image in images]
        dry = self.restore("-n", "last")
        self.assertEqual({record["status"] for record in dry.records}, {"would_change"}, str(dry))
        self.assertEqual([proc.sha256(image) for image in images], after)
        answer = self.restore("last")
        self.assertEqual([(r["path"], r["status"]) for r in answer.records], [(i, "changed") for i in images])
        self.assertEqual(answer.first["before"]["compat"], "0.10")
        self.assertEqual(answer.first["after"]["compat"], "1.1")
        self.assertEqual({proc.sha256(image) for image in images}, {before})
        self.assert_sound(images[0])
        for i in range(4):
            self.assertEqual(proc.sha256(self.amended_name(i)), after[i])
            self.assertFalse(os.path.exists(self.clones[i]))
        self.assertEqual(self.listed(), [line for i in range(4) for line in (
            (self.name(i), "restored", "restored"), (os.path.basename(self.amended_name(i)), "kept", "restored"))])

    def test_what_other_commands_say_afterwards(self):
        self.on_each_amended(self.told)

    def told(self, images):
        self.restore("last", images[0])
        status = qbatch.qbatch("status", "--state", self.state, "last")
        self.assertIn("restored  1 image", status.result.out)
        self.assertRegex(status.result.out, f"restored +{images[0]}")
        undo = qbatch.qbatch("undo", "--state", self.state, "last", images[0])
        self.assertEqual(undo.code, 2, str(undo))
        self.assertIn("restored from its clone already", undo.result.err)
        again = self.restore("last", images[0])
        self.assertEqual(again.status, "unchanged", str(again))
        self.assertEqual(self.restore("last").code, 0)  # the other three
        self.assertIn("can be restored", self.restore("last", code=2).result.err)
        before = proc.sha256(images[0])
        self.assertEqual(self.backup("prune", "last")[-1]["removed"], 4)  # the amended ones
        self.assertEqual((self.files(), proc.sha256(images[0])),
                         (sorted(os.path.basename(image) for image in images), before))
        redo = qbatch.qbatch("--json", "--state", self.state, "--resume", "--redo", self.fleet)
        self.assertEqual([record["status"] for record in redo.records], ["changed"] * 4, str(redo))
        self.assertEqual({proc.sha256(clone) for clone in self.clones}, {before})
        self.restore("last")
        self.assertEqual({proc.sha256(image) for image in images}, {before})

    def test_an_image_that_was_written_is_restored_on_request_only(self):
        self.on_each_amended(self.written)

    def written(self, images):
        before = proc.sha256(self.clones[0])
        self.io(images[0], "write -q -P 77 32M 64k")
        self.refused(images[0], "changed", words="--discard-writes")
        sha = proc.sha256(images[0])
        answer = self.restore("--discard-writes", "last", images[0])
        self.assertEqual(answer.status, "changed", str(answer))
        self.assertEqual((proc.sha256(images[0]), proc.sha256(self.amended_name(0))), (before, sha))
        os.rename(self.amended_name(0), os.path.join(self.there, "w.qcow2"))
        self.assert_reads(os.path.join(self.there, "w.qcow2"), "32M", "64k", 77)

    def test_how_the_run_left_it_is_not_recorded(self):
        self.on_each_amended(self.not_recorded)

    def not_recorded(self, images):
        before = proc.sha256(self.clones[0])
        self.journal(lambda record: None if record["is"] in ("changed", "end") else record)
        self.refused(images[0], "changed", words="not recorded")
        self.assertEqual(self.restore("--discard-writes", "last", images[0]).status, "changed")
        self.assertEqual(proc.sha256(images[0]), before)
        self.assertTrue(os.path.exists(self.amended_name(0)))

    @unittest.skipUnless(strace.works(), strace.MISSING)
    def test_the_images_of_a_run_that_was_killed(self):
        self.on_each_amended(self.of_a_killed_run)

    def of_a_killed_run(self, images):
        before = [proc.sha256(image) for image in images]
        trace = strace.run([qbatch.absolute(qbatch.TOOL), "amend", "--json", "--io", "posix", "--state", self.state,
                            "--backup", "reflink", "-o", "compat=1.1", *images], "syncfs:signal=KILL:when=2")
        self.assertTrue(trace.hit, trace.log)
        amended = [proc.sha256(image) for image in images]
        answer = self.restore("last", code=1)
        self.assertEqual([record["error"]["code"] for record in answer.records], ["changed"] * 4, str(answer))
        self.assertEqual([proc.sha256(image) for image in images], amended)
        self.restore("--discard-writes", "last")
        self.assertEqual([proc.sha256(image) for image in images], before)

    @unittest.skipUnless(strace.works(), strace.MISSING)
    def test_a_later_attempt_keeps_the_clone_of_the_image_before_the_first_one(self):
        """The clone is of the image before the run, not of what an attempt that was killed had made of it."""
        self.on_each_amended(self.of_the_first_attempt)

    def of_the_first_attempt(self, images):
        image = images[0]
        self.io(image, "write -q -P 3 8M 32M", "discard 10M 8M")
        original = self.copy(image, f"original-{os.path.basename(self.there)}")
        fleet = self.manifest(f"""
            version: 1
            policy: {{backup: reflink}}
            images: [{{path: "{image}", compat: "1.1", lazy_refcounts: on, reclaim: {{compact: on}}}}]
            """)
        self.state, between = self.path(f"later-{os.path.basename(self.there)}"), 0
        argv = [qbatch.absolute(qbatch.TOOL), "--json", "--io", "posix", "--state", self.state, fleet]
        for number in range(1, 6):
            shutil.rmtree(self.state, ignore_errors=True)
            shutil.copyfile(original, image)
            trace = strace.run(argv, f"syncfs:signal=KILL:when={number}")
            if not trace.hit:
                break
            amended = qcow2.load(image).version == 3
            answer = qbatch.qbatch("--json", "--state", self.state, "--resume", fleet)
            self.assertEqual(answer.code, 0, str(answer))
            if amended:
                between += 1
                if answer.status == "changed":
                    self.restore("last", code=1)
            self.assertEqual(self.restore("--discard-writes", "last").status, "changed")
            self.assertEqual(qcow2.load(image).version, 2, number)
            proc.must(["qemu-img", "compare", original, image])
        self.assertGreater(between, 0)

    @unittest.skipUnless(strace.works(), strace.MISSING)
    def test_a_later_attempt_removes_no_clone_that_was_written(self):
        """Somebody may use it as an image by now."""
        self.on_each_amended(self.used_as_an_image)

    def used_as_an_image(self, images):
        image, sha = images[0], proc.sha256(images[0])
        self.state = self.path(f"used-{os.path.basename(self.there)}")
        fleet = self.manifest(f"""
            version: 1
            policy: {{backup: reflink}}
            images: [{{path: "{image}", compat: "1.1"}}]
            """)
        argv = [qbatch.absolute(qbatch.TOOL), "--json", "--io", "posix", "--state", self.state, fleet]
        self.assertTrue(strace.run(argv, "syncfs:signal=KILL:when=1").hit)
        clone = next(path for path in self.backups() if path not in self.clones)
        self.io(clone, "write -q -P 5 0 64k")
        written = proc.sha256(clone)
        answer = qbatch.qbatch("--json", "--state", self.state, "--resume", fleet)
        self.assertEqual((answer.code, answer.error), (1, "changed"), str(answer))
        self.assertEqual((proc.sha256(image), proc.sha256(clone)), (sha, written))
        os.rename(clone, clone + ".used")
        self.assertEqual(qbatch.qbatch("--json", "--state", self.state, "--resume", fleet).status, "changed")
        self.assertEqual(proc.sha256(clone), sha)

    def test_an_image_or_a_clone_in_use_is_left_alone(self):
        self.on_each_amended(self.in_use)

    def in_use(self, images):
        for path in (images[0], self.clones[0]):
            with open(path, "r+b"):
                self.refused(images[0], "locked")
            with open(path, "rb") as f:
                fcntl.flock(f, fcntl.LOCK_SH)
                self.refused(images[0], "locked")
            reader = subprocess.Popen(["qemu-io", "-r", "-f", "qcow2", path], text=True, stdin=subprocess.PIPE,
                                      stdout=subprocess.PIPE)
            reader.stdin.write("length\n")
            reader.stdin.flush()
            reader.stdout.readline()  # an answer: it has its locks
            self.refused(images[0], "locked")
            reader.communicate("quit\n")
        self.assertEqual(self.restore("--discard-writes", "last", images[0]).status, "changed")

    def test_other_files_are_not_touched(self):
        self.on_each_amended(self.other_files)

    def other_files(self, images):
        os.link(images[0], os.path.join(self.there, "second"))
        self.refused(images[0], "refused", words="2 names")
        os.unlink(os.path.join(self.there, "second"))
        with open(self.amended_name(0), "wb"):
            pass
        self.refused(images[0], "refused", words="is there already: rename it")
        os.unlink(self.amended_name(0))
        self.io(self.clones[1], "write -q -P 5 0 64k")
        self.refused(images[1], "changed", words="the clone was written")
        os.chown(images[0], 1234, 1234)
        self.refused(images[0], "refused", words="one owner")
        shutil.copyfile(images[2], images[2] + ".new")
        os.rename(images[2] + ".new", images[2])
        self.refused(images[2], "changed", words="another file", argv=["--discard-writes"])
        os.rename(self.clones[3], self.clones[3] + ".away")
        os.symlink(self.clones[3] + ".away", self.clones[3])
        self.refused(images[3], "changed")
        os.unlink(self.clones[3])
        self.refused(images[3], "not_found", words="the clone")
        self.assertEqual(self.restore("last", code=1).summary["failed"], 4)

    def test_two_runs_one_after_the_other(self):
        """What is in the image's place is the later run's clone: the earlier one is had by hand, as the refusal says."""
        self.on_each_amended(self.of_two_runs)

    def of_two_runs(self, images):
        image, before = images[0], proc.sha256(self.clones[0])
        later = qbatch.qbatch("amend", "--json", "--state", self.state, "--backup", "reflink",
                              "-o", "compat=1.1,lazy_refcounts=on", image)
        self.assertEqual(later.status, "changed", str(later))
        self.refused(image, "changed", words="written since")
        self.restore("last", image)
        self.refused(image, "changed", words="give that file another name", argv=["--discard-writes"])
        os.rename(image, image + ".later")
        os.rename(self.clones[0], image)
        self.assertEqual(self.restore(self.run_id, image).status, "unchanged")
        self.assertEqual(proc.sha256(image), before)
        self.assert_sound(image + ".later")

    def test_the_image_of_a_link_is_restored_where_it_is(self):
        self.on_each_amended(self.link)

    def link(self, images):
        link = os.path.join(self.path(""), f"link-{os.path.basename(self.there)}.qcow2")
        os.symlink(images[0], link)
        before = proc.sha256(images[0])
        answer = qbatch.qbatch("amend", "--json", "--state", self.state, "--backup", "reflink",
                               "-o", "lazy_refcounts=on,compat=1.1", link)
        self.assertEqual(answer.code, 0, str(answer))
        self.run_id = answer.summary["run"]
        self.assertEqual(self.restore("last", images[0]).status, "changed")
        self.assertTrue(os.path.islink(link))
        self.assertEqual((proc.sha256(images[0]), proc.sha256(link)), (before, before))
        self.assertTrue(os.path.exists(f"{images[0]}.{self.run_id}.amended"))

    def test_it_has_the_attributes_that_the_image_has_now(self):
        self.on_each_amended(self.attributes)

    def attributes(self, images):
        os.chmod(images[0], 0o4640)
        proc.must(["setfacl", "-m", "u:1234:r", images[0]])
        os.setxattr(images[0], "user.where", b"rack 8")
        listing = proc.must(["getfacl", "-cnp", images[0]])
        self.restore("last", images[0])
        self.assertEqual(proc.must(["getfacl", "-cnp", images[0]]), listing.replace("flags: s--\n", ""))
        self.assertEqual(os.getxattr(images[0], "user.where"), b"rack 8")
        self.assertEqual(os.stat(images[0]).st_mode & 0o7777, 0o640)

    def test_a_raw_disk_that_became_an_image(self):
        self.on_each(self.raw_again)

    def raw_again(self, _):
        """As it was, to the byte, of any length."""
        for size in 100, 512, 1 << 20:
            disk, self.state = os.path.join(self.there, f"disk{size}"), self.path(f"state-{size}")
            with open(disk, "wb") as f:
                f.write(os.urandom(size))
            before = proc.sha256(disk)
            answer = qbatch.qbatch("amend", "--json", "--state", self.state, "--backup", "reflink",
                                   "-o", "convert.from=raw,convert.to=qcow2", disk)
            self.assertEqual(answer.status, "changed", str(answer))
            self.run_id = answer.summary["run"]
            record = self.restore("last", disk).first
            self.assertEqual((record["status"], proc.sha256(disk)), ("changed", before))
            self.assertEqual((record["before"]["format"], record["after"]["format"]), ("qcow2", "raw"))
            self.assert_sound(f"{disk}.{self.run_id}.amended")
            shutil.rmtree(self.state)

    @unittest.skipUnless(strace.works(), strace.MISSING)
    def test_a_raw_disk_that_a_killed_attempt_made_longer(self):
        self.on_each(self.raw_of_a_killed_attempt)

    def raw_of_a_killed_attempt(self, _):
        """The clone that the next attempt makes has the disk's length, not that of the file."""
        disk = os.path.join(self.there, "disk")
        fleet = self.manifest(f"""
            version: 1
            policy: {{backup: reflink}}
            images: [{{path: "{disk}", convert: {{from: raw, to: qcow2}}}}]
            """)
        self.state, longer = self.path(f"state-{os.path.basename(self.there)}"), 0
        for number in range(1, 6):
            shutil.rmtree(self.state, ignore_errors=True)
            with open(disk, "wb") as f:
                f.write(bytes([number + 1]) * 300001)
            before = proc.sha256(disk)
            trace = strace.run([qbatch.absolute(qbatch.TOOL), "--json", "--io", "posix", "--state", self.state, fleet],
                               f"syncfs:signal=KILL:when={number}")
            if not trace.hit:
                break
            with open(disk, "rb") as f:
                longer += f.read(4) != b"QFI\xfb" and os.path.getsize(disk) > 300001
            answer = qbatch.qbatch("--json", "--state", self.state, "--resume", fleet)
            self.assertEqual(answer.code, 0, str(answer))
            self.restore("--discard-writes", "last")
            self.assertEqual((os.path.getsize(disk), proc.sha256(disk)), (300001, before), number)
        self.assertGreater(longer, 0)

    def test_an_image_that_nothing_can_be_read_of(self):
        self.on_each_amended(self.damaged)

    def damaged(self, images):
        before = proc.sha256(self.clones[0])
        with open(images[0], "r+b") as f:
            f.write(bytes(65536))
        self.assertEqual(self.restore("--discard-writes", "last", images[0]).status, "changed")
        self.assertEqual(proc.sha256(images[0]), before)
        with open(self.clones[1], "r+b") as f:
            stat = os.stat(self.clones[1])
            f.write(bytes(65536))
        os.utime(self.clones[1], ns=(stat.st_atime_ns, stat.st_mtime_ns))
        self.refused(images[1], "not_qcow2")


@unittest.skipUnless(strace.works(), strace.MISSING)
class Apart(RestoreTest):
    @unittest.skipIf(os.environ.get("QBATCH_SANITIZED"), "builds with sanitizers have no sandbox")
    def test_headers_are_read_by_a_process_that_has_given_up_its_rights(self):
        self.on_each_amended(self.apart)

    def apart(self, images):
        log = self.path("strace.log")
        done = proc.run(["strace", "-f", "-y", "-qq", "-o", log, "-e", "trace=seccomp,pread64,read,readv,preadv,dup2",
                         qbatch.absolute(qbatch.TOOL), "backup", "restore", "--state", self.state, "last",
                         images[0]])
        self.assertEqual(done.code, 0, done.err)
        confined, read, silent = set(), set(), set()
        with open(log, encoding="utf-8", errors="replace") as f:
            for line in f:
                pid, call = line.split(None, 1)
                if call.startswith("seccomp(SECCOMP_SET_MODE_FILTER") and call.rstrip().endswith("= 0"):
                    confined.add(pid)
                elif re.match(r"dup2\(\d+</dev/null(<.*>)?>, 2", call):
                    silent.add(pid)
                elif f"<{images[0]}" in call:
                    read.add(pid)
                    self.assertIn(pid, confined, line)
        self.assertTrue(read)
        self.assertEqual(confined, read)
        self.assertEqual(silent, read)  # it has no terminal


@unittest.skipUnless(strace.works(), strace.MISSING)
class Interrupted(RestoreTest):
    def test_killed_at_any_call_that_writes_it_is_the_old_image_or_the_new_one(self):
        self.on_each_amended(self.killed)

    def test_a_call_that_fails(self):
        self.on_each_amended(self.failing)

    def test_the_last_one_was_killed_before_its_record(self):
        """The clone has the image's name already: a restore of the whole run finds nothing else to do."""
        self.on_each_amended(self.before_its_record)

    def before_its_record(self, images):
        self.restore("last", *images[1:])
        trace = strace.run([qbatch.absolute(qbatch.TOOL), "backup", "restore", "--json", "--state", self.state, "last"],
                           "write:signal=KILL:when=1")
        self.assertTrue(trace.hit, trace.log)
        self.assertEqual([os.path.exists(path) for path in (self.clones[0], self.amended_name(0))], [False, True])
        self.assertEqual({r["status"] for r in self.restore("last").records}, {"unchanged"})
        self.assertEqual(self.listed()[:2], [(self.name(0), "restored", "restored"),
                                             (os.path.basename(self.amended_name(0)), "kept", "restored")])
        self.restore("last", code=2)

    def killed(self, images):
        self.sweep(images, "signal=KILL")

    def failing(self, images):
        self.sweep(images, "error=EIO")

    def reset(self, image):
        """The state from before the restore: names, contents, times and journal."""
        for path in (image, self.clones[0], self.amended_name(0)):
            if os.path.exists(path) and os.stat(path).st_ino in self.inodes:
                os.rename(path, path + ".was")
        for name in self.files():
            path = os.path.join(self.there, name)
            if name.endswith(".was"):
                os.rename(path, self.inodes[os.stat(path).st_ino])
        shutil.copyfile(self.kept_journal, self.journal_path)

    def sweep(self, images, action):
        image = images[0]
        proc.must(["setfacl", "-m", "u:1234:r", image])
        os.setxattr(image, "user.where", b"rack 8")
        self.inodes = {os.stat(path).st_ino: path for path in (image, self.clones[0])}
        self.journal_path = os.path.join(self.state, f"{self.run_id}.journal")
        self.kept_journal = self.path("kept.journal")
        shutil.copyfile(self.journal_path, self.kept_journal)
        shas = proc.sha256(image), proc.sha256(self.clones[0])
        argv = [qbatch.absolute(qbatch.TOOL), "backup", "restore", "--json", "--state", self.state, "last", image]
        tried = restored = 0
        for call in WRITES.split(","):
            for number in range(1, 40, 3 if SANITIZED else 1):
                trace = strace.run(argv, f"{call}:{action}:when={number}")
                if not trace.hit:
                    self.reset(image)
                    break
                tried += 1
                with self.subTest(f"{call} {number}"):
                    restored += self.one_or_the_other(image, shas)
                self.reset(image)
        self.assertGreater(tried, 3 if SANITIZED else 8)
        self.assertGreater(restored, 0)
        self.assertLess(restored, tried)

    def one_or_the_other(self, image, shas):
        """Whether the image is the restored one; a second restore makes it so, and loses neither."""
        now = proc.sha256(image)
        self.assertIn(now, shas)
        beside = [proc.sha256(path) for path in (self.clones[0], self.amended_name(0)) if os.path.exists(path)]
        self.assertEqual(sorted([now, *beside]), sorted(shas))
        answer = self.restore("last", image)
        self.assertIn(answer.status, ("changed", "unchanged"), str(answer))
        self.assertEqual((proc.sha256(image), proc.sha256(self.amended_name(0))), shas[::-1])
        self.assertEqual(self.listed()[:2], [(self.name(0), "restored", "restored"),
                                             (os.path.basename(self.amended_name(0)), "kept", "restored")])
        return now == shas[1]


if __name__ == "__main__":
    main()
