"""snapshots: those that are chosen go, and every other one is what it was, for QEMU too."""
import os
import shutil
import subprocess
import time
import unittest

import context  # noqa: F401
import guest
import proc
import qbatch
import qcow2
from fixture import MIB, ImageTest, main

EXTRA = b"\xff" * 8 + b"what nobody knows"  # icount, and more


def names(image):
    return [s.name for s in qcow2.load(image).snapshots()]


class SnapshotTest(ImageTest):
    def many(self, count=4, **create):
        """s0, s1, ...: each layer has something that no other has, and what all share."""
        image = self.create(**{"size": "8M", **create})
        self.io(image, "write -q -P 1 0 1M", "write -q -P 2 7M 1M")
        for i in range(count):
            self.io(image, f"write -q -P {10 + i} {i}00k 100k", "write -q -z 2M 64k",
                    f"write -q -P {20 + i} {3 * 1024 + 64 * i}k 64k")
            self.snapshot(image, f"s{i}")
        self.io(image, "write -q -P 3 500k 100k")
        return image

    def set_date(self, image, name, seconds):
        found = next(s for s in qcow2.load(image).snapshots() if s.name == name)
        with open(image, "r+b") as f:
            f.seek(found.offset + 16)
            f.write(int(seconds).to_bytes(4, "big"))

    def deleted(self, image, *gone, flags=(), shrink=False, **options):
        """Amends; just these are gone, all others read as before, QEMU applies each of them, and
        what is written then reaches no other."""
        before = guest.read_all(image)
        record = self.amended(image, shrink, ["--verify", "content", *flags], **options)
        self.assert_sound(image)
        for name in gone:
            del before[f"snapshot {name}"]
        if options.get("size"):
            before["active"] = before["active"].resized(options["size"])
        self.assert_same_layers(before, guest.read_all(image))
        self.assertEqual(record["snapshots_deleted"], len(gone))
        self.assert_applied(image, before)
        return record

    def assert_applied(self, image, layers):
        for name in names(image):
            one = self.copy(image, "applied.qcow2")
            proc.must(["qemu-img", "snapshot", "-a", name, one])
            self.assert_sound(one)
            self.assertTrue(guest.read_active(one) == layers[f"snapshot {name}"], name)
            self.io(one, "write -q -P 99 0 8M")
            after = guest.read_all(one)
            for other in names(image):
                self.assertTrue(after[f"snapshot {other}"] == layers[f"snapshot {other}"], other)


