//! `og repair` of everything that ails a standby, each made on purpose, while a client commits on the primary; and the story
//! of the founding document: a primary that lost its pg_hba.conf.

use std::os::unix::fs::MetadataExt as _;
use std::time::Duration;

use og_lab::{Engine, Role};
use og_scenarios::client::Seen;
use og_scenarios::cluster::{Cluster, Result};
use og_scenarios::shell::{Shell, Told};
use serde_json::{Value, json};

use super::builds::find_builder;
use super::interrupted::killed_after_each_task;
use super::under_load;
use crate::Story;

pub const STORY: Story = Story {
    name: "repair",
    nodes: &[("n1", Role::Primary), ("n2", Role::Standby), ("n3", Role::Standby)],
    always: 3,
    scenarios: &[
        ("a cluster that is well is left alone", well),
        ("a standby that was stopped, or killed, is started", stopped),
        ("a standby whose pg_hba.conf is gone or broken gets one that its server takes", own_rules_file),
        ("a standby whose postgresql.conf is broken gets back the copy that is named", broken_conf),
        ("a standby that its primary does not let in is let in again", not_let_in),
        ("a standby that its primary does not know any more is made known", no_channel),
        ("a standby that waits for its role gets it", wrong_role),
        ("of two primaries of one term neither is touched, and the named one is when forced", two_primaries),
        ("a standby whose log diverged is rebuilt incrementally, named and forced", diverged),
        ("a standby whose log was removed on the primary is rebuilt, named and forced", wal_gone),
        ("a build that died is begun again", died_build),
        ("a repair killed after each task in turn", killed),
        ("a primary that lost its pg_hba.conf is started again (document 001)", lost_primary_rules),
        (
            "an old primary becomes a standby of the one that was started in its place (document 001)",
            old_primary,
        ),
        ("without a primary nothing is done, and who could take over is told", no_primary),
    ],
};

const ROLES: [(&str, &str); 3] = [("n1", "primary"), ("n2", "standby"), ("n3", "standby")];

fn call_module(c: &Cluster, node: &str, module: &str, args: Value) -> Result<Value> {
    let words = args.to_string();
    let result = c.module(node, module, args)?;
    if result["failed"] == false { Ok(result) } else { Err(format!("{module} on {node} {words}: {result}")) }
}

fn state(c: &Cluster, node: &str, args: Value) -> Result {
    call_module(c, node, "og_node_state", args).map(drop)
}

fn check_told(told: &Told, words: &str) -> Result {
    if told.output.contains(words) {
        Ok(())
    } else {
        Err(format!("it does not say {words:?}:\n{}", told.output))
    }
}

/// Repairs under load: foretold without a change, done, and nothing left; the cause is told, and no row is lost.
fn check_repairs(c: &Cluster, line: &str, cause: &str) -> Result<Told> {
    let shell = Shell::new(c)?;
    let (told, seen) = under_load(c, "n1", || {
        let check = shell.run(&line.replacen("og repair", "og repair -n", 1))?.must_work()?;
        check_told(&check, cause)?;
        if check.changes.is_empty() {
            return Err(format!("check mode foresees nothing:\n{}", check.output));
        }
        let told = shell.run(line)?.must_work()?;
        check_told(&told, cause)?;
        Ok(told)
    })?;
    println!(
        "  {}: {line} ({cause}): {:.1} s, {:?}",
        c.lab().engine(),
        told.took.as_secs_f64(),
        told.changes
    );
    c.wait_for_rows(&seen, &["n1", "n2", "n3"])?;
    c.check_at_rest(&ROLES)?;
    well(c)?;
    Ok(told)
}

/// Nothing is left to repair.
fn well(c: &Cluster) -> Result {
    let told = Shell::new(c)?.run("og repair")?.must_work()?;
    if told.changes.is_empty() {
        Ok(())
    } else {
        Err(format!("it repairs what is well: {:?}\n{}", told.changes, told.output))
    }
}

fn stopped(c: &Cluster) -> Result {
    state(c, "n3", json!({"state": "stopped"}))?;
    check_repairs(c, "og repair", "its server was stopped")?;
    c.lab().kill_server("n3").map_err(|e| e.to_string())?;
    check_repairs(c, "og repair n3", "its server ended without stopping").map(drop)
}

