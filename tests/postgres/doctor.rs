//! The doctor finds each planted defect and nothing else, and its fix repairs the defect.

use std::collections::BTreeSet;
use std::panic::AssertUnwindSafe;

use futures_util::{FutureExt, StreamExt, future, stream};
use sqlx::Connection;
use sqlx::pool::PoolOptions;
use tenancy::ErrorKind;
use tenancy::isolation::doctor::{Check, Fix, Report, Severity};
use tenancy::isolation::{MissingTenant, RlsPolicies};
use tenancy::scope::{Enforcement, TenantDb};

use crate::doctor_cases::cases::{CASES, Case};
use crate::doctor_cases::implicit::IMPLICIT;
use crate::doctor_cases::reach::REACH;
use crate::doctor_cases::{self, Fixture};

/// The checks that no planted schema can trigger, and where they are tested.
const ELSEWHERE: [Check; 8] = [
    Check::BrokenKey,      // tests/postgres/doctor_keys.rs
    Check::PlaceRole,      // tests/postgres/place_reach.rs
    Check::ServerVersion,  // src/isolation/doctor/server.rs
    Check::SqlxBegin,      // tests/cli/cli.rs
    Check::ShardPolicy,    // tests/postgres/citus.rs
    Check::CitusTable,     // tests/postgres/citus.rs
    Check::CitusRows,      // tests/postgres/citus.rs
    Check::AuditPrivilege, // tests/postgres/citus.rs
];

/// The note for a role that does not see all rows.
const UNCHECKED: &str = "foreign keys whose rows were not checked: 2; `{app}` does not see all rows; a role with BYPASSRLS and \
    SELECT on the tables does";

fn found(report: &Report) -> Vec<(Check, String)> {
    report.findings().iter().map(|finding| (finding.check(), finding.object().to_owned())).collect()
}

#[tokio::test]
async fn a_clean_schema_is_clean_in_every_form() {
    let fixture = Fixture::new().await;
    let report = fixture.examined(&fixture.app, "").await;
    report.assert_clean();
    assert_eq!(report.notes(), [fixture.named(UNCHECKED)]);
    // projects, orders, events, documents, contracts, counters, notes, the crate's gauges with their ids, audit events,
    // usage and batches.
    assert_eq!((report.tables(), report.proven_with_rows()), (12, 12));
    let text = report.to_string();
    let (note, clean) = text.split_once('\n').unwrap();
    assert_eq!(note, format!("note: {}", fixture.named(UNCHECKED)));
    assert!(
        clean.starts_with("clean: 12 tenant tables in `") && clean.ends_with("12 of 12 proven with rows"),
        "{text}"
    );
    assert!(!clean.contains('\n'), "{text}");
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!((&json["findings"], &json["role"]), (&serde_json::json!([]), &serde_json::json!(fixture.app)));
    assert_eq!(report.to_sarif()["runs"][0]["results"], serde_json::json!([]));
    // A setting of the session that changes how PostgreSQL prints names is not taken for another policy.
    fixture.examined(&fixture.app, "SET quote_all_identifiers = on").await.assert_clean();
    for table in [
        "projects",
        "orders",
        "events",
        "documents",
        "counters",
        "notes",
        "tenancy_gauge_resources",
        "tenancy_audit_events",
    ] {
        assert_eq!(fixture.rows(table).await, 0, "the probe left a row in {table}");
    }
}

