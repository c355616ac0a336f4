//! The library's own statements have forms that Citus takes. Each rule was a failure on Citus 13.2.

use std::fs;
use std::path::Path;

use crate::files;

/// Forms that Citus rejects, or that do not reach its workers, with the reason.
const REJECTED: [(&str, &str); 5] = [
    ("SELECT $", "it cannot tell the type of a parameter in a SELECT without a table: use VALUES"),
    ("RETURNING to_", "it calls no function in RETURNING: use WITH .. RETURNING *"),
    ("set_config('app.", "it does not propagate `set_config`: use SET LOCAL"),
    ("(SELECT FROM ", "it rejects an empty list of columns: use SELECT 1"),
    ("'SELECT FROM ", "it rejects an empty list of columns: use SELECT 1"),
];

/// The tables that Citus distributes, and what runs on any table of tenants.
fn of_tenants(path: &Path, text: &str) -> Vec<String> {
    if path.ends_with("probe.sql") {
        return vec![text.to_owned()];
    }
    let mut statements = Vec::new();
    for table in ["@tenancy_gauge", "@tenancy_audit_events", "@tenancy_usage"] {
        statements.extend(text.match_indices(table).map(|(at, _)| {
            let start = text[..at].rfind('"').map_or(0, |quote| quote + 1);
            let end = text[at..].find('"').map_or(text.len(), |quote| at + quote);
            text[start..end].to_owned()
        }));
    }
    statements
}

#[test]
fn statements_on_distributed_tables_have_no_form_that_citus_rejects() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut read = 0;
    for path in files(&root) {
        let text = fs::read_to_string(&path).expect("a source file reads");
        for statement in of_tenants(&path, &text) {
            read += 1;
            for (form, reason) in REJECTED {
                assert!(!statement.contains(form), "{}: `{form}`: {reason}\n{statement}", path.display());
            }
            // Without the tenant, each worker would run it on every shard.
            let routed = statement.contains("tenant_id = $1") || statement.contains("VALUES ($1");
            assert!(routed || path.ends_with("probe.sql"), "{}: no tenant\n{statement}", path.display());
        }
    }
    assert_eq!(
        read, 42,
        "the probe, thirteen on gauges and their ids, three on audit events, the others on usage"
    );
}

/// The first migrations run before a table is distributed; a later one may not. Citus gets a message whole.
#[test]
fn a_later_migration_of_a_distributed_table_has_one_statement() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations/postgres");
    for path in files(&dir) {
        let name = path.file_name().expect("a file").to_string_lossy().into_owned();
        let version: u32 = name[..4].parse().expect("a migration begins with its version");
        let text = fs::read_to_string(&path).expect("a migration reads");
        let created = [
            ("tenancy_gauges", 1),
            ("tenancy_gauge_resources", 9),
            ("tenancy_audit_events", 1),
            ("tenancy_usage", 7),
        ];
        if created.iter().any(|(table, first)| version > *first && text.contains(table)) {
            let code: String = text.lines().filter(|line| !line.starts_with("--")).collect();
            assert_eq!(code.matches(';').count(), 1, "{name}: one statement for each file");
        }
    }
}

/// Citus repeats a setting on its workers, with the rest of its message.
#[test]
fn a_setting_for_a_transaction_is_a_message_of_its_own() {
    // These send each setting alone if the connection mode is Citus, which tests/data/round_trips.rs checks.
    const BY_MODE: [&str; 2] = ["database/postgres.rs", "preflight/postgres.rs"];
    let mut read = 0;
    for path in files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src")) {
        let text = fs::read_to_string(&path).expect("a source file reads");
        let code = text.lines().filter(|line| !line.trim_start().starts_with(['/', '-']));
        for line in code.filter(|line| line.contains("SET LOCAL")) {
            read += 1;
            let by_mode = BY_MODE.iter().any(|end| path.ends_with(end));
            assert!(by_mode || !line.contains("; "), "{}: {line}", path.display());
        }
    }
    assert!(read > 10, "{read}");
}
