//! `og certificates`: a certificate authority and the certificates of a cluster's nodes, made on this machine by the program openssl.
//!
//! What is there is kept. Each file gets its name when it is whole, a key before its certificate: a run that was killed is
//! continued by the next one.

use std::ffi::OsString;
use std::fs::{DirBuilder, File, Permissions};
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command as Process, Stdio};

use clap::{Arg, ArgAction, ArgMatches, Command, ValueHint, value_parser};
use og_common::protocol::{CommandRecord, Error};
use og_common::{clock, files};
use og_workflow::certificates::{AUTHORITY, CERTIFICATE, KEY, is_folder_name, read};
use serde_json::{Map, Value, json};
use tempfile::{TempDir, TempPath};

use crate::cluster_file;
use crate::display::Display;

/// The subcommand's name.
pub const NAME: &str = "certificates";
/// The program that makes them.
const OPENSSL: &str = "openssl";
/// The key of the authority, which no node gets.
const AUTHORITY_KEY: &str = "cakey.pem";
/// RSA, which each release of openGauss reads.
const KEY_BITS: &str = "rsa_keygen_bits:3072";
/// Days that a node's certificate counts.
const DAYS: &str = "1095";
/// Days that the authority's counts; more where a node's does.
const AUTHORITY_DAYS: u32 = 3650;
/// A year 2126 is far enough; later ones are not written by all programs.
const MOST_DAYS: i64 = 36_500;
/// How openssl signs: by the section `own` of its configuration, and without asking for a passphrase.
const SIGNING: &[&str] = &["-sha256", "-extensions", "own", "-passin", "pass:"];
/// The longest common name of X.509.
const LONGEST_NAME: usize = 64;
/// The mode of a key.
const OWN: u32 = 0o600;
/// The mode of a certificate.
const OPEN: u32 = 0o644;

/// What is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CertificatesRequest {
    folder: PathBuf,
    file: Option<PathBuf>,
    cluster: Option<String>,
    days: u32,
    check: bool,
    /// Print JSON.
    pub json: bool,
}

/// Returns the subcommand, without what says which cluster.
pub fn command() -> Command {
    let flag = |name: &'static str| Arg::new(name).long(name).action(ArgAction::SetTrue);
    Command::new(NAME)
        .about("Make a certificate authority, and a key and certificate for each node, for og deploy --ssl")
        .arg(
            Arg::new("folder")
                .value_name("FOLDER")
                .required(true)
                .value_parser(value_parser!(PathBuf))
                .value_hint(ValueHint::DirPath)
                .help("The folder on this machine; it is made where it is missing"),
        )
        .arg(
            Arg::new("days")
                .long("days")
                .value_name("N")
                .default_value(DAYS)
                .value_parser(value_parser!(u32).range(1..=MOST_DAYS))
                .help("Days for which the nodes' certificates are valid"),
        )
        .arg(flag("check").short('n').help("Make nothing; say what would be made"))
        .arg(flag("json").help("Print a line of JSON for each file"))
        .after_help(
            "The program openssl makes them. What is there is kept: to renew a certificate remove it, and not its key. \
             cakey.pem signs the certificates of nodes and goes to none; keep it where nobody else comes to it.",
        )
}

/// One file of the folder.
struct Item {
    path: PathBuf,
    is_there: bool,
}

/// A node, and the addresses and names by which it is reached.
#[derive(Debug, PartialEq, Eq)]
struct Subject {
    node: String,
    names: Vec<String>,
}

impl CertificatesRequest {
    /// Returns what the command line asks for.
    pub fn from_matches(matches: &ArgMatches) -> Self {
        Self {
            folder: matches.get_one("folder").cloned().unwrap_or_default(),
            file: matches.get_one("file").cloned(),
            cluster: matches.get_one("cluster").cloned(),
            days: matches.get_one("days").copied().unwrap_or_default(),
            check: matches.get_flag("check"),
            json: matches.get_flag("json"),
        }
    }

