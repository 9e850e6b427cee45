//! `cluster_config.xml`: the description of a cluster that a person writes and OM installs from.
//!
//! [`Document`] reads it by OM's rules (`DbClusterInfo.initFromXml` and the parameter lists of `ClusterParams.py` and
//! `DeviceListParams.py`) and changes it in place, every other byte staying as it is; [`print_new`] writes a new one.

mod edit;
mod read;

use std::fmt::Write as _;
use std::ops::Range;

use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

use super::{Cluster, ClusterAddress, ClusterNode, ConfiguredRole, DataNode, spec};
use crate::base::Error;

/// What OM takes in `CLUSTER`, besides `floatIp1` and so on.
const CLUSTER_PARAMS: &[&str] = &[
    "clusterName",
    "nodeNames",
    "gaussdbAppPath",
    "gaussdbLogPath",
    "tmpMppdbPath",
    "gaussdbToolPath",
    "corePath",
    "backIp1s",
    "enable_dcf",
    "dcf_config",
    "enable_dss",
    "dss_home",
    "ss_dss_vg_name",
    "dss_vg_info",
    "votingDiskPath",
    "shareDiskDir",
    "dss_ssl_enable",
    "ss_interconnect_type",
    "ss_rdma_work_config",
    "enable_uwal",
    "uwal_disk_size",
    "uwal_log_path",
    "uwal_rpc_compression_switch",
    "uwal_rpc_flowcontrol_switch",
    "uwal_rpc_flowcontrol_value",
    "uwal_async_append_switch",
    "uwal_devices_path",
    "clusterType",
    "enableHugeBin",
    "password",
];

/// What OM takes in a `DEVICE`, besides `syncNode_HOST`.
const DEVICE_PARAMS: &[&str] = &[
    "name",
    "azName",
    "azPriority",
    "backIp1",
    "sshIp1",
    "dataNum",
    "dataPortBase",
    "dataNode1",
    "dataNode1_syncNum",
    "cmsNum",
    "cmDir",
    "cmServerPortBase",
    "cmServerListenIp1",
    "cmServerHaIp1",
    "cmServerlevel",
    "cmServerLevel",
    "cmServerRelation",
    "cmServerPortStandby",
    "cascadeRole",
    "dataListenIp1",
    "dataNodeXlogPath1",
    "floatIpMap1",
    "dataPortStandby",
    "dataPortDummyStandby",
    "localStreamIpmap1",
    "remoteStreamIpmap1",
    "remotedataPortBase",
    "sshPort",
];

/// The file's text.
///
/// # Errors
/// `corrupt` when it is not UTF-8, saying where.
pub fn decode_text(bytes: &[u8]) -> Result<&str, Error> {
    std::str::from_utf8(bytes).map_err(|e| {
        let valid = std::str::from_utf8(&bytes[..e.valid_up_to()]).unwrap_or_default();
        let (line, column) = line_and_column(valid, valid.len());
        Error::corrupt(format!("line {line}, column {column}: not UTF-8")).gauss_code("GAUSS-51236")
    })
}

/// The text to be shown: without the password that OM lets a file have.
#[must_use]
pub fn mask_values(text: &str) -> String {
    let mut shown = text.to_owned();
    for param in Document::parse_any(text).map(|d| d.cluster).unwrap_or_default().iter().rev() {
        if param.name == "password" {
            shown.replace_range(param.raw.clone(), "********");
        }
    }
    shown
}

/// Line and column of a byte, both from 1, the column in characters.
fn line_and_column(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or(text);
    let line = before.rfind('\n').map_or(0, |n| n + 1);
    (before.matches('\n').count() + 1, before[line..].chars().count() + 1)
}

/// One `<PARAM name=… value=…/>`.
#[derive(Clone, Debug)]
struct Param {
    name: String,
    value: String,
    /// The whole element.
    element: Range<usize>,
    /// The value as it is written, within its quotes.
    raw: Range<usize>,
}

/// One `<DEVICE>`.
#[derive(Clone, Debug)]
struct Device {
    name: String,
    /// The whole element.
    element: Range<usize>,
    params: Vec<Param>,
}

impl Device {
    /// The parameter that counts: the last of its name.
    fn param(&self, name: &str) -> Option<&Param> {
        self.params.iter().rev().find(|p| p.name == name)
    }
}

/// A cluster_config.xml taken apart.
#[derive(Clone, Debug)]
pub struct Document<'a> {
    text: &'a str,
    cluster: Vec<Param>,
    cluster_at: usize,
    devices: Vec<Device>,
    unknown: Vec<Error>,
}

