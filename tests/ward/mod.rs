//! A clean schema on a database of its own, owned by one role and used by another.
#![allow(dead_code, reason = "each test takes what it needs")]
#![allow(unreachable_pub, missing_debug_implementations, reason = "this is no library")]

pub mod cases;
pub mod implicit;
pub mod reach;

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection};
use tenancy::isolation::RlsPolicies;
use tenancy::isolation::doctor::{self, Report};
use tenancy_sql::Schema;
use uuid::Uuid;

use crate::common::{Cleanup, admin_url};

pub const TOML: &str = r#"
dialects = ["postgres"]
columns = { notes = "customer" }
shared = ["countries"]
shared_writable = ["feedback"]
functions = ["known_report"]
composite_types = { address = ["street", "city"] }
"#;

const TABLES: &str = "
    CREATE TABLE countries (code text PRIMARY KEY);
    INSERT INTO countries VALUES ('se');
    CREATE TABLE feedback (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, words text NOT NULL);
    CREATE TYPE state AS ENUM ('open', 'paid');
    CREATE DOMAIN cents AS bigint CHECK (VALUE >= 0);
    CREATE TABLE projects (
        tenant_id uuid NOT NULL, id bigint GENERATED ALWAYS AS IDENTITY, name varchar(20) NOT NULL,
        country text NOT NULL REFERENCES countries, PRIMARY KEY (tenant_id, id));
    CREATE TABLE orders (
        tenant_id uuid NOT NULL, id uuid NOT NULL DEFAULT gen_random_uuid(), project_id bigint NOT NULL,
        number serial, state state NOT NULL, kind text NOT NULL CHECK (kind IN ('once', 'monthly')), amount cents NOT NULL,
        doubled bigint GENERATED ALWAYS AS (amount * 2) STORED, tags text[] NOT NULL, touched timestamptz,
        PRIMARY KEY (tenant_id, id), UNIQUE (number, tenant_id),
        FOREIGN KEY (tenant_id, project_id) REFERENCES projects (tenant_id, id) ON DELETE CASCADE);
    CREATE INDEX orders_by_kind ON orders (kind);
    CREATE INDEX orders_by_lower_kind ON orders (tenant_id, lower(kind));
    CREATE TABLE events (tenant_id uuid NOT NULL, id uuid NOT NULL, at timestamptz NOT NULL, body jsonb NOT NULL,
        PRIMARY KEY (tenant_id, id, at)) PARTITION BY RANGE (at);
    CREATE TABLE events_2026 PARTITION OF events FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
    CREATE TABLE events_rest PARTITION OF events DEFAULT;
    CREATE TABLE documents (tenant_id uuid NOT NULL, id uuid NOT NULL, project_id bigint, PRIMARY KEY (tenant_id, id));
    CREATE TABLE contracts (signed date NOT NULL, PRIMARY KEY (tenant_id, id)) INHERITS (documents);
    CREATE TABLE counters (tenant_id bigint NOT NULL, day date NOT NULL, n int NOT NULL DEFAULT 0, PRIMARY KEY (tenant_id, day));
    CREATE TABLE notes (customer text NOT NULL, body text NOT NULL);
    CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.touched := now(); RETURN NEW; END';
    CREATE TRIGGER touch BEFORE INSERT OR UPDATE ON orders FOR EACH ROW EXECUTE FUNCTION touch();
    CREATE FUNCTION one() RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 1';
    CREATE FUNCTION known_report() RETURNS bigint LANGUAGE sql STABLE SECURITY DEFINER AS 'SELECT count(*) FROM orders';
    CREATE VIEW open_orders WITH (security_invoker) AS SELECT * FROM orders WHERE state = 'open';
    CREATE VIEW codes AS SELECT code FROM countries;
    CREATE MATERIALIZED VIEW all_codes AS SELECT code FROM countries;
    CREATE MATERIALIZED VIEW for_the_operator AS SELECT count(*) FROM orders;
    CREATE TABLE for_the_owner (anything text);
    GRANT SELECT ON countries, open_orders, codes, all_codes TO {app};
    GRANT SELECT, INSERT, UPDATE, DELETE ON feedback, projects, orders, events, events_2026, documents, contracts,
        counters, notes, tenancy_tenants, tenancy_gauges, tenancy_audit_events, tenancy_customers,
        tenancy_subscriptions, tenancy_billing_events, tenancy_billing_quarantine, tenancy_slugs, tenancy_domains,
        tenancy_domain_claims, tenancy_api_keys TO {app};
    GRANT SELECT ON events_rest TO PUBLIC;
    GRANT USAGE ON SEQUENCE orders_number_seq TO {app}";

