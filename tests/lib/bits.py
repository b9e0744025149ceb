"""Persistent bitmaps bit by bit, as the file has them, and what a request makes of them.

The bits of one are a number: bit n of it stands for the bytes [n, n + 1) << granularity."""
import fnmatch
import re
from dataclasses import dataclass, replace

import bitmaps
import qcow2

IN_USE, AUTO = bitmaps.IN_USE, bitmaps.AUTO
MOST_BYTES = 512 << 20  # of one bitmap that QEMU loads
ALL_ONES, OFFSET = 1, 0x00fffffffffffe00


class Refused(Exception):
    """There is no other right answer."""


@dataclass(frozen=True)
class Bitmap:
    name: str
    granularity: int  # as a power of two
    flags: int
    bits: int  # None: inconsistent, so that they mean nothing


def count(size, granularity):
    return (size + (1 << granularity) - 1) >> granularity


def load(path):
    image = qcow2.load(path)
    if not image.autoclear_features & qcow2.AUTOCLEAR_BITMAPS:
        return []
    return [Bitmap(e.name, e.bits, e.flags, None if e.flags & IN_USE else bits_of(path, image, e))
            for e in bitmaps.directory(path)]


def bits_of(path, image, entry):
    found, cs = [], image.cluster_size
    with open(path, "rb") as f:
        for i in range(entry.entries):
            value = image.u64(entry.table + 8 * i)
            if value & OFFSET:
                f.seek(value & OFFSET)
                found.append(f.read(cs))
            else:
                found.append((b"\xff" if value & ALL_ONES else b"\0") * cs)
    return int.from_bytes(b"".join(found), "little") & ((1 << count(image.size, entry.bits)) - 1)


def runs(bits):
    """[(first, end)] of the set bits."""
    return [m.span() for m in re.finditer("1+", f"{bits:b}"[::-1])]


def with_runs(ranges):
    """The bits of runs that may overlap, in their order."""
    digits, at = [], 0
    for first, end in ranges:
        digits += ["0" * (first - at), "1" * (end - max(first, at))]
        at = max(at, end)
    return int("".join(digits)[::-1] or "0", 2)


def ranges(bitmap, size):
    """[(start, end)] in bytes, as bitmaps.dirty has them."""
    return [(first << bitmap.granularity, min(end << bitmap.granularity, size))
            for first, end in runs(bitmap.bits)]


def merged(source, target, size):
    if source.granularity == target.granularity:
        return target.bits | source.bits
    return target.bits | with_runs((start >> target.granularity, count(end, target.granularity))
                                   for start, end in ranges(source, size))


def matches(name, globs):
    return any(fnmatch.fnmatchcase(name, g) for g in globs)


def consistent(bitmap):
    if bitmap.flags & IN_USE:
        raise Refused(f"bitmap {bitmap.name} is inconsistent")
    return bitmap


def find(found, name):
    for bitmap in found:
        if bitmap.name == name:
            return consistent(bitmap)
    raise Refused(f"there is no bitmap {name}")


def rename(found, pairs):
    for old, new in pairs:
        names = [b.name for b in found]
        if old not in names and new in names:
            find(found, new)
            continue
        find(found, old)
        if new in names:
            raise Refused(f"there is a bitmap {new} already")
        found = [replace(b, name=new) if b.name == old else b for b in found]
    return found


def add(found, asked, later, size, cluster_size):
    for one in asked:
        granularity = (one.get("granularity") or min(max(cluster_size, 4096), 65536)).bit_length() - 1
        flags = 0 if one.get("disabled") else AUTO
        if one["name"] in [b.name for b in found]:
            there = find(found, one["name"])
            if there.granularity != granularity:
                raise Refused("it is there with another granularity")
            if there.flags & AUTO != flags and not matches(there.name, later):
                raise Refused("it is there in another state")
            continue
        if not size:
            raise Refused("a disk of 0 bytes has no bitmap")
        found = [*found, Bitmap(one["name"], granularity, flags, 0)]
    return found


def merge(found, asked, size):
    for sources, name in asked:
        for source in sources:
            bits = merged(find(found, source), find(found, name), size)
            found = [replace(b, bits=bits) if b.name == name else b for b in found]
    return found


def is_plain(glob):
    return not set(glob) & set("*?[\\")


def each_matching(found, globs, change):
    for name in filter(is_plain, globs):
        find(found, name)
    return [change(consistent(b)) if matches(b.name, globs) else b for b in found]


def amended(found, request, size, cluster_size):
    """What a request makes of them.  `size`: of the disk afterwards."""
    found = [b if b.bits is None else replace(b, bits=b.bits & ((1 << count(size, b.granularity)) - 1))
             for b in found]
    asked = request.bitmaps
    gone = [b for b in found if matches(b.name, asked.get("remove", ()))
            or asked.get("remove_inconsistent") and b.flags & IN_USE]
    found = rename([b for b in found if b not in gone], asked.get("rename", ()))
    states = [*asked.get("enable", ()), *asked.get("disable", ())]
    found = merge(add(found, asked.get("add", ()), states, size, cluster_size), asked.get("merge", ()), size)
    found = each_matching(found, asked.get("clear", ()), lambda b: replace(b, bits=0))
    found = each_matching(found, asked.get("enable", ()), lambda b: replace(b, flags=b.flags | AUTO))
    found = each_matching(found, asked.get("disable", ()), lambda b: replace(b, flags=b.flags & ~AUTO))
    for b in found:
        clusters = -(-count(size, b.granularity) // (8 * cluster_size))
        if not b.flags & IN_USE and clusters > MOST_BYTES // cluster_size:
            raise Refused("QEMU does not load so large a bitmap")
    return found


def refusal(found, request, version, size, cluster_size):
    """Why a request about them must be refused, or None."""
    named = [verb for verb in ("rename", "add", "merge") if request.bitmaps.get(verb)]
    named += [verb for verb in ("clear", "enable", "disable")
              if any(map(is_plain, request.bitmaps.get(verb, ())))]
    if named and version == 2:
        return "version 2 has no bitmaps"
    try:
        left = amended(found, request, size, cluster_size)
    except Refused as why:
        return str(why)
    return "version 2 cannot hold the bitmaps that are left" if left and version == 2 else None


def is_settled(found, request, size, cluster_size):
    """Whether the same request has nothing to do after it was done: not so where it removes what it adds."""
    gone = [b for b in found if matches(b.name, request.bitmaps.get("remove", ()))]
    try:
        return not gone and amended(found, request, size, cluster_size) == found
    except Refused:
        return False
