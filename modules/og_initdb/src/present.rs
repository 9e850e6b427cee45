//! What is there.

use std::collections::BTreeSet;
use std::net::ToSocketAddrs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use og_common::clock;
use og_common::conf::ConfFile;
use og_common::gauss::ServerNode;
use og_common::protocol::Bytes;
use og_common::replconn;
use procfs_core::FromRead;
use procfs_core::process::MountInfos;

use crate::args::{Content, Directory, Listed, ObstacleKind, PeerFacts, RemovalObstacle};
use crate::mark::{Mark, is_writable, mark_path};

/// A data directory has this.
const VERSION: &str = "PG_VERSION";
/// A data directory has one of these.
const CONFIGURATION: [&str; 2] = ["postgresql.conf", "pg_hba.conf"];
/// What gs_initdb, before there is a system identifier, has never made: it comes from a server, a build or a backup.
const SERVER_FILES: [&str; 10] = [
    "backup_label",
    "backup_label.old",
    "backup_manifest",
    "tablespace_map",
    "recovery.conf",
    "recovery.signal",
    "standby.signal",
    "gs_build.pid",
    "postmaster.opts",
    "build_completed.start",
];
/// The mark of a data directory of its own.
const CONTROL: &str = "global/pg_control";
/// What a build keeps of the node's own files, a copy of pg_control among them.
const BUILD_BACKUP_FOLDER: &str = "pg_rewind_bak";
/// The system's table of mounts.
const MOUNTS: &str = "/proc/self/mountinfo";

/// What is there of a node.
#[derive(Clone, Debug, Default)]
pub struct Present {
    /// The data directory.
    pub directory: Directory,
    /// The mark beside it.
    pub mark: PathBuf,
    /// What the mark says, where it is one of this folder.
    pub marked: Option<Mark>,
    /// Whether a server or a build was at work in it.
    pub started: bool,
    /// Data directories beside it of which a deletion was broken off.
    pub half_deleted: Vec<PathBuf>,
    /// What belongs to the node, where it was looked at.
    pub listing: Vec<Listed>,
    /// What speaks against its removal, where it was looked at.
    pub obstacles: Vec<RemovalObstacle>,
}

/// The name under which a data directory is deleted, with a number behind it.
pub fn deleted_prefix(data_dir: &Path) -> String {
    format!(".{}.og_deleted-", data_dir.file_name().unwrap_or_default().to_string_lossy())
}

impl Present {
    /// Reads what the data directory holds.
    pub fn read(data_dir: &Path) -> Self {
        let node = ServerNode::new(data_dir);
        let mark = mark_path(data_dir);
        let marked = Mark::read(&mark, data_dir);
        let conf =
            og_common::files::read(&data_dir.join("postgresql.conf")).map(|text| ConfFile::parse(&text));
        let parameter = |name: &str| {
            let value = conf.as_ref().ok()?.get(name)?.text().trim().to_owned();
            Some(value).filter(|value| !value.is_empty())
        };
        let pid = node.running_pid();
        let has_file = |name: &&str| data_dir.join(name).symlink_metadata().is_ok();
        let started = pid.is_some()
            || node.state_file().is_some()
            || node.build().is_some()
            || SERVER_FILES.iter().any(has_file);
        let begun = marked.as_ref().is_some_and(|mark| mark.made.is_none()) && !started;
        let system_id = system_id(data_dir);
        let content = read_content(data_dir, begun && system_id.is_none() && is_begun(data_dir));
        let made = content == Content::Database
            && !started
            && marked.as_ref().is_some_and(|mark| mark.made.is_some() && mark.made == system_id);
        let node_name = match content {
            Content::Unfinished => marked.as_ref().map(|mark| mark.node_name.clone()),
            _ => parameter("pgxc_node_name"),
        };
        let directory = Directory {
            path: data_dir.to_owned(),
            content,
            name: parameter("application_name").or_else(|| node_name.clone()),
            node_name,
            system_id,
            owner: owner(data_dir),
            pid,
            made,
        };
        let half_deleted = half_deleted(data_dir);
        Self { directory, mark, marked, started, half_deleted, ..Self::default() }
    }

    /// Reads what speaks against making a database there: of a folder that would be emptied, all that speaks against its
    /// removal but that it cannot be renamed.
    #[must_use]
    pub fn with_obstacles(self) -> Self {
        let mut present = self.with_listing(&[]);
        present.obstacles.retain(|obstacle| obstacle.kind != ObstacleKind::Parent);
        present
    }

