//! One writing run of each module that writes.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use serde_json::{Value, json};

use crate::sandbox::{Sandbox, Tried};

/// A run: what is there before, and what is asked for.
#[derive(Clone, Copy)]
pub struct Case {
    /// The module.
    pub module: &'static str,
    /// Its file in the data directory.
    pub file: &'static str,
    /// Whether a server runs, which then has to load the file.
    pub serves: bool,
    /// Whether the module makes the file when there is none.
    pub makes: bool,
}

/// All runs.
pub const CASES: [Case; 8] = [
    Case { module: "og_hba", file: "pg_hba.conf", serves: false, makes: false },
    Case { module: "og_guc", file: "postgresql.conf", serves: false, makes: false },
    Case { module: "og_replconninfo", file: "postgresql.conf", serves: false, makes: false },
    Case { module: "og_static_conf", file: "cluster_static_config", serves: false, makes: false },
    Case { module: "og_lock", file: "og_lock.json", serves: false, makes: true },
    Case { module: "og_hba", file: "pg_hba.conf", serves: true, makes: false },
    Case { module: "og_guc", file: "postgresql.conf", serves: true, makes: false },
    Case { module: "og_replconninfo", file: "postgresql.conf", serves: true, makes: false },
];

const HBA: &str =
    "# gr\u{fc}n\r\nlocal all all trust\nhost all all 127.0.0.1/32 trust\nhost all app 10.0.0.0/8 sha256";
const CONF: &str = "# settings\nport = 5432\t\t# (change requires restart)\nmax_connections = 100\nlog_directory = 'pg_log'\n\
    synchronous_standby_names = 'ANY 1(dn_6002,dn_6003)'\n\
    replconninfo1 = 'localhost=127.0.0.1 localport=26001 localheartbeatport=26005 localservice=26004 \
    remotehost=127.0.0.2 remoteport=26001 remoteheartbeatport=26005 remoteservice=26004'\n#work_mem = 64MB";

impl Case {
    /// As the table names it.
    pub fn name(&self) -> String {
        if self.serves { format!("{}, server runs", self.module) } else { self.module.to_owned() }
    }

    /// A node before the run.
    pub fn node(&self) -> Tried<Sandbox> {
        let mut node = Sandbox::new()?;
        self.fill(&node)?;
        if self.serves {
            node.serve()?;
        }
        Ok(node)
    }

    /// Writes what is there before the run.
    pub fn fill(&self, node: &Sandbox) -> Tried<()> {
        match self.module {
            "og_static_conf" => {
                let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("../vectors/cluster/seed_1p2s1c");
                for name in ["cluster_static_config", "cluster_config.xml"] {
                    node.write(name, std::fs::read(sample.join(name)).map_err(|e| e.to_string())?)?;
                }
                Ok(())
            }
            "og_lock" => {
                let inode = std::fs::metadata(node.data()).map_err(|e| e.to_string())?.ino();
                let old = json!({"data_dir_inode": inode, "owner": "b", "purpose": "", "since": "x", "until": "x",
                    "until_epoch": 1000});
                node.write("og_lock.json", old.to_string())
            }
            _ => {
                node.write("pg_hba.conf", HBA)?;
                node.write("postgresql.conf", CONF)
            }
        }
    }

    /// What is asked for.
    pub fn args(&self, node: &Sandbox) -> Value {
        let mut args = match self.module {
            "og_hba" => json!({"rules": ["host all all 192.168.0.12/32 sha256",
                {"users": "app", "address": "10.0.0.0/8", "method": "reject"}]}),
            "og_guc" => json!({"parameters": {"max_connections": 200, "work_mem": "32MB"},
                "synchronous_standbys": {"remove": ["dn_6003"]}}),
            "og_replconninfo" => json!({"local": {"host": "127.0.0.1", "base_port": 26000}, "peers": [
                {"host": "127.0.0.2", "base_port": 26000}, {"host": "127.0.0.3", "base_port": 26000}]}),
            "og_static_conf" => json!({"path": node.data().join("cluster_static_config"),
                "write_xml": node.data().join("cluster_config.xml"), "drop": ["stb1.opengauss.com"]}),
            _ => json!({"owner": "a", "purpose": "add node 3"}),
        };
        args["data_dir"] = json!(node.data());
        args["gauss_home"] = json!(node.path(""));
        args["lock_timeout"] = json!(5);
        args
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_module_that_edits_text_has_a_run() {
        // The one that needs root has a machine of its own: crate::host.
        let edits = og_registry::PROGRAMS.iter().filter(|program| program.edits_text && !program.needs_root);
        let without = edits.filter(|program| CASES.iter().all(|case| case.module != program.name));
        assert_eq!(without.map(|program| program.name).collect::<Vec<_>>(), Vec::<&str>::new());
    }
}
