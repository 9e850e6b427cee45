//! `cargo xtask bench workflows`: how long expand, drop and status take, and how long commits wait meanwhile.

use std::time::{Duration, Instant};

use og_lab::{Engine, NodeSpec, Role};
use og_scenarios::cluster::{Cluster, Programs};
use og_scenarios::roaming::{Roamed, write_busily, write_on_any};
use og_scenarios::shell::Shell;
use og_scenarios::workflow::Run;

use super::Depth;
use super::report::{Limit, Row, Section};
use crate::lab::programs;
use crate::setup;
use crate::shell::Result;

/// After each commit: a client without pause has the processors for itself, of which a lab has one or two for all nodes.
const PAUSE: Duration = Duration::from_millis(5);

/// One workflow to measure: the playbook, its arguments, and the limits in seconds for all of it and for a commit's wait.
struct Step {
    title: &'static str,
    playbook: &'static str,
    args: &'static [&'static str],
    seconds: f64,
    gap: f64,
}

const fn expand(title: &'static str, args: &'static [&'static str], seconds: f64) -> Step {
    Step { title, playbook: "expand.yml", args, seconds, gap: 0.2 }
}

const fn remove(title: &'static str, args: &'static [&'static str], gap: f64) -> Step {
    Step { title, playbook: "drop.yml", args, seconds: 5.0, gap }
}

/// A cluster, and what it goes through: each step begins where the one before it ended.
struct Course {
    nodes: &'static [(&'static str, Role)],
    steps: &'static [Step],
    /// Whether the cluster is looked at in the end.
    status: bool,
    /// Whether it is left out of a short run, and run once in a full one.
    large: bool,
}

const BY_ONE: Step = expand("expand by one standby", &["-e", "og_add=n3"], 12.0);

const COURSES: &[Course] = &[
    Course {
        nodes: &[("n1", Role::Primary), ("n2", Role::Spare), ("n3", Role::Spare)],
        steps: &[
            expand("from a single node ('*') to 1+1", &["-e", "og_add=n2"], 12.0),
            BY_ONE,
            remove("drop one of two standbys, protected", &["-e", "og_drop=n3"], 2.5),
            BY_ONE,
            remove(
                "drop one of two standbys, available",
                &["-e", "og_drop=n3", "-e", "og_drop_commits=available"],
                0.1,
            ),
            expand("expand again: nothing to do", &["-e", "og_add=n2"], 2.5),
        ],
        status: false,
        large: false,
    },
    Course {
        nodes: &[
            ("n1", Role::Primary),
            ("n2", Role::Standby),
            ("n3", Role::Spare),
            ("n4", Role::SpareCascade),
        ],
        steps: &[
            expand("expand by a standby and a cascade standby", &["-e", "og_add=n3,n4"], 16.0),
            remove(
                "drop the cascade standby, available",
                &["-e", "og_drop=n4", "-e", "og_drop_commits=available"],
                0.1,
            ),
        ],
        status: false,
        large: false,
    },
    Course {
        nodes: &[
            ("n1", Role::Primary),
            ("n2", Role::Spare),
            ("n3", Role::Spare),
            ("n4", Role::Spare),
            ("n5", Role::Spare),
            ("n6", Role::Spare),
            ("n7", Role::Spare),
            ("n8", Role::Spare),
            ("n9", Role::Spare),
        ],
        steps: &[expand("expand by eight standbys", &["-e", "og_add=n2,n3,n4,n5,n6,n7,n8,n9"], 40.0)],
        status: true,
        large: true,
    },
];

/// The commands in a terminal that show a cluster: the second one is done with limits of its own.
const STATUS: &str = "og status";
const PREFLIGHT: &str = "og preflight";

/// What was measured of one thing: its title, its limit, and the seconds.
pub type Measured = Vec<(String, Option<f64>, Vec<f64>)>;

