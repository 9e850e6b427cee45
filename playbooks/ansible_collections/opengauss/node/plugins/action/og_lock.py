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
        args.setdefault("owner", og_owner.this_run())
        if args.get("state", "held") != "held":
            return self.call("og_lock", args)
        return og_owner.take(lambda own: self.call("og_lock", own), args)
