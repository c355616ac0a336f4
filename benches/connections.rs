//! What a tenant costs over plain sqlx: reads, writes and transactions, on one connection and on sixteen, on loopback and
//! with a delay added each way. By turns and in one run, so that what else the machine does hits all ways alike.
//!
//! Needs `TEST_POSTGRES_URL`, as the tests do.

#[path = "../tests/fixture/common.rs"]
mod common;

use std::time::{Duration, Instant};

use common::{Order, TestBackend, World};
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

/// One way to do something: its name, and what does it once, for one of those who do it at the same time.
type Way<'a> = (&'a str, Box<dyn Fn(usize) -> LocalBoxFuture<'a, ()> + 'a>);

macro_rules! way {
    ($name:literal, |$lane:ident| $done:expr) => {
        ($name, Box::new(move |$lane: usize| async move { $done }.boxed_local()) as Box<_>)
    };
}

const READ: &str = "SELECT id, status, total FROM orders WHERE tenant_id = $1 AND id = $2";
const WRITE: &str = "UPDATE orders SET status = $3, total = $4 WHERE tenant_id = $1 AND id = $2";
const ROWS: u128 = 2000;

/// How long a byte is on its way, in either direction.
const DELAY: Duration = Duration::from_millis(2);

/// A database without row-level security, and one with it; the same rows in both.
struct Tables {
    bare: PgPool,
    world: World<Postgres>,
    _cleanup: common::Cleanup,
}

impl Tables {
    async fn new() -> Self {
        let world = World::<Postgres>::new().await;
        let (bare, cleanup) = Postgres::fresh(4).await;
        let policies = Postgres::ORDERS.find(';').expect("the policies come after the table");
        Postgres::raw(&bare, &Postgres::ORDERS[..policies]).await.unwrap();
        for (pool, before, after) in [
            (&bare, "SELECT 1", "VACUUM ANALYZE orders"),
            (
                &world.pool,
                "ALTER TABLE orders NO FORCE ROW LEVEL SECURITY",
                "ALTER TABLE orders FORCE ROW LEVEL SECURITY",
            ),
        ] {
            Postgres::raw(pool, before).await.unwrap();
            for n in 0..ROWS {
                let ctx = if n % 2 == 0 { &world.acme } else { &world.globex };
                let tenant: Uuid = ctx.tenant_id().to_string().parse().unwrap();
                let order = sqlx::query("INSERT INTO orders VALUES ($1, $2, 'open', 7)");
                order.bind(tenant).bind(Uuid::from_u128(n)).execute(pool).await.unwrap();
            }
            Postgres::raw(pool, after).await.unwrap();
        }
        Self { bare, world, _cleanup: cleanup }
    }
}

/// The data planes and pools of one run.
struct Planes<'a> {
    plain: PgPool,
    pinged: PgPool,
    predicate: TenantDb<Postgres>,
    both: TenantDb<Postgres>,
    tables: &'a Tables,
    tenant: Uuid,
}

impl<'a> Planes<'a> {
    async fn new(tables: &'a Tables, connections: u32, port: Option<u16>) -> Self {
        let at = |pool: &PgPool| {
            let options: PgConnectOptions = (*pool.connect_options()).clone();
            port.map_or(options.clone(), |port| options.host("127.0.0.1").port(port))
        };
        let (bare, walled) = (at(&tables.bare), at(&tables.world.pool));
        let options = || PgPoolOptions::new().max_connections(connections);
        let plane = |at: &PgConnectOptions| TenantDb::postgres(options(), at.to_url_lossy().to_string());
        Self {
            plain: options().test_before_acquire(false).connect_with(bare.clone()).await.unwrap(),
            pinged: options().connect_with(bare.clone()).await.unwrap(),
            predicate: plane(&bare).enforcement(Enforcement::PredicateOnly).build().await.unwrap(),
            both: plane(&walled).build().await.unwrap(),
            tables,
            tenant: tables.world.acme.tenant_id().to_string().parse().unwrap(),
        }
    }

    async fn read(&self, pool: &PgPool, lane: usize) {
        let read = sqlx::query_as::<_, Order>(READ).bind(self.tenant).bind(id(lane));
        assert_eq!(read.fetch_all(pool).await.unwrap().len(), 1);
    }

    async fn read_in_transaction(&self, lane: usize) {
        let mut tx = self.plain.begin().await.unwrap();
        let tell = sqlx::query("SELECT set_config('app.tenant_id', $1, true)").bind(self.tenant.to_string());
        tell.execute(&mut *tx).await.unwrap();
        let read = sqlx::query_as::<_, Order>(READ).bind(self.tenant).bind(id(lane));
        assert_eq!(read.fetch_all(&mut *tx).await.unwrap().len(), 1);
        tx.commit().await.unwrap();
    }

    async fn write(&self, on: impl PgExecutor<'_>, lane: usize) {
        let write = sqlx::query(WRITE).bind(self.tenant).bind(id(lane)).bind("open").bind(7_i64);
        assert_eq!(write.execute(on).await.unwrap().rows_affected(), 1);
    }

    async fn find(&self, db: &TenantDb<Postgres>, lane: usize) {
        let scope = db.scope(&self.tables.world.acme);
        assert!(Order::find(&scope, id(lane)).await.unwrap().is_some());
    }

    async fn update(&self, db: &TenantDb<Postgres>, lane: usize) {
        let order = Order { id: id(lane), status: "open".to_owned(), total: 7 };
        assert!(Order::update(&db.scope(&self.tables.world.acme), &order).await.unwrap().found());
    }