fn own_rules_file(c: &Cluster) -> Result {
    let file = c.node("n3")?.data_dir.join("pg_hba.conf");
    state(c, "n3", json!({"state": "stopped"}))?;
    std::fs::remove_file(&file).map_err(|e| e.to_string())?;
    check_repairs(c, "og repair", "make pg_hba.conf anew")?;
    state(c, "n3", json!({"state": "stopped"}))?;
    let text = std::fs::read_to_string(&file).map_err(|e| e.to_string())?;
    std::fs::write(&file, text + "host all all 10.99.0.0/33 trust\n").map_err(|e| e.to_string())?;
    check_repairs(c, "og repair n3", "of pg_hba.conf")?;
    // One that streams on without the file would not start again, and is touched only when it is named.
    std::fs::remove_file(&file).map_err(|e| e.to_string())?;
    well(c)?;
    check_repairs(c, "og repair n3", "does not start again").map(drop)
}

fn broken_conf(c: &Cluster) -> Result {
    let file = c.node("n3")?.data_dir.join("postgresql.conf");
    let data = file.parent().unwrap_or(&file);
    let copy = data.with_file_name("postgresql.conf.copy");
    let failed = |e: std::io::Error| e.to_string();
    std::fs::copy(&file, &copy).map_err(failed)?;
    let owner = std::fs::metadata(&file).map_err(failed)?;
    std::os::unix::fs::chown(&copy, Some(owner.uid()), Some(owner.gid())).map_err(failed)?;
    state(c, "n3", json!({"state": "stopped"}))?;
    let text = std::fs::read_to_string(&file).map_err(failed)?;
    std::fs::write(&file, format!("{text}this is wrong\n")).map_err(failed)?;
    // Its server says so in its log.
    c.module("n3", "og_node_state", json!({"state": "started", "role": "standby", "timeout": 30}))?;
    let told = Shell::new(c)?.run("og repair n3")?;
    if told.status == 0 || !told.output.contains("og repair n3 og_repair_backup=PATH") {
        return Err(format!("it does not say what to do:\n{}", told.output));
    }
    check_repairs(
        c,
        &format!("og repair n3 og_repair_backup={}", copy.display()),
        "back as postgresql.conf",
    )?;
    // The primary's values come with it; the standby's own are those of the copy.
    let kept = std::fs::read_dir(data).map_err(failed)?.flatten();
    let mut kept = kept.filter(|entry| entry.file_name().to_string_lossy().starts_with("postgresql.conf."));
    let has_broken = |entry: &std::fs::DirEntry| {
        std::fs::read_to_string(entry.path()).is_ok_and(|text| text.contains("this is wrong"))
    };
    if kept.any(|entry| has_broken(&entry)) { Ok(()) } else { Err("the broken file was not kept".to_owned()) }
}

fn not_let_in(c: &Cluster) -> Result {
    let address = format!("{}/32", c.node("n3")?.address);
    call_module(c, "n1", "og_hba", json!({"state": "absent", "rules": [{"address": address}]}))?;
    state(c, "n3", json!({"state": "restarted"}))?;
    c.wait_for_state("n3", "standby", "need_repair")?;
    check_repairs(c, "og repair", "lets ").map(drop)
}

fn no_channel(c: &Cluster) -> Result {
    let (own, peer) = (c.node("n1")?, c.node("n3")?);
    let (local, peer) = (
        json!({"host": own.address, "base_port": own.base_port}),
        json!({"host": peer.address, "base_port": peer.base_port}),
    );
    call_module(c, "n1", "og_replconninfo", json!({"state": "absent", "local": local, "peers": [peer]}))?;
    state(c, "n3", json!({"state": "restarted"}))?;
    if c.lab().engine() == Engine::Postgres {
        // Its primary lets everybody in who has a rule.
        return repairs_channel_of_postgres(c);
    }
    c.wait_for_state("n3", "standby", "need_repair")?;
    // The primary knows it by its static config at most.
    check_repairs(c, "og repair n3", "no replication channel of n1 leads to it").map(drop)
}

fn repairs_channel_of_postgres(c: &Cluster) -> Result {
    let (own, peer) = (c.node("n1")?, c.node("n3")?);
    let peers = json!([{"host": peer.address, "base_port": peer.base_port}]);
    let local = json!({"host": own.address, "base_port": own.base_port});
    call_module(c, "n1", "og_replconninfo", json!({"state": "present", "local": local, "peers": peers}))
        .map(drop)
}

fn wrong_role(c: &Cluster) -> Result {
    if c.lab().engine() == Engine::Postgres {
        println!("  postgres: not done, it has no pending role");
        return Ok(());
    }
    state(c, "n3", json!({"state": "restarted", "role": "pending"}))?;
    check_repairs(c, "og repair", "pending")?;
    state(c, "n3", json!({"state": "restarted", "role": "cascade_standby"}))?;
    c.wait_for_state("n3", "cascade_standby", "Normal")?;
    // openGauss 5.0.3 ends its connection when a cascade standby connects of which the primary has a slot.
    c.wait_for_state("n2", "standby", "Normal")?;
    check_repairs(c, "og repair n3", "the inventory says standby").map(drop)
}

