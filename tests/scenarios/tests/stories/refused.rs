//! What ends before the first change with one clear sentence, and what fails on the way and is taken back.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;

use og_lab::Role;
use og_scenarios::cluster::{Cluster, Result, differing};
use serde_json::{Value, json};

use super::{check_never_waited_for, effective_lines, run_playbook, under_load};
use crate::Story;

pub const STORY: Story = Story {
    name: "refused",
    nodes: &[("n1", Role::Primary), ("n2", Role::Standby), ("n3", Role::Spare)],
    always: 1,
    scenarios: &[
        ("bad input ends before the first change", bad_input),
        ("a wrong inventory ends before the first change", wrong_inventory),
        ("a broken file ends before the first change", broken_files),
        ("a second workflow is told who holds the lock", busy),
        ("a build that fails is taken back", failing_build),
        ("of two expands at once one is told who holds the lock", two_at_once),
        ("drop a live standby", drop_live),
    ],
};

/// Runs the playbook, which must fail with these words and leave every configuration file as it was.
fn check_refused(c: &Cluster, playbook: &str, args: &[&str], words: &[&str]) -> Result {
    let before = c.settled_configuration()?;
    let run = c.run_playbook(playbook, args)?.must_fail()?;
    let changed = differing(&before, &c.configuration()?);
    if !changed.is_empty() {
        return Err(format!(
            "{playbook} {args:?} failed, but changed {}\n{}",
            changed.join(", "),
            run.output
        ));
    }
    match words.iter().find(|w| !run.output.contains(**w)) {
        None => Ok(()),
        Some(word) => Err(format!("{playbook} {args:?} does not say {word:?}:\n{}", run.output)),
    }
}

/// A second inventory file which changes what the lab's one says.
fn inventory(hosts: &Value) -> Result<tempfile::NamedTempFile> {
    let mut file = tempfile::Builder::new().suffix(".yml").tempfile().map_err(|e| e.to_string())?;
    // JSON is YAML.
    let text = json!({ "opengauss": { "hosts": hosts } }).to_string();
    file.write_all(text.as_bytes()).map_err(|e| e.to_string())?;
    Ok(file)
}

fn check_refused_with(c: &Cluster, hosts: &Value, playbook: &str, extra: &str, words: &[&str]) -> Result {
    let file = inventory(hosts)?;
    let path = file.path().to_string_lossy().into_owned();
    check_refused(c, playbook, &["-i", &path, "-e", extra], words)
}

fn bad_input(c: &Cluster) -> Result {
    check_refused(c, "expand.yml", &["-e", "og_add=n33"], &["n33", "inventory"])?;
    check_refused(c, "drop.yml", &["-e", "og_drop=n33"], &["n33", "inventory"])?;
    check_refused(c, "drop.yml", &["-e", "og_drop=n1"], &["n1", "primary"])?;
    check_refused(c, "expand.yml", &[], &["og_add"])?;
    check_refused(c, "drop.yml", &[], &["og_drop"])?;
    check_refused_with(
        c,
        &json!({"n3": {"data_dir": "/nonexistent/data"}}),
        "expand.yml",
        "og_add=n3",
        &["n3", "/nonexistent/data"],
    )?;
    let taken = c.node("n2")?.address.clone();
    check_refused_with(
        c,
        &json!({"n3": {"address": taken}}),
        "expand.yml",
        "og_add=n3",
        &["n3", "n2", &taken],
    )?;
    let many: serde_json::Map<String, Value> = (0..8)
        .map(|n| {
            let own = json!({"ansible_connection": "local", "address": format!("10.255.255.{n}"), "id": 100 + n,
                "role": "standby", "data_dir": "/nonexistent/data", "base_port": 26000});
            (format!("extra{n}"), own)
        })
        .collect();
    let names: Vec<_> = many.keys().cloned().collect();
    let extra = format!("og_add={}", names.join(","));
    check_refused_with(c, &Value::Object(many), "expand.yml", &extra, &["9 standbys"])
}

/// A slip in the inventory: each is found before anything is changed, whatever the workflow.
fn wrong_inventory(c: &Cluster) -> Result {
    let other = c.node("n2")?;
    // n3 is n2 under another name, by ssh or by the address; n3's ssh leads to n2; its port is another.
    let twin = json!({"n3": {"ansible_host": other.address, "data_dir": other.data_dir}});
    check_refused_with(c, &twin, "expand.yml", "og_add=n3", &["n2 and n3 are one node under several names"])?;
    let address = c.node("n3")?.address.clone();
    let astray = json!({"n3": {"ansible_host": other.address, "address": address}});
    check_refused_with(
        c,
        &astray,
        "expand.yml",
        "og_add=n3",
        &["n3: ssh leads to another machine than its address"],
    )?;
    check_refused_with(
        c,
        &json!({"n2": {"base_port": 26100}}),
        "drop.yml",
        "og_drop=n2",
        &["n2: its server listens on port 26000, the inventory says base_port 26100"],
    )?;
    check_refused_with(
        c,
        &json!({"n2": {"id": 9}}),
        "drop.yml",
        "og_drop=n2",
        &["by its id in the inventory it would be dn_6009"],
    )?;
    let lost = json!({"n2": {"data_dir": "/nonexistent/data"}});
    check_refused_with(
        c,
        &lost,
        "drop.yml",
        "og_drop=n2",
        &["n2: its state cannot be read", "/nonexistent/data"],
    )?;
    let file = inventory(&lost)?;
    let path = file.path().to_string_lossy().into_owned();
    check_refused(c, "status.yml", &["-i", &path], &["n2: its state cannot be read", "/nonexistent/data"])?;
    check_refused(
        c,
        "drop.yml",
        &["-e", "og_drop=n2", "--limit", "n2"],
        &["n1, n3: were not inspected, hidden by --limit"],
    )?;
    check_refused(
        c,
        "drop.yml",
        &["-e", "og_drop=n2", "-e", "og_drop_commit=available"],
        &["did you mean og_drop_commits?"],
    )
}

