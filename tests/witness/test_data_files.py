#!/usr/bin/env python3
"""The judge of external data files, on faults that are known."""
import os
import sys
import tempfile
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "lib")]

import data_files  # noqa: E402
import guest  # noqa: E402
import qcow2  # noqa: E402

CLUSTER, OLD, NEW = 4096, 3 * 4096 + 512, 6 * 4096
A, B = "a.data", "b.data"
DISK, JUNK = b"d" * OLD, b"j" * 512


def identity(size, name=A, raw=False):
    return {"size": size, "data_file": name.encode(), "cluster_size": CLUSTER,
            "autoclear": qcow2.AUTOCLEAR_RAW if raw else 0}


class Judged(unittest.TestCase):
    def setUp(self):
        holder = tempfile.TemporaryDirectory()
        self.addCleanup(holder.cleanup)
        self.folder = holder.name

    def write(self, place, files):
        folder = os.path.join(self.folder, place)
        os.makedirs(folder, exist_ok=True)
        for name, data in files.items():
            with open(os.path.join(folder, name), "wb") as f:
                f.write(data)
        return folder

    def judge(self, old, new, before, live=None):
        self.old, self.new = old, new
        folders = self.write("before", before), self.write("live", live or before)
        return data_files.DataFiles(list(before), *folders, old, new)

    def said(self, judge, now, data, name=A, active=DISK):
        there = self.write("state", {name: data})
        chunks = {0: active.rstrip(b"\0")} if active.strip(b"\0") else {}
        return judge.complaint(there, now, guest.Content(now["size"], chunks)) or ""

    def test_growth(self):
        for raw in (False, True):
            judge = self.judge(identity(OLD, raw=raw), identity(NEW, raw=raw), {A: DISK + JUNK})
            grown = DISK.ljust(NEW, b"\0")
            self.assertEqual(self.said(judge, self.old, DISK + JUNK), "")
            self.assertEqual(self.said(judge, self.old, grown), "")
            self.assertEqual(self.said(judge, self.new, grown), "")
            self.assertIn("and the disk", self.said(judge, self.new, DISK + JUNK))
            self.assertIn("old bytes", self.said(judge, self.new, (DISK + JUNK).ljust(NEW, b"\0")))
            self.assertIn("below", self.said(judge, self.new, b"x" + grown[1:]))
            self.assertIn("below", self.said(judge, self.old, b"x" + DISK[1:]))
        again = self.judge(self.old, self.new, {A: DISK}, {A: grown})
        self.assertIsNone(again.unfinished(self.write("state", {A: grown})))
        self.assertIn("undisturbed", again.unfinished(self.write("state", {A: grown + b"\0"})))

    def test_the_cluster_in_which_a_backing_file_showed_may_change(self):
        judge = self.judge(identity(OLD), identity(NEW), {A: DISK})
        last = OLD // CLUSTER * CLUSTER
        copied = DISK[:last] + b"b" * (OLD - last)
        self.assertEqual(self.said(judge, self.new, copied.ljust(NEW, b"\0")), "")
        self.assertEqual(self.said(judge, self.old, copied), "")

    def test_what_is_past_the_disk_stays(self):
        judge = self.judge(identity(OLD), identity(NEW), {A: DISK.ljust(NEW, b"\0") + JUNK})
        self.assertEqual(self.said(judge, self.new, DISK.ljust(NEW, b"\0") + JUNK), "")
        self.assertIn("past", self.said(judge, self.new, DISK.ljust(NEW, b"\0") + b"x" * 512))

    def test_a_shrink(self):
        judge = self.judge(identity(OLD), identity(CLUSTER), {A: DISK}, {A: DISK[:CLUSTER]})
        self.assertEqual(self.said(judge, self.new, DISK), "")
        self.assertEqual(self.said(judge, self.new, DISK[:CLUSTER]), "")
        self.assertIn("and the disk", self.said(judge, self.old, DISK[:CLUSTER]))
        for tail in (b"", DISK[CLUSTER:]):
            self.assertIsNone(judge.unfinished(self.write("state", {A: DISK[:CLUSTER] + tail})))
        self.assertIn("bytes", judge.unfinished(self.write("state", {A: DISK[:CLUSTER - 1] + b"x"})))
        uncut = self.judge(identity(OLD), identity(CLUSTER), {A: DISK})
        self.assertIn("not cut", uncut.doubts(self.folder, None))

    def test_a_raw_file_reads_like_the_disk(self):
        judge = self.judge(identity(OLD, raw=True), identity(OLD), {A: DISK})
        self.assertEqual(self.said(judge, self.old, DISK), "")
        self.assertIn("raw", self.said(judge, self.old, DISK, active=DISK[:-1]))
        self.assertEqual(self.said(judge, self.new, DISK, active=DISK[:-1]), "")

    def test_the_file_of_the_old_name_is_not_touched(self):
        judge = self.judge(identity(OLD), identity(NEW, "./" + B), {A: DISK, B: DISK})
        self.write("state", {A: DISK})
        self.assertEqual(self.said(judge, self.new, DISK.ljust(NEW, b"\0"), B), "")
        self.assertEqual(self.said(judge, self.old, DISK.ljust(NEW, b"\0"), B), "")
        self.assertIn("and the disk", self.said(judge, self.new, DISK, B))
        self.assertIn("does not name it", self.said(judge, self.old, DISK + JUNK, A))


if __name__ == "__main__":
    unittest.main()
