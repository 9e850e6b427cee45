"""og_workflow beside what plans and runs the workflows for Ansible and Salt: the same calls in the same order, whatever was seen and answered."""

import json
import os
import random
import subprocess

import pytest
from test_salt_workflows import MODULES, USE, workflow

DEAD, ALIVE, ELSEWHERE = "dba@here pid 4711 start 99", "dba@here pid 1 start 5", "dba@elsewhere"
ME = "me@here pid 12 start 34"
# OG_CASES=5000 for a longer look.
CASES = int(os.environ.get("OG_CASES", "160"))
CHUNKS = 4
workflow.BUILD_INTERVAL = 0


class Case:
    """A cluster made at random, and what its programs answer; both sides get the same answer to the same call."""

    def __init__(self, seed):
        self.seed, rnd = seed, random.Random(seed)
        # Every other cluster is well, so that the steps are come to.
        self.odd = (lambda p: rnd.random() < 0.6 * p) if seed // CHUNKS % 2 else (lambda p: False)
        members = rnd.choice([1, 2, 3, 3, 4])
        self.names = [f"n{i}" for i in range(1, members + rnd.choice([1, 2, 2, 3]))]
        self.primary = "n2" if members > 1 and self.odd(0.2) else "n1"
        self.workflow = rnd.choice(["expand", "drop"])
        new = self.names[members:]
        pool = new if self.workflow == "expand" and new else [n for n in self.names if n != self.primary] or self.names
        self.targets = rnd.sample(pool, rnd.randint(1, len(pool)))
        if self.odd(0.1):
            self.targets.append(rnd.choice(self.names + ["n99"]))
        self.targets = list(dict.fromkeys(self.targets))
        self.test, self.calls = rnd.random() < 0.25, {}
        self.options = {
            key: rnd.choice(values)
            for key, values in {
                "og_sync_standbys": ["keep", "keep", "none", "any", "first"],
                "og_hba_method": ["trust", "sha256"],
                "og_build_parallel": [0, 1, 2],
                "og_rollback": [True, True, False],
                "og_drop_commits": ["protected", "available"],
                "og_drop_clear": [False, True],
                "og_build_force": [False, False, True],
            }.items()
        }
        self.hosts = {n: self.variables(rnd, n, n in new) for n in self.names}
        self.seen = {n: self.look(rnd, n, members, n in new) for n in self.names}

    def variables(self, rnd, name, new):
        number = int(name[1:])
        own = {"id": number, "address": f"10.0.0.{number}", "data_dir": "/d", "role": rnd.choice(["standby", "standby", "cascade_standby"]) if number > 2 else "standby"}
        if name == self.primary:
            own["role"] = "primary"
        if self.odd(0.05):
            own["id"] = rnd.choice([1, None, 3])
        if self.odd(0.05):
            own["address"] = "10.0.0.2"
        if self.odd(0.1):
            own.update(rnd.choice([{"base_port": 26100}, {"base_port": "27000"}, {"zone": "AZ2", "hostname": f"og{number}"}, {"application_name": f"x_{number}"}, {"role": "Cascade Standby"}, {"role": "primary"}]))
        return own

    def look(self, rnd, name, members, new):
        if self.odd(0.05):
            return None
        number = int(name[1:])
        followers = [n for n in self.names[:members] if n != self.primary]
        role = "primary" if name == self.primary and members > 1 else "normal" if name == self.primary else "unknown" if new else self.hosts[name]["role"].lower().replace(" ", "_")
        running = not new and not self.odd(0.05)
        if self.odd(0.08):
            role, running = rnd.choice(["primary", "normal", "standby", "cascade_standby", "pending"]), rnd.random() < 0.7
        state = {"running": running, "role": role, "db_state": "normal" if running else rnd.choice(["unknown", None]), "detail": None, "senders": [], "receiver": None}
        if self.odd(0.1):
            state.update(db_state=rnd.choice(["need_repair", "starting", "promoting", "wait_promoting", "building", "catchup"]), detail=rnd.choice([None, "Disconnected", "x" * 60 + "\ny"]))
        if role.endswith("standby") and running and not self.odd(0.1):
            state["receiver"] = {"peer": rnd.choice([None, {"host": f"10.0.0.{rnd.randint(1, 3)}", "port": 26001}])}
        if role == "primary":
            state["senders"] = [{"peer": {"host": f"10.0.0.{n[1:]}", "port": 5}, "sync_state": rnd.choice(["sync", None]), "lag_bytes": rnd.choice([None, 0, 5000, 1 << 34])} for n in followers]
        if rnd.random() < 0.5:
            state["slots"] = [{"name": f"dn_{6000 + rnd.randint(1, 6)}", "type": rnd.choice(["physical", "physical", "logical"]), "active": rnd.random() < 0.5} for _ in range(3)]
        after = {"application_name": rnd.choice([f"dn_{6000 + number}"] * 9 + [None]), "most_available_sync": rnd.choice([None, "on", "off"])}
        after["synchronous_standby_names"] = rnd.choice([None, "", "*", "ANY 1(dn_6002)"])
        if self.odd(0.05):
            after["application_name"] = "dn_6009"
        known = [n for n in self.names[:members] if n != name and not self.odd(0.05)] if not new else []
        seen = {
            "og_node_state": {"failed": False, "node": state},
            "og_guc": {"failed": False, "after": after},
            "og_hba": {"failed": False, "rules": [self.entry(rnd, n) for n in self.names if rnd.random() < 0.4]},
            "og_replconninfo": {"failed": False, "channels": [{"number": i, "remote": {"host": f"10.0.0.{n[1:]}", "port": 26001}} for i, n in enumerate(known, 1)]},
            "og_static_conf": {"failed": False, "nodes": [self.record(rnd, n) for n in self.names[:members] if rnd.random() < 0.8]},
            "og_lock": {"failed": False, "lock": self.lock(rnd), "previous": None},
        }
        if rnd.random() < 0.3:
            seen["og_static_conf"]["roles"] = {"dn_6001": "primary"}
        if self.odd(0.05):
            seen["og_hba"]["errors"] = [{"line": 4, "column": 1, "message": "bad"}]
        if self.odd(0.1):
            broken = rnd.choice(list(seen))
            seen[broken] = {"failed": True, "msg": "m", "error": rnd.choice([{"kind": "io", "detail": "cannot read", "hint": "chmod it"}, {}])}
        return seen

    @staticmethod
    def entry(rnd, name):
        rule = {"type": rnd.choice(["host", "host", "hostssl"]), "databases": ["all"], "users": ["omm"], "address": f"10.0.0.{name[1:]}/32", "method": rnd.choice(["trust", "sha256"])}
        return {"line": 1, "text": "x", "rule": rule}

    @staticmethod
    def record(rnd, name):
        out = {"id": int(name[1:]), "name": rnd.choice([name, f"og-{name}"]), "role": "standby", "zone_priority": 2}
        return {**out, "data_nodes": [{"x": 1}]} if rnd.random() < 0.1 else out

    def lock(self, rnd):
        if rnd.random() < 0.6:
            return None
        restore = rnd.choice([{}, {"synchronous_standby_names": "*"}, {"synchronous_standby_names": None}, {"most_available_sync": "off"}, {"most_available_sync": None}])
        purpose = rnd.choice([json.dumps({"what": "expand n3", "restore": restore})] * 3 + ["repair", ""])
        return {"owner": rnd.choice([DEAD, DEAD, DEAD, ALIVE, ELSEWHERE]), "purpose": purpose}

    def answer(self, node, program, args):
        """The same to the same call, the first time, the second time, and so on."""
        args = {k: v for k, v in args.items() if k not in ("diff", "check_mode", "data_dir")}
        if program == "og_lock" and "purpose" in args:
            args["purpose"] = len(args["purpose"].replace(" ", ""))
        key = json.dumps([self.seed, node, program, args], sort_keys=True)
        self.calls[key] = self.calls.get(key, 0) + 1
        rnd = random.Random(f"{key} {self.calls[key]}")
        odd = rnd.random()
        out = {"failed": False, "changed": rnd.random() < 0.6, "msg": "m", "actions": rnd.choice([[], ["did it"]])}
        warned = rnd.random() < 0.1
        if odd < 0.03:
            return {**out, "failed": True, "error": {"kind": "io", "detail": "failed to", "hint": "look"}}
        if odd < 0.04:
            return {"failed": True, "unreachable": True, "msg": "gone"}
        if program == "og_build" and odd < 0.2 or args.get("reload") == "never" and odd < 0.1:
            return {**out, "failed": True, "changed": False, "error": {"kind": "busy", "detail": "building", "path": "/d/gs_build.pid"}}
        if warned:
            out["warnings"] = ["look at it"]
        if program == "og_hba":
            out["added"] = [{"line": 3, "rule": rule} for rule in args.get("rules", []) if rnd.random() < 0.7]
        if program == "og_replconninfo":
            out["channels"] = [{"number": i, "remote": {"host": p["host"], "port": 26001}} for i, p in enumerate(args["peers"], 1)]
            out["added"] = [c["number"] for c in out["channels"] if rnd.random() < 0.7]
        if program == "og_lock" and args["state"] == "held":
            if odd < 0.3 and not args["force"]:
                return {**out, "failed": True, "changed": False, "error": {"kind": "busy", "detail": f"the lock is held by {rnd.choice([DEAD, ALIVE, ELSEWHERE])} since x"}}
            out["previous"] = rnd.choice([None, {"owner": DEAD, "purpose": "p"}, {"owner": ALIVE, "purpose": "p"}])
        return out


