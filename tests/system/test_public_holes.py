"""Public holes of this kind, each as its fixture: an image that makes a privileged tool read, or hand on, a file that
its owner could not read.  Every command of qbatch meets every one of them, and the file is not read.

* A data file (CVE-2024-32498 in OpenStack's services): the image names an external data file by its path.
* A data file by a json: name (CVE-2024-4467 in QEMU's `info`): the name holds options of a block driver.
* A backing file at import (CVE-2015-1851, CVE-2015-5163): an uploaded image names a backing file of the host.
* A header that a guest wrote (CVE-2013-1922): a disk is raw, and its guest made it look like an image.  The same, and
  then a resize, which writes to a data file that the header names (CVE-2026-24708).
"""
import os
import re
import struct
import unittest

import context  # noqa: F401
import proc
import qbatch
import qcow2
import strace
from fixture import MIB, ImageTest, main

TENANT = 54321
SECRET = b"what only the host may read\n"
DATA_FILE_BIT = 4
NAMES = {
    "data file": ("data", "{secret}"),
    "data file, a link": ("data", "{link}"),
    "data file, json:": ("data", 'json:{{"driver":"file","filename":"{secret}"}}'),
    "data file, json: a tree": ("data", 'json:{{"driver":"raw","file":{{"driver":"file","filename":"{secret}"}}}}'),
    "data file, a protocol": ("data", "file:{secret}"),
    "backing file": ("backing", "{secret}"),
    "backing file, a link": ("backing", "{link}"),
    "backing file, relative": ("backing", "x/../secret"),
    "backing file, json:": ("backing", 'json:{{"driver":"file","filename":"{secret}"}}'),
    "backing file, a protocol": ("backing", "file:{secret}"),
    "guest's header, a backing file": ("guest", "{secret}"),
    "guest's header, a data file": ("guest data", "{secret}"),
}


def header(size, name, kind):
    """A version 3 image with one table that is all unallocated."""
    data = name.encode() if "data" in kind else b""
    backing = b"" if "data" in kind else name.encode()
    ext = struct.pack(">II", 0x44415441, len(data)) + data.ljust(-(-len(data) // 8) * 8, b"\0") if data else b""
    names_at = 104 + len(ext) + 8
    fixed = struct.pack(">IIQIIQIIQQIIQQQQII", qcow2.MAGIC, 3, names_at if backing else 0, len(backing), 16, size, 0, 1,
                        3 << 16, 1 << 16, 1, 0, 0, DATA_FILE_BIT if data else 0, 0, 0, 4, 104)
    return fixed + ext + bytes(8) + backing


@unittest.skipUnless(os.geteuid() == 0, "needs root, to give files away")
class PublicHoles(ImageTest):
    def setUp(self):
        super().setUp()
        os.chmod(self.folder, 0o755)
        self.secret = self.path("secret")
        self.content = SECRET * (2 * MIB // len(SECRET))
        with open(self.secret, "wb") as f:
            f.write(self.content)
        os.chmod(self.secret, 0o600)
        os.mkdir(self.path("x"))
        os.symlink("secret", self.path("link"))
        os.chown(self.path("link"), TENANT, TENANT, follow_symlinks=False)

    def image(self, kind, name):
        text = name.format(secret=self.secret, link=self.path("link"))
        path = self.path("a.qcow2")
        with open(path, "wb") as f:
            f.write(header(MIB, text, kind))
            for cluster, data in ((1, struct.pack(">Q", 2 << 16)), (2, struct.pack(">4H", 1, 1, 1, 1))):
                f.seek(cluster << 16)
                f.write(data)
            f.truncate(4 << 16)
        os.chown(path, TENANT, TENANT)
        if not kind.startswith("guest"):
            return path
        overlay = self.path("over.qcow2")  # of a disk that is raw
        proc.must(["qemu-img", "create", "-q", "-u", "-f", "qcow2", "-b", path, "-F", "raw", overlay, "64k"])
        os.chown(overlay, TENANT, TENANT)
        return overlay

    def commands(self, image):
        fleet = self.manifest(f"version: 1\nimages: [{{path: {image}, size: +1M, verify: content}}]\n")
        shrunk = self.manifest(f"version: 1\npolicy: {{allow_shrink: on}}\nimages: [{{path: {image}, size: 64k}}]\n",
                               "shrunk.yaml")
        yield "run", [fleet]
        yield "a smaller size", [shrunk]
        yield "downgrade", ["amend", "--verify", "content", "-o", "compat=0.10", image]
        yield "preallocation", ["amend", "-o", "preallocation=metadata", image]
        yield "zeros", ["amend", "-o", "reclaim.zeros=on", image]
        yield "raw data file", ["amend", "-o", "data_file_raw=on", image]
        yield "check", ["check", "--level", "content", image]
        yield "check of a used image", ["check", "-U", image]
        yield "info", ["info", "--json", image]
        yield "map", ["map", "--json", image]
        yield "graph", ["graph", fleet]
        yield "lint", ["lint", fleet]

    def assert_not_read(self, log, what):
        """Descriptors of it are O_PATH: nothing can be read from them.  -y names what a descriptor is of."""
        for line in log.splitlines():
            if re.search(r" = \d+<[^>]*/secret>", line):
                self.assertIn("O_PATH", line, what)

    def test_no_command_reads_the_file(self):
        if not strace.works():
            self.skipTest(strace.MISSING)
        for hole, (kind, name) in NAMES.items():
            for what, argv in self.commands(self.image(kind, name)):
                with self.subTest(hole, command=what):
                    image = self.image(kind, name)
                    log = self.path("log")
                    done = proc.run(["strace", "-f", "-qq", "-y", "-o", log, "-e", "trace=open,openat,openat2",
                                     qbatch.absolute(qbatch.TOOL), *argv], env=strace.environment())
                    self.assertGreaterEqual(done.code, 0, done.err)
                    with open(log) as f:
                        self.assert_not_read(f.read(), f"{hole}: {what}")
                    self.assertNotIn(SECRET.decode().strip(), done.out + done.err)
                    with open(image, "rb") as f:
                        self.assertNotIn(SECRET, f.read(), f"{hole}: {what}")
                    with open(self.secret, "rb") as f:
                        self.assertEqual(f.read(), self.content, f"{hole}: {what}")

    def test_the_check_of_this_test_sees_a_read(self):
        """With the owner rule off, a backing file is read: the trace has it."""
        if not strace.works():
            self.skipTest(strace.MISSING)
        image, log = self.image("backing", "{secret}"), self.path("log")
        fleet = self.manifest("version: 1\npolicy: {owner_must_read: off}\n"
                              f"images: [{{path: {image}, size: +1M}}]\n")
        proc.must(["strace", "-f", "-qq", "-y", "-o", log, "-e", "trace=open,openat,openat2",
                   qbatch.absolute(qbatch.TOOL), fleet], env=strace.environment())
        with open(log) as f, self.assertRaises(AssertionError):
            self.assert_not_read(f.read(), "")


if __name__ == "__main__":
    main()
