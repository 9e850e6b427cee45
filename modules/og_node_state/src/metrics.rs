//! The state of one node as metrics, for a timer on the node itself.

use std::path::Path;

use og_common::conf::ConfFile;
use og_common::gauss::{Certificate, DbState, Progress, Role, Security, ServerNode};
use og_common::hba::HbaFile;
use og_common::metrics::{self, Metrics};
use og_common::protocol::{Bytes, Export};

use crate::args::Output;

/// `--prometheus`.
pub(crate) const PROMETHEUS: Export<Output> = Export {
    flag: "prometheus",
    help: "With state: query, write the state as metrics to FILE, too, for node_exporter's textfile collector",
    render: |output| prometheus(output, &own_files(output), og_common::clock::now()),
};

/// The node's name, certificates and admission of itself, from its files.
#[derive(Default)]
struct OwnFiles {
    /// The name under which it replicates, else its data directory.
    label: String,
    certificates: Vec<Certificate>,
    /// Whether pg_hba.conf certainly admits the node's own ends of the replication channels, by one of which gs_ctl queries its
    /// server.
    admits_itself: bool,
}

fn own_files(output: &Output) -> OwnFiles {
    let Some(identity) = &output.identity else { return OwnFiles::default() };
    let data_dir = Path::new(&identity.data_dir);
    // Of a file that cannot be read nothing is known, and what is not known has no sample.
    let text = og_common::files::read(&data_dir.join("postgresql.conf")).unwrap_or_default();
    let conf = ConfFile::parse(&text);
    let setting = |name: &str| conf.get(name).map(|setting| setting.text().into_owned());
    let hosts: Vec<String> =
        ServerNode::new(data_dir).channels().into_iter().map(|channel| channel.local_host).collect();
    let hba = setting("hba_file").filter(|name| !name.trim().is_empty());
    let hba = data_dir.join(hba.as_deref().map_or("pg_hba.conf", str::trim));
    let rules = og_common::files::read(&hba).map(HbaFile::from_bytes);
    OwnFiles {
        label: conf.replication_name().unwrap_or_else(|| identity.data_dir.clone()),
        admits_itself: admits_all(rules.ok().as_ref(), &hosts, &identity.addresses),
        certificates: Security::read(data_dir, setting).certificates,
    }
}

/// Returns the metrics. What is not known has no sample.
fn prometheus(output: &Output, files: &OwnFiles, at: u64) -> String {
    let node = &output.node;
    let mut page = Metrics::new(&[("node", files.label.as_str())]);
    page.add_value(metrics::UP, Some(u64::from(node.running)));
    let is_known = !node.running || node.role != Role::Unknown;
    let roles = Role::SERVING.iter().filter(|_| is_known);
    page.add(
        metrics::ROLE,
        roles.map(|role| (vec![("role", role.name())], u64::from(node.running && node.role == *role))),
    );
    // Of a server that does not run it is what its file said last.
    let state = Some(node.db_state).filter(|state| node.running && *state != DbState::Unknown);
    let detail = node.detail.as_deref().and_then(|detail| detail.lines().next()).unwrap_or_default().trim();
    page.add(metrics::DB_STATE, state.map(|state| (vec![("state", state.words()), ("detail", detail)], 1)));
    page.add_value(metrics::NORMAL, state.map(|state| u64::from(state == DbState::Normal)));
    let follows = node.running && node.answered && node.role.is_following();
    // A standby in the state Normal streams; that no receiver is shown means that the server hides it from its own node, whose
    // address its pg_hba.conf does not admit.
    let is_hidden = node.receiver.is_none() && node.db_state == DbState::Normal;
    let streaming = Some(u64::from(node.receiver.is_some())).filter(|_| follows && !is_hidden);
    page.add_value(metrics::STREAMING, streaming);
    let progress = node.receiver.as_ref().map(|receiver| &receiver.progress);
    page.add_value(metrics::RECEIVE_LAG, progress.and_then(receive_lag));
    page.add_value(metrics::REPLAY_LAG, progress.and_then(|progress| progress.lag_bytes).map(Bytes::as_u64));
    let slots = node.slots.iter().flatten();
    let retained =
        slots.filter_map(|slot| Some((vec![("slot", slot.name.as_str())], slot.retained_bytes?.as_u64())));
    page.add(metrics::SLOT_RETAINED, retained);
    let counts = |state: &Option<String>| {
        let state = state.as_deref().unwrap_or_default().to_ascii_lowercase();
        ["sync", "quorum", "potential"].contains(&state.as_str())
    };
    let leads = node.running && node.answered && node.role == Role::Primary;
    let candidates = node.senders.iter().filter(|sender| counts(&sender.sync_state)).count();
    // As a standby its receiver, it hides who receives from it.
    let tells_senders = !node.senders.is_empty() || files.admits_itself;
    page.add_value(metrics::SYNC_CANDIDATES, (leads && tells_senders).then_some(candidates as u64));
    let ends = files.certificates.iter();
    let ends = ends.filter_map(|one| Some((vec![("file", one.path.as_str())], one.not_after?)));
    page.add(metrics::CERTIFICATE_EXPIRY, ends);
    page.add_value(metrics::COLLECTED, Some(at));
    page.into_text()
}

