# Copyright (c) 2026 The qbatch authors
# SPDX-License-Identifier: MIT
"""Runs qbatch for the modules: a manifest in, lines of JSON out."""
from __future__ import absolute_import, division, print_function

__metaclass__ = type

import json
import os
import subprocess
import tempfile

from ansible.module_utils.common.text.converters import to_bytes, to_native

# Which images: the same options in each module.
IMAGES = dict(
    path=dict(type="list", elements="str", aliases=["paths"]),
    from_file=dict(type="path"),
    exclude=dict(type="list", elements="str"),
    chain=dict(type="list", elements="str"),
    manifest=dict(type="path"),
    images=dict(type="list", elements="dict"),
)
WAYS = ("path", "from_file", "chain", "images", "manifest")

PROGRAM = dict(
    executable=dict(type="path", default="qbatch"),
    jobs=dict(type="int"),
    root=dict(type="list", elements="str"),
)

ERROR_BYTES = 4000  # of what the program says when it refuses a request


def entry(params):
    """The files of an entry of a manifest; None where the manifest is a file of its own."""
    if params["manifest"]:
        return None
    return dict((key, params[key]) for key in ("path", "from_file", "exclude", "chain") if params[key])


def manifest_text(manifest):
    """JSON is YAML, except for how it writes characters outside of the basic plane: so none is escaped."""
    return json.dumps(manifest, ensure_ascii=False, sort_keys=True, indent=1) + "\n"


def common_arguments(params):
    argv = []
    if params["jobs"]:
        argv += ["--jobs", str(params["jobs"])]
    for root in params["root"] or ():
        argv += ["--root", root]
    return argv


def find(module):
    """The program's path; the task fails where the host has none, before anything is written there."""
    named = module.params["executable"]
    if "/" not in named:
        return module.get_bin_path(named, required=True)
    if not os.access(named, os.X_OK):
        module.fail_json(msg="%s is not there, or cannot be run" % named)
    return named


class Answer(object):
    def __init__(self):
        self.code, self.records, self.summary, self.said = None, [], {}, ""

    @property
    def words(self):
        """Why there was no run."""
        said = self.said.strip()
        return said or to_native(self.summary.get("error") or "qbatch ended with %s" % self.code)


def run(module, argv, text, keep):
    """Runs `argv`, of which the first is a path, with `text` as its standard input; keep(line) is what is remembered of an image, or None.

    The lines are read as they come: a fleet's may be hundreds of megabytes.
    """
    answer = Answer()
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as said:
        given.write(to_bytes(text or ""))
        given.seek(0)
        try:
            process = subprocess.Popen(argv, stdin=given, stdout=subprocess.PIPE, stderr=said)
        except OSError as error:
            module.fail_json(msg="%s cannot be run: %s" % (argv[0], to_native(error)))
        for line in process.stdout:
            try:
                record = json.loads(to_native(line, errors="surrogate_or_replace"))
            except ValueError:
                continue
            if record.get("type") == "summary":
                answer.summary = record
                continue
            kept = keep(record)
            if kept is not None:
                answer.records.append(kept)
        process.stdout.close()
        answer.code = process.wait()
        said.seek(0)
        answer.said = to_native(said.read(ERROR_BYTES), errors="surrogate_or_replace")
    return answer


def look(module, argv, keep):
    """Runs a command that only reads, on the images that the module's options name."""
    params = module.params
    argv = [find(module)] + argv
    files = entry(params)
    if files is None:
        return run(module, argv + ["--manifest", params["manifest"]], None, keep)
    images = params["images"] if params["images"] else [files]
    return run(module, argv + ["--manifest", "-"], manifest_text({"version": 1, "images": images}), keep)
