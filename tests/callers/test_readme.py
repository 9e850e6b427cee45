"""What the documents tell to type, typed: on nodes that are folders, with the package installed."""

import os
import pathlib
import re
import shlex
import subprocess
import sys

import pytest
import yaml
from conftest import ROOT, blocks, section_blocks
from test_collection import COLLECTION, VECTORS, installed, run  # noqa: F401 - a fixture
from test_og import HOW_TO

sys.path.insert(0, str(COLLECTION / "tests/workflows"))
from test_workflows import Cluster  # noqa: E402

README, OWN = "README.md", "playbooks/ansible_collections/opengauss/node/README.md"
ANSIBLE, INSTALL, SALT, SHELL, TERMINAL = (f"docs/{name}.md" for name in ("ansible", "install", "salt", "shell", "terminal"))
FIRST, VIEWS = "Your first expand, on a real cluster", "Show the cluster's files"
DOCUMENTS = [README, "CONTRIBUTING.md", *(str(p.relative_to(ROOT)) for folder, names in (("docs", "*.md"), ("playbooks", "**/*.md"), ("fuzz", "*.md")) for p in sorted((ROOT / folder).glob(names)))]

HERE = "tests/callers/test_readme.py::"
XTASK = "xtask/src/main.rs::what_the_documents_tell_to_type_is_understood"
# Each block of the documents that is typed or written by a reader, in the order of the text: the test that takes it from there,
# or why none does.
TAKEN = {
    (README, "Try it"): [XTASK],
    (README, "Install"): [f"{HERE}test_install_lines"] * 3,
    (ANSIBLE, FIRST): [f"{HERE}test_workflows"] * 4,
    (ANSIBLE, "Modules in your own playbooks"): ["tests/callers/test_ansible.py::test_page"],
    (INSTALL, "For a terminal"): ["tests/callers/test_install.py::prefix"],
    (INSTALL, "For Ansible"): [XTASK],
    (INSTALL, "For Salt"): [XTASK],
    (SALT, "Set it up"): ["tests/scenarios/tests/stories/salt.rs::as_the_page_says", "tests/callers/test_salt_workflows.py::test_page"],
    (SALT, "Expand and drop"): ["tests/scenarios/tests/stories/salt.rs::as_the_page_says"] * 2,
    (SALT, "Several clusters"): [
        *["tests/callers/test_salt_workflows.py::test_page_of_several_clusters"] * 2,
        "tests/callers/test_salt.py::test_page_of_several_clusters",
    ],
    (SALT, "One node"): ["tests/callers/test_salt.py::test_page"] * 2,
    (SALT, "From Salt with ssh alone"): ["tests/callers/test_salt_ssh.py::test_what_the_page_tells"] * 2,
    (SHELL, "On this node"): ["tests/callers/test_shell.py::test_page"],
    (SHELL, "On other machines"): ["tests/callers/test_shell.py::test_page_on_other_machines"],
    (SHELL, VIEWS): [f"{HERE}test_views"],
    (TERMINAL, "Describe the cluster"): ["tests/callers/test_og.py::test_page"],
    (TERMINAL, "Use it"): ["tests/callers/test_og.py::test_page"],
    ("docs/clusters.md", "At a terminal"): ["tests/callers/test_og.py::test_page_of_several_clusters"],
    ("docs/clusters.md", "Two clusters on the same hosts"): ["tests/callers/test_og.py::test_page_of_several_clusters"],
    ("docs/lab.md", "The demo"): [XTASK],
    ("docs/lab.md", "Bare machines"): [XTASK],
    ("docs/lab.md", "Under CM"): [XTASK],
    ("docs/lab.md", "A cluster to try things on"): [XTASK],
    ("docs/monitoring.md", "Nagios, Icinga, Zabbix and their like"): ["tests/callers/test_og.py::test_monitoring"],
    ("docs/monitoring.md", "One node by itself"): ["tests/callers/test_og.py::test_metrics_of_one_node"],
    ("docs/monitoring.md", "Prometheus"): ["tests/callers/test_og.py::test_monitoring"],
    ("docs/monitoring.md", "A page and a picture"): ["tests/callers/test_og.py::test_monitoring"],
    ("docs/resume.md", "Recover from a run that died"): ["tests/callers/test_shell.py::test_page_on_runs_that_died"],
    ("docs/ssl.md", "New nodes"): ["tests/callers/test_og.py::test_page_on_ssl"] * 2,
    ("docs/ssl.md", "Members"): ["tests/callers/test_shell.py::test_page_on_ssl"],
    ("docs/ssl.md", "For clients"): ["tests/callers/test_shell.py::test_page_on_ssl"],
    ("CONTRIBUTING.md", "Contributing"): [XTASK],
    ("fuzz/README.md", "Fuzz targets"): ["no test: cargo-fuzz is downloaded and built, and a target runs for minutes"],
    (OWN, "Installation"): [f"{HERE}test_install"],
    (OWN, "Workflows"): [f"{HERE}test_workflows", f"{HERE}test_plays"],
    (OWN, "Several clusters in one inventory"): [f"{HERE}test_several_clusters"] * 2,
    (OWN, "Inventory of a cluster that is there"): [f"{HERE}test_install"] * 2,
    (OWN, "Modules"): [f"{HERE}test_plays"],
}
# Pages all of whose blocks one test takes.
WHOLE = {
    "docs/collect.md": "tests/callers/test_og.py::test_page_on_collect",
    "docs/records.md": "tests/callers/test_og.py::test_page_on_records",
    "docs/tutorial.md": "tests/scenarios/tests/stories/tutorial.rs::as_the_tutorial_says",
    **{f"docs/{page}.md": "tests/callers/test_og.py::test_how_to" for page in HOW_TO},
}


