"""What QEMU's iotests 061 (amending), 112 (refcount widths) and 261 (snapshot tables of every kind) look at: QEMU
makes the images and judges them."""
import os
import struct

import context  # noqa: F401
import guest
import proc
import qbatch
import qcow2
from fixture import KIB, MIB, ImageTest, main

CONTENT = ("--verify", "content")


class Layers(ImageTest):
    """061: zero clusters wherever a version 2 image cannot have them, then each snapshot applied."""

    ZEROED = ("write -q -P 42 0 128k", "write -q -z 0 64k")
    RECIPES = (
        ("zeros alone", None, ["write -q -z 0 128k"]),
        ("zeros of a snapshot, data after it", None, ["write -q -z 0 128k", "snapshot", "write -q -P 42 0 128k"]),
        ("a table that a snapshot shares", None, ["write -q -z 0 128k", "snapshot"]),
        ("a table that the second snapshot shares, and the first does not", None,
         ["write -q -z 0 64k", "snapshot", "write -q -z 64k 64k", "snapshot"]),
        ("zeros before a backing file", "write -q -P 42 0 128k", ["write -q -z 0 64k"]),
        ("zeros of a snapshot before a backing file", "write -q -P 42 0 128k",
         ["write -q -z 0 64k", "snapshot", "write -q -P 66 0 128k"]),
        ("a shared table before a backing file", "write -q -P 42 0 128k", ["write -q -z 0 128k", "snapshot"]),
        ("zeros over data", None, [*ZEROED, "snapshot", "write -q -z 64k 64k"]),
        ("zeros over all data", None, ["write -q -P 42 0 8M", "write -q -z 0 8M"]),
        ("zeros over all data, one cluster of a snapshot", None,
         ["write -q -P 42 0 8M", "snapshot", "write -q -z 0 8M", "snapshot", "write -q -P 1 0 64k"]),
    )

    def made(self, behind, steps, **options):
        backing = {}
        if behind:
            self.raw("base", "8M", behind)
            backing = {"backing": "base", "backing_fmt": "raw"}
        image = self.create(size="8M", lazy_refcounts="on", **backing, **options)
        for number, step in enumerate(steps):
            if step == "snapshot":
                self.snapshot(image, f"s{number}")
            else:
                self.io(image, step)
        return image

    def assert_applied(self, image):
        """Each snapshot is what it was once it is the active layer."""
        layers = guest.read_all(image)
        for s in qcow2.load(image).snapshots():
            one = self.copy(image, "applied.qcow2")
            proc.must(["qemu-img", "snapshot", "-a", s.name, one])
            self.assert_sound(one)
            self.assertTrue(guest.read_active(one) == layers[f"snapshot {s.name}"], s.name)

    def test_each_becomes_version_2_and_3_again(self):
        for what, behind, steps in self.RECIPES:
            for cluster_size in (64 * KIB, 4 * KIB):
                with self.subTest(what, cluster_size=cluster_size):
                    image = self.made(behind, steps, cluster_size=cluster_size)
                    self.amended_keeping_content(image, flags=CONTENT, compat="0.10")
                    self.assertFalse([e for *_, e in qcow2.load(image).entries() if e & qcow2.ZERO])
                    self.assert_applied(image)
                    self.amended_keeping_content(image, flags=CONTENT, compat="1.1", lazy_refcounts="on")
                    self.assert_applied(image)

    def test_a_guest_that_was_killed(self):
        for request in ({"compat": "0.10"}, {"lazy_refcounts": "off"}, {"refcount_bits": 64, "size": "9M"}):
            with self.subTest(**request):
                image = self.create(size="8M", lazy_refcounts="on")
                self.killed_io(image, "write -q -P 42 0 128k")
                self.assertTrue(qcow2.load(image).incompatible_features & qcow2.INCOMPAT_DIRTY)
                self.amended(image, flags=CONTENT, **request)
                self.assertFalse(qcow2.load(image).incompatible_features)
                self.assert_sound(image)
                self.assert_reads(image, 0, "128k", 42)

    def test_feature_bits_that_nobody_knows_end_with_version_3(self):
        """Compatible and autoclear ones; an image with an incompatible one is left alone."""
        bit = 1 << 42
        image = self.create()
        qcow2.patch_header(image, compatible_features=bit, autoclear_features=bit)
        self.amended_keeping_content(image, compat="0.10")
        self.amended_keeping_content(image, compat="1.1")
        found = qcow2.load(image)
        self.assertEqual((found.compatible_features, found.autoclear_features), (0, 0))
        qcow2.patch_header(image, incompatible_features=bit)
        for request in ({"compat": "0.10"}, {"lazy_refcounts": "on"}, {"size": "9M"}):
            self.refused(image, "unsupported", **request)

    def test_upgrade_and_a_new_size_at_once(self):
        image = self.create(size="64M", compat="0.10")
        self.io(image, "write -q -P 42 42M 64k")
        self.amended_keeping_content(image, compat="1.1", lazy_refcounts="on", size="128M")
        data = guest.info(image)
        self.assertEqual((data["virtual-size"], data["format-specific"]["data"]["lazy-refcounts"]), (128 * MIB, True))

    def test_a_backing_file_shows_once_it_is_named(self):
        base = self.create("base.qcow2", size="8M")
        self.io(base, "write -q -P 42 0 128k")
        image = self.create(size="8M")
        self.assert_reads(image, 0, "128k", 0)
        self.amended(image, backing_file="base.qcow2", backing_fmt="qcow2")
        self.assert_reads(image, 0, "128k", 42)
        self.assert_sound(image)

    def test_what_cannot_be(self):
        image = self.create(compat="0.10")
        self.refused(image, "refused", lazy_refcounts="on")
        self.amended(image, compat="1.1")
        for request in ({"compat": "0.10", "lazy_refcounts": "on"}, {"compat": "0.42"}, {"foo": "bar"},
                        {"cluster_size": "32k"}, {"encryption": "on"}, {"preallocation": "on"}):
            with self.subTest(**request):
                self.never_accepted(image, **request)
        self.amended(image, status="unchanged", cluster_size="64k")


