#!/usr/bin/python
# Copyright (c) 2026 The qbatch authors
# SPDX-License-Identifier: MIT
from __future__ import absolute_import, division, print_function

__metaclass__ = type

DOCUMENTATION = r"""
module: qbatch_info
short_description: Reads what qcow2 images are, many at a time
version_added: 0.1.0
author: qbatch maintainers (@qbatch)
description:
  - Returns what C(qemu-img info --output=json) tells, of all images on all cores, or which of them another system would
    not support. Never writes, so check mode makes no difference.
extends_documentation_fragment: [qbatch.qbatch.images]
options:
  profile:
    description: Which images this system would refuse or not support.
    type: str
    choices: [xcp-ng, pve9, ovirt, libvirt, rhel9]
  force_share:
    description: Take no locks, so that images in use are read, too.
    type: bool
    default: true
attributes:
  check_mode: {support: full, description: Nothing is ever written.}
"""

EXAMPLES = r"""
- name: Which images would RHEL 9 not support
  qbatch.qbatch.qbatch_info:
    path: ["/srv/vm/**/*.qcow2"]
    profile: rhel9
  register: found

- name: Name them
  ansible.builtin.debug:
    msg: "{{ found.images | rejectattr('profile.fits') | map(attribute='path') }}"
"""

RETURN = r"""
images:
  description: What was read of each image, with the names of C(qemu-img info), its C(path), and an C(error) or null.
  returned: always
  type: list
  elements: dict
  sample: [{path: /srv/vm/a.qcow2, status: read, format: qcow2, virtual-size: 10737418240, error: null}]
summary:
  description: The summary, as C(qbatch info --json) prints it.
  returned: always
  type: dict
  sample: {images: 100, read: 100, failed: 0}
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.qbatch.qbatch.plugins.module_utils import program


def keep(record):
    return dict((key, value) for key, value in record.items() if key not in ("type", "filename"))


def main():
    module = AnsibleModule(
        argument_spec=dict(
            profile=dict(choices=["xcp-ng", "pve9", "ovirt", "libvirt", "rhel9"]),
            force_share=dict(type="bool", default=True),
            **dict(program.IMAGES, **program.PROGRAM)),
        required_one_of=[program.WAYS],
        mutually_exclusive=[("manifest", way) for way in program.WAYS if way != "manifest"],
        supports_check_mode=True)
    params = module.params
    argv = ["info", "--json"] + program.common_arguments(params)
    if params["profile"]:
        argv += ["--profile", params["profile"]]
    if params["force_share"]:
        argv.append("--force-share")
    answer = program.look(module, argv, keep)
    if "read" not in answer.summary:
        module.fail_json(msg=answer.words, exit_code=answer.code)
    result = dict(changed=False, exit_code=answer.code, summary=answer.summary, images=answer.records)
    unread = answer.summary["failed"] + answer.summary["not_reached"]
    if unread:
        module.fail_json(msg="%d of %d images could not be read" % (unread, answer.summary["images"]), **result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
