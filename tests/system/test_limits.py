"""Limits and foresight: max_failed, min_free, priorities, rates, what a dry run tells of space."""
import os
import shutil
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

    def test_with_too_many_failures_no_more_is_started(self):
        self.fleet(40, broken=range(0, 12))
        head = "limits: {memory: 1M, jobs: 1}\n            policy: {max_failed: %s}"
        answer = self.run_with(head % "3", code=1)
        skipped = [r for r in answer.records if r["status"] == "skipped"]
        self.assertEqual(len(answer.records), 40)
        for record in skipped:
            self.assertIn("max_failed", record["error"]["message"])
        answer = self.run_with(head % "50%", code=1)
        self.assertEqual({r["status"] for r in answer.records} - {"changed", "unchanged"}, {"failed"})

    def test_min_free_leaves_images_untouched(self):
        self.fleet(3)
        sha = proc.sha256(self.path("000.qcow2"))
        answer = self.run_with("policy: {min_free: 1E}", code=1)
        self.assertEqual({(r["status"], r["error"]["code"]) for r in answer.records},
                         {("failed", "no_space")})
        self.assertEqual(proc.sha256(self.path("000.qcow2")), sha)
        self.run_with("policy: {min_free: 1M}")

    def test_a_dry_run_tells_what_the_file_systems_need(self):
        self.fleet(3)
        answer = self.run_with("policy: {min_free: 0}", "--dry-run")
        system, = answer.summary["filesystems"]
        self.assertEqual((system["images"], system["enough"]), (3, True))
        self.assertGreater(answer.summary["expected_seconds"], answer.summary["seconds"])
        self.assertEqual(sorted(os.listdir(self.folder)), ["000.qcow2", "001.qcow2", "002.qcow2", "fleet.yaml"])
        per_image = answer.first["space"]["allocated_delta_bytes"]
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
        written = answer.summary["io"]["write_bytes"] + answer.summary["io"]["zeroed_bytes"]
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
