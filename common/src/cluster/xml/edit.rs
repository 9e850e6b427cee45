//! Changes a cluster_config.xml in place.

use std::ops::Range;

use super::{
    Cluster, ClusterNode, Device, Document, Param, check_expressible, check_same, first_address, is_cascade,
    new_device,
};
use crate::base::Error;

/// Lists on the primary's DEVICE with an item for each server, in the order of `dataNode1`.
const PER_SERVER: [&str; 3] = ["dataNodeXlogPath1", "dataListenIp1", "floatIpMap1"];
/// Lists on the first CM server's DEVICE with an item for each host of `cmServerRelation`.
const PER_CM_SERVER: [&str; 2] = ["cmServerListenIp1", "cmServerHaIp1"];
/// What stands on the primary's DEVICE alone, and moves with it.
const OF_PRIMARY: [&str; 7] = [
    "dataNum",
    "dataPortBase",
    "dataNode1",
    "dataNode1_syncNum",
    "dataNodeXlogPath1",
    "dataListenIp1",
    "floatIpMap1",
];

pub(super) fn edit_text(doc: &Document, wanted: &Cluster) -> Result<String, Error> {
    let said = doc.cluster()?;
    if check_same(&said, wanted).is_ok() {
        return Ok(doc.text.to_owned());
    }
    if !said.nodes.iter().any(|n| wanted.node(&n.name).is_some()) {
        return Err(Error::refused(
            "cluster_config.xml is of another cluster: it has none of the static config's nodes",
        ));
    }
    let new_primary = check_expressible(wanted)?;
    let old_primary = check_expressible(&said)?;
    let mut edits = Edits::default();
    edit_cluster_lists(doc, &said, wanted, &mut edits);
    edit_servers(doc, wanted, old_primary, new_primary, &mut edits)?;
    edit_cm_servers(doc, wanted, &mut edits)?;
    edit_devices(doc, &said, wanted, new_primary, &mut edits);
    let text = edits.apply(doc.text);
    let again = Document::parse(&text)?.cluster()?;
    check_same(&again, wanted)?;
    Ok(text)
}

/// Replacements of parts of the text.
#[derive(Default)]
struct Edits(Vec<(Range<usize>, String)>);

impl Edits {
    fn replace(&mut self, range: Range<usize>, text: impl Into<String>) {
        self.0.push((range, text.into()));
    }

    /// Insertions at one place keep their order.
    fn apply(mut self, text: &str) -> String {
        self.0.sort_by_key(|(range, _)| (range.start, range.end));
        let mut out = String::with_capacity(text.len());
        let mut at = 0;
        for (range, new) in self.0 {
            if range.start < at {
                // Within something that is gone already.
                continue;
            }
            out += &text[at..range.start];
            out += &new;
            at = range.end;
        }
        out + &text[at..]
    }
}

/// The items of a list as they are written.
fn items<'t>(doc: &Document<'t>, param: &Param) -> Vec<&'t str> {
    doc.text[param.raw.clone()].split(',').collect()
}

fn set_list(doc: &Document, param: &Param, list: &[String], edits: &mut Edits) {
    let text = list.join(",");
    let text = text.trim_start();
    if doc.text[param.raw.clone()] != *text {
        edits.replace(param.raw.clone(), text);
    }
}

/// nodeNames and backIp1s: the dropped go, the new come at the end.
fn edit_cluster_lists(doc: &Document, said: &Cluster, wanted: &Cluster, edits: &mut Edits) {
    let new: Vec<&ClusterNode> = wanted.nodes.iter().filter(|n| said.node(&n.name).is_none()).collect();
    for (name, of_new) in [
        ("nodeNames", (|n: &ClusterNode| n.name.clone()) as fn(&ClusterNode) -> String),
        ("backIp1s", |n: &ClusterNode| first_address(&n.addresses).to_owned()),
    ] {
        let Some(param) = doc.param(name) else { continue };
        let mut list: Vec<String> = items(doc, param)
            .into_iter()
            .zip(&said.nodes)
            .filter(|(_, n)| wanted.node(&n.name).is_some())
            .map(|(item, _)| item.to_owned())
            .collect();
        list.extend(new.iter().map(|n| of_new(n)));
        set_list(doc, param, &list, edits);
    }
}

