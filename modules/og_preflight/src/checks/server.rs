//! Checks of the server: its programs and files, its state, and what else acts on it.

use og_common::conf::is_same_value;
use og_common::gauss::managed::{Act, Manager, Means};
use og_common::gauss::tablespaces::Damage;
use og_common::gauss::{DbState, NodeContent, Role};
use og_common::protocol::Bytes;
use og_common::standby_names::StandbyNames;

use super::cluster::{has_port, leads_to};
use super::{Check, Context, FixableBy, Judge, Severity, why_unknown};
use crate::args::Purpose::{self, Build, Deploy, Drop, Expand, Failover, Restart, Switchover};
use crate::facts::settings::bytes;
use crate::facts::{ChannelFacts, LocalEnd, SourceAnswer};

const MIB: u64 = 1 << 20;

/// WAL senders and slots that are left to tools.
const RESERVED_SENDERS_AND_SLOTS: u64 = 2;
/// Senders that a build takes: one for the data, one for the WAL that is written meanwhile.
const SENDERS_PER_BUILD: u64 = 2;
/// The most that a standby may be behind when it is to take over.
const MAX_LAG: Bytes = Bytes::new(128 * MIB);
/// WAL segments that wait for the archive.
const UNARCHIVED_WARNING: u64 = 16;
const UNARCHIVED_ERROR: u64 = 128;

