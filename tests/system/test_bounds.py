"""What a hostile or just large image costs is what it has allocated: never what it claims.

Each input once took minutes to forever, gigabytes of memory, or gigabytes of disk.  The limits are on
requests, on the processor time of qbatch alone, on its memory and on the file's growth, not on the clock.
"""
import os
import resource
import shutil
import signal
import struct
import subprocess
import tempfile
import unittest
import zlib

import context  # noqa: F401
import guest
import proc
import qbatch
import qcow2
from fixture import GIB, KIB, MIB, ImageTest, main

SANITIZED = bool(os.environ.get("QBATCH_SANITIZED"))
CPU_SECONDS = 60 if SANITIZED else 8
LENGTH = (16 << 40) - (1 << 30)  # of a file; ext4 ends below 16 TiB
COPIED, COMPRESSED = 1 << 63, 1 << 62


def words(*values):
    return struct.pack(f">{len(values)}Q", *values)


def can_be_long(folder):
    try:
        with open(os.path.join(folder, "long"), "wb") as f:
            f.truncate(LENGTH)
        os.unlink(f.name)
        return True
    except OSError:
        return False


class Bounds(ImageTest):
    def image(self, name, bits, blocks, length=None, order=4, backing=None, exts=b"", folder=None, **header):
        """A version 3 image from pieces of the file: {offset: bytes}."""
        h = dict(size=GIB, l1_size=1, l1=0, reftable=1 << bits, reftable_clusters=1, snapshots=0,
                 snapshot_table=0, incompatible=0)
        h.update(header)
        name_at = 112 + len(exts) + 8 if backing else 0
        head = struct.pack(">IIQIIQIIQQIIQQQQII8x", qcow2.MAGIC, 3, name_at, len(backing or ""), bits,
                           h["size"], 0, h["l1_size"], h["l1"], h["reftable"], h["reftable_clusters"],
                           h["snapshots"], h["snapshot_table"], h["incompatible"], 0, 0, order, 112)
        path = os.path.join(folder, name) if folder else self.path(name)
        with open(path, "wb") as f:
            f.write(head + exts + bytes(8) + (backing or "").encode())
            for offset, data in blocks.items():
                f.seek(offset)
                f.write(data)
            f.seek(0, os.SEEK_END)
            f.truncate(length or -(-f.tell() >> bits) << bits)
        return path

    def run_bounded(self, *argv, memory=None, codes=(0, 1), cpu=CPU_SECONDS):
        """Runs qbatch within its processor time, and within this peak of memory in bytes."""
        def limit():
            resource.setrlimit(resource.RLIMIT_CPU, (cpu, cpu))

        out = self.path("out")
        with open(out, "w") as f:
            child = subprocess.Popen([qbatch.absolute(qbatch.TOOL), *map(str, argv)], stdout=f, stderr=f,
                                     cwd=self.folder, preexec_fn=limit)
            _, status, used = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        with open(out) as f:
            answer = qbatch.Answer(proc.Result(list(map(str, argv)), child.returncode, f.read(), ""))
        os.unlink(out)
        self.assertNotIn(answer.code, (-signal.SIGXCPU, -signal.SIGKILL), f"out of processor time: {argv}")
        self.assertFalse(answer.crashed, str(answer)[:2000])
        self.assertIn(answer.code, codes, str(answer)[:2000])
        self.assertNotIn(answer.error, ("internal", "verify"), str(answer)[:2000])
        if memory and not SANITIZED:
            self.assertLess(used.ru_maxrss * KIB, memory)
        return answer

    def amend(self, image, memory=None, codes=(0, 1), verify="metadata", cpu=CPU_SECONDS, **options):
        return self.run_bounded("amend", "--json", "--verify", verify, "-o", qbatch.option_string(options), image,
                                memory=memory, codes=codes, cpu=cpu)

    # ---- loops ------------------------------------------------------------------------------
    def far_cluster(self, bits, order):
        cs, far = 1 << bits, LENGTH - (4 << bits)
        return self.image("far.qcow2", bits, {cs: words(0), 2 * cs: words(3 * cs), 3 * cs: words(far)},
                          LENGTH, order, l1=2 * cs, size=4 * cs, incompatible=qcow2.INCOMPAT_DIRTY)

    def test_a_dirty_image_with_one_cluster_far_out(self):
        if not can_be_long(self.folder):
            self.skipTest("no file of terabytes can be made here")
        for bits, order in ((9, 6), (9, 4), (12, 6), (16, 6), (21, 0)):
            for options in ({"lazy_refcounts": "on"}, {"refcount_bits": 8}, {"refcount_bits": 64}):
                with self.subTest(cluster_bits=bits, refcount_order=order, **options):
                    image = self.far_cluster(bits, order)
                    answer = self.amend(image, memory=200 * MIB, cpu=CPU_SECONDS // 4, **options)
                    self.assertIn(answer.error, (None, "refused"), str(answer))
                    self.assertLess(os.stat(image).st_blocks * 512, 64 * MIB)

    @unittest.skipUnless(os.geteuid() == 0, "a loop device can only be set up by root")
    def test_what_is_free_on_a_device_is_not_walked_cluster_by_cluster(self):
        """A device has no holes: all of it is one extent."""
        if not can_be_long(self.folder):
            self.skipTest("no file of terabytes can be made here")
        done = proc.run(["losetup", "--find", "--show", self.far_cluster(12, 0)])
        if done.code:
            self.skipTest(f"no loop device here: {done.err.strip()}")
        device = done.out.strip()
        self.addCleanup(proc.run, ["losetup", "--detach", device])
        for what in ("free", "zeros"):
            with self.subTest(what):
                answer = self.run_bounded("amend", "--json", "--dry-run", "-o", f"reclaim.{what}=on", device,
                                          memory=300 * MIB, cpu=CPU_SECONDS // 2)
                self.assertIn(answer.error, (None, "no_space"), str(answer))

    def test_refcount_blocks_that_each_lie_where_the_one_before_counts(self):
        count = 60000
        span = 64 * 512  # one block counts 32 KiB of the file
        place = [MIB + 512 * i if i < 70 else (i - 1) * span for i in range(count)]
        used = {0, *range(1, 2 + count * 8 // 512), 1100, 1101, *(at // 512 for at in place)}
        blocks = {i: bytearray(512) for i in range(count)}
        for cluster in used:
            blocks[cluster // 64][cluster % 64 * 8 + 7] = 1
        folder = None
        # 60,000 scattered pages: much faster in memory
        if os.path.isdir("/dev/shm") and shutil.disk_usage("/dev/shm").free > GIB // 2:
            folder = tempfile.mkdtemp(dir="/dev/shm", prefix="qbatch-test-")
            self.addCleanup(shutil.rmtree, folder, ignore_errors=True)
        image = self.image("cascade.qcow2", 9, {512: words(*place), 1100 * 512: words(1101 * 512 | COPIED),
                                                1101 * 512: words(1),
                                                **{place[i]: bytes(b) for i, b in blocks.items()}},
                           None, 6, l1=1100 * 512, size=8 * KIB, folder=folder, reftable_clusters=count * 8 // 512 + 1)
        self.assertEqual(guest.check(image)[:3], (0, 0, 0))
        self.amend(image, codes=(0,), cpu=CPU_SECONDS // 4, size=4 * MIB)
        self.assert_sound(image)
        self.amend(image, codes=(0,), refcount_bits=16)
        self.assert_sound(image)

    def test_a_chain_is_compared_where_it_is_allocated(self):
        for name in ("x", "y"):
            self.raw(f"{name}.raw", "4T" if can_be_long(self.folder) else "1T",
                     "write -q -P 3 1M 64k", "write -q -P 4 900G 64k")
        image = self.create(size="1M", backing="x.raw", backing_fmt="raw")
        self.snapshot(image, "s")
        entry = qcow2.load(image).snapshots()[0]
        qcow2.patch_u64(image, entry.offset + 48, (1 << 64) - 1)
        text = """
            version: 1
            images: [{path: a.qcow2, backing: {check_content: on, rewrite: [{from: '.*', to: y.raw}]}}]
            """
        answer = self.run_bounded("--json", self.manifest(text))
        self.assertEqual(answer.code, 0, str(answer))
        self.io(self.path("y.raw"), "write -q -P 5 900G 512", fmt="raw")
        answer = self.run_bounded("--json", self.manifest(text.replace("y.raw", "x.raw")))
        self.assertEqual((answer.code, answer.error), (1, "refused"), str(answer))
        self.assertIn(str(900 * GIB), answer.first["error"]["message"])

    def test_zeros_are_deferred_through_holes(self):
        cs = 2 * MIB
        zeros = 1 << 18  # one table: half a terabyte of zero clusters
        for name, fmt in (("hole.raw", "raw"), ("hole.qcow2", "qcow2")):
            if fmt == "raw":
                self.raw(name, zeros * cs)
            else:
                self.create(name, size=zeros * cs, cluster_size=65536)
            image = self.create("top.qcow2", size=zeros * cs, cluster_size=cs, backing=name, backing_fmt=fmt)
            self.io(image, "write -q -z 0 64k")
            qcow2.patch(image, self.first_entry(image)[0], words(*[1] * zeros))
            answer = self.amend(image, codes=(0,), compat="0.10", zero_clusters="defer", verify="content")
            self.assertEqual(answer.first["clusters"]["expanded"], 0)
            self.assertLess(answer.first["io"]["read_ops"], 200)
            self.assert_sound(image)

    def test_data_clusters_that_are_holes_are_not_read(self):
        """A backing file whose metadata is preallocated: all of its clusters are there, and nothing."""
        size = 2 << 40
        base = self.create("meta.qcow2", size=size, cluster_size=2 * MIB, preallocation="metadata")
        self.io(base, "write -q -P 5 1T 4k")
        image = self.create("top.qcow2", size=size, cluster_size=2 * MIB, backing="meta.qcow2")
        self.io(image, f"write -q -z -n 0 {size}")
        answer = self.amend(image, codes=(0,), compat="0.10", zero_clusters="defer")
        self.assertEqual(answer.first["clusters"]["expanded"], 1)
        self.assertLess(answer.first["io"]["read_bytes"], 128 * MIB)
        self.assert_sound(image)
        self.assert_reads(image, 1 << 40, 4096, 0)

    def test_one_cluster_named_by_every_l2_entry_of_a_backing_file(self):
        """Plain, compressed, or compressed streams that only differ in length: 2 MiB show 512 GiB."""
        cs, n = 2 * MIB, 1 << 18
        deflate = zlib.compressobj(9, zlib.DEFLATED, -12)
        data = deflate.compress(bytes(cs)) + deflate.flush()
        sectors = -(-len(data) // 512) - 1
        for name, entry in (("plain", lambda i: COPIED | 5 * cs),
                            ("one", lambda i: COMPRESSED | sectors << 49 | 5 * cs),
                            ("many", lambda i: COMPRESSED | sectors + i % 1000 << 49 | 5 * cs)):
            with self.subTest(name):
                self.image(f"{name}.qcow2", 21, {
                    cs: words(2 * cs), 2 * cs: struct.pack(">6H", 1, 1, 1, 1, 1, 65535),
                    3 * cs: words(COPIED | 4 * cs), 4 * cs: words(*map(entry, range(n))),
                    5 * cs: bytes(cs) if name == "plain" else data}, l1=3 * cs, size=n * cs)
                image = self.create("top.qcow2", size=n * cs, cluster_size=cs, backing=f"{name}.qcow2")
                self.io(image, "write -q -z 0 2M")
                qcow2.patch(image, self.first_entry(image)[0], words(*[1] * n))
                self.amend(image, codes=(0,), compat="0.10", zero_clusters="defer", verify="none")
                self.assertLess(os.stat(image).st_blocks * 512, 8 * MIB)

    def test_one_table_named_by_every_l1_entry_of_a_backing_file(self):
        """Its disk is 32 TiB of unallocated clusters in a table of 64 KiB: refused, or read once."""
        cs, entries = 65536, 1 << 16
        self.image("crossed.qcow2", 16, {cs: words(0), 2 * cs: words(16 * cs) * entries,
                                         16 * cs: bytes(cs - 8) + words(1)},
                   l1=2 * cs, l1_size=entries, size=entries * cs * 8192)
        image = self.create("top.qcow2", size=MIB, backing="crossed.qcow2")
        answer = self.amend(image, size=entries * cs * 8192, memory=200 * MIB)
        self.assertLess(os.stat(image).st_blocks * 512, 8 * MIB, str(answer))

    # ---- memory -----------------------------------------------------------------------------
    def test_header_extensions_of_2_mib_are_not_kept(self):
        cs, count = 2 * MIB, 50
        big = struct.pack(">II", 0x12345678, cs - 400) + b"x" * (cs - 400)
        many = struct.pack(">II", 0x12345678, 0) * ((cs - 400) // 8)
        for number, exts in enumerate((big, many)):
            with self.subTest(number=number):
                first = self.image("000.qcow2", 21, {cs: words(2 * cs), 2 * cs: b"\0\1" * 4, 3 * cs: words(0)},
                                   exts=exts, l1=3 * cs)
                for i in range(1, count):
                    proc.must(["cp", first, self.path(f"{i:03}.qcow2")])
                answer = self.run_bounded("--json", self.manifest("""
                    version: 1
                    images: [{path: "*.qcow2", lazy_refcounts: on}]
                    """), memory=80 * MIB, codes=(0,))
                self.assertEqual({r["status"] for r in answer.records}, {"changed"})
                for name in os.listdir(self.folder):
                    os.unlink(self.path(name))

    def test_snapshots_whose_l1_tables_lie_in_holes(self):
        if not can_be_long(self.folder):
            self.skipTest("no file of terabytes can be made here")
        for bits in (21, 9):
            count, each, first, cs = 1200, 32 * MIB, 64 * MIB, 1 << bits
            table = b"".join(struct.pack(">QIHHIIQIIQQ", first + i * each, 4 * MIB, 0, 0, 0, 0, 0, 0, 16, 0,
                                         MIB) for i in range(count))
            image = self.image("a.qcow2", bits, {cs: words(0), 2 * cs: words(0), 16 * MIB: table},
                               first + count * each, 4, l1=2 * cs, size=MIB if bits == 21 else 32 * KIB,
                               snapshots=count, snapshot_table=16 * MIB, incompatible=qcow2.INCOMPAT_DIRTY)
            self.amend(image, memory=120 * MIB, lazy_refcounts="on")
            self.amend(image, memory=120 * MIB, compat="0.10")

    # ---- time and space ---------------------------------------------------------------------
    def test_a_compressed_cluster_is_inflated_once(self):
        cs, n = 2 * MIB, 8
        self.raw("data.raw", n * cs)
        self.io(self.path("data.raw"), f"write -q -P 7 {cs} {cs // 2}", fmt="raw")
        proc.must(["qemu-img", "convert", "-c", "-S", "0", "-O", "qcow2", "-o", "cluster_size=2M",
                   self.path("data.raw"), self.path("base.qcow2")])
        mid = self.create("mid.qcow2", size=n * cs, cluster_size=512, backing="base.qcow2")
        self.io(mid, *(f"write -q -P 9 {2 * cs + 1024 * i} 512" for i in range(1024)))
        image = self.create("top.qcow2", size=n * cs, cluster_size=cs, backing="mid.qcow2")
        self.io(image, f"write -q -z 0 {n * cs}")
        before = guest.read_all(image)
        answer = self.amend(image, codes=(0,), compat="0.10", zero_clusters="defer", verify="content")
        self.assert_same_layers(before, guest.read_all(image))
        self.assert_sound(image)
        self.assertGreater(answer.first["clusters"]["expanded"], 0)

    def grown(self, image, size, tables, **options):
        before = os.path.getsize(image)
        answer = self.amend(image, codes=(0,), size=size, verify="content", **options)
        cs = qcow2.load(image).cluster_size if os.path.getsize(image) < GIB else 65536
        self.assertLessEqual(os.path.getsize(image) - before, (tables + 8) * cs + 8 * size // (cs * cs // 8))
        self.assert_sound(image)
        return answer

    def test_growing_over_a_sparse_backing_file_writes_tables_only_where_it_has_data(self):
        self.raw("long.raw", "4T", "write -q -P 3 0 4k", "write -q -P 4 1T 4k")
        self.create("long.qcow2", size="4T")
        self.io(self.path("long.qcow2"), "write -q -P 3 0 4k", "write -q -P 4 1T 4k")
        self.create("over.qcow2", size="4T", cluster_size=4096, backing="long.qcow2")
        self.io(self.path("over.qcow2"), "write -q -P 5 2T 4k", "write -q -z 1T 64k")
        for name, fmt, tables, zero in (("long.raw", "raw", 1, "1T"), ("long.qcow2", "qcow2", 1, "1T"),
                                        ("over.qcow2", "qcow2", 1, "2T")):
            for compat in ("1.1", "0.10"):
                with self.subTest(backing=name, compat=compat):
                    image = self.create("top.qcow2", size="1M", backing=name, backing_fmt=fmt, compat=compat)
                    self.grown(image, 4 << 40, tables)
                    self.assert_reads(image, 0, "4k", 3)
                    for at in ("1T", "2T"):
                        self.assert_reads(image, at, "64k", 0)
                    found = qcow2.load(image)
                    self.assertEqual(sum(e != 0 for e in found.l1()), tables)

    def test_where_the_chain_ends_in_something_unreadable_growing_is_refused(self):
        self.create("gone.qcow2", size="4M")
        self.create("mid.qcow2", size="4M", backing="gone.qcow2")
        image = self.create("top.qcow2", size="1M", backing="mid.qcow2")
        os.unlink(self.path("gone.qcow2"))
        self.refused(image, "backing_missing", size=4 * MIB)
        self.amended(image, lazy_refcounts="on")


if __name__ == "__main__":
    main()
