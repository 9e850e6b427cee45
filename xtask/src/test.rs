//! Every test, in the order in which a mistake shows soonest.

use crate::build::{self, Linking};
use crate::shell::{Result, cargo, run};
use crate::{collection, docs, faults, python, setup};

/// Runs them all; the first that fails ends it.
pub fn run_all() -> Result {
    // Before anything that would be skipped without it.
    let tools = setup::for_tests()?;
    step("format", || run(cargo().args(["fmt", "--all", "--check"])))?;
    step("lints", || {
        run(cargo().args(["clippy", "--quiet", "--workspace", "--all-targets", "--", "-D", "warnings"]))
    })?;
    step("unit and module tests", || {
        run(cargo().args(["test", "--quiet", "--workspace", "--exclude", "og_scenarios"]))
    })?;
    step("schemas and documentation", || docs::run_all(true))?;
    step("build", || build::release(Linking::Dynamic).map(drop))?;
    step("playbooks", || python::playbooks(&tools))?;
    step("faults", || faults::table(""))?;
    step("collection", || collection::sanity(&tools))?;
    let salt = setup::salt()?;
    step("callers", || python::callers(&tools, &salt, ""))?;
    step("older releases of Ansible", || python::older(&tools))?;
    // A master and minions for each engine take minutes more: `cargo xtask salt` runs that story.
    step("scenarios", || {
        run(cargo().args(["test", "--package", "og_scenarios"]).env("OG_ANSIBLE", &tools.ansible))
    })
}

fn step(name: &str, work: impl FnOnce() -> Result) -> Result {
    println!("== {name}");
    let start = std::time::Instant::now();
    work().map_err(|e| format!("{name}: {e}"))?;
    println!("== {name}: {:.0} s", start.elapsed().as_secs_f64());
    Ok(())
}
