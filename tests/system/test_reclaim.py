"""reclaim: space of clusters that nothing uses goes back to the file system, and nothing else."""
import errno
import json
import os
import subprocess
import unittest

import context  # noqa: F401
import ground
import guest
import proc
import qbatch
import qcow2
import strace
from fixture import KIB, MIB, ImageTest, main


MAP = 64 * KIB  # what the file system's own map of the file may take or give


def allocated(path):
    return os.stat(path).st_blocks * 512


class ReclaimTest(ImageTest):
    def setUp(self):
        super().setUp()
        self.flags = ["--state", self.path("state")]

    def discard(self, image, *commands):
        """Frees clusters, whose bytes stay in the file."""
        argv = ["qemu-io", "-t", "unsafe", "-d", "unmap"]
        for command in commands:
            argv += ["-c", f"discard {command}"]
        proc.must([*argv, "--image-opts",
                   f"driver=qcow2,file.driver=file,file.filename={image},pass-discard-request=off"])

    def used(self, name="a.qcow2", **options):
        """16 MiB of data, of which 4 MiB in its middle and 2 MiB at its end are free now."""
        image = self.create(name, size="64M", **options)
        self.io(image, *(f"write -q -P {i + 1} {i}M 1M" for i in range(16)))
        self.discard(image, "5M 4M", "14M 2M")
        return image

    def reclaimed(self, image, reserved=None, status="changed", flags=(), **options):
        """The layers read as before, the image is sound, and st_blocks has what the report says."""
        before, had = guest.read_all(image), allocated(image)
        asked = {"reclaim.free": "on", **({"reclaim.reserved": reserved} if reserved else {}), **options}
        record = self.amended(image, flags=[*self.flags, *flags], status=status, **asked)
        self.assert_same_layers(before, guest.read_all(image))
        self.assert_sound(image)
        if status == "changed" and not options:
            self.assertAlmostEqual(had - allocated(image), record["reclaimed_bytes"], delta=MAP)
            self.assertEqual(record["reclaim_errno"], 0)
        return record


