"""Filters over the steps' results, by which a workflow takes back what it brought."""

from __future__ import annotations

from ansible_collections.opengauss.node.plugins.plugin_utils.og_steps import all_unwell, peers_added, rules_of


class FilterModule:
    """og_rules, og_peers and og_unwell."""

    def filters(self):
        return {"og_rules": rules_of, "og_peers": peers_added, "og_unwell": all_unwell}
