"""Mistakes in a manifest: all of them at once, each with its place, and nothing is touched."""
import os

import context  # noqa: F401
import guest
import proc
import qbatch
from fixture import MIB, ImageTest, main

HEAD = "version: 1\nimages:\n  - path: a.qcow2\n"

MISTAKES = {
    "no version": "images: [{path: a.qcow2, compat: '1.1'}]\n",
    "a version of the future": "version: 2\nimages: [{path: a.qcow2, compat: '0.10'}]\n",
    "no images": "version: 1\n",
    "an empty list of images": "version: 1\nimages: []\n",
    "an unknown key": HEAD + "    compatt: '0.10'\n",
    "an unknown policy": "policy: {on_errror: stop}\n" + HEAD + "    compat: '0.10'\n",
    "an unknown value": HEAD + "    compat: '0.12'\n",
    "a key twice": HEAD + "    compat: '0.10'\n    compat: '1.1'\n",
    "a list where a word belongs": HEAD + "    compat: ['0.10']\n",
    "a map where a list belongs": "version: 1\nimages: {path: a.qcow2, compat: '0.10'}\n",
    "a bad switch": HEAD + "    lazy_refcounts: maybe\n",
    "an ambiguous size": HEAD + "    size: 2GB\n",
    "an octal size": HEAD + "    size: 0o17\n",
    "a sexagesimal size": HEAD + "    size: 1:30\n",
    "no size": HEAD + "    size: \n",
    "a glob that matches nothing": "version: 1\nimages: [{path: 'none-*.qcow2', compat: '0.10'}]\n",
    "a bad indent": "version: 1\nimages:\n  - path: a.qcow2\n   compat: '0.10'\n",
    "an open bracket": "version: 1\nimages: [{path: a.qcow2\n",
    "a tab": "version: 1\nimages:\n\t- path: a.qcow2\n",
    "no path": "version: 1\nimages: [{compat: '0.10'}]\n",
    "two documents": HEAD + "    compat: '0.10'\n---\n" + HEAD + "    compat: '0.10'\n",
    "an alias": "version: 1\nimages: &x\n  - path: a.qcow2\n    compat: '0.10'\nname: *x\n",
    "an empty file": "",
    "only a word": "hello\n",
}


