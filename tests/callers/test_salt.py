"""The programs from Salt, by `salt-call --local`: states twice and with test=True, failures, watching, documentation, secrets."""

import json
import os
import pathlib
import shutil
import subprocess

import pytest
import yaml
from conftest import ON_NODES, ROOT, files, section_blocks

pytestmark = pytest.mark.skipif("OG_SALT" not in os.environ, reason="no salt (cargo xtask setup)")

STATES = """
rules:
  og.hba_present:
    - rules:
      - host all omm 192.168.0.13/32 trust
parameters:
  og.guc_present:
    - parameters:
        wal_keep_segments: 256
no port:
  og.guc_absent:
    - names: [port]
"""


class Minion:
    """A minion without a master; everything it has is in one folder."""

    def __init__(self, root, node, bin_dir=None):
        self.root, self.srv = root, root / "srv"
        self.srv.mkdir()
        for folder in ("_modules", "_states", "opengauss"):
            shutil.copytree(ROOT / "playbooks/salt" / folder, self.srv / folder, ignore=shutil.ignore_patterns("__pycache__"))
        # The node's variables come from the pillar of its cluster.
        cluster = {"hosts": {"n1": {"id": 1, "data_dir": str(node)}, "n2": {"id": 2, "data_dir": "/nowhere"}}}
        config = {
            "root_dir": str(root),
            "file_client": "local",
            "file_roots": {"base": [str(self.srv)]},
            "id": "n1",
            "log_file": "log",
            "log_level_logfile": "debug",
            "fileserver_list_cache_time": 0,
            "pillar_roots": {"base": [str(root / "pillar")]},
            "og": {"bin_dir": str(bin_dir)} if bin_dir else {},
        }
        (root / "pillar").mkdir()
        (root / "pillar/top.sls").write_text("base: {'*': [cluster]}")
        (root / "pillar/cluster.sls").write_text(yaml.safe_dump({"opengauss": cluster, "word": "Gauss@4712"}))
        (root / "minion").write_text(yaml.safe_dump(config))
        self.good("saltutil.sync_all")

    def run(self, *args):
        env = {"PATH": os.environ["PATH"], "HOME": str(self.root)}
        line = [pathlib.Path(os.environ["OG_SALT"]) / "salt-call", "--local", "--retcode-passthrough", "-c", self.root, "--out=json", *args]
        return subprocess.run(line, env=env, capture_output=True, text=True, check=False)

    def good(self, *args):
        done = self.run(*args)
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout)["local"]

    def apply(self, text, *args):
        """The states by their ids and names, and the exit status."""
        (self.srv / "it.sls").write_text(text)
        done = self.run("state.apply", "it", *args)
        states = json.loads(done.stdout)["local"]
        assert isinstance(states, dict), states
        return {s["__id__"]: s for s in states.values()}, done.returncode

    def log(self):
        return "".join(p.read_text() for p in self.root.rglob("log") if p.is_file())


@pytest.fixture
def minion(tmp_path, node, programs):
    return Minion(tmp_path, node, programs)


def results(states):
    return {key: (state["result"], bool(state["changes"])) for key, state in states.items()}


def test_states(minion, node):
    """test=True predicts and changes nothing; then each change is shown; then nothing is left to do."""
    before = files(node)
    foreseen, status = minion.apply(STATES, "test=True")
    assert status == 0 and set(results(foreseen).values()) == {(None, True)}, foreseen
    assert files(node) == before
    done, status = minion.apply(STATES)
    assert status == 0 and set(results(done).values()) == {(True, True)}, done
    assert done["parameters"]["changes"] == {"wal_keep_segments": {"old": None, "new": "256"}} == foreseen["parameters"]["changes"]
    assert done["no port"]["changes"] == {"port": {"old": "26000", "new": None}}
    assert "\n+host all omm 192.168.0.13/32 trust" in done["rules"]["changes"]["diff"]
    assert done["rules"]["changes"] == foreseen["rules"]["changes"]
    after = files(node)
    assert "192.168.0.13" in after["pg_hba.conf"] and after["pg_hba.conf"].startswith("# kept\n")
    for args in ((), ("test=True",)):
        again, status = minion.apply(STATES, *args)
        assert status == 0 and set(results(again).values()) == {(True, False)}, again
    assert files(node) == after


