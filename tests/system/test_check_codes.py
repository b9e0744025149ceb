"""Every kind of damage that `qbatch check` finds has its code, and a sound image has none."""
import json
import os
import struct

import context  # noqa: F401
import bitmaps
import guest
import proc
import qbatch
import qcow2
from fixture import KIB, MIB, ImageTest, main

CLUSTER = 64 * KIB
RESERVED = 1 << 60
SECRET = ["--object", "secret,id=s,data=x"]
DEFECTS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../engine/check/defects.def")


class Damaged(ImageTest):
    def image(self, **options):
        image = self.create(size="8M", **options)
        self.io(image, "write -q -P 1 0 256k", "write -q -c -P 2 1M 64k")
        return image

    def check(self, image, *options):
        answer = qbatch.qbatch("check", "--json", *options, image, cwd=self.folder)
        self.assertFalse(answer.crashed, str(answer))
        return answer.first

    def codes(self, image, *options):
        return self.check(image, *options)["findings_by_code"]


def l2_place(image, offset=0):
    return qcow2.load(image).l2_entry_offset(offset)


def spoil(place, change):
    """A damage: the entry at the place is changed."""
    def damage(image):
        at = place(qcow2.load(image))
        qcow2.patch_u64(image, at, change(qcow2.load(image).u64(at)))
    return damage


def l1(found):
    return found.l1_table_offset


def l2(found):
    return found.l2_entry_offset(0)


def compressed(found):
    return found.l2_entry_offset(MIB)


def reftable(found):
    return found.refcount_table_offset


def first_cluster(image):
    found = qcow2.load(image)
    return (found.u64(l2(found)) & qcow2.L2_OFFSET) // CLUSTER


# (code, its number of findings, damage, whether `qemu-img check` counts as many corruptions)
DAMAGES = (
    ("cluster_leaked", 2, lambda image: [qcow2.append_cluster(image, b"leak") for _ in range(2)], True),
    ("refcount_too_low", 1, lambda image: qcow2.set_refcount(image, first_cluster(image), 0), True),
    ("copied_flag_wrong", 1, spoil(l2, lambda entry: entry & ~qcow2.COPIED), True),
    ("metadata_overlap", 1, lambda image: qcow2.patch_u64(image, l2_place(image), qcow2.COPIED | l2_place(image)), False),
    ("refcount_entry_reserved", 1, spoil(reftable, lambda entry: entry | 1), False),
    ("refcount_block_invalid", 1, spoil(reftable, lambda entry: entry + 512), False),
    ("l1_entry_reserved", 1, spoil(l1, lambda entry: entry | RESERVED), False),
    ("l1_entry_unaligned", 1, spoil(l1, lambda entry: entry + 512), False),
    ("l1_entry_past_end", 1, spoil(l1, lambda entry: entry + (1 << 40)), False),
    ("l2_entry_reserved", 1, spoil(l2, lambda entry: entry | RESERVED), False),
    ("l2_entry_unaligned", 1, spoil(l2, lambda entry: entry + 512), False),
    ("l2_entry_past_end", 1, spoil(l2, lambda entry: entry + (1 << 40)), False),
    ("compressed_copied", 1, spoil(compressed, lambda entry: entry | qcow2.COPIED), True),
    ("compressed_past_end", 1, spoil(compressed, lambda entry: entry + (1 << 40)), False),
    ("marked_corrupt", 1, lambda image: qcow2.patch(image, 79, bytes([qcow2.INCOMPAT_CORRUPT])), False),
)


def counted(found):
    """The findings of a check that are no signs."""
    signs = {f["code"] for f in found["findings"] if f["kind"] == "sign"}
    return sum(n for code, n in found["findings_by_code"].items() if code not in signs)


# Those for which the texts name `repair=all`: it mends them.
MENDED = {"cluster_leaked", "refcount_too_low", "copied_flag_wrong", "refcount_entry_reserved", "refcount_block_invalid",
          "marked_corrupt"}


