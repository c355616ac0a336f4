//! A cancelled BEGIN leaks rows with a common pool setup, and never with a `TenantDb`.
//!
//! A future is dropped at any await, and connections start with any leftover session state.

use std::collections::BTreeSet;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

use futures_util::TryStreamExt;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnection, PgPool, PgPoolOptions};
use sqlx::{Acquire, AssertSqlSafe, Connection, Postgres};
use tenancy::isolation::doctor::Check;
use tenancy::store::SqlStore;
use tenancy::tenant::{NewTenant, Slug, TenantStore};
use tenancy::{ErrorKind, TenantContext, TenantDb, TenantScoped};
use tokio::sync::RwLock;
use uuid::Uuid;

use crate::common::{Cleanup, Fixture, admin_url};

#[derive(Debug, Clone, PartialEq, TenantScoped, sqlx::FromRow)]
#[tenant(table = "orders")]
struct Order {
    #[tenant(id)]
    id: Uuid,
    /// The slug of the tenant that owns the row.
    status: String,
    total: i64,
}

fn order(of: &str) -> Order {
    Order { id: Uuid::now_v7(), status: of.to_owned(), total: 1 }
}

/// One order of acme and two of globex, and a second pool that does not ping its connections.
async fn seeded(connections: u32) -> (Fixture<Postgres>, PgPool) {
    let fixture = Fixture::<Postgres>::new().await;
    for (ctx, of, count) in [(&fixture.acme, "acme", 1), (&fixture.globex, "globex", 2)] {
        for _ in 0..count {
            Order::insert(&fixture.db.scope(ctx), &order(of)).await.unwrap();
        }
    }
    let options = PgPoolOptions::new().max_connections(connections).test_before_acquire(false);
    let pool = options.connect_with((*fixture.pool.connect_options()).clone()).await.unwrap();
    (fixture, pool)
}

/// Drops a future after `waits` polls, or returns its output. `late`: only after the server has answered another
/// query, so that it had time to answer this one too.
async fn dropped_after<T>(waits: usize, late: Option<&PgPool>, future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    let mut left = waits;
    let done = poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(done) => Poll::Ready(Some(done)),
        Poll::Pending if left == 1 => Poll::Ready(None),
        Poll::Pending => {
            left -= 1;
            Poll::Pending
        }
    })
    .await;
    if let (None, Some(other)) = (&done, late) {
        sqlx::raw_sql("SELECT 1").execute(other).await.unwrap();
    }
    done
}

/// The tenant of a connection, whether it is in a transaction, and the tenants whose rows it reads.
#[derive(Debug, PartialEq)]
struct Found {
    tenant: Option<String>,
    in_transaction: bool,
    of: BTreeSet<String>,
}

impl Found {
    fn clean() -> Self {
        Self { tenant: None, in_transaction: false, of: BTreeSet::new() }
    }

    async fn on(conn: &mut PgConnection) -> Self {
        // One message: outside of a transaction the message is its own transaction, with an equal timestamp.
        let looked = "SELECT nullif(current_setting('app.tenant_id', true), ''), now() <> statement_timestamp(), \
                      (SELECT coalesce(string_agg(DISTINCT status, ' '), '') FROM orders)";
        let row = sqlx::raw_sql(looked).fetch_one(conn).await.unwrap();
        let of: String = sqlx::Row::get(&row, 2);
        Self {
            tenant: sqlx::Row::get(&row, 0),
            in_transaction: sqlx::Row::get(&row, 1),
            of: of.split_whitespace().map(str::to_owned).collect(),
        }
    }
}

/// The number of attempts to produce a leak; each number of polls occurs many times.
const TRIES: usize = 600;

tokio::task_local! {
    static TENANT: String;
}

/// Sets the tenant of the task on a connection, while it is out of the pool.
async fn set_tenant(conn: &mut PgConnection) -> sqlx::Result<()> {
    let Ok(tenant) = TENANT.try_with(Clone::clone) else { return Ok(()) };
    sqlx::query("SELECT set_config('app.tenant_id', $1, false)").bind(tenant).execute(conn).await.map(|_| ())
}

