//! Where a call runs: the asynchronous runtime, the signals that end it, and panics.

use std::future::Future;
use std::time::Instant;

use nix::sys::signal::{SigSet, Signal};
use serde_json::Map;
use serde_json::Value;
use tokio::signal::unix::{SignalKind, signal};

use super::result::print_failure;
use crate::base::{Done, Error, ErrorKind};

/// Keeps SIGTERM and SIGINT back until [`release_signals`], when there is somebody to hear them.
pub(super) fn hold_signals() {
    // The signals are ones that a process may block; nothing else is refused.
    let _ = handled_signals().thread_block();
}

/// Lets the signals through that [`hold_signals`] kept back.
pub(super) fn release_signals() {
    let _ = handled_signals().thread_unblock();
}

fn handled_signals() -> SigSet {
    SigSet::from_iter([Signal::SIGTERM, Signal::SIGINT])
}

/// Runs the future to its end, unless SIGTERM or SIGINT ends it first. However it fails, the error says what was done.
pub(super) fn run_in_runtime<T, F>(start: impl FnOnce(Done) -> F) -> (Map<String, Value>, Result<T, Error>)
where
    F: Future<Output = (Map<String, Value>, Result<T, Error>)>,
{
    let done = Done::default();
    let run = || -> std::io::Result<_> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (mut terminate, mut interrupt) = {
            let _inside = runtime.enter();
            (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?)
        };
        release_signals();
        let result = runtime.block_on(async {
            let ended = |name| {
                let error = Error::new(ErrorKind::Interrupted, format!("ended by {name}"));
                (Map::new(), Err(error.hint("the same call again carries on")))
            };
            tokio::select! {
                result = start(done.clone()) => result,
                _ = terminate.recv() => ended("SIGTERM"),
                _ = interrupt.recv() => ended("SIGINT"),
            }
        });
        // A thread that still waits for standard input must not keep the program.
        runtime.shutdown_background();
        Ok(result)
    };
    let (invocation, result) = run().unwrap_or_else(|e| {
        (Map::new(), Err(Error::new(ErrorKind::Internal, format!("cannot start the runtime: {e}"))))
    });
    (invocation, result.map_err(|e| done.complete_error(e)))
}

/// A panic is a failure like any other to the caller: one JSON object, exit status 1.
pub(super) fn report_panics(start: Instant) {
    std::panic::set_hook(Box::new(move |panic| {
        let payload = panic.payload();
        let what = payload
            .downcast_ref::<&str>()
            .map(ToString::to_string)
            .or_else(|| payload.downcast_ref::<String>().cloned())
            .unwrap_or_default();
        let place = panic.location().map_or(String::new(), |l| format!(" at {}:{}", l.file(), l.line()));
        let error = Error::new(ErrorKind::Internal, format!("internal error (bug){place}: {what}"))
            .hint("please report it with the arguments of the call");
        print_failure(start, &Map::new(), &error);
        std::process::exit(1);
    }));
}
