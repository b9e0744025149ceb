"""Backing chains of many files, through every user of chains."""
import os
import shutil

import context  # noqa: F401
import guest
import proc
import qbatch
import qcow2
from fixture import MIB, ImageTest, main

LENGTHS = (1, 2, 8, 9, 17, 33, 150, 200)  # files below an image; 200 is the most


class Chains(ImageTest):
    def chain(self, n, size=MIB, name="{:03}.qcow2"):
        """000.qcow2 on 001.qcow2 ... on the base; all of one size and without data, but the base."""
        base = self.create(name.format(n), size=size, cluster_size=4096)
        self.io(base, "write -q -P 5 8k 8k")
        if n:
            self.create("pattern", size=size, cluster_size=4096, backing=name.format(n))
        for i in range(n):
            path = self.path(name.format(i))
            shutil.copyfile(self.path("pattern"), path)
            qcow2.patch(path, qcow2.load(path).backing_file_offset, name.format(i + 1).encode())
        if n:
            os.unlink(self.path("pattern"))
        return self.path(name.format(0))

    def each(self):
        for n in LENGTHS:
            yield n, self.chain(n)
            for name in os.listdir(self.folder):
                os.unlink(self.path(name))

    def test_zeros_are_deferred_to_a_chain(self):
        for _, image in self.each():
            self.io(image, "write -q -z 0 32k")
            before = guest.read_all(image)
            record = self.amended(image, compat="0.10", zero_clusters="defer")
            self.assertEqual(record["clusters"]["expanded"], 2)
            self.assert_same_layers(before, guest.read_all(image))
            self.assert_sound(image)

    def test_a_size_inside_a_cluster_is_read_through_a_chain(self):
        for _, image in self.each():
            self.amended(image, shrink=True, size=9 * 1024 + 512)
            self.amended(image, size=MIB)
            self.assert_sound(image)
            self.assert_reads(image, 8192, 1536, 5)
            self.assert_reads(image, 9728, MIB - 9728, 0)

    def test_the_content_of_a_chain_is_checked(self):
        for n, image in self.each():
            for name in ("x.qcow2", "y.qcow2"):
                self.create(name, size=MIB, cluster_size=4096)
            self.io(self.path("x.qcow2"), "write -q -P 5 8k 8k")
            for name, code in (("y.qcow2", 1), ("x.qcow2", 0)):
                answer = self.run_manifest(f"""
                    version: 1
                    images: [{{path: 000.qcow2, backing: {{check_content: on,
                               rewrite: [{{from: '.*', to: {name}}}]}}}}]
                    """)
                self.assertEqual(answer.code, code, str(answer))
            self.assert_reads(image, 8192, 8192, 5)

    def test_a_manifest_names_a_chain(self):
        for n, _ in self.each():
            text = """
                version: 1
                images: [{chain: 000.qcow2, lazy_refcounts: true}]
                """
            lint = proc.run([qbatch.absolute(qbatch.TOOL), "lint", self.manifest(text)])
            self.assertEqual(lint.code, 0, lint.out + lint.err)
            answer = self.run_manifest(text)
            self.assertEqual(answer.code, 0, str(answer))
            self.assertEqual([r["status"] for r in answer.records], ["changed"] * (n + 1))


class WhatNoReaderTakes(ImageTest):
    """QEMU answers a read of such a cluster with EIO: nothing that read zeros is led there."""
    CLUSTER = 65536

    def base(self, entry, version=3, name="base.qcow2", **options):
        """Its third cluster of four has this L2 entry; the others are unallocated."""
        base = self.create(name, size=4 * self.CLUSTER, **options)
        self.io(base, "write -q -z 128k 64k")
        place, _ = self.first_entry(base, 2 * self.CLUSTER)
        qcow2.patch(base, place, b"".join(word.to_bytes(8, "big") for word in entry))
        if version == 2:
            qcow2.patch_header(base, version=2)
            qcow2.patch(base, 72, bytes(32))
        read = proc.run(["qemu-io", "-r", "-f", "qcow2", "-c", "read 128k 64k", base], cwd=self.folder)
        self.assertIn("Input/output error", read.out + read.err)
        return base

    def over(self, base, size=4 * CLUSTER, zeros=True):
        image = self.create(size=size, backing=os.path.basename(base))
        if zeros:
            self.io(image, "write -q -z 128k 64k")
        return image

    def each(self):
        """Bases, and what is said about them."""
        yield self.base([qcow2.ZERO], version=2), "version 2"
        yield self.base([qcow2.ZERO | qcow2.COPIED | 5 << 16], version=2), "version 2"
        yield self.base([qcow2.ZERO | qcow2.COPIED | 512]), "misplaced"
        yield self.base([512, 0xFFFFFFFF << 32], extended_l2="on"), "misplaced"
        yield self.base([5 << 16, 0xFFFFFFFF << 32 | 1], extended_l2="on"), "subclusters contradict"
        yield self.base([0, 1], extended_l2="on"), "subclusters contradict"
        yield self.base([qcow2.ZERO | qcow2.COPIED | 3 << 16], data_file="base.data"), "misplaced"

    def test_zeros_are_not_deferred_to_it(self):
        for base, words in self.each():
            image = self.over(base)
            said = self.refused(image, "corrupt", words=words, compat="0.10", zero_clusters="defer")
            self.assertEqual(said["io"]["write_ops"], 0)
            self.assert_reads(image, 2 * self.CLUSTER, self.CLUSTER, 0)
            self.amended(image, compat="0.10")
            self.assert_reads(image, 2 * self.CLUSTER, self.CLUSTER, 0)

    def test_a_disk_that_grows_reads_zero_over_it(self):
        for base, _ in self.each():
            image = self.over(base, self.CLUSTER, zeros=False)
            self.amended(image, size=4 * self.CLUSTER)
            self.assert_reads(image, 0, 4 * self.CLUSTER, 0)

    def test_it_is_not_the_same_content_as_zeros(self):
        for base, words in self.each():
            self.create("empty.qcow2", size=4 * self.CLUSTER)
            self.create(size=4 * self.CLUSTER, backing="empty.qcow2")
            answer = self.run_manifest("""
                version: 1
                images: [{path: a.qcow2, backing: {check_content: on,
                           rewrite: [{from: '.*', to: base.qcow2}]}}]
                """)
            self.assertEqual((answer.code, answer.error), (1, "corrupt"), str(answer))
            self.assertIn(words, answer.first["error"]["message"])


