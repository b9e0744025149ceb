"""A seed of a raw disk: it becomes an image with any other keys, beside an image that may be based on it."""
import os
import random
import shutil

import guest
import on_device
import proc
import qbatch
import qcow2
from recipe import CLUSTER_SIZES, IMAGE, KIB, MIB, qemu_io, sectors

BESIDE = "beside.qcow2"
# What the first sector of an image of some format is.
MAGICS = [b"QFI\xfb\0\0\0\3", b"QFI\xfb\0\0\0\1", b"QED\0", b"KDMV", b"vhdxfile", b"conectix", b"LUKS\xba\xbe"]


class Disk:
    """The recipe of the disk, and what is asked for it."""

    def __init__(self, rng, device):
        self.device = device
        self.cluster = rng.choice(CLUSTER_SIZES)
        self.size = self.length(rng)
        self.writes = [self.write(rng) for _ in range(rng.randint(0, 8))]
        self.magic = rng.choice(MAGICS) if self.size >= 512 and rng.random() < 0.08 else b""
        self.reserved = rng.random() < 0.15
        self.overlay = rng.choice([*[""] * 9, "backing", "data", "backing later"]) if not device else ""
        self.options = self.request(rng)
        self.grown = int(self.options["size"]) if "size" in self.options else -(-self.size // 512) * 512

    def length(self, rng):
        most = rng.choice([600, 70 * KIB, 3 * MIB, 20 * MIB])
        if self.device or rng.random() < 0.3:
            return self.cluster * rng.randint(1, most // self.cluster + 1)
        return rng.randint(1, most)

    def write(self, rng):
        at, unit = rng.randrange(self.size), rng.choice([1, 512, 4096, self.cluster])
        return at // unit * unit, rng.randint(1, max(1, min(self.size - at // unit * unit, 300 * KIB))), rng.randint(1, 255)

    def request(self, rng):
        options = {"convert.from": "raw", "convert.to": "qcow2", "cluster_size": str(self.cluster)}
        extended = self.cluster >= 16 * KIB and rng.random() < 0.3
        wide = rng.choice([None, 1, 2, 4, 8, 16, 32, 64])
        if rng.random() < 0.25:
            options["compat"] = "0.10"
            return self.with_size(rng, options)
        options.update({"extended_l2": "on"} if extended else {})
        options.update({"refcount_bits": str(wide)} if wide else {})
        options.update({"lazy_refcounts": "on"} if rng.random() < 0.3 else {})
        options.update({"compression_type": rng.choice(["zlib", "zstd"])} if rng.random() < 0.3 else {})
        if rng.random() < 0.3:
            options.update({"bitmaps.add.0.name": "day", "bitmaps.add.0.granularity": str(512 << rng.choice([0, 3, 7, 11]))})
        return self.with_size(rng, options)

    def with_size(self, rng, options):
        whole = -(-self.size // 512) * 512
        if self.device:
            options["size"] = str(self.size)
        elif rng.random() < 0.3:
            options["size"] = str(sectors(rng, whole, whole + 40 * self.cluster))
        return options

    def refusal(self):
        if self.magic:
            return "what looks like an image"
        return "another image has it as raw" if self.overlay else ""

    def make(self, folder, report):
        path = os.path.join(folder, IMAGE)
        with open(path, "wb") as f:
            f.truncate(self.size)
            if self.reserved:
                os.posix_fallocate(f.fileno(), 0, self.size)
            for at, length, byte in self.writes:
                f.seek(at)
                f.write(bytes([byte]) * length)
            f.seek(0)
            f.write(self.magic)
        backing = ["-b", IMAGE, "-F", "raw"] if self.overlay == "backing" else []
        proc.must(["qemu-img", "create", "-q", "-f", "qcow2", *backing, BESIDE, "1M"], cwd=folder)
        if self.overlay == "data":  # it has been another file's
            proc.must(["qemu-img", "create", "-q", "-f", "qcow2", "-o", "data_file=other", BESIDE, "1M"], cwd=folder)
            proc.must(["qemu-img", "amend", "-f", "qcow2", "-o", f"data_file={IMAGE}", BESIDE], cwd=folder)
        report.commands.append([f"raw disk of {self.size} bytes", f"magic {self.magic!r}", f"reserved {self.reserved}",
                                f"overlay {self.overlay!r}", *map(str, self.writes)])


def manifest(disk, more=""):
    keys = {}
    for key, value in disk.options.items():
        if key.startswith("bitmaps."):
            keys.setdefault("bitmaps", {"add": [{}]})["add"][0][key.rpartition(".")[2]] = value
        elif "." in key:
            keys.setdefault("convert", {})[key.partition(".")[2]] = value
        else:
            keys[key] = value
    later = f", backing_file: {IMAGE}, backing_fmt: raw" if disk.overlay == "backing later" else ""
    return "\n".join(["version: 1", "policy: {verify: content, allow_shrink: on}", "images:",
                      "  - {path: %s, %s%s}" % (IMAGE, flow(keys)[1:-1], more),
                      f"  - {{path: {BESIDE}, lazy_refcounts: on{later}}}"]) + "\n"


def flow(value):
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k}: {flow(v)}" for k, v in value.items()) + "}"
    return "[" + ", ".join(map(flow, value)) + "]" if isinstance(value, list) else f'"{value}"'


def run(disk, tool, folder, seed, more=""):
    """The record of the disk, and the answer."""
    with open(os.path.join(folder, "manifest.yaml"), "w", encoding="utf-8") as f:
        f.write(manifest(disk, more))
    answer = qbatch.qbatch("--json", "--io", ["auto", "posix"][seed % 2], "--state", os.path.join(folder, "state"),
                           "manifest.yaml", tool=tool.path, cwd=folder)
    return disk_of(answer), answer


def disk_of(answer):
    return next((r for r in answer.records if os.path.basename(r["path"]) == IMAGE), {})


def run_on(disk, tool, folder, seed):
    """On a device that gets what it lacks."""
    for _ in range(3):
        with on_device.node(folder):
            record, answer = run(disk, tool, folder, seed)
        if (record.get("error") or {}).get("code") != "no_space":
            break
        on_device.lengthen(folder, record["space"]["device_lacks_bytes"])
    return record, answer


def check_image(disk, before, folder, report):
    path = os.path.join(folder, IMAGE)
    code, corruptions, leaks, words = guest.check(path)
    if (code, corruptions, leaks) != (0, 0, 0):
        report.complain("broken metadata", f"exit {code}, {corruptions} corruptions, {leaks} leaks: {words}")
        return
    found = guest.read_active(path)
    if found != before.resized(disk.grown):
        report.complain("wrong content", found.difference(before.resized(disk.grown)))
    image, asked = qcow2.load(path), disk.options
    now = {"version": image.version, "refcount_bits": image.refcount_bits, "cluster_size": image.cluster_size,
           "extended": bool(image.ext_l2), "lazy": bool(image.compatible_features & qcow2.COMPAT_LAZY),
           "zstd": bool(image.incompatible_features & qcow2.INCOMPAT_ZSTD)}
    wanted = {"version": 2 if asked.get("compat") == "0.10" else 3, "refcount_bits": int(asked.get("refcount_bits", 16)),
              "cluster_size": disk.cluster, "extended": "extended_l2" in asked, "lazy": "lazy_refcounts" in asked,
              "zstd": asked.get("compression_type") == "zstd"}
    if now != wanted:
        report.complain("not as asked", f"{now} instead of {wanted}")
    names = [b["name"] for b in guest.info(path)["format-specific"]["data"].get("bitmaps", [])]
    if names != ([asked["bitmaps.add.0.name"]] if "bitmaps.add.0.name" in asked else []):
        report.complain("not as asked", f"bitmaps {names}")
    if not disk.device and os.path.getsize(path) % 512:
        report.complain("odd file length", str(os.path.getsize(path)))


def check_next_write(disk, before, folder, report):
    """A guest writes at the end and in the first cluster: all else stays."""
    path, end = os.path.join(folder, IMAGE), disk.grown
    proc.must(qemu_io(path, "qcow2", [f"write -q -P 238 {end - 512} 512", "write -q -P 237 0 512"]))
    found = guest.read_active(path)
    wanted = before.resized(disk.grown)
    if found.with_zeros(0, 512).with_zeros(end - 512, end) != wanted.with_zeros(0, 512).with_zeros(end - 512, end):
        report.complain("next write changes other bytes", "")
    code, corruptions, leaks, words = guest.check(path)
    if (code, corruptions, leaks) != (0, 0, 0) and "lazy_refcounts" not in disk.options:
        report.complain("broken metadata after a write", f"exit {code}, {corruptions}, {leaks}: {words}")


def check_undo(disk, tool, folder, seed, report):
    """In a copy: an undo makes it the disk again, to the byte."""
    copy = folder + ".kept"
    proc.must(["cp", "-a", "--sparse=always" if not disk.reserved else "--sparse=never", folder, copy])
    path = os.path.join(copy, IMAGE)
    try:
        sha = proc.sha256(path)
        record, answer = run(disk, tool, copy, seed, ", keep_undo: on")
        if record.get("status") != "changed":
            report.complain("not converted with keep_undo", str(answer))
            return
        undone = qbatch.qbatch("undo", "--json", "--state", os.path.join(copy, "state"), "last", tool=tool.path, cwd=copy)
        if disk_of(undone).get("status") != "changed" or proc.sha256(path) != sha:  # the other image kept none
            report.complain("not undone", str(undone))
    finally:
        shutil.rmtree(copy, ignore_errors=True)


def one_seed(seed, tool, folder, report):
    rng = random.Random(seed + (1 << 32))
    disk = Disk(rng, tool.on_device)
    disk.make(folder, report)
    path = os.path.join(folder, IMAGE)
    before, sha = guest.read_raw(path), proc.sha256(path)
    if disk.device:
        on_device.pad(folder, rng)
        sha = proc.sha256(path)
    elif seed % 2 == 0 and not disk.refusal():
        check_undo(disk, tool, folder, seed, report)
    record, answer = (run_on if disk.device else run)(disk, tool, folder, seed)
    report.commands.append([*answer.result.argv, manifest(disk)])
    report.outcome = "refused" if record.get("status") == "failed" else record.get("status", "unclear")
    if disk.refusal():
        if (record.get("error") or {}).get("code") != "refused" or proc.sha256(path) != sha:
            report.complain("not refused", f"although {disk.refusal()}: {answer}")
    elif record.get("status") != "changed":
        report.complain("needless refusal", str(answer))
    else:
        check_image(disk, before, folder, report)
        check_second_run(disk, tool, folder, seed, report)
        if not report.violations:
            check_next_write(disk, before, folder, report)


def check_second_run(disk, tool, folder, seed, report):
    """A new run does not know whether a guest wrote that header."""
    if disk.device:
        return
    path = os.path.join(folder, IMAGE)
    sha = proc.sha256(path)
    record, answer = run(disk, tool, folder, seed)
    if record.get("status") == "changed" or proc.sha256(path) != sha:
        report.complain("second run wrote", str(answer))
