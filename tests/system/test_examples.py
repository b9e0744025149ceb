"""configs/examples: each manifest is run on a fleet that it is meant for; all are what the schema says."""
import glob
import json
import os
import time

import context  # noqa: F401
import guest
import proc
import qbatch
from fixture import MIB, ImageTest, main

try:
    import jsonschema
    import yaml
except ImportError:
    jsonschema = yaml = None

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
EXAMPLES = sorted(glob.glob(os.path.join(ROOT, "configs", "examples", "*.yaml")))
TOOL = qbatch.absolute(qbatch.TOOL)


class Examples(ImageTest):
    def setUp(self):
        super().setUp()
        os.mkdir(self.path("vm"))
        os.mkdir(self.path("vm/deep"))
        self.raw("vm/base.raw", "2M", "write -q -P 1 0 2M")
        self.v2 = self.create("vm/v2.qcow2", size="2M", compat="0.10")
        self.v3 = self.create("vm/deep/v3.qcow2", size="2M", lazy_refcounts="on")
        self.io(self.v3, "write -q -P 2 0 1M", "write -q -z 64k 128k")
        self.snapshot(self.v3, "s")
        self.overlay = self.create("vm/overlay.qcow2", size="2M", backing=self.path("vm/base.raw"),
                                   backing_fmt="raw")
        self.io(self.overlay, "write -q -P 3 0 64k", "write -q -z 128k 64k")

    def run_example(self, name, replace=()):
        """Amended in place of /srv/vm; returns {file name: status}."""
        with open(os.path.join(ROOT, "configs", "examples", name + ".yaml"), encoding="utf-8") as f:
            text = f.read()
        self.assertIn("/srv/vm", text)
        for old, new in (("/srv/vm", self.path("vm")), *replace):
            text = text.replace(old, new)
        answer = qbatch.qbatch("--json", self.manifest(text))
        self.assertEqual(answer.code, 0, str(answer))
        if "keep_undo: on" in text:  # until it is given up, `qemu-img check` calls it leaked
            self.assertEqual(qbatch.qbatch("undo", "--discard-undo", "last").code, 0)
        for image in (self.v2, self.v3, self.overlay):
            self.assert_sound(image)
        return {os.path.basename(r["path"]): r["status"] for r in answer.records}

    def data(self, image):
        return guest.info(image)["format-specific"]["data"]

    def test_raw_to_qcow2(self):
        disk = self.raw("vm/deep/disk.img", "2M", "write -q -P 5 64k 1M")
        os.truncate(disk, (2 << 20) - 1000)
        self.assertEqual(self.run_example("raw-to-qcow2"), {"disk.img": "changed"})
        self.assert_sound(disk)
        self.assert_reads(disk, 64 << 10, 1 << 20, 5)
        self.assertEqual(guest.info(disk)["virtual-size"], (2 << 20) - 512)

    def test_v2_to_v3(self):
        told = self.run_example("v2-to-v3")
        self.assertEqual(told, {"v2.qcow2": "changed", "v3.qcow2": "skipped", "overlay.qcow2": "skipped"})
        self.assertEqual(self.data(self.v2)["compat"], "1.1")

    def test_in_steps(self):
        for i in range(12):
            self.create(f"vm/deep/i{i:02}.qcow2", compat="0.10")
        told = self.run_example("in-steps", [("  window: 22:00-05:00", "  # at any hour:")])
        self.assertEqual(sorted(told.values()), ["changed"] * 13 + ["unchanged"] * 2)

    def test_v3_to_v2(self):
        before = guest.read_all(self.v3), guest.read_all(self.overlay)
        told = self.run_example("v3-to-v2")
        self.assertEqual(told, {"v2.qcow2": "skipped", "v3.qcow2": "changed", "overlay.qcow2": "changed"})
        self.assertEqual(self.data(self.v3)["compat"], "0.10")
        self.assert_same_layers(before[0], guest.read_all(self.v3))
        self.assert_same_layers(before[1], guest.read_all(self.overlay))

    def test_moved_storage(self):
        self.amended(self.overlay, backing_file="/mnt/old-nfs/base.raw", backing_fmt="")
        told = self.run_example("moved-storage")
        self.assertEqual(told["overlay.qcow2"], "changed")
        info = guest.info(self.overlay)
        self.assertEqual((info["backing-filename"], info["backing-filename-format"]),
                         (self.path("vm/base.raw"), "raw"))
        guest.read_all(self.overlay)

    def test_missing_formats(self):
        self.amended(self.overlay, backing_fmt="")
        self.assertEqual(self.run_example("missing-formats")["overlay.qcow2"], "changed")
        self.assertEqual(guest.info(self.overlay)["backing-filename-format"], "raw")

    def test_lazy_refcounts_off(self):
        told = self.run_example("lazy-refcounts-off")
        self.assertEqual((told["v3.qcow2"], told["v2.qcow2"]), ("changed", "skipped"))
        self.assertFalse(self.data(self.v3)["lazy-refcounts"])

    def test_grow_all(self):
        self.amended(self.v2, compat="1.1")  # version 2 resizes no image with snapshots; this has none
        told = self.run_example("grow-all", replace=[] if os.path.exists("/proc/pressure/io")
                                else [("load: 40", "load: 0")])
        self.assertEqual(set(told.values()), {"changed"})
        for image in (self.v2, self.v3, self.overlay):
            self.assertEqual(guest.info(image)["virtual-size"], 200 * 1024 * MIB)

    def test_old_snapshots(self):
        """Names, ages, and how many stay; ages are counted from the second in which the run starts."""
        for name in ("auto-1", "auto-2", "auto-3", "before-update"):
            self.snapshot(self.v3, name)
        time.sleep(1.2)
        told = self.run_example("old-snapshots", [("older_than: 30d", "older_than: 0.1"),
                                                  ("keep_newest: 7", "keep_newest: 1")])
        self.assertEqual((told["v3.qcow2"], told["v2.qcow2"]), ("changed", "skipped"))
        self.assertEqual([s["name"] for s in guest.info(self.v3)["snapshots"]], ["s", "auto-3", "before-update"])

    def test_dead_bitmaps(self):
        for name in ("oldbackup-1", "oldbackup-2", "backup-a"):
            guest.qemu_img("bitmap", "--add", self.v3, name)
        told = self.run_example("dead-bitmaps")
        self.assertEqual((told["v3.qcow2"], told["v2.qcow2"]), ("changed", "skipped"))
        self.assertEqual([b["name"] for b in self.data(self.v3)["bitmaps"]], ["backup-a"])

    def test_give_back_space(self):
        with open(self.v3, "ab") as f:
            f.write(os.urandom(MIB))
        had = os.stat(self.v3).st_blocks
        self.assertEqual(self.run_example("give-back-space")["v3.qcow2"], "changed")
        self.assertLess(os.stat(self.v3).st_blocks, had)
        self.assert_sound(self.v3)

    def test_moved_data_file(self):
        old, new = self.path("vm/db01.raw"), self.path("vm/deep/db01.raw")
        image = self.create("vm/db01.qcow2", size="2M", data_file=old)
        self.io(image, "write -q -P 4 0 1M")
        before = guest.read_all(image)
        os.rename(old, new)
        self.assertEqual(self.run_example("moved-data-file", [("/mnt/fast", self.path("vm/deep"))]),
                         {"db01.qcow2": "changed"})
        self.assertEqual(self.data(image)["data-file"], new)
        self.assert_same_layers(before, guest.read_all(image))
        self.assert_sound(image)

    def test_every_example_has_a_test(self):
        names = {os.path.basename(path)[:-len(".yaml")].replace("-", "_") for path in EXAMPLES}
        self.assertEqual(names, {name[len("test_"):] for name in dir(self)
                                 if name.startswith("test_")} - {"every_example_has_a_test",
                                                                 "the_schema_takes_every_example"})

    def test_the_schema_takes_every_example(self):
        if not jsonschema:
            self.skipTest("python3-jsonschema and python3-yaml are not installed")
        schema = json.loads(proc.must([TOOL, "schema"]))
        jsonschema.Draft202012Validator.check_schema(schema)
        validator = jsonschema.Draft202012Validator(schema)
        for path in EXAMPLES + [os.path.join(ROOT, "configs", "demo.yaml")]:
            with open(path, encoding="utf-8") as f:
                document = yaml.safe_load(f)
            self.assertEqual([e.message for e in validator.iter_errors(document)], [], path)
        for wrong in ({"version": 1, "images": [{"path": "a", "when": {"comat": "v2"}, "size": "1G"}]},
                      {"version": 1, "images": [{"path": "a", "backing": {"fmt": "raw"}}]},
                      {"version": 1, "limits": {"nice": 20}, "images": [{"path": "a", "size": 1}]},
                      {"version": 1, "images": [{"size": "1G"}]}):
            self.assertFalse(validator.is_valid(wrong), wrong)


if __name__ == "__main__":
    main()