#[tokio::test]
async fn a_policy_that_raises_where_no_tenant_is_set_is_as_clean() {
    let fixture = Fixture::new().await;
    let raises = "current_setting(CASE WHEN current_setting('app.tenant_id', true) <> '' THEN 'app.tenant_id'
        ELSE 'app.tenant_id (no tenant is set)' END)";
    let alter = |table: &str, same: String| {
        format!(
            "DROP POLICY tenancy_floor ON {table}; DROP POLICY tenancy_own ON {table};
            CREATE POLICY floor ON {table} AS RESTRICTIVE USING ({same}); CREATE POLICY own ON {table} USING ({same});"
        )
    };
    let both = alter("projects", format!("tenant_id = {raises}::uuid"))
        + &alter("notes", format!("customer = {raises}"))
        + &alter("counters", "tenant_id = current_setting('app.tenant_id')::bigint".to_owned());
    fixture.as_owner(&both).await;
    let report = fixture.examined(&fixture.app, "").await;
    report.assert_clean();
    assert_eq!((report.notes(), report.proven_with_rows()), (&[fixture.named(UNCHECKED)][..], 12));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_defect_is_found_alone_and_removed_by_its_fix() {
    all_proven(CASES).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn privileges_beyond_a_new_server_are_found_and_their_fix_revokes_them() {
    all_proven(REACH).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_implicitly_called_function_is_found_and_its_fix_revokes_it() {
    all_proven(IMPLICIT).await;
}

#[test]
fn every_check_has_a_case() {
    let cases = [CASES, REACH, IMPLICIT].into_iter().flatten();
    let planted: BTreeSet<Check> = cases.flat_map(|case| case.found).map(|(check, _)| *check).collect();
    for check in Check::ALL {
        assert!(planted.contains(check) != ELSEWHERE.contains(check), "{check} has no case, or one too many");
    }
}

async fn all_proven(cases: &'static [Case]) {
    let failed: Vec<&str> = stream::iter(cases)
        .map(async |case| AssertUnwindSafe(proven(case)).catch_unwind().await.err().map(|_| case.plant))
        .buffer_unordered(4)
        .filter_map(future::ready)
        .collect()
        .await;
    assert_eq!(failed, [""; 0]);
}

async fn proven(case: &Case) {
    let fixture = Fixture::new().await;
    fixture.as_admin(doctor_cases::ROWS).await;
    let plant = format!("SET ROLE {{owner}}; {}", case.plant);
    fixture.as_admin(&plant).await;
    let report = fixture.examined(&fixture.app, case.session).await;
    let wanted: Vec<_> = case.found.iter().map(|(check, object)| (*check, fixture.named(object))).collect();
    assert_eq!(found(&report), wanted, "{}\n{report}", case.plant);
    let errors = wanted.iter().filter(|(check, _)| check.severity() == Severity::Error).count();
    assert_eq!(report.failures(&[]).len(), errors);
    let accepted: Vec<_> = wanted.iter().map(|(check, _)| *check).collect();
    assert!(report.failures(&accepted).is_empty());

    // `policies --check` also finds what the doctor finds about a table's policies.
    if case.found.iter().any(|(check, _)| OF_TABLES.contains(check)) {
        let mut owner = fixture.connect(&fixture.owner).await;
        let schema = doctor_cases::schema();
        let all = RlsPolicies::new(&schema).plan(&mut owner).await;
        let reached = RlsPolicies::new(&schema).runtime_role(&fixture.app).plan(&mut owner).await;
        let fails = all.is_err_and(|error| error.kind() == ErrorKind::Misconfigured)
            || reached.is_ok_and(|plan| !plan.is_empty() || !plan.unguarded().is_empty())
            || case.found.iter().any(|(check, _)| *check == Check::OwnerPastRls);
        assert!(fails, "`policies --check` does not find it: {}", case.plant);
    }

    let planted = lacking(&fixture).await;
    // A fix that depends on another fix is a step first, and SQL afterwards.
    let mut session = case.session;
    for _ in 0..3 {
        let report = fixture.examined(&fixture.app, session).await;
        let fixes: Vec<_> =
            report.findings().iter().map(|finding| (finding.check(), finding.fix().clone())).collect();
        if fixes.is_empty() {
            break;
        }
        let mut ran = false;
        for (check, fix) in fixes {
            if let Fix::Sql(sql) = fix {
                // Runs as the owner, who is subject to FORCE; a fix beyond the owner's rights runs as the superuser.
                let before = lacking(&fixture).await;
                if BEYOND_THE_OWNER.contains(&check) {
                    fixture.as_admin(&sql).await;
                } else {
                    fixture.as_owner(&sql).await;
                }
                let after = lacking(&fixture).await;
                adds_nothing(&before, after, &format!("{check}: {sql}\n{}", case.plant));
                ran = true;
            }
        }
        if !ran {
            assert!(!case.by_hand.is_empty(), "no fix is SQL, and the case has none by hand: {}", case.plant);
            fixture.as_admin(&format!("SET ROLE {{owner}}; {}", case.by_hand)).await;
            session = "";
        }
    }
    fixture.examined(&fixture.app, session).await.assert_clean();
    agreed(&fixture, case, session, planted).await;
}

/// The checks that `policies` compares too.
const OF_TABLES: [Check; 11] = [
    Check::OwnerPastRls,
    Check::RlsOff,
    Check::ChildWithoutRls,
    Check::OpenPolicy,
    Check::MissingTenantColumn,
    Check::TenantType,
    Check::ForeignTable,
    Check::RlsNotForced,
    Check::NoFloor,
    Check::AlteredPolicy,
    Check::NoPolicy,
];

/// The checks whose fixes exceed the rights of the tables' owner.
const BEYOND_THE_OWNER: [Check; 17] = [
    Check::RemoteFunction,
    Check::ImplicitFunction,
    Check::ExemptRole,
    Check::OwnerPastRls,
    Check::OwnerView,
    Check::MaterializedView,
    Check::ForeignTable,
    Check::DefinerFunction,
    Check::LeakproofFunction,
    Check::EventTrigger,
    Check::SystemPrivilege,
    Check::ForeignServer,
    Check::PredefinedRole,
    Check::UnsafeSetting,
    Check::SettingDefault,
    Check::OwnerRole,
    Check::WidePrivilege,
];

/// What `policies --check --keys --role` misses. The error is that of a database for which it makes no plan.
async fn lacking(fixture: &Fixture) -> Result<BTreeSet<String>, String> {
    let schema = doctor_cases::schema();
    let mut owner = fixture.connect(&fixture.owner).await;
    let policies = RlsPolicies::new(&schema).with_keys().runtime_role(&fixture.app);
    let plan = policies.plan(&mut owner).await;
    owner.close().await.unwrap();
    let plan = plan.map_err(|error| error.to_string())?;
    assert!(plan.tables() > 0, "nothing was compared");
    let all = plan.changes().iter().chain(plan.unguarded());
    Ok(all.map(|step| format!("{}: {} {}", step.object(), step.reason(), step.sql())).collect())
}

/// A fix of the doctor leaves nothing for `policies` to change that was not there before.
fn adds_nothing(
    before: &Result<BTreeSet<String>, String>,
    after: Result<BTreeSet<String>, String>,
    fix: &str,
) {
    if let Ok(before) = before {
        let new: Vec<_> = after.unwrap().into_iter().filter(|step| !before.contains(step)).collect();
        assert_eq!(new, [""; 0], "`policies` undoes a fix of the doctor: {fix}");
    }
}

/// After the fixes, `policies --check` is clean for the role of the application, and no row breaks a foreign key.
///
/// Where the plant gives the role fewer privileges than an application has, `policies` grants them, and no more; then
/// both are clean.
async fn agreed(fixture: &Fixture, case: &Case, session: &str, planted: Result<BTreeSet<String>, String>) {
    let planted = planted.unwrap_or_default();
    let left = lacking(fixture).await.unwrap();
    let other: Vec<_> =
        left.iter().filter(|step| !planted.contains(*step) || !step.contains(" GRANT ")).collect();
    assert_eq!(other, [""; 0], "{}", case.plant);
    assert_eq!(fixture.broken_keys().await, [""; 0], "{}", case.plant);
    if !left.is_empty() {
        let schema = doctor_cases::schema();
        let mut owner = fixture.connect(&fixture.owner).await;
        RlsPolicies::new(&schema).runtime_role(&fixture.app).apply(&mut owner).await.unwrap();
        owner.close().await.unwrap();
        assert_eq!(lacking(fixture).await, Ok(BTreeSet::new()), "{}", case.plant);
        fixture.examined(&fixture.app, session).await.assert_clean();
    }
}

#[tokio::test]
async fn a_fix_has_the_form_that_the_policies_of_the_other_tables_have() {
    let fixture = Fixture::new().await;
    let schema = doctor_cases::schema();
    let raising = RlsPolicies::new(&schema).missing_tenant(MissingTenant::Error);
    let mut owner = fixture.connect(&fixture.owner).await;
    raising.apply(&mut owner).await.unwrap();
    fixture.examined(&fixture.app, "").await.assert_clean();
    fixture.as_owner(
        "DROP POLICY tenancy_floor ON projects; ALTER POLICY tenancy_own ON orders USING (true); DROP POLICY tenancy_own ON notes",
    )
    .await;
    let report = fixture.examined(&fixture.app, "").await;
    let wanted = [(Check::NoFloor, "projects"), (Check::AlteredPolicy, "orders"), (Check::NoPolicy, "notes")];
    assert_eq!(found(&report), wanted.map(|(check, table)| (check, table.to_owned())), "{report}");
    for finding in report.findings() {
        fixture.as_owner(&finding.fix().to_string()).await;
    }
    fixture.examined(&fixture.app, "").await.assert_clean();
    let left = raising.plan(&mut owner).await.unwrap();
    assert!(left.is_empty(), "{:?}", left.changes());
}

#[tokio::test]
async fn who_runs_the_application_is_found_on_a_clean_schema() {
    let fixture = Fixture::new().await;
    let report = fixture.examined("", "").await;
    let [superuser] = &report.findings() else { panic!("{report}") };
    assert_eq!((superuser.check(), superuser.detail().contains("is a superuser")), (Check::ExemptRole, true));
    assert_eq!(report.notes(), ["the probe did not run: no policy applies to this role"]);

    fixture.as_admin("GRANT ALL ON ALL TABLES IN SCHEMA public TO {operator}; REVOKE TRUNCATE, REFERENCES, TRIGGER ON ALL TABLES IN SCHEMA public FROM {operator};
        REVOKE ALL ON for_the_operator, for_the_owner FROM {operator}; REVOKE INSERT, UPDATE, DELETE ON countries FROM {operator}").await;
    let report = fixture.examined(&fixture.operator, "").await;
    assert_eq!(found(&report), [(Check::ExemptRole, fixture.operator.clone())], "{report}");

    // A role that is set at login and can be reset.
    fixture.as_admin("GRANT {app} TO {operator}").await;
    let report = fixture.examined(&fixture.operator, "SET ROLE {app}").await;
    assert_eq!(found(&report), [(Check::ExemptRole, fixture.operator.clone())], "{report}");
    fixture.as_admin("REVOKE {app} FROM {operator}").await;
}

#[tokio::test]
async fn an_application_starts_with_a_note_and_not_with_an_implicitly_called_function() {
    let fixture = Fixture::new().await;
    // An application has one type of tenant id.
    fixture.as_owner("DROP TABLE counters, notes").await;
    let db = |enforcement: Enforcement| {
        TenantDb::postgres(PoolOptions::new().max_connections(2), fixture.url(&fixture.app))
            .schema(doctor_cases::schema())
            .enforcement(enforcement)
    };
    let started = db(Enforcement::PredicateAndRls).build().await.unwrap();
    assert_eq!(started.doctor().await.unwrap().notes(), [fixture.named(UNCHECKED)]);
    drop(started);
    fixture.as_owner("CREATE FUNCTION history(orders) RETURNS bigint LANGUAGE sql AS 'SELECT 1'").await;
    for enforcement in [Enforcement::PredicateAndRls, Enforcement::PredicateOnly] {
        let error = db(enforcement).build().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Misconfigured);
        assert!(
            error.to_string().contains("implicit-function at history: it is called by `history` written"),
            "{error}"
        );
        db(enforcement).accept(Check::ImplicitFunction).build().await.unwrap();
        let off =
            "DO $$ DECLARE t regclass; BEGIN FOR t IN SELECT oid FROM pg_class WHERE relrowsecurity LOOP
            EXECUTE 'ALTER TABLE ' || t || ' DISABLE ROW LEVEL SECURITY'; END LOOP; END $$";
        fixture.as_owner(off).await;
    }
}

#[tokio::test]
async fn an_owner_role_is_a_finding() {
    let fixture = Fixture::new().await;
    fixture.as_owner("DROP MATERIALIZED VIEW for_the_operator; DROP TABLE for_the_owner").await;
    let report = fixture.examined(&fixture.owner, "").await;
    assert_eq!(found(&report), [(Check::OwnerRole, fixture.owner.clone())], "{report}");
    assert!(report.failures(&[]).is_empty());
    assert_eq!(report.proven_with_rows(), 12, "{:?}", report.notes());

    fixture.as_admin("GRANT {owner} TO {app}").await;
    let report = fixture.examined(&fixture.app, "").await;
    assert_eq!(found(&report), [(Check::OwnerRole, fixture.owner.clone())], "{report}");
}

#[test]
fn the_table_of_checks_is_what_the_program_has() {
    let docs = include_str!("../../docs/reference/doctor-checks.md");
    for check in Check::ALL {
        let row =
            format!("| `{}` | {} | {} | {} | ", check.id(), check.severity(), check.title(), check.help());
        assert!(docs.contains(&row), "docs/reference/doctor-checks.md has no row `{row}`");
    }
    let rows = docs.lines().filter(|line| line.starts_with("| `")).count();
    assert_eq!(rows, Check::ALL.len(), "docs/reference/doctor-checks.md has rows for unknown checks");
}

#[tokio::test]
async fn sarif_holds_each_finding_with_its_rule_place_and_fix() {
    let fixture = Fixture::new().await;
    fixture
        .as_owner("DROP POLICY tenancy_floor ON projects; ALTER TABLE notes DISABLE ROW LEVEL SECURITY")
        .await;
    let report = fixture.examined(&fixture.app, "").await;
    let sarif = report.to_sarif();
    assert_eq!(sarif["version"], "2.1.0");
    let run = &sarif["runs"][0];
    let rules = run["tool"]["driver"]["rules"].as_array().unwrap();
    assert_eq!(rules.len(), Check::ALL.len());
    let results = run["results"].as_array().unwrap();
    let told: Vec<_> = results
        .iter()
        .map(|result| {
            let rule = &rules[usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap()];
            assert_eq!(rule["id"], result["ruleId"]);
            assert!(rule["help"]["text"].as_str().is_some_and(|text| !text.is_empty()));
            let place = &result["locations"][0]["logicalLocations"][0]["fullyQualifiedName"];
            let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
            assert!(text(&result["message"]["text"]).contains("To fix it: "), "{result}");
            [text(&result["ruleId"]), text(&result["level"]), text(place)]
        })
        .collect();
    assert_eq!(told, [["rls-off", "error", "notes"], ["no-floor", "warning", "projects"]]);

    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["findings"][0]["check"], "rls-off");
    assert_eq!(json["findings"][0]["severity"], "error");
    assert_eq!(
        json["findings"][0]["fix"]["sql"],
        "ALTER TABLE public.notes ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY"
    );
    let accepted = report.accepting(&[Check::RlsOff, Check::NoFloor]);
    accepted.assert_clean();
    assert_eq!(accepted.notes()[1..], ["accepted: rls-off (1)", "accepted: no-floor (1)"]);
}

#[tokio::test]
async fn what_the_database_does_not_answer_is_no_silence() {
    let fixture = Fixture::new().await;
    // During a migration no query waits long for a lock.
    let mut migration = fixture.connect(&fixture.owner).await;
    sqlx::raw_sql("BEGIN; LOCK TABLE notes IN ACCESS EXCLUSIVE MODE").execute(&mut migration).await.unwrap();
    let report = fixture.examined(&fixture.app, "").await;
    assert!(!report.findings().is_empty());
    for finding in report.findings() {
        assert_eq!((finding.check(), finding.severity()), (Check::Unexamined, Severity::Error), "{report}");
        assert!(finding.detail().contains("timeout"), "{report}");
    }
    sqlx::raw_sql("ROLLBACK").execute(&mut migration).await.unwrap();

    let standby = fixture.examined(&fixture.app, "SET default_transaction_read_only = on").await;
    standby.assert_clean();
    assert_eq!(
        (standby.proven_with_rows(), standby.notes()),
        (0, &["the probe wrote no row: the server is read-only".to_owned(), fixture.named(UNCHECKED)][..])
    );
}

#[test]
fn an_examination_may_move_between_threads() {
    fn moves<T: Send>(_: T) {}
    fn proof(conn: &mut sqlx::PgConnection, schema: &tenancy_sql::Schema) {
        moves(tenancy::isolation::doctor::examine(conn, schema));
    }
    let _ = proof;
}
