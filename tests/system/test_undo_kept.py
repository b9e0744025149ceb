"""Undo of amends that leave data of the old image behind: clusters that are recompressed, and clusters of
zeros.  They stay counted, and are as they were, until the undo is given up."""
import itertools
import os
import random

import context  # noqa: F401
import guest
import proc
import qbatch
import qcow2
from fixture import KIB, MIB, main
from test_undo_proof import UndoTest


class Kept(UndoTest):
    def there_and_back(self, image, **options):
        sha, before = proc.sha256(image), guest.read_all(image)
        run = self.amend(image, **options)
        self.assertNotEqual(proc.sha256(image), sha)
        self.undone(run)
        self.assertEqual(proc.sha256(image), sha)
        self.assert_sound(image)
        self.assert_same_layers(before, guest.read_all(image))
        return run

    def given_up(self, image, **options):
        """What was kept is free afterwards, and the guest's data is what it was."""
        before = guest.read_active(image)
        run = self.amend(image, **options)
        answer = self.undo(run, "--discard-undo")
        self.assertEqual(answer.code, 0, str(answer))
        self.assert_sound(image)
        self.assertTrue(guest.read_active(image) == before)
        self.assertEqual(guest.check(image)[2], 0)


class Recompressed(Kept):
    def image(self, kind, name="a.qcow2", snapshots=True, **options):
        rng, whole = random.Random(1), max(options.get("cluster_size", 0), 64 * KIB)
        with open(self.path("raw"), "wb") as f:
            for i in range(32):
                f.write(rng.randbytes(4 * KIB) if i % 3 == 0 else b"words %d " % i * (4 * KIB))
                f.seek(64 * KIB * i)
            f.truncate(3 * MIB)
        image = self.path(name)
        options = {"compression_type": kind, **options}
        proc.must(["qemu-img", "convert", "-q", "-c", "-f", "raw", "-O", "qcow2", "-o", qbatch.option_string(options),
                   self.path("raw"), image])
        if snapshots:
            self.snapshot(image, "s")
            self.io(image, "write -q -P 8 128k 64k", "discard -q 256k 64k")
            self.snapshot(image, "t")
            self.io(image, f"discard -q 0 {whole}", f"write -q -c -P 7 0 {whole}")
        return image

    def test_there_and_back_with_everything_else_bit_for_bit(self):
        others = ({}, {"size": "5M"}, {"size": 200 * KIB + 512}, {"refcount_bits": 64}, {"extended_l2": "on"}, {"snapshots.delete": "s"},
                  {"preallocation": "metadata"}, {"reclaim.zeros": "on"})
        for kind, more in itertools.product(("zlib", "zstd"), others):
            with self.subTest(kind=kind, **more):
                image = self.image(kind, snapshots="size" not in more)
                self.there_and_back(image, compression_type="zstd" if kind == "zlib" else "zlib", **more)
                os.unlink(image)

    def test_a_downgrade(self):
        self.there_and_back(self.image("zstd"), compat="0.10")

    def test_clusters_of_every_size(self):
        for size in (512, 4 * KIB, 2 * MIB):
            self.there_and_back(self.image("zlib", f"{size}.qcow2", cluster_size=size), compression_type="zstd")

    def test_what_a_guest_wrote_since(self):
        for number, command in enumerate(("write -q -P 9 64k 512", "discard -q 64k 64k", "discard -q 512k 64k", "write -q -z 0 64k")):
            image = self.image("zlib", f"{number}.qcow2")
            run = self.amend(image, compression_type="zstd")
            self.unnoticed(image, self.io, image, command)
            self.refused_to_undo(image, run)

    def test_what_a_guest_compressed_in_a_table_that_both_images_use(self):
        image = self.image("zstd", snapshots=False, cluster_size=4096)
        proc.must(["qemu-img", "resize", "-q", image, "20M"])
        self.io(image, "write -q -P 1 6M 14M", "discard -q 6M 64k")  # which frees clusters of a refcount block that stays
        run = self.amend(image, compression_type="zlib")
        self.unnoticed(image, self.io, image, "write -q -c -P 3 6M 4k")
        self.assert_kept(image)
        self.refused_to_undo(image, run, "compressed in another way")

    def test_it_is_given_up(self):
        for kind in ("zlib", "zstd"):
            image = self.image(kind, f"{kind}.qcow2")
            self.given_up(image, compression_type="zstd" if kind == "zlib" else "zlib")

    def test_what_is_not_whole_any_more_is_not_given_up(self):
        image = self.image("zlib")
        place = min(where for where, _ in self.tables(image))
        run = self.amend(image, compression_type="zstd")
        self.assertNotIn(place, [where for where, _ in self.tables(image)])
        qcow2.patch_u64(image, place, qcow2.load(image).u64(place) | 1 << 9)  # a table of the old image, off its cluster
        sha = proc.sha256(image)
        answer = self.undo(run, "--discard-undo")
        error = answer.records[0]["error"]
        self.assertEqual((answer.code, error["code"]), (1, "changed"), str(answer))
        self.assertIn("not whole any more", error["message"])
        self.assertEqual(proc.sha256(image), sha)

    def tables(self, image):
        """Where the L1 entries stand that name L2 tables, and what they name."""
        loaded = qcow2.load(image)
        return [(offset + 8 * i, entry) for offset, entries in loaded.l1s() for i, entry in enumerate(loaded.l1(offset, entries))
                if entry]


