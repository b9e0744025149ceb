"""Images whose data lie in an external file: every amend, both files, QEMU as the judge."""
import fcntl
import json
import os
import shutil
import subprocess
import sys
import unittest

import context  # noqa: F401
import guest
import proc
import qbatch
import qcow2
import strace
from fixture import KIB, MIB, OTHER_BUILD, ImageTest, main

SIZE = MIB + 512  # ends within a cluster of all sizes above a sector


class DataFile(ImageTest):
    """QEMU takes relative names from the directory where it is started."""

    def setUp(self):
        super().setUp()
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(self.folder)

    def make(self, size=SIZE, raw="off", name="a.qcow2", data="a.data", **options):
        """An image with data at its beginning, in its middle and at its end."""
        image = self.create(name, size=size, data_file=data, data_file_raw=raw, **options)
        self.io(image, "write -q -P 5 0 64k", "write -q -P 7 512k 64k", f"write -q -P 6 {size - 512} 512")
        return image

    def junk(self, name="a.data", length=200 * KIB):
        with open(self.path(name), "ab") as f:
            f.write(b"\xee" * length)

    def length(self, name="a.data"):
        return os.path.getsize(self.path(name))

    def each(self):
        for raw in ("off", "on"):
            for cluster_size in (512, 4096, 64 * KIB, 2 * MIB):
                with self.subTest(f"raw {raw}, {cluster_size}"):
                    self.folder = os.path.join(self.folder, "x")  # a new one each
                    os.mkdir(self.folder)
                    os.chdir(self.folder)
                    yield raw, {"raw": raw, "cluster_size": cluster_size}

    def test_a_raw_file_is_not_given_bytes_of_a_new_backing_file(self):
        """Until the flip it has to read like the disk, and in one amend it would not."""
        self.raw("long.raw", "2M", "write -q -P 9 0 2M")
        image = self.create(size=SIZE, data_file="a.data")
        self.io(image, "write -q -P 5 0 64k")
        self.amended(image, data_file_raw="on")  # its last cluster has no place
        data = proc.sha256(self.path("a.data"))
        asked = {"data_file_raw": "off", "backing_file": "long.raw", "backing_fmt": "raw"}
        self.refused(image, "unsupported", words="amend data_file_raw first", size=SIZE + MIB // 2, **asked)
        self.assertEqual(proc.sha256(self.path("a.data")), data)
        self.amended(image, **asked)
        self.amended(image, size=SIZE + MIB // 2)
        self.assert_reads(image, SIZE, MIB // 2, 0)
        self.assert_sound(image)

    def assert_content(self, image, size, old=SIZE):
        end = min(size, old)
        self.assert_reads(image, 0, min(64 * KIB, end), 5)
        if end >= 576 * KIB:
            self.assert_reads(image, 512 * KIB, 64 * KIB, 7)
        if end == old:
            self.assert_reads(image, old - 512, 512, 6)
        if size > old:
            self.assert_reads(image, old, size - old, 0)
        self.assert_sound(image)


class Resize(DataFile):
    def test_growing_zeroes_what_comes_into_use(self):
        for raw, options in self.each():
            image = self.make(**options)
            self.junk()
            self.amended(image, size="4M")
            self.assert_content(image, 4 * MIB)
            self.assertEqual(self.length(), 4 * MIB)
            if raw == "on":
                guest.qemu_img("compare", "-q", "-f", "raw", "-F", "qcow2", self.path("a.data"), image)
            self.io(image, "write -q -P 9 1M 3M")
            self.assert_reads(image, "1M", "3M", 9)
            self.assert_sound(image)

    def test_a_raw_file_stays_the_disk_for_those_who_write_it(self):
        """As after `qemu-img resize`: all of the disk is mapped."""
        image = self.make(raw="on")
        self.amended(image, size="4M")
        self.io(self.path("a.data"), "write -q -P 3 2M 64k", fmt="raw")
        self.assert_reads(image, "2M", "64k", 3)

    def test_shrinking_cuts_and_growing_again_reads_zero(self):
        for _, options in self.each():
            image = self.make(**options)
            self.junk()
            self.amended(image, shrink=True, size=64 * KIB + 512)
            self.assertEqual(self.length(), 64 * KIB + 512)
            self.assert_content(image, 64 * KIB + 512)
            self.amended(image, size="2M")
            self.assert_reads(image, 0, 64 * KIB, 5)
            self.assert_reads(image, 64 * KIB, 2 * MIB - 64 * KIB, 0)
            self.assert_sound(image)

    def test_a_longer_data_file_is_never_made_longer(self):
        image = self.make()
        self.junk(length=8 * MIB)
        was = self.length()
        self.amended(image, size="4M")
        self.assertEqual(self.length(), was)
        self.assert_content(image, 4 * MIB)
        with open(self.path("a.data"), "rb") as f:
            f.seek(4 * MIB)
            self.assertEqual(set(f.read()), {0xee}, "bytes past the new end were written")

    def test_a_raw_file_with_overlays_is_not_cut(self):
        """They read past the new end, as do those of an image that is itself a base."""
        image = self.make(raw="on")
        odd = {"driver": "raw", "offset": 0, "file": {"driver": "file", "filename": self.path("a.data")}}
        for name in ("a.data", "json:" + json.dumps(odd)):
            overlay = self.path("o.qcow2")
            proc.must(["qemu-img", "create", "-q", "-f", "qcow2", "-b", name, "-F", "raw", overlay])
            before = [proc.sha256(image), proc.sha256(self.path("a.data"))]
            answer = self.run_manifest("version: 1\npolicy: {allow_shrink: true}\nimages:\n"
                                       "  - {path: a.qcow2, size: 64k}\n"
                                       "  - {path: o.qcow2, lazy_refcounts: on}\n")
            self.assertEqual(answer.records[0]["error"]["code"], "refused", str(answer))
            self.assertIn("o.qcow2", answer.records[0]["error"]["message"])
            self.assertEqual([proc.sha256(image), proc.sha256(self.path("a.data"))], before)
            self.assert_reads(overlay, 512 * KIB, 64 * KIB, 7)
        self.amended(image, shrink=True, size="64k")

    def test_reserved_space_stays_reserved(self):
        image = self.make(size=MIB, preallocation="full")
        subprocess.run(["fallocate", "-l", "3M", self.path("a.data")], check=True)
        was = os.stat(self.path("a.data")).st_blocks
        self.junk(length=MIB)
        self.amended(image, size="4M")
        self.assertGreaterEqual(os.stat(self.path("a.data")).st_blocks, was)
        self.assert_reads(image, "1M", "3M", 0)

    def test_growing_over_a_longer_backing_file(self):
        """The last cluster, in which it shows, is copied to its place in the data file."""
        self.raw("base", "4M", "write -q -P 8 0 4M")
        image = self.path("a.qcow2")
        proc.must(["qemu-img", "create", "-q", "-f", "qcow2", "-o", "data_file=a.data", "-b", "base", "-F",
                   "raw", "a.qcow2", str(SIZE)], cwd=self.folder)
        self.io(image, "write -q -P 5 0 64k")
        self.amended(image, size="3M")
        self.assert_reads(image, 0, 64 * KIB, 5)
        self.assert_reads(image, 64 * KIB, SIZE - 64 * KIB, 8)
        self.assert_reads(image, SIZE, 3 * MIB - SIZE, 0)
        self.assert_sound(image)
        self.amended(image, shrink=True, size=SIZE - 64 * KIB)
        self.assert_reads(image, 64 * KIB, SIZE - 128 * KIB, 8)
        self.assert_sound(image)

    def test_growing_within_the_last_cluster_over_a_longer_backing_file(self):
        self.raw("base", "4M", "write -q -P 8 0 4M")
        for junk in (0, MIB):
            with self.subTest(f"{junk} bytes past the end"):
                image = self.path(f"{junk}.qcow2")
                proc.must(["qemu-img", "create", "-q", "-f", "qcow2", "-o", f"data_file={junk}.data",
                           "-b", "base", "-F", "raw", image, str(SIZE)])
                self.junk(f"{junk}.data", junk)
                for size in (SIZE + 512, SIZE + 2048, MIB + 64 * KIB):
                    self.amended(image, flags=["--verify", "content"], size=size)
                    self.assertEqual(self.length(f"{junk}.data"), max(size, SIZE + junk))
                    self.assert_reads(image, 0, SIZE, 8)
                    self.assert_reads(image, SIZE, size - SIZE, 0)
                    self.assert_sound(image)

    def test_a_dry_run_touches_neither_file(self):
        image = self.make()
        sums = [proc.sha256(image), proc.sha256(self.path("a.data"))]
        for size, shrink in (("4M", False), ("64k", True)):
            self.amended(image, shrink, ["--dry-run"], "would_change", size=size)
        self.assertEqual([proc.sha256(image), proc.sha256(self.path("a.data"))], sums)

    def test_waves_sync_both_files(self):
        for i in range(12):
            self.make(name=f"{i}.qcow2", data=f"{i}.data", raw="on" if i % 2 else "off")
        answer = self.run_manifest("version: 1\nimages:\n  - {path: '*.qcow2', size: 4M}\n")
        self.assertEqual((answer.code, len(answer.records)), (0, 12), str(answer))
        for i in range(12):
            self.assert_content(self.path(f"{i}.qcow2"), 4 * MIB)

    def test_an_append_that_fails_leaves_both_as_they_were(self):
        image = self.make()
        sums = [proc.sha256(image), proc.sha256(self.path("a.data"))]
        answer = proc.run(["prlimit", f"--fsize={3 * MIB}", qbatch.absolute(qbatch.TOOL), "amend", "-o",
                           "size=4M", image], cwd=self.folder)
        self.assertEqual(answer.code, 1, answer.out)
        self.assertIn("RLIMIT_FSIZE", answer.out + answer.err)
        self.assertEqual([proc.sha256(image), proc.sha256(self.path("a.data"))], sums)


class Content(DataFile):
    """verify: content reads the data file, before and after."""

    FLAGS = ["--verify", "content"]

    def test_every_amend_is_verified(self):
        for _, options in self.each():
            image = self.make(**options)
            self.junk()
            for shrink, change in ((False, {"size": "4M"}), (False, {"lazy_refcounts": "on"}),
                                   (True, {"size": 600 * KIB + 512}), (False, {"refcount_bits": 64}),
                                   (False, {"size": "1M"}), (True, {"size": 64 * KIB})):
                record = self.amended(image, shrink, self.FLAGS, **change)
                self.assertEqual(record["verify"]["result"], "ok")
            self.assert_content(image, 64 * KIB)

    def test_over_a_backing_file(self):
        self.raw("base", "4M", "write -q -P 8 0 4M")
        image = self.path("a.qcow2")
        proc.must(["qemu-img", "create", "-q", "-f", "qcow2", "-o", "data_file=a.data", "-b", "base", "-F",
                   "raw", "a.qcow2", str(SIZE)])
        self.io(image, "write -q -P 5 0 64k", "write -q -z 128k 64k")
        self.amended(image, flags=self.FLAGS, size="3M")
        self.amended(image, True, self.FLAGS, size=SIZE - 64 * KIB)
        self.amended(image, flags=self.FLAGS, size="5M")
        self.assert_reads(image, 128 * KIB, 64 * KIB, 0)
        self.assert_reads(image, SIZE - 64 * KIB, 5 * MIB - SIZE + 64 * KIB, 0)

    def meddled(self, at, *argv):
        """Runs qbatch while something writes a byte of the data file once the header is committed;
        what does so opens that file in the process, which a sandbox denies."""
        env = {**os.environ, "LD_PRELOAD": os.path.abspath(os.environ["MEDDLER"]), "MEDDLE_AT": str(at),
               "MEDDLE_PATH": self.path("a.data")}
        return qbatch.qbatch(*argv, "--sandbox=off", env=env)

    @unittest.skipUnless(os.environ.get("MEDDLER") and not os.environ.get("QBATCH_SANITIZED"), OTHER_BUILD)
    def test_a_byte_that_changes_meanwhile_is_noticed(self):
        for raw, at, wrong in (("off", 100, True), ("on", 512 * KIB, True), ("off", 256 * KIB, False)):
            image = self.make(raw=raw)
            answer = self.meddled(at, "amend", "--json", "--io", "posix", *self.FLAGS, "-o",
                                  "lazy_refcounts=on", image)
            self.assertEqual((answer.code, answer.error), (5, "verify") if wrong else (0, None), str(answer))
            os.unlink(image)
        image = self.make()
        answer = self.meddled(2 * MIB, "amend", "--json", "--io", "posix", "-o", "size=4M", image)
        self.assertEqual((answer.code, answer.error), (5, "verify"), str(answer))

    def test_only_what_is_allocated_is_read(self):
        image = self.create("large.qcow2", size="64G", data_file="l.data")
        self.io(image, "write -q -P 1 0 8M", "write -q -P 2 40G 8M")
        record = self.amended(image, flags=self.FLAGS, lazy_refcounts="on")
        self.assertLess(record["io"]["read_bytes"], 40 * MIB)
        self.assertGreater(record["io"]["read_bytes"], 32 * MIB)


class Keys(DataFile):
    """data_file and data_file_raw: what iotest 244 checks of amend, and what qemu-img does not."""

    def name_of(self, image):
        return guest.info(image)["format-specific"]["data"].get("data-file")

    def is_raw(self, image):
        return guest.info(image)["format-specific"]["data"].get("data-file-raw", False)

    def test_the_name_changes_where_the_content_is_the_same(self):
        image = self.make()
        self.copy(self.path("a.data"), "copy")
        os.link(self.path("a.data"), self.path("link"))
        for name in ("copy", "a.data", "link", self.path("copy"), "./a.data"):
            record = self.amended(image, data_file=name)
            self.assertEqual(record["after"]["data_file"], name)
            self.assertEqual(self.name_of(image), name)
            self.assertNotIn("compared", str(record))
            self.assert_content(image, SIZE)
        self.amended(image, status="unchanged", data_file="./a.data")

    def test_a_copy_that_differs_anywhere_is_refused(self):
        image = self.make(size=8 * MIB)
        self.io(image, "write -q -P 3 0 8M")
        for at in (0, 5 * MIB + 1, 8 * MIB - 1):
            copy = self.copy(self.path("a.data"), "copy")
            qcow2.patch(copy, at, b"x")
            self.refused(image, "refused", words=f"first at byte {at}", data_file="copy")

    def test_holes_of_either_file_are_compared(self):
        """A hole in the new file against data, and data against a hole in the old one."""
        for old, new in (("write -q -P 3 0 8M", "write -q -P 3 0 4M"),
                         ("write -q -P 3 0 4M", "write -q -P 3 0 8M")):
            image = self.make(size=8 * MIB)
            self.io(image, old)
            with open(self.path("copy"), "wb") as f:
                f.truncate(8 * MIB)
            self.io(self.path("copy"), new, fmt="raw")
            self.refused(image, "refused", words=f"first at byte {4 * MIB}", data_file="copy")

    def test_a_file_that_was_moved(self):
        image = self.make(raw="on")
        os.rename(self.path("a.data"), self.path("moved"))
        record = self.amended(image, data_file="moved", lazy_refcounts="on")
        self.assertTrue(record["data_file_unchecked"])
        self.assert_content(image, SIZE)

    def test_that_the_old_file_is_gone_is_not_guessed(self):
        """Only where nothing is at its name is the new one taken unseen."""
        image = self.make()
        os.rename(self.path("a.data"), self.path("moved"))
        os.symlink("a.data", self.path("a.data"))
        self.refused(image, "not_found", words="the present one", data_file="moved")
        os.unlink(self.path("a.data"))
        self.assertTrue(self.amended(image, data_file="moved")["data_file_unchecked"])

    def test_vm_state_in_the_data_file_cannot_move(self):
        """It lies at its guest offset, which is the first one that an L1 entry past the disk reaches."""
        for now, then in (("off", "on"), ("on", "off")):
            with self.subTest(then):
                image = self.create(f"{then}.qcow2", size=MIB, data_file=f"{then}.data", extended_l2=now)
                self.io(image, "write -q -P 5 0 64k", "write -q -b -P 171 0 64k")
                self.refused(image, "unsupported", words="VM state", extended_l2=then)
                self.io(image, "read -q -b -P 171 0 64k")

    def test_names_that_are_refused(self):
        image = self.make()
        self.raw("short", "512k")
        other = self.copy(self.path("a.data"), "other")
        self.io(other, "write -q -P 1 1M 512", fmt="raw")
        os.symlink("a.data", self.path("link"))
        for name, code, words in (("short", "refused", "bytes"), ("other", "refused", "at byte 1048576"),
                                  ("", "refused", "has to name it"), ("gone", "not_found", "gone"),
                                  ("a.qcow2", "backing_refused", "itself"),
                                  ("link", "backing_refused", "symbolic link"),
                                  ("json:{}", "backing_refused", "plain path"),
                                  ("nbd://h/e", "backing_refused", "plain path"), ("/", "backing_refused", "")):
            self.refused(image, code, words=words, data_file=name)
        self.refused(self.create("b.qcow2"), "refused", data_file="a.data")
        self.refused(self.path("b.qcow2"), "refused", data_file_raw="on")

    def test_what_takes_the_place_of_a_raw_file_is_no_longer_than_it(self):
        """Else the disk without the image would be another one than with it."""
        image = self.make(raw="on")
        for extra, words in ((512, "past the disk's end"), (MIB, "bytes, and the disk")):
            copy = self.copy(self.path("a.data"), f"{extra}")
            os.truncate(copy, SIZE)
            self.junk(copy, extra)
            self.refused(image, "refused", words=words, data_file=f"{extra}")
            os.unlink(self.path(f"{extra}"))
        self.copy(self.path("a.data"), "same")
        self.amended(image, data_file="same")

    def test_a_raw_file_that_a_killed_run_lengthened_is_taken(self):
        """Up to the size that is asked for once more, and zero there."""
        image = self.make(raw="on")
        self.copy(self.path("a.data"), "moved")
        os.truncate(self.path("moved"), 2 * MIB)
        self.refused(image, "refused", words="bytes, and the disk", data_file="moved", size="1536K")
        self.junk("moved", 512)
        self.refused(image, "refused", words="past the disk's end", data_file="moved", size="3M")
        os.truncate(self.path("moved"), 2 * MIB)
        self.amended(image, data_file="moved", size="2M")
        self.assert_content(image, 2 * MIB)

    def test_the_backing_file_is_no_data_file(self):
        """Its other overlays would see what is written there, and a new size would zero or cut it."""
        base = self.raw("base", str(SIZE))
        os.link(base, self.path("link"))
        proc.must(["qemu-img", "create", "-q", "-f", "qcow2", "-o", "data_file=a.data", "-b", "base", "-F",
                   "raw", "a.qcow2", str(SIZE)])
        image = self.path("a.qcow2")
        for name in ("base", "link", base):
            self.refused(image, "refused", words="backing file", data_file=name)
        self.refused(image, "refused", words="backing file", backing_file="a.data", backing_fmt="raw")
        self.amended(image, data_file="link", backing_file="")
        proc.must(["qemu-img", "rebase", "-u", "-b", "base", "-F", "raw", image])  # as others may leave it
        self.refused(image, "refused", words="backing file", size="4M")
        self.refused(image, "refused", words="backing file", size="64k", shrink=True)
        self.amended(image, data_file="a.data")

    @unittest.skipUnless(os.getuid() == 0, "only root can give files away")
    def test_a_tenant_gets_nobody_elses_file(self):
        image = self.make()
        os.chmod(self.folder, 0o755)
        for path in (image, self.path("a.data")):
            os.chown(path, 65534, 65534)
        self.copy(self.path("a.data"), "secret")
        self.refused(image, "backing_refused", words="uid 0", data_file="secret")
        self.refused(image, "backing_refused", data_file="/etc/shadow")

    def test_raw_goes_off_and_on_again_only_with_proof(self):
        image = self.make(raw="on")
        self.amended(image, data_file_raw="off")
        self.assertFalse(self.is_raw(image))
        self.amended(image, data_file_raw="on")
        self.assertTrue(self.is_raw(image))
        self.amended(image, data_file_raw="off")
        self.io(image, "write -q -z -u 512k 64k")  # QEMU discards it in the data file, too
        self.amended(image, data_file_raw="on")
        guest.qemu_img("compare", "-q", "-f", "raw", "-F", "qcow2", self.path("a.data"), image)
        self.amended(image, data_file_raw="off")
        self.io(self.path("a.data"), "write -q -P 4 512k 1k", fmt="raw")
        self.refused(image, "refused", words="at byte 524288", data_file_raw="on")
        self.io(self.path("a.data"), "write -q -z 512k 64k", fmt="raw")
        self.junk(length=512)
        self.refused(image, "refused", words="bytes", data_file_raw="on")
        with open(self.path("a.data"), "r+b") as f:
            f.truncate(SIZE)
        self.junk(length=512)
        self.refused(image, "refused", words="past the disk's end", data_file_raw="on")

    def test_raw_needs_all_data_in_the_data_file(self):
        self.raw("base", "1M", "write -q -P 8 0 1M")
        image = self.path("a.qcow2")
        proc.must(["qemu-img", "create", "-q", "-f", "qcow2", "-o", "data_file=a.data", "-b", "base", "-F", "raw",
                   image, "1M"])
        self.refused(image, "refused", data_file_raw="on")
        self.refused(image, "refused", data_file_raw="on", backing_file="")
        image = self.make(name="b.qcow2", data="b.data")
        place, entry = self.first_entry(image, 512 * KIB)
        qcow2.patch(image, place, (entry + 64 * KIB).to_bytes(8, "big"))
        self.refused(image, "refused", words="misplaced", data_file_raw="on")

    def test_all_in_one_commit(self):
        for raw, options in self.each():
            image = self.make(size=MIB, **options)
            self.copy(self.path("a.data"), "b")
            was = self.length()
            self.amended(image, flags=["--verify", "content"], data_file="b", size="3M", refcount_bits=32,
                         data_file_raw="off" if raw == "on" else "on", lazy_refcounts="on")
            self.assert_content(image, 3 * MIB, MIB)
            self.assertEqual(self.is_raw(image), raw == "off")
            self.assertEqual((self.length("a.data"), self.length("b")), (was, 3 * MIB))
            if raw == "off":
                guest.qemu_img("compare", "-q", "-f", "raw", "-F", "qcow2", self.path("b"), image)

    def test_unknown_extensions_survive(self):
        image = self.make()
        found = qcow2.load(image)
        end = found.data.find(found.extension(qcow2.EXT_DATA_FILE)) - 8
        qcow2.patch(image, end, b"\x76\x61\x74\x65\0\0\0\x08unknown!" + found.data[end:end + 400])
        self.copy(self.path("a.data"), "b")
        self.amended(image, data_file="b", size="2M")
        self.assertEqual(qcow2.load(image).extension(0x76617465), b"unknown!")
        self.assert_content(image, 2 * MIB)


class Refusals(DataFile):
    """What is wrong with the data file costs nothing of either file."""

    def refused_both(self, image, *codes, data="a.data", **kwargs):
        before = proc.sha256(self.path(data)) if os.path.isfile(self.path(data)) else None
        record = self.refused(image, *codes, size=kwargs.pop("size", "4M"), **kwargs)
        if before:
            self.assertEqual(proc.sha256(self.path(data)), before)
        return record["error"]["message"]

    def rename(self, image, name):
        """Has the header name another file, of a name as long as the one that it has."""
        found = qcow2.load(image)
        old = found.extension(qcow2.EXT_DATA_FILE)
        self.assertEqual(len(old), len(name))
        qcow2.patch(image, found.data.find(old), name.encode())

    def test_a_missing_one(self):
        image = self.make()
        os.unlink(self.path("a.data"))
        self.assertIn("a.data", self.refused_both(image, "not_found"))
        self.amended(image, lazy_refcounts="on")  # which does not open it

    def test_names_that_are_no_paths(self):
        for name in ("json:{}", "nbd://h"):
            image = self.make(data="d" * len(name))
            self.rename(image, name)
            self.refused_both(image, "backing_refused")
            os.unlink(image)

    def test_links_and_special_files(self):
        image = self.make()
        data = self.path("a.data")
        os.rename(data, self.path("real"))
        os.symlink("real", data)
        self.assertIn("symbolic link", self.refused_both(image, "backing_refused"))
        os.unlink(data)
        os.mkfifo(data)
        self.assertIn("FIFO", self.refused_both(image, "backing_refused"))
        os.unlink(data)
        os.mkdir(data)
        self.assertIn("directory", self.refused_both(image, "backing_refused"))

    def test_the_image_itself(self):
        image = self.make(data="x" * len(self.path("a.qcow2")))
        self.rename(image, image)
        self.assertIn("itself", self.refused_both(image, "backing_refused"))

    @unittest.skipUnless(os.getuid() == 0, "only root can give files away")
    def test_files_of_other_users(self):
        """A tenant's image names a file that only root may write."""
        image = self.make(data="/etc/shadow"[1:].replace("/", "_"))
        data = self.path("etc_shadow")
        os.chmod(self.folder, 0o755)
        os.chown(image, 65534, 65534)
        for owner, mode in ((0, 0o600), (0, 0o666), (1, 0o666)):
            os.chown(data, owner, owner)
            os.chmod(data, mode)
            self.assertIn("uid", self.refused_both(image, "backing_refused", data="etc_shadow"))
        os.chown(data, 65534, 65534)
        os.chmod(data, 0o400)
        self.assertIn("could not write", self.refused_both(image, "backing_refused", data="etc_shadow"))
        os.chmod(data, 0o600)
        self.amended(image, size="4M")
        self.rename(image, "/etc/shadw")
        self.rename(image, "etc_shadow")

    def test_one_in_use(self):
        image = self.make()
        with open(self.path("a.data"), "r+b") as f:
            fcntl.fcntl(f.fileno(), 37, b"\0\0\0\0\0\0\0\0" + (100).to_bytes(8, sys.byteorder) +
                        (104).to_bytes(8, sys.byteorder) + b"\0" * 8)  # F_OFD_SETLK, read
            answer = self.run_manifest("version: 1\npolicy: {on_locked: skip}\nimages:\n"
                                       "  - {path: a.qcow2, size: 4M}\n")
        self.assertEqual((answer.code, answer.status, answer.error), (3, "skipped", "locked"), str(answer))
        self.amended(image, size="4M")

    def test_two_files_of_one_relative_name(self):
        """QEMU would take the other one."""
        self.make()
        sub = self.path("sub")
        os.mkdir(sub)
        proc.must(["qemu-img", "create", "-q", "-f", "raw", os.path.join(sub, "a.data"), "1M"])
        answer = qbatch.amend(self.path("a.qcow2"), cwd=sub, size="4M")
        self.assertEqual((answer.code, answer.error), (1, "backing_refused"), str(answer))
        os.unlink(os.path.join(sub, "a.data"))
        self.assertEqual(qbatch.amend(self.path("a.qcow2"), cwd=sub, size="4M").code, 0)


class Shared(DataFile):
    """A data file that another image of the run needs, too: neither of them is touched."""

    def setUp(self):
        super().setUp()
        self.a = self.make(size=4 * MIB, raw="on")
        self.io(self.a, "write -q -P 5 0 4M")
        self.files = [self.a, self.path("a.data")]

    def second(self, name="b.qcow2", size=MIB):
        """Another image of the same file, as a copy of the first one is."""
        image = self.create(name, size=size, data_file="x.data")
        found = qcow2.load(image)
        qcow2.patch(image, found.data.find(b"x.data"), b"a.data")
        self.files.append(image)
        return image

    def untouched(self, entries, refused, words):
        before = [proc.sha256(name) for name in self.files]
        answer = self.run_manifest(f"version: 1\npolicy: {{allow_shrink: true}}\nimages:\n" +
                                   "".join(f"  - {{path: {entry}}}\n" for entry in entries))
        errors = [(r["error"] or {}).get("code") for r in answer.records]
        self.assertEqual(errors, ["refused" if i in refused else None for i in range(len(entries))], str(answer))
        for i in refused:
            self.assertRegex(answer.records[i]["error"]["message"], words)
        self.assertEqual([proc.sha256(name) for name in self.files], before)

    def test_two_images_of_one_file(self):
        b = self.second()
        same = "a.qcow2, data_file_raw: on"
        for size in ("2M", "+1M", "+50G", "64k"):
            self.untouched([same, f"b.qcow2, size: {size}"], {1}, "a.data is that of .*/a.qcow2, too")
        self.untouched(["a.qcow2, size: 1M", "b.qcow2, size: 1M"], {0}, "that of .*/b.qcow2, too")
        self.untouched(["a.qcow2, size: 5M", "b.qcow2, size: 2M"], {0, 1}, "is that of ")
        self.untouched([same, "b.qcow2, data_file_raw: on"], {1}, "that of .*/a.qcow2, too")
        answer = qbatch.qbatch("amend", "-o", "size=+1M", "a.qcow2", "b.qcow2", cwd=self.folder)
        self.assertEqual(answer.result.out.count("the external data file a.data is that of "), 2, str(answer))
        self.assert_reads(self.a, 0, 4 * MIB, 5)
        shutil.copy(self.path("a.data"), "b.data")
        self.amended(b, data_file="b.data")
        self.run_manifest("version: 1\nimages:\n  - {path: a.qcow2, size: 5M}\n  - {path: b.qcow2, size: 2M}\n")
        self.assert_reads(self.a, 0, 4 * MIB, 5)
        self.assert_reads(b, MIB, MIB, 0)
        self.assert_sound(self.a)

    def test_a_copy_in_the_same_run(self):
        self.second(size=4 * MIB)
        shutil.copy(self.path("a.data"), "b.data")
        answer = self.run_manifest("version: 1\nimages:\n  - {path: b.qcow2, data_file: b.data, size: 5M}\n"
                                   "  - {path: a.qcow2, lazy_refcounts: on}\n")
        self.assertEqual([r["status"] for r in answer.records], ["changed"] * 2, str(answer))
        self.assert_reads(self.a, 0, 4 * MIB, 5)

    def test_a_new_name_that_is_anothers(self):
        self.make(name="b.qcow2", data="b.data", size=4 * MIB)
        self.io("b.qcow2", "write -q -P 5 0 4M")
        self.files += ["b.qcow2", "b.data"]
        other = "a.qcow2, data_file_raw: on"
        self.untouched(["b.qcow2, data_file: a.data", other], {0}, "that of .*/a.qcow2, too")
        os.link("b.data", "link")
        shutil.copy("b.data", "third")
        self.untouched(["b.qcow2, data_file: third", "a.qcow2, data_file: third"], {0, 1}, "third is that of ")
        self.untouched(["b.qcow2, size: 4M", "a.qcow2, data_file: link"], {1}, "that of .*/b.qcow2, too")

    def test_images_that_are_not_in_the_manifest(self):
        self.second()
        self.create("top.qcow2", backing="b.qcow2")
        self.untouched(["a.qcow2, size: 5M", "top.qcow2, lazy_refcounts: off"], {0}, "that of .*/b.qcow2, too")
        before = [proc.sha256(name) for name in self.files]
        answer = self.run_manifest("version: 1\ngraph: {scan: [.]}\nimages:\n  - {path: a.qcow2, size: 5M}\n")
        self.assertEqual(answer.error, "refused", str(answer))
        self.assertEqual([proc.sha256(name) for name in self.files], before)

    def test_a_backing_file(self):
        odd = {"driver": "raw", "offset": 0, "file": {"driver": "file", "filename": self.path("a.data")}}
        self.junk()
        for name, words in (("a.data", "the backing file of .*/o.qcow2, too"),
                            ("json:" + json.dumps(odd), "seems to be used by .*/o.qcow2, too")):
            proc.must(["qemu-img", "create", "-q", "-f", "qcow2", "-b", name, "-F", "raw", "o.qcow2"])
            self.untouched(["a.qcow2, size: 5M", "o.qcow2, lazy_refcounts: off"], {0}, words)

    def test_an_image(self):
        """What is written to the data file would be that image's metadata."""
        image = self.create("x.data", size=MIB)
        self.make(name="b.qcow2", data="y.data")
        found = qcow2.load("b.qcow2")
        qcow2.patch("b.qcow2", found.data.find(b"y.data"), b"x.data")
        self.files += ["b.qcow2", image]
        self.untouched(["b.qcow2, size: 4M", "x.data, lazy_refcounts: off"], {0}, "is the image .*/x.data, too")


class Undo(DataFile):
    MANIFEST = """
        version: 1
        policy: {allow_shrink: on}
        defaults: {keep_undo: on}
        images:
        - {path: a.qcow2, size: %s}
        """

    def undo(self):
        return qbatch.qbatch("undo", "--json", "last", cwd=self.folder)

    def test_growing_is_undone(self):
        for _, options in self.each():
            image = self.make(**options)
            self.junk()
            answer = self.run_manifest(self.MANIFEST % "4M")
            self.assertEqual((answer.code, answer.status), (0, "changed"), str(answer))
            self.io(image, "write -q -P 9 512k 64k")  # both images have that
            back = self.undo()
            self.assertEqual((back.code, back.status), (0, "changed"), str(back))
            self.assertEqual(qcow2.load(image).size, SIZE)
            self.assert_reads(image, 512 * KIB, 64 * KIB, 9)
            self.assert_reads(image, SIZE - 512, 512, 6)
            self.assert_sound(image)

    def test_what_was_written_past_the_old_end_is_not_lost(self):
        for _, options in self.each():
            for at in (SIZE, 3 * MIB, 4 * MIB - 512):
                image = self.make(**options)
                self.run_manifest(self.MANIFEST % "4M")
                self.io(image, f"write -q -P 9 {at} 512")
                back = self.undo()
                self.assertEqual((back.code, back.error), (1, "changed"), str(back))
                self.assert_reads(image, at, 512, 9)
                os.unlink(image)
                os.unlink(self.path("a.data"))

    def test_shrinking_is_refused_with_it(self):
        image = self.make()
        answer = self.run_manifest(self.MANIFEST % "64k")
        self.assertEqual((answer.code, answer.error), (1, "unsupported"), str(answer))
        self.assert_content(image, SIZE)


class Killed(DataFile):
    def forget_end(self, state):
        """Takes from the journal what became of the images."""
        journal = os.path.join(state, sorted(os.listdir(state))[-1])
        with open(journal, "rb") as f:
            lines = f.read().splitlines(keepends=True)
        with open(journal, "wb") as f:
            f.writelines(line for line in lines if json.loads(line[9:])["is"] not in ("changed", "end"))

    def shrunk(self, size, state):
        """A manifest that was carried out, and a data file that was not cut."""
        manifest = self.manifest(f"version: 1\npolicy: {{allow_shrink: on}}\n"
                                 f"images:\n  - {{path: a.qcow2, size: {size}}}\n")
        answer = qbatch.qbatch("--json", "--state", state, manifest)
        self.assertEqual((answer.code, self.length()), (0, size), str(answer))
        self.junk()
        return manifest

    def test_a_shrink_that_was_killed_before_its_cut_is_resumed(self):
        """The header is the new one, and the data file as long as it was."""
        for size in (64 * KIB, 512 * KIB + 512, MIB):
            for drop in (True, False):
                image = self.make()
                state = self.path(f"state-{size}-{drop}")
                manifest = self.shrunk(size, state)
                if drop:
                    self.forget_end(state)
                answer = qbatch.qbatch("--json", "--state", state, *(["--resume"] if drop else []), manifest)
                self.assertEqual(answer.code, 0, str(answer))
                self.assertEqual(self.length(), size if drop else size + 200 * KIB)
                self.assert_sound(image)
                os.unlink(image)

    @unittest.skipUnless(strace.reads_memory(), strace.BLIND)
    def test_nothing_is_cut_before_the_new_header_is_durable(self):
        """The killed run may not have synced it, and under the old header the data file is whole."""
        for failing in (False, True):
            with self.subTest(failing=failing):
                self.make()
                state, log = self.path(f"state-{failing}"), self.path("log")
                manifest = self.shrunk(64 * KIB, state)
                self.forget_end(state)
                fault = ["-P", self.path("a.qcow2"), "-e", "inject=fdatasync,fsync:error=EIO"] if failing else []
                proc.run(["strace", "-f", "-y", "-qq", "-o", log, "-e", "trace=fdatasync,fsync,ftruncate",
                          *fault, qbatch.absolute(qbatch.TOOL), "--io", "posix", "--json", "--state", state,
                          "--resume", manifest])
                with open(log, encoding="utf-8") as f:
                    calls = [line for line in f if "a.qcow2>" in line or "a.data>" in line]
                self.assertIn("sync(", calls[0], calls)
                self.assertEqual(self.length() == 64 * KIB, not failing, calls)
                os.unlink(self.path("a.qcow2"))

class Others(DataFile):
    """Amends that do not concern the data file."""

    def test_all_of_them(self):
        for _, options in self.each():
            image = self.make(**options)
            data = proc.sha256(self.path("a.data"))
            for change in ({"lazy_refcounts": "on"}, {"refcount_bits": 64}, {"refcount_bits": 1},
                           {"refcount_bits": 16, "lazy_refcounts": "off"}):
                self.amended(image, **change)
                self.assert_content(image, SIZE)
            self.refused(image, "unsupported", compat="0.10")
            self.assertEqual(proc.sha256(self.path("a.data")), data)

    def test_a_backing_file_is_set_and_removed(self):
        self.raw("base", "2M", "write -q -P 8 0 2M")
        image = self.make()
        self.amended(image, backing_file="base", backing_fmt="raw")
        self.assert_reads(image, 64 * KIB, 64 * KIB, 8)
        self.assert_reads(image, 0, 64 * KIB, 5)
        self.amended(image, backing_file="")
        self.refused(self.make(raw="on", name="b.qcow2", data="b.data"), "refused", backing_file="base",
                     backing_fmt="raw")

    def test_a_dirty_one_is_repaired(self):
        for raw in ("off", "on"):
            image = self.make(raw=raw, lazy_refcounts="on")
            self.killed_io(image, "write -P 9 128k 128k")
            self.amended(image, lazy_refcounts="off", size="2M")
            self.assert_reads(image, 128 * KIB, 128 * KIB, 9)
            self.assert_reads(image, 0, 64 * KIB, 5)
            self.assert_sound(image)
            os.unlink(image)
            os.unlink(self.path("a.data"))

    def test_entries_that_name_another_offset_are_damage(self):
        image = self.make()
        place, entry = self.first_entry(image, 512 * KIB)
        qcow2.patch(image, place, (entry + 64 * KIB).to_bytes(8, "big"))
        checked = qbatch.qbatch("check", "--json", image)
        self.assertEqual(checked.first.get("corruptions"), 1, str(checked))
        self.refused(image, "corrupt", refcount_bits=32)


if __name__ == "__main__":
    main()
