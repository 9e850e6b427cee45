"""Salt's workflows on nodes that are folders: the steps of the Ansible roles, check mode, repetition, interruption at every step."""

import ast
import contextlib
import importlib.util
import inspect
import io
import json
import sys

import pytest
import yaml
from conftest import ROOT

SALT = ROOT / "playbooks/salt"
NODE = ROOT / "playbooks/ansible_collections/opengauss/node"
FAKE = NODE / "tests/workflows/fake_program.py"
PROGRAM = compile(FAKE.read_text(), str(FAKE), "exec")


def load(name):
    spec = importlib.util.spec_from_file_location(name, SALT / f"_utils/{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


MODULES = {name: load(name) for name in ("og_cluster", "og_owner", "og_workflow")}
USE = {f"{name}.{key}": value for name, module in MODULES.items() for key, value in vars(module).items() if inspect.isfunction(value)}
workflow = MODULES["og_workflow"]


def program(name, args):
    """The answer of the program that stands in for all of them."""
    out = io.StringIO()
    old = sys.stdin, sys.argv
    sys.stdin, sys.argv = io.StringIO(json.dumps(args)), [name]
    try:
        with contextlib.redirect_stdout(out), contextlib.suppress(SystemExit):
            exec(PROGRAM, {"__name__": "__main__"})
    finally:
        sys.stdin, sys.argv = old
    return json.loads(out.getvalue())


class Nodes:
    """n1 to n5; the first `members` of them are a cluster, n1 its primary. n5 is meant as a cascade standby."""

    def __init__(self, root, members, names):
        self.root, self.away, self.kill_at, self.calls, self.settled = root, set(), None, 0, 0
        # A process that is no more.
        self.owner = MODULES["og_owner"].of_process(2**22 + 1)
        self.hosts = {}
        for n in range(1, 6):
            single = members == 1 or n > members
            state = {
                "address": f"10.0.0.{n}",
                "running": n <= members,
                "role": ("normal" if n == 1 else "unknown") if single else ("primary" if n == 1 else "standby"),
                "built": n > 1 and not single,
                "parameters": {},
                "rules": [],
                "channels": [{"host": f"10.0.0.{p}", "port": 26001} for p in range(1, members + 1) if p != n and not single],
                "slots": [],
                "static": [],
                "lock": None,
            }
            if n == 1:
                state["parameters"]["synchronous_standby_names"] = names
                state["slots"] = ["dn_6002", "dn_6003"]
            folder = root / f"n{n}"
            folder.mkdir(parents=True)
            (folder / "state.json").write_text(json.dumps(state))
            role = {1: "primary", 5: "cascade_standby"}.get(n, "standby")
            self.hosts[f"n{n}"] = {"id": n, "address": f"10.0.0.{n}", "data_dir": str(folder), "role": role}

    def look(self, programs, names, _seconds):
        return {
            n: {"unreachable": True, "msg": "no answer"}
            if n in self.away
            else {p: program(p, {**own, "data_dir": self.hosts[n]["data_dir"], "state": "query"}) for p, own in programs.items()}
            for n in names
        }

    def call(self, name, calls, test):
        # Killed before the step reaches the nodes, or when they have done it and nobody heard.
        self.calls += 1
        if self.kill_at == 2 * self.calls:
            raise KeyboardInterrupt
        done = {n: program(name, {**own, "data_dir": self.hosts[n]["data_dir"], "_ansible_check_mode": test}) for n, own in calls.items()}
        if self.kill_at == 2 * self.calls + 1:
            raise KeyboardInterrupt
        return done

    def settle(self):
        self.settled += 1
        return ""

    def run(self, what, nodes, **how):
        (self.root / "log").write_text("")
        self.calls = 0
        return workflow.run(what, MODULES["og_cluster"].names_in(nodes), self.hosts, self, USE, **how)

    def good(self, *args, **how):
        done = self.run(*args, **how)
        assert not done["failed"], done
        return done

    def states(self):
        return {n: json.loads((self.root / n / "state.json").read_text()) for n in self.hosts}

    def log(self):
        return (self.root / "log").read_text().splitlines()


@pytest.fixture
def single(tmp_path):
    return Nodes(tmp_path / "single", 1, "*")


@pytest.fixture
def three(tmp_path):
    return Nodes(tmp_path / "three", 3, "ANY 1(dn_6002,dn_6003)")


def tasks_of(path):
    """Name and program of each task that runs one, in order."""

    def walk(tasks):
        for task in tasks:
            for key in ("block", "rescue", "always"):
                yield from walk(task.get(key, []))
            for key in task:
                if key.startswith("opengauss.node.og_") and key.rsplit(".", 1)[1] not in ("og_query", "og_plan", "og_gate"):
                    yield task["name"], key.rsplit(".", 1)[1]

    return list(walk(yaml.safe_load((NODE / "roles" / path).read_text())))


def steps_of(*functions):
    """Name and program of each step in these functions' source, in order."""
    tree = ast.parse((SALT / "_utils/og_workflow.py").read_text())
    bodies = {n.name: n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)}
    found = []
    for name in functions:
        for node in ast.walk(bodies[name]):
            parts = node.elts if isinstance(node, ast.Tuple) else node.args if isinstance(node, ast.Call) else []
            words = [p.value for p in parts[:2] if isinstance(p, ast.Constant)]
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "build":
                words.append("og_build")
            if len(words) == 2 and str(words[1]).startswith("og_"):
                found.append((node.lineno, node.col_offset, *words))
    # One function's steps do not stand below another's.
    return [(name, program) for *_, name, program in sorted(found)]


