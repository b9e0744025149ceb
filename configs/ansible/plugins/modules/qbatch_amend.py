#!/usr/bin/python
# Copyright (c) 2026 The qbatch authors
# SPDX-License-Identifier: MIT
from __future__ import absolute_import, division, print_function

__metaclass__ = type

DOCUMENTATION = r"""
module: qbatch_amend
short_description: Amends qcow2 images in place, many at a time
version_added: 0.1.0
author: qbatch maintainers (@qbatch)
description:
  - Changes properties of all images of a host in one run. At every moment, a power loss included, each image is as it was
    or fully amended. An image that already has the requested properties is not touched and does not count as changed.
  - Images that a running guest holds are left alone and returned in C(locked); the same task, run again, takes them.
  - The options are the keys of qbatch-manifest(5), where each is explained. An option that is absent is not changed.
  - A run that was interrupted, because the host died or the connection was lost, is resumed when the same task is run again.
  - Paths are those of the managed host, and absolute.
extends_documentation_fragment: [qbatch.qbatch.images]
options:
  compat:
    description: Compatibility level. Quote it, since YAML reads 0.10 as the number 0.1.
    type: str
    choices: ['0.10', v2, '1.1', v3]
  size:
    description:
      - Virtual size such as C(100G), or with a plus sign an increase. An increase is added once in a run, however often
        that is interrupted and resumed, and again in each new run, so such a task is changed whenever it is run.
    type: str
  backing_file:
    description: Name of the backing file, stored as given; empty removes it. Metadata only, as C(qemu-img rebase -u).
    type: str
  backing_fmt:
    description: Format of the backing file; empty removes the entry.
    type: str
  lazy_refcounts:
    description: Whether updates of reference counts are postponed.
    type: bool
  refcount_bits:
    description: Width of a reference count.
    type: int
    choices: [1, 2, 4, 8, 16, 32, 64]
  convert:
    description: With C(from) raw and C(to) qcow2, makes a raw disk an image in place.
    type: dict
  repair:
    description: C(all), C(none), or a list of C(refcounts), C(leaks), C(flags) and C(bitmaps) - what is mended.
    type: raw
  zero_clusters:
    description: What a zero cluster over a backing file becomes in a downgrade.
    type: str
    choices: [allocate, share, defer]
  zero_method:
    description: How new clusters of zeros are made.
    type: str
    choices: [auto, hole, falloc, write]
  keep_undo:
    description: Keep what is replaced, so that C(qbatch undo) can put the images back.
    type: bool
  preallocation:
    description: Allocate every cluster of the disk.
    type: str
    choices: ['off', metadata, falloc, full]
  compression_type:
    description: How clusters are compressed.
    type: str
    choices: [zlib, zstd]
  extended_l2:
    description: L2 entries with subclusters.
    type: bool
  data_file:
    description: Name of the external data file, of an image that has one.
    type: str
  data_file_raw:
    description: Whether the external data file reads like the disk without the image.
    type: bool
  bitmaps:
    description: >-
      Persistent bitmaps, as lists under C(remove), C(rename), C(add), C(merge), C(clear), C(enable) and C(disable), and the
      switch C(remove_inconsistent).
    type: dict
  snapshots:
    description: Internal snapshots that are deleted, by C(delete), C(older_than) and C(keep_newest).
    type: dict
  reclaim:
    description: Space that goes back to the file system, by the switches C(free), C(zeros), C(reserved) and C(compact).
    type: dict
  backing:
    description: How the name of a backing file is rewritten, by C(rewrite), C(relative), C(fmt) and C(check_content).
    type: dict
  when:
    description: Conditions of the images that are meant, such as C(compat) or C(size_max). The others are skipped.
    type: dict
  expect:
    description: Conditions that must hold before the first write, or the image fails untouched.
    type: dict
  after:
    description: Conditions that must hold for the image at the end.
    type: dict
  tags:
    description: Words by which I(only_tags) and I(skip_tags) choose entries.
    type: list
    elements: str
  only_tags:
    description: Only the images whose entry has one of these tags.
    type: list
    elements: str
  skip_tags:
    description: Leave out the images whose entry has one of these tags.
    type: list
    elements: str
  policy:
    description: C(policy) of the manifest, such as C(on_locked), C(allow_shrink), C(backup), C(verify).
    type: dict
  limits:
    description: C(limits) of the manifest, such as C(rate), C(wave), C(window), C(deadline).
    type: dict
  graph:
    description: C(graph) of the manifest - where other overlays may lie.
    type: dict
  rollout:
    description: C(rollout) of the manifest - steps in which the images of each host are changed, and what is judged in between.
    type: dict
  confirm:
    description: With a rollout that asks, begin the step before which the run has asked. It is resumed for that.
    type: bool
    default: false
  labels:
    description: Names and texts that go into every report of the run, such as the number of a change ticket.
    type: dict
  name:
    description: What the run is called in its reports.
    type: str
  state:
    description: The directory where runs are recorded, by default that of qbatch.
    type: path
  resume:
    description: Whether an unfinished run of the same request is resumed. Otherwise a new one starts.
    type: bool
    default: true
  report:
    description: A file on the managed host that gets a line of JSON for each image. Not written in check mode.
    type: path
  results:
    description: >-
      Which images are returned - C(all), those that are not as they were (C(touched)), or those that are failed or skipped
      (C(problems)). For more than some thousands of images, use I(report) and not C(all).
    type: str
    choices: [all, touched, problems]
    default: all
  fail_on_locked:
    description: Whether the task fails where images are in use.
    type: bool
    default: false
attributes:
  check_mode: {support: full, description: Does everything but the writes.}
  diff_mode: {support: full, description: Shows the properties of each image that change.}
notes:
  - In check mode a run that was interrupted is not resumed, so a size that is added is shown as if it had not begun.
"""