impl<'a> Document<'a> {
    /// Takes the text apart, as OM since 6.0 does.
    ///
    /// # Errors
    /// As [`Document::parse_any`]; `corrupt` for a parameter that OM does not know.
    pub fn parse(text: &'a str) -> Result<Self, Error> {
        let mut document = parse(text)?;
        if document.unknown.is_empty() { Ok(document) } else { Err(document.unknown.swap_remove(0)) }
    }

    /// Takes the text apart, as OM before 6.0 does: it passes over parameters that it does not know.
    ///
    /// # Errors
    /// `corrupt` with line and column when it is no well-formed XML or holds a DOCTYPE (which OM refuses).
    pub fn parse_any(text: &'a str) -> Result<Self, Error> {
        parse(text)
    }

    /// The parameters that OM does not know, each as the error that OM since 6.0 makes of it.
    #[must_use]
    pub fn unknown_params(&self) -> &[Error] {
        &self.unknown
    }

    /// The text.
    #[must_use]
    pub fn text(&self) -> &'a str {
        self.text
    }

    /// The cluster that it describes, with the ids that OM gives its nodes at installation.
    ///
    /// # Errors
    /// `corrupt` with line, column, parameter and OM's own error number, for all that OM refuses; `refused` for what only
    /// shows in the whole ([`Cluster::check`]).
    pub fn cluster(&self) -> Result<Cluster, Error> {
        read::read_cluster(self)
    }

    /// The text changed so that it describes `wanted`: nodes added and dropped, the primary moved, cascade standbys
    /// marked. All else stays byte for byte.
    ///
    /// # Errors
    /// As [`Document::cluster`]; `refused` when the nodes that stay differ from `wanted` in anything else, naming what,
    /// or when the file cannot be changed in place.
    pub fn edit_text(&self, wanted: &Cluster) -> Result<String, Error> {
        edit::edit_text(self, wanted)
    }

    /// The parameter of the whole cluster that counts: the first of its name.
    fn param(&self, name: &str) -> Option<&Param> {
        self.cluster.iter().find(|p| p.name == name)
    }

    /// The device that counts: the last of its name.
    fn device(&self, name: &str) -> Option<&Device> {
        self.devices.iter().rev().find(|d| d.name == name)
    }

    fn error(&self, at: usize, what: impl std::fmt::Display, code: &str) -> Error {
        error(self.text, at, what, code)
    }

    /// An error about something at this place of the file.
    fn locate_error(&self, at: usize, e: &Error) -> Error {
        let (line, column) = line_and_column(self.text, at);
        let failure = e.failure();
        let new = Error::new(e.kind(), format!("line {line}, column {column}: {}", failure.detail));
        match &failure.gauss_code {
            Some(code) => new.gauss_code(code),
            None => new,
        }
    }
}

fn error(text: &str, at: usize, what: impl std::fmt::Display, code: &str) -> Error {
    let (line, column) = line_and_column(text, at);
    Error::corrupt(format!("line {line}, column {column}: {what}")).gauss_code(code)
}

/// The parts of the file that count.
#[derive(Clone, Copy, PartialEq, Eq)]
enum XmlSection {
    Cluster,
    DeviceList,
}

/// Where the parser stands.
#[derive(Default)]
struct Walk {
    stack: Vec<String>,
    section: Option<XmlSection>,
    seen_cluster: Option<usize>,
    seen_list: bool,
    seen_root: bool,
    cluster: Vec<Param>,
    devices: Vec<Device>,
    unknown: Vec<Error>,
}

fn parse(text: &str) -> Result<Document<'_>, Error> {
    for forbidden in ["<!DOCTYPE", "<!ENTITY"] {
        if let Some(at) = text.find(forbidden) {
            return Err(error(text, at, format!("{forbidden} is not allowed"), "GAUSS-51236"));
        }
    }
    let skip = if text.starts_with('\u{feff}') { 3 } else { 0 };
    let mut reader = Reader::from_str(&text[skip..]);
    let position = |p: u64| usize::try_from(p).map_or(text.len(), |p| p + skip);
    let mut walk = Walk::default();
    loop {
        let begin = position(reader.buffer_position());
        let event = reader
            .read_event()
            .map_err(|e| error(text, position(reader.error_position()), e, "GAUSS-51234"))?;
        let end = position(reader.buffer_position());
        match event {
            Event::Start(tag) => {
                walk.open(text, &tag, begin..end)?;
                walk.stack.push(String::from_utf8_lossy(tag.name().as_ref()).into_owned());
            }
            Event::Empty(tag) => {
                walk.open(text, &tag, begin..end)?;
                let name = String::from_utf8_lossy(tag.name().as_ref()).into_owned();
                walk.close(&name, end);
            }
            Event::End(_) => {
                if let Some(name) = walk.stack.pop() {
                    walk.close(&name, end);
                }
            }
            Event::Text(found) if walk.stack.is_empty() && found.iter().any(|b| !b.is_ascii_whitespace()) => {
                return Err(error(text, begin, "text outside the root element", "GAUSS-51234"));
            }
            Event::Eof => break,
            _ => {}
        }
    }
    if let Some(open) = walk.stack.last() {
        return Err(error(text, text.len(), format!("<{open}> is not closed"), "GAUSS-51234"));
    }
    let Some(cluster_at) = walk.seen_cluster else {
        return Err(error(text, text.len(), "there is no CLUSTER", "GAUSS-51200"));
    };
    if !walk.seen_list {
        return Err(error(text, text.len(), "there is no DEVICELIST", "GAUSS-51200"));
    }
    let (cluster, devices, unknown) = (walk.cluster, walk.devices, walk.unknown);
    Ok(Document { text, cluster, cluster_at, devices, unknown })
}