def test_functions(minion, node):
    answer = minion.good("og.hba", "state=query", 'match={"user": "app", "address": "10.1.2.3"}')
    assert answer["matched"]["line"] == 4 and not answer["changed"]
    before = files(node)
    assert minion.good("og.guc", "parameters={wal_keep_segments: 64}", "test=True")["changed"]
    assert files(node) == before
    assert minion.good("og.guc", "parameters={wal_keep_segments: 64}")["changed"]
    assert "wal_keep_segments" in files(node)["postgresql.conf"]
    # What is Ansible's own is left out.
    assert not {"invocation", "ansible_facts"} & set(minion.good("og.node_state"))


def test_a_step_that_only_asks_changes_nothing(minion, node):
    """A workflow asks in check mode what may be done before it does it, in a run without test=True, too."""
    before = files(node)
    call = {"node": "n1", "program": "og_guc", "args": {"parameters": {"wal_keep_segments": 64}, "check_mode": True}}
    [answer] = minion.good("og.step", f"calls={json.dumps({'n1': [call]})}")
    assert answer["changed"] and files(node) == before


@pytest.mark.in_turn
def test_settings_from_several_places(minion, node, tmp_path):
    """Those of the pillar count beside those of the configuration, which count more."""
    pillar = {"og": {"bin_dir": "/nowhere", "os_user": "omm"}, "opengauss": {"hosts": {"n1": {"id": 1, "data_dir": str(node)}}}}
    (tmp_path / "pillar/cluster.sls").write_text(yaml.safe_dump(pillar))
    found = minion.good("og.configuration")
    assert (found["os_user"], found["data_dir"]) == ("omm", str(node)) and found["bin_dir"] != "/nowhere"


@pytest.mark.in_turn
def test_a_state_that_only_tests(minion, node):
    """`test: true` in a state is for that state alone."""
    before = files(node)
    text = STATES.replace("        wal_keep_segments: 256\n", "        wal_keep_segments: 256\n    - test: true\n")
    foreseen, _ = minion.apply(text, "test=True")
    assert set(results(foreseen).values()) == {(None, True)} and files(node) == before
    states, _ = minion.apply(text)
    assert results(states) == {"rules": (True, True), "parameters": (None, True), "no port": (True, True)}
    assert "wal_keep" not in files(node)["postgresql.conf"] and files(node) != before


def test_lock(minion):
    states = "lock:\n  og.lock_held:\n    - owner: dba@control\n    - purpose: a try\n"
    held, _ = minion.apply(states)
    assert held["lock"]["changes"]["lock"]["new"]["owner"] == "dba@control"
    other, status = minion.apply(states.replace("dba", "other"))
    assert status != 0 and other["lock"]["result"] is False
    assert "dba@control" in other["lock"]["comment"]


def test_failures(minion, node):
    """What the program says reaches the user, and the exit status says that it failed."""
    before = files(node)
    states, status = minion.apply("bad:\n  og.hba_present:\n    - rules:\n      - host all all 10.0.0.0/99 trust\n")
    assert status != 0 and states["bad"]["result"] is False and not states["bad"]["changes"]
    assert "10.0.0.0/99" in states["bad"]["comment"]
    states, status = minion.apply("bad:\n  og.hba_present:\n    - rule: x\n")
    assert states["bad"]["result"] is False and "rules" in states["bad"]["comment"]
    done = minion.run("og.hba", "state=query", "data_dir=/nowhere/at/all")
    assert done.returncode != 0
    assert json.loads(done.stdout)["local"]["error"]["kind"] == "not_found"
    assert files(node) == before


