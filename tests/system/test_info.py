"""`qbatch info` of many images: what `qemu-img info` tells, in order, and each answers for itself alone."""
import json
import os
import subprocess

import context  # noqa: F401
import proc
import qbatch
import qcow2
from fixture import ImageTest, main

OURS = {"type", "path", "path_bytes_base64", "status", "without_locks", "error"}
SECRET = ["--object", "secret,id=s,data=abc"]


class InfoTest(ImageTest):
    def info(self, *argv, **kwargs):
        return qbatch.qbatch("info", *argv, cwd=self.folder, **kwargs)

    def theirs(self, name, *argv):
        return json.loads(proc.must(["qemu-img", "info", "--output=json", *argv, name], cwd=self.folder))

    def assert_same(self, *names, drop=()):
        """Our lines, without what they have in addition, are the objects of `qemu-img info`."""
        answer = self.info("--json", *names)
        self.assertEqual(answer.code, 0, str(answer))
        self.assertEqual(answer.result.err, "")
        for name, record in zip(names, answer.records, strict=True):
            theirs = self.theirs(name)
            for key in drop:
                self.assertIsNotNone(theirs["format-specific"]["data"]["encrypt"].pop(key))
            self.assertEqual({key: value for key, value in record.items() if key not in OURS}, theirs)
            self.assertEqual((record["path"], record["status"], record["error"]), (name, "read", None))


class Same(InfoTest):
    def test_versions_and_properties(self):
        made = [{"compat": "0.10"}, {"compat": "0.10", "cluster_size": 512}, {"compat": "1.1"}, {"lazy_refcounts": "on"},
                {"refcount_bits": 1}, {"refcount_bits": 64}, {"extended_l2": "on"}, {"compression_type": "zstd"},
                {"cluster_size": 2 << 20}, {"preallocation": "metadata"}]
        names = [os.path.basename(self.create(f"{i}.qcow2", size="3M", **options)) for i, options in enumerate(made)]
        self.io(self.path("2.qcow2"), "write -q -P 1 0 1M")
        self.assert_same(*names)

    def test_marks(self):
        dirty = self.create("dirty.qcow2", lazy_refcounts="on")
        self.killed_io(dirty, "write -q 0 64k")
        corrupt = self.create("corrupt.qcow2")
        qcow2.patch(corrupt, 79, b"\2")
        self.assert_same("dirty.qcow2", "corrupt.qcow2")
        flags = [record["dirty-flag"] for record in self.info("--json", dirty, corrupt).records]
        self.assertEqual(flags, [True, False])

    def test_a_disk_that_ends_within_a_sector(self):
        for size in (1, 513, (1 << 20) - 1):
            qcow2.patch_header(self.create(), size=size)
            self.assert_same("a.qcow2")

    def test_backing_files(self):
        self.create("base.qcow2")
        self.raw("base.raw", "1M")
        os.mkdir(self.path("sub"))
        self.create("a.qcow2", backing="base.qcow2")
        self.create("b.qcow2", backing="base.raw", backing_fmt="raw")
        self.create("sub/c.qcow2", backing="../base.qcow2")
        self.create("sub/d.qcow2", backing=self.path("base.qcow2"))
        self.create("e.qcow2", backing="nbd:localhost:10809", backing_fmt="raw", flags=["-u"])
        self.create("f.qcow2", backing="sub/gone", flags=["-u"])
        self.create("g.qcow2", backing="json:{\"file.filename\": \"/gone\"}", backing_fmt="raw", flags=["-u"])
        self.create("h.qcow2", backing="./nbd:x", backing_fmt="raw", flags=["-u"])
        self.create("sub/i.qcow2", backing="nbd:localhost:10809", backing_fmt="raw", flags=["-u"])
        self.assert_same("sub/i.qcow2")
        self.assert_same("a.qcow2", "b.qcow2", "sub/c.qcow2", "sub/d.qcow2", "e.qcow2", "f.qcow2", "g.qcow2", "h.qcow2",
                         "./a.qcow2", "./sub/c.qcow2", self.path("sub/c.qcow2"))

    def test_a_backing_file_without_a_format(self):
        image = self.create("a.qcow2", backing="base.raw", backing_fmt="raw", flags=["-u"])
        found = next(e for e in qcow2.load(image).extensions() if e.type == 0xE2792ACA)
        qcow2.patch(image, found.offset - 8, b"\x12\x34\x56\x78")  # an extension that nobody knows
        self.assert_same("a.qcow2")
        self.assertNotIn("backing-filename-format", self.info("--json", image).first)

    def test_snapshots(self):
        image = self.create(size="1M")
        self.snapshot(image, "one")
        self.io(image, "write -q -P 1 0 64k")
        self.snapshot(image, "two words, \"quoted\" \u00fc")
        self.assert_same("a.qcow2")
        found = qcow2.load(image)
        at = found.snapshots_offset
        qcow2.patch(image, at + 24, (3723004000005).to_bytes(8, "big"))  # vm_clock_nsec
        qcow2.patch(image, at + 40, (5 << 30).to_bytes(8, "big"))        # vm_state_size_large
        qcow2.patch(image, at + 56, (123456).to_bytes(8, "big"))         # icount
        self.assert_same("a.qcow2")
        first = self.info("--json", image).first["snapshots"][0]
        self.assertEqual((first["vm-clock-sec"], first["vm-clock-nsec"], first["vm-state-size"], first["icount"]),
                         (3723, 4000005, 5 << 30, 123456))
        qcow2.patch(image, at + 56, b"\xff" * 8)
        self.assert_same("a.qcow2")

    def test_bitmaps(self):
        image = self.create(size="1M")
        for argv in (["b0"], ["--disable", "-g", "4k", "b1"], ["-g", "2G", "b2"]):
            proc.must(["qemu-img", "bitmap", "--add", *argv[:-1], image, argv[-1]])
        self.killed_io(image, "write -q 0 64k")  # in use: inconsistent from now on
        self.assert_same("a.qcow2")
        flags = {b["name"]: b["flags"] for b in self.info("--json", image).first["format-specific"]["data"]["bitmaps"]}
        self.assertEqual(flags, {"b0": ["in-use", "auto"], "b1": ["in-use"], "b2": ["in-use", "auto"]})

    def test_data_files(self):
        self.create("a.qcow2", data_file="a.data")
        self.create("b.qcow2", data_file="b.data", data_file_raw="on")
        self.io(self.path("b.qcow2"), "write -q -P 1 0 1M")
        self.assert_same("a.qcow2", "b.qcow2")

    def test_encryption(self):
        self.create("a.qcow2", flags=SECRET, **{"encrypt.format": "aes", "encrypt.key-secret": "s"})
        self.create("b.qcow2", flags=SECRET, **{"encrypt.format": "luks", "encrypt.key-secret": "s", "encrypt.iter-time": 10})
        self.assert_same("a.qcow2")
        self.assert_same("b.qcow2", drop=("ivgen-alg", "hash-alg", "cipher-alg", "cipher-mode", "uuid", "slots",
                                          "payload-offset", "master-key-iters"))

    def test_the_lines_for_people(self):
        """All of QEMU's for one image, but for the order of the format's own."""
        self.create("base.qcow2", size="10G")
        os.mkdir(self.path("sub"))
        image = self.create("sub/a.qcow2", size="10G", backing="../base.qcow2", refcount_bits=8, lazy_refcounts="on")
        for argv in (["b0"], ["--disable", "-g", "4k", "b1"]):
            proc.must(["qemu-img", "bitmap", "--add", *argv[:-1], image, argv[-1]])
        self.snapshot(image, "one")
        self.killed_io(image, "write -q 0 64k")
        self.create("b.qcow2", compat="0.10", cluster_size=4096)
        self.create("c.qcow2", data_file="c.data", data_file_raw="on")
        for name in ("sub/a.qcow2", "b.qcow2", "c.qcow2"):
            ours = self.info(name).result.out.splitlines()
            theirs = proc.must(["qemu-img", "info", name], cwd=self.folder).splitlines()
            where = theirs.index("Format specific information:")
            self.assertEqual(ours[:where + 1], theirs[:where + 1])
            self.assertEqual(sorted(ours), sorted(theirs))


