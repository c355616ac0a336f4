//! Fixture: an application with tables of every shape, in which tenants have rows.

use std::collections::BTreeMap;

use sqlx::{Pool, Postgres, Sqlite};
use tenancy::context::Actor;
use tenancy::operations::{DeletionReceipt, Manifest, TenantData};
use tenancy::placement::Provisioner;
use tenancy::tenant::{NewTenant, Tenant, TenantStatus, TenantStore};

use crate::common::id_text;
use crate::place_fixture::{App, TestPlaces, provisioner_of};
use futures_util::StreamExt;

/// A database with an application of tables of every shape.
pub(crate) trait Shapes: TestPlaces + TenantData {
    /// The second migration; the first creates the projects.
    const APPLICATION: &'static str;
    /// The rows of a tenant, with the id of the tenant as `TENANT`, and a number that differs for each as `NUMBER`.
    const ROWS: &'static str;
    /// Counts the tables that have a row of the tenant `TENANT`, without the reservations and the record of its deletion.
    /// It is run in each place. `None` where the catalogue cannot be asked by one query.
    fn tables_with_tenant_column() -> &'static str;
    /// The actions of the tenant's events in the database of the control plane.
    async fn actions(pool: &Pool<Self>, tenant: &Tenant) -> Vec<String>;
    /// A transaction of a tenant.
    fn begin_as(id: &str) -> String;
    /// A number that a tenant sees.
    async fn number_as(pool: &Pool<Self>, id: &str, sql: &str) -> i64;
    /// The value of a tenant column.
    fn value(tenant: &Tenant) -> String;
}

impl Shapes for Postgres {
    const APPLICATION: &'static str = "
        CREATE TYPE mood AS ENUM ('fine', 'bad day');
        CREATE TABLE teams (tenant_id uuid NOT NULL, id uuid NOT NULL, name text NOT NULL, lead uuid, PRIMARY KEY (tenant_id, id));
        CREATE TABLE members (tenant_id uuid NOT NULL, id uuid NOT NULL, team uuid NOT NULL, mood mood,
            PRIMARY KEY (tenant_id, id), FOREIGN KEY (tenant_id, team) REFERENCES teams (tenant_id, id));
        ALTER TABLE teams ADD FOREIGN KEY (tenant_id, lead) REFERENCES members (tenant_id, id);
        CREATE TABLE comments (tenant_id uuid NOT NULL, id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, parent bigint,
            body text NOT NULL, UNIQUE (tenant_id, id), FOREIGN KEY (tenant_id, parent) REFERENCES comments (tenant_id, id));
        CREATE TABLE attachments (tenant_id uuid NOT NULL, id uuid PRIMARY KEY, comment bigint NOT NULL, body bytea, meta jsonb,
            at timestamptz, amount numeric(20, 6), tags text[], ratio double precision,
            doubled numeric GENERATED ALWAYS AS (amount * 2) STORED,
            FOREIGN KEY (tenant_id, comment) REFERENCES comments (tenant_id, id));
        CREATE TABLE clicks (tenant_id uuid NOT NULL, id bigint NOT NULL, day date NOT NULL, PRIMARY KEY (tenant_id, id, day))
            PARTITION BY RANGE (day);
        CREATE TABLE clicks_old PARTITION OF clicks FOR VALUES FROM (MINVALUE) TO ('2026-01-01');
        CREATE TABLE clicks_new PARTITION OF clicks FOR VALUES FROM ('2026-01-01') TO (MAXVALUE);
        CREATE TABLE settings (tenant_id uuid PRIMARY KEY, theme text, code char(5), bits bit(4), codes char(3)[], span int4range);
        CREATE TABLE lines (tenant_id uuid NOT NULL, line text)";
    const ROWS: &'static str = "
        INSERT INTO projects SELECT 'TENANT', n, 'project ' || n FROM generate_series(1, 1500) n;
        INSERT INTO teams VALUES ('TENANT', '00000000-0000-0000-0000-000000000001', E'tab\\t and \\\\N and \"é\" and \\n a line', NULL);
        INSERT INTO members VALUES ('TENANT', '00000000-0000-0000-0000-000000000002', '00000000-0000-0000-0000-000000000001', 'bad day'),
            ('TENANT', '00000000-0000-0000-0000-000000000003', '00000000-0000-0000-0000-000000000001', NULL);
        UPDATE teams SET lead = '00000000-0000-0000-0000-000000000003';
        INSERT INTO comments (tenant_id, body) SELECT 'TENANT', 'comment ' || n FROM generate_series(1, 700) n;
        UPDATE comments SET parent = (SELECT max(id) FROM comments) WHERE id < (SELECT max(id) FROM comments);
        UPDATE comments SET parent = (SELECT min(id) FROM comments) WHERE id = (SELECT max(id) FROM comments);
        INSERT INTO attachments SELECT 'TENANT', gen_random_uuid(), id, decode('00ff0a0d', 'hex'), '{\"a\": [1, null, \"é\"]}',
            '2026-02-03 04:05:06.789012+00', 1234567.000001, ARRAY['x', NULL, 'a,b \"c\"'], 0.1 + 0.2 FROM comments LIMIT 3;
        INSERT INTO clicks SELECT 'TENANT', n, CASE WHEN n % 2 = 0 THEN '2025-05-05' ELSE '2026-05-05' END::date FROM generate_series(1, 40) n;
        INSERT INTO settings VALUES ('TENANT', 'dark', 'ab', B'1010', ARRAY['x', 'yz'], '[1,5)');
        INSERT INTO lines VALUES ('TENANT', 'twice'), ('TENANT', 'twice'), ('TENANT', NULL), ('TENANT', '')";

