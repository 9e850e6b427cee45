//! What speaks against a change of this node: facts, and the checks that judge them together with those of its peers.
//!
//! Everything here reads. No server is started, stopped, reloaded or written to; `gs_ctl build -b check`, which stops a standby to
//! say which build it needs, is never used.

pub mod args;
pub mod checks;
mod collect;
pub mod facts;

use std::path::Path;

use og_common::protocol::{ArgRule, Call, Error, Example, Module, Report, View};

pub use args::{Args, FailOn, Output, Purpose, Wanted};
pub use checks::{Context, Finding, Severity, judge, judge_all};
pub use facts::Facts;

/// The module.
#[derive(Debug)]
pub struct Preflight;

impl Module for Preflight {
    const NAME: &'static str = "og_preflight";
    const ABOUT: &'static str = "Check a node before a change, and report what would make it fail";
    const TIMEOUT: u64 = 60;
    const EXAMPLES: &'static [Example] = &[
        Example {
            title: "Check a node for anything that is wrong",
            args: r#"{"data_dir": "/gauss/data/dn1"}"#,
        },
        Example {
            title: "Check a standby that is to become primary; never fail, as the findings are judged elsewhere",
            args: r#"{"data_dir": "/gauss/data/dn1", "for": "switchover", "wanted": {"target": true}, "fail_on": "never"}"#,
        },
        Example {
            title: "Check a new node, which two others are to reach",
            args: r#"{"data_dir": "/gauss/data/dn1", "for": "expand", "wanted": {"target": true, "port": 26000, "name": "dn_6003", "reach": [{"host": "10.0.0.11", "port": 26001}], "clients": ["10.0.0.11"]}}"#,
        },
    ];
    const RULES: &'static [ArgRule] = &[];
    const VIEWS: &'static [View] = &[View {
        flag: "explain",
        value_name: "ID",
        help: "Tell why a check is there and what to do; `all` lists the checks",
        render: |id: &Path| checks::explain(&id.to_string_lossy()),
    }];
    type Args = Args;
    type Output = Output;

    async fn run(call: &Call, args: Args) -> Result<Report<Output>, Error> {
        let facts = Box::pin(collect::collect(call, &args)).await?;
        let peers: Vec<&Facts> = args.peers.iter().collect();
        let context = Context {
            facts: &facts,
            peers: &peers,
            purpose: args.purpose,
            wanted: &args.wanted,
            peers_read_before: true,
        };
        let judgement = judge(&context);
        let ready = checks::readiness(&context);
        let fails = match args.fail_on {
            FailOn::Never => false,
            FailOn::Error => judgement.has(Severity::Error),
            FailOn::Unknown => judgement.has(Severity::Error) || judgement.has(Severity::Unknown),
            FailOn::Warning => judgement.findings.iter().any(|finding| finding.severity < Severity::Info),
        };
        let msg = judgement.summary();
        let worst = judgement.findings.first().cloned();
        let output = Output { facts, findings: judgement.findings, ready };
        match worst.filter(|_| fails) {
            Some(worst) => {
                let detail = format!("{msg}; the first: {}: {}", worst.subject, worst.message);
                Err(Error::refused(detail).hint(worst.fix).with_output(&output))
            }
            None => Ok(Report::unchanged(msg, output)),
        }
    }
}
