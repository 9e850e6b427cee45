//! A picture of a cluster: zones as boxes side by side, in each the servers as cards. From the primary a line leads to
//! its standbys; cascade standbys hang, dashed, on a standby of their zone where there is one.
//!
//! Lines run in gutters that no card stands in, so that nothing crosses a text however many nodes there are: down the
//! left side of each zone to what hangs on a server, across the zones between two rows, and down the right side of a
//! zone where something in another zone hangs on one of its standbys.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use og_common::cluster::{Cluster, ClusterAddress, ClusterNode, ConfiguredRole, DataNode};

/// All lengths are in pixels. The font is monospaced, whichever it is; none is wider than this a character.
const CHAR: usize = 8;
const LINE: usize = 18;
/// Between the border of a card and its text.
const PAD: usize = 12;
/// Between cards, and between lines and cards.
const GAP: usize = 22;
/// Between the zones.
const ZONE_GAP: usize = 26;
/// Around the whole.
const MARGIN: usize = 20;
/// Room for the zone's name.
const ZONE_HEAD: usize = 40;
/// Characters in a line before it is broken, and lines before the rest is left out.
const WIDEST: usize = 40;
const MOST_LINES: usize = 3;

/// A text in a card.
struct Line {
    text: String,
    class: &'static str,
}

/// A server, or a machine without one.
struct Card {
    zone: usize,
    /// How deep it is indented: below what it hangs on.
    level: usize,
    role: Option<ConfiguredRole>,
    lines: Vec<Line>,
    /// All that it says in full, for whoever points at it.
    title: String,
    x: usize,
    y: usize,
}

impl Card {
    fn new(zone: usize, level: usize, node: &ClusterNode, server: Option<&DataNode>, groups: usize) -> Self {
        let mut lines = Vec::new();
        let mut title = node.name.clone();
        let mut put = |class, text: String| {
            title += "\n";
            title += &text;
            lines.extend(break_lines(&text).into_iter().map(|text| Line { text, class }));
        };
        if let Some(d) = server {
            let group = if groups > 1 { format!(", group {}", d.group) } else { String::new() };
            put("r", format!("{}{group}", role_name(d.role)));
            put("t", format!("node {}, {}", node.id, d.name()));
            d.listen_addresses.iter().for_each(|a| put("t", socket(a, d.port)));
            if d.ha_addresses != d.listen_addresses || d.ha_port != d.port.saturating_add(1) {
                d.ha_addresses
                    .iter()
                    .for_each(|a| put("t", format!("replicates on {}", socket(a, d.ha_port))));
            }
            put("t", d.data_dir.clone());
            if !d.xlog_dir.is_empty() {
                put("t", format!("WAL in {}", d.xlog_dir));
            }
        } else {
            put("r", "no server".to_owned());
            put("t", format!("node {}", node.id));
            node.addresses.iter().for_each(|a| put("t", a.to_string()));
        }
        if let Some(s) = &node.cm_server {
            put("t", format!("CM server {}, port {}", s.id, s.port));
        }
        let mut named: Vec<_> =
            break_lines(&node.name).into_iter().map(|text| Line { text, class: "n" }).collect();
        named.extend(lines);
        Self { zone, level, role: server.map(|d| d.role), lines: named, title, x: 0, y: 0 }
    }

    fn height(&self) -> usize {
        self.lines.len() * LINE + 2 * PAD - 4
    }

    /// Where lines from the left end.
    fn middle(&self) -> usize {
        self.y + self.height() / 2
    }
}

fn role_name(role: ConfiguredRole) -> &'static str {
    match role {
        ConfiguredRole::Primary => "primary",
        ConfiguredRole::Standby => "standby",
        ConfiguredRole::DummyStandby => "dummy standby",
        ConfiguredRole::CascadeStandby => "cascade standby",
    }
}

fn socket(address: &ClusterAddress, port: u32) -> String {
    match address.ip() {
        Some(ip) if ip.is_ipv6() => format!("[{address}]:{port}"),
        _ => format!("{address}:{port}"),
    }
}

/// Columns of a monospaced font that a character takes.
fn columns(c: char) -> usize {
    if u32::from(c) >= 0x1100 { 2 } else { 1 }
}

fn width(text: &str) -> usize {
    text.chars().map(columns).sum()
}

