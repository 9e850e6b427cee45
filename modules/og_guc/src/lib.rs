//! Parameters in postgresql.conf: set, unset, looked at, and the synchronous standbys edited as a list of names.

mod args;
mod guard;
mod known;
mod list;
pub mod plan;
mod restore;
mod server;
mod spec;
mod stopped;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use og_common::{
    conf::{ConfFile, Includes},
    gauss::{
        ConfigFile, ConfigPlan, EditPolicy, Guard, NewFile, RELOAD, Role, ServerNode, Transaction, Version,
        version::Reserved,
    },
    protocol::{ArgRule, Call, Diff, Error, Example, Module, Report, secret},
};

pub use args::{Args, MethodWish, NumberWish, NumberWord, Output, ReloadPolicy, Standbys, State};
use plan::{Plan, Wanted};
use server::Facts;

/// The module.
#[derive(Debug)]
pub struct Guc;

impl Module for Guc {
    const NAME: &'static str = "og_guc";
    const ABOUT: &'static str = "Parameters in postgresql.conf";
    const TIMEOUT: u64 = 60;
    const EXAMPLES: &'static [Example] = &[
        Example {
            title: "Set two parameters, and have a running server take them",
            args: r#"{"data_dir": "/gauss/data/dn1", "parameters": {"wal_keep_segments": 64, "most_available_sync": true}}"#,
        },
        Example {
            title: "Take a dropped standby off the synchronous ones",
            args: r#"{"data_dir": "/gauss/data/dn1", "synchronous_standbys": {"remove": ["dn_6003"]}}"#,
        },
        Example {
            title: "Let any majority of these standbys confirm each commit",
            args: r#"{"data_dir": "/gauss/data/dn1", "synchronous_standbys": {"method": "any", "num": "majority", "add": ["dn_6002", "dn_6003"]}}"#,
        },
        Example {
            title: "Wait for no standby any more",
            args: r#"{"data_dir": "/gauss/data/dn1", "parameters": {"synchronous_standby_names": ""}}"#,
        },
        Example {
            title: "Go back to the default",
            args: r#"{"data_dir": "/gauss/data/dn1", "state": "absent", "names": ["max_size_for_xlog_prune"]}"#,
        },
        Example {
            title: "Bring back a copy of the file that the server refuses",
            args: r#"{"data_dir": "/gauss/data/dn1", "state": "restored", "backup_file": "/gauss/data/dn1/postgresql.conf.copy"}"#,
        },
        Example {
            title: "Look at two parameters, and whether the running server works with these values",
            args: r#"{"data_dir": "/gauss/data/dn1", "state": "query", "names": ["port", "max_connections"]}"#,
        },
    ];
    const RULES: &'static [ArgRule] = &[
        ArgRule::OnlyIf { key: "state", values: &["absent", "query"], allows: &["names"] },
        ArgRule::OnlyIf { key: "state", values: &["present"], allows: &["synchronous_standbys"] },
        ArgRule::OnlyIf { key: "state", values: &["present", "absent"], allows: &["foreseen_standbys"] },
        ArgRule::OnlyIf { key: "state", values: &["present", "absent", "restored"], allows: &["force"] },
        ArgRule::OnlyIf { key: "state", values: &["present", "absent", "query"], allows: &["parameters"] },
        ArgRule::RequiredIf { key: "state", value: "restored", needs: &["backup_file"] },
        ArgRule::OnlyIf { key: "state", values: &["restored"], allows: &["backup_file"] },
    ];
    type Args = Args;
    type Output = Output;

    async fn run(call: &Call, args: Args) -> Result<Report<Output>, Error> {
        if args.state == State::Present && args.parameters.is_empty() && args.synchronous_standbys.is_none() {
            return Err(Error::bad_args("one of parameters, synchronous_standbys is needed"));
        }
        let wanted = Wanted::from_args(&args)?;
        let node = ServerNode::from_call(call)?;
        let policy = EditPolicy {
            reload: args.reload == ReloadPolicy::Auto,
            guard: Guard::AtRest { force: args.force },
        };
        let file = ConfigFile::new_conf(&node, policy);
        if args.state == State::Restored {
            return restore::restore(call, &node, &file, &args).await;
        }
        if args.state == State::Query {
            let conf = file.parse(&file.read()?)?;
            return Ok(query(call, &node, (&conf, file.path()), &wanted, &args.names).await);
        }
        let plan = async |text: Option<Vec<u8>>| {
            let text = text.unwrap_or_default();
            let conf = file.parse(&text)?;
            let plan = plan::plan(&conf, &wanted)?;
            Ok(Planned { text, conf, plan })
        };
        let (transaction, planned) = file.begin(call, || file.read().map(Some), plan).await?;
        if planned.is_empty() {
            return report_unchanged(call, &node, file.path(), transaction, planned).await;
        }
        apply_change(call, &node, &file, (transaction, planned), &wanted, &args).await
    }
}

