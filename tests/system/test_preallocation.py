"""preallocation: every cluster of the disk has its place; nothing that a guest sees changes."""
import json
import os
import resource
import signal
import unittest

import context  # noqa: F401
import guest
import proc
import qbatch
import qcow2
from fixture import KIB, MIB, ImageTest, main

CONTENT = ("--verify", "content")
MODES = ("metadata", "falloc", "full")


def allocated(image):
    """(clusters that have a place, clusters of the disk), as qemu-img counts them."""
    answer = json.loads(proc.run(["qemu-img", "check", "--output=json", image]).out)
    return answer.get("allocated-clusters", 0), answer["total-clusters"]


def mapped(image):
    """What QEMU says of the disk, run by run wherever they lie: [start, depth, zero, present]."""
    found = []
    for e in json.loads(proc.must(["qemu-img", "map", "--output=json", image])):
        if not found or found[-1][1:] != [e["depth"], e["zero"], e["present"]]:
            found.append([e["start"], e["depth"], e["zero"], e["present"]])
    return found


def held(path):
    return os.stat(path).st_blocks * 512


class PreallocationTest(ImageTest):
    def assert_full(self, image):
        have, total = allocated(image)
        self.assertEqual(have, total)

    def preallocated(self, image, how="metadata", **options):
        """Amends, keeping what every layer reads; a second run finds nothing to do."""
        record = self.amended_keeping_content(image, flags=CONTENT, preallocation=how, **options)
        sha = proc.sha256(image)
        self.amended(image, status="unchanged", preallocation=how)
        self.assertEqual(proc.sha256(image), sha)
        return record

    def busy(self, size="64M", **options):
        image = self.create(size=size, **options)
        self.io(image, "write -q -P 1 0 1M", "write -q -P 2 5M 100k", "write -q -z -u 8M 1M",
                "write -q -P 3 9M 64k", "write -q -z 9M 64k", "write -q -c -P 4 12M 64k",
                "write -q -P 5 30M 64k", "discard 30M 64k")
        return image


class Standalone(PreallocationTest):
    def test_every_cluster_has_a_place_and_reads_as_before(self):
        for how in MODES:
            with self.subTest(how=how):
                image = self.busy()
                record = self.preallocated(image, how)
                self.assert_full(image)
                # 64 MiB, less 16 + 2 of data, 1 preallocated zero cluster, 1 compressed one.
                self.assertEqual(record["clusters"]["expanded"], 1024 - 20)
                self.assertGreaterEqual(os.path.getsize(image), 64 * MIB - 64 * KIB)
                if how == "metadata":
                    self.assertLess(held(image), 4 * MIB)
                else:
                    self.assertGreaterEqual(held(image), 63 * MIB)
                self.io(image, "write -q -P 9 40M 10M")
                self.assert_reads(image, 40 * MIB, 10 * MIB, 9)
                self.assert_sound(image)
                os.unlink(image)

    def test_it_is_what_qemu_makes(self):
        """An empty image, amended, and one that was created so: every cluster is alike."""
        for options in ({}, {"compat": "0.10"}, {"extended_l2": "on"}, {"cluster_size": "4k"},
                        {"cluster_size": "2M"}, {"refcount_bits": "1"}, {"refcount_bits": "64"}):
            for how in MODES:
                with self.subTest(how=how, **options):
                    theirs = self.create("theirs.qcow2", size="20M", preallocation=how, **options)
                    ours = self.create("ours.qcow2", size="20M", **options)
                    self.preallocated(ours, how)
                    self.assertEqual(allocated(ours), allocated(theirs))
                    if how != "full":  # where QEMU sees written zeros as data, or not
                        self.assertEqual(mapped(ours), mapped(theirs))
                    self.amended(theirs, status="unchanged", preallocation=how)

    def test_a_guest_that_writes_takes_no_new_cluster(self):
        image = self.create(size="32M")
        self.preallocated(image)
        size = os.path.getsize(image)
        self.io(image, "write -q -P 7 0 32M")
        self.assertEqual(os.path.getsize(image), size)
        self.assert_reads(image, 0, 32 * MIB, 7)
        self.assert_sound(image)

    def test_nothing_of_an_old_tail_is_shown(self):
        for how in MODES:
            with self.subTest(how=how):
                image = self.create(size="8M")
                self.io(image, "write -q -P 1 0 64k")
                with open(image, "ab") as f:
                    f.write(b"\xab" * (10 << 20))
                self.preallocated(image, how)
                self.assert_full(image)
                self.assert_reads(image, 64 * KIB, 8 * MIB - 64 * KIB, 0)
                os.unlink(image)

    def test_off_and_a_disk_without_bytes_change_nothing(self):
        self.amended(self.create(), status="unchanged", preallocation="off")
        self.amended(self.create("empty.qcow2", size="0"), status="unchanged",
                     preallocation="metadata")

    def test_a_disk_that_ends_within_a_cluster(self):
        image = self.create(size=str(3 * MIB + 512))
        self.io(image, "write -q -P 3 3M 512")
        self.preallocated(image)
        self.assert_full(image)
        image = self.create("b.qcow2", size=str(3 * MIB + 512))
        self.preallocated(image, "full")
        self.assert_full(image)


