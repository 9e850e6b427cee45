//! Client authentication rules in pg_hba.conf: rules as values, lines untouched, and a server that is seen to have
//! taken them.

pub mod args;
mod guard;
mod locate;
pub mod output;
pub mod plan;
pub mod rules;

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use og_common::gauss::{ConfigFile, ConfigPlan, EditPolicy, Guard, NewFile, RELOAD, Saved, ServerNode};
use og_common::hba::{self, Connection, HbaFile, Refusal, Route, Surroundings, initial_user, limit_of_trust};
use og_common::protocol::{self, ArgRule, Call, Diff, Error, Example, Module, Report};

use args::{Args, Insert, Match, ReloadPolicy, RuleArg, State, Type};
use output::{Entry, Output, Update};
use plan::{Goal, Numbered, Place, Plan};
use rules::Wanted;

/// The module `og_hba`.
#[derive(Debug)]
pub struct Hba;

impl Module for Hba {
    const NAME: &'static str = "og_hba";
    const ABOUT: &'static str = "Client authentication rules in pg_hba.conf";
    const TIMEOUT: u64 = 60;
    const EXAMPLES: &'static [Example] = &[
        Example {
            title: "Let a new standby in, on every member",
            args: r#"{"data_dir": "/data/dn1", "rules": [{"users": "omm", "address": "192.168.0.12", "method": "trust"}, "host all all 192.168.0.12/32 sha256"]}"#,
        },
        Example {
            title: "Take away all rules for one address, and only that address",
            args: r#"{"data_dir": "/data/dn1", "state": "absent", "rules": [{"address": "192.168.0.12/32"}]}"#,
        },
        Example {
            title: "Which line decides this connection?",
            args: r#"{"data_dir": "/data/dn1", "state": "query", "match": {"user": "app", "database": "shop", "address": "10.1.2.3"}}"#,
        },
        Example {
            title: "These rules and no others; comments stay; say what would change",
            args: r#"{"data_dir": "/data/dn1", "state": "exact", "rules": ["local all all trust", "host all all 127.0.0.1/32 trust", "host all all 10.0.0.0/8 sha256"], "check_mode": true, "diff": true}"#,
        },
        Example {
            title: "A rule at a place of its own",
            args: r#"{"data_dir": "/data/dn1", "rules": ["host all evil 10.0.0.0/8 reject"], "insert": {"before": {"address": "10.0.0.0/8"}}, "backup": true}"#,
        },
    ];
    const RULES: &'static [ArgRule] = &[
        ArgRule::RequiredIf { key: "state", value: "present", needs: &["rules"] },
        ArgRule::RequiredIf { key: "state", value: "absent", needs: &["rules"] },
        ArgRule::RequiredIf { key: "state", value: "exact", needs: &["rules"] },
        ArgRule::OnlyIf { key: "state", values: &["present", "absent", "exact"], allows: &["rules"] },
        ArgRule::OnlyIf { key: "state", values: &["present"], allows: &["insert"] },
        ArgRule::OnlyIf { key: "state", values: &["present", "exact"], allows: &["create"] },
        ArgRule::OnlyIf { key: "state", values: &["query"], allows: &["match"] },
    ];
    type Args = Args;
    type Output = Output;

    fn anchor(args: &Args) -> Option<&Path> {
        args.path.as_deref().map(existing_path)
    }

    async fn run(call: &Call, args: Args) -> Result<Report<Output>, Error> {
        let target = Target::from_args(call, &args)?;
        let Some(goal) = parse_goal(&args)? else { return query(&target, args.probe.as_ref()) };
        let create = args.create || args.state == State::Exact;
        let file = target.config_file(args.reload, args.force);
        let plan = async |text| Seen::new(&target, text, &goal);
        let (transaction, seen) = file.begin(call, || target.read_or_none(create), plan).await?;
        let mut warnings = seen.plan.warnings.clone();
        let rules = check(&target, &seen, args.force, &mut warnings)?;
        let mut report = report(&target, &seen.plan, rules, warnings, call.check);
        if !seen.exists && !seen.plan.is_empty() {
            report.actions.insert(0, format!("create {}", target.path.display()));
        }
        let plan = &seen.plan;
        if plan.is_empty() {
            if transaction.has_deferred_reload(call) {
                report.changed = true;
                report.msg.push_str("; the server has yet to read it");
                if call.check {
                    report.actions.push(RELOAD.to_owned());
                } else {
                    add_saved(transaction.settle_reload(call).await?, &mut report);
                }
            }
            return Ok(report);
        }
        let (old, new) = (seen.text(), plan.after.as_ref().map(HbaFile::bytes).unwrap_or_default());
        if call.diff {
            report.diff.push(Diff::new(&target.path, old.unwrap_or_default(), new));
        }
        if call.check {
            report.actions.extend(file.server().map(|_| RELOAD.to_owned()));
            return Ok(report);
        }
        call.record_output(&report.output);
        let actions = report.actions.clone();
        let new = NewFile { old, new, names: &[], actions: &actions, backup: args.backup };
        add_saved(transaction.commit(call, new).await?, &mut report);
        Ok(report)
    }
}

