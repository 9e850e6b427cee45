# Documentation only; the work is done by the action plugin of the same name.

DOCUMENTATION = r"""
module: og_programs
short_description: Put the suite's programs onto a node
description:
  - Every task of the collection carries the programs to the node by itself, into a folder of its own. This is for those
    who want them in a folder of their choice as well, for a shell, Salt or cron; or want them there before the first
    task; or gone.
  - Takes the programs for the node's machine from the folder that the variable C(og_binaries) names, or from those the
    collection ships, and verifies what was copied by its SHA-256. Needs no Python on the node.
version_added: "0.1.0"
options:
  path:
    description:
      - The folder. A leading C(~/) is the home of the user who does it.
      - By default the folder that the tasks use, C(og_bin_dir); with O(state=absent) that folder with every version in it.
    type: str
  mode:
    description: The programs' mode when O(path) is given.
    type: str
    default: "0755"
  state:
    description: Whether the programs are there.
    type: str
    choices: [present, absent]
    default: present
attributes:
  check_mode:
    support: full
    description: Says by the same code what would be done, and does nothing.
  diff_mode:
    support: partial
    description: Changes no text; shows what was done, or would be.
  idempotent:
    support: full
    description: The same call again changes nothing.
author: The openGauss node suite
"""

EXAMPLES = r"""
- name: The programs for the shell of the database user
  opengauss.node.og_programs:
    path: ~/bin

- name: Leave nothing behind
  opengauss.node.og_programs:
    state: absent
"""

RETURN = r"""
path:
  description: The folder.
  type: str
  returned: success
  sample: /home/omm/bin
arch:
  description: The node's machine, as C(uname -m) prints it.
  type: str
  returned: success
  sample: x86_64
programs:
  description: The programs that the folder has now.
  type: list
  elements: str
  returned: success
  sample: [og_build, og_guc, og_hba]
actions:
  description: What was done, in order; in check mode, what would be.
  type: list
  elements: str
  returned: success
  sample: [put og_hba into /home/omm/bin]
msg:
  description: One line that a person understands.
  type: str
  returned: always
  sample: 8 of 8 programs put into /home/omm/bin
"""
