//! The record of a run as a page for a browser: one file that needs nothing else.

use std::fmt::Write as _;

use serde_json::Value;

use super::history::{RecordedRun, RunStep};
use super::{AnswerEvent, Ended, RunVerdict};
use crate::args::{CommitPause, Commits};
use crate::health::ClusterHealth;
use crate::health::page::{STYLE, marked};
use crate::health::picture::{Grade, escape, svg};
use crate::steps::WORKFLOWS;
use crate::text::{NOTABLE_GAP_MS, duration, pause};

/// What this page has beside the style of a cluster's page.
const OWN_STYLE: &str = "
.next{border:1px solid var(--line);border-radius:6px;padding:.2rem 1rem .8rem;margin:1rem 0}.next p{margin:.6rem 0 0}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.2rem 1rem;margin:0}dt{color:var(--soft)}dd{margin:0;overflow-wrap:anywhere}
.both{display:flex;flex-wrap:wrap;gap:1rem 2rem}.both figure{margin:0;max-width:100%}
figcaption{color:var(--soft);margin-bottom:.5rem}
details{border-bottom:1px solid var(--line)}details details{border:0}
summary{cursor:pointer;padding:.45rem .25rem;display:grid;grid-template-columns:1fr 7rem 5rem;gap:.25rem .75rem;align-items:center;
overflow-wrap:anywhere}
summary.plain{display:list-item;color:var(--soft)}summary b{font-weight:600}
summary b::before{content:'\\25b8\\a0';color:var(--soft)}details[open]>summary b::before{content:'\\25be\\a0'}
summary:focus-visible{outline:2px solid var(--own,currentColor)}
.time{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}.nodes{color:var(--soft);font-size:.9rem}
.bar{height:.5rem;background:var(--panel);border-radius:3px;overflow:hidden}.bar i{display:block;height:100%;min-width:2px;background:var(--soft)}
.changed .bar i{background:var(--good)}.wrong .bar i{background:var(--bad)}
.calls{margin:0 0 .75rem 1rem}.calls li{padding:.4rem .7rem;margin:.35rem 0}.calls p{margin:.25rem 0}.calls ul{list-style:disc;padding-left:1.25rem}
.calls ul li{border:0;padding:0;margin:.1rem 0}
pre ins,pre del{text-decoration:none;display:inline-block;min-width:100%}ins{color:var(--good)}del{color:var(--bad)}
.table{white-space:pre;overflow-wrap:normal;overflow-x:auto}
@media (max-width:40rem){summary{grid-template-columns:1fr 4.5rem}summary .bar{grid-column:1/-1;grid-row:2}dl{grid-template-columns:1fr}dt{margin-top:.4rem}}
@media print{details::details-content{content-visibility:visible;block-size:auto}.table{white-space:pre-wrap}.bar{border:1px solid var(--line)}}
";

/// Opens what is folded in when the page is printed.
const PRINTED: &str =
    "addEventListener('beforeprint',()=>{for(const d of document.querySelectorAll('details'))d.open=true})";

/// Returns the page. It has no reference to anything outside itself.
#[must_use]
pub fn html(run: &RecordedRun) -> String {
    let (grade, word, sentence) = verdict(run);
    let title = title(run);
    let started = escape(&run.plan.started);
    let mut out = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{title}: {word}</title>\n<style>{STYLE}{OWN_STYLE}</style>\n</head>\n<body>\n<main>\n\
         <h1>{title}</h1>\n<section class=\"verdict {class}\">\n{mark}\n<p>{sentence}</p>\n\
         <p class=\"age\">Run {id}, begun <time datetime=\"{started}\">{started}</time></p>\n</section>\n",
        class = grade.class(),
        mark = marked(grade, word),
        sentence = escape(&sentence).replace('\n', "<br>\n"),
        id = escape(&run.plan.id),
    );
    next(run, &mut out);
    let warnings: Vec<String> =
        run.ended.iter().flat_map(|ended| ended.warnings.clone()).chain(run.warning()).collect();
    list("Warnings", (Grade::Warning, "warning"), &warnings, &mut out);
    asked(run, &mut out);
    if let Some(ended) = &run.ended {
        if let Some(seen) = &ended.commits {
            commits(seen, &mut out);
        }
        cluster(ended, &mut out);
    }
    steps(run, &mut out);
    let _ = writeln!(out, "</main>\n<script>{PRINTED}</script>\n</body>\n</html>");
    out
}

/// What the run was for, as the page's title.
fn title(run: &RecordedRun) -> String {
    let known = WORKFLOWS.iter().find(|entry| entry.name == run.plan.workflow);
    let title = known.map_or(run.plan.workflow.as_str(), |entry| entry.title);
    let nodes = run.plan.targets.join(", ");
    let check = if run.plan.check_mode { " (check mode)" } else { "" };
    escape(&if nodes.is_empty() { format!("{title}{check}") } else { format!("{title}: {nodes}{check}") })
}

