"""Clusters whose subclusters differ, where extended L2 entries go: each becomes a copy of what the guest reads there."""
import json
import os
import random
import unittest

import context  # noqa: F401
import guest
import proc
import qbatch
import qcow2
from fixture import KIB, MIB, OTHER_BUILD, ImageTest, main
from test_undo_proof import UndoTest

CONTENT = ("--verify", "content")
MEDDLER = os.environ.get("MEDDLER", "")
LUKS = {"encrypt.format": "luks", "encrypt.key-secret": "s0", "encrypt.iter-time": 10}
SECRET = ("--object", "secret,id=s0,data=hunter2")


class Scene(ImageTest):
    def backed(self, base="1M", size="2M", name="a.qcow2", **options):
        self.raw("base.raw", base, f"write -q -P 77 0 {base}")
        return self.create(name, size=size, backing="base.raw", backing_fmt="raw", extended_l2="on", **options)

    def partial(self, image):
        """Data, zeros and nothing in one cluster; each pair of them in others; below and past the backing file's end."""
        for at in (0, MIB, MIB - 64 * KIB):
            self.io(image, f"write -q -P 1 {at} 2k", f"write -q -z {at + 6 * KIB} 4k", f"write -q -P 2 {at + 62 * KIB} 2k")
        self.io(image, "write -q -P 3 128k 62k", "write -q -z 190k 2k", "write -q -z 256k 2k", "write -q -P 4 320k 2k",
                "write -q -z 1152k 4k", "write -q -P 5 1216k 64k", "write -q -c -P 6 1280k 64k", "write -q -z 1344k 64k")
        self.assertGreater(qcow2.load(image).partial(), 5)
        return image


