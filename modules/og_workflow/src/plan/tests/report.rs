//! The plan as data.

use serde_json::{Value, json};

use super::{Given, adding, cluster, dropping, fresh, good, lock, with, words};
use crate::args::{Options, Workflow};
use crate::cluster::{Host, Node};
use crate::plan::{Asked, Planned, planned};
use crate::seen::Seen;

#[test]
fn what_one_look_brought() {
    let look = |value: Value| Seen::of_look(&value);
    assert!(look(json!(null)).is_none());
    let lost = |value: Value| look(value).unwrap().unreachable;
    assert_eq!(lost(json!({"unreachable": true, "msg": " no route "})).as_deref(), Some("no route"));
    assert_eq!(lost(json!({"unreachable": true})).as_deref(), Some("no answer"));
    // What Ansible says when a task takes longer than its `timeout`.
    let late = json!({"failed": true, "msg": "it took longer than 60 s", "timedout": {"period": 60}});
    assert_eq!(lost(late).as_deref(), Some("it took longer than 60 s"));
    let failed = look(json!({"failed": true, "msg": "2 of 6 programs answered"})).unwrap();
    assert_eq!((failed.unreachable, failed.errors), (None, words("2 of 6 programs answered")));
    let seen = look(
        json!({"changed": false, "og_guc": {"after": {"port": "5"}}, "og_lock": {"failed": true, "msg": "m"}}),
    );
    let seen = seen.unwrap();
    assert_eq!(
        (seen.parameters["port"].as_deref(), seen.errors, seen.state_error),
        (Some("5"), words("m"), None)
    );
}

/// The plan as data, of hosts with what was seen there as it is given.
fn told(workflow: Workflow, hosts: &[Given], targets: &str) -> Planned {
    let node = |(name, vars, seen): &Given| {
        Node::new(&Host::new(name, vars.as_object().unwrap().clone()), Seen::of_look(seen))
    };
    let nodes: Vec<_> = hosts.iter().map(node).collect();
    let (options, targets) = (Options::default(), words(targets));
    let asked =
        Asked { workflow, targets: &targets, options: &options, came: &[], gone: &[], primary: Some("n1") };
    planned(&asked, &nodes).unwrap()
}

#[test]
fn another_primary_than_before_is_told() {
    let mut hosts = cluster(2);
    let plan = told(Workflow::Status, &hosts, "");
    assert_eq!((plan.leader.as_deref(), plan.moved), (Some("n1"), None));
    hosts[1].2["og_node_state"]["node"]["role"] = json!("primary");
    let plan = told(Workflow::Status, &hosts, "");
    let told_of_both =
        "n1 and n2 run as primary, this run began with n1; stop the wrong one, then run it again";
    assert_eq!((plan.leader, plan.moved.as_deref()), (None, Some(told_of_both)));
    hosts[0].2["og_node_state"]["node"]["role"] = json!("standby");
    let plan = told(Workflow::Status, &hosts, "");
    assert_eq!(plan.leader.as_deref(), Some("n2"));
    assert!(plan.moved.unwrap().starts_with("n2 has become primary during this run, which began with n1; "));
    // While nobody is, that is none of this.
    hosts[1].2 = json!(null);
    assert_eq!(told(Workflow::Status, &hosts, "").moved, None);
}

#[test]
fn the_plan_as_data_is_the_plan_of_the_steps() {
    let hosts = with(cluster(2), vec![fresh(4, "standby")]);
    let plan = told(Workflow::Expand, &hosts, "n4");
    assert_eq!((plan.findings.len(), plan.refusal, plan.table.len()), (0, None, 5));
    let same = good(adding(&hosts, "n4"));
    assert_eq!(json!(plan.expand), json!(same));
    let data = json!(same);
    // What belongs to both workflows stands beside what is the one's own.
    assert_eq!((&data["primary"], &data["file_ids"]["n4"]), (&json!("n1"), &json!("4")));
    assert_eq!(data["locals"]["n4"], json!({"host": "10.0.0.4", "base_port": 26000}));
    assert_eq!((&data["restore_now"], &data["sync_before"]), (&json!(null), &json!(null)));
    assert_eq!(data["purpose"], json!({"what": "expand n4", "restore": {}}));
    let plan = told(Workflow::Drop, &hosts, "n2");
    assert_eq!(json!(plan.drop), json!(good(dropping(&hosts, "n2"))));
    let plan = told(Workflow::Status, &hosts, "");
    assert_eq!((plan.table.len(), plan.drop.is_none(), plan.expand.is_none()), (5, true, true));
}

#[test]
fn a_plan_against_which_something_stands_is_none() {
    let mut hosts = with(cluster(2), vec![fresh(4, "standby")]);
    hosts[1].2 = json!(null);
    hosts[3].2 = json!({"unreachable": true, "msg": "no route"});
    let plan = told(Workflow::Expand, &hosts, "n4");
    let findings = ["n2: was not looked at; run without --limit", "n4: cannot be reached: no route"];
    assert_eq!((plan.findings, plan.expand.is_none()), (findings.map(str::to_owned).to_vec(), true));
    let text = "2 findings; nothing was changed:\n- n2: was not looked at; run without --limit\n- n4: cannot be reached: no route";
    assert_eq!(plan.refusal.as_deref(), Some(text));
    let state = |words: &str| plan.table.iter().filter(|line| line.contains(words)).count();
    assert_eq!((state(" not looked at "), state(" unreachable ")), (1, 1), "{:#?}", plan.table);
    // Who else is at work is told beside what was found, unless that run is known to be no more.
    lock(&mut hosts, "repair", json!({}));
    let machine = nix::unistd::gethostname().unwrap();
    for (pid, lives) in [(std::process::id(), true), (u32::MAX >> 1, false)] {
        let mut owner = format!("dba@{} pid {pid} start 1", machine.display());
        if let (true, Ok(own)) = (lives, crate::owner::Owner::of_process(pid)) {
            owner = own.to_string();
        }
        hosts[0].2["og_lock"]["lock"]["owner"] = json!(owner);
        let refusal = told(Workflow::Expand, &hosts, "n4").refusal.unwrap();
        assert_eq!(refusal.contains("another run is at work"), lives, "{refusal}");
    }
}
