//! This node's replication channels: replconninfo1 to replconninfo8 in its postgresql.conf.

pub mod args;
pub mod plan;

use og_common::{
    conf::ConfFile,
    gauss::{
        ConfigFile, ConfigPlan, EditPolicy, Guard, NewFile, RELOAD, Role, Sender, ServerNode, Transaction,
        Version,
    },
    protocol::{ArgRule, Call, Diff, Error, Example, Module, Report},
    replconn::{self, ChannelHost, NumberedChannel, ReplicationChannel},
};

pub use args::{Args, Local, LocalHost, Output, PeerArg, ReloadPolicy, State};
use plan::{ChannelParameter, Plan, Wanted};

/// The parameter that says for whom commits wait.
const SYNC_NAMES: &str = "synchronous_standby_names";

/// The module.
#[derive(Debug)]
pub struct ReplConnInfo;

impl Module for ReplConnInfo {
    const NAME: &'static str = "og_replconninfo";
    const ABOUT: &'static str = "This node's replication channels";
    const TIMEOUT: u64 = 60;
    const EXAMPLES: &'static [Example] = &[
        Example {
            title: "The channels of a node with two others, of which one is a cascade standby",
            args: r#"{"data_dir": "/gauss/data/dn1", "local": {"host": "10.0.0.1", "base_port": 26000}, "peers": [{"host": "10.0.0.2", "base_port": 26000}, {"host": "10.0.0.3", "base_port": 26000, "cascade": true}]}"#,
        },
        Example {
            title: "One more standby",
            args: r#"{"data_dir": "/gauss/data/dn1", "state": "present", "local": {"host": "10.0.0.1", "base_port": 26000}, "peers": [{"host": "10.0.0.4", "base_port": 26000}]}"#,
        },
        Example {
            title: "One standby less, whatever its ports",
            args: r#"{"data_dir": "/gauss/data/dn1", "state": "absent", "peers": [{"host": "10.0.0.4"}]}"#,
        },
        Example {
            title: "Look at the channels",
            args: r#"{"data_dir": "/gauss/data/dn1", "state": "query"}"#,
        },
    ];
    const RULES: &'static [ArgRule] = &[
        ArgRule::RequiredIf { key: "state", value: "exact", needs: &["peers"] },
        ArgRule::RequiredIf { key: "state", value: "present", needs: &["local", "peers"] },
        ArgRule::RequiredIf { key: "state", value: "absent", needs: &["peers"] },
        ArgRule::OnlyIf {
            key: "state",
            values: &["exact", "present", "absent"],
            allows: &["peers", "force", "foreseen"],
        },
    ];
    type Args = Args;
    type Output = Output;

    async fn run(call: &Call, args: Args) -> Result<Report<Output>, Error> {
        let policy = EditPolicy {
            reload: args.reload == ReloadPolicy::Auto,
            guard: Guard::AtRest { force: args.force },
        };
        if args.state == State::Query {
            let node = ServerNode::from_call(call)?;
            let file = ConfigFile::new_conf(&node, policy);
            let mut report = query(call, &node, &file.parse(&file.read()?)?).await;
            report.output.local = args.local.as_ref().map(resolve_local_host).transpose()?;
            return Ok(report);
        }
        let wanted = Wanted::from_args(&args)?;
        let node = ServerNode::from_call(call)?;
        if let Some(local) = wanted.local() {
            check_local_host(&local.host)?;
        }
        let file = ConfigFile::new_conf(&node, policy);
        let plan = async |text: Option<Vec<u8>>| {
            let text = text.unwrap_or_default();
            let conf = file.parse(&text)?;
            let plan = plan_channels(call, &node, &conf, &wanted).await?;
            Ok(Planned { text, conf, plan })
        };
        let (transaction, planned) = file.begin(call, || file.read().map(Some), plan).await?;
        if planned.is_empty() {
            return report_unchanged(call, transaction, planned.plan).await;
        }
        apply_change(call, &node, &file, (transaction, planned), &args).await
    }
}

/// The file as it is, and what is to become of it.
struct Planned {
    text: Vec<u8>,
    conf: ConfFile,
    plan: Plan,
}

