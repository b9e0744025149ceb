"""Header extensions as others may have written them: whatever QEMU opens, it opens amended as well,
with the same extensions; what it refuses is refused, and so is what cannot be kept readable."""
import json
import struct

import context  # noqa: F401
import proc
import qbatch
import qcow2
from fixture import ImageTest, main

UNKNOWN, END, FORMAT = 0x12345678, 0, qcow2.EXT_BACKING_FORMAT
AMENDS = ({"lazy_refcounts": "on"}, {"size": "2M"}, {"compat": "0.10"}, {"refcount_bits": 32},
          {"backing_file": "other.raw"}, {"backing_file": "other.raw", "backing_fmt": "raw"},
          {"backing_file": "x" * 150}, {"backing_file": "x" * 1000}, {"backing_file": ""})


def extension(kind, data=b"", length=None, padding=b"\0"):
    head = struct.pack(">II", kind, len(data) if length is None else length)
    return head + data + padding * (-len(data) % 8)


class HeaderExtensions(ImageTest):
    def image(self, area, name=None, name_at=None, **options):
        """An image of these bytes of extensions; `name_at` counts from their end."""
        path = self.create(**options)
        with open(path, "r+b") as f:
            head = bytearray(f.read(1 << 16))
            first, cluster = struct.unpack_from(">I", head, 100)[0], 1 << head[23]
            head[first:cluster] = bytes(cluster - first)
            head[first:first + len(area)] = area
            if name:
                at = first + len(area) + (name_at or 0)
                head[at:at + len(name)] = name
                struct.pack_into(">QI", head, 8, at, len(name))
            f.seek(0)
            f.write(head[:cluster])
        return path

    def info(self, path):
        done = proc.run(["qemu-img", "info", "-U", "--output=json", path])
        return json.loads(done.out) if done.code == 0 else None

    def unknown(self, path):
        return [e.data for e in qcow2.load(path).extensions() if e.type == UNKNOWN]

    def try_all(self, *args, least=0, **options):
        """How many of the amends there were."""
        self.raw("other.raw", "1M")
        self.raw("base.raw", "1M")
        amended = 0
        original = self.image(*args, **options)
        before = self.info(original)
        for request in AMENDS:
            with self.subTest(request):
                image = self.copy(original, "copy.qcow2")
                sha = proc.sha256(image)
                answer = qbatch.amend(image, cwd=self.folder, **request)
                self.assertFalse(answer.crashed, str(answer))
                after = self.info(image)
                if answer.status == "failed":
                    self.assertEqual(proc.sha256(image), sha)
                    continue
                self.assertIsNotNone(before, f"QEMU refuses it, qbatch does not: {answer}")
                self.assertIsNotNone(after, f"QEMU cannot open what qbatch made: {answer}")
                self.assertEqual(self.unknown(image), self.unknown(original))
                named = request.get("backing_file", before.get("backing-filename", ""))
                self.assertEqual(after.get("backing-filename", ""), named)
                amended += answer.status == "changed"
        self.assertGreaterEqual(amended, least)
        return amended

    def test_an_end_marker_with_a_length(self):
        for length in (1, 8, 500, 4000, (1 << 16) - 112 - 24 - 8):
            with self.subTest(length):
                self.try_all(extension(UNKNOWN, b"12345678") + extension(END, length=length), least=8)

    def test_an_end_marker_with_a_length_before_a_backing_name(self):
        for length in (1, 64, 2000):
            with self.subTest(length):
                self.try_all(extension(UNKNOWN, b"1234567") + extension(END, length=length),
                             b"base.raw", 2048, least=9)

    def test_an_end_marker_whose_length_crosses_the_end_is_refused_as_qemu_does(self):
        area = extension(UNKNOWN, b"12345678")
        for length in ((1 << 16) - 112 - 16 - 8 + 1, 0x7fffffff, 0xffffffff):
            self.assertEqual(self.try_all(area + extension(END, length=length)), 0)
        self.assertEqual(self.try_all(area + extension(END, length=9), b"base.raw", 8), 0)
        self.assertEqual(self.try_all(area + extension(END, length=1), b"base.raw", 0), 0)

    def test_an_end_marker_past_the_first_sector(self):
        area = extension(UNKNOWN, bytes(range(200)) * 3)
        least = self.try_all(area + extension(END), least=5)
        self.assertLess(self.try_all(area + extension(END, length=100)), least)
        self.try_all(area + extension(END, length=100), b"base.raw", 3000, least=2)

    def test_several_end_markers_and_padding_that_is_not_zero(self):
        area = extension(UNKNOWN, b"123", padding=b"\xff") + extension(END, length=24)
        self.try_all(area + extension(UNKNOWN, b"not one") + extension(END), least=8)
        self.try_all(extension(FORMAT, b"raw", padding=b"\xee") + area, b"base.raw", 32, least=8)

    def test_a_list_that_stops_without_an_end_marker(self):
        area = extension(UNKNOWN, b"12345678")
        self.try_all(area, b"base.raw", least=8)
        for left in range(1, 8):
            with self.subTest(left):
                self.assertEqual(self.try_all(area, b"base.raw", left), 0)
        full = extension(UNKNOWN, bytes(512 - 112 - 8))  # up to the last byte of the cluster
        self.try_all(full, cluster_size=512, least=2)
        self.try_all(full[:-8] + extension(END), cluster_size=512)
        self.assertEqual(self.try_all(extension(UNKNOWN, length=512 - 112 - 7), cluster_size=512), 0)

    def test_a_backing_format_that_qemu_has_no_room_for(self):
        for fmt, status in (("snapshot-access", "changed"), ("copy-before-write", "failed")):  # 15, 17 bytes
            image = self.create(f"{fmt}.qcow2")
            answer = qbatch.amend(image, cwd=self.folder, backing_file="b", backing_fmt=fmt)
            self.assertEqual(answer.status, status, str(answer))
            self.assertIsNotNone(self.info(image))


if __name__ == "__main__":
    main()
