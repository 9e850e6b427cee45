//! The plan as data, for callers that have steps of their own, such as the Ansible roles.

use std::collections::BTreeMap;

use og_common::protocol::Error;
use schemars::JsonSchema;
use serde::Serialize;

use super::{Drop, Expand, Outlook, drop, expand, idle_slots, leader, moved};
use crate::args::{Options, Workflow};
use crate::cluster::Node;
use crate::owner::Owner;
use crate::table::table;

/// What follows from what was seen.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct Planned {
    /// What stands against the workflow, one sentence each.
    pub findings: Vec<String>,
    /// With findings: all of them for a person, and who else is at work.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refusal: Option<String>,
    /// Things to look at although nothing stands against it.
    pub warnings: Vec<String>,
    /// The cluster as lines of a table.
    pub table: Vec<String>,
    /// Replication slots that serve nobody, by node.
    pub idle_slots: BTreeMap<String, Vec<String>>,
    /// The node that runs as primary, when it is one and no more.
    pub leader: Option<String>,
    /// With the primary that a run began with: what became of it, when another node runs as primary.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub moved: Option<String>,
    /// What to do, with workflow: expand.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expand: Option<Expand>,
    /// What to do, with workflow: drop.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drop: Option<Drop>,
}

/// What is asked for.
#[derive(Debug)]
pub struct Asked<'a> {
    /// The workflow.
    pub workflow: Workflow,
    /// The nodes to add or to drop.
    pub targets: &'a [String],
    /// Its options.
    pub options: &'a Options,
    /// Nodes that came now, and which the cluster did not know before.
    pub came: &'a [String],
    /// Nodes that went now.
    pub gone: &'a [String],
    /// The primary that the run began with.
    pub primary: Option<&'a str>,
}

/// What follows from what was seen on these nodes.
///
/// # Errors
/// This machine does not tell its name, which it is asked for to know whether the owner of a lock still lives.
pub fn planned(asked: &Asked, nodes: &[Node]) -> Result<Planned, Error> {
    let planned = Planned {
        table: table(nodes, asked.gone),
        idle_slots: idle_slots(nodes, asked.came).into_iter().collect(),
        leader: leader(nodes).map(|n| n.name.clone()),
        moved: asked.primary.and_then(|primary| moved(nodes, primary)),
        ..Planned::default()
    };
    match asked.workflow {
        Workflow::Expand => {
            let (planned, plan) = planned.with(expand(nodes, asked.targets, asked.options))?;
            Ok(Planned { expand: plan, ..planned })
        }
        Workflow::Drop => {
            let (planned, plan) = planned.with(drop(nodes, asked.targets, asked.options))?;
            Ok(Planned { drop: plan, ..planned })
        }
        Workflow::Status | Workflow::Owner => Ok(planned),
    }
}

impl Planned {
    fn with<P>(self, outlook: Outlook<P>) -> Result<(Self, Option<P>), Error> {
        let owner = outlook.lock.as_ref().and_then(|lock| Owner::find(&lock.owner));
        let refusal = match (&outlook.plan, owner) {
            (Some(_), _) => None,
            (None, Some(owner)) => Some(outlook.refusal(owner.is_over()?)),
            (None, None) => Some(outlook.refusal(false)),
        };
        let Outlook { findings, warnings, plan, .. } = outlook;
        Ok((Self { findings, refusal, warnings, ..self }, plan))
    }
}
