"""One run of a workflow: what the program og_workflow was asked, and what the nodes have answered so far.

A run is a folder on the controller, in the temporary folder that Ansible makes for each run of its own. Every node's task is a
process of its own there: it writes the node's answers beside the others', and the last one to do so has og_workflow say what
comes next. Nothing of it goes through Ansible's variables but the path of the folder.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import tempfile
import time

from ansible import constants as C
from ansible.errors import AnsibleActionFail

NOT_BEGUN = "the workflow was not begun here; it has to run from its first task (--start-at-task leaves that out)"


def timed(calls, answers, sent, received):
    """
    The answers, with the times of the calls where og_workflow compares the clocks of the nodes by them

    The programs ran one after the other between these times, by the controller's clock: each was begun when those before it had
    run, and has answered before those behind it ran.
    """
    ran = [int(answer.get("elapsed_ms") or 0) for answer in answers]

    def times(at):
        return {"sent_at": sent + sum(ran[:at]), "received_at": received - sum(ran[at + 1 :])}

    return [{**answer, **times(at)} if call.get("timed") else answer for at, (call, answer) in enumerate(zip(calls, answers))]


class Run:
    """A run by the path of its folder; `ask(arguments)` returns what og_workflow answers."""

    def __init__(self, path, ask=None):
        self.path, self._ask = path, ask

    @classmethod
    def begin(cls, asked, ask):
        """Begins a run of the workflow that `asked`, the arguments of og_workflow, describes."""
        run = cls(tempfile.mkdtemp(prefix="og-run-", dir=C.DEFAULT_LOCAL_TMP), ask)
        run._write("asked", {**asked, "record": "new"})
        run._write("answers", [])
        run._advance(0, [], 0)
        run.go_on()
        return run

    def step(self, place=0):
        """
        A step: `at` (its number), and `next` or `outcome` as og_workflow gave it

        `place` is its place in the tasks that were included last. There is no second one as long as not all nodes have answered the
        first one, which the tasks that are included next make again.
        """
        name = f"step-{self._read('begun') + place}"
        return self._read(name) if os.path.exists(self._file(name)) else {}

    def go_on(self):
        """Takes the step that og_workflow gave last for the first one of the tasks that are included now; only between two steps."""
        latest = self._latest()
        self._write("begun", latest["at"])
        return latest

    def _latest(self):
        return self._read(f"step-{self._read('latest')}")

    @staticmethod
    def calls_of(step, node):
        """What the step asks of this node, in order."""
        return [call for call in step["next"]["calls"] if call["node"] == node]

    def answer(self, at, node, answers):
        """Takes what the node answered in step `at`; when it is the last one, og_workflow says what comes next."""
        repeated = os.path.exists(self._file(f"{at}-{node}"))
        if not repeated:
            self._write(f"{at}-{node}", answers)
        with self._locked():
            step = self._latest()
            if step["at"] != at:
                return
            calls, taken = step["next"]["calls"], {}
            for name in dict.fromkeys(call["node"] for call in calls):
                if os.path.exists(self._file(f"{at}-{name}")):
                    taken[name] = iter(self._read(f"{at}-{name}"))
                elif not repeated:
                    return
            # A node whose task ended without a trace is not waited for a second time.
            none = {"unreachable": True, "failed": True, "changed": False, "msg": "its task ended without an answer"}
            told = [next(taken.get(call["node"], iter(())), none) for call in calls]
            self._advance(at + 1, told, step["next"]["keep"])

    def _advance(self, at, told, keep):
        answers = self._read("answers")[: keep or None] if at else []
        answers += told
        while True:
            asked = self._read("asked")
            try:
                answer = self._ask({**asked, "answers": answers})
            except AnsibleActionFail as e:
                # The step was made: without an outcome it would be made again for ever.
                answer = {"msg": e.message}
            if answer.get("record", asked["record"]) != asked["record"]:
                self._write("asked", {**asked, "record": answer["record"]})
            due = answer.get("next")
            if not due:
                # What it cannot use is an outcome, too: somebody has to say so.
                outcome = answer.get("outcome") or {"failed": True, "changed": False, "msg": answer.get("msg", "")}
                self._take(at, {"outcome": outcome, "unusable": "outcome" not in answer})
                return
            if any("node" in call for call in due["calls"]):
                break
            # What is asked of this machine: whether the run that holds the lock still lives.
            del answers[due["keep"] :]
            time.sleep(due.get("after", 0))
            answers += [self._ask(call["args"]) for call in due["calls"]]
        time.sleep(due.get("after", 0))
        self._write("answers", answers)
        self._take(at, {"next": due})

    def _take(self, at, step):
        self._write(f"step-{at}", {"at": at, **step})
        self._write("latest", at)

    @contextlib.contextmanager
    def _locked(self):
        with open(self._file("lock"), "w", encoding="utf-8") as f:
            fcntl.flock(f, fcntl.LOCK_EX)
            yield

    def _file(self, name):
        return os.path.join(self.path, name.replace("/", "%"))

    def _read(self, name):
        with open(self._file(name), encoding="utf-8") as f:
            return json.load(f)

    def _write(self, name, value):
        fd, part = tempfile.mkstemp(dir=self.path)
        with os.fdopen(fd, "w", encoding="utf-8") as f:
            json.dump(value, f)
        os.rename(part, self._file(name))
