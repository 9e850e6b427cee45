//! The table of a probe: one row, in the database postgres, which each commit changes. What is not proved by its comment to be a
//! probe's is left alone.

use std::time::Duration;

use og_common::gauss::ServerNode;
use og_common::protocol::{Call, Error};

/// The table.
pub const TABLE: &str = "public.og_probe";
/// The comment by which it is known for a probe's.
const MARK: &str =
    "the commits of a probe of opengauss-node; nothing of it is needed when no probe is at work";
/// How long the server may take to drop it.
const LIMIT: Duration = Duration::from_secs(10);

/// Whether the server is a standby, `t` or `f`.
pub const IS_STANDBY: &str = "select case when pg_is_in_recovery() then 't' else 'f' end";
/// Changes the row; returns how many rows that were.
pub const COMMIT: &str =
    "with changed as (update public.og_probe set n = n + 1 returning n) select count(*) from changed";

/// Whose a table of this name is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// There is none.
    Nobodys,
    /// A probe's.
    Own,
    /// Somebody else's.
    Others,
}

impl Whose {
    /// Reads what [`owner_statement`] returns.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        match text {
            "none" => Self::Nobodys,
            "own" => Self::Own,
            _ => Self::Others,
        }
    }
}

/// Returns the statement that tells whose a table of this name is.
#[must_use]
pub fn owner_statement() -> String {
    format!(
        "select case when count(*) = 0 then 'none' \
         when bool_and(coalesce(obj_description(c.oid, 'pg_class'), '') = '{MARK}') then 'own' else 'other' end \
         from pg_class c join pg_namespace n on n.oid = c.relnamespace where n.nspname = 'public' and c.relname = 'og_probe'"
    )
}

/// Returns the statements that make the table; a table that is there has its comment, or was made by somebody else. The last one
/// returns a row.
#[must_use]
pub fn create_statements() -> String {
    format!(
        "begin; create table {TABLE} (n bigint not null); comment on table {TABLE} is '{MARK}'; \
         insert into {TABLE} values (0); commit; select 'made'"
    )
}

/// Drops the table, where the server is a primary and it is a probe's; returns whether it did.
///
/// # Errors
/// As [`ServerNode::sql`].
pub async fn drop_own(call: &Call, node: &ServerNode) -> Result<bool, Error> {
    let first = |rows: Vec<Vec<String>>| rows.into_iter().flatten().next().unwrap_or_default();
    if first(node.sql_within(call, IS_STANDBY, LIMIT).await?) != "f"
        || Whose::parse(&first(node.sql_within(call, &owner_statement(), LIMIT).await?)) != Whose::Own
    {
        return Ok(false);
    }
    // It waits for no standby: there may be none that answers.
    let statement = format!("set synchronous_commit = local; drop table {TABLE}");
    node.sql_within(call, &statement, LIMIT).await?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_proved_to_be_a_probes_is_anothers() {
        assert_eq!(
            ["none", "own", "other", ""].map(Whose::parse),
            [Whose::Nobodys, Whose::Own, Whose::Others, Whose::Others]
        );
        // The comment that is looked for is the one that is written.
        assert!(create_statements().contains(&format!("is '{MARK}'")));
        assert!(owner_statement().contains(&format!("= '{MARK}'")));
    }
}