def plain(program, args):
    """The arguments without what is said in another way on either side."""
    args = {k: v for k, v in args.items() if v is not False or k not in ("diff", "check_mode")}
    args = {k: v for k, v in args.items() if k not in ("data_dir", "check_mode")}
    if program == "og_lock" and args.get("purpose", "").startswith("{"):
        args["purpose"] = json.loads(args["purpose"])
    return args


class Nodes:
    """What Salt's workflow calls."""

    owner = ME

    def __init__(self, case):
        self.case, self.log, self.step = case, [], ""

    def tell(self, text):
        self.step = text.split(":")[0]

    def look(self, programs, names, seconds):
        self.log.append((self.step, "look", {n: sorted(programs) for n in names}))
        lost = {"unreachable": True, "failed": True, "msg": "no route"}
        return {n: {"os_user": "omm", **{p: self.case.seen[n][p] for p in programs}} if self.case.seen[n] else lost for n in names}

    def call(self, program, calls, test):
        self.log.append((self.step, program, {n: plain(program, args) for n, args in calls.items()}))
        return {n: json.loads(json.dumps(self.case.answer(n, program, args))) for n, args in calls.items()}

    def settle(self):
        return ""


def by_salt(case):
    nodes = Nodes(case)
    use = {**USE, "og_owner.is_over": lambda owner: DEAD in str(owner)}
    use["og_owner.take"] = take
    done = workflow.run(case.workflow, list(case.targets), case.hosts, nodes, use, test=case.test, tell=nodes.tell, **case.options)
    changes = {n: [step for one in steps for step in one] for n, steps in done["changes"].items()}
    return nodes.log, {**{k: done.get(k) for k in ("failed", "msg", "changed")}, "changes": changes, "warnings": sorted(done.get("warnings", [])), "table": done.get("cluster", [])}