EXAMPLES = r"""
- name: Bring all images to compatibility level 1.1
  qbatch.qbatch.qbatch_amend:
    path: ["/srv/vm/**/*.qcow2"]
    exclude: ["*-golden.qcow2"]
    compat: "1.1"
    policy: {verify: content}
    labels: {ticket: CHG-17}

- name: The base images have moved
  qbatch.qbatch.qbatch_amend:
    path: ["/srv/vm/*.qcow2"]
    backing:
      rewrite:
        - {from: '^/mnt/old/', to: /srv/base/}
      fmt: auto
      check_content: true

- name: Images with different requests in one run
  qbatch.qbatch.qbatch_amend:
    images:
      - {path: /srv/vm/web-*.qcow2, lazy_refcounts: "off"}
      - {path: /srv/vm/db.qcow2, size: 200G}
    state: /var/lib/qbatch
"""

RETURN = r"""
images:
  description: What became of each image that I(results) selects.
  returned: when there was a run
  type: list
  elements: dict
  sample: [{path: /srv/vm/a.qcow2, status: changed, changes: [{key: compat, from: "0.10", to: "1.1"}], error: null}]
locked:
  description: The images that were skipped because they are in use.
  returned: when there was a run
  type: list
  elements: str
summary:
  description: The summary of the run, as C(qbatch --json) prints it.
  returned: when there was a run
  type: dict
  sample: {images: 8, changed: 7, unchanged: 0, skipped: 1, failed: 0, run: 20261128-202916-84ba0d}
pending:
  description: Whether the run waits for an answer before its next step, which is I(confirm).
  returned: when there was a run
  type: bool
  sample: false
finish:
  description: The command by which whatever is left can be finished on the host, or null.
  returned: when there was a run
  type: str
  sample: qbatch --resume=20261128-202916-84ba0d /var/lib/qbatch/ansible/5f1d3c.yaml
exit_code:
  description: That of qbatch.
  returned: always
  type: int
  sample: 0
"""

import hashlib
import json
import os
import subprocess
import time

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.common.text.converters import to_bytes, to_native

from ansible_collections.qbatch.qbatch.plugins.module_utils import program

AMEND = dict(
    compat=dict(choices=["0.10", "v2", "1.1", "v3"]),
    size=dict(type="str"),
    backing_file=dict(type="str"),
    backing_fmt=dict(type="str"),
    lazy_refcounts=dict(type="bool"),
    refcount_bits=dict(type="int", choices=[1, 2, 4, 8, 16, 32, 64]),
    convert=dict(type="dict"),
    repair=dict(type="raw"),
    zero_clusters=dict(choices=["allocate", "share", "defer"]),
    zero_method=dict(choices=["auto", "hole", "falloc", "write"]),
    keep_undo=dict(type="bool"),
    preallocation=dict(choices=["off", "metadata", "falloc", "full"]),
    compression_type=dict(choices=["zlib", "zstd"]),
    extended_l2=dict(type="bool"),
    data_file=dict(type="str"),
    data_file_raw=dict(type="bool"),
    bitmaps=dict(type="dict"),
    snapshots=dict(type="dict"),
    reclaim=dict(type="dict"),
    backing=dict(type="dict"),
    when=dict(type="dict"),
    expect=dict(type="dict"),
    after=dict(type="dict"),
    tags=dict(type="list", elements="str"),
)
TOP = dict(
    name=dict(type="str"),
    policy=dict(type="dict"),
    limits=dict(type="dict"),
    graph=dict(type="dict"),
    rollout=dict(type="dict"),
    labels=dict(type="dict"),
)
# What else of a record is returned where it says something.
NOTES = ("converted", "repaired", "refcounts_raised", "flags_corrected", "mark_cleared", "reclaimed_bytes",
         "snapshots_deleted", "bitmaps_changed", "bitmaps_dropped", "backing_unchecked", "data_file_unchecked",
         "without_locks", "writers_unseen", "backup")
