//! What differs between the releases of openGauss: the one place where release numbers are compared.
//!
//! Each fact is asked by name and has its source beside it. `SRV` is openGauss-server at the tag named, `OM` openGauss-OM;
//! a fact that was seen on a running server says so.

use std::fmt;
use std::time::Duration;

use super::process::time_left;
use super::{Environment, ServerNode};
use crate::base::Call;

/// How long a program may take to tell its release.
const VERSION_TIMEOUT: Duration = Duration::from_secs(10);
/// The server program.
pub const SERVER_PROGRAM: &str = "gaussdb";

/// A release of openGauss, compared by its numbers; a release candidate is taken for its release.
#[derive(Clone, Debug)]
pub struct Version {
    numbers: [u16; 3],
    text: String,
}

/// Whether a standby's `available_zone` must be its upstream's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ZoneCheck {
    /// A cascade standby in another zone is always turned away.
    Always,
    /// Only where `enable_availablezone` is on.
    IfEnabled,
}

/// In which releases a standby keeps its own value of a parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reserved {
    /// In all.
    Always,
    /// In none.
    Never,
    /// In some.
    Depends,
}

/// Channels of most releases (`GUC_MAX_REPLNODE_NUM` less one).
pub const DEFAULT_MAX_CHANNELS: usize = 8;
/// Channels of the releases that have the most.
pub const LARGEST_MAX_CHANNELS: usize = 18;

impl Version {
    /// The release in what `gaussdb --version` prints, such as `gaussdb (openGauss-lite 6.0.2 build …) compiled at …`;
    /// none in that of a program which tells only of PostgreSQL's (`gs_ctl (openGauss) 9.2.4`, all before 6.0).
    #[must_use]
    pub fn from_program_output(text: &str) -> Option<Self> {
        let (_, rest) = text.split_once("openGauss")?;
        let (inside, _) = rest.split_once(')')?;
        inside.split(' ').find_map(Self::parse)
    }

