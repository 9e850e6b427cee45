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

What to do next on which node says the program og_workflow, which must be on the master: in the folder that the master's
configuration names, on the PATH, or at ``salt://opengauss-node/<the master's uname -m>/``, where minions find the programs, too.

.. code-block:: yaml

    og:
      bin_dir: /opt/opengauss-node
"""

import json
import os
import platform
import subprocess
import sys
import time

import salt.client
import salt.fileserver
import salt.utils.path

PLANNER = "og_workflow"
# Seconds to wait for what a killed run left to the minions.
SETTLE = 60
# Seconds until a minion is asked whether it is still at work, and for it to answer that. A minion that was there when the
# run began is given more: to take it for lost would undo the work while it does it.
_PATIENCE = {"og.look": (10, 15), "og.each": (30, 60)}


class _Stopped(Exception):
    """The workflow cannot go on; says why, for a person."""


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
    targets = _names(nodes)
    minion = minion or next(iter(targets), None)
    try:
        cluster = _described(minion)
        asked = {
            "workflow": workflow,
            "targets": targets,
            "cluster": cluster,
            "options": {k: v for k, v in options.items() if not k.startswith("__")},
            "check_mode": bool(test),
            "diff": bool(diff),
            "pid": os.getpid(),
        }
        out = _told(_carried_out(_program(), asked, _Minions(cluster["hosts"])), bool(test))
    except _Stopped as e:
        # So og_workflow calls what it has from the pillar.
        text = str(e).replace("/cluster/", f"the pillar of {minion}, opengauss/")
        out = {"changed": False, "failed": True, "msg": text, "changes": {}}
    if out["failed"]:
        # The one is for orchestration and the job's event, the other for the exit status of salt-run.
        __context__["retcode"] = out["retcode"] = 1
    return out


def _names(value):
    """`n3,n4` or a list, as a list."""
    parts = value.split(",") if isinstance(value, str) else list(value or [])
    return [part for part in (str(p).strip() for p in parts) if part]


def _described(minion):
    """The cluster of this minion's pillar."""
    if not minion:
        raise _Stopped("no node is named, such as n3,n4")
    pillar = __salt__["pillar.show_pillar"](minion)
    cluster = (pillar or {}).get("opengauss")
    if isinstance(cluster, dict) and isinstance(cluster.get("hosts"), dict) and cluster["hosts"]:
        hosts = {str(name): own or {} for name, own in cluster["hosts"].items()}
        return {"hosts": hosts, "vars": cluster.get("vars") or {}}
    errors = "; ".join(map(str, (pillar or {}).get("_errors") or []))
    raise _Stopped(
        f"the pillar of minion {minion} has no opengauss:hosts{f' ({errors})' if errors else ''}; see sys.doc og, "
        "and name another minion of the cluster with minion=… where its id is not the node's name"
    )


def _program():
    """The path of og_workflow on this master."""
    folder = (__opts__.get("og") or {}).get("bin_dir")
    if folder:
        path = os.path.join(str(folder), PLANNER)
        if os.access(path, os.X_OK):
            return path
        raise _Stopped(f"{path} is not there or cannot be run; og:bin_dir of the master names the folder of the programs")
    path = salt.utils.path.which(PLANNER)
    if path:
        return path
    source = f"opengauss-node/{platform.machine()}/{PLANNER}"
    path = salt.fileserver.Fileserver(__opts__).find_file(source, "base").get("path")
    if not path:
        raise _Stopped(
            f"there is no {PLANNER} for this master, which says what to do next: it is not on the PATH, nor is there salt://{source}; "
            "put it there, install it, or set og:bin_dir of the master to its folder"
        )
    if os.access(path, os.X_OK):
        return path
    raise _Stopped(f"{path} cannot be run; chmod +x it, or set og:bin_dir of the master to the folder of the programs")


def _asked(program, arguments):
    """What og_workflow answers; raises when it cannot use the arguments."""
    done = subprocess.run([program], input=json.dumps(arguments, default=str), capture_output=True, text=True, check=False)
    try:
        result = json.loads(done.stdout)
    except ValueError:
        words = (done.stderr or done.stdout).strip()[-500:]
        raise _Stopped(f"{program} ended with status {done.returncode} and without a result: {words}") from None
    if result.get("failed"):
        hint = (result.get("error") or {}).get("hint")
        raise _Stopped(f"{result['msg']}; {hint}" if hint and hint not in result["msg"] else result["msg"])
    return result


