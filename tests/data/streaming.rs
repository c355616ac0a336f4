//! A streamed body contains one tenant's rows and leaves a clean connection, also after its handler has returned.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::routing::get;
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, TryStreamExt};
use sqlx::{Pool, Postgres, Row, Sqlite};
use tenancy::audit::AuditPolicy;
use tenancy::context::{Actor, Revalidator, TenantDirectory};
use tenancy::resolve::{HostSource, Resolver};
use tenancy::scope::Scope;
use tenancy::scope::row::SupportsRow;
use tenancy::tenant::TenantStatus;
use tenancy::web::TenantLayer;
use tenancy::{ErrorKind, TenantContext, TenantDb, TenantScoped};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use uuid::Uuid;

use crate::common::{Fixture, Order, TestBackend};

/// More rows than two pages of a stream.
const ROWS: usize = 1200;

type Orders<'s> = BoxStream<'s, Result<Order, axum::BoxError>>;

trait Streamed: TestBackend + SupportsRow<Order> {
    /// The rows of one sqlx query.
    fn query<'s>(scope: &'s Scope<'s, Self>) -> Orders<'s>;

    /// Whether the pool's only connection has no tenant and no open transaction.
    fn is_clean(pool: &Pool<Self>) -> impl Future<Output = bool> + Send;
}

impl Streamed for Sqlite {
    fn query<'s>(scope: &'s Scope<'s, Self>) -> Orders<'s> {
        sqlx::query_as("SELECT id, status, total FROM orders ORDER BY id")
            .fetch(scope)
            .map_err(Into::into)
            .boxed()
    }

    async fn is_clean(pool: &Pool<Self>) -> bool {
        // SQLite rejects a transaction inside another one.
        Self::raw(pool, "BEGIN IMMEDIATE; ROLLBACK").await.is_ok()
    }
}

impl Streamed for Postgres {
    fn query<'s>(scope: &'s Scope<'s, Self>) -> Orders<'s> {
        sqlx::query_as("SELECT id, status, total FROM orders ORDER BY id")
            .fetch(scope)
            .map_err(Into::into)
            .boxed()
    }

    async fn is_clean(pool: &Pool<Self>) -> bool {
        let asked = "SELECT now() = statement_timestamp() AND coalesce(current_setting('app.tenant_id', true), '') = '', \
                     (SELECT count(*) FROM orders)";
        let row = sqlx::raw_sql(asked).fetch_one(pool).await.unwrap();
        row.get::<bool, _>(0) && row.get::<i64, _>(1) == 0
    }
}

fn pages<'s, DB: Streamed>(scope: &'s Scope<'s, DB>) -> Orders<'s> {
    Order::select().stream(scope).map_err(Into::into).boxed()
}

/// Both APIs that read rows into a stream.
type Way<DB> = for<'s> fn(&'s Scope<'s, DB>) -> Orders<'s>;

fn ways<DB: Streamed>() -> [Way<DB>; 2] {
    [pages::<DB>, DB::query]
}

async fn filled<DB: Streamed>(connections: u32) -> (Fixture<DB>, [Vec<Order>; 2]) {
    let fixture = Fixture::<DB>::with(AuditPolicy::Optional, connections).await;
    let rows = |status: &str| -> Vec<Order> {
        let row =
            |n: usize| Order { id: Uuid::now_v7(), status: status.to_owned(), total: n.try_into().unwrap() };
        (0..ROWS).map(row).collect()
    };
    let both = [rows("acme's"), rows("globex's")];
    Order::insert_many(&fixture.db.scope(&fixture.acme), &both[0]).await.unwrap();
    Order::insert_many(&fixture.db.scope(&fixture.globex), &both[1]).await.unwrap();
    (fixture, both)
}

