//! The cluster as a picture: who follows whom, as an SVG that reads without colour.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use og_common::gauss::{DbState, Role};
use og_common::protocol::Bytes;

use super::lines::{role, state};
use super::{ClusterHealth, NodeHealth, Severity, Verdict};

/// The size of a node's box, in pixels.
const BOX: (usize, usize) = (196, 92);
/// Between two boxes beside each other.
const GAP: usize = 20;
/// Between two boxes above each other, where an edge has three lines of text.
const RISE: usize = 88;
/// From the left side of a box to where the edge from above ends, so that its text has the rest of the box's width.
const EDGE_INDENT: usize = 20;
/// Around the whole.
const MARGIN: usize = 16;
/// Room for a line of text above boxes.
const LINE: usize = 28;
/// Boxes beside each other of nodes that follow nobody known.
const LOOSE_COLUMNS: usize = 4;
/// Letters that fit a box in each of its sizes of type.
const FIT: [usize; 2] = [16, 25];

const STYLE: &str = "\
.og text{font-family:system-ui,'Segoe UI',Roboto,'DejaVu Sans',sans-serif;fill:#1b1f24}\
.og .name{font-size:16px;font-weight:600}.og .small{font-size:12.5px}.og .note{font-size:12px;fill:#57606a}\
.og .box{fill:#fff;stroke:#57606a;stroke-width:1.5}.og .edge{fill:none;stroke:#57606a;stroke-width:2}\
.og .dashed{stroke-dasharray:8 5}.og .dotted{stroke-dasharray:2 5}\
.og .good .mark{fill:#1a7f37}.og .warning .mark{fill:#9a6700}.og .bad .mark{fill:#cf222e}\
.og .warning .box{stroke:#9a6700}.og .bad .box{stroke:#cf222e;stroke-width:2.5}\
.og .unknown .mark{fill:none;stroke:#57606a;stroke-width:1.5}.og .sign{fill:none;stroke:#fff;stroke-width:2}\
.og .unknown .sign{stroke:#57606a}\
@media (prefers-color-scheme:dark){@media screen{\
.og text{fill:#e6edf3}.og .note{fill:#9ea7b3}.og .box{fill:#161b22;stroke:#9ea7b3}.og .edge{stroke:#9ea7b3}\
.og .good .mark{fill:#3fb950}.og .warning .mark{fill:#d29922}.og .bad .mark{fill:#f85149}\
.og .warning .box{stroke:#d29922}.og .bad .box{stroke:#f85149}.og .unknown .mark,.og .unknown .sign{stroke:#9ea7b3}\
.og .sign{stroke:#0d1117}}}";

/// Returns the text as it may stand in XML and HTML, in an attribute as well. A character that XML does not allow becomes
/// U+FFFD.
#[must_use]
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\t' | '\n' => out.push(c),
            '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            c if c.is_control() => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

/// Returns the verdict in a word for people.
#[must_use]
pub fn verdict_in_words(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Healthy => "healthy",
        Verdict::Degraded => "degraded",
        Verdict::Unknown => "unknown",
        Verdict::Broken => "broken",
    }
}

/// What a node or a verdict is shown as: each grade has a colour and a mark of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Grade {
    Good,
    Warning,
    Bad,
    Unknown,
}

impl Grade {
    pub(super) fn from_verdict(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Healthy => Self::Good,
            Verdict::Degraded => Self::Warning,
            Verdict::Unknown => Self::Unknown,
            Verdict::Broken => Self::Bad,
        }
    }

    fn from_node(health: &ClusterHealth, node: &NodeHealth) -> Self {
        let own = |severity: Severity| {
            let is_own =
                |f: &&super::Finding| f.node.as_deref() == Some(&node.name) && f.severity == severity;
            // What it lacks is no fault of the node that says so.
            health.findings.iter().filter(is_own).any(|f| !f.id.starts_with("commits."))
        };
        match (node.running, node.db_state) {
            (None, _) => Self::Unknown,
            _ if own(Severity::Error) => Self::Bad,
            (Some(true), None) => Self::Unknown,
            (Some(true), Some(DbState::Normal)) if !own(Severity::Warning) => Self::Good,
            _ => Self::Warning,
        }
    }

    /// Returns the class of its colours.
    pub(crate) fn class(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Warning => "warning",
            Self::Bad => "bad",
            Self::Unknown => "unknown",
        }
    }

    /// Returns its mark, 20 pixels wide and high: a disc with a tick, a triangle with a bar and a point, an octagon with a
    /// cross, an empty dashed ring with a question mark.
    pub(super) fn mark(self) -> &'static str {
        match self {
            Self::Good => {
                r#"<circle class="mark" cx="10" cy="10" r="9"/><path class="sign" d="M5.5 10.5l3 3 6-7"/>"#
            }
            Self::Warning => {
                r#"<path class="mark" d="M10 1L19.5 18.5H.5z"/><path class="sign" d="M10 7v5.5M10 14.5v2"/>"#
            }
            Self::Bad => {
                r#"<path class="mark" d="M6 1h8l5 5v8l-5 5H6l-5-5V6z"/><path class="sign" d="M6 6l8 8M14 6l-8 8"/>"#
            }
            Self::Unknown => {
                r#"<circle class="mark dotted" cx="10" cy="10" r="9"/><path class="sign" d="M7 7.5a3 3 0 1 1 4.2 2.8q-1.2.6-1.2 2M10 14v2"/>"#
            }
        }
    }
}