/// Whether the rules certainly admit the servers of all these hosts; false where the rules are not known.
fn admits_all(rules: Option<&HbaFile>, hosts: &[String], own: &[String]) -> bool {
    let is_let_in = |host: &String| {
        let client = host.parse().ok()?;
        rules?.admits_node(client, own).0
    };
    hosts.iter().all(|host| is_let_in(host) == Some(true))
}

/// Bytes that the sender has written and this node has not received.
fn receive_lag(progress: &Progress) -> Option<u64> {
    Some(progress.sender_write?.bytes_since(progress.received?).as_u64())
}

#[cfg(test)]
mod tests {
    use og_common::gauss::{NodeState, Receiver, ReplicationSlot, Sender};
    use og_common::protocol::Lsn;

    use super::*;

    fn files() -> OwnFiles {
        let certificate =
            |path: &str, not_after| Certificate { path: path.to_owned(), not_after, problem: None };
        OwnFiles {
            admits_itself: true,
            label: "dn_6002".to_owned(),
            certificates: vec![
                certificate("/d/server.crt", Some(1_900_000_000)),
                certificate("/d/ca.crt", None),
            ],
        }
    }

    fn text(node: NodeState) -> String {
        prometheus(&Output { node, ..Output::default() }, &files(), 1_700_000_000)
    }