impl ConfigPlan for Planned {
    fn text(&self) -> Option<&[u8]> {
        Some(&self.text)
    }

    fn is_empty(&self) -> bool {
        self.plan.changed.is_empty()
    }
}

/// Why a server here could not listen on this host, if it could not.
fn foreign_host_problem(host: &ChannelHost) -> Option<String> {
    match replconn::is_local(host) {
        Ok(true) => None,
        Ok(false) => Some(format!("{host} is no address of this machine")),
        Err(error) => Some(format!("{host} has no address: {error}")),
    }
}

/// What a query tells of this node's end.
fn resolve_local_host(local: &Local) -> Result<LocalHost, Error> {
    let host = ChannelHost::new(local.host.trim());
    if let Some(problem) = host.problem() {
        return Err(
            Error::bad_args(format!("{:?} is no host: {problem}", host.text())).with_path("/local/host")
        );
    }
    let problem = foreign_host_problem(&host);
    Ok(LocalHost { host: host.text().to_owned(), is_here: problem.is_none(), problem })
}

/// Refuses a host on which the server could not listen: it would take it at reload, and die at its next start.
fn check_local_host(host: &ChannelHost) -> Result<(), Error> {
    let Some(why) = foreign_host_problem(host) else { return Ok(()) };
    let addresses: Vec<_> = replconn::addresses().iter().map(ToString::to_string).collect();
    let hint = if addresses.is_empty() { "loopback addresses alone".into() } else { addresses.join(", ") };
    Err(Error::refused(format!("{why}; the server would not start with it"))
        .hint(format!("this machine has {hint}"))
        .with_path("/local/host"))
}

/// The plan, for which the release is asked where it matters: that starts a program.
async fn plan_channels(
    call: &Call,
    node: &ServerNode,
    conf: &ConfFile,
    wanted: &Wanted,
) -> Result<Plan, Error> {
    let asked = plan::needs_release(conf, wanted);
    let release = if asked { node.version(call).await } else { None };
    plan::plan(conf, wanted, release)
}

async fn query(call: &Call, node: &ServerNode, conf: &ConfFile) -> Report<Output> {
    let beyond = !plan::unknown_channels(conf, plan::max_channels(None)).is_empty();
    let most = plan::max_channels(if beyond { node.version(call).await } else { None });
    let slots = plan::read_channels(conf, most);
    let channels = plan::number_channels(&slots);
    let strays = plan::unknown_channels(conf, most);
    let mut warnings: Vec<String> =
        strays.into_iter().map(|(name, line)| plan::unknown_channel_message(&name, line, most)).collect();
    for (index, slot) in slots.iter().enumerate() {
        let name = plan::parameter_name(index + 1);
        match slot {
            ChannelParameter::Broken(text, why) => {
                warnings.push(format!("{name} = '{text}' is no channel: {why}; the server would not start"));
            }
            ChannelParameter::Channel(channel, _) if replconn::is_local(&channel.local.host) == Ok(false) => {
                warnings.push(format!(
                    "{name}: {} is no address of this machine; the server would not start",
                    channel.local.host
                ));
            }
            _ => {}
        }
        if let ChannelParameter::Channel(channel, _) = slot {
            warnings.extend(odd_ends(channel).into_iter().map(|what| format!("{name}: {what}")));
        }
    }
    warnings.extend(gap_warning(&channels));
    let count = channels.len();
    let output = Output { channels, ..Output::default() };
    let msg = format!("{count} channel{}", if count == 1 { "" } else { "s" });
    Report::unchanged(msg, output).with_warnings(warnings)
}

/// What a server takes for an end of a channel without a word, and with which nobody can connect.
fn odd_ends(channel: &ReplicationChannel) -> Vec<String> {
    let mut found = Vec::new();
    for (side, end) in [("local", &channel.local), ("remote", &channel.remote)] {
        if let Some(problem) = end.host.problem() {
            found.push(format!("{side}host={} is no host: {problem}", end.host));
        }
        if !(1..=65_535).contains(&end.port) {
            found.push(format!("{side}port={} is no port", end.port));
        }
    }
    found
}

