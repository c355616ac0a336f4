//! Why a function is not on the list of built-in functions, and what to write instead.

use crate::functions::forbidden_reason;
use crate::rejection::{Explanation, explain};

/// The explanation for a function that is neither built in nor declared; `None` if nothing is known about it. The name
/// is as the database resolves it.
pub(crate) fn reason(name: &str) -> Option<Explanation> {
    let lower = name.to_ascii_lowercase();
    let last = lower.rsplit('.').next().unwrap_or(&lower);
    let listed = REASONS.iter().find(|(names, ..)| names.split_whitespace().any(|known| known == last));
    let forbidden = forbidden_reason(last);
    match (listed, forbidden) {
        (Some((_, why, help)), _) => Some(explain(format!("the function `{name}` {why}"), *help)),
        (None, Some(why)) => Some(explain(
            format!("the function `{name}` {why}"),
            "call it on a connection of your own that has no tenant",
        )),
        (None, None) => None,
    }
}

/// Whether this function writes, although it is called within a query. PostgreSQL rejects it in a transaction that
/// only reads.
pub(crate) fn writes(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    matches!(lower.rsplit('.').next(), Some("nextval" | "setval" | "pg_notify"))
}

/// Functions with a way of their own: what each does, and what to write instead.
const REASONS: &[(&str, &str, &str)] = &[
    (
        "nextval",
        "takes a number that all tenants share, so it tells how many rows the others add",
        "leave the column to its default, or take a random id: `gen_random_uuid()`; if tenants may know that number, \
         add it to `functions` in tenancy.toml",
    ),
    (
        "setval",
        "changes a sequence that all tenants share",
        "run it on a connection of your own; if tenants may change the sequence, add it to `functions` in tenancy.toml",
    ),
    (
        "all",
        "is ALL in a place where the parser does not know it, such as LIKE ALL",
        "write NOT (a LIKE ANY (..)) for a NOT LIKE ALL (..), and NOT (a NOT LIKE ANY (..)) for a LIKE ALL (..)",
    ),
    (
        "currval lastval last_insert_id last_insert_rowid",
        "reads what other tenants left in the session",
        "write INSERT .. RETURNING id",
    ),
    (
        "found_rows row_count changes total_changes",
        "reads what other tenants left in the session",
        "take the number of rows from the result of `execute`",
    ),
    (
        "pg_notify",
        "sends to a channel of the database, which has no tenant",
        "add it to `functions` in tenancy.toml, and name the channel by `ctx.channel(..)?.notify_name()`",
    ),
    (
        "pg_advisory_xact_lock pg_advisory_xact_lock_shared pg_try_advisory_xact_lock \
         pg_try_advisory_xact_lock_shared",
        "takes a lock by its number, and other tenants could use the same number",
        "add it to `functions` in tenancy.toml, and call it with the number `ctx.lock_key(..)?.advisory()`",
    ),
    (
        "pg_advisory_lock pg_advisory_lock_shared pg_try_advisory_lock pg_try_advisory_lock_shared pg_advisory_unlock \
         pg_advisory_unlock_shared pg_advisory_unlock_all",
        "changes the state of the session, which other tenants use later",
        "add `pg_advisory_xact_lock` to `functions` in tenancy.toml; that lock ends with the transaction",
    ),
    (
        "set_config",
        "changes the settings of the session, and the tenant is one of them",
        "set it in the connect options of the pool, or for the role by ALTER ROLE .. SET; time limits of a plan are \
         `statement_timeout_ms` and `lock_timeout_ms` under `[plans.KEY.database]`",
    ),
    (
        "current_setting",
        "reads the settings of the session",
        "bind the value; the tenant is compared for you",
    ),
    (
        "pg_sleep pg_sleep_for pg_sleep_until sleep benchmark",
        "waits, and keeps a connection and its locks from other tenants",
        "wait in the program, between statements",
    ),
    (
        "current_user current_role session_user system_user user",
        "returns the role of the database, which is the same for all tenants",
        "bind the name of your own user",
    ),
    (
        "pg_backend_pid pg_my_temp_schema connection_id pg_is_in_recovery pg_postmaster_start_time \
         pg_conf_load_time inet_client_addr inet_client_port inet_server_addr inet_server_port \
         pg_last_wal_receive_lsn pg_last_wal_replay_lsn pg_last_xact_replay_timestamp pg_current_wal_lsn \
         pg_current_wal_insert_lsn pg_current_wal_flush_lsn",
        "returns facts about the server or the session, which belong to no tenant",
        "call it on a connection of your own that has no tenant",
    ),
    (
        "txid_current txid_current_if_assigned pg_current_xact_id pg_current_xact_id_if_assigned \
         txid_current_snapshot pg_current_snapshot",
        "returns a counter of the whole server, so it tells how much other tenants write",
        "identify the change by a column of your own",
    ),
    (
        "pg_relation_size pg_total_relation_size pg_table_size pg_indexes_size pg_database_size \
         pg_tablespace_size pg_column_compression",
        "returns a size of the rows of all tenants",
        "count the tenant's rows, or call it on a connection of your own that has no tenant",
    ),
    (
        "to_regclass to_regtype to_regproc to_regrole to_regnamespace pg_get_constraintdef pg_get_indexdef \
         pg_get_viewdef pg_get_functiondef pg_get_serial_sequence pg_get_expr obj_description col_description \
         format_type has_table_privilege has_schema_privilege has_column_privilege \
         pragma_table_info pragma_table_xinfo pragma_table_list pragma_index_list pragma_index_info pragma_index_xinfo \
         pragma_foreign_key_list pragma_database_list pragma_function_list pragma_compile_options",
        "reads the catalogue of the database",
        "call it on a connection of your own that has no tenant",
    ),
    (
        "gin_clean_pending_list brin_summarize_new_values brin_summarize_range brin_desummarize_range",
        "maintains an index, which has the rows of all tenants",
        "call it as the owner of the database, on a connection of your own that has no tenant",
    ),
    (
        "system_rows system_time",
        "samples the rows of all tenants, of which few or none belong to this one",
        "write ORDER BY random() LIMIT 10, or TABLESAMPLE BERNOULLI (10)",
    ),
];
