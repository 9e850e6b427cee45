//! Clusters made at random. The same seed makes the same clusters.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use fastrand::Rng;
use og_common::cluster::{Cluster, ClusterAddress, ConfiguredRole};

/// Longest name of a node or zone, in bytes.
const NAME: usize = 64;
/// Longest path that the server's programs read.
const PATH: usize = 1023;

fn once_in(rng: &mut Rng, n: u32) -> bool {
    rng.u32(..n) == 0
}

/// One of these.
fn choose_one<'a, T: ?Sized>(rng: &mut Rng, of: &[&'a T]) -> &'a T {
    of[rng.usize(..of.len())]
}

/// `text` with blanks around it now and then, as people write lists.
fn add_blanks(rng: &mut Rng, text: &str) -> String {
    match rng.u8(..12) {
        0 => format!(" {text}"),
        1 => format!("{text} "),
        _ => text.to_owned(),
    }
}

fn write_loose_list<'t>(rng: &mut Rng, items: impl IntoIterator<Item = &'t str>) -> String {
    items.into_iter().map(|i| add_blanks(rng, i)).collect::<Vec<_>>().join(",")
}

fn make_name(rng: &mut Rng, i: usize) -> String {
    let first = choose_one(rng, &["n", "db", "node-", "Prod", "stb1.opengauss.com-", "zürich", "数据"]);
    let mut name = format!("{first}{i}");
    if once_in(rng, 6) {
        while name.len() < NAME {
            name.push('x');
        }
    }
    name
}

fn make_address(rng: &mut Rng, v6: bool, i: usize) -> String {
    if !v6 {
        return format!("10.{}.{}.{}", i / 100, i % 100, rng.u8(1..250));
    }
    let host = rng.u16(1..);
    match rng.u8(..4) {
        0 => format!("FD00:0:0:0:0:0:{i:X}:{host:X}"),
        1 => format!("fd00::{i:04x}:{host:04x}"),
        _ => format!("fd00::{i:x}:{host:x}"),
    }
}

/// A folder, written in one of the ways that mean the same.
fn folder(rng: &mut Rng, number: usize) -> String {
    let mut path =
        format!("/gauss/{}/db{number}", choose_one(rng, &["data", "data.1", "a/b-c/d_e", "größe"]));
    if once_in(rng, 8) {
        path.push('/');
        while path.len() < PATH {
            path.push('d');
        }
    }
    path
}

/// A parameter of a DEVICE or of the CLUSTER.
type Param = (String, String);

fn put(params: &mut Vec<Param>, name: &str, value: impl Into<String>) {
    params.push((name.to_owned(), value.into()));
}

/// A machine that is written down.
struct Machine {
    name: String,
    address: String,
    params: Vec<Param>,
    folders: usize,
}

impl Machine {
    fn folder(&mut self, rng: &mut Rng) -> String {
        self.folders += 1;
        let number = self.folders;
        folder(rng, number)
    }
}

/// A good cluster_config.xml: 1 to 40 nodes, several groups of servers, CM, zones, cascade standbys, IPv4 or IPv6.
pub fn xml(rng: &mut Rng) -> String {
    let count = if once_in(rng, 4) { rng.usize(1..=40) } else { rng.usize(1..=9) };
    let v6 = once_in(rng, 3);
    let zones = rng.usize(1..=3);
    let mut machines: Vec<Machine> = (0..count)
        .map(|i| {
            let (name, address) = (make_name(rng, i), make_address(rng, v6, i));
            let mut params = Vec::new();
            put(&mut params, "name", name.clone());
            put(&mut params, "azName", format!("AZ{}", i % zones + 1));
            put(&mut params, "azPriority", rng.usize(1..=10).to_string());
            put(&mut params, "backIp1", add_blanks(rng, &address));
            match rng.u8(..4) {
                0 => {}
                1 => put(&mut params, "sshIp1", self::make_address(rng, v6, i)),
                _ => put(&mut params, "sshIp1", address.clone()),
            }
            if once_in(rng, 9) {
                put(&mut params, "sshPort", "22");
            }
            Machine { name, address, params, folders: 0 }
        })
        .collect();
    if count > 1 && once_in(rng, 3) {
        add_cm(rng, &mut machines);
    }
    add_servers(rng, &mut machines);
    print(rng, &machines)
}

