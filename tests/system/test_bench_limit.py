"""The bare I/O that qbatch-bench compares with does all of the work, and only that; and what is measured beside."""
import glob
import itertools
import json
import os
import re
import shutil
import tempfile
import unittest

import context  # noqa: F401
import proc
import qbatch
from fixture import KIB, run_tests

TOOL = qbatch.absolute(qbatch.TOOL)
BENCH = os.path.join(os.path.dirname(TOOL), "qbatch-bench")
METHODS = ("plain", "shared", "direct", "early", "threads", "many-threads", "waves", "fdatasync", "ring")
OF_ONE, OF_MANY = METHODS[:4], METHODS[4:]

RING = proc.run([BENCH, "fleet", "--images", "2", "--vs", "limit", "--runs", "1", "--warmup", "0"]).out.find("ring ") > 0


class Measured(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="qbatch-test-bench-limit.", dir="/var/tmp")
        self.addCleanup(shutil.rmtree, self.dir, ignore_errors=True)
        self.json = os.path.join(self.dir, "results.json")
        self.work = os.path.join(self.dir, "work")
        os.mkdir(self.work)

    def bench(self, *argv, code=0):
        result = proc.run([BENCH, *argv, "--dir", self.work])
        self.assertEqual(result.code, code, f"{result.argv}\n{result.out}{result.err}")
        return result

    def results(self, *argv):
        self.bench(*argv, "--warmup", "0", "--export-json", self.json)
        with open(self.json, encoding="utf-8") as f:
            return json.load(f)["results"]

    def kept(self, *argv):
        result = self.bench(*argv, "--warmup", "0", "--keep")
        return [l.split()[-1] for l in result.err.splitlines() if l.startswith("kept: ")][0]