/// The checks.
pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "programs.release",
        severity: Severity::Error,
        what: "the server program and its release",
        threshold: "GAUSSHOME is known, gaussdb is there and tells its release, which is the wanted one",
        why: "A node of another release cannot follow its primary.",
        fix: "install the cluster's release, and give env_file (the file that sets GAUSSHOME) or gauss_home",
        fixable_by: FixableBy::You,
        purposes: &[],
        run: programs_release,
    },
    Check {
        id: "programs.libraries",
        severity: Severity::Error,
        what: "libraries of the server program",
        threshold: "ldd finds all of them",
        why: "The server does not start without libaio, libreadline or libnsl, which minimal systems lack.",
        fix: "install the packages that bring the missing libraries",
        fixable_by: FixableBy::You,
        purposes: &[],
        run: programs_libraries,
    },
    Check {
        id: "conf.syntax",
        severity: Severity::Error,
        what: "postgresql.conf",
        threshold: "readable for the database's user, and understood as a whole",
        why: "With one bad line a reload takes nothing of the file, in silence, and the next start fails.",
        fix: "correct the line, or put a # before it",
        fixable_by: FixableBy::You,
        purposes: &[],
        run: conf_syntax,
    },
    Check {
        id: "conf.include",
        severity: Severity::Error,
        what: "include lines of postgresql.conf",
        threshold: "none where a node is built",
        why: "gs_ctl build fails on a file with an include line.",
        fix: "put what the included file sets into postgresql.conf itself",
        fixable_by: FixableBy::You,
        purposes: &[],
        run: conf_include,
    },
    Check {
        id: "hba.syntax",
        severity: Severity::Error,
        what: "pg_hba.conf",
        threshold: "readable for the database's user, and every line understood",
        why: "With one bad line a reload takes nothing of the file, in silence, and the next start fails.",
        fix: "correct the line (og_hba with state: query shows all)",
        fixable_by: FixableBy::Configure,
        purposes: &[],
        run: hba_syntax,
    },
    Check {
        id: "hba.own_address",
        severity: Severity::Error,
        what: "the node's own address in its pg_hba.conf",
        threshold: "let in",
        why: "gs_ctl query connects through it: without the line it sees no senders and no receiver.",
        fix: "add a line for the node's own address (og_hba)",
        fixable_by: FixableBy::Configure,
        purposes: &[],
        run: hba_own_address,
    },
    Check {
        id: "hba.clients",
        severity: Severity::Error,
        what: "the other nodes in pg_hba.conf",
        threshold: "a line that is no reject covers the address (error on the primary, and on a standby that becomes primary)",
        why: "A standby that is not let in cannot be built and does not follow.",
        fix: "add a line for the address (og_hba)",
        fixable_by: FixableBy::Configure,
        purposes: &[],
        run: hba_clients,
    },
    Check {
        id: "channels.local",
        severity: Severity::Error,
        what: "the node's own end of its replication channels",
        threshold: "an address of this machine",
        why: "A server takes another one at a reload, and dies of it at its next start.",
        fix: "correct localhost of the channel (og_replconninfo)",
        fixable_by: FixableBy::Configure,
        purposes: &[],
        run: channels_local,
    },
    Check {
        id: "channels.reached",
        severity: Severity::Error,
        what: "connections to the other nodes",
        threshold: "their replication ports take a connection from here",
        why: "A firewall between two standbys is noticed when one of them becomes primary.",
        fix: "open the port between the nodes (firewalld, security groups), or start the server there",
        fixable_by: FixableBy::You,
        purposes: &[],
        run: channels_reached,
    },
    Check {
        id: "channels.source",
        severity: Severity::Error,
        what: "what the source of a build answers",
        threshold: "it lets this node in, and has WAL senders left",
        why: "gs_ctl build fails with words that name another cause: Forbid remote connection, timeout.",
        fix: "add this node's address to the source's pg_hba.conf and channels, or raise its max_wal_senders",
        fixable_by: FixableBy::Configure,
        purposes: &[Expand, Build],
        run: channels_source,
    },
    Check {
        id: "settings.senders",
        severity: Severity::Error,
        what: "max_wal_senders",
        threshold: "one for each standby, two for each build, and two in reserve",
        why: "The server says only in its own log that it has none left, and a build or a standby waits for ever.",
        fix: "set max_wal_senders (og_guc) and restart the server",
        fixable_by: FixableBy::Configure,
        purposes: &[],
        run: settings_senders,
    },
    Check {
        id: "settings.slots",
        severity: Severity::Error,
        what: "max_replication_slots",
        threshold: "one for each standby and each slot of others, and two in reserve",
        why: "A standby without a slot loses its place when the primary removes WAL.",
        fix: "set max_replication_slots (og_guc) and restart the server, or drop unused slots (og_slot)",
        fixable_by: FixableBy::Configure,
        purposes: &[],
        run: settings_slots,
    },
    Check {
        id: "settings.replication",
        severity: Severity::Error,
        what: "wal_level, hot_standby, enable_stream_replication",
        threshold: "wal_level hot_standby or logical, the others on",
        why: "With others a standby cannot follow, or takes no queries.",
        fix: "set them (og_guc) and restart the server",
        fixable_by: FixableBy::Configure,
        purposes: &[],
        run: settings_replication,
    },
    Check {
        id: "settings.page_writes",
        severity: Severity::Error,
        what: "full_page_writes, enable_incremental_checkpoint, enable_double_write",
        threshold: "full_page_writes on, or both others",
        why: "With neither a page that was half written in a power failure cannot be restored.",
        fix: "set enable_incremental_checkpoint and enable_double_write to on (og_guc) and restart the server",
        fixable_by: FixableBy::Configure,
        purposes: &[],
        run: settings_page_writes,
    },
    Check {
        id: "settings.pending_restart",
        severity: Severity::Warning,
        what: "parameters that count after a restart",
        threshold: "the running server has what postgresql.conf sets",
        why: "The next start, perhaps of a failover, brings the change that was forgotten.",
        fix: "restart the server at a time of your choice, or set the parameter back (og_guc)",
        fixable_by: FixableBy::Repair,
        purposes: &[],
        run: settings_pending_restart,
    },
    Check {
        id: "settings.initial_password",
        severity: Severity::Warning,
        what: "modify_initial_password",
        threshold: "off, or the password has been changed",
        why: "While it is on the initial user can do nothing but change its password.",
        fix: "log in with gsql and change the password: ALTER ROLE … IDENTIFIED BY … REPLACE …",
        fixable_by: FixableBy::You,
        purposes: &[],
        run: settings_initial_password,
    },
    Check {
        id: "names.tablespaces",
        severity: Severity::Error,
        what: "pgxc_node_name and the directories of tablespaces",
        threshold: "the directories are named after the server's pgxc_node_name, now and after the next start",
        why: "A server under another name sees nothing of what is in tablespaces, without an error.",
        fix: "rebuild a standby in full (og_build with mode full); on a primary set pgxc_node_name back",
        fixable_by: FixableBy::Repair,
        purposes: &[],
        run: names_tablespaces,
    },
    Check {
        id: "sync.now",
        severity: Severity::Error,
        what: "synchronous_standby_names",
        threshold: "the standbys that stream can confirm commits",
        why: "Commits on the primary hang until enough of the named standbys stream.",
        fix: "bring the standbys back, or take them off synchronous_standby_names (og_guc)",
        fixable_by: FixableBy::Configure,
        purposes: &[],
        run: sync_now,
    },
    Check {
        id: "sync.after",
        severity: Severity::Error,
        what: "synchronous_standby_names after the change",
        threshold: "the standbys of the new cluster can confirm commits",
        why: "Commits would hang as soon as the change is made.",
        fix: "change synchronous_standby_names together with the members (og_guc), or leave out fewer nodes",
        fixable_by: FixableBy::Configure,
        purposes: &[],
        run: sync_after,
    },
    Check {
        id: "server.state",
        severity: Severity::Error,
        what: "the state of the server",
        threshold: "it runs, answers, and is Normal",
        why: "A change of a cluster with a member that is ill may leave no node that has all data.",
        fix: "start the server (og_node_state), or rebuild the standby (og_build); look into its log first",
        fixable_by: FixableBy::Repair,
        purposes: &[],
        run: server_state,
    },
    Check {
        id: "server.role",
        severity: Severity::Error,
        what: "the role of the node that the change is for",
        threshold: "a standby, to become primary; to be rebuilt no primary, nor one that last ran as primary",
        why: "A cascade standby cannot take over; a primary that is rebuilt loses its data.",
        fix: "name another node, or change its role first",
        fixable_by: FixableBy::You,
        purposes: &[Switchover, Failover, Build],
        run: server_role,
    },
    Check {
        id: "server.lag",
        severity: Severity::Error,
        what: "how far the standby is behind",
        threshold: "128 MiB (error for a switchover, else a warning)",
        why: "A switchover waits until all is replayed, and is given up after its time limit.",
        fix: "wait until it has caught up (og_node_state with wait: {max_lag_bytes: …})",
        fixable_by: FixableBy::You,
        purposes: &[],
        run: server_lag,
    },
    Check {
        id: "server.replay_paused",
        severity: Severity::Error,
        what: "replay",
        threshold: "not paused",
        why: "A standby whose replay is paused does not take over.",
        fix: "select pg_xlog_replay_resume()",
        fixable_by: FixableBy::You,
        purposes: &[],
        run: server_replay_paused,
    },
    Check {
        id: "server.backup",
        severity: Severity::Error,
        what: "backups in exclusive mode",
        threshold: "none",
        why: "A stop of the server waits for it, and the server does not start again by itself with its backup_label.",
        fix: "wait for the backup, or end it: select pg_stop_backup()",
        fixable_by: FixableBy::You,
        purposes: &[],
        run: server_backup,
    },
    Check {
        id: "server.archiving",
        severity: Severity::Error,
        what: "WAL that waits for the archive",
        threshold: "below 16 segments (warning), below 128 (error)",
        why: "What is not archived is kept, until the disk is full; and it is missing in the archive after a failover.",
        fix: "look into the server's log for why archive_command fails",
        fixable_by: FixableBy::You,
        purposes: &[],
        run: server_archiving,
    },
    Check {
        id: "transactions.long",
        severity: Severity::Warning,
        what: "long transactions",
        threshold: "none of more than 15 s",
        why: "A switchover or a restart ends them.",
        fix: "wait for them, or end them: select pg_terminate_session(pid, sessionid)",
        fixable_by: FixableBy::You,
        purposes: &[Switchover, Restart, Drop],
        run: transactions_long,
    },
    Check {
        id: "transactions.idle",
        severity: Severity::Warning,
        what: "sessions idle in a transaction",
        threshold: "none",
        why: "They hold locks, and a switchover or a restart ends them.",
        fix: "end the sessions, or let the application commit",
        fixable_by: FixableBy::You,
        purposes: &[Switchover, Restart, Drop],
        run: transactions_idle,
    },
    Check {
        id: "transactions.prepared",
        severity: Severity::Warning,
        what: "prepared transactions",
        threshold: "none",
        why: "They hold locks and WAL until somebody ends them, on the new primary, too.",
        fix: "commit or roll them back: COMMIT PREPARED, ROLLBACK PREPARED",
        fixable_by: FixableBy::You,
        purposes: &[],
        run: transactions_prepared,
    },
    Check {
        id: "server.dirty_pages",
        severity: Severity::Info,
        what: "pages that a shutdown checkpoint would write",
        threshold: "few: the outage of a switchover or restart is that checkpoint",
        why: "A switchover's outage is the checkpoint at its beginning.",
        fix: "run CHECKPOINT right before the change, while writes go on",
        fixable_by: FixableBy::Repair,
        purposes: &[Switchover, Restart],
        run: server_dirty_pages,
    },
    Check {
        id: "slots.inactive",
        severity: Severity::Warning,
        what: "unused slots",
        threshold: "none",
        why: "Each keeps WAL until the disk is full.",
        fix: "bring its standby back, or drop it (og_slot with state: absent)",
        fixable_by: FixableBy::Repair,
        purposes: &[],
        run: slots_inactive,
    },
    Check {
        id: "slots.logical",
        severity: Severity::Warning,
        what: "logical slots",
        threshold: "none that are left over",
        why: "They do not go along with a switchover, and incremental backups fail on left ones.",
        fix: "drop it when its subscriber is gone (pg_drop_replication_slot)",
        fixable_by: FixableBy::You,
        purposes: &[],
        run: slots_logical,
    },
    Check {
        id: "managed.by",
        severity: Severity::Error,
        what: "who else is in charge of the server",
        threshold: "none, or the change goes through it: CM, DCF, DSS",
        why: "CM starts what was stopped, and gives roles itself; whoever acts by gs_ctl works against it.",
        fix: "use cm_ctl (or gs_ctl's own commands of DCF) for this change",
        fixable_by: FixableBy::You,
        purposes: &[],
        run: managed_by,
    },
    Check {
        id: "managed.paused",
        severity: Severity::Warning,
        what: "a pause or manual stop of CM",
        threshold: "neither",
        why: "While CM is paused it promotes no standby when the primary fails.",
        fix: "cm_ctl resume; cm_ctl start for what was stopped by hand",
        fixable_by: FixableBy::You,
        purposes: &[],
        run: managed_paused,
    },
    Check {
        id: "managed.watchers",
        severity: Severity::Warning,
        what: "other programs that move addresses or roles",
        threshold: "none, or they are told of the change",
        why: "MogHA or keepalived may act on what looks like a failure to them.",
        fix: "pause the program for the time of the change",
        fixable_by: FixableBy::You,
        purposes: &[],
        run: managed_watchers,
    },
    Check {
        id: "run.lock",
        severity: Severity::Error,
        what: "the cluster's lock",
        threshold: "free, or held for this change",
        why: "Two workflows at once leave neither's plan true.",
        fix: "wait for the other run to end (og_lock with state: query says who holds it)",
        fixable_by: FixableBy::You,
        purposes: &[],
        run: run_lock,
    },
    Check {
        id: "run.build",
        severity: Severity::Error,
        what: "builds of this node",
        threshold: "none under way, none that died",
        why: "A data directory that is being written by a build cannot be started, nor built once more.",
        fix: "wait for the build to end (og_build with state: query); build anew what died (og_build)",
        fixable_by: FixableBy::Repair,
        purposes: &[],
        run: run_build,
    },
    Check {
        id: "cluster.files",
        severity: Severity::Warning,
        what: "cluster_static_config and cluster_dynamic_config",
        threshold: "they name this node, its data directory, and its live role",
        why: "gs_om and CM start a node in the role of these files: an old primary comes back as primary.",
        fix: "bring them up to date (og_static_conf, or gs_om -t refreshconf)",
        fixable_by: FixableBy::Configure,
        purposes: &[],
        run: cluster_files,
    },
];

