"""
Expand, drop and status, step by step, for Salt's runner ``og``

The steps have the names and the order of those of the Ansible roles. What each of them needs is decided in og_cluster,
which both use; how a step reaches the nodes is the business of who calls.
"""

import difflib
import json
import time

# As in the collection's roles/common/defaults/main.yml, which says what they mean.
OPTIONS = {
    "og_look_timeout": 60,
    "og_lock_ttl": 86400,
    "og_lock_force": False,
    "og_wait_timeout": 300,
    "og_max_lag_bytes": 16777216,
    "og_sync_standbys": "keep",
    "og_sync_num": "majority",
    "og_hba_method": "trust",
    "og_build_mode": "auto",
    "og_build_force": False,
    "og_build_parallel": 0,
    "og_rollback": True,
    "og_drop_commits": "protected",
    "og_drop_clear": False,
}
SYNC_NAMES = "synchronous_standby_names"
LOOK = {
    "og_node_state": {},
    "og_guc": {"names": [SYNC_NAMES, "most_available_sync", "application_name"]},
    "og_hba": {},
    "og_replconninfo": {},
    "og_static_conf": {},
    "og_lock": {},
}
LOOK_AFTER = {"og_node_state": {}, "og_replconninfo": {}}
# Seconds between two looks at a build that another run left behind.
BUILD_INTERVAL = 1


class Stopped(Exception):
    """The workflow cannot go on; says why, for a person."""


def __virtual__():
    return "og_workflow"


def unified(result):
    """The changed files of a program's result as one unified diff; empty when it has none."""
    texts = []
    for one in result.get("diff") or []:
        lines = difflib.unified_diff(
            one["before"].splitlines(), one["after"].splitlines(), one["before_header"], one["after_header"], lineterm=""
        )
        texts.append("\n".join(lines))
    return "\n".join(text for text in texts if text)


def options(given):
    """All options, the given ones as the programs would take them; raises Stopped for one that is not known."""
    out = dict(OPTIONS)
    for name, value in given.items():
        if name not in OPTIONS:
            raise Stopped(f"{name} is no option; there are: {', '.join(sorted(OPTIONS))}")
        if isinstance(OPTIONS[name], bool):
            word = str(value).lower()
            if word not in ("true", "false", "yes", "no", "on", "off", "1", "0"):
                raise Stopped(f"{name} is {value!r}; it may be true or false")
            value = word in ("true", "yes", "on", "1")
        elif isinstance(OPTIONS[name], int):
            try:
                value = int(value)
            except (TypeError, ValueError):
                raise Stopped(f"{name} is {value!r}, not a number") from None
        out[name] = value
    return out