/// A box of the picture.
enum TreeBox<'a> {
    Node(&'a NodeHealth),
    /// An upstream that is none of the cluster's nodes, by its address.
    Stranger(&'a str),
}

/// A box with the boxes below it.
struct Tree<'a> {
    place: TreeBox<'a>,
    below: Vec<Tree<'a>>,
}

impl Tree<'_> {
    fn width(&self) -> usize {
        width_of(&self.below).max(BOX.0)
    }

    fn height(&self) -> usize {
        self.below.iter().map(|tree| tree.height() + RISE).max().unwrap_or(0) + BOX.1
    }
}

fn width_of(trees: &[Tree<'_>]) -> usize {
    trees.iter().map(|tree| tree.width() + GAP).sum::<usize>().saturating_sub(GAP)
}

/// Returns the picture as an SVG document: the primary at the top, below it who follows it; nodes of which no upstream is
/// known stand apart.
#[must_use]
pub fn svg(health: &ClusterHealth) -> String {
    let (trees, loose) = arrange(health);
    let columns = loose.len().min(LOOSE_COLUMNS);
    let loose_width = (columns * (BOX.0 + GAP)).saturating_sub(GAP);
    let width = width_of(&trees).max(loose_width).max(BOX.0);
    let tall = trees.iter().map(Tree::height).max().unwrap_or(0);
    let rows = loose.len().div_ceil(LOOSE_COLUMNS);
    let loose_height = if rows == 0 { 0 } else { LINE + rows * (BOX.1 + GAP) };
    let (full, high) = (width + 2 * MARGIN, tall + loose_height + 2 * MARGIN);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"og\" role=\"img\" aria-labelledby=\"og-title og-desc\" \
         viewBox=\"0 0 {full} {high}\" width=\"{full}\" height=\"{high}\">\n\
         <title id=\"og-title\">Cluster: {}</title>\n<desc id=\"og-desc\">{}</desc>\n<style>{STYLE}</style>\n",
        verdict_in_words(health.verdict),
        escape(&health.sentence)
    );
    let mut left = MARGIN + (width - width_of(&trees)) / 2;
    for tree in &trees {
        draw(health, tree, (left, MARGIN), &mut out);
        left += tree.width() + GAP;
    }
    if !loose.is_empty() {
        let top = MARGIN + tall + if tall == 0 { 16 } else { LINE };
        text(&mut out, (MARGIN, top), "note", "No upstream is known of:");
        for (at, node) in loose.iter().enumerate() {
            let x = MARGIN + at % LOOSE_COLUMNS * (BOX.0 + GAP);
            let y = top + 12 + at / LOOSE_COLUMNS * (BOX.1 + GAP);
            draw_node(health, node, (x, y), &mut out);
        }
    }
    out.push_str("</svg>\n");
    out
}

/// Returns the trees, those of primaries first, and the nodes that neither follow nor are followed.
fn arrange(health: &ClusterHealth) -> (Vec<Tree<'_>>, Vec<&NodeHealth>) {
    let mut drawn = BTreeSet::new();
    let (mut trees, mut loose) = (Vec::new(), Vec::new());
    let heads =
        |node: &&NodeHealth| node.role == Some(Role::Primary) || Some(&node.name) == health.primary.as_ref();
    for node in health.nodes.iter().filter(heads) {
        trees.extend(build_tree(health, node, &mut drawn));
    }
    let is_known = |up: &str| health.node(up).is_some();
    let strangers: BTreeSet<&str> =
        health.nodes.iter().filter_map(|n| n.upstream.as_deref()).filter(|up| !is_known(up)).collect();
    for address in strangers {
        let below = health.nodes.iter().filter(|n| n.upstream.as_deref() == Some(address));
        let below: Vec<_> = below.filter_map(|n| build_tree(health, n, &mut drawn)).collect();
        if !below.is_empty() {
            trees.push(Tree { place: TreeBox::Stranger(address), below });
        }
    }
    // Nodes whose upstream is not known; then those that follow each other in a circle, which has no beginning.
    let ends = health.nodes.iter().filter(|n| n.upstream.is_none());
    for node in ends.chain(&health.nodes) {
        match build_tree(health, node, &mut drawn) {
            Some(tree) if tree.below.is_empty() => loose.push(node),
            tree => trees.extend(tree),
        }
    }
    (trees, loose)
}

fn build_tree<'a>(
    health: &'a ClusterHealth,
    node: &'a NodeHealth,
    drawn: &mut BTreeSet<&'a str>,
) -> Option<Tree<'a>> {
    if !drawn.insert(&node.name) {
        return None;
    }
    let followers = health.nodes.iter().filter(|other| {
        other.upstream.as_deref() == Some(node.name.as_str()) && other.role != Some(Role::Primary)
    });
    let below = followers.filter_map(|other| build_tree(health, other, drawn)).collect();
    Some(Tree { place: TreeBox::Node(node), below })
}

