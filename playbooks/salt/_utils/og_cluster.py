# Copied by `cargo xtask docs` from playbooks/ansible_collections/opengauss/node/plugins/plugin_utils/og_cluster.py; change it there.
"""What the workflows decide: pure functions from what was seen on the nodes to findings and a plan."""

from __future__ import annotations

import ipaddress
import json

MOST_STANDBYS = 8
INSTANCE_BASE = 6000
BASE_PORT = 26000
BUSY_STATES = ("promoting", "wait_promoting", "demoting", "building", "starting")
# What a workflow changes for a while, and what a later one puts back at once when it finds it in a lock left behind.
# synchronous_standby_names is not among them: put back before a standby streams it would hang every commit.
RESTORED_AT_ONCE = ("most_available_sync",)
SYNC_NAMES = "synchronous_standby_names"


def names_in(value):
    """`n3,n4` or a list, as a list without blanks and repetitions."""
    parts = value.split(",") if isinstance(value, str) else list(value or [])
    out = []
    for part in (str(p).strip() for p in parts):
        if part and part not in out:
            out.append(part)
    return out


def canonical(host):
    """An address as a value, so that it compares equal however it is written; a name in lower case."""
    text = str(host).strip().strip("[]")
    try:
        return ipaddress.ip_address(text.split("/")[0]).compressed
    except ValueError:
        return text.lower()


class Node:
    """One host of the inventory and what was seen there."""

    def __init__(self, name, hostvars, seen=None):
        self.name = name
        self.problems = []
        self.seen = seen if isinstance(seen, dict) else None
        get = hostvars.get
        self.data_dir = get("data_dir")
        self.gauss_home = get("gauss_home")
        self.address = str(get("address") or get("ansible_host") or name)
        self.role = str(get("role") or "standby").lower().replace(" ", "_")
        self.zone = str(get("zone") or "AZ1")
        self.hostname = str(get("hostname") or name)
        self.base_port = self._number(get("base_port"), "base_port", BASE_PORT)
        self.id = self._number(get("id"), "id", None)
        if self.id is None and not self.problems:
            self.problems.append(f"{name}: the inventory gives it no id (a number from 1; its application_name is dn_{{6000+id}})")
        self.app_name = str(get("application_name") or f"dn_{INSTANCE_BASE + (self.id or 0)}")
        self.os_user = (self.seen or {}).get("os_user") or get("os_user")
        # A node that stands ready, and is not in the cluster.
        self.role = "standby" if self.role == "spare" else self.role
        if self.role not in ("primary", "standby", "cascade_standby"):
            self.problems.append(f"{name}: role {self.role} in the inventory is none of primary, standby, cascade_standby")

    def _number(self, value, key, default):
        try:
            return default if value in (None, "") else int(value)
        except (TypeError, ValueError):
            self.problems.append(f"{self.name}: {key} in the inventory is {value!r}, not a number")
            return default

    @property
    def reachable(self):
        # Over a connection that was opened before the host went away, an answer may simply never come.
        return self.seen is not None and not self.seen.get("unreachable") and "timedout" not in self.seen

    def answer(self, program):
        """What the program said; empty when it was not asked or the node cannot be reached."""
        return (self.seen or {}).get(program) or {}

    @property
    def state(self):
        return self.answer("og_node_state").get("node") or {}

    @property
    def running(self):
        return bool(self.state.get("running"))

    @property
    def live_role(self):
        return self.state.get("role") if self.running else None

    @property
    def streams(self):
        """Whether it runs and receives from another server."""
        return self.running and bool(self.state.get("receiver")) and self.live_role in ("standby", "cascade_standby")

    @property
    def key(self):
        """Its replication address as the channels name it."""
        return canonical(self.address), self.base_port + 1

    def channels(self):
        """Replication channels as the file has them."""
        return self.answer("og_replconninfo").get("channels") or []

    def peers(self):
        """(host, port) of every peer it has a channel to."""
        return [(canonical(p["host"]), int(p["port"])) for p in map(peer_of, self.channels()) if p]

    def parameter(self, name):
        """A parameter's value in postgresql.conf; None when the file does not set it or was not read."""
        return (self.answer("og_guc").get("after") or {}).get(name)

    def channel(self, cascade=None):
        """As og_replconninfo takes a peer."""
        peer = {"host": self.address, "base_port": self.base_port}
        if self.becomes_cascade if cascade is None else cascade:
            peer["cascade"] = True
        return peer

    @property
    def instance_id(self):
        """The number in its application_name, which openGauss's tools take for the instance."""
        number = self.app_name.rpartition("_")[2]
        return int(number) if number.isdigit() else INSTANCE_BASE + (self.id or 0)

    @property
    def becomes_cascade(self):
        """Whether it is, or is to be, a cascade standby: what runs counts before what is planned."""
        if self.live_role in ("primary", "standby", "cascade_standby"):
            return self.live_role == "cascade_standby"
        return self.role == "cascade_standby"

    def rule(self, method):
        """The line of pg_hba.conf by which this node is let in."""
        address = canonical(self.address)
        try:
            address += "/32" if ipaddress.ip_address(address).version == 4 else "/128"
        except ValueError:
            pass
        return {"type": "host", "databases": ["all"], "users": [self.os_user], "address": address, "method": method}


