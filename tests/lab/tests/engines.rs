//! Both engines do the same, on real namespaces and real servers: what is asserted of openGauss holds the stand-ins too.
#![allow(clippy::unwrap_used, missing_docs)]

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::Output;
use std::time::Duration;

use og_lab::{Engine, Lab, LabOptions, NodeSpec, Role};

const LIMIT: Duration = Duration::from_secs(40);

/// A lab which ends with the test, also when that fails.
struct Up(Option<Lab>);

impl Up {
    fn new(name: &str, engine: Engine, roles: &[Role]) -> Option<Self> {
        let missing = og_lab::missing(engine);
        if !missing.is_empty() {
            println!("skipped on {engine}: {}", missing.join("; "));
            return None;
        }
        let lab = Lab::up(&LabOptions {
            name: format!("e{}{name}{}", og_lab::checkout_tag(), engine.label()),
            engine,
            nodes: roles.iter().zip(1..).map(|(role, i)| NodeSpec::new(format!("n{i}"), *role)).collect(),
            base_dir: None,
            programs: Path::new(env!("CARGO_BIN_EXE_gs_ctl")).parent().unwrap().to_owned(),
        });
        Some(Self(Some(lab.unwrap())))
    }

    fn lab(&self) -> &Lab {
        self.0.as_ref().unwrap()
    }

    fn ctl(&self, node: &str, args: &[&str]) -> (i32, String) {
        let data = self.lab().node(node).unwrap().data_dir.display().to_string();
        let mut call = vec!["gs_ctl"];
        call.extend(args);
        call.extend(["-D", &data]);
        words(&self.lab().exec_on(node, call).unwrap().output().unwrap())
    }

    fn wait_for_state(&self, node: &str, role: &str, state: &str) {
        self.lab().wait_for(node, role, state, LIMIT).unwrap();
    }

    fn sql(&self, node: &str, sql: &str) -> String {
        self.lab().sql(node, sql).unwrap()
    }

