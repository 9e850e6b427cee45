//! Archives and packages whose bytes depend on nothing but what is in them.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::build;
use crate::shell::{Result, has, output, run};

/// Packs the folder `name` of `parent`: in the order of the names, of nobody, all of one time.
///
/// # Errors
/// When tar, xz or gzip fail.
pub fn archive(parent: &Path, name: &str, to: &Path, epoch: &str) -> Result {
    let plain = to.with_extension("");
    run(Command::new("tar")
        .args(["--sort=name", "--owner=0", "--group=0", "--numeric-owner", "--format=gnu"])
        .args(["--exclude=__pycache__", "--mode=u+rw,go+r,go-w,a+X"])
        .arg(format!("--mtime=@{epoch}"))
        .arg("-cf")
        .arg(&plain)
        .arg("-C")
        .arg(parent)
        .arg(name))?;
    let is_xz = to.extension().is_some_and(|it| it == "xz");
    // The programs share much of their code: what looks back far enough needs a third of the room. By one thread, as the bytes
    // depend on how many there are; and without the name and the time of the file that is packed.
    let (packer, words) =
        if is_xz { ("xz", ["--threads=1", "--force"]) } else { ("gzip", ["--no-name", "--force"]) };
    let mut command = Command::new(packer);
    command.args(words);
    run(command.arg(level()).arg(&plain))
}

/// How hard the packers try: programs of a test run are ten times as large, and nobody carries them anywhere.
fn level() -> &'static str {
    if build::is_for_tests() { "-1" } else { "-9" }
}

/// Packs anew what somebody else packed: with what is in it, and without the times and the order of that run.
///
/// # Errors
/// When tar or gzip fail.
pub fn remake_archive(from: &Path, work: &Path, to: &Path, epoch: &str) -> Result {
    std::fs::create_dir_all(work).map_err(|e| format!("cannot make {}: {e}", work.display()))?;
    run(Command::new("tar").arg("-xzf").arg(from).arg("-C").arg(work))?;
    archive(work, ".", to, epoch)
}

/// What is packed for the package managers of distributions.
pub struct Package<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its version.
    pub version: &'a str,
    /// The machine that its programs are for, as `uname -m` says.
    pub machine: &'a str,
    /// What is in it, as it stands below /usr.
    pub tree: &'a Path,
}

/// What the packages say of themselves.
const SUMMARY: &str = "Tools that run openGauss nodes";
const ABOUT: &str = "Small programs that read JSON, act on one openGauss node and say what changed, and og, which composes them to \
                     workflows: expand, drop, repair, switchover, failover, restart, configure, status.";

impl Package<'_> {
    /// Makes the package for Debian and its like, where dpkg-deb is at hand.
    ///
    /// # Errors
    /// What cannot be written, or dpkg-deb's own.
    pub fn deb(&self, work: &Path, out: &Path, epoch: &str) -> Result {
        if !has("dpkg-deb") {
            println!("skipped: no .deb: dpkg-deb is not installed (apt-get install dpkg)");
            return Ok(());
        }
        let machine = match self.machine {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        let root = self.lay_out(&work.join("deb"))?;
        let control = format!(
            "Package: {}\nVersion: {}\nArchitecture: {machine}\nMaintainer: The opengauss-node developers <opengauss-node@localhost>\n\
             Section: database\nPriority: optional\nRecommends: openssh-client\nDescription: {SUMMARY}\n {ABOUT}\n",
            self.name, self.version
        );
        write(&root.join("DEBIAN/control"), &control)?;
        let file = out.join(format!("{}_{}_{machine}.deb", self.name, self.version));
        run(Command::new("dpkg-deb")
            .args(["--root-owner-group", "-Zxz", &format!("-z{}", &level()[1..]), "--build"])
            .arg(&root)
            .arg(file)
            .env("SOURCE_DATE_EPOCH", epoch)
            .stdout(Stdio::null()))
    }

    /// Makes the package for openEuler, CentOS and their like, where rpmbuild is at hand.
    ///
    /// # Errors
    /// What cannot be written, or rpmbuild's own.
    pub fn rpm(&self, work: &Path, out: &Path, epoch: &str) -> Result {
        if !has("rpmbuild") {
            println!("skipped: no .rpm: rpmbuild is not installed (apt-get install rpm)");
            return Ok(());
        }
        let top = work.join("rpm");
        let root = self.lay_out(&top.join("tree"))?;
        let spec = format!(
            "Name: {name}\nVersion: {version}\nRelease: 1\nSummary: {SUMMARY}\nLicense: Apache-2.0\nRecommends: openssh-clients\n\
             AutoReqProv: no\n%description\n{ABOUT}\n%install\ncp -a {tree}/. %{{buildroot}}\n%files\n/usr/bin/*\n/usr/share/*\n",
            name = self.name,
            version = self.version,
            tree = root.display()
        );
        let path = top.join("package.spec");
        write(&path, &spec)?;
        let defines = [
            format!("_topdir {}", top.join("build").display()),
            format!("_rpmdir {}", top.join("made").display()),
            "_buildhost localhost".to_owned(),
            "use_source_date_epoch_as_buildtime 1".to_owned(),
            "clamp_mtime_to_source_date_epoch 1".to_owned(),
            // As the programs are: neither stripped nor taken apart.
            "__os_install_post %{nil}".to_owned(),
            "debug_package %{nil}".to_owned(),
            "_build_id_links none".to_owned(),
            format!("_binary_payload w{}T1.xzdio", &level()[1..]),
        ];
        let mut command = Command::new("rpmbuild");
        command.args(["-bb", "--quiet", "--target", self.machine]);
        for define in &defines {
            command.arg("--define").arg(define);
        }
        output(command.arg(&path).env("SOURCE_DATE_EPOCH", epoch))?;
        let name = format!("{}-{}-1.{}.rpm", self.name, self.version, self.machine);
        let made = top.join("made").join(self.machine).join(&name);
        std::fs::copy(&made, out.join(&name))
            .map(drop)
            .map_err(|e| format!("cannot read {}: {e}", made.display()))
    }

    /// The tree below /usr of a new root.
    fn lay_out(&self, root: &Path) -> Result<PathBuf> {
        std::fs::create_dir_all(root).map_err(|e| format!("cannot make {}: {e}", root.display()))?;
        run(Command::new("cp").arg("-a").arg(self.tree).arg(root.join("usr")))?;
        Ok(root.to_owned())
    }
}

fn write(path: &Path, text: &str) -> Result {
    let failed = |e: std::io::Error| format!("cannot write {}: {e}", path.display());
    std::fs::create_dir_all(path.parent().unwrap_or(path)).map_err(failed)?;
    std::fs::write(path, text).map_err(failed)
}
