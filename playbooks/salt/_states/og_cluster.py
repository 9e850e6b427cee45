"""
Nodes that shall be in an openGauss cluster, or shall not: for orchestration on the master

.. code-block:: yaml

    n3 and n4 are in the cluster:
      og_cluster.expanded:
        - nodes: n3,n4

    n2 is in it no more:
      og_cluster.dropped:
        - nodes: n2

The runner ``og`` does it and says what it needs; options are its options. With ``test=True`` the result is None only
where something would change; ``test: true`` in a state is for that state alone.
"""

from salt.exceptions import SaltException
from salt.state import STATE_INTERNAL_KEYWORDS

__virtualname__ = "og_cluster"


def __virtual__():
    if "saltutil.runner" in __salt__:
        return __virtualname__
    return False, "for salt-run state.orchestrate, on the master"


def expanded(name, nodes=None, **options):
    """
    These nodes are standbys or cascade standbys of the cluster, as the pillar says

    nodes
        The nodes; the state's name unless given.
    """
    return _apply("og.expand", name, nodes, options)


def dropped(name, nodes=None, **options):
    """
    These nodes are no part of the cluster

    nodes
        The nodes; the state's name unless given.
    """
    return _apply("og.drop", name, nodes, options)


def _apply(runner, name, nodes, given):
    options = {k: v for k, v in given.items() if k not in STATE_INTERNAL_KEYWORDS and not k.startswith("__")}
    ret = {"name": name, "changes": {}, "result": False, "comment": ""}
    test = bool(options.pop("test", False) or __opts__["test"])
    try:
        done = __salt__["saltutil.runner"](runner, kwarg={**options, "nodes": name if nodes is None else nodes, "test": test})
    except SaltException as e:
        ret["comment"] = str(e)
        return ret
    if not isinstance(done, dict) or "failed" not in done:
        ret["comment"] = f"{runner} says: {done}"
        return ret
    if done.get("warnings"):
        ret["warnings"] = done["warnings"]
    ret["changes"] = done["changes"]
    ret["comment"] = "\n".join([done["msg"], *([] if done["failed"] else done.get("cluster", []))])
    if not done["failed"]:
        ret["result"] = None if test and done["changed"] else True
    return ret
