//! The files which say who belongs to a cluster: cluster_static_config, cluster_dynamic_config, cluster_dnrole_config
//! and cluster_config.xml.

mod args;
mod links;
mod plan;
mod removal;
mod svg;
mod view;

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use og_common::clock;
use og_common::cluster::dynamic_config::DynamicConfig;
use og_common::cluster::static_config::StaticConfig;
use og_common::cluster::{Cluster, spec, xml};
use og_common::files::{self, NodeLock};
use og_common::gauss::Environment;
use og_common::protocol::{ArgRule, Call, Error, ErrorKind, Example, Module, Report, View};

use links::Links;
use removal::Leaving;

pub use args::{Args, ClusterParams, Dynamic, Instance, LiveRole, Output, State, Verify};
pub use plan::{Change, Found, Nodes, Plan, Present, copy_name, draw, plan};
pub use svg::draw as draw_svg;
pub use view::table;

/// The module.
#[derive(Debug)]
pub struct StaticConf;

impl Module for StaticConf {
    const NAME: &'static str = "og_static_conf";
    const ABOUT: &'static str = "The members of the cluster: cluster_static_config and cluster_config.xml";
    const TIMEOUT: u64 = 60;
    const EXAMPLES: &'static [Example] = &[
        Example {
            title: "Write the file of a primary and a standby, on node1",
            args: r#"{"nodes": [
  {"name": "node1", "address": "192.168.0.11", "base_port": 26000, "data_dir": "/gauss/data/db1", "role": "primary"},
  {"name": "node2", "address": "192.168.0.12"}], "local": "node1"}"#,
        },
        Example {
            title: "Write it from the XML file that the cluster was installed with",
            args: r#"{"xml": "/gauss/cluster_config.xml", "local": "node1"}"#,
        },
        Example {
            title: "Add a standby in another zone, and to the XML file as well",
            args: r#"{"add": [{"name": "node3", "address": "192.168.0.13", "zone": "AZ2"}], "write_xml": "/gauss/cluster_config.xml"}"#,
        },
        Example {
            title: "Drop a node after a switchover, and record the live roles",
            args: r#"{"primary": "node2", "drop": ["node3"], "roles": {"node1": "standby", "node2": "primary"}}"#,
        },
        Example {
            title: "Who belongs to the cluster, and where does the XML file differ",
            args: r#"{"state": "query", "verify": {"xml": "/gauss/cluster_config.xml"}}"#,
        },
        Example {
            title: "Remove the files of a node whose data directory is gone",
            args: r#"{"state": "absent", "local": "node3"}"#,
        },
        Example {
            title: "A copy of the file for every node",
            args: r#"{"xml": "/gauss/cluster_config.xml", "for_all": "/gauss/om/script/static_config_files"}"#,
        },
    ];
    const RULES: &'static [ArgRule] = &[
        ArgRule::Exclusive(&["xml", "nodes"]),
        ArgRule::Exclusive(&["xml", "add"]),
        ArgRule::Exclusive(&["xml", "drop"]),
        ArgRule::Exclusive(&["xml", "primary"]),
        ArgRule::Exclusive(&["nodes", "add"]),
        ArgRule::Exclusive(&["nodes", "drop"]),
        ArgRule::Exclusive(&["nodes", "primary"]),
        ArgRule::OnlyIf {
            key: "state",
            values: &["present"],
            allows: &[
                "xml",
                "nodes",
                "add",
                "drop",
                "primary",
                "write_xml",
                "cluster",
                "roles",
                "for_all",
                "dynamic",
                "backup",
            ],
        },
        ArgRule::OnlyIf { key: "state", values: &["present", "absent"], allows: &["local"] },
        ArgRule::OnlyIf { key: "state", values: &["query"], allows: &["verify"] },
        ArgRule::OnlyIf { key: "dynamic", values: &["keep"], allows: &["roles"] },
    ];
    const VIEWS: &'static [View] = view::VIEWS;
    type Args = Args;
    type Output = Output;

    fn anchor(args: &Args) -> Option<&Path> {
        let path = args.path.as_deref().or(args.for_all.as_deref())?;
        if path.exists() { Some(path) } else { path.parent() }
    }

    async fn run(call: &Call, args: Args) -> Result<Report<Output>, Error> {
        let env = environment(call, &args).await?;
        let place = find_path(&args, &env)?;
        match args.state {
            State::Query => {
                let file = place.clone().map(read_found).transpose()?;
                let told = unknown_params(call, &file.iter().collect::<Vec<_>>()).await?;
                let mut report = query(&args, place)?;
                report.warnings.extend(told);
                Ok(report)
            }
            State::Absent => remove(call, &args, place).await,
            State::Present => handle_present(call, &args, place, &env).await,
        }
    }
}

