"""`qbatch check` of images with an external data file: that the file is there, is the owner's, and is long enough."""
import fcntl
import os
import sys
import unittest

import context  # noqa: F401
import proc
import qbatch
import qcow2
from fixture import KIB, MIB, ImageTest, main


class Checked(ImageTest):
    def setUp(self):
        super().setUp()
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(self.folder)  # QEMU takes a relative name from here

    def make(self, raw="off", size=MIB, data="a.data", **options):
        return self.create(size=size, data_file=data, data_file_raw=raw, **options)

    def check(self, image, code, status, error=None):
        answer = qbatch.qbatch("check", "--json", image)
        self.assertEqual((answer.code, answer.status, answer.error), (code, status, error), str(answer))
        return answer.first

    def messages(self, image, code=2, status="corrupt", error=None):
        return [finding["message"] for finding in self.check(image, code, status, error)["findings"]]

    def rename(self, image, name):
        """Has the header name another file, of a name as long as the one that it has."""
        found = qcow2.load(image)
        old = found.extension(qcow2.EXT_DATA_FILE)
        self.assertEqual(len(old), len(name))
        qcow2.patch(image, found.data.find(old), name.encode())


class Sound(Checked):
    def test_whatever_qemu_made(self):
        for raw in ("off", "on"):
            for options in ({}, {"cluster_size": 4096}, {"extended_l2": "on"}, {"preallocation": "metadata"}):
                for size in (MIB + 512, MIB - 512):
                    with self.subTest(raw=raw, size=size, **options):
                        image = self.make(raw, size, **options)
                        last = size // 512 * 512 - 512
                        self.io(image, "write -q -P 1 512 512", f"write -q -P 2 {last} 512",
                                "write -q -z 128k 64k", "write -q -P 3 200k 1k", "write -q -b -P 4 0 64k")
                        self.check(image, 0, "clean")
                        proc.must(["qemu-img", "resize", "-q", image, str(3 * MIB + 512)])
                        self.check(image, 0, "clean")
                        proc.must(["qemu-img", "resize", "-q", "--shrink", image, "512k"])
                        self.check(image, 0, "clean")
                        self.io(image, "write -q -P 5 0 512k", "discard -q 0 512k")
                        self.check(image, 0, "clean")
                        os.unlink(image)
                        os.unlink("a.data")

    def test_a_check_writes_nothing(self):
        image = self.make()
        self.io(image, "write -q -P 1 0 1M")
        before = [proc.sha256(name) for name in (image, "a.data")]
        self.check(image, 0, "clean")
        self.assertEqual([proc.sha256(name) for name in (image, "a.data")], before)


class Short(Checked):
    def test_a_file_that_was_cut(self):
        """QEMU reads zeros there, and finds nothing wrong."""
        image = self.make()
        self.io(image, "write -q -P 1 0 64k", "write -q -P 2 512k 256k")
        os.truncate("a.data", 768 * KIB)
        self.check(image, 0, "clean")
        for length, clusters, first in ((768 * KIB - 1, "1 mapped cluster", 704 * KIB), (704 * KIB, "1 mapped cluster", 704 * KIB),
                                        (600 * KIB, "3 mapped clusters", 576 * KIB), (512 * KIB, "4 mapped clusters", 512 * KIB)):
            os.truncate("a.data", length)
            found = self.check(image, 2, "corrupt")
            self.assertEqual(found["corruptions"], 1)
            self.assertEqual(found["findings"][0]["message"],
                             f"the external data file ends at {length:#x}, before the end of {clusters} from guest offset "
                             f"{first:#x} on")
            self.assertEqual(found["findings"][0]["offset"], qcow2.load(image).l2_entry_offset(first))
        os.truncate("a.data", 0)
        self.assertEqual(len(self.messages(image)), 2)

    def test_only_what_holds_data_counts(self):
        image = self.make(size=8 * MIB)
        self.io(image, "write -q -P 1 0 64k", "write -q -P 1 1M 1M", "write -q -z 1M 1M")
        os.truncate("a.data", 64 * KIB)
        self.check(image, 0, "clean")

    def test_the_last_cluster_of_the_disk(self):
        image = self.make(size=MIB + 1024)
        self.io(image, "write -q -P 1 1M 1k")
        os.truncate("a.data", MIB + 1024)
        self.check(image, 0, "clean")
        os.truncate("a.data", MIB + 1023)
        self.assertEqual(len(self.messages(image)), 1)

    def test_subclusters(self):
        image = self.make(extended_l2="on")
        self.io(image, "write -q -P 1 4k 2k")
        os.truncate("a.data", 6 * KIB)
        self.check(image, 0, "clean")
        os.truncate("a.data", 6 * KIB - 1)
        self.assertEqual(len(self.messages(image)), 1)

    def test_a_run_ends_with_its_table(self):
        image = self.make(cluster_size=512)  # a table maps 32 KiB
        self.io(image, "write -q -P 1 0 64k")
        os.truncate("a.data", 31 * KIB)
        self.assertEqual([text.split("end of ")[1] for text in self.messages(image)],
                         ["2 mapped clusters from guest offset 0x7c00 on", "64 mapped clusters from guest offset 0x8000 on"])

    def test_vm_state_is_cut_by_qemu_itself(self):
        image = self.make()
        self.io(image, "write -q -b -P 1 0 64k")
        proc.must(["qemu-img", "resize", "-q", image, "2M"])
        self.check(image, 0, "clean")
        os.truncate("a.data", 0)  # no data of the disk is gone
        self.check(image, 0, "clean")

    def test_a_raw_file_is_the_disk(self):
        image = self.make("on")
        os.truncate("a.data", MIB - 1)
        self.assertIn(f"the raw external data file has {MIB - 1} bytes, and the disk {MIB}", self.messages(image))

    def test_entries_that_name_another_offset(self):
        for raw in ("off", "on"):
            image = self.make(raw)
            self.io(image, "write -q -P 1 512k 64k")
            place, entry = self.first_entry(image, 512 * KIB)
            qcow2.patch(image, place, (entry + 64 * KIB).to_bytes(8, "big"))
            self.assertEqual(self.messages(image),
                             ["an L2 entry names offset 0x90000 of the data file for guest offset 0x80000"])
            os.unlink(image)
            os.unlink("a.data")