class WithOtherKeys(PreallocationTest):
    def test_what_size_adds_is_allocated_too(self):
        for how in MODES:
            with self.subTest(how=how):
                image = self.busy()
                self.preallocated(image, how, size=str(200 * MIB))
                self.assert_full(image)
                self.assertEqual(guest.info(image)["virtual-size"], 200 * MIB)
                os.unlink(image)

    def test_growth_by_parts_of_a_table(self):
        """iotest 125: images made with each mode grow with each, by less and more than a cluster."""
        for cluster_size in ("512", "64k"):
            for made in ("off", *MODES):
                for how, more in zip(MODES, (16 * KIB, 48 * KIB, 80 * KIB)):
                    with self.subTest(cluster_size=cluster_size, made=made, how=how):
                        image = self.create(size="2M", cluster_size=cluster_size, preallocation=made)
                        self.io(image, "write -q -P 5 512k 64k")
                        self.preallocated(image, how, size=str(2 * MIB + more))
                        self.assert_full(image)
                        self.io(image, f"write -q -P 6 2M {more}")
                        self.assert_reads(image, 2 * MIB, more, 6)
                        self.assert_sound(image)

    def test_a_smaller_disk_has_no_clusters_past_its_end(self):
        image = self.busy()
        self.preallocated(image)
        self.amended_keeping_content(image, shrink=True, preallocation="metadata",
                                     size=str(20 * MIB))
        self.assert_full(image)
        self.assertLess(os.path.getsize(image), 90 * MIB)

    def test_all_in_one_flip(self):
        image = self.busy(size="40M", compat="0.10")
        self.snapshot(image, "s")
        record = self.preallocated(image, compat="1.1", size=str(50 * MIB), refcount_bits="64",
                                   extended_l2="on", lazy_refcounts="on")
        self.assert_full(image)
        self.assertEqual(record["status"], "changed")
        self.assertTrue(guest.info(image)["format-specific"]["data"]["extended-l2"])

    def test_version_2_gets_clusters_of_zeros(self):
        image = self.busy()
        self.preallocated(image, compat="0.10")
        self.assert_full(image)
        self.assertEqual({e & qcow2.ZERO for _, _, e in qcow2.load(image).entries()}, {0})

    def test_subclusters_stay_what_they_are(self):
        image = self.create(size="4M", extended_l2="on", backing=self.base(8 * MIB))
        self.io(image, "write -q -P 9 1M 2k", "write -q -z 1026k 4k", "write -q -z 2M 2k")
        self.preallocated(image)
        self.assert_full(image)
        self.io(image, "write -q -P 8 3M 1k")
        self.assert_reads(image, 3 * MIB + KIB, KIB, 1)

    def test_extended_entries_that_go(self):
        image = self.create(size="8M", extended_l2="on", preallocation="metadata")
        self.preallocated(image, extended_l2="off")
        self.assert_full(image)
        self.assert_reads(image, 0, 8 * MIB, 0)

    def base(self, size, name="base.qcow2"):
        path = self.create(name, size=str(size))
        self.io(path, f"write -q -P 1 0 {size}")
        return path


