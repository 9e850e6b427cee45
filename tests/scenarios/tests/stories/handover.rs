//! Another node becomes the primary, by will or because the old one is lost; no row that was acknowledged is.

use std::process::Command;
use std::time::Duration;

use og_lab::{Engine, KillPoints};
use og_scenarios::client::{Seen, TABLE};
use og_scenarios::cluster::{Cluster, Result, differing};
use og_scenarios::roaming::write_on_any;
use og_scenarios::shell::Shell;
use og_scenarios::workflow::Run;
use serde_json::{Value, json};

use super::interrupted::killed_after_each_task;
use super::{FOUR_NODES, check_nothing_left};
use crate::Story;

pub const STORY: Story = Story {
    name: "handover",
    nodes: &FOUR_NODES,
    always: 3,
    scenarios: &[
        ("a switchover is foretold and loses no row", switchover),
        ("the longest time without a commit is told, and nothing of the probes is left", probed),
        ("who cannot take over is refused, a member that is down done without by name", refused),
        ("the time without commits beside gs_ctl switchover's, in turn", beside_gs_ctl),
        ("a switchover killed after each task in turn", killed),
        ("of two switchovers at once one is made", two_at_once),
        ("of two standbys the one that holds more takes over", farthest),
        ("an old primary is taken in as it is, or with what only it holds kept aside", fork),
        ("an old primary is taken in as it is though a switchover came between", fork_and_switchover),
        ("a failover killed after each task in turn", failover_killed),
        ("a frozen primary is replaced only when a person says so", frozen),
        (
            "a primary that is cut off is replaced, and what it acknowledged is kept, also when it is thawed",
            cut_off,
        ),
    ],
};

/// How the nodes are with this primary.
fn roles(primary: &str) -> Vec<(&'static str, &'static str)> {
    let role = |node: &'static str| match node {
        _ if node == primary => (node, "primary"),
        "n4" => (node, "cascade_standby"),
        _ => (node, "standby"),
    };
    FOUR_NODES.map(|(node, _)| role(node)).to_vec()
}

/// A switchover that must work, with clients; every row that was acknowledged is on every node.
fn switch(c: &Cluster, from: &str, to: &str, args: &[&str]) -> Result<Run> {
    let target = format!("og_switchover={to}");
    let args = [&["-e", &target], args].concat();
    c.sql(from, &og_scenarios::client::create_table())?;
    let (run, seen) = write_on_any(c, &[from, to], || c.run_playbook("switchover.yml", &args)?.must_work())?;
    println!(
        "  {}: switchover {from} to {to}: {:.1} s, nobody could commit for {:.2} s, {} rows",
        c.lab().engine(),
        run.took.as_secs_f64(),
        seen.gaps.first().map_or(0.0, Duration::as_secs_f64),
        seen.rows.len()
    );
    Ok(run)
}

/// That the primary holds each row that was acknowledged.
fn check_holds(c: &Cluster, seen: &Seen, primary: &str) -> Result {
    let (wanted, between) = (seen.rows().to_string(), format!("n between {} and {}", seen.first, seen.last));
    let has = c.sql(primary, &format!("select count(*) from {TABLE} where {between}"))?;
    if seen.acknowledged.is_none() || has == wanted {
        return Ok(());
    }
    Err(format!("{primary} holds {has} of the {wanted} rows that were acknowledged ({between})"))
}

fn switchover(c: &Cluster) -> Result {
    c.sql("n1", &og_scenarios::client::create_table())?;
    let before = c.settled_configuration()?;
    let foretold =
        c.run_playbook("switchover.yml", &["-e", "og_switchover=n2", "--check", "--diff"])?.must_work()?;
    if let files @ [_, ..] = &differing(&before, &c.configuration()?)[..] {
        return Err(format!("check mode changed {}", files.join(", ")));
    }
    if !foretold.changes().iter().any(|change| change.starts_with("n2: ") && change.ends_with("Switch over"))
    {
        return Err(format!("check mode does not foretell the switchover: {:?}", foretold.changes()));
    }
    switch(c, "n1", "n2", &[])?;
    c.check_at_rest(&roles("n2"))?;
    check_nothing_left(c, "switchover.yml", &["-e", "og_switchover=n2"])?;
    switch(c, "n2", "n1", &[])?;
    c.check_at_rest(&roles("n1"))
}

