"""qbatch graph, and what follows from it: a base image of known overlays keeps its size."""
import fcntl
import json
import os
import re
import shutil

import context  # noqa: F401
import guest
import proc
import qbatch
from fixture import MIB, ImageTest, main

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")


class Graph(ImageTest):
    def setUp(self):
        super().setUp()
        os.makedirs(self.path("vm"))
        self.create("base.qcow2", size="4M")
        self.create("web-1.qcow2", size="4M", backing="base.qcow2")
        self.create("web-2.qcow2", size="8M", backing="base.qcow2")
        self.create("top.qcow2", size="4M", backing="web-1.qcow2")
        self.create("vm/over.qcow2", size="4M", backing="../base.qcow2")

    FLEET = """
        version: 1
        graph: {scan: vm}
        images:
          - path: [top.qcow2, web-2.qcow2, base.qcow2]
            lazy_refcounts: on
        """

    def graph(self, text, *flags):
        return proc.run([qbatch.absolute(qbatch.TOOL), "graph", *flags, self.manifest(text)],
                        cwd=self.folder)

    def json_graph(self, text):
        done = self.graph(text, "--format", "json")
        shown = json.loads(done.out)
        self.assertEqual(shown["exit_code"], done.code)
        return shown

    def test_the_tree_has_bases_as_roots_and_says_why_an_image_waits(self):
        done = self.graph(self.FLEET)
        self.assertEqual((done.code, done.err), (0, ""))
        lines = done.out.splitlines()
        shape = [(len(line) - len(line.lstrip()), os.path.basename(line.split()[0]))
                 for line in lines[:-1]]
        self.assertEqual(shape, [(0, "base.qcow2"), (2, "web-2.qcow2"), (2, "over.qcow2"),
                                 (2, "web-1.qcow2"), (4, "top.qcow2")])
        self.assertRegex(lines[1], r"manifest +after .*base.qcow2: its backing file goes first$")
        self.assertRegex(lines[2], r"scan$")
        self.assertRegex(lines[3], r"chain$")
        self.assertRegex(lines[4], r"after .*base.qcow2: it is in its backing chain")
        self.assertRegex(lines[5], r"^3 images of the manifest, 2 other files; 2 wait")

    def test_json_agrees_with_qemu_img(self):
        shown = self.json_graph(self.FLEET)
        nodes = {n["id"]: n for n in shown["nodes"]}
        edges = {e["overlay"]: e for e in shown["edges"]}
        self.assertEqual(len(nodes), 5)
        self.assertEqual(shown["findings"], [])
        for number, node in nodes.items():
            info = guest.info(node["path"])
            self.assertEqual(node["virtual_size_bytes"], info["virtual-size"])
            self.assertEqual(node["compat"], info["format-specific"]["data"]["compat"])
            self.assertEqual(edges.get(number, {}).get("name"), info.get("backing-filename"))
            if number in edges:
                base = nodes[edges[number]["backing"]]
                self.assertTrue(os.path.samefile(base["path"], info["full-backing-filename"]))
        self.assertEqual([os.path.basename((n["after"] or {}).get("path", "-"))
                          for n in shown["nodes"][:3]], ["base.qcow2", "base.qcow2", "-"])

    def test_dot_is_dot_whatever_the_names(self):
        odd = 'a "b" \\n <c> {d}\t.qcow2'
        os.rename(self.path("top.qcow2"), self.path(odd))
        text = "version: 1\nimages: [{path: '*.qcow2', size: +1M}]\n"
        done = self.graph(text, "--format", "dot")
        self.assertEqual(done.code, 0, done.err)
        self.assertIn('a \\"b\\" \\\\n <c> {d}\\\\x09.qcow2', done.out)
        self.assertEqual(len(re.findall(r" -> .*label=", done.out)), 3)
        if shutil.which("dot"):
            drawn = proc.run(["dot", "-Tsvg"], stdin=done.out)
            self.assertEqual((drawn.code, drawn.err), (0, ""))
            self.assertEqual(drawn.out.count('class="node"'), 4)

    def test_what_is_wrong_is_found(self):
        for name, backing in (("x", "y"), ("y", "x"), ("lost", "gone")):
            proc.must(["qemu-img", "create", "-q", "-u", "-f", "qcow2", "-F", "qcow2", "-b",
                       f"{backing}.qcow2", self.path(f"{name}.qcow2"), "1M"])
        self.amended(self.create("small.qcow2", size="1M"), backing_file="base.qcow2")
        text = "version: 1\nimages: [{path: ['x.qcow2', lost.qcow2, small.qcow2], size: +1M}]\n"
        shown = self.json_graph(text)
        paths = {n["id"]: os.path.basename(n["path"]) for n in shown["nodes"]}
        found = sorted((f["severity"], f["code"], paths[f["node"]]) for f in shown["findings"])
        self.assertEqual(found, [
            ("error", "loop", "x.qcow2"), ("error", "loop", "y.qcow2"),
            ("error", "missing", "gone.qcow2"), ("note", "no_format", "small.qcow2"),
            ("note", "smaller", "small.qcow2")])
        self.assertEqual(shown["exit_code"], 1)
        for flags in ((), ("--format", "dot")):
            self.assertEqual(self.graph(text, *flags).code, 1)

    def test_usage_and_a_wrong_manifest_give_2(self):
        self.assertEqual(self.graph(self.FLEET, "--format", "png").code, 2)
        self.assertEqual(self.graph("version: 1\n").code, 2)
        self.assertEqual(proc.run([qbatch.absolute(qbatch.TOOL), "graph"]).code, 2)

    def test_images_in_use_are_shown_and_nothing_is_touched(self):
        images = [self.path(n) for n in os.listdir(self.folder) if n.endswith(".qcow2")]
        before = {image: (proc.sha256(image), os.stat(image)) for image in images}
        with open(self.path("base.qcow2"), "r+b") as guest_file:
            fcntl.lockf(guest_file, fcntl.LOCK_EX)
            self.assertEqual(self.graph(self.FLEET).code, 0)
        for image, (sha, stat) in before.items():
            self.assert_untouched(image, sha, stat)

    def test_the_manual_page_has_every_finding(self):
        with open(os.path.join(ROOT, "batch/backing/findings.def"), encoding="utf-8") as f:
            rows = re.findall(r'^FINDING\(\w+, "(\w+)", (\w+), "(.*)"\)$', f.read(), re.M)
        with open(os.path.join(ROOT, "batch/man/qbatch.1"), encoding="utf-8") as f:
            page = f.read()
        self.assertGreater(len(rows), 10)
        for name, is_error, words in rows:
            kind = "error" if is_error == "true" else "note"
            self.assertIn(f".It {name} Pq {kind}\n{words}\n", page)


