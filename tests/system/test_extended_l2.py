"""extended_l2: L2 entries with subclusters, on and off, and amends of images that have them."""
import shutil
import struct
import unittest

import context  # noqa: F401
import guest
import proc
import qcow2
from fixture import KIB, MIB, ImageTest, main

CONTENT = ("--verify", "content")
UNKNOWN = 0x76617465  # XCP-ng's extension


def is_extended(image):
    return guest.info(image)["format-specific"]["data"].get("extended-l2", False)


def monitor(image, *commands):
    """What the monitor of a guest that never runs answers; the image is its disk."""
    argv = ["qemu-system-x86_64", "-accel", "tcg", "-m", "16", "-S", "-nodefaults", "-display",
            "none", "-monitor", "stdio", "-drive", f"file={image},format=qcow2,if=virtio"]
    done = proc.run(argv, stdin="\n".join([*commands, "quit", ""]))
    return done.code, done.out + done.err


class ThereAndBack(ImageTest):
    def image(self, **options):
        image = self.create(size="1200M", **options)
        self.io(image, "write -q -P 1 0 1M", "write -q -z 2M 256k", "write -q -P 5 300M 128k",
                "write -q -c -P 6 600M 64k", "write -q -P 7 1199M 1M")
        self.snapshot(image, "s")
        self.io(image, "write -q -P 9 0 128k", "write -q -P 8 1000M 128k", "write -q -z -u 5M 64k")
        self.snapshot(image, "t")
        self.io(image, "write -q -P 4 600M 64k")
        return image

    def test_every_layer_reads_as_before_and_no_data_moves(self):
        image = self.image()
        before = {e & qcow2.L2_OFFSET for _, _, e in qcow2.load(image).entries()} - {0}
        record = self.amended_keeping_content(image, flags=CONTENT, extended_l2="on")
        self.assertEqual(record["verify"], {"mode": "content", "result": "ok",
                                            "source": record["verify"]["source"]})
        self.assertTrue(is_extended(image))
        self.assertEqual({e & qcow2.L2_OFFSET for _, _, e in qcow2.load(image).entries()} - {0},
                         before)
        self.amended(image, status="unchanged", extended_l2="on")
        self.amended_keeping_content(image, flags=CONTENT, extended_l2="off")
        self.assertFalse(is_extended(image))
        self.assertEqual({e & qcow2.L2_OFFSET for _, _, e in qcow2.load(image).entries()} - {0},
                         before)

    def test_qemu_writes_subclusters_afterwards_and_applies_every_snapshot(self):
        image = self.image()
        self.amended(image, extended_l2="on")
        self.io(image, "write -q -P 3 100M 2k", "write -q -P 3 1k 3k", "write -q -P 2 301M 1M")
        self.assert_reads(image, 100 * MIB, 2 * KIB, 3)
        self.assert_reads(image, 100 * MIB + 2 * KIB, 2 * KIB, 0)
        self.assert_reads(image, 4 * KIB, 100 * KIB, 9)
        self.assert_sound(image)
        for name, pattern in (("s", 1), ("t", 9)):
            self.assert_snapshot_reads(image, name, 0, 64 * KIB, pattern)
            proc.must(["qemu-img", "snapshot", "-a", name, image])
            self.assert_reads(image, 0, 64 * KIB, pattern)
            self.assert_sound(image)

    def test_tables_that_snapshots_share_stay_shared(self):
        image = self.create(size="600M")
        self.io(image, "write -q -P 1 0 1M", "write -q -P 1 300M 1M", "write -q -P 1 590M 1M")
        for name in "abcdef":
            self.snapshot(image, name)
        for value, tables in (("on", 3), ("off", 2)):
            self.amended_keeping_content(image, flags=CONTENT, extended_l2=value)
            found = qcow2.load(image)
            layers = [found.data[at:at + 8 * count] for at, count in found.l1s()]
            self.assertEqual(len(set(layers[1:])), 1)
            self.assertEqual(len({e & qcow2.L1_OFFSET for e in found.l1(*list(found.l1s())[1])}
                                 - {0}), tables)

    def test_over_a_backing_file(self):
        self.raw("base.raw", "8M", "write -q -P 77 0 8M")
        image = self.create(size="8M", backing="base.raw", backing_fmt="raw")
        self.io(image, "write -q -P 1 64k 64k", "write -q -z 1M 1M", "discard -q 3M 64k")
        for value in ("on", "off", "on"):
            self.amended_keeping_content(image, flags=CONTENT, extended_l2=value)
        self.amended_keeping_content(image, flags=CONTENT, compat="0.10")
        self.assertFalse(is_extended(image))
        self.assertEqual(qcow2.load(image).version, 2)

    def test_with_everything_else_in_one_commit(self):
        for size in (700 * MIB, 1201 * MIB, 3000 * MIB + 512):
            image = self.image()
            self.amended_keeping_content(image, shrink=True, flags=CONTENT, extended_l2="on",
                                         size=size, refcount_bits=32, lazy_refcounts="on",
                                         backing_file="")
            self.amended_keeping_content(image, shrink=True, flags=CONTENT, extended_l2="off",
                                         size=size + 5 * MIB, refcount_bits=8)

    def test_from_version_2(self):
        image = self.create(compat="0.10")
        self.io(image, "write -q -P 1 0 300k")
        self.refused(image, "refused", extended_l2="on", words="compat=1.1")
        self.amended_keeping_content(image, flags=CONTENT, extended_l2="on", compat="1.1")
        self.refused(image, "refused", compat="0.10", extended_l2="on")
        self.amended_keeping_content(image, flags=CONTENT, compat="0.10", extended_l2="off")

    def test_small_clusters_are_refused(self):
        self.refused(self.create(cluster_size=8192), "refused", extended_l2="on", words="16384")
        self.amended_keeping_content(self.create("b.qcow2", cluster_size=16384), extended_l2="on")

    def test_unknown_extensions_and_bits_stay(self):
        image = self.image()
        head = bytearray(qcow2.load(image).data[:512])
        head[100:104] = (104).to_bytes(4, "big")
        head[104:512] = (UNKNOWN.to_bytes(4, "big") + (8).to_bytes(4, "big") +
                         b"\1\2\3\4\5\6\7\10" + bytes(8)).ljust(408, b"\0")
        head[80:88] = (1 << 41).to_bytes(8, "big")
        qcow2.patch(image, 0, bytes(head))
        for value in ("on", "off"):
            self.amended_keeping_content(image, flags=CONTENT, extended_l2=value)
            found = qcow2.load(image)
            self.assertEqual(found.extension(UNKNOWN), b"\1\2\3\4\5\6\7\10")
            self.assertEqual(found.compatible_features, 1 << 41)

    def test_a_dry_run_says_so_and_writes_nothing(self):
        image = self.image()
        sha = proc.sha256(image)
        record = self.amended(image, flags=("--dry-run",), status="would_change", extended_l2="on")
        self.assertEqual([(c["key"], c["from"], c["to"]) for c in record["changes"]],
                         [("extended_l2", False, True)])
        self.assertEqual(proc.sha256(image), sha)


