//! A foreign key from a fix of the doctor is validated against every row, and the doctor finds a key that rows break.

use tenancy::isolation::RlsPolicies;
use tenancy::isolation::doctor::{Check, Fix, Report};

use crate::doctor_cases::{self, Fixture};

const ACME: &str = "11111111-1111-4111-8111-111111111111";
const GLOBEX: &str = "22222222-2222-4222-8222-222222222222";

/// Project 1 belongs to ACME, project 2 to GLOBEX.
const PROJECTS: &str = "INSERT INTO projects (tenant_id, id, name, country) OVERRIDING SYSTEM VALUE
    VALUES ('{acme}', 1, 'x', 'se'), ('{globex}', 2, 'y', 'se')";

fn tenants(sql: &str) -> String {
    sql.replace("{acme}", ACME).replace("{globex}", GLOBEX)
}

/// Keys without the tenant: the SQL that plants each key, and a row of GLOBEX that refers to the project of ACME.
const WITHOUT_TENANT: [(&str, &str); 7] = [
    (
        "ALTER TABLE documents ADD CONSTRAINT planted FOREIGN KEY (project_id) REFERENCES projects (id) ON DELETE SET NULL",
        "INSERT INTO documents VALUES ('{globex}', '{globex}', 1)",
    ),
    (
        "ALTER TABLE documents ADD CONSTRAINT planted FOREIGN KEY (project_id) REFERENCES projects (id)
            ON UPDATE CASCADE ON DELETE SET DEFAULT DEFERRABLE INITIALLY DEFERRED",
        "INSERT INTO documents VALUES ('{globex}', '{globex}', 1)",
    ),
    (
        "ALTER TABLE contracts ADD CONSTRAINT planted FOREIGN KEY (project_id) REFERENCES projects (id) ON DELETE RESTRICT",
        "INSERT INTO contracts VALUES ('{globex}', '{globex}', 1, '2026-01-01')",
    ),
    (
        "ALTER TABLE events ADD project bigint;
         ALTER TABLE events ADD CONSTRAINT planted FOREIGN KEY (project) REFERENCES projects (id) ON DELETE CASCADE",
        "INSERT INTO events VALUES ('{globex}', '{globex}', '2026-06-01', '{}', 1)",
    ),
    (
        "ALTER TABLE projects ADD parent bigint;
         ALTER TABLE projects ADD CONSTRAINT planted FOREIGN KEY (parent) REFERENCES projects (id)",
        "UPDATE projects SET parent = 1 WHERE id = 2",
    ),
    (
        "CREATE SCHEMA archive; CREATE TABLE archive.files (tenant_id uuid NOT NULL, project bigint,
            CONSTRAINT planted FOREIGN KEY (project) REFERENCES projects (id));
         GRANT USAGE ON SCHEMA archive TO {app}; GRANT SELECT ON archive.files TO {app}",
        "INSERT INTO archive.files VALUES ('{globex}', 1)",
    ),
    (
        "CREATE TABLE \"odd \"\"name\" (tenant_id uuid NOT NULL, \"the project\" bigint,
            CONSTRAINT planted FOREIGN KEY (\"the project\") REFERENCES projects (id));
         GRANT SELECT ON \"odd \"\"name\" TO {app}",
        "INSERT INTO \"odd \"\"name\" VALUES ('{globex}', 1)",
    ),
];

fn fix_of(report: &Report, check: Check) -> String {
    let mut found = report.findings().iter().filter(|finding| finding.check() == check);
    match found.next().map(tenancy::isolation::doctor::Finding::fix) {
        Some(Fix::Sql(sql)) => sql.clone(),
        other => panic!("{check} has no SQL: {other:?}\n{report}"),
    }
}

/// Runs every SQL fix as the owner, until none is left.
async fn fixed(fixture: &Fixture) -> Report {
    for _ in 0..4 {
        let report = fixture.examined(&fixture.app, "").await;
        for finding in report.findings() {
            if let Fix::Sql(sql) = finding.fix() {
                fixture.as_owner(sql).await;
            }
        }
    }
    fixture.examined(&fixture.app, "").await
}

