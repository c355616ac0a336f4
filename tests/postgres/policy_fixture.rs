//! Fixture: a shop whose tables one role owns and another role uses.
#![allow(dead_code, reason = "each test binary uses its part")]

use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection, Postgres};
use tenancy::isolation::{PolicyPlan, RlsPolicies};
use tenancy_sql::Schema;
use uuid::Uuid;

use crate::common::{Cleanup, TestBackend, admin_url};

pub(crate) const ACME: &str = "11111111-1111-4111-8111-111111111111";
pub(crate) const GLOBEX: &str = "22222222-2222-4222-8222-222222222222";

/// Every kind of table and view with tenant rows.
pub(crate) const SHOP: &str = "
    CREATE TABLE countries (code text PRIMARY KEY);
    CREATE TABLE feedback (id bigserial PRIMARY KEY, words text NOT NULL);
    CREATE TABLE projects (tenant_id uuid NOT NULL, id bigint NOT NULL, name text NOT NULL, PRIMARY KEY (tenant_id, id));
    CREATE TABLE tasks (tenant_id uuid NOT NULL, id bigserial NOT NULL, project_id bigint, title text NOT NULL,
        PRIMARY KEY (tenant_id, id),
        FOREIGN KEY (tenant_id, project_id) REFERENCES projects ON DELETE CASCADE);
    CREATE TABLE events (tenant_id uuid NOT NULL, id bigint NOT NULL, at date NOT NULL, what text NOT NULL,
        PRIMARY KEY (tenant_id, id, at)) PARTITION BY RANGE (at);
    CREATE TABLE events_2026 PARTITION OF events FOR VALUES FROM ('2026-01-01') TO ('2027-01-01') PARTITION BY LIST (id);
    CREATE TABLE events_2026_rest PARTITION OF events_2026 DEFAULT;
    CREATE TABLE notes (tenant_id uuid NOT NULL, id bigint GENERATED ALWAYS AS IDENTITY, words text NOT NULL,
        PRIMARY KEY (tenant_id, id));
    CREATE TABLE old_notes (PRIMARY KEY (tenant_id, id)) INHERITS (notes);
    CREATE VIEW titles AS SELECT tenant_id, title FROM tasks;
    CREATE VIEW long_titles AS SELECT * FROM titles WHERE length(title) > 1";

pub(crate) const SHARED: &str = "shared = [\"countries\"]\nshared_writable = [\"feedback\"]";

pub(crate) struct Shop {
    pub(crate) url: String,
    /// A connection of the tables' owner.
    pub(crate) owner: PgConnection,
    /// A connection of the application's role.
    pub(crate) app: PgConnection,
    pub(crate) role: String,
    _database: Cleanup,
    _role: Cleanup,
}

impl Shop {
    pub(crate) async fn new(tables: &str) -> Self {
        let (url, database) = Postgres::fresh_url().await;
        let mut owner = PgConnection::connect(&url).await.unwrap();
        run(&mut owner, tables).await;
        // The owner of the database is a member of the role, so that it can end the role's connections.
        let name: String =
            sqlx::query_scalar("SELECT current_user::text").fetch_one(&mut owner).await.unwrap();
        let options = format!("LOGIN NOSUPERUSER NOBYPASSRLS PASSWORD 'runtime' ROLE {name}");
        let (role, cleanup) = new_role(&options).await;
        let options: PgConnectOptions = url.parse().unwrap();
        let app = options.username(&role).password("runtime").connect().await.unwrap();
        Self { url, owner, app, role, _database: database, _role: cleanup }
    }

