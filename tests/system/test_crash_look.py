"""A process that reads images for `check`, `info` or `map` dies: of one of them, or because somebody kills it."""
import json
import os
import signal
import subprocess
import time
import unittest

import context  # noqa: F401
import family
import proc
import qbatch
from fixture import MIB, OTHER_BUILD, ImageTest, main
from kernel import LACKS, NO_STRICT

MEDDLER = os.environ.get("MEDDLER", "")
SANITIZED = bool(os.environ.get("QBATCH_SANITIZED"))
N = 40
COMMANDS = ("info", "check", "map")


class LookTest(ImageTest):
    def fleet(self, n=N):
        first = self.create("00.qcow2", size="4M", cluster_size=4096)
        self.io(first, "write -q -P 7 1M 64k")
        return [first] + [self.copy(first, f"{i:02}.qcow2") for i in range(1, n)]

    def slow(self, iops=20):
        return self.manifest(f"""
            version: 1
            limits: {{iops: {iops}}}
            images: [{{path: "*.qcow2"}}]
            """)

    def start(self, command, *argv, **variables):
        return subprocess.Popen([qbatch.absolute(qbatch.TOOL), command, "--io", "posix", *argv], text=True,
                                env={**os.environ, **variables}, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def end(self, run):
        out, err = run.communicate(timeout=proc.TIMEOUT_SECONDS)
        *records, summary = (json.loads(line) for line in out.splitlines())
        return records, summary, err

    def reader(self, run, other_than=0):
        until = time.monotonic() + proc.TIMEOUT_SECONDS
        while time.monotonic() < until and run.poll() is None:
            reader = family.reader(run.pid)
            if reader and reader != other_than:
                return reader
            time.sleep(0.002)
        raise RuntimeError("there is no process that reads images")

    def assert_gone(self, pids):
        until = time.monotonic() + proc.TIMEOUT_SECONDS
        while any(family.is_there(pid) for pid in pids) and time.monotonic() < until:
            time.sleep(0.005)
        self.assertEqual([pid for pid in pids if family.is_there(pid)], [])


class Killed(LookTest):
    def test_who_kills_it_once_changes_no_answer(self):
        images = self.fleet(12)
        for command in COMMANDS:
            for number in (signal.SIGKILL, signal.SIGSEGV):
                run = self.start(command, "--json", "--manifest", self.slow())
                reader = self.reader(run)
                time.sleep(0.2)
                os.kill(reader, number)
                records, summary, err = self.end(run)
                self.assertEqual(run.returncode, 0, err)
                self.assertEqual([r["path"] for r in records], images)
                self.assertEqual((summary["images"], summary["not_reached"]), (12, 0), summary)
                self.assertEqual(err.count("note: the process that reads the images"), 1, err)

    def test_who_kills_its_helper_changes_none_either(self):
        images = self.fleet()
        run = self.start("info", "--json", "-j", "2", "--manifest", self.slow(100))
        reader = self.reader(run)
        until = time.monotonic() + proc.TIMEOUT_SECONDS
        while not family.children(reader) and time.monotonic() < until:
            time.sleep(0.002)
        time.sleep(0.1)
        os.kill(family.children(reader)[0], signal.SIGKILL)
        records, _, err = self.end(run)
        self.assertEqual(run.returncode, 0, err)
        self.assertEqual([(r["path"], r["status"]) for r in records], [(image, "read") for image in images])

    def test_whatever_is_killed_it_ends_and_says_of_each_image_what_it_knows(self):
        images = self.fleet(12)
        run = self.start("check", "--json", "--manifest", self.slow(100))
        reader, deaths = 0, 0
        while run.poll() is None and deaths < 100:
            try:
                reader = self.reader(run, other_than=reader)
                os.kill(reader, signal.SIGKILL)
                deaths += 1
            except (RuntimeError, ProcessLookupError):
                pass
        records, summary, err = self.end(run)
        self.assertEqual(run.returncode, 1, err)
        self.assertIn("and so did those before it; the command ends", err)
        self.assertEqual(summary["images"], len(records))
        self.assertEqual(summary["images"] + summary["not_reached"], 12)
        self.assertLessEqual({r["error"]["code"] for r in records if r["status"] != "clean"}, {"crashed"})
        self.assertLessEqual({r["path"] for r in records}, set(images))
        self.assertLess(deaths, 3 * 12)

    def test_it_goes_with_its_parent(self):
        self.fleet(12)
        run = self.start("check", "--manifest", self.slow(1))
        reader = self.reader(run)
        time.sleep(0.2)
        others = [reader, *family.children(reader)]
        run.kill()
        run.communicate()
        self.assert_gone(others)

    def test_an_interrupt_ends_one_that_is_stopped(self):
        self.fleet(12)
        for number in (signal.SIGINT, signal.SIGTERM):
            run = self.start("check", "--json", "--manifest", self.slow(10))
            reader = self.reader(run)
            time.sleep(0.2)
            os.kill(reader, signal.SIGSTOP)
            others = [reader, *family.children(reader)]
            run.send_signal(number)
            _, summary, err = self.end(run)
            self.assertEqual(run.returncode, 75, err)
            self.assertGreater(summary["not_reached"], 0)
            self.assert_gone(others)

    def test_a_map_that_is_shown_in_part_is_shown_once(self):
        image = self.create("many", size="64M", cluster_size=4096)
        self.io(image, *(f"write -q {at} 4k" for at in range(0, 64 * MIB, 16 << 10)))
        for argv in (("--json",), ()):
            whole = proc.must([qbatch.absolute(qbatch.TOOL), "map", *argv, image, image])
            run = self.start("map", *argv, image, image)
            begun = os.read(run.stdout.fileno(), 1000).decode()  # now it waits for us in the middle
            os.kill(self.reader(run), signal.SIGKILL)
            rest, err = run.communicate(timeout=proc.TIMEOUT_SECONDS)
            self.assertEqual(run.returncode, 0, err)
            self.assertIn("had begun", err)
            self.assertEqual(self.without_time(begun + rest), self.without_time(whole))

    def without_time(self, text):
        lines = text.splitlines()
        return lines[:-1]  # the last has the time that it took


@unittest.skipIf(SANITIZED or not os.path.exists(MEDDLER), OTHER_BUILD)
class Deadly(LookTest):
    def setUp(self):
        super().setUp()
        self.images = self.fleet()
        self.make_deadly(5)

    def make_deadly(self, *which):
        for i in which:
            os.truncate(self.images[i], MIB + 512)

    def look(self, command, *argv):
        run = self.start(command, *argv, *self.images, LD_PRELOAD=MEDDLER, MEDDLE_DEADLY="read",
                         MEDDLE_SIZE=str(MIB + 512))
        out, err = run.communicate(timeout=proc.TIMEOUT_SECONDS)
        return run.returncode, out, err

    def test_an_image_that_ends_each_process_costs_its_own_line(self):
        for command in COMMANDS:
            for jobs in ("1", "4"):
                code, out, err = self.look(command, "--json", "-j", jobs)
                *records, summary = (json.loads(line) for line in out.splitlines())
                self.assertEqual(code, 1, err)
                self.assertEqual([r["path"] for r in records], self.images)
                failed = [r for r in records if r["status"] not in ("read", "clean")]
                self.assertEqual([r["path"] for r in failed], [self.images[5]])
                self.assertEqual(failed[0]["error"]["code"], "crashed")
                self.assertRegex(failed[0]["error"]["message"],
                                 r"^the process that read it was ended by signal 9 .*, and so did one that had this image alone$")
                self.assertEqual((summary["images"], summary["not_reached"], summary["exit_code"]), (N, 0, 1))
                self.assertLessEqual(err.count("the process that reads the images was ended"), 2, err)

    def test_several_of_them(self):
        self.make_deadly(0, 6, 7, N - 1)
        code, out, err = self.look("check", "--json", "-j", "3")
        *records, summary = (json.loads(line) for line in out.splitlines())
        self.assertEqual((code, summary["clean"], summary["unchecked"]), (1, N - 5, 5), err)
        self.assertEqual([r["path"] for r in records if r["status"] != "clean"],
                         [self.images[i] for i in (0, 5, 6, 7, N - 1)])

    def test_people_and_reports_see_it(self):
        files = {kind: self.path(f"check.{kind}") for kind in ("xml", "html", "log")}
        code, out, err = self.look("check", "--junit", files["xml"], "--html", files["html"], "--joblog", files["log"],
                                   "--prometheus", self.folder)
        self.assertEqual(code, 1, err)
        self.assertRegex(out + err, r"05.qcow2: crashed: the process that read it was ended by signal 9")
        self.assertIn(f"{N} images: {N - 1} without errors, 1 not checked", out)
        for kind in ("xml", "html"):
            with open(files[kind], encoding="utf-8") as f:
                self.assertIn("crashed", f.read())
        for kind in ("log", "xml"):
            with open(files[kind], encoding="utf-8") as f:
                self.assertIn("39.qcow2", f.read())

    def assert_alone_it_crashes(self, *flags):
        for command in COMMANDS:
            code, out, err = self.look(command, "--json", *flags)
            record, summary = (json.loads(line) for line in out.splitlines())
            self.assertEqual((code, record["error"]["code"], summary["images"]), (1, "crashed", 1), err)
            code, out, err = self.look(command, *flags)
            self.assertEqual(code, 1, err)
            self.assertIn("05.qcow2: crashed: ", err)

    def test_one_image_alone(self):
        self.images = self.images[5:6]
        self.assert_alone_it_crashes()

    @unittest.skipIf(LACKS, NO_STRICT)
    def test_one_image_alone_in_strict(self):
        self.images = self.images[5:6]
        self.assert_alone_it_crashes("--sandbox=strict")


if __name__ == "__main__":
    main()
