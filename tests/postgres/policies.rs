//! Generated policies alone decide what a tenant reads and writes, whatever the query text contains.

use sqlx::{Connection, PgConnection};
use tenancy::isolation::{MissingTenant, RlsPolicies};
use tenancy_sql::Schema;

use crate::policy_fixture::{ACME, GLOBEX, SHARED, SHOP, Shop, code, rows, run, shown, state, versions};

/// One row of each table for a tenant.
const STOCK: &str = "
    INSERT INTO projects VALUES ('{t}', 1, '{n}');
    INSERT INTO tasks (tenant_id, id, project_id, title) VALUES ('{t}', 1, 1, '{n}');
    INSERT INTO events VALUES ('{t}', 1, '2026-06-01', '{n}');
    INSERT INTO notes (tenant_id, words) VALUES ('{t}', '{n}');
    INSERT INTO old_notes (tenant_id, id, words) VALUES ('{t}', 9, 'old {n}')";

async fn stock(app: &mut PgConnection) {
    for (tenant, name) in [(ACME, "acme"), (GLOBEX, "globex")] {
        let sql = STOCK.replace("{t}", tenant).replace("{n}", name);
        run(app, &format!("BEGIN; SET LOCAL app.tenant_id = '{tenant}'; {sql}; COMMIT")).await;
    }
    run(app, "INSERT INTO feedback (words) VALUES ('fine')").await;
}

/// Reads of tenant rows, through each kind of table and view.
const READS: [&str; 9] = [
    "SELECT name FROM projects",
    "SELECT title FROM tasks",
    "SELECT title FROM titles",
    "SELECT title FROM long_titles",
    "SELECT what FROM events",
    "SELECT what FROM events_2026",
    "SELECT what FROM events_2026_rest",
    "SELECT words FROM ONLY notes",
    "SELECT substr(words, 5) FROM old_notes",
];

#[tokio::test]
async fn each_tenant_sees_and_changes_its_own_rows_alone() {
    for unset in [MissingTenant::NoRows, MissingTenant::Error] {
        let mut shop = Shop::guarded(SHOP, |policies| policies.missing_tenant(unset)).await;
        // A partition has no grants of its own; the grant lets the policies decide.
        run(&mut shop.owner, &format!("GRANT ALL ON events_2026, events_2026_rest TO {}", shop.role)).await;
        stock(&mut shop.app).await;
        for (tenant, name, other) in [(ACME, "acme", GLOBEX), (GLOBEX, "globex", ACME)] {
            let app = &mut shop.app;
            for sql in READS {
                assert_eq!(rows(app, Some(tenant), sql).await.unwrap(), [name], "{sql}");
                let aimed = format!("{sql} WHERE tenant_id = '{other}'");
                assert_eq!(rows(app, Some(tenant), &aimed).await.unwrap(), [""; 0], "{aimed}");
            }
            // No foreign row is changed, and none is created.
            for sql in [
                format!("UPDATE projects SET name = 'mine' WHERE tenant_id = '{other}' RETURNING name"),
                format!("DELETE FROM tasks WHERE tenant_id = '{other}' RETURNING title"),
                format!("DELETE FROM events_2026_rest WHERE tenant_id = '{other}' RETURNING what"),
                format!("UPDATE old_notes SET words = 'mine' WHERE tenant_id = '{other}' RETURNING words"),
            ] {
                assert_eq!(rows(app, Some(tenant), &sql).await.unwrap(), [""; 0], "{sql}");
            }
            for sql in [
                format!("INSERT INTO projects VALUES ('{other}', 2, 'theirs') RETURNING name"),
                format!("UPDATE projects SET tenant_id = '{other}', id = 9 RETURNING name"),
                format!("INSERT INTO events VALUES ('{other}', 2, '2026-06-02', 'theirs') RETURNING what"),
                format!(
                    "INSERT INTO events_2026_rest VALUES ('{other}', 2, '2026-06-02', 'theirs') RETURNING what"
                ),
                format!(
                    "INSERT INTO old_notes (tenant_id, words) VALUES ('{other}', 'theirs') RETURNING words"
                ),
                format!("INSERT INTO titles VALUES ('{other}', 'theirs') RETURNING title"),
                // An upsert onto an invisible row.
                format!(
                    "INSERT INTO projects VALUES ('{other}', 1, 'mine') \
                     ON CONFLICT (tenant_id, id) DO UPDATE SET name = 'mine' RETURNING name"
                ),
            ] {
                assert_eq!(rows(app, Some(tenant), &sql).await.unwrap_err(), "42501", "{sql}");
            }
            let upsert = format!(
                "INSERT INTO projects VALUES ('{tenant}', 1, 'x') \
                 ON CONFLICT (tenant_id, id) DO UPDATE SET name = excluded.name RETURNING name"
            );
            assert_eq!(rows(app, Some(tenant), &upsert).await.unwrap(), ["x"]);
            run(
                app,
                &format!(
                    "BEGIN; SET LOCAL app.tenant_id = '{tenant}'; UPDATE projects SET name = '{name}'; COMMIT"
                ),
            )
            .await;
        }
        // A cascade stays within the tenant.
        let gone = rows(&mut shop.app, Some(ACME), "DELETE FROM projects WHERE id = 1 RETURNING name").await;
        assert_eq!(gone.unwrap(), ["acme"]);
        assert_eq!(rows(&mut shop.app, Some(ACME), "SELECT title FROM tasks").await.unwrap(), [""; 0]);
        assert_eq!(rows(&mut shop.app, Some(GLOBEX), "SELECT title FROM tasks").await.unwrap(), ["globex"]);
        // The owner is subject to the policies too.
        assert_eq!(rows(&mut shop.owner, Some(ACME), "SELECT what FROM events").await.unwrap(), ["acme"]);
        // The role can neither truncate a table nor write a shared one.
        assert_eq!(code(&sqlx::raw_sql("TRUNCATE notes").execute(&mut shop.app).await.unwrap_err()), "42501");
        let shared = "INSERT INTO countries VALUES ('de') RETURNING code";
        assert_eq!(rows(&mut shop.app, Some(ACME), shared).await.unwrap_err(), "42501");
    }
}

