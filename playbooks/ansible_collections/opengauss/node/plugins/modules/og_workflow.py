"""Documentation of the action plugin of this name."""

DOCUMENTATION = r"""
module: og_workflow
version_added: 0.1.0
short_description: Begin a workflow on a cluster, and tell what came of it
description:
  - For the role C(opengauss.node.workflow) alone; playbooks use the roles C(opengauss.node.expand), C(opengauss.node.drop) and C(opengauss.node.status).
  - Asks the program C(og_workflow) on the controller, and calls no node.
options:
  workflow:
    description: The workflow to begin.
    type: str
  targets:
    description: The nodes it is for, as a list or as C(n3,n4).
    type: raw
  cluster:
    description: The inventory group that is the cluster.
    type: str
    default: opengauss
  run:
    description: The path of a run that was begun and has come to its end; its outcome is told.
    type: str
attributes:
  check_mode:
    description: The workflow changes nothing, and says what it would change.
    support: full
  diff_mode:
    description: Changes of files are told as differences.
    support: full
author: The openGauss node suite
"""

EXAMPLES = r"""
- name: Begin to expand a cluster
  opengauss.node.og_workflow:
    workflow: expand
    targets: n3,n4
  register: og_run
  run_once: true
"""

RETURN = r"""
path:
  description: The folder of the run on the controller.
  type: str
  returned: with O(workflow)
cluster:
  description: The cluster as lines of a table.
  type: list
  elements: str
  returned: with O(run), when the workflow failed and the cluster was seen
"""
