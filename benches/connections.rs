//! Compares a tenant scope with plain sqlx: reads, writes and transactions, on one connection and on sixteen, on
//! loopback and with an added network delay. The variants run alternately, so that other load on the machine affects
//! all alike.
//!
//! Needs `TEST_POSTGRES_URL`, as the tests do.

#[path = "../tests/fixture/common.rs"]
mod common;

use std::time::{Duration, Instant};

use common::{Fixture, Order, TestBackend};
use futures_util::FutureExt;
use futures_util::future::{LocalBoxFuture, join_all};
use sqlx::postgres::{PgConnectOptions, PgExecutor, PgPool, PgPoolOptions};
use sqlx::{ConnectOptions, Postgres};
use tenancy::scope::Enforcement;
use tenancy::{TenantDb, TenantScoped};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use uuid::Uuid;

/// A variant to measure: its name, and a function that runs it once in a given concurrent task.
type Variant<'a> = (&'a str, Box<dyn Fn(usize) -> LocalBoxFuture<'a, ()> + 'a>);

macro_rules! variant {
    ($name:literal, |$lane:ident| $body:expr) => {
        ($name, Box::new(move |$lane: usize| async move { $body }.boxed_local()) as Box<_>)
    };
}

const READ: &str = "SELECT id, status, total FROM orders WHERE tenant_id = $1 AND id = $2";
const WRITE: &str = "UPDATE orders SET status = $3, total = $4 WHERE tenant_id = $1 AND id = $2";
const ROWS: u128 = 2000;

/// The added network delay, in each direction.
const DELAY: Duration = Duration::from_millis(2);

/// Two databases with the same rows, one without and one with row-level security.
struct Tables {
    without_rls: PgPool,
    fixture: Fixture<Postgres>,
    _cleanup: common::Cleanup,
}

impl Tables {
    async fn new() -> Self {
        let fixture = Fixture::<Postgres>::new().await;
        let (without_rls, cleanup) = Postgres::fresh(4).await;
        let policies = Postgres::ORDERS.find(';').expect("the policies come after the table");
        Postgres::raw(&without_rls, &Postgres::ORDERS[..policies]).await.unwrap();
        for (pool, before, after) in [
            (&without_rls, "SELECT 1", "VACUUM ANALYZE orders"),
            (
                &fixture.pool,
                "ALTER TABLE orders NO FORCE ROW LEVEL SECURITY",
                "ALTER TABLE orders FORCE ROW LEVEL SECURITY",
            ),
        ] {
            Postgres::raw(pool, before).await.unwrap();
            for n in 0..ROWS {
                let ctx = if n % 2 == 0 { &fixture.acme } else { &fixture.globex };
                let tenant: Uuid = ctx.tenant_id().to_string().parse().unwrap();
                let order = sqlx::query("INSERT INTO orders VALUES ($1, $2, 'open', 7)");
                order.bind(tenant).bind(Uuid::from_u128(n)).execute(pool).await.unwrap();
            }
            Postgres::raw(pool, after).await.unwrap();
        }
        Self { without_rls, fixture, _cleanup: cleanup }
    }
}

/// The pools and databases of one run.
struct Databases<'a> {
    plain: PgPool,
    default_pool: PgPool,
    predicate: TenantDb<Postgres>,
    predicate_and_rls: TenantDb<Postgres>,
    tables: &'a Tables,
    tenant: Uuid,
}

impl<'a> Databases<'a> {
    async fn new(tables: &'a Tables, connections: u32, port: Option<u16>) -> Self {
        let at = |pool: &PgPool| {
            let options: PgConnectOptions = (*pool.connect_options()).clone();
            port.map_or(options.clone(), |port| options.host("127.0.0.1").port(port))
        };
        let (without_rls, with_rls) = (at(&tables.without_rls), at(&tables.fixture.pool));
        let options = || PgPoolOptions::new().max_connections(connections);
        let db = |at: &PgConnectOptions| TenantDb::postgres(options(), at.to_url_lossy().to_string());
        Self {
            plain: options().test_before_acquire(false).connect_with(without_rls.clone()).await.unwrap(),
            default_pool: options().connect_with(without_rls.clone()).await.unwrap(),
            predicate: db(&without_rls).enforcement(Enforcement::PredicateOnly).build().await.unwrap(),
            predicate_and_rls: db(&with_rls).build().await.unwrap(),
            tables,
            tenant: tables.fixture.acme.tenant_id().to_string().parse().unwrap(),
        }
    }

