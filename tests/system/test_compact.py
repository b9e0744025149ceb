"""reclaim.compact: clusters move down, so that the file becomes shorter; every layer reads as before."""
import json
import os
import random
import shutil
import signal
import subprocess
import time
import unittest

import context  # noqa: F401
import bitmaps
import bits
import guest
import proc
import qcow2
import strace
from fixture import KIB, MIB, OTHER_BUILD, ImageTest, main
import qbatch

CONTENT = ("--verify", "content")
COMPACT = {"reclaim.compact": "on"}
MEDDLER = os.environ.get("MEDDLER", "")


class Scene(ImageTest):
    def holes(self, name="a.qcow2", size=32 * MIB, seed=1, layers=2, **options):
        """Written all over, in several layers, of which some go again; a guest discards half of it."""
        rng = random.Random(seed)
        image = self.create(name, size=size, **options)
        unit = max(qcow2.load(image).cluster_size, size // 256)

        def some(verb, n, longest):
            at = [rng.randrange(size // unit) for _ in range(n)]
            return [f"{verb.replace('N', str(rng.randrange(1, 250)))} {a * unit} {min(rng.randrange(1, longest) * unit, size - a * unit)}"
                    for a in at]

        self.io(image, *(f"write -q -P {i % 250 + 1} {i * unit} {unit}" for i in rng.sample(range(size // unit), size // unit)))
        for layer in range(layers):
            self.io(image, *some("write -q -P N", 20, 9))
            self.snapshot(image, f"s{layer}")
        self.io(image, *some("write -q -P N", 20, 9))
        for layer in range(0, layers, 2):
            proc.must(["qemu-img", "snapshot", "-d", f"s{layer}", image])
        self.io(image, *some("discard -q", 20, 40))
        return image

    def in_use(self, image):
        """Clusters that have a refcount, and those up to the image's end."""
        found = qcow2.load(image)
        end = -(-os.path.getsize(image) // found.cluster_size)
        return sum(found.refcount(c) > 0 for c in range(end)), end

    def assert_dense(self, image):
        """But for the metadata that was rewritten last, of which there were two."""
        used, end = self.in_use(image)
        found = qcow2.load(image)
        tables = {e & qcow2.L1_OFFSET for at, n in found.l1s() for e in found.l1(at, n)}
        self.assertLess(end - used, 2 * len(tables) + 16)


class Compacted(Scene):
    def compacted(self, image, **options):
        before = os.path.getsize(image)
        record = self.amended_keeping_content(image, flags=CONTENT, **COMPACT, **options)
        self.assertEqual(record["verify"]["result"], "ok")
        self.assertLess(os.path.getsize(image), before)
        self.amended(image, status="unchanged", **COMPACT, **options)
        return record

    def assert_lives_on(self, image):
        before = guest.read_all(image)
        self.io(image, "write -q -P 9 1M 200k", "write -q -z 3M 1M", "discard -q 5M 1M", "write -q -P 7 11M 3M")
        after = guest.read_all(image)
        for name in before.keys() - {"active"}:
            self.assertTrue(before[name] == after[name], name)
        self.assert_reads(image, MIB, 200 * KIB, 9)
        self.assert_sound(image)

    def test_the_file_becomes_as_short_as_what_is_in_it(self):
        for number, options in enumerate(({}, {"cluster_size": 4096}, {"cluster_size": 512, "size": 4 * MIB}, {"extended_l2": "on"},
                                          {"compat": "0.10"}, {"refcount_bits": 64}, {"cluster_size": 2 * MIB, "size": 512 * MIB},
                                          {"layers": 5, "seed": 3}, {"layers": 0, "seed": 4})):
            with self.subTest(**options):
                image = self.holes(f"{number}.qcow2", **{"seed": number, **options})
                self.compacted(image)
                self.assert_dense(image)
                if options.get("size", 32 * MIB) >= 32 * MIB:
                    self.assert_lives_on(image)

    def test_over_a_backing_file_with_subclusters(self):
        self.raw("base.raw", "40M", "write -q -P 99 0 40M")
        image = self.holes(extended_l2="on", backing="base.raw", backing_fmt="raw")
        self.io(image, "write -q -P 1 2k 2k", "write -q -P 2 20M 2k", "write -q -z 20492k 6k", "write -q -P 3 31M 512")
        self.compacted(image)
        self.assert_lives_on(image)

    def test_snapshots_that_share_clusters_and_tables_still_do(self):
        image = self.holes()
        for name in "xyz":
            self.snapshot(image, name)
        self.io(image, "write -q -P 5 7M 64k")
        self.compacted(image)
        self.assert_dense(image)
        before = guest.read_all(image)["snapshot x"]
        proc.must(["qemu-img", "snapshot", "-a", "x", image])
        self.assertTrue(guest.read_all(image)["active"] == before)
        self.assert_sound(image)

    def test_other_keys_are_done_first(self):
        for request in ({"refcount_bits": 64}, {"compat": "0.10"}, {"size": 40 * MIB}, {"snapshots.delete": "s1"}, {"reclaim.zeros": "on"},
                        {"lazy_refcounts": "on"}, {"extended_l2": "on"}, {"compression_type": "zstd"}):
            with self.subTest(**request):
                image = self.holes()
                if "snapshots.delete" in request or "size" in request:
                    before = guest.read_active(image)
                    self.amended(image, flags=CONTENT, **COMPACT, **request)
                    self.assertTrue(guest.read_active(image) == before.resized(request.get("size", 32 * MIB)))
                    self.assert_sound(image)
                else:
                    self.compacted(image, **request)
                self.assert_dense(image)

    def bits(self, image, name):
        """What a bitmap says, as QEMU exports it: the extents that are dirty."""
        sock, ready = self.path("nbd.sock"), self.path("nbd.pid")  # which is there once it listens
        for left in (sock, ready):
            if os.path.exists(left):
                os.unlink(left)
        daemon = subprocess.Popen(["qemu-nbd", "-r", "-f", "qcow2", "-B", name, "-k", sock, "--pid-file", ready, image],
                                  stderr=subprocess.DEVNULL)
        try:
            while daemon.poll() is None and not os.path.exists(ready):
                time.sleep(0.01)
            out = proc.must(["qemu-img", "map", "--output=json", "--image-opts",
                             f"driver=nbd,server.type=unix,server.path={sock},x-dirty-bitmap=qemu:dirty-bitmap:{name}"])
        finally:
            daemon.kill()
            daemon.wait()
        return [(e["start"], e["length"], e["data"]) for e in json.loads(out)]

    def test_bitmaps_move_with_their_tables_and_bits(self):
        for number, options in enumerate(({}, {"cluster_size": 512, "size": 4 * MIB}, {"cluster_size": 4096})):
            with self.subTest(**options):
                size = options.pop("size", 32 * MIB)
                image = self.create(f"{number}.qcow2", size=size, **options)
                self.io(image, f"write -q -P 1 0 {size // 2}")
                for name, grain in (("a", 512), ("b", 65536), ("c", 512)):
                    proc.must(["qemu-img", "bitmap", "--add", "-g", str(grain), image, name])
                self.io(image, f"write -q -P 2 {size // 4} {size // 4}", f"write -q -P 3 {size - 4096} 512", "discard -q 0 3M",
                        f"write -q -P 4 {size // 2 + 65536} 4096")
                proc.must(["qemu-img", "bitmap", "--disable", image, "c"])
                before = {name: self.bits(image, name) for name in "abc"}
                self.assertGreater(len(before["a"]), 3)
                self.compacted(image)
                self.assertEqual({name: self.bits(image, name) for name in "abc"}, before)
                found = json.loads(proc.must(["qemu-img", "info", "--output=json", image]))["format-specific"]["data"]["bitmaps"]
                self.assertEqual([(b["name"], b["flags"]) for b in found], [("a", ["auto"]), ("b", ["auto"]), ("c", [])])
                self.assert_dense(image)
                self.io(image, "write -q -P 1 1M 1M")
                self.assert_sound(image)

    def test_bits_of_a_bitmap_move_from_the_end(self):
        image = self.create(size=16 * MIB)
        proc.must(["qemu-img", "bitmap", "--add", "-g", "512", image, "a"])
        self.io(image, "write -q -P 1 0 8M", "write -q -P 2 12M 512")
        self.io(image, "discard -q 1M 3M")
        table = bitmaps.directory(image)[0].table
        found = qcow2.load(image)
        old = found.u64(table) & qcow2.L2_OFFSET
        self.assertTrue(old)
        qcow2.patch_u64(image, table, qcow2.append_cluster(image, found.data[old:old + 64 * KIB]))
        qcow2.set_refcount(image, old // (64 * KIB), 0)
        before = bits.load(image)
        self.assert_sound(image)
        self.compacted(image)
        self.assertEqual(bits.load(image), before)
        self.assert_dense(image)

    def test_each_table_of_the_header_moves_from_the_end(self):
        for field, entries in (("refcount_table_offset", 1), ("l1_table_offset", 1), ("snapshots_offset", 1)):
            with self.subTest(field):
                image = self.create(f"{field}.qcow2", size=16 * MIB)
                self.io(image, "write -q -P 1 0 2M")
                self.snapshot(image, "s")
                self.io(image, "write -q -P 2 2M 2M", "discard -q 3M 1M")
                found = qcow2.load(image)
                old = getattr(found, field)
                end = os.path.getsize(image)
                new = qcow2.append_cluster(image, found.data[old:old + 64 * KIB])
                self.assertGreaterEqual(new, end - 64 * KIB)
                qcow2.patch_header(image, **{field: new})
                qcow2.set_refcount(image, old // (64 * KIB), 0)
                self.assert_sound(image)
                self.compacted(image)
                self.assert_dense(image)

    def test_leaks_stay_unless_they_are_freed(self):
        image = self.holes()
        qcow2.append_cluster(image)
        end = os.path.getsize(image)
        self.amended_keeping_content(image, flags=(*CONTENT, "--on-leaks", "free"), **COMPACT)
        self.assertLess(os.path.getsize(image), end - MIB)
        self.assert_dense(image)
        self.assert_sound(image)

    def compressed(self, image, n, unit=64 * KIB, seed=5, first=0, longest=3 / 4):
        """Clusters that compress to random lengths, packed one after the other, as one process does it."""
        rng = random.Random(seed)
        for i in range(first, first + n):
            with open(self.path(f"part{i}"), "wb") as f:
                f.write(rng.randbytes(rng.randrange(int(unit * longest))).ljust(unit, b"x"))
        self.io(image, *(f"write -q -c -s {self.path(f'part{i}')} {i * unit} {unit}" for i in range(first, first + n)))

    def packed_sectors(self, image):
        """Of clusters of 64 KiB."""
        sectors = set()
        for _, _, e in qcow2.load(image).entries():
            if e & qcow2.COMPRESSED:
                first = (e & (1 << 54) - 1) // 512
                sectors |= set(range(first, first + (e >> 54 & 0xff) + 1))
        return len(sectors)

    def test_compressed_data_moves_like_other_data(self):
        for number, (unit, options) in enumerate(((64 * KIB, {}), (4096, {"cluster_size": 4096}), (64 * KIB, {"compression_type": "zstd"}),
                                                  (64 * KIB, {"refcount_bits": 1, "compat": "1.1"}), (64 * KIB, {"extended_l2": "on"}),
                                                  (64 * KIB, {"compat": "0.10"}))):
            with self.subTest(**options):
                image = self.create(f"c{number}.qcow2", size=16 * MIB, **options)
                packed = options.get("refcount_bits") != 1
                self.io(image, f"write -q -P 1 0 {40 * unit}")
                if packed:
                    self.compressed(image, 20, unit, first=40)
                self.io(image, f"write -q -P 3 {60 * unit} {30 * unit}")
                if packed:
                    self.compressed(image, 40, unit, seed=6, first=90)
                self.io(image, f"discard -q 0 {30 * unit}", f"discard -q {45 * unit} {3 * unit}", f"discard -q {95 * unit} {unit}")
                if packed:
                    self.snapshot(image, "s")
                    self.io(image, f"discard -q {100 * unit} {5 * unit}")
                    if options.get("compat") != "0.10":  # where a discard leaves zero clusters
                        self.compressed(image, 5, unit, seed=7, first=140)
                    self.io(image, f"write -q -P 9 {93 * unit} {2 * unit}")
                self.io(image, f"discard -q {62 * unit} {20 * unit}", f"discard -q {110 * unit} {unit}")
                self.amended_keeping_content(image, flags=CONTENT, **COMPACT)
                self.amended(image, status="unchanged", **COMPACT)
                self.assert_dense(image)
                self.assert_sound(image)

    def test_compressed_data_beside_which_some_is_gone(self):
        """What is copied with a piece, up to the start of its sector, spares the one before."""
        for compression in ("zlib", "zstd"):
            with self.subTest(compression):
                image = self.create(f"{compression}.qcow2", size=16 * MIB, compression_type=compression)
                self.io(image, "write -q -P 1 0 4M")
                self.compressed(image, 120, first=64)
                self.assertLess(len(qcow2.load(image).packed_clusters()), 60, "several in each")
                self.io(image, "discard -q 0 4M", *(f"discard -q {i * 64}k 64k" for i in range(65, 184, 2)))
                self.compacted(image)
                self.assert_sound(image)

    def test_a_cluster_takes_no_more_than_its_refcount_can_say(self):
        image = self.create(size=16 * MIB, refcount_bits=2)
        self.io(image, "write -q -P 1 0 2M")
        self.compressed(image, 40, first=64, longest=1 / 16)
        self.io(image, "write -q -P 1 8M 1M", "discard -q 0 2M")
        self.compacted(image)
        self.assert_sound(image)

    def test_nothing_moves_where_nothing_is_gained(self):
        """The last cluster is a leak and cannot move, so that the image would end where it does."""
        image = self.create(size="16M")
        self.io(image, "write -q -P 1 0 8M", "write -q -P 3 9M 1M")
        qcow2.append_cluster(image)
        self.io(image, "discard -q 0 4M")
        self.amended(image, status="unchanged", **COMPACT)

    def test_what_shares_a_sector_of_compressed_data_still_does(self):
        """However often it is compacted, packed data takes no more than it did."""
        image = self.create(size=16 * MIB)
        self.io(image, "write -q -P 1 0 4M")
        self.compressed(image, 60, first=64)
        self.io(image, "discard -q 0 4M")
        lengths = {self.packed_sectors(image)}
        for _ in range(3):
            self.amended_keeping_content(image, flags=CONTENT, **COMPACT)
            lengths.add(self.packed_sectors(image))
            self.io(image, f"write -q -P 1 {MIB} 1M", f"discard -q {MIB} 1M", "write -q -P 1 0 128k")
            self.io(image, "discard -q 0 128k")
        self.assertEqual(len(lengths), 1)

    def test_an_external_data_file_is_left_alone(self):
        image = self.create(size="8M", data_file=self.path("d.raw"))
        self.io(image, "write -q -P 1 0 8M", "discard -q 1M 3M")
        sha = proc.sha256(self.path("d.raw"))
        before = guest.read_all(image)
        for _ in range(2):
            answer = qbatch.amend(image, cwd=self.folder, **COMPACT)
            self.assertEqual(answer.code, 0, str(answer))
        self.assertEqual(proc.sha256(self.path("d.raw")), sha)
        self.assert_same_layers(before, guest.read_all(image))

    def test_tables_beside_a_data_file_move(self):
        """Also where the data file is open, as the comparison of content has it."""
        image = self.create(size="64M", cluster_size=4096, data_file=self.path("d.raw"))
        for name in "abcd":
            self.make_bitmap(image, name, 512)
        self.io(image, "write -q -P 1 0 16M")  # each bitmap gets its bits when the image is closed, ...
        self.io(image, "write -q -P 2 16M 48M")  # ... and tables follow them
        for flags in ((), CONTENT):
            with self.subTest(flags=flags):
                one = self.copy(image, "one")
                self.amended_keeping_content(one, flags=flags, **COMPACT, **{"bitmaps.remove": "*"})
                found = qcow2.load(one)
                in_use = sum(found.refcount(c) > 0 for c in range(len(found.data) // 4096))
                self.assertGreater(self.end_offset(image), (in_use + 20) * 4096)
                self.assertLess(self.end_offset(one), (in_use + 6) * 4096)
                self.assert_sound(one)
                self.amended(one, status="unchanged", **COMPACT)

    def end_offset(self, image):
        return qbatch.qbatch("check", "--json", image).first["image_end_offset"]

    def make_bitmap(self, image, name, granularity):
        proc.must(["qemu-img", "bitmap", "--add", "-g", str(granularity), image, name])

    def test_metadata_at_the_end_moves_where_no_data_does(self):
        """What is free holds the tables that lie behind, but not every table there is."""
        image = self.create(size="2M", cluster_size=64 * KIB)
        self.io(image, "write -q -P 1 0 2M")
        for name in "abc":
            self.snapshot(image, name)
            self.io(image, "write -q -P 2 0 64k", "write -q -P 2 1M 64k")
        self.amended(image, extended_l2="on")  # all tables lie behind the data, their old places are free
        before = self.end_offset(image)
        self.amended_keeping_content(image, flags=CONTENT, **COMPACT)
        self.assertLess(self.end_offset(image), before - 4 * 64 * KIB)
        self.assert_sound(image)

    def test_a_dry_run_says_how_short_the_file_will_be(self):
        image = self.holes()
        sha = proc.sha256(image)
        said = self.amended(image, flags=("--dry-run",), status="would_change", **COMPACT)
        self.assertEqual(proc.sha256(image), sha)
        self.amended(image, **COMPACT)
        self.assertEqual(os.path.getsize(image), said["space"]["file_size_after_bytes"])

    def test_a_dry_run_foresees_what_follows_other_keys(self):
        for request in ({}, {"refcount_bits": 64}, {"compat": "0.10"}, {"extended_l2": "on"}):
            with self.subTest(**request):
                image = self.holes()
                length = os.path.getsize(image)
                said = self.amended(image, flags=("--dry-run",), status="would_change", **COMPACT, **request)
                done = self.amended(image, **COMPACT, **request)
                size, foreseen = os.path.getsize(image), said["space"]["file_size_after_bytes"]
                self.assertEqual(done["space"]["file_size_after_bytes"], size)
                self.assertLess(foreseen, length - 4 * MIB)
                self.assertLess(abs(size - foreseen), MIB, "metadata that was there twice")
                self.assertGreater(done["moved_bytes"], 4 * MIB)
                self.assertLess(abs(done["moved_bytes"] - said["moved_bytes"]), 2 * MIB)
                self.assertLess(abs(done["reclaimed_bytes"] - said["reclaimed_bytes"]), 4 * MIB)
                self.assertLess(abs(done["reclaimed_bytes"] + done["space"]["allocated_delta_bytes"]), 2 * MIB)

    def test_an_interruption_between_rounds_leaves_what_was_committed(self):
        """The first commit is there, the rest comes with the run that goes on."""
        image = self.holes()
        before, size = guest.read_all(image), os.path.getsize(image)
        manifest = self.manifest(f"""
            version: 1
            limits: {{rate: 3M}}
            images: [{{path: {image}, refcount_bits: 64, reclaim: {{compact: on}}}}]
            """)
        argv = [qbatch.absolute(qbatch.TOOL), "--json", "--state", self.path("state"), manifest]
        run = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=self.folder)
        while run.poll() is None and qcow2.load(image).refcount_order != 6:
            time.sleep(0.01)
        run.send_signal(signal.SIGINT)
        out, _ = run.communicate()
        record = json.loads(out.splitlines()[0])
        self.assertEqual((run.returncode, record["status"], record["error"]["code"]), (75, "interrupted", "cancelled"), out)
        self.assertIn("what was asked for besides is committed", record["error"]["message"])
        self.assertIn("unless the message says what is committed", record["error"]["hint"])
        self.assert_same_layers(before, guest.read_all(image))
        self.assert_sound(image)
        answer = qbatch.qbatch("--json", "--resume", "--state", self.path("state"), manifest, cwd=self.folder)
        self.assertEqual((answer.code, answer.status), (0, "changed"), str(answer))
        self.assertLess(os.path.getsize(image), size)
        self.assert_same_layers(before, guest.read_all(image))
        self.assert_dense(image)

    @unittest.skipUnless(strace.works(), strace.MISSING)
    def test_a_size_is_added_once_whenever_it_is_interrupted(self):
        """What the first commit did is recorded, though the image is not finished."""
        original = self.holes(size=8 * MIB)
        manifest = self.manifest("""
            version: 1
            images: [{path: b.qcow2, size: +16M, reclaim: {compact: on}}]
            """)
        argv = [qbatch.absolute(qbatch.TOOL), "--json", "--io", "posix", "--state", self.path("state"), manifest]
        between = 0
        for action in ("INT", "KILL"):
            for number in range(1, 8):
                image = self.copy(original, "b.qcow2")
                shutil.rmtree(self.path("state"), ignore_errors=True)
                trace = strace.run(argv, f"pwrite64:signal={action}:when={number}", cwd=self.folder)
                between += trace.hit and qcow2.load(image).size == 24 * MIB
                answer = qbatch.qbatch("--json", "--resume", "--state", self.path("state"), manifest, cwd=self.folder)
                self.assertIn(answer.code, (0, 2), str(answer))
                self.assertEqual(qcow2.load(image).size, 24 * MIB, (action, number))
                self.assert_sound(image)
        self.assertGreater(between, 4)

    def test_what_is_refused(self):
        image = self.holes()
        self.refused(image, "unsupported", words="reclaim.compact", keep_undo="on", **COMPACT)

    def test_a_dense_image_is_unchanged(self):
        image = self.create(size="8M")
        self.io(image, "write -q -P 1 0 8M")
        self.amended(image, status="unchanged", **COMPACT)


class Fleets(Scene):
    REQUEST = "refcount_bits: 64, reclaim: {compact: on}"

    def run_all(self, n):
        """Copies of one image in one run: the number of barriers of the file system."""
        for i in range(n):
            self.copy(self.path("a.qcow2"), f"{n}-{i:02}.qcow2")
        manifest = self.manifest(f"""
            version: 1
            policy: {{sync: fs}}
            limits: {{jobs: 2}}
            images: [{{path: "{n}-*.qcow2", {self.REQUEST}}}]
            """)
        log = self.path("log")
        out = proc.must(["strace", "-f", "-qq", "-o", log, "-e", "trace=syncfs", qbatch.absolute(qbatch.TOOL), "--json",
                         "--no-state", "--io", "posix", manifest], cwd=self.folder, env=strace.environment())
        self.assertEqual(json.loads(out.splitlines()[-1])["changed"], n, out)
        with open(log, encoding="utf-8") as f:
            return sum("syncfs(" in line for line in f)

    @unittest.skipUnless(strace.works(), strace.MISSING)
    def test_the_rounds_of_many_images_share_their_barriers(self):
        self.holes(size=8 * MIB)
        before = guest.read_all(self.path("a.qcow2"))
        alone, together = self.run_all(1), self.run_all(16)
        self.assertGreaterEqual(alone, 4, "of a round after the first commit")
        self.assertLessEqual(together, alone + 1)
        size = os.path.getsize(self.path("1-00.qcow2"))
        self.assertLess(size, os.path.getsize(self.path("a.qcow2")))
        for i in range(16):
            image = self.path(f"16-{i:02}.qcow2")
            self.assertEqual(os.path.getsize(image), size)
            self.assert_same_layers(before, guest.read_all(image))
            self.assert_sound(image)

    def test_rounds_go_through_waves_in_which_others_begin(self):
        self.holes(size=8 * MIB)
        before = guest.read_all(self.path("a.qcow2"))
        paths = [self.copy(self.path("a.qcow2"), f"{i:02}.qcow2") for i in range(9)]
        manifest = self.manifest(f"""
            version: 1
            limits: {{wave: 3}}
            images: [{{path: "0*.qcow2", {self.REQUEST}}}]
            """)
        answer = qbatch.qbatch("--json", "--state", self.path("state"), manifest, cwd=self.folder)
        self.assertEqual((answer.code, answer.summary["changed"]), (0, 9), str(answer))
        self.assertEqual(len({os.path.getsize(p) for p in paths}), 1)
        for image in paths:
            self.assert_same_layers(before, guest.read_all(image))
            self.assert_dense(image)
            self.assert_sound(image)

    @unittest.skipUnless(strace.works(), strace.MISSING)
    def test_an_image_that_ends_processes_after_its_first_commit_is_not_as_it_was(self):
        self.holes(size=8 * MIB)
        for i in range(10):  # more than a quick run has: there is another process to tell of it
            self.create(f"z{i}.qcow2", size="1M")
        manifest = self.manifest(f"""
            version: 1
            images: [{{path: "*.qcow2", {self.REQUEST}}}]
            """)
        argv = [qbatch.absolute(qbatch.TOOL), "--json", "--io", "posix", "--jobs", "1", "--no-state", manifest]
        original, told = self.copy(self.path("a.qcow2"), "original"), 0
        for number in range(2, 12):
            image = self.copy(original, "a.qcow2")
            trace = strace.run(argv, f"pwrite64:signal=KILL:when={number}", cwd=self.folder)
            crashed = [r for r in map(json.loads, trace.result.out.splitlines())
                       if r.get("path") == image and r["status"] == "failed"]
            if not crashed:
                continue
            said = crashed[0]["error"]["message"]
            if qcow2.load(image).refcount_order == 6:
                told += 1
                self.assertNotIn("is as it was", said)
        self.assertGreater(told, 0)

    def test_an_interruption_between_rounds_of_many_images(self):
        """Whatever settles then is waited for: each image has its result, and is whole.  (In a sandbox it
        is waited for before others are begun.)"""
        self.holes(size=8 * MIB)
        before, size = guest.read_all(self.path("a.qcow2")), os.path.getsize(self.path("a.qcow2"))
        paths = [self.copy(self.path("a.qcow2"), f"0{i}.qcow2") for i in range(6)]
        manifest = self.manifest(f"""
            version: 1
            policy: {{sandbox: off}}
            limits: {{rate: 8M}}
            images: [{{path: "0*.qcow2", {self.REQUEST}}}]
            """)
        argv = ["--json", "--state", self.path("state"), manifest]
        run = subprocess.Popen([qbatch.absolute(qbatch.TOOL), *argv], stdout=subprocess.PIPE,
                               stderr=subprocess.DEVNULL, text=True, cwd=self.folder)
        while run.poll() is None and qcow2.load(paths[-1]).refcount_order != 6:
            time.sleep(0.01)
        run.send_signal(signal.SIGINT)
        out, _ = run.communicate()
        records = [json.loads(line) for line in out.splitlines()][:-1]
        self.assertEqual((run.returncode, len(records)), (75, 6), out)
        self.assertEqual({(r["status"], r["error"]["code"]) for r in records}, {("interrupted", "cancelled")}, out)
        for record in records:
            self.assertIn("is committed", record["error"]["message"])
        for image in paths:
            self.assertEqual(qcow2.load(image).refcount_order, 6)
            self.assert_same_layers(before, guest.read_all(image))
            self.assert_sound(image)
        answer = qbatch.qbatch("--resume", *argv, cwd=self.folder)
        self.assertEqual((answer.code, answer.summary["changed"]), (0, 6), str(answer))
        for image in paths:
            self.assertLess(os.path.getsize(image), size)
            self.assert_same_layers(before, guest.read_all(image))
            self.assert_dense(image)

    def test_little_memory_for_many_rounds(self):
        """An image for whose round others leave too little goes through another wave, and all end as short."""
        self.holes(size=4 * MIB, cluster_size=512)
        paths = [self.copy(self.path("a.qcow2"), f"{i:02}.qcow2") for i in range(12)]
        sizes = set()
        for memory in ("1M", "2M", "64M"):
            with self.subTest(memory):
                for path in paths:
                    self.copy(self.path("a.qcow2"), os.path.basename(path))
                manifest = self.manifest(f"""
                    version: 1
                    limits: {{memory: {memory}, jobs: 2}}
                    images: [{{path: "??.qcow2", {self.REQUEST}}}]
                    """)
                answer = qbatch.qbatch("--json", "--no-state", manifest, cwd=self.folder)
                self.assertEqual((answer.code, answer.summary["changed"]), (0, 12), str(answer))
                self.assertEqual({r["reclaim_errno"] for r in answer.records}, {0})
                sizes |= {os.path.getsize(p) for p in paths}
        self.assertEqual(len(sizes), 1)


@unittest.skipUnless(os.path.exists(MEDDLER), "MEDDLER names no library")
@unittest.skipIf(os.environ.get("QBATCH_SANITIZED"), OTHER_BUILD)
class Mismatch(Scene):
    def test_a_byte_of_what_moved(self):
        image = self.holes()
        plain = self.copy(image, "plain.qcow2")
        self.amended(plain, **COMPACT)
        old = {(layer, at): e & qcow2.L2_OFFSET for layer, at, e in qcow2.load(image).entries()}
        moved = [e & qcow2.L2_OFFSET for layer, at, e in qcow2.load(plain).entries()
                 if e & qcow2.L2_OFFSET and old.get((layer, at)) != e & qcow2.L2_OFFSET]
        self.assertGreater(len(moved), 20)
        for at in moved[::len(moved) // 6]:
            with self.subTest(at):
                env = {**os.environ, "LD_PRELOAD": MEDDLER, "MEDDLE_AT": str(at + 1234)}
                answer = qbatch.qbatch("amend", "--json", *CONTENT, "-o", "reclaim.compact=on", self.copy(image, "copy.qcow2"),
                                       "--io", "posix", "--state", self.path("state"), cwd=self.folder, env=env)
                self.assertEqual((answer.code, answer.error), (5, "verify"), str(answer))


if __name__ == "__main__":
    main()