    fn sample<'a>(text: &'a str, name: &str) -> Vec<&'a str> {
        text.lines().filter_map(|line| line.strip_prefix(&format!("{name}{{node=\"dn_6002\""))).collect()
    }

    #[test]
    fn a_standby_tells_how_far_it_is_behind() {
        let progress = Progress {
            sender_write: Lsn::parse("0/2000000"),
            received: Lsn::parse("0/1F00000"),
            lag_bytes: Some(Bytes::new(2_097_152)),
            ..Progress::default()
        };
        let text = text(NodeState {
            running: true,
            answered: true,
            role: Role::Standby,
            db_state: DbState::Normal,
            detail: Some("Normal".to_owned()),
            receiver: Some(Receiver { progress, ..Receiver::default() }),
            slots: Some(vec![ReplicationSlot {
                name: "dn_6003".to_owned(),
                retained_bytes: Some(Bytes::new(16)),
                ..ReplicationSlot::default()
            }]),
            ..NodeState::default()
        });
        assert_eq!(sample(&text, "opengauss_up"), ["} 1"]);
        assert!(text.contains("opengauss_role{node=\"dn_6002\",role=\"standby\"} 1\n"));
        assert!(text.contains("opengauss_role{node=\"dn_6002\",role=\"primary\"} 0\n"));
        assert_eq!(sample(&text, "opengauss_db_state"), [r#",state="Normal",detail="Normal"} 1"#]);
        assert_eq!(sample(&text, "opengauss_receive_lag_bytes"), ["} 1048576"]);
        assert_eq!(sample(&text, "opengauss_replay_lag_bytes"), ["} 2097152"]);
        assert_eq!(sample(&text, "opengauss_slot_retained_bytes"), [r#",slot="dn_6003"} 16"#]);
        assert_eq!(sample(&text, "opengauss_sync_candidates"), Vec::<&str>::new());
        let name = "opengauss_certificate_expiry_timestamp_seconds";
        assert_eq!(sample(&text, name), [r#",file="/d/server.crt"} 1900000000"#]);
        assert_eq!(sample(&text, "opengauss_collected_timestamp_seconds"), ["} 1700000000"]);
    }

    #[test]
    fn what_is_not_known_has_no_sample() {
        let names =
            ["opengauss_streaming", "opengauss_normal", "opengauss_db_state", "opengauss_replay_lag_bytes"];
        let stopped =
            text(NodeState { role: Role::Standby, db_state: DbState::Normal, ..NodeState::default() });
        assert_eq!(sample(&stopped, "opengauss_up"), ["} 0"]);
        assert!(stopped.contains("opengauss_role{node=\"dn_6002\",role=\"standby\"} 0\n"));
        // It runs, and does not tell what it is.
        let silent = text(NodeState { running: true, ..NodeState::default() });
        assert_eq!(sample(&silent, "opengauss_role"), Vec::<&str>::new());
        for (name, text) in names.iter().flat_map(|name| [(name, &stopped), (name, &silent)]) {
            assert_eq!(sample(text, name), Vec::<&str>::new(), "{text}");
        }
    }

    #[test]
    fn a_standby_that_does_not_stream_says_so() {
        let standby = |db_state| {
            text(NodeState {
                running: true,
                answered: true,
                role: Role::Standby,
                db_state,
                ..NodeState::default()
            })
        };
        assert_eq!(sample(&standby(DbState::NeedRepair), "opengauss_streaming"), ["} 0"]);
        assert_eq!(sample(&standby(DbState::Normal), "opengauss_streaming"), Vec::<&str>::new());
    }

    #[test]
    fn a_primary_counts_those_for_whom_commits_may_wait() {
        let sender = |state: &str| Sender { sync_state: Some(state.to_owned()), ..Sender::default() };
        let text = text(NodeState {
            running: true,
            answered: true,
            role: Role::Primary,
            senders: ["Sync", "Potential", "Async"].map(sender).to_vec(),
            ..NodeState::default()
        });
        assert_eq!(sample(&text, "opengauss_sync_candidates"), ["} 2"]);
        assert_eq!(sample(&text, "opengauss_streaming"), Vec::<&str>::new());
    }

    #[test]
    fn a_primary_that_hides_its_receivers_from_its_own_node_counts_none() {
        let primary =
            NodeState { running: true, answered: true, role: Role::Primary, ..NodeState::default() };
        let page = |rules: Option<&str>, hosts: &[&str]| {
            let rules = rules.map(|text| HbaFile::from_bytes(text.as_bytes().to_vec()));
            let hosts: Vec<_> = hosts.iter().map(ToString::to_string).collect();
            let admits_itself = admits_all(rules.as_ref(), &hosts, &[]);
            let output = Output { node: primary.clone(), ..Output::default() };
            prometheus(&output, &OwnFiles { admits_itself, ..files() }, 1_700_000_000)
        };
        // pg_hba.conf keeps it out, only the server can tell, or the file could not be read.
        for unknown in [Some("host all all 10.0.0.2/32 trust\n"), Some("host all all samenet trust\n"), None]
        {
            assert_eq!(
                sample(&page(unknown, &["10.0.0.1"]), "opengauss_sync_candidates"),
                Vec::<&str>::new()
            );
        }
        let let_in = Some("host all all 10.0.0.1/32 trust\n");
        assert_eq!(sample(&page(let_in, &["10.0.0.1"]), "opengauss_sync_candidates"), ["} 0"]);
        assert_eq!(
            sample(&page(let_in, &["10.0.0.1", "10.0.1.1"]), "opengauss_sync_candidates"),
            Vec::<&str>::new()
        );
        // Without a replication channel no standby can connect.
        assert_eq!(sample(&page(None, &[]), "opengauss_sync_candidates"), ["} 0"]);
    }

    #[test]
    fn the_page_on_monitoring_names_each_metric() {
        let page = include_str!("../../../docs/monitoring.md");
        let names = text(NodeState::default());
        let names = names.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
        for name in names.map(str::to_owned) {
            assert!(page.contains(&format!("`{name}`")), "{name}");
        }
    }
}
