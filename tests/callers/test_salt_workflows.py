"""Salt's workflows on nodes that are folders: the runner as it is, og_workflow the real one, minions that are functions of this file.

Check mode, repetition, interruption at every step; and that the steps are those of the Ansible roles.
"""

import contextlib
import hashlib
import importlib.util
import io
import itertools
import json
import os
import pathlib
import platform
import re
import shutil
import subprocess
import sys
import types

import pytest
import yaml
from conftest import REGISTRY, ROOT, section_blocks

SALT = ROOT / "playbooks/salt"
NODE = ROOT / "playbooks/ansible_collections/opengauss/node"
FAKE = NODE / "tests/workflows/fake_program.py"
PROGRAM = compile(FAKE.read_text(), str(FAKE), "exec")

sys.path.insert(0, str(FAKE.parent))
from test_workflows import Cluster  # noqa: E402


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
        self.root, self.hosts = root, {}
        root.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / "tests/vectors/preflight/healthy.json", root)
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

    def states(self):
        return {n: json.loads((self.root / n / "state.json").read_text()) for n in self.hosts}

    def log(self):
        return (self.root / "log").read_text().splitlines()


class Killed(Exception):
    """The run ended without a word."""


class Master(Nodes):
    """A master with a minion for each node; what a runner sees of Salt is this."""

    def __init__(self, root, members, names, programs):
        super().__init__(root, members, names)
        self.away, self.kill_at, self.running, self.opts, self.vars = set(), None, [], {"og": {"bin_dir": str(programs)}}, {}
        self.steps, self.patience, self.key, self.clusters = itertools.count(1), 60, "opengauss", []

    def runner(self):
        """The runner as Salt loads it."""
        files = types.SimpleNamespace(find_file=lambda path, _env: {"path": next(map(str, self.root.glob(f"srv/{path}")), "")})
        stand_ins = {
            "salt": types.ModuleType("salt"),
            "salt.client": types.SimpleNamespace(get_local_client=lambda mopts: self),
            "salt.fileserver": types.SimpleNamespace(Fileserver=lambda opts: files),
            "salt.utils": types.ModuleType("salt.utils"),
            "salt.utils.path": types.SimpleNamespace(which=shutil.which),
        }
        for name, module in stand_ins.items():
            sys.modules[name] = module
            parent, _, own = name.rpartition(".")
            if parent:
                setattr(stand_ins[parent], own, module)
        spec = importlib.util.spec_from_file_location("og_runner", SALT / "_runners/og.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        ids = {own.get("minion", name) for name, own in self.hosts.items()}
        pillar = {self.key: {"hosts": self.hosts, "vars": self.vars}}
        module.__dict__.update(SETTLE=self.patience, __opts__=self.opts, __context__={}, __salt__={"pillar.show_pillar": lambda minion: pillar if minion in ids else {}})
        return module

    def cmd(self, ids, function, kwarg=None, **_how):
        """As salt.client.LocalClient does it."""
        there = [mid for mid in ids if mid not in self.away]
        if function == "saltutil.running":
            note(self.root / "settled", "asked")
            # What still runs on the first of them, each time that it is asked.
            return {mid: self.running.pop(0) if self.running and mid == there[0] else [] for mid in there}
        assert function == "og.step"
        self.clusters.append(kwarg["cluster"])
        calls = {mid: kwarg["calls"][mid] for mid in there}
        each = [call for own in calls.values() for call in own]
        look = all(call["args"]["state"] == "query" and call["args"]["timeout"] for call in each if call["args"].get("state") == "query")
        assert look
        if each and all(call["args"].get("state") == "query" for call in each):
            answers = {mid: [program(call["program"], call["args"]) for call in own] for mid, own in calls.items()}
        else:
            # Killed before the step reaches the nodes, or when they have done it and nobody heard.
            step, answers = next(self.steps), {mid: [] for mid in there}
            if self.kill_at == 2 * step:
                os._exit(9)
            for mid, call in ((mid, call) for mid in there for call in calls[mid]):
                # What looks beside a change is none itself.
                looks = call["args"].get("state") == "query"
                args = call["args"] if looks else {**call["args"], "_ansible_check_mode": kwarg["test"]}
                answers[mid].append(program(call["program"], args))
                if not looks:
                    note(self.root / "told", json.dumps([step, call["node"], call["program"], args]))
            if self.kill_at == 2 * step + 1:
                os._exit(9)
        return {mid: {"ret": answer} for mid, answer in answers.items()}

    def run(self, what, *nodes, **how):
        """A process of its own, as salt-run is one: what it returns, and what it told."""
        for name in ("log", "told", "settled"):
            (self.root / name).write_text("")
        (self.root / "done").unlink(missing_ok=True)
        child = os.fork()
        if child == 0:
            os.environ["XDG_STATE_HOME"] = str(self.root / "state")
            with (self.root / "err").open("w") as sys.stderr:
                try:
                    runner = self.runner()
                    done = getattr(runner, what)(*nodes, **how)
                    assert done.get("retcode") == runner.__context__.get("retcode") == (1 if done["failed"] else None)
                    (self.root / "done").write_text(json.dumps(done))
                except BaseException as e:  # noqa: BLE001 - it is told by the parent
                    print(f"{type(e).__name__}: {e}", file=sys.stderr)
            os._exit(0)
        os.waitpid(child, 0)
        self.err = (self.root / "err").read_text()
        if not (self.root / "done").exists():
            raise Killed(self.err)
        return json.loads((self.root / "done").read_text())

    def good(self, *args, **how):
        done = self.run(*args, **how)
        assert not done["failed"], done
        return done

    def told(self):
        """Step, node, program and arguments of each call that may change something."""
        return [json.loads(line) for line in (self.root / "told").read_text().splitlines()]

    def settled(self):
        return len((self.root / "settled").read_text().splitlines())


def note(path, line):
    with path.open("a") as f:
        f.write(f"{line}\n")


@pytest.fixture
def single(tmp_path, programs):
    return Master(tmp_path / "single", 1, "*", programs)


@pytest.fixture
def three(tmp_path, programs):
    return Master(tmp_path / "three", 3, "ANY 1(dn_6002,dn_6003)", programs)


def titles_of(master):
    """The title of each step that the run told of, in order."""
    return [line.split(": ")[0] for line in master.err.splitlines() if not line.startswith("Check whether ")]


def idle(states):
    states["n2"]["slots"] = ["dn_6002"]


def killed(states):
    purpose = json.dumps({"what": "drop n2", "restore": {"most_available_sync": "off"}})
    states["n1"]["lock"] = {"owner": f"me@{platform.node()} pid {2**22 + 1} start 5", "purpose": purpose}


def of_the_engine(test, *values):
    """A run that passes on what og_workflow answers in the same way as the others do."""
    return pytest.param(*values, marks=pytest.mark.exhaustive(test))


SEVERAL = "ANY 1(dn_6002,dn_6003)"
RUNS = [
    of_the_engine("modules/og_workflow/src/steps/tests.rs::expand_in_order", (1, "*"), "expand", "n2,n5", {}, None, None),
    of_the_engine("modules/og_workflow/src/steps/tests.rs::expand_in_order", (3, SEVERAL), "expand", "n4", {"og_sync_standbys": "any"}, idle, None),
    ((3, SEVERAL), "expand", "n4", {}, killed, "fail_n4_og_static_conf"),
    ((3, SEVERAL), "drop", "n2", {"og_drop_commits": "available", "og_drop_clear": True}, None, None),
    of_the_engine("modules/og_workflow/src/steps/tests.rs::drop_in_order", (3, SEVERAL), "drop", "n2", {}, killed, None),
    of_the_engine("modules/og_workflow/src/steps/tests.rs::drop_in_order", (4, SEVERAL), "drop", "n3", {}, idle, None),
]


@pytest.mark.in_turn
@pytest.mark.parametrize(("cluster", "what", "nodes", "options", "change", "broken"), RUNS)
def test_steps_are_those_of_the_roles(tmp_path, programs, cluster, what, nodes, options, change, broken):
    """The same nodes under Ansible and under Salt: steps of the same titles in the same order, and nodes that end the same."""
    folders = tmp_path / "ansible", tmp_path / "salt"
    folders[0].mkdir()
    ansible, master = Cluster(folders[0], *cluster), Master(folders[1], *cluster, programs)
    states = master.states()
    (change or (lambda states: None))(states)
    for name, state in states.items():
        (master.root / name / "state.json").write_text(json.dumps(state))
        ansible.change(name, **state)
    if broken:
        ansible.mark(broken)
        (master.root / broken).touch()
    done = master.run(what, nodes, **options)
    assert done["failed"] == bool(broken), done
    words = [word for name, value in {f"og_{'add' if what == 'expand' else what}": nodes, **options}.items() for word in ("-e", f"{name}={value}")]
    ran = ansible.play(what, *words)
    assert ran.returncode == (2 if broken else 0), ran.stdout + ran.stderr
    titles = re.findall(r"^TASK \[opengauss\.node\.workflow : (.+?)\] \*", ran.stdout, re.MULTILINE)
    own = [f"Begin: {what}", "Next step", "Cluster"]
    assert (titles[0], titles[-1]) == (own[0], own[-1])
    assert [title for title in titles if title not in own] == titles_of(master)
    assert len(titles_of(master)) > 5
    ended = json.dumps({name: ansible.state(name) for name in master.hosts}), json.dumps(master.states())
    # The nodes' folders stand in the cluster's own file.
    assert json.loads(ended[0].replace(str(ansible.root / "nodes"), "")) == json.loads(ended[1].replace(str(master.root), ""))


def test_a_run_leaves_a_record(three):
    def records():
        return sorted((three.root / "state/opengauss-node/runs").glob("*"))

    three.good("status", "n1")
    three.good("drop", "n2", test=True)
    assert records() == []
    done = three.good("drop", "n2", og_drop_clear=True)
    [run] = records()
    assert done["report"] == f"{run}/report.html" and (run / "report.html").exists()
    outcome = json.loads((run / "outcome.json").read_text())
    events = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
    assert outcome["verdict"] == "done" and done["changed"]
    assert [event["step"] for event in events if event["event"] == "step"] == titles_of(three)
    changed = {(event["node"], event["step"]) for event in events if event.get("changed")}
    assert changed == {(node, step) for node, steps in done["changes"].items() for one in steps for step in one}
    # Nobody asked for diffs, and a record is no reason to.
    assert three.told() and not any('"diff"' in json.dumps(call) for call in three.told())
    three.vars = {"og_notify": ["false"]}
    assert three.good("drop", "n2")["warnings"] == ["og_notify: false ended with status 1: it said nothing"]


def test_who_may_only_look_runs_no_command(three):
    for what in ("status", "preflight", "collect"):
        done = three.run(what, "n1", og_record="all", og_notify=["touch", str(three.root / "ran")])
        assert done["failed"] and f"og.{what} takes no og_notify" in done["msg"], done
    assert not (three.root / "ran").exists()


def test_a_file_of_the_master_is_received_by_a_minion(three, tmp_path, monkeypatch, programs):
    """What the runner tells the minion, and what that makes of it with the program itself."""
    content = os.urandom((8 << 20) + 5)
    root, node, asked = tmp_path / "srv", tmp_path / "node", []
    (root / "opengauss-node").mkdir(parents=True)
    (root / "opengauss-node/pkg").write_bytes(content)
    (tmp_path / "aside").write_bytes(content)
    three.opts["file_roots"] = {"base": [str(root)]}
    monkeypatch.setattr(three, "cmd", lambda ids, function, kwarg, **_how: {"n1": {"ret": asked.append(kwarg["calls"]["n1"]) or []}})
    args = {"path": str(node / "pkg"), "sha256": hashlib.sha256(content).hexdigest(), "size": len(content), "mode": "0640"}

    def wanted(source):
        put = {"from": str(source), "to": args["path"], "sha256": args["sha256"], "mode": args["mode"]}
        runner = three.runner()
        runner._Minions({"n1": {}}, "opengauss").answers([{"node": "n1", "program": "og_file", "args": args, "put": put}], False)
        return asked.pop()

    [call] = wanted(root / "opengauss-node/pkg")
    assert call["put"]["source"] == "salt://opengauss-node/pkg"

    def run_all(words, stdin, **_how):
        done = subprocess.run(words, input=stdin, capture_output=True, text=True, check=False)
        return {"retcode": done.returncode, "stdout": done.stdout, "stderr": done.stderr}

    def cache_file(source):
        original = root / source.removeprefix("salt://")
        return str(original if opts.get("file_client") == "local" else shutil.copy(original, cache / "pkg"))

    cache = tmp_path / "minion"
    cache.mkdir()
    opts = {"id": "n1", "cachedir": str(cache)}
    namespace = {
        "__name__": "og",
        "__opts__": opts,
        "__context__": {},
        "__pillar__": {"og": {"bin_dir": str(programs)}},
        "__grains__": {},
        "__salt__": {"cmd.run_all": run_all, "cp.cache_file": cache_file},
    }
    for name in ("salt", "salt.utils", "salt.utils.args", "salt.utils.data", "salt.utils.path"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, "salt.exceptions", types.SimpleNamespace(CommandExecutionError=RuntimeError))
    minion = SALT / "_modules/og.py"
    exec(compile(minion.read_text(), str(minion), "exec"), namespace)

    def step(calls, test=False):
        [answer] = namespace["step"]({"n1": calls}, test=test)
        return answer

    foreseen = step([call], test=True)
    assert foreseen["changed"] and not node.exists()
    done = step([call])
    assert not done["failed"] and done["actions"] == foreseen["actions"] and (node / "pkg").read_bytes() == content
    assert not list(cache.iterdir()) and step([call])["changed"] is False
    (node / "pkg").unlink()
    # Without a master there is no copy, but the administrator's own file.
    opts["file_client"] = "local"
    assert step([call])["changed"] and (root / "opengauss-node/pkg").read_bytes() == content
    del opts["file_client"]
    (node / "pkg").unlink()
    aside = step(wanted(tmp_path / "aside"))
    assert aside["failed"] and "in none of the master's file_roots" in aside["msg"]


def test_a_preflight_error_refuses_until_it_is_accepted(three):
    """And nothing was changed before."""
    folder = three.root / "n4"
    state = json.loads((folder / "state.json").read_text())
    failed = {"failed": True, "msg": "m", "error": {"kind": "io", "detail": "no /proc here", "hint": "mount it"}}
    (folder / "state.json").write_text(json.dumps({**state, "preflight": failed}))
    done = three.run("expand", "n4")
    why = "n4: its preflight checks could not be made: no /proc here; mount it"
    assert done["failed"] and why in done["msg"] and three.log() == [], done
    done = three.run("expand", "n4", og_accept="preflight")
    assert not done["failed"] and f"accepted (og_accept=preflight): {why}" in done["warnings"], done


def test_whoever_is_compared_by_its_clock_is_told_when_it_was_asked(three):
    minions = three.runner()._Minions(three.hosts, "opengauss")
    args = {"state": "query", "timeout": 5, "data_dir": three.hosts["n1"]["data_dir"]}
    calls = [{"node": "n1", "program": "og_node_state", "args": args, **own} for own in ({"timed": True}, {})]
    timed, plain = minions.answers(calls, False)
    assert timed["sent_at"] <= timed["received_at"] and "sent_at" not in plain
    assert {key: timed[key] for key in plain} == plain
    # What its minion ran before and after it is not in between, what another one ran is nothing to it.
    calls = [{"node": node, "timed": node == "n1"} for node in ("n2", "n1", "n2", "n1")]
    answers = [{"elapsed_ms": ms} for ms in (900, 100, 800, 40)]
    told = minions._timed(calls, answers, 10_000, 11_000)
    assert [(one.get("sent_at"), one.get("received_at")) for one in told] == [(None, None), (10_000, 10_960), (None, None), (10_100, 11_000)]


def test_options_are_those_of_the_roles():
    """And of no role alone are those that no workflow names."""
    defaults = yaml.safe_load((NODE / "roles/common/defaults/main.yml").read_text())
    schema = json.loads((ROOT / "schemas/v1/og_workflow.args.json").read_text())
    options = {name: one["default"] for name, one in schema["properties"]["options"]["properties"].items()}
    # Where the programs are is the minion's business, the nodes are named in the call, and the cluster is the pillar's.
    targets = {entry["targets"] for entry in REGISTRY["workflows"] if entry["targets"]}
    assert set(defaults) - set(options) == {"og_bin_dir", "og_binaries", "og_cluster", *targets}
    example = yaml.safe_load((SALT / "pillar.example").read_text())["opengauss"]
    assert {k: v for k, v in defaults.items() if k in options} == options == {k: v for k, v in example["vars"].items() if k.startswith("og_")}


def test_every_workflow_has_its_function_state_and_files(three):
    """Those of the registry, and no others."""
    runner = three.runner()
    names = [entry["name"] for entry in REGISTRY["workflows"]]
    on_nodes = [entry["name"] for entry in REGISTRY["workflows"] if entry["targets"]]
    assert [name for name in vars(runner) if name in names] == names
    assert {p.stem for p in (SALT / "opengauss").glob("*.sls")} == {"programs", *on_nodes}
    assert {p.stem for p in (ROOT / "playbooks").glob("*.yml")} >= set(names)
    assert {p.name for p in (NODE / "roles").iterdir()} == {"common", "install", "workflow", *names}
    states = (SALT / "_states/og_cluster.py").read_text()
    assert re.findall(r'_apply\("og\.(\w+)", name', states) == on_nodes


def test_the_example_of_a_pillar(three):
    example = yaml.safe_load((SALT / "pillar.example").read_text())["opengauss"]
    three.hosts, three.vars = example["hosts"], example["vars"]
    three.away = {"n1", "n2", "db3.example.com", "n4"}
    done = three.run("status", "n1")
    # None of them is reached, so nothing is said of a primary.
    assert [line.split()[0] for line in done["cluster"] if line[:1] == "n"] == ["n1", "n2", "n3", "n4"] and "primary" not in done["msg"]
    why = "no node could be reached: n1: the minion n1 does not answer (likewise n2, n3, n4)"
    assert f"- {why} [cluster.unreachable]; check the minions of the nodes in the pillar of n1; try it by hand: salt n1 test.ping" in done["msg"].splitlines()


@pytest.mark.parametrize("given", [{"og_build_froce": True}, {"og_rollback": "perhaps"}, {"og_wait_timeout": "long"}])
def test_bad_options_end_it_before_anything_is_asked(three, given):
    done = three.run("drop", "n2", **given)
    assert done["failed"] and next(iter(given)) in done["msg"] and three.log() == [] and "Look" not in three.err


def test_options_may_be_text_in_the_pillar_and_in_the_call(three):
    """As whoever writes YAML or a command line gives them; what counts on the nodes has its type."""
    three.vars = {"og_wait_timeout": "61", "og_rollback": "yes", "og_sync_standbys": "any", "og_sync_num": 1}
    three.good("expand", "n4", og_build_force="no", og_max_lag_bytes="1000", og_sync_num="2")
    [wait] = [args for _, _, name, args in three.told() if name == "og_node_state" and "wait" in args]
    assert wait["timeout"] == 61 and wait["wait"]["max_lag_bytes"] == 1000
    [names] = [args["synchronous_standbys"] for _, _, name, args in three.told() if name == "og_guc" and "synchronous_standbys" in args]
    assert names == {"method": "any", "num": "2", "add": ["dn_6004"]}


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"og_wait_timeout": "long"}, '"long" is not a whole number'),
        ({"og_rollback": "perhaps"}, '"perhaps" is not a boolean (yes or no)'),
        ({"og_build_froce": True}, "unknown option (did you mean og_build_force? known: "),
    ],
)
def test_a_bad_option_of_the_pillar_is_named_as_such(three, given, why):
    three.vars = given
    done = three.run("drop", "n2")
    assert done["failed"] and f"the pillar of n2, opengauss/vars/{next(iter(given))}: {why}" in done["msg"], done
    assert three.log() == [] and "Look" not in three.err


