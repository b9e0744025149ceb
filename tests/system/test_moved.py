"""Moved storage: backing names rewritten by expressions, made relative, formats filled in."""
import json
import os
import shutil

import context  # noqa: F401
import guest
import proc
import qbatch
from fixture import ImageTest, main


class Moved(ImageTest):
    """base.raw <- mid.qcow2 <- top.qcow2 by absolute names, then all of it is somewhere else."""

    def setUp(self):
        super().setUp()
        self.old, self.new = self.path("old"), self.path("new")
        os.mkdir(self.old)
        self.raw("old/base.raw", "4M", "write -q -P 1 0 4M")
        self.make("mid", f"{self.old}/base.raw", "raw", "write -q -P 2 0 1M")
        self.make("top", f"{self.old}/mid.qcow2", "qcow2", "write -q -P 3 0 64k")
        self.layers = guest.read_all(f"{self.old}/top.qcow2")
        os.rename(self.old, self.new)

    def make(self, name, backing, fmt, write):
        image = self.create(f"old/{name}.qcow2", size="4M", backing=backing, backing_fmt=fmt)
        self.io(image, write)

    def image(self, name):
        return f"{self.new}/{name}.qcow2"

    def run_with(self, backing, code=0, path="new/*.qcow2"):
        answer = qbatch.qbatch("--json", self.manifest(f"""
            version: 1
            images: [{{path: "{path}", backing: {{{backing}}}}}]
            """))
        self.assertEqual(answer.code, code, str(answer))
        return answer

    def names(self, image):
        out = proc.must(["qemu-img", "info", "--output=json", "--backing-chain", image])
        return [(i.get("backing-filename"), i.get("backing-filename-format")) for i in json.loads(out)]

    def assert_reads_as_before(self, image):
        self.assertEqual(guest.check(image)[:3], (0, 0, 0))
        self.assert_same_layers(self.layers, guest.read_all(image))

    def test_a_chain_that_moved_as_a_whole_works_again(self):
        answer = self.run_with(f"rewrite: [{{from: '^{self.old}/(.*)$', to: '{self.new}/\\1'}}]")
        self.assertEqual({r["status"] for r in answer.records}, {"changed"})
        self.assertEqual(self.names(self.image("top")),
                         [(f"{self.new}/mid.qcow2", "qcow2"), (f"{self.new}/base.raw", "raw"), (None, None)])
        self.assert_reads_as_before(self.image("top"))
        answer = self.run_with(f"rewrite: [{{from: '^{self.old}/(.*)$', to: '{self.new}/\\1'}}]")
        self.assertEqual({r["status"] for r in answer.records}, {"unchanged"})

    def test_relative_names_survive_the_next_move(self):
        self.run_with(f"rewrite: [{{from: '^{self.old}', to: '{self.new}'}}], relative: on")
        self.assertEqual(self.names(self.image("top")),
                         [("mid.qcow2", "qcow2"), ("base.raw", "raw"), (None, None)])
        os.rename(self.new, self.path("elsewhere"))
        self.assert_reads_as_before(self.path("elsewhere/top.qcow2"))

    def test_a_relative_name_has_to_be_right_beside_a_link_and_beside_its_image(self):
        """QEMU looks for it in the folder of the name by which the image was opened."""
        self.run_with(f"rewrite: [{{from: '^{self.old}', to: '{self.new}'}}]")
        sha = proc.sha256(self.image("mid"))
        for folder, code in (("links/deep", 1), ("links", 0)):
            os.makedirs(self.path(folder), exist_ok=True)
            os.symlink(self.image("mid"), self.path(f"{folder}/mid.qcow2"))
            answer = self.run_with("relative: on", code=code, path=f"{folder}/mid.qcow2")
            if code:
                self.assertEqual(answer.error, "refused", str(answer))
                self.assertIn("symbolic link", answer.first["error"]["message"])
                self.assertEqual(proc.sha256(self.image("mid")), sha)
        self.assertEqual(self.names(self.image("mid"))[0][0], "../new/base.raw")
        self.assert_reads_as_before(self.image("top"))

    def test_missing_formats_are_filled_in(self):
        self.run_with(f"rewrite: [{{from: '^{self.old}', to: '{self.new}'}}]")
        for name in ("mid", "top"):
            self.amended(self.image(name), backing_fmt="")
        answer = self.run_with("fmt: auto")
        self.assertEqual([r["changes"] for r in answer.records],
                         [[{"key": "backing_fmt", "from": None, "to": fmt}] for fmt in ("raw", "qcow2")])
        self.assert_reads_as_before(self.image("top"))

    def test_a_format_that_would_be_a_guess_is_refused(self):
        heads = {"vmdk": b"KDMV\1\0\0\0", "luks": b"LUKS\xba\xbe\0\1", "broken": b"QFI\xfb\0\0\0\7",
                 "vdi": b"<<< text >>>".ljust(64, b"\0") + b"\x7f\x10\xda\xbe"}
        self.amended(self.image("mid"), backing_file=f"{self.new}/base.raw", backing_fmt="")
        for name, head in heads.items():
            with self.subTest(name):
                with open(f"{self.new}/base.raw", "r+b") as f:
                    f.write(head)
                sha = proc.sha256(self.image("mid"))
                answer = self.run_with("fmt: auto", code=1, path="new/mid.qcow2")
                self.assertEqual(answer.error, "refused", str(answer))
                self.assertEqual(proc.sha256(self.image("mid")), sha)
        os.unlink(f"{self.new}/base.raw")
        answer = self.run_with("fmt: auto", code=1, path="new/mid.qcow2")
        self.assertEqual(answer.error, "backing_missing")
        self.assertIn(f"the backing file {self.new}/base.raw: ", answer.first["error"]["message"])
        self.amended(self.image("mid"), backing_file="nbd://host/export")
        self.assertEqual(self.run_with("fmt: auto", code=1, path="new/mid.qcow2").error, "unsupported")

    def test_other_content_is_found_where_the_image_shows_it(self):
        rewrite = "rewrite: [{from: 'base', to: 'copy'}], check_content: on"
        self.amended(self.image("mid"), backing_file=f"{self.new}/base.raw")
        copy = self.copy(f"{self.new}/base.raw", "new/copy.raw")
        with open(copy, "r+b") as f:  # behind what mid has written, which is its first MiB
            f.write(b"covered")
            f.seek(3 << 20)
            f.write(b"shown")
        answer = self.run_with(rewrite, code=1, path="new/mid.qcow2")
        self.assertEqual(answer.error, "refused", str(answer))
        self.assertIn(f"guest byte {3 << 20}", answer.first["error"]["message"])
        with open(copy, "r+b") as f:
            f.seek(3 << 20)
            f.write(b"\1" * 5)
        sha = proc.sha256(self.image("mid"))
        self.snapshot(self.image("mid"), "s")
        self.io(self.image("mid"), "write -q -P 7 2M 64k")
        answer = self.run_with(rewrite, code=1, path="new/mid.qcow2")  # a snapshot may show all of it
        self.assertIn("guest byte 0", answer.first["error"]["message"])
        proc.must(["qemu-img", "snapshot", "-d", "s", self.image("mid")])
        self.assertNotEqual(proc.sha256(self.image("mid")), sha)
        self.assertEqual(self.run_with(rewrite, path="new/mid.qcow2").status, "changed")
        os.unlink(copy)
        answer = self.run_with("rewrite: [{from: 'copy', to: 'base'}], check_content: on", code=1,
                               path="new/mid.qcow2")
        self.assertEqual(answer.error, "backing_missing", str(answer))

    def test_images_without_a_backing_file_are_left_alone(self):
        plain = self.create("new/plain.qcow2")
        sha = proc.sha256(plain)
        answer = self.run_with("rewrite: [{from: .*, to: x}], relative: on, fmt: auto", path="new/plain.qcow2")
        self.assertEqual(answer.status, "unchanged")
        self.assertEqual(proc.sha256(plain), sha)

    def test_a_chain_goes_bottom_up_by_its_new_names(self):
        shutil.copyfile(self.image("mid"), f"{self.new}/base.qcow2")
        answer = self.run_with(f"rewrite: [{{from: '^{self.old}/mid', to: '{self.new}/base'}},"
                               f" {{from: '^{self.old}', to: '{self.new}'}}]")
        self.assertEqual({r["status"] for r in answer.records}, {"changed"})
        self.assert_reads_as_before(self.image("top"))


if __name__ == "__main__":
    main()
