#![allow(clippy::unwrap_used)]
//! Clusters as they are met, and what is said of them.

use og_common::gauss::cm_query::CmView;
use serde_json::json;

use super::assess::assess;
use super::export::{LagLimits, nagios, prometheus};
use super::lines::{lines, table, topology};
use super::page::html;
use super::picture::svg;
use super::*;
use crate::plan::SYNC_NAMES;
use crate::plan::tests::{Given, cluster, nodes, parameter};

/// n1 with this many standbys, of which commits wait for one; written up to 0/2000000, replayed up to 0/1F00000.
fn streaming(standbys: i64) -> Vec<Given> {
    let mut hosts = cluster(standbys);
    parameter(&mut hosts, SYNC_NAMES, Some("ANY 1(dn_6002,dn_6003)"));
    parameter(&mut hosts, "most_available_sync", Some("off"));
    let sender = |n: i64| json!({"peer": {"host": format!("10.0.0.{n}"), "port": 1}, "peer_role": "standby", "sync_state": "quorum"});
    let own = &mut hosts[0].2["og_node_state"]["node"];
    own["lsn"] = json!("0/2000000");
    own["version"] = json!("6.0.2");
    own["senders"] = (2..standbys + 2).map(sender).collect();
    own["slots"] = json!([]);
    for (_, _, seen) in &mut hosts[1..] {
        let own = &mut seen["og_node_state"]["node"];
        own["version"] = json!("6.0.2");
        own["slots"] = json!([]);
        own["lsn"] = json!("0/1F00000");
        own["receiver"]["flush"] = json!("0/2000000");
        own["receiver"]["replay"] = json!("0/1F00000");
    }
    hosts
}

fn health(hosts: &[Given]) -> ClusterHealth {
    assess(&nodes(hosts), Bytes::new(16 << 20))
}

fn ids(health: &ClusterHealth) -> Vec<&str> {
    health.findings.iter().map(|f| f.id.as_str()).collect()
}

/// [`streaming`] under CM, which says this.
fn under_cm(query: &str) -> Vec<Given> {
    let view = CmView::parse(query).unwrap();
    let mut hosts = streaming(2);
    for (number, (_, _, seen)) in (1..).zip(&mut hosts) {
        seen["og_node_state"]["node"]["managed_by"] =
            json!({"by": "cm", "agent": 7, "node_id": number, "instance_id": 6000 + number});
        seen["og_node_state"]["cm"] = json!(view);
    }
    hosts
}

/// CM's answer, with these states of its servers and of the cluster, and of the server n3.
fn cm_says(servers: [&str; 3], state: &str, of_n3: &str) -> String {
    let [one, two, three] = servers;
    format!(
        "[  CMServer State   ]\n\nnode instance state\n------\n1 n1 1 {one}\n2 n2 2 {two}\n3 n3 3 {three}\n\n\
         [   Cluster State   ]\n\n{state}\n\n[  Datanode State   ]\n\nnode instance state\n------\n\
         1 n1 6001 P Primary Normal | 2 n2 6002 S Standby Normal | 3 n3 6003 S {of_n3}\n"
    )
}

