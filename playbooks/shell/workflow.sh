# shellcheck shell=sh
# What og-expand, og-drop and og-status share. The program og_workflow says which programs to call on which nodes; this
# calls them side by side, over ssh, and tells it their answers, until it says that the end is reached.

set -u
name=${0##*/}
tab=$(printf '\t')
# Beside the PATH: where `cargo xtask install` puts the programs.
PATH=${OG_BINARIES:+$OG_BINARIES:}$PATH:$(dirname "$(readlink -f "$0")")/../../../../bin

usage() {
    case $workflow in
    expand) nodes=' NODE,…' what='Add standbys and cascade standbys to a running cluster, or the first standby to a single node.' ;;
    drop) nodes=' NODE,…' what='Take standbys or cascade standbys out of a cluster, whether they live or not.' ;;
    *) nodes='' what='Show a cluster as one table; changes nothing.' ;;
    esac
    cat <<EOF
Usage: $name [-n] [--diff] [-f FILE] [-F FILE] [--forks N]$nodes [og_OPTION=VALUE …]

$what

  -n, --check    change nothing, say what would be changed
      --diff     tell changes of files as unified diffs
  -f FILE        the cluster; default: cluster.json
  -F FILE        configuration of ssh, in place of ~/.ssh/config
      --forks N  so many calls at once; default: 32

The options are those of the playbooks, such as og_sync_standbys=any; og_workflow --help lists them.
Exit status: 0 done, 1 failed, 2 unusable arguments. A run that was killed is started again with the same words.
EOF
}

wrong() {
    echo "$name: $1 (see $name --help)" >&2
    exit 2
}

# A text as JSON.
quoted() {
    printf '"%s"' "$(printf %s "$1" | sed 's/[\\"]/\\&/g')"
}

check=false diff=false cluster=cluster.json config='' forks=32 targets='' options=''
while [ $# -gt 0 ]; do
    case $1 in
    -h | --help) usage && exit 0 ;;
    -n | --check) check=true ;;
    --diff) diff=true ;;
    -f | -F | --forks)
        [ $# -gt 1 ] || wrong "$1 needs a value"
        case $1 in -f) cluster=$2 ;; -F) config=$2 ;; *) forks=$2 ;; esac
        shift
        ;;
    og_*=*) options="$options${options:+, }$(quoted "${1%%=*}"): $(quoted "${1#*=}")" ;;
    -* | *=*) wrong "unknown option $1" ;;
    *) targets="$targets${targets:+,}$1" ;;
    esac
    shift
done
case $forks in '' | 0* | *[!0-9]*) wrong "--forks is no number: $forks" ;; esac
[ "$workflow" = status ] || [ -n "$targets" ] || wrong 'name the nodes, such as n3,n4'
[ -z "$config" ] || [ -r "$config" ] || wrong "cannot read $config"
[ -r "$cluster" ] || wrong "cannot read $cluster, which describes the cluster"
command -v og_workflow >/dev/null || wrong 'there is no og_workflow; set OG_BINARIES to the folder of the programs'

# By this mark the processes that a killed run left are known.
OG_RUN=$$
export OG_RUN
umask 077
tmp=$(mktemp -d) || exit 1
calls='' hosts=''
ended() {
    for host in $hosts; do ssh -F "$tmp/ssh" -O exit "ssh://$host" 2>/dev/null; done
    rm -rf "$tmp"
}
trap ended EXIT
stopped() {
    trap '' HUP INT TERM
    # Each of them ends what it began on its node.
    # shellcheck disable=SC2086
    [ -z "$calls" ] || kill $calls 2>/dev/null
    wait
    echo "$name: interrupted; the same command again carries on" >&2
    exit 1
}
trap stopped HUP INT TERM

# The user's own configuration of ssh counts, but for where a connection is kept: one of the user's own is not ours to end.
case $config in '') included='~/.ssh/config /etc/ssh/ssh_config' ;; *) included="\"$(readlink -f "$config")\"" ;; esac
cat >"$tmp/ssh" <<EOF
ControlPath "$tmp/%C"
ControlPersist 300
Include $included
Host *
  ServerAliveInterval 3
EOF

# One connection to each host for the whole run, which all calls share: a new one costs more than most calls. Where there
# is none, a call makes its own, and says what is wrong.
connect() {
    for host in $(grep '^call' "$tmp/next" | cut -f 2 | sort -u); do
        case " - $hosts " in *" $host "*) continue ;; esac
        hosts="$hosts $host"
        ssh -F "$tmp/ssh" -o BatchMode=yes -o StrictHostKeyChecking=yes -o ConnectTimeout=10 -fMN "ssh://$host" \
            </dev/null >/dev/null 2>&1 &
    done
    wait
}

# Makes one call; its answer is one line of JSON.
call() { # NUMBER HOST PROGRAM ARGUMENTS
    number=$1 host=$2 program=$3
    printf '%s\n' "$4" >"$tmp/args.$number"
    set --
    [ "$host" = - ] || set -- --host "$host" --ssh-config "$tmp/ssh"
    exec "$program" "$@" "$tmp/args.$number" >"$tmp/answer.$number"
}

: >"$tmp/answers"
while :; do
    {
        printf '{"workflow": "%s", "pid": %s, "check_mode": %s, "diff": %s, ' "$workflow" $$ $check $diff
        printf '"targets": %s, "options": {%s}, "cluster": ' "$(quoted "$targets")" "$options"
        cat "$cluster"
        printf ', "answers": ['
        sed '$!s/$/,/' "$tmp/answers"
        printf ']}'
    } >"$tmp/asked"
    og_workflow --lines "$tmp/asked" >"$tmp/next" || {
        status=$?
        sed "/^end$tab/d; s/^warn$tab//" "$tmp/next" >&2
        exit $status
    }
    connect
    count=0 running=0 calls=''
    while IFS= read -r line; do
        rest=${line#*"$tab"}
        case $line in
        step*) printf '%s\n' "$rest" >&2 ;;
        keep*)
            head -n "$rest" "$tmp/answers" >"$tmp/kept"
            mv "$tmp/kept" "$tmp/answers"
            ;;
        wait*) sleep "$rest" ;;
        call*)
            count=$((count + 1)) running=$((running + 1))
            args=${rest#*"$tab"}
            call $count "${rest%%"$tab"*}" "${args%%"$tab"*}" "${args#*"$tab"}" &
            calls="$calls $!"
            [ $running -lt "$forks" ] || { wait && running=0 calls=''; }
            ;;
        say*) printf '%s\n' "$rest" ;;
        warn*) printf '%s\n' "$rest" >&2 ;;
        end*) exit "$rest" ;;
        esac
    done <"$tmp/next"
    wait
    number=0
    while [ $number -lt $count ]; do
        number=$((number + 1))
        # What was killed has said nothing.
        if [ -s "$tmp/answer.$number" ]; then cat "$tmp/answer.$number"; else echo null; fi
    done >>"$tmp/answers"
done
