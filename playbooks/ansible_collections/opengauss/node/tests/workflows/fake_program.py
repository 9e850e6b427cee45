#!/usr/bin/env python3
"""Stands in for every program of the suite: a node is the file state.json in its data directory.

Beside the nodes' folders: `log`, a line for each call that may change something; `fail_NODE_PROGRAM` makes that call
fail, `die_NODE_PROGRAM` makes it end without a word, `hold_NODE_PROGRAM` makes it wait until the file is gone.
"""

import glob
import json
import os
import sys
import time

NAME = os.path.basename(sys.argv[0])
ARGS = json.load(sys.stdin)
CHECK = ARGS.get("_ansible_check_mode") or ARGS.get("check_mode")
STATE = ARGS.get("state")
DATA_DIR = ARGS["data_dir"]
ROOT, NODE = os.path.split(DATA_DIR)
NAMES = "synchronous_standby_names"


def answer(**result):
    print(json.dumps({"changed": False, "failed": False, "msg": "fake", **result}))
    sys.exit(1 if result.get("failed") else 0)


def fail(kind, detail):
    answer(failed=True, msg=detail, error={"kind": kind, "detail": detail})


def load(path):
    with open(path, encoding="utf-8") as f:
        return json.load(f)


# What each program tells whatever it finds; without it a workflow takes the program for an older one.
TOLD = {
    "og_node_state": {"identity": dict.fromkeys(("directory", "system_id", "listen_port")) | {"addresses": [], "data_dir": DATA_DIR, "content": "unknown"}},
    "og_guc": {"after": {}, "pending": [], "restart_required": []},
    "og_hba": {"added": [], "rules": [], "errors": []},
    "og_replconninfo": {"added": [], "channels": [], "local": {"is_here": True}},
    "og_static_conf": {"nodes": []},
    "og_lock": {"lock": None, "previous": None, "age_s": None},
}
PROGRESS = ("sent", "sender_write", "sender_flush", "sender_replay", "received", "write", "flush", "replay", "lag_bytes", "sync_percent")
END = dict.fromkeys(("pid", *PROGRESS, "local")) | {"peer_role": "standby", "peer_state": "normal", "state": "streaming"}
UNTOLD = ("pid", "detail", "static_connections", "version", "term", "lsn", "build", "tablespaces")
MANAGED = dict.fromkeys(("agent", "monitor", "server", "node_id", "instance_id", "data_dir", "conflict")) | dict.fromkeys(("installed", "cron", "cluster_stopped", "paused", "dcf", "dss"), False)


def node(state):
    """As og_node_state tells it."""
    out = {"running": state["running"], "role": state["role"], "answered": True, "senders": [], "receiver": None}
    out.update(dict.fromkeys(UNTOLD), frozen=False, managed_by={**MANAGED, "by": "none", "manual_start": []})
    out["db_state"] = "normal" if state["running"] else "unknown"
    out["slots"] = [{"name": name, "type": "physical", "active": False, "restart_lsn": None, "retained_bytes": None} for name in state["slots"]]
    if state["running"] and state["role"] == "primary":
        for other in map(load, sorted(glob.glob(f"{ROOT}/*/state.json"))):
            if other["running"] and other["built"]:
                out["senders"].append({**END, "peer": {"host": other["address"], "port": 5}, "sync_state": "sync", "sync_priority": 1, "lag_bytes": 0})
    elif state["running"] and state["built"]:
        out["receiver"] = {**END, "peer": {"host": "10.0.0.1", "port": 26001}}
    return out


def og_node_state(state):
    if STATE == "stopped":
        state["running"] = False
    told = node(state)
    # Somebody has switched over to n2.
    if os.path.exists(f"{ROOT}/switched") and NODE in ("n1", "n2"):
        told["role"] = "primary" if NODE == "n2" else "standby"
    return {"node": told}


def og_guc(state):
    values = state["parameters"]
    channels = {f"replconninfo{i}": json.dumps(c) for i, c in enumerate(state["channels"], 1)}
    if STATE == "query":
        known = {**values, **channels}
        names = ARGS.get("names", list(known))
        return {"after": {name: known.get(name) for name in names}, "running": state.get("works_with", {})}
    if STATE == "absent":
        for name in ARGS.get("names") or ARGS["parameters"]:
            values.pop(name, None)
            channels.pop(name, None)
    else:
        given = ARGS.get("parameters", {})
        values.update((name, value) for name, value in given.items() if not name.startswith("replconninfo"))
        channels.update((name, value) for name, value in given.items() if name.startswith("replconninfo"))
    state["channels"] = [json.loads(channels[name]) for name in sorted(channels)]
    edit = ARGS.get("synchronous_standbys")
    if edit and values.get(NAMES) not in (None, "*") or edit and edit["method"] != "keep":
        listed = [n for n in (values.get(NAMES) or "").replace("ANY 1(", "").strip(")*").split(",") if n]
        listed = [n for n in listed if n not in edit.get("remove", [])]
        listed += [n for n in edit.get("add", []) if n not in listed]
        values[NAMES] = f"ANY 1({','.join(listed)})" if listed else ""
    return {}