class Files(ReclaimTest):
    def test_holes_inside_and_the_end_cut_off(self):
        image = self.used()
        length = os.path.getsize(image)
        record = self.reclaimed(image)
        self.assertEqual(record["reclaimed_bytes"], 6 * MIB)
        self.assertEqual(os.path.getsize(image), length - 2 * MIB)

    def test_nothing_is_left_to_give_back(self):
        image = self.used()
        self.reclaimed(image)
        sha, stat = proc.sha256(image), os.stat(image)
        self.reclaimed(image, status="unchanged")
        self.assert_untouched(image, sha, stat)
        fresh = self.create("fresh.qcow2")
        self.reclaimed(fresh, status="unchanged")

    def test_a_dry_run_says_how_much(self):
        image = self.used()
        sha, stat = proc.sha256(image), os.stat(image)
        answer = qbatch.amend(image, flags=["--dry-run"], **{"reclaim.free": "on"})
        self.assertEqual((answer.status, answer.first["reclaimed_bytes"]), ("would_change", 6 * MIB))
        self.assert_untouched(image, sha, stat)
        told = proc.run([qbatch.TOOL, "amend", "--dry-run", "-v", "-o", "reclaim.free=on", image])
        self.assertIn("unused space to be freed: 6 MiB", told.out)
        self.assertIn("plan: settle: punch ", told.out)
        self.assertIn("plan: settle: file length ", told.out)
        told = proc.run([qbatch.TOOL, "amend", *self.flags, "-o", "reclaim.free=on", image])
        self.assertIn("unused space freed: 6 MiB", told.out)

    def test_a_single_cluster(self):
        image = self.create(size="64M")
        self.io(image, "write -q -P 1 0 1M")
        self.discard(image, "512k 64k")
        self.assertEqual(self.reclaimed(image)["reclaimed_bytes"], 64 * KIB)

    def test_more_extents_than_one_call_lists(self):
        image = self.create(size="64M", cluster_size="4k")
        self.io(image, "write -q -P 1 0 8M")
        self.discard(image, *(f"{i * 8}k 4k" for i in range(0, 1000, 2)))
        self.reclaimed(image)  # holes between all of them now
        self.discard(image, *(f"{i * 8}k 4k" for i in range(1, 1000, 2)))
        self.assertEqual(self.reclaimed(image)["reclaimed_bytes"], 500 * 4 * KIB)

    def test_every_cluster_size(self):
        for size in ("512", "1k", "4k", "32k", "2M"):
            with self.subTest(cluster_size=size):
                image = self.used(f"{size}.qcow2", cluster_size=size)
                record = self.reclaimed(image)
                self.assertGreaterEqual(record["reclaimed_bytes"], 2 * MIB)
                self.reclaimed(image, status="unchanged")

    def test_clusters_smaller_than_a_block(self):
        """Every other cluster of 512 bytes: no block is free, and none is zeroed piece by piece."""
        image = self.create(size="64k", cluster_size="512")
        self.io(image, "write -q -P 1 0 64k")
        self.discard(image, *(f"{i * 512} 512" for i in range(0, 128, 2)))
        self.reclaimed(image, status="unchanged")

    def test_old_bytes_past_the_image(self):
        image = self.create(size="64M")
        self.io(image, "write -q -P 1 0 1M")
        end = os.path.getsize(image)
        with open(image, "ab") as f:
            f.write(os.urandom(3 * MIB))
        record = self.reclaimed(image)
        self.assertEqual((record["reclaimed_bytes"], os.path.getsize(image)), (3 * MIB, end))

    def test_leaks_stay_unless_they_are_freed(self):
        image = self.create(size="64M")
        self.io(image, "write -q -P 1 0 1M")
        for _ in range(4):
            qcow2.append_cluster(image, b"leaked" * 10000)
        self.io(image, "write -q -P 2 8M 64k")
        asked = {"reclaim.free": "on"}
        self.amended(image, status="unchanged", flags=self.flags, **asked)
        self.assertEqual(guest.check(image)[2], 4)
        record = self.reclaimed(image, repair="leaks")
        self.assertGreaterEqual(record["reclaimed_bytes"], 4 * 60 * KIB)

    def test_snapshots_bitmaps_and_vm_state_stay(self):
        image = self.used()
        self.io(image, "write -q -P 7 20M 1M")
        self.snapshot(image, "s")
        self.io(image, "write -q -P 8 20M 2M")
        proc.must(["qemu-img", "bitmap", "--add", image, "b"])
        self.io(image, "write -q -P 9 30M 1M")
        self.discard(image, "21M 1M")
        self.reclaimed(image)
        self.assertEqual([b["name"] for b in guest.info(image)["format-specific"]["data"]["bitmaps"]], ["b"])

    def test_a_dirty_image_is_repaired_first(self):
        image = self.create(size="64M", lazy_refcounts="on")
        self.killed_io(image, "write -q -P 1 0 4M", "discard 1M 1M")
        before = guest.read_all(self.copy(image, "copy.qcow2"))
        self.amended(image, flags=self.flags, **{"reclaim.free": "on"})
        self.assert_same_layers(before, guest.read_all(image))
        self.assert_sound(image)

    def test_with_every_other_change_in_one_commit(self):
        for name, options in (("v2", {"compat": "0.10"}), ("wide", {"refcount_bits": 64}),
                              ("large", {"size": "128M"}), ("lazy", {"lazy_refcounts": "on"})):
            with self.subTest(name):
                image = self.used(f"{name}.qcow2")
                had = allocated(image)
                self.amended_keeping_content(image, flags=self.flags, **{"reclaim.free": "on"}, **options)
                self.assertLess(allocated(image), had - 5 * MIB)

    def test_a_damaged_image_is_refused(self):
        image = self.used()
        _, entry = self.first_entry(image, 2 * MIB)
        qcow2.set_refcount(image, (entry & qcow2.L2_OFFSET) >> 16, 0)  # in use, and called free
        self.refused(image, "corrupt", flags=self.flags, **{"reclaim.free": "on"})

    def test_encrypted_images_are_refused(self):
        image = self.create("luks.qcow2", flags=["--object", "secret,id=s,data=x"],
                            **{"encrypt.format": "luks", "encrypt.key-secret": "s", "encrypt.iter-time": 10})
        self.refused(image, "unsupported", words="reclaim of an encrypted image", flags=self.flags,
                     **{"reclaim.free": "on"})

    def test_reserved_alone_is_a_mistake(self):
        self.refused(self.create(), "refused", words="reclaim.reserved needs reclaim.free, reclaim.zeros or reclaim.compact", flags=self.flags,
                     **{"reclaim.reserved": "on"})

    def test_off_asks_for_nothing(self):
        image = self.used()
        self.amended(image, flags=self.flags, status="unchanged", **{"reclaim.free": "off"})

    def test_a_data_file_is_left_alone(self):
        image = self.create(size="8M", data_file=self.path("a.data"))
        self.io(image, "write -q -P 1 0 8M")
        self.io(image, "discard 0 4M")
        sha = proc.sha256(self.path("a.data"))
        answer = qbatch.amend(image, flags=self.flags, **{"reclaim.free": "on"})
        self.assertEqual(answer.code, 0, str(answer))
        self.assertEqual(proc.sha256(self.path("a.data")), sha)
        self.assert_reads(image, 4 * MIB, 4 * MIB, 1)

    def test_a_fleet(self):
        for i in range(20):
            self.used(f"f{i:02}.qcow2")
        had = allocated(self.path("f00.qcow2"))
        answer = self.run_manifest("version: 1\nimages: [{path: f*.qcow2, reclaim: {free: on}}]\n", *self.flags)
        self.assertEqual(answer.code, 0, str(answer))
        self.assertEqual({r["reclaimed_bytes"] for r in answer.records}, {6 * MIB})
        for i in range(20):
            self.assert_sound(self.path(f"f{i:02}.qcow2"))
            self.assertLess(allocated(self.path(f"f{i:02}.qcow2")), had - 5 * MIB)


