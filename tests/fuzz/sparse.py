"""Huge sparse images that claim far more than they hold: what they cost is what is really on disk.

Each image is a few kilobytes to 33 MiB of real bytes in a file of terabytes, and each was once
answered after minutes, or not at all.  qemu-img does not make such files, so they are written here.
"""
import os
import resource
import struct
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import proc  # noqa: E402
import qbatch  # noqa: E402
import strace  # noqa: E402
from fixture import GIB, MIB, ImageTest, main  # noqa: E402

LENGTH = 8 << 40  # of the file; ext4 ends below 16 TiB
PROCESSOR_SECONDS = 60  # an amend takes five of them, where the answer once took minutes
MEMORY_BYTES = 640 * MIB  # limits.memory is 512 MiB
SANITIZED = bool(os.environ.get("QBATCH_SANITIZED"))


def words(*values):
    return struct.pack(f">{len(values)}Q", *values)


class Sparse:
    """A version 3 header and whatever is put behind it."""

    def __init__(self, path, bits, order=4, size=GIB, **header):
        self.path, self.bits, self.cluster = path, bits, 1 << bits
        self.header = dict(size=size, l1_size=1, l1=0, reftable=0, reftable_clusters=1, snapshots=0,
                           snapshot_table=0, incompatible=0, autoclear=0, order=order)
        self.header.update(header)
        self.extensions = b""
        self.file = open(path, "wb")

    def put(self, at, data):
        self.file.seek(at)
        self.file.write(data)

    def done(self, length=None):
        h = self.header
        self.put(0, struct.pack(">IIQIIQIIQQIIQ", 0x514649FB, 3, 0, 0, self.bits, h["size"], 0,
                                h["l1_size"], h["l1"], h["reftable"], h["reftable_clusters"],
                                h["snapshots"], h["snapshot_table"]))
        self.put(72, struct.pack(">QQQII8x", h["incompatible"], 0, h["autoclear"], h["order"], 112)
                 + self.extensions + bytes(8))
        self.file.seek(0, os.SEEK_END)
        end = -(-self.file.tell() // self.cluster) * self.cluster
        self.file.truncate(length or end)
        self.file.close()
        return self.path


def limit_processor_time():
    seconds = PROCESSOR_SECONDS * (5 if SANITIZED else 1)
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 5))


