//! synchronous_standby_names: what is written is read back equal; an edit gives what was asked for, never waits for
//! more than there are, and twice is as good as once.
#![no_main]

use libfuzzer_sys::fuzz_target;
use og_common::standby_names::{StandbyNames, StandbyNamesEdit, SyncMethod, SyncNumber};
use og_fuzz::{halves, repeated};

fuzz_target!(|data: &[u8]| {
    let Some((mode, rest)) = data.split_last() else { return };
    match mode {
        0..64 => drop(read(rest)),
        255 => drop(read(&repeated(rest))),
        254 => drop(edit(&repeated(rest), 0)),
        n => drop(edit(rest, *n)),
    }
});

fn same(names: &StandbyNames) {
    let written = names.to_string();
    assert_eq!(StandbyNames::parse(&written).as_ref(), Ok(names), "{written:?}");
}

fn read(bytes: &[u8]) -> Option<StandbyNames> {
    let names = StandbyNames::parse(std::str::from_utf8(bytes).ok()?).ok()?;
    same(&names);
    Some(names)
}

/// After the value a line of names to add, and a line of names to remove.
fn edit(bytes: &[u8], what: u8) -> Option<()> {
    let (value, lists) = halves(bytes)?;
    let names = read(value)?;
    let lists = std::str::from_utf8(lists).ok()?;
    let (add, remove) = lists.split_once('\n').unwrap_or((lists, ""));
    let list = |text: &str| text.split(',').filter(|n| !n.is_empty()).map(str::to_owned).collect::<Vec<_>>();
    let edit = StandbyNamesEdit {
        method: [None, Some(SyncMethod::Any), Some(SyncMethod::First)][usize::from(what % 3)],
        number: match what / 3 % 4 {
            0 => SyncNumber::Keep,
            1 => SyncNumber::Majority,
            n => SyncNumber::Exactly(u32::from(n) * u32::from(what / 12)),
        },
        add: list(add),
        remove: list(remove),
    };
    let after = names.edit(&edit).ok()?;
    same(&after);
    assert_eq!(after.edit(&edit).as_ref().ok(), Some(&after), "twice");
    let star = names.is_star() && after.is_star();
    let said: std::collections::HashSet<String> = after.names().map(str::to_ascii_lowercase).collect();
    assert!(edit.remove.iter().all(|n| !said.contains(&n.to_ascii_lowercase())));
    assert!(star || edit.add.iter().all(|n| said.contains(&n.to_ascii_lowercase())));
    for group in &after.groups {
        assert!(!group.members.is_empty());
        assert!(
            star || group.count() as usize <= group.members.len(),
            "{after} waits for more than there are"
        );
    }
    Some(())
}