#[tokio::test]
async fn the_fix_of_a_key_is_rejected_by_rows_that_break_it_when_the_owner_runs_it() {
    for (plant, breaks) in WITHOUT_TENANT {
        let fixture = Fixture::new().await;
        fixture.as_owner(&format!("ALTER TABLE projects ADD UNIQUE (id); {plant}")).await;
        fixture.as_admin(&tenants(PROJECTS)).await;
        fixture.as_admin(&tenants(breaks)).await;
        let fix = fix_of(&fixture.examined(&fixture.app, "").await, Check::ForeignKeyWithoutTenant);
        let before = state(&fixture).await;
        let error = fixture.tried(&fixture.owner, &fix).await.expect_err(plant).to_string();
        assert!(error.contains("violates foreign key constraint \"planted\""), "{plant}: {error}");
        assert_eq!(state(&fixture).await, before, "{plant}: it was undone as a whole");

        // Without such a row the same fix makes the key, and FORCE is on again.
        fixture.as_admin("TRUNCATE projects CASCADE").await;
        fixed(&fixture).await.assert_clean();
        assert_eq!(fixture.broken_keys().await, [""; 0]);
        let mut owner = fixture.connect(&fixture.owner).await;
        let plan = RlsPolicies::new(&doctor_cases::schema()).with_keys().plan(&mut owner).await.unwrap();
        assert!(plan.is_empty(), "{plant}: {plan:?}");
        let unforced = state(&fixture).await.into_iter().filter(|line| line.ends_with("unforced"));
        assert_eq!(unforced.collect::<Vec<_>>(), [""; 0], "{plant}");
        // The key is enforced from now on.
        fixture.as_admin(&tenants(PROJECTS)).await;
        let error = fixture.tried("", &tenants(breaks)).await.expect_err(plant).to_string();
        assert!(error.contains("violates foreign key constraint \"planted\""), "{plant}: {error}");
    }
}

/// Every foreign key, and every tenant table with its FORCE setting.
async fn state(fixture: &Fixture) -> Vec<String> {
    let mut conn = fixture.connect("").await;
    sqlx::query_scalar(
        "SELECT concat_ws(' ', conrelid::regclass, conname, convalidated, pg_get_constraintdef(oid)) FROM pg_constraint \
            WHERE contype = 'f' AND conparentid = 0 \
         UNION ALL SELECT concat_ws(' ', c.oid::regclass, CASE WHEN relforcerowsecurity THEN 'forced' ELSE 'unforced' END) \
            FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname IN ('tenant_id', 'customer') \
            WHERE c.relkind IN ('r', 'p') AND c.relname NOT LIKE 'tenancy\\_%' ORDER BY 1",
    )
    .fetch_all(&mut conn)
    .await
    .unwrap()
}

/// The ways in which a valid key becomes broken, each with the statement that repairs its rows.
const BROKEN: [(&str, &str); 5] = [
    // PostgreSQL validates as the owner, for whom the policies hide the rows.
    (
        "SET ROLE {owner}; ALTER TABLE documents ADD CONSTRAINT planted FOREIGN KEY (tenant_id, project_id) REFERENCES projects (tenant_id, id)",
        "DELETE FROM documents",
    ),
    (
        "SET ROLE {owner}; ALTER TABLE documents ADD CONSTRAINT planted FOREIGN KEY (tenant_id, project_id)
            REFERENCES projects (tenant_id, id) NOT VALID; ALTER TABLE documents VALIDATE CONSTRAINT planted",
        "UPDATE documents SET project_id = 2 WHERE project_id = 1",
    ),
    (
        "SET ROLE {owner}; ALTER TABLE events ADD project bigint; ALTER TABLE events DETACH PARTITION events_2026;
         RESET ROLE; UPDATE events_2026 SET project = 1; SET ROLE {owner};
         ALTER TABLE events ADD CONSTRAINT planted FOREIGN KEY (tenant_id, project) REFERENCES projects (tenant_id, id);
         ALTER TABLE events ATTACH PARTITION events_2026 FOR VALUES FROM ('2026-01-01') TO ('2027-01-01')",
        "UPDATE events SET project = NULL",
    ),
    // Without triggers PostgreSQL checks no key.
    (
        "SET ROLE {owner}; CREATE TABLE more (tenant_id uuid NOT NULL, project bigint, CONSTRAINT planted FOREIGN KEY (tenant_id, project)
            REFERENCES projects (tenant_id, id));
         RESET ROLE; SET session_replication_role = replica; INSERT INTO more VALUES ('{globex}', 1)",
        "DELETE FROM more",
    ),
    (
        "SET ROLE {owner}; ALTER TABLE documents ADD CONSTRAINT planted FOREIGN KEY (tenant_id, project_id)
            REFERENCES projects (tenant_id, id) NOT VALID;
         RESET ROLE; UPDATE pg_constraint SET convalidated = true WHERE conname = 'planted'",
        "DELETE FROM documents",
    ),
];

