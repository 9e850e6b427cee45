"""What is found and planned from what was seen; no Ansible and no node is needed.

    python -m pytest tests/unit        with the collection on ANSIBLE_COLLECTIONS_PATH, or from any place
"""

import importlib.util
import json
import pathlib

import pytest

HERE = pathlib.Path(__file__).resolve()
SPEC = importlib.util.spec_from_file_location("og_cluster", HERE.parents[2] / "plugins/plugin_utils/og_cluster.py")
og = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(og)


def seen(number, role="standby", running=True, peers=(), db_state="normal", names=None, lock=None, **parameters):
    """What og_query says of node `number` at 10.0.0.`number`, which knows `peers`."""
    receiver = {"peer": {"host": "10.0.0.1", "port": 26001}} if role.endswith("standby") and running else None
    parameters.setdefault("application_name", f"dn_{6000 + number}")
    if names is not None:
        parameters["synchronous_standby_names"] = names
    return {
        "os_user": "omm",
        "og_node_state": {
            "failed": False,
            "node": {"running": running, "role": role, "db_state": db_state, "detail": None, "senders": [], "receiver": receiver},
        },
        "og_guc": {"failed": False, "after": parameters},
        "og_hba": {"failed": False},
        "og_replconninfo": {"failed": False, "channels": [{"number": i, "remote": {"host": f"10.0.0.{p}", "port": 26001}} for i, p in enumerate(peers, 1)]},
        "og_lock": {"failed": False, "lock": lock},
    }


def host(number, what, **variables):
    return {"vars": {"id": number, "address": f"10.0.0.{number}", "role": "standby", "data_dir": "/d", **variables}, "seen": what}


def cluster(standbys=2, **primary):
    """n1 primary, n2… standbys."""
    numbers = range(1, standbys + 2)
    hosts = {}
    for n in numbers:
        peers = [p for p in numbers if p != n]
        if n == 1:
            hosts["n1"] = host(1, seen(1, "primary", peers=peers, **primary), role="primary")
        else:
            hosts[f"n{n}"] = host(n, seen(n, peers=peers))
    return hosts


def fresh(number, **variables):
    return host(number, seen(number, "unknown", running=False, application_name=None), **variables)


def only(result):
    assert len(result["findings"]) == 1, result["findings"]
    return result["findings"][0]


def test_expand_of_a_cluster_touches_only_what_is_new():
    hosts = {**cluster(2, names="ANY 1(dn_6002,dn_6003)"), "n4": fresh(4), "n5": fresh(5, role="cascade_standby")}
    plan = og.expand(hosts, "n4, n5")
    assert plan["findings"] == []
    assert plan["primary"] == "n1" and plan["members"] == ["n1", "n2", "n3"]
    assert plan["new_standbys"] == ["n4"] and plan["new_cascades"] == ["n5"]
    assert not plan["empty_sync"] and plan["put_back_sync"] == {}
    new = [{"host": "10.0.0.4", "base_port": 26000}, {"host": "10.0.0.5", "base_port": 26000, "cascade": True}]
    assert plan["peers"]["n1"] == plan["peers"]["n2"] == new
    assert [p["host"] for p in plan["peers"]["n4"]] == ["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.5"]
    assert plan["own"]["n4"]["synchronous_standby_names"] == "ANY 1(dn_6002,dn_6003)"
    assert plan["rules"]["n1"][3] == {"type": "host", "databases": ["all"], "users": ["omm"], "address": "10.0.0.4/32", "method": "trust"}


def test_expand_leaves_a_stricter_rule_to_who_wrote_it():
    hosts = {**cluster(1), "n3": fresh(3)}
    rule = {"type": "host", "databases": ["all"], "users": ["omm"], "address": "10.0.0.2/32", "method": "sha256"}
    hosts["n1"]["seen"]["og_hba"]["rules"] = [{"line": 5, "text": "x", "rule": rule}]
    plan = og.expand(hosts, "n3")
    assert [r["address"] for r in plan["rules"]["n1"]] == ["10.0.0.1/32", "10.0.0.3/32"]
    assert len(plan["rules"]["n2"]) == 3
    assert "sha256" in plan["plan_warnings"][0]


def test_static_config_keeps_what_it_records():
    hosts = {**cluster(1), "n3": fresh(3)}
    records = [{"id": 1, "name": "og1.example", "zone_priority": 2, "role": "standby"}, {"id": 2, "name": "og2.example"}]
    hosts["n1"]["seen"]["og_static_conf"] = {"failed": False, "nodes": records, "roles": {"dn_6001": "primary"}}
    plan = og.expand(hosts, "n3")
    assert plan["static"][0] == {"id": 1, "name": "og1.example", "zone_priority": 2, "role": "primary"}
    assert plan["static"][2]["name"] == "n3" and plan["static"][2]["instance_id"] == 6003
    assert plan["roles"] == {"og1.example": "primary", "og2.example": "standby", "n3": "standby"}


