"""Filters over what og_query saw: `{name: {vars, seen}}`."""

from __future__ import annotations

from ansible_collections.opengauss.node.plugins.plugin_utils import og_cluster


def preflight_findings(hosts, workflow, targets, options=None):
    """What stands against expanding or dropping, one sentence each; empty when nothing does."""
    return getattr(og_cluster, {"expand": "expand", "drop": "drop"}[workflow])(hosts, targets, options)["findings"]


class FilterModule:
    """og_preflight_findings, og_table, og_rules and og_peers."""

    def filters(self):
        return {"og_preflight_findings": preflight_findings, "og_table": og_cluster.table, "og_rules": og_cluster.rules_of, "og_peers": og_cluster.peers_added}
