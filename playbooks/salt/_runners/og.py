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

Several clusters stand under a key of the pillar each, and a run names the one it is for: ``og_cluster=shop``. Runs on different
clusters leave each other alone; their nodes may share machines, with ports and directories of their own.

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
# The key of the pillar that has the cluster, unless another one is named.
CLUSTER = "opengauss"
# Seconds to wait for what a killed run left to the minions.
SETTLE = 60
# Seconds until a minion is asked whether it is still at work, and for it to answer that. A minion that changes something was
# there when the run began, and is given more: to take it for lost would undo the work while it does it.
_LOOKS, _CHANGES = (10, 15), (30, 60)
# What is waited for by the call that follows it: the next build waits for the one before.
_WAITED_FOR = ("og_build", "og_node_state")


# What changes nothing, and may be permitted to whom no command on the master is.
_READ_ONLY = ("status", "preflight", "collect")


class _Stopped(Exception):
    """The workflow cannot go on; says why, for a person."""


def _run(workflow, nodes, test, diff, minion, key, options):
    parts = nodes.split(",") if isinstance(nodes, str) else list(nodes or [])
    targets = [part for part in (str(p).strip() for p in parts) if part]
    minion = minion or next(iter(targets), None)
    try:
        if workflow in _READ_ONLY and "og_notify" in options:
            raise _Stopped(f"og.{workflow} takes no og_notify: who may only look at a cluster runs no command on the master; set it in the pillar")
        cluster = _described(minion, key)
        asked = {
            "workflow": workflow,
            "targets": targets,
            "cluster": cluster,
            "options": {k: v for k, v in options.items() if not k.startswith("__")},
            "check_mode": bool(test),
            "diff": bool(diff),
            "pid": os.getpid(),
            "record": "new",
        }
        out = _told(_carried_out(_program(), asked, _Minions(cluster["hosts"], key)), bool(test))
    except _Stopped as e:
        # So og_workflow calls what it has from the pillar.
        text = str(e).replace("/cluster/", f"the pillar of {minion}, {key}/")
        out = {"changed": False, "failed": True, "msg": text, "changes": {}}
    if out["failed"]:
        # The one is for orchestration and the job's event, the other for the exit status of salt-run.
        __context__["retcode"] = out["retcode"] = 1
    return out