def test_the_program_is_looked_for_where_the_master_has_it(three, programs, monkeypatch):
    three.opts = {}
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    done = three.run("status", "n1")
    source = f"opengauss-node/{platform.machine()}/og_workflow"
    assert done["failed"] and f"nor is there salt://{source}" in done["msg"] and "og:bin_dir" in done["msg"]
    files = three.root / "srv" / source
    files.parent.mkdir(parents=True)
    shutil.copy(programs / "og_workflow", files)
    assert three.good("status", "n1")["cluster"]
    files.chmod(0o644)
    assert "chmod +x" in three.run("status", "n1")["msg"]
    monkeypatch.setenv("PATH", f"/usr/bin:/bin:{programs}")
    assert three.good("status", "n1")["cluster"]
    three.opts = {"og": {"bin_dir": "/nowhere"}}
    assert "/nowhere/og_workflow is not there or cannot be run" in three.run("status", "n1")["msg"]


def test_several_clusters(three):
    """Each has a key of the pillar; the key goes with each step, by which runs on different clusters tell their work apart."""
    three.key, three.vars = "shop", {"og_lock_ttl": "long"}
    done = three.run("status", "n1")
    assert done["failed"] and "has no opengauss:hosts" in done["msg"] and "og_cluster=" in done["msg"]
    assert "the pillar of n1, shop/vars/og_lock_ttl: " in three.run("status", "n1", og_cluster="shop")["msg"]
    three.vars = {}
    assert three.good("drop", "n2", og_cluster="shop")["changed"]
    # In this process, for the keys are to be seen.
    assert not three.runner().status("n1", og_cluster="shop")["failed"] and set(three.clusters) == {"shop"}