class Codes(Damaged):
    def test_a_sound_image_has_none(self):
        for options in ({}, {"compat": "0.10"}, {"extended_l2": "on"}):
            image = self.image(**options)
            self.snapshot(image, "one")
            self.assertEqual(self.codes(image), {})

    def test_each_damage_has_its_code(self):
        for code, n, damage, as_qemu in DAMAGES:
            with self.subTest(code):
                image = self.image()
                damage(image)
                found = self.check(image)
                self.assertEqual(found["findings_by_code"].get(code), n, str(found["findings_by_code"]))
                kinds = {f["kind"] for f in found["findings"] if f["code"] == code}
                self.assertEqual(kinds, {"leak" if code == "cluster_leaked" else "corruption"})
                self.assertEqual(counted(found), found["corruptions"] + found["leaks"])
                if as_qemu:
                    self.assertEqual(guest.check(image)[1:3], (found["corruptions"], found["leaks"]))
                self.assertEqual("-o repair" in qbatch.qbatch("explain", code).result.out, code in MENDED)
                if code in MENDED:
                    self.assertEqual(qbatch.amend(image, repair="all").status, "changed")
                    self.assertEqual(self.codes(image), {})

    def test_subclusters(self):
        image = self.image(extended_l2="on")
        qcow2.patch_u64(image, l2_place(image) + 8, 1 << 32 | 1)
        self.assertEqual(self.codes(image), {"l2_subclusters_invalid": 1})

    def test_zero_clusters_in_version_2(self):
        image = self.create(size="8M")
        self.io(image, "write -q -z 0 64k")
        qcow2.patch(image, 7, b"\2")
        self.assertEqual(self.codes(image), {"zero_cluster_in_version_2": 1})

    def test_snapshots_without_a_disk_size(self):
        image = self.create(compat="0.10")
        self.snapshot(image, "one")
        qcow2.rewrite_snapshots(image, [b""])
        qcow2.patch_header(image, version=3, header_length=104, refcount_order=4)
        self.assertEqual(self.codes(image), {"snapshot_without_disk_size": 1})

    def test_data_files(self):
        image = self.create(size="8M", data_file=self.path("data"))
        self.io(image, "write -q -P 1 0 256k")
        self.assertEqual(self.codes(image), {})
        os.truncate(self.path("data"), CLUSTER)
        self.assertEqual(self.codes(image), {"data_file_too_short": 1})
        os.truncate(self.path("data"), 8 * MIB)
        spoil(l2, lambda entry: entry + CLUSTER)(image)
        self.assertEqual(self.codes(image), {"data_misplaced": 1})
        qcow2.patch_u64(image, l2_place(image), qcow2.COMPRESSED | 5 * CLUSTER)
        self.assertEqual(self.codes(image), {"compressed_with_data_file": 1})
        os.unlink(self.path("data"))
        os.link(image, self.path("data"))
        self.assertIn("data_file_is_image", self.codes(image))

    def test_bitmaps(self):
        image = self.image()
        bitmaps.qemu(image, ["--add", "b"])
        directory = struct.unpack(">Q", qcow2.load(image).extension(0x23852875)[16:24])[0]
        qcow2.patch_u64(image, directory, 512)
        self.assertEqual(self.codes(image).get("bitmap_invalid"), 1)

    def test_bitmaps_that_qemu_does_not_open(self):
        """What the directory says of a bitmap, and of its own length, is held against what QEMU demands."""
        original = self.image()
        for name in ("one", "two"):
            bitmaps.qemu(original, ["--add", name])
        self.assertEqual(self.codes(original), {})
        first, second = bitmaps.directory(original)
        extension = next(e for e in qcow2.load(original).extensions() if e.type == qcow2.EXT_BITMAPS)
        for what, at, value in (("type", second.at + 16, b"\2"), ("granularity", second.at + 17, b"\7"),
                                ("granularity", second.at + 17, b"\x20"), ("flags", second.at + 12, b"\x80"),
                                ("a table that is longer", second.at + 11, bytes([second.entries + 1])),
                                ("two of one name", first.at + 24, b"two"),
                                ("a name of none", second.at + 18, bytes(2)),
                                ("a directory without padding", extension.offset + 15, bytes([extension.data[15] - 1])),
                                ("a shorter directory", extension.offset + 8, struct.pack(">Q", 56))):
            with self.subTest(what):
                image = self.copy(original, "odd.qcow2")
                with open(image, "r+b") as f:
                    f.seek(at)
                    f.write(value)
                self.assertNotEqual(proc.run(["qemu-img", "info", image]).code, 0)
                self.assertEqual(self.codes(image).get("bitmap_invalid"), 1)
                self.assertEqual(qbatch.qbatch("check", image).code, 2)

    def test_luks_headers(self):
        image = self.create(size="8M", flags=SECRET, **{"encrypt.format": "luks", "encrypt.key-secret": "s",
                                                         "encrypt.iter-time": 10})
        self.assertEqual(self.codes(image), {})
        extension = next(e for e in qcow2.load(image).extensions() if e.type == 0x0537be77)
        length = struct.unpack(">Q", extension.data[8:16])[0]
        qcow2.patch_u64(image, extension.offset + 8, 1 << 40)
        self.assertEqual(self.codes(image)["luks_header_invalid"], 1)
        qcow2.patch_u64(image, extension.offset + 8, length)
        qcow2.patch_u64(image, extension.offset, 1 << 40)
        self.assertEqual(self.codes(image)["metadata_past_end"], 1)

    def test_key_material_is_never_freed_as_a_leak(self):
        """What a wrong pointer to the LUKS header misses looks like leaks, and the disk is lost without it."""
        image = self.create(size="8M", flags=SECRET, **{"encrypt.format": "luks", "encrypt.key-secret": "s",
                                                         "encrypt.iter-time": 10})
        extension = next(e for e in qcow2.load(image).extensions() if e.type == 0x0537be77)
        place, _ = struct.unpack(">QQ", extension.data)
        free = os.path.getsize(image) // 65536 * 65536
        proc.must(["truncate", "-s", str(free + 65536), image])
        for offset, size in (place, 65536), (place, 592), (place, 100), (place, 0), (free, 65536):
            with self.subTest(offset=offset, size=size):
                qcow2.patch(image, extension.offset, struct.pack(">QQ", offset, size))
                self.assertEqual(self.codes(image)["luks_header_invalid"], 1)
                self.refused(image, "corrupt", words="LUKS header", repair="all")
                self.refused(image, "corrupt", words="LUKS header", flags=["--on-leaks", "free"], refcount_bits=64)
        with self.subTest("lengths whose sum is too large for any number"):
            with open(image, "rb") as f:
                f.seek(place)
                header = f.read(592)
            wrong = bytearray(header)
            wrong[108:112] = b"\xff" * 4  # the length of keys
            for slot in range(8):
                wrong[208 + 48 * slot + 40:208 + 48 * slot + 48] = struct.pack(">II", 1 << 24, 0xffffffff)
            qcow2.patch(image, extension.offset, struct.pack(">QQ", place, 65536))
            qcow2.patch(image, place, bytes(wrong))
            self.refused(image, "corrupt", words="LUKS header", repair="all")
            qcow2.patch(image, place, header)
        qcow2.patch(image, extension.offset, extension.data)
        self.amended(image, status="unchanged", repair="all", flags=["--on-leaks", "free"])
        self.assertEqual(self.codes(image), {})


