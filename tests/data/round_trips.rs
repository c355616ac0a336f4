//! Each read, write and transaction sends the expected messages to PostgreSQL: the cost of a query in round trips.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{AssertSqlSafe, ConnectOptions, Postgres};
use tenancy::context::{Actor, TenantDirectory};
use tenancy::plan::Catalog;
use tenancy::scope::{ConnectionMode, Enforcement};
use tenancy::{TenantDb, TenantScoped, query, query_scalar};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use uuid::Uuid;

use crate::common::{self, Fixture, Order, TestBackend};

/// The messages that wait for a reply, in order; each is one round trip.
#[derive(Clone, Default)]
struct Sent(Arc<Mutex<Vec<String>>>);

impl Sent {
    fn add(&self, message: String) {
        self.0.lock().unwrap().push(message);
    }

    /// The messages since the last call, once the connection is back in its pool, where sqlx pings it.
    async fn settled(&self) -> Vec<String> {
        let until = Instant::now() + Duration::from_secs(20);
        while self.0.lock().unwrap().last().is_none_or(|last| last != "ping") {
            assert!(
                Instant::now() < until,
                "the connection does not come back: {:?}",
                self.0.lock().unwrap()
            );
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

/// A proxy to PostgreSQL that records the messages of the client.
async fn recorder(to: &PgConnectOptions) -> (PgConnectOptions, Sent) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let options = to.clone().host("127.0.0.1").port(listener.local_addr().unwrap().port());
    let address = (to.get_host().to_owned(), to.get_port());
    let sent = Sent::default();
    let record = sent.clone();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = TcpStream::connect((address.0.as_str(), address.1)).await.unwrap();
            let ((from, mut back), (mut answers, onward)) = (client.into_split(), server.into_split());
            tokio::spawn(async move { tokio::io::copy(&mut answers, &mut back).await });
            tokio::spawn(hand_on(from, onward, record.clone()));
        }
    });
    (options, sent)
}

/// <https://www.postgresql.org/docs/current/protocol-message-formats.html>
async fn hand_on(mut from: OwnedReadHalf, mut onward: OwnedWriteHalf, sent: Sent) -> io::Result<()> {
    // The messages before the start-up message have no type byte: sqlx requests TLS first.
    loop {
        let (length, body) = message(&mut from).await?;
        onward.write_all(&length).await?;
        onward.write_all(&body).await?;
        if body.starts_with(&196_608_u32.to_be_bytes()) {
            break;
        }
    }
    let mut since_sync = Vec::new();
    loop {
        let kind = from.read_u8().await?;
        let (length, body) = message(&mut from).await?;
        match kind {
            b'Q' => sent.add(text(&body)),
            b'S' if since_sync.is_empty() => sent.add("ping".to_owned()),
            b'S' => sent.add(std::mem::take(&mut since_sync).join("+")),
            b'P' => since_sync.push("parse"),
            b'E' => since_sync.push("execute"),
            _ => {}
        }
        onward.write_all(&[kind]).await?;
        onward.write_all(&length).await?;
        onward.write_all(&body).await?;
    }
}

async fn message(from: &mut OwnedReadHalf) -> io::Result<([u8; 4], Vec<u8>)> {
    let mut length = [0; 4];
    from.read_exact(&mut length).await?;
    let mut body = vec![0; usize::try_from(u32::from_be_bytes(length)).unwrap() - 4];
    from.read_exact(&mut body).await?;
    Ok((length, body))
}

fn text(body: &[u8]) -> String {
    String::from_utf8_lossy(body.strip_suffix(b"\0").unwrap_or(body)).into_owned()
}

/// A pool with one recorded connection, with row-level security on the tables if `enforcement` requires it.
async fn recorded(
    enforcement: Enforcement,
    mode: ConnectionMode,
) -> (Fixture<Postgres>, TenantDb<Postgres>, Sent) {
    let fixture = Fixture::<Postgres>::new().await;
    if enforcement == Enforcement::PredicateOnly {
        Postgres::raw(&fixture.pool, "ALTER TABLE orders DISABLE ROW LEVEL SECURITY").await.unwrap();
    }
    let name: String =
        sqlx::query_scalar("SELECT current_database()").fetch_one(&fixture.pool).await.unwrap();
    let server: PgConnectOptions = common::postgres_url().parse().unwrap();
    if mode == ConnectionMode::Citus {
        pretend_citus(&name).await;
    }
    let (options, sent) = recorder(&server.database(&name)).await;
    let db = TenantDb::postgres(PgPoolOptions::new().max_connections(1), options.to_url_lossy().to_string())
        .enforcement(enforcement)
        .connection_mode(mode)
        .build()
        .await
        .unwrap();
    // The statements that sqlx prepares once, and its first queries on a connection, are over.
    for _ in 0..2 {
        read(&db, &fixture).await;
        write(&db, &fixture).await;
        transaction(&db, &fixture).await;
    }
    sent.settled().await;
    (fixture, db, sent)
}

