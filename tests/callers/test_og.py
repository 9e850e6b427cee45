"""og as it is typed, over real ssh, on nodes that are folders. On servers: tests/scenarios."""

import getpass
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from conftest import ON_NODES, ROOT, blocks, section_blocks
from test_salt_workflows import FAKE, Nodes
from test_workflows import write_package

EXAMPLE = ROOT / "playbooks/cluster.example.json"
# Seconds after which a run counts as hanging; on a machine that is busy with other tests it takes minutes.
LIMIT = 300
# The caller keeps standard input open for as long as it wants the answer.
STAND_IN = """#!{python} -IS
import io, os, sys, threading
first, rest = sys.stdin.readline(), sys.stdin
def gone():
    rest.read()
    os._exit(1)
threading.Thread(target=gone, daemon=True).start()
sys.stdin = io.StringIO(first)
with open("{root}/called", "a") as f:
    print(os.path.basename(sys.argv[0]), *sys.argv[1:], file=f)
with open("{fake}") as f:
    exec(compile(f.read(), "{fake}", "exec"))
"""


class World(Nodes):
    """These nodes in a cluster.json; the first `members` of them are a cluster."""

    def __init__(self, root, nodes, members, names, programs, ssh_hosts):
        super().__init__(root, members, names)
        self.hosts = {n: self.hosts[n] for n in nodes}
        self.ssh = ssh_hosts([own["address"] for own in self.hosts.values()])
        self.bin = root / "bin"
        self.bin.mkdir()
        for name in ON_NODES:
            (self.bin / name).write_text(STAND_IN.format(root=root, python=sys.executable, fake=FAKE))
            (self.bin / name).chmod(0o755)
        self.og = programs / "og"
        self.write({"hosts": self.hosts, "vars": {}})
        (root / "called").touch()

    def write(self, cluster):
        (self.root / "cluster.json").write_text(json.dumps(cluster, indent=2))

    def env(self):
        return {"PATH": f"{self.ssh}:{os.environ['PATH']}", "OG_BINARIES": str(self.bin), "HOME": str(self.root), "TMPDIR": "/tmp"}

    def start(self, *words):
        (self.root / "log").write_text("")
        with (self.root / "out").open("w") as out, (self.root / "err").open("w") as err:
            return subprocess.Popen([self.og, *words], cwd=self.root, env=self.env(), stdin=subprocess.DEVNULL, stdout=out, stderr=err)

    def ended(self, child):
        child.wait(LIMIT)
        return subprocess.CompletedProcess(child.args, child.returncode, (self.root / "out").read_text(), (self.root / "err").read_text())

    def run(self, *words):
        return self.ended(self.start(*words))

    def good(self, *words):
        done = self.run(*words)
        assert done.returncode == 0, done
        return done.stdout.splitlines()

    def waits_for(self, what):
        end = time.monotonic() + LIMIT
        while not what():
            assert time.monotonic() < end, "it did not come"
            time.sleep(0.02)


@pytest.fixture
def single(tmp_path, programs, ssh_hosts):
    return World(tmp_path / "single", ["n1", "n2", "n5"], 1, "*", programs, ssh_hosts)


@pytest.fixture
def three(tmp_path, programs, ssh_hosts):
    return World(tmp_path / "three", ["n1", "n2", "n3", "n4"], 3, "ANY 1(dn_6002,dn_6003)", programs, ssh_hosts)


def changes(lines):
    """What is told as changed; the table comes before it."""
    return [": ".join(line.split(": ")[:2]) for line in lines if ": " in line]


def test_expand_and_drop(single):
    before = single.states()
    foreseen = single.good("expand", "-n", "n2,n5")
    assert single.states() == before
    done = single.good("expand", "n2,n5")
    assert changes(done) == changes(foreseen) and len(changes(done)) == 10
    now = single.states()
    assert now["n1"]["parameters"]["synchronous_standby_names"] == "*" and now["n1"]["lock"] is None
    assert any(line.startswith("n5    10.0.0.5:26000  cascade standby  Normal") for line in done)
    assert "og_build --served --progress\n" in (single.root / "called").read_text()
    assert changes(single.good("expand", "n2", "n5")) == []
    foreseen = single.good("drop", "--check", "n5,n2", "og_drop_clear=true")
    assert single.states() == now
    done = single.good("drop", "--forks", "3", "n5,n2", "--drop-clear", "yes", "og_look_timeout=60")
    assert changes(done) == changes(foreseen) and single.states()["n2"]["running"] is False
    assert any(line.startswith("n1    10.0.0.1:26000") for line in single.good("status"))


