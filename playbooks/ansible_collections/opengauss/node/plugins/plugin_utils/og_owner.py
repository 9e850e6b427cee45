"""Who holds a lock: `user@controller pid N start T`, T being the start time of process N as the kernel counts it."""

from __future__ import annotations

import getpass
import multiprocessing
import os
import re
import socket
import subprocess

OWNER = re.compile(r"(?P<user>[^\s@]+)@(?P<host>\S+) pid (?P<pid>\d+) start (?P<start>[\w:.-]+)")


def started(pid):
    """When the process began, as one word; None when there is no such process."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as f:
            fields = f.read().rpartition(")")[2].split()
    except OSError:
        if os.path.exists("/proc/self/stat"):
            return None
        # A controller without /proc, such as macOS.
        seen = subprocess.run(
            ["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False, env={"LC_ALL": "C", "PATH": os.defpath}
        )
        return "-".join(seen.stdout.split()) or None
    return None if fields[0] in "ZX" else fields[19]


def this_run():
    """The owner that stands for the running ansible-playbook, whose tasks are processes of their own."""
    parent = multiprocessing.parent_process()
    return of_process(parent.pid if parent else os.getpid())


def of_process(pid):
    """The owner that stands for this process."""
    return f"{getpass.getuser()}@{socket.gethostname()} pid {pid} start {started(pid)}"


def ended(result):
    """The owner that a `busy` result names, when it is a run on this controller that is no more; else None."""
    error = result.get("error") or {}
    if error.get("kind") != "busy":
        return None
    seen = OWNER.search(str((result.get("lock") or {}).get("owner") or error.get("detail", "")))
    return seen.group(0) if seen and is_over(seen.group(0)) else None


def is_over(owner):
    """Whether the owner is a run on this controller that is no more."""
    seen = OWNER.search(str(owner))
    if not seen or seen["host"] != socket.gethostname():
        return False
    return started(int(seen["pid"])) != seen["start"]


def take(call, args):
    """Takes a lock, `call(args)` being og_lock; one left by a run on this controller that is no more keeps nobody out."""
    result = call(args)
    dead = ended(result)
    if dead is None:
        return result
    taken = call({**args, "force": True})
    before = taken.get("previous") or {}
    if taken.get("failed") or before.get("owner") in (None, dead, args["owner"]):
        return taken
    # Another run took it in between: it keeps it.
    call({**args, "owner": before["owner"], "purpose": before.get("purpose", ""), "force": True})
    return call(args)
