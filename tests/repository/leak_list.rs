//! Each entry of the catalogue of leaks that is not about a query's text has tests, or a reason why it waits.
//!
//! A test is `file.rs::function`, in the one file whose path ends with that below `tests`, or `src/file.rs::function`; or
//! a text of that file: the name of a
//! statement in `enforcement.rs`, or the check that a case of `doctor_cases/cases.rs` must find. A file below `ui` is
//! a case of the package `compile-fail`.

use std::collections::BTreeSet;
use std::path::Path;

/// The tests of an entry, or the reason for their absence.
enum Cover {
    Tests(&'static [&'static str]),
    /// The reason why no test exists yet.
    Waits(&'static str),
}

use Cover::{Tests, Waits};

const NO_LEFTOVERS: &str =
    "naive_pool.rs::a_data_plane_of_one_connection_leaves_nothing_wherever_it_is_dropped";
const ODD_HOSTS: &str = "hosts.rs::what_browsers_make_of_odd_hosts_is_never_another_tenant";
const ONE_HOST: &str = "identity.rs::a_host_reaches_its_own_tenant_or_none";
const BATCH: &str = "writing.rs::each_operation_of_a_batch_reaches_its_own_rows_only";
const BODY: &str = "writing.rs::a_body_that_names_another_tenant_is_written_for_its_own";
const CHAOS: &str = "chaos.rs::no_statement_runs_under_another_tenant_whatever_goes_wrong";
const FOREIGN_REF: &str =
    "foreign_keys.rs::a_reference_of_another_tenant_is_rejected_before_anything_is_sent";
const SAME_ID: &str = "isolation.rs::two_tenants_may_use_the_same_id";
const TWO_VALUES: &str = "namespace.rs::the_same_key_of_two_tenants_holds_two_values";
const NO_TENANT: &str = "policies.rs::without_a_tenant_there_is_nothing_or_an_error";
const OWN_FILE: &str = "databases.rs::d13_d14_a_tenant_reaches_its_own_file_only";
const SESSION: &str = "naive_pool.rs::leftover_session_state_does_not_reach_a_scope";