class SparseImages(ImageTest):
    def image(self, bits, **header):
        return Sparse(self.path("sparse.qcow2"), bits, **header)

    def blocks(self, offsets, content=b"", order=4):
        """2 MiB clusters, a refcount table of 8 MiB with these entries, and this at each block."""
        image = self.image(21, order=order, reftable=2 * MIB, reftable_clusters=4, l1=12 * MIB)
        image.put(2 * MIB, b"".join(map(words, offsets)))
        for offset in offsets if content else ():
            image.put(offset, content)
        return image.done(LENGTH)

    def costs_what_it_holds(self, image):
        """A check, and an amend that would write every refcount anew."""
        held = os.stat(image).st_blocks
        for argv in (["check", "--json"], ["amend", "--json", "-o", "refcount_bits=64"]):
            answer = qbatch.qbatch(*argv, image, timeout=600, preexec=limit_processor_time)
            self.assertFalse(answer.crashed or answer.result.timed_out, str(answer)[:2000])
            self.assertNotEqual(answer.code, 75, "it takes too much processor time")
            self.assertTrue(answer.records, str(answer)[:2000])
            if answer.code:
                self.assertNotIn(answer.error, ("internal", "verify", "memory"), str(answer)[:2000])
        used = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
        if not SANITIZED:
            self.assertLess(used, MEMORY_BYTES)
        self.assertLessEqual(os.stat(image).st_blocks, held + 64 * MIB // 512)

    def test_a_million_entries_that_name_one_refcount_block(self):
        self.costs_what_it_holds(self.blocks([16 * MIB] * MIB, b"\0\1"))

    def test_a_million_refcount_blocks_in_holes(self):
        self.costs_what_it_holds(self.blocks([i * 2 * MIB for i in range(8, MIB)]))

    def test_refcount_blocks_that_hold_one_page_each(self):
        self.costs_what_it_holds(self.blocks([i * 2 * MIB for i in range(8, 800)], b"\1", order=0))

    def test_refcounts_of_which_every_other_one_leaks(self):
        image = self.image(16, order=0, reftable=65536, l1=2 * 65536, l1_size=2)
        for i in range(60):
            image.put(65536 + 8 * i, words((i + 8) * 65536))
            image.put((i + 8) * 65536, b"\x55" * 65536)
        self.costs_what_it_holds(image.done(LENGTH))

    def test_snapshots_whose_l1_tables_are_holes_of_32_mib(self):
        count, first = 65536, 64 * MIB
        image = self.image(21, reftable=2 * MIB, l1=4 * MIB, snapshots=count,
                           snapshot_table=6 * MIB)
        image.put(6 * MIB, b"".join(
            struct.pack(">QIHHIIQIIQQ", first + i * 32 * MIB, 4 * MIB, 0, 0, 0, 0, 0, 0, 16, 0, GIB)
            for i in range(count)))
        self.costs_what_it_holds(image.done(first + count * 32 * MIB))

    def test_an_l1_table_that_names_four_million_l2_tables_in_holes(self):
        count = LENGTH // (2 * MIB) - 64
        image = self.image(21, reftable=2 * MIB, l1=4 * MIB, l1_size=count, size=1 << 60)
        image.put(4 * MIB, b"".join(words((i + 48) * 2 * MIB | 1 << 63) for i in range(count)))
        self.costs_what_it_holds(image.done(LENGTH))

    @unittest.skipUnless(strace.works(), strace.MISSING)
    def test_no_thread_is_woken_for_tables_in_holes(self):
        """As many calls for 400,000 of them as for one."""
        count = 400000
        image = self.image(21, reftable=2 * MIB, l1=4 * MIB, l1_size=count, size=1 << 60)
        image.put(4 * MIB, b"".join(words((i + 48) * 2 * MIB | 1 << 63) for i in range(count)))
        log = self.path("calls")
        proc.run(["strace", "-f", "-c", "-e", "trace=futex,mmap,munmap,pread64,lseek", "-o", log,
                  qbatch.absolute(qbatch.TOOL), "check", "--json", image.done(1 << 40)], timeout=600)
        with open(log, encoding="utf-8") as f:
            rows = [line.split() for line in f]
        total = next(int(row[2] if row[2].isdigit() else row[3]) for row in rows if row and row[-1] == "total")
        self.assertLess(total, count / 20)

    def test_l2_entries_spread_over_the_whole_file_of_a_dirty_image(self):
        step = LENGTH // 65536 // 8193
        image = self.image(16, reftable=65536, l1=2 * 65536, size=1 << 29, incompatible=1)
        image.put(2 * 65536, words(3 * 65536))
        image.put(3 * 65536, words(*((i + 1) * step * 65536 for i in range(8192))))
        self.costs_what_it_holds(image.done(LENGTH))

    def bitmaps(self, count, entries, content=b""):
        entry = struct.pack(">QIIBBHI8s", 64 * MIB, entries, 0, 1, 16, 1, 0, b"b")
        image = self.image(21, reftable=2 * MIB, l1=4 * MIB, autoclear=1)
        image.put(6 * MIB, entry * count)
        image.put(64 * MIB, content)
        image.extensions = struct.pack(">IIIIQQ", 0x23852875, 24, count, 0, len(entry) * count,
                                       6 * MIB)
        return image.done(LENGTH)

    def test_bitmaps_that_all_name_one_table(self):
        self.costs_what_it_holds(self.bitmaps(65535, 1 << 21, words(0) * (1 << 21)))

    def test_a_bitmap_table_of_32_gib_in_a_hole(self):
        self.costs_what_it_holds(self.bitmaps(1, (1 << 32) - 1))

    def test_a_luks_header_as_long_as_the_file(self):
        image = self.image(16, reftable=65536, l1=2 * 65536, l1_size=2)
        image.extensions = struct.pack(">IIQQ", 0x0537BE77, 16, 1 << 20, LENGTH - (2 << 20))
        self.costs_what_it_holds(image.done(LENGTH))


if __name__ == "__main__":
    try:
        with open(os.path.join("/tmp", f"qbatch-length-{os.getpid()}"), "wb") as probe:
            os.unlink(probe.name)
            probe.truncate(LENGTH)
    except OSError:
        print("skipped: all: no file of terabytes can be made here")
        sys.exit(77)
    main()
