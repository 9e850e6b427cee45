"""Runs og_lock on the node; the owner is this run of ansible-playbook unless one is named."""

from __future__ import annotations

import json

from ansible_collections.opengauss.node.plugins.plugin_utils import og_owner
from ansible_collections.opengauss.node.plugins.plugin_utils.og_action import OgActionBase


class ActionModule(OgActionBase):
    """A lock left by a run that was killed on this controller does not keep the next run out; a live run does."""

    def act(self, args):
        if args.get("state", "held") == "query":
            return self.call("og_lock", args)
        # As an object, for releases of Ansible before 2.19 make one of any text that looks like it.
        if isinstance(args.get("purpose"), dict):
            args["purpose"] = json.dumps(args["purpose"])
        mine = args.setdefault("owner", og_owner.this_run())
        result = self.call("og_lock", args)
        dead = og_owner.ended(result) if args.get("state", "held") == "held" else None
        if dead is None:
            return result
        taken = self.call("og_lock", {**args, "force": True})
        before = taken.get("previous") or {}
        if taken.get("failed") or before.get("owner") in (None, dead, mine):
            return taken
        # Another run took it in between: it keeps it.
        self.call("og_lock", {**args, "owner": before["owner"], "purpose": before.get("purpose", ""), "force": True})
        return self.call("og_lock", args)
