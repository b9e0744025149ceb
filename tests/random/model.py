"""What a request means for a given image: it must be amended, must be refused, or either is right."""
from dataclasses import dataclass

import bits
import qcow2


@dataclass
class Verdict:
    outcome: str  # "amend", "refuse", "either"
    why: str = ""
    unchanged: bool = False  # nothing is left to do: not a byte may be written


def refusals(image, bitmaps, request, version, size):
    """Reasons that leave no choice."""
    gone = request.goes(image.snapshots())
    snapshots = [s for s in image.snapshots() if s.name not in gone]
    width = request.refcount_bits or image.refcount_bits
    down = image.version == 3 and version == 2
    if image.incompatible_features & qcow2.INCOMPAT_CORRUPT:
        yield "QEMU has marked the image corrupt"
    if request.lazy_refcounts and version == 2:
        yield "version 2 has no lazy refcounts"
    if version == 2 and width != 16:
        yield "version 2 has 16-bit refcounts only"
    if size < image.size and not request.shrink:
        yield "shrinking is not allowed"
    if (down or version == 2 and size != image.size) and any(s.disk_size != size for s in snapshots):
        yield "version 2 cannot say that a snapshot has another disk size"
    data = bool(image.incompatible_features & qcow2.INCOMPAT_DATA_FILE)
    if down and data:
        yield "version 2 has no external data files"
    if raw(image, request) and (request.backing_file or (request.backing_file is None and image.backing_file)):
        yield "a raw data file and a backing file"
    if request.extended_l2 and version == 2:
        yield "version 2 has no extended L2 entries"
    if allocates(request) and (data or request.zero_clusters in ("share", "defer")):
        yield "clusters of their own, in a data file or shared"
    if request.extended_l2 and image.cluster_size < 16384:
        yield "extended L2 entries need larger clusters"
    if data and image.ext_l2 and not extended(image, request, version) and image.partial():
        yield "clusters whose subclusters are not alike, in a data file"
    if data and extended(image, request, version) != bool(image.ext_l2) and any(
            entry and cluster * image.cluster_size >= image.size for layer, cluster, entry in image.entries()):
        yield "VM state in a data file lies at its guest offset"
    why = bits.refusal(bitmaps, request, version, size, image.cluster_size)
    if why:
        yield why
    kind = compression(image, request, version)
    if kind == "zstd" and version == 2:
        yield "version 2 has no zstd"


def doubts(image, request, version, size):
    """Reasons for which a refusal is as good as an amend."""
    width = request.refcount_bits or image.refcount_bits
    if size != image.size and size % 512:
        yield "a new size that is not a multiple of 512"
    if image.max_refcount() > (1 << width) - 1:
        yield "a refcount does not fit"
    if raw(image, request) and not image.autoclear_features & qcow2.AUTOCLEAR_RAW:
        yield "whether the data file reads like the disk"


def raw(image, request):
    """Whether the data file is to be raw."""
    now = bool(image.autoclear_features & qcow2.AUTOCLEAR_RAW)
    return now if request.data_file_raw is None else request.data_file_raw


def zstd(image):
    return bool(image.incompatible_features & qcow2.INCOMPAT_ZSTD)


def compression_of(image):
    return "zstd" if zstd(image) else "zlib"


def compression(image, request, version):
    """The type afterwards."""
    return request.compression_type or ("zlib" if version == 2 else compression_of(image))


def extended(image, request, version):
    """Whether the image has extended L2 entries afterwards."""
    return version == 3 and (image.ext_l2 if request.extended_l2 is None else request.extended_l2)


def allocates(request):
    return request.preallocation not in (None, "off")


def lacking(image, shown):
    """The number of guest clusters that have no host cluster; of a standard table those before the
    end of what the backing file shows, `shown` bytes, may have none unless they read zero."""
    found = {cluster: entry for layer, cluster, entry in image.entries() if layer == 0}
    first = 0 if image.ext_l2 else -(-shown // image.cluster_size)
    count = 0
    for cluster in range(-(-image.size // image.cluster_size)):
        entry = found.get(cluster, 0)
        must = cluster >= first or entry & qcow2.ZERO
        count += bool(must and not entry & (qcow2.L2_OFFSET | qcow2.COMPRESSED))
    return count


def satisfied(image, bitmaps, info, request, version, size, backing_size):
    """Whether the image is already as asked."""
    lazy = bool(image.compatible_features & qcow2.COMPAT_LAZY)
    fmt = info.get("backing-filename-format") if image.backing_file else None
    shown = min(backing_size, image.size)
    return (not (allocates(request) and lacking(image, shown))
            and not request.goes(image.snapshots())
            and bits.amended(bitmaps, request, size, image.cluster_size) == bitmaps
            and not any(bits.matches(b.name, request.bitmaps.get("remove", ())) for b in bitmaps)
            and version == image.version and size == image.size
            and request.lazy_refcounts in (None, lazy)
            and request.refcount_bits in (None, image.refcount_bits)
            and request.extended_l2 in (None, bool(image.ext_l2))
            and request.compression_type in (None, compression_of(image))
            and raw(image, request) == bool(image.autoclear_features & qcow2.AUTOCLEAR_RAW)
            and request.backing_file in (None, image.backing_file)
            and request.backing_fmt in (None, fmt))


def judge(image, bitmaps, info, request, corruptions, leaks, backing_size):
    """What has to happen.  Bitmaps, corruptions and leaks: those of the image as it is."""
    version = {None: image.version, "0.10": 2, "1.1": 3}[request.compat]
    size = image.size if request.size is None else request.size
    dirty = bool(image.incompatible_features & qcow2.INCOMPAT_DIRTY)
    for why in refusals(image, bitmaps, request, version, size):
        return Verdict("refuse", why)
    if corruptions and not dirty:
        return Verdict("either", "the image is corrupt to begin with")
    width = request.refcount_bits or image.refcount_bits
    simple = (size == image.size and not dirty and not leaks
              and not request.goes(image.snapshots()) and "zeros" not in request.reclaim)  # the highest count is known
    # What is compressed anew is packed anew, and no closer than the new width allows.
    packed_anew = compression(image, request, version) != compression_of(image)
    if simple and image.max_refcount(image.packed_clusters() if packed_anew else ()) > (1 << width) - 1:
        return Verdict("refuse", "a refcount does not fit")
    for why in doubts(image, request, version, size):
        return Verdict("either", why)
    return Verdict("amend", unchanged=not dirty and satisfied(
        image, bitmaps, info, request, version, size, backing_size))