def test_a_package_is_carried_and_unpacked(three, programs):
    """Over ssh, by the programs that do so, after a run that was killed; what deploy then finds of nodes that are folders is no matter."""
    for name in ("og_file", "og_package"):
        (three.bin / name).unlink()
        (three.bin / name).symlink_to(programs / name)
    three.hosts = {name: three.hosts[name] for name in ("n1", "n2")}
    for name, own in three.hosts.items():
        own["gauss_home"] = str(three.root / f"app-{name}/current")
        # Root is to be named: programs of the package are run.
        own["os_user"] = getpass.getuser()
    three.write({"hosts": three.hosts, "vars": {}})
    write_package(three.root / "openGauss.tar.gz", 17 << 20)
    words = ("deploy", "--package", "openGauss.tar.gz")
    foreseen = three.run(*words, "-n")
    assert foreseen.returncode == 0 and "unpack the package" in foreseen.stdout and not (three.root / "app-n1").exists(), foreseen
    killed = three.start(*words)
    three.waits_for(lambda: any(part.stat().st_size for part in three.root.glob("app-n1/.og_file-*")) or list(three.root.glob("app-n1/*.package")))
    killed.kill()
    three.ended(killed)
    done = three.run(*words, "--json")
    assert (three.root / "app-n1/current/bin/gaussdb").exists(), done
    steps = [event["step"] for event in map(json.loads, done.stdout.splitlines()) if event["event"] == "step"]
    looks = ["Inspect the package", "Inspect the data directories", "Check whether the nodes have the package"]
    assert steps[:3] == looks and "Unpack the package" in steps
    for name in three.hosts:
        folder = three.root / f"app-{name}"
        link = folder / "current"
        assert (link / "share/filling").stat().st_size == 17 << 20 and sorted(os.listdir(folder)) == ["current", "current.env", os.readlink(link)]
    again = three.run(*words, "--json")
    steps = [event["step"] for event in map(json.loads, again.stdout.splitlines()) if event["event"] == "step"]
    assert "Transfer the package" not in steps and "Remove the file of the package" in steps
    os.remove(three.root / "openGauss.tar.gz")
    missing = three.run(*words)
    assert missing.returncode == 1 and "1 finding; nothing was changed:\n- og_package: cannot read" in missing.stderr, missing


def test_status_fails_of_what_is_wrong_and_says_it(three):
    three.hosts["n4"]["data_dir"] += "/nowhere"
    three.write({"hosts": three.hosts, "vars": {}})
    done = three.run("status")
    assert done.returncode == 1 and "ERROR: n4: its state cannot be read" in done.stdout and "correct data_dir" in done.stdout, done
    done = three.run("drop", "n4")
    assert done.returncode == 1 and "1 finding; nothing was changed:\n- n4: its state cannot be read" in done.stderr and three.log() == []
    three.hosts["n4"]["data_dir"] = str(three.root / "n4")
    three.write({"hosts": three.hosts, "vars": {}})
    path = three.root / "n3/state.json"
    path.write_text(json.dumps({**three.states()["n3"], "role": "primary", "built": False}))
    done = three.run("status")
    assert done.returncode == 1 and done.stdout.startswith("Not usable: more than one primary: n1 and n3 run as primary, ")


def test_a_node_that_cannot_be_reached(three):
    """It is tried once, and shown; the others are asked."""
    three.hosts["n4"]["address"] = "unknown.invalid"
    three.write({"hosts": three.hosts, "vars": {}})
    done = three.run("status")
    rows = {row.split()[0]: row.split()[1:] for row in done.stdout.splitlines() if row}
    assert rows["n4"][1:3] == ["?", "unreachable"] and rows["n2"][:2] == ["10.0.0.2:26000", "standby"], done