class Zeros(ReclaimTest):
    def zeroed(self, name="a.qcow2", **options):
        """4 MiB of data, then 4 MiB of zeros, all of it written, then data again."""
        image = self.create(name, size="64M", **options)
        self.io(image, "write -q -P 1 0 4M", "write -q -P 0 4M 4M", "write -q -P 2 8M 1M")
        return image

    def given(self, image, status="changed", **options):
        before, had = guest.read_all(image), allocated(image)
        record = self.amended(image, flags=[*self.flags, "--verify", "content"], status=status,
                              **{"reclaim.zeros": "on"}, **options)
        self.assert_same_layers(before, guest.read_all(image))
        self.assertAlmostEqual(had - allocated(image), record["reclaimed_bytes"], delta=2 * MAP)
        return record

    def kinds(self, image, offset):
        """What QEMU says of the byte: (present, zero, data)."""
        for run in json.loads(proc.must(["qemu-img", "map", "--output=json", image])):
            if run["start"] <= offset < run["start"] + run["length"]:
                return run.get("present"), run["zero"], run["data"]
        return None

    def test_they_become_unallocated_where_nothing_is_below(self):
        for size in ("512", "4k", "64k", "2M"):
            with self.subTest(cluster_size=size):
                image = self.zeroed(f"{size}.qcow2", cluster_size=size)
                self.assertGreaterEqual(self.given(image)["reclaimed_bytes"], 4 * MIB)
                self.assert_sound(image)
                self.assertEqual(self.kinds(image, 5 * MIB), (False, True, False))
                self.given(image, status="unchanged")

    def test_over_a_backing_file_they_become_zero_clusters(self):
        base = self.raw("base.raw", "64M", "write -q -P 9 0 64M")
        image = self.zeroed(backing=base, backing_fmt="raw")
        self.given(image)
        self.assert_sound(image)
        self.assert_reads(image, 4 * MIB, 4 * MIB, 0)
        self.assertEqual(self.kinds(image, 5 * MIB)[1:], (True, False))
        self.given(image, status="unchanged")

    def test_version_2_over_a_backing_file_keeps_them(self):
        base = self.raw("base.raw", "64M", "write -q -P 9 0 64M")
        image = self.zeroed(backing=base, backing_fmt="raw", compat="0.10")
        self.given(image, status="unchanged")
        alone = self.zeroed("b.qcow2", compat="0.10")
        self.given(alone)
        self.assert_sound(alone)

    def test_of_snapshots_too(self):
        image = self.zeroed()
        self.snapshot(image, "s")
        self.io(image, "write -q -P 3 6M 2M", "write -q -P 0 8M 1M")
        record = self.given(image)
        self.assertGreaterEqual(record["reclaimed_bytes"], 5 * MIB)
        self.assert_sound(image)
        self.assert_snapshot_reads(image, "s", 6 * MIB, MIB, 0)
        self.given(image, status="unchanged")

    def test_holes_of_the_file_are_known_without_reading(self):
        image = self.create(size="64M", preallocation="metadata")
        record = self.given(image)
        self.assertLess(record["io"]["read_bytes"], MIB)
        self.assert_sound(image)
        self.assertEqual(self.kinds(image, 5 * MIB), (False, True, False))

    def test_zero_clusters_that_have_a_place(self):
        image = self.create(size="64M")
        self.io(image, "write -q -P 1 0 8M", "write -q -z 2M 4M")
        self.assertGreaterEqual(self.given(image)["reclaimed_bytes"], 4 * MIB)
        self.assert_sound(image)

    def test_extended_l2_entries(self):
        image = self.zeroed(extended_l2="on", cluster_size="128k")
        self.io(image, "write -q -P 7 20M 4k")  # some subclusters alone
        self.assertGreaterEqual(self.given(image)["reclaimed_bytes"], 4 * MIB)
        self.assert_sound(image)
        self.assert_reads(image, 20 * MIB, 4 * KIB, 7)
        other = self.zeroed("b.qcow2")
        self.given(other, extended_l2="on")
        self.assert_sound(other)

    def test_compressed_clusters_stay(self):
        image = self.create(size="64M")
        self.io(image, "write -q -c -P 0 0 64k", "write -q -c -P 1 64k 64k", "write -q -P 0 1M 1M")
        self.given(image)
        self.assert_sound(image)

    def test_a_byte_that_is_not_zero_is_seen(self):
        image = self.zeroed()
        for at in (4 * MIB, 5 * MIB + 65535, 8 * MIB - 1):
            self.io(image, f"write -q -P 1 {at} 1")
        self.given(image)
        for at in (4 * MIB, 5 * MIB + 65535, 8 * MIB - 1):
            self.assert_reads(image, at, 1, 1)
        self.assert_sound(image)

    def test_what_is_refused(self):
        image = self.create(size="8M", data_file=self.path("a.data"))
        self.refused(image, "unsupported", words="reclaim.zeros of an image with an external data file",
                     flags=self.flags, **{"reclaim.zeros": "on"})
        self.refused(self.zeroed("b.qcow2"), "refused", words="preallocation", flags=self.flags,
                     preallocation="metadata", **{"reclaim.zeros": "on"})

    @unittest.skipUnless(strace.works(), strace.MISSING)
    def test_data_that_cannot_be_read_fails_the_image(self):
        image = self.zeroed()
        sha = proc.sha256(image)
        argv = [qbatch.absolute(qbatch.TOOL), "amend", "--json", "--io", "posix", *self.flags, "-o",
                "reclaim.zeros=on", image]
        whole = strace.run(argv + ["--dry-run"], "pread64:error=EIO:when=60000")
        reads = whole.log.count("pread64(")
        self.assertGreater(reads, 4)
        trace = strace.run(argv, f"pread64:error=EIO:when={reads - 1}+")
        answer = qbatch.Answer(trace.result)
        self.assertEqual((answer.code, answer.status), (1, "failed"), str(answer))
        self.assertEqual(proc.sha256(image), sha)


