"""Puts the suite's programs into a folder of the node, or takes them away; needs neither Python nor them on the node."""

from __future__ import annotations

import hashlib
import re

from ansible.errors import AnsibleActionFail
from ansible_collections.opengauss.node.plugins.plugin_utils.og_action import BIN_DIR, INSTALL, VERSION, OgActionBase, ending, shell_path

SPEC = {
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "path": {"type": "str"},
    "mode": {"type": "str", "default": "0755"},
}

LOOK = """uname -m; cd {folder} 2>/dev/null || exit 0; for p in {names}; do [ -f "$p" ] || continue; stat -c 'mode %a %n' "$p"; sha256sum "$p"; done; :"""
REMOVE = """set -e; cd {folder}; rm -f {names}; cd /; rmdir {folder} 2>/dev/null || :"""
VERSIONS = """uname -m; cd {folder} 2>/dev/null || exit 0; for v in """ + VERSION + """; do [ -d "$v" ] && echo "version $v"; done; :"""
CLEAR = """set -e; cd {folder}; rm -rf {names}; cd /; rmdir {folder} 2>/dev/null || :"""


class ActionModule(OgActionBase):
    """One remote command when all is there, two when not."""

    _of_the_node = ()

    def act(self, args):
        _unused, args = self.validate_argument_spec(argument_spec=SPEC)
        if not re.fullmatch(r"0?[0-7]{3}", args["mode"]):
            raise AnsibleActionFail(f"mode is {args['mode']!r}; it must be octal in quotes, such as '0755'")
        root = str(self._setting("og_bin_dir", BIN_DIR))
        cache = not args["path"]
        if cache and args["state"] == "absent":
            return self._clear(root)
        path = args["path"] or f"{root}/{self.programs().digest}"
        mode = 0o700 if cache else int(args["mode"], 8)
        names = self.programs().names()
        seen = self._run(LOOK.format(folder=shell_path(path), names=" ".join(names)), f"inspect {path}")
        arch, there = self._there(seen)
        if args["state"] == "absent":
            return self._absent(path, arch, sorted(there), "programs", REMOVE)
        wanted = {n: (hashlib.sha256(content).hexdigest(), mode) for n, content in self.programs().contents(arch)}
        differ = [name for name in wanted if there.get(name) != wanted[name]]
        result = {"changed": bool(differ), "path": path, "arch": arch, "programs": sorted(wanted), "actions": [f"put {n} into {path}" for n in differ]}
        result["msg"] = f"{len(differ)} of {len(wanted)} programs put into {path}" if differ else f"{path} has the {len(wanted)} programs"
        if differ and not self._task.check_mode:
            script = INSTALL.format(root=shell_path(root if cache else path), folder=shell_path(path), mode=f"{mode:04o}", umask="077" if cache else "022")
            self._run(script, f"put the programs into {path}", self.programs().archive(arch))
        return result

    def _clear(self, root):
        """Of the folder that the tasks use, every version goes, whoever put it there."""
        seen = self._run(VERSIONS.format(folder=shell_path(root)), f"inspect {root}")
        arch = [line.strip() for line in seen.splitlines() if line.strip() and not line.startswith("version ")][-1]
        found = re.findall(r"^version ([0-9a-f]{16})$", seen, re.M)
        return self._absent(root, arch, found, "versions of the programs", CLEAR)

    def _absent(self, path, arch, there, what, script):
        """Takes out of the folder what is there of ours; the folder goes, too, when it is empty then."""
        result = {"changed": bool(there), "path": path, "arch": arch, "programs": [], "actions": [f"take {n} out of {path}" for n in there]}
        result["msg"] = f"{len(there)} {what} taken out of {path}" if there else f"{path} has none of the {what}"
        if there and not self._task.check_mode:
            self._run(script.format(folder=shell_path(path), names=" ".join(there)), f"take the programs out of {path}")
        return result

    def _run(self, script, what, stdin=""):
        done = self._command(script, stdin)
        if done["rc"] != 0:
            raise AnsibleActionFail(f"cannot {what} on the node: {ending(done)}")
        return done["stdout"]

    @staticmethod
    def _there(text):
        """The node's machine, and of each program that is there its SHA-256 and mode."""
        modes, sums = {}, {}
        lines = text.splitlines()
        for line in lines:
            if found := re.match(r"mode ([0-7]+) (og_[a-z_]+)$", line):
                modes[found.group(2)] = int(found.group(1), 8)
            elif found := re.match(r"([0-9a-f]{64}) [ *](og_[a-z_]+)$", line):
                sums[found.group(2)] = found.group(1)
        first = next((i for i, line in enumerate(lines) if re.match(r"mode |[0-9a-f]{64} ", line)), len(lines))
        arch = next((line.strip() for line in reversed(lines[:first]) if line.strip()), "")
        return arch, {name: (digest, modes.get(name)) for name, digest in sums.items()}
