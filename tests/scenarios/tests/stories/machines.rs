//! Bare machines become a cluster, with all that comes before the first database: the operating system and the package.

use std::path::{Path, PathBuf};

use og_lab::{Engine, Role};
use og_scenarios::cluster::{Cluster, Result};
use og_scenarios::machine::{Written, make_package, written};
use og_scenarios::shell::{Shell, Told};
use serde_json::json;

use super::check_nothing_left;
use crate::Story;

pub const STORY: Story = Story {
    name: "machines",
    nodes: &[("n1", Role::Primary), ("n2", Role::Standby), ("n3", Role::Standby)],
    always: 1,
    scenarios: &[
        ("og makes a cluster of bare machines", by_og),
        ("the cluster is written, failed over, and its old primary rejoins (document 002)", by_document),
        ("a machine that was cleared is bare, and serves again", cleared),
        ("Ansible makes a cluster of bare machines", by_ansible),
        ("og is killed again and again, and goes on", killed),
    ],
};

const NODES: [&str; 3] = ["n1", "n2", "n3"];
const ROLES: [(&str, &str); 3] = [("n1", "primary"), ("n2", "standby"), ("n3", "standby")];
/// What the servers of a small machine take.
const SIZES: [(&str, &str); 4] = [
    ("max_process_memory", "2GB"),
    ("shared_buffers", "64MB"),
    ("cstore_buffers", "16MB"),
    ("max_connections", "100"),
];
const LIMITS: &str = "/etc/security/limits.d/90-opengauss-node-omm.conf";
const SETTINGS: &str = "/etc/sysctl.d/90-opengauss-node.conf";
const PASSWORD: &str = "/home/omm/.og_password";
const RECORD: &str = "/var/lib/opengauss-node/host.json";

fn package(c: &Cluster) -> Result<PathBuf> {
    match c.lab().engine() {
        Engine::OpenGauss(installation) => make_package(installation, c.lab().base_dir()),
        Engine::Postgres => Err("PostgreSQL has no package".to_owned()),
    }
}

/// On n1, the user, and the file of his password, as the documents say.
pub(super) fn write_password(c: &Cluster) -> Result {
    let n1 = c.node("n1")?;
    let program = c.lab().base_dir().join("modules/og_host");
    let steps = [
        ("made the user", n1.exec_root(["sh", "-c", "echo '{\"user\": \"omm\"}' | \"$0\""]), Some(program)),
        ("wrote", n1.exec(["sh", "-c", &format!("umask 077; echo Lab_Passw0rd > {PASSWORD}")]), None),
    ];
    for (what, mut command, word) in steps {
        let done = command.args(word).output().map_err(|e| e.to_string())?;
        if !done.status.success() {
            return Err(format!("n1 never {what}: {}", String::from_utf8_lossy(&done.stdout)));
        }
    }
    Ok(())
}

/// The line that a person types.
pub(super) fn deploy_line(c: &Cluster) -> Result<String> {
    let sizes = SIZES.map(|(name, value)| format!("{name}={value}")).join(" ");
    let package = package(c)?;
    Ok(format!("og deploy --host yes --package {} --password-file {PASSWORD} {sizes}", package.display()))
}

/// What a run writes that changes nothing: the programs that it sends, and the log of who came in.
fn is_of_every_run(path: &Path) -> bool {
    ["/root/.cache", "/home/omm/.cache", "/var/log"].iter().any(|above| path.starts_with(above))
}

fn look(c: &Cluster, name: &str) -> Result<Written> {
    let mut found = written(c.node(name)?)?;
    found.retain(|path, _| !is_of_every_run(path));
    Ok(found)
}

/// The paths that are not as they were.
fn changed(before: &Written, after: &Written) -> Vec<PathBuf> {
    let paths: std::collections::BTreeSet<_> = before.keys().chain(after.keys()).collect();
    paths.into_iter().filter(|path| before.get(*path) != after.get(*path)).cloned().collect()
}

fn read(c: &Cluster, node: &str, path: &str) -> Result<String> {
    let outside = c.node(node)?.from_outside(Path::new(path));
    std::fs::read_to_string(outside).map_err(|e| format!("{node}: {path}: {e}"))
}

