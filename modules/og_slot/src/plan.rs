//! From the slots there are and the slots wanted to what is to be done.

use og_common::gauss::ReplicationSlot;
use og_common::protocol::Error;

use crate::{Args, State};

/// The longest name a slot may have: NAMEDATALEN less three (openGauss's ValidateName in slot.cpp).
const MAX_NAME_BYTES: usize = 61;

/// What is to be done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Slots to make.
    pub create: Vec<String>,
    /// Slots to drop; nobody is connected to them.
    pub drop: Vec<String>,
    /// Slots that shall go, but somebody is connected to them.
    pub in_use: Vec<String>,
}

impl Plan {
    /// The plan in words.
    #[must_use]
    pub fn actions(&self) -> Vec<String> {
        let made = self.create.iter().map(|name| format!("made slot {name}"));
        made.chain(self.drop.iter().map(|name| format!("dropped slot {name}"))).collect()
    }
}

/// What is to be done.
#[must_use]
pub fn plan(present: &[ReplicationSlot], args: &Args) -> Plan {
    let mut plan = Plan::default();
    for name in &args.names {
        let there = present.iter().find(|slot| slot.name == *name);
        let place = match (args.state, there) {
            (State::Present, None) => &mut plan.create,
            (State::Absent, Some(slot)) if slot.active => &mut plan.in_use,
            (State::Absent, Some(_)) => &mut plan.drop,
            _ => continue,
        };
        if !place.contains(name) {
            place.push(name.clone());
        }
    }
    plan
}

/// Checks the names as the server does, so that a bad one is told before anything is done.
///
/// # Errors
/// `bad_args` with the place of the name.
pub fn check_names(names: &[String]) -> Result<(), Error> {
    for (n, name) in names.iter().enumerate() {
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "_?.-".contains(c);
        let problem = if name.is_empty() {
            "a slot needs a name".to_owned()
        } else if name.len() > MAX_NAME_BYTES {
            format!("a slot's name has at most {MAX_NAME_BYTES} characters, this one {}", name.len())
        } else if let Some(bad) = name.chars().find(|c| !allowed(*c)) {
            format!("{bad:?} may not be in a slot's name; allowed are a-z 0-9 _ ? . -")
        } else {
            continue;
        };
        return Err(Error::bad_args(problem).with_path(format!("/names/{n}")));
    }
    Ok(())
}

/// Makes a slot; the name was checked.
#[must_use]
pub fn create_statement(name: &str) -> String {
    format!("select pg_create_physical_replication_slot('{name}', false)")
}

/// Drops a slot unless somebody is connected to it now; gives a row when it did. The name was checked.
#[must_use]
pub fn drop_statement(name: &str) -> String {
    format!(
        "select pg_drop_replication_slot(slot_name::text) from pg_replication_slots where slot_name = '{name}' and not active"
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::{IfActive, Type};

    fn args(state: State, names: &[&str]) -> Args {
        Args {
            state,
            names: names.iter().map(ToString::to_string).collect(),
            kind: Type::Physical,
            if_active: IfActive::Fail,
        }
    }

    fn present() -> Vec<ReplicationSlot> {
        let slot = |name: &str, active| ReplicationSlot {
            name: name.into(),
            kind: "physical".into(),
            active,
            ..ReplicationSlot::default()
        };
        vec![slot("dn_6002", true), slot("dn_6003", false)]
    }

    #[test]
    fn only_what_differs_is_done() {
        let wanted = ["dn_6002", "dn_6003", "dn_6004", "dn_6004"];
        let made = plan(&present(), &args(State::Present, &wanted));
        assert_eq!(made, Plan { create: vec!["dn_6004".into()], ..Plan::default() });
        let gone = plan(&present(), &args(State::Absent, &wanted));
        assert_eq!((gone.drop, gone.in_use), (vec!["dn_6003".into()], vec!["dn_6002".into()]));
        assert_eq!(plan(&present(), &args(State::Query, &wanted)), Plan::default());
    }

    #[test]
    fn names_that_the_server_refuses_are_refused() {
        check_names(&["dn_6002".into(), "a?.-9".into()]).unwrap();
        for bad in ["", "DN", "a'b", "a b", &"x".repeat(62), "é"] {
            let error = check_names(&["ok".into(), bad.into()]).unwrap_err();
            assert_eq!(error.failure().path.as_deref(), Some("/names/1"), "{bad}");
        }
    }
}