impl Walk {
    fn open(&mut self, text: &str, tag: &BytesStart, element: Range<usize>) -> Result<(), Error> {
        let name = tag.name();
        let at = element.start;
        match (self.stack.len(), name.as_ref()) {
            (0, _) if self.seen_root => {
                return Err(error(text, at, "a second root element", "GAUSS-51234"));
            }
            (0, _) => self.seen_root = true,
            (1, b"CLUSTER") if self.seen_cluster.is_none() => {
                self.seen_cluster = Some(at);
                self.section = Some(XmlSection::Cluster);
            }
            (1, b"DEVICELIST") if !self.seen_list => {
                self.seen_list = true;
                self.section = Some(XmlSection::DeviceList);
            }
            (2, b"DEVICE") if self.section == Some(XmlSection::DeviceList) => {
                self.devices.push(Device { name: String::new(), element, params: Vec::new() });
            }
            (2, b"PARAM") if self.section == Some(XmlSection::Cluster) => {
                let float = |name: &str| {
                    name.strip_prefix("floatIp").is_some_and(|n| n.starts_with(|c: char| c.is_ascii_digit()))
                };
                let param = self.param(text, tag, element, CLUSTER_PARAMS, float)?;
                self.cluster.extend(param);
            }
            (3, b"PARAM")
                if self.section == Some(XmlSection::DeviceList)
                    && self.stack.last().is_some_and(|s| s == "DEVICE") =>
            {
                let sync_node = |name: &str| name.starts_with("syncNode_");
                let param = self.param(text, tag, element, DEVICE_PARAMS, sync_node)?;
                if let (Some(param), Some(device)) = (param, self.devices.last_mut()) {
                    if param.name == "name" {
                        device.name.clone_from(&param.value);
                    }
                    device.params.push(param);
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// The parameter; one whose name is neither `known` nor of a `family` of names is noted, and nothing more is looked at.
    fn param(
        &mut self,
        text: &str,
        tag: &BytesStart,
        element: Range<usize>,
        known: &[&str],
        family: impl Fn(&str) -> bool,
    ) -> Result<Option<Param>, Error> {
        let (name, value) = read_attributes(text, tag, element.start)?;
        if !known.contains(&name.as_str()) && !family(&name) {
            self.unknown.push(unknown_param_error(text, element.start, &name, known));
            return Ok(None);
        }
        let Some((value, raw)) = value else {
            return Err(error(text, element.start, format!("the PARAM {name} has no value"), "GAUSS-51236"));
        };
        if text.get(raw.clone()).is_none() {
            return Err(error(text, element.start, "the value cannot be found again", "GAUSS-51234"));
        }
        Ok(Some(Param { name, value, element, raw }))
    }

    /// An element ended; `stack` holds those around it.
    fn close(&mut self, name: &str, end: usize) {
        match (self.stack.len(), name) {
            (1, _) => self.section = None,
            (2, "DEVICE") if self.section == Some(XmlSection::DeviceList) => {
                if let Some(device) = self.devices.last_mut() {
                    device.element.end = end;
                }
            }
            _ => {}
        }
    }
}

fn unknown_param_error(text: &str, at: usize, name: &str, known: &[&str]) -> Error {
    let near = known
        .iter()
        .map(|k| (strsim::damerau_levenshtein(&k.to_lowercase(), &name.to_lowercase()), *k))
        .min()
        .filter(|(distance, _)| *distance <= 3);
    let error = error(text, at, format!("OM knows no parameter {name:?} here"), "GAUSS-51258");
    match near {
        Some((_, near)) => error.hint(format!("did you mean {near}?")),
        None => error,
    }
}

/// A value, and where it stands.
type Valued = (String, Range<usize>);

/// The name of a PARAM and its value, if it has one.
fn read_attributes(text: &str, tag: &BytesStart, at: usize) -> Result<(String, Option<Valued>), Error> {
    let mut name = None;
    let mut value = None;
    for attribute in tag.attributes() {
        let attribute = attribute.map_err(|e| error(text, at, e, "GAUSS-51234"))?;
        let read = attribute.unescape_value().map_err(|e| error(text, at, e, "GAUSS-51234"))?.into_owned();
        match attribute.key.as_ref() {
            b"name" => name = Some(read),
            b"value" => {
                // The reader lends slices of the text itself, so the distance is the place.
                let from = (attribute.value.as_ptr() as usize).wrapping_sub(text.as_ptr() as usize);
                value = Some((read, from..from.wrapping_add(attribute.value.len())));
            }
            _ => {}
        }
    }
    let Some(name) = name else {
        return Err(error(text, at, "a PARAM needs a name", "GAUSS-51236"));
    };
    Ok((name, value))
}

/// Python's `os.path.normpath`.
fn normalize_path(path: &str) -> String {
    let slashes = if path.starts_with("//") && !path.starts_with("///") {
        "//"
    } else if path.starts_with('/') {
        "/"
    } else {
        ""
    };
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|p| *p != "..") => {
                parts.pop();
            }
            ".." if !slashes.is_empty() => {}
            _ => parts.push(part),
        }
    }
    let joined = format!("{slashes}{}", parts.join("/"));
    if joined.is_empty() { ".".to_owned() } else { joined }
}

/// What a cluster_config.xml says of the whole cluster besides its nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Globals {
    /// clusterName.
    pub name: String,
    /// gaussdbAppPath.
    pub app_path: String,
    /// gaussdbLogPath.
    pub log_path: Option<String>,
    /// tmpMppdbPath.
    pub tmp_path: Option<String>,
    /// gaussdbToolPath.
    pub tool_path: Option<String>,
    /// corePath.
    pub core_path: Option<String>,
}

