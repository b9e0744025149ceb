"""Tables that are scattered over a disk each of whose reads takes a while are read many at a time."""
import contextlib
import os
import re
import shutil
import tempfile
import unittest

import context  # noqa: F401
import ground
import proc
import qbatch
import strace
from fixture import ImageTest, main

READ_MICROSECONDS = 30000  # longer than it takes to ask for the next ones, also on a busy machine
TABLES, TABLE_COVERS = 300, 2 << 20  # with clusters of 4 KiB
IN_FLIGHT = 32
HEADER = 65536
AMENDED_AT_ONCE = 16  # one core has so many threads besides its worker


class FarDisk(ImageTest):
    def setUp(self):
        super().setUp()
        stack = contextlib.ExitStack()
        self.addCleanup(stack.close)
        try:
            self.disk = stack.enter_context(ground.far_disk(self.folder, READ_MICROSECONDS))
        except ground.NotHere as why:
            self.skipTest(str(why))

    def scattered(self, name, snapshot=None):
        """Between the tables lie clusters of data, and they are in no order."""
        image = f"{self.disk.folder}/{name}"
        proc.must(["qemu-img", "create", "-q", "-f", "qcow2", "-o", "cluster_size=4096", image, str(TABLES * TABLE_COVERS)])
        order = sorted(range(TABLES), key=lambda i: i * 7919 % TABLES)
        proc.must(["qemu-io", "-t", "unsafe", "-f", "qcow2", image],
                  stdin="".join(f"write -q -P 5 {i * TABLE_COVERS} 8k\n" for i in order))
        if snapshot:
            proc.must(["qemu-img", "snapshot", "-c", snapshot, image])
        return image

    def most_in_flight(self, files, *argv):
        self.disk.forget(*files)
        done = qbatch.qbatch(*argv, cwd=self.folder)
        self.assertEqual(done.code, 0, str(done))
        return self.disk.reads()[0]

    def test_the_measure_itself(self):
        """One who reads table after table."""
        image = self.scattered("a.qcow2")
        self.disk.forget(image)
        proc.must(["qemu-img", "check", "-q", image])
        most, reads = self.disk.reads()
        self.assertLess(most, IN_FLIGHT)
        self.assertGreater(reads, TABLES / 4)

    def test_what_reads_tables(self):
        image = self.scattered("a.qcow2")
        overlay = self.create("overlay.qcow2", size=str(TABLES * TABLE_COVERS), backing=image)
        for argv in (("check", image), ("check", "-j", "1", image), ("map", image), ("map", overlay),
                     ("amend", "--dry-run", "-o", "refcount_bits=64", image),
                     ("amend", "-o", "refcount_bits=64", "-j", "1", image)):
            with self.subTest(argv=argv):
                self.assertGreaterEqual(self.most_in_flight([image], *argv), IN_FLIGHT)
        self.assert_sound(image)

    def test_what_reads_tables_of_a_chain(self):
        """A larger disk over a longer backing file looks what this has there."""
        base = self.scattered("base.qcow2")
        overlay = self.create("overlay.qcow2", size="1M", backing=base)
        self.assertGreaterEqual(self.most_in_flight([base], "amend", "-o", f"size={TABLES * TABLE_COVERS}", overlay), IN_FLIGHT)
        self.assert_sound(overlay)

    def test_what_reads_tables_of_snapshots(self):
        image = self.scattered("a.qcow2", "s")
        self.io(image, *(f"write -q -P 6 {i * TABLE_COVERS} 4k" for i in range(TABLES)))
        self.assertGreaterEqual(self.most_in_flight([image], "amend", "-o", "snapshots.delete=s", image), IN_FLIGHT)
        self.assert_sound(image)

    def fleet(self, n):
        first = self.create("first.qcow2")
        images = [f"{self.disk.folder}/{i:02}.qcow2" for i in range(n)]
        for image in images:
            shutil.copyfile(first, image)
        return images

    def test_images_of_a_fleet(self):
        """More of them at a time than there are cores, of which one is enough here."""
        images = self.fleet(24)
        self.most_in_flight(images, "info", *images)  # what the file system itself reads stays cached
        one = min(self.most_in_flight(images, "info", "-j", "1", *images) for _ in range(5))  # others may read meanwhile
        self.assertLess(one, 3)
        for command in ("check", "info", "map"):
            with self.subTest(command=command):
                self.assertGreater(self.most_in_flight(images, command, *images), 2)

    def with_maps(self, n):
        first = self.create("first.qcow2")
        self.io(first, "write -q 0 1M")
        images = [f"{self.disk.folder}/{i:02}.qcow2" for i in range(n)]
        for image in images:
            shutil.copyfile(first, image)
            for odd in range(64 << 10, 1 << 20, 128 << 10):
                proc.must(["fallocate", "--punch-hole", "-o", str(os.path.getsize(image) - odd), "-l", "65536", image])
        return images

    def test_headers_that_are_read_in_advance(self):
        """Of the images, and of files that may have one of them below."""
        images = self.with_maps(60)
        fleet = self.manifest(f"""
            version: 1
            defaults: {{size: 1M}}
            images: [{{path: "{self.disk.folder}/*.qcow2"}}]
            """)
        for argv in (("graph", fleet), ("--dry-run", fleet)):
            with self.subTest(argv=argv):
                self.disk.forget_all()
                done = qbatch.qbatch(*argv, cwd=self.folder)
                self.assertEqual(done.code, 0, str(done)[-2000:])
                self.assertGreaterEqual(self.disk.reads()[0], AMENDED_AT_ONCE)

    @unittest.skipUnless(strace.works(), strace.MISSING)
    def test_no_thread_that_waits_keeps_rights(self):
        """Few images are opened before the process gives up its rights, which each thread does for itself."""
        images = self.with_maps(8)
        self.disk.forget_all()
        with tempfile.NamedTemporaryFile("r", prefix="qbatch-strace-") as log:
            done = proc.run(["strace", "-f", "-e", "trace=clone3,capset,seccomp", "-o", log.name,
                             qbatch.absolute(qbatch.TOOL), "amend", "--dry-run", "-o", "lazy_refcounts=on", *images],
                            env=strace.environment())
            self.assertEqual(done.code, 0, done.err)
            text = log.read()
        if "seccomp(SECCOMP_SET" not in text:
            self.skipTest("this build does not give up rights")
        begun = set(re.findall(r"=> {parent_tid=\[(\d+)\]}", text.split("seccomp(SECCOMP_SET")[0]))
        confined = {line.split()[0] for line in text.splitlines() if "capset(" in line}
        self.assertTrue(begun, text)
        self.assertLessEqual(begun, confined)

    def test_headers_of_a_fleet_whose_maps_are_to_be_read_first(self):
        """Each image has more extents than its inode has room for: the read of its header waits for another one."""
        images = self.with_maps(60)
        for jobs in ([], ["--sandbox", "off"]):
            with self.subTest(jobs=jobs):
                self.disk.forget_all()
                done = qbatch.qbatch("amend", "--dry-run", *jobs, "-o", "lazy_refcounts=on", *images, cwd=self.folder)
                self.assertEqual(done.code, 0, str(done))
                self.assertGreaterEqual(self.disk.reads()[0], AMENDED_AT_ONCE)

    def test_images_that_are_amended(self):
        """Their tables are read one after the other in each, and of many images at a time; with the headers, which
        are asked for all at once, in memory."""
        images = self.fleet(120)

        def most(*argv):
            self.disk.forget(*images, beyond=HEADER)
            done = qbatch.qbatch("amend", *argv, *images, cwd=self.folder)
            self.assertEqual(done.code, 0, str(done))
            return self.disk.reads()[0]

        most("--dry-run", "-o", "refcount_bits=64")  # what the file system itself reads stays cached
        self.assertLess(most("--dry-run", "-o", "refcount_bits=64", "-j", "2"), AMENDED_AT_ONCE)
        self.assertGreaterEqual(most("--dry-run", "-o", "refcount_bits=64"), AMENDED_AT_ONCE)
        self.assertGreaterEqual(most("-o", "refcount_bits=64"), AMENDED_AT_ONCE)
        for image in images[::40]:
            self.assert_sound(image)

    def test_images_that_are_undone(self):
        images = self.fleet(60)
        fleet = self.manifest(f"""
            version: 1
            defaults: {{lazy_refcounts: "on", keep_undo: on}}
            images: [{{path: "{self.disk.folder}/*.qcow2"}}]
            """)
        done = qbatch.qbatch("--state", self.path("state"), fleet)
        self.assertEqual(done.code, 0, str(done))
        run = os.listdir(self.path("state"))[0].removesuffix(".journal")
        undo = ["undo", "--state", self.path("state"), run]
        self.assertGreaterEqual(self.most_in_flight(images, *undo), AMENDED_AT_ONCE)
        for image in images[::20]:
            self.assert_sound(image)


if __name__ == "__main__":
    main()