/// Nothing of a probe is on any node, and its table is nowhere.
fn check_no_probe(c: &Cluster, primary: &str) -> Result {
    for (node, _) in FOUR_NODES {
        let told = c.module(node, "og_probe", json!({}))?;
        if !told["probe"].is_null() || told["failed"] != false {
            return Err(format!("{node} has a probe: {told}"));
        }
    }
    match c.sql(primary, "select count(*) from pg_class where relname = 'og_probe'")?.as_str() {
        "0" => Ok(()),
        left => Err(format!("{primary}: {left} tables of a probe are left")),
    }
}

/// What was told of commits. A switchover of openGauss takes longer than anything else in which a commit may have to wait, so it is
/// the time between the old primary's last commit and the new one's first, which may last into the step after it; one of PostgreSQL
/// is over in a moment.
fn told_commits(c: &Cluster, output: &str, from: &str, to: &str) -> Result {
    let words = output.split_whitespace().collect::<Vec<_>>().join(" ");
    let at = words.find("Commits: ").ok_or_else(|| format!("nothing is told of commits:\n{output}"))?;
    let told: String = words[at..].chars().take(160).collect();
    println!("  {}: {from} to {to}: {told}", c.lab().engine());
    let wanted = if c.lab().engine().is_opengauss() {
        format!("from {from} to {to}, in the step ")
    } else {
        "the longest time without one".to_owned()
    };
    if told.contains(&wanted) { Ok(()) } else { Err(format!("it does not say {wanted:?}:\n{output}")) }
}

fn probed(c: &Cluster) -> Result {
    let run = Shell::new(c)?.run("og switchover n2 --probe yes")?.must_work()?;
    told_commits(c, &run.output, "n1", "n2")?;
    check_no_probe(c, "n2")?;
    // As a run that was killed leaves one.
    for changes in [true, false] {
        let told = c.module("n2", "og_probe", json!({"state": "started"}))?;
        if told["changed"] != changes || told["probe"]["commits"].as_u64().is_none_or(|count| count == 0) {
            return Err(format!("a probe on the primary: {told}"));
        }
    }
    // A build empties the data directory of a standby, and its probe goes on.
    c.module("n3", "og_probe", json!({"state": "started"}))?;
    let built = c.module("n3", "og_build", json!({"mode": "full"}))?;
    let told = c.module("n3", "og_probe", json!({}))?;
    if built["failed"] != false || told["probe"]["running"] != true || told["probe"]["commits"] != 0 {
        return Err(format!("a standby's probe after its build: {told}; the build: {built}"));
    }
    let args = ["-e", "og_switchover=n1", "-e", "og_probe=true"];
    let run = c.run_playbook("switchover.yml", &args)?.must_work()?;
    told_commits(c, &run.output, "n2", "n1")?;
    if let Some(change) = run.changes().iter().find(|change| change.contains("probe")) {
        return Err(format!("{change} counts as a change"));
    }
    check_no_probe(c, "n1")?;
    check_nothing_left(c, "switchover.yml", &args)?;
    check_no_probe(c, "n1")?;
    c.check_at_rest(&roles("n1"))
}

/// The playbook fails with these words.
fn check_fails(c: &Cluster, playbook: &str, args: &[&str], words: &str) -> Result {
    let run = c.run_playbook(playbook, args)?.must_fail()?;
    let told = run.output.split_whitespace().collect::<Vec<_>>().join(" ");
    if told.contains(words) { Ok(()) } else { Err(format!("it does not say {words:?}:\n{}", run.output)) }
}

fn state(c: &Cluster, node: &str, args: Value) -> Result<Value> {
    let result = c.module(node, "og_node_state", args)?;
    if result["failed"] == false { Ok(result) } else { Err(format!("{node}: {result}")) }
}

