"""What the workflows read of the steps' results; what is to be done is planned by the program og_workflow."""

from __future__ import annotations


def names_in(value):
    """`n3,n4` or a list, as a list without blanks and repetitions."""
    parts = value.split(",") if isinstance(value, str) else list(value or [])
    return list(dict.fromkeys(part for part in (str(p).strip() for p in parts) if part))


def error_of(answer):
    """What a failed answer says, with what to do; None when it did not fail."""
    if not answer.get("failed"):
        return None
    error = answer.get("error") or {}
    text = str(error.get("detail") or answer.get("msg") or "failed without a word")
    return f"{text}; {error['hint']}" if error.get("hint") and error["hint"] not in text else text


def why_unwell(seen):
    """What keeps a workflow from going on after a step that one node answered so; None when nothing does."""
    if seen.get("unreachable"):
        return f"cannot be reached any more: {str(seen.get('msg', '')).strip()}"
    return error_of(seen)


def rules_of(added):
    """The rules of og_hba's result as og_hba takes them, without their line numbers."""
    return [r.get("rule", r) if isinstance(r, dict) else r for r in added or []]


def peers_added(done):
    """The other ends of the channels that a call of og_replconninfo added."""
    added = set((done or {}).get("added") or [])
    ends = [channel.get("remote") for channel in (done or {}).get("channels") or [] if channel.get("number") in added]
    return [{"host": end["host"], "port": end["port"]} for end in ends if end]


def all_unwell(steps):
    """What went wrong in these registered steps, whose items are nodes where they are loops; each once."""
    found = []
    for step in steps:
        for one in step.get("results") or [step]:
            why = None if one.get("skipped") else why_unwell(one)
            if why:
                found.append(f"{one['item']}: {why}" if "item" in one else why)
    return list(dict.fromkeys(found))
