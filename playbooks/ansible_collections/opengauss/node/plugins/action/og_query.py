"""Asks several programs of one node in one remote command; changes nothing."""

from __future__ import annotations

import json

from ansible.errors import AnsibleActionFail
from ansible_collections.opengauss.node.plugins.plugin_utils.og_action import OgActionBase, ending, last_object

SCRIPT = """while IFS= read -r m && IFS= read -r a; do printf '%s\\n' "$a" | {env}{folder}/"$m"; echo; done; :"""


class ActionModule(OgActionBase):
    """`programs: {og_node_state: {...}, og_hba: {...}}` returns each one's answer, failed or not, by its name."""

    def act(self, args):
        programs = args.pop("programs", None) or {}
        if not isinstance(programs, dict) or not programs:
            raise AnsibleActionFail("programs must be a dictionary such as {og_node_state: {}, og_guc: {}}")
        lines = []
        for name, own in programs.items():
            lines.append(name)
            lines.append(self.request({**args, **(own or {}), "state": "query"}))
        done = self.remote(
            next(iter(programs)),
            lambda d: SCRIPT.format(env=self._environment(), folder=d),
            "\n".join(lines) + "\n",
        )
        answers = [v for v in map(last_object, done["stdout"].splitlines()) if v is not None]
        if len(answers) != len(programs):
            return {
                "failed": True,
                "msg": f"{len(answers)} of {len(programs)} programs answered: {ending(done)}",
                "module_stdout": done["stdout"],
                "module_stderr": done["stderr"],
            }
        result = {"changed": False}
        for name, answer in zip(programs, answers):
            answer.pop("invocation", None)
            answer.pop("ansible_facts", None)
            result[name] = answer
        return json.loads(json.dumps(result))
