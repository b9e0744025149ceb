"""What every system test starts from: a folder of its own, images, and what must hold."""
import os
import shutil
import subprocess
import sys
import tempfile
import textwrap
import unittest

import guest
import proc
import qbatch
import qcow2

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30

LEFT_OUT = []  # (test, reason): parts of tests that the host cannot do
OTHER_BUILD = "run in the builds without sanitizers"  # no gap: scripts/test makes those as well


class ImageTest(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="qbatch-test-")
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)

    def leave_out(self, part, reason):
        """A part of this test is skipped: said at the end, and counted."""
        LEFT_OUT.append((f"{type(self).__name__}.{self._testMethodName}({part})", reason))

    # ---- making images ----------------------------------------------------------------------
    def path(self, name):
        return os.path.join(self.folder, name)

    def create(self, name="a.qcow2", size="1M", backing=None, backing_fmt="qcow2", flags=(),
               **options):
        """`qemu-img create`; options as its -o."""
        path = self.path(name)
        argv = ["qemu-img", "create", "-q", "-f", "qcow2", *flags]
        if options:
            argv += ["-o", qbatch.option_string(options)]
        if backing:
            argv += ["-b", backing, "-F", backing_fmt]
        for _ in range(20):  # making a LUKS header fails now and then: "accurate CPU usage"
            done = proc.run([*argv, path, size], cwd=self.folder)
            if done.code == 0:
                return path
        raise RuntimeError(f"{done.argv}: {done.err}")

    def raw(self, name, size, *writes):
        path = self.path(name)
        proc.must(["qemu-img", "create", "-q", "-f", "raw", path, size])
        if writes:
            self.io(path, *writes, fmt="raw")
        return path

    def io(self, image, *commands, fmt="qcow2", flags=()):
        """qemu-io commands, all in one process."""
        argv = ["qemu-io", "-t", "unsafe", "-d", "unmap", "-f", fmt, *flags]
        for command in commands:
            argv += ["-c", command]
        done = proc.run([*argv, image], cwd=self.folder)
        if done.code or "failed" in done.out + done.err or "verification" in done.out:
            raise RuntimeError(f"{done.argv}: {done.out}{done.err}")

    def killed_io(self, image, *commands):
        """The same, ending in SIGKILL: with lazy refcounts the image is dirty afterwards."""
        argv = ["qemu-io", "-t", "unsafe", "-d", "unmap", "-f", "qcow2"]
        for command in [*commands, "flush", "sigraise 9"]:
            argv += ["-c", command]
        self.assertEqual(proc.run([*argv, image], cwd=self.folder).code, -9)

    def use(self, image):
        """A process that has it open, and holds QEMU's locks."""
        used = subprocess.Popen(["qemu-io", "-f", "qcow2", image], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                cwd=self.folder)
        self.addCleanup(used.wait)
        self.addCleanup(used.stdout.close)
        self.addCleanup(used.stdin.close)
        used.stdin.write(b"read 0 512\n")
        used.stdin.flush()
        used.stdout.readline()
        return used

    def snapshot(self, image, name):
        proc.must(["qemu-img", "snapshot", "-c", name, image])

    def copy(self, image, name):
        proc.copy_sparse(image, self.path(name))
        return self.path(name)

    # ---- what must hold ---------------------------------------------------------------------
    def assert_sound(self, image):
        """`qemu-img check` finds no error and no leak."""
        code, corruptions, leaks, words = guest.check(image)
        self.assertEqual((code, corruptions, leaks), (0, 0, 0), words)

    def amended(self, image, shrink=False, flags=(), status="changed", **options):
        """Amends; the image is then sound and of whole clusters.  The record of the report."""
        answer = qbatch.amend(image, shrink, flags, cwd=self.folder, **options)
        self.assertEqual((answer.code, answer.status), (0, status), str(answer))
        if status == "changed":
            self.assertEqual(os.path.getsize(image) % 512, 0)
        return answer.first

    def amended_keeping_content(self, image, shrink=False, flags=(), **options):
        """Every layer reads as before: on the common part of a resized one, zeros behind."""
        before = guest.read_all(image)
        record = self.amended(image, shrink, flags, **options)
        self.assert_sound(image)
        after = guest.read_all(image)
        if options.get("size"):
            before["active"] = before["active"].resized(after["active"].size)
        self.assert_same_layers(before, after)
        return record

    def assert_same_layers(self, before, after):
        self.assertEqual(before.keys(), after.keys())
        for name, content in before.items():
            self.assertTrue(content == after[name], f"{name}: {after[name].difference(content)}")

    def refused(self, image, *codes, shrink=False, flags=(), words="", **options):
        """Refuses with one of these error codes, and not a byte of the image is touched."""
        sha, stat = proc.sha256(image), os.stat(image)
        answer = qbatch.amend(image, shrink, flags, cwd=self.folder, **options)
        self.assertFalse(answer.crashed, str(answer))
        self.assertEqual((answer.code, answer.status), (1, "failed"), str(answer))
        if codes:
            self.assertIn(answer.error, codes, str(answer))
        self.assertIn(words, answer.first["error"]["message"])
        self.assert_untouched(image, sha, stat)
        return answer.first

    def never_accepted(self, image, **options):
        """Refused, or a usage error: in any case nothing is touched."""
        sha, stat = proc.sha256(image), os.stat(image)
        answer = qbatch.amend(image, shrink=True, cwd=self.folder, **options)
        self.assertFalse(answer.crashed, str(answer))
        self.assertIn(answer.code, (1, 2), str(answer))
        self.assert_untouched(image, sha, stat)

    def assert_untouched(self, image, sha, stat):
        self.assertEqual(proc.sha256(image), sha, "the image was written")
        self.assertEqual(os.stat(image).st_mtime_ns, stat.st_mtime_ns, "the image was written")
        self.assertEqual(os.path.getsize(image), stat.st_size)

    def assert_reads(self, image, offset, length, pattern, flags=()):
        """Through QEMU: this range of the active layer holds this byte."""
        self.io(image, f"read -q -P {pattern} {offset} {length}", flags=["-r", *flags])

    def assert_snapshot_reads(self, image, name, offset, length, pattern):
        content = guest.read_all(image)[f"snapshot {name}"]
        raw = b"".join(content.chunks.get(i, b"").ljust(guest.CHUNK, b"\0")
                       for i in range(-(-content.size // guest.CHUNK)))
        self.assertEqual(set(raw[offset:offset + length]), {pattern})

    # ---- manifests --------------------------------------------------------------------------
    def manifest(self, text, name="fleet.yaml"):
        with open(self.path(name), "w", encoding="utf-8") as f:
            f.write(textwrap.dedent(text).lstrip("\n"))
        return self.path(name)

    def run_manifest(self, text, *flags, **kwargs):
        return qbatch.qbatch("--json", *flags, self.manifest(text), cwd=self.folder, **kwargs)

    def first_entry(self, image, guest_offset=0, l1_offset=None):
        """(place in the file, L2 entry) for a guest byte."""
        found = qcow2.load(image)
        place = found.l2_entry_offset(guest_offset, l1_offset)
        return place, found.u64(place)


def report_skipped(result):
    """A line for each test, or part of one, that was left out and why: scripts/test counts them."""
    for test, reason in [*result.skipped, *LEFT_OUT]:
        if reason == OTHER_BUILD:
            continue
        name = test if isinstance(test, str) else ".".join(test.id().split(".")[-2:])
        print(f"skipped: {name}: {reason}")


def run_tests():
    """Runs the tests of the calling file; exits with 77 when every one of them was skipped."""
    result = unittest.main(verbosity=2, exit=False).result
    report_skipped(result)
    if not result.wasSuccessful():
        sys.exit(1)
    sys.exit(77 if result.testsRun and len(result.skipped) == result.testsRun else 0)


def main():
    if not shutil.which("qemu-img"):
        print("skipped: all: qemu-img is not installed")
        sys.exit(77)
    if not os.path.exists(qbatch.absolute(qbatch.TOOL)):
        sys.exit(f"{qbatch.TOOL} is not built; QBATCH names another one")
    run_tests()