/// How the run ended: its grade, a word, and a sentence.
fn verdict(run: &RecordedRun) -> (Grade, &'static str, String) {
    let Some(ended) = &run.ended else {
        let sentence =
            "The run is at work, or it was killed: this page was written when its last step began.";
        return (Grade::Unknown, "not ended", sentence.to_owned());
    };
    let count = ended.changes.len();
    let changes = match (count, run.plan.check_mode) {
        (0, _) => "Nothing was to be changed".to_owned(),
        (1, false) => "1 change".to_owned(),
        (_, false) => format!("{count} changes"),
        (_, true) => format!("{count} changes would be made"),
    };
    let took = format!("{changes}, in {}.", duration(ended.elapsed_ms));
    let grade = match ended.verdict {
        RunVerdict::Done | RunVerdict::Unchanged => Grade::Good,
        RunVerdict::Failed | RunVerdict::Incomplete => Grade::Bad,
        RunVerdict::Interrupted | RunVerdict::Running => Grade::Warning,
    };
    let sentence = match &ended.msg {
        Some(why) if count == 0 => why.clone(),
        Some(why) => format!("{why}\n{took}"),
        None => took,
    };
    (grade, ended.verdict.as_str(), sentence)
}

/// The command that runs the same again at a terminal.
fn command(run: &RecordedRun) -> String {
    let mut words = vec!["og".to_owned(), run.plan.workflow.clone()];
    if !run.plan.targets.is_empty() {
        words.push(run.plan.targets.join(","));
    }
    words.join(" ")
}

/// What to do next, by how the run ended.
fn next(run: &RecordedRun, out: &mut String) {
    let same = command(run);
    let (text, typed) = match run.ended.as_ref().map(|ended| ended.verdict) {
        Some(RunVerdict::Done | RunVerdict::Unchanged) if run.plan.check_mode => {
            ("Nothing was changed. The same without check mode does it:", same)
        }
        Some(RunVerdict::Done | RunVerdict::Unchanged) => {
            ("The run is done. To see how the cluster is:", "og status".to_owned())
        }
        Some(RunVerdict::Failed) => {
            ("Put right what is said above; then the same again, with the options of this run:", same)
        }
        Some(RunVerdict::Incomplete) => (
            "Something was done and not all of it. Put right what is said above; the same command, with the options of this run, continues:",
            same,
        ),
        Some(RunVerdict::Interrupted | RunVerdict::Running) | None => {
            ("When the run is no more, the same command, with the options of this run, continues:", same)
        }
    };
    let _ = writeln!(
        out,
        "<h2>What to do next</h2>\n<section class=\"next\">\n<p>{text}</p>\n<pre>{}</pre>\n</section>",
        escape(&typed)
    );
}

fn list(head: &str, (grade, word): (Grade, &str), texts: &[String], out: &mut String) {
    if texts.is_empty() {
        return;
    }
    let _ = writeln!(out, "<h2>{head}</h2>\n<ul>");
    for text in texts {
        let _ = writeln!(out, "<li>{} {}</li>", marked(grade, word), escape(text));
    }
    out.push_str("</ul>\n");
}

fn asked(run: &RecordedRun, out: &mut String) {
    let plan = &run.plan;
    out.push_str("<h2>What was asked</h2>\n<dl>\n");
    let mut row = |name: &str, value: &str| {
        if !value.is_empty() {
            let _ = writeln!(out, "<dt>{}</dt><dd>{}</dd>", escape(name), escape(value));
        }
    };
    row("Workflow", &plan.workflow);
    row("Nodes", &plan.targets.join(", "));
    row("Check mode", if plan.check_mode { "yes" } else { "" });
    for (name, value) in &plan.options {
        row(name, &in_words(value));
    }
    row("Run by", &plan.owner);
    row("Version", &plan.version);
    out.push_str("</dl>\n");
    let cluster = serde_json::to_string_pretty(&plan.cluster).unwrap_or_default();
    let _ = writeln!(
        out,
        "<details><summary class=\"plain\">The cluster as it was described</summary>\n<pre>{}</pre>\n</details>",
        escape(&cluster)
    );
}