class Copied(Scene, UndoTest):
    def assert_lives_on(self, image):
        """A guest writes to it, and every snapshot stays what it was."""
        before = guest.read_all(image)
        self.io(image, "write -q -P 9 1k 3k", "write -q -P 9 129k 1k", "write -q -P 9 1000k 100k", "discard -q 256k 64k")
        after = guest.read_all(image)
        for name in before.keys() - {"active"}:
            self.assertTrue(before[name] == after[name], name)
        self.assert_reads(image, 1 * KIB, 3 * KIB, 9)
        self.assert_sound(image)

    def test_over_a_backing_file_and_without_one(self):
        for request in ({"extended_l2": "off"}, {"compat": "0.10"}, {"extended_l2": "off", "refcount_bits": 64}):
            for backed in ("1M", "1501k", ""):
                with self.subTest(backed=backed, **request):
                    image = self.partial(self.backed(backed) if backed else self.create(size="2M", extended_l2="on"))
                    record = self.amended_keeping_content(image, flags=CONTENT, **request)
                    self.assertEqual(record["verify"]["result"], "ok")
                    self.assertFalse(qcow2.load(image).ext_l2)
                    self.assert_lives_on(image)
                    self.amended(image, status="unchanged", **request)

    def test_a_host_cluster_that_snapshots_name_with_other_subclusters(self):
        image = self.partial(self.backed())
        self.snapshot(image, "one")
        self.io(image, "write -q -z 0 2k", "write -q -z 20k 2k", "write -q -z 128k 2k")  # the same host clusters
        self.snapshot(image, "two")
        self.io(image, "write -q -z 40k 2k", "write -q -P 8 1154k 2k")
        found = qcow2.load(image)
        first = [e & qcow2.L2_OFFSET for _, cluster, e in found.entries() if cluster == 0]
        self.assertEqual((len(first), len(set(first))), (3, 1))
        self.amended_keeping_content(image, flags=CONTENT, extended_l2="off")
        first = [e & qcow2.L2_OFFSET for _, cluster, e in qcow2.load(image).entries() if cluster == 0]
        self.assertEqual((len(first), len(set(first))), (3, 3))
        self.assert_lives_on(image)
        for name in ("one", "two"):
            before = guest.read_all(image)[f"snapshot {name}"]
            proc.must(["qemu-img", "snapshot", "-a", name, image])
            self.assertTrue(guest.read_all(image)["active"] == before)
            self.assert_sound(image)

    def test_tables_that_snapshots_share_share_the_copies(self):
        image = self.partial(self.create(size="2M", extended_l2="on"))
        copies = qcow2.load(image).partial()
        for name in "abcd":
            self.snapshot(image, name)
        one = {e & qcow2.L2_OFFSET for _, _, e in qcow2.load(image).entries()} - {0}
        self.amended_keeping_content(image, flags=CONTENT, extended_l2="off")
        found = qcow2.load(image)
        self.assertEqual(len({e & qcow2.L2_OFFSET for _, _, e in found.entries() if not e & qcow2.COMPRESSED} - one - {0}), copies)
        self.assert_lives_on(image)

    def test_what_is_asked_for_at_once(self):
        for request in ({"size": 3 * MIB}, {"size": 1025 * KIB}, {"size": 63 * KIB}, {"size": 130 * KIB + 512},
                        {"size": 191 * KIB}, {"size": 3 * MIB, "compat": "0.10"}, {"preallocation": "metadata"},
                        {"size": 3 * MIB, "preallocation": "falloc"}, {"reclaim.zeros": "on"},
                        {"compat": "0.10", "zero_clusters": "defer"}, {"compat": "0.10", "zero_clusters": "share"}):
            for base in ("1M", "3M"):
                with self.subTest(base=base, **request):
                    image = self.partial(self.backed(base))
                    request = {"extended_l2": "off", **request}
                    self.amended_keeping_content(image, shrink=True, flags=CONTENT, **request)
                    self.amended_keeping_content(image, flags=CONTENT, size=4 * MIB)

    def test_anything_anywhere(self):
        for seed in range(8):
            with self.subTest(seed=seed):
                rng = random.Random(seed)
                cluster = rng.choice((16, 64, 128, 2048)) * KIB
                size = rng.randrange(1, 40) * cluster + rng.choice((0, 512, cluster // 2))
                base = rng.choice((size, size // 2 // 512 * 512 + 512, size + 5 * cluster))
                image = self.backed(str(base), str(size), cluster_size=cluster)
                for step in range(3):
                    self.io(image, *[self.write(rng, size, cluster) for _ in range(30)])
                    self.snapshot(image, f"s{step}")
                self.io(image, *[self.write(rng, size, cluster) for _ in range(30)])
                self.amended_keeping_content(image, flags=CONTENT, extended_l2="off", refcount_bits=rng.choice((16, 64)))

    def write(self, rng, size, cluster):
        sub = cluster // 32
        at = rng.randrange(0, size // sub) * sub
        length = min(rng.randrange(1, 40) * sub, size - at)
        return f"{rng.choice(('write -q -z', 'write -q -z -u', f'write -q -P {rng.randrange(1, 250)}'))} {at} {length}"

    def test_a_dry_run_says_how_long_the_file_will_be(self):
        image = self.partial(self.backed())
        sha, copies = proc.sha256(image), qcow2.load(image).partial()
        said = self.amended(image, flags=("--dry-run",), status="would_change", extended_l2="off")
        self.assertEqual(proc.sha256(image), sha)
        done = self.amended(image, extended_l2="off")
        self.assertEqual(said["space"]["file_size_after_bytes"], done["space"]["file_size_after_bytes"])
        self.assertEqual(os.path.getsize(image), said["space"]["file_size_after_bytes"])
        self.assertEqual((said["clusters"]["copied"], done["clusters"]["copied"]), (copies, copies))

    def test_what_is_not_read_is_refused_by_name(self):
        image = self.create("luks.qcow2", extended_l2="on", flags=SECRET, **LUKS)
        proc.must(["qemu-io", *SECRET, "--image-opts", "-c", "write -q 64k 2k",
                   f"driver=qcow2,file.filename={image},encrypt.key-secret=s0"])
        for request in ({"extended_l2": "off"}, {"compat": "0.10"}):
            self.refused(image, "unsupported", words="guest byte 65536", **request)
        image = self.create("data.qcow2", extended_l2="on", data_file=self.path("d.raw"))
        self.io(image, "write -q 64k 2k")
        self.refused(image, "unsupported", words="external data file", extended_l2="off")
        self.create("base.qcow2", flags=SECRET, **LUKS)
        image = self.create("over.qcow2", extended_l2="on", flags=("-u",), backing="base.qcow2")
        self.written_alone(image)
        self.refused(image, "unsupported", words="base.qcow2, which is encrypted", extended_l2="off")
        for backing, code in (("nbd://localhost:1/none", "unsupported"), ("gone.raw", "backing_missing")):
            image = self.create("over.qcow2", extended_l2="on", flags=("-u",), backing=backing, backing_fmt="raw")
            self.written_alone(image)
            self.refused(image, code, extended_l2="off")

    def written_alone(self, image):
        """2 KiB, without the backing file."""
        options = {"driver": "qcow2", "backing": None, "file": {"driver": "file", "filename": image}}
        proc.must(["qemu-io", "-c", "write -q 64k 2k", "json:" + json.dumps(options)])

    def test_its_backing_file_must_be_one_that_the_owner_can_read(self):
        if os.geteuid() != 0:
            self.skipTest("needs root, to give the image to another user")
        image = self.partial(self.backed())
        os.chmod(self.path("base.raw"), 0o600)
        os.chmod(self.folder, 0o755)
        os.chown(image, 1, 1)
        self.refused(image, "backing_refused", extended_l2="off")

    def test_copies_that_would_be_zeros_are_none_with_reclaim(self):
        for request in ({"extended_l2": "off"}, {"compat": "0.10"}):
            for backed in ("", "1M"):
                image = self.backed(backed) if backed else self.create(size="2M", extended_l2="on")
                self.io(image, "write -q -P 0 0 4k", "write -q -P 0 1152k 4k", "write -q -z 1156k 4k", "write -q -P 1 1216k 2k",
                        "write -q -P 0 512k 4k", "write -q -z 516k 60k")
                asked = {"reclaim.zeros": "on", **request}
                self.amended_keeping_content(image, flags=CONTENT, **asked)
                self.assertEqual(self.amended(image, status="unchanged", **asked)["clusters"]["allocated"],
                                 1 if not backed else 2 if "compat" not in request else 4)

    def test_an_undo_brings_back_the_subclusters_unless_a_copy_was_written(self):
        for request in ({"extended_l2": "off"}, {"compat": "0.10"}, {"extended_l2": "off", "size": 1025 * KIB}):
            with self.subTest(**request):
                image = self.partial(self.backed())
                self.snapshot(image, "one") if "size" not in request else None
                self.io(image, "write -q -z 0 2k")
                before, sha = guest.read_all(image), proc.sha256(image)
                run = self.amend(image, **request)
                self.undone(run)
                self.assertEqual(proc.sha256(image), sha)
                self.assert_same_layers(before, guest.read_all(image))
                run = self.amend(image, **request)
                self.unnoticed(image, self.io, image, "write -q -P 9 129k 512")
                self.refused_to_undo(image, run)


@unittest.skipUnless(os.path.exists(MEDDLER), "MEDDLER names no library")
@unittest.skipIf(os.environ.get("QBATCH_SANITIZED"), OTHER_BUILD)
class Mismatch(Scene):
    def test_a_copy_that_is_not_what_was_copied_is_found(self):
        image = self.partial(self.backed())
        plain = self.copy(image, "plain.qcow2")
        self.amended(plain, extended_l2="off")
        for guest_byte in (0, 63 * KIB, 8 * KIB, 30 * KIB, 130 * KIB, 1152 * KIB):
            with self.subTest(guest_byte):
                at = (self.first_entry(plain, guest_byte // (64 * KIB) * 64 * KIB)[1] & qcow2.L2_OFFSET) + guest_byte % (64 * KIB)
                env = {**os.environ, "LD_PRELOAD": MEDDLER, "MEDDLE_AT": str(at)}
                answer = qbatch.qbatch("amend", "--json", *CONTENT, "-o", "extended_l2=off",
                                       self.copy(image, "copy.qcow2"), "--io", "posix", "--state", self.path("state"), cwd=self.folder, env=env)
                self.assertEqual((answer.code, answer.error), (5, "verify"), str(answer))


if __name__ == "__main__":
    main()
