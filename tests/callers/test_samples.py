"""The results that documentation shows: each key of a sample is one that a call of today has.

`cargo xtask docs --check` holds them against the schemas; here are calls that need no server, and in the scenarios those that do.
"""

import getpass
import io
import json
import os
import re
import shutil
import subprocess
import tarfile

import pytest
from conftest import NAMES, ROOT, WITHOUT_SERVER, for_node
from test_collection import VECTORS
from test_salt_workflows import Master

RULE, OTHER = "host all omm 192.168.0.13/32 trust", "host all app 192.168.0.14/32 sha256"
CHANNEL = {"local": {"host": "127.0.0.1", "base_port": 26000}, "peers": [{"host": "192.168.0.12", "base_port": 26000}]}
QUERY = {"state": "query"}
SEEN = {"n1": {"og_node_state": {"node": {"running": True, "role": "primary"}}}, "n2": {"unreachable": True, "msg": "no route to host"}}
HOSTS = {name: {"id": number, "address": f"192.168.0.{number}", "zone": "AZ1"} for number, name in enumerate(("n1", "n2", "n3"), 1)}
DROP = {"workflow": "drop", "targets": ["n2"], "cluster": {"hosts": HOSTS, "vars": {"data_dir": "/gauss/data/dn1", "base_port": 26000}}}
# Calls one after the other on one node; FILES is a folder with the files of a cluster of OM's.
CALLS = {
    "og_hba": [
        {"rules": [RULE, OTHER], "diff": True, "backup": True},
        {"rules": [RULE.replace("trust", "sha256"), "host all all 0.0.0.0/0 sha256"]},
        {"rules": [OTHER], "state": "absent"},
        {**QUERY, "match": {"type": "host", "database": "postgres", "user": "app", "address": "10.0.0.9"}},
        {"state": "present", "rules": ["host all late 10.0.0.1/32 md5"], "insert": "last"},
        {**QUERY, "path": "FILES/broken_hba.conf"},
        {"rules": [RULE], "path": "/nonexistent/pg_hba.conf"},
        {"rules": ["host all"]},
    ],
    "og_guc": [{"parameters": {"wal_keep_segments": 256}, "diff": True}, {**QUERY, "names": ["wal_keep_segments"]}],
    "og_file": [
        {"path": "FILES/sent", "state": "present", "sha256": "98ea6e4f216f2fb4b69fff9b3a44842c38686ca685f3f55dc48c5d3fb1107be4", "size": 3},
        {"path": "FILES/cluster_config.xml", **QUERY},
    ],
    "og_package": [
        {"link": "FILES/app/current", "package": "FILES/server.tar.gz", "os_user": "MYSELF"},
        {"link": "FILES/app/current", "package": "FILES/other.tar.gz", "os_user": "MYSELF"},
        {"link": "FILES/app/second", "package": "FILES/server.tar.gz", "os_user": "MYSELF"},
        {"state": "absent", "link": "FILES/app/current", "os_user": "MYSELF"},
    ],
    # Nothing is changed here: it would be on this machine. tests/faults/src/host.rs has a machine of its own.
    "og_host": [
        {
            "user": "nobody",
            "directories": [{"path": "/gauss/data"}],
            "limits": {"nofile": 640000},
            "sysctl": {"kernel.sem": "250 6400001 1000 25600"},
            "check_mode": True,
            "diff": True,
        },
        {"state": "absent", "check_mode": True},
        QUERY,
        {"user": "root"},
    ],
    "og_initdb": [
        {**QUERY, "data_dir": "FILES"},
        {"state": "absent", "mode": "deleted"},
        {"state": "absent"},
        {"state": "removed"},
    ],
    "og_lock": [{"owner": "dba", "purpose": "expand n3"}, {"owner": "dba", "state": "released"}, QUERY],
    "og_preflight": [{"for": "restart", "fail_on": "never"}],
    "og_replconninfo": [CHANNEL, {**CHANNEL, "state": "absent"}, {**QUERY, "local": {"host": "203.0.113.7", "base_port": 26000}}, QUERY],
    "og_static_conf": [
        {"xml": "FILES/cluster_config.xml", "local": 1, "path": "FILES/new"},
        {"path": "FILES/new", "drop": [4], "backup": True, "diff": True},
        {**QUERY, "path": "FILES/cluster_static_config", "verify": {"xml": "FILES/cluster_config.xml"}},
        {**QUERY, "path": "FILES/new", "verify": {"path": "FILES/cluster_static_config"}},
        {"xml": "FILES/cluster_config.xml", "for_all": "FILES/copies"},
    ],
    "og_workflow": [
        {**DROP, "owner": "dba"},
        {**DROP, "seen": SEEN},
        {"workflow": "owner", "owner": "dba@control pid 4711 start 918273"},
        {"workflow": "certificates", "targets": ["n1"], "options": {"og_ssl": "FILES/none"}},
    ],
}
# Those that say nothing of theirs where no server runs: tests/scenarios/tests/stories/builds.rs and sessions.rs. Of the others that have no calls
# here, their own examples are.
WITH_A_SERVER = ("og_build", "og_checkpoint", "og_node_state", "og_probe", "og_session", "og_slot")
# Keys that others have no more than there.
OF_A_SERVER = {
    # Of a machine on which it has made something: tests/faults/src/host.rs has one.
    "og_host": {"/warnings", "/kept/name", "/kept/why"},
    "og_guc": {"/running", "/running/*"},
    "og_workflow": {*(f"/certificates/nodes/n1/{key}" for key in ("path", "name", "size", "sha256")), "/package", "/package/path", "/package/sha256", "/package/size", "/package/version", "/package/problem", *(f"/next/calls/put{key}" for key in ("", "/from", "/to", "/sha256", "/mode"))},
    # Of a data directory with a system identifier; og_initdb's own tests and the story deploy have one.
    "og_initdb": {f"/listing/{key}" for key in ("path", "bytes", "owner", "modified", "why")},
}
# Keys that are names, of parameters, nodes or servers.
NAMES_OF = ("running", "before", "after", "roles", "here", "there", "locals", "file_ids", "cuts", "commits", "args", "restore")


