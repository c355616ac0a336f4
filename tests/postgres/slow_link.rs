//! A link on which a message arrives in small parts, one after the other: loopback hides what depends on that.

use std::io;
use std::time::Duration;

use sqlx::Postgres;
use sqlx::postgres::PgPoolOptions;
use tenancy::scope::TenantDb;
use tenancy::{TenantContext, TenantScoped};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

use crate::common::{Fixture, Order};

/// The port of a link to a server. A part has at most 256 bytes, and takes a millisecond.
async fn slow_link(host: &str, port: u16) -> u16 {
    let (server, listener) = ((host.to_owned(), port), TcpListener::bind("127.0.0.1:0").await.unwrap());
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = TcpStream::connect(&server).await.unwrap();
            client.set_nodelay(true).unwrap();
            server.set_nodelay(true).unwrap();
            let ((requests, back), (answers, onward)) = (client.into_split(), server.into_split());
            tokio::spawn(parts(requests, onward));
            tokio::spawn(parts(answers, back));
        }
    });
    port
}

async fn parts(mut from: OwnedReadHalf, mut to: OwnedWriteHalf) -> io::Result<()> {
    let mut part = [0; 256];
    loop {
        let size = from.read(&mut part).await?;
        if size == 0 {
            return to.shutdown().await;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
        to.write_all(&part[..size]).await?;
    }
}

/// Two connections over the link.
async fn far(fixture: &Fixture<Postgres>) -> TenantDb<Postgres> {
    let near = (*fixture.pool.connect_options()).clone();
    let port = slow_link(near.get_host(), near.get_port()).await;
    let far = near.host("127.0.0.1").port(port);
    TenantDb::postgres_with(PgPoolOptions::new().max_connections(2), far).build().await.unwrap()
}

/// An order whose message has many parts.
fn large(total: i64) -> Order {
    Order { status: "x".repeat(10_000), ..Order::new(total) }
}

async fn all(db: &TenantDb<Postgres>, ctx: &TenantContext) -> Vec<Order> {
    let mut orders = Order::select().all(&db.scope(ctx), 100).await.unwrap();
    orders.sort_by_key(|order| order.total);
    orders
}

#[tokio::test]
async fn messages_of_many_parts_arrive_whole_and_at_their_tenant() {
    let fixture = Fixture::<Postgres>::new().await;
    let db = far(&fixture).await;
    let write = async |ctx: &TenantContext, first: i64| {
        let one = large(first);
        Order::insert(&db.scope(ctx), &one).await.unwrap();
        let more: Vec<Order> = (1..5).map(|n| large(first + n)).collect();
        let mut tx = db.begin(ctx).await.unwrap();
        Order::insert_many(&mut tx, &more).await.unwrap();
        tx.commit().await.unwrap();
        [vec![one], more].concat()
    };
    let (acme, globex) = tokio::join!(write(&fixture.acme, 100), write(&fixture.globex, 200));
    assert_eq!(all(&db, &fixture.acme).await, acme);
    assert_eq!(all(&db, &fixture.globex).await, globex);
}

/// A request that is dropped while a part of its message is on the way.
#[tokio::test]
async fn a_transaction_that_is_dropped_between_two_parts_is_whole_or_absent() {
    let fixture = Fixture::<Postgres>::new().await;
    let db = far(&fixture).await;
    let (mut committed, mut dropped) = (Vec::new(), 0);
    // Until three are committed: how long one takes depends on the machine.
    for step in 0.. {
        let (order, wait) = (large(step), Duration::from_millis(1 + 5 * u64::try_from(step).unwrap()));
        let write = async {
            let mut tx = db.begin(&fixture.acme).await.unwrap();
            Order::insert(&mut tx, &order).await.unwrap();
            let changed = Order { status: format!("{}y", order.status), ..order.clone() };
            Order::update(&mut tx, &changed).await.unwrap().or_not_found().unwrap();
            tx.commit().await.unwrap();
        };
        match tokio::time::timeout(wait, write).await {
            Ok(()) => committed.push(order.total),
            Err(_) => dropped += 1,
        }
        assert_eq!(all(&db, &fixture.globex).await, [], "after {wait:?}");
        for found in all(&db, &fixture.acme).await {
            assert!(found.status.ends_with('y'), "a half of a transaction after {wait:?}");
        }
        if committed.len() == 3 {
            break;
        }
    }
    assert!(dropped > 0, "the first wait is a millisecond");
    let found: Vec<i64> = all(&db, &fixture.acme).await.iter().map(|order| order.total).collect();
    assert!(committed.iter().all(|total| found.contains(total)), "{committed:?} of {found:?}");
}