PROBLEMS = ("failed", "skipped", "interrupted")
TOUCHED = PROBLEMS + ("changed", "would_change")
PENDING = 4  # exit code of a run that asks before its next step
SAID = 3  # images that a message names
OLD_SECONDS = 86400


def relative_paths(entries):
    for one in entries:
        for key in ("path", "chain", "from_file", "from_file0"):
            words = one.get(key) or []
            for word in words if isinstance(words, list) else [words]:
                if not str(word).startswith("/"):
                    return word
    return None


def make_manifest(params):
    entries = params["images"] or [program.entry(params)]
    manifest = dict((key, params[key]) for key in TOP if params[key] is not None)
    manifest["version"] = 1
    manifest["images"] = entries
    keys = dict((key, params[key]) for key in AMEND if params[key] is not None)
    if keys:
        manifest["defaults"] = keys
    return manifest


class Results(object):
    """What is kept of the images while their lines go by."""

    def __init__(self, wanted, diff):
        self.wanted, self.diff = wanted, diff
        self.locked, self.problems, self.diffs = [], [], []

    def keep(self, record):
        status, error = record.get("status"), record.get("error")
        if error and error["code"] == "locked":
            self.locked.append(record["path"])
        if status in ("failed", "interrupted") and error and len(self.problems) < SAID:
            self.problems.append("%s: %s: %s" % (record["path"], error["code"], error["message"]))
        if self.diff and status in ("changed", "would_change"):
            self.diffs.append(self.difference(record))
        if self.wanted == "touched" and status not in TOUCHED or self.wanted == "problems" and status not in PROBLEMS:
            return None
        kept = dict(path=record["path"], status=status, changes=record.get("changes", []))
        kept["error"] = error and dict((key, error[key]) for key in ("code", "message", "hint"))
        kept.update((note, record[note]) for note in NOTES if record.get(note))
        return kept

    @staticmethod
    def difference(record):
        before, after = [], []
        for change in record.get("changes", []):
            for side, lines in (("from", before), ("to", after)):
                lines.append("%s: %s\n" % (change["key"], json.dumps(change[side])))
        after += ["%s: %s\n" % (note, json.dumps(record[note])) for note in NOTES if record.get(note)]
        return dict(before_header=record["path"], after_header=record["path"],
                    before="".join(before), after="".join(after))


class Runs(object):
    """The directory of runs, and the manifests in it that this module has made: one a request."""

    def __init__(self, module):
        self.module = module
        self.program = program.find(module)
        self.folder = module.params["state"] or os.environ.get("STATE_DIRECTORY") or self.default()
        self.manifests = os.path.join(self.folder, "ansible")

    @staticmethod
    def default():
        if os.geteuid() == 0:
            return "/var/lib/qbatch"
        return os.path.join(os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state"), "qbatch")

    def manifest(self, text):
        """The file of a request: the same request is the same file, by which its runs are found again."""
        return os.path.join(self.manifests, hashlib.sha256(to_bytes(text)).hexdigest()[:16] + ".yaml")

    def save(self, path, text):
        try:
            if not os.path.isdir(self.manifests):
                os.makedirs(self.manifests, 0o700)
            temporary = "%s.%d" % (path, os.getpid())
            with open(temporary, "wb") as out:
                out.write(to_bytes(text))
            self.module.atomic_move(temporary, path)
        except (IOError, OSError) as error:
            self.module.fail_json(msg="%s cannot be written: %s" % (path, to_native(error)))

    def listed(self):
        argv = [self.program, "status", "--json", "--state", self.folder]
        try:
            out = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE).communicate()[0]
        except OSError as error:
            self.module.fail_json(msg="%s cannot be run: %s" % (argv[0], to_native(error)))
        for line in out.splitlines():
            try:
                yield json.loads(to_native(line))
            except ValueError:
                continue

    def unfinished(self, manifest):
        """The newest run of this manifest, if it left something to do."""
        real = os.path.realpath(manifest)
        runs = [run for run in self.listed() if os.path.realpath(run.get("manifest") or "") == real]
        newest = max(runs, key=lambda run: run["run"]) if runs else None
        return newest["run"] if newest and newest["to_finish"] else None

    def forget(self):
        """Removes manifests of which no run is remembered any more."""
        used = set(os.path.realpath(run.get("manifest") or "") for run in self.listed())
        for name in os.listdir(self.manifests):
            path = os.path.join(self.manifests, name)
            try:
                if os.path.realpath(path) not in used and os.stat(path).st_mtime < time.time() - OLD_SECONDS:
                    os.unlink(path)
            except OSError:
                pass


