"""A small qcow2 reader and patcher for tests.

It is an opinion of its own about the format: nothing here is shared with the program under test.
All data is read, so it is for images that hold little; holes cost nothing.  Offsets are bytes.
"""
import mmap
import os
import struct
from dataclasses import dataclass, field

from proc import data_runs

MAGIC = 0x514649FB
COPIED = 1 << 63
COMPRESSED = 1 << 62
ZERO = 1
L1_OFFSET = 0x00FFFFFFFFFFFE00
L2_OFFSET = 0x00FFFFFFFFFFFE00
REFTABLE_OFFSET = 0xFFFFFFFFFFFFFE00

INCOMPAT_DIRTY, INCOMPAT_CORRUPT, INCOMPAT_DATA_FILE, INCOMPAT_ZSTD, INCOMPAT_EXTL2 = (
    1 << bit for bit in range(5))
COMPAT_LAZY = 1
AUTOCLEAR_BITMAPS = 1

EXT_BACKING_FORMAT = 0xE2792ACA
EXT_FEATURE_TABLE = 0x6803F857
EXT_BITMAPS = 0x23852875
EXT_LUKS = 0x0537BE77
EXT_DATA_FILE = 0x44415441
AUTOCLEAR_RAW = 2

# name -> (offset, struct code): every fixed field of the header
HEADER_FIELDS = {
    "magic": (0, "I"), "version": (4, "I"), "backing_file_offset": (8, "Q"),
    "backing_file_size": (16, "I"), "cluster_bits": (20, "I"), "size": (24, "Q"),
    "crypt_method": (32, "I"), "l1_size": (36, "I"), "l1_table_offset": (40, "Q"),
    "refcount_table_offset": (48, "Q"), "refcount_table_clusters": (56, "I"),
    "nb_snapshots": (60, "I"), "snapshots_offset": (64, "Q"),
    "incompatible_features": (72, "Q"), "compatible_features": (80, "Q"),
    "autoclear_features": (88, "Q"), "refcount_order": (96, "I"), "header_length": (100, "I"),
}


@dataclass
class Snapshot:
    offset: int  # of the entry in the file
    l1_table_offset: int
    l1_size: int
    id: str
    name: str
    vm_state_size: int
    disk_size: int
    extra_size: int
    date: float  # seconds since 1970


@dataclass
class Extension:
    type: int
    offset: int  # of its data
    data: bytes


