"""The benchmark as a regression gate: two builds, one of them slowed on purpose, on a machine that need not be quiet."""
import json
import os
import shutil
import subprocess
import tempfile
import unittest

import context  # noqa: F401
import proc
import qbatch
from fixture import GIB, run_tests

TOOL = qbatch.absolute(qbatch.TOOL)
BUILD = os.path.dirname(TOOL)
BENCH = os.path.join(BUILD, "qbatch-bench")
SLOW = os.path.join(BUILD, "tests", "slow_qbatch")
SCRIPTS = os.path.abspath(os.path.join(os.path.dirname(__file__), os.pardir, os.pardir, "scripts"))


def why_not_counted():
    """Sanitizers and valgrind do not get along."""
    if not shutil.which("valgrind"):
        return "valgrind is not installed"
    return "" if proc.run(["valgrind", "-q", "--tool=none", TOOL, "--version"]).code == 0 else "valgrind cannot run this build"


NO_COUNTS = why_not_counted()
NO_PLOTS = "" if shutil.which("gnuplot") else "gnuplot is not installed"


class Measured(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="qbatch-test-bench-gate.", dir="/var/tmp")
        self.addCleanup(shutil.rmtree, self.dir, ignore_errors=True)

    def gate(self, ours, theirs, *argv):
        return proc.run([BENCH, "one", "--qbatch", ours, "--vs", theirs, "--compare", "other", "--dir", self.dir, *argv])


class Gate(Measured):
    @unittest.skipIf(NO_COUNTS, NO_COUNTS)
    def test_the_same_build_twice_passes_by_its_instructions(self):
        """Four pairs decide nothing at this level, whatever they are.  Threads that wait for each other look
        at their locks more or less often: counts are alike, not equal."""
        result = self.gate(TOOL, TOOL, "--instructions", "--runs", "2", "--until-decided", "4")
        self.assertEqual(result.code, 0, result.out + result.err)
        self.assertRegex(result.out, r"4 pairs.*undecided; instructions (0\.9[5-9]|1\.0[0-4])\d+  same")

    @unittest.skipIf(NO_COUNTS, NO_COUNTS)
    def test_a_slowed_build_fails_by_its_instructions(self):
        result = self.gate(SLOW, TOOL, "--instructions", "--runs", "2")
        self.assertEqual(result.code, 5, result.out + result.err)
        self.assertRegex(result.out, r"instructions [2-9]\.\d+  SLOWER")
        result = self.gate(TOOL, SLOW, "--instructions", "--runs", "2")
        self.assertEqual(result.code, 0, result.out + result.err)
        self.assertRegex(result.out, r"instructions 0\.\d+  faster")

    def test_a_slowed_build_fails_by_its_time_and_the_other_way_round_passes(self):
        """It waits for longer than the other build takes; one pair in ten may show anything."""
        result = self.gate(SLOW, TOOL, "--runs", "11", "--until-decided", "60")
        self.assertEqual(result.code, 5, result.out + result.err)
        result = self.gate(TOOL, SLOW, "--runs", "11", "--until-decided", "60")
        self.assertEqual(result.code, 0, result.out + result.err)

    def test_the_same_build_twice_is_not_called_slower(self):
        """Both sides of a pair come from one distribution, so noise fails one test in 100,000."""
        result = self.gate(TOOL, TOOL, "--runs", "20", "--until-decided", "30", "--chance", "0.00001")
        self.assertIn(result.code, (0, 6), result.out + result.err)
        self.assertNotIn("SLOWER", result.out)

    def test_two_pairs_decide_nothing_and_the_exit_code_says_so(self):
        result = self.gate(TOOL, TOOL, "--runs", "2")
        self.assertEqual(result.code, 6, result.out + result.err)
        self.assertRegex(result.out, r"2 pairs.*undecided\n")

    def test_pairs_are_added_until_it_is_decided(self):
        def pairs(*argv):
            path = os.path.join(tempfile.mkdtemp(dir=self.dir), "results.json")
            self.gate(SLOW, TOOL, *argv, "--export-json", path)
            with open(path, encoding="utf-8") as f:
                return [(r["contender"], len(r["times"]), len(r.get("ratios", r["times"]))) for r in json.load(f)["results"]]

        self.assertEqual(pairs("--runs", "2", "--until-decided", "5"), [("qbatch", 5, 5), ("other", 5, 5)])
        self.assertEqual(pairs("--runs", "3", "--until-decided", "3"), [("qbatch", 3, 3), ("other", 3, 3)])
        self.assertLess(pairs("--runs", "12", "--until-decided", "60")[0][1], 60)

    def test_without_valgrind_counting_is_skipped_by_name(self):
        done = subprocess.run([BENCH, "one", "--instructions", "--runs", "1", "--dir", self.dir], capture_output=True,
                              text=True, env={"PATH": "/nonexistent"}, check=False)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertIn("skipped: instructions: valgrind is not installed", done.stderr)
        self.assertNotIn("instructions", done.stdout)


