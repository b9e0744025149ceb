"""Limits and foresight: max_failed, min_free, priorities, rates, what a dry run tells of space."""
import os
import time
import re
import shutil
import subprocess
import unittest

import context  # noqa: F401
import proc
import qbatch
import strace
from fixture import MIB, ImageTest, main


class Limits(ImageTest):
    def fleet(self, n, broken=()):
        first = self.create("first.qcow2", size="64M")
        self.io(first, "write -q -P 1 0 1M", "write -q -z 8M 8M")
        for i in range(n):
            image = self.path(f"{i:03}.qcow2")
            if i in broken:
                with open(image, "wb") as f:
                    f.write(b"no image")
            else:
                shutil.copyfile(first, image)
        os.unlink(first)

    def run_with(self, head, *flags, code=0, keys='compat: "0.10"'):
        answer = qbatch.qbatch("--json", *flags, self.manifest(f"""
            version: 1
            {head}
            images: [{{path: "*.qcow2", {keys}}}]
            """))
        self.assertEqual(answer.code, code, str(answer))
        return answer

    def outcome(self, answer):
        return {status: sum(r["status"] == status for r in answer.records)
                for status in ("failed", "changed", "skipped")}

    def test_with_one_failure_too_many_no_more_is_started(self):
        """With one worker the order is the manifest's: exactly that many fail."""
        head = "limits: {jobs: 1}\n            policy: {max_failed: %s}"
        for most, failed in (("0", 1), ("3", 4), ("11", 12), ("10%", 5), ("9%", 4), ("29%", 12)):
            with self.subTest(most):
                self.fleet(40, broken=range(0, 12))
                sha = proc.sha256(self.path("039.qcow2"))
                answer = self.run_with(head % most, "--no-state", code=1)
                self.assertEqual(self.outcome(answer),
                                 {"failed": failed, "changed": 0, "skipped": 40 - failed})
                for record in answer.records[failed:]:
                    self.assertEqual(record["error"]["code"], "cancelled")
                    self.assertIn("max_failed", record["error"]["message"])
                self.assertEqual(proc.sha256(self.path("039.qcow2")), sha)

    def test_as_many_failures_as_allowed_stop_nothing(self):
        head = "limits: {jobs: 1}\n            policy: {max_failed: %s}"
        for most in ("12", "30%", "100%", "40"):
            with self.subTest(most):
                self.fleet(40, broken=range(0, 12))
                answer = self.run_with(head % most, "--no-state", code=1)
                self.assertEqual(self.outcome(answer), {"failed": 12, "changed": 28, "skipped": 0})

    def test_failures_stop_what_is_untouched_wherever_they_come(self):
        """In the same wave, after images that were opened, and while others are written."""
        for policy in ("max_failed: 0", "on_error: stop"):
            for jobs in (1, 2):
                with self.subTest((policy, jobs)):
                    self.fleet(20, broken=[19])
                    answer = self.run_with(f"limits: {{jobs: {jobs}}}\n            policy: {{{policy}}}",
                                           "--no-state", code=1)
                    self.assertEqual(self.outcome(answer), {"failed": 1, "changed": 0, "skipped": 19})
                    self.assertIn(policy.split(":")[0], answer.records[0]["error"]["message"])

    def test_one_image_at_a_time(self):
        """Each is amended and verified before the next is opened: none is touched after a failure."""
        self.fleet(8, broken=[3])
        head = "limits: {wave: %d}\n            policy: {on_error: stop}"
        answer = self.run_with(head % 1, "--no-state", code=1, keys="refcount_bits: 64")
        self.assertEqual([r["status"] for r in answer.records], ["changed"] * 3 + ["failed"] + ["skipped"] * 4)
        self.assertEqual([r["wave"] for r in answer.records[:4]], [1, 2, 3, 4])
        times = [(r["started_seconds"], r["started_seconds"] + r["seconds"]) for r in answer.records[:3]]
        for (_, before), (after, _) in zip(times, times[1:]):
            self.assertLessEqual(before, after + 1e-6)

    def test_no_more_images_are_under_way_than_are_allowed(self):
        for most in (2, 5):
            self.fleet(12)
            answer = self.run_with(f"limits: {{wave: {most}}}", "--no-state", keys="refcount_bits: 64")
            waves = [r["wave"] for r in answer.records]
            self.assertLessEqual(max(waves.count(w) for w in waves), most)
            self.assertGreater(len(set(waves)), 12 // most - 1)

    def windowed(self, first, last, *flags, code):
        """The run in a window of these many minutes from now on."""
        at = [time.strftime("%H:%M", time.localtime(time.time() + 60 * m)) for m in (first, last)]
        self.fleet(2)
        return self.run_with(f'limits: {{window: "{at[0]}-{at[1]}"}}', "--no-state", *flags, code=code)

    def test_in_its_window_a_run_starts_and_outside_of_it_waits(self):
        answer = self.windowed(-90, 90, code=0)
        self.assertEqual(self.outcome(answer), {"failed": 0, "changed": 2, "skipped": 0})
        answer = self.windowed(90, 180, "--deadline", "1", code=75)
        self.assertEqual({r["status"] for r in answer.records}, {"interrupted"})
        self.assertIn("outside of limits.window", answer.result.err)
        self.assertEqual(answer.result.err.count("waiting"), 1)
        self.windowed(90, 180, "--dry-run", code=0)

    def test_what_was_not_started_is_done_by_the_next_run(self):
        self.fleet(6, broken=[0])
        head = "limits: {jobs: 1}\n            policy: {max_failed: 0}"
        state = ("--state", self.path("state"))
        self.run_with(head, *state, code=1, keys="size: +1M")
        self.fleet(1)  # the broken one is put right
        answer = self.run_with(head, "--resume", *state, keys="size: +1M")
        self.assertEqual([r["after"]["virtual_size_bytes"] for r in answer.records], [65 * MIB] * 6)

    def test_min_free_leaves_images_untouched(self):
        self.fleet(3)
        sha = proc.sha256(self.path("000.qcow2"))
        answer = self.run_with("policy: {min_free: 1E}", code=1)
        self.assertEqual({(r["status"], r["error"]["code"]) for r in answer.records},
                         {("failed", "no_space")})
        self.assertEqual(proc.sha256(self.path("000.qcow2")), sha)
        self.run_with("policy: {min_free: 1M}")

    @unittest.skipUnless(os.geteuid() == 0, "only root may mount file systems")
    def test_min_free_counts_each_file_system_for_itself(self):
        """Both are written at the same time, slowly; each fits its own file system, and no two of
        one do."""
        for name in ("one", "two"):
            os.mkdir(self.path(name))
            if proc.run(["mount", "-t", "tmpfs", "-o", "size=32m", "qbatch-test", self.path(name)]).code:
                self.skipTest("nothing may be mounted here")
            self.addCleanup(proc.run, ["umount", self.path(name)])
            self.raw(f"{name}/base.raw", "16M")
            image = self.create(f"{name}/a.qcow2", size="16M", backing="base.raw", backing_fmt="raw")
            self.io(image, "write -q -z 0 8M")
        text = self.manifest("""
            version: 1
            limits: {jobs: 2, rate: 16M}
            policy: {min_free: 18M}
            images: [{path: "*/a*.qcow2", compat: "0.10", zero_method: write}]
            """)
        pristine = [self.copy(self.path(f"{n}/a.qcow2"), f"{n}.qcow2") for n in ("one", "two")]
        answer = qbatch.qbatch("--json", text)
        self.assertEqual((answer.code, answer.summary["changed"]), (0, 2), str(answer))
        self.copy(pristine[0], "one/a.qcow2")
        self.copy(pristine[0], "one/a2.qcow2")
        answer = qbatch.qbatch("--json", text)
        self.assertEqual((answer.code, answer.summary["changed"], answer.summary["unchanged"]),
                         (1, 1, 1), str(answer))
        self.assertEqual(answer.summary["errors"], {"no_space": 1})
        fs = os.statvfs(self.path("one"))
        self.assertGreaterEqual(fs.f_bavail * fs.f_frsize, 18 * MIB)

    @unittest.skipUnless(strace.reads_memory(), strace.BLIND)
    def test_a_dry_run_writes_nothing(self):
        """Not to an image, and not to a file of its own either; no file is opened for it."""
        self.fleet(3)
        self.io(self.path("001.qcow2"), "write -q -P 1 0 1M")
        text = self.manifest("""
            version: 1
            policy: {min_free: 1M, verify: content}
            limits: {rate: 1M}
            graph: {scan: .}
            images:
            - path: "*.qcow2"
              compat: "0.10"
              keep_undo: on
            """)
        log = self.path("log")
        calls = ("write,pwrite64,writev,pwritev,pwritev2,ftruncate,truncate,fallocate,open,openat,openat2,"
                 "creat,mkdir,mkdirat,unlink,unlinkat,rename,renameat,renameat2,link,linkat,symlink,"
                 "fsync,fdatasync,sync_file_range,syncfs,msync,copy_file_range,sendfile,ioctl,utimensat")
        with open(self.path("out"), "w", encoding="utf-8") as out:
            answer = subprocess.run(
                ["strace", "-f", "-y", "-qq", "-o", log, "-e", f"trace={calls}",
                 qbatch.absolute(qbatch.TOOL), "--dry-run", "--json", "--io", "posix", text],
                cwd=self.folder, env=strace.environment(), stdout=out, stderr=subprocess.PIPE, check=False)
        self.assertEqual(answer.returncode, 0, answer.stderr)
        with open(log, encoding="utf-8") as f:
            lines = [line.split(None, 1)[1] for line in f if "(" in line]
        self.assertTrue(any("000.qcow2" in line for line in lines))
        reads = re.compile(r"(open(at)?\(.*O_RDONLY|openat2\(.*O_RDONLY|open(at)?\(.*O_PATH|"
                           r"write\([12][<,]|writev?\(\d+<(socket|UNIX)|"  # between the processes of the run
                           r"openat\([^,]*, \"/dev/null\"|"
                           r"ioctl\([^,]*, (TCGETS|BLKGETSIZE64|TIOCGWINSZ|FS_IOC_FIEMAP|BTRFS))")
        self.assertEqual([line for line in lines if not reads.match(line) and "resumed" not in line], [])
        self.assertFalse([line for line in lines if "O_CREAT" in line or "O_TMPFILE" in line])

    def test_a_dry_run_tells_what_the_file_systems_need(self):
        self.fleet(3)
        answer = self.run_with("policy: {min_free: 0}", "--dry-run")
        system, = answer.summary["filesystems"]
        self.assertEqual((system["images"], system["enough"]), (3, True))
        self.assertNotIn("rate_seconds", answer.summary)
        self.assertEqual(sorted(os.listdir(self.folder)), ["000.qcow2", "001.qcow2", "002.qcow2", "fleet.yaml"])
        per_image = answer.first["space"]["allocated_delta_bytes"]
        paced = self.run_with("limits: {rate: 1M}", "--dry-run")
        self.assertAlmostEqual(paced.summary["rate_seconds"], 3 * per_image / MIB, delta=0.01)
        self.assertEqual(system["needed_bytes"], 3 * per_image)
        before = {i: os.stat(self.path(f"{i:03}.qcow2")).st_blocks for i in range(3)}
        answer = self.run_with("policy: {min_free: 0}")
        for i, record in enumerate(answer.records):
            grown = (os.stat(self.path(f"{i:03}.qcow2")).st_blocks - before[i]) * 512
            self.assertLessEqual(grown, per_image)
        self.assertNotIn("filesystems", answer.summary)
        plain = proc.run([qbatch.absolute(qbatch.TOOL), "--dry-run", self.manifest("""
            version: 1
            policy: {min_free: 1E}
            images: [{path: "*.qcow2", compat: "1.1", refcount_bits: 64}]
            """)])
        self.assertRegex(plain.out, r"space on the file system of .*: 3 images need up to .*TOO LITTLE")

    def test_a_diff_shows_what_was_and_what_is(self):
        self.fleet(1)
        out = proc.must([qbatch.absolute(qbatch.TOOL), "amend", "--diff", "-o", "compat=0.10,size=80M",
                         self.path("000.qcow2")])
        lines = [line.strip() for line in out.splitlines()]
        self.assertEqual(lines[1:5], ["- compat: 1.1", "+ compat: 0.10", "- size: 64 MiB (67108864 bytes)",
                                      "+ size: 80 MiB (83886080 bytes)"])

    def test_priorities_are_set_or_refused(self):
        self.fleet(1)
        self.run_with("limits: {nice: 5, ionice: idle}")
        if os.path.exists("/proc/pressure/io"):
            self.run_with("limits: {load: 100}")
        for bad in (["--nice", "x"], ["--ionice", "fast"], ["--load", "200"]):
            self.assertEqual(qbatch.qbatch("amend", *bad, "-o", "compat=v3", self.path("000.qcow2")).code, 2)
        if strace.works():
            log = self.path("log")
            proc.must(["strace", "-f", "-o", log, "-e", "trace=setpriority,ioprio_set",
                       qbatch.absolute(qbatch.TOOL), "amend", "--nice", "7", "--ionice", "best-effort:6",
                       "-o", "compat=1.1", self.path("000.qcow2")], env=strace.environment())
            with open(log) as f:
                text = f.read()
            self.assertRegex(text, r"setpriority\(PRIO_PROCESS, 0, 7\)\s+= 0")
            self.assertRegex(text, r"ioprio_set\(.*IOPRIO_CLASS_BE, 6\)\) = 0")

    def test_a_priority_that_may_not_be_had_ends_the_run_before_it_begins(self):
        self.fleet(1)
        if os.geteuid() != 0:
            self.run_with("limits: {nice: -5}", code=2)
            return
        os.chmod(self.folder, 0o755)  # root may raise its priority: ask as nobody
        tool = shutil.copy(qbatch.absolute(qbatch.TOOL), self.path("qbatch"))
        done = qbatch.qbatch("amend", "--json", "--nice", "-5", "-o", "compat=1.1", self.path("000.qcow2"),
                             tool=tool, cwd=self.folder, preexec=proc.become_nobody)
        self.assertEqual(done.code, 2, str(done))
        self.assertIn("nice", done.result.err)

    def test_a_rate_is_kept(self):
        """Not faster than that: how much slower depends on the machine."""
        self.raw("base.raw", "64M")
        image = self.create("000.qcow2", size="64M", backing="base.raw", backing_fmt="raw")
        self.io(image, "write -q -z 0 24M")
        answer = self.run_with("limits: {rate: 16M}", keys='compat: "0.10", zero_method: write')
        written = answer.summary["io"]["write_bytes"]
        self.assertGreater(written, 24 * MIB)
        self.assertGreater(answer.summary["seconds"], (written / (16 * MIB) - 0.2) * 0.95)
        self.assert_sound(image)

    def test_requests_are_limited_too(self):
        self.fleet(12)
        answer = self.run_with("limits: {iops: 200}")
        io = answer.summary["io"]
        self.assertGreater(answer.summary["seconds"], ((io["read_ops"] + io["write_ops"]) / 200 - 0.2) * 0.9)


if __name__ == "__main__":
    main()
