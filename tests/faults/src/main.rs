//! The fault matrix: every module killed at every step, on a full, read-only or foreign disk, fifty at once, lied to by
//! openGauss's programs, and fed garbage. Prints a table; fails when a cell is red.
//!
//! `OG_KILLS=N/M` takes every M-th step only, beginning with the N-th. `OG_MODULES` names the folder with the modules' programs.

mod cases;
mod disk;
mod host;
mod hostile;
mod kill;
mod lies;
mod package;
mod refused;
mod sandbox;
mod table;
mod together;

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use table::{Outcome, Row};

/// One trial: module, fault, and what does it.
struct Trial {
    module: String,
    fault: String,
    work: Box<dyn Fn() -> Result<String, String> + Send + Sync>,
}

impl Trial {
    /// A trial.
    fn new(
        module: impl Into<String>,
        fault: impl Into<String>,
        work: impl Fn() -> Result<String, String> + Send + Sync + 'static,
    ) -> Self {
        Self { module: module.into(), fault: fault.into(), work: Box::new(work) }
    }
}

/// Whether a program is on the PATH.
fn has(program: &str) -> bool {
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|d| d.join(program).is_file()))
}

fn main() -> ExitCode {
    // Mounts are ours alone, and vanish with us.
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    let alone = unshare(CloneFlags::CLONE_NEWNS)
        .and_then(|()| mount(None::<&str>, "/", None::<&str>, private, None::<&str>));
    disk::MAY_MOUNT.store(alone.is_ok(), Ordering::SeqCst);
    let wanted = std::env::args().nth(1).unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    let mut trials = Vec::new();
    for case in cases::CASES {
        trials.push(Trial::new(case.name(), "killed at every step", move || kill::run_killed(case)));
        trials.push(Trial::new(case.name(), "each step fails with EIO", move || {
            kill::run_failing(case, "EIO")
        }));
    }
    for case in cases::CASES.into_iter().filter(|case| !case.serves) {
        for (fault, name) in disk::FAULTS {
            trials.push(Trial::new(case.name(), name, move || disk::run_harmed(case, fault)));
        }
    }
    trials.extend([
        Trial::new("og_hba", "50 at once", together::add_rules),
        Trial::new("og_guc", "50 at once", together::parameters),
        Trial::new("og_lock", "50 owners at once", together::owners),
        Trial::new("og_hba", "beside the real gs_guc", together::beside_gs_guc),
    ]);
    trials.extend([
        Trial::new("og_file", "killed at every step", package::file_killed),
        Trial::new("og_file", "10 senders at once", package::file_at_once),
        Trial::new("og_file", "disk full", package::file_on_a_full_disk),
        Trial::new("og_package", "killed at every step", package::package_killed),
        Trial::new("og_package", "removal killed at every step", package::removal_killed),
        Trial::new("og_package", "10 at once", package::packages_at_once),
        Trial::new("og_package", "disk full", package::package_on_a_full_disk),
        Trial::new("og_host", "made and taken away", host::make_and_remove),
        Trial::new("og_host", "killed at every step", host::run_killed),
        Trial::new("og_host", "each step fails with EIO", host::run_failing),
        Trial::new("og_host", "10 at once", host::at_once),
        Trial::new("og_host", "disk full", host::full_disk),
    ]);
    for module in og_registry::node_programs().map(|program| program.name) {
        trials.push(Trial::new(module, "hostile arguments", move || hostile::arguments(module)));
        trials.push(Trial::new(module, "input that is no arguments", move || hostile::garbage(module)));
    }
    trials.push(Trial::new("og_node_state", "hostile environment files", hostile::environment));
    trials.extend([
        Trial::new("og_replconninfo", "last channel of a primary", refused::last_channel),
        Trial::new("og_slot", "a slot that is in use", refused::used_slot),
        Trial::new("og_guc", "a standby smaller than its primary", refused::small_standby),
        Trial::new("all that edit", "in a switchover or a build", refused::not_at_rest),
        Trial::new("docs/safety.md", "each row has its test", refused::check_documented),
    ]);
    for (module, file) in [("og_hba", "pg_hba.conf"), ("og_guc", "postgresql.conf")] {
        for (gone, fault) in [(false, "file swapped meanwhile"), (true, "file taken away meanwhile")] {
            trials.push(Trial::new(module, fault, move || refused::swap_file(module, file, gone)));
        }
    }
    // These wait more than they work.
    let mut waiting = vec![
        Trial::new("og_guc", "commits that would hang", refused::commits_that_hang),
        Trial::new("og_guc", "commits let go on no more", refused::commits_let_go_on_no_more),
    ];
    for (work, module, command) in lies::WORKS {
        for (lie, name) in lies::LIES {
            waiting
                .push(Trial::new(module, format!("{command} {name}"), move || lies::run_with_lie(work, lie)));
        }
    }
    let mut rows = Vec::new();
    for (mut trials, workers) in [(trials, cores), (waiting, 6 * cores)] {
        trials.retain(|t| format!("{}: {}", t.module, t.fault).contains(&wanted));
        rows.extend(run(&trials, workers));
    }
    for row in &rows {
        println!("{row}");
    }
    let count = |which: fn(&Outcome) -> bool| rows.iter().filter(|r| which(&r.outcome)).count();
    let broken = count(|o| matches!(o, Outcome::Broken(_)));
    let skipped = count(|o| matches!(o, Outcome::Skipped(_)));
    println!("{} passed, {broken} failed, {skipped} skipped", rows.len() - broken - skipped);
    if broken == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs the trials, so many side by side, and returns their rows in order.
fn run(trials: &[Trial], workers: usize) -> Vec<Row> {
    let next = AtomicUsize::new(0);
    let rows = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                while let Some((n, trial)) = {
                    let n = next.fetch_add(1, Ordering::SeqCst);
                    trials.get(n).map(|t| (n, t))
                } {
                    let row = Row::new(&trial.module, &trial.fault, (trial.work)());
                    rows.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push((n, row));
                }
            });
        }
    });
    let mut rows = rows.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    rows.sort_by_key(|(n, _)| *n);
    rows.into_iter().map(|(_, row)| row).collect()
}
