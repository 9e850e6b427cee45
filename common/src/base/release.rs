//! Which version of the suite this is.

use std::sync::OnceLock;

/// The version of the contract: arguments, results, words of errors and findings, exit status. It grows with a breaking change.
pub const CONTRACT: u32 = 1;

/// The version as `--version` prints it: that of the programs, the commit where a release was built, and the contract.
#[must_use]
pub fn describe_version() -> &'static str {
    static TEXT: OnceLock<String> = OnceLock::new();
    TEXT.get_or_init(|| {
        // Set by `cargo xtask dist`.
        let commit = option_env!("OG_COMMIT").map_or_else(String::new, |commit| format!("commit {commit}, "));
        format!("{} ({commit}contract {CONTRACT})", env!("CARGO_PKG_VERSION"))
    })
}