fn refused(c: &Cluster) -> Result {
    check_fails(c, "switchover.yml", &["-e", "og_switchover=n4"], "is a cascade standby and follows")?;
    check_fails(
        c,
        "failover.yml",
        &["-e", "og_failover=n2"],
        "n1 runs as primary and answers, so nothing is lost",
    )?;
    state(c, "n3", json!({"state": "stopped"}))?;
    check_fails(
        c,
        "switchover.yml",
        &["-e", "og_switchover=n2"],
        "n3: its server is stopped; start it, or repair it",
    )?;
    switch(c, "n1", "n2", &["-e", "og_without=n3"])?;
    state(c, "n3", json!({"state": "started"}))?;
    c.wait_for_state("n3", "standby", "Normal")?;
    // Its files are brought up to date now.
    c.run_playbook("switchover.yml", &["-e", "og_switchover=n2"])?.must_work()?;
    c.check_at_rest(&roles("n2"))?;
    switch(c, "n2", "n1", &[])?;
    c.check_at_rest(&roles("n1"))
}

/// Tells the figures; how long a change of roles takes is the server's.
fn beside_gs_ctl(c: &Cluster) -> Result {
    if KillPoints::from_env()?.first_and_every().1 > 1 {
        println!("  {}: not done, for it measures (cargo xtask test --all)", c.lab().engine());
        return Ok(());
    }
    c.sql("n1", &og_scenarios::client::create_table())?;
    for (from, to, by_og) in
        [("n1", "n2", true), ("n2", "n1", false), ("n1", "n2", false), ("n2", "n1", true)].repeat(2)
    {
        let ((), seen) = write_on_any(c, &[from, to], || {
            if by_og {
                return Shell::new(c)?.run(&format!("og switchover {to}"))?.must_work().map(drop);
            }
            let node = c.node(to)?;
            let data = node.data_dir.display().to_string();
            let done =
                node.exec(["gs_ctl", "switchover", "-D", &data]).output().map_err(|e| e.to_string())?;
            if done.status.success() {
                c.wait_for_state(to, "primary", "Normal")
            } else {
                Err(String::from_utf8_lossy(&done.stdout).into_owned())
            }
        })?;
        println!(
            "  {}: {}: nobody could commit for {:.2} s, {} rows",
            c.lab().engine(),
            if by_og { "og switchover" } else { "gs_ctl switchover" },
            seen.gaps.first().map_or(0.0, Duration::as_secs_f64),
            seen.rows.len()
        );
        c.wait_for_state(from, "standby", "Normal")?;
    }
    // What gs_ctl leaves as it was.
    c.run_playbook("switchover.yml", &["-e", "og_switchover=n1"])?.must_work()?;
    c.check_at_rest(&roles("n1"))
}

fn killed(c: &Cluster) -> Result {
    let client = c.client("n1", Duration::from_millis(1))?;
    let kills = killed_after_each_task(c, "switchover.yml", &["-e", "og_switchover=n2"])?;
    let seen = client.finish().map_err(|e| e.to_string())?;
    println!("  {}: killed {kills} times", c.lab().engine());
    check_holds(c, &seen, "n2")?;
    c.check_at_rest(&roles("n2"))?;
    check_nothing_left(c, "switchover.yml", &["-e", "og_switchover=n2"])?;
    switch(c, "n2", "n1", &[])?;
    c.check_at_rest(&roles("n1"))
}

fn two_at_once(c: &Cluster) -> Result {
    let runs = std::thread::scope(|scope| {
        let play = |to: &'static str| {
            scope.spawn(move || c.run_playbook("switchover.yml", &["-e", &format!("og_switchover={to}")]))
        };
        [play("n2"), play("n3")].map(|run| run.join().unwrap_or_else(|_| Err("a run panicked".to_owned())))
    });
    let [first, second] = runs;
    let (first, second) = (first?, second?);
    let primary = match (first.ok, second.ok) {
        (false, true) => "n3",
        // They came one after the other.
        (true, true) if second.started + second.took > first.started + first.took => "n3",
        (true, _) => "n2",
        (false, false) => return Err(format!("none was made:\n{}\n{}", first.output, second.output)),
    };
    c.check_at_rest(&roles(primary))?;
    switch(c, primary, "n1", &[])?;
    c.check_at_rest(&roles("n1"))
}