class Reserved(ReclaimTest):
    def reserve(self, image, first, length, keep_size=False):
        proc.must(["fallocate", *(["-n"] if keep_size else []), "-o", first, "-l", length, image])

    def test_at_the_end_it_goes_on_request(self):
        image = self.used()
        length = os.path.getsize(image)
        self.reserve(image, length, 8 * MIB)
        record = self.reclaimed(image)
        self.assertEqual((record["reclaimed_bytes"], os.path.getsize(image)), (4 * MIB, length + 8 * MIB))
        record = self.reclaimed(image, reserved="on")
        self.assertEqual((record["reclaimed_bytes"], os.path.getsize(image)), (10 * MIB, length - 2 * MIB))
        self.reclaimed(image, reserved="on", status="unchanged")

    def test_past_the_end_it_goes_on_request(self):
        image = self.used()
        self.reclaimed(image)
        length = os.path.getsize(image)
        self.reserve(image, length, 8 * MIB, keep_size=True)
        self.reclaimed(image, status="unchanged")
        record = self.reclaimed(image, reserved="on")
        self.assertEqual((record["reclaimed_bytes"], os.path.getsize(image)), (8 * MIB, length))

    def test_past_the_end_of_a_file_that_ends_within_a_cluster(self):
        image = self.used()
        self.reclaimed(image)
        length = os.path.getsize(image)
        os.truncate(image, length - 100)
        self.reserve(image, length, 8 * MIB, keep_size=True)
        record = self.reclaimed(image, reserved="on")
        self.assertEqual((record["reclaimed_bytes"], os.path.getsize(image)), (8 * MIB, length))
        self.reclaimed(image, reserved="on", status="unchanged")

    def test_at_the_end_it_stays_although_tables_are_rewritten(self):
        image = self.used()
        self.io(image, "write -q -P 0 1M 1M")
        end = os.path.getsize(image) + 8 * MIB
        self.reserve(image, end - 8 * MIB, 8 * MIB)
        self.assertLess(allocated(image) - 8 * MIB, end)
        before = guest.read_all(image)
        self.amended(image, flags=self.flags, **{"reclaim.zeros": "on"})
        self.assertEqual(os.path.getsize(image), end)
        self.assertGreater(allocated(image), 16 * MIB)
        self.amended(image, flags=self.flags, status="unchanged", **{"reclaim.zeros": "on"})
        self.amended(image, flags=self.flags, **{"reclaim.zeros": "on", "reclaim.reserved": "on"})
        self.assertLess(os.path.getsize(image), end - 6 * MIB)
        self.assert_same_layers(before, guest.read_all(image))
        self.assert_sound(image)

    def test_of_clusters_that_become_free_it_goes_and_is_counted(self):
        image = self.create(size="16M", preallocation="falloc")
        self.io(image, "write -q -P 1 0 1M")
        had = allocated(image)
        self.assertGreater(had, 16 * MIB)
        record = self.amended(image, flags=self.flags, **{"reclaim.zeros": "on"})
        self.assertAlmostEqual(had - allocated(image), record["reclaimed_bytes"], delta=4 * MAP)
        self.assertGreater(record["reclaimed_bytes"], 14 * MIB)

    def test_what_xfs_itself_reserves_goes_with_the_first_run(self):
        """It reserves space past the end of a file that grows."""
        asked = {"reclaim.zeros": "on", "reclaim.reserved": "on"}
        try:
            with ground.disk(self.folder, "xfs") as there:
                image = self.create(os.path.join(there, "a.qcow2"), size="8M", cluster_size="1k",
                                    preallocation="full")
                self.io(image, "write -q -P 1 0 1M")
                self.amended(image, flags=self.flags, **asked)
                self.amended(image, flags=self.flags, status="unchanged", **asked)
        except ground.NotHere as why:
            self.skipTest(str(why))

    def test_inside_it_goes_on_request(self):
        image = self.used()
        self.reclaimed(image)
        had = allocated(image)
        self.reserve(image, 0, os.path.getsize(image) - MIB)  # the last of it is data
        self.assertAlmostEqual(allocated(image), had + 4 * MIB, delta=MAP)
        self.reclaimed(image, status="unchanged")
        self.assertEqual(self.reclaimed(image, reserved="on")["reclaimed_bytes"], 4 * MIB)

    def test_a_file_without_holes_keeps_what_was_never_written(self):
        image = self.used()
        self.reserve(image, 0, os.path.getsize(image) + 4 * MIB)
        self.assertGreaterEqual(allocated(image), os.path.getsize(image))
        self.assertEqual(self.reclaimed(image)["reclaimed_bytes"], 4 * MIB)
        self.assertEqual(self.reclaimed(image, reserved="on")["reclaimed_bytes"], 6 * MIB)

    def test_what_preallocation_gave_is_in_use(self):
        for mode in ("metadata", "falloc", "full"):
            with self.subTest(mode):
                image = self.create(f"{mode}.qcow2", size="16M", preallocation=mode)
                self.io(image, "write -q -P 1 0 1M")
                self.reclaimed(image, reserved="on", status="unchanged")

    def test_with_another_change_of_a_file_without_holes(self):
        for reserved in ("off", "on"):
            with self.subTest(reserved=reserved):
                image = self.used(f"{reserved}.qcow2")
                self.reserve(image, 0, os.path.getsize(image) + 4 * MIB)
                had = allocated(image)
                self.assertGreaterEqual(had, os.path.getsize(image))
                self.amended_keeping_content(image, flags=self.flags, refcount_bits=64,
                                             **{"reclaim.free": "on", "reclaim.reserved": reserved})
                given = (10 if reserved == "on" else 4) * MIB
                self.assertAlmostEqual(allocated(image), had - given, delta=8 * MAP)