/// The file as it is, and what is to become of it.
struct Planned {
    text: Vec<u8>,
    conf: ConfFile,
    plan: Plan,
}

impl ConfigPlan for Planned {
    fn text(&self) -> Option<&[u8]> {
        Some(&self.text)
    }

    fn is_empty(&self) -> bool {
        self.plan.changed.is_empty()
    }
}

async fn query(
    call: &Call,
    node: &ServerNode,
    (conf, path): (&ConfFile, &Path),
    wanted: &Wanted,
    names: &[String],
) -> Report<Output> {
    let values = plan::current_values(conf, wanted);
    let mut warnings = plan::file_warnings(conf, values.keys());
    warnings.extend(included_overrides(path, conf, values.keys()));
    let mut output = Output { before: values.clone(), after: values, ..Output::default() };
    if node.running_pid().is_some() {
        let asked: Vec<String> = output.after.keys().cloned().collect();
        match Facts::from_server(node, call, &asked).await {
            Ok(facts) => {
                output.pending = facts.pending_restart(&output.after);
                output.restart_required =
                    output.pending.iter().filter(|name| facts.needs_restart(name)).cloned().collect();
                output.running = facts.running_values(names);
            }
            Err(error) => warnings.push(format!("the server could not be asked for its values: {error}")),
        }
    }
    let set = output.after.values().flatten().count();
    output.before = mask_values(output.before);
    output.after = mask_values(output.after);
    let what = if set == 1 { "1 parameter is".to_owned() } else { format!("{set} parameters are") };
    Report::unchanged(format!("{what} set in {}", path.display()), output).with_warnings(warnings)
}

/// Nothing in the file is to be done; but a call that was cut short may have left the reload undone.
async fn report_unchanged(
    call: &Call,
    node: &ServerNode,
    path: &Path,
    transaction: Transaction<'_>,
    Planned { plan, .. }: Planned,
) -> Result<Report<Output>, Error> {
    let mut warnings = plan.warnings;
    warnings.extend(included_overrides(path, &plan.file, plan.before.keys()));
    let mut output = Output::default();
    // The call that wrote it may have been made before the server's restart, and the restart not.
    let late = |(name, _): &(&String, _)| known::needs_restart(name);
    let late: BTreeMap<_, _> = plan.after.iter().filter(late).map(|(n, v)| (n.clone(), v.clone())).collect();
    if !late.is_empty() && node.running_pid().is_some() {
        match Facts::from_server(node, call, &late.keys().cloned().collect::<Vec<_>>()).await {
            Ok(facts) => {
                output.pending = facts.pending_restart(&late);
                output.restart_required.clone_from(&output.pending);
            }
            Err(error) => warnings.push(format!("the server could not be asked for its values: {error}")),
        }
    }
    (output.before, output.after) = (mask_values(plan.before), mask_values(plan.after));
    if !transaction.has_deferred_reload(call) {
        return Ok(Report::unchanged("nothing to change", output).with_warnings(warnings));
    }
    let mut actions = vec!["reload the server, which an interrupted call left undone".to_owned()];
    if !call.check {
        let saved = transaction.settle_reload(call).await?;
        output.reloaded = saved.reloaded;
        actions = saved.actions;
        warnings.extend(saved.warnings);
    }
    Ok(Report::new(actions, "the server was told of a change made before", output).with_warnings(warnings))
}