def arguments(params, executable):
    argv = [executable, "--json"] + program.common_arguments(params)
    for option in ("only_tags", "skip_tags"):
        if params[option]:
            argv += ["--" + option.replace("only_", "").replace("_", "-"), ",".join(params[option])]
    return argv


def amend(module, results):
    params, runs = module.params, Runs(module)
    argv, path, text = arguments(params, runs.program), params["manifest"], None
    made = path is None
    if made:
        text = program.manifest_text(make_manifest(params))
        path = runs.manifest(text)
    if module.check_mode:
        return program.run(module, argv + ["--dry-run", "-" if made else path], text, results.keep)
    if made:
        runs.save(path, text)
    argv += ["--state", runs.folder]
    if params["report"]:
        argv += ["--report", params["report"]]
    if not params["resume"]:
        argv.append("--new-run")
    else:
        unfinished = runs.unfinished(path)
        argv += ["--resume=" + unfinished] if unfinished else []
        argv += ["--yes"] if unfinished and params["confirm"] else []
    answer = program.run(module, argv + [path], None, results.keep)
    if made:
        runs.forget()
    return answer


def failed_parts(summary, results):
    """What of a run failed: images, a step of its rollout, its journal; nothing where that was a report."""
    rollout = summary.get("rollout") or {}
    if summary["failed"]:
        more = summary["failed"] - len(results.problems)
        yield "%d of %d images failed: %s" % (summary["failed"], summary["images"], "; ".join(
            results.problems + (["and %d more" % more] if more > 0 else [])))
    if rollout.get("why"):
        yield "step %d of the rollout failed: %s" % (rollout["step"], rollout["why"])
    if summary.get("journal_error"):
        yield summary["journal_error"]


def failure(answer, results, params):
    """Why the task fails, or None."""
    summary = answer.summary
    if answer.code == 5:
        return "an amended image failed verification, do not use it: " + "; ".join(results.problems)
    if answer.code == 75:
        return "interrupted; the same task run again finishes it"
    if answer.code == 1:
        return "; ".join(failed_parts(summary, results)) or answer.words
    if answer.code == 3 and params["fail_on_locked"]:
        return "%d images are in use: %s" % (len(results.locked), ", ".join(results.locked[:SAID]))
    if answer.code not in (0, 3, PENDING):
        return answer.words
    return None


def main():
    spec = dict(
        only_tags=dict(type="list", elements="str"),
        skip_tags=dict(type="list", elements="str"),
        state=dict(type="path"),
        resume=dict(type="bool", default=True),
        confirm=dict(type="bool", default=False),
        report=dict(type="path"),
        results=dict(choices=["all", "touched", "problems"], default="all"),
        fail_on_locked=dict(type="bool", default=False))
    for part in (AMEND, TOP, program.IMAGES, program.PROGRAM):
        spec.update(part)
    module = AnsibleModule(
        argument_spec=spec,
        required_one_of=[program.WAYS],
        mutually_exclusive=[("manifest", way) for way in sorted(set(program.WAYS + tuple(AMEND) + tuple(TOP)))
                            if way != "manifest"] + [("images", key) for key in ("path", "from_file", "chain", "exclude")],
        supports_check_mode=True)
    params = module.params
    if not params["manifest"]:
        relative = relative_paths(params["images"] or [program.entry(params)])
        if relative is not None:
            module.fail_json(msg="%s is not an absolute path" % relative)
    results = Results(params["results"], module._diff)
    answer = amend(module, results)
    summary = answer.summary
    if "changed" not in summary:
        module.fail_json(msg=answer.words, exit_code=answer.code)
    result = dict(changed=bool(summary["changed"] or summary["would_change"]), exit_code=answer.code, summary=summary,
                  images=answer.records, locked=results.locked, pending=answer.code == PENDING,
                  finish=summary.get("finish"))
    if module._diff:
        result["diff"] = results.diffs
    why = failure(answer, results, params)
    if why:
        module.fail_json(msg=why, **result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
