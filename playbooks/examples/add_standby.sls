# Adds a standby to a cluster that has one, by the modules alone: a start for orchestrations of your own. `salt-run og.expand` does the
# same, checks first and undoes what failed; it also adds cascade standbys, and the first standby to a single node.
#
#   salt-run state.orchestrate examples.add_standby pillar='{"new": "n3"}'
#
# The pillar of the nodes describes the cluster, as for the runner og; each minion's id is its node's name.
{%- set new = pillar["new"] %}
{%- set cluster = salt["saltutil.runner"]("pillar.show_pillar", arg=[new])["opengauss"] %}
{%- set hosts, port, user = cluster["hosts"], cluster["vars"].get("base_port", 26000), cluster["vars"].get("os_user", "omm") %}
{%- set rules, others = [], [] %}
{%- for name, host in hosts.items() %}
{%- do rules.append("host all " ~ user ~ " " ~ host["address"] ~ "/32 trust") %}
{%- if name != new %}{% do others.append({"host": host["address"], "base_port": port}) %}{% endif %}
{%- endfor %}
{%- set newcomer = {"host": hosts[new]["address"], "base_port": port} %}

{%- macro call(title, node, function, arguments) %}
{{ title }} on {{ node }}:
  salt.function:
    - name: og.{{ function }}
    - tgt: {{ node }}
    - kwarg: {{ arguments | json }}
    - failhard: True
{%- endmacro %}

# A build copies the primary's pg_hba.conf over the standby's own, so all nodes let each other in.
{%- for node in hosts if node != new %}
{{ call("Let all nodes in", node, "hba", {"rules": rules}) }}
{{ call("Add a replication channel", node, "replconninfo", {"state": "present", "peers": [newcomer],
        "local": {"host": hosts[node]["address"], "base_port": port}}) }}
{%- endfor %}
{{ call("Let all nodes in", new, "hba", {"rules": rules, "reload": "never", "create": true}) }}
{{ call("Configure replication channels", new, "replconninfo", {"local": newcomer, "peers": others, "reload": "never"}) }}
{{ call("Name the new node", new, "guc", {"parameters": {"application_name": "dn_%d" % (6000 + hosts[new]["id"])}, "reload": "never"}) }}
{{ call("Build it from the primary", new, "build", {"role": "standby"}) }}
{{ call("Wait until it streams", new, "node_state", {"timeout": 300,
        "wait": {"role": "standby", "db_state": "normal", "max_lag_bytes": 16777216}}) }}
