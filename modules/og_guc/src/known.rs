//! What is known of openGauss's parameters without asking a server.

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

/// Whether the parameter counts only after a restart, as far as is known without a server.
pub fn needs_restart(name: &str) -> bool {
    POSTMASTER.binary_search(&name.to_ascii_lowercase().as_str()).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_sorted_for_the_search() {
        assert!(POSTMASTER.is_sorted());
        assert!(needs_restart("MAX_CONNECTIONS") && !needs_restart("replconninfo1"));
    }
}
