//! schemas/v1/NAME.args.json and schemas/v1/NAME.result.json, from the modules' types.

use og_common::base::CONTRACT;

use crate::build::modules;
use crate::shell::{Result, cargo, output, root, run, target};

/// The folder of the schemas, named after the version of the contract; those of an earlier version stay beside it as they were.
pub fn folder() -> String {
    format!("schemas/v{CONTRACT}")
}

/// Writes the schemas, or with `check` says which of the committed ones are not what the types give.
pub fn run_all(check: bool) -> Result {
    build()?;
    write_schemas(check)
}

/// Builds the programs that tell their schemas.
pub fn build() -> Result {
    let mut build = cargo();
    build.args(["build", "--quiet"]);
    for name in modules() {
        build.args(["--package", name]);
    }
    run(&mut build)
}

/// The same with the programs that are built already.
pub fn write_schemas(check: bool) -> Result {
    let folder = folder();
    let place = root().join(&folder);
    std::fs::create_dir_all(&place).map_err(|e| format!("cannot make {}: {e}", place.display()))?;
    let mut stale = Vec::new();
    for name in modules() {
        for which in ["args", "result"] {
            let program = target().join("debug").join(name);
            let text = output(std::process::Command::new(program).args(["--schema", which]))?;
            let schema: serde_json::Value =
                serde_json::from_str(&text).map_err(|e| format!("{name} --schema {which}: {e}"))?;
            jsonschema::meta::validate(&schema).map_err(|e| format!("{name} --schema {which}: {e}"))?;
            let file = place.join(format!("{name}.{which}.json"));
            if std::fs::read_to_string(&file).is_ok_and(|old| old == text) {
                continue;
            }
            if check {
                stale.push(format!("{folder}/{name}.{which}.json"));
            } else {
                std::fs::write(&file, text).map_err(|e| format!("cannot write {}: {e}", file.display()))?;
            }
        }
    }
    if stale.is_empty() {
        return Ok(());
    }
    Err(format!("{} differ from the types; run: cargo xtask schemas", stale.join(", ")))
}
