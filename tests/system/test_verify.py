"""verify: content: an amend that keeps every guest's byte passes, one that does not is told loudly."""
import base64
import glob
import os
import re
import unittest
import zlib

import context  # noqa: F401
import guest
import proc
import qbatch
import qcow2
from fixture import KIB, MIB, OTHER_BUILD, ImageTest, main

MEDDLER = os.environ.get("MEDDLER", "")
CONTENT = ("--verify", "content")
SOURCE = "cache" if os.path.ismount("/tmp") and proc.run(
    ["findmnt", "-n", "-o", "FSTYPE", "/tmp"]).out.strip() == "tmpfs" else "disk"
OK = {"mode": "content", "result": "ok", "source": SOURCE}


class Scene(ImageTest):
    def image(self, name="a.qcow2", size="8M", **options):
        """Every kind of cluster, over a backing file, in two snapshots and the active layer."""
        if not os.path.exists(self.path("base.raw")):
            self.raw("base.raw", "12M", "write -q -P 9 0 12M")
        image = self.create(name, size=size, backing="base.raw", backing_fmt="raw", **options)
        self.io(image, "write -q -P 1 0 1M", "write -q -c -P 2 1M 192k", "write -q -z 2M 1M")
        self.snapshot(image, "one")
        self.io(image, "write -q -P 3 512k 128k", "write -q -z -u 1M 64k", "discard -q 256k 64k")
        self.snapshot(image, "two")
        self.io(image, "write -q -P 4 600k 8k", "write -q -c -P 5 5M 64k")
        return image


class AllIsWell(Scene):
    def test_every_kind_of_amend_passes(self):
        original = self.image(compat="1.1")
        for number, options in enumerate((
                {"compat": "0.10"}, {"compat": "0.10", "zero_clusters": "share"},
                {"compat": "0.10", "zero_clusters": "defer"},
                {"compat": "0.10", "zero_method": "write"}, {"refcount_bits": 64},
                {"lazy_refcounts": "on"}, {"backing_file": "other.raw"},
                {"size": "10M"}, {"size": "8193K"}, {"size": "+20M", "refcount_bits": 32},
                {"size": "3M"}, {"size": "5140K"}, {"compat": "0.10", "backing_file": ""})):
            with self.subTest(options):
                image = self.copy(original, f"{number}.qcow2")
                if "size" in options:  # QEMU, too, grows no image with snapshots of version 2
                    record = self.amended(image, shrink=True, flags=CONTENT, **options)
                elif "backing_file" in options:
                    record = self.amended(image, flags=CONTENT, **options)
                else:
                    record = self.amended_keeping_content(image, flags=CONTENT, **options)
                self.assertEqual(record["verify"], OK)
                self.assertGreater(record["io"]["read_bytes"], 2 * MIB)

    def test_a_dirty_image_that_is_repaired_passes(self):
        image = self.create("dirty.qcow2", lazy_refcounts="on")
        self.killed_io(image, "write -q -P 3 0 512k")
        record = self.amended_keeping_content(image, flags=CONTENT, lazy_refcounts="off")
        self.assertEqual(record["verify"], OK)

    def test_an_encrypted_image_needs_no_passphrase(self):
        image = self.create(flags=["--object", "secret,id=s0,data=hunter2"],
                            **{"encrypt.format": "luks", "encrypt.key-secret": "s0",
                               "encrypt.iter-time": 10})
        record = self.amended(image, flags=CONTENT, refcount_bits=64)
        self.assertEqual(record["verify"]["result"], "ok")

    def test_extended_l2_and_zstd_images_pass(self):
        for name, options in (("subclusters", {"extended_l2": "on", "cluster_size": "128k"}),
                              ("zstd", {"compression_type": "zstd"})):
            image = self.create(f"{name}.qcow2", size="4M", **options)
            self.io(image, "write -q -P 7 0 300k", "write -q -z 1M 32k", "write -q -c -P 6 2M 128k")
            record = self.amended_keeping_content(image, flags=CONTENT, lazy_refcounts="on")
            self.assertEqual(record["verify"]["result"], "ok")

    def test_an_external_data_file_must_be_there(self):
        image = self.create("data.qcow2", data_file=self.path("data.raw"))
        os.unlink(self.path("data.raw"))
        self.refused(image, "not_found", flags=CONTENT, lazy_refcounts="on",
                     words="external data file")

    def test_the_manifest_says_it_for_a_fleet(self):
        images = [self.copy(self.image(compat="1.1"), f"f{i}.qcow2") for i in range(6)]
        answer = self.run_manifest("""
            version: 1
            policy: {verify: content}
            images:
            - path: f*.qcow2
              compat: "0.10"
            """, "--no-state")
        self.assertEqual(answer.code, 0, str(answer))
        self.assertEqual([r["verify"] for r in answer.records],
                         [OK] * len(images))

    def test_only_what_is_allocated_is_read_and_once(self):
        image = self.create("large.qcow2", size="64G")
        self.io(image, "write -q -P 1 0 8M", "write -q -P 2 40G 8M")
        for name in "abcd":
            self.snapshot(image, name)
        record = self.amended(image, flags=CONTENT, lazy_refcounts="on")
        self.assertLess(record["io"]["read_bytes"], 2 * (16 * MIB + 1 * MIB))

    def test_a_dry_run_reads_no_data(self):
        image = self.image()
        answer = qbatch.amend(image, flags=(*CONTENT, "--dry-run"), cwd=self.folder,
                              compat="0.10")
        self.assertEqual((answer.code, answer.status), (0, "would_change"), str(answer))
        self.assertEqual(answer.first["verify"], {"mode": "content", "result": "not_run"})
        self.assertLess(answer.first["io"]["read_bytes"], 1 * MIB)

    def test_other_modes_are_a_usage_error(self):
        answer = qbatch.amend(self.image(), flags=("--verify", "all"), cwd=self.folder, compat="v2")
        self.assertEqual(answer.code, 2, str(answer))
        self.assertIn("none, metadata or content", answer.result.err)