    /// Reads what belongs to the node, and what speaks against its removal.
    #[must_use]
    pub fn with_listing(mut self, peers: &[PeerFacts]) -> Self {
        let path = self.directory.path.clone();
        let listed = |path: &Path, bytes: u64, why: String| Listed {
            path: path.to_owned(),
            bytes: Bytes::new(bytes),
            owner: owner(path),
            modified: modified(path),
            why,
        };
        for path in &self.half_deleted {
            let found = walk_folder(path);
            self.listing.push(listed(path, found.bytes, "its deletion was begun and broken off".to_owned()));
            self.obstacles.extend(mounts_in(path));
        }
        let (name, system) = (self.directory.name.as_deref(), self.directory.system_id.as_deref());
        let why = match self.directory.content {
            Content::Missing | Content::Empty => {
                self.obstacles.extend(enclosing_directory_obstacle(&path));
                return self;
            }
            Content::Unfinished => "gs_initdb was begun here by og_initdb and broken off".to_owned(),
            Content::Other => {
                self.obstacles.push(obstacle(
                    ObstacleKind::NoDatabase,
                    format!("{} holds no database: {}", path.display(), entries(&path)),
                    "correct data_dir, or remove by hand what is there",
                ));
                return self;
            }
            Content::Database => format!(
                "data_dir of {}, database system {}",
                name.unwrap_or("a node without a name"),
                system.unwrap_or("unknown")
            ),
        };
        let found = walk_folder(&path);
        self.listing.push(listed(&path, found.bytes, why));
        self.obstacles.extend(obstacles(&path, &found, peers));
        self
    }
}

fn obstacle(kind: ObstacleKind, detail: String, fix: &str) -> RemovalObstacle {
    RemovalObstacle { kind, detail, fix: fix.to_owned() }
}

fn obstacles(path: &Path, found: &Found, peers: &[PeerFacts]) -> Vec<RemovalObstacle> {
    let node = ServerNode::new(path);
    let shown = path.display();
    let mut out = Vec::new();
    let mut add = |kind, detail: String, fix: &str| out.push(obstacle(kind, detail, fix));
    if let Some(pid) = node.running_pid() {
        add(
            ObstacleKind::Running,
            format!("a server runs in {shown} (pid {pid})"),
            "stop it first (og_node_state with state: stopped)",
        );
    }
    if node.build().is_some_and(|build| build.running) {
        add(
            ObstacleKind::Building,
            format!("{shown} is being built"),
            "wait for the end of the build, then stop the server",
        );
    }
    for (detail, fix) in channels_here(path, peers) {
        add(ObstacleKind::Channel, detail, fix);
    }
    if path.is_symlink() {
        let target = std::fs::canonicalize(path).unwrap_or_default();
        add(
            ObstacleKind::Link,
            format!("{shown} is a symbolic link to {}", target.display()),
            "give the path that it leads to as data_dir",
        );
    }
    out.extend(mounts_in(path));
    let mut add = |kind, detail: String, fix: &str| out.push(obstacle(kind, detail, fix));
    for (link, target) in &found.links_out {
        add(
            ObstacleKind::Link,
            format!("{} leads out of the data directory, to {}", link.display(), target.display()),
            "move by hand what it leads to, and remove the link",
        );
    }
    out.extend(enclosing_directory_obstacle(path));
    let mut add = |kind, detail: String, fix: &str| out.push(obstacle(kind, detail, fix));
    for other in &found.other_data {
        add(
            ObstacleKind::OtherData,
            format!("{} is a data directory of its own", other.display()),
            "move it elsewhere, or remove it as a node of its own",
        );
    }
    for (place, why) in &found.unread {
        add(
            ObstacleKind::Unreadable,
            format!("cannot read {}: {why}", place.display()),
            "make it readable for the node's user",
        );
    }
    if let Some(parent) = path.parent().filter(|parent| !is_writable(parent)) {
        add(
            ObstacleKind::Parent,
            format!("{} is not writable for this user, so {shown} cannot be renamed", parent.display()),
            "make it writable for the node's user",
        );
    }
    out
}

/// The mount points at the folder and below it, whose content would go with it.
pub fn mounts_in(path: &Path) -> Vec<RemovalObstacle> {
    match mount_points(path) {
        Ok(mounts) => mounts
            .into_iter()
            .map(|mount| {
                obstacle(
                    ObstacleKind::MountPoint,
                    format!("{} is a mount point", mount.display()),
                    "unmount it, or remove by hand what it holds",
                )
            })
            .collect(),
        Err(e) => vec![obstacle(
            ObstacleKind::Unreadable,
            format!("cannot read {MOUNTS}: {e}"),
            "run it where /proc is mounted",
        )],
    }
}

