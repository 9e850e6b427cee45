"""What the tests of all callers share: the programs, a node's folder, and what the documents tell users to type.

    cargo xtask test            runs these among all tests
    OG_PROGRAMS=… pytest tests/callers
"""

import getpass
import json
import os
import pathlib
import re
import shutil
import subprocess
import textwrap
import zlib

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
# What the texts for users call the node.
DOCUMENTED = ["/gauss/data/db1", "/gauss/data/dn1", "/data/dn1"]
REGISTRY = json.loads((ROOT / "schemas/registry.json").read_text())
NAMES = [program["name"] for program in REGISTRY["programs"]]
# Those that run on a node; the rest runs where the administrator is.
ON_NODES = [program["name"] for program in REGISTRY["programs"] if program["on_nodes"]]
# Those whose examples need no server.
WITHOUT_SERVER = [program["name"] for program in REGISTRY["programs"] if program["works_without_server"]]


NODE_FILES = {
    "PG_VERSION": "9.2\n",
    "pg_hba.conf": "# kept\nlocal all all trust\nhost all all 127.0.0.1/32 trust\nhost all all 10.0.0.0/8 sha256\n",
    "postgresql.conf": "port = 26000\t# kept\n",
}


def pytest_collection_modifyitems(config, items):
    """Of the tests marked `in_turn` those whose turn it is, as `OG_TURN` says: `N/M` for those of part N of M, counted from 0."""
    turn, parts = map(int, os.environ.get("OG_TURN", "0/1").split("/"))
    later = [item for item in items if item.get_closest_marker("in_turn") and zlib.crc32(item.nodeid.encode()) % parts != turn]
    if later:
        config.hook.pytest_deselected(items=later)
        items[:] = [item for item in items if item not in later]


@pytest.fixture(scope="session")
def programs():
    """The folder with the programs under test."""
    folder = pathlib.Path(os.environ["OG_PROGRAMS"])
    assert (folder / "og_hba").is_file()
    return folder


@pytest.fixture(scope="session")
def few_programs(programs, tmp_path_factory):
    """A folder with two of them: what is carried to many hosts, unoptimised, is most of the work there."""
    folder = tmp_path_factory.mktemp("programs")
    for name in ("og_guc", "og_hba"):
        shutil.copy2(programs / name, folder)
    return folder


@pytest.fixture
def node(tmp_path):
    """A data directory as far as the files go; no server runs there."""
    folder = tmp_path / "data"
    folder.mkdir(mode=0o700)
    for name, text in NODE_FILES.items():
        (folder / name).write_text(text)
    # What an example brings back.
    (folder / "postgresql.conf.copy").write_text(NODE_FILES["postgresql.conf"])
    return folder


@pytest.fixture
def ssh_hosts(tmp_path):
    """`ssh_hosts(names)` makes hosts of these names that only the `ssh` in the folder it returns knows, without any port."""
    sshd = "/usr/sbin/sshd"
    if not os.path.exists(sshd):
        pytest.skip("no sshd here; install openssh-server")
    if os.geteuid() == 0:
        os.makedirs("/run/sshd", exist_ok=True)

    def make(names):
        folder, config, known = tmp_path / "bin", [], []
        folder.mkdir()
        keygen(tmp_path / "key")
        for number, name in enumerate(names):
            home, key, sshd_config = (tmp_path / f"{what}{number}" for what in ("home", "host_key", "sshd_config"))
            home.mkdir()
            keygen(key)
            known.append(f"{name} {key.with_suffix('.pub').read_text()}")
            sshd_config.write_text(
                f"HostKey {key}\nAuthorizedKeysFile {tmp_path}/key.pub\nUsePAM no\nStrictModes no\nSetEnv HOME={home}\n"
            )
            config.append(
                f"Host {name}\n  ProxyCommand {sshd} -i -f {sshd_config}\n  User {getpass.getuser()}\n"
                f"  IdentityFile {tmp_path}/key\n  IdentitiesOnly yes\n  UserKnownHostsFile {tmp_path}/known_hosts\n"
            )
        (tmp_path / "known_hosts").write_text("".join(known))
        (tmp_path / "config").write_text("".join(config))
        ssh = folder / "ssh"
        ssh.write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {tmp_path}/config "$@"\n')
        ssh.chmod(0o755)
        return folder

    return make


def keygen(path):
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path], check=True)


def files(node):
    """The content of the node's configuration files."""
    return {name: (node / name).read_text() for name in ("pg_hba.conf", "postgresql.conf")}


def for_node(text, node):
    """The text with the node's own folder in place of the one that documentation names."""
    for folder in DOCUMENTED:
        text = text.replace(folder, str(node))
    return text


def blocks(file):
    """Every block of a document that is typed, or written into a file: its heading and its text, as a user copies it. One that
    is said to be text only shows something."""
    found, heading, lines = [], "", (ROOT / file).read_text().splitlines()
    at = 0
    while at < len(lines):
        line, begin = lines[at], at
        at += 1
        if re.match(r" *```", line):
            while not re.match(r" *```$", lines[at]):
                at += 1
            if not re.match(r" *```text$", line):
                found.append((heading, lines[begin + 1 : at]))
            at += 1
        elif re.match(r"#+ ", line):
            heading = line.lstrip("#").strip()
        elif line.startswith("    ") and not lines[begin - 1].strip():
            while at < len(lines) and (lines[at].startswith("    ") or not lines[at].strip()):
                at += 1
            found.append((heading, lines[begin:at]))
    return [(heading, textwrap.dedent("\n".join(own)).strip("\n") + "\n") for heading, own in found]


def section_blocks(file, section):
    """The blocks under this heading."""
    return [text for heading, text in blocks(file) if heading == section]
