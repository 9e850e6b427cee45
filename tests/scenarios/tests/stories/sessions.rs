//! Checkpoints and the sessions of clients, on servers: og_checkpoint and og_session, on a primary under load and on its
//! standby. And the samples of their results.

use og_lab::Role;
use og_scenarios::cluster::{Cluster, Result};
use serde_json::{Value, json};

use super::{has_sample_keys, require_success, under_load};
use crate::Story;

pub const STORY: Story = Story {
    name: "sessions",
    nodes: &[("n1", Role::Primary), ("n2", Role::Standby)],
    always: 2,
    scenarios: &[
        ("checkpoints leave few dirty pages", checkpoints),
        ("a long transaction is told, waited for and ended, and nothing else", long_transaction),
    ],
};

fn checkpoints(c: &Cluster) -> Result {
    c.sql(
        "n1",
        "create table pages as select g as n, repeat('x', 500) as x from generate_series(1, 20000) g",
    )?;
    let asked = require_success(c.module("n1", "og_checkpoint", json!({"state": "query"}))?)?;
    let args = || json!({"max_dirty_pages": 100});
    let mut foreseen = args();
    foreseen["check_mode"] = json!(true);
    let foreseen = require_success(c.module("n1", "og_checkpoint", foreseen)?)?;
    let made = require_success(c.module("n1", "og_checkpoint", args())?)?;
    if asked["changed"] != false || foreseen["changed"] != true || made["changed"] != true {
        return Err(format!("asked {asked}, foreseen {foreseen}, made {made}"));
    }
    if made["checkpoint_lsn"] == asked["checkpoint_lsn"]
        || made["redo_bytes"].as_u64() >= asked["redo_bytes"].as_u64()
    {
        return Err(format!("no checkpoint was made: {asked}, then {made}"));
    }
    let again = require_success(c.module("n1", "og_checkpoint", args())?)?;
    let counts = c.lab().engine().is_opengauss();
    let judged = made["dirty_pages_after"].as_u64().is_some_and(|pages| pages <= 100);
    // PostgreSQL does not count them: one checkpoint each time, and a warning.
    let warned = made["warnings"].as_array().is_some_and(|told| !told.is_empty());
    if judged != counts || warned == counts || again["changed"] == counts {
        return Err(format!("made {made}, again {again}"));
    }
    require_success(c.module("n2", "og_checkpoint", json!({}))?)?;
    has_sample_keys("og_checkpoint", vec![asked, made])
}

fn long_transaction(c: &Cluster) -> Result {
    let session = |args: Value| c.module("n1", "og_session", args);
    // One that no session has: it is told and stays. PostgreSQL allows none by default.
    if c.lab().engine().is_opengauss() {
        c.sql("n1", "begin; insert into pages values (0, 'x'); prepare transaction 'order 4711'")?;
    }
    let (told, seen) = under_load(c, "n1", || {
        std::thread::scope(|scope| {
            let client = scope.spawn(|| c.sql("n1", "begin; select 'ours', pg_sleep(600)"));
            let told = c.wait_until("a long transaction", || {
                let told = require_success(session(json!({"min_age": 2}))?)?;
                let found = told["transactions"].as_array().is_some_and(|all| all.len() == 1);
                Ok(if found { Ok(told) } else { Err(told.to_string()) })
            });
            let ended = told.and_then(|told| {
                let absent = |method: &str, check: bool, timeout: u64| {
                    session(json!({"state": "absent", "min_age": 2, "method": method, "check_mode": check, "timeout": timeout}))
                };
                let waited = absent("wait", false, 1)?;
                if waited["error"]["kind"] != "timeout" || waited["error"]["reason"] != "long_transactions" {
                    return Err(format!("it was not waited for: {waited}"));
                }
                let foreseen = require_success(absent("terminate", true, 60)?)?;
                let ended = require_success(absent("terminate", false, 60)?)?;
                if foreseen["actions"] != ended["actions"] || ended["changed"] != true {
                    return Err(format!("foreseen {foreseen}, done {ended}"));
                }
                let again = require_success(absent("terminate", false, 60)?)?;
                if again["changed"] == false { Ok(vec![told, ended]) } else { Err(format!("again {again}")) }
            });
            if ended.is_err() {
                // Nobody else ends the client, for which the scope waits.
                session(json!({"state": "absent", "min_age": 0, "method": "terminate"}))?;
            }
            match client.join() {
                Ok(Err(_)) => ended,
                other => Err(format!("the client was not cut off: {other:?}")),
            }
        })
    })?;
    if c.lab().engine().is_opengauss() {
        c.sql("n1", "rollback prepared 'order 4711'")?;
    }
    c.wait_for_rows(&seen, &["n1", "n2"])?;
    // The standby streams as before: no WAL sender was ended.
    c.wait_for_state("n2", "standby", "normal")?;
    if c.lab().engine().is_opengauss() { has_sample_keys("og_session", told) } else { Ok(()) }
}