def peer_of(channel):
    """The far end of a channel, however the program names it."""
    peer = channel.get("remote") or channel
    return peer if isinstance(peer, dict) and peer.get("host") and peer.get("port") else None


def error_of(answer):
    """What a failed answer says, with what to do; None when it did not fail."""
    if not answer.get("failed"):
        return None
    error = answer.get("error") or {}
    text = str(error.get("detail") or answer.get("msg") or "failed without a word")
    return f"{text}; {error['hint']}" if error.get("hint") and error["hint"] not in text else text


class Cluster:
    """The nodes of the inventory sorted by what they are now."""

    def __init__(self, hosts, targets, adding):
        self.findings = []
        self.warnings = []
        self.nodes = {name: Node(name, h.get("vars") or {}, h.get("seen")) for name, h in hosts.items()}
        self.targets = []
        word = "og_add" if adding else "og_drop"
        if not targets:
            self.findings.append(f"{word} is not given: name the nodes, such as -e {word}=n3,n4")
        for name in targets:
            if name in self.nodes:
                self.targets.append(self.nodes[name])
            else:
                known = ", ".join(self.nodes)
                self.findings.append(f"{word}: {name} is no host of the inventory (it has {known})")
        self.adding = adding
        self.primary = None
        self.members = []
        if not targets:
            return
        self.primary = self._primary()
        self.members = self._members() if self.primary else []
        for n in self.nodes.values():
            # A node that was not seen has the user that all of them have.
            n.os_user = n.os_user or (self.primary and self.primary.os_user) or "omm"

    def _primary(self):
        out = [n for n in self.targets] if self.adding else []
        others = [n for n in self.nodes.values() if n not in out and n.running]
        found = [n for n in others if n.live_role == "primary"]
        if not found:
            single = [n for n in others if n.live_role == "normal"]
            found = [n for n in single if n.role == "primary"] or single
        if self.adding:
            for n in self.targets:
                if n.live_role == "primary":
                    self.findings.append(
                        f"{n.name} is to be added, but its server runs as primary: "
                        + ("it is the primary of this cluster already" if not found else "a second primary must be looked at by a person")
                    )
        if len(found) > 1:
            names = " and ".join(n.name for n in found)
            if found[0].live_role == "normal":
                self.findings.append(f"no primary runs, and {names} run as single nodes; which of them is the cluster is not known")
                return None
            self.findings.append(f"more than one primary: {names} run as primary; stop the wrong one first")
            return None
        if not found:
            looked = ", ".join(f"{n.name} {self._in_words(n)}" for n in self.nodes.values() if n not in out) or "no other node"
            self.findings.append(f"no primary runs ({looked})")
            return None
        return found[0]

    @staticmethod
    def _in_words(node):
        if not node.reachable:
            return "unreachable"
        return str(node.live_role or "not running").replace("_", " ")

    def _members(self):
        """The primary and every node it has a channel to, targets aside."""
        keys = set(self.primary.peers())
        known = {n.key for n in self.nodes.values()}
        for host, port in sorted(keys - known):
            self.findings_or_warnings(
                f"{self.primary.name} has a replication channel to {host}:{port}, which is no host of the inventory's group opengauss; add it there"
            )
        return [
            n
            for n in self.nodes.values()
            if n not in self.targets and (n is self.primary or n.key in keys or n.streams)
        ]

    def findings_or_warnings(self, text):
        """A cluster is not expanded by half its inventory; taking a node away does not need the whole of it."""
        (self.findings if self.adding else self.warnings).append(text)

    def check(self):
        """Findings that both workflows share."""
        involved = self.members + self.targets
        for n in involved:
            self.findings.extend(n.problems)
        self._unique("id", lambda n: n.id, involved)
        self._unique("address and port", lambda n: f"{canonical(n.address)}:{n.base_port}", involved)
        if len({n.id for n in involved}) == len(involved):
            self._unique("application_name", lambda n: n.app_name, involved)
        for n in self.members:
            self._member(n)

    def _member(self, n):
        if n.seen is None:
            self.findings.append(f"{n.name}: was not looked at; run without --limit")
            return
        if not n.reachable:
            self.findings.append(f"{n.name}: cannot be reached: {n.seen.get('msg', '').strip() or 'no answer'}")
            return
        self._answers(n)
        if n.answer("og_node_state").get("failed"):
            return
        if not n.running:
            self.findings.append(f"{n.name}: its server is down; start it, or drop it too")
        elif n.state.get("db_state") in BUSY_STATES:
            self.findings.append(f"{n.name}: is {n.state['db_state'].replace('_', ' ')}; wait until that is over")
        elif n.state.get("db_state") not in ("normal", None) and n is not self.primary:
            self.warnings.append(
                f"{n.name}: {n.state['db_state'].replace('_', ' ')} ({n.state.get('detail') or 'no reason given'})"
            )
        live = n.parameter("application_name")
        if live and live != n.app_name and n is not self.primary:
            self.findings.append(
                f"{n.name}: its application_name is {live}, by its id in the inventory it would be {n.app_name}; "
                f"correct the id, or set the host variable application_name"
            )

    def _answers(self, n):
        """What the programs could not read."""
        if n.seen.get("failed"):
            self.findings.append(f"{n.name}: {n.seen.get('msg', 'could not be looked at')}")
            return
        said = set()
        for program, answer in n.seen.items():
            text = error_of(answer) if isinstance(answer, dict) and program.startswith("og_") else None
            if text and text not in said:
                said.add(text)
                self.findings.append(f"{n.name}: {text}")
        for line in n.answer("og_hba").get("errors") or []:
            self.findings.append(
                f"{n.name}: line {line.get('line')} of pg_hba.conf: {line.get('message')}; for that line the server refuses the whole file"
            )

    def _unique(self, what, key, nodes):
        seen = {}
        for n in nodes:
            seen.setdefault(key(n), []).append(n.name)
        for value, names in seen.items():
            if value is not None and len(names) > 1:
                self.findings.append(f"{' and '.join(names)} have the same {what} {value} in the inventory")

    def standbys(self, nodes):
        """Those that stream from the primary itself."""
        return [n for n in nodes if n is not self.primary and not n.becomes_cascade]

    def restore(self):
        """What a workflow that was killed left to be put back, from the lock on the primary."""
        return purpose_of(self.lock()).get("restore") or {}

    def lock(self):
        """The lock on the primary as it is recorded there, whether it still counts or not."""
        lock = self.primary.answer("og_lock") if self.primary else {}
        return lock.get("lock") or lock.get("previous") or {}