/// Returns the data directory around the folder, which may not be there yet, as an obstacle.
pub fn enclosing_directory_obstacle(path: &Path) -> Option<RemovalObstacle> {
    let there = path.ancestors().find_map(|above| std::fs::canonicalize(above).ok());
    let mut above = path.ancestors().skip(1).chain(there.iter().flat_map(|there| there.ancestors()));
    let own = std::fs::canonicalize(path).ok();
    let other = above.find(|above| {
        let is_own = *above == path || own.as_deref() == Some(*above);
        !is_own && (above.join(VERSION).exists() || above.join(CONTROL).exists())
    })?;
    Some(obstacle(
        ObstacleKind::OtherData,
        format!("{} lies in another data directory, {}", path.display(), other.display()),
        "give a data_dir that lies in none",
    ))
}

/// The channels of other nodes that lead to this one, or of which that cannot be told: what each is, and what to do.
fn channels_here(data_dir: &Path, peers: &[PeerFacts]) -> Vec<(String, &'static str)> {
    const DROP: &str = "drop the node from its cluster first (og drop)";
    const NAME: &str = "make the name known here, or drop the node from its cluster first (og drop)";
    let addresses = replconn::addresses();
    let own = ServerNode::new(data_dir).identity().directory;
    let ports = replication_ports(data_dir);
    let mut found = Vec::new();
    for peer in peers.iter().filter(|peer| own.is_none() || peer.identity.directory != own) {
        let name = peer.name.clone().unwrap_or_else(|| peer.identity.data_dir.clone());
        let leads_here = |channel: &crate::args::PeerChannel| {
            // Without postgresql.conf any port may be this node's.
            if !ports.is_empty() && !ports.contains(&channel.remote_port) {
                return None;
            }
            let host = channel.remote_host.trim_matches(['[', ']']);
            let number = channel.number;
            match (host, 0_u16).to_socket_addrs() {
                Ok(mut resolved) => resolved
                    .any(|address| address.ip().is_loopback() || addresses.contains(&address.ip()))
                    .then(|| {
                        (format!("{name} has a replication channel to this node, replconninfo{number}"), DROP)
                    }),
                Err(why) => Some((
                    format!(
                        "{name} has a replication channel to {host}, replconninfo{number}, and whether that is this node \
                         cannot be told: {why}"
                    ),
                    NAME,
                )),
            }
        };
        found.extend(peer.channels.iter().filter_map(leads_here));
    }
    found
}

/// The ports on which the node may be reached for replication, by its own file.
fn replication_ports(data_dir: &Path) -> BTreeSet<u16> {
    let Ok(text) = og_common::files::read(&data_dir.join("postgresql.conf")) else { return BTreeSet::new() };
    let conf = ConfFile::parse(&text);
    let value = |name: &str| conf.get(name).map(|setting| setting.text().trim().to_owned());
    let port = value("port").and_then(|text| text.parse::<u16>().ok()).unwrap_or(5432);
    let local = (1..=8).filter_map(|number| value(&format!("replconninfo{number}")));
    let local = local.filter_map(|text| {
        let mut words = text.split_whitespace().filter_map(|word| word.strip_prefix("localport="));
        words.next()?.parse().ok()
    });
    [Some(port), port.checked_add(1)].into_iter().flatten().chain(local.collect::<Vec<u16>>()).collect()
}

/// The mount points at the folder and below it.
pub fn mount_points(path: &Path) -> Result<Vec<PathBuf>, procfs_core::ProcError> {
    let resolved = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let mounts = MountInfos::from_file(MOUNTS)?.0.into_iter().map(|mount| mount.mount_point);
    let mut found: Vec<PathBuf> = mounts.filter(|mount| mount.starts_with(&resolved)).collect();
    found.dedup();
    Ok(found)
}

/// What lies in a folder.
#[derive(Debug, Default)]
struct Found {
    bytes: u64,
    links_out: Vec<(PathBuf, PathBuf)>,
    other_data: Vec<PathBuf>,
    unread: Vec<(PathBuf, std::io::Error)>,
}

