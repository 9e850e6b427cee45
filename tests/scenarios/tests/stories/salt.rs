//! The workflows under Salt, with a real master and minions: what docs/salt.md tells to type, measured against Ansible.

use std::fs;
use std::path::{Path, PathBuf};

use og_lab::Role;
use og_scenarios::cluster::{Cluster, Result, differing};
use og_scenarios::salt::{Answer, Salt};
use serde_json::{Value, json};

use super::{check_nothing_left, configuration_of_nodes, predict_changes, shorten, under_load};
use crate::Story;

pub const STORY: Story = Story {
    name: "salt",
    nodes: &[("n1", Role::Primary), ("n2", Role::Standby), ("n3", Role::Spare), ("n4", Role::SpareCascade)],
    always: 1,
    scenarios: &[("what the page on Salt tells to type does what Ansible does", as_the_page_says)],
};

const SECRET: &str = "Gauss-4711";

/// The variable that names the folder of Salt's programs.
const SALT: &str = "OG_SALT";

pub fn missing_requirement() -> Option<String> {
    std::env::var_os(SALT)
        .is_none()
        .then(|| format!("{SALT} does not name the folder of Salt's programs; `cargo xtask salt` runs this"))
}

fn as_the_page_says(c: &Cluster) -> Result {
    let bin = std::env::var_os(SALT).ok_or_else(|| format!("{SALT} is not set"))?;
    let [install, run, orchestrate] = &typed_blocks()?[..] else {
        return Err("docs/salt.md has other commands than this test knows".to_owned());
    };
    let salt = Salt::up(c, &PathBuf::from(bin))?;
    for line in install {
        run_typed(c, &salt, line)?.must_work()?;
    }
    describe(c, &salt)?;
    for line in run {
        match &line.split_whitespace().skip(1).collect::<Vec<_>>()[..] {
            ["og.status", _] => {
                let seen = run_typed(c, &salt, line)?.must_work()?;
                require(&seen, "n4    ", seen.value["cluster"].to_string().contains("n1    "))?;
            }
            ["og.expand", nodes, "test=True"] => {
                check_prediction(c, &salt, line, "expand.yml", &format!("og_add={nodes}"))?;
            }
            ["og.expand", nodes] => check_expand(c, &salt, line, nodes)?,
            ["og.drop", nodes] => check_drop(c, &salt, line, nodes)?,
            _ => return Err(format!("docs/salt.md says {line:?}, which this test does not know")),
        }
    }
    for line in orchestrate {
        orchestrated(c, &salt, line)?;
    }
    by_hand(c, &salt)?;
    secrets(c, &salt)
}

