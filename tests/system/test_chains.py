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


if __name__ == "__main__":
    main()
