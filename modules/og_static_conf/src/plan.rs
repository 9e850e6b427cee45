//! From what is there and what is wanted to the files that change; nothing here touches the system.

use std::path::{Path, PathBuf};

use og_common::cluster::dynamic_config::{DynamicConfig, Roles, print_dnrole};
use og_common::cluster::static_config::{LAYOUT, PEER_SLOTS, StaticConfig};
use og_common::cluster::{Cluster, ClusterAddress, DataNode, spec, xml};
use og_common::protocol::{Diff, Error, Reason};

use crate::args::{Args, Dynamic};
use crate::links::{self, Links};
use crate::locate_error;

/// Mode of a new static config: OM's.
const STATIC_MODE: u32 = 0o750;
/// Mode of a new dynamic config: OM's.
const DYNAMIC_MODE: u32 = 0o600;
/// Mode of a new XML file, which every user of OM may read.
const XML_MODE: u32 = 0o644;

/// A file as it is.
#[derive(Debug)]
pub struct Found {
    /// Where it is.
    pub path: PathBuf,
    /// What is in it; nothing when it is not there.
    pub bytes: Option<Vec<u8>>,
}

/// Everything that was read.
#[derive(Debug)]
pub struct Present {
    /// The static config, when its place is known.
    pub file: Option<Found>,
    /// The static config's content.
    pub config: Option<StaticConfig>,
    /// cluster_dynamic_config beside it.
    pub dynamic: Option<Found>,
    /// cluster_dnrole_config beside it.
    pub dnrole: Option<Found>,
    /// The XML file that the cluster is taken from.
    pub xml: Option<Cluster>,
    /// The XML file to bring up to date.
    pub write_xml: Option<Found>,
    /// Where the data directories of the XML files lead on this machine.
    pub links: Links,
    /// The copies that are in the folder of `for_all`.
    pub copies: Vec<Found>,
    /// This machine's name.
    pub host: String,
    /// What the environment says for a new XML file.
    pub globals: xml::Globals,
    /// Now, in seconds since 1970.
    pub now: i64,
}

impl Present {
    /// What was read of the file at `path`; nothing when it was not there or not looked at.
    #[must_use]
    pub fn content_before(&self, path: &Path) -> Option<&[u8]> {
        let several = [&self.file, &self.dynamic, &self.dnrole, &self.write_xml];
        let mut files = several.into_iter().flatten().chain(&self.copies);
        files.find(|found| found.path == path)?.bytes.as_deref()
    }
}

/// A file that changes.
#[derive(Debug)]
pub struct Change {
    /// Where it is.
    pub path: PathBuf,
    /// What it becomes; nothing when it goes.
    pub after: Option<Vec<u8>>,
    /// Its mode when it is new.
    pub mode: u32,
    /// Whether it is there already.
    pub old: bool,
    /// What is done, in words.
    pub action: String,
    /// The change drawn; binary files as text.
    pub diff: Diff,
}

/// What to do.
#[derive(Debug)]
pub struct Plan {
    /// The files that change, in the order of writing.
    pub changes: Vec<Change>,
    /// The static config as it will be; nothing when only copies are written.
    pub config: Option<StaticConfig>,
    /// The cluster as it will be.
    pub cluster: Cluster,
    /// The copies of `for_all`.
    pub copies: Vec<PathBuf>,
    /// Things to look at.
    pub warnings: Vec<String>,
}

/// Nothing says which file is meant.
pub fn no_path_error() -> Error {
    Error::bad_args("neither path nor GAUSSHOME says where the static config is").with_path("/path")
}