/// Adds what came of writing the file and of the reload to the report.
fn add_saved(saved: Saved, report: &mut Report<Output>) {
    report.backup_file = saved.backup_file;
    report.output.reloaded = saved.reloaded;
    report.warnings.extend(saved.warnings);
    report.actions.extend(saved.actions);
}

/// The file, or, where it is yet to be made, the folder it goes to.
fn existing_path(path: &Path) -> &Path {
    if path.exists() { path } else { path.parent().unwrap_or(path) }
}

/// The file, and the node whose server reads it.
struct Target {
    path: PathBuf,
    /// None when only a path was given.
    node: Option<ServerNode>,
    /// The database's initial user, who must get in through the local socket.
    user: Option<String>,
}

impl Target {
    fn from_args(call: &Call, args: &Args) -> Result<Self, Error> {
        let (path, node) = match &args.path {
            Some(path) if !path.is_absolute() => {
                let detail = format!("path must be absolute, not {}", path.display());
                return Err(Error::bad_args(detail).with_path("/path"));
            }
            Some(path) if call.common.data_dir.is_none() => (path.clone(), None),
            Some(path) => (path.clone(), Some(ServerNode::from_call(call)?)),
            None => {
                let node = ServerNode::from_call(call)?;
                (locate::hba_file(&node)?, Some(node))
            }
        };
        let owned = node.as_ref().map_or(existing_path(&path), |n| n.data_dir.as_path());
        let user = call.common.os_user.clone().or_else(|| initial_user(owned));
        Ok(Self { path, node, user })
    }

    /// The file as one that is changed.
    fn config_file(&self, reload: ReloadPolicy, force: bool) -> ConfigFile<'_> {
        let policy = EditPolicy { reload: reload == ReloadPolicy::Auto, guard: Guard::AtRest { force } };
        ConfigFile::new_hba(self.path.clone(), self.node.as_ref(), policy)
    }

    fn read(&self) -> Result<Vec<u8>, Error> {
        self.config_file(ReloadPolicy::Never, false).read().map_err(|e| match e.kind() {
            protocol::ErrorKind::NotFound => {
                e.hint("state: exact makes the file, and so does state: present with create: true")
            }
            _ => e,
        })
    }

    /// The file's text; `None` when there is none and it shall be made.
    fn read_or_none(&self, create: bool) -> Result<Option<Vec<u8>>, Error> {
        match self.read() {
            Err(e) if create && e.kind() == protocol::ErrorKind::NotFound && !self.path.is_symlink() => {
                match self.path.parent() {
                    Some(folder) if !folder.is_dir() => {
                        Err(e.hint("there is no such folder: correct the path"))
                    }
                    _ => Ok(None),
                }
            }
            read => read.map(Some),
        }
    }

    /// What `@file` and `samehost` stand for here, in the file and in these rules.
    fn surroundings(&self, file: &HbaFile, wanted: &[Wanted]) -> Surroundings {
        let rules: Vec<&hba::HbaRule> = wanted.iter().map(|one| &one.rule).collect();
        Surroundings::new(file, &rules, self.path.parent().unwrap_or(Path::new("/")))
    }
}

/// The file as it is, and what is to become of it.
struct Seen {
    /// Whether there is a file.
    exists: bool,
    file: HbaFile,
    around: Surroundings,
    plan: Plan,
}

impl Seen {
    fn new(target: &Target, text: Option<Vec<u8>>, goal: &Goal) -> Result<Self, Error> {
        let exists = text.is_some();
        let file = HbaFile::from_bytes(text.unwrap_or_default());
        let around = target.surroundings(&file, goal.wanted());
        let plan = plan::plan(&file, goal, &around)?;
        Ok(Self { exists, file, around, plan })
    }
}

impl ConfigPlan for Seen {
    fn text(&self) -> Option<&[u8]> {
        self.exists.then(|| self.file.bytes())
    }

    fn is_empty(&self) -> bool {
        self.plan.is_empty()
    }
}