/// Whether there is a database that its own server has run or will run.
fn has_database(c: &Context<'_>) -> bool {
    c.facts.identity.content == NodeContent::Database
}

/// Whether the server answers; notes what that means for the check when it does not.
fn require_answer(c: &Context<'_>, j: &mut Judge) -> bool {
    if !c.facts.server.running {
        j.skip();
    } else if c.facts.activity.is_none() {
        j.unknown(why_unknown(c.facts, "activity"));
    } else {
        return true;
    }
    false
}

fn programs_release(c: &Context<'_>, j: &mut Judge) {
    if let Some(why) = c.facts.unknown.get("programs") {
        return j.unknown(why.clone());
    }
    match (&c.facts.programs.version, &c.wanted.version) {
        (None, _) => {
            let home = c.facts.programs.gauss_home.clone().unwrap_or_else(|| "not set".to_owned());
            let message = format!("no server program tells its release (GAUSSHOME is {home})");
            if c.facts.server.running {
                j.unknown(message);
            } else {
                j.error("", message, home).fix.push_str("; then check again");
            }
        }
        (Some(found), Some(wanted)) if found != wanted => {
            j.error("", format!("the release is {found}, and {wanted} is wanted"), found);
        }
        _ => {}
    }
}

fn programs_libraries(c: &Context<'_>, j: &mut Judge) {
    match &c.facts.programs.missing_libraries {
        None => j.unknown("ldd does not tell of the server program"),
        Some(missing) if !missing.is_empty() => {
            j.error("", format!("libraries are missing: {}", missing.join(", ")), missing.join(", "));
        }
        Some(_) => {}
    }
}