def test_what_fails_is_told_and_taken_back(three):
    before = three.states()
    (three.root / "fail_n4_og_build").touch()
    done = three.run("expand", "n4")
    assert done.returncode == 1 and "n4: made to fail (rolled back)" in done.stderr
    assert three.states()["n1"] == before["n1"]
    done = three.run("drop", "n1,n9")
    assert done.returncode == 1 and "2 findings; nothing was changed:\n- og_drop: n9" in done.stderr
    assert three.log() == []


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["expand"], "<NODE>"),
        (["expand", "-x", "n2"], "unexpected argument '-x'"),
        (["expand", "n2", "og_rolback=no"], "did you mean og_rollback?"),
        (["expand", "n2", "og_rollback=perhaps"], '/options/og_rollback: "perhaps" is not a boolean (yes or no)'),
        (["expand", "n2", "--sync-num", "two"], '/options/og_sync_num: "two" is not one of majority, keep'),
        (["expand", "n2", 'og_hba_method=a"\\b', "og_look_timeout=x"], '"x" is not a whole number'),
        (["expand", "-f", "nowhere.json", "n2"], "cannot read nowhere.json"),
        (["expand", "-F", "nowhere", "n2"], "cannot read nowhere"),
        (["expand", "--forks", "0", "n2"], "--forks"),
        (["status", "--cluster", "blue"], "there is no blue.json"),
    ],
)
def test_unusable_words_are_exit_2(words, told, three):
    done = three.run(*words)
    assert done.returncode == 2 and told in done.stderr and done.stdout == "" and three.log() == [], done


def test_a_cluster_that_cannot_be_used(three):
    for cluster, told in [([], "does not describe a cluster"), ({"hosts": {}}, "has no hosts"), ({"hosts": {"n1": {"ssh": "-x"}}}, "ssh cannot go to -x"),
                          ({"hosts": {"n1": {}}, "vars": {"og_look_timeout": "x"}}, '/cluster/vars/og_look_timeout: "x" is not a whole number')]:
        three.write(cluster)
        done = three.run("status")
        assert done.returncode == 2 and told in done.stderr, done


def test_a_program_that_says_nothing(three):
    (three.bin / "og_hba").write_text("#!/bin/sh\n")
    done = three.run("drop", "n2")
    assert done.returncode == 1 and "- n1: og_hba ended there without a result" in done.stderr, done


def test_events_as_json(three):
    done = three.run("drop", "n3", "--json")
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0 and done.stderr == ""
    assert events[0]["event"] == "step" and events[0]["nodes"] == ["n1", "n2", "n3", "n4"]
    assert events[-1]["event"] == "outcome" and events[-1]["changed"] and not events[-1]["failed"] and events[-1]["table"]
    assert {e["program"] for e in events if e["event"] == "answer" and e["changed"]} >= {"og_lock", "og_replconninfo"}
    done = three.run("drop", "n3", "og_drop_cleer=yes", "--json")
    [event] = map(json.loads, done.stdout.splitlines())
    assert done.returncode == 2 and event["event"] == "outcome" and event["failed"] and event["error"]["kind"] == "bad_args"


def test_several_clusters(three):
    """A file a cluster by its name, and a group of an inventory; what ssh and Ansible call a host is the same."""
    folder = three.root / ".config/opengauss-node"
    folder.mkdir(parents=True)
    (three.root / "cluster.json").rename(folder / "blue.json")
    table = three.good("status", "--cluster", "blue")
    assert [line.split()[0] for line in table if line[:1] == "n"] == ["n1", "n2", "n3", "n4"]
    hosts = {n: {**{k: v for k, v in own.items() if k != "address"}, "ansible_host": own["address"]} for n, own in three.hosts.items()}
    green = {"hosts": {n: hosts[n] for n in ("n1", "n2", "n3")}}
    fleet = {"vars": {"og_look_timeout": 50}, "children": {"green": green, "opengauss": {"hosts": hosts}}}
    (three.root / "fleet.yml").write_text(yaml.safe_dump({"all": fleet}))
    assert three.good("status", "-f", "fleet.yml") == table
    rows = [line.split() for line in three.good("status", "-f", "fleet.yml", "--cluster", "green") if line[:1] == "n"]
    assert rows == [line.split() for line in table if line[:1] == "n" and line[:2] != "n4"]
    done = three.run("status", "-f", "fleet.yml", "--cluster", "red")
    assert done.returncode == 2 and "has no group red (its groups: green, opengauss)" in done.stderr, done


def records(root):
    return sorted((root / ".local/state/opengauss-node/runs").glob("*"))