/// Takes an old primary in again. Only what it says that it holds alone is a reason for force, and that is kept aside then.
/// Returns whether it held nothing.
fn repair(c: &Cluster, node: &str, primary: &str) -> Result<bool> {
    let shell = Shell::new(c)?;
    let told = shell.run(&format!("og repair {node}"))?;
    let held_nothing = told.status == 0;
    if held_nothing && !told.output.contains("so nothing of it is lost") {
        return Err(format!("it does not say why nothing is lost:\n{}", told.output));
    }
    if !held_nothing {
        // How much, or that it cannot be told.
        let says = |words: &str| told.output.contains(words);
        let what = says("of log that") || says("exists only there");
        if !what || !says("og_repair_force with this node named") || !told.changes.is_empty() {
            return Err(format!("it does not say what it holds, or changed something:\n{}", told.output));
        }
        shell.run(&format!("og repair {node} --repair-force yes"))?.must_work()?;
        let data = &c.node(node)?.data_dir;
        let name = data.file_name().unwrap_or_default().to_string_lossy();
        let beside = data.parent().map(std::fs::read_dir).transpose().map_err(|e| e.to_string())?;
        let begin = format!("{name}_log_");
        let is_copy = |entry: &std::fs::DirEntry| entry.file_name().to_string_lossy().starts_with(&begin);
        if !beside.into_iter().flatten().flatten().any(|entry| is_copy(&entry)) {
            return Err(format!("nothing is kept beside {}", data.display()));
        }
    }
    println!("  {}: repair of the old primary {node}, which held nothing: {held_nothing}", c.lab().engine());
    c.wait_for_state(node, "standby", "Normal")?;
    c.check_at_rest(&roles(primary))?;
    let again = shell.run("og repair")?.must_work()?;
    if again.changes.is_empty() {
        Ok(held_nothing)
    } else {
        Err(format!("it repairs again: {}", again.output))
    }
}

/// The same, and n1 is the primary again.
fn take_in(c: &Cluster, node: &str, primary: &str) -> Result {
    repair(c, node, primary)?;
    switch(c, primary, "n1", &[])?;
    c.check_at_rest(&roles("n1"))
}

/// No standby receives any more.
fn nobody_receives(c: &Cluster, standbys: &[&str]) -> Result {
    c.wait_until("no standby receives", || {
        for node in standbys {
            if state(c, node, json!({}))?["node"]["receiver"].is_object() {
                return Ok(Err(format!("{node} does")));
            }
        }
        Ok(Ok(()))
    })
}

/// Waits until both standbys have received the same, which is all that an idle primary has written.
fn receive_alike(c: &Cluster, standbys: [&str; 2]) -> Result {
    c.wait_until("both standbys have received the same", || {
        let received =
            |node| Ok::<_, String>(state(c, node, json!({}))?["node"]["receiver"]["received"].clone());
        let [first, second] = [received(standbys[0])?, received(standbys[1])?];
        Ok(if first.is_string() && first == second { Ok(()) } else { Err(format!("{first} and {second}")) })
    })
}

/// The primary n1 is lost when its client has ended and the standbys have all that it wrote, and n2 takes over. Returns what
/// the client saw.
fn lose_idle_primary(c: &Cluster) -> Result<Seen> {
    let client = c.client("n1", Duration::from_millis(1))?;
    std::thread::sleep(Duration::from_millis(300));
    let seen = client.stop().map_err(|e| e.to_string())?;
    c.check_at_rest(&roles("n1"))?;
    c.lab().kill_server("n1").map_err(|e| e.to_string())?;
    nobody_receives(c, &["n2", "n3"])?;
    fail_over(c, "n2", &seen, &["-e", "og_failover=n2"])?;
    Ok(seen)
}

