//! What we say of configuration files, and what real servers do with them. `OG_TRUTH_COUNT` says how many files of each
//! kind (`cargo xtask truth --count 2000` for a long run), `OG_TRUTH_SEED` where to begin: a disagreement tells its own.
//! `OG_TRUTH_ENGINE` and `OG_TRUTH_KIND` choose one engine and one kind (`pg_control`, `pg_hba.conf`, `postgresql.conf`).

use std::process::ExitCode;

use og_lab::Engine;
use og_truth::compare::{self, Tally};
use og_truth::control;
use og_truth::server::Server;
use og_truth::{Result, answers_list, number};

/// Files of each kind and engine in an everyday run: some seconds.
const COUNT: usize = 120;
/// Disagreements that are shown in full.
const SHOWN: usize = 12;

fn main() -> ExitCode {
    if answers_list("truth") {
        return ExitCode::SUCCESS;
    }
    let (count, seed) = match (number("OG_TRUTH_COUNT"), number("OG_TRUTH_SEED")) {
        (Ok(count), Ok(seed)) => {
            (count.and_then(|c| usize::try_from(c).ok()).unwrap_or(COUNT), seed.unwrap_or(1))
        }
        (Err(e), _) | (_, Err(e)) => {
            println!("{e}");
            return ExitCode::FAILURE;
        }
    };
    let (mut counts, mut skipped) = (Counts::default(), 0);
    let mut chosen = 0;
    let opengauss = Engine::all_opengauss();
    if opengauss.is_empty() {
        println!("opengauss ... skipped: {}", og_lab::none_installed());
        skipped += KINDS;
    }
    for engine in std::iter::once(Engine::Postgres).chain(opengauss) {
        if !is_chosen("OG_TRUTH_ENGINE", &engine.to_string()) {
            continue;
        }
        chosen += 1;
        let lacks = Server::missing(engine);
        if !lacks.is_empty() {
            println!("{engine} ... skipped: {}", lacks.join("; "));
            skipped += KINDS;
            continue;
        }
        // A refused pg_hba.conf takes openGauss 0.6 s: it tries three times.
        let few = if engine.is_opengauss() && std::env::var_os("OG_TRUTH_COUNT").is_none() {
            count / 4
        } else {
            count
        };
        if let Err(e) = run_on(engine, seed, few, &mut counts) {
            println!("{engine} ... FAILED: {e}");
            counts.failed += 1;
        }
    }
    if chosen == 0 {
        println!("no engine here has the name in OG_TRUTH_ENGINE");
        counts.failed += 1;
    }
    println!("{} passed, {} failed, {skipped} skipped", counts.passed, counts.failed);
    if counts.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Kinds of files that an engine is asked of: each counts as a test.
const KINDS: usize = 3;

#[derive(Default)]
struct Counts {
    passed: usize,
    failed: usize,
}

impl Counts {
    fn count(&mut self, passed: bool) {
        *(if passed { &mut self.passed } else { &mut self.failed }) += 1;
    }
}

fn run_on(engine: Engine, seed: u64, count: usize, counts: &mut Counts) -> Result {
    let mut server = Server::up(engine)?;
    if is_chosen("OG_TRUTH_KIND", "pg_control") {
        let (fields, differ) = control::compare(&server)?;
        println!("{engine}: pg_control: {fields} fields compared, {} disagreements", differ.len());
        for differ in &differ {
            println!("{differ}");
        }
        counts.count(differ.is_empty());
    }
    if is_chosen("OG_TRUTH_KIND", "pg_hba.conf") {
        let hba = compare::hba(&mut server, seed, count)?;
        report_tally(engine, "pg_hba.conf", seed, &hba, counts);
    }
    if is_chosen("OG_TRUTH_KIND", "postgresql.conf") {
        let conf = compare::conf(&mut server, seed, count)?;
        report_tally(engine, "postgresql.conf", seed, &conf, counts);
    }
    Ok(())
}

/// Whether the variable of the environment names this one, or none.
fn is_chosen(variable: &str, name: &str) -> bool {
    std::env::var(variable).map_or(true, |chosen| chosen == name)
}

fn report_tally(engine: Engine, name: &str, seed: u64, tally: &Tally, counts: &mut Counts) {
    println!(
        "{engine}: {name} from seed {seed}: {} taken, {} refused, {} answers compared, {} disagreements ({:.0} s)",
        tally.taken,
        tally.refused,
        tally.asked,
        tally.differ.len(),
        tally.took.as_secs_f64()
    );
    if let Some(words) = tally.words.as_ref().filter(|_| tally.taken == 0 || tally.refused == 0) {
        println!("of the last one the server said {words:?}");
    }
    for differ in tally.differ.iter().take(SHOWN) {
        println!("{differ}");
    }
    // A run in which nothing is refused or nothing taken says nothing.
    counts.count(tally.differ.is_empty() && tally.taken > 0 && tally.refused > 0);
}
