//! Citus: what it would not distribute, and the policies of shards.
//!
//! Citus has no Debian package. These tests run on PostgreSQL: what `doctor --citus` finds needs no Citus, and the shards
//! are tables of one database, beside catalogue tables and functions with the names that Citus gives them.

use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, PgConnection, Postgres};
use tenancy::ErrorKind;
use tenancy::audit::{AuditEvent, AuditSink};
use tenancy::context::{Actor, TenantDirectory};
use tenancy::isolation::RlsPolicies;
use tenancy::isolation::doctor::{self, Check, Report};
use tenancy::plan::Catalog;
use tenancy::quota::Gauge;
use tenancy::scope::{ConnectionMode, Schema, StoredEvent, TenantDb, TenantType};
use tenancy::store::SqlStore;
use tenancy::tenant::{NewTenant, TenantId, TenantStore};
use uuid::Uuid;

use crate::common::{CATALOG, TestBackend, admin_url};
use crate::policy_fixture::{ACME, GLOBEX, Shop, rows, run, shown, texts};

/// Tables that Citus distributes.
const TABLES: &str = "
    CREATE TABLE countries (code text PRIMARY KEY);
    CREATE TABLE orders (tenant_id uuid NOT NULL, id bigint NOT NULL, note text NOT NULL DEFAULT '', PRIMARY KEY (tenant_id, id));
    CREATE TABLE lines (tenant_id uuid NOT NULL, id bigint NOT NULL, order_id bigint NOT NULL, PRIMARY KEY (tenant_id, id),
        FOREIGN KEY (tenant_id, order_id) REFERENCES orders ON DELETE CASCADE);
    CREATE TABLE events (tenant_id uuid NOT NULL, id bigint NOT NULL, at date NOT NULL) PARTITION BY RANGE (at);
    CREATE TABLE events_rest PARTITION OF events DEFAULT;
    CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'";

fn schema() -> Schema {
    Schema::from_toml("shared = [\"countries\"]").unwrap()
}

async fn shop() -> Shop {
    let mut shop = Shop::new(TABLES).await;
    let schema = schema();
    RlsPolicies::new(&schema).runtime_role(&shop.role).apply(&mut shop.owner).await.unwrap();
    shop
}

fn found(report: &Report) -> Vec<(Check, &str)> {
    report.findings().iter().map(|finding| (finding.check(), finding.object())).collect()
}

#[tokio::test]
async fn a_schema_that_citus_takes_gets_the_steps_that_distribute_it() {
    let mut shop = shop().await;
    let report = doctor::examine_for_citus(&mut shop.app, &schema()).await.unwrap();
    let wanted = ["events", "lines", "orders"].map(|table| (Check::CitusRows, table));
    assert_eq!(found(&report), wanted, "{report}");
    let text = report.to_string();
    assert!(text.contains("SELECT create_reference_table('public.countries');"), "{text}");
    assert!(
        text.contains(
            "-- after orders\n         BEGIN;\n         SET LOCAL citus.multi_shard_modify_mode = 'sequential';\n         \
             ALTER TABLE public.lines NO FORCE ROW LEVEL SECURITY;\n         \
             SELECT create_distributed_table('public.lines', 'tenant_id');\n         \
             ALTER TABLE public.lines FORCE ROW LEVEL SECURITY;\n         COMMIT;"
        ),
        "{text}"
    );
    // With a table, Citus distributes its partitions.
    for force in ["NO FORCE", "FORCE"] {
        let both = ["events", "events_rest"]
            .map(|table| format!("ALTER TABLE public.{table} {force} ROW LEVEL SECURITY;"));
        assert!(text.contains(&both.join("\n         ")), "{text}");
    }
    doctor::examine(&mut shop.app, &schema()).await.unwrap().assert_clean();
}