@unittest.skipUnless(shutil.which("qemu-system-x86_64"),
                      "qemu-system-x86 is not installed")
class VmState(ImageTest):
    """VM state begins with the first L1 entry past the disk, and is found there by loadvm."""

    def loads(self, image, *names):
        for name in names:
            code, words = monitor(image, f"loadvm {name}")
            self.assertEqual(code, 0, words)
            self.assertNotIn("rror", words)

    def test_it_moves_with_the_reach_of_an_l1_entry(self):
        for size in ("200M", "400M", "512M", "700M", "1100M"):
            with self.subTest(size=size):
                image = self.create(f"{size}.qcow2", size=size)
                self.io(image, "write -q -P 1 0 1M")
                code, words = monitor(image, "savevm one")
                self.assertEqual((code, "rror" in words), (0, False), words)
                self.io(image, "write -q -P 2 0 64k")
                proc.must(["qemu-img", "resize", "-q", image, "+300M"])
                monitor(image, "savevm two")
                self.loads(self.copy(image, "before.qcow2"), "one", "two")
                for value in ("on", "off"):
                    self.amended(image, flags=CONTENT, extended_l2=value)
                    self.assert_sound(image)
                    self.loads(self.copy(image, "after.qcow2"), "one", "two")


class MissingVmState(ImageTest):
    """A part of a snapshot's VM state is not allocated, as no program leaves it."""

    def image(self, **options):
        image = self.create(size="64M", **options)
        self.snapshot(image, "s")
        with open(image, "r+b") as f:
            table = qcow2.load(image).snapshots_offset
            f.seek(table + 32)
            f.write(struct.pack(">I", 65536))
            f.seek(table + 40)
            f.write(struct.pack(">Q", 65536))
        return image

    def test_it_does_not_move_to_where_a_backing_file_shows(self):
        self.raw("base.raw", "1G")
        image = self.image(backing="base.raw", backing_fmt="raw")
        self.refused(image, "unsupported", words="VM state", extended_l2="on")
        self.amended(image, refcount_bits=64)
        image = self.image()
        self.refused(image, "unsupported", words="VM state", extended_l2="on", backing_file="base.raw", backing_fmt="raw")
        self.amended(image, extended_l2="on")
        self.assert_sound(image)