/// A limit that the machines' own file gives all users; any machine may lower it, and no server minds.
const OWN_LIMIT: (&str, &str) = ("* - msgqueue 4321\n", "Max msgqueue size");
/// Where it stands.
const OWN_LIMITS_FILE: &str = "/etc/security/limits.conf";

fn write_limits(c: &Cluster) -> Result {
    NODES.iter().try_for_each(|name| {
        let file = c.node(name)?.from_outside(Path::new(OWN_LIMITS_FILE));
        std::fs::write(&file, OWN_LIMIT.0).map_err(|e| format!("{}: {e}", file.display()))
    })
}

/// The server has the limits of its user's login, although ssh leads to root, who has others.
fn check_login_limits(c: &Cluster, name: &str) -> Result {
    let pid_file = c.node(name)?.data_dir.join("postmaster.pid");
    let pid = read(c, name, &pid_file.to_string_lossy())?;
    let limits = read(c, name, &format!("/proc/{}/limits", pid.lines().next().unwrap_or_default()))?;
    let line = limits.lines().find_map(|line| line.strip_prefix(OWN_LIMIT.1)).unwrap_or_default();
    if line.split_whitespace().take(2).eq(["4321"; 2]) {
        return Ok(());
    }
    Err(format!("{name}: {} of the running server: {line}", OWN_LIMIT.1))
}

/// The cluster is at rest, and each machine as og_host and og_package say.
fn check_machines(c: &Cluster) -> Result {
    c.check_at_rest(&ROLES)?;
    for name in NODES {
        let node = c.node(name)?;
        let folders = ["/gauss", "/gauss/data", "/gauss/app"];
        let stat = node.exec(["stat", "-c", "%U %a"].into_iter().chain(folders)).output();
        let stat = stat.map_err(|e| e.to_string())?;
        let said = String::from_utf8_lossy(&stat.stdout).into_owned();
        if said != "root 755\nomm 700\nomm 755\n" {
            return Err(format!("{name}: owners and modes of {folders:?}: {said}"));
        }
        let limits = read(c, name, LIMITS)?;
        if !limits.contains("omm - nofile 1000000\n") {
            return Err(format!("{name}: {LIMITS}: {limits}"));
        }
        check_login_limits(c, name)?;
        for line in read(c, name, SETTINGS)?.lines().filter(|line| !line.starts_with('#')) {
            let (key, value) = line.split_once('=').ok_or_else(|| format!("{name}: {SETTINGS}: {line}"))?;
            let file = format!("/proc/sys/{}", key.trim().replace('.', "/"));
            if read(c, name, &file)?.split_whitespace().ne(value.split_whitespace()) {
                return Err(format!("{name}: {file} is not as {SETTINGS} has it: {line}"));
            }
        }
        read(c, name, RECORD)?;
        let left = look(c, name)?.into_keys().find(|path| path.extension().is_some_and(|e| e == "package"));
        if let Some(file) = left {
            return Err(format!("{name}: {} was for the time of the run", file.display()));
        }
    }
    Ok(())
}

/// How long a step took, by the lines that og writes when each begins.
fn time_of(told: &Told, step: &str) -> f64 {
    let began = |line: &str| {
        let (seconds, title) = line.trim_start().split_once("s  ")?;
        Some((seconds.parse::<f64>().ok()?, title.to_owned()))
    };
    let times: Vec<_> = told.output.lines().filter_map(began).collect();
    let from = times.iter().find(|(_, title)| title.starts_with(step));
    let to =
        from.and_then(|(from, _)| times.iter().find(|(at, title)| at > from && !title.starts_with(step)));
    from.zip(to).map_or(0.0, |((from, _), (to, _))| to - from)
}

fn show(c: &Cluster, what: &str, took: f64, steps: &[(&str, f64)]) {
    let steps: Vec<_> = steps.iter().map(|(step, took)| format!("{step} {took:.1} s")).collect();
    println!("  {}: {what}: {took:.1} s ({})", c.lab().engine(), steps.join(", "));
}

/// The steps that take long.
const LONG: [&str; 4] =
    ["Transfer the package", "Unpack the package", "Initialise data directories", "Build standbys"];