class OverABackingFile(PreallocationTest):
    def overlay(self, size, base_size="2M", **options):
        base = self.create("base.qcow2", size=base_size)
        self.io(base, f"write -q -P 1 0 {base_size}")
        return self.create(size=size, backing=base, **options)

    def test_what_shows_it_stays_unallocated_and_the_rest_has_its_place(self):
        for options in ({}, {"compat": "0.10"}):
            with self.subTest(**options):
                image = self.overlay("4M", **options)
                self.io(image, "write -q -P 2 1M 64k", "write -q -z 1536k 64k")
                self.preallocated(image)
                have, total = allocated(image)
                self.assertEqual((have, total), (32 + 2, 64))
                self.assert_reads(image, 0, MIB, 1)
                self.assert_reads(image, MIB, 64 * KIB, 2)
                self.assert_reads(image, 2 * MIB, 2 * MIB, 0)

    def test_what_size_adds_over_a_longer_one_reads_zero(self):
        image = self.overlay("1M", "3M")
        self.preallocated(image, size=str(4 * MIB))
        self.assertEqual(allocated(image), (48, 64))
        self.assert_reads(image, 0, MIB, 1)
        self.assert_reads(image, MIB, 3 * MIB, 0)

    def test_resize_of_qemu_img_leaves_the_same(self):
        ours = self.overlay("1M")
        theirs = self.copy(ours, "theirs.qcow2")
        self.preallocated(ours, size=str(5 * MIB))
        proc.must(["qemu-img", "resize", "-q", "--preallocation=metadata", theirs, "5M"])
        # QEMU takes zero clusters that are preallocated over the backing file; data here.
        self.assertEqual(allocated(ours), allocated(theirs))
        self.assertEqual(guest.read_all(ours), guest.read_all(theirs))

    def test_extended_entries_have_places_and_show_it(self):
        image = self.overlay("4M", extended_l2="on")
        self.preallocated(image)
        self.assert_full(image)
        theirs = self.create("theirs.qcow2", size="4M", backing=self.path("base.qcow2"),
                             extended_l2="on", preallocation="metadata")
        self.assertEqual(mapped(image), mapped(theirs))
        size = os.path.getsize(image)
        self.io(image, "write -q -P 5 1k 2k", "write -q -P 6 3M 1M")
        self.assert_reads(image, 0, KIB, 1)
        self.assert_reads(image, KIB, 2 * KIB, 5)
        self.assertEqual(os.path.getsize(image), size)
        self.assert_sound(image)

    def test_without_it_afterwards(self):
        image = self.overlay("4M")
        self.amended(image, preallocation="metadata", backing_file="")
        self.assert_full(image)
        self.assert_reads(image, 0, 4 * MIB, 0)


class Snapshots(PreallocationTest):
    def test_only_the_active_layer_is_filled(self):
        image = self.busy()
        self.snapshot(image, "s")
        self.io(image, "write -q -P 6 33M 1M")
        self.snapshot(image, "t")
        before = {e for layer, _, e in qcow2.load(image).entries() if layer}
        self.preallocated(image)
        self.assert_full(image)
        self.assertEqual({e for layer, _, e in qcow2.load(image).entries() if layer}, before)
        self.io(image, "write -q -P 0xee 0 64M")
        self.assert_snapshot_reads(image, "s", 0, MIB, 1)
        for name in ("t", "s"):
            proc.must(["qemu-img", "snapshot", "-a", name, image])
            self.assert_sound(image)
        proc.must(["qemu-img", "snapshot", "-d", "t", image])
        proc.must(["qemu-img", "snapshot", "-d", "s", image])
        self.assert_sound(image)