/// Citus is not installed everywhere; its name in the catalogue is enough to check the messages.
async fn pretend_citus(database: &str) {
    let admin: PgConnectOptions = common::admin_url().parse().unwrap();
    let mut admin = admin.database(database).connect().await.unwrap();
    let pretend = format!(
        "INSERT INTO pg_extension (oid, extname, extowner, extnamespace, extrelocatable, extversion) \
         SELECT 999999, 'citus', extowner, extnamespace, false, '0' FROM pg_extension WHERE extname = 'plpgsql'; \
         ALTER DATABASE {database} SET citus.propagate_set_commands = 'local'"
    );
    sqlx::raw_sql(AssertSqlSafe(pretend)).execute(&mut admin).await.unwrap();
}

async fn read(db: &TenantDb<Postgres>, fixture: &Fixture<Postgres>) {
    let scope = db.scope(&fixture.acme);
    let count = query_scalar!(&scope, i64, "SELECT count(*) FROM orders WHERE total < $1", 0_i64);
    assert_eq!(count.fetch_one().await.unwrap(), 0);
}

async fn write(db: &TenantDb<Postgres>, fixture: &Fixture<Postgres>) {
    let scope = db.scope(&fixture.acme);
    let removed = query!(&scope, "DELETE FROM orders WHERE total = $1", 7_i64).execute().await.unwrap();
    assert_eq!(removed, 0);
}

async fn transaction(db: &TenantDb<Postgres>, fixture: &Fixture<Postgres>) {
    let mut tx = db.begin(&fixture.acme).await.unwrap();
    let order = Order { id: Uuid::now_v7(), status: "open".to_owned(), total: 1 };
    Order::insert(&mut tx, &order).await.unwrap();
    assert!(Order::delete(&mut tx, order.id).await.unwrap().found());
    tx.commit().await.unwrap();
}

/// Acme on a plan with limits in the database.
async fn on_a_limited_plan(fixture: &mut Fixture<Postgres>, limits: &str) {
    let text = format!("{}\n[plans.free.database]\n{limits}", common::CATALOG);
    let directory = TenantDirectory::new(fixture.store.clone(), Arc::new(Catalog::from_toml(&text).unwrap()));
    fixture.acme = directory.context(fixture.acme.tenant_id(), Actor::user("ada")).await.unwrap();
}

/// Checks the messages of one mode: `BEGIN` with the statements in the same message, the statement, and the end.
async fn sends(
    (enforcement, mode): (Enforcement, ConnectionMode),
    wanted_read: &[&str],
    wanted_write: &[&str],
    wanted_transaction: &[&str],
) {
    let recorded = recorded(enforcement, mode).await;
    compare(
        recorded,
        &format!("{mode:?} with {enforcement:?}"),
        wanted_read,
        wanted_write,
        wanted_transaction,
    )
    .await;
}

async fn compare(
    (fixture, db, sent): (Fixture<Postgres>, TenantDb<Postgres>, Sent),
    name: &str,
    wanted_read: &[&str],
    wanted_write: &[&str],
    wanted_transaction: &[&str],
) {
    let tenant = fixture.acme.tenant_id().to_string();
    let got = async || -> Vec<String> {
        let sent = sent.settled().await;
        let short = |message: &String| {
            let (told, echo) =
                message.split_once("; SELECT 1/").map_or((&**message, ""), |(told, _)| (told, "; echo"));
            format!("{told}{echo}").replace(&tenant, "acme")
        };
        sent.iter().map(short).collect()
    };
    read(&db, &fixture).await;
    assert_eq!(got().await, wanted_read, "a read under {name}");
    write(&db, &fixture).await;
    assert_eq!(got().await, wanted_write, "a write under {name}");
    transaction(&db, &fixture).await;
    assert_eq!(got().await, wanted_transaction, "a transaction under {name}");
}

const READ: &str =
    "BEGIN READ ONLY; SET LOCAL app.tenant_id = 'acme'; SET LOCAL client_connection_check_interval = 1000";
const WRITE: &str =
    "BEGIN; SET LOCAL app.tenant_id = 'acme'; SET LOCAL client_connection_check_interval = 1000";
