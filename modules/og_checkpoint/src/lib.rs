//! Checkpoints of this node.
//!
//! A checkpoint before a shutdown or a switchover writes the dirty pages while the server still serves clients, so that
//! the shutdown checkpoint, during which nobody can write, has little left to do. On a standby CHECKPOINT makes a
//! restartpoint, which comes no further than the last checkpoint of the primary that the standby has replayed.

pub mod args;
pub mod plan;

use std::time::{Duration, Instant};

use og_common::gauss::ServerNode;
use og_common::protocol::{ArgRule, Call, Error, ErrorKind, Example, Module, Report};

use args::{Args, Output};
use plan::Progress;

/// How long to wait between two checkpoints of one call.
const POLL_INTERVAL: Duration = Duration::from_millis(500);
/// What must be left of the time limit for one more checkpoint to be begun.
const TIMEOUT_MARGIN: Duration = Duration::from_secs(1);
/// How long a checkpoint may take when the call has no limit of its own.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(24 * 60 * 60);

/// The module `og_checkpoint`.
#[derive(Debug)]
pub struct Checkpoint;

impl Module for Checkpoint {
    const NAME: &'static str = "og_checkpoint";
    const ABOUT: &'static str = "Checkpoints and dirty pages of this node";
    const TIMEOUT: u64 = 600;
    const EXAMPLES: &'static [Example] = &[
        Example {
            title: "How many pages are dirty, and how much WAL would crash recovery replay?",
            args: r#"{"data_dir": "/data/dn1", "state": "query"}"#,
        },
        Example { title: "Make a checkpoint", args: r#"{"data_dir": "/data/dn1"}"# },
        Example {
            title: "Before a switchover: checkpoints until few pages are dirty, within two minutes",
            args: r#"{"data_dir": "/data/dn1", "max_dirty_pages": 1000, "timeout": 120}"#,
        },
    ];
    const RULES: &'static [ArgRule] =
        &[ArgRule::OnlyIf { key: "state", values: &["done"], allows: &["max_dirty_pages"] }];
    type Args = Args;
    type Output = Output;

    async fn run(call: &Call, args: Args) -> Result<Report<Output>, Error> {
        let node = ServerNode::from_call(call)?;
        let before = inspect(call, &node).await?;
        let (mut now, mut made) = (before, 0);
        while plan::needs_checkpoint(&now, &args, made) {
            if call.check {
                made += 1;
                break;
            }
            if made > 0 {
                if call.deadline.is_some_and(|end| Instant::now() + POLL_INTERVAL + TIMEOUT_MARGIN > end) {
                    return Err(too_many_error(&before, &now, &args, made));
                }
                tokio::time::sleep(POLL_INTERVAL).await;
            }
            call.record_begun("make a checkpoint", "the server completes the checkpoint without this call");
            node.sql_within(call, "checkpoint", DEFAULT_TIMEOUT).await?;
            if made == 0 {
                call.record_action("make a checkpoint");
            } else {
                call.clear_begun();
            }
            made += 1;
            now = inspect(call, &node).await?;
            call.record_output(&now.output(&before));
            call.record_seen(plan::message(&now.output(&before), made, false));
        }
        let output = now.output(&before);
        let actions = if made > 0 { vec!["make a checkpoint".to_owned()] } else { Vec::new() };
        let warnings = plan::warnings(&before, &now, &args, if call.check { 0 } else { made });
        let msg = plan::message(&output, made, call.check);
        Ok(Report::new(actions, msg, output).with_warnings(warnings))
    }
}

async fn inspect(call: &Call, node: &ServerNode) -> Result<Progress, Error> {
    let counts = node.control().is_none_or(|control| control.is_opengauss());
    let rows = node.sql(call, if counts { plan::OPENGAUSS } else { plan::UNCOUNTED }).await?;
    let read = rows.first().map(|row| Progress::parse(row)).unwrap_or_default();
    let control = node.control();
    Ok(Progress {
        checkpoint: control.as_ref().map(|control| control.checkpoint),
        redo: control.as_ref().map(|control| control.redo),
        ..read
    })
}

fn too_many_error(before: &Progress, now: &Progress, args: &Args, made: u64) -> Error {
    let output = now.output(before);
    let most = args.max_dirty_pages.unwrap_or_default();
    let dirty = now.dirty_pages.unwrap_or_default();
    let hint = if now.standby {
        "make a checkpoint on the primary first: a standby's restartpoint comes no further; or raise max_dirty_pages"
    } else {
        "raise timeout or max_dirty_pages, or write less meanwhile"
    };
    Error::new(
        ErrorKind::Timeout,
        format!("{dirty} pages are dirty after {made} checkpoints, and at most {most} may be"),
    )
    .hint(hint)
    .with_output(&output)
}
