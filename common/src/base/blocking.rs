//! Work that takes long beside a call.

use super::{Error, ErrorKind};

/// Runs `work` on a thread of its own; the call hears signals and its time limit meanwhile, and one that ends first ends the program.
///
/// # Errors
/// `internal` where the work panicked.
pub async fn run_blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Error> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|e| Error::new(ErrorKind::Internal, format!("work in the background ended early: {e}")))
}