/// Measures all of it.
pub fn sections(depth: Depth, engine: Engine) -> Result<Vec<Section>> {
    setup::lab()?;
    let programs = programs()?;
    let mut section = Section::new(
        format!("Workflows on {engine}"),
        "By Ansible, unless another caller is named, while a client commits a row every few milliseconds; all nodes are on this machine. \
         The wait is the longest between two commits.",
    );
    let mut measured = Measured::new();
    for course in COURSES {
        if course.large && depth == Depth::Short {
            section.skipped.push(format!("{} nodes: --short", course.nodes.len()));
            continue;
        }
        let runs = if course.large { 1 } else { depth.choose(3, 1) };
        for _ in 0..runs {
            let run = run_course(course, &programs, engine, depth, &mut measured, &mut section.skipped);
            section.keep_failure(course.steps[0].title, run);
        }
    }
    let mut rates = Vec::new();
    if engine.is_opengauss() {
        let run = switchovers(&programs, engine, depth, &mut measured, &mut rates);
        section.keep_failure("switchover", run);
        let run = super::failovers::measure(&programs, engine, depth, &mut measured);
        section.keep_failure("failover and repair", run);
    } else {
        section.skipped.push("switchover beside gs_ctl's, failover and repair: no openGauss".to_owned());
    }
    section.rows = rows(&measured);
    if !rates.is_empty() {
        section.rows.push(Row::new("twelve clients without a pause, beside their gap: commits", "/s", rates));
    }
    Ok(vec![section])
}

/// One run of the course on a cluster of its own.
fn run_course(
    course: &Course,
    programs: &Programs,
    engine: Engine,
    depth: Depth,
    measured: &mut Measured,
    skipped: &mut Vec<String>,
) -> Result {
    let nodes = course.nodes.iter().map(|(name, role)| NodeSpec::new(*name, *role)).collect();
    let cluster = Cluster::up("bench", engine, nodes, programs)?;
    for step in course.steps {
        let (took, gap) = measure(&cluster, step)?;
        record_value(measured, step.title.to_owned(), Some(step.seconds), took);
        let title = format!("{}: longest wait of a commit", step.title);
        record_value(measured, title, Some(step.gap), gap);
    }
    if course.status { status(&cluster, depth, measured, skipped) } else { Ok(()) }
}

/// A row of each, and each gap of a switchover by og beside that of gs_ctl under the same load.
fn rows(measured: &Measured) -> Vec<Row> {
    let of_gs_ctl = |title: &str| {
        let theirs = title.strip_prefix(SWITCHES[0].0).map(|rest| format!("{}{rest}", SWITCHES[1].0))?;
        let (_, _, values) = measured.iter().find(|(known, _, _)| *known == theirs)?;
        theirs.ends_with(NOBODY_COMMITS).then(|| Row::new(theirs, "s", values.clone()))
    };
    let mut rows = Vec::new();
    for (title, limit, values) in measured {
        let row = Row::new(title, "s", values.clone());
        rows.push(match limit {
            Some(limit) => row.clone().limit(Limit::Value(*limit)),
            None => row.clone(),
        });
        if let Some(theirs) = of_gs_ctl(title) {
            let most = if title.contains(Load::Dirty.title()) { 0.33 } else { 1.0 };
            let row = row.renamed(format!("{title}, beside gs_ctl"));
            rows.push(row.compared_with("gs_ctl", &theirs).limit(Limit::Ratio(most)));
        }
    }
    rows
}

/// Adds a value to what was measured of the thing with this title.
pub fn record_value(measured: &mut Measured, title: String, limit: Option<f64>, value: Duration) {
    let value = value.as_secs_f64();
    match measured.iter_mut().find(|(known, _, _)| *known == title) {
        Some((_, _, values)) => values.push(value),
        None => measured.push((title, limit, vec![value])),
    }
}

/// How long it takes and how long commits wait meanwhile.
fn measure(cluster: &Cluster, step: &Step) -> Result<(Duration, Duration)> {
    let client = cluster.client("n1", PAUSE)?;
    let run = cluster.run_playbook(step.playbook, step.args).and_then(Run::must_work);
    let seen = client.stop().map_err(|e| format!("the client: {e}"))?;
    let run = run?;
    if let Some(failure) = seen.failures.first() {
        return Err(format!("{}: a commit failed: {failure}", step.title));
    }
    Ok((run.took, seen.longest_gap(run.started, run.started + run.took)))
}

