"""Input that is huge, endless or slow: expressions, lists, folders, findings.  Each costs little, is
told in few words, and can be interrupted."""
import os
import resource
import signal
import subprocess
import time

import context  # noqa: F401
import proc
import qbatch
import qcow2
from fixture import KIB, MIB, ImageTest, main

SANITIZED = bool(os.environ.get("QBATCH_SANITIZED"))


class Expressions(ImageTest):
    def lint(self, expression):
        def bounded():
            if not SANITIZED:
                resource.setrlimit(resource.RLIMIT_AS, (512 * MIB, 512 * MIB))
            resource.setrlimit(resource.RLIMIT_CPU, (10, 10))

        self.create("a.qcow2", backing="n" * 1000, backing_fmt="raw", flags=["-u"], size="1M")
        manifest = self.manifest(f"""
            version: 1
            images:
              - path: a.qcow2
                backing: {{rewrite: [{{from: '{expression}', to: x}}]}}
            """)
        linted = proc.run([qbatch.TOOL, "lint", manifest], preexec=bounded)
        ran = proc.run([qbatch.TOOL, "--dry-run", manifest], preexec=bounded)
        self.assertFalse(linted.crashed or ran.crashed, linted.err + ran.err)
        self.assertEqual(linted.code == 2, ran.code == 2)
        return linted

    def test_repetitions_are_bounded_by_what_they_come_to(self):
        for expression in ("(n{1,99}){1,99}", "((n{1,20}){1,20}){1,20}", "n{1,600}", "(((n{9}){9}){9}){9}",
                           "(n|m){9}{9}{9}", "([[:alpha:]]{1,255}){255}", "n" * 1024,
                           "((((((((((n+)+)+)+)+)+)+)+)+)+)+", "(n{1,}){1,600}", "n{99999999999999999999}",
                           "(" * 600 + "n" + ")" * 600):
            with self.subTest(expression[:40]):
                linted = self.lint(expression)
                self.assertEqual(linted.code, 2, linted.out + linted.err)
                self.assertIn("fleet.yaml:4:32", linted.err)
                self.assertIn("expression", linted.err)

    def test_back_references_are_refused(self):
        for expression in (r"(n)\1", r"(n*)*\1x"):
            linted = self.lint(expression)
            self.assertEqual(linted.code, 2)
            self.assertIn("back-reference", linted.err)

    def test_what_people_write_is_taken(self):
        uuid = "[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}"
        for expression in (uuid, "^/mnt/old-nfs/(.*)$", r"^/a\{1\}/[]^{]{2,3}/(x|y)+\.raw$", "n" * 500,
                           "[[:alpha:][.{.]]{3}", "(a{9}){9}", "n{1,200}", r"\\(n)\\"):
            with self.subTest(expression[:40]):
                linted = self.lint(expression)
                self.assertEqual(linted.code, 0, linted.err)


