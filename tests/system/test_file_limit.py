"""RLIMIT_FSIZE: what would write past it is an error of one file, never the end of the run."""
import json
import os
import resource
import signal
import subprocess
import time

import context  # noqa: F401
import guest
import proc
import qbatch
from fixture import MIB, ImageTest, main

ENDED = (-signal.SIGXFSZ, -signal.SIGPIPE, -signal.SIGXCPU)


class FileLimit(ImageTest):
    def under(self, limit, *argv, what=resource.RLIMIT_FSIZE, **kwargs):
        """qbatch with this limit on the length of files that it writes."""
        done = subprocess.run([qbatch.absolute(qbatch.TOOL), *argv], text=True, cwd=self.folder,
                              stdout=kwargs.pop("stdout", subprocess.PIPE), stderr=subprocess.PIPE,
                              preexec_fn=lambda: resource.setrlimit(what, (limit, limit)), **kwargs)
        answer = qbatch.Answer(proc.Result(["qbatch", *argv], done.returncode, done.stdout or "",
                                           done.stderr))
        self.assertNotIn(answer.code, ENDED, str(answer))
        return answer

    def image(self, name, size="8M"):
        image = self.create(name, size=size, cluster_size=4096)
        self.io(image, "write -q -P 1 0 1M", "write -q -z 2M 64k")
        return image

    def test_at_any_limit_the_image_is_its_old_self_or_amended(self):
        original = self.image("original")
        before, layers, length = proc.sha256(original), guest.read_all(original), 0
        for io in ("posix", "auto"):
            for limit in (1, 100, 511, 512, 4096, os.path.getsize(original) + 4096, 4 * MIB):
                for change in ("compat=0.10", "lazy_refcounts=on", "refcount_bits=64"):
                    with self.subTest((io, limit, change)):
                        image = self.copy(original, "copy.qcow2")
                        answer = self.under(limit, "amend", "--json", "--io", io, "-o", change, image)
                        if answer.status == "failed":
                            self.assertEqual((answer.code, answer.error), (1, "no_space"))
                            self.assertIn("RLIMIT_FSIZE", answer.first["error"]["message"])
                            self.assertEqual(proc.sha256(image), before)
                            self.assertEqual(os.path.getsize(image), os.path.getsize(original))
                        else:
                            self.assertEqual((answer.code, answer.status), (0, "changed"))
                            self.assert_sound(image)
                            self.assert_same_layers(layers, guest.read_all(image))
                            length = max(length, os.path.getsize(image))
        self.assertGreater(length, os.path.getsize(original) + 4096)

    def test_one_image_fails_and_the_others_are_amended(self):
        small = [self.image(f"{i}.qcow2", size="2112k") for i in range(3)]
        large = self.image("large.qcow2")
        self.io(large, "write -q -P 3 4M 2M")
        sha = proc.sha256(large)
        text = self.manifest("""
            version: 1
            images: [{path: "*.qcow2", refcount_bits: 64}]
            """)
        answer = self.under(2 * MIB, "--json", text)
        self.assertEqual(answer.code, 1, str(answer))
        self.assertEqual([r["status"] for r in answer.records], ["changed"] * 3 + ["failed"])
        self.assertEqual(proc.sha256(large), sha)
        for image in small:
            self.assert_sound(image)

    def fleet(self, n=40):
        first = self.create("first", size="1M")
        for i in range(n):
            self.copy(first, f"{i:03}.qcow2")
        return self.manifest("""
            version: 1
            images: [{path: "*.qcow2", lazy_refcounts: on, size: 2M}]
            """)

    def assert_all_amended(self, n=40):
        for i in range(n):
            self.assert_sound(self.path(f"{i:03}.qcow2"))
            self.assertTrue(guest_info(self.path(f"{i:03}.qcow2"))["lazy-refcounts"])

    def test_a_report_that_reaches_the_limit_is_named(self):
        for flag in ("--report", "--html", "--junit", "--joblog", "--prometheus"):
            with self.subTest(flag):
                text = self.fleet(12)
                out = self.path("page") if flag != "--prometheus" else self.folder
                answer = self.under(600, "--json", "--no-state", flag, out, text)
                self.assertEqual(answer.code, 1, str(answer))
                self.assertIn("File too large", answer.result.err)
                self.assertEqual(len(answer.records), 12)
                self.assertIsNotNone(answer.summary)
                self.assert_all_amended(12)
                if os.path.isfile(out):
                    os.unlink(out)
                self.assertFalse([f for f in os.listdir(self.folder) if f.endswith(".new")])

    def test_standard_output_that_reaches_the_limit_is_named(self):
        text = self.fleet(12)
        for flags in (("--json",), ("-v",)):
            with open(self.path("out"), "w", encoding="utf-8") as out:
                answer = self.under(600, *flags, "--no-state", text, stdout=out)
            self.assertEqual(answer.code, 1, str(answer))
            self.assertIn("standard output: File too large", answer.result.err)
            self.assert_all_amended(12)
            self.fleet(12)
        for argv in (("check", "000.qcow2", "001.qcow2"), ("schema",), ("help", "man"),
                     ("graph", text)):
            with open(self.path("out"), "w", encoding="utf-8") as out:
                answer = self.under(30, *argv, stdout=out)
            self.assertGreater(answer.code, 0, str(answer))

    def test_a_journal_that_reaches_the_limit_is_named(self):
        for limit in (512, 1000, 2000):
            with self.subTest(limit):
                text = self.fleet()
                answer = self.under(limit, "--json", "--state", self.path(f"state-{limit}"), text)
                self.assertIn("journal", answer.result.err)
                if limit == 512 and answer.code == 2:  # not even its first record, by its length
                    self.assertEqual(answer.records, [])
                    self.assertFalse(guest_info(self.path("000.qcow2"))["lazy-refcounts"])
                    continue
                self.assertEqual(len(answer.records), 40, str(answer))
                self.assertIsNotNone(answer.summary)
                self.assert_all_amended()

    def test_nothing_is_changed_without_the_record_that_it_needs(self):
        text = self.fleet()
        self.manifest("""
            version: 1
            images: [{path: "*.qcow2", size: +1M}]
            """)
        answer = self.under(2000, "--json", "--state", self.path("state"), text)
        self.assertEqual(answer.code, 1, str(answer))
        sizes = {guest_info(self.path(f"{i:03}.qcow2"))["virtual-size"] for i in range(40)}
        self.assertEqual(sizes, {1 * MIB})
        again = qbatch.qbatch("--json", "--state", self.path("state"), text)
        self.assertEqual(again.code, 0, str(again))
        sizes = {guest_info(self.path(f"{i:03}.qcow2"))["virtual-size"] for i in range(40)}
        self.assertEqual(sizes, {2 * MIB})

    def test_an_undo_writes_the_header_whole_or_not_at_all(self):
        image = self.image("a.qcow2")
        text = self.manifest("""
            version: 1
            images: [{path: a.qcow2, lazy_refcounts: on, keep_undo: on}]
            """)
        state = ("--state", self.path("state"))
        self.assertEqual(qbatch.qbatch("--json", *state, text).code, 0)
        sha = proc.sha256(image)
        answer = self.under(300, "undo", "--json", *state, "last")
        self.assertNotEqual(answer.code, 0, str(answer))
        self.assertEqual(proc.sha256(image), sha)
        self.assertEqual(qbatch.qbatch("undo", "--json", *state, "last").code, 0)

    def test_a_reader_that_goes_away_does_not_end_the_run(self):
        text = self.fleet(12)
        read, write = os.pipe()
        os.close(read)
        with os.fdopen(write, "w") as out:
            answer = self.under(resource.RLIM_INFINITY, "--json", "--no-state", text, stdout=out)
        self.assertEqual(answer.code, 0, str(answer))
        self.assert_all_amended(12)

    def test_a_limit_on_processor_time_ends_the_run_as_sigterm_does(self):
        """Past the soft limit the signal comes every second: it is not taken for a second ^C."""
        self.raw("base.raw", "64M")
        image = self.create(size="64M", backing="base.raw", backing_fmt="raw")
        self.io(image, "write -q -z 0 24M")
        length = os.path.getsize(image)
        text = self.manifest("""
            version: 1
            limits: {rate: 256K}
            images: [{path: a.qcow2, compat: "0.10", zero_method: write}]
            """)
        with subprocess.Popen([qbatch.absolute(qbatch.TOOL), "--json", "--no-state", text], text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as run:
            while os.path.getsize(image) == length and run.poll() is None:
                time.sleep(0.01)
            for _ in range(3):
                run.send_signal(signal.SIGXCPU)
            out = run.communicate()[0]
        answer = qbatch.Answer(proc.Result(["qbatch"], run.returncode, out, ""))
        self.assertEqual((answer.code, answer.status), (75, "interrupted"), str(answer))
        self.assert_sound(image)


def guest_info(image):
    info = json.loads(proc.must(["qemu-img", "info", "--output=json", image]))
    return {**info, **info["format-specific"]["data"]}


if __name__ == "__main__":
    main()
