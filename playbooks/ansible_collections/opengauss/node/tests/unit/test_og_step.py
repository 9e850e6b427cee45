"""What a task shows of what a node's calls answered; no node is needed."""

import importlib.util
import pathlib
import sys

import pytest

HERE = pathlib.Path(__file__).resolve()
# The folder of ansible_collections, from which the plugin takes its neighbours.
sys.path.insert(0, str(HERE.parents[5]))
SPEC = importlib.util.spec_from_file_location("og_step_action", HERE.parents[2] / "plugins/action/og_step.py")
og = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(og)

EDIT, LOOK = {"program": "og_hba", "args": {}}, {"program": "og_node_state", "args": {"state": "query"}}
STEP = {"counts": "changed", "may_fail": False}


def edited(name, **more):
    return {"changed": True, "msg": name, "actions": [name], "diff": [{"after": name}], **more}


def shown(calls, answers, step=STEP):
    return og.ActionModule._shown(None, step, calls, answers)


def test_one_call_is_shown_as_its_program_tells_it():
    assert shown([EDIT], [edited("a", added=[1])]) == edited("a")


def test_several_calls_are_shown_in_sum():
    assert shown([EDIT, EDIT], [edited("a"), edited("b")]) == {"changed": True, "actions": ["a", "b"], "diff": [{"after": "a"}, {"after": "b"}]}
    assert shown([EDIT, EDIT], [{"changed": False, "msg": "m"}] * 2) == {"changed": False}


@pytest.mark.parametrize("look", [{"changed": True}, {"changed": False, "failed": True, "error": {"kind": "io"}}])
def test_a_look_counts_for_nothing_beside_a_change(look):
    assert shown([EDIT, LOOK], [{"changed": False}, look]) == {"changed": False}
    # By itself it does.
    assert shown([LOOK], [look]) != {"changed": False}


def test_a_failed_change_is_one_and_so_is_a_lost_node():
    failed = {"changed": False, "failed": True, "error": {"kind": "io"}}
    assert shown([LOOK, EDIT], [{"changed": False}, failed]) == {"changed": False, "failed": True, "msg": "og_hba: io"}
    lost = {"failed": True, "unreachable": True, "msg": "no route"}
    assert shown([EDIT, LOOK], [lost, lost]) == {"changed": False, "unreachable": True, "msg": "no route"}
