# Documentation only; the work is done by the action plugin of the same name.

DOCUMENTATION = r"""
module: og_query
short_description: Ask several programs of one node in one remote command
description:
  - Runs the given programs of the collection with O(state=query), one after the other, in one remote command.
  - Changes nothing. A program that fails does not make the task fail; its answer says so.
options:
  programs:
    description: The programs by name, each with its own arguments.
    type: dict
    required: true
  data_dir:
    description:
      - The node's data directory; any other argument given here goes to every program as well.
      - When it is not given, the variable C(data_dir) of the host counts.
    type: path
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
- name: Look at state and channels
  opengauss.node.og_query:
    data_dir: /gauss/data/db1
    programs:
      og_node_state: {}
      og_replconninfo: {}
  register: seen
"""

RETURN = r"""
og_node_state:
  description: The answer of each program, by its name.
  type: dict
  returned: when asked
"""