class Shrink(ImageTest):
    def setUp(self):
        super().setUp()
        self.base = self.create("base.qcow2", size="4M")
        self.io(self.base, "write -q -P 5 0 4M")

    def fleet(self, more="", size="2M"):
        return f"""
        version: 1
        policy: {{allow_shrink: on}}
        {more}
        images:
          - {{path: base.qcow2, size: {size}}}
        """

    def refused_base(self, text, *flags, words=""):
        sha, stat = proc.sha256(self.base), os.stat(self.base)
        answer = self.run_manifest(text, *flags)
        record = next(r for r in answer.records if r["path"].endswith("base.qcow2"))
        self.assertEqual((answer.code, record["status"], record["error"]["code"]),
                         (1, "failed", "refused"), str(answer))
        self.assertIn(words, record["error"]["message"])
        self.assert_untouched(self.base, sha, stat)
        return answer

    def test_a_base_of_the_batch_is_refused_and_its_overlays_are_amended(self):
        over = self.create("over.qcow2", size="4M", backing="base.qcow2")
        text = self.fleet() + "  - {path: over.qcow2, lazy_refcounts: on}\n"
        self.refused_base(text, "--dry-run", words="over.qcow2")
        answer = self.refused_base(text, words="over.qcow2")
        self.assertEqual([r["status"] for r in answer.records], ["failed", "changed"])
        self.assert_reads(over, 0, "4M", 5)

    def test_overlays_are_named_and_counted(self):
        for i in range(5):
            self.create(f"over-{i}.qcow2", size="4M", backing="base.qcow2")
        text = self.fleet() + "  - {path: over-*.qcow2, lazy_refcounts: on}\n"
        self.refused_base(text, words="over-2.qcow2 and 2 more")

    def test_a_scan_finds_overlays_that_the_manifest_does_not_name(self):
        os.makedirs(self.path("guests/.old"))
        over = self.create("guests/.old/over.img", size="4M", backing=self.base)
        self.refused_base(self.fleet("graph: {scan: [guests]}"), words="over.img")
        os.unlink(over)
        answer = self.run_manifest(self.fleet("graph: {scan: [guests]}"))
        self.assertEqual(answer.status, "changed", str(answer))
        self.assert_sound(self.base)

    def test_growing_a_base_shows_its_overlays_nothing_new(self):
        over = self.create("over.qcow2", size="8M", backing="base.qcow2")
        before = guest.read_all(over)
        answer = self.run_manifest(self.fleet(size="16M"))
        self.assertEqual(answer.status, "changed", str(answer))
        self.assert_same_layers(before, guest.read_all(over))
        self.assert_reads(over, "4M", "4M", 0)

    def test_amend_refuses_too_where_both_are_named(self):
        over = self.create("over.qcow2", size="4M", backing="base.qcow2")
        sha = proc.sha256(self.base)
        answer = qbatch.amend([over, self.base], shrink=True, cwd=self.folder, size=2 * MIB)
        self.assertEqual([r["status"] for r in answer.records], ["changed", "failed"], str(answer))
        self.assertEqual(proc.sha256(self.base), sha)
        self.assertEqual(qbatch.amend(self.base, shrink=True, cwd=self.folder, size=2 * MIB).status,
                         "changed")


if __name__ == "__main__":
    main()