    async fn read(&self, pool: &PgPool, lane: usize) {
        let read = sqlx::query_as::<_, Order>(READ).bind(self.tenant).bind(id(lane));
        assert_eq!(read.fetch_all(pool).await.unwrap().len(), 1);
    }

    async fn read_in_transaction(&self, lane: usize) {
        let mut tx = self.plain.begin().await.unwrap();
        let set_tenant =
            sqlx::query("SELECT set_config('app.tenant_id', $1, true)").bind(self.tenant.to_string());
        set_tenant.execute(&mut *tx).await.unwrap();
        let read = sqlx::query_as::<_, Order>(READ).bind(self.tenant).bind(id(lane));
        assert_eq!(read.fetch_all(&mut *tx).await.unwrap().len(), 1);
        tx.commit().await.unwrap();
    }

    async fn write(&self, on: impl PgExecutor<'_>, lane: usize) {
        let write = sqlx::query(WRITE).bind(self.tenant).bind(id(lane)).bind("open").bind(7_i64);
        assert_eq!(write.execute(on).await.unwrap().rows_affected(), 1);
    }

    async fn find(&self, db: &TenantDb<Postgres>, lane: usize) {
        let scope = db.scope(&self.tables.fixture.acme);
        assert!(Order::find(&scope, id(lane)).await.unwrap().is_some());
    }

    async fn update(&self, db: &TenantDb<Postgres>, lane: usize) {
        let order = Order { id: id(lane), status: "open".to_owned(), total: 7 };
        assert!(Order::update(&db.scope(&self.tables.fixture.acme), &order).await.unwrap().found());
    }

    async fn begin(&self, commit: bool) {
        let tx = self.predicate_and_rls.begin(&self.tables.fixture.acme).await.unwrap();
        let ended = if commit { tx.commit().await } else { tx.rollback().await };
        ended.unwrap();
    }

    /// The groups of variants. The first of each group is the baseline of the others.
    fn variants(&self) -> Vec<(&'static str, Vec<Variant<'_>>)> {
        let read = vec![
            variant!("plain sqlx, no ping", |lane| self.read(&self.plain, lane).await),
            variant!("plain sqlx, default pool", |lane| self.read(&self.default_pool, lane).await),
            variant!("plain sqlx, 4 statements", |lane| self.read_in_transaction(lane).await),
            variant!("scope, predicate", |lane| self.find(&self.predicate, lane).await),
            variant!("scope, predicate and RLS", |lane| self.find(&self.predicate_and_rls, lane).await),
        ];
        let write = vec![
            variant!("plain sqlx in a transaction", |lane| {
                let mut tx = self.plain.begin().await.unwrap();
                self.write(&mut *tx, lane).await;
                tx.commit().await.unwrap();
            }),
            variant!("plain sqlx", |lane| self.write(&self.plain, lane).await),
            variant!("plain sqlx, default pool", |lane| self.write(&self.default_pool, lane).await),
            variant!("scope, predicate", |lane| self.update(&self.predicate, lane).await),
            variant!("scope, predicate and RLS", |lane| self.update(&self.predicate_and_rls, lane).await),
        ];
        let rollback = vec![
            variant!("plain begin", |_lane| self.plain.begin().await.unwrap().rollback().await.unwrap()),
            variant!("db.begin", |_lane| self.begin(false).await),
        ];
        let commit = vec![
            variant!("plain begin", |_lane| self.plain.begin().await.unwrap().commit().await.unwrap()),
            variant!("db.begin", |_lane| self.begin(true).await),
        ];
        vec![("read", read), ("write", write), ("begin, rollback", rollback), ("begin, commit", commit)]
    }
}