/// The end of the title of a gap.
const NOBODY_COMMITS: &str = ": nobody can commit";
/// What makes a standby the primary, in turn.
const SWITCHES: [(&str, &str); 2] = [("og switchover", "og"), ("gs_ctl switchover", "gs_ctl")];
/// How much is written before a switchover, so that much is to be written by the checkpoint of the old primary's end.
const DIRTY: &str = "create table if not exists og_dirty (n integer, t text); \
                     insert into og_dirty select n, repeat('x', 700) from generate_series(1, 1200000) n";
/// How many rows that are.
const DIRTY_ROWS: &str = "1200000";

/// Clients that commit all the while in [`Load::Busy`].
const CLIENTS: u64 = 12;

/// What the cluster is doing when a switchover comes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Load {
    /// One client commits, with a pause after each.
    Rest,
    /// As many dirty pages as the buffers hold, and that client.
    Dirty,
    /// Several clients, without a pause.
    Busy,
}

impl Load {
    fn title(self) -> &'static str {
        match self {
            Self::Rest => "",
            Self::Dirty => ", with dirty pages",
            Self::Busy => ", twelve clients without a pause",
        }
    }
}

/// A switchover by og and by gs_ctl alone, in turn, under each load.
fn switchovers(
    programs: &Programs,
    engine: Engine,
    depth: Depth,
    measured: &mut Measured,
    rates: &mut Vec<f64>,
) -> Result {
    let nodes = ["n1", "n2", "n3", "n4"].into_iter().zip([
        Role::Primary,
        Role::Standby,
        Role::Standby,
        Role::CascadeStandby,
    ]);
    let nodes = nodes.map(|(name, role)| NodeSpec::new(name, role)).collect();
    let cluster = Cluster::up("bench", engine, nodes, programs)?;
    let shell = Shell::new(&cluster)?;
    for node in ["n1", "n2", "n3"] {
        let own = serde_json::json!({"shared_buffers": "1GB", "max_process_memory": "4GB", "checkpoint_timeout": "1h",
            "checkpoint_segments": 1024, "max_io_capacity": "30720kB", "dirty_page_percent_max": 1});
        let done = cluster.module(node, "og_guc", serde_json::json!({"parameters": own, "force": true}))?;
        if done["failed"] == true {
            return Err(format!("og_guc on {node}: {done}"));
        }
    }
    for node in ["n2", "n3", "n1"] {
        cluster.module(node, "og_node_state", serde_json::json!({"state": "restarted"}))?;
    }
    cluster.wait_for_state("n2", "standby", "Normal")?;
    cluster.sql("n1", &og_scenarios::client::create_table())?;
    let (mut from, mut to) = ("n1", "n2");
    for load in [Load::Rest, Load::Busy, Load::Dirty] {
        let how = load.title();
        for _ in 0..depth.choose(3, 1) {
            for (title, which) in SWITCHES {
                if load == Load::Dirty {
                    cluster.sql(from, "drop table if exists og_dirty")?;
                    cluster.sql(from, DIRTY)?;
                    // A standby that is far behind does not take over.
                    cluster.wait_until("the standby has replayed it", || {
                        let count = cluster.sql(to, "select count(*) from og_dirty")?;
                        Ok(if count == DIRTY_ROWS { Ok(()) } else { Err(count) })
                    })?;
                }
                let work = || {
                    let begun = Instant::now();
                    if which == "og" {
                        shell.run(&format!("og switchover {to}"))?.must_work()?;
                    } else {
                        let node = cluster.node(to)?;
                        let data = node.data_dir.display().to_string();
                        let done = node.exec(["gs_ctl", "switchover", "-D", &data]).output();
                        let done = done.map_err(|e| e.to_string())?;
                        if !done.status.success() {
                            return Err(String::from_utf8_lossy(&done.stdout).into_owned());
                        }
                        // It may come back before anybody can commit.
                        cluster.wait_for_state(to, "primary", "Normal")?;
                    }
                    Ok(begun.elapsed())
                };
                let (took, seen): (Duration, Roamed) = if load == Load::Busy {
                    write_busily(&cluster, &["n1", "n2"], CLIENTS, work)?
                } else {
                    write_on_any(&cluster, &["n1", "n2"], work)?
                };
                let gap = seen.gaps.first().copied().unwrap_or_default();
                for (node, role) in [(to, "primary"), (from, "standby"), ("n3", "standby")] {
                    cluster.wait_for_state(node, role, "Normal")?;
                }
                let limit = (which == "og").then_some(8.0).filter(|_| load == Load::Rest);
                record_value(measured, format!("{title}{how}"), limit, took);
                let limit = (which == "og").then_some(2.5).filter(|_| load == Load::Rest);
                record_value(measured, format!("{title}{how}{NOBODY_COMMITS}"), limit, gap);
                if load == Load::Busy {
                    rates.push(seen.rate());
                }
                std::mem::swap(&mut from, &mut to);
            }
        }
    }
    Ok(())
}