/// The goal that the arguments describe; none for a query.
fn parse_goal(args: &Args) -> Result<Option<Goal>, Error> {
    let place = match &args.insert {
        Insert::Auto => Place::Auto,
        Insert::First => Place::First,
        Insert::Last => Place::Last,
        Insert::Before(rule) => Place::Before(rule.pattern("/insert/before")?),
        Insert::After(rule) => Place::After(rule.pattern("/insert/after")?),
    };
    let rules = &args.rules.0;
    Ok(match args.state {
        State::Present => Some(Goal::Present(read_rules(rules, RuleArg::wanted)?, place)),
        State::Absent => Some(Goal::Absent(read_rules(rules, RuleArg::pattern)?)),
        State::Exact => Some(Goal::Exact(read_rules(rules, RuleArg::wanted)?)),
        State::Query => None,
    })
}

/// Reads each rule, telling it its place in the arguments.
fn read_rules<T>(
    rules: &[RuleArg],
    read: impl Fn(&RuleArg, &str) -> Result<T, Error>,
) -> Result<Vec<T>, Error> {
    rules.iter().enumerate().map(|(n, rule)| read(rule, &format!("/rules/{n}"))).collect()
}

/// Checks the new file by the server's own rules and ours, and returns how many rules it has.
fn check(target: &Target, seen: &Seen, force: bool, warnings: &mut Vec<String>) -> Result<usize, Error> {
    let Seen { file, around, plan, exists } = seen;
    let Some(after) = &plan.after else {
        warnings.extend(describe_refusals(target, &file.refusals(around)));
        warnings.extend(guard::check_strangers(target, file, plan, force)?);
        return Ok(file.rule_count());
    };
    if let Some(first) = after.refusals(around).first() {
        if first.line == 0 {
            let detail =
                format!("{} would be left without any rule, which the server refuses", target.path.display());
            return Err(Error::refused(detail)
                .with_path(target.path.display())
                .hint("give at least one rule"));
        }
        return Err(refused_file_error(target, seen, first));
    }
    for rule in plan.added.iter().chain(plan.updated.iter().map(|(_, now)| now)) {
        if let Some(method) = rule.rule.as_ref().map(|r| r.method).filter(|m| m.depends_on_build()) {
            warnings.push(format!(
                "line {}: {} is known only to servers built with it; any other refuses the whole file",
                rule.number,
                method.as_str()
            ));
        }
    }
    warnings.extend(guard::check_strangers(target, after, plan, force)?);
    if let Some(user) = &target.user {
        if !exists {
            warnings.extend(guard::check_own_user_in_new_file(user, after, around));
        } else if !force {
            warnings.extend(guard::check_own_user(target, user, file, after, around)?);
        }
    }
    Ok(after.rule_count())
}

/// The error for a new file that the server would refuse.
fn refused_file_error(target: &Target, seen: &Seen, refusal: &Refusal) -> Error {
    let path = target.path.display();
    if let Some(line) = seen.plan.added.iter().find(|a| a.number == refusal.line) {
        return Error::bad_args(format!("{}: {}", line.text, refusal.message)).with_path("/rules");
    }
    // It was there before; say where in the file as it is.
    let first = seen.file.refusals(&seen.around).into_iter().next().unwrap_or_else(|| refusal.clone());
    Error::corrupt(format!("{path}, {first}: the server refuses the whole file for it"))
        .with_path(path)
        .hint("mend or remove that line, or set all rules with state: exact; nothing was written")
}

/// Warnings about what the server would refuse in a file that stays as it is.
fn describe_refusals(target: &Target, refusals: &[Refusal]) -> Vec<String> {
    const MAX_SHOWN_LINES: usize = 5;
    let path = target.path.display();
    let mut warnings: Vec<String> = refusals
        .iter()
        .take(MAX_SHOWN_LINES)
        .map(|r| format!("{path}, {r}: the server refuses the whole file at its next reload or start"))
        .collect();
    if refusals.len() > MAX_SHOWN_LINES {
        warnings.push(format!("{path}: {} more such lines", refusals.len() - MAX_SHOWN_LINES));
    }
    warnings
}

