"""qbatch-bench measures what it says it measures, and leaves nothing behind."""
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
import unittest

import context  # noqa: F401
import proc
import qbatch
from fixture import run_tests

BENCH = os.path.join(os.path.dirname(qbatch.absolute(qbatch.TOOL)), "qbatch-bench")


class Bench(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="qbatch-test-bench.")
        self.addCleanup(shutil.rmtree, self.dir, ignore_errors=True)
        self.json = os.path.join(self.dir, "results.json")
        self.work = os.path.join(self.dir, "work")
        os.mkdir(self.work)

    def bench(self, *argv, code=0):
        result = proc.run([BENCH, *argv, "--dir", self.work])
        self.assertEqual(result.code, code, f"{result.argv}\n{result.out}{result.err}")
        return result

    def left(self):
        return os.listdir(self.work)

    def start(self, *argv):
        return subprocess.Popen([BENCH, *argv, "--dir", self.work], stdout=subprocess.DEVNULL,
                                stderr=subprocess.DEVNULL)

    def wait_until_it_works(self, process):
        until = time.monotonic() + 30
        while not any(os.path.isdir(os.path.join(self.work, name, "images")) for name in self.left()):
            self.assertLess(time.monotonic(), until, "no image was ever made")
            self.assertIsNone(process.poll(), "it ended early")
            time.sleep(0.01)

    def test_every_case_runs_and_leaves_nothing_behind(self):
        for case in ("expand", "fleet", "scan", "refcount", "check", "shrink", "one"):
            small = ["--size", "2G"] + (["--images", "5"] if case == "fleet" else [])
            self.bench(case, *small, "--vs", "limit", "--runs", "2", "--export-json", self.json)
            with open(self.json, encoding="utf-8") as f:
                results = json.load(f)["results"]
            self.assertEqual([r["contender"] for r in results], ["qbatch", "limit"])
            for r in results:
                self.assertEqual(len(r["times"]), 2)
                self.assertEqual(r["exit_codes"], [0, 0])
                self.assertLessEqual(r["min"], r["median"])
            self.assertEqual(len(results[1]["ratios"]), 2)
            self.assertEqual(self.left(), [])

    def test_the_images_are_clean_to_qemu_and_so_is_what_qbatch_makes_of_them(self):
        if not shutil.which("qemu-img"):
            self.skipTest("qemu-img is not installed")
        shapes = (["--every", "3"], ["--every", "1", "--cluster-size", "4K"],
                  ["--every", "2", "--snapshots", "3"], ["--every", "4", "--scatter", "5"],
                  ["--every", "2", "--between", "none", "--backing", "no"],
                  ["--every", "2", "--used", "100M", "--cluster-size", "512"])
        for shape in shapes:
            for runs in ("0", "1"):  # as they are made; after an amend
                result = self.bench("expand", "--size", "1G", *shape, "--warmup", "0", "--runs", runs,
                                    "--keep")
                kept = [l.split()[-1] for l in result.err.splitlines() if l.startswith("kept: ")]
                proc.must(["qemu-img", "check", os.path.join(kept[0], "images", "000000.qcow2")])
                shutil.rmtree(kept[0])

    def test_interrupt_and_termination_remove_the_folder(self):
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            for delay in (0, 0.05, 0.2):
                process = self.start("fleet", "--images", "300", "--vs", "limit", "--runs", "1000")
                self.wait_until_it_works(process)
                time.sleep(delay)
                process.send_signal(number)
                self.assertEqual(process.wait(timeout=60), 75)
                self.assertEqual(self.left(), [])

    def test_what_a_killed_bench_left_goes_with_the_next_one_and_a_running_one_stays(self):
        running = self.start("fleet", "--images", "300", "--runs", "10000")
        self.wait_until_it_works(running)
        theirs = self.left()
        killed = self.start("one", "--runs", "10000")
        while len(self.left()) < 2:
            time.sleep(0.01)
        killed.kill()
        killed.wait()
        self.bench("one", "--runs", "1")
        self.assertEqual(self.left(), theirs)
        running.terminate()
        self.assertEqual(running.wait(timeout=60), 75)
        self.assertEqual(self.left(), [])

    def test_a_run_that_fails_is_told_and_cleaned_up(self):
        result = self.bench("one", "--qbatch", "/bin/false", code=1)
        self.assertIn("gave 1", result.err)
        self.bench("one", "--qbatch", "/nonexistent", code=1)
        self.assertEqual(self.left(), [])

    def test_more_disk_than_allowed_is_refused_before_anything_is_made(self):
        result = self.bench("fleet", "--images", "100000", "--max-disk", "1G", code=1)
        self.assertIn("--max-disk", result.err)
        self.assertEqual(self.left(), [])

    def test_compare_exits_with_5_when_slower_beyond_noise(self):
        def write(name, unit):
            path = os.path.join(self.dir, name)
            times = [unit * (1 + i / 1000) for i in range(6)]
            with open(path, "w", encoding="utf-8") as f:
                json.dump({"results": [{"title": "one size=1G", "contender": "qbatch",
                                        "times": times}]}, f)
            return path

        old, slow, near = write("old", 1.0), write("slow", 1.5), write("near", 1.05)
        for new, code in ((old, 0), (near, 0), (slow, 5)):
            result = proc.run([BENCH, "--compare", old, "--with", new, "--fail-on", "10%"])
            self.assertEqual(result.code, code, result.out + result.err)
        self.assertEqual(proc.run([BENCH, "--compare", slow, "--with", old]).code, 0)
        self.assertEqual(proc.run([BENCH, "--compare", "/nonexistent", "--with", old]).code, 2)


if __name__ == "__main__":
    if not os.access(BENCH, os.X_OK):
        raise SystemExit("qbatch-bench is not built")
    run_tests()
