//! The environment in which openGauss's programs run.
//!
//! Ansible, Salt and cron start us without it, so it is read from the file that a DBA's login reads, in a clean shell.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::process::{Program, time_left};
use crate::base::{Call, Error};

/// The path of a system that has told us nothing better.
const SYSTEM_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// The longest path that Linux takes: PATH_MAX without the closing NUL.
const MAX_PATH_BYTES: usize = 4095;
/// How long an environment file may take; one that asks a question never ends.
const ENV_FILE_TIMEOUT: Duration = Duration::from_secs(20);

/// What openGauss's programs are given, and where they are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Environment {
    vars: BTreeMap<OsString, OsString>,
    /// Where it was learnt, for messages.
    source: String,
}

impl Environment {
    /// Reads the environment: from `env_file`; else from our own environment when it has GAUSSHOME and we were started by
    /// the node's user (root's may be of another cluster); else from `gauss_home` alone; else from
    /// `$MPPDB_ENV_SEPARATE_PATH` or the OS user's `~/.bashrc`. `gauss_home` overrides GAUSSHOME in each case.
    ///
    /// # Errors
    /// `not_found` when the file is missing; `timeout` when reading it does not end; `command_failed` when the shell fails;
    /// `bad_args` for a gauss_home that can be no path.
    pub async fn from_call(call: &Call) -> Result<Self, Error> {
        Self::from_call_and_vars(call, std::env::vars_os().collect()).await
    }

    /// [`Environment::from_call`], with `own` as our own environment.
    pub(super) async fn from_call_and_vars(
        call: &Call,
        own: BTreeMap<OsString, OsString>,
    ) -> Result<Self, Error> {
        let set = |key: &str| own.get(OsStr::new(key)).filter(|v| !v.is_empty());
        let common = &call.common;
        if let Some(bytes) =
            common.gauss_home.as_ref().map(|home| home.as_os_str().len()).filter(|n| *n > MAX_PATH_BYTES)
        {
            let detail = format!("gauss_home has {bytes} bytes, and a path at most {MAX_PATH_BYTES}");
            return Err(Error::bad_args(detail).with_path("/gauss_home"));
        }
        let mut learnt = if let Some(file) = &common.env_file {
            Self::read(call, file, false).await.map_err(|e| e.with_path("/env_file"))?
        } else if set("GAUSSHOME").is_some() && !call.switched {
            Self { vars: own, source: "the environment of this process".to_owned() }
        } else if common.gauss_home.is_some() {
            Self { vars: user_vars(), source: "gauss_home".to_owned() }
        } else if let Some(file) = set("MPPDB_ENV_SEPARATE_PATH") {
            Self::read(call, Path::new(file), false).await?
        } else {
            Self::from_bashrc(call).await?
        };
        if let Some(home) = &common.gauss_home {
            learnt.prefer_home(home);
        }
        Ok(learnt)
    }

    /// An environment with openGauss in `home` and nothing else but the user's own variables.
    #[must_use]
    pub fn with_home(home: &Path) -> Self {
        let mut env = Self { vars: user_vars(), source: "gauss_home".to_owned() };
        env.prefer_home(home);
        env
    }

    async fn from_bashrc(call: &Call) -> Result<Self, Error> {
        let vars = user_vars();
        let bashrc = vars.get(OsStr::new("HOME")).map(|home| Path::new(home).join(".bashrc"));
        let Some(bashrc) = bashrc.filter(|p| p.exists()) else {
            return Ok(Self { vars, source: "nothing: there is no ~/.bashrc".to_owned() });
        };
        let quiet = Self::read(call, &bashrc, false).await?;
        if quiet.get("GAUSSHOME").is_some() {
            return Ok(quiet);
        }
        // Distributions' .bashrc return at once when the shell is not interactive; what OM appended comes after that.
        let loud = Self::read(call, &bashrc, true).await?;
        Ok(if loud.get("GAUSSHOME").is_some() { loud } else { quiet })
    }

