"""
Expand, drop and look at an openGauss cluster from the master

The pillar of the minions describes the cluster, in the shape of Ansible's inventory:

.. code-block:: yaml

    opengauss:
      hosts:
        n1: {address: 192.168.0.11, id: 1, role: primary}
        n2: {address: 192.168.0.12, id: 2, role: standby}
        n3: {address: 192.168.0.13, id: 3, role: cascade_standby, minion: db3.example.com}
      vars:
        data_dir: /gauss/data/db1
        base_port: 26000

``id`` is the node's number in the cluster, ``minion`` its minion's id where that is not the node's name. Options are those
of the Ansible playbooks, under the same names; in the pillar they may stand under ``vars``.

All findings are told before the first change. A failed expand takes back what it brought. A run that was killed may be
started again at once; two live runs exclude each other, runs of Ansible on the same machine included.
"""

import os
import sys
import time

import salt.client

# Seconds to wait for what a killed run left to the minions.
SETTLE = 60
SETTLE_INTERVAL = 0.5
# Seconds until a minion is asked whether it is still at work, and for it to answer that. A minion that was there when the
# run began is given more: to take it for lost would undo the work while it does it.
_PATIENCE = {"og.look": (10, 15), "og.each": (30, 60)}
# What reaches the programs of every node from its variables.
_COMMON = ("data_dir", "env_file", "gauss_home", "os_user")
# What the workflows use of other utilities; `__utils__` itself is empty there.
_USED = (
    "og_cluster.drop",
    "og_cluster.expand",
    "og_cluster.idle_slots",
    "og_cluster.peers_added",
    "og_cluster.refusal",
    "og_cluster.rules_of",
    "og_cluster.table",
    "og_cluster.why_unwell",
    "og_owner.is_over",
    "og_owner.take",
)


def expand(nodes, test=False, diff=False, minion=None, **options):
    """
    Add standbys and cascade standbys to a running cluster, or the first standby to a single node

    CLI Examples:

    .. code-block:: bash

        salt-run og.expand n3,n4 test=True
        salt-run og.expand n3,n4
        salt-run og.expand n3,n4 og_sync_standbys=any og_sync_num=1

    nodes
        The new nodes, by their names in the pillar.

    test
        Change nothing, say what would be changed.

    diff
        Tell changes of files as unified diffs.

    minion
        Whose pillar describes the cluster; else the first of the nodes.
    """
    return _run("expand", nodes, test, diff, minion, options)


def drop(nodes, test=False, diff=False, minion=None, **options):
    """
    Take standbys or cascade standbys out of a cluster, whether they live or not; never the primary

    A node that could not be reached is stopped by running it again when it is back.

    CLI Examples:

    .. code-block:: bash

        salt-run og.drop n2 test=True
        salt-run og.drop n2
        salt-run og.drop n2 og_drop_commits=available

    nodes, test, diff, minion
        As for ``expand``.
    """
    return _run("drop", nodes, test, diff, minion, options)


def status(minion):
    """
    Show the cluster as one table; changes nothing

    CLI Example:

    .. code-block:: bash

        salt-run og.status n1

    minion
        Any minion whose pillar describes the cluster.
    """
    return _run("status", [], False, False, minion, {})


def _run(workflow, nodes, test, diff, minion, options):
    targets = __utils__["og_cluster.names_in"](nodes)
    options = {k: v for k, v in options.items() if not k.startswith("__")}
    source = minion or (targets[0] if targets else None)
    cluster = _described(source)
    if isinstance(cluster, str):
        out = {"changed": False, "failed": True, "msg": cluster, "changes": {}}
    else:
        common = cluster.get("vars") or {}
        hosts = {str(name): {**common, **(own or {})} for name, own in cluster["hosts"].items()}
        known = __utils__["og_workflow.options"]({})
        options = {**{k: v for k, v in common.items() if k in known}, **options}
        how = {"test": bool(test), "diff": bool(diff), "tell": _tell, **options}
        use = {name: __utils__[name] for name in _USED}
        out = __utils__["og_workflow.run"](workflow, targets, hosts, _Minions(hosts), use, **how)
    if out["failed"]:
        # The one is for orchestration and the job's event, the other for the exit status of salt-run.
        __context__["retcode"] = out["retcode"] = 1
    return out