/// Walks through a folder; symbolic links are not followed.
fn walk_folder(path: &Path) -> Found {
    let root = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let mut found = Found::default();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        if folder != root && folder.join(CONTROL).exists() && folder != root.join(BUILD_BACKUP_FOLDER) {
            found.other_data.push(folder.clone());
        }
        let entries = match std::fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(e) => {
                found.unread.push((folder, e));
                continue;
            }
        };
        for entry in entries.flatten() {
            // What vanishes meanwhile is not there any more.
            let Ok(meta) = entry.metadata() else { continue };
            let path = entry.path();
            if meta.is_symlink() {
                let target = link_target(&path);
                if !target.starts_with(&root) {
                    found.links_out.push((path, target));
                }
            } else if meta.is_dir() {
                folders.push(path);
            } else {
                found.bytes += meta.blocks() * 512;
            }
        }
    }
    found
}

/// Where a symbolic link leads; of one that leads nowhere, where it would.
fn link_target(link: &Path) -> PathBuf {
    std::fs::canonicalize(link).unwrap_or_else(|_| {
        let target = std::fs::read_link(link).unwrap_or_default();
        let joined = link.parent().unwrap_or(link).join(target);
        let mut out = PathBuf::new();
        for part in joined.components() {
            match part {
                std::path::Component::ParentDir => drop(out.pop()),
                std::path::Component::CurDir => {}
                other => out.push(other),
            }
        }
        out
    })
}

fn read_content(dir: &Path, unfinished: bool) -> Content {
    if std::fs::symlink_metadata(dir).is_err() {
        return Content::Missing;
    }
    let Ok(mut entries) = std::fs::read_dir(dir) else { return Content::Other };
    if entries.next().is_none() {
        Content::Empty
    } else if unfinished {
        Content::Unfinished
    } else if is_database(dir) {
        Content::Database
    } else {
        Content::Other
    }
}

/// The identifier of the database system, where there is one.
fn system_id(dir: &Path) -> Option<String> {
    ServerNode::new(dir).system_id().filter(|id| *id != 0).map(|id| id.to_string())
}

/// Whether the folder is a data directory.
fn is_database(dir: &Path) -> bool {
    dir.join(VERSION).exists()
        && CONFIGURATION.iter().any(|name| dir.join(name).exists())
        && system_id(dir).is_some()
}

/// Whether the folder holds no more than gs_initdb makes before there is a database system: one template, no tablespaces, and
/// nothing of another user.
fn is_begun(dir: &Path) -> bool {
    let names = |place: &str| {
        let entries = std::fs::read_dir(dir.join(place)).into_iter().flatten();
        entries.map(|entry| entry.map(|entry| entry.file_name()).unwrap_or_default()).collect::<Vec<_>>()
    };
    let Ok(uid) = std::fs::metadata(dir).map(|meta| meta.uid()) else { return false };
    names("base").iter().all(|name| name == "1" || name == "pgsql_tmp")
        && names("pg_tblspc").is_empty()
        && names("").iter().all(|name| {
            std::fs::symlink_metadata(dir.join(name))
                .is_ok_and(|meta| meta.uid() == uid && !meta.is_symlink())
        })
}

/// The first names in a folder, for messages.
pub fn entries(dir: &Path) -> String {
    let names = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let mut names: Vec<String> =
        names.map(|entry| entry.file_name().to_string_lossy().into_owned()).take(64).collect();
    names.sort();
    match names.len() {
        0 => "it is no folder, or cannot be listed".to_owned(),
        1..=4 => format!("it has {}", names.join(", ")),
        _ => format!("it has {}, …", names[..4].join(", ")),
    }
}

fn half_deleted(data_dir: &Path) -> Vec<PathBuf> {
    let (Some(parent), prefix) = (data_dir.parent(), deleted_prefix(data_dir)) else { return Vec::new() };
    let entries = std::fs::read_dir(parent).into_iter().flatten().flatten();
    let is_left = |entry: &std::fs::DirEntry| {
        let name = entry.file_name();
        let number = name.to_string_lossy().strip_prefix(&prefix).map(str::to_owned);
        number.is_some_and(|number| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()))
    };
    entries.filter(is_left).map(|entry| entry.path()).collect()
}

fn owner(path: &Path) -> Option<String> {
    let uid = std::fs::symlink_metadata(path).ok()?.uid();
    let user = nix::unistd::User::from_uid(uid.into()).ok().flatten();
    Some(user.map_or_else(|| uid.to_string(), |user| user.name))
}

fn modified(path: &Path) -> Option<String> {
    let modified = std::fs::symlink_metadata(path).ok()?.modified().ok()?;
    let since = modified.duration_since(std::time::UNIX_EPOCH).ok()?;
    Some(clock::rfc3339(since.as_secs()))
}
