//! Compares checked queries, the scoped executor and the repository with plain sqlx: the same read on the same
//! database. The variants run alternately in one run.
//!
//! Runs on SQLite, and on PostgreSQL if `TEST_POSTGRES_URL` is set. Only the variant "pool with ping" tests each
//! connection before use.

#[path = "../tests/fixture/common.rs"]
mod common;

use std::hint::black_box;
use std::time::Instant;

use common::{Fixture, Order};
use criterion::{Criterion, criterion_group, criterion_main};
use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;
use sqlx::pool::PoolOptions;
use sqlx::{Executor, Pool};
use tenancy::audit::AuditPolicy;
use tenancy::scope::select::PageRequest;
use tenancy::{TenantDb, TenantScoped, query_as};
use tokio::runtime::Runtime;
use uuid::Uuid;

/// A variant to measure: its name, and a function that runs the read once and returns the number of rows.
type Variant<'a> = (&'a str, Box<dyn Fn() -> LocalBoxFuture<'a, usize> + 'a>);

const WITH_PREDICATE: &str = "SELECT id, status, total FROM orders WHERE tenant_id = $1 AND id = $2";
const WITHOUT_PREDICATE: &str = "SELECT id, status, total FROM orders WHERE id = $1";
const WITH_PREDICATE_LIST: &str =
    "SELECT id, status, total FROM orders WHERE tenant_id = $1 ORDER BY id LIMIT $2";
const WITHOUT_PREDICATE_LIST: &str = "SELECT id, status, total FROM orders ORDER BY id LIMIT $1";

/// The number of rounds, and how often a variant reads in each round.
const ROUNDS: usize = 1000;
const TURN: u32 = 15;

macro_rules! variant {
    ($name:literal, $rows:expr) => {
        ($name, Box::new(|| async { $rows.await.unwrap().len() }.boxed_local()) as Box<_>)
    };
}

/// The bench on one database. A macro, because sqlx's trait bounds cannot be written in a generic function. `$bare`
/// is the table of orders without row-level security; `$set_tenant` is the statement that sets the tenant.
macro_rules! queries {
    ($name:ident, $db:ty, $connections:literal, $seed:literal, $bare:literal, $set_tenant:expr) => {
        mod $name {
            use super::*;

            async fn in_transaction(
                pool: &Pool<$db>,
                tenant: Uuid,
                query: sqlx::query::QueryAs<'static, $db, Order, <$db as sqlx::Database>::Arguments>,
            ) -> sqlx::Result<Vec<Order>> {
                let mut tx = pool.begin().await?;
                if let Some(set_tenant) = $set_tenant {
                    sqlx::query::<$db>(set_tenant).bind(tenant.to_string()).execute(&mut *tx).await?;
                }
                let rows = query.fetch_all(&mut *tx).await?;
                tx.commit().await?;
                Ok(rows)
            }

        pub(super) fn queries(criterion: &mut Criterion) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let fixture = runtime.block_on(Fixture::<$db>::with(AuditPolicy::Optional, $connections));
            let tenant: Uuid = fixture.acme.tenant_id().to_string().parse().unwrap();
            let (plain, db) = runtime.block_on(async {
                let other: Uuid = fixture.globex.tenant_id().to_string().parse().unwrap();
                let options = (*fixture.pool.connect_options()).clone();
                let pool: Pool<$db> = PoolOptions::new()
                    .max_connections($connections)
                    .test_before_acquire(false)
                    .connect_with(options)
                    .await
                    .unwrap();
                <$db as common::TestBackend>::raw(&pool, $seed).await.unwrap();
                for n in 0..2000_u128 {
                    let tenant = if n % 2 == 0 { tenant } else { other };
                    let sql = concat!("INSERT INTO ", $bare, " VALUES ($1, $2, 'open', $3)");
                    let order = sqlx::query(sql).bind(tenant).bind(Uuid::from_u128(n)).bind(7_i64);
                    order.execute(&pool).await.unwrap();
                }
                if $bare != "orders" {
                    let seed = concat!(
                        "ALTER TABLE orders NO FORCE ROW LEVEL SECURITY; INSERT INTO orders SELECT * FROM ",
                        $bare,
                        "; ALTER TABLE orders FORCE ROW LEVEL SECURITY; ANALYZE"
                    );
                    <$db as common::TestBackend>::raw(&pool, seed).await.unwrap();
                }
                let db = TenantDb::from_pool(pool.clone()).build().await.unwrap();
                (pool, db)
            });
            let (default_pool, scope, id) = (&fixture.pool, db.scope(&fixture.acme), Uuid::from_u128(1000));

            let bare =
                concat!("SELECT id, status, total FROM ", $bare, " WHERE tenant_id = $1 AND id = $2");
            let by_hand = |sql| sqlx::query_as::<_, Order>(sql).bind(tenant).bind(id);
            let point: Vec<Variant<'_>> = vec![
                variant!("plain sqlx", by_hand(bare).fetch_all(&plain)),
                variant!("plain sqlx, pool with ping", by_hand(bare).fetch_all(default_pool)),
                variant!("plain sqlx in a transaction", in_transaction(&plain, tenant, by_hand(WITH_PREDICATE))),
                variant!("&scope", sqlx::query_as::<_, Order>(WITHOUT_PREDICATE).bind(id).fetch_all(&scope)),
                variant!(
                    "query_as!",
                    query_as!(&scope, Order, "SELECT id, status, total FROM orders WHERE id = $1", id)
                        .fetch_all()
                ),
                variant!(
                    "Order::find",
                    Order::find(&scope, id).map(|order| order.map(|order| Vec::from_iter(order)))
                ),
            ];
            compare(&runtime, concat!(stringify!($name), ", point read"), &point, 1);

            let bare_list = concat!(
                "SELECT id, status, total FROM ",
                $bare,
                " WHERE tenant_id = $1 ORDER BY id LIMIT $2"
            );
            let by_hand = |sql| sqlx::query_as::<_, Order>(sql).bind(tenant).bind(20_i64);
            let list: Vec<Variant<'_>> = vec![
                variant!("plain sqlx", by_hand(bare_list).fetch_all(&plain)),
                variant!("plain sqlx, pool with ping", by_hand(bare_list).fetch_all(default_pool)),
                variant!("plain sqlx in a transaction", in_transaction(&plain, tenant, by_hand(WITH_PREDICATE_LIST))),
                variant!("&scope", sqlx::query_as::<_, Order>(WITHOUT_PREDICATE_LIST).bind(20_i64).fetch_all(&scope)),
                variant!(
                    "query_as!",
                    query_as!(
                        &scope,
                        Order,
                        "SELECT id, status, total FROM orders ORDER BY id LIMIT $1",
                        20_i64
                    )
                    .fetch_all()
                ),
                variant!(
                    "Order::list",
                    Order::list(&scope, PageRequest::first(20)).map(|page| page.map(|page| page.items))
                ),
            ];
            compare(&runtime, concat!(stringify!($name), ", list of 20"), &list, 20);

            // A stream that is not polled sends nothing: this measures the client side alone.
            let mut group = criterion.benchmark_group(concat!(stringify!($name), ", no database"));
            group.bench_function("plain sqlx", |bencher| {
                bencher.iter(|| {
                    let query = sqlx::query(black_box(WITH_PREDICATE)).bind(tenant).bind(id);
                    drop(black_box((&plain).fetch_many(query)));
                });
            });
            group.bench_function("&scope", |bencher| {
                bencher.iter(|| drop(black_box((&scope).fetch_many(sqlx::query(black_box(WITHOUT_PREDICATE)).bind(id)))));
            });
            group.finish();
        }
        }
    };
}

