"""New clusters go into free ranges inside the image: on block devices always, and in files that may not grow."""
import os
import re

import context  # noqa: F401
import guest
import proc
import qbatch
from fixture import ImageTest, main
from loop_device import SECTOR, LoopTest

CLUSTER = 4096

# What is asked for; `size` is the disk afterwards, in bytes.
AMENDS = {
    "down": 'compat: "0.10", zero_clusters: allocate',
    "down, shared": 'compat: "0.10", zero_clusters: share',
    "wide": "refcount_bits: 64",
    "narrow": "refcount_bits: 8",
    "far": "size: 4G",
    "shorter": "size: 3M, allow_shrink: true",
    "bitmaps": "bitmaps: {add: [{name: b}]}",
    "snapshots": "snapshots: {delete: s}, refcount_bits: 32",
    "preallocated": "preallocation: metadata",
    "preallocated in full": "preallocation: full",
    "longer names": "backing_file: base2.raw, backing_fmt: raw, refcount_bits: 32",
    "several": 'compat: "0.10", size: 2G, snapshots: {delete: s}',
}


def rounded(image, to=CLUSTER):
    return -(-os.path.getsize(image) // to) * to


class WithHoles(ImageTest):
    def holed(self, name="a.qcow2", cluster=CLUSTER, free="2M"):
        """An overlay with a snapshot; another one is gone, and its clusters in the middle are free, old bytes in them."""
        base = self.raw("base.raw", "8M", "write -q -P 9 0 8M")
        self.raw("base2.raw", "8M", "write -q -P 9 0 8M")
        image = self.path(name)
        proc.must(["qemu-img", "create", "-q", "-f", "qcow2", "-b", base, "-F", "raw",
                   "-o", f"cluster_size={cluster}", image, "8M"])
        self.io(image, "write -q -P 1 0 512k", "write -q -P 3 5M 1M", "write -q -z 0 128k", "write -q -z -u 1M 512k")
        self.snapshot(image, "s")
        self.io(image, "write -q -P 2 64k 64k", f"write -q -P 4 2M {free}")
        self.snapshot(image, "gone")
        self.io(image, f"write -q -P 5 2M {free}", "write -q -P 6 7M 64k")
        proc.must(["qemu-img", "snapshot", "-d", "gone", image])
        self.assert_sound(image)
        return image

    def expected(self, before, keys):
        """What the layers hold afterwards."""
        sizes = {"size: 4G": 4 << 30, "size: 3M": 3 << 20, "size: 2G": 2 << 30}
        for text, size in sizes.items():
            if text in keys:
                before["active"] = before["active"].resized(size)
        if "delete: s" in keys:
            before = {name: layer for name, layer in before.items() if name == "active"}
        return before

    def amend_by_manifest(self, image, keys, policy="", **kwargs):
        keys = keys.replace(", allow_shrink: true", "")
        return self.run_manifest(f"""
            version: 1
            policy: {{allow_shrink: true, verify: content{policy}}}
            images: [{{path: {image}, {keys}}}]
            """, **kwargs)


class FullDevice(LoopTest, WithHoles):
    def test_every_amend_fits_where_the_guest_freed_enough(self):
        for name, keys in AMENDS.items():
            with self.subTest(name):
                image = self.holed()
                size = rounded(image)
                device = self.on_device(image, size)
                before = self.expected(guest.read_all(image), keys)
                answer = self.amend_by_manifest(device, keys)
                self.assertEqual((answer.code, answer.status), (0, "changed"), str(answer))
                self.assertLessEqual(answer.first["image_end_offset"], size)
                self.assert_same_layers(before, self.layers(device))

    def test_extended_entries_find_room_too(self):
        image = self.holed(cluster=16384)
        device = self.on_device(image, rounded(image, 16384))
        before = guest.read_all(image)
        for switch in "on", "off":
            answer = self.amend_by_manifest(device, f"extended_l2: {switch}")
            self.assertEqual((answer.code, answer.status), (0, "changed"), str(answer))
            self.assert_same_layers(before, self.layers(device))

    def test_what_it_lacks_is_what_the_free_ranges_do_not_hold(self):
        self.device(SECTOR, "probe")  # here, where the whole test can be left out
        lacks = {}
        for free in "4k", "64k", "128k":
            with self.subTest(free):
                image = self.holed(free=free)
                size = rounded(image)
                device = self.on_device(image, size)
                sha = proc.sha256(device)
                answer = self.amend_by_manifest(device, AMENDS["down"])
                self.assertEqual((answer.code, answer.error), (1, "no_space"), str(answer))
                self.assertEqual(proc.sha256(device), sha)
                message = answer.first["error"]["message"]
                lacks[free] = int(re.search(r"needs (\d+) bytes more", message).group(1))
                self.assertIn(f"lvextend -L+{lacks[free]}b", message)
                self.lengthen(device, lacks[free] - SECTOR)
                answer = self.amend_by_manifest(device, AMENDS["down"])
                self.assertIn(f"needs {SECTOR} bytes more", answer.first["error"]["message"])
                self.lengthen(device, SECTOR)
                before = guest.read_all(image)
                answer = self.amend_by_manifest(device, AMENDS["down"])
                self.assertEqual((answer.code, answer.status), (0, "changed"), str(answer))
                self.assertEqual(answer.first["image_end_offset"], size + lacks[free])
                self.assert_same_layers(before, self.layers(device))
        self.assertEqual(lacks["4k"] - lacks["64k"], 60 << 10)
        self.assertEqual(lacks["64k"] - lacks["128k"], 64 << 10)

    def test_a_command_extends_it_by_just_that(self):
        image = self.holed(free="64k")
        device = self.on_device(image, rounded(image))
        script = self.path("grow")
        with open(script, "w", encoding="utf-8") as f:
            f.write(f"#!/bin/sh\necho $2 > {self.path('asked')}\n"
                    f"head -c $2 /dev/urandom >> {self.path('disk')}\nlosetup --set-capacity $1\n")
        os.chmod(script, 0o755)
        before = guest.read_all(image)
        answer = self.amend_by_manifest(device, AMENDS["down"],
                                        policy=f', extend_command: ["{script}", "{{path}}", "{{bytes}}"]')
        self.assertEqual((answer.code, answer.status), (0, "changed"), str(answer))
        self.assert_same_layers(before, self.layers(device))
        with open(self.path("asked"), encoding="utf-8") as f:
            self.assertEqual(answer.first["image_end_offset"], rounded(image) + int(f.read()))


class UndoOnDevices(LoopTest, WithHoles):
    def amended(self, device, keys):
        answer = self.run_manifest(f"""
            version: 1
            policy: {{allow_shrink: true}}
            images: [{{path: {device}, keep_undo: true, {keys.replace(", allow_shrink: true", "")}}}]
            """, *self.flags)
        self.assertEqual((answer.code, answer.status), (0, "changed"), str(answer))
        return answer.summary["run"]

    def setUp(self):
        super().setUp()
        self.flags = ["--state", self.path("state")]

    def test_the_old_header_comes_back(self):
        for name in "down", "wide", "far", "shorter":
            for more in 0, 2 << 20:
                with self.subTest(name, more=more):
                    image = self.holed(free="2M" if more == 0 else "64k")
                    device = self.on_device(image, rounded(image) + more)
                    run = self.amended(device, AMENDS[name])
                    if more:
                        self.lengthen(device, 1 << 20)
                    undo = qbatch.qbatch("undo", "--json", *self.flags, run, cwd="/")
                    self.assertEqual((undo.code, undo.status), (0, "changed"), str(undo))
                    self.assert_same_layers(guest.read_all(image), self.layers(device))

    def test_not_if_the_guest_wrote_where_the_amend_put_something(self):
        image = self.holed()
        device = self.on_device(image, rounded(image))
        run = self.amended(device, AMENDS["down"])
        proc.must(["qemu-io", "-f", "qcow2", "-c", "write -q -P 7 1100k 4k", device])
        undo = qbatch.qbatch("undo", "--json", *self.flags, run, cwd="/")
        self.assertEqual((undo.code, undo.error), (1, "changed"), str(undo))

    def test_what_a_guest_wrote_in_place_stays(self):
        image = self.holed()
        device = self.on_device(image, rounded(image))
        run = self.amended(device, AMENDS["wide"])
        for path in device, image:
            proc.must(["qemu-io", "-f", "qcow2", "-c", "write -q -P 7 7M 4k", path])
        undo = qbatch.qbatch("undo", "--json", *self.flags, run, cwd="/")
        self.assertEqual((undo.code, undo.status), (0, "changed"), str(undo))
        self.assert_same_layers(guest.read_all(image), self.layers(device))

    def test_another_device_is_not_taken_for_it(self):
        image = self.holed()
        device = self.on_device(image, rounded(image))
        run = self.amended(device, AMENDS["wide"])
        proc.must(["dd", f"if={image}", f"of={device}", "bs=64k", "status=none", "conv=fsync"])
        proc.must(["qemu-img", "amend", "-f", "qcow2", "-o", "lazy_refcounts=on", device])
        undo = qbatch.qbatch("undo", "--json", *self.flags, run, cwd="/")
        self.assertEqual((undo.code, undo.error), (1, "changed"), str(undo))


class FilesThatMayNotGrow(WithHoles):
    def test_they_are_filled(self):
        for name, keys in AMENDS.items():
            with self.subTest(name):
                image = self.holed()
                size = rounded(image)
                before = self.expected(guest.read_all(image), keys)
                answer = self.amend_by_manifest(image, keys, policy=", max_growth: 0")
                self.assertEqual((answer.code, answer.status), (0, "changed"), str(answer))
                self.assertLessEqual(os.path.getsize(image), size)
                self.assert_sound(image)
                self.assert_same_layers(before, guest.read_all(image))

    def test_and_grow_by_what_does_not_fit(self):
        image = self.holed(free="64k")
        size, grown = os.path.getsize(image), {}
        for policy in "", ", max_growth: 1G":
            copy = self.copy(image, "copy.qcow2")
            self.amend_by_manifest(copy, AMENDS["down"], policy=policy)
            grown[policy] = os.path.getsize(copy) - size
            self.assert_sound(copy)
        least = grown[", max_growth: 1G"]
        self.assertGreaterEqual(grown[""] - least, 64 << 10)
        for most, code, error in (least - 1, 1, "no_space"), (least, 0, None):
            answer = self.amend_by_manifest(image, AMENDS["down"], policy=f", max_growth: {most}")
            self.assertEqual((answer.code, answer.error), (code, error), str(answer))
            self.assertEqual(os.path.getsize(image), size + (0 if error else least))
        self.assert_sound(image)

    def test_the_holes_of_a_raw_disk_are_no_room(self):
        disk = self.raw("disk.raw", "4M", "write -q -P 3 0 64k", "write -q -P 4 3M 64k")
        proc.must(["fallocate", "--punch-hole", "-o", "128k", "-l", "2M", disk])
        with open(disk, "rb") as f:
            before = f.read()
        answer = self.run_manifest(f"""
            version: 1
            policy: {{max_growth: 1G}}
            images: [{{path: {disk}, convert: {{from: raw, to: qcow2}}}}]
            """)
        self.assertEqual((answer.code, answer.status), (0, "changed"), str(answer))
        with open(disk, "rb") as f:
            self.assertEqual(f.read(len(before))[512:], before[512:])

    def test_without_a_limit_nothing_moves_inside(self):
        image = self.holed()
        size = os.path.getsize(image)
        answer = self.amend_by_manifest(image, AMENDS["wide"])
        self.assertEqual((answer.code, answer.status), (0, "changed"), str(answer))
        self.assertGreater(os.path.getsize(image), size)

    def test_an_undo_brings_back_what_was(self):
        for name in "down", "wide", "far", "shorter":
            with self.subTest(name):
                image = self.holed()
                before, size = guest.read_all(image), os.path.getsize(image)
                flags = ["--state", self.path("state")]
                answer = self.run_manifest(f"""
                    version: 1
                    policy: {{allow_shrink: true, max_growth: 0}}
                    images: [{{path: {image}, keep_undo: true, {AMENDS[name].replace(", allow_shrink: true", "")}}}]
                    """, *flags)
                self.assertEqual((answer.code, answer.status), (0, "changed"), str(answer))
                undo = qbatch.qbatch("undo", "--json", *flags, answer.summary["run"], cwd="/")
                self.assertEqual((undo.code, undo.status), (0, "changed"), str(undo))
                self.assert_same_layers(before, guest.read_all(image))
                self.assert_sound(image)
                self.assertEqual(os.path.getsize(image), size)

    def test_an_undo_sees_a_write_into_what_was_put_inside(self):
        image = self.holed()
        flags = ["--state", self.path("state")]
        answer = self.run_manifest(f"""
            version: 1
            policy: {{max_growth: 0}}
            images: [{{path: {image}, keep_undo: true, {AMENDS["down"]}}}]
            """, *flags)
        self.assertEqual((answer.code, answer.status), (0, "changed"), str(answer))
        stat = os.stat(image)
        self.io(image, "write -q -P 7 1100k 4k")  # a new cluster of zeros, inside
        os.utime(image, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        undo = qbatch.qbatch("undo", "--json", *flags, answer.summary["run"], cwd="/")
        self.assertEqual((undo.code, undo.error), (1, "changed"), str(undo))
        self.assert_reads(image, 1100 << 10, 4096, 7)


if __name__ == "__main__":
    main()
