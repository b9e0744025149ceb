"""compression_type: a byte of the header, and all clusters that are compressed in the other way."""
import os
import random
import unittest

import context  # noqa: F401
import guest
import proc
import qbatch
import qcow2
from fixture import KIB, MIB, OTHER_BUILD, ImageTest, main

MEDDLER = os.environ.get("MEDDLER", "")
CONTENT = ("--verify", "content")
UNKNOWN = 0x76617465  # XCP-ng's extension


def type_of(image):
    return guest.info(image)["format-specific"]["data"]["compression-type"]


class CompressionType(ImageTest):
    def image(self, **options):
        image = self.create(**options)
        self.io(image, "write -q -P 1 0 300k", "write -q -z 64k 64k")
        self.snapshot(image, "s")
        self.io(image, "write -q -P 2 0 64k", "discard -q 128k 64k")
        return image

    def rest_of(self, image):
        with open(image, "rb") as f:
            return f.read()[512:]

    def test_there_and_back_and_only_the_header_is_written(self):
        image = self.image()
        rest = self.rest_of(image)
        for kind in ("zstd", "zlib"):
            record = self.amended_keeping_content(image, flags=CONTENT, compression_type=kind)
            self.assertEqual([(c["key"], c["to"]) for c in record["changes"]],
                             [("compression_type", kind)])
            self.assertEqual(record["io"]["write_bytes"], 512)
            self.assertEqual(type_of(image), kind)
            self.amended(image, status="unchanged", compression_type=kind)
        self.assertEqual(self.rest_of(image), rest)

    def test_qemu_compresses_in_the_new_way_afterwards(self):
        image = self.image()
        self.amended(image, compression_type="zstd")
        self.io(image, "write -q -c -P 9 512k 64k")
        self.assert_reads(image, 512 << 10, 64 << 10, 9)
        self.assert_sound(image)

    def test_a_compressed_cluster_that_only_a_snapshot_has(self):
        for kind, other in (("zlib", "zstd"), ("zstd", "zlib")):
            image = self.create(f"{kind}.qcow2", compression_type=kind)
            self.io(image, "write -q -c -P 1 64k 64k")
            self.snapshot(image, "s")
            self.io(image, "write -q -P 2 64k 64k")
            record = self.amended_keeping_content(image, flags=CONTENT, compression_type=other)
            self.assertEqual(record["clusters"]["copied"], 1)

    def test_going_down_includes_zlib(self):
        image = self.image(compression_type="zstd")
        for request in ({}, {"compression_type": "zlib"}):
            one = self.copy(image, "one.qcow2")
            self.amended_keeping_content(one, flags=CONTENT, compat="0.10", **request)
            self.assertEqual(qcow2.load(one).version, 2)
        self.refused(image, "refused", compat="0.10", compression_type="zstd")

    def test_up_and_zstd_and_everything_else_in_one_commit(self):
        image = self.image(compat="0.10")
        self.refused(image, "refused", compression_type="zstd", words="compat=1.1")
        self.amended_keeping_content(image, flags=CONTENT, compat="1.1", compression_type="zstd",
                                     refcount_bits=64, lazy_refcounts="on", size=3 << 20)
        self.assertEqual(type_of(image), "zstd")

    def test_a_header_of_104_bytes_and_what_nobody_knows(self):
        image = self.image()
        found = qcow2.load(image)
        head = bytearray(found.data[:512])
        body = UNKNOWN.to_bytes(4, "big") + (8).to_bytes(4, "big") + b"\1\2\3\4\5\6\7\10"
        head[100:104] = (104).to_bytes(4, "big")
        head[104:512] = (body + bytes(8)).ljust(408, b"\0")
        head[80:88] = (1 << 41).to_bytes(8, "big")  # an unknown compatible feature
        qcow2.patch(image, 0, bytes(head))
        self.amended_keeping_content(image, flags=CONTENT, compression_type="zstd")
        found = qcow2.load(image)
        self.assertEqual(found.extension(UNKNOWN), b"\1\2\3\4\5\6\7\10")
        self.assertEqual((found.data[100:104], found.data[104]), ((112).to_bytes(4, "big"), 1))
        self.assertEqual(found.compatible_features, 1 << 41)
        self.amended_keeping_content(image, flags=CONTENT, compression_type="zlib")
        self.assertEqual(qcow2.load(image).extension(UNKNOWN), b"\1\2\3\4\5\6\7\10")


