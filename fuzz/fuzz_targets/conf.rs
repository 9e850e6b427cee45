//! postgresql.conf: what is read is printed to the same bytes; what is set is read back, twice is as good as once, and
//! no other line changes; so also by og_guc's plan.
#![no_main]

use libfuzzer_sys::fuzz_target;
use og_common::conf::{ConfFile, check_name, is_same_value};
use og_fuzz::{halves, repeated};
use og_guc::plan::{Wanted, plan};

fuzz_target!(|data: &[u8]| {
    let Some((mode, rest)) = data.split_last() else { return };
    match mode {
        0..64 => read(rest),
        255 => read(&repeated(rest)),
        254 => change(&repeated(rest), 0),
        64..160 => change(rest, *mode),
        _ => planned(rest, *mode),
    }
});

fn read(bytes: &[u8]) {
    let file = ConfFile::parse(bytes);
    assert!(file.to_bytes() == bytes, "other bytes");
    let lines = bytes.split_inclusive(|c| *c == b'\n').count();
    for error in file.errors() {
        assert!(error.line <= lines && error.column >= 1);
    }
    for setting in file.settings().take(10) {
        assert!(setting.line <= lines && !setting.value.contains(&0));
        check_name(&setting.name)
            .map_or_else(|_| assert!(!setting.name.is_ascii() || setting.name.len() > 63), drop);
        let last = file.get(&setting.name).expect("what is listed is found");
        assert!(last.line >= setting.line);
    }
}

/// The lines without those that set `name` or are new.
fn others(file: &ConfFile, name: &str) -> Vec<String> {
    let text = file.to_bytes();
    let own: Vec<usize> =
        file.settings().filter(|s| s.name.eq_ignore_ascii_case(name)).map(|s| s.line).collect();
    let lines = text.split_inclusive(|c| *c == b'\n').enumerate();
    // The last line may get the line end that it lacked.
    let bare = |l: &[u8]| String::from_utf8_lossy(l).trim_end_matches(['\r', '\n']).to_owned();
    lines.filter(|(n, _)| !own.contains(&(n + 1))).map(|(_, l)| bare(l)).collect()
}

fn change(bytes: &[u8], what: u8) {
    let Some((bytes, wish)) = halves(bytes) else { return };
    let Ok(wish) = std::str::from_utf8(wish) else { return };
    let (name, value) = wish.split_once('=').unwrap_or((wish, "1"));
    let before = ConfFile::parse(bytes);
    let errors = before.errors().len();
    let mut file = before.clone();
    if what % 4 == 3 {
        if check_name(name).is_err() {
            return;
        }
        let changed = file.unset(name);
        assert_eq!(changed, before.get(name).is_some());
        assert!(file.get(name).is_none());
        assert!(!file.unset(name), "twice");
        let (old, new) = (others(&before, name), others(&file, name));
        let mut rest = new.iter();
        assert!(old.iter().all(|line| rest.any(|l| l == line)), "{old:?}\n{new:?}");
    } else {
        let Ok(changed) = file.set(name, value) else { return };
        let set = file.get(name).expect("what is set is there");
        assert!(is_same_value(&set.value, value.as_bytes()), "{value:?} became {:?}", set.text());
        assert!(changed != before.get(name).is_some_and(|s| is_same_value(&s.value, value.as_bytes())));
        assert!(!file.clone().set(name, value).expect("twice"), "twice");
        assert_eq!(others(&before, name), others(&file, name));
    }
    assert_eq!(file.errors().len(), errors);
    let again = ConfFile::parse(&file.to_bytes());
    assert!(again == file, "it reads otherwise than it was written");
}

/// The second half are arguments of og_guc.
fn planned(bytes: &[u8], what: u8) {
    let Some((bytes, args)) = halves(bytes) else { return };
    let args = if what.is_multiple_of(2) {
        let Ok(taken) = og_common::protocol::take_in::<og_guc::Guc>(args) else { return };
        taken.args
    } else {
        let Ok(value) = std::str::from_utf8(args) else { return };
        let parameters = [("synchronous_standby_names".to_owned(), value.into())].into_iter().collect();
        og_guc::Args { parameters, ..og_guc::Args::default() }
    };
    let Ok(wanted) = Wanted::from_args(&args) else { return };
    let file = ConfFile::parse(bytes);
    let Ok(done) = plan(&file, &wanted) else { return };
    let again = ConfFile::parse(&done.file.to_bytes());
    assert!(again == done.file, "it reads otherwise than it was written");
    let again = plan(&again, &wanted).expect("what could be planned can be planned again");
    assert!(
        again.changed.is_empty(),
        "twice: {:?}\n{}",
        again.actions,
        String::from_utf8_lossy(&done.file.to_bytes())
    );
    for (name, value) in &done.after {
        assert_eq!(done.file.get(name).map(|s| s.text().into_owned()), *value);
    }
}