class Deleting(SnapshotTest):
    def test_any_of_them(self):
        image = self.many()
        for pattern, gone in (("s0", ["s0"]), ("s[12]", ["s1", "s2"]), ("s3", ["s3"]),
                              ("*", ["s0", "s1", "s2", "s3"])):
            with self.subTest(pattern=pattern):
                one = self.copy(image, "one.qcow2")
                self.deleted(one, *gone, **{"snapshots.delete": pattern})
                self.amended(one, status="unchanged", **{"snapshots.delete": pattern})

    def test_what_qemu_img_makes_of_it(self):
        image = self.many(cluster_size=4096)
        theirs = self.copy(image, "theirs.qcow2")
        self.deleted(image, "s0", "s2", **{"snapshots.delete": "s[02]"})
        for name in ("s0", "s2"):
            proc.must(["qemu-img", "snapshot", "-d", name, theirs])
        ours, theirs = qcow2.load(image), qcow2.load(theirs)
        entries = [[(layer, i, bool(e & qcow2.COPIED)) for layer, i, e in x.entries()]
                   for x in (ours, theirs)]
        self.assertEqual(*entries)

    def test_every_cluster_size_and_width(self):
        for create in ({"cluster_size": 512}, {"cluster_size": 2 * MIB, "size": "8M"},
                       {"refcount_bits": 64}, {"refcount_bits": 4}, {"extended_l2": "on"},
                       {"compat": "0.10"}, {"lazy_refcounts": "on"}):
            with self.subTest(**create):
                image = self.many(2, **create)
                self.deleted(image, "s0", **{"snapshots.delete": "s0"})

    def test_compressed_clusters_of_a_snapshot_only(self):
        image = self.create()
        self.io(image, "write -q -c -P 1 0 64k", "write -q -c -P 2 64k 64k")
        self.snapshot(image, "s")
        self.io(image, "write -q -P 3 0 64k")
        self.deleted(image, "s", **{"snapshots.delete": "s"})

    def test_space_is_given_back(self):
        image = self.create(size="64M")
        self.io(image, "write -q -P 1 0 32M")
        self.snapshot(image, "s")
        self.io(image, "write -q -P 2 0 32M")
        record = self.deleted(image, "s", **{"snapshots.delete": "s"})
        self.assertLess(record["space"]["allocated_delta_bytes"], -31 * MIB)
        self.assertGreater(record["clusters"]["deallocated"], 500)

    def test_a_bitmap_stays_as_it_is(self):
        image = self.many()
        proc.must(["qemu-img", "bitmap", "--add", image, "b"])
        before = guest.info(image)["format-specific"]["data"]["bitmaps"]
        self.deleted_plain(image, "s1")
        self.assertEqual(guest.info(image)["format-specific"]["data"]["bitmaps"], before)

    def deleted_plain(self, image, name):
        self.amended(image, **{"snapshots.delete": name})
        self.assert_sound(image)
        self.assertNotIn(name, names(image))

    def test_what_nobody_knows_of_the_others_stays(self):
        image = self.many(3)
        found = qcow2.load(image)
        old = [found.data[s.offset:s.offset + 200] for s in found.snapshots()]
        entries = [e[:36] + (16 + len(EXTRA)).to_bytes(4, "big") + e[40:56] + EXTRA + e[64:]
                   for e in old]
        lengths = [40 + 16 + len(EXTRA) + len(s.id) + len(s.name) for s in found.snapshots()]
        table = b"".join(e[:n].ljust((n + 7) // 8 * 8, b"\0") for e, n in zip(entries, lengths))
        with open(image, "r+b") as f:
            f.seek(found.snapshots_offset)
            f.write(table)
        self.assert_sound(image)
        self.amended(image, **{"snapshots.delete": "s1"})
        found = qcow2.load(image)
        for s, entry, n in zip(found.snapshots(), entries[::2], lengths[::2]):
            self.assertEqual(found.data[s.offset + 8:s.offset + n], entry[8:n])

    def test_a_name_is_no_id_and_all_is_a_name(self):
        image = self.create()
        for name in ("all", "3", "other"):
            self.snapshot(image, name)
        self.amended(image, **{"snapshots.delete": "3"})
        self.assertEqual(names(image), ["all", "other"])
        self.amended(image, **{"snapshots.delete": "all"})
        self.assertEqual(names(image), ["other"])

    def test_damaged_tables_are_refused(self):
        image = self.many(2)
        found = qcow2.load(image)
        first = found.snapshots()[0]
        for place, width, value in ((first.offset + 36, 4, 2000), (first.offset + 8, 4, 1 << 30),
                                    (first.offset, 8, 0x10200), (first.offset, 8, 1 << 50),
                                    (60, 4, 70000)):
            with self.subTest(place=place, value=value):
                one = self.copy(image, "one.qcow2")
                with open(one, "r+b") as f:
                    f.seek(place)
                    f.write(value.to_bytes(width, "big"))
                self.refused(one, "corrupt", "unsupported", **{"snapshots.delete": "*"})


class Choosing(SnapshotTest):
    def dated(self):
        image = self.many()
        now = time.time()
        for name, age in (("s0", 3600), ("s1", 86400 * 40), ("s2", 86400 * 20), ("s3", 60)):
            self.set_date(image, name, now - age)
        return image

    def left(self, text, *flags):
        image = self.dated()
        answer = self.run_manifest(f"""
            version: 1
            images: [{{path: a.qcow2, snapshots: {text}}}]
            """, *flags)
        self.assertEqual(answer.code, 0, str(answer))
        found = names(image)
        self.assert_sound(image)
        os.unlink(image)
        return found

    def test_semantics(self):
        for text, left in (("{older_than: 30d}", ["s0", "s2", "s3"]),
                           ("{older_than: 10m}", ["s3"]),
                           ("{keep_newest: 2}", ["s0", "s3"]),
                           ("{delete: [s1, s2, s3], keep_newest: 1}", ["s0", "s3"]),
                           ("{delete: 's[12]', older_than: 30d}", ["s0", "s2", "s3"]),
                           ("{keep_newest: 3, older_than: 1m}", ["s0", "s2", "s3"]),
                           ("{delete: s0, keep_newest: 1, older_than: 1}",
                            ["s0", "s1", "s2", "s3"])):
            with self.subTest(text=text):
                self.assertEqual(self.left(text), left)

    def test_mistakes(self):
        self.dated()
        for text in ("{}", "{delete: []}", "[a]", "all", "{keep_newest: 0}", "{delete: ['']}",
                     "{older_than: soon}", "{remove: [a]}"):
            with self.subTest(text=text):
                answer = self.run_manifest(f"""
                    version: 1
                    images: [{{path: a.qcow2, snapshots: {text}}}]
                    """)
                self.assertEqual(answer.code, 2, str(answer))

    def test_a_dry_run_says_which(self):
        image = self.dated()
        done = proc.run([qbatch.absolute(qbatch.TOOL), "amend", "-n", "-v", "-o",
                         "snapshots.delete=s[12]", image])
        self.assertIn("2 snapshots to be deleted: s1, s2", done.out)
        self.assertIn('delete: snapshot "s1"', done.out)

    def test_a_resumed_run_counts_from_its_start(self):
        image = self.create()
        self.snapshot(image, "young")
        self.set_date(image, "young", time.time() - 2)
        locked = self.copy(image, "b.qcow2")
        text = """
            version: 1
            policy: {on_locked: fail}
            images: [{path: "?.qcow2", snapshots: {older_than: 4}}]
            """
        with Held(locked):
            self.run_manifest(text, "--state", self.path("state"))
        time.sleep(3)
        answer = self.run_manifest(text, "--state", self.path("state"), "--resume")
        self.assertEqual(answer.code, 0, str(answer))
        self.assertEqual(names(locked), ["young"])
        answer = self.run_manifest(text, "--state", self.path("state"))
        self.assertEqual((answer.code, names(locked)), (0, []), str(answer))


class Held:
    """A qemu-io that has the image open for writing."""

    def __init__(self, image):
        self.image = image

    def __enter__(self):
        self.process = subprocess.Popen(["qemu-io", "-f", "qcow2", self.image],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.process.stdin.write(b"info\n")
        self.process.stdin.flush()
        self.process.stdout.read(1)

    def __exit__(self, *_):
        self.process.communicate(b"quit\n")


class WithOtherKeys(SnapshotTest):
    def test_a_downgrade_that_a_snapshot_forbids(self):
        image = self.many()
        proc.must(["qemu-img", "resize", "-q", image, "16M"])
        self.refused(image, "refused", compat="0.10")
        self.deleted(image, "s0", "s1", "s2", "s3", compat="0.10", **{"snapshots.delete": "*"})

    def test_a_zstd_cluster_that_only_a_deleted_snapshot_has(self):
        image = self.create(compression_type="zstd")
        self.io(image, "write -q -c -P 1 0 64k")
        self.snapshot(image, "s")
        self.io(image, "write -q -P 3 0 64k")
        other = self.copy(image, "other.qcow2")
        self.io(other, "write -q -c -P 4 128k 64k")
        half = self.copy(other, "half.qcow2")
        self.deleted(other, "s", compat="0.10", **{"snapshots.delete": "s"})
        self.assert_reads(other, 128 * 1024, "64k", 4)
        self.deleted(half, "s", compat="0.10", size=131072, shrink=True, **{"snapshots.delete": "s"})
        self.deleted(image, "s", compat="0.10", **{"snapshots.delete": "s"})

    def test_version_2_shrinks_once_they_are_gone(self):
        image = self.many(compat="0.10")
        self.refused(image, "refused", size=4 * MIB, shrink=True)
        self.deleted(image, "s0", "s1", "s2", "s3", shrink=True, size=4 * MIB,
                     **{"snapshots.delete": "*"})

    def test_any_mix(self):
        self.raw("base.raw", "16M", "write -q -P 9 0 16M")
        image = self.many(backing="base.raw", backing_fmt="raw")
        for request in ({"compat": "0.10"}, {"size": 3 * MIB}, {"size": 12 * MIB},
                        {"refcount_bits": 8}, {"compat": "0.10", "size": 8 * MIB},
                        {"refcount_bits": 64, "size": 40 * MIB, "lazy_refcounts": "on"}):
            with self.subTest(**request):
                self.deleted(self.copy(image, "one.qcow2"), "s0", "s2", shrink=True,
                             **{"snapshots.delete": "s[02]"}, **request)


class Undo(SnapshotTest):
    def run_undo(self, *flags):
        found = proc.run([qbatch.absolute(qbatch.TOOL), "undo", *flags, "--state",
                          self.path("state"), self.run_id], cwd=self.folder)
        self.assertEqual(found.code, 0, found.out + found.err)

    def amend(self, keys="snapshots: {delete: 's[02]'}"):
        answer = self.run_manifest(f"""
            version: 1
            images: [{{path: a.qcow2, {keys}, keep_undo: on}}]
            """, "--state", self.path("state"))
        self.assertEqual(answer.code, 0, str(answer))
        self.run_id = answer.summary["run"]

    def test_an_undo_brings_them_back(self):
        for keys in ("snapshots: {delete: 's[02]'}", "snapshots: {delete: '*'}",
                     "snapshots: {keep_newest: 1}, compat: '0.10'",
                     "snapshots: {delete: s1}, size: 12M, refcount_bits: 64"):
            with self.subTest(keys=keys):
                image = self.many()
                before, sha = guest.read_all(image), proc.sha256(image)
                self.amend(keys)
                self.assertEqual(guest.check(image)[1], 0)
                self.run_undo()
                self.assert_sound(image)
                self.assert_same_layers(before, guest.read_all(image))
                self.assertEqual(proc.sha256(image), sha)
                shutil.rmtree(self.path("state"))

    def test_an_undo_after_a_guest_wrote_loses_nothing_or_is_refused(self):
        image = self.many()
        before = guest.read_all(image)
        self.amend()
        self.io(image, "write -q -P 77 0 512k")
        done = proc.run([qbatch.absolute(qbatch.TOOL), "undo", "--state", self.path("state"),
                         self.run_id], cwd=self.folder)
        after = guest.read_all(image)
        for name in after:
            if name != "active":
                self.assertTrue(before[name] == after[name], name)
        self.assertNotEqual(done.code, 0)
        self.assert_reads(image, 0, "512k", 77)

    def test_discard_frees_no_more_than_a_guest_has_left(self):
        """Of a cluster that has five references in the old image, three in the new one and two that are
        kept, a guest dropped one since: where both have tables of their own, three are missing."""
        image = self.many()
        self.amend("snapshots: {delete: 's[02]'}, compat: '0.10'")
        self.io(image, "write -q -P 77 0 512k", "discard -q 512k 512k")
        before = guest.read_all(image)
        self.run_undo("--discard-undo")
        self.assert_sound(image)
        self.assert_same_layers(before, guest.read_all(image))

    def test_discard_frees_them_and_copied_follows(self):
        image = self.many()
        before = guest.read_all(image)
        self.amend()
        self.run_undo("--discard-undo")
        self.assert_sound(image)
        after = guest.read_all(image)
        self.assertEqual(names(image), ["s1", "s3"])
        for name, content in after.items():
            self.assertTrue(before[name] == content, name)
        self.assert_applied(image, before)


@unittest.skipUnless(shutil.which("qemu-system-x86_64"), "qemu-system-x86_64 is not installed")
class Machine(SnapshotTest):
    """A machine loads its state from a snapshot that stays."""

    def monitor(self, image, *commands, loadvm=None):
        load = ["-loadvm", loadvm] if loadvm else []
        return proc.run(["qemu-system-x86_64", "-accel", "tcg", "-m", "16", "-nodefaults",
                         "-display", "none", "-monitor", "stdio", "-drive",
                         f"file={image},format=qcow2,if=ide", *load],
                        stdin="".join(c + "\n" for c in (*commands, "quit")))

    def test_loadvm(self):
        image = self.create(size="16M")
        self.io(image, "write -q -P 1 0 1M")
        for name in ("one", "two", "three"):
            self.monitor(image, f"savevm {name}")
            self.io(image, f"write -q -P 7 {len(name)}M 64k")
        self.assertEqual(names(image), ["one", "two", "three"])
        self.amended(image, **{"snapshots.delete": "two", "size": "64M"})
        self.assert_sound(image)
        for name in ("one", "three"):
            done = self.monitor(self.copy(image, "vm.qcow2"), "info status", loadvm=name)
            self.assertIn("VM status: ", done.out, done.err)
            self.assertNotIn("rror", done.out + done.err)
        done = self.monitor(self.copy(image, "vm.qcow2"), "loadvm two")
        self.assertIn("does not exist", done.out)


if __name__ == "__main__":
    main()
