"""Undo of data_file, data_file_raw and extended_l2 of images with an external data file, which has no
fingerprint: what a guest wrote there must show under the old header, or the undo is refused."""
import os
import re
import shutil
import unittest

import context  # noqa: F401
import guest
import proc
import qbatch
import strace
from fixture import KIB, MIB, main
from test_undo_proof import UndoTest

SIZE = MIB + 512


class DataFileUndo(UndoTest):
    def setUp(self):
        super().setUp()
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(self.folder)  # QEMU takes relative names from there

    def make(self, name, raw="off", **options):
        image = self.create(f"{name}.qcow2", size=SIZE, data_file=f"{name}.data", data_file_raw=raw,
                            **options)
        self.io(image, "write -q -P 5 0 64k", "write -q -P 7 512k 64k", "write -q -z 256k 64k",
                f"write -q -P 6 {SIZE - 512} 512")
        self.sha = proc.sha256(image)
        return image

    def assert_back(self, image, run):
        self.undone(run)
        self.assertEqual(proc.sha256(image), self.sha)
        self.assert_sound(image)

    def raw_of(self, image):
        return guest.info(image)["format-specific"]["data"]["data-file-raw"]


class Name(DataFileUndo):
    def test_another_name_of_the_same_file(self):
        image = self.make("a")
        os.link("a.data", "b.data")
        run = self.amend(image, data_file="b.data")
        self.io(image, "write -q -P 9 0 4k")
        self.assert_back(image, run)
        self.assert_reads(image, 0, 4 * KIB, 9)

    def test_the_roots_of_the_run_hold_for_its_undo(self):
        """The old header's data file must lie beneath them, too, unless the undo names others."""
        image = self.make("a")
        for name in ("in", "old", "third"):
            os.mkdir(name)
        shutil.copy("a.data", "in/a.data")
        os.rename("a.data", "old/a.data")
        self.amended(image, data_file="old/a.data")
        self.sha = proc.sha256(image)
        roots = ["--root", "in", "--root", "old"]
        answer = qbatch.amend(image, flags=[*self.flags, *roots, "--root", "third"], keep_undo="on",
                              data_file="in/a.data")
        self.assertEqual((answer.code, answer.status), (0, "changed"), str(answer))
        run = answer.summary["run"]
        os.rmdir("third")
        refused = qbatch.qbatch("undo", *self.flags, run)
        self.assertEqual(refused.code, 2, str(refused))
        self.assertIn("third", str(refused))
        refused = qbatch.qbatch("undo", *self.flags, "--json", "--root", "in", run)
        self.assertEqual((refused.code, refused.error), (1, "outside_roots"), str(refused))
        self.assertEqual(qbatch.qbatch("undo", *self.flags, *roots, run).code, 0)
        self.assertEqual(proc.sha256(image), self.sha)

    def test_a_copy_that_nobody_wrote(self):
        for raw in ("off", "on"):
            image = self.make(raw, raw=raw)
            shutil.copy(f"{raw}.data", "copy.data")
            self.assert_back(image, self.amend(image, data_file="copy.data"))

    def test_what_was_written_to_the_copy_is_not_lost(self):
        for at in (0, 600 * KIB, SIZE - 512):
            image = self.make("a")
            shutil.copy("a.data", "copy.data")
            run = self.amend(image, data_file="copy.data")
            self.unnoticed(image, self.io, image, f"write -q -P 9 {at} 512")
            self.refused_to_undo(image, run, f"has other bytes at {at} than")
            shutil.copy("copy.data", "a.data")
            self.undone(run)
            self.assert_reads(image, at, 512, 9)
            self.assert_sound(image)
            for name in (image, "a.data", "copy.data"):
                os.unlink(name)

    def test_what_was_written_past_the_old_end(self):
        image = self.make("a")
        shutil.copy("a.data", "copy.data")
        run = self.amend(image, data_file="copy.data", size="4M")
        self.unnoticed(image, self.io, image, "write -q -P 9 3M 512")
        self.refused_to_undo(image, run)

    def test_a_file_that_is_gone(self):
        image = self.make("a")
        os.rename("a.data", "b.data")
        run = self.amend(image, data_file="b.data")
        sha = proc.sha256(image)
        answer = self.undo(run)
        self.assertEqual(answer.code, 1, str(answer))
        self.assertIn("a.data", answer.first["error"]["message"])
        self.assertEqual(proc.sha256(image), sha)
        os.link("b.data", "a.data")
        self.assert_back(image, run)

    @unittest.skipUnless(strace.reads_memory(), strace.BLIND)
    def test_the_file_is_durable_before_a_header_names_it(self):
        """A copy may be in the page cache alone."""
        image = self.make("a")
        shutil.copy("a.data", "copy.data")
        calls = self.calls("amend", "-o", "keep_undo=on,data_file=copy.data", image)
        self.assertLess(calls.index("copy.data sync"), calls.index("a.qcow2 write"), calls)
        calls = self.calls("undo", "last")
        self.assertLess(calls.index("a.data sync"), calls.index("a.qcow2 write"), calls)

    def calls(self, command, *operands):
        """The syncs and writes of a command, in their order."""
        argv = ["strace", "-f", "-y", "-qq", "-o", "log", "-e", "trace=fdatasync,fsync,pwrite64",
                qbatch.absolute(qbatch.TOOL), command, "--io", "posix", *self.flags, *operands]
        proc.must(argv, env=strace.environment())
        with open("log", encoding="utf-8") as f:
            lines = [re.match(r".*?(sync|pwrite)[a-z0-9]*\(\d+<[^>]*/([^/>]*)>", line) for line in f]
        return [f"{m[2]} {'sync' if m[1] == 'sync' else 'write'}" for m in lines if m]

    def test_a_raw_file_that_is_shorter_than_the_disk(self):
        image = self.create("a.qcow2", size=SIZE, data_file="a.data", data_file_raw="on")
        shutil.copy("a.data", "copy.data")
        run = self.amend(image, data_file="copy.data")
        os.truncate("a.data", SIZE - 512)
        self.refused_to_undo(image, run, "shorter than the disk")