    /// Makes what is missing, and tells each file.
    ///
    /// # Errors
    /// The cluster cannot be read, openssl is missing or fails, or what is there cannot be used.
    pub fn run(&self, display: &mut Display) -> Result<(), Error> {
        let (described, warnings) = cluster_file::read(self.file.as_deref(), self.cluster.as_deref())?;
        Display::warn(&warnings);
        let subjects = subjects(&described)?;
        let folder = std::path::absolute(&self.folder).map_err(|e| Error::io("find", &self.folder, &e))?;
        let items = items(&folder, &subjects);
        check_there(&folder, &items)?;
        let misses = items.iter().any(|item| !item.is_there);
        if misses && !self.check {
            make(&folder, &subjects, self.days)?;
        }
        for Item { path, is_there } in &items {
            let (word, state) = match (is_there, self.check) {
                (true, _) => ("kept", "kept"),
                (false, false) => ("made", "made"),
                (false, true) => ("would make", "missing"),
            };
            if self.json {
                display.json_line(&json!({"path": path, "state": state}));
            } else {
                display.line(&format!("{word} {}", path.display()));
            }
        }
        if misses && self.check {
            return Ok(());
        }
        let nodes: Vec<String> = subjects.into_iter().map(|subject| subject.node).collect();
        let found = read(&folder, &nodes, clock::now());
        Display::warn(&found.warnings);
        refuse(&found.problems)
    }
}

fn refuse(problems: &[String]) -> Result<(), Error> {
    if problems.is_empty() {
        return Ok(());
    }
    Err(Error::refused(problems.join("\n")).hint("put it right, or remove the file to have it made anew"))
}

/// The nodes of the cluster.
fn subjects(described: &Value) -> Result<Vec<Subject>, Error> {
    let hosts = described["hosts"].as_object().into_iter().flatten();
    hosts.map(|(node, own)| subject(node, own.as_object().unwrap_or(&Map::new()))).collect()
}

/// A node with all that the cluster's file calls it.
fn subject(node: &str, own: &Map<String, Value>) -> Result<Subject, Error> {
    let mut names: Vec<String> = Vec::new();
    let given = ["address", "hostname", "ansible_host"].iter().filter_map(|key| own.get(*key)?.as_str());
    for text in [node].into_iter().chain(given) {
        let text = text.trim_matches(['[', ']']);
        let name = match text.parse::<IpAddr>() {
            Ok(address) => format!("IP:{address}"),
            // What else it holds would mean something to openssl.
            Err(_) if text.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c)) => {
                format!("DNS:{text}")
            }
            Err(_) => {
                return Err(Error::bad_args(format!("{node}: {text:?} cannot stand in a certificate"))
                    .hint("a name has letters, digits, '.', '_' and '-'"));
            }
        };
        if !text.is_empty() && !names.contains(&name) {
            names.push(name);
        }
    }
    if !is_folder_name(node) || node.len() > LONGEST_NAME {
        let what = format!("{node:?} is no name for a folder, or longer than {LONGEST_NAME} letters");
        return Err(Error::bad_args(what));
    }
    Ok(Subject { node: node.to_owned(), names })
}

fn items(folder: &Path, subjects: &[Subject]) -> Vec<Item> {
    let of_nodes = subjects
        .iter()
        .flat_map(|subject| [KEY, CERTIFICATE].map(|name| folder.join(&subject.node).join(name)));
    let all = [AUTHORITY_KEY, AUTHORITY].map(|name| folder.join(name)).into_iter().chain(of_nodes);
    let has_authority = folder.join(AUTHORITY).exists();
    let all = all.map(|path| Item { is_there: path.exists(), path });
    // Its key may be kept elsewhere.
    all.filter(|item| item.is_there || !has_authority || !item.path.ends_with(AUTHORITY_KEY)).collect()
}

