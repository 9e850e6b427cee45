"""The programs from a shell: what the documents and `--examples` tell to type, in dash."""

import getpass
import json
import os
import shutil
import subprocess

import pytest
from conftest import NAMES, ROOT, WITHOUT_SERVER, files, for_node, section_blocks


def dash(line, programs, node):
    shell = shutil.which("dash") or "sh"
    env = {"PATH": f"{programs}:{os.environ['PATH']}", "HOME": str(node.parent)}
    return subprocess.run([shell, "-c", for_node(line, node)], env=env, capture_output=True, text=True, check=False)


def answer(done):
    assert done.stdout.count("\n") == 1, done
    return json.loads(done.stdout)


def test_page(programs, node):
    """Each line as typed; the first says what it would change and changes nothing."""
    before = files(node)
    lines = "".join(section_blocks("docs/shell.md", "On this node")).splitlines()
    assert len(lines) == 2
    check, query = (dash(line, programs, node) for line in lines)
    assert (check.returncode, query.returncode) == (0, 0), (check, query)
    assert answer(check)["changed"]
    [diff] = answer(check)["diff"]
    assert "192.168.0.13" in diff["after"] and "192.168.0.13" not in diff["before"]
    assert not answer(query)["changed"] and not answer(query)["node"]["running"]
    assert files(node) == before


def test_page_on_other_machines(programs, node, ssh_hosts, tmp_path):
    """As typed; `ssh` is one that knows these two hosts, and the user there is whoever runs this."""
    [line] = "".join(section_blocks("docs/shell.md", "On other machines")).splitlines()
    folder = ssh_hosts(["192.168.0.11", "192.168.0.12"])
    line = line.replace("omm@", f"{getpass.getuser()}@")
    env = {"PATH": f"{folder}:{programs}:{os.environ['PATH']}", "HOME": str(tmp_path), "TMPDIR": "/tmp"}
    done = subprocess.run(["sh", "-c", for_node(line, node)], env=env, capture_output=True, text=True, check=False)
    answers = [json.loads(text) for text in done.stdout.splitlines()]
    assert done.returncode == 0, done
    assert sorted(a["host"].split("@")[1] for a in answers) == ["192.168.0.11", "192.168.0.12"]
    assert not any(a["node"]["running"] for a in answers)
    for number in (0, 1):
        [copy] = (tmp_path / f"home{number}").glob(".cache/opengauss-node/*/og_node_state")
        assert copy.read_bytes() == (programs / "og_node_state").read_bytes()
    # --check and --diff go along.
    before = files(node)
    line = section_blocks("docs/shell.md", "On this node")[0].splitlines()[0] + " --host 192.168.0.12"
    done = subprocess.run(["sh", "-c", for_node(line, node)], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and answer(done)["changed"] and len(answer(done)["diff"]) == 1, done
    assert files(node) == before


def test_page_on_runs_that_died(programs, node, ssh_hosts, tmp_path):
    """The lock of a cluster is asked for on a node; nobody holds it there."""
    [line] = "".join(section_blocks("docs/resume.md", "Recover from a run that died")).splitlines()
    folder = ssh_hosts(["192.168.0.11"])
    env = {"PATH": f"{folder}:{programs}:{os.environ['PATH']}", "HOME": str(tmp_path), "TMPDIR": "/tmp"}
    line = for_node(line.replace("omm@", f"{getpass.getuser()}@"), node)
    done = subprocess.run(["sh", "-c", line], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and not answer(done)["changed"], done


def test_page_on_ssl(programs, node):
    """Both lines say what they would change, and change nothing."""
    before = files(node)
    lines = (section_blocks("docs/ssl.md", section) for section in ("Members", "For clients"))
    guc, hba = (dash(line.strip(), programs, node) for [line] in lines)
    for done, added in ((guc, "ssl_ca_file"), (hba, "hostssl all app")):
        assert done.returncode == 0 and answer(done)["changed"], done
        [diff] = answer(done)["diff"]
        assert added in diff["after"] and added not in diff["before"]
    assert files(node) == before


def test_exit_status(programs, node):
    """0 done, 1 failed, 2 unusable arguments, with one JSON object each time."""
    lines = {
        0: """echo '{"data_dir": "/data/dn1", "state": "query"}' | og_hba""",
        1: """echo '{"data_dir": "/data/dn1/nowhere", "state": "query"}' | og_hba""",
        2: """echo '{"data_dir": "/data/dn1", "sate": "query"}' | og_hba""",
    }
    for status, line in lines.items():
        done = dash(line, programs, node)
        assert done.returncode == status, done
        assert answer(done)["failed"] == (status != 0)
    assert "state" in answer(done)["msg"]


def test_file_instead_of_input(programs, node):
    args = node.parent / "args.json"
    args.write_text(json.dumps({"data_dir": str(node), "rules": ["host all omm 192.168.0.13/32 trust"]}))
    first, second = (answer(dash(f"og_hba {args}", programs, node)) for _ in range(2))
    assert (first["changed"], second["changed"]) == (True, False)
    assert files(node)["pg_hba.conf"].startswith("# kept\n")


@pytest.mark.parametrize("name", WITHOUT_SERVER)
def test_examples_run(name, programs, node):
    text = subprocess.run([programs / name, "--examples"], capture_output=True, text=True, check=True).stdout
    calls = [line for line in text.splitlines() if line.startswith("echo ")]
    assert calls
    for call in calls:
        done = dash(call, programs, node)
        assert done.returncode == 0, (call, done)
        assert not answer(done)["failed"]


@pytest.mark.parametrize("name", NAMES)
def test_page_is_linked(name):
    assert f"[{name}](modules/{name}.md)" in (ROOT / "docs/programs.md").read_text()
    assert (ROOT / f"docs/modules/{name}.md").is_file()
