"""compression_type: a byte of the header, on images in which nothing is compressed."""
import context  # noqa: F401
import guest
import qcow2
from fixture import ImageTest, main

CONTENT = ("--verify", "content")
UNKNOWN = 0x76617465  # XCP-ng's extension


def type_of(image):
    return guest.info(image)["format-specific"]["data"]["compression-type"]


class CompressionType(ImageTest):
    def image(self, **options):
        image = self.create(**options)
        self.io(image, "write -q -P 1 0 300k", "write -q -z 64k 64k")
        self.snapshot(image, "s")
        self.io(image, "write -q -P 2 0 64k", "discard -q 128k 64k")
        return image

    def rest_of(self, image):
        with open(image, "rb") as f:
            return f.read()[512:]

    def test_there_and_back_and_only_the_header_is_written(self):
        image = self.image()
        rest = self.rest_of(image)
        for kind in ("zstd", "zlib"):
            record = self.amended_keeping_content(image, flags=CONTENT, compression_type=kind)
            self.assertEqual([(c["key"], c["to"]) for c in record["changes"]],
                             [("compression_type", kind)])
            self.assertEqual(record["io"]["write_bytes"], 512)
            self.assertEqual(type_of(image), kind)
            self.amended(image, status="unchanged", compression_type=kind)
        self.assertEqual(self.rest_of(image), rest)

    def test_qemu_compresses_in_the_new_way_afterwards(self):
        image = self.image()
        self.amended(image, compression_type="zstd")
        self.io(image, "write -q -c -P 9 512k 64k")
        self.assert_reads(image, 512 << 10, 64 << 10, 9)
        self.assert_sound(image)
        refusal = self.refused(image, "unsupported", compression_type="zlib")
        self.assertIn("guest byte 524288 of the active layer", refusal["error"]["message"])
        self.refused(image, "unsupported", compat="0.10", words="guest byte 524288")

    def test_a_compressed_cluster_that_only_a_snapshot_has_is_found(self):
        for kind, other in (("zlib", "zstd"), ("zstd", "zlib")):
            image = self.create(f"{kind}.qcow2", compression_type=kind)
            self.io(image, "write -q -c -P 1 64k 64k")
            self.snapshot(image, "s")
            self.io(image, "write -q -P 2 64k 64k")
            self.refused(image, "unsupported", compression_type=other,
                         words="guest byte 65536 of a snapshot")

    def test_going_down_includes_zlib(self):
        image = self.image(compression_type="zstd")
        for request in ({}, {"compression_type": "zlib"}):
            one = self.copy(image, "one.qcow2")
            self.amended_keeping_content(one, flags=CONTENT, compat="0.10", **request)
            self.assertEqual(qcow2.load(one).version, 2)
        self.refused(image, "refused", compat="0.10", compression_type="zstd")

    def test_up_and_zstd_and_everything_else_in_one_commit(self):
        image = self.image(compat="0.10")
        self.refused(image, "refused", compression_type="zstd", words="compat=1.1")
        self.amended_keeping_content(image, flags=CONTENT, compat="1.1", compression_type="zstd",
                                     refcount_bits=64, lazy_refcounts="on", size=3 << 20)
        self.assertEqual(type_of(image), "zstd")

    def test_a_header_of_104_bytes_and_what_nobody_knows(self):
        image = self.image()
        found = qcow2.load(image)
        head = bytearray(found.data[:512])
        body = UNKNOWN.to_bytes(4, "big") + (8).to_bytes(4, "big") + b"\1\2\3\4\5\6\7\10"
        head[100:104] = (104).to_bytes(4, "big")
        head[104:512] = (body + bytes(8)).ljust(408, b"\0")
        head[80:88] = (1 << 41).to_bytes(8, "big")  # an unknown compatible feature
        qcow2.patch(image, 0, bytes(head))
        self.amended_keeping_content(image, flags=CONTENT, compression_type="zstd")
        found = qcow2.load(image)
        self.assertEqual(found.extension(UNKNOWN), b"\1\2\3\4\5\6\7\10")
        self.assertEqual((found.data[100:104], found.data[104]), ((112).to_bytes(4, "big"), 1))
        self.assertEqual(found.compatible_features, 1 << 41)
        self.amended_keeping_content(image, flags=CONTENT, compression_type="zlib")
        self.assertEqual(qcow2.load(image).extension(UNKNOWN), b"\1\2\3\4\5\6\7\10")


if __name__ == "__main__":
    main()
