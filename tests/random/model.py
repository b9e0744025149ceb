"""What a request means for a given image: it must be amended, must be refused, or either is right."""
from dataclasses import dataclass

import qcow2


@dataclass
class Verdict:
    outcome: str  # "amend", "refuse", "either"
    why: str = ""
    unchanged: bool = False  # nothing is left to do: not a byte may be written


def refusals(image, request, version, size):
    """Reasons that leave no choice."""
    snapshots = image.snapshots()
    bits = request.refcount_bits or image.refcount_bits
    down = image.version == 3 and version == 2
    if image.incompatible_features & qcow2.INCOMPAT_CORRUPT:
        yield "QEMU has marked the image corrupt"
    if request.lazy_refcounts and version == 2:
        yield "version 2 has no lazy refcounts"
    if version == 2 and bits != 16:
        yield "version 2 has 16-bit refcounts only"
    if size < image.size and not request.shrink:
        yield "shrinking is not allowed"
    if version == 2 and image.version == 2 and size != image.size and snapshots:
        yield "version 2 cannot resize with snapshots"
    if down and any(s.disk_size != size for s in snapshots) and size == image.size:
        yield "a snapshot has another disk size"
    if down and image.ext_l2:
        yield "version 2 has no extended L2 entries"
    if down and image.extension(qcow2.EXT_BITMAPS):
        yield "bitmaps are dropped only with permission"
    if down and zstd(image) and any(e & qcow2.COMPRESSED for _, _, e in image.entries()):
        yield "version 2 has no zstd clusters"


def doubts(image, request, version, size):
    """Reasons for which a refusal is as good as an amend."""
    bits = request.refcount_bits or image.refcount_bits
    special = zstd(image) or image.ext_l2 or image.extension(qcow2.EXT_BITMAPS)
    if special and (size != image.size or version != image.version):
        yield "zstd, extended L2 or bitmaps"
    if size != image.size and version == 2 and image.snapshots():
        yield "resize and downgrade with snapshots at once"
    if size != image.size and size % 512:
        yield "a new size that is no multiple of 512"
    if image.max_refcount() > (1 << bits) - 1:
        yield "a refcount does not fit"


def zstd(image):
    return bool(image.incompatible_features & qcow2.INCOMPAT_ZSTD)


def satisfied(image, info, request, version, size):
    """Whether the image is already as asked."""
    lazy = bool(image.compatible_features & qcow2.COMPAT_LAZY)
    fmt = info.get("backing-filename-format") if image.backing_file else None
    return (version == image.version and size == image.size
            and request.lazy_refcounts in (None, lazy)
            and request.refcount_bits in (None, image.refcount_bits)
            and request.backing_file in (None, image.backing_file)
            and request.backing_fmt in (None, fmt))


def judge(image, info, request, corruptions, leaks):
    """What has to happen.  Corruptions and leaks: those of the image as it is."""
    version = {None: image.version, "0.10": 2, "1.1": 3}[request.compat]
    size = image.size if request.size is None else request.size
    dirty = bool(image.incompatible_features & qcow2.INCOMPAT_DIRTY)
    for why in refusals(image, request, version, size):
        return Verdict("refuse", why)
    if corruptions and not dirty:
        return Verdict("either", "the image is corrupt to begin with")
    bits = request.refcount_bits or image.refcount_bits
    simple = size == image.size and not dirty and not leaks  # the highest count is known
    if simple and image.max_refcount() > (1 << bits) - 1:
        return Verdict("refuse", "a refcount does not fit")
    for why in doubts(image, request, version, size):
        return Verdict("either", why)
    return Verdict("amend", unchanged=not dirty and satisfied(image, info, request, version, size))
