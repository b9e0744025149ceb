"""The programs that can be put to the test, each behind the same call.

`amend(folder, request, number)` changes IMAGE and says what became of it.
"""
import contextlib
import json
import os
from dataclasses import dataclass

import on_device
import proc
import qbatch
import qcow2
from on_device import SECTOR
from recipe import IMAGE


@dataclass
class Outcome:
    status: str  # "changed", "unchanged", "refused", "crashed", "timeout"
    words: str = ""
    commands: list = None


class Qbatch:
    """By command line or by manifest, with either I/O back end: the seed decides."""

    promises_everything = True
    on_device = False  # the image is put on a block device for the amend
    only_raw = False   # every seed is a raw disk that becomes an image, not one of ten

    def __init__(self, path):
        self.path = path

    def amend(self, folder, request, number):
        if not self.on_device:
            return self.outcome(self.try_it(folder, request, number))
        for missing in (SECTOR, 0, 0):  # one that is too small gets what it lacks, but for a sector at first
            with on_device.node(folder):
                answer = self.try_it(folder, request, number)
            lacks = answer.first["space"]["device_lacks_bytes"] if answer.error == "no_space" else 0
            if lacks <= missing:
                break
            on_device.lengthen(folder, lacks - missing)
        return self.outcome(answer)

    def outcome(self, answer):
        return Outcome(self.status(answer), str(answer), [answer.result.argv])

    def try_it(self, folder, request, number):
        io = ["auto", "auto", "posix"][number % 3]
        if number % 2:
            answer = self.by_manifest(folder, request, io, number // 2 % 2)
        else:
            answer = qbatch.amend(IMAGE, shrink=request.shrink, tool=self.path, cwd=folder,
                                  flags=["--io", io, "--verify", "content"], **request.options())
        return answer

    def keep_undo(self, folder, request):
        """The same amend with keep_undo, and the undo of it, where it was changed."""
        state = ["--state", os.path.join(folder, "state")]
        options = {**request.options(), "keep_undo": "on"}
        with on_device.node(folder) if self.on_device else contextlib.nullcontext():
            answer = qbatch.amend(IMAGE, shrink=request.shrink, tool=self.path, cwd=folder, flags=state, **options)
            if answer.status != "changed":
                return answer, None
            return answer, qbatch.qbatch("undo", "--json", *state, "last", tool=self.path, cwd=folder)

    def by_manifest(self, folder, request, io, room_first):
        """With a limit on growth, even one that is never reached, what is free inside is used first."""
        shrink = "on" if request.shrink else "off"
        growth = ", max_growth: 1P" if room_first else ""
        lines = ["version: 1", f"policy: {{verify: content, allow_shrink: {shrink}{growth}}}"]
        lines += ["images:", f"  - path: {IMAGE}"]
        options = request.options()
        nested = {group: [f'{key.partition(".")[2]}: "{options.pop(key)}"' for key in list(options)
                          if key.startswith(group + ".")] for group in ("snapshots", "reclaim")}
        lines += [f'    {key}: "{value}"' for key, value in options.items() if not key.startswith("bitmaps.")]
        if request.bitmaps:
            lines.append(f"    bitmaps: {json.dumps(request.bitmap_mapping())}")
        lines += [f"    {group}: {{{', '.join(keys)}}}" for group, keys in nested.items() if keys]
        with open(os.path.join(folder, "manifest.yaml"), "w", encoding="utf-8") as f:
            f.write("\n".join(lines) + "\n")
        return qbatch.qbatch("--json", "--io", io, "manifest.yaml", tool=self.path, cwd=folder)

    @staticmethod
    def status(answer):
        if answer.result.timed_out:
            return "timeout"
        if answer.crashed:
            return "crashed"
        expected = {"changed": 0, "unchanged": 0, "failed": 1}
        if answer.noise or not answer.summary or expected.get(answer.status) != answer.code:
            return "unclear"
        return "refused" if answer.status == "failed" else answer.status


class QemuImg:
    """`qemu-img amend`, and `qemu-img rebase -u` for the backing file, which amend cannot change."""

    on_device = False
    promises_everything = False  # it does not say `unchanged`, and has other reasons to refuse
    patience_seconds = 20        # refcount_bits on an image of 2 MiB clusters takes minutes

    def __init__(self, path):
        self.path = path

    def amend(self, folder, request, _number):
        options = {k: v for k, v in request.options().items()
                   if k not in ("backing_file", "backing_fmt", "zero_clusters")
                   and not k.startswith(("snapshots.", "bitmaps.", "reclaim."))}
        snapshots = qcow2.load(os.path.join(folder, IMAGE)).snapshots()
        commands = [[self.path, "snapshot", "-d", name, IMAGE]
                    for name in sorted(request.goes(snapshots))]
        if options:
            commands.append([self.path, "amend", "-q", "-f", "qcow2", "-o",
                             qbatch.option_string(options), IMAGE])
        if request.backing_file is not None:
            fmt = ["-F", request.backing_fmt] if request.backing_fmt else []
            commands.append([self.path, "rebase", "-u", "-f", "qcow2", "-b", request.backing_file,
                             *fmt, IMAGE])
        for command in commands:
            done = proc.run(command, cwd=folder, timeout=self.patience_seconds)
            if done.code != 0:
                status = "timeout" if done.timed_out else "crashed" if done.crashed else "refused"
                return Outcome(status, done.err.strip(), commands)
        return Outcome("changed", "", commands)


def find(path):
    return QemuImg(path) if os.path.basename(path) == "qemu-img" else Qbatch(qbatch.absolute(path))
