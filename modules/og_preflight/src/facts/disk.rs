//! Room, file systems, and what an earlier installation left on them.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::unistd::{AccessFlags, access};
use og_common::gauss::disk::directory_size;
use og_common::gauss::postmaster_pid::{PostmasterPid, is_process_alive, working_dir};
use og_common::protocol::Bytes;
use procfs_core::FromRead;
use procfs_core::process::MountInfos;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Facts, Root};

/// A file system that the node uses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Disk {
    /// What the node has there: `data`, `wal`, `programs`, `sockets`.
    pub holds: Vec<String>,
    /// The first of its directories there.
    pub path: String,
    /// Where it is mounted.
    pub mounted_at: Option<String>,
    /// Kind of file system, such as `xfs`.
    pub kind: Option<String>,
    /// Mount options.
    pub options: Vec<String>,
    /// How large it is, in bytes.
    pub size: Bytes,
    /// What is used, in bytes.
    pub used: Bytes,
    /// What the user may still write, in bytes; the system keeps some of the rest for itself.
    pub free: Bytes,
    /// Inodes in all; 0 where the file system does not count them.
    pub inodes: u64,
    /// Inodes that are free.
    pub free_inodes: u64,
    /// Whether the user may write into all of the node's directories there; those of the programs do not count beside others.
    pub writable: bool,
    /// The first of them that it may not write into.
    pub unwritable: Option<String>,
}

/// What is left of an earlier installation or server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Leftover {
    /// What it is.
    pub kind: LeftoverKind,
    /// Its path, or the name of the variable or process.
    pub subject: String,
    /// More about it.
    pub detail: String,
    /// Whether it is the user's own file and no process uses it: the server removes it when it starts.
    pub stale: bool,
}

/// What sort of leftover it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LeftoverKind {
    /// A file of a socket, or its lock, while no server runs.
    #[default]
    Socket,
    /// A variable that openGauss's installer set.
    Environment,
    /// A server process without the files that tell of it.
    Process,
}

/// What [`Disk::holds`] calls the programs, which their user only reads.
const PROGRAMS: &str = "programs";

impl Disk {
    /// Takes in one more directory on this file system, with its path when the user may not write into it.
    pub(super) fn add(&mut self, holds: &str, unwritable: Option<String>) {
        let only_programs = self.holds.iter().all(|what| what == PROGRAMS);
        self.holds.push(holds.to_owned());
        if only_programs {
            self.unwritable = unwritable;
        } else if holds != PROGRAMS {
            self.unwritable = self.unwritable.take().or(unwritable);
        }
        self.writable = self.unwritable.is_none();
    }
}

/// Reads the file systems of these directories, each with what it holds.
pub fn read(facts: &mut Facts, root: &Root, places: &[(&str, PathBuf)]) {
    let mounts = match MountInfos::from_file(root.path("proc/self/mountinfo")) {
        Ok(mounts) => mounts.0,
        Err(e) => {
            facts.note_unknown("mounts", format!("cannot read /proc/self/mountinfo: {e}"));
            Vec::new()
        }
    };
    let mut seen: Vec<(u64, usize)> = Vec::new();
    for (holds, path) in places {
        // A directory that is still to be made lies on the file system of the first that is there.
        let Some(there) = path.ancestors().find(|path| path.exists()) else { continue };
        let Ok(meta) = std::fs::metadata(there) else {
            facts.note_unknown("disks", format!("cannot inspect {}", there.display()));
            continue;
        };
        let unwritable = access(there, AccessFlags::W_OK).is_err().then(|| there.display().to_string());
        if let Some((_, at)) = seen.iter().find(|(device, _)| *device == meta.dev()) {
            facts.disks[*at].add(holds, unwritable);
            continue;
        }
        match nix::sys::statvfs::statvfs(there) {
            Ok(stat) => {
                let resolved = std::fs::canonicalize(there).unwrap_or_else(|_| there.to_owned());
                let mount = mounts.iter().filter(|mount| resolved.starts_with(&mount.mount_point));
                let mount = mount.max_by_key(|mount| mount.mount_point.components().count());
                let options = mount.map(|mount| mount.mount_options.iter().chain(&mount.super_options));
                let option = |(name, value): (&String, &Option<String>)| {
                    value.as_ref().map_or_else(|| name.clone(), |value| format!("{name}={value}"))
                };
                let mut options: Vec<String> = options.into_iter().flatten().map(option).collect();
                options.sort();
                options.dedup();
                seen.push((meta.dev(), facts.disks.len()));
                let in_bytes = |blocks: u64| Bytes::new(blocks * stat.fragment_size());
                facts.disks.push(Disk {
                    holds: vec![(*holds).to_owned()],
                    path: path.display().to_string(),
                    mounted_at: mount.map(|mount| mount.mount_point.display().to_string()),
                    kind: mount.map(|mount| mount.fs_type.clone()),
                    options,
                    size: in_bytes(stat.blocks()),
                    used: in_bytes(stat.blocks() - stat.blocks_free().min(stat.blocks())),
                    free: in_bytes(stat.blocks_available()),
                    inodes: stat.files(),
                    free_inodes: stat.files_available(),
                    writable: unwritable.is_none(),
                    unwritable,
                });
            }
            Err(e) => facts
                .note_unknown("disks", format!("cannot learn the room of {}: {}", there.display(), e.desc())),
        }
    }
}

