"""What a guest did to an amended image, with the file's time and length put back as a power cut may
leave them: the undo proves from the disk that nothing is lost, or refuses and touches nothing."""
import os
import shutil

import context  # noqa: F401
import guest
import proc
import qbatch
import qcow2
from fixture import KIB, ImageTest, main

ODD_SIZE = 1040384  # ends inside the last cluster of 64 KiB


class UndoTest(ImageTest):
    def setUp(self):
        super().setUp()
        self.flags = ["--state", self.path("state")]

    def amend(self, image, **options):
        answer = qbatch.amend(image, shrink=True, flags=self.flags, cwd=self.folder, keep_undo="on",
                              **options)
        self.assertEqual((answer.code, answer.status), (0, "changed"), str(answer))
        self.assert_kept(image)
        return answer.summary["run"]

    def undo(self, run, *operands):
        return qbatch.qbatch("undo", "--json", *self.flags, run, *operands, cwd="/")

    def assert_kept(self, image):
        """No error; what is kept for an undo is leaked, as `qemu-img check` calls it."""
        code, corruptions, _, words = guest.check(image)
        self.assertIn(code, (0, 3), words)
        self.assertEqual(corruptions, 0, words)

    def unnoticed(self, image, act, *args):
        """Does something to the image and puts its time, and its length, back."""
        stat = os.stat(image)
        act(*args)
        os.truncate(image, stat.st_size)
        os.utime(image, ns=(stat.st_atime_ns, stat.st_mtime_ns))

    def refused_to_undo(self, image, run, words="", code="changed"):
        sha, stat = proc.sha256(image), os.stat(image)
        answer = self.undo(run)
        self.assertEqual((answer.code, answer.status, answer.error), (1, "failed", code),
                         str(answer))
        self.assertIn(words, answer.first["error"]["message"])
        self.assert_untouched(image, sha, stat)

    def undone(self, run):
        answer = self.undo(run)
        self.assertEqual((answer.code, answer.status), (0, "changed"), str(answer))
        return answer


