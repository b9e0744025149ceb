#!/usr/bin/python
# Copyright (c) 2026 The qbatch authors
# SPDX-License-Identifier: MIT
from __future__ import absolute_import, division, print_function

__metaclass__ = type

DOCUMENTATION = r"""
module: qbatch_check
short_description: Checks qcow2 images, many at a time
version_added: 0.1.0
author: qbatch maintainers (@qbatch)
description:
  - Counts every reference of each image and compares the counts with its refcounts and flags, as C(qemu-img check)
    does, of all images on all cores. Never writes, so check mode makes no difference.
extends_documentation_fragment: [qbatch.qbatch.images]
options:
  level:
    description: How much of an image is looked at; C(content) reads all data, too.
    type: str
    choices: [header, tables, refcounts, content]
    default: refcounts
  force_share:
    description: Take no locks, so that images in use are read, too. Of these the answer may be out of date.
    type: bool
    default: false
  fail_on:
    description: Which findings make the task fail.
    type: list
    elements: str
    choices: [corrupt, leaks, unchecked]
    default: [corrupt, unchecked]
  report:
    description: A file on the managed host that gets a line of JSON for each image.
    type: path
attributes:
  check_mode: {support: full, description: Nothing is ever written.}
"""

EXAMPLES = r"""
- name: Check all images, also those of running guests
  qbatch.qbatch.qbatch_check:
    path: ["/srv/vm/**/*.qcow2"]
    force_share: true
"""

RETURN = r"""
images:
  description: The images in which something was found, or that could not be checked.
  returned: always
  type: list
  elements: dict
  sample: [{path: /srv/vm/a.qcow2, status: leaks, corruptions: 0, leaks: 3, error: null, findings_by_code: {leak: 3}}]
summary:
  description: The summary of the check, as C(qbatch check --json) prints it.
  returned: always
  type: dict
  sample: {images: 100, clean: 99, corrupt: 0, leaks: 1, unchecked: 0}
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.qbatch.qbatch.plugins.module_utils import program

KEPT = ("path", "status", "corruptions", "leaks", "findings_by_code")


def keep(record):
    if record.get("status") == "clean":
        return None
    kept = dict((key, record.get(key)) for key in KEPT)
    error = record.get("error")
    kept["error"] = error and {"code": error["code"], "message": error["message"]}
    return kept


def main():
    module = AnsibleModule(
        argument_spec=dict(
            level=dict(choices=["header", "tables", "refcounts", "content"], default="refcounts"),
            force_share=dict(type="bool", default=False),
            fail_on=dict(type="list", elements="str", choices=["corrupt", "leaks", "unchecked"],
                         default=["corrupt", "unchecked"]),
            report=dict(type="path"),
            **dict(program.IMAGES, **program.PROGRAM)),
        required_one_of=[program.WAYS],
        mutually_exclusive=[("manifest", way) for way in program.WAYS if way != "manifest"],
        supports_check_mode=True)
    params = module.params
    argv = ["check", "--json", "--level", params["level"]] + program.common_arguments(params)
    if params["force_share"]:
        argv.append("--force-share")
    if params["report"]:
        argv += ["--report", params["report"]]
    answer = program.look(module, argv, keep)
    if "clean" not in answer.summary:
        module.fail_json(msg=answer.words, exit_code=answer.code)
    result = dict(changed=False, exit_code=answer.code, summary=answer.summary, images=answer.records)
    wrong = [kind for kind in params["fail_on"] if answer.summary.get(kind)]
    if answer.summary.get("not_reached"):
        module.fail_json(msg="the check was interrupted", **result)
    if wrong:
        module.fail_json(msg="of %d images %s" % (answer.summary["images"], ", ".join(
            "%d %s" % (answer.summary[kind], {"leaks": "with leaks"}.get(kind, kind)) for kind in wrong)), **result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