class Zeros(Kept):
    def image(self, name="a.qcow2", **options):
        image = self.create(name, size="16M", **options)
        self.io(image, "write -q -P 1 0 1M", "write -q -P 0 1M 1M", "write -q -P 2 2M 64k", "write -q -P 0 8M 3M")
        self.snapshot(image, "s")
        self.io(image, "write -q -P 0 0 512k", "write -q -P 3 1M 64k", "write -q -P 0 12M 64k")
        return image

    def base(self):
        base = self.create("base.qcow2", size="16M")
        self.io(base, "write -q -P 77 0 16M")
        return base

    def images(self):
        self.base()
        for options in ({}, {"backing": "base.qcow2"}, {"extended_l2": "on"}, {"compat": "0.10"}, {"cluster_size": 512},
                        {"extended_l2": "on", "backing": "base.qcow2"}, {"cluster_size": 2 * MIB, "backing": "base.qcow2"}):
            yield self.image("a.qcow2", **options), options
            os.unlink(self.path("a.qcow2"))

    def test_there_and_back_bit_for_bit(self):
        for image, options in self.images():
            with self.subTest(**options):
                self.there_and_back(image, **{"reclaim.zeros": "on"})

    def test_with_everything_else(self):
        self.base()
        others = ({"size": "20M"}, {"refcount_bits": 64}, {"compat": "0.10"}, {"snapshots.delete": "s"}, {"extended_l2": "on"}, {"reclaim.free": "on"},
                  {"lazy_refcounts": "on"})
        for more, backing in itertools.product(others, ({}, {"backing": "base.qcow2"})):
            with self.subTest(**more, **backing):
                image = self.image("a.qcow2", **backing)
                self.there_and_back(image, **{"reclaim.zeros": "on"}, **more)
                os.unlink(image)

    def test_subclusters(self):
        image = self.create(size="4M", extended_l2="on")
        self.io(image, "write -q -P 0 0 2k", "write -q -P 0 64k 2k", "write -q -P 1 66k 2k", "write -q -P 0 128k 64k")
        self.there_and_back(image, **{"reclaim.zeros": "on"}, extended_l2="off")
        self.there_and_back(image, **{"reclaim.zeros": "on"})

    def test_what_a_guest_wrote_since(self):
        for number, command in enumerate(("write -q -P 9 9M 512", "write -q -P 0 9M 64k", "write -q -P 9 64k 64k")):
            image = self.image(f"{number}.qcow2")
            run = self.amend(image, **{"reclaim.zeros": "on"})
            self.unnoticed(image, self.io, image, command)
            self.refused_to_undo(image, run)

    def test_an_old_cluster_that_holds_zeros_no_more(self):
        image = self.image()
        found = qcow2.load(image)
        place = found.u64(found.l2_entry_offset(9 * MIB)) & qcow2.L2_OFFSET
        run = self.amend(image, **{"reclaim.zeros": "on"})
        self.unnoticed(image, qcow2.patch, image, place + 12345, b"x")
        self.refused_to_undo(image, run, "consists of changed")

    def test_it_is_given_up(self):
        for image, options in self.images():
            with self.subTest(**options):
                had = os.stat(image).st_blocks
                self.given_up(image, **{"reclaim.zeros": "on"})
                if options == {}:
                    self.assertLess(os.stat(image).st_blocks, had)

    def test_the_space_is_free_once_it_is_given_up(self):
        image = self.image()
        had = os.stat(image).st_blocks
        run = self.amend(image, **{"reclaim.zeros": "on"})
        self.assertGreaterEqual(os.stat(image).st_blocks, had)
        self.assertEqual(self.undo(run, "--discard-undo").code, 0)
        self.assertLess(os.stat(image).st_blocks * 512, had * 512 - 3 * MIB)


if __name__ == "__main__":
    main()
