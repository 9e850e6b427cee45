"""Filters over what og_query saw: `{name: {vars, seen}}`."""

from __future__ import annotations

from ansible_collections.opengauss.node.plugins.plugin_utils import og_cluster


def preflight_findings(hosts, workflow, targets, options=None):
    """What stands against expanding or dropping, one sentence each; empty when nothing does."""
    return getattr(og_cluster, {"expand": "expand", "drop": "drop"}[workflow])(hosts, targets, options)["findings"]


def rules(added):
    """The rules of og_hba's result as og_hba takes them, without their line numbers."""
    return [r.get("rule", r) if isinstance(r, dict) else r for r in added or []]


def peers(done):
    """The other ends of the channels that a call of og_replconninfo added."""
    added = set((done or {}).get("added") or [])
    ends = [og_cluster.peer_of(c) for c in (done or {}).get("channels") or [] if c.get("number") in added]
    return [{"host": e["host"], "port": e["port"]} for e in ends if e]


class FilterModule:
    """og_preflight_findings, og_table, og_rules and og_peers."""

    def filters(self):
        return {"og_preflight_findings": preflight_findings, "og_table": og_cluster.table, "og_rules": rules, "og_peers": peers}
