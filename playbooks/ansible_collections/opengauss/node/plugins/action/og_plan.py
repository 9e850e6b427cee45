"""Has what og_query saw on all nodes turned into findings and a plan, by og_workflow on the controller; changes nothing."""

from __future__ import annotations

import difflib
import os

from ansible.errors import AnsibleActionFail
from ansible.utils.vars import load_extra_vars
from ansible_collections.opengauss.node.plugins.plugin_utils.og_action import OgActionBase, plain
from ansible_collections.opengauss.node.plugins.plugin_utils.og_steps import names_in

DEFAULTS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../roles/common/defaults/main.yml")
VARS = ("data_dir", "address", "ansible_host", "role", "zone", "hostname", "base_port", "id", "application_name", "os_user")
# The workflow's options that the plan depends on, or that would be found wrong too late, by the task's names of them.
OPTIONS = {
    "sync_standbys": "og_sync_standbys",
    "sync_num": "og_sync_num",
    "build_mode": "og_build_mode",
    "build_force": "og_build_force",
    "build_room": "og_build_room",
    "build_parallel": "og_build_parallel",
    "hba_method": "og_hba_method",
    "commits": "og_drop_commits",
}


class ActionModule(OgActionBase):
    """`workflow`: expand, drop or status. `seen`: the name under which og_query was registered, on each host or in one's loop."""

    def act(self, args):
        workflow, targets = args.get("workflow", "status"), names_in(args.get("targets"))
        if not self._task_vars["groups"].get("opengauss"):
            raise AnsibleActionFail("the inventory has no hosts in a group opengauss, which are the cluster and the nodes to come; make yours a child of that group")
        hosts, seen = self._hosts(args.get("seen", "og_seen"), targets)
        asked = {"workflow": workflow, "cluster": {"hosts": hosts}, "seen": seen}
        if workflow == "status":
            asked.update(came=args.get("new") or [], gone=args.get("leave_out") or [])
            if args.get("primary"):
                asked["primary"] = args["primary"]
        else:
            self._tell_misspelt()
            given = {option: args[key] for key, option in OPTIONS.items() if args.get(key) is not None}
            asked.update(targets=targets, options=given)
        answer = self.call_here("og_workflow", asked)
        if answer.get("failed"):
            return answer
        found = answer["plan"]
        if found.get("refusal"):
            return {"failed": True, "changed": False, "findings": found["findings"], "msg": found["refusal"]}
        plan = {"changed": False, **{key: found[key] for key in ("findings", "table", "idle_slots", "leader", "moved") if key in found}, **found.get(workflow, {})}
        if found["warnings"]:
            plan["warnings"] = found["warnings"]
        return plan

    def _tell_misspelt(self):
        """An option that is given by -e under a name which is nearly that of one would count for nothing, and nobody would know."""
        known = self._loader.load_from_file(DEFAULTS)
        for name in load_extra_vars(self._loader):
            near = difflib.get_close_matches(name, known, 1, 0.8)
            if near and name not in known:
                self._display.warning(f"-e {name}: the collection has no such variable, and goes on without it; is it {near[0]}?")

    def _hosts(self, seen, targets):
        """Of every node of the group, and of every target wherever it stands: its variables, and what was seen there."""
        hostvars, groups = self._task_vars["hostvars"], self._task_vars["groups"]
        names = list(groups.get("opengauss", []))
        names += [name for name in targets if name not in names and name in groups["all"]]
        hosts = {str(name): {key: plain(hostvars[name][key]) for key in VARS if key in hostvars[name]} for name in names}
        # One host may have looked at all of them in a loop.
        looked = {str(one["item"]): one for one in (self._task_vars.get(seen) or {}).get("results") or [] if "item" in one}
        looked = looked or {str(name): hostvars[name][seen] for name in names if seen in hostvars[name]}
        return hosts, {name: plain(look) for name, look in looked.items() if name in hosts}
