"""The files of `qbatch check`: --report, --summary and --junit have what standard output has, in the order of the images."""
import html
import json
import os
import re
import shlex
import time
import xml.etree.ElementTree

import context  # noqa: F401
import qbatch
import qcow2
from fixture import ImageTest, main


class CheckTest(ImageTest):
    def setUp(self):
        super().setUp()
        first = self.create("first", size="256k", cluster_size=4096)
        self.io(first, "write -q -P 1 0 64k")
        with open(first, "rb") as f:
            self.image = f.read()
        self.place, self.entry = self.first_entry(first)

    def fleet(self, n):
        images = []
        for i in range(n):
            images.append(self.path(f"{i:03} <&\">.qcow2"))
            with open(images[-1], "wb") as f:
                f.write(self.image)
        return images

    def spoil(self, path):
        qcow2.patch_u64(path, self.place, self.entry & ~qcow2.COPIED)

    def check(self, *argv):
        return qbatch.qbatch("check", *argv, cwd=self.folder)

    def lines(self, name):
        with open(self.path(name), encoding="utf-8") as f:
            return [json.loads(line) for line in f]

    def mixed(self):
        """[clean, corrupt, with leaks, not there, corrupt and with leaks], and what is said of them."""
        images = self.fleet(5)
        for i in (1, 4):
            self.spoil(images[i])
        for i in (2, 4):
            qcow2.append_cluster(images[i], b"leak")
        os.unlink(images[3])
        return images