class EncryptedVmState(ImageTest):
    """LUKS encrypts by the place in the file, which stays; AES by the guest offset, which changes."""

    SECRET = ["--object", "secret,id=s0,data=0123456789abcdef"]

    def options(self, image):
        return [*self.SECRET, "--image-opts", f"driver=qcow2,encrypt.key-secret=s0,encrypt.format={self.method},"
                f"file.filename={image}"]

    def encrypted_io(self, image, *commands):
        done = proc.run(["qemu-io", *self.options(image), *(word for c in commands for word in ("-c", c))])
        self.assertEqual((done.code, "failed" in done.out + done.err), (0, False), done.out + done.err)

    def reads(self, image, *snapshots):
        for name in snapshots:
            copy = self.copy(image, "back.qcow2")
            proc.must(["qemu-img", "snapshot", *self.options(copy), "-a", name])
            self.encrypted_io(copy, "read -q -b -P 5 0 256k", "read -q -P 1 0 1M")

    def image(self, method, **options):
        self.method = method
        image = self.create(size="200M", flags=self.SECRET,
                            **{"encrypt.format": method, "encrypt.key-secret": "s0"}, **options)
        self.encrypted_io(image, "write -q -P 1 0 1M", "write -q -b -P 5 0 256k")
        proc.must(["qemu-img", "snapshot", *self.options(image), "-c", "s"])
        return image

    def test_it_is_read_as_before_or_does_not_move(self):
        for now, then in (("off", "on"), ("on", "off")):
            with self.subTest(then):
                image = self.image("luks", extended_l2=now, **{"encrypt.iter-time": 10})
                self.amended(image, extended_l2=then)
                self.reads(image, "s")
                image = self.image("aes", extended_l2=now)
                self.refused(image, "unsupported", words="VM state of snapshot 1", extended_l2=then)
                self.amended(image, refcount_bits=64)
                self.reads(image, "s")

    def test_what_only_the_active_layer_has_is_no_obstacle(self):
        image = self.image("aes")
        self.amended(image, extended_l2="on", **{"snapshots.delete": "s"})
        proc.must(["qemu-img", "check", "-q", *self.options(image)])
        self.encrypted_io(image, "read -q -P 1 0 1M")