/// Sections R (resolving), C (carrying), P (pools), S (row-level security), D (schemas and databases), K (constraints), X
/// (outside of the tables) and B (lifecycle and billing).
const ENTRIES: &[(&str, &str, Cover)] = &[
    (
        "R01",
        "a client's header believed",
        Tests(&["identity.rs::a_header_counts_only_from_a_trusted_peer_and_only_once"]),
    ),
    (
        "R02",
        "a weaker signal before a stronger",
        Tests(&["identity.rs::a_selection_never_wins_against_a_credential"]),
    ),
    ("R04", "a subdomain of a foreign domain", Tests(&[ONE_HOST])),
    ("R05", "a suffix without the dot, nested labels", Tests(&[ONE_HOST])),
    (
        "R06",
        "case, port, dot, punycode, two hosts",
        Tests(&[ODD_HOSTS, "identity.rs::a_request_has_one_authority"]),
    ),
    (
        "R08",
        "a host that a proxy rewrote",
        Tests(&["identity.rs::forwarded_hosts_and_look_alike_headers_are_never_read"]),
    ),
    (
        "R09",
        "an unknown key becomes a default tenant",
        Tests(&[
            "token.rs::a_token_for_a_tenant_that_is_not_there_reaches_none",
            "middleware.rs::a_store_that_is_down_is_503_and_never_another_tenant",
        ]),
    ),
    (
        "R10",
        "no tenant, no filter",
        Tests(&["ui/scope_without_a_context.rs", "ui/find_without_an_executor.rs"]),
    ),
    (
        "R12",
        "a missing key drops the filter",
        Tests(&["ui/context_by_default.rs", "ui/context_from_json.rs"]),
    ),
    (
        "R13",
        "slug and id share a cache key",
        Tests(&["cached.rs::r13_a_slug_and_an_id_of_one_text_are_two_tenants"]),
    ),
    ("R14", "a stale resolver cache", Tests(&["cached.rs::a_slow_answer_never_replaces_a_newer_one"])),
    (
        "R16",
        "any string is a tenant",
        Tests(&[
            "requests.rs::whatever_a_request_is_made_of_it_reaches_one_tenant_or_none",
            "ui/tenant_id_from_text.rs",
        ]),
    ),
    (
        "R17",
        "status checked on one path only",
        Tests(&[
            "identity.rs::to_an_outsider_a_closed_tenant_looks_like_none",
            "api_keys.rs::a_key_proves_its_own_tenant",
            "sessions.rs::a_session_reaches_the_tenants_of_its_user_and_no_others",
            "carrying.rs::a_job_of_a_closed_tenant_is_rejected_and_the_plan_is_current",
        ]),
    ),
    (
        "R18",
        "a removed member's credential",
        Tests(&[
            "sessions.rs::a_removed_member_is_rejected_although_the_session_is_valid",
            "issuers.rs::a_token_outlives_neither_its_membership_nor_its_tenant",
        ]),
    ),
    ("R20", "a claim that its user can edit", Tests(&["token.rs::claims_that_are_in_order_are_accepted"])),
    (
        "R21",
        "an issuer not bound to its tenants",
        Tests(&["issuers.rs::an_issuer_that_names_another_issuers_tenant_is_rejected_and_audited"]),
    ),
    ("R22", "an API key on another host", Tests(&["api_keys.rs::a_key_proves_its_own_tenant"])),
    ("R24", "two tenants in one request", Tests(&["ui/tenant_id_in_a_request_body.rs", BODY])),
    ("R25", "mass assignment", Tests(&["ui/derive_with_the_tenant_column.rs", BODY])),
    (
        "R26",
        "an e-mail domain grants membership",
        Waits("the crate grants none: memberships are the application's"),
    ),
    ("R28", "a token to act as somebody else", Waits("acting as a tenant's user is a later part")),
    (
        "R29",
        "a socket that outlives its tenant",
        Tests(&["carrying.rs::a_stream_ends_when_its_tenant_is_suspended_and_the_other_goes_on"]),
    ),
    (
        "R30",
        "a webhook without a tenant",
        Tests(&["stripe_lifecycle.rs::an_event_of_an_unknown_tenant_waits_for_the_link"]),
    ),
    (
        "C01",
        "a task loses its tenant",
        Tests(&[
            "carrying.rs::a_task_logs_under_its_own_tenant",
            "ui/scope_in_a_task_that_outlives_the_request.rs",
        ]),
    ),
    ("C02", "threads", Tests(&["carrying.rs::futures_of_jobs_and_tasks_are_send"])),
    (
        "C04",
        "a worker keeps the tenant of the job before",
        Tests(&["carrying.rs::a_job_without_a_tenant_does_not_run_as_the_one_before_it"]),
    ),
    (
        "C05",
        "a destructor enqueues a job",
        Tests(&["ui/envelope_from_its_fields.rs", "ui/scope_that_outlives_its_context.rs"]),
    ),
    ("C06", "a scope not restored after an error", Tests(&[NO_LEFTOVERS])),
    (
        "C08",
        "one slot for the whole process",
        Tests(&["middleware.rs::requests_that_wait_for_the_store_keep_their_own_tenant"]),
    ),
    (
        "C09",
        "tasks of one thread share a slot",
        Tests(&[CHAOS, "wire.rs::one_connection_carries_no_tenant_over"]),
    ),
    ("C10", "saving a row switches the tenant", Tests(&[BATCH])),
    (
        "C12",
        "a singleton keeps the first tenant",
        Tests(&["ui/scope_that_outlives_its_context.rs", "ui/scope_that_escapes_its_stream.rs"]),
    ),
    (
        "C13",
        "a stream is read after the switch",
        Tests(&["streaming.rs::two_bodies_at_once_hold_their_own_rows_each"]),
    ),
    ("C14", "a test's tenant stays for the next", Tests(&["ui/scope_without_a_context.rs"])),
    (
        "C16",
        "the log's tenant is another",
        Tests(&[
            "logs.rs::a_route_runs_in_a_span_of_its_tenant",
            "streaming.rs::what_a_body_logs_is_logged_under_its_tenant",
        ]),
    ),
    (
        "C17",
        "a function reads the request anew",
        Tests(&["middleware.rs::a_context_from_elsewhere_is_replaced_or_taken_out"]),
    ),
    (
        "C18",
        "a retry keeps the old context",
        Tests(&["carrying.rs::a_refreshed_context_has_the_current_state_of_its_tenant"]),
    ),
    ("C20", "nested writes take the outer tenant", Tests(&[FOREIGN_REF, BATCH])),
    (
        "P01",
        "SET on a pooled connection",
        Tests(&["naive_pool.rs::a_pool_with_hooks_returns_rows_of_another_tenant", NO_LEFTOVERS]),
    ),
    (
        "P02",
        "a pooler that shares sessions",
        Tests(&[
            "poolers.rs::ten_thousand_statements_by_every_api_reach_their_own_tenant",
            "poolers.rs::a_pooler_that_was_not_declared_is_detected",
        ]),
    ),
    (
        "P03",
        "a BEGIN that is cancelled",
        Tests(&[
            "naive_pool.rs::a_begin_with_a_tenant_that_is_dropped_stays_for_the_next_user",
            "isolation.rs::a_begin_that_is_dropped_in_flight_leaves_no_tenant_behind",
        ]),
    ),
    ("P04", "a rollback brings the former tenant back", Tests(&[SESSION])),
    ("P05", "the client believes that it is set", Tests(&[SESSION])),
    (
        "P06",
        "a connection in a failed transaction",
        Tests(&["naive_pool.rs::a_scope_never_runs_in_a_leftover_transaction"]),
    ),
    (
        "P08",
        "hooks that are replaced",
        Tests(&["naive_pool.rs::a_pool_with_hooks_returns_rows_of_another_tenant", NO_LEFTOVERS]),
    ),
    (
        "P09",
        "hooks that a fresh connection skips",
        Tests(&["connections.rs::after_a_restart_of_the_server_no_query_fails"]),
    ),
    ("P10", "a handler's own SET", Tests(&[SESSION, "enforcement.rs::P18 SET beside a query"])),
    ("P12", "the setting is empty, not unset", Tests(&[NO_TENANT])),
    (
        "P13",
        "statement caches",
        Tests(&[
            "leaks.rs::w08_a_prepared_statement_is_the_same_for_every_tenant",
            "rewrite_cache.rs::a_text_that_equals_a_rewritten_one_is_a_text_of_its_own",
        ]),
    ),
    (
        "P14",
        "an IMMUTABLE reader of the session",
        Tests(&[
            "doctor_cases/cases.rs::Check::FrozenTenant",
            "policies.rs::a_prepared_statement_follows_the_tenant",
        ]),
    ),
    (
        "P16",
        "no tenant uses the last connection",
        Tests(&[NO_TENANT, "isolation.rs::postgres_rejects_a_query_that_forgot_its_tenant"]),
    ),
    (
        "P17",
        "a second pool without the hooks",
        Tests(&[
            "ui/find_on_a_pool.rs",
            "ui/query_on_a_pool.rs",
            "leaks.rs::q45_there_is_no_scoping_to_forget",
        ]),
    ),
    (
        "P18",
        "set_config within a statement",
        Tests(&[
            "enforcement.rs::P18 set_config before the scan",
            "dynamic.rs::sql_that_is_not_known_to_be_safe_is_rejected_with_the_reason",
        ]),
    ),
    (
        "P20",
        "RESET ROLE gives rights back",
        Tests(&["doctor_cases/cases.rs::Check::ExemptRole", "doctor_cases/cases.rs::Check::OwnerRole"]),
    ),
    (
        "P21",
        "one advisory lock for all tenants",
        Tests(&["namespace.rs::a_channel_and_a_lock_have_names_that_postgres_takes"]),
    ),
    (
        "P22",
        "one channel for all tenants",
        Tests(&["namespace.rs::a_channel_and_a_lock_have_names_that_postgres_takes"]),
    ),
    ("P24", "row_security off", Tests(&["enforcement.rs::P24 row_security off"])),
    (
        "S01",
        "the owner, without FORCE",
        Tests(&["doctor_cases/cases.rs::Check::OwnerPastRls", "doctor_cases/cases.rs::Check::RlsNotForced"]),
    ),
    ("S02", "superuser or BYPASSRLS", Tests(&["doctor_cases/cases.rs::Check::ExemptRole"])),
    (
        "S04",
        "a new table without RLS",
        Tests(&["doctor_cases/cases.rs::Check::RlsOff", "doctor_cases/cases.rs::Check::MissingTenantColumn"]),
    ),
    (
        "S05",
        "policies without RLS, RLS without policies",
        Tests(&["doctor_cases/cases.rs::Check::RlsOff", "doctor_cases/cases.rs::Check::NoPolicy"]),
    ),
    (
        "S06",
        "a permissive policy beside the right one",
        Tests(&["doctor_cases/cases.rs::Check::OpenPolicy", "doctor_cases/cases.rs::Check::NoFloor"]),
    ),
    ("S08", "rows for everybody", Tests(&["enforcement.rs::S08 a row for everybody"])),
    ("S09", "a policy on the wrong column", Tests(&["doctor_cases/cases.rs::Check::OpenPolicy"])),
    ("S10", "OR an agent's setting", Tests(&["doctor_cases/cases.rs::app.agent"])),
    ("S12", "SECURITY DEFINER", Tests(&["doctor_cases/cases.rs::Check::DefinerFunction"])),
    ("S13", "a partition by its name", Tests(&["doctor_cases/cases.rs::Check::ChildWithoutRls"])),
    (
        "S14",
        "foreign tables, publications",
        Tests(&["doctor_cases/cases.rs::Check::ForeignTable", "doctor_cases/cases.rs::Check::Publication"]),
    ),
    (
        "S16",
        "LEAKPROOF",
        Tests(&[
            "doctor_cases/cases.rs::Check::LeakproofFunction",
            "enforcement.rs::S16 a function marked LEAKPROOF",
        ]),
    ),
    ("S17", "an IMMUTABLE reader in a policy", Tests(&["doctor_cases/cases.rs::Check::FrozenTenant"])),
    (
        "S18",
        "a foreign key without the tenant",
        Tests(&[
            "doctor_cases/cases.rs::Check::ForeignKeyWithoutTenant",
            "enforcement.rs::S18 a reference to a foreign row",
        ]),
    ),
    (
        "S20",
        "a unique key without the tenant",
        Tests(&[
            "doctor_cases/cases.rs::Check::KeyWithoutTenant",
            "enforcement.rs::S20 a unique key without the tenant",
        ]),
    ),
    (
        "S21",
        "the DETAIL of an error",
        Tests(&["database_errors.rs::every_error_of_postgres_has_a_kind_and_no_detail"]),
    ),
    (
        "S22",
        "a tenant column that may be NULL",
        Tests(&[
            "doctor_cases/cases.rs::Check::NullableTenant",
            "doctor_cases/cases.rs::Check::DefaultedTenant",
        ]),
    ),
    ("S24", "a setting by ALTER ROLE or DATABASE", Tests(&["doctor_cases/cases.rs::Check::SettingDefault"])),
    ("S25", "a forgotten tenant looks like no data", Tests(&[NO_TENANT])),
    ("S26", "default privileges", Tests(&["doctor_cases/cases.rs::Check::DefaultPrivileges"])),
    (
        "S28",
        "what was proven is another cluster",
        Tests(&["naive_pool.rs::a_data_plane_that_is_not_built_leaves_nothing_on_the_pool"]),
    ),
    (
        "S29",
        "a policy that was renamed",
        Tests(&["policies.rs::a_second_time_changes_nothing_and_what_differs_is_fixed"]),
    ),
    (
        "S30",
        "a policy for another role or command",
        Tests(&["doctor_cases/cases.rs::ALTER POLICY tenancy_floor ON projects TO"]),
    ),
    (
        "S32",
        "the doctor is another role than the program",
        Tests(&["doctor_cases/cases.rs::Check::ProbeRead", "doctor_cases/cases.rs::Check::ProbeWrite"]),
    ),
    ("S33", "a backup as the application's role", Waits("export and backup of a tenant are later parts")),
    (
        "D01",
        "a missing table falls through to public",
        Tests(&["data/placements.rs::d01_a_table_that_a_schema_lacks_is_not_that_of_public"]),
    ),
    (
        "D02",
        "a schema in the search path that does not exist",
        Tests(&["data/placements.rs::d02_a_schema_that_does_not_exist_is_an_error_by_name"]),
    ),
    (
        "D04",
        "two names cut off to one",
        Tests(&["src/tenant/placement.rs::two_ids_have_two_names_of_one_length"]),
    ),
    (
        "D05",
        "reserved or odd names",
        Tests(&[
            "src/tenant/placement.rs::names_that_a_database_reads_otherwise_are_rejected",
            "data/placements.rs::a_temporary_table_hides_no_table_of_the_schema",
        ]),
    ),
    (
        "D06",
        "a name with another tenant's schema",
        Tests(&[
            "data/placements.rs::d06_a_name_with_a_schema_shows_no_row_of_another_tenant",
            "postgres/placements.rs::a_role_for_each_tenant_reads_no_other_place_by_name",
            "place_doctor.rs::the_probe_tries_to_reach_from_one_schema_into_another",
        ]),
    ),
    (
        "D08",
        "clones that share sequences and keys",
        Tests(&[
            "postgres/placements.rs::d12_a_migration_creates_nothing_in_public",
            "place_reach.rs::d08_what_a_clone_shares_with_another_schema_is_found",
        ]),
    ),
    (
        "D09",
        "names and statements kept for another schema",
        Tests(&[
            "data/placements.rs::d09_a_migration_of_one_schema_fails_no_statement_of_another",
            "data/placements.rs::statements_of_two_schemas_are_prepared_apart",
        ]),
    ),
    (
        "D10",
        "a search path behind a pooler",
        Tests(&[
            "place_poolers.rs::ten_thousand_statements_by_every_api_reach_their_own_schema",
            "place_poolers.rs::a_request_dropped_at_any_await_leaves_no_search_path_behind_the_pooler",
        ]),
    ),
    (
        "D12",
        "a migration that creates tables in public",
        Tests(&["postgres/placements.rs::d12_a_migration_creates_nothing_in_public"]),
    ),
    ("D13", "ATTACH of another tenant's file", Tests(&[OWN_FILE])),
    ("D14", "a path or a link that leads elsewhere", Tests(&[OWN_FILE])),
    (
        "D16",
        "a moved tenant in its old place",
        // Moving itself is a later part: until then no transaction is held back while the placement changes.
        Tests(&["data/placements.rs::d16_a_refreshed_context_works_in_the_new_place_only"]),
    ),
    (
        "D17",
        "one tenant takes all connections",
        Tests(&[
            "databases.rs::d17_a_tenant_gets_its_share_and_no_more",
            "databases.rs::the_server_sees_no_more_connections_than_allowed",
        ]),
    ),
    (
        "D18",
        "from one database into another",
        Tests(&[
            "place_reach.rs::d18_no_statement_reaches_another_tenants_database",
            "place_reach.rs::d18_the_role_of_one_place_that_may_use_another_is_found",
            "place_reach.rs::d18_what_the_whole_server_sees_names_no_tenant",
            "place_doctor.rs::a_role_that_inherits_the_roles_of_places_is_found",
            "reach.rs::pg_catalog.lo_export(oid, text)",
            "reach.rs::pg_catalog.pg_read_binary_file(text)",
        ]),
    ),
    (
        "D20",
        "a function with a search path of its own",
        Tests(&[
            "data/placements.rs::d20_a_function_with_a_search_path_of_its_own_shows_no_row_of_another_tenant",
        ]),
    ),
    (
        "K01",
        "a check of existence past the tenant",
        Tests(&["foreign_keys.rs::a_reference_is_to_a_row_that_the_tenant_has"]),
    ),
    (
        "K02",
        "a check of the tenant, a global key",
        Tests(&["writing.rs::an_upsert_cannot_take_another_tenants_id"]),
    ),
    ("K04", "a moved row leaves its children", Tests(&["ui/query_that_moves_a_row_to_another_tenant.rs"])),
    ("K05", "ids that another tenant has", Tests(&[SAME_ID])),
    (
        "K06",
        "an uncommitted key blocks another tenant",
        Tests(&["database_errors.rs::k06_an_uncommitted_key_blocks_no_other_tenant"]),
    ),
    (
        "K08",
        "a constraint that is checked at commit",
        Tests(&["database_errors.rs::k08_a_deferred_key_fails_at_commit_with_a_named_error"]),
    ),
    (
        "K09",
        "a lookup table that tenants can write",
        Tests(&["doctor_cases/cases.rs::Check::SharedWritable"]),
    ),
    (
        "K10",
        "a tenant edits its own plan",
        Tests(&["ui/query_on_the_crates_own_table.rs", "ui/derive_on_a_table_of_the_library.rs"]),
    ),
    (
        "X01",
        "a cache key without the tenant",
        Tests(&[TWO_VALUES, "namespace.rs::the_same_key_of_two_tenants_holds_two_values_in_redis"]),
    ),
    (
        "X02",
        "a flush of every tenant",
        Tests(&[
            "namespace.rs::a_flush_takes_one_tenants_values_and_no_others",
            "namespace.rs::a_flush_of_redis_takes_one_tenants_values_and_no_others",
        ]),
    ),
    (
        "X04",
        "an empty tenant is no tenant",
        Tests(&["ui/cache_key_without_a_context.rs", "isolation.rs::what_would_be_read_as_sql_is_no_id"]),
    ),
    ("X05", "a response cached for another", Tests(&["identity.rs::responses_stay_out_of_shared_caches"])),
    (
        "X06",
        "permissions cached by user alone",
        Tests(&["resolution.rs::a_person_reaches_only_the_tenants_that_are_theirs"]),
    ),
    (
        "X08",
        "rows cached by their key",
        Tests(&[SAME_ID, "leaks.rs::q58_ids_of_another_tenant_find_nothing"]),
    ),
    ("X09", "one id in two tenants' fragments", Tests(&[TWO_VALUES])),
    ("X10", "a signed URL of another tenant", Waits("signed URLs are a later part")),
    ("X12", "a path that leads elsewhere", Tests(&["namespace.rs::a_path_leads_nowhere_else"])),
    (
        "X13",
        "a job's tenant is not its row's",
        Tests(&["carrying.rs::an_unsigned_job_opens_with_its_tenants_row_only"]),
    ),
    (
        "X14",
        "one idempotency key for all",
        Tests(&["namespace.rs::the_answer_to_a_request_is_kept_for_its_tenant_and_route"]),
    ),
    ("X16", "a topic without the tenant", Tests(&["namespace.rs::a_message_reaches_only_its_own_tenant"])),
    ("X17", "a search index without the filter", Waits("search is a later part")),
    (
        "X18",
        "another tenant's secrets from a cache",
        Waits("secrets and settings of a tenant are a later part"),
    ),
    (
        "X20",
        "error pages, metrics, logs",
        Tests(&[
            "metrics.rs::no_label_names_a_tenant_and_there_are_few_of_them",
            "logs.rs::no_log_line_holds_much_of_a_client_value_or_begins_with_one",
        ]),
    ),
    (
        "X21",
        "an export by an unscoped worker",
        Tests(&[
            "streaming.rs::over_http_each_client_gets_its_own_rows",
            "carrying.rs::a_job_brings_its_own_tenant_actor_and_request_and_no_other",
        ]),
    ),
    (
        "X22",
        "files of fixed names",
        Waits("the crate writes no file; names of one's own come from `object_path` (X12)"),
    ),
    (
        "B01",
        "a deletion that misses a table",
        Waits("the crate deletes no tenant's rows yet: deletion is a later part"),
    ),
    (
        "B02",
        "files named only by deleted rows",
        Waits("the crate stores no files, and deletion is a later part"),
    ),
    (
        "B04",
        "a suspended tenant's jobs, sockets, keys",
        Tests(&[
            "carrying.rs::a_job_of_a_closed_tenant_is_rejected_and_the_plan_is_current",
            "carrying.rs::a_stream_ends_when_its_tenant_is_suspended_and_the_other_goes_on",
            "api_keys.rs::a_key_proves_its_own_tenant",
            "sessions.rs::a_session_reaches_the_tenants_of_its_user_and_no_others",
        ]),
    ),
    (
        "B05",
        "one prepared place for two buyers",
        Tests(&["provisioning.rs::b05_a_ready_place_goes_to_one_tenant"]),
    ),
    (
        "B06",
        "an export with rows of others",
        Waits("the crate has no export of a tenant: it is a later part"),
    ),
    (
        "B08",
        "check of a limit, then insert",
        Tests(&["quota.rs::of_a_hundred_tasks_that_race_for_five_places_exactly_five_win"]),
    ),
    (
        "B09",
        "one lock for all tenants",
        Tests(&["quota.rs::b09_a_gauge_that_one_tenant_holds_stops_no_other"]),
    ),
    (
        "B10",
        "a count that is unscoped or has deleted rows",
        Tests(&[
            "quota.rs::only_deleted_rows_release_the_gauge",
            "gauges.rs::soft_deletes_and_restores_move_the_gauge",
            SAME_ID,
        ]),
    ),
    (
        "B12",
        "a customer matched by e-mail",
        Tests(&["stripe_lifecycle.rs::a_field_other_than_the_metadata_names_no_tenant"]),
    ),
    (
        "B13",
        "a tenant from metadata that a customer sets",
        Tests(&[
            "stripe_lifecycle.rs::an_outsider_cannot_attach_its_subscription_to_a_paying_tenant",
            "stripe_lifecycle.rs::a_contradiction_never_moves_a_customer",
        ]),
    ),
    (
        "B14",
        "events twice, out of order, forged, of another mode",
        Tests(&[
            "stripe_lifecycle.rs::an_event_counts_once_however_often_it_comes",
            "stripe_order.rs::every_order_ends_right_or_is_marked",
            "stripe_signature.rs::any_of_several_secrets_proves",
            "stripe_lifecycle.rs::what_cannot_be_read_is_kept_and_what_cannot_be_trusted_is_not",
        ]),
    ),
    (
        "B16",
        "an entitlement that outlives a downgrade",
        Tests(&[
            "quota.rs::after_a_downgrade_what_exists_stays_and_nothing_is_added",
            "stripe_lifecycle.rs::a_cache_is_notified_of_committed_changes_only",
        ]),
    ),
    (
        "B17",
        "an operator's access that is not in the audit log",
        Tests(&[
            "cross_tenant.rs::the_audit_log_of_each_tenant_names_the_reader_and_the_reason",
            "cross_tenant.rs::without_an_audit_event_nothing_is_read",
            "audit.rs::an_event_is_kept_exactly_if_its_change_is",
        ]),
    ),
];

