//! Servers that somebody else is in charge of, and data that a server does not see.

use std::path::Path;

use og_common::gauss::cm_ctl::{CmAct, missing_cm_server, require_cm_server};
use og_common::gauss::cm_query::CmView;
use og_common::gauss::managed::{Act, ManagedBy, Manager, Means, refuse_for_cm};
use og_common::gauss::peer::{ChannelPeer, Found};
use og_common::gauss::{NodeState, Role, ServerNode, StopMode};
use og_common::protocol::{Call, Error, Reason};

use crate::args::{Args, StartRole, State, Transition};
use crate::plan::{Present, Step, check_change, plan, refuse_busy, refuse_half_built};
use crate::transition::By;

/// The change that the arguments ask for; `None` for what CM, DCF and DSS leave to everybody.
fn requested_act(args: &Args, node: &NodeState) -> Option<Act> {
    match args.state {
        State::Query | State::Reloaded | State::ForkRecorded => None,
        State::Started => Some(Act::Start),
        State::Stopped if args.stop_mode == StopMode::Immediate => Some(Act::StopImmediate),
        State::Stopped => Some(Act::Stop),
        State::Restarted => Some(Act::Restart),
        State::Primary if args.transition == Transition::Failover => Some(Act::Failover),
        State::Primary => Some(Act::Switchover),
        State::Standby if !node.running => Some(Act::Start),
        State::Standby => Some(Act::Follow),
    }
}

/// Plans the steps: by gs_ctl, or by cm_ctl where CM manages the server. Fills in what `present` lacks for the latter.
///
/// # Errors
/// `refused` when something else manages the server that these programs cannot command; this comes before any other error,
/// whose hint would not apply then. Else as [`plan`].
pub async fn plan_by_means(
    call: &Call,
    node: &ServerNode,
    args: &Args,
    present: &mut Present,
) -> Result<Vec<Step>, Error> {
    let planned = plan(present, args);
    let (idle, act) = relevant_act(&planned, present, args);
    let Some(act) = act else { return planned };
    let managed = if idle { node.managed_by(call, false).await } else { node.managed_for_change(call).await };
    match managed.means(act, &node.data_dir) {
        Ok(Means::Cm(target)) if !(idle && stays(present, &managed)) => {
            present.cm_target = target;
            if act == Act::Switchover {
                present.cm_view = Some(node.query_cm(call).await?);
            }
            if is_started(&present.node, args) && may_hold_more(&present.node) {
                present.peers = node.peers().await;
                present.log = node.log_position(call).await;
                present.system_id = node.system_id();
            }
        }
        Ok(Means::Own) if is_failover_in_pause(act, &managed) => {
            present.cm_view = node.query_cm(call).await.ok();
        }
        _ => {}
    }
    plan_as_managed(present, args, &managed, &node.data_dir)
}

/// Whether nothing is to be done, and the change that is asked for where CM may mind it. CM may also undo a state that needs no
/// step: it starts a stopped server that is not in manual stop, and stops a running one that is.
fn relevant_act(planned: &Result<Vec<Step>, Error>, present: &Present, args: &Args) -> (bool, Option<Act>) {
    let idle = matches!(planned, Ok(steps) if steps.is_empty());
    let act = requested_act(args, &present.node);
    (idle, act.filter(|act| !idle || matches!(act, Act::Stop | Act::StopImmediate | Act::Start)))
}

fn is_stop(act: Act) -> bool {
    matches!(act, Act::Stop | Act::StopImmediate)
}

fn is_failover_in_pause(act: Act, managed: &ManagedBy) -> bool {
    act == Act::Failover && managed.by == Manager::Cm && managed.paused
}