def og_hba(state):
    if STATE == "query":
        return {"rules": [{"line": i, "text": "", "rule": r} for i, r in enumerate(state["rules"], 1)]}
    added = []
    for rule in ARGS["rules"]:
        same = [r for r in state["rules"] if all(r.get(k) == v for k, v in rule.items())]
        if STATE == "absent":
            state["rules"] = [r for r in state["rules"] if r not in same]
        elif not same:
            state["rules"].append(rule)
            added.append({"line": len(state["rules"]), "text": "", "rule": rule})
    return {"added": added}


def numbered(channels):
    return [{"number": i, "remote": c} for i, c in enumerate(channels, 1)]


def og_replconninfo(state):
    if STATE == "query":
        return {"channels": numbered(state["channels"])}
    peers = [{"host": p["host"], "port": p.get("port") or p["base_port"] + 1} for p in ARGS["peers"]]
    added = []
    if STATE == "exact":
        state["channels"] = peers
    elif STATE == "absent":
        state["channels"] = [p for p in state["channels"] if p not in peers]
    else:
        added = [p for p in peers if p not in state["channels"]]
        state["channels"] += added
    if state["channels"] and state["running"] and state["role"] == "normal" and ARGS.get("reload") != "never":
        state["role"] = "primary"
    channels = numbered(state["channels"])
    return {"channels": channels, "added": [c["number"] for c in channels if c["remote"] in added]}


def og_build(state):
    if STATE == "query":
        return {"data_bytes": state.get("size", 100)}
    # Older releases of Ansible make a text of it, which the program takes, too.
    if state.get("room", 100) < int(ARGS.get("min_free", 0)):
        fail("refused", f"the copy needs {ARGS['min_free']} B, and there is room for {state['room']} B only")
    if not state["channels"]:
        fail("refused", "no primary can be reached through this node's replication channels")
    if not (state["built"] and ARGS["mode"] == "auto"):
        state["copies"] = state.get("copies", 0) + 1
    state.update(built=True, running=True, role=ARGS["role"])
    if os.path.exists(f"{ROOT}/switch"):
        os.rename(f"{ROOT}/switch", f"{ROOT}/switched")
    return {}


def og_slot(state):
    if STATE == "query":
        return {"slots": node(state)["slots"]}
    state["slots"] = [s for s in state["slots"] if s not in ARGS["names"]]
    return {}


def og_static_conf(state):
    if STATE == "query":
        return {"nodes": state["static"]}
    state["static"] = ARGS["nodes"]
    return {}


def og_lock(state):
    lock = state["lock"]
    if STATE == "query":
        return {"lock": lock, "previous": lock or state.get("ended")}
    if STATE == "released":
        state.pop("ended", None)
        if lock and lock["owner"] == ARGS["owner"]:
            state["lock"] = None
        return {}
    if not isinstance(ARGS["purpose"], str):
        fail("bad_args", "/purpose: an object is not a string")
    if lock and lock["owner"] != ARGS["owner"] and not ARGS.get("force"):
        fail("busy", f"the lock is held by {lock['owner']}")
    state["lock"] = {"owner": ARGS["owner"], "purpose": ARGS["purpose"]}
    if int(ARGS["ttl"]) == 1:
        state["ended"], state["lock"] = state["lock"], None
    return {"previous": lock}


def og_host(state):
    state["prepared"] = True
    return {"items": []}


def og_preflight(state):
    """A host on which all is well: `healthy.json` beside the nodes' folders, as this node."""
    facts = load(f"{ROOT}/healthy.json")
    facts["name"] = NODE
    facts["identity"].update(addresses=[state["address"]], directory=NODE)
    facts["system"]["host_name"] = NODE
    facts.update(channels=[], reached=[])
    facts["hba"]["admissions"] = []
    facts["clock"].update(sent_at=None, received_at=None)
    told = node(state)
    facts["server"] = {**told, **facts["server"]}
    facts["managed_by"] = facts["server"]["managed_by"] = told["managed_by"]
    facts["server"].update(running=told["running"], role=told["role"], receiver=None, slots=[])
    for name in ("file", "running"):
        facts["settings"][name][NAMES] = ""
    if not state["running"]:
        facts["server"].update(answered=False, pid=None)
        facts.update(activity=None, server_limits=None, ports=[{"number": 26000, "state": "free", "addresses": []}])
        facts["settings"]["running"] = {}
    return {"facts": facts, **state.get("preflight", {})}


def main():
    path = f"{DATA_DIR}/state.json"
    if not os.path.exists(path):
        fail("not_found", f"data_dir {DATA_DIR} is not there")
    if STATE != "query":
        with open(f"{ROOT}/log", "a", encoding="utf-8") as f:
            f.write(f"{NODE} {NAME} {STATE or ''}\n")
        while os.path.exists(f"{ROOT}/hold_{NODE}_{NAME}"):
            time.sleep(0.05)
        if os.path.exists(f"{ROOT}/fail_{NODE}_{NAME}"):
            fail("io", "made to fail")
        if os.path.exists(f"{ROOT}/die_{NODE}_{NAME}"):
            sys.exit(9)
    state = load(path)
    before = json.dumps(state)
    result = globals()[NAME](state)
    changed = json.dumps(state) != before
    if changed and not CHECK:
        with open(f"{path}.new", "w", encoding="utf-8") as f:
            json.dump(state, f)
        os.rename(f"{path}.new", path)
    answer(changed=changed, **{**TOLD.get(NAME, {}), **result})


main()