/// Finds out what changes.
///
/// # Errors
/// As [`spec::build`] and [`spec::edit`]; `bad_args` when the local node is not known; `not_found` when there is nothing
/// to edit.
pub fn plan(args: &Args, present: &Present) -> Result<Plan, Error> {
    let old = present.config.as_ref();
    let cluster = wanted_cluster(args, present)?;
    let mut plan =
        Plan { changes: Vec::new(), config: None, copies: Vec::new(), warnings: Vec::new(), cluster };
    let base = StaticConfig {
        layout: old.map_or(LAYOUT, |o| o.layout),
        slots: old.map_or(PEER_SLOTS, |o| o.slots),
        time: present.now,
        local: 0,
        cluster: plan.cluster.clone(),
    };
    if let Some(file) =
        present.file.as_ref().filter(|_| args.for_all.is_none() || args.local.is_some() || old.is_some())
    {
        let config = StaticConfig { local: find_local_id(args, present, &plan.cluster)?, ..base.clone() };
        let config = match old {
            // Only the time would differ: the file stays.
            Some(old) if old.same_but_time(&config) => old.clone(),
            _ => {
                plan.changes.push(static_change(&file.path, old, &config)?);
                config
            }
        };
        plan.config = Some(config);
        plan_dynamic(args, present, &mut plan)?;
    } else if args.roles.is_some() {
        return Err(Error::bad_args("roles are written beside the static config, whose place is not known")
            .with_path("/roles")
            .hint("give path, or gauss_home"));
    }
    for found in &present.copies {
        plan_copy(found, &base, &mut plan)?;
    }
    if let Some(found) = &present.write_xml {
        write_xml(args, present, found, &mut plan)?;
    }
    Ok(plan)
}

/// The cluster as it is asked for.
pub(crate) fn wanted_cluster(args: &Args, present: &Present) -> Result<Cluster, Error> {
    let old = present.config.as_ref().map(|c| &c.cluster);
    if let Some(nodes) = &args.nodes {
        return spec::build(nodes, old)
            .map_err(|e| if e.failure().path.is_none() { e.with_path("/nodes") } else { e });
    }
    if let Some(cluster) = &present.xml {
        let cluster = links::follow_links(cluster.clone(), &present.links, old);
        let Some(old) = old else { return Ok(cluster) };
        return spec::build(&spec::without_ids(&cluster), Some(old));
    }
    let Some(old) = old else {
        return Err(match &present.file {
            Some(file) => Error::not_found(format!(
                "there is no {} to edit, and neither xml nor nodes says what to write",
                file.path.display()
            ))
            .with_path(file.path.display()),
            None => no_path_error(),
        });
    };
    spec::edit(
        old,
        spec::Edit {
            add: args.add.as_deref().unwrap_or_default(),
            drop: args.drop.as_deref().unwrap_or_default(),
            primary: args.primary.as_deref(),
        },
    )
}

/// The id of the node that the copy is for.
fn find_local_id(args: &Args, present: &Present, cluster: &Cluster) -> Result<u32, Error> {
    let names = || cluster.nodes.iter().map(|n| n.name.as_str()).collect::<Vec<_>>().join(", ");
    if let Some(key) = &args.local {
        return cluster.find(key).map(|n| n.id).ok_or_else(|| {
            Error::bad_args(format!("local is {key}, which is none of the cluster's nodes: {}", names()))
                .with_path("/local")
        });
    }
    if let Some(node) = present.config.as_ref().and_then(StaticConfig::local_node) {
        return cluster.node(&node.name).map(|n| n.id).ok_or_else(|| {
            Error::refused(format!("the file is {}'s own copy, and {0} would not be in it", node.name))
                .with_path("/local")
                .hint("on a dropped node the file stays as it is; to make it another node's copy, give local")
        });
    }
    cluster.node(&present.host).map(|n| n.id).ok_or_else(|| {
        Error::bad_args(format!(
            "local is not given, and this machine's name {} is none of the nodes: {}",
            present.host,
            names()
        ))
        .with_path("/local")
    })
}

fn static_change(path: &Path, old: Option<&StaticConfig>, new: &StaticConfig) -> Result<Change, Error> {
    Ok(Change {
        path: path.to_owned(),
        after: Some(new.print()?),
        mode: STATIC_MODE,
        old: old.is_some(),
        action: format!("write {}: {}", path.display(), summary(old.map(|o| &o.cluster), &new.cluster)),
        diff: Diff::new(path, old.map(draw).unwrap_or_default().as_bytes(), draw(new).as_bytes()),
    })
}