@pytest.mark.parametrize("names, state", [("*", "present"), (None, "absent")])
def test_expand_of_a_single_node_empties_the_names_and_brings_them_back(names, state):
    hosts = {"n1": host(1, seen(1, "normal", names=names), role="primary"), "n2": fresh(2)}
    plan = og.expand(hosts, ["n2"])
    assert plan["findings"] == [] and plan["empty_sync"]
    assert plan["put_back_sync"]["state"] == state
    assert plan["purpose"]["restore"] == {"synchronous_standby_names": names}


def test_expand_killed_after_the_names_were_emptied_remembers_them():
    lock = {"owner": "x", "purpose": json.dumps({"what": "expand n2", "restore": {"synchronous_standby_names": "*"}})}
    hosts = {"n1": host(1, seen(1, "primary", peers=[2], names="", lock=lock), role="primary"), "n2": fresh(2)}
    plan = og.expand(hosts, "n2")
    assert not plan["empty_sync"]
    assert plan["put_back_sync"] == {"state": "present", "parameters": {"synchronous_standby_names": "*"}}
    assert plan["purpose"]["restore"] == {"synchronous_standby_names": "*"}
    assert og.expand(hosts, "n2", {"sync_standbys": "none"})["put_back_sync"] == {}


def test_the_primary_is_the_one_that_runs_as_such():
    hosts = cluster(2)
    hosts["n1"]["seen"], hosts["n2"]["seen"] = seen(1, "standby", peers=[2, 3]), seen(2, "primary", peers=[1, 3])
    plan = og.expand({**hosts, "n4": fresh(4)}, "n4")
    assert plan["primary"] == "n2" and plan["findings"] == []
    assert "n2 is the primary" in only(og.drop(hosts, "n2"))


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda h: h["n4"]["vars"].update(id=3), "same id 3"),
        (lambda h: h["n4"]["vars"].update(address="10.0.0.2"), "same address and port 10.0.0.2:26000"),
        (lambda h: h["n4"]["vars"].pop("id"), "no id"),
        (lambda h: h["n4"]["vars"].update(role="primary"), "its role in the inventory is primary"),
        (lambda h: h["n4"].update(seen=None), "--limit"),
        (lambda h: h["n4"].update(seen={"unreachable": True, "msg": "no route"}), "n4: cannot be reached: no route"),
        (lambda h: h["n2"].update(seen={"unreachable": True, "msg": "no route"}), "n2: cannot be reached: no route"),
        (lambda h: h["n2"].update(seen=seen(2, running=False)), "n2: its server is down"),
        (lambda h: h["n2"].update(seen=seen(2, db_state="wait_promoting")), "n2: is wait promoting"),
        (lambda h: h["n4"].update(seen=seen(4, "primary")), "second primary"),
        (lambda h: h["n4"].update(seen=seen(4, "cascade_standby")), "already runs as cascade standby"),
        (lambda h: h["n4"].update(seen=seen(4, "normal")), "runs as a single server"),
        (lambda h: h["n4"].update(seen=seen(4, "primary", running=False)), "last ran as a primary"),
        (lambda h: h["n3"].update(seen=seen(3, application_name="dn_6009")), "application_name is dn_6009"),
        (lambda h: h.pop("n3"), "channel to 10.0.0.3:26001"),
    ],
)
def test_expand_names_what_stands_against_it(change, words):
    hosts = {**cluster(2), "n4": fresh(4)}
    change(hosts)
    assert words in only(og.expand(hosts, "n4"))


def test_all_findings_are_listed_at_once():
    hosts = {**cluster(2), "n4": fresh(4)}
    hosts["n2"]["seen"] = seen(2, running=False)
    hosts["n4"]["seen"]["og_hba"] = {"failed": True, "msg": "x", "error": {"detail": "cannot read pg_hba.conf", "hint": "chmod it"}}
    found = og.expand(hosts, "n4,n9")["findings"]
    assert len(found) == 3
    assert any("n9 is no host" in f for f in found)
    assert "n4: cannot read pg_hba.conf; chmod it" in found


def test_two_primaries_and_none():
    hosts = cluster(2)
    hosts["n3"]["seen"] = seen(3, "primary", peers=[1, 2])
    assert "n1 and n3 run as primary" in only(og.drop(hosts, "n2"))
    hosts = cluster(2)
    hosts["n1"]["seen"] = {"unreachable": True}
    assert "no primary runs (n1 unreachable, n2 standby" in only(og.drop(hosts, "n2"))


def test_more_standbys_than_openGauss_serves():
    assert og.expand({**cluster(7), "n9": fresh(9)}, "n9")["findings"] == []
    assert "there would be 9 standbys" in only(og.expand({**cluster(8), "n10": fresh(10)}, "n10"))


def test_drop_of_a_standby():
    plan = og.drop(cluster(2), "n2")
    assert plan["findings"] == [] and plan["remaining"] == ["n1", "n3"] and not plan["last"]
    assert plan["names_gone"] == ["dn_6002"] and plan["cut"] == [{"host": "10.0.0.2", "base_port": 26000}]
    assert plan["rules"] == [{"type": "host", "databases": ["all"], "users": ["omm"], "address": "10.0.0.2/32"}]
    assert [n["name"] for n in plan["static"]] == ["n1", "n3"]