fn conf_syntax(c: &Context<'_>, j: &mut Judge) {
    if !c.facts.conf.exists {
        if has_database(c) {
            j.unknown(why_unknown(c.facts, "conf"));
        } else {
            j.skip();
        }
        return;
    }
    if let Some(first) = c.facts.conf.errors.first() {
        let count = c.facts.conf.errors.len();
        j.error(
            "postgresql.conf",
            format!("the server takes nothing of it: {first}"),
            format!("{count} bad lines"),
        );
    }
}

fn conf_include(c: &Context<'_>, j: &mut Judge) {
    if !c.facts.conf.exists {
        return j.skip();
    }
    if !c.facts.conf.includes.is_empty() {
        let files = c.facts.conf.includes.join(", ");
        let message = format!("it includes {files}, and gs_ctl build fails on that");
        if c.copies_here() {
            j.error("postgresql.conf", message, files);
        } else {
            j.warning("postgresql.conf", message, files);
        }
    }
}

fn hba_syntax(c: &Context<'_>, j: &mut Judge) {
    if !c.facts.hba.readable {
        if has_database(c) {
            j.unknown(why_unknown(c.facts, "hba"));
        } else {
            j.skip();
        }
        return;
    }
    if let Some(first) = c.facts.hba.errors.first() {
        let count = c.facts.hba.errors.len();
        j.error("pg_hba.conf", format!("the server refuses it: {first}"), format!("{count} bad lines"));
    }
}

fn hba_own_address(c: &Context<'_>, j: &mut Judge) {
    if !c.facts.hba.readable || c.facts.channels.is_empty() {
        return j.skip();
    }
    let own = |address: &String| c.facts.channels.iter().any(|channel| channel.local_host == *address);
    for admission in c.facts.hba.admissions.iter().filter(|admission| own(&admission.address)) {
        if admission.admitted == Some(false) {
            j.error(
                "pg_hba.conf",
                format!("no line covers {}, the node's own address", admission.address),
                "",
            );
        }
    }
}

fn hba_clients(c: &Context<'_>, j: &mut Judge) {
    if !c.facts.hba.readable {
        return j.skip();
    }
    let own = |address: &String| c.facts.channels.iter().any(|channel| channel.local_host == *address);
    let asked = |address: &String| c.wanted.clients.contains(address);
    let others: Vec<_> =
        c.facts.hba.admissions.iter().filter(|a| !own(&a.address) || asked(&a.address)).collect();
    if others.is_empty() {
        return j.skip();
    }
    for admission in others {
        let serves = c.facts.is_primary()
            || asked(&admission.address)
            || (c.purpose.moves_primary() && c.wanted.target);
        let line = "no line";
        let message = format!("no line covers {}, which is not let in for replication", admission.address);
        match admission.admitted {
            Some(false) if serves => {
                j.error("pg_hba.conf", message, line);
            }
            Some(false) => {
                j.warning("pg_hba.conf", message, line);
            }
            None => j.unknown(format!("only the server can tell whether {} is let in", admission.address)),
            Some(true) => {}
        }
    }
}

fn channels_local(c: &Context<'_>, j: &mut Judge) {
    if c.facts.channels.is_empty() {
        return j.skip();
    }
    for channel in &c.facts.channels {
        let subject = format!("replconninfo{}", channel.number);
        let host = &channel.local_host;
        match channel.local {
            LocalEnd::Here => {}
            LocalEnd::Elsewhere => {
                j.error(&subject, format!("its localhost {host} is no address of this machine"), host);
            }
            LocalEnd::NoAddress => {
                j.error(&subject, format!("its localhost {host} leads to no address"), host);
            }
            LocalEnd::Unknown => j.unknown(format!("the resolver did not answer for {host} in time")),
        }
    }
}

fn channels_reached(c: &Context<'_>, j: &mut Judge) {
    if c.facts.reached.is_empty() {
        return j.skip();
    }
    // A primary that is lost does not answer; neither does a node that is to go.
    let expected = matches!(c.purpose, Failover | Drop);
    for reached in &c.facts.reached {
        let Some(problem) = &reached.problem else { continue };
        let message = format!("{}:{} is not reached from here: {problem}", reached.host, reached.port);
        if expected {
            j.warning("", message, problem);
        } else {
            j.error("", message, problem);
        }
    }
}

