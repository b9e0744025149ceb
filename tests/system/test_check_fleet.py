"""`qbatch check` of many images: in parallel, in order, and each answers for itself alone."""
import json
import os
import signal
import subprocess
import time

import context  # noqa: F401
import family
import proc
import qbatch
import qcow2
from fixture import MIB, ImageTest, main


class Fleet(ImageTest):
    def setUp(self):
        super().setUp()
        first = self.create("first", size="256k", cluster_size=4096)
        self.io(first, "write -q -P 1 0 64k")
        os.mkdir(self.path("fleet"))
        with open(first, "rb") as f:
            self.image = f.read()
        self.place, self.entry = self.first_entry(first)

    def fleet(self, n):
        return [self.sound(f"{i:04}.qcow2") for i in range(n)]

    def sound(self, name):
        path = os.path.join(self.path("fleet"), name)
        with open(path, "wb") as f:
            f.write(self.image)
        return path

    def spoil(self, path, entry=None):
        """A COPIED flag is wrong."""
        qcow2.patch_u64(path, self.place, self.entry & ~qcow2.COPIED if entry is None else entry)

    def leak(self, path):
        qcow2.append_cluster(path, b"leak")

    def check(self, *argv, **kwargs):
        return qbatch.qbatch("check", *argv, cwd=self.folder, **kwargs)


class Answers(Fleet):
    def test_json_is_in_the_order_of_the_images(self):
        images = self.fleet(300)
        for i in (3, 77, 298):
            self.spoil(images[i])
        self.leak(images[200])
        os.truncate(images[250], 100)
        for jobs in ("1", "2", "16"):
            answer = self.check("--json", "-j", jobs, *images)
            self.assertEqual(answer.code, 2, str(answer))
            self.assertEqual([record["path"] for record in answer.records], images)
            found = {i: record["status"] for i, record in enumerate(answer.records) if record["status"] != "clean"}
            self.assertEqual(found, {3: "corrupt", 77: "corrupt", 298: "corrupt", 200: "leaks", 250: "unchecked"})
            self.assertEqual({key: answer.summary[key] for key in ("images", "clean", "corrupt", "leaks", "unchecked",
                                                                   "not_reached")},
                             {"images": 300, "clean": 295, "corrupt": 3, "leaks": 1, "unchecked": 1, "not_reached": 0})

    def test_the_exit_code_is_that_of_the_worst(self):
        clean, leaks, corrupt = self.fleet(3)
        self.leak(leaks)
        self.spoil(corrupt)
        for images, code in (([clean], 0), ([clean, leaks], 3), ([clean, leaks, "gone"], 1),
                             ([clean, leaks, "gone", corrupt], 2)):
            self.assertEqual(self.check("-q", *images).code, code)

    def test_people_see_what_is_wrong_and_how_many_are_not(self):
        images = self.fleet(6)
        self.spoil(images[1])
        self.leak(images[3])
        done = self.check(*images, "gone").result
        self.assertEqual([line for line in done.out.splitlines() if line.endswith(":")], [images[1] + ":", images[3] + ":"])
        self.assertIn("ERROR: the COPIED flag does not fit the refcount 1 at", done.out)
        self.assertIn("1 leaked clusters", done.out)
        self.assertNotIn("No errors", done.out)
        self.assertRegex(done.out.splitlines()[-1],
                         "^7 images: 4 without errors, 1 corrupt, 1 with leaks, 1 not checked in [0-9.]+ m?s$")
        self.assertIn("qbatch check: gone: not_found", done.err)
        quiet = self.check("-q", *images).result
        self.assertEqual(quiet.out, "")
        self.assertIn(images[1] + ":\nERROR", quiet.err)
        self.assertNotIn("images:", quiet.err)

    def test_of_many_images_equal_answers_are_one_line(self):
        images = self.fleet(1200)
        for i in (5, 6, 7, 900):
            self.spoil(images[i])
        self.leak(images[8])
        done = self.check(*images)
        lines = done.result.out.splitlines()
        self.assertEqual(lines[0].split("(")[0], "corrupt      4 images  the COPIED flag does not fit the refcount 1  ")
        self.assertIn(f"({images[5]}, {images[6]}, {images[7]}, ...)", lines[0])
        self.assertEqual(lines[1], f"leaks        1 image  refcount 1 is too high, referenced 0 times  ({images[8]})")
        self.assertTrue(lines[2].startswith("1,200 images: 1,195 without errors, 4 corrupt, 1 with leaks in "), lines[2])
        self.assertEqual((len(lines), done.code, done.result.err), (3, 2, ""))
        rows = self.check("--all-rows", *images).result.out
        self.assertEqual(rows.count("ERROR: "), 4)
        self.assertIn(images[900] + ":\n", rows)

    def test_lines_of_other_kinds_are_counted(self):
        images = self.fleet(60)
        for i, image in enumerate(images[:30]):
            self.spoil(image, self.entry + 512 * (i % 7 + 1) if i < 28 else self.entry & ~qcow2.COPIED)
        out = self.check(*images, *(f"gone{i}" for i in range(30))).result.out
        self.assertIn("unchecked    30 images  not_found: cannot open the file: No such file or directory  (gone0, gone1, gone2, ...)",
                      out)
        self.assertEqual(out.count("corrupt  "), 8)
        for i, image in enumerate(images[:30]):
            self.spoil(image, self.entry + (i + 2) * MIB)
        out = self.check(*images).result.out
        self.assertEqual(out.count("corrupt      1 image  "), 20)
        self.assertIn("corrupt      ... and 10 more, of other kinds; --all-rows shows them\n", out)

    def test_an_image_may_be_named_twice(self):
        image = self.fleet(1)[0]
        self.assertEqual(len(self.check("--json", "-j", "2", image, image).records), 2)

    def test_nothing_is_written(self):
        images = self.fleet(20)
        self.spoil(images[3])
        before = [(proc.sha256(image), os.stat(image).st_mtime_ns) for image in images]
        self.check(*images)
        self.assertEqual([(proc.sha256(image), os.stat(image).st_mtime_ns) for image in images], before)


