"""Fleets on file systems that can clone files: XFS and btrfs, made in a file and mounted."""
import json
import os
import shutil
import unittest
import zlib

import proc
import qbatch
from fixture import MIB, ImageTest


class BackupTest(ImageTest):
    def make_fleet(self, folder):
        self.there = folder
        first = self.create("a.qcow2", size="64M")
        self.io(first, "write -q -P 1 0 1M", "write -q -z 1M 4M")
        self.snapshot(first, "s")
        images = [os.path.join(folder, f"{i}.qcow2") for i in range(4)]
        for image in images:
            shutil.copyfile(first, image)
        self.fleet = self.manifest(f"""
            version: 1
            policy: {{backup: reflink}}
            images: [{{path: "{folder}/?.qcow2", compat: "0.10"}}]
            """)
        return images

    def backups(self):
        return sorted(os.path.join(self.there, n) for n in os.listdir(self.there) if n.endswith(".bak"))


@unittest.skipUnless(os.geteuid() == 0, "file systems can only be mounted by root")
class ReflinkTest(BackupTest):
    KINDS = {"xfs": ["mkfs.xfs", "-q", "-m", "reflink=1"], "btrfs": ["mkfs.btrfs", "-q"]}

    def on_each(self, test):
        tried = []
        for kind, mkfs in self.KINDS.items():
            disk, there = self.path(f"{kind}.disk"), self.path(kind)
            os.mkdir(there)
            with open(disk, "wb") as f:
                f.truncate(400 * MIB)
            if not shutil.which(mkfs[0]):
                self.leave_out(kind, f"{mkfs[0]} is not installed")
                continue
            proc.must([*mkfs, disk])
            done = proc.run(["mount", "-o", "loop", disk, there])
            if done.code:
                self.leave_out(kind, f"cannot be mounted here: {done.err.strip()}")
                continue
            try:
                with self.subTest(kind):
                    test(self.make_fleet(there))
            finally:
                proc.must(["umount", there])
            tried.append(kind)
        if not tried:
            self.skipTest("neither XFS nor btrfs can be made and mounted here")


class BackupCommand(ReflinkTest):
    """Each test amends the fleet with clones, on each file system, in a state directory of its own."""

    def on_each_amended(self, test):
        def amend_first(images):
            self.state = self.path(f"state-{os.path.basename(self.there)}")
            answer = qbatch.qbatch("--json", "--state", self.state, self.fleet)
            self.assertEqual(answer.code, 0, str(answer))
            self.run_id = answer.summary["run"]
            self.clones = [f"{image}.{self.run_id}.bak" for image in images]
            test(images)
        self.on_each(amend_first)

    def backup(self, *argv, code=0):
        """The lines of qbatch backup --json."""
        answer = qbatch.qbatch("backup", "--json", "--state", self.state, *argv)
        self.assertEqual(answer.code, code, str(answer))
        return [json.loads(line) for line in answer.result.out.splitlines()]

    def listed(self, *argv):
        return [(os.path.basename(line["at"]), line["state"], line["image"]) for line in self.backup("list", *argv)]

    def name(self, i):
        return os.path.basename(self.clones[i])

    def journal(self, change):
        """Rewrites each record of the journal."""
        path = os.path.join(self.state, f"{self.run_id}.journal")
        with open(path, "rb") as f:
            records = [json.loads(line[9:]) for line in f.read().splitlines()]
        with open(path, "wb") as f:
            for record in filter(None, map(change, records)):
                if record["is"] == "synced":
                    continue
                line = json.dumps(record).encode()
                f.write(b"%08x %s\n" % (zlib.crc32(line), line))