def _described(minion):
    """The cluster of this minion's pillar, or why there is none."""
    if not minion:
        return "no node is named, such as n3,n4"
    pillar = __salt__["pillar.show_pillar"](minion)
    cluster = (pillar or {}).get("opengauss")
    if isinstance(cluster, dict) and isinstance(cluster.get("hosts"), dict) and cluster["hosts"]:
        return cluster
    errors = "; ".join(map(str, (pillar or {}).get("_errors") or []))
    return (
        f"the pillar of minion {minion} has no opengauss:hosts{f' ({errors})' if errors else ''}; see sys.doc og, "
        "and name another minion of the cluster with minion=… where its id is not the node's name"
    )


def _tell(text):
    # Not as an event: salt-run would print it among the result.
    print(text, file=sys.stderr, flush=True)


class _Minions:
    """Reaches the nodes through the minions on their machines, all of them with one job a step."""

    def __init__(self, hosts):
        self.client = salt.client.get_local_client(mopts=__opts__)
        self.ids = {name: str(own.get("minion") or name) for name, own in hosts.items()}
        self.common = {n: {k: own[k] for k in _COMMON if own.get(k)} for n, own in hosts.items()}
        self.owner = __utils__["og_owner.of_process"](os.getpid())
        self.answered = set()

    def look(self, programs, names, seconds):
        answers = self._ask("og.look", {n: self.common[n] for n in names}, "nodes", programs=programs, timeout=seconds)
        self.answered = {n for n, answer in answers.items() if not answer.get("unreachable")}
        return answers

    def call(self, program, calls, test):
        return self._ask("og.each", {n: {**self.common[n], **own} for n, own in calls.items()}, "calls", program=program, test=test)

    def settle(self):
        """Waits until no step of a workflow runs on the minions; returns what still does when time is up."""
        end = time.monotonic() + SETTLE
        while True:
            ids = sorted({self.ids[n] for n in self.answered})
            jobs = self.client.cmd(ids, "saltutil.running", tgt_type="list") if ids else {}
            left = [
                f"{job['fun']} {_program_of(job)} on {mid} (jid {job['jid']})"
                for mid, running in jobs.items()
                if isinstance(running, list)
                for job in running
                # A build is waited for by the build that follows it; looking changes nothing.
                if job.get("fun") == "og.each" and _program_of(job) not in ("og_build", "og_node_state")
            ]
            if not left or time.monotonic() > end:
                return ", ".join(left)
            time.sleep(SETTLE_INTERVAL)

    def _ask(self, function, own, word, **rest):
        by_minion = {}
        for name, arguments in own.items():
            by_minion.setdefault(self.ids[name], {})[name] = arguments
        ask, wait = _PATIENCE[function]
        done = self.client.cmd(
            sorted(by_minion),
            function,
            timeout=ask,
            gather_job_timeout=wait,
            kwarg={**rest, word: by_minion},
            tgt_type="list",
            full_return=True,
        )
        out = {}
        for mid, names in by_minion.items():
            answer = (done.get(mid) or {}).get("ret")
            for name in names:
                if answer is None:
                    out[name] = {"unreachable": True, "failed": True, "msg": f"the minion {mid} does not answer"}
                elif isinstance(answer, dict) and isinstance(answer.get(name), dict):
                    out[name] = answer[name]
                else:
                    out[name] = {"failed": True, "changed": False, "msg": f"the minion {mid} says: {answer}"}
        return out


def _program_of(job):
    """The program of a running og.each."""
    for arg in job.get("arg") or []:
        if isinstance(arg, dict) and "program" in arg:
            return arg["program"]
    return "a program"
