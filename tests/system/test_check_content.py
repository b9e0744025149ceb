"""`qbatch check --level content` reads all data that is mapped: clusters that cannot be read, and compressed ones that
do not inflate, are findings."""
import os
import unittest

import context  # noqa: F401
import guest
import proc
import qbatch
import qcow2
from fixture import KIB, MIB, ImageTest, main

CLUSTER = 64 * KIB
MEDDLER = os.environ.get("MEDDLER", "")
OTHER_BUILD = "MEDDLER names no library, or the build has a sanitizer"


class Content(ImageTest):
    def image(self, **options):
        image = self.create(size="64M", **options)
        self.io(image, "write -q -P 1 0 8M", "write -q -P 2 32M 1M")
        return image

    def check(self, image, *options, file=None, bad=None):
        env = dict(os.environ)
        if bad:
            file = file or image
            env.update(LD_PRELOAD=os.path.abspath(MEDDLER), MEDDLE_UNREADABLE=f"{bad[0]}-{bad[1]}",
                       MEDDLE_SIZE=str(os.path.getsize(file)))
        answer = qbatch.qbatch("check", "--json", "--io", "posix", *(options or ("--level", "content")), image, env=env,
                               cwd=self.folder)
        self.assertFalse(answer.crashed, str(answer))
        return answer

    def host(self, image, offset):
        found = qcow2.load(image)
        return found.u64(found.l2_entry_offset(offset)) & qcow2.L2_OFFSET

    def unreadable(self, answer):
        """[(host offset, message)]"""
        self.assertEqual(set(answer.first["findings_by_code"]) - {"data_unreadable"}, set(), str(answer))
        return [(f["offset"], f["message"]) for f in answer.first["findings"]]


