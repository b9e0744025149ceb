"""The Job for Kubernetes: held against the API's own description, and its shards run as its pods would run them."""
import copy
import json
import os
import re
import signal
import subprocess
import unittest

import context  # noqa: F401
import kubernetes_schema
import proc
import qbatch
from fixture import ImageTest, main

try:
    import yaml
except ImportError:
    yaml = None

FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../configs/kubernetes")
NO_API = kubernetes_schema.missing() or (None if yaml else "python3-yaml is not installed")


def objects(name):
    with open(os.path.join(FOLDER, name), encoding="utf-8") as f:
        return list(yaml.safe_load_all(f))


def job():
    return objects("job.yaml")[1]


@unittest.skipIf(NO_API, NO_API)
class Api(ImageTest):
    def test_what_is_in_the_files_is_what_the_api_takes(self):
        for name in ("job.yaml", "merge.yaml"):
            for thing in objects(name):
                self.assertEqual(kubernetes_schema.complaints(thing), [], name)

    def test_the_judge_sees_a_wrong_value_and_a_key_that_does_not_exist(self):
        wrong = copy.deepcopy(job())
        wrong["spec"]["podFailurePolicy"]["rules"][1]["action"] = "FailEverything"
        self.assertIn("rules/1/action", kubernetes_schema.complaints(wrong)[0])
        wrong = copy.deepcopy(job())
        wrong["spec"]["template"]["spec"]["containers"][0]["volumeMount"] = []
        self.assertEqual(kubernetes_schema.complaints(wrong), [".spec.template.spec.containers[0].volumeMount"])


@unittest.skipUnless(yaml, "python3-yaml is not installed")
class Files(ImageTest):
    def test_each_exit_code_has_its_consequence(self):
        found = {}
        for rule in job()["spec"]["podFailurePolicy"]["rules"]:
            for code in rule.get("onExitCodes", {}).get("values", []):
                self.assertNotIn(code, found)
                found[code] = rule["action"]
        shown = proc.must([qbatch.absolute(qbatch.TOOL), "--help"]).split("Exit codes:\n")[1].split("\n\n")[0]
        codes = {int(line.split()[0]) for line in shown.splitlines() if re.match(r"  \d", line)}
        self.assertEqual(codes - set(found), {0, 4, 75})  # 4: only of dry runs and questions
        self.assertEqual(found, {1: "FailIndex", 3: "FailIndex", 2: "FailJob", 5: "FailJob"})

    def test_its_manifest_is_right_and_the_numbers_agree(self):
        fleet, this = objects("job.yaml")
        self.create()
        done = qbatch.qbatch("lint", "-q", "-", stdin=fleet["data"]["fleet.yaml"].replace("/srv/vm", self.folder))
        self.assertEqual(done.code, 0, str(done))
        container = this["spec"]["template"]["spec"]["containers"][0]
        self.assertEqual(container["env"][0], {"name": "QBATCH_SHARDS", "value": str(this["spec"]["completions"])})
        volumes = {volume["name"] for volume in this["spec"]["template"]["spec"]["volumes"]}
        self.assertEqual({mount["name"] for mount in container["volumeMounts"]}, volumes)


class Shards(ImageTest):
    """Where the test has root: as a user without capabilities, who cannot gain any, as the securityContext says."""

    def setUp(self):
        super().setUp()
        self.fleet = [self.create(f"{n:02}.qcow2", compat="0.10") for n in range(8)]
        os.mkdir(self.path("run"))

    def start(self, index, shards=2):
        argv = [os.path.join(FOLDER, "shard"), self.path("fleet.yaml"), self.path("run/out")]
        if os.geteuid() == 0:
            for name in ["", "run", "fleet.yaml", *(os.path.basename(i) for i in self.fleet)]:
                os.chown(self.path(name), 107, 107)
            argv = ["setpriv", "--reuid=107", "--regid=107", "--clear-groups", "--no-new-privs", "--inh-caps=-all",
                    "--bounding-set=-all", "--", *argv]
        env = {"PATH": os.environ["PATH"], "HOME": "/", "QBATCH": qbatch.absolute(qbatch.TOOL), "TMPDIR": self.folder,
               "JOB_COMPLETION_INDEX": str(index), "QBATCH_SHARDS": str(shards)}
        return subprocess.Popen(argv, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def end(self, process):
        out, err = process.communicate(timeout=proc.TIMEOUT_SECONDS)
        return process.returncode, out + err

    def fleet_manifest(self, limits="{}"):
        self.manifest(f"""
            version: 1
            defaults: {{size: +1M}}
            limits: {limits}
            images: [{{path: "*.qcow2"}}]
            """)

    def sizes(self):
        return [json.loads(proc.must(["qemu-img", "info", "--output=json", i]))["virtual-size"] >> 20 for i in self.fleet]

    def reports(self):
        return qbatch.qbatch("report", "merge", self.path("run/out/shard-1.ndjson"), self.path("run/out/shard-2.ndjson"))

    def test_each_image_is_in_one_shard(self):
        self.fleet_manifest()
        for index in (0, 1):
            self.assertEqual(self.end(self.start(index))[0], 0)
        self.assertEqual(self.sizes(), [2] * 8)
        merged = self.reports()
        self.assertEqual((merged.code, merged.summary["images"], merged.summary["changed"]), (0, 8, 8))

    def test_a_pod_that_is_drained_is_resumed_by_the_next_one(self):
        self.fleet_manifest("{wave: 1, iops: 10}")
        pod = self.start(0, shards=1)
        before = self.mtimes()
        while self.mtimes() == before:
            self.assertIsNone(pod.poll())
        pod.send_signal(signal.SIGTERM)
        code, said = self.end(pod)
        self.assertEqual(code, 75, said)
        self.assertIn(1, self.sizes())
        self.assertIn(2, self.sizes())
        code, said = self.end(self.start(0, shards=1))
        self.assertEqual((code, self.sizes()), (0, [2] * 8), said)

    def mtimes(self):
        return [os.stat(image).st_mtime_ns for image in self.fleet]

    def test_a_mistake_ends_the_job(self):
        self.manifest("version: 1\nimages: [{path: '*.qcow2', compatible: 1}]\n")
        code, said = self.end(self.start(0))
        self.assertEqual(code, 2)
        self.assertIn("compatible", said)


if __name__ == "__main__":
    main()