#[tokio::test]
async fn without_a_tenant_there_is_nothing_or_an_error() {
    for unset in [MissingTenant::NoRows, MissingTenant::Error] {
        let mut shop = Shop::guarded(SHOP, |policies| policies.missing_tenant(unset)).await;
        run(&mut shop.owner, &format!("GRANT ALL ON events_2026, events_2026_rest TO {}", shop.role)).await;
        // First the setting was never set on this connection; then it was set and reset, which leaves an empty text.
        for turn in ["never set", "set and finished"] {
            let left: Option<String> = sqlx::query_scalar("SELECT current_setting('app.tenant_id', true)")
                .fetch_one(&mut shop.app)
                .await
                .unwrap();
            assert_eq!(left.as_deref(), if turn == "never set" { None } else { Some("") });
            for sql in READS.into_iter().chain(["DELETE FROM projects RETURNING name"]) {
                match (unset, rows(&mut shop.app, None, sql).await) {
                    (MissingTenant::NoRows, answer) => assert_eq!(answer.unwrap(), [""; 0], "{turn}: {sql}"),
                    (_, answer) => assert_eq!(answer.unwrap_err(), "42704", "{turn}: {sql}"),
                }
            }
            let insert = format!("INSERT INTO projects VALUES ('{ACME}', 7, 'x') RETURNING name");
            let refused = if unset == MissingTenant::Error { "42704" } else { "42501" };
            assert_eq!(rows(&mut shop.app, None, &insert).await.unwrap_err(), refused, "{turn}");
            stock(&mut shop.app).await;
            run(&mut shop.owner, "TRUNCATE projects, tasks, events, notes, old_notes").await;
        }
        if unset == MissingTenant::Error {
            let error = sqlx::raw_sql("SELECT * FROM projects").execute(&mut shop.app).await.unwrap_err();
            assert!(error.to_string().contains("app.tenant_id (no tenant is set)"), "{error}");
        }
    }
}