/// Each foreign key with the query that counts the rows that break it.
const BROKEN: &str = "
    SELECT k.conname::text, format('SELECT count(*) FROM %s c LEFT JOIN %s p ON %s WHERE %s AND p.tableoid IS NULL',
        k.conrelid::regclass, k.confrelid::regclass,
        string_agg(format('p.%I = c.%I', b.attname, a.attname), ' AND '),
        string_agg(format('c.%I IS NOT NULL', a.attname), ' AND '))
    FROM pg_constraint k, unnest(k.conkey, k.confkey) u(own, theirs), pg_attribute a, pg_attribute b
    WHERE k.contype = 'f' AND k.conparentid = 0 AND a.attrelid = k.conrelid AND a.attnum = u.own
        AND b.attrelid = k.confrelid AND b.attnum = u.theirs
    GROUP BY k.oid ORDER BY k.conname";

pub fn schema() -> Schema {
    Schema::from_toml(TOML).expect("the schema reads")
}

/// Rows of two tenants, which keep every key.
pub const ROWS: &str = "
    INSERT INTO projects (tenant_id, id, name, country) OVERRIDING SYSTEM VALUE VALUES
        ('11111111-1111-4111-8111-111111111111', 1, 'x', 'se'), ('22222222-2222-4222-8222-222222222222', 2, 'y', 'se');
    INSERT INTO orders (tenant_id, project_id, state, kind, amount, tags) VALUES
        ('11111111-1111-4111-8111-111111111111', 1, 'open', 'once', 1, '{}'),
        ('22222222-2222-4222-8222-222222222222', 2, 'paid', 'monthly', 2, '{}');
    INSERT INTO documents VALUES
        ('11111111-1111-4111-8111-111111111111', '11111111-1111-4111-8111-111111111111', 1),
        ('22222222-2222-4222-8222-222222222222', '22222222-2222-4222-8222-222222222222', 2);
    INSERT INTO events VALUES ('11111111-1111-4111-8111-111111111111', gen_random_uuid(), '2026-06-01', '{}'),
        ('22222222-2222-4222-8222-222222222222', gen_random_uuid(), '2030-06-01', '{}');
    INSERT INTO counters VALUES (1, '2026-01-01', 1), (2, '2026-01-02', 1);
    INSERT INTO notes VALUES ('acme', 'x'), ('globex', 'y')";

/// The database of one test, with roles of its own.
pub struct Ward {
    database: String,
    pub app: String,
    pub owner: String,
    /// Exempt, and nobody's.
    pub operator: String,
    _cleanup: Cleanup,
}

