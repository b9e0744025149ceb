"""Bitmaps, encryption, zstd, extended L2 and external data: kept whole by what does not concern them."""
import os

import context  # noqa: F401
import guest
import proc
import qbatch
import qcow2
from fixture import MIB, ImageTest, main

SECRET = ["--object", "secret,id=s0,data=hunter2"]


class HeaderOnly(ImageTest):
    """Nothing is opened but the image: no passphrase, no data file, no backing file."""

    def check(self, image, *requests):
        for request in requests:
            with self.subTest(**request):
                self.amended(self.copy(image, "one.qcow2"), **request)

    def test_an_external_data_file_need_not_be_there(self):
        image = self.create(data_file=self.path("a.data"))
        os.unlink(self.path("a.data"))
        self.check(image, {"lazy_refcounts": "on"}, {"backing_file": "x", "backing_fmt": "raw"})
        found = qcow2.load(self.path("one.qcow2"))
        self.assertTrue(found.incompatible_features & qcow2.INCOMPAT_DATA_FILE)
        self.assertEqual(found.extension(0x44415441), self.path("a.data").encode())

    def test_no_passphrase_is_needed_for_luks_and_its_extension_survives(self):
        image = self.create(flags=SECRET, **LUKS)
        pointer = qcow2.load(image).extension(qcow2.EXT_LUKS)
        self.check(image, {"lazy_refcounts": "on"}, {"refcount_bits": 64},
                   {"backing_file": "x", "backing_fmt": "raw"})
        self.assertEqual(qcow2.load(self.path("one.qcow2")).extension(qcow2.EXT_LUKS), pointer)

    def test_no_passphrase_is_needed_for_aes(self):
        image = self.create(flags=SECRET, **{"encrypt.format": "aes", "encrypt.key-secret": "s0"})
        self.check(image, {"lazy_refcounts": "on"}, {"refcount_bits": 64})

    def test_extended_l2_images_change_their_header_and_refcounts(self):
        image = self.create(extended_l2="on")
        self.io(image, "write -q -P 1 0 300k", "write -q -z 8k 8k")
        for request in ({"lazy_refcounts": "on"}, {"refcount_bits": 64}, {"size": 2 * MIB}):
            with self.subTest(**request):
                self.amended_keeping_content(self.copy(image, "one.qcow2"), **request)

    def test_zstd_images_change_their_header_and_refcounts(self):
        image = self.create(compression_type="zstd")
        self.io(image, "write -q -c -P 1 0 64k", "write -q -c -P 2 64k 64k")
        for request in ({"lazy_refcounts": "on"}, {"refcount_bits": 64}, {"size": 2 * MIB}):
            with self.subTest(**request):
                self.amended_keeping_content(self.copy(image, "one.qcow2"), **request)
        self.assertEqual(guest.info(self.path("one.qcow2"))["format-specific"]["data"]
                         ["compression-type"], "zstd")


LUKS = {"encrypt.format": "luks", "encrypt.key-secret": "s0", "encrypt.iter-time": 10}


class Encrypted(ImageTest):
    """A host cluster of zeros decrypts to garbage."""

    def image(self, backing=None, **options):
        image = self.create(flags=SECRET, backing=backing, backing_fmt="raw", **options)
        self.encrypted_io(image, "write -q -P 1 0 256k", "write -q -z 0 64k",
                          "write -q -z -u 128k 64k")
        return image

    def encrypted_io(self, image, *commands):
        argv = ["qemu-io", *SECRET, "--image-opts"]
        for command in commands:
            argv += ["-c", command]
        done = proc.run([*argv, f"driver=qcow2,file.filename={image},encrypt.key-secret=s0"])
        self.assertNotIn("failed", done.out + done.err)
        self.assertEqual(done.code, 0, done.err)

    def test_without_a_backing_file_zeros_are_unallocated_and_need_no_key(self):
        for options in (LUKS, {"encrypt.format": "aes", "encrypt.key-secret": "s0"}):
            with self.subTest(format=options["encrypt.format"]):
                image = self.image(**options)
                self.amend_or_refuse(image)
                self.encrypted_io(image, "read -q -P 0 0 64k", "read -q -P 1 64k 64k",
                                  "read -q -P 0 128k 64k", "read -q -P 1 192k 64k")
                self.encrypted_check(image)

    def encrypted_check(self, image):
        proc.must(["qemu-img", "check", *SECRET, "--image-opts",
                   f"driver=qcow2,file.filename={image},encrypt.key-secret=s0"])

    def amend_or_refuse(self, image):
        """`unsupported` is allowed until the issue that teaches it; silence is not."""
        answer = qbatch.amend(image, compat="0.10")
        if answer.status != "changed":
            self.assertEqual(answer.error, "unsupported", str(answer))

    def test_zeros_over_an_encrypted_backing_file_are_not_deferred_to_it(self):
        """What it holds is not known without its key."""
        base, locked = self.create("base.qcow2", size="1M"), self.create("l.qcow2", flags=SECRET, size="1M", **LUKS)
        image = self.create(size="1M", backing="base.qcow2")
        self.io(image, "write -q -z 0 64k")
        self.encrypted_io(locked, "write -q -P 1 0 256k")
        os.replace(locked, base)
        answer = qbatch.amend(image, compat="0.10", zero_clusters="defer")
        self.assertEqual(answer.status, "changed", str(answer))
        self.assertEqual(answer.first["clusters"]["expanded"], 1)
        self.assertNotEqual(self.first_entry(image)[1], 0)

    def test_over_a_backing_file_zeros_are_refused(self):
        self.raw("base.raw", "1M", "write -q -P 9 0 1M")
        image = self.image(backing="base.raw", **LUKS)
        self.refused(image, "refused", "unsupported", compat="0.10")


class Bitmaps(ImageTest):
    def image(self):
        image = self.create(size="4M")
        proc.must(["qemu-img", "bitmap", "--add", image, "backup"])
        self.io(image, "write -q -P 1 0 1M")
        return image

    def bitmaps(self, image):
        return guest.info(image)["format-specific"]["data"].get("bitmaps")

    def test_bitmaps_stay_valid_through_amends_that_do_not_concern_them(self):
        for request in ({"lazy_refcounts": "on"}, {"refcount_bits": 64},
                        {"backing_file": "x.raw", "backing_fmt": "raw"}):
            with self.subTest(**request):
                image = self.image()
                self.raw("x.raw", "4M")
                before = self.bitmaps(image)
                self.amended(image, **request)
                self.assert_sound(image)
                self.assertEqual(self.bitmaps(image), before)
                self.assertTrue(qcow2.load(image).autoclear_features & 1)

    def test_a_resize_keeps_them_valid_or_is_refused_by_name(self):
        image = self.image()
        answer = qbatch.amend(image, size=8 * MIB)
        if answer.status == "changed":
            self.assert_sound(image)
            self.assertTrue(self.bitmaps(image))
        else:
            self.assertIn("bitmap", answer.first["error"]["message"])

    def test_bitmaps_that_another_tool_has_outdated_are_not_made_valid(self):
        image = self.image()
        qcow2.patch_header(image, autoclear_features=0)
        answer = qbatch.amend(image, lazy_refcounts="on")
        self.assertFalse(answer.crashed)
        self.assertFalse(qcow2.load(image).autoclear_features & 1)


if __name__ == "__main__":
    main()