#[tokio::test]
async fn a_prepared_statement_follows_the_tenant() {
    for unset in [MissingTenant::NoRows, MissingTenant::Error] {
        let mut shop = Shop::guarded(SHOP, |policies| policies.missing_tenant(unset)).await;
        stock(&mut shop.app).await;
        // sqlx prepares the statement once; from the sixth run on PostgreSQL may keep a generic plan.
        for turn in 0..12 {
            let (tenant, name) = if turn % 3 == 0 { (GLOBEX, "globex") } else { (ACME, "acme") };
            let mut tx = shop.app.begin().await.unwrap();
            run(&mut tx, &format!("SET LOCAL app.tenant_id = '{tenant}'")).await;
            let seen: Vec<String> = sqlx::query_scalar("SELECT name FROM projects WHERE id = $1")
                .bind(1_i64)
                .fetch_all(&mut *tx)
                .await
                .unwrap();
            assert_eq!(seen, [name], "turn {turn}");
            tx.commit().await.unwrap();
            let seen: sqlx::Result<Vec<String>> =
                sqlx::query_scalar("SELECT name FROM projects WHERE id = $1")
                    .bind(1_i64)
                    .fetch_all(&mut shop.app)
                    .await;
            match (unset, seen) {
                (MissingTenant::NoRows, seen) => assert_eq!(seen.unwrap(), [""; 0]),
                (_, seen) => assert_eq!(code(&seen.unwrap_err()), "42704"),
            }
        }
    }
}

#[tokio::test]
async fn a_second_time_changes_nothing_and_what_differs_is_fixed() {
    let mut shop = Shop::new(SHOP).await;
    run(&mut shop.owner, "CREATE POLICY visitors ON projects FOR SELECT USING (name = 'open')").await;
    let schema = Schema::from_toml(SHARED).unwrap();
    let policies = RlsPolicies::new(&schema).runtime_role(&shop.role);
    let owner = &mut shop.owner;

    let before = versions(owner).await;
    let planned = policies.plan(owner).await.unwrap();
    assert_eq!(versions(owner).await, before, "a plan writes nothing");
    assert_eq!(policies.apply(owner).await.unwrap(), planned);
    let after = versions(owner).await;
    assert_ne!(after, before);
    let again = policies.apply(owner).await.unwrap();
    assert!(again.is_empty(), "{:?}", shown(&again));
    assert_eq!(versions(owner).await, after, "a second time no statement ran");

    // Another declaration replaces both policies of each table, and changes nothing else.
    let raising = policies.clone().missing_tenant(MissingTenant::Error);
    let replaced = raising.apply(owner).await.unwrap();
    assert_eq!(replaced.changes().len(), 2 * 7, "{:?}", shown(&replaced));
    assert!(replaced.changes().iter().all(|step| step.reason().contains("from another declaration")));
    assert!(raising.plan(owner).await.unwrap().is_empty());
    policies.apply(owner).await.unwrap();
    let right = state(owner).await;

    // A policy that was changed by hand is found, whatever its comment contains, and fixed.
    for (change, reason) in [
        ("ALTER POLICY tenancy_floor ON projects USING (true)", "was altered by hand"),
        ("ALTER POLICY tenancy_own ON projects WITH CHECK (true)", "was altered by hand"),
        ("ALTER POLICY tenancy_floor ON projects TO pg_monitor", "was altered by hand"),
        (
            "DROP POLICY tenancy_floor ON projects; CREATE POLICY tenancy_floor ON projects USING \
             (tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid)",
            "from another declaration",
        ),
        ("DROP POLICY tenancy_own ON projects", "it has no policy `tenancy_own`"),
        ("COMMENT ON POLICY tenancy_own ON projects IS NULL", "is as planned, but not marked"),
        (
            "COMMENT ON POLICY tenancy_own ON projects IS 'tenancy 0123456789abcdef'",
            "is as planned, but not marked",
        ),
        ("ALTER TABLE projects NO FORCE ROW LEVEL SECURITY", "does not apply to its owner"),
        ("ALTER TABLE projects DISABLE ROW LEVEL SECURITY", "is off"),
        ("ALTER VIEW titles RESET (security_invoker)", "with the rights of its owner"),
        // A generated policy under another name is dropped.
        ("ALTER POLICY tenancy_own ON projects RENAME TO mine", "`mine` is no longer declared"),
    ] {
        run(owner, change).await;
        let plan = policies.plan(owner).await.unwrap();
        assert!(shown(&plan).iter().any(|step| step.contains(reason)), "{change}: {:?}", shown(&plan));
        policies.apply(owner).await.unwrap();
        assert_eq!(state(owner).await, right, "{change}");
    }
    let visitors = right.iter().filter(|line| line.contains("visitors"));
    assert_eq!(visitors.count(), 1, "the policy of somebody else is still there");

    // The restrictive floor still applies: an open permissive policy opens nothing.
    stock(&mut shop.app).await;
    run(&mut shop.owner, "CREATE POLICY everybody ON projects USING (true)").await;
    assert_eq!(rows(&mut shop.app, Some(ACME), "SELECT name FROM projects").await.unwrap(), ["acme"]);
    assert_eq!(rows(&mut shop.app, None, "SELECT name FROM projects").await.unwrap(), [""; 0]);
}

