"""Has what og_query saw on all nodes turned into findings and a plan, by og_workflow on the controller; changes nothing."""

from __future__ import annotations

from collections.abc import Mapping

from ansible.errors import AnsibleActionFail
from ansible.utils.vars import load_extra_vars
from ansible_collections.opengauss.node.plugins.plugin_utils.og_action import OgActionBase, plain
from ansible_collections.opengauss.node.plugins.plugin_utils.og_steps import names_in

VARS = ("data_dir", "address", "ansible_host", "role", "zone", "hostname", "base_port", "id", "application_name", "os_user")
# The workflow's options that the plan depends on, or that would be found wrong too late, by the task's names of them.
OPTIONS = {
    "sync_standbys": "og_sync_standbys",
    "sync_num": "og_sync_num",
    "build_mode": "og_build_mode",
    "build_force": "og_build_force",
    "build_room": "og_build_room",
    "hba_method": "og_hba_method",
    "commits": "og_drop_commits",
}


class ActionModule(OgActionBase):
    """`workflow`: expand, drop or status. `seen`: the name under which og_query was registered."""

    def act(self, args):
        workflow, targets = args.get("workflow", "status"), names_in(args.get("targets"))
        if not self._task_vars["groups"].get("opengauss"):
            raise AnsibleActionFail("the inventory has no hosts in a group opengauss, which are the cluster and the nodes to come; make yours a child of that group")
        hosts, seen = self._hosts(args.get("seen", "og_seen"), targets)
        asked = {"workflow": workflow, "cluster": {"hosts": hosts}, "seen": seen, "variables": self._options()}
        if workflow == "status":
            asked.update(came=args.get("new") or [], gone=args.get("leave_out") or [])
        else:
            given = {option: args[key] for key, option in OPTIONS.items() if args.get(key) is not None}
            asked.update(targets=targets, options=given)
        answer = self.call_here("og_workflow", asked)
        if answer.get("failed"):
            return {**answer, "msg": str(answer.get("msg", "")).replace("/variables/", "variable ")}
        found = answer["plan"]
        # At the end of a workflow, what is wrong with the cluster is shown, and no reason to undo it.
        if found.get("refusal") and workflow != "status":
            return {"failed": True, "changed": False, "findings": found["findings"], "msg": found["refusal"]}
        plan = {"changed": False, **{key: found.get(key) for key in ("findings", "refusal", "table", "idle_slots")}, **found.get(workflow, {})}
        if found["warnings"]:
            plan["warnings"] = found["warnings"]
        return plan

    def _options(self):
        """The names of the options that are given by -e or in the inventory: one that there is not would count for nothing, and nobody would know.

        What tasks registered stands among a host's variables, too, and is a dictionary, which no option is.
        """
        given = dict(load_extra_vars(self._loader))
        for name in self._task_vars["groups"]["opengauss"]:
            given.update(self._task_vars["hostvars"].raw_get(name))
        return sorted(str(name) for name, value in given.items() if str(name).startswith("og_") and not isinstance(value, Mapping))

    def _hosts(self, seen, targets):
        """Of every node of the group, and of every target wherever it stands: its variables, and what was seen there."""
        hostvars, groups = self._task_vars["hostvars"], self._task_vars["groups"]
        names = list(groups.get("opengauss", []))
        names += [name for name in targets if name not in names and name in groups["all"]]
        hosts = {str(name): {key: plain(hostvars[name][key]) for key in VARS if key in hostvars[name]} for name in names}
        return hosts, {str(name): plain(hostvars[name][seen]) for name in names if seen in hostvars[name]}
