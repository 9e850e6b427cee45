"""og-expand, og-drop and og-status in the small shells, on nodes that are folders; og_workflow is the real one. On servers: tests/scenarios."""

import json
import os
import pathlib
import shlex
import shutil
import signal
import subprocess
import sys
import time

import pytest
from conftest import ON_NODES, ROOT, readme
from test_salt_workflows import FAKE, Nodes

SCRIPTS = ROOT / "playbooks/shell"
SHELLS = [["dash"], ["busybox", "ash"]]
# Seconds after which a script counts as hanging; on a machine that is busy with other tests it takes minutes.
LIMIT = 300
# A call comes over ssh with its host before the file of its arguments; here it stays on this machine.
STAND_IN = """#!{python} -IS
import sys
with open("{root}/hosts", "a") as f:
    print(*sys.argv[1:], file=f)
sys.stdin = open(sys.argv[-1])
with open("{fake}") as f:
    exec(compile(f.read(), "{fake}", "exec"))
"""


class World(Nodes):
    """These nodes in a cluster.json; the first `members` of them are a cluster."""

    def __init__(self, root, nodes, members, names, programs, shell):
        super().__init__(root, members, names)
        self.hosts = {n: self.hosts[n] for n in nodes}
        self.shell = shell
        self.bin = root / "bin"
        self.bin.mkdir()
        for name in ON_NODES:
            (self.bin / name).write_text(STAND_IN.format(root=root, python=sys.executable, fake=FAKE))
            (self.bin / name).chmod(0o755)
        # There is no host to connect to.
        (self.bin / "ssh").symlink_to("/bin/false")
        (self.bin / "og_workflow").symlink_to(programs / "og_workflow")
        self.write({"hosts": self.hosts, "vars": {"ssh_user": "omm"}})
        (root / "tmp").mkdir()

    def write(self, cluster):
        (self.root / "cluster.json").write_text(json.dumps(cluster, indent=2))

    def start(self, script, *words):
        env = {"PATH": os.environ["PATH"], "OG_BINARIES": str(self.bin), "TMPDIR": str(self.root / "tmp")}
        (self.root / "log").write_text("")
        command = [*self.shell, SCRIPTS / script, *words]
        # Into files: what a killed run leaves at work would keep a pipe open.
        with (self.root / "out").open("w") as out, (self.root / "err").open("w") as err:
            return subprocess.Popen(command, cwd=self.root, env=env, stdout=out, stderr=err)

    def ended(self, child):
        child.wait(LIMIT)
        return subprocess.CompletedProcess(child.args, child.returncode, (self.root / "out").read_text(), (self.root / "err").read_text())

    def run(self, script, *words):
        done = self.ended(self.start(script, *words))
        assert list((self.root / "tmp").iterdir()) == []
        return done

    def good(self, *words):
        done = self.run(*words)
        assert done.returncode == 0, done
        return done.stdout.splitlines()

    def waits_for(self, what):
        end = time.monotonic() + LIMIT
        while not what():
            assert time.monotonic() < end, "it did not come"
            time.sleep(0.02)


def shells():
    return [pytest.param(s, id=s[0], marks=[] if shutil.which(s[0]) else pytest.mark.skip(reason=f"no {s[0]} here")) for s in SHELLS]


@pytest.fixture(params=shells())
def single(tmp_path, programs, request):
    return World(tmp_path / "single", ["n1", "n2", "n5"], 1, "*", programs, request.param)


@pytest.fixture
def single_in_dash(tmp_path, programs):
    return World(tmp_path / "single", ["n1", "n2"], 1, "*", programs, SHELLS[0])


@pytest.fixture
def three(tmp_path, programs):
    return World(tmp_path / "three", ["n1", "n2", "n3", "n4"], 3, "ANY 1(dn_6002,dn_6003)", programs, SHELLS[0])


def changes(lines):
    """What is told as changed; the table comes before it."""
    return [": ".join(line.split(": ")[:2]) for line in lines if ": " in line]


def test_expand_and_drop(single):
    before = single.states()
    foreseen = single.good("og-expand", "-n", "n2,n5")
    assert single.states() == before
    done = single.good("og-expand", "n2,n5")
    assert changes(done) == changes(foreseen) and len(changes(done)) > 10
    now = single.states()
    assert now["n1"]["parameters"]["synchronous_standby_names"] == "*" and now["n1"]["lock"] is None
    assert any(line.startswith("n5    10.0.0.5:26000  cascade standby  normal") for line in done)
    assert f"--host omm@10.0.0.5 --ssh-config {single.root}/tmp" in (single.root / "hosts").read_text()
    assert changes(single.good("og-expand", "n2", "n5")) == []
    foreseen = single.good("og-drop", "--check", "n5,n2", "og_drop_clear=true")
    assert single.states() == now
    done = single.good("og-drop", "--forks", "3", "n5,n2", "og_drop_clear=true", "og_look_timeout=60")
    assert changes(done) == changes(foreseen) and single.states()["n2"]["running"] is False
    assert single.good("og-status")[1].startswith("n1    10.0.0.1:26000")