class AlreadyExtended(ImageTest):
    """Images as Proxmox VE 9 makes them: each other key works on them."""

    def image(self, size="1M", **options):
        image = self.create(size=size, extended_l2="on", cluster_size="128k", **options)
        self.io(image, "write -q -P 1 0 300k", "write -q -z 12k 4k", "write -q -P 2 500k 6k",
                "write -q -z 640k 128k", "write -q -P 3 900k 30k")
        self.snapshot(image, "s")
        self.io(image, "write -q -P 4 20k 8k")
        return image

    def test_every_key_keeps_what_every_layer_reads(self):
        for request in ({"compat": "1.1"}, {"lazy_refcounts": "on"}, {"refcount_bits": 64},
                        {"size": 2 * MIB}, {"size": 905 * KIB}, {"size": 500 * KIB + 512},
                        {"size": 13 * KIB}, {"compression_type": "zstd"}):
            with self.subTest(**request):
                image = self.image()
                status = "unchanged" if "compat" in request else "changed"
                before = guest.read_all(image)
                self.amended(image, shrink=True, flags=CONTENT, status=status, **request)
                self.assert_sound(image)
                after = guest.read_all(image)
                if "size" in request:
                    before["active"] = before["active"].resized(request["size"])
                self.assert_same_layers(before, after)
                if request.get("size", MIB) < MIB:  # nothing of what was cut comes back
                    self.amended_keeping_content(image, flags=CONTENT, size=2 * MIB)

    def test_growing_over_a_longer_backing_file_shows_none_of_it(self):
        self.raw("base.raw", "4M", "write -q -P 77 0 4M")
        for size in (MIB, 900 * KIB + 512, 905 * KIB, 500 * KIB, 13 * KIB):
            with self.subTest(size=size):
                image = self.create(f"{size}.qcow2", size=size, backing="base.raw",
                                    backing_fmt="raw", extended_l2="on", cluster_size="128k")
                self.io(image, "write -q -P 1 0 6k", f"write -q -P 2 {size // 4096 * 4096 - 4096} 4k")
                self.amended_keeping_content(image, flags=CONTENT, size=3 * MIB)
                self.assert_reads(image, -(-size // 512) * 512, 2 * MIB, 0)

    def test_another_backing_file_may_differ_where_subclusters_cover_it_and_nowhere_else(self):
        """check_content: 4 KiB of a cluster of 128 KiB are the unit."""
        self.raw("base.raw", "1M", "write -q -P 77 0 1M")
        image = self.create(size="1M", backing="base.raw", backing_fmt="raw", extended_l2="on",
                            cluster_size="128k")
        self.io(image, "write -q -P 1 136k 8k", "write -q -z 200k 4k", "write -q -P 1 256k 128k",
                "write -q -P 2 1020k 4k")
        manifest = """
            version: 1
            images: [{path: new.qcow2, backing: {check_content: on, rewrite: [{from: base, to: copy}]}}]
            """
        for offset, differs in ((136 * KIB, False), (144 * KIB - 1, False), (201 * KIB, False),
                                (256 * KIB, False), (MIB - 1, False), (0, True),
                                (136 * KIB - 1, True), (144 * KIB, True), (200 * KIB - 1, True),
                                (204 * KIB, True), (384 * KIB, True), (1020 * KIB - 1, True)):
            with self.subTest(offset):
                self.copy(image, "new.qcow2")
                with open(self.copy(self.path("base.raw"), "copy.raw"), "r+b") as f:
                    f.seek(offset)
                    f.write(b"x")
                answer = self.run_manifest(manifest)
                self.assertEqual(answer.status, "failed" if differs else "changed", str(answer))
                if differs:
                    self.assertIn(f"guest byte {offset}", answer.first["error"]["message"])

    def test_a_chain_with_subclusters_is_read_for_zero_clusters_that_are_deferred(self):
        base = self.create("base.qcow2", size="1M", extended_l2="on")
        self.io(base, "write -q -P 1 0 2k", "write -q -z 128k 64k", "write -q -P 0 256k 64k")
        image = self.create(size="1M", backing="base.qcow2")
        self.io(image, "write -q -z 0 1M")
        self.amended_keeping_content(image, flags=CONTENT, compat="0.10", zero_clusters="defer")

    def test_a_dirty_one_is_repaired(self):
        image = self.create(size="1M", extended_l2="on", lazy_refcounts="on")
        self.killed_io(image, "write -q -P 3 0 10k", "write -q -P 3 512k 64k")
        record = self.amended(image, lazy_refcounts="off")
        self.assertTrue(record["repaired"])
        self.assert_sound(image)
        self.assert_reads(image, 0, 10 * KIB, 3)

    def test_check_counts_zero_clusters_of_subclusters(self):
        image = self.create(size="1M", extended_l2="on")
        self.io(image, "write -q -z 0 128k", "write -q -P 1 128k 64k", "write -q -P 1 192k 2k")
        record = self.amended(image, refcount_bits=64)
        self.assertEqual((record["clusters"]["zero_plain"], record["clusters"]["allocated"]), (2, 2))


if __name__ == "__main__":
    main()