/// Returns the sizes of data and of WAL below a data directory; a walk through all its directories.
#[must_use]
pub fn sizes(data_dir: &Path) -> (Bytes, Bytes) {
    let wal = ["pg_xlog", "pg_wal"].iter().map(|name| data_dir.join(name)).find(|path| path.exists());
    let all = directory_size(data_dir);
    let Some(wal) = wal else { return (all, Bytes::ZERO) };
    let inside = std::fs::symlink_metadata(&wal).is_ok_and(|meta| meta.is_dir());
    let wal = directory_size(&std::fs::canonicalize(&wal).unwrap_or(wal));
    (if inside { all.saturating_sub(wal) } else { all }, wal)
}

/// Reads what is left in the directory of the sockets, and server processes that no file tells of.
pub fn read_leftovers(facts: &mut Facts, root: &Root, data_dir: &Path, sockets: &Path, port: Option<u16>) {
    let running = facts.server.running;
    if let Some(port) = port.filter(|_| !running) {
        for name in [format!(".s.PGSQL.{port}"), format!(".s.PGSQL.{port}.lock")] {
            let path = sockets.join(&name);
            let Ok(meta) = std::fs::symlink_metadata(&path) else { continue };
            let holder = std::fs::read_to_string(&path).ok().and_then(|text| PostmasterPid::parse(&text));
            let alive = holder
                .filter(|holder| is_process_alive(holder.pid))
                .map(|holder| format!("process {} lives", holder.pid));
            let owner =
                (Some(meta.uid()) != facts.user.uid).then(|| format!("it belongs to uid {}", meta.uid()));
            facts.leftovers.push(Leftover {
                kind: LeftoverKind::Socket,
                subject: path.display().to_string(),
                stale: alive.is_none() && owner.is_none(),
                detail: alive.or(owner).unwrap_or_else(|| "no process uses it".to_owned()),
            });
        }
    }
    if running {
        return;
    }
    let own = match std::fs::metadata(data_dir) {
        Ok(own) => own,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return,
        Err(e) => {
            return facts.note_unknown("leftovers", format!("cannot inspect {}: {e}", data_dir.display()));
        }
    };
    for entry in std::fs::read_dir(root.path("proc")).into_iter().flatten().flatten() {
        let name = std::fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
        let here =
            || working_dir(&entry.path()).is_ok_and(|cwd| cwd.dev() == own.dev() && cwd.ino() == own.ino());
        if ["gaussdb", "gaussmaster"].contains(&name.trim()) && here() {
            facts.leftovers.push(Leftover {
                kind: LeftoverKind::Process,
                subject: format!("process {}", entry.file_name().to_string_lossy()),
                detail: "a server whose postmaster.pid is gone".to_owned(),
                stale: false,
            });
        }
    }
}
