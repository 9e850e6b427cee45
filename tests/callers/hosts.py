"""Hosts to call the programs on: an sshd on loopback each, with users, home and /etc of its own, and a defect if wanted.

A host is a mount namespace: what it mounts over /home, /etc or /tmp is seen by nobody else, and goes with it.
"""

import contextlib
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time

USER, DBA = "ogtest", "ogdba"
UIDS = {USER: 64731, DBA: 64732}

# Mounts the host's own world, makes it defective, and becomes its sshd.
ENTER = """set -e
base=$1
mount --bind "$base/etc" /etc
mount -t tmpfs -o mode=0755,size=256m tmpfs /home
# Its disks are in memory; those of the machine, which other tests keep busy, are none of its business.
[ -L /bin/sync ] || mount --bind /bin/true /bin/sync
for user in {users}; do
    mkdir -p -m 0700 /home/$user/.ssh
    cp "$base/key.pub" /home/$user/.ssh/authorized_keys
    chown -R $(id -u $user):$(id -g $user) /home/$user
done
{defect}
exec {wrap} /usr/sbin/sshd -D -e -f "$base/sshd_config"
"""


def missing():
    """Why there can be no hosts here; None when there can."""
    if os.geteuid() != 0:
        return "hosts need root: they mount what only they see"
    for program in ("/usr/sbin/sshd", "ssh-keygen", "unshare"):
        if not shutil.which(program):
            return f"no {program}"
    if subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode != 0:
        return "this machine does not allow mount namespaces"
    return None


class Host:
    """A host that takes ssh connections until the end of the `with` block."""

    def __init__(self, defect="", wrap="", sudo="ALL=(ALL) NOPASSWD: ALL", defaults=""):
        self.defect, self.wrap, self.counted = defect, wrap, 0
        self.sudoers = f"{defaults}\nroot ALL=(ALL) ALL\n{USER} {sudo}\n"

    def __enter__(self):
        self.base = pathlib.Path(tempfile.mkdtemp(prefix="og-host-", dir="/run"))
        self.base.chmod(0o755)
        for key in ("key", "host"):
            self._run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.base / key))
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._write("known_hosts", f"[127.0.0.1]:{self.port} {(self.base / 'host.pub').read_text()}")
        # A folder of its own: a file that is mounted over is uncovered when anybody replaces the one below.
        shutil.copytree("/etc", self.base / "etc", symlinks=True, ignore_dangling_symlinks=True)
        for file, line in (("passwd", "{0}:x:{1}:{1}::/home/{0}:/bin/sh\n"), ("group", "{0}:x:{1}:\n"), ("shadow", "{0}:*:19000::::::\n")):
            with open(self.base / "etc" / file, "a", encoding="utf-8") as f:
                f.write("".join(line.format(name, uid) for name, uid in UIDS.items()))
        (self.base / "etc/sudoers").unlink(missing_ok=True)
        self._write("etc/sudoers", self.sudoers)
        (self.base / "etc/sudoers").chmod(0o440)
        self._write(
            "sshd_config",
            f"Port {self.port}\nListenAddress 127.0.0.1\nHostKey {self.base}/host\nPidFile none\nUsePAM no\nStrictModes no\n"
            f"PasswordAuthentication no\nLogLevel VERBOSE\nAllowUsers {USER}\nMaxStartups 100\nMaxSessions 100\nKbdInteractiveAuthentication no\nSubsystem sftp internal-sftp\n",
        )
        script = ENTER.format(users=" ".join(UIDS), defect=self.defect, wrap=self.wrap)
        os.makedirs("/run/sshd", exist_ok=True)
        self.log = open(self.base / "log", "wb")
        self.sshd = subprocess.Popen(
            ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh", str(self.base)],
            stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log, start_new_session=True,
        )
        try:
            self._listens()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        # The sessions of connections that Ansible keeps open, too.
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.sshd.wait()
        self.log.close()
        shutil.rmtree(self.base)

    def path(self, inside):
        """Where a file of the host is to be found from outside."""
        return pathlib.Path(f"/proc/{self.sshd.pid}/root{inside}")

    def put(self, inside, files, owner=USER):
        """Makes a folder of a user with these files in it."""
        folder = self.path(inside)
        folder.mkdir(mode=0o700, parents=True)
        for name, text in files.items():
            (folder / name).write_text(text)
            (folder / name).chmod(0o600)
            os.chown(folder / name, UIDS[owner], UIDS[owner])
        os.chown(folder, UIDS[owner], UIDS[owner])

    def programs(self, user=USER, folder=".cache/opengauss-node"):
        """The folders of programs that were put there."""
        return sorted(p for p in self.path(f"/home/{user}/{folder}").glob("*") if p.is_dir())

    def processes(self):
        """All processes of the host: those that see its mounts."""
        try:
            own = os.readlink(f"/proc/{self.sshd.pid}/ns/mnt")
        except FileNotFoundError:
            return []
        if own == os.readlink("/proc/self/ns/mnt"):
            return [self.sshd.pid]
        found = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            with contextlib.suppress(OSError):
                if os.readlink(f"/proc/{pid}/ns/mnt") == own:
                    found.append(int(pid))
        return found

    def names(self):
        """The names of its processes."""
        found = []
        for pid in self.processes():
            with contextlib.suppress(OSError):
                found.append(pathlib.Path(f"/proc/{pid}/comm").read_text().strip())
        return found

    def commands(self):
        """How many commands were run there since it was asked the last time."""
        count = (self.base / "log").read_text().count("Starting session: command")
        new, self.counted = count - self.counted, count
        return new

    def variables(self):
        """What Ansible needs to know to reach it."""
        ssh = f"-F none -o UserKnownHostsFile={self.base}/known_hosts -o StrictHostKeyChecking=yes -o IdentitiesOnly=yes"
        return {
            "ansible_host": "127.0.0.1",
            "ansible_port": self.port,
            "ansible_user": USER,
            "ansible_ssh_private_key_file": str(self.base / "key"),
            "ansible_ssh_common_args": ssh,
        }

    def _listens(self):
        limit = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                if self.sshd.poll() is not None or time.monotonic() > limit:
                    raise RuntimeError(f"no sshd: {(self.base / 'log').read_text()}") from None
                time.sleep(0.01)

    def _write(self, name, text):
        (self.base / name).write_text(text)

    @staticmethod
    def _run(*words):
        subprocess.run(words, check=True, capture_output=True)