class Limit(Measured):
    def words(self, *argv):
        """The numbers that the bench gives the bare program, and how it is called."""
        command = [r for r in self.results(*argv, "--vs", "limit", "--runs", "1") if r["contender"] == "limit"][0]["command"]
        words = dict(re.findall(r"(\w+)=(\d+)", command))
        return {name: int(value) for name, value in words.items()}

    def run_method(self, words, method, path, before=()):
        words = {**words, "method": METHODS.index(method), "threads": words.get("threads", 2)}
        return proc.must([*before, BENCH, "--limit-io", *[f"{n}={v}" for n, v in words.items()], path])

    def of_fleet(self, *shape):
        made = os.path.join(self.kept(*shape, "--runs", "0"), "images")
        for path in self.images(made):
            os.utime(path, (1, 1))
        return made

    def images(self, folder):
        return sorted(os.path.join(folder, name) for name in os.listdir(folder))

    def copy(self, folder, name):
        path = os.path.join(self.dir, name)
        proc.must(["cp", "-a", folder, path])
        return path

    def test_each_method_writes_the_header_of_each_image_and_changes_no_byte(self):
        shape = ["fleet", "--images", "300", "--size", "64M"]
        words, made = self.words(*shape), self.of_fleet(*shape)
        for i, path in enumerate(self.images(made)):  # each has a header of its own
            with open(path, "r+b") as f:
                f.seek(496)
                f.write(b"%06d" % i)
            os.utime(path, (1, 1))
        for method in OF_MANY[:5 if RING else 4]:
            with self.subTest(method):
                folder = self.copy(made, method)
                self.run_method(words, method, folder)
                for path, original in zip(self.images(folder), self.images(made)):
                    self.assertGreater(os.stat(path).st_mtime, 1, path)
                    with open(path, "rb") as f, open(original, "rb") as g:
                        self.assertEqual(f.read(), g.read())

    def test_each_method_appends_to_each_image_and_sets_its_length(self):
        shape = ["fleet", "--work", "downgrade", "--images", "5"]
        words, made = self.words(*shape), self.of_fleet(*shape)
        self.assertGreater(words["grow_to"], words["append_at"])
        for method in ("threads", "many-threads", "waves", "fdatasync"):
            with self.subTest(method):
                folder = self.copy(made, method)
                for path in self.images(folder):  # what is written is zeros
                    with open(path, "r+b") as f:
                        f.seek(words["append_at"])
                        f.write(b"x" * words["append_used"])
                    os.utime(path, (1, 1))
                self.run_method(words, method, folder)
                for path in self.images(folder):
                    self.assertEqual(os.path.getsize(path), words["grow_to"])
                    self.assertGreater(os.stat(path).st_mtime, 1)
                    with open(path, "rb") as f:
                        f.seek(words["append_at"])
                        self.assertEqual(f.read(words["append_used"]).strip(b"\0"), b"")

    def test_each_method_of_one_file_appends_all(self):
        shape = ["refcount", "--size", "64G", "--used", "all", "--every", "0"]
        words = self.words(*shape)
        made = os.path.join(self.kept(*shape, "--runs", "0"), "images")
        self.assertGreater(words["append_size"], 8 << 20)
        for method in OF_ONE:
            with self.subTest(method):
                path = os.path.join(self.copy(made, method), "000000.qcow2")
                with open(path, "r+b") as f:
                    f.seek(words["append_at"])
                    f.write(b"x" * words["append_size"])
                self.run_method(words, method, path)
                with open(path, "rb") as f:
                    f.seek(words["append_at"])
                    self.assertEqual(f.read(words["append_size"]).strip(b"\0"), b"")
                os.remove(path)

    def test_each_method_punches_the_holes_of_each_image(self):
        shape = ["reclaim", "--images", "4", "--used", "2M"]
        words, made = self.words(*shape), self.of_fleet(*shape)
        for method in ("threads", "many-threads", "waves", "fdatasync"):
            with self.subTest(method):
                folder = self.copy(made, method)
                before = [os.stat(path).st_blocks * 512 for path in self.images(folder)]
                self.run_method(words, method, folder)
                after = [os.stat(path).st_blocks * 512 for path in self.images(folder)]
                for b, a in zip(before, after):  # the file system may need a block more for its extents
                    self.assertAlmostEqual(b - a, words["punches"] * words["punch_size"], delta=16 * KIB)

    def test_a_method_of_another_kind_of_path_is_refused(self):
        made = self.of_fleet("fleet", "--images", "2")
        for method, path in (("plain", made), ("threads", self.images(made)[0])):
            call = [BENCH, "--limit-io", f"method={METHODS.index(method)}", path]
            self.assertEqual(proc.run(call).code, 2)

    @unittest.skipUnless(shutil.which("strace"), "strace is not installed")
    def test_each_method_ends_with_a_barrier_and_has_one_before_the_header(self):
        shape = ["fleet", "--work", "downgrade", "--images", "4"]
        words, made = self.words(*shape), self.of_fleet(*shape)
        words["threads"] = 1
        cases = [(m, self.copy(made, m)) for m in ("threads", "waves")]
        cases += [(m, self.images(self.copy(made, m))[0]) for m in ("plain",)]
        for method, path in cases:
            with self.subTest(method):
                log = os.path.join(self.dir, "strace")
                self.run_method(words, method, path, ["strace", "-f", "-o", log, "-E", "ASAN_OPTIONS=detect_leaks=0",
                                                 "-e", "trace=pwrite64,fdatasync,syncfs"])
                threads = {}
                with open(log, encoding="utf-8") as f:
                    for pid, name, args in re.findall(r"^(\d+) +(pwrite64|fdatasync|syncfs)\((.*)", f.read(), re.M):
                        header = re.search(r" 512, 0(\)| <unf)", args)
                        threads.setdefault(pid, []).append(
                            "sync" if name != "pwrite64" else "header" if header else "append")
                kinds = [kind for each in threads.values() for kind in each]
                self.assertEqual(kinds.count("header"), 1 if method == "plain" else 4)
                self.assertEqual(kinds.count("sync"), 4 if method == "waves" else 2)
                phases = sorted([kind for kind, _ in itertools.groupby(each)] for each in threads.values())
                if method == "threads":  # some write, the first one waits for the disk
                    self.assertEqual(phases, [["append"], ["header"], ["sync"]])
                else:
                    self.assertEqual(phases, [["append", "sync", "header", "sync"]] * len(phases))

    def test_the_tables_of_all_snapshots_are_read(self):
        words = self.words("snapshots", "--snapshots", "20", "--size", "2G")
        self.assertEqual((words["l1s"], words["l1_size"]), (21, 4 * 8))
        made = os.path.join(self.kept("snapshots", "--snapshots", "20", "--size", "2G", "--runs", "0"), "images")
        with open(self.images(made)[0], "rb") as f:
            for i in range(words["l1s"]):
                f.seek(words["l1s_at"] + i * words["l1s_step"])
                self.assertNotEqual(f.read(words["l1_size"]).strip(b"\0"), b"", f"table {i} is empty")

    def test_the_limit_is_the_fastest_of_those_that_were_tried(self):
        limit = self.results("fleet", "--images", "40", "--vs", "limit", "--runs", "1")[1]
        self.assertEqual(limit["method"], min(limit["methods"], key=limit["methods"].get))
        self.assertEqual(set(limit["methods"]), set(OF_MANY[:5 if RING else 4]))
        self.assertIn(f"method={METHODS.index(limit['method'])} ", limit["command"])
        limit = self.results("one", "--vs", "limit", "--runs", "1")[1]
        self.assertEqual((limit["method"], limit["methods"]), ("plain", {}))


