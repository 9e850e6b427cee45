//! The name of the node and those of its tablespaces' directories, which must be the same.

use og_common::conf::ConfFile;
use og_common::gauss::tablespaces::{
    Damage, NODE_NAME, Tablespaces, directories_of, has_directory_of_another_name,
};
use og_common::gauss::{ConfigFile, ConfigPlan, EditPolicy, Guard, NewFile, ServerNode};
use og_common::protocol::{Call, Error, ErrorKind};

use crate::plan::rename_action;

/// Gives the node this name, with which its server starts next.
///
/// # Errors
/// As [`ConfigFile::begin`] and `Transaction::commit`.
pub async fn set_node_name(call: &Call, node: &ServerNode, name: &str) -> Result<(), Error> {
    let actions = [rename_action(name)];
    write(call, node, name, &actions).await
}

async fn write(call: &Call, node: &ServerNode, name: &str, actions: &[String]) -> Result<(), Error> {
    let file = ConfigFile::new_conf(node, EditPolicy { reload: false, guard: Guard::HeldByCaller });
    let plan = async |text: Option<Vec<u8>>| {
        let old = text.unwrap_or_default();
        let mut conf: ConfFile = file.parse(&old)?;
        conf.set(NODE_NAME, name)?;
        Ok(Renamed { new: conf.to_bytes(), old })
    };
    let (transaction, renamed) = file.begin(call, || file.read().map(Some), plan).await?;
    if renamed.is_empty() {
        return Ok(());
    }
    let (old, new, names) = (Some(renamed.old.as_slice()), renamed.new.as_slice(), [NODE_NAME.to_owned()]);
    transaction.commit(call, NewFile { old, new, names: &names, actions, backup: false }).await.map(drop)
}

/// The file before and after.
struct Renamed {
    old: Vec<u8>,
    new: Vec<u8>,
}

impl ConfigPlan for Renamed {
    fn text(&self) -> Option<&[u8]> {
        Some(&self.old)
    }

    fn is_empty(&self) -> bool {
        self.old == self.new
    }
}

/// Gives the node its old name back after a build that copied nothing: its tablespaces are still named after it.
///
/// # Errors
/// As [`set_node_name`].
pub async fn restore_node_name(
    call: &Call,
    node: &ServerNode,
    old: Option<&str>,
    new: &str,
) -> Result<(), Error> {
    let Some(old) = old else { return Ok(()) };
    if node.build().is_some() {
        return Ok(());
    }
    let names = node.tablespaces(call).await.map(|found| found.names).unwrap_or_default();
    if names.iter().any(|name| name == new) || !names.iter().any(|name| name == old) {
        return Ok(());
    }
    write(call, node, old, &[format!("set {NODE_NAME} back to {old}")]).await
}

/// Looks at the tablespaces after a build. After a full one what the node had under its earlier names goes: nobody sees it
/// any more, and the server would not know it for a leftover. `source`: the name of the server that was copied from.
/// Returns what was done.
///
/// # Errors
/// `command_failed` when the server does not see what was copied.
pub async fn verify(
    call: &Call,
    node: &ServerNode,
    full: bool,
    before: &[String],
    source: Option<&str>,
) -> Result<Vec<String>, Error> {
    let Some(found) = node.tablespaces(call).await else { return Ok(Vec::new()) };
    let own = found.running.clone().or_else(|| found.configured.clone()).unwrap_or_default();
    let other = found.names.iter().find(|name| **name != own);
    // gs_ctl makes an empty directory of the node's own name beside the one that it copies.
    let beside = full && source != Some(own.as_str()) && has_directory_of_another_name(&node.data_dir, &own);
    if let Some(other) = other.filter(|_| beside || found.damage == Damage::NotSeen) {
        let detail = format!(
            "the node was built and streams, and does not see its tablespaces: their directories are named after {other}, \
             and its {NODE_NAME} is {own}"
        );
        return Err(Error::new(ErrorKind::CommandFailed, detail)
            .hint(format!("set {NODE_NAME} to {other} (og_guc), and build the node again with mode: full")));
    }
    let mut done = Vec::new();
    for name in before.iter().filter(|name| full && **name != own) {
        for path in directories_of(&node.data_dir, name) {
            std::fs::remove_dir_all(&path).map_err(|e| Error::io("remove the leftover", &path, &e))?;
            done.push(format!("remove {}, a leftover of the node's earlier name", path.display()));
            call.record_action(done.last().cloned().unwrap_or_default());
        }
    }
    Ok(done)
}

/// The names under which the node itself has had its tablespaces.
#[must_use]
pub fn earlier_names(found: Option<&Tablespaces>, configured: Option<&str>) -> Vec<String> {
    let mut names: Vec<String> = found.iter().filter_map(|found| found.running.clone()).collect();
    names.extend(configured.map(str::to_owned));
    names.sort();
    names.dedup();
    names
}
