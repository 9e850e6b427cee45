# Takes nodes out of a cluster, whether they live or not; never the primary.
#
#   salt-run state.orchestrate opengauss.drop pillar='{"og_drop": "n2"}' test=True
#   salt-run state.orchestrate opengauss.drop pillar='{"og_drop": "n2"}'
#
# Options, such as og_drop_commits, stand beside og_drop.
drop from the cluster:
  og_cluster.dropped:
    - nodes: {{ pillar.get("og_drop", "") | json }}
{%- for name, value in pillar.items() if name.startswith("og_") and name not in ("og_add", "og_drop") %}
    - {{ name }}: {{ value | json }}
{%- endfor %}