#[test]
fn what_cm_says_stands_beside_what_was_seen() {
    let well = ["Primary", "Standby", "Standby"];
    let normal = "cluster_state   : Normal";
    let it = health(&under_cm(&cm_says(well, normal, "Standby Normal")));
    assert_eq!((it.verdict, ids(&it)), (Verdict::Healthy, vec![]));
    let text = lines(&it, false, None);
    let of_cm = "CM: Normal; cm_server: n1 Primary, n2 Standby, n3 Standby";
    assert_eq!(text.last().unwrap(), of_cm);
    assert!(html(&it, "shop", 0).contains(&format!("<p>{of_cm}</p>")));
    // A server that a person has stopped by cm_ctl, and that runs all the same.
    let paused = "cluster_state   : Degraded\npausing         : Yes";
    let it = health(&under_cm(&cm_says(["Primary", "Standby", "Down"], paused, "Down    Manually stopped")));
    assert_eq!(ids(&it), ["cm.paused", "cm.server", "cm.state", "cm.differs"]);
    assert_eq!(it.verdict, Verdict::Degraded);
    let differs = it.findings.last().unwrap();
    assert_eq!(differs.message, "CM reports Down Manually stopped, and its server runs as standby");
    assert!(
        lines(&it, false, None)
            .contains(&"CM: Degraded, paused; cm_server: n1 Primary, n2 Standby, n3 Down".to_owned())
    );
    // The node was stopped by a person, and om_monitor starts nothing there.
    let mut stopped = under_cm(&cm_says(["Primary", "Standby", "Down"], normal, "Down    Unknown"));
    stopped[2].2["og_node_state"]["node"]["managed_by"]["manual_start"] = json!(["cluster_manual_start"]);
    let it = health(&stopped);
    let fixes: Vec<_> = it.findings.iter().filter_map(|found| found.fix.as_deref()).collect();
    assert_eq!(ids(&it), ["cm.server", "cm.differs"]);
    assert!(fixes.iter().all(|fix| fix.contains("cm_ctl start -n 3,")), "{fixes:?}");
    // Two of three of its servers are gone: it tells no more of the cluster.
    let alone =
        "[  CMServer State   ]\n\nnode instance state\n------\n1 n1 1 Down\n2 n2 2 Standby\n3 n3 3 Down\n";
    let it = health(&under_cm(alone));
    assert_eq!(ids(&it), ["cm.majority"]);
    assert!(it.findings[0].message.contains("down: n1, n3"), "{}", it.findings[0].message);
    // An answer without CM's servers says nothing of them.
    let it = health(&under_cm("[   Cluster State   ]\n\ncluster_state   : Normal\n"));
    assert_eq!(ids(&it), Vec::<&str>::new());
    // Another role than the server has.
    let it = health(&under_cm(&cm_says(well, normal, "Primary Normal")));
    assert_eq!((ids(&it), it.findings[0].node.as_deref()), (vec!["cm.differs"], Some("n3")));
}

#[test]
fn a_healthy_cluster() {
    let it = health(&streaming(2));
    assert_eq!((it.verdict, ids(&it)), (Verdict::Healthy, vec![]));
    assert_eq!(
        it.sentence,
        "Primary n1 and its 2 standbys are well; 1 failure is tolerated, the loss of the primary would lose nothing; commits wait for 1 of n2, n3."
    );
    assert_eq!((it.failures_tolerated, it.loss_bytes), (Some(1), Some(Bytes::ZERO)));
    let n2 = it.node("n2").unwrap();
    assert_eq!((n2.receive_lag_bytes, n2.replay_lag_bytes), (Some(Bytes::ZERO), Some(Bytes::new(1 << 20))));
    assert_eq!(
        (n2.switchover_ready.verdict, n2.failover_ready.verdict),
        (ReadyVerdict::Yes, ReadyVerdict::Yes)
    );
    assert_eq!(it.node("n1").unwrap().switchover_ready.verdict, ReadyVerdict::No);
    let text = lines(&it, false, None);
    assert_eq!(
        text[2..],
        [
            "NODE  ADDRESS         ROLE     STATE   UPSTREAM  SYNC    RECEIVE LAG  REPLAY LAG  SLOTS RETAIN  VERSION",
            "n1    10.0.0.1:26000  primary  Normal  -         -       -            -           0 B           6.0.2",
            "n2    10.0.0.2:26000  standby  Normal  n1        quorum  0 B          1.0 MiB     0 B           6.0.2",
            "n3    10.0.0.3:26000  standby  Normal  n1        quorum  0 B          1.0 MiB     0 B           6.0.2",
        ]
    );
    assert_eq!(
        topology(&it),
        [
            "n1 (primary, Normal)",
            "├─ n2 (standby, Normal, quorum, 1.0 MiB behind)",
            "└─ n3 (standby, Normal, quorum, 1.0 MiB behind)"
        ]
    );
}

