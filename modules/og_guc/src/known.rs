//! What is known of openGauss's parameters without asking a server.

/// What a standby keeps of its own when it takes over its primary's postgresql.conf (`g_reserve_param` in the server's
/// `walreceiver.cpp`); everything else becomes the primary's.
const RESERVED: &[&str] = &[
    "application_name",
    "archive_command",
    "archive_dest",
    "asp_log_directory",
    "audit_directory",
    "auto_csn_barrier",
    "available_zone",
    "cluster_run_mode",
    "comm_control_port",
    "comm_sctp_port",
    "dcf_data_path",
    "dcf_log_path",
    "dcf_node_id",
    "enable_huge_pages",
    "enable_upsert_to_merge",
    "huge_page_size",
    "listen_addresses",
    "local_bind_address",
    "log_directory",
    "perf_directory",
    "port",
    "query_log_directory",
    "recovery_min_apply_delay",
    "repl_auth_mode",
    "repl_uuid",
    "ssl",
    "ssl_ca_file",
    "ssl_cert_file",
    "ssl_cert_notify_time",
    "ssl_ciphers",
    "ssl_crl_file",
    "ssl_key_file",
    "ssl_renegotiation_limit",
    "stream_cluster_run_mode",
    "streaming_router_port",
    "sync_config_strategy",
    "synchronous_standby_names",
    "xlog_file_path",
    "xlog_file_size",
    "xlog_lock_file_path",
];

/// Parameters that count only after a restart, of those an operator is likely to set.
const POSTMASTER: &[&str] = &[
    "audit_directory",
    "autovacuum_max_workers",
    "available_zone",
    "cluster_run_mode",
    "cstore_buffers",
    "data_replicate_buffer_size",
    "enable_double_write",
    "enable_incremental_checkpoint",
    "enable_memory_limit",
    "enable_thread_pool",
    "hba_file",
    "hot_standby",
    "ident_file",
    "local_bind_address",
    "logging_collector",
    "max_connections",
    "max_files_per_process",
    "max_inner_tool_connections",
    "max_locks_per_transaction",
    "max_prepared_transactions",
    "max_process_memory",
    "max_replication_slots",
    "max_wal_senders",
    "pagewriter_thread_num",
    "perf_directory",
    "pgxc_node_name",
    "port",
    "query_log_directory",
    "recovery_max_workers",
    "recovery_parse_workers",
    "recovery_redo_workers",
    "remote_read_mode",
    "replication_type",
    "shared_buffers",
    "shared_preload_libraries",
    "ssl",
    "ssl_ca_file",
    "ssl_cert_file",
    "ssl_ciphers",
    "ssl_crl_file",
    "ssl_key_file",
    "sync_config_strategy",
    "sysadmin_reserved_connections",
    "thread_pool_attr",
    "track_activity_query_size",
    "unix_socket_directory",
    "unix_socket_group",
    "unix_socket_permissions",
    "wal_buffers",
    "wal_level",
    "wal_log_hints",
    "wal_receiver_buffer_size",
    "walsender_max_send_size",
    "xloginsert_locks",
];

/// Whether a standby keeps its own value of the parameter.
pub fn is_reserved(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let channel = name.strip_prefix("cross_cluster_").unwrap_or(&name).strip_prefix("replconninfo");
    let channel =
        channel.and_then(|number| number.parse::<u8>().ok()).is_some_and(|number| (1..=8).contains(&number));
    channel || RESERVED.binary_search(&name.as_str()).is_ok()
}

/// Whether the parameter counts only after a restart, as far as is known without a server.
pub fn needs_restart(name: &str) -> bool {
    POSTMASTER.binary_search(&name.to_ascii_lowercase().as_str()).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lists_are_sorted_for_the_search() {
        assert!(RESERVED.is_sorted() && POSTMASTER.is_sorted());
    }

    #[test]
    fn reserved() {
        for name in ["port", "Port", "replconninfo1", "replconninfo8", "cross_cluster_replconninfo3", "ssl"] {
            assert!(is_reserved(name), "{name}");
        }
        for name in ["replconninfo9", "replconninfo", "max_connections", "unix_socket_directory"] {
            assert!(!is_reserved(name), "{name}");
        }
        assert!(needs_restart("MAX_CONNECTIONS") && !needs_restart("replconninfo1"));
    }
}
