"""A run of a workflow on the controller; no node is needed."""

import importlib.util
import pathlib

from ansible.errors import AnsibleActionFail

HERE = pathlib.Path(__file__).resolve()
SPEC = importlib.util.spec_from_file_location("og_run", HERE.parents[2] / "plugins/plugin_utils/og_run.py")
og = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(og)


def test_a_run_whose_planner_is_lost_ends_and_says_so(tmp_path, monkeypatch):
    """Without an outcome the step that was made would be made again for ever."""
    monkeypatch.setattr(og.C, "DEFAULT_LOCAL_TMP", str(tmp_path))
    step = {"step": "Do it", "keep": 0, "calls": [{"node": "n1", "program": "og_hba", "args": {}}, {"node": "n2", "program": "og_hba", "args": {}}]}

    def ask(asked):
        if asked["answers"]:
            raise AnsibleActionFail("no og_workflow")
        return {"next": step}

    run = og.Run.begin({}, ask)
    run.answer(0, "n1", [{"changed": True}])
    # The other node has not answered, so nothing comes next.
    assert run.go_on()["at"] == 0
    run.answer(0, "n2", [{"changed": True}])
    assert run.step()["at"] == 0
    ended = run.go_on()
    assert ended["outcome"] == {"failed": True, "changed": False, "msg": "no og_workflow"}


def test_a_program_ran_after_those_before_it_and_before_those_behind_it():
    calls = [{"program": "og_node_state"}, {"program": "og_preflight", "timed": True}, {"program": "og_lock"}]
    answers = [{"elapsed_ms": 300, "msg": "a"}, {"elapsed_ms": 200, "msg": "b"}, {"elapsed_ms": 50, "msg": "c"}]
    told = og.timed(calls, answers, 10_000, 11_000)
    assert told == [answers[0], {**answers[1], "sent_at": 10_300, "received_at": 10_950}, answers[2]]
    # One that was lost may have taken no time at all.
    told = og.timed(calls, [{"failed": True}, answers[1], {"elapsed_ms": None}], 10_000, 11_000)
    assert (told[1]["sent_at"], told[1]["received_at"]) == (10_000, 11_000)


def test_the_second_step_of_the_tasks_is_there_once_all_nodes_have_answered_the_first(tmp_path, monkeypatch):
    monkeypatch.setattr(og.C, "DEFAULT_LOCAL_TMP", str(tmp_path))
    waited = []
    monkeypatch.setattr(og.time, "sleep", waited.append)
    calls = [{"node": "n1", "program": "og_hba", "args": {}}, {"node": "n2", "program": "og_hba", "args": {}}]

    def ask(asked):
        count = len(asked["answers"])
        return {"next": {"step": f"Step {count}", "keep": count, "calls": calls, "more": True, "after": count}} if count < 4 else {"outcome": {"failed": False}}

    run = og.Run.begin({}, ask)
    run.answer(0, "n1", [{"changed": True}])
    # n2's task has ended without a trace: nobody makes a step for the second.
    assert (run.step()["at"], run.step(1)) == (0, {})
    # The tasks that are included next make the first one again, and who answered it keeps his answer.
    assert run.go_on()["at"] == 0
    run.answer(0, "n2", [{"changed": True}])
    assert (run.step(1)["at"], run.step(1)["next"]["step"], waited) == (1, "Step 2", [0, 2])
    for node in ("n1", "n2"):
        run.answer(1, node, [{"changed": True}])
    # The last one's end is the outcome, and no node has anything to do in a third step.
    assert run.step(1)["at"] == 1 and "outcome" in run.go_on()
