"""What a task makes of what a node printed; no node is needed."""

import functools
import hashlib
import importlib.util
import os
import pathlib
import subprocess
import sys
import types

import pytest

HERE = pathlib.Path(__file__).resolve()
# The folder of ansible_collections, from which the plugin takes its neighbours.
sys.path.insert(0, str(HERE.parents[5]))
SPEC = importlib.util.spec_from_file_location("og_action", HERE.parents[2] / "plugins/plugin_utils/og_action.py")
og = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(og)

# What the loader of glibc 2.28 prints.
LOADER = "".join(
    f"/x/og_hba: /lib64/libc.so.6: version `GLIBC_{version}' not found (required by /x/og_hba)\n" for version in ("2.9", "2.34", "2.33", "2.32", "2.30")
)


@pytest.mark.parametrize("stream", ["stderr", "stdout"])
def test_an_older_glibc_is_told_with_what_to_do(stream):
    done = {"rc": 1, "stdout": "", "stderr": "", stream: LOADER}
    result = og.OgActionBase.result(None, "og_hba", done)
    assert result["failed"] and "version `GLIBC_2.30' not found" in result["msg"]
    assert "need glibc 2.34 or newer" in result["msg"] and "--static" in result["msg"]


def test_other_failures_have_no_such_hint():
    assert "glibc" not in og.ending({"rc": 1, "stdout": "", "stderr": "libc.so.6: cannot open shared object file"})


def test_programs_of_root_and_of_the_node_are_not_run_in_one_command():
    with pytest.raises(og.AnsibleActionFail, match="og_hba, og_host: "):
        og.OgActionBase.call_each(types.SimpleNamespace(request=str), [("og_hba", {}), ("og_host", {})])


def test_the_same_arguments_are_checked_once(tmp_path, monkeypatch):
    monkeypatch.setattr(og.C, "DEFAULT_LOCAL_TMP", str(tmp_path))
    program, calls = tmp_path / "og_hba", tmp_path / "calls"
    program.write_text(f"""#!/bin/sh
echo x >> {calls}
case $(cat) in
*bad*) echo '{{"changed": false, "failed": true, "msg": "no"}}'; exit 2 ;;
esac
echo '{{"changed": false}}'
""")
    program.chmod(0o755)

    class Programs:
        here, digest = (lambda self, name: str(program)), "d"

    class Action(og.OgActionBase):
        def __init__(self):  # pylint: disable=super-init-not-called
            self._programs = Programs()

    def asked(request):
        before = len(calls.read_text()) if calls.exists() else 0
        return Action().wrong("og_hba", request), (len(calls.read_text()) - before) // 2

    assert [asked("a"), asked("a"), asked("b")] == [(None, 1), (None, 0), (None, 1)]
    for _ in range(2):
        wrong, count = asked("bad")
        assert (wrong["msg"], count) == ("no", 1)


@pytest.mark.parametrize(
    ("answers", "commands"),
    [
        ('{"changed": false}\n\nog-ended 0\n{"changed": true}\n\nog-ended 0\n', 1),
        ("hello\n{\"changed\": false}\n\nog-ended 0\n\nog-ended 1\n", 1),
        # Without an answer of the first program, its copy is looked at.
        ("Segmentation fault\n\nog-ended 139\n\nog-ended 0\n", 2),
    ],
)
def test_several_programs_cost_one_remote_command(answers, commands):
    sent = []

    class Programs:
        digest = "d"

        def has(self, name, digest):
            return True

    class Action(og.OgActionBase):
        def __init__(self):  # pylint: disable=super-init-not-called
            self._programs = Programs()

        def request(self, args):
            return "{}"

        def _setting(self, name, default):
            return default

        def _environment(self):
            return ""

        def _command(self, line, stdin):
            sent.append(line)
            return {"rc": 0, "stdout": answers if len(sent) == 1 else f"{'a' * 64}  x\n", "stderr": ""}

    assert len(Action().call_each([("og_hba", {}), ("og_guc", {})])) == 2
    assert len(sent) == commands


def test_the_time_to_carry_the_programs_there_is_not_limited(monkeypatch):
    """A node behind a slow line is not unreachable; what its programs take from then on is limited as before."""
    monkeypatch.syspath_prepend(str(HERE.parents[5]))
    spec = importlib.util.spec_from_file_location("og_step", HERE.parents[2] / "plugins/action/og_step.py")
    step = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(step)
    seen = []
    monkeypatch.setattr(step.signal, "signal", lambda *_: None)
    monkeypatch.setattr(step.signal, "alarm", seen.append)
    monkeypatch.setattr(step.OgActionBase, "upload", lambda *_: seen.append("upload"))

    class Action(step.ActionModule):
        def __init__(self):  # pylint: disable=super-init-not-called
            pass

        def request(self, args):
            return "{}"

        def _defaults(self, program):
            return {}

        def _environment(self):
            return ""

        def remote(self, name, command, stdin):
            self.upload("~", {})
            return {"rc": 0, "stderr": "", "stdout": '{"changed": false}\nog-ended 0\n'}

    call = {"program": "og_hba", "args": {"state": "query", "timeout": 60}}
    assert Action()._called([call]) == [{"changed": False}]
    assert seen == [70, 0, "upload", 70, 0]


def test_what_root_runs_is_checked_in_its_own_home_and_sees_nothing_of_the_task(tmp_path):
    """Whatever og_bin_dir and `environment` say: another user may own that folder, and name libraries of his."""
    path = tmp_path / ".cache/opengauss-node/d/og_host"
    path.parent.mkdir(parents=True)
    path.write_text('#!/bin/sh\necho "ran [$LD_LIBRARY_PATH]"\n')
    path.chmod(0o700)

    class Programs:
        digest = "d"

        def hashes(self, name):
            return ["0" * 64, hashlib.sha256(b'#!/bin/sh\necho "ran [$LD_LIBRARY_PATH]"\n').hexdigest()]

    class Action(og.OgActionBase):
        def __init__(self):  # pylint: disable=super-init-not-called
            self._programs = Programs()

        def _setting(self, name, default):
            return "/home/omm/bin"

        def _environment(self):
            return "LD_LIBRARY_PATH=/home/omm/lib "

        def upload(self, root, seen, before=""):
            raise LookupError(root)

        def _command(self, line, stdin):
            # Root's home, here.
            line = line.replace("~root", str(tmp_path)).replace('"$(id -u)" != 0', "1 != 1")
            done = subprocess.run(["sh", "-c", line], env={"HOME": "/home/omm", "PATH": os.environ["PATH"]}, capture_output=True, text=True, check=False)
            return {"rc": done.returncode, "stdout": done.stdout, "stderr": done.stderr}

    action = Action()
    run = functools.partial(action.remote, "og_host", lambda d: f"{action._words('og_host')}{d}/og_host", "{}")  # pylint: disable=protected-access
    action._damaged = lambda *_: False
    assert run()["stdout"] == "ran []\n"
    path.write_text("#!/bin/sh\necho another\n")
    with pytest.raises(LookupError):
        run()
