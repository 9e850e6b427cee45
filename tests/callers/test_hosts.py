"""Tasks over ssh: every connection, become, check mode, timeout and the like; and hosts on which something is wrong."""

import fcntl
import importlib.util
import json
import os
import pathlib
import re
import shutil
import time

import hosts
import pytest
from conftest import NODE_FILES, ROOT
from test_ansible import ansible

pytestmark = pytest.mark.skipif(hosts.missing() is not None, reason=str(hosts.missing()))
needs_sudo = pytest.mark.skipif(shutil.which("sudo") is None, reason="no sudo (cargo xtask setup)")

DATA = f"/home/{hosts.USER}/data"
RULE = "host all omm 192.168.0.13/32 trust"


def rule(data_dir=DATA, **more):
    return {"opengauss.node.og_hba": {"data_dir": data_dir, "rules": [RULE], "reload": "never"}, **more}


class Runner:
    """Runs tasks on a host."""

    def __init__(self, folder, programs):
        self.folder, self.binaries, self.output, self.within = folder, programs, "", ()

    def __call__(self, host, tasks, *args, env=None, **variables):
        """The tasks' results; also those of tasks that failed."""
        answers = self.folder / "answers.json"
        names = [f"answer{n}" for n in range(len(tasks))]
        tasks = [{**task, "register": name, "ignore_errors": True, "ignore_unreachable": True} for task, name in zip(tasks, names)]
        keep = {"content": "{{ [" + ", ".join(names) + "] | to_json }}", "dest": str(answers)}
        local = {"ansible_connection": "local", "ansible_python_interpreter": "{{ ansible_playbook_python }}"}
        tasks.append({"ansible.builtin.copy": keep, "check_mode": False, "diff": False, "delegate_to": "localhost", "become": False, "vars": local})
        own = {"og_binaries": str(self.binaries), "ansible_python_interpreter": "/nonexistent/python", **host.variables(), **variables}
        (self.folder / "inventory.json").write_text(json.dumps({"all": {"hosts": {"n1": own}}}))
        (self.folder / "play.yml").write_text(json.dumps([{"hosts": "n1", "gather_facts": False, "tasks": tasks}]))
        line = [*self.within, "ansible-playbook", "-i", "inventory.json", "play.yml", *args]
        done = ansible(*line, cwd=self.folder, ANSIBLE_SSH_CONTROL_PATH_DIR=str(host.base / "cp"), **(env or {}))
        self.output = done.stdout + done.stderr
        assert done.returncode == 0, self.output
        return json.loads(answers.read_text())


@pytest.fixture
def run(tmp_path, few_programs):
    return Runner(tmp_path, few_programs)


@pytest.fixture
def host():
    with hosts.Host() as there:
        there.put(DATA, NODE_FILES)
        yield there


def hba(host, data=DATA):
    return (host.path(data) / "pg_hba.conf").read_text()


@pytest.mark.parametrize("pipelining", ["false", pytest.param("true", marks=pytest.mark.versions)])
def test_one_remote_command_a_task(host, run, pipelining):
    """The programs are carried there once; after that each task is one command, whatever pipelining says."""
    env = {"ANSIBLE_PIPELINING": pipelining}
    foreseen, first = run(host, [rule(check_mode=True, diff=True), rule()], env=env)
    assert foreseen["changed"] and "192.168.0.13" in foreseen["diff"][0]["after"] and first["changed"]
    assert host.commands() == 4  # missing, upload, and the two tasks
    assert [r["changed"] for r in run(host, [rule(), rule()], env=env)] == [False, False]
    assert host.commands() == 2
    assert len(host.programs()) == 1 and oct(next(host.programs()[0].iterdir()).stat().st_mode)[-3:] == "700"


@pytest.mark.in_turn
def test_paramiko(host, run):
    """A connection plugin that gives a command no standard input."""
    pytest.importorskip("paramiko")
    env = {"ANSIBLE_PARAMIKO_HOST_KEY_CHECKING": "false", "ANSIBLE_DEPRECATION_WARNINGS": "false"}
    results = run(host, [rule(check_mode=True), rule(), rule()], ansible_connection="ansible.builtin.paramiko_ssh", env=env)
    assert [r["changed"] for r in results] == [True, True, False], results
    assert not list(host.path(f"/home/{hosts.USER}/.ansible/tmp").iterdir())


