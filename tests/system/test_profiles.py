"""`qbatch info --profile`: which images a system would refuse, by which source, and a manifest that mends them."""
import os

import context  # noqa: F401
import proc
import qbatch
import qcow2
from fixture import ImageTest, main

FORMAT_EXTENSION = 0xE2792ACA
SECRET = ["--object", "secret,id=s,data=abc"]


class ProfileTest(ImageTest):
    def info(self, profile, *argv, **kwargs):
        return qbatch.qbatch("info", "--profile", profile, *argv, cwd=self.folder, **kwargs)

    def codes(self, profile, *names):
        answer = self.info(profile, "--json", *names)
        for record in answer.records:
            self.assertEqual(record["profile"]["name"], profile)
        return [[finding["code"] for finding in record["profile"]["findings"]] for record in answer.records]

    def guessed(self, name="guessed.qcow2", base="base.qcow2"):
        """An overlay whose header has no format of its backing file, as old versions made them."""
        image = self.create(name, backing=base)
        found = next(e for e in qcow2.load(image).extensions() if e.type == FORMAT_EXTENSION)
        qcow2.patch(image, found.offset - 8, b"\x12\x34\x56\x78")  # an extension that nobody knows
        return image

    def mends(self, profile, *names):
        """The manifest is right, changes what it names, and leaves nothing that an amend mends."""
        text = self.info(profile, "--json", *names).summary["manifest"]
        with open(self.path("mend.yaml"), "w", encoding="utf-8") as f:
            f.write(text)
        shown = self.info(profile, *names).result.out
        self.assertTrue(shown.endswith("\n" + text), shown)
        before = {name: proc.must(["qemu-img", "map", "--output=json", name], cwd=self.folder) for name in names}
        self.assertEqual(qbatch.qbatch("lint", "mend.yaml", cwd=self.folder).code, 0)
        done = qbatch.qbatch("--json", "--no-state", "mend.yaml", cwd=self.folder)
        self.assertEqual((done.code, {record["status"] for record in done.records}), (0, {"changed"}), str(done))
        for name in names:
            proc.must(["qemu-img", "check", "-q", name], cwd=self.folder)
            self.assertEqual(proc.must(["qemu-img", "map", "--output=json", name], cwd=self.folder), before[name])
        self.assertIsNone(self.info(profile, "--json", *names).summary["manifest"])
        return done


class Findings(ProfileTest):
    def test_one_image_is_shown_with_the_reason_the_source_and_the_mend(self):
        self.create("a.qcow2", compat="0.10")
        answer = self.info("rhel9", "a.qcow2")
        self.assertEqual(answer.code, 1)
        self.assertIn("profile rhel9: does not fit\n    version_2: ", answer.result.out)
        self.assertIn("        source: https://", answer.result.out)
        self.assertIn("        mend: compat: \"1.1\"\n", answer.result.out)
        self.assertTrue(answer.result.out.startswith("image: a.qcow2\n"))
        record = self.info("rhel9", "--json", "a.qcow2").first
        self.assertIs(record["profile"]["fits"], False)
        self.assertEqual(record["profile"]["findings"][0]["mend"], "compat: \"1.1\"")
        self.create("b.qcow2")
        answer = self.info("rhel9", "b.qcow2")
        self.assertEqual(answer.code, 0)
        self.assertTrue(answer.result.out.endswith("profile rhel9: nothing is known against it\n"))
        self.assertIs(self.info("rhel9", "--json", "b.qcow2").first["profile"]["fits"], True)

    def test_what_each_image_breaks(self):
        self.create("base.qcow2")
        self.create("over.qcow2", backing="base.qcow2")
        self.create("named.qcow2", backing="0a1b2c3d-0000-4fff-8abc-0123456789ab", flags=["-u"])
        self.guessed()
        self.create("data.qcow2", data_file="data.raw")
        self.create("aes.qcow2", flags=SECRET, **{"encrypt.format": "aes", "encrypt.key-secret": "s"})
        self.create("large.qcow2", size="16383G")
        self.create("small.qcow2", cluster_size=4096)
        names = ["base.qcow2", "over.qcow2", "named.qcow2", "guessed.qcow2", "data.qcow2", "aes.qcow2", "large.qcow2"]
        self.assertEqual(self.codes("pve9", *names),
                         [[], ["backing_file"], ["backing_file"], ["backing_file"], ["data_file"], ["encrypted_aes"], []])
        self.assertIsNone(self.info("pve9", "--json", *names).summary["manifest"])  # no amend mends any of them
        self.assertEqual(self.codes("ovirt", *names), [[], ["backing_not_a_volume"], [], ["backing_not_a_volume"], [],
                                                       ["encrypted_aes"], []])
        self.assertEqual(self.codes("libvirt", *names), [[], [], [], ["backing_format_missing"], [], ["encrypted_aes"], []])
        self.assertEqual(self.codes("xcp-ng", *names), [[], [], [], [], [], [], ["disk_too_large"]])
        self.assertEqual(self.codes("xcp-ng", "small.qcow2"), [["cluster_size"]])

    def test_the_length_of_a_chain(self):
        last = None
        for n in range(30):
            last, backing = f"{n}.qcow2", {"backing": last} if last else {}
            self.create(last, **backing)
        self.assertEqual(self.codes("xcp-ng", "28.qcow2", "29.qcow2"), [[], ["chain_too_long"]])
        os.unlink(self.path("0.qcow2"))
        answer = self.info("xcp-ng", "--json", "1.qcow2", "29.qcow2")
        self.assertEqual(answer.code, 1)
        for record in answer.records:
            profile = record["profile"]
            self.assertEqual((record["status"], profile["fits"], profile["findings"]), ("read", None, []))
            self.assertEqual([finding["code"] for finding in profile["undecided"]], ["chain_too_long"])
            self.assertIn("0.qcow2", profile["undecided"][0]["message"])
        self.assertEqual([answer.summary[key] for key in ("fit", "unfit", "undecided")], [0, 0, 2])
        self.assertIn("chain_too_long: not decided: the backing file", self.info("xcp-ng", "29.qcow2").result.out)
        self.assertEqual(self.info("rhel9", "29.qcow2").code, 0)  # which does not ask for it

    def test_an_image_that_cannot_be_read_has_no_profile(self):
        self.create("a.qcow2", compat="0.10")
        answer = self.info("rhel9", "--json", "a.qcow2", "gone", "a.qcow2")
        self.assertEqual((answer.code, answer.records[1]["status"]), (1, "failed"))
        self.assertNotIn("profile", answer.records[1])
        self.assertEqual([answer.summary[key] for key in ("failed", "fit", "unfit")], [1, 0, 2])

    def test_a_system_that_is_not_known(self):
        answer = self.info("rhel8", "a.qcow2")
        self.assertEqual(answer.code, 2)
        self.assertIn("xcp-ng, pve9, ovirt, libvirt or rhel9", answer.result.err)


