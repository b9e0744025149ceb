# Copyright (c) 2026 The qbatch authors
# SPDX-License-Identifier: MIT
from __future__ import absolute_import, division, print_function

__metaclass__ = type


class ModuleDocFragment(object):
    DOCUMENTATION = r"""
requirements:
  - qbatch on the managed host; see the role qbatch.qbatch.install
options:
  path:
    description:
      - Paths, or patterns such as C(/srv/vm/**/*.qcow2), on the managed host. A pattern that matches nothing is a mistake.
    type: list
    elements: str
    aliases: [paths]
  from_file:
    description: A file on the managed host with a path in each line.
    type: path
  exclude:
    description: Patterns of files that the other options do not mean.
    type: list
    elements: str
  chain:
    description: Images that are taken together with all qcow2 images of their backing chains.
    type: list
    elements: str
  images:
    description: Entries as a manifest has them, for images with different requests. See qbatch-manifest(5).
    type: list
    elements: dict
  manifest:
    description: A manifest on the managed host, in place of the other options.
    type: path
  executable:
    description: The program.
    type: path
    default: qbatch
  jobs:
    description: How many images are worked on at a time. Absent, qbatch chooses by cores and disks.
    type: int
  root:
    description: Files that images name are opened only beneath these directories, or if they are these block devices.
    type: list
    elements: str
"""
