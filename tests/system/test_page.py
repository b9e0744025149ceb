"""The page of a run in a browser: it is whole without scripts, sorts and searches with them, fits a
narrow screen, follows the dark mode, prints, and stays pleasant with ten thousand images."""
import html
import json
import os
import re
import shutil
import struct
import sys
import tempfile
import unittest
import zlib

import context  # noqa: F401
import proc
import qbatch
import qcow2
from fixture import run_tests

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
IMAGES = 10000

# What a test has the page do; the last line leaves the answer where --dump-dom shows it.
HARNESS = """<script>
addEventListener('load',function(){var said={};
function answer(){document.body.setAttribute('data-answer',JSON.stringify(said))}
%s
})</script>"""


def record(i):
    """A line of a report: some of everything, in an order that no column is sorted by."""
    failed, skipped = i % 500 == 3, i % 900 == 7
    info = {"compat": "0.10", "virtual_size_bytes": 1 << 30, "refcount_bits": 16}
    code = "corrupt" if failed else "locked"
    return {
        "path": f"/srv/vm/rack-{i % 40}/disk-{i:05}.qcow2",
        "status": "failed" if failed else "skipped" if skipped else "changed",
        "error": {"code": code, "message": f"it is {code}"} if failed or skipped else None,
        "before": info,
        "after": {**info, "compat": "1.1"},
        "io": {"write_bytes": i * 7919 % 10007, "read_bytes": 65536},
        "phases": {"open_seconds": 0.0001, "write_seconds": 0.0004},
        "started_seconds": i * 0.0005, "seconds": 0.01, "wave": i // 512 + 1, "worker": i % 8,
    }


def pixels(path):
    """(width, height, rows of bytes, bytes a pixel) of a PNG of 8 bits."""
    with open(path, "rb") as f:
        data = f.read()
    width, height, depth, kind = struct.unpack(">IIBB", data[16:26])
    assert depth == 8 and kind in (2, 6)
    bpp, at, packed = (3 if kind == 2 else 4), 8, b""
    while at < len(data):
        length, name = struct.unpack(">I4s", data[at:at + 8])
        packed += data[at + 8:at + 8 + length] if name == b"IDAT" else b""
        at += 12 + length
    raw, rows, above = zlib.decompress(packed), [], bytearray(width * bpp)
    for y in range(height):
        start = y * (width * bpp + 1)
        row = bytearray(raw[start + 1:start + 1 + width * bpp])
        unfilter(raw[start], row, above, bpp)
        rows.append(row)
        above = row
    return width, height, rows, bpp


