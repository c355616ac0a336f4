//! What is special to a tenant's database: how it is found, and how many connections all of them get.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use sqlx::sqlite::SqlitePoolOptions;
use sqlx::{AssertSqlSafe, Connection, Postgres, Sqlite};
use tenancy::context::{Actor, TenantDirectory};
use tenancy::placement::{ConnectionLimits, DatabaseConfig, SqliteFiles};
use tenancy::plan::Catalog;
use tenancy::quota::Gauge;
use tenancy::scope::{Enforcement, TenantType};
use tenancy::store::{MemoryStore, SqlStore};
use tenancy::tenant::{NewTenant, Placement, PlacementName, Slug, TenantId, TenantStatus};
use tenancy::{Error, ErrorKind, TenantContext, TenantDb, TenantScoped};
use tokio::task::JoinSet;

use crate::common::{CATALOG, Cleanup, Order, TestBackend};

/// A context of a new tenant with this placement.
async fn tenant(
    directory: &TenantDirectory,
    slug: &str,
    placement: impl Fn(&TenantId) -> Placement,
) -> TenantContext {
    let id = TenantId::random();
    let tenant = NewTenant::new(Slug::parse(slug).unwrap(), slug, "free").placement(placement(&id)).id(id);
    let tenant = directory.store().insert(tenant.status(TenantStatus::Active)).await.unwrap();
    directory.context(tenant.id(), Actor::user("ada")).await.unwrap()
}

fn directory() -> TenantDirectory {
    TenantDirectory::new(Arc::new(MemoryStore::new()), Arc::new(Catalog::from_toml(CATALOG).unwrap()))
}

fn name(ctx: &TenantContext) -> PlacementName {
    match ctx.tenant().placement() {
        Placement::Database { name } => name.clone(),
        other => panic!("{other:?}"),
    }
}

// ---- SQLite files ----

/// An empty file with the table of orders, which each tenant gets a copy of.
async fn template(directory: &Path) -> std::path::PathBuf {
    let path = directory.join("template");
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&path).create_if_missing(true);
    let mut conn = sqlx::SqliteConnection::connect_with(&options).await.unwrap();
    sqlx::raw_sql(Sqlite::ORDERS).execute(&mut conn).await.unwrap();
    conn.close().await.unwrap();
    path
}

async fn sqlite_files(directory: &Path, limits: ConnectionLimits) -> (SqliteFiles, TenantDb<Sqlite>) {
    let files = SqliteFiles::new(directory).unwrap();
    let shared = SqlitePoolOptions::new().max_connections(1).idle_timeout(None).max_lifetime(None);
    let db =
        TenantDb::sqlite(shared, "sqlite::memory:").databases(files.clone(), limits).build().await.unwrap();
    (files, db)
}

/// How many database files of the directory this process has open.
fn open_files(directory: &Path) -> usize {
    let links =
        std::fs::read_dir("/proc/self/fd").unwrap().filter_map(|fd| std::fs::read_link(fd.ok()?.path()).ok());
    links
        .filter(|path| path.starts_with(directory) && path.extension().is_some_and(|ext| ext == "db"))
        .count()
}

/// Many more files than may be open. Each tenant has the same local id, and reads its own row only.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_tenants_share_a_few_open_files() {
    const TENANTS: i64 = 1200;
    const OPEN: u32 = 32;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().canonicalize().unwrap();
    let template = template(&path).await;
    let (files, db) = sqlite_files(&path, ConnectionLimits::new(1 + OPEN).per_database(2)).await;
    let directory = directory();
    let mut contexts = Vec::new();
    for n in 0..TENANTS {
        let ctx = tenant(&directory, &format!("tenant-{n}"), Placement::database_of).await;
        std::fs::copy(&template, files.path(&name(&ctx))).unwrap();
        contexts.push((n, ctx));
    }
    let contexts = Arc::new(contexts);
    let most = Arc::new(AtomicU32::new(0));
    let id = uuid::Uuid::now_v7();
    let mut tasks = JoinSet::new();
    for task in 0..8_i64 {
        let (db, contexts, most, path) = (db.clone(), contexts.clone(), most.clone(), path.clone());
        tasks.spawn(async move {
            for (n, ctx) in contexts.iter().filter(|(n, _)| n % 8 == task) {
                let order = Order { id, status: "open".to_owned(), total: *n };
                Order::insert(&db.scope(ctx), &order).await.unwrap();
                most.fetch_max(u32::try_from(open_files(&path)).unwrap(), Ordering::Relaxed);
            }
            // A second pass in another order, also over files that other tasks opened.
            for (n, ctx) in contexts.iter().rev().filter(|(n, _)| n % 7 == task) {
                let found = Order::find(&db.scope(ctx), id).await.unwrap();
                if let Some(order) = found {
                    assert_eq!(order.total, *n, "a row of another tenant");
                }
            }
        });
    }
    tasks.join_all().await;
    for (n, ctx) in contexts.iter().step_by(17) {
        assert_eq!(Order::find(&db.scope(ctx), id).await.unwrap().unwrap().total, *n);
    }
    let most = most.load(Ordering::Relaxed);
    assert!((OPEN / 2..=OPEN).contains(&most), "{most} files were open, and {OPEN} are allowed");
}

