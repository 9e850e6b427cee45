//! gs_guc of openGauss itself reads what we write: the nodes, the servers of its own machine, the zones and the names
//! that others have here.
#![allow(clippy::unwrap_used)]

use std::ffi::OsString;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

/// gs_guc refuses root.
const NOBODY: u32 = 65534;

/// A GAUSSHOME with openGauss's programs, a static config of ours and an empty server or two.
struct Home {
    folder: tempfile::TempDir,
    root: bool,
}

impl Home {
    /// Nothing, and why, where openGauss is missing.
    fn new() -> Option<Self> {
        let gauss = std::env::var_os("OG_LAB_GAUSSHOME").unwrap_or_else(|| OsString::from("/opt/openGauss"));
        let gauss = PathBuf::from(gauss);
        if !gauss.join("bin/gs_guc").exists() {
            println!("skipped: no openGauss");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let home = Self { root: std::fs::metadata("/proc/self").unwrap().uid() == 0, folder };
        std::fs::create_dir(home.path("bin")).unwrap();
        for name in ["lib", "share", "etc"] {
            symlink(gauss.join(name), home.path(name)).unwrap();
        }
        for entry in std::fs::read_dir(gauss.join("bin")).unwrap() {
            let entry = entry.unwrap();
            if entry.file_name() != "cluster_static_config" {
                symlink(entry.path(), home.path("bin").join(entry.file_name())).unwrap();
            }
        }
        // OM's script that asks the other nodes.
        let pssh = home.path("bin/pssh");
        std::fs::write(&pssh, format!("#!/bin/sh\necho \"$@\" >> {}\n", home.path("asked").display()))
            .unwrap();
        std::fs::set_permissions(&pssh, std::fs::Permissions::from_mode(0o755)).unwrap();
        home.chown_to_user(home.folder.path());
        home.chown_to_user(&home.path("bin"));
        Some(home)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn chown_to_user(&self, path: &Path) {
        if self.root {
            chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
        }
    }

    /// A data directory whose server listens on this port.
    fn server(&self, name: &str, port: u32) -> PathBuf {
        let folder = self.path(name);
        std::fs::create_dir(&folder).unwrap();
        let conf = folder.join("postgresql.conf");
        std::fs::write(&conf, format!("port = {port}\n")).unwrap();
        self.chown_to_user(&folder);
        self.chown_to_user(&conf);
        folder
    }

    /// Has our program write the static config.
    fn write(&self, mut args: Value) {
        args["gauss_home"] = json!(self.folder.path());
        let mut child = Command::new(env!("CARGO_BIN_EXE_og_static_conf"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(args.to_string().as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        self.chown_to_user(&self.path("bin/cluster_static_config"));
    }

    fn gs_guc(&self, args: &[&str]) -> (bool, String) {
        let mut command = Command::new(self.path("bin/gs_guc"));
        command
            .args(args)
            .current_dir(self.folder.path())
            .env_clear()
            .env("GAUSSHOME", self.folder.path())
            .env("HOME", self.folder.path())
            .env("LD_LIBRARY_PATH", self.path("lib"))
            .env("PATH", format!("{}:/usr/bin:/bin", self.path("bin").display()));
        if self.root {
            command.uid(NOBODY).gid(NOBODY);
        }
        let output = command.output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// The nodes that were asked, each by its name.
    fn asked_nodes(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.path("asked")).unwrap_or_default();
        let mut names: Vec<String> = text
            .lines()
            .filter_map(|l| Some(l.split(" -H ").nth(1)?.split(' ').next()?.to_owned()))
            .collect();
        names.sort();
        names
    }
}

/// Four nodes after one was dropped, so that the numbers have a hole; this is the standby with the number 3.
fn nodes(data_dir: &Path) -> Value {
    let node = |n: u32, zone: &str, role: &str| {
        json!({"name": format!("og{n}"), "id": n, "instance_id": 6000 + n, "address": format!("10.56.0.{n}"), "zone": zone, "zone_priority": if zone == "AZ1" { 1 } else { 2 },
            "role": role, "data_dir": data_dir, "base_port": 26000})
    };
    json!([
        node(1, "AZ1", "primary"),
        node(3, "AZ1", "standby"),
        node(4, "AZ2", "standby"),
        node(5, "AZ2", "cascade_standby")
    ])
}

#[test]
fn it_checks_every_node_of_our_file() {
    let Some(home) = Home::new() else { return };
    let data = home.server("data", 26000);
    home.write(json!({"nodes": nodes(&data), "local": "og3"}));
    let (good, text) = home.gs_guc(&["check", "-N", "all", "-I", "all", "-c", "port"]);
    assert!(good, "{text}");
    assert!(text.contains("port=26000"), "{text}");
    assert_eq!(home.asked_nodes(), ["og1", "og4", "og5"]);
}

#[test]
fn it_finds_every_server_of_a_machine() {
    let Some(home) = Home::new() else { return };
    let (one, two) = (home.server("one", 26000), home.server("two", 27000));
    let server = |n: u32, group: u32, dir: &Path, port: u32, role: &str| json!({"instance_id": n, "group": group, "data_dir": dir, "base_port": port, "role": role});
    home.write(json!({"local": "a", "nodes": [
        {"name": "a", "address": "fd00::1", "data_nodes": [server(6001, 1, &one, 26000, "primary"), server(6004, 2, &two, 27000, "standby")]},
        {"name": "b", "address": "fd00::2", "data_nodes": [server(6003, 2, &one, 26000, "primary"), server(6002, 1, &two, 27000, "standby")]},
    ]}));
    let (good, text) = home.gs_guc(&["check", "-N", "a", "-I", "all", "-c", "port"]);
    assert!(good, "{text}");
    for (dir, port) in [(&one, 26000), (&two, 27000)] {
        let line = format!("port={port}  [{}/postgresql.conf]", dir.display());
        assert!(text.contains(&line), "{line} is not in {text}");
    }
}

#[test]
fn it_knows_the_names_of_the_others_and_their_zones() {
    let Some(home) = Home::new() else { return };
    let data = home.server("data", 26000);
    // For the zones it looks for the node with the machine's own name.
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let mut nodes = nodes(&data);
    nodes[1]["name"] = json!(host.trim());
    home.write(json!({"nodes": nodes, "local": host.trim()}));
    let data = data.to_str().unwrap().to_owned();
    for (names, good) in [
        ("ANY 1(dn_6001)", true),
        ("FIRST 2(dn_6001,dn_6004)", true),
        ("ANY 1(AZ2)", true),
        // Its own name, the hole's, and those of nobody.
        ("ANY 1(dn_6003)", false),
        ("ANY 1(dn_6002)", false),
        ("ANY 1(AZ3)", false),
    ] {
        let (took, text) =
            home.gs_guc(&["set", "-D", &data, "-c", &format!("synchronous_standby_names='{names}'")]);
        assert_eq!(took, good, "{names}: {text}");
    }
}
