#![allow(clippy::unwrap_used)]
//! Records as they are written and read again, and the page made of one.

use og_common::clock::rfc3339_millis;
use og_common::protocol::{Bytes, secret};
use quick_xml::events::Event as XmlEvent;
use serde_json::json;

use super::history::{Age, RecordedRun, clean, find, list};
use super::*;
use crate::args::{CommitPause, NodeCall, Shown};
use crate::health::assess::assess;
use crate::plan::tests::{cluster, nodes};

/// 2026-11-21T09:43:07Z.
const BEGUN: u64 = 1_795_254_187_000;

fn at(ms: u64) -> String {
    rfc3339_millis(BEGUN + ms)
}

fn step(title: &str, begun: u64, calls: &[(&str, &str)], counts: Counts) -> StepEvent {
    let calls = calls.iter().map(|(node, program)| CallEvent {
        node: Some((*node).to_owned()),
        program: (*program).to_owned(),
        looks: false,
    });
    StepEvent {
        step: title.to_owned(),
        start: at(begun),
        calls: calls.collect(),
        keep: 0,
        counts,
        may_fail: counts == Counts::Never,
    }
}

/// The step with what its calls answer, all at this time.
fn answered(step: &StepEvent, end: u64, answers: &[Value]) -> Vec<Event> {
    let events = step.calls.iter().zip(answers).map(|(call, own)| answer_event(step, call, own, BEGUN + end));
    std::iter::once(Event::Step(step.clone()))
        .chain(events.map(|answer| Event::Answer(Box::new(answer))))
        .collect()
}

fn run(verdict: RunVerdict) -> RecordedRun {
    let quiet = json!({"changed": false, "failed": false, "msg": "inspected", "elapsed_ms": 120});
    let diff = json!([{"before_header": "/d/pg_hba.conf", "after_header": "/d/pg_hba.conf",
        "before": "local all all trust\n", "after": "local all all trust\nhost all omm 10.0.0.3/32 trust\n"}]);
    let rule = json!({"changed": true, "failed": false, "msg": "1 rule added", "elapsed_ms": 80,
        "actions": ["add rule host all omm 10.0.0.3/32 trust"], "diff": diff, "warnings": ["line 3 hides nothing"]});
    let done = json!({"changed": true, "failed": false, "msg": "built", "elapsed_ms": 9400,
        "actions": ["rebuild the standby: full"]});
    let died = json!({"failed": true, "msg": "the build died", "error": {"kind": "command_failed", "hint": "see the log"}});
    let answer = if verdict == RunVerdict::Done { done } else { died };
    let inspect = step("Inspect all nodes", 0, &[("n1", "og_hba"), ("n3", "og_hba")], Counts::Never);
    let allow = step("Let the new nodes in", 700, &[("n1", "og_hba")], Counts::Changed);
    let build = step("Rebuild standbys", 900, &[("n3", "og_build")], Counts::Changed);
    let events = [
        answered(&inspect, 650, &[quiet.clone(), quiet]),
        answered(&allow, 850, &[rule]),
        answered(&build, 10_400, &[answer]),
    ];
    let failed = verdict != RunVerdict::Done;
    let mut after = cluster(2);
    after[2].2["og_node_state"]["node"]["running"] = json!(!failed);
    let health = |hosts: &[crate::plan::tests::Given]| Some(assess(&nodes(hosts), Bytes::new(16 << 20)));
    let change = Change {
        node: "n1".to_owned(),
        step: "Let the new nodes in".to_owned(),
        actions: vec!["add rule host all omm 10.0.0.3/32 trust".to_owned()],
        diff: None,
    };
    RecordedRun {
        folder: PathBuf::from("/nowhere"),
        plan: Plan {
            id: "20261121-094307-expand".to_owned(),
            workflow: "expand".to_owned(),
            targets: vec!["n3".to_owned()],
            options: json!({"og_sync_standbys": "any", "og_build_parallel": 2}).as_object().unwrap().clone(),
            cluster: json!({"hosts": {"n1": {"id": 1}, "n3": {"id": 3}}, "vars": {"data_dir": "/gauss/data/db1"}}),
            owner: "dba@control pid 4711 start 918273".to_owned(),
            started: at(0),
            version: "0.1.0".to_owned(),
            check_mode: false,
        },
        events: events.concat(),
        unreadable: 0,
        ended: Some(Ended {
            verdict,
            ended: at(12_300),
            elapsed_ms: 12_300,
            msg: failed.then(|| "n3: the build died; see the log".to_owned()),
            changes: vec![change],
            warnings: vec!["n1: line 3 hides nothing".to_owned()],
            findings: Vec::new(),
            table: vec!["NODE  ROLE".to_owned(), "n1    primary".to_owned()],
            before: health(&cluster(1)),
            after: health(&after),
            commits: (!failed).then(commits),
        }),
    }
}

