//! Installs what the demo and the tests need beside Rust: Debian packages, and ansible-core in an environment of its own.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::shell::{Result, has, output, root, run, target};

/// A Debian package and a program that it brings; `/` means a path of its own.
type DebianPackage = (&'static str, &'static str);

/// What makes a Python environment.
const VENV: &[DebianPackage] = &[("python3-venv", "/usr/lib/python3*/ensurepip/__init__.py")];

/// What a lab needs; `ps` is what gs_ctl calls.
const LAB: &[DebianPackage] =
    &[("iproute2", "ip"), ("openssh-server", "/usr/sbin/sshd"), ("openssh-client", "ssh"), ("procps", "ps")];

/// What it needs when openGauss is not what runs in it.
const POSTGRES: &[DebianPackage] = &[("postgresql", "/usr/lib/postgresql/*/bin/postgres")];

/// What the tests need besides.
const TESTS: &[DebianPackage] = &[
    // One of Salt's requirements comes as C source alone.
    ("python3-dev", "/usr/include/python3*/Python.h"),
    ("strace", "strace"),
    ("sudo", "sudo"),
    ("mandoc", "mandoc"),
    ("shellcheck", "shellcheck"),
    ("busybox", "busybox"),
    ("valgrind", "valgrind"),
    ("xz-utils", "xz"),
];

/// What `cargo xtask dist` needs for .rpm, and to link for the other machine and run what it linked.
#[cfg(target_arch = "x86_64")]
const DIST: &[DebianPackage] = &[
    ("rpm", "rpmbuild"),
    ("gcc-aarch64-linux-gnu", "aarch64-linux-gnu-gcc"),
    ("libc6-dev-arm64-cross", "/usr/aarch64-linux-gnu/lib/libc.a"),
    ("qemu-user-static", "qemu-aarch64-static"),
];
#[cfg(not(target_arch = "x86_64"))]
const DIST: &[DebianPackage] = &[
    ("rpm", "rpmbuild"),
    ("gcc-x86-64-linux-gnu", "x86_64-linux-gnu-gcc"),
    ("libc6-dev-amd64-cross", "/usr/x86_64-linux-gnu/lib/libc.a"),
    ("qemu-user-static", "qemu-x86_64-static"),
];

/// What makes a bare tree of a distribution.
const TREES: &[DebianPackage] = &[("debootstrap", "/usr/sbin/debootstrap")];

/// What the tests find.
pub struct Tools {
    /// The folder with ansible-playbook and the rest.
    pub ansible: PathBuf,
}

/// The pinned ansible-core, in target/python; made when it is not there or the pins changed. Nothing else is asked for.
pub fn ansible() -> Result<Tools> {
    packages(VENV)?;
    Ok(Tools { ansible: environment("python", "requirements.txt")? })
}

/// What a lab and the workflows on it need, whichever engine runs there.
pub fn lab() -> Result<Tools> {
    packages(&[VENV, LAB].concat())?;
    ansible()
}

/// What a lab on PostgreSQL needs besides.
pub fn postgres() -> Result {
    packages(POSTGRES)
}

/// What a bench needs besides.
pub fn bench() -> Result {
    packages(&[("time", "/usr/bin/time")])
}

/// What the test of releases in bare trees needs.
pub fn trees() -> Result {
    packages(TREES)
}

/// What `cargo xtask dist` needs for .rpm, for the other machine and for older glibcs.
pub fn dist() -> Result {
    packages(&[VENV, DIST].concat())?;
    environment("zig", "requirements-dist.txt")?;
    let machines = crate::dist::MACHINES.map(|machine| format!("{machine}-unknown-linux-gnu"));
    let has_all = |compiler: &std::path::Path| {
        machines.iter().all(|triple| crate::dist::has_standard_library(compiler, triple))
    };
    if has_all("rustc".as_ref()) || has_all(&rust_web()) { Ok(()) } else { fetch_rust_web() }
}