class Raw(DataFileUndo):
    def test_on(self):
        """Who writes the file writes the same clusters under both headers."""
        image = self.make("a")
        run = self.amend(image, data_file_raw="on")
        self.assertTrue(self.raw_of(image))
        self.io("a.data", "write -q -P 9 0 4k", fmt="raw")
        self.unnoticed(image, self.io, image, "write -q -P 8 512k 4k")
        self.assert_back(image, run)
        self.assertFalse(self.raw_of(image))
        self.assert_reads(image, 0, 4 * KIB, 9)
        self.assert_reads(image, 512 * KIB, 4 * KIB, 8)

    def test_off(self):
        image = self.make("a", raw="on")
        run = self.amend(image, data_file_raw="off")
        self.assertFalse(self.raw_of(image))
        self.io(image, "write -q -P 9 0 4k")
        self.assert_back(image, run)
        self.assertTrue(self.raw_of(image))
        guest.qemu_img("compare", "-q", "-f", "raw", "-F", "qcow2", "a.data", image)

    def test_off_and_larger(self):
        image = self.make("a", raw="on")
        self.assert_back(image, self.amend(image, data_file_raw="off", size="4M"))

    def test_off_and_zeroed_since(self):
        """A cluster that reads zero, and whose bytes are in the file: it is not the disk any more."""
        for command in ("write -q -z 512k 64k", "discard -q 512k 64k"):
            image = self.make("a", raw="on")
            run = self.amend(image, data_file_raw="off")
            self.unnoticed(image, self.io, image, command)
            with open("a.data", "rb") as f:
                f.seek(512 * KIB)
                kept = f.read(512) != bytes(512)
            if kept:
                self.refused_to_undo(image, run, "the old header says that the external data file")
            else:  # QEMU has zeroed it there, too
                self.undone(run)
                self.assert_reads(image, 512 * KIB, 64 * KIB, 0)
                guest.qemu_img("compare", "-q", "-f", "raw", "-F", "qcow2", "a.data", image)
            os.unlink(image)
            os.unlink("a.data")

    def test_off_and_bytes_where_the_disk_reads_zero(self):
        image = self.make("a", raw="on")
        run = self.amend(image, data_file_raw="off")
        with open("a.data", "r+b") as f:
            f.truncate(SIZE + 512)
            f.seek(SIZE)
            f.write(b"x")
        self.refused_to_undo(image, run, "the old header says that the external data file")


