//! Our reading of pg_hba.conf and postgresql.conf held against real servers, and our reading and writing of the files of
//! clusters against OM: files are made at random, good and bad ones, and what we say of each is compared with what they say.
//!
//! * [`mod@write`]: makes the files
//! * [`server`]: a server that takes them: openGauss, and PostgreSQL for what the two have in common
//! * [`wire`]: knocks at its door and asks it
//! * [`compare`]: our answer and its answer
//! * [`control`][]: pg_control
//! * [`om`]: the files of clusters

pub mod compare;
pub mod control;
pub mod om;
pub mod server;
pub mod wire;
pub mod write;

/// What goes wrong outside of a comparison.
pub type Result<T = ()> = std::result::Result<T, String>;

/// A number in the environment.
///
/// # Errors
/// When it is no number.
pub fn number(name: &str) -> Result<Option<u64>> {
    let Some(text) = std::env::var_os(name) else { return Ok(None) };
    let text = text.to_string_lossy();
    text.parse().map(Some).map_err(|e| format!("{name}={text}: {e}"))
}

/// Answers a test runner that asks for the tests of this program (`--list`): there is one, of this name.
#[must_use]
pub fn answers_list(name: &str) -> bool {
    let asked = |word: &str| std::env::args().any(|arg| arg == word);
    if asked("--list") && !asked("--ignored") {
        println!("{name}: test");
    }
    asked("--list")
}