fn channels_source(c: &Context<'_>, j: &mut Judge) {
    if c.facts.channels.is_empty() || !c.copies_here() {
        return j.skip();
    }
    let primary = c.other_primary();
    let is_source = |channel: &ChannelFacts| {
        primary
            .map(|primary| leads_to(&channel.remote_host, primary) && has_port(primary, channel.remote_port))
    };
    let let_in = c.facts.channels.iter().any(|channel| channel.source == SourceAnswer::LetIn);
    for channel in &c.facts.channels {
        // Where the primary is not known it is any of those that did not let the node in, unless one did.
        let is_source = is_source(channel).unwrap_or(!let_in);
        let source = format!("{}:{}", channel.remote_host, channel.remote_port);
        match &channel.source {
            SourceAnswer::LetIn => {}
            SourceAnswer::Refused(words) => {
                let subject = format!("replconninfo{}", channel.number);
                let message = format!("{source} refuses what a build asks: {words}");
                if is_source {
                    j.error(&subject, message, words);
                } else {
                    j.warning(&subject, message, words);
                }
            }
            // Whom the server receives from has let it in.
            _ if !is_source || c.facts.server.receiver.is_some() => {}
            SourceAnswer::NotAsked => j.unknown(format!("{source} was asked only for an expand or a build")),
            SourceAnswer::NoAnswer => j.unknown(format!("{source} did not answer as the source of a build")),
        }
    }
}

/// The standbys that stream from this node after the change, as far as that is told.
fn standbys(c: &Context<'_>) -> u64 {
    let named = c.wanted.standbys.len();
    let known = if named > 0 { named } else { c.facts.channels.len() };
    known as u64
}

fn settings_senders(c: &Context<'_>, j: &mut Judge) {
    if standbys(c) == 0 && c.wanted.senders.is_none() {
        return j.skip();
    }
    let Some(allowed) = c.number("max_wal_senders") else {
        return j.unknown("max_wal_senders is not set in postgresql.conf, and the server did not tell");
    };
    let least = c
        .wanted
        .senders
        .map_or_else(|| standbys(c) + u64::from(c.wanted.builds) * SENDERS_PER_BUILD, u64::from);
    let reserve = if c.wanted.senders.is_some() { 0 } else { RESERVED_SENDERS_AND_SLOTS };
    let message = format!("max_wal_senders is {allowed}, and {least} are needed, {reserve} more in reserve");
    judge_room(c, j, allowed, least, reserve, message);
}

/// Judges the number of senders or slots: fewer than the least are an error, and so is a lack of the reserve for the
/// changes that need it.
fn judge_room(c: &Context<'_>, j: &mut Judge, allowed: u64, least: u64, reserve: u64, message: String) {
    let serves = c.facts.is_primary() || (c.purpose.moves_primary() && c.wanted.target);
    let needs_reserve = serves && matches!(c.purpose, Expand | Build);
    if (allowed < least && serves) || (allowed < least + reserve && needs_reserve) {
        j.error("", message, allowed);
    } else if allowed < least + reserve {
        j.warning("", message, allowed);
    }
}

fn settings_slots(c: &Context<'_>, j: &mut Judge) {
    if standbys(c) == 0 && c.wanted.slots.is_none() {
        return j.skip();
    }
    let Some(allowed) = c.number("max_replication_slots") else {
        return j.unknown("max_replication_slots is not set in postgresql.conf, and the server did not tell");
    };
    let slots = c.facts.server.slots.as_deref().unwrap_or_default();
    let member = |name: &String| c.wanted.standbys.contains(name);
    let others = if c.wanted.standbys.is_empty() {
        slots.len().saturating_sub(c.facts.channels.len())
    } else {
        slots.iter().filter(|slot| !member(&slot.name)).count()
    };
    let least = c.wanted.slots.map_or_else(|| standbys(c) + others as u64, u64::from);
    let reserve = if c.wanted.slots.is_some() { 0 } else { RESERVED_SENDERS_AND_SLOTS };
    let message =
        format!("max_replication_slots is {allowed}, and {least} are needed, {reserve} more in reserve");
    judge_room(c, j, allowed, least, reserve, message);
}

fn settings_replication(c: &Context<'_>, j: &mut Judge) {
    if c.facts.channels.is_empty() && c.purpose != Expand {
        return j.skip();
    }
    let level = c.setting("wal_level");
    if let Some(level) = level.filter(|level| !["hot_standby", "replica", "logical"].contains(&level.trim()))
    {
        j.error("wal_level", format!("wal_level is {level}"), level);
    }
    for name in ["hot_standby", "enable_stream_replication"] {
        if c.is_on(name) == Some(false) {
            j.error(name, format!("{name} is off"), "off");
        }
    }
    if level.is_none() && c.facts.server.running {
        j.unknown(why_unknown(c.facts, "settings"));
    }
}

fn settings_page_writes(c: &Context<'_>, j: &mut Judge) {
    let on = |name| c.is_on(name);
    let (pages, checkpoints) = (on("full_page_writes"), on("enable_incremental_checkpoint"));
    if pages.is_none() && checkpoints.is_none() && !c.facts.server.running {
        return j.skip();
    }
    // On where no file sets it; a server that answers tells it.
    let by_default = c.facts.conf.exists && c.facts.settings.running.is_empty();
    let double = on("enable_double_write").or(by_default.then_some(true));
    match (pages, checkpoints, double) {
        (Some(true), ..) | (_, Some(true), Some(true)) => {}
        (Some(false), Some(false), _) => {
            j.error("", "full_page_writes and enable_incremental_checkpoint are off", "off, off");
        }
        (Some(false), _, Some(false)) => {
            j.error("", "full_page_writes and enable_double_write are off", "off, off");
        }
        _ => j.unknown(why_unknown(c.facts, "settings")),
    }
}