/// Makes n3 a primary beside n1, which writes what nobody else has.
fn split(c: &Cluster) -> Result {
    state(c, "n3", json!({"state": "restarted", "role": "primary", "force": true}))?;
    c.sql(
        "n3",
        "set synchronous_commit = local; create table og_lost as select generate_series(1, 1000) as n",
    )
    .map(drop)
}

fn two_primaries(c: &Cluster) -> Result {
    split(c)?;
    let shell = Shell::new(c)?;
    for line in ["og repair", "og repair n3", "og repair n2", "og repair --repair-force yes"] {
        let told = shell.run(line)?;
        if told.status == 0 || !told.changes.is_empty() {
            return Err(format!("{line}: it was not refused:\n{}", told.output));
        }
        check_told(&told, "n1 and n3 run as primary")?;
    }
    check_repairs(c, "og repair n3 --repair-force yes", "it runs as primary")?;
    lost(c)
}

/// It is refused when the node is named and not forced, and nothing is changed.
fn check_refused(c: &Cluster, node: &str, words: &str) -> Result {
    let told = Shell::new(c)?.run(&format!("og repair {node}"))?;
    if told.status == 0 || !told.changes.is_empty() {
        return Err(format!("it was not refused:\n{}", told.output));
    }
    check_told(&told, words)
}

/// What n3 wrote alone is gone everywhere.
fn lost(c: &Cluster) -> Result {
    for node in ["n1", "n3"] {
        let left = c.sql(node, "select count(*) from pg_class where relname = 'og_lost'")?;
        if left != "0" {
            return Err(format!("{node} has what n3 wrote alone"));
        }
    }
    Ok(())
}

fn diverged(c: &Cluster) -> Result {
    split(c)?;
    state(c, "n3", json!({"state": "stopped"}))?;
    // What the primary writes meanwhile is more than what n3 wrote.
    under_load(c, "n1", || {
        c.sql("n1", "create table og_more as select generate_series(1, 200000) as n; drop table og_more")
    })?;
    state(c, "n3", json!({"state": "started", "role": "standby"}))?;
    c.wait_for_state("n3", "standby", "need_repair")?;
    c.wait_until("it gives its reason", || {
        let said = c.module("n3", "og_node_state", json!({}))?["node"]["detail"].to_string();
        Ok(if said.contains("removed") || c.lab().engine() == Engine::Postgres { Ok(()) } else { Err(said) })
    })?;
    check_refused(c, "n3", "exists only there")?;
    let told = check_repairs(c, "og repair n3 --repair-force yes", "rebuild it incrementally")?;
    if c.lab().engine() != Engine::Postgres {
        check_told(&told, "its log and its upstream's differ")?;
        check_told(&told, "by LSN and checksum")?;
    }
    lost(c)
}

fn wal_gone(c: &Cluster) -> Result {
    if c.lab().engine() == Engine::Postgres {
        println!("  postgres: not done");
        return Ok(());
    }
    let prune = |value: &str| {
        let own = json!({"parameters": {"max_size_for_xlog_prune": value, "wal_keep_segments": "2"}});
        call_module(c, "n1", "og_guc", own).map(drop)
    };
    state(c, "n3", json!({"state": "stopped"}))?;
    call_module(c, "n1", "og_slot", json!({"state": "absent", "names": [c.node("n3")?.instance]}))?;
    prune("65536kB")?;
    for _ in 0..16 {
        c.sql("n1", "create table og_more as select 1 as n; drop table og_more; select pg_switch_xlog()")?;
        c.sql("n1", "checkpoint")?;
    }
    state(c, "n3", json!({"state": "started", "role": "standby"}))?;
    c.wait_until("it lacks what was removed", || {
        let said = c.module("n3", "og_node_state", json!({}))?["node"]["detail"].to_string();
        Ok(if said.contains("removed") { Ok(()) } else { Err(said) })
    })?;
    // The server tells of it as of a log that differs.
    check_refused(c, "n3", "exists only there")?;
    check_repairs(c, "og repair n3 --repair-force yes", "rebuild it incrementally")?;
    prune("2147483647kB")
}

fn died_build(c: &Cluster) -> Result {
    let data = c.node("n3")?.data_dir.clone();
    std::thread::scope(|scope| {
        let build = scope.spawn(|| c.module("n3", "og_build", json!({"mode": "full"})));
        let killed = c.wait_until("a build that copies", || {
            let copies = data.join("build_completed.start").exists();
            Ok(find_builder(&data).filter(|_| copies).ok_or("none".to_owned()))
        });
        let killed = killed.and_then(|pid| {
            let kill =
                nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
            kill.map_err(|e| e.to_string())
        });
        drop(build.join());
        killed
    })?;
    check_repairs(c, "og repair", "a build of it died").map(drop)
}

