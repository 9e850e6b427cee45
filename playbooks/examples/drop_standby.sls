# Takes a standby out of a cluster, by the modules alone: a start for orchestrations of your own. `salt-run og.drop` does the same, checks
# first, and drops the last standby and a node that cannot be reached, too.
#
#   salt-run state.orchestrate examples.drop_standby pillar='{"gone": "n3"}'
#
# The pillar of the nodes describes the cluster, as for the runner og; each minion's id is its node's name.
{%- set gone = pillar["gone"] %}
{%- set cluster = salt["saltutil.runner"]("pillar.show_pillar", arg=[gone])["opengauss"] %}
{%- set hosts, port, user = cluster["hosts"], cluster["vars"].get("base_port", 26000), cluster["vars"].get("os_user", "omm") %}
{%- set name, address = "dn_%d" % (6000 + hosts[gone]["id"]), hosts[gone]["address"] %}

{%- macro call(title, node, function, arguments) %}
{{ title }} on {{ node }}:
  salt.function:
    - name: og.{{ function }}
    - tgt: {{ node }}
    - kwarg: {{ arguments | json }}
    - failhard: True
{%- endmacro %}

# First of all, so that no commit ever waits for it.
{%- for node in hosts if node != gone %}
{{ call("Let no commit wait for it", node, "guc", {"synchronous_standbys": {"method": "keep", "num": "keep", "remove": [name]}}) }}
{%- endfor %}
{{ call("Stop it", gone, "node_state", {"state": "stopped"}) }}
{%- for node in hosts if node != gone %}
{{ call("Remove its replication channel", node, "replconninfo", {"state": "absent", "peers": [{"host": address, "base_port": port}],
        "local": {"host": hosts[node]["address"], "base_port": port}}) }}
{{ call("Remove its rules", node, "hba", {"state": "absent", "rules": [{"type": "host", "users": [user], "address": address ~ "/32"}]}) }}
# Without that the log which it has not received fills the disk.
{{ call("Drop its slot", node, "slot", {"state": "absent", "names": [name], "if_active": "wait"}) }}
{{ call("Wait until the others stream", node, "node_state", {"wait": {"db_state": "normal"}, "timeout": 300}) }}
{%- endfor %}