class Lists(Fleet):
    def test_a_list_of_lines(self):
        images = self.fleet(3)
        text = "# mine\n\nfleet/0002.qcow2\n" + images[0] + "\n"
        with open(self.path("list"), "w", encoding="utf-8") as f:
            f.write(text)
        for argv, stdin in ((["--from-file", "list"], ""), (["--from-file", "-"], text),
                            (["--from-file0", "-"], text.replace("# mine\n\n", "").replace("\n", "\0"))):
            answer = self.check("--json", *argv, stdin=stdin)
            self.assertEqual([record["path"] for record in answer.records], ["fleet/0002.qcow2", images[0]], str(answer))
            self.assertEqual(answer.code, 0)

    def test_wrong_lists(self):
        for argv, stdin, words in ((["--from-file", "gone"], "", "cannot read the list"),
                                   (["--from-file", "."], "", "is a directory"),
                                   (["--from-file", "-"], "", "names no image"),
                                   (["--from-file", "-"], "a\0b\n", "from_file0"),
                                   (["--from-file", "-"], "a\nb\nc\nd\n", "none of the 4 files")):
            answer = self.check("--json", *argv, stdin=stdin)
            self.assertEqual((answer.code, answer.summary["images"]), (2, 0), str(answer))
            self.assertIn(words, answer.result.err)

    def test_a_manifest_names_them_by_its_tags(self):
        self.fleet(4)
        os.truncate(self.path("fleet/0003.qcow2"), 10)
        manifest = self.manifest("""
            version: 1
            images:
              - {path: "fleet/000[01].qcow2", tags: [db], compat: "0.10", when: {compat: "0.10"}}
              - {path: "fleet/000[23].qcow2", tags: [web]}
            """)
        for argv, code, n in (([], 1, 4), (["--tags", "db"], 0, 2), (["--skip-tags", "web"], 0, 2), (["--tags", "web"], 1, 2)):
            answer = self.check("--json", "--manifest", manifest, *argv)
            self.assertEqual((answer.code, len(answer.records)), (code, n), str(answer))
        answer = self.check("--json", "--manifest", manifest, "--tags", "wbe")
        self.assertEqual(answer.code, 2)
        self.assertIn('did you mean "web"', answer.result.err)

    def test_wrong_manifests(self):
        manifest = self.manifest("version: 1\nimages:\n  - {path: '*.none'}\n  - {path: first, compatt: 1}\n")
        answer = self.check("--json", "--manifest", manifest)
        self.assertEqual((answer.code, answer.summary["error"]), (2, "the manifest is wrong"), str(answer))
        self.assertIn("compatt", answer.result.err)

    def test_images_come_from_one_place(self):
        for argv, words in (([], "an image is missing"), (["--manifest", "m", "first"], "one of"),
                            (["--from-file", "a", "--from-file0", "b"], "one of"), (["--tags", "a", "first"], "go with --manifest")):
            answer = self.check(*argv)
            self.assertEqual((answer.code, answer.result.out), (2, ""))
            self.assertIn(words, answer.result.err)


