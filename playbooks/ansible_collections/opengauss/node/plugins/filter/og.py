"""Filters over the steps' results, by which a workflow takes back what it brought."""

from __future__ import annotations

from ansible_collections.opengauss.node.plugins.plugin_utils.og_steps import peers_added, rules_of


class FilterModule:
    """og_rules and og_peers."""

    def filters(self):
        return {"og_rules": rules_of, "og_peers": peers_added}
