//! The stand-in for `gs_initdb`: initdb, then openGauss's files and the few functions of its SQL that people use.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use super::server::{Server, user};

/// postgresql.conf as gs_initdb leaves it, in short.
const CONF: &str = include_str!("postgresql.conf.sample");
/// pg_hba.conf as gs_initdb leaves it.
const HBA: &str = include_str!("pg_hba.conf.sample");
/// What openGauss's SQL has and PostgreSQL's has not.
const SQL: &str = include_str!("compat.sql");

/// All that goes into a data directory besides PostgreSQL itself.
pub(super) const INGREDIENTS: [&str; 3] = [CONF, HBA, SQL];

/// `gs_initdb`.
#[must_use]
pub fn main() -> ExitCode {
    let (mut data, mut name, mut locale, mut encoding) =
        (None, String::new(), "C".to_owned(), "UTF8".to_owned());
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let (key, glued) = match arg.split_once('=') {
            Some((key, value)) if key.starts_with("--") => (key.to_owned(), Some(value.to_owned())),
            _ => (arg.clone(), None),
        };
        let mut value = || glued.clone().or_else(|| args.next()).unwrap_or_default();
        match key.as_str() {
            "-D" | "--pgdata" => data = Some(PathBuf::from(value())),
            "--nodename" => name = value(),
            "--locale" => locale = value(),
            "-E" | "--encoding" => encoding = value(),
            "-w"
            | "--pwpasswd"
            | "-W"
            | "-U"
            | "--username"
            | "-A"
            | "--auth"
            | "-C"
            | "-X"
            | "--xlogdir"
            | "-T"
            | "--text-search-config"
            | "--dbcompatibility"
            | "-g" => drop(value()),
            "-V" | "--version" => {
                println!("gs_initdb (openGauss) 9.2.4");
                return ExitCode::SUCCESS;
            }
            _ if !key.starts_with('-') && data.is_none() => data = Some(PathBuf::from(key)),
            _ => {}
        }
    }
    if nix::unistd::geteuid().is_root() {
        eprintln!("gs_initdb: cannot be run as root");
        return ExitCode::FAILURE;
    }
    let Some(data) = data.or_else(|| std::env::var_os("PGDATA").map(PathBuf::from)) else {
        eprintln!("gs_initdb: no data directory specified");
        return ExitCode::FAILURE;
    };
    if name.is_empty() {
        eprintln!("gs_initdb: The nodename should be set by --nodename option.");
        return ExitCode::FAILURE;
    }
    match create(&data, &name, &locale, &encoding) {
        Ok(()) => {
            println!("Success. You can now start the database server of single node using:\n");
            println!("    gaussdb -D {} --single_node", data.display());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("gs_initdb: {error}");
            ExitCode::FAILURE
        }
    }
}

fn create(data: &Path, name: &str, locale: &str, encoding: &str) -> io::Result<()> {
    let bin = super::bin_dir().map_err(io::Error::other)?;
    let made = Command::new(bin.join("initdb"))
        .args(["--no-sync", "--data-checksums", "--auth=trust", "--username"])
        .arg(user())
        .arg(format!("--locale={locale}"))
        .arg(format!("--encoding={encoding}"))
        .arg("-D")
        .arg(data)
        .status()?;
    if !made.success() {
        return Err(io::Error::other(format!("initdb: {made}")));
    }
    // Both: what is created later comes from template1.
    for database in ["template1", "postgres"] {
        let mut single = Command::new(bin.join("postgres"))
            .args(["--single", "-j", "-D"])
            .arg(data)
            .arg(database)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        if let Some(mut input) = single.stdin.take() {
            if database == "template1" {
                input.write_all(b"create role og_lab superuser login replication;\n\n")?;
            }
            input.write_all(SQL.as_bytes())?;
        }
        let output = single.wait_with_output()?;
        let words = String::from_utf8_lossy(&output.stderr);
        if !output.status.success() || words.contains("ERROR") {
            return Err(io::Error::other(words.into_owned()));
        }
    }
    let user = user();
    fs::write(data.join("postgresql.conf"), CONF.replace("@nodename@", name))?;
    fs::write(data.join("pg_hba.conf"), HBA.replace("@user@", &user))?;
    fs::create_dir_all(data.join("pg_log"))?;
    // What an earlier server of this place left is no business of the new one.
    let side = Server::new(data).side;
    if side.exists() {
        fs::remove_dir_all(side)?;
    }
    Ok(())
}