class CannotBeOpened(Checked):
    def test_a_missing_one(self):
        image = self.make()
        qcow2.append_cluster(image, b"leak")
        os.unlink("a.data")
        found = self.check(image, 1, "unchecked", "not_found")
        self.assertIn("a.data", found["error"]["message"])
        self.assertEqual((found["corruptions"], found["leaks"]), (0, 1))
        plain = qbatch.qbatch("check", image)
        self.assertEqual(plain.code, 1)
        self.assertIn("1 leaked clusters", plain.result.out)
        self.assertNotIn("No errors", plain.result.out)
        self.assertIn("not_found: the external data file", plain.result.err)

    def test_what_is_corrupt_is_said_first(self):
        image = self.make()
        self.io(image, "write -q -P 1 512k 64k")
        place, entry = self.first_entry(image, 512 * KIB)
        qcow2.patch(image, place, (entry + 64 * KIB).to_bytes(8, "big"))
        os.unlink("a.data")
        self.assertEqual(len(self.messages(image, error="not_found")), 1)

    def test_the_image_itself(self):
        image = self.make(data="x" * len(self.path("a.qcow2")))
        self.rename(image, image)
        self.assertEqual(self.messages(image), ["the external data file is the image itself"])

    def test_names_that_are_no_paths(self):
        for name in ("json:{}", "nbd://h"):
            image = self.make(data="d" * len(name))
            self.rename(image, name)
            self.check(image, 1, "unchecked", "backing_refused")
            os.unlink(image)

    def test_links_and_special_files(self):
        image = self.make()
        os.rename("a.data", "real")
        os.symlink("real", "a.data")
        self.check(image, 1, "unchecked", "backing_refused")
        for make in (os.mkfifo, os.mkdir):
            os.path.isdir("a.data") or os.unlink("a.data")
            make("a.data")
            self.check(image, 1, "unchecked", "backing_refused")

    @unittest.skipUnless(os.getuid() == 0, "only root can give files away")
    def test_files_of_other_users(self):
        image = self.make()
        os.chmod(self.folder, 0o755)
        os.chown(image, 65534, 65534)
        self.assertIn("uid 0", self.check(image, 1, "unchecked", "backing_refused")["error"]["message"])
        os.chown("a.data", 65534, 65534)
        self.check(image, 0, "clean")
        os.chmod("a.data", 0)
        self.assertIn("could not read", self.check(image, 1, "unchecked", "backing_refused")["error"]["message"])

    def test_one_that_is_written_to(self):
        image = self.make()
        with open("a.data", "r+b") as f:
            fcntl.fcntl(f.fileno(), 37, b"\0\0\0\0\0\0\0\0" + (101).to_bytes(8, sys.byteorder) +
                        (1).to_bytes(8, sys.byteorder) + b"\0" * 8)  # F_OFD_SETLK, read: it uses "write"
            self.check(image, 1, "unchecked", "locked")
        self.check(image, 0, "clean")


if __name__ == "__main__":
    main()