def test_page_on_records(three):
    """What the page on records tells to type, after a run of each verdict; the command is one of this test."""
    command = three.root / "tell-dba"
    command.write_text(f"#!/bin/sh\necho \"$@\" >>{three.root}/told\ncat >/dev/null\n")
    command.chmod(0o755)
    [config] = [text for text in section_blocks("docs/records.md", "Notify a command of the outcome") if text.startswith("{")]
    lines = [line for _, text in blocks("docs/records.md") if text != config for line in text.splitlines()]
    cluster = json.loads((three.root / "cluster.json").read_text())
    cluster["vars"].update(json.loads(config)["vars"])
    cluster["vars"]["og_notify"][0] = str(command)
    three.write(cluster)
    # A file that merely lies in the folder is not enough.
    done = three.run("drop", "n3", "-n")
    assert done.returncode == 0 and "og_notify does not count in a file that was not named; give -f cluster.json" in done.stderr, done
    three.good("drop", "n3", "-f", "cluster.json")
    assert (three.root / "told").read_text() == "--channel databases\n"
    for line in lines:
        words = shlex.split(line.replace("/usr/local/bin/tell-dba", str(command)))
        assert words.pop(0) == "og"
        shown = three.good(*words)
        # Only the records that are to be removed may be none.
        assert shown or "--clean" in words, line
    # Only the line that gives the command, beside the run with the named file.
    assert (three.root / "told").read_text() == "--channel databases\n" * 2
    verdicts = [json.loads(line)["verdict"] for line in three.good("history", "--json")]
    assert verdicts == ["done", "unchanged", "done", "done"]
    text = (ROOT / "docs/records.md").read_text()
    [folder, *_] = records(three.root)
    assert all(f"| `{path.name}` |" in text for path in folder.iterdir())


def test_runs_are_recorded_and_shown(single):
    """What is recorded of a run, of one that a signal ended, and of one that was killed."""
    single.good("status")
    single.good("expand", "-n", "n2")
    assert records(single.root) == []
    done = single.run("expand", "n2", "og_sync_standbys=any")
    [first] = records(single.root)
    assert f"report: {first}/report.html\n" in done.stderr
    assert "<h1>Expand the cluster: n2</h1>" in (first / "report.html").read_text()
    outcome = json.loads((first / "outcome.json").read_text())
    events = [json.loads(line) for line in (first / "events.jsonl").read_text().splitlines()]
    assert outcome["verdict"] == "done" and len(outcome["changes"]) == len(changes(done.stdout.splitlines()))
    assert [e["node"] for e in events if e["event"] == "answer" and e["program"] == "og_build" and e["changed"]] == ["n2"]
    assert [node["name"] for node in outcome["after"]["nodes"]] == ["n1", "n2", "n5"]

    hold = single.root / "hold_n5_og_build"
    hold.touch()
    for number, how in ((1, signal.SIGINT), (2, signal.SIGKILL)):
        child = single.start("expand", "n5")
        single.waits_for(lambda: "n5 og_build" in (single.root / "log").read_text())
        child.send_signal(how)
        single.ended(child)
        assert (records(single.root)[number] / "outcome.json").exists() is (how is signal.SIGINT)
    hold.unlink()
    lines = single.good("history")
    assert [line.split()[4:6] for line in lines] == [["VERDICT", "TIME"], ["n2", "done"], ["n5", "interrupted"], ["n5", "interrupted"]], lines
    shown = single.good("history", first.name, "--diff")
    assert shown[0].startswith(f"{first.name}: done after ") and "og_sync_standbys=any" in shown
    assert any(line.split()[-2:] == ["n2", "changed"] for line in shown) and shown[-1] == f"report: {first}/report.html"
    assert any("was killed; the same command again continues" in line for line in single.good("history", "last"))
    [told] = map(json.loads, single.good("history", "--json", first.name))
    assert told["verdict"] == "done" and told["events"] == events and told["outcome"] == outcome and told["plan"]["targets"] == ["n2"]
    assert [json.loads(line)["verdict"] for line in single.good("history", "--json")] == ["done", "interrupted", "interrupted"]
    done = single.run("history", "2")
    assert done.returncode == 2 and "several runs begin with 2: " in done.stderr
    assert single.good("history", "--clean", "1d") == [] and len(records(single.root)) == 3
    assert single.good("history", "--clean", "0d", "-n") == [f"would remove {run.name}" for run in records(single.root)]
    assert len(single.good("history", "--clean", "0d")) == 3 and records(single.root) == []
    assert single.good("history") == ["ID  WHEN  WORKFLOW  NODES  VERDICT  TIME"]


