"""The programs from Ansible: documentation, the task of the page on Ansible, every documented task's syntax, and without the collection."""

import json
import os
import re
import shutil
import subprocess

import pytest
import yaml
from conftest import ON_NODES, ROOT, WITHOUT_SERVER, files, for_node, section_blocks

PLAYBOOKS = ROOT / "playbooks"


def ansible(program, *args, cwd, **env):
    env = {**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(PLAYBOOKS), "HOME": str(cwd), **env}
    return subprocess.run([program, *args], cwd=cwd, env=env, capture_output=True, text=True, check=False)


def play(folder, tasks, *args, **variables):
    """Runs the tasks on this machine and returns their results in order."""
    answers = folder / "answers.json"
    names = [f"answer{n}" for n in range(len(tasks))]
    tasks = [{**task, "register": name} for task, name in zip(tasks, names)]
    keep = {"content": "{{ [" + ", ".join(names) + "] | to_json }}", "dest": str(answers)}
    tasks.append({"ansible.builtin.copy": keep, "check_mode": False, "diff": False})
    variables["ansible_python_interpreter"] = "{{ ansible_playbook_python }}"
    book = [{"hosts": "localhost", "connection": "local", "gather_facts": False, "vars": variables, "tasks": tasks}]
    (folder / "play.yml").write_text(json.dumps(book))
    done = ansible("ansible-playbook", "-i", "localhost,", "play.yml", *args, cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(answers.read_text())


@pytest.fixture(scope="session")
def documented(tmp_path_factory):
    """What ansible-doc says of all modules."""
    done = ansible("ansible-doc", "--json", *[f"opengauss.node.{n}" for n in ON_NODES], cwd=tmp_path_factory.mktemp("doc"))
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr, done.stderr
    return json.loads(done.stdout)


@pytest.mark.versions
@pytest.mark.parametrize("name", ON_NODES)
def test_doc(name, documented):
    """ansible-doc knows each argument that the program knows, with its default."""
    schema = json.loads((ROOT / f"schemas/v1/{name}.args.json").read_text())["properties"]
    doc = documented[f"opengauss.node.{name}"]
    options = doc["doc"]["options"]
    assert set(schema) - {"check_mode", "diff"} == set(options)
    for key, option in options.items():
        assert option["description"], key
        assert option.get("default") == schema[key].get("default"), key
    assert set(doc["doc"]["attributes"]) == {"check_mode", "diff_mode", "idempotent"}
    result = json.loads((ROOT / f"schemas/v1/{name}.result.json").read_text())["properties"]
    assert set(result) - {"changed", "failed", "ansible_facts", "invocation"} == set(doc["return"])
    printed = ansible("ansible-doc", f"opengauss.node.{name}", cwd=ROOT)
    assert printed.returncode == 0 and "EXAMPLES" in printed.stdout, printed.stderr


@pytest.mark.parametrize("name", ON_NODES)
def test_examples_are_tasks(name, documented, tmp_path):
    tasks = yaml.safe_load(documented[f"opengauss.node.{name}"]["examples"])
    (tmp_path / "play.yml").write_text(json.dumps([{"hosts": "localhost", "gather_facts": False, "tasks": tasks}]))
    done = ansible("ansible-playbook", "-i", "localhost,", "--syntax-check", "play.yml", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.in_turn
@pytest.mark.parametrize("name", WITHOUT_SERVER)
def test_examples_run(name, documented, node, programs):
    tasks = yaml.safe_load(for_node(documented[f"opengauss.node.{name}"]["examples"], node))
    results = play(node.parent, tasks, og_binaries=str(programs))
    assert results and all("msg" in r and not r.get("failed") for r in results)


@pytest.mark.versions
def test_page(node, programs):
    """The task of the page: predicted with a diff, done, and nothing the second time."""
    [text] = section_blocks("docs/ansible.md", "Modules in your own playbooks")
    tasks = yaml.safe_load(for_node(text, node))
    before = files(node)
    [check] = play(node.parent, tasks, "--check", "--diff", og_binaries=str(programs))
    assert check["changed"] and "wal_keep_segments" in check["diff"][0]["after"]
    assert files(node) == before
    first, second = (play(node.parent, tasks, og_binaries=str(programs))[0]["changed"] for _ in range(2))
    assert (first, second) == (True, False)
    assert files(node)["postgresql.conf"].startswith("port = 26000\t# kept\n")


@pytest.mark.versions
def test_diff_shows_what_changes_no_text(node, programs):
    tasks = [{"opengauss.node.og_lock": {"data_dir": str(node), "owner": "dba"}}]
    for mode in (["--check"], []):
        [taken] = play(node.parent, tasks, "--diff", *mode, og_binaries=str(programs))
        assert taken["changed"] and taken["diff"] == [{"prepared": "took the lock for dba\n"}]
    [held] = play(node.parent, tasks, og_binaries=str(programs))
    assert "diff" not in held


SECRET = 'Aqwzx "y\'s & Bqwzx'
CONNINFO = "host=h password='" + SECRET.replace("'", "\\'") + "' port=1"


def test_no_secret_at_any_verbosity(node, programs):
    """Neither what was given nor what the files held is printed, with -vvvv and --diff, whether a task does well or not."""
    old = "host all old 10.0.0.2/32 ldap ldapserver=h ldapbasedn=x \"ldapbindpasswd\"=Cqwzx;Dqwzx\n"
    (node / "pg_hba.conf").write_text(files(node)["pg_hba.conf"] + old)
    (node / "postgresql.conf").write_text("app.token 'Eqwzx''Fqwzx'\n" + files(node)["postgresql.conf"])
    options = {"ldapserver": "h", "ldapbasedn": "x", "ldapbindpasswd": "{{ given }}"}
    rule = {"users": "new", "address": "10.0.0.1", "method": "ldap", "options": options}
    common = {"data_dir": str(node), "reload": "never"}
    tasks = [
        {"opengauss.node.og_hba": {**common, "rules": [rule]}},
        {"opengauss.node.og_hba": {**common, "rules": "{{ [rule] | to_json }}", "state": "absent"}, "vars": {"rule": rule}},
        {"opengauss.node.og_hba": {**common, "rules": ["local all all trust"], "state": "exact"}},
        {"opengauss.node.og_guc": {**common, "parameters": {"app.token": "{{ given }}", "app.conninfo": "{{ conninfo }}"}, "force": True}},
        {"opengauss.node.og_hba": {**common, "rules": [{**rule, "method": "ldop"}]}, "ignore_errors": True},
        {"opengauss.node.og_guc": {**common, "parameters": {"app token": "{{ given }}"}}, "ignore_errors": True},
    ]
    (node.parent / "vars.json").write_text(json.dumps({"given": SECRET, "conninfo": CONNINFO}))
    book = [{"hosts": "localhost", "gather_facts": False, "vars_files": ["vars.json"], "tasks": tasks, "environment": {"OG_LOG": "debug"}}]
    (node.parent / "play.yml").write_text(json.dumps(book))
    line = ["-i", "localhost,", "-c", "local", "-e", f"og_binaries={programs}", "--diff", "-vvvv", "play.yml"]
    done = ansible("ansible-playbook", *line, cwd=node.parent)
    said = done.stdout + done.stderr
    assert done.returncode == 0 and "module_args" in said and "+app.conninfo" in said, said
    assert "changed=4" in said and "ignored=2" in said, said
    assert not re.findall("[A-F]qwzx", said), said


# 300, encrypted with the password below.
VAULTED = """!vault |
  $ANSIBLE_VAULT;1.1;AES256
  61366533333537306639373663313539356338663939346565646134373632663937343363383866
  6661623161326465313936646439363262633861313932320a626465333164303538653466396439
  33393636356338333636363364616133353962613432626339643333323136323266623432343566
  3363386638356630310a326330373038353935326163393061376365636137633632316432316232
  3332
"""


@pytest.mark.in_turn
@pytest.mark.versions
def test_a_value_out_of_a_vault(node, programs):
    """Written in the task itself, and in a variable that the task does not name."""
    (node.parent / "pass").write_text("vault-password")
    book = f"""
- hosts: localhost
  gather_facts: false
  vars:
    og_binaries: {programs}
    secret: {VAULTED.replace(chr(10), chr(10) + "    ")}
  tasks:
    - opengauss.node.og_guc:
        data_dir: {node}
        parameters:
          wal_keep_segments: "{{{{ secret }}}}"
          max_connections: {VAULTED.replace(chr(10), chr(10) + "          ")}
"""
    (node.parent / "play.yml").write_text(book)
    done = ansible("ansible-playbook", "-i", "localhost,", "-c", "local", "--vault-password-file", "pass", "play.yml", cwd=node.parent)
    assert done.returncode == 0, done.stdout + done.stderr
    assert {"wal_keep_segments = 300", "max_connections = 300"} <= set(files(node)["postgresql.conf"].splitlines())


@pytest.mark.in_turn
@pytest.mark.versions
def test_without_the_collection(node, programs):
    """A program in library/ is a binary module."""
    library = node.parent / "library"
    library.mkdir()
    shutil.copy(programs / "og_hba", library)
    tasks = [{"og_hba": {"data_dir": str(node), "rules": "host all omm 192.168.0.13/32 trust"}}]
    before = files(node)
    [check] = play(node.parent, tasks, "--check", "--diff")
    assert check["changed"] and "192.168.0.13" in check["diff"][0]["after"]
    assert files(node) == before
    first, second = (play(node.parent, tasks)[0] for _ in range(2))
    assert (first["changed"], second["changed"]) == (True, False)