fn show_told(c: &Cluster, what: &str, told: &Told) {
    show(c, what, told.took.as_secs_f64(), &LONG.map(|step| (step, time_of(told, step))));
}

fn make_all_bare(c: &Cluster) -> Result {
    NODES.iter().try_for_each(|name| c.lab().make_bare(name).map_err(|e| e.to_string()))?;
    write_limits(c)?;
    write_password(c)
}

fn by_og(c: &Cluster) -> Result {
    let shell = Shell::new(c)?;
    let line = deploy_line(c)?;
    write_password(c)?;
    write_limits(c)?;
    let before = NODES.iter().map(|name| look(c, name)).collect::<Result<Vec<_>>>()?;
    let told = shell.run(&format!("{line} -n"))?.must_work()?;
    for (name, before) in NODES.iter().zip(&before) {
        match changed(before, &look(c, name)?)[..] {
            [] => {}
            ref paths => return Err(format!("check mode wrote on {name}: {paths:?}")),
        }
    }
    if told.changes.len() != NODES.len() {
        return Err(format!("check mode does not tell of each machine:\n{}", told.output));
    }
    let told = shell.run(&line)?.must_work()?;
    show_told(c, "og deploy of 1+2 bare machines", &told);
    check_machines(c)?;
    let again = shell.run(&line)?.must_work()?;
    if again.changes.is_empty() { Ok(()) } else { Err(format!("the second run: {}", again.output)) }
}

/// What the founding document on replication without OM does with the cluster that it made: rows are written, the primary is
/// stopped, a standby takes over and is written, the old primary follows it.
fn by_document(c: &Cluster) -> Result {
    let shell = Shell::new(c)?;
    let rows = |node: &str, wanted: &str| {
        c.wait_until(&format!("{node} has {wanted} rows"), || {
            // A standby may not have the table yet.
            let has = c.sql(node, "select count(*) from og_document").unwrap_or_else(|why| why);
            Ok(if has == wanted { Ok(()) } else { Err(has) })
        })
    };
    c.sql("n1", "create table og_document as select generate_series(1, 1000) as n")?;
    NODES.iter().try_for_each(|name| rows(name, "1000"))?;
    c.lab().kill_server("n1").map_err(|e| e.to_string())?;
    let failover = shell.run("og failover n2")?.must_work()?;
    rows("n2", "1000")?;
    c.sql("n2", "insert into og_document select generate_series(1001, 2000)")?;
    let repair = shell.run("og repair n1")?.must_work()?;
    c.check_at_rest(&[("n1", "standby"), ("n2", "primary"), ("n3", "standby")])?;
    NODES.iter().try_for_each(|name| rows(name, "2000"))?;
    let switchover = shell.run("og switchover n1")?.must_work()?;
    let took = [
        ("failover", failover.took),
        ("repair of the old primary", repair.took),
        ("switchover back", switchover.took),
    ];
    let took = took.map(|(what, took)| format!("{what} {:.1} s", took.as_secs_f64()));
    println!("  {}: {}", c.lab().engine(), took.join(", "));
    NODES.iter().try_for_each(|name| rows(name, "2000"))?;
    check_machines(c)
}

/// Takes away what a dropped node had, the program files and what og_host made included.
const CLEAR: &str = "og clear n3 --package-absent yes --host-absent yes";

/// What stays on a machine that was cleared, as the documents say: the user, the record that names him, the data that were moved
/// aside and what is around them.
fn may_stay(path: &Path, is_dir: bool) -> bool {
    let users = ["passwd", "shadow", "group", "gshadow", "subuid", "subgid"];
    let of_users = users
        .iter()
        .any(|name| [*name, &format!("{name}-")].iter().any(|name| path == Path::new("/etc").join(name)));
    let text = path.to_string_lossy();
    of_users
        || path == Path::new("/etc/.pwd.lock")
        || path == Path::new(OWN_LIMITS_FILE)
        || path.starts_with("/home/omm")
        || text.starts_with("/gauss/data/dn.moved-")
        || (path == Path::new("/gauss") || path == Path::new("/gauss/data")) && is_dir
        || path.starts_with("/var/lib/opengauss-node")
}