/// The cells of the column STATE, by node.
fn states(table: &[String]) -> std::collections::BTreeMap<&str, &str> {
    let at = table[0].find("STATE").unwrap();
    table[1..].iter().map(|line| (&line[..2], line[at..].split("  ").next().unwrap())).collect()
}

#[test]
fn the_table_of_status_and_that_of_the_workflows_call_a_state_the_same() {
    let mut hosts = streaming(4);
    for (_, _, seen) in &mut hosts[2..] {
        seen["og_node_state"]["node"]["receiver"] = json!(null);
    }
    hosts[1].2["og_node_state"]["node"]["db_state"] = json!("catchup");
    hosts[2].2["og_node_state"]["node"]["running"] = json!(false);
    hosts[3].2["og_node_state"] = json!({"failed": true, "msg": "m"});
    hosts[4].2 = json!(null);
    let mut nodes = nodes(&hosts);
    let mut hidden = nodes[4].clone();
    (hidden.name, hidden.id, hidden.seen) = ("n6".to_owned(), Some(6), None);
    nodes.push(hidden);
    let of_status = table(&assess(&nodes, Bytes::new(16 << 20)), false, None);
    let of_workflow = crate::table::table(&nodes, &[]);
    assert_eq!(states(&of_status), states(&of_workflow));
    let words = states(&of_status).into_values().collect::<Vec<_>>();
    assert_eq!(words, ["Normal", "Catchup", "stopped", "unknown", "unreachable", "not inspected"]);
}

#[test]
fn columns_fit_the_terminal() {
    let it = health(&streaming(1));
    for width in [40, 60, 80, 200] {
        let widest = table(&it, true, Some(width)).iter().map(|line| line.chars().count()).max().unwrap();
        assert!(widest <= width, "{widest} > {width}");
    }
    assert!(table(&it, true, Some(20))[0].starts_with("NODE  ROLE     STATE"));
    assert!(table(&it, true, None)[0].ends_with("SWITCHOVER  FAILOVER  PENDING RESTART"));
}

#[test]
fn a_dead_standby_is_named_with_what_it_costs() {
    let mut hosts = streaming(2);
    hosts[2].2 = json!(null);
    hosts[0].2["og_node_state"]["node"]["senders"].as_array_mut().unwrap().pop();
    let it = health(&hosts);
    assert_eq!((it.verdict, ids(&it)), (Verdict::Degraded, vec!["node.unreachable"]));
    assert!(
        it.sentence.starts_with("1 of 2 standbys is missing (n3); no failure is tolerated"),
        "{}",
        it.sentence
    );
    let n3 = it.node("n3").unwrap();
    // Nothing is made up of what is not known.
    assert_eq!((n3.role, n3.running, n3.replay_lag_bytes, n3.streaming), (None, None, None, None));
    assert_eq!(n3.failover_ready.verdict, ReadyVerdict::Unknown);
    assert!(table(&it, false, None)[3].contains("?        unreachable"), "{:#?}", table(&it, false, None));
    let (status, line) = nagios(&it, LagLimits::default());
    assert_eq!(status, 1);
    assert!(line.starts_with("OPENGAUSS WARNING - 1 of 2") && line.contains("| nodes=3"), "{line}");
}

#[test]
fn commits_that_wait_for_ever_are_no_service() {
    let mut hosts = streaming(2);
    hosts[0].2["og_node_state"]["node"]["senders"] = json!([]);
    for (_, _, seen) in &mut hosts[1..] {
        let own = &mut seen["og_node_state"]["node"];
        (own["running"], own["receiver"], own["lsn"]) = (json!(false), json!(null), json!(null));
    }
    let it = health(&hosts);
    assert_eq!(it.verdict, Verdict::Broken);
    assert_eq!(ids(&it), ["node.stopped", "node.stopped", "commits.standby_missing"]);
    let fix = it.findings[0].fix.as_deref().unwrap();
    assert_eq!(fix, "repair it, which starts it in its role: og repair n2");
    assert!(it.sentence.starts_with("Commits hang; 2 of 2 standbys are missing (n2, n3)"), "{}", it.sentence);
    assert_eq!(nagios(&it, LagLimits::default()).0, 2);
    // Where commits may go on alone it serves, and may lose something.
    parameter(&mut hosts, "most_available_sync", Some("on"));
    let it = health(&hosts);
    assert_eq!((it.verdict, it.loss_bytes), (Verdict::Degraded, None));
}

