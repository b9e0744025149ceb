"""`qbatch map` of many images: the runs of `qemu-img map --output=json`, through any chain, in order."""
import json
import os
import random
import signal
import subprocess

import context  # noqa: F401
import proc
import qbatch
import qcow2
from fixture import MIB, ImageTest, main

SECRET = ["--object", "secret,id=s,data=abc"]


class MapTest(ImageTest):
    def map(self, *argv, **kwargs):
        return qbatch.qbatch("map", *argv, cwd=self.folder, **kwargs)

    def theirs(self, *argv):
        return json.loads(proc.must(["qemu-img", "map", "--output=json", *argv], cwd=self.folder))

    def assert_same(self, *names):
        """Ours say in addition which runs are compressed, as newer versions of qemu-img do."""
        answer = self.map("--json", *names)
        self.assertEqual((answer.code, answer.result.err), (0, ""), str(answer)[:2000])
        for name, record in zip(names, answer.records, strict=True):
            theirs = self.theirs(name)
            self.assertEqual((record["path"], record["status"], record["error"]), (name, "read", None))
            self.assertEqual([{key: value for key, value in run.items() if key in theirs[0] or key != "compressed"}
                              for run in record["map"]], theirs, name)
            self.assertEqual(record["measure"], self.measured(name), name)

    def measured(self, name, *argv):
        return json.loads(proc.must(["qemu-img", "measure", "--output=json", "-O", "qcow2", *argv, name], cwd=self.folder))

    def runs(self, name):
        return self.map("--json", name).first["map"]

    def fails(self, name, code, words):
        answer = self.map("--json", name)
        self.assertEqual((answer.code, answer.status, answer.error), (1, "failed", code), str(answer))
        self.assertIn(words, answer.first["error"]["message"])
        return answer.first