/// Each was tried on Citus 13.2, which rejects it.
#[tokio::test]
async fn what_citus_does_not_distribute_is_found_before() {
    const CASES: [(&str, Check, &str, &str); 15] = [
        (
            "CREATE TRIGGER touch BEFORE INSERT ON orders FOR EACH ROW EXECUTE FUNCTION touch()",
            Check::CitusTable,
            "orders",
            "the trigger `touch`",
        ),
        (
            "CREATE TRIGGER touch BEFORE INSERT ON events_rest FOR EACH ROW EXECUTE FUNCTION touch()",
            Check::CitusTable,
            "events",
            "the trigger `touch` of `events_rest`",
        ),
        (
            "CREATE TABLE events_26 PARTITION OF events FOR VALUES FROM ('2026-01-01') TO ('2027-01-01') PARTITION BY RANGE (at)",
            Check::CitusTable,
            "events",
            "its partitions are partitioned",
        ),
        (
            "CREATE TABLE secrets (id bigint PRIMARY KEY); ALTER TABLE lines ADD secret bigint REFERENCES secrets",
            Check::CitusTable,
            "lines",
            "not declared shared",
        ),
        (
            "CREATE TRIGGER touch BEFORE INSERT ON countries FOR EACH ROW EXECUTE FUNCTION touch()",
            Check::CitusTable,
            "countries",
            "a trigger",
        ),
        ("CREATE TABLE old_countries () INHERITS (countries)", Check::CitusTable, "countries", "inherits"),
        (
            "CREATE TABLE old (PRIMARY KEY (tenant_id, id)) INHERITS (orders)",
            Check::CitusTable,
            "orders",
            "inherits",
        ),
        ("CREATE TABLE logs (tenant_id text NOT NULL)", Check::CitusTable, "logs", "most have `uuid`"),
        (
            "CREATE TABLE logs (a uuid, tenant_id uuid GENERATED ALWAYS AS (a) STORED NOT NULL)",
            Check::CitusTable,
            "logs",
            "generated",
        ),
        (
            "ALTER TABLE lines DROP CONSTRAINT lines_tenant_id_order_id_fkey, ALTER order_id DROP NOT NULL, \
          ADD FOREIGN KEY (tenant_id, order_id) REFERENCES orders ON DELETE SET NULL (order_id)",
            Check::CitusTable,
            "lines",
            "ON DELETE SET NULL",
        ),
        (
            "ALTER TABLE lines DROP CONSTRAINT lines_tenant_id_order_id_fkey, \
          ADD FOREIGN KEY (tenant_id, order_id) REFERENCES orders ON UPDATE CASCADE",
            Check::CitusTable,
            "lines",
            "ON UPDATE CASCADE",
        ),
        (
            "CREATE POLICY known ON orders FOR SELECT USING (note IN (SELECT code FROM countries))",
            Check::CitusTable,
            "orders",
            "policy `known` has a subquery",
        ),
        ("CREATE POLICY support ON orders FOR SELECT USING (true)", Check::OpenPolicy, "orders", "`support`"),
        (
            "CREATE POLICY current ON orders AS RESTRICTIVE USING (note <> 'old')",
            Check::OpenPolicy,
            "orders",
            "`current`",
        ),
        ("ALTER TABLE orders ADD UNIQUE (id)", Check::KeyWithoutTenant, "orders", ""),
    ];
    for (plant, check, object, detail) in CASES {
        let mut shop = shop().await;
        run(&mut shop.owner, plant).await;
        let report = doctor::examine_for_citus(&mut shop.app, &schema()).await.unwrap();
        let hit = report.findings().iter().find(|one| (one.check(), one.object()) == (check, object));
        let hit = hit.unwrap_or_else(|| panic!("{plant}\n{report}"));
        assert!(hit.detail().contains(detail), "{plant}\n{report}");
        // On PostgreSQL alone these are no faults, except for the key.
        let plain = doctor::examine(&mut shop.app, &schema()).await.unwrap();
        assert_eq!(
            found(&plain).contains(&(check, object)),
            check == Check::KeyWithoutTenant,
            "{plant}\n{plain}"
        );
    }
}

