"""What all action plugins of the collection share.

A task costs one remote command: the program runs on the node with the arguments on its standard input and prints one
JSON object. The programs are carried to the node once, all in one archive, into a folder named by the hash of the set,
so that programs of another version are never run by mistake.
"""

from __future__ import annotations

import functools
import hashlib
import io
import json
import os
import platform
import re
import shlex
import struct
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Mapping, Sequence

from ansible import constants as C
from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible_collections.opengauss.node.plugins.plugin_utils.og_options import AS_ROOT

BIN_DIR = "~/.cache/opengauss-node"
MISSING = "og-program-missing"
# Before what concerns a program that root runs: the folder is in root's own home, whatever HOME says.
ROOT_HOME = '[ "$(id -u)" != 0 ] || HOME=~root; '
# All that a program sees which root runs: a task's `environment` may name what others can write.
ROOT_ENVIRONMENT = 'env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME="$HOME" '
# A host that says nothing for so long is unreachable.
KEEP_ALIVE = "-o ServerAliveInterval=3 -o ServerAliveCountMax=3"
PROGRAM = re.compile(r"og_[a-z_]+\Z")
# What runs on the controller alone; the nodes need not have it.
ON_CONTROLLER = ("og_workflow",)
MACHINES = {3: "i686", 62: "x86_64", 183: "aarch64", 243: "riscv64", 258: "loongarch64"}
# The shell's own exit statuses for "not found" and "cannot be run".
NOT_FOUND = 127
NOT_RUN = 126
# The programs' own exit status for arguments that cannot be used.
UNUSABLE = 2
# What the loader says of a program that was built on a newer glibc than the node's.
OLD_GLIBC = re.compile(r"version `GLIBC_([0-9.]+)' not found")
# What sudo says with `requiretty`; there is no terminal where standard input is used.
NO_TTY = re.compile(r"must have a tty|no tty present")

# Unpacks and verifies beside the place, in a folder that mktemp makes for its user alone, then moves: a program is there whole
# or not at all. The umask is for the folders it makes on the way.
INSTALL = """set -e
umask {umask}
d={root}
mkdir -p "$d"
t=$(mktemp -d "$d/.up.XXXXXX")
trap 'rm -rf "$t"' EXIT
tar -xzf - -C "$t"
cd "$t"
sha256sum -c SHA256SUMS >&2
chmod {mode} og_*
sync
mkdir -p {folder}
mv -f og_* {folder}/
cd /"""
# The name of a folder that holds one version, as a pattern of sh.
VERSION = "[0-9a-f]" * 16
# What killed copies left, and versions that nobody has used for a month.
CLEAN = """
find "$d" -mindepth 1 -maxdepth 1 \\( -name '.up.*' -mtime +1 -o -name '""" + VERSION + """' ! -name {digest} -mtime +30 \\) -exec rm -rf {{}} + || :"""

# Reads a program's name and its arguments, by turns, and ends each answer with a line of its own.
EACH = """while IFS= read -r m && IFS= read -r a; do printf '%s\\n' "$a" | {env}{folder}/"$m"; r=$?; echo; echo "og-ended $r"; done; :"""
ENDED = re.compile(r"^og-ended \d+$", re.MULTILINE)


def plain(value):
    """The value as plain types that any JSON writer takes, without Ansible's own string and container classes."""
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (bytes, bytearray)):
        return bytes(value).decode("utf-8", "replace")
    # Releases before 2.19 have a class of its own, which is no string, for a text of Vault's.
    if isinstance(value, str) or getattr(value, "__ENCRYPTED__", False):
        return "".join(str(value))
    if isinstance(value, (Sequence, set, frozenset)):
        return [plain(v) for v in value]
    return str(value)


def shell_path(path):
    """The path as a word of sh; a leading `~/` is the home of whoever runs it there."""
    if path == "~":
        return '"$HOME"'
    if path.startswith("~/"):
        return '"$HOME"/' + shlex.quote(path[2:])
    return shlex.quote(path)