def test_a_minion_that_knows_no_cluster(three):
    assert "the pillar of minion n9 has no opengauss:hosts" in three.run("drop", "n2", minion="n9")["msg"]
    assert three.run("drop", "")["msg"].startswith("no node is named, such as n3,n4")


def job(program, cluster="opengauss", **args):
    """A step of a workflow that runs on a minion, as Salt tells of it."""
    calls = {name: [{"node": name, "program": program, "args": args}] for name in ("n1", "n2")}
    return {"fun": "og.step", "jid": "20261121", "arg": [{"calls": calls, "cluster": cluster, "test": False, "__kwarg__": True}]}


def test_what_a_killed_run_left_to_the_minions_is_waited_for(three):
    state = three.states()["n1"]
    state["lock"] = {"owner": f"me@{platform.node()} pid {2**22 + 1} start 5", "purpose": "x"}
    (three.root / "n1/state.json").write_text(json.dumps(state))

    # A build is waited for by the build that follows it; who looks changes nothing; what runs on another cluster is another's.
    three.running = [[job("og_hba")], [job("og_build"), job("og_hba", state="query"), job("og_hba", "shop"), {"fun": "test.ping", "jid": "1", "arg": []}]]
    three.good("drop", "n2")
    # They are asked twice; after the second look; when the lock is taken. What is asked once more is not told.
    assert (three.settled(), three.err.count("Check whether"), three.err.count("Inspect all nodes")) == (4, 3, 2)


