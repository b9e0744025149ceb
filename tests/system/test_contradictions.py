"""Headers whose parts contradict each other: what QEMU does not open is not amended, and has its findings."""
import struct

import context  # noqa: F401
import guest
import proc
import qbatch
import qcow2
from fixture import MIB, ImageTest, main

EXT_LUKS, EXT_BITMAPS = 0x0537BE77, 0x23852875
RAW, BITMAPS = 2, 1  # autoclear features
AES, LUKS = 1, 2
CLUSTER = 65536
POINTER = struct.pack(">QQ", 4 * CLUSTER, CLUSTER)


def bitmaps(number, reserved=0, size=32, offset=4 * CLUSTER):
    return struct.pack(">IIQQ", number, reserved, size, offset)


# (fields of the header, extensions, words of the refusal)
CASES = {
    "a raw data file, and no data file": ({"autoclear_features": RAW}, [], "said to be raw, and there is none"),
    "the same with a name": ({"autoclear_features": RAW}, [(0x44415441, b"disk.raw")],
                             "said to be raw, and there is none"),
    "LUKS without its header": ({"crypt_method": LUKS}, [], "nothing points to a LUKS header"),
    "a LUKS header without encryption": ({}, [(EXT_LUKS, POINTER)], "encryption method is none"),
    "a LUKS header, and AES": ({"crypt_method": AES}, [(EXT_LUKS, POINTER)], "encryption method is AES"),
    "half a pointer to the LUKS header": ({"crypt_method": LUKS}, [(EXT_LUKS, POINTER[:8])], "8 bytes instead of 16"),
    "half a pointer before a whole one": ({"crypt_method": LUKS}, [(EXT_LUKS, POINTER[:8]), (EXT_LUKS, POINTER)],
                                          "8 bytes instead of 16"),
    "a LUKS header between clusters": ({"crypt_method": LUKS}, [(EXT_LUKS, struct.pack(">QQ", 512, CLUSTER))],
                                       "not cluster aligned"),
    "half a bitmaps extension": ({"autoclear_features": BITMAPS}, [(EXT_BITMAPS, bitmaps(1)[:16])],
                                 "16 bytes instead of 24"),
    "half a bitmaps extension that is out of date": ({}, [(EXT_BITMAPS, bitmaps(1)[:16])], "16 bytes instead of 24"),
    "a bitmaps extension with something more": ({"autoclear_features": BITMAPS}, [(EXT_BITMAPS, bitmaps(1, 7))],
                                                "reserved field"),
    "a directory between clusters": ({"autoclear_features": BITMAPS}, [(EXT_BITMAPS, bitmaps(1, offset=512))],
                                     "1 bitmaps cannot be"),
    "a directory of 65 MiB": ({"autoclear_features": BITMAPS}, [(EXT_BITMAPS, bitmaps(1, size=65 << 20))],
                              "1 bitmaps cannot be"),
    "no bitmaps in the extension": ({"autoclear_features": BITMAPS}, [(EXT_BITMAPS, bitmaps(0))], "0 bitmaps"),
}


class Contradictions(ImageTest):
    def make(self, fields, extensions):
        image = self.create(size="4M")
        area = b"".join(struct.pack(">II", kind, len(data)) + data + b"\0" * (-len(data) % 8)
                        for kind, data in extensions)
        qcow2.patch_header(image, **fields)
        qcow2.patch(image, qcow2.load(image).header_length, area + bytes(8))
        return image

    def refused(self, image, words, *command):
        with open(image, "rb") as f:
            old = f.read()
        answer = qbatch.qbatch(*command, "--json", image)
        self.assertNotEqual(answer.code, 0, str(answer))
        self.assertIn(words, str(answer))
        with open(image, "rb") as f:
            self.assertEqual(f.read(), old)

    def test_what_qemu_does_not_open_is_not_amended(self):
        for name, (fields, extensions, words) in CASES.items():
            with self.subTest(name):
                image = self.make(fields, extensions)
                self.assertNotEqual(proc.run(["qemu-img", "resize", image, "8M"]).code, 0, name)
                for request in ("size=8M", "lazy_refcounts=on", "compat=0.10"):
                    self.refused(image, words, "amend", "-o", request)
                self.refused(image, words, "check")

    def test_a_bitmaps_extension_that_cannot_be_is_found_and_removed(self):
        for name, (fields, extensions, words) in CASES.items():
            if "director" not in name and "bitmaps" not in name:
                continue
            for request in (["repair=bitmaps"], ["bitmaps.remove=*"], ["repair=all", "size=8M"],
                            ["repair=bitmaps", "bitmaps.add.0.name=new"]):
                with self.subTest(name, request=request):
                    image = self.make(fields, extensions)
                    for level in ("header", "tables", "refcounts"):
                        found = qbatch.qbatch("check", "--level", level, "--json", image)
                        self.assertEqual((found.code, found.first["findings_by_code"]), (2, {"bitmap_invalid": 1}))
                    options = [word for one in request for word in ("-o", one)]
                    self.refused(image, "repair=bitmaps removes it", "amend", "-o", "lazy_refcounts=on")
                    self.refused(image, "keep_undo", "amend", "-o", "keep_undo=on", "--state", self.path("state"), *options)
                    self.assertEqual(qbatch.qbatch("amend", "--json", *options, image).status, "changed")
                    self.assert_sound(image)
                    left = guest.info(image)["format-specific"]["data"].get("bitmaps", [])
                    self.assertEqual([one["name"] for one in left], ["new"] if len(request) > 1 and "add" in request[1] else [])
                    self.amended(image, status="unchanged", repair="bitmaps")

    def test_what_such_an_extension_named_leaks_and_is_freed_on_request(self):
        image = self.create(size="64M")
        proc.must(["qemu-img", "bitmap", "--add", image, "b"])
        self.io(image, "write -q -P 1 0 1M")
        before = guest.read_all(image)
        place = next(e.offset for e in qcow2.load(image).extensions() if e.type == EXT_BITMAPS)
        qcow2.patch(image, place + 4, b"\0\0\0\1")  # what is reserved
        self.assertEqual(guest.check(image)[0], 1)
        kept = self.copy(image, "kept")
        self.amended(kept, repair="bitmaps")
        self.assertEqual(guest.check(kept)[:2], (3, 0))
        self.amended(image, repair="all")
        self.assert_sound(image)
        for one in (image, kept):
            self.assert_same_layers(before, guest.read_all(one))

    def test_what_qemu_opens_is_amended(self):
        stale = [(EXT_BITMAPS, bitmaps(1, 7))]  # of no meaning without the autoclear bit, and then removed
        for fields, extensions in (({}, []), ({"autoclear_features": BITMAPS}, []), ({}, stale),
                                   ({}, [(0x44415441, b"disk.raw")])):
            with self.subTest(fields=fields, extensions=extensions):
                image = self.make(fields, extensions)
                self.assertEqual(proc.run(["qemu-img", "info", image]).code, 0)
                self.amended(image, size=8 * MIB)


if __name__ == "__main__":
    main()