const SET_TENANT: &str = "SET LOCAL app.tenant_id = 'acme'";

/// A read returns after two round trips; nobody waits for the rollback and the ping.
#[tokio::test]
async fn with_predicate_and_rls_a_read_takes_two_and_a_write_three() {
    sends(
        (Enforcement::PredicateAndRls, ConnectionMode::Direct),
        &[READ, "execute", "ROLLBACK", "ping"],
        &[WRITE, "execute", "COMMIT", "ping"],
        &[WRITE, "execute", "execute", "COMMIT", "ping"],
    )
    .await;
}

#[tokio::test]
async fn by_the_predicate_alone_each_takes_one() {
    sends(
        (Enforcement::PredicateOnly, ConnectionMode::Direct),
        &["execute", "ping"],
        &["execute", "ping"],
        &[WRITE, "execute", "execute", "COMMIT", "ping"],
    )
    .await;
}

/// An unnamed statement is parsed at each use, always in a transaction. The message with BEGIN reads the tenant back.
#[tokio::test]
async fn behind_a_pooler_each_takes_one_more_and_stands_in_a_transaction() {
    let [read, write] = [READ, WRITE].map(|begin| format!("{begin}; echo"));
    for enforcement in [Enforcement::PredicateAndRls, Enforcement::PredicateOnly] {
        sends(
            (enforcement, ConnectionMode::PgBouncer),
            &[&*read, "parse", "execute", "ROLLBACK", "ping"],
            &[&*write, "parse", "execute", "COMMIT", "ping"],
            &[&*write, "parse", "execute", "parse", "execute", "COMMIT", "ping"],
        )
        .await;
    }
}

/// Citus forwards a whole message, and its workers already have a transaction then.
#[tokio::test]
async fn citus_gets_the_tenant_in_a_separate_message() {
    sends(
        (Enforcement::PredicateAndRls, ConnectionMode::Citus),
        &["BEGIN READ ONLY", SET_TENANT, "execute", "ROLLBACK", "ping"],
        &["BEGIN", SET_TENANT, "execute", "COMMIT", "ping"],
        &["BEGIN", SET_TENANT, "execute", "execute", "COMMIT", "ping"],
    )
    .await;
}

/// The limits of a plan are part of the message that begins the transaction: not one round trip more.
#[tokio::test]
async fn the_time_limits_of_a_plan_cost_no_round_trip() {
    const LIMITS: &str = "SET LOCAL statement_timeout = 2000; SET LOCAL lock_timeout = 500";
    let limited = |begin: &str| begin.replacen("SET LOCAL client", &format!("{LIMITS}; SET LOCAL client"), 1);
    let [read, write] = [READ, WRITE].map(limited);
    let limits = "statement_timeout_ms = 2000\nlock_timeout_ms = 500\nmax_rows = 10\nmax_connections = 1";
    for enforcement in [Enforcement::PredicateAndRls, Enforcement::PredicateOnly] {
        let mut recorded = recorded(enforcement, ConnectionMode::Direct).await;
        on_a_limited_plan(&mut recorded.0, limits).await;
        compare(
            recorded,
            &format!("limits with {enforcement:?}"),
            &[&*read, "execute", "ROLLBACK", "ping"],
            &[&*write, "execute", "COMMIT", "ping"],
            &[&*write, "execute", "execute", "COMMIT", "ping"],
        )
        .await;
    }
    let [read, write] = [read, write].map(|begin| format!("{begin}; echo"));
    let mut recorded = recorded(Enforcement::PredicateAndRls, ConnectionMode::PgBouncer).await;
    on_a_limited_plan(&mut recorded.0, limits).await;
    compare(
        recorded,
        "limits behind a pooler",
        &[&*read, "parse", "execute", "ROLLBACK", "ping"],
        &[&*write, "parse", "execute", "COMMIT", "ping"],
        &[&*write, "parse", "execute", "parse", "execute", "COMMIT", "ping"],
    )
    .await;
}

/// By the predicate alone a limit of rows and of connections needs no transaction for a read.
#[tokio::test]
async fn a_limit_of_rows_alone_keeps_a_read_in_one_round_trip() {
    let mut recorded = recorded(Enforcement::PredicateOnly, ConnectionMode::Direct).await;
    on_a_limited_plan(&mut recorded.0, "max_rows = 10\nmax_connections = 1").await;
    compare(
        recorded,
        "a limit of rows",
        &["execute", "ping"],
        &[WRITE, "execute", "COMMIT", "ping"],
        &[WRITE, "execute", "execute", "COMMIT", "ping"],
    )
    .await;
}