def _carried_out(program, asked, minions):
    """
    What came of the workflow: og_workflow says what to call next, the minions call it, and it is told the answers

    An interruption (Ctrl-C, a signal) ends it where it is, as a kill would: the same call again takes up what is left.
    """
    answers = []
    while True:
        result = _asked(program, {**asked, "answers": answers})
        if "outcome" in result:
            # What was counted; there is nothing to count where nobody changes anything.
            counted = {} if asked["workflow"] == "status" else {"msg": result["msg"]}
            return {**counted, **result["outcome"]}
        step = result["next"]
        calls = step["calls"]
        del answers[step["keep"] :]
        if "after" in step:
            # It was told when it was asked for first.
            time.sleep(step["after"])
        else:
            _tell(step["step"], [call["node"] for call in calls if "node" in call])
        if "node" in calls[0]:
            answers += minions.answers(calls, asked["check_mode"])
        else:
            answers += [_owner(program, call["args"], minions) for call in calls]


def _owner(program, arguments, minions):
    """Whether a run is no more, and what it has left at work, on the minions, too."""
    answer = _asked(program, arguments)
    if answer.get("over"):
        answer["left"] = answer.get("left", []) + minions.left()
    return answer


def _tell(step, nodes):
    # Not as an event: salt-run would print it among the result.
    print(f"{step}: {', '.join(dict.fromkeys(nodes))}" if nodes else step, file=sys.stderr, flush=True)


def _told(outcome, test):
    """What the runner returns: of each node the changes in order, as a diff where one was asked for, else what was done."""
    changes = {}
    for one in outcome["changes"]:
        changes.setdefault(one["node"], []).append({one["step"]: one.get("diff") or one["actions"]})
    out = {"changed": outcome["changed"], "failed": outcome["failed"], "test": test, "changes": changes}
    for key, name in (("msg", "msg"), ("warnings", "warnings"), ("table", "cluster")):
        if outcome.get(key):
            out[name] = outcome[key]
    return out


class _Minions:
    """Reaches the nodes through the minions on their machines, all of them with one job a step."""

    def __init__(self, hosts):
        self.client = salt.client.get_local_client(mopts=__opts__)
        self.ids = {name: str(own.get("minion") or name) for name, own in hosts.items()}
        self.answered = set()
        self.waiting_since = None

    def answers(self, calls, test):
        """What these calls answer, in their order: either queries of several programs, or one program on each node."""
        look = all(call["args"].get("state") == "query" for call in calls)
        by_minion = {}
        for call in calls:
            own = by_minion.setdefault(self.ids[call["node"]], {})
            if look:
                own.setdefault(call["node"], {})[call["program"]] = call["args"]
            else:
                own[call["node"]] = call["args"]
        try:
            if look:
                done = self._job("og.look", {"calls": by_minion})
            else:
                done = self._job("og.each", {"calls": by_minion, "program": calls[0]["program"], "test": test})
        except Exception as e:  # pylint: disable=broad-except
            # Whatever went wrong, the cluster must not be left between two states: what is to be done then says og_workflow.
            return [{"failed": True, "changed": False, "msg": f"{type(e).__name__}: {e}"} for _ in calls]
        if look:
            self.answered = set(done)
        return [self._answer(done, call, look) for call in calls]

    def _job(self, function, arguments):
        """What each minion that answers returns."""
        ask, wait = _PATIENCE[function]
        done = self.client.cmd(
            sorted(arguments["calls"]),
            function,
            timeout=ask,
            gather_job_timeout=wait,
            kwarg=arguments,
            tgt_type="list",
            full_return=True,
        )
        return {mid: answer["ret"] for mid, answer in done.items() if isinstance(answer, dict) and answer.get("ret") is not None}

    def _answer(self, done, call, look):
        mid = self.ids[call["node"]]
        if mid not in done:
            return {"unreachable": True, "failed": True, "msg": f"the minion {mid} does not answer"}
        answer = done[mid]
        for key in (call["node"], call["program"]) if look else (call["node"],):
            answer = answer.get(key) if isinstance(answer, dict) else None
        if isinstance(answer, dict):
            return answer
        return {"failed": True, "changed": False, "msg": f"the minion {mid} says: {done[mid]}"}

    def left(self):
        """Steps of a workflow that still run on the minions that have answered; raises when they do so for too long."""
        jobs = self.client.cmd(sorted(self.answered), "saltutil.running", tgt_type="list") if self.answered else {}
        left = [
            f"{job['fun']} {_program_of(job)} on {mid} (jid {job['jid']})"
            for mid, running in jobs.items()
            if isinstance(running, list)
            for job in running
            # A build is waited for by the build that follows it; looking changes nothing.
            if job.get("fun") == "og.each" and _program_of(job) not in ("og_build", "og_node_state")
        ]
        now = time.monotonic()
        self.waiting_since = (self.waiting_since or now) if left else None
        if left and now - self.waiting_since > SETTLE:
            raise _Stopped(f"a killed run left work that has not ended: {', '.join(left)}; run this again when it has")
        return left


def _program_of(job):
    """The program of a running og.each."""
    for arg in job.get("arg") or []:
        if isinstance(arg, dict) and "program" in arg:
            return arg["program"]
    return "a program"
