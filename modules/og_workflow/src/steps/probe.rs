//! The probes that commit while a run changes the cluster, where that was asked for. Whatever becomes of them is a warning, and no
//! change of a node.

use og_common::gauss::Role;
use og_common::gauss::commits::ProbedCommits;
use serde_json::json;

use super::{QUIET, Run, calls_on, failure_reasons};
use crate::answer::Answer;
use crate::cluster::Node;
use crate::plan::{ProbedNode, merge_commits};
use crate::replay::{Answered, Go};
use crate::seen::PROBE;

impl Run<'_> {
    /// Takes down which nodes may be given a probe: the primary, and those that follow one. A server that runs as a primary beside
    /// another one must not get a log of its own by it.
    pub(super) fn note_serving(&mut self, nodes: &[Node]) {
        let follows = |n: &Node| n.live_role().is_some_and(Role::is_following);
        let serves = |n: &&Node| {
            let state = n.state();
            let is_primary = self.primary.as_ref() == Some(&n.name);
            n.is_reachable() && state.running && !state.frozen && (is_primary || follows(n))
        };
        let names = nodes.iter().filter(serves).map(|n| n.name.clone()).collect();
        self.serving = names;
    }

    /// Starts a probe on each of these members that may have one, where that was asked for: also on the standbys, as one of them
    /// may become the primary.
    pub(super) fn start_probe(&mut self, members: &[String]) -> Go {
        if !self.how.options.og_probe || self.how.check {
            return Ok(());
        }
        let nodes: Vec<String> = members.iter().filter(|n| self.serving.contains(n)).cloned().collect();
        if nodes.is_empty() {
            return Ok(());
        }
        let done = self.call_probe("Start the probe", &nodes, "started")?;
        let failed = failure_reasons(&[&done]);
        self.warnings.extend(failed.into_iter().map(|why| format!("{why}; its commits are not measured")));
        // Also where it seems to have failed: what came up after all is to be stopped.
        self.probed = nodes;
        Ok(())
    }

    /// Stops the probes that this run started, and keeps what they saw.
    pub(super) fn stop_probe(&mut self) -> Go {
        if self.probed.is_empty() {
            return Ok(());
        }
        let nodes = self.probed.clone();
        let done = self.call_probe("Stop the probe", &nodes, "stopped")?;
        self.probed.clear();
        let failed = failure_reasons(&[&done]);
        self.warnings.extend(failed.into_iter().map(|why| {
            format!("{why}; its commits are not counted, and the probe ends by itself within an hour (og_probe, state: stopped)")
        }));
        let seen: Vec<ProbedNode> =
            done.0.iter().filter_map(|(name, answer)| probed_node(name, answer)).collect();
        self.commits = merge_commits(&seen);
        if self.commits.as_ref().is_some_and(|commits| commits.commits == 0) {
            let why =
                seen.iter().find_map(|n| Some(format!(": {}: {}", n.name, n.probed.last_failure.as_ref()?)));
            self.warnings.push(format!("the probe could not commit on any node{}", why.unwrap_or_default()));
        }
        Ok(())
    }

    fn call_probe(&mut self, name: &str, nodes: &[String], state: &str) -> Go<Answered> {
        let own = json!({"state": state, "timeout": self.how.options.og_look_timeout});
        self.ask(name, PROBE, calls_on(nodes, &own), QUIET)
    }
}

/// What the probe of a node saw, by the clock of the caller.
fn probed_node(name: &str, answer: &Answer) -> Option<ProbedNode> {
    if answer.failure_reason().is_some() {
        return None;
    }
    let probed: ProbedCommits = answer.read_key::<Option<ProbedCommits>>("probe")?;
    let between: [Option<u64>; 2] = [answer.read_key("sent_at"), answer.read_key("received_at")];
    let [sent, received] = between;
    let now: u64 = answer.read_key("now");
    let ahead = sent.zip(received).map_or(0, |times| ProbedNode::clock_ahead(now, times));
    Some(ProbedNode::new(name, probed, ahead))
}