fn broken_files(c: &Cluster) -> Result {
    let data = c.node("n1")?.data_dir.clone();
    let hba = data.join("pg_hba.conf");
    let mode =
        |m| std::fs::set_permissions(&hba, std::fs::Permissions::from_mode(m)).map_err(|e| e.to_string());
    // Root reads a file of any mode, the nodes' user does not.
    mode(0o000)?;
    let unreadable = check_refused(c, "expand.yml", &["-e", "og_add=n3"], &["n1", "pg_hba.conf"]);
    mode(0o600)?;
    unreadable?;
    let conf = data.join("postgresql.conf");
    let good = std::fs::read(&conf).map_err(|e| e.to_string())?;
    let bad = [&good[..], b"\nwork_mem = 'never closed\n"].concat();
    let owner = std::fs::metadata(&conf).map_err(|e| e.to_string())?;
    std::fs::write(&conf, bad).map_err(|e| e.to_string())?;
    let corrupt = check_refused(c, "expand.yml", &["-e", "og_add=n3"], &["n1", "postgresql.conf"]);
    std::fs::write(&conf, good).map_err(|e| e.to_string())?;
    std::fs::set_permissions(&conf, owner.permissions()).map_err(|e| e.to_string())?;
    corrupt
}

fn busy(c: &Cluster) -> Result {
    let lock = json!({"state": "held", "owner": "dba@elsewhere", "purpose": "repair"});
    let held = c.module("n1", "og_lock", lock)?;
    if held["failed"] == true {
        return Err(held.to_string());
    }
    let expand = check_refused(c, "expand.yml", &["-e", "og_add=n3"], &["dba@elsewhere"]);
    let drop = check_refused(c, "drop.yml", &["-e", "og_drop=n2"], &["dba@elsewhere"]);
    c.module("n1", "og_lock", json!({"state": "released", "owner": "dba@elsewhere"}))?;
    expand.and(drop)
}

/// Two expands started at the same moment: one works, the other is told who does.
fn two_at_once(c: &Cluster) -> Result {
    let run = || c.run_playbook("expand.yml", &["-e", "og_add=n3"]);
    let (first, second) = std::thread::scope(|scope| {
        let other = scope.spawn(run);
        let one = run();
        (one, other.join().unwrap_or_else(|_| Err("the second run panicked".to_owned())))
    });
    let (first, second) = (first?, second?);
    let (good, bad) = if first.ok { (first, second) } else { (second, first) };
    good.must_work()?;
    let bad = bad.must_fail()?;
    if !bad.output.contains("the lock is held by") {
        return Err(format!("the second run does not say who holds the lock:\n{}", bad.output));
    }
    c.check_at_rest(&[("n1", "primary"), ("n2", "standby"), ("n3", "standby")])
}

fn failing_build(c: &Cluster) -> Result {
    let before = c.settled_configuration()?;
    // A rule that turns the newcomer away: the build cannot connect.
    let args = ["-e", "og_add=n3", "-e", "og_hba_method=reject"];
    let (run, seen) = under_load(c, "n1", || c.run_playbook("expand.yml", &args)?.must_fail())?;
    c.wait_for_rows(&seen, &["n1", "n2"])?;
    c.check_at_rest(&[("n1", "primary"), ("n2", "standby")])?;
    let newcomer = c.node("n3")?.dir.clone();
    let changed = differing(&effective_lines(&before), &effective_lines(&c.settled_configuration()?));
    let old: Vec<_> = changed.iter().filter(|f| !std::path::Path::new(f).starts_with(&newcomer)).collect();
    if !old.is_empty() {
        return Err(format!("the failed expand left changes in {old:?}\n{}", run.output));
    }
    Ok(())
}

/// With names of its own in synchronous_standby_names: they go before the node does.
fn drop_live(c: &Cluster) -> Result {
    let names = json!({"method": "any", "num": 1, "add": ["dn_6002", "dn_6003"]});
    let set = c.module("n1", "og_guc", json!({"synchronous_standbys": names}))?;
    if set["failed"] == true {
        return Err(set.to_string());
    }
    let (_, seen) = check_never_waited_for(c, "n3", || run_playbook(c, "drop.yml", &["-e", "og_drop=n3"]))?;
    c.wait_for_rows(&seen, &["n1", "n2"])?;
    c.check_at_rest(&[("n1", "primary"), ("n2", "standby")])?;
    match c.sync_names("n1")? {
        names if names.contains("dn_6002") => Ok(()),
        names => Err(format!("the standby that is left was taken off too: '{names}'")),
    }
}
