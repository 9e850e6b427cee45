"""Documentation of the action plugin of this name."""

DOCUMENTATION = r"""
module: og_step
version_added: 0.1.0
short_description: Make the calls which a workflow's step asks of a node
description:
  - For the role C(opengauss.node.workflow) alone.
  - All of a node's calls in a step go in one remote command.
options:
  run:
    description: The path of the run, as M(opengauss.node.og_workflow) returned it.
    type: str
    required: true
attributes:
  check_mode:
    description: The calls change nothing, and say what they would change.
    support: full
  diff_mode:
    description: Changes of files are told as differences.
    support: full
author: The openGauss node suite
"""

EXAMPLES = r"""
- name: What the workflow asks of this node
  opengauss.node.og_step:
    run: "{{ og_run.path }}"
"""

RETURN = r"""
actions:
  description: What was done on the node, or would be.
  type: list
  elements: str
  returned: where one program was called
"""
