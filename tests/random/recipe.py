"""From a random generator to the commands that make an image: a list of argv, nothing run here.

Only the commands decide what the image is, so printing them is all that a report needs.  Some of
them may fail (a second snapshot with 1-bit refcounts, a discard past the end): that is part of it.
"""
import random
from dataclasses import dataclass, field

IMAGE = "image.qcow2"
FOLDER = "@FOLDER"  # where the commands run
KIB, MIB = 1 << 10, 1 << 20
CLUSTER_SIZES = [512, 1 * KIB, 2 * KIB, 4 * KIB, 4 * KIB, 8 * KIB, 16 * KIB, 32 * KIB,
                 64 * KIB, 64 * KIB, 64 * KIB, 256 * KIB, 1 * MIB, 2 * MIB]


@dataclass
class Recipe:
    commands: list = field(default_factory=list)
    cluster_size: int = 0
    size: int = 0
    version: int = 3
    backing: str = ""
    backing_fmt: str = ""
    backing_size: int = 0
    spare: str = ""  # a file that a request may name as the new backing file
    spare_fmt: str = ""
    data: str = ""   # "on" or "off", raw or not, where the data lie in an external file
    noise: int = 0   # seed of the file of hard-to-compress bytes
    recent: list = field(default_factory=list)  # places that were written, to come back to
    snapshot_sizes: list = field(default_factory=list)  # of the disk when each was made
    bitmaps: list = field(default_factory=list)  # names of the persistent ones


