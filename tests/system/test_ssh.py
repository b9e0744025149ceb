"""The documented lines for GNU parallel and ClusterShell, over ssh to four hosts."""
import os
import re
import shlex
import unittest

import context  # noqa: F401
import hosts
import qbatch
from fixture import main

REASON = hosts.missing(("parallel", "parallel"), ("clush", "clustershell"))
PAGE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../configs/ssh/README.md")


def documented(program, count):
    """The lines of the page that start this program, as words; what they call its files is replaced."""
    with open(PAGE, encoding="utf-8") as f:
        text = f.read().replace("\\\n", "")
    lines = re.findall(rf"^    ({program} .*)$", text, re.M)
    assert len(lines) == count, lines
    return lines


@unittest.skipIf(REASON, REASON)
class Lines(hosts.SiteTest):
    def run_line(self, line, **replaced):
        for old, new in replaced.items():
            self.assertIn(old, line)
            line = line.replace(old, new)
        with open(self.path("hosts"), "w", encoding="utf-8") as f:
            f.write("".join(f"{host.name}\n" for host in self.hosts))
        self.assertIsNone(re.search(r"[;&`]", line))
        return self.site.controller("bash", "-c", line, cwd=self.folder, env={
            **os.environ, "HOME": self.folder, "PARALLEL_SSH": f"ssh -F {self.site.ssh_config}"})

    def manifest_everywhere(self):
        for host in self.hosts:
            with open(os.path.join(host.vm, "fleet.yaml"), "w", encoding="utf-8") as f:
                f.write('version: 1\nimages: [{path: "/srv/vm/*.qcow2", compat: "1.1"}]\n')

    def versions(self, images):
        found = []
        for image in images:
            with open(image, "rb") as f:
                found.append(f.read(8)[7])
        return found

    def test_parallel_on_the_images_of_each_host(self):
        fleet = [image for host in self.hosts for image in self.images(host, 3, compat="0.10")]
        self.manifest_everywhere()
        line = documented("parallel", 2)[0]
        done = self.run_line(line, **{"/etc/qbatch/fleet.yaml": "/srv/vm/fleet.yaml"})
        self.assertEqual(done.code, 0, done.err)
        self.assertEqual(self.versions(fleet), [3] * 12)
        merged = qbatch.qbatch("report", "merge", self.path("fleet.ndjson"))
        self.assertEqual((merged.code, merged.summary["images"], merged.summary["changed"]), (0, 12, 12), str(merged))
        self.assertEqual({r["of"]["host"] for r in merged.records}, {host.name for host in self.hosts})

    def test_clustershell_on_the_images_of_each_host(self):
        fleet = [image for host in self.hosts for image in self.images(host, 3, compat="0.10")]
        self.manifest_everywhere()
        os.truncate(fleet[4], 40)
        line = documented("clush", 1)[0]
        line = line.replace("clush ", f"clush -o {shlex.quote('-F ' + self.site.ssh_config)} ")
        done = self.run_line(line, **{"storage[1-100]": "host[1-4]", "/etc/qbatch/fleet.yaml": "/srv/vm/fleet.yaml"})
        self.assertEqual(done.code, 1, done.out + done.err)
        self.assertIn("host2: ", done.out + done.err)
        self.assertEqual(self.versions(fleet[:4] + fleet[5:]), [3] * 11)

    def test_parallel_in_shards_and_a_host_that_is_gone(self):
        fleet = [self.create(os.path.join(self.site.shared, f"{n:02}.qcow2"), compat="0.10") for n in range(24)]
        with open(os.path.join(self.site.shared, "fleet.yaml"), "w", encoding="utf-8") as f:
            f.write('version: 1\nimages: [{path: "*.qcow2", compat: "1.1"}]\n')
        self.hosts[3].die()
        self.addCleanup(self.hosts[3].boot)
        line = documented("parallel", 2)[1]
        done = self.run_line(line, **{"seq 64": "seq 8", "{}/64": "{}/8"})
        self.assertEqual(done.code, 0, done.err)
        self.assertEqual(self.versions(fleet), [3] * 24)
        reports = [os.path.join(self.site.shared, f"shard-{k}.ndjson") for k in range(1, 9)]
        merged = qbatch.qbatch("report", "merge", *reports)
        self.assertEqual((merged.code, merged.summary["changed"]), (0, 24), str(merged))
        self.assertNotIn("host4", {r["of"]["host"] for r in merged.records})


if __name__ == "__main__":
    main()