/// Of n3 nothing is left but what the documents say.
fn check_cleared(c: &Cluster, told: &Told) -> Result {
    let n3 = c.node("n3")?;
    let stays = |path: &Path| {
        let is_dir = n3.written_dir().join(path.strip_prefix("/").unwrap_or(path)).is_dir();
        // A folder of the system's own that was written to is no leftover.
        may_stay(path, is_dir) || is_dir && path.exists() || is_fresh(path)
    };
    let left: Vec<_> = look(c, "n3")?.into_keys().filter(|path| !stays(path)).collect();
    if !left.is_empty() {
        return Err(format!("n3 was cleared, and has these still: {left:?}\n{}", told.output));
    }
    let machine = |path: &str| std::fs::read_to_string(path).map_err(|e| format!("{path}: {e}"));
    for path in ["/proc/sys/vm/min_free_kbytes", "/proc/sys/kernel/sem"] {
        let (own, machine) = (read(c, "n3", path)?, machine(path)?);
        if own.split_whitespace().ne(machine.split_whitespace()) {
            return Err(format!("{path} was {machine} and is {own}"));
        }
    }
    Ok(())
}

fn cleared(c: &Cluster) -> Result {
    let shell = Shell::new(c)?;
    shell.run("og drop n3")?.must_work()?;
    let foreseen = shell.run(&format!("{CLEAR} -n"))?.must_work()?;
    let told = shell.run(CLEAR)?.must_work()?;
    if foreseen.changes != told.changes {
        return Err(format!("foreseen was:\n{}\nand done:\n{}", foreseen.output, told.output));
    }
    check_cleared(c, &told)?;
    let again = shell.run(CLEAR)?.must_work()?;
    if !again.changes.is_empty() {
        return Err(format!("the second run: {}", again.output));
    }
    let told = shell.run(&deploy_line(c)?)?.must_work()?;
    show_told(c, "og deploy of the cleared machine", &told);
    check_machines(c)
}

/// What a machine of the lab has anew.
fn is_fresh(path: &Path) -> bool {
    ["/opt", "/root", "/home", "/tmp", "/var/tmp"].iter().any(|fresh| path == Path::new(fresh))
}

/// The variables by which Ansible does what `deploy_line` does.
pub(super) fn deploy_vars(c: &Cluster) -> Result<serde_json::Value> {
    let sizes: serde_json::Map<_, _> =
        SIZES.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
    Ok(json!({
        "og_host": true,
        "og_package": package(c)?,
        "og_password_file": PASSWORD,
        "og_parameters": sizes,
    }))
}

fn by_ansible(c: &Cluster) -> Result {
    make_all_bare(c)?;
    let vars = deploy_vars(c)?.to_string();
    let args = ["-e", &vars];
    let run = c.run_playbook("deploy.yml", &args)?.must_work()?;
    let time_of = |step: &str| {
        let of_step = run.task_times.iter().filter(|(title, _)| title.contains(step));
        of_step.map(|(_, took)| took.as_secs_f64()).sum()
    };
    show(
        c,
        "deploy.yml of 1+2 bare machines",
        run.took.as_secs_f64(),
        &LONG.map(|step| (step, time_of(step))),
    );
    check_machines(c)?;
    check_nothing_left(c, "deploy.yml", &args)
}

fn killed(c: &Cluster) -> Result {
    let shell = Shell::new(c)?;
    let line = deploy_line(c)?;
    make_all_bare(c)?;
    for step in [
        "Prepare the operating system",
        "Transfer the package",
        "Unpack the package",
        "Initialise data directories",
        "Build standbys",
    ] {
        shell.run_killed(&line, step)?;
    }
    let told = shell.run(&line)?.must_work()?;
    show_told(c, "og deploy, after it was killed five times", &told);
    check_machines(c)?;
    shell.run("og drop n3")?.must_work()?;
    for step in ["Remove cluster_static_config", "Remove the program files", "Restore the operating system"] {
        shell.run_killed(CLEAR, step)?;
    }
    check_cleared(c, &shell.run(CLEAR)?.must_work()?)
}