    fn tables_with_tenant_column() -> &'static str {
        "SELECT c.oid::regclass::text, a.attname::text FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid \
         WHERE c.relkind IN ('r', 'p') AND a.attname = 'tenant_id' AND NOT a.attisdropped \
         UNION ALL SELECT 'tenancy_tenants', 'id' WHERE to_regclass('tenancy_tenants') IS NOT NULL"
    }

    fn begin_as(id: &str) -> String {
        format!("BEGIN; SET LOCAL app.tenant_id = '{id}'")
    }

    async fn number_as(pool: &Pool<Self>, id: &str, sql: &str) -> i64 {
        let mut tx = pool.begin().await.unwrap();
        let set = sqlx::query("SELECT set_config('app.tenant_id', $1, true)").bind(id);
        set.execute(&mut *tx).await.unwrap();
        let sql = sqlx::AssertSqlSafe(format!("SELECT ({sql})::bigint"));
        sqlx::query_scalar(sql).fetch_one(&mut *tx).await.unwrap()
    }

    async fn actions(pool: &Pool<Self>, tenant: &Tenant) -> Vec<String> {
        let mut tx = pool.begin().await.unwrap();
        let set = sqlx::query("SELECT set_config('app.tenant_id', $1, true)").bind(tenant.id().to_string());
        set.execute(&mut *tx).await.unwrap();
        sqlx::query_scalar("SELECT action FROM tenancy_audit_events").fetch_all(&mut *tx).await.unwrap()
    }

    fn value(tenant: &Tenant) -> String {
        tenant.id().to_string()
    }
}

