"""A process dies of a header that is read in advance: to find which images are based on others, or to divide a fleet."""
import json
import os
import signal
import subprocess
import time
import unittest

import context  # noqa: F401
import family
import proc
import qbatch
from fixture import MIB, OTHER_BUILD, ImageTest, main

MEDDLER = os.environ.get("MEDDLER", "")
SANITIZED = bool(os.environ.get("QBATCH_SANITIZED"))
N = 40
TENANT, OTHER, NOBODY = 54321, 54322, 65534  # the last one has an entry in the user database


@unittest.skipIf(SANITIZED or not os.path.exists(MEDDLER), OTHER_BUILD)
class Deadly(ImageTest):
    """The deadly image has another length than the others."""

    def setUp(self):
        super().setUp()
        first = self.create("00.qcow2", size="4M", cluster_size=4096)
        self.io(first, "write -q -P 7 1M 64k")
        self.images = [first] + [self.copy(first, f"{i:02}.qcow2") for i in range(1, N)]
        for i in (4, 9):
            os.truncate(self.images[i], MIB + 512)

    deadly = "read"

    def run_with(self, *argv):
        run = subprocess.Popen([qbatch.absolute(qbatch.TOOL), *argv], text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               env={**os.environ, "LD_PRELOAD": MEDDLER, "MEDDLE_DEADLY": self.deadly,
                                    "MEDDLE_SIZE": str(MIB + 512)})
        out, err = run.communicate(timeout=proc.TIMEOUT_SECONDS)
        return run.returncode, out, err

    def amend(self, text, *argv):
        code, out, err = self.run_with("--json", "--io", "posix", "--state", self.path("state"), *argv, self.manifest(text))
        *records, summary = (json.loads(line) for line in out.splitlines())
        return code, {os.path.basename(r["path"]): r for r in records}, summary, err

    def codes(self, records):
        return {name: r["error"]["code"] for name, r in records.items() if r["error"]}

    SHRINK = """
        version: 1
        policy: {allow_shrink: on}
        images:
          - {path: "*.qcow2", size: 8M, exclude: ["19.qcow2"]}
          - {path: "19.qcow2", size: 2M}
        """

    def test_a_run_that_may_shrink_amends_the_others(self):
        sha = [proc.sha256(self.images[i]) for i in (4, 9)]
        code, records, summary, err = self.amend(self.SHRINK)
        self.assertEqual(code, 1, err)
        # 19 is not made smaller: what the two name as their backing file is not known, and root could read all
        self.assertEqual(self.codes(records), {"04.qcow2": "crashed", "09.qcow2": "crashed", "19.qcow2": "refused"})
        self.assertRegex(records["04.qcow2"]["error"]["message"],
                         "^the process that read its header was ended by signal 9 .*; the image is as it was$")
        self.assertEqual((summary["changed"], summary["failed"]), (N - 3, 3))
        self.assertEqual([proc.sha256(self.images[i]) for i in (4, 9)], sha)
        self.assertLessEqual(err.count("the process that works on the images was ended"), 7, err)
        for i in set(range(N)) - {4, 9}:
            self.assert_sound(self.images[i])

    def test_what_nobody_can_read_holds_back_what_its_owner_could_read(self):
        """Of the two nothing is known but whose they are.  19 belongs to root."""
        if os.geteuid():
            self.skipTest("takes root")
        victim = self.images[19]
        for policy, owner, group, mode, held in (("on", OTHER, OTHER, 0o640, False), ("on", 0, OTHER, 0o600, True),
                                                 ("on", NOBODY, OTHER, 0o640, False), ("on", NOBODY, TENANT, 0o640, True),
                                                 ("on", OTHER, OTHER, 0o644, True), ("off", OTHER, OTHER, 0o600, True)):
            with self.subTest(policy=policy, owner=owner, group=group, mode=oct(mode)):
                os.chown(victim, 0, TENANT)
                os.chmod(victim, mode)
                os.chown(self.images[4], OTHER, OTHER)
                os.chown(self.images[9], owner, group)
                code, records, _, err = self.amend(self.SHRINK.replace("allow_shrink: on", f"allow_shrink: on, owner_must_read: {policy}"),
                                                   "--dry-run")
                self.assertEqual(records["19.qcow2"]["status"], "failed" if held else "would_change", (records["19.qcow2"], err))
                if held:
                    self.assertRegex(records["19.qcow2"]["error"]["message"],
                                     r"refusing to shrink: .*/0[49]\.qcow2 may use this image .*cannot be read \(an `exclude`")

    def test_a_glimpse_tells_what_it_is_based_on(self):
        """Two processes die of the header, and none of the name of its backing file."""
        self.deadly = "header"
        overlay = self.images[4]
        os.truncate(overlay, os.path.getsize(self.images[0]))
        proc.must(["qemu-img", "rebase", "-u", "-F", "qcow2", "-b", self.images[19], overlay])
        os.truncate(overlay, MIB + 512)
        code, records, _, err = self.amend(self.SHRINK.replace('"19.qcow2"', '"19.qcow2", "20.qcow2"').replace("path: \"19", "path: [\"19")
                                           .replace('0.qcow2", size: 2M', '0.qcow2"], size: 2M'))
        self.assertEqual(code, 1, err)
        self.assertEqual(self.codes(records), {"04.qcow2": "crashed", "09.qcow2": "crashed", "19.qcow2": "refused"}, err)
        self.assertIn("would change what its overlays read", records["19.qcow2"]["error"]["message"])
        self.assert_sound(self.images[20])

    def test_so_it_is_with_a_backing_file(self):
        base = self.images[9]
        os.truncate(self.images[4], os.path.getsize(self.images[0]))
        overlay = self.create("over.qcow2", size="4M")
        proc.must(["qemu-img", "rebase", "-u", "-F", "qcow2", "-b", base, overlay])
        code, records, _, err = self.amend(self.SHRINK.replace("size: 8M, exclude: [", 'lazy_refcounts: on, exclude: ["09.qcow2", '))
        self.assertEqual(code, 1, err)
        self.assertEqual(self.codes(records), {"19.qcow2": "refused"}, err)

    def test_a_rollout_has_it_in_its_step(self):
        code, records, summary, err = self.amend("""
            version: 1
            rollout: {steps: [6, 12], order: manifest, gate: {max_failed: 2}}
            images: [{path: "*.qcow2", lazy_refcounts: on}]
            """)
        self.assertEqual((code, self.codes(records)), (1, {"04.qcow2": "crashed", "09.qcow2": "crashed"}), err)
        self.assertEqual(summary["changed"], N - 2)

    def test_a_graph_shows_the_others(self):
        manifest = self.manifest('version: 1\nimages: [{path: "*.qcow2", lazy_refcounts: on}]\n')
        code, out, err = self.run_with("graph", "--format", "json", manifest)
        self.assertEqual(code, 1, err)
        graph = json.loads(out)
        self.assertEqual(len(graph["nodes"]), N)
        self.assertEqual([os.path.basename(node["path"]) for node in graph["nodes"] if node["format"] != "qcow2"],
                         ["04.qcow2", "09.qcow2"])
        self.assertLessEqual(err.count("the process that reads the images' headers was ended"), 7, err)

    def test_a_chain_of_an_entry(self):
        code, records, summary, err = self.amend("""
            version: 1
            images:
              - {chain: 04.qcow2, lazy_refcounts: on}
              - {path: "[1-3]*.qcow2", lazy_refcounts: on}
            """)
        self.assertEqual((code, self.codes(records)), (1, {"04.qcow2": "crashed"}), err)
        self.assertRegex(records["04.qcow2"]["error"]["message"], "^two processes that read its backing chain have ended")
        self.assertEqual(summary["changed"], N - 10)

    def test_a_fleet_is_divided(self):
        seen = {}
        for shard in ("1/2", "2/2"):
            _, records, _, err = self.amend('version: 1\nimages: [{path: "*.qcow2", lazy_refcounts: on}]\n', "--shard", shard)
            self.assertFalse(set(records) & set(seen), err)
            seen.update(records)
        self.assertEqual(len(seen), N)
        self.assertEqual(self.codes(seen), {"04.qcow2": "crashed", "09.qcow2": "crashed"})


class Killed(ImageTest):
    def test_an_interrupt_ends_a_graph_that_is_stopped(self):
        first = self.create("000.qcow2", size="4M")
        for i in range(1, 400):
            self.copy(first, f"{i:03}.qcow2")
        manifest = self.manifest('version: 1\nimages: [{path: "*.qcow2", lazy_refcounts: on}]\n')
        run = subprocess.Popen([qbatch.absolute(qbatch.TOOL), "graph", manifest], text=True, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE)
        until = time.monotonic() + proc.TIMEOUT_SECONDS
        while not (reader := family.reader(run.pid)) and run.poll() is None and time.monotonic() < until:
            pass
        os.kill(reader, signal.SIGSTOP)
        run.send_signal(signal.SIGINT)
        _, err = run.communicate(timeout=proc.TIMEOUT_SECONDS)
        self.assertEqual(run.returncode, 75, err)
        while family.is_there(reader) and time.monotonic() < until:
            time.sleep(0.005)
        self.assertFalse(family.is_there(reader))


if __name__ == "__main__":
    main()