/// The numbers of each section in the catalogue, which have gaps.
const SECTIONS: [(char, &str); 8] = [
    ('R', "01 02 04 05 06 08 09 10 12 13 14 16 17 18 20 21 22 24 25 26 28 29 30"),
    ('C', "01 02 04 05 06 08 09 10 12 13 14 16 17 18 20"),
    ('P', "01 02 03 04 05 06 08 09 10 12 13 14 16 17 18 20 21 22 24"),
    ('S', "01 02 04 05 06 08 09 10 12 13 14 16 17 18 20 21 22 24 25 26 28 29 30 32 33"),
    ('D', "01 02 04 05 06 08 09 10 12 13 14 16 17 18 20"),
    ('K', "01 02 04 05 06 08 09 10"),
    ('X', "01 02 04 05 06 08 09 10 12 13 14 16 17 18 20 21 22"),
    ('B', "01 02 04 05 06 08 09 10 12 13 14 16 17"),
];

#[test]
fn every_entry_of_the_catalogue_is_listed_once() {
    let wanted = SECTIONS
        .iter()
        .flat_map(|(section, numbers)| numbers.split(' ').map(move |number| format!("{section}{number}")));
    let listed: Vec<_> = ENTRIES.iter().map(|(id, ..)| (*id).to_owned()).collect();
    assert_eq!(listed, wanted.collect::<Vec<_>>());
    let waiting = ENTRIES.iter().filter(|(.., cover)| matches!(cover, Waits(_))).count();
    assert!(waiting <= 10, "{waiting} entries wait; a part that is there has tests");
}

