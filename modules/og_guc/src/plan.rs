//! From the file as it is and what is wanted to the file as it shall be.

use std::collections::{BTreeMap, HashMap, HashSet};

use og_common::{
    conf::{ConfFile, Setting, check_name},
    gauss::version::LARGEST_MAX_CHANNELS,
    protocol::{Error, secret},
    replconn::ReplicationChannel,
    standby_names::{SET_WHOLE, StandbyNames, StandbyNamesEdit, SyncNumber},
};
use serde_json::Value;

use crate::args::{Args, Standbys, State};

/// Whom commits wait for.
pub const STANDBY_NAMES: &str = "synchronous_standby_names";
/// The name that stands for all parameters that are set, in a query.
const ALL: &str = "*";

/// What is wanted, as text values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Names and values to be set.
    pub set: Vec<(String, String)>,
    /// Names to be unset.
    pub unset: Vec<String>,
    /// Names to be shown.
    pub show: Vec<String>,
    /// Whether all that are set are shown.
    pub shows_all: bool,
    /// The edit of the synchronous standbys.
    pub standbys: Option<Standbys>,
}

/// The change of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The file as it shall be.
    pub file: ConfFile,
    /// Value of each named parameter before.
    pub before: BTreeMap<String, Option<String>>,
    /// Value of each named parameter after.
    pub after: BTreeMap<String, Option<String>>,
    /// Names of those that change, in the order asked for.
    pub changed: Vec<String>,
    /// What is done, for people.
    pub actions: Vec<String>,
    /// Things to look at.
    pub warnings: Vec<String>,
}

impl Wanted {
    /// Checks names and values, as far as that needs no server.
    ///
    /// # Errors
    /// `bad_args` with the place of the argument.
    pub fn from_args(args: &Args) -> Result<Self, Error> {
        let mut names: Vec<String> = Vec::new();
        let mut seen: HashMap<String, &String> = HashMap::with_capacity(args.parameters.len());
        let mut listed: HashSet<String> = args.names.iter().map(|name| name.to_ascii_lowercase()).collect();
        let mut wanted = Self::default();
        for (index, name) in args.names.iter().enumerate() {
            if name == ALL && args.state == State::Query {
                wanted.shows_all = true;
                continue;
            }
            check_name(name).map_err(|e| e.with_path(format!("/names/{index}")))?;
            names.push(name.clone());
        }
        for (name, value) in &args.parameters {
            let at = format!("/parameters/{name}");
            check_name(name).map_err(|e| e.with_path(&at))?;
            if let Some(twin) = seen.insert(name.to_ascii_lowercase(), name) {
                let at = format!("/parameters/{twin}");
                return Err(Error::bad_args(format!("{twin} and {name} are one parameter")).with_path(at));
            }
            if args.state == State::Present {
                check_value(name, &text(value)).map_err(|e| e.with_path(at))?;
            } else if listed.insert(name.to_ascii_lowercase()) {
                names.push(name.clone());
            }
        }
        match args.state {
            State::Query => {
                wanted.shows_all |= names.is_empty();
                wanted.show = names;
            }
            // That takes the whole of another file.
            State::Restored => {}
            State::Absent if names.is_empty() => {
                return Err(Error::bad_args("no parameter is named").hint("name them in names or parameters"));
            }
            State::Absent => wanted.unset = names,
            State::Present => {
                wanted.set =
                    args.parameters.iter().map(|(name, value)| (name.clone(), text(value))).collect();
                wanted.standbys.clone_from(&args.synchronous_standbys);
            }
        }
        if wanted.standbys.is_some()
            && wanted.set.iter().any(|(name, _)| name.eq_ignore_ascii_case(STANDBY_NAMES))
        {
            let clash = format!("{STANDBY_NAMES} is given by parameters and by synchronous_standbys");
            return Err(Error::bad_args(clash).with_path("/synchronous_standbys"));
        }
        Ok(wanted)
    }
}

/// A value as the text that the server reads.
fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Bool(true) => "on".into(),
        Value::Bool(false) => "off".into(),
        other => other.to_string(),
    }
}

/// Refuses values of which it is known that the server will not start with them, though gs_guc writes them.
fn check_value(name: &str, value: &str) -> Result<(), Error> {
    let name = name.to_ascii_lowercase();
    let refused = |e: &dyn std::fmt::Display| {
        Error::bad_args(format!("the server would refuse {name} = '{value}': {e}"))
    };
    if name == STANDBY_NAMES {
        StandbyNames::parse(value).map_err(|e| refused(&e))?;
    }
    if let Some(number) = name.strip_prefix("replconninfo") {
        // How many this server has depends on its release; one with more than this does not exist.
        let plain = |n: &usize| (1..=LARGEST_MAX_CHANNELS).contains(n) && n.to_string() == number;
        if !number.parse::<usize>().is_ok_and(|n| plain(&n)) {
            return Err(Error::bad_args(format!("there is no {name}; a server has replconninfo1 to 8")));
        }
        ReplicationChannel::parse(value).map_err(|e| refused(&e))?;
    }
    ConfFile::default().set(&name, value).map(|_| ())
}