class Bounds(Damaged):
    def test_one_code_does_not_crowd_out_another(self):
        image = self.create(size="32M", cluster_size=4096)
        self.io(image, "write -q -P 1 0 16M")
        for i in range(300):
            qcow2.patch_u64(image, l2_place(image, i * 4096), RESERVED | qcow2.COPIED | i * 3 % 301 * 4096)
        qcow2.patch(image, 79, bytes([qcow2.INCOMPAT_CORRUPT]))
        found = self.check(image)
        listed = {}
        for f in found["findings"]:
            listed.setdefault(f["code"], []).append(f.get("count", 1))
        self.assertEqual(len(listed["l2_entry_reserved"]), 100)
        self.assertEqual(listed["marked_corrupt"], [1])
        self.assertEqual(found["findings_by_code"]["l2_entry_reserved"], 300)
        self.assertEqual(counted(found), found["corruptions"] + found["leaks"])
        self.assertEqual(sum(found["findings_by_code"].values()), sum(map(sum, listed.values())) + found["findings_left_out"])
        people = qbatch.qbatch("check", image).result.out
        self.assertEqual(people.count("has reserved bits set"), 20)
        self.assertIn("the image is marked corrupt", people)
        self.assertRegex(people, r"(?m)^By code: .*l2_entry_reserved 300, .*marked_corrupt 1; qbatch explain CODE")


