//! Reads the facts of a node, as much as possible side by side.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use og_common::gauss::peer;
use og_common::gauss::{NodeContent, Security, ServerNode};
use og_common::protocol::{Call, Error};

use crate::args::{Args, Purpose, Target};
use crate::facts::{Facts, Root, SourceAnswer, disk, limits, network, os, server};

/// Ports that the server uses beside its own: base + 1 to base + 5.
const MORE_PORTS: u16 = 5;
/// How long the sources of a build may take to answer.
const SOURCES_LIMIT: Duration = Duration::from_secs(8);
/// How long the data directory may be measured.
const SIZES_LIMIT: Duration = Duration::from_secs(20);

/// Reads everything.
///
/// # Errors
/// As [`Call::data_dir`], unless the directory is still to be made.
#[allow(clippy::too_many_lines)] // One line for each subject.
pub(crate) async fn collect(call: &Call, args: &Args) -> Result<Facts, Error> {
    let node = match args.purpose {
        Purpose::Deploy => ServerNode::new(call.planned_data_dir()?),
        _ => ServerNode::from_call(call)?,
    };
    let root = Root::default();
    let mut facts = Facts { identity: node.identity(), ..Facts::default() };
    let pid = node.running_pid();
    os::read(&mut facts, &root, pid, args.sent_at);
    limits::read(&mut facts, &root, pid);
    server::read_conf(&mut facts, &node.data_dir);
    server::read_lock(&mut facts, &node.data_dir);
    let channels = node.channels();
    network::read_channels(&mut facts, &channels);
    network::read_hosts(&mut facts, &root);

    let walks = has_copied_data(args.purpose) && facts.identity.content == NodeContent::Database;
    let sizes = async {
        let dir = node.data_dir.clone();
        if walks { Some(network::run_detached(SIZES_LIMIT, move || disk::sizes(&dir)).await) } else { None }
    };
    let copies = args.purpose == Purpose::Build || (args.purpose == Purpose::Expand && args.wanted.target);
    let dirty = matches!(args.purpose, Purpose::Any | Purpose::Switchover | Purpose::Restart);
    let runs = pid.is_some();
    let (programs, state, settings, activity, reached, names, sources, ends, sizes) = tokio::join!(
        server::programs(call, &node),
        node.query_all(call),
        async { if runs { Some(server::running_settings(call, &node).await) } else { None } },
        async { if runs { Some(server::activity(call, &node, dirty).await) } else { None } },
        network::reach_targets(targets(args, &channels)),
        network::resolve_names(names(&facts, args)),
        ask_sources(&node, if copies { channels.clone() } else { Vec::new() }),
        network::find_local_ends(&channels),
        sizes,
    );
    match programs {
        Ok(programs) => facts.programs = programs,
        Err(why) => facts.note_unknown("programs", why),
    }
    match state {
        Ok(state) => facts.server = state,
        Err(e) => {
            facts.note_unknown("server", e.failure().detail.clone());
            facts.server.running = runs;
            facts.server.pid = pid;
        }
    }
    facts.managed_by = match &facts.server.managed_by {
        // A state that could not be had tells nothing of it.
        found if !facts.unknown.contains_key("server") => found.clone(),
        _ => node.managed_by(call, false).await,
    };
    match settings {
        Some(Ok(rows)) => {
            for (name, value) in rows {
                facts.settings.insert_running(&name, value);
            }
        }
        Some(Err(why)) => facts.note_unknown("settings", why),
        None => {}
    }
    match activity {
        Some(Ok(mut activity)) => {
            server::read_activity_files(&mut activity, &node.data_dir);
            facts.activity = Some(activity);
        }
        Some(Err(why)) => facts.note_unknown("activity", why),
        None => {}
    }
    facts.reached = reached;
    facts.hosts.names = names;
    for (channel, answer) in facts.channels.iter_mut().zip(sources) {
        channel.source = answer;
    }
    for (channel, end) in facts.channels.iter_mut().zip(ends) {
        channel.local = end;
    }
    server::read_hba(&mut facts, &node.data_dir, &args.wanted.clients);
    server::read_cluster(&mut facts);
    facts.security = Security::read(&node.data_dir, |name| facts.settings.get(name).map(str::to_owned));
    let port =
        args.wanted.port.or_else(|| facts.settings.number("port").and_then(|port| u16::try_from(port).ok()));
    let ports: Vec<u16> = if args.wanted.ports.is_empty() {
        port.into_iter().flat_map(|port| port..=port.saturating_add(MORE_PORTS)).collect()
    } else {
        args.wanted.ports.clone()
    };
    network::read_ports(&mut facts, &root, &ports, pid);
    let env = node.env(call).await.ok();
    let variable = |name: &str| env.and_then(|env| env.get(name)).map(std::path::PathBuf::from);
    let sockets = server::socket_dir(&facts, variable("PGHOST"));
    for name in ["GAUSS_ENV", "GPHOME"] {
        if let Some(value) = variable(name) {
            facts.leftovers.push(crate::facts::Leftover {
                kind: crate::facts::LeftoverKind::Environment,
                subject: name.to_owned(),
                detail: value.display().to_string(),
                stale: false,
            });
        }
    }
    disk::read_leftovers(&mut facts, &root, &node.data_dir, &sockets, port);
    let wal = ["pg_xlog", "pg_wal"].iter().map(|name| node.data_dir.join(name)).find(|path| path.exists());
    let wal = wal.and_then(|path| std::fs::canonicalize(path).ok());
    let home = facts.programs.gauss_home.clone().map(Into::into);
    let places: Vec<(&str, std::path::PathBuf)> = [
        Some(("data", node.data_dir.clone())),
        wal.map(|path| ("wal", path)),
        home.map(|path| ("programs", path)),
        Some(("sockets", sockets)),
    ]
    .into_iter()
    .flatten()
    .collect();
    disk::read(&mut facts, &root, &places);
    match sizes {
        Some(Some((data, wal))) => (facts.data_bytes, facts.wal_bytes) = (Some(data), Some(wal)),
        Some(None) => {
            let limit = SIZES_LIMIT.as_secs();
            facts.note_unknown("sizes", format!("the data directory could not be measured within {limit} s"));
        }
        None => {}
    }
    facts.clock.answered_at = os::now();
    Ok(facts)
}

