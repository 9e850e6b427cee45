"""Runs og_preflight on the node."""

from __future__ import annotations

from ansible_collections.opengauss.node.plugins.plugin_utils.og_action import OgActionBase


class ActionModule(OgActionBase):
    """See the base: one remote command, the arguments on its standard input."""
