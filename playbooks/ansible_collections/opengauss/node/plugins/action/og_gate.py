"""Lets the workflow go on only when the steps before it went well on every node; runs on the controller."""

from __future__ import annotations

from ansible.plugins.action import ActionBase
from ansible_collections.opengauss.node.plugins.plugin_utils.og_steps import why_unwell
from ansible_collections.opengauss.node.plugins.plugin_utils.og_action import plain


class ActionModule(ActionBase):
    """`results`: names under which the steps were registered; `nodes`: on which nodes they count."""

    _supports_check_mode = True

    def run(self, tmp=None, task_vars=None):
        super().run(None, task_vars)
        args = plain(self._task.args)
        failures = []
        for host in args.get("nodes") or task_vars["ansible_play_hosts_all"]:
            own = task_vars["hostvars"][host]
            for name in args["results"]:
                seen = plain(own[name]) if name in own else {}
                why = why_unwell(seen)
                if why:
                    failures.append(f"{host}: {why}")
        if failures:
            # Once: whoever waits for the play to end reads it here, and again at the end where something is taken back.
            return {"failed": True, "changed": False, "msg": "\n".join(failures)}
        return {"changed": False, "msg": "all nodes are well"}
