"""The workflows by ansible-playbook itself, on nodes that are folders: order, check mode, repetition, interruption.

    OG_PROGRAMS=… python -m pytest tests/workflows         with ansible-playbook on the PATH, and og_workflow in that folder
"""

import contextlib
import getpass
import io
import json
import os
import pathlib
import re
import shutil
import subprocess
import tarfile
import time

import pytest

HERE = pathlib.Path(__file__).resolve().parent
PLAYBOOKS = HERE.parents[4]
PROGRAMS = ["og_hba", "og_guc", "og_replconninfo", "og_static_conf", "og_node_state", "og_build", "og_slot", "og_lock", "og_preflight", "og_host"]
RECAP = re.compile(r"^(\w+) +: ok=\d+ +changed=(\d+)", re.MULTILINE)


def write_package(path, filling):
    """A package of a server whose programs are scripts, with so many bytes that do not become smaller."""
    script = b"#!/bin/sh\necho 'gaussdb (openGauss 6.0.2 build 4db7019a) compiled at 2024-11-27'\n"
    files = {"bin/gaussdb": script, "bin/gs_initdb": script, "bin/gs_ctl": script, "share/filling": os.urandom(filling)}
    with tarfile.open(path, "w:gz", compresslevel=1) as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(content), 0o755
            tar.addfile(info, io.BytesIO(content))