@pytest.fixture
def libssh(host, run, tmp_path):
    """The variables by which a task goes there over libssh, and where its known hosts are: it knows those of the user's own home alone."""
    pytest.importorskip("pylibsshext")
    if "OG_OTHERS" not in os.environ:
        pytest.skip("no ansible.netcommon: OG_OTHERS does not name a folder of collections")
    root, home = pathlib.Path("/etc/passwd").read_text(), tmp_path / "root"
    (home / ".ssh").mkdir(parents=True)
    known = home / ".ssh/known_hosts"
    shutil.copy(host.base / "known_hosts", known)
    (tmp_path / "passwd").write_text(re.sub(r"^(root(?::[^:]*){4}):[^:]*", rf"\1:{home}", root, flags=re.M))
    run.within = ("unshare", "--mount", "sh", "-c", 'mount --bind "$0" /etc/passwd && exec "$@"', str(tmp_path / "passwd"))
    collections = f"{ROOT / 'playbooks'}:{os.environ['OG_OTHERS']}"
    return {"env": {"ANSIBLE_COLLECTIONS_PATH": collections}, "ansible_connection": "ansible.netcommon.libssh", "ansible_ssh_common_args": ""}, known


@needs_sudo
@pytest.mark.in_turn
def test_libssh(host, run, libssh):
    """Another one, with a channel for each command: a large input, a failure, other users, and a host that is not the one that is known."""
    (variables, known), data = libssh, f"/home/{hosts.DBA}/data"
    host.put(data, NODE_FILES, owner=hosts.DBA)
    comment = "x" * 200_000
    large = rule()
    large["opengauss.node.og_hba"]["rules"] = [{"type": "host", "users": ["app"], "address": "10.1.0.0/16", "method": "trust", "comment": comment}]
    mistaken = rule("/nonexistent")
    as_root, as_owner = rule(data, become=True), rule(data, become=True, become_user=hosts.DBA)
    results = run(host, [rule(check_mode=True), rule(), rule(), large, mistaken, as_root, as_owner], **variables)
    assert [r["changed"] for r in results] == [True, True, False, True, False, True, False], results
    assert results[4]["error"]["kind"] == "not_found" and comment in hba(host)
    assert not list(host.path(f"/home/{hosts.USER}/.ansible/tmp").iterdir()) and len(host.programs()) == 1
    host._run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(host.base / "other"))
    known.write_text(f"[127.0.0.1]:{host.port} {(host.base / 'other.pub').read_text()}")
    before = host.commands()
    [stranger] = run(host, [rule()], **variables)
    assert stranger["unreachable"] and before and host.commands() == 0, stranger


# `secret`, as /etc/shadow has it.
SECRET = "$6$ogtest$Zc3lCHV0CFqbnAb.MjCZg9gwC580VJDAXibgN0/KjI3E1f4H59VeF0edAPZr2C37pSZG7pzJl/QHO1ianOZFO1"


@needs_sudo
@pytest.mark.in_turn
def test_a_password_for_sudo(run):
    """Also where the arguments go through a file, which sudo must not take for the password, nor the terminal echo it."""
    data, shadow = f"/home/{hosts.DBA}/data", f"sed -i 's|^{hosts.USER}:[*]|{hosts.USER}:{SECRET}|' /etc/shadow"
    with hosts.Host(sudo="ALL=(ALL) PASSWD: ALL", defaults="Defaults requiretty", defect=shadow) as host:
        host.put(data, NODE_FILES, owner=hosts.DBA)
        ways = [{"ansible_connection": "ssh"}]
        if importlib.util.find_spec("paramiko"):
            ways.append({"ansible_connection": "ansible.builtin.paramiko_ssh"})
        for way, changed in zip(ways, (True, False)):
            env = {"ANSIBLE_PARAMIKO_HOST_KEY_CHECKING": "false", "ANSIBLE_DEPRECATION_WARNINGS": "false"}
            [result] = run(host, [rule(data)], ansible_become=True, ansible_become_password="secret", env=env, **way)
            assert result["changed"] == changed and not result["failed"], result
            assert "secret" not in json.dumps(result)


