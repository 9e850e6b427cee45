"""Carries a file from the controller to a node: left alone where it is there already, continued where a transfer broke off.

The scripts are those of og, in common/src/remote/put.rs; a test there compares them.
"""

from __future__ import annotations

import os
import re
import shlex

# Tells of the file $1, which is to have the hash $2, whether it is there, with which mode, how much of it is in $3, the file that a
# transfer fills, and how many KiB are free.
INSPECT = """d=$(dirname "$1"); until [ -d "$d" ]; do d=$(dirname "$d"); done; s=absent; if [ -d "$1" ]; then s=folder; elif [ -f "$1" ] && [ "$(sha256sum <"$1")" = "$2  -" ]; then s=present; fi; m=$(stat -c %a "$1" 2>/dev/null); h=0; if [ -f "$3" ]; then h=$(wc -c <"$3"); fi; set -- $(df -Pk "$d" | tail -n 1); echo og-put $s ${m:-0} $h $4"""
# Adds standard input to $3; when it has all $4 bytes with the hash $2, makes it the file $1 with the mode $5.
TAKE = """umask 077; if mkdir -p "$(dirname "$1")" && cat >>"$3"; then n=$(wc -c <"$3"); if [ "$n" -lt "$4" ]; then echo "og-put-short $n"; elif [ "$(sha256sum <"$3")" = "$2  -" ]; then chmod "$5" "$3" && if [ "$(id -u)" -eq 0 ]; then chown --reference="$(dirname "$1")" "$3"; fi && sync "$3" && mv -fT "$3" "$1" && echo og-put-done; else rm -f "$3"; echo og-put-other; fi; fi"""
# Gives the file $1 the mode $2.
SET_MODE = """chmod "$2" "$1" && echo og-put-done"""
# So much goes with one command: what a lost connection costs, and what is held in memory.
PIECE = 16 << 20


class _Failed(Exception):
    """The answer that says why."""

    def __init__(self, kind, detail, hint=None, reason=None):
        error = {"kind": kind, "detail": detail, **({"reason": reason} if reason else {}), **({"hint": hint} if hint else {})}
        self.answer = {"changed": False, "failed": True, "msg": f"{detail}; {hint}" if hint else detail, "error": error}
        super().__init__(detail)


def put(file, command):
    """
    Puts the file there and returns the answer, which has the keys of a program's

    `file` is what og_workflow asks for; `command(line, stdin)` runs a line of sh on the node, as `_command` of an action does.
    """
    try:
        return _put(file, command)
    except _Failed as e:
        return e.answer
    except OSError as e:
        return _Failed("not_found" if isinstance(e, FileNotFoundError) else "io", f"cannot read {file['from']}: {e.strerror}").answer


def _put(file, command):
    to, sha256, check = file["to"], file["sha256"], file.get("check_mode")
    part, mode = f"{to}.og-{sha256[:16]}.part", file["mode"]
    size = os.stat(file["from"]).st_size
    found = re.fullmatch(r"og-put (\w+) ([0-7]+) (\d+)(?: (\d+))?", _last(file, _sh(command, INSPECT, to, sha256, part)))
    if not found:
        raise _Failed("io", f"cannot look for {to} there")
    state, begun = found.group(1), min(int(found.group(3)), size)
    if state == "folder":
        raise _Failed("refused", f"{to} is a folder there", "take it away, or name another path")
    if state == "present" and int(found.group(2), 8) == int(mode, 8):
        return {"changed": False, "failed": False, "msg": f"{to} is there"}
    if state == "present":
        if not check and _last(file, _sh(command, SET_MODE, to, mode)) != "og-put-done":
            raise _Failed("io", f"cannot set the mode of {to} there")
        return _changed(f"set the mode of {to} to {mode}")
    left, free = size - begun, found.group(4)
    if free and int(free) * 1024 < left:
        raise _Failed(
            "refused",
            f"{to} takes {left} bytes more there, and {int(free) * 1024} are free",
            "make room there, or name a path on another file system",
            "disk_full",
        )
    if not check:
        _send(file, command, part, size, begun)
    return _changed(f"transfer {to}: {left} bytes")


def _send(file, command, part, size, begun):
    with open(file["from"], "rb") as f:
        f.seek(begun)
        while True:
            piece = f.read(PIECE)
            told = _last(file, _sh(command, TAKE, file["to"], file["sha256"], part, str(size), file["mode"], stdin=piece))
            if told == "og-put-done":
                return
            if told == "og-put-other":
                raise _Failed(
                    "corrupt",
                    f"what arrived as {file['to']} has not the SHA-256 {file['sha256']}",
                    f"compare {file['from']} with it; where that is right, the same call again sends it anew",
                )
            if told != f"og-put-short {f.tell()}" or not piece:
                raise _Failed("io", f"cannot put {file['to']} there: {told}", "what has arrived stays there, and the same call again continues")


def _sh(command, script, *words, stdin=b""):
    line = " ".join(["sh", "-c", *map(shlex.quote, (script, "sh", *words))])
    return command(line if stdin else f"{line} </dev/null", stdin)


def _last(file, done):
    """The last line that the script printed; raises what it says where it failed."""
    lines = done["stdout"].strip().splitlines()
    if lines and lines[-1].startswith("og-put"):
        return lines[-1].strip()
    said = (done["stderr"].strip() or done["stdout"].strip() or f"status {done['rc']}, no output").splitlines()
    raise _Failed("io", f"cannot put {file['to']} there: {' / '.join(said[-3:])[-500:]}", "what has arrived stays there, and the same call again continues")


def _changed(action):
    return {"changed": True, "failed": False, "msg": action, "actions": [action]}