#[test]
fn every_test_that_an_entry_names_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let files: Vec<_> =
        ["tests", "compile-fail"].iter().flat_map(|dir| crate::files(&root.join(dir))).collect();
    let sources = crate::files(&root.join("src"));
    let mut named = BTreeSet::new();
    for (id, what, cover) in ENTRIES {
        assert!(what.len() > 5, "{id}");
        match cover {
            Tests(all) => assert!(!all.is_empty(), "{id} names no test"),
            Waits(why) => assert!(why.len() > 20, "{id}: {why}"),
        }
        let Tests(all) = cover else { continue };
        for test in *all {
            let (file, name) = test.split_once("::").unwrap_or((test, ""));
            let among = if file.starts_with("src/") { &sources } else { &files };
            let paths: Vec<_> = among.iter().filter(|path| path.ends_with(file)).collect();
            let [path] = paths[..] else { panic!("{id}: {file} is {paths:?}") };
            let text = std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{id}: {file}: {e}"));
            let function = !name.is_empty()
                && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
            let found = if function {
                ["(", "<"].iter().any(|end| text.contains(&format!("fn {name}{end}")))
            } else {
                text.contains(name)
            };
            assert!(found, "{id}: {file} has no {name}");
            named.insert(*test);
        }
    }
    assert!(named.len() > 70, "only {} tests are named", named.len());
}
