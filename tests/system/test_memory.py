"""limits.memory holds for all images together, whatever they are made to take, and failed plans keep
nothing; open files are counted, and running out of them is neither a missing file nor a failure."""
import os
import resource
import struct
import subprocess
import unittest

import context  # noqa: F401
import guest
import proc
import qbatch
from fixture import KIB, MIB, ImageTest, main

OWN_MEMORY = 24 * MIB  # what the program takes beside its plans: code, rings, buffers, the batch
SANITIZED = bool(os.environ.get("QBATCH_SANITIZED"))


def sparse_image(path, cluster_bits=9, l1=(), snapshots=(), tail=b"", length=1 << 30, autoclear=0):
    """A dirty image whose refcounts need not be right, made of holes and these tables."""
    cluster = 1 << cluster_bits
    header = bytearray(104)
    struct.pack_into(">4sI", header, 0, b"QFI\xfb", 3)
    struct.pack_into(">IQ", header, 20, cluster_bits, len(l1) << (2 * cluster_bits - 3))
    struct.pack_into(">IQQI", header, 36, len(l1), 4 * MIB, cluster, 1)
    struct.pack_into(">IQ", header, 60, len(snapshots), 8 * MIB)
    struct.pack_into(">QQQII", header, 72, 1, 0, autoclear, 4, 104)
    with open(path, "wb") as f:
        f.write(header + tail)
        f.truncate(length)
        f.seek(4 * MIB)
        f.write(b"".join(struct.pack(">Q", entry) for entry in l1))
        f.seek(8 * MIB)
        for offset, entries in snapshots:
            f.write(struct.pack(">QIHHIIQIIQQ", offset, entries, 0, 0, 0, 0, 0, 0, 16, 0, 1 << 20))