/// What has to change.
///
/// # Errors
/// `bad_args` or `corrupt` when the synchronous standbys cannot be edited.
pub fn plan(file: &ConfFile, wanted: &Wanted) -> Result<Plan, Error> {
    let mut plan = Plan { file: file.clone(), ..Plan::default() };
    let set = wanted.set.iter().map(|(name, _)| name.as_str());
    let unset = wanted.unset.iter().map(String::as_str);
    let names: Vec<&str> = set.chain(unset).chain([STANDBY_NAMES]).collect();
    let old = file.values_of(&names);
    let value = |values: &HashMap<String, Setting>, name: &str| {
        values.get(&name.to_ascii_lowercase()).map(|setting| setting.text().into_owned())
    };
    let mut set = wanted.set.clone();
    if let Some(standbys) = &wanted.standbys {
        set.extend(edit_standbys(file, standbys, &mut plan.warnings)?);
        plan.before.insert(STANDBY_NAMES.into(), value(&old, STANDBY_NAMES));
        plan.after.insert(STANDBY_NAMES.into(), value(&old, STANDBY_NAMES));
    }
    let changed = plan.file.set_all(&set)?;
    let now = plan.file.values_of(&names);
    for ((name, new), changed) in set.iter().zip(changed) {
        let before = value(&old, name);
        if changed {
            plan.changed.push(name.clone());
            let was = before.as_ref().map_or_else(
                || "not set".to_owned(),
                |old| format!("was {:?}", secret::mask_value(name, old)),
            );
            plan.actions.push(format!("set {name} to {:?} ({was})", secret::mask_value(name, new)));
        }
        plan.before.insert(name.clone(), before);
        plan.after.insert(name.clone(), value(&now, name));
    }
    for name in &wanted.unset {
        let before = value(&old, name);
        if before.is_some() && plan.file.unset(name) {
            plan.changed.push(name.clone());
            let was = before.as_deref().unwrap_or_default();
            plan.actions.push(format!("unset {name} (was {:?})", secret::mask_value(name, was)));
        }
        plan.before.insert(name.clone(), before);
        plan.after.insert(name.clone(), None);
    }
    add_file_warnings(file, &mut plan);
    Ok(plan)
}

/// The values asked for by name, and all that are set where those are wanted.
#[must_use]
pub fn current_values(file: &ConfFile, wanted: &Wanted) -> BTreeMap<String, Option<String>> {
    let mut found = BTreeMap::new();
    if wanted.shows_all {
        // Later occurrences win, under one name.
        let all = file.settings();
        found.extend(
            all.map(|setting| (setting.name.to_ascii_lowercase(), Some(setting.text().into_owned()))),
        );
    }
    let names: Vec<&str> = wanted.show.iter().map(String::as_str).collect();
    let set = file.values_of(&names);
    for name in &wanted.show {
        let lower = name.to_ascii_lowercase();
        // Each parameter is reported once, under the name by which it was asked for.
        found.remove(&lower);
        found.insert(name.clone(), set.get(&lower).map(|setting| setting.text().into_owned()));
    }
    found
}

/// What makes the file other than it looks.
pub fn file_warnings<'a>(file: &ConfFile, names: impl Iterator<Item = &'a String>) -> Vec<String> {
    let mut warnings = Vec::new();
    let names: Vec<&str> = names.map(String::as_str).collect();
    let occurrences = file.occurrences_of(&names);
    for name in names {
        let Some(found) = occurrences.get(&name.to_ascii_lowercase()) else { continue };
        if let Some(odd) = found.last().filter(|setting| !setting.is_text()) {
            warnings.push(format!(
                "the value of {name} in line {} is not UTF-8: what is shown of it only stands for it",
                odd.line
            ));
        }
        if found.len() > 1 {
            let lines: Vec<_> = found.iter().map(|setting| setting.line.to_string()).collect();
            warnings.push(format!(
                "{name} is set {} times, in lines {}; the last one counts",
                lines.len(),
                lines.join(", ")
            ));
        }
    }
    for include in file.includes() {
        warnings.push(format!(
            "line {} includes {:?}; gs_ctl build refuses a file that includes others",
            include.line,
            include.text()
        ));
    }
    warnings
}

fn add_file_warnings(file: &ConfFile, plan: &mut Plan) {
    let warnings = file_warnings(file, plan.before.keys());
    plan.warnings.extend(warnings);
}

/// The new value of synchronous_standby_names, if it is another one.
fn edit_standbys(
    file: &ConfFile,
    standbys: &Standbys,
    warnings: &mut Vec<String>,
) -> Result<Option<(String, String)>, Error> {
    let setting = file.get(STANDBY_NAMES);
    if let Some(odd) = setting.as_ref().filter(|setting| !setting.is_text()) {
        return Err(
            Error::corrupt(format!("line {}: {STANDBY_NAMES} is not UTF-8", odd.line)).hint(SET_WHOLE)
        );
    }
    // The server's own default, and what initdb writes.
    let old = setting.as_ref().map_or_else(|| "*".into(), |setting| setting.text().into_owned());
    let present = StandbyNames::parse(&old).map_err(|e| {
        let line = setting.as_ref().map_or(0, |setting| setting.line);
        Error::corrupt(format!("line {line}: {STANDBY_NAMES} = {old:?} cannot be understood: {e}"))
            .hint(SET_WHOLE)
    })?;
    let edit = StandbyNamesEdit {
        method: standbys.method.into(),
        number: standbys.num.into(),
        add: standbys.add.clone(),
        remove: standbys.remove.clone(),
    };
    let after = present.edit(&edit).map_err(|e| e.with_path("/synchronous_standbys"))?;
    if let SyncNumber::Exactly(number) = edit.number {
        for group in after.groups.iter().filter(|group| group.count() < number) {
            let most = group.count();
            let of = if after.groups.len() > 1 {
                format!(" of {}", group.members.join(", "))
            } else {
                String::new()
            };
            warnings.push(format!(
                "{number} synchronous standbys{of} were asked for, {most} is the most there can be"
            ));
        }
    }
    if after == present {
        return Ok(None);
    }
    Ok(Some((STANDBY_NAMES.to_owned(), after.to_string())))
}
