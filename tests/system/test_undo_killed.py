"""Amends and undos that are killed, or fail, at any system call: the next undo finishes the work."""
import errno
import os
import shutil
import unittest

import context  # noqa: F401
import guest
import proc
import qbatch
import qcow2
import strace
from fixture import ImageTest, main

SANITIZED = bool(os.environ.get("QBATCH_SANITIZED"))  # some ten times slower
CALLS = "pwrite64,ftruncate,fdatasync,write"


@unittest.skipUnless(strace.works(), strace.MISSING)
class Killed(ImageTest):
    def setUp(self):
        super().setUp()
        self.raw("base.raw", "1M", "write -q -P 9 0 1M")
        self.image = self.create("a.qcow2", size="1M", backing="base.raw", backing_fmt="raw",
                                 cluster_size=16384)
        self.io(self.image, "write -q -P 1 0 64k", "write -q -z 64k 64k")
        self.snapshot(self.image, "s")
        self.io(self.image, "write -q -P 2 0 16k")
        self.original = self.copy(self.image, "original")
        self.before = proc.sha256(self.image)
        self.state = self.path("state")

    def restore(self):
        shutil.copyfile(self.original, self.image)
        shutil.rmtree(self.state, ignore_errors=True)

    def amend_argv(self, **options):
        return [qbatch.absolute(qbatch.TOOL), "amend", "--json", "--io", "posix", "--state",
                self.state, "-o", qbatch.option_string({"keep_undo": "on", **options}), self.image]

    def undo_argv(self, *flags):
        return [qbatch.absolute(qbatch.TOOL), "undo", "--json", "--io", "posix", "--state",
                self.state, *flags, "last"]

    def alone_argv(self, *flags):
        """By one process, so that a call has one number."""
        return self.undo_argv("--sandbox=off", *flags)

    def sweep(self, argv, action, prepare):
        """Each call of a kind goes wrong in turn, until there are no more: yields (words, trace)."""
        tried = 0
        for call in CALLS.split(","):
            for number in range(1, 100, 3 if SANITIZED else 1):
                prepare()
                trace = strace.run(argv, f"{call}:{action}:when={number}")
                if not trace.hit:
                    break
                tried += 1
                yield f"{call} {number}", trace
        self.assertGreater(tried, 0 if SANITIZED else 3)

    def assert_as_it_was(self, answer):
        """Undone, or the run had not come so far that there was something to undo."""
        self.assertFalse(answer.crashed, str(answer))
        self.assertIn(answer.code, (0, 2), str(answer))
        self.assertEqual(proc.sha256(self.image), self.before, str(answer))

    def test_an_amend_killed_at_any_call_is_undone(self):
        for options in ({"compat": "0.10"}, {"size": "1M", "lazy_refcounts": "on"},
                        {"extended_l2": "on", "refcount_bits": 64}):
            undone = 0
            for what, _ in self.sweep(self.amend_argv(**options), "signal=KILL", self.restore):
                with self.subTest(f"{options} {what}"):
                    amended = proc.sha256(self.image) != self.before
                    answer = qbatch.Answer(proc.run(self.undo_argv()))
                    self.assert_as_it_was(answer)
                    undone += answer.status == "changed"
                    if amended:
                        self.assertEqual(answer.status, "changed", str(answer))
            self.assertGreater(undone, 0 if SANITIZED else 2)

    def test_a_run_that_went_wrong_at_any_call_and_was_resumed_is_undone(self):
        """The resumed run finds an image amended whose record, or whose sync, was lost."""
        manifest = self.manifest("""
            version: 1
            images: [{path: a.qcow2, size: +1M, keep_undo: on}]
            """)
        argv = [qbatch.absolute(qbatch.TOOL), "--json", "--io", "posix", "--state", self.state]
        found = 0
        for action in ("signal=KILL", "error=EIO"):
            for what, _ in self.sweep([*argv, manifest], action, self.restore):
                with self.subTest(f"{action} {what}"):
                    resumed = qbatch.Answer(proc.run([*argv, "--resume", manifest]))
                    if not resumed.records:  # there was no run, or nothing was left of it
                        continue
                    self.assertEqual(qcow2.load(self.image).size, 2 << 20, str(resumed))
                    found += resumed.status == "unchanged"
                    answer = qbatch.Answer(proc.run(self.undo_argv()))
                    self.assertEqual((answer.code, answer.status), (0, "changed"), str(answer))
                    self.assertEqual(proc.sha256(self.image), self.before, str(answer))
        self.assertGreater(found, 1)

    def amended(self, **options):
        self.restore()
        proc.must(self.amend_argv(**options))
        self.assertNotEqual(proc.sha256(self.image), self.before)

    def test_an_undo_killed_at_any_call_is_finished_by_the_next(self):
        for argv in (self.alone_argv(), self.undo_argv()):
            for what, _ in self.sweep(argv, "signal=KILL", lambda: self.amended(compat="0.10")):
                with self.subTest(f"{what} of {argv}"):
                    self.assert_as_it_was(qbatch.Answer(proc.run(self.undo_argv())))

    def test_an_undo_whose_calls_fail_says_so_and_is_finished_by_the_next(self):
        for what, trace in self.sweep(self.alone_argv(), "error=EIO",
                                      lambda: self.amended(compat="0.10")):
            with self.subTest(what):
                answer = qbatch.Answer(trace.result)
                self.assertFalse(answer.crashed, str(answer))
                self.assertIn(answer.code, (1, 2), str(answer))  # 2: the journal was not opened
                if answer.records:
                    self.assertIn(os.strerror(errno.EIO), answer.result.out + answer.result.err)
                self.assert_as_it_was(qbatch.Answer(proc.run(self.undo_argv())))

    def test_where_the_journal_has_no_room_for_its_beginning_it_goes_on(self):
        self.amended(compat="0.10")
        trace = strace.run(self.alone_argv(), "write:error=ENOSPC:when=1")
        self.assertTrue(trace.hit)
        answer = qbatch.Answer(trace.result)
        self.assertEqual((answer.code, answer.status), (0, "changed"), str(answer))
        self.assertEqual(proc.sha256(self.image), self.before)
        self.assertEqual(qbatch.Answer(proc.run(self.undo_argv())).code, 2)  # it is recorded that it is undone

    def test_a_record_of_what_was_undone_that_does_not_reach_the_disk_is_told(self):
        for flags in ((), ("--discard-undo",)):
            syncs = 0
            for number in range(1, 9):
                self.amended(compat="0.10")
                trace = strace.run(self.alone_argv(*flags), f"fdatasync:error=EIO:when={number}")
                if not trace.hit:
                    break
                syncs = number
                answer = qbatch.Answer(trace.result)
                self.assertEqual(answer.code, 1, str(answer))
            self.assertEqual(answer.status, "changed", str(answer))  # the last sync is the journal's
            self.assertIn("what no longer holds", answer.summary["journal_error"])
            self.assertGreater(syncs, 1)

    def test_a_tail_that_cannot_be_cut_is_reported_and_cut_by_the_next_undo(self):
        for number in range(1, 6):  # the journal is cut too, when it is opened
            self.amended(compat="0.10")
            answer = qbatch.Answer(strace.run(self.alone_argv(), "ftruncate:error=EIO:when="
                                              f"{number}").result)
            if answer.records:
                break
        self.assertEqual((answer.code, answer.status), (1, "failed"), str(answer))
        self.assertIn("could not be cut off", answer.first["error"]["message"])
        self.assert_sound(self.image)
        self.assertGreater(os.path.getsize(self.image), os.path.getsize(self.original))
        answer = qbatch.Answer(proc.run(self.undo_argv()))
        self.assertEqual((answer.code, answer.status), (0, "changed"), str(answer))
        self.assertEqual(proc.sha256(self.image), self.before)
        self.assertEqual(proc.run(self.undo_argv()).code, 2)

    def test_a_tail_that_a_guest_has_used_since_stays(self):
        for number in range(1, 6):
            self.amended(compat="0.10")
            strace.run(self.alone_argv(), f"ftruncate:signal=KILL:when={number}")
            if qcow2.load(self.image).data[:512] == qcow2.load(self.original).data[:512]:
                break
        self.assertGreater(os.path.getsize(self.image), os.path.getsize(self.original))
        self.io(self.image, "write -q -P 5 512k 256k")
        layers = guest.read_all(self.image)
        answer = qbatch.Answer(proc.run(self.undo_argv()))
        self.assertFalse(answer.crashed, str(answer))
        self.assert_sound(self.image)
        self.assert_same_layers(layers, guest.read_all(self.image))

    def test_a_discard_killed_at_any_call_is_finished_by_the_next(self):
        argv = self.undo_argv("--discard-undo")
        self.amended(compat="0.10")
        layers = guest.read_all(self.image)
        for what, _ in self.sweep(argv, "signal=KILL", lambda: self.amended(compat="0.10")):
            with self.subTest(what):
                answer = qbatch.Answer(proc.run(argv))
                self.assertFalse(answer.crashed, str(answer))
                self.assertIn(answer.code, (0, 2), str(answer))
                self.assert_sound(self.image)
                self.assert_same_layers(layers, guest.read_all(self.image))
                self.assertEqual(proc.run(self.undo_argv(self.image)).code, 2)

    def test_a_discard_that_did_not_come_to_its_commit_leaves_the_undo_possible(self):
        """Its own append set the file's time and length, and no guest did."""
        undone = given_up = 0
        for action in ("signal=KILL", "error=ENOSPC"):
            for call in ("pwrite64", "ftruncate", "fdatasync"):
                for number in range(1, 9):
                    self.amended(compat="0.10")
                    amended = qcow2.load(self.image).data[:512]
                    trace = strace.run(self.alone_argv("--discard-undo"), f"{call}:{action}:when={number}")
                    if not trace.hit:
                        break
                    if qcow2.load(self.image).data[:512] != amended:
                        answer = qbatch.Answer(proc.run(self.undo_argv()))
                        self.assertIn(answer.code, (1, 2), str(answer))  # 2: it is recorded
                        if answer.records:
                            self.assertIn("freed by --discard-undo", answer.first["error"]["message"])
                        given_up += bool(answer.records)
                        continue
                    with self.subTest(f"{call} {action} {number}"):
                        self.assert_as_it_was(qbatch.Answer(proc.run(self.undo_argv())))
                        undone += 1
        self.assertGreater(undone, 6)
        self.assertGreater(given_up, 0)

    def test_where_a_guest_wrote_after_such_a_discard_it_is_not_undone(self):
        self.amended(compat="0.10")
        trace = strace.run(self.alone_argv("--discard-undo"), "pwrite64:error=ENOSPC:when=1")
        self.assertTrue(trace.hit)
        self.io(self.image, "write -q -P 5 512k 256k")
        sha = proc.sha256(self.image)
        answer = qbatch.Answer(proc.run(self.undo_argv()))
        self.assertEqual((answer.code, answer.error), (1, "changed"), str(answer))
        self.assertEqual(proc.sha256(self.image), sha)

    def test_what_a_killed_attempt_appended_is_cut_off_with_the_rest(self):
        manifest = self.manifest("""
            version: 1
            images: [{path: a.qcow2, refcount_bits: 64, keep_undo: on}]
            """)
        argv = [qbatch.absolute(qbatch.TOOL), "--json", "--io", "posix", "--sandbox=off", "--state", self.state]
        length = os.path.getsize(self.original)
        longer = 0
        for number in range(1, 9):
            self.restore()
            trace = strace.run([*argv, manifest], f"fdatasync:signal=KILL:when={number}")
            if not trace.hit:
                break
            longer += os.path.getsize(self.image) > length and proc.sha256(self.image) != self.before
            resumed = qbatch.Answer(proc.run([*argv, "--resume", manifest]))
            if not resumed.records:
                continue
            with self.subTest(number):
                self.assert_as_it_was(qbatch.Answer(proc.run(self.undo_argv())))
        self.assertGreater(longer, 0)

    def test_what_verification_could_not_read_is_undone_once_it_can_be_read(self):
        """The header is the one that was written, and the proof of keep_undo was recorded before: that no fingerprint
        could be taken of the file does not end the undo."""
        far = {"data_file": self.path("a.data")}
        for options, last in (({}, 1000), (far, 0)):
            undone = 0
            self.original = self.create("b.qcow2", size="4M", cluster_size=16384, **options)
            self.io(self.original, "write -q -P 1 0 2M")
            self.before = proc.sha256(self.original)
            for number in range(4, 60, 5 if SANITIZED else 1):
                self.restore()
                trace = strace.run([*self.amend_argv(lazy_refcounts="on", refcount_bits=64), "--sandbox=off"],
                                   f"pread64:error=EIO:when={number}..{number + last}")
                if not trace.hit:
                    break
                if qbatch.Answer(trace.result).code == 5:
                    with self.subTest(f"{options} {number}"):
                        self.assert_as_it_was(qbatch.Answer(proc.run(self.undo_argv())))
                        undone += 1
            self.assertGreater(undone, 0)


if __name__ == "__main__":
    main()