/// `D13`, `D14`: no statement attaches a file, and no name leads out of the directory or to another tenant's file.
#[tokio::test]
async fn d13_d14_a_tenant_reaches_its_own_file_only() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().canonicalize().unwrap();
    let template = template(&path).await;
    let (files, db) = sqlite_files(&path, ConnectionLimits::new(9)).await;
    let directory = directory();
    let acme = tenant(&directory, "acme", Placement::database_of).await;
    let globex = tenant(&directory, "globex", Placement::database_of).await;
    std::fs::copy(&template, files.path(&name(&acme))).unwrap();

    // A missing file is an error by name, and is not created.
    let error = Order::count(&db.scope(&globex)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PlacementMissing, "{error:?}");
    assert!(!files.path(&name(&globex)).exists());

    // A symbolic link to another tenant's file.
    Order::insert(&db.scope(&acme), &Order::new(1)).await.unwrap();
    std::os::unix::fs::symlink(files.path(&name(&acme)), files.path(&name(&globex))).unwrap();
    let error = Order::count(&db.scope(&globex)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Misconfigured, "{error:?}");
    std::fs::remove_file(files.path(&name(&globex))).unwrap();
    std::fs::copy(&template, files.path(&name(&globex))).unwrap();
    assert_eq!(Order::count(&db.scope(&globex)).await.unwrap(), 0);

    let scope = db.scope(&globex);
    let other = files.path(&name(&acme));
    for sql in [
        format!("ATTACH DATABASE '{}' AS other", other.display()),
        format!("ATTACH '{}' AS other", other.display()),
        format!("SELECT 1; ATTACH '{}' AS other", other.display()),
        "SELECT * FROM other.orders".to_owned(),
        "PRAGMA database_list".to_owned(),
        "SELECT load_extension('x')".to_owned(),
        format!("VACUUM INTO '{}'", other.display()),
    ] {
        let error = sqlx::query(AssertSqlSafe(sql.clone())).fetch_all(&scope).await.unwrap_err();
        let kind = Error::from_sqlx(error).kind();
        assert!([ErrorKind::SqlRejected, ErrorKind::Database].contains(&kind), "{sql}: {kind}");
        let mut tx = db.begin(&globex).await.unwrap();
        sqlx::query(AssertSqlSafe(sql.clone())).execute(&mut tx).await.unwrap_err();
    }
    assert_eq!(Order::count(&db.scope(&acme)).await.unwrap(), 1);
}

// ---- PostgreSQL databases ----

fn database_name(pool: &sqlx::PgPool) -> String {
    pool.connect_options().get_database().unwrap().to_owned()
}

struct Databases {
    db: TenantDb<Postgres>,
    tenants: Vec<TenantContext>,
    /// Reads `pg_stat_activity`, outside of the limits.
    admin: sqlx::PgPool,
    names: Vec<String>,
    _cleanup: Vec<Cleanup>,
}

/// Tenants with a database each.
async fn databases(count: usize, limits: impl Fn(u32) -> ConnectionLimits) -> Databases {
    const SHARED: u32 = 2;
    let (pool, cleanup) = Postgres::fresh(SHARED).await;
    let (admin, directory) =
        (sqlx::PgPool::connect(&crate::common::postgres_url()).await.unwrap(), directory());
    let (mut tenants, mut registry, mut names, mut cleanups) =
        (vec![], HashMap::new(), vec![], vec![cleanup]);
    for n in 0..count {
        let (place, cleanup) = Postgres::fresh(1).await;
        Postgres::raw(&place, Postgres::ORDERS).await.unwrap();
        let ctx = tenant(&directory, &format!("tenant-{n}"), Placement::database_of).await;
        names.push(database_name(&place));
        registry.insert(name(&ctx), Postgres::config(&place));
        place.close().await;
        tenants.push(ctx);
        cleanups.push(cleanup);
    }
    let db = TenantDb::from_pool(pool).databases(registry, limits(SHARED)).build().await.unwrap();
    Databases { db, tenants, admin, names, _cleanup: cleanups }
}