impl Shapes for Sqlite {
    const APPLICATION: &'static str = "
        CREATE TABLE teams (tenant_id BLOB NOT NULL, id TEXT NOT NULL, name TEXT NOT NULL, lead TEXT, PRIMARY KEY (tenant_id, id),
            FOREIGN KEY (tenant_id, lead) REFERENCES members (tenant_id, id)) STRICT, WITHOUT ROWID;
        CREATE TABLE members (tenant_id BLOB NOT NULL, id TEXT NOT NULL, team TEXT NOT NULL, mood TEXT,
            PRIMARY KEY (tenant_id, id), FOREIGN KEY (tenant_id, team) REFERENCES teams (tenant_id, id)) STRICT;
        CREATE TABLE comments (id INTEGER PRIMARY KEY AUTOINCREMENT, tenant_id BLOB NOT NULL, parent INTEGER,
            body TEXT NOT NULL, UNIQUE (tenant_id, id), FOREIGN KEY (tenant_id, parent) REFERENCES comments (tenant_id, id));
        CREATE TABLE attachments (tenant_id BLOB NOT NULL, id BLOB NOT NULL PRIMARY KEY, comment INTEGER NOT NULL, body BLOB,
            ratio REAL, anything, doubled REAL GENERATED ALWAYS AS (ratio * 2) STORED,
            FOREIGN KEY (Tenant_ID, Comment) REFERENCES Comments (TENANT_ID, ID));
        CREATE TABLE settings (tenant_id BLOB NOT NULL PRIMARY KEY, theme TEXT) WITHOUT ROWID;
        CREATE TABLE lines (tenant_id BLOB NOT NULL, line TEXT)";
    const ROWS: &'static str = "
        WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 1500)
            INSERT INTO projects SELECT X'TENANT', n, 'project ' || n FROM n;
        INSERT INTO teams VALUES (X'TENANT', 't1', 'tab' || char(9) || ' and \"é\" and ' || char(10) || ' a line', NULL);
        INSERT INTO members VALUES (X'TENANT', 'm1', 't1', 'bad day'), (X'TENANT', 'm2', 't1', NULL);
        UPDATE teams SET lead = 'm2' WHERE tenant_id = X'TENANT';
        WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 700)
            INSERT INTO comments (tenant_id, body) SELECT X'TENANT', 'comment ' || n FROM n;
        UPDATE comments SET parent = (SELECT max(id) FROM comments WHERE tenant_id = X'TENANT') WHERE tenant_id = X'TENANT';
        UPDATE comments SET parent = (SELECT min(id) FROM comments WHERE tenant_id = X'TENANT')
            WHERE id = (SELECT max(id) FROM comments WHERE tenant_id = X'TENANT');
        INSERT INTO attachments SELECT X'TENANT', randomblob(16), id, X'00ff0a0d', 0.1 + 0.2,
            CASE id % 4 WHEN 0 THEN 9e999 WHEN 1 THEN 'i7' WHEN 2 THEN 7 ELSE X'' END FROM comments WHERE tenant_id = X'TENANT' LIMIT 4;
        INSERT INTO settings VALUES (X'TENANT', 'dark');
        INSERT INTO lines VALUES (X'TENANT', 'twice'), (X'TENANT', 'twice'), (X'TENANT', NULL), (X'TENANT', '')";

    fn tables_with_tenant_column() -> &'static str {
        "SELECT m.name, c.name FROM sqlite_master m JOIN pragma_table_info(m.name) c \
         WHERE m.type = 'table' AND c.name = 'tenant_id' UNION ALL \
         SELECT name, 'id' FROM sqlite_master WHERE name = 'tenancy_tenants'"
    }

    fn begin_as(_: &str) -> String {
        "BEGIN".to_owned()
    }

    async fn number_as(pool: &Pool<Self>, _: &str, sql: &str) -> i64 {
        <Self as crate::common::TestBackend>::number(pool, sql).await
    }

    async fn actions(pool: &Pool<Self>, tenant: &Tenant) -> Vec<String> {
        let sql = "SELECT action FROM tenancy_audit_events WHERE tenant_id = $1";
        sqlx::query_scalar(sql).bind(id_text(tenant.id())).fetch_all(pool).await.unwrap()
    }

    fn value(tenant: &Tenant) -> String {
        id_text(tenant.id()).replace('-', "")
    }
}

/// An application with these tables, and its provisioner.
pub(crate) struct Shop<DB: Shapes> {
    pub(crate) app: App<DB>,
    pub(crate) provisioner: Provisioner<DB>,
}

impl<DB: Shapes> Shop<DB> {
    pub(crate) async fn new() -> Self {
        Self::with(DB::APPLICATION).await
    }

