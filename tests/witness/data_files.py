"""What external data files must hold beside what QEMU reads through their image.

An image and its data files are judged as one state: a power cut may have left each of them at another
place of the run.  What QEMU reads past a file's end is zero, so it does not notice one that is too short.
"""
import os

import guest
import qcow2


def read(path):
    with open(path, "rb") as f:
        return f.read()


def name_in(identity):
    name = identity["data_file"]
    return os.path.normpath(name.decode()) if name else None


class DataFiles:
    """Those of one image: `old` and `new` are the identities of the image before and after the run."""

    def __init__(self, names, before, live, old, new):
        self.before = {name: read(os.path.join(before, name)) for name in names}
        self.live = {name: read(os.path.join(live, name)) for name in names}
        self.name, self.old_size, self.size, self.new = name_in(new), old["size"], new["size"], new
        self.moves = self.name != name_in(old)  # the old file stays what it was
        self.kept = self.size  # bytes that no amend may change
        if self.size > self.old_size:  # in the last cluster a backing file may have shown
            self.kept = self.old_size // old["cluster_size"] * old["cluster_size"]

    @property
    def grows(self):
        return bool(self.before) and self.size > self.old_size

    @property
    def shrinks(self):
        return bool(self.before) and self.size < self.old_size

    def must_break(self, blind):
        """Whether something must be wrong after a power cut without those syncs (fleet.BLIND)."""
        return blind == "data" and self.grows or blind == "flip" and self.shrinks and not self.moves

    def complaint(self, folder, now, active):
        """What is wrong where the image has the identity `now` and a guest reads `active`."""
        for name in self.before:
            path = os.path.join(folder, name)
            words = self.changed(name, read(path))
            if not words and name == name_in(now):
                words = self.useless(path, now, active)
            if words:
                return f"{name}: {words}"
        return None

    def changed(self, name, data):
        """Bytes of a guest, or of somebody else, that are not what they were."""
        before, end = self.before[name], self.size
        if name != self.name:
            return None if data == before else "it changed, and the amended image does not name it"
        if data[:self.kept] != before[:self.kept]:
            return f"a byte below {self.kept:#x} changed"
        if data[end:] not in (before[end:], b""):
            return f"a byte past the disk's end, {end:#x}, changed"
        return None

    def useless(self, path, now, active):
        """The file is not one for the image that names it."""
        data = read(path)
        if len(data) < now["size"]:
            return f"{len(data)} bytes, and the disk {now['size']}"
        if now == self.new and data[self.old_size:self.size].strip(b"\0"):
            return "old bytes in what the disk grew by"
        if now["autoclear"] & qcow2.AUTOCLEAR_RAW and guest.read_raw(path).resized(now["size"]) != active:
            return "it is raw, and does not read like the disk"
        return None

    def unfinished(self, folder):
        """How they differ from what an undisturbed run leaves, or None.  What a shrink leaves may still be
        there: only who has the journal of the first run knows that it was not there before."""
        for name, data in self.live.items():
            found = read(os.path.join(folder, name))
            if self.shrinks and name == self.name:
                found = found[:len(data)]
            if found != data:
                return f"{name}: {len(found)} bytes, after an undisturbed run {len(data)}, or other ones"
        return None

    def doubts(self, folder, active):
        """What is wrong after an undisturbed run, or None."""
        if self.shrinks and len(self.live[self.name]) > self.size:
            return f"{self.name}: it was not cut"
        return self.complaint(folder, self.new, active)