@pytest.mark.in_turn
def test_watch(tmp_path, node, programs):
    """A server that runs is reloaded, or restarted where that is asked for, when what it watches changed; else left alone."""
    folder = tmp_path / "programs"
    shutil.copytree(programs, folder)
    calls = tmp_path / "calls"
    (folder / "og_node_state").unlink()
    (folder / "og_node_state").write_text(
        "#!/bin/sh\nread -r args\n"
        f'printf "%s\\n" "$args" >> {calls}\n'
        'case $args in *started*restarted*|*\'"state": "started"\'*) changed=false;; *) changed=true;; esac\n'
        'echo "{\\"changed\\": $changed, \\"failed\\": false, \\"msg\\": \\"seen\\", \\"actions\\": [\\"act\\"]}"\n'
    )
    (folder / "og_node_state").chmod(0o755)
    minion = Minion(tmp_path, node, folder)
    text = STATES + "server:\n  og.node_state_started:\n    - role: standby\n{0}    - watch:\n      - og: {1}\n"
    minion.apply(text.format("", "parameters"))
    assert [json.loads(c)["state"] for c in calls.read_text().splitlines()] == ["started", "reloaded"]
    calls.write_text("")
    server = minion.apply(text.format("", "parameters"))[0]["server"]
    assert server["result"] is True and not server["changes"]
    assert [json.loads(c)["state"] for c in calls.read_text().splitlines()] == ["started"]
    (node / "postgresql.conf").write_text("")
    calls.write_text("")
    minion.apply(text.format("    - on_watch: restarted\n", "parameters"))
    [started, restarted] = map(json.loads, calls.read_text().splitlines())
    assert (started["state"], restarted["state"], restarted["role"]) == ("started", "restarted", "standby")


def test_secrets_stay_out_of_the_log(minion, node):
    """A secret of the pillar is in no log, not even at the level debug, at which Salt logs the text of states."""
    states = "secret:\n  og.guc_present:\n    - show_changes: false\n    - parameters:\n        a.word: pillar://word\n"
    done, _ = minion.apply(states)
    assert results(done) == {"secret": (True, True)}
    assert "Gauss@4712" in files(node)["postgresql.conf"]
    assert "Gauss@4712" not in str(done)
    minion.good("og.guc", "parameters={b.word: 'pillar://word'}")
    assert files(node)["postgresql.conf"].count("Gauss@4712") == 2
    assert "Completed state [secret]" in minion.log() and "[DEBUG" in minion.log()
    assert "Gauss@4712" not in minion.log()
    states, status = minion.apply(states.replace("//word", "//wrod"))
    assert status != 0 and "no wrod" in states["secret"]["comment"]


@pytest.mark.in_turn
def test_programs_from_the_master(tmp_path, node, programs):
    """Where no program is installed, the one of the master's files serves."""
    minion = Minion(tmp_path, node)
    assert "og:bin_dir" in minion.run("og.hba", "state=query").stderr
    shutil.copytree(programs, minion.srv / "opengauss-node" / os.uname().machine)
    assert minion.good("og.hba", "state=query")["rule_count"] == 3
    done = minion.run("state.apply", "opengauss.programs")
    assert done.returncode != 0 and "og:bin_dir is not set" in done.stdout


@pytest.mark.in_turn
def test_programs_put_into_a_folder(tmp_path, node, programs):
    """For salt-ssh, and for whoever wants them there."""
    minion = Minion(tmp_path, node, tmp_path / "opt/node")
    shutil.copytree(programs, minion.srv / "opengauss-node" / os.uname().machine)
    [foreseen] = minion.good("state.apply", "opengauss.programs", "test=True").values()
    assert foreseen["result"] is None and not (tmp_path / "opt").exists()
    for changed in (True, False):
        [state] = minion.good("state.apply", "opengauss.programs").values()
        assert state["result"] is True and bool(state["changes"]) == changed
    assert sorted(p.name for p in (tmp_path / "opt/node").iterdir()) == ON_NODES
    assert minion.good("og.hba", "state=query")["rule_count"] == 3