/// The text in lines; what is longer than the most lines loses its middle.
fn break_lines(text: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut at = 0;
    for c in text.chars() {
        if at + columns(c) > WIDEST {
            lines.push(String::new());
            at = 0;
        }
        at += columns(c);
        if let Some(line) = lines.last_mut() {
            line.push(c);
        }
    }
    if lines.len() > MOST_LINES {
        let tail: String = {
            let mut back: Vec<char> = text.chars().rev().take(WIDEST / 2).collect();
            back.reverse();
            back.into_iter().collect()
        };
        lines.truncate(MOST_LINES - 1);
        lines.push(format!("… {tail}"));
    }
    lines
}

/// Text as it may stand in XML.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' => out.push('\n'),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

/// A line of the picture: its points, and whether it is dashed.
struct Wire {
    path: String,
    dashed: bool,
}

/// What hangs on what.
struct Layout {
    cards: Vec<Card>,
    /// Pairs of cards: what receives, and from whom.
    links: Vec<(usize, usize)>,
    /// The cards of each row from the top, by what they are; rows do not overlap.
    rows: Vec<Vec<usize>>,
}

/// Sorts the servers into rows: in each group the primary, the standbys with the cascade standbys of their zone, then
/// the cascade standbys of other zones; at last the machines without a server.
fn plan_layout(cluster: &Cluster, zones: &[&str]) -> Layout {
    let mut plan = Layout { cards: Vec::new(), links: Vec::new(), rows: Vec::new() };
    let zone = |n: &ClusterNode| zones.iter().position(|z| *z == n.zone).unwrap_or(0);
    let groups: BTreeSet<u32> = cluster.data_nodes().map(|(_, d)| d.group).collect();
    for group in &groups {
        let members: Vec<_> = cluster.data_nodes().filter(|(_, d)| d.group == *group).collect();
        let primary = members.iter().find(|(_, d)| d.role == ConfiguredRole::Primary);
        let mut put =
            |cards: &mut Vec<Card>, level, (n, d): (&ClusterNode, &DataNode), from: Option<usize>| {
                cards.push(Card::new(zone(n), level, n, Some(d), groups.len()));
                plan.links.extend(from.map(|from| (cards.len() - 1, from)));
                cards.len() - 1
            };
        let mut cards = std::mem::take(&mut plan.cards);
        let top = primary.map(|p| put(&mut cards, 0, *p, None));
        plan.rows.push(top.into_iter().collect());
        let (mut below, mut hung) = (Vec::new(), BTreeSet::new());
        let mut first_standby = None;
        let is = |role| members.iter().filter(move |(_, d)| d.role == role);
        for standby in is(ConfiguredRole::Standby).chain(is(ConfiguredRole::DummyStandby)) {
            let at = put(&mut cards, 1, *standby, top);
            below.push(at);
            if standby.1.role == ConfiguredRole::Standby {
                first_standby.get_or_insert(at);
                // The first standby of a zone gets the zone's cascade standbys.
                for cascade in is(ConfiguredRole::CascadeStandby) {
                    if cascade.0.zone == standby.0.zone && hung.insert(cascade.1.id) {
                        below.push(put(&mut cards, 2, *cascade, Some(at)));
                    }
                }
            }
        }
        plan.rows.push(below);
        let mut elsewhere = Vec::new();
        for cascade in is(ConfiguredRole::CascadeStandby).filter(|(_, d)| !hung.contains(&d.id)) {
            elsewhere.push(put(&mut cards, 1, *cascade, first_standby.or(top)));
        }
        plan.rows.push(elsewhere);
        plan.cards = cards;
    }
    let mut last = Vec::new();
    for node in cluster.nodes.iter().filter(|n| n.data_nodes.is_empty()) {
        last.push(plan.cards.len());
        plan.cards.push(Card::new(zone(node), 0, node, None, groups.len()));
    }
    plan.rows.push(last);
    plan.rows.retain(|r| !r.is_empty());
    plan
}

/// The zones by their priority, then as they come.
fn zones(cluster: &Cluster) -> Vec<&str> {
    let mut found: BTreeMap<(u32, usize), &str> = BTreeMap::new();
    for (i, node) in cluster.nodes.iter().enumerate() {
        if !found.values().any(|z| *z == node.zone) {
            found.insert((node.zone_priority, i), &node.zone);
        }
    }
    found.into_values().collect()
}