/// Finds before anything is made why it could not be made, or would not fit what is there.
fn check_there(folder: &Path, items: &[Item]) -> Result<(), Error> {
    let there = |path: &Path| items.iter().any(|item| item.path == path && item.is_there);
    let (key, authority) = (folder.join(AUTHORITY_KEY), folder.join(AUTHORITY));
    let is_certificate = |item: &&Item| item.path.ends_with(CERTIFICATE);
    let mut problems = Vec::new();
    for item in items.iter().filter(is_certificate).filter(|item| item.is_there) {
        let own_key = item.path.with_file_name(KEY);
        if !there(&own_key) {
            problems.push(format!("{} is not there, but {CERTIFICATE} beside it is", own_key.display()));
        }
        if !there(&authority) {
            problems.push(format!("{} is not there, but {} is", authority.display(), item.path.display()));
        }
    }
    let signs = items.iter().filter(is_certificate).any(|item| !item.is_there);
    if signs && there(&authority) {
        if !there(&key) {
            problems.push(format!("{} is not there, which would sign what is missing", key.display()));
        }
        problems.extend(read(folder, &[], clock::now()).problems);
    }
    if there(&key) {
        let meta = std::fs::metadata(&key).map_err(|e| Error::io("inspect", &key, &e))?;
        let mode = meta.permissions().mode() & 0o7777;
        if mode & 0o077 != 0 {
            problems.push(format!("{0} is open to others (mode {mode:04o}); chmod 0600 {0}", key.display()));
        }
    }
    refuse(&problems)
}

/// Makes all that is missing.
fn make(folder: &Path, subjects: &[Subject], days: u32) -> Result<(), Error> {
    make_folder(folder)?;
    let scratch = tempfile::Builder::new().prefix(".og-certificates-").tempdir_in(folder);
    let scratch = Scratch(scratch.map_err(|e| Error::io("write into", folder, &e))?);
    let (key, authority) = (folder.join(AUTHORITY_KEY), folder.join(AUTHORITY));
    let signs = subjects.iter().any(|subject| !folder.join(&subject.node).join(CERTIFICATE).exists());
    if !key.exists() && (signs || !authority.exists()) {
        scratch.make_key(&key)?;
    }
    if !authority.exists() {
        let name = format!("openGauss CA {}", clock::rfc3339(clock::now()));
        let config = scratch.config(
            &name,
            "basicConstraints = critical, CA:TRUE\nkeyUsage = critical, keyCertSign, cRLSign",
        )?;
        let days = AUTHORITY_DAYS.max(days).to_string();
        scratch.make(&authority, OPEN, |out| {
            let own = [&["req", "-x509", "-new", "-days", &days], SIGNING].concat();
            words(&own, &[("-key", &key), ("-config", &config), ("-out", out)])
        })?;
    }
    for Subject { node, names } in subjects {
        let own = folder.join(node);
        make_folder(&own)?;
        let (own_key, certificate) = (own.join(KEY), own.join(CERTIFICATE));
        if !own_key.exists() {
            scratch.make_key(&own_key)?;
        }
        if certificate.exists() {
            continue;
        }
        let usage = format!(
            "basicConstraints = critical, CA:FALSE\nkeyUsage = critical, digitalSignature, keyEncipherment\n\
             extendedKeyUsage = serverAuth, clientAuth\nsubjectAltName = {}",
            names.join(",")
        );
        let config = scratch.config(node, &usage)?;
        let (request, serial) = (scratch.path("request"), scratch.path("serial"));
        run(&words(
            &["req", "-new", "-sha256", "-passin", "pass:"],
            &[("-key", &own_key), ("-config", &config), ("-out", &request)],
        ))?;
        let days = days.to_string();
        scratch.make(&certificate, OPEN, |out| {
            let own = [&["x509", "-req", "-CAcreateserial", "-days", &days], SIGNING].concat();
            let paths = [
                ("-in", &request),
                ("-CA", &authority),
                ("-CAkey", &key),
                ("-CAserial", &serial),
                ("-extfile", &config),
                ("-out", out),
            ];
            words(&own, &paths)
        })?;
    }
    Ok(())
}

/// Makes a folder for this user alone, where it is missing.
fn make_folder(path: &Path) -> Result<(), Error> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|e| Error::io("make", path, &e))
}

/// A folder of this user alone, in which files are made until they are whole.
struct Scratch(TempDir);