async fn two_bodies_at_once_hold_their_own_rows_each<DB: Streamed>() {
    for connections in [1, 2] {
        let (fixture, [ours, theirs]) = filled::<DB>(connections).await;
        for way in ways::<DB>() {
            let acme = fixture.db.stream(fixture.acme.clone(), way).try_collect::<Vec<_>>();
            let globex = fixture.db.stream(fixture.globex.clone(), way).try_collect::<Vec<_>>();
            let (acme, globex) = tokio::try_join!(tokio::spawn(acme), tokio::spawn(globex)).unwrap();
            assert!(acme.unwrap() == ours && globex.unwrap() == theirs, "{connections} connections");
            until(|| fixture.pool.num_idle() == fixture.pool.size() as usize).await;
        }
    }
}

/// Two streams take turns on one connection; this needs pages, which hold the connection for one page at a time.
async fn pages_share_one_connection_by_turns<DB: Streamed>() {
    let (fixture, [ours, theirs]) = filled::<DB>(1).await;
    let acme = fixture.db.stream(fixture.acme.clone(), pages);
    let globex = fixture.db.stream(fixture.globex.clone(), pages);
    let mut turns = acme.zip(globex).enumerate();
    while let Some((n, (acme, globex))) = turns.next().await {
        assert!(acme.unwrap() == ours[n] && globex.unwrap() == theirs[n], "row {n}");
        if n == 0 {
            // Between two pages the connection returns to the pool.
            until(|| fixture.pool.num_idle() == 1).await;
        }
    }
    drop(turns);
    assert!(DB::is_clean(&fixture.pool).await);
}

/// Rows are read on demand: a row that is added later is in a later page, but not in a query that has started.
async fn a_body_is_read_while_it_is_sent<DB: Streamed>() {
    for (way, more) in ways::<DB>().into_iter().zip([1, 0]) {
        let (fixture, _) = filled::<DB>(2).await;
        let mut rows = fixture.db.stream(fixture.acme.clone(), way);
        assert!(rows.next().await.unwrap().is_ok());
        let late = Order { id: Uuid::now_v7(), status: "late".to_owned(), total: 0 };
        Order::insert(&fixture.db.scope(&fixture.acme), &late).await.unwrap();
        Order::insert(&fixture.db.scope(&fixture.globex), &Order { id: Uuid::now_v7(), ..late.clone() })
            .await
            .unwrap();
        let rest: Vec<Order> = rows.try_collect().await.unwrap();
        assert_eq!(rest.len(), ROWS - 1 + more);
        assert_eq!(rest.iter().filter(|order| **order == late).count(), more);
    }
}

async fn a_body_that_is_dropped_at_any_point_leaves_a_clean_connection<DB: Streamed>() {
    let (fixture, [_, theirs]) = filled::<DB>(1).await;
    for way in ways::<DB>() {
        let mut begun = 0;
        // First in steps of one poll, to stop within BEGIN as well; then in steps of one row.
        for polls in 0..25 {
            let mut rows = fixture.db.stream(fixture.acme.clone(), way);
            for _ in 0..polls {
                begun += usize::from(futures_util::poll!(rows.next()).is_ready());
                tokio::task::yield_now().await;
            }
            drop(rows);
            assert!(DB::is_clean(&fixture.pool).await, "dropped after {polls} polls");
        }
        for taken in [1, 2, 499, 500, 501, ROWS - 1, ROWS] {
            let mut rows = fixture.db.stream(fixture.acme.clone(), way);
            begun += rows.by_ref().take(taken).count().await;
            drop(rows);
            assert!(DB::is_clean(&fixture.pool).await, "dropped after {taken} rows");
            let first = fixture.db.stream(fixture.globex.clone(), way).next().await.unwrap().unwrap();
            assert_eq!(first, theirs[0], "dropped after {taken} rows");
        }
        assert!(begun > ROWS, "the bodies did not begin");
    }
    assert_eq!(Order::count(&fixture.db.scope(&fixture.acme)).await.unwrap(), ROWS as u64);
}

async fn a_stream_that_cannot_begin_returns_an_error<DB: Streamed>() {
    let (fixture, _) = filled::<DB>(1).await;
    fixture.raw("DROP TABLE orders").await.unwrap();
    for way in ways::<DB>() {
        let items: Vec<_> = fixture.db.stream(fixture.acme.clone(), way).collect().await;
        assert!(matches!(&items[..], [Err(_)]), "{items:?}");
    }
}

