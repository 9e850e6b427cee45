//! Replication slots of this node.
//!
//! openGauss makes a slot by itself when a standby connects, and keeps it, and all log from its position on, when the
//! standby is gone for good. It also drops a slot that is in use with a mere warning; here that is refused.

pub mod plan;

use std::time::Duration;

use og_common::files::NodeLock;
use og_common::gauss::{ReplicationSlot, ServerNode};
use og_common::protocol::{ArgRule, Call, Error, ErrorKind, Example, Module, Report};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use plan::Plan;

/// How often a slot that is in use is looked at again.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// The module `og_slot`.
#[derive(Debug)]
pub struct ReplicationSlots;

/// The wanted state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// The slots are there.
    Present,
    /// The slots are not there.
    Absent,
    /// Return the slots.
    #[default]
    Query,
}

/// What kind of slot to make.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Type {
    /// For a standby.
    #[default]
    Physical,
}

/// What to do with a slot that is to be dropped while a standby streams through it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum IfActive {
    /// Fail, and drop none.
    #[default]
    Fail,
    /// Wait until the standby leaves it, up to `timeout`.
    Wait,
    /// Leave it; `skipped` names it.
    Skip,
}

/// The arguments.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct Args {
    /// The wanted state.
    #[serde(default)]
    pub state: State,
    /// The slots; openGauss names a standby's slot as its application_name, such as `dn_6002`. With `query`, only these
    /// are told.
    #[serde(default)]
    pub names: Vec<String>,
    /// What kind of slot to make.
    #[serde(default, rename = "type")]
    pub kind: Type,
    /// What to do with a slot that is to be dropped while a standby streams through it.
    #[serde(default)]
    pub if_active: IfActive,
}

/// The module's own keys of the result.
#[derive(Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Output {
    /// The slots as they are after the call.
    pub slots: Vec<ReplicationSlot>,
    /// Names of the slots that were made.
    pub created: Vec<String>,
    /// Names of the slots that were dropped.
    pub dropped: Vec<String>,
    /// Names of the slots that were to go and stay, for a standby streams through them.
    pub skipped: Vec<String>,
}

impl Module for ReplicationSlots {
    const NAME: &'static str = "og_slot";
    const ABOUT: &'static str = "Replication slots of this node";
    const TIMEOUT: u64 = 120;
    const EXAMPLES: &'static [Example] = &[
        Example {
            title: "Which slots are there, and how much log does each hold back?",
            args: r#"{"data_dir": "/data/dn1"}"#,
        },
        Example {
            title: "Drop the slot of a standby that is gone",
            args: r#"{"data_dir": "/data/dn1", "state": "absent", "names": ["dn_6003"]}"#,
        },
        Example {
            title: "Make one before the standby comes, so that no log it needs is removed",
            args: r#"{"data_dir": "/data/dn1", "state": "present", "names": ["dn_6004"]}"#,
        },
    ];
    const RULES: &'static [ArgRule] = &[
        ArgRule::RequiredIf { key: "state", value: "present", needs: &["names"] },
        ArgRule::RequiredIf { key: "state", value: "absent", needs: &["names"] },
        ArgRule::OnlyIf { key: "state", values: &["absent"], allows: &["if_active"] },
        ArgRule::OnlyIf { key: "state", values: &["present"], allows: &["type"] },
    ];
    type Args = Args;
    type Output = Output;

    async fn run(call: &Call, args: Args) -> Result<Report<Output>, Error> {
        plan::check_names(&args.names)?;
        let node = ServerNode::from_call(call)?;
        let acting = !call.check && args.state != State::Query;
        let _lock = if acting { Some(NodeLock::acquire(&node.data_dir, call).await?) } else { None };
        let mut slots = node.slots(call).await?;
        let mut plan = plan::plan(&slots, &args);
        while args.if_active == IfActive::Wait && !plan.in_use.is_empty() && acting {
            call.record_seen(format!("{} in use", plan.in_use.join(", ")));
            tokio::time::sleep(POLL_INTERVAL).await;
            slots = node.slots(call).await?;
            plan = plan::plan(&slots, &args);
        }
        if call.check && args.if_active == IfActive::Wait {
            // It would be waited for, and then dropped.
            plan.drop.append(&mut plan.in_use);
        }
        if !plan.in_use.is_empty() && args.if_active == IfActive::Fail {
            return Err(in_use_error(&plan.in_use));
        }
        let actions = plan.actions();
        if acting && !actions.is_empty() {
            apply(call, &node, &plan).await?;
            slots = node.slots(call).await?;
        } else if call.check {
            slots.retain(|slot| !plan.drop.contains(&slot.name));
        }
        if args.state == State::Query && !args.names.is_empty() {
            slots.retain(|slot| args.names.contains(&slot.name));
        }
        let msg = message(&slots, &plan, call.check);
        let output = Output { slots, created: plan.create, dropped: plan.drop, skipped: plan.in_use };
        Ok(Report::new(actions, msg, output))
    }
}

fn in_use_error(names: &[String]) -> Error {
    Error::refused(format!("a standby streams through {}", names.join(", ")))
        .hint("stop that standby first, or use if_active: wait or skip; there is no override")
}

/// Makes and drops, one statement each, and looks whether it was done: the server's warnings are easily missed.
async fn apply(call: &Call, node: &ServerNode, plan: &Plan) -> Result<(), Error> {
    for name in &plan.create {
        node.sql(call, &plan::create_statement(name)).await?;
        call.record_action(format!("made slot {name}"));
    }
    for name in &plan.drop {
        let rows = node.sql(call, &plan::drop_statement(name)).await?;
        if rows.is_empty() {
            // No row: somebody connected, or somebody else dropped it, since we looked.
            let now = node.slots(call).await?;
            if now.iter().any(|slot| slot.name == *name && slot.active) {
                return Err(in_use_error(std::slice::from_ref(name)));
            }
        }
        call.record_action(format!("dropped slot {name}"));
    }
    let now = node.slots(call).await?;
    let there = |name: &String| now.iter().any(|slot| slot.name == *name);
    let failed = plan.create.iter().filter(|n| !there(n)).chain(plan.drop.iter().filter(|n| there(n)));
    match failed.cloned().collect::<Vec<_>>()[..] {
        [] => Ok(()),
        ref names => Err(Error::new(
            ErrorKind::CommandFailed,
            format!("the server took the statement, but nothing came of it for {}", names.join(", ")),
        )
        .hint("a standby that reconnects makes its slot anew; otherwise look into the server's log")),
    }
}

fn message(slots: &[ReplicationSlot], plan: &Plan, check: bool) -> String {
    let would = if check { "would be " } else { "" };
    match (&plan.create[..], &plan.drop[..]) {
        ([], []) => {
            let idle = slots.iter().filter(|slot| !slot.active).count();
            format!("{} slots, {idle} of them not in use", slots.len())
        }
        (create, []) => format!("{would}made: {}", create.join(", ")),
        (_, drop) => format!("{would}dropped: {}", drop.join(", ")),
    }
}