class Undo(PreallocationTest):
    def amend(self, image, **options):
        answer = qbatch.amend(image, flags=("--state", self.path("state")), keep_undo="on", **options)
        self.assertEqual(answer.code, 0, str(answer))
        return answer.summary["run"]

    def undo(self, run):
        return qbatch.qbatch("undo", "--json", "--state", self.path("state"), run, cwd="/")

    def undone(self, image, **options):
        before, size = guest.read_all(image), os.path.getsize(image)
        run = self.amend(image, **options)
        self.assert_full(image)
        answer = self.undo(run)
        self.assertEqual((answer.code, answer.status), (0, "changed"), str(answer))
        self.assertEqual(os.path.getsize(image), size)
        self.assert_same_layers(before, guest.read_all(image))
        self.assert_sound(image)

    def test_the_old_image_comes_back(self):
        for how, options in zip(MODES, ({}, {"extended_l2": "on"}, {"compat": "0.10"})):
            with self.subTest(how=how, **options):
                image = self.create(size="40M", **options)
                self.io(image, "write -q -P 1 0 1M", "write -q -P 2 5M 100k")
                self.snapshot(image, "s")
                self.io(image, "write -q -P 3 5M 100k")
                self.undone(image, preallocation=how)
                if "compat" not in options:  # version 2 cannot say that the snapshot has another
                    self.undone(image, preallocation=how, size="+100M")
                os.unlink(image)

    def test_zero_clusters_come_back(self):
        self.undone(self.busy(), preallocation="metadata")
        self.undone(self.busy(), preallocation="metadata", compat="0.10")

    def test_not_once_a_guest_has_written_into_a_place(self):
        image = self.busy()
        run = self.amend(image, preallocation="metadata")
        self.io(image, "write -q -P 7 50M 64k")
        answer = self.undo(run)
        self.assertEqual((answer.code, answer.status), (1, "failed"), str(answer))
        self.assert_reads(image, 50 * MIB, 64 * KIB, 7)


class Limits(PreallocationTest):
    def test_a_huge_disk_is_planned_and_nothing_surprising(self):
        """4 TiB of clusters of 2 MiB: 8 tables; of a petabyte the metadata alone is too much."""
        image = self.create(size="4T", cluster_size="2M")
        self.amended(image, preallocation="metadata")
        self.assert_full(image)
        self.assertLess(held(image), 64 * MIB)
        self.amended(image, status="unchanged", preallocation="metadata")

    def test_what_cannot_have_its_space_is_refused_at_once(self):
        self.refused(self.create(size="60T"), "no_space", preallocation="full")
        self.refused(self.create("b.qcow2", size="60T"), "no_space", preallocation="falloc")

    def test_a_file_that_may_not_be_so_long(self):
        image = self.create(size="1G")
        sha, stat = proc.sha256(image), os.stat(image)

        def limit():
            resource.setrlimit(resource.RLIMIT_FSIZE, (100 * MIB, 100 * MIB))
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

        for how in MODES:
            done = proc.run([qbatch.absolute(qbatch.TOOL), "amend", "-o", f"preallocation={how}",
                             image], preexec=limit)
            self.assertEqual(done.code, 1, done.out + done.err)
            self.assertIn("RLIMIT_FSIZE", done.out + done.err)
            self.assert_untouched(image, sha, stat)

    def test_little_memory(self):
        image = self.create(size="64G", cluster_size="4k")
        sha, stat = proc.sha256(image), os.stat(image)
        answer = self.run_manifest(f"""
            version: 1
            limits: {{memory: 4M}}
            images: [{{path: {image}, preallocation: metadata}}]
            """)
        self.assertEqual(answer.error, "memory", str(answer))
        self.assert_untouched(image, sha, stat)


class Refused(PreallocationTest):
    def test_what_it_cannot_be_combined_with(self):
        image = self.create()
        for options in ({"zero_clusters": "share"}, {"zero_clusters": "defer"},):
            self.refused(image, "refused", preallocation="metadata", **options)
        self.refused(image, "refused", preallocation="full", zero_method="hole",
                     words="preallocation=full reserves space")
        self.amended(image, preallocation="metadata", zero_method="hole")

    def test_images_that_cannot_have_it(self):
        data = self.create("d.qcow2", data_file=self.path("d.data"))
        self.refused(data, "unsupported", preallocation="metadata",
                     words="external data file")


if __name__ == "__main__":
    main()
