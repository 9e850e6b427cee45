//! Arguments and result.

use std::{borrow::Cow, collections::BTreeMap, path::PathBuf};

use og_common::standby_names::{SyncMethod, SyncNumber};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Arguments of og_guc.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Args {
    /// `present`: the parameters have these values. `absent`: they are not set, so that their defaults count.
    /// `restored`: the file is as `backup_file`, a copy of it; the server must not run. `query`: nothing changes; their values
    /// are returned.
    pub state: State,
    /// Names and values. Values are plain text, number or bool; quotes are put where the file needs them.
    /// With `absent` and `query` the values are not looked at.
    #[schemars(with = "BTreeMap<String, Scalar>")]
    pub parameters: Map<String, Value>,
    /// Names only, for `absent` and `query`. A `query` without names returns all that are set; `*` among the names of one adds
    /// these to the others.
    pub names: Vec<String>,
    /// An edit of `synchronous_standby_names` as a list of names, whatever form it has.
    pub synchronous_standbys: Option<Standbys>,
    /// Whether a running server is told to read the file when it changed.
    pub reload: ReloadPolicy,
    /// Keep the old file beside the new one when it changes.
    pub backup: bool,
    /// With `restored`: the absolute path of the copy on the node, such as the `backup_file` of an earlier result.
    pub backup_file: Option<PathBuf>,
    /// Do it even if commits of this primary then wait for standbys that do not stream, this standby then has less of a
    /// limit such as `max_connections` than its primary, a stopped server would not start with it, the copy is
    /// another node's or changes for what commits wait, the server would start without it, or a switchover is under way.
    pub force: bool,
    /// Application names of standbys that will stream by then; counts in check mode alone, where the steps before this one
    /// built none.
    pub foreseen_standbys: Vec<String>,
}

/// What is wanted of the parameters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// They have these values.
    #[default]
    Present,
    /// They are not set.
    Absent,
    /// The file is as a copy of it.
    Restored,
    /// Nothing changes.
    Query,
}

/// Whether to reload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReloadPolicy {
    /// When the file changed and the server runs.
    #[default]
    Auto,
    /// Not at all.
    Never,
}

/// An edit of `synchronous_standby_names`.
///
/// The number never exceeds the members left, and is never less than one; when the last member goes the value becomes
/// empty and no commit waits. An unset value counts as `*`, any standby, as does initdb's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Standbys {
    /// `any`: any `num` of them. `first`: the first `num`, in this order, of those that stream. `keep`: as it is;
    /// a value that was empty becomes `any`.
    pub method: MethodWish,
    /// How many confirm a commit: a number, `keep`, or `majority`, which with the primary itself is more than half of
    /// the primary and the listed standbys (1 of 1 or 2, 2 of 3 or 4).
    pub num: NumberWish,
    /// Names to be listed, put at the end. `*` already has everybody and stays, unless `method` is `any` or `first`.
    pub add: Vec<String>,
    /// Names not to be listed.
    pub remove: Vec<String>,
}

/// The method wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MethodWish {
    /// Any of them.
    Any,
    /// The first ones.
    First,
    /// As it is.
    #[default]
    Keep,
}

impl From<MethodWish> for Option<SyncMethod> {
    fn from(wish: MethodWish) -> Self {
        match wish {
            MethodWish::Any => Some(SyncMethod::Any),
            MethodWish::First => Some(SyncMethod::First),
            MethodWish::Keep => None,
        }
    }
}

/// The number wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum NumberWish {
    /// This many.
    Exactly(u32),
    /// By a rule.
    Word(NumberWord),
}

/// The number by a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NumberWord {
    /// More than half of the primary and the standbys.
    Majority,
    /// As it is.
    Keep,
}

impl Default for NumberWish {
    fn default() -> Self {
        Self::Word(NumberWord::Keep)
    }
}

impl Serialize for NumberWish {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Exactly(number) => serializer.serialize_u32(*number),
            Self::Word(NumberWord::Majority) => serializer.serialize_str("majority"),
            Self::Word(NumberWord::Keep) => serializer.serialize_str("keep"),
        }
    }
}

impl JsonSchema for NumberWish {
    fn schema_name() -> Cow<'static, str> {
        "NumberWish".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "anyOf": [
                { "type": "integer", "minimum": 1, "maximum": 1000 },
                { "type": "string", "enum": ["majority", "keep"] }
            ]
        })
    }
}

impl From<NumberWish> for SyncNumber {
    fn from(wish: NumberWish) -> Self {
        match wish {
            NumberWish::Exactly(number) => Self::Exactly(number),
            NumberWish::Word(NumberWord::Majority) => Self::Majority,
            NumberWish::Word(NumberWord::Keep) => Self::Keep,
        }
    }
}

/// The schema of one value.
pub struct Scalar;

impl JsonSchema for Scalar {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Value".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["string", "number", "boolean"] })
    }
}

/// Result of og_guc.
#[derive(Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Output {
    /// Value in the file before the call of each parameter the call names; null where it was not set. Secrets, such as
    /// `password=…` in a value or what is named so, are masked, here as in actions and diff.
    pub before: BTreeMap<String, Option<String>>,
    /// Value in the file after the call, or in check mode what it would be; null where it is not set.
    pub after: BTreeMap<String, Option<String>>,
    /// Parameters whose value in the file counts only after a restart: from the server where it runs, else as known
    /// of openGauss.
    pub restart_required: Vec<String>,
    /// Parameters whose value in the file is not yet the one the running server works with.
    pub pending: Vec<String>,
    /// With `query` and `names`: what the running server works with, of each parameter that is named by its own name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub running: BTreeMap<String, String>,
    /// The running server was seen to take the changed file.
    pub reloaded: bool,
}