def test_what_does_not_end_on_the_minions_is_told(three):
    state = three.states()["n1"]
    state["lock"] = {"owner": f"me@{platform.node()} pid {2**22 + 1} start 5", "purpose": "x"}
    (three.root / "n1/state.json").write_text(json.dumps(state))
    three.running = [[job("og_hba")]] * 5
    three.patience = 0
    done = three.run("drop", "n2")
    assert "left work that has not ended: og.step og_hba on n1 (jid 20261121); run this again" in done["msg"]
    assert three.log() == [] and not done["changed"]


def test_a_job_that_salt_cannot_give_is_a_failure_as_any_other(three, monkeypatch):
    """What was brought so far is taken back."""
    before, cmd = three.states()["n1"], three.cmd

    def broken(ids, function, kwarg=None, **how):
        if any(call["program"] == "og_build" and call["args"].get("state") != "query" for own in kwarg["calls"].values() for call in own):
            raise OSError("the master is away")
        return cmd(ids, function, kwarg, **how)

    monkeypatch.setattr(three, "cmd", broken)
    done = three.run("expand", "n4")
    assert "n4: OSError: the master is away (rolled back)" in done["msg"]
    assert three.states()["n1"] == before


def steps_in(done):
    """What was changed, as node and step in order."""
    return [(n, name) for n, steps in done["changes"].items() for step in steps for name in step]


