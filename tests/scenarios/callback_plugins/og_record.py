"""Writes what a playbook does, one JSON line an event, to the file $OG_RECORD.

With $OG_RECORD_KILL_AFTER=N the process kills itself with SIGKILL when N tasks are done: what a power cut on the
controller looks like to the nodes.
"""

import json
import os
import signal
import time

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: og_record
type: aggregate
short_description: Write what a playbook does to a file
description: Test aid; see the module's docstring.
"""


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "og_record"

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        path = os.environ.get("OG_RECORD")
        self.out = open(path, "a", encoding="utf-8") if path else None
        self.kill_after = int(os.environ.get("OG_RECORD_KILL_AFTER", "-1"))
        self.tasks = 0

    def write(self, **event):
        if self.out:
            self.out.write(json.dumps({**event, "at": time.monotonic()}) + "\n")
            self.out.flush()

    def task_start(self, task):
        if self.tasks == self.kill_after:
            self.write(event="killed", after=self.tasks)
            os.killpg(os.getpgid(0), signal.SIGKILL)
        self.tasks += 1
        self.write(event="task", name=task.get_name(), number=self.tasks)

    def v2_playbook_on_task_start(self, task, is_conditional):
        self.task_start(task)

    def v2_playbook_on_handler_task_start(self, task):
        self.task_start(task)

    def result(self, result, failed=False, unreachable=False):
        value = result._result
        msg = value.get("msg", "")
        self.write(
            event="result",
            host=result._host.get_name(),
            task=result._task.get_name(),
            action=result._task.action,
            changed=bool(value.get("changed")),
            failed=failed,
            unreachable=unreachable,
            msg="\n".join(map(str, msg)) if isinstance(msg, list) else str(msg),
            actions=value.get("actions", []),
        )

    def v2_runner_on_ok(self, result):
        self.result(result)

    def v2_runner_on_failed(self, result, ignore_errors=False):
        self.result(result, failed=not ignore_errors)

    def v2_runner_on_unreachable(self, result):
        self.result(result, unreachable=True)

    def v2_playbook_on_stats(self, stats):
        hosts = {h: stats.summarize(h) for h in stats.processed}
        self.write(event="stats", hosts=hosts)