fn fork(c: &Cluster) -> Result {
    let seen = lose_idle_primary(c)?;
    if !repair(c, "n1", "n2")? {
        return Err("n1 was idle, and is said to hold something of its own".to_owned());
    }
    // Nobody receives what n2 commits now.
    c.lab().cut("n2").map_err(|e| e.to_string())?;
    nobody_receives(c, &["n1", "n3"])?;
    c.sql(
        "n2",
        "set synchronous_commit = local; create table og_lost as select generate_series(1, 1000) as n",
    )?;
    c.lab().kill_server("n2").map_err(|e| e.to_string())?;
    c.lab().reconnect("n2").map_err(|e| e.to_string())?;
    fail_over(c, "n1", &seen, &["-e", "og_failover=n1"])?;
    if repair(c, "n2", "n1")? {
        return Err("n2 wrote a table alone, and is said to hold nothing of its own".to_owned());
    }
    let left = c.sql("n2", "select count(*) from pg_class where relname = 'og_lost'")?;
    if left == "0" { Ok(()) } else { Err("n2 has what it wrote alone".to_owned()) }
}

/// A failover that must work; every row that was acknowledged before is there.
fn fail_over(c: &Cluster, to: &str, seen: &Seen, args: &[&str]) -> Result {
    let run =
        c.run_playbook("failover.yml", &[&["-e", "og_failover_force=true"], args].concat())?.must_work()?;
    println!("  {}: failover to {to}: {:.1} s", c.lab().engine(), run.took.as_secs_f64());
    c.wait_for_state(to, "primary", "Normal")?;
    check_holds(c, seen, to)
}

fn farthest(c: &Cluster) -> Result {
    let client = c.client("n1", Duration::from_millis(1))?;
    std::thread::sleep(Duration::from_millis(500));
    // n3 is left behind: commits wait for one standby, which n2 is by then.
    c.lab().cut("n3").map_err(|e| e.to_string())?;
    let so_far = c.sql("n1", &format!("select count(*) from {TABLE}"))?;
    c.wait_until("more rows are committed without n3", || {
        let now = c.sql("n1", &format!("select count(*) from {TABLE}"))?;
        let more = now.parse::<u64>().unwrap_or(0) > so_far.parse::<u64>().unwrap_or(0) + 100;
        Ok(more.then_some(()).ok_or(now))
    })?;
    c.lab().kill_server("n1").map_err(|e| e.to_string())?;
    let seen = client.finish().map_err(|e| e.to_string())?;
    c.lab().reconnect("n3").map_err(|e| e.to_string())?;
    nobody_receives(c, &["n2", "n3"])?;
    check_fails(
        c,
        "failover.yml",
        &["-e", "og_failover=n3 og_failover_force=true"],
        "n3 holds less of the log than n2",
    )?;
    fail_over(c, "n2", &seen, &[])?;
    c.wait_for_state("n3", "standby", "Normal")?;
    check_fails(c, "failover.yml", &["-e", "og_failover=n3"], "n2 runs as primary and answers")?;
    take_in(c, "n1", "n2")
}

fn fork_and_switchover(c: &Cluster) -> Result {
    let seen = lose_idle_primary(c)?;
    c.wait_for_state("n3", "standby", "Normal")?;
    let run = switch(c, "n2", "n3", &["-e", "og_without=n1"])?;
    if !run.changes().iter().any(|change| change.ends_with("Record the switchover")) {
        return Err(format!("the switchover is not recorded: {:?}\n{}", run.changes(), run.output));
    }
    if !repair(c, "n1", "n3")? {
        return Err("n1 was idle, and is said to hold something of its own".to_owned());
    }
    check_holds(c, &seen, "n3")?;
    switch(c, "n3", "n1", &[])?;
    c.check_at_rest(&roles("n1"))
}

