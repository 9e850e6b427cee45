"""Begins a run of a workflow, and tells what came of it; asks og_workflow on the controller, and calls no node."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Mapping

from ansible.errors import AnsibleActionFail
from ansible.utils.vars import load_extra_vars
from ansible_collections.opengauss.node.plugins.plugin_utils.og_action import OgActionBase, plain
from ansible_collections.opengauss.node.plugins.plugin_utils.og_options import HOST_VARIABLES, OPTIONS
from ansible_collections.opengauss.node.plugins.plugin_utils.og_run import NOT_BEGUN, Run

# Those by which every node ends a task before any begins the next.
STRATEGIES = ("linear", "debug")


class ActionModule(OgActionBase):
    """`workflow`, `targets`, `cluster`: begins; `run`: tells the outcome."""

    _of_the_node = ()

    def act(self, args):
        if "run" not in args:
            return self._begun(args)
        if not args["run"]:
            raise AnsibleActionFail(NOT_BEGUN)
        return self._told(str(args["run"]))

    def _begun(self, args):
        strategy = str(self._task._parent._play.strategy)
        if strategy.rsplit(".", 1)[-1] not in STRATEGIES:
            raise AnsibleActionFail(f"a workflow goes step by step on all nodes at once, which the strategy {strategy} does not; use strategy: linear")
        targets = names_in(args.get("targets"))
        hosts = self._hosts(str(args.get("cluster") or "opengauss"), targets)
        active = set(self._task_vars["ansible_play_hosts"])
        parent = multiprocessing.parent_process()
        asked = {
            "workflow": args["workflow"],
            "targets": targets,
            "cluster": {"hosts": hosts},
            "left_out": [name for name in hosts if name not in active],
            "options": self._settings(OPTIONS),
            "variables": self._variables(hosts),
            "pid": parent.pid if parent else os.getpid(),
            "check_mode": bool(self._task.check_mode),
            "diff": bool(self._task.diff),
        }
        run = Run.begin(asked, lambda asked: self.call_here("og_workflow", asked))
        step = run.step()
        if step.get("unusable"):
            return {"failed": True, "changed": False, "msg": step["outcome"]["msg"].replace("/variables/", "variable ")}
        return {"changed": False, "path": run.path}

    @staticmethod
    def _told(path):
        outcome = Run(path).go_on().get("outcome")
        if outcome is None:
            raise AnsibleActionFail("the workflow has not come to its end")
        table = outcome.get("table") or []
        result = {"changed": False, "failed": outcome["failed"], "msg": outcome.get("msg", "") if outcome["failed"] else table}
        if outcome["failed"] and table:
            result["cluster"] = table
        result.update({key: outcome[key] for key in ("warnings", "report") if outcome.get(key)})
        # The table is shown whatever the verbosity.
        return {**result, "_ansible_verbose_always": True}

    def _hosts(self, group, targets):
        """Of every node of the group, and of every target wherever it stands, its variables."""
        hostvars, groups = self._task_vars["hostvars"], self._task_vars["groups"]
        if not groups.get(group):
            raise AnsibleActionFail(
                f"the inventory has no hosts in a group {group}, which are the cluster and the nodes to come; make yours a child of that group, "
                "or name it with -e og_cluster=GROUP"
            )
        names = list(groups[group]) + [name for name in targets if name not in groups[group] and name in groups["all"]]
        return {str(name): {key: plain(hostvars[name][key]) for key in HOST_VARIABLES if key in hostvars[name]} for name in names}

    def _variables(self, hosts):
        """
        The names of the options that are given by -e or in the inventory: one that there is not would count for nothing

        What tasks registered stands among a host's variables, too, and is a dictionary, which no option is.
        """
        given = dict(load_extra_vars(self._loader))
        for name in hosts:
            given.update(self._task_vars["hostvars"].raw_get(name))
        return sorted(str(name) for name, value in given.items() if str(name).startswith("og_") and not isinstance(value, Mapping))


def names_in(value):
    """`n3,n4` or a list, as a list without blanks and repetitions."""
    parts = value.split(",") if isinstance(value, str) else list(value or [])
    return list(dict.fromkeys(part for part in (str(p).strip() for p in parts) if part))