async fn a_connection_that_is_not_clean_is_seen<DB: Streamed>() {
    let (fixture, _) = filled::<DB>(1).await;
    assert!(DB::is_clean(&fixture.pool).await);
    fixture.raw("BEGIN").await.unwrap();
    assert!(!DB::is_clean(&fixture.pool).await);
}

on_every_database!(
    a_connection_that_is_not_clean_is_seen,
    pages_share_one_connection_by_turns,
    a_body_is_read_while_it_is_sent,
    a_body_that_is_dropped_at_any_point_leaves_a_clean_connection,
    a_client_that_goes_away_leaves_a_clean_connection,
);

mod placements {
    use super::*;

    in_every_placement!(
        two_bodies_at_once_hold_their_own_rows_each,
        a_stream_that_cannot_begin_returns_an_error,
        over_http_each_client_gets_its_own_rows,
        a_download_ends_when_its_tenant_is_suspended,
    );
}

// ---- over HTTP ----

struct App<DB: Streamed> {
    db: TenantDb<DB>,
    directory: TenantDirectory,
}

type Shared<DB> = State<Arc<App<DB>>>;

async fn by_pages<DB: Streamed>(State(app): Shared<DB>, ctx: TenantContext) -> Body {
    body(app.db.stream(ctx, pages))
}

async fn by_query<DB: Streamed>(State(app): Shared<DB>, ctx: TenantContext) -> Body {
    body(app.db.stream(ctx, DB::query))
}

/// A body larger than all buffers between server and client.
async fn large<DB: Streamed>(State(app): Shared<DB>, ctx: TenantContext) -> Body {
    let rows = app.db.stream(ctx, DB::query);
    Body::from_stream(rows.map_ok(|order| format!("{}{}\n", order.status, " ".repeat(1 << 15))))
}

async fn watched<DB: Streamed>(State(app): Shared<DB>, ctx: TenantContext) -> Body {
    let recheck = Revalidator::new(app.directory.clone(), ctx.clone());
    let rows =
        recheck.guard_stream(app.db.stream(ctx, pages)).map(|item| item.map_err(axum::BoxError::from)?);
    Body::from_stream(rows.map_ok(|order| format!("{}{}\n", order.status, " ".repeat(1 << 15))))
}

fn body(rows: Orders<'static>) -> Body {
    Body::from_stream(rows.map_ok(|order| format!("{} {}\n", order.id, order.status)))
}

async fn serve<DB: Streamed>(fixture: &Fixture<DB>) -> SocketAddr {
    let resolver = Resolver::new(fixture.directory.clone()).source(HostSource::new(["example.com"]).unwrap());
    let app = App { db: fixture.db.clone(), directory: fixture.directory.clone() };
    let router = Router::new()
        .route("/pages", get(by_pages::<DB>))
        .route("/query", get(by_query::<DB>))
        .route("/large", get(large::<DB>))
        .route("/watched", get(watched::<DB>))
        .layer(TenantLayer::allow_unauthenticated(Arc::new(resolver)))
        .with_state(Arc::new(app));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    at
}

async fn ask(at: SocketAddr, tenant: &str, path: &str) -> TcpStream {
    let mut stream = TcpStream::connect(at).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: {tenant}.example.com\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

/// The remaining bytes of a response, and whether it ended properly.
async fn rest(mut stream: TcpStream) -> (String, bool) {
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer).await.is_ok();
    let answer = String::from_utf8(answer).unwrap();
    let ended = read && answer.ends_with("\r\n0\r\n\r\n");
    (answer, ended)
}