class Undone(ReclaimTest):
    def test_what_an_undo_needs_stays(self):
        """It is counted: as leaks, to others."""
        image = self.used()
        before = guest.read_all(image)
        run = self.amended(image, flags=self.flags, keep_undo="on", refcount_bits=64)
        self.assertEqual(run["after"]["refcount_bits"], 64)
        undo = qbatch.qbatch("status", "--json", *self.flags).result.out
        answer = qbatch.amend(image, flags=self.flags, **{"reclaim.free": "on"})
        self.assertEqual(answer.code, 0, str(answer))
        first = sorted(line.split('"run":"')[1].split('"')[0] for line in undo.splitlines() if '"run":"' in line)[0]
        answer = qbatch.qbatch("undo", "--json", *self.flags, first)
        self.assertEqual((answer.code, answer.error), (1, "changed"), str(answer))  # the file was written to
        self.assertGreater(guest.check(image)[2], 0)
        self.assert_same_layers(before, guest.read_all(image))

    def test_with_an_undo_of_its_own(self):
        for name, options in (("alone", {}), ("and wide", {"refcount_bits": 64})):
            with self.subTest(name):
                image = self.used(f"{name}.qcow2")
                before = guest.read_all(image)
                self.amended(image, flags=self.flags, keep_undo="on", **{"reclaim.free": "on"}, **options)
                answer = qbatch.qbatch("undo", "--json", *self.flags, "last")
                self.assertEqual(answer.code, 0, str(answer))
                self.assertEqual(guest.info(image)["format-specific"]["data"]["refcount-bits"], 16)
                self.assert_same_layers(before, guest.read_all(image))
                self.assert_sound(image)