@pytest.mark.in_turn
@pytest.mark.skipif(os.geteuid() != 0, reason="it needs root")
def test_a_program_that_others_could_change_is_not_run_by_root(tmp_path, node, programs):
    shutil.copytree(programs, tmp_path / "bin")
    minion = Minion(tmp_path, node, tmp_path / "bin")
    (tmp_path / "bin/og_host").chmod(0o777)
    assert "og_host is not root's alone" in minion.run("og.host", "state=query").stderr
    (tmp_path / "bin/og_host").chmod(0o755)
    os.chown(tmp_path / "bin", 65534, -1)
    assert "bin is not root's alone" in minion.run("og.host", "state=query").stderr
    os.chown(tmp_path / "bin", 0, -1)
    # A chain of links through a folder of somebody else's, which is neither on the first way nor on the last.
    (tmp_path / "eve").mkdir()
    (tmp_path / "eve/og_host").symlink_to(tmp_path / "bin/og_host")
    shutil.copytree(tmp_path / "bin", tmp_path / "links")
    (tmp_path / "links/og_host").unlink()
    (tmp_path / "links/og_host").symlink_to("../eve/og_host")
    (tmp_path / "other").mkdir()
    linked = Minion(tmp_path / "other", node, tmp_path / "links")
    assert "root's alone" not in linked.run("og.host", "state=query").stderr
    os.chown(tmp_path / "eve", 65534, -1)
    assert "eve is not root's alone" in linked.run("og.host", "state=query").stderr
    # What acts for the database's user may be his.
    assert minion.good("og.hba", "state=query")["rule_count"] == 3


@pytest.mark.in_turn
def test_doc(minion):
    """sys.doc and sys.state_doc tell each program's arguments."""
    calls, states = minion.good("sys.doc", "og"), minion.good("sys.state_doc", "og")
    for name in ON_NODES:
        schema = json.loads((ROOT / f"schemas/v1/{name}.args.json").read_text())["properties"]
        text = calls[f"og.{name[3:]}"]
        assert all(f"\n{key} (" in text or f"\n    {key} (" in text for key in set(schema) - {"check_mode", "diff"}), text
        wanted = [s["const"] for s in schema.get("state", {"oneOf": []})["oneOf"] if s["const"] != "query"]
        for state in wanted:
            assert f"og.{name[3:]}_{state}" in states
    assert "bin_dir" in states["og"] or "data_dir" in states["og"]


def test_page(minion, node):
    """What is typed for one node; for the workflows see tests/scenarios."""
    commands, states = section_blocks("docs/salt.md", "One node")
    (minion.srv / "replication.sls").write_text(states)
    before = files(node)
    for line in commands.splitlines():
        words = line.split()
        assert words[:2] == ["salt", "n1"]
        answer = minion.good(*words[2:])
    assert {s["result"] for s in answer.values()} == {None} and len(answer) == 2
    assert files(node) == before
    assert {s["result"] for s in minion.good("state.apply", "replication").values()} == {True}


@pytest.mark.in_turn
def test_page_of_several_clusters(minion, node):
    """The call is about the node of the cluster that it names; `og:cluster` names one for all calls."""
    file = minion.root / "pillar/cluster.sls"
    pillar, other = yaml.safe_load(file.read_text()), node.parent / "billing"
    shutil.copytree(node, other)
    billing = {"hosts": {"b1": {"id": 1, "minion": "n1", "data_dir": str(other)}}}
    file.write_text(yaml.safe_dump({**pillar, "billing": billing}))
    assert minion.good("og.configuration")["data_dir"] == str(node)
    assert minion.good("og.configuration", "billing")["data_dir"] == str(other)
    words = section_blocks("docs/salt.md", "Several clusters")[2].split()
    assert words[:2] == ["salt", "db1"] and minion.good(*words[2:])["node"]["running"] is False
    assert minion.good("og.hba", "rules=host all all 10.9.9.9/32 md5", "og_cluster=billing")["changed"]
    assert "10.9.9.9" in (other / "pg_hba.conf").read_text() and "10.9.9.9" not in (node / "pg_hba.conf").read_text()
    file.write_text(yaml.safe_dump({**pillar, "billing": billing, "og": {"cluster": "billing"}}))
    assert minion.good("og.configuration")["data_dir"] == str(other)