/// Parameters that count after a restart, with the bytes that a bare number of each counts; 0 for others.
const AT_START: [(&str, u64); 11] = [
    ("max_connections", 0),
    ("max_wal_senders", 0),
    ("max_replication_slots", 0),
    ("max_prepared_transactions", 0),
    ("max_locks_per_transaction", 0),
    ("max_process_memory", 1 << 10),
    ("shared_buffers", 8 << 10),
    ("wal_level", 0),
    ("port", 0),
    ("hot_standby", 0),
    ("enable_thread_pool", 0),
];

fn settings_pending_restart(c: &Context<'_>, j: &mut Judge) {
    if c.facts.settings.running.is_empty() {
        if c.facts.server.running {
            j.unknown(why_unknown(c.facts, "settings"));
        } else {
            j.skip();
        }
        return;
    }
    for (name, unit) in AT_START {
        let settings = &c.facts.settings;
        let (Some(file), Some(running)) = (settings.file.get(name), settings.running.get(name)) else {
            continue;
        };
        let equal = match (bytes(file, unit.max(1)), bytes(running, unit.max(1))) {
            (Some(file), Some(running)) => file == running,
            _ => is_same_value(file.trim().as_bytes(), running.trim().as_bytes()),
        };
        if !equal {
            j.warning(name, format!("the server runs with {running}, and starts next with {file}"), running);
        }
    }
}

fn settings_initial_password(c: &Context<'_>, j: &mut Judge) {
    match c.facts.settings.initial_login_blocked {
        Some(true) => {
            j.warning("", "the initial user must change its password before it can do anything else", "on");
        }
        Some(false) => {}
        None if c.facts.server.running => j.unknown(why_unknown(c.facts, "settings")),
        None => j.skip(),
    }
}

fn names_tablespaces(c: &Context<'_>, j: &mut Judge) {
    let Some(found) = &c.facts.server.tablespaces else { return j.skip() };
    if found.damage != Damage::None {
        let message = found.warning(c.facts.server.role).unwrap_or_default();
        j.error("", message, found.names.join(", "));
    }
}

fn sync_now(c: &Context<'_>, j: &mut Judge) {
    if c.facts.server.role != Role::Primary {
        return j.skip();
    }
    if !require_answer(c, j) {
        return;
    }
    let streaming = c.facts.activity.as_ref().map(|activity| activity.streaming.clone()).unwrap_or_default();
    judge_sync_names(c, j, c.facts.settings.get("synchronous_standby_names"), &streaming);
}

fn sync_after(c: &Context<'_>, j: &mut Judge) {
    if c.wanted.standbys.is_empty() && c.wanted.synchronous_standby_names.is_none() {
        return j.skip();
    }
    let names = c.wanted.synchronous_standby_names.as_deref();
    judge_sync_names(c, j, names.or(c.facts.settings.get("synchronous_standby_names")), &c.wanted.standbys);
}

/// Judges whether these standbys can confirm commits.
fn judge_sync_names(c: &Context<'_>, j: &mut Judge, names: Option<&str>, standbys: &[String]) {
    let Some(names) = names else { return j.unknown(why_unknown(c.facts, "settings")) };
    let parsed = match StandbyNames::parse(names) {
        Ok(parsed) => parsed,
        Err(e) => {
            j.error("synchronous_standby_names", format!("the server would refuse it: {e}"), names);
            return;
        }
    };
    if let Some(missing) = parsed.missing(standbys) {
        let message = format!("commits wait: {missing}");
        let commit = c.facts.settings.get("synchronous_commit").map(|value| value.trim().to_lowercase());
        let waits = |value: &String| !["off", "local", "false", "no", "0"].contains(&value.as_str());
        if let Some(commit) = commit.filter(|value| !waits(value)) {
            let message = format!("commits would wait, were synchronous_commit not {commit}: {missing}");
            j.warning("synchronous_standby_names", message, names);
        } else if c.facts.settings.is_on("most_available_sync") == Some(true) {
            let message = format!("commits would wait, were most_available_sync not on: {missing}");
            j.warning("synchronous_standby_names", message, names);
        } else {
            j.error("synchronous_standby_names", message, names);
        }
    }
}

fn server_state(c: &Context<'_>, j: &mut Judge) {
    let server = &c.facts.server;
    let rebuilt = c.copies_here() || c.purpose == Deploy;
    if let Some(why) = c.facts.unknown.get("server") {
        return j.unknown(why.clone());
    }
    if !has_database(c) || (rebuilt && !server.running) {
        return j.skip();
    }
    let seen = server.words();
    if !server.running {
        let message = format!("the server does not run: it is {seen}");
        if matches!(c.purpose, Failover | Restart | Drop) {
            j.warning("", message, seen);
        } else {
            j.error("", message, seen);
        }
        return;
    }
    if server.frozen {
        // One that led and wakes up behind a failover takes writes again, beside the new primary.
        let led = server.role == Role::Primary || server.role == Role::Normal;
        let replaced = led && c.peers.iter().any(|peer| peer.is_primary());
        let fix = match c.purpose {
            Failover => {
                "end its process (kill -KILL) before the failover, then rebuild the node (og_build); never let it go on"
            }
            _ if replaced => {
                "end its process (kill -KILL), then rebuild the node (og_build); never let it go on"
            }
            _ => "find out who stopped it; kill -CONT lets it go on",
        };
        j.error("", format!("the server's process is frozen: {seen}"), seen).fix = fix.into();
        return;
    }
    if !server.answered {
        return j.unknown(format!("the server did not answer: {seen}"));
    }
    // A standby that has lost its primary is what a failover is for.
    let orphan = c.purpose == Failover && server.role.is_following() && !server.has_lost_its_primary();
    match server.db_state {
        DbState::Normal => {}
        DbState::NeedRepair if orphan => {}
        DbState::Catchup => {
            j.warning("", format!("the server catches up: {seen}"), seen);
        }
        // To be rebuilt is what it needs.
        _ if rebuilt => {}
        _ => {
            j.error("", format!("the server is not Normal: {seen}"), seen);
        }
    }
}

