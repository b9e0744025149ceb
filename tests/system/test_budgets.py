"""limits.per_image: what one image may cost is bounded by what its files occupy, or by its key, and an
image that costs more fails alone, by name and untouched."""
import json
import os
import struct
import zlib

import context  # noqa: F401
import guest
import proc
import qbatch
import qcow2
from fixture import KIB, MIB, ImageTest, main

COPIED, COMPRESSED = 1 << 63, 1 << 62


def words(*values):
    return struct.pack(f">{len(values)}Q", *values)


class Budgets(ImageTest):
    def bomb(self, name="bomb.qcow2", cluster_bits=21, kinds=64):
        """An image without a fault whose entries are compressed clusters, a few of them again and again: its data
        takes thousands of times as long to read as the file is long."""
        cs = 1 << cluster_bits
        entries = cs // 8
        packed = []
        for i in range(kinds):
            packer = zlib.compressobj(9, zlib.DEFLATED, -12)
            packed.append(packer.compress(bytes([i + 1]) * cs) + packer.flush())
        room = -(-max(map(len, packed)) // 512) * 512
        at = [4 * cs + i * room for i in range(kinds)]
        assert kinds * room <= cs
        entry = [COMPRESSED | (room // 512 - 1) << (62 - (cluster_bits - 8)) | a for a in at]
        image = self.path(name)
        with open(image, "wb") as f:
            for offset, data in ((0, struct.pack(">IIQIIQIIQQIIQQQQII8x", qcow2.MAGIC, 3, 0, 0, cluster_bits, entries * cs,
                                                 0, 1, cs, 2 * cs, 1, 0, 0, 0, 0, 0, 5, 112)),
                                 (cs, words(5 * cs | COPIED)), (2 * cs, words(3 * cs)),
                                 (3 * cs, struct.pack(">6I", 1, 1, 1, 1, entries, 1)),
                                 *zip(at, packed), (5 * cs, words(*entry) * (entries // kinds))):
                f.seek(offset)
                f.write(data)
            f.truncate(6 * cs)
        return image

    def bytes_of(self, path):
        with open(path, "rb") as f:
            return f.read()

    def run_of(self, per_image, keys, *images, policy="{}"):
        fleet = "".join(f"  - {{path: {image}, {keys}}}\n" for image in images)
        return self.run_manifest(f"version: 1\npolicy: {policy}\nlimits: {{per_image: {per_image}}}\nimages:\n{fleet}",
                                 "--json")

    def test_processor_time_ends_what_a_small_file_claims(self):
        bomb, sound = self.bomb(), self.create("sound.qcow2", "4M")
        before = self.bytes_of(bomb)
        answer = self.run_of("{cpu: 0.3}", "compression_type: zstd", bomb, sound,
                             policy="{verify: metadata}")
        of = {os.path.basename(r["path"]): r for r in answer.records if "path" in r}
        self.assertEqual(answer.code, 1, str(answer))
        self.assertEqual(of["bomb.qcow2"]["error"]["code"], "over_budget", str(answer))
        self.assertIn("limits.per_image.cpu", of["bomb.qcow2"]["error"]["message"])
        self.assertEqual(of["sound.qcow2"]["status"], "changed")
        self.assertEqual(self.bytes_of(bomb), before)

    def test_a_check_and_a_map_have_the_same_budget(self):
        bomb, sound = self.bomb(), self.create("sound.qcow2", "4M")
        fleet = self.manifest("version: 1\nlimits: {per_image: {cpu: 0.3}}\n"
                              f"images:\n  - {{path: {bomb}}}\n  - {{path: {sound}}}\n")
        answer = qbatch.qbatch("check", "--json", "--level", "content", "--manifest", fleet)
        of = {os.path.basename(r["path"]): r for r in answer.records if "path" in r}
        self.assertEqual(of["bomb.qcow2"]["error"]["code"], "over_budget", str(answer))
        self.assertEqual(of["sound.qcow2"]["error"], None, str(answer))

    def test_what_a_downgrade_allocates(self):
        image = self.create("a.qcow2", "1M")
        self.io(image, "write 0 1M")
        before = self.bytes_of(image)
        answer = self.run_of("{append: 512}", "refcount_bits: 64", image)
        self.assertEqual(answer.error, "over_budget", str(answer))
        self.assertIn("limits.per_image.append allows 512 B", str(answer))
        self.assertEqual(self.bytes_of(image), before)
        self.assertEqual(self.run_of("{append: auto}", "refcount_bits: 64", image).code, 0)

    def test_a_chain_takes_a_file_for_each_link(self):
        backing = None
        for i in range(4):
            backing = self.create(f"{i}.qcow2", "4M", backing=backing)
        backing = self.create("top.qcow2", "1M", backing=backing)
        for most, error in ((2, "over_budget"), (5, "over_budget"), (6, None), ("auto", None)):
            with self.subTest(most):
                answer = self.run_of(f"{{descriptors: {most}}}", "size: 2M", self.copy(backing, f"top-{most}.qcow2"))
                self.assertEqual(answer.error, error, str(answer))
        self.assertIn("deeper than 0", str(self.run_of("{descriptors: 2}", "size: 2M", backing)))

    def test_memory_of_one_image_is_not_what_others_leave(self):
        image = self.create("a.qcow2", "4M")
        self.io(image, "write 0 4M")
        answer = self.run_of("{memory: 1k}", "refcount_bits: 64", image, self.create("b.qcow2", "1M"))
        self.assertEqual({r["error"]["code"] for r in answer.records if r.get("error")}, {"memory"}, str(answer))
        self.assertIn("limits.per_image.memory", str(answer))

    def test_the_findings_of_one_image_do_not_fill_a_report(self):
        image = self.create("a.qcow2", "64M", flags=("-o", "cluster_size=4k"))
        self.io(image, "write 0 4M")
        q = qcow2.Image(self.bytes_of(image))
        with open(image, "r+b") as f:
            for i in (n * n for n in range(3, 22)):  # no step between two is as the one before
                table = q.l1()[0] & qcow2.L1_OFFSET
                f.seek(table + 8 * i)
                f.write(words(0))
        lines = {}
        for most in ("auto", "1k"):
            fleet = self.manifest(f"version: 1\nlimits: {{per_image: {{report: {most}}}}}\nimages:\n  - {{path: {image}}}\n")
            answer = qbatch.qbatch("check", "--json", "--manifest", fleet)
            lines[most] = next(r for r in answer.records if r.get("path"))
        self.assertEqual(lines["auto"]["leaks"], lines["1k"]["leaks"])
        self.assertGreater(len(json.dumps(lines["auto"]["findings"])), KIB)
        self.assertTrue(lines["1k"]["findings"])
        self.assertLess(len(json.dumps(lines["1k"]["findings"])), KIB)

    def test_a_map_ends_where_its_files_explain_no_more(self):
        """An L1 table whose entries are all the same table, of which every second entry is allocated."""
        bits, entries, shared = 9, 64, 40000
        cs = 1 << bits
        image = self.path("map.qcow2")
        l1_clusters = shared * 8 // cs
        table, data = (3 + l1_clusters) * cs, (4 + l1_clusters) * cs
        with open(image, "wb") as f:
            f.write(struct.pack(">IIQIIQIIQQIIQQQQII8x", qcow2.MAGIC, 3, 0, 0, bits, shared * entries * cs, 0, shared,
                                2 * cs, cs, 1, 0, 0, 0, 0, 0, 4, 112))
            f.seek(2 * cs)
            f.write(words(table) * shared)
            f.seek(table)
            f.write(words(data, 0) * (entries // 2))
            f.seek(data)
            f.write(bytes([7]) * cs)
        fleet = self.manifest(f"version: 1\nlimits: {{per_image: {{report: 100k}}}}\nimages:\n  - {{path: {image}}}\n")
        short = proc.run([qbatch.absolute(qbatch.TOOL), "map", "--json", "--manifest", fleet])
        self.assertEqual(short.code, 1, short.err)
        self.assertEqual(json.loads(short.out.splitlines()[0])["error"]["code"], "over_budget", short.out[-300:])
        self.assertLess(len(short.out), 110 * KIB)
        all_of_it = proc.run([qbatch.absolute(qbatch.TOOL), "map", image])
        self.assertEqual(all_of_it.code, 1)
        self.assertIn("limits.per_image.report", all_of_it.err)
        self.assertLess(len(all_of_it.out), MIB + 64 * os.stat(image).st_blocks * 512 + 64 * KIB)

    def test_lint_names_what_a_budget_is_not(self):
        for per_image, wanted in (("{cpu: 0}", "no time at all"), ("{append: 0}", "append"), ("{x: 1}", '"x"'),
                                  ("{descriptors: 1}", "descriptors"), ("5", "a mapping such as")):
            with self.subTest(per_image):
                answer = self.run_of(per_image, "compat: 1.1", self.create("a.qcow2", "1M"))
                self.assertEqual(answer.code, 2, str(answer))
                self.assertIn(wanted, str(answer))
        answer = self.run_manifest(f"version: 1\nlimits: {{per_image.cpu: 5}}\nimages: [{{path: {self.path('a.qcow2')}, compat: '1.1'}}]\n")
        self.assertEqual(answer.code, 2, str(answer))


if __name__ == "__main__":
    main()