fn killed(c: &Cluster) -> Result {
    split(c)?;
    state(c, "n3", json!({"state": "stopped"}))?;
    let args = ["-e", "og_repair=n3 og_repair_force=true"];
    let (kills, seen) = under_load(c, "n1", || killed_after_each_task(c, "repair.yml", &args))?;
    println!("  {}: killed {kills} times", c.lab().engine());
    c.wait_for_rows(&seen, &["n1", "n2", "n3"])?;
    c.check_at_rest(&ROLES)?;
    lost(c)?;
    well(c)
}

/// Stops all, with the primary's pg_hba.conf gone, and starts what starts.
fn lose_rules(c: &Cluster) -> Result {
    let file = c.node("n1")?.data_dir.join("pg_hba.conf");
    std::fs::remove_file(&file).map_err(|e| e.to_string())?;
    for node in ["n1", "n2", "n3"] {
        state(c, node, json!({"state": "stopped"}))?;
    }
    for node in ["n2", "n3"] {
        state(c, node, json!({"state": "started"}))?;
    }
    if c.module("n1", "og_node_state", json!({"state": "started", "timeout": 30}))?["failed"] == false {
        return Err("n1 started without pg_hba.conf".to_owned());
    }
    c.wait_for_state("n2", "standby", "need_repair")
}

fn lost_primary_rules(c: &Cluster) -> Result {
    let seen = write_rows(c)?;
    lose_rules(c)?;
    let told = Shell::new(c)?.run("og repair")?.must_work()?;
    println!("  {}: og repair of document 001: {:.1} s", c.lab().engine(), told.took.as_secs_f64());
    check_told(&told, "no primary runs, n1 was it last")?;
    c.check_at_rest(&ROLES)?;
    c.wait_for_rows(&seen, &["n1", "n2", "n3"])?;
    well(c)?;
    c.wait_for_rows(&write_rows(c)?, &["n1", "n2", "n3"])
}

/// The client commits some rows.
fn write_rows(c: &Cluster) -> Result<Seen> {
    let ((), seen) = under_load(c, "n1", || {
        std::thread::sleep(Duration::from_millis(300));
        Ok(())
    })?;
    Ok(seen)
}

fn old_primary(c: &Cluster) -> Result {
    lose_rules(c)?;
    // As the document does it: the standby is started as primary, and writes what the old one has not.
    state(c, "n2", json!({"state": "restarted", "role": "primary", "force": true}))?;
    c.wait_for_state("n3", "standby", "Normal")?;
    let (told, seen) = under_load(c, "n2", || {
        c.sql("n2", "create table og_more as select generate_series(1, 200000) as n; drop table og_more")?;
        let shell = Shell::new(c)?;
        let told = shell.run("og repair n1")?;
        // Its last record before it stopped may or may not have been sent.
        if told.status == 0 {
            check_told(&told, "so nothing of it is lost")?;
            return Ok(told);
        }
        check_refused(c, "n1", "og_repair_force with this node named")?;
        shell.run("og repair n1 --repair-force yes")?.must_work()
    })?;
    println!(
        "  {}: og repair of an old primary: {:.1} s, {:?}",
        c.lab().engine(),
        told.took.as_secs_f64(),
        told.changes
    );
    check_told(&told, "n1")?;
    c.check_at_rest(&[("n1", "standby"), ("n2", "primary"), ("n3", "standby")])?;
    c.wait_for_rows(&seen, &["n1", "n2", "n3"])?;
    well(c)?;
    // And back, as the document ends.
    Shell::new(c)?.run("og switchover n1")?.must_work()?;
    c.check_at_rest(&ROLES)
}

fn no_primary(c: &Cluster) -> Result {
    state(c, "n1", json!({"state": "stopped"}))?;
    state(c, "n2", json!({"state": "restarted", "role": "primary", "force": true}))?;
    c.sql("n2", "set synchronous_commit = local; create table og_more as select generate_series(1, 1000) as n; drop table og_more")?;
    state(c, "n2", json!({"state": "stopped"}))?;
    state(c, "n2", json!({"state": "started", "role": "standby"}))?;
    let told = Shell::new(c)?.run("og repair")?;
    if told.status == 0 || !told.changes.is_empty() {
        return Err(format!("it was not refused:\n{}", told.output));
    }
    check_told(&told, "no primary runs, and a repair makes none")?;
    check_told(&told, "og failover n2")
}
