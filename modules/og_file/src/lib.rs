//! A file on this node, received piece by piece: as large as it may be, over any connection, and continued where it broke off.
//!
//! Each piece is an ordinary call, so whoever can call a module can send a file: while the error has the reason
//! `content_wanted`, the caller sends the piece that begins at `offset`. The pieces go into a file beside the target, named by the hash
//! of the whole, so that two contents are never mixed; it gets the target's name when it has that hash.

pub mod args;
mod receive;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use og_common::files;
use og_common::protocol::{ArgRule, Bytes, Call, Error, ErrorKind, Example, Module, Report};

use args::{Args, Output, State};

/// The module `og_file`.
#[derive(Debug)]
pub struct NodeFile;

impl Module for NodeFile {
    const NAME: &'static str = "og_file";
    const ABOUT: &'static str = "A file on this node, received piece by piece";
    const TIMEOUT: u64 = 600;
    const EXAMPLES: &'static [Example] = &[
        Example {
            title: "What is there?",
            args: r#"{"path": "/gauss/openGauss-6.0.2.tar.bz2", "state": "query"}"#,
        },
        Example {
            title: "Receive a file of one piece",
            args: r#"{"path": "/home/omm/cluster_config.xml", "os_user": "omm", "sha256": "98ea6e4f216f2fb4b69fff9b3a44842c38686ca685f3f55dc48c5d3fb1107be4", "size": 3, "offset": 0, "content": "aGkK"}"#,
        },
        Example {
            title: "Remove it, and what is left of a transfer to it",
            args: r#"{"path": "/home/omm/cluster_config.xml", "state": "absent"}"#,
        },
    ];
    const RULES: &'static [ArgRule] = &[
        ArgRule::RequiredIf { key: "state", value: "present", needs: &["sha256", "size"] },
        ArgRule::OnlyIf {
            key: "state",
            values: &["present"],
            allows: &["sha256", "size", "mode", "offset", "content"],
        },
    ];
    const BULK: &'static [&'static str] = &["content"];
    type Args = Args;
    type Output = Output;

    fn anchor(args: &Args) -> Option<&Path> {
        args.path.parent()
    }

    async fn run(call: &Call, args: Args) -> Result<Report<Output>, Error> {
        match args.state {
            State::Present => receive::receive(call, &args).await,
            State::Absent => receive::remove(call, &args.path).await,
            State::Query => query(&args.path).await,
        }
    }
}

async fn query(path: &Path) -> Result<Report<Output>, Error> {
    let mut output = Output { path: path.to_owned(), ..Output::default() };
    let meta = match std::fs::metadata(path) {
        Ok(meta) => meta,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            return Ok(Report::unchanged(format!("{} is not there", path.display()), output));
        }
        Err(e) => return Err(Error::io("inspect", path, &e)),
    };
    if !meta.is_file() {
        return Err(Error::new(ErrorKind::Io, format!("{} is not a regular file", path.display()))
            .with_path(path.display()));
    }
    let file = File::open(path).map_err(|e| Error::io("read", path, &e))?;
    output.sha256 = Some(files::sha256_of(file, path).await?);
    output.present = true;
    output.size = Some(Bytes::new(meta.len()));
    output.mode = Some(format_mode(meta.permissions().mode()));
    Ok(Report::unchanged(format!("{} is there: {}", path.display(), Bytes::new(meta.len())), output))
}

fn format_mode(mode: u32) -> String {
    format!("{:04o}", mode & 0o7777)
}
