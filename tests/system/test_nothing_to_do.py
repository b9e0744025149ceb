"""What is already as asked is left alone, and what is small stays small."""
import os
import shutil
import time
import unittest

import context  # noqa: F401
import proc
import qbatch
import qcow2
import strace
from fixture import MIB, ImageTest, main

WRITES = "pwrite64,pwritev,pwritev2,write,ftruncate,fallocate,fsync,fdatasync,syncfs"


class NothingToDo(ImageTest):
    def image(self):
        self.raw("base.raw", "1M")
        image = self.create(backing="base.raw", backing_fmt="raw", lazy_refcounts="on")
        self.io(image, "write -q -P 1 0 64k", "write -q -z 0 64k")
        return image

    def test_an_image_that_is_as_asked_is_unchanged_to_the_last_byte_and_time(self):
        image = self.image()
        sha, stat = proc.sha256(image), os.stat(image)
        for request in ({"compat": "1.1"}, {"size": MIB}, {"lazy_refcounts": "on"},
                        {"refcount_bits": 16}, {"backing_file": "base.raw", "backing_fmt": "raw"}):
            with self.subTest(**request):
                record = self.amended(image, status="unchanged", **request)
                self.assertEqual(record["io"]["write_bytes"], 0)
                self.assert_untouched(image, sha, stat)

    @unittest.skipUnless(strace.reads_memory(), strace.BLIND)
    def test_the_kernel_sees_no_write_to_an_unchanged_image(self):
        """Only a sync, where a run that was killed may have written it just now."""
        image = self.image()
        log = self.path("trace")
        for seconds, calls in ((0, ["fdatasync"]), (3600, [])):
            os.utime(image, (time.time() - seconds,) * 2)
            proc.run(["strace", "-f", "-y", "-e", WRITES, "-o", log, qbatch.absolute(qbatch.TOOL),
                             "amend", "--io", "posix", "-o", "compat=1.1", image])
            with open(log, encoding="utf-8", errors="replace") as f:
                seen = [line.split("(")[0].split()[-1] for line in f if "a.qcow2" in line]
            self.assertEqual(seen, calls)

    def test_images_that_were_written_just_now_share_their_barriers(self):
        """They hold no more memory than they need until their wave has its barrier."""
        image = self.image()
        for i in range(300):
            shutil.copy(image, self.path(f"copy{i}.qcow2"))
        waves = {}
        for age in (0, 3600):
            for i in range(300):
                os.utime(self.path(f"copy{i}.qcow2"), (time.time() - age,) * 2)
            answer = self.run_manifest("""
                version: 1
                images: [{path: "copy*.qcow2", compat: "1.1"}]
                """, "--no-state")
            self.assertEqual({r["status"] for r in answer.records}, {"unchanged"})
            waves[age] = max(r["wave"] for r in answer.records)
        self.assertEqual(waves[0], waves[3600])

    def test_unknown_autoclear_bits_survive_a_request_that_changes_nothing(self):
        image = self.image()
        qcow2.patch_header(image, autoclear_features=1 << 5)
        sha, stat = proc.sha256(image), os.stat(image)
        self.amended(image, status="unchanged", compat="1.1")
        self.assert_untouched(image, sha, stat)

    def test_unknown_autoclear_bits_are_cleared_by_the_first_write(self):
        image = self.image()
        qcow2.patch_header(image, autoclear_features=1 << 5)
        self.amended(image, lazy_refcounts="off")
        self.assertEqual(qcow2.load(image).autoclear_features, 0)

    def test_unknown_compatible_bits_survive(self):
        image = self.image()
        qcow2.patch_header(image, compatible_features=1 | 1 << 9)
        self.amended(image, lazy_refcounts="off")
        self.assertEqual(qcow2.load(image).compatible_features, 1 << 9)

    def test_a_dry_run_writes_nothing_and_says_what_would_change(self):
        image = self.image()
        sha, stat = proc.sha256(image), os.stat(image)
        record = self.amended(image, status="would_change", flags=["--dry-run"], compat="0.10",
                              size=2 * MIB)
        self.assert_untouched(image, sha, stat)
        self.assertTrue(record["changes"])

    def test_a_dry_run_can_tell_by_its_exit_code(self):
        image = self.image()
        for request, code in (({"compat": "1.1"}, 0), ({"compat": "0.10"}, 4)):
            answer = qbatch.amend(image, flags=["--dry-run", "--detailed-exitcode"], **request)
            self.assertEqual(answer.code, code, str(answer))

    def test_a_header_change_writes_one_sector(self):
        for request in ({"lazy_refcounts": "off"}, {"backing_file": ""}, {"size": 2 * MIB}):
            with self.subTest(**request):
                record = self.amended(self.image(), **request)
                self.assertEqual(record["io"]["write_bytes"], 512)


    def test_a_header_that_is_full_keeps_its_length_instead_of_failing(self):
        image = self.create(cluster_size=512)
        name = "f" * (512 - 128)
        extensions = b"\xe2\x79\x2a\xca\0\0\0\x03raw".ljust(16, b"\0") + b"\0" * 8
        qcow2.patch(image, 104, extensions + name.encode())
        qcow2.patch_header(image, header_length=104, backing_file_offset=128,
                           backing_file_size=len(name))
        self.amended(image, lazy_refcounts="on")
        found = qcow2.load(image)
        self.assertEqual((found.header_length, found.backing_file), (104, name))
        self.assertEqual(found.extension(qcow2.EXT_BACKING_FORMAT), b"raw")


