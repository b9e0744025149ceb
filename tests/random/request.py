"""A random request: any mix of what an amend can be asked for."""
import fnmatch
import random
from dataclasses import dataclass, field

from recipe import sectors

@dataclass
class Request:
    compat: str = None
    size: int = None
    shrink: bool = False
    backing_file: str = None
    backing_fmt: str = None
    lazy_refcounts: bool = None
    refcount_bits: int = None
    compression_type: str = None
    extended_l2: bool = None
    zero_clusters: str = None
    snapshots_delete: str = None
    snapshots_keep_newest: int = None
    data_file_raw: bool = None
    preallocation: str = None
    reclaim: tuple = ()  # of "free", "zeros", "reserved", "compact"
    bitmaps: dict = field(default_factory=dict)  # {verb: globs | bool | pairs | mappings}

    def bitmap_mapping(self):
        """As it is written in a manifest."""
        found = dict(self.bitmaps)
        for verb in ("rename", "merge"):
            if verb in found:
                found[verb] = [{"from": a, "to": b} for a, b in found[verb]]
        return found

    def options(self):
        """The amend keys that are set, as text."""
        found = {}
        for key in ("compat", "size", "backing_file", "backing_fmt", "refcount_bits",
                    "zero_clusters", "compression_type", "preallocation"):
            value = getattr(self, key)
            if value is not None:
                found[key] = str(value)
        if self.extended_l2 is not None:
            found["extended_l2"] = "on" if self.extended_l2 else "off"
        if self.data_file_raw is not None:
            found["data_file_raw"] = "on" if self.data_file_raw else "off"
        if self.lazy_refcounts is not None:
            found["lazy_refcounts"] = "on" if self.lazy_refcounts else "off"
        for key in ("delete", "keep_newest"):
            value = getattr(self, f"snapshots_{key}")
            if value is not None:
                found[f"snapshots.{key}"] = str(value)
        found.update({f"reclaim.{what}": "on" for what in self.reclaim})
        for verb, value in self.bitmap_mapping().items():
            if verb in ("rename", "add", "merge"):
                for i, mapping in enumerate(value):
                    found.update({f"bitmaps.{verb}.{i}.{part}": {True: "on", False: "off"}.get(text, text)
                                  if isinstance(text, bool) else text for part, text in mapping.items()})
            else:
                found[f"bitmaps.{verb}"] = ("on" if value else "off") if isinstance(value, bool) else value
        return found

    def goes(self, snapshots):
        """The names of those of these snapshots that are deleted."""
        if self.snapshots_delete is None and self.snapshots_keep_newest is None:
            return set()
        found = [s for s in snapshots if fnmatch.fnmatchcase(s.name, self.snapshots_delete or "*")]
        found.sort(key=lambda s: s.date)  # of the same date: as in the table
        return {s.name for s in found[:max(0, len(found) - (self.snapshots_keep_newest or 0))]}


def new_size(rng, recipe):
    cs, size = recipe.cluster_size, recipe.size
    others = sorted(set(recipe.snapshot_sizes) - {size})
    if others and rng.random() < 0.4:  # which alone version 2 can have
        return rng.choice(others)
    kind = rng.random()
    if kind < 0.05:
        return size
    if kind < 0.10 and cs <= 65536:  # far: the L1 has to move
        return size + cs * cs // 8 * rng.randint(1, 80)
    if kind < 0.6:
        return sectors(rng, size, size + 12 * cs)
    return sectors(rng, 0, size)


