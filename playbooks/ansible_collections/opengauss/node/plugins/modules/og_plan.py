# Documentation only; the work is done by the action plugin of the same name.

DOCUMENTATION = r"""
module: og_plan
short_description: Find what stands against a workflow and plan it
description:
  - Reads what M(opengauss.node.og_query) saw on all hosts of the group C(opengauss); runs on the controller, which is a Linux machine
    for which the program og_workflow is among the programs.
  - Fails with one sentence for each finding, all at once, before anything is changed.
options:
  workflow:
    description: The workflow to plan.
    type: str
    choices: [expand, drop, status]
    default: status
  targets:
    description: The nodes to add or to drop, as a list or as C(n3,n4).
    type: raw
  seen:
    description: The name under which M(opengauss.node.og_query) was registered.
    type: str
    default: og_seen
  new:
    description: With O(workflow=status), the C(newcomers) that were added now; what slots they brought along serve nobody.
    type: list
    elements: str
  leave_out:
    description: With O(workflow=status), nodes that were dropped now; the table does not show them.
    type: list
    elements: str
  primary:
    description: With O(workflow=status), the host that was the primary when the run began; RV(moved) tells when it is another one by now.
    type: str
  sync_standbys:
    description: See C(og_sync_standbys) in the collection's README.
    type: str
  sync_num:
    description: See C(og_sync_num) in the collection's README.
    type: raw
  build_mode:
    description: See C(og_build_mode) in the collection's README.
    type: str
  build_force:
    description: See C(og_build_force) in the collection's README.
    type: bool
    default: false
  build_parallel:
    description: See C(og_build_parallel) in the collection's README.
    type: int
    default: 0
  build_room:
    description: See C(og_build_room) in the collection's README.
    type: bool
    default: true
  hba_method:
    description: See C(og_hba_method) in the collection's README.
    type: str
  commits:
    description: See C(og_drop_commits) in the collection's README.
    type: str
attributes:
  check_mode:
    support: full
    description: Changes nothing.
  diff_mode:
    support: none
    description: Changes nothing.
author: The openGauss node suite
"""

EXAMPLES = r"""
- name: Find what stands against it
  opengauss.node.og_plan:
    workflow: drop
    targets: n2
  register: og
  run_once: true
"""

RETURN = r"""
findings:
  description: What stands against the workflow, one sentence each.
  type: list
  elements: str
  returned: always
table:
  description: The cluster as lines of a table.
  type: list
  elements: str
  returned: when there are no findings
idle_slots:
  description: Replication slots that serve nobody, by node.
  type: dict
  returned: when there are no findings
leader:
  description: The host that runs as primary, when it is one and no more.
  type: str
  returned: when there are no findings
moved:
  description: With O(primary), what became of it, when another host runs as primary.
  type: str
  returned: when it does
primary:
  description: The host that runs as primary. What else the plan has stands in docs/modules/og_workflow.md.
  type: str
  returned: with O(workflow=expand) and O(workflow=drop), when there are no findings
members:
  description: The primary and every host that it has a replication channel to, targets aside.
  type: list
  elements: str
  returned: with O(workflow=expand) and O(workflow=drop), when there are no findings
"""
