//! `cargo xtask bench programs`: the programs as they are shipped beside gs_guc on the same files, their start, their memory.

use std::fmt::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use super::Depth;
use super::measure::{Cost, Turn, cost, peak_memory, take_turns, take_turns_of};
use super::report::{Limit, Row, Section};
use crate::build::{self, Linking};
use crate::shell::{Result, run, target};

/// A data directory without a server, the programs, and the gs_guc of each openGauss found.
struct Bench {
    folder: PathBuf,
    data: PathBuf,
    programs: PathBuf,
    peers: Vec<PeerProgram>,
    /// The data directory of the peers, which do not run as root.
    peer_data: tempfile::TempDir,
}

/// The user and group nobody, as whom the peers run where this is run by root.
const NOBODY: u32 = 65_534;

struct PeerProgram {
    version: &'static str,
    home: &'static Path,
}

const RULE: &str = "host all omm 192.168.0.13/32 trust";

/// Measures all of it.
pub fn sections(depth: Depth) -> Result<Vec<Section>> {
    let folder = target().join("bench/programs");
    let data = folder.join("data");
    std::fs::create_dir_all(&data).map_err(|e| format!("cannot make {}: {e}", data.display()))?;
    let found = og_lab::installations();
    let peers = found.iter().map(|one| PeerProgram { version: one.version(), home: one.home() }).collect();
    let peer_data = tempfile::tempdir().map_err(|e| format!("cannot make a folder: {e}"))?;
    let bench = Bench { data, programs: build::release(Linking::Dynamic)?, peers, folder, peer_data };
    give_to_nobody(bench.peer_data.path())?;
    for (name, text) in [
        ("PG_VERSION", "9.2\n"),
        ("postgresql.conf", "port = 26000\n"),
        ("pg_hba.conf", "local all all trust\n"),
    ] {
        bench.write(name, text)?;
        bench.write_for_peers(name, text)?;
    }
    Ok(vec![bench.start(depth)?, bench.rules(depth)?, bench.parameters(depth)?])
}

/// A pg_hba.conf of so many rules.
fn rules_file(count: usize) -> String {
    let mut text = "local   all             all                                     trust\n".to_owned();
    for n in 1..count {
        // A String takes whatever is written to it.
        let _ = writeln!(
            text,
            "host    db{}    user{}    10.{}.{}.{}/32    sha256",
            n % 97,
            n % 1013,
            n >> 16 & 255,
            n >> 8 & 255,
            n & 255
        );
    }
    text
}

fn is_root() -> bool {
    nix::unistd::Uid::effective().is_root()
}

/// Makes nobody the owner of the file or folder, where this is run by root.
fn give_to_nobody(path: &Path) -> Result {
    if !is_root() {
        return Ok(());
    }
    std::os::unix::fs::chown(path, Some(NOBODY), Some(NOBODY))
        .map_err(|e| format!("cannot give {} to the user nobody: {e}", path.display()))
}

fn costs_of(costs: &[Cost], what: impl Fn(&Cost) -> f64) -> Vec<f64> {
    costs.iter().map(what).collect()
}

impl Bench {
    fn write(&self, name: &str, text: &str) -> Result {
        let file = self.data.join(name);
        std::fs::write(&file, text).map_err(|e| format!("cannot write {}: {e}", file.display()))
    }

    fn write_for_peers(&self, name: &str, text: &str) -> Result {
        let file = self.peer_data.path().join(name);
        std::fs::write(&file, text).map_err(|e| format!("cannot write {}: {e}", file.display()))?;
        give_to_nobody(&file)
    }

    fn program(&self, name: &str) -> PathBuf {
        self.programs.join(name)
    }