class Lists(ImageTest):
    text = """
        version: 1
        images: [{from_file: %s, lazy_refcounts: on}]
        """

    def start(self, name, *flags, **kwargs):
        return subprocess.Popen([qbatch.absolute(qbatch.TOOL), *flags, self.manifest(self.text % name)],
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **kwargs)

    def end(self, child, code):
        out, err = child.communicate(timeout=60)
        self.assertEqual(child.returncode, code, out + err)
        return out + err

    def test_a_fifo_is_read_to_its_end(self):
        self.create("a.qcow2")
        os.mkfifo(self.path("list"))
        child = self.start("list", "--dry-run")
        with open(self.path("list"), "w") as f:
            f.write("a.qcow2\n")
        self.assertIn("1 image", self.end(child, 0))

    def test_waiting_for_a_fifo_ends_with_a_signal(self):
        os.mkfifo(self.path("list"))
        for command in ([], ["lint"]):
            child = self.start("list", *command)
            proc.wait_until_it_catches(child, signal.SIGINT)
            time.sleep(0.2)  # in most cases it waits by now
            self.assertIsNone(child.poll())
            child.send_signal(signal.SIGINT)
            self.assertIn("interrupted", self.end(child, 75))
        child = self.start("list", "--json")
        proc.wait_until_it_catches(child, signal.SIGINT)
        child.send_signal(signal.SIGINT)
        self.assertIn('"error":"interrupted before the first image; nothing was touched","exit_code":75',
                      self.end(child, 75))
        os.mkfifo(self.path("manifest"))
        child = subprocess.Popen([qbatch.absolute(qbatch.TOOL), self.path("manifest")],
                                 stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        proc.wait_until_it_catches(child, signal.SIGTERM)
        child.send_signal(signal.SIGTERM)
        self.end(child, 75)

    def test_standard_input_may_be_a_fifo_and_a_descriptor_a_list(self):
        self.create("a.qcow2")
        self.assertIn("1 image", proc.run([qbatch.TOOL, "--dry-run", self.manifest(self.text % "/dev/stdin")],
                                          stdin="a.qcow2\n").out)

    def test_what_is_no_list_is_told_at_once(self):
        os.mkdir(self.path("folder"))
        with open(self.path("long"), "w") as f:
            f.write("x" * 5 * MIB)
        with open(self.path("nul"), "wb") as f:
            f.write(b"a\0b\n")
        for name, words in (("folder", "it is a directory"), ("/dev/zero", "it is a device"),
                            ("long", "longer than a path"), ("nul", "a NUL in a path"),
                            ("gone", "No such file")):
            with self.subTest(name):
                done = proc.run([qbatch.TOOL, self.manifest(self.text % name)])
                self.assertEqual(done.code, 2)
                self.assertIn(words, done.err)
                self.assertLess(len(done.err), 1000)

    def test_an_endless_list_ends(self):
        child = self.start("'-'", stdin=subprocess.PIPE)
        try:
            while True:
                child.stdin.write("x\n" * 100000)
        except BrokenPipeError:
            pass
        child.stdin = None
        self.assertIn("4 million", self.end(child, 2))

    def test_a_list_of_files_that_are_all_missing_is_one_mistake(self):
        with open(self.path("list"), "w") as f:
            f.writelines(f"no/{i}.qcow2\n" for i in range(20000))
        done = proc.run([qbatch.TOOL, self.manifest(self.text % "list")])
        self.assertEqual(done.code, 2)
        self.assertIn("none of the 20,000 files", done.err)
        self.assertIn("no/0.qcow2", done.err)
        self.assertLess(len(done.out + done.err), 1000)
        self.create("a.qcow2")
        with open(self.path("list"), "a") as f:
            f.write("a.qcow2\n")
        answer = self.run_manifest(self.text % "list", "--dry-run")
        self.assertEqual((answer.code, answer.records[-1]["status"]), (1, "would_change"))
        done = proc.run([qbatch.TOOL, self.manifest(self.text % "list"), "--dry-run"])
        self.assertIn("failed       20,000 images  not_found: ", done.out)
        self.assertLess(len(done.out), 1000)


class Findings(ImageTest):
    def leaky(self):
        """A megabyte of refcounts of clusters that nothing refers to."""
        image = self.create("a.qcow2", cluster_size=64 * KIB, refcount_bits=1, size="1M")
        found = qcow2.load(image)
        block = found.u64(found.refcount_table_offset) & qcow2.REFTABLE_OFFSET
        for i in range(16):
            if i:
                place = qcow2.append_cluster(image, bytes(64 * KIB))
                qcow2.patch_u64(image, found.refcount_table_offset + 8 * i, place)
                block = place
            qcow2.patch(image, block + 1, b"\xff" * (64 * KIB - 1))
        return image

    def test_findings_that_follow_each_other_are_one_line(self):
        image = self.leaky()
        with open(image, "r+b") as f:
            f.truncate(16 * 8 * 64 * KIB * 64 * KIB)
        done = proc.run([qbatch.TOOL, "check", image])
        self.assertEqual(done.code, 3, done.out[-300:] + done.err)
        self.assertLess(len(done.out), 8000)
        self.assertIn("times, each 0x10000 further", done.out)
        answer = qbatch.qbatch("check", "--json", image)
        record = answer.first
        self.assertEqual(record["leaks"], sum(f.get("count", 1) for f in record["findings"] if f["kind"] != "sign")
                         + record["findings_left_out"])
        self.assertLess(len(answer.result.out), 10000)

    def test_findings_without_order_are_bounded(self):
        image = self.create("a.qcow2", cluster_size=512, size="32M")
        self.io(image, "write -q -P 1 0 8M")
        found = qcow2.load(image)
        table = found.u64(found.l1_table_offset) & qcow2.L1_OFFSET
        for i in range(0, 64, 2):
            for t in range(64):
                l2 = found.u64(found.l1_table_offset + 8 * t) & qcow2.L1_OFFSET
                qcow2.patch_u64(image, l2 + 8 * i, (1 << 55) + (i * 64 + t) * 512)
        self.assertTrue(table)
        done = proc.run([qbatch.TOOL, "check", image])
        self.assertEqual(done.code, 2)
        self.assertLess(len(done.out.splitlines()), 450)
        self.assertIn("more errors", done.out)


if __name__ == "__main__":
    main()