/// [`plan_by_means`] without its questions: pure.
///
/// # Errors
/// As [`plan_by_means`].
pub fn plan_as_managed(
    present: &Present,
    args: &Args,
    managed: &ManagedBy,
    data_dir: &Path,
) -> Result<Vec<Step>, Error> {
    let planned = plan(present, args);
    let (idle, act) = relevant_act(&planned, present, args);
    let Some(act) = act else { return planned };
    if idle && (managed.by != Manager::Cm || stays(present, managed)) {
        return planned;
    }
    if args.unattended && managed.by == Manager::Cm {
        return plan_unattended_under_cm(present, args);
    }
    match managed.means(act, data_dir) {
        Err(objection) => Err(objection.into_error()),
        Ok(Means::Own) if is_failover_in_pause(act, managed) => {
            let steps = planned?;
            refuse_failover_without_majority(present.cm_view.as_ref()).map(|()| steps)
        }
        Ok(Means::Own) if act == Act::Failover && managed.by == Manager::Cm => {
            let steps = planned?;
            refuse_failover_beside_silence(present, args).map(|()| steps)
        }
        // A server that runs in manual stop goes down, whoever stops it, and CM makes a standby primary in its place.
        Ok(Means::Own) if !managed.has_let_go() && is_stop(act) => {
            refuse_busy(&present.node, args)?;
            refuse_stop_of_primary(present, args)?;
            planned
        }
        Ok(Means::Own) => planned.and_then(|steps| refuse_guessed_role(args, managed, steps)),
        Ok(Means::Cm(_)) => plan_under_cm(present, args, managed),
    }
}

/// Plans what a unit of systemd asks for where CM runs the node, which starts and stops its servers with the machine itself: at
/// the shutdown nothing, for what cm_ctl stops stays stopped after the next start.
///
/// # Errors
/// `refused` for a start.
fn plan_unattended_under_cm(present: &Present, args: &Args) -> Result<Vec<Step>, Error> {
    if args.state == State::Stopped || present.node.running {
        return Ok(Vec::new());
    }
    Err(refuse_for_cm("openGauss CM runs this node, and starts it itself with the machine")
        .with_path("/unattended")
        .hint("leave it to CM (om_monitor starts its programs), and remove the unit that starts the node"))
}

/// Whether CM leaves the server as it is: one that does not run is held stopped or nobody starts it, and one that runs is not
/// held.
fn stays(present: &Present, managed: &ManagedBy) -> bool {
    let held = !managed.manual_start.is_empty();
    if present.node.running { !held } else { held || managed.paused }
}

/// Whether the call starts a server that does not run.
fn is_started(node: &NodeState, args: &Args) -> bool {
    !node.running && matches!(args.state, State::Started | State::Restarted | State::Standby)
}

/// Whether the server may have been a primary when it last ran: CM starts each one as pending, and may leave gaussdb.state
/// without a role.
fn may_hold_more(node: &NodeState) -> bool {
    !node.role.is_following()
}

/// Whether the server that runs may be the primary. One that says itself that it waits for its role takes no writes; of one
/// that does not answer only gaussdb.state tells, which CM may have left without a role.
fn may_lead(node: &NodeState) -> bool {
    let waits = node.answered && node.role == Role::Pending;
    node.running && !node.role.is_following() && !waits
}

/// Refuses a failover of a paused CM that has no majority: whether it is paused on the other nodes, too, cannot be told, and
/// where it is not it makes another server primary as soon as the majority is back.
fn refuse_failover_without_majority(view: Option<&CmView>) -> Result<(), Error> {
    match view.map(missing_cm_server) {
        Some(None) => Ok(()),
        missing => {
            let why =
                missing.flatten().map_or_else(|| "CM tells nothing of its servers".to_owned(), |it| it.0);
            Err(refuse_for_cm(format!("{why}: whether CM has let go of the other nodes cannot be told"))
                .with_path("/transition")
                .hint(
                    "bring the majority of CM's servers back first (om_monitor starts them), which makes a standby primary by \
                     itself once CM is resumed",
                ))
        }
    }
}