#[tokio::test]
async fn what_is_declared_shared_later_loses_its_policies() {
    let mut shop = Shop::new("CREATE TABLE accounts (id uuid PRIMARY KEY, name text NOT NULL)").await;
    let owner = &mut shop.owner;
    let own = Schema::from_toml("columns = { accounts = \"id\" }").unwrap();
    RlsPolicies::new(&own).apply(owner).await.unwrap();
    assert!(state(owner).await.iter().any(|line| line.starts_with("policy accounts tenancy_floor")));

    // A column that is missing in the declaration does not open its table.
    let forgotten = Schema::new("tenant_id").unwrap();
    let error = RlsPolicies::new(&forgotten).plan(owner).await.unwrap_err();
    assert_eq!(error.kind(), tenancy::ErrorKind::Misconfigured);
    assert!(
        error.to_string().contains("`public.accounts` has policies of `tenancy`, but no tenant column"),
        "{error}"
    );

    let shared = Schema::from_toml("shared = [\"accounts\"]").unwrap();
    let done = RlsPolicies::new(&shared).apply(owner).await.unwrap();
    let wanted = [
        "table public.accounts: its policy `tenancy_floor` is no longer declared",
        "table public.accounts: its policy `tenancy_own` is no longer declared",
        "table public.accounts: it is shared, and row-level security without a policy would hide all rows",
    ];
    assert_eq!(shown(&done), wanted);
    let left = state(owner).await;
    assert!(left.iter().any(|line| line == "table accounts f f"), "{left:?}");

    // With a custom policy the table stays secured, and with the tenant column it is not shared.
    RlsPolicies::new(&own).apply(owner).await.unwrap();
    run(owner, "CREATE POLICY all_may_read ON accounts FOR SELECT USING (true)").await;
    RlsPolicies::new(&shared).apply(owner).await.unwrap();
    let left = state(owner).await;
    assert!(left.iter().any(|line| line == "table accounts t t"), "{left:?}");
    run(owner, "ALTER TABLE accounts ADD tenant_id uuid").await;
    let error = RlsPolicies::new(&shared).plan(owner).await.unwrap_err();
    assert!(error.to_string().contains("is declared shared, but it has the tenant column"), "{error}");
}

#[tokio::test]
async fn two_nodes_that_start_at_once_make_the_policies_once() {
    let mut shop = Shop::new(SHOP).await;
    let schema = Schema::from_toml(SHARED).unwrap();
    let policies = RlsPolicies::new(&schema);
    let mut other = PgConnection::connect(&shop.url).await.unwrap();
    let (one, two) = tokio::join!(policies.apply(&mut shop.owner), policies.apply(&mut other));
    let mut steps = [one.unwrap().changes().len(), two.unwrap().changes().len()];
    steps.sort_unstable();
    assert_eq!(steps[0], 0);
    assert!(steps[1] > 20, "{steps:?}");
}

#[tokio::test]
async fn what_cannot_be_changed_leaves_everything_as_it_was() {
    let mut shop = Shop::new(SHOP).await;
    let schema = Schema::from_toml(SHARED).unwrap();
    run(&mut shop.owner, &format!("GRANT ALL ON ALL TABLES IN SCHEMA public TO {}", shop.role)).await;
    let before = state(&mut shop.owner).await;
    // The application's role owns nothing.
    let error = RlsPolicies::new(&schema).apply(&mut shop.app).await.unwrap_err();
    assert_eq!(error.kind(), tenancy::ErrorKind::Database);
    assert_eq!(error.to_string(), "table public.events cannot be changed: must be owner of table events");
    assert_eq!(state(&mut shop.owner).await, before);
    // No lock is left: the owner does not wait.
    run(&mut shop.owner, "SET lock_timeout = '5s'").await;
    RlsPolicies::new(&schema).apply(&mut shop.owner).await.unwrap();
}
