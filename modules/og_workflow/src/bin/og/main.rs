//! The workflows at a terminal: `og expand n3,n4`, `og drop n2`, `og status`.

mod certificates;
mod cluster_file;
mod command;
mod display;
mod history;
mod inventory;
mod run;
mod view;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap_complete::CompleteEnv;
use og_common::protocol::{Error, ErrorKind, log, secret, take_in};
use og_workflow::Workflows;
use og_workflow::args::Outcome;
use og_workflow::bundle;
use og_workflow::engine::Engine;
use og_workflow::record::{self, Plan, Recorder};
use serde_json::{Map, Value, json};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use certificates::CertificatesRequest;
use command::{Invocation, Request};
use display::{Display, interruption};
use history::HistoryRequest;
use run::{Ended, Runner};
use view::View;

/// The run failed, or was interrupted.
const EXIT_FAILED: u8 = 1;
/// Arguments that cannot be used.
const EXIT_UNUSABLE: u8 = 2;

fn main() -> ExitCode {
    CompleteEnv::with_factory(command::command).complete();
    log::start();
    let invocation = match command::parse() {
        Ok(Request::Run(invocation)) => invocation,
        Ok(Request::History(request)) => return show_history(&request),
        Ok(Request::Explain(id)) => return show_explanation(&id),
        Ok(Request::Certificates(request)) => return make_certificates(&request),
        Err(e) => {
            drop(e.print());
            if !e.use_stderr() {
                return ExitCode::SUCCESS;
            }
            if std::env::args_os().any(|word| word == "--nagios") {
                let text = e.to_string();
                let why = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
                Display::new(false, false).line(&view::unknown(why));
                return ExitCode::from(view::NAGIOS_UNKNOWN);
            }
            return ExitCode::from(EXIT_UNUSABLE);
        }
    };
    let mut display = Display::new(invocation.json, invocation.watch.is_some());
    let code = match run(&invocation, &mut display) {
        Ok(code) => code,
        Err(e) if invocation.view.is_nagios() => {
            display.line(&view::unknown(&e.to_string()));
            view::NAGIOS_UNKNOWN
        }
        Err(e) => {
            display.error(&e);
            if e.kind() == ErrorKind::BadArgs { EXIT_UNUSABLE } else { EXIT_FAILED }
        }
    };
    ExitCode::from(if display.has_write_failed() { code.max(EXIT_FAILED) } else { code })
}

fn show_explanation(id: &str) -> ExitCode {
    let mut display = Display::new(false, false);
    match og_workflow::explain::explain(id) {
        Ok(text) => display.line(&text),
        Err(e) => {
            display.error(&e);
            return ExitCode::from(EXIT_UNUSABLE);
        }
    }
    ExitCode::from(if display.has_write_failed() { EXIT_FAILED } else { 0 })
}

fn show_history(request: &HistoryRequest) -> ExitCode {
    show_here(request.json, |display| request.run(display))
}

fn make_certificates(request: &CertificatesRequest) -> ExitCode {
    show_here(request.json, |display| request.run(display))
}

/// Does what is done on this machine alone, and shows it.
fn show_here(json: bool, run: impl FnOnce(&mut Display) -> Result<(), Error>) -> ExitCode {
    let mut display = Display::new(json, false);
    let code = match run(&mut display) {
        Ok(()) => 0,
        Err(e) => {
            display.error(&e);
            if e.kind() == ErrorKind::BadArgs { EXIT_UNUSABLE } else { EXIT_FAILED }
        }
    };
    ExitCode::from(if display.has_write_failed() { code.max(EXIT_FAILED) } else { code })
}

fn run(invocation: &Invocation, display: &mut Display) -> Result<u8, Error> {
    // This may run ansible-inventory, for as long as that takes: a signal ends og there, as nothing is begun.
    let (cluster, warnings) = cluster_file::read(invocation.file.as_deref(), invocation.cluster.as_deref())?;
    Display::warn(&warnings);
    let (engine, plan) = engine(invocation, cluster)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| Error::new(ErrorKind::Internal, format!("cannot start the runtime: {e}")))?;
    let code = runtime.block_on(async {
        let stop = watch_signals()
            .map_err(|e| Error::new(ErrorKind::Internal, format!("cannot watch signals: {e}")))?;
        run_workflow(invocation, &engine, plan, display, stop).await
    });
    runtime.shutdown_background();
    code
}

async fn run_workflow(
    invocation: &Invocation,
    engine: &Engine,
    plan: Plan,
    display: &mut Display,
    stop: watch::Receiver<bool>,
) -> Result<u8, Error> {
    let mut runner = Runner::new(engine, invocation, stop.clone())?;
    let code = match invocation.watch {
        None => {
            if engine.is_recorded() {
                match Recorder::begin(plan, engine) {
                    Ok(recorder) => runner.recorder = Some(recorder),
                    Err(e) => Display::warn(&[record::warn_of_loss(&e)]),
                }
            }
            run_once(invocation, &mut runner, display).await
        }
        Some(interval) => watch_status(interval, &invocation.view, &mut runner, display, stop).await,
    };
    runner.close().await;
    code
}

