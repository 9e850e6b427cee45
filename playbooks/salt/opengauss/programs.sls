# Puts the programs into the folder og:bin_dir of the node's configuration or pillar: for salt-ssh, which brings no files to
# functions, and for whoever wants them there.
#
#   salt-ssh n1 state.apply opengauss.programs
{%- set folder = salt["config.get"]("og:bin_dir", "") %}
programs of opengauss-node:
{%- if folder %}
  file.recurse:
    - name: {{ folder | json }}
    - source: salt://opengauss-node/{{ grains["cpuarch"] }}
    - exclude_pat: E@^(og|og_workflow)$
    - makedirs: true
    - dir_mode: "0755"
    - file_mode: "0755"
{%- else %}
  test.fail_without_changes:
    - comment: "og:bin_dir is not set, the folder on the node that the programs are to be put into: in the roster's minion_opts, or in the pillar"
{%- endif %}