def machine_of(path):
    """The machine an ELF program is for, such as `x86_64`; None for anything else, such as a script."""
    with open(path, "rb") as f:
        head = f.read(20)
    if len(head) < 20 or head[:4] != b"\x7fELF":
        return None
    (number,) = struct.unpack_from("<H" if head[5] == 1 else ">H", head, 18)
    return MACHINES.get(number, f"ELF machine {number}")


class Programs:
    """The programs of one folder on the controller: either for one machine, or a folder for each `uname -m`."""

    def __init__(self, root):
        self.root = root
        self.sets = {}
        # Those that are not for the nodes.
        self.own = {}
        for arch, folder in self._folders(root):
            found = {}
            for name in sorted(os.listdir(folder)):
                path = os.path.join(folder, name)
                if PROGRAM.match(name) and os.path.isfile(path) and os.access(path, os.X_OK):
                    found[name] = path
            self.own[arch] = {name: found.pop(name) for name in ON_CONTROLLER if name in found}
            if found:
                self.sets[arch] = found

    @staticmethod
    def _folders(root):
        if not os.path.isdir(root):
            return
        yield "", root
        for name in sorted(os.listdir(root)):
            if name in MACHINES.values() and os.path.isdir(os.path.join(root, name)):
                yield name, os.path.join(root, name)

    @functools.cached_property
    def digest(self):
        """16 hex digits that stand for the content of all programs for nodes.

        Hashing megabytes for every task would cost more than the task, so the result is kept for the run, beside
        the sizes and times of the files it holds for.
        """
        stamp = []
        for arch, found in sorted(self.sets.items()):
            for name, path in sorted(found.items()):
                st = os.stat(path)
                stamp.append([arch, name, path, st.st_size, st.st_mtime_ns, st.st_ino])
        key = hashlib.sha256(json.dumps(stamp).encode()).hexdigest()[:16]
        note = os.path.join(C.DEFAULT_LOCAL_TMP, f"og-programs-{key}")
        try:
            # As bytes: a task is a process of its own, and would load the codec each time.
            with open(note, "rb") as f:
                return f.read(16).decode()
        except OSError:
            pass
        whole = hashlib.sha256()
        for arch, found in sorted(self.sets.items()):
            for name, path in sorted(found.items()):
                with open(path, "rb") as f:
                    whole.update(f"{arch}/{name} {hashlib.sha256(f.read()).hexdigest()}\n".encode())
        digest = whole.hexdigest()[:16]
        self.keep(note, digest.encode())
        return digest

    @staticmethod
    def keep(path, content):
        """Writes the file whole; a run without a usable temporary folder only loses time."""
        try:
            fd, part = tempfile.mkstemp(dir=os.path.dirname(path))
            with os.fdopen(fd, "wb") as f:
                f.write(content)
            os.rename(part, path)
        except OSError:
            pass

    def names(self):
        """The names of all programs for nodes."""
        return sorted({name for found in self.sets.values() for name in found})

    def files(self, arch):
        """The programs for this machine: name to path."""
        found = self.sets.get(arch) or self.sets.get("")
        if not found:
            have = ", ".join(sorted(self.sets)) or "none"
            raise AnsibleActionFail(
                f"no og_* programs for {arch} in {self.root} (found for: {have}); build them for {arch}, "
                f"or point the variable og_binaries to the folder which holds them"
            )
        wrong = sorted({m for m in map(machine_of, found.values()) if m not in (None, arch)})
        if wrong:
            raise AnsibleActionFail(
                f"the programs in {self.root} are for {', '.join(wrong)}, the node is {arch}; "
                f"put programs for {arch} into {os.path.join(self.root, arch)}"
            )
        return found

    def contents(self, arch):
        """Name and content of each program for this machine."""
        for name, path in sorted(self.files(arch).items()):
            with open(path, "rb") as f:
                yield name, f.read()

    def archive(self, arch):
        """The programs for this machine as a tar.gz with their SHA256SUMS."""
        self.files(arch)
        kept = os.path.join(C.DEFAULT_LOCAL_TMP, f"og-programs-{self.digest}-{arch}.tar.gz")
        try:
            with open(kept, "rb") as f:
                return f.read()
        except OSError:
            pass
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w:gz", compresslevel=6) as tar:
            sums = ""
            for name, content in self.contents(arch):
                sums += f"{hashlib.sha256(content).hexdigest()}  {name}\n"
                self._add(tar, name, content, 0o700)
            self._add(tar, "SHA256SUMS", sums.encode(), 0o600)
        self.keep(kept, out.getvalue())
        return out.getvalue()

    def hashes(self, name):
        """The SHA-256 of the program for each machine."""
        out = []
        for found in self.sets.values():
            if name in found:
                with open(found[name], "rb") as f:
                    out.append(hashlib.sha256(f.read()).hexdigest())
        return out

    def has(self, name, digest):
        """Whether the program has this SHA-256 for any machine."""
        return digest in self.hashes(name)

    def here(self, name):
        """The program for the controller's own machine; None when it is not among them."""
        arch = platform.machine()
        found = [own[key][name] for key in (arch, "") for own in (self.sets, self.own) if name in own.get(key, {})]
        path = found[0] if found else None
        return path if path and platform.system() == "Linux" and machine_of(path) == arch else None

    @staticmethod
    def _add(tar, name, content, mode):
        info = tarfile.TarInfo(name)
        info.size, info.mode = len(content), mode
        tar.addfile(info, io.BytesIO(content))