/// The state of the whole cluster: well, with a node that does not answer, and with slow links.
fn status(cluster: &Cluster, depth: Depth, measured: &mut Measured, skipped: &mut Vec<String>) -> Result {
    let shell = Shell::new(cluster)?;
    let count = cluster.lab().nodes().len();
    let mut look = |how: &str, limit: Option<f64>, may_fail: bool| -> Result {
        for _ in 0..depth.choose(5, 2) {
            // Its verdict is what nine nodes on one machine deserve; what counts here is how long it takes to come.
            let checked = shell.run(PREFLIGHT)?;
            if checked.status > 1 {
                return Err(checked.output);
            }
            let within = limit.filter(|_| !may_fail).map(|_| 3.0);
            record_value(measured, format!("{PREFLIGHT} of {count} nodes{how}"), within, checked.took);
            let told = shell.run(STATUS)?;
            let told = if may_fail { told } else { told.must_work()? };
            record_value(measured, format!("{STATUS} of {count} nodes{how}"), limit, told.took);
            let start = Instant::now();
            let run = cluster.run_playbook("status.yml", &[])?;
            let took = start.elapsed();
            if !may_fail {
                run.must_work()?;
            }
            record_value(measured, format!("status.yml of {count} nodes{how}"), None, took);
        }
        Ok(())
    };
    look("", Some(1.0), false)?;
    let last = cluster.lab().nodes().last().map(|node| node.name.clone()).unwrap_or_default();
    cluster.lab().cut(&last).map_err(|e| e.to_string())?;
    let looked = look(", one of them dead", Some(2.5), true);
    cluster.lab().reconnect(&last).map_err(|e| e.to_string())?;
    looked?;
    if let Err(why) = delay_links(cluster) {
        skipped.push(format!("links with a delay of 40 ms: {why}"));
        return Ok(());
    }
    look(", 40 ms of delay on each link", None, false)
}

/// Lets whatever a node sends arrive 40 ms later.
fn delay_links(cluster: &Cluster) -> Result {
    let delay = ["tc", "qdisc", "add", "dev", "eth0", "root", "netem", "delay", "40ms"];
    for node in cluster.lab().nodes() {
        let done = node.exec_root(delay).output().map_err(|e| e.to_string())?;
        if !done.status.success() {
            return Err(String::from_utf8_lossy(&done.stderr).trim().to_owned());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_stands_beside_that_of_gs_ctl_under_the_same_load() {
        let seconds = |title: &str, limit, value| (title.to_owned(), limit, vec![value]);
        let rows = rows(&vec![
            seconds("og switchover", Some(8.0), 5.0),
            seconds("og switchover: nobody can commit", Some(2.5), 2.0),
            seconds("gs_ctl switchover", None, 4.0),
            seconds("gs_ctl switchover: nobody can commit", None, 2.5),
            seconds("og switchover, with dirty pages: nobody can commit", None, 4.0),
            seconds("gs_ctl switchover, with dirty pages: nobody can commit", None, 10.0),
        ]);
        let missed: Vec<_> = rows.iter().map(Row::is_missed).collect();
        // 2.0 for 2.5 is no more than gs_ctl's; 4 for 10 is more than a third.
        assert_eq!(missed, [false, false, false, false, false, false, true, false]);
    }
}
