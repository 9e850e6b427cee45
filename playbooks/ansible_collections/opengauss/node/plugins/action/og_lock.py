"""Runs og_lock on the node; the owner is this run of ansible-playbook unless one is named.

An owner is `user@controller pid N start T`, T being the start time of process N as the kernel counts it.
"""

from __future__ import annotations

import getpass
import json
import multiprocessing
import os
import re
import socket
import subprocess

from ansible_collections.opengauss.node.plugins.plugin_utils.og_action import OgActionBase

OWNER = re.compile(r"[^\s@]+@(?P<host>\S+) pid (?P<pid>\d+) start (?P<start>[\w:.-]+)")


class ActionModule(OgActionBase):
    """A lock left by a run that was killed on this controller does not keep the next run out; a live run does."""

    def act(self, args):
        state = args.get("state", "held")
        if state == "query":
            return self.call("og_lock", args)
        # As an object, for releases of Ansible before 2.19 make one of any text that looks like it.
        if isinstance(args.get("purpose"), dict):
            args["purpose"] = json.dumps(args["purpose"])
        # Tasks are processes of their own.
        pid = getattr(multiprocessing.parent_process(), "pid", None) or os.getpid()
        args.setdefault("owner", f"{getpass.getuser()}@{socket.gethostname()} pid {pid} start {started(pid)}")
        result = self.call("og_lock", args)
        dead = ended_owner(result) if state == "held" else None
        if dead is None:
            return result
        taken = self.call("og_lock", {**args, "force": True})
        before = taken.get("previous") or {}
        if taken.get("failed") or before.get("owner") in (None, dead, args["owner"]):
            return taken
        # Another run took it in between: it keeps it.
        self.call("og_lock", {**args, "owner": before["owner"], "purpose": before.get("purpose", ""), "force": True})
        return self.call("og_lock", args)


def started(pid):
    """When the process began, as one word; None when there is no such process."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as f:
            fields = f.read().rpartition(")")[2].split()
        return None if fields[0] in "ZX" and int(fields[17]) <= 1 else fields[19]
    except OSError:
        if os.path.exists("/proc/self/stat"):
            return None
    # A controller without /proc, such as macOS.
    seen = subprocess.run(
        ["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False, env={"LC_ALL": "C", "PATH": os.defpath}
    )
    return "-".join(seen.stdout.split()) or None


def ended_owner(result):
    """The owner that a `busy` result names, when it is a run on this controller that is no more; else None."""
    error = result.get("error") or {}
    if error.get("kind") != "busy":
        return None
    seen = OWNER.search(str((result.get("lock") or {}).get("owner") or error.get("detail", "")))
    over = seen and seen["host"] == socket.gethostname() and started(int(seen["pid"])) != seen["start"]
    return seen.group(0) if over else None