#[test]
fn receivers_that_the_primary_hides_are_not_taken_for_none() {
    let mut hosts = streaming(2);
    hosts[0].2["og_node_state"]["node"]["senders"] = json!([]);
    let it = health(&hosts);
    assert_eq!((it.verdict, ids(&it)), (Verdict::Degraded, vec!["commits.unknown"]));
    let fix = it.findings[0].fix.as_deref().unwrap();
    assert!(fix.starts_with("let it in: ") && fix.contains("host all omm 10.0.0.1/32 trust"), "{fix}");
    assert_eq!((it.commits.candidates_known, it.failures_tolerated), (false, None));
    assert!(it.sentence.ends_with("for whom commits wait is not known."), "{}", it.sentence);
    assert!(!prometheus(&it, "c", 1).contains("\nopengauss_sync_candidates{"));
    let n2 = it.node("n2").unwrap();
    assert!(n2.failover_ready.reasons[0].starts_with("whether commits wait for it is not known"));
}

#[test]
fn two_primaries_and_none_are_no_service() {
    let mut hosts = streaming(2);
    hosts[2].2["og_node_state"]["node"]["role"] = json!("primary");
    hosts[2].2["og_node_state"]["node"]["receiver"] = json!(null);
    let it = health(&hosts);
    assert_eq!((it.verdict, ids(&it)[0]), (Verdict::Broken, "cluster.two_primaries"));
    assert!(it.sentence.starts_with("Not usable: more than one primary"), "{}", it.sentence);
    let mut hosts = streaming(1);
    hosts[0].2["og_node_state"]["node"]["running"] = json!(false);
    let it = health(&hosts);
    assert_eq!(it.verdict, Verdict::Broken);
    assert!(ids(&it).contains(&"cluster.no_primary"));
    // One that is not seen may run on the node that does not answer.
    hosts[0].2 = json!(null);
    assert_eq!(health(&hosts).verdict, Verdict::Unknown);
}

#[test]
fn a_lagging_standby_is_not_ready_for_a_switchover() {
    let mut hosts = streaming(2);
    hosts[0].2["og_node_state"]["node"]["lsn"] = json!("1/2000000");
    let it = health(&hosts);
    assert_eq!(ids(&it), ["node.lagging", "node.lagging"]);
    let n2 = it.node("n2").unwrap();
    assert_eq!(n2.switchover_ready.verdict, ReadyVerdict::No);
    assert!(n2.switchover_ready.reasons[0].ends_with("GiB behind"), "{:?}", n2.switchover_ready);
    let limits = LagLimits { warning: Some(Bytes::new(1)), critical: Some(Bytes::new(1 << 30)) };
    assert_eq!(nagios(&it, limits).0, 2);
}

#[test]
fn an_asynchronous_standby_loses_what_it_has_not_received() {
    let mut hosts = streaming(1);
    parameter(&mut hosts, SYNC_NAMES, Some(""));
    hosts[0].2["og_node_state"]["node"]["senders"][0]["sync_state"] = json!("async");
    hosts[1].2["og_node_state"]["node"]["receiver"]["flush"] = json!("0/1F00000");
    let it = health(&hosts);
    assert_eq!(
        (it.verdict, it.loss_bytes, it.failures_tolerated),
        (Verdict::Healthy, Some(Bytes::new(1 << 20)), Some(1))
    );
    assert!(
        it.sentence.ends_with("would lose up to 1.0 MiB; commits wait for no standby."),
        "{}",
        it.sentence
    );
    let local = |value| {
        let mut hosts = streaming(1);
        parameter(&mut hosts, "synchronous_commit", Some(value));
        health(&hosts).commits.required
    };
    assert_eq!((local("on"), local("local")), (Some(1), Some(0)));
}

