"""Random images, amends and guests: an undo is refused, and not a byte changes, or nothing is lost.

The guest's traces in the file's times and length are removed, as a power cut may remove them, so that
the proof alone decides.  QB_UNDO_SEEDS=FIRST..LAST tries others than the usual seeds."""
import collections
import os
import random
import shutil
import struct
import tempfile
import unittest

import context  # noqa: F401
import fixture
import guest
import proc
import qbatch
import qcow2

SANITIZED = os.environ.get("QBATCH_SANITIZED")
SEEDS = os.environ.get("QB_UNDO_SEEDS", "0..24" if SANITIZED else "0..99")
KIB, MIB = fixture.KIB, fixture.MIB


class Scene:
    """One image from its making to its undo.  All choices come from the seed."""

    def __init__(self, seed):
        self.dice, self.seed, self.words = random.Random(seed), seed, []
        self.folder = tempfile.mkdtemp(prefix="qbatch-undo-")
        self.image = os.path.join(self.folder, "a.qcow2")
        self.state = ["--state", os.path.join(self.folder, "state")]

    # ---- the image --------------------------------------------------------------------------
    def say(self, *argv):
        self.words.append(" ".join(map(str, argv)))

    def io(self, *commands, killed=False):
        """The guest; a command may fail."""
        argv = ["qemu-io", "-t", "unsafe", "-d", "unmap", "-f", "qcow2"]
        if self.compressed:
            commands = [c for c in commands if " -c " not in c] or ["flush"]
        for command in [*commands, *(["flush", "sigraise 9"] if killed else [])]:
            argv += ["-c", command]
        self.say(*argv[6:])
        proc.run([*argv, self.image], cwd=self.folder)

    def span(self, size):
        unit = self.cluster if self.whole else self.dice.choice([512, 4096, self.cluster, self.cluster])
        first = self.dice.randrange(max(size // unit, 1)) * unit
        length = min(unit * self.dice.choice([1, 1, 2, 3, 8, 30]), size - first)
        return first, max(length - length % 512, 512)

    def command(self, size):
        first, length = self.span(size)
        kind = self.dice.choice(["write", "write", "write", "zero", "unmap", "discard", "packed"])
        if kind == "packed":
            first -= first % self.cluster
            length = min(self.cluster, size - first)
            return f"write -q -c -P {self.dice.randrange(1, 250)} {first} {length}"
        if kind == "write":
            return f"write -q -P {self.dice.randrange(1, 250)} {first} {length}"
        return {"zero": "write -q -z", "unmap": "write -q -z -u",
                "discard": "discard -q"}[kind] + f" {first} {length}"

    def create(self):
        d = self.dice
        self.cluster = d.choice([512, 512, 1024, 4096, 4096, 16384, 65536])
        options = {"cluster_size": self.cluster, "compat": d.choice(["0.10", "1.1", "1.1"])}
        if options["compat"] == "1.1":
            options["refcount_bits"] = d.choice([1, 2, 8, 16, 16, 16, 32, 64])
            options["lazy_refcounts"] = d.choice(["on", "off", "off"])
            if d.random() < 0.15:
                options["compression_type"] = "zstd"
            if d.random() < 0.5 and self.cluster >= 16384:
                options["extended_l2"] = "on"
        self.whole = d.random() < 0.5  # no cluster has subclusters of several sorts
        self.compressed = options.get("extended_l2") == "on"
        self.size = d.choice([d.randrange(1, 200) * 512, d.randrange(1, 2000) * 512,
                              d.randrange(1, 64) * self.cluster, MIB, 1040384])
        argv = ["qemu-img", "create", "-q", "-f", "qcow2", "-o", qbatch.option_string(options)]
        self.backing = d.random() < 0.4
        if self.backing:
            base = os.path.join(self.folder, "base.raw")
            length = d.choice([self.size, self.size // 2 + 512, 3 * self.size]) // 512 * 512
            with open(base, "wb") as f:
                f.write(bytes([d.randrange(1, 250)]) * length)
            shutil.copyfile(base, os.path.join(self.folder, "other-name-of-the-base.raw"))
            argv += ["-b", "base.raw", "-F", "raw"]
        proc.must([*argv, self.image, str(self.size)], cwd=self.folder)
        self.say(*argv[5:], self.size)

    def live(self):
        d = self.dice
        for _ in range(d.randrange(4)):
            self.io(*(self.command(self.size) for _ in range(d.randrange(1, 6))),
                    killed=d.random() < 0.07)
            if d.random() < 0.3:
                self.snapshot("-c", f"s{d.randrange(100)}")

    def snapshot(self, *argv):
        self.say("snapshot", *argv)
        return proc.run(["qemu-img", "snapshot", *argv, self.image], cwd=self.folder).code

    # ---- the amend --------------------------------------------------------------------------
    def request(self):
        d, options = self.dice, {}
        kinds = d.sample(["compat", "size", "size", "refcount_bits", "lazy", "backing"],
                         d.choice([1, 1, 2, 3]))
        if self.cluster >= 16384 and d.random() < 0.6:
            kinds.append("extended_l2")
        if "compat" in kinds:
            options["compat"] = d.choice(["0.10", "0.10", "1.1"])
        if "size" in kinds:
            options["size"] = d.choice([self.size + d.randrange(1, 100) * 512, 3 * self.size,
                                        self.size + 512, 8 * MIB, 4 * MIB,
                                        max(self.size // 2 // 512, 1) * 512, 512,
                                        max(self.size - self.cluster, 512) // 512 * 512])
        if "refcount_bits" in kinds:
            options["refcount_bits"] = d.choice([1, 2, 4, 8, 16, 32, 64])
        if "lazy" in kinds:
            options["lazy_refcounts"] = d.choice(["on", "off"])
        if "extended_l2" in kinds:
            options["extended_l2"] = "off" if self.compressed else "on"
            if options["extended_l2"] == "on":
                options["compat"] = "1.1"
        if "backing" in kinds and self.backing:
            options["backing_file"] = "other-name-of-the-base.raw"
        options["zero_method"] = d.choice(["auto", "write", "falloc"])
        options["zero_clusters"] = d.choice(["allocate", "allocate", "share", "defer"])
        if options.get("zero_clusters") == "allocate" and d.random() < 0.15:
            options["preallocation"] = d.choice(["metadata", "falloc"])
        return options

    def amend(self):
        options = self.request()
        self.say("amend", qbatch.option_string(options))
        answer = qbatch.amend(self.image, shrink=True, flags=self.state, cwd=self.folder,
                              keep_undo="on", **options)
        assert not answer.crashed, str(answer)
        return answer

    # ---- the guest afterwards ---------------------------------------------------------------
    def meddle(self):
        """What happens to the amended image; returns how much that was."""
        d, size = self.dice, qcow2.load(self.image).size
        n = d.choice([0, 0, 1, 1, 2, 3])
        for _ in range(n if size else 0):
            kind = d.choice(["io", "io", "io", "io and back", "killed", "snapshot", "came and went",
                             "leaks", "rebase"])
            if kind in ("io", "killed"):
                self.io(*(self.command(size) for _ in range(d.randrange(1, 5))),
                        killed=kind == "killed")
            elif kind == "io and back":
                first, length = self.span(size)
                self.io(f"write -q -P 77 {first} {length}", f"discard -q {first} {length}")
            elif kind == "snapshot":
                self.snapshot("-c", "late")
            elif kind == "came and went" and self.snapshot("-c", "guest") == 0:
                self.io(self.command(size))
                self.snapshot("-d", "guest")
            elif kind == "leaks":
                self.say("check -r leaks")
                proc.run(["qemu-img", "check", "-r", "leaks", self.image], cwd=self.folder)
            elif kind == "rebase" and self.backing:
                self.say("rebase -u")
                proc.run(["qemu-img", "rebase", "-u", "-b", "base.raw", "-F", "raw", self.image],
                         cwd=self.folder)
        return n

    def forget(self, stat):
        """The file's times, and often its length, are what they were."""
        if self.dice.random() < 0.8:
            os.truncate(self.image, stat.st_size)
        os.utime(self.image, ns=(stat.st_atime_ns, stat.st_mtime_ns))

    def undo(self, run):
        return qbatch.qbatch("undo", "--json", *self.state, run, cwd=self.folder)

    def facts(self):
        """What the header says of the image, without what QEMU adds to it."""
        i = guest.info(self.image)
        data = i["format-specific"]["data"]
        return (i["virtual-size"], i["cluster-size"], i.get("backing-filename"),
                i.get("backing-filename-format"), data["compat"], data.get("refcount-bits"),
                data.get("lazy-refcounts"), data.get("compression-type"), data.get("extended-l2"))

    def cleanup(self):
        shutil.rmtree(self.folder, ignore_errors=True)


def spliced(head, whole):
    """The bytes of `head`, and behind them those of `whole`."""
    chunks = dict(whole.with_zeros(0, head.size).chunks)
    for number, data in head.chunks.items():
        chunks[number] = data + chunks.get(number, b"")[len(data):]
    return guest.Content(whole.size, chunks)


class UndoRandom(unittest.TestCase):
    def judge(self, scene, before, errors, facts, saw):
        """The undo said that it was done.  (A dirty image may have errors, and has them again.)"""
        _, corruptions, _, words = guest.check(scene.image)
        self.assertLessEqual(corruptions, errors, words)
        self.assertEqual(scene.facts(), facts)
        now = guest.read_all(scene.image)
        self.assertEqual(now.keys(), saw.keys())
        for name, content in saw.items():
            wanted = content
            if name == "active" and content.size < scene.size:  # what the shrink cut is back
                wanted = spliced(content, before["active"])
            elif name == "active":
                wanted = content.resized(scene.size)
                self.assertTrue(wanted.resized(content.size) == content,
                                "what a guest wrote past the old end is lost")
            self.assertTrue(now[name] == wanted, f"{name}: {now[name].difference(wanted)}")

    def one(self, scene):
        scene.create()
        scene.live()
        _, errors, _, _ = guest.check(scene.image)
        facts, before = scene.facts(), guest.read_all(scene.image)
        was = proc.sha256(scene.image)
        answer = scene.amend()
        if answer.status != "changed":
            return "not amended"
        code, corruptions, _, words = guest.check(scene.image)
        self.assertIn(code, (0, 3), words)
        self.assertEqual(corruptions, 0, words)
        stat = os.stat(scene.image)
        meddled = scene.meddle()
        scene.forget(stat)
        sha = proc.sha256(scene.image)
        try:
            saw = guest.read_all(scene.image)
        except (guest.Unreadable, struct.error, RuntimeError):
            saw = None
        undone = scene.undo(answer.summary["run"])
        self.assertFalse(undone.crashed, str(undone))
        scene.words.append(str(undone))
        if undone.code:
            self.assertEqual(undone.code, 1)
            self.assertEqual(proc.sha256(scene.image), sha, "refused, and yet written")
            self.assertTrue(meddled, "refused, and nobody had touched the image")
            return "refused"
        if undone.status == "unchanged":  # the guest has rebased it to what it was
            self.assertEqual(proc.sha256(scene.image), sha)
            return "as it was"
        self.assertIsNotNone(saw, "an image that QEMU could not read was undone")
        self.judge(scene, before, errors, facts, saw)
        if not meddled and "backing_file" not in " ".join(scene.words):
            self.assertEqual(proc.sha256(scene.image), was)
        return "undone, and the guest's bytes are kept" if sha != was and meddled else "undone"

    def test_an_undo_is_refused_or_loses_nothing(self):
        first, last = map(int, SEEDS.split(".."))
        outcomes = collections.Counter()
        for seed in range(first, last + 1):
            with self.subTest(seed=seed):
                scene = Scene(seed)
                try:
                    outcomes[self.one(scene)] += 1
                except AssertionError as e:
                    raise AssertionError("\n".join([str(e), *scene.words])) from None
                finally:
                    scene.cleanup()
        print(dict(outcomes), end=" ... ")
        if SEEDS == "0..99":
            self.assertGreater(outcomes["refused"], 10)
            self.assertGreater(outcomes["undone, and the guest's bytes are kept"], 0)
            self.assertGreater(outcomes["undone"], 10)


if __name__ == "__main__":
    fixture.main()
