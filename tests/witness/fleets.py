"""Small images of every kind that an amend treats differently, and what is asked for each.

A kind is a function that makes one image in the folder and returns the request.  What it leaves
open (cluster sizes, widths, places, patterns) comes from the generator it is given.
"""
import json
import os
from dataclasses import dataclass, field

import bitmaps
import proc

KIB, MIB = 1 << 10, 1 << 20
BASE, BASE_SIZE = "base.raw", 384 * KIB
DATA = ".data"  # the end of the name of an external data file
LONG_NAME = "./" * 230 + BASE  # does not fit into the header's sector


@dataclass
class Subject:
    name: str
    kind: str
    request: dict
    mates: list = field(default_factory=list)  # images of the fleet that it reads through
    companions: list = field(default_factory=list)  # its external data files, of both names if it moves

    @property
    def is_raw(self):
        return "convert" in self.request

    @property
    def files(self):
        return [self.name, *self.companions]


def qemu_io(path, *commands, fmt="qcow2"):
    argv = ["qemu-io", "-t", "unsafe", "-d", "unmap", "-f", fmt]
    for command in commands:
        argv += ["-c", command]
    return proc.run([*argv, path], cwd=os.path.dirname(path))


def create(path, size, *options, backing=None, fmt="raw"):
    argv = ["qemu-img", "create", "-q", "-f", "qcow2", "-o", ",".join(options)]
    argv += ["-b", backing, "-F", fmt] if backing else []
    proc.must([*argv, path, str(size)], cwd=os.path.dirname(path))


def snapshot(path, name):
    proc.must(["qemu-img", "snapshot", "-c", name, path])


