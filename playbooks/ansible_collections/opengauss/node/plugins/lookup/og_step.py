"""What a run of a workflow does next."""

from __future__ import annotations

DOCUMENTATION = """
name: og_step
author: The openGauss node suite
short_description: Say what a run of a workflow does next
description:
  - For the tasks of the role C(opengauss.node.workflow) alone.
options:
  _terms:
    description: The path of the run, as C(opengauss.node.og_workflow) returned it.
    required: true
  place:
    description: Which step of the tasks that were included last, from 0 on.
    type: int
    default: 0
  as_root:
    description: For tasks that root does; a step of another user is none for them, and one of root's none for others.
    type: bool
    default: false
  go_on:
    description: The steps before are done on all nodes; take the next one.
    type: bool
    default: false
"""

RETURN = """
_raw:
  description: A dictionary with C(title) and C(nodes) of the step, which has no nodes where there is none, and the C(file) of its tasks, which is empty then.
  type: list
"""

from ansible.errors import AnsibleLookupError  # noqa: E402
from ansible.plugins.lookup import LookupBase  # noqa: E402
from ansible_collections.opengauss.node.plugins.plugin_utils.og_options import AS_ROOT  # noqa: E402
from ansible_collections.opengauss.node.plugins.plugin_utils.og_run import NOT_BEGUN, Run  # noqa: E402

NOBODY = {"title": "Next step", "nodes": []}


class LookupModule(LookupBase):
    """Reads two small files on the controller."""

    def run(self, terms, variables=None, **kwargs):
        path = str(terms[0]) if terms else ""
        if not path:
            raise AnsibleLookupError(NOT_BEGUN)
        run = Run(path)
        due = (run.go_on() if kwargs.get("go_on") else run.step(int(kwargs.get("place", 0)))).get("next")
        if not due:
            return [{**NOBODY, "file": ""}]
        as_root = any(call["program"] in AS_ROOT for call in due["calls"])
        file = "root.yml" if as_root else "two.yml" if due.get("more") else "step.yml"
        own = {"title": due["step"], "nodes": sorted({call["node"] for call in due["calls"]})}
        return [{**(own if as_root == bool(kwargs.get("as_root")) else NOBODY), "file": file}]