@unittest.skipUnless(strace.works(), strace.MISSING)
class Faults(ReclaimTest):
    def argv(self, image, *more):
        return [qbatch.absolute(qbatch.TOOL), "amend", "--json", "--io", "posix", *self.flags, "-o",
                "reclaim.free=on", *more, image]

    def test_a_file_system_without_holes(self):
        image = self.used()
        before, had = guest.read_all(image), allocated(image)
        trace = strace.run(self.argv(image), "fallocate:error=EOPNOTSUPP")
        answer = qbatch.Answer(trace.result)
        self.assertEqual((answer.code, answer.status), (0, "changed"), str(answer))
        self.assertEqual(answer.first["reclaim_errno"], errno.EOPNOTSUPP)
        self.assertEqual(answer.first["reclaimed_bytes"], had - allocated(image))
        self.assert_same_layers(before, guest.read_all(image))
        self.assert_sound(image)
        told = strace.run([w for w in self.argv(self.used("b.qcow2")) if w != "--json"], "fallocate:error=EOPNOTSUPP")
        self.assertIn("unused space could not be freed: Operation not supported", told.result.out)

    def test_killed_at_every_call_that_changes_the_file(self):
        image = self.used("first.qcow2")
        before = guest.read_all(image)
        for call in ("fallocate", "ftruncate", "pwrite64", "fdatasync"):
            for n in range(1, 4):
                with self.subTest(call=call, n=n):
                    victim = self.copy(image, "victim.qcow2")
                    trace = strace.run(self.argv(victim, "-o", "refcount_bits=32"),
                                       f"{call}:signal=KILL:when={n}")
                    if not trace.hit:
                        break
                    self.assert_sound(victim)
                    self.assert_same_layers(before, guest.read_all(victim))
                    again = proc.run(self.argv(victim, "-o", "refcount_bits=32"))
                    self.assertEqual(again.code, 0, again.out + again.err)
                    self.assert_sound(victim)
                    self.assert_same_layers(before, guest.read_all(victim))


@unittest.skipUnless(os.geteuid() == 0, "a loop device can only be set up by root")
class Devices(ReclaimTest):
    def test_free_clusters_and_the_rest_of_the_device_are_discarded(self):
        image = self.used()
        with open(image, "ab") as f:
            f.write(b"old" * MIB)
            f.truncate(32 * MIB + 512)
        before = guest.read_all(image)
        had = allocated(image)
        done = proc.run(["losetup", "--find", "--show", image])
        if done.code:
            self.skipTest(f"no loop device here: {done.err.strip()}")
        device = done.out.strip()
        self.addCleanup(subprocess.run, ["losetup", "--detach", device], check=False)
        for _ in range(2):  # it does not say what it has discarded
            record = self.amended(device, flags=self.flags, **{"reclaim.free": "on"})
            self.assertEqual(record["reclaim_errno"], 0)
            self.assertGreaterEqual(record["reclaimed_bytes"], 6 * MIB)
        proc.must(["losetup", "--detach", device])
        self.assertLessEqual(allocated(image), had - 9 * MIB + 4096)
        self.assert_same_layers(before, guest.read_all(image))
        self.assert_sound(image)


if __name__ == "__main__":
    main()