    /// A release by its name: `3.0.5`, `5.1`, `6.0.0-RC1`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let plain = text.split(['-', 'B', 'R']).next()?;
        let mut numbers = [0; 3];
        let mut parts = plain.split('.');
        for (index, number) in numbers.iter_mut().enumerate() {
            match parts.next() {
                Some(part) => *number = part.parse().ok()?,
                None if index > 1 => {}
                None => return None,
            }
        }
        parts.next().is_none().then(|| Self { numbers, text: text.to_owned() })
    }

    /// How many replication channels (`replconninfoN`) a server has.
    ///
    /// Source: SRV `knl_guc_common.h` `GUC_MAX_REPLNODE_NUM`: 9 in all, 19 in v3.0.0, v3.0.1 and v3.0.2.
    #[must_use]
    pub fn max_channels(&self) -> usize {
        if self.is_within([3, 0, 0], [3, 0, 2]) { LARGEST_MAX_CHANNELS } else { DEFAULT_MAX_CHANNELS }
    }

    /// Whether a channel that is added ends every replication connection of the server at the reload.
    ///
    /// Source: SRV `postmaster.cpp` `check_and_reset_ha_listen_port`, v2.1.0 against v3.0.5.
    #[must_use]
    pub fn added_channel_cuts_all_streams(&self) -> bool {
        self.is_before([3, 0, 0])
    }

    /// Whether a channel that is changed or removed ends every replication connection of the server at the reload, and not
    /// its own alone.
    ///
    /// Source: SRV `postmaster.cpp` `check_and_reset_ha_listen_port`, v5.1.0 against v6.0.2 (since v6.0.0-RC1).
    #[must_use]
    pub fn reload_cuts_all_streams(&self) -> bool {
        self.is_before([6, 0, 0])
    }

    /// Whether a channel's value may have the keys of uwal (`remotenodeid`, `remoteuwalhost`, `remoteuwalport`), which a
    /// server with `enable_uwal` on needs.
    ///
    /// Source: SRV `guc_storage.cpp` `ParseReplConnInfo` v6.0.2:6243.
    #[must_use]
    pub fn has_uwal(&self) -> bool {
        !self.is_before([6, 0, 0])
    }

    /// Whether a standby keeps its own value of this parameter (in lower case) when it takes over its primary's
    /// postgresql.conf.
    ///
    /// Source: SRV `walreceiver.cpp` `g_reserve_param` at v2.0.5, v2.1.0, v3.0.5, v3.1.1, v5.0.3, v5.1.0, v6.0.2 and
    /// v7.0.0-RC1. The list of 3.1.1 was made before the huge pages came into that of 3.0.5.
    #[must_use]
    pub fn reserves(&self, name: &str) -> bool {
        let channel = |name: &str| {
            let number = name.strip_prefix("replconninfo").and_then(|number| number.parse::<usize>().ok());
            number.is_some_and(|number| number >= 1 && number <= self.max_channels())
        };
        let has = |names: &[&str]| names.binary_search(&name).is_ok();
        let at_least = |least: [u16; 3]| !self.is_before(least);
        if let Some(cross) = name.strip_prefix("cross_cluster_") {
            return at_least([3, 0, 0]) && channel(cross);
        }
        channel(name)
            || has(RESERVED)
            || (at_least([2, 1, 0]) && has(RESERVED_2_1))
            || (at_least([3, 0, 0]) && has(RESERVED_3_0))
            || (at_least([3, 0, 0]) && !self.is_within([3, 1, 0], [3, 1, 99]) && has(RESERVED_HUGE_PAGES))
            || (at_least([5, 1, 0]) && has(RESERVED_5_1))
            || (at_least([6, 0, 0]) && has(RESERVED_6_0))
            || (at_least([7, 0, 0]) && has(RESERVED_7_0))
    }

    /// [`Version::reserves`] of any of the releases, so that a release need not be asked for where all are alike.
    #[must_use]
    pub fn reserves_in_any(name: &str) -> Reserved {
        // One release of each list.
        let each = ["2.0.0", "2.1.0", "3.0.0", "3.0.3", "3.1.0", "5.1.0", "6.0.0", "7.0.0"];
        let reserved =
            each.into_iter().filter_map(Self::parse).filter(|release| release.reserves(name)).count();
        match reserved {
            0 => Reserved::Never,
            all if all == each.len() => Reserved::Always,
            _ => Reserved::Depends,
        }
    }

    /// Whether `synchronous_standby_names` may have several groups: the next start of others ends with them.
    ///
    /// Source: SRV `syncrep_gram.y`: none in v2.0.0, v2.0.1 and v2.1.0.
    #[must_use]
    pub fn has_several_sync_groups(&self) -> bool {
        !self.is_before([3, 0, 0]) || self.is_within([2, 0, 3], [2, 0, 99])
    }

    /// Whether the function `gs_get_hba_conf()` shows the client authentication rules that the server has loaded.
    ///
    /// Source: SRV `hba.cpp` v6.0.2:2528.
    #[must_use]
    pub fn shows_hba_rules(&self) -> bool {
        !self.is_before([6, 0, 0])
    }

    /// Whether a rule of pg_hba.conf may have the method `sm3`.
    ///
    /// Source: SRV `hba.cpp`, v2.0.5 against v2.1.0.
    #[must_use]
    pub fn has_sm3_method(&self) -> bool {
        !self.is_before([2, 1, 0])
    }

    /// Whether a rule of pg_hba.conf may have the method `peer` in every build.
    ///
    /// Source: SRV `hba.cpp`: up to v2.1.0 only within `USE_IDENT`; 3.0.5 was seen to take it.
    #[must_use]
    pub fn has_peer_method(&self) -> bool {
        !self.is_before([3, 0, 0])
    }

    /// Whether pg_hba.conf is read at each connection, so that an edit counts at once and a bad line shuts everybody out.
    ///
    /// Source: SRV `hba.cpp` v2.0.5:2209.
    #[must_use]
    pub fn reads_hba_at_each_connection(&self) -> bool {
        self.is_before([2, 1, 0])
    }

    /// Where a cascade standby's `available_zone` must be its upstream's.
    ///
    /// Source: SRV `libpqwalreceiver.cpp` `IdentifyRemoteAvailableZone` v2.1.0:65, v3.1.1:70 unconditional; v3.0.5:777,
    /// v5.0.3:801, v6.0.2:824 by parameter (since v3.0.3).
    #[must_use]
    pub fn zone_check(&self) -> ZoneCheck {
        if self.is_before([3, 0, 3]) || self.is_within([3, 1, 0], [3, 1, 99]) {
            ZoneCheck::Always
        } else {
            ZoneCheck::IfEnabled
        }
    }

    /// Whether OM checks the parameters' names in cluster_config.xml; others read it without a word about unknown ones.
    ///
    /// Source: OM `ClusterParams.py` and `DeviceListParams.py`, first in v6.0.0 (GAUSS-51258).
    #[must_use]
    pub fn has_om_that_checks_names(&self) -> bool {
        !self.is_before([6, 0, 0])
    }

    fn is_before(&self, other: [u16; 3]) -> bool {
        self.numbers < other
    }

    fn is_within(&self, least: [u16; 3], most: [u16; 3]) -> bool {
        (least..=most).contains(&self.numbers)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl PartialEq for Version {
    fn eq(&self, other: &Self) -> bool {
        self.numbers == other.numbers
    }
}

impl Eq for Version {}

/// A program of openGauss, and what it prints of its release.
#[derive(Clone, Debug)]
pub struct ProgramVersion {
    /// The program: the server, or gs_ctl where the server does not tell.
    pub program: &'static str,
    /// The release.
    pub version: Version,
    /// What it printed.
    pub output: String,
}

impl ServerNode {
    /// The release of the server program; `None` when it does not tell. Starts a program, once for a node.
    pub async fn version(&self, call: &Call) -> Option<&Version> {
        self.program_version(call).await.map(|found| &found.version)
    }

    /// What a program says of its release, by [`Environment::program_version`], which is asked once for a node.
    pub async fn program_version(&self, call: &Call) -> Option<&ProgramVersion> {
        self.version.get_or_init(|| self.ask_version(call)).await.as_ref()
    }

    async fn ask_version(&self, call: &Call) -> Option<ProgramVersion> {
        self.env(call).await.ok()?.program_version(call).await
    }
}

impl Environment {
    /// The release of the server program; `None` when there is none, or it does not tell. Starts a program.
    pub async fn version(&self, call: &Call) -> Option<Version> {
        Some(self.program_version(call).await?.version)
    }

    /// What the server program, or else gs_ctl, says of its release; `None` when there is neither, or neither tells. Starts a
    /// program.
    pub async fn program_version(&self, call: &Call) -> Option<ProgramVersion> {
        for name in [SERVER_PROGRAM, "gs_ctl"] {
            let Ok(program) = self.program(name) else { continue };
            let Ok(outcome) =
                program.arg("--version").with_limit(Some(time_left(call, VERSION_TIMEOUT))).run().await
            else {
                continue;
            };
            if let Some(version) = Version::from_program_output(&outcome.stdout) {
                return Some(ProgramVersion { program: name, version, output: outcome.stdout });
            }
        }
        None
    }
}

/// Reserved in all releases, besides the channels.
const RESERVED: &[&str] = &[
    "application_name",
    "archive_command",
    "archive_dest",
    "asp_log_directory",
    "audit_directory",
    "available_zone",
    "comm_control_port",
    "comm_sctp_port",
    "enable_upsert_to_merge",
    "listen_addresses",
    "local_bind_address",
    "log_directory",
    "perf_directory",
    "port",
    "query_log_directory",
    "recovery_min_apply_delay",
    "ssl",
    "ssl_ca_file",
    "ssl_cert_file",
    "ssl_cert_notify_time",
    "ssl_ciphers",
    "ssl_crl_file",
    "ssl_key_file",
    "ssl_renegotiation_limit",
    "streaming_router_port",
    "sync_config_strategy",
    "synchronous_standby_names",
];
const RESERVED_2_1: &[&str] = &["dcf_data_path", "dcf_log_path", "dcf_node_id"];
const RESERVED_3_0: &[&str] = &[
    "auto_csn_barrier",
    "cluster_run_mode",
    "repl_auth_mode",
    "repl_uuid",
    "stream_cluster_run_mode",
    "xlog_file_path",
    "xlog_file_size",
    "xlog_lock_file_path",
];
const RESERVED_HUGE_PAGES: &[&str] = &["enable_huge_pages", "huge_page_size"];
/// The two of ssl only in builds with tassl; in others there are no such parameters.
const RESERVED_5_1: &[&str] = &["exrto_standby_read_opt", "ssl_enc_cert_file", "ssl_enc_key_file"];
const RESERVED_6_0: &[&str] = &[
    "enable_uwal",
    "uwal_async_append_switch",
    "uwal_config",
    "uwal_devices_path",
    "uwal_disk_size",
    "uwal_log_path",
    "uwal_rpc_compression_switch",
    "uwal_rpc_flowcontrol_switch",
    "uwal_rpc_flowcontrol_value",
    "uwal_truncate_interval",
];
const RESERVED_7_0: &[&str] = &[
    "ss_disaster_mode",
    "ss_dss_conn_path",
    "ss_dss_vg_name",
    "ss_enable_catalog_centralized",
    "ss_enable_dms",
    "ss_enable_dss",
    "ss_enable_ondemand_realtime_build",
    "ss_enable_ondemand_recovery",
    "ss_instance_id",
    "ss_ock_log_path",
    "ss_rdma_work_config",
    "ss_scrlock_server_port",
];

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::ZoneCheck::{Always, IfEnabled};
    use super::*;

    fn version(text: &str) -> Version {
        Version::parse(text).unwrap()
    }

    #[test]
    fn releases_are_read_from_what_the_programs_print() {
        let read = |text: &str| Version::from_program_output(text).map(|version| version.to_string());
        for (line, release) in [
            ("gaussdb (openGauss 2.0.5 build b54d7f88) compiled at 2022-09-13", "2.0.5"),
            (
                "gaussdb (openGauss 3.0.5 build 4db7019a) compiled at 2026-11-28 09:01:59 commit 0 last mr  ",
                "3.0.5",
            ),
            (
                "gaussdb (openGauss-lite 5.0.3 build 89d144c2) compiled at 2026-11-28 09:23:20 commit 0",
                "5.0.3",
            ),
            (
                "gs_ctl (openGauss-lite 6.0.2 build 6285c0ef) compiled at 2026-11-28 09:20:24 commit 0",
                "6.0.2",
            ),
            ("gaussdb (openGauss 7.0.0-RC1 build 1) compiled at x", "7.0.0-RC1"),
        ] {
            assert_eq!(read(line).as_deref(), Some(release));
        }
        for line in ["gs_ctl (openGauss) 9.2.4", "postgres (PostgreSQL) 15.9", "", "openGauss"] {
            assert_eq!(read(line), None, "{line}");
        }
        assert_eq!(version("6.0.0-RC1"), version("6.0.0"));
        assert_eq!(
            (version("5.1"), Version::parse("5"), Version::parse("x.1")),
            (version("5.1.0"), None, None)
        );
        assert_eq!(Version::parse("1.2.3.4"), None);
    }

    #[test]
    fn the_lists_are_sorted_for_the_search() {
        for list in [
            RESERVED,
            RESERVED_2_1,
            RESERVED_3_0,
            RESERVED_HUGE_PAGES,
            RESERVED_5_1,
            RESERVED_6_0,
            RESERVED_7_0,
        ] {
            assert!(list.is_sorted());
        }
    }

    #[test]
    fn what_a_standby_keeps_depends_on_the_release() {
        let reserved = |name: &str| {
            ["2.0.5", "2.1.0", "3.0.5", "3.1.1", "5.0.3", "5.1.0", "6.0.2", "7.0.0-RC1"]
                .map(|text| version(text).reserves(name))
        };
        let (t, f) = (true, false);
        assert_eq!(reserved("port"), [t; 8]);
        assert_eq!(reserved("replconninfo8"), [t; 8]);
        assert_eq!(reserved("replconninfo9"), [f; 8]);
        assert_eq!(reserved("max_connections"), [f; 8]);
        assert_eq!(reserved("dcf_node_id"), [f, t, t, t, t, t, t, t]);
        assert_eq!(reserved("cross_cluster_replconninfo8"), [f, f, t, t, t, t, t, t]);
        assert_eq!(reserved("repl_uuid"), [f, f, t, t, t, t, t, t]);
        assert_eq!(reserved("huge_page_size"), [f, f, t, f, t, t, t, t]);
        assert_eq!(reserved("exrto_standby_read_opt"), [f, f, f, f, f, t, t, t]);
        assert_eq!(reserved("uwal_config"), [f, f, f, f, f, f, t, t]);
        assert_eq!(reserved("ss_dss_vg_name"), [f, f, f, f, f, f, f, t]);
        for (name, all) in [
            ("port", Reserved::Always),
            ("replconninfo8", Reserved::Always),
            ("replconninfo9", Reserved::Depends),
            ("huge_page_size", Reserved::Depends),
            ("uwal_config", Reserved::Depends),
            ("max_connections", Reserved::Never),
            ("replconninfo19", Reserved::Never),
        ] {
            assert_eq!(Version::reserves_in_any(name), all, "{name}");
        }
        assert!(version("3.0.1").reserves("replconninfo18") && !version("3.0.3").reserves("replconninfo18"));
    }

    #[test]
    fn each_fact_turns_at_its_release() {
        let at = |fact: fn(&Version) -> bool, texts: [&str; 4]| texts.map(|text| fact(&version(text)));
        let (t, f) = (true, false);
        assert_eq!(
            at(Version::added_channel_cuts_all_streams, ["2.0.0", "2.1.0", "3.0.0", "6.0.2"]),
            [t, t, f, f]
        );
        assert_eq!(
            at(Version::reload_cuts_all_streams, ["2.1.0", "5.1.0", "6.0.0-RC1", "7.0.0"]),
            [t, t, f, f]
        );
        assert_eq!(at(Version::has_several_sync_groups, ["2.0.1", "2.0.3", "2.1.0", "3.0.0"]), [f, t, f, t]);
        assert_eq!(at(Version::shows_hba_rules, ["3.0.5", "5.1.0", "6.0.0", "6.0.2"]), [f, f, t, t]);
        assert_eq!(at(Version::has_sm3_method, ["2.0.5", "2.1.0", "3.0.0", "6.0.2"]), [f, t, t, t]);
        assert_eq!(at(Version::has_peer_method, ["2.0.5", "2.1.0", "3.0.0", "6.0.2"]), [f, f, t, t]);
        assert_eq!(
            at(Version::reads_hba_at_each_connection, ["2.0.5", "2.1.0", "3.0.0", "6.0.2"]),
            [t, f, f, f]
        );
        assert_eq!(at(Version::has_om_that_checks_names, ["3.0.5", "5.1.0", "6.0.0", "6.0.2"]), [f, f, t, t]);
        assert_eq!(at(Version::has_uwal, ["3.0.5", "5.1.0", "6.0.0", "6.0.2"]), [f, f, t, t]);
        let channels = ["2.1.0", "3.0.0", "3.0.2", "3.0.3"].map(|text| version(text).max_channels());
        assert_eq!(channels, [8, 18, 18, 8]);
        let zones = ["2.1.0", "3.0.2", "3.0.3", "3.1.1", "5.0.0"].map(|text| version(text).zone_check());
        assert_eq!(zones, [Always, Always, IfEnabled, Always, IfEnabled]);
    }
}