/// One server in the lists of the primary's DEVICE.
struct Server {
    host: String,
    dir: String,
    /// Its items in the [`PER_SERVER`] lists that the file has.
    others: Vec<(&'static str, String)>,
}

/// dataNode1 and the lists beside it, and their move to another DEVICE with the primary.
fn edit_servers(
    doc: &Document,
    wanted: &Cluster,
    old_primary: &ClusterNode,
    new_primary: &ClusterNode,
    edits: &mut Edits,
) -> Result<(), Error> {
    let no_group = || Error::refused("cluster_config.xml has no DEVICE with dataNode1");
    let main = doc.device(&old_primary.name).ok_or_else(no_group)?;
    let param = main.param("dataNode1").ok_or_else(no_group)?;
    let raw = items(doc, param);
    let lists: Vec<(&'static str, &Param, Vec<&str>)> = PER_SERVER
        .iter()
        .filter_map(|name| main.param(name).map(|p| (*name, p, items(doc, p))))
        .filter(|(_, p, _)| !p.value.trim().is_empty())
        .collect();
    let mut servers: Vec<Server> = (0..raw.len().div_ceil(2))
        .map(|i| Server {
            host: if i == 0 { old_primary.name.clone() } else { raw[2 * i - 1].to_owned() },
            dir: raw[2 * i].to_owned(),
            others: lists
                .iter()
                .map(|(name, _, list)| (*name, list.get(i).copied().unwrap_or_default().to_owned()))
                .collect(),
        })
        .filter(|s| wanted.node(s.host.trim()).is_some_and(|n| !n.data_nodes.is_empty()))
        .collect();
    for (node, d) in wanted.data_nodes() {
        if servers.iter().any(|s| s.host.trim() == node.name) {
            continue;
        }
        let mut others = Vec::new();
        for (name, _, _) in &lists {
            others.push((
                *name,
                match *name {
                    "dataNodeXlogPath1" => d.xlog_dir.clone(),
                    "dataListenIp1" => first_address(&d.listen_addresses).to_owned(),
                    _ => {
                        return Err(Error::refused(format!(
                            "cluster_config.xml has {name}, and the static config does not say what it is for node {}",
                            node.name
                        ))
                        .hint("add the node to the file by hand"));
                    }
                },
            ));
        }
        servers.push(Server { host: node.name.clone(), dir: d.data_dir.clone(), others });
    }
    // The new primary changes places with the old one, or takes its place when that is gone.
    if let Some(at) = servers.iter().position(|s| s.host.trim() == new_primary.name) {
        if servers[0].host == old_primary.name {
            servers.swap(0, at);
        } else {
            servers[..=at].rotate_right(1);
        }
    }
    let mut list = Vec::new();
    for (i, server) in servers.iter().enumerate() {
        if i > 0 {
            list.push(server.host.clone());
        }
        list.push(server.dir.clone());
    }
    let mut values: Vec<(&Param, Vec<String>)> = vec![(param, list)];
    for (name, param, _) in &lists {
        let item = |s: &Server| s.others.iter().find(|(n, _)| n == name).map(|(_, v)| v.clone());
        values.push((param, servers.iter().filter_map(item).collect()));
    }
    if let Some(sync) = main.param("dataNode1_syncNum") {
        let most = servers.len().saturating_sub(1);
        if sync.value.trim().parse::<usize>().is_ok_and(|n| n > most) {
            values.push((sync, vec![most.to_string()]));
        }
    }
    if old_primary.name == new_primary.name {
        for (param, list) in values {
            set_list(doc, param, &list, edits);
        }
        return Ok(());
    }
    let moved: Vec<(String, String)> = main
        .params
        .iter()
        .filter(|p| OF_PRIMARY.contains(&p.name.as_str()))
        .map(|p| {
            edits.replace(line_range(doc.text, &p.element), "");
            let new = values.iter().find(|(v, _)| v.element == p.element).map(|(_, list)| list.join(","));
            (
                p.name.clone(),
                new.unwrap_or_else(|| doc.text[p.raw.clone()].to_owned()).trim_start().to_owned(),
            )
        })
        .collect();
    if let Some(target) = doc.device(&new_primary.name) {
        insert_params(doc, target, &moved, edits);
        return Ok(());
    }
    Err(Error::refused(format!(
        "{} is new and the primary at once; add it as a standby first",
        new_primary.name
    )))
}

/// cmServerRelation and the lists beside it.
fn edit_cm_servers(doc: &Document, wanted: &Cluster, edits: &mut Edits) -> Result<(), Error> {
    let Some(main) = doc.devices.iter().find(|d| d.param("cmServerRelation").is_some()) else {
        return Ok(());
    };
    let Some(relation) = main.param("cmServerRelation") else { return Ok(()) };
    if wanted.node(&main.name).is_none() {
        return Err(Error::refused(format!(
            "node {} is dropped, whose DEVICE has the settings of all CM servers",
            main.name
        ))
        .hint("move cmsNum, cmServerRelation and what belongs to them to another DEVICE first"));
    }
    let hosts = items(doc, relation);
    let new: Vec<&ClusterNode> = wanted
        .nodes
        .iter()
        .filter(|n| n.cm_server.is_some() && !hosts.iter().any(|h| h.trim() == n.name))
        .collect();
    for name in ["cmServerRelation"].iter().chain(&PER_CM_SERVER) {
        let Some(param) = main.param(name).filter(|p| !p.value.trim().is_empty()) else { continue };
        let mut list: Vec<String> = items(doc, param)
            .into_iter()
            .zip(&hosts)
            .filter(|(_, host)| wanted.node(host.trim()).is_some())
            .map(|(item, _)| item.to_owned())
            .collect();
        for node in &new {
            let Some(server) = &node.cm_server else { continue };
            list.push(match *name {
                "cmServerListenIp1" => first_address(&server.listen_addresses).to_owned(),
                "cmServerHaIp1" => first_address(&server.ha_addresses).to_owned(),
                _ => node.name.clone(),
            });
        }
        set_list(doc, param, &list, edits);
    }
    Ok(())
}

/// DEVICEs go and come; cascadeRole follows the role.
fn edit_devices(doc: &Document, said: &Cluster, wanted: &Cluster, primary: &ClusterNode, edits: &mut Edits) {
    for found in &doc.devices {
        match wanted.node(&found.name) {
            None => edits.replace(line_range(doc.text, &found.element), ""),
            Some(node) => {
                let was = said.node(&found.name).is_some_and(is_cascade);
                let param = found.param("cascadeRole");
                match (was, is_cascade(node), param) {
                    (false, true, None) => {
                        let on = [("cascadeRole".to_owned(), "on".to_owned())];
                        insert_params(doc, found, &on, edits);
                    }
                    (false, true, Some(param)) => edits.replace(param.raw.clone(), "on"),
                    (_, false, Some(param)) if param.value.trim() == "on" => {
                        edits.replace(param.raw.clone(), "off");
                    }
                    _ => {}
                }
            }
        }
    }
    let Some(last) = doc.devices.last() else { return };
    let layout = XmlLayout::from_device(doc, last);
    for node in wanted.nodes.iter().filter(|n| said.node(&n.name).is_none()) {
        let mut new = new_device(node, wanted, primary);
        // The first CM server keeps the list of all.
        new.params.retain(|(name, _)| !name.starts_with("cmServer") || *name == "cmServerPortStandby");
        let text = new.print(&layout.indent, &layout.step, layout.newline);
        edits.replace(last.element.end..last.element.end, format!("{}{text}", layout.newline));
    }
}

/// How the file is laid out.
struct XmlLayout {
    indent: String,
    step: String,
    newline: &'static str,
}

impl XmlLayout {
    fn from_device(doc: &Document, device: &Device) -> Self {
        let indent = leading_indent(doc.text, device.element.start).unwrap_or_default();
        let inner = device.params.first().and_then(|p| indent_of_param(doc.text, p));
        Self {
            step: inner
                .and_then(|i| i.strip_prefix(indent).map(str::to_owned))
                .filter(|s| !s.is_empty())
                .unwrap_or_else(|| "    ".to_owned()),
            indent: indent.to_owned(),
            newline: if doc.text.contains("\r\n") { "\r\n" } else { "\n" },
        }
    }
}

/// The blanks before a place, when nothing else stands before it on its line.
fn leading_indent(text: &str, at: usize) -> Option<&str> {
    let begin = text[..at].rfind('\n').map_or(0, |n| n + 1);
    let before = &text[begin..at];
    before.chars().all(|c| c == ' ' || c == '\t').then_some(before)
}

fn indent_of_param<'t>(text: &'t str, param: &Param) -> Option<&'t str> {
    leading_indent(text, param.element.start)
}

/// An element with the line it stands on, when it stands there alone; else the element.
fn line_range(text: &str, element: &Range<usize>) -> Range<usize> {
    let Some(blanks) = leading_indent(text, element.start) else { return element.clone() };
    let after = &text[element.end..];
    let rest = after.trim_start_matches([' ', '\t', '\r']);
    match rest.strip_prefix('\n') {
        Some(next) => element.start - blanks.len()..text.len() - next.len(),
        None => element.clone(),
    }
}

/// New parameters at the end of a DEVICE, laid out as its others.
fn insert_params(doc: &Document, device: &Device, params: &[(String, String)], edits: &mut Edits) {
    let Some(last) = device.params.last() else { return };
    let newline = if doc.text.contains("\r\n") { "\r\n" } else { "\n" };
    let between = indent_of_param(doc.text, last).map_or_else(String::new, |i| format!("{newline}{i}"));
    for (name, value) in params {
        let text = format!("{between}<PARAM name=\"{name}\" value=\"{value}\"/>");
        edits.replace(last.element.end..last.element.end, text);
    }
}
