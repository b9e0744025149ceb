"""One seed: makes the image, has it amended, and looks for anything that is not as it must be."""
import os
import random
import shlex
import shutil
from dataclasses import dataclass, field

import bitmaps
import bits
import guest
import model
import on_device
import proc
import qcow2
import raw_disk
import recipe as recipes
import request as requests
from recipe import IMAGE


@dataclass
class Report:
    seed: int
    commands: list = field(default_factory=list)  # what made the image, then the request
    outcome: str = ""
    refusal: str = ""
    violations: list = field(default_factory=list)  # (kind, words)

    def complain(self, kind, words):
        self.violations.append((kind, words))

    def text(self):
        lines = [f"seed {self.seed}: {self.outcome}"]
        lines += ["    " + shlex.join(c) for c in self.commands]
        lines += [f"    VIOLATION {kind}: {words}" for kind, words in self.violations]
        return "\n".join(lines)


@dataclass
class Before:
    """What is known of the image before the request."""

    path: str
    image: qcow2.Image
    bitmaps: list
    info: dict
    layers: dict  # as they are to read afterwards, but for a new size; None: QEMU cannot tell
    sha: str
    data_sha: str
    file_size: int
    corruptions: int
    leaks: int


def build(folder, recipe, report):
    """Runs the recipe.  A signal (sigraise) and a failure of some commands are part of it."""
    for command in [recipes.noise_command(recipe)] + recipe.commands:
        command = [word.replace(recipes.FOLDER, folder) for word in command]
        done = proc.run(command, cwd=folder)
        report.commands.append(command)
        if done.code != 0 and command[1] == "create":
            raise RuntimeError(f"{shlex.join(command)}: {done.err}")


def data_sha(folder):
    path = os.path.join(folder, "image.data")
    return proc.sha256(path) if os.path.exists(path) else ""


def look(folder, request):
    path = os.path.join(folder, IMAGE)
    _, corruptions, leaks, _ = guest.check(path)
    try:
        layers = expected_layers(path, request)
    except guest.Unreadable:
        layers = None
    return Before(path, qcow2.load(path), bits.load(path), guest.info(path), layers,
                  proc.sha256(path), data_sha(folder), os.path.getsize(path), corruptions, leaks)


