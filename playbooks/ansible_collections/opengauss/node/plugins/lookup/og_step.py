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
  go_on:
    description: The step before is done on all nodes; take the next one.
    type: bool
    default: false
"""

RETURN = """
_raw:
  description: A dictionary with C(title) and C(nodes) of the step that is due, which are empty at the end, and the C(file) of its tasks.
  type: list
"""

from ansible.errors import AnsibleLookupError  # noqa: E402
from ansible.plugins.lookup import LookupBase  # noqa: E402
from ansible_collections.opengauss.node.plugins.plugin_utils.og_options import AS_ROOT  # noqa: E402
from ansible_collections.opengauss.node.plugins.plugin_utils.og_run import NOT_BEGUN, Run  # noqa: E402


class LookupModule(LookupBase):
    """Reads one small file on the controller."""

    def run(self, terms, variables=None, **kwargs):
        path = str(terms[0]) if terms else ""
        if not path:
            raise AnsibleLookupError(NOT_BEGUN)
        run = Run(path)
        due = (run.go_on() if kwargs.get("go_on") else run.step).get("next")
        nodes = sorted({call["node"] for call in due["calls"]}) if due else []
        as_root = bool(due) and any(call["program"] in AS_ROOT for call in due["calls"])
        return [{"title": due["step"] if due else "", "nodes": nodes, "file": "root.yml" if as_root else "step.yml"}]