def test_a_run_that_cannot_be_recorded_goes_on(three):
    (three.root / ".local").write_text("")
    done = three.run("drop", "n3")
    assert done.returncode == 0 and "warning: this run is not recorded, or not wholly: cannot make " in done.stderr, done


def test_a_command_gets_the_outcome(three):
    command = three.root / "notify"
    command.write_text(f"#!/bin/sh\ncat >{three.root}/told\ncp {three.root}/out {three.root}/shown\n")
    command.chmod(0o755)
    done = three.run("drop", "n3", f"og_notify={command}")
    # Nobody at the terminal waits for the command.
    assert done.returncode == 0 and done.stdout and (three.root / "shown").read_text() == done.stdout, done
    told = json.loads((three.root / "told").read_text())
    assert told["verdict"] == "done" and told["workflow"] == "drop" and told["targets"] == ["n3"]
    # The record has the same, and of the command the name alone.
    [run] = records(three.root)
    assert told == json.loads((run / "outcome.json").read_text())
    assert json.loads((run / "plan.json").read_text())["options"]["og_notify"] == [str(command)]
    done = three.run("expand", "n3", 'og_notify=["false", "x"]')
    assert done.returncode == 0 and "warning: og_notify: false ended with status 1" in done.stderr, done


def test_watch(three):
    child = three.start("status", "--watch=1")
    three.waits_for(lambda: (three.root / "out").read_text().count("NODE") >= 2)
    child.send_signal(signal.SIGINT)
    done = three.ended(child)
    assert done.returncode == 0 and done.stderr == "" and done.stdout.count("n1    10.0.0.1:26000") >= 2, done


def test_interrupted_and_killed_it_carries_on(single, tmp_path):
    hold = single.root / "hold_n2_og_build"
    hold.touch()

    def at_hold():
        return "n2 og_build" in (single.root / "log").read_text()

    def lock():
        state = single.states()["n1"]
        return state["lock"], state.get("ended")

    # Interrupted, it ends what it began, and leaves the lock to whoever comes next, with its purpose.
    child = single.start("expand", "n2")
    single.waits_for(at_hold)
    held, _ = lock()
    child.send_signal(signal.SIGINT)
    done = single.ended(child)
    assert done.returncode == 1 and "interrupted; ended what was under way on n2; the lock of the cluster is released" in done.stderr, done
    assert lock() == (None, held)
    # Killed, it leaves the lock to the next run on this machine.
    child = single.start("expand", "n2")
    single.waits_for(at_hold)
    child.kill()
    child.wait()
    assert lock()[0]["owner"].split(" pid ")[1].startswith(f"{child.pid} start")
    hold.unlink()
    # What the killed run had begun on the nodes may have come to its end, or not.
    assert changes(single.good("expand", "n2"))
    states = single.states()
    assert states["n2"]["built"] and states["n1"]["lock"] is None
    assert changes(single.good("expand", "n2")) == []


def test_two_runs_exclude_each_other(three):
    hold = three.root / "hold_n4_og_build"
    hold.touch()
    child = three.start("expand", "n4")
    three.waits_for(lambda: "n4 og_build" in (three.root / "log").read_text())
    done = subprocess.run([three.og, "drop", "n2"], cwd=three.root, env=three.env(), capture_output=True, text=True, check=False)
    assert done.returncode == 1 and f"pid {child.pid} start" in done.stderr, done
    hold.unlink()
    assert three.ended(child).returncode == 0


@pytest.mark.parametrize(("typed", "offered"), [("n", ["n1", "n2", "n3", "n4"]), ("n4,n", ["n4,n1", "n4,n2", "n4,n3"]), ("--sync-s", ["--sync-standbys"])])
def test_nodes_are_completed_from_the_cluster_file(three, typed, offered):
    env = {**three.env(), "COMPLETE": "bash", "_CLAP_COMPLETE_INDEX": "2", "_CLAP_IFS": "\n", "_CLAP_COMPLETE_TYPE": "9", "_CLAP_COMPLETE_SPACE": "true"}
    done = subprocess.run([three.og, "--", "og", "expand", typed], cwd=three.root, env=env, capture_output=True, text=True, check=True)
    assert done.stdout.split("\n") == offered, done


