//! Builds of a node that somebody else is in charge of.

use og_common::gauss::cm_ctl::require_cm_server;
use og_common::gauss::cm_query::CmView;
use og_common::gauss::managed::{Act, CmTarget, Means, refuse_for_cm};
use og_common::gauss::{BuildMode, Role, ServerNode};
use og_common::protocol::{Call, Error};

use crate::args::{Args, Mode};
use crate::plan::Plan;

/// Returns the plan by the means that serve: gs_ctl where nobody else is in charge of the server, cm_ctl where CM is.
///
/// # Errors
/// `refused` when somebody is in charge who cannot be told, whatever other reason there is against the plan: what that error advises
/// is not ours to do. Else that of the plan, or as [`plan_under_cm`].
pub async fn plan_by_means(
    call: &Call,
    node: &ServerNode,
    args: &Args,
    planned: Result<Option<Plan>, Error>,
) -> Result<Option<Plan>, Error> {
    if matches!(planned, Ok(None)) {
        return planned;
    }
    let act = if args.mode == Mode::Full { Act::BuildFull } else { Act::Build };
    let managed = node.managed_for_change(call).await;
    let means =
        managed.means(act, &node.data_dir).map_err(og_common::gauss::managed::Objection::into_error)?;
    match (means, planned?) {
        (Means::Cm(target), Some(plan)) => {
            let view = node.query_cm(call).await?;
            plan_under_cm(plan, args, target, &view).map(Some)
        }
        (_, plan) => Ok(plan),
    }
}

/// The plan where CM builds: pure.
///
/// # Errors
/// `refused` with the reason `managed_by_cm` for what CM cannot do.
pub fn plan_under_cm(plan: Plan, args: &Args, target: CmTarget, view: &CmView) -> Result<Plan, Error> {
    if plan.mode == BuildMode::Incremental {
        return Err(refuse_for_cm(
            "openGauss CM runs this node, and cm_ctl build has no incremental build alone",
        )
        .with_path("/mode")
        .hint("use mode: auto, which is incremental where that serves, or full"));
    }
    // The live role does not count: CM knows a standby that is pending, or of unknown role, by its static config.
    let configured = view.instance(target.instance_id).map(|seen| match seen.static_role {
        Role::CascadeStandby => Role::CascadeStandby,
        _ => Role::Standby,
    });
    if args.role.is_some() && configured.is_some_and(|role| role != plan.role) {
        return Err(refuse_for_cm(format!(
            "openGauss CM runs this node, and its static config gives the role: the node cannot be built as {}",
            plan.role
        ))
        .with_path("/role")
        .hint("leave role out"));
    }
    require_cm_server(view)?;
    match view.instance(target.instance_id) {
        Some(seen) if seen.is_disk_damaged() => Err(refuse_for_cm(
            "CM sees the data directory as damaged, and does not build into it",
        )
        .hint(
            "mount it, or make a new one (gs_initdb) while the server is in manual stop (state: stopped): \
                 CM builds it by itself when it is started",
        )),
        _ => Ok(Plan { means: Means::Cm(target), ..plan }),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;
    use og_common::protocol::Reason;

    fn planned(mode: BuildMode, args: serde_json::Value, view: &str) -> Result<Plan, Error> {
        let args: Args = serde_json::from_value(args).unwrap();
        let role = args.role.map_or(Role::Standby, Role::from);
        let plan = Plan { mode, role, node_name: None, means: Means::Own };
        let target = CmTarget { node_id: 3, instance_id: 6003, data_dir: "/data".into() };
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/vectors/cm/query");
        let text = std::fs::read_to_string(format!("{folder}/{view}.txt")).unwrap();
        plan_under_cm(plan, &args, target, &CmView::parse(&text).unwrap())
    }

    const NORMAL: &str = "5.0.3-e_cm_ctl-build-0";

    #[test]
    fn the_static_role_counts_whatever_the_server_is() {
        // Of a server that is Pending or unknown to SQL CM knows the role all the same.
        for view in ["5.0.3-g_pause-stop_standby-0", NORMAL] {
            assert!(planned(BuildMode::Full, json!({"role": "standby"}), view).is_ok(), "{view}");
            let error = planned(BuildMode::Full, json!({"role": "cascade_standby"}), view).unwrap_err();
            assert_eq!(error.failure().reason, Some(Reason::ManagedByCm), "{error}");
        }
    }

    #[test]
    fn cm_builds_what_it_can() {
        let auto = planned(BuildMode::Auto, json!({}), NORMAL).unwrap();
        assert_eq!(
            auto.describe(),
            "build the node as standby incrementally where that serves, else in full by CM (cm_ctl build)"
        );
        assert!(matches!(auto.means, Means::Cm(target) if target.node_id == 3));
        assert!(planned(BuildMode::Full, json!({"mode": "full", "role": "standby"}), NORMAL).is_ok());
    }

    #[test]
    fn what_cm_cannot_build_is_refused() {
        let refused = |mode, args, view| {
            let error = planned(mode, args, view).unwrap_err();
            assert_eq!(error.failure().reason, Some(Reason::ManagedByCm), "{error}");
            error.to_string()
        };
        let words = refused(BuildMode::Incremental, json!({"mode": "incremental"}), NORMAL);
        assert!(words.contains("no incremental build alone"), "{words}");
        let words = refused(BuildMode::Full, json!({"role": "cascade_standby"}), NORMAL);
        assert!(words.contains("cannot be built as cascade_standby"), "{words}");
        let words = refused(BuildMode::Full, json!({}), "5.0.3-j_wiped-cm_ctl_build-before");
        assert!(words.contains("sees the data directory as damaged"), "{words}");
        let words = refused(BuildMode::Full, json!({}), "5.0.3-i_quorum-query_on_dead_node");
        assert!(words.contains("no majority"), "{words}");
    }
}
