"""The script for Slurm: shards that are killed, stopped or lose their node are queued again, and finish."""
import json
import os
import shutil
import tempfile
import unittest

import context  # noqa: F401
import proc
import qbatch
import slurm
from fixture import ImageTest, main

SCRIPTS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../configs/slurm")
REASON = slurm.missing()
IMAGES = 16


@unittest.skipIf(REASON, REASON)
class TwoNodes(ImageTest):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.mkdtemp(prefix="qbatch-slurm-")
        cls.addClassCleanup(shutil.rmtree, folder, ignore_errors=True)
        cls.cluster = slurm.Cluster(folder)
        cls.addClassCleanup(cls.cluster.stop)

    def setUp(self):
        super().setUp()
        self.fleet = [self.create(f"{n:02}.qcow2", compat="0.10") for n in range(IMAGES)]
        self.out = self.path("out")

    def submit(self, keys='{compat: "1.1"}', limits="{wave: 1, iops: 8}"):
        manifest = self.manifest(f"""
            version: 1
            defaults: {keys}
            limits: {limits}
            images: [{{path: "*.qcow2"}}]
            """)
        out = self.cluster.must("sbatch", "--parsable", "--array=1-2", f"{SCRIPTS}/qbatch.sbatch", manifest, self.out,
                                QBATCH=qbatch.absolute(qbatch.TOOL))
        return out.strip().split(";")[0]

    def worker(self, task):
        """The qbatch of a shard that has amended something and not everything."""
        def found():
            for pid, environ in slurm.environments():
                if (environ.get("SLURM_ARRAY_TASK_ID") == str(task)
                        and environ.get("SLURM_CONF", "").startswith(self.cluster.folder)):
                    with open(f"/proc/{pid}/comm", encoding="utf-8") as f:
                        if f.read() == "qbatch\n":
                            return pid, environ["SLURMD_NODENAME"]
            return None
        mine = [r["path"] for r in qbatch.qbatch("info", "--json", "-U", "--shard", f"{task}/2", "--manifest",
                                                 self.path("fleet.yaml"), cwd=self.folder).records]
        mine = [os.path.join(self.folder, path) for path in mine]
        self.cluster.until(lambda: sum(self.amended_ones(mine)) > 1 and found(), "shard under way")
        self.assertIn(False, self.amended_ones(mine))
        return found()

    def amended_ones(self, images=None):
        found = []
        for image in images or self.fleet:
            with open(image, "rb") as f:
                found.append(f.read(8)[7] == 3)
        return found

    def finish(self, job):
        """All tasks have ended; their states."""
        def over():
            self.cluster.hurry(job)
            tasks = self.cluster.tasks(job)
            return tasks and all(state in ("COMPLETED", "FAILED", "CANCELLED") for state in tasks.values())
        self.cluster.until(over, "end of the job", 120)
        return self.cluster.tasks(job)

    def assert_all_once(self, job):
        self.assertEqual(self.finish(job), {"1": "COMPLETED", "2": "COMPLETED"}, self.cluster.logs())
        self.assertEqual(self.amended_ones(), [True] * IMAGES)
        for image in self.fleet:
            self.assert_sound(image)
        out = self.cluster.must("sbatch", "--parsable", f"--dependency=afterany:{job}", f"{SCRIPTS}/merge.sbatch",
                                self.out, QBATCH=qbatch.absolute(qbatch.TOOL))
        merging = out.strip()
        self.cluster.until(lambda: self.cluster.call("squeue", "-h", "-j", merging, "-t", "all", "-o", "%T").out.strip()
                           == "COMPLETED", "merged report")
        with open(f"{self.out}/fleet.ndjson", encoding="utf-8") as f:
            lines = [json.loads(line) for line in f]
        self.assertEqual(sorted(os.path.basename(line["path"]) for line in lines if line["type"] == "image"),
                         [os.path.basename(image) for image in self.fleet])
        self.assertEqual((lines[-1]["type"], lines[-1]["images"], lines[-1]["exit_code"]), ("summary", IMAGES, 0))
        self.assertEqual({part["shard"] for part in lines[-1]["parts"]}, {"1/2", "2/2"})
        return lines

    def restarts(self, job, task):
        out = self.cluster.must("scontrol", "show", "job", f"{job}_{task}")
        return int(out.split("Restarts=")[1].split()[0])

    def test_a_shard_that_is_killed_is_queued_again_and_finishes(self):
        job = self.submit()
        os.kill(self.worker(1)[0], 9)
        lines = self.assert_all_once(job)
        self.assertEqual((self.restarts(job, 1), self.restarts(job, 2)), (1, 0))
        self.assertIn(True, [line.get("resumed") for line in lines])

    def test_a_shard_whose_node_is_lost_finishes_on_the_other_one(self):
        job = self.submit()
        pid, node = self.worker(2)
        self.cluster.lose(node)
        self.cluster.until(lambda: not os.path.exists(f"/proc/{pid}"), "end of what ran on the node")
        self.assertIn(False, self.amended_ones())
        self.assert_all_once(job)
        self.assertEqual(self.restarts(job, 2), 1)
        self.cluster.daemon("slurmd", "-D", "-N", node, called=node)
        self.cluster.must("scontrol", "update", f"nodename={node}", "state=idle")
        self.cluster.until(lambda: self.cluster.idle() == 2, "two nodes")

    def test_a_shard_that_is_stopped_ends_with_75_and_adds_its_sizes_once(self):
        job = self.submit('{compat: "1.1", size: +1M}')
        self.worker(1)
        self.cluster.must("scancel", "--batch", "--signal=TERM", f"{job}_1")
        self.assert_all_once(job)
        self.assertEqual(self.restarts(job, 1), 1)
        for image in self.fleet:
            found = json.loads(proc.must(["qemu-img", "info", "--output=json", image]))
            self.assertEqual(found["virtual-size"], 2 << 20)


if __name__ == "__main__":
    main()
