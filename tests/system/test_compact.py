"""reclaim.compact: clusters move down, so that the file becomes shorter; every layer reads as before."""
import json
import os
import random
import signal
import subprocess
import time
import unittest

import context  # noqa: F401
import guest
import proc
import qcow2
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


class Compacted(Scene):
    def compacted(self, image, **options):
        before = os.path.getsize(image)
        record = self.amended_keeping_content(image, flags=CONTENT, **COMPACT, **options)
        self.assertEqual(record["verify"]["result"], "ok")
        self.assertLess(os.path.getsize(image), before)
        self.amended(image, status="unchanged", **COMPACT, **options)
        return record

    def assert_dense(self, image):
        """But for the metadata that was rewritten last, of which there were two."""
        used, end = self.in_use(image)
        found = qcow2.load(image)
        tables = {e & qcow2.L1_OFFSET for at, n in found.l1s() for e in found.l1(at, n)}
        self.assertLess(end - used, 2 * len(tables) + 16)

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

    def test_leaks_bitmaps_and_compressed_data_stay(self):
        image = self.holes()
        self.io(image, "discard -q 30M 1M", "write -q -c -P 8 30M 64k")
        proc.must(["qemu-img", "bitmap", "--add", image, "b"])
        self.io(image, "write -q -P 1 9M 1M")
        image_end = os.path.getsize(image)
        record = self.amended_keeping_content(image, flags=CONTENT, **COMPACT)
        self.assertLessEqual(os.path.getsize(image), image_end)
        self.assertEqual(record["status"], "changed")
        self.amended(image, status="unchanged", **COMPACT)
        self.io(image, "write -q -P 1 9M 2M")
        self.assert_sound(image)

    def test_compressed_data_at_the_end_stays_and_bounds_what_can_be_had(self):
        image = self.create(size="16M")
        self.io(image, "write -q -P 1 0 8M", "write -q -c -P 2 8M 64k", "write -q -P 3 9M 1M", "discard -q 0 4M")
        compressed = [e for _, _, e in qcow2.load(image).entries() if e & qcow2.COMPRESSED]
        self.assertEqual(len(compressed), 1)
        self.amended_keeping_content(image, flags=CONTENT, **COMPACT)
        self.assertEqual([e for _, _, e in qcow2.load(image).entries() if e & qcow2.COMPRESSED], compressed)
        for _ in range(2):
            self.amended(image, status="unchanged", **COMPACT)
        self.assert_sound(image)

    def test_nothing_moves_where_nothing_is_gained(self):
        """The last cluster cannot move, so that the image would end where it does."""
        image = self.create(size="16M")
        self.io(image, "write -q -P 1 0 8M", "write -q -P 3 9M 1M", "write -q -c -P 2 8M 64k", "discard -q 0 4M")
        self.amended(image, status="unchanged", **COMPACT)

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

    def test_a_dry_run_says_how_short_the_file_will_be(self):
        image = self.holes()
        sha = proc.sha256(image)
        said = self.amended(image, flags=("--dry-run",), status="would_change", **COMPACT)
        self.assertEqual(proc.sha256(image), sha)
        self.amended(image, **COMPACT)
        self.assertEqual(os.path.getsize(image), said["space"]["file_size_after_bytes"])

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
        self.assert_same_layers(before, guest.read_all(image))
        self.assert_sound(image)
        answer = qbatch.qbatch("--json", "--resume", "--state", self.path("state"), manifest, cwd=self.folder)
        self.assertEqual((answer.code, answer.status), (0, "changed"), str(answer))
        self.assertLess(os.path.getsize(image), size)
        self.assert_same_layers(before, guest.read_all(image))
        self.assert_dense(image)

    def test_what_is_refused(self):
        image = self.holes()
        self.refused(image, "unsupported", words="reclaim.compact", keep_undo="on", **COMPACT)

    def test_a_dense_image_is_unchanged(self):
        image = self.create(size="8M")
        self.io(image, "write -q -P 1 0 8M")
        self.amended(image, status="unchanged", **COMPACT)


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