impl Ward {
    pub async fn new() -> Self {
        let id = Uuid::now_v7().simple();
        let [database, app, owner, operator] =
            ["test", "app", "owner", "operator"].map(|name| format!("tenancy_{name}_{id}"));
        let admin: PgConnectOptions = admin_url().parse().expect("TEST_POSTGRES_ADMIN_URL reads");
        let mut server = admin.connect().await.expect("the server of TEST_POSTGRES_ADMIN_URL answers");
        let roles = [app.clone(), owner.clone(), operator.clone(), format!("{operator}_2")];
        let cleanup = Cleanup::database(database.clone(), async move |name| {
            let mut server = admin.connect().await?;
            let drop = |what: String| sqlx::raw_sql(AssertSqlSafe(what));
            drop(format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")).execute(&mut server).await?;
            drop(format!("DROP ROLE IF EXISTS {}", roles.join(", "))).execute(&mut server).await.map(|_| ())
        });
        for sql in [
            format!("CREATE ROLE {app} LOGIN"),
            format!("CREATE ROLE {owner} LOGIN"),
            format!("CREATE ROLE {operator} LOGIN BYPASSRLS"),
            format!("CREATE DATABASE {database} OWNER {owner}"),
        ] {
            sqlx::raw_sql(AssertSqlSafe(sql))
                .execute(&mut server)
                .await
                .expect("the role makes databases and roles");
        }
        server.close().await.expect("the connection ends");
        let ward = Self { database, app, owner, operator, _cleanup: cleanup };
        let tables = include_str!("../../migrations/postgres/0001_tenancy.sql").to_owned()
            + include_str!("../../migrations/postgres/0002_tenants_own.sql")
            + TABLES;
        ward.as_owner(&tables).await;
        let mut owner = ward.connect(&ward.owner).await;
        RlsPolicies::new(&schema()).apply(&mut owner).await.expect("the policies are made");
        owner.close().await.expect("the connection ends");
        ward
    }

    fn options(&self, role: &str) -> PgConnectOptions {
        let admin: PgConnectOptions = admin_url().parse().expect("TEST_POSTGRES_ADMIN_URL reads");
        let options = admin.database(&self.database);
        if role.is_empty() { options } else { options.username(role) }
    }

    pub fn url(&self, role: &str) -> String {
        self.options(role).to_url_lossy().to_string()
    }

    pub async fn connect(&self, role: &str) -> PgConnection {
        self.options(role).connect().await.expect("the role logs in")
    }

    /// With the roles' names in place of `{app}`, `{owner}` and `{operator}`.
    pub fn named(&self, text: &str) -> String {
        text.replace("{app}", &self.app)
            .replace("{owner}", &self.owner)
            .replace("{operator}", &self.operator)
            .replace("{database}", &self.database)
    }

    pub async fn as_owner(&self, sql: &str) {
        self.run(&self.owner, sql).await;
    }

    pub async fn as_admin(&self, sql: &str) {
        self.run("", sql).await;
    }

    async fn run(&self, role: &str, sql: &str) {
        self.tried(role, sql).await.unwrap_or_else(|e| panic!("{e}:\n{sql}"));
    }

    /// The same; what the database rejects is the answer.
    pub async fn tried(&self, role: &str, sql: &str) -> sqlx::Result<()> {
        let mut conn = self.connect(role).await;
        let done = sqlx::raw_sql(AssertSqlSafe(self.named(sql))).execute(&mut conn).await;
        conn.close().await.expect("the connection ends");
        done.map(|_| ())
    }

    /// Each foreign key that a row breaks, as who sees all rows finds it without asking the doctor.
    pub async fn broken_keys(&self) -> Vec<String> {
        let mut conn = self.connect("").await;
        let keys: Vec<(String, String)> =
            sqlx::query_as(BROKEN).fetch_all(&mut conn).await.expect("keys are read");
        let mut broken = Vec::new();
        for (key, sql) in keys {
            let rows: i64 =
                sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(&mut conn).await.expect("rows are read");
            broken.extend((rows > 0).then_some(key));
        }
        conn.close().await.expect("the connection ends");
        broken
    }

    /// What the doctor says to a role, on a new connection.
    pub async fn examined(&self, role: &str, session: &str) -> Report {
        let mut conn = self.connect(role).await;
        sqlx::raw_sql(AssertSqlSafe(self.named(session)))
            .execute(&mut conn)
            .await
            .expect("the session is set up");
        let report = doctor::examine(&mut conn, &schema()).await.expect("the database answers");
        // Nothing of it is left: no transaction, and no tenant.
        let left: String = sqlx::query_scalar("SELECT coalesce(current_setting('app.tenant_id', true), '')")
            .fetch_one(&mut conn)
            .await
            .expect("the connection is in no failed transaction");
        assert!(
            left.is_empty()
                || session.contains("app.tenant_id")
                || report.findings().iter().any(|f| f.check() == doctor::Check::SettingDefault),
            "{left}"
        );
        conn.close().await.expect("the connection ends");
        report
    }

    pub async fn rows(&self, table: &str) -> i64 {
        let mut conn = self.connect("").await;
        let rows = sqlx::query_scalar(AssertSqlSafe(format!("SELECT count(*) FROM {table}")));
        rows.fetch_one(&mut conn).await.expect("the table is there")
    }
}