class Fleet(InfoTest):
    def fleet(self, n):
        first = self.create("first", size="256k", cluster_size=4096)
        with open(first, "rb") as f:
            image = f.read()
        names = [f"{i:04}.qcow2" for i in range(n)]
        for name in names:
            with open(self.path(name), "wb") as f:
                f.write(image)
        return names

    def test_json_is_in_the_order_of_the_images(self):
        names = self.fleet(300)
        os.truncate(self.path(names[250]), 100)
        os.unlink(self.path(names[7]))
        for jobs in ("1", "2", "16"):
            answer = self.info("--json", "-j", jobs, *names)
            self.assertEqual(answer.code, 1, str(answer))
            self.assertEqual([record["path"] for record in answer.records], names)
            failed = {record["path"]: record["error"]["code"] for record in answer.records if record["status"] == "failed"}
            self.assertEqual(failed, {names[7]: "not_found", names[250]: "corrupt"})
            self.assertEqual({key: answer.summary[key] for key in ("images", "read", "failed", "not_reached", "exit_code")},
                             {"images": 300, "read": 298, "failed": 2, "not_reached": 0, "exit_code": 1})

    def test_a_table_for_people(self):
        names = self.fleet(3)
        image = self.create("z.qcow2", size="5G", backing=names[0], lazy_refcounts="on", compression_type="zstd")
        self.snapshot(image, "s")
        done = self.info(*names, "gone", "z.qcow2").result
        lines = done.out.splitlines()
        self.assertEqual(lines[0], "image       compat  virtual size  disk size   cluster  backing file          flags")
        for name, line in zip(names, lines[1:4]):
            self.assertRegex(line, f"^{name}  1.1          256 KiB +[0-9.]+ KiB     4 KiB  -$")
        self.assertRegex(lines[4], "^z.qcow2     1.1            5 GiB +[0-9.]+ KiB    64 KiB  0000.qcow2            "
                                   "1 snapshot, zstd, lazy refcounts$")
        self.assertRegex(lines[5], "^5 images, of which 1 could not be read, in [0-9.]+ m?s$")
        self.assertEqual(len(lines), 6)
        self.assertIn("qbatch info: gone: not_found", done.err)

    def test_names_cannot_harm_a_terminal(self):
        image = self.create("a\x1b[2J\n.qcow2")
        self.snapshot(image, "s\x1b\n")
        proc.must(["qemu-img", "rebase", "-u", "-b", "b\x1b\n", "-F", "raw", image])
        for argv in ([image], [image, image]):
            out = self.info(*argv).result.out
            self.assertNotIn("\x1b", out)
            self.assertIn("\\x1b", out)

    def test_names_of_all_characters_are_shown(self):
        """What reads the images is believed: none of them ends it."""
        names = [bytes(range(first, first + 32)).replace(b"\0", b"") for first in range(0, 256, 32)]
        images = []
        for i, name in enumerate(names):
            images.append(self.create(f"{i}.qcow2", size="1M"))
            self.snapshot(images[-1], os.fsdecode(name.replace(b"/", b"")))
            proc.must(["qemu-img", "rebase", "-u", "-b", b"b" + name, "-F", "raw", images[-1]])
        for argv in (["info"], ["check"], ["map", "--force-share"]):
            for json_or_not in ([], ["--json"]):
                for operands in (images, *([image] for image in images)):
                    with self.subTest(argv=argv + json_or_not, images=len(operands)):
                        done = subprocess.run([qbatch.absolute(qbatch.TOOL), *argv, *json_or_not, *operands],
                                              capture_output=True, check=False)
                        self.assertNotIn(b"note: the process", done.stderr)
                        self.assertNotIn(b"crashed", done.stdout + done.stderr)

    def test_a_name_that_is_not_utf8(self):
        image = os.fsencode(self.create("a.qcow2"))
        os.rename(image, image[:-7] + b"\xff.qcow2")
        record = json.loads(subprocess.run([qbatch.absolute(qbatch.TOOL), "info", "--json", image[:-7] + b"\xff.qcow2"],
                                           stdout=subprocess.PIPE, check=True).stdout.splitlines()[0])
        self.assertTrue(record["filename"].endswith("\ufffd.qcow2"))
        self.assertIn("path_bytes_base64", record)

    def test_lists_and_manifests(self):
        names = self.fleet(3)
        for argv, stdin in ((["--from-file", "-"], "\n".join(names[1:])), (["--from-file0", "-"], "\0".join(names[1:]))):
            self.assertEqual([r["path"] for r in self.info("--json", *argv, stdin=stdin).records], names[1:])
        with open(self.path("m.yaml"), "w", encoding="utf-8") as f:
            f.write("version: 1\nimages:\n  - {path: 0000.qcow2, tags: [x]}\n  - {path: '000[12].qcow2'}\n")
        for argv, found in (([], 3), (["--tags", "x"], 1), (["--skip-tags", "x"], 2)):
            answer = self.info("--json", "--manifest", "m.yaml", *argv)
            self.assertEqual((answer.code, len(answer.records)), (0, found), str(answer))
        for argv in ([], ["--from-file", "-", names[0]], ["--tags", "x", names[0]], ["--level", "header", names[0]]):
            self.assertEqual(self.info(*argv).code, 2)

    def test_one_in_use(self):
        image = self.create()
        self.use(image)
        self.assertEqual(self.info("--json", image).error, "locked")
        for flag in ("-U", "--force-share"):
            answer = self.info("--json", flag, image)
            self.assertEqual((answer.code, answer.first["without_locks"]), (0, True), str(answer))

    def test_nothing_is_written_and_no_table_is_read(self):
        image = self.create("a.qcow2", size="1M", backing="gone", flags=["-u"], data_file="gone.data")
        os.unlink(self.path("gone.data"))
        for field in ("l1_table_offset", "refcount_table_offset"):
            qcow2.patch_header(image, **{field: 1 << 40})
        sha, stat = proc.sha256(image), os.stat(image)
        self.assertEqual(self.info(image).code, 0)
        self.assert_untouched(image, sha, stat)

    def test_tables_that_take_more_than_the_memory(self):
        """A worker's share is too small for the bitmap directory, all of the memory is not."""
        names = self.fleet(2)
        image = self.create(size="1M")
        for i in range(40):
            proc.must(["qemu-img", "bitmap", "--add", image, "b" * 900 + str(i)])
        found = {}
        for memory in (1 << 20, 4 << 20, 16 << 20):
            with open(self.path("m.yaml"), "w", encoding="utf-8") as f:
                f.write(f"version: 1\nlimits: {{memory: {memory}}}\nimages: [{{path: [{names[0]}, a.qcow2, {names[1]}]}}]\n")
            answer = self.info("--json", "-j", "2", "--manifest", "m.yaml")
            self.assertEqual([record["status"] for record in answer.records][::2], ["read", "read"], str(answer))
            found[memory] = answer.records[1]["error"]
        self.assertEqual(found[1 << 20]["code"], "memory")
        self.assertIsNone(found[4 << 20])


if __name__ == "__main__":
    main()