    /// A turn that writes the file anew, when there is one, and calls the program with these arguments.
    fn our_turn<'a>(
        &'a self,
        program: &'static str,
        file: Option<(&'static str, &'a str)>,
        args: &Value,
    ) -> Turn<'a> {
        let mut args = args.clone();
        args["data_dir"] = json!(self.data);
        // Else openGauss is looked for in the files of the user's shell, as they happen to be on this machine.
        args["gauss_home"] = json!(self.folder.join("no_home"));
        let input = args.to_string();
        Turn {
            prepare: Box::new(move || file.map_or(Ok(()), |(name, text)| self.write(name, text))),
            run: Box::new(move || cost(&mut Command::new(self.program(program)), &input)),
        }
    }

    /// The same of a gs_guc.
    fn their_turn<'a>(
        &'a self,
        peer: &'a PeerProgram,
        file: (&'static str, &'a str),
        words: &'a [&'a str],
    ) -> Turn<'a> {
        Turn {
            prepare: Box::new(move || self.write_for_peers(file.0, file.1)),
            run: Box::new(move || {
                let mut command = Command::new(peer.home.join("bin/gs_guc"));
                command.args(["set", "-D"]).arg(self.peer_data.path()).args(words);
                if is_root() {
                    command.uid(NOBODY).gid(NOBODY);
                }
                command.env("GAUSSHOME", peer.home).env("LD_LIBRARY_PATH", peer.home.join("lib"));
                cost(&mut command, "")
            }),
        }
    }

    /// `--version` and a call that changes nothing beside a program that does nothing.
    fn start(&self, depth: Depth) -> Result<Section> {
        let source = self.folder.join("empty.rs");
        let empty = self.folder.join("empty");
        std::fs::write(&source, "fn main() {}\n")
            .map_err(|e| format!("cannot write {}: {e}", source.display()))?;
        run(Command::new("rustc").arg("-O").arg("-o").arg(&empty).arg(&source))?;
        let mut section = Section::new("Start", "Wall time. An empty Rust program does nothing at all.");
        let nothing =
            || Turn { prepare: Box::new(|| Ok(())), run: Box::new(|| cost(&mut Command::new(&empty), "")) };
        let version = |name: &'static str| Turn {
            prepare: Box::new(|| Ok(())),
            run: Box::new(move || cost(Command::new(self.program(name)).arg("--version"), "")),
        };
        let names = ["og_hba", "og_guc", "og_node_state", "og_workflow"];
        let turns: Vec<_> = [nothing()].into_iter().chain(names.map(version)).collect();
        let costs = take_turns(depth.choose(200, 50), &turns)?;
        let walls = |at: usize| costs_of(&costs[at], |c: &Cost| c.wall);
        let base = Row::new("an empty Rust program", "ms", walls(0));
        for (at, name) in names.iter().enumerate() {
            let row = Row::new(format!("{name} --version"), "ms", walls(at + 1));
            section.rows.push(row.compared_with("empty", &base).limit(Limit::Ratio(1.5)));
        }
        section.rows.insert(0, base);
        // On a node of a few lines.
        self.write("pg_hba.conf", "local all all trust\nhost all omm 192.168.0.13/32 trust\n")?;
        let calls = [
            (
                "og_hba, a rule that is there",
                self.our_turn("og_hba", None, &json!({"rules": [RULE], "reload": "never"})),
            ),
            (
                "og_guc, a value that is set",
                self.our_turn("og_guc", None, &json!({"parameters": {"port": 26000}, "reload": "never"})),
            ),
            ("og_lock, a query", self.our_turn("og_lock", None, &json!({"state": "query"}))),
        ];
        let (titles, mut turns): (Vec<_>, Vec<_>) = calls.into_iter().unzip();
        turns.push(nothing());
        let costs = take_turns(depth.choose(200, 50), &turns)?;
        let base = Row::new("", "ms", costs_of(&costs[titles.len()], |c| c.wall));
        for (title, own) in titles.iter().zip(&costs) {
            let row = Row::new(*title, "ms", costs_of(own, |c| c.wall));
            section.rows.push(row.compared_with("empty", &base).limit(Limit::Ratio(2.0)));
        }
        Ok(section)
    }

    /// og_hba and gs_guc -h on files of pg_hba.conf.
    fn rules(&self, depth: Depth) -> Result<Section> {
        let mut section = Section::new(
            "pg_hba.conf",
            "User CPU of one call, on the same file, which is written anew before each; nothing is reloaded. The kernel divides \
             user from system time by ticks of 4 ms: each figure of 1000 rules is the mean of 40 calls in a row, of 10000 \
             rules that of 10.",
        );
        if self.peers.is_empty() {
            section.skipped.push(format!("gs_guc: {}", og_lab::none_installed()));
        }
        let add = json!({"rules": [RULE], "reload": "never"});
        let many: Vec<String> =
            (0..1000).map(|n| format!("host all x{n} 172.16.{}.{}/32 trust", n / 250, n % 250)).collect();
        let many = json!({"rules": many, "reload": "never"});
        let guc_words = ["-h", RULE];
        let mut ten_thousand = None;
        for (count, rounds, calls, most) in [
            (1_000, depth.choose(11, 3), 40, 0.7),
            (10_000, depth.choose(11, 3), 10, 0.4),
            (100_000, depth.choose(7, 3), 1, 0.4),
        ] {
            let file = rules_file(count);
            let with_rule = format!("{file}{RULE}\n");
            let mut turns = vec![
                self.our_turn("og_hba", Some(("pg_hba.conf", &file)), &add),
                self.our_turn("og_hba", Some(("pg_hba.conf", &with_rule)), &add),
                self.our_turn("og_hba", Some(("pg_hba.conf", &file)), &many),
            ];
            turns.extend(
                self.peers.iter().map(|peer| self.their_turn(peer, ("pg_hba.conf", &file), &guc_words)),
            );
            let costs = take_turns_of(rounds, calls, &turns)?;
            let users = |at: usize| costs_of(&costs[at], |c: &Cost| c.user);
            let of = |what: &str| format!("{what}, {count} rules");
            let added = Row::new(of("og_hba adds one"), "ms", users(0));
            let mut peers = Vec::new();
            for (at, peer) in self.peers.iter().enumerate() {
                let theirs = Row::new(of(&format!("gs_guc {} adds one", peer.version)), "ms", users(3 + at));
                let name = format!("gs_guc {}", peer.version);
                section.rows.push(added.clone().compared_with(name, &theirs).limit(Limit::Ratio(most)));
                peers.push(theirs);
            }
            if peers.is_empty() {
                section.rows.push(added.clone());
            }
            section.rows.extend(peers);
            section.rows.push(Row::new(of("og_hba, nothing to do"), "ms", users(1)));
            let thousand =
                Row::new(of("og_hba adds a thousand"), "ms", users(2)).compared_with("one", &added);
            section.rows.push(if count == 100_000 { thousand.limit(Limit::Ratio(2.0)) } else { thousand });
            if count == 10_000 {
                ten_thousand = Some(added);
            } else if let Some(less) = ten_thousand.take() {
                let growth = Row::new("og_hba adds one, 100000 beside 10000 rules", "ms", users(0));
                section.rows.push(growth.compared_with("10000 rules", &less).limit(Limit::Ratio(11.0)));
                section.rows.push(self.memory_of_rules(&file, &add)?);
            }
        }
        section.rows.push(self.no_op_beside_empty(depth, &add)?);
        Ok(section)
    }

    /// A call that finds its rule among a thousand, in turn with a program that does nothing.
    fn no_op_beside_empty(&self, depth: Depth, add: &Value) -> Result<Row> {
        let file = format!("{}{RULE}\n", rules_file(1_000));
        let empty = self.folder.join("empty");
        let nothing =
            Turn { prepare: Box::new(|| Ok(())), run: Box::new(|| cost(&mut Command::new(&empty), "")) };
        let turns = [self.our_turn("og_hba", Some(("pg_hba.conf", &file)), add), nothing];
        let costs = take_turns(depth.choose(150, 30), &turns)?;
        let walls = |at: usize| costs_of(&costs[at], |c: &Cost| c.wall);
        let base = Row::new("", "ms", walls(1));
        let no_op = Row::new("og_hba, nothing to do, 1000 rules, wall time", "ms", walls(0));
        Ok(no_op.compared_with("an empty Rust program", &base).limit(Limit::Ratio(1.8)))
    }

    #[expect(clippy::cast_precision_loss, reason = "printed with two digits")]
    fn memory_of_rules(&self, file: &str, add: &Value) -> Result<Row> {
        self.write("pg_hba.conf", file)?;
        let mut args = add.clone();
        args["data_dir"] = json!(self.data);
        let input = self.folder.join("args.json");
        std::fs::write(&input, args.to_string())
            .map_err(|e| format!("cannot write {}: {e}", input.display()))?;
        let most = peak_memory(&input, &self.program("og_hba"), &[])?;
        let row = Row::new("og_hba adds one, 100000 rules, peak memory", "MB", vec![most]);
        Ok(row.compared_with_value("the file", file.len() as f64 / 1e6).limit(Limit::Ratio(6.0)))
    }

    /// og_guc on many parameters, og_replconninfo on a long file, and gs_guc on the same.
    fn parameters(&self, depth: Depth) -> Result<Section> {
        let mut section = Section::new(
            "postgresql.conf",
            "User and system CPU of one call; the file is written anew before each. No server runs, and its program, by which og_guc has a stopped \
             server's file tried, is not at hand.",
        );
        let long: String = (0..10_000).fold("port = 26000\n".to_owned(), |mut text, n| {
            let _ = writeln!(text, "own.parameter_{n} = 'value {n}'\t\t# of an extension");
            text
        });
        let comments: String = (0..800).fold("port = 26000\n".to_owned(), |mut text, n| {
            let _ = writeln!(text, "#parameter_{n} = 10\t\t\t# what it is good for");
            text
        });
        let peers: Vec<_> =
            (12..20).map(|n| json!({"host": format!("192.168.0.{n}"), "base_port": 26000})).collect();
        let channels =
            json!({"local": {"host": "127.0.0.1", "base_port": 26000}, "peers": peers, "reload": "never"});
        let one = json!({"parameters": {"wal_keep_segments": 256}, "reload": "never"});
        let words = ["-c", "wal_keep_segments=256"];
        let mut turns = vec![
            self.our_turn("og_guc", Some(("postgresql.conf", &long)), &one),
            self.our_turn("og_replconninfo", Some(("postgresql.conf", &comments)), &channels),
        ];
        turns.extend(self.peers.iter().map(|peer| self.their_turn(peer, ("postgresql.conf", &long), &words)));
        let costs = take_turns(depth.choose(30, 8), &turns)?;
        let cpus = |at: usize| costs_of(&costs[at], |c: &Cost| c.cpu);
        let mut ours =
            Row::new("og_guc sets one of 10000 parameters", "ms", cpus(0)).limit(Limit::Value(5.0));
        let channels =
            Row::new("og_replconninfo, eight channels in 800 lines", "ms", cpus(1)).limit(Limit::Value(5.0));
        let mut theirs = Vec::new();
        for (at, peer) in self.peers.iter().enumerate() {
            let row =
                Row::new(format!("gs_guc {} sets one of 10000 parameters", peer.version), "ms", cpus(2 + at));
            ours = ours.compared_with(format!("gs_guc {}", peer.version), &row);
            theirs.push(row);
        }
        section.rows.push(ours);
        section.rows.extend(theirs);
        section.rows.push(channels);
        Ok(section)
    }
}