/// What the probes of the nodes saw.
fn commits() -> Commits {
    Commits {
        commits: 512,
        nodes: [("n1".to_owned(), 512), ("n2".to_owned(), 0)].into(),
        first: Some(at(700)),
        last: Some(at(11_000)),
        elapsed_ms: 12_000,
        before_first_ms: Some(40),
        after_last_ms: Some(1300),
        longest: Some(CommitPause {
            elapsed_ms: 95,
            from: at(9_900),
            to: at(9_995),
            node_before: "n1".to_owned(),
            node_after: "n1".to_owned(),
            step: Some("Rebuild standbys".to_owned()),
        }),
    }
}

/// Fails where the page's elements are not closed in their order, or an id is there twice.
fn assert_well_formed(page: &str) {
    let mut text = page.replace("<br>", "").replace("<!DOCTYPE html>\n", "");
    while let Some(begin) = text.find("<meta ") {
        let end = begin + text[begin..].find('>').unwrap();
        text.replace_range(begin..=end, "");
    }
    let mut reader = quick_xml::Reader::from_str(&text);
    let mut ids = std::collections::BTreeSet::new();
    loop {
        match reader.read_event().unwrap() {
            XmlEvent::Start(tag) | XmlEvent::Empty(tag) => {
                for attribute in tag.attributes() {
                    let attribute = attribute.unwrap();
                    if attribute.key.as_ref() == b"id" {
                        assert!(ids.insert(attribute.value.to_vec()), "{attribute:?}");
                    }
                }
            }
            XmlEvent::Eof => break,
            _ => {}
        }
    }
}

/// Fails where the page refers to anything outside itself.
fn assert_needs_nothing(page: &str) {
    let own = page.replace("xmlns=\"http://www.w3.org/2000/svg\"", "");
    for outside in ["//", "src=", "url(", "@import", "<link", "<iframe", "<object", "href="] {
        assert!(!own.contains(outside), "{outside}");
    }
}

#[test]
fn runs_as_pages() {
    let killed = RecordedRun { ended: None, ..run(RunVerdict::Done) };
    let check =
        RecordedRun { plan: Plan { check_mode: true, ..killed.plan.clone() }, ..run(RunVerdict::Done) };
    let interrupted = RecordedRun {
        ended: Some(Ended {
            verdict: RunVerdict::Interrupted,
            elapsed_ms: 3000,
            msg: Some("interrupted; ended what was under way on n3".to_owned()),
            ..Ended::default()
        }),
        ..killed.clone()
    };
    for (name, run) in [
        ("done", run(RunVerdict::Done)),
        ("incomplete", run(RunVerdict::Incomplete)),
        ("check", check),
        ("killed", killed),
        ("interrupted", interrupted),
    ] {
        let page = report::html(&run);
        assert_well_formed(&page);
        assert_needs_nothing(&page);
        if name == "done" || name == "interrupted" {
            let (begin, rest) = page.split_once("<style>").unwrap();
            insta::assert_snapshot!(
                format!("report_{name}"),
                format!("{begin}{}", rest.split_once("</style>\n").unwrap().1)
            );
        }
        if let Some(folder) = std::env::var_os("OG_PAGES") {
            std::fs::write(Path::new(&folder).join(format!("report_{name}.html")), page).unwrap();
        }
    }
}

#[test]
fn words_from_outside_are_no_markup_in_a_report() {
    let evil = r#"<b a="1">&amp;'"#;
    let run = run(RunVerdict::Incomplete);
    let events = run.events.iter().map(|event| poisoned(&json!(event), evil)).collect::<Vec<_>>();
    let run = RecordedRun {
        folder: run.folder,
        plan: serde_json::from_value(poisoned(&json!(run.plan), evil)).unwrap(),
        events: serde_json::from_value(json!(events)).unwrap(),
        unreadable: 0,
        ended: serde_json::from_value(poisoned(&json!(run.ended), evil)).unwrap(),
    };
    let plan = &run.plan;
    assert!(
        [&plan.workflow, &plan.owner, &plan.id, &plan.version, &plan.targets[0]]
            .iter()
            .all(|text| *text == evil)
    );
    assert!(plan.options.contains_key(evil) && plan.options[evil] == evil);
    let page = report::html(&run);
    assert_well_formed(&page);
    assert_needs_nothing(&page);
    assert!(!page.contains("<b a") && page.contains("&lt;b a=&quot;1&quot;&gt;&amp;amp;&#39;"), "{page}");
}

