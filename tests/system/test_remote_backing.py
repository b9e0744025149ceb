"""Backing files that are not local, and names of local ones that are no paths."""
import json
import os
import shutil
import subprocess
import unittest

import context  # noqa: F401
import guest
import proc
import qbatch
import qcow2
from fixture import KIB, MIB, ImageTest, main


class Remote(ImageTest):
    def serve(self, size="2M"):
        """An NBD server of a qcow2 image full of data: the backing name of it."""
        base = self.create("base.qcow2", size=size)
        self.io(base, f"write -q -P 9 0 {size}")
        socket = self.path("s")
        server = subprocess.Popen(["qemu-nbd", "-t", "-e", "9", "-r", "-f", "qcow2", "-k", socket, base])
        self.addCleanup(server.wait)
        self.addCleanup(server.kill)
        proc.wait_until_it_listens(server, socket)
        return f"nbd+unix:///?socket={socket}"

    def over_server(self, size="1M", **options):
        name = self.serve()
        return self.create(size=size, backing=name, backing_fmt="raw", **options), name

    @unittest.skipUnless(shutil.which("qemu-nbd"), "qemu-nbd is not installed")
    def test_growth_reads_zero_over_a_longer_base(self):
        for options in ({}, {"cluster_size": 4096}, {"compat": "0.10"}):
            with self.subTest(str(options)):
                image, _ = self.over_server(**options)
                self.io(image, "write -q -P 3 64k 64k")
                self.amended(image, size="3M")
                self.assert_reads(image, 0, "64k", 9)
                self.assert_reads(image, "64k", "64k", 3)
                self.assert_reads(image, "128k", MIB - 128 * KIB, 9)
                self.assert_reads(image, "1M", "2M", 0)
                self.assert_sound(image)
                self.doCleanups()
                self.setUp()

    @unittest.skipUnless(shutil.which("qemu-nbd"), "qemu-nbd is not installed")
    def test_a_downgrade_keeps_all_zeros(self):
        for how in ("allocate", "share", "defer"):
            with self.subTest(how):
                image, _ = self.over_server()
                self.io(image, "write -q -z 0 128k", "write -q -P 4 512k 64k")
                self.amended_keeping_content(image, compat="0.10", zero_clusters=how, flags=["--verify", "content"])
                self.assert_reads(image, 0, "128k", 0)
                self.doCleanups()
                self.setUp()

    def test_the_policy_refuses_what_needs_to_know(self):
        text = "version: 1\npolicy: {{on_remote_backing: fail}}\nimages:\n  - {{path: a.qcow2, {}}}\n"
        self.create("b.qcow2")
        proc.must(["qemu-img", "create", "-q", "-u", "-f", "qcow2", "-b", "rbd:pool/x", "-F", "raw",
                   self.path("a.qcow2"), "1M"])
        self.io(self.path("b.qcow2"), "write -q -z 0 64k")
        before = proc.sha256(self.path("a.qcow2"))
        answer = self.run_manifest(text.format("size: 2M"))
        self.assertEqual((answer.code, answer.error), (1, "unsupported"), str(answer))
        self.assertEqual(proc.sha256(self.path("a.qcow2")), before)
        answer = self.run_manifest(text.format("lazy_refcounts: on"))  # which needs to know nothing
        self.assertEqual((answer.code, answer.status), (0, "changed"), str(answer))
        answer = self.run_manifest(text.format("size: 2M").replace("fail", "assume_data"))
        self.assertEqual((answer.code, answer.status), (0, "changed"), str(answer))

    def test_a_growth_out_of_proportion_is_refused(self):
        image = self.path("a.qcow2")
        proc.must(["qemu-img", "create", "-q", "-u", "-f", "qcow2", "-b", "nbd:h:1", "-F", "raw", image,
                   str(MIB + 512)])
        self.refused(image, "unsupported", size="2M", words="which is not local")  # its last cluster's bytes
        proc.must(["qemu-img", "create", "-q", "-u", "-f", "qcow2", "-b", "nbd:h:1", "-F", "raw", image, "1M"])
        self.refused(image, "refused", size="600G", words="64 MiB")
        self.amended(image, size="400G")
        self.assertLess(os.stat(image).st_blocks * 512, 80 * MIB)


