"""The files that a run leaves for other programs, read as those would read them."""
import html.parser
import json
import os
import re
import stat
import socket
import subprocess
import time
import xml.etree.ElementTree as xml

import context  # noqa: F401
import proc
import qbatch
from fixture import ImageTest, main

TENANT = 54321
SAMPLE = re.compile(r'([a-z_]+)\{((?:[a-z_]+="(?:[^"\\\n]|\\["\\n])*",?)+)\} (\S+)$')


def records(path):
    with open(path, encoding="utf-8") as f:
        return [json.loads(line) for line in f]


class Page(html.parser.HTMLParser):
    """What a page loads, and the text of its cells, scripts and styles left out."""

    def __init__(self, text):
        super().__init__()
        self.loads, self.tags, self.text, self.inside = [], [], "", None
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.inside = tag if tag in ("style", "script") else None
        self.loads += [v for k, v in attrs if k in ("src", "href", "srcset", "data", "action")]

    def handle_endtag(self, tag):
        self.inside = None

    def handle_data(self, data):
        if not self.inside:
            self.text += data


class Outputs(ImageTest):
    def fleet(self, name="fleet", called=None):
        """Three images that change, one that is as wanted, one missing, one that is not an image."""
        for i in range(3):
            self.create(f"{name}-{i}.qcow2", compat="0.10")
        self.create(f"{name}-same.qcow2", compat="1.1")
        with open(self.path(f"{name}-none.qcow2"), "w", encoding="ascii") as f:
            f.write("no image" * 100)
        return self.manifest(f"""
            version: 1
            name: '{called or name}'
            defaults: {{compat: "1.1"}}
            images:
              - path: "{name}-*.qcow2"
            """, f"{name}.yaml")

    def run_to(self, manifest, code=1, **files):
        argv = [word for option, path in files.items() for word in (f"--{option}", path)]
        done = qbatch.qbatch("-q", *argv, manifest, cwd=self.folder)
        self.assertEqual(done.code, code, str(done))
        return done

    def refused_output(self, option, path, words):
        manifest = self.fleet()
        image = self.path("fleet-0.qcow2")
        before = proc.sha256(image)
        done = self.run_to(manifest, code=2, **{option: path})
        self.assertIn(words, done.result.err)
        self.assertEqual(proc.sha256(image), before)

    # ---- each kind --------------------------------------------------------------------------
    def test_a_record_tells_when_and_where_the_image_was_worked_on(self):
        report = self.path("r.ndjson")
        self.run_to(self.fleet(), report=report, jobs="2")
        for record in records(report):
            self.assertGreaterEqual(record["started_seconds"], 0)
            self.assertGreater(record["seconds"], 0)
            self.assertEqual(record["wave"], 1)
            self.assertIn(record["worker"], (0, 1))

    def test_the_summary_is_the_last_line_of_json(self):
        manifest = self.fleet()
        done = qbatch.qbatch("--json", "--summary", self.path("s"), manifest)
        with open(self.path("s"), encoding="utf-8") as f:
            summary = json.load(f)
        self.assertEqual(summary, done.summary)
        self.assertEqual((summary["images"], summary["changed"], summary["failed"]), (5, 3, 1))
        self.assertEqual(summary["errors"], {"not_qcow2": 1})
        self.assertRegex(summary["started"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")
        self.assertEqual(summary["exit_code"], done.code)

    def test_the_joblog_has_parallels_columns_and_a_shell_reads_its_paths(self):
        names = ["plain.qcow2", "it's $HOME.qcow2", "tab\tline\n.qcow2", "two words\\.qcow2"]
        images = [self.create(name, compat="0.10") for name in names]
        os.rename(images[0], os.fsencode(self.folder) + b"/\xff\x01'.qcow2")
        manifest = self.manifest("""
            version: 1
            images: [{path: "*.qcow2", compat: "1.1"}]
            """)
        self.run_to(manifest, code=0, joblog="log", report="r")
        with open(self.path("log"), "rb") as f:
            lines = f.read().splitlines()
        self.assertEqual(lines[0].decode().split("\t"),
                         ["Seq", "Host", "Starttime", "JobRuntime", "Send", "Receive", "Exitval",
                          "Signal", "Command"])
        rows = [line.split(b"\t") for line in lines[1:]]
        self.assertEqual([row[0] for row in rows], [b"1", b"2", b"3", b"4"])
        for row in rows:
            self.assertEqual(len(row), 9)
            self.assertEqual(row[6:8], [b"0", b"0"])
            self.assertAlmostEqual(float(row[2]), os.stat(manifest).st_mtime, delta=600)
            self.assertEqual(int(row[4]), 512)
            out = subprocess.run(["bash", "-c", b"printf %s " + row[8]], check=True,
                                 capture_output=True, cwd=self.folder).stdout
            self.assertTrue(os.path.exists(os.path.join(os.fsencode(self.folder), out)), out)

    def test_the_joblog_has_the_exit_code_of_each_image(self):
        self.run_to(self.fleet(), joblog="log")
        with open(self.path("log"), encoding="utf-8") as f:
            rows = [line.rstrip("\n").split("\t") for line in f][1:]
        self.assertEqual({os.path.basename(r[8]): r[6] for r in rows},
                         {"fleet-0.qcow2": "0", "fleet-1.qcow2": "0", "fleet-2.qcow2": "0",
                          "fleet-none.qcow2": "1", "fleet-same.qcow2": "0"})

    def test_junit_counts_and_names_every_image(self):
        manifest = self.fleet()
        odd = self.create("fleet-<&\"'\x01.qcow2", compat="0.10")
        os.rename(odd, os.fsencode(odd)[:-6] + b"\xff.qcow2")
        self.run_to(manifest, junit="j.xml")
        root = xml.parse(self.path("j.xml")).getroot()
        self.assertEqual(root.tag, "testsuites")
        suite = root[0]
        cases = suite.findall("testcase")
        for element in (root, suite):
            self.assertEqual({k: element.get(k) for k in ("tests", "failures", "errors", "skipped")},
                             {"tests": "6", "failures": "1", "errors": "0", "skipped": "0"})
        self.assertEqual(len(cases), 6)
        failed = [c for c in cases if c.find("failure") is not None]
        self.assertEqual([os.path.basename(c.get("name")) for c in failed], ["fleet-none.qcow2"])
        self.assertEqual(failed[0].find("failure").get("type"), "not_qcow2")
        self.assertIn("fleet.yaml:5", failed[0].find("failure").text)
        self.assertTrue([c for c in cases if "<&\"'\ufffd" in c.get("name")])
        self.assertRegex(suite.get("timestamp"), r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d$")

    def samples(self, path):
        """Every sample of a file, by the rules of the text format and of the collector."""
        found, described = {}, {}
        with open(path, encoding="utf-8", newline="") as f:
            text = f.read()
        self.assertTrue(text.endswith("\n"))
        for line in text.splitlines():
            if line.startswith("# "):
                kind, name, rest = line[2:].split(" ", 2)
                self.assertNotIn((kind, name), described)
                described[kind, name] = rest
                continue
            match = SAMPLE.match(line)  # nothing behind the value: no timestamp
            self.assertTrue(match, line)
            name, labels, value = match.groups()
            self.assertEqual(described["TYPE", name], "gauge")
            self.assertNotRegex(name, "_(total|count|sum|bucket|info|milliseconds|kilobytes)$")
            self.assertNotIn((name, labels), found)
            found[name, labels] = float(value)
        return found, described

    def test_the_last_success_stays_until_the_next(self):
        fleet = self.manifest("""
            version: 1
            name: fleet
            images: [{path: one.qcow2, compat: "1.1"}]
            """)
        seen = []
        for code, flags in ((1, []), (0, []), (0, ["--dry-run"]), (1, [])):
            if code == 0:
                self.create("one.qcow2")
            elif os.path.exists(self.path("one.qcow2")):
                os.truncate(self.path("one.qcow2"), 100)
            else:
                with open(self.path("one.qcow2"), "wb") as f:
                    f.write(b"no image")
            done = qbatch.qbatch("-q", *flags, "--prometheus", ".", fleet, cwd=self.folder)
            self.assertEqual(done.code, code, str(done))
            found, described = self.samples(self.path("qbatch-fleet.prom"))
            seen.append(found["qbatch_last_success_timestamp_seconds", 'manifest="fleet"'])
            for exit_code in ("0 ", "1 ", "3 ", "4 ", "5 ", "75 "):
                self.assertIn(exit_code, described["HELP", "qbatch_last_run_exit_code"])
        self.assertEqual(seen[0], 0)
        self.assertGreater(seen[1], 1e9)
        self.assertEqual(seen[2:], 2 * [seen[1]])

    def test_a_report_may_go_to_standard_output(self):
        fleet = self.fleet()
        done = proc.run([qbatch.absolute(qbatch.TOOL), "--dry-run", "--report", "-", fleet], cwd=self.folder)
        records = [json.loads(line) for line in done.out.splitlines()]
        self.assertEqual(len(records), 5)
        self.assertTrue(all("path" in r for r in records))
        self.assertIn("5 images: ", done.err)  # the table is for people, who may look at a pipe
        self.assertFalse(os.path.exists(self.path("-")))
        for more in (["--json"], ["--summary", "-"]):
            done = proc.run([qbatch.absolute(qbatch.TOOL), "--dry-run", "--report", "-", *more, fleet],
                            cwd=self.folder)
            self.assertEqual((done.code, done.out), (2, ""))
            self.assertIn("standard output", done.err)

    def test_prometheus_gets_one_file_a_manifest_that_keeps_the_collectors_rules(self):
        os.mkdir(self.path("metrics"))
        self.run_to(self.fleet(), prometheus="metrics")
        self.run_to(self.fleet("other", called="quo\\\"te"), prometheus="metrics")
        self.run_to(self.fleet(), prometheus="metrics")
        names = sorted(os.listdir(self.path("metrics")))
        self.assertEqual(len(names), 2)
        self.assertEqual(names[0], "qbatch-fleet.prom")
        self.assertTrue(all(name.endswith(".prom") for name in names))
        helps = []
        for name, label in zip(names, ('manifest="fleet"', 'manifest="quo\\\\\\"te"')):
            path = self.path(os.path.join("metrics", name))
            found, described = self.samples(path)
            helps.append(described)
            self.assertEqual(os.stat(path).st_mode & 0o444, 0o444 & ~self.umask())
            images = "qbatch_last_run_images"
            self.assertEqual(found[images, label + ',status="interrupted"'], 0)
            self.assertEqual(found["qbatch_last_run_errors", label + ',code="not_qcow2"'], 1)
            self.assertEqual(found["qbatch_last_run_exit_code", label], 1)
            self.assertEqual(sum(v for (n, _), v in found.items() if n == images), 5)
        self.assertEqual(helps[0], helps[1])

    @staticmethod
    def umask():
        mask = os.umask(0)
        os.umask(mask)
        return mask

    def test_a_page_needs_nothing_else_and_escapes_every_name(self):
        manifest = self.fleet()
        self.create("fleet-<script>alert(1)<!--.qcow2", compat="0.10")
        self.run_to(manifest, html="p.html")
        with open(self.path("p.html"), encoding="utf-8") as f:
            text = f.read()
        page = Page(text)
        self.assertEqual(page.loads, [])
        self.assertNotRegex(text, r"https?:|url\(|@import|<link")
        self.assertEqual(page.tags.count("script"), 1)
        self.assertEqual(page.tags.count("tr"), 6 + 2 + 4)  # all, two heads, the largest
        self.assertIn("<script>alert(1)<!--", page.text)
        self.assertIn("not_qcow2: 1 image", page.text)
        self.assertIn("svg", page.tags)
        self.assertIn("wave 1: 6 images", page.text)

    # ---- files ------------------------------------------------------------------------------
    def test_nothing_is_replaced_that_is_something_else(self):
        with open(self.path("notes"), "w", encoding="ascii") as f:
            f.write("notes\n")
        for option in ("report", "summary", "joblog", "junit", "html"):
            self.refused_output(option, "notes", "it is not overwritten")
            self.refused_output(option, "fleet-0.qcow2", "it is not overwritten")
            self.refused_output(option, "fleet.yaml", "that is the manifest")
            self.refused_output(option, "missing/file", "No such file")
        self.refused_output("prometheus", "missing", "No such file")
        self.refused_output("prometheus", "notes", "Not a directory")
        with open(self.path("notes"), encoding="ascii") as f:
            self.assertEqual(f.read(), "notes\n")
        self.assertFalse([n for n in os.listdir(self.folder) if n.endswith(".new")])

    def test_two_outputs_do_not_share_a_file(self):
        manifest = self.fleet()
        os.symlink(self.folder, self.path("here"))
        for other in ("x", "./x", "here/x"):
            done = qbatch.qbatch("--junit", "x", "--html", other, manifest, cwd=self.folder)
            self.assertEqual(done.code, 2, str(done))
            self.assertFalse(os.path.exists(self.path("x")))

    def test_an_older_file_of_its_kind_is_replaced(self):
        manifest = self.fleet()
        names = {k: k for k in ("report", "summary", "joblog", "junit", "html")}
        self.run_to(manifest, **names)
        old = {name: os.stat(self.path(name)).st_ino for name in names}
        self.run_to(manifest, **names)
        for name in names:
            if name != "report":  # which grows where it is
                self.assertNotEqual(os.stat(self.path(name)).st_ino, old[name])
        self.assertFalse([n for n in os.listdir(self.folder) if n.endswith(".new")])

    def test_a_file_that_cannot_be_written_is_told_and_the_images_are_done(self):
        if not os.path.exists("/dev/full"):
            self.skipTest("no /dev/full")
        for option in ("report", "summary", "joblog", "junit", "html"):
            image = self.create(f"{option}.qcow2", compat="0.10")
            done = qbatch.amend(image, flags=[f"--{option}", "/dev/full"], compat="1.1")
            self.assertEqual((done.code, done.status), (1, "changed"), str(done))
            self.assertIn("No space left", done.result.err)

    def test_outputs_go_to_pipes(self):
        image = self.create(compat="0.10")
        for option, words in (("html", "</html>"), ("joblog", "Seq\tHost"), ("junit", "</testsuites>"),
                              ("summary", '"type":"summary"'), ("report", '"status"')):
            done = proc.run([qbatch.absolute(qbatch.TOOL), "amend", "-q", "-o", "compat=1.1",
                             f"--{option}", "/dev/stdout", image])
            self.assertIn(words, done.out)

    # ---- directories of others --------------------------------------------------------------
    KINDS = ("report", "summary", "joblog", "junit", "html")

    def shared(self, name="shared", mode=0o1777, uid=0):
        """A directory that a tenant can write to."""
        if os.geteuid() != 0:
            self.skipTest("needs root, to give files away")
        os.chmod(self.folder, 0o755)
        os.mkdir(self.path(name))
        os.chmod(self.path(name), mode)
        os.chown(self.path(name), uid, uid)
        return self.path(name)

    def write(self, path, text="", uid=TENANT, mode=0o644):
        with open(path, "w", encoding="ascii") as f:
            f.write(text)
        os.chmod(path, mode)
        os.chown(path, uid, uid)
        return path

    def refused_in_any_run(self, image, path, words, kinds=KINDS):
        sha = proc.sha256(image)
        for kind in kinds:
            for flags in ((), ("--dry-run",)):
                done = qbatch.amend(image, flags=[*flags, f"--{kind}", path], compat="1.1")
                self.assertEqual((done.code, done.records), (2, []), str(done))
                self.assertIn(words, done.result.err)
        self.assertEqual(proc.sha256(image), sha)

    def test_a_link_is_followed_when_root_or_the_caller_owns_it(self):
        shared, image = self.shared(), self.create(compat="0.10")
        target = self.write(self.path("target"), uid=0)
        missing = self.path("missing")
        for to in (target, missing, "/dev/null"):
            link = os.path.join(shared, "link")
            os.symlink(to, link)
            os.lchown(link, TENANT, TENANT)
            self.refused_in_any_run(image, link, "is not followed")
            os.unlink(link)
        os.symlink(self.folder, os.path.join(shared, "folder"))
        os.lchown(os.path.join(shared, "folder"), TENANT, TENANT)
        self.refused_in_any_run(image, os.path.join(shared, "folder/x"), "is not followed")
        self.assertEqual((os.path.getsize(target), os.path.exists(missing)), (0, False))
        os.symlink(target, os.path.join(shared, "own"))
        self.amended(image, flags=["--report", os.path.join(shared, "own")], compat="1.1")
        self.assertEqual(len(records(target)), 1)

    def test_a_file_of_somebody_else_is_not_overwritten(self):
        image = self.create(compat="0.10")
        for name, mode, uid in (("sticky", 0o1777, 0), ("own", 0o755, TENANT), ("safe", 0o755, 0)):
            folder = self.shared(name, mode, uid)
            for text in ("", "{"):
                path = self.write(os.path.join(folder, "f"), text)
                self.refused_in_any_run(image, path, "belongs to the user")
                with open(path, encoding="ascii") as f:
                    self.assertEqual(f.read(), text)
            self.assertEqual(os.listdir(folder), ["f"])

    def test_a_second_name_in_a_tenants_directory_is_no_way_to_a_file_of_root(self):
        folder, image = self.shared(mode=0o755, uid=TENANT), self.create(compat="0.10")
        target = self.write(self.path("target"), "{}", uid=0)
        os.link(target, os.path.join(folder, "f"))
        self.refused_in_any_run(image, os.path.join(folder, "f"), "more names", ["report"])
        with open(target, encoding="ascii") as f:
            self.assertEqual(f.read(), "{}")

    def test_a_block_device_is_never_written_to(self):
        if os.geteuid() != 0:
            self.skipTest("needs root, to make a device")
        os.mknod(self.path("disk"), 0o600 | stat.S_IFBLK, os.makedev(7, 255))
        self.refused_in_any_run(self.create(compat="0.10"), self.path("disk"), "block device")

    def test_a_fifo_of_somebody_else_is_not_written_to_and_an_own_one_is(self):
        shared, image = self.shared(), self.create(compat="0.10")
        fifo = os.path.join(shared, "fifo")
        os.mkfifo(fifo)
        reader = subprocess.Popen(["cat", fifo], stdout=subprocess.PIPE, text=True)
        self.amended(image, flags=["--report", fifo], compat="1.1")
        self.assertIn('"status":"changed"', reader.communicate()[0])
        os.chown(fifo, TENANT, TENANT)
        self.refused_in_any_run(image, fifo, "FIFO belongs")

    def test_names_that_are_guessed_are_not_followed(self):
        shared, image = self.shared(), self.create(compat="0.10")
        target = self.write(self.path("target"), uid=0)
        done = proc.run(["sh", "-c", 'ln -s "$1" "$2.$$-0.new"; exec "$3" amend -q -o compat=1.1 '
                         '--html "$2" "$4"', "sh", target, os.path.join(shared, "page"),
                         qbatch.absolute(qbatch.TOOL), image])
        self.assertEqual(done.code, 0, done.err)
        self.assertEqual(os.path.getsize(target), 0)
        self.assertGreater(os.path.getsize(os.path.join(shared, "page")), 1000)

    def test_what_appears_under_the_name_meanwhile_stays(self):
        """A tenant puts a file of his there while the run works."""
        shared, image = self.shared(), self.create(compat="0.10")
        page = os.path.join(shared, "page")
        fifo = self.path("fifo")
        os.mkfifo(fifo)
        run = subprocess.Popen([qbatch.absolute(qbatch.TOOL), "amend", "-q", "-o", "compat=1.1", "--html",
                                page, "--report", fifo, image], stderr=subprocess.PIPE, text=True)
        while not any(name.endswith(".new") for name in os.listdir(shared)):
            self.assertIsNone(run.poll())
            time.sleep(0.01)
        self.write(page, "mine")
        with open(fifo, encoding="utf-8") as f:
            f.read()
        self.assertIn("File exists", run.communicate()[1])
        self.assertEqual(run.returncode, 1)
        with open(page, encoding="ascii") as f:
            self.assertEqual(f.read(), "mine")
        self.assertEqual(os.listdir(shared), ["page"])

    def test_no_image_and_no_disk_is_taken_for_an_older_file(self):
        image = self.create(compat="0.10")
        empty = self.write(self.path("empty.qcow2"), uid=os.geteuid())
        done = qbatch.amend([image, empty], flags=["--report", empty], compat="1.1")
        self.assertEqual(done.code, 2, str(done))
        self.assertIn("an image of the run", done.result.err)
        disk = self.raw("disk", "1M")
        for begin in (b"{", b"<!doctype html>", b"Seq\tHost\t"):
            with open(disk, "r+b") as f:
                f.write(begin)
            self.refused_in_any_run(image, disk, "is no ")
        self.assertEqual(os.path.getsize(disk), 1 << 20)

    def test_standard_output_may_be_a_file_of_anybody(self):
        image = self.create(compat="0.10")
        for name in ("/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"):
            path = self.write(self.path("out"), uid=TENANT if os.geteuid() == 0 else -1)
            with open(path, "w", encoding="utf-8") as f:
                subprocess.run([qbatch.absolute(qbatch.TOOL), "amend", "-q", "-o", "compat=1.1", "--report",
                                name, image], check=True, stdout=f)
            self.assertEqual(len(records(path)), 1)
        for name in ("/dev/null", "/dev/stderr"):
            self.assertEqual(qbatch.amend(image, flags=["--report", name], compat="1.1").code, 0)

    def test_standard_output_keeps_what_is_in_it(self):
        """A log that the shell appends to, a second command with the same output, and systemd's socket."""
        image = self.create(compat="0.10")
        command = [qbatch.absolute(qbatch.TOOL), "amend", "-q", "-o", "compat=1.1", "--report"]
        for name in ("-", "/dev/stdout"):
            for begin in ("a log\n", '{"path":"before"}\n'):
                path = self.path("log")
                with open(path, "w", encoding="utf-8") as f:
                    f.write(begin)
                with open(path, "a", encoding="utf-8") as f:
                    subprocess.run([*command, name, image], check=True, stdout=f)
                    subprocess.run([*command, name, image], check=True, stdout=f)
                with open(path, encoding="utf-8") as f:
                    lines = f.readlines()
                self.assertEqual([lines[0], len(lines)], [begin, 3], lines)
        ours, theirs = socket.socketpair()
        with ours, theirs:
            subprocess.run([*command, "-", image], check=True, stdout=theirs)
            self.assertIn(b'"unchanged"', ours.recv(65536))

    # ---- read back --------------------------------------------------------------------------
    def test_a_report_is_shown_as_the_run_was(self):
        manifest = self.fleet()
        run = proc.run([qbatch.absolute(qbatch.TOOL), "--report", self.path("r"), "--junit",
                        self.path("a.xml"), manifest], cwd=self.folder)
        shown = proc.run([qbatch.absolute(qbatch.TOOL), "report", "show", "--junit",
                          self.path("b.xml"), self.path("r")])
        self.assertEqual(shown.code, 0)
        rows = [[row for row in out.replace(self.folder + "/", "").splitlines() if not row.startswith("run ")]
                for out in (run.out, shown.out)]
        self.assertEqual(rows[0][:-1], rows[1][:-1])
        cases = [[(c.get("name"), [e.tag for e in c])
                  for c in xml.parse(self.path(name)).iter("testcase")] for name in ("a.xml", "b.xml")]
        self.assertEqual(cases[0], cases[1])

    def test_merge_joins_reports_under_one_summary(self):
        manifest = self.fleet()
        self.run_to(manifest, report="r")
        with open(self.path("j"), "w", encoding="utf-8") as f:
            f.write(qbatch.qbatch("--json", manifest).result.out)
        merged = qbatch.qbatch("report", "merge", self.path("r"), self.path("j"))
        self.assertEqual(merged.code, 0, str(merged))
        self.assertFalse(merged.noise)
        self.assertEqual(len(merged.records), 10)
        self.assertEqual(merged.records[0], {"type": "image", **records(self.path("r"))[0]})
        self.assertEqual((merged.summary["images"], merged.summary["changed"],
                          merged.summary["unchanged"], merged.summary["failed"]), (10, 3, 5, 2))
        self.assertEqual(json.loads(merged.result.out.splitlines()[-1])["type"], "summary")
        again = proc.run([qbatch.absolute(qbatch.TOOL), "report", "merge", "-"],
                         stdin=merged.result.out)
        self.assertEqual(again.code, 0)
        self.assertEqual(again.out.splitlines()[:-1], merged.result.out.splitlines()[:-1])

    def test_a_damaged_line_is_told_with_its_place_and_nothing_is_shown(self):
        self.run_to(self.fleet(), report="r")
        with open(self.path("r"), "a", encoding="utf-8") as f:
            f.write('\n{"path":"x","status":"chan')
        for what in ("show", "merge"):
            done = proc.run([qbatch.absolute(qbatch.TOOL), "report", what, "r"], cwd=self.folder)
            self.assertEqual((done.code, done.out), (2, ""))
            self.assertIn("r:7: it is no JSON object", done.err)
        self.assertEqual(proc.run([qbatch.absolute(qbatch.TOOL), "report", "show",
                                   self.path("missing")]).code, 2)


if __name__ == "__main__":
    main()