fn add_cm(rng: &mut Rng, machines: &mut [Machine]) {
    for machine in machines.iter_mut() {
        put(&mut machine.params, "cmDir", "/gauss/data/cm");
    }
    let main = if once_in(rng, 4) { rng.usize(..machines.len()) } else { 0 };
    let mut order: Vec<usize> = (0..machines.len()).filter(|i| *i != main).collect();
    if once_in(rng, 3) {
        rng.shuffle(&mut order);
    }
    order.insert(0, main);
    let names = write_loose_list(rng, order.iter().map(|i| machines[*i].name.as_str()));
    let addresses = write_loose_list(rng, order.iter().map(|i| machines[*i].address.as_str()));
    let listed = once_in(rng, 2).then_some(addresses);
    let port = rng.u32(1024..65000);
    let level = choose_one(rng, &["cmServerlevel", "cmServerLevel"]);
    let params = &mut machines[main].params;
    put(params, "cmsNum", "1");
    if !once_in(rng, 4) {
        put(params, "cmServerPortBase", port.to_string());
    }
    put(params, level, "1");
    put(params, "cmServerRelation", names);
    if let Some(listed) = listed {
        put(params, "cmServerListenIp1", listed.clone());
        put(params, "cmServerHaIp1", listed);
    }
}

fn add_servers(rng: &mut Rng, machines: &mut [Machine]) {
    let count = machines.len();
    let groups = if once_in(rng, 4) { rng.usize(1..=count.min(3)) } else { 1 };
    let size = rng.usize(1..=count.min(9));
    let mut mains = BTreeSet::new();
    while mains.len() < groups {
        mains.insert(if groups == 1 && !once_in(rng, 4) { 0 } else { rng.usize(..count) });
    }
    for main in mains.iter().copied() {
        let mut hosts: Vec<usize> = (0..count).filter(|i| *i != main).collect();
        rng.shuffle(&mut hosts);
        hosts.truncate(size - 1);
        let xlog = once_in(rng, 4);
        let listen = once_in(rng, 4);
        let mut items = vec![machines[main].folder(rng)];
        let mut logs = vec![folder(rng, 100 + main)];
        for host in &hosts {
            items.push(machines[*host].name.clone());
            items.push(machines[*host].folder(rng));
            logs.push(folder(rng, 100 + main));
            // OM makes every server of the machine a cascade standby, so it must have no primary.
            if once_in(rng, 5)
                && !mains.contains(host)
                && !machines[*host].params.iter().any(|p| p.0 == "cascadeRole")
            {
                let role = choose_one(rng, &["on", "on", "off"]);
                put(&mut machines[*host].params, "cascadeRole", role);
            }
        }
        let addresses: Vec<String> = std::iter::once(&main)
            .chain(&hosts)
            .map(|i| {
                if once_in(rng, 3) {
                    same_family(rng, &machines[*i].address, *i)
                } else {
                    machines[*i].address.clone()
                }
            })
            .collect();
        let nodes = write_loose_list(rng, items.iter().map(String::as_str));
        let port = rng.u32(1024..65000);
        let addresses = write_loose_list(rng, addresses.iter().map(String::as_str));
        let logs = write_loose_list(rng, logs.iter().map(String::as_str));
        let sync = rng.usize(..size);
        let params = &mut machines[main].params;
        put(params, "dataNum", "1");
        if !once_in(rng, 5) {
            put(params, "dataPortBase", port.to_string());
        }
        put(params, "dataNode1", nodes);
        if xlog {
            put(params, "dataNodeXlogPath1", logs);
        }
        if listen {
            put(params, "dataListenIp1", addresses);
        }
        if once_in(rng, 5) {
            put(params, "dataNode1_syncNum", sync.to_string());
        }
    }
}

fn same_family(rng: &mut Rng, like: &str, i: usize) -> String {
    make_address(rng, like.contains(':'), i + 60)
}