#[test]
fn a_spare_that_runs_alone_is_not_taken_for_the_cluster() {
    let mut hosts = streaming(1);
    hosts[0].2 = json!(null);
    hosts[1].2["og_node_state"]["node"]["role"] = json!("normal");
    hosts[1].2["og_node_state"]["node"]["receiver"] = json!(null);
    let it = health(&hosts);
    assert_eq!((it.verdict, it.primary.as_deref()), (Verdict::Unknown, None));
    assert_eq!(it.sentence, "Not known whether it serves: no primary was seen; not known of n1.");
    assert_eq!(nagios(&it, LagLimits::default()).0, 3);
}

#[test]
fn names_that_are_not_set_are_any_standby() {
    let mut hosts = streaming(1);
    parameter(&mut hosts, SYNC_NAMES, None);
    let it = health(&hosts);
    assert_eq!(
        (it.commits.names.as_deref(), it.commits.required, it.loss_bytes),
        (Some("*"), Some(1), Some(Bytes::ZERO))
    );
}

#[test]
fn a_standby_in_reserve_may_lack_the_last_commits() {
    let mut hosts = streaming(2);
    parameter(&mut hosts, SYNC_NAMES, Some("dn_6002,dn_6003"));
    for (at, state) in [(0, "sync"), (1, "potential")] {
        hosts[0].2["og_node_state"]["node"]["senders"][at]["sync_state"] = json!(state);
    }
    let it = health(&hosts);
    assert!(it.sentence.ends_with("commits wait for n2, in reserve n3."), "{}", it.sentence);
    let ready = |name| it.node(name).unwrap().failover_ready.verdict;
    assert_eq!((ready("n2"), ready("n3")), (ReadyVerdict::Yes, ReadyVerdict::Unknown));
}

#[test]
fn what_could_not_be_read_is_no_health() {
    let mut hosts = streaming(1);
    hosts.push(crate::plan::tests::fresh(3, "standby"));
    for program in ["og_guc", "og_replconninfo"] {
        hosts[0].2[program] =
            json!({"failed": true, "msg": "m", "error": {"detail": format!("{program} cannot read it")}});
    }
    let it = health(&hosts);
    assert_eq!(it.verdict, Verdict::Degraded);
    assert_eq!(ids(&it)[..2], ["node.stopped", "node.unread"]);
    assert_eq!((it.commits.required, it.failures_tolerated, it.loss_bytes), (None, None, None));
    assert_eq!(it.node("n3").unwrap().member, None);
}

#[test]
fn commits_are_not_said_to_wait_where_that_is_not_known() {
    let mut hosts = streaming(1);
    hosts[0].2["og_node_state"]["node"]["senders"][0]["sync_state"] = json!(null);
    assert_eq!(ids(&health(&hosts)), Vec::<&str>::new());
}

#[test]
fn a_single_node_waits_for_nobody() {
    let mut hosts = streaming(0);
    hosts[0].2["og_node_state"]["node"]["role"] = json!("normal");
    parameter(&mut hosts, SYNC_NAMES, Some("*"));
    let it = health(&hosts);
    assert_eq!((it.verdict, it.commits.required), (Verdict::Healthy, Some(0)));
    assert!(
        it.sentence.starts_with("Primary n1 runs alone, without a standby; no failure is tolerated"),
        "{}",
        it.sentence
    );
}

#[test]
fn a_spare_is_no_missing_standby() {
    let mut hosts = streaming(1);
    hosts.push(crate::plan::tests::fresh(3, "standby"));
    let it = health(&hosts);
    assert_eq!((it.verdict, ids(&it)), (Verdict::Healthy, vec!["node.no_member"]));
    assert!(it.sentence.starts_with("Primary n1 and its standby are well"), "{}", it.sentence);
}