/// The parts of Citus that the library reads, over tables of one database.
const CITUS: &str = "
    SET allow_system_table_mods = on;
    CREATE TABLE pg_catalog.pg_dist_partition (logicalrelid regclass, partmethod text, repmodel text);
    CREATE TABLE pg_catalog.pg_dist_shard (logicalrelid regclass, shardid bigint);
    CREATE TABLE pg_catalog.pg_dist_placement (shardid bigint);
    CREATE TABLE pg_catalog.pg_dist_node (nodeid int, nodename text, nodeport int);
    CREATE FUNCTION pg_catalog.shard_name(regclass, bigint) RETURNS text LANGUAGE sql AS
        $$ SELECT 'pg_shards.' || relname || '_' || $2 FROM pg_catalog.pg_class WHERE oid = $1 $$;
    CREATE FUNCTION pg_catalog.run_command_on_all_nodes(command text) RETURNS TABLE (nodeid int, success bool, result text)
    LANGUAGE plpgsql AS $$ BEGIN
        nodeid := 1; success := true; EXECUTE command INTO result; RETURN NEXT;
    EXCEPTION WHEN OTHERS THEN success := false; result := SQLERRM; RETURN NEXT;
    END $$;
    INSERT INTO pg_catalog.pg_dist_node VALUES (1, 'worker', 5432);
    GRANT SELECT ON pg_catalog.pg_dist_partition, pg_catalog.pg_dist_shard, pg_catalog.pg_dist_placement, pg_catalog.pg_dist_node TO PUBLIC;
    INSERT INTO pg_catalog.pg_dist_partition VALUES ('app.orders', 'h', 's');
    INSERT INTO pg_catalog.pg_dist_shard VALUES ('app.orders', 102008);
    INSERT INTO pg_catalog.pg_dist_placement VALUES (102008);
    INSERT INTO pg_init_privs SELECT oid, 'pg_class'::regclass, 0, 'e', relacl FROM pg_class WHERE relname LIKE 'pg\\_dist\\_%';
    CREATE SCHEMA pg_shards AUTHORIZATION pg_database_owner";

/// As Citus creates a shard: without `AS RESTRICTIVE`.
const SHARD: &str = "
    CREATE TABLE pg_shards.orders_102008 (LIKE orders INCLUDING ALL);
    ALTER TABLE pg_shards.orders_102008 ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
    CREATE POLICY tenancy_floor ON pg_shards.orders_102008 USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid);
    CREATE POLICY tenancy_own ON pg_shards.orders_102008 USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid)";

struct Cluster {
    shop: Shop,
    admin: PgConnection,
}

impl Cluster {
    async fn new() -> Self {
        // Shards are on other nodes. Here they are in a schema that counts as one of the server's.
        let mut shop = Shop::new(&format!("CREATE SCHEMA app; SET search_path = app; {TABLES}")).await;
        run(&mut shop.app, "SET search_path = app").await;
        let schema = schema();
        RlsPolicies::new(&schema).runtime_role(&shop.role).apply(&mut shop.owner).await.unwrap();
        let database = texts(&mut shop.owner, "SELECT current_database()::text").await.remove(0);
        let admin: PgConnectOptions = admin_url().parse().unwrap();
        let mut admin = admin.database(&database).connect().await.unwrap();
        run(&mut admin, CITUS).await;
        run(&mut shop.owner, SHARD).await;
        Self { shop, admin }
    }

    /// The findings of the doctor as the application's role, and the plan's unguarded tables.
    async fn examined(&mut self) -> (Vec<String>, Vec<String>) {
        let schema = schema();
        let report = doctor::examine(&mut self.shop.app, &schema).await.unwrap();
        let line = |one: &doctor::Finding| format!("{} {}: {}", one.check(), one.object(), one.detail());
        let plan =
            RlsPolicies::new(&schema).runtime_role(&self.shop.role).plan(&mut self.shop.owner).await.unwrap();
        assert!(plan.is_empty(), "{:?}", shown(&plan));
        let unguarded = plan.unguarded().iter().map(|one| format!("{}: {}", one.object(), one.reason()));
        (report.findings().iter().map(line).collect(), unguarded.collect())
    }
}