class HalfDoneWork(ImageTest):
    def test_a_request_whose_last_part_is_impossible_changes_nothing(self):
        image = self.create(size="4M")
        self.io(image, "write -q -P 1 0 4M", "write -q -z 0 64k")
        self.snapshot(image, "s")
        self.refused(image, shrink=True, size=MIB, compat="0.10")
        self.refused(image, shrink=True, size=MIB, refcount_bits=1)
        self.refused(image, lazy_refcounts="on", refcount_bits=8, compat="0.10")
        self.refused(image, lazy_refcounts="on", cluster_size=4096)

    def test_a_mistyped_command_writes_nothing(self):
        image = self.create()
        qcow2.patch_header(image, autoclear_features=1 << 5)
        sha, stat = proc.sha256(image), os.stat(image)
        for argv in (["amend"], ["amend", image], ["amend", "-o", "compat", image],
                     ["amend", "-o", "compatt=0.10", image], ["amend", "-o", "compat=0.9", image],
                     ["amend", "-o", "lazy_refcounts=maybe", image], ["amnd", image],
                     ["amend", "-o", "compat=0.10", "--no-such-flag", image]):
            with self.subTest(argv=argv[1:-1]):
                answer = qbatch.qbatch(*argv)
                self.assertEqual(answer.code, 2, str(answer))
                self.assertTrue(answer.result.err)
                self.assert_untouched(image, sha, stat)


class KnownButImpossible(ImageTest):
    def test_options_that_would_change_something_are_refused_with_the_reason(self):
        image = self.create()
        for key, value in (("encryption", "on"), ("cluster_size", 4096), ("data_file", "x.data"),
                           ("data_file_raw", "on")):
            with self.subTest(key=key):
                self.refused(image, "refused", "unsupported", **{key: value})

    def test_the_same_options_with_what_the_image_has_change_nothing(self):
        image = self.create()
        for key, value in (("preallocation", "off"), ("encryption", "off"),
                           ("cluster_size", 65536), ("compression_type", "zlib"),
                           ("extended_l2", "off")):
            with self.subTest(key=key):
                self.amended(image, status="unchanged", **{key: value})

    def test_the_corrupt_bit_is_respected(self):
        image = self.create()
        qcow2.patch_header(image, incompatible_features=qcow2.INCOMPAT_CORRUPT)
        self.refused(image, "corrupt", lazy_refcounts="on")

    def test_unknown_incompatible_features_are_refused_by_their_name(self):
        image = self.create()
        qcow2.patch_header(image, incompatible_features=1 << 7)
        self.refused(image, "unsupported", lazy_refcounts="on")


if __name__ == "__main__":
    main()
