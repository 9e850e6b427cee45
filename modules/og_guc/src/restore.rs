//! A copy of postgresql.conf brought back on a node whose server does not run.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use og_common::{
    conf::{ConfFile, Setting, is_same_value},
    files::{self, NodeLock},
    gauss::{ConfigFile, ConfigPlan, NewFile, ServerNode, Trial},
    protocol::{Call, Diff, Error, ErrorKind, Report, secret},
};

use crate::{Args, Output, mask_values};

/// What each node has of its own: a copy with another value is another node's, or older than the node's present place.
const NODE_PARAMETERS: [&str; 3] = ["port", "application_name", "pgxc_node_name"];
/// For whom and for what commits wait: an older copy may have a primary acknowledge alone what the cluster waits for by now.
const COMMIT_PARAMETERS: [&str; 5] =
    ["synchronous_standby_names", "synchronous_commit", "most_available_sync", "fsync", "full_page_writes"];

/// The file as it is.
struct Present {
    /// Its text, where there is one.
    text: Option<Vec<u8>>,
    /// Whether it is the copy already.
    is_copy: bool,
}

impl ConfigPlan for Present {
    fn text(&self) -> Option<&[u8]> {
        self.text.as_deref()
    }

    fn is_empty(&self) -> bool {
        self.is_copy
    }
}

/// Puts the copy in the file's place; the old file is kept beside it.
///
/// # Errors
/// Those of reading either file; `corrupt` when the copy has a line that the server does not understand; `refused` while the
/// server runs, and, unless `force`, when the server would not start with the copy, would start without it, or the copy is
/// another node's or changes for whom commits wait.
pub async fn restore(
    call: &Call,
    node: &ServerNode,
    file: &ConfigFile<'_>,
    args: &Args,
) -> Result<Report<Output>, Error> {
    let copy = args.backup_file.as_deref().unwrap_or(Path::new(""));
    if !copy.is_absolute() {
        let detail = format!("{} is no absolute path", copy.display());
        return Err(Error::bad_args(detail).with_path("/backup_file"));
    }
    require_stopped(node)?;
    let new = files::read(copy)?;
    secret::register_named(&String::from_utf8_lossy(&new));
    let wanted = ConfFile::parse(&new).require_valid(copy)?;
    let read = || match file.read() {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    };
    // Keeps the other programs of the suite from starting the server meanwhile.
    let _lock = if call.check { None } else { Some(NodeLock::acquire(&node.data_dir, call).await?) };
    let plan = async |text: Option<Vec<u8>>| {
        let is_copy = text.as_deref() == Some(&new);
        Ok(Present { text, is_copy })
    };
    let (transaction, Present { text: old, is_copy }) = file.begin(call, read, plan).await?;
    if is_copy {
        let msg = format!("{} is as {}", file.path().display(), copy.display());
        return Ok(Report::unchanged(msg, Output::default()));
    }
    require_stopped(node)?;
    // Of a broken file the lines that are well count.
    let before = ConfFile::parse(old.as_deref().unwrap_or_default());
    let mut warnings = Vec::new();
    check_own(&before, &wanted, copy).or_else(|error| pass_when_forced(error, args.force, &mut warnings))?;
    if let Some(old) = old.as_deref().filter(|_| !args.force)
        && node.try_conf(call, old).await == Trial::Good
    {
        return Err(Error::refused(format!(
            "the server would start with {} as it is",
            file.path().display()
        ))
        .with_path("/state")
        .hint("start it; force: true brings the copy back all the same"));
    }
    match node.try_conf(call, &new).await {
        Trial::Good => {}
        // It is tried from standard input, where the server does not find what the file includes.
        Trial::Bad(words) if wanted.includes().next().is_some() => {
            warnings.push(format!(
                "whether the server would start with it was not checked: {}",
                words.join("; ")
            ));
        }
        Trial::Bad(words) => {
            let detail = format!("the server would not start with {}: {}", copy.display(), words.join("; "));
            let error = Error::refused(detail)
                .with_path("/backup_file")
                .hint("name another copy, or correct this one");
            pass_when_forced(error, args.force, &mut warnings)?;
        }
        Trial::Unseen(why) => {
            warnings.push(format!("whether the server would start with it was not checked: {why}"));
        }
    }
    let (before, after) = differing_values(&before, &wanted);
    let (before, after) = (mask_values(before), mask_values(after));
    let actions = vec![format!("put {} in the place of {}", copy.display(), file.path().display())];
    let diff = call.diff.then(|| Diff::new(file.path(), old.as_deref().unwrap_or_default(), &new));
    let verb = if call.check { "would bring" } else { "brought" };
    let msg = format!("{verb} {} back as {}", copy.display(), file.path().display());
    let output = Output { before, after, ..Output::default() };
    let mut backup_file = None;
    if !call.check {
        require_stopped(node)?;
        call.record_output(&output);
        let new =
            NewFile { old: old.as_deref(), new: &new, names: &[], actions: &actions, backup: old.is_some() };
        let saved = transaction.commit(call, new).await?;
        warnings.extend(saved.warnings);
        backup_file = saved.backup_file;
    }
    let mut report = Report::new(actions, msg, output).with_diff(diff).with_warnings(warnings);
    report.backup_file = backup_file;
    Ok(report)
}

fn require_stopped(node: &ServerNode) -> Result<(), Error> {
    if node.running_pid().is_none() {
        return Ok(());
    }
    Err(Error::refused("its server runs, and has read the present file")
        .with_path("/state")
        .hint("set what is to be otherwise (state: present), or stop the server first"))
}

/// That the copy has the node's own values, and those by which commits wait, as far as the present file still tells them.
fn check_own(before: &ConfFile, wanted: &ConfFile, copy: &Path) -> Result<(), Error> {
    let other = |name: &&str| {
        let (old, new) = (before.get(name)?, wanted.get(name)?);
        (!is_same_value(&old.value, &new.value))
            .then(|| format!("{name} is {} there and {} in the file", new.text(), old.text()))
    };
    let commits: Vec<String> = COMMIT_PARAMETERS.iter().filter_map(other).collect();
    if !commits.is_empty() {
        let detail = format!("{} changes for what commits wait: {}", copy.display(), commits.join("; "));
        return Err(Error::refused(detail)
            .with_path("/backup_file")
            .hint("set these in the copy as they are in the file; force: true takes the copy as it is"));
    }
    let others: Vec<String> = NODE_PARAMETERS.iter().filter_map(other).collect();
    if others.is_empty() {
        return Ok(());
    }
    Err(Error::refused(format!("{} is no copy of this node's file: {}", copy.display(), others.join("; ")))
        .with_path("/backup_file")
        .hint("name a copy of this node's own file; force: true takes this one"))
}

/// With force an objection is a warning.
fn pass_when_forced(error: Error, force: bool, warnings: &mut Vec<String>) -> Result<(), Error> {
    if !force {
        return Err(error);
    }
    warnings.push(error.failure().detail.clone());
    Ok(())
}

type Values = BTreeMap<String, Option<String>>;

/// Before and after, the parameters whose values differ.
fn differing_values(before: &ConfFile, after: &ConfFile) -> (Values, Values) {
    let (old, new) = (before.values(), after.values());
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let value = |of: &HashMap<String, Setting>, name: &String| of.get(name).map(|s| s.text().into_owned());
    let changed: Vec<&String> =
        names.into_iter().filter(|name| value(&old, name) != value(&new, name)).collect();
    let values = |of: &HashMap<String, Setting>| {
        changed.iter().map(|name| ((*name).clone(), value(of, name))).collect()
    };
    (values(&old), values(&new))
}