class Cluster:
    """n1 to n5; the first `members` of them are a cluster, n1 its primary. n5 is meant as a cascade standby."""

    def __init__(self, root, members, names):
        self.root = root
        programs = root / "programs"
        programs.mkdir()
        for name in PROGRAMS:
            shutil.copy(HERE / "fake_program.py", programs / name)
            (programs / name).chmod(0o755)
        shutil.copy(pathlib.Path(os.environ["OG_PROGRAMS"]) / "og_workflow", programs)
        hosts = {}
        (root / "nodes").mkdir()
        shutil.copy(PLAYBOOKS.parent / "tests/vectors/preflight/healthy.json", root / "nodes")
        for n in range(1, 6):
            single = members == 1 or n > members
            state = {
                "address": f"10.0.0.{n}",
                "running": n <= members,
                "role": ("normal" if n == 1 else "unknown") if single else ("primary" if n == 1 else "standby"),
                "built": n > 1 and not single,
                "parameters": {} if single else {"application_name": f"dn_600{n}"},
                "rules": [],
                "channels": [{"host": f"10.0.0.{p}", "port": 26001} for p in range(1, members + 1) if p != n and not single],
                "slots": [],
                "static": [],
                "lock": None,
            }
            if n == 1:
                state["parameters"].update({"synchronous_standby_names": names} if names is not None else {})
                state["slots"] = ["dn_6002", "dn_6003"]
            folder = root / "nodes" / f"n{n}"
            folder.mkdir()
            (folder / "state.json").write_text(json.dumps(state))
            role = {1: "primary", 5: "cascade_standby"}.get(n, "standby")
            hosts[f"n{n}"] = {"id": n, "address": f"10.0.0.{n}", "data_dir": str(folder), "role": role, "ansible_connection": "local"}
        self.hosts = hosts

    def command(self, playbook, *args):
        inventory = {"opengauss": {"hosts": self.hosts, "vars": {"og_binaries": str(self.root / "programs"), "og_bin_dir": str(self.root / "bin")}}}
        (self.root / "inventory.json").write_text(json.dumps(inventory))
        own = self.root / f"{playbook}.yml"
        book = own if own.exists() else PLAYBOOKS / own.name
        return ["ansible-playbook", "-i", str(self.root / "inventory.json"), str(book), *args]

    def write(self, name, **play):
        """A play of the user's own."""
        (self.root / f"{name}.yml").write_text(json.dumps([{"hosts": "opengauss", "gather_facts": False, **play}]))

    def play(self, playbook, *args):
        (self.root / "nodes/log").write_text("")
        done = subprocess.run(self.command(playbook, *args), cwd=PLAYBOOKS, env=self.env(), capture_output=True, text=True, check=False)
        done.changed = sum(int(c) for _, c in RECAP.findall(done.stdout))
        return done

    def env(self):
        own = {"ANSIBLE_CONFIG": str(PLAYBOOKS / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1", "XDG_STATE_HOME": str(self.root / "state")}
        return {**os.environ, **own}

    def good(self, playbook, *args):
        done = self.play(playbook, *args)
        assert done.returncode == 0, done.stdout + done.stderr
        return done

    def state(self, node):
        return json.loads((self.root / "nodes" / node / "state.json").read_text())

    def change(self, node, **values):
        (self.root / "nodes" / node / "state.json").write_text(json.dumps({**self.state(node), **values}))

    def log(self):
        return (self.root / "nodes/log").read_text().splitlines()

    def mark(self, name):
        (self.root / "nodes" / name).touch()

    def unmark(self, name):
        (self.root / "nodes" / name).unlink()

    @contextlib.contextmanager
    def killed_at(self, call, playbook, *args):
        """A run that waits in `call`, and is killed there at the end of the block."""
        node, program = call
        self.mark(f"hold_{node}_{program}")
        (self.root / "nodes/log").write_text("")
        run = subprocess.Popen(self.command(playbook, *args), cwd=PLAYBOOKS, env=self.env(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            until(lambda: any(line.startswith(f"{node} {program} ") for line in self.log()))
            yield run
        finally:
            run.kill()
            run.wait()
            self.unmark(f"hold_{node}_{program}")


def until(condition):
    limit = time.monotonic() + 300
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.05)


@pytest.fixture
def single(tmp_path):
    return Cluster(tmp_path, 1, "*")


@pytest.fixture
def three(tmp_path):
    return Cluster(tmp_path, 3, "ANY 1(dn_6002,dn_6003)")


@pytest.mark.versions
def test_expand_of_a_single_node(single):
    foreseen = single.good("expand", "-e", "og_add=n2,n3,n5", "--check", "--diff")
    assert single.state("n2")["built"] is False and single.state("n1")["lock"] is None
    real = single.good("expand", "-e", "og_add=n2,n3,n5")
    assert real.changed == foreseen.changed > 0
    log = single.log()
    order = ["n1 og_lock held", "n1 og_guc", "n1 og_hba", "n1 og_replconninfo present", "n2 og_build", "n5 og_build", "n5 og_node_state", "n1 og_guc present", "n1 og_static_conf", "n1 og_lock released"]
    at = [next(i for i, line in enumerate(log) if line.startswith(o)) for o in order]
    assert at == sorted(at), log
    assert single.state("n1")["parameters"]["synchronous_standby_names"] == "*"
    assert single.state("n1")["lock"] is None
    assert single.state("n5")["role"] == "cascade_standby"
    assert single.good("expand", "-e", "og_add=n2,n3,n5").changed == 0
    assert "n5    10.0.0.5:26000  cascade standby  Normal" in single.good("status").stdout


@pytest.mark.exhaustive("modules/og_workflow/src/steps/tests.rs::a_node_that_streams_is_not_built_again_whatever_the_mode")
def test_expand_with_any(three):
    """n3, which streams, is not built anew whatever the mode, for a commit that waits for it would wait for the copy; nor n4,
    again. It keeps the slot from which a backup is taken; what n4 brought along goes, but not what n5 may want of it."""
    three.change("n3", slots=["backup"])
    three.change("n4", slots=["old", "dn_6005"])
    expand = ("expand", "-e", "og_add=n3,n4", "-e", "og_sync_standbys=any", "-e", "og_build_mode=full")
    three.good(*expand)
    assert three.state("n1")["parameters"]["synchronous_standby_names"] == "ANY 1(dn_6002,dn_6003,dn_6004)"
    assert three.good(*expand).changed == 0
    assert three.state("n4")["copies"] == 1 and "copies" not in three.state("n3")
    assert (three.state("n3")["slots"], three.state("n4")["slots"]) == (["backup"], ["dn_6005"])


def test_options_given_as_text(three):
    """`-e og_x=…` gives text, whatever the option is."""
    given = ["og_sync_standbys=any", "og_sync_num=2", "og_wait_timeout=60", "og_look_timeout=60", "og_rollback=yes", "og_build_parallel=1"]
    three.good("expand", "-e", "og_add=n4", *(word for one in given for word in ("-e", one)))
    assert "dn_6004" in three.state("n1")["parameters"]["synchronous_standby_names"]


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ("og_wait_timeout=soon", "soon"),
        ("og_rollback=perhaps", "perhaps"),
        ("og_sync_num=two", '"two" is not one of majority, keep'),
        ("og_hba_method=trsut", "must be one of: trust, md5"),
    ],
)
def test_a_wrong_option_is_named_before_anything_is_changed(three, given, why):
    done = three.play("expand", "-e", "og_add=n4", "-e", "og_sync_standbys=any", "-e", given)
    said = " ".join(done.stdout.replace('\\"', '"').split())
    assert done.returncode != 0 and given.split("=")[0] in said and why in said, done.stdout + done.stderr
    assert three.log() == []


def test_drop(three):
    foreseen = three.good("drop", "-e", "og_drop=n2", "--check", "--diff")
    real = three.good("drop", "-e", "og_drop=n2")
    assert real.changed == foreseen.changed > 0
    log = [line for line in three.log() if line.split()[1] in ("og_guc", "og_node_state", "og_replconninfo", "og_slot")]
    done = [line.split()[:2] for line in log]
    assert [program for _, program in done[:3]] == ["og_guc", "og_guc", "og_node_state"]
    # Both at once, and each in this order.
    assert all([program for node, program in done[3:] if node == own][:2] == ["og_replconninfo", "og_slot"] for own in ("n1", "n3")), log
    n1 = three.state("n1")
    assert n1["parameters"]["synchronous_standby_names"] == "ANY 1(dn_6003)"
    assert n1["slots"] == ["dn_6003"] and n1["channels"] == [{"host": "10.0.0.3", "port": 26001}] and n1["lock"] is None
    assert three.state("n2")["running"] is False
    assert three.good("drop", "-e", "og_drop=n2").changed == 0
    three.good("drop", "-e", "og_drop=n3")
    assert three.state("n1")["parameters"]["synchronous_standby_names"] == ""


def test_a_run_leaves_a_record(three):
    def records():
        return sorted((three.root / "state/opengauss-node/runs").glob("*"))

    three.good("status")
    three.good("drop", "-e", "og_drop=n2", "--check")
    assert records() == []
    done = three.good("drop", "-e", "og_drop=n2", "-e", "og_drop_clear=yes")
    [run] = records()
    assert f"{run}/report.html" in done.stdout and (run / "report.html").exists()
    plan, outcome = (json.loads((run / name).read_text()) for name in ("plan.json", "outcome.json"))
    assert (plan["targets"], plan["options"]["og_drop_clear"], sorted(plan["cluster"]["hosts"])) == (["n2"], True, ["n1", "n2", "n3", "n4", "n5"])
    assert outcome["verdict"] == "done" and {one["name"] for one in outcome["after"]["nodes"]} == {"n1", "n3", "n4", "n5"}
    events = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
    steps = [event for event in events if event["event"] == "step"]
    assert len(events) == len(steps) + sum(len(step["calls"]) for step in steps)
    assert [time["step"] for time in outcome["timings"]] == [step["step"] for step in steps]
    changed = {(event["node"], event["step"]) for event in events if event.get("changed")}
    assert changed == {(one["node"], one["step"]) for one in outcome["changes"]}
    # One that is killed leaves what it had done so far.
    with three.killed_at(("n4", "og_build"), "expand", "-e", "og_add=n4"):
        pass
    left = records()[1]
    assert sorted(path.name for path in left.iterdir()) == ["events.jsonl", "plan.json", "report.html"]
    assert json.loads((left / "events.jsonl").read_text().splitlines()[-1])["calls"] == [{"node": "n4", "program": "og_build"}]


def test_a_package_is_carried_to_the_nodes_and_unpacked(three):
    """By the programs that do so; what deploy then finds of nodes that are folders is no matter."""
    for name in ("og_file", "og_package"):
        shutil.copy(pathlib.Path(os.environ["OG_PROGRAMS"]) / name, three.root / "programs")
    write_package(three.root / "openGauss.tar.gz", 9 << 20)
    three.hosts = {name: three.hosts[name] for name in ("n1", "n2")}
    for name, own in three.hosts.items():
        own["gauss_home"] = str(three.root / f"app-{name}/current")
        # Root is to be named: programs of the package are run.
        own["os_user"] = getpass.getuser()
    words = ("-e", f"og_package={three.root}/openGauss.tar.gz")
    foreseen = three.play("deploy", *words, "--check")
    assert "Unpack the package" in foreseen.stdout and not (three.root / "app-n1").exists(), foreseen.stdout
    done = three.play("deploy", *words)
    assert "Transfer the package" in done.stdout, done.stdout
    for name in three.hosts:
        folder = three.root / f"app-{name}"
        link = folder / "current"
        assert (link / "share/filling").stat().st_size == 9 << 20 and (link / "bin/gs_ctl").exists(), done.stdout
        assert sorted(os.listdir(folder)) == ["current", "current.env", os.readlink(link)]
    again = three.play("deploy", *words)
    assert "Transfer the package" not in again.stdout and "Unpack the package" not in again.stdout, again.stdout


@pytest.mark.versions
def test_drop_of_a_node_out_of_reach_is_finished_when_it_is_back(three):
    three.hosts["n2"].update(ansible_connection="ssh", ansible_host="127.0.0.1", ansible_port=1)
    done = three.good("drop", "-e", "og_drop=n2")
    assert "run this again when it is back" in " ".join((done.stdout + done.stderr).split())
    assert three.state("n2")["running"] is True and three.state("n3")["channels"] == [{"host": "10.0.0.1", "port": 26001}]
    three.hosts["n2"].update(ansible_connection="local")
    assert three.good("drop", "-e", "og_drop=n2").changed == 1
    assert three.state("n2")["running"] is False


@pytest.mark.exhaustive("modules/og_workflow/src/steps/tests.rs::findings_end_it_before_anything_is_changed")
def test_findings_come_all_at_once_and_before_the_first_change(three):
    shutil.rmtree(three.root / "nodes/n4")
    done = three.play("expand", "-e", "og_add=n4,n9,n2")
    assert done.returncode == 2
    assert "n9 is no host of the inventory" in done.stdout and "n4: data_dir" in done.stdout
    assert three.log() == []
    done = three.play("drop", "-e", "og_drop=n1")
    assert "n1 is the primary" in done.stdout and three.log() == []


def test_a_failed_expansion_takes_back_what_it_brought(three):
    """And nothing else: n2, which is away for a moment, and n3 were there before."""
    three.change("n1", static=[{"id": n, "name": f"n{n}", "role": "primary" if n == 1 else "standby"} for n in (1, 2, 3)])
    three.change("n2", built=False)
    before = three.state("n1")
    three.mark("fail_n4_og_static_conf")
    done = three.play("expand", "-e", "og_add=n2,n3,n4,n5")
    assert done.returncode == 2 and "n4: made to fail (rolled back)" in done.stdout
    assert three.state("n1") == before
    for node, there in (("n2", True), ("n3", True), ("n4", False), ("n5", False)):
        assert three.state(node)["running"] is there, node
        if there:
            assert three.state(node)["rules"] == [] and len(three.state(node)["channels"]) == 2 and three.state(node)["static"] == before["static"]


@pytest.mark.versions
def test_a_failed_expansion_leaves_no_commit_waiting(single):
    single.mark("fail_n2_og_static_conf")
    done = single.play("expand", "-e", "og_add=n2")
    # Older releases break long lines.
    told = "synchronous_standby_names of n1 is empty until the next expand restores it to *"
    assert told in " ".join(done.stdout.split())
    assert single.state("n1")["parameters"]["synchronous_standby_names"] == "" and single.state("n1")["channels"] == []
    assert single.state("n1")["lock"] is None
    # The end of a failed and then a good run is that of a good one.
    single.unmark("fail_n2_og_static_conf")
    single.good("expand", "-e", "og_add=n2")
    assert single.state("n1")["parameters"]["synchronous_standby_names"] == "*"
    assert single.good("expand", "-e", "og_add=n2").changed == 0


@pytest.mark.exhaustive("modules/og_workflow/src/steps/tests.rs::a_switchover_meanwhile_ends_an_expand_before_the_files_are_written")
@pytest.mark.versions
def test_a_switchover_meanwhile_is_no_good_end(three):
    """Nothing is taken back, for the new primary may wait for the new node, and no file names the old one."""
    three.mark("switch")
    done = three.play("expand", "-e", "og_add=n4")
    text = " ".join(done.stdout.split())
    assert done.returncode == 2 and "n2 has become primary during this run, which began with n1" in text
    assert "(nothing was rolled back)" in text
    assert three.state("n4")["running"] and three.state("n1")["static"] == [] and three.state("n1")["lock"] is None


@pytest.mark.exhaustive("modules/og_workflow/src/steps/tests.rs::a_failed_expand_gives_the_new_nodes_back_what_they_had")
def test_a_failed_expansion_gives_a_new_node_back_what_it_had(three):
    own = {"application_name": "dn_6099", "available_zone": "AZ7"}
    three.change("n4", parameters=own, channels=[{"host": "10.9.9.9", "port": 1}])
    before = three.state("n4")
    three.mark("fail_n3_og_replconninfo")
    done = three.play("expand", "-e", "og_add=n4")
    assert done.returncode == 2 and "n3: made to fail (rolled back)" in " ".join(done.stdout.split())
    assert three.state("n4") == before


@pytest.mark.exhaustive("modules/og_workflow/src/steps/tests.rs::builds_go_side_by_side_as_the_primary_has_room")
def test_builds_go_side_by_side_as_the_primary_has_room(single):
    single.change("n1", works_with={"max_wal_senders": "4", "pgxc_node_name": "dn_x"})
    done = single.play("expand", "-e", "og_add=n2,n3,n4")
    assert done.returncode == 2 and "max_wal_senders is 4" in done.stdout and single.log() == []
    single.change("n1", works_with={"max_wal_senders": "5", "pgxc_node_name": "dn_x"})
    single.good("expand", "-e", "og_add=n2,n3,n4")
    assert {single.state(n)["parameters"]["pgxc_node_name"] for n in ("n2", "n3", "n4")} == {"dn_x"}


@pytest.mark.exhaustive("modules/og_workflow/src/steps/tests.rs::a_failed_expand_leaves_no_commit_waiting")
@pytest.mark.parametrize("names", ["*", None])
def test_a_failed_expansion_brings_the_names_back(tmp_path, names):
    two = Cluster(tmp_path, 2, names)
    two.mark("fail_n3_og_static_conf")
    done = two.play("expand", "-e", "og_add=n3", "-e", "og_sync_standbys=any")
    assert done.returncode == 2 and "(rolled back)" in done.stdout and "is empty until" not in done.stdout
    assert two.state("n1")["parameters"].get("synchronous_standby_names") == names


@pytest.mark.exhaustive("modules/og_workflow/src/steps/tests.rs::a_full_copy_is_made_only_where_there_is_room_for_it")
def test_no_copy_is_begun_where_there_is_no_room_for_it(three):
    three.change("n1", size=900)
    three.change("n4", room=500)
    done = three.play("expand", "-e", "og_add=n3,n4")
    assert done.returncode == 2 and "n4: the copy needs 900 B, and there is room for 500 B only (rolled back)" in done.stdout
    three.good("expand", "-e", "og_add=n3,n4", "-e", "og_build_room=no")


@pytest.mark.versions
def test_defaults_that_a_play_gives_the_modules_count_in_the_steps(three):
    three.change("n4", room=500)
    three.write("expand", roles=["opengauss.node.expand"], module_defaults={"group/opengauss.node.all": {"min_free": 900}})
    done = three.play("expand", "-e", "og_add=n4", "-e", "og_build_room=no")
    assert done.returncode == 2 and "n4: the copy needs 900 B, and there is room for 500 B only" in " ".join(done.stdout.split())


@pytest.mark.exhaustive("modules/og_workflow/src/steps/tests.rs::what_cannot_be_taken_back_is_told_and_the_rest_is")
def test_what_could_not_be_taken_back_is_told(three):
    three.mark("fail_n4_og_build")
    three.mark("fail_n3_og_slot")
    done = three.play("expand", "-e", "og_add=n4")
    said = " ".join((done.stdout + done.stderr).split())
    assert "not completely rolled back, see warnings)" in said and "n3: made to fail" in said
    assert len(three.state("n1")["channels"]) == 2


def test_a_build_that_ends_without_a_word_is_told(three):
    three.mark("die_n4_og_build")
    done = three.play("expand", "-e", "og_add=n4")
    assert "og_build ended with status 9 and without a result" in done.stdout


@pytest.mark.exhaustive("modules/og_workflow/src/steps/tests.rs::a_failed_expand_takes_back_what_it_brought")
def test_a_failed_expansion_is_left_as_it_is_when_asked(three):
    three.mark("fail_n4_og_build")
    done = three.play("expand", "-e", "og_add=n4", "-e", "og_rollback=false")
    assert done.returncode == 2 and "nothing was rolled back" in done.stdout
    assert len(three.state("n1")["channels"]) == 3 and three.state("n1")["lock"] is None
    three.unmark("fail_n4_og_build")
    three.good("expand", "-e", "og_add=n4")
    assert three.good("expand", "-e", "og_add=n4").changed == 0


def test_two_runs_exclude_each_other_and_a_killed_one_keeps_nobody_out(single):
    with single.killed_at(("n2", "og_build"), "expand", "-e", "og_add=n2") as run:
        second = single.play("expand", "-e", "og_add=n3")
        assert second.returncode == 2 and f"pid {run.pid} start" in second.stdout
    assert single.state("n1")["parameters"]["synchronous_standby_names"] == ""
    single.good("expand", "-e", "og_add=n2")
    assert single.state("n1")["parameters"]["synchronous_standby_names"] == "*"
    assert single.state("n1")["lock"] is None
    assert single.good("expand", "-e", "og_add=n2").changed == 0


@pytest.mark.parametrize("end", ["killed", "failed"])
def test_drop_available_brings_the_old_value_back_in_every_case(three, end):
    args = ("drop", "-e", "og_drop=n2", "-e", "og_drop_commits=available")
    if end == "killed":
        with three.killed_at(("n3", "og_slot"), *args):
            assert three.state("n1")["parameters"]["most_available_sync"] == "on"
        three.good("drop", "-e", "og_drop=n2")
    else:
        three.mark("fail_n3_og_slot")
        assert three.play(*args).returncode == 2
    assert "most_available_sync" not in three.state("n1")["parameters"]
    assert three.state("n1")["lock"] is None


@pytest.mark.parametrize("task", ["Next step", "Cluster"])
def test_nothing_is_done_in_the_middle(three, task):
    """--start-at-task leaves out the beginning, without which no step is known."""
    before = three.state("n1")
    done = three.play("drop", "-e", "og_drop=n2", "--start-at-task", task)
    said = " ".join((done.stdout + done.stderr).split())
    assert done.returncode == 2 and "the workflow was not begun here" in said, said
    assert three.log() == [] and three.state("n1") == before


def test_a_strategy_without_steps_is_refused(three):
    three.write("status", roles=["opengauss.node.status"], strategy="free")
    done = three.play("status")
    assert done.returncode == 2 and "use strategy: linear" in " ".join((done.stdout + done.stderr).split())
    assert three.log() == []


@pytest.mark.versions
def test_a_misspelt_option_is_refused(three):
    wanted = "variable og_sync_standby: unknown option (did you mean og_sync_standbys? known: "
    for playbook in (["expand", "-e", "og_add=n4"], ["drop", "-e", "og_drop=n2"], ["status"]):
        done = three.play(*playbook, "-e", "og_sync_standby=any", "-e", "og_sync_num=2")
        assert done.returncode == 2 and wanted in " ".join((done.stdout + done.stderr).split()), done.stdout
        assert three.log() == []
    three.hosts["n3"]["og_build_froce"] = True
    done = three.play("expand", "-e", "og_add=n4", "--check")
    assert done.returncode == 2 and "variable og_build_froce: unknown option" in done.stdout


def test_what_limit_hides_is_told_as_the_reason(three):
    done = three.play("drop", "-e", "og_drop=n2", "--limit", "n2,n3")
    assert done.returncode == 2 and "n1, n4, n5: were not inspected, hidden by --limit; run without --limit" in done.stdout
    assert three.log() == []
    said = " ".join(three.good("status", "--limit", "n1").stdout.split())
    assert all(f"WARNING: {n}: was not inspected, hidden by --limit" in said for n in ("n2", "n3", "n4", "n5")), said


def test_status_fails_of_what_is_wrong_and_says_it(three):
    three.hosts["n4"]["data_dir"] += "/nowhere"
    done = three.play("status")
    text = " ".join(done.stdout.split())
    assert done.returncode == 2 and "n4: its state cannot be read" in text and "nowhere is not there" in text and "NODE " in text
    three.hosts["n4"]["data_dir"] = three.hosts["n5"]["data_dir"]
    three.change("n3", role="primary", built=False)
    done = three.play("status")
    assert done.returncode == 2 and done.stdout.index("Not usable: more than one primary: n1 and n3") < done.stdout.index("NODE ")


@pytest.mark.versions
def test_two_clusters_in_one_inventory(three, tmp_path_factory):
    """Each is a group; what is done to one leaves the other alone, though their nodes share hosts' names of groups, ids and lock."""
    other = Cluster(tmp_path_factory.mktemp("other"), 3, "ANY 1(dn_6002,dn_6003)")
    command = three.command("expand", "-e", "og_add=m4", "-e", "og_cluster=other")
    inventory = json.loads((three.root / "inventory.json").read_text())
    inventory["other"] = {"hosts": {name.replace("n", "m"): own for name, own in other.hosts.items()}, "vars": inventory["opengauss"]["vars"]}
    (three.root / "inventory.json").write_text(json.dumps(inventory))
    before = [three.state(f"n{n}") for n in range(1, 6)]
    done = subprocess.run(command, cwd=PLAYBOOKS, env=three.env(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert other.state("n4")["built"] and [three.state(f"n{n}") for n in range(1, 6)] == before
    assert not re.search(r"^n1 ", done.stdout, re.MULTILINE)


def test_a_cluster_in_another_group_is_told(three):
    command = three.command("expand", "-e", "og_add=n4")
    inventory = three.root / "inventory.json"
    inventory.write_text(json.dumps({"dbs": json.loads(inventory.read_text())["opengauss"]}))
    done = subprocess.run(command, cwd=PLAYBOOKS, env=three.env(), capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "no hosts in a group opengauss" in done.stdout + done.stderr


def test_a_controller_without_the_planner_is_told_so(three):
    (three.root / "programs/og_workflow").unlink()
    done = three.play("drop", "-e", "og_drop=n2")
    text = " ".join((done.stdout + done.stderr).split())
    assert done.returncode == 2 and "no og_workflow for this controller (Linux " in text and "run this from a Linux machine" in text
    assert three.log() == []


def test_the_planner_is_not_carried_to_the_nodes(three):
    three.good("status")
    [there] = {tuple(sorted(p.name for p in folder.iterdir())) for folder in (three.root / "bin").iterdir()}
    assert there == tuple(sorted(PROGRAMS))


SUDO = """#!/bin/sh
echo "$*" >> {log}
while :; do case "$1" in -u | -p) shift 2 ;; -*) shift ;; *) break ;; esac; done
exec "$@"
"""


def test_the_operating_system_is_changed_as_root_and_all_else_is_not(single):
    """Whatever the inventory says of become: only the steps of og_host have it."""
    log, sudo = single.root / "sudo.log", single.root / "sudo"
    log.touch()
    sudo.write_text(SUDO.format(log=log))
    sudo.chmod(0o755)
    for own in single.hosts.values():
        own.update(os_user="omm", ansible_become=False, ansible_become_user="omm", ansible_become_exe=str(sudo))
    os.environ["ANSIBLE_BECOME_ALLOW_SAME_USER"] = "1"
    try:
        done = single.play("deploy", "-e", "og_host=true")
    finally:
        del os.environ["ANSIBLE_BECOME_ALLOW_SAME_USER"]
    # What comes then fails: there is no og_initdb here.
    assert done.returncode == 2 and "TASK [opengauss.node.workflow : Prepare the operating system]" in done.stdout, done.stdout
    assert sorted(single.log()) == [f"n{n} og_host present" for n in range(1, 6) for _ in range(2)]
    called = [line for line in log.read_text().splitlines() if "og_host" in line]
    assert len(called) >= 10 and all("-u root" in line for line in called)
    assert not [line for line in log.read_text().splitlines() if "og_node_state" in line]


def test_what_the_planner_cannot_use_is_told(three):
    three.hosts["n3"]["id"] = "three"
    done = three.play("drop", "-e", "og_drop=n2")
    assert done.returncode == 2 and 'n3: id in the inventory is "three", not a number' in done.stdout
    (three.root / "programs/og_workflow").write_text("#!/bin/false")
    done = three.play("drop", "-e", "og_drop=n2")
    assert done.returncode == 2 and three.log() == []


@pytest.mark.versions
def test_a_step_for_another_node_uses_that_node_s_own_settings(three):
    three.hosts["n2"]["og_bin_dir"] = str(three.root / "bin-of-{{ inventory_hostname }}")
    rule = {"type": "local", "users": ["app"]}
    step = {"opengauss.node.og_hba": {"data_dir": three.hosts["n2"]["data_dir"], "rules": [rule]}, "delegate_to": "n2", "run_once": True}
    three.write("own", tasks=[step])
    assert three.good("own").changed == 1
    assert three.state("n2")["rules"] == [rule]
    assert (three.root / "bin-of-n2").is_dir() and not (three.root / "bin").exists()


@pytest.mark.versions
def test_the_roles_need_nothing_but_the_inventory(three):
    """A play that says no more than `roles:`; what it runs and what it leaves is the playbooks' own."""
    for name in ("expand", "drop", "status"):
        three.write(name, roles=[f"opengauss.node.{name}"])
    three.good("expand", "-e", "og_add=n4")
    assert three.state("n4")["built"] and three.state("n1")["lock"] is None
    three.good("drop", "-e", "og_drop=n2")
    assert three.state("n2")["running"] is False and three.state("n1")["lock"] is None
    assert "n4    10.0.0.4:26000  standby" in three.good("status").stdout


@pytest.mark.versions
def test_what_a_task_does_not_say_of_its_node_the_node_s_variables_say(three):
    rules = [{"type": "local", "users": ["app"]}]
    elsewhere = three.hosts["n3"]["data_dir"]
    three.hosts["n1"]["gauss_home"] = "{{ not_there | default(omit) }}"
    once = {"run_once": True}
    own = {"opengauss.node.og_hba": {"rules": rules}, **once}
    said = {"opengauss.node.og_slot": {"data_dir": elsewhere, "state": "absent", "names": []}, **once}
    file = {"opengauss.node.og_hba": {"path": "/pg_hba.conf", "rules": rules}, **once, "ignore_errors": True}
    three.write("own", tasks=[own, {**own, "delegate_to": "n2"}, said, file])
    done = three.good("own")
    assert "data_dir" in done.stdout.split("...ignoring")[0].rsplit("fatal:", 1)[1], done.stdout
    assert [line.split()[:2] for line in three.log()] == [["n1", "og_hba"], ["n2", "og_hba"], ["n3", "og_slot"]]


def test_programs_in_a_folder_that_others_may_enter(three):
    folder = three.root / "opt/opengauss/bin"
    three.write("own", tasks=[{"opengauss.node.og_programs": {"path": str(folder)}, "run_once": True}])
    three.good("own")
    for path in (folder / "og_hba", folder, folder.parent, folder.parent.parent):
        assert path.stat().st_mode & 0o777 == 0o755, path
    assert sorted(p.name for p in folder.iterdir()) == sorted(PROGRAMS)


@pytest.mark.versions
def test_no_version_of_the_programs_stays_behind(three):
    three.good("status")
    folder = three.root / "bin"
    assert folder.stat().st_mode & 0o777 == 0o700
    [version] = folder.iterdir()
    for name in ("0123456789abcdef", "mine"):
        (folder / name).mkdir()
    three.write("own", tasks=[{"opengauss.node.og_programs": {"state": "absent"}, "run_once": True}])
    assert (three.good("own", "--check").changed, version.exists()) == (1, True)
    assert (three.good("own").changed, [p.name for p in folder.iterdir()]) == (1, ["mine"])
    (folder / "mine").rmdir()
    # Of another version alone, and then of none.
    (folder / "0123456789abcdef").mkdir()
    assert (three.good("own").changed, folder.exists(), three.good("own").changed) == (1, False, 0)