def unfilter(method, row, above, bpp):
    for i in range(len(row)):
        left, up = (row[i - bpp] if i >= bpp else 0), above[i]
        corner = above[i - bpp] if i >= bpp else 0
        if method == 4:
            p = left + up - corner
            best = min((abs(p - left), 0, left), (abs(p - up), 1, up), (abs(p - corner), 2, corner))
            row[i] = row[i] + best[2] & 255
        else:
            row[i] = row[i] + (0, left, up, (left + up) // 2)[method] & 255


class Browser(unittest.TestCase):
    """Of a page.html in a folder of its own, which make() writes."""
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.mkdtemp(prefix="qbatch-page-")
        cls.addClassCleanup(shutil.rmtree, cls.folder, ignore_errors=True)
        cls.make()
        with open(cls.path("page.html"), encoding="utf-8") as f:
            cls.page = f.read()

    @classmethod
    def path(cls, name):
        return os.path.join(cls.folder, name)

    def browse(self, page, *flags):
        profile = tempfile.mkdtemp(dir=self.folder)
        done = proc.run([CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
                         "--disable-dev-shm-usage", f"--user-data-dir={profile}", *flags,
                         f"file://{self.path(page)}"])
        self.assertEqual(done.code, 0, done.err)
        return done.out

    def answer(self, script, *flags):
        """What the script says in the page, in the browser."""
        with open(self.path("tried.html"), "w", encoding="utf-8") as f:
            f.write(self.page.replace("</body>", HARNESS % script + "</body>"))
        dom = self.browse("tried.html", "--virtual-time-budget=5000", "--dump-dom", *flags)
        found = re.search(r'data-answer="([^"]*)"', dom)
        self.assertTrue(found, "the page did not answer")
        return json.loads(html.unescape(found.group(1)))

    def shot(self, page, size, *flags):
        self.browse(page, f"--window-size={size}", f"--screenshot={self.path('shot.png')}", *flags)
        return pixels(self.path("shot.png"))


class Page(Browser):
    @classmethod
    def make(cls):
        report = cls.path("report.ndjson")
        with open(report, "w", encoding="utf-8") as f:
            f.writelines(json.dumps(record(i)) + "\n" for i in range(IMAGES))
        proc.must([qbatch.absolute(qbatch.TOOL), "report", "show", "-q", "--html", cls.path("page.html"),
                   report])

    # ---- what it holds ----------------------------------------------------------------------
    def test_ten_thousand_images_are_a_page_of_moderate_size(self):
        self.assertEqual(self.page.count("<tr class="), IMAGES)
        self.assertLess(len(self.page), 300 * IMAGES)
        drawn = self.page[self.page.index("<svg"):self.page.index("</svg>")]
        self.assertLess(len(drawn), 200000)

    def test_it_is_whole_and_loads_fast(self):
        said = self.answer("""
            var t=performance.getEntriesByType('navigation')[0];
            said.rows=document.querySelectorAll('#all tbody tr').length;
            said.ms=t.domContentLoadedEventEnd-t.responseEnd;
            said.reasons=document.querySelectorAll('details[open] bdi').length;
            said.loaded=performance.getEntriesByType('resource').length;answer()""")
        self.assertEqual(said["rows"], IMAGES)
        self.assertEqual(said["reasons"], 20 + 12)
        self.assertEqual(said["loaded"], 0)
        self.assertLess(said["ms"], 20000)  # half a second where nothing else runs

    def test_columns_sort_as_numbers_and_as_words_and_back(self):
        said = self.answer("""
            var heads=document.querySelectorAll('#all th button');
            function top(c){return Array.from(document.querySelectorAll('#all tbody tr')).slice(0,2)
                .map(function(r){return r.cells[c].dataset.v||r.cells[c].textContent})}
            heads[4].click();said.least=top(4);heads[4].click();said.most=top(4);
            said.sort=heads[4].parentNode.getAttribute('aria-sort');
            heads[1].click();said.status=top(1);heads[2].click();said.path=top(2);
            heads[0].click();said.number=top(0);answer()""")
        written = sorted(i * 7919 % 10007 for i in range(IMAGES))
        self.assertEqual([int(v) for v in said["least"]], written[:2])
        self.assertEqual([int(v) for v in said["most"]], written[:-3:-1])
        self.assertEqual(said["sort"], "descending")
        self.assertEqual(said["status"], ["changed"] * 2)
        self.assertEqual(said["path"][0], "/srv/vm/rack-0/disk-00000.qcow2")
        self.assertEqual(said["number"], ["1", "2"])

    def test_search_finds_words_and_a_status(self):
        for size in ("400,800", "1200,800"):
            self.search_on(f"--window-size={size}")

    def search_on(self, *flags):
        said = self.answer("""
            var words=document.getElementById('words'),status=document.getElementById('status');
            function shown(){return Array.from(document.querySelectorAll('#all tbody tr'))
                .filter(function(r){return r.offsetHeight>0}).length}
            status.value='f';status.dispatchEvent(new Event('change'));said.failed=shown();
            status.value='';words.value='RACK-7/ disk-00';words.dispatchEvent(new Event('input'));
            setTimeout(function(){said.found=shown();
                said.label=document.getElementById('shown').textContent;
                words.value='nothing of that name';words.dispatchEvent(new Event('input'));
                setTimeout(function(){said.none=shown();answer()},500)},500)""", *flags)
        self.assertEqual(said["failed"], 20)
        self.assertEqual((said["found"], said["label"]), (25, "25 of 10,000"))
        self.assertEqual(said["none"], 0)

    # ---- how it looks -----------------------------------------------------------------------
    def test_it_fits_a_narrow_screen(self):
        for size in ("400,800", "700,800", "1200,800"):
            said = self.answer("""
                said.wide=document.documentElement.scrollWidth;said.window=innerWidth;answer()""",
                               f"--window-size={size}")
            self.assertLessEqual(said["wide"], said["window"], size)

    def test_it_is_light_or_dark_as_the_reader_wants(self):
        for scheme, low, high in ((1, 200, 256), (0, 0, 60)):
            width, height, rows, bpp = self.shot("page.html", "800,600",
                                                 f"--blink-settings=preferredColorScheme={scheme}")
            self.assertEqual((width, height), (800, 600))
            self.assertTrue(low <= rows[2][2 * bpp] < high, scheme)
            seen = {bytes(row[i:i + 3]) for row in rows for i in range(0, len(row), bpp)}
            self.assertGreater(len(seen), 50, "the page is empty")

    def test_thousands_of_rows_are_text_on_paper(self):
        said = self.answer("""
            var status=document.getElementById('status');
            function paper(){dispatchEvent(new Event('beforeprint'));
                var text=document.getElementById('lines').textContent.split('\\n'),
                    table=document.getElementById('all');
                dispatchEvent(new Event('afterprint'));
                return{rows:text.length-1,first:text.slice(0,2),table:!!table}}
            said.all=paper();status.value='f';status.dispatchEvent(new Event('change'));
            said.failed=paper();
            said.back=!!document.getElementById('all')&&!document.getElementById('lines');answer()""")
        self.assertEqual((said["all"]["rows"], said["failed"]["rows"]), (IMAGES, 20))
        self.assertEqual([line.split() for line in said["all"]["first"]],
                         [["#", "Status", "Took,", "s", "Image", "Change", "or", "error"],
                          ["1", "changed", "0.0100", "/srv/vm/rack-0/disk-00000.qcow2",
                           "compat:", "0.10", "\u2192", "1.1"]])
        self.assertEqual((said["all"]["table"], said["back"]), (False, True))

    def test_ten_thousand_rows_are_a_pdf_of_moderate_size(self):
        self.browse("page.html", f"--print-to-pdf={self.path('all.pdf')}", "--no-pdf-header-footer")
        self.assertLess(os.path.getsize(self.path("all.pdf")), 2 << 20)  # 17 MB with all cells in it

    def test_it_prints(self):
        with open(self.path("short.html"), "w", encoding="utf-8") as f:
            rows = self.page.split("<tr class=")
            f.write("<tr class=".join(rows[:60]) + rows[-1][rows[-1].index("</table>"):])
        self.browse("short.html", f"--print-to-pdf={self.path('page.pdf')}", "--no-pdf-header-footer")
        with open(self.path("page.pdf"), "rb") as f:
            pdf = f.read()
        self.assertTrue(pdf.startswith(b"%PDF"))
        self.assertLessEqual(len(re.findall(rb"/Type\s*/Page\b", pdf)), 6)


class CheckPage(Browser):
    """Of a check: 20 images are no image, 200 have a leak, one of them of two clusters."""
    @classmethod
    def make(cls):
        proc.must(["qemu-img", "create", "-q", "-f", "qcow2", "-o", "cluster_size=512", "seed", "16k"], cwd=cls.folder)
        with open(cls.path("seed"), "rb") as f:
            sound = f.read()
        with open(cls.path("leaky"), "wb") as f:
            f.write(sound)
        qcow2.append_cluster(cls.path("leaky"), b"leak")
        with open(cls.path("leaky"), "rb") as f:
            leaky = f.read()
        for i in range(IMAGES):
            with open(cls.path(f"disk-{i:05}"), "wb") as f:
                f.write(b"none" if i % 500 == 3 else leaky if i % 50 == 7 else sound)
        qcow2.append_cluster(cls.path("disk-00057"), b"leak")
        with open(cls.path("list"), "w", encoding="utf-8") as f:
            f.writelines(f"disk-{i:05}\n" for i in range(IMAGES))
        proc.run([qbatch.absolute(qbatch.TOOL), "check", "-q", "--html", "page.html", "--from-file", "list"], cwd=cls.folder)

    def test_it_opens_searches_sorts_and_prints(self):
        said = self.answer("""
            var heads=document.querySelectorAll('#all th button'),status=document.getElementById('status');
            function rows(){return Array.from(document.querySelectorAll('#all tbody tr'))}
            function shown(){return rows().filter(function(r){return r.offsetHeight>0}).length}
            said.rows=rows().length;
            said.loaded=performance.getEntriesByType('resource').length;
            heads[5].click();heads[5].click();said.most=rows()[0].cells[2].textContent;
            status.value='s';status.dispatchEvent(new Event('change'));said.leaks=shown();
            dispatchEvent(new Event('beforeprint'));
            said.paper=document.getElementById('lines').textContent.split('\\n').slice(0,2);
            dispatchEvent(new Event('afterprint'));
            status.value='i';status.dispatchEvent(new Event('change'));said.unchecked=shown();
            said.wide=document.documentElement.scrollWidth-innerWidth;answer()""")
        self.assertEqual((said["rows"], said["loaded"], said["leaks"], said["unchecked"]), (IMAGES, 0, 200, 20))
        self.assertEqual(said["most"], "disk-00057")
        self.assertEqual(said["paper"][0].split(), ["#", "Status", "Took,", "s", "Image", "Findings"])
        self.assertEqual([word for word in said["paper"][1].split() if not re.match(r"[\d.]+$", word)],
                         ["leaks", "disk-00057", "cluster_leaked"])
        self.assertLessEqual(said["wide"], 0)

    def test_it_fits_every_screen(self):
        for size in ("400,800", "700,800", "1200,800"):
            said = self.answer("said.wide=document.documentElement.scrollWidth-innerWidth;answer()", f"--window-size={size}")
            self.assertLessEqual(said["wide"], 0, size)


if __name__ == "__main__":
    if not CHROMIUM:
        print("skipped: all: chromium is not installed")
        sys.exit(77)
    run_tests()
