//! Lets each call of a program die once, in the middle of its work: stand-ins for the programs run the real ones under
//! strace, which kills them as they are about to change something.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use og_lab::KillPoints;

use crate::cluster::Result;

/// A stand-in; those calls die that `OG_KILLS` chooses. Two calls are the same when program, node and arguments are; the owner of a lock is another in each run.
/// Whatever writes a file dies as it would put the new one in its place, the rest after it has started a third program.
const STAND_IN: &str = r#"#!/bin/sh
name=${0##*/}
args=$(cat)
key=$(printf '%s' "$name $(hostname) $args" | sed 's/"owner": *"[^"]*"//' | sha256sum | cut -c1-16)
head=${key%????????????}
if [ -e "$DEATHS/$key" ] || [ $((0x$head % $EVERY)) != $FIRST ]; then
    printf '%s' "$args" | "$REAL/$name" "$@"
    exit
fi
case $name in
og_build | og_node_state | og_slot) call=pidfd_open when=3 ;;
*) call=rename,renameat,renameat2 when=1 ;;
esac
printf '%s' "$args" | strace -qq -o /dev/null -e "trace=$call" -e "inject=$call:signal=SIGKILL:when=$when" "$REAL/$name" "$@"
status=$?
if [ "$status" = 137 ]; then echo "$name" > "$DEATHS/$key"; fi
exit "$status"
"#;

/// It runs on the controller, changes nothing, and so has nothing to die of.
const PLANNER: &str = "og_workflow";

/// Stand-ins that let programs die, and what they have done so far.
#[derive(Debug)]
pub struct Deaths {
    programs: PathBuf,
    marks: PathBuf,
}

impl Deaths {
    /// Puts stand-ins for the programs of `real` into `folder`, which the nodes' user must be able to read.
    ///
    /// # Errors
    /// They cannot be written, or `OG_KILLS` chooses nothing.
    pub fn arrange(folder: &Path, real: &Path) -> Result<Self> {
        let (programs, marks) = (folder.join("programs"), folder.join("marks"));
        let points = KillPoints::from_env()?;
        let put = || -> std::io::Result<()> {
            fs::create_dir_all(&programs)?;
            fs::create_dir_all(&marks)?;
            // Every node's user notes the deaths.
            fs::set_permissions(&marks, fs::Permissions::from_mode(0o777))?;
            let (first, every) = points.first_and_every();
            let text = STAND_IN
                .replace("$FIRST", &first.to_string())
                .replace("$EVERY", &every.to_string())
                .replace("$DEATHS", &marks.display().to_string())
                .replace("$REAL", &real.display().to_string());
            for entry in fs::read_dir(real)? {
                let name = entry?.file_name();
                let file = programs.join(&name);
                if name == PLANNER {
                    fs::copy(real.join(name), &file)?;
                    continue;
                }
                fs::write(&file, &text)?;
                fs::set_permissions(&file, fs::Permissions::from_mode(0o755))?;
            }
            Ok(())
        };
        put().map_err(|e| format!("cannot put stand-ins into {}: {e}", folder.display()))?;
        Ok(Self { programs, marks })
    }

    /// The folder with the stand-ins.
    #[must_use]
    pub fn programs(&self) -> &Path {
        &self.programs
    }

    /// How many calls have died, and of which programs.
    ///
    /// # Errors
    /// The marks cannot be read.
    pub fn count_deaths(&self) -> Result<(usize, BTreeSet<String>)> {
        let read = || -> std::io::Result<Vec<String>> {
            fs::read_dir(&self.marks)?.map(|mark| fs::read_to_string(mark?.path())).collect()
        };
        let names = read().map_err(|e| format!("{}: {e}", self.marks.display()))?;
        Ok((names.len(), names.iter().map(|name| name.trim().to_owned()).collect()))
    }
}