fn print(rng: &mut Rng, machines: &[Machine]) -> String {
    let mut cluster = Vec::new();
    put(&mut cluster, "clusterName", "dbCluster");
    put(&mut cluster, "nodeNames", write_loose_list(rng, machines.iter().map(|m| m.name.as_str())));
    put(&mut cluster, "gaussdbAppPath", choose_one(rng, &["/gauss/app", "/gauss//app/", "/gauss/x/../app"]));
    if once_in(rng, 2) {
        put(&mut cluster, "gaussdbLogPath", "/var/log/gauss");
    }
    put(&mut cluster, "gaussdbToolPath", "/gauss/om");
    put(&mut cluster, "corePath", "/gauss/core");
    put(&mut cluster, "backIp1s", write_loose_list(rng, machines.iter().map(|m| m.address.as_str())));
    if once_in(rng, 8) {
        put(&mut cluster, "clusterType", "single-inst");
    }
    let mut text = String::new();
    if !once_in(rng, 4) {
        text += "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n";
    }
    text += "<ROOT>\n  <CLUSTER>\n";
    params(rng, &mut text, cluster, "    ");
    text += "  </CLUSTER>\n  <DEVICELIST>\n";
    for (i, machine) in machines.iter().enumerate() {
        let _ = writeln!(text, "    <DEVICE sn=\"{i}\">");
        params(rng, &mut text, machine.params.clone(), "      ");
        text += "    </DEVICE>\n";
    }
    text + "  </DEVICELIST>\n</ROOT>\n"
}

fn params(rng: &mut Rng, text: &mut String, mut list: Vec<Param>, indent: &str) {
    if once_in(rng, 3) {
        rng.shuffle(&mut list);
    }
    for (name, value) in list {
        // A String takes all that is written to it.
        let _ = match rng.u8(..16) {
            0 => writeln!(text, "{indent}<PARAM value='{value}' name='{name}' />"),
            1 => writeln!(text, "{indent}<!-- {name} --><PARAM name=\"{name}\" value=\"{value}\"></PARAM>"),
            _ => writeln!(text, "{indent}<PARAM name=\"{name}\" value=\"{value}\"/>"),
        };
    }
}

/// A good cluster that no XML file describes: ids with holes, several addresses, ports and roles of their own.
pub fn vary_cluster(rng: &mut Rng, cluster: &Cluster) -> Cluster {
    let mut cluster = cluster.clone();
    let v6 = cluster.nodes.first().is_some_and(|n| n.addresses.iter().any(|a| a.as_str().contains(':')));
    let (mut id, mut agent) = (0, 10_000);
    let mut extra = 100;
    for node in &mut cluster.nodes {
        id += rng.u32(1..=3);
        agent += rng.u32(1..=2);
        node.id = id;
        node.cm_agent.id = agent;
        let mut more = |rng: &mut Rng, list: &mut Vec<ClusterAddress>| {
            while list.len() < 3 && once_in(rng, 4) {
                extra += 1;
                list.push(ClusterAddress::from_canonicalized(&make_address(rng, v6, extra)));
            }
        };
        more(rng, &mut node.addresses);
        more(rng, &mut node.ssh_addresses);
        more(rng, &mut node.cm_agent.addresses);
        if let Some(server) = &mut node.cm_server {
            server.id += 5;
            server.level = rng.u32(..3);
            more(rng, &mut server.listen_addresses);
            more(rng, &mut server.ha_addresses);
        }
        for d in &mut node.data_nodes {
            more(rng, &mut d.listen_addresses);
            more(rng, &mut d.ha_addresses);
            d.port = rng.u32(1024..=65535);
            d.ha_port = rng.u32(1024..=65535);
        }
    }
    let mut numbers: Vec<u32> = (0..cluster.data_nodes().count()).map(|_| 0).collect();
    let mut next = 6000;
    for number in &mut numbers {
        next += rng.u32(1..=4);
        *number = next;
    }
    if once_in(rng, 2) {
        rng.shuffle(&mut numbers);
    }
    let servers = cluster.nodes.iter_mut().flat_map(|n| &mut n.data_nodes);
    for (d, number) in servers.zip(numbers) {
        d.id = number;
        if d.role == ConfiguredRole::Standby && once_in(rng, 6) {
            d.role = ConfiguredRole::CascadeStandby;
        }
    }
    cluster.with_linked_peers()
}