class Run:
    """
    One run of a workflow

    ``hosts`` has each node's variables by its name. ``nodes`` reaches them: ``look(programs, names, seconds)`` and
    ``call(program, {name: arguments}, test)`` return an answer for each name, ``settle()`` waits until the nodes have
    ended what a killed run let them begin and says what has not ended, ``owner`` stands for this run. ``use`` has the
    functions of og_cluster and og_owner by their full names, for Salt gives utilities no ``__utils__``.
    ``tell(text)`` is told what begins.
    """

    def __init__(self, hosts, nodes, use, test=False, diff=False, tell=lambda text: None, **given):
        self.hosts, self.nodes, self.use, self.test, self.diff, self.tell = hosts, nodes, use, test, diff, tell
        self.options = options(given)
        self.plan = {}
        self.steps = []
        self.warnings = []
        self.table = []
        # What an expand did at the members, to be taken back when it fails.
        self.rules_done, self.channels_done, self.static_done = {}, {}, False

    # --- what was seen and what follows from it

    def seen(self, programs, names):
        answers = self.nodes.look(programs, names, self.options["og_look_timeout"])
        return {n: {"vars": own, "seen": answers.get(n)} for n, own in self.hosts.items()}

    def begin(self, workflow, targets):
        """Looks, plans, and takes the lock; raises Stopped with all findings before anything is changed."""
        own = {
            "sync_standbys": self.options["og_sync_standbys"],
            "build_force": self.options["og_build_force"],
            "hba_method": self.options["og_hba_method"],
            "commits": self.options["og_drop_commits"],
        }
        for look in ("first", "again"):
            self.tell("Look at all nodes")
            self.plan = self.use[f"og_cluster.{workflow}"](self.seen(LOOK, list(self.hosts)), targets, own)
            owner = self.plan["lock"].get("owner")
            # A killed run may have left its last step to the minions, which changes what was just seen.
            if look == "again" or not owner or not self.use["og_owner.is_over"](owner):
                break
            left = self.nodes.settle()
            if left:
                raise Stopped(f"a killed run left work that has not ended: {left}; run this again when it has")
        why = self.use["og_cluster.refusal"](self.plan, self.use["og_owner.is_over"])
        if why:
            raise Stopped(why)
        self.warnings += self.plan["plan_warnings"]
        return self.plan

    # --- steps

    def step(self, name, program, calls, silent=False):
        """One step on some nodes at once. What failed there is in what it returns; a gate looks at that."""
        if not calls:
            return {}
        self.tell(f"{name}: {', '.join(calls)}")
        done = self.nodes.call(program, {n: {**args, "diff": self.diff} for n, args in calls.items()}, self.test)
        if not silent:
            self.steps += [(name, n, done[n]) for n in calls]
        for n in calls:
            self.warnings += [f"{n}: {text}" for text in done[n].get("warnings") or []]
        return done

    def must(self, name, program, args, silent=False, changes=False):
        """A step on the primary, without which nothing goes on. `changes`: it will change something, though not yet."""
        primary = self.plan["primary"]
        done = self.step(name, program, {primary: args}, silent)
        if changes and self.test:
            done[primary]["changed"] = True
        self.gate(done)
        return done[primary]

    def gate(self, *steps):
        """Raises Stopped unless these steps went well on every node."""
        found = []
        for done in steps:
            for n, answer in done.items():
                why = self.use["og_cluster.why_unwell"](answer)
                if why:
                    found.append(f"{n}: {why}")
        if found:
            raise Stopped("\n".join(found))

    def ask_until(self, name, program, calls, not_yet):
        """A step, asked for again where its error says that it is not yet possible: a build of a killed run goes on."""
        done, waiting = {}, calls
        while waiting:
            done.update(self.step(name, program, waiting, silent=True))
            waiting = {n: calls[n] for n in waiting if not self.test and not_yet(done[n].get("error") or {})}
            if waiting:
                time.sleep(BUILD_INTERVAL)
        return done

    def edit(self, name, program, calls):
        """A step on the nodes' files, which nobody edits while a build that a killed run left replaces them."""
        done = self.ask_until(name, program, calls, lambda error: str(error.get("path") or "").endswith("gs_build.pid"))
        self.steps += [(name, n, answer) for n, answer in done.items()]
        return done

    def build(self, name, names, role):
        """Builds side by side; one that a killed run left running is waited for, and what it made is taken."""
        args = {"mode": self.options["og_build_mode"], "role": role, "force": self.options["og_build_force"]}
        at_once = self.options["og_build_parallel"] or len(names)
        built = {}
        for i in range(0, len(names), max(at_once, 1)):
            calls = {n: args for n in names[i : i + at_once]}
            built.update(self.ask_until(name, "og_build", calls, lambda error: error.get("kind") == "busy"))
        if self.test:
            # Before its channels are written a node has nothing to be built from; that it would be built is known.
            for n, answer in built.items():
                if answer.get("error"):
                    built[n] = {"changed": True, "msg": "would be built", "actions": [f"build it as {role.replace('_', ' ')}"]}
        self.steps += [(name, n, answer) for n, answer in built.items()]
        self.gate(built)
        return built

    # --- steps that the workflows share

    def lock(self):
        args = {
            "state": "held",
            "purpose": json.dumps(self.plan["purpose"]),
            "ttl": self.options["og_lock_ttl"],
            "force": self.options["og_lock_force"],
            "owner": self.nodes.owner,
        }
        primary = self.plan["primary"]

        def call(own):
            return self.step("Take the lock of the cluster", "og_lock", {primary: own}, silent=True)[primary]

        self.gate({primary: self.use["og_owner.take"](call, args)})
        if self.plan["restore_now"]:
            self.must("Put back what a killed run left changed", "og_guc", self.plan["restore_now"])

    def unlock(self):
        self.must("Release the lock of the cluster", "og_lock", {"state": "released", "owner": self.nodes.owner}, silent=True)

    def show(self, came=(), gone=()):
        """The cluster as a table, and the slots that serve nobody go."""
        self.tell("Look at the whole cluster")
        hosts = self.seen(LOOK_AFTER, [n for n in self.hosts if n not in gone])
        self.table = self.use["og_cluster.table"](hosts, gone)
        return self.use["og_cluster.idle_slots"](hosts, came)

    def slots(self, idle):
        # What fails here is found again by the next run; it is no reason to undo the workflow.
        calls = {n: {"state": "absent", "names": names, "if_active": "skip"} for n, names in idle.items()}
        for n, answer in self.step("Drop slots that serve nobody any more", "og_slot", calls).items():
            why = self.use["og_cluster.why_unwell"](answer)
            self.warnings += [f"{n}: {why}"] if why else []

    def write_static(self, names, nodes, roles):
        own = {"nodes": nodes, **({"roles": roles} if roles else {})}
        ids = self.plan["file_ids"]
        return {n: {**own, "local": ids[n]} for n in names}

    # --- what is told in the end

    def changes(self):
        """What was changed, or would be: each node's steps in order, as a diff where one was asked for, else what was done."""
        out = {}
        for name, n, answer in self.steps:
            if answer.get("changed"):
                out.setdefault(n, []).append({name: unified(answer) or answer.get("actions") or [answer.get("msg", "")]})
        return out

    def outcome(self, why=None):
        """What the runner returns."""
        changes = self.changes()
        out = {"changed": bool(changes), "failed": why is not None, "test": self.test, "changes": changes}
        if why is not None:
            out["msg"] = why
        if self.warnings:
            out["warnings"] = list(dict.fromkeys(self.warnings))
        if self.table:
            out["cluster"] = self.table
        return out