class Scene(ImageTest):
    def packed(self, kind, name="a.qcow2", cluster=64 * KIB, size=4 * MIB, **options):
        """Text, noise that does not get smaller, zeros, and a pattern that takes next to nothing."""
        rng = random.Random(cluster)
        with open(self.path("raw"), "wb") as f:
            for at in range(0, size, cluster):
                f.seek(at)
                what = at // cluster % 4
                f.write(rng.randbytes(cluster) if what == 0 else bytes(cluster) if what == 1 else
                        b"some words %d " % at * (cluster // 16) if what == 2 else rng.randbytes(cluster // 2 + 77))
            f.truncate(size)
        image = self.path(name)
        options = {"compression_type": kind, "cluster_size": cluster, **options}
        proc.must(["qemu-img", "convert", "-q", "-c", "-f", "raw", "-O", "qcow2", "-o", qbatch.option_string(options),
                   self.path("raw"), image])
        return image


class Recompressed(Scene):
    """qemu-img's own images, and those that a guest's writes and snapshots left."""

    def there_and_back(self, image, kind, other, **options):
        before = qcow2.load(image)
        packed = sum(bool(e & qcow2.COMPRESSED) for _, _, e in before.entries())
        self.assertGreater(packed, 10)
        record = self.amended_keeping_content(image, flags=CONTENT, compression_type=other, **options)
        self.assertEqual(record["verify"]["result"], "ok")
        self.assertEqual(type_of(image), other)
        self.amended(image, status="unchanged", compression_type=other)
        self.amended_keeping_content(image, flags=CONTENT, compression_type=kind)
        self.assertEqual(self.check_content(image), 0)

    def check_content(self, image):
        return qbatch.qbatch("check", "--json", "--level", "content", image).code

    def test_there_and_back_in_every_geometry(self):
        for kind, other in (("zlib", "zstd"), ("zstd", "zlib")):
            for number, options in enumerate(({"cluster": 512, "size": 200 * KIB}, {"cluster": 4 * KIB, "size": MIB}, {}, {"extended_l2": "on"},
                                              {"cluster": 2 * MIB, "size": 64 * MIB + 512}, {"refcount_bits": 1}, {"refcount_bits": 2},
                                              {"refcount_bits": 64})):
                with self.subTest(kind=kind, **options):
                    self.there_and_back(self.packed(kind, f"{kind}{number}.qcow2", **options), kind, other)

    def test_it_is_packed_as_qemu_packs(self):
        """As many clusters of the file as an image has that qemu-img makes in the other way, but for one that is begun."""
        for kind, other in (("zlib", "zstd"), ("zstd", "zlib")):
            image, wanted = self.packed(kind, f"{kind}.qcow2", size=32 * MIB), self.packed(other, "other.qcow2", size=32 * MIB)
            self.amended(image, compression_type=other, **{"reclaim.free": "on"})
            found = [len(self.hosts(name)) for name in (image, wanted)]
            self.assertLessEqual(found[0], found[1] + 1)

    def hosts(self, image):
        """The clusters of the file that hold data."""
        found = set()
        for _, _, entry in qcow2.load(image).entries():
            at = entry & ((1 << 54) - 1)
            if entry & qcow2.COMPRESSED:
                found |= {at >> 16, at // 512 + (entry >> 54 & 255) >> 7}
            elif entry & qcow2.L2_OFFSET:
                found.add(at >> 16)
        return found

    def test_layers_that_share_and_do_not(self):
        for kind, other in (("zlib", "zstd"), ("zstd", "zlib")):
            image = self.packed(kind)
            for name in ("one", "two"):
                self.snapshot(image, name)
                self.snapshot(image, f"{name} again")  # which shares its table
                self.io(image, "write -q -P 8 128k 64k", "discard -q 256k 64k", "discard -q 3M 64k", "write -q -c -P 7 3M 64k")
            self.there_and_back(image, kind, other)
            self.io(image, "discard -q 3M 64k", "write -q -c -P 9 3M 64k", "write -q -P 9 2M 100k")
            self.assert_sound(image)
            before = guest.read_all(image)
            proc.must(["qemu-img", "snapshot", "-a", "one", image])
            self.assertTrue(guest.read_all(image)["active"] == before["snapshot one"])
            self.assert_sound(image)

    def written(self, data, bits=16):
        """An image of just these bytes, compressed by zlib, with three snapshots that share their table."""
        with open(self.path("data.raw"), "wb") as f:
            f.write(data)
        image = self.path("a.qcow2")
        proc.must(["qemu-img", "convert", "-q", "-c", "-O", "qcow2", "-o", f"refcount_bits={bits}",
                   self.path("data.raw"), image])
        for name in ("one", "two", "three"):
            self.snapshot(image, name)
        self.io(image, "write -q -P 5 0 64k")
        return image

    def test_many_clusters_of_a_table_that_snapshots_share(self):
        """So many that only five, each counted three times, go into one cluster: more than 15 cannot be counted."""
        rng = random.Random(1)
        image = self.written(b"".join(rng.randbytes(8 * KIB) * 4 + bytes(32 * KIB) for _ in range(40)), bits=4)
        self.amended_keeping_content(image, flags=CONTENT, compression_type="zstd")
        self.assert_sound(image)

    def test_what_only_the_old_way_makes_smaller(self):
        """zlib saves a few hundred bytes of a cluster, which is too little for zstd."""
        rng = random.Random(2)
        image = self.written(b"".join(rng.randbytes(64 * KIB - 600) + bytes(600) for _ in range(5)))
        compressed = sum(e & qcow2.COMPRESSED > 0 for _, _, e in qcow2.load(image).entries())
        self.amended_keeping_content(image, flags=CONTENT, compression_type="zstd")
        self.assertGreater(compressed, sum(e & qcow2.COMPRESSED > 0 for _, _, e in qcow2.load(image).entries()))
        self.assert_sound(image)

    def test_with_everything_else_in_one_commit(self):
        for request in ({"compat": "0.10"}, {"compression_type": "zlib", "size": 3 * MIB + 512}, {"compression_type": "zlib", "extended_l2": "on"},
                        {"compression_type": "zlib", "refcount_bits": 64, "size": 5 * MIB}, {"compat": "0.10", "size": 200 * KIB + 512},
                        {"compression_type": "zlib", "reclaim.zeros": "on"}, {"compression_type": "zlib", "preallocation": "metadata"},
                        {"compression_type": "zlib", "snapshots.delete": "s"}, {"compression_type": "zlib", "refcount_bits": 1}):
            with self.subTest(**request):
                image = self.packed("zstd")
                if "size" not in request and request.get("refcount_bits") != 1:
                    self.snapshot(image, "s")
                if "snapshots.delete" in request:
                    before = guest.read_active(image)
                    self.amended(image, flags=CONTENT, **request)
                    self.assertTrue(guest.read_active(image) == before)
                    self.assert_sound(image)
                    continue
                self.amended_keeping_content(image, shrink=True, flags=CONTENT, **request)
                self.assertEqual(self.check_content(image), 0)

    def test_any_number_of_threads_writes_the_same_bytes(self):
        for kind, other in (("zlib", "zstd"), ("zstd", "zlib")):
            image = self.packed(kind, size=8 * MIB)
            for name in ("s", "t"):
                self.snapshot(image, name)
                self.io(image, "discard -q 0 64k", "discard -q 1M 64k", "write -q -c -P 7 1M 64k")
            found = set()
            for n in ("1", "2", "4"):
                one = self.copy(image, "one.qcow2")
                answer = qbatch.qbatch("amend", "-q", "--jobs", n, "-o", f"compression_type={other}", one,
                                       env={**os.environ, "OMP_NUM_THREADS": n, "OMP_THREAD_LIMIT": n})
                self.assertEqual(answer.code, 0, str(answer))
                found.add(proc.sha256(one))
            self.assertEqual(len(found), 1)

    def test_a_chain_with_zstd_is_read(self):
        self.packed("zstd", "base.qcow2")
        image = self.create("over.qcow2", size="4M", backing="base.qcow2")
        self.io(image, "write -q -z 0 1M")
        self.amended_keeping_content(image, flags=CONTENT, compat="0.10", zero_clusters="defer")

    def test_a_dry_run_says_how_long_the_file_will_be(self):
        image = self.packed("zlib")
        sha = proc.sha256(image)
        said = self.amended(image, flags=("--dry-run",), status="would_change", compression_type="zstd")
        self.assertEqual(proc.sha256(image), sha)
        self.amended(image, compression_type="zstd")
        self.assertEqual(os.path.getsize(image), said["space"]["file_size_after_bytes"])

    def test_what_does_not_decompress_is_refused_and_named(self):
        for kind, other in (("zlib", "zstd"), ("zstd", "zlib")):
            image = self.packed(kind)
            found = qcow2.load(image)
            entry = found.u64(found.l2_entry_offset(2 * 64 * KIB))
            qcow2.patch(image, entry & ((1 << 54) - 1), b"\xff" * 16)
            self.refused(image, "corrupt", words="guest byte 131072 does not decompress", compression_type=other)


@unittest.skipUnless(os.path.exists(MEDDLER), "MEDDLER names no library")
@unittest.skipIf(os.environ.get("QBATCH_SANITIZED"), OTHER_BUILD)
class Mismatch(Scene):
    def test_one_byte_of_a_new_cluster(self):
        image = self.packed("zlib")
        plain = self.copy(image, "plain.qcow2")
        self.amended(plain, compression_type="zstd")
        found = qcow2.load(plain)
        places = [entry & ((1 << 54) - 1) if entry & qcow2.COMPRESSED else entry & qcow2.L2_OFFSET for _, _, entry in found.entries() if entry]
        for at in places[:8]:
            with self.subTest(at):
                env = {**os.environ, "LD_PRELOAD": MEDDLER, "MEDDLE_AT": str(at + 20)}
                answer = qbatch.qbatch("amend", "--json", *CONTENT, "-o", "compression_type=zstd", self.copy(image, "copy.qcow2"),
                                       "--io", "posix", "--state", self.path("state"), cwd=self.folder, env=env)
                self.assertEqual((answer.code, answer.error), (5, "verify"), str(answer))


if __name__ == "__main__":
    main()