@dataclass
class Image:
    data: bytes
    header: dict = field(default_factory=dict)

    def __post_init__(self):
        for name, (offset, code) in HEADER_FIELDS.items():
            self.header[name] = struct.unpack_from(">" + code, self.data, offset)[0]
        h = self.header
        if h["version"] == 2:
            h.update(incompatible_features=0, compatible_features=0, autoclear_features=0,
                     refcount_order=4, header_length=72)
        self.cluster_size = 1 << h["cluster_bits"]
        self.refcount_bits = 1 << h["refcount_order"]
        self.ext_l2 = bool(h["incompatible_features"] & INCOMPAT_EXTL2)
        self.l2_entry_size = 16 if self.ext_l2 else 8
        self.l2_entries = self.cluster_size // self.l2_entry_size

    # ---- header ---------------------------------------------------------------------------
    def __getattr__(self, name):
        try:
            return self.__dict__["header"][name]
        except KeyError:
            raise AttributeError(name) from None

    def u64(self, offset):
        """Bytes past the end of the file read as zero."""
        piece = self.data[offset:offset + 8]
        return int.from_bytes(piece.ljust(8, b"\0"), "big")

    @property
    def backing_file(self):
        start = self.backing_file_offset
        return self.data[start:start + self.backing_file_size].decode() if start else ""

    def extensions(self):
        at, end = self.header_length, self.backing_file_offset or self.cluster_size
        found = []
        while at + 8 <= end:
            kind, length = struct.unpack_from(">II", self.data, at)
            if kind == 0:
                break
            found.append(Extension(kind, at + 8, self.data[at + 8:at + 8 + length]))
            at += 8 + (length + 7) // 8 * 8
        return found

    def extension(self, kind):
        return next((e.data for e in self.extensions() if e.type == kind), None)

    # ---- snapshots ------------------------------------------------------------------------
    def snapshots(self):
        at, found = self.snapshots_offset, []
        for _ in range(self.nb_snapshots):
            (l1, l1_size, id_len, name_len, sec, nsec, _clock, vm32,
             extra) = struct.unpack_from(">QIHHIIQII", self.data, at)
            body = at + 40
            vm_state = self.u64(body) if extra >= 8 else vm32
            disk = self.u64(body + 8) if extra >= 16 else self.size
            names = body + extra
            found.append(Snapshot(
                at, l1, l1_size, self.data[names:names + id_len].decode(),
                self.data[names + id_len:names + id_len + name_len].decode(), vm_state, disk, extra,
                sec + nsec / 1e9))
            at = (names + id_len + name_len + 7) // 8 * 8
        return found

    # ---- tables ---------------------------------------------------------------------------
    def l1s(self):
        """Every L1 as (offset, entries), the active one first."""
        return [(self.l1_table_offset, self.l1_size)] + [
            (s.l1_table_offset, s.l1_size) for s in self.snapshots()]

    def l1(self, offset=None, entries=None):
        offset = self.l1_table_offset if offset is None else offset
        entries = self.l1_size if entries is None else entries
        return [self.u64(offset + 8 * i) for i in range(entries)]

    def l2(self, offset):
        return [self.u64(offset + self.l2_entry_size * i) for i in range(self.l2_entries)]

    def l2_entry_offset(self, guest, l1_offset=None):
        """Where in the file the L2 entry for this guest byte stands; None without an L2 table."""
        cluster = guest // self.cluster_size
        l1_offset = self.l1_table_offset if l1_offset is None else l1_offset
        table = self.u64(l1_offset + 8 * (cluster // self.l2_entries)) & L1_OFFSET
        return table + self.l2_entry_size * (cluster % self.l2_entries) if table else None

    def entries(self):
        """Every L2 entry of every L1, as (number of the L1, guest cluster, entry)."""
        for number, (offset, count) in enumerate(self.l1s()):
            for i, l1_entry in enumerate(self.l1(offset, count)):
                if l1_entry & L1_OFFSET:
                    for j, entry in enumerate(self.l2(l1_entry & L1_OFFSET)):
                        yield number, i * self.l2_entries + j, entry

    def partial(self):
        """The number of clusters whose subclusters are of several sorts."""
        found = 0
        for _, _, at in self.entry_places():
            entry, bitmap = self.u64(at), self.u64(at + 8)
            alike = (0, 0xFFFFFFFF, 0xFFFFFFFF << 32)
            found += self.ext_l2 and not entry & COMPRESSED and bitmap not in alike
        return found

    def entry_places(self):
        """Every L2 entry of every L1, as (number of the L1, guest cluster, its place)."""
        for number, (offset, count) in enumerate(self.l1s()):
            for i, l1_entry in enumerate(self.l1(offset, count)):
                for j in range(self.l2_entries if l1_entry & L1_OFFSET else 0):
                    yield (number, i * self.l2_entries + j,
                           (l1_entry & L1_OFFSET) + self.l2_entry_size * j)

    # ---- refcounts ------------------------------------------------------------------------
    def refcount_place(self, cluster):
        """(byte, bit) of a refcount in the file; None where no block exists."""
        per_block = self.cluster_size * 8 // self.refcount_bits
        index = cluster // per_block
        if index >= self.refcount_table_clusters * self.cluster_size // 8:
            return None
        block = self.u64(self.refcount_table_offset + 8 * index) & REFTABLE_OFFSET
        bit = cluster % per_block * self.refcount_bits
        return (block + bit // 8, bit % 8) if block else None

    def refcount(self, cluster):
        place = self.refcount_place(cluster)
        if not place:
            return 0
        if self.refcount_bits < 8:
            return self.data[place[0]] >> place[1] & ((1 << self.refcount_bits) - 1)
        width = self.refcount_bits // 8
        return int.from_bytes(self.data[place[0]:place[0] + width], "big")

    def packed_clusters(self):
        """Those in which compressed data lies."""
        found = set()
        place = 62 - (self.cluster_bits - 8)  # the bits of the offset; the sectors behind the first follow
        for _, _, entry in self.entries():
            if entry & COMPRESSED:
                offset, more = entry & ((1 << place) - 1), (entry & (COMPRESSED - 1)) >> place
                end = offset // 512 * 512 + 512 * (more + 1)
                found.update(range(offset // self.cluster_size, -(-end // self.cluster_size)))
        return found

    def max_refcount(self, apart=()):
        """The highest one, but for the clusters in `apart`."""
        clusters = (len(self.data) + self.cluster_size - 1) // self.cluster_size
        return max(self.refcount(c) for c in range(clusters) if c not in apart)


NO_RESERVE = 0x4000  # MAP_NORESERVE, which this Python does not name


def read_sparse(path):
    """The file's bytes; what is a hole in a large file takes no memory here either."""
    with open(path, "rb") as f:
        size = f.seek(0, os.SEEK_END)
        if size <= 64 << 20:
            f.seek(0)
            return f.read()
        data = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | NO_RESERVE)
        for first, end in data_runs(f.fileno()):
            f.seek(first)
            f.readinto(memoryview(data)[first:end])
    return data


def load(path):
    return Image(read_sparse(path))


def patch(path, offset, data):
    with open(path, "r+b") as f:
        f.seek(offset)
        f.write(data)


def patch_u64(path, offset, value):
    patch(path, offset, struct.pack(">Q", value))


def patch_header(path, **fields):
    for name, value in fields.items():
        offset, code = HEADER_FIELDS[name]
        patch(path, offset, struct.pack(">" + code, value))


def set_refcount(path, cluster, value):
    image = load(path)
    byte, bit = image.refcount_place(cluster)
    if image.refcount_bits >= 8:
        patch(path, byte, value.to_bytes(image.refcount_bits // 8, "big"))
        return
    mask = ((1 << image.refcount_bits) - 1) << bit
    patch(path, byte, bytes([image.data[byte] & ~mask | value << bit]))


def rewrite_snapshots(path, extras):
    """Gives each entry of the snapshot table these bytes of extra data."""
    image, table = load(path), b""
    for s, extra in zip(image.snapshots(), extras, strict=True):
        names = (s.id + s.name).encode()
        entry = image.data[s.offset:s.offset + 36] + struct.pack(">I", len(extra)) + extra + names
        table += entry + bytes(-len(entry) % 8)
    patch(path, image.snapshots_offset, table)


def append_cluster(path, data=b""):
    """Writes a new cluster behind the file's end, with refcount 1; returns its offset."""
    image = load(path)
    cs = image.cluster_size
    offset = (len(image.data) + cs - 1) // cs * cs
    patch(path, offset, data.ljust(cs, b"\0"))
    set_refcount(path, offset // cs, 1)
    return offset
