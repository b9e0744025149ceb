"""convert: a raw disk becomes a qcow2 image in place; judged by QEMU's tools."""
import json
import os
import random
import shutil
import signal
import subprocess
import time
import unittest

import context  # noqa: F401
import guest
import proc
import qbatch
import strace
from fixture import GIB, KIB, MIB, OTHER_BUILD, ImageTest, main
from loop_device import LoopTest

MEDDLER = os.environ.get("MEDDLER", "")
RAW = {"convert.from": "raw", "convert.to": "qcow2"}


class ConvertTest(ImageTest):
    def disk(self, size, name="a.raw", seed=1):
        """Random bytes, with zeros between."""
        path, dice = self.path(name), random.Random(seed)
        with open(path, "wb") as f:
            for at in range(0, size, 192 * KIB):
                f.seek(at)
                f.write(dice.randbytes(min(100 * KIB, size - at)))
            f.truncate(size)
        return path

    def is_image(self, path):
        with open(path, "rb") as f:
            return f.read(4) == b"QFI\xfb"

    def same(self, raw, image, **kwargs):
        done = proc.run(["qemu-img", "compare", "-f", "raw", "-F", "qcow2", raw, image], **kwargs)
        self.assertEqual(done.code, 0, done.out + done.err)

    def journal_without(self, *kinds):
        """The run is killed before these records."""
        journal = os.path.join(self.path("state"), sorted(os.listdir(self.path("state")))[-1])
        with open(journal, "rb") as f:
            lines = f.read().splitlines(keepends=True)
        with open(journal, "wb") as f:
            f.writelines(line for line in lines if json.loads(line[9:])["is"] not in kinds)

    def converted(self, image, flags=(), **options):
        """The raw disk as it was stays as was.raw."""
        was = self.copy(image, "was.raw")
        record = self.amended(image, flags=flags, **RAW, **options)
        self.assert_sound(image)
        self.same(was, image)
        return record


