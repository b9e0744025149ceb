"""Tests of persistent bitmaps, judged by `qemu-img bitmap` on a copy and by the bits that an NBD client sees."""
import bitmaps
import proc
import qbatch
from fixture import ImageTest


class BitmapTest(ImageTest):
    def image(self, *names, size="4M", **options):
        """With these bitmaps, each with a cluster more in it than the one after it."""
        image = self.create(size=size, **options)
        for i, name in enumerate(names):
            bitmaps.qemu(image, ["--add", name])
            self.io(image, f"write -q -P {i + 1} {i * 64}k 4k")
        return image

    def assert_same_bitmaps(self, image, judge):
        """Names, granularities, flags and bits are those of an image that QEMU made."""
        self.assertEqual(bitmaps.shown(image), bitmaps.shown(judge))
        self.assertEqual(bitmaps.all_dirty(image), bitmaps.all_dirty(judge))

    def assert_done_as_qemu(self, image, verbs, **options):
        """Amends the image, and has QEMU do the same with a copy."""
        judge = self.copy(image, "judge.qcow2")
        bitmaps.qemu(judge, *verbs)
        record = self.amended_keeping_content(image, **options)
        self.assert_same_bitmaps(image, judge)
        return record

    def undone(self, image, size=None, **options):
        sha = proc.sha256(image)
        answer = self.run_manifest(f"""
            version: 1
            images:
              - {{path: {image}, keep_undo: on, bitmaps: {options}{f", size: {size}" if size else ""}}}
            """)
        self.assertEqual(answer.status, "changed", str(answer))
        done = proc.run([qbatch.absolute(qbatch.TOOL), "undo", "last"], cwd=self.folder)
        self.assertEqual(done.code, 0, done.out + done.err)
        self.assertEqual(proc.sha256(image), sha)
