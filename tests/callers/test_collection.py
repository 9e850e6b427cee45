"""The collection as users get it: the package, its roles, playbooks and inventory, installed without a network."""

import json
import os
import pathlib
import re
import subprocess

import pytest
import yaml
from conftest import NAMES, NODE_FILES, ON_NODES, ROOT

COLLECTION = ROOT / "playbooks/ansible_collections/opengauss/node"
VECTORS = ROOT / "tests/vectors/cluster"
# What the other roles are made of; no play names them.
INTERNAL = ("workflow", "common")
ROLES = sorted(p.name for p in (COLLECTION / "roles").iterdir() if p.name not in INTERNAL)
LOCAL = {"ansible_connection": "local", "ansible_python_interpreter": "{{ ansible_playbook_python }}"}


@pytest.fixture(scope="session")
def installed(tmp_path_factory):
    """A folder of collections with the package installed into it."""
    if "OG_COLLECTION" not in os.environ:
        pytest.skip("no package: OG_COLLECTION is not set (cargo xtask collection)")
    folder = tmp_path_factory.mktemp("collections")
    package = os.environ["OG_COLLECTION"]
    # With programs that are not optimised it may be larger; Galaxy never sees those.
    assert pathlib.Path(package).stat().st_size < 20_000_000 or "OG_BUILT" in os.environ
    done = run(folder, "ansible-galaxy", "collection", "install", "--offline", "-p", str(folder), package)
    assert "installed successfully" in done.stdout
    return folder