class Disks(ConvertTest):
    def test_a_disk_of_any_length_reads_the_same_and_can_be_written(self):
        for size in (1, 511, 512, 513, 65535, 65536, 65537, 3 * MIB + 1, 10 * MIB):
            with self.subTest(size):
                image = self.disk(size)
                record = self.converted(image, flags=["--verify", "content"])
                whole = -(-size // 512) * 512
                self.assertEqual(record["before"]["virtual_size_bytes"], whole)
                self.assertEqual(record["after"]["virtual_size_bytes"], whole)
                self.io(image, f"write -q -P 5 0 {min(whole, 1 * MIB)}")
                self.assert_reads(image, 0, min(whole, 1 * MIB), 5)
                self.assert_sound(image)
                os.remove(image)

    def test_no_data_is_read_and_holes_stay_holes(self):
        image = self.path("a.raw")
        with open(image, "wb") as f:
            f.truncate(5 * GIB)
            for at in (0, 1 * GIB + 5, 3 * GIB, 5 * GIB - 4096):
                f.seek(at)
                f.write(b"x" * 4096)
        before = os.stat(image).st_blocks * 512
        record = self.converted(image)
        self.assertLess(record["io"]["read_bytes"], 2 * MIB)
        self.assertLess(record["io"]["write_bytes"], 1 * MIB)
        self.assertLess(os.stat(image).st_blocks * 512 - before, 1 * MIB)
        self.assertEqual(record["clusters"]["allocated"], 4)

    def test_what_is_reserved_stays_the_guests(self):
        image = self.path("a.raw")
        with open(image, "wb") as f:
            os.posix_fallocate(f.fileno(), 0, 8 * MIB)
            f.write(b"x" * 100)
        if os.stat(image).st_blocks * 512 < 8 * MIB:
            self.skipTest("the file system reserves nothing")
        record = self.converted(image)
        self.assertEqual(record["clusters"]["allocated"], 128)
        length = os.path.getsize(image)
        self.io(image, "write -q -P 7 0 8M")
        self.assertEqual(os.path.getsize(image), length)

    def test_an_empty_file_is_refused(self):
        self.refused(self.disk(0), "refused", words="the file is empty", **RAW)

    def test_properties_of_the_image_are_part_of_the_commit(self):
        for options, what in (({"compat": "0.10"}, {"compat": "0.10"}),
                              ({"refcount_bits": 1, "lazy_refcounts": "on"},
                               {"refcount-bits": 1, "lazy-refcounts": True}),
                              ({"cluster_size": "4k", "compression_type": "zstd"},
                               {"compression-type": "zstd"}),
                              ({"extended_l2": "on"}, {"extended-l2": True})):
            with self.subTest(str(options)):
                image = self.disk(3 * MIB + 5)
                record = self.converted(image, **options)
                self.assertEqual([c["key"] for c in record["changes"]], ["convert"])
                data = guest.info(image)["format-specific"]["data"]
                self.assertEqual(what, {k: data[k] for k in what})
                os.remove(image)

    def test_a_larger_size_and_a_bitmap_are_part_of_the_commit(self):
        image = self.disk(MIB + 7)
        record = self.converted(image, size="64M", **{"bitmaps.add.0.name": "day"})
        self.assertEqual({c["key"] for c in record["changes"]}, {"convert", "size", "bitmaps"})
        info = guest.info(image)
        self.assertEqual(info["virtual-size"], 64 * MIB)
        self.assertEqual(info["format-specific"]["data"]["bitmaps"][0]["name"], "day")
        self.io(image, "write -q -P 6 63M 1M")
        self.assert_sound(image)

    def test_junk_past_the_headers_sector_is_in_no_ones_way(self):
        """Bytes 512 and up of the first cluster are the old disk's: later names go there, too."""
        image = self.disk(MIB)
        self.amended(image, **RAW)
        base = self.raw("base.raw", "1M")
        name = os.path.join(self.folder, "d" * 200, "..", "b" * 200, "..", "base.raw")
        os.mkdir(self.path("d" * 200))
        os.mkdir(self.path("b" * 200))
        before = guest.read_active(image)
        self.amended(image, backing_file=name, backing_fmt="raw", lazy_refcounts="on")
        self.assertEqual(guest.info(image)["backing-filename"], name)
        self.assert_sound(image)
        self.assertTrue(guest.read_active(image) == before)
        self.assertTrue(os.path.exists(base))

    def test_people_are_told_that_machines_must_be_told(self):
        image = self.disk(MIB)
        options = qbatch.option_string(RAW)
        page = self.path("page.html")
        dry = qbatch.qbatch("amend", "--dry-run", "-o", options, image)
        self.assertIn("raw disk to be converted: in every machine", dry.result.out)
        done = qbatch.qbatch("amend", "--html", page, "-o", options, image)
        self.assertIn("type='raw' must become type='qcow2'", done.result.out)
        self.assertIn("convert: raw -> qcow2", done.result.out)
        with open(page, encoding="utf-8") as f:
            self.assertIn("raw disk converted", f.read())
        answer = qbatch.amend(self.disk(MIB, "b.raw"), **RAW)
        self.assertIs(answer.first["converted"], True)
        self.assertEqual(answer.first["before"]["format"], "raw")
        self.assertIsNone(answer.first["before"]["compat"])
        self.assertEqual(answer.first["after"]["format"], "qcow2")


class Extents(ConvertTest):
    """What a disk holds is found by the file system's list of extents."""

    def fragments(self, image, n=600, step=128 * KIB):
        with open(image, "wb") as f:
            for i in range(n):
                f.seek(i * step + i % 7 * 4 * KIB)
                f.write(b"x" * 4 * KIB)
            f.truncate(n * step + 5)
            os.fsync(f.fileno())
        return image

    @unittest.skipUnless(strace.works(), strace.MISSING)
    def test_many_extents_take_few_calls(self):
        if not self.exact():
            self.skipTest("the file system is neither ext4 nor XFS")
        image = self.fragments(self.path("a.raw"))
        log = self.path("trace")
        done = proc.run(["strace", "-f", "-qq", "-o", log, "-e", "trace=lseek", qbatch.TOOL,
                         "amend", "-o", qbatch.option_string(RAW), image],
                        env=strace.environment())
        self.assertEqual(done.code, 0, str(done))
        with open(log, encoding="utf-8") as f:
            self.assertLess(len(f.readlines()), 60)

    def exact(self):
        kind = proc.run(["stat", "-f", "-c", "%T", self.folder]).out.strip()
        return kind in ("ext2/ext3", "xfs")

    def test_many_extents_are_mapped_each_to_its_place(self):
        image = self.fragments(self.path("a.raw"))
        record = self.converted(image, flags=["--verify", "content"])
        self.assertEqual(record["clusters"]["allocated"], 600 + 1)  # the last one counts as data

    def test_what_waits_in_memory_where_space_is_reserved_is_data(self):
        """Such extents are called unwritten until the disk has them."""
        for size in ("512", "64k"):
            with self.subTest(size):
                image = self.reserved_in_part()
                self.converted(image, flags=["--verify", "content"], cluster_size=size)
                os.remove(image)

    def test_what_was_only_read_where_space_is_reserved_is_none(self):
        """SEEK_DATA takes it for data as long as it is in the page cache: a run that is resumed planned another image."""
        if not self.exact():
            self.skipTest("the file system is neither ext4 nor XFS")
        for size in ("512", "4k", "64k", "2M"):
            allocated = []
            for reads in (0, 1, 5 * MIB, 24 * MIB):
                image = self.reserved_in_part()
                with open(image, "rb") as f:
                    os.fsync(f.fileno())
                    os.posix_fadvise(f.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
                    f.seek(4 * MIB + 4096)
                    f.read(reads)
                allocated.append(self.converted(image, cluster_size=size)["clusters"]["allocated"])
                os.remove(image)
            self.assertEqual(len(set(allocated)), 1, f"{size}: {allocated}")

    @unittest.skipUnless(strace.works(), strace.MISSING)
    def test_and_so_is_what_cannot_be_written_back(self):
        image = self.reserved_in_part()
        was = self.copy(image, "was.raw")
        done = strace.run([qbatch.TOOL, "amend", "-o", qbatch.option_string(RAW), image],
                          "sync_file_range:error=EIO")
        self.assertTrue(done.hit)
        self.assertEqual(done.result.code, 0, str(done.result))
        self.same(was, image)

    @unittest.skipUnless(strace.works(), strace.MISSING)
    def test_a_list_that_breaks_off_is_not_the_end_of_the_data(self):
        was, hits = self.fragments(self.path("was.raw")), 0
        for call in range(1, 9):
            with self.subTest(call=call):
                image = self.copy(was, "a.raw")
                done = strace.run([qbatch.TOOL, "amend", "-o", qbatch.option_string(RAW), image],
                                  f"ioctl:error=EIO:when={call}+")
                self.assertEqual(done.result.code, 0, str(done.result))
                self.same(was, image)
                hits += done.hit
        self.assertGreater(hits, 2)

    def reserved_in_part(self):
        image = self.path("a.raw")
        with open(image, "wb") as f:
            f.truncate(24 * MIB)
            os.posix_fallocate(f.fileno(), 4 * MIB, 8 * MIB)
            for at in (0, 4 * MIB + 700, 6 * MIB, 11 * MIB + 513, 20 * MIB - 1):
                f.seek(at)
                f.write(b"guest")
        return image


class Refused(ConvertTest):
    def test_an_image_of_any_format_is_refused_by_name(self):
        for fmt in ("qcow2", "qcow", "qed", "vmdk", "vdi", "vhdx", "vpc", "parallels"):
            image = self.path(f"a.{fmt}")
            if proc.run(["qemu-img", "create", "-q", "-f", fmt, image, "8M"]).code:
                self.leave_out(fmt, f"this qemu-img makes no {fmt}")
                continue
            with self.subTest(fmt):
                self.refused(image, "refused", words=f"format {fmt}", **RAW)

    def test_once_is_enough(self):
        image = self.disk(MIB)
        self.converted(image)
        self.refused(image, "refused", words="it was converted before, or a guest wrote that", **RAW)

    def test_a_manifest_spells_out_both_formats(self):
        self.disk(MIB)
        for value, words in (("{from: raw}", "needs both"), ("{to: qcow2}", "needs both"),
                             ("{from: vmdk, to: qcow2}", "vmdk"), ("{from: raw, to: raw}", "raw"),
                             ("raw", ""), ("{from: raw, to: qcow2, how: now}", "how")):
            with self.subTest(value):
                answer = self.run_manifest(f"""
                    version: 1
                    images: [{{path: a.raw, convert: {value}}}]
                    """)
                self.assertIn(answer.code, (1, 2), str(answer))
                self.assertIn(words, str(answer))
                self.assertEqual(os.path.getsize(self.path("a.raw")), MIB)

    def expect_refused(self, entries, words, more=""):
        sha = proc.sha256(self.path("a.raw"))
        answer = self.run_manifest(f"""
            version: 1
            {more}
            images:
              - {{path: a.raw, convert: {{from: raw, to: qcow2}}}}
              {entries}
            """)
        first = next(r for r in answer.records if r.get("path", "").endswith("a.raw"))
        self.assertEqual(first["status"], "failed", str(answer))
        self.assertIn(words, first["error"]["message"])
        self.assertEqual(proc.sha256(self.path("a.raw")), sha)

    def test_a_disk_that_an_image_reads_as_raw_is_refused(self):
        raw = self.disk(MIB)
        overlay = self.create("o.qcow2", backing=raw, backing_fmt="raw")
        self.expect_refused("- {path: o.qcow2, lazy_refcounts: on}", "has it as its backing file")
        self.expect_refused("", "has it as its backing file", f"graph: {{scan: ['{self.folder}']}}")
        os.remove(overlay)
        self.create("d.qcow2", data_file=self.path("x.raw"))
        proc.must(["qemu-img", "amend", "-f", "qcow2", "-o", f"data_file={raw}", self.path("d.qcow2")])
        self.expect_refused("- {path: d.qcow2, lazy_refcounts: on}", "has it as its external data file")
        os.remove(self.path("d.qcow2"))
        self.create("u.qcow2")
        qbatch.amend(self.path("u.qcow2"), backing_file="nbd://host/a.raw", backing_fmt="raw")
        self.expect_refused("- {path: u.qcow2, lazy_refcounts: on}", "seems to use it")
        os.remove(self.path("u.qcow2"))
        self.create("n.qcow2")
        self.expect_refused("- {path: n.qcow2, backing_file: a.raw, backing_fmt: raw}",
                            "is to have it as its backing file")

    def test_a_disk_in_use_is_left_alone(self):
        raw = self.disk(MIB)
        used = subprocess.Popen(["qemu-io", "-f", "raw", raw], stdin=subprocess.PIPE,
                                stdout=subprocess.PIPE)
        self.addCleanup(used.wait)
        self.addCleanup(used.stdout.close)
        self.addCleanup(used.stdin.close)
        used.stdin.write(b"read 0 512\n")
        used.stdin.flush()
        used.stdout.readline()
        answer = qbatch.amend(raw, **RAW)
        self.assertEqual(answer.error, "locked", str(answer))


@unittest.skipUnless(os.path.exists(MEDDLER), "MEDDLER names no library")
@unittest.skipIf(os.environ.get("QBATCH_SANITIZED"), OTHER_BUILD)
class Mismatch(ConvertTest):
    """The program's own disk changes a byte while the header is written."""
    def meddled(self, at, mode):
        image = self.disk(MIB)
        env = {**os.environ, "LD_PRELOAD": MEDDLER, "MEDDLE_AT": str(at)}
        answer = qbatch.qbatch("amend", "--json", "--io", "posix", "--verify", mode, "-o",
                               qbatch.option_string(RAW), image, cwd=self.folder, env=env)
        os.remove(image)
        return answer

    def test_a_changed_byte_is_seen(self):
        for at, mode, words in ((200 * KIB, "content", "guest data"), (MIB + 70, "metadata", "the copy of the disk's first"),
                                (MIB + 64 * KIB + 13, "metadata", ""), (MIB + 128 * KIB + 5, "metadata", "")):
            with self.subTest(at):
                answer = self.meddled(at, mode)
                self.assertEqual((answer.code, answer.error), (5, "verify"), str(answer))
                self.assertIn(words, answer.first["error"]["message"])

    def test_data_that_is_not_mapped_is_not_looked_at_with_metadata(self):
        self.assertEqual(self.meddled(200 * KIB, "metadata").code, 0)


class Interrupted(ConvertTest):
    def fleet(self):
        for i in range(4):
            self.copy(self.disk((1 + i) * MIB + i, f"{i}.raw", i), f"{i}.was")
        return self.manifest("""
            version: 1
            images: [{path: "?.raw", convert: {from: raw, to: qcow2}}]
            """)

    def test_a_run_that_is_killed_again_and_again_is_resumed(self):
        """After each kill every disk is the raw one, perhaps longer, or the image."""
        dice, done, fleet = random.Random(int(os.environ.get("QB_SEED", 4))), False, self.fleet()
        flags = ["--state", self.path("state")]
        resume = []
        for turn in range(40):
            argv = [qbatch.absolute(qbatch.TOOL), "--json", *flags, *resume, fleet]
            run = subprocess.Popen(argv, cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            time.sleep(dice.random() * 0.02)
            if turn < 30:
                run.send_signal(signal.SIGKILL)
            out, err = run.communicate()
            resume = ["--resume"]
            if run.returncode == 2:  # killed before its journal was there, or after its end
                self.assertIn(b"no unfinished run", err)
                resume = []
                done = all(self.is_image(self.path(f"{i}.raw")) for i in range(4))
            done = done or run.returncode == 0
            if done:
                break
            self.assertIn(run.returncode, (-9, 2), (out, err))
            for i in range(4):
                self.judge(self.path(f"{i}.raw"), self.path(f"{i}.was"))
        self.assertTrue(done, (out, err))
        for i in range(4):
            self.same(self.path(f"{i}.was"), self.path(f"{i}.raw"))
            self.assert_sound(self.path(f"{i}.raw"))

    def test_what_was_converted_before_the_kill_is_known_by_its_header(self):
        fleet, flags = self.fleet(), ["--json", "--state", self.path("state")]
        self.assertEqual(qbatch.qbatch(*flags, fleet, cwd=self.folder).code, 0)
        self.journal_without("changed", "end")
        answer = qbatch.qbatch(*flags, "--resume", fleet, cwd=self.folder)
        self.assertEqual((answer.code, [r["status"] for r in answer.records[:4]]), (0, ["unchanged"] * 4), str(answer))
        # another header is what a guest may have written
        self.journal_without("changed", "unchanged", "end")
        self.io(self.path("0.raw"), "write -q -P 1 0 512")
        self.amended(self.path("0.raw"), lazy_refcounts="on")
        answer = qbatch.qbatch(*flags, "--resume", fleet, cwd=self.folder)
        self.assertEqual((answer.code, answer.first["status"]), (1, "failed"), str(answer))
        self.assertIn("converted before, or a guest", answer.first["error"]["message"])

    def interrupted(self):
        """A disk as a kill before the flip leaves it, by the journal's record of the length."""
        fleet, flags = self.fleet(), ["--json", "--state", self.path("state")]
        self.assertEqual(qbatch.qbatch(*flags, fleet, cwd=self.folder).code, 0)
        self.journal_without("changed", "end")
        for i in range(4):
            with open(self.path(f"{i}.was"), "rb") as f, open(self.path(f"{i}.raw"), "r+b") as g:
                g.write(f.read(512))
        return fleet, flags

    def test_the_tail_of_an_interrupted_run_is_no_part_of_the_disk(self):
        fleet, flags = self.interrupted()
        answer = qbatch.qbatch(*flags, "--resume", fleet, cwd=self.folder)
        self.assertEqual(answer.code, 0, str(answer))
        for i in range(4):
            self.same(self.path(f"{i}.was"), self.path(f"{i}.raw"))
            self.assert_sound(self.path(f"{i}.raw"))

    def resumed(self, name, tail=None):
        """The run of one disk is killed before its flip, and resumed; `tail`: it left a hole past the disk."""
        was, flags = self.path(name + ".was"), ["--json", "--state", self.path(name + ".state")]
        proc.copy_sparse(self.path(name), was)
        fleet = self.manifest(f"""
            version: 1
            images: [{{path: {name}, convert: {{from: raw, to: qcow2}}, cluster_size: 512}}]
            """)
        self.assertEqual(qbatch.qbatch(*flags, fleet, cwd=self.folder).code, 0)
        shutil.move(self.path(name + ".state"), self.path("state"))
        self.journal_without("changed", "end")
        shutil.move(self.path("state"), self.path(name + ".state"))
        with open(was, "rb") as f, open(self.path(name), "r+b") as g:
            g.write(f.read(512).ljust(512, b"\0"))
        if tail:
            os.truncate(self.path(name), os.path.getsize(was))
            os.truncate(self.path(name), os.path.getsize(was) + tail)
        answer = qbatch.qbatch(*flags, "--resume", fleet, cwd=self.folder)
        self.assertEqual(answer.code, 0, str(answer))
        self.same(was, self.path(name))
        self.assert_sound(self.path(name))

    def test_a_hole_that_shares_a_block_with_the_tail_does_not_change_the_plan(self):
        for size in (1, 1000, MIB + 1000, 3 * MIB + 4608):
            with self.subTest(size), open(self.path(f"{size}.raw"), "wb") as f:
                f.write(b"x" * (size // MIB))
                f.truncate(size)
            self.resumed(f"{size}.raw")

    def test_a_hole_in_the_tail_does_not_make_what_is_reserved_less(self):
        with open(self.path("r.raw"), "wb") as f:
            os.posix_fallocate(f.fileno(), 0, 2 * MIB)
            f.write(b"x" * 100)
        if os.stat(self.path("r.raw")).st_blocks * 512 < 2 * MIB:
            self.skipTest("the file system reserves nothing")
        self.resumed("r.raw", tail=16 * KIB)

    def test_a_new_run_knows_the_tail_too_and_keeps_what_a_guest_wrote_there(self):
        fleet, flags = self.interrupted()
        with open(self.path("1.raw"), "r+b") as f:
            f.seek(2 * MIB + 3000)
            f.write(b"x")
        sha = proc.sha256(self.path("1.raw"))
        answer = qbatch.qbatch(*flags, fleet, cwd=self.folder)
        self.assertEqual([r["status"] for r in answer.records[:4]], ["changed", "failed", "changed", "changed"],
                         str(answer))
        self.assertIn("an interrupted conversion made the raw disk of 2097153 bytes longer",
                      answer.records[1]["error"]["message"])
        self.assertEqual(proc.sha256(self.path("1.raw")), sha)

    def judge(self, image, was):
        with open(image, "rb") as f, open(was, "rb") as g:
            now, before = f.read(), g.read()
        if now[:512] == before[:512]:
            self.assertEqual(now[:len(before)], before)
        else:
            self.same(was, image)


class Undo(ConvertTest):
    def setUp(self):
        super().setUp()
        self.flags = ["--json", "--state", self.path("state")]

    def convert(self, image, env=None, code=0, more=""):
        self.fleet = self.manifest(f"""
            version: 1
            images: [{{path: {image}, convert: {{from: raw, to: qcow2}}, keep_undo: on{more}}}]
            """)
        self.sha = proc.sha256(image)
        answer = qbatch.qbatch(*self.flags, "--io", "posix", self.fleet, cwd=self.folder, env=env)
        self.assertEqual(answer.code, code, str(answer))
        self.seen, self.run_id = os.stat(image), answer.summary["run"]

    def undo(self, *flags):
        return qbatch.qbatch("undo", *self.flags, self.run_id, *flags, cwd=self.folder)

    def assert_undone(self, image):
        answer = self.undo()
        self.assertEqual((answer.code, answer.first["status"]), (0, "changed"), str(answer))
        self.assertEqual(answer.first["after"]["format"], "raw")
        self.assertLessEqual({c["key"] for c in answer.first["changes"]}, {"convert", "size", "bitmaps"})
        self.assertEqual(proc.sha256(image), self.sha)
        self.journal_without("undone", "end")
        answer = self.undo()
        self.assertEqual((answer.code, answer.first["status"]), (0, "unchanged"), str(answer))
        self.assertEqual(proc.sha256(image), self.sha)

    def test_the_disk_is_there_again_to_the_byte(self):
        for size in (1, 511, 512, 65537, 3 * MIB + 1):
            with self.subTest(size):
                image = self.disk(size, f"{size}.raw")
                self.convert(image)
                dry = self.undo("--dry-run")
                self.assertEqual((dry.code, dry.first["status"]), (0, "would_change"), str(dry))
                self.assertTrue(self.is_image(image))
                self.assert_undone(image)

    def test_with_a_larger_size_bitmaps_and_another_cluster_size(self):
        image = self.disk(3 * MIB + 1)
        self.convert(image, more=", size: 64M, bitmaps: {add: [{name: day}]}, cluster_size: 4k, refcount_bits: 64")
        self.assert_undone(image)

    def as_seen(self, image):
        """The modification time of an overwrite need not survive a power cut."""
        os.utime(image, ns=(self.seen.st_atime_ns, self.seen.st_mtime_ns))

    def refused_undo(self, image, words):
        self.as_seen(image)
        sha = proc.sha256(image)
        answer = self.undo()
        self.assertEqual((answer.code, answer.error), (1, "changed"), str(answer))
        self.assertIn(words, answer.first["error"]["message"])
        self.assertEqual(proc.sha256(image), sha)

    def test_what_a_guest_wrote_in_place_stays(self):
        image = self.disk(3 * MIB)
        self.convert(image)
        self.io(image, "write -q -P 9 192k 64k")
        self.as_seen(image)
        answer = self.undo()
        self.assertEqual(answer.code, 0, str(answer))
        self.io(image, "read -q -P 9 192k 64k", fmt="raw", flags=["-r"])
        with open(self.disk(3 * MIB, "b.raw"), "rb") as f, open(image, "rb") as g:
            before, now = f.read(), g.read()
        self.assertEqual(before[:192 * KIB] + before[256 * KIB:], now[:192 * KIB] + now[256 * KIB:])

    def test_what_the_disk_would_not_show_is_not_lost(self):
        for writes, words in ((["write -q -P 9 0 512"], "were written"),  # the copy
                              (["write -q -P 9 1k 512"], "were written"),
                              (["write -q -P 9 128k 512"], ""),           # a hole
                              (["write -q -P 9 128k 64k", "discard -q 128k 64k"], ""),
                              (["discard -q 192k 64k"], "")):
            with self.subTest(str(writes)):
                image = self.disk(3 * MIB, "w.raw")
                self.convert(image)
                self.io(image, *writes)
                self.refused_undo(image, words)
                os.remove(image)
                shutil.rmtree(self.path("state"))

    def poke(self, image, at, byte):
        with open(image, "r+b") as f:
            f.seek(at)
            f.write(byte)

    def poked(self, size, at, words, more=""):
        image = self.disk(size, "p.raw")
        self.convert(image, more=more)
        self.poke(image, at, b"x")
        self.refused_undo(image, words)
        os.remove(image)
        shutil.rmtree(self.path("state"))

    def test_bytes_that_no_table_leads_to_are_proved_too(self):
        self.poked(3 * MIB, 150 * KIB, "a cluster was allocated")
        self.poked(3 * MIB, 700, "the disk's first cluster was written")
        self.poked(3 * MIB + 700, 3 * MIB + 5000, "past its old end", ", size: 64M")
        self.poked(3 * MIB + 700, 3 * MIB + 701, "past its old end")

    def test_a_longer_file_is_not_cut(self):
        image = self.disk(3 * MIB)
        self.convert(image)
        self.journal_without("changed", "end")  # the run was killed before it saw the file's length
        os.truncate(image, os.path.getsize(image) + 65536)
        self.refused_undo(image, "length has changed")

    def test_a_tail_is_cut_off_that_the_amend_left(self):
        image = self.disk(3 * MIB + 1)
        self.convert(image)
        with open(self.disk(3 * MIB + 1, "b.raw"), "rb") as f, open(image, "r+b") as g:
            g.write(f.read(512))  # the flip never came to the disk
        longer = os.path.getsize(image)
        with open(image, "r+b") as g:
            g.seek(longer - 100)
            g.write(b"x")
        for _ in range(2):
            answer = self.undo()
            self.assertEqual((answer.code, answer.error, os.path.getsize(image)), (1, "changed", longer), str(answer))
            self.assertIn("bytes longer than it was", answer.first["error"]["message"])
        with open(image, "r+b") as g:
            g.seek(longer - 100)
            g.write(b"\0")
        self.journal_without("undone", "unchanged")
        answer = self.undo()
        self.assertEqual((answer.code, proc.sha256(image)), (0, self.sha), str(answer))

    def test_a_disk_that_a_killed_run_made_longer_is_not_called_undone(self):
        """What it had appended is known only once it is finished."""
        image = self.disk(3 * MIB + 1)
        self.convert(image)
        with open(self.disk(3 * MIB + 1, "b.raw"), "rb") as f, open(image, "r+b") as g:
            g.write(f.read(512))
            g.truncate(g.seek(0, os.SEEK_END) - 8192)
        self.journal_without("proof", "changed", "end")
        longer = os.path.getsize(image)
        answer = self.undo()
        self.assertEqual((answer.code, answer.error, os.path.getsize(image)), (1, "changed", longer), str(answer))
        self.assertIn("finish the run (--resume), then undo it", answer.first["error"]["message"])
        answer = qbatch.qbatch(*self.flags, "--resume", self.fleet, cwd=self.folder)
        self.assertEqual((answer.code, answer.first["status"]), (0, "changed"), str(answer))
        self.assert_undone(image)

    @unittest.skipUnless(os.path.exists(MEDDLER), "MEDDLER names no library")
    @unittest.skipIf(os.environ.get("QBATCH_SANITIZED"), OTHER_BUILD)
    def test_an_image_that_failed_verification_is_undone(self):
        image = self.disk(MIB)
        env = {**os.environ, "LD_PRELOAD": MEDDLER, "MEDDLE_AT": str(MIB + 100)}
        self.convert(image, env, 5)
        self.poke(image, 300 * KIB, b"?")
        self.refused_undo(image, "the image was written")
        with open(self.disk(MIB, "b.raw"), "rb") as f:
            f.seek(300 * KIB)
            self.poke(image, 300 * KIB, f.read(1))
        self.as_seen(image)
        self.assert_undone(image)

    def test_an_undo_can_be_given_up(self):
        image = self.disk(MIB)
        self.convert(image)
        sha = proc.sha256(image)
        answer = self.undo("--discard-undo")
        self.assertEqual(answer.code, 0, str(answer))
        self.assertEqual(proc.sha256(image), sha)


class Devices(LoopTest, ConvertTest):
    def test_the_tables_go_between_the_disk_and_the_devices_end(self):
        device = self.device(16 * MIB)
        proc.must(["dd", f"if={self.disk(8 * MIB)}", f"of={device}", "bs=64k", "status=none", "conv=fsync"])
        for options, words in (({}, "must be the size of the disk"),
                               ({"size": "+1M"}, "must be the size of the disk"),
                               ({"size": "17M"}, "past the end of the device"),
                               ({"size": 8 * MIB + 512}, "multiple of the cluster size"),
                               ({"size": "8M"}, "policy.allow_shrink")):
            answer = qbatch.amend(device, **RAW, **options)
            self.assertEqual((answer.code, answer.error), (1, "refused"), str(answer))
            self.assertIn(words, answer.first["error"]["message"])
        answer = qbatch.amend(device, shrink=True, flags=["--verify", "content"], size="8M", **RAW)
        self.assertEqual(answer.code, 0, str(answer))
        copy = self.path("copy.qcow2")
        proc.must(["dd", f"if={device}", f"of={copy}", "bs=64k", "status=none"])
        self.same(self.path("a.raw"), copy)
        self.assertEqual(guest.check(copy)[:3], (0, 0, 0))

    def converted_device(self, more=8 * MIB):
        """A device whose first 8 MiB are the disk: the device, its bytes before, and the run."""
        device = self.device(8 * MIB + more)
        proc.must(["dd", f"if={self.disk(8 * MIB)}", f"of={device}", "bs=64k", "status=none", "conv=fsync"])
        with open(device, "rb") as f:
            before = f.read()
        answer = self.run_manifest(f"""
            version: 1
            policy: {{allow_shrink: on}}
            images: [{{path: {device}, convert: {{from: raw, to: qcow2}}, size: 8M, keep_undo: on}}]
            """, "--json", "--state", self.path("state"))
        self.assertEqual((answer.code, answer.status), (0, "changed"), str(answer))
        return device, before

    def undo_device(self):
        return qbatch.qbatch("undo", "--json", "--state", self.path("state"), "last")

    def test_an_undo_gives_the_disk_again_and_says_nothing_of_what_is_past_it(self):
        device, before = self.converted_device()
        answer = self.undo_device()
        self.assertEqual((answer.code, answer.status), (0, "changed"), str(answer))
        with open(device, "rb") as f:
            self.assertEqual(f.read(8 * MIB), before[:8 * MIB])

    def test_what_a_guest_wrote_to_the_disk_is_there_after_an_undo(self):
        device, _ = self.converted_device()
        self.io(device, "write -q -P 77 1M 64k")  # its cluster is where the disk has it
        answer = self.undo_device()
        self.assertEqual((answer.code, answer.status), (0, "changed"), str(answer))
        with open(device, "rb") as f:
            f.seek(MIB)
            self.assertEqual(f.read(64 * KIB), bytes([77]) * 64 * KIB)

    def test_what_a_guest_put_elsewhere_keeps_the_device_an_image(self):
        for write in ("write -q -P 77 0 4k", "discard -q 1M 64k", "write -q -z 2M 64k"):
            with self.subTest(write):
                device, _ = self.converted_device()
                self.io(device, write)
                sha = proc.sha256(device)
                answer = self.undo_device()
                self.assertEqual(answer.code, 1, str(answer))
                self.assertEqual(answer.error, "changed", str(answer))
                self.assertEqual(proc.sha256(device), sha)
                shutil.rmtree(self.path("state"))

    def test_a_device_without_room_says_what_it_lacks(self):
        device = self.device(8 * MIB)
        sha = proc.sha256(device)
        answer = qbatch.amend(device, size="8M", **RAW)
        self.assertEqual((answer.code, answer.error), (1, "no_space"), str(answer))
        lacks = answer.first["space"]["device_lacks_bytes"]
        self.assertGreater(lacks, 0)
        self.assertEqual(proc.sha256(device), sha)
        self.lengthen(device, lacks)
        answer = qbatch.amend(device, shrink=True, size="8M", **RAW)
        self.assertEqual(answer.code, 0, str(answer))


if __name__ == "__main__":
    main()