def test_what_is_typed_is_tested():
    """Every block of the documents is taken by a test that is there, or there is a reason why not; docs/modules has its own tests."""
    found = {}
    for file in DOCUMENTS:
        for heading, _ in blocks(file) if file not in WHOLE else []:
            found[file, heading] = found.get((file, heading), 0) + 1
    assert found == {key: len(tests) for key, tests in TAKEN.items()}
    assert all(blocks(file) for file in WHOLE)
    tests = {test for tests in [*TAKEN.values(), WHOLE.values()] for test in tests}
    for test in {test for test in tests if not test.startswith("no test: ")}:
        file, name = test.split("::")
        assert re.search(rf"^ *(?:def|fn) {name}\(", (ROOT / file).read_text(), re.M), test


class World(Cluster):
    """The cluster with the inventory that is documented; what only these folders need is beside it, as host_vars."""

    def __init__(self, *args):
        super().__init__(*args)
        # Where a reader has the project: its playbooks, among which the inventory is put.
        (self.root / "playbooks").mkdir()
        for entry in (ROOT / "playbooks").iterdir():
            if not entry.name.startswith("inventory"):
                (self.root / "playbooks" / entry.name).symlink_to(entry)

    def write(self, inventory, folder="."):
        (self.root / folder / "inventory.yml").write_text(inventory)
        own = {"og_binaries": str(self.root / "programs"), "og_bin_dir": str(self.root / "bin")}
        (self.root / folder / "host_vars").mkdir(exist_ok=True)
        for name, host in self.hosts.items():
            host = {k: v for k, v in host.items() if k not in ("id", "role")}
            (self.root / folder / "host_vars" / f"{name}.yml").write_text(yaml.safe_dump({**host, **own}))

    def type(self, line, collections=None, cwd="."):
        env = {**os.environ, "ANSIBLE_NOCOLOR": "1", "HOME": str(self.root)}
        if collections:
            env["ANSIBLE_COLLECTIONS_PATH"] = str(collections)
        done = subprocess.run(shlex.split(line), cwd=self.root / cwd, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
        return done.stdout


@pytest.mark.parametrize("file", [ANSIBLE, OWN])
def test_workflows(file, installed, tmp_path):  # noqa: F811
    """In the order of the text, on the inventory of the text: the cluster has n1 and n2 to begin with."""
    inventory, *typed = section_blocks(ANSIBLE, FIRST)
    folder, collections = (".", None) if file == ANSIBLE else (".", installed)
    if file == OWN:
        typed = section_blocks(OWN, "Workflows")[:1]
    world = World(tmp_path, 2, "ANY 1(dn_6002)")
    world.write(inventory, "playbooks" if file == ANSIBLE else ".")
    lines = "".join(typed).splitlines()
    for line in lines:
        words = line.split()
        if words[0] == "cd":
            folder = words[1]
        else:
            assert words[0] == "ansible-playbook", line
            world.type(line, collections, folder)
    assert len(lines) >= 4 and world.state("n3")["built"] and world.state("n4")["built"] and not world.state("n2")["running"]


def test_several_clusters(installed, tmp_path):  # noqa: F811
    """The inventory of the text with the lines of the text: one cluster grows, and the other one is as it was."""
    inventory, typed = section_blocks(OWN, "Several clusters in one inventory")
    for name in ("shop", "billing"):
        (tmp_path / name).mkdir()
    shop, billing = worlds = World(tmp_path / "shop", 1, "*"), World(tmp_path / "billing", 1, "*")
    groups = yaml.safe_load(inventory)
    (tmp_path / "clusters.yml").write_text(inventory)
    (tmp_path / "host_vars").mkdir()
    for world, group in zip(worlds, groups.values()):
        for host, node in zip(group["hosts"], world.hosts.values()):
            own = {"og_binaries": str(world.root / "programs"), "og_bin_dir": str(world.root / "bin")}
            own |= {k: v for k, v in node.items() if k not in ("id", "role")}
            (tmp_path / "host_vars" / f"{host}.yml").write_text(yaml.safe_dump(own))
    before = billing.state("n1"), billing.state("n2")
    for line in typed.splitlines():
        shop.type(line, installed, cwd=tmp_path)
    assert shop.state("n2")["built"] and (billing.state("n1"), billing.state("n2")) == before


def test_what_the_playbooks_say_of_themselves(tmp_path):
    """The line at the head of each: the page on Ansible has it, too, or it is typed here."""
    heads = {p.name: re.findall(r"^#   (ansible-playbook .+?)(?:   .*)?$", p.read_text(), re.M) for p in (ROOT / "playbooks").glob("*.yml") if not p.name.startswith("inventory")}
    assert all(len(lines) == 1 for lines in heads.values()), heads
    told = "".join(section_blocks(ANSIBLE, FIRST)).splitlines()
    others = {"install.yml", "preflight.yml", "repair.yml", "switchover.yml", "failover.yml", "restart.yml", "configure.yml", "deploy.yml", "clear.yml", "collect.yml"}
    assert {name for name, [line] in heads.items() if line not in told} == others
    world = World(tmp_path, 1, "*")
    world.write(section_blocks(ANSIBLE, FIRST)[0], "playbooks")
    world.type(*heads["install.yml"], cwd="playbooks")
    assert (tmp_path / ".local/bin/og_hba").exists()


def test_views(programs, tmp_path):
    """As typed; the cluster is one of OM's own."""
    (tmp_path / "bin").mkdir()
    for file in ("bin/cluster_static_config", "cluster_config.xml"):
        (tmp_path / file).write_bytes((VECTORS / "seed_1p2s1c" / pathlib.Path(file).name).read_bytes())
    env = {"PATH": f"{programs}:{os.environ['PATH']}", "GAUSSHOME": str(tmp_path), "HOME": str(tmp_path)}
    [text] = section_blocks(SHELL, VIEWS)
    table, drawn = (subprocess.run(["sh", "-c", line], cwd=tmp_path, env=env, capture_output=True, text=True, check=True) for line in text.splitlines())
    assert "6001" in table.stdout and table.stdout.count("\n") == 6, table
    assert drawn.stdout == "" and (tmp_path / "cluster.svg").read_text().startswith("<svg ")


def test_install_lines(installed, tmp_path):  # noqa: F811
    """README's lines are those of the pages, whose tests run them; for Ansible they are typed here."""
    terminal, ansible, salt = (
        [line.split(" #")[0].strip() for line in text.splitlines()] for text in section_blocks(README, "Install")
    )
    [page] = section_blocks(INSTALL, "For a terminal")
    assert terminal[0] == page.split(" #")[0].strip()
    assert (ROOT / terminal[1].split()[1]).is_file() and terminal[1].split()[2] == "cluster.json"
    assert terminal[2] in section_blocks(TERMINAL, "Use it")[0].splitlines()
    typed = [part.strip() for line in salt for part in line.replace("$(cargo xtask build)", "/path/printed/by/cargo-xtask-build").split("&&")]
    assert typed == section_blocks(SALT, "Set it up")[0].splitlines()
    build, install, status = ansible
    assert build == "cargo xtask collection"
    package = pathlib.Path(os.environ["OG_COLLECTION"])
    place = tmp_path / shlex.split(install)[-1]
    assert place.name == package.name
    place.parent.mkdir(parents=True)
    place.symlink_to(package)
    collections = tmp_path / "collections"
    run(collections, *shlex.split(install), "-p", str(collections), cwd=tmp_path)
    (tmp_path / "world").mkdir()
    world = World(tmp_path / "world", 2, "ANY 1(dn_6002)")
    world.write((ROOT / "playbooks/inventory.example.yml").read_text())
    world.type(status, collections)


@pytest.mark.parametrize("file", [README, INSTALL])
def test_the_version_of_cargo(file):
    """It is that of Cargo.toml."""
    [needed] = re.findall(r'^rust-version = "(.+)"$', (ROOT / "Cargo.toml").read_text(), re.M)
    assert f"cargo {needed} or newer" in (ROOT / file).read_text()


def test_tested_versions():
    """README's are those that the tests install, and what the lab finds is said to be openGauss of these lines."""
    pins = "".join(path.read_text() for path in (ROOT / "playbooks").glob("requirements*.txt"))
    rows = dict(re.findall(r"^\| (ansible-core|Salt) \| (.+) \|$", (ROOT / README).read_text(), re.M))
    for package, row in (("ansible-core", rows["ansible-core"]), ("salt", rows["Salt"])):
        wanted = {version for version in re.findall(rf"^{package}==(\d+(?:\.\d+)?)", pins, re.M)}
        told = set(re.findall(r"\d+(?:\.\d+)?", row))
        assert {version if package == "ansible-core" else version.split(".")[0] for version in wanted} == told


def test_measured_times():
    """README and the comparison give ranges in which every run of the last bench lies."""
    measured = {"add one standby": ("from a single node", "expand by one standby"), "remove one standby": ("drop one of two standbys",)}
    rows = re.findall(r"^\| ([^|]+?) \| ([\d.]+) \| [\d.]+ \| ([\d.]+) s \|", (ROOT / "docs/performance.md").read_text(), re.M)
    for case, names in measured.items():
        [own] = re.findall(rf"^\| {case} \| \*\*(\d+) to (\d+) s\*\* \|", (ROOT / README).read_text(), re.M)
        from_, to = map(int, own)
        times = [(float(least), float(most)) for name, least, most in rows if name.startswith(names) and "longest wait" not in name]
        assert times and all(from_ <= least and most <= to for least, most in times), (case, own, times)
        case = case.replace("remove", "drop")
        assert f"| {case} | this suite | {from_} to {to} s |" in (ROOT / "docs/comparison.md").read_text()


def test_example_inventory(installed, tmp_path):  # noqa: F811
    world = World(tmp_path, 2, "ANY 1(dn_6002)")
    world.write((ROOT / "playbooks/inventory.example.yml").read_text())
    world.type("ansible-playbook -i inventory.yml opengauss.node.status", installed)


def test_plays(installed, tmp_path):  # noqa: F811
    """The plays in the collection's README: one of a role, one of a module."""
    role, module = map(yaml.safe_load, [section_blocks(OWN, "Workflows")[1], *section_blocks(OWN, "Modules")])
    world = World(tmp_path, 1, "*")
    world.write((ROOT / "playbooks/inventory.example.yml").read_text())
    module[0]["tasks"][0]["opengauss.node.og_hba"]["rules"] = [{"type": "host", "users": ["app"]}]
    (tmp_path / "play.yml").write_text(yaml.safe_dump(role + module))
    world.type("ansible-playbook -i inventory.yml play.yml", installed)
    assert world.state("n3")["built"] and world.state("n4")["built"]
    assert {"type": "host", "users": ["app"]} in world.state("n1")["rules"]


def test_install(installed, tmp_path):  # noqa: F811
    """The lines about installing, and what ansible-doc is said to print."""
    config, ask = section_blocks(OWN, "Inventory of a cluster that is there")
    lines = [*section_blocks(OWN, "Installation")[0].splitlines(), *ask.splitlines()]
    package = pathlib.Path(os.environ["OG_COLLECTION"])
    (tmp_path / package.name).write_bytes(package.read_bytes())
    name = re.match(r"# (\S+og_cluster.yml)\n", config).group(1)
    (tmp_path / name).write_text(config)
    (tmp_path / "cluster_static_config").write_bytes((VECTORS / "seed_1p2s1c/cluster_static_config").read_bytes())
    for line in lines:
        done = run(installed, *shlex.split(line), cwd=tmp_path)
    assert lines[-1].startswith("ansible-inventory") and "cascade_standby" in done.stdout