fn server_role(c: &Context<'_>, j: &mut Judge) {
    let relevant = matches!(c.purpose, Switchover | Failover | Build);
    if !relevant || !(c.wanted.target || c.purpose == Build) {
        return j.skip();
    }
    let role = c.facts.server.role;
    if c.purpose == Build {
        if c.facts.is_primary() {
            j.error("", format!("this node is {role}, and a build would replace its data"), role);
            return;
        }
        if !c.facts.server.running && matches!(role, Role::Primary | Role::Normal) {
            // It may hold what no other node has. og_build refuses it without force.
            let message = format!("this node last ran as {role}, and a build would replace its data");
            if let Some(primary) = c.other_primary() {
                j.warning("", format!("{message}; {} is primary now", primary.label()), role);
            } else {
                j.error("", message, role);
            }
        }
        if c.facts.server.running && role == Role::Unknown {
            j.unknown("the node's role is not known");
        } else if c.facts.channels.is_empty() {
            j.error("", "the node has no replication channel, and so no source for a build", "none").fix =
                "set its replication channels (og_replconninfo)".into();
        }
        return;
    }
    match role {
        Role::Standby if c.facts.server.running => {}
        Role::Unknown => j.unknown("the node's role is not known"),
        _ if !c.facts.server.running => {
            j.error("", format!("this node's server does not run (it was {role})"), role);
        }
        other => {
            j.error("", format!("this node is {other}, and only a standby becomes primary"), other);
        }
    }
}

fn server_lag(c: &Context<'_>, j: &mut Judge) {
    if !c.facts.server.running || !c.facts.server.role.is_following() {
        return j.skip();
    }
    let Some(receiver) = &c.facts.server.receiver else {
        // That it does not receive is told by its state.
        if c.purpose == Switchover {
            j.unknown("it does not receive from a primary");
        } else {
            j.skip();
        }
        return;
    };
    match receiver.progress.lag_bytes {
        Some(lag) if lag > MAX_LAG => {
            let message = format!("the standby is {lag} behind its upstream");
            if c.purpose == Switchover && c.wanted.target {
                j.error("", message, lag);
            } else {
                j.warning("", message, lag);
            }
        }
        Some(_) => {}
        None => j.unknown("the server does not tell how far it is behind"),
    }
}

fn server_replay_paused(c: &Context<'_>, j: &mut Judge) {
    if !c.facts.server.role.is_following() {
        return j.skip();
    }
    if !require_answer(c, j) {
        return;
    }
    match c.facts.activity.as_ref().and_then(|activity| activity.replay_paused) {
        Some(true) => {
            j.error("", "replay is paused", "paused");
        }
        Some(false) => {}
        None => j.unknown("the server does not tell whether replay is paused"),
    }
}

fn server_backup(c: &Context<'_>, j: &mut Judge) {
    if !require_answer(c, j) {
        return;
    }
    if c.facts.activity.as_ref().is_some_and(|activity| activity.exclusive_backup) {
        j.error("backup_label", "a backup in exclusive mode is under way, or was not ended", "backup_label");
    }
}

fn server_archiving(c: &Context<'_>, j: &mut Judge) {
    if !require_answer(c, j) {
        return;
    }
    // No archiver runs on a standby: what waits there waits since it was a primary.
    if c.facts.server.role.is_following() {
        return j.skip();
    }
    let waiting = c.facts.activity.as_ref().map_or(0, |activity| activity.unarchived);
    let message = format!("{waiting} segments of WAL wait for the archive");
    if waiting >= UNARCHIVED_ERROR {
        j.error("", message, waiting);
    } else if waiting >= UNARCHIVED_WARNING {
        j.warning("", message, waiting);
    }
}

/// Warns of a number of the activity that should be 0.
fn warn_unless_zero(
    c: &Context<'_>,
    j: &mut Judge,
    number: fn(&crate::facts::Activity) -> Option<u64>,
    message: impl FnOnce(u64) -> String,
) {
    if !require_answer(c, j) {
        return;
    }
    match c.facts.activity.as_ref().and_then(number) {
        Some(0) => {}
        Some(found) => {
            j.warning("", message(found), found);
        }
        None => j.unknown("the server does not tell"),
    }
}

fn transactions_long(c: &Context<'_>, j: &mut Judge) {
    let oldest =
        c.facts.activity.as_ref().and_then(|activity| activity.oldest_transaction).unwrap_or_default();
    warn_unless_zero(
        c,
        j,
        |a| a.long_transactions,
        |n| format!("{n} transactions have been running for more than 15 s, the oldest for {oldest} s"),
    );
}

fn transactions_idle(c: &Context<'_>, j: &mut Judge) {
    warn_unless_zero(c, j, |a| a.idle_in_transaction, |n| format!("{n} sessions are idle in a transaction"));
}

fn transactions_prepared(c: &Context<'_>, j: &mut Judge) {
    warn_unless_zero(c, j, |a| a.prepared, |n| format!("{n} transactions are prepared and not ended"));
}

fn server_dirty_pages(c: &Context<'_>, j: &mut Judge) {
    if !c.facts.is_primary() {
        return j.skip();
    }
    if !require_answer(c, j) {
        return;
    }
    match c.facts.activity.as_ref().and_then(|activity| activity.dirty_pages) {
        Some(0) => {}
        Some(pages) => {
            let size = Bytes::new(pages.saturating_mul(8 << 10));
            j.info("", format!("a checkpoint has {pages} pages ({size}) to write"), pages);
        }
        // Not asked, or a release that does not tell.
        None => j.skip(),
    }
}