def make(rng, recipe):
    request = Request()
    keys = rng.sample(["compat", "compat", "size", "backing", "lazy", "bits", "compression",
                       "extended"],
                      rng.choice([1, 1, 2, 2, 3]))
    if "compat" in keys:
        other = "0.10" if recipe.version == 3 else "1.1"
        request.compat = rng.choice([other, other, other, "0.10", "1.1"])
        if request.compat == "0.10":
            request.zero_clusters = rng.choice([None, None, "allocate", "share", "defer"])
    if "size" in keys:
        request.size, request.shrink = new_size(rng, recipe) or 512, rng.random() < 0.75  # 0 is none
    if "backing" in keys:
        choose_backing(rng, recipe, request)
    if "lazy" in keys:
        request.lazy_refcounts = rng.random() < 0.6
    if "bits" in keys:
        request.refcount_bits = rng.choice([1, 2, 4, 8, 16, 16, 32, 64])
    if "compression" in keys:
        request.compression_type = rng.choice(["zlib", "zstd", "zstd"])
    if "extended" in keys:
        request.extended_l2 = rng.random() < 0.7
    if recipe.data and rng.random() < 0.3:
        request.data_file_raw = rng.random() < 0.5
    if request.compat == "0.10" and rng.random() < 0.85:  # mostly something that can be done
        request.refcount_bits = 16
        request.lazy_refcounts = rng.choice([None, False])
        request.compression_type = rng.choice([None, request.compression_type])
    if recipe.snapshot_sizes and rng.random() < 0.4:
        choose_snapshots(rng, request)
    choose_bitmaps(random.Random(recipe.noise + 1), recipe, request)  # other seeds stay what they were
    choose_preallocation(random.Random(recipe.noise + 2), recipe, request)  # likewise
    choose_reclaim(random.Random(recipe.noise + 3), recipe, request)
    return request


def choose_bitmaps(rng, recipe, request):
    if rng.random() < (0.35 if recipe.bitmaps else 0.9):
        return
    names = [*recipe.bitmaps, "b1", "b2"]
    some = [rng.choice(names) for _ in range(6)]
    verbs = {
        "remove": [rng.choice([some[0], "b[13]", "none*", "*2"])], "remove_inconsistent": True,
        "rename": [(some[1], rng.choice(["new", "b3", "r1"]))],
        "add": [{"name": rng.choice(["new", "a1", some[2]])}],
        "merge": [(rng.sample(names, rng.choice([1, 1, 2])), some[3])],
        "clear": [rng.choice([some[4], "b*", "*1"])], "enable": [rng.choice([some[5], "*"])],
        "disable": [rng.choice([some[0], "b?", "*3"])],
    }
    if rng.random() < 0.7:
        verbs["add"][0]["granularity"] = 512 << rng.choice([0, 0, 1, 3, 5, 7, 10, 22])
    if rng.random() < 0.3:
        verbs["add"][0]["disabled"] = rng.random() < 0.6
    if rng.random() < 0.3:
        verbs["merge"].append(([some[3]], rng.choice([*names, verbs["add"][0]["name"]])))
    for verb in rng.sample(list(verbs), rng.choice([1, 1, 1, 2, 3, 5])):
        request.bitmaps[verb] = verbs[verb]


def choose_preallocation(rng, recipe, request):
    if rng.random() < 0.75:
        return
    small = max(recipe.size, request.size or 0) <= 64 << 20
    request.preallocation = rng.choice(["metadata", "metadata", "falloc", "full", "off"]
                                       if small else ["metadata"])
    if rng.random() < 0.9:  # else they contradict each other
        request.zero_clusters = rng.choice([None, "allocate"])


def choose_reclaim(rng, recipe, request):
    if rng.random() < 0.7:
        return
    request.reclaim = rng.choice([("free",), ("free", "reserved"), ("zeros",), ("free", "zeros", "reserved"), ("compact",), ("compact", "zeros"),
                                  ("compact", "free")])
    if recipe.data or request.preallocation not in (None, "off"):  # which zeros are refused with
        request.reclaim = ("free",)


def choose_snapshots(rng, request):
    if rng.random() < 0.7:
        request.snapshots_delete = rng.choice(["*", "s1", "s[13]", "s[!1]", "none"])
    if request.snapshots_delete is None or rng.random() < 0.3:
        request.snapshots_keep_newest = rng.choice([1, 1, 2, 3])


def choose_backing(rng, recipe, request):
    files = [("", None), (recipe.backing, recipe.backing_fmt), (recipe.spare, recipe.spare_fmt)]
    request.backing_file, request.backing_fmt = rng.choice(files[:1] + [f for f in files if f[0]])
    if request.backing_file == "" and not recipe.backing:
        request.lazy_refcounts = False  # removing what is not there is a request too
