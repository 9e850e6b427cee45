//! The workflows at a terminal, measured against Ansible.

use og_lab::Role;
use og_scenarios::cluster::{Cluster, Result, differing};
use og_scenarios::shell::{Shell, Told};

use super::{configuration_of_nodes, predict_changes, shorten, under_load};
use crate::Story;

pub const STORY: Story = Story {
    name: "shell",
    nodes: &[("n1", Role::Primary), ("n2", Role::Standby), ("n3", Role::Spare), ("n4", Role::SpareCascade)],
    always: 4,
    scenarios: &[
        ("og expand does what Ansible does", check_expand),
        ("og drop, killed and typed again", check_drop),
        ("what is refused is told, and nothing changed", refused),
        ("a standby comes and goes by the modules alone", by_hand),
    ],
};

const ADD: &str = "og_add=n3,n4";
const ROLES: [(&str, &str); 4] =
    [("n1", "primary"), ("n2", "standby"), ("n3", "standby"), ("n4", "cascade_standby")];

fn check_same_changes(what: &str, by_ansible: &[String], by_shell: &Told) -> Result {
    if by_shell.changes == by_ansible {
        return Ok(());
    }
    Err(format!("{what}: expected {by_ansible:#?}, got {:#?}\n{}", by_shell.changes, by_shell.output))
}

/// The line tells what it would change, and changes nothing.
fn check_prediction(c: &Cluster, shell: &Shell, line: &str) -> Result<Told> {
    let before = c.settled_configuration()?;
    let told = shell.run(line)?.must_work()?;
    match differing(&before, &c.configuration()?)[..] {
        [] => Ok(told),
        ref files => Err(format!("{line} changed {files:?}")),
    }
}

fn show(c: &Cluster, line: &str, told: &Told) {
    let (engine, took) = (c.lab().engine(), told.took.as_secs_f64());
    println!("  {engine}: {line}: {took:.1} s, {} changes", told.changes.len());
}

fn check_expand(c: &Cluster) -> Result {
    let shell = Shell::new(c)?;
    let by_ansible = shorten(predict_changes(c, "expand.yml", &["-e", ADD])?);
    check_same_changes("check", &by_ansible, &check_prediction(c, &shell, "og expand -n --diff n3,n4")?)?;
    let (told, seen) = under_load(c, "n1", || shell.run("og expand n3,n4")?.must_work())?;
    show(c, "og expand n3,n4", &told);
    check_same_changes("run", &by_ansible, &told)?;
    c.wait_for_rows(&seen, &["n1", "n2", "n3", "n4"])?;
    c.check_at_rest(&ROLES)?;
    check_same_changes("again", &[], &shell.run("og expand n3,n4")?.must_work()?)?;
    let by_shell = configuration_of_nodes(c)?;
    // The same by Ansible, from where it began.
    c.run_playbook("drop.yml", &["-e", "og_drop=n3,n4"])?.must_work()?;
    let run = c.run_playbook("expand.yml", &["-e", ADD])?.must_work()?;
    // n2 streams, and n4 may follow it: it need not wait for n3.
    if !run.task_times.iter().any(|(name, _)| name.ends_with("Build standbys and cascade standbys")) {
        return Err(format!("n4 was not built beside n3:\n{}", run.output));
    }
    c.check_at_rest(&ROLES)?;
    match differing(&by_shell, &configuration_of_nodes(c)?)[..] {
        [] => Ok(()),
        ref files => Err(format!("the shell and Ansible make other files: {files:?}")),
    }
}

/// Killed while the nodes work at a step, the same line takes up what is left.
fn check_drop(c: &Cluster) -> Result {
    let shell = Shell::new(c)?;
    let line = "og drop n2";
    let by_ansible = shorten(predict_changes(c, "drop.yml", &["-e", "og_drop=n2"])?);
    check_same_changes("check", &by_ansible, &check_prediction(c, &shell, "og drop --check n2")?)?;
    shell.run_killed(line, "Remove the dropped nodes from channels")?;
    let (told, seen) = under_load(c, "n1", || shell.run(line)?.must_work())?;
    show(c, line, &told);
    c.wait_for_rows(&seen, &["n1"])?;
    c.check_at_rest(&[("n1", "primary"), ("n3", "standby"), ("n4", "cascade_standby")])?;
    check_same_changes("again", &[], &shell.run(line)?.must_work()?)?;
    let table = shell.run("og status")?.must_work()?.output;
    if table.lines().any(|row| row.starts_with("n2 ") && row.contains("stopped")) {
        return Ok(());
    }
    Err(format!("n2 is not shown as stopped:\n{table}"))
}

fn refused(c: &Cluster) -> Result {
    let shell = Shell::new(c)?;
    let before = c.settled_configuration()?;
    for (line, status, words) in [
        ("og drop n1", 1, "n1 is the primary"),
        ("og expand n33", 1, "n33 is no host"),
        ("og expand n2 og_sync_num=1 og_sync_standby=any", 2, "did you mean og_sync_standbys?"),
    ] {
        let told = shell.run(line)?;
        if told.status != status || !told.output.contains(words) {
            return Err(format!("{line}: expected {words:?} and status {status}, got {told:#?}"));
        }
    }
    match differing(&before, &c.configuration()?)[..] {
        [] => Ok(()),
        ref files => Err(format!("what was refused changed {files:?}")),
    }
}

/// The scripts and playbooks that compose the modules by hand.
fn by_hand(c: &Cluster) -> Result {
    let shell = Shell::new(c)?;
    let node = |name: &str| -> Result<String> {
        let n = c.lab().node(name).map_err(|e| e.to_string())?;
        Ok(format!("{}@{}:{}", n.os_user, n.address, n.data_dir.display()))
    };
    let words = format!("2 {} {} {} {}", node("n2")?, node("n1")?, node("n3")?, node("n4")?);
    let scripts = c.playbooks().join("shell");
    let script =
        |name: &str| shell.type_line(&format!("{} {words}", scripts.join(name).display()))?.must_work();
    let with = [("n1", "primary"), ("n2", "standby"), ("n3", "standby"), ("n4", "cascade_standby")];
    let without = [("n1", "primary"), ("n3", "standby"), ("n4", "cascade_standby")];
    // A node that comes back may keep slots that it had for others; the workflows drop such, these few lines do not.
    let all_stream = || with.iter().try_for_each(|(name, role)| c.wait_for_state(name, role, "normal"));
    for _ in 0..2 {
        script("add-standby")?;
        all_stream()?;
    }
    c.run_playbook("examples/drop_standby.yml", &["-e", "gone=n2"])?.must_work()?;
    c.check_at_rest(&without)?;
    c.run_playbook("examples/add_standby.yml", &["-e", "new=n2"])?.must_work()?;
    all_stream()?;
    script("drop-standby")?;
    c.check_at_rest(&without)
}