@needs_sudo
@pytest.mark.in_turn
@pytest.mark.parametrize(
    "user, defaults",
    [("root", ""), (hosts.DBA, ""), ("root", "Defaults requiretty"), pytest.param(hosts.DBA, "Defaults requiretty", marks=pytest.mark.versions)],
)
def test_become(run, user, defaults):
    """Run by root, the program is the data directory's owner; sudo may ask for a terminal."""
    data = f"/home/{hosts.DBA}/data"
    with hosts.Host(defaults=defaults) as host:
        host.put(data, NODE_FILES, owner=hosts.DBA)
        tasks = [rule(data), rule(data)]
        refused, *_ = run(host, [rule(data)])
        assert refused["failed"] and refused["error"]["kind"] in ("permission", "not_found"), refused
        results = run(host, tasks, ansible_become=True, ansible_become_user=user)
        assert [r["changed"] for r in results] == [True, False], results
        assert (host.path(data) / "pg_hba.conf").stat().st_uid == hosts.UIDS[hosts.DBA]


@needs_sudo
@pytest.mark.in_turn
def test_sudo_that_refuses(run):
    with hosts.Host(sudo="ALL=(ALL) PASSWD: ALL") as host:
        host.put(DATA, NODE_FILES)
        [refused] = run(host, [rule()], ansible_become=True)
        assert refused["failed"] and "sudo password" in refused["msg"].lower(), refused


@pytest.mark.versions
def test_what_a_task_may_say(host, run):
    """environment, async, and arguments that are wrong."""
    outside = rule(environment={"PGDATA": DATA})
    del outside["opengauss.node.og_hba"]["data_dir"]
    wrong = rule()
    wrong["opengauss.node.og_hba"]["rulse"] = []
    by_env, later, mistaken = run(host, [outside, rule(**{"async": 10, "poll": 0}), wrong])
    assert by_env["changed"]
    assert later["failed"] and "does not support async" in later["msg"]
    assert mistaken["failed"] and "/rulse: unknown argument (did you mean rules?)" in mistaken["msg"]


@pytest.mark.in_turn
def test_no_log(host, run):
    """Neither what Ansible prints nor what the program is told to echo has the arguments."""
    [result] = run(host, [rule(no_log=True)], "-vvvv")
    assert result["changed"] and "192.168.0.13" not in json.dumps(result.get("invocation", {}))
    assert "192.168.0.13" not in run.output and "censored" in run.output


@pytest.mark.versions
def test_wrong_arguments_are_told_before_anything_is_sent(host, run):
    [wrong] = run(host, [{"opengauss.node.og_guc": {"data_dir": DATA, "reload": "perhaps"}}])
    assert wrong["error"]["kind"] == "bad_args" and "perhaps" in wrong["msg"] and host.commands() == 0


@pytest.mark.in_turn
def test_timeout(host, run):
    """A task that takes too long ends in time, and so does its program on the node."""
    run(host, [rule(check_mode=True)])
    with open(host.path(DATA) / "pg_hba.conf.lock", "w", encoding="ascii") as lock:
        os.chown(lock.fileno(), hosts.UIDS[hosts.USER], hosts.UIDS[hosts.USER])
        fcntl.lockf(lock, fcntl.LOCK_EX)
        late, busy = run(host, [rule(timeout=1), {"opengauss.node.og_hba": {**rule()["opengauss.node.og_hba"], "lock_timeout": 0}}])
    assert late["failed"] and re.search("Timed out after 1 second|failed to execute in the expected time frame", late["msg"]), late
    # The first one's program may wait there yet.
    assert busy["error"]["kind"] == "busy" and re.search("pg_hba.conf|worked on by og_hba", busy["msg"]), busy
    limit = time.monotonic() + 30
    while "og_hba" in host.names():
        assert time.monotonic() < limit, host.names()
        time.sleep(0.05)


def test_a_failure_says_what_to_do(host, run):
    """Without -vvv: what is wrong, where, and what to do."""
    run(host, [{"opengauss.node.og_hba": {"data_dir": "/nonexistent", "rules": [RULE]}}])
    told = " ".join(run.output.split())
    assert "cannot open data_dir /nonexistent: no such file or directory" in told, run.output


@pytest.mark.versions
def test_diff_is_a_unified_diff(host, run):
    """--diff prints the file's lines around the change, in check mode too."""
    for mode in (["--check"], []):
        run(host, [rule()], "--diff", *mode)
        assert f"--- before: {DATA}/pg_hba.conf" in run.output and f"+{RULE}" in run.output, run.output
        assert " host all all 10.0.0.0/8 sha256" in run.output