/// Draws the tree with its left upper corner here.
fn draw(health: &ClusterHealth, tree: &Tree<'_>, (left, top): (usize, usize), out: &mut String) {
    let middle = left + tree.width() / 2;
    let corner = (middle - BOX.0 / 2, top);
    let (bottom, below) = (top + BOX.1, top + BOX.1 + RISE);
    let mut at = left + (tree.width() - width_of(&tree.below)) / 2;
    for branch in &tree.below {
        let end = at + branch.width() / 2 - BOX.0 / 2 + EDGE_INDENT;
        if let TreeBox::Node(node) = branch.place {
            draw_edge(node, (middle, bottom), (end, below), out);
        }
        draw(health, branch, (at, below), out);
        at += branch.width() + GAP;
    }
    match tree.place {
        TreeBox::Node(node) => draw_node(health, node, corner, out),
        TreeBox::Stranger(address) => {
            draw_box(Grade::Unknown, [address, "not one of these nodes", "", "not inspected"], corner, out);
        }
    }
}

/// Draws that a node receives from the one above: a full line while it streams, dashed when it does not, dotted when that
/// is not known; beside it the same in words, and how far it is behind.
fn draw_edge(node: &NodeHealth, from: (usize, usize), to: (usize, usize), out: &mut String) {
    let (line, word) = match node.streaming {
        Some(true) => ("", "streams"),
        Some(false) => (" dashed", "does not stream"),
        None => (" dotted", "streaming unknown"),
    };
    let turn = from.1 + 20;
    let _ =
        writeln!(out, "<path class=\"edge{line}\" d=\"M{} {}V{turn}H{}V{}\"/>", from.0, from.1, to.0, to.1);
    let sync = node.sync_state.as_ref().map_or(String::new(), |sync| format!(", {sync}"));
    let lag = |bytes: Option<Bytes>| bytes.map_or_else(|| "?".to_owned(), |bytes| bytes.to_string());
    let words = [
        format!("{word}{sync}"),
        format!("receive lag {}", lag(node.receive_lag_bytes)),
        format!("replay lag {}", lag(node.replay_lag_bytes)),
    ];
    // To the right of the line.
    for (up, words) in [42, 26, 10].into_iter().zip(words) {
        text(out, (to.0 + 6, to.1 - up), "note", &words);
    }
}

fn draw_node(health: &ClusterHealth, node: &NodeHealth, corner: (usize, usize), out: &mut String) {
    let role = match role(node) {
        unknown if node.role.is_none() => format!("role {unknown}"),
        known => known,
    };
    draw_box(Grade::from_node(health, node), [&node.name, &node.address, &role, &state(node)], corner, out);
}

/// Draws a box with name, address, role and state.
fn draw_box(grade: Grade, words: [&str; 4], (x, y): (usize, usize), out: &mut String) {
    let [name, address, role, state] = words;
    let whole = words.iter().filter(|word| !word.is_empty()).copied().collect::<Vec<_>>().join(", ");
    let dashed = if grade == Grade::Unknown { " dashed" } else { "" };
    let _ = writeln!(
        out,
        "<g class=\"{}\"><title>{}</title><rect class=\"box{dashed}\" x=\"{x}\" y=\"{y}\" width=\"{}\" height=\"{}\" \
         rx=\"6\"/><g transform=\"translate({} {})\">{}</g>",
        grade.class(),
        escape(&whole),
        BOX.0,
        BOX.1,
        x + BOX.0 - 30,
        y + 10,
        grade.mark()
    );
    for (class, down, fit, words) in [
        ("name", 25, FIT[0], name),
        ("small", 44, FIT[1], address),
        ("small", 62, FIT[1], role),
        ("small", 80, FIT[1], state),
    ] {
        text(out, (x + 12, y + down), class, &shorten(words, fit));
    }
    out.push_str("</g>\n");
}

fn text(out: &mut String, (x, y): (usize, usize), class: &str, words: &str) {
    if !words.is_empty() {
        let _ = writeln!(out, "<text class=\"{class}\" x=\"{x}\" y=\"{y}\">{}</text>", escape(words));
    }
}

/// Returns the words, or their beginning and end where they are longer than this.
fn shorten(words: &str, most: usize) -> String {
    let letters: Vec<char> = words.chars().collect();
    if letters.len() <= most {
        return words.to_owned();
    }
    let (head, tail) = (most.div_ceil(2) - 1, most / 2);
    letters[..head].iter().chain(&['…']).chain(&letters[letters.len() - tail..]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_from_outside_is_markup() {
        assert_eq!(
            escape("<a b=\"c\" d='e'>&\u{1b}[0m\n"),
            "&lt;a b=&quot;c&quot; d=&#39;e&#39;&gt;&amp;\u{fffd}[0m\n"
        );
    }

    #[test]
    fn long_words_keep_their_ends() {
        assert_eq!(shorten("short", 5), "short");
        assert_eq!(shorten("[2001:db8::1]:26000", 10), "[200…26000");
    }
}