impl Scratch {
    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Writes a configuration for openssl: whom the certificate names, and what it is for.
    fn config(&self, name: &str, usage: &str) -> Result<PathBuf, Error> {
        let path = self.path("config");
        let text = format!(
            "[req]\nprompt = no\ndistinguished_name = subject\n[subject]\nCN = {name}\n[own]\nsubjectKeyIdentifier = hash\n{usage}\n"
        );
        std::fs::write(&path, text).map_err(|e| Error::io("write", &path, &e))?;
        Ok(path)
    }

    fn make_key(&self, path: &Path) -> Result<(), Error> {
        self.make(path, OWN, |out| {
            words(&["genpkey", "-algorithm", "RSA", "-pkeyopt", KEY_BITS], &[("-out", out)])
        })
    }

    /// Has openssl write a file, and gives it its name when it is whole.
    fn make(&self, path: &Path, mode: u32, command: impl Fn(&PathBuf) -> Vec<OsString>) -> Result<(), Error> {
        let out = self.path("out");
        run(&command(&out))?;
        let fail = |e: std::io::Error| Error::io("write", path, &e);
        let file = File::open(&out).map_err(fail)?;
        file.set_permissions(Permissions::from_mode(mode)).and_then(|()| file.sync_all()).map_err(fail)?;
        // What has the name by now is somebody else's.
        TempPath::try_from_path(out)
            .and_then(|out| out.persist_noclobber(path).map_err(|e| e.error))
            .map_err(fail)?;
        files::sync_folder(path.parent().unwrap_or(path))
    }
}

/// The words of a call of openssl: plain ones, and paths behind their options.
fn words(plain: &[&str], paths: &[(&str, &PathBuf)]) -> Vec<OsString> {
    let paths = paths.iter().flat_map(|(option, path)| [OsString::from(option), path.as_os_str().to_owned()]);
    plain.iter().map(OsString::from).chain(paths).collect()
}