#[tokio::test]
async fn a_pool_with_hooks_returns_rows_of_another_tenant() {
    let _roles = ROLES.read().await;
    let (fixture, _) = seeded(1).await;
    let naive = PgPoolOptions::new()
        .max_connections(1)
        .after_connect(|conn, _| Box::pin(set_tenant(conn)))
        .before_acquire(|conn, _| Box::pin(async { set_tenant(conn).await.map(|()| true) }))
        .after_release(|conn, _| {
            Box::pin(async {
                sqlx::raw_sql("SELECT set_config('app.tenant_id', '', false)")
                    .execute(conn)
                    .await
                    .map(|_| true)
            })
        })
        .connect_with((*fixture.pool.connect_options()).clone())
        .await
        .unwrap();
    let [acme, globex] = [&fixture.acme, &fixture.globex].map(|ctx| ctx.tenant_id().to_string());
    let mut seen = None;
    for n in 0..TRIES {
        TENANT.scope(acme.clone(), dropped_after(1 + n % 12, None, naive.begin())).await;
        let found = TENANT.scope(globex.clone(), async {
            let mut conn = naive.acquire().await.unwrap();
            let tx = conn.begin().await.unwrap();
            tx.rollback().await.unwrap();
            Found::on(&mut conn).await
        });
        let found = found.await;
        if found.of.contains("acme") {
            seen = Some(found);
            break;
        }
        assert_eq!(found.of, BTreeSet::from(["globex".to_owned()]));
    }
    let seen = seen.expect("globex was never shown acme's rows: sqlx may have fixed its begin");
    assert_eq!((seen.tenant, seen.of), (Some(acme), BTreeSet::from(["acme".to_owned()])));
}

#[tokio::test]
async fn a_begin_with_a_tenant_that_is_dropped_stays_for_the_next_user() {
    let _roles = ROLES.read().await;
    let (fixture, pool) = seeded(1).await;
    let acme = fixture.acme.tenant_id().to_string();
    let begin = format!("BEGIN; SET LOCAL app.tenant_id = '{acme}'");
    let mut seen = None;
    for n in 0..TRIES {
        dropped_after(1 + n % 12, None, pool.begin_with(AssertSqlSafe(begin.clone()))).await;
        let found = Found::on(&mut pool.acquire().await.unwrap()).await;
        if found != Found::clean() {
            seen = Some(found);
            break;
        }
    }
    let wanted = Found { tenant: Some(acme), in_transaction: true, of: BTreeSet::from(["acme".to_owned()]) };
    assert_eq!(seen, Some(wanted));
    // The connection stays in the transaction.
    assert!(Found::on(&mut pool.acquire().await.unwrap()).await.in_transaction);

    // A `TenantDb` on this pool does not build.
    let db = TenantDb::from_pool(pool.clone()).build().await;
    assert_eq!(db.unwrap_err().kind(), ErrorKind::Misconfigured, "it notices when it is built");
}

/// Role membership applies to every database, so a test that changes it runs alone.
static ROLES: RwLock<()> = RwLock::const_new(());

/// A use of a `TenantDb`, from its start to its end.
#[derive(Debug, Clone, Copy)]
enum Use {
    Begin,
    Read,
    Write,
    Rollback,
    ScopeRead,
    ScopeWrite,
    Stream,
    StreamInTx,
    OwnWrite,
}

const USES: [Use; 9] = [
    Use::Begin,
    Use::Read,
    Use::Write,
    Use::Rollback,
    Use::ScopeRead,
    Use::ScopeWrite,
    Use::Stream,
    Use::StreamInTx,
    Use::OwnWrite,
];

impl Use {
    async fn run(self, db: &TenantDb<Postgres>, ctx: &TenantContext) {
        const ALL: &str =
            "SELECT id, status, total FROM orders UNION ALL SELECT id, status, total FROM orders";
        let scope = db.scope(ctx);
        match self {
            Self::Begin => drop(db.begin(ctx).await.unwrap()),
            Self::Read => assert!(Order::count(&mut db.begin(ctx).await.unwrap()).await.unwrap() > 0),
            Self::Write => {
                let mut tx = db.begin(ctx).await.unwrap();
                Order::insert(&mut tx, &order("acme")).await.unwrap();
                tx.commit().await.unwrap();
            }
            Self::Rollback => {
                let mut tx = db.begin(ctx).await.unwrap();
                Order::insert(&mut tx, &order("never")).await.unwrap();
                tx.rollback().await.unwrap();
            }
            Self::ScopeRead => assert!(Order::count(&scope).await.unwrap() > 0),
            Self::ScopeWrite => Order::insert(&scope, &order("acme")).await.unwrap(),
            Self::Stream => {
                let mut rows = sqlx::query_as::<_, Order>(ALL).fetch(&scope);
                assert_eq!(rows.try_next().await.unwrap().unwrap().status, "acme");
            }
            Self::StreamInTx => {
                let mut tx = db.begin(ctx).await.unwrap();
                let mut rows = sqlx::query_as::<_, Order>(ALL).fetch(&mut tx);
                assert_eq!(rows.try_next().await.unwrap().unwrap().status, "acme");
            }
            Self::OwnWrite => {
                sqlx::query("UPDATE orders SET total = total + 1").execute(&scope).await.unwrap();
            }
        }
    }
}

