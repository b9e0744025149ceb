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


if __name__ == "__main__":
    main()
