create schema og_lab;

grant usage on schema og_lab to public;

create function og_lab.settings() returns table (name text, setting text, context text, vartype text, unit text, boot_val text, given boolean) language plpgsql as $$ begin return query select part[1], part[2], part[3], part[4], nullif(part[5], ''), part[6], part[7]::boolean from (select string_to_array(line, E'\t') as part from regexp_split_to_table(pg_catalog.pg_read_file(current_setting('data_directory') || '.lab/settings'), E'\n') line where line <> '') lines; end $$;

create function og_lab.show(which text) returns text language plpgsql as $$ begin return coalesce((select setting || case when unit in ('kB', 'ms', 's', 'min', 'd') and setting ~ '^[0-9]+$' and setting <> '0' then unit else '' end from og_lab.settings() where name = lower(which)), pg_catalog.current_setting(which)); end $$;

create view og_lab.pg_settings as select o.name, o.setting, o.unit, coalesce(s.category, '') as category, coalesce(s.short_desc, '') as short_desc, s.extra_desc, o.context, o.vartype, case when o.given then 'configuration file' else 'default' end as source, s.min_val, s.max_val, s.enumvals, o.boot_val, o.setting as reset_val, null::text as sourcefile, null::integer as sourceline from og_lab.settings() o left join pg_catalog.pg_settings s using (name);

create view og_lab.pg_replication_slots as select slot_name::text, plugin::text, slot_type, coalesce(datoid, 0::oid) as datoid, database, active, xmin, catalog_xmin, restart_lsn::text, false as dummy_standby, confirmed_flush_lsn::text as confirmed_flush from pg_catalog.pg_replication_slots;

create view og_lab.pg_stat_replication as select pid, usesysid, usename, 'WalSender to Standby[' || application_name || ']' as application_name, client_addr, client_hostname, client_port, backend_start, initcap(state) as state, sent_lsn::text as sender_sent_location, write_lsn::text as receiver_write_location, flush_lsn::text as receiver_flush_location, replay_lsn::text as receiver_replay_location, sync_priority, initcap(sync_state) as sync_state from pg_catalog.pg_stat_replication;

create function og_lab.pg_get_replication_slots() returns setof og_lab.pg_replication_slots language sql as $$ select * from og_lab.pg_replication_slots $$;

create function og_lab.pg_create_physical_replication_slot(slotname text, isdummystandby boolean) returns table (slotname text, xlog_position text) language sql as $$ select slot_name::text, coalesce(lsn::text, '0/0') from pg_catalog.pg_create_physical_replication_slot(slotname::name, true) $$;

create function og_lab.pg_create_physical_replication_slot(slotname text) returns table (slotname text, xlog_position text) language sql as $$ select slot_name::text, coalesce(lsn::text, '0/0') from pg_catalog.pg_create_physical_replication_slot(slotname::name, true) $$;

create function og_lab.pg_drop_replication_slot(slotname text) returns void language plpgsql as $$ declare sender integer; begin select active_pid into sender from pg_catalog.pg_replication_slots where slot_name = slotname; if sender is not null then raise warning 'replication slot "%" is already active', slotname; perform pg_catalog.pg_terminate_backend(sender, 5000); end if; perform pg_catalog.pg_drop_replication_slot(slotname::name); end $$;

create function og_lab.pg_current_xlog_location() returns text language sql as $$ select pg_catalog.pg_current_wal_lsn()::text $$;

create function og_lab.pg_last_xlog_receive_location() returns text language sql as $$ select pg_catalog.pg_last_wal_receive_lsn()::text $$;

create function og_lab.pg_last_xlog_replay_location() returns text language sql as $$ select pg_catalog.pg_last_wal_replay_lsn()::text $$;

create function og_lab.pg_xlog_location_diff(one text, other text) returns numeric language sql as $$ select pg_catalog.pg_wal_lsn_diff(one::pg_lsn, other::pg_lsn) $$;

create function og_lab.pg_xlogfile_name(location text) returns text language sql as $$ select pg_catalog.pg_walfile_name(location::pg_lsn) $$;

create function og_lab.opengauss_version() returns text language sql as $$ select '3.0.5'::text $$;