def keys(value, path=""):
    """The paths of all keys of a result, whatever its lists hold."""
    if isinstance(value, list):
        return set().union(*(keys(one, path) for one in value))
    if not isinstance(value, dict):
        return set()
    if path.rsplit("/", 1)[-1] in NAMES_OF:
        return set().union(*(keys(own, f"{path}/*") for own in value.values()))
    return set().union(*({f"{path}/{key}"} | keys(own, f"{path}/{key}") for key, own in value.items()))


def recorded(name):
    return keys(json.loads((ROOT / f"schemas/samples/{name}.json").read_text()))


@pytest.mark.parametrize("name", [name for name in NAMES if name not in WITH_A_SERVER])
def test_samples(name, programs, node):
    """Each key of the samples is one that these calls' results have."""
    files = node.parent / "files"
    shutil.copytree(VECTORS / "seed_1p2s1c", files)
    (files / "broken_hba.conf").write_text("host all all\n")
    (files / "copies").mkdir()
    for kind, version in (("server", "6.0.2"), ("other", "5.0.3")):
        pack(files / f"{kind}.tar.gz", version)
    seen = set()
    for args in CALLS.get(name) or examples(programs / name, node):
        of_no_node = name == "og_workflow" or "path" in args or "link" in args
        request = json.dumps(args if of_no_node else {"data_dir": str(node), **args}).replace("FILES", str(files)).replace("MYSELF", getpass.getuser())
        done = subprocess.run([programs / name], input=request, capture_output=True, text=True, check=False)
        seen |= keys(json.loads(done.stdout))
    if name == "og_workflow":
        seen |= of_runs(Master(node.parent / "run", 2, "*", programs))
    assert recorded(name) - seen - OF_A_SERVER.get(name, set()) == set()


def pack(path, version):
    """A package of a server whose programs are those of this system, so that ldd has something to say."""
    with tarfile.open(path, "w:gz") as tar:
        for name in ("gaussdb", "gs_initdb", "gs_ctl"):
            tar.add(os.path.realpath(shutil.which("cat")), f"bin/{name}")
        told = tarfile.TarInfo("version.cfg")
        content = f"openGauss-{version}\n".encode()
        told.size = len(content)
        tar.addfile(told, io.BytesIO(content))


def examples(program, node):
    """The arguments of the program's examples, about this node."""
    text = subprocess.run([program, "--examples"], capture_output=True, text=True, check=True).stdout
    return [json.loads(for_node(call, node)) for call in re.findall(r"^echo '(.*)' \| ", text, re.M)]


def of_runs(master):
    """The keys of what og_workflow answers from the first call of an expand to its outcome, and in a drop of a node that is away."""
    runner, seen = master.runner(), set()
    asked = runner._asked

    def noted(*args):
        answer = asked(*args)
        seen.update(keys(answer))
        return answer

    runner._asked = noted
    assert not runner.expand("n3")["failed"]
    master.away.add("n2")
    assert not runner.drop("n2")["failed"]
    return seen


def test_every_sample_is_held_against_calls():
    """Here, or by the scenarios."""
    there = {p.stem for p in (ROOT / "schemas/samples").glob("og_*.json")}
    assert there == set(NAMES) and set(WITH_A_SERVER) <= there
    assert set(NAMES) - set(CALLS) - set(WITH_A_SERVER) <= set(WITHOUT_SERVER)