    /// An application with tables of a test's own.
    pub(crate) async fn with(tables: &str) -> Self {
        let app = App::new().await;
        let provisioner = provisioner_of(&app.pool, app.files.path(), &[DB::PROJECTS, tables]);
        let migrated: Vec<_> = provisioner.migrations().run().collect().await;
        assert!(migrated.iter().all(|place| place.as_ref().unwrap().result.is_ok()), "{migrated:?}");
        Self { app, provisioner }
    }

    /// A tenant with rows in every table.
    pub(crate) async fn tenant(&mut self, slug: &str, kind: fn(NewTenant) -> NewTenant) -> Tenant {
        self.tenant_with(slug, kind, DB::ROWS).await
    }

    /// A tenant with these rows, in which `TENANT` is its id.
    pub(crate) async fn tenant_with(
        &mut self,
        slug: &str,
        kind: fn(NewTenant) -> NewTenant,
        rows: &str,
    ) -> Tenant {
        let created = self.app.create(&self.provisioner, slug, kind).await.unwrap();
        self.run_as(&created, &rows.replace("TENANT", &DB::value(&created))).await;
        Tenant::clone(&created)
    }

    /// A number that a tenant sees, from SQL in which `TENANT` is its id.
    pub(crate) async fn number(&self, tenant: &Tenant, sql: &str) -> i64 {
        let sql = sql.replace("TENANT", &DB::value(tenant));
        DB::number_as(&self.app.place(tenant), &tenant.id().to_string(), &sql).await
    }

    /// A tenant in the shared tables with the rows of a bundle.
    pub(crate) async fn import(&self, bundle: &[u8], slug: &str) -> tenancy::Result<Tenant> {
        let new = App::<DB>::new_tenant(slug, |new| new);
        let imported = self.provisioner.import(bundle, new, &Actor::user("ada")).await?;
        Ok(Tenant::clone(&imported.tenant))
    }

    pub(crate) async fn restore(&self, tenant: &Tenant, bundle: &[u8]) -> tenancy::Result<()> {
        let restore = self.provisioner.restore(tenant.id(), bundle).await?;
        restore.apply(tenant.slug(), &Actor::user("ada")).await
    }

    pub(crate) async fn delete(&self, tenant: &Tenant) -> tenancy::Result<DeletionReceipt> {
        self.provisioner.deletion(tenant.id(), &Actor::user("ada")).run(tenant.slug()).await
    }

    /// Runs SQL in the place of a tenant, in one transaction.
    pub(crate) async fn run_as(&self, tenant: &Tenant, sql: &str) {
        let pool = self.app.place(tenant);
        let sql = format!("{}; {sql}; COMMIT", DB::begin_as(&tenant.id().to_string()));
        DB::raw(&pool, &sql).await.unwrap_or_else(|e| panic!("{e}: {sql}"));
    }

    pub(crate) async fn export(&self, tenant: &Tenant) -> (Manifest, Vec<u8>) {
        let mut bundle = Vec::new();
        let manifest = self.provisioner.export(tenant.id()).write_to(&mut bundle).await.unwrap();
        (manifest, bundle)
    }

    /// The rows and the hash of each table with rows.
    pub(crate) async fn hashes(&self, tenant: &Tenant) -> BTreeMap<String, (u64, String)> {
        let (manifest, _) = self.export(tenant).await;
        let tables = manifest.tables.into_iter().filter(|table| table.rows > 0);
        tables.map(|table| (table.name, (table.rows, table.sha256))).collect()
    }

    pub(crate) async fn audit_actions(&self, tenant: &Tenant) -> Vec<String> {
        DB::actions(&self.app.pool, tenant).await
    }

    pub(crate) async fn close(&self, tenant: &Tenant) {
        let tenant = self.app.store.by_id(tenant.id()).await.unwrap().unwrap();
        self.app.store.update(&tenant.with_status(TenantStatus::Deactivated).unwrap()).await.unwrap();
    }
}