fn report(target: &Target, plan: &Plan, rules: usize, warnings: Vec<String>, check: bool) -> Report<Output> {
    let path = target.path.display();
    let mut actions: Vec<String> = Vec::new();
    actions.extend(plan.removed.iter().map(|l| format!("remove line {}: {}", l.number, l.text)));
    actions.extend(plan.updated.iter().map(|(was, now)| {
        if was.text == now.text {
            format!("move line {} to line {}: {}", was.number, now.number, now.text)
        } else {
            format!("change line {}: {} (was: {})", now.number, now.text, was.text)
        }
    }));
    actions.extend(plan.added.iter().map(|l| format!("add line {}: {}", l.number, l.text)));
    let output = Output {
        path: path.to_string(),
        rule_count: rules,
        added: plan.added.iter().map(Entry::from).collect(),
        removed: plan.removed.iter().map(Entry::from).collect(),
        updated: plan
            .updated
            .iter()
            .map(|(was, now)| Update { now: Entry::from(now), before: Entry::from(was) })
            .collect(),
        ..Output::default()
    };
    let msg = if plan.is_empty() {
        format!("{path} is as wanted")
    } else {
        let done = if check { "would be " } else { "" };
        let (added, removed, updated) = (plan.added.len(), plan.removed.len(), plan.updated.len());
        format!("{path}: {added} {done}added, {removed} {done}removed, {updated} {done}changed")
    };
    Report::new(actions, msg, output).with_warnings(warnings)
}

fn query(target: &Target, probe: Option<&Match>) -> Result<Report<Output>, Error> {
    let file = HbaFile::from_bytes(target.read()?);
    let around = target.surroundings(&file, &[]);
    let refusals = file.refusals(&around);
    let mut warnings = describe_refusals(target, &refusals);
    warnings.extend(guard::check_strangers(target, &file, &Plan::default(), false)?);
    let initial = target.user.as_deref();
    let matched = probe.map(|probe| decide(&file, &around, probe, initial, &mut warnings)).transpose()?;
    let rules: Vec<Entry> =
        file.briefs().map(|(index, _)| Entry::from(&Numbered::from_line(&file, index))).collect();
    warnings.extend(rules.iter().filter(|entry| entry.rule.is_none()).map(|entry| {
        format!(
            "line {} holds bytes that are not UTF-8: it cannot be given as fields, only be edited by hand",
            entry.line
        )
    }));
    let path = target.path.display();
    let msg = match &matched {
        None if rules.len() == 1 => format!("{path} has one rule"),
        None => format!("{path} has {} rules", rules.len()),
        Some(None) => format!("{path}: no line is for this connection, so the server refuses it"),
        Some(Some(entry)) => format!("{path}: line {} decides: {}", entry.line, entry.text),
    };
    let output = Output {
        path: path.to_string(),
        rule_count: rules.len(),
        rules: Some(rules),
        errors: Some(refusals),
        matched,
        ..Output::default()
    };
    Ok(Report::unchanged(msg, output).with_warnings(warnings))
}

/// The client that a rule's address stands for, when it is one alone.
fn single_client(address: &str) -> Option<IpAddr> {
    let (ip, bits) = address.split_once('/').map_or((address, None), |(ip, bits)| (ip, Some(bits)));
    let ip = hba::parse_whole_ip(ip)?;
    let all = if ip.is_ipv4() { "32" } else { "128" };
    bits.is_none_or(|bits| bits == all).then_some(ip)
}

/// The line that decides the connection asked about.
fn decide(
    file: &HbaFile,
    around: &Surroundings,
    probe: &Match,
    initial: Option<&str>,
    warnings: &mut Vec<String>,
) -> Result<Option<Entry>, Error> {
    let default = if probe.address.is_some() { Type::Host } else { Type::Local };
    let route = match (probe.kind.unwrap_or(default), probe.address.as_deref()) {
        (Type::Local, None) => Route::Local,
        (Type::Local, Some(_)) => {
            return Err(Error::bad_args("/match/address: a local connection has no address")
                .with_path("/match/address"));
        }
        (_, None) => {
            return Err(Error::bad_args("/match/address: is missing").with_path("/match/address"));
        }
        (kind, Some(address)) => {
            let client = single_client(address.trim()).ok_or_else(|| {
                Error::bad_args(format!("/match/address: \"{address}\" is not the address of one client"))
                    .with_path("/match/address")
                    .hint("give an IP address, such as 10.0.0.5 or 10.0.0.5/32")
            })?;
            Route::Tcp { client, ssl: kind == Type::HostSsl }
        }
    };
    let connection = Connection {
        route,
        database: probe.database.as_bytes(),
        user: probe.user.as_bytes(),
        replication: probe.replication,
    };
    let decision = file.decide(&connection, around);
    for (line, why) in &decision.unknown {
        warnings.push(format!(
            "line {} may decide before: only the server knows {why}: {}",
            file.number(*line),
            file.masked_text(*line)
        ));
    }
    let Some(line) = decision.line else { return Ok(None) };
    if let Some(rule) = file.rule(line)
        && let Some(limit) = limit_of_trust(&rule, &connection, initial)
    {
        warnings.push(format!("line {} decides, but {limit}", file.number(line)));
    }
    Ok(Some(Entry::from(&Numbered::from_line(file, line))))
}

#[cfg(test)]
mod tests;