    /// The shop with its policies and the grants of its role.
    pub(crate) async fn guarded(
        tables: &str,
        policies: impl FnOnce(RlsPolicies<'_>) -> RlsPolicies<'_>,
    ) -> Self {
        let mut shop = Self::new(tables).await;
        let schema = Schema::from_toml(SHARED).unwrap();
        let policies = policies(RlsPolicies::new(&schema).runtime_role(&shop.role));
        policies.apply(&mut shop.owner).await.unwrap();
        shop
    }
}

/// Makes a role for this test.
pub(crate) async fn new_role(options: &str) -> (String, Cleanup) {
    let mut admin = PgConnection::connect(&admin_url()).await.expect("TEST_POSTGRES_ADMIN_URL answers");
    let role = format!("tenancy_test_{}", Uuid::now_v7().simple());
    run(&mut admin, &format!("CREATE ROLE {role} {options}")).await;
    let cleanup = Cleanup::database(role.clone(), async move |role| {
        let mut admin = PgConnection::connect(&admin_url()).await?;
        sqlx::raw_sql(AssertSqlSafe(format!("DROP ROLE {role}"))).execute(&mut admin).await.map(|_| ())
    });
    (role, cleanup)
}

pub(crate) async fn run(conn: &mut PgConnection, sql: &str) {
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(conn).await.unwrap_or_else(|e| panic!("{sql}: {e}"));
}

/// The texts that a statement returns in a transaction of this tenant, or its error code.
pub(crate) async fn rows(
    conn: &mut PgConnection,
    tenant: Option<&str>,
    sql: &str,
) -> Result<Vec<String>, String> {
    let mut tx = conn.begin().await.unwrap();
    if let Some(tenant) = tenant {
        run(&mut tx, &format!("SET LOCAL app.tenant_id = '{tenant}'")).await;
    }
    let answer = sqlx::query_scalar::<_, String>(AssertSqlSafe(sql)).fetch_all(&mut *tx).await;
    match answer {
        Ok(rows) => tx.commit().await.map(|()| rows).map_err(|e| code(&e)),
        Err(error) => {
            tx.rollback().await.unwrap();
            Err(code(&error))
        }
    }
}

pub(crate) fn code(error: &sqlx::Error) -> String {
    error
        .as_database_error()
        .and_then(sqlx::error::DatabaseError::code)
        .unwrap_or_else(|| panic!("{error}"))
        .into_owned()
}

/// The changes of a plan with their reasons, as lines.
pub(crate) fn shown(migration: &PolicyPlan) -> Vec<String> {
    migration.changes().iter().map(|step| format!("{}: {}", step.object(), step.reason())).collect()
}

/// Policies, views, grants and keys in the catalogue, without values that differ between two databases.
pub(crate) async fn state(conn: &mut PgConnection) -> Vec<String> {
    texts(
        conn,
        "SELECT concat_ws(' ', 'policy', polrelid::regclass, polname, polpermissive, polcmd, polroles, \
             pg_get_expr(polqual, polrelid), obj_description(oid, 'pg_policy')) FROM pg_policy \
         UNION ALL SELECT concat_ws(' ', 'table', c.oid::regclass, relrowsecurity, relforcerowsecurity, reloptions, \
             (SELECT string_agg(a::text, ' ' ORDER BY a::text) FROM unnest(relacl) a)) \
             FROM pg_class c WHERE relnamespace::regnamespace::text NOT IN ('pg_catalog', 'information_schema', 'pg_toast') \
         UNION ALL SELECT concat_ws(' ', 'key', conrelid::regclass, conname, pg_get_constraintdef(oid)) FROM pg_constraint \
             WHERE contype IN ('p', 'u', 'f') AND conrelid <> 0 \
         UNION ALL SELECT concat_ws(' ', 'index', pg_get_indexdef(indexrelid)) FROM pg_index \
             WHERE indrelid::regclass::text NOT LIKE 'pg\\_%' \
         UNION ALL SELECT concat_ws(' ', 'column', attrelid::regclass, attname, attnotnull, atthasdef) FROM pg_attribute \
             JOIN pg_class c ON c.oid = attrelid AND relkind IN ('r', 'p') \
             WHERE attnum > 0 AND relnamespace::regnamespace::text NOT IN ('pg_catalog', 'information_schema') \
         UNION ALL SELECT concat_ws(' ', 'schema', nspname, nspacl) FROM pg_namespace \
         UNION ALL SELECT concat_ws(' ', 'default', defaclrole::regrole, defaclacl) FROM pg_default_acl ORDER BY 1",
    )
    .await
}

/// The row versions of the catalogue: any statement that changes a row makes a new one.
pub(crate) async fn versions(conn: &mut PgConnection) -> Vec<String> {
    texts(
        conn,
        "SELECT concat_ws(' ', 'policy', oid, xmin, ctid) FROM pg_policy \
         UNION ALL SELECT concat_ws(' ', 'class', oid, xmin, ctid) FROM pg_class \
         UNION ALL SELECT concat_ws(' ', 'comment', objoid, xmin, ctid) FROM pg_description WHERE classoid = 'pg_policy'::regclass \
         UNION ALL SELECT concat_ws(' ', 'default', oid, xmin, ctid) FROM pg_default_acl ORDER BY 1",
    )
    .await
}

pub(crate) async fn texts(conn: &mut PgConnection, sql: &'static str) -> Vec<String> {
    sqlx::query_scalar(sql).fetch_all(conn).await.unwrap()
}
