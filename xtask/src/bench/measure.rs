//! Runs programs and tells what they cost.

use std::io::Write as _;
use std::ops::{Add, Div};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use nix::sys::resource::{Usage, UsageWho, getrusage};
use nix::sys::time::{TimeVal, TimeValLike};

use crate::shell::{Result, output};

/// What one run cost, in milliseconds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cost {
    /// From its start to its end.
    pub wall: f64,
    /// Of the processor, outside of the kernel.
    pub user: f64,
    /// Of the processor, the kernel's work for it included.
    pub cpu: f64,
}

impl Add for Cost {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { wall: self.wall + other.wall, user: self.user + other.user, cpu: self.cpu + other.cpu }
    }
}

impl Div<f64> for Cost {
    type Output = Self;

    fn div(self, by: f64) -> Self {
        Self { wall: self.wall / by, user: self.user / by, cpu: self.cpu / by }
    }
}

#[expect(clippy::cast_precision_loss, reason = "printed with two digits")]
fn milliseconds(time: TimeVal) -> f64 {
    time.num_microseconds() as f64 / 1e3
}

fn children() -> Result<Usage> {
    getrusage(UsageWho::RUSAGE_CHILDREN).map_err(|e| e.to_string())
}

/// Runs the command with this input, without its output; it must end well.
pub fn cost(command: &mut Command, input: &str) -> Result<Cost> {
    let name = command.get_program().to_string_lossy().into_owned();
    let failed = |e: std::io::Error| format!("cannot run {name}: {e}");
    let (before, start) = (children()?, Instant::now());
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().map_err(failed)?;
    let fed = child.stdin.take().map(|mut stdin| stdin.write_all(input.as_bytes()));
    let status = child.wait().map_err(failed)?;
    let wall = start.elapsed().as_secs_f64() * 1e3;
    let after = children()?;
    if !status.success() {
        return Err(format!("{name} failed: {status}"));
    }
    // A program that reads nothing has ended before it was fed.
    drop(fed);
    let user = milliseconds(after.user_time()) - milliseconds(before.user_time());
    let system = milliseconds(after.system_time()) - milliseconds(before.system_time());
    Ok(Cost { wall, user, cpu: user + system })
}

/// One of several things that take turns: what comes before each run and is not measured, and the run.
pub struct Turn<'a> {
    /// Makes ready for the run.
    pub prepare: Box<dyn Fn() -> Result + 'a>,
    /// The run.
    pub run: Box<dyn Fn() -> Result<Cost> + 'a>,
}

/// Runs all of them in turn (A B A B), so many rounds after one that warms caches; the costs by turn.
pub fn take_turns(rounds: usize, turns: &[Turn<'_>]) -> Result<Vec<Vec<Cost>>> {
    take_turns_of(rounds, 1, turns)
}

/// The same with so many calls in each turn, of which the mean is kept.
///
/// The kernel divides a process's time into user and system time by its ticks of 4 ms, of which a short run meets one
/// or none: only the mean of many tells how it is divided.
pub fn take_turns_of(rounds: usize, calls: u32, turns: &[Turn<'_>]) -> Result<Vec<Vec<Cost>>> {
    let mut costs: Vec<Vec<Cost>> = turns.iter().map(|_| Vec::with_capacity(rounds)).collect();
    for round in 0..=rounds {
        for (turn, own) in turns.iter().zip(&mut costs) {
            let mut sum = Cost::default();
            for _ in 0..calls {
                (turn.prepare)()?;
                sum = sum + (turn.run)()?;
            }
            if round > 0 {
                own.push(sum / f64::from(calls));
            }
        }
    }
    Ok(costs)
}

/// Runs the words as a program with the file as its input, and prints the most memory that it had, in KiB.
pub fn print_peak(words: &[&String]) -> Result {
    let [input, program, words @ ..] = words else { return Err("no program".to_owned()) };
    let text = std::fs::read_to_string(input).map_err(|e| format!("cannot read {input}: {e}"))?;
    cost(Command::new(program).args(words), &text)?;
    println!("{}", children()?.max_rss());
    Ok(())
}

/// The most memory that a program has, in megabytes; asked of a process that has no other children.
#[expect(clippy::cast_precision_loss, reason = "printed with two digits")]
pub fn peak_memory(input: &Path, program: &Path, words: &[&str]) -> Result<f64> {
    let me = std::env::current_exe().map_err(|e| e.to_string())?;
    let text = output(Command::new(me).args(["bench", "peak"]).arg(input).arg(program).args(words))?;
    let kib: u64 = text.trim().parse().map_err(|e| format!("{text:?}: {e}"))?;
    Ok(kib as f64 * 1024.0 / 1e6)
}