queries!(sqlite, sqlx::Sqlite, 1, "SELECT 1", "orders", None::<&'static str>);
queries!(
    postgres,
    sqlx::Postgres,
    4,
    "CREATE TABLE bare (LIKE orders INCLUDING ALL)",
    "bare",
    Some("SELECT set_config('app.tenant_id', $1, true)")
);

fn every_database(criterion: &mut Criterion) {
    sqlite::queries(criterion);
    if std::env::var_os("TEST_POSTGRES_URL").is_some() {
        postgres::queries(criterion);
    }
}

/// Runs all variants alternately, so that other load on the machine affects all alike. Each ratio is within one
/// round.
#[expect(clippy::print_stdout, reason = "the table is the output of the bench")]
fn compare(runtime: &Runtime, title: &str, variants: &[Variant<'_>], rows: usize) {
    for (name, run) in variants {
        assert_eq!(runtime.block_on(run()), rows, "{title}, {name}");
    }
    let mut times = vec![Vec::new(); variants.len()];
    for _ in 0..ROUNDS {
        for ((_, run), times) in variants.iter().zip(&mut times) {
            let start = Instant::now();
            runtime.block_on(async {
                for _ in 0..TURN {
                    black_box(run().await);
                }
            });
            times.push(start.elapsed().as_secs_f64() * 1e6 / f64::from(TURN));
        }
    }
    println!("\n{title}: median of {ROUNDS} rounds, relative to plain sqlx in the same round");
    for ((name, _), this) in variants.iter().zip(&times) {
        let median = |mut values: Vec<f64>| {
            values.sort_by(f64::total_cmp);
            values[values.len() / 2]
        };
        let ratio = median(this.iter().zip(&times[0]).map(|(this, plain)| this / plain).collect());
        let over = median(this.iter().zip(&times[0]).map(|(this, plain)| (this - plain) * 1e3).collect());
        println!("  {name:<28} {:>8.1} µs  x{ratio:.2}  {over:>+9.0} ns", median(this.clone()));
    }
    println!();
}

criterion_group!(benches, every_database);
criterion_main!(benches);