class Mistakes(ImageTest):
    def setUp(self):
        super().setUp()
        self.image = self.create()
        self.sha, self.stat = proc.sha256(self.image), os.stat(self.image)

    def rejected(self, text, *flags):
        answer = self.run_manifest(text, *flags)
        self.assertFalse(answer.crashed, str(answer))
        self.assertEqual(answer.code, 2, str(answer))
        self.assertRegex(answer.result.err, r"fleet\.yaml(:\d+:\d+)?: ", str(answer))
        self.assert_untouched(self.image, self.sha, self.stat)
        return answer.result.err

    def test_each_mistake_is_named_and_nothing_is_touched(self):
        for name, text in MISTAKES.items():
            with self.subTest(mistake=name):
                self.rejected(text)

    def test_bad_utf_8_is_named(self):
        with open(self.path("fleet.yaml"), "wb") as f:
            f.write(b"version: 1\nname: \xff\xfe\nimages: [{path: a.qcow2, compat: '0.10'}]\n")
        answer = qbatch.qbatch(self.path("fleet.yaml"))
        self.assertEqual(answer.code, 2, str(answer))
        self.assert_untouched(self.image, self.sha, self.stat)

    def test_a_mistake_is_shown_with_its_line_and_a_caret_and_what_was_meant(self):
        err = self.rejected(HEAD + "    compatt: '0.10'\n")
        self.assertIn("fleet.yaml:4:5", err)
        self.assertIn("compatt: '0.10'", err)
        self.assertIn("^", err)
        self.assertIn("compat", err.replace("compatt", ""))

    def test_all_mistakes_come_in_one_go(self):
        err = self.rejected(HEAD + "    compatt: '0.10'\n    size: 2GB\n    lazy_refcounts: maybe\n")
        for place in (":4:", ":5:", ":6:"):
            self.assertIn("fleet.yaml" + place, err)

    def test_lint_finds_the_same_and_is_silent_about_a_good_one(self):
        bad = self.manifest(HEAD + "    compatt: '0.10'\n", "bad.yaml")
        good = self.manifest(HEAD + "    compat: 0.10\n", "good.yaml")
        self.assertEqual(qbatch.qbatch("lint", bad).code, 2)
        self.assertEqual(qbatch.qbatch("lint", good).code, 0)
        self.assert_untouched(self.image, self.sha, self.stat)

    def test_a_misspelt_list_is_looked_into_all_the_same(self):
        linted = qbatch.qbatch("lint", self.manifest("version: 1\nimage: [{path: a.qcow2, comat: 1.1}]\n"))
        self.assertEqual(linted.code, 2)
        for words in ('did you mean "images"?', 'did you mean "compat"?'):
            self.assertIn(words, linted.result.err)
        self.assertNotIn('no "images"', linted.result.err)

    def test_lint_looks_for_files_and_for_keys_that_exclude_each_other(self):
        self.create("there.qcow2")
        os.mkdir(self.path("folder"))
        os.mkfifo(self.path("pipe"))
        wanted = {
            "[{path: there.qcow2, compat: 1.1}, {path: nope.qcow2, compat: 1.1}]": "there is no file ",
            "[{path: there.qcow2, compat: 0.10, refcount_bits: 64}]": "supports refcount_bits: 16 only",
            "[{path: there.qcow2, compat: 0.10, lazy_refcounts: on}]": "does not support lazy_refcounts",
            '[{path: "~/there.qcow2", compat: 1.1}]': "~ is not expanded",
            '[{path: "{there,else}.qcow2", compat: 1.1}]': "braces are not expanded",
            '[{path: "sub/**.qcow2", compat: 1.1}]': "write **/*",
            '[{path: "**.qcow2", compat: 1.1}]': "write **/*",
            '[{path: "**/*.qcow2", exclude: "sub/old**", compat: 1.1}]': "write **/*",
            "[{path: $HOME/there.qcow2, compat: 1.1}]": "variables are not expanded",
            "[{path: nbd://host/there, compat: 1.1}]": "only files and block devices",
            "[{path: folder, compat: 1.1}]": "folder/*.qcow2 for the images in it",
            "[{path: pipe, compat: 1.1}]": "neither a file nor a block device",
            "[{path: there.qcow2, size: 100}]": "is its unit missing",
            '[{path: there.qcow2, backing_file: "base\\n"}]': "ends with a line break",
        }
        for images, words in wanted.items():
            with self.subTest(images):
                linted = qbatch.qbatch("lint", self.manifest(f"version: 1\nimages: {images}\n"))
                self.assertEqual(linted.code, 2, str(linted))
                self.assertIn(words, linted.result.err)
                self.assertRegex(linted.result.err, r"fleet\.yaml:2:\d+: error: ")
                self.assertRegex(linted.result.err, r"\n +images: .*\n +\^~+")
        linted = qbatch.qbatch("lint", self.manifest(
            "version: 1\ngraph: {scan: '**.qcow2'}\nimages: [{path: there.qcow2, compat: 1.1}]\n"))
        self.assertIn("fleet.yaml:2:15: error: \"**.qcow2\": ** stands for directories", linted.result.err)

    def test_lint_of_very_many_mistakes_is_short_and_cheap(self):
        self.create("there.qcow2")
        entries = "".join(f"  - {{path: none-{i}.qcow2, compat: 1.1}}\n" for i in range(50000))
        used = os.times()
        linted = qbatch.qbatch("lint", self.manifest("version: 1\nimages:\n" + entries))
        now = os.times()
        self.assertEqual(linted.code, 2)
        self.assertIn("and 49980 more", linted.result.err)
        self.assertLess(len(linted.result.err.splitlines()), 100)
        cost = now.children_user + now.children_system - used.children_user - used.children_system
        self.assertLess(cost, 10)  # seconds of processor time: it was quadratic

    def test_an_image_is_not_a_manifest(self):
        for image in (self.create(), self.raw("disk.raw", "1M")):
            answer = qbatch.qbatch(image)
            self.assertEqual(answer.code, 2)
            self.assertEqual(len(answer.result.err.strip().splitlines()), 1, answer.result.err)
        self.assertIn("not text", answer.result.err)
        self.assertIn("qbatch amend", qbatch.qbatch(self.create("b.qcow2")).result.err)

    def test_a_manifest_in_another_encoding_is_told_how_to_save_it(self):
        text = "version: 1\nimages: [{path: a.qcow2, compat: 1.1}]\n"
        for encoding in ("utf-16", "utf-16-le", "utf-16-be", "utf-32"):
            with open(self.path("other.yaml"), "wb") as f:
                f.write(text.encode(encoding))
            answer = qbatch.qbatch("lint", self.path("other.yaml"))
            self.assertEqual(answer.code, 2)
            self.assertIn("save it as UTF-8", answer.result.err)
            self.assertEqual(len(answer.result.err.splitlines()), 1, answer.result.err)

    def test_a_missing_manifest(self):
        self.assertEqual(qbatch.qbatch(self.path("none.yaml")).code, 2)

    def test_an_alias_bomb_is_cheap(self):
        lines = ["version: 1", "a0: &a0 [x, x, x, x, x, x, x, x, x]"]
        lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)]
        self.rejected("\n".join(lines) + "\n")

    def test_deep_nesting_does_not_overflow_a_stack(self):
        self.rejected("version: 1\nimages: " + "[" * 100000 + "\n")