/// The value with each of its texts replaced by this one, and the names of options with them; words of closed lists, and times,
/// stay.
fn poisoned(value: &Value, evil: &str) -> Value {
    const CLOSED: [&str; 4] = ["event", "counts", "verdict", "severity"];
    match value {
        Value::String(text) if parse_millis(text).is_some() => value.clone(),
        Value::String(_) => json!(evil),
        Value::Array(all) => all.iter().map(|one| poisoned(one, evil)).collect(),
        Value::Object(map) => {
            let one = |(name, value): (&String, &Value)| {
                let name = if name == "og_sync_standbys" { evil } else { name };
                let is_closed = CLOSED.contains(&name) || name == "before" || name == "after";
                (name.to_owned(), if is_closed { value.clone() } else { poisoned(value, evil) })
            };
            Value::Object(map.iter().map(one).collect())
        }
        other => other.clone(),
    }
}

#[test]
fn the_step_that_most_of_a_time_fell_in_is_named() {
    let run = run(RunVerdict::Done);
    let between = |from: u64, to: u64| run.step_between(BEGUN + from, BEGUN + to);
    assert_eq!(between(500, 740), Some("Inspect all nodes"));
    assert_eq!(between(820, 1000), Some("Rebuild standbys"));
    // Between two steps, and after the last one.
    assert_eq!((between(660, 690), between(20_000, 20_100)), (None, None));
}

#[test]
fn a_recorded_run_names_the_step_in_which_nobody_could_commit() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join(write_record(root.path(), BEGUN, "", false));
    for event in run(RunVerdict::Done).events {
        folder::append(&folder.join(EVENTS), &event).unwrap();
    }
    let engine = Engine::new(
        serde_json::from_value(json!({"workflow": "drop", "targets": ["n2"], "owner": "o",
            "cluster": {"hosts": {"n1": {"id": 1}}, "vars": {"data_dir": "/d"}}}))
        .unwrap(),
        false,
        false,
    )
    .unwrap();
    let mut seen = commits();
    seen.longest.as_mut().unwrap().step = None;
    let mut outcome = Outcome { commits: Some(seen), ..Outcome::default() };
    Recorder::open(&folder, &engine).unwrap().finish(&mut outcome);
    assert_eq!(outcome.commits, Some(commits()));
    assert_eq!(RecordedRun::read(&folder).unwrap().ended.unwrap().commits, Some(commits()));
}

#[test]
fn a_step_that_has_not_ended_has_no_time() {
    let mut run = run(RunVerdict::Done);
    let times = |run: &RecordedRun| {
        run.steps().map(|step| step.time().map(|time| time.elapsed_ms)).collect::<Vec<_>>()
    };
    assert_eq!(times(&run), [Some(650), Some(150), Some(9500)]);
    run.events.pop();
    assert_eq!(times(&run), [Some(650), Some(150), None]);
    run.ended = None;
    assert_eq!((run.elapsed_ms(), run.verdict().unwrap()), (Some(900), RunVerdict::Running));
}

