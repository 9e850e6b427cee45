//! The vocabulary of all: what a call is, what it answers, how it fails, and what of it is secret.

mod advice;
mod blocking;
mod bytes;
mod call;
pub mod clock;
mod done;
mod error;
pub(crate) mod json;
pub mod log;
mod lsn;
pub mod metrics;
mod release;
mod report;
pub mod secret;

pub use advice::{Explanation, describe_word};
pub use blocking::run_blocking;
pub use bytes::Bytes;
pub use call::{Call, CallProgress, Common, IfBuilding, LOCK_TIMEOUT_SECONDS};
pub(crate) use call::{environment_data_dir, not_root_error, run_as_hint};
pub(crate) use done::Done;
pub use error::{CommandRecord, Error, ErrorKind, Failure, Reason};
pub use json::deserialize_or_default;
pub use lsn::Lsn;
pub use release::{CONTRACT, describe_version};
pub use report::{Diff, Report};
