"""Choosing images and what must hold: when, expect, after, tags, lists, --set."""
import os

import context  # noqa: F401
import guest
import proc
import qbatch
from fixture import MIB, ImageTest, main


class Chosen(ImageTest):
    def setUp(self):
        super().setUp()
        self.raw("base.raw", "1M")
        self.v2 = self.create("v2.qcow2", size="1M", compat="0.10")
        self.small = self.create("small.qcow2", size="1M")
        self.large = self.create("large.qcow2", size="1G")
        self.backed = self.create("backed.qcow2", size="1M", backing="base.raw", backing_fmt="raw")

    def told(self, text, *flags, code=0, **kwargs):
        """{name: (status, error code)} of a run."""
        answer = qbatch.qbatch("--json", *flags, self.manifest(text), **kwargs)
        self.assertEqual(answer.code, code, str(answer))
        self.answer = answer
        return {os.path.basename(r["path"]).split(".")[0]:
                (r["status"], (r["error"] or {}).get("code")) for r in answer.records}

    def test_when_leaves_out_what_is_not_meant_and_that_is_no_failure(self):
        cases = {"compat: v2": {"v2"}, "size_min: 2M": {"large"}, "has_backing: on": {"backed"},
                 "has_backing: off, size_max: 1M": {"v2", "small"}, "allocated_max: 0": set(),
                 "mtime_before: 2001-01-01": set(), "refcount_bits: 16": {"v2", "small", "large", "backed"}}
        for when, meant in cases.items():
            with self.subTest(when):
                told = self.told(f"""
                    version: 1
                    images: [{{path: "*.qcow2", lazy_refcounts: off, when: {{{when}}}}}]
                    """)
                self.assertEqual({n for n, (s, _) in told.items() if s != "skipped"}, meant)
                self.assertLessEqual({c for _, c in told.values()}, {None, "when"})
        self.assertEqual(self.answer.summary["skipped"], 0)

    def test_an_entry_takes_the_place_of_the_defaults(self):
        told = self.told("""
            version: 1
            defaults: {lazy_refcounts: on, when: {compat: "1.1"}}
            images: [{path: [v2.qcow2, small.qcow2]}, {path: large.qcow2, when: {size_max: 1M}}]
            """)
        self.assertEqual(told, {"v2": ("skipped", "when"), "small": ("changed", None),
                                "large": ("skipped", "when")})

    def test_expect_stops_before_the_first_write(self):
        sha = proc.sha256(self.small)
        told = self.told("""
            version: 1
            images: [{path: "*.qcow2", compat: "1.1", lazy_refcounts: on, expect: {size_min: 2M}}]
            """, code=1)
        self.assertEqual(told["large"], ("changed", None))
        self.assertEqual(told["small"], ("failed", "expectation"))
        self.assertEqual(proc.sha256(self.small), sha)

    def test_after_is_looked_at_before_the_first_write_where_that_can_be(self):
        sha = proc.sha256(self.small)
        told = self.told("""
            version: 1
            images: [{path: "*.qcow2", size: 2G, after: {compat: "0.10"}}]
            """, code=1)
        self.assertEqual(told["v2"], ("changed", None))
        self.assertEqual(told["small"], ("failed", "expectation"))
        self.assertEqual(proc.sha256(self.small), sha)
        told = self.told("""
            version: 1
            images: [{path: small.qcow2, size: 2G, after: {allocated_max: 1}}]
            """, code=1)
        self.assertEqual(told["small"], ("failed", "expectation"))
        self.assertEqual(guest.info(self.small)["virtual-size"], 2048 * MIB)
        self.assertIn("was amended", self.answer.first["error"]["message"])

    def test_after_alone_is_a_check(self):
        text = """
            version: 1
            images: [{path: "*.qcow2", after: {compat: "1.1"}}]
            """
        told = self.told(text, code=1)
        self.assertEqual(told["v2"], ("failed", "expectation"))
        self.assertEqual(told["small"], ("unchanged", None))

    def test_tags_choose_entries(self):
        text = """
            version: 1
            defaults: {lazy_refcounts: on}
            images: [{path: small.qcow2, tags: [web, prod]}, {path: large.qcow2, tags: db},
                     {path: backed.qcow2}]
            """
        self.assertEqual(set(self.told(text, "--dry-run", "--tags", "web,db")), {"small", "large"})
        self.assertEqual(set(self.told(text, "--dry-run", "--skip-tags", "web")), {"large", "backed"})
        self.assertEqual(set(self.told(text, "--dry-run", "--tags", "web,db", "--skip-tags", "prod")),
                         {"large"})
        self.assertEqual(self.told(text, "--tags", "wbe", code=2), {})
        meant = self.run_manifest(text, "--tags", "prodd")
        self.assertIn('"prodd" is the tag of no entry; did you mean "prod"?', meant.result.err)
        self.assertEqual(self.told(text, "--tags", "web", "--skip-tags", "prod", code=2), {})

    def test_lists_of_files(self):
        os.mkdir(self.path("odd"))
        odd = self.copy(self.small, "odd/a\nb.qcow2")
        with open(self.path("list"), "w") as f:
            f.write("# the web servers\nsmall.qcow2\n\n" + self.large + "\n")
        with open(self.path("list0"), "wb") as f:
            f.write(odd.encode() + b"\0#small.qcow2\0")
        self.copy(self.small, "#small.qcow2")
        text = """
            version: 1
            images: [{%s, lazy_refcounts: on}]
            """
        self.assertEqual(set(self.told(text % "from_file: list", "--dry-run")), {"small", "large"})
        self.assertEqual(set(self.told(text % "from_file0: list0", "--dry-run")), {"a\nb", "#small"})
        self.assertEqual(set(self.told(text % "from_file: list, exclude: large*", "--dry-run")), {"small"})
        self.assertEqual(set(self.told(text % "from_file: '-'", "--dry-run", stdin="small.qcow2\n")),
                         {"small"})
        self.assertEqual(self.told(text % "from_file: list0", code=2), {})
        self.assertEqual(self.told(text % "path: small.qcow2, from_file: list", code=2), {})
        self.assertEqual(self.told(text % "from_file: '-'", code=2), {})

    def test_a_chain_is_an_image_and_what_it_stands_on(self):
        mid = self.create("mid.qcow2", backing="backed.qcow2", backing_fmt="qcow2")
        self.create("top1.qcow2", backing=mid, backing_fmt="qcow2")
        self.create("top2.qcow2", backing="mid.qcow2", backing_fmt="qcow2")
        told = self.told("""
            version: 1
            images: [{chain: [top1.qcow2, top2.qcow2], compat: "0.10"}]
            """)
        self.assertEqual([os.path.basename(r["path"]) for r in self.answer.records],
                         ["backed.qcow2", "mid.qcow2", "top1.qcow2", "top2.qcow2"])
        self.assertEqual({status for status, _ in told.values()}, {"changed"})
        self.assertEqual(self.told("""
            version: 1
            images: [{chain: top1.qcow2, lazy_refcounts: off, exclude: mid*}]
            """), {"backed": ("unchanged", None), "top1": ("unchanged", None)})
        os.unlink(self.path("backed.qcow2"))
        self.told("version: 1\nimages: [{chain: top1.qcow2, size: 2M}]", code=1)
        self.assertIn("backed.qcow2", self.answer.first["error"]["message"])

    def test_what_is_set_on_the_command_line_wins(self):
        text = """
            version: 1
            defaults: {size: 2M}
            images: [{path: small.qcow2, size: 3M}, {path: backed.qcow2}]
            """
        self.told(text, "--set", "size=4M", "--set", "lazy_refcounts=on")
        for image in (self.small, self.backed):
            self.assertEqual(guest.info(image)["virtual-size"], 4 * MIB)
            self.assertTrue(guest.info(image)["format-specific"]["data"]["lazy-refcounts"])
        bare = "version: 1\nimages: [{path: small.qcow2}]"
        self.assertEqual(self.told(bare, code=2), {})
        self.assertEqual(self.told(bare, "--set", "size=5M"), {"small": ("changed", None)})
        self.assertEqual(self.told(bare, "--set", "sise=5M", code=2), {})


if __name__ == "__main__":
    main()