/// What changes, in a few words.
fn summary(old: Option<&Cluster>, new: &Cluster) -> String {
    let Some(old) = old else { return format!("{} nodes", new.nodes.len()) };
    let changes = Nodes::compare(Some(old), new);
    let mut words = Vec::new();
    for (what, names) in [("add", changes.added), ("drop", changes.dropped), ("change", changes.updated)] {
        if !names.is_empty() {
            words.push(format!("{what} {}", names.join(", ")));
        }
    }
    if words.is_empty() { "its local node".to_owned() } else { words.join("; ") }
}

/// Which nodes differ.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Nodes {
    /// Names of those that came in.
    pub added: Vec<String>,
    /// Names of those that went out.
    pub dropped: Vec<String>,
    /// Names of those whose own settings changed.
    pub updated: Vec<String>,
}

impl Nodes {
    /// From `old` to `new`.
    #[must_use]
    pub fn compare(old: Option<&Cluster>, new: &Cluster) -> Self {
        let none = Cluster::default();
        let old = old.unwrap_or(&none);
        let mut nodes = Self::default();
        for difference in spec::differences(new, old) {
            let list = match difference.field.as_str() {
                "node" if difference.there.is_null() => &mut nodes.added,
                "node" => &mut nodes.dropped,
                // Peers and places follow from the other nodes.
                "peers" | "place" => continue,
                _ => &mut nodes.updated,
            };
            if list.last() != Some(&difference.node) {
                list.push(difference.node);
            }
        }
        nodes
    }
}

fn plan_dynamic(args: &Args, present: &Present, plan: &mut Plan) -> Result<(), Error> {
    let (Some(dynamic), Some(dnrole)) = (&present.dynamic, &present.dnrole) else { return Ok(()) };
    let old = dynamic.bytes.as_deref().map(DynamicConfig::parse);
    changes_own_file(args, present, &dynamic.path, plan)?;
    if let Some(roles) = &args.roles {
        if let Some(Err(e)) = &old {
            return Err(Error::corrupt(format!("{}: {}", dynamic.path.display(), e.failure().detail))
                .with_path(dynamic.path.display())
                .hint("another program wrote it; where none does, dynamic: remove takes it away first"));
        }
        let roles = live_roles(roles, plan)?;
        let new = DynamicConfig::new(&plan.cluster, &roles, present.now)?;
        if !matches!(&old, Some(Ok(old)) if old.nodes == new.nodes) {
            let before = old.as_ref().and_then(|o| o.as_ref().ok()).map(draw_dynamic).unwrap_or_default();
            plan.changes.push(Change {
                path: dynamic.path.clone(),
                after: Some(new.print()?),
                mode: DYNAMIC_MODE,
                old: dynamic.bytes.is_some(),
                action: format!("write {}: the live roles", dynamic.path.display()),
                diff: Diff::new(&dynamic.path, before.as_bytes(), draw_dynamic(&new).as_bytes()),
            });
        }
        let text = print_dnrole(&plan.cluster, &roles)?.into_bytes();
        if dnrole.bytes.as_ref() != Some(&text) {
            plan.changes.push(Change {
                path: dnrole.path.clone(),
                mode: DYNAMIC_MODE,
                old: dnrole.bytes.is_some(),
                action: format!("write {}: the live roles", dnrole.path.display()),
                diff: Diff::new(&dnrole.path, dnrole.bytes.as_deref().unwrap_or_default(), &text),
                after: Some(text),
            });
        }
        return Ok(());
    }
    if args.dynamic == Dynamic::Remove {
        plan.changes.extend([dynamic, dnrole].into_iter().filter_map(removal_of));
        return Ok(());
    }
    let path = dynamic.path.display();
    match old {
        Some(Ok(old)) if !old.fits(&plan.cluster) => plan.warnings.push(format!(
            "{path} names other nodes than the static config, so gs_om -t start fails: give roles, or dynamic: remove"
        )),
        // The one of CM is none of ours.
        Some(Err(_)) if dynamic.bytes.as_deref().is_some_and(DynamicConfig::is_cm_file) => {}
        Some(Err(e)) => plan.warnings.push(format!("{path} is not readable: {}", e.failure().detail)),
        _ => {}
    }
    Ok(())
}

