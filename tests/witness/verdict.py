"""Whether a file is the old image or the amended one, as QEMU reads it."""
import os
import struct

import bits
import guest
import qcow2

UNREADABLE = (guest.Unreadable, struct.error, UnicodeDecodeError, IndexError, OverflowError,
              MemoryError, RuntimeError)

LATE = "the old image, after its amend was reported as done"


def identity(path):
    """What an amend changes besides content: how one tells the old image from the amended one."""
    if is_raw(path):
        return {"raw": True, "size": -(-os.path.getsize(path) // 512) * 512, "data_file": None, "cluster_size": 512}
    image = qcow2.load(path)
    return {
        "version": image.version, "size": image.size, "refcount_order": image.refcount_order,
        "backing": image.backing_file, "incompatible": image.incompatible_features,
        "compatible": image.compatible_features, "autoclear": image.autoclear_features,
        "backing_fmt": image.extension(qcow2.EXT_BACKING_FORMAT),
        "data_file": image.extension(qcow2.EXT_DATA_FILE), "cluster_size": image.cluster_size,
        "snapshots": [(s.id, s.name, s.disk_size, s.vm_state_size) for s in image.snapshots()],
        "bitmaps": bits.load(path),
    }


def is_raw(path):
    with open(path, "rb") as f:
        return f.read(4) != b"QFI\xfb"


def read_all(path):
    return guest.read_all(path, os.path.dirname(path))


def check(path):
    return guest.check(path, os.path.dirname(path))


class Reference:
    """One image as it must be: identity, content of every layer, and QEMU's own complaints."""

    def __init__(self, path):
        self.identity, self.length = identity(path), os.path.getsize(path)
        self.layers = read_all(path)
        self.check = check(path)[:3]

    def complaint(self, path, found):
        """What is different in this file, or None."""
        code, corruptions, leaks, words = found
        if (code, corruptions, leaks) != self.check:
            return f"qemu-img check: {corruptions} corruptions, {leaks} leaks, exit {code}: {words}"
        layers = read_all(path)
        if layers.keys() != self.layers.keys():
            return f"layers {sorted(layers)} instead of {sorted(self.layers)}"
        for name, content in self.layers.items():
            if layers[name] != content:
                return f"{name}: {layers[name].difference(content)}"
        return None


class RawDisk:
    """A raw disk that is to become an image: until then each of its bytes is there, and maybe more past its end."""

    def __init__(self, path):
        self.identity = identity(path)
        with open(path, "rb") as f:
            self.bytes = f.read()
        self.layers = {"active": guest.read_raw(path).resized(self.identity["size"])}

    def complaint(self, path, _found):
        with open(path, "rb") as f:
            found = f.read(len(self.bytes))
        return None if found == self.bytes else "bytes of the raw disk are not what they were"


def reference(path):
    return RawDisk(path) if is_raw(path) else Reference(path)


class Judge:
    """Old or amended, nothing else.  `data`: the external data files, which may be none."""

    def __init__(self, old, new, data):
        self.old, self.new, self.data = old, new, data
        self.was_raw = isinstance(old, RawDisk)

    def doubts(self, request, folder):
        """What is wrong with the amended image itself, as seen after an undisturbed run."""
        if self.old.identity == self.new.identity and self.new.length >= self.old.length:
            return "the run changed nothing that can be seen"
        if self.new.check != (0, 0, 0):
            return f"qemu-img check: {self.new.check}"
        for name, content in self.old.layers.items():
            wanted = content
            if name == "active" and "size" in request:
                wanted = content.resized(int(request["size"]))
            if self.new.layers.get(name) != wanted:
                return f"{name} has another content"
        return self.data.doubts(folder, self.new.layers["active"])

    def unfinished(self, path):
        """What a second run has left undone, or None."""
        return self.complaint(path, True) or self.data.unfinished(os.path.dirname(path))

    def complaint(self, path, must_be_new):
        """What is wrong with this state, or None."""
        found = check(path)
        try:
            now = self.old.identity if self.was_raw and is_raw(path) else identity(path)
            if now == self.new.identity:
                return self.with_data(self.new, path, found)
            if now != self.old.identity:
                return f"neither the old image nor the amended one: {now}"
            if must_be_new:
                return LATE
            return self.with_data(self.old, path, found)
        except UNREADABLE as e:
            return f"{found[3]}; {type(e).__name__}: {e}"

    def with_data(self, reference, path, found):
        return reference.complaint(path, found) or self.data.complaint(
            os.path.dirname(path), reference.identity, reference.layers["active"])


def lay_out(folder, files, images):
    """A folder with links to the files and these images: {name: bytes}."""
    os.makedirs(folder, exist_ok=True)
    for path in files:
        link = os.path.join(folder, os.path.basename(path))
        if not os.path.exists(link):
            os.link(path, link)
    for name, data in images.items():
        write_sparse(os.path.join(folder, name), data)


def write_sparse(path, data):
    """Holes stay holes, so that QEMU need not read them."""
    step = 1 << 16
    with open(path, "wb") as f:
        for at in range(0, len(data), step):
            piece = data[at:at + step]
            if piece.count(0) < len(piece):
                f.seek(at)
                f.write(piece)
        f.truncate(len(data))