def sectors(rng, low, high):
    """A multiple of 512 in [low, high]."""
    return rng.randint((low + 511) // 512, max(high, low + 511) // 512) * 512


def disk_size(rng, cluster_size):
    covered = cluster_size * cluster_size // 8  # by one L2 table
    kind = rng.random()
    if kind < 0.02:
        return 0
    if kind < 0.25 and covered <= 512 * MIB:  # several L2 tables
        return sectors(rng, covered, covered * 3 + 4 * cluster_size)
    most = 48 if cluster_size <= 64 * KIB else 8
    size = rng.randint(1, most) * cluster_size
    return size if rng.random() < 0.4 else sectors(rng, 512, size)


def place(rng, recipe, size):
    """Where to write: aligned or not, and often at an edge that matters."""
    cs = recipe.cluster_size
    covered = cs * cs // 8
    edges = [0, size, recipe.backing_size, covered, size // 2]
    start = rng.choice(edges) + rng.randint(-3, 3) * cs if rng.random() < 0.5 else rng.randrange(
        max(size, 1))
    length = rng.randint(1, 4) * cs
    if rng.random() < 0.6:
        start -= start % cs
    else:
        start, length = start // 512 * 512, sectors(rng, 512, length)
    start = min(max(start, 0), max(size - 512, 0))
    return start, max(min(length, size - start), 0)


def place_again(rng, recipe, size, chance):
    """A new place, or by chance one that was written before: so clusters change their kind."""
    if recipe.recent and rng.random() < chance:
        start, length = rng.choice(recipe.recent)
        return min(start, max(size - 512, 0)), max(min(length, size - start), 0)
    recipe.recent.append(place(rng, recipe, size))
    return recipe.recent[-1]


def write_commands(rng, recipe, size):
    kind = rng.choices(["data", "zero", "zero-unmap", "compressed", "noise", "discard"],
                       [32, 22, 14, 14, 6, 12])[0]
    start, length = place_again(rng, recipe, size, 0.75 if kind == "zero" else 0.3)
    pattern = rng.randint(1, 255)
    plain = {"data": f"write -q -P {pattern}", "zero": "write -q -z",
             "zero-unmap": "write -q -z -u", "discard": "discard -q"}
    if kind in plain:
        return [f"{plain[kind]} {start} {length}"]
    start -= start % recipe.cluster_size  # compressed: a whole cluster that is not in use yet
    length = min(recipe.cluster_size, size - start)
    source = "-s noise.bin" if kind == "noise" else f"-P {pattern}"
    return [f"discard -q {start} {length}", f"write -q -c {source} {start} {length}"]


def write_many(rng, recipe, size, most):
    """From none to `most` writes; none at all on a disk without a sector."""
    count = rng.randint(0, most) if size else 0
    return [c for _ in range(count) for c in write_commands(rng, recipe, size)]


def qemu_io(path, fmt, commands):
    argv = ["qemu-io", "-t", "unsafe", "-d", "unmap", "-f", fmt]
    for command in commands:
        argv += ["-c", command]
    return argv + [path]


def write_some(rng, recipe, path, fmt, size, most):
    commands = write_many(rng, recipe, size, most)
    if fmt == "raw":
        commands = [c for c in commands if " -c " not in c]
    if commands:
        recipe.commands.append(qemu_io(path, fmt, commands))


def add_backing(rng, recipe, name):
    """A raw or qcow2 file, shorter, as long as or longer than the overlay; sometimes on another."""
    fmt = rng.choice(["raw", "qcow2"])
    path = f"{name}.{fmt}"
    cs, size = recipe.cluster_size, recipe.size
    size = rng.choice([size, size // 2, size + 3 * cs, sectors(rng, 512, size + 8 * cs)])
    size = max(size // 512 * 512, 512)
    if fmt == "raw":
        odd = rng.randint(1, 511) if rng.random() < 0.1 else 0
        recipe.commands.append(["truncate", "-s", str(size + odd), path])
    else:
        options = []
        if rng.random() < 0.3:
            recipe.commands.append(["truncate", "-s", str(size + cs), f"{name}-under.raw"])
            recipe.commands.append(qemu_io(f"{name}-under.raw", "raw",
                                           [f"write -q -P 17 0 {min(size, 4 * cs)}"]))
            options = ["-b", f"{name}-under.raw", "-F", "raw"]
        recipe.commands.append(["qemu-img", "create", "-q", "-f", "qcow2", *options, path,
                                str(size)])
    write_some(rng, recipe, path, fmt, size, 6)
    return path, fmt, size


def create(rng, recipe):
    options = [f"cluster_size={recipe.cluster_size}"]
    if recipe.version == 2:
        options.append("compat=0.10")
    else:
        options.append("compat=1.1")
        options.append(f"lazy_refcounts={rng.choice(['off', 'off', 'on'])}")
        if rng.random() < 0.4:
            options.append(f"refcount_bits={rng.choice([1, 2, 4, 8, 16, 32, 64])}")
        if rng.random() < 0.05:
            options.append("compression_type=zstd")
        elif rng.random() < 0.12 and recipe.cluster_size >= 16 * KIB:
            options.append("extended_l2=on")
    own = random.Random(recipe.noise)  # other seeds stay what they were
    if recipe.version == 3 and own.random() < 0.12:
        recipe.data = "off" if recipe.backing else own.choice(["off", "on"])
        options += [f"data_file={FOLDER}/image.data", f"data_file_raw={recipe.data}"]
        if recipe.cluster_size >= 16 * KIB and "extended_l2=on" not in options and own.random() < 0.5:
            options.append("extended_l2=on")
    backing = ["-b", recipe.backing, "-F", recipe.backing_fmt] if recipe.backing else []
    recipe.commands.append(["qemu-img", "create", "-q", "-f", "qcow2", "-o", ",".join(options),
                            *backing, IMAGE, str(recipe.size)])


def add_bitmaps(rng, recipe):
    """Before the first writes; some stop recording, so that they end with other bits."""
    for i in range(rng.choice([0, 0, 1, 2, 3]) if recipe.version == 3 else 0):
        recipe.bitmaps.append(f"b{i + 1}")
        granularity = 512 << rng.choice([0, 0, 2, 3, 5, 7, 11, 22])
        state = ["--disable"] if rng.random() < 0.2 else []
        recipe.commands.append(["qemu-img", "bitmap", "--add", *state, "-g", str(granularity), IMAGE,
                                recipe.bitmaps[-1]])


def change_bitmap(rng, recipe):
    if recipe.bitmaps and rng.random() < 0.5:
        recipe.commands.append(["qemu-img", "bitmap", rng.choice(["--disable", "--disable", "--enable", "--clear"]),
                                IMAGE, rng.choice(recipe.bitmaps)])


def between(rng, recipe, size, names):
    """Something that happens between two runs of the guest; the size afterwards."""
    kind = rng.choices(["snapshot", "delete", "apply", "resize", "bitmap"], [58, 10, 14, 15, 3])[0]
    if kind == "snapshot":
        names.append(f"s{len(names) + 1}")
        recipe.snapshot_sizes.append(size)
        recipe.commands.append(["qemu-img", "snapshot", "-c", names[-1], IMAGE])
    elif kind == "resize":
        if recipe.version == 3 or not names:
            size = max(sectors(rng, size // 2, size + 4 * recipe.cluster_size), 512)
            recipe.commands.append(["qemu-img", "resize", "-q", "--shrink", "-f", "qcow2", IMAGE,
                                    str(size)])
    elif kind == "bitmap":
        recipe.commands.append(["qemu-img", "bitmap", "--add", IMAGE, "dirty-blocks"])
    elif names:
        recipe.commands.append(["qemu-img", "snapshot", "-d" if kind == "delete" else "-a",
                                rng.choice(names), IMAGE])
    return size


def killed(rng, recipe, size):
    """Writes and a SIGKILL.  Nothing is discarded: QEMU would give the space back before the tables
    say so, and the guest's content would be lost already."""
    writes = [f"write -q -P {rng.randint(1, 255)} {start} {length}"
              for start, length in (place(rng, recipe, size) for _ in range(rng.randint(1, 4)))]
    return ["qemu-io", "-t", "unsafe", "-d", "off", "-f", "qcow2",
            *(word for c in [*writes, "sigraise 9"] for word in ("-c", c)), IMAGE]


def patch_size(size):
    """The shell command that makes the virtual size any number of bytes, as other tools do."""
    octal = "".join(f"\\{byte:03o}" for byte in size.to_bytes(8, "big"))
    return ["sh", "-c", f"printf '{octal}' | dd of={IMAGE} bs=1 seek=24 conv=notrunc status=none"]


def make(rng):
    recipe = Recipe(cluster_size=rng.choice(CLUSTER_SIZES), version=rng.choice([2, 3, 3, 3]))
    recipe.size = size = disk_size(rng, recipe.cluster_size)
    recipe.noise = rng.randrange(1 << 30)
    if rng.random() < 0.5:
        recipe.backing, recipe.backing_fmt, recipe.backing_size = add_backing(rng, recipe, "base")
    if rng.random() < 0.4:
        recipe.spare, recipe.spare_fmt, _ = add_backing(rng, recipe, "spare")
    create(rng, recipe)
    names, own = [], random.Random(recipe.noise + 2)
    add_bitmaps(own, recipe)
    for _ in range(rng.choice([0, 1, 1, 2, 3, 4])):
        write_some(rng, recipe, IMAGE, "qcow2", size, 8)
        change_bitmap(own, recipe)
        size = between(rng, recipe, size, names)
    last = write_many(rng, recipe, size, 8)
    if rng.random() < 0.08:
        last.append(f"write -q -b -P 171 0 {2 * recipe.cluster_size}")  # VM state, behind the disk
    if last:
        recipe.commands.append(qemu_io(IMAGE, "qcow2", last))
    if recipe.data and rng.random() < 0.3:  # old bytes past the disk's end
        recipe.commands.append(["sh", "-c", f"yes | head -c {4 * recipe.cluster_size} >> image.data"])
    if rng.random() < 0.2 and size:
        recipe.commands.append(killed(rng, recipe, size))
    if rng.random() < 0.04 and size > 512 and (recipe.version == 3 or not names):
        recipe.commands.append(patch_size(size - rng.randint(1, 511)))
    recipe.size = size
    return recipe


def noise_command(recipe):
    """The file of noise: half of each cluster is random."""
    half = recipe.cluster_size // 2
    return ["python3", "-c", "import random; open('noise.bin', 'wb').write("
            f"random.Random({recipe.noise}).randbytes({half}).ljust({2 * half}, b'x'))"]