def take(call, args):
    """og_owner's own, on a machine where only the one is dead."""
    owner = MODULES["og_owner"]
    old, owner.is_over = owner.is_over, lambda text: DEAD in str(text)
    try:
        return owner.take(call, args)
    finally:
        owner.is_over = old


def by_program(case, program):
    log, answers = [], []
    asked = {"workflow": case.workflow, "targets": case.targets, "cluster": {"hosts": case.hosts}, "options": case.options, "check_mode": case.test, "owner": ME}
    for _ in range(200):
        done = subprocess.run([program], input=json.dumps({**asked, "answers": answers}), capture_output=True, text=True, check=False)
        result = json.loads(done.stdout)
        assert not result["failed"], result
        if "outcome" in result:
            out = result["outcome"]
            changes = {}
            for one in out["changes"]:
                changes.setdefault(one["node"], []).append(one["step"])
            return log, {**{k: out.get(k) for k in ("failed", "msg", "changed")}, "changes": changes, "warnings": sorted(out.get("warnings", [])), "table": out.get("table", [])}
        ask = result["next"]
        del answers[ask["keep"] :]
        step, name, calls = ask["step"], ask["calls"][0]["program"], {}
        for call in ask["calls"]:
            node, args = call.get("node"), call["args"]
            if args.get("state") == "query":
                name = "look"
                calls.setdefault(node, []).append(call["program"])
                lost = {"failed": True, "msg": "no route", "error": {"kind": "unreachable"}}
                answer = case.seen[node][call["program"]] if case.seen[node] else lost
                if call["program"] == "og_node_state" and case.seen[node]:
                    answer = {**answer, "os_user": "omm"}
            elif node is None:
                answer = {"over": DEAD in args["owner"], "left": []}
            else:
                calls[node] = plain(call["program"], args)
                answer = case.answer(node, call["program"], args)
            answers.append(answer)
        if calls:
            log.append((step, name, {n: sorted(c) if name == "look" else c for n, c in calls.items()}))
    raise AssertionError("it does not end")


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_same_calls_and_same_outcome(chunk, programs):
    ended, steps = {"failed": 0, "well": 0}, set()
    for seed in range(chunk, CASES, CHUNKS):
        case = Case(seed)
        log, outcome = by_salt(case)
        case.calls = {}
        twin_log, twin_outcome = by_program(case, programs / "og_workflow")
        assert [entry[:2] for entry in twin_log] == [entry[:2] for entry in log], seed
        for one, twin in zip(log, twin_log):
            assert twin == one, (seed, one[0])
        assert twin_outcome == outcome, seed
        ended["failed" if outcome["failed"] else "well"] += 1
        steps.update(step for step, _, _ in log)
    # It is worth something only if it comes to all of it.
    assert ended["failed"] > 3 and ended["well"] > 3 and len(steps) > 20, (ended, steps)