/// The folder with cargo-zigbuild and zig, where `dist` brought them.
pub fn zig() -> Option<PathBuf> {
    let folder = target().join("zig/bin");
    folder.join("cargo-zigbuild").exists().then_some(folder)
}

/// The compiler with the standard libraries for both machines that `dist` brings where cargo's own has only one.
pub fn rust_web() -> PathBuf {
    target().join("rust-web/rustc")
}

/// Unpacks Debian's newest compiler, which it builds browsers with, in target/rust-web; the machine's own packages and what apt
/// knows stay as they are.
fn fetch_rust_web() -> Result {
    const RUSTUP: &str =
        "on this machine rustup brings the standard library: rustup target add aarch64-unknown-linux-gnu";
    if !has("apt-get") || !has("dpkg") {
        return Err(RUSTUP.to_owned());
    }
    let folder = target().join("rust-web");
    let failed = |e: std::io::Error| format!("cannot make {}: {e}", folder.display());
    if folder.exists() {
        std::fs::remove_dir_all(&folder).map_err(failed)?;
    }
    for part in ["apt/state/lists/partial", "apt/cache/archives/partial", "apt/packages"] {
        std::fs::create_dir_all(folder.join(part)).map_err(failed)?;
    }
    let apt = folder.join("apt");
    // Nothing is installed in its eyes, so that nothing is in its way.
    std::fs::write(apt.join("status"), "").map_err(failed)?;
    let (own, other) = if cfg!(target_arch = "x86_64") { ("amd64", "arm64") } else { ("arm64", "amd64") };
    let config = format!(
        "APT::Architecture \"{own}\";\nAPT::Architectures {{ \"{own}\"; \"{other}\"; }};\nAPT::Sandbox::User \"root\";\n\
         Dir::State \"{0}/state\";\nDir::State::status \"{0}/status\";\nDir::Cache \"{0}/cache\";\n",
        apt.display()
    );
    std::fs::write(apt.join("apt.conf"), config).map_err(failed)?;
    let call = |program: &str, words: &[&str]| {
        let mut command = Command::new(program);
        command.args(words).env("APT_CONFIG", apt.join("apt.conf")).current_dir(apt.join("packages"));
        output(&mut command)
    };
    println!("unpacking rustc-web in {}", folder.display());
    call("apt-get", &["-qq", "update"])?;
    let library = dependency(&call("apt-cache", &["depends", "libstd-rust-web-dev"])?, "libstd-rust-web-")?;
    let llvm = dependency(&call("apt-cache", &["depends", &library])?, "libllvm")?;
    let libraries = [own, other].map(|machine| format!("libstd-rust-web-dev:{machine}"));
    call("apt-get", &["-qq", "download", "rustc-web", &libraries[0], &libraries[1], &library, &llvm])?;
    for package in std::fs::read_dir(apt.join("packages")).map_err(failed)? {
        let package = package.map_err(failed)?.path();
        output(Command::new("dpkg").arg("-x").arg(&package).arg(&folder))?;
    }
    std::fs::remove_dir_all(&apt).map_err(failed)?;
    let script = format!(
        "#!/bin/sh\nhere=$(dirname \"$0\")\nLD_LIBRARY_PATH=$here/usr/lib/{}-linux-gnu exec \"$here/usr/bin/rustc\" \"$@\"\n",
        std::env::consts::ARCH
    );
    let compiler = rust_web();
    std::fs::write(&compiler, script).map_err(failed)?;
    std::fs::set_permissions(&compiler, std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .map_err(failed)?;
    output(Command::new(&compiler).arg("--version")).map(drop)
}

/// The package that begins so among those that `apt-cache depends` names.
fn dependency(told: &str, begin: &str) -> Result<String> {
    let names = told.lines().filter_map(|line| line.trim().strip_prefix("Depends: "));
    let found = names.map(str::trim).find(|name| name.starts_with(begin));
    found.map(ToOwned::to_owned).ok_or_else(|| format!("apt-cache names no package {begin}* in:\n{told}"))
}

/// Installs what is missing of these, when root; says what is missing, when not.
fn packages(wanted: &[DebianPackage]) -> Result {
    let missing: Vec<_> =
        wanted.iter().filter(|(_, program)| !is_present(program)).map(|(p, _)| *p).collect();
    if missing.is_empty() {
        return Ok(());
    }
    if !nix::unistd::Uid::effective().is_root() || !has("apt-get") {
        return Err(format!(
            "these Debian packages are missing: {}; install them, or run this as root",
            missing.join(" ")
        ));
    }
    println!("installing {}", missing.join(" "));
    run(Command::new("apt-get").args(["-qq", "update"]))?;
    // The server package must not start a cluster of its own, nor any daemon.
    let policy = NoDaemons::new()?;
    let done = run(Command::new("apt-get")
        .env("DEBIAN_FRONTEND", "noninteractive")
        .args(["-qq", "-y", "--no-install-recommends", "install"])
        .args(&missing)
        .stdout(std::process::Stdio::null()));
    drop(policy);
    done
}

/// Keeps packages from starting daemons while it lives: Debian's policy-rc.d, unless the machine has one of its own.
struct NoDaemons(Option<PathBuf>);

impl NoDaemons {
    fn new() -> Result<Self> {
        let file = PathBuf::from("/usr/sbin/policy-rc.d");
        if file.exists() {
            return Ok(Self(None));
        }
        std::fs::write(&file, "#!/bin/sh\nexit 101\n")
            .and_then(|()| {
                std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o755))
            })
            .map_err(|e| format!("cannot write {}: {e}", file.display()))?;
        Ok(Self(Some(file)))
    }
}