class Extended(DataFileUndo):
    def test_on_and_off(self):
        for raw in ("off", "on"):
            for value in ("on", "off"):
                with self.subTest(raw=raw, extended_l2=value):
                    made = {} if value == "on" else {"extended_l2": "on"}
                    image = self.create("a.qcow2", size=SIZE, data_file="a.data", data_file_raw=raw,
                                        **made)
                    self.io(image, "write -q -P 5 0 64k", "write -q -P 7 512k 64k",
                            "write -q -z 256k 64k")
                    self.sha = proc.sha256(image)
                    run = self.amend(image, extended_l2=value)
                    self.unnoticed(image, self.io, image, "write -q -P 9 0 4k")
                    self.assert_back(image, run)
                    self.assert_reads(image, 0, 4 * KIB, 9)
                    if value == "on":
                        self.assert_back(image, self.amend(image, extended_l2=value, size="3M"))
                    os.unlink(image)
                    os.unlink("a.data")


class Filled(DataFileUndo):
    """Growing fills what a longer backing file showed in the last cluster, at its place in the data file."""

    def over(self, size, extended, sort="unallocated"):
        self.raw("base", "4M", "write -q -P 8 0 4M")
        image = self.create("a.qcow2", size=size, data_file="a.data", backing="base", backing_fmt="raw",
                            extended_l2=extended)
        self.io(image, "write -q -P 5 0 64k")
        if sort == "partial":
            self.io(image, f"write -q -P 6 {size // (64 * KIB) * 64 * KIB} 2k")
        self.sha = proc.sha256(image)
        return image

    def each(self):
        for extended, sort in (("off", "unallocated"), ("on", "unallocated"), ("on", "partial")):
            for size in (MIB + 12 * KIB, MIB + 12 * KIB + 512):
                with self.subTest(extended_l2=extended, sort=sort, size=size):
                    yield self.over(size, extended, sort), size
                    for name in ("a.qcow2", "a.data", "base"):
                        os.unlink(name)

    def test_what_nobody_wrote_is_undone(self):
        for image, size in self.each():
            run = self.amend(image, size="3M")
            self.unnoticed(image, self.io, image, "write -q -P 9 0 4k")
            self.assert_back(image, run)
            self.assert_reads(image, size - 2 * KIB, 2 * KIB, 8)
            self.assert_reads(image, 0, 4 * KIB, 9)

    def test_what_was_written_there_is_not_lost(self):
        for image, size in self.each():
            run = self.amend(image, size="3M")
            self.unnoticed(image, self.io, image, f"write -q -P 9 {size - 512} 512")
            self.refused_to_undo(image, run)
            self.assert_reads(image, size - 512, 512, 9)

    def test_what_was_zeroed_there_is_not_lost(self):
        for image, size in self.each():
            run = self.amend(image, size="3M")
            self.unnoticed(image, self.io, image, f"write -q -z {MIB + 4 * KIB} 4k", f"discard -q {MIB + 8 * KIB} 2k")
            self.refused_to_undo(image, run)

    def test_another_backing_file(self):
        """An undo has to show what the data file does: the old header names the one that is asked."""
        for same in (True, False):
            for image, size in self.each():
                if size % KIB == 0:
                    continue  # there may be nothing to fill
                self.raw("other", "4M", f"write -q -P {8 if same else 7} 0 2M", "write -q -P 7 2M 2M")
                run = self.amend(image, size="3M", backing_file="other", backing_fmt="raw")
                os.rename("other", "gone")
                if same:
                    self.undone(run)
                    self.assert_reads(image, 64 * KIB, MIB - 64 * KIB, 8)
                    self.assert_reads(image, size - 512, 512, 8)
                    self.assert_sound(image)
                else:
                    self.refused_to_undo(image, run, "the data file was written where the backing file showed")
                os.unlink("gone")

    def test_a_guest_offset_that_is_one_of_new_metadata(self):
        """The last cluster lies in the data file at the byte at which new tables lie in the image."""
        size = 5 * 64 * KIB + 512
        for extended in ("off", "on"):
            image = self.over(size, extended)
            self.assertEqual(os.path.getsize(image), size - 512)
            run = self.amend(image, size="3M")
            self.unnoticed(image, self.io, image, f"write -q -P 9 {size - 512} 512")
            self.refused_to_undo(image, run, "the data file was written where the backing file showed")
            self.assert_reads(image, size - 512, 512, 9)
            for name in ("a.qcow2", "a.data", "base"):
                os.unlink(name)


if __name__ == "__main__":
    main()
