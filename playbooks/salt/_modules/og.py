"""
Run the openGauss node programs (og_hba, og_guc, …) on a minion

Each function runs the program of its name once, with the arguments as JSON on its standard input, and returns the JSON
object that it printed: ``changed``, ``failed``, ``msg``, ``actions`` and what the program adds. ``test=True`` says what
would be done and does nothing. On failure ``error`` says what and why, and the command's return code is not 0.

:configuration: Where the programs are and what counts for all calls may stand in the pillar, the grains or the minion's
    configuration, of which the later counts more:

    .. code-block:: yaml

        og:
          bin_dir: /opt/opengauss-node    # default: the PATH, then salt://opengauss-node/<cpuarch>/
          data_dir: /gauss/data/db1
          env_file: /home/omm/.bashrc
          gauss_home: /opt/openGauss
          os_user: omm

    A value ``pillar://app:password`` is taken from the pillar. So a secret stands neither in the job nor in the state,
    which Salt writes into its logs at the level debug.

    Where the pillar describes the cluster, as the runner ``og`` wants it, data_dir and so on are taken from there. Its key is
    ``opengauss``, or what the configuration names as ``og:cluster``, or a call as ``og_cluster``.
"""

import base64
import json
import os
import stat

import salt.utils.args
import salt.utils.data
import salt.utils.path
from salt.exceptions import CommandExecutionError

__virtualname__ = "og"

# A value that begins so is taken from the pillar, so that it stands in no job and no log.
_PILLAR = "pillar://"
# More links than this lead in a circle, as for the kernel.
_MAX_LINKS = 40
# Seconds for a program to say that its time is over.
_LAST_WORDS = 5
# So much of a file is given to a program at once.
_PIECE = 8 << 20
# Arguments that may come from configuration.
_CONFIGURED = ("data_dir", "env_file", "gauss_home", "os_user")
# What a program's result repeats, for Ansible.
_NOT_FOR_SALT = ("invocation", "ansible_facts")


def __virtual__():
    return __virtualname__


def configuration(cluster=None):
    """
    What configuration, grains and pillar say of the node under ``og``, and what the pillar of the cluster says of it

    CLI Example:

    .. code-block:: bash

        salt '*' og.configuration

    cluster
        The key of the pillar that has the cluster.
    """
    # One by one, not by config.get, which takes them all from the first place that has any.
    told = {}
    for place in (__pillar__, __grains__, __opts__):
        found = place.get("og")
        told.update(found if isinstance(found, dict) else {})
    cluster = __pillar__.get(cluster or told.get("cluster") or "opengauss") or {}
    own = [
        {**(cluster.get("vars") or {}), **(node or {})}
        for name, node in (cluster.get("hosts") or {}).items()
        if str((node or {}).get("minion") or name) == __opts__["id"]
    ]
    # Where several nodes are on one machine, each call names its own.
    node = own[0] if len(own) == 1 else {}
    return {**{key: node[key] for key in _CONFIGURED if node.get(key)}, **told}


def _program(name):
    """The path of the program on this minion; one that root runs is root's alone."""
    path = _found(name)
    if name in _AS_ROOT and os.geteuid() == 0:
        _check_owned(path)
    return path


def _check_owned(path):
    """Refuses a program that another user than root could change, or a folder or link on the way to it."""
    # Component by component, as the kernel goes: a link may lead to another one, in a folder on neither its own way nor the last one.
    here = os.getcwd() if not os.path.isabs(path) else "/"
    names = os.path.join(here, path).split("/")
    way, links = "/", 0
    _check_root_alone(way, path)
    while names:
        name = names.pop(0)
        if name in ("", "."):
            continue
        if name == "..":
            way = os.path.dirname(way)
            continue
        step = os.path.join(way, name)
        if not stat.S_ISLNK(_check_root_alone(step, path).st_mode):
            way = step
            continue
        links += 1
        if links > _MAX_LINKS:
            raise CommandExecutionError(f"{path}: too many symbolic links on the way to it")
        target = os.readlink(step)
        if os.path.isabs(target):
            way = "/"
        names = target.split("/") + names


def _check_root_alone(way, path):
    """The status of a file, folder or link on the way to `path`; refuses one that another user than root could change."""
    seen = os.lstat(way)
    # In a sticky folder nobody renames what is root's; a link's own mode says nothing.
    open_to_others = seen.st_mode & 0o022 and not stat.S_ISLNK(seen.st_mode) and not (stat.S_ISDIR(seen.st_mode) and seen.st_mode & stat.S_ISVTX)
    if seen.st_uid != 0 or open_to_others:
        raise CommandExecutionError(
            f"{way} is not root's alone, and root would run {path}: give it to root and chmod it to 0755, or name a folder of root's in og:bin_dir"
        )
    return seen


def _found(name):
    """The path of the program on this minion; taken from the master's files when it is not installed."""
    folder = configuration().get("bin_dir")
    if folder:
        path = os.path.join(str(folder), name)
        if not os.access(path, os.X_OK):
            raise CommandExecutionError(f"{path} is not there or cannot be run; og:bin_dir names the folder of the programs")
        return path
    path = salt.utils.path.which(name)
    if path:
        return path
    source = f"salt://opengauss-node/{__grains__['cpuarch']}/{name}"
    path = __salt__["cp.cache_file"](source)
    if not path:
        raise CommandExecutionError(
            f"no program {name}: it is not on the PATH, nor is there {source} (salt-ssh brings no files to functions: state.apply "
            "opengauss.programs does); install it, or set og:bin_dir to its folder"
        )
    if _is_copy(path):
        os.chmod(path, 0o700)
    elif not os.access(path, os.X_OK):
        raise CommandExecutionError(f"{path} cannot be run; chmod it to 0755")
    return path


