"""Persistent bitmaps: as QEMU reads them, as they stand in the file, and made inconsistent."""
import json
import os
import struct
import subprocess
import tempfile

import guest
import proc
import qcow2

IN_USE, AUTO = 1, 2


def qemu(image, *verbs):
    """`qemu-img bitmap`, once for each ["--verb", ..., name]."""
    for verb in verbs:
        proc.must(["qemu-img", "bitmap", "-f", "qcow2", *verb[:-1], image, verb[-1]])


def shown(image):
    """{name: (granularity, flags)} as `qemu-img info` has them."""
    listed = guest.info(image)["format-specific"]["data"].get("bitmaps", [])
    return {b["name"]: (b["granularity"], sorted(b["flags"])) for b in listed}


def dirty(image, name):
    """[(start, end)] of the dirty ranges, as an NBD client of QEMU sees them."""
    with tempfile.TemporaryDirectory() as folder:
        socket = os.path.join(folder, "nbd")
        server = subprocess.Popen(["qemu-nbd", "-r", "-t", "-f", "qcow2", "-B", name, "-k", socket,
                                   image], stderr=subprocess.PIPE)
        try:
            proc.wait_until_it_listens(server, socket)
            answer = proc.must(["qemu-img", "map", "--output=json", "--image-opts",
                                f"driver=nbd,server.type=unix,server.path={socket},"
                                f"x-dirty-bitmap=qemu:dirty-bitmap:{name.replace(',', ',,')}"])
        finally:
            server.kill()  # it only reads, and has been seen to lose a SIGTERM
            server.wait()
            server.stderr.close()
    ranges = []
    for extent in json.loads(answer):
        start, end = extent["start"], extent["start"] + extent["length"]
        if extent["data"]:
            continue  # clean
        if ranges and ranges[-1][1] == start:
            start = ranges.pop()[0]
        ranges.append((start, end))
    return ranges


def all_dirty(image):
    """{name: ranges} of every consistent bitmap."""
    return {name: dirty(image, name) for name, (_, flags) in shown(image).items()
            if "in-use" not in flags}


class Entry:
    """An entry of the directory, as it stands in the file."""

    def __init__(self, raw, at):
        (self.table, self.entries, self.flags, self.type, self.bits, name_len,
         self.extra_len) = struct.unpack_from(">QIIBBHI", raw, 0)
        self.at = at  # in the file
        self.extra = raw[24:24 + self.extra_len]
        self.name = raw[24 + self.extra_len:24 + self.extra_len + name_len].decode()
        self.length = -(-(24 + self.extra_len + name_len) // 8) * 8


def directory(image):
    """The entries, in their order."""
    found = qcow2.load(image)
    extension = found.extension(qcow2.EXT_BITMAPS)
    if extension is None:
        return []
    number, _, size, offset = struct.unpack(">IIQQ", extension)
    with open(image, "rb") as f:
        f.seek(offset)
        raw = f.read(size)
    entries, at = [], 0
    for _ in range(number):
        entries.append(Entry(raw[at:], offset + at))
        at += entries[-1].length
    assert at == size, (at, size)
    return entries


def mark_in_use(image, *names):
    """As a guest leaves them that was killed."""
    with open(image, "r+b") as f:
        for entry in directory(image):
            if entry.name in names:
                f.seek(entry.at + 12)
                f.write(struct.pack(">I", entry.flags | IN_USE))