impl Databases {
    async fn open(&self) -> i64 {
        let sql = "SELECT count(*) FROM pg_stat_activity WHERE datname = ANY ($1)";
        sqlx::query_scalar(sql).bind(&self.names).fetch_one(&self.admin).await.unwrap()
    }

    /// Waits until no more connections are open than allowed. A connection that was closed ends a moment later.
    async fn settled(&self, allowed: i64) {
        let deadline = Instant::now() + Duration::from_secs(5);
        loop {
            let open = self.open().await;
            if open <= allowed {
                return;
            }
            assert!(Instant::now() < deadline, "{open} connections are open, and {allowed} are allowed");
            tokio::task::yield_now().await;
        }
    }
}

/// Many more databases than connections: every statement gets one, and the server sees no more than allowed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_server_sees_no_more_connections_than_allowed() {
    const LEFT: u32 = 4;
    let all = databases(8, |shared| ConnectionLimits::new(shared + LEFT).per_database(2)).await;
    let mut tasks = JoinSet::new();
    for task in 0..16 {
        let (db, tenants) = (all.db.clone(), all.tenants.clone());
        tasks.spawn(async move {
            for n in 0..12 {
                let ctx = &tenants[(task * 5 + n * 3) % tenants.len()];
                let mut tx = db.begin(ctx).await.unwrap();
                Order::insert(&mut tx, &Order::new(1)).await.unwrap();
                if n % 4 == 3 {
                    drop(tx);
                } else {
                    tx.commit().await.unwrap();
                }
            }
        });
    }
    let watch = async {
        loop {
            all.settled(LEFT.into()).await;
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        _ = tasks.join_all() => {}
        () = watch => unreachable!("it never ends"),
    }
    let mut sum = 0;
    for ctx in &all.tenants {
        sum += Order::count(&all.db.scope(ctx)).await.unwrap();
    }
    assert_eq!(sum, 16 * 9, "each committed row is there once");
    all.settled(LEFT.into()).await;
}

/// A tenant that holds its whole share waits for itself only, and the wait ends in an error by name.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d17_a_tenant_gets_its_share_and_no_more() {
    let wait = Duration::from_millis(300);
    let all = databases(3, |shared| ConnectionLimits::new(shared + 3).per_database(2).wait(wait)).await;
    let [busy, quiet, third] = &all.tenants[..] else { unreachable!() };
    let held = (all.db.begin(busy).await.unwrap(), all.db.begin(busy).await.unwrap());
    let error = all.db.begin(busy).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TenantConnectionLimit);
    assert!(error.to_string().contains("this tenant's database uses all 2"), "{error}");
    assert!(error.is_transient());
    // The quiet one has the place that is left, again and again.
    for _ in 0..3 {
        assert_eq!(Order::count(&all.db.scope(quiet)).await.unwrap(), 0);
        assert_eq!(Order::count(&all.db.scope(third)).await.unwrap(), 0);
    }
    let kept = all.db.begin(quiet).await.unwrap();
    let error = Order::count(&all.db.scope(third)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionLimit);
    assert!(error.to_string().contains("all 3 connections"), "{error}");
    // A connection in use is not closed for another tenant.
    for tx in [held.0, held.1, kept] {
        tx.commit().await.unwrap();
    }
    assert_eq!(Order::count(&all.db.scope(third)).await.unwrap(), 0);
}

/// A request that is dropped while it waits for a connection, or while one is opened, leaves nothing behind.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_request_keeps_no_place() {
    let all = databases(4, |shared| ConnectionLimits::new(shared + 2).per_database(1)).await;
    for polls in 0..60 {
        let ctx = &all.tenants[polls % 4];
        let mut begin = Box::pin(all.db.begin(ctx));
        for _ in 0..polls {
            if futures_util::poll!(&mut begin).is_ready() {
                break;
            }
            tokio::task::yield_now().await;
        }
    }
    // Both places are free again: two tenants hold one each.
    let one = all.db.begin(&all.tenants[0]).await.unwrap();
    let two = all.db.begin(&all.tenants[1]).await.unwrap();
    one.commit().await.unwrap();
    two.commit().await.unwrap();
    all.settled(2).await;
}

