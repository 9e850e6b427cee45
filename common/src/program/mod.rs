//! The protocol of every module: one JSON object of arguments in, one JSON object out.
//!
//! A module is a type that implements [`Module`]; its `main.rs` calls [`main`] and nothing else. Everything that is
//! the same for all of them is here, once: taking in and checking arguments, check mode, diff, the result and its
//! schemas, time limits, signals, panics and the exit status.

mod command;
mod hosts;
mod input;
mod intake;
mod result;
mod run;
mod runtime;
mod schema;
mod user;

use schemars::JsonSchema;
use serde::{Serialize, de::DeserializeOwned};

pub use command::command;
pub use input::{CallArguments, take_in};
pub use intake::nearest;
pub use result::error_result;
pub use run::main;
pub use schema::{args_schema, result_schema};

use crate::base::{Call, Error, Report};

/// What a program of the suite is made of.
pub trait Module {
    /// The program's name, such as `og_hba`.
    const NAME: &'static str;
    /// One line on what it is for.
    const ABOUT: &'static str;
    /// Seconds a whole call may take unless `timeout` says otherwise; 0 is no limit.
    const TIMEOUT: u64;
    /// Calls to learn from; the tests run their arguments through the intake.
    const EXAMPLES: &'static [Example];
    /// What holds between arguments, beyond the type of each.
    const RULES: &'static [ArgRule] = &[];
    /// What the program prints for a person instead of the one JSON object.
    const VIEWS: &'static [View] = &[];
    /// Files that a call writes beside its result, for other programs.
    const EXPORTS: &'static [Export<Self::Output>] = &[];
    /// Keys of the result that another program needs as they are, and which are therefore written with the secrets in them.
    const PASSED_ON: &'static [&'static str] = &[];
    /// Arguments that hold many bytes and no text: they are searched for no secrets, and no result repeats them.
    const BULK: &'static [&'static str] = &[];
    /// Whether it acts on the machine itself, as root, and never becomes the node's user.
    const NEEDS_ROOT: bool = false;
    /// The module's own arguments. Every field has a doc comment, which is its documentation everywhere.
    type Args: DeserializeOwned + JsonSchema;
    /// The module's own keys of the result.
    type Output: Serialize + JsonSchema + 'static;

    /// The file whose owner the call acts as when run by root, `os_user` is not given, and there is no `data_dir`.
    fn anchor(_args: &Self::Args) -> Option<&std::path::Path> {
        None
    }

    /// Reads, plans and, unless `call.check`, applies.
    async fn run(call: &Call, args: Self::Args) -> Result<Report<Self::Output>, Error>;
}

/// A call to learn from.
#[derive(Clone, Copy, Debug)]
pub struct Example {
    /// A sentence that says what it does.
    pub title: &'static str,
    /// The JSON arguments.
    pub args: &'static str,
}

/// A flag of a module's own, with a value behind it, mostly a file: the text made of it goes to standard output, or an error to
/// standard error with exit status 1. No arguments are read.
#[derive(Clone, Copy, Debug)]
pub struct View {
    /// The flag without its dashes, such as `table`.
    pub flag: &'static str,
    /// What stands behind it, such as `FILE`.
    pub value_name: &'static str,
    /// What `--help` says of it.
    pub help: &'static str,
    /// Makes the text.
    pub render: fn(&std::path::Path) -> Result<String, Error>,
}

/// A flag of a module's own, with a file behind it that a call which did not fail writes beside its result: whole or not at all,
/// and readable for all.
#[derive(Debug)]
pub struct Export<O> {
    /// The flag without its dashes, such as `prometheus`.
    pub flag: &'static str,
    /// What `--help` says of it.
    pub help: &'static str,
    /// Makes the text from the module's own keys of the result.
    pub render: fn(&O) -> String,
}

/// What holds between arguments; enforced at intake and printed in the schema.
#[derive(Clone, Copy, Debug)]
pub enum ArgRule {
    /// At most one of these may be given.
    Exclusive(&'static [&'static str]),
    /// At least one of these must be given.
    AnyOf(&'static [&'static str]),
    /// All of these, or none.
    Together(&'static [&'static str]),
    /// When `key` is `value`, all of `needs` must be given.
    RequiredIf {
        /// The argument looked at.
        key: &'static str,
        /// Its value; the argument's default counts when it is not given.
        value: &'static str,
        /// What must be given then.
        needs: &'static [&'static str],
    },
    /// These arguments mean something only when `key` is one of `values`.
    OnlyIf {
        /// The argument looked at.
        key: &'static str,
        /// The values with which `allows` may be given; the argument's default counts when it is not given.
        values: &'static [&'static str],
        /// The arguments that may be given only then.
        allows: &'static [&'static str],
    },
}
