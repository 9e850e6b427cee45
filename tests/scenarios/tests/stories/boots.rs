//! Machines that lose their power and come back: systemd starts each node in its last role, and never a second primary.

use og_lab::Role;
use og_scenarios::cluster::{Cluster, Result};
use og_scenarios::shell::Shell;

use super::check_nothing_left;
use super::machines::{deploy_line, deploy_vars, write_password};
use crate::Story;

pub const STORY: Story = Story {
    name: "boots",
    nodes: &[("n1", Role::Primary), ("n2", Role::Standby), ("n3", Role::Standby)],
    always: 0,
    scenarios: &[
        ("nodes start with their machines", with_machines),
        ("an old primary is not started beside its successor", old_primary),
        ("what was primary waits until all others answer", waits),
        ("a node stops in order, and is left alone when it was stopped", stops),
        ("clear takes the unit away", cleared),
    ],
};

const NODES: [&str; 3] = ["n1", "n2", "n3"];
const UNIT: &str = "opengauss-node-gauss-data-dn.service";
const PROGRAM: &str = "/usr/local/bin/og_node_state";

fn boot(c: &Cluster, nodes: &[&str]) -> Result {
    nodes.iter().try_for_each(|name| c.lab().boot(name).map_err(|e| e.to_string()))
}

fn power_off(c: &Cluster, nodes: &[&str]) -> Result {
    nodes.iter().try_for_each(|name| c.lab().power_off(name).map_err(|e| e.to_string()))
}