/// A superuser's database is used only if it is declared to have no row-level security.
#[tokio::test]
async fn a_role_that_rls_does_not_bind_is_rejected_when_the_database_is_opened() {
    let (pool, _cleanup) = Postgres::fresh(1).await;
    let (place, _gone) = Postgres::fresh(1).await;
    Postgres::raw(&place, Postgres::ORDERS).await.unwrap();
    let admin: sqlx::postgres::PgConnectOptions = crate::common::admin_url().parse().unwrap();
    let admin = admin.database(&database_name(&place));
    let directory = directory();
    let ctx = tenant(&directory, "acme", Placement::database_of).await;
    for (enforcement, expected) in
        [(Enforcement::PredicateAndRls, Some(ErrorKind::Misconfigured)), (Enforcement::PredicateOnly, None)]
    {
        let config = DatabaseConfig::new(admin.clone()).enforcement(enforcement);
        assert!(!format!("{config:?}").contains("postgres"), "{config:?}");
        let lookup = move |_: &PlacementName| Ok(Some(config.clone()));
        let db = TenantDb::from_pool(pool.clone())
            .databases(lookup, ConnectionLimits::new(4))
            .build()
            .await
            .unwrap();
        let found = Order::count(&db.scope(&ctx)).await;
        assert_eq!(found.err().map(|e| e.kind()), expected);
    }
    let dropped = DatabaseConfig::new(admin.database("tenancy_no_such_database"));
    let lookup = move |_: &PlacementName| Ok(Some(dropped.clone()));
    let db = TenantDb::from_pool(pool).databases(lookup, ConnectionLimits::new(4)).build().await.unwrap();
    assert_eq!(Order::count(&db.scope(&ctx)).await.unwrap_err().kind(), ErrorKind::PlacementMissing);
}

/// A cluster is a database that several tenants name.
#[tokio::test]
async fn tenants_that_share_a_database_see_their_own_rows() {
    let (pool, _cleanup) = Postgres::fresh(1).await;
    let (place, _gone) = Postgres::fresh(1).await;
    Postgres::raw(&place, Postgres::ORDERS).await.unwrap();
    SqlStore::new(place.clone()).migrate().await.unwrap();
    let (directory, config) = (directory(), Postgres::config(&place));
    let cluster = PlacementName::parse("cluster-europe").unwrap();
    let placement = |_: &TenantId| Placement::Database { name: cluster.clone() };
    let (acme, globex) =
        (tenant(&directory, "acme", placement).await, tenant(&directory, "globex", placement).await);
    let lookup = {
        let config = config.clone();
        move |name: &PlacementName| Ok((name.as_str() == "cluster-europe").then(|| config.clone()))
    };
    let db =
        TenantDb::from_pool(pool.clone()).databases(lookup, ConnectionLimits::new(4)).build().await.unwrap();
    let order = Order::new(7);
    for (ctx, status) in [(&acme, "acme"), (&globex, "globex")] {
        let mut tx = db.begin(ctx).await.unwrap();
        // The same id for both.
        Order::insert(&mut tx, &Order { status: status.to_owned(), ..order.clone() }).await.unwrap();
        Gauge::new("projects").acquire(&mut tx, 1).await.unwrap();
        tx.commit().await.unwrap();
    }
    for (ctx, status) in [(&acme, "acme"), (&globex, "globex")] {
        let scope = db.scope(ctx);
        assert_eq!(Order::find(&scope, order.id).await.unwrap().unwrap().status, status);
        assert_eq!(Order::count(&scope).await.unwrap(), 1);
        assert_eq!(Gauge::new("projects").usage(&scope).await.unwrap().used, 1);
    }

    // The library's tables have one type of id everywhere.
    SqlStore::new(place).tenant_id_type(TenantType::Uuid).migrate().await.unwrap();
    let lookup = move |_: &PlacementName| Ok(Some(config.clone()));
    let db = TenantDb::from_pool(pool).databases(lookup, ConnectionLimits::new(4)).build().await.unwrap();
    let error = Order::count(&db.scope(&acme)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Misconfigured);
    assert!(error.to_string().contains("another type of `tenant_id`"), "{error}");
}

#[tokio::test]
async fn limits_that_leave_no_connection_are_rejected_at_start() {
    let (pool, _cleanup) = Sqlite::fresh(4).await;
    for limits in [ConnectionLimits::new(4), ConnectionLimits::new(9).per_database(0)] {
        let none = HashMap::<PlacementName, DatabaseConfig<Sqlite>>::new();
        let built = TenantDb::from_pool(pool.clone()).databases(none, limits).build().await;
        assert_eq!(built.unwrap_err().kind(), ErrorKind::Misconfigured);
    }
}