class Reports(CheckTest):
    def test_the_report_has_the_lines_of_standard_output(self):
        images = self.mixed()
        for jobs in ("1", "4"):
            shown = self.check("--json", "-j", jobs, *images)
            self.assertEqual(self.check("-j", jobs, "--report", "r", "--summary", "s", *images).code, shown.code)
            self.assertEqual(self.lines("r"), shown.records)
            summary = self.lines("s")
            self.assertEqual(len(summary), 1)
            for record in (summary[0], shown.summary):
                self.assertGreater(record.pop("seconds"), 0)
            self.assertEqual(summary[0], shown.summary)
            self.assertEqual((shown.code, summary[0]["exit_code"]), (2, 2))

    def test_of_many_images_people_see_groups_and_the_report_has_every_finding(self):
        images = self.fleet(120)
        for image in images[7:90]:
            self.spoil(image)
            qcow2.append_cluster(image, b"leak")
            qcow2.set_refcount(image, qcow2.append_cluster(image, b"leak") // 4096, 2)
        shown = self.check("-j", "4", "--report", "r", *images)
        self.assertEqual(len(shown.result.out.splitlines()), 2)
        lines = self.lines("r")
        self.assertEqual([line["path"] for line in lines], images)
        for line in lines[7:90]:
            self.assertEqual(line["findings_by_code"], {"copied_flag_wrong": 1, "cluster_leaked": 2})
            self.assertEqual(len(line["findings"]), 3)

    def test_junit(self):
        images = self.mixed()
        self.assertEqual(self.check("--junit", "j.xml", *images).code, 2)
        suite = xml.etree.ElementTree.parse(self.path("j.xml")).getroot().find("testsuite")
        self.assertEqual({k: suite.get(k) for k in ("name", "tests", "failures", "errors", "skipped")},
                         {"name": "qbatch check", "tests": "5", "failures": "4", "errors": "0", "skipped": "0"})
        self.assertTrue(suite.get("timestamp"))
        self.assertIn("check --junit", suite.find("properties/property[@name='command']").get("value"))
        cases = suite.findall("testcase")
        self.assertEqual([case.get("name") for case in cases], images)
        self.assertTrue(all(case.get("classname") == "qbatch check" and float(case.get("time")) >= 0 for case in cases))
        self.assertIsNone(cases[0].find("failure"))
        found = [(f.get("type"), f.get("message")) for f in (case.find("failure") for case in cases[1:])]
        self.assertEqual(found[0], ("corrupt", "corrupt: 1 copied_flag_wrong"))
        self.assertEqual(found[1], ("leaks", "leaks: 1 cluster_leaked"))
        self.assertEqual(found[2][0], "not_found")
        self.assertIn("cannot open the file", found[2][1])
        self.assertEqual(found[3], ("corrupt", "corrupt: 1 cluster_leaked, 1 copied_flag_wrong"))
        text = cases[4].find("failure").text
        self.assertIn("ERROR: the COPIED flag does not fit the refcount 1 at 0x", text)
        self.assertIn("Leaked: ", text)
        self.assertIn("not_found: cannot open the file", cases[3].find("failure").text)

    def test_exit_codes_are_those_without_files(self):
        clean, corrupt, leaks = self.fleet(3)
        self.spoil(corrupt)
        qcow2.append_cluster(leaks, b"leak")
        for images, code in (([clean], 0), ([clean, leaks], 3), ([clean, leaks, "gone"], 1), ([corrupt, "gone"], 2)):
            self.assertEqual(self.check("-q", "--report", "r", "--junit", "j", "--summary", "s", *images).code, code)

    def test_a_report_may_go_to_standard_output(self):
        image = self.fleet(1)[0]
        shown = self.check("--report", "-", image)
        self.assertEqual([record["status"] for record in shown.records], ["clean"])
        self.assertEqual((shown.noise, shown.code), ([], 0))
        self.assertIn("No errors were found", shown.result.err)
        both = self.check("--json", "--report", "-", image)
        self.assertEqual(both.code, 2)
        self.assertIn("standard output can have one report only", both.result.err)
        self.assertEqual((both.records, both.summary["images"], both.summary["exit_code"]), ([], 0, 2))

    def test_what_is_no_report_is_not_replaced(self):
        image, other = self.fleet(2)
        with open(self.path("notes"), "w", encoding="utf-8") as f:
            f.write("mine")
        for name, why in ((image, "an image of the run"), ("notes", "")):
            for option in ("--report", "--junit", "--summary", "--html", "--joblog"):
                done = self.check(option, name, image, other)
                self.assertEqual((done.code, done.result.out), (2, ""), option)
                self.assertIn(why, done.result.err)
        with open(image, "rb") as f:
            self.assertEqual(f.read(), self.image)

    def test_one_that_cannot_be_written_is_an_error(self):
        image = self.fleet(1)[0]
        for option in ("--report", "--junit", "--summary", "--html", "--joblog"):
            done = self.check(option, "/dev/full", image)
            self.assertEqual(done.code, 1, option)
            self.assertIn("/dev/full: No space left on device", done.result.err)


class Page(CheckTest):
    """--html; how it looks in a browser is in test_page.py."""
    def page(self, *images):
        done = self.check("--html", "page.html", *images)
        with open(self.path("page.html"), encoding="utf-8") as f:
            return done.code, f.read()

    def section(self, page, heading):
        return page[page.index(f"<h2>{heading}"):].split("<h2>")[1]

    def details(self, section):
        """{summary: names} of a section."""
        found = re.findall("<details open[^>]*><summary>(.*?)</summary>(.*?)(?=<details open|$)", section, re.S)
        return {re.sub("<.*?>", "", head): [html.unescape(name) for name in re.findall("<bdi>(.*?)</bdi>", body)]
                for head, body in found}

    def test_what_was_found_with_its_images_and_what_to_do(self):
        images = self.mixed()
        code, page = self.page(*images)
        self.assertEqual(code, 2)
        self.assertEqual(self.details(self.section(page, "What was found")),
                         {"copied_flag_wrong: 2 images, 2 findings": [images[1], images[4]],
                          "cluster_leaked: 2 images, 2 findings": [images[2], images[4]]})
        self.assertEqual(self.details(self.section(page, "What could not be checked")), {"not_found: 1 image": [images[3]]})
        for words in ("The COPIED flag of an entry says that", "qbatch amend -o repair=leaks frees it",
                      "<dt>leaked clusters</dt> <dd>2<", "<dt>leaked</dt> <dd>8 KiB<", "<dt>errors</dt> <dd>2<"):
            self.assertIn(words, page)
        tiles = dict(reversed(tile) for tile in re.findall("<b>(.*?)</b>(.*?)\n", page[:page.index("</ul>")]))
        self.assertEqual(tiles, {"images": "5", "corrupt": "2", "unchecked": "1", "leaks": "1", "clean": "1"})
        rows = re.findall("<tr class=(.)><td class=n>(.*?)<td>(.*?)<td><bdi>(.*?)</bdi><td>(.*?)<td", page)
        self.assertEqual([html.unescape(row[3]) for row in rows], images)
        self.assertEqual([row[2] for row in rows], ["clean", "corrupt", "leaks", "unchecked", "corrupt"])
        self.assertEqual(rows[4][4], "cluster_leaked&nbsp;1, copied_flag_wrong&nbsp;1")

    def test_the_repair_that_it_names_mends_what_was_found(self):
        images = self.mixed()
        qcow2.patch_u64(images[0], self.place, self.entry + 512)  # which no repair mends
        _, page = self.page(*images)
        todo = self.details(self.section(page, "What to do"))
        self.assertEqual({head.split(": ", 1)[1][:12]: names for head, names in todo.items()},
                         {"no repair me": [images[0]], "repair: all ": [images[1], images[4]], "repair: leak": [images[2]]})
        self.amended(images[2], repair="leaks")
        for image in (images[1], images[4]):
            self.amended(image, repair="all")
        self.assertEqual(self.check(images[1], images[2], images[4]).code, 0)
        self.assertNotEqual(qbatch.amend(images[0], repair="all").code, 0)

    def test_signs_say_which_bytes_of_a_guest_may_be_lost(self):
        images = self.fleet(2)
        table = self.place & ~4095
        for image in images:
            with open(image, "r+b") as f:
                f.seek(table)
                f.write(b"\xde\xad\xbe\xef" * 1024)
        _, page = self.page(*images)
        found = self.details(self.section(page, "What was found"))
        self.assertEqual(found["sign table_overwritten: 2 images, 2 findings"], images)
        self.assertIn("<dt>may be lost to guests</dt> <dd>512 KiB<", page)  # both disks as a whole
        self.assertEqual(page.count("; guest bytes 0x0 to 0x3ffff may be lost"), 2)
        self.assertEqual([head.split(": ")[0] for head in self.details(self.section(page, "What to do"))], ["2 images"])

    def test_of_sound_images_it_says_so(self):
        code, page = self.page(*self.fleet(2))
        self.assertEqual(code, 0)
        self.assertIn("no image that was checked has errors or leaks", page)
        self.assertNotIn("What to do", page)
        self.assertNotIn("What could not be checked", page)


class OtherFiles(CheckTest):
    def test_joblog(self):
        images = self.mixed()
        self.assertEqual(self.check("--joblog", "j", *images).code, 2)
        with open(self.path("j"), encoding="utf-8") as f:
            head, *rows = [line.rstrip("\n").split("\t") for line in f]
        self.assertEqual(head, ["Seq", "Host", "Starttime", "JobRuntime", "Send", "Receive", "Exitval", "Signal", "Command"])
        self.assertEqual([(row[0], row[6]) for row in rows], [("1", "0"), ("2", "2"), ("3", "3"), ("4", "1"), ("5", "2")])
        self.assertEqual([shlex.split(row[8]) for row in rows], [[image] for image in images])
        self.assertTrue(all(abs(float(row[2]) - time.time()) < 86400 and int(row[4]) == 0 for row in rows))
        self.assertGreater(int(rows[0][5]), 0)

    def test_prometheus(self):
        images = self.mixed()
        os.mkdir(self.path("metrics"))
        self.assertEqual(self.check("--prometheus", "metrics", *images).code, 2)
        with open(self.path("metrics/qbatch-images-check.prom"), encoding="utf-8") as f:
            lines = f.read().splitlines()
        values = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
        helped = {line.split()[2] for line in lines if line.startswith("# HELP")}
        self.assertEqual({name.split("{")[0] for name in values}, helped)

        def value(name, **labels):
            text = "".join(f',{key}="{word}"' for key, word in labels.items())
            return float(values[f'qbatch_last_check_{name}{{manifest="images"{text}}}'])
        self.assertEqual([value("images", status=s) for s in ("clean", "corrupt", "leaks", "unchecked")], [1, 2, 1, 1])
        self.assertEqual([value("images_with", code=c) for c in ("cluster_leaked", "copied_flag_wrong", "table_lost")], [2, 2, 0])
        self.assertEqual((value("leaked_clusters"), value("leaked_bytes"), value("exit_code")), (2, 8192, 2))
        self.manifest(f"version: 1\nname: nightly\nimages: [{{path: {json.dumps(images[0])}}}]\n", "fleet.yaml")
        self.assertEqual(self.check("--prometheus", "metrics", "--manifest", "fleet.yaml").code, 0)
        self.assertEqual(sorted(os.listdir(self.path("metrics"))), ["qbatch-images-check.prom", "qbatch-nightly-check.prom"])


if __name__ == "__main__":
    main()