@pytest.mark.in_turn
@pytest.mark.parametrize("damage", [b"", b"\x7fELF and no more"])
def test_a_damaged_program_is_put_there_again(host, run, damage):
    run(host, [rule(check_mode=True)])
    program = host.programs()[0] / "og_hba"
    program.write_bytes(damage)
    [result] = run(host, [rule()])
    assert result["changed"], result


@pytest.mark.in_turn
def test_another_architecture(run, few_programs, tmp_path):
    """The node's own machine counts: what is there for it is taken, and what is missing is named."""
    with hosts.Host(wrap="setarch i686") as host:
        host.put(DATA, NODE_FILES)
        [result] = run(host, [rule()])
        assert result["failed"] and f"the programs in {few_programs} are for x86_64, the node is i686" in result["msg"], result
        several = tmp_path / "several"
        shutil.copytree(few_programs, several / "x86_64")
        run.binaries = several
        [result] = run(host, [rule()])
        assert "no og_* programs for i686" in result["msg"] and "found for: x86_64" in result["msg"], result
        (several / "i686").mkdir()
        (several / "i686/og_hba").write_text("#!/bin/sh\ncat >&2\necho '{\"changed\": true, \"msg\": \"as i686\"}'\n")
        (several / "i686/og_hba").chmod(0o755)
        [result] = run(host, [rule()])
        assert result["msg"] == "as i686", result


@pytest.mark.in_turn
def test_no_python(run):
    hide = 'for p in /usr/bin/python3* /usr/local/bin/python3*; do if [ -f "$p" ]; then mount --bind /dev/null "$(readlink -f "$p")"; fi; done'
    with hosts.Host(defect=hide) as host:
        host.put(DATA, NODE_FILES)
        python, first, second = run(host, [{"ansible.builtin.raw": "/usr/bin/python3 -c 1"}, rule(), rule()])
        assert python["rc"] != 0 and (first["changed"], second["changed"]) == (True, False)


@pytest.mark.in_turn
def test_home_without_programs(run):
    """A home mounted noexec: told, with the variable that helps; it does help."""
    with hosts.Host(defect="mount -o remount,noexec /home") as host:
        host.put(DATA, NODE_FILES)
        [result] = run(host, [rule()])
        assert result["failed"] and "cannot be run" in result["msg"] and "noexec" in result["msg"] and "og_bin_dir" in result["msg"], result
        [result] = run(host, [rule()], og_bin_dir=f"/dev/shm/og-test-{host.port}")
        assert result["changed"], result
        shutil.rmtree(f"/dev/shm/og-test-{host.port}")


def test_full_disks(run):
    """A full /tmp does not matter; a home without room is told, and nothing is left half there."""
    full = "mount -t tmpfs -o size=4k,mode=1777 tmpfs /tmp; cat /dev/zero > /tmp/full 2>/dev/null || :"
    with hosts.Host(defect=full) as host:
        host.put(DATA, NODE_FILES)
        assert host.path("/tmp/full").stat().st_size > 0
        assert run(host, [rule()])[0]["changed"]
    with hosts.Host(defect="mount -o remount,size=256k /home") as host:
        host.put(DATA, NODE_FILES)
        [result] = run(host, [rule()])
        assert result["failed"] and "No space left on device" in result["msg"] and "og_bin_dir" in result["msg"], result
        assert host.programs() == [] and hba(host) == NODE_FILES["pg_hba.conf"]


@pytest.mark.in_turn
def test_a_wrong_host_key(host, run):
    other = host.base / "other"
    host._run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(other))
    (host.base / "known_hosts").write_text(f"[127.0.0.1]:{host.port} {(host.base / 'other.pub').read_text()}")
    [result] = run(host, [rule()])
    assert result["unreachable"] and "REMOTE HOST IDENTIFICATION HAS CHANGED" in result["msg"], result
    assert hba(host) == NODE_FILES["pg_hba.conf"]


@pytest.mark.in_turn
def test_a_host_that_is_not_there(host, run):
    [result] = run(host, [rule()], ansible_port=1)
    assert result["unreachable"] and "Connection refused" in result["msg"], result