def test_expand_and_drop(single):
    before = single.states()
    foreseen = single.good("expand", "n2,n3,n5", test=True)
    assert single.states() == before
    done = single.good("expand", "n2,n3,n5")
    assert steps_in(done) == steps_in(foreseen)
    count = len(steps_in(done))
    assert (foreseen["msg"], done["msg"]) == (f"{count} changes would be made", f"{count} changes")
    now = single.states()
    assert now["n1"]["parameters"]["synchronous_standby_names"] == "*" and now["n1"]["lock"] is None
    assert now["n5"]["role"] == "cascade_standby" and any("n5    10.0.0.5:26000  cascade standby  Normal" in line for line in done["cluster"])
    assert single.good("expand", "n2,n3,n5")["changed"] is False
    foreseen = single.good("drop", "n3", test=True)
    assert single.states() == now
    done = single.good("drop", "n3")
    assert steps_in(done) == steps_in(foreseen)
    assert single.states()["n3"]["running"] is False
    assert single.good("drop", "n3")["changed"] is False


@pytest.mark.parametrize(
    ("given", "opts", "done", "result", "comment"),
    [
        ({}, False, {"changed": True, "msg": "2 changes", "cluster": ["n1", "n2"]}, True, "2 changes\nn1\nn2"),
        ({"test": True}, False, {"changed": True, "msg": "2 changes would be made"}, None, "2 changes would be made"),
        ({}, True, {"changed": False, "msg": "nothing to change"}, True, "nothing to change"),
        ({}, False, {"changed": True, "failed": True, "msg": "no"}, False, "no"),
    ],
)
def test_a_state_of_the_cluster(monkeypatch, given, opts, done, result, comment):
    """What an orchestration tells; `test: true` in it is for that state alone."""
    stand_ins = {
        "salt": types.ModuleType("salt"),
        "salt.exceptions": types.SimpleNamespace(SaltException=Exception),
        "salt.state": types.SimpleNamespace(STATE_INTERNAL_KEYWORDS={"order"}),
    }
    for name, module in stand_ins.items():
        monkeypatch.setitem(sys.modules, name, module)
    spec = importlib.util.spec_from_file_location("og_cluster", SALT / "_states/og_cluster.py")
    states = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(states)
    asked = []

    def runner(name, kwarg):
        asked.append((name, kwarg))
        return {"failed": False, "changes": {"n2": []} if done["changed"] else {}, **done}

    states.__dict__.update(__opts__={"test": opts}, __salt__={"saltutil.runner": runner})
    ret = states.dropped("n2", og_drop_clear="yes", order=1, **given)
    assert asked == [("og.drop", {"og_drop_clear": "yes", "nodes": "n2", "test": opts or bool(given)})]
    assert (ret["result"], ret["comment"], bool(ret["changes"])) == (result, comment, done["changed"])


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