class Suites(Measured):
    def test_each_suite_of_this_tree_is_one_and_asks_for_no_more_disk_than_it_may(self):
        root = os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir, os.pardir)
        suites = sorted(glob.glob(os.path.join(root, "bench", "*.suite")) + glob.glob(os.path.join(root, "configs", "*.suite")))
        self.assertGreaterEqual(len(suites), 5)
        for suite in suites:
            self.assertIn("--max-disk", self.bench("--suite", suite, "--max-disk", "1", code=1).err)
            self.assertEqual(os.listdir(self.work), [])


class Beside(Measured):
    def logged(self):
        """A program that notes its arguments and its topology, and starts qbatch with them."""
        path, log = os.path.join(self.dir, "qbatch"), os.path.join(self.dir, "log")
        with open(path, "w", encoding="utf-8") as f:
            f.write(f"#!/bin/sh\necho \"${{HWLOC_SYNTHETIC-host}}: $*\" >>{log}\nexec {TOOL} \"$@\"\n")
        os.chmod(path, 0o755)
        return path, log

    def calls(self, *argv):
        tool, log = self.logged()
        results = self.results(*argv, "--runs", "2", "--qbatch", tool)
        with open(log, encoding="utf-8") as f:
            lines = [l.strip() for l in f if "--version" not in l]
        os.remove(log)
        return results, lines

    def test_the_same_qbatch_is_measured_in_pairs_with_one_parameter_changed(self):
        results, lines = self.calls("one", "--beside", "sandbox=off")
        self.assertEqual([r["contender"] for r in results], ["qbatch", "sandbox=off"])
        self.assertEqual(len(results[1]["ratios"]), 2)
        self.assertEqual(results[1]["parameters"]["sandbox"], "off")
        self.assertEqual(sorted("--sandbox off" in line for line in lines), [False, False, True, True])
        self.assertEqual({line.replace(" --sandbox off", "") for line in lines},
                         {min(lines, key=len)}, "they differ in more than that")

    def test_only_what_changes_nothing_but_the_command_can_stand_beside(self):
        for text in ("size=1G", "sandbox", "verify=none", "colour=red", "record=report", "sandbox=maybe"):
            self.bench("one", "--beside", text, code=2)

    def test_records_are_kept_as_the_parameter_says(self):
        for record, flags in (("none", "--no-state "), ("journal", ""), ("report", "--report ")):
            folder = self.kept("fleet", "--images", "9", "--record", record, "--runs", "1")
            self.assertEqual(os.path.isdir(os.path.join(folder, "state")), record != "none")
            report = os.path.join(folder, "report.ndjson")
            self.assertEqual(os.path.exists(report), record == "report")
            if record == "report":
                with open(report, encoding="utf-8") as f:
                    lines = [json.loads(line) for line in f]
                self.assertEqual(sum("path" in line for line in lines), 9)
            self.assertIn(flags, self.results("fleet", "--images", "2", "--record", record, "--runs", "1")[0]["command"])

    def test_workers_are_placed_in_a_topology_that_is_made_up(self):
        _, lines = self.calls("fleet", "--images", "3", "--jobs", "8", "--nodes", "4", "--beside", "nodes=0")
        self.assertEqual(sorted(l.split(": ")[0] for l in lines),
                         ["host", "host", "numa:4 core:8 pu:1", "numa:4 core:8 pu:1"])


if __name__ == "__main__":
    if not os.access(BENCH, os.X_OK):
        raise SystemExit("qbatch-bench is not built")
    run_tests()