async fn every_connection(pool: &PgPool) -> Vec<PoolConnection<Postgres>> {
    let mut all = Vec::new();
    for _ in 0..pool.options().get_max_connections() {
        all.push(pool.acquire().await.unwrap());
    }
    all
}

/// The state of every connection of the pool, as its next user finds it.
async fn found(pool: &PgPool) -> Vec<Found> {
    let mut found = Vec::new();
    for conn in &mut every_connection(pool).await {
        found.push(Found::on(conn).await);
    }
    found
}

/// Each tenant reads its own rows, and those of globex are unchanged.
async fn each_sees_its_own(fixture: &Fixture<Postgres>, db: &TenantDb<Postgres>, when: &str) {
    let ours = Order::select().all(&db.scope(&fixture.acme), 1000).await.unwrap();
    assert!(!ours.is_empty() && ours.iter().all(|order| order.status == "acme"), "{when}: {ours:?}");
    let theirs = Order::select().all(&db.scope(&fixture.globex), 1000).await.unwrap();
    assert!(theirs.len() == 2 && theirs.iter().all(|order| order.total == 1), "{when}: {theirs:?}");
    assert!(theirs.iter().all(|order| order.status == "globex"), "{when}: {theirs:?}");
}

/// Drops a future at each await, at once or after the response has arrived.
async fn nothing_is_left_behind(connections: u32) {
    let _roles = ROLES.read().await;
    let (fixture, pool) = seeded(connections).await;
    let db = TenantDb::from_pool(pool.clone()).build().await.unwrap();
    let mut dropped = 0;
    for used in USES {
        for late in [None, Some(&fixture.pool)] {
            for waits in 1.. {
                let ended = dropped_after(waits, late, used.run(&db, &fixture.acme)).await;
                let when = format!("{used:?}, {waits} waits, late: {}", late.is_some());
                for found in found(&pool).await {
                    assert_eq!(found, Found::clean(), "{when}");
                }
                each_sees_its_own(&fixture, &db, &when).await;
                if ended.is_some() {
                    break;
                }
                dropped += 1;
                assert!(waits < 100, "{used:?} never ends");
            }
        }
    }
    // The number of awaits depends on the machine.
    assert!(dropped >= 9, "only {dropped} were dropped");
}

#[tokio::test]
async fn a_data_plane_of_one_connection_leaves_nothing_wherever_it_is_dropped() {
    nothing_is_left_behind(1).await;
}

#[tokio::test]
async fn a_data_plane_of_two_connections_leaves_nothing_wherever_it_is_dropped() {
    nothing_is_left_behind(2).await;
}

/// An exempt role, of which the application's role is a member.
async fn exempt_role(fixture: &Fixture<Postgres>) -> (String, Cleanup) {
    let name = format!("tenancy_test_{}", Uuid::now_v7().simple());
    let app: String = sqlx::query_scalar("SELECT current_user").fetch_one(&fixture.pool).await.unwrap();
    let mut admin = PgConnection::connect(&admin_url()).await.expect("the superuser logs in");
    let make = format!("CREATE ROLE {name} BYPASSRLS; GRANT {name} TO \"{app}\"");
    sqlx::raw_sql(AssertSqlSafe(make)).execute(&mut admin).await.expect("the superuser makes roles");
    let cleanup = Cleanup::database(name.clone(), async move |name| {
        let mut admin = PgConnection::connect(&admin_url()).await?;
        sqlx::raw_sql(AssertSqlSafe(format!("DROP ROLE {name}"))).execute(&mut admin).await.map(|_| ())
    });
    // To PUBLIC, so that no grant to the role stays in the database.
    sqlx::raw_sql("GRANT SELECT, INSERT, UPDATE, DELETE ON orders TO PUBLIC")
        .execute(&fixture.pool)
        .await
        .unwrap();
    (name, cleanup)
}

/// Runs `sql` on every connection of the pool; returns their process ids.
async fn leave(pool: &PgPool, sql: &str) -> BTreeSet<i32> {
    let mut processes = BTreeSet::new();
    for conn in &mut every_connection(pool).await {
        processes.insert(sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(&mut **conn).await.unwrap());
        // One of the texts is an error on purpose.
        let _ = sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut **conn).await;
    }
    processes
}

async fn processes(pool: &PgPool) -> BTreeSet<i32> {
    let mut processes = BTreeSet::new();
    for conn in &mut every_connection(pool).await {
        processes.insert(sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(&mut **conn).await.unwrap());
    }
    processes
}