def test_drop_of_the_last_standby_empties_the_names():
    plan = og.drop(cluster(1), "n2")
    assert plan["last"] and plan["commits"] == {"n1": {"synchronous_standby_names": ""}}


def test_drop_keeps_the_rule_of_an_address_that_another_node_has():
    hosts = cluster(2)
    hosts["n2"]["vars"].update(address="10.0.0.3", base_port=26100)
    assert og.drop(hosts, "n2")["rules"] == []


def test_drop_of_an_unreachable_node_goes_on_and_says_so():
    hosts = cluster(2)
    hosts["n2"]["seen"] = {"unreachable": True, "msg": "x"}
    plan = og.drop(hosts, "n2")
    assert plan["findings"] == [] and plan["stop"] == []
    assert plan["rules"][0]["users"] == ["omm"]
    assert "run this again" in plan["plan_warnings"][0]


def test_drop_leaves_no_cascade_alone():
    hosts = cluster(2)
    hosts["n3"]["seen"] = seen(3, "cascade_standby", peers=[1, 2])
    assert "n3: a cascade standby would have no standby" in only(og.drop(hosts, "n2"))
    assert og.drop(hosts, "n2,n3")["findings"] == []


@pytest.mark.parametrize("value, restore", [(None, {"state": "absent", "parameters": {"most_available_sync": ""}}), ("off", {"state": "present", "parameters": {"most_available_sync": "off"}})])
def test_drop_available_brings_the_old_value_back(value, restore):
    plan = og.drop(cluster(2, most_available_sync=value), "n2", {"commits": "available"})
    assert plan["commits"] == {"n1": {"most_available_sync": "on"}} and plan["restore_after"] == restore
    assert plan["purpose"]["restore"] == {"most_available_sync": value}


def test_drop_available_does_nothing_where_there_is_nothing_to_cut():
    hosts = cluster(2)
    hosts["n1"]["seen"], hosts["n3"]["seen"] = seen(1, "primary", peers=[3]), seen(3, peers=[1])
    hosts["n2"]["seen"] = seen(2, running=False)
    plan = og.drop(hosts, "n2", {"commits": "available"})
    assert plan["findings"] == [] and plan["commits"] == {} and not plan["cuts"]


def test_drop_puts_back_what_a_killed_drop_left():
    lock = {"owner": "x", "purpose": json.dumps({"what": "drop n2", "restore": {"most_available_sync": "off"}})}
    plan = og.drop(cluster(2, most_available_sync="on", lock=lock), "n2")
    assert plan["restore_now"] == {"state": "present", "parameters": {"most_available_sync": "off"}}
    assert plan["purpose"]["restore"] == {"most_available_sync": "off"}


def test_a_lock_of_somebody_else_is_no_plan_of_ours():
    assert og.purpose_of({"purpose": "maintenance"}) == {}
    assert og.purpose_of(None) == {}
    assert og.purpose_of({"purpose": "[1]"}) == {}


def test_addresses_are_values():
    assert og.canonical("2001:DB8:0::1") == og.canonical("[2001:db8::1]") == "2001:db8::1"
    assert og.Node("n", {"id": 1, "address": "2001:db8::1"}).rule("trust")["address"] == "2001:db8::1/128"


def test_slots_that_serve_nobody_are_found_and_no_others():
    hosts = cluster(3)
    slot = lambda name, active: {"name": name, "type": "physical", "active": active}
    give = lambda node, *slots: hosts[node]["seen"]["og_node_state"]["node"].update(slots=list(slots))
    # n4 streams from n3, and was on n2 before; dn_6009 is nobody we know; n3 does not stream at this moment.
    hosts["n4"]["seen"]["og_node_state"]["node"]["receiver"]["peer"]["host"] = "10.0.0.3"
    hosts["n3"]["seen"]["og_node_state"]["node"]["receiver"] = None
    give("n1", slot("dn_6002", True), slot("dn_6003", False))
    give("n2", slot("dn_6004", False), slot("dn_6009", False))
    give("n3", slot("dn_6004", True), slot("dn_6003", False))
    assert og.idle_slots(hosts) == {"n2": ["dn_6004"], "n3": ["dn_6003"]}
    assert og.idle_slots(hosts, ["n2"])["n2"] == ["dn_6004", "dn_6009"]


def test_table():
    hosts = cluster(1)
    hosts["n1"]["seen"]["og_node_state"]["node"]["senders"] = [{"peer": {"host": "10.0.0.2", "port": 5}, "sync_state": "sync", "lag_bytes": 2048}]
    hosts["n3"] = host(3, {"unreachable": True})
    assert og.table(hosts) == [
        "NODE  ADDRESS         ROLE     STATE        SYNC  LAG",
        "n1    10.0.0.1:26000  primary  normal       -     -",
        "n2    10.0.0.2:26000  standby  normal       sync  2.0 KiB",
        "n3    10.0.0.3:26000  ?        unreachable  -     -",
    ]