def lives(pid):
    """The owner that stands for this process."""
    start = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    return f"me@{platform.node()} pid {pid} start {start}"


@pytest.mark.parametrize("rollback", [True, False])
def test_a_failed_expand_takes_back_what_it_brought(three, rollback):
    before = three.states()
    (three.root / "fail_n4_og_build").touch()
    done = three.run("expand", "n4,n5", og_rollback=rollback)
    assert done["failed"] and "n4: made to fail" in done["msg"]
    now = three.states()
    assert now["n1"]["lock"] is None
    if rollback:
        assert "(rolled back)" in done["msg"] and now["n1"] == before["n1"]
        assert now["n3"]["rules"] == [] and now["n3"]["channels"] == before["n3"]["channels"] and not now["n4"]["running"]
    else:
        assert "nothing was rolled back" in done["msg"] and len(now["n1"]["channels"]) == 4
        (three.root / "fail_n4_og_build").unlink()
        three.good("expand", "n4,n5")


@pytest.mark.exhaustive("modules/og_workflow/src/steps/tests.rs::what_cannot_be_taken_back_is_told_and_the_rest_is")
def test_what_could_not_be_taken_back_is_told(three):
    for name in ("fail_n4_og_build", "fail_n1_og_slot"):
        (three.root / name).touch()
    done = three.run("expand", "n4")
    assert "not completely rolled back" in done["msg"]
    assert any("Drop the new nodes' replication slots: n1: made to fail" in text for text in done["warnings"])
    # What comes after it was taken back all the same.
    assert len(three.states()["n1"]["channels"]) == 2 and three.states()["n1"]["lock"] is None