/// The removal of a file that is there, drawn as text.
pub(crate) fn removal_of(found: &Found) -> Option<Change> {
    let bytes = found.bytes.as_ref()?;
    let before = match (StaticConfig::parse(bytes), DynamicConfig::parse(bytes)) {
        (Ok(config), _) => draw(&config).into_bytes(),
        (_, Ok(config)) => draw_dynamic(&config).into_bytes(),
        _ => bytes.clone(),
    };
    Some(Change {
        path: found.path.clone(),
        after: None,
        mode: DYNAMIC_MODE,
        old: true,
        action: format!("remove {}", found.path.display()),
        diff: Diff::new(&found.path, &before, &[]),
    })
}

/// Refuses to touch the dynamic config of a cluster that CM runs: CM's has another layout, and its cm_server writes it,
/// paused or not.
fn changes_own_file(args: &Args, present: &Present, path: &Path, plan: &Plan) -> Result<(), Error> {
    let asked = if args.roles.is_some() {
        "/roles"
    } else if args.dynamic == Dynamic::Remove {
        "/dynamic"
    } else {
        return Ok(());
    };
    let bytes = present.dynamic.as_ref().and_then(|found| found.bytes.as_deref());
    let has_cm =
        plan.cluster.has_cm() || present.config.as_ref().is_some_and(|config| config.cluster.has_cm());
    let seen = match (bytes.is_some_and(DynamicConfig::is_cm_file), has_cm) {
        (true, _) => format!("{} is in CM's layout", path.display()),
        (false, true) => "the static config has CM servers".to_owned(),
        (false, false) => return Ok(()),
    };
    Err(Error::refused(format!("openGauss CM keeps the roles of this cluster ({seen})"))
        .reason(Reason::ManagedByCm)
        .with_path(asked)
        .hint("leave them to cm_server: cm_ctl query -Cvidp tells the roles, cm_ctl switchover changes them"))
}

/// The roles by the servers' numbers.
fn live_roles(
    given: &std::collections::BTreeMap<String, crate::args::LiveRole>,
    plan: &mut Plan,
) -> Result<Roles, Error> {
    let mut roles = Roles::new();
    for (key, role) in given {
        let at = format!("/roles/{key}");
        let id = match plan.cluster.find(key).map(|n| n.data_nodes.as_slice()) {
            Some([one]) => one.id,
            Some(several) => {
                let names: Vec<String> = several.iter().map(DataNode::name).collect();
                return Err(Error::bad_args(format!(
                    "node {key} has {} servers; name the server instead: {}",
                    several.len(),
                    names.join(", ")
                ))
                .with_path(at));
            }
            None => match plan.cluster.data_nodes().find(|(_, d)| d.name() == *key) {
                Some((_, d)) => d.id,
                None => {
                    return Err(
                        Error::bad_args(format!("a role is given for {key}, which is no node")).with_path(at)
                    );
                }
            },
        };
        if roles.insert(id, (*role).into()).is_some() {
            return Err(Error::bad_args(format!("two roles are given for dn_{id}")).with_path(at));
        }
    }
    let missing: Vec<String> = plan
        .cluster
        .data_nodes()
        .filter(|(_, d)| !roles.contains_key(&d.id))
        .map(|(n, _)| n.name.clone())
        .collect();
    if !missing.is_empty() {
        plan.warnings.push(format!(
            "no role is given for {}: recorded as a standby which is down, as OM does",
            missing.join(", ")
        ));
    }
    Ok(roles)
}

fn plan_copy(found: &Found, base: &StaticConfig, plan: &mut Plan) -> Result<(), Error> {
    plan.copies.push(found.path.clone());
    let Some(node) = plan.cluster.nodes.iter().find(|n| found.path.ends_with(copy_name(&n.name))) else {
        return Ok(());
    };
    let new = base.for_node(node.id);
    let old = found.bytes.as_deref().and_then(|b| StaticConfig::parse(b).ok());
    if !old.as_ref().is_some_and(|o| o.same_but_time(&new)) {
        let mut change = static_change(&found.path, old.as_ref(), &new)?;
        change.old = found.bytes.is_some();
        plan.changes.push(change);
    }
    Ok(())
}