    /// Reads `file` in a clean shell.
    async fn read(call: &Call, file: &Path, interactive: bool) -> Result<Self, Error> {
        if let Err(e) = std::fs::File::open(file) {
            return Err(Error::io("read the environment file", file, &e));
        }
        let bash = ["/bin/bash", "/usr/bin/bash"].iter().map(Path::new).find(|p| p.exists());
        let bash = bash.ok_or_else(|| {
            Error::not_found("bash is not installed, so an environment file cannot be read")
        })?;
        // A marker parts our list from what the file itself may print at exit.
        let mut shell = Program::new(bash).args(["--norc", "--noprofile"]);
        if interactive {
            shell = shell.arg("-i");
        }
        let outcome = shell
            .args(["-c", r#". "$1" >/dev/null 2>&1 </dev/null; printf '\0og-env\0'; exec env -0"#, "og"])
            .arg(file)
            .envs(&user_vars())
            .with_limit(Some(time_left(call, ENV_FILE_TIMEOUT)))
            .run()
            .await?;
        if outcome.timed_out {
            return Err(Error::new(
                crate::base::ErrorKind::Timeout,
                format!(
                    "reading the environment file {} did not end; does it wait for input?",
                    file.display()
                ),
            )
            .with_command(outcome.record()));
        }
        let Some((_, list)) = outcome.stdout.rsplit_once("\0og-env\0") else {
            return Err(Error::command(
                format!("the environment file {} ended the shell that read it", file.display()),
                outcome.record(),
            ));
        };
        Ok(Self { vars: parse(list.as_bytes()), source: file.display().to_string() })
    }

    /// Puts `home` before whatever was learnt.
    fn prefer_home(&mut self, home: &Path) {
        self.vars.insert("GAUSSHOME".into(), home.into());
        for (key, dir) in [("PATH", "bin"), ("LD_LIBRARY_PATH", "lib")] {
            let mut value = home.join(dir).into_os_string();
            if let Some(old) = self.vars.get(OsStr::new(key)).filter(|v| !v.is_empty()) {
                value.push(":");
                value.push(old);
            }
            self.vars.insert(key.into(), value);
        }
    }

    /// A variable that is set and not empty.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&OsStr> {
        self.vars.get(OsStr::new(key)).map(OsString::as_os_str).filter(|v| !v.is_empty())
    }

    /// The folder openGauss is installed in.
    #[must_use]
    pub fn gauss_home(&self) -> Option<PathBuf> {
        self.get("GAUSSHOME").map(PathBuf::from)
    }

    /// The home folder of the user we run as.
    #[must_use]
    pub fn user_home() -> Option<PathBuf> {
        user_vars().remove(OsStr::new("HOME")).map(PathBuf::from)
    }

    /// The file that a program of the suite keeps of a data directory in the cache of the user we run as: a build empties the
    /// data directory, and nobody else may write there. `extension` is the file name's, without the dot.
    #[must_use]
    pub fn cache_file(program: &str, data_dir: &Path, extension: &str) -> PathBuf {
        // Escaped, so that /data/dn_1 and /data/dn/1 have a file each.
        let escaped = data_dir.to_string_lossy().trim_matches('/').replace('%', "%25").replace('_', "%5F");
        let name = escaped.replace('/', "_");
        let home = Self::user_home().unwrap_or_else(|| PathBuf::from("/"));
        home.join(".cache").join(program).join(format!("{name}.{extension}"))
    }

    /// The program of this name: in `$GAUSSHOME/bin`, else along PATH.
    ///
    /// # Errors
    /// `not_found`, with where it was looked for.
    pub fn find(&self, name: &str) -> Result<PathBuf, Error> {
        let path = self.get("PATH").unwrap_or(OsStr::new(SYSTEM_PATH));
        self.gauss_home()
            .map(|home| home.join("bin"))
            .into_iter()
            .chain(std::env::split_paths(path))
            .map(|dir| dir.join(name))
            .find(|file| is_program(file))
            .ok_or_else(|| {
                let home = self.gauss_home().map_or_else(
                    || "GAUSSHOME is not set".to_owned(),
                    |home| format!("GAUSSHOME is {}", home.display()),
                );
                Error::not_found(format!(
                    "{name} is not found: {home} (learnt from {}), and it is not in PATH",
                    self.source
                ))
                .hint("give env_file (the file that sets GAUSSHOME) or gauss_home")
            })
    }

    /// The program of this name, to be run in this environment.
    ///
    /// # Errors
    /// As [`Environment::find`].
    pub fn program(&self, name: &str) -> Result<Program, Error> {
        Ok(self.program_at(self.find(name)?))
    }

    /// The operating system's program of this name, to be run in this environment. It is looked for in the system's own folders
    /// alone: neither openGauss's nor an environment file decides which program that is.
    ///
    /// # Errors
    /// `not_found`, with where it was looked for.
    pub fn system_program(&self, name: &str) -> Result<Program, Error> {
        let found =
            std::env::split_paths(SYSTEM_PATH).map(|dir| dir.join(name)).find(|file| is_program(file));
        let file = found.ok_or_else(|| {
            Error::not_found(format!("{name} is not found in {SYSTEM_PATH}"))
                .hint("install the package of the operating system that has it")
        })?;
        Ok(self.program_at(file).env("PATH", SYSTEM_PATH))
    }

    fn program_at(&self, file: PathBuf) -> Program {
        let mut user = user_vars();
        user.remove(OsStr::new("PATH"));
        // Who we are is not taken from the environment: root's own would come along when root has become this user.
        Program::new(file).env("PATH", SYSTEM_PATH).envs(&self.vars).envs(&user).with_english_messages()
    }
}

fn is_program(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(file).is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
}

/// What a fresh login has: HOME, USER, LOGNAME, PATH, of the user we run as.
fn user_vars() -> BTreeMap<OsString, OsString> {
    let mut vars = BTreeMap::from([(OsString::from("PATH"), OsString::from(SYSTEM_PATH))]);
    if let Ok(Some(user)) = nix::unistd::User::from_uid(nix::unistd::geteuid()) {
        vars.insert("HOME".into(), user.dir.into_os_string());
        vars.insert("USER".into(), user.name.clone().into());
        vars.insert("LOGNAME".into(), user.name.into());
    }
    vars
}

/// The output of `env -0`.
fn parse(list: &[u8]) -> BTreeMap<OsString, OsString> {
    list.split(|b| *b == 0)
        .filter_map(|entry| {
            let at = entry.iter().position(|b| *b == b'=')?;
            Some((OsStr::from_bytes(&entry[..at]).to_owned(), OsString::from_vec(entry[at + 1..].to_vec())))
        })
        .filter(|(key, _)| key != "_" && key != "SHLVL")
        .collect()
}