class Others(Fleet):
    """What is wrong with one image is no other's."""

    def test_what_is_no_image(self):
        images = self.fleet(40)
        os.mkfifo(self.path("fifo"))
        os.mkdir(self.path("dir"))
        os.symlink("/dev/zero", self.path("zero"))
        os.symlink("loop", self.path("loop"))
        with open(self.path("junk"), "wb") as f:
            f.write(b"QFI\xfb\0\0\0\3" + os.urandom(4096))
        odd = [self.path(name) for name in ("fifo", "dir", "zero", "loop", "junk", "gone")]
        answer = self.check("--json", *images[:20], *odd, *images[20:])
        self.assertEqual((answer.code, answer.summary["clean"], answer.summary["unchecked"]), (1, 40, 6), str(answer))
        self.assertEqual([record["path"] for record in answer.records if record["status"] != "clean"], odd)

    def test_one_in_use(self):
        images = self.fleet(20)
        self.use(images[7])
        answer = self.check("--json", *images)
        self.assertEqual((answer.code, answer.summary["clean"]), (1, 19), str(answer))
        self.assertEqual(answer.records[7]["error"]["code"], "locked")
        self.assertFalse(answer.records[7]["without_locks"])

    def test_one_in_use_is_checked_on_request(self):
        image = self.create("b.qcow2", data_file="b.data")
        self.use(image)
        self.assertEqual(self.check("--json", image).error, "locked")
        for flag in ("-U", "--force-share"):
            answer = self.check("--json", flag, image)
            self.assertEqual((answer.code, answer.status), (0, "clean"), str(answer))
            self.assertTrue(answer.first["without_locks"])
        words = "note: no locks were taken: of an image in use the answer may be out of date\n"
        self.assertTrue(self.check("-U", image).result.out.endswith(words))
        self.assertTrue(self.check("-U", image, image).result.out.endswith(words))
        self.assertEqual(self.check("-qU", image).result.out, "")
        self.assertNotIn("note", self.check("first").result.out)

    def test_memory_is_shared_but_one_image_may_have_all(self):
        """Its references are as scattered as can be: a worker's share is too small for their counts."""
        image = self.create("scattered", size="2M", cluster_size=512, preallocation="metadata")
        found = qcow2.load(image)
        for i in range(4096):  # one in each stretch of 512 clusters, in holes
            qcow2.patch_u64(image, found.l2_entry_offset(512 * i), qcow2.COPIED | 512 * 512 * (i + 100))
        place = found.l2_entry_offset(0)  # a reserved bit: found while memory lasts, and not twice
        qcow2.patch_u64(image, place, found.u64(place) | qcow2.COPIED | 1 << 57)
        os.truncate(image, 512 * 512 * 4200)
        self.copy(image, "second")

        def answer_with(limit, images):
            manifest = self.manifest(f"version: 1\nlimits: {{memory: {limit}}}\nimages: [{{path: [{images}]}}]\n")
            return self.check("--json", "-j", "2", "--manifest", manifest)

        limit = 1 << 20
        while answer_with(limit, "scattered").error == "memory":
            limit += limit // 4
            self.assertLess(limit, 64 << 20)
        self.assertGreater(limit, 1 << 20)
        answer = answer_with(limit, "scattered, second, first")
        self.assertEqual([record["status"] for record in answer.records], ["corrupt", "corrupt", "clean"], str(answer))
        for record in answer.records[:2]:
            self.assertEqual(sum("reserved" in finding["message"] for finding in record["findings"]), 1)
            self.assertEqual(sum(finding.get("count", 1) for finding in record["findings"]) + record["findings_left_out"],
                             record["corruptions"] + record["leaks"])

