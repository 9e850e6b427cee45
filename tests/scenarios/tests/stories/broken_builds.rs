//! A full build that is killed at twenty moments within an expand, or at those of them that `OG_KILLS` chooses. Whatever it
//! leaves behind, the run takes back what it brought to the cluster, and the next one adds the node.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use og_lab::{KillPoints, Role};
use og_scenarios::cluster::{Cluster, Result, differing};

use super::builds::find_builder;
use super::{check_nothing_left, configuration_of_nodes, under_load};
use crate::Story;

pub const STORY: Story = Story {
    name: "broken_builds",
    nodes: &[("n1", Role::Primary), ("n2", Role::Standby), ("n3", Role::Spare)],
    always: 0,
    scenarios: &[("a node whose build was killed at twenty moments is added all the same", killed)],
};

/// So many moments of a build.
const MOMENTS: usize = 20;
/// Between two looks at the build.
const GLANCE: Duration = Duration::from_millis(1);

const ADD: [&str; 4] = ["-e", "og_add=n3", "-e", "og_build_mode=full"];

/// How long a build takes: from its gs_ctl's beginning to its end.
fn duration(c: &Cluster) -> Result<Duration> {
    let data = c.node("n3")?.data_dir.clone();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let mut span: Option<(Instant, Instant)> = None;
            while !done.load(Ordering::SeqCst) {
                if find_builder(&data).is_some() {
                    span = Some((span.map_or_else(Instant::now, |(from, _)| from), Instant::now()));
                }
                std::thread::sleep(GLANCE);
            }
            span
        });
        let run = c.run_playbook("expand.yml", &ADD).and_then(og_scenarios::workflow::Run::must_work);
        done.store(true, Ordering::SeqCst);
        let span = watcher.join().map_err(|_| "the watcher panicked".to_owned())?;
        run?;
        span.map(|(from, to)| to - from).ok_or_else(|| "no build was seen".to_owned())
    })
}

/// Expands, and kills the build's gs_ctl when it has worked for so long; whether there was one to be killed.
fn expand_killed_after(c: &Cluster, time: Duration) -> Result<bool> {
    let data = c.node("n3")?.data_dir.clone();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let killer = scope.spawn(|| {
            let mut begun = None;
            while !done.load(Ordering::SeqCst) {
                if let Some(pid) = find_builder(&data)
                    && begun.get_or_insert_with(Instant::now).elapsed() >= time
                {
                    // It may have ended in this very moment.
                    return kill(Pid::from_raw(pid), Signal::SIGKILL).is_ok();
                }
                std::thread::sleep(GLANCE);
            }
            false
        });
        let run = c.run_playbook("expand.yml", &ADD);
        done.store(true, Ordering::SeqCst);
        let died = killer.join().map_err(|_| "the killer panicked".to_owned())?;
        let run = run?;
        // og_build may make up for a gs_ctl that has gone; then the node is there.
        if died && !run.ok && !run.output.contains("(rolled back)") {
            return Err(format!("what the run brought was not taken back:\n{}", run.output));
        }
        if !run.ok && !died {
            return Err(format!("nobody disturbed it, and yet it failed:\n{}", run.output));
        }
        Ok(died && !run.ok)
    })
}

/// So many twentieths of the time that a build takes.
fn part_of(takes: Duration, moment: usize) -> Duration {
    takes * u32::try_from(moment).unwrap_or_default() / u32::try_from(MOMENTS).unwrap_or(1)
}

fn killed(c: &Cluster) -> Result {
    let takes = duration(c)?;
    c.run_playbook("drop.yml", &["-e", "og_drop=n3"])?.must_work()?;
    let before = configuration_of_nodes(c)?;
    let own = c.node("n3")?.dir.clone();
    let staying = |files: &std::collections::BTreeMap<std::path::PathBuf, Vec<u8>>| {
        files
            .iter()
            .filter(|(path, _)| !path.starts_with(&own))
            .map(|(p, t)| (p.clone(), t.clone()))
            .collect()
    };
    // Kill points are counted from 1.
    let moments: Vec<_> =
        KillPoints::from_env()?.points_of_row(0).take_while(|m| *m <= MOMENTS).map(|m| m - 1).collect();
    let mut broken = 0;
    let (_, seen) = under_load(c, "n1", || {
        for moment in &moments {
            if expand_killed_after(c, part_of(takes, *moment))? {
                broken += 1;
                let changed = differing(&staying(&before), &staying(&configuration_of_nodes(c)?));
                if !changed.is_empty() {
                    return Err(format!("moment {moment}: not as before: {}", changed.join(", ")));
                }
                // Another run is not refused.
                c.run_playbook("expand.yml", &[&ADD[..], &["--check"]].concat())?.must_work()?;
            } else {
                c.run_playbook("drop.yml", &["-e", "og_drop=n3"])?.must_work()?;
            }
        }
        c.run_playbook("expand.yml", &ADD)?.must_work()
    })?;
    println!(
        "  {}: {broken} of {} builds of {:.1} s were broken",
        c.lab().engine(),
        moments.len(),
        takes.as_secs_f64()
    );
    c.wait_for_rows(&seen, &["n1", "n2", "n3"])?;
    c.check_at_rest(&[("n1", "primary"), ("n2", "standby"), ("n3", "standby")])?;
    check_nothing_left(c, "expand.yml", &["-e", "og_add=n3"])
}