fn id(lane: usize) -> Uuid {
    Uuid::from_u128(1000 + 2 * u128::try_from(lane).expect("a small number"))
}

/// Runs all variants alternately, each in `lanes` concurrent tasks. Prints the time of each, relative to the first
/// one in the same round.
#[expect(clippy::print_stdout, reason = "the table is the output of the bench")]
fn compare(
    runtime: &Runtime,
    title: &str,
    databases: &Databases<'_>,
    lanes: usize,
    rounds: usize,
    turn: u32,
) {
    let groups = databases.variants();
    let variants: Vec<&Variant<'_>> = groups.iter().flat_map(|(_, variants)| variants).collect();
    let run = |variant: &Variant<'_>, times: u32| {
        let start = Instant::now();
        runtime.block_on(join_all((0..lanes).map(|lane| async move {
            for _ in 0..times {
                variant.1(lane).await;
            }
        })));
        start.elapsed().as_secs_f64() * 1e6 / f64::from(times)
    };
    for variant in &variants {
        run(variant, 5);
    }
    let mut times = vec![Vec::new(); variants.len()];
    for _ in 0..rounds {
        for (variant, times) in variants.iter().zip(&mut times) {
            times.push(run(variant, turn));
        }
    }
    println!(
        "\n{title}: median of {rounds} rounds; relative to the first of the group; relative to one round trip"
    );
    let (round_trip, mut at) = (times[0].clone(), 0);
    for (group, variants) in &groups {
        println!("  {group}");
        for (n, (name, _)) in variants.iter().enumerate() {
            let [this, first] = [at + n, at].map(|n| &times[n]);
            let relative_to =
                |other: &[f64]| median(this.iter().zip(other).map(|(this, other)| this / other).collect());
            let (ratio, trips) = (relative_to(first), relative_to(&round_trip));
            println!("    {name:<28} {:>8.1} µs  x{ratio:.2}  {trips:>5.2}", median(this.clone()));
        }
        at += variants.len();
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Starts a proxy to the server that delays every byte, and returns its port.
async fn delaying_proxy(to: (String, u16)) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let port = listener.local_addr().expect("it is bound").port();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = TcpStream::connect((to.0.as_str(), to.1)).await.expect("the server listens");
            client.set_nodelay(true).and_then(|()| server.set_nodelay(true)).expect("sockets take options");
            let ((client_in, client_out), (server_in, server_out)) =
                (client.into_split(), server.into_split());
            forward(client_in, server_out);
            forward(server_in, client_out);
        }
    });
    port
}

/// Forwards bytes, each `DELAY` after it was received.
fn forward(mut from: OwnedReadHalf, mut to: OwnedWriteHalf) {
    let (sender, mut receiver) = mpsc::unbounded_channel::<(tokio::time::Instant, Vec<u8>)>();
    tokio::spawn(async move {
        let mut buffer = vec![0; 1 << 16];
        while let Ok(length @ 1..) = from.read(&mut buffer).await {
            if sender.send((tokio::time::Instant::now() + DELAY, buffer[..length].to_vec())).is_err() {
                break;
            }
        }
    });
    tokio::spawn(async move {
        while let Some((due, bytes)) = receiver.recv().await {
            tokio::time::sleep_until(due).await;
            if to.write_all(&bytes).await.is_err() {
                break;
            }
        }
    });
}

fn main() {
    // `cargo test --all-targets` runs benches too, without this argument.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    // The proxy has its own runtime, so that its work is not measured.
    let proxy = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let tables = runtime.block_on(Tables::new());
    let server = tables.without_rls.connect_options();
    let port = proxy.block_on(delaying_proxy((server.get_host().to_owned(), server.get_port())));
    for (lanes, connections) in [(1, 1), (16, 16)] {
        for (port, network, rounds, turn) in
            [(None, "loopback", 200, 10), (Some(port), "2 ms each way", 40, 1)]
        {
            let databases = runtime.block_on(Databases::new(&tables, connections, port));
            compare(
                &runtime,
                &format!("{network}, {connections} connections"),
                &databases,
                lanes,
                rounds,
                turn,
            );
        }
    }
    runtime.block_on(async { drop(tables) });
}
