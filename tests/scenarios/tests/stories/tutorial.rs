//! The tutorial, typed from its first command to its last one.

use std::fs;
use std::path::Path;

use og_lab::{Lab, Role};
use og_scenarios::cluster::{Cluster, Result};
use og_scenarios::shell::Shell;

use crate::Story;

pub const STORY: Story = Story {
    name: "tutorial",
    nodes: &[("n1", Role::Primary), ("n2", Role::Standby), ("n3", Role::Spare), ("n4", Role::SpareCascade)],
    always: 1,
    scenarios: &[("what the tutorial tells to type works in its order", as_the_tutorial_says)],
};

fn as_the_tutorial_says(c: &Cluster) -> Result {
    let shell = Shell::new(c)?;
    let lines = typed_lines()?;
    for line in &lines {
        match &line.split_whitespace().collect::<Vec<_>>()[..] {
            // It is up, and is not taken down by a second one.
            ["cargo", "xtask", "lab", "up", ..] => match Lab::check_free(c.lab().name()) {
                Err(e) if e.to_string().contains("is up already") => {}
                other => return Err(format!("{line}: with that lab up: {other:?}")),
            },
            // The shell is this one.
            ["cargo", "xtask", "lab", "shell" | "down", ..] => {}
            ["cargo", "xtask", "lab", "kill", node] => {
                c.lab().kill_server(node).map_err(|e| e.to_string())?;
            }
            // While nobody can write, the status is that of a failure.
            ["og", "status"] => drop(shell.run(line)?),
            ["og", ..] => drop(shell.run(line)?.must_work().map_err(|e| format!("{line}: {e}"))?),
            _ => return Err(format!("the tutorial says {line:?}, which this test does not know")),
        }
    }
    if lines.len() < 10 {
        return Err(format!("the tutorial has only these lines: {lines:#?}"));
    }
    // As its last picture has it.
    c.check_at_rest(&[("n1", "primary"), ("n3", "standby"), ("n4", "cascade_standby")])
}

/// The lines of the tutorial's indented blocks, without comments.
fn typed_lines() -> Result<Vec<String>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/tutorial.md");
    let text = fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    let lines = text.lines().filter_map(|line| line.strip_prefix("    "));
    Ok(lines.map(|line| line.split(" #").next().unwrap_or_default().trim().to_owned()).collect())
}