impl Drop for NoDaemons {
    fn drop(&mut self) {
        if let Some(file) = &self.0
            && let Err(e) = std::fs::remove_file(file)
        {
            eprintln!("cannot remove {}: {e}", file.display());
        }
    }
}

/// Whether a program of the PATH, or a path with at most one `*` in a folder's name, is there.
fn is_present(program: &str) -> bool {
    let Some((before, after)) = program.split_once('*') else {
        return if program.starts_with('/') { PathBuf::from(program).exists() } else { has(program) };
    };
    let (folder, prefix) = before.rsplit_once('/').unwrap_or(("", before));
    std::fs::read_dir(if folder.is_empty() { "/" } else { folder }).is_ok_and(|entries| {
        entries.flatten().any(|e| {
            e.file_name().to_string_lossy().starts_with(prefix)
                && e.path().join(after.trim_start_matches('/')).exists()
        })
    })
}

/// Everything: what a lab needs on either engine, and what the tests of the collection need beside ansible-core, in the same environment.
pub fn for_tests() -> Result<Tools> {
    packages(&[VENV, LAB, POSTGRES, TESTS].concat())?;
    let tools = ansible()?;
    install(&target().join("python"), "requirements-test.txt")?;
    Ok(tools)
}

/// The other releases of ansible-core that the collection is tested with, and the newest minor release of Python 3 that
/// each of them runs on.
const OLDER: [(&str, u32); 2] = [("2.15", 11), ("2.17", 12)];

/// The folder of programs of an older release, or none when this Python cannot run it.
pub fn older_ansible(version: &str) -> Result<Option<PathBuf>> {
    let Some((_, newest)) = OLDER.iter().find(|(name, _)| *name == version) else {
        return Err(format!("ansible-core {version} is not one that the collection is tested with"));
    };
    let asked = "import sys; print(sys.version_info.minor)";
    let text = output(Command::new(target().join("python/bin/python")).args(["-c", asked]))?;
    let minor: u32 = text.trim().parse().map_err(|e| format!("{text:?}: {e}"))?;
    if minor > *newest {
        println!("skipped: ansible-core {version}: it runs on Python 3.{newest} or older, here is 3.{minor}");
        return Ok(None);
    }
    environment(&format!("python-{version}"), &format!("requirements-{version}.txt")).map(Some)
}