#[test]
fn metrics_leave_out_what_is_not_known() {
    let mut hosts = streaming(2);
    hosts[2].2 = json!(null);
    let text = prometheus(&health(&hosts), "prod \"a\"", 1_700_000_000);
    for line in [
        r#"opengauss_up{cluster="prod \"a\"",node="n1"} 1"#,
        r#"opengauss_role{cluster="prod \"a\"",node="n2",role="standby"} 1"#,
        r#"opengauss_replay_lag_bytes{cluster="prod \"a\"",node="n2"} 1048576"#,
        r#"opengauss_collected_timestamp_seconds{cluster="prod \"a\""} 1700000000"#,
    ] {
        assert!(text.lines().any(|own| own == line), "{line} is not in\n{text}");
    }
    assert!(!text.contains("node=\"n3\""), "{text}");
    // Each name has one HELP and one TYPE line before its samples.
    let helps: Vec<_> = text.lines().filter(|line| line.starts_with("# HELP")).collect();
    let names: std::collections::BTreeSet<_> = helps.iter().collect();
    assert_eq!(helps.len(), names.len());
}

#[test]
fn a_standby_that_does_not_stream_is_to_be_repaired() {
    let with = |detail| {
        let mut hosts = streaming(2);
        let own = &mut hosts[2].2["og_node_state"]["node"];
        (own["db_state"], own["detail"], own["receiver"]) =
            (json!("need_repair"), json!(detail), json!(null));
        health(&hosts).findings.into_iter().map(|f| (f.id, f.fix.unwrap())).collect::<Vec<_>>()
    };
    let found = with("Disconnected");
    assert_eq!(found[0], ("node.disconnected".to_owned(), "repair it: og repair n3".to_owned()));
    let found = with("WAL segment removed");
    assert_eq!(found[0], ("node.need_repair".to_owned(), "repair it: og repair n3".to_owned()));
}

/// A primary with a standby that a cascade standby follows, and a standby that lags.
fn degraded() -> Vec<Given> {
    let mut hosts = streaming(3);
    hosts[0].2["og_node_state"]["node"]["lsn"] = json!("1/2000000");
    hosts[0].2["og_node_state"]["node"]["senders"][1]["sync_state"] = json!("potential");
    let cascade = &mut hosts[3].2["og_node_state"]["node"];
    cascade["role"] = json!("cascade_standby");
    cascade["receiver"]["peer"]["host"] = json!("10.0.0.2");
    (cascade["db_state"], cascade["detail"]) = (json!("need_repair"), json!("WAL segment removed"));
    hosts
}

fn broken() -> Vec<Given> {
    let mut hosts = streaming(2);
    hosts[0].2["og_node_state"]["node"]["senders"] = json!([]);
    let own = &mut hosts[1].2["og_node_state"]["node"];
    (own["running"], own["receiver"], own["lsn"]) = (json!(false), json!(null), json!(null));
    hosts[2].2 = json!(null);
    hosts
}

fn unknown() -> Vec<Given> {
    let mut hosts = streaming(2);
    hosts[0].2 = json!(null);
    hosts
}

/// No node can be reached by ssh, the last one for another reason than the others.
fn unreached() -> Vec<Given> {
    let mut hosts = streaming(3);
    let lost = |detail: String, hint: &str| {
        json!({"og_node_state": {"failed": true, "msg": format!("{detail}; {hint}"),
            "error": {"kind": "unreachable", "detail": detail, "hint": hint}}})
    };
    for (number, (_, _, seen)) in (1..).zip(&mut hosts) {
        let detail = format!("cannot connect: connect to host 10.0.0.{number} port 22: Connection refused");
        *seen = lost(detail, &format!("try it by hand: ssh -o BatchMode=yes 10.0.0.{number} true"));
    }
    hosts[3].2 =
        lost("Warning: n4 is new\r\nomm@n4: Permission denied (publickey)".to_owned(), "let a key in there");
    hosts
}