class Memory(ImageTest):
    def peak(self, memory, *flags, preload=None):
        """(bytes of memory at most, the answer) of a run over all images."""
        manifest = self.manifest(f"""
            version: 1
            limits: {{memory: {memory}, jobs: 2}}
            images: [{{path: "*.qcow2", lazy_refcounts: off}}]
            """)
        argv = [qbatch.absolute(qbatch.TOOL), "--json", *flags, manifest]
        env = {**os.environ, "LD_PRELOAD": preload} if preload else None
        with open(self.path("out"), "w+") as out:
            child = subprocess.Popen(argv, stdout=out, stderr=subprocess.STDOUT, env=env)
            _, status, usage = os.wait4(child.pid, 0)
            child.returncode = os.waitstatus_to_exitcode(status)
            out.seek(0)
            answer = qbatch.Answer(proc.Result(argv, child.returncode, out.read(), ""))
        self.assertFalse(answer.crashed, str(answer))
        return usage.ru_maxrss * KIB, answer

    def held(self, peak, memory):
        if not SANITIZED:  # whose allocator keeps what is freed
            self.assertLess(peak, memory + OWN_MEMORY)

    def test_failed_plans_keep_nothing(self):
        spread = [16 * MIB + i * 512 * KIB for i in range(20000)]  # a page of counts for each
        for i in range(8):
            sparse_image(self.path(f"{i}.qcow2"), l1=spread, length=11 << 30)
        peak, answer = self.peak("16M")
        self.assertEqual([(r["status"], r["error"]["code"]) for r in answer.records],
                         8 * [("failed", "memory")], str(answer))
        self.held(peak, 16 * MIB)
        peak, answer = self.peak("64M")  # one at a time finds room
        self.assertEqual([r["status"] for r in answer.records], 8 * ["changed"], str(answer))
        self.held(peak, 64 * MIB)

    @unittest.skipIf(SANITIZED, "the sanitizer wants to be loaded first")
    def test_memory_is_first_given_back_before_there_are_workers(self):
        for i in range(4):
            sparse_image(self.path(f"{i}.qcow2"), length=11 << 30,
                         l1=[16 * MIB + i * 512 * KIB for i in range(20000)])
        answer = self.peak("64M", preload=os.path.abspath(os.environ["MEDDLER"]))[1]
        self.assertEqual([r["status"] for r in answer.records], 4 * ["changed"], str(answer))

    def test_snapshots_whose_tables_lie_in_holes(self):
        snapshots = [((64 + 32 * i) * MIB, 4 * MIB) for i in range(1200)]
        for i in range(4):
            sparse_image(self.path(f"{i}.qcow2"), l1=[0] * 32, snapshots=snapshots,
                         length=(64 + 32 * 1200) * MIB)
        peak, answer = self.peak("16M")
        self.assertEqual(len(answer.records), 4)
        self.held(peak, 16 * MIB)

    def test_headers_of_megabytes_make_waves_smaller(self):
        extension = struct.pack(">II", 0x7b7b7b7b, 0)
        tail = extension * ((2 * MIB - 104) // 8 - 1)
        for i in range(40):
            sparse_image(self.path(f"{i:02}.qcow2"), cluster_bits=21, l1=[0], tail=tail, length=32 * MIB)
        peak, answer = self.peak("16M", "--dry-run")
        self.assertEqual(len(answer.records), 40)
        self.held(peak, 16 * MIB)

    def test_bitmap_directories_in_holes(self):
        directory = struct.pack(">IIIIQQ", 0x23852875, 24, 65535, 0, 64 * MIB, 64 * MIB)
        for i in range(8):
            sparse_image(self.path(f"{i}.qcow2"), cluster_bits=16, l1=[0], tail=directory,
                         length=128 * MIB, autoclear=1)
        peak, answer = self.peak("16M")
        self.assertEqual([r["status"] for r in answer.records], 8 * ["changed"], str(answer))
        self.held(peak, 16 * MIB)


class OpenFiles(ImageTest):
    def limited(self, files, text, *flags):
        return self.run_manifest(text, *flags, preexec=lambda: resource.setrlimit(
            resource.RLIMIT_NOFILE, (files, files)))

    def fleet(self, overlays, bases):
        for i in range(bases):
            with open(self.path(f"base{i}.raw"), "wb") as f:
                f.truncate(MIB)
        first = self.create("first", backing="base0.raw", backing_fmt="raw")
        self.io(first, "write -q -z 0 64k")
        with open(first, "rb") as f:
            image = f.read()
        os.unlink(first)
        for i in range(overlays):
            name = b"base%d.raw" % (i % bases)
            at = struct.unpack_from(">Q", image, 8)[0]
            copy = bytearray(image)
            copy[at:at + len(name)] = name
            struct.pack_into(">I", copy, 16, len(name))
            with open(self.path(f"{i:04}.qcow2"), "wb") as f:
                f.write(copy)

    def test_fewer_open_files_make_smaller_waves(self):
        for files in (24, 64, 512):
            with self.subTest(files=files):
                self.fleet(60 if files < 512 else 450, 20 if files < 512 else 190)
                answer = self.limited(files, """
                    version: 1
                    images: [{path: "*.qcow2", compat: "0.10"}]
                    """)
                self.assertEqual((answer.code, {r["status"] for r in answer.records}),
                                 (0, {"changed"}), str(answer))
        self.assertEqual(guest.check(self.path("0000.qcow2"))[0], 0)

    def chain(self, n):
        self.raw("c0.raw", "1M")
        for i in range(1, n + 1):
            self.create(f"c{i}.img", backing="c0.raw" if i == 1 else f"c{i - 1}.img",
                        backing_fmt="raw" if i == 1 else "qcow2")
        for i in range(4):
            top = self.create(f"top{i}.qcow2", backing=f"c{n}.img")
            self.io(top, "write -q -z 0 64k")

    text = """
        version: 1
        images: [{path: "*.qcow2", compat: "0.10", zero_clusters: defer}]
        """

    def test_chains_are_opened_one_after_the_other_where_there_is_no_room_for_all(self):
        self.chain(40)
        answer = self.limited(72, self.text)
        self.assertEqual([r["status"] for r in answer.records], 4 * ["changed"], str(answer))

    def test_a_chain_that_is_longer_than_the_limit_is_not_called_a_missing_file(self):
        self.chain(40)
        sha = proc.sha256(self.path("top0.qcow2"))
        answer = self.limited(40, self.text)
        self.assertEqual([(r["status"], r["error"]["code"], r["error"]["retryable"]) for r in answer.records],
                         4 * [("failed", "limit", True)], str(answer))
        self.assertIn("Too many open files", answer.first["error"]["message"])
        self.assertEqual(proc.sha256(self.path("top0.qcow2")), sha)

    def test_only_what_is_not_there_is_missing(self):
        loop = self.path("loop")
        os.symlink("loop", loop)
        long_name = "/".join(200 * ["long"] + ["x"])
        for name in (loop, "gone.raw", "n" * 300, long_name):  # names of which there can be no file, too
            with self.subTest(name=name[:20]):
                image = self.create("a.qcow2", backing=name, backing_fmt="raw", flags=["-u"])
                answer = qbatch.amend(image, size="2M")
                self.assertEqual(answer.error, "backing_missing", str(answer))


if __name__ == "__main__":
    main()