@pytest.mark.parametrize(
    ("path", "functions"),
    [
        ("expand/tasks/main.yml", ["_expand_steps", "_take_back"]),
        ("drop/tasks/main.yml", ["_drop_steps", "_drop"]),
        ("common/tasks/lock.yml", ["lock"]),
        ("common/tasks/slots.yml", ["slots"]),
        ("common/tasks/unlock.yml", ["unlock"]),
    ],
)
def test_steps_are_those_of_the_roles(path, functions):
    tasks = tasks_of(path)
    assert tasks and [step for f in functions for step in steps_of(f)] == tasks


def test_options_are_those_of_the_roles():
    defaults = yaml.safe_load((NODE / "roles/common/defaults/main.yml").read_text())
    # Where the programs are is the minion's business, and the nodes are named in the call.
    others = {"og_bin_dir", "og_binaries", "og_add", "og_drop"}
    assert {k: v for k, v in defaults.items() if k not in others} == workflow.OPTIONS


@pytest.mark.parametrize("given", [{"og_build_froce": True}, {"og_rollback": "perhaps"}, {"og_wait_timeout": "long"}])
def test_bad_options_end_it_before_anything_is_asked(three, given):
    done = three.run("drop", "n2", **given)
    assert done["failed"] and next(iter(given)) in done["msg"] and three.log() == []


def steps_in(done):
    """What was changed, as node and step in order."""
    return [(n, name) for n, steps in done["changes"].items() for step in steps for name in step]


def test_expand_and_drop(single):
    before = single.states()
    foreseen = single.good("expand", "n2,n3,n5", test=True)
    assert single.states() == before
    done = single.good("expand", "n2,n3,n5")
    assert steps_in(done) == steps_in(foreseen)
    now = single.states()
    assert now["n1"]["parameters"]["synchronous_standby_names"] == "*" and now["n1"]["lock"] is None
    assert now["n5"]["role"] == "cascade_standby" and any("n5    10.0.0.5:26000  cascade standby  normal" in line for line in done["cluster"])
    assert single.good("expand", "n2,n3,n5")["changed"] is False
    foreseen = single.good("drop", "n3", test=True)
    assert single.states() == now
    done = single.good("drop", "n3")
    assert steps_in(done) == steps_in(foreseen)
    assert single.states()["n3"]["running"] is False
    assert single.good("drop", "n3")["changed"] is False


