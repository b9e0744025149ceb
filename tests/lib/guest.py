"""What a guest sees: the content of the active layer and of every snapshot, as QEMU reads it.

`cwd` is where QEMU is started: it takes the relative name of an external data file from there."""
import json
import os

import qcow2
from proc import copy_sparse, data_runs, must, run

CHUNK = 1 << 16


class Unreadable(Exception):
    """QEMU itself cannot read this layer."""


class Content:
    """A disk's bytes, zeros left out: {chunk number: bytes without trailing zeros}."""

    def __init__(self, size, chunks):
        self.size, self.chunks = size, chunks

    def resized(self, size):
        """The same bytes up to `size`, zeros behind the old end."""
        kept = {}
        for number, data in self.chunks.items():
            data = data[:max(0, size - number * CHUNK)].rstrip(b"\0")
            if data:
                kept[number] = data
        return Content(size, kept)

    def with_zeros(self, first, end):
        """The same bytes, zeros in [first, end)."""
        return self._patched(self.resized(first), end)

    def _patched(self, head, end):
        chunks = dict(head.chunks)
        for number, data in self.chunks.items():
            start = max(end - number * CHUNK, 0)
            if start < len(data):
                low = chunks.get(number, b"").ljust(start, b"\0")[:start]
                chunks[number] = low + data[start:]
        return Content(self.size, chunks)

    def __eq__(self, other):
        return self.size == other.size and self.chunks == other.chunks

    def difference(self, other):
        """Where the first difference is, for people."""
        if self.size != other.size:
            return f"size {self.size} instead of {other.size}"
        for number in sorted(self.chunks.keys() | other.chunks.keys()):
            mine = self.chunks.get(number, b"").ljust(CHUNK, b"\0")
            theirs = other.chunks.get(number, b"").ljust(CHUNK, b"\0")
            if mine != theirs:
                at = next(i for i in range(CHUNK) if mine[i] != theirs[i])
                return (f"byte {number * CHUNK + at:#x} reads {mine[at]:#04x}, "
                        f"not {theirs[at]:#04x}")
        return "none"


def read_raw(path):
    chunks = {}
    with open(path, "rb") as f:
        size = os.fstat(f.fileno()).st_size
        for first, end in list(data_runs(f.fileno())):
            for number in range(first // CHUNK, (end + CHUNK - 1) // CHUNK):
                f.seek(number * CHUNK)
                data = f.read(CHUNK).rstrip(b"\0")
                if data:
                    chunks[number] = data
    return Content(size, chunks)


def qemu_img(*argv, cwd=None):
    done = run(["qemu-img", *argv], cwd=cwd)
    if done.code:
        raise Unreadable(f"{done.argv}: {done.err}")


def convert(image, *options, cwd=None):
    """The disk as a guest would read it.  Options go to `qemu-img convert`."""
    image = os.path.abspath(image)
    raw = image + ".raw"
    try:
        qemu_img("convert", "-t", "unsafe", "-O", "raw", *options, image, raw, cwd=cwd)
        return read_raw(raw)
    finally:
        if os.path.exists(raw):
            os.unlink(raw)


def read_active(image, cwd=None):
    return convert(image, "-f", "qcow2", cwd=cwd)


def read_snapshot(image, snapshot, disk_size, cwd=None):
    """QEMU reads a snapshot only at the active disk's size.  One of another size is read from a copy
    whose header calls the snapshot's tables the active ones."""
    if snapshot.disk_size == disk_size:
        return convert(image, "-f", "qcow2", "-l", f"snapshot.id={snapshot.id}", cwd=cwd)
    copy = image + ".back"
    copy_sparse(image, copy)
    qcow2.patch_header(copy, size=snapshot.disk_size, l1_size=snapshot.l1_size,
                       l1_table_offset=snapshot.l1_table_offset)
    if qcow2.load(copy).version > 2:
        qcow2.patch_header(copy, autoclear_features=0)  # bitmaps have the other size
    try:
        return read_active(copy, cwd)
    finally:
        os.unlink(copy)


def read_all(image, cwd=None):
    """{layer: Content} of the active layer and of every snapshot."""
    found = qcow2.load(image)
    layers = {"active": read_active(image, cwd)}
    for snapshot in found.snapshots():
        layers[f"snapshot {snapshot.name or snapshot.id}"] = read_snapshot(
            image, snapshot, found.size, cwd)
    return layers


def info(image):
    return json.loads(must(["qemu-img", "info", "-U", "--output=json", "-f", "qcow2", image]))


def backing_size(image):
    """The bytes that the backing file has; 0 without one, and where it cannot be opened."""
    done = run(["qemu-img", "info", "-U", "--backing-chain", "--output=json", image])
    chain = json.loads(done.out) if done.code == 0 else []
    return chain[1]["virtual-size"] if len(chain) > 1 else 0


def check(image, cwd=None):
    """(exit code, corruptions, leaks, words) of `qemu-img check`, which changes nothing."""
    result = run(["qemu-img", "check", "-U", "--output=json", "-f", "qcow2", os.path.abspath(image)], cwd=cwd)
    try:
        report = json.loads(result.out)
    except ValueError:
        report = {}
    words = (result.err.strip().splitlines() or [""])[0]
    return result.code, report.get("corruptions", 0), report.get("leaks", 0), words


def data_extents(image):
    """`qemu-img map` of the image alone: what each range is made of."""
    return json.loads(must(["qemu-img", "map", "-U", "--output=json", "-f", "qcow2", image]))