@unittest.skipUnless(os.path.exists(MEDDLER), "MEDDLER names no library")
@unittest.skipIf(os.environ.get("QBATCH_SANITIZED"), OTHER_BUILD)
class Mismatch(Scene):
    """The program's own disk changes a byte while the header is flipped."""

    def setUp(self):
        super().setUp()
        self.state = ["--state", self.path("state")]
        self.flags = ["--io", "posix", *self.state]

    def meddled(self, at, *flags, **kwargs):
        env = {**os.environ, "LD_PRELOAD": MEDDLER, "MEDDLE_AT": str(at)}
        return qbatch.qbatch(*flags, *self.flags, cwd=self.folder, env=env, **kwargs)

    def data_place(self, image):
        entry = self.first_entry(image)[1]
        return (entry & 0x00fffffffffffe00) + 4321

    def amend_meddled(self, image, at, *flags):
        return self.meddled(at, "amend", "--json", *flags, "-o", "compat=0.10", image)

    def test_one_changed_byte_fails_the_image_and_the_run_with_5(self):
        image = self.image(compat="1.1")
        with open(image, "rb") as f:
            sector = f.read(512)
        at = self.data_place(image)
        answer = self.amend_meddled(image, at, *CONTENT)
        self.assertEqual((answer.code, answer.status, answer.error), (5, "failed", "verify"),
                         str(answer))
        self.assertIn("guest data in bytes 0x", answer.first["error"]["message"])
        self.assertLessEqual(answer.first["error"]["offset"], at)
        self.assertGreater(answer.first["error"]["offset"] + MIB, at)
        verify = answer.first["verify"]
        self.assertEqual((verify["mode"], verify["result"]), ("content", "mismatch"))
        self.assertEqual(base64.b64decode(verify["old_sector_base64"]), sector)
        self.assertEqual(answer.summary["exit_code"], 5)
        self.assertIn(f"VERIFICATION FAILED: {image}", answer.result.err)
        self.assertEqual(qcow2.load(image).version, 2)

        run = answer.summary["run"]
        self.assertIn(f"qbatch undo {run} {image}", answer.result.err)
        back = qbatch.qbatch("undo", "--json", *self.state, run, image)
        self.assertEqual((back.code, back.status), (0, "changed"), str(back))
        with open(image, "rb") as f:
            self.assertEqual(f.read(512), sector)
        self.assert_sound(image)

    def test_nothing_of_the_old_image_is_given_back(self):
        """Enough tables are replaced that they would be punched: after the undo, and with the byte
        put right, it is the old image to the bit."""
        image = self.create("many.qcow2", size="512M", cluster_size=512, compat="1.1")
        self.io(image, "write -q -P 1 0 8M", "write -q -z 64M 16M", "discard -q 1M 1M")
        sha, at, blocks = proc.sha256(image), self.data_place(image), os.stat(image).st_blocks
        plain = self.copy(image, "plain.qcow2")
        self.amended(plain, flags=CONTENT, compat="0.10")
        answer = self.amend_meddled(image, at, *CONTENT)
        self.assertEqual(answer.code, 5, str(answer))
        self.assertGreater(os.stat(image).st_blocks, os.stat(plain).st_blocks + 256)
        self.assertGreaterEqual(os.stat(image).st_blocks, blocks)
        back = qbatch.qbatch("undo", *self.state, answer.summary["run"])
        self.assertEqual(back.code, 0, str(back))
        with open(image, "r+b") as f:
            f.seek(at)
            byte = f.read(1)[0]
            f.seek(at)
            f.write(bytes([byte ^ 1]))
        self.assertEqual(proc.sha256(image), sha)

    def test_metadata_alone_does_not_see_data_but_fails_as_loudly(self):
        image = self.image(compat="1.1")
        at = self.data_place(image)
        answer = self.amend_meddled(self.copy(image, "b.qcow2"), at)
        self.assertEqual((answer.code, answer.status), (0, "changed"), str(answer))
        reftable = qcow2.load(image).refcount_table_offset
        found = qcow2.load(self.path("b.qcow2"))
        self.assertNotEqual(found.refcount_table_offset, reftable)
        # a refcount of the amended image: of the header's own cluster, in the first block
        block = found.u64(found.refcount_table_offset)
        answer = self.amend_meddled(image, block + 1)
        self.assertEqual((answer.code, answer.error), (5, "verify"), str(answer))
        self.assertIn("VERIFICATION FAILED", answer.result.err)
        self.assertEqual(answer.first["verify"]["result"], "mismatch")
        run = answer.summary["run"]
        self.assertEqual(qbatch.qbatch("undo", *self.state, run, image).code, 0)
        self.assert_sound(image)

    def test_snapshots_and_compressed_clusters_count(self):
        image = self.image(compat="1.1")
        found = qcow2.load(image)
        one = found.snapshots()[0]
        kept = self.first_entry(image, 256 * KIB, one.l1_table_offset)[1] & 0x00fffffffffffe00
        packed = self.first_entry(image, 1 * MIB + 64 * KIB)[1]
        self.assertTrue(packed >> 62 & 1)
        places = {"a cluster of the first snapshot alone": kept + 99,
                  "a compressed cluster": (packed & ((1 << 54) - 1)) + 2}
        for number, (what, at) in enumerate(places.items()):
            with self.subTest(what):
                answer = self.amend_meddled(self.copy(image, f"{number}.qcow2"), at, *CONTENT)
                self.assertEqual((answer.code, answer.error), (5, "verify"), str(answer))

    def test_the_others_of_a_fleet_are_amended_and_5_wins(self):
        image = self.image(compat="1.1")
        at = self.data_place(image)
        self.create("b.qcow2", size="1M")  # too short a file for the byte
        with open(self.path("c.qcow2"), "wb") as f:
            f.write(b"no image")
        text = self.manifest("""
            version: 1
            policy: {verify: content}
            images:
            - path: [a.qcow2, b.qcow2, c.qcow2]
              lazy_refcounts: on
            """)
        answer = self.meddled(at, "--json", text)
        self.assertEqual(answer.code, 5, str(answer))
        self.assertEqual([(r["error"] or {}).get("code") for r in answer.records],
                         ["verify", None, "not_qcow2"])
        self.assertEqual(answer.records[1]["verify"]["result"], "ok")
        self.assertEqual(answer.summary["exit_code"], 5)

    def test_a_damaged_header_is_a_mismatch_whatever_the_damage_means(self):
        """Of a header that no reader would take for one, of another version, with features that are
        unknown, with a table past the end: nothing of what it says is believed."""
        places = {"magic": 3, "version": 7, "cluster_bits": 23, "size": 24, "l1_size": 36, "l1_offset": 41,
                  "reftable_offset": 49, "nb_snapshots": 60, "refcount_order": 99, "incompatible": 73,
                  "extensions": 121}
        for mode in ("metadata", "content"):
            original = self.create("h.qcow2", backing_fmt="raw", backing=self.raw("b.raw", "1M"))
            with open(original, "rb") as f:
                sector = f.read(512)
            for what, at in places.items():
                with self.subTest((mode, what)):
                    image = self.copy(original, "copy.qcow2")
                    answer = self.meddled(at, "amend", "--json", "--verify", mode, "-o",
                                          "lazy_refcounts=on", image)
                    self.assert_mismatch(answer, sector, SOURCE)
                    kept = os.stat(image)
                    os.utime(image, ns=(kept.st_atime_ns, kept.st_mtime_ns + 1))  # as if written
                    back = qbatch.qbatch("undo", "--json", *self.state, answer.summary["run"])
                    self.assertEqual((back.code, back.error), (1, "changed"), str(back))
                    os.utime(image, ns=(kept.st_atime_ns, kept.st_mtime_ns))
                    back = qbatch.qbatch("undo", "--json", *self.state, answer.summary["run"])
                    self.assertEqual((back.code, back.status), (0, "changed"), str(back))
                    with open(image, "rb") as f:
                        self.assertEqual(f.read(512), sector)
                    self.assert_sound(image)

    def assert_mismatch(self, answer, sector, source):
        self.assertEqual((answer.code, answer.status, answer.error), (5, "failed", "verify"), str(answer))
        self.assertEqual(answer.summary["exit_code"], 5)
        verify = answer.first["verify"]
        self.assertEqual((verify["result"], verify["source"]), ("mismatch", source))
        self.assertEqual(base64.b64decode(verify["old_sector_base64"]), sector)
        self.assertNotIn("nothing was", answer.result.out + answer.result.err)

    def test_a_file_that_became_shorter_is_a_mismatch(self):
        for length in (0, 3, 511, 512, 4096, 1 << 16):
            image = self.create(f"{length}.qcow2", size="4M")
            self.io(image, "write -q -P 1 0 1M", "write -q -z 2M 1M")
            with open(image, "rb") as f:
                sector = f.read(512)
            with self.subTest(length):
                env = {**os.environ, "LD_PRELOAD": MEDDLER, "MEDDLE_LENGTH": str(length)}
                answer = qbatch.qbatch("amend", "--json", *self.flags, "-o", "refcount_bits=64", image,
                                       cwd=self.folder, env=env)
                self.assert_mismatch(answer, sector, SOURCE)

    def test_many_headers_are_read_through_the_cache_and_the_report_says_so(self):
        for n, source in ((8, SOURCE), (9, "cache")):
            images = [self.copy(self.create("first"), f"{n}-{i}.qcow2") for i in range(n)]
            answer = qbatch.qbatch("amend", "--json", *self.flags, "-o", "lazy_refcounts=on", *images)
            self.assertEqual({r["verify"]["source"] for r in answer.records}, {source}, str(answer))
        images = [self.copy(self.create("first"), f"c{i}.qcow2") for i in range(9)]
        answer = qbatch.qbatch("amend", "--json", *self.flags, *CONTENT, "-o", "lazy_refcounts=on", *images)
        self.assertEqual({r["verify"]["source"] for r in answer.records}, {SOURCE}, str(answer))

    def test_entries_that_come_into_use_must_be_zero_after_the_flip(self):
        """L1 entries past the old table, and entries of its last L2 table past the old end."""
        for cluster, size, grown in ((512, "64K", "128K"), (2 << 20, "1G", "1T")):
            image = self.create(f"{cluster}.qcow2", size=size, cluster_size=cluster)
            self.io(image, "write -q -P 7 0 1k")
            found = qcow2.load(image)
            place = found.l1_table_offset + 8 * found.l1_size + 6
            pristine = self.copy(image, "pristine")
            with self.subTest(cluster):
                if os.path.getsize(image) <= place:
                    os.truncate(image, found.l1_table_offset + cluster)
                answer = self.meddled(place, "amend", "--json", "-o", f"size={grown}", image)
                self.assertEqual((answer.code, answer.error), (5, "verify"), str(answer))
                self.assertIn("L1 entry", answer.first["error"]["message"])
            image = self.copy(pristine, "again.qcow2")
            table = found.u64(found.l1_table_offset) & qcow2.L1_OFFSET
            used = -(-found.size // cluster) % (cluster // 8)
            if used:
                answer = self.meddled(table + 8 * used + 6, "amend", "--json", "-o", f"size={grown}", image)
                self.assertEqual((answer.code, answer.error), (5, "verify"), str(answer))

    def test_going_on_with_the_run_does_not_make_it_well(self):
        image = self.image(compat="1.1")
        text = self.manifest("""
            version: 1
            policy: {verify: content}
            images:
            - path: a.qcow2
              compat: "0.10"
            """)
        answer = self.meddled(self.data_place(image), "--json", text)
        self.assertEqual(answer.code, 5, str(answer))
        for _ in range(2):
            again = qbatch.qbatch("--json", *self.state, "--retry-failed", text)
            self.assertEqual((again.code, again.status, again.error), (5, "failed", "verify"),
                             str(again))
        plain = qbatch.qbatch("--json", *self.state, text)
        self.assertEqual((plain.code, plain.status, plain.error), (5, "failed", "verify"), str(plain))
        self.assertEqual(qbatch.qbatch("undo", *self.state, answer.summary["run"]).code, 0)
        self.assertEqual(qcow2.load(image).version, 3)
        again = qbatch.qbatch("--json", *self.state, "--retry-failed", text)
        self.assertEqual((again.code, again.status), (0, "changed"), str(again))
        self.assertEqual(again.first["verify"]["result"], "ok")

    # -- the undo of an image that verification found wrong

    def wrong(self, image, at, *flags, **options):
        """Amends it with a byte changed on the disk; returns the run."""
        keys = [word for key, value in options.items() for word in ("-o", f"{key}={value}")]
        answer = self.meddled(at, "amend", "--json", *flags, *keys, image)
        self.assertEqual((answer.code, answer.error), (5, "verify"), str(answer))
        return answer.summary["run"]

    def unnoticed(self, image, *commands):
        """What a guest does, with the file's time and length as a power cut may leave them."""
        stat = os.stat(image)
        self.io(image, *commands)
        os.truncate(image, stat.st_size)
        os.utime(image, ns=(stat.st_atime_ns, stat.st_mtime_ns))

    def not_undone(self, image, run):
        sha, stat = proc.sha256(image), os.stat(image)
        back = qbatch.qbatch("undo", "--json", *self.state, run)
        self.assertEqual((back.code, back.status, back.error), (1, "failed", "changed"), str(back))
        self.assert_untouched(image, sha, stat)

    def forget_fingerprint(self, run):
        """As a version before it wrote the journal, or a file that could not be read."""
        journal, = glob.glob(os.path.join(self.state[1], "**", f"*{run}*"), recursive=True)
        with open(journal, "rb") as f:
            lines = f.read().split(b"\n")
        with open(journal, "wb") as f:
            for n, line in enumerate(lines):
                if b'"as_found"' in line:
                    rest = line[9:].replace(b'"as_found"', b'"as_other"')
                    lines[n] = b"%08x %s" % (zlib.crc32(rest), rest)
            f.write(b"\n".join(lines))

    def test_what_a_guest_wrote_since_is_not_undone_whatever_the_time_says(self):
        """Into a new cluster, into the cluster that a resize copied, into one that both images have,
        and into all that the amended image counts as free, which is discarded again."""
        writes = {"new": ("write -q -P 7 900k 4k",), "copied": (f"write -q -P 7 {15 * 64 * KIB} 4k",),
                  "in place": ("write -q -P 7 8k 4k",),
                  "freed": ("write -q -P 66 256k 512k", "discard -q 256k 512k")}
        for name, commands in writes.items():
            for keep in ("off", "on"):
                with self.subTest((name, keep)):
                    image = self.create(f"{name}.qcow2", size="1M", cluster_size=512 if name == "freed" else 65536)
                    self.io(image, "write -q -P 1 0 128k", "write -q -z 128k 64k")
                    options = {"compat": "0.10"}
                    if name == "copied":
                        self.io(image, f"write -q -P 3 {15 * 64 * KIB} 64k")
                        proc.must(["qemu-img", "resize", "-q", "--shrink", image, str(1040384)])
                        entry = self.first_entry(image, 15 * 64 * KIB)[1] & 0x00fffffffffffe00
                        with open(image, "r+b") as f:  # past the end: junk, which has to be copied away
                            f.seek(entry + 1040384 % (64 * KIB))
                            f.write(b"\xaa" * 512)
                        options = {"size": "4M"}
                    run = self.wrong(image, self.data_place(image), *CONTENT, keep_undo=keep, **options)
                    stat = os.stat(image)
                    self.unnoticed(image, *commands)
                    self.assertEqual(os.stat(image).st_mtime_ns, stat.st_mtime_ns)
                    self.not_undone(image, run)

    def test_a_byte_written_with_a_wrong_header_or_wrong_tables_is_seen(self):
        """Guests may write anywhere then; a byte that is put back is none that was lost."""
        for what in ("header", "refcounts"):
            with self.subTest(what):
                image = self.create(f"{what}.qcow2", size="4M")
                self.io(image, "write -q -P 1 0 256k")
                plain = self.copy(image, "plain.qcow2")
                self.amended(plain, refcount_bits=64)
                found = qcow2.load(plain)
                at = 7 if what == "header" else found.u64(found.refcount_table_offset) + 7
                run = self.wrong(image, at, refcount_bits=64)
                stat = os.stat(image)
                for place in (self.data_place(plain), stat.st_size - 1, 511):
                    for put_back in (False, True):
                        with open(image, "r+b") as f:
                            f.seek(place)
                            byte = f.read(1)[0]
                            f.seek(place)
                            f.write(bytes([byte ^ 1]))
                        os.utime(image, ns=(stat.st_atime_ns, stat.st_mtime_ns))
                        if not put_back:
                            self.not_undone(image, run)
                back = qbatch.qbatch("undo", "--json", *self.state, run)
                self.assertEqual((back.code, back.status), (0, "changed"), str(back))
                self.assert_sound(image)
                self.assert_reads(image, 0, 256 * KIB, 1)

    def test_a_journal_without_the_fingerprint_undoes_nothing(self):
        image = self.image(compat="1.1")
        run = self.wrong(image, self.data_place(image), *CONTENT, compat="0.10")
        self.forget_fingerprint(run)
        sha, stat = proc.sha256(image), os.stat(image)
        back = qbatch.qbatch("undo", "--json", *self.state, run)
        self.assertEqual((back.code, back.error), (1, "refused"), str(back))
        self.assertIn("fingerprint", back.first["error"]["message"])
        self.assert_untouched(image, sha, stat)

    def test_an_external_data_file_keeps_what_a_guest_wrote(self):
        for what in ("refcounts", "header"):
            with self.subTest(what):
                image = self.create(f"{what}.qcow2", size="4M", data_file=self.path(f"{what}.data"))
                self.io(image, "write -q -P 1 0 256k")
                plain = self.copy(image, "plain.qcow2")
                self.amended(plain, refcount_bits=64)
                found = qcow2.load(plain)
                at = 7 if what == "header" else found.u64(found.refcount_table_offset) + 7
                run = self.wrong(image, at, refcount_bits=64)
                if what == "header":
                    back = qbatch.qbatch("undo", "--json", *self.state, run)
                    self.assertEqual((back.code, back.error), (1, "refused"), str(back))
                    continue
                self.unnoticed(image, "write -q -P 5 64k 64k")
                back = qbatch.qbatch("undo", "--json", *self.state, run)
                self.assertEqual((back.code, back.status), (0, "changed"), str(back))
                self.assert_sound(image)
                self.assert_reads(image, 64 * KIB, 64 * KIB, 5)

    def test_told_to_people_and_to_quiet_ones(self):
        for flags in ((), ("-q",), ("-v",)):
            image = self.image(f"p{len(flags)}{''.join(flags)}.qcow2", compat="1.1")
            at = self.data_place(image)
            answer = self.meddled(at, "amend", *flags, *CONTENT, "-o", "compat=0.10", image)
            self.assertEqual(answer.code, 5, str(answer))
            self.assertEqual(len(re.findall(f"VERIFICATION FAILED: {image}", answer.result.err)),
                             1, str(answer))
            self.assertIn("VERIFICATION FAILED for 1 image", answer.result.err)


if __name__ == "__main__":
    main()