    /// Waits until a query gives this.
    fn wait_for_value(&self, node: &str, sql: &str, wanted: &str) {
        let end = std::time::Instant::now() + LIMIT;
        loop {
            let seen = self.lab().sql(node, sql).unwrap_or_else(|e| e.to_string());
            if seen == wanted {
                return;
            }
            assert!(std::time::Instant::now() < end, "{node}: {sql}: {seen:?}, not {wanted:?}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn append(&self, node: &str, file: &str, line: &str) {
        let path = self.lab().node(node).unwrap().data_dir.join(file);
        fs::OpenOptions::new().append(true).open(path).unwrap().write_all(line.as_bytes()).unwrap();
    }

    fn read(&self, node: &str, file: &str) -> String {
        fs::read_to_string(self.lab().node(node).unwrap().data_dir.join(file)).unwrap()
    }

    /// Waits until the server's log says this; openGauss reads a bad pg_hba.conf three times before it says so.
    fn wait_for_log(&self, node: &str, words: &str) {
        let dir = self.lab().node(node).unwrap().data_dir.join("pg_log");
        let end = std::time::Instant::now() + LIMIT;
        loop {
            let files = fs::read_dir(&dir).unwrap().map(|e| e.unwrap().path());
            if files.into_iter().any(|f| String::from_utf8_lossy(&fs::read(f).unwrap()).contains(words)) {
                return;
            }
            assert!(std::time::Instant::now() < end, "the log of {node} does not say {words:?}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        if let Some(lab) = self.0.take() {
            if std::thread::panicking() && std::env::var_os("OG_LAB_KEEP").is_some() {
                return;
            }
            lab.down().unwrap();
        }
    }
}

fn words(output: &Output) -> (i32, String) {
    (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Who asks a server's command line for its files is led to those of the data directory.
fn names_no_files_on_its_command_line(up: &Up) {
    let pid = up.read("n1", "postmaster.pid").lines().next().unwrap().to_owned();
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap();
    let args: Vec<_> = line.split(|b| *b == 0).map(String::from_utf8_lossy).collect();
    assert!(args.iter().any(|arg| arg == "-D"), "{args:?}");
    assert!(!args.iter().any(|arg| arg.starts_with("-c") || arg.starts_with("--")), "{args:?}");
}

fn streams_switches_over_fails_over_and_is_rebuilt(engine: Engine) {
    let Some(up) = Up::new("ha", engine, &[Role::Primary, Role::Standby, Role::CascadeStandby]) else {
        return;
    };
    names_no_files_on_its_command_line(&up);
    up.sql("n1", "create table t (a int)");
    up.sql("n1", "insert into t values (1)");
    up.wait_for_value("n2", "select sum(a) from t", "1");
    up.wait_for_value("n3", "select sum(a) from t", "1");
    up.wait_for_value("n1", "select slot_name, active from pg_replication_slots", "dn_6002|t");
    up.wait_for_value("n2", "select slot_name, active from pg_replication_slots", "dn_6003|t");

    // A running server is not started twice, a primary is not built; the statuses are openGauss's.
    assert_eq!(up.ctl("n1", &["start", "-M", "primary"]).0, 0);
    let (rc, said) = up.ctl("n1", &["build", "-b", "full"]);
    assert_eq!(rc, 1);
    assert!(said.contains("The local server run as Primary,build cannot be executed."), "{said}");

    // Switchover: the old primary follows, the cascade finds an upstream that is a standby.
    let (rc, said) = up.ctl("n2", &["switchover", "-t", "30"]);
    assert!(rc == 0 && said.contains("switchover completed"), "{said}");
    up.wait_for_state("n2", "Primary", "Normal");
    up.wait_for_state("n1", "Standby", "Normal");
    up.wait_for_state("n3", "Cascade Standby", "Normal");
    up.sql("n2", "insert into t values (2)");
    up.wait_for_value("n1", "select sum(a) from t", "3");
    up.wait_for_value("n3", "select sum(a) from t", "3");
    assert!(up.read("n1", "postmaster.opts").contains("\"-M\" \"standby\""));

    // Failover while the primary lives: two primaries, and what the old one wrote alone is rewound by a build.
    assert_eq!(up.ctl("n1", &["failover"]).0, 0);
    up.wait_for_state("n1", "Primary", "Normal");
    up.wait_for_state("n2", "Primary", "Normal");
    up.append("n2", "postgresql.conf", "synchronous_standby_names = ''\n");
    assert_eq!(up.ctl("n2", &["reload"]).0, 0);
    up.sql("n2", "insert into t values (100)");
    up.lab().kill_server("n2").unwrap();
    let (rc, said) = up.ctl("n2", &["query"]);
    assert_eq!(rc, 1, "{said}");
    let (rc, said) = up.ctl("n2", &["build", "-b", "incremental", "-M", "standby"]);
    assert_eq!(rc, 0, "{said}");
    up.wait_for_state("n2", "Standby", "Normal");
    up.wait_for_value("n2", "select sum(a) from t", "3");

    // A full build of a folder that lost its data: own parameters stay, the rules are the primary's.
    assert_eq!(up.ctl("n2", &["stop", "-m", "fast"]).0, 0);
    fs::remove_dir_all(up.lab().node("n2").unwrap().data_dir.join("base")).unwrap();
    up.append("n2", "pg_hba.conf", "# mine\n");
    up.append("n2", "postgresql.conf", "# mine\n");
    let (rc, said) = up.ctl("n2", &["build", "-b", "full", "-M", "standby"]);
    assert_eq!(rc, 0, "{said}");
    up.wait_for_state("n2", "Standby", "Normal");
    assert!(!up.read("n2", "pg_hba.conf").contains("# mine"));
    assert!(up.read("n2", "postgresql.conf").contains("'dn_6002'"));
    assert_eq!(up.read("n2", "gs_build.pid"), "0");
    up.wait_for_value("n2", "select sum(a) from t", "3");
}

/// Whether a program says that no rule lets it in; from 5.0 on the server closes the connection without a word, and gs_ctl
/// does not always see a cause. The server's log has it.
fn is_shut_out(said: &str) -> bool {
    const WORDS: [&str; 4] = [
        "no pg_hba.conf entry for host",
        "could not receive data from server",
        "closed the connection",
        "could not connect to server",
    ];
    WORDS.iter().any(|words| said.contains(words))
}

fn a_newcomer_gets_in_by_channel_and_rule_alone(engine: Engine) {
    let Some(up) = Up::new("join", engine, &[Role::Primary, Role::Spare]) else { return };
    let (one, two) = (up.lab().node("n1").unwrap(), up.lab().node("n2").unwrap());
    let channel = |a: &og_lab::LabNode, b: &og_lab::LabNode| {
        format!(
            "replconninfo1 = 'localhost={} localport=26001 remotehost={} remoteport=26001'\n",
            a.address, b.address
        )
    };
    // A single node waits for nobody, though '*' stands in its file.
    up.wait_for_state("n1", "Normal", "Normal");
    up.sql("n1", "create table t as select 1 as a");
    assert_eq!(up.sql("n1", "show synchronous_standby_names"), "*");

    up.append("n2", "postgresql.conf", &channel(two, one));
    let (rc, said) = up.ctl("n2", &["build", "-b", "full", "-M", "standby"]);
    assert!(rc == 1 && is_shut_out(&said), "{rc} {said}");
    up.wait_for_log("n1", &format!("no pg_hba.conf entry for host \"{}\"", two.address));

    // A bad line: the reload is refused in silence, and the good line beside it with it.
    let good = format!("host all all {}/32 trust\n", two.address);
    let before = up.read("n1", "pg_hba.conf");
    up.append("n1", "pg_hba.conf", &format!("host all all 1.1.1.1/33 trust\n{good}"));
    up.append("n1", "postgresql.conf", &format!("synchronous_standby_names = ''\n{}", channel(one, two)));
    assert_eq!(up.ctl("n1", &["reload"]).0, 0);
    up.wait_for_log("n1", "WARNING:  pg_hba.conf not reloaded");
    up.wait_for_state("n1", "Primary", "Normal");
    assert_eq!(up.ctl("n2", &["build", "-b", "full", "-M", "standby"]).0, 1);

    fs::write(one.data_dir.join("pg_hba.conf"), before + &good).unwrap();
    assert_eq!(up.ctl("n1", &["reload"]).0, 0);
    let (rc, said) = up.ctl("n2", &["build", "-M", "standby"]);
    assert!(
        rc == 0 && said.contains("from different systems") && said.contains("auto build build completed"),
        "{said}"
    );
    up.wait_for_state("n2", "Standby", "Normal");

    // Without a line for its own address gs_ctl cannot ask the server, and says so with status 0.
    let own = up.read("n2", "pg_hba.conf");
    fs::write(two.data_dir.join("pg_hba.conf"), "local all all trust\n").unwrap();
    assert_eq!(up.ctl("n2", &["reload"]).0, 0);
    // The server takes the file some moments after it was told.
    let end = std::time::Instant::now() + LIMIT;
    loop {
        let (rc, said) = up.ctl("n2", &["query"]);
        if rc == 0 && said.contains("sync_mode") && is_shut_out(&said) {
            break;
        }
        assert!(std::time::Instant::now() < end, "{rc} {said}");
        std::thread::sleep(Duration::from_millis(50));
    }
    fs::write(two.data_dir.join("pg_hba.conf"), own).unwrap();
    assert_eq!(up.ctl("n2", &["reload"]).0, 0);
    up.wait_for_state("n2", "Standby", "Normal");

    // An unknown parameter: refused, the next start would fail, and the standby gets it all the same.
    let before = up.read("n1", "postgresql.conf");
    up.append("n1", "postgresql.conf", "no_such_parameter = 1\n");
    assert_eq!(up.ctl("n1", &["reload"]).0, 0);
    up.wait_for_log("n1", "contains errors; no changes were applied");
    assert!(
        up.lab()
            .sql("n1", "show no_such_parameter")
            .unwrap_err()
            .to_string()
            .contains("unrecognized configuration parameter")
    );
    fs::write(one.data_dir.join("postgresql.conf"), before).unwrap();
    assert_eq!(up.ctl("n1", &["reload"]).0, 0);
    up.wait_for_value("n2", "select count(*) from t", "1");

    // The channel goes: the stream is cut, and stays so. From 6.0 on a channel that goes cuts nobody by itself.
    up.append("n1", "postgresql.conf", "replconninfo1 = ''\n");
    assert_eq!(up.ctl("n1", &["reload"]).0, 0);
    if engine.label().contains("-6.") {
        return;
    }
    up.wait_for_value("n1", "select count(*) from pg_stat_replication", "0");
    up.wait_for_state("n2", "Standby", "Need repair");
}

fn is_found_again_reached_by_ssh_and_cut_off(engine: Engine) {
    let Some(up) = Up::new("net", engine, &[Role::Primary, Role::Standby]) else { return };
    let lab = Lab::open(up.lab().name()).unwrap();
    assert_eq!(lab.nodes(), up.lab().nodes());
    let config = lab.ssh_config().display().to_string();
    let ssh = |node: &str, what: &str| {
        lab.exec_ctl(["ssh", "-F", &config, "-o", "ConnectTimeout=2", node, what]).output().unwrap()
    };
    let (rc, said) = words(&ssh("n2", "echo $(whoami) $(hostname) $MPPDB_ENV_SEPARATE_PATH"));
    let node = lab.node("n2").unwrap();
    assert_eq!((rc, said.trim()), (0, format!("omm n2 {}", node.env_file.display()).as_str()));
    // Two nodes know nothing of each other's sockets, at the same path.
    assert_eq!(up.sql("n1", "select pg_is_in_recovery()"), "f");
    assert_eq!(up.sql("n2", "select pg_is_in_recovery()"), "t");

    lab.cut("n2").unwrap();
    assert_ne!(words(&ssh("n2", "true")).0, 0);
    up.wait_for_state("n2", "Standby", "Need repair");
    lab.reconnect("n2").unwrap();
    up.wait_for_state("n2", "Standby", "Normal");
    assert_eq!(words(&ssh("n2", "true")).0, 0);
}

mod postgres {
    use super::*;

    #[test]
    fn ha() {
        streams_switches_over_fails_over_and_is_rebuilt(Engine::Postgres);
    }

    #[test]
    fn join() {
        a_newcomer_gets_in_by_channel_and_rule_alone(Engine::Postgres);
    }

    #[test]
    fn net() {
        is_found_again_reached_by_ssh_and_cut_off(Engine::Postgres);
    }
}

mod opengauss {
    use super::*;

    fn on_each(test: fn(Engine)) {
        let engines = Engine::all_opengauss();
        if engines.is_empty() {
            println!("skipped: {}", og_lab::none_installed());
        }
        engines.into_iter().for_each(test);
    }

    #[test]
    fn ha() {
        on_each(streams_switches_over_fails_over_and_is_rebuilt);
    }

    #[test]
    fn join() {
        on_each(a_newcomer_gets_in_by_channel_and_rule_alone);
    }

    #[test]
    fn net() {
        on_each(is_found_again_reached_by_ssh_and_cut_off);
    }
}

#[test]
fn a_machine_is_bare_and_what_is_written_there_is_its_own() {
    if let Some(why) = og_lab::machines_obstacle() {
        println!("skipped: {why}");
        return;
    }
    let options = LabOptions {
        name: format!("e{}machines", og_lab::checkout_tag()),
        engine: Engine::Postgres,
        nodes: vec![NodeSpec::new("n1", Role::Primary), NodeSpec::new("n2", Role::Standby)],
        base_dir: None,
        programs: Path::new(env!("CARGO_BIN_EXE_gs_ctl")).parent().unwrap().to_owned(),
    };
    let up = Up(Some(Lab::up_machines(&options).unwrap()));
    let lab = up.lab();
    let ssh = |node: &str, command: &str| {
        words(&lab.exec_ctl(["ssh", "-F"]).arg(lab.ssh_config()).args([node, command]).output().unwrap())
    };
    let setting = fs::read_to_string("/proc/sys/vm/min_free_kbytes").unwrap();
    let before = "id -un; hostname; ls -A /opt /home /root /gauss 2>/dev/null | grep -v :; getent passwd omm";
    let bare = ssh("n1", before).1;
    assert_eq!(bare.split_whitespace().collect::<Vec<_>>(), ["root", "n1"]);
    let write = "useradd -m omm && echo 70001 >/proc/sys/vm/min_free_kbytes && cat /proc/sys/vm/min_free_kbytes \
                 && echo x >/etc/of_n1.conf && ps ax | wc -l";
    let (rc, said) = ssh("n1", write);
    assert!(rc == 0 && said.starts_with("70001\n"), "{said}");
    assert_eq!(fs::read_to_string("/proc/sys/vm/min_free_kbytes").unwrap(), setting);
    assert_eq!(
        ssh("n2", "ls /etc/of_n1.conf; getent passwd omm; cat /proc/sys/vm/min_free_kbytes").1,
        setting
    );
    assert!(!Path::new("/etc/of_n1.conf").exists());
    let node = lab.node("n1").unwrap();
    assert!(node.written_dir().join("etc/of_n1.conf").exists());
    assert_eq!(fs::read_to_string(node.from_outside(Path::new("/etc/of_n1.conf"))).unwrap(), "x\n");
    assert_eq!(words(&node.exec_root(["id", "-un", "omm"]).output().unwrap()).1.trim(), "omm");
    lab.make_bare("n1").unwrap();
    assert_eq!(ssh("n1", before).1, bare);
    assert_eq!(ssh("n1", "ls /etc/of_n1.conf 2>/dev/null").1, "");
}