class Named(ImageTest):
    """Local files behind json: and file:."""

    def names(self, path):
        inner = {"driver": "qcow2", "file": {"driver": "file", "filename": path}}
        yield f"file:{path}"
        yield "json:" + json.dumps(inner)
        yield "json:" + json.dumps({"driver": "qcow2", "file.driver": "file", "file.filename": path})

    def make(self, name, base_size="2M", size="1M", fmt="qcow2"):
        base = self.create("base.qcow2", size=base_size)
        self.io(base, "write -q -P 9 0 64k", "write -q -P 9 1M 64k")
        image = self.path("a.qcow2")
        proc.must(["qemu-img", "create", "-q", "-u", "-f", "qcow2", "-b", name,
                   "-F", fmt or "raw", image, size])
        if not fmt:
            self.amended(image, backing_fmt="")
        return image

    def test_they_are_opened_as_what_they_are(self):
        """Only where the base has data does growing need entries: it was read."""
        for name in self.names(self.path("base.qcow2")):
            with self.subTest(name):
                image = self.make(name)
                self.amended(image, size="3M")
                self.assert_reads(image, 0, "64k", 9)
                self.assert_reads(image, "1M", "2M", 0)
                self.assert_sound(image)
                self.assertEqual(guest.check(image)[0], 0)
                entries = [self.first_entry(image, at)[1] for at in (MIB, MIB + 64 * KIB, 2 * MIB)]
                self.assertEqual([e & 1 for e in entries], [1, 0, 0], name)

    def test_the_format_in_the_name_counts_where_the_header_has_none(self):
        """A guest can write what looks like a header into a raw file."""
        path = self.path("base.qcow2")
        image = self.make("json:" + json.dumps({"driver": "raw", "file.filename": path}), fmt=None)
        fake = qcow2.load(path).data[:4]
        self.assertEqual(fake, b"QFI\xfb")
        self.run_manifest("version: 1\nimages:\n  - {path: a.qcow2, backing: {fmt: auto}}\n")
        self.assertEqual(guest.info(image).get("backing-filename-format"), "raw")

    def test_the_graph_follows_them(self):
        name = list(self.names(self.path("base.qcow2")))[1]
        self.make(name)
        manifest = self.manifest("version: 1\npolicy: {allow_shrink: on}\n"
                                 "images:\n  - {path: [a.qcow2, base.qcow2], size: 64k}\n")
        shown = proc.run([qbatch.absolute(qbatch.TOOL), "graph", "--format=json", manifest], cwd=self.folder)
        graph = json.loads(shown.out)
        edge = graph["edges"][0]
        self.assertEqual(os.path.basename(graph["nodes"][edge["backing"]]["path"]), "base.qcow2", shown.out)
        self.assertNotIn("not_local", shown.out)
        answer = qbatch.qbatch("--json", manifest, cwd=self.folder)
        base = [r for r in answer.records if r["path"].endswith("base.qcow2")][0]
        self.assertEqual((base["status"], base["error"]["code"]), ("failed", "refused"), str(answer))

    @unittest.skipUnless(os.getuid() == 0, "only root can give files away")
    def test_the_owner_of_the_image_must_be_able_to_read_them(self):
        secret = self.raw("secret", "1M", "write -q -P 1 0 1M")
        os.chmod(secret, 0o600)
        os.chmod(self.folder, 0o755)
        image = self.path("a.qcow2")
        name = "json:" + json.dumps({"driver": "raw", "file": {"driver": "file", "filename": secret}})
        proc.must(["qemu-img", "create", "-q", "-u", "-f", "qcow2", "-b", name, "-F", "raw", image, "512k"])
        os.chown(image, 65534, 65534)
        self.refused(image, "backing_refused", size="2M")


if __name__ == "__main__":
    main()