class Script(Measured):
    """scripts/bench-ci, with the slowed build as this one."""

    def build_of(self, tool):
        """A folder as of a build, with this qbatch."""
        folder = tempfile.mkdtemp(dir=self.dir)
        shutil.copy(BENCH, os.path.join(folder, "qbatch-bench"))
        shutil.copy(tool, os.path.join(folder, "qbatch"))
        return folder

    def run_script(self, tool, line, *argv):
        suite = os.path.join(self.dir, "suite")
        with open(suite, "w", encoding="utf-8") as f:
            f.write(line + "\n")
        self.history, self.results = os.path.join(self.dir, "history"), os.path.join(self.dir, "results")
        settings = {"BENCH_BUILD": self.build_of(tool), "BENCH_SUITE": suite, "BENCH_RESULTS": self.results,
                    "BENCH_HISTORY": self.history, "BENCH_PAIRS": "40", "TMPDIR": self.dir}
        done = subprocess.run([os.path.join(SCRIPTS, "bench-ci"), *argv], capture_output=True, text=True,
                              env={**os.environ, **settings}, check=False)
        return done.returncode, done.stdout + done.stderr

    def lines(self):
        with open(self.history, encoding="utf-8") as f:
            return [json.loads(line) for line in f]

    def test_a_slowed_build_fails_the_gate_and_each_run_is_added_to_the_history(self):
        code, said = self.run_script(SLOW, "one --runs 11", "--against", TOOL)
        self.assertEqual(code, 5, said)
        self.assertIn("SLOWER", said)
        code, said = self.run_script(TOOL, "one --runs 2 --vs limit")
        self.assertEqual(code, 0, said)
        first, second = self.lines()
        self.assertEqual((first["title"], second["title"]), ("one size=1G", "one size=1G"))
        self.assertGreater(second["limit"], 0)
        self.assertNotIn("limit", first)

    @unittest.skipIf(NO_COUNTS, NO_COUNTS)
    def test_the_same_build_passes_the_gate(self):
        code, said = self.run_script(TOOL, "one --runs 4 --until-decided 4 --instructions", "--against", TOOL)
        self.assertEqual(code, 0, said)
        self.assertGreater(self.lines()[0]["instructions"], 100000)


class Plots(Measured):
    def plot(self, *argv):
        return proc.run([os.path.join(SCRIPTS, "plot-bench"), *argv, "-o", self.dir])

    def results(self, case, points):
        """Results of qbatch: (parameters, seconds, memory) each."""
        path = os.path.join(self.dir, case + ".json")
        some = [{"title": f"{case} {p}", "case": case, "contender": "qbatch", "parameters": p, "times": [t], "median": t,
                 "min": t, "max": t, "clusters": 8, "images": p.get("images", 1), "memory_usage_byte": [m]}
                for p, t, m in points]
        with open(path, "w", encoding="utf-8") as f:
            json.dump({"results": some, "environment": {"cpu": "x", "cpus": 2, "filesystem": "ext4", "kernel": "Linux 6 x",
                                                        "qbatch": "qbatch 0", "qemu_img": ""}}, f)
        return path

    @unittest.skipIf(NO_PLOTS, NO_PLOTS)
    def test_slopes_of_straight_lines_are_printed(self):
        sizes = self.results("expand", [({"size": GIB << i}, 0.01 * 2 ** (i * 1.5), 1) for i in range(4)])
        result = self.plot(sizes)
        self.assertIn("expand-time: qbatch: slope 1.50, at the end 1.50\n", result.out)
        fleets = self.results("fleet", [({"images": n, "wave": 0, "jobs": 0}, n / 1e4, 5000 + n) for n in (10, 100, 1000, 10000)])
        result = self.plot(fleets)
        self.assertIn("fleet-time: qbatch: slope 1.00, at the end 1.00\n", result.out)
        self.assertRegex(result.out, r"fleet-memory: qbatch: slope 0\.\d+, at the end 0\.40\n")
        self.assertTrue(os.path.exists(os.path.join(self.dir, "fleet-memory.png")))

    @unittest.skipIf(NO_PLOTS, NO_PLOTS)
    def test_a_history_is_drawn_over_its_commits(self):
        path = os.path.join(self.dir, "history")
        with open(path, "w", encoding="utf-8") as f:
            for commit, limit, n in (("aaa1111", 0.5, 1000), ("bbb2222", 0.6, 900), ("bbb2222", 0.75, 800)):
                f.write(json.dumps({"commit": commit, "title": "one size=1G", "limit": limit, "instructions": n}) + "\n")
        result = self.plot("--history", path)
        self.assertEqual(result.code, 0, result.err)
        for name in ("history-limit", "history-instructions"):
            with open(os.path.join(self.dir, name + ".svg"), encoding="utf-8") as f:
                drawn = f.read()
            self.assertIn("aaa1111", drawn)
            self.assertIn("one size=1G", drawn)
        self.assertEqual(self.plot().code, 2)


if __name__ == "__main__":
    if not os.access(BENCH, os.X_OK):
        raise SystemExit("qbatch-bench is not built")
    run_tests()