fn write_record(runs: &Path, started: u64, owner: &str, ended: bool) -> String {
    let (folder, id) = folder::make(runs, started, "drop").unwrap();
    let plan =
        Plan { id: id.clone(), started: rfc3339_millis(started), owner: owner.to_owned(), ..Plan::default() };
    folder::write(&folder.join(PLAN), &folder::to_pretty(&plan).unwrap()).unwrap();
    if ended {
        folder::write(&folder.join(OUTCOME), br#"{"verdict": "done", "elapsed_ms": 5}"#).unwrap();
    }
    id
}

#[test]
fn old_records_are_removed_but_not_those_at_work_nor_what_a_link_leads_to() {
    let (root, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let runs = root.path().join("opengauss-node/runs");
    assert_eq!(list(&runs).unwrap().0, []);
    let now = now_millis();
    let days = |n: u64| now - n * 86_400_000;
    let own = crate::owner::Owner::from_pid(std::process::id()).unwrap().to_string();
    let old = write_record(&runs, days(61), "", true);
    let at_work = write_record(&runs, days(61), &own, false);
    let young = write_record(&runs, days(59), "", true);
    assert_eq!((&at_work[old.len()..], at_work.starts_with(&old)), ("-2", true));
    let linked = write_record(&elsewhere.path().join("x"), days(90), "", true);
    let precious = elsewhere.path().join("x").join(linked);
    std::os::unix::fs::symlink(&precious, runs.join("20200101-000000-drop")).unwrap();
    std::fs::create_dir(runs.join("other")).unwrap();
    let age: Age = "60d".parse().unwrap();
    let removed = |check: bool| clean(&runs, age, check).unwrap().removed;
    assert_eq!(removed(true), [old.as_str()]);
    assert_eq!(removed(false), [old.as_str()]);
    assert_eq!(removed(false), Vec::<String>::new());
    let left: Vec<_> = list(&runs).unwrap().0.into_iter().map(|run| run.plan.id).collect();
    assert_eq!(left, [at_work.as_str(), young.as_str()]);
    assert!(precious.join(PLAN).exists() && runs.join("other").exists());
}

#[test]
fn a_record_that_cannot_be_removed_does_not_keep_the_others() {
    let root = tempfile::tempdir().unwrap();
    let runs = root.path();
    let corrupt = write_record(runs, BEGUN, "", true);
    std::fs::write(runs.join(&corrupt).join(PLAN), "{").unwrap();
    // What its plan says is its id is not what is told.
    let renamed = write_record(runs, BEGUN + 1000, "", true);
    std::fs::rename(runs.join(renamed), runs.join("renamed")).unwrap();
    let other = write_record(runs, BEGUN + 2000, "", true);
    let cleaned = clean(runs, "0d".parse().unwrap(), false).unwrap();
    assert_eq!(cleaned.removed, ["renamed", other.as_str()]);
    let [error] = &cleaned.errors[..] else { panic!("{cleaned:?}") };
    assert!(error.to_string().contains(&corrupt), "{error}");
    assert!(!runs.join("renamed").exists() && runs.join(corrupt).exists());
}

#[test]
fn a_run_is_found_by_the_beginning_of_its_id() {
    let root = tempfile::tempdir().unwrap();
    let first = write_record(root.path(), BEGUN, "", true);
    let second = write_record(root.path(), BEGUN + 3000, "", false);
    assert_eq!((first.as_str(), second.as_str()), ("20261121-094307-drop", "20261121-094310-drop"));
    let id = |text: &str| find(root.path(), text).map(|run| run.plan.id);
    assert_eq!((id(&first).unwrap(), id("20261121-09431").unwrap()), (first.clone(), second.clone()));
    assert_eq!(id("last").unwrap(), second);
    // It was killed: there is no process that it could be.
    assert_eq!(find(root.path(), "last").unwrap().verdict().unwrap(), RunVerdict::Interrupted);
    assert!(id("2026").unwrap_err().to_string().contains("several runs begin with 2026: "));
    assert!(id("x").unwrap_err().to_string().contains("there is no run x"));
    // One that has an id of another in its beginning is not taken for it.
    let third = write_record(root.path(), BEGUN, "", true);
    assert_eq!((third.as_str(), id(&first).unwrap()), ("20261121-094307-drop-2", first));
}

#[test]
fn ages_have_units() {
    for (text, hours) in [("60d", 1440), ("12h", 12), ("8w", 1344), ("0d", 0)] {
        assert_eq!(text.parse::<Age>().unwrap(), format!("{hours}h").parse().unwrap());
    }
    for text in ["", "60", "d", "-1d", "1m", "60dd", "99999999999999999999d", "9999999999999999d"] {
        assert!(text.parse::<Age>().is_err(), "{text}");
    }
}

#[test]
fn what_is_half_written_is_no_event() {
    let root = tempfile::tempdir().unwrap();
    let id = write_record(root.path(), BEGUN, "", false);
    let folder = root.path().join(id);
    let own = step("A", 0, &[("n1", "og_hba")], Counts::Never);
    folder::append(&folder.join(EVENTS), &Event::Step(own.clone())).unwrap();
    let mut text = std::fs::read(folder.join(EVENTS)).unwrap();
    text.extend_from_slice(br#"{"event": "answer", "st"#);
    std::fs::write(folder.join(EVENTS), text).unwrap();
    assert_eq!(RecordedRun::read(&folder).unwrap().events, [Event::Step(own.clone())]);
    // The line behind it is as good as ever.
    folder::append(&folder.join(EVENTS), &Event::Step(own.clone())).unwrap();
    folder::append(&folder.join(EVENTS), &Event::Step(own.clone())).unwrap();
    let run = RecordedRun::read(&folder).unwrap();
    assert_eq!((run.events.clone(), run.unreadable), (vec![Event::Step(own); 3], 1));
    assert!(run.warning().unwrap().starts_with("1 line of "));
    assert!(report::html(&run).contains("1 line of "));
}

#[test]
fn a_secret_that_is_a_word_of_the_record_does_not_break_it() {
    for word in ["done", "step", "drop", "20261121-094307-drop", "2026-11-21T09:43:07.000Z", "ok"] {
        secret::register(word);
    }
    let root = tempfile::tempdir().unwrap();
    let id = write_record(root.path(), BEGUN, "", true);
    let folder = root.path().join(&id);
    let outcome = json!({"verdict": "done", "before": {"verdict": "ok"}, "msg": "it is done"});
    folder::write(&folder.join(OUTCOME), &folder::to_pretty(&outcome).unwrap()).unwrap();
    let own = step("A", 0, &[("n1", "og_hba")], Counts::Never);
    folder::append(&folder.join(EVENTS), &Event::Step(own.clone())).unwrap();
    let run = RecordedRun::read(&folder).unwrap();
    assert_eq!((&run.plan.id, &run.plan.started, &run.events[..]), (&id, &at(0), &[Event::Step(own)][..]));
    assert_eq!((run.verdict().unwrap(), run.unreadable), (RunVerdict::Done, 0));
    assert_eq!(run.ended.unwrap().msg.unwrap(), format!("it is {}", secret::MASK));
}

#[test]
fn a_step_of_another_process_takes_its_answers_and_a_lost_one_is_told() {
    let root = tempfile::tempdir().unwrap();
    let id = write_record(root.path(), BEGUN, "", false);
    let folder = root.path().join(id);
    let engine = Engine::new(
        serde_json::from_value(json!({"workflow": "drop", "targets": ["n2"], "owner": "o",
            "cluster": {"hosts": {"n1": {"id": 1}}, "vars": {"data_dir": "/d"}}}))
        .unwrap(),
        false,
        false,
    )
    .unwrap();
    let call = |node: &str| NodeCall {
        node: Some(node.to_owned()),
        host: None,
        program: "og_hba".to_owned(),
        args: Map::new(),
        put: None,
        timed: false,
    };
    let next = Next {
        step: "A".to_owned(),
        calls: vec![call("n1"), call("n2")],
        keep: 1,
        after: None,
        more: false,
        shown: Shown::default(),
    };
    let open = || Recorder::open(&folder, &engine).unwrap();
    open().write_step(&next);
    let answer = json!({"changed": true, "failed": false, "msg": "m"});
    open().write_answers(&[Value::Null, answer.clone(), Value::Null]);
    let run = RecordedRun::read(&folder).unwrap();
    let told = run.steps().next().unwrap();
    assert_eq!((told.answers[0].changed, told.answers[0].failed), (true, false));
    assert_eq!(
        (told.answers[1].failed, told.answers[1].msg.as_str()),
        (true, "og_hba ended without an answer")
    );
    assert_eq!(open().loss(), None);
    // The next step was not written.
    // What it changed is told of a run that came to no outcome of its own.
    let failed = open().fail("it broke");
    assert_eq!((failed.failed, failed.incomplete, failed.changed), (true, true, true));
    assert_eq!((failed.changes.len(), failed.changes[0].node.as_str()), (1, "n1"));
    let ended = RecordedRun::read(&folder).unwrap().ended.unwrap();
    assert_eq!((ended.verdict, ended.changes), (RunVerdict::Incomplete, failed.changes.clone()));
    let interrupted = open().interrupt("interrupted");
    let ended = RecordedRun::read(&folder).unwrap().ended.unwrap();
    assert_eq!((ended.verdict, ended.changes), (RunVerdict::Interrupted, interrupted.changes));
    open().write_answers(&[Value::Null, answer.clone(), Value::Null, answer]);
    assert!(open().loss().unwrap().starts_with("the record of this run lacks steps: "));
}

#[test]
fn a_step_of_several_programs_names_each_node_once_and_its_looks_do_not_fail_it() {
    let mut step = step(
        "Update and inspect",
        0,
        &[
            ("n2", "og_static_conf"),
            ("n1", "og_static_conf"),
            ("n2", "og_node_state"),
            ("n1", "og_node_state"),
        ],
        Counts::Changed,
    );
    step.calls.iter_mut().skip(2).for_each(|call| call.looks = true);
    assert_eq!(step.nodes(), ["n2", "n1"]);
    let (well, failed) = (json!({"changed": false, "failed": false}), json!({"failed": true, "msg": "m"}));
    let fails = |answers: [&Value; 4]| {
        let mut run = run(RunVerdict::Done);
        run.events = answered(&step, 10, &answers.map(Clone::clone));
        run.steps().any(|step| step.has_failed())
    };
    assert!(!fails([&well, &well, &failed, &well]));
    assert!(fails([&well, &failed, &well, &well]));
}
