"""policy.on_link: images that are reached through links."""
import os
import threading
import unittest

import context  # noqa: F401
import proc
import qbatch
from fixture import ImageTest, main

TENANT, OTHER = 54321, 54322


class Links(ImageTest):
    def setUp(self):
        super().setUp()
        for name in ("a", "b"):
            os.mkdir(self.path(name))
        self.image = self.create("a/x.qcow2")

    def link(self, to="a/x.qcow2", name="b/link.qcow2", uid=None):
        path = self.path(name)
        if os.path.lexists(path):
            os.unlink(path)
        os.symlink(self.path(to), path)
        if uid is not None:
            os.chown(path, uid, uid, follow_symlinks=False)
        return path

    def takes(self, path, *flags):
        """Whether it is amended under this path; else it is refused, and as it was."""
        sha = proc.sha256(self.image)
        answer = qbatch.amend(path, flags=flags, lazy_refcounts="off" if self.is_lazy() else "on")
        if answer.code:
            self.assertEqual((answer.code, answer.error, proc.sha256(self.image)), (1, "refused", sha), str(answer))
            return False
        self.assertEqual(answer.status, "changed", str(answer))
        return True

    def is_lazy(self):
        return qbatch.qbatch("info", "--json", self.image).first["format-specific"]["data"]["lazy-refcounts"]

    def test_own_links_are_followed_to_files_and_folders(self):
        self.assertTrue(self.takes(self.link()))
        self.link("a", "b/folder")
        self.assertTrue(self.takes(self.path("b/folder/x.qcow2")))
        for rule, taken in (("by_owner", True), ("follow", True), ("fail", False)):
            for path in ("b/link.qcow2", "b/folder/x.qcow2"):
                self.assertEqual(self.takes(self.path(path), "--on-link", rule), taken)
        self.assertTrue(self.takes(self.image, "--on-link", "fail"))

    @unittest.skipUnless(os.geteuid() == 0, "needs root, to make the links of others")
    def test_a_strangers_link_is_followed_only_to_his_own_image(self):
        for uid, owner, taken in ((OTHER, 0, False), (OTHER, TENANT, False), (TENANT, TENANT, True), (0, TENANT, True)):
            os.chown(self.image, owner, owner)
            self.link(uid=uid)
            self.link("a", "b/folder", uid)
            for path in ("b/link.qcow2", "b/folder/x.qcow2"):
                self.assertEqual(self.takes(self.path(path)), taken, (uid, owner, path))
                self.assertTrue(self.takes(self.path(path), "--on-link", "follow"))

    @unittest.skipUnless(os.geteuid() == 0, "needs root, to make the links of others")
    def test_every_link_of_a_chain_of_links_is_judged(self):
        self.link(uid=0)
        outer = self.link("b/link.qcow2", "b/outer.qcow2", OTHER)
        self.assertFalse(self.takes(outer))
        self.link(uid=OTHER)
        self.assertFalse(self.takes(self.link("b/link.qcow2", "b/outer.qcow2", 0)))

    def test_a_manifest_says_it_too(self):
        manifest = f"""
            version: 1
            policy: {{on_link: fail}}
            images: [{{path: {self.link()}, lazy_refcounts: on}}]
            """
        self.assertEqual(self.run_manifest(manifest).error, "refused")
        self.assertEqual(self.run_manifest(manifest, "--on-link", "follow").status, "changed")

    def test_a_second_name_is_noted_or_refused(self):
        os.link(self.image, self.path("b/hard.qcow2"))
        answer = qbatch.amend(self.path("b/hard.qcow2"), lazy_refcounts="on")
        self.assertEqual((answer.status, answer.first["other_names"]), ("changed", 1))
        shown = proc.run([os.environ["QBATCH"], "amend", "-o", "lazy_refcounts=off", self.image])
        self.assertIn("another name (a hard link)", shown.out + shown.err)
        self.assertFalse(self.takes(self.image, "--on-link", "fail"))
        os.unlink(self.path("b/hard.qcow2"))
        self.assertTrue(self.takes(self.image, "--on-link", "fail"))

    @unittest.skipUnless(os.geteuid() == 0, "needs root, to own what others swap")
    def test_against_a_swapper_nothing_else_is_amended(self):
        """A tenant's folder, in which his image and a link to root's take turns under one name."""
        victim, own, name = self.create("a/victim.qcow2"), self.create("b/own.qcow2"), self.path("b/name.qcow2")
        os.chown(own, TENANT, TENANT)
        os.chmod(victim, 0o600)
        sha, over = proc.sha256(victim), threading.Event()

        def swap():
            while not over.is_set():
                for made in (lambda t: os.link(own, t), lambda t: os.symlink(victim, t)):
                    made(name + ".new")
                    os.chown(name + ".new", TENANT, TENANT, follow_symlinks=False)
                    os.rename(name + ".new", name)
                    if os.path.lexists(name + ".new"):  # of two names of one file neither goes
                        os.unlink(name + ".new")

        os.link(own, name)
        swapper = threading.Thread(target=swap)
        swapper.start()
        codes = set()
        try:
            for n in range(400):
                answer = qbatch.amend(name, lazy_refcounts="on" if n % 2 else "off")
                codes.add(answer.error or answer.status)
        finally:
            over.set()
            swapper.join()
        self.assertEqual(proc.sha256(victim), sha)
        self.assertLessEqual(codes, {"changed", "unchanged", "refused", "locked", "not_found"})
        self.assertIn("refused", codes)


if __name__ == "__main__":
    main()