/// The orchestrations that compose the modules by hand: a standby comes and goes.
fn by_hand(c: &Cluster, salt: &Salt) -> Result {
    let folder = salt.files().join("examples");
    fs::create_dir_all(&folder).map_err(|e| e.to_string())?;
    for name in ["add_standby.sls", "drop_standby.sls"] {
        fs::copy(c.playbooks().join("examples").join(name), folder.join(name)).map_err(|e| e.to_string())?;
    }
    let orchestrate =
        |words: [&str; 2]| salt.run("salt-run", &["state.orchestrate", words[0], words[1]])?.must_work();
    orchestrate(["examples.add_standby", r#"pillar={"new": "n2"}"#])?;
    c.check_at_rest(&[("n1", "primary"), ("n2", "standby"), ("n3", "standby"), ("n4", "cascade_standby")])?;
    orchestrate(["examples.drop_standby", r#"pillar={"gone": "n2"}"#])?;
    c.check_at_rest(&[("n1", "primary"), ("n3", "standby"), ("n4", "cascade_standby")])
}

/// The indented blocks of docs/salt.md, up to several clusters, that consist of commands, by line.
fn typed_blocks() -> Result<Vec<Vec<String>>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/salt.md");
    let text = fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    let section = text.split("\n## Several clusters\n").next().unwrap_or_default();
    let mut blocks: Vec<Vec<String>> = vec![Vec::new()];
    for line in section.lines() {
        match line.strip_prefix("    ") {
            Some(command) => blocks.last_mut().into_iter().for_each(|b| b.push(command.to_owned())),
            None => blocks.push(Vec::new()),
        }
    }
    // What is typed for one node is typed by tests/callers/test_salt.py.
    let commands = |b: &Vec<String>| {
        !b.is_empty()
            && b.iter().all(|l| ["cp ", "mkdir ", "salt-run ", "salt '*' "].iter().any(|w| l.starts_with(w)))
    };
    Ok(blocks.into_iter().filter(commands).collect())
}

/// Types a line of docs/salt.md in a shell on the master, with the lab's folders for the documented ones.
fn run_typed(c: &Cluster, salt: &Salt, line: &str) -> Result<Answer> {
    let line = line
        .replace("/path/printed/by/cargo-xtask-build", &c.modules().display().to_string())
        .replace("/srv/salt", &salt.files().display().to_string());
    salt.shell(&line)
}

fn require(seen: &Answer, what: &str, holds: bool) -> Result {
    if holds { Ok(()) } else { Err(format!("expected: {what}\n{}", seen.output)) }
}

/// The pillar, in the shape of the inventory; of the lab's nodes it is the inventory's own variables.
fn describe(c: &Cluster, salt: &Salt) -> Result {
    let hosts: serde_json::Map<String, Value> = c
        .lab()
        .nodes()
        .iter()
        .map(|n| {
            let own = json!({"address": n.address, "id": n.id, "role": n.role.word(), "env_file": n.env_file,
                "data_dir": n.data_dir});
            (n.name.clone(), own)
        })
        .collect();
    let pillar =
        json!({"opengauss": {"hosts": hosts, "vars": {"base_port": 26000, "zone": "AZ1"}}, "word": SECRET});
    let top = json!({"base": {"n*": ["opengauss"]}});
    for (name, value) in [("opengauss.sls", pillar), ("top.sls", top)] {
        fs::write(salt.pillar().join(name), value.to_string()).map_err(|e| e.to_string())?;
    }
    salt.run("salt", &["*", "saltutil.refresh_pillar", "wait=True"])?.must_work().map(drop)
}

/// Salt says what it would change, which is what Ansible's check mode says, and changes nothing.
fn check_prediction(c: &Cluster, salt: &Salt, line: &str, playbook: &str, extra: &str) -> Result {
    let by_ansible = shorten(predict_changes(c, playbook, &["-e", extra])?);
    let before = c.settled_configuration()?;
    let by_salt = run_typed(c, salt, line)?.must_work()?;
    let changed = differing(&before, &c.configuration()?);
    require(&by_salt, &format!("no change of {changed:?}"), changed.is_empty())?;
    require(&by_salt, &format!("{by_ansible:#?}"), by_salt.changes() == by_ansible)
}

/// The line under load does what Ansible foretells, and leaves neither Salt nor Ansible anything to do.
fn check_run(c: &Cluster, salt: &Salt, line: &str, playbook: &str, extra: &str) -> Result {
    let by_ansible = shorten(predict_changes(c, playbook, &["-e", extra])?);
    let (done, seen) = under_load(c, "n1", || run_typed(c, salt, line)?.must_work())?;
    require(&done, &format!("{by_ansible:#?}"), done.changes() == by_ansible)?;
    c.wait_for_rows(&seen, &["n1"])?;
    let again = run_typed(c, salt, line)?.must_work()?;
    require(&again, "nothing to do", again.changes().is_empty() && again.value["changed"] == false)?;
    check_nothing_left(c, playbook, &["-e", extra])
}

fn check_expand(c: &Cluster, salt: &Salt, line: &str, nodes: &str) -> Result {
    let extra = format!("og_add={nodes}");
    check_run(c, salt, line, "expand.yml", &extra)?;
    let roles = [("n1", "primary"), ("n2", "standby"), ("n3", "standby"), ("n4", "cascade_standby")];
    c.check_at_rest(&roles)?;
    let by_salt = configuration_of_nodes(c)?;
    // The same by Ansible, from where it began.
    c.run_playbook("drop.yml", &["-e", &format!("og_drop={nodes}")])?.must_work()?;
    c.run_playbook("expand.yml", &["-e", &extra])?.must_work()?;
    c.check_at_rest(&roles)?;
    let differ = differing(&by_salt, &configuration_of_nodes(c)?);
    if differ.is_empty() { Ok(()) } else { Err(format!("Salt and Ansible make other files: {differ:?}")) }
}

/// Killed while the minions work at a step, the same line takes up what is left.
fn check_drop(c: &Cluster, salt: &Salt, line: &str, nodes: &str) -> Result {
    let extra = format!("og_drop={nodes}");
    check_prediction(c, salt, &format!("{line} test=True"), "drop.yml", &extra)?;
    salt.run_killed(line, "Remove the dropped nodes from channels")?;
    let (_, seen) = under_load(c, "n1", || run_typed(c, salt, line)?.must_work())?;
    c.wait_for_rows(&seen, &["n1"])?;
    c.check_at_rest(&[("n1", "primary"), ("n3", "standby"), ("n4", "cascade_standby")])?;
    check_nothing_left(c, "drop.yml", &["-e", &extra])
}

/// The result of the only state of an orchestration.
fn only_state(seen: &Answer) -> &Value {
    // With its outputter beside it, or by itself: that depends on the release.
    let by_master = seen.value["data"].as_object().or_else(|| seen.value.as_object());
    let states = by_master.and_then(|by_master| by_master.values().next());
    states.and_then(Value::as_object).and_then(|states| states.values().next()).unwrap_or(&Value::Null)
}

fn orchestrated(c: &Cluster, salt: &Salt, line: &str) -> Result {
    let before = c.settled_configuration()?;
    let seen = run_typed(c, salt, line)?.must_work()?;
    let state = only_state(&seen);
    let foreseen = state["result"].is_null() && state["changes"]["n2"].is_array();
    require(&seen, "a prediction for n2", foreseen)?;
    let changed = differing(&before, &c.configuration()?);
    require(&seen, &format!("no change of {changed:?}"), changed.is_empty())?;
    // A run that is refused says so in its exit status.
    let refused =
        salt.run("salt-run", &["state.orchestrate", "opengauss.drop", r#"pillar={"og_drop": "n1"}"#])?;
    let said = only_state(&refused)["comment"].to_string();
    require(&refused, "a refusal", !refused.ok && said.contains("n1 is the primary"))
}

/// A secret that is named as of the pillar comes into the file, and into no log of a minion at the level debug.
fn secrets(c: &Cluster, salt: &Salt) -> Result {
    let sls = "word:\n  og.guc_present:\n    - show_changes: false\n    - parameters:\n        log_line_prefix: pillar://word\n";
    fs::write(salt.files().join("word.sls"), sls).map_err(|e| e.to_string())?;
    let done = salt.run("salt", &["n1", "state.apply", "word"])?.must_work()?;
    require(&done, "a change", done.output.contains("not shown"))?;
    let file =
        fs::read_to_string(c.node("n1")?.data_dir.join("postgresql.conf")).map_err(|e| e.to_string())?;
    require(&done, "the secret in the file", file.contains(SECRET))?;
    let logs = salt.minion_logs()?;
    require(&done, "a log at the level debug", logs.contains("[DEBUG") && logs.contains("og.guc_present"))?;
    let shown: Vec<_> = logs.lines().filter(|l| l.contains(SECRET)).collect();
    if shown.is_empty() { Ok(()) } else { Err(format!("a minion's log has the secret: {shown:#?}")) }
}