fn slots_inactive(c: &Context<'_>, j: &mut Judge) {
    if !c.facts.server.running {
        return j.skip();
    }
    let Some(slots) = &c.facts.server.slots else { return j.unknown(why_unknown(c.facts, "slots")) };
    // On a standby they are copies of the primary's, which nobody is connected to.
    if !c.facts.is_primary() {
        return j.skip();
    }
    for slot in slots.iter().filter(|slot| !slot.active) {
        let held =
            slot.retained_bytes.map_or_else(|| "an unknown amount".to_owned(), |bytes| bytes.to_string());
        let message = format!("it is unused, and retains {held} of WAL");
        j.warning(&format!("slot {}", slot.name), message, held);
    }
}

fn slots_logical(c: &Context<'_>, j: &mut Judge) {
    if !c.facts.server.running {
        return j.skip();
    }
    let Some(slots) = &c.facts.server.slots else { return j.unknown(why_unknown(c.facts, "slots")) };
    for slot in slots.iter().filter(|slot| slot.kind == "logical") {
        let state = if slot.active { "active" } else { "not active" };
        j.warning(&format!("slot {}", slot.name), format!("it is logical, and {state}"), state);
    }
}

fn managed_by(c: &Context<'_>, j: &mut Judge) {
    let managed = &c.facts.managed_by;
    if managed.by == Manager::None {
        return;
    }
    let act = match (c.purpose, c.wanted.target) {
        (Expand, _) => Act::Expand,
        (Drop, _) => Act::Drop,
        (Build, _) => Act::Build,
        // CM makes the old primary a standby in the same act.
        (Switchover, true) => Act::Switchover,
        (Switchover, false) if managed.by == Manager::Cm => Act::Switchover,
        (Switchover, false) => Act::Follow,
        (Failover, _) => Act::Failover,
        (Restart, _) => Act::Restart,
        (Deploy, _) => Act::Start,
        (Purpose::Any, _) => {
            let by = format!("{:?}", managed.by).to_uppercase();
            j.info("", format!("openGauss {by} is in charge of this server"), by);
            return;
        }
    };
    let data_dir = std::path::Path::new(&c.facts.identity.data_dir);
    match managed.means(act, data_dir) {
        Ok(Means::Own) => {}
        Ok(Means::Cm(_)) if act == Act::Restart => {
            let words = "openGauss CM runs this server, and restarts it as a standby (cm_ctl); a primary is handed over first";
            j.info("", words, "CM");
        }
        Ok(Means::Cm(_)) => {
            j.info("", "openGauss CM runs this server, and does it (cm_ctl)", "CM");
        }
        Err(objection) => {
            j.error("", objection.detail, format!("{:?}", managed.by).to_uppercase()).fix = objection.hint;
        }
    }
}

fn managed_paused(c: &Context<'_>, j: &mut Judge) {
    let managed = &c.facts.managed_by;
    if managed.by != Manager::Cm {
        return j.skip();
    }
    if managed.paused {
        j.warning("", "CM is paused, and promotes no standby when the primary fails", "paused");
    }
    for file in &managed.manual_start {
        j.warning(file, "CM keeps this server stopped by hand", "manual stop");
    }
}

fn managed_watchers(c: &Context<'_>, j: &mut Judge) {
    if let Some(why) = c.facts.unknown.get("processes") {
        return j.unknown(why.clone());
    }
    for name in &c.facts.watchers {
        j.warning(name, "it runs on this machine, and may act on the server by itself", "runs");
    }
}

fn run_lock(c: &Context<'_>, j: &mut Judge) {
    if let Some(why) = c.facts.unknown.get("lock") {
        return j.unknown(why.clone());
    }
    let Some(lock) = &c.facts.lock else { return };
    if c.wanted.owner.as_ref() != Some(&lock.owner) {
        let message =
            format!("{} holds the cluster's lock until {}: {}", lock.owner, lock.until, lock.purpose);
        j.error("og_lock.json", message, &lock.owner);
    }
}

fn run_build(c: &Context<'_>, j: &mut Judge) {
    let Some(build) = &c.facts.server.build else { return };
    if build.running {
        let process = build.pid.map_or_else(String::new, |pid| format!(" (process {pid})"));
        j.error("", format!("a build of this node is under way{process}"), "building");
    } else if build.interrupted {
        let message = "a build of this node died, and its server does not start until a new one is done";
        if c.copies_here() {
            j.info("", message, "died");
        } else {
            j.error("", message, "died");
        }
    }
}

fn cluster_files(c: &Context<'_>, j: &mut Judge) {
    let files = &c.facts.cluster;
    for problem in &files.problems {
        j.warning("", problem.clone(), "");
    }
    let Some(members) = &files.static_config else {
        if files.problems.is_empty() {
            j.skip();
        }
        return;
    };
    let own = |member: &&crate::facts::server::Member| {
        member.data_dir == c.facts.identity.data_dir && files.local == Some(member.node)
    };
    let Some(member) = members.iter().find(own) else {
        let local = files.local.map_or_else(|| "none".to_owned(), |local| local.to_string());
        j.warning("cluster_static_config", "it does not name this node with this data directory", local);
        return;
    };
    let role =
        files.roles.iter().find(|role| role.instance == member.instance).map(|role| role.role.as_str());
    let live = c.facts.server.role;
    let comparable =
        c.facts.server.running && matches!(live, Role::Primary | Role::Standby | Role::CascadeStandby);
    if let Some(role) = role.filter(|role| comparable && !role.eq_ignore_ascii_case(live.name())) {
        let message = format!("it has this node as {role}, and it is {live}");
        j.warning("cluster_dynamic_config", message, role);
    }
}