    async fn begin(&self, commit: bool) {
        let tx = self.both.begin(&self.tables.world.acme).await.unwrap();
        let ended = if commit { tx.commit().await } else { tx.rollback().await };
        ended.unwrap();
    }

    /// The first of each group is what the others are measured against.
    fn ways(&self) -> Vec<(&'static str, Vec<Way<'_>>)> {
        let read = vec![
            way!("plain sqlx, no ping", |lane| self.read(&self.plain, lane).await),
            way!("plain sqlx, default pool", |lane| self.read(&self.pinged, lane).await),
            way!("plain sqlx, 4 statements", |lane| self.read_in_transaction(lane).await),
            way!("scope, predicate", |lane| self.find(&self.predicate, lane).await),
            way!("scope, both walls", |lane| self.find(&self.both, lane).await),
        ];
        let write = vec![
            way!("plain sqlx in a transaction", |lane| {
                let mut tx = self.plain.begin().await.unwrap();
                self.write(&mut *tx, lane).await;
                tx.commit().await.unwrap();
            }),
            way!("plain sqlx", |lane| self.write(&self.plain, lane).await),
            way!("plain sqlx, default pool", |lane| self.write(&self.pinged, lane).await),
            way!("scope, predicate", |lane| self.update(&self.predicate, lane).await),
            way!("scope, both walls", |lane| self.update(&self.both, lane).await),
        ];
        let rollback = vec![
            way!("plain begin", |_lane| self.plain.begin().await.unwrap().rollback().await.unwrap()),
            way!("db.begin", |_lane| self.begin(false).await),
        ];
        let commit = vec![
            way!("plain begin", |_lane| self.plain.begin().await.unwrap().commit().await.unwrap()),
            way!("db.begin", |_lane| self.begin(true).await),
        ];
        vec![("read", read), ("write", write), ("begin, rollback", rollback), ("begin, commit", commit)]
    }
}

fn id(lane: usize) -> Uuid {
    Uuid::from_u128(1000 + 2 * u128::try_from(lane).expect("a small number"))
}

/// All ways by turns, `lanes` at the same time; what each takes, against the first in the same round.
#[expect(clippy::print_stdout, reason = "the table is what the bench is for")]
fn compare(runtime: &Runtime, title: &str, planes: &Planes<'_>, lanes: usize, rounds: usize, turn: u32) {
    let groups = planes.ways();
    let ways: Vec<&Way<'_>> = groups.iter().flat_map(|(_, ways)| ways).collect();
    let run = |way: &Way<'_>, times: u32| {
        let start = Instant::now();
        runtime.block_on(join_all((0..lanes).map(|lane| async move {
            for _ in 0..times {
                way.1(lane).await;
            }
        })));
        start.elapsed().as_secs_f64() * 1e6 / f64::from(times)
    };
    for way in &ways {
        run(way, 5);
    }
    let mut times = vec![Vec::new(); ways.len()];
    for _ in 0..rounds {
        for (way, times) in ways.iter().zip(&mut times) {
            times.push(run(way, turn));
        }
    }
    println!("\n{title}: median of {rounds} rounds; against the first of the group; against one round trip");
    let (trip, mut at) = (times[0].clone(), 0);
    for (group, ways) in &groups {
        println!("  {group}");
        for (n, (name, _)) in ways.iter().enumerate() {
            let [own, first] = [at + n, at].map(|n| &times[n]);
            let against =
                |other: &[f64]| median(own.iter().zip(other).map(|(own, other)| own / other).collect());
            let (ratio, trips) = (against(first), against(&trip));
            println!("    {name:<28} {:>8.1} µs  x{ratio:.2}  {trips:>5.2}", median(own.clone()));
        }
        at += ways.len();
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// A way to the server on which every byte takes its time; its port.
async fn delayed(to: (String, u16)) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let port = listener.local_addr().expect("it is bound").port();
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            let far = TcpStream::connect((to.0.as_str(), to.1)).await.expect("the server listens");
            near.set_nodelay(true).and_then(|()| far.set_nodelay(true)).expect("sockets take options");
            let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
            carry(near_in, far_out);
            carry(far_in, near_out);
        }
    });
    port
}

/// Each piece arrives a while after it was sent, whatever is on its way before it.
fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf) {
    let (pieces, mut due) = mpsc::unbounded_channel::<(tokio::time::Instant, Vec<u8>)>();
    tokio::spawn(async move {
        let mut piece = vec![0; 1 << 16];
        while let Ok(length @ 1..) = from.read(&mut piece).await {
            if pieces.send((tokio::time::Instant::now() + DELAY, piece[..length].to_vec())).is_err() {
                break;
            }
        }
    });
    tokio::spawn(async move {
        while let Some((when, piece)) = due.recv().await {
            tokio::time::sleep_until(when).await;
            if to.write_all(&piece).await.is_err() {
                break;
            }
        }
    });
}

fn main() {
    // `cargo test --all-targets` starts benches too, without that word.
    if !std::env::args().any(|word| word == "--bench") {
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    // The way there is no part of what is measured.
    let way = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let tables = runtime.block_on(Tables::new());
    let server = tables.bare.connect_options();
    let port = way.block_on(delayed((server.get_host().to_owned(), server.get_port())));
    for (lanes, connections) in [(1, 1), (16, 16)] {
        for (port, network, rounds, turn) in
            [(None, "loopback", 200, 10), (Some(port), "2 ms each way", 40, 1)]
        {
            let planes = runtime.block_on(Planes::new(&tables, connections, port));
            compare(&runtime, &format!("{network}, {connections} connections"), &planes, lanes, rounds, turn);
        }
    }
    runtime.block_on(async { drop(tables) });
}
