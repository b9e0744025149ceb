"""policy.roots: where the files must lie that images name."""
import os
import unittest

import context  # noqa: F401
import proc
import qbatch
import strace
from fixture import MIB, ImageTest, main
from loop_device import LoopTest

OTHER = 54322


class Confined:
    def setUp(self):
        super().setUp()
        for name in ("vm", "base", "base/deep", "else"):
            os.mkdir(self.path(name))
        self.raw("base/b.raw")

    def raw(self, name):
        with open(self.path(name), "wb") as f:
            f.write(b"x" * 7680)
        return self.path(name)

    def image(self, backing, name="vm/a.qcow2", fmt="raw"):
        """Growing it copies from its backing file, which is longer and ends within a cluster."""
        proc.must(["qemu-img", "create", "-q", "-u", "-f", "qcow2", "-b", backing, "-F", fmt, self.path(name),
                   "4608"], cwd=self.folder)
        return self.path(name)

    def roots(self, *names, **more):
        policy = "".join(f", {key}: {value}" for key, value in more.items())
        return f"policy: {{roots: [{', '.join(self.path(n) for n in names)}]{policy}}}"

    def grow(self, image, policy, *flags):
        return self.run_manifest(f"""
            version: 1
            {policy}
            images: [{{path: {image}, size: +1M}}]
            """, *flags)

    def assert_outside(self, image, policy, *flags):
        sha, stat = proc.sha256(image), os.stat(image)
        answer = self.grow(image, policy, *flags)
        self.assertEqual((answer.code, answer.error), (1, "outside_roots"), str(answer))
        self.assert_untouched(image, sha, stat)
        return answer.first["error"]["message"]

    def assert_inside(self, image, policy, *flags):
        answer = self.grow(image, policy, *flags)
        self.assertEqual((answer.code, answer.status), (0, "changed"), str(answer))
        proc.must(["qemu-img", "check", "-q", image])


