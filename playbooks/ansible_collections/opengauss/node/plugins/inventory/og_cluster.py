"""The hosts of a cluster as openGauss's own OM recorded them."""

from __future__ import annotations

import json
import os
import subprocess

from ansible.errors import AnsibleParserError
from ansible.module_utils.common.text.converters import to_native
from ansible.plugins.inventory import BaseInventoryPlugin, Constructable
from ansible_collections.opengauss.node.plugins.plugin_utils.og_action import Programs, default_programs, last_object

DOCUMENTATION = r"""
name: og_cluster
short_description: The hosts of a cluster from its cluster_static_config or cluster_config.xml
description:
  - Makes one host of each server in a file that openGauss's OM wrote, so that a cluster which is there is managed without
    typing its nodes. The file is read on the controller; copy it there from any node (C($GAUSSHOME/bin/cluster_static_config)).
  - Each host has the variables that the workflows take, C(id), C(role), C(zone), C(data_dir), C(base_port), C(hostname), and
    C(ansible_host). Roles are those of C(cluster_dynamic_config) where it lies beside the file, for a switchover changes
    no static config.
  - Its configuration is a file whose name ends in C(og_cluster.yml) or C(og_cluster.yaml).
version_added: "0.2.0"
author: The openGauss node suite
extends_documentation_fragment:
  - constructed
options:
  plugin:
    description: Names this plugin.
    type: str
    required: true
    choices: [opengauss.node.og_cluster]
  path:
    description: The file; a relative one is beside the configuration.
    type: path
    required: true
  binaries:
    description:
      - Folder on the controller that holds the suite's programs, or a folder for each C(uname -m).
      - By default those that the collection ships.
    type: path
    env:
      - name: OG_BINARIES
  group:
    description: The group of all hosts.
    type: str
    default: opengauss
"""

EXAMPLES = r"""
# demo.og_cluster.yml
plugin: opengauss.node.og_cluster
path: cluster_static_config
# Who logs in, and a group for each zone.
compose:
  ansible_user: "'omm'"
keyed_groups:
  - key: zone
    separator: ""
"""


def first(addresses):
    """The first of one address or several."""
    return addresses[0] if isinstance(addresses, list) else addresses


def hosts_of(answer):
    """Host names with their variables, from what og_static_conf says of the file; and the machines without a server."""
    hosts, without = {}, []
    live = answer.get("roles") or {}
    for node in answer.get("nodes") or []:
        servers = [node] if node.get("data_nodes") is None else node["data_nodes"]
        if not servers:
            without.append(node["name"])
        for server in servers:
            instance = server["instance_id"]
            own = {
                "ansible_host": first(node.get("ssh_address") or node["address"]),
                "address": first(server.get("ha_address") or node["address"]),
                "hostname": node["name"],
                "id": node["id"] if len(servers) == 1 else instance - 6000,
                "role": live.get(f"dn_{instance}") or server.get("role") or "standby",
                "zone": node.get("zone") or "AZ1",
                "data_dir": server["data_dir"],
                "base_port": server["base_port"],
            }
            if instance != 6000 + own["id"]:
                own["application_name"] = f"dn_{instance}"
            hosts[node["name"] if len(servers) == 1 else f"{node['name']}_dn_{instance}"] = own
    return hosts, without


class InventoryModule(BaseInventoryPlugin, Constructable):
    """Asks og_static_conf what the file says."""

    NAME = "opengauss.node.og_cluster"

    def verify_file(self, path):
        return super().verify_file(path) and path.endswith(("og_cluster.yml", "og_cluster.yaml"))

    def parse(self, inventory, loader, path, cache=True):
        super().parse(inventory, loader, path, cache)
        self._read_config_data(path)
        file = os.path.join(os.path.dirname(os.path.abspath(path)), os.path.expanduser(self.get_option("path")))
        answer = self._ask({"state": "query", "path": os.path.normpath(file)})
        if not answer.get("exists"):
            raise AnsibleParserError(f"{path}: there is no {file}")
        for warning in answer.get("warnings") or []:
            self.display.warning(f"{file}: {warning}")
        hosts, without = hosts_of(answer)
        for name in without:
            self.display.warning(f"{file}: {name} has no server, and is no host here")
        group = inventory.add_group(self.get_option("group"))
        strict = self.get_option("strict")
        for name, own in hosts.items():
            inventory.add_host(name, group=group)
            for key, value in own.items():
                inventory.set_variable(name, key, value)
            variables = inventory.get_host(name).get_vars()
            self._set_composite_vars(self.get_option("compose"), variables, name, strict=strict)
            self._add_host_to_composed_groups(self.get_option("groups"), variables, name, strict=strict)
            self._add_host_to_keyed_groups(self.get_option("keyed_groups"), variables, name, strict=strict)

    def _ask(self, request):
        folder = self.get_option("binaries") or default_programs()
        program = Programs(os.path.expanduser(folder)).here("og_static_conf")
        if program is None:
            raise AnsibleParserError(
                f"no og_static_conf for this machine in {folder}; build it, and name its folder by the option binaries or by OG_BINARIES"
            )
        done = subprocess.run([program], input=json.dumps(request), capture_output=True, text=True, check=False)
        answer = last_object(done.stdout)
        if answer is None:
            raise AnsibleParserError(f"{program} ended with status {done.returncode} and without a result: {to_native(done.stderr)}")
        if answer.get("failed"):
            hint = (answer.get("error") or {}).get("hint")
            raise AnsibleParserError(f"{answer['msg']}; {hint}" if hint and hint not in answer["msg"] else answer["msg"])
        return answer