def run(workflow, targets, hosts, nodes, use, **how):
    """
    Runs ``expand``, ``drop`` or ``status`` and returns what it did

    An interruption (Ctrl-C, a signal) ends it where it is, as a kill would: the same call again takes up what is left.
    """
    try:
        one = Run(hosts, nodes, use, **how)
    except Stopped as e:
        return {"changed": False, "failed": True, "msg": str(e), "changes": {}}
    try:
        {"expand": _expand, "drop": _drop, "status": _status}[workflow](one, targets)
    except Stopped as e:
        return one.outcome(str(e))
    return one.outcome()


def _status(it, targets):
    it.show()


def _expand(it, targets):
    og = it.begin("expand", targets)
    it.lock()
    try:
        _expand_steps(it, og)
    except Exception as e:  # pylint: disable=broad-except
        # Whatever went wrong, the cluster must not be left between two states.
        raise Stopped(_failed_expand(it, og, e)) from e
    it.unlock()


def _expand_steps(it, og):
    fresh, new = og["fresh"], og["targets"]
    # A newcomer that runs as a single node would turn primary by a reload: what is written counts from its build on.
    reload = {n: "never" if n in fresh else "auto" for n in og["nodes"]}
    # A single node becomes primary as soon as it has a channel, and then each commit waits for the standbys named
    # here, of which none streams yet.
    if og["empty_sync"]:
        it.must("Let no commit wait for a standby that is not there yet", "og_guc", {"parameters": {SYNC_NAMES: ""}})
    # A build copies the primary's pg_hba.conf over the standby's own, so every node gets the rules of all.
    it.rules_done = it.edit(
        "Let all nodes in at all nodes", "og_hba", {n: {"rules": og["rules"][n], "reload": reload[n]} for n in og["nodes"]}
    )
    it.channels_done = it.edit(
        "Tell the nodes of each other",
        "og_replconninfo",
        {
            n: {"state": "exact" if n in fresh else "present", "local": og["locals"][n], "peers": og["peers"][n], "reload": reload[n]}
            for n in og["nodes"]
        },
    )
    names = it.edit("Give the new nodes their names", "og_guc", {n: {"parameters": og["own"][n], "reload": reload[n]} for n in new})
    it.gate(it.rules_done, it.channels_done, names)
    it.build("Build the standbys", og["new_standbys"], "standby")
    it.build("Build the cascade standbys", og["new_cascades"], "cascade_standby")
    if not it.test:
        waits = {
            n: {
                "wait": {
                    "role": "cascade_standby" if n in og["new_cascades"] else "standby",
                    "db_state": "normal",
                    "max_lag_bytes": it.options["og_max_lag_bytes"],
                },
                "timeout": it.options["og_wait_timeout"],
            }
            for n in new
        }
        it.gate(it.step("Wait until the new nodes have caught up", "og_node_state", waits))
    if og["put_back_sync"]:
        it.must("Put synchronous_standby_names back", "og_guc", og["put_back_sync"], changes=og["empty_sync"])
    if og["sync_add"]:
        edit = {"method": it.options["og_sync_standbys"], "num": it.options["og_sync_num"], "add": og["sync_add"]}
        # In check mode they do not stream yet.
        own = {"synchronous_standbys": edit, "force": it.test}
        it.must("Add the new standbys to synchronous_standby_names", "og_guc", own)
    it.static_done = True
    it.gate(
        it.step(
            "Write down who belongs to the cluster", "og_static_conf", it.write_static(og["nodes"], og["static"], og["roles"])
        )
    )
    it.slots(it.show(came=new))