def test_status_fails_of_what_is_wrong_and_says_it(three):
    three.hosts["n4"]["data_dir"] += "/nowhere"
    three.write({"hosts": three.hosts, "vars": {}})
    done = three.run("og-status")
    assert done.returncode == 1 and done.stdout.startswith("NODE") and "1 finding:\n- n4: its state cannot be read" in done.stderr, done
    done = three.run("og-drop", "n4")
    assert done.returncode == 1 and "1 finding; nothing was changed:\n- n4: its state cannot be read" in done.stderr and three.log() == []
    three.hosts["n4"]["data_dir"] = str(three.root / "n4")
    three.write({"hosts": three.hosts, "vars": {}})
    path = three.root / "n3/state.json"
    path.write_text(json.dumps({**three.states()["n3"], "role": "primary", "built": False}))
    done = three.run("og-status")
    assert done.returncode == 1 and done.stdout.startswith("Not usable: more than one primary: n1 and n3 run as primary, ")


def test_what_fails_is_told_and_taken_back(three):
    before = three.states()
    (three.root / "fail_n4_og_build").touch()
    done = three.run("og-expand", "n4")
    assert done.returncode == 1 and "n4: made to fail (what this run brought was taken away again)" in done.stderr
    assert three.states()["n1"] == before["n1"]
    done = three.run("og-drop", "n1,n9")
    assert done.returncode == 1 and "2 findings; nothing was changed:\n- og_drop: n9" in done.stderr
    assert three.log() == []


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "name the nodes"),
        (["-x", "n2"], "unknown option -x"),
        (["n2", "og_rolback=no"], "did you mean og_rollback?"),
        (["n2", "og_rollback=perhaps"], '/options/og_rollback: "perhaps" is not a boolean (yes or no)'),
        (["n2", "og_sync_num=two"], '/options/og_sync_num: "two" is not one of majority, keep'),
        (["n2", 'og_hba_method=a"\\b', "og_look_timeout=x"], '"x" is not a whole number'),
        (["-f", "nowhere.json", "n2"], "cannot read nowhere.json"),
        (["-F", "nowhere", "n2"], "cannot read nowhere"),
        (["--forks", "0", "n2"], "--forks"),
        (["-f"], "-f needs a value"),
    ],
)
def test_unusable_words_are_exit_2(words, told, three):
    done = three.run("og-expand", *words)
    assert done.returncode == 2 and told in done.stderr and done.stdout == "" and three.log() == [], done


def test_a_cluster_that_cannot_be_used(three):
    for cluster, told in [([], "not"), ({"hosts": {}}, "has no hosts"), ({"hosts": {"n1": {"ssh": "-x"}}}, "ssh cannot go to -x"),
                          ({"hosts": {"n1": {}}, "vars": {"og_look_timeout": "x"}}, '/cluster/vars/og_look_timeout: "x" is not a whole number')]:
        three.write(cluster)
        done = three.run("og-status")
        assert done.returncode == 2 and told in done.stderr, done


def test_a_program_that_says_nothing(three):
    (three.bin / "og_hba").write_text("#!/bin/sh\n")
    done = three.run("og-drop", "n2")
    assert done.returncode == 1 and "- n1: og_hba ended without an answer" in done.stderr, done


def test_help(three):
    done = three.run("og-drop", "--help")
    assert done.returncode == 0 and "Usage: og-drop [-n]" in done.stdout


def test_interrupted_and_killed_it_carries_on(single_in_dash):
    single = single_in_dash
    whole = World(single.root.parent / "whole", ["n1", "n2"], 1, "*", single.bin, single.shell)
    whole.good("og-expand", "n2")
    hold = single.root / "hold_n2_og_build"
    hold.touch()

    def at_hold():
        return "n2 og_build" in (single.root / "log").read_text()

    child = single.start("og-expand", "n2")
    single.waits_for(at_hold)
    child.send_signal(signal.SIGTERM)
    done = single.ended(child)
    assert done.returncode == 1 and "interrupted" in done.stderr and list((single.root / "tmp").iterdir()) == []
    # Killed, it leaves its call at work; the next run waits until that is over.
    child = single.start("og-expand", "n2")
    single.waits_for(at_hold)
    child.kill()
    child.wait()
    assert single.states()["n1"]["lock"]["owner"].split(" pid ")[1].startswith(f"{child.pid} start")
    again = single.start("og-expand", "n2")
    single.waits_for(lambda: "Check whether" in (single.root / "err").read_text())
    assert again.poll() is None
    hold.unlink()
    assert single.ended(again).returncode == 0
    got, wanted = (
        {n: {**s, "static": [r["name"] for r in s["static"]]} for n, s in world.states().items()} for world in (single, whole)
    )
    assert got == wanted
    shutil.rmtree(single.root / "tmp")
    (single.root / "tmp").mkdir()
    assert changes(single.good("og-expand", "n2")) == []


def test_readme(three):
    """What is typed, in its order, on the cluster that the text describes and the example file has."""
    text, lines = readme("With nothing but ssh")
    described = json.loads(text)
    assert described == json.loads((SCRIPTS / "cluster.example.json").read_text())
    for name, own in described["hosts"].items():
        own.update(address=three.hosts[name]["address"], data_dir=three.hosts[name]["data_dir"])
    three.write(described)
    ran = [shlex.split(line) for line in lines.splitlines()]
    assert {pathlib.Path(words[0]).name for words in ran} == {"og-status", "og-expand", "og-drop"}
    for words in ran:
        three.good(*words)
    assert three.states()["n4"]["built"] and not three.states()["n2"]["running"]