/// What a parameter may say instead.
const VALUES: [&str; 34] = [
    "",
    " ",
    "0",
    "1",
    "2",
    "-1",
    "+1",
    "01",
    "1_0",
    "11",
    "80",
    "1023",
    "1024",
    "65534",
    "65535",
    "65536",
    "x",
    "on",
    "off",
    "ON",
    "a,b",
    ",",
    "10.0.0.999",
    "10.0.0.7",
    "010.0.0.1",
    "fe80::1",
    "fe80::1%eth0",
    "localhost",
    "/x",
    "/x y",
    "x/y",
    "/a$b",
    "/a//b/../c/",
    "//a",
];

/// What it may be named instead.
const NAMES: [&str; 12] = [
    "dataNode2",
    "backIp2",
    "floatIp1",
    "floatIpMap1",
    "cmsNum",
    "dataNum",
    "cascadeRole",
    "enable_dcf",
    "sshPort",
    "azPriorty",
    "syncNode_x",
    "password",
];

/// What may stand between.
const TEXTS: [&str; 8] =
    ["<!DOCTYPE x>", "</DEVICE>", "<DEVICE>", "<PARAM/>", "<X/>", "text", "&lt;", "<PARAM name='a'/>"];

/// The XML with one mistake, or with what looks like one.
pub fn add_mistake(rng: &mut Rng, xml: &str) -> String {
    let lines: Vec<&str> = xml.lines().collect();
    let params: Vec<usize> = (0..lines.len()).filter(|i| lines[*i].contains("<PARAM")).collect();
    let at = params[rng.usize(..params.len())];
    let mut new: Vec<String> = lines.iter().map(|l| (*l).to_owned()).collect();
    let line = lines[at];
    let value = line.find("value=").map(|v| v + 7);
    let end = value.and_then(|v| line[v..].find(['"', '\'']).map(|e| v + e));
    let name = line.find(" name=").map(|v| v + 7);
    let name_end = name.and_then(|v| line[v..].find(['"', '\'']).map(|e| v + e));
    match (rng.u8(..20), value.zip(end), name.zip(name_end)) {
        (0..=8, Some((from, to)), _) => {
            let given = choose_one(rng, &VALUES);
            new[at] = format!("{}{given}{}", &line[..from], &line[to..]);
        }
        // An item of a list, or the end of a word.
        (9..=11, Some((from, to)), _) => {
            let mut items: Vec<&str> = line[from..to].split(',').collect();
            let which = rng.usize(..items.len());
            match rng.u8(..3) {
                0 => drop(items.remove(which)),
                1 => items.insert(which, items[which]),
                _ => items[which] = choose_one(rng, &VALUES),
            }
            new[at] = format!("{}{}{}", &line[..from], items.join(","), &line[to..]);
        }
        (12..=13, _, Some((from, to))) => {
            let given = choose_one(rng, &NAMES);
            new[at] = format!("{}{given}{}", &line[..from], &line[to..]);
        }
        (14..=15, ..) => drop(new.remove(at)),
        (16, ..) => new.insert(at, line.to_owned()),
        // A parameter of another DEVICE, or of the CLUSTER.
        (17, ..) => {
            let from = params[rng.usize(..params.len())];
            new.insert(at, lines[from].to_owned());
        }
        (18, ..) => {
            new.insert(at, choose_one(rng, &TEXTS).to_owned());
        }
        _ => {
            // A whole DEVICE goes.
            let begin = lines[..at].iter().rposition(|l| l.contains("<DEVICE "));
            let end = lines[at..].iter().position(|l| l.contains("</DEVICE>")).map(|e| at + e);
            if let (Some(begin), Some(end)) = (begin, end) {
                new.drain(begin..=end);
            }
        }
    }
    new.join("\n") + "\n"
}