def _failed_expand(it, og, error):
    """Takes back what the run brought, releases the lock, and says why it failed."""
    why = str(error) if isinstance(error, Stopped) else f"{type(error).__name__}: {error}"
    if it.options["og_rollback"] and not it.test:
        well = _take_back(it, og)
        why += f" ({'what' if well else 'not all that'} this run brought was taken away again{'' if well else ', see warnings'})"
    else:
        why += " (nothing was rolled back)"
    if og["empty_sync"] and not it.test:
        before = "'*'" if og["sync_before"] in (None, "") else og["sync_before"]
        why += f", {SYNC_NAMES} of {og['primary']} stays empty, it was {before}"
    return _ended(it, why)


def _ended(it, why):
    """Releases the lock of a run that failed; says so when that fails too."""
    try:
        it.unlock()
    except Exception as e:  # pylint: disable=broad-except
        return f"{why}; and the lock was not released: {e}"
    return why


def _take_back(it, og):
    """Each step is done whatever became of the one before; returns whether all went well."""
    names = [og["app_names"][n] for n in og["fresh"]]
    members = og["members"]
    added = {n: it.use["og_cluster.peers_added"](it.channels_done.get(n)) for n in members}
    rules = {n: it.use["og_cluster.rules_of"](it.rules_done.get(n, {}).get("added")) for n in members}
    fresh = bool(og["fresh"])
    edit = {"synchronous_standbys": {"method": "keep", "num": "keep", "remove": names}, "force": True}
    static = it.write_static(members, og["static_before"], og["roles_before"]) if it.static_done else {}
    well = True
    for name, program, calls in (
        ("Let no commit wait for a new node", "og_guc", {og["primary"]: edit} if fresh else {}),
        ("Stop the new nodes", "og_node_state", {n: {"state": "stopped", "stop_mode": "fast"} for n in og["fresh"]}),
        (
            "Take the new channels away",
            "og_replconninfo",
            # Also the last one, of a primary that was a single node before, from a new node that could not be stopped.
            {n: {"state": "absent", "local": og["locals"][n], "peers": peers, "force": True} for n, peers in added.items() if peers},
        ),
        ("Take the new rules away", "og_hba", {n: {"state": "absent", "rules": own} for n, own in rules.items() if own}),
        (
            "Drop the slots of the new nodes",
            "og_slot",
            {n: {"state": "absent", "names": names, "if_active": "wait"} for n in members if fresh},
        ),
        ("Write down who belongs to the cluster now", "og_static_conf", static),
    ):
        try:
            it.gate(it.step(name, program, calls))
        except Exception as e:  # pylint: disable=broad-except
            well = False
            it.warnings.append(f"{name}: {e}")
    return well