def expected_layers(path, request):
    """With a new backing file the content is what `qemu-img rebase -u` would make it.  Of a size that
    is not a multiple of 512 QEMU shows the whole sectors only: the bytes behind them count too."""
    size = qcow2.load(path).size
    copy = path + ".expected"
    proc.copy_sparse(path, copy)
    qcow2.patch_header(copy, size=(size + 511) // 512 * 512)
    if request.backing_file is not None:
        fmt = ["-F", request.backing_fmt] if request.backing_fmt else []
        guest.qemu_img("rebase", "-u", "-f", "qcow2", "-b", request.backing_file, *fmt, copy)
    layers = guest.read_all(copy)
    os.unlink(copy)
    layers["active"] = layers["active"].resized(size)
    for name in request.goes(qcow2.load(path).snapshots()):
        del layers[f"snapshot {name}"]
    return layers


def check_refused(report, before, outcome, verdict, tool):
    report.refusal = verdict.why
    if proc.sha256(before.path) != before.sha:
        report.complain("refusal changed the image", outcome.words)
    if data_sha(os.path.dirname(before.path)) != before.data_sha:
        report.complain("refusal changed the data file", outcome.words)
    # QEMU, killed, may have left an image that it cannot read itself.
    unreadable = before.layers is None and '"code":"corrupt"' in outcome.words
    if verdict.outcome == "amend" and tool.promises_everything and not unreadable:
        report.complain("needless refusal", outcome.words)


def check_content(report, before, request):
    try:
        after = guest.read_all(before.path)
    except guest.Unreadable as failure:
        report.complain("wrong content", f"QEMU cannot read it any more: {failure}")
        return
    if after.keys() != before.layers.keys():
        report.complain("wrong content", f"layers {list(after)} instead of {list(before.layers)}")
    for name, content in after.items():
        wanted = before.layers.get(name, content)
        if name == "active":
            wanted = wanted.resized(before.image.size if request.size is None else request.size)
            wanted = wanted.resized(content.size)  # check_info judges the size
        if content != wanted:
            report.complain("wrong content", f"{name}: {content.difference(wanted)}")


def check_metadata(report, before, tool):
    code, corruptions, leaks, words = guest.check(before.path)
    if corruptions > before.corruptions or not (code in (0, 3) or before.corruptions):
        report.complain("broken metadata", f"{corruptions} corruptions (exit {code}): {words}")
    elif leaks > before.leaks:
        report.complain("leaked clusters", f"{leaks} leaks, {before.leaks} before")
    dirty = before.image.incompatible_features & qcow2.INCOMPAT_DIRTY
    narrow = guest.info(before.path)["format-specific"]["data"]["refcount-bits"] == 1
    if tool.promises_everything and leaks < before.leaks and not dirty and not narrow:
        report.complain("leaks were freed", f"{leaks} leaks, {before.leaks} before")
    size = os.path.getsize(before.path)
    if tool.promises_everything and size % 512 and size != before.file_size:
        report.complain("odd file length", f"{size} bytes")


def check_info(report, before, request):
    shown, image = guest.info(before.path), qcow2.load(before.path)
    data = shown["format-specific"]["data"]
    version = {None: before.image.version, "0.10": 2, "1.1": 3}[request.compat]
    lazy = bool(before.image.compatible_features & 1) and version == 3
    lazy = lazy if request.lazy_refcounts is None else request.lazy_refcounts
    wanted = {
        "compat": ({2: "0.10", 3: "1.1"}[version], data["compat"]),
        "size": (before.image.size if request.size is None else request.size, image.size),
        "lazy_refcounts": (lazy, data.get("lazy-refcounts", False)),
        "refcount_bits": (request.refcount_bits or before.image.refcount_bits,
                          data["refcount-bits"]),
        "dirty": (False, shown.get("dirty-flag", False)),
        "snapshots": ([s["name"] for s in before.info.get("snapshots", [])
                       if s["name"] not in request.goes(before.image.snapshots())],
                      [s["name"] for s in shown.get("snapshots", [])]),
    }
    raw = before.info["format-specific"]["data"].get("data-file-raw", False)
    wanted["data_file_raw"] = (raw if request.data_file_raw is None else request.data_file_raw,
                               data.get("data-file-raw", False))
    name, fmt = before.image.backing_file, before.info.get("backing-filename-format")
    if request.backing_file is not None:
        name, fmt = request.backing_file, request.backing_fmt
    wanted["backing_file"] = (name, image.backing_file)
    wanted["backing_fmt"] = (fmt if name else None, shown.get("backing-filename-format"))
    for key, (want, have) in wanted.items():
        if want != have:
            report.complain("not as asked", f"{key} is {have}, not {want}")


def check_bitmaps(report, before, request):
    size = before.image.size if request.size is None else request.size
    wanted = bits.amended(before.bitmaps, request, size, before.image.cluster_size)
    found = bits.load(before.path)
    for want, have in zip(wanted, found):
        if want != have:
            report.complain("wrong bitmap", f"{want.name}: {words_of(have)} instead of {words_of(want)}")
    if len(wanted) != len(found):
        report.complain("wrong bitmap", f"{[b.name for b in found]}, not {[b.name for b in wanted]}")
    shown = bitmaps.shown(before.path)
    if sorted(shown) != sorted(b.name for b in wanted):
        report.complain("wrong bitmap", f"QEMU sees {sorted(shown)}")
    consistent = [b for b in wanted if b.bits is not None]
    if consistent and size % 512 == 0:  # one a seed: each takes a server
        one = consistent[report.seed % len(consistent)]
        seen = bitmaps.dirty(before.path, one.name)
        if seen != bits.ranges(one, size):
            report.complain("wrong bitmap", f"{one.name}: QEMU sees {seen}, not {bits.ranges(one, size)}")


def words_of(bitmap):
    found = bits.runs(bitmap.bits)[:6] if bitmap.bits is not None else None
    return f"{bitmap.name} of 2^{bitmap.granularity}, flags {bitmap.flags}, bits {found}"


def check_allocated(report, before, request):
    image = qcow2.load(before.path)
    shown = min(guest.backing_size(before.path), before.image.size, image.size)
    if model.allocates(request) and model.lacking(image, shown):
        report.complain("not as asked", f"{model.lacking(image, shown)} clusters have no place")


def check_next_write(report, before):
    """A guest that writes everything must not reach into a snapshot."""
    image = qcow2.load(before.path)
    if not image.snapshots() or not image.size or report.violations:
        return
    if before.corruptions:  # QEMU made it so; a header-only amend leaves it, and a write may fail
        return
    copy = before.path + ".written"
    proc.copy_sparse(before.path, copy)
    length = min(image.size // 512 * 512, 1 << 20)
    proc.run(recipes.qemu_io(copy, "qcow2", [f"write -q -P 238 0 {length}"]))
    for name, content in guest.read_all(copy).items():
        if name != "active" and content != before.layers[name]:
            report.complain("next write hits a snapshot", name)
    os.unlink(copy)


def check_second_run(report, before, request, tool, folder):
    size = before.image.size if request.size is None else request.size
    if request.bitmaps and not bits.is_settled(bits.load(before.path), request, size, before.image.cluster_size):
        return
    if request.reclaim and tool.on_device:
        return  # a device does not say what it has discarded
    if "zeros" in request.reclaim and size != before.image.size:
        return  # the last cluster, which was copied, may hold nothing but zeros
    sha = proc.sha256(before.path)
    again = tool.amend(folder, request, report.seed)
    if again.status != "unchanged":
        report.complain("second run does not say unchanged", again.words)
    if proc.sha256(before.path) != sha:
        report.complain("second run wrote", again.words)


def check_amended(report, before, request, outcome, verdict, tool, folder):
    if verdict.outcome == "refuse" and tool.promises_everything:
        report.complain("not refused", f"although {verdict.why}")
        return
    if before.layers is None:
        report.outcome = "unreadable"
        return
    if tool.promises_everything and verdict.outcome == "amend" and not request.reclaim:
        if verdict.unchanged != (outcome.status == "unchanged"):
            report.complain("needless change" if verdict.unchanged else "left undone", outcome.words)
    if outcome.status == "unchanged" and proc.sha256(before.path) != before.sha:
        report.complain("unchanged, but written", outcome.words)
    check_metadata(report, before, tool)
    check_info(report, before, request)
    if tool.promises_everything:
        check_bitmaps(report, before, request)
    check_content(report, before, request)
    check_allocated(report, before, request)
    check_next_write(report, before)
    if tool.promises_everything:
        check_second_run(report, before, request, tool, folder)


def check_undo(report, before, request, verdict, tool, folder):
    """In a copy: an amend that is undone leaves what was there, in every layer."""
    copy = folder + ".kept"
    proc.must(["cp", "-a", "--sparse=always", folder, copy])
    path = os.path.join(copy, IMAGE)
    try:
        answer, undone = tool.keep_undo(copy, request)
        if undone is None:
            words = str(answer)
            if verdict.outcome == "amend" and answer.status == "failed" and "keep_undo" not in words \
                    and "too often for refcounts" not in words:
                report.complain("keep_undo is refused", words)
        elif undone.code or undone.status != "changed" and not request.reclaim:
            report.complain("not undone", str(undone))
        elif proc.sha256(path) != before.sha and before.layers is not None:
            now, then = guest.read_all(path), guest.read_all(before.path)
            if now != then or guest.check(path)[1] > before.corruptions:
                report.complain("an undo lost something", str(undone))
    finally:
        shutil.rmtree(copy, ignore_errors=True)


def one_seed(seed, tool, folder):
    rng = random.Random(seed)
    report = Report(seed)
    if tool.promises_everything and (tool.only_raw or random.Random(seed + (1 << 33)).randrange(10) == 0):
        raw_disk.one_seed(seed, tool, folder, report)
        return report
    recipe = recipes.make(rng)
    request = requests.make(rng, recipe)
    build(folder, recipe, report)
    if tool.on_device:
        on_device.pad(folder, rng)
    before = look(folder, request)
    verdict = model.judge(before.image, before.bitmaps, before.info, request, before.corruptions,
                          before.leaks, guest.backing_size(before.path))
    if tool.promises_everything and seed % 2 == 0:
        check_undo(report, before, request, verdict, tool, folder)
    outcome = tool.amend(folder, request, seed)
    report.commands += outcome.commands
    report.outcome = outcome.status
    if outcome.status in ("changed", "unchanged"):
        check_amended(report, before, request, outcome, verdict, tool, folder)
    elif outcome.status == "refused":
        check_refused(report, before, outcome, verdict, tool)
    elif outcome.status != "timeout" or tool.promises_everything:
        report.complain(outcome.status, outcome.words)
    return report