fn failover_killed(c: &Cluster) -> Result {
    let args = ["-e", "og_failover=n2 og_failover_force=true"];
    let client = c.client("n1", Duration::from_millis(1))?;
    std::thread::sleep(Duration::from_millis(300));
    let seen = client.finish().map_err(|e| e.to_string())?;
    // Where n3 holds more than n2, that is refused, and rightly.
    receive_alike(c, ["n2", "n3"])?;
    c.lab().kill_server("n1").map_err(|e| e.to_string())?;
    nobody_receives(c, &["n2", "n3"])?;
    let kills = killed_after_each_task(c, "failover.yml", &args)?;
    println!("  {}: killed {kills} times", c.lab().engine());
    c.wait_for_state("n2", "primary", "Normal")?;
    check_holds(c, &seen, "n2")?;
    c.wait_for_state("n3", "standby", "Normal")?;
    check_nothing_left(c, "failover.yml", &args)?;
    take_in(c, "n1", "n2")
}

fn frozen(c: &Cluster) -> Result {
    if c.lab().engine() == Engine::Postgres {
        println!("  postgres: not done, each of its processes would have to be frozen by itself");
        return Ok(());
    }
    let client = c.client("n1", Duration::from_millis(1))?;
    std::thread::sleep(Duration::from_millis(500));
    let pid = state(c, "n1", json!({}))?["node"]["pid"].to_string();
    signal(&pid, "-STOP")?;
    nobody_receives(c, &["n2", "n3"])?;
    let force = "og_failover_force=true";
    let words = format!("n1: its server (pid {pid}) runs and does not answer");
    check_fails(c, "failover.yml", &["-e", "og_failover=n2", "-e", force], &words)?;
    // Its clients hang with it, and end with it.
    let ended = std::thread::scope(|scope| {
        let client = scope.spawn(|| client.finish());
        let over =
            fail_over(c, "n2", &Seen::default(), &["-e", "og_failover=n2", "-e", "og_confirm_dead=n1"]);
        if over.is_err() {
            // Else its client waits for ever.
            c.lab().kill_server("n1").map_err(|e| e.to_string())?;
        }
        let seen = client.join().map_err(|_| "the client panicked".to_owned())?.map_err(|e| e.to_string())?;
        over.map(|()| seen)
    })?;
    check_holds(c, &ended, "n2")?;
    take_in(c, "n1", "n2")
}

fn cut_off(c: &Cluster) -> Result {
    if c.lab().engine() == Engine::Postgres {
        println!("  postgres: not done, each of its processes would have to be frozen by itself");
        return Ok(());
    }
    let client = c.client("n1", Duration::from_millis(1))?;
    std::thread::sleep(Duration::from_millis(500));
    c.lab().cut("n1").map_err(|e| e.to_string())?;
    nobody_receives(c, &["n2", "n3"])?;
    // It is frozen, too, from before the failover until it is over; its clients still reach it.
    let pid = state(c, "n1", json!({}))?["node"]["pid"].to_string();
    signal(&pid, "-STOP")?;
    let over = c.run_playbook("failover.yml", &["-e", "og_failover_force=true"]);
    signal(&pid, "-CONT")?;
    c.lab().reconnect("n1").map_err(|e| e.to_string())?;
    // What they commit now waits for a standby for ever: none comes back to it.
    std::thread::sleep(Duration::from_secs(3));
    let server = c.lab().kill_server("n1").map_err(|e| e.to_string());
    let seen = client.finish().map_err(|e| e.to_string())?;
    server?;
    let run = over?.must_work()?;
    println!(
        "  {}: failover of a primary that is cut off: {:.1} s",
        c.lab().engine(),
        run.took.as_secs_f64()
    );
    // Each of them may have been the one that received last.
    let role = |node| Ok::<_, String>(state(c, node, json!({}))?["node"]["role"] == "primary");
    let (primary, other) = if role("n2")? { ("n2", "n3") } else { ("n3", "n2") };
    check_holds(c, &seen, primary)?;
    if !run.output.contains("n1 could not be reached") {
        return Err(format!("it does not say what the old primary can still do:\n{}", run.output));
    }
    c.wait_for_state(other, "standby", "Normal")?;
    repair(c, "n1", primary).map(drop)
}

fn signal(pid: &str, signal: &str) -> Result {
    let done = Command::new("kill").args([signal, pid]).status().map_err(|e| e.to_string())?;
    if done.success() { Ok(()) } else { Err(format!("kill {signal} {pid} failed")) }
}