#[test]
fn of_a_cluster_of_which_no_node_is_reached_nothing_is_said_but_why() {
    let it = health(&unreached());
    assert_eq!((it.verdict, ids(&it)), (Verdict::Unknown, vec!["cluster.unreachable"]));
    let why = "no node could be reached: n1: cannot connect: connect to host 10.0.0.1 port 22: Connection refused \
               (likewise n2, n3); n4: Warning: n4 is new / omm@n4: Permission denied (publickey)";
    assert_eq!(it.findings[0].message, why);
    assert_eq!(it.sentence, format!("N{}.", &why[1..]));
    assert_eq!(
        it.findings[0].fix.as_deref().unwrap(),
        "check the nodes' addresses, users and ports in the inventory; \
         try it by hand: ssh -o BatchMode=yes 10.0.0.1 true"
    );
    let told = lines(&it, true, None).join("\n") + &html(&it, "shop", 0);
    assert!(!told.contains("primary") && told.matches("10.0.0.2 port").count() == 0, "{told}");
    assert_eq!(nagios(&it, LagLimits::default()).0, 3);
    // What each node said is there for programs.
    assert!(it.nodes[1].detail.as_deref().unwrap().contains("10.0.0.2 port 22"), "{:?}", it.nodes[1]);
    assert!(it.nodes.iter().all(|node| node.switchover_ready.verdict == ReadyVerdict::Unknown));
    // One that answers is enough to speak of the cluster.
    let mut hosts = unreached();
    hosts[1] = streaming(3)[1].clone();
    assert_eq!(
        ids(&health(&hosts)),
        ["cluster.no_primary", "node.unreachable", "node.unreachable", "node.unreachable"]
    );
}

/// The page without what is the same for all: its style and the picture.
fn body(page: &str) -> String {
    let mut rest = page.to_owned();
    for (begin, end) in [("<style>", "</style>"), ("<svg xmlns", "</svg>\n")] {
        let (at, until) = (rest.find(begin).unwrap(), rest.find(end).unwrap() + end.len());
        if at < until {
            rest.replace_range(at..until, "");
        }
    }
    rest
}

#[test]
fn clusters_as_pictures_and_pages() {
    let given = [
        ("healthy", streaming(2)),
        ("degraded", degraded()),
        ("broken", broken()),
        ("unknown", unknown()),
        ("unreached", unreached()),
    ];
    for (name, hosts) in given {
        let it = health(&hosts);
        let picture = svg(&it);
        let (begin, rest) = picture.split_once("<style>").unwrap();
        let drawn = format!("{begin}{}", rest.split_once("</style>\n").unwrap().1);
        insta::assert_snapshot!(format!("picture_{name}"), drawn);
        let page = html(&it, "shop", 1_700_000_000);
        assert!(page.contains(&picture), "{page}");
        insta::assert_snapshot!(format!("page_{name}"), body(&page));
        if let Some(folder) = std::env::var_os("OG_PAGES") {
            std::fs::write(std::path::Path::new(&folder).join(format!("{name}.html")), page).unwrap();
        }
    }
}

#[test]
fn names_and_words_from_outside_are_no_markup_in_a_page() {
    let mut it = health(&degraded());
    let evil = r#"<b a="1">&amp;'"#;
    for node in &mut it.nodes {
        node.name = format!("{evil}{}", node.name);
        node.address = evil.to_owned();
        node.upstream = node.upstream.as_ref().map(|up| format!("{evil}{up}"));
        (node.sync_state, node.version) = (Some(evil.to_owned()), Some(evil.to_owned()));
        node.switchover_ready = Readiness { verdict: ReadyVerdict::No, reasons: vec![evil.to_owned()] };
    }
    for found in &mut it.findings {
        (found.id, found.message) = (evil.to_owned(), evil.to_owned());
        (found.node, found.fix) = (Some(evil.to_owned()), Some(evil.to_owned()));
    }
    it.sentence = evil.to_owned();
    it.nodes[3].upstream = Some(evil.to_owned());
    let page = html(&it, evil, 0);
    assert!(!page.contains("<b a") && !page.contains("\"1\"") && !page.contains("&amp;'"), "{page}");
    assert!(page.contains("&lt;b a=&quot;1&quot;&gt;&amp;amp;&#39;"), "{page}");
}