def write_some(rng, path, size, cluster, zeros=True, count=4):
    """Data here and there, zeros on it and beside it: zero clusters with and without space."""
    commands = []
    for number in range(count):
        first = rng.randrange(size // cluster) * cluster
        length = min(rng.randint(1, 6) * cluster, size - first)
        kind = rng.choice(["-z", "-z -u"]) if zeros and number % 2 else f"-P {rng.randint(1, 255)}"
        commands.append(f"write -q {kind} {first} {length}")
    qemu_io(path, *commands)


def layered(rng, path, cluster, size, *options, zeros=True, **more):
    """An image with some content, one or two snapshots, and content after them."""
    create(path, size, f"cluster_size={cluster}", *options, **more)
    write_some(rng, path, size, cluster, zeros)
    for number in range(rng.randint(1, 2)):
        snapshot(path, f"s{number}")
        write_some(rng, path, size, cluster, zeros, count=2)


def small_cluster(rng):
    return rng.choice([512, 1 * KIB, 4 * KIB, 4 * KIB])


# ---- the kinds ----------------------------------------------------------------------------------

def downgrade_over_backing(rng, path):
    cluster = small_cluster(rng)
    layered(rng, path, cluster, 64 * cluster, backing=BASE)
    return {"compat": "0.10", "zero_clusters": rng.choice(["allocate", "share", "defer"]),
            "zero_method": rng.choice(["auto", "hole", "falloc", "write"])}


def downgrade_alone(rng, path):
    cluster = small_cluster(rng)
    layered(rng, path, cluster, 96 * cluster, f"refcount_bits={rng.choice([8, 16])}")
    qemu_io(path, f"discard -q 0 {cluster}", f"write -q -c -P 7 0 {cluster}")
    return {"compat": "0.10", "refcount_bits": 16}


def downgrade_with_many_zeros(rng, path):
    """So many that real zeros are written past the page cache."""
    long = os.path.join(os.path.dirname(path), "long.raw")
    proc.must(["qemu-img", "create", "-q", "-f", "raw", long, "5M"])
    qemu_io(long, "write -q -P 99 0 4608k", fmt="raw")
    create(path, 5 * MIB, "cluster_size=65536", backing="long.raw")
    qemu_io(path, "write -q -z -u 0 4608k", f"write -q -P {rng.randint(1, 255)} 64k 64k")
    return {"compat": "0.10", "zero_method": "write"}


def downgrade_base(rng, path):
    """The backing file of the next kind."""
    layered(rng, path, 4 * KIB, 256 * KIB, backing=BASE)
    return {"compat": "0.10"}


def downgrade_overlay(rng, path):
    layered(rng, path, 4 * KIB, 256 * KIB, backing="0-downgrade_base.qcow2", fmt="qcow2")
    return {"compat": "0.10", "zero_clusters": rng.choice(["allocate", "defer"])}


def upgrade(rng, path):
    cluster = small_cluster(rng)
    layered(rng, path, cluster, 64 * cluster, "compat=0.10", zeros=False, backing=BASE)
    return {"compat": "1.1", **rng.choice([{}, {"lazy_refcounts": "on"}, {"refcount_bits": 64}])}


def refcount_width(rng, path):
    cluster = small_cluster(rng)
    layered(rng, path, cluster, 96 * cluster, f"refcount_bits={rng.choice([16, 32])}")
    return {"refcount_bits": rng.choice([4, 8, 64])}


def shrink(rng, path):
    cluster = small_cluster(rng)
    layered(rng, path, cluster, 96 * cluster)
    return {"size": rng.randint(1, 80) * cluster + rng.choice([0, 512])}


def grow(rng, path):
    cluster = small_cluster(rng)
    covered = cluster * cluster // 8
    size = rng.choice([20 * cluster, 64 * cluster - 512])
    layered(rng, path, cluster, size, backing=BASE)
    return {"size": size + rng.choice([cluster, covered, min(80 * covered, 4 * MIB)])}


def rename_backing(rng, path):
    cluster = rng.choice([4 * KIB, 64 * KIB])
    layered(rng, path, cluster, 256 * KIB, backing=BASE)
    return {"backing_file": rng.choice([LONG_NAME, LONG_NAME, "./" + BASE]), "backing_fmt": "raw"}


def lazy(rng, path):
    layered(rng, path, 4 * KIB, 256 * KIB, "lazy_refcounts=off")
    return {"lazy_refcounts": "on"}


def dirty(rng, path):
    create(path, 256 * KIB, "cluster_size=4096", "lazy_refcounts=on")
    write_some(rng, path, 256 * KIB, 4 * KIB)
    places = rng.sample(range(0, 64, 8), 3)
    qemu_io(path, *(f"write -q -P {rng.randint(1, 255)} {at * 4}k 8k" for at in places),
            "flush", "sigraise 9")
    return {"lazy_refcounts": "off", **rng.choice([{}, {"refcount_bits": 32}, {"size": 512 * KIB}])}


def change_bitmaps(rng, path):
    """Three of them, each with other bits; every verb, and in some a new size."""
    cluster = small_cluster(rng)
    create(path, 96 * cluster, f"cluster_size={cluster}")
    for name, granularity in (("a", 512), ("b", 64 * KIB), ("c", 4 * KIB)):
        bitmaps.qemu(path, ["--add", "-g", str(granularity), name])
        write_some(rng, path, 96 * cluster, cluster, count=2)
    request = {"bitmaps": {
        "rename": [{"from": "a", "to": "x"}], "add": [{"name": "n", "granularity": rng.choice(["4k", "1M"])}],
        "merge": [{"from": ["x", "b"], "to": "n"}, {"from": "n", "to": "x"}], "clear": ["c"], "disable": ["n"]}}
    return {**request, **rng.choice([{}, {"size": 200 * cluster}, {"size": 30 * cluster + 512}])}


def everything(rng, path):
    cluster = rng.choice([1 * KIB, 4 * KIB])
    layered(rng, path, cluster, 64 * cluster, "lazy_refcounts=on",
            f"refcount_bits={rng.choice([8, 32])}", backing=BASE)
    return {"refcount_bits": 64, "size": 64 * cluster + 3 * MIB, "lazy_refcounts": "off",
            "backing_file": LONG_NAME if cluster > KIB else "./" + BASE, "backing_fmt": "raw"}


def convert(rng, path):
    """A raw disk of any length, with holes or none, and with data in its first sector."""
    size, cluster = rng.randint(1, 300 * KIB), rng.choice([512, 4 * KIB, 64 * KIB])
    with open(path, "wb") as f:
        f.truncate(size)
        for at in (0, *(rng.randrange(size) for _ in range(rng.randint(0, 4)))):
            f.seek(at)
            f.write(rng.randbytes(min(rng.randint(1, 40 * KIB), size - at)))
    larger = {"size": str(MIB)} if rng.random() < 0.4 else {}
    return {"convert": {"from": "raw", "to": "qcow2"}, "cluster_size": cluster, **larger,
            **rng.choice([{}, {"compat": "0.10"}, {"refcount_bits": 1}, {"lazy_refcounts": "on"}])}


def with_gaps(rng, path, *options):
    """An image with free clusters before its end."""
    cluster = rng.choice([512, 1 * KIB, 4 * KIB])
    create(path, 96 * cluster, f"cluster_size={cluster}", *options)
    qemu_io(path, f"write -q -P {rng.randint(1, 255)} 0 {90 * cluster}")
    gone = rng.sample(range(0, 80, 4), rng.randint(12, 18))
    qemu_io(path, *(f"discard -q {at * cluster} {rng.randint(3, 4) * cluster}" for at in gone))
    return cluster


def compact(rng, path):
    """Alone, in several commits, or after the commit of another key."""
    cluster = with_gaps(rng, path)
    if rng.random() < 0.5:
        snapshot(path, "s")
        write_some(rng, path, 96 * cluster, cluster, zeros=False, count=2)
    return {"reclaim": {"compact": "on"}, **rng.choice([{}, {}, {"refcount_bits": 32}, {"compat": "0.10"}])}


def recompress(rng, path):
    kind, other = rng.sample(["zlib", "zstd"], 2)
    cluster = rng.choice([4 * KIB, 64 * KIB])
    create(path, 24 * cluster, f"cluster_size={cluster}", f"compression_type={kind}")
    qemu_io(path, *(f"write -q -c -P {rng.randint(1, 255)} {at * cluster} {cluster}" for at in rng.sample(range(24), 9)))
    snapshot(path, "s")
    write_some(rng, path, 24 * cluster, cluster, zeros=kind == "zlib", count=2)
    return {"compression_type": other, **rng.choice([{}, {"refcount_bits": 32}])}


def reclaim_zeros(rng, path):
    cluster = rng.choice([4 * KIB, 64 * KIB])
    create(path, 32 * cluster, f"cluster_size={cluster}")
    qemu_io(path, f"write -q -P 7 0 {8 * cluster}", f"write -q -P 0 {8 * cluster} {9 * cluster}", f"write -q -P 9 {20 * cluster} {cluster}")
    return {"reclaim": {"zeros": "on"}, "lazy_refcounts": "on"}


def into_gaps(rng, path):
    """With policy.max_growth (commands) what is new goes there."""
    with_gaps(rng, path, "refcount_bits=16")
    return {"refcount_bits": rng.choice([4, 32, 64])}


KINDS = [downgrade_over_backing, downgrade_alone, upgrade, refcount_width, shrink, grow,
         rename_backing, lazy, dirty, everything, change_bitmaps, downgrade_over_backing, refcount_width, convert,
         compact, recompress, reclaim_zeros, into_gaps]


# ---- kinds with an external data file -----------------------------------------------------------

def with_data(rng, path, size, cluster, raw, *options, junk=0, zeros=True, written=None, **more):
    """`junk`: bytes of the data file past the disk's end; `written`: where writing ends, if before
    that.  Returns the data file's path."""
    data = path.removesuffix("qcow2") + DATA[1:]
    create(path, size, f"cluster_size={cluster}", f"data_file={os.path.basename(data)}",
           f"data_file_raw={raw}", *options, **more)
    write_some(rng, path, written or size, cluster, zeros)
    with open(data, "ab") as f:
        f.write(b"\xee" * junk)
    return data


def some_end(rng, cluster):
    """A size that may end within a cluster."""
    return 40 * cluster + rng.choice([0, 0, 512 % cluster])


def another_key(rng):
    return rng.choice([{}, {"compat": "1.1"}, {"lazy_refcounts": "on"}, {"refcount_bits": 64}])


def grow_data(rng, path):
    """The data file must become longer."""
    cluster = rng.choice([512, 4 * KIB, 64 * KIB])
    size = some_end(rng, cluster)
    with_data(rng, path, size, cluster, rng.choice(["on", "off"]), junk=rng.choice([0, 512, 2 * cluster]))
    return {"size": size + rng.choice([3 * cluster, 3 * cluster + 512, MIB]), **another_key(rng)}


def grow_over_junk(rng, path):
    """The data file is long enough, but what comes into use is not zero."""
    cluster = rng.choice([512, 4 * KIB, 64 * KIB])
    size = some_end(rng, cluster)
    with_data(rng, path, size, cluster, rng.choice(["on", "off"]), junk=5 * cluster)
    return {"size": size + 3 * cluster, **another_key(rng)}


def grow_data_over_backing(rng, path):
    """Its last cluster goes to the data file, where the longer backing file shows in it."""
    cluster = rng.choice([1 * KIB, 4 * KIB])
    size = 24 * cluster + 512
    with_data(rng, path, size, cluster, "off", junk=rng.choice([0, 512]), backing=BASE)
    name = rng.choice([{}, {"backing_file": LONG_NAME, "backing_fmt": "raw"}]) if cluster > KIB else {}
    return {"size": size + rng.choice([512 + cluster, 5 * cluster]), **name, **another_key(rng)}


def resize_subclusters(rng, path):
    """The smaller disk ends in a cluster of the data file with subclusters of several sorts."""
    cluster = 32 * KIB
    edge = 5 * cluster + rng.choice([10, 11, 12]) * KIB
    more = 0 if rng.random() < 0.7 else 3 * cluster  # else it shrinks
    size = edge + rng.choice([0, 512]) + more
    with_data(rng, path, size, cluster, "off", "extended_l2=on", junk=rng.choice([0, 512, cluster]),
              written=5 * cluster, backing=BASE)
    qemu_io(path, f"write -q -P 5 {5 * cluster} 1k", f"write -q -P 6 {5 * cluster + 11 * KIB} 512",
            f"write -q -z {5 * cluster + 8 * KIB} 1k")
    return {"size": edge + 512 if more else size + rng.choice([512, 2 * KIB, 3 * cluster]), **another_key(rng)}


def shrink_data(rng, path):
    cluster = rng.choice([512, 4 * KIB, 64 * KIB])
    with_data(rng, path, some_end(rng, cluster), cluster, rng.choice(["on", "off"]), junk=rng.choice([0, 512]))
    return {"size": rng.randint(1, 39) * cluster + rng.choice([0, 512 % cluster]), **another_key(rng)}


def move_data(rng, path):
    cluster = rng.choice([4 * KIB, 64 * KIB])
    size = some_end(rng, cluster)
    data = with_data(rng, path, size, cluster, rng.choice(["on", "off"]))
    moved = data.removesuffix(DATA) + ".moved" + DATA
    proc.copy_sparse(data, moved)
    name = rng.choice(["", "./"]) + os.path.basename(moved)
    return {"data_file": name, **rng.choice([{}, {"size": 3 * MIB}, {"size": 3 * cluster}]), **another_key(rng)}


def raw_data(rng, path):
    """To be raw needs a proof, so that there are no zero clusters over data then."""
    now, then = rng.choice([("on", "off"), ("off", "on")])
    size = some_end(rng, 4 * KIB) // (4 * KIB) * 4 * KIB
    with_data(rng, path, size, 4 * KIB, now, zeros=now == "on")
    return {"data_file_raw": then, **rng.choice([{}, {"size": MIB}]), **another_key(rng)}


def bitmaps_and_data(rng, path):
    cluster = rng.choice([4 * KIB, 64 * KIB])
    with_data(rng, path, 40 * cluster, cluster, "off")
    for name in ("a", "b"):
        proc.must(["qemu-img", "bitmap", "--add", path, name], cwd=os.path.dirname(path))
        write_some(rng, path, 40 * cluster, cluster, count=2)
    return {"bitmaps": {"remove": ["a"]}, **rng.choice([{"size": 50 * cluster}, {"size": 30 * cluster}, {}])}


DATA_KINDS = [grow_data, grow_over_junk, grow_data_over_backing, resize_subclusters, shrink_data, move_data, raw_data,
              bitmaps_and_data]


# ---- a round: every kind, in fleets -------------------------------------------------------------

def make_bases(rng, folder):
    proc.must(["qemu-img", "create", "-q", "-f", "raw", os.path.join(folder, BASE), str(BASE_SIZE)])
    qemu_io(os.path.join(folder, BASE), f"write -q -P {rng.randint(1, 255)} 0 200k", fmt="raw")


def make_chain(rng, folder):
    """Two images of one chain, which takes two waves, and one with much to write."""
    subjects = make_kinds(rng, folder, [downgrade_base, downgrade_overlay,
                                        downgrade_with_many_zeros])
    subjects[1].mates = [subjects[0].name]
    return subjects


def make_kinds(rng, folder, kinds):
    subjects = []
    for number, kind in enumerate(kinds):
        stem = f"{number}-{kind.__name__}."
        request = kind(rng, os.path.join(folder, stem + "qcow2"))
        data = sorted(n for n in os.listdir(folder) if n.startswith(stem) and n.endswith(DATA))
        subjects.append(Subject(stem + "qcow2", kind.__name__, request, companions=data))
    return subjects


def deal(rng):
    """The fleets of one round, as lists of kinds; an empty one is the chain."""
    kinds = rng.sample(KINDS, len(KINDS))
    half = rng.randint(4, 8)
    data = rng.sample(DATA_KINDS, len(DATA_KINDS)) + rng.sample(KINDS, 1)
    return [kinds[:half], kinds[half:], [], data]


def make(rng, folder, kinds):
    make_bases(rng, folder)
    return make_kinds(rng, folder, kinds) if kinds else make_chain(rng, folder)


def manifest(subjects, policy=""):
    lines = ["version: 1", f"policy: {{allow_shrink: on{policy}}}", "images:"]
    for s in subjects:
        keys = ", ".join(f'{key}: {json.dumps(value if isinstance(value, dict) else str(value))}'
                         for key, value in s.request.items())
        lines.append(f"  - {{path: {s.name}, {keys}}}")
    return "\n".join(lines) + "\n"


def commands(rng, sync):
    """The options of one run, and its policy."""
    flags = [f"-j{rng.randint(1, 4)}", "--io", "posix" if rng.random() < 0.15 else "auto"]
    room = ", max_growth: 1G" if rng.random() < 0.4 else ""
    return flags, f", sync: {sync or rng.choice(['auto', 'file', 'fs'])}{room}"

