"""Asks several programs of one node in one remote command; changes nothing."""

from __future__ import annotations

from ansible.errors import AnsibleActionFail
from ansible_collections.opengauss.node.plugins.plugin_utils.og_action import OgActionBase


class ActionModule(OgActionBase):
    """`programs: {og_node_state: {...}, og_hba: {...}}` returns each one's answer, failed or not, by its name."""

    def act(self, args):
        programs = args.pop("programs", None) or {}
        if not isinstance(programs, dict) or not programs:
            raise AnsibleActionFail("programs must be a dictionary such as {og_node_state: {}, og_guc: {}}")
        answers = self.call_each([(name, {**args, **(own or {}), "state": "query"}) for name, own in programs.items()])
        lost = [answer for answer in answers if "module_stdout" in answer]
        if lost:
            return {**lost[0], "msg": f"{len(answers) - len(lost)} of {len(answers)} programs answered: {lost[0]['msg']}"}
        told = [{key: value for key, value in answer.items() if key not in ("invocation", "ansible_facts")} for answer in answers]
        return {"changed": False, **dict(zip(programs, told))}