/// Writes a new file.
///
/// # Errors
/// `refused` for a cluster that such a file cannot describe, naming what it cannot say.
pub fn print_new(cluster: &Cluster, globals: &Globals) -> Result<String, Error> {
    let primary = check_expressible(cluster)?;
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<ROOT>\n    <CLUSTER>\n");
    let mut put = |name: &str, value: &str| {
        // A String takes all that is written to it.
        let _ =
            writeln!(out, "        <PARAM name=\"{name}\" value=\"{}\"/>", quick_xml::escape::escape(value));
    };
    put("clusterName", &globals.name);
    put("nodeNames", &join_items(cluster.nodes.iter().map(|n| n.name.as_str())));
    put("gaussdbAppPath", &globals.app_path);
    for (name, value) in [
        ("gaussdbLogPath", &globals.log_path),
        ("tmpMppdbPath", &globals.tmp_path),
        ("gaussdbToolPath", &globals.tool_path),
        ("corePath", &globals.core_path),
    ] {
        if let Some(value) = value {
            put(name, value);
        }
    }
    put("backIp1s", &join_items(cluster.nodes.iter().map(|n| first_address(&n.addresses))));
    out += "    </CLUSTER>\n    <DEVICELIST>\n";
    for node in &cluster.nodes {
        out += &new_device(node, cluster, primary).print("        ", "    ", "\n");
        out += "\n";
    }
    out += "    </DEVICELIST>\n</ROOT>\n";
    let again = Document::parse(&out)?.cluster()?;
    check_same(&again, cluster)?;
    Ok(out)
}

/// The cluster's one primary, when the cluster is of the kind that the file can describe at all.
fn check_expressible(cluster: &Cluster) -> Result<&ClusterNode, Error> {
    let groups: std::collections::BTreeSet<u32> = cluster.data_nodes().map(|(_, d)| d.group).collect();
    if groups.len() > 1 || cluster.nodes.iter().any(|n| n.data_nodes.len() > 1) {
        return Err(Error::refused(
            "cluster_config.xml cannot describe several data nodes on one machine, or several groups of them",
        ));
    }
    cluster.primary().ok_or_else(|| Error::refused("no node is the primary").gauss_code("GAUSS-51230"))
}