class Same(MapTest):
    def test_kinds_of_clusters(self):
        image = self.create(size="10M")
        self.assert_same("a.qcow2")
        self.io(image, "write -q 0 64k", "write -q 192k 200k", "write -q -z 1M 1M", "write -q -z -u 2M 1M", "write -q -c 4M 64k",
                "write -q 5M 1M", "write -q 3M 1M", "discard 3M 64k", "write -q -z 5M 128k", "write -q 128k 64k")
        self.assert_same("a.qcow2")
        self.assertEqual([run["start"] for run in self.runs("a.qcow2") if run["compressed"]], [4 * MIB])

    def test_subclusters(self):
        image = self.create(size="10M", extended_l2="on")
        self.io(image, "write -q 0 3k", "write -q 6k 2k", "write -q -z 10k 4k", "write -q 64k 64k", "write -q -z 1M 1M",
                "write -q -z -u 2M 64k", "write -q -c 4M 64k", "write -q 128k 64k", "discard 130k 8k")
        self.assert_same("a.qcow2")

    def test_a_cluster_without_subclusters_in_use_has_a_place(self):
        self.create("base", size="2M")
        for name, backing in (("a", None), ("b", "base")):
            image = self.create(name, size="3M", backing=backing, extended_l2="on")
            self.io(image, "write -q 0 64k", "write -q 2560k 64k")
            for guest in (0, 2560 << 10):
                qcow2.patch_u64(image, qcow2.load(image).l2_entry_offset(guest) + 8, 0)
        self.assert_same("a", "b")
        self.assertIn("offset", self.runs("a")[0])
        self.assertNotIn("offset", self.runs("b")[0])

    def test_preallocated_metadata_is_looked_through(self):
        for i, options in enumerate(({}, {"extended_l2": "on"}, {"compat": "0.10"}, {"cluster_size": 4096}, {"refcount_bits": 1},
                                     {"cluster_size": 2 * MIB}, {"data_file": "6.data", "cluster_size": 2 * MIB})):
            image = self.create(f"{i}", size="10M", preallocation="metadata", **options)
            self.assert_same(f"{i}")
            self.io(image, "write -q 1M 64k", "write -q 3M 1M", "write -q 9M 4k")
            if "data_file" in options:  # its metadata are full of holes
                proc.must(["fallocate", "--dig-holes", image])
                os.truncate(self.path("6.data"), (9 << 20) + 5000)
            self.assert_same(f"{i}")
            if "extended_l2" not in options:  # whose subclusters are not in use yet
                self.assertIn((True, True), {(run["data"], run["zero"]) for run in self.runs(f"{i}")}, options)

    def test_from_how_many_holes_on(self):
        """Two clusters, and a ninth, that are counted but not there make the difference."""
        for clusters in (0, 1, 2, 3, 4):
            image = self.create("a", size="4M", cluster_size=4096)
            self.io(image, "write -q 0 40k", f"write -q 1M {400 - 4 * clusters}k")
            os.truncate(image, os.path.getsize(image) // 4096 * 4096)
            size = os.path.getsize(image)
            with open(image, "r+b") as f:
                f.truncate(size - 4096 * clusters)
                f.truncate(size)
            self.assert_same("a")

    def test_raw_backing_files(self):
        self.raw("base.raw", "7M", "write -q 64k 64k", "write -q 1M 100k", "write -q 6M 1M")
        with open(self.path("odd.raw"), "wb") as f:
            f.write(os.urandom(3000001))
        for name, size in (("base.raw", "10M"), ("base.raw", "3M"), ("odd.raw", "2M"), ("odd.raw", "6M")):
            image = self.create("a.qcow2", size=size, backing=name, backing_fmt="raw")
            self.assert_same("a.qcow2")
            self.io(image, "write -q 0 64k", "write -q 80k 4k", "write -q 2M 0")
            self.assert_same("a.qcow2")

    def test_chains(self):
        sizes = ("10M", "12M", "8M", "20M", "20M")
        made = ({}, {"cluster_size": 4096}, {"compat": "0.10"}, {"cluster_size": 512}, {"extended_l2": "on"})
        writes = (("write -q 0 300k", "write -q -c 4M 128k", "write -q -z 1M 2M"), ("write -q 100k 100k", "write -q 11M 64k"),
                  ("write -q 0 10k",), ("write -q 4M 5k", "write -q 15M 1M"), ("write -q 4M 3k", "write -q -z 15M 1M"))
        for i, (size, options, commands) in enumerate(zip(sizes, made, writes)):
            image = self.create(f"{i}", size=size, backing=f"{i - 1}" if i else None, **options)
            self.assert_same(f"{i}")
            self.io(image, *commands)
            self.assert_same(f"{i}")
        self.assertEqual({run["depth"] for run in self.runs("4")}, {0, 1, 2, 3, 4})

    def test_data_files(self):
        for i, options in enumerate(({}, {"data_file_raw": "on"})):
            image = self.create(f"{i}", size="10M", data_file=f"{i}.data", **options)
            self.io(image, "write -q 0 64k", "write -q 1M 1M", "write -q -z 2M 64k", "discard 1M 64k")
            self.create(f"on{i}", size="20M", backing=f"{i}")
            self.assert_same(f"{i}", f"on{i}")

    def test_a_preallocated_data_file_below(self):
        base = self.create("base", size="10M", data_file="base.data", preallocation="metadata")
        self.io(base, "write -q 1M 1M")
        self.io(self.create("a", size="20M", backing="base"), "write -q 3M 64k")
        self.assert_same("a", "base")

    def test_encryption(self):
        self.create("a", flags=SECRET, **{"encrypt.format": "aes", "encrypt.key-secret": "s"})
        options = "driver=qcow2,file.filename=a,encrypt.key-secret=s"
        proc.must(["qemu-io", "-t", "unsafe", *SECRET, "--image-opts", options, "-c", "write 64k 64k"], cwd=self.folder)
        theirs = self.theirs(*SECRET, "--image-opts", options)
        self.assertEqual([{k: v for k, v in run.items() if k != "compressed"} for run in self.runs("a")], theirs)
        self.assertNotIn("offset", theirs[1])

    def test_disks_of_odd_sizes(self):
        for size in (512, 513, MIB - 1, 3 * MIB + 5):
            image = self.create(size="4M")
            self.io(image, "write -q 0 64k", "write -q 3M 64k")
            qcow2.patch_header(image, size=size)
            self.assert_same("a.qcow2")
        self.create("nothing", size=0)
        self.assertEqual(self.runs("nothing"), [])
        self.create("huge", size="50T")
        self.assert_same("huge")

    def test_what_a_copy_takes(self):
        # with 32762 clusters, their refcount blocks take one block more
        for size in (512, "64k", "511M", "1G", 32762 * 65536, "17T"):
            image = self.create("a", size=size, cluster_size=4096 if size != "17T" else 65536)
            self.assert_same("a")
        image = self.create("b", size="3G", cluster_size=4096)
        for argv in (["b0"], ["-g", "512", "b1"], ["-g", "4k", "b2" * 300]):
            proc.must(["qemu-img", "bitmap", "--add", *argv[:-1], image, argv[-1]])
        self.io(image, "write -q 60k 8k", "write -q 200k 1k", "write -q 202k 1k", "write -q 1G 100M")
        self.assert_same("b")
        self.assertGreater(self.measured("b")["bitmaps"], 0)
        lines = self.map("b").result.out.splitlines()[-3:]
        self.assertEqual(lines, proc.must(["qemu-img", "measure", "-O", "qcow2", image]).splitlines())
        self.killed_io(image, "write -q 0 64k")  # its bitmaps are inconsistent from now on
        self.assertEqual(self.map("--json", "b").first["measure"], self.measured("b", "-U"))

    def test_random_chains(self):
        for seed in range(10):
            with self.subTest(seed=seed):
                self.random_chain(random.Random(seed))

    def random_chain(self, rng):
        below = None
        for depth in range(rng.randrange(1, 5)):
            bits = rng.choice((9, 12, 14, 16))
            options = rng.choice(({}, {"compat": "0.10"}, {"extended_l2": "on"} if bits >= 14 else {},
                                  {"preallocation": "metadata"} if below is None else {}))
            image = self.create(f"r{depth}", size=rng.randrange(1, 4096) * 512, backing=below, cluster_size=1 << bits, **options)
            size = qcow2.load(image).size
            for _ in range(rng.randrange(8)):
                at = rng.randrange(size // 512) * 512
                length = min(size - at, rng.randrange(1, 400) * 512)
                how = rng.choice(("", "", "-z", "-z -u") if options.get("compat") != "0.10" else ("",))
                self.io(image, f"write -q {how} {at} {length}" if rng.random() < .8 else f"discard {at} {length}")
            below = f"r{depth}"
            self.assert_same(below)


class Fleet(MapTest):
    def many_runs(self, name="many", n=4000):
        image = self.create(name, size=n * 1024, cluster_size=512, preallocation="metadata")
        found = qcow2.load(image)
        for i in range(0, 2 * n, 2):
            qcow2.patch_u64(image, found.l2_entry_offset(512 * i), 1)
        return image

    def test_long_maps_are_in_order(self):
        self.many_runs()
        self.io(self.create("small"), "write -q 64k 64k")
        names = ["many", "small", "many", "many", "small"]
        expected = {name: self.theirs(name) for name in ("many", "small")}
        self.assertEqual(len(expected["many"]), 8000)
        for jobs in ("1", "4"):
            out = proc.must([qbatch.absolute(qbatch.TOOL), "map", "--json", "-j", jobs, *names], cwd=self.folder)
            *records, summary = [json.loads(line) for line in out.splitlines()]
            self.assertEqual((summary["images"], summary["read"], summary["not_reached"]), (5, 5, 0))
            self.assertEqual([record["path"] for record in records], names)
            for record in records:
                self.assertEqual([{k: v for k, v in run.items() if k != "compressed"} for run in record["map"]],
                                 expected[record["path"]])
        self.assertEqual(len(self.map("many").result.out.splitlines()), 8004)

    def test_an_interrupted_one_has_an_end(self):
        self.many_runs()
        tool = subprocess.Popen([qbatch.absolute(qbatch.TOOL), "map", "--json", "-j", "2", *["many"] * 6], stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, cwd=self.folder)
        first = os.read(tool.stdout.fileno(), 1000)  # now it waits for us in the middle of the first map
        tool.send_signal(signal.SIGINT)
        rest, errors = tool.communicate(timeout=60)
        lines = [json.loads(line) for line in (first + rest).splitlines()]
        self.assertEqual(tool.returncode, 75, errors)
        self.assertEqual((lines[0]["status"], lines[0]["error"]["code"]), ("failed", "cancelled"))
        self.assertLess(len(lines[0]["map"]), 8000)
        self.assertGreater(lines[-1]["not_reached"], 0)
        self.assertEqual((lines[-1]["type"], lines[-1]["exit_code"]), ("summary", 75))

    def test_a_reader_that_goes_away(self):
        self.many_runs()
        tool = subprocess.Popen([qbatch.absolute(qbatch.TOOL), "map", *["many"] * 50], stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, cwd=self.folder)
        os.read(tool.stdout.fileno(), 1000)
        tool.stdout.close()
        errors = tool.stderr.read()
        tool.stderr.close()
        self.assertEqual(tool.wait(60), 0)
        self.assertEqual(errors, b"")

    def test_each_fails_alone(self):
        self.io(self.create("a"), "write -q 64k 64k")
        spoiled = self.create("b", size="2M")
        self.io(spoiled, "write -q 64k 64k", "write -q 1M 64k")
        found = qcow2.load(spoiled)
        qcow2.patch_u64(spoiled, found.l2_entry_offset(MIB), found.u64(found.l2_entry_offset(MIB)) + 512)
        answer = self.map("--json", "a", "gone", "b", "a")
        self.assertEqual(answer.code, 1)
        self.assertEqual([record["status"] for record in answer.records], ["read", "failed", "failed", "read"])
        self.assertEqual(answer.records[0]["map"], answer.records[3]["map"])
        self.assertEqual([record["error"]["code"] for record in answer.records[1:3]], ["not_found", "corrupt"])
        self.assertEqual([run["start"] for run in answer.records[2]["map"]], [0, 64 << 10])
        self.assertNotEqual(proc.run(["qemu-img", "map", spoiled]).code, 0)
        done = self.map("a", "gone").result
        self.assertIn("qbatch map: gone: not_found", done.err)
        self.assertEqual(done.out.splitlines()[:3], ["a:", "start               length              depth  holds        offset",
                                                     "0                   0x10000                 0  unallocated"])
        self.assertRegex(done.out.splitlines()[-1], "^2 images, of which 1 could not be read, in ")

    def test_nothing_is_shown_of_one_that_fails_at_once(self):
        self.io(self.create("a"), "write -q 64k 64k")
        self.create("lost", backing="gone", flags=["-u"])
        done = self.map("lost").result
        self.assertEqual((done.code, done.out), (1, ""))
        self.assertIn("qbatch map: lost: backing_missing", done.err)
        alone = self.map("a").result.out
        several = self.map("a", "lost", "a").result.out.splitlines()
        self.assertEqual("\n".join(several[:-1]) + "\n", 2 * ("a:\n" + alone))
        self.create("empty", size="0")  # and of a disk without runs, that there is none
        self.assertEqual(self.map("empty").result.out.splitlines()[0].split(), ["start", "length", "depth", "holds", "offset"])

    def test_backing_files_that_are_not_there(self):
        self.create("a", backing="gone", flags=["-u"])
        self.fails("a", "backing_missing", "gone")
        self.create("a", backing="nbd:localhost:1", backing_fmt="raw", flags=["-u"])
        self.fails("a", "unsupported", "not a local path")

    def test_files_of_other_users(self):
        if os.getuid():
            self.leave_out("all", "needs root")
            return
        os.chmod(self.folder, 0o755)
        self.raw("secret", "1M", "write -q 0 64k")
        os.chmod(self.path("secret"), 0o600)
        image = self.create("a", backing="secret", backing_fmt="raw")
        self.create("b", data_file="b.data", preallocation="metadata", cluster_size=2 * MIB)
        proc.must(["fallocate", "--dig-holes", self.path("b")])
        self.assert_same("a", "b")
        os.chown(image, 65534, 65534)
        os.chown(self.path("b"), 65534, 65534)
        self.fails("a", "backing_refused", "secret")
        self.fails("b", "backing_refused", "b.data")

    def test_one_in_use(self):
        base = self.create("base")
        self.io(self.create("a", backing="base"), "write -q 0 64k")
        self.use(base)
        self.fails("a", "locked", "")
        for flag in ("-U", "--force-share"):
            answer = self.map("--json", flag, "a")
            self.assertEqual((answer.code, answer.first["without_locks"], len(answer.first["map"])), (0, True, 2), str(answer))

    def test_nothing_is_written(self):
        image = self.create()
        self.io(image, "write -q 0 64k")
        sha, stat = proc.sha256(image), os.stat(image)
        self.assertEqual(self.map(image).code, 0)
        self.assert_untouched(image, sha, stat)

    def test_one_table_in_many_places(self):
        """The work is bounded by what the file holds, not by how often its tables are named."""
        entries = 1300000
        image = self.create(size=entries * 512 * 64, cluster_size=512)
        self.io(image, "write -q -z -u 0 64k")
        found = qcow2.load(image)
        qcow2.patch(image, found.l1_table_offset, b"".join(e.to_bytes(8, "big") for e in found.l1()[:2]) * (entries // 2))
        self.fails("a.qcow2", "corrupt", "many parts of the disk")


if __name__ == "__main__":
    main()