class WithoutLocks(Damaged):
    def test_what_info_opens_is_checked(self):
        """`-U` of both, for images in use and in every state that an image may be in."""
        backing = self.create("base.qcow2", size="8M")
        spoiled = {
            "in use": lambda image: self.use(image),
            "dirty": lambda image: qcow2.patch(image, 79, b"\1"),
            "marked corrupt": lambda image: qcow2.patch(image, 79, bytes([qcow2.INCOMPAT_CORRUPT])),
            "unknown autoclear bit": lambda image: qcow2.patch(image, 88, b"\x80"),
            "unknown compatible bit": lambda image: qcow2.patch(image, 80, b"\x80"),
            "unknown incompatible bit": lambda image: qcow2.patch(image, 72, b"\x80"),
            "no backing file": lambda image: os.unlink(backing),
            "cut off": lambda image: os.truncate(image, 50),
        }
        opened = set()
        for name, spoil_it in spoiled.items():
            with self.subTest(name):
                image = self.create(name, size="8M", backing=backing if os.path.exists(backing) else None)
                spoil_it(image)
                info = proc.run(["qemu-img", "info", "-U", image])
                answer = qbatch.qbatch("check", "--json", "-U", image)
                self.assertEqual(answer.status != "unchecked", info.code == 0, f"{answer}{info.out}{info.err}")
                self.assertTrue(answer.first["without_locks"])
                opened |= {name} if info.code == 0 else set()
        self.assertEqual(set(spoiled) - opened, {"unknown incompatible bit", "cut off"})


class Explained(ImageTest):
    def test_every_code_is_explained_and_in_the_schema(self):
        with open(DEFECTS, encoding="utf-8") as f:
            names = [line.split(",")[1].strip() for line in f if line.startswith("DEFECT(")]
        self.assertGreater(len(names), 20)
        schema = json.loads(proc.must([qbatch.absolute(qbatch.TOOL), "schema", "report"]))
        check = schema["$defs"]["check"]["properties"]
        self.assertEqual(check["findings"]["items"]["properties"]["code"]["enum"], names)
        self.assertEqual(list(check["findings_by_code"]["properties"]), names)
        listed = qbatch.qbatch("explain").result.out
        for name in names:
            self.assertIn(f"\n{name} ", listed)
            done = qbatch.qbatch("explain", name)
            self.assertEqual(done.code, 0)
            for part in (f"{name} (a finding", "what it is", "what it means", "what to do"):
                self.assertIn(part, done.result.out)
            self.assertLess(max(map(len, done.result.out.splitlines())), 93)
        near = qbatch.qbatch("explain", "refcount-too-low")
        self.assertEqual((near.code, near.result.out), (2, ""))
        self.assertIn("did you mean refcount_too_low?", near.result.err)


if __name__ == "__main__":
    main()
