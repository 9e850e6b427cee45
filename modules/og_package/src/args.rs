//! Arguments and result of the module.

use std::path::PathBuf;

use og_common::protocol::Bytes;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What shall be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// The program files of the package are unpacked, and the link leads to them. Run by root, it needs `os_user`, unless the
    /// link's folder is another user's: it runs programs of the package.
    #[default]
    Present,
    /// The program files are gone, as far as the record in their folder names them; so is the link, if it led there. They stay where
    /// another link beside it leads to them, too. What killed runs left beside the link goes as well.
    Absent,
    /// Tell what is unpacked, and where the link leads.
    Query,
}

/// Arguments of og_package.
#[derive(Debug, Default, Deserialize, JsonSchema)]
pub struct Args {
    /// What shall be.
    #[serde(default)]
    pub state: State,
    /// Absolute path of the symbolic link to the program files, to be used as `gauss_home`. They are unpacked beside it, each
    /// version in a folder of its own.
    pub link: PathBuf,
    /// Absolute path, on this node, of openGauss's package: the server's own (`.tar.bz2` or `.tar.gz`), or the one of a whole
    /// release, which has the server's in it. Not needed for what is unpacked already.
    pub package: Option<PathBuf>,
    /// SHA-256 of the package, in 64 hexadecimal digits, by which what is unpacked is known again. Default: that of the file;
    /// with `state: absent`, the package that the link leads to.
    pub sha256: Option<String>,
    /// Bytes of the package, where its file is still to come; stands for `package` in check mode, with `sha256`.
    pub size: Option<Bytes>,
    /// Let the link lead to this package although it leads elsewhere now. Running servers keep the program files that they were
    /// started from; files such as cluster_static_config are not carried over.
    #[serde(default)]
    pub force: bool,
    /// With `absent`: process ids of servers that will have been stopped by then; has an effect in check mode alone, where the steps
    /// before this one changed nothing.
    #[serde(default)]
    pub ended: Vec<u32>,
}

/// Program files that were unpacked from a package.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Installed {
    /// Their folder.
    pub path: PathBuf,
    /// The version, where the package or its server program tells.
    pub version: Option<String>,
    /// SHA-256 of the package.
    pub sha256: String,
}

/// The module's own keys of the result.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Output {
    /// The link.
    pub link: PathBuf,
    /// Where it leads; none where there is no link.
    pub link_target: Option<PathBuf>,
    /// A file for a shell to read, which sets GAUSSHOME, PATH and LD_LIBRARY_PATH; none where it is not there.
    pub env_file: Option<PathBuf>,
    /// The program files of the package, or without one those that the link leads to; none where they are not unpacked.
    pub current: Option<Installed>,
    /// Other links in the same folder that lead to these program files, too: `absent` takes them away only when there are none.
    pub other_links: Vec<PathBuf>,
    /// All that is unpacked beside the link.
    pub installed: Vec<Installed>,
    /// Libraries that the server program needs and that are not on this machine; none where that is not
    /// known, which is a warning.
    pub missing_libraries: Option<Vec<String>>,
    /// What may still be written to the file system of the folder that the link lies in.
    pub free_space: Option<Bytes>,
}