/// Asserts that each side has one line, with this text.
fn one_each((doctor, policies): (Vec<String>, Vec<String>), in_doctor: &str, in_policies: &str) {
    assert!(doctor.len() == 1 && doctor[0].contains(in_doctor), "{doctor:?}");
    assert!(policies.len() == 1 && policies[0].contains(in_policies), "{policies:?}");
}

#[tokio::test]
async fn the_restrictive_policy_does_not_count_where_a_shard_has_a_permissive_one() {
    let mut cluster = Cluster::new().await;
    assert_eq!(cluster.examined().await, (Vec::new(), Vec::new()));
    for policy in ["FOR SELECT USING (true)", "AS RESTRICTIVE USING (note <> 'x')"] {
        run(&mut cluster.shop.owner, &format!("CREATE POLICY other ON orders {policy}")).await;
        // Citus repeats it on the shard.
        let on_shard = policy.replace("AS RESTRICTIVE", "");
        run(&mut cluster.shop.owner, &format!("CREATE POLICY other ON pg_shards.orders_102008 {on_shard}"))
            .await;
        one_each(cluster.examined().await, "open-policy orders: `other`", "its policy `other` opens it");
        run(
            &mut cluster.shop.owner,
            "DROP POLICY other ON orders; DROP POLICY other ON pg_shards.orders_102008",
        )
        .await;
    }
    // One that compares with the tenant opens nothing.
    for table in ["orders", "pg_shards.orders_102008"] {
        let same = "tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid";
        run(&mut cluster.shop.owner, &format!("CREATE POLICY other ON {table} USING ({same})")).await;
    }
    assert_eq!(cluster.examined().await, (Vec::new(), Vec::new()));
}

#[tokio::test]
async fn a_shard_with_other_row_level_security_is_found_with_its_node() {
    for (change, back) in [
        (
            "ALTER TABLE pg_shards.orders_102008 DISABLE ROW LEVEL SECURITY",
            "ALTER TABLE pg_shards.orders_102008 ENABLE ROW LEVEL SECURITY",
        ),
        (
            "ALTER TABLE pg_shards.orders_102008 NO FORCE ROW LEVEL SECURITY",
            "ALTER TABLE pg_shards.orders_102008 FORCE ROW LEVEL SECURITY",
        ),
        (
            "CREATE POLICY hole ON pg_shards.orders_102008 USING (true)",
            "DROP POLICY hole ON pg_shards.orders_102008",
        ),
        (
            "ALTER POLICY tenancy_own ON pg_shards.orders_102008 TO pg_monitor",
            "ALTER POLICY tenancy_own ON pg_shards.orders_102008 TO PUBLIC",
        ),
        (
            "ALTER POLICY tenancy_own ON pg_shards.orders_102008 USING (true)",
            "ALTER POLICY tenancy_own ON pg_shards.orders_102008 USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid)",
        ),
    ] {
        let mut cluster = Cluster::new().await;
        run(&mut cluster.shop.owner, change).await;
        let shard = "shard orders_102008 on worker:5432";
        one_each(
            cluster.examined().await,
            &format!("shard-policy orders: other policies, or another state of row-level security: {shard}"),
            shard,
        );
        run(&mut cluster.shop.owner, back).await;
        assert_eq!(cluster.examined().await, (Vec::new(), Vec::new()), "{back}");
    }
}

#[tokio::test]
async fn shards_that_cannot_be_read_are_a_fault_and_no_pass() {
    let schema = schema();
    for hidden in [
        "DROP TABLE pg_shards.orders_102008",
        "CREATE OR REPLACE FUNCTION pg_catalog.run_command_on_all_nodes(command text) RETURNS TABLE (nodeid int, success bool, result text) \
         LANGUAGE sql AS $$ SELECT 1, false, 'the node does not answer' $$",
        "REVOKE ALL ON pg_catalog.pg_dist_partition FROM PUBLIC",
    ] {
        let mut cluster = Cluster::new().await;
        run(&mut cluster.admin, hidden).await;
        let report = doctor::examine(&mut cluster.shop.app, &schema).await.unwrap();
        assert_eq!(found(&report), [(Check::Unexamined, "shards of Citus")], "{report}");
        let error = RlsPolicies::new(&schema).plan(&mut cluster.shop.owner).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Database, "{error}");
    }
}