class Fed:
    """A become plugin whose command has this file for its standard input."""

    def __init__(self, become, path):
        self._become, self._path = become, path

    def __getattr__(self, name):
        return getattr(self._become, name)

    def build_become_command(self, cmd, shell):
        return f"{{ {self._become.build_become_command(cmd, shell)}\n}} < {self._path}"


class OgActionBase(ActionBase):
    """An action that runs one program of the suite on the node; its name is the task's name."""

    _supports_check_mode = True
    _supports_async = False
    _programs = None
    # Between which times the last command ran; none before the first one.
    ran = None
    # What a task need not say: variables of the node count when it does not.
    _of_the_node = ("data_dir", "env_file", "gauss_home")

    def run(self, tmp=None, task_vars=None):
        self._task_vars = task_vars or {}
        try:
            if self._task.async_val:
                raise AnsibleActionFail(
                    f"{self._name()} does not support async: the program has its own `timeout`"
                    + (", and `wait: false` to come back to a build later" if self._name() == "og_build" else "")
                )
            super().run(None, task_vars)
            result = self.act(self.arguments())
        except AnsibleActionFail as e:
            return {"failed": True, "changed": False, "msg": e.message}
        if self._task.diff and result.get("changed") and result.get("actions") and not result.get("diff"):
            # What changes no text is told all the same, as Ansible shows such things.
            result["diff"] = [{"prepared": "".join(f"{action}\n" for action in result["actions"])}]
        return result

    def act(self, args):
        """Does the task with these arguments."""
        return self.call(self._name(), args)

    def arguments(self):
        """The task's own arguments, without those that are omitted, and what the node's variables say for it."""
        omit = self._task_vars.get("omit", object())
        args = {k: plain(v) for k, v in self._task.args.items() if not (isinstance(v, str) and v == omit)}
        # A task about a file of its own is not about the node's server, unless it says so.
        wanted = [name for name in self._of_the_node if not (name in args or (name == "data_dir" and "path" in args))]
        args.update((name, plain(value)) for name, value in self._settings(wanted).items())
        return args

    def call(self, name, args):
        """Runs program `name` on the node with these arguments and returns its result."""
        request = self.request(args)
        wrong = self.wrong(name, request)
        if wrong:
            return wrong
        return self._run_there(name, request)

    def call_unchecked(self, name, args):
        """The same with arguments that are known to be usable, however large they are."""
        return self._run_there(name, self.request(args))

    def _run_there(self, name, request):
        done = self.remote(name, lambda d: f"{self._words(name)}{d}/{name}", request)
        return self.result(name, done)

    def call_each(self, calls):
        """Runs several programs, each with its arguments, in one remote command and returns their results."""
        lines = "".join(f"{name}\n{self.request(args)}\n" for name, args in calls)
        # One command runs as one user.
        first = calls[0][0]
        if len({name in AS_ROOT for name, _ in calls}) > 1:
            raise AnsibleActionFail(f"{', '.join(name for name, _ in calls)}: root's programs and the node's are not run in one command")
        env = self._words(first)
        done = self.remote(first, lambda d: EACH.format(env=env, folder=d), lines)
        # What a login shell printed stands before the first answer, and is passed over with it.
        codes = [int(line.split()[1]) for line in ENDED.findall(done["stdout"])]
        answered = [{**done, "stdout": part, "rc": rc} for part, rc in zip(ENDED.split(done["stdout"]), codes)]
        answered += [done] * (len(calls) - len(answered))
        return [self.result(name, one) for (name, _), one in zip(calls, answered)]

    def call_here(self, name, args):
        """Runs program `name` on the controller with these arguments and returns its result."""
        program = self.programs().here(name)
        if program is None:
            machine = f"{platform.system()} {platform.machine()}"
            raise AnsibleActionFail(
                f"no {name} for this controller ({machine}) in {self.programs().root}: it runs here, whatever the nodes are; build the programs "
                f"here and put it into {os.path.join(self.programs().root, platform.machine())}, or run this from a Linux machine that has it"
            )
        try:
            done = subprocess.run([program], input=self.request(args), capture_output=True, text=True, check=False)
        except OSError as e:
            raise AnsibleActionFail(f"cannot run {program} on the controller: {e}") from e
        return self.result(name, {"rc": done.returncode, "stdout": done.stdout, "stderr": done.stderr})

    def wrong(self, name, request):
        """What the program has against these arguments, asked on the controller; None when nothing, or it cannot be asked here."""
        # The same arguments are asked about once in a run: most tasks have them on many nodes.
        asked = hashlib.sha256(f"{name} {self.programs().digest} {request}".encode("utf-8", "surrogateescape")).hexdigest()
        note = os.path.join(C.DEFAULT_LOCAL_TMP, f"og-usable-{asked[:32]}")
        if os.path.exists(note):
            return None
        program = self.programs().here(name)
        if program is None:
            return None
        try:
            done = subprocess.run([program, "--validate"], input=request, capture_output=True, text=True, check=False, timeout=30)
        except (OSError, subprocess.SubprocessError):
            return None
        # Programs of an older build do not know the question; they will say on the node what is wrong.
        if done.returncode != UNUSABLE or "--validate" in done.stdout:
            Programs.keep(note, b"")
            return None
        return self.result(name, {"rc": done.returncode, "stdout": done.stdout, "stderr": done.stderr})

    def programs(self):
        """The programs on the controller."""
        if self._programs is None:
            local = str(self._setting("og_binaries", "") or default_programs())
            self._programs = Programs(os.path.expanduser(local))
            if not self._programs.sets:
                raise AnsibleActionFail(
                    f"no og_* programs in {local} on the controller; build them, or point the variable og_binaries to the "
                    f"folder which holds them (or holds a folder for each machine, such as x86_64)"
                )
        return self._programs

    def request(self, args):
        """The arguments as the program takes them, with how the task is run."""
        return json.dumps(
            {
                **args,
                "_ansible_check_mode": bool(self._task.check_mode),
                "_ansible_diff": bool(self._task.diff),
                "_ansible_no_log": bool(self._task.no_log),
                "_ansible_verbosity": int(self._display.verbosity),
            }
        )

    def remote(self, name, command, stdin):
        """Runs `command(folder of the programs)` with `stdin`; carries the programs there first if they are missing."""
        by_root = name in AS_ROOT
        # What root runs is root's alone: another folder may be anybody's.
        root = BIN_DIR if by_root else str(self._setting("og_bin_dir", BIN_DIR))
        digest = self.programs().digest
        folder = f"{shell_path(root)}/{digest}"
        program = f"{folder}/{name}"
        before = ROOT_HOME if by_root else ""
        is_there = f"[ -x {program} ] && [ -s {program} ]"
        if by_root:
            whole = "|".join(f'"{one}  -"' for one in self.programs().hashes(name))
            is_there += f' && case "$(sha256sum <{program})" in {whole or "-"}) :;; *) false;; esac'
        # A file without content is what a crash of the node may leave of one.
        line = (
            f"{before}{is_there} || {{ echo \"{MISSING} $(uname -m)\"; exit {NOT_FOUND}; }}; {command(folder)}"
        )
        done = self._timed_command(line, stdin)
        if done["rc"] in (NOT_FOUND, NOT_RUN) or self._damaged(name, program, done, before):
            self.upload(root, done, before)
            done = self._timed_command(line, stdin)
            if done["rc"] in (NOT_FOUND, NOT_RUN):
                why = "its file system does not let programs run" if MISSING in done["stdout"] else ending(done)
                raise AnsibleActionFail(
                    f"{root}/{digest}/{name} is on the node and cannot be run: {why}; if that file system is "
                    f"mounted noexec, name another folder with the variable og_bin_dir"
                )
        return done

    def upload(self, root, seen, before=""):
        """Puts the programs for the node's machine there; `seen` is the answer that told that they are missing, `before` goes first."""
        told = re.search(rf"^{MISSING} (\S+)", seen["stdout"], re.MULTILINE)
        arch = told.group(1) if told else self._command("uname -m", "")["stdout"].strip().split("\n")[0].strip()
        digest = self.programs().digest
        script = before + INSTALL.format(root=shell_path(root), folder=f"{shell_path(root)}/{digest}", mode="0700", umask="077") + CLEAN.format(digest=digest)
        sent = self._command(script, self.programs().archive(arch))
        if sent["rc"] != 0:
            raise AnsibleActionFail(
                f"cannot put the programs into {root} on the node: {ending(sent)}; "
                f"the variable og_bin_dir names another folder"
            )

    def _damaged(self, name, program, done, before):
        """Whether a program that gave no answer has another content on the node than here."""
        # Of several programs in one command it is the first one that is asked about.
        answer = ENDED.split(done["stdout"])[0]
        if last_object(answer) is not None or NO_TTY.search(done["stderr"]):
            return False
        seen = self._command(f"{before}sha256sum {program}", "")
        found = re.search(r"^\\?([0-9a-f]{64}) ", seen["stdout"], re.MULTILINE)
        return bool(found) and not self.programs().has(name, found.group(1))

    def result(self, name, done):
        """The JSON object that the program printed; what a login shell printed before it is passed over."""
        value = last_object(done["stdout"])
        if value is None:
            return {
                "failed": True,
                "changed": False,
                "msg": f"{name} ended with status {done['rc']} and without a result: {ending(done)}",
                "rc": done["rc"],
                "module_stdout": done["stdout"],
                "module_stderr": done["stderr"],
            }
        if done["rc"] != 0 and not value.get("failed"):
            value["failed"] = True
            value["msg"] = f"{name} ended with status {done['rc']} though its result says: {value.get('msg', '')}"
        if value.get("failed"):
            hint = (value.get("error") or {}).get("hint")
            if hint and hint not in value.get("msg", ""):
                value["msg"] = f"{value.get('msg', '')}; {hint}"
        return value

    def _keep_alive(self):
        """Lets ssh notice a host that went away: over a connection that is kept, a command to it would hang for hours."""
        connection = self._connection
        if connection.transport != "ssh":
            return
        given = [connection.get_option(o) or "" for o in ("ssh_args", "ssh_common_args", "ssh_extra_args")]
        if not any("ServerAliveInterval" in words for words in given):
            connection.set_option("ssh_extra_args", f"{given[-1]} {KEEP_ALIVE}".strip())

    def _timed_command(self, line, stdin):
        """As `_command`; `ran` has the times, in milliseconds since 1970 by the controller's clock, between which it was run last."""
        sent = time.time_ns() // 1_000_000
        done = self._command(line, stdin)
        self.ran = sent, time.time_ns() // 1_000_000
        return done

    def _command(self, line, stdin):
        """Runs the line of sh on the node: one remote command, its standard input with it."""
        self._keep_alive()
        data = stdin if isinstance(stdin, bytes) else stdin.encode("utf-8", "surrogateescape")
        if not data:
            return self._low_level_execute_command(line, sudoable=True)
        if not getattr(self._connection, "has_pipelining", False):
            return self._command_by_file(line, data)
        done = self._low_level_execute_command(line, sudoable=True, in_data=data)
        if done["rc"] != 0 and NO_TTY.search(done["stderr"]):
            return self._command_by_file(line, data)
        return done

    def _command_by_file(self, line, data):
        """The same where a command cannot have both a standard input and what else it needs, such as sudo's terminal."""
        folder = self._make_tmp_path()
        try:
            there = self._connection._shell.join_path(folder, "stdin")
            with tempfile.NamedTemporaryFile(dir=C.DEFAULT_LOCAL_TMP) as here:
                here.write(data)
                here.flush()
                self._transfer_file(here.name, there)
            become, path = self._connection.become, shlex.quote(there)
            inside = f"{{ {line}\n}} < {path}"
            if not become or not self._becomes():
                return self._low_level_execute_command(inside, sudoable=True)
            if self.get_become_option("become_pass"):
                # Where the file is the standard input of sudo itself, the password is looked for there, and the one that is typed is echoed.
                self._fixup_perms2((folder, there), execute=False)
                return self._low_level_execute_command(inside, sudoable=True)
            # The file is of the user who logs in, and it is his shell that opens it.
            self._connection.become = Fed(become, path)
            try:
                return self._low_level_execute_command(line, sudoable=True)
            finally:
                self._connection.become = become
        finally:
            self._remove_tmp_path(folder)

    def _becomes(self):
        """Whether a command is run as another user than the one who logs in."""
        users = (self.get_become_option("become_user"), self._get_remote_user())
        return C.BECOME_ALLOW_SAME_USER or users[0] != users[1] or not any(users)

    def _words(self, name):
        """What stands before the program: a task's `environment` is not for what root runs."""
        return ROOT_ENVIRONMENT if name in AS_ROOT else self._environment()

    def _environment(self):
        words = self._compute_environment_string().strip()
        return f"{words} " if words else ""

    def _name(self):
        return self._task.action.rsplit(".", 1)[-1]

    def _setting(self, name, default):
        """The variable of this name, or the default where it is not set."""
        return self._settings([name]).get(name, default)

    def _settings(self, names):
        """Those of these variables that are set for the host that the task is done on, which with delegate_to is another than the play's."""
        host = self._task.delegate_to
        own, templar = (self._task_vars.get("ansible_delegated_vars") or {}).get(host), self._templar
        if own is None:
            own = self._task_vars
        else:
            # Ansible puts the play's host there.
            own = {**own, "inventory_hostname": host}
            templar = templar.copy_with_new_env(available_variables=own)
        # Within a dictionary, newer releases of Ansible take out what is omitted; older ones have a text for that.
        values = templar.template({name: own[name] for name in names if name in own})
        return {name: value for name, value in values.items() if value is not None and value != own.get("omit")}


def default_programs():
    """The folder that the collection ships its programs in."""
    here = os.path.dirname(os.path.abspath(__file__))
    return os.path.normpath(os.path.join(here, "..", "..", "files", "bin"))


def last_object(text):
    """The JSON object in the last line of text that is not blank; None when there is none."""
    lines = [line for line in text.splitlines() if line.strip()]
    if not lines:
        return None
    try:
        value = json.loads(lines[-1])
    except ValueError:
        return None
    return value if isinstance(value, dict) and "changed" in value else None


def ending(done):
    """The end of what a command printed, for a message, and what to do where that is known."""
    text = (done["stderr"].strip() or done["stdout"].strip() or f"status {done['rc']}, no output").splitlines()
    told = " / ".join(line.strip() for line in text[-3:])[-500:]
    needed = OLD_GLIBC.findall(done["stderr"] + done["stdout"])
    if not needed:
        return told
    newest = max(needed, key=lambda version: [int(n) for n in version.split(".") if n])
    return (
        f"{told}; the programs need glibc {newest} or newer, the node has an older one: build them with "
        f"`cargo xtask build --static`, or on the oldest glibc among the nodes"
    )