class Selection(ImageTest):
    def setUp(self):
        super().setUp()
        for name in ("web-1", "web-2", "web-golden", "db"):
            self.create(f"{name}.qcow2")
        os.makedirs(self.path("deep/er"))
        self.create("deep/er/app.qcow2")

    def changed(self, text):
        answer = self.run_manifest(text)
        self.assertEqual(answer.code, 0, str(answer))
        return [os.path.relpath(os.path.join(self.folder, r["path"]), self.folder)
                for r in answer.records]

    def test_globs_are_sorted_and_can_exclude(self):
        self.assertEqual(self.changed("""
            version: 1
            images:
              - path: web-*.qcow2
                exclude: ["*-golden.qcow2"]
                lazy_refcounts: on
            """), ["web-1.qcow2", "web-2.qcow2"])

    def test_two_stars_cross_folders(self):
        self.assertIn("deep/er/app.qcow2", self.changed("""
            version: 1
            images: [{path: "**/*.qcow2", lazy_refcounts: on}]
            """))

    def test_a_list_of_paths_keeps_its_order(self):
        self.assertEqual(self.changed("""
            version: 1
            images: [{path: [web-2.qcow2, db.qcow2, web-1.qcow2], lazy_refcounts: on}]
            """), ["web-2.qcow2", "db.qcow2", "web-1.qcow2"])

    def test_an_images_own_key_wins_over_the_defaults(self):
        self.changed("""
            version: 1
            defaults: {size: 2M}
            images: [{path: db.qcow2}, {path: web-1.qcow2, size: +3M}]
            """)
        self.assertEqual(guest.info(self.path("db.qcow2"))["virtual-size"], 2 * MIB)
        self.assertEqual(guest.info(self.path("web-1.qcow2"))["virtual-size"], 4 * MIB)

    def test_an_unquoted_0_10_is_compat_0_10(self):
        self.changed("version: 1\nimages: [{path: db.qcow2, compat: 0.10}]\n")
        self.assertEqual(guest.info(self.path("db.qcow2"))["format-specific"]["data"]["compat"],
                         "0.10")

    def test_paths_are_relative_to_the_manifest_not_to_the_caller(self):
        manifest = self.manifest("version: 1\nimages: [{path: db.qcow2, compat: 0.10}]\n")
        answer = qbatch.qbatch("--json", manifest, cwd="/")
        self.assertEqual((answer.code, answer.status), (0, "changed"), str(answer))

    def test_shrinking_needs_the_policy(self):
        text = "version: 1\npolicy: {{allow_shrink: {}}}\nimages: [{{path: db.qcow2, size: 512k}}]\n"
        self.assertEqual(self.run_manifest(text.format("false")).code, 1)
        self.assertEqual(self.run_manifest(text.format("true")).code, 0)


if __name__ == "__main__":
    main()