async fn apply_change(
    call: &Call,
    node: &ServerNode,
    file: &ConfigFile<'_>,
    (transaction, Planned { text: old, conf, mut plan }): (Transaction<'_>, Planned),
    wanted: &Wanted,
    args: &Args,
) -> Result<Report<Output>, Error> {
    let reload = args.reload == ReloadPolicy::Auto;
    let running = node.running_pid().is_some();
    let mut warnings = std::mem::take(&mut plan.warnings);
    warnings.extend(included_overrides(file.path(), &plan.file, plan.before.keys()));
    guard::check_release(call, node, &plan, args.force).await?;
    warnings.extend(guard::check(call, node, &conf, &plan, (reload, args)).await?);
    let mut facts = None;
    if running {
        match Facts::from_server(node, call, &plan.changed).await {
            Ok(known) => facts = Some(known),
            Err(error) => {
                warnings.push(format!("the server could not be asked about the parameters: {error}"));
            }
        }
    }
    if let Some(facts) = &facts {
        facts.check(node, call, wanted).await?;
    }
    warnings.extend(overwrite_warning(node, call, &plan.changed).await);
    let needs_restart = |name: &str| match &facts {
        Some(facts) => facts.needs_restart(name),
        None => known::needs_restart(name),
    };
    let mut restart: BTreeSet<String> =
        plan.changed.iter().filter(|name| needs_restart(name)).cloned().collect();
    let text = plan.file.to_bytes();
    if !running {
        warnings.extend(stopped::check(call, node, (&text, &plan.changed), wanted, args.force).await?);
    }
    let diff = call.diff.then(|| Diff::new(file.path(), &old, &text));
    let msg = summary(call, &plan.changed, file.path());
    let mut output =
        Output { before: mask_values(plan.before), after: mask_values(plan.after), ..Output::default() };
    let mut actions = plan.actions;
    let mut backup_file = None;
    if call.check {
        if running && reload {
            actions.push(RELOAD.into());
        }
        output.pending = restart.iter().filter(|_| running).cloned().collect();
    } else {
        call.record_output(&output);
        let (names, backup) = (&plan.changed, args.backup);
        let new = NewFile { old: Some(&old), new: &text, names, actions: &actions, backup };
        let saved = transaction.commit(call, new).await?;
        restart.extend(saved.restart);
        output.reloaded = saved.reloaded;
        actions.extend(saved.actions);
        warnings.extend(saved.warnings);
        backup_file = saved.backup_file;
        if running && output.reloaded {
            output.pending = restart.iter().cloned().collect();
        } else if running {
            output.pending.clone_from(&plan.changed);
        }
    }
    output.restart_required = restart.into_iter().collect();
    let mut report = Report::new(actions, msg, output).with_diff(diff).with_warnings(warnings);
    report.backup_file = backup_file;
    Ok(report)
}

/// The values as they may be shown.
fn mask_values(values: BTreeMap<String, Option<String>>) -> BTreeMap<String, Option<String>> {
    let mask = |(name, value): (String, Option<String>)| {
        let shown = value.map(|value| secret::mask_value(&name, &value).into_owned());
        (name, shown)
    };
    values.into_iter().map(mask).collect()
}

fn summary(call: &Call, changed: &[String], path: &Path) -> String {
    let verb = if call.check { "would change" } else { "changed" };
    format!("{verb} {} in {}", changed.join(", "), path.display())
}

/// What an included file sets again, so that the value in the node's own file does not count.
fn included_overrides<'a>(
    path: &Path,
    file: &ConfFile,
    names: impl Iterator<Item = &'a String>,
) -> Vec<String> {
    if file.includes().next().is_none() {
        return Vec::new();
    }
    let found = Includes::read(file, path);
    let again = |name: &String| {
        let included = found.find_override(file, name)?;
        Some(format!(
            "{name} is set in {} line {}, which line {} includes: that value counts, and not this file's",
            included.path.display(),
            included.setting.line,
            included.directive
        ))
    };
    names.filter_map(again).chain(found.problems.clone()).collect()
}

/// A standby's file is replaced by its primary's, but for the reserved parameters.
async fn overwrite_warning(node: &ServerNode, call: &Call, changed: &[String]) -> Option<String> {
    let role = node.state_file().map_or(Role::Unknown, |state| state.role);
    if !role.is_following() {
        return None;
    }
    let mut lost: Vec<&str> = Vec::new();
    for name in changed {
        let lower = name.to_ascii_lowercase();
        let reserved = match Version::reserves_in_any(&lower) {
            Reserved::Always => true,
            Reserved::Never => false,
            Reserved::Depends => node.version(call).await.is_some_and(|release| release.reserves(&lower)),
        };
        if !reserved {
            lost.push(name);
        }
    }
    if lost.is_empty() {
        return None;
    }
    Some(format!(
        "this node is a {role}: its primary's postgresql.conf overwrites {} here at the primary's next reload, or when \
         this node connects to it again; set it on the primary",
        lost.join(", ")
    ))
}
