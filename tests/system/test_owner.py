"""Whose bytes: an image gets nothing from a file that its owner could not read."""
import json
import os
import shutil
import stat
import threading
import unittest

import context  # noqa: F401
import proc
import qbatch
import strace
from fixture import MIB, ImageTest, main

TENANT, OTHER, NOBODY = 54321, 54322, 65534
SECRET = b"the secret of another tenant"


@unittest.skipUnless(os.geteuid() == 0, "needs root, to give files away")
class Owner(ImageTest):
    def setUp(self):
        super().setUp()
        os.chmod(self.folder, 0o755)

    def secret(self, name="secret", size=7680, mode=0o600, uid=0, gid=0):
        path = self.path(name)
        with open(path, "wb") as f:
            f.write((SECRET * (size // len(SECRET) + 1))[:size])
        os.chown(path, uid, gid)
        os.chmod(path, mode)
        return path

    def image(self, backing, name="a.qcow2", size=4608, fmt="raw", uid=TENANT, gid=TENANT, **options):
        """An image of a tenant that names a file he may not be able to open."""
        path = self.path(name)
        options = ["-o", qbatch.option_string(options)] if options else []
        proc.must(["qemu-img", "create", "-q", "-u", "-f", "qcow2", *options, "-b", backing,
                   "-F", fmt or "raw", path, str(size)], cwd=self.folder)
        os.chown(path, uid, gid)
        if not fmt:
            self.assertEqual(qbatch.amend(path, backing_fmt="").status, "changed")
        return path

    def zeros(self, backing, **options):
        image = self.image(backing, size=MIB, **options)
        self.io(image, "write -q -z 0 256k")
        return image

    def grow(self, image, off=False, flags=()):
        policy = "policy: {owner_must_read: off}" if off else ""
        return self.run_manifest(f"""
            version: 1
            {policy}
            images: [{{path: {image}, size: +1M}}]
            """, *flags)

    def assert_refused(self, image, words="", **options):
        record = self.refused(image, "backing_refused", words=words, **options)
        self.assertIn("owner_must_read", record["error"]["hint"])
        self.assert_holds_no_secret(image)

    def assert_holds_no_secret(self, image):
        with open(image, "rb") as f:
            self.assertNotIn(SECRET, f.read())

    # ---- a resize ---------------------------------------------------------------------------
    def test_a_resize_copies_nothing_that_the_owner_could_not_read(self):
        secret = self.secret(size=3 * MIB)
        for fmt in ("raw", None):
            for cluster in ("64k", "2M"):
                image = self.image(secret, fmt=fmt, cluster_size=cluster)
                self.assert_refused(image, f"{TENANT}", size="+1M")
                os.unlink(image)

    def test_nor_what_is_in_the_data_file_of_his_backing_file(self):
        self.create("base.qcow2", size=7680, data_file="secret", data_file_raw="on")
        self.io(self.path("base.qcow2"), "write -q -P 1 0 7680")
        os.chown(self.path("base.qcow2"), TENANT, TENANT)
        self.secret()
        for backing in ("base.qcow2", self.path("base.qcow2")):
            image = self.image(backing, fmt="qcow2")
            self.assert_refused(image, "the external data file", size="+1M")
            os.unlink(image)
        os.chmod(self.path("secret"), 0o644)
        self.amended(self.image("base.qcow2", fmt="qcow2"), size="+1M")

    def test_what_the_owner_can_read_is_copied_as_before(self):
        for mode, gid in ((0o644, 0), (0o640, TENANT)):
            image = self.image(self.secret(mode=mode, gid=gid))
            self.amended(image, size="+1M")
            with open(image, "rb") as f:
                self.assertIn(SECRET, f.read())
            os.unlink(image)

    def test_roots_own_images_read_what_root_reads(self):
        self.amended(self.image(self.secret(), uid=0, gid=0), size="+1M")

    def test_an_access_control_list_counts_and_so_does_its_mask(self):
        secret = self.secret()
        image = self.image(secret)
        proc.must(["setfacl", "-m", f"u:{TENANT}:r", secret])
        proc.must(["setfacl", "-m", "m::---", secret])
        self.assert_refused(image, size="+1M")
        proc.must(["setfacl", "-m", f"u:{TENANT}:r,m::r", secret])
        self.amended(image, size="+1M")
        proc.must(["setfacl", "-b", secret])
        os.chmod(secret, 0o644)
        image = self.image(secret, name="b.qcow2")
        proc.must(["setfacl", "-m", f"u:{TENANT}:-", secret])
        self.assert_refused(image, size="+1M")

    def test_every_folder_on_the_way_must_let_the_owner_through(self):
        os.makedirs(self.path("closed/open"))
        secret = self.secret("closed/open/file", mode=0o644)
        os.chmod(self.path("closed"), 0o700)
        os.symlink(secret, self.path("link"))
        for name in (secret, "closed/open/file", "link", "closed/open/../open/file"):
            image = self.image(name)
            self.assert_refused(image, "search", size="+1M")
        os.chmod(self.path("closed"), 0o711)
        self.amended(image, size="+1M")

    def test_groups_are_those_of_the_user_and_not_of_his_file(self):
        secret = self.secret(mode=0o640, gid=60)
        image = self.image(secret, uid=NOBODY, gid=60)
        self.assert_refused(image, size="+1M")
        os.chown(image, 5, 0)  # games, whose group is games
        self.amended(image, size="+1M")

    def test_only_files_and_block_devices_are_opened(self):
        os.mkfifo(self.path("fifo"), 0o666)
        os.mknod(self.path("zero"), 0o666 | stat.S_IFCHR, os.makedev(1, 5))
        os.mkdir(self.path("folder"))
        for name, kind in (("fifo", "FIFO"), ("zero", "character device"), ("folder", "directory")):
            for uid in (TENANT, 0):
                self.assert_refused(self.image(name, uid=uid), kind, size="+1M")

    # ---- chains -----------------------------------------------------------------------------
    def test_a_file_in_the_middle_speaks_for_its_own_owner(self):
        """The backing file of root's image is a tenant's, whose header the tenant can write."""
        middle = self.image(self.secret(), "middle.qcow2")
        os.chmod(middle, 0o644)
        for uid, words in ((0, "middle.qcow2"), (OTHER, "a.qcow2")):
            image = self.image("middle.qcow2", uid=uid, fmt="qcow2")
            self.assert_refused(image, words, size="+1M")

    def test_whoever_cannot_read_the_middle_gets_nothing_of_it(self):
        middle = self.image(self.secret(mode=0o644), "middle.qcow2")
        os.chmod(middle, 0o600)
        self.assert_refused(self.image("middle.qcow2", uid=OTHER, fmt="qcow2"), size="+1M")

    # ---- all who open -----------------------------------------------------------------------
    def opened(self, *argv):
        """What a run of qbatch opened for more than to look at its status."""
        with open(self.path("trace"), "w", encoding="utf-8"):
            pass
        done = proc.run(["strace", "-f", "-y", "-qq", "-o", self.path("trace"), "-e",
                         "trace=open,openat,openat2,io_uring_enter", qbatch.absolute(qbatch.TOOL), *argv],
                        env=strace.environment(), cwd=self.folder)
        with open(self.path("trace"), encoding="utf-8") as f:
            return done, [line for line in f if "secret>" in line and "O_PATH" not in line]

    def run_opening_nothing(self, image, text, code, *argv):
        if not strace.works():
            self.skipTest(strace.MISSING)
        sha = proc.sha256(image)
        done, lines = self.opened(*argv, self.manifest(text))
        self.assertEqual(lines, [], done)
        self.assertIn(done.code, code, done)
        if 1 in code:
            self.assertIn("backing_refused" if not argv else "", done.out + done.err)
            self.assertEqual(proc.sha256(image), sha)

    def test_no_opener_opens_it(self):
        secret = self.secret(size=MIB)
        image = self.zeros(secret)
        copy = self.secret("copy", MIB, mode=0o644)
        lost = self.image("x/secret", "lost.qcow2", fmt=None)
        path = f"images: [{{path: {image}, "
        for text in (path + 'compat: "0.10"}]', path + 'compat: "0.10", zero_clusters: defer}]',
                     path + "size: +1M}]",
                     path + "backing: {rewrite: [{from: secret, to: copy}], check_content: on}}]",
                     f"images: [{{path: {lost}, backing: {{rewrite: [{{from: x/secret, to: secret}}], fmt: auto}}}}]"):
            self.run_opening_nothing(image, "version: 1\n" + text, (1,))
        chain = f"version: 1\nimages: [{{chain: {image}, lazy_refcounts: on}}]"
        self.run_opening_nothing(image, chain, (2,), "lint")
        self.run_opening_nothing(image, f"version: 1\n{path}lazy_refcounts: on}}]", (0, 1), "graph")
        self.assertTrue(os.path.exists(copy))

    def test_the_trace_would_show_it(self):
        if not strace.works():
            self.skipTest(strace.MISSING)
        image = self.image(self.secret(mode=0o644))
        _, lines = self.opened("amend", "-o", "size=+1M", image)
        self.assertTrue(lines)

    def test_an_amend_of_the_header_alone_needs_none(self):
        image = self.image(self.secret())
        self.run_opening_nothing(image, f"version: 1\nimages: [{{path: {image}, lazy_refcounts: on}}]", (0,))

    def test_a_file_on_loan_is_lent_to_those_who_could_read_it(self):
        self.secret(size=MIB, mode=0o640, gid=TENANT)
        images = [self.zeros("secret", name=f"{i}.qcow2", uid=(TENANT, OTHER)[i % 2],
                             gid=(TENANT, OTHER)[i % 2]) for i in range(6)]
        answer = qbatch.amend(images, compat="0.10")
        self.assertEqual([r["status"] for r in answer.records], ["changed", "failed"] * 3, answer)
        self.assertEqual({r["error"]["code"] for r in answer.records if r["error"]},
                         {"backing_refused"})
        for image in images[::2]:
            self.assert_sound(image)

    # ---- off --------------------------------------------------------------------------------
    def test_off_opens_it_and_every_report_names_that(self):
        flags = [word for kind in ("report", "summary", "junit", "html") for word in (f"--{kind}", kind)]
        secret = self.secret()
        answer = self.grow(self.image(secret), True, [*flags, "--prometheus", self.folder])
        self.assertEqual((answer.code, answer.status), (0, "changed"), answer)
        self.assertIs(answer.summary["owner_must_read"], False)
        self.assertIs(answer.first["owner_must_read"], False)
        texts = {}
        for name in ("report", "summary", "junit", "html", "qbatch-fleet.yaml.prom"):
            with open(self.path(name), encoding="utf-8") as f:
                texts[name] = f.read()
        self.assertIs(json.loads(texts["report"])["owner_must_read"], False)
        self.assertIs(json.loads(texts["summary"])["owner_must_read"], False)
        self.assertIn('name="policy.owner_must_read" value="off"', texts["junit"])
        self.assertIn("policy.owner_must_read", texts["html"])
        self.assertIn('qbatch_last_run_owner_must_read{manifest="fleet.yaml"} 0',
                      texts["qbatch-fleet.yaml.prom"])
        shown = proc.run([qbatch.absolute(qbatch.TOOL), "report", "show", self.path("report")])
        self.assertIn("owner_must_read is off", shown.out)
        self.image(secret)
        self.assertIs(self.grow("a.qcow2").summary["owner_must_read"], True)

    # ---- formats ----------------------------------------------------------------------------
    def test_what_a_guest_wrote_on_a_raw_disk_orders_nothing(self):
        """The raw backing file begins with a qcow2 header that names the image above it."""
        for fmt, code in (("raw", 0), ("qcow2", 1)):
            image = self.create("a.qcow2", backing="disk", backing_fmt=fmt, size="1M") \
                if fmt == "qcow2" and os.path.exists(self.path("disk")) \
                else self.image("disk", fmt=fmt, size=MIB, uid=0, gid=0)
            self.image("a.qcow2", "disk", fmt="qcow2", size=MIB, uid=0, gid=0)
            answer = qbatch.amend(image, lazy_refcounts="on")
            self.assertEqual(answer.code, code, answer)
            if code:
                self.assertEqual(answer.error, "backing_loop", answer)

    def test_a_forged_header_keeps_no_other_image_from_shrinking(self):
        victim = self.create("victim.qcow2", size="2M")
        self.image("victim.qcow2", "disk", fmt="qcow2", size=MIB)
        self.image("disk", "guest.qcow2", fmt="raw", size=MIB)
        self.image(self.secret(), "thief.qcow2", fmt="qcow2", size=MIB)
        os.chmod(self.path("disk"), 0o644)
        answer = self.run_manifest("""
            version: 1
            policy: {allow_shrink: on}
            images:
              - {path: victim.qcow2, size: 1M}
              - {path: [guest.qcow2, thief.qcow2], lazy_refcounts: on}
            """)
        self.assertEqual([r["status"] for r in answer.records], ["changed"] * 3, answer)
        self.assert_sound(victim)

    # ---- races ------------------------------------------------------------------------------
    def test_no_exchange_on_the_way_brings_other_bytes_in(self):
        """A file, and a folder above it, are exchanged all the time by links to the secret's."""
        for name, mode in (("mine", 0o755), ("theirs", 0o700)):
            os.mkdir(self.path(name), mode)
        with open(self.path("mine/file"), "wb") as f:
            f.write(b"m" * 7680)
        self.secret("theirs/file", mode=0o644)
        os.symlink("mine", self.path("way"))
        done = threading.Event()

        def swap():
            targets = ["mine", "theirs"]
            while not done.is_set():
                targets.reverse()
                os.symlink(targets[0], self.path("next"))
                os.rename(self.path("next"), self.path("way"))

        thread = threading.Thread(target=swap)
        first = self.image("way/file", "first.qcow2")
        thread.start()
        try:
            changed = refused = 0
            for batch in range(6):
                images = [self.copy(first, f"{batch}-{i}.qcow2") for i in range(50)]
                for image in images:
                    os.chown(image, TENANT, TENANT)
                for record in qbatch.amend(images, size="+1M").records:
                    changed += record["status"] == "changed"
                    refused += record["status"] == "failed"
                    self.assertIn((record["error"] or {"code": "backing_refused"})["code"],
                                  ("backing_refused", "changed", "backing_missing"), record)
                for image in images:
                    self.assert_holds_no_secret(image)
        finally:
            done.set()
            thread.join()
        self.assertTrue(changed and refused, (changed, refused))


if __name__ == "__main__":
    if not shutil.which("setfacl"):
        raise SystemExit("setfacl is not installed (scripts/install-deps)")
    main()
