//! Servers that somebody else is in charge of, and data that a server does not see.

use og_common::gauss::managed::Act;
use og_common::gauss::{NodeState, ServerNode, StopMode};
use og_common::protocol::{Call, Error};

use crate::args::{Args, State, Transition};
use crate::plan::Step;

/// The change that the arguments ask for; `None` for what CM, DCF and DSS leave to everybody.
fn act(args: &Args) -> Option<Act> {
    match args.state {
        State::Query | State::Reloaded | State::ForkRecorded => None,
        State::Started => Some(Act::Start),
        State::Stopped if args.stop_mode == StopMode::Immediate => Some(Act::StopImmediate),
        State::Stopped => Some(Act::Stop),
        State::Restarted => Some(Act::Restart),
        State::Primary if args.transition == Transition::Failover => Some(Act::Failover),
        State::Primary => Some(Act::Switchover),
        State::Standby => Some(Act::Follow),
    }
}

/// Returns the plan where nobody else is in charge of the server, or there is nothing to do.
///
/// # Errors
/// `refused` when somebody is, whatever else stands against the plan: what that error advises is not ours to do.
pub async fn permitted(
    call: &Call,
    node: &ServerNode,
    args: &Args,
    planned: Result<Vec<Step>, Error>,
) -> Result<Vec<Step>, Error> {
    let idle = matches!(&planned, Ok(steps) if steps.is_empty());
    if let Some(act) = act(args).filter(|_| !idle) {
        node.managed_by(call, true).await.permit(act, &node.data_dir)?;
    }
    planned
}

/// Returns what should be looked at on the node as it is now.
#[must_use]
pub fn warnings(state: &NodeState, args: &Args, changed: bool) -> Vec<String> {
    let caution = act(args).filter(|_| changed).and_then(|act| state.managed_by.caution(act));
    let unseen = state.tablespaces.as_ref().and_then(|found| found.warning(state.role));
    caution.into_iter().chain(unseen).collect()
}
