"""Turns what og_query saw on all nodes into findings and a plan; runs on the controller and changes nothing."""

from __future__ import annotations

from ansible.plugins.action import ActionBase
from ansible_collections.opengauss.node.plugins.plugin_utils import og_cluster, og_owner
from ansible_collections.opengauss.node.plugins.plugin_utils.og_action import plain

VARS = ("data_dir", "gauss_home", "address", "ansible_host", "role", "zone", "hostname", "base_port", "id", "application_name", "os_user")


def hosts_of(task_vars, seen, targets=()):
    """Every node of the group, and every target wherever it stands, with its variables and what was seen there."""
    hostvars = task_vars["hostvars"]
    hosts = {}
    group = list(task_vars["groups"].get("opengauss", []))
    for name in group + [t for t in targets if t not in group and t in task_vars["groups"]["all"]]:
        own = hostvars[name]
        hosts[str(name)] = {
            "vars": {k: plain(own[k]) for k in VARS if k in own},
            "seen": plain(own[seen]) if seen in own else None,
        }
    return hosts


class ActionModule(ActionBase):
    """`workflow`: expand, drop or status. `seen`: the name under which og_query was registered."""

    _supports_check_mode = True

    def run(self, tmp=None, task_vars=None):
        super().run(None, task_vars)
        args = plain(self._task.args)
        hosts = hosts_of(task_vars, args.get("seen", "og_seen"), og_cluster.names_in(args.get("targets")))
        workflow = args.get("workflow", "status")
        if workflow == "expand":
            plan = og_cluster.expand(hosts, args.get("targets"), args)
        elif workflow == "drop":
            plan = og_cluster.drop(hosts, args.get("targets"), args)
        else:
            plan = og_cluster.status(hosts)
        plan["changed"] = False
        plan["idle_slots"] = og_cluster.idle_slots(hosts, args.get("new") or ())
        plan["table"] = og_cluster.table(hosts, args.get("leave_out") or ())
        if plan["plan_warnings"]:
            plan["warnings"] = plan["plan_warnings"]
        why = og_cluster.refusal(plan, og_owner.is_over)
        if why:
            return {"failed": True, "changed": False, "findings": plan["findings"], "msg": why}
        return plan