/// Whether it matters for the change how much data there are: a walk through a large directory takes its time, and the disk's.
fn has_copied_data(purpose: Purpose) -> bool {
    purpose == Purpose::Any || purpose.copies_data()
}

/// What is to be reached from here, each from the address that the server would use.
fn targets(args: &Args, channels: &[peer::ChannelEnds]) -> Vec<(Target, Option<IpAddr>)> {
    let wanted = args.wanted.reach.iter().map(|target| (target.clone(), None));
    if !args.wanted.reach.is_empty() {
        return wanted.collect();
    }
    let channel = |channel: &peer::ChannelEnds| {
        let target = Target { host: channel.remote_host.clone(), port: channel.remote_port };
        (target, channel.local_host.parse().ok())
    };
    channels.iter().map(channel).collect()
}

/// The names whose addresses must be the same everywhere.
fn names(facts: &Facts, args: &Args) -> BTreeSet<String> {
    let ends = facts.channels.iter().flat_map(|channel| [&channel.local_host, &channel.remote_host]);
    let all = ends.chain(&args.wanted.hosts).chain(args.wanted.reach.iter().map(|target| &target.host));
    let own = facts.system.host_name.iter();
    all.chain(own).filter(|name| name.parse::<IpAddr>().is_err() && !name.is_empty()).cloned().collect()
}

/// What the source behind each channel says to a build, side by side: each takes one of its senders for a moment.
async fn ask_sources(node: &ServerNode, channels: Vec<peer::ChannelEnds>) -> Vec<SourceAnswer> {
    let mut asked = Vec::new();
    for channel in channels {
        let node = ServerNode::new(&node.data_dir);
        asked.push(tokio::spawn(async move {
            let answer = tokio::time::timeout(SOURCES_LIMIT, node.ask_source(&channel)).await;
            answer.map_or(SourceAnswer::NoAnswer, SourceAnswer::from)
        }));
    }
    let mut answers = Vec::new();
    for one in asked {
        answers.push(one.await.unwrap_or(SourceAnswer::NoAnswer));
    }
    answers
}