class Widths(ImageTest):
    """112."""

    def test_one_image_through_all_of_it(self):
        image = self.create(size="64M")
        self.io(image, "write -q -P 7 16M 32M")
        for width in (1, 64):
            self.amended_keeping_content(image, refcount_bits=width)
        self.refused(image, "refused", compat="0.10")
        self.amended_keeping_content(image, compat="0.10", refcount_bits=16)
        self.amended_keeping_content(image, compat="1.1")
        self.refused(image, "refused", compat="0.10", refcount_bits=32)
        self.snapshot(image, "s")
        self.io(image, "write -q -P 8 0 16M")
        self.refused(image, "refused", refcount_bits=1)
        self.amended_keeping_content(image, refcount_bits=2)
        self.assertEqual(qcow2.load(image).refcount_bits, 2)

    def test_as_many_references_as_two_bits_count(self):
        image = self.create(refcount_bits=2)
        self.io(image, "write -q 0 512")
        for name in ("a", "b"):
            self.snapshot(image, name)
        self.refused(image, "refused", refcount_bits=1)
        self.amended_keeping_content(image, refcount_bits=64)
        self.snapshot(image, "c")
        self.refused(image, "refused", refcount_bits=2)
        self.amended(image, flags=CONTENT, **{"refcount_bits": 2, "snapshots.delete": "b"})
        self.assert_sound(image)

    def test_compressed_clusters_that_cannot_share_one(self):
        """With one bit QEMU gives each a host cluster of its own."""
        image = self.create(refcount_bits=1)
        self.io(image, "write -q -c -P 3 0 64k", "write -q -c -P 1 64k 64k")
        for width in (2, 1, 16):
            self.amended_keeping_content(image, flags=CONTENT, refcount_bits=width)

    def test_the_highest_counts_that_64_bits_have(self):
        """A leak of so many references stays one, in a width of fewer too, or is freed."""
        for value in (1 << 63, (1 << 64) - 1):
            image = self.create(refcount_bits=64)
            self.io(image, "write -q -P 5 0 512")
            place, entry = self.first_entry(image)
            qcow2.set_refcount(image, (entry & qcow2.L2_OFFSET) // (64 * KIB), value)
            qcow2.patch_u64(image, place, entry & ~qcow2.COPIED)
            self.assertEqual(guest.check(image)[:3], (3, 0, 1))
            self.assertEqual(qbatch.qbatch("check", image).code, 3)
            freed = self.copy(image, "freed.qcow2")
            for request in ({"size": "200M"}, {"refcount_bits": 32}, {"refcount_bits": 2}):
                self.amended(image, flags=CONTENT, **request)
                self.assertEqual(guest.check(image)[:3], (3, 0, 1))
            self.io(image, "write -q -P 6 0 512")
            self.assert_reads(image, 0, 512, 6)
            self.amended(freed, flags=("--on-leaks", "free"), refcount_bits=1)
            self.assert_sound(freed)
            self.assert_reads(freed, 0, 512, 5)

    def test_blocks_that_fill_up_with_their_own_counts(self):
        """One block of 64-bit counts has 64 of 512-byte clusters: each total around that is tried."""
        for clusters in range(54, 64):
            image = self.create(size="64k", refcount_bits=1, cluster_size=512)
            self.io(image, f"write -q -P 9 0 {clusters * 512}")
            self.amended_keeping_content(image, refcount_bits=64)
            self.amended_keeping_content(image, refcount_bits=8)


class SnapshotTables(ImageTest):
    """261: extra data that is missing, that nobody knows, and that is too much; tables that are too long."""

    UNKNOWN = struct.pack(">QQQ", 0, 8 * MIB, 0) + b"very important data".ljust(26, b"\0")
    EXTRAS = [b"", UNKNOWN, bytes(8)]

    def old(self):
        image = self.create(size="8M", compat="0.10")
        for i in range(3):
            self.io(image, f"write -q -P {i + 1} {i}M 1M")
            self.snapshot(image, f"sn{i}")
        qcow2.rewrite_snapshots(image, self.EXTRAS)
        self.assert_sound(image)
        return image

    def botched(self):
        """Version 3 by its header alone."""
        image = self.old()
        qcow2.patch_header(image, version=3, header_length=104, refcount_order=4)
        self.assertEqual(guest.check(image)[:2], (2, 2))
        return image

    def extras(self, image):
        found = qcow2.load(image)
        return {s.name: found.data[s.offset + 40:s.offset + 40 + s.extra_size] for s in found.snapshots()}

    def assert_complete(self, image, disk=8 * MIB):
        """With all of UNKNOWN, and of others the VM state's and the disk's size."""
        known = struct.pack(">QQ", 0, disk)
        self.assertEqual({n: e if n == "sn1" else e[:16] for n, e in self.extras(image).items()},
                         {n: self.UNKNOWN if n == "sn1" else known for n in self.extras(image)})
        self.assert_sound(image)
        self.assertEqual(qbatch.qbatch("check", image).code, 0)

    def test_an_upgrade_completes_them(self):
        for request in ({}, {"size": "12M"}, {"refcount_bits": 64}, {"lazy_refcounts": "on"}):
            image = self.old()
            self.amended_keeping_content(image, flags=CONTENT, compat="1.1", **request)
            self.assert_complete(image)
            self.snapshot(image, "new")
            self.assert_sound(image)

    def test_version_2_keeps_them_as_they_are(self):
        for request in ({"size": "8M", "backing_file": ""}, {"repair": "all"}, {"snapshots.delete": "sn0"}):
            image = self.old()
            before = self.extras(image)
            answer = qbatch.amend(image, **request)
            self.assertEqual(answer.code, 0, str(answer))
            for name, extra in self.extras(image).items():
                self.assertEqual(extra, before[name])
            self.assert_sound(image)

    def test_what_is_missing_in_version_3_is_found_and_completed(self):
        for request in ({"repair": "all"}, {"repair": "leaks"}, {"size": "12M"}, {"size": "4M"}, {"refcount_bits": 8}):
            with self.subTest(**request):
                image = self.botched()
                checked = qbatch.qbatch("check", "--json", image)
                self.assertEqual((checked.code, checked.first["corruptions"]), (2, 2), str(checked))
                self.amended_keeping_content(image, shrink=True, flags=CONTENT, **request)
                self.assert_complete(image)

    def test_any_of_them_goes(self):
        for image in (self.old, self.botched):
            for name in ("sn0", "sn1", "sn2"):
                one = image()
                layers = guest.read_all(one)
                del layers[f"snapshot {name}"]
                self.amended(one, flags=CONTENT, **{"snapshots.delete": name})
                self.assert_sound(one)
                self.assert_same_layers(layers, guest.read_all(one))

    def assert_unreadable(self, image, *codes):
        self.assertTrue(guest.check(image)[0])
        checked = qbatch.qbatch("check", "--json", image)
        self.assertFalse(checked.crashed)
        self.assertNotIn(checked.code, (0, 3), str(checked))
        for request in ({"refcount_bits": 64}, {"repair": "all"}, {"snapshots.delete": "*"}, {"size": "12M"}):
            self.refused(image, *codes, **request)

    def test_too_much_extra_data(self):
        image = self.old()
        self.amended(image, compat="1.1")
        last = qcow2.load(image).snapshots()[-1]
        for extra in (1025, 64 * KIB, (1 << 32) - 1):
            qcow2.patch(image, last.offset + 36, struct.pack(">I", extra))
            self.assert_unreadable(image, "corrupt")

    def test_a_table_that_is_too_long(self):
        """Entries of 132 KiB, almost all of it a hole, up to one past 64 MiB, which is the limit of QEMU."""
        image = self.create(size="8M")
        head = struct.pack(">QIHHIIQII", 0, 0, 65535, 65535, 0, 0, 0, 0, 1024)
        step, count = 40 + 1024 + 2 * 65535 + 2, 0
        with open(image, "r+b") as f:
            while count * step <= 64 * MIB:
                f.seek(MIB + count * step)
                f.write(head)
                count += 1
            f.truncate(MIB + count * step)
        qcow2.patch_header(image, snapshots_offset=MIB, nb_snapshots=count)
        self.assert_unreadable(image, "corrupt")

    def test_too_many_snapshots(self):
        """In version 2 zeros are valid entries."""
        image = self.create(size="8M", compat="0.10")
        os.truncate(image, MIB + 40 * (1 << 17))
        qcow2.patch_header(image, snapshots_offset=MIB, nb_snapshots=1 << 17)
        self.assert_unreadable(image)


if __name__ == "__main__":
    main()