/// Other users of the pool may leave a transaction open: no scope runs inside of it.
#[tokio::test]
async fn a_scope_never_runs_in_a_leftover_transaction() {
    let _alone = ROLES.write().await;
    for connections in [1, 2] {
        let (fixture, pool) = seeded(connections).await;
        let (exempt, _cleanup) = exempt_role(&fixture).await;
        let db = TenantDb::from_pool(pool.clone()).accept(Check::ExemptRole).build().await.unwrap();
        let globex = fixture.globex.tenant_id();
        let left = [
            "BEGIN".to_owned(),
            "BEGIN READ ONLY".to_owned(),
            format!("BEGIN; SET LOCAL app.tenant_id = '{globex}'"),
            format!("BEGIN; SET LOCAL ROLE {exempt}; SET LOCAL app.tenant_id = '{globex}'"),
        ];
        for (n, left) in left.iter().enumerate() {
            for used in USES {
                let before = leave(&pool, left).await;
                let (there, now) =
                    (Order::count(&fixture.db.scope(&fixture.acme)).await.unwrap(), found(&pool).await);
                assert!(now.iter().all(|found| found.in_transaction), "{left}: {now:?}");
                // With the exempt role every row is visible.
                assert!(n < 3 || now.iter().all(|found| found.of.len() == 2), "{now:?}");
                used.run(&db, &fixture.acme).await;
                each_sees_its_own(&fixture, &db, left).await;
                let kept = Order::count(&fixture.db.scope(&fixture.acme)).await.unwrap();
                let writes = matches!(used, Use::Write | Use::ScopeWrite);
                assert_eq!(
                    kept,
                    there + u64::from(writes),
                    "{left}, {used:?}: what was written is there for others"
                );
                assert_ne!(processes(&pool).await, before, "{left}, {used:?}: a connection was given up");
                leave(&pool, "ROLLBACK").await;
            }
        }
    }
}

/// A leftover tenant or role in a session does not affect a scope, and a failed transaction is not reused.
#[tokio::test]
async fn leftover_session_state_does_not_reach_a_scope() {
    let _alone = ROLES.write().await;
    let (fixture, pool) = seeded(1).await;
    let (exempt, _cleanup) = exempt_role(&fixture).await;
    let db = TenantDb::from_pool(pool.clone()).accept(Check::ExemptRole).build().await.unwrap();
    let globex = fixture.globex.tenant_id();
    for left in [format!("SET app.tenant_id = '{globex}'"), format!("SET ROLE {exempt}")] {
        leave(&pool, &left).await;
        assert!(found(&pool).await[0].of.contains("globex"), "{left} shows something");
        for used in USES {
            used.run(&db, &fixture.acme).await;
            each_sees_its_own(&fixture, &db, &left).await;
        }
        leave(&pool, "RESET ROLE; RESET app.tenant_id").await;
    }
    let before = leave(&pool, "BEGIN; SELECT 1 / 0").await;
    Order::count(&db.scope(&fixture.acme)).await.unwrap();
    assert_ne!(processes(&pool).await, before);
    each_sees_its_own(&fixture, &db, "after an error").await;
}

/// The control plane shares the pool: it never commits a transaction that someone left open.
#[tokio::test]
async fn the_control_plane_never_commits_a_leftover_transaction() {
    let _roles = ROLES.read().await;
    let (fixture, pool) = seeded(1).await;
    let store = SqlStore::new(pool.clone());
    let globex = fixture.globex.tenant_id();
    let left = format!("BEGIN; SET LOCAL app.tenant_id = '{globex}'; UPDATE orders SET total = 9");
    for (slug, left) in [("initech", left.as_str()), ("umbrella", "BEGIN READ ONLY")] {
        let before = leave(&pool, left).await;
        let slug = Slug::parse(slug).unwrap();
        store.insert(NewTenant::new(slug.clone(), "New", "free")).await.unwrap();
        assert!(fixture.store.by_slug(&slug).await.unwrap().is_some(), "{left}: it is there for others");
        each_sees_its_own(&fixture, &fixture.db, left).await;
        assert_ne!(processes(&pool).await, before, "{left}: the connection was given up");
    }
}

/// A pool stays usable after a `TenantDb` on it failed to build, or was dropped while building.
#[tokio::test]
async fn a_data_plane_that_is_not_built_leaves_nothing_on_the_pool() {
    let _roles = ROLES.read().await;
    let (fixture, pool) = seeded(1).await;
    for late in [None, Some(&fixture.pool)] {
        for waits in 1.. {
            let built = dropped_after(waits, late, TenantDb::from_pool(pool.clone()).build()).await;
            let when = format!("{waits} waits, late: {}", late.is_some());
            assert_eq!(found(&pool).await, [Found::clean()], "{when}");
            if let Some(built) = built {
                built.unwrap();
                assert!(waits > 5, "it waits for nothing");
                break;
            }
        }
    }
}
