"""What the READMEs tell to type, typed: on nodes that are folders, with the package installed."""

import os
import pathlib
import re
import shlex
import subprocess
import sys
import textwrap

import pytest
import yaml
from conftest import ROOT
from test_collection import COLLECTION, VECTORS, installed, run  # noqa: F401 - a fixture

sys.path.insert(0, str(COLLECTION / "tests/workflows"))
from test_workflows import Cluster  # noqa: E402

FILES = ["README.md", "playbooks/ansible_collections/opengauss/node/README.md"]
ROOT_README = (ROOT / "README.md").read_text()


class World(Cluster):
    """The cluster with the inventory that is documented; what only these folders need is beside it, as host_vars."""

    def write(self, inventory):
        (self.root / "inventory.yml").write_text(inventory)
        own = {"og_binaries": str(self.root / "programs"), "og_bin_dir": str(self.root / "bin")}
        (self.root / "host_vars").mkdir(exist_ok=True)
        for name, host in self.hosts.items():
            host = {k: v for k, v in host.items() if k not in ("id", "role")}
            (self.root / "host_vars" / f"{name}.yml").write_text(yaml.safe_dump({**host, **own}))

    def type(self, line, collections):
        words = shlex.split(line)
        for at, word in enumerate(words):
            if word.endswith(".yml") and (ROOT / "playbooks" / word).exists():
                words[at] = str(ROOT / "playbooks" / word)
        env = {**self.env(), "ANSIBLE_COLLECTIONS_PATH": str(collections), "HOME": str(self.root)}
        done = subprocess.run(words, cwd=self.root, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"


def commands(file, program):
    """The lines that a file tells to type; several of one block stand in their order."""
    text = (ROOT / file).read_text()
    return [line.strip() for line in re.findall(rf"^ +{program} .*$", text, re.M)]


@pytest.mark.parametrize("file", FILES)
def test_workflows(file, installed, tmp_path):  # noqa: F811
    """In the order of the text, on the inventory of the text: the cluster has n1 and n2 to begin with."""
    lines = commands(file, "ansible-playbook")
    assert len(lines) >= 4
    world = World(tmp_path, 2, "ANY 1(dn_6002)")
    [inventory] = re.findall(r"```yaml\n( *# inventory.yml\n.*?)```", ROOT_README, re.S)
    world.write(yaml.safe_dump(yaml.safe_load(inventory)))
    for line in lines:
        world.type(line, installed)
    assert world.state("n3")["built"] and world.state("n4")["built"] and not world.state("n2")["running"]


def test_the_version_of_cargo():
    [needed] = re.findall(r'^rust-version = "(.+)"$', (ROOT / "Cargo.toml").read_text(), re.M)
    assert f"cargo {needed} or newer" in ROOT_README


def test_example_inventory(installed, tmp_path):  # noqa: F811
    world = World(tmp_path, 2, "ANY 1(dn_6002)")
    world.write((ROOT / "playbooks/inventory.example.yml").read_text())
    world.type("ansible-playbook -i inventory.yml opengauss.node.status", installed)


def test_plays(installed, tmp_path):  # noqa: F811
    """The plays in the collection's README: one of a role, one of a module."""
    plays = re.findall(r"^    - hosts: opengauss\n(?:^    .*\n|\n)+", (COLLECTION / "README.md").read_text(), re.M)
    role, module = map(yaml.safe_load, plays)
    world = World(tmp_path, 1, "*")
    world.write((ROOT / "playbooks/inventory.example.yml").read_text())
    module[0]["tasks"][0]["opengauss.node.og_hba"]["rules"] = [{"type": "host", "users": ["app"]}]
    (tmp_path / "play.yml").write_text(yaml.safe_dump(role + module))
    world.type("ansible-playbook -i inventory.yml play.yml", installed)
    assert world.state("n3")["built"] and world.state("n4")["built"]
    assert {"type": "host", "users": ["app"]} in world.state("n1")["rules"]


def test_install(installed, tmp_path):  # noqa: F811
    """The lines about installing, and what ansible-doc is said to print."""
    lines = commands(FILES[1], "ansible-(?:galaxy|doc|inventory)")
    assert any("galaxy" in line for line in lines) and any("-doc" in line for line in lines)
    package = pathlib.Path(os.environ["OG_COLLECTION"])
    (tmp_path / package.name).write_bytes(package.read_bytes())
    [config] = re.findall(r"^    # (\S+og_cluster.yml)\n((?:    .*\n)+)", (ROOT / FILES[1]).read_text(), re.M)
    (tmp_path / config[0]).write_text(textwrap.dedent(config[1]))
    (tmp_path / "cluster_static_config").write_bytes((VECTORS / "seed_1p2s1c/cluster_static_config").read_bytes())
    for line in lines:
        done = run(installed, *shlex.split(line), cwd=tmp_path)
    assert lines[-1].startswith("ansible-inventory") and "cascade_standby" in done.stdout
