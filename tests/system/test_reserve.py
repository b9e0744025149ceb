"""A file whose space is reserved keeps it: no amend cuts or punches what a guest relies on."""
import contextlib
import json
import os
import resource
import shutil
import signal
import unittest

import context  # noqa: F401
import guest
import proc
import qbatch
import qcow2
from fixture import KIB, MIB, ImageTest, main

FREE = ("--on-leaks", "free")


def held(path):
    return os.stat(path).st_blocks * 512


def image_end(path):
    return json.loads(proc.must(["qemu-img", "check", "--output=json", path]))["image-end-offset"]


def has_holes(path):
    """By FIEMAP, as filefrag prints it: a block below the length without an extent."""
    end, blocks = 0, -(-os.path.getsize(path) // 4096)
    for line in proc.must(["filefrag", "-b4096", "-v", path]).splitlines():
        parts = line.replace("..", ":").split(":")
        if parts[0].strip().isdigit():
            if int(parts[1]) > end:
                return True
            end = int(parts[2]) + 1
    return end < blocks


@unittest.skipUnless(os.geteuid() == 0, "a file system can only be mounted by root")
class OnExt4(ImageTest):
    kind, options, maps = "ext4", ["-q", "-F", "-m", "0", "-b", "4096"], True

    def setUp(self):
        super().setUp()
        if self.kind != "tmpfs" and not shutil.which(f"mkfs.{self.kind}"):
            self.skipTest(f"mkfs.{self.kind} is not installed")
        where = self.path("fs")
        os.mkdir(where)
        self.mount(where)
        self.addCleanup(proc.must, ["umount", where])
        self.outside, self.folder = self.folder, where

    def mount(self, where):
        disk = self.path("disk")
        with open(disk, "wb") as f:
            f.truncate(400 * MIB)
        proc.must([f"mkfs.{self.kind}", *self.options, disk])
        done = proc.run(["mount", "-o", "loop", disk, where])
        if done.code:
            self.skipTest(f"no loop device here: {done.err.strip()}")

    # ---- images -----------------------------------------------------------------------------
    def reserve(self, image, size=24 * MIB):
        with open(image, "r+b") as f:
            os.posix_fallocate(f.fileno(), 0, max(size, os.path.getsize(image)))
        self.assertGreaterEqual(held(image), os.path.getsize(image))
        return image

    def image(self, name="a.qcow2", size="8M", backing=None, cluster_size=4096, **options):
        """Data, zeros, and clusters that are free again, in 24 MiB that are reserved."""
        image = self.create(name, size=size, backing=backing, backing_fmt="raw",
                            cluster_size=cluster_size, **options)
        self.io(image, "write -q -P 1 0 4M", "write -q -z 1M 1M", "discard -q 3M 512k")
        return self.reserve(image)

    @contextlib.contextmanager
    def same_for_guests(self, image):
        layers = guest.read_all(image)
        yield
        after = guest.read_all(image)
        layers["active"] = layers["active"].resized(after["active"].size)
        self.assert_same_layers(layers, after)

    def keeps(self, image, shrink=False, flags=(), **options):
        before, length = held(image), os.path.getsize(image)
        record = self.amended(image, shrink, flags, **options)
        self.assert_sound(image)
        if not shrink:
            self.assertGreaterEqual(held(image), before)
            self.assertGreaterEqual(os.path.getsize(image), length)
        if self.maps:
            self.assertFalse(has_holes(image))
        self.assertGreaterEqual(held(image), os.path.getsize(image))
        return record

    # ---- tests ------------------------------------------------------------------------------
    def test_its_space_may_be_in_many_pieces(self):
        """More extents than one call of FIEMAP gives: blocks that were written are extents of their own."""
        image = self.image()
        with open(image, "r+b") as f:
            for at in range(16 * MIB, 20 * MIB, 8192):
                f.seek(at)
                f.write(bytes(4096))
            os.fsync(f.fileno())
        self.keeps(image, compat="0.10")

    def test_every_kind_of_amend_in_turn(self):
        self.raw("base.raw", "8M", "write -q -P 9 0 8M")
        for backing in (None, "base.raw"):
            image = self.image(f"{backing}.qcow2", backing=backing)
            self.snapshot(image, "s")
            self.io(image, "write -q -P 2 0 256k")
            with self.same_for_guests(image):
                for options in ({"refcount_bits": 64}, {"refcount_bits": 16}, {"compat": "0.10"},
                                {"compat": "1.1"}, {"size": 64 << 30}, {"lazy_refcounts": "on"},
                                {"lazy_refcounts": "off"}, {"refcount_bits": 32}):
                    with self.subTest(backing=backing, **options):
                        self.keeps(image, **options)

    def test_images_that_qemu_preallocates(self):
        for how in ("falloc", "full"):
            image = self.create(f"{how}.qcow2", size="24M", cluster_size=4096,
                                preallocation=how)
            self.io(image, "write -q -P 1 0 1M")
            with self.same_for_guests(image):
                for options in ({"refcount_bits": 64}, {"size": 64 << 30}, {"refcount_bits": 8}):
                    with self.subTest(how=how, **options):
                        self.keeps(self.reserve(image, 0), **options)

    def test_what_the_tail_holds_does_not_come_into_view(self):
        self.raw("base.raw", "8M", "write -q -P 9 0 8M")
        for what in ("auto", "hole", "falloc", "write"):
            image = self.image(f"{what}.qcow2", backing="base.raw")
            with open(image, "r+b") as f:
                f.seek(image_end(image))
                f.write(b"junk" * (MIB // 4) * 8)
            with self.subTest(zero_method=what), self.same_for_guests(image):
                self.keeps(image, compat="0.10", zero_method=what)
                self.keeps(image, refcount_bits=16, compat="1.1")

    def test_what_becomes_free_is_not_punched(self):
        image = self.image(size="20M")
        self.io(image, "write -q -P 3 4M 16M", "write -q -z 4M 16M")
        with self.same_for_guests(image):
            record = self.keeps(self.reserve(image), compat="0.10")
        self.assertGreater(record["clusters"]["deallocated"], 3000)
        image = self.create("b.qcow2")
        for _ in range(20):
            qcow2.append_cluster(image, b"leak")
        self.keeps(self.reserve(image), flags=FREE, refcount_bits=64)

    def test_only_a_shrink_cuts(self):
        image = self.reserve(self.image(), 40 * MIB)
        with self.same_for_guests(image):
            self.keeps(image, shrink=True, size=2 * MIB)
        self.assertLess(os.path.getsize(image), 20 * MIB)

    def test_a_failed_append_cuts_back_to_the_old_length(self):
        image = self.image()
        with open(image, "r+b") as f:
            f.truncate(image_end(image))
        sha, before = proc.sha256(image), held(image)
        limit = os.path.getsize(image) + 300 * KIB

        def limited():
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        answer = qbatch.qbatch("amend", "--json", "-o", "refcount_bits=64,size=8T", image,
                               preexec=limited)
        self.assertEqual((answer.code, answer.status), (1, "failed"), str(answer))
        self.assertEqual((proc.sha256(image), held(image)), (sha, before))

    def test_a_killed_append_leaves_no_hole(self):
        if not shutil.which("strace"):
            self.skipTest("strace is not installed")
        for call in ("fallocate", "ftruncate", "pwrite64"):
            image = self.image()
            with open(image, "r+b") as f:
                f.truncate(image_end(image) - 100)
            before, length = held(image), os.path.getsize(image)
            proc.run(["strace", "-f", "-o", "/dev/null", "-e", f"trace={call}", "-e",
                      f"inject={call}:signal=SIGKILL:when=1", qbatch.absolute(qbatch.TOOL), "amend",
                      "--io", "posix", "-o", "refcount_bits=64", image],
                     env={**os.environ, "ASAN_OPTIONS": "detect_leaks=0"})
            if self.maps:
                self.assertFalse(has_holes(image), call)
            self.assertGreaterEqual(held(image), before)
            if call != "ftruncate":  # which need not be called at all
                self.assertEqual(qcow2.load(image).refcount_bits, 16)
            self.keeps(image, refcount_bits=32)
            self.assertGreaterEqual(os.path.getsize(image), length)

    def test_undo_and_its_discarding(self):
        state = ("--state", os.path.join(self.outside, "state"))
        for flags in ((), ("--discard-undo",)):
            image = self.image(f"{len(flags)}.qcow2")
            self.io(image, "write -q -z 0 4M")
            layers, before, length = guest.read_all(image), held(image), os.path.getsize(image)
            answer = self.run_manifest(f"""
                version: 1
                images: [{{path: {len(flags)}.qcow2, compat: "0.10", keep_undo: on}}]
                """, *state)
            self.assertEqual(answer.code, 0, str(answer))
            self.assertGreaterEqual(held(image), before)
            back = qbatch.qbatch("undo", "--json", *state, *flags, answer.summary["run"])
            self.assertEqual(back.code, 0, str(back))
            self.assertGreaterEqual(held(image), before)
            self.assertGreaterEqual(os.path.getsize(image), length)
            self.assert_same_layers(layers, guest.read_all(image))

    def test_a_file_with_a_hole_is_cut_and_punched_as_ever(self):
        image = self.create(size="40M", cluster_size=4096)
        self.io(image, "write -q -P 1 0 32M", "write -q -z 8M 24M", "discard -q 1M 1M")
        with open(image, "r+b") as f:
            f.seek(0, os.SEEK_END)
            f.write(b"j" * 8 * MIB)
            os.fsync(f.fileno())
        before = held(image)
        self.amended(image, compat="0.10")
        self.assert_sound(image)
        os.sync()
        self.assertLess(held(image), before - 30 * MIB)
        self.assertLess(os.path.getsize(image), 36 * MIB)

    def test_blocks_past_the_end_of_the_file_are_no_reservation(self):
        """XFS allocates ahead of a writer: as many blocks as bytes, and holes all the same."""
        if not self.maps:
            self.skipTest("no FIEMAP here: blocks are all that can be counted")
        image = self.create(size="64M", cluster_size=4096)
        self.io(image, "write -q -P 1 0 32M", "write -q -z 8M 24M", "discard -q 1M 1M")
        proc.must(["fallocate", "-n", "-o", str(os.path.getsize(image)), "-l", "8M", image])
        before = held(image)
        self.assertGreaterEqual(before, os.path.getsize(image))
        self.assertTrue(has_holes(image))
        self.amended(image, compat="0.10")
        self.assertLess(held(image), before - 20 * MIB)


class OnXfs(OnExt4):
    kind, options = "xfs", ["-q", "-f"]


class OnBtrfs(OnExt4):
    kind, options = "btrfs", ["-q", "-f"]


class OnTmpfs(OnExt4):
    """No FIEMAP, no ZERO_RANGE."""
    kind, maps = "tmpfs", False

    def mount(self, where):
        done = proc.run(["mount", "-t", "tmpfs", "-o", "size=400M", "qbatch-test", where])
        if done.code:
            self.skipTest("mounting is not allowed here")


if __name__ == "__main__":
    main()