#[tokio::test]
async fn a_valid_key_that_rows_break_is_found_by_a_role_that_sees_them() {
    for (plant, rows) in BROKEN {
        let fixture = Fixture::new().await;
        fixture.as_admin(&tenants(PROJECTS)).await;
        fixture
            .as_admin(&tenants(
                "INSERT INTO documents VALUES ('{globex}', '{globex}', 1), ('{acme}', '{acme}', NULL);
             INSERT INTO events_2026 VALUES ('{globex}', '{globex}', '2026-06-01', '{}')",
            ))
            .await;
        fixture.as_admin(&tenants(plant)).await;
        assert_eq!(fixture.broken_keys().await, ["planted"], "{plant}");

        let broken = |report: &Report| -> Vec<String> {
            let found = report.findings().iter().filter(|finding| finding.check() == Check::BrokenKey);
            found.map(|finding| format!("{} {}", finding.detail(), finding.fix())).collect()
        };
        // A superuser and a role with BYPASSRLS see the row, and the fix selects it.
        fixture.as_admin("GRANT SELECT ON ALL TABLES IN SCHEMA public TO {operator}").await;
        for role in ["", &fixture.operator] {
            let found = broken(&fixture.examined(role, "").await);
            let [found] = &*found else { panic!("{plant}: {found:?}") };
            assert!(
                found.starts_with(
                    "`planted` is marked valid, and 1 of its rows reference no row of `projects`"
                ),
                "{found}"
            );
            let select = &found[found.find("SELECT c.*").unwrap()..];
            let count = format!("SELECT count(*) FROM ({select}) q");
            let mut admin = fixture.connect("").await;
            let count: i64 =
                sqlx::query_scalar(sqlx::AssertSqlSafe(count)).fetch_one(&mut admin).await.unwrap();
            assert_eq!(count, 1, "{plant}");
        }
        // The application's role and the owner cannot see the rows: the report has a note, and the program starts.
        for role in [&fixture.app, &fixture.owner] {
            let report = fixture.examined(role, "").await;
            assert_eq!(broken(&report), [""; 0]);
            let note =
                format!("{role}` does not see all rows; a role with BYPASSRLS and SELECT on the tables does");
            assert!(report.notes().iter().any(|line| line.ends_with(&note)), "{report}");
            assert!(report.to_string().contains("note: foreign keys whose rows were not checked: "));
        }

        fixture.as_admin(rows).await;
        assert_eq!(broken(&fixture.examined("", "").await), [""; 0], "{plant}");
        assert_eq!(fixture.broken_keys().await, [""; 0], "{plant}");
    }
}

#[tokio::test]
async fn a_check_that_lacks_privileges_is_reported_as_unexamined() {
    let fixture = Fixture::new().await;
    // It is bound by no policy, and may read no table.
    let report = fixture.examined(&fixture.operator, "").await;
    assert!(report.notes().iter().any(|note| note.contains("rows were not checked: 2; ")), "{report}");
    // What takes too long is named, and is no fault.
    let mut busy = fixture.connect(&fixture.owner).await;
    sqlx::raw_sql("BEGIN; LOCK TABLE countries IN ACCESS EXCLUSIVE MODE").execute(&mut busy).await.unwrap();
    let report = fixture.examined("", "").await;
    let wanted = "the rows of the foreign key `projects_country_fkey` of `projects` were not checked: canceling statement due to lock timeout";
    assert!(report.notes().iter().any(|note| note == wanted), "{report}");
}

#[tokio::test]
async fn every_other_constraint_is_checked_although_its_owner_sees_no_row() {
    let fixture = Fixture::new().await;
    fixture.as_admin(&tenants(PROJECTS)).await;
    fixture
        .as_admin(&tenants(
            "INSERT INTO documents VALUES ('{acme}', '{acme}', NULL), ('{globex}', '{globex}', NULL)",
        ))
        .await;
    for (sql, wanted) in [
        ("ALTER TABLE projects ADD CHECK (name <> 'y')", "is violated by some row"),
        (
            "ALTER TABLE projects ADD CONSTRAINT n CHECK (name <> 'y') NOT VALID; ALTER TABLE projects VALIDATE CONSTRAINT n",
            "is violated by some row",
        ),
        ("ALTER TABLE documents ALTER project_id SET NOT NULL", "contains null values"),
        ("ALTER TABLE projects ADD UNIQUE (country)", "could not create unique index"),
        ("CREATE UNIQUE INDEX ON projects (lower(country))", "could not create unique index"),
        (
            "CREATE DOMAIN short AS text CHECK (length(VALUE) < 2); ALTER TABLE projects ALTER country TYPE short",
            "violates check constraint",
        ),
    ] {
        let error = fixture.tried(&fixture.owner, sql).await.expect_err(sql).to_string();
        assert!(error.contains(wanted), "{sql}: {error}");
    }
}