class DataFiles(ImageTest):
    """A backing file that has its guest data in an external data file."""

    def each(self):
        for raw in ("off", "on"):
            base = self.create("base.qcow2", size=MIB, cluster_size=4096, data_file=self.path("base.data"),
                               data_file_raw=raw)
            self.io(base, "write -q -P 5 8k 8k")
            yield self.create(size=MIB, cluster_size=4096, backing="base.qcow2")
            for name in os.listdir(self.folder):
                os.unlink(self.path(name))

    def test_a_size_inside_a_cluster_is_read_from_it(self):
        for image in self.each():
            self.amended(image, shrink=True, size=9 * 1024 + 512)
            self.amended(image, size=MIB)
            self.assert_sound(image)
            self.assert_reads(image, 8192, 1536, 5)
            self.assert_reads(image, 9728, MIB - 9728, 0)

    def test_its_content_is_checked(self):
        for image in self.each():
            for name in ("same", "other"):
                copy = self.create(f"{name}.qcow2", size=MIB, cluster_size=4096)
                self.io(copy, "write -q -P 5 8k 8k")
            self.io(self.path("other.qcow2"), "write -q -P 6 12k 512")
            for name, code in (("other", 1), ("same", 0)):
                answer = self.run_manifest(f"""
                    version: 1
                    images: [{{path: a.qcow2, backing: {{check_content: on,
                               rewrite: [{{from: '.*', to: {name}.qcow2}}]}}}}]
                    """)
                self.assertEqual(answer.code, code, str(answer))
                if code:
                    self.assertIn("guest byte 12288", answer.first["error"]["message"])

    def test_one_that_is_short_reads_zero_and_one_that_is_missing_is_named(self):
        for image in self.each():
            os.truncate(self.path("base.data"), 9 * 1024)
            for size in (9 * 1024 + 512, 12 * 1024 + 512):  # within the last cluster that it has, and past it
                other = self.copy(image, "other.qcow2")
                self.amended(other, shrink=True, size=size)
                self.amended(other, size=MIB)
                self.assert_reads(other, 8192, 1024, 5)
                self.assert_reads(other, 9 * 1024, MIB - 9 * 1024, 0)
            image = self.create("b.qcow2", size=9 * 1024 + 512, cluster_size=4096, backing="base.qcow2")
            os.unlink(self.path("base.data"))
            self.refused(image, "not_found", words="the external data file", size=MIB)


class UndeclaredFormats(ImageTest):
    def over(self, fmt):
        """An image that does not say what its backing file is; QEMU finds that it is of this format."""
        base = self.path("base.img")
        proc.must(["qemu-img", "create", "-q", "-f", fmt, base, "4M"])
        self.io(base, "write -q -P 9 2M 1M", fmt=fmt)
        image = self.create(size="3M", backing="base.img", backing_fmt=fmt)
        declared = next(e for e in qcow2.load(image).extensions() if e.type == qcow2.EXT_BACKING_FORMAT)
        qcow2.patch(image, declared.offset - 8, b"\0\0\x12\x34")
        self.assert_reads(image, "2M", "1M", 9)
        self.io(image, "write -q -z 2M 1M")
        return image

    def test_an_image_of_another_format_is_not_read_as_a_raw_disk(self):
        for fmt in ("vmdk", "vdi", "vhdx", "vpc", "qed", "parallels"):
            with self.subTest(fmt):
                image = self.over(fmt)
                self.refused(image, "unsupported", words=f"format {fmt}", compat="0.10", zero_clusters="defer")
                self.refused(image, "unsupported", words=f"format {fmt}", compat="0.10")
                self.refused(image, "unsupported", words=f"format {fmt}", size="4M")
                self.amended(image, lazy_refcounts="on")
                os.unlink(self.path("base.img"))


if __name__ == "__main__":
    main()
