"""How long an image becomes: the end that reports tell, and the growth that a policy allows."""
import json
import os

import context  # noqa: F401
import proc
import qbatch
from fixture import KIB, MIB, ImageTest, main


def qemu_end(image):
    """The end of the last cluster in use, as `qemu-img check` has it."""
    done = proc.run(["qemu-img", "check", "--output=json", image])  # with an undo there are leaks
    return json.loads(done.out)["image-end-offset"]


class End(ImageTest):
    def overlay(self, name="a.qcow2"):
        self.raw("base.raw", "4M", "write -q -P 9 0 4M")
        image = self.create(name, size="4M", backing="base.raw", backing_fmt="raw")
        self.io(image, "write -q -P 1 0 512k", "write -q -z -u 1M 1M")
        return image

    def test_the_end_of_an_amended_image_is_where_qemu_sees_it(self):
        for keys in ({"compat": "0.10"}, {"compat": "0.10", "zero_clusters": "share"},
                     {"refcount_bits": 64}, {"refcount_bits": 64, "keep_undo": "on"}):
            with self.subTest(keys):
                image = self.overlay()
                planned = qbatch.amend(image, flags=["--dry-run"], **keys).first
                record = self.amended(image, **keys)
                self.assertEqual(record["image_end_offset"], planned["image_end_offset"])
                self.assertEqual(record["image_end_offset"], qemu_end(image))

    def test_an_end_that_nothing_moves_is_told_if_it_was_looked_for(self):
        image = self.overlay()
        self.assertIsNone(self.amended(image, lazy_refcounts="on")["image_end_offset"])
        record = self.amended(image, status="unchanged", repair="all")
        self.assertEqual(record["image_end_offset"], qemu_end(image))
        self.assertLess(record["image_end_offset"], os.path.getsize(image) + 1)


class MaxGrowth(ImageTest):
    def run_with(self, most, *flags, path="a.qcow2", keys="refcount_bits: 64"):
        """The run's answer, and that of an image that failed is untouched."""
        sha, stat = proc.sha256(self.path(path)), os.stat(self.path(path))
        answer = self.run_manifest(f"""
            version: 1
            policy: {{max_growth: {most}}}
            images: [{{path: {path}, {keys}}}]
            """, *flags)
        if answer.status != "changed":
            self.assert_untouched(self.path(path), sha, stat)
        return answer

    def image(self):
        image = self.create(size="4M")
        self.io(image, "write -q -P 1 0 512k")
        return image

    def growth(self, keys="refcount_bits: 64"):
        """What the amend makes the file longer."""
        before = os.path.getsize(self.path("a.qcow2"))
        copy = self.copy(self.path("a.qcow2"), "copy.qcow2")
        self.assertEqual(self.run_with("1E", path="copy.qcow2", keys=keys).code, 0)
        return os.path.getsize(copy) - before

    def assert_allows(self, growth, **keys):
        """Exactly so much, in a dry run and without."""
        for flags in (["--dry-run"], []):
            answer = self.run_with(growth - 1, *flags, **keys)
            self.assertEqual((answer.code, answer.error), (1, "no_space"), str(answer))
            self.assertIn("policy.max_growth", answer.first["error"]["message"])
            self.assertEqual(answer.first["space"]["file_size_after_bytes"],
                             answer.first["space"]["file_size_before_bytes"])
        for flags, status in (["--dry-run"], "would_change"), ([], "changed"):
            answer = self.run_with(growth, *flags, **keys)
            self.assertEqual((answer.code, answer.status), (0, status), str(answer))

    def test_the_last_byte_counts(self):
        self.image()
        growth = self.growth()
        self.assertGreater(growth, 64 * KIB)
        self.assert_allows(growth)
        self.assert_sound(self.path("a.qcow2"))

    def test_holes_count_like_data(self):
        self.image()
        keys = "preallocation: metadata"
        growth = self.growth(keys)
        self.assertGreater(growth, 3 * MIB)
        self.assert_allows(growth, keys=keys)

    def test_none_allows_what_makes_no_file_longer(self):
        self.image()
        self.create("new.qcow2")  # which does not end with a cluster
        for path in ("a.qcow2", "new.qcow2"):
            answer = self.run_with(0, keys="lazy_refcounts: on", path=path)
            self.assertEqual((answer.code, answer.status), (0, "changed"), str(answer))
            self.assertEqual(self.run_with(0, path=path).error, "no_space")

    def test_a_data_file_counts_as_well(self):
        self.create(size="4M", data_file=self.path("data.raw"))
        answer = self.run_with(3 * MIB - 1, keys="size: 7M")
        self.assertEqual(answer.error, "no_space", str(answer))
        self.assertEqual(os.path.getsize(self.path("data.raw")), 4 * MIB)
        answer = self.run_with(3 * MIB, keys="size: 7M")
        self.assertEqual(answer.status, "changed", str(answer))
        self.assertEqual(os.path.getsize(self.path("data.raw")), 7 * MIB)

    def test_other_images_of_the_run_go_on(self):
        self.image()
        self.create("b.qcow2", size="4M")
        answer = self.run_manifest("""
            version: 1
            policy: {max_growth: 3M}
            images: [{path: a.qcow2, preallocation: metadata}, {path: b.qcow2, refcount_bits: 64}]
            """)
        self.assertEqual([r["status"] for r in answer.records], ["failed", "changed"], str(answer))


if __name__ == "__main__":
    main()