class LostTimes(UndoTest):
    def test_a_write_into_the_copied_last_cluster(self):
        for method in ("auto", "write"):
            with self.subTest(method):
                image = self.create(f"{method}.qcow2", size="1M")
                self.io(image, "write -q -P 1 0 1M")
                proc.must(["qemu-img", "resize", "-q", "--shrink", image, str(ODD_SIZE)])
                qcow2_file = qcow2.load(image)
                place = qcow2_file.u64(qcow2_file.l2_entry_offset(15 * 64 * KIB)) & qcow2.L2_OFFSET
                with open(image, "r+b") as f:  # behind the end: junk, which has to be copied away
                    f.seek(place + ODD_SIZE % (64 * KIB))
                    f.write(b"\xaa" * 512)
                run = self.amend(image, size="4M", zero_method=method)
                self.unnoticed(image, self.io, image, f"write -q -P 7 {15 * 64 * KIB} 4k")
                self.refused_to_undo(image, run, "tables were written")
                self.assert_reads(image, 15 * 64 * KIB, 4 * KIB, 7)

    def test_a_write_into_new_clusters_of_zeros(self):
        for method in ("auto", "write", "falloc"):
            with self.subTest(method):
                self.raw("base.raw", "1M", "write -q -P 9 0 1M")
                image = self.create(f"{method}.qcow2", backing="base.raw", backing_fmt="raw")
                self.io(image, "write -q -z 256k 256k")
                run = self.amend(image, compat="0.10", zero_method=method)
                self.unnoticed(image, self.io, image, "write -q -P 7 300k 512")
                self.refused_to_undo(image, run, "a new cluster was written")
                self.unnoticed(image, self.io, image, "write -q -P 0 300k 512")
                self.undone(run)

    def test_what_a_guest_wrote_in_place_is_kept(self):
        requests = {"down": {"compat": "0.10"}, "wide": {"refcount_bits": 64},
                    "lazy": {"lazy_refcounts": "on"}, "grow": {"size": "9M"},
                    "shrink": {"size": "512k"}}
        for name, options in requests.items():
            with self.subTest(name):
                image = self.create(f"{name}.qcow2", size="1M", cluster_size=4096)
                self.io(image, "write -q -P 1 0 1M", "write -q -z 600k 16k")
                run = self.amend(image, **options)
                self.unnoticed(image, self.io, image, "write -q -P 7 12k 20k")
                self.undone(run)
                self.assert_sound(image)
                self.assert_reads(image, 12 * KIB, 20 * KIB, 7)
                self.assert_reads(image, 0, 12 * KIB, 1)
                self.assert_reads(image, 616 * KIB, 200 * KIB, 1)
                self.assert_reads(image, 600 * KIB, 16 * KIB, 0)

    def test_a_length_that_changed_is_seen_without_its_time(self):
        image = self.create(size="1M")
        self.io(image, "write -q -P 1 0 64k")
        run = self.amend(image, refcount_bits=64)
        stat = os.stat(image)
        os.truncate(image, stat.st_size + 64 * KIB)
        os.utime(image, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        self.refused_to_undo(image, run, "the file's length has changed")
        os.truncate(image, stat.st_size)
        os.utime(image, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        self.undone(run)

    def test_the_rest_of_a_last_cluster_that_was_in_the_file_in_part(self):
        image = self.create(size="1M")
        self.io(image, "write -q -P 1 0 64k", "write -q -P 1 64k 64k")
        os.truncate(image, os.path.getsize(image) - 60 * KIB - 100)
        sha = proc.sha256(image)
        self.undone(self.amend(image, lazy_refcounts="on"))
        self.assertEqual(proc.sha256(image), sha)
        run = self.amend(image, lazy_refcounts="on")  # which makes the file's length a whole one
        self.unnoticed(image, self.io, image, "write -q -P 7 100k 4k")
        self.undone(run)
        self.assert_reads(image, 100 * KIB, 4 * KIB, 7)

    def cut_within_a_cluster(self, name, *writes, backed=True):
        """An image of 1 MiB, shrunk to 500 KiB: the last cluster is in its disk in part.  Some free
        clusters are in the file, so that its length need not change."""
        if backed:
            self.raw("base.raw", "1M", "write -q -P 9 0 1M")
        image = self.create(name, size="1M", backing="base.raw" if backed else None,
                            backing_fmt="raw")
        self.io(image, "write -q -P 3 0 256k", "discard -q 64k 192k", *writes)
        return image, self.amend(image, size=500 * KIB)

    def test_what_a_shrink_cut_off_within_the_last_cluster_is_back_or_the_undo_refused(self):
        """A guest that replaces its last cluster replaces all of it."""
        guests = {"zero": "write -q -z 448k 52k", "packed": "write -q -c -P 7 448k 52k",
                  "discard": "discard -q 448k 52k"}
        for name, command in guests.items():
            with self.subTest(name):
                image, run = self.cut_within_a_cluster(f"{name}.qcow2")
                self.unnoticed(image, self.io, image, command)
                self.refused_to_undo(image, run, "the disk's last cluster")
        image, run = self.cut_within_a_cluster("other.qcow2")
        self.unnoticed(image, self.io, image, "write -q -P 7 256k 64k", "write -q -P 8 0 4k")
        self.undone(run)
        self.assert_reads(image, 448 * KIB, 64 * KIB, 9)
        self.assert_reads(image, 256 * KIB, 64 * KIB, 7)

    def test_zeros_that_a_shrink_cut_off_stay_zeros(self):
        """... and do not become the backing file's bytes."""
        for backed in (True, False):
            image, run = self.cut_within_a_cluster(f"{backed}.qcow2", "write -q -z 448k 64k",
                                                   backed=backed)
            self.unnoticed(image, self.io, image, "write -q -c -P 7 448k 52k")
            self.undone(run)
            self.assert_reads(image, 448 * KIB, 52 * KIB, 7)
            self.assert_reads(image, 500 * KIB, 12 * KIB, 0)
        image, run = self.cut_within_a_cluster("emptied.qcow2", "write -q -P 0 448k 64k")
        self.unnoticed(image, proc.must, ["qemu-img", "commit", "-q", image])
        self.refused_to_undo(image, run, "the disk's last cluster")

    def test_a_guest_cannot_get_what_only_the_old_image_refers_to(self):
        """It fills and discards all that the amended image counts as free."""
        requests = {"down": {"compat": "0.10"}, "wide": {"refcount_bits": 64},
                    "grow": {"size": "40M"}, "shrink": {"size": "64k"},
                    "both": {"compat": "0.10", "size": "40M"}}
        for name, options in requests.items():
            with self.subTest(name):
                image = self.create(f"{name}.qcow2", size="1M", cluster_size=512)
                self.io(image, "write -q -P 1 0 512k", "write -q -z 128k 16k")
                if "size" not in options or "compat" not in options:
                    self.snapshot(image, "s")
                    self.io(image, "write -q -P 2 0 64k")
                run = self.amend(image, **options)
                kept = self.copy(image, "kept")
                self.io(image, "write -q -P 66 0 64k", "write -q -P 5 40k 20k", "discard -q 0 64k")
                with open(kept, "rb") as a, open(image, "rb") as b:
                    now, then = b.read(), a.read()
                self.after_a_guest(image, run)
                leaked = self.leaked(kept)
                self.assertTrue(leaked)
                for cluster in leaked:
                    place = slice(512 * cluster, 512 * cluster + 512)
                    self.assertEqual(now[place], then[place], f"cluster {cluster} was only kept")

    def after_a_guest(self, image, run):
        self.refused_to_undo(image, run)

    @staticmethod
    def leaked(image):
        """Clusters that are counted, and nothing in the image refers to."""
        done = proc.run(["qemu-img", "check", "-U", "-f", "qcow2", image])
        return [int(line.split()[2]) for line in (done.out + done.err).splitlines()
                if line.startswith("Leaked cluster") and "reference=0" in line]

    def test_kept_clusters_that_a_check_has_freed(self):
        image = self.create(size="1M", cluster_size=4096)
        self.io(image, "write -q -P 1 0 256k", "write -q -z 128k 64k")
        run = self.amend(image, compat="0.10")
        self.unnoticed(image, proc.must, ["qemu-img", "check", "-q", "-r", "leaks", image])
        self.refused_to_undo(image, run)

    def test_writes_past_the_old_end(self):
        for name, size, more, command in (
                ("entry", "256k", "512k", "write -q -P 7 300k 4k"),
                ("table", "256k", "8M", "write -q -P 7 7M 4k"),
                ("tail", "257k", "258k", "write -q -P 7 263168 512")):
            with self.subTest(name):
                image = self.create(f"{name}.qcow2", size=size, cluster_size=4096)
                self.io(image, f"write -q -P 1 0 {size}")
                run = self.amend(image, size=more)
                stat = os.stat(image)
                self.io(image, command)
                os.utime(image, ns=(stat.st_atime_ns, stat.st_mtime_ns))
                self.refused_to_undo(image, run)

    def test_zero_clusters_that_the_old_version_does_not_support(self):
        image = self.create(size="1M", compat="0.10", cluster_size=4096)
        self.io(image, "write -q -P 1 0 1M")
        run = self.amend(image, compat="1.1")
        self.unnoticed(image, self.io, image, "write -q -z 64k 64k")
        self.refused_to_undo(image, run, "zero clusters")

    def test_clusters_compressed_in_another_way(self):
        image = self.create(size="1M", compression_type="zstd", cluster_size=4096)
        self.io(image, "write -q -P 1 600k 4k", "write -q -P 1 0 256k")
        self.snapshot(image, "s")
        self.io(image, "write -q -P 2 600k 4k")
        proc.must(["qemu-img", "snapshot", "-d", "s", image])  # which frees a cluster
        run = self.amend(image, compat="0.10")  # no table changes: only the header
        length = os.path.getsize(image)
        self.unnoticed(image, self.io, image, "write -q -c -P 3 640k 4k")
        self.assertEqual(os.path.getsize(image), length)
        self.assert_sound(image)
        self.refused_to_undo(image, run, "compressed in another way")

    def test_a_deleted_snapshot_keeps_its_compressed_clusters(self):
        for command in (None, "write -q -c -P 3 640k 4k"):
            with self.subTest(str(command)):
                image = self.create(size="1M", compression_type="zstd", cluster_size=4096)
                self.io(image, "write -q -c -P 1 0 4k")
                self.snapshot(image, "s")
                self.io(image, "write -q -P 2 0 4k")
                run = self.amend(image, compression_type="zlib", **{"snapshots.delete": "s"})
                if command:
                    self.unnoticed(image, self.io, image, command)
                    self.refused_to_undo(image, run)
                else:
                    self.undone(run)
                    proc.must(["qemu-img", "snapshot", "-a", "s", image])
                    self.assert_reads(image, 0, "4k", 1)
                    self.assert_sound(image)
                os.unlink(image)

    def test_names_past_the_header_s_first_sector(self):
        name = "a-name-" + "x" * 200 + ".raw"
        self.raw("b.raw", "1M", "write -q -P 9 0 1M")
        for other in ("c.raw", name):
            shutil.copyfile(self.path("b.raw"), self.path(other))
        image = self.create(size="1M", backing=name, backing_fmt="raw")
        self.undone(self.amend(image, backing_file="c.raw"))
        self.assertEqual(guest.info(image)["backing-filename"], name)
        run = self.amend(image, backing_file="c.raw")
        # QEMU writes the whole header cluster when it writes the header, and what it does not know of
        # in there is gone.
        place = qcow2.load(self.copy(image, "old")).data.find(name.encode())
        first, end = max(place, 512), place + len(name)
        self.assertGreater(end, first)
        for junk in (b"y", b"\0"):
            with self.subTest(junk), open(image, "r+b") as f:
                self.unnoticed(image, os.pwrite, f.fileno(), junk * (end - first), first)
            self.refused_to_undo(image, run, "old header's")

    def test_files_whose_times_are_whole_seconds(self):
        disk, mount = self.path("disk"), self.path("mnt")
        os.mkdir(mount)
        with open(disk, "wb") as f:
            f.truncate(16 << 20)
        if proc.run(["mkfs.ext4", "-q", "-F", "-I", "128", disk]).code or \
                proc.run(["mount", "-o", "loop", disk, mount]).code:
            self.skipTest("cannot mount a file system of its own")
        try:
            image = os.path.join(mount, "a.qcow2")
            proc.must(["qemu-img", "create", "-q", "-f", "qcow2", image, str(ODD_SIZE)])
            self.io(image, f"write -q -P 1 0 {ODD_SIZE}")
            run = self.amend(image, size="4M", compat="0.10", refcount_bits=16)
            self.assertEqual(os.stat(image).st_mtime_ns % 10**9, 0)
            self.unnoticed(image, self.io, image, "write -q -P 7 3M 4k")
            self.refused_to_undo(image, run)
        finally:
            proc.run(["umount", mount])


class IgnoredTimes(LostTimes):
    """The same acts, which the times tell of, and --ignore-times."""

    def unnoticed(self, image, act, *args):
        length = os.path.getsize(image)
        act(*args)
        os.truncate(image, length)

    def undo(self, run, *operands):
        return super().undo("--ignore-times", run, *operands)

    def after_a_guest(self, image, run):
        """Refused, or nothing of what the guest sees is lost within the old disk's size."""
        before = self.as_raw(image)
        answer = self.undo(run)
        if answer.error:
            self.assertEqual((answer.code, answer.error), (1, "changed"), str(answer))
            return
        after = self.as_raw(image)
        shown = min(len(before), len(after))
        self.assertEqual(hash(after[:shown]), hash(before[:shown]))
        self.assert_sound(image)

    def as_raw(self, image):
        proc.must(["qemu-img", "convert", "-U", "-f", "qcow2", "-O", "raw", image, self.path("raw")])
        with open(self.path("raw"), "rb") as f:
            return f.read()

    def test_a_changed_time_alone(self):
        image = self.create(size="1M")
        self.io(image, "write -q -P 1 0 64k")
        before = proc.sha256(image)
        run = self.amend(image, refcount_bits=64)
        os.utime(image)
        answer = super().undo(run)
        self.assertEqual((answer.code, answer.error), (1, "changed"), str(answer))
        self.assertIn("undo --ignore-times goes by", answer.first["error"]["message"])
        self.undone(run)
        self.assertEqual(proc.sha256(image), before)


class Promises(UndoTest):
    def test_an_image_with_leaks_that_only_changes_its_header(self):
        image = self.create(size="1M", cluster_size=4096)
        self.io(image, "write -q -P 1 0 64k")
        found = qcow2.load(image)
        place = found.u64(found.l2_entry_offset(0)) & qcow2.L2_OFFSET
        block = found.u64(found.refcount_table_offset) & qcow2.REFTABLE_OFFSET
        for cluster, count in ((place // 4096, 2), (200, 1)):
            with open(image, "r+b") as f:
                f.seek(block + 2 * cluster)
                f.write(count.to_bytes(2, "big"))
        with open(image, "r+b") as f:
            f.truncate(201 * 4096)
        sha = proc.sha256(image)
        answer = qbatch.amend(image, flags=self.flags, keep_undo="on", lazy_refcounts="on")
        self.assertEqual((answer.code, answer.status), (0, "changed"), str(answer))
        self.assertEqual(answer.first["io"]["barriers"], 2)
        self.undone(answer.summary["run"])
        self.assertEqual(proc.sha256(image), sha)

    def test_counts_that_do_not_fit_the_new_width_are_refused(self):
        image = self.create(size="1M", cluster_size=4096)
        self.io(image, "write -q -P 1 64k 960k")
        self.snapshot(image, "s")
        plain = self.copy(image, "plain.qcow2")
        self.amended(plain, shrink=True, size="64k", refcount_bits=1)
        self.refused(image, "refused", shrink=True, words="too often for refcounts of 1 bits",
                     flags=self.flags, size="64k", refcount_bits=1, keep_undo="on")

    def test_new_clusters_where_the_old_backing_file_shows_are_refused(self):
        """A guest that zeroes one in place leaves no trace."""
        self.raw("long.raw", "1M", "write -q -P 9 0 1M")
        self.raw("short.raw", "512k", "write -q -P 9 0 512k")
        image = self.create(size="2M", backing="long.raw", backing_fmt="raw")
        asked = {"flags": self.flags, "keep_undo": "on", "preallocation": "metadata"}
        for name in ("short.raw", ""):
            self.refused(image, "unsupported", words="past the end of the new backing file",
                         backing_file=name, **asked)
        os.rename(self.path("long.raw"), self.path("renamed.raw"))
        os.link(self.path("renamed.raw"), self.path("long.raw"))
        self.undone(self.amend(image, backing_file="renamed.raw", preallocation="metadata"))
        self.assert_reads(image, 0, "1M", 9)
        self.assert_sound(image)

    def test_bitmaps_that_would_miss_what_is_written_meanwhile(self):
        image = self.create(size="1M")
        proc.must(["qemu-img", "bitmap", "--add", image, "b"])
        manifest = self.manifest(f"""
            version: 1
            policy: {{drop_bitmaps: true}}
            images: [{{path: {image}, compat: "0.10", keep_undo: on}}]
            """)
        sha, stat = proc.sha256(image), os.stat(image)
        answer = qbatch.qbatch("--json", *self.flags, manifest)
        self.assertEqual((answer.code, answer.error), (1, "unsupported"), str(answer))
        self.assert_untouched(image, sha, stat)

    def test_of_amends_on_top_of_each_other_only_the_last_is_undone(self):
        image = self.create(size="1M", cluster_size=4096)
        self.io(image, "write -q -P 1 0 256k", "write -q -z 128k 64k")
        runs = [self.amend(image, **options) for options in (
            {"compat": "0.10"}, {"size": "8M"})]
        sha = proc.sha256(image)
        runs.append(self.amend(image, compat="1.1", refcount_bits=64))
        self.refused_to_undo(image, runs[0], "header was written")
        self.refused_to_undo(image, runs[1], "header was written")
        self.undone(runs[2])
        self.assertEqual(proc.sha256(image), sha)
        self.refused_to_undo(image, runs[0], "header was written")
        self.refused_to_undo(image, runs[1], "image was written")

    def test_discarding_frees_what_that_run_kept_and_no_more(self):
        image = self.create(size="1M", cluster_size=4096)
        self.io(image, "write -q -P 1 0 512k", "write -q -z 128k 64k")
        self.snapshot(image, "s")
        first = self.amend(image, refcount_bits=32)
        leaks = guest.check(image)[2]
        content = guest.read_all(image)
        sha = proc.sha256(image)
        self.assertGreater(leaks, 0)
        second = self.amend(image, size="256k")
        self.assertGreater(guest.check(image)[2], leaks)
        answer = self.undo(first, "--discard-undo")
        self.assertEqual((answer.code, answer.error), (1, "changed"), str(answer))
        self.assertEqual(self.undo(second, "--discard-undo", "--dry-run").status, "would_change")
        answer = self.undo(second, "--discard-undo")
        self.assertEqual((answer.code, answer.status), (0, "changed"), str(answer))
        self.assertEqual(guest.check(image)[1:3], (0, leaks))
        self.assertEqual(self.undo(second, image).code, 2)
        now = guest.read_all(image)
        self.assertTrue(now["active"] == content["active"].resized(256 * KIB))
        self.assertTrue(now["snapshot s"] == content["snapshot s"])
        self.assertNotEqual(sha, proc.sha256(image))

    def test_discarding_after_a_guest_has_used_the_image(self):
        image = self.create(size="2M", cluster_size=4096)
        self.io(image, "write -q -P 1 0 1M", "write -q -z 128k 64k")
        self.snapshot(image, "s")
        run = self.amend(image, compat="0.10")
        self.io(image, "write -q -P 2 0 128k", "discard -q 256k 128k", "write -q -P 3 1M 512k")
        content = guest.read_all(image)
        answer = self.undo(run, "--discard-undo")
        self.assertEqual((answer.code, answer.status), (0, "changed"), str(answer))
        self.assert_sound(image)
        self.assert_same_layers(content, guest.read_all(image))

    def test_what_the_run_did_not_keep_is_listed(self):
        images = [self.create(f"{name}.qcow2") for name in "ab"]
        manifest = self.manifest("""
            version: 1
            images:
              - {path: a.qcow2, compat: "0.10", keep_undo: on}
              - {path: b.qcow2, compat: "0.10"}
            """)
        answer = qbatch.qbatch("--json", *self.flags, manifest)
        self.assertEqual(answer.code, 0, str(answer))
        undone = self.undo(answer.summary["run"])
        self.assertEqual([(r["path"], r["status"]) for r in undone.records],
                         [(images[0], "changed"), (images[1], "failed")], str(undone))
        self.assertEqual(undone.code, 1)
        self.assertIn("kept nothing", undone.records[1]["error"]["message"])

    def test_how_to_take_it_back_is_said_where_something_can_be(self):
        for name, options, said in (("a", {"keep_undo": "on", "compat": "0.10"}, True),
                                    ("b", {"compat": "0.10"}, False),
                                    ("c", {"keep_undo": "on", "compat": "1.1"}, False)):
            image = self.create(f"{name}.qcow2")
            argv = ["amend", *self.flags, "-o", qbatch.option_string(options), image]
            answer = qbatch.qbatch(*argv)
            self.assertEqual("qbatch undo" in answer.result.out, said, str(answer))


if __name__ == "__main__":
    main()