/// Refuses a failover of a cluster that was stopped as a whole, as far as this node knows, while a peer is silent: where that
/// one was cut off, the cluster may have been started again on its side, and CM makes another server primary there.
fn refuse_failover_beside_silence(present: &Present, args: &Args) -> Result<(), Error> {
    let is_silent = |peer: &&ChannelPeer| matches!(peer.found, Found::Silent(_));
    let silent: Vec<String> = present.peers.iter().filter(is_silent).map(ChannelPeer::words).collect();
    if args.force || silent.is_empty() {
        return Ok(());
    }
    let detail = format!(
        "openGauss CM is stopped here, and whether it runs the cluster elsewhere cannot be told: {}",
        silent.join(", ")
    );
    Err(refuse_for_cm(detail).with_path("/transition").hint(
        "start the cluster (cm_ctl start), and CM makes a standby primary; og failover looks at CM on all nodes; \
         force: true takes it for stopped there, too",
    ))
}

/// The steps that cm_ctl does: pure. The conditions are those of [`plan`], but that CM gives the roles.
///
/// # Errors
/// As [`plan`]; `refused` with the reason `managed_by_cm` for what CM decides.
fn plan_under_cm(present: &Present, args: &Args, managed: &ManagedBy) -> Result<Vec<Step>, Error> {
    let node = &present.node;
    let (stop, start) = (Step::Cm(CmAct::Stop(args.stop_mode)), Step::Cm(CmAct::Start));
    refuse_busy(node, args)?;
    match args.state {
        State::Query | State::Reloaded | State::ForkRecorded => plan(present, args),
        State::Primary => switch_over(present, args),
        State::Stopped => {
            refuse_stop_of_primary(present, args)?;
            Ok(vec![stop])
        }
        State::Started | State::Standby if node.running => {
            let steps = plan(present, args)?;
            // With the mark CM stops it later, or has begun to: its removal makes CM run it.
            Ok(if managed.manual_start.is_empty() { steps } else { vec![start] })
        }
        State::Started | State::Standby | State::Restarted => {
            refuse_half_built(node)?;
            refuse_chosen_role(present, args)?;
            refuse_stop_of_primary(present, args)?;
            refuse_start_of_primary(present, args)?;
            Ok(if node.running { vec![stop, start] } else { vec![start] })
        }
    }
}

fn gives_roles(what: &str) -> Error {
    refuse_for_cm(format!("openGauss CM runs this node, and its cm_server gives the roles: {what}"))
}

/// Refuses a role that cm_server may not give. That a server comes up as a standby is what it is held against afterwards.
fn refuse_chosen_role(present: &Present, args: &Args) -> Result<(), Error> {
    let hint = "leave role out; a standby becomes primary by state: primary once it runs";
    match args.role {
        None | Some(StartRole::Standby | StartRole::CascadeStandby) => Ok(()),
        Some(StartRole::Primary) if may_hold_more(&present.node) => Ok(()),
        Some(role) => {
            let role = Role::from(role);
            Err(gives_roles(&format!("none is started as {role}")).with_path("/role").hint(hint))
        }
    }
}

/// Refuses to stop what may be a primary: CM makes a standby primary in its place, without any of the conditions of a
/// switchover.
fn refuse_stop_of_primary(present: &Present, args: &Args) -> Result<(), Error> {
    if args.force || !may_lead(&present.node) || !present.has_channel {
        return Ok(());
    }
    let is = if present.node.role == Role::Primary {
        "this is the primary".to_owned()
    } else {
        format!("this may be the primary (its role is {})", present.node.role)
    };
    Err(refuse_for_cm(format!("{is}, and openGauss CM makes a standby primary as soon as it is stopped"))
        .with_path("/state")
        .hint(
            "make another node primary first (a switchover: state: primary there), then call again; \
             force: true stops it, whoever is primary afterwards",
        ))
}

