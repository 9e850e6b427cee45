"""The programs from Salt without minions: what the page on Salt tells to type for salt-ssh, on a host that has python3 and sshd."""

import json
import os
import pathlib
import re
import shutil
import subprocess

import pytest
import yaml
from conftest import NODE_FILES, ROOT, section_blocks
from hosts import USER, Host, missing

SECTION = "From Salt with ssh alone"
HOME = f"/home/{USER}"
# Salt unpacks itself there; the machine's own folder stays as it is.
ROOM = "mount -t tmpfs -o mode=1777,size=512m tmpfs /var/tmp"
SECRET = "Gauss@4712"


def why_not():
    salt = os.environ.get("OG_SALT")
    if not salt:
        return "no salt (cargo xtask setup)"
    return missing() if os.access(f"{salt}/salt-ssh", os.X_OK) else f"no salt-ssh in {salt}"


pytestmark = pytest.mark.skipif(why_not() is not None, reason=str(why_not()))


class Master:
    """A machine with salt-ssh, and a roster with this host in it."""

    def __init__(self, root, programs, host):
        self.root, srv, pillar = root, root / "srv", root / "pillar"
        shutil.copytree(ROOT / "playbooks/salt", srv, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copytree(programs, srv / "opengauss-node" / os.uname().machine)
        states = section_blocks("docs/salt.md", "One node")[-1]
        word = "word:\n  og.guc_present:\n    - show_changes: false\n    - parameters:\n        a.word: pillar://word\n"
        (srv / "replication.sls").write_text(f"{states}\n{word}")
        pillar.mkdir()
        (pillar / "top.sls").write_text("base: {'*': [word]}")
        (pillar / "word.sls").write_text(yaml.safe_dump({"word": SECRET}))
        self.roster(host)
        config = {
            "root_dir": str(root),
            "roster_file": str(root / "roster"),
            "file_roots": {"base": [str(srv)]},
            "pillar_roots": {"base": [str(pillar)]},
            "ssh_log_file": "log",
            "known_hosts_file": f"{host.base}/known_hosts",
            "ssh_options": [f"UserKnownHostsFile={host.base}/known_hosts", "StrictHostKeyChecking=yes", "IdentitiesOnly=yes"],
        }
        (root / "master").write_text(yaml.safe_dump(config))

    def roster(self, host):
        """The page's, but for where the node is."""
        text = (ROOT / "docs/salt.md").read_text().split(f"## {SECTION}\n", 1)[1]
        [nodes] = re.findall(r"```yaml\n(.*?)```", text, flags=re.S)[:1]
        nodes = yaml.safe_load(nodes.replace("/home/omm", HOME).replace("/gauss/data/db1", f"{HOME}/data"))
        nodes["n1"].update(host="127.0.0.1", port=host.port, user=USER, priv=f"{host.base}/key")
        (self.root / "roster").write_text(yaml.safe_dump(nodes))

    def run(self, *words):
        """What it returns of the node, the exit status, and all it printed."""
        line = [pathlib.Path(os.environ["OG_SALT"]) / "salt-ssh", "-c", self.root, "--out=json", *words]
        env = {"PATH": os.environ["PATH"], "HOME": str(self.root)}
        done = subprocess.run(line, env=env, capture_output=True, text=True, check=False)
        output = done.stdout + done.stderr
        assert done.stdout.startswith("{"), output
        return json.loads(done.stdout)["n1"], done.returncode, output


@pytest.mark.in_turn
def test_what_the_page_tells(tmp_path, few_programs):
    """The programs come to the node; functions tell what is there; states foresee and change."""
    commands = section_blocks("docs/salt.md", SECTION)[-1]
    with Host(defect=ROOM) as host:
        host.put(f"{HOME}/data", NODE_FILES)
        before = NODE_FILES["pg_hba.conf"]
        master, answers = Master(tmp_path, few_programs, host), []
        for line in commands.splitlines():
            words = line.split()
            assert words[:2] == ["salt-ssh", "n1"]
            answer, status, output = master.run(*words[1:])
            assert status == 0 and SECRET not in output, output
            answers.append(answer)
            if "test=True" in words:
                assert host.path(f"{HOME}/data/pg_hba.conf").read_text() == before
        _, rules, foreseen, done = answers
        assert rules["rule_count"] == 3 and not rules["failed"]
        for states, result in ((foreseen, None), (done, True)):
            assert [(s["result"], bool(s["changes"])) for s in states.values()] == [(result, True)] * 3, states
        assert "192.168.0.14" in host.path(f"{HOME}/data/pg_hba.conf").read_text()
        text = host.path(f"{HOME}/data/postgresql.conf").read_text()
        assert "wal_keep_segments = 256" in text and SECRET in text