/// Nothing in the file is to be done; but a call that was cut short may have left the reload undone.
async fn report_unchanged(
    call: &Call,
    transaction: Transaction<'_>,
    plan: Plan,
) -> Result<Report<Output>, Error> {
    let mut output = Output { channels: plan.channels, ..Output::default() };
    let mut warnings = plan.warnings;
    if !transaction.has_deferred_reload(call) {
        return Ok(Report::unchanged("nothing to change", output).with_warnings(warnings));
    }
    let mut actions = vec!["reload the server, which an interrupted call left undone".to_owned()];
    if !call.check {
        let saved = transaction.settle_reload(call).await?;
        output.reloaded = saved.reloaded;
        actions = saved.actions;
        warnings.extend(saved.warnings);
    }
    Ok(Report::new(actions, "the server was told of a change made before", output).with_warnings(warnings))
}

async fn apply_change(
    call: &Call,
    node: &ServerNode,
    file: &ConfigFile<'_>,
    (transaction, Planned { text: old, conf, mut plan }): (Transaction<'_>, Planned),
    args: &Args,
) -> Result<Report<Output>, Error> {
    let reload = args.reload == ReloadPolicy::Auto;
    let running = node.running_pid().is_some();
    if !args.force {
        plan::check_uwal(&plan)?;
    }
    let mut warnings = std::mem::take(&mut plan.warnings);
    warnings.extend(find_effects(call, node, &conf, &plan, (running, reload, args)).await?);
    let text = plan.file.to_bytes();
    let diff = call.diff.then(|| Diff::new(file.path(), &old, &text));
    let verb = if call.check { "would change" } else { "changed" };
    let msg = format!("{verb} {} in {}", plan.changed.join(", "), file.path().display());
    let mut output = Output {
        channels: plan.channels,
        added: plan.added,
        removed: plan.removed,
        updated: plan.updated,
        ..Output::default()
    };
    let mut actions = plan.actions;
    let mut backup_file = None;
    if call.check {
        if running && reload {
            actions.push(RELOAD.into());
        }
    } else {
        call.record_output(&output);
        let (names, backup) = (&plan.changed, args.backup);
        let new = NewFile { old: Some(&old), new: &text, names, actions: &actions, backup };
        let saved = transaction.commit(call, new).await?;
        output.reloaded = saved.reloaded;
        actions.extend(saved.actions);
        warnings.extend(saved.warnings);
        backup_file = saved.backup_file;
    }
    let mut report = Report::new(actions, msg, output).with_diff(diff).with_warnings(warnings);
    report.backup_file = backup_file;
    Ok(report)
}

/// What an operator should know of the change.
///
/// # Errors
/// `refused`, unless `force`, when standbys of a running primary would be shut out.
async fn find_effects(
    call: &Call,
    node: &ServerNode,
    conf: &ConfFile,
    plan: &Plan,
    (running, reload, args): (bool, bool, &Args),
) -> Result<Vec<String>, Error> {
    let mut warnings: Vec<String> = gap_warning(&plan.channels).into_iter().collect();
    let cleared = plan.channels.is_empty();
    if !running || !(reload || cleared) {
        return Ok(warnings);
    }
    // A single node that became a primary by a reload does not write that to its state file.
    let (state, release) = tokio::join!(node.query(call), node.version(call));
    let (role, senders) = match state {
        Ok(state) => (state.role, Some(state.senders)),
        Err(_) => (node.state_file().map_or(Role::Unknown, |state| state.role), None),
    };
    if cleared && role == Role::Primary && !args.force {
        check_senders(senders.as_deref())?;
    }
    if !reload {
        return Ok(warnings);
    }
    if cleared && role == Role::Primary {
        warnings.push("the last channel of a running primary goes: no standby can connect any more".into());
    }
    let foreseen = args.foreseen.get(SYNC_NAMES).filter(|_| call.check);
    let waits = match foreseen {
        Some(names) => !names.is_empty(),
        None => conf.get(SYNC_NAMES).is_none_or(|names| !names.value.is_empty()),
    };
    if waits && role == Role::Normal && !cleared {
        warnings.push(
            "this single node becomes a primary at once, and with synchronous_standby_names not empty every commit waits \
             until a standby streams"
                .into(),
        );
    }
    if waits && role == Role::Primary && cleared {
        warnings.push(
            "synchronous_standby_names is not empty: commits wait for a standby that cannot come".into(),
        );
    }
    let replaced = !plan.removed.is_empty() || !plan.updated.is_empty();
    if !cleared {
        warnings.extend(cut_warning(release, replaced, !plan.added.is_empty()));
    }
    Ok(warnings)
}

/// Which replication connections end by the reload, of a server of this release.
fn cut_warning(release: Option<&Version>, replaced: bool, added: bool) -> Option<String> {
    let all = "ends every replication connection of this server for some seconds, in which synchronous commits wait";
    if replaced && release.is_none_or(Version::reload_cuts_all_streams) {
        Some(format!("changing or removing a channel {all}"))
    } else if replaced {
        Some(
            "changing or removing a channel ends the replication connections of these channels, and synchronous commits \
             that need them wait for some seconds"
                .into(),
        )
    } else if added && release.is_some_and(Version::added_channel_cuts_all_streams) {
        Some(format!("adding a channel {all} (openGauss before 3.0)"))
    } else {
        None
    }
}

/// Refuses to take the last channel from a primary while somebody receives from it, or that is not known.
fn check_senders(senders: Option<&[Sender]>) -> Result<(), Error> {
    let who = match senders {
        Some([]) => return Ok(()),
        Some(senders) => {
            let host =
                |sender: &Sender| sender.peer.as_ref().map_or("?", |peer| peer.host.as_str()).to_owned();
            format!("{} still receive from it", senders.iter().map(host).collect::<Vec<_>>().join(", "))
        }
        None => "it could not be asked whether standbys receive from it".to_owned(),
    };
    Err(Error::refused(format!(
        "the last channel of a running primary would go, and {who}: none of them could connect any more, and at its \
         next start it would be a single server"
    ))
    .with_path("/peers")
    .hint("stop the standbys first; force: true overrides"))
}

/// Only replconninfo1 makes a single node a primary.
fn gap_warning(channels: &[NumberedChannel]) -> Option<String> {
    let first = channels.first()?.number;
    (first > 1).then(|| format!("replconninfo1 is empty and replconninfo{first} is not: a single node becomes primary by number 1 alone"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use og_common::{gauss::Endpoint, protocol::ErrorKind};

    use super::*;

    #[test]
    fn what_a_reload_cuts_depends_on_the_release() {
        let told = |release: &str, replaced: bool, added: bool| {
            cut_warning(Version::parse(release).as_ref(), replaced, added).unwrap_or_default()
        };
        for release in ["2.1.0", "3.0.5", "5.1.0", "unknown"] {
            assert!(told(release, true, false).contains("ends every replication connection"), "{release}");
        }
        assert!(told("6.0.2", true, true).contains("of these channels"));
        assert!(told("2.1.0", false, true).contains("adding a channel ends every"));
        for release in ["3.0.5", "6.0.2", "unknown"] {
            assert_eq!(told(release, false, true), "");
        }
    }

    #[test]
    fn what_the_server_takes_and_cannot_use_is_told() {
        let odd = |value: &str| odd_ends(&ReplicationChannel::parse(value).unwrap().unwrap()).join("; ");
        assert_eq!(odd("localhost=10.0.0.1 localport=1 remotehost=10.0.0.2 remoteport=2"), "");
        let told = odd("localhost=10.0.0.256 localport=99999 remotehost=10.0.0.2:26001 remoteport=0");
        for part in ["10.0.0.256 is no host", "localport=99999", "10.0.0.2:26001 is no host", "remoteport=0"]
        {
            assert!(told.contains(part), "{part} in {told}");
        }
    }

    #[test]
    fn a_primary_keeps_its_last_channel_as_long_as_somebody_receives() {
        check_senders(Some(&[])).unwrap();
        let peer = Some(Endpoint { host: "10.0.0.2".into(), port: 4711 });
        let error = check_senders(Some(&[Sender { peer, ..Sender::default() }])).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused);
        assert!(error.to_string().contains("10.0.0.2 still receive"), "{error}");
        assert_eq!(check_senders(None).unwrap_err().kind(), ErrorKind::Refused);
    }
}