fn in_words(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// The commits of the probes: how long there was none, and in which step.
fn commits(seen: &Commits, out: &mut String) {
    out.push_str("<h2>Commits</h2>\n<dl>\n");
    let mut row = |name: &str, value: &str| {
        let _ = writeln!(out, "<dt>{name}</dt><dd>{}</dd>", escape(value));
    };
    let nodes: Vec<String> = seen
        .nodes
        .iter()
        .filter(|(_, count)| **count > 0)
        .map(|(name, count)| format!("{name} {count}"))
        .collect();
    let by = if nodes.is_empty() { String::new() } else { format!(" ({})", nodes.join(", ")) };
    row("Acknowledged", &format!("{} in {}{by}", seen.commits, duration(seen.elapsed_ms)));
    if let Some(longest) = &seen.longest {
        let step = longest.step.as_ref().map_or_else(String::new, |step| format!(", in the step {step}"));
        row("Longest time without one", &format!("{}{step}", pause(longest.elapsed_ms)));
        let CommitPause { from, to, node_before, node_after, .. } = longest;
        row("From", &format!("{from} on {node_before}"));
        row("To", &format!("{to} on {node_after}"));
    }
    if let Some(before) = seen.before_first_ms.filter(|ms| *ms >= NOTABLE_GAP_MS) {
        row("Before the first", &pause(before));
    }
    if let Some(after) = seen.after_last_ms.filter(|ms| *ms >= NOTABLE_GAP_MS) {
        row("After the last", &pause(after));
    }
    out.push_str("</dl>\n");
}

fn cluster(ended: &Ended, out: &mut String) {
    let pictures = [("Before", "before", &ended.before), ("After", "after", &ended.after)];
    if pictures.iter().any(|(_, _, health)| health.is_some()) {
        out.push_str("<h2>The cluster</h2>\n<div class=\"both\">\n");
        for (caption, id, health) in pictures {
            picture(caption, id, health.as_ref(), out);
        }
        out.push_str("</div>\n");
    }
    if !ended.table.is_empty() {
        let _ = writeln!(out, "<pre class=\"table\">{}</pre>", escape(&ended.table.join("\n")));
    }
}

fn picture(caption: &str, id: &str, health: Option<&ClusterHealth>, out: &mut String) {
    let drawn = match health {
        // Both pictures are in one document, in which an id is there once.
        Some(health) => {
            svg(health).replace("og-title", &format!("{id}-title")).replace("og-desc", &format!("{id}-desc"))
        }
        None => "<p>It was not inspected.</p>\n".to_owned(),
    };
    let _ = writeln!(out, "<figure>\n<figcaption>{caption}</figcaption>\n{drawn}</figure>");
}

fn steps(run: &RecordedRun, out: &mut String) {
    let steps: Vec<RunStep> = run.steps().collect();
    if steps.is_empty() {
        return;
    }
    out.push_str("<h2>Steps</h2>\n");
    let times: Vec<Option<u64>> = steps.iter().map(|step| step.time().map(|time| time.elapsed_ms)).collect();
    let longest = times.iter().flatten().max().copied().unwrap_or(0).max(1);
    for (step, time) in steps.iter().zip(times) {
        let changed = step.answers.iter().any(|answer| answer.changed);
        let (class, word) = match (step.has_failed(), changed) {
            (true, _) => (" class=\"wrong\"", ", failed"),
            (false, true) => (" class=\"changed\"", ", changed"),
            (false, false) => ("", ""),
        };
        let share = time.unwrap_or(0) * 100 / longest;
        let _ = writeln!(
            out,
            "<details{class}><summary><span><b>{}</b> <span class=\"nodes\">{}{word}</span></span>\
             <span class=\"bar\"><i style=\"width:{share}%\"></i></span><span class=\"time\">{}</span></summary>\n\
             <ul class=\"calls\">",
            escape(&step.step.step),
            escape(&step.step.nodes().join(", ")),
            time.map_or_else(|| "not ended".to_owned(), duration),
        );
        step.answers.iter().for_each(|own| answer(own, step.step.may_fail || own.call.looks, out));
        out.push_str("</ul>\n</details>\n");
    }
}

fn answer(answer: &AnswerEvent, may_fail: bool, out: &mut String) {
    let mark = match (answer.failed, answer.changed) {
        (true, _) => marked(if may_fail { Grade::Warning } else { Grade::Bad }, "failed"),
        (false, true) => marked(Grade::Good, "changed"),
        (false, false) => String::new(),
    };
    let node = answer.call.node.as_deref().unwrap_or("controller");
    let _ = write!(
        out,
        "<li><p><b>{}</b> {} <span class=\"id\">{}</span> {mark}</p>\n<p>{}</p>\n",
        escape(node),
        escape(&answer.call.program),
        duration(answer.elapsed_ms),
        escape(&answer.msg),
    );
    if answer.changed && !answer.actions.is_empty() {
        out.push_str("<ul>\n");
        for action in &answer.actions {
            let _ = writeln!(out, "<li>{}</li>", escape(action));
        }
        out.push_str("</ul>\n");
    }
    for text in &answer.warnings {
        let _ = writeln!(out, "<p>{} {}</p>", marked(Grade::Warning, "warning"), escape(text));
    }
    if let Some(hint) = answer.error["hint"].as_str() {
        let _ = writeln!(out, "<p>{}</p>", escape(hint));
    }
    if let Some(diff) = &answer.diff {
        let _ = writeln!(out, "<pre>{}</pre>", coloured(diff));
    }
    out.push_str("</li>\n");
}

/// A unified diff with its added and removed lines marked.
fn coloured(diff: &str) -> String {
    let line = |line: &str| match line.as_bytes().first() {
        Some(b'+') => format!("<ins>{}</ins>", escape(line)),
        Some(b'-') => format!("<del>{}</del>", escape(line)),
        _ => escape(line),
    };
    diff.lines().map(line).collect::<Vec<_>>().join("\n")
}
