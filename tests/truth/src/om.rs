//! Our reading and writing of the files of clusters held against OM's own code, the Python programs that everybody else's
//! files come from. They are not part of this project: whoever runs this gives a checkout of openGauss-OM.
//!
//! * [`mod@write`]: clusters made at random, as cluster_config.xml and as a model
//! * [`compare`]: what we say of them and what OM says

pub mod compare;
pub mod write;

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{Value, json};

use crate::Result;

/// The time in all that OM writes here.
pub const TIME: i64 = 1_611_212_345;

/// OM's code, at work.
#[derive(Debug)]
pub struct Om {
    child: Child,
    questions: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    folder: tempfile::TempDir,
}

impl Om {
    /// Starts the code of this checkout, the folder that holds `script/gspylib`.
    ///
    /// # Errors
    /// When it is none, or Python is missing.
    pub fn start(checkout: &Path) -> Result<Self> {
        if !checkout.join("script/gspylib/common/DbClusterInfo.py").is_file() {
            return Err(format!("{} is no checkout of openGauss-OM", checkout.display()));
        }
        let folder = tempfile::tempdir().map_err(|e| format!("a folder: {e}"))?;
        // OM asks for the version beside each file.
        std::fs::write(folder.path().join("upgrade_version"), "openGauss-5.0.0\n92.298\nabcdefgh\n")
            .map_err(|e| format!("upgrade_version: {e}"))?;
        let mut child = Command::new("python3")
            .arg("-B")
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("om/om.py"))
            .arg(checkout)
            .current_dir(folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|e| format!("python3: {e}"))?;
        let questions = child.stdin.take();
        let answers = child.stdout.take().ok_or("python3 has no output")?;
        Ok(Self { child, questions, answers: BufReader::new(answers), folder })
    }

    /// A file in OM's folder.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file there.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn put(&self, name: &str, bytes: &[u8]) -> Result<PathBuf> {
        let path = self.path(name);
        std::fs::write(&path, bytes).map_err(|e| format!("{}: {e}", path.display()))?;
        Ok(path)
    }

    /// What OM wrote there.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn written(&self, name: &str) -> Result<Vec<u8>> {
        let path = self.path(name);
        std::fs::read(&path).map_err(|e| format!("{}: {e}", path.display()))
    }

    fn ask(&mut self, question: &Value) -> Result<Answer> {
        let stdin = self.questions.as_mut().ok_or("OM has ended")?;
        writeln!(stdin, "{question}").map_err(|e| format!("OM takes no question: {e}"))?;
        let mut line = String::new();
        self.answers.read_line(&mut line).map_err(|e| format!("OM's answer: {e}"))?;
        let answer: Value =
            serde_json::from_str(&line).map_err(|e| format!("OM's answer to {question}: {line:?}: {e}"))?;
        Ok(match answer["error"].as_str() {
            Some(words) => Answer::Refused(words.to_owned()),
            None => Answer::Read(answer["nodes"].clone()),
        })
    }

    /// What OM makes of `text`; what it writes then is in the file `by_om`.
    pub(crate) fn xml(&mut self, text: &str) -> Result<Answer> {
        let path = self.put("cluster_config.xml", text.as_bytes())?;
        self.ask(&json!({"do": "xml", "path": path, "out": self.path("by_om")}))
    }

    /// What OM reads in a static config; what it writes of that is in the file `by_om`.
    pub(crate) fn static_config(&mut self, bytes: &[u8], local: u32) -> Result<Answer> {
        let path = self.put("by_us", bytes)?;
        self.ask(&json!({"do": "static", "path": path, "out": self.path("by_om"), "local": local}))
    }

    /// Has OM write the dynamic config and the roles of the cluster of this static config. `said`: of each server its
    /// number and the role that gs_ctl says; `status`: the lines of gs_om -t status --detail.
    pub(crate) fn roles(&mut self, bytes: &[u8], said: &Value, status: &[String]) -> Result<Answer> {
        let path = self.put("by_us", bytes)?;
        let folder = self.folder.path().to_owned();
        self.ask(&json!({"do": "roles", "path": path, "roles": said, "status": status, "folder": folder}))
    }

    /// What OM reads in a dynamic config beside the static config of [`Om::roles`].
    pub(crate) fn dynamic(&mut self, bytes: &[u8]) -> Result<Answer> {
        let path = self.put("dynamic_by_us", bytes)?;
        self.ask(&json!({"do": "dynamic", "path": path, "static": self.path("by_us")}))
    }
}

impl Drop for Om {
    fn drop(&mut self) {
        // At the end of its input it ends.
        self.questions = None;
        // Nothing depends on how.
        drop(self.child.wait());
    }
}

/// What OM says.
#[derive(Debug)]
pub(crate) enum Answer {
    /// The nodes it read.
    Read(Value),
    /// Why not.
    Refused(String),
}
