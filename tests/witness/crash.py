"""What a power cut leaves: from a log to the bytes of each file.

A cut is a place in the sequence of records.  A change that ended before a sync of its file began is
durable once that sync has ended.  Of every other change begun before the cut, each sector is on
disk or not, whatever the order in which they were asked for.  The one thing taken for granted: a
sector of 512 bytes is written whole or not at all.
"""
import random
from dataclasses import dataclass

from recording import KEEP_SIZE, SIZE, SPACE, SYNC, WRITE

SECTOR = 512
LOST, KEPT = 0, 1
FIXED_DRAWS = 3  # all of it, nothing of it, only the last change


@dataclass
class History:
    """One file: its bytes before the run, and what happened to it."""

    before: bytes
    changes: list
    syncs: list

    def durable_before(self, cut):
        """Changes that ended before this record's number are durable."""
        return max((s.number for s in self.syncs if s.end < cut and s.result == 0), default=-1)


def history(before, inode, operations, kept=lambda syncs: syncs):
    """Of its syncs only those that `kept` leaves have ever been."""
    mine = [o for o in operations if o.inode == inode]
    syncs = kept([o for o in mine if o.kind == SYNC])
    return History(before, [o for o in mine if o.changes], syncs)


def cuts(operations):
    """Where the set of possible states changes: after a change has begun, and after a sync."""
    return sorted({o.number + 1 for o in operations if o.changes}
                  | {o.end + 1 for o in operations if o.kind == SYNC and o.end < 1 << 62})


def grow(state, size):
    state.extend(bytes(max(size - len(state), 0)))


def put(state, change, first, end):
    """The bytes [first, end) of a change, which end up in the file's bytes."""
    grow(state, end)
    if change.kind == WRITE:
        state[first:end] = change.data[first - change.offset:end - change.offset]
    else:
        state[first:end] = bytes(end - first)


def end_of(change):
    return change.offset + (change.result if change.kind == WRITE else change.length)


def keeps_size(change):
    return change.kind == SPACE and change.flags & KEEP_SIZE


def set_size(state, change):
    del state[change.length:]
    grow(state, change.length)


def apply_whole(state, change):
    if change.kind == SIZE:
        set_size(state, change)
        return
    end = min(end_of(change), len(state)) if keeps_size(change) else end_of(change)
    if change.offset < end:
        put(state, change, change.offset, end)


def apply_torn(state, change, keeps):
    """`keeps` is asked for each sector, and for the size."""
    if change.kind == SIZE:
        if keeps():
            set_size(state, change)
        return
    first, end = change.offset, end_of(change)
    if keeps_size(change):
        end = min(end, len(state))
    while first < end:
        border = min(first // SECTOR * SECTOR + SECTOR, end)
        if keeps():
            put(state, change, first, border)
        first = border
    if end > len(state) and keeps():
        grow(state, end)


class Draw:
    """What becomes of each change that is not durable: of all files together, by one seed.

    A fate == KEPT, LOST, or (chance, seed): drawn for each sector."""

    def __init__(self, number, seed, pending):
        rng = random.Random(seed)
        style = ("all", "none", "last")[number] if number < FIXED_DRAWS else rng.choice(
            ["whole", "whole", "torn", "torn", "mixed", "one lost", "one torn"])
        p = rng.choice([0.1, 0.5, 0.9])
        odd = rng.choice(pending) if pending else None
        self.fates = {change.number: self.fate(style, p, change is odd, change is pending[-1], rng)
                      for change in pending}

    @staticmethod
    def fate(style, p, is_odd, is_last, rng):
        torn = (rng.choice([0.05, 0.5, 0.95]), rng.random())
        if style == "mixed":
            style = rng.choice(["whole", "torn"])
        return {
            "all": KEPT, "none": LOST, "last": KEPT if is_last else LOST, "torn": torn,
            "whole": KEPT if rng.random() < p else LOST, "one lost": LOST if is_odd else KEPT,
            "one torn": torn if is_odd else KEPT,
        }[style]

    def plan(self, one, cut):
        """The fates of the changes of one file; equal plans are equal bytes."""
        return tuple(self.fates.get(c.number, KEPT) for c in one.changes if c.number < cut)


def pending(histories, cut):
    """The changes that a cut here may lose, in order."""
    lost = []
    for one in histories:
        durable = one.durable_before(cut)
        lost += [c for c in one.changes if c.number < cut and c.end >= durable]
    return sorted(lost, key=lambda c: c.number)


def state(one, plan):
    """The bytes of one file after a power cut."""
    found = bytearray(one.before)
    for change, fate in zip(one.changes, plan):
        if fate == KEPT:
            apply_whole(found, change)
        elif fate != LOST:
            rng = random.Random(fate[1])
            apply_torn(found, change, lambda: rng.random() < fate[0])
    return bytes(found)
