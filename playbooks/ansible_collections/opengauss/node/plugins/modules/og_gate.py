# Documentation only; the work is done by the action plugin of the same name.

DOCUMENTATION = r"""
module: og_gate
short_description: Go on only when earlier steps went well on every node
description:
  - The steps run with C(ignore_errors), so that one node's failure does not leave the others without an end. This
    fails for all of them, naming each failure; runs on the controller.
options:
  results:
    description: The names under which the steps were registered.
    type: list
    elements: str
    required: true
  nodes:
    description: The hosts whose results count. By default all hosts of the play.
    type: list
    elements: str
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
- name: All nodes are prepared
  opengauss.node.og_gate:
    results: [rules, channels]
  run_once: true
"""

RETURN = r"""
msg:
  description: Each failure with its host, a line each.
  type: str
  returned: always
"""