fn run(words: &[OsString]) -> Result<(), Error> {
    let done = Process::new(OPENSSL).args(words).env("LC_ALL", "C").stdin(Stdio::null()).output();
    let done = match done {
        Ok(done) => done,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            return Err(Error::not_found(format!("there is no program {OPENSSL} on this machine"))
                .hint("install it, or put certificates of your own into the folder"));
        }
        Err(e) => return Err(Error::io("run", Path::new(OPENSSL), &e)),
    };
    if done.status.success() {
        return Ok(());
    }
    let told = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let said = told(&done.stderr);
    let why = said.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("no error message");
    let line =
        [OPENSSL.to_owned()].into_iter().chain(words.iter().map(|word| word.to_string_lossy().into_owned()));
    let record =
        CommandRecord::new(line.collect(), done.status.code().unwrap_or(-1), &told(&done.stdout), &said);
    Err(Error::command(format!("{OPENSSL} failed: {why}"), record))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeMap;

    use super::*;

    fn described() -> Value {
        json!({"hosts": {
            "n1": {"address": "10.0.0.1", "ansible_host": "10.0.0.1", "hostname": "db1.example"},
            "n2": {"address": "fd00:0::2"},
        }})
    }

    /// A folder, and a request for it and a cluster of two.
    fn request() -> (tempfile::TempDir, CertificatesRequest) {
        let top = tempfile::tempdir().unwrap();
        let file = top.path().join("cluster.json");
        std::fs::write(&file, described().to_string()).unwrap();
        let folder = top.path().join("ssl");
        (top, CertificatesRequest { folder, file: Some(file), days: 800, ..CertificatesRequest::default() })
    }

    fn run_quietly(request: &CertificatesRequest) -> Result<(), Error> {
        request.run(&mut Display::new(true, true))
    }

    /// All files below a folder, with their modes.
    fn files_of(folder: &Path) -> BTreeMap<String, (Vec<u8>, u32)> {
        let mut found = BTreeMap::new();
        let entries = std::fs::read_dir(folder).into_iter().flatten();
        for path in entries.map(|entry| entry.unwrap().path()) {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() {
                let below = files_of(&path).into_iter().map(|(own, file)| (format!("{name}/{own}"), file));
                found.extend(below);
            } else {
                let mode = path.metadata().unwrap().permissions().mode() & 0o777;
                found.insert(name, (std::fs::read(&path).unwrap(), mode));
            }
        }
        found
    }

    /// Whether openssl is installed; without it these tests are skipped.
    fn has_openssl() -> bool {
        let there = Process::new(OPENSSL).arg("version").output().is_ok();
        if !there {
            println!("skipped: there is no program {OPENSSL}");
        }
        there
    }

    #[test]
    fn a_certificate_names_its_node_and_the_addresses_of_it() {
        let found = subjects(&described()).unwrap();
        assert_eq!(found[0].names, ["DNS:n1", "IP:10.0.0.1", "DNS:db1.example"]);
        assert_eq!(found[1].names, ["DNS:n2", "IP:fd00::2"]);
        for name in ["a/b", "..", "n1,DNS:x", "n$1", "n\n1", &"n".repeat(65)] {
            let kind = subjects(&json!({"hosts": {name: {}}})).unwrap_err().kind();
            assert_eq!(kind, og_common::protocol::ErrorKind::BadArgs, "{name}");
        }
    }

    #[test]
    fn what_is_missing_is_made_and_what_is_there_is_kept() {
        if !has_openssl() {
            return;
        }
        let (_top, request) = request();
        run_quietly(&CertificatesRequest { check: true, ..request.clone() }).unwrap();
        assert!(!request.folder.exists());
        run_quietly(&request).unwrap();
        let made = files_of(&request.folder);
        let modes: Vec<_> = made.iter().map(|(name, (_, mode))| (&**name, *mode)).collect();
        let wanted = [
            ("cacert.pem", 0o644),
            ("cakey.pem", 0o600),
            ("n1/server.crt", 0o644),
            ("n1/server.key", 0o600),
            ("n2/server.crt", 0o644),
            ("n2/server.key", 0o600),
        ];
        assert_eq!(modes, wanted);
        run_quietly(&request).unwrap();
        assert_eq!(files_of(&request.folder), made, "a second run changes nothing");
        // As a run leaves it that was killed, and one who renews a certificate: the keys count still.
        for name in ["n1/server.crt", "n2/server.crt", "n2/server.key"] {
            std::fs::remove_file(request.folder.join(name)).unwrap();
        }
        run_quietly(&request).unwrap();
        let again = files_of(&request.folder);
        for (name, file) in &made {
            let is_new = name == "n1/server.crt" || name.starts_with("n2/");
            assert_eq!(again[name] != *file, is_new, "{name}");
        }
    }

    #[test]
    fn what_is_there_and_does_not_fit_is_refused_and_nothing_is_made() {
        if !has_openssl() {
            return;
        }
        let (_top, request) = request();
        run_quietly(&request).unwrap();
        let made = files_of(&request.folder);
        let path = |name: &str| request.folder.join(name);
        for (gone, what) in [
            (vec!["n1/server.key", "n2/server.crt"], "server.key is not there"),
            (vec!["cacert.pem", "n2/server.crt"], "cacert.pem is not there"),
            (vec!["cakey.pem", "n2/server.crt"], "cakey.pem is not there, which would sign"),
        ] {
            for name in &gone {
                std::fs::remove_file(path(name)).unwrap();
            }
            let error = run_quietly(&request).unwrap_err().to_string();
            assert!(error.contains(what), "{what}: {error}");
            assert!(gone.iter().all(|name| !path(name).exists()), "{gone:?}");
            for name in gone {
                std::fs::write(path(name), &made[name].0).unwrap();
                std::fs::set_permissions(path(name), Permissions::from_mode(made[name].1)).unwrap();
            }
        }
        std::fs::set_permissions(path("cakey.pem"), Permissions::from_mode(0o640)).unwrap();
        assert!(run_quietly(&request).unwrap_err().to_string().contains("open to others (mode 0640)"));
        // Without its key the authority serves as long as nothing is to be signed.
        std::fs::remove_file(path("cakey.pem")).unwrap();
        run_quietly(&request).unwrap();
    }
}