@pytest.mark.exhaustive("modules/og_workflow/src/steps/tests.rs::a_live_run_keeps_others_out")
def test_a_live_run_keeps_others_out(three):
    state = three.states()["n1"]
    state["lock"] = {"owner": lives(1), "purpose": "repair"}
    (three.root / "n1/state.json").write_text(json.dumps(state))
    done = three.run("drop", "n2")
    assert done["failed"] and "pid 1 start" in done["msg"] and three.states()["n1"] == state and three.settled() == 0


@pytest.mark.parametrize(
    ("what", "nodes", "how"),
    [("expand", "n2,n5", {}), ("drop", "n2", {"og_drop_commits": "available"})],
)
def test_killed_before_and_after_each_step(tmp_path, programs, what, nodes, how):
    """Each kill is followed by a run that is killed a little later; in the end all is as if nothing had happened."""

    def cluster(name):
        return Master(tmp_path / name, *((1, "*") if what == "expand" else (3, "ANY 1(dn_6002,dn_6003)")), programs)

    whole = cluster("whole")
    whole.good(what, nodes, **how)
    wanted = {n: {**state, "address": None} for n, state in whole.states().items()}
    killed, settled = cluster("killed"), 0
    # As og_lab::KillPoints chooses them.
    first, every = map(int, os.environ.get("OG_KILLS", "0/1").split("/"))
    for kill_at in range(2 + first, 200, every):
        killed.kill_at = kill_at
        try:
            killed.good(what, nodes, **how)
            break
        except Killed as e:
            assert "Error" not in str(e), e
            settled += killed.settled()
    assert 10 < kill_at < 197 and settled > 5 // every
    got = {n: {**state, "address": None} for n, state in killed.states().items()}
    for states in (wanted, got):
        for state in states.values():
            state["static"] = [{k: v for k, v in record.items() if k != "data_dir"} for record in state["static"]]
    assert got == wanted
    assert killed.good(what, nodes, **how)["changed"] is False