/// What the command says as root of the node, and whether it ended well.
fn as_root(c: &Cluster, name: &str, words: &[&str]) -> Result<(String, bool)> {
    let done = c.node(name)?.exec_root(words).output().map_err(|e| e.to_string())?;
    let said = format!("{}{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    Ok((said.trim().to_owned(), done.status.success()))
}

fn must(c: &Cluster, name: &str, words: &[&str]) -> Result<String> {
    match as_root(c, name, words)? {
        (said, true) => Ok(said),
        (said, false) => Err(format!("{name}: {words:?}: {said}")),
    }
}

/// What systemd says of the unit on the node.
fn property(c: &Cluster, name: &str, property: &str) -> Result<String> {
    must(c, name, &["systemctl", "show", "--value", "--property", property, UNIT])
}

/// What the unit has said on the node since it was started.
fn log(c: &Cluster, name: &str) -> Result<String> {
    must(c, name, &["journalctl", "--no-pager", "--boot", "--unit", UNIT])
}

/// Whether a server runs on the node; its pid file outlives a loss of power. A zombie is none, once all of its threads
/// have ended.
fn runs(c: &Cluster, name: &str) -> Result<bool> {
    let (listed, _) = as_root(c, name, &["ps", "-C", "gaussdb", "-o", "stat=,nlwp="])?;
    let is_over = |line: &str| line.starts_with('Z') && line.ends_with(" 1");
    Ok(listed.lines().any(|line| !is_over(line.trim())))
}

/// The cluster as it comes up by itself.
fn check_comes_up(c: &Cluster, roles: &[(&str, &str)]) -> Result {
    let primary = roles.iter().find(|(_, role)| *role == "primary").map_or("", |(name, _)| name);
    c.wait_until(&format!("{primary} takes commits"), || {
        Ok(c.sql(primary, "create table og_boot_probe (n int); drop table og_boot_probe").map(drop))
    })?;
    c.check_at_rest(roles)
}

fn with_machines(c: &Cluster) -> Result {
    let shell = Shell::new(c)?;
    write_password(c)?;
    boot(c, &NODES)?;
    let line = format!("{} --unit yes", deploy_line(c)?);
    let told = shell.run(&line)?;
    if !told.output.contains("/usr/bin/og_node_state is not there") || !told.changes.is_empty() {
        return Err(format!("without the program on the nodes:\n{}", told.output));
    }
    let program = c.lab().base_dir().join("modules/og_node_state").display().to_string();
    for name in NODES {
        must(c, name, &["install", "-m", "755", &program, PROGRAM])?;
    }
    shell.run(&line)?.must_work()?;
    let again = shell.run(&line)?.must_work()?;
    if !again.changes.is_empty() {
        return Err(format!("the second run: {}", again.output));
    }
    unit_by_ansible(c)?;
    let roles = [("n1", "primary"), ("n2", "standby"), ("n3", "standby")];
    c.check_at_rest(&roles)?;
    c.sql("n1", "create table og_boots as select generate_series(1, 1000) as n")?;
    power_off(c, &NODES)?;
    boot(c, &NODES)?;
    check_comes_up(c, &roles)?;
    match c.sql("n1", "select count(*) from og_boots")?.as_str() {
        "1000" => Ok(()),
        rows => Err(format!("{rows} of 1000 rows are there after the power came back")),
    }
}

/// A unit that somebody took away is written again by the playbook, on that node alone.
fn unit_by_ansible(c: &Cluster) -> Result {
    must(c, "n3", &["systemctl", "disable", UNIT])?;
    must(c, "n3", &["rm", &format!("/etc/systemd/system/{UNIT}")])?;
    let mut vars = deploy_vars(c)?;
    vars["og_unit"] = true.into();
    let vars = vars.to_string();
    let args = ["-e", &vars];
    let run = c.run_playbook("deploy.yml", &args)?.must_work()?;
    if !matches!(&run.changes()[..], [only] if only.starts_with("n3: ")) {
        return Err(format!("changed: {:?}\n{}", run.changes(), run.output));
    }
    match property(c, "n3", "UnitFileState")?.as_str() {
        "enabled" => check_nothing_left(c, "deploy.yml", &args),
        state => Err(format!("the unit of n3 is {state:?}:\n{}", run.output)),
    }
}

fn old_primary(c: &Cluster) -> Result {
    let shell = Shell::new(c)?;
    power_off(c, &["n1"])?;
    shell.run("og failover n2 --confirm-dead n1")?.must_work()?;
    boot(c, &["n1"])?;
    // n2, and n3 that follows it, may have shut it out.
    c.wait_until("the unit of n1 says why it does not start the server", || {
        let said = log(c, "n1")?;
        let said = said.rsplit_once("Started ").map_or("", |(_, said)| said);
        let is_told =
            said.contains("there would be two of them") || said.contains("not started as primary unattended");
        Ok(if is_told { Ok(()) } else { Err(said.to_owned()) })
    })?;
    println!("  {}: {}", c.lab().engine(), log(c, "n1")?.lines().last().unwrap_or_default());
    if runs(c, "n1")? {
        return Err(format!("n1 was started beside n2, which is primary: {}", log(c, "n1")?));
    }
    shell.run("og repair n1")?.must_work()?;
    c.check_at_rest(&[("n1", "standby"), ("n2", "primary"), ("n3", "standby")])?;
    c.wait_until("the unit of n1 has nothing to do any more", || {
        let state = (property(c, "n1", "ActiveState")?, property(c, "n1", "SubState")?);
        let is_over = ["failed", "exited"].contains(&state.1.as_str());
        Ok(if is_over { Ok(()) } else { Err(format!("{state:?}")) })
    })
}

fn waits(c: &Cluster) -> Result {
    power_off(c, &NODES)?;
    boot(c, &["n2", "n1"])?;
    c.wait_until("n1 runs", || Ok(if runs(c, "n1")? { Ok(()) } else { Err("it does not".to_owned()) }))?;
    // It is at work, and has not begun.
    let state = (property(c, "n2", "SubState")?, runs(c, "n2")?);
    if state != ("running".to_owned(), false) {
        return Err(format!("n2 was primary, and n3 has no power: {state:?}: {}", log(c, "n2")?));
    }
    boot(c, &["n3"])?;
    check_comes_up(c, &[("n1", "standby"), ("n2", "primary"), ("n3", "standby")])
}

fn stops(c: &Cluster) -> Result {
    must(c, "n3", &["systemctl", "stop", UNIT])?;
    if runs(c, "n3")? {
        let (listed, _) = as_root(c, "n3", &["ps", "-eLo", "pid,tid,stat,nlwp,etimes,comm"])?;
        return Err(format!("the server runs although its unit was stopped: {}\n{listed}", log(c, "n3")?));
    }
    let log = log(c, "n3")?;
    if !log.contains("stop the server; now stopped") {
        return Err(format!("n3 was stopped: {log}"));
    }
    must(c, "n3", &["systemctl", "start", UNIT])?;
    check_comes_up(c, &[("n1", "standby"), ("n2", "primary"), ("n3", "standby")])?;
    // Who stops the server by another way wants it down.
    let stop = format!(
        "echo '{{\"data_dir\": \"{}\", \"state\": \"stopped\"}}' | {PROGRAM}",
        c.node("n3")?.data_dir.display()
    );
    let done = c.node("n3")?.exec(["sh", "-c", &stop]).output().map_err(|e| e.to_string())?;
    if !done.status.success() {
        return Err(String::from_utf8_lossy(&done.stdout).into_owned());
    }
    // The program that started it may be about to end.
    c.wait_until("the unit has nothing to do any more, and no server runs", || {
        let state = (property(c, "n3", "SubState")?, runs(c, "n3")?);
        Ok(if state == ("exited".to_owned(), false) { Ok(()) } else { Err(format!("{state:?}")) })
    })
}

fn cleared(c: &Cluster) -> Result {
    let shell = Shell::new(c)?;
    shell.run("og drop n3")?.must_work()?;
    shell.run("og clear n3 --host-absent yes")?.must_work()?;
    let (listed, _) = as_root(c, "n3", &["systemctl", "list-unit-files", "--no-pager", "opengauss-node-*"])?;
    if listed.contains(UNIT) {
        return Err(format!("n3 was cleared: {listed}"));
    }
    boot(c, &["n3"])?;
    if runs(c, "n3")? { Err("n3 was cleared, and a server starts there".to_owned()) } else { Ok(()) }
}
