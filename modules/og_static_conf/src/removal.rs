//! The files that go with the node that they are for.

use std::path::{Path, PathBuf};

use og_common::cluster::dynamic_config::DynamicConfig;
use og_common::cluster::static_config::StaticConfig;
use og_common::cluster::{ClusterAddress, ClusterNode};
use og_common::protocol::{Error, Reason};
use og_common::replconn;

use crate::args::Args;
use crate::locate_error;
use crate::plan::{Change, Found, removal_of};

/// Everything that was read.
#[derive(Debug)]
pub(crate) struct Leaving {
    /// The static config.
    pub file: Found,
    /// Its content.
    pub config: Option<StaticConfig>,
    /// cluster_dynamic_config and cluster_dnrole_config beside it.
    pub beside: [Found; 2],
    /// Data directories of this machine that are in it and hold a database.
    pub in_use: Vec<PathBuf>,
}

impl Leaving {
    /// Reads the files. `data_dir`: a data directory that is not counted among those in use.
    ///
    /// # Errors
    /// `corrupt` for a static config that cannot be understood; `permission` or `io`.
    pub(crate) fn read(path: PathBuf, data_dir: Option<&Path>) -> Result<Self, Error> {
        let beside = |name: &str| crate::read_found(path.with_file_name(name));
        let beside = [beside("cluster_dynamic_config")?, beside("cluster_dnrole_config")?];
        let file = crate::read_found(path)?;
        let parsed = file.bytes.as_deref().map(|bytes| locate_error(&file.path, StaticConfig::parse(bytes)));
        let config = parsed.transpose()?;
        let in_use = config.as_ref().map(|config| in_use(config, data_dir)).unwrap_or_default();
        Ok(Self { file, config, beside, in_use })
    }
}

/// The data directories on this machine that the file names and that hold a database, or may, but for `data_dir`.
fn in_use(config: &StaticConfig, data_dir: Option<&Path>) -> Vec<PathBuf> {
    let own = replconn::addresses();
    let is_here = |n: &&ClusterNode| {
        n.id == config.local || n.addresses.iter().filter_map(ClusterAddress::ip).any(|ip| own.contains(&ip))
    };
    let here = config.cluster.nodes.iter().filter(is_here).flat_map(|n| &n.data_nodes);
    let real = |path: &Path| std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let left = data_dir.map(real);
    here.map(|d| PathBuf::from(&d.data_dir))
        .filter(|dir| dir.join("PG_VERSION").try_exists().unwrap_or(true) && left != Some(real(dir)))
        .collect()
}

/// Finds out what goes. The static config is the last: it alone tells whose the others are.
///
/// # Errors
/// `refused` for the copy of another node than `local`, one of a cluster that CM manages, and one that a server of this machine
/// needs.
pub(crate) fn plan(args: &Args, leaving: &Leaving) -> Result<Vec<Change>, Error> {
    let path = &leaving.file.path;
    let Some(config) = &leaving.config else { return Ok(Vec::new()) };
    let refused = |detail: String| Error::refused(detail).with_path(path.display());
    let is_of_cm = |found: &Found| found.bytes.as_deref().is_some_and(DynamicConfig::is_cm_file);
    if config.cluster.has_cm() || is_of_cm(&leaving.beside[0]) {
        return Err(refused(format!("{} is of a cluster that openGauss CM manages", path.display()))
            .reason(Reason::ManagedByCm)
            .hint("remove the node by openGauss's OM tools (gs_dropnode, gs_uninstall)"));
    }
    let own = config.local_node();
    let wanted = args.local.as_deref();
    if wanted.is_some_and(|key| own.is_none_or(|own| config.cluster.find(key) != Some(own))) {
        return Err(refused(format!(
            "{} is the copy for {}, not for {}",
            path.display(),
            own.map_or("a node that is not in it", |own| &own.name),
            wanted.unwrap_or_default()
        ))
        .hint("correct local, or keep the file"));
    }
    if let Some(dir) = leaving.in_use.first() {
        return Err(refused(format!("{} is also for the database in {}", path.display(), dir.display()))
            .hint("keep the file; or remove that data directory first (og_initdb with state: absent)"));
    }
    Ok(leaving.beside.iter().chain([&leaving.file]).filter_map(removal_of).collect())
}