/// The environment of openGauss, when something of the call depends on it.
async fn environment(call: &Call, args: &Args) -> Result<Environment, Error> {
    let new_xml = args.write_xml.as_deref().is_some_and(|p| !p.exists());
    if args.path.is_none() || new_xml {
        Environment::from_call(call).await
    } else {
        Ok(Environment::default())
    }
}

/// The static config's path, when it is given or GAUSSHOME is known.
fn find_path(args: &Args, env: &Environment) -> Result<Option<PathBuf>, Error> {
    let place = args
        .path
        .clone()
        .or_else(|| env.gauss_home().map(|home| home.join("bin").join("cluster_static_config")));
    for (name, path) in
        [("path", &place), ("xml", &args.xml), ("write_xml", &args.write_xml), ("for_all", &args.for_all)]
    {
        if let Some(relative) = path.as_deref().filter(|p| !p.is_absolute()) {
            return Err(Error::bad_args(format!(
                "{name} must be an absolute path, not {}",
                relative.display()
            ))
            .with_path(format!("/{name}")));
        }
    }
    Ok(place)
}

/// The file's bytes; nothing when it is not there.
fn read_if_present(path: &Path) -> Result<Option<Vec<u8>>, Error> {
    match files::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

fn read_found(path: PathBuf) -> Result<Found, Error> {
    Ok(Found { bytes: read_if_present(&path)?, path })
}

/// Says in which file it was, for the readers know only bytes.
fn locate_error<T>(path: &Path, result: Result<T, Error>) -> Result<T, Error> {
    result.map_err(|e| {
        let failure = e.failure();
        let mut new =
            Error::new(e.kind(), format!("{}: {}", path.display(), failure.detail)).with_path(path.display());
        if let Some(hint) = &failure.hint {
            new = new.hint(hint);
        }
        if let Some(code) = &failure.gauss_code {
            new = new.gauss_code(code);
        }
        new
    })
}

/// Whether the file's bytes are a cluster_config.xml rather than a cluster_static_config.
fn is_xml(bytes: &[u8]) -> bool {
    // The length of a static config's header, without which it may be text.
    bytes.get(4..8) != Some(&[28, 0, 0, 0]) && bytes.trim_ascii_start().first() == Some(&b'<')
}

fn read_static(path: &Path) -> Result<Option<StaticConfig>, Error> {
    read_if_present(path)?.map(|bytes| locate_error(path, StaticConfig::parse(&bytes))).transpose()
}

fn read_xml(path: &Path) -> Result<Cluster, Error> {
    let bytes = files::read(path)?;
    locate_error(path, cluster_of(&bytes))
}

/// The cluster of a cluster_config.xml.
fn cluster_of(bytes: &[u8]) -> Result<Cluster, Error> {
    xml::Document::parse_any(xml::decode_text(bytes)?)?.cluster()
}

/// The parameters in these XML files that OM does not know, to be looked at: before release 6.0 it passed over them.
///
/// # Errors
/// `corrupt` for the first one, where the installed release is one whose OM refuses such a file.
async fn unknown_params(call: &Call, files: &[&Found]) -> Result<Vec<String>, Error> {
    let mut found = Vec::new();
    for file in files {
        let text = file
            .bytes
            .as_deref()
            .filter(|bytes| is_xml(bytes))
            .and_then(|bytes| xml::decode_text(bytes).ok());
        // What else is wrong with a file is told where it is read.
        let Some(document) = text.and_then(|text| xml::Document::parse_any(text).ok()) else { continue };
        for error in document.unknown_params() {
            found.push(locate_error::<()>(&file.path, Err(error.clone())).err());
        }
    }
    let mut found: Vec<Error> = found.into_iter().flatten().collect();
    if found.is_empty() {
        return Ok(Vec::new());
    }
    let release = match Environment::from_call(call).await {
        Ok(env) => env.version(call).await,
        Err(_) => None,
    };
    if release.is_some_and(|release| release.has_om_that_checks_names()) {
        return Err(found.swap_remove(0));
    }
    let told = |error: &Error| {
        format!("{}; OM before 6.0 passes over it, later ones refuse the file", error.failure().detail)
    };
    Ok(found.iter().map(told).collect())
}

fn query(args: &Args, place: Option<PathBuf>) -> Result<Report<Output>, Error> {
    let path = place.ok_or_else(plan::no_path_error)?;
    let bytes = read_if_present(&path)?;
    if let Some(bytes) = bytes.as_deref().filter(|bytes| args.verify.is_none() && is_xml(bytes)) {
        let cluster = locate_error(&path, cluster_of(bytes))?;
        return Ok(Report::unchanged(
            names(&cluster),
            Output { path: Some(path), ..output_of_cluster(&cluster) },
        ));
    }
    let config = bytes.map(|bytes| locate_error(&path, StaticConfig::parse(&bytes))).transpose()?;
    let differences = match (&args.verify, &config) {
        (None, _) => None,
        (Some(verify), Some(config)) => Some(compare(verify, config)?),
        (Some(_), None) => {
            return Err(Error::not_found(format!("there is no {} to compare", path.display()))
                .with_path(path.display()));
        }
    };
    let dynamic = path.with_file_name("cluster_dynamic_config");
    let mut warnings = Vec::new();
    let bytes = read_if_present(&dynamic)?;
    let roles = match bytes.as_deref().map(DynamicConfig::parse) {
        None => None,
        Some(Ok(dynamic)) => Some(roles(&dynamic)),
        Some(Err(_)) if bytes.as_deref().is_some_and(DynamicConfig::is_cm_file) => {
            warnings.push(format!(
                "{} is openGauss CM's own record, which may be old: cm_ctl query -Cvidp tells the roles",
                dynamic.display()
            ));
            None
        }
        Some(Err(e)) => {
            warnings.push(format!("{}: {}", dynamic.display(), e.failure().detail));
            None
        }
    };
    let Some(config) = config else {
        let msg = format!("there is no {}", path.display());
        return Ok(Report::unchanged(msg, Output { path: Some(path), roles, ..Output::default() })
            .with_warnings(warnings));
    };
    if config.local_node().is_none() {
        warnings.push(format!(
            "the file is for the node with id {}, which is not in it: gs_guc refuses it",
            config.local
        ));
    }
    let msg = match &differences {
        Some(list) if list.is_empty() => format!("{} nodes, no difference", config.cluster.nodes.len()),
        Some(list) => format!("{} nodes, {} differences", config.cluster.nodes.len(), list.len()),
        None => names(&config.cluster),
    };
    let output = Output { path: Some(path), roles, differences, ..output_of_config(&config) };
    Ok(Report::unchanged(msg, output).with_warnings(warnings))
}

/// What differs between the file and what it is compared with.
fn compare(verify: &Verify, config: &StaticConfig) -> Result<Vec<spec::Difference>, Error> {
    let present = &config.cluster;
    let there = match (&verify.xml, &verify.nodes, &verify.path) {
        (Some(path), None, None) => {
            let said = read_xml(path)?;
            // Where the links lead counts only if the file says so.
            let mut links = links::find_links(&said);
            links.retain(|_, real| present.data_nodes().any(|(_, d)| d.data_dir == *real));
            let said = links::follow_links(said, &links, Some(present));
            spec::compare_with(&spec::without_ids(&said), present)?
        }
        (None, Some(nodes), None) => spec::compare_with(nodes, present)?,
        (None, None, Some(path)) => {
            let other = read_static(path)?.ok_or_else(|| {
                Error::not_found(format!("there is no {}", path.display())).with_path("/verify/path")
            })?;
            return Ok(config.differences(&other));
        }
        _ => {
            return Err(
                Error::bad_args("verify needs exactly one of xml, nodes and path").with_path("/verify")
            );
        }
    };
    Ok(spec::differences(present, &there))
}

fn roles(dynamic: &DynamicConfig) -> BTreeMap<String, og_common::cluster::ConfiguredRole> {
    dynamic.nodes.iter().flat_map(|n| &n.data_nodes).map(|d| (format!("dn_{}", d.id), d.role)).collect()
}

fn names(cluster: &Cluster) -> String {
    let names: Vec<_> = cluster.nodes.iter().map(|n| n.name.as_str()).collect();
    format!("{} nodes: {}", names.len(), names.join(", "))
}

/// What every file says of a cluster.
fn output_of_cluster(cluster: &Cluster) -> Output {
    Output {
        exists: true,
        primary: cluster.primary().map(|n| n.name.clone()),
        nodes: spec::describe(cluster),
        instances: cluster
            .data_nodes()
            .map(|(n, d)| Instance { name: d.name(), node: n.name.clone(), role: d.role })
            .collect(),
        ..Output::default()
    }
}

/// What a static config says.
fn output_of_config(config: &StaticConfig) -> Output {
    Output {
        local: config.local_node().map(|n| n.name.clone()),
        time: Some(config.time),
        layout: Some(config.layout),
        peer_slots: Some(config.slots),
        ..output_of_cluster(&config.cluster)
    }
}

async fn handle_present(
    call: &Call,
    args: &Args,
    place: Option<PathBuf>,
    env: &Environment,
) -> Result<Report<Output>, Error> {
    let asked = args.xml.is_some()
        || args.nodes.is_some()
        || args.add.is_some()
        || args.drop.is_some()
        || args.primary.is_some()
        || args.local.is_some()
        || args.roles.is_some()
        || args.write_xml.is_some()
        || args.for_all.is_some()
        || args.dynamic == Dynamic::Remove;
    if !asked {
        return Err(Error::bad_args(
            "nothing is asked for: give xml, nodes, or what to change (add, drop, primary)",
        )
        .hint("state: query says what the file says"));
    }
    if place.is_none() && args.for_all.is_none() {
        return Err(plan::no_path_error());
    }
    let mut folders: Vec<PathBuf> = [place.as_deref(), args.write_xml.as_deref()]
        .into_iter()
        .flatten()
        .filter_map(Path::parent)
        .chain(args.for_all.as_deref())
        .map(Path::to_owned)
        .collect();
    folders.sort();
    folders.dedup();
    if let Some(missing) = folders.iter().find(|f| !f.is_dir()) {
        return Err(Error::not_found(format!("the folder {} is not there", missing.display()))
            .with_path(missing.display())
            .hint("make it first"));
    }
    let mut locks = Vec::new();
    if !call.check {
        for folder in &folders {
            locks.push(NodeLock::acquire(folder, call).await?);
        }
    }
    let present = read_present(args, place, env)?;
    let source = args.xml.clone().map(read_found).transpose()?;
    let files: Vec<&Found> = source.iter().chain(&present.write_xml).collect();
    let told = unknown_params(call, &files).await?;
    let mut plan = plan(args, &present)?;
    plan.warnings.extend(told);
    let mut backup = None;
    for change in plan.changes.iter().filter(|_| !call.check) {
        let kept = apply(change, present.content_before(&change.path), args.backup)?;
        call.record_action(&change.action);
        backup = backup.or(kept);
    }
    let actions = plan.changes.iter().map(|change| change.action.clone()).collect();
    Ok(report(call, &present, plan, actions, backup))
}

async fn remove(call: &Call, args: &Args, place: Option<PathBuf>) -> Result<Report<Output>, Error> {
    let path = place.ok_or_else(plan::no_path_error)?;
    let data_dir = call.common.data_dir.as_deref();
    let folder = path.parent().filter(|folder| folder.is_dir());
    let _lock = match folder {
        Some(folder) if !call.check => Some(NodeLock::acquire(folder, call).await?),
        _ => None,
    };
    let leaving = Leaving::read(path, data_dir)?;
    let changes = removal::plan(args, &leaving)?;
    for change in changes.iter().filter(|_| !call.check) {
        apply(change, None, false)?;
        call.record_action(&change.action);
    }
    let path = leaving.file.path;
    let msg = match (changes.is_empty(), call.check) {
        (true, _) => format!("there is no {}", path.display()),
        (false, true) => format!("{} would be gone", path.display()),
        (false, false) => format!("{} is gone", path.display()),
    };
    let told = leaving.config.as_ref().map(output_of_config).unwrap_or_default();
    let mut report = Report::new(
        changes.iter().map(|change| change.action.clone()).collect(),
        msg,
        Output { path: Some(path), exists: false, ..told },
    );
    report.diff = changes.into_iter().map(|change| change.diff).collect();
    Ok(report)
}

/// Reads all that the plan looks at.
fn read_present(args: &Args, place: Option<PathBuf>, env: &Environment) -> Result<Present, Error> {
    let beside = |name: &str| place.as_ref().map(|p| read_found(p.with_file_name(name))).transpose();
    let (dynamic, dnrole) = (beside("cluster_dynamic_config")?, beside("cluster_dnrole_config")?);
    let file = place.map(read_found).transpose()?;
    let config = file
        .as_ref()
        .and_then(|f| f.bytes.as_deref().map(|bytes| locate_error(&f.path, StaticConfig::parse(bytes))));
    let mut present = Present {
        dynamic,
        dnrole,
        config: config.transpose()?,
        file,
        xml: args.xml.as_deref().map(read_xml).transpose()?,
        write_xml: args.write_xml.clone().map(read_found).transpose()?,
        links: Links::new(),
        copies: Vec::new(),
        host: std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_owned(),
        globals: globals(env),
        now: i64::try_from(clock::now()).unwrap_or(i64::MAX),
    };
    if present.file.is_some() {
        // This is a node of the cluster, where OM would follow links.
        if let Some(cluster) = &present.xml {
            present.links = links::find_links(cluster);
        }
        if let Some(cluster) = present.write_xml.as_ref().and_then(plan::parse_xml_cluster) {
            present.links.extend(links::find_links(&cluster));
        }
    }
    if let Some(folder) = &args.for_all {
        for node in &plan::wanted_cluster(args, &present)?.nodes {
            present.copies.push(read_found(folder.join(copy_name(&node.name)))?);
        }
    }
    Ok(present)
}

/// What the environment says for a new XML file, as OM sets it from one.
fn globals(env: &Environment) -> xml::Globals {
    let get = |key: &str| env.get(key).map(|v| v.to_string_lossy().into_owned());
    let log = get("GAUSSLOG").map(|log| {
        // OM puts the user's name behind gaussdbLogPath.
        let user = get("USER").map(|user| format!("/{user}")).unwrap_or_default();
        log.strip_suffix(&user).unwrap_or(&log).to_owned()
    });
    xml::Globals {
        name: "dbCluster".to_owned(),
        app_path: get("GAUSSHOME").unwrap_or_default(),
        log_path: log,
        tmp_path: get("PGHOST"),
        tool_path: get("GPHOME"),
        core_path: None,
    }
}

fn apply(change: &Change, before: Option<&[u8]>, backup: bool) -> Result<Option<PathBuf>, Error> {
    let Some(after) = &change.after else {
        std::fs::remove_file(&change.path).map_err(|e| Error::io("remove", &change.path, &e))?;
        return Ok(None);
    };
    let kept = match before {
        Some(before) => files::replace_read(&change.path, before, after, backup)?,
        None => files::replace(&change.path, after, backup)?,
    };
    if !change.old {
        std::fs::set_permissions(&change.path, std::fs::Permissions::from_mode(change.mode))
            .map_err(|e| Error::io("set the mode of", &change.path, &e))?;
    }
    Ok(kept)
}

fn report(
    call: &Call,
    present: &Present,
    plan: Plan,
    done: Vec<String>,
    backup: Option<PathBuf>,
) -> Report<Output> {
    let old = present.config.as_ref().map(|c| &c.cluster);
    let mut out = match &plan.config {
        Some(config) => {
            let nodes = Nodes::compare(old, &config.cluster);
            Output {
                added: nodes.added,
                dropped: nodes.dropped,
                updated: nodes.updated,
                ..output_of_config(config)
            }
        }
        None => Output { exists: false, ..output_of_cluster(&plan.cluster) },
    };
    out.path = present.file.as_ref().map(|f| f.path.clone());
    out.copies = plan.copies;
    let nodes = plan.cluster.nodes.len();
    let msg = match (done.as_slice(), call.check) {
        ([], _) => format!("nothing to do: {nodes} nodes"),
        ([one], false) => one.clone(),
        ([one], true) => format!("would {one}"),
        (several, false) => format!("{} files changed: {nodes} nodes", several.len()),
        (several, true) => format!("{} files would change: {nodes} nodes", several.len()),
    };
    let mut report = Report::new(done, msg, out).with_warnings(plan.warnings);
    report.diff = plan.changes.into_iter().map(|c| c.diff).collect();
    report.backup_file = backup;
    report
}