/// The release of the package `ansible` from which collections of others are taken.
const ANSIBLE: &str = "ansible==12.3.0";

/// The folder of collections with this one of others in it, such as `ansible/netcommon`; taken from the package `ansible`
/// when it is not there yet.
pub fn collection(tools: &Tools, name: &str) -> Result<PathBuf> {
    let folder = target().join("bench").join(ANSIBLE);
    if folder.join("ansible_collections").join(name).is_dir() {
        return Ok(folder);
    }
    std::fs::create_dir_all(&folder).map_err(|e| format!("cannot make {}: {e}", folder.display()))?;
    run(Command::new(tools.ansible.join("pip"))
        .args(["download", "--quiet", "--disable-pip-version-check", "--no-deps", ANSIBLE, "--dest"])
        .arg(&folder))?;
    let unpack = "import sys, zipfile, glob
for wheel in glob.glob('ansible-*.whl'):
    with zipfile.ZipFile(wheel) as z:
        z.extractall(members=[n for n in z.namelist() if n.startswith(f'ansible_collections/{sys.argv[1]}/')])";
    run(Command::new(tools.ansible.join("python")).args(["-c", unpack, name]).current_dir(&folder))?;
    Ok(folder)
}

/// The pinned Salt, in target/salt; returns the folder with salt-call.
pub fn salt() -> Result<PathBuf> {
    environment("salt", "requirements-salt.txt")
}

/// The same of the release with long-term support, in target/salt-lts.
pub fn salt_lts() -> Result<PathBuf> {
    environment("salt-lts", "requirements-salt-lts.txt")
}

/// A Python environment of its own with what the file of playbooks/ pins; returns the folder of its programs.
fn environment(name: &str, pins: &str) -> Result<PathBuf> {
    let environment = target().join(name);
    if !installed(&environment, pins)? {
        // Debian's own python3 first: another one on the PATH may be older than ansible-core takes.
        let python = if PathBuf::from("/usr/bin/python3").exists() { "/usr/bin/python3" } else { "python3" };
        run(Command::new(python).args(["-m", "venv", "--clear"]).arg(&environment))?;
    }
    install(&environment, pins)?;
    Ok(environment.join("bin"))
}

/// Installs what the file pins into the environment, unless that was done.
fn install(environment: &Path, pins: &str) -> Result {
    if installed(environment, pins)? {
        return Ok(());
    }
    println!("installing playbooks/{pins} into {}", environment.display());
    run(Command::new(environment.join("bin/pip"))
        .args(["install", "--quiet", "--disable-pip-version-check", "--requirement"])
        .arg(root().join("playbooks").join(pins)))?;
    let stamp = environment.join(pins);
    std::fs::write(&stamp, wanted_packages(pins)?)
        .map_err(|e| format!("cannot write {}: {e}", stamp.display()))
}

/// Whether the environment has what the file pins: its copy of the file is the last thing written there.
fn installed(environment: &Path, pins: &str) -> Result<bool> {
    let wanted = wanted_packages(pins)?;
    Ok(std::fs::read(environment.join(pins)).is_ok_and(|there| there == wanted))
}

fn wanted_packages(pins: &str) -> Result<Vec<u8>> {
    let file = root().join("playbooks").join(pins);
    std::fs::read(&file).map_err(|e| format!("cannot read {}: {e}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dependency_is_found_by_how_its_name_begins() {
        let told = "libstd-rust-web-1.96\n  Depends: libc6\n  Depends: libllvm22\n  Conflicts: <rustup>\n";
        assert_eq!(dependency(told, "libllvm").as_deref(), Ok("libllvm22"));
        assert!(dependency(told, "rustup").is_err());
    }
}