def test_findings_come_all_at_once_and_before_the_first_change(three):
    three.away = {"n4"}
    done = three.run("expand", "n4,n9")
    assert done["failed"] and done["msg"].startswith("2 findings; nothing was changed")
    assert "n4: cannot be reached" in done["msg"] and "n9 is no host" in done["msg"] and three.log() == []


def test_drop_of_a_node_out_of_reach_is_finished_when_it_is_back(three):
    three.away = {"n2"}
    done = three.good("drop", "n2")
    assert any("run this again when it is back" in text for text in done["warnings"])
    assert three.states()["n2"]["running"] is True and "n2" not in done["changes"]
    three.away = set()
    assert list(three.good("drop", "n2")["changes"]) == ["n2"]
    assert three.states()["n2"]["running"] is False


@pytest.mark.parametrize("rollback", [True, False])
def test_a_failed_expand_takes_back_what_it_brought(three, rollback):
    before = three.states()
    (three.root / "fail_n4_og_build").touch()
    done = three.run("expand", "n4,n5", og_rollback=rollback)
    assert done["failed"] and "n4: made to fail" in done["msg"]
    now = three.states()
    assert now["n1"]["lock"] is None
    if rollback:
        assert "was taken away again" in done["msg"] and now["n1"] == before["n1"]
        assert now["n3"]["rules"] == [] and now["n3"]["channels"] == before["n3"]["channels"] and not now["n4"]["running"]
    else:
        assert "nothing was rolled back" in done["msg"] and len(now["n1"]["channels"]) == 4
        (three.root / "fail_n4_og_build").unlink()
        three.good("expand", "n4,n5")


def test_what_could_not_be_taken_back_is_told(three):
    for name in ("fail_n4_og_build", "fail_n1_og_slot"):
        (three.root / name).touch()
    done = three.run("expand", "n4")
    assert "not all that this run brought" in done["msg"]
    assert any("Drop the slots of the new nodes: n1: made to fail" in text for text in done["warnings"])
    # What comes after it was taken back all the same.
    assert len(three.states()["n1"]["channels"]) == 2 and three.states()["n1"]["lock"] is None


def test_a_live_run_keeps_others_out(three):
    state = three.states()["n1"]
    state["lock"] = {"owner": MODULES["og_owner"].of_process(1), "purpose": "repair"}
    (three.root / "n1/state.json").write_text(json.dumps(state))
    done = three.run("drop", "n2")
    assert done["failed"] and "pid 1 start" in done["msg"] and three.states()["n1"] == state and three.settled == 0


@pytest.mark.parametrize(
    ("what", "nodes", "how"),
    [("expand", "n2,n5", {}), ("drop", "n2", {"og_drop_commits": "available"})],
)
def test_killed_before_and_after_each_step(tmp_path, what, nodes, how):
    """Each kill is followed by a run that is killed a little later; in the end all is as if nothing had happened."""

    def cluster(name):
        return Nodes(tmp_path / name, *((1, "*") if what == "expand" else (3, "ANY 1(dn_6002,dn_6003)")))

    whole = cluster("whole")
    whole.good(what, nodes, **how)
    wanted = {n: {**state, "address": None} for n, state in whole.states().items()}
    killed = cluster("killed")
    for kill_at in range(2, 200):
        killed.kill_at = kill_at
        try:
            killed.good(what, nodes, **how)
            break
        except KeyboardInterrupt:
            pass
    assert 15 < kill_at < 199 and killed.settled > 10
    got = {n: {**state, "address": None} for n, state in killed.states().items()}
    for states in (wanted, got):
        for state in states.values():
            state["static"] = [{k: v for k, v in record.items() if k != "data_dir"} for record in state["static"]]
    assert got == wanted
    assert killed.good(what, nodes, **how)["changed"] is False
