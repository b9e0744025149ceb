"""Storage that two hosts share, with locks that both see.  Without such locks: test_in_use."""
import json
import os
import subprocess
import unittest

import context  # noqa: F401
import hosts
import proc
from fixture import main

REASON = hosts.missing()


@unittest.skipIf(REASON, REASON)
class TwoHosts(hosts.SiteTest):
    """With one kernel, as on a file system whose locks reach every host."""
    COUNT = 2

    def setUp(self):
        super().setUp()
        self.images_there = [self.create(os.path.join(self.site.shared, f"{n:02}.qcow2"), compat="0.10") for n in range(24)]
        with open(os.path.join(self.site.shared, "fleet.yaml"), "w", encoding="utf-8") as f:
            f.write('version: 1\nlimits: {wave: 2, jobs: 1}\nimages: [{path: "*.qcow2", compat: "1.1"}]\n')

    def on(self, host, *argv):
        return subprocess.Popen([str(a) for a in self.site.inside(["ssh", "-F", self.site.ssh_config, host.name, *argv])],
                                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)

    @staticmethod
    def answer(process):
        out, _ = process.communicate(timeout=proc.TIMEOUT_SECONDS)
        lines = [json.loads(line) for line in out.splitlines()]
        return process.returncode, {line["path"]: line for line in lines if line["type"] == "image"}

    def test_each_image_is_amended_by_one_of_them(self):
        both = [self.on(host, "qbatch", "--json", "/srv/shared/fleet.yaml") for host in self.hosts]
        answers = [self.answer(process) for process in both]
        for image in self.images_there:
            told = [records[f"/srv/shared/{os.path.basename(image)}"] for _, records in answers]
            self.assertEqual(sorted(record["status"] for record in told)[0], "changed", told)
            other = [record for record in told if record["status"] != "changed"]
            self.assertEqual(len(other), 1, told)
            self.assertTrue(other[0]["status"] == "unchanged" or other[0]["error"]["code"] == "locked", told)
            self.assert_sound(image)

    def test_an_image_whose_guest_runs_on_the_other_host_is_locked(self):
        guest = self.on(self.hosts[1], "qemu-io", "-f", "qcow2", "/srv/shared/05.qcow2")
        guest.stdin.write("length\n")
        guest.stdin.flush()
        guest.stdout.readline()
        code, records = self.answer(self.on(self.hosts[0], "qbatch", "--json", "/srv/shared/fleet.yaml"))
        self.hosts[1].die()  # and its guest with it
        self.addCleanup(self.hosts[1].boot)
        guest.communicate()
        self.assertEqual((code, records["/srv/shared/05.qcow2"]["error"]["code"]), (3, "locked"))
        self.assertEqual(sum(record["status"] == "changed" for record in records.values()), 23)
        code, records = self.answer(self.on(self.hosts[0], "qbatch", "--json", "/srv/shared/fleet.yaml"))
        self.assertEqual((code, records["/srv/shared/05.qcow2"]["status"]), (0, "changed"))

    def test_a_run_that_one_host_works_on_is_not_taken_up_by_the_other(self):
        slow = ["qbatch", "--json", "--state", "/srv/shared/state", "--set", "size=+1M", "/srv/shared/slow.yaml"]
        with open(os.path.join(self.site.shared, "slow.yaml"), "w", encoding="utf-8") as f:
            f.write('version: 1\nlimits: {wave: 1, iops: 40}\nimages: [{path: "*.qcow2", compat: "1.1"}]\n')
        before = self.mtimes()
        first = self.on(self.hosts[0], *slow)
        while self.mtimes() == before:
            self.assertIsNone(first.poll())
        done = self.hosts[1].ssh("qbatch", "--resume", *slow[2:])
        self.assertEqual(done.code, 2, done.out + done.err)
        self.assertIn("another qbatch process", done.err)
        self.assertEqual(self.answer(first)[0], 0)
        for image in self.images_there:
            self.assertEqual(json.loads(proc.must(["qemu-img", "info", "--output=json", image]))["virtual-size"], 2 << 20)

    def mtimes(self):
        return [os.stat(image).st_mtime_ns for image in self.images_there]


if __name__ == "__main__":
    main()