def test_page(three):
    """What is typed, in its order, on the cluster that the text describes and the example file has."""
    [text], [lines] = (section_blocks("docs/terminal.md", section) for section in ("Describe the cluster", "Use it"))
    described = json.loads(text)
    assert described == json.loads(EXAMPLE.read_text())
    assert described["vars"].pop("ssh_user") != getpass.getuser()
    for name, own in described["hosts"].items():
        own.update(address=three.hosts[name]["address"], data_dir=three.hosts[name]["data_dir"])
    three.write(described)
    ran = [shlex.split(line) for line in lines.splitlines()]
    assert {words[0] for words in ran} == {"og"} and {words[1] for words in ran} == {"expand", "drop", "status"}
    for words in ran:
        three.good(*words[1:])
    assert three.states()["n4"]["built"] and not three.states()["n2"]["running"]


# How-to pages whose lines are typed for a cluster of n1, n2, n3 and n4.
HOW_TO = ["expand", "drop", "repair", "switchover", "failover", "configure", "restart", "access", "deploy", "clear"]


@pytest.mark.parametrize("page", HOW_TO)
def test_how_to(page, three):
    """Each line is understood: its options and nodes are there. What it does on servers: tests/scenarios."""
    lines = [line for _, text in blocks(f"docs/{page}.md") for line in text.splitlines()]
    assert lines
    for line in lines:
        words = shlex.split(line, comments=True)
        assert words[0] == "og", line
        if "-n" not in words:
            words.append("--check")
        done = three.run(*words[1:])
        assert done.returncode in (0, 1) and "panicked" not in done.stderr, (line, done)


def test_page_on_ssl(three, programs):
    """As it is typed: an authority is made here, the node that joins gets its own key, and nobody is told of it."""
    if not shutil.which("openssl"):
        pytest.skip("there is no program openssl")
    (three.bin / "og_file").unlink()
    (three.bin / "og_file").symlink_to(programs / "og_file")
    for own in three.hosts.values():
        own["os_user"] = getpass.getuser()
    three.write({"hosts": three.hosts, "vars": {}})
    deploys, expands = (text.splitlines() for text in section_blocks("docs/ssl.md", "New nodes"))
    made, *others = map(shlex.split, deploys)
    told = three.good(*made[1:])
    assert len(told) == 2 + 2 * len(three.hosts) and all(line.startswith("made ") for line in told), told
    for words in others:
        done = three.run(*words[1:], *([] if "-n" in words else ["-n"]))
        assert done.returncode in (0, 1) and "og_ssl" not in done.stderr, (words, done)
    kept, foreseen, done = (three.good(*shlex.split(line)[1:]) for line in expands)
    assert all(line.startswith("kept ") for line in kept), kept
    assert changes(done) == changes(foreseen) and changes(done).count("n4: Transfer the certificates") == 1
    folder = Path(three.hosts["n4"]["data_dir"])
    for name, source in (("cacert.pem", "cacert.pem"), ("server.crt", "n4/server.crt"), ("server.key", "n4/server.key")):
        own = folder / name
        assert own.read_text() == (three.root / "ssl" / source).read_text() and own.stat().st_mode & 0o777 == 0o600, name
    assert not (Path(three.hosts["n3"]["data_dir"]) / "server.key").exists()
    assert changes(three.good(*shlex.split(expands[-1])[1:])) == []
    key = (folder / "server.key").read_text().splitlines()[1]
    told = [path for path in three.root.rglob("*") if path.is_file() and path.name != "server.key" and key.encode() in path.read_bytes()]
    assert told == [] and key not in "".join(done)
    (three.root / "ssl/n4/server.key").chmod(0o644)
    refused = three.run("expand", "n4", "--ssl", "ssl")
    assert refused.returncode == 1 and "1 finding; nothing was changed:\n- og_ssl: " in refused.stderr, refused