def _drop(it, targets):
    og = it.begin("drop", targets)
    it.lock()
    why = None
    try:
        _drop_steps(it, og)
    except Exception as e:  # pylint: disable=broad-except
        why = str(e) if isinstance(e, Stopped) else f"{type(e).__name__}: {e}"
    # Before the lock goes: as long as it stands, the next run finds in it what is still to be put back.
    if og["restore_after"]:
        try:
            it.must("Let commits wait for their standbys again", "og_guc", og["restore_after"], changes=True)
        except Exception as e:  # pylint: disable=broad-except
            # The lock stays: it says what is to be put back.
            raise Stopped("; ".join(filter(None, [why, f"most_available_sync was not put back, run this again: {e}"]))) from e
    if why:
        raise Stopped(_ended(it, why))
    it.unlock()


def _drop_steps(it, og):
    remaining = og["remaining"]
    # First of all, so that no commit ever waits for a node that is about to go. In the same reload, where asked for, commits
    # are let go on without a standby for the moment in which the channels go.
    off = {} if og["last"] else {"synchronous_standbys": {"method": "keep", "num": "keep", "remove": og["names_gone"]}}
    given = {n: {"parameters": og["commits"][n]} if n in og["commits"] else {} for n in remaining}
    names = it.step("Take them off synchronous_standby_names", "og_guc", {n: {**given[n], **off} for n in remaining})
    it.gate(names)
    stopped = it.step("Stop them", "og_node_state", {n: {"state": "stopped", "stop_mode": "fast"} for n in og["stop"]})
    # On all nodes at the same moment: each ends its replication connections once, and whoever reconnects finds nobody
    # who still names the dropped node.
    channels = it.step(
        "Take their channels away",
        "og_replconninfo",
        # That the last standby goes is what is asked for, also when it cannot be reached and seems to stream still.
        {n: {"state": "absent", "local": og["locals"][n], "peers": og["cut"], "force": og["last"]} for n in remaining},
    )
    rules = it.step(
        "Take their rules away", "og_hba", {n: {"state": "absent", "rules": og["rules"]} for n in remaining if og["rules"]}
    )
    # Without that the log they have not received fills the disk.
    slots = it.step(
        "Drop their slots",
        "og_slot",
        {n: {"state": "absent", "names": og["names_gone"], "if_active": "wait"} for n in remaining},
    )
    static = it.step(
        "Write down who belongs to the cluster", "og_static_conf", it.write_static(remaining, og["static"], og["roles"])
    )
    it.gate(channels, rules, slots, static)
    cleared = {}
    if it.options["og_drop_clear"]:
        cleared = it.step(
            "Clear them",
            "og_replconninfo",
            {n: {"state": "exact", "local": og["locals"][n], "peers": [], "reload": "never"} for n in og["stop"]},
        )
    it.gate(stopped, cleared)
    if og["cuts"] and not it.test:
        wait = {"wait": {"db_state": "normal"}, "timeout": it.options["og_wait_timeout"]}
        it.gate(it.step("Wait until the remaining standbys stream", "og_node_state", {n: wait for n in og["standbys"]}))
    it.slots(it.show(gone=og["targets"]))
