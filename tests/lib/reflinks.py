"""Fleets on file systems that can clone files: XFS and btrfs, made in a file and mounted."""
import os
import shutil
import unittest

import proc
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