/// The name of a node's copy, as OM has it.
#[must_use]
pub fn copy_name(node: &str) -> String {
    format!("cluster_static_config_{node}")
}

/// The cluster in an XML file, if it can be read.
pub(crate) fn parse_xml_cluster(found: &Found) -> Option<Cluster> {
    let text = xml::decode_text(found.bytes.as_deref()?).ok()?;
    xml::Document::parse_any(text).ok()?.cluster().ok()
}

fn write_xml(args: &Args, present: &Present, found: &Found, plan: &mut Plan) -> Result<(), Error> {
    let (before, after) = if let Some(bytes) = &found.bytes {
        let edited = |text| {
            let document = xml::Document::parse_any(text)?;
            let wanted = links::restore_links(&document.cluster()?, &present.links, &plan.cluster);
            document.edit_text(&wanted)
        };
        let text = locate_error(&found.path, xml::decode_text(bytes))?;
        (text, locate_error(&found.path, edited(text))?)
    } else {
        let params = args.cluster.clone().unwrap_or_default();
        let known = present.globals.clone();
        let globals = xml::Globals {
            name: params.name.unwrap_or(known.name),
            app_path: params.app_path.unwrap_or(known.app_path),
            log_path: params.log_path.or(known.log_path),
            tmp_path: params.tmp_path.or(known.tmp_path),
            tool_path: params.tool_path.or(known.tool_path),
            core_path: params.core_path.or(known.core_path),
        };
        if globals.app_path.is_empty() {
            return Err(Error::bad_args("a new XML file needs cluster.app_path, and GAUSSHOME is not known")
                .with_path("/cluster/app_path"));
        }
        ("", xml::print_new(&plan.cluster, &globals)?)
    };
    if before != after {
        plan.changes.push(Change {
            path: found.path.clone(),
            mode: XML_MODE,
            old: found.bytes.is_some(),
            action: format!("write {}", found.path.display()),
            diff: Diff::new(
                &found.path,
                xml::mask_values(before).as_bytes(),
                xml::mask_values(&after).as_bytes(),
            ),
            after: Some(after.into_bytes()),
        });
    }
    Ok(())
}

/// A static config as lines of text, for people to compare.
#[must_use]
pub fn draw(config: &StaticConfig) -> String {
    let local = config.local_node().map_or_else(|| config.local.to_string(), |n| n.name.clone());
    let mut lines = vec![format!("layout {}, {} peer slots, local {local}", config.layout, config.slots)];
    for n in &config.cluster.nodes {
        lines.push(format!(
            "{} {} zone {}/{} address {} ssh {}",
            n.id,
            n.name,
            n.zone,
            n.zone_priority,
            join_addresses(&n.addresses),
            join_addresses(&n.ssh_addresses)
        ));
        if let Some(s) = &n.cm_server {
            lines.push(format!("  CM server {} {} port {} {}", s.id, s.role, s.port, n.cm_dir));
        }
        for d in &n.data_nodes {
            let xlog = if d.xlog_dir.is_empty() { String::new() } else { format!(" xlog {}", d.xlog_dir) };
            lines.push(format!(
                "  {} group {} {} port {} listen {} {}{xlog}",
                d.name(),
                d.group,
                d.role,
                d.port,
                join_addresses(&d.listen_addresses),
                d.data_dir
            ));
        }
    }
    lines.push(String::new());
    lines.join("\n")
}

fn join_addresses(addresses: &[ClusterAddress]) -> String {
    addresses.iter().map(ClusterAddress::as_str).collect::<Vec<_>>().join(",")
}

fn draw_dynamic(config: &DynamicConfig) -> String {
    let servers = config.nodes.iter().flat_map(|n| n.data_nodes.iter().map(move |d| (n, d)));
    let mut lines: Vec<String> =
        servers.map(|(n, d)| format!("{} {} dn_{} {} {}", n.id, n.name, d.id, d.role, d.data_dir)).collect();
    lines.push(String::new());
    lines.join("\n")
}
