//! `cargo xtask check`: what one runs while working. No server, no network namespace, no root.

use std::time::{Duration, Instant};

use crate::shell::{Result, cargo, root, run, target};
use crate::{docs, lint};

/// The packages whose tests under tests/ need servers.
const SERVER_PACKAGES: [&str; 3] = ["og_lab", "og_scenarios", "og_truth"];

/// Runs every check, also after one that failed, and prints how long each took.
pub fn run_all() -> Result {
    let steps: [(&str, &dyn Fn() -> Result); 6] = [
        ("format", &format),
        ("lints", &clippy),
        ("unit and property tests", &unit_tests),
        // The tests before it built the programs.
        ("schemas and documentation", &|| docs::check_built()),
        ("Python and shell", &lint::check_scripts),
        ("dependencies", &lint::check_dependencies),
    ];
    let start = Instant::now();
    let mut failed = Vec::new();
    for (name, step) in steps {
        println!("== {name}");
        let begin = Instant::now();
        match step() {
            Ok(()) => println!("== {name}: {}", seconds(begin.elapsed())),
            Err(e) => {
                println!("== {name}: FAILED after {}: {e}", seconds(begin.elapsed()));
                failed.push(name);
            }
        }
    }
    println!("== check: {}", seconds(start.elapsed()));
    if failed.is_empty() { Ok(()) } else { Err(format!("failed: {}", failed.join(", "))) }
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

/// `cargo fmt` finds nothing to change.
pub fn format() -> Result {
    run(cargo().args(["fmt", "--all", "--check"]))
}

/// Clippy finds nothing in any target.
pub fn clippy() -> Result {
    run(cargo().args(["clippy", "--quiet", "--workspace", "--all-targets", "--", "-D", "warnings"]))
}

/// rustdoc finds nothing, in private items either.
pub fn rustdoc() -> Result {
    let flags = std::env::var("RUSTDOCFLAGS").unwrap_or_default();
    run(cargo()
        .args(["doc", "--quiet", "--workspace", "--no-deps", "--document-private-items"])
        .env("RUSTDOCFLAGS", format!("{flags} -D warnings")))
}

/// The fuzz targets compile.
pub fn fuzz_targets() -> Result {
    // libFuzzer itself, which is C++, is not needed to look at the Rust.
    run(cargo()
        .args(["check", "--quiet", "--all-targets", "--manifest-path", "fuzz/Cargo.toml", "--target-dir"])
        .arg(target())
        .env("CUSTOM_LIBFUZZER_PATH", "/dev/null"))
}

/// The tests that need no server: with nextest where it is installed, else with `cargo test`, which runs one program of
/// tests after the other.
pub fn unit_tests() -> Result {
    if let Some(nextest) = lint::installed("cargo-nextest") {
        return run(std::process::Command::new(nextest)
            .args(["nextest", "run", "--workspace", "--cargo-quiet"])
            .current_dir(root()));
    }
    println!("cargo-nextest is not installed (cargo xtask setup); running `cargo test`");
    let mut all = cargo();
    all.args(["test", "--quiet", "--workspace", "--lib", "--bins", "--tests", "--no-fail-fast"]);
    let mut libraries = cargo();
    libraries.args(["test", "--quiet", "--lib", "--no-fail-fast"]);
    for package in SERVER_PACKAGES {
        all.args(["--exclude", package]);
        libraries.args(["--package", package]);
    }
    // The output of tests that passed says what they skipped.
    for command in [&mut all, &mut libraries] {
        command.args(["--", "--show-output"]);
    }
    run(&mut all).and(run(&mut libraries))
}