class Roots(Confined, ImageTest):
    # ---- where ------------------------------------------------------------------------------
    def test_beneath_a_root_and_no_other_place(self):
        self.assert_inside(self.image(self.path("base/b.raw")), self.roots("base"))
        self.assert_inside(self.image("../base/b.raw"), self.roots("base"))
        self.assert_inside(self.image("../base/deep/../b.raw"), self.roots("else", "base"))
        self.assert_inside(self.image(self.path("base/b.raw")), self.roots(""))
        for name in (self.path("base/b.raw"), "../base/b.raw", self.path("else/../base/b.raw")):
            self.assert_outside(self.image(name), self.roots("else"))
            self.assert_outside(self.image(name), self.roots("vm", "base/deep"))

    def test_a_name_that_only_begins_like_a_root_is_outside(self):
        os.mkdir(self.path("base2"))
        self.raw("base2/b.raw")
        self.assert_outside(self.image(self.path("base2/b.raw")), self.roots("base"))
        self.assert_outside(self.image(self.path("base/../base2/b.raw")), self.roots("base"))

    def test_out_of_an_inner_root_and_back_into_an_outer_one(self):
        self.assert_inside(self.image(self.path("base/deep/../b.raw")), self.roots("base/deep", "base"))
        self.assert_inside(self.image(self.path("base/deep/../../else/../base/b.raw")), self.roots("", "base/deep"))
        self.assert_outside(self.image(self.path("base/deep/../b.raw")), self.roots("base/deep"))

    def test_the_message_ends_with_the_line_that_would_allow_it(self):
        image = self.image(self.path("base/b.raw"))
        message = self.assert_outside(image, self.roots("else"))
        line = message[message.index("policy: "):]
        self.assertEqual(line, f"policy: {{roots: [{self.path('base')}]}}")
        self.assert_inside(image, line)

    def test_links_are_followed_to_where_they_lead(self):
        os.symlink("../base/b.raw", self.path("else/link"))
        os.symlink(self.path("base"), self.path("else/folder"))
        for name in ("else/link", "else/folder/b.raw"):
            self.assert_outside(self.image(self.path(name)), self.roots("else"))
            self.assert_inside(self.image(self.path(name)), self.roots("else", "base"))
            self.assert_inside(self.image(self.path(name)), self.roots("base"))

    @unittest.skipUnless(os.geteuid() == 0, "needs root, to make another user's link")
    def test_outside_of_the_roots_no_strangers_link_is_followed(self):
        os.symlink(self.path("base/b.raw"), self.path("else/link"))
        os.chown(self.path("else/link"), OTHER, OTHER, follow_symlinks=False)
        self.assert_outside(self.image(self.path("else/link")), self.roots("base"))
        self.assert_inside(self.image(self.path("else/link")), self.roots("base", "else"))

    def test_the_caller_names_roots_instead_of_the_manifest(self):
        image = self.image(self.path("base/b.raw"))
        self.assert_outside(image, self.roots("base"), "--root", self.path("else"))
        self.assert_inside(image, self.roots("else"), "--root", self.path("vm"), "--root", self.path("base"))
        self.refused(self.image(self.path("base/b.raw")), "outside_roots", flags=["--root", self.path("else")],
                     size="+1M")

    def test_relative_roots_start_at_the_manifest(self):
        image = self.image(self.path("base/b.raw"))
        self.assert_outside(image, "policy: {roots: else}")
        self.assert_inside(image, "policy: {roots: [base]}")

    # ---- what is opened ---------------------------------------------------------------------
    @unittest.skipUnless(strace.works(), "strace cannot trace here")
    def test_what_lies_outside_is_not_opened_to_be_read(self):
        image = self.image(self.path("base/b.raw"))
        manifest = self.manifest(f"""
            version: 1
            {self.roots("else")}
            images: [{{path: {image}, size: +1M}}]
            """)
        log = self.path("log")
        proc.run(["strace", "-f", "-qq", "-o", log, "-e", "trace=open,openat,openat2", os.environ["QBATCH"], manifest],
                 env=strace.environment(), cwd=self.folder)
        with open(log, encoding="utf-8") as f:
            opened = [line for line in f if "b.raw" in line]
        self.assertTrue(opened)
        for line in opened:
            self.assertIn("O_PATH", line)

    def test_whole_chains_and_data_files(self):
        self.create("else/mid.qcow2", size="1M", backing=self.path("base/b.raw"), backing_fmt="raw")
        self.assert_outside(self.image(self.path("else/mid.qcow2"), fmt="qcow2"), self.roots("else"))
        self.assert_inside(self.image(self.path("else/mid.qcow2"), fmt="qcow2"), self.roots("else", "base"))
        os.mkdir(self.path("data"))
        image = self.create("vm/d.qcow2", size="1M", data_file=self.path("data/d.raw"))
        self.assert_outside(image, self.roots("vm"))
        self.assert_inside(image, self.roots("data"))

    def test_an_amend_that_opens_nothing_needs_no_root(self):
        image = self.image(self.path("base/b.raw"))
        self.amended(image, flags=["--root", self.path("else")], lazy_refcounts="on")

    def test_checks_and_maps_keep_to_them_too(self):
        image = self.image(self.path("base/b.raw"))
        answer = qbatch.qbatch("map", "--json", "--root", self.path("else"), image)
        self.assertEqual((answer.code, answer.error), (1, "outside_roots"), str(answer))
        self.assertEqual(qbatch.qbatch("map", "--json", "--root", self.path("base"), image).code, 0)

    def test_an_entry_with_a_chain_selects_nothing_outside(self):
        self.create("else/mid.qcow2", size="1M")
        image = self.image(self.path("else/mid.qcow2"), fmt="qcow2")
        entry = f"images: [{{chain: {image}, lazy_refcounts: on}}]"
        for flags, code in ((["--root", self.path("base")], 1), (["--root", self.path("else")], 0)):
            answer = self.run_manifest(f"version: 1\n{entry}\n", "--dry-run", *flags)
            self.assertEqual(answer.code, code, str(answer))

    # ---- file systems -------------------------------------------------------------
    @unittest.skipUnless(os.geteuid() == 0 and os.path.isdir("/dev/shm"), "needs root and another file system")
    def test_other_file_systems_are_outside_where_that_is_asked_for(self):
        os.mkdir(self.path("base/mounted"))
        if proc.run(["mount", "-t", "tmpfs", "none", self.path("base/mounted")]).code:
            self.skipTest("nothing can be mounted here")
        self.addCleanup(proc.run, ["umount", self.path("base/mounted")])
        self.raw("base/mounted/b.raw")
        image = self.image(self.path("base/mounted/b.raw"))
        self.assert_outside(image, self.roots("base", one_file_system="on"))
        self.assert_inside(image, self.roots("base", "base/mounted", one_file_system="on"))
        self.assert_inside(self.image(self.path("base/mounted/b.raw")), self.roots("base"))

    # ---- mistakes, and what a dry run says ----------------------------------------------------
    def test_a_root_that_is_none_is_a_mistake_with_its_place(self):
        for name, words in (("nowhere", "No such file"), ("base/b.raw", "neither a directory nor a block device")):
            answer = self.grow(self.image(self.path("base/b.raw")), self.roots(name))
            self.assertEqual(answer.code, 2)
            self.assertIn("fleet.yaml:2:18:", answer.result.err)
            self.assertIn(words, answer.result.err)
            answer = qbatch.amend(self.path("vm/a.qcow2"), flags=["--root", self.path(name)], size="+1M")
            self.assertEqual(answer.code, 2, str(answer))
            self.assertIn(words, answer.result.err)

    def test_a_dry_run_prints_the_folders_in_use_ready_to_paste(self):
        os.mkdir(self.path("base/two words"))
        self.raw("base/two words/b.raw")
        self.raw("base/deep/b.raw")
        os.mkdir(self.path("base/deep/more"))
        self.raw("base/deep/more/b.raw")
        images = [self.image(self.path(f"{place}/b.raw"), f"vm/{n}.qcow2")
                  for n, place in enumerate(("base/two words", "base/deep/more", "else/../base/deep"))]
        entries = "\n".join(f"  - {{path: {image}, size: +1M}}" for image in images)
        answer = self.run_manifest(f"version: 1\nimages:\n{entries}\n", "--dry-run")
        policy = answer.result.err[answer.result.err.index("policy: {roots:"):].splitlines()[0]
        self.assertEqual(policy, f'policy: {{roots: [{self.path("base/deep")}, "{self.path("base/two words")}"]}}')
        for image in images:
            self.assert_inside(image, policy)
        self.assertNotIn("policy:", self.grow(images[0], policy, "--dry-run").result.err)


class Devices(Confined, LoopTest):
    def test_devices_are_roots_and_a_link_of_root_may_lead_to_one(self):
        device = self.device(MIB)
        image = self.image(device)
        self.assert_outside(image, self.roots("base"))
        self.assert_inside(image, f"policy: {{roots: [{device}]}}")
        os.symlink(device, self.path("else/volume"))
        self.assert_outside(self.image(self.path("else/volume")), self.roots("base"))
        self.assert_inside(self.image(self.path("else/volume")), self.roots("else"))
        os.chown(self.path("else/volume"), OTHER, OTHER, follow_symlinks=False)
        self.assert_outside(self.image(self.path("else/volume")), self.roots("else"))
        self.assert_outside(self.image(self.path("else/volume")), self.roots("base"))


if __name__ == "__main__":
    main()