async fn over_http_each_client_gets_its_own_rows<DB: Streamed>() {
    let (fixture, [ours, theirs]) = filled::<DB>(1).await;
    let at = serve(&fixture).await;
    for path in ["/pages", "/query"] {
        let (acme, globex) = tokio::join!(async { rest(ask(at, "acme", path).await).await }, async {
            rest(ask(at, "globex", path).await).await
        });
        for ((answer, ended), own, other) in [(acme, &ours, "globex's"), (globex, &theirs, "acme's")] {
            assert!(ended && answer.starts_with("HTTP/1.1 200"), "{path}");
            assert!(
                own.iter().all(|order| answer.contains(&format!("{} {}\n", order.id, order.status))),
                "{path}"
            );
            assert_eq!(answer.matches("'s\n").count(), ROWS, "{path}");
            assert!(!answer.contains(other), "{path}");
        }
    }
}

async fn a_client_that_goes_away_leaves_a_clean_connection<DB: Streamed>() {
    let (fixture, _) = filled::<DB>(1).await;
    let at = serve(&fixture).await;
    for tenant in ["acme", "globex", "acme"] {
        let mut client = ask(at, tenant, "/large").await;
        let mut begin = vec![0; 1 << 14];
        client.read_exact(&mut begin).await.unwrap();
        assert!(String::from_utf8(begin).unwrap().contains(&format!("{tenant}'s")));
        assert_eq!(fixture.pool.num_idle(), 0, "the body is not being sent");
        drop(client);
        until(|| fixture.pool.num_idle() == 1).await;
        assert!(DB::is_clean(&fixture.pool).await, "{tenant}");
    }
    let (answer, ended) = rest(ask(at, "globex", "/pages").await).await;
    assert!(ended && answer.matches("globex's\n").count() == ROWS && !answer.contains("acme"));
}

/// Waits until a condition that another task fulfils holds.
async fn until(done: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_mins(1);
    while !done() {
        assert!(Instant::now() < deadline, "it did not come to pass within a minute");
        tokio::task::yield_now().await;
    }
}

/// `I84`: the tenant is suspended during a download.
async fn a_download_ends_when_its_tenant_is_suspended<DB: Streamed>() {
    let (fixture, _) = filled::<DB>(4).await;
    let at = serve(&fixture).await;
    let mut clients = Vec::new();
    for tenant in ["acme", "globex"] {
        let mut client = ask(at, tenant, "/watched").await;
        client.read_exact(&mut vec![0; 1 << 14]).await.unwrap();
        clients.push(client);
    }
    let suspended = fixture.acme.tenant().with_status(TenantStatus::Suspended).unwrap();
    fixture.directory.store().update(&suspended).await.unwrap();
    let [ours, theirs] = clients.try_into().unwrap();
    let ((ours, ended), (theirs, other_ended)) = tokio::join!(rest(ours), rest(theirs));
    let sent = ours.matches("acme's").count();
    assert!(!ended && sent < ROWS - 1, "{sent} rows were sent after the tenant was suspended");
    // The first row was read together with the head of the response.
    assert!(other_ended && theirs.matches("globex's").count() == ROWS - 1);
    let refused = fixture.directory.context(fixture.acme.tenant_id(), Actor::Anonymous).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::TenantSuspended);
}

// ---- the log ----

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test(flavor = "current_thread")]
async fn what_a_body_logs_is_logged_under_its_tenant() {
    let (fixture, _) = filled::<Sqlite>(2).await;
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let logged = |ctx: &TenantContext| {
        fixture.db.stream(ctx.clone(), |scope| {
            pages(scope)
                .take(3)
                .inspect(|order| tracing::info!(status = order.as_ref().unwrap().status))
                .boxed()
        })
    };
    let both: Vec<_> = logged(&fixture.acme).zip(logged(&fixture.globex)).collect().await;
    assert_eq!(both.len(), 3);
    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    for (ctx, status) in [(&fixture.acme, "acme's"), (&fixture.globex, "globex's")] {
        let own: Vec<_> = text.lines().filter(|line| line.contains(status)).collect();
        assert_eq!(own.len(), 3, "{text}");
        let span = format!("tenant{{tenant.id={} ", ctx.tenant_id());
        assert!(
            own.iter().all(|line| line.contains(&span) && line.matches("tenant{").count() == 1),
            "{text}"
        );
    }
}