def test_page_on_collect(three):
    """Each line is typed; what the file has is what the page says, of a node that cannot be reached nothing, and no secret."""
    three.good("drop", "n3")
    three.hosts["n4"]["address"] = "unknown.invalid"
    three.write({"hosts": three.hosts, "vars": {}})
    lines = [line for _, text in blocks("docs/collect.md") for line in text.splitlines()]
    *collected, unpack = lines
    for line in collected:
        og, *words = shlex.split(line)
        assert og == "og"
        done = three.run(*words)
        assert done.returncode == 0, done
    assert "n1: all 7 answers" in done.stdout and "n4: nothing: " in done.stdout
    path = Path(done.stderr.splitlines()[-1].removeprefix("report: "))
    assert path.parent == three.root / ".local/state/opengauss-node/collected" and path.stat().st_mode & 0o777 == 0o600
    assert shlex.split(unpack)[:2] == ["tar", "-xzf"]
    subprocess.run(["tar", "-xzf", path], cwd=three.root, check=True)
    folder = three.root / path.name.removesuffix(".tar.gz")
    text = (ROOT / "docs/collect.md").read_text()
    assert all(f"`{file.name}`" in text or f"/{file.name}`" in text for file in folder.glob("*.[tj]*") if file.name != "README.txt")
    assert all(file.name in text for file in folder.glob("nodes/*/*"))
    assert json.loads((folder / "nodes/n1/og_node_state.json").read_text())["node"]["running"] is True
    assert json.loads((folder / "status.json").read_text())["verdict"]
    assert [run.name.split("-", 2)[2] for run in folder.glob("runs/*")] == ["drop"]


def test_page_of_several_clusters(three):
    """The file of the text describes a cluster, and `--cluster` finds it by its name."""
    lines, text = (text for _, text in blocks("docs/clusters.md"))
    described = json.loads(text)
    assert described["vars"].pop("ssh_user") != getpass.getuser() and described["vars"].pop("env_file")
    for own, node in zip(described["hosts"].values(), three.hosts.values()):
        own.update(address=node["address"], data_dir=node["data_dir"])
    folder = three.root / ".config/opengauss-node"
    folder.mkdir(parents=True)
    for line in lines.splitlines():
        og, *words = shlex.split(line)
        assert og == "og" and words[:2] == ["status", "--cluster"]
        (folder / f"{words[2]}.json").write_text(json.dumps(described))
        done = three.run(*words)
        assert done.returncode in (0, 1) and "s1" in done.stdout + done.stderr, done


ONE_NODE = "One node by itself"


def test_metrics_of_one_node(node, programs, tmp_path):
    """As a timer on the node writes them; no server runs there."""
    [line] = [text.strip() for heading, text in blocks("docs/monitoring.md") if heading == ONE_NODE]
    name, flag, metrics, arguments = shlex.split(line)
    metrics, arguments = (tmp_path / os.path.basename(word) for word in (metrics, arguments))
    arguments.write_text(json.dumps({"data_dir": str(node)}))
    done = subprocess.run([programs / name, flag, metrics, arguments], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["node"]["running"] is False
    assert "\nopengauss_up{node=" in metrics.read_text() and metrics.stat().st_mode & 0o777 == 0o644


def test_monitoring(three):
    """What the page on monitoring tells to type, into files of this test."""
    folder = three.root / ".config/opengauss-node"
    folder.mkdir(parents=True)
    (folder / "shop.json").write_text((three.root / "cluster.json").read_text())
    lines = [line for heading, text in blocks("docs/monitoring.md") if heading != ONE_NODE for line in text.splitlines()]
    assert len(lines) == 4
    for line in lines:
        words = [str(three.root / os.path.basename(word)) if word.startswith("/") else word for word in shlex.split(line)]
        assert words[:2] == ["og", "status"]
        three.good(*words[1:])
        files = [three.root / word for word in words if word.endswith((".prom", ".html", ".svg"))]
        assert all(file.read_text() for file in files) and len(files) == int("--nagios" not in words)


def test_ids_are_explained(three):
    """A finding by the id behind its message, all of them without one, and one that there is not."""
    told = three.good("explain", "node.stopped")
    assert told[0] == "node.stopped (finding of og status)" and "    og repair n2" in told
    listed = {line.split()[0] for line in three.good("explain") if line.startswith("  ")}
    assert {"busy", "not_streaming", "node.stopped", "memory.process"} <= listed
    wrong = three.run("explain", "node.stoped")
    assert wrong.returncode == 2 and "did you mean node.stopped?" in wrong.stderr
