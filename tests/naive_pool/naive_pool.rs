//! A begin that is cancelled in flight, with a pool as it is often used and with a `TenantDb`: on the one the next user
//! reads another tenant's rows, on the other nobody does, wherever a future is dropped and whatever others left behind.

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
    /// Whose it is.
    status: String,
    total: i64,
}

fn order(of: &str) -> Order {
    Order { id: Uuid::now_v7(), status: of.to_owned(), total: 1 }
}

/// One order of acme and two of globex, and a pool beside the world's that asks no connection whether it lives.
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

/// Drops a future when it has waited so often, or answers what it did. `late`: not before the server was asked something
/// else, so that it had the time to answer.
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

/// Who a connection says it is for, whether it is inside a transaction, and whose rows it sees.
#[derive(Debug, PartialEq)]
struct Found {
    tenant: Option<String>,
    in_transaction: bool,
    of: BTreeSet<String>,
}

impl Found {
    fn nobody() -> Self {
        Self { tenant: None, in_transaction: false, of: BTreeSet::new() }
    }

    async fn on(conn: &mut PgConnection) -> Self {
        // One message: outside of a transaction it is one of its own, and as old.
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

/// How often a leak is tried for; each number of waits comes up many times.
const TRIES: usize = 600;

tokio::task_local! {
    static TENANT: String;
}

/// Tells a connection the tenant of the task, for as long as it is out.
async fn tell(conn: &mut PgConnection) -> sqlx::Result<()> {
    let Ok(tenant) = TENANT.try_with(Clone::clone) else { return Ok(()) };
    sqlx::query("SELECT set_config('app.tenant_id', $1, false)").bind(tenant).execute(conn).await.map(|_| ())
}

#[tokio::test]
async fn a_pool_with_hooks_answers_one_tenant_with_anothers_rows() {
    let _roles = ROLES.read().await;
    let (fixture, _) = seeded(1).await;
    let naive = PgPoolOptions::new()
        .max_connections(1)
        .after_connect(|conn, _| Box::pin(tell(conn)))
        .before_acquire(|conn, _| Box::pin(async { tell(conn).await.map(|()| true) }))
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
        if found != Found::nobody() {
            seen = Some(found);
            break;
        }
    }
    let wanted = Found { tenant: Some(acme), in_transaction: true, of: BTreeSet::from(["acme".to_owned()]) };
    assert_eq!(seen, Some(wanted));
    // And it stays so.
    assert!(Found::on(&mut pool.acquire().await.unwrap()).await.in_transaction);

    // A data plane on this very pool is not built.
    let db = TenantDb::from_pool(pool.clone()).build().await;
    assert_eq!(db.unwrap_err().kind(), ErrorKind::Misconfigured, "it notices when it is built");
}

/// A role is a member of another in every database, so whoever makes one a member of an exempt role is alone meanwhile.
static ROLES: RwLock<()> = RwLock::const_new(());

/// What is done with a data plane, up to its end.
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

/// Every connection of the pool as its next user finds it.
async fn found(pool: &PgPool) -> Vec<Found> {
    let mut found = Vec::new();
    for conn in &mut every_connection(pool).await {
        found.push(Found::on(conn).await);
    }
    found
}

/// What each tenant sees is its own, and globex's is as it was.
async fn each_sees_its_own(fixture: &Fixture<Postgres>, db: &TenantDb<Postgres>, when: &str) {
    let ours = Order::select().all(&db.scope(&fixture.acme), 1000).await.unwrap();
    assert!(!ours.is_empty() && ours.iter().all(|order| order.status == "acme"), "{when}: {ours:?}");
    let theirs = Order::select().all(&db.scope(&fixture.globex), 1000).await.unwrap();
    assert!(theirs.len() == 2 && theirs.iter().all(|order| order.total == 1), "{when}: {theirs:?}");
    assert!(theirs.iter().all(|order| order.status == "globex"), "{when}: {theirs:?}");
}

/// Whichever wait a future is dropped at, as soon as it waits or when the answer has come.
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
                    assert_eq!(found, Found::nobody(), "{when}");
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
    // How often there is something to wait for is the machine's doing.
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

/// A role that row-level security does not bind, and that the application's may become.
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
    // To everybody, so that nothing of the role is left in the database.
    sqlx::raw_sql("GRANT SELECT, INSERT, UPDATE, DELETE ON orders TO PUBLIC")
        .execute(&fixture.pool)
        .await
        .unwrap();
    (name, cleanup)
}

/// Leaves every connection of the pool as `sql` makes it; their processes.
async fn leave(pool: &PgPool, sql: &str) -> BTreeSet<i32> {
    let mut processes = BTreeSet::new();
    for conn in &mut every_connection(pool).await {
        processes.insert(sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(&mut **conn).await.unwrap());
        // One of them is an error on purpose.
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

/// Whoever else has the pool may leave a transaction open on it: no scope ever runs inside.
#[tokio::test]
async fn a_scope_never_runs_in_a_transaction_that_somebody_left_open() {
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
                // Through the role that is exempt one sees everybody.
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

/// A session that was told a tenant or a role shows a scope nothing else, and a transaction that failed before is not met.
#[tokio::test]
async fn what_a_session_was_told_is_not_what_a_scope_sees() {
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

/// The control plane shares the pool: what somebody left half done is not committed with its own.
#[tokio::test]
async fn the_control_plane_never_commits_what_somebody_left_open() {
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

/// A pool outlives the building of a data plane on it, wherever that is dropped.
#[tokio::test]
async fn a_data_plane_that_is_not_built_leaves_nothing_on_the_pool() {
    let _roles = ROLES.read().await;
    let (fixture, pool) = seeded(1).await;
    for late in [None, Some(&fixture.pool)] {
        for waits in 1.. {
            let built = dropped_after(waits, late, TenantDb::from_pool(pool.clone()).build()).await;
            let when = format!("{waits} waits, late: {}", late.is_some());
            assert_eq!(found(&pool).await, [Found::nobody()], "{when}");
            if let Some(built) = built {
                built.unwrap();
                assert!(waits > 5, "it waits for nothing");
                break;
            }
        }
    }
}