/// The run that the command line asks for, its options typed and checked as those of every caller are.
fn engine(invocation: &Invocation, cluster: Value) -> Result<(Engine, Plan), Error> {
    let mut request = json!({
        "workflow": invocation.workflow.name,
        "targets": invocation.targets,
        "options": invocation.options,
        "pid": std::process::id(),
    });
    request["cluster"] = cluster;
    let taken = take_in::<Workflows>(request.to_string().as_bytes())?;
    secret::register_args(&taken.values);
    let plan = Plan::from_args(&taken.args, invocation.check);
    Ok((Engine::new(taken.args, invocation.check, invocation.diff)?, plan))
}

async fn run_once(
    invocation: &Invocation,
    runner: &mut Runner<'_>,
    display: &mut Display,
) -> Result<u8, Error> {
    let begun = Instant::now();
    let ended = match runner.run(display).await {
        Ok(ended) => ended,
        Err(e) => {
            Display::lock_left(&runner.leave_lock().await);
            if let Some(mut recorder) = runner.recorder.take() {
                Display::warn(&recorder.fail(&e.failure().detail).warnings);
                notify(recorder).await;
            }
            return Err(e);
        }
    };
    match ended {
        Ended::Outcome(mut outcome) => {
            bundle::finish(&mut outcome, runner.engine);
            let recorder = runner.recorder.take().map(|mut recorder| {
                recorder.finish(&mut outcome);
                recorder
            });
            og_workflow::text::add_commits(&mut outcome);
            let shown = show(invocation, &mut outcome, display, begun.elapsed());
            // Nobody waits for the command to see what came of the run.
            if let Some(recorder) = recorder {
                notify(recorder).await;
            }
            shown
        }
        Ended::Interrupted { .. } if invocation.view.is_nagios() => {
            display.line(&view::unknown("interrupted"));
            Ok(view::NAGIOS_UNKNOWN)
        }
        Ended::Interrupted { nodes, unconfirmed } => {
            // Nobody else may change the cluster while something of this run does.
            let lock = if unconfirmed.is_empty() { runner.leave_lock().await } else { runner.keep_lock() };
            let msg = interruption(&nodes, &unconfirmed, &lock, invocation.workflow.changes);
            let mut report = None;
            let mut recorder = runner.recorder.take();
            if let Some(recorder) = &mut recorder {
                report = Some(recorder.folder().join(record::REPORT).display().to_string());
                Display::warn(&recorder.interrupt(&msg).warnings);
            }
            display.interrupted(&msg, report.as_deref());
            if let Some(recorder) = recorder {
                notify(recorder).await;
            }
            Ok(EXIT_FAILED)
        }
    }
}

/// Shows what came of a run; returns the exit status.
fn show(
    invocation: &Invocation,
    outcome: &mut Outcome,
    display: &mut Display,
    took: Duration,
) -> Result<u8, Error> {
    invocation.view.apply(outcome)?;
    if let Some((code, line)) = invocation.view.nagios(outcome) {
        display.line(&line);
        return Ok(code);
    }
    display.outcome(outcome, invocation.workflow.changes, invocation.check, took);
    Ok(status(outcome))
}

async fn notify(recorder: Recorder) {
    Display::warn(&recorder.notify().await.into_iter().collect::<Vec<_>>());
}

/// Shows the cluster again and again until a signal ends it.
async fn watch_status(
    interval: Duration,
    view: &View,
    runner: &mut Runner<'_>,
    display: &mut Display,
    mut stop: watch::Receiver<bool>,
) -> Result<u8, Error> {
    let mut code = 0;
    loop {
        let begun = Instant::now();
        match runner.run(display).await? {
            Ended::Interrupted { .. } => return Ok(code),
            Ended::Outcome(mut outcome) => {
                view.apply(&mut outcome)?;
                code = status(&outcome);
                display.status(&outcome);
            }
        }
        // Nobody is there any more who would read it.
        if display.is_closed() {
            return Ok(code);
        }
        tokio::select! {
            () = tokio::time::sleep(interval.saturating_sub(begun.elapsed())) => {}
            _ = stop.wait_for(|stop| *stop) => return Ok(code),
        }
    }
}

fn status(outcome: &Outcome) -> u8 {
    if outcome.failed { EXIT_FAILED } else { 0 }
}

/// Turns true at the first signal that asks for the end; the second one ends the program at once.
fn watch_signals() -> std::io::Result<watch::Receiver<bool>> {
    let mut signals =
        [signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?, signal(SignalKind::hangup())?];
    let (tell, told) = watch::channel(false);
    tokio::spawn(async move {
        let [interrupt, terminate, hangup] = &mut signals;
        loop {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
                _ = hangup.recv() => {}
            }
            // What runs on the nodes ends when its connection does.
            if tell.send_replace(true) {
                std::process::exit(i32::from(EXIT_FAILED));
            }
        }
    });
    Ok(told)
}

/// An object, whatever else the value is.
fn object(value: Value) -> Map<String, Value> {
    if let Value::Object(map) = value { map } else { Map::new() }
}