def _described(minion, key):
    """The cluster of this minion's pillar under the key."""
    if not minion:
        raise _Stopped("no node is named, such as n3,n4, and no minion of the cluster, such as minion=n1")
    pillar = __salt__["pillar.show_pillar"](minion) or {}
    cluster = pillar.get(key)
    if isinstance(cluster, dict) and isinstance(cluster.get("hosts"), dict) and cluster["hosts"]:
        hosts = {str(name): own or {} for name, own in cluster["hosts"].items()}
        return {"hosts": hosts, "vars": cluster.get("vars") or {}, "reached_by": f"the minions of the nodes in the pillar of {minion}"}
    errors = "; ".join(map(str, pillar.get("_errors") or []))
    raise _Stopped(
        f"the pillar of minion {minion} has no {key}:hosts{f' ({errors})' if errors else ''}; see sys.doc og, name another minion of "
        "the cluster with minion=… where its id is not the node's name, and the key of the cluster with og_cluster=…"
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
        asked = {**asked, "record": result.get("record", asked["record"])}
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
    """Whether a run is no more, and what it has left at work on the minions."""
    answer = _asked(program, arguments)
    if answer.get("over"):
        answer["left"] = minions.left()
    return answer


def _source(path):
    """The address of the file on the master's file server; empty where it has none."""
    real = os.path.realpath(path)
    for root in (__opts__.get("file_roots") or {}).get("base") or []:
        inside = os.path.relpath(real, os.path.realpath(root))
        if inside.split(os.sep)[0] != os.pardir:
            return f"salt://{inside}"
    return ""


def _tell(step, nodes):
    # Not as an event: salt-run would print it among the result.
    print(f"{step}: {', '.join(dict.fromkeys(nodes))}" if nodes else step, file=sys.stderr, flush=True)


def _told(outcome, test):
    """What the runner returns: of each node the changes in order, as a diff where one was asked for, else what was done."""
    changes = {}
    for one in outcome["changes"]:
        changes.setdefault(one["node"], []).append({one["step"]: one.get("diff") or one["actions"]})
    out = {"changed": outcome["changed"], "failed": outcome["failed"], "test": test, "changes": changes}
    for key, name in (("msg", "msg"), ("warnings", "warnings"), ("table", "cluster"), ("report", "report")):
        if outcome.get(key):
            out[name] = outcome[key]
    return out


class _Minions:
    """Reaches the nodes through the minions on their machines, all of them with one job a step."""

    def __init__(self, hosts, cluster):
        self.client = salt.client.get_local_client(mopts=__opts__)
        self.ids = {name: str(own.get("minion") or name) for name, own in hosts.items()}
        self.cluster, self.answered, self.waiting_since = cluster, set(), None

    def answers(self, calls, test):
        """What these calls answer, in their order."""
        by_minion = {}
        for call in calls:
            wanted = {key: call[key] for key in ("node", "program", "args")}
            if "put" in call:
                wanted["put"] = {**call["put"], "source": _source(call["put"]["from"])}
            by_minion.setdefault(self.ids[call["node"]], []).append(wanted)
        sent = time.time_ns() // 1_000_000
        look = all(call["args"].get("state") == "query" for call in calls)
        ask, wait = _LOOKS if look else _CHANGES
        try:
            done = self.client.cmd(
                sorted(by_minion),
                "og.step",
                timeout=ask,
                gather_job_timeout=wait,
                kwarg={"calls": by_minion, "cluster": self.cluster, "test": test},
                tgt_type="list",
                full_return=True,
            )
        except Exception as e:  # pylint: disable=broad-except
            # Whatever went wrong, the cluster must not be left between two states: what is to be done then says og_workflow.
            return [{"failed": True, "changed": False, "msg": f"{type(e).__name__}: {e}"} for _ in calls]
        told = {mid: answer["ret"] for mid, answer in done.items() if isinstance(answer, dict) and answer.get("ret") is not None}
        if look:
            self.answered = set(told)
        each = {mid: iter(answers if isinstance(answers, list) else ()) for mid, answers in told.items()}
        received = time.time_ns() // 1_000_000
        answers = [self._answer(self.ids[call["node"]], told, each) for call in calls]
        return self._timed(calls, answers, sent, received)

    def _timed(self, calls, answers, sent, received):
        """
        The answers, with the times of the calls where og_workflow compares the clocks of the nodes by them

        The programs of a minion ran one after the other between these times, by the master's clock: each was begun when those
        before it had run, and has answered before those behind it ran.
        """
        out, left, gone = [], {}, {}
        for call, answer in zip(calls, answers):
            left.setdefault(self.ids[call["node"]], []).append(int(answer.get("elapsed_ms") or 0))
        for call, answer in zip(calls, answers):
            mid = self.ids[call["node"]]
            ran = left[mid].pop(0)
            times = {"sent_at": sent + gone.get(mid, 0), "received_at": received - sum(left[mid])}
            gone[mid] = gone.get(mid, 0) + ran
            out.append({**answer, **times} if call.get("timed") else answer)
        return out

    @staticmethod
    def _answer(mid, told, each):
        if mid not in told:
            detail, hint = f"the minion {mid} does not answer", f"try it by hand: salt {mid} test.ping"
            return {"unreachable": True, "failed": True, "msg": f"{detail}; {hint}", "error": {"kind": "unreachable", "detail": detail, "hint": hint}}
        none = {"failed": True, "changed": False, "msg": f"the minion {mid} says: {told[mid]}"}
        return next(each[mid], none)

    def left(self):
        """Steps on this cluster that still run on the minions that have answered; raises when they do so for too long."""
        jobs = self.client.cmd(sorted(self.answered), "saltutil.running", tgt_type="list") if self.answered else {}
        left = [
            f"og.step {program} on {mid} (jid {job['jid']})"
            for mid, running in jobs.items()
            for job in (running if isinstance(running, list) else ())
            for program in self._programs_of(job, mid)
        ]
        now = time.monotonic()
        self.waiting_since = (self.waiting_since or now) if left else None
        if left and now - self.waiting_since > SETTLE:
            raise _Stopped(f"a killed run left work that has not ended: {', '.join(left)}; run this again when it has")
        return left

    def _programs_of(self, job, mid):
        """The programs by which a running step changes this cluster on the minion."""
        given = next((arg for arg in job.get("arg") or [] if isinstance(arg, dict) and "calls" in arg), {})
        if job.get("fun") != "og.step" or given.get("cluster") != self.cluster:
            return []
        changing = [call["program"] for call in given["calls"].get(mid, []) if call["args"].get("state") != "query"]
        return [program for program in dict.fromkeys(changing) if program not in _WAITED_FOR]


# Generated by `cargo xtask docs` from here on.


def expand(nodes, test=False, diff=False, minion=None, og_cluster=CLUSTER, **options):
    r"""
    Add standbys and cascade standbys to a running cluster, or the first standby to a single node

    The primary is not restarted and the other standbys keep streaming.
    Interrupted at any point, it can be run again.

    CLI Examples:

    .. code-block:: bash

        salt-run og.expand n3,n4 test=True
        salt-run og.expand n3,n4
        salt-run og.expand n3,n4 og_cluster=shop

    nodes
        The nodes to add, by their names in the pillar.

    test
        Change nothing, say what would be changed.

    diff
        Tell changes of files as unified diffs.

    minion
        Whose pillar describes the cluster; else the first of the nodes.

    og_cluster
        The key of the pillar that has the cluster.

    og_ssl (str, default "")
        A folder on the controller with certificates: `cacert.pem`, and for each node, by its name,
        `NODE/server.crt` and `NODE/server.key`, such as `og certificates` makes. New nodes get their
        files and have SSL on. Without it they get none.

    og_sync_standbys (keep|none|any|first, default "keep")
        `synchronous_standby_names` of the primary. A new node gets what the primary had; the other
        standbys keep theirs.
        `keep`: It stays as it was; it is empty only while a single node gets its first standby.
        `none`: It stays empty where it had to be emptied.
        `any`: The new standbys are added to it in the form ANY; in place of `*` with all that
        stream.
        `first`: The same in the form FIRST.

    og_sync_num (raw, default "majority")
        How many synchronous standbys a commit waits for, with `any` and `first`: a number,
        `majority` or `keep`.

    og_hba_method (trust|md5|sha256|sm3|gss|krb5|ident|ldap|pam, default "trust")
        Method of the pg_hba.conf rules by which the nodes let each other in; an existing rule with
        another method is kept.

    og_build_mode (auto|incremental|full, default "auto")
        How to build the new nodes; one that streams already is not built again.
        `auto`: Incremental where that is possible, else full.
        `incremental`: What differs is copied.
        `full`: Everything is copied.

    og_build_force (bool, default false)
        Build over a node that last ran as a primary or a single server of its own; what it holds is
        lost.

    og_build_room (bool, default true)
        Build a node only if it has room for the primary's data; what its old copy occupies counts as
        free.

    og_build_parallel (int, default 0)
        Maximum number of nodes that are built in parallel; 0: as many as the primary has WAL senders
        for.

    og_rollback (bool, default true)
        Roll back when a step fails: the new nodes are stopped, their channels, rules and slots are
        removed, and their parameters are restored; nodes that were members before stay. There is no
        rollback when another node has become primary meanwhile.

    og_accept (str, default "")
        Ids of og_preflight checks whose errors do not stop the workflow, such as
        `clock.difference,same.user`; they are reported as accepted. `preflight` accepts that the
        checks could not be made on a node.

    og_probe (bool, default false)
        Commit while the cluster is changed, about 50 times a second, and tell the longest time
        without a commit. On each member a client of ours changes the one row of its table `og_probe`
        in the database postgres; the table is dropped at the end.

    og_look_timeout (int, default 60)
        Seconds after which a node that does not answer counts as unreachable.

    og_lock_ttl (int, default 86400)
        Seconds after which the lock of a run on another controller ends by itself. A run that was
        killed on this controller is recognised and keeps nobody out.

    og_lock_force (bool, default false)
        Take the lock from whoever holds it.

    og_wait_timeout (int, default 300)
        Seconds to wait for a node to stream and catch up.

    og_max_lag_bytes (int, default 16777216)
        Bytes that a node may be behind and still count as caught up; a switchover to a standby
        further behind is refused.

    og_record (changes|all|none, default "changes")
        Which runs leave a record on the controller, a folder in
        `$XDG_STATE_HOME/opengauss-node/runs` that `og history` shows.
        `changes`: Those of workflows that change the cluster, but not in check mode.
        `all`: All, status, preflight and check mode included.
        `none`: None.

    og_notify (list of str, default [])
        Command on the controller with its arguments, such as `["/usr/local/bin/notify", "dba"]`,
        that gets the outcome of a recorded run as a line of JSON on its standard input.

    """
    return _run("expand", nodes, test, diff, minion, og_cluster, options)


def drop(nodes, test=False, diff=False, minion=None, og_cluster=CLUSTER, **options):
    r"""
    Remove standbys or cascade standbys from a cluster, dead or alive; never the primary

    The dropped nodes keep their data. Interrupted at any point, it can be run again.
    A node that could not be reached keeps running; run it again when the node is back.

    CLI Examples:

    .. code-block:: bash

        salt-run og.drop n2 test=True
        salt-run og.drop n2
        salt-run og.drop n2 og_cluster=shop

    nodes
        The nodes to remove, by their names in the pillar.

    test
        Change nothing, say what would be changed.

    diff
        Tell changes of files as unified diffs.

    minion
        Whose pillar describes the cluster; else the first of the nodes.

    og_cluster
        The key of the pillar that has the cluster.

    og_drop_commits (protected|available, default "protected")
        What synchronous commits do while a channel is removed: openGauss before 6.0 then ends all
        replication connections of that server, and its standbys are back after two to three seconds.
        `protected`: They wait for that long, and none is without its second copy.
        `available`: They go on, with `most_available_sync`, and for that long none has a second
        copy.

    og_drop_clear (bool, default false)
        Clear the replication channels of the dropped node, so that it cannot come back by itself.

    og_accept (str, default "")
        Ids of og_preflight checks whose errors do not stop the workflow, such as
        `clock.difference,same.user`; they are reported as accepted. `preflight` accepts that the
        checks could not be made on a node.

    og_probe (bool, default false)
        Commit while the cluster is changed, about 50 times a second, and tell the longest time
        without a commit. On each member a client of ours changes the one row of its table `og_probe`
        in the database postgres; the table is dropped at the end.

    og_look_timeout (int, default 60)
        Seconds after which a node that does not answer counts as unreachable.

    og_lock_ttl (int, default 86400)
        Seconds after which the lock of a run on another controller ends by itself. A run that was
        killed on this controller is recognised and keeps nobody out.

    og_lock_force (bool, default false)
        Take the lock from whoever holds it.

    og_wait_timeout (int, default 300)
        Seconds to wait for a node to stream and catch up.

    og_max_lag_bytes (int, default 16777216)
        Bytes that a node may be behind and still count as caught up; a switchover to a standby
        further behind is refused.

    og_record (changes|all|none, default "changes")
        Which runs leave a record on the controller, a folder in
        `$XDG_STATE_HOME/opengauss-node/runs` that `og history` shows.
        `changes`: Those of workflows that change the cluster, but not in check mode.
        `all`: All, status, preflight and check mode included.
        `none`: None.

    og_notify (list of str, default [])
        Command on the controller with its arguments, such as `["/usr/local/bin/notify", "dba"]`,
        that gets the outcome of a recorded run as a line of JSON on its standard input.

    """
    return _run("drop", nodes, test, diff, minion, og_cluster, options)


def deploy(minion, test=False, diff=False, og_cluster=CLUSTER, **options):
    r"""
    Make a cluster of nodes on which openGauss is installed and no database exists yet

    openGauss's program files must be on each node already, as `gauss_home` or `env_file` says, or come from the package that `og_package` names.
    Nodes that are members stay as they are, and nodes that are new in the inventory are added. Interrupted at any point, it can be run again.

    CLI Examples:

    .. code-block:: bash

        salt-run og.deploy n1 test=True
        salt-run og.deploy n1
        salt-run og.deploy n1 og_cluster=shop

    test
        Change nothing, say what would be changed.

    diff
        Tell changes of files as unified diffs.

    minion
        Any minion whose pillar describes the cluster.

    og_cluster
        The key of the pillar that has the cluster.

    og_package (str, default "")
        The file of openGauss's package on the controller, of the server or of a whole release. It is
        carried to the nodes that lack it and unpacked beside `gauss_home`, which becomes a link to
        it. Without it the program files must be there already.

    og_ssl (str, default "")
        A folder on the controller with certificates: `cacert.pem`, and for each node, by its name,
        `NODE/server.crt` and `NODE/server.key`, such as `og certificates` makes. New nodes get their
        files and have SSL on. Without it they get none.

    og_locale (str, default "C")
        Locale of the databases of a new cluster.

    og_encoding (str, default "UTF8")
        Encoding of the databases of a new cluster.

    og_compatibility (A|B|C|PG, default "A")
        SQL compatibility of the databases of a new cluster: Oracle (`A`), MySQL (`B`), Teradata
        (`C`) or PostgreSQL (`PG`).

    og_password_file (str, default "")
        Absolute path, on the node that becomes the primary of a new cluster, of a file whose first
        line is the password of the initial user. A new cluster needs it: openGauss refuses every
        statement of an initial user without a password.

    og_xml (str, default "")
        Absolute path, on all nodes, of a cluster_config.xml that is written for openGauss's OM
        tools.

    og_parameters (dict, default {})
        Names and values of the parameters to set, such as `{"max_connections": 500}`; the value is
        plain text, number or bool, without quotes.

    og_sync_standbys (keep|none|any|first, default "keep")
        `synchronous_standby_names` of the primary. A new node gets what the primary had; the other
        standbys keep theirs.
        `keep`: It stays as it was; it is empty only while a single node gets its first standby.
        `none`: It stays empty where it had to be emptied.
        `any`: The new standbys are added to it in the form ANY; in place of `*` with all that
        stream.
        `first`: The same in the form FIRST.

    og_sync_num (raw, default "majority")
        How many synchronous standbys a commit waits for, with `any` and `first`: a number,
        `majority` or `keep`.

    og_hba_method (trust|md5|sha256|sm3|gss|krb5|ident|ldap|pam, default "trust")
        Method of the pg_hba.conf rules by which the nodes let each other in; an existing rule with
        another method is kept.

    og_build_mode (auto|incremental|full, default "auto")
        How to build the new nodes; one that streams already is not built again.
        `auto`: Incremental where that is possible, else full.
        `incremental`: What differs is copied.
        `full`: Everything is copied.

    og_build_force (bool, default false)
        Build over a node that last ran as a primary or a single server of its own; what it holds is
        lost.

    og_build_room (bool, default true)
        Build a node only if it has room for the primary's data; what its old copy occupies counts as
        free.

    og_build_parallel (int, default 0)
        Maximum number of nodes that are built in parallel; 0: as many as the primary has WAL senders
        for.

    og_rollback (bool, default true)
        Roll back when a step fails: the new nodes are stopped, their channels, rules and slots are
        removed, and their parameters are restored; nodes that were members before stay. There is no
        rollback when another node has become primary meanwhile.

    og_host (bool, default false)
        Also prepare the operating system of the nodes: deploy makes the user and the folder around
        the data directory and sets what og_preflight advises. og_host does it as root: by `become`
        of Ansible, by Salt's minion, and by `sudo` without a password where ssh does not lead to
        root.

    og_unit (bool, default false)
        With `og_host`: each node starts with its machine, in its last role, by a unit of systemd
        that og_host writes; the program og_node_state must be in `/usr/local/bin` or `/usr/bin` of
        the nodes. A node that was primary waits until all others answer.

    og_accept (str, default "")
        Ids of og_preflight checks whose errors do not stop the workflow, such as
        `clock.difference,same.user`; they are reported as accepted. `preflight` accepts that the
        checks could not be made on a node.

    og_look_timeout (int, default 60)
        Seconds after which a node that does not answer counts as unreachable.

    og_lock_ttl (int, default 86400)
        Seconds after which the lock of a run on another controller ends by itself. A run that was
        killed on this controller is recognised and keeps nobody out.

    og_lock_force (bool, default false)
        Take the lock from whoever holds it.

    og_wait_timeout (int, default 300)
        Seconds to wait for a node to stream and catch up.

    og_max_lag_bytes (int, default 16777216)
        Bytes that a node may be behind and still count as caught up; a switchover to a standby
        further behind is refused.

    og_record (changes|all|none, default "changes")
        Which runs leave a record on the controller, a folder in
        `$XDG_STATE_HOME/opengauss-node/runs` that `og history` shows.
        `changes`: Those of workflows that change the cluster, but not in check mode.
        `all`: All, status, preflight and check mode included.
        `none`: None.

    og_notify (list of str, default [])
        Command on the controller with its arguments, such as `["/usr/local/bin/notify", "dba"]`,
        that gets the outcome of a recorded run as a line of JSON on its standard input.

    """
    return _run("deploy", [], test, diff, minion, og_cluster, options)


def clear(nodes, test=False, diff=False, minion=None, og_cluster=CLUSTER, **options):
    r"""
    Remove what a dropped node left: its server is stopped, its data directory moved aside, its rules and slots removed

    It proves first that the node is no member: no channel, static configuration or synchronous standby name has it.
    Interrupted at any point, it can be run again.

    CLI Examples:

    .. code-block:: bash

        salt-run og.clear n2 test=True
        salt-run og.clear n2
        salt-run og.clear n2 og_cluster=shop

    nodes
        The dropped nodes whose data directories are removed, by their names in the pillar.

    test
        Change nothing, say what would be changed.

    diff
        Tell changes of files as unified diffs.

    minion
        Whose pillar describes the cluster; else the first of the nodes.

    og_cluster
        The key of the pillar that has the cluster.

    og_clear_mode (moved|deleted, default "moved")
        What happens to the data directory of a node that is cleared.
        `moved`: It is renamed, with `.moved-` and the time behind its name, and keeps all that it
        holds.
        `deleted`: It is deleted; `og_confirm_clear` must name the node as its data directory does.

    og_confirm_clear (str, default "")
        The names in the data directories of the cleared nodes, such as `dn_6002`: they confirm that
        these may be deleted for good, or cleared although they last ran as a single node or never
        ran. An old primary is refused all the same.

    og_package_absent (bool, default false)
        Also remove the program files of the cleared nodes and the cluster's files beside them, where
        og_package unpacked them and no other node of the host uses them.

    og_host_absent (bool, default false)
        Also remove what og_host made on the machines of the cleared nodes; og_host does it as root.

    og_accept (str, default "")
        Ids of og_preflight checks whose errors do not stop the workflow, such as
        `clock.difference,same.user`; they are reported as accepted. `preflight` accepts that the
        checks could not be made on a node.

    og_look_timeout (int, default 60)
        Seconds after which a node that does not answer counts as unreachable.

    og_lock_ttl (int, default 86400)
        Seconds after which the lock of a run on another controller ends by itself. A run that was
        killed on this controller is recognised and keeps nobody out.

    og_lock_force (bool, default false)
        Take the lock from whoever holds it.

    og_wait_timeout (int, default 300)
        Seconds to wait for a node to stream and catch up.

    og_max_lag_bytes (int, default 16777216)
        Bytes that a node may be behind and still count as caught up; a switchover to a standby
        further behind is refused.

    og_record (changes|all|none, default "changes")
        Which runs leave a record on the controller, a folder in
        `$XDG_STATE_HOME/opengauss-node/runs` that `og history` shows.
        `changes`: Those of workflows that change the cluster, but not in check mode.
        `all`: All, status, preflight and check mode included.
        `none`: None.

    og_notify (list of str, default [])
        Command on the controller with its arguments, such as `["/usr/local/bin/notify", "dba"]`,
        that gets the outcome of a recorded run as a line of JSON on its standard input.

    """
    return _run("clear", nodes, test, diff, minion, og_cluster, options)


def repair(nodes=None, test=False, diff=False, minion=None, og_cluster=CLUSTER, **options):
    r"""
    Find why nodes are down or do not follow, and repair them by the mildest step that helps

    The cause is proved and reported for each node: by log positions, terms, system identifiers and the server's log.
    Interrupted at any point, it can be run again. A node that holds what the primary has not is never overwritten unless it is forced.

    CLI Examples:

    .. code-block:: bash

        salt-run og.repair n2 test=True
        salt-run og.repair n2
        salt-run og.repair n2 og_cluster=shop

    nodes
        The nodes to repair (without names, all that need it), by their names in the pillar.

    test
        Change nothing, say what would be changed.

    diff
        Tell changes of files as unified diffs.

    minion
        Whose pillar describes the cluster; else the first of the nodes, one of which must be given then.

    og_cluster
        The key of the pillar that has the cluster.

    og_repair_force (bool, default false)
        Also repair the named nodes where that discards data that the primary may not have: an old
        primary, a log that differs or may differ, a longer one, a newer term, or data of another
        database system; and, of two primaries, the one that is named.

    og_repair_backup (str, default "")
        Absolute path, on the node that is named, of a copy of its postgresql.conf: it is brought
        back where the server refuses the present file, which is kept beside it.

    og_hba_method (trust|md5|sha256|sm3|gss|krb5|ident|ldap|pam, default "trust")
        Method of the pg_hba.conf rules by which the nodes let each other in; an existing rule with
        another method is kept.

    og_build_room (bool, default true)
        Build a node only if it has room for the primary's data; what its old copy occupies counts as
        free.

    og_build_parallel (int, default 0)
        Maximum number of nodes that are built in parallel; 0: as many as the primary has WAL senders
        for.

    og_probe (bool, default false)
        Commit while the cluster is changed, about 50 times a second, and tell the longest time
        without a commit. On each member a client of ours changes the one row of its table `og_probe`
        in the database postgres; the table is dropped at the end.

    og_look_timeout (int, default 60)
        Seconds after which a node that does not answer counts as unreachable.

    og_lock_ttl (int, default 86400)
        Seconds after which the lock of a run on another controller ends by itself. A run that was
        killed on this controller is recognised and keeps nobody out.

    og_lock_force (bool, default false)
        Take the lock from whoever holds it.

    og_wait_timeout (int, default 300)
        Seconds to wait for a node to stream and catch up.

    og_max_lag_bytes (int, default 16777216)
        Bytes that a node may be behind and still count as caught up; a switchover to a standby
        further behind is refused.

    og_record (changes|all|none, default "changes")
        Which runs leave a record on the controller, a folder in
        `$XDG_STATE_HOME/opengauss-node/runs` that `og history` shows.
        `changes`: Those of workflows that change the cluster, but not in check mode.
        `all`: All, status, preflight and check mode included.
        `none`: None.

    og_notify (list of str, default [])
        Command on the controller with its arguments, such as `["/usr/local/bin/notify", "dba"]`,
        that gets the outcome of a recorded run as a line of JSON on its standard input.

    """
    return _run("repair", nodes, test, diff, minion, og_cluster, options)


def configure(minion, test=False, diff=False, og_cluster=CLUSTER, **options):
    r"""
    Set parameters on all nodes of the cluster, in the right order

    The parameters are in `og_parameters`; all nodes are asked whether they accept them before one is changed.
    The result names the nodes that need a restart; with `og_configure_restart` they are restarted one by one.

    CLI Examples:

    .. code-block:: bash

        salt-run og.configure n1 test=True
        salt-run og.configure n1
        salt-run og.configure n1 og_cluster=shop

    test
        Change nothing, say what would be changed.

    diff
        Tell changes of files as unified diffs.

    minion
        Any minion whose pillar describes the cluster.

    og_cluster
        The key of the pillar that has the cluster.

    og_parameters (dict, default {})
        Names and values of the parameters to set, such as `{"max_connections": 500}`; the value is
        plain text, number or bool, without quotes.

    og_configure_restart (bool, default false)
        When the parameters are set, restart the nodes on which one of them counts only after a
        restart, as the workflow restart does.

    og_restart_commits (refuse|wait, default "refuse")
        What to do when commits would wait for a standby while it is restarted, as too few others
        stream for `synchronous_standby_names`.
        `refuse`: Restart nothing, and name the node that they would wait for.
        `wait`: They wait until it streams again.

    og_wait_sessions (int, default 0)
        Seconds to wait, before a node is restarted, until no client has an open transaction there;
        if one is still open then, the node is not restarted. 0: do not wait; the restart ends open
        transactions.

    og_switch_back (bool, default false)
        After the old primary was restarted, make it primary again, by a second switchover.

    og_accept (str, default "")
        Ids of og_preflight checks whose errors do not stop the workflow, such as
        `clock.difference,same.user`; they are reported as accepted. `preflight` accepts that the
        checks could not be made on a node.

    og_probe (bool, default false)
        Commit while the cluster is changed, about 50 times a second, and tell the longest time
        without a commit. On each member a client of ours changes the one row of its table `og_probe`
        in the database postgres; the table is dropped at the end.

    og_look_timeout (int, default 60)
        Seconds after which a node that does not answer counts as unreachable.

    og_lock_ttl (int, default 86400)
        Seconds after which the lock of a run on another controller ends by itself. A run that was
        killed on this controller is recognised and keeps nobody out.

    og_lock_force (bool, default false)
        Take the lock from whoever holds it.

    og_wait_timeout (int, default 300)
        Seconds to wait for a node to stream and catch up.

    og_max_lag_bytes (int, default 16777216)
        Bytes that a node may be behind and still count as caught up; a switchover to a standby
        further behind is refused.

    og_record (changes|all|none, default "changes")
        Which runs leave a record on the controller, a folder in
        `$XDG_STATE_HOME/opengauss-node/runs` that `og history` shows.
        `changes`: Those of workflows that change the cluster, but not in check mode.
        `all`: All, status, preflight and check mode included.
        `none`: None.

    og_notify (list of str, default [])
        Command on the controller with its arguments, such as `["/usr/local/bin/notify", "dba"]`,
        that gets the outcome of a recorded run as a line of JSON on its standard input.

    """
    return _run("configure", [], test, diff, minion, og_cluster, options)


def restart(nodes=None, test=False, diff=False, minion=None, og_cluster=CLUSTER, **options):
    r"""
    Restart the nodes on which a parameter waits for a restart, one by one: standbys first, the primary after a switchover

    Nodes that are named are restarted in any case.
    A single node, or a primary without a standby to hand over to, is restarted in place.

    CLI Examples:

    .. code-block:: bash

        salt-run og.restart n2 test=True
        salt-run og.restart n2
        salt-run og.restart n2 og_cluster=shop

    nodes
        The nodes to restart, whether a parameter waits for a restart or not, by their names in the pillar.

    test
        Change nothing, say what would be changed.

    diff
        Tell changes of files as unified diffs.

    minion
        Whose pillar describes the cluster; else the first of the nodes, one of which must be given then.

    og_cluster
        The key of the pillar that has the cluster.

    og_restart_commits (refuse|wait, default "refuse")
        What to do when commits would wait for a standby while it is restarted, as too few others
        stream for `synchronous_standby_names`.
        `refuse`: Restart nothing, and name the node that they would wait for.
        `wait`: They wait until it streams again.

    og_wait_sessions (int, default 0)
        Seconds to wait, before a node is restarted, until no client has an open transaction there;
        if one is still open then, the node is not restarted. 0: do not wait; the restart ends open
        transactions.

    og_switch_back (bool, default false)
        After the old primary was restarted, make it primary again, by a second switchover.

    og_accept (str, default "")
        Ids of og_preflight checks whose errors do not stop the workflow, such as
        `clock.difference,same.user`; they are reported as accepted. `preflight` accepts that the
        checks could not be made on a node.

    og_probe (bool, default false)
        Commit while the cluster is changed, about 50 times a second, and tell the longest time
        without a commit. On each member a client of ours changes the one row of its table `og_probe`
        in the database postgres; the table is dropped at the end.

    og_look_timeout (int, default 60)
        Seconds after which a node that does not answer counts as unreachable.

    og_lock_ttl (int, default 86400)
        Seconds after which the lock of a run on another controller ends by itself. A run that was
        killed on this controller is recognised and keeps nobody out.

    og_lock_force (bool, default false)
        Take the lock from whoever holds it.

    og_wait_timeout (int, default 300)
        Seconds to wait for a node to stream and catch up.

    og_max_lag_bytes (int, default 16777216)
        Bytes that a node may be behind and still count as caught up; a switchover to a standby
        further behind is refused.

    og_record (changes|all|none, default "changes")
        Which runs leave a record on the controller, a folder in
        `$XDG_STATE_HOME/opengauss-node/runs` that `og history` shows.
        `changes`: Those of workflows that change the cluster, but not in check mode.
        `all`: All, status, preflight and check mode included.
        `none`: None.

    og_notify (list of str, default [])
        Command on the controller with its arguments, such as `["/usr/local/bin/notify", "dba"]`,
        that gets the outcome of a recorded run as a line of JSON on its standard input.

    """
    return _run("restart", nodes, test, diff, minion, og_cluster, options)


def switchover(nodes, test=False, diff=False, minion=None, og_cluster=CLUSTER, **options):
    r"""
    Make a standby the primary, and the primary a standby; nothing that was committed is lost

    The primary is checkpointed first, while clients write; then commits wait while the roles change.
    It is tried once; its outcome is read from all nodes.

    CLI Examples:

    .. code-block:: bash

        salt-run og.switchover n2 test=True
        salt-run og.switchover n2
        salt-run og.switchover n2 og_cluster=shop

    nodes
        The standby that becomes primary, by their names in the pillar.

    test
        Change nothing, say what would be changed.

    diff
        Tell changes of files as unified diffs.

    minion
        Whose pillar describes the cluster; else the first of the nodes.

    og_cluster
        The key of the pillar that has the cluster.

    og_long_transactions (refuse|wait|cancel, default "refuse")
        What to do about transactions that clients have had open for more than 15 seconds; the change
        of roles ends them.
        `refuse`: Do not begin while there are any.
        `wait`: Wait until they end.
        `cancel`: End their sessions.

    og_without (str, default "")
        Members that cannot take part, such as `n4`: the workflow goes on without them.

    og_accept (str, default "")
        Ids of og_preflight checks whose errors do not stop the workflow, such as
        `clock.difference,same.user`; they are reported as accepted. `preflight` accepts that the
        checks could not be made on a node.

    og_probe (bool, default false)
        Commit while the cluster is changed, about 50 times a second, and tell the longest time
        without a commit. On each member a client of ours changes the one row of its table `og_probe`
        in the database postgres; the table is dropped at the end.

    og_look_timeout (int, default 60)
        Seconds after which a node that does not answer counts as unreachable.

    og_lock_ttl (int, default 86400)
        Seconds after which the lock of a run on another controller ends by itself. A run that was
        killed on this controller is recognised and keeps nobody out.

    og_lock_force (bool, default false)
        Take the lock from whoever holds it.

    og_wait_timeout (int, default 300)
        Seconds to wait for a node to stream and catch up.

    og_max_lag_bytes (int, default 16777216)
        Bytes that a node may be behind and still count as caught up; a switchover to a standby
        further behind is refused.

    og_record (changes|all|none, default "changes")
        Which runs leave a record on the controller, a folder in
        `$XDG_STATE_HOME/opengauss-node/runs` that `og history` shows.
        `changes`: Those of workflows that change the cluster, but not in check mode.
        `all`: All, status, preflight and check mode included.
        `none`: None.

    og_notify (list of str, default [])
        Command on the controller with its arguments, such as `["/usr/local/bin/notify", "dba"]`,
        that gets the outcome of a recorded run as a line of JSON on its standard input.

    """
    return _run("switchover", nodes, test, diff, minion, og_cluster, options)


def failover(nodes=None, test=False, diff=False, minion=None, og_cluster=CLUSTER, **options):
    r"""
    Make the standby that holds most the primary when the primary is lost

    That it is lost is proved twice: no server answers there, and no standby receives from it.
    The old primary is stopped or, where it cannot be reached, cut off; then the standby is chosen that holds most of the log.

    CLI Examples:

    .. code-block:: bash

        salt-run og.failover n2 test=True
        salt-run og.failover n2
        salt-run og.failover n2 og_cluster=shop

    nodes
        The standby that becomes primary (without a name, the one that holds most WAL), by their names in the pillar.

    test
        Change nothing, say what would be changed.

    diff
        Tell changes of files as unified diffs.

    minion
        Whose pillar describes the cluster; else the first of the nodes, one of which must be given then.

    og_cluster
        The key of the pillar that has the cluster.

    og_confirm_dead (str, default "")
        A node that is the primary, or may be, and is known to be dead, such as `n1`: its host was
        switched off, or its server may be ended.

    og_accept_loss (bool, default false)
        Fail over even if that loses commits that another node holds.

    og_failover_force (bool, default false)
        Fail over although another failover was made within the last hour.

    og_probe (bool, default false)
        Commit while the cluster is changed, about 50 times a second, and tell the longest time
        without a commit. On each member a client of ours changes the one row of its table `og_probe`
        in the database postgres; the table is dropped at the end.

    og_look_timeout (int, default 60)
        Seconds after which a node that does not answer counts as unreachable.

    og_lock_ttl (int, default 86400)
        Seconds after which the lock of a run on another controller ends by itself. A run that was
        killed on this controller is recognised and keeps nobody out.

    og_lock_force (bool, default false)
        Take the lock from whoever holds it.

    og_wait_timeout (int, default 300)
        Seconds to wait for a node to stream and catch up.

    og_max_lag_bytes (int, default 16777216)
        Bytes that a node may be behind and still count as caught up; a switchover to a standby
        further behind is refused.

    og_record (changes|all|none, default "changes")
        Which runs leave a record on the controller, a folder in
        `$XDG_STATE_HOME/opengauss-node/runs` that `og history` shows.
        `changes`: Those of workflows that change the cluster, but not in check mode.
        `all`: All, status, preflight and check mode included.
        `none`: None.

    og_notify (list of str, default [])
        Command on the controller with its arguments, such as `["/usr/local/bin/notify", "dba"]`,
        that gets the outcome of a recorded run as a line of JSON on its standard input.

    """
    return _run("failover", nodes, test, diff, minion, og_cluster, options)


def status(minion, og_cluster=CLUSTER, **options):
    r"""
    Show the state of the cluster; changes nothing

    CLI Examples:

    .. code-block:: bash

        salt-run og.status n1
        salt-run og.status n1 og_cluster=shop

    minion
        Any minion whose pillar describes the cluster.

    og_cluster
        The key of the pillar that has the cluster.

    og_look_timeout (int, default 60)
        Seconds after which a node that does not answer counts as unreachable.

    og_lock_ttl (int, default 86400)
        Seconds after which the lock of a run on another controller ends by itself. A run that was
        killed on this controller is recognised and keeps nobody out.

    og_lock_force (bool, default false)
        Take the lock from whoever holds it.

    og_wait_timeout (int, default 300)
        Seconds to wait for a node to stream and catch up.

    og_max_lag_bytes (int, default 16777216)
        Bytes that a node may be behind and still count as caught up; a switchover to a standby
        further behind is refused.

    og_record (changes|all|none, default "changes")
        Which runs leave a record on the controller, a folder in
        `$XDG_STATE_HOME/opengauss-node/runs` that `og history` shows.
        `changes`: Those of workflows that change the cluster, but not in check mode.
        `all`: All, status, preflight and check mode included.
        `none`: None.

    """
    return _run("status", [], False, False, minion, og_cluster, options)


def preflight(minion, og_cluster=CLUSTER, **options):
    r"""
    Check hosts, servers and files of all nodes before a change; changes nothing

    It fails when there is a finding of severity error.

    CLI Examples:

    .. code-block:: bash

        salt-run og.preflight n1
        salt-run og.preflight n1 og_cluster=shop

    minion
        Any minion whose pillar describes the cluster.

    og_cluster
        The key of the pillar that has the cluster.

    og_preflight_for (expand|drop|build|switchover|failover|deploy|restart|any, default "any")
        The change that the nodes are checked for.
        `expand`: The cluster gets more nodes; `wanted.target` says whether this is one of them.
        `drop`: The cluster loses nodes; `wanted.target` says whether this is one of them.
        `build`: This node is rebuilt from its primary.
        `switchover`: A standby and the primary exchange their roles.
        `failover`: A standby becomes primary, as the old primary is lost.
        `deploy`: A data directory is to be made here.
        `restart`: The server is stopped and started.
        `any`: No change in particular.

    og_preflight_nodes (str, default "")
        The nodes that the change is about, such as `n3,n4`: those to be added, dropped or rebuilt,
        or the standby that is to become primary.

    og_look_timeout (int, default 60)
        Seconds after which a node that does not answer counts as unreachable.

    og_lock_ttl (int, default 86400)
        Seconds after which the lock of a run on another controller ends by itself. A run that was
        killed on this controller is recognised and keeps nobody out.

    og_lock_force (bool, default false)
        Take the lock from whoever holds it.

    og_wait_timeout (int, default 300)
        Seconds to wait for a node to stream and catch up.

    og_max_lag_bytes (int, default 16777216)
        Bytes that a node may be behind and still count as caught up; a switchover to a standby
        further behind is refused.

    og_record (changes|all|none, default "changes")
        Which runs leave a record on the controller, a folder in
        `$XDG_STATE_HOME/opengauss-node/runs` that `og history` shows.
        `changes`: Those of workflows that change the cluster, but not in check mode.
        `all`: All, status, preflight and check mode included.
        `none`: None.

    """
    return _run("preflight", [], False, False, minion, og_cluster, options)


def collect(minion, og_cluster=CLUSTER, **options):
    r"""
    Collect the status, checks, configuration and server log of all nodes in one file on the controller; changes nothing

    Secrets are masked, and lines of the server log that quote SQL or rows are left out; look through the file before you send it.

    CLI Examples:

    .. code-block:: bash

        salt-run og.collect n1
        salt-run og.collect n1 og_cluster=shop

    minion
        Any minion whose pillar describes the cluster.

    og_cluster
        The key of the pillar that has the cluster.

    og_log_lines (int, default 500)
        How many of the newest lines of each server's log are collected.

    og_look_timeout (int, default 60)
        Seconds after which a node that does not answer counts as unreachable.

    og_lock_ttl (int, default 86400)
        Seconds after which the lock of a run on another controller ends by itself. A run that was
        killed on this controller is recognised and keeps nobody out.

    og_lock_force (bool, default false)
        Take the lock from whoever holds it.

    og_wait_timeout (int, default 300)
        Seconds to wait for a node to stream and catch up.

    og_max_lag_bytes (int, default 16777216)
        Bytes that a node may be behind and still count as caught up; a switchover to a standby
        further behind is refused.

    og_record (changes|all|none, default "changes")
        Which runs leave a record on the controller, a folder in
        `$XDG_STATE_HOME/opengauss-node/runs` that `og history` shows.
        `changes`: Those of workflows that change the cluster, but not in check mode.
        `all`: All, status, preflight and check mode included.
        `none`: None.

    """
    return _run("collect", [], False, False, minion, og_cluster, options)