#[test]
fn every_node_is_drawn_once_whoever_follows_whom() {
    let mut it = health(&streaming(9));
    let count = |it: &ClusterHealth| svg(it).matches("<rect").count();
    assert_eq!(count(&it), 10);
    // A circle, one that follows itself, and one that follows a node that is not of the cluster.
    for (at, up) in [(1, "n3"), (2, "n2"), (4, "n5"), (5, "10.9.9.9")] {
        it.nodes[at].upstream = Some(up.to_owned());
    }
    assert_eq!(count(&it), 11);
    it.nodes.clear();
    assert_eq!(count(&it), 0);
}

#[test]
fn a_restart_that_is_due_is_told_and_what_is_not_known_is_no_none() {
    let mut hosts = streaming(2);
    let guc = &mut hosts[1].2["og_guc"];
    (guc["running"], guc["restart_required"]) =
        (json!({"synchronous_commit": "on"}), json!(["shared_buffers", "max_connections"]));
    hosts[0].2["og_guc"]["running"] = json!({"synchronous_commit": "on"});
    let it = health(&hosts);
    let pending = |name| it.node(name).unwrap().pending_restart.as_ref().map(Vec::len);
    assert_eq!((pending("n1"), pending("n2"), pending("n3")), (Some(0), Some(2), None));
    // It is no fault of the cluster.
    assert_eq!((it.verdict, ids(&it)), (Verdict::Healthy, vec!["node.pending_restart"]));
    assert_eq!(
        it.findings[0].in_words(),
        "n2: changed in postgresql.conf, to count after a restart: max_connections, shared_buffers [node.pending_restart]; restart it: og restart n2"
    );
    let table = table(&it, true, None);
    let ends: Vec<_> = table[1..].iter().map(|line| line.rsplit("  ").next().unwrap()).collect();
    assert_eq!(ends, ["-", "max_connections, shared_buffers", "?"]);
    let metrics = prometheus(&it, "c", 0);
    let samples: Vec<_> =
        metrics.lines().filter(|line| line.starts_with("opengauss_pending_restart{")).collect();
    assert!(samples.len() == 2 && samples[1].ends_with(r#"node="n2"} 1"#), "{samples:?}");
}

/// The names of metrics in a text.
fn metrics_in(text: &str) -> std::collections::BTreeSet<&str> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    words.filter(|word| word.starts_with("opengauss_")).collect()
}

#[test]
fn alerts_and_their_page_name_the_metrics_that_are_written() {
    #[derive(serde::Deserialize)]
    struct Rules {
        groups: Vec<Group>,
    }
    #[derive(serde::Deserialize)]
    struct Group {
        rules: Vec<AlertRule>,
    }
    #[derive(serde::Deserialize)]
    struct AlertRule {
        alert: String,
        expr: String,
        labels: std::collections::BTreeMap<String, String>,
    }
    let text = prometheus(&health(&streaming(2)), "shop", 0);
    let types: Vec<_> = text.lines().filter(|line| line.starts_with("# TYPE")).collect();
    let types = types.join("\n");
    let written = metrics_in(&types);
    let rules = include_str!("../../../../docs/monitoring/alerts.yml");
    let rules: Rules = serde_saphyr::from_str(rules).unwrap();
    for AlertRule { alert, expr, labels } in rules.groups.into_iter().flat_map(|group| group.rules) {
        let named = metrics_in(&expr);
        let of_a_node = og_common::metrics::CERTIFICATE_EXPIRY.name;
        let known = |name: &&str| written.contains(name) || *name == of_a_node;
        assert!(!named.is_empty() && named.iter().all(known), "{alert}: {named:?}");
        assert!(matches!(labels["severity"].as_str(), "critical" | "warning"), "{alert}");
    }
    let page = include_str!("../../../../docs/monitoring.md");
    let rows: Vec<_> = page.lines().filter(|line| line.starts_with("| `opengauss_")).collect();
    let rows = rows.join("\n");
    assert_eq!(metrics_in(&rows), written);
}