/// Refuses to start what may have been a primary where another one is seen, or somebody holds more: CM rebuilds a server
/// whose log has parted by itself, and what only it holds is gone.
fn refuse_start_of_primary(present: &Present, args: &Args) -> Result<(), Error> {
    if !is_started(&present.node, args) || !may_hold_more(&present.node) {
        return Ok(());
    }
    // Pending is what CM started it as, and tells nothing of what it was.
    let is_told = |role: &Role| *role != Role::Pending;
    let seen = Present { started_as: present.started_as.filter(is_told), ..present.clone() };
    check_change(&seen, args, By::Start, true).map_err(|error| {
        error.hint(
            "copy its log aside first (og_build with state: log_kept), or use og repair with og_repair_force, which does; \
             force: true then has CM start it, which makes it a standby and rebuilds it by itself where its log has parted",
        )
    })
}

fn switch_over(present: &Present, args: &Args) -> Result<Vec<Step>, Error> {
    if present.node.running && present.node.role == Role::Pending {
        return Err(gives_roles("this server waits for its own").hint(
            "wait for it (state: query with wait); cm_ctl query -Cvidp tells whether CM has a primary cm_server",
        ));
    }
    let steps = plan(present, args).map_err(|error| match error.failure().reason {
        Some(Reason::NotStreaming) => error.hint(
            "repair it first (og_build); when the primary is lost, CM makes a standby primary by itself",
        ),
        _ => error,
    })?;
    if steps.is_empty() {
        return Ok(steps);
    }
    require_switchover_by_cm(present)?;
    Ok(vec![Step::Cm(CmAct::Switchover)])
}

/// Refuses what only a cm_server can do where none can be told, or where it would refuse it.
fn require_switchover_by_cm(present: &Present) -> Result<(), Error> {
    let Some(view) = &present.cm_view else { return Ok(()) };
    require_cm_server(view)?;
    match view.instance(present.cm_target.instance_id) {
        Some(instance) if instance.is_normal() && instance.role.is_some_and(Role::is_following) => Ok(()),
        Some(instance) => Err(refuse_for_cm(format!(
            "CM sees this server as {}, and switches over only to a standby that is Normal",
            instance.words()
        ))
        .hint(if instance.is_read_only() {
            "make room: CM makes servers read-only while a disk is fuller than datastorage_threshold_value_check (85 %) of its \
             cm_server.conf says"
        } else {
            "wait until CM sees it as it is (cm_ctl query -Cvidp), and call again"
        })),
        None => Err(refuse_for_cm(format!("CM does not list the server {}", present.cm_target.instance_id))
            .hint(
                "compare the static config of this node with the others': og_static_conf with state: query",
            )),
    }
}

/// Refuses to start a server in the role `pending` that nobody asked for: under CM the last role may be known to nobody,
/// since CM starts every server as pending and may leave gaussdb.state without one.
fn refuse_guessed_role(args: &Args, managed: &ManagedBy, steps: Vec<Step>) -> Result<Vec<Step>, Error> {
    let pending = steps.contains(&Step::Start(Some(Role::Pending)));
    if managed.by != Manager::Cm || args.role.is_some() || !pending {
        return Ok(steps);
    }
    Err(Error::refused("the server's last role is not known: openGauss CM started it as pending")
        .reason(Reason::WrongRole)
        .with_path("/role")
        .hint("say which role it is to have (role: standby, or role: primary), or have CM start it: cm_ctl resume"))
}

/// Returns what CM makes of the steps beside what was asked for.
#[must_use]
pub fn consequence(present: &Present, steps: &[Step]) -> Option<String> {
    let is_stopped = steps.iter().any(|step| matches!(step, Step::Cm(CmAct::Stop(_))));
    (is_stopped && may_lead(&present.node) && present.has_channel)
        .then(|| "CM makes a standby primary in the place of the primary that is stopped".to_owned())
}

/// Returns what should be looked at on the node as it is now.
#[must_use]
pub fn warnings(state: &NodeState, args: &Args, changed: bool) -> Vec<String> {
    let caution =
        requested_act(args, state).filter(|_| changed).and_then(|act| state.managed_by.caution(act));
    let unseen = state.tablespaces.as_ref().and_then(|found| found.warning(state.role));
    caution.into_iter().chain(unseen).collect()
}
