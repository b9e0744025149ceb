"""compat=1.1: version 3 says more, and finds room for it."""
import context  # noqa: F401
import guest
import proc
import qcow2
from fixture import ImageTest, main


class Upgrade(ImageTest):
    def test_an_old_image_becomes_version_3_with_all_its_content(self):
        image = self.create(compat="0.10")
        self.io(image, "write -q -P 1 0 64k", "write -q -c -P 2 64k 64k")
        self.snapshot(image, "s")
        self.io(image, "write -q -P 3 0 64k")
        self.amended_keeping_content(image, compat="1.1")
        data = guest.info(image)["format-specific"]["data"]
        self.assertEqual((data["compat"], data["refcount-bits"]), ("1.1", 16))

    def test_snapshots_without_extra_data_get_it(self):
        image = self.create(compat="0.10")
        self.io(image, "write -q -P 1 0 64k")
        self.snapshot(image, "bare")
        strip_extra_data(image)
        self.assertEqual(qcow2.load(image).snapshots()[0].extra_size, 0)
        self.amended_keeping_content(image, compat="1.1")
        snapshot = qcow2.load(image).snapshots()[0]
        self.assertGreaterEqual(snapshot.extra_size, 16)
        self.assertEqual((snapshot.name, snapshot.disk_size), ("bare", 1 << 20))

    def test_a_backing_name_that_fills_the_sector_still_fits_somewhere(self):
        for cluster_size, length in ((512, 250), (512, 330), (4096, 1000), (65536, 1023)):
            with self.subTest(cluster_size=cluster_size, length=length):
                name = "b" * length
                image = self.create(f"{cluster_size}-{length}.qcow2", compat="0.10",
                                    cluster_size=cluster_size)
                proc.must(["qemu-img", "rebase", "-u", "-b", name, "-F", "raw", image])
                self.amended(image, compat="1.1")
                self.assertEqual(qcow2.load(image).backing_file, name)
                self.assertEqual(qcow2.load(image).extension(qcow2.EXT_BACKING_FORMAT), b"raw")
                self.assert_metadata_sound_without_backing(image)

    def assert_metadata_sound_without_backing(self, image):
        copy = self.copy(image, "check-me.qcow2")
        proc.must(["qemu-img", "rebase", "-u", "-b", "", copy])
        self.assert_sound(copy)

    def test_unknown_extensions_are_kept_word_for_word(self):
        image = self.create(compat="0.10")
        qcow2.patch(image, 72, b"\x12\x34\x56\x78\x00\x00\x00\x0bhello there" + b"\0" * 13)
        self.amended(image, compat="1.1")
        self.assertEqual(qcow2.load(image).extension(0x12345678), b"hello there")
        self.assert_sound(image)

    def test_unknown_extensions_that_do_not_fit_the_sector_are_refused_not_lost(self):
        image = self.create(compat="0.10")
        body = bytes(range(256)) + b"\x07" * 172
        qcow2.patch(image, 72, b"\x12\x34\x56\x78" + len(body).to_bytes(4, "big") + body + b"\0" * 8)
        found = qcow2.load(image)
        self.assertEqual(found.extension(0x12345678), body)
        answer = self.refused(image, "header_full", compat="1.1")
        self.assertEqual(answer["error"]["code"], "header_full")

    def test_upgrade_and_lazy_refcounts_and_width_go_in_one_request(self):
        image = self.create(compat="0.10")
        self.io(image, "write -q -P 1 0 64k")
        self.amended_keeping_content(image, compat="1.1", lazy_refcounts="on", refcount_bits=64)
        data = guest.info(image)["format-specific"]["data"]
        self.assertEqual((data["lazy-refcounts"], data["refcount-bits"]), (True, 64))

    def test_a_version_2_image_with_snapshots_can_be_upgraded_and_resized_at_once(self):
        image = self.create(compat="0.10")
        self.io(image, "write -q -P 1 0 1M")
        self.snapshot(image, "s")
        self.amended_keeping_content(image, compat="1.1", size=3 << 20)


def strip_extra_data(image):
    """Rewrites the one snapshot entry as QEMU before 1.7 would have."""
    found = qcow2.load(image)
    at, extra = found.snapshots_offset, found.snapshots()[0].extra_size
    names = found.data[at + 40 + extra:at + 40 + extra + 64]
    qcow2.patch(image, at + 36, b"\0\0\0\0" + names)


if __name__ == "__main__":
    main()