#[tokio::test]
async fn audit_events_are_not_changed_where_a_shard_permits_it() {
    let mut shop = shop().await;
    let options: PgConnectOptions = shop.url.parse().unwrap();
    let owner = sqlx::PgPool::connect_with(options).await.unwrap();
    SqlStore::new(owner.clone()).migrate().await.unwrap();
    let role = shop.role.clone();
    run(&mut shop.owner, &format!("GRANT SELECT, INSERT, UPDATE ON tenancy_audit_events TO {role}")).await;
    let report = doctor::examine_for_citus(&mut shop.app, &schema()).await.unwrap();
    let of_audit: Vec<Check> = report
        .findings()
        .iter()
        .filter(|one| one.object() == "tenancy_audit_events")
        .map(doctor::Finding::check)
        .collect();
    // Its tenant column is text, and those of the application are uuid.
    assert_eq!(of_audit, [Check::CitusTable, Check::AuditPrivilege, Check::CitusRows], "{report}");
    let fix =
        report.findings().iter().find(|one| one.check() == Check::AuditPrivilege).unwrap().fix().to_string();
    run(&mut shop.owner, &fix).await;
    SqlStore::new(owner).tenant_id_type(TenantType::Uuid).migrate().await.unwrap();
    let report = doctor::examine_for_citus(&mut shop.app, &schema()).await.unwrap();
    assert!(report.failures(&[]).is_empty(), "{report}");
}

/// The library's tables of tenants with each type of id: two tenants, each with its count and its events.
#[tokio::test]
async fn the_library_s_tables_take_the_type_of_the_application_s_ids() {
    let uuids = [ACME, GLOBEX].map(|id| TenantId::parse(id).unwrap());
    let ints = [TenantId::parse("7").unwrap(), TenantId::parse("8").unwrap()];
    for (tenant_type, ids) in
        [(TenantType::Uuid, uuids.clone()), (TenantType::BigInt, ints), (TenantType::Text, uuids)]
    {
        let (pool, _database) = Postgres::fresh(4).await;
        let text_store = SqlStore::new(pool.clone());
        text_store.migrate().await.unwrap();
        let mut conn = pool.acquire().await.unwrap();
        // A row of before keeps its tenant.
        let old = format!("INSERT INTO tenancy_gauges VALUES ('{}', 'projects', 1)", ids[0]);
        let force = |force: &str| format!("ALTER TABLE tenancy_gauges {force} ROW LEVEL SECURITY");
        run(&mut conn, &format!("{}; {old}; {}", force("NO FORCE"), force("FORCE"))).await;
        let store = SqlStore::new(pool.clone()).tenant_id_type(tenant_type);
        for _ in 0..2 {
            store.migrate().await.unwrap();
        }
        let columns = texts(
            &mut conn,
            "SELECT format_type(atttypid, NULL) FROM pg_attribute WHERE attname = 'tenant_id' \
             AND attrelid IN ('tenancy_gauges'::regclass, 'tenancy_gauge_resources'::regclass, \
             'tenancy_audit_events'::regclass, 'tenancy_usage'::regclass, 'tenancy_usage_batches'::regclass)",
        )
        .await;
        assert_eq!(columns, [tenant_type.as_str(); 5]);

        let directory = TenantDirectory::new(
            std::sync::Arc::new(store.clone()),
            std::sync::Arc::new(Catalog::from_toml(CATALOG).unwrap()),
        );
        let db = TenantDb::from_pool(pool.clone())
            .schema(Schema::from_toml(&format!("type = \"{}\"", tenant_type.as_str())).unwrap())
            .build()
            .await
            .unwrap();
        let gauge = Gauge::new("projects");
        let mut contexts = Vec::new();
        for (id, slug) in ids.into_iter().zip(["acme", "globex"]) {
            let tenant = store.insert(NewTenant::active(slug, "free").unwrap().id(id)).await.unwrap();
            contexts.push(directory.context(tenant.id(), Actor::system("test")).await.unwrap());
        }
        for (ctx, n) in contexts.iter().zip([1, 3]) {
            let mut tx = db.begin(ctx).await.unwrap();
            gauge.acquire(&mut tx, n).await.unwrap();
            tx.record(AuditEvent::new(ctx, "project.added")).await.unwrap();
            tx.commit().await.unwrap();
        }
        store.write(&[AuditEvent::new(&contexts[1], "rejected")]).await.unwrap();
        for (ctx, (used, events)) in contexts.iter().zip([(2, 1), (3, 2)]) {
            let scope = db.scope(ctx);
            assert_eq!(gauge.usage(&scope).await.unwrap().used, used, "{tenant_type:?}");
            let stored = StoredEvent::newest(&scope, None, 10).await.unwrap();
            assert_eq!(stored.len(), events, "{tenant_type:?}");
            assert!(stored.iter().all(|event| event.json().contains(&ctx.tenant_id().to_string())));
        }
    }
}