/// Whether what an XML file says is the wanted cluster, ids aside.
fn check_same(said: &Cluster, wanted: &Cluster) -> Result<(), Error> {
    let said = spec::compare_with(&spec::without_ids(said), wanted)?;
    match spec::differences(&said, &wanted.clone().with_linked_peers()).first() {
        None => Ok(()),
        Some(d) => Err(Error::refused(format!(
            "cluster_config.xml and the static config disagree on {} of node {}: {} there, {} here",
            d.field, d.node, d.here, d.there
        ))
        .hint("bring the two into agreement first: only nodes, the primary and cascade standbys are changed in place")),
    }
}

fn join_items<'t>(items: impl Iterator<Item = &'t str>) -> String {
    items.collect::<Vec<_>>().join(",")
}

fn first_address(list: &[ClusterAddress]) -> &str {
    list.first().map_or("", ClusterAddress::as_str)
}

/// The data nodes in the order of `dataNode1`: the primary, then the others by number.
fn group_members<'c>(cluster: &'c Cluster, primary: &ClusterNode) -> Vec<(&'c ClusterNode, &'c DataNode)> {
    let mut all: Vec<_> = cluster.data_nodes().collect();
    all.sort_by_key(|(n, d)| (n.name != primary.name, d.id));
    all
}

/// Parameters of a new DEVICE.
struct NewDevice {
    name: String,
    params: Vec<(&'static str, String)>,
}

impl NewDevice {
    /// The element, beginning with its indentation and without a newline at its end.
    fn print(&self, indent: &str, step: &str, newline: &str) -> String {
        let mut text = format!("{indent}<DEVICE sn=\"{}\">{newline}", self.name);
        for (name, value) in &self.params {
            let value = quick_xml::escape::escape(value.as_str());
            let _ = write!(text, "{indent}{step}<PARAM name=\"{name}\" value=\"{value}\"/>{newline}");
        }
        text + indent + "</DEVICE>"
    }
}

fn new_device(node: &ClusterNode, cluster: &Cluster, primary: &ClusterNode) -> NewDevice {
    let mut params: Vec<(&'static str, String)> = vec![
        ("name", node.name.clone()),
        ("azName", node.zone.clone()),
        ("azPriority", node.zone_priority.to_string()),
        ("backIp1", first_address(&node.addresses).to_owned()),
        ("sshIp1", first_address(&node.ssh_addresses).to_owned()),
    ];
    if !node.cm_dir.is_empty() {
        params.push(("cmDir", node.cm_dir.clone()));
    }
    if let Some(server) = &node.cm_server {
        if server.role == ConfiguredRole::Primary {
            // Its own node first, then the others by number.
            let mut servers: Vec<_> =
                cluster.nodes.iter().filter_map(|n| n.cm_server.as_ref().map(|s| (n, s))).collect();
            servers.sort_by_key(|(n, s)| (n.name != node.name, s.id));
            params.extend([
                ("cmsNum", "1".to_owned()),
                ("cmServerPortBase", server.port.to_string()),
                ("cmServerlevel", server.level.to_string()),
                (
                    "cmServerListenIp1",
                    join_items(servers.iter().map(|(_, s)| first_address(&s.listen_addresses))),
                ),
                ("cmServerHaIp1", join_items(servers.iter().map(|(_, s)| first_address(&s.ha_addresses)))),
                ("cmServerRelation", join_items(servers.iter().map(|(n, _)| n.name.as_str()))),
            ]);
        } else {
            params.push(("cmServerPortStandby", server.port.to_string()));
        }
    }
    if node.name == primary.name {
        let all = group_members(cluster, primary);
        let mut items = Vec::new();
        for (i, (n, d)) in all.iter().enumerate() {
            if i > 0 {
                items.push(n.name.as_str());
            }
            items.push(d.data_dir.as_str());
        }
        let port = node.data_nodes.first().map_or(0, |d| d.port);
        params.push(("dataNum", "1".to_owned()));
        params.push(("dataPortBase", port.to_string()));
        params.push(("dataNode1", items.join(",")));
        if all.iter().any(|(_, d)| !d.xlog_dir.is_empty()) {
            params.push(("dataNodeXlogPath1", join_items(all.iter().map(|(_, d)| d.xlog_dir.as_str()))));
        }
        if all.iter().any(|(n, d)| d.listen_addresses != n.addresses) {
            params.push((
                "dataListenIp1",
                join_items(all.iter().map(|(_, d)| first_address(&d.listen_addresses))),
            ));
        }
    } else if is_cascade(node) {
        params.push(("cascadeRole", "on".to_owned()));
    }
    NewDevice { name: node.name.clone(), params }
}

fn is_cascade(node: &ClusterNode) -> bool {
    node.data_nodes.iter().any(|d| d.role == ConfiguredRole::CascadeStandby)
}
