//! Workflows run for real on the lab: the pieces that the scenarios and the demo are made of.
//!
//! * [`client`]: commits rows on the primary without pause and measures the gaps between commits
//! * [`cluster`]: a lab with playbooks and modules at hand, and what every scenario checks at its end
//! * [`machine`]: what was written on nodes that are machines of their own
//! * [`primaries`]: watches that no two nodes are primary at once
//! * [`roaming`]: commits rows on whichever node is the primary
//! * [`salt`]: a Salt master and minions on the lab
//! * [`shell`]: og typed on the control host
//! * [`deaths`]: programs that die in the middle of their work
//! * [`workflow`]: runs a playbook and tells what it did

pub mod client;
pub mod cluster;
pub mod deaths;
pub mod machine;
pub mod primaries;
pub mod roaming;
pub mod salt;
pub mod shell;
pub mod workflow;