/// What a change by hand leaves that was not finished.
#[tokio::test]
async fn tables_of_two_types_get_one() {
    let (pool, _database) = Postgres::fresh(4).await;
    let store = SqlStore::new(pool.clone());
    store.migrate().await.unwrap();
    let mut conn = pool.acquire().await.unwrap();
    run(
        &mut conn,
        "DROP POLICY tenancy_own ON tenancy_gauges; DROP POLICY tenancy_floor ON tenancy_gauges; \
         ALTER TABLE tenancy_gauges DROP CONSTRAINT tenancy_gauges_tenant_id_check; \
         ALTER TABLE tenancy_gauges ALTER tenant_id TYPE uuid USING tenant_id::uuid",
    )
    .await;
    drop(conn);
    let build =
        async || TenantDb::from_pool(pool.clone()).schema(Schema::from_toml("").unwrap()).build().await;
    let error = build().await.unwrap_err();
    assert!(error.to_string().contains("need one type"), "{error}");
    store.tenant_id_type(TenantType::Uuid).migrate().await.unwrap();
    build().await.unwrap();
}

#[tokio::test]
async fn ids_of_another_form_keep_the_type_and_lose_nothing() {
    let (pool, _database) = Postgres::fresh(2).await;
    let store = SqlStore::new(pool.clone());
    store.migrate().await.unwrap();
    let tenant = store.insert(NewTenant::active("acme", "free").unwrap()).await.unwrap();
    let directory = TenantDirectory::new(
        std::sync::Arc::new(store.clone()),
        std::sync::Arc::new(Catalog::from_toml(CATALOG).unwrap()),
    );
    let ctx = directory.context(tenant.id(), Actor::system("test")).await.unwrap();
    store.write(&[AuditEvent::new(&ctx, "rejected")]).await.unwrap();
    let error = store.clone().tenant_id_type(TenantType::BigInt).migrate().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Misconfigured);
    assert!(error.to_string().contains("cannot get the type `bigint`"), "{error}");
    store.write(&[AuditEvent::new(&ctx, "again")]).await.unwrap();
    let mut conn = pool.acquire().await.unwrap();
    let count = "SELECT count(*)::text FROM tenancy_audit_events";
    let tenant = Some(tenant.id().to_string());
    assert_eq!(rows(&mut conn, tenant.as_deref(), count).await.unwrap(), ["2"]);
    assert_eq!(rows(&mut conn, Some(&Uuid::now_v7().to_string()), count).await.unwrap(), ["0"]);
}

/// On a real Citus the store without propagation writes nothing: the workers see no tenant.
#[tokio::test]
async fn a_store_that_does_not_match_its_database_is_rejected_by_name() {
    let (pool, _database) = Postgres::fresh(2).await;
    let store = SqlStore::new(pool.clone());
    let error = store.check().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Misconfigured);
    assert!(error.to_string().contains("run `SqlStore::migrate`"), "{error}");
    store.migrate().await.unwrap();
    store.check().await.unwrap();
    let error = SqlStore::new(pool).connection_mode(ConnectionMode::Citus).check().await.unwrap_err();
    assert!(error.to_string().contains("no extension `citus`"), "{error}");
}