def run(collections, program, *args, cwd=None, code=0, **env):
    env = {**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(collections), "HOME": str(cwd or collections), "ANSIBLE_LOCALHOST_WARNING": "false", **env}
    done = subprocess.run([program, *args], cwd=cwd or collections, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return done


def test_what_is_in_it(installed):
    tree = installed / "ansible_collections/opengauss/node"
    there = {str(p.relative_to(tree)) for p in tree.rglob("*") if p.is_file()}
    changes = yaml.safe_load((tree / "changelogs/changelog.yaml").read_text())
    assert all(release["changes"] for release in changes["releases"].values()) and changes["releases"]
    assert {"CHANGELOG.md", "LICENSE", "README.md", "meta/runtime.yml", "playbooks/expand.yml"} <= there
    assert not [p for p in there if p.startswith("tests/") or "__pycache__" in p]
    programs = [p for p in there if p.startswith("files/bin/")]
    assert {pathlib.Path(p).name for p in programs} == set(NAMES)
    assert all(os.access(tree / p, os.X_OK) for p in programs)


def test_example_of_an_execution_environment():
    """It has the package in it, of this version."""
    text = (ROOT / "playbooks/examples/execution-environment.yml").read_text()
    galaxy = yaml.safe_load((COLLECTION / "galaxy.yml").read_text())
    described, package = yaml.safe_load(text), f"opengauss-node-{galaxy['version']}.tar.gz"
    assert [file["src"] for file in described["additional_build_files"]] == [package]
    assert described["dependencies"]["galaxy"]["collections"] == [{"name": f"galaxy/{package}", "type": "file"}]


@pytest.mark.versions
def test_it_works_with_what_it_brings(installed, tmp_path):
    """A play of another's own, and the playbooks by their names; nothing but the package is there."""
    (tmp_path / "data").mkdir(mode=0o700)
    for name, text in NODE_FILES.items():
        (tmp_path / "data" / name).write_text(text)
    tasks = [{"opengauss.node.og_guc": {"parameters": {"wal_keep_segments": 256}}}, {"opengauss.node.og_slot": {"state": "query", "timeout": 0}, "when": False}]
    defaults = {"group/opengauss.node.all": {"data_dir": str(tmp_path / "data")}}
    book = [{"hosts": "opengauss", "gather_facts": False, "module_defaults": defaults, "tasks": tasks}]
    (tmp_path / "play.yml").write_text(json.dumps(book))
    own = {"id": 1, "address": "127.0.0.1", "data_dir": str(tmp_path / "data"), **LOCAL}
    (tmp_path / "inventory.json").write_text(json.dumps({"opengauss": {"hosts": {"n1": own}}}))
    args = ["-i", "inventory.json"]
    for changed in (1, 0):
        assert f"changed={changed} " in run(installed, "ansible-playbook", *args, "play.yml", cwd=tmp_path).stdout
    assert "wal_keep_segments = 256" in (tmp_path / "data/postgresql.conf").read_text()
    status = run(installed, "ansible-playbook", *args, "opengauss.node.status", cwd=tmp_path, code=2).stdout
    assert re.search(r"n1 .* stopped", status) and "no primary runs" in status, status


@pytest.mark.in_turn
@pytest.mark.versions
def test_install_puts_the_programs_where_it_is_told(installed, tmp_path):
    (tmp_path / "inventory.json").write_text(json.dumps({"opengauss": {"hosts": {"n1": LOCAL}}}))
    args = ["-i", "inventory.json", "opengauss.node.install", "-e", f"og_install_dir={tmp_path}/bin"]

    def changed(*more):
        done = run(installed, "ansible-playbook", *args, *more, cwd=tmp_path)
        return int(re.search(r"changed=(\d)", done.stdout).group(1))

    assert changed("--check") == 1 and not (tmp_path / "bin").exists()
    assert (changed(), changed()) == (1, 0)
    assert sorted(p.name for p in (tmp_path / "bin").iterdir()) == ON_NODES
    assert "og_hba" in run(installed, str(tmp_path / "bin/og_hba"), "--version").stdout
    (tmp_path / "bin/og_hba").write_text("another")
    (tmp_path / "bin/og_guc").chmod(0o600)
    (tmp_path / "bin/mine").touch()
    assert (changed(), changed()) == (1, 0)
    assert oct((tmp_path / "bin/og_guc").stat().st_mode)[-3:] == "755"
    assert (changed("-e", "og_install_state=absent"), changed("-e", "og_install_state=absent")) == (1, 0)
    assert [p.name for p in (tmp_path / "bin").iterdir()] == ["mine"]


@pytest.mark.versions
def test_roles_are_documented(installed):
    """Each variable with its default, as the roles have it."""
    done = run(installed, "ansible-doc", "-t", "role", "--json", *[f"opengauss.node.{name}" for name in ROLES])
    defaults = {}
    for file in (COLLECTION / "roles").glob("*/defaults/main.yml"):
        defaults.update(yaml.safe_load(file.read_text()))
    told = json.loads(done.stdout)
    assert len(told) == len(ROLES)
    for role in told.values():
        main = role["entry_points"]["main"]
        assert main["short_description"] and main["description"]
        for key, option in main["options"].items():
            assert option["description"], key
            assert option["default"] == defaults[key], key


def test_every_variable_of_the_roles_is_documented():
    documented, defaults = set(), set()
    for role in ROLES:
        documented |= set(yaml.safe_load((COLLECTION / "roles" / role / "meta/argument_specs.yml").read_text())["argument_specs"]["main"]["options"])
    for file in (COLLECTION / "roles").glob("*/defaults/main.yml"):
        defaults |= set(yaml.safe_load(file.read_text()))
    assert documented == defaults


def test_the_readme_lists_every_variable():
    """With its default."""
    rows = re.findall(r"^\| `(og_\w+)` \| (.+?) \|", (COLLECTION / "README.md").read_text(), re.M)
    defaults = yaml.safe_load((COLLECTION / "roles/common/defaults/main.yml").read_text())
    expected = {k: json.dumps(v).strip('"') for k, v in defaults.items()}
    assert {k: v.strip('`"') for k, v in rows} == expected
    # Some stand with each of the workflows that take them.
    assert len(dict(rows)) == len(expected)


@pytest.mark.versions
def test_a_wrong_variable_is_told_at_once(installed, tmp_path):
    (tmp_path / "inventory.json").write_text(json.dumps({"opengauss": {"hosts": {"n1": {"id": 1, **LOCAL}}}}))
    done = run(installed, "ansible-playbook", "-i", "inventory.json", "opengauss.node.drop", "-e", "og_drop=n1", "-e", "og_drop_commits=perhaps", cwd=tmp_path, code=2)
    assert "value of og_drop_commits must be one of: protected, available, got: perhaps" in done.stdout


class Om:
    """A cluster of OM's, in files."""

    def __init__(self, folder, installed, cluster):
        self.folder, self.installed = folder, installed
        for name in ("cluster_static_config", "cluster_dynamic_config", "cluster_config.xml"):
            if (VECTORS / cluster / name).exists():
                (folder / name).write_bytes((VECTORS / cluster / name).read_bytes())

    def hosts(self, code=0, **config):
        config = {"plugin": "opengauss.node.og_cluster", **config}
        (self.folder / "demo.og_cluster.yml").write_text(yaml.safe_dump(config))
        env = {"ANSIBLE_INVENTORY_ENABLED": "auto", "ANSIBLE_INVENTORY_UNPARSED_FAILED": "true"}
        done = run(self.installed, "ansible-inventory", "-i", "demo.og_cluster.yml", "--list", cwd=self.folder, code=code, **env)
        return told(json.loads(done.stdout)) if code == 0 else done.stderr


def told(value):
    """The value without the marks that ansible-inventory puts on texts which are no templates."""
    if isinstance(value, dict):
        return value["__ansible_unsafe"] if list(value) == ["__ansible_unsafe"] else {k: told(v) for k, v in value.items()}
    return [told(v) for v in value] if isinstance(value, list) else value


@pytest.mark.in_turn
@pytest.mark.versions
def test_inventory_of_a_cluster_that_is_there(installed, tmp_path):
    om = Om(tmp_path, installed, "seed_1p2s1c")
    listed = om.hosts(path="cluster_static_config", compose={"ansible_user": "'omm'"}, keyed_groups=[{"key": "zone", "separator": ""}])
    hosts = listed["_meta"]["hostvars"]
    assert sorted(hosts) == sorted(listed["opengauss"]["hosts"]) == sorted(listed["AZ1"]["hosts"])
    assert len(hosts) == 4
    assert sorted(h["role"] for h in hosts.values()) == ["cascade_standby", "primary", "standby", "standby"]
    one = next(h for h in hosts.values() if h["id"] == 1)
    spec = (VECTORS / "seed_1p2s1c/cluster_config.xml").read_text()
    assert one["ansible_host"] in spec and one["data_dir"] in spec and str(one["base_port"]) in spec and one["ansible_user"] == "omm"
    (tmp_path / "cluster_dynamic_config").unlink(missing_ok=True)
    by_xml = om.hosts(path=str(tmp_path / "cluster_config.xml"))["_meta"]["hostvars"]
    by_config = om.hosts(path="cluster_static_config")["_meta"]["hostvars"]
    assert by_xml == by_config


@pytest.mark.in_turn
def test_inventory_says_what_is_wrong(installed, tmp_path):
    om = Om(tmp_path, installed, "seed_1p2s1c")
    assert f"there is no {tmp_path}/elsewhere" in " ".join(om.hosts(code=1, path="elsewhere").split())
    with open(tmp_path / "cluster_static_config", "r+b") as f:
        f.seek(200)
        f.write(b"\xff\xff")
    assert "byte 200 should be 0" in " ".join(om.hosts(code=1, path="cluster_static_config").split())
    assert "no og_static_conf for this machine" in om.hosts(code=1, path="cluster_config.xml", binaries=str(tmp_path))
