//! The health of a cluster as a page for a browser: one file that needs nothing else.

use std::fmt::Write as _;

use og_common::clock::rfc3339;
use og_common::gauss::Role;

use super::cm;
use super::lines::cells;
use super::picture::{Grade, escape, svg, verdict_in_words};
use super::{ClusterHealth, Finding, NodeHealth, Readiness, ReadyVerdict, Severity};

/// The style of every page: colours by light and dark, verdicts, tables, what a phone and a printer need.
pub(crate) const STYLE: &str = "
:root{color-scheme:light dark;--text:#1b1f24;--back:#fff;--soft:#57606a;--line:#d0d7de;--panel:#f6f8fa;
--good:#1a7f37;--warning:#9a6700;--bad:#cf222e;--unknown:#57606a}
@media screen and (prefers-color-scheme:dark){:root{--text:#e6edf3;--back:#0d1117;--soft:#9ea7b3;--line:#30363d;
--panel:#161b22;--good:#3fb950;--warning:#d29922;--bad:#f85149;--unknown:#9ea7b3}}
body{margin:0 auto;padding:1rem;max-width:72rem;font:16px/1.5 system-ui,'Segoe UI',Roboto,'DejaVu Sans',sans-serif;
color:var(--text);background:var(--back)}
h1{font-size:1.5rem;margin:0;overflow-wrap:anywhere}h2{font-size:1.15rem;margin:2rem 0 .5rem}
.verdict{border-left:.5rem solid;padding:.25rem 0 .25rem 1rem;margin:1rem 0}
.verdict p{margin:.25rem 0;color:var(--text)}.verdict svg{vertical-align:-.15em}
.word{font-weight:600;white-space:nowrap}
.good{--own:var(--good)}.warning{--own:var(--warning)}.bad{--own:var(--bad)}.unknown{--own:var(--unknown)}
.verdict,.word{border-color:var(--own);color:var(--own)}
.word .mark{fill:var(--own)}.word .sign{fill:none;stroke:var(--back);stroke-width:2}
.unknown.word .mark,.unknown .word .mark{fill:none;stroke:var(--own);stroke-width:1.5}
.unknown .word .sign,.unknown.word .sign{stroke:var(--own)}
.verdict .age,.id{color:var(--soft);font-size:.9rem}
figure{margin:1rem 0;overflow-x:auto}figure svg{max-width:100%;height:auto;display:block}
figure.wide svg{max-width:none}
.scroll{overflow-x:auto}table{border-collapse:collapse;width:100%;font-size:.85rem}
th,td{text-align:left;padding:.35rem .5rem;border-bottom:1px solid var(--line);vertical-align:top}
th{color:var(--soft);font-weight:600}th,td{white-space:nowrap}
ul{list-style:none;padding:0;margin:0}
li{border:1px solid var(--line);border-radius:6px;padding:.6rem .8rem;margin:.5rem 0;overflow-wrap:anywhere;break-inside:avoid}
pre{margin:.5rem 0 0;padding:.5rem;background:var(--panel);border-radius:4px;font:.85rem/1.45 ui-monospace,'DejaVu Sans Mono',
monospace;white-space:pre-wrap;overflow-wrap:anywhere}
@media (max-width:40rem){table,tbody,tr,td{display:block}thead{display:none}
tr{border:1px solid var(--line);border-radius:6px;margin:.5rem 0;padding:.4rem .6rem}
td{border:0;padding:.1rem 0;white-space:normal;overflow-wrap:anywhere;display:flex;gap:.75rem}td::before{content:attr(data-head);color:var(--soft);flex:0 0 8rem}}
@media print{body{max-width:none;padding:0}figure svg{max-width:100%}.scroll,figure{overflow:visible}
th,td{white-space:normal;padding:.2rem}table{font-size:.7rem}}
";

/// Adds how long ago the nodes were inspected; without it the page says when.
const AGE: &str = "for(const t of document.querySelectorAll('time')){const m=Math.floor((Date.now()-Date.parse(t.dateTime))/60000);\
if(m>0)t.textContent+=' ('+(m<120?m+' min':m<2880?Math.floor(m/60)+' h':Math.floor(m/1440)+' days')+' before this page was opened)'}";

/// With more nodes than this the picture is scrolled, not shrunk.
const WIDE: usize = 5;

/// Returns the page. `at`: when the nodes were inspected, in seconds since 1970. It has no reference to anything outside
/// itself; without scripts only the age is not reckoned.
#[must_use]
pub fn html(health: &ClusterHealth, cluster: &str, at: u64) -> String {
    let (cluster, when) = (escape(cluster), rfc3339(at));
    let (grade, word) = (Grade::from_verdict(health.verdict), verdict_in_words(health.verdict));
    let wide = if health.nodes.len() > WIDE { " class=\"wide\"" } else { "" };
    let mut out = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{cluster}: {word}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n\
         <h1>openGauss cluster {cluster}</h1>\n<section class=\"verdict {class}\">\n{mark}\n<p>{sentence}</p>\n\
         <p class=\"age\">Inspected <time datetime=\"{when}\">{when}</time></p>\n</section>\n\
         <figure{wide}>\n{picture}</figure>\n",
        class = grade.class(),
        mark = marked(grade, word),
        sentence = escape(&health.sentence),
        picture = svg(health),
    );
    table(health, &mut out);
    if let Some(view) = &health.cm {
        let _ = writeln!(out, "<p>{}</p>", escape(&cm::line(view)));
    }
    findings(&health.findings, &mut out);
    // Of nodes that could not be reached it would say nothing but that, twice each.
    if !health.reaches_no_node() {
        readiness(&health.nodes, &mut out);
    }
    let _ = writeln!(out, "</main>\n<script>{AGE}</script>\n</body>\n</html>");
    out
}

/// A word with the mark and the colour of its grade.
pub(crate) fn marked(grade: Grade, word: &str) -> String {
    format!(
        "<span class=\"word {}\"><svg width=\"16\" height=\"16\" viewBox=\"0 0 20 20\" aria-hidden=\"true\">{}</svg> {word}</span>",
        grade.class(),
        grade.mark()
    )
}

fn table(health: &ClusterHealth, out: &mut String) {
    let (heads, rows) = cells(health);
    out.push_str("<h2>Nodes</h2>\n<div class=\"scroll\"><table>\n<thead><tr>");
    let heads: Vec<String> = heads.into_iter().map(in_sentence_case).collect();
    for head in &heads {
        let _ = write!(out, "<th scope=\"col\">{head}</th>");
    }
    out.push_str("</tr></thead>\n<tbody>\n");
    for row in rows {
        out.push_str("<tr>");
        for (head, cell) in heads.iter().zip(row) {
            let _ = write!(out, "<td data-head=\"{head}\">{}</td>", escape(&cell));
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</tbody>\n</table></div>\n");
}

/// The head of a column without its capitals.
fn in_sentence_case(head: &str) -> String {
    let (first, rest) = head.split_at(1);
    format!("{first}{}", rest.to_lowercase())
}

fn findings(findings: &[Finding], out: &mut String) {
    out.push_str("<h2>Findings</h2>\n");
    if findings.is_empty() {
        out.push_str("<p>None.</p>\n");
        return;
    }
    out.push_str("<ul>\n");
    for finding in findings {
        let (grade, word) = match finding.severity {
            Severity::Error => (Grade::Bad, "error"),
            Severity::Warning => (Grade::Warning, "warning"),
            Severity::Info => (Grade::Good, "info"),
        };
        let node = finding.node.as_ref().map_or(String::new(), |name| format!("<b>{}</b>: ", escape(name)));
        let fix = finding.fix.as_ref().map_or(String::new(), |fix| format!("<pre>{}</pre>", escape(fix)));
        let _ = writeln!(
            out,
            "<li>{} {node}{} <span class=\"id\">[{}]</span>{fix}</li>",
            marked(grade, word),
            escape(&finding.message),
            escape(&finding.id)
        );
    }
    out.push_str("</ul>\n");
}

/// Why standbys are not ready for what may come; nothing where all are.
fn readiness(nodes: &[NodeHealth], out: &mut String) {
    let mut lines = Vec::new();
    for node in nodes.iter().filter(|node| node.role.is_none_or(Role::is_following)) {
        for (what, ready) in [("switchover", &node.switchover_ready), ("failover", &node.failover_ready)] {
            lines.extend(unready_reason(&node.name, what, ready));
        }
    }
    if !lines.is_empty() {
        let _ = writeln!(out, "<h2>Why not ready</h2>\n<ul>\n{}\n</ul>", lines.join("\n"));
    }
}

fn unready_reason(node: &str, what: &str, ready: &Readiness) -> Option<String> {
    let answer = match ready.verdict {
        ReadyVerdict::Yes => return None,
        ReadyVerdict::No => "not ready",
        ReadyVerdict::Unknown => "not known whether it is ready",
    };
    let reasons = escape(&ready.reasons.join("; "));
    Some(format!("<li><b>{}</b>: {answer} for a {what}: {reasons}</li>", escape(node)))
}
