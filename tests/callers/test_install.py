"""What `cargo xtask install` puts below a prefix, as the page on installing tells to type it."""

import json
import os
import re
import shutil
import subprocess

import pytest
from conftest import NAMES, REGISTRY, ROOT, files, section_blocks


@pytest.fixture(scope="session")
def prefix(tmp_path_factory):
    """Installed twice: the second time finds nothing to do."""
    folder = tmp_path_factory.mktemp("prefix")
    first, second = (install(folder) for _ in range(2))
    assert "0 of" in second and first.split(" ")[0] == first.split(" ")[2], (first, second)
    return folder


def install(folder):
    [line] = "".join(section_blocks("docs/install.md", "For a terminal")).splitlines()
    line = line.replace("/usr/local", str(folder))
    assert str(folder) in line
    return subprocess.run(["sh", "-c", line], cwd=ROOT, capture_output=True, text=True, check=True).stdout


def test_files(prefix):
    for name in NAMES:
        assert os.access(prefix / f"bin/{name}", os.X_OK)
        assert "--ssh-config" in (prefix / f"share/zsh/site-functions/_{name}").read_text()
        assert "-l ssh-config" in (prefix / f"share/fish/vendor_completions.d/{name}.fish").read_text()
        schema = json.loads((prefix / f"share/opengauss-node/schemas/v1/{name}.args.json").read_text())
        assert schema["properties"]
    everything = [str(p.relative_to(prefix)) for p in prefix.rglob("*")]
    assert not [p for p in everything if "__pycache__" in p or "/tests" in p or p.endswith(".part")]


@pytest.mark.parametrize("name", NAMES)
def test_man_page(name, prefix):
    page = prefix / f"share/man/man1/{name}.1"
    text = page.read_text()
    for heading in ("NAME", "SYNOPSIS", "OPTIONS", "ARGUMENTS", "RESULT", "EXIT STATUS", "EXAMPLES"):
        assert f".SH {heading}" in text or f'.SH "{heading}"' in text
    assert not re.search(r"\bserved\b", text)
    lint(page)


def test_man_page_of_og(prefix):
    """It has each workflow with its options."""
    page = prefix / "share/man/man1/og.1"
    text = page.read_text().replace("\\-", "-")
    for workflow in REGISTRY["workflows"]:
        assert re.search(rf"^\.SS \"?og {workflow['name']}\b", text, re.M), workflow["name"]
    assert "--sync-standbys" in text and "--help" in text
    lint(page)


def lint(page):
    if shutil.which("mandoc") is None:
        pytest.skip("no mandoc to look at the page with")
    # A page without a date is the same whenever it is made; the other is a matter of empty lines.
    done = subprocess.run(["mandoc", "-T", "lint", "-W", "warning", page], capture_output=True, text=True, check=False)
    complaints = [line for line in done.stdout.splitlines() if " date" not in line and "skipping paragraph macro" not in line]
    assert complaints == []


@pytest.mark.parametrize(("typed", "offered"), [("--ch", ["--check"]), ("--ho", ["--host"]), ("--se", [])])
def test_bash_completes(typed, offered, prefix):
    script = f'''
        . {prefix}/share/bash-completion/completions/og_hba
        COMP_WORDS=(og_hba {typed}) COMP_CWORD=1
        _og_hba og_hba {typed} og_hba
        printf "%s\\n" "${{COMPREPLY[@]}}"
    '''
    done = subprocess.run(["bash", "--norc", "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == offered, done


def test_collection_finds_the_programs(prefix, node):
    """Run from the installed folder, without og_binaries."""
    before = files(node)
    inventory = node.parent / "inventory.ini"
    inventory.write_text("[opengauss]\nn1 ansible_connection=local\n")
    env = {**os.environ, "HOME": str(node.parent), "ANSIBLE_LOCAL_TEMP": str(node.parent / "tmp")}
    done = subprocess.run(
        ["ansible", "-i", inventory, "n1", "-m", "opengauss.node.og_hba", "-a", f"data_dir={node} state=query"],
        cwd=prefix / "share/opengauss-node/playbooks",
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0 and "rule_count" in done.stdout, done
    assert files(node) == before


def test_og_finds_the_programs(prefix, tmp_path):
    """Beside it in bin/, with nothing on the PATH; the one host cannot be reached."""
    (tmp_path / "config").write_text("Host n1\n  ProxyCommand false\n")
    (tmp_path / "cluster.json").write_text(json.dumps({"hosts": {"n1": {"id": 1, "address": "n1"}}}))
    env = {**os.environ, "HOME": str(tmp_path)}
    env.pop("OG_BINARIES", None)
    done = subprocess.run([prefix / "bin/og", "status", "-F", "config"], cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "n1    n1:26000  ?     unreachable" in done.stdout, done


@pytest.mark.parametrize("file", ["bash-completion/completions/og", "zsh/site-functions/_og", "fish/vendor_completions.d/og.fish"])
def test_og_is_completed_by_itself(prefix, file):
    text = (prefix / "share" / file).read_text()
    assert "COMPLETE" in text and "/target/" not in text


def test_bash_completes_nodes(prefix, tmp_path):
    (tmp_path / "cluster.json").write_text(json.dumps({"hosts": {"n1": {"id": 1}, "n2": {"id": 2}, "x": {}}}))
    script = f"""
        . {prefix}/share/bash-completion/completions/og
        COMP_WORDS=(og drop n) COMP_CWORD=2 COMP_TYPE=9
        $(complete -p og | sed 's/.*-F \\([^ ]*\\).*/\\1/') og n drop
        printf "%s\\n" "${{COMPREPLY[@]}}"
    """
    env = {**os.environ, "PATH": f"{prefix}/bin:{os.environ['PATH']}"}
    done = subprocess.run(["bash", "--norc", "-c", script], cwd=tmp_path, env=env, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["n1", "n2"], done
