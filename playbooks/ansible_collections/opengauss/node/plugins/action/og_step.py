"""Makes the calls which a workflow's step asks of this node, all of them in one remote command."""

from __future__ import annotations

import base64
import signal

from ansible.errors import AnsibleActionFail, AnsibleConnectionFailure, AnsibleError
from ansible_collections.opengauss.node.plugins.plugin_utils.og_action import OgActionBase, plain
from ansible_collections.opengauss.node.plugins.plugin_utils.og_run import Run, timed

# Seconds that a command which only looks may take beyond the limit that its programs keep themselves.
GRACE = 10
# So much of a file is sent at once.
PIECE = 8 << 20


def read_piece(path, offset):
    """The piece of the file that begins there, in Base64."""
    with open(path, "rb") as f:
        f.seek(offset)
        return base64.b64encode(f.read(PIECE)).decode()


class _TooLate(Exception):
    """The node has not answered for longer than its programs take at most."""


class ActionModule(OgActionBase):
    """`run`: the path of the run; `place`: which step of the tasks that were included last, from 0 on."""

    # The calls have what they need from og_workflow.
    _of_the_node = ()
    # How long the command may take; 0 is no limit, as alarm(2) has it.
    _seconds = 0

    def act(self, args):
        run = Run(str(args["run"]), lambda asked: self.call_here("og_workflow", asked))
        step, node = run.step(int(args.get("place", 0))), self._task_vars["inventory_hostname"]
        calls = Run.calls_of(step, node)
        answers = self._answers(calls)
        run.answer(step["at"], node, timed(calls, answers, *self.ran) if self.ran else answers)
        return self._shown(step["next"], calls, answers)

    def _answers(self, calls):
        """What the calls answer, in their order, whatever happens to the connection."""
        try:
            return self._called(calls)
        except AnsibleConnectionFailure as e:
            lost = {"unreachable": True, "msg": str(e)}
        except _TooLate as e:
            lost = {"unreachable": True, "msg": str(e)}
        except AnsibleError as e:
            # Whatever it is: a task that ends without an answer is not waited for.
            lost = {"msg": e.message}
        return [{"failed": True, "changed": False, **lost} for _ in calls]

    def _called(self, calls):
        self._seconds = self._limit(calls)
        if self._seconds:
            signal.signal(signal.SIGALRM, _too_late(self._seconds))
            signal.alarm(self._seconds)
        wanted = [(call["program"], {**self._defaults(call["program"]), **call["args"]}) for call in calls]
        try:
            if not any("put" in call for call in calls):
                return self.call_each(wanted)
            return [
                self._put(name, args, call["put"]["from"]) if "put" in call else self.call_unchecked(name, args)
                for call, (name, args) in zip(calls, wanted)
            ]
        finally:
            signal.alarm(0)

    def _put(self, name, args, path):
        """Sends the file piece by piece, from where the program wants it on; the last answer counts."""
        answer = self.call_unchecked(name, args)
        while (answer.get("error") or {}).get("reason") == "content_wanted":
            try:
                piece = read_piece(path, answer["offset"])
            except OSError as e:
                raise AnsibleActionFail(f"cannot read {path} on the controller: {e}") from e
            answer = self.call_unchecked(name, {**args, "offset": answer["offset"], "content": piece})
        return answer

    def upload(self, root, seen, before=""):
        """Carries the programs there, for as long as the connection takes; the limit is for what they do then."""
        signal.alarm(0)
        super().upload(root, seen, before)
        signal.alarm(self._seconds)

    @staticmethod
    def _limit(calls):
        """Seconds that the command may take; none where it does something, which its programs limit themselves."""
        if not all(call["args"].get("state") == "query" and call["args"].get("timeout") for call in calls):
            return 0
        return int(max(call["args"]["timeout"] for call in calls)) + GRACE

    def _defaults(self, program):
        """What `module_defaults` says for the program, of its own and of its groups; Ansible's own function has another name in each release."""
        action, own, groups = f"opengauss.node.{program}", {}, self._task._parent._play._action_groups
        merged = {name: values for defaults in self._task.module_defaults or [] for name, values in defaults.items()}
        for name, values in merged.items():
            if name.startswith("group/") and name.removeprefix("group/") in (groups.get(action) or []):
                own.update(values)
        own.update(merged.get(action) or {})
        return plain(self._templar.template(own)) if own else {}

    def _shown(self, step, calls, answers):
        """The node's result: that of its one call, or in sum of several, among which those count that do more than look."""
        told = [(call["program"], answer) for call, answer in zip(calls, answers) if call["args"].get("state") != "query"]
        told = told or [(call["program"], answer) for call, answer in zip(calls, answers)]
        failed = [(program, answer) for program, answer in told if answer.get("failed")]
        changed = any(answer.get("changed") for _, answer in told)
        counts = {"never": False, "always": True, "changed": changed, "failed": changed or bool(failed)}
        shown = {"changed": bool(counts[step["counts"]])}
        lost = next((answer for answer in answers if answer.get("unreachable")), None)
        if lost:
            # A host that is unreachable is one even where that does no harm: it is counted as such.
            return {**shown, "unreachable": True, "msg": lost["msg"]}
        if failed and not step["may_fail"]:
            # Told whole at the end, once, with what became of it.
            kinds = {f"{program}: {(answer.get('error') or {}).get('kind') or 'no result'}" for program, answer in failed}
            return {**shown, "failed": True, "msg": ", ".join(sorted(kinds))}
        if len(answers) == 1:
            return {**{key: value for key, value in answers[0].items() if key in ("msg", "actions", "diff")}, **shown}
        sums = {key: [one for _, answer in told for one in answer.get(key) or []] for key in ("actions", "diff")}
        return {**{key: value for key, value in sums.items() if value}, **shown}


def _too_late(limit):
    def ring(_signal, _frame):
        raise _TooLate(f"no answer within {limit} s")

    return ring
