//! Arguments and result of the module.

use std::path::PathBuf;

use og_common::protocol::Bytes;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What shall be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// The file is there with this content and mode.
    #[default]
    Present,
    /// There is no such file, and nothing is left of a transfer to it.
    Absent,
    /// Tell what is there.
    Query,
}

/// Arguments of og_file.
#[derive(Debug, Default, Deserialize, JsonSchema)]
pub struct Args {
    /// What shall be.
    #[serde(default)]
    pub state: State,
    /// Absolute path of the file. No folder on the way to it may be a symbolic link, belong to another user than the one who
    /// runs this and root, or be open for others to write into; missing ones are made. `state: query` reads any file.
    pub path: PathBuf,
    /// SHA-256 of the whole content, in 64 hexadecimal digits.
    pub sha256: Option<String>,
    /// Bytes of the whole content.
    pub size: Option<Bytes>,
    /// Mode of the file in octal, such as `0644`.
    #[serde(default = "default_mode")]
    pub mode: String,
    /// Where in the content the piece in `content` begins. A piece that does not begin where the last one ended is not taken;
    /// `offset` of the result says where to go on.
    pub offset: Option<u64>,
    /// A piece of the content in Base64, of at most 16 MiB before that.
    pub content: Option<String>,
}

fn default_mode() -> String {
    "0600".to_owned()
}

/// The module's own keys of the result.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Output {
    /// The file.
    pub path: PathBuf,
    /// Whether a file is there; with `state: present`, whether it has the content that it should.
    pub present: bool,
    /// Its size.
    pub size: Option<Bytes>,
    /// SHA-256 of its content.
    pub sha256: Option<String>,
    /// Its mode in octal.
    pub mode: Option<String>,
    /// So much of the content has been received, and the next piece begins there; none where nothing more is wanted.
    pub offset: Option<u64>,
}