def purpose_of(record):
    """The purpose of a lock as the workflows write it; empty for any other lock."""
    try:
        value = json.loads((record or {}).get("purpose") or "")
    except (TypeError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def put_back(values):
    """How og_guc is called to bring these parameters back; None is a parameter that the file did not set."""
    if not values:
        return {}
    state = "absent" if None in values.values() else "present"
    return {"state": state, "parameters": {k: "" if v is None else v for k, v in values.items()}}


def role_now(cluster, n):
    """Its role as the cluster's files are to have it."""
    return "primary" if n is cluster.primary else ("cascade_standby" if n.becomes_cascade else "standby")


def recorded(cluster):
    """The nodes of the primary's static config by id; they have what the inventory does not know, such as host names."""
    nodes = cluster.primary.answer("og_static_conf").get("nodes") or []
    return {r["id"]: r for r in nodes if r.get("id") is not None}


def static_nodes(cluster, nodes):
    """The nodes as og_static_conf takes them: as they are recorded, in their present roles; new ones by the inventory."""
    known = recorded(cluster)
    out = []
    for n in sorted(nodes, key=lambda n: n.id or 0):
        record = dict(known.get(n.id) or {})
        if not record:
            record = {
                "name": n.hostname,
                "id": n.id,
                "instance_id": n.instance_id,
                "address": n.address,
                "base_port": n.base_port,
                "data_dir": n.data_dir,
                "zone": n.zone,
            }
        if not record.get("data_nodes"):
            record["role"] = role_now(cluster, n)
        out.append(record)
    return out


def live_roles(cluster, nodes):
    """The roles for cluster_dynamic_config where the cluster has one; a stale one would start two primaries."""
    if not any(n.answer("og_static_conf").get("roles") for n in nodes):
        return {}
    known = recorded(cluster)
    return {(known.get(n.id) or {}).get("name") or n.hostname: role_now(cluster, n) for n in nodes}


def refusal(plan, is_over):
    """Why the workflow must not begin, every finding on a line of its own; None when nothing stands against it.

    `is_over(owner)` tells whether the owner of a lock is a run that is no more.
    """
    findings = list(plan["findings"])
    if not findings:
        return None
    lock = plan["lock"]
    if lock.get("owner") and not is_over(lock["owner"]):
        # What looks wrong is most likely what that run is doing.
        what = purpose_of(lock).get("what") or lock.get("purpose") or "something"
        findings.append(f"another run is at work, or has ended without a trace: {what}, by {lock['owner']}")
    count = len(findings)
    return f"{count} finding{'s' if count > 1 else ''}; nothing was changed:\n" + "\n".join(f"- {text}" for text in findings)


def rules_of(added):
    """The rules of og_hba's result as og_hba takes them, without their line numbers."""
    return [r.get("rule", r) if isinstance(r, dict) else r for r in added or []]


def peers_added(done):
    """The other ends of the channels that a call of og_replconninfo added."""
    added = set((done or {}).get("added") or [])
    ends = [peer_of(c) for c in (done or {}).get("channels") or [] if c.get("number") in added]
    return [{"host": e["host"], "port": e["port"]} for e in ends if e]


def why_unwell(seen):
    """What keeps a workflow from going on after a step that one node answered so; None when nothing does."""
    if seen.get("unreachable"):
        return f"cannot be reached any more: {str(seen.get('msg', '')).strip()}"
    return error_of(seen)


def result(cluster, plan):
    """The plan as the action returns it."""
    out = {
        "findings": cluster.findings,
        "plan_warnings": cluster.warnings,
        "primary": cluster.primary.name if cluster.primary else None,
        "members": [n.name for n in cluster.members],
        "targets": [n.name for n in cluster.targets],
        "lock": (cluster.primary.answer("og_lock").get("lock") if cluster.primary else None) or {},
        "file_ids": {n.name: str(n.id) for n in cluster.nodes.values()},
        "locals": {n.name: n.channel(cascade=False) for n in cluster.nodes.values()},
    }
    out.update(plan if not cluster.findings else {})
    return out


def expand(hosts, targets, options=None):
    """Findings and plan of adding `targets`.

    `hosts`: name to {vars, seen}, seen being what og_query returned. `options`: sync_standbys, hba_method, build_force.
    """
    options = options or {}
    c = Cluster(hosts, names_in(targets), adding=True)
    c.check()
    for n in c.targets:
        _newcomer(c, n, str(options.get("build_force")).lower() in ("true", "yes", "1", "on"))
    if not c.primary:
        return result(c, {})
    nodes = c.members + c.targets
    if len(nodes) - 1 > MOST_STANDBYS:
        c.findings.append(f"there would be {len(nodes) - 1} standbys; openGauss serves {MOST_STANDBYS}")
    if any(n.becomes_cascade for n in c.targets) and not c.standbys(nodes):
        cascades = ", ".join(n.name for n in c.targets if n.becomes_cascade)
        c.findings.append(f"{cascades}: a cascade standby needs a standby to hang on, and there would be none")
    mode = options.get("sync_standbys") or "keep"
    if mode not in ("keep", "none", "any", "first"):
        c.findings.append(f"og_sync_standbys is {mode}; it may be keep, none, any or first")

    # A primary without standbys hangs every commit as soon as it has a channel, so the names wait until one streams.
    alone = not any(n.streams and not n.becomes_cascade for n in nodes if n is not c.primary)
    left = c.restore()
    now = c.primary.parameter(SYNC_NAMES)
    # initdb leaves the line commented, and the server's own default is every standby.
    before = left[SYNC_NAMES] if SYNC_NAMES in left else now
    empty = alone and now != ""
    wanted = {n.name: n for n in c.targets if not n.becomes_cascade}
    restore = {k: v for k, v in left.items() if k in RESTORED_AT_ONCE}
    if empty or SYNC_NAMES in left:
        restore[SYNC_NAMES] = before
    fresh = [n for n in c.targets if not n.streams]
    own = {}
    for n in c.targets:
        own[n.name] = {"application_name": n.app_name, "available_zone": n.zone}
        if n in fresh and before is not None:
            own[n.name][SYNC_NAMES] = before if mode != "none" else ""
    return result(
        c,
        {
            "new_standbys": [n.name for n in c.targets if not n.becomes_cascade],
            "new_cascades": [n.name for n in c.targets if n.becomes_cascade],
            "nodes": [n.name for n in nodes],
            "fresh": [n.name for n in fresh],
            "app_names": {n.name: n.app_name for n in nodes},
            "empty_sync": empty,
            "sync_add": sorted(n.app_name for n in wanted.values()) if mode in ("any", "first") else [],
            "put_back_sync": put_back({SYNC_NAMES: before}) if SYNC_NAMES in restore and mode == "keep" else {},
            "sync_before": before,
            "rules": {n.name: _rules(c, n, nodes, options.get("hba_method") or "trust") for n in nodes},
            "peers": {n.name: [p.channel() for p in _peers(c, n, nodes)] for n in nodes},
            "own": own,
            "static": static_nodes(c, nodes),
            "static_before": static_nodes(c, c.members),
            "roles": live_roles(c, nodes),
            "roles_before": live_roles(c, c.members),
            "restore_now": put_back({k: v for k, v in left.items() if k in RESTORED_AT_ONCE}),
            "purpose": {"what": "expand " + ",".join(n.name for n in c.targets), "restore": restore},
        },
    )


def _rules(c, at, nodes, method):
    """The rules that let all nodes in at one of them; a rule that is there with another method is left to who wrote it."""
    there = {}
    for entry in at.answer("og_hba").get("rules") or []:
        rule = entry.get("rule") or {}
        if rule.get("type") == "host" and not rule.get("netmask"):
            there[_identity(rule)] = rule.get("method")
    out = []
    for n in sorted(nodes, key=lambda n: n.id or 0):
        rule = n.rule(method)
        present = there.get(_identity(rule), method)
        if present == method or at not in c.members:
            out.append(rule)
        else:
            c.warnings.append(
                f"{at.name}: pg_hba.conf has `host all {n.os_user} {rule['address']}` with {present} instead of {method}; left as it is"
            )
    return out


def _identity(rule):
    """What makes two rules of type host the same, their method aside."""
    address, _, bits = str(rule.get("address")).partition("/")
    return (frozenset(rule.get("databases") or ()), frozenset(rule.get("users") or ()), canonical(address), bits)


def _peers(c, n, nodes):
    """A newcomer gets everybody; a member only what is new, for any other change would cut those who stream from it."""
    among = nodes if n in c.targets else c.targets
    return sorted((p for p in among if p is not n), key=lambda p: (p is not c.primary, p.id or 0))


def _newcomer(c, n, force):
    if n.seen is None:
        c.findings.append(f"{n.name}: was not looked at; run without --limit")
        return
    if not n.reachable:
        c.findings.append(f"{n.name}: cannot be reached: {n.seen.get('msg', '').strip() or 'no answer'}")
        return
    c._answers(n)
    if n.role == "primary":
        c.findings.append(f"{n.name} is to be added, but its role in the inventory is primary; make it standby or cascade_standby")
    if n.live_role in ("promoting", "demoting") or n.state.get("db_state") in ("promoting", "wait_promoting", "demoting"):
        c.findings.append(f"{n.name}: is {n.state['db_state'].replace('_', ' ')}; wait until that is over")
    elif n.streams and n.live_role != n.role and n.role != "primary":
        c.findings.append(
            f"{n.name}: already runs as {n.live_role.replace('_', ' ')}, the inventory says {n.role.replace('_', ' ')}; "
            f"correct the inventory, or drop it first"
        )
    elif n.state.get("role") in ("normal", "primary") and n.live_role != "primary" and not force:
        what = "runs" if n.running else "last ran"
        role = "single server" if n.state["role"] == "normal" else "primary"
        c.findings.append(
            f"{n.name}: {what} as a {role}, and a build deletes what it holds; og_build_force=true overrides, when all of it may go"
        )


def drop(hosts, targets, options=None):
    """Findings and plan of taking `targets` away.

    `options`: commits (`protected` or `available`), clear.
    """
    options = options or {}
    c = Cluster(hosts, names_in(targets), adding=False)
    commits = options.get("commits") or "protected"
    if commits not in ("protected", "available"):
        c.findings.append(f"og_drop_commits is {commits}; it may be protected or available")
    for n in c.targets:
        if n is c.primary or n.live_role == "primary":
            c.findings.append(f"{n.name} is the primary, and a primary is not dropped; switch over to another node first")
        elif n.live_role == "normal":
            c.findings.append(f"{n.name} runs as a single node of its own; stop it yourself if that is meant")
        elif n.state.get("db_state") in ("promoting", "wait_promoting", "demoting"):
            c.findings.append(f"{n.name}: is {n.state['db_state'].replace('_', ' ')}; wait until that is over")
        if n.seen is None:
            c.findings.append(f"{n.name}: was not looked at; run without --limit")
        elif not n.reachable:
            c.warnings.append(f"{n.name} cannot be reached and is not stopped; run this again when it is back")
        elif error_of(n.answer("og_node_state")):
            c.warnings.append(f"{n.name}: {error_of(n.answer('og_node_state'))}")
    c.check()
    if not c.primary:
        return result(c, {})
    stay = c.standbys(c.members)
    cascades = [n for n in c.members if n is not c.primary and n.becomes_cascade]
    if cascades and not stay:
        names = ", ".join(n.name for n in cascades)
        c.findings.append(f"{names}: a cascade standby would have no standby left to hang on; drop it too")

    gone = [n.app_name for n in c.targets]
    keys = {n.key for n in c.targets}
    left = c.restore()
    most = left["most_available_sync"] if "most_available_sync" in left else c.primary.parameter("most_available_sync")
    cuts = any(keys & set(n.peers()) for n in c.members)
    available = commits == "available" and cuts and bool(stay) and most != "on"
    restore = {"most_available_sync": most} if available else {}
    addresses = {canonical(n.address) for n in c.members}
    rules = [
        {k: v for k, v in n.rule("trust").items() if k != "method"}
        for n in c.targets
        if canonical(n.address) not in addresses
    ]
    return result(
        c,
        {
            "remaining": [n.name for n in c.members],
            "last": not stay,
            "commits": commits_go_on(c, emptied=not stay, available=available),
            "names_gone": gone,
            "stop": [n.name for n in c.targets if n.reachable and not error_of(n.answer("og_node_state"))],
            "cut": [n.channel(cascade=False) for n in c.targets],
            "cuts": cuts,
            "rules": rules,
            "standbys": [n.name for n in c.members if n is not c.primary],
            "static": static_nodes(c, c.members),
            "roles": live_roles(c, c.members),
            "restore_now": put_back({k: v for k, v in left.items() if k in RESTORED_AT_ONCE}),
            "restore_after": put_back(restore),
            "purpose": {"what": "drop " + ",".join(n.name for n in c.targets), "restore": {**left, **restore}},
        },
    )


def commits_go_on(c, emptied, available):
    """The parameters by which no commit waits for a node that goes, for each node that needs some."""
    if emptied:
        return {n.name: {SYNC_NAMES: ""} for n in c.members}
    return {c.primary.name: {"most_available_sync": "on"}} if available else {}


def status(hosts):
    """What the status workflow needs: nothing is wrong enough to end it."""
    c = Cluster(hosts, list(hosts), adding=False)
    c.findings.clear()
    c.warnings.clear()
    return result(c, {})


def idle_slots(hosts, new=()):
    """Slots that serve nobody, by node: they hold back log until the disk is full.

    openGauss makes a slot wherever a standby connects and never takes it away. So a cascade standby that changed its
    upstream leaves one behind; a node that is built anew may bring old ones along. The slot of a node that does not
    stream at this moment is left: it keeps what that node will want.
    """
    nodes = [Node(name, h.get("vars") or {}, h.get("seen")) for name, h in hosts.items()]
    upstream = {n.app_name: (n.state["receiver"].get("peer") or {}).get("host") for n in nodes if n.streams}
    out = {}
    for n in nodes:
        idle = [s["name"] for s in n.state.get("slots") or [] if not s.get("active") and s.get("type") == "physical"]
        useless = [
            name
            for name in idle
            if name == n.app_name or n.name in new or (upstream.get(name) and canonical(upstream[name]) != canonical(n.address))
        ]
        if useless:
            out[n.name] = useless
    return out


def lag_in_words(n):
    """Bytes as people write them."""
    if n is None:
        return "-"
    size = float(n)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


def table(hosts, leave_out=()):
    """The cluster as lines of a table."""
    nodes = [Node(name, h.get("vars") or {}, h.get("seen")) for name, h in hosts.items() if name not in leave_out]
    sent = {}
    for n in nodes:
        for s in n.state.get("senders") or []:
            host = (s.get("peer") or {}).get("host")
            if host:
                sent.setdefault(canonical(host), s)
    rows = [("NODE", "ADDRESS", "ROLE", "STATE", "SYNC", "LAG")]
    for n in sorted(nodes, key=lambda n: n.id or 0):
        sender = sent.get(canonical(n.address), {}) if n.streams else {}
        state = str(n.state.get("db_state") or "unknown").replace("_", " ")
        if not n.reachable:
            state = "unreachable"
        elif error_of(n.answer("og_node_state")):
            state = "unknown"
        elif not n.running:
            state = "down"
        elif state == "need repair" and n.state.get("detail"):
            state = f"{state} ({n.state['detail'].splitlines()[0][:40]})"
        role = n.live_role or (n.role if n.reachable else "?")
        lag = sender.get("lag_bytes")
        rows.append(
            (
                n.name,
                f"{n.address}:{n.base_port}",
                str(role).replace("_", " "),
                state,
                str(sender.get("sync_state") or "-"),
                lag_in_words(lag),
            )
        )
    widths = [max(len(r[i]) for r in rows) for i in range(len(rows[0]))]
    return ["  ".join(cell.ljust(w) for cell, w in zip(row, widths)).rstrip() for row in rows]
