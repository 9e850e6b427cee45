# Adds nodes to a cluster. What the nodes are says the pillar, see sys.doc of the runner og.
#
#   salt-run state.orchestrate opengauss.expand pillar='{"og_add": "n3,n4"}' test=True
#   salt-run state.orchestrate opengauss.expand pillar='{"og_add": "n3,n4"}'
#
# Options, such as og_sync_standbys, stand beside og_add.
expand the cluster:
  og_cluster.expanded:
    - nodes: {{ pillar.get("og_add", "") | json }}
{%- for name, value in pillar.items() if name.startswith("og_") and name not in ("og_add", "og_drop") %}
    - {{ name }}: {{ value | json }}
{%- endfor %}