class Sound(Content):
    def test_all_data_is_read_once(self):
        image = self.image()
        self.snapshot(image, "one")
        self.io(image, "write -q -P 3 1M 64k")
        self.snapshot(image, "two")
        for level, most in (("content", 10 * MIB), ("refcounts", MIB)):
            answer = self.check(image, "--level", level)
            self.assertEqual((answer.code, answer.status, answer.first["level"]), (0, "clean", level), str(answer))
            self.assertEqual(answer.first["findings_by_code"], {})
            self.assertLess(answer.first["io"]["read_bytes"], most)
        self.assertGreater(self.check(image).first["io"]["read_bytes"], 9 * MIB)

    def test_compressed_clusters_of_every_kind(self):
        for number, options in enumerate(({}, {"compression_type": "zstd"}, {"cluster_size": 4096}, {"extended_l2": "on"},
                                          {"compat": "0.10"})):
            with self.subTest(**options):
                image = self.create(f"{number}.qcow2", size="16M", **options)
                with open(self.path("noise"), "wb") as f:
                    f.write(os.urandom(MIB // 2) + b"text " * (MIB // 10))
                self.io(image, *(f"write -q -c -s {self.path('noise')} {i * CLUSTER} 64k" for i in range(16)))
                answer = self.check(image)
                self.assertEqual((answer.code, answer.first["findings_by_code"]), (0, {}), str(answer))

    def test_people_are_told_that_data_was_read(self):
        done = qbatch.qbatch("check", "--level", "content", self.image())
        self.assertIn("No errors were found on the image; all of its data can be read.\n", done.result.out)


class Cores(Content):
    def test_what_is_found_does_not_depend_on_the_number_of_cores(self):
        if len(os.sched_getaffinity(0)) < 2:
            self.skipTest("there is one core only")
        image = self.create("z.qcow2", size="64M", cluster_size=4096)
        with open(self.path("text"), "wb") as f:
            f.write(b"some text " * 100000)
        self.io(image, *(f"write -q -c -s {self.path('text')} {i * 4096} 4k" for i in range(1500)))
        found, spoiled = qcow2.load(image), (0, 3, 700, 1100, 1499)
        with open(image, "r+b") as f:
            for i in spoiled:
                f.seek(found.u64(found.l2_entry_offset(i * 4096)) & ((1 << 58) - 1))
                f.write(b"\xff" * 16)
        every = self.check(image)
        alone = qbatch.Answer(proc.run(["taskset", "-c", str(min(os.sched_getaffinity(0))), qbatch.absolute(qbatch.TOOL),
                                        "check", "--json", "--level", "content", image]))
        self.assertEqual(every.first["findings"], alone.first["findings"])
        self.assertEqual(every.first["findings_by_code"], {"compressed_invalid": len(spoiled)})
        self.assertEqual([f["message"].split("byte ")[1].split()[0] for f in every.first["findings"]],
                         [str(i * 4096) for i in spoiled])


class Compressed(Content):
    def spoiled(self, options, data=b"\xff" * 16):
        image = self.create("z.qcow2", size="16M", **options)
        with open(self.path("text"), "wb") as f:
            f.write(b"some text " * 6553)
        self.io(image, *(f"write -q -c -s {self.path('text')} {i * CLUSTER} 64k" for i in range(8)))
        found = qcow2.load(image)
        at = found.u64(found.l2_entry_offset(3 * CLUSTER)) & ((1 << 54) - 1)
        qcow2.patch(image, at, data)
        return image, at

    def test_one_that_does_not_inflate(self):
        image, at = self.spoiled({})
        with self.assertRaises(guest.Unreadable):
            guest.read_active(image)
        answer = self.check(image)
        self.assertEqual((answer.code, answer.status), (2, "corrupt"), str(answer))
        self.assertEqual([(f["code"], f["offset"], f["message"]) for f in answer.first["findings"]],
                         [("compressed_invalid", at, f"the compressed cluster of guest byte {3 * CLUSTER} of the active layer "
                           "does not inflate")])
        for level in ("refcounts", "tables", "header"):
            self.assertEqual(self.check(image, "--level", level).code, 0)

    def test_one_of_a_snapshot(self):
        image, at = self.spoiled({})
        self.snapshot(image, "one")
        self.io(image, "write -q -P 1 0 1M")
        self.assertEqual([(f["offset"], "of a snapshot" in f["message"]) for f in self.check(image).first["findings"]],
                         [(at, True)])

    def test_those_of_zstd(self):
        image, at = self.spoiled({"compression_type": "zstd"})
        self.assertEqual([f["offset"] for f in self.check(image).first["findings"]], [at])


@unittest.skipUnless(os.path.exists(MEDDLER) and not os.environ.get("QBATCH_SANITIZED"), OTHER_BUILD)
class Unreadable(Content):
    def message(self, at, layer="the active layer"):
        return f"the cluster of guest byte {at} of {layer} cannot be read: Input/output error"

    def test_clusters_are_named_by_what_the_guest_has_there(self):
        image = self.image()
        first = self.host(image, 32 * MIB + 2 * CLUSTER)
        answer = self.check(image, bad=(first + 5, first + CLUSTER + 1))  # two clusters are touched
        self.assertEqual((answer.code, answer.status), (2, "corrupt"))
        self.assertEqual(self.unreadable(answer), [(first + i * CLUSTER, self.message(32 * MIB + (2 + i) * CLUSTER))
                                                   for i in range(2)])
        self.assertEqual(answer.first["corruptions"], 2)
        self.assertEqual(self.check(image, "--level", "refcounts", bad=(first, first + 1)).code, 0)

    def test_the_last_byte_of_the_file(self):
        image = self.image()
        end = os.path.getsize(image)
        at = 32 * MIB + MIB - CLUSTER
        self.assertEqual(self.host(image, at) + CLUSTER, end)
        self.assertEqual(self.unreadable(self.check(image, bad=(end - 1, end))), [(end - CLUSTER, self.message(at))])

    def test_of_shared_clusters_the_active_layer_is_named(self):
        image = self.image()
        self.snapshot(image, "one")
        self.io(image, "write -q -P 3 1M 64k")
        shared, old = self.host(image, 2 * MIB), None
        found = qcow2.load(image)
        old = found.u64(found.l2_entry_offset(MIB, found.snapshots()[0].l1_table_offset)) & qcow2.L2_OFFSET
        self.assertEqual(self.unreadable(self.check(image, bad=(shared, shared + 1))), [(shared, self.message(2 * MIB))])
        self.assertEqual(self.unreadable(self.check(image, bad=(old, old + 1))), [(old, self.message(MIB, "a snapshot"))])

    def test_a_compressed_cluster(self):
        image = self.create(size="16M")
        with open(self.path("noise"), "wb") as f:
            f.write(os.urandom(40 * KIB) + bytes(24 * KIB))
        self.io(image, *(f"write -q -c -s {self.path('noise')} {i * CLUSTER} 64k" for i in range(4)))
        found = qcow2.load(image)
        at = found.u64(found.l2_entry_offset(CLUSTER)) & ((1 << 54) - 1)  # in two clusters of the file
        self.assertGreater(at % CLUSTER, 30 * KIB)
        second = (at // CLUSTER + 1) * CLUSTER
        answer = self.check(image, bad=(second, second + 1))
        self.assertEqual(self.unreadable(answer), [(second, self.message(CLUSTER))])

    def test_what_no_guest_reads_is_no_finding(self):
        image = self.image()
        place, entry = self.first_entry(image, CLUSTER)
        qcow2.patch_u64(image, place, entry | 1)  # reads zero, and keeps its cluster
        at = entry & qcow2.L2_OFFSET
        self.assertEqual(self.unreadable(self.check(image, bad=(at, at + 1))), [])

    def test_a_leaked_cluster_is_a_leak_all_the_same(self):
        image = self.image()
        leak = qcow2.append_cluster(image, b"leak")
        for level in ("content", "refcounts"):
            answer = self.check(image, "--level", level, bad=(leak, leak + 1))
            self.assertEqual((answer.code, answer.status, answer.first["leaks"]), (3, "leaks", 1), str(answer))

    def test_the_data_file(self):
        image = self.create(size="8M", data_file=self.path("data"))
        self.io(image, "write -q -P 1 0 256k", "write -q -P 1 2M 256k")
        self.assertEqual(self.check(image).code, 0)
        answer = self.check(image, file=self.path("data"), bad=(2 * MIB + CLUSTER, 2 * MIB + CLUSTER + 1))
        self.assertEqual(self.unreadable(answer), [(2 * MIB + CLUSTER, self.message(2 * MIB + CLUSTER))])

    def test_more_than_are_looked_for(self):
        image = self.create(size="32M", cluster_size=16 * KIB)
        self.io(image, "write -q -P 1 0 24M")
        found = qcow2.load(image)
        hosts = sorted(found.u64(found.l2_entry_offset(i * 16 * KIB)) & qcow2.L2_OFFSET for i in range(1536))
        tables = {entry & qcow2.L1_OFFSET for entry in found.l1()}
        first = next(h for h in hosts if not any(h <= t for t in tables))  # all metadata can be read
        n = sum(h >= first for h in hosts)
        self.assertGreater(n, 1000)
        answer = self.check(image, bad=(first, 1 << 40))
        self.assertEqual(answer.first["findings_by_code"], {"data_unreadable": n})
        self.assertEqual(answer.first["corruptions"], n)


if __name__ == "__main__":
    main()