/// Draws the cluster; `about` says where it comes from. The picture needs nothing but itself.
#[must_use]
pub fn draw(cluster: &Cluster, about: &str) -> String {
    let zones = zones(cluster);
    let mut plan = plan_layout(cluster, &zones);
    let text = plan.cards.iter().flat_map(|c| &c.lines).map(|l| width(&l.text)).max().unwrap_or(0).max(24);
    let card_width = text * CHAR + 2 * PAD;
    // Two levels of indentation, and a gutter on the right.
    let deepest = plan.cards.iter().map(|c| c.level).max().unwrap_or(0);
    let labels: Vec<Vec<String>> = zones.iter().map(|z| break_lines(z)).collect();
    let zone_width = card_width + deepest * GAP + 2 * GAP;
    let zone_x = |zone: usize| MARGIN + zone * (zone_width + ZONE_GAP);
    let head = ZONE_HEAD + (labels.iter().map(Vec::len).max().unwrap_or(1) - 1) * LINE;
    let top = MARGIN + 2 * LINE + 14;

    // Each row begins below the longest column of the row above.
    let mut y = top + head;
    let mut row_tops = Vec::new();
    let mut row_of = vec![0; plan.cards.len()];
    for (number, row) in plan.rows.iter().enumerate() {
        row_tops.push(y);
        let mut ends = vec![y; zones.len()];
        for i in row {
            let card = &mut plan.cards[*i];
            card.x = zone_x(card.zone) + GAP + card.level * GAP;
            card.y = ends[card.zone];
            ends[card.zone] += card.height() + GAP;
            row_of[*i] = number;
        }
        y = ends.into_iter().max().unwrap_or(y) + GAP / 2;
    }
    let bottom = y - GAP / 2;
    let wires = route_wires(&plan, &row_of, &row_tops, |zone| zone_x(zone) + zone_width - GAP / 2);

    let drawing = zone_x(zones.len().saturating_sub(1)) + zone_width + MARGIN;
    let counts = describe_counts(cluster);
    let dashed = wires.iter().any(|w| w.dashed);
    let mut notes = vec!["Roles are those of the file, the live ones may differ."];
    if dashed {
        notes.push("A cascade standby receives from a standby;");
        notes.push("the file does not say from which one.");
    }
    let longest = notes.iter().copied().chain([about, &counts]).map(width).max().unwrap_or(0);
    let whole = (drawing, bottom + 2 * MARGIN + notes.len() * LINE);
    let size = (whole.0.max(longest * CHAR + 2 * MARGIN), whole.1);

    let mut out = String::new();
    // A String takes all that is written to it.
    let _ = write!(out, "{}", prologue(size, &counts, about));
    for (i, label) in labels.iter().enumerate() {
        let (x, height) = (zone_x(i), bottom - top);
        let _ = writeln!(
            out,
            r#"<rect class="z" x="{x}" y="{top}" width="{zone_width}" height="{height}" rx="10"/>"#
        );
        for (n, line) in label.iter().enumerate() {
            put_text(&mut out, "zn", x + GAP, top + 26 + n * LINE, line);
        }
    }
    for wire in &wires {
        let class = if wire.dashed { "w d" } else { "w" };
        let _ = writeln!(out, r#"<path class="{class}" d="{}"/>"#, wire.path);
    }
    for card in &plan.cards {
        put_card(&mut out, card, card_width);
    }
    for (i, note) in notes.iter().enumerate() {
        put_text(&mut out, "s", MARGIN, bottom + MARGIN + 8 + i * LINE, note);
    }
    out += "</svg>\n";
    out
}

/// The lines between the cards.
fn route_wires(
    plan: &Layout,
    row_of: &[usize],
    row_tops: &[usize],
    right: impl Fn(usize) -> usize,
) -> Vec<Wire> {
    plan.links
        .iter()
        .map(|(to, from)| {
            let (card, source) = (&plan.cards[*to], &plan.cards[*from]);
            let dashed = card.role == Some(ConfiguredRole::CascadeStandby);
            // Down the left side, above the card that it belongs to.
            let left = card.x - GAP / 2;
            let (end, middle) = (card.x - 2, card.middle());
            let bus = row_tops[row_of[*to]] - GAP * 3 / 4;
            let path =
                if source.zone == card.zone && (row_of[*from] == row_of[*to] || source.level < card.level) {
                    format!("M{left} {} V{middle} H{end}", source.y + source.height())
                } else if row_of[*from] + 1 == row_of[*to] && source.level == 0 {
                    format!(
                        "M{} {} V{bus} H{left} V{middle} H{end}",
                        source.x + GAP / 2,
                        source.y + source.height()
                    )
                } else {
                    // Around what stands below the source.
                    let (edge, start) = (right(source.zone), source.middle());
                    format!("M{} {start} H{edge} V{bus} H{left} V{middle} H{end}", source.x + GAP)
                };
            Wire { path, dashed }
        })
        .collect()
}

fn describe_counts(cluster: &Cluster) -> String {
    let count = |role| cluster.data_nodes().filter(|(_, d)| d.role == role).count();
    let mut parts = vec![count_words(cluster.nodes.len(), "node")];
    for role in [
        ConfiguredRole::Primary,
        ConfiguredRole::Standby,
        ConfiguredRole::CascadeStandby,
        ConfiguredRole::DummyStandby,
    ] {
        if count(role) > 0 {
            parts.push(count_words(count(role), role_name(role)));
        }
    }
    parts.join(", ")
}

fn count_words(count: usize, what: &str) -> String {
    let plural = match (count, what.strip_suffix('y')) {
        (1, _) => what.to_owned(),
        (_, Some(stem)) if what == "primary" => format!("{stem}ies"),
        _ => format!("{what}s"),
    };
    format!("{count} {plural}")
}

fn prologue((width, height): (usize, usize), counts: &str, about: &str) -> String {
    let mut out = format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" role="img">
<title>openGauss cluster: {counts}</title>
<style>
text {{ font-family: "DejaVu Sans Mono", Menlo, Consolas, "Liberation Mono", monospace; font-size: 13px; fill: #24292f; white-space: pre }}
.h {{ font-size: 15px; font-weight: bold }} .n {{ font-weight: bold }} .s {{ font-size: 12px; fill: #57606a }}
.zn {{ font-weight: bold; fill: #57606a }} .z {{ fill: #f6f8fa; stroke: #d0d7de }}
.c {{ fill: #ffffff; stroke: #afb8c1 }} .w {{ fill: none; stroke: #57606a; stroke-width: 1.5; marker-end: url(#a) }}
.d {{ stroke-dasharray: 5 4 }}
.p {{ fill: #116329 }} .b {{ fill: #0550ae }} .k {{ fill: #8250df }} .o {{ fill: #6e7781 }}
</style>
<defs><marker id="a" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto"><path d="M0 0 L8 4 L0 8 z" fill="#57606a"/></marker></defs>
<rect width="{width}" height="{height}" fill="#ffffff"/>
"##,
        counts = escape(counts)
    );
    put_text(&mut out, "h", MARGIN, MARGIN + 14, counts);
    put_text(&mut out, "s", MARGIN, MARGIN + 14 + LINE, about);
    out
}

fn put_card(out: &mut String, card: &Card, width: usize) {
    let (x, y, height) = (card.x, card.y, card.height());
    let color = match card.role {
        Some(ConfiguredRole::Primary) => "p",
        Some(ConfiguredRole::Standby) => "b",
        Some(ConfiguredRole::CascadeStandby) => "k",
        Some(ConfiguredRole::DummyStandby) | None => "o",
    };
    // A String takes all that is written to it.
    let _ = writeln!(out, "<g><title>{}</title>", escape(&card.title));
    let _ = writeln!(out, r#"<rect class="c" x="{x}" y="{y}" width="{width}" height="{height}" rx="6"/>"#);
    let _ = writeln!(out, r#"<rect class="{color}" x="{x}" y="{y}" width="5" height="{height}" rx="2"/>"#);
    for (i, line) in card.lines.iter().enumerate() {
        let class = if line.class == "r" { color } else { line.class };
        put_text(out, class, x + PAD, y + PAD + 10 + i * LINE, &line.text);
    }
    out.push_str("</g>\n");
}

fn put_text(out: &mut String, class: &str, x: usize, y: usize, text: &str) {
    let _ = writeln!(out, r#"<text class="{class}" x="{x}" y="{y}">{}</text>"#, escape(text));
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use og_common::cluster::spec::{Addresses, NodeSpec, build};

    fn node(name: &str, n: u32, zone: &str, role: ConfiguredRole) -> NodeSpec {
        NodeSpec {
            name: name.to_owned(),
            address: Addresses::One(format!("10.0.0.{n}")),
            zone: Some(zone.to_owned()),
            role: Some(role),
            data_dir: Some("/gauss/data/db1".to_owned()),
            ..NodeSpec::default()
        }
    }

    fn cluster() -> Cluster {
        let nodes = [
            node("prod", 1, "AZ1", ConfiguredRole::Primary),
            node("stb1", 2, "AZ1", ConfiguredRole::Standby),
            node(&"long".repeat(16), 3, "AZ2", ConfiguredRole::Standby),
            node("cas1", 4, "AZ1", ConfiguredRole::CascadeStandby),
            NodeSpec {
                data_dir: Some(format!("/{}/end", "d".repeat(900))),
                ..node("cas2", 5, "AZ3", ConfiguredRole::CascadeStandby)
            },
        ];
        build(&nodes, None).unwrap()
    }

    /// The numbers behind `name="` in each element that begins with `start`.
    fn numbers(svg: &str, start: &str, name: &str) -> Vec<usize> {
        svg.lines()
            .filter(|l| l.starts_with(start))
            .map(|l| {
                l.split(&format!(" {name}=\"")).nth(1).unwrap().split('"').next().unwrap().parse().unwrap()
            })
            .collect()
    }

    #[test]
    fn cards_overlap_neither_each_other_nor_the_borders_and_texts_stay_within() {
        let svg = draw(&cluster(), "about");
        let get = |name| numbers(&svg, "<rect class=\"c\"", name);
        let (xs, ys, ws, hs) = (get("x"), get("y"), get("width"), get("height"));
        assert_eq!(xs.len(), 5);
        for i in 0..xs.len() {
            for k in 0..i {
                let beside = xs[i] + ws[i] <= xs[k] || xs[k] + ws[k] <= xs[i];
                let below = ys[i] + hs[i] <= ys[k] || ys[k] + hs[k] <= ys[i];
                assert!(beside || below, "cards {i} and {k}");
            }
        }
        let (size, height) = (numbers(&svg, "<svg", "width")[0], numbers(&svg, "<svg", "height")[0]);
        for line in svg.lines().filter(|l| l.starts_with("<text")) {
            let (x, y) = (numbers(line, "<text", "x")[0], numbers(line, "<text", "y")[0]);
            let words = line.split('>').nth(1).unwrap().split('<').next().unwrap();
            assert!(y < height && x + width(words) * CHAR <= size, "{words}");
            if let Some(i) = (0..xs.len())
                .find(|i| (ys[*i]..ys[*i] + hs[*i]).contains(&y) && (xs[*i]..xs[*i] + ws[*i]).contains(&x))
            {
                assert!(x + width(words) * CHAR + PAD <= xs[i] + ws[i], "{words}");
            }
        }
        assert!(svg.contains("… ") && svg.contains("d/end"), "the middle of a long path is left out");
    }

    #[test]
    fn every_server_but_the_primary_hangs_on_another_cascades_dashed() {
        let svg = draw(&cluster(), "about");
        assert_eq!(svg.matches("class=\"w\"").count(), 2);
        assert_eq!(svg.matches("class=\"w d\"").count(), 2);
        assert!(svg.contains("5 nodes, 1 primary, 2 standbys, 2 cascade standbys"));
        assert!(svg.contains("the file does not say from which one"));
        let zones: Vec<_> = svg.lines().filter(|l| l.contains("class=\"zn\"")).collect();
        assert_eq!(zones.len(), 3, "{zones:?}");
    }

    #[test]
    fn a_name_is_text_whatever_is_in_it() {
        let mut odd = cluster();
        odd.nodes[1].name = "<a & \"b\">\u{1}".to_owned();
        odd.nodes[1].zone = "</svg>".to_owned();
        let svg = draw(&odd, "<&>");
        assert!(svg.contains("&lt;a &amp; &quot;b&quot;&gt;\u{fffd}") && svg.contains("&lt;/svg&gt;"));
        assert_eq!(svg.matches("</svg>").count(), 1);
        assert!(!svg.contains('\u{1}'));
    }

    #[test]
    fn a_cluster_with_nothing_but_a_machine_is_drawn_too() {
        let mut bare = cluster();
        bare.nodes.truncate(1);
        bare.nodes[0].data_nodes.clear();
        assert!(draw(&bare, "").contains("no server"));
        assert!(draw(&Cluster::default(), "").ends_with("</svg>\n"));
    }
}
