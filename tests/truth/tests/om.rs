//! The files of clusters, as we and as OM read and write them. `OG_TRUTH_OM` names a checkout of openGauss-OM;
//! `OG_TRUTH_COUNT` says how many clusters (`cargo xtask truth --om FOLDER --count 200`), `OG_TRUTH_SEED` where to begin.

use std::path::Path;
use std::process::ExitCode;

use og_truth::om::Om;
use og_truth::om::compare::{self, Tally};
use og_truth::{Result, answers_list, number};

/// Clusters in an everyday run.
const COUNT: u64 = 40;
/// Disagreements that are shown in full.
const SHOWN: usize = 12;

fn main() -> ExitCode {
    if answers_list("om") {
        return ExitCode::SUCCESS;
    }
    let Some(checkout) = std::env::var_os("OG_TRUTH_OM") else {
        println!("files of clusters ... skipped: no openGauss-OM (OG_TRUTH_OM names a checkout)");
        return ExitCode::SUCCESS;
    };
    match run(Path::new(&checkout)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(e) => {
            println!("files of clusters ... FAILED: {e}");
            ExitCode::FAILURE
        }
    }
}

fn run(checkout: &Path) -> Result<bool> {
    let count = number("OG_TRUTH_COUNT")?.unwrap_or(COUNT);
    let seed = number("OG_TRUTH_SEED")?.unwrap_or(1);
    let mut om = Om::start(checkout)?;
    let tally = compare::compare_all(&mut om, seed, count)?;
    report_tally(&tally);
    // A run in which nothing is taken or nothing refused says nothing.
    Ok(tally.differ.is_empty() && tally.clusters > 0 && tally.taken > 0 && tally.refused > 0)
}

fn report_tally(tally: &Tally) {
    println!(
        "{} clusters, {} files of ours equal to OM's; {} XML files with a mistake refused by both with the same number, {} \
         with another, {} taken by both, {} refused by us alone; {} disagreements",
        tally.clusters,
        tally.files,
        tally.refused,
        tally.otherwise.values().sum::<usize>(),
        tally.taken,
        tally.stricter.values().sum::<usize>(),
        tally.differ.len()
    );
    for (words, times) in &tally.otherwise {
        println!("another number, {times} times: {words}");
    }
    for (words, times) in &tally.stricter {
        println!("refused by us alone, {times} times: {words}");
    }
    for differ in tally.differ.iter().take(SHOWN) {
        println!("{differ}");
    }
}