class Levels(Fleet):
    def answers(self, image, *levels):
        """The verdict of each level, and that of none."""
        records = [self.check("--json", *argv, image).first for argv in
                   (["--level", "header"], ["--level", "tables"], ["--level", "refcounts"], [])]
        self.assertEqual([record["level"] for record in records], ["header", "tables", "refcounts", "refcounts"])
        self.assertEqual([record["status"] for record in records], [*levels, levels[-1]])
        for record in records:
            self.assertEqual(bool(record.get("findings")), record["status"] in ("corrupt", "leaks"))
        return records

    def test_what_each_one_sees(self):
        for spoil, *levels in ((lambda image: None, "clean", "clean", "clean"),
                               (self.leak, "clean", "clean", "leaks"),
                               (self.spoil, "clean", "clean", "corrupt"),
                               (lambda image: self.spoil(image, self.entry + 512), "clean", "corrupt", "corrupt"),
                               (lambda image: qcow2.patch(image, 79, b"\2"), "corrupt", "corrupt", "corrupt"),
                               (lambda image: os.truncate(image, 200), "unchecked", "unchecked", "unchecked")):
            image = self.sound("one.qcow2")
            spoil(image)
            self.answers(image, *levels)

    def test_of_a_data_file(self):
        image = self.create("b.qcow2", data_file="b.data")
        self.io(image, "write -q -P 1 512k 64k")
        os.truncate(self.path("b.data"), 0)
        self.answers(image, "clean", "corrupt", "corrupt")
        os.unlink(self.path("b.data"))
        self.answers(image, "unchecked", "unchecked", "unchecked")
        raw = self.create("c.qcow2", data_file="c.data", data_file_raw="on")
        os.truncate(self.path("c.data"), 0)
        self.answers(raw, "corrupt", "corrupt", "corrupt")

    def test_what_each_one_reads(self):
        header, tables, refcounts, _ = [record["io"]["read_ops"] for record in
                                        self.answers(self.sound("one.qcow2"), "clean", "clean", "clean")]
        self.assertLess(header, tables)
        self.assertLess(tables, refcounts)

    def test_people_are_told_what_was_not_looked_at(self):
        self.assertEqual(self.check("--level", "header", "first").result.out,
                         "No errors were found in the header; tables were not read.\n")
        self.assertIn("refcounts were not compared", self.check("--level", "tables", "first").result.out)
        self.assertIn("is expected", self.check("--level", "contents", "first").result.err)


class Interrupted(Fleet):
    def start(self, n, *argv):
        self.fleet(n)
        manifest = self.manifest("version: 1\nlimits: {iops: 20}\nimages: [{path: fleet/*.qcow2}]\n")
        return subprocess.Popen([qbatch.absolute(qbatch.TOOL), "check", *argv, "--manifest", manifest], text=True,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def wait_until_it_has_an_image_open(self, run):
        """Before, it reads the manifest, and does not know yet how many there are."""
        until = time.monotonic() + 60
        while run.poll() is None and time.monotonic() < until:
            folder = f"/proc/{family.reader(run.pid) or run.pid}/fd"
            for fd in os.listdir(folder):
                try:
                    if os.readlink(f"{folder}/{fd}").endswith(".qcow2"):
                        return
                except FileNotFoundError:
                    pass  # closed meanwhile
                except PermissionError:
                    self.skipTest("what it has open is shown to nobody here")
        self.fail("it never had an image open")

    def test_in_the_middle(self):
        for how in ("auto", "off"):
            self.interrupt(how)

    def interrupt(self, how):
        run = self.start(200, "--json", "--sandbox", how)
        first = json.loads(run.stdout.readline())
        run.send_signal(signal.SIGINT)
        out, err = run.stdout.read(), run.stderr.read()  # communicate() does not see what readline() read ahead
        self.assertEqual(run.wait(timeout=60), 75, err)
        run.stdout.close()
        run.stderr.close()
        lines = [first, *(json.loads(line) for line in out.splitlines())]
        paths = [line["path"] for line in lines[:-1]]
        self.assertEqual(paths, sorted(paths))
        self.assertTrue(all(line["status"] == "clean" for line in lines[:-1]))
        self.assertEqual((lines[-1]["images"], lines[-1]["not_reached"]), (len(paths), 200 - len(paths)))
        self.assertGreater(lines[-1]["not_reached"], 0)
        self.assertEqual(lines[-1]["exit_code"], 75)

    def test_people_are_told_how_far_it_came(self):
        run = self.start(200)
        self.wait_until_it_has_an_image_open(run)
        run.send_signal(signal.SIGTERM)
        out, _ = run.communicate(timeout=60)
        self.assertEqual(run.returncode, 75)
        self.assertRegex(out, r"^interrupted: \d+ of 200 images")

    def test_while_it_waits_for_its_list(self):
        reader, writer = os.pipe()
        with subprocess.Popen([qbatch.absolute(qbatch.TOOL), "check", "--json", "--from-file", "-"], stdin=reader,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as run:
            os.close(reader)
            proc.wait_until_it_catches(run, signal.SIGINT)
            time.sleep(0.1)  # in most cases it waits by now
            run.send_signal(signal.SIGINT)
            out, err = run.communicate(timeout=60)
        os.close(writer)
        self.assertEqual(run.returncode, 75, err)
        self.assertEqual(json.loads(out)["exit_code"], 75)

    def test_a_reader_that_goes_away_ends_it(self):
        run = self.start(200, "--json")
        run.stdout.readline()
        run.stdout.close()
        self.assertEqual(run.wait(timeout=60), 0)
        self.assertEqual(run.stderr.read(), "")
        run.stderr.close()


if __name__ == "__main__":
    main()
