//! What is to be done.

use std::path::{Path, PathBuf};

use og_common::protocol::{Bytes, Error, Reason};

use crate::args::{Args, Installed};
use crate::present::{EnvFile, Link, Present, Record, env_path};

/// So many times its size takes a package when it is unpacked: program files become four to five times smaller.
const UNPACKED: u64 = 6;

/// The package that is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub sha256: String,
    pub source: Source,
}

/// Where the package comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// It is known by its hash alone.
    None,
    /// Its file, of so many bytes, will be there.
    Foreseen(u64),
    /// Its file, and so many bytes.
    File(PathBuf, u64),
}

/// What is to be done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    pub unpack: bool,
    pub link: bool,
    pub write_env: bool,
}

/// Plans how the program files come to be there.
///
/// # Errors
/// `refused`, `not_found`.
pub(crate) fn plan_present(present: &Present, wanted: &Wanted, force: bool) -> Result<Plan, Error> {
    let home = present.find(&wanted.sha256).map(|(installed, _)| &installed.path);
    let link = &present.path;
    if let Some((rest, _)) = present.rests.iter().find(|(rest, _)| rest.sha256 == wanted.sha256) {
        let detail = format!("only a part of the package is left in {}", rest.path.display());
        return Err(Error::refused(detail).with_path(rest.path.display()).hint(format!(
            "end its removal with state: absent and sha256: {}, then unpack the package again",
            rest.sha256
        )));
    }
    let leads_there = match (&present.link, home) {
        (Link::To(target), Some(home)) if target == home => true,
        (Link::To(target), _) if !force => {
            let detail = format!("{} leads to {}, not to this package", link.display(), target.display());
            return Err(Error::refused(detail)
                .with_path(link.display())
                .hint("give another link, or force: true to let it lead to this package"));
        }
        (Link::Missing | Link::To(_), _) => false,
        (Link::Other, _) => {
            let detail = format!("{} is there and is no symbolic link", link.display());
            return Err(Error::refused(detail)
                .with_path(link.display())
                .hint("give another link, or move aside what is there"));
        }
    };
    let env = env_path(link);
    if present.env_file == EnvFile::Foreign {
        let detail = format!("{} is there, and is not as og_package writes it", env.display());
        return Err(Error::refused(detail)
            .with_path(env.display())
            .hint("move it aside, or give another link"));
    }
    if home.is_none() {
        // What is still to come takes its own room, too.
        let needed = match &wanted.source {
            Source::None => {
                let detail = format!(
                    "the package with the SHA-256 {} is not unpacked beside {}",
                    wanted.sha256,
                    link.display()
                );
                return Err(Error::not_found(detail)
                    .with_path("/package")
                    .hint("give package: its file on this node"));
            }
            Source::Foreseen(size) => size.saturating_mul(UNPACKED + 1),
            Source::File(_, size) => size.saturating_mul(UNPACKED),
        };
        let needed = Bytes::new(needed);
        if present.free < needed {
            let detail = format!(
                "the package takes about {needed} when it is unpacked, and {} are free for {}",
                present.free,
                present.base.display()
            );
            return Err(Error::refused(detail)
                .reason(Reason::DiskFull)
                .with_path(present.base.display())
                .hint("make room there, or give a link on another file system"));
        }
    }
    Ok(Plan { unpack: home.is_none(), link: !leads_there, write_env: present.env_file != EnvFile::Good })
}

/// What is to be taken away.
#[derive(Debug, Default)]
pub(crate) struct Leaving<'a> {
    /// Whether the link goes, and the file for a shell with it.
    pub link: bool,
    /// The program files that go.
    pub homes: Vec<&'a (Installed, Record)>,
    /// The program files that stay, as other links lead to them.
    pub shared: Vec<&'a Installed>,
    /// What killed runs left.
    pub leftovers: Vec<&'a Path>,
}

impl Leaving<'_> {
    /// Whether nothing is to be taken away.
    pub(crate) fn is_empty(&self) -> bool {
        !self.link && self.homes.is_empty() && self.leftovers.is_empty()
    }
}

/// Plans what is taken away: the program files of this hash, or without one those that the link leads to and those whose removal
/// has begun.
pub(crate) fn plan_absent<'a>(present: &'a Present, args: &Args) -> Leaving<'a> {
    let leads_to = |own: &Installed| present.link == Link::To(own.path.clone());
    let is_wanted = |(own, record): &&(Installed, Record)| match &args.sha256 {
        Some(sha256) => own.sha256 == *sha256,
        None => leads_to(own) || record.removing,
    };
    let wanted = present.installed.iter().chain(&present.rests).filter(is_wanted);
    let (shared, homes): (Vec<_>, Vec<_>) =
        wanted.partition(|(own, _)| present.other_links_to(&own.path).next().is_some());
    let mut leaving = Leaving {
        link: homes.iter().chain(&shared).any(|(own, _)| leads_to(own)),
        homes,
        shared: shared.into_iter().map(|(own, _)| own).collect(),
        leftovers: present.unfinished.iter().chain(&present.empty).map(PathBuf::as_path).collect(),
    };
    leaving.homes.sort_by(|(one, _), (other, _)| one.path.cmp(&other.path));
    leaving
}