def test_page_of_several_clusters(tmp_path, programs):
    """Both clusters that the text shows stand on the same minions; what is typed is done on each as on a cluster of its own."""
    text, lines, _ = section_blocks("docs/salt.md", "Several clusters")
    pillar = yaml.safe_load(text)
    assert len({json.dumps([host["minion"] for host in own["hosts"].values()]) for own in pillar.values()}) == 1
    for key, own in pillar.items():
        master = Master(tmp_path / key, 1, "*", programs)
        master.key, master.vars = key, own["vars"]
        folders = dict(zip(own["hosts"], master.hosts.values()))
        master.hosts = {name: {**host, **{what: folders[name][what] for what in ("address", "data_dir")}} for name, host in own["hosts"].items()}
        for words in (line.replace("shop", key).split()[1:] for line in lines.splitlines()):
            options = dict(word.split("=") for word in words if "=" in word)
            nodes = words[1] if words[1] in own["hosts"] or "db" in words[1] else list(own["hosts"])[1]
            assert master.good(words[0].removeprefix("og."), nodes, **options)["cluster"]


def test_page(tmp_path, programs):
    """The pillar that the text shows describes a cluster that grows; only where these nodes are is another matter."""
    pillar = yaml.safe_load(section_blocks("docs/salt.md", "Set it up")[1])["opengauss"]
    master = Master(tmp_path / "documented", 2, "ANY 1(dn_6002)", programs)
    master.vars = pillar["vars"]
    master.hosts = {name: {**host, **{key: master.hosts[name][key] for key in ("address", "data_dir")}} for name, host in pillar["hosts"].items()}
    assert master.good("expand", "n3,n4") and master.states()["n4"]["role"] == "cascade_standby"
