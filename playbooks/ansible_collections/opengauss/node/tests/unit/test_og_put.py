"""A file that a step puts on a node; the node is a folder here."""

import hashlib
import importlib.util
import os
import pathlib
import subprocess

import pytest

HERE = pathlib.Path(__file__).resolve()
SPEC = importlib.util.spec_from_file_location("og_put", HERE.parents[2] / "plugins/plugin_utils/og_put.py")
og = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(og)

CONTENT = b"0123456789abcdef" * 1000


class Node:
    """`command` runs a line of sh as an action's `_command` does; `sent` counts the bytes that went with one."""

    def __init__(self):
        self.sent, self.broken = 0, False

    def command(self, line, stdin):
        self.sent += len(stdin)
        if self.broken and stdin:
            return {"rc": 255, "stdout": "", "stderr": "the connection was lost"}
        done = subprocess.run(["sh", "-c", line], input=stdin or None, capture_output=True, check=False)
        return {"rc": done.returncode, "stdout": done.stdout.decode(), "stderr": done.stderr.decode()}


@pytest.fixture
def file(tmp_path):
    (tmp_path / "from").write_bytes(CONTENT)
    sha256 = hashlib.sha256(CONTENT).hexdigest()
    return {"from": str(tmp_path / "from"), "to": str(tmp_path / "new/it's here"), "sha256": sha256, "mode": "0640"}


def test_a_file_is_put_once_piece_by_piece(file, monkeypatch):
    monkeypatch.setattr(og, "PIECE", 7000)
    node, to = Node(), pathlib.Path(file["to"])
    foreseen = og.put({**file, "check_mode": True}, node.command)
    assert foreseen["changed"] and not to.parent.exists()
    assert og.put(file, node.command) == foreseen
    assert (to.read_bytes(), to.stat().st_mode & 0o7777, node.sent) == (CONTENT, 0o640, len(CONTENT))
    done = og.put(file, node.command)
    assert (done["changed"], done["msg"], node.sent) == (False, f"{to} is there", len(CONTENT))
    done = og.put({**file, "mode": "600"}, node.command)
    assert done["actions"] == [f"set the mode of {to} to 600"] and to.stat().st_mode & 0o7777 == 0o600
    assert os.listdir(to.parent) == [to.name]


def test_what_has_arrived_is_not_sent_again(file, monkeypatch):
    monkeypatch.setattr(og, "PIECE", 7000)
    node, to = Node(), pathlib.Path(file["to"])
    part = to.with_name(f"{to.name}.og-{file['sha256'][:16]}.part")
    to.parent.mkdir()
    part.write_bytes(CONTENT[:9000])
    node.broken = True
    done = og.put(file, node.command)
    assert done["failed"] and done["error"]["kind"] == "io" and "the connection was lost" in done["msg"]
    node.broken, node.sent = False, 0
    assert og.put(file, node.command)["changed"]
    assert (to.read_bytes(), node.sent) == (CONTENT, len(CONTENT) - 9000)
    # All of it had arrived, and its end was not seen.
    to.rename(part)
    assert og.put(file, node.command)["changed"] and to.read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("change", "kind"),
    [({"sha256": "0" * 64}, "corrupt"), ({"from": "/nowhere"}, "not_found"), ({"to": "/etc/passwd/x"}, "io"), ({"to": "/tmp"}, "refused")],
)
def test_what_cannot_be_put_is_told(file, change, kind):
    done = og.put({**file, **change}, Node().command)
    assert (done["failed"], done["changed"], done["error"]["kind"]) == (True, False, kind), done
    assert not pathlib.Path(file["to"]).exists()


def test_room_is_asked_for_before(file):
    os.truncate(file["from"], 1 << 43)
    done = og.put(file, Node().command)
    assert (done["error"]["kind"], done["error"]["reason"]) == ("refused", "disk_full")
    assert not pathlib.Path(file["to"]).parent.exists()


def test_a_file_that_shrinks_meanwhile_ends_it(file):
    node = Node()

    def command(line, stdin):
        os.truncate(file["from"], 10)
        return node.command(line, stdin)

    assert og.put(file, command)["error"]["kind"] == "io"


def test_a_step_puts_files_and_calls_programs(file):
    from ansible_collections.opengauss.node.plugins.action.og_step import ActionModule

    class Action(ActionModule):
        def __init__(self):  # pylint: disable=super-init-not-called
            self._command = Node().command

        def _defaults(self, program):
            return {}

        def call_each(self, calls):
            return [{"changed": False, "msg": name} for name, _ in calls]

    calls = [{"node": "n1", "program": "og_hba", "args": {}}, {"node": "n1", "put": file}, {"node": "n1", "program": "og_guc", "args": {}}]
    told = Action()._answers(calls)
    assert [answer["msg"].split(":")[0] for answer in told] == ["og_hba", f"transfer {file['to']}", "og_guc"]
    assert [answer["msg"] for answer in Action()._answers(calls[1:2])] == [f"{file['to']} is there"]
