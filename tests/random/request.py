"""A random request: any mix of what an amend can be asked for."""
from dataclasses import dataclass

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
    zero_clusters: str = None

    def options(self):
        """The amend keys that are set, as text."""
        found = {}
        for key in ("compat", "size", "backing_file", "backing_fmt", "refcount_bits",
                    "zero_clusters"):
            value = getattr(self, key)
            if value is not None:
                found[key] = str(value)
        if self.lazy_refcounts is not None:
            found["lazy_refcounts"] = "on" if self.lazy_refcounts else "off"
        return found


def new_size(rng, recipe):
    cs, size = recipe.cluster_size, recipe.size
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
    keys = rng.sample(["compat", "compat", "size", "backing", "lazy", "bits"],
                      rng.choice([1, 1, 2, 2, 3]))
    if "compat" in keys:
        other = "0.10" if recipe.version == 3 else "1.1"
        request.compat = rng.choice([other, other, other, "0.10", "1.1"])
        if request.compat == "0.10":
            request.zero_clusters = rng.choice([None, None, "allocate", "share", "defer"])
    if "size" in keys:
        request.size, request.shrink = new_size(rng, recipe), rng.random() < 0.75
    if "backing" in keys:
        choose_backing(rng, recipe, request)
    if "lazy" in keys:
        request.lazy_refcounts = rng.random() < 0.6
    if "bits" in keys:
        request.refcount_bits = rng.choice([1, 2, 4, 8, 16, 16, 32, 64])
    if request.compat == "0.10" and rng.random() < 0.85:  # mostly something that can be done
        request.refcount_bits = 16
        request.lazy_refcounts = rng.choice([None, False])
    return request


def choose_backing(rng, recipe, request):
    files = [("", None), (recipe.backing, recipe.backing_fmt), (recipe.spare, recipe.spare_fmt)]
    request.backing_file, request.backing_fmt = rng.choice(files[:1] + [f for f in files if f[0]])
    if request.backing_file == "" and not recipe.backing:
        request.lazy_refcounts = False  # removing what is not there is a request too