def _resolved(value):
    """The value with what it refers to in the pillar."""
    if isinstance(value, dict):
        return {key: _resolved(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_resolved(one) for one in value]
    if not isinstance(value, str) or not value.startswith(_PILLAR):
        return value
    key = value[len(_PILLAR) :]
    # Not by pillar.get, which since 3008 gives the value masked.
    found = salt.utils.data.traverse_dict_and_list(__pillar__, key, None)
    if found is None:
        raise CommandExecutionError(f"{value}: the pillar of this minion has no {key}")
    return found


def _call(name, arguments, test=None, limit=None, cluster=None):
    """What the program says to these arguments; raises when it says nothing."""
    call = {k: v for k, v in configuration(cluster).items() if k in _CONFIGURED}
    call.update(_resolved(arguments))
    # A workflow asks in check mode before it does something, in a run that changes things, too.
    call["check_mode"] = bool(__opts__.get("test") if test is None else test) or bool(call.get("check_mode"))
    done = __salt__["cmd.run_all"](
        [_program(name)],
        python_shell=False,
        # Arguments and results may hold secrets; the log gets neither.
        stdin=json.dumps(call),
        output_loglevel="quiet",
        ignore_retcode=True,
        timeout=limit,
    )
    try:
        return json.loads(done["stdout"])
    except ValueError:
        words = (done["stderr"] or done["stdout"])[-500:]
        raise CommandExecutionError(f"{name} ended with status {done['retcode']} and without a result: {words}") from None


def _run(name, arguments):
    given = salt.utils.args.clean_kwargs(**arguments)
    result = _call(name, given, given.pop("test", None), cluster=given.pop("og_cluster", None))
    if result.get("failed"):
        __context__["retcode"] = 1
    return {key: value for key, value in result.items() if key not in _NOT_FOR_SALT}


def _put(call, test, cluster):
    """Has the program receive a file of the master's, from where it wants it on; the last answer counts."""
    program, args = call["program"], call["args"]
    answer = _call(program, args, test, cluster=cluster)
    if not _wants(answer):
        return answer
    path = __salt__["cp.cache_file"](call["put"]["source"]) if call["put"]["source"] else None
    if not path:
        raise CommandExecutionError(f"{call['put']['from']} is in none of the master's file_roots; put it below one, such as /srv/salt/opengauss-node")
    try:
        with open(path, "rb") as f:
            while _wants(answer):
                f.seek(answer["offset"])
                content = base64.b64encode(f.read(_PIECE)).decode()
                answer = _call(program, {**args, "offset": answer["offset"], "content": content}, test, cluster=cluster)
    finally:
        if _is_copy(path):
            os.remove(path)
    return answer


def _is_copy(path):
    """Whether the file is a copy in the minion's cache; one below file_roots is the administrator's own."""
    real = os.path.realpath(path)

    def is_below(folder):
        return real.startswith(os.path.join(os.path.realpath(folder), ""))

    roots = [folder for folders in (__opts__.get("file_roots") or {}).values() for folder in folders]
    return is_below(__opts__["cachedir"]) and not any(is_below(folder) for folder in roots)


def _wants(answer):
    return (answer.get("error") or {}).get("reason") == "content_wanted"


def step(calls, test=False, cluster=None):
    """
    One step of a workflow, which the runner ``og`` calls: runs programs on the nodes of this minion, one after the other

    CLI Example:

    .. code-block:: bash

        salt n1 og.step calls='{n1: [{node: n1, program: og_hba, args: {data_dir: /gauss/data/db1, state: query}}]}'

    calls
        Node, program and arguments of each call, by the minion's id: what one job tells several minions. A program that only
        looks and does not end in its ``timeout`` is ended. With ``put`` it receives a file of the master's.

    cluster
        The key of the pillar that has the cluster.
    """
    out = []
    for call in calls.get(__opts__["id"], []):
        looks = call["args"].get("state") == "query"
        seconds = call["args"].get("timeout") if looks else None
        try:
            if "put" in call:
                answer = _put(call, test, cluster)
            else:
                answer = _call(call["program"], call["args"], test, seconds and seconds + _LAST_WORDS, cluster)
        except (CommandExecutionError, OSError) as e:
            answer = {"failed": True, "changed": False, "msg": str(e)}
        if answer.get("failed") and not looks:
            __context__["retcode"] = 1
        out.append({key: value for key, value in answer.items() if key not in _NOT_FOR_SALT})
    return out


# Generated by `cargo xtask docs` from here on.
# The programs that act on the machine itself, as root.
_AS_ROOT = ("og_host",)


def build(**arguments):
    r"""
    Build this standby from its primary, where it needs it.

    CLI Examples:

    .. code-block:: bash

        # Make it stream, by whatever build that takes
        salt '*' og.build data_dir=/gauss/data/dn1
        # Build a new cascade standby
        salt '*' og.build data_dir=/gauss/data/dn1 mode=full role=cascade_standby
        # Begin a build of 200 GiB and come back
        salt '*' og.build data_dir=/gauss/data/dn1 wait=False min_free=214748364800
        # How far is it?
        salt '*' og.build data_dir=/gauss/data/dn1 state=query

    state (present|query|log_kept, default "present")
        The wanted state.
        `present`: The node is built and streams.
        `query`: Return how far a build is; change nothing.
        `log_kept`: What the node holds of the log is copied into a folder beside the data directory,
        before a build gives it up.

    mode (auto|incremental|full, default "auto")
        How to build.
        `auto`: Nothing when the node streams normally; incremental where that is possible; else
        full.
        `incremental`: Copy what differs, even when the node streams normally.
        `full`: Copy everything, even when the node streams normally.
        Only when `state` is `present`.

    role (standby|cascade_standby)
        What the node is to be. Default: what it was, else standby.
        `standby`: Follows the primary.
        `cascade_standby`: Follows a standby.
        Only when `state` is `present`.

    force (bool, default false)
        Build although the node was a primary or a single server, or holds more than the primary it
        would be built from: what it has and its primary has not is lost.
        Only when `state` is `present`.

    wait (bool, default true)
        Wait for the end; else the build is left running and `state: query` tells how far it is.
        Only when `state` is `present`.

    stall_timeout (int, default 300)
        Seconds without any progress after which a build is given up.
        Only when `state` is `present`.

    min_free (int)
        Bytes that the copy needs: the build is refused where there are less, counting what the old
        copy gives back. Best the primary's size, which `state: query` tells there as `data_bytes`.
        Only when `state` is `present`.

    keep_from (str)
        With `state: log_kept`: the LSN from which on the log is copied. Default: all that is there.
        Only when `state` is `log_kept`.

    data_dir (str)
        The node: an openGauss data directory. Default: `$PGDATA`.

    env_file (str)
        The file that sets GAUSSHOME, PATH, LD_LIBRARY_PATH and PGHOST, read in a clean shell.
        Default: `$MPPDB_ENV_SEPARATE_PATH`, else the OS user's `~/.bashrc`.

    gauss_home (str)
        The folder openGauss is installed in; overrides the GAUSSHOME of the environment.

    os_user (str)
        Run by root, act as this user; run by anyone else, it must be that user. Default: owner of
        `data_dir`.

    timeout (int, default 0)
        Seconds the whole call may take; 0 is no limit.

    lock_timeout (int, default 10)
        Seconds to wait for another writer.

    if_building (fail|wait, default "fail")
        What to do while a build of the node is under way: fail at once (`busy`), or wait for its end
        within `timeout`.

    """
    return _run("og_build", arguments)


def checkpoint(**arguments):
    r"""
    Checkpoints and dirty pages of this node.

    CLI Examples:

    .. code-block:: bash

        # How many pages are dirty, and how much WAL would crash recovery replay?
        salt '*' og.checkpoint data_dir=/data/dn1 state=query
        # Make a checkpoint
        salt '*' og.checkpoint data_dir=/data/dn1
        # Before a switchover: checkpoints until few pages are dirty, within two minutes
        salt '*' og.checkpoint data_dir=/data/dn1 max_dirty_pages=1000 timeout=120

    state (done|query, default "done")
        The wanted state.
        `done`: A checkpoint is done; with `max_dirty_pages` only where more pages are dirty.
        `query`: Return how many pages are dirty, and where the last checkpoint is.

    max_dirty_pages (int)
        Repeat the checkpoint until no more pages than this are dirty, within `timeout`; make none
        when so few are dirty already. Without it, one checkpoint is made each time.
        Only when `state` is `done`.

    data_dir (str)
        The node: an openGauss data directory. Default: `$PGDATA`.

    env_file (str)
        The file that sets GAUSSHOME, PATH, LD_LIBRARY_PATH and PGHOST, read in a clean shell.
        Default: `$MPPDB_ENV_SEPARATE_PATH`, else the OS user's `~/.bashrc`.

    gauss_home (str)
        The folder openGauss is installed in; overrides the GAUSSHOME of the environment.

    os_user (str)
        Run by root, act as this user; run by anyone else, it must be that user. Default: owner of
        `data_dir`.

    timeout (int, default 600)
        Seconds the whole call may take; 0 is no limit.

    lock_timeout (int, default 10)
        Seconds to wait for another writer.

    if_building (fail|wait, default "fail")
        What to do while a build of the node is under way: fail at once (`busy`), or wait for its end
        within `timeout`.

    """
    return _run("og_checkpoint", arguments)


def file(**arguments):
    r"""
    A file on this node, received piece by piece.

    CLI Examples:

    .. code-block:: bash

        # What is there?
        salt '*' og.file path=/gauss/openGauss-6.0.2.tar.bz2 state=query
        # Receive a file of one piece
        salt '*' og.file path=/home/omm/cluster_config.xml os_user=omm sha256=98ea6e4f216f2fb4b69fff9b3a44842c38686ca685f3f55dc48c5d3fb1107be4 size=3 offset=0 content=aGkK
        # Remove it, and what is left of a transfer to it
        salt '*' og.file path=/home/omm/cluster_config.xml state=absent

    state (present|absent|query, default "present")
        What shall be.
        `present`: The file is there with this content and mode.
        `absent`: There is no such file, and nothing is left of a transfer to it.
        `query`: Tell what is there.

    path (str)
        Absolute path of the file. No folder on the way to it may be a symbolic link, belong to
        another user than the one who runs this and root, or be open for others to write into;
        missing ones are made. `state: query` reads any file.

    sha256 (str)
        SHA-256 of the whole content, in 64 hexadecimal digits.
        Needed when `state` is `present`. Not allowed otherwise.

    size (int)
        Bytes of the whole content.
        Needed when `state` is `present`. Not allowed otherwise.

    mode (str, default "0600")
        Mode of the file in octal, such as `0644`.
        Only when `state` is `present`.

    offset (int)
        Where in the content the piece in `content` begins. A piece that does not begin where the
        last one ended is not taken; `offset` of the result says where to go on.
        Only when `state` is `present`.

    content (str)
        A piece of the content in Base64, of at most 16 MiB before that.
        Only when `state` is `present`.

    data_dir (str)
        The node: an openGauss data directory. Default: `$PGDATA`.

    env_file (str)
        The file that sets GAUSSHOME, PATH, LD_LIBRARY_PATH and PGHOST, read in a clean shell.
        Default: `$MPPDB_ENV_SEPARATE_PATH`, else the OS user's `~/.bashrc`.

    gauss_home (str)
        The folder openGauss is installed in; overrides the GAUSSHOME of the environment.

    os_user (str)
        Run by root, act as this user; run by anyone else, it must be that user. Default: owner of
        `data_dir`.

    timeout (int, default 600)
        Seconds the whole call may take; 0 is no limit.

    lock_timeout (int, default 10)
        Seconds to wait for another writer.

    if_building (fail|wait, default "fail")
        What to do while a build of the node is under way: fail at once (`busy`), or wait for its end
        within `timeout`.

    """
    return _run("og_file", arguments)


def guc(**arguments):
    r"""
    Parameters in postgresql.conf.

    CLI Examples:

    .. code-block:: bash

        # Set two parameters, and have a running server take them
        salt '*' og.guc data_dir=/gauss/data/dn1 parameters='{"wal_keep_segments":64,"most_available_sync":true}'
        # Take a dropped standby off the synchronous ones
        salt '*' og.guc data_dir=/gauss/data/dn1 synchronous_standbys='{"remove":["dn_6003"]}'
        # Let any majority of these standbys confirm each commit
        salt '*' og.guc data_dir=/gauss/data/dn1 synchronous_standbys='{"method":"any","num":"majority","add":["dn_6002","dn_6003"]}'
        # Wait for no standby any more
        salt '*' og.guc data_dir=/gauss/data/dn1 parameters='{"synchronous_standby_names":""}'
        # Go back to the default
        salt '*' og.guc data_dir=/gauss/data/dn1 state=absent names='["max_size_for_xlog_prune"]'
        # Bring back a copy of the file that the server refuses
        salt '*' og.guc data_dir=/gauss/data/dn1 state=restored backup_file=/gauss/data/dn1/postgresql.conf.copy
        # Look at two parameters, and whether the running server works with these values
        salt '*' og.guc data_dir=/gauss/data/dn1 state=query names='["port","max_connections"]'

    state (present|absent|restored|query, default "present")
        `present`: the parameters have these values. `absent`: they are not set, so that their
        defaults count. `restored`: the file is as `backup_file`, a copy of it; the server must not
        run. `query`: nothing changes; their values are returned.

    parameters (dict, default {})
        Names and values. Values are plain text, number or bool; quotes are put where the file needs
        them. With `absent` and `query` the values are not looked at.
        Only when `state` is `present`, `absent` or `query`.

    names (list of str, default [])
        Names only, for `absent` and `query`. A `query` without names returns all that are set; `*`
        among the names of one adds these to the others.
        Only when `state` is `absent` or `query`.

    synchronous_standbys (dict)
        An edit of `synchronous_standby_names` as a list of names, whatever form it has.
        Only when `state` is `present`.
        Fields: method, num, add, remove.

    reload (auto|never, default "auto")
        Whether a running server is told to read the file when it changed.
        `auto`: When the file changed and the server runs.
        `never`: Not at all.

    backup (bool, default false)
        Keep the old file beside the new one when it changes.

    backup_file (str)
        With `restored`: the absolute path of the copy on the node, such as the `backup_file` of an
        earlier result.
        Needed when `state` is `restored`. Not allowed otherwise.

    force (bool, default false)
        Do it even if commits of this primary then wait for standbys that do not stream, this standby
        then has less of a limit such as `max_connections` than its primary, a stopped server would
        not start with it, the copy is another node's or changes for what commits wait, the server
        would start without it, or a switchover is under way.
        Only when `state` is `present`, `absent` or `restored`.

    foreseen_standbys (list of str, default [])
        Application names of standbys that will stream by then; counts in check mode alone, where the
        steps before this one built none.
        Only when `state` is `present` or `absent`.

    data_dir (str)
        The node: an openGauss data directory. Default: `$PGDATA`.

    env_file (str)
        The file that sets GAUSSHOME, PATH, LD_LIBRARY_PATH and PGHOST, read in a clean shell.
        Default: `$MPPDB_ENV_SEPARATE_PATH`, else the OS user's `~/.bashrc`.

    gauss_home (str)
        The folder openGauss is installed in; overrides the GAUSSHOME of the environment.

    os_user (str)
        Run by root, act as this user; run by anyone else, it must be that user. Default: owner of
        `data_dir`.

    timeout (int, default 60)
        Seconds the whole call may take; 0 is no limit.

    lock_timeout (int, default 10)
        Seconds to wait for another writer.

    if_building (fail|wait, default "fail")
        What to do while a build of the node is under way: fail at once (`busy`), or wait for its end
        within `timeout`.

    """
    return _run("og_guc", arguments)


def hba(**arguments):
    r"""
    Client authentication rules in pg_hba.conf.

    CLI Examples:

    .. code-block:: bash

        # Let a new standby in, on every member
        salt '*' og.hba data_dir=/data/dn1 rules='[{"users":"omm","address":"192.168.0.12","method":"trust"},"host all all 192.168.0.12/32 sha256"]'
        # Take away all rules for one address, and only that address
        salt '*' og.hba data_dir=/data/dn1 state=absent rules='[{"address":"192.168.0.12/32"}]'
        # Which line decides this connection?
        salt '*' og.hba data_dir=/data/dn1 state=query match='{"user":"app","database":"shop","address":"10.1.2.3"}'
        # These rules and no others; comments stay; say what would change
        salt '*' og.hba data_dir=/data/dn1 state=exact rules='["local all all trust","host all all 127.0.0.1/32 trust","host all all 10.0.0.0/8 sha256"]' test=True diff=True
        # A rule at a place of its own
        salt '*' og.hba data_dir=/data/dn1 rules='["host all evil 10.0.0.0/8 reject"]' insert='{"before":{"address":"10.0.0.0/8"}}' backup=True

    state (present|absent|exact|query, default "present")
        present: the rules are in the file; absent: no rule of the file agrees with them; exact: the
        rules of the file are these, in this order; query: change nothing and return the rules of the
        file.

    rules (list of raw)
        The rules. Each is a line as it stands in the file, or an object. As one text: a line, or
        several lines.
        Needed when `state` is `present`, `absent` or `exact`. Not allowed otherwise.
        Fields: type, databases, users, address, netmask, method, options, comment.

    path (str)
        This `pg_hba.conf` instead of the one in `data_dir`. The server is reloaded only when
        `data_dir` is given, too.

    insert (raw, default "auto")
        Where a new rule goes. auto: at the end, or right before the first rule that would hide it;
        first: before all other rules; last: at the end; or before or after the rule given.
        Only when `state` is `present`.
        Fields: before, after.

    create (bool, default false)
        With `present`: make the file when there is none. With `exact` a missing file is always made.
        Only when `state` is `present` or `exact`.

    backup (bool, default false)
        Keep the old file beside the new one.

    reload (auto|never, default "auto")
        auto: reload the server when the file changed and the server runs; never: leave that to the
        caller.

    force (bool, default false)
        Do it even if `os_user` can then no longer connect through the local socket, strangers get in
        without a password, or a switchover is under way.

    match (dict)
        With `query`: a connection; `matched` is then the line that decides it.
        Only when `state` is `query`.
        Fields: type, database, user, address, replication.

    data_dir (str)
        The node: an openGauss data directory. Default: `$PGDATA`.

    env_file (str)
        The file that sets GAUSSHOME, PATH, LD_LIBRARY_PATH and PGHOST, read in a clean shell.
        Default: `$MPPDB_ENV_SEPARATE_PATH`, else the OS user's `~/.bashrc`.

    gauss_home (str)
        The folder openGauss is installed in; overrides the GAUSSHOME of the environment.

    os_user (str)
        Run by root, act as this user; run by anyone else, it must be that user. Default: owner of
        `data_dir`.

    timeout (int, default 60)
        Seconds the whole call may take; 0 is no limit.

    lock_timeout (int, default 10)
        Seconds to wait for another writer.

    if_building (fail|wait, default "fail")
        What to do while a build of the node is under way: fail at once (`busy`), or wait for its end
        within `timeout`.

    """
    return _run("og_hba", arguments)


def host(**arguments):
    r"""
    What a node's operating system must have.

    CLI Examples:

    .. code-block:: bash

        # Make the user and the directory of a node, and set what og_preflight advises
        salt '*' og.host user=omm group=dbgrp directories='[{"path":"/gauss/data"}]' recommended=True base_ports='[26000]'
        # Set limits and settings of the kernel
        salt '*' og.host user=omm limits='{"nofile":1000000,"nproc":"unlimited"}' sysctl='{"kernel.sem":"250 6400000 1000 25600"}'
        # Have a node start with the machine
        salt '*' og.host user=omm unit='{"data_dir":"/gauss/data/dn1","env_file":"/home/omm/env"}'
        # What did og_host make on this machine?
        salt '*' og.host state=query
        # Take it away, the user included
        salt '*' og.host state=absent confirm=omm

    state (present|absent|query, default "present")
        `present`: the machine has what the other arguments say; what they do not name stays.
        `absent`: what og_host made on this machine goes, by its record. `query`: nothing changes;
        what it made is returned.

    user (str)
        The user that servers run as; made with useradd where it is missing. A user that exists is
        not changed: what differs from the arguments is a warning.
        Only when `state` is `present`.

    uid (int)
        The number (uid) of a user that is made. Default: the next free one.
        Only when `state` is `present`.

    group (str)
        The user's main group; made with groupadd where it is missing. Default: a group of the user's
        name.
        Only when `state` is `present`.

    gid (int)
        The number (gid) of a group that is made. Default: the next free one.
        Only when `state` is `present`.

    home (str)
        The home directory of a user that is made. Default: one of the user's name where useradd(8)
        makes them.
        Only when `state` is `present`.

    shell (str, default "/bin/bash")
        The login shell of a user that is made.
        Only when `state` is `present`.

    directories (list of dict, default [])
        Directories that must exist; missing ones on the way to them are made, too. A directory that
        exists is not changed: what differs is a warning.
        Only when `state` is `present`.
        Fields: path, owner, group, mode.

    recommended (bool, default false)
        Also set what og_preflight advises: the limits of `user`, the settings of the kernel that are
        too low for a server, and RemoveIPC=no. Nothing is lowered, what other files set high enough
        is left to them, and `limits`, `sysctl` and `remove_ipc` take precedence.
        Only when `state` is `present`.

    base_ports (list of int, default [])
        With `recommended`: the base port of each node on this machine. Where outgoing connections
        could take it, or one of the five after it, they are added to
        `net.ipv4.ip_local_reserved_ports`.
        Only when `state` is `present`.

    limits (dict, default {})
        Limits of `user` by their names in limits.conf(5), such as `{"nofile": 1000000, "nproc":
        "unlimited"}`: the soft and the hard limit; of `stack` the soft one alone. They take effect
        at the user's next login. A limit with which nobody could log in is refused.
        Only when `state` is `present`.

    sysctl (dict, default {})
        Settings of the kernel by their names in sysctl(8), such as `{"kernel.sem": "250 6400000 1000
        25600"}`; they take effect at once and after a restart. Where they cannot be written, as in a
        container, they are refused before anything is changed.
        Only when `state` is `present`.

    remove_ipc (bool)
        Whether systemd removes the shared memory and semaphores of a user whose last session ends
        (RemoveIPC in logind.conf(5)); `false` keeps those of a running server.
        Only when `state` is `present`.

    unit (dict)
        A unit of systemd that starts a node with the machine, in its last role, as `user`. One that
        was primary waits until the other end of each of its channels answers and none is primary. A
        server that goes down later stays down. Other units that og_host wrote, of other nodes on
        this machine, stay.
        Only when `state` is `present`.
        Fields: data_dir, env_file, gauss_home, program.

    confirm (str)
        With `absent`: the name of the user that og_host made and that is to go; without it the user
        stays.
        Only when `state` is `absent`.

    ended (list of int, default [])
        With `absent`: process ids of servers that will have been stopped by then; has an effect in
        check mode alone, where the steps before this one changed nothing.
        Only when `state` is `absent`.

    gone (list of str, default [])
        With `absent`: paths that will be gone by then, such as program files in a directory that
        goes when it is empty; has an effect in check mode alone.
        Only when `state` is `absent`.

    data_dir (str)
        Has no effect here: the program is about the machine, not about a node. Callers may give it
        to all programs.

    env_file (str)
        Has no effect here: the program is about the machine, not about a node. Callers may give it
        to all programs.

    gauss_home (str)
        Has no effect here: the program is about the machine, not about a node. Callers may give it
        to all programs.

    os_user (str)
        Has no effect here: the program is about the machine, not about a node. Callers may give it
        to all programs.

    timeout (int, default 300)
        Seconds the whole call may take; 0 is no limit.

    lock_timeout (int, default 10)
        Seconds to wait for another writer.

    if_building (fail|wait, default "fail")
        Has no effect here: the program is about the machine, not about a node. Callers may give it
        to all programs.
        `fail`: Fails at once.
        `wait`: Waits for the end of the build within `timeout`; in check mode it fails.

    """
    return _run("og_host", arguments)


def initdb(**arguments):
    r"""
    The data directory of this node.

    CLI Examples:

    .. code-block:: bash

        # Make the data directory of a node, with the password of the initial user from a file
        salt '*' og.initdb data_dir=/gauss/data/dn1 os_user=omm node_name=dn_6001 password_file=/home/omm/.og_password
        # What is there, and what speaks against its removal?
        salt '*' og.initdb data_dir=/gauss/data/dn1 state=query
        # Move the data directory of a dropped node aside
        salt '*' og.initdb data_dir=/gauss/data/dn1 state=absent
        # Delete it
        salt '*' og.initdb data_dir=/gauss/data/dn1 state=absent mode=deleted confirm=dn_6002

    state (present|absent|query, default "present")
        The wanted state.
        `present`: The data directory holds a database; one that holds none is made by gs_initdb.
        `absent`: There is no data directory; one that is there goes as `mode` says.
        `query`: Return what is there, and what stands in the way of its removal.

    node_name (str)
        `pgxc_node_name` of a new database, at most 22 characters. All nodes of a cluster have the
        same: directories of tablespaces are named after it.
        Needed when `state` is `present`. Not allowed otherwise.

    locale (str, default "C")
        Locale of a new database.
        Only when `state` is `present`.

    encoding (str, default "UTF8")
        Encoding of a new database.
        Only when `state` is `present`.

    compatibility (A|B|C|PG, default "A")
        With which SQL a new database is compatible: that of Oracle (`A`), MySQL (`B`), Teradata
        (`C`) or PostgreSQL (`PG`).
        Only when `state` is `present`.

    password (str)
        Password of the initial user. It reaches gs_initdb on its standard input. Without it and
        `password_file` the initial user has none, and the server refuses every statement of that
        user until `ALTER ROLE` has set one.
        Only when `state` is `present`.
        Not together with `password_file`.

    password_file (str)
        Absolute path, on this node, of a file whose first line is that password. With `state: query`
        it is only looked at.
        Only when `state` is `present` or `query`.
        Not together with `password`.

    mode (moved|deleted, default "moved")
        What happens to a data directory that is removed.
        `moved`: It is renamed, to its own name with `.moved-` and the time behind it, and keeps all
        that it holds.
        `deleted`: It is deleted; `confirm` must name the node.
        Only when `state` is `absent`.

    confirm (str)
        The name of the node whose data directory is to be deleted, as `directory.name` of the result
        has it.
        Only when `state` is `absent`.

    peers (list of dict)
        Facts of other nodes of the cluster, as og_preflight returned them under `facts`: while one
        of them has a replication channel to this node, its data directory does not go.
        Only when `state` is `absent` or `query`.

    data_dir (str)
        The node: an openGauss data directory. Default: `$PGDATA`.

    env_file (str)
        The file that sets GAUSSHOME, PATH, LD_LIBRARY_PATH and PGHOST, read in a clean shell.
        Default: `$MPPDB_ENV_SEPARATE_PATH`, else the OS user's `~/.bashrc`.

    gauss_home (str)
        The folder openGauss is installed in; overrides the GAUSSHOME of the environment.

    os_user (str)
        Run by root, act as this user; run by anyone else, it must be that user. Default: owner of
        `data_dir`.

    timeout (int, default 1800)
        Seconds the whole call may take; 0 is no limit.

    lock_timeout (int, default 10)
        Seconds to wait for another writer.

    if_building (fail|wait, default "fail")
        What to do while a build of the node is under way: fail at once (`busy`), or wait for its end
        within `timeout`.

    """
    return _run("og_initdb", arguments)


def lock(**arguments):
    r"""
    One workflow at a time on a cluster.

    CLI Examples:

    .. code-block:: bash

        # Take the lock before a change of the cluster
        salt '*' og.lock data_dir=/data/dn1 owner=dba@control purpose='add node 3'
        # Give it back
        salt '*' og.lock data_dir=/data/dn1 state=released owner=dba@control
        # Who holds it?
        salt '*' og.lock data_dir=/data/dn1 state=query

    state (held|released|query, default "held")
        The wanted state.
        `held`: `owner` holds the lock; held already by the same owner, it is renewed.
        `released`: `owner` does not hold the lock.
        `query`: Return who holds it.

    owner (str)
        Who takes or releases the lock, such as `dba@control`.
        Needed when `state` is `held` or `released`.

    purpose (str, default "")
        What for; others are told, and whoever takes the lock next gets it in `previous`.

    ttl (int, default 900)
        Seconds after which the lock ends by itself unless it is taken again.

    force (bool, default false)
        Take the lock from whoever holds it, or release it for whoever holds it.

    data_dir (str)
        The node: an openGauss data directory. Default: `$PGDATA`.

    env_file (str)
        The file that sets GAUSSHOME, PATH, LD_LIBRARY_PATH and PGHOST, read in a clean shell.
        Default: `$MPPDB_ENV_SEPARATE_PATH`, else the OS user's `~/.bashrc`.

    gauss_home (str)
        The folder openGauss is installed in; overrides the GAUSSHOME of the environment.

    os_user (str)
        Run by root, act as this user; run by anyone else, it must be that user. Default: owner of
        `data_dir`.

    timeout (int, default 60)
        Seconds the whole call may take; 0 is no limit.

    lock_timeout (int, default 10)
        Seconds to wait for another writer.

    if_building (fail|wait, default "fail")
        What to do while a build of the node is under way: fail at once (`busy`), or wait for its end
        within `timeout`.

    """
    return _run("og_lock", arguments)


def node_state(**arguments):
    r"""
    Show the state of a node's openGauss server; start, stop, reload or promote it.

    CLI Examples:

    .. code-block:: bash

        # Tell what the node is
        salt '*' og.node_state data_dir=/gauss/data/dn1
        # Start it as standby and wait until it streams
        salt '*' og.node_state data_dir=/gauss/data/dn1 state=started role=standby wait='{"db_state":"normal"}'
        # Wait on the primary until two receivers have caught up
        salt '*' og.node_state data_dir=/gauss/data/dn1 wait='{"role":"primary","peer_count":2,"max_lag_bytes":1048576}' timeout=60
        # Make this standby the primary
        salt '*' og.node_state data_dir=/gauss/data/dn1 state=primary
        # Make this standby the primary when the old one is lost
        salt '*' og.node_state data_dir=/gauss/data/dn1 state=primary transition=failover

    state (query|started|stopped|restarted|reloaded|primary|standby|fork_recorded, default "query")
        The wanted state of the server.
        `query`: Return the state; change nothing.
        `started`: Runs and accepts connections.
        `stopped`: Does not run.
        `restarted`: Has been stopped and started by this call.
        `reloaded`: Has read its configuration files again.
        `primary`: Runs as primary: a standby takes over.
        `standby`: Runs as standby (or, with `role`, as cascade standby).
        `fork_recorded`: Has the failover `fork` on record, in its data directory.

    role (primary|standby|cascade_standby|normal|pending)
        Role to start the server in. Default: the one it runs in, or ran in last. With `state:
        standby` it may be `cascade_standby`.
        `primary`: Primary.
        `standby`: Standby.
        `cascade_standby`: Cascade standby.
        `normal`: Single node.
        `pending`: Waits to be given a role.
        Only when `state` is `started`, `restarted` or `standby`.

    transition (switchover|failover, default "switchover")
        How `state: primary` makes a standby primary.
        `switchover`: The primary hands over and becomes standby; nothing is lost.
        `failover`: The primary is gone; what it had not sent is lost.
        Only when `state` is `primary`.

    force (bool, default false)
        Do it although another primary is alive or cannot be excluded, another node holds more of the
        log, no primary would be left, this standby lags or needs repair, or a primary that openGauss
        CM runs is to be restarted.

    unattended (bool, default false)
        The call is made by no person, as when the machine starts or shuts down. With `state:
        started` a server that would take writes is started only when the other end of each of its
        channels answers, and none is primary or a single server, for ten seconds; the call waits for
        that, as long as `timeout` lets it, or until somebody calls with `state: stopped`. It looks
        for another primary for a minute after the start, and stops the server when there is one. A
        server that followed and has no channel any more is not started. Where CM runs the node a
        start is refused, and with `state: stopped` nothing is done.
        Only when `state` is `started` or `stopped`.

    stop_mode (fast|immediate, default "fast")
        How the server is stopped.
        `fast`: Sessions are ended, everything is written.
        `immediate`: Everything is dropped; the next start recovers.

    wait (dict)
        Conditions to wait for when all else is done; `timeout` limits it. In check mode nothing is
        waited for.
        Fields: role, db_state, peer_count, peers, sync_peers, max_lag_bytes.

    diagnose (bool, default false)
        With `state: query`: tell also why a server that is not well is not. That reads what it has
        of the log.
        Only when `state` is `query`.

    cm_view (bool, default false)
        With `state: query`: tell also what openGauss CM says of the cluster, by `cm_ctl query`; null
        where CM does not run the node.
        Only when `state` is `query`.

    log_end (bool, default false)
        With `state: query`, also tell how far the log goes that the node holds, whether its server
        runs or not; it is read from its last checkpoint on.
        Only when `state` is `query`.

    log_records (list of str, default [])
        With `state: query`: tell the records of the log that begin at these places, to compare two
        logs with each other.
        Only when `state` is `query`.

    log_lines (int, default 0)
        With `state: query`: tell the newest lines of the server's log, at most so many; secrets are
        masked, and what quotes SQL or rows is left out.
        Only when `state` is `query`.

    fork (dict)
        With `state: fork_recorded`: the failover or switchover, for the repair of an old primary.
        Needed when `state` is `fork_recorded`. Not allowed otherwise.
        Fields: new_primary, old_primaries, record, term, at.

    interval_ms (int, default 200)
        Poll interval in milliseconds.

    data_dir (str)
        The node: an openGauss data directory. Default: `$PGDATA`.

    env_file (str)
        The file that sets GAUSSHOME, PATH, LD_LIBRARY_PATH and PGHOST, read in a clean shell.
        Default: `$MPPDB_ENV_SEPARATE_PATH`, else the OS user's `~/.bashrc`.

    gauss_home (str)
        The folder openGauss is installed in; overrides the GAUSSHOME of the environment.

    os_user (str)
        Run by root, act as this user; run by anyone else, it must be that user. Default: owner of
        `data_dir`.

    timeout (int, default 300)
        Seconds the whole call may take; 0 is no limit.

    lock_timeout (int, default 10)
        Seconds to wait for another writer.

    if_building (fail|wait, default "fail")
        What to do while a build of the node is under way: fail at once (`busy`), or wait for its end
        within `timeout`.

    """
    return _run("og_node_state", arguments)


def package(**arguments):
    r"""
    openGauss's program files on this node.

    CLI Examples:

    .. code-block:: bash

        # Unpack a package, and let the link lead to it
        salt '*' og.package link=/gauss/app/current os_user=omm package=/home/omm/openGauss-Server-6.0.2-openEuler20.03-x86_64.tar.bz2
        # What is unpacked there, and which libraries are missing?
        salt '*' og.package link=/gauss/app/current os_user=omm state=query
        # Take away the program files that the link leads to
        salt '*' og.package link=/gauss/app/current os_user=omm state=absent

    state (present|absent|query, default "present")
        What shall be.
        `present`: The program files of the package are unpacked, and the link leads to them. Run by
        root, it needs `os_user`, unless the link's folder is another user's: it runs programs of the
        package.
        `absent`: The program files are gone, as far as the record in their folder names them; so is
        the link, if it led there. They stay where another link beside it leads to them, too. What
        killed runs left beside the link goes as well.
        `query`: Tell what is unpacked, and where the link leads.

    link (str)
        Absolute path of the symbolic link to the program files, to be used as `gauss_home`. They are
        unpacked beside it, each version in a folder of its own.

    package (str)
        Absolute path, on this node, of openGauss's package: the server's own (`.tar.bz2` or
        `.tar.gz`), or the one of a whole release, which has the server's in it. Not needed for what
        is unpacked already.
        Only when `state` is `present`.
        Not together with `size`.

    sha256 (str)
        SHA-256 of the package, in 64 hexadecimal digits, by which what is unpacked is known again.
        Default: that of the file; with `state: absent`, the package that the link leads to.

    size (int)
        Bytes of the package, where its file is still to come; stands for `package` in check mode,
        with `sha256`.
        Only when `state` is `present`.
        Not together with `package`.

    force (bool, default false)
        Let the link lead to this package although it leads elsewhere now. Running servers keep the
        program files that they were started from; files such as cluster_static_config are not
        carried over.
        Only when `state` is `present`.

    ended (list of int, default [])
        With `absent`: process ids of servers that will have been stopped by then; has an effect in
        check mode alone, where the steps before this one changed nothing.
        Only when `state` is `absent`.

    data_dir (str)
        The node: an openGauss data directory. Default: `$PGDATA`.

    env_file (str)
        The file that sets GAUSSHOME, PATH, LD_LIBRARY_PATH and PGHOST, read in a clean shell.
        Default: `$MPPDB_ENV_SEPARATE_PATH`, else the OS user's `~/.bashrc`.

    gauss_home (str)
        The folder openGauss is installed in; overrides the GAUSSHOME of the environment.

    os_user (str)
        Run by root, act as this user; run by anyone else, it must be that user. Default: owner of
        `data_dir`.

    timeout (int, default 1800)
        Seconds the whole call may take; 0 is no limit.

    lock_timeout (int, default 10)
        Seconds to wait for another writer.

    if_building (fail|wait, default "fail")
        What to do while a build of the node is under way: fail at once (`busy`), or wait for its end
        within `timeout`.

    """
    return _run("og_package", arguments)


def preflight(**arguments):
    r"""
    Check a node before a change, and report what would make it fail.

    CLI Examples:

    .. code-block:: bash

        # Check a node for anything that is wrong
        salt '*' og.preflight data_dir=/gauss/data/dn1
        # Check a standby that is to become primary; never fail, as the findings are judged elsewhere
        salt '*' og.preflight data_dir=/gauss/data/dn1 for=switchover wanted='{"target":true}' fail_on=never
        # Check a new node, which two others are to reach
        salt '*' og.preflight data_dir=/gauss/data/dn1 for=expand wanted='{"target":true,"port":26000,"name":"dn_6003","reach":[{"host":"10.0.0.11","port":26001}],"clients":["10.0.0.11"]}'

    state (query, default "query")
        The facts and findings are returned; nothing changes.
        `query`: Return the state; change nothing.

    for (expand|drop|build|switchover|failover|deploy|restart|any, default "any")
        The change that the node is checked for.
        `expand`: The cluster gets more nodes; `wanted.target` says whether this is one of them.
        `drop`: The cluster loses nodes; `wanted.target` says whether this is one of them.
        `build`: This node is rebuilt from its primary.
        `switchover`: A standby and the primary exchange their roles.
        `failover`: A standby becomes primary, as the old primary is lost.
        `deploy`: A data directory is to be made here.
        `restart`: The server is stopped and started.
        `any`: No change in particular.

    peers (list of dict, default [])
        Facts of other nodes of the cluster, as other calls of og_preflight returned them under
        `facts`.

    wanted (dict, default {"target":false,"bytes":null,"port":null,"ports":[],"name":null,"standbys":[],"builds":0,"senders":null,"slots":null,"synchronous_standby_names":null,"version":null,"clients":[],"reach":[],"hosts":[],"owner":null})
        What the change needs of this node.
        Fields: target, bytes, port, ports, name, standbys, builds, senders, slots,
        synchronous_standby_names, version, clients, reach, hosts, owner.

    sent_at (int)
        The caller's clock when the call was sent, in milliseconds since 1970. It comes back in
        `facts.clock`; with the time at which the answer came it bounds the difference of the clocks
        by the time that the call took.

    fail_on (error|unknown|warning|never, default "error")
        When the result says `failed`, and the exit status is 1.
        `error`: When there is a finding of severity error.
        `unknown`: When there is an error, or a check could not be made.
        `warning`: When there is an error, an unknown or a warning.
        `never`: Never: the caller judges the findings.

    data_dir (str)
        The node: an openGauss data directory. Default: `$PGDATA`.

    env_file (str)
        The file that sets GAUSSHOME, PATH, LD_LIBRARY_PATH and PGHOST, read in a clean shell.
        Default: `$MPPDB_ENV_SEPARATE_PATH`, else the OS user's `~/.bashrc`.

    gauss_home (str)
        The folder openGauss is installed in; overrides the GAUSSHOME of the environment.

    os_user (str)
        Run by root, act as this user; run by anyone else, it must be that user. Default: owner of
        `data_dir`.

    timeout (int, default 60)
        Seconds the whole call may take; 0 is no limit.

    lock_timeout (int, default 10)
        Seconds to wait for another writer.

    if_building (fail|wait, default "fail")
        What to do while a build of the node is under way: fail at once (`busy`), or wait for its end
        within `timeout`.

    """
    return _run("og_preflight", arguments)


def probe(**arguments):
    r"""
    Commits of a probe on this node, and the longest times without one.

    CLI Examples:

    .. code-block:: bash

        # What has the probe seen so far?
        salt '*' og.probe data_dir=/data/dn1
        # Begin to commit every 20 milliseconds, for a quarter of an hour at most
        salt '*' og.probe data_dir=/data/dn1 state=started limit=900
        # End the probe, drop its table, and tell the longest times without a commit
        salt '*' og.probe data_dir=/data/dn1 state=stopped

    state (query|started|stopped, default "query")
        The wanted state.
        `query`: Return what the probe has seen so far.
        `started`: A probe is at work on this node. It goes on after the call, commits whenever the
        server is a primary, and waits while it is a standby or down.
        `stopped`: No probe is at work; what it saw is returned, and its table is gone where the
        server is a primary.

    interval_ms (int, default 20)
        Milliseconds from the answer to a commit to the next commit.
        Only when `state` is `started`.

    limit (int, default 3600)
        Seconds after which the probe ends by itself.
        Only when `state` is `started`.

    data_dir (str)
        The node: an openGauss data directory. Default: `$PGDATA`.

    env_file (str)
        The file that sets GAUSSHOME, PATH, LD_LIBRARY_PATH and PGHOST, read in a clean shell.
        Default: `$MPPDB_ENV_SEPARATE_PATH`, else the OS user's `~/.bashrc`.

    gauss_home (str)
        The folder openGauss is installed in; overrides the GAUSSHOME of the environment.

    os_user (str)
        Run by root, act as this user; run by anyone else, it must be that user. Default: owner of
        `data_dir`.

    timeout (int, default 60)
        Seconds the whole call may take; 0 is no limit.

    lock_timeout (int, default 10)
        Seconds to wait for another writer.

    if_building (fail|wait, default "fail")
        What to do while a build of the node is under way: fail at once (`busy`), or wait for its end
        within `timeout`.

    """
    return _run("og_probe", arguments)


def replconninfo(**arguments):
    r"""
    This node's replication channels.

    CLI Examples:

    .. code-block:: bash

        # The channels of a node with two others, of which one is a cascade standby
        salt '*' og.replconninfo data_dir=/gauss/data/dn1 local='{"host":"10.0.0.1","base_port":26000}' peers='[{"host":"10.0.0.2","base_port":26000},{"host":"10.0.0.3","base_port":26000,"cascade":true}]'
        # One more standby
        salt '*' og.replconninfo data_dir=/gauss/data/dn1 state=present local='{"host":"10.0.0.1","base_port":26000}' peers='[{"host":"10.0.0.4","base_port":26000}]'
        # One standby less, whatever its ports
        salt '*' og.replconninfo data_dir=/gauss/data/dn1 state=absent peers='[{"host":"10.0.0.4"}]'
        # Look at the channels
        salt '*' og.replconninfo data_dir=/gauss/data/dn1 state=query

    state (exact|present|absent|query, default "exact")
        `exact`: the channels are those to `peers`, numbered from 1 in this order, and no others.
        `present`: there is a channel to each of `peers`; one that is there keeps its number, a new
        one takes the first free one. `absent`: there is none to any of `peers`; later ones move up,
        but on openGauss 6.0 and later, where only the connections of changed channels end, they keep
        their numbers, and the last one fills number 1. `query`: nothing changes; the channels are
        returned.

    local (dict)
        This node's end of every channel. With `query` only its host is looked at: whether this
        machine has that address.
        Needed when `state` is `present`.
        Fields: host, base_port, port, heartbeat_port, service_port.

    peers (list of dict)
        The other nodes. With `absent` a host alone means whatever port it has.
        Needed when `state` is `exact`, `present` or `absent`. Not allowed otherwise.
        Fields: host, base_port, port, heartbeat_port, service_port, cascade, cross_region.

    reload (auto|never, default "auto")
        Whether a running server is told to read the file when it changed.
        `auto`: When the file changed and the server runs.
        `never`: Not at all.

    backup (bool, default false)
        Keep the old file beside the new one when it changes.

    force (bool, default false)
        Do it even if the last channel of a running primary goes while standbys receive from it, a
        new channel lacks the keys of uwal where `enable_uwal` is on, or a switchover is under way.
        Only when `state` is `exact`, `present` or `absent`.

    foreseen (dict, default {})
        Values that parameters of postgresql.conf will have by then; counts in check mode alone,
        where the steps before this one changed nothing.
        Only when `state` is `exact`, `present` or `absent`.

    data_dir (str)
        The node: an openGauss data directory. Default: `$PGDATA`.

    env_file (str)
        The file that sets GAUSSHOME, PATH, LD_LIBRARY_PATH and PGHOST, read in a clean shell.
        Default: `$MPPDB_ENV_SEPARATE_PATH`, else the OS user's `~/.bashrc`.

    gauss_home (str)
        The folder openGauss is installed in; overrides the GAUSSHOME of the environment.

    os_user (str)
        Run by root, act as this user; run by anyone else, it must be that user. Default: owner of
        `data_dir`.

    timeout (int, default 60)
        Seconds the whole call may take; 0 is no limit.

    lock_timeout (int, default 10)
        Seconds to wait for another writer.

    if_building (fail|wait, default "fail")
        What to do while a build of the node is under way: fail at once (`busy`), or wait for its end
        within `timeout`.

    """
    return _run("og_replconninfo", arguments)


def session(**arguments):
    r"""
    Long transactions of clients on this node.

    CLI Examples:

    .. code-block:: bash

        # Which transactions have run for longer than a minute?
        salt '*' og.session data_dir=/data/dn1 min_age=60
        # Wait up to five minutes until no transaction older than 15 seconds is left
        salt '*' og.session data_dir=/data/dn1 state=absent timeout=300
        # End the sessions whose transactions are older than an hour
        salt '*' og.session data_dir=/data/dn1 state=absent min_age=3600 method=terminate

    state (query|absent, default "query")
        The wanted state.
        `query`: Return the long transactions.
        `absent`: No client has a transaction of `min_age` or older.

    min_age (int, default 15)
        Age in seconds from which on a transaction is long; 0 is every transaction.

    method (wait|terminate, default "wait")
        How to bring the long transactions to an end.
        `wait`: Wait for them, up to `timeout`.
        `terminate`: End their sessions, which rolls the transactions back, and wait until the
        sessions are gone.
        Only when `state` is `absent`.

    data_dir (str)
        The node: an openGauss data directory. Default: `$PGDATA`.

    env_file (str)
        The file that sets GAUSSHOME, PATH, LD_LIBRARY_PATH and PGHOST, read in a clean shell.
        Default: `$MPPDB_ENV_SEPARATE_PATH`, else the OS user's `~/.bashrc`.

    gauss_home (str)
        The folder openGauss is installed in; overrides the GAUSSHOME of the environment.

    os_user (str)
        Run by root, act as this user; run by anyone else, it must be that user. Default: owner of
        `data_dir`.

    timeout (int, default 120)
        Seconds the whole call may take; 0 is no limit.

    lock_timeout (int, default 10)
        Seconds to wait for another writer.

    if_building (fail|wait, default "fail")
        What to do while a build of the node is under way: fail at once (`busy`), or wait for its end
        within `timeout`.

    """
    return _run("og_session", arguments)


def slot(**arguments):
    r"""
    Replication slots of this node.

    CLI Examples:

    .. code-block:: bash

        # Which slots are there, and how much log does each hold back?
        salt '*' og.slot data_dir=/data/dn1
        # Drop the slot of a standby that is gone
        salt '*' og.slot data_dir=/data/dn1 state=absent names='["dn_6003"]'
        # Make one before the standby comes, so that no log it needs is removed
        salt '*' og.slot data_dir=/data/dn1 state=present names='["dn_6004"]'

    state (present|absent|query, default "query")
        The wanted state.
        `present`: The slots are there.
        `absent`: The slots are not there.
        `query`: Return the slots.

    names (list of str, default [])
        The slots; openGauss names a standby's slot as its application_name, such as `dn_6002`. With
        `query`, only these are told.
        Needed when `state` is `present` or `absent`.

    type (physical, default "physical")
        What kind of slot to make.
        `physical`: For a standby.
        Only when `state` is `present`.

    if_active (fail|wait|skip, default "fail")
        What to do with a slot that is to be dropped while a standby streams through it.
        `fail`: Fail, and drop none.
        `wait`: Wait until the standby leaves it, up to `timeout`.
        `skip`: Leave it; `skipped` names it.
        Only when `state` is `absent`.

    data_dir (str)
        The node: an openGauss data directory. Default: `$PGDATA`.

    env_file (str)
        The file that sets GAUSSHOME, PATH, LD_LIBRARY_PATH and PGHOST, read in a clean shell.
        Default: `$MPPDB_ENV_SEPARATE_PATH`, else the OS user's `~/.bashrc`.

    gauss_home (str)
        The folder openGauss is installed in; overrides the GAUSSHOME of the environment.

    os_user (str)
        Run by root, act as this user; run by anyone else, it must be that user. Default: owner of
        `data_dir`.

    timeout (int, default 120)
        Seconds the whole call may take; 0 is no limit.

    lock_timeout (int, default 10)
        Seconds to wait for another writer.

    if_building (fail|wait, default "fail")
        What to do while a build of the node is under way: fail at once (`busy`), or wait for its end
        within `timeout`.

    """
    return _run("og_slot", arguments)


def static_conf(**arguments):
    r"""
    The members of the cluster: cluster_static_config and cluster_config.xml.

    CLI Examples:

    .. code-block:: bash

        # Write the file of a primary and a standby, on node1
        salt '*' og.static_conf nodes='[{"name":"node1","address":"192.168.0.11","base_port":26000,"data_dir":"/gauss/data/db1","role":"primary"},{"name":"node2","address":"192.168.0.12"}]' local=node1
        # Write it from the XML file that the cluster was installed with
        salt '*' og.static_conf xml=/gauss/cluster_config.xml local=node1
        # Add a standby in another zone, and to the XML file as well
        salt '*' og.static_conf add='[{"name":"node3","address":"192.168.0.13","zone":"AZ2"}]' write_xml=/gauss/cluster_config.xml
        # Drop a node after a switchover, and record the live roles
        salt '*' og.static_conf primary=node2 drop='["node3"]' roles='{"node1":"standby","node2":"primary"}'
        # Who belongs to the cluster, and where does the XML file differ
        salt '*' og.static_conf state=query verify='{"xml":"/gauss/cluster_config.xml"}'
        # Remove the files of a node whose data directory is gone
        salt '*' og.static_conf state=absent local=node3
        # A copy of the file for every node
        salt '*' og.static_conf xml=/gauss/cluster_config.xml for_all=/gauss/om/script/static_config_files

    state (present|absent|query, default "present")
        present: the files describe the wanted cluster; absent: they are gone; query: return what
        they describe.

    xml (str)
        The cluster as this cluster_config.xml has it. Nodes known by name keep their ids.
        Only when `state` is `present`.
        Not together with `nodes`, `add`, `drop` or `primary`.

    nodes (list of dict)
        The cluster: these nodes and no others. Nodes known by name keep their ids.
        Only when `state` is `present`.
        Not together with `xml`, `add`, `drop` or `primary`.
        Fields: name, id, zone, zone_priority, address, ssh_address, base_port, data_dir, xlog_dir,
        role, instance_id, listen_address, ha_address, ha_port, data_nodes, cm_dir, cm_server,
        cm_agent_id, cm_agent_address.

    add (list of dict)
        Nodes that the existing file must have.
        Only when `state` is `present`.
        Not together with `xml` or `nodes`.
        Its fields are those of `nodes`.

    drop (list of str)
        Names or ids of nodes that the existing file must not have. The primary is never dropped.
        Only when `state` is `present`.
        Not together with `xml` or `nodes`.

    primary (str)
        Name or id of the node that is the primary in the existing file.
        Only when `state` is `present`.
        Not together with `xml` or `nodes`.

    local (str)
        Name or id of the node that this copy is for. Default: the one it is for already, else the
        node named as this machine. With state absent the copy for another node is refused.
        Only when `state` is `present` or `absent`.

    path (str)
        The file; with state query a cluster_config.xml, too. Default:
        $GAUSSHOME/bin/cluster_static_config.

    write_xml (str)
        Also bring this cluster_config.xml up to date, keeping its comments and layout; a new one is
        written when there is none.
        Only when `state` is `present`.

    cluster (dict)
        What a new cluster_config.xml says of the whole cluster.
        Only when `state` is `present`.
        Fields: name, app_path, log_path, tmp_path, tool_path, core_path.

    dynamic (keep|remove, default "keep")
        What happens to cluster_dynamic_config and cluster_dnrole_config beside the file.
        `keep`: They stay as they are.
        `remove`: They go: openGauss does without, and starts each server by its static role.
        Only when `state` is `present`.

    roles (dict)
        The live role of each node, by its name (or by dn_6001, dn_6002 … where a machine has
        several servers); written to cluster_dynamic_config and cluster_dnrole_config beside the
        file. Exactly one must be primary; a node left out is down.
        Only when `state` is `present`.
        Only when `dynamic` is `keep`.

    for_all (str)
        Also write a copy for each node into this folder, as cluster_static_config_NAME.
        Only when `state` is `present`.

    verify (dict)
        With state query: list what differs between the file and this.
        Only when `state` is `query`.
        Fields: xml, nodes, path.

    backup (bool, default false)
        Keep the old file beside the new one.
        Only when `state` is `present`.

    data_dir (str)
        The node: an openGauss data directory. Default: `$PGDATA`.

    env_file (str)
        The file that sets GAUSSHOME, PATH, LD_LIBRARY_PATH and PGHOST, read in a clean shell.
        Default: `$MPPDB_ENV_SEPARATE_PATH`, else the OS user's `~/.bashrc`.

    gauss_home (str)
        The folder openGauss is installed in; overrides the GAUSSHOME of the environment.

    os_user (str)
        Run by root, act as this user; run by anyone else, it must be that user. Default: owner of
        `data_dir`.

    timeout (int, default 60)
        Seconds the whole call may take; 0 is no limit.

    lock_timeout (int, default 10)
        Seconds to wait for another writer.

    if_building (fail|wait, default "fail")
        What to do while a build of the node is under way: fail at once (`busy`), or wait for its end
        within `timeout`.

    """
    return _run("og_static_conf", arguments)