class Fleet(ProfileTest):
    def test_equal_reasons_are_one_line(self):
        for n in range(7):
            self.create(f"v2-{n}.qcow2", compat="0.10")
        self.create("v3.qcow2")
        names = [f"v2-{n}.qcow2" for n in range(7)]
        out = self.info("rhel9", *names, "v3.qcow2").result.out.splitlines()
        self.assertRegex(out[0], r"^7 images  version_2: .*  \(v2-0.qcow2, v2-1.qcow2, v2-2.qcow2, \.\.\.\)$")
        self.assertRegex(out[1], "^    source: https://")
        self.assertEqual(out[3], "profile rhel9: 7 unfit, 1 with nothing known against them")
        self.assertNotIn("v3.qcow2", "\n".join(out[5:]))

    def test_the_manifest_mends(self):
        self.create("base.qcow2")
        self.raw("base.raw", "1M")
        self.guessed("a.qcow2")
        self.guessed("b.qcow2", "a.qcow2")
        self.io(self.path("a.qcow2"), "write -q -P 1 0 64k")
        self.mends("libvirt", "a.qcow2", "b.qcow2", "base.qcow2")
        self.assertEqual(self.info("libvirt", "a.qcow2", "b.qcow2", "base.qcow2").code, 0)
        self.create("old.qcow2", compat="0.10")
        self.io(self.path("old.qcow2"), "write -q -P 1 0 64k")
        self.mends("rhel9", "old.qcow2", "base.qcow2")
        self.assertEqual(self.info("rhel9", "old.qcow2").code, 0)

    def test_names_that_yaml_or_a_pattern_could_mistake(self):
        names = ["a*[b]?.qcow2", "back\\slash.qcow2", "back\\*.qcow2", "quote\"s'.qcow2", "line\nbreak.qcow2", "tab\t.qcow2",
                 "\u00fcml\u00e4ut \U0001f4be.qcow2", "~", "{a: b}", "# no", "right\u202eleft.qcow2", "x" * 200]
        for name in names:
            self.create("made.qcow2", compat="0.10")
            os.rename(self.path("made.qcow2"), self.path(name))
        done = self.mends("rhel9", *(f"./{name}" if name[0] in "~{#" else name for name in names))
        self.assertEqual(len(done.records), len(names))

    def test_a_name_that_is_not_utf_8_is_left_out_and_counted(self):
        self.create("a.qcow2", compat="0.10")
        self.create("made.qcow2", compat="0.10")
        os.rename(self.path("made.qcow2"), os.fsencode(self.path("")) + b"\xff.qcow2")
        with open(self.path("list"), "wb") as f:
            f.write(b"a.qcow2\n\xff.qcow2\n")
        manifest = self.info("rhel9", "--json", "--from-file", "list").summary["manifest"]
        self.assertEqual(manifest.count("path:"), 1)
        self.assertIn("# left out, because their names are not UTF-8: 1\n", manifest)

    def test_nothing_is_written(self):
        image = self.create("a.qcow2", compat="0.10")
        sha, stat = proc.sha256(image), os.stat(image)
        self.info("rhel9", image)
        self.assert_untouched(image, sha, stat)



if __name__ == "__main__":
    main()
