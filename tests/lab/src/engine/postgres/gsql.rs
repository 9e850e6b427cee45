//! The stand-in for `gsql`: psql with gsql's exit statuses and habits.

use std::process::{Command, ExitCode};

use super::server::socket_dir;

/// `gsql`.
#[must_use]
pub fn main() -> ExitCode {
    if std::env::args().skip(1).any(|a| a == "-V" || a == "--version") {
        println!("gsql (openGauss 3.0.5 build 4db7019a) compiled at 2026-11-21 02:42:00 commit 0 last mr  ");
        return ExitCode::SUCCESS;
    }
    let (args, stop) = to_psql_args(std::env::args().skip(1).collect());
    let Ok(bin) = super::bin_dir() else {
        eprintln!("gsql: no PostgreSQL here");
        return ExitCode::from(2);
    };
    let mut psql = Command::new(bin.join("psql"));
    psql.args(args).env("PGHOST", socket_dir());
    if std::env::var_os("PGDATABASE").is_none() {
        psql.env("PGDATABASE", "postgres");
    }
    match psql.status() {
        Ok(status) => ExitCode::from(match status.code() {
            // A refused statement: psql says 1 after -c and 3 after a script with ON_ERROR_STOP.
            Some(1 | 3) if stop => 3,
            Some(1 | 3) => 0,
            Some(code) => u8::try_from(code).unwrap_or(1),
            None => 1,
        }),
        Err(error) => {
            eprintln!("gsql: {error}");
            ExitCode::from(2)
        }
    }
}

/// psql's arguments for gsql's, and whether it shall stop at an error.
fn to_psql_args(args: Vec<String>) -> (Vec<String>, bool) {
    let (mut new, mut command, mut stop) = (Vec::new(), None, false);
    let mut args = args.into_iter();
    while let Some(arg) = args.next() {
        match arg.as_str() {
            // Of several only the last runs.
            "-c" | "--command" => command = args.next(),
            // gsql takes the password here, where psql takes nothing.
            "-W" | "--password" => drop(args.next()),
            "-r" | "-C" | "--enable-client-encryption" => {}
            "-v" | "--set" | "--variable" => {
                let value = args.next().unwrap_or_default();
                stop |= is_stop(&value);
                new.extend([arg, value]);
            }
            _ => {
                if let Some(text) = arg.strip_prefix("--command=") {
                    command = Some(text.to_owned());
                    continue;
                }
                stop |=
                    ["-v", "--set=", "--variable="].iter().any(|p| arg.strip_prefix(p).is_some_and(is_stop));
                new.push(arg);
            }
        }
    }
    if let Some(command) = command {
        new.extend(["-c".to_owned(), to_show_query(&command)]);
    }
    (new, stop)
}

fn is_stop(setting: &str) -> bool {
    matches!(setting.split_once('='), Some(("ON_ERROR_STOP", "1" | "on" | "true")))
}

/// `show NAME` goes to the lab's view of openGauss's parameters, which PostgreSQL does not know.
fn to_show_query(sql: &str) -> String {
    let words: Vec<&str> = sql.trim().trim_end_matches(';').split_whitespace().collect();
    match words[..] {
        [verb, name]
            if verb.eq_ignore_ascii_case("show")
                && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') =>
        {
            format!("select og_lab.show('{name}') as {name}")
        }
        _ => sql.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gsqls_habits() {
        let words = |s: &str| s.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let (args, stop) = to_psql_args(words("-At -r -W pw -v ON_ERROR_STOP=1 -c a -c b -p 1"));
        assert_eq!(args, words("-At -v ON_ERROR_STOP=1 -p 1 -c b"));
        assert!(stop);
        assert_eq!(
            to_show_query("SHOW replconninfo1;"),
            "select og_lab.show('replconninfo1') as replconninfo1"
        );
        assert_eq!(to_show_query("show all of it"), "show all of it");
    }
}
