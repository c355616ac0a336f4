//! A part of a transaction is undone alone: rows, gauges and audit events, of this tenant only.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

use serde_json::json;
use tenancy::audit::{AuditEvent, AuditPolicy, MemorySink};
use tenancy::context::Actor;
use tenancy::quota::Gauge;
use tenancy::scope::row::SupportsRow;
use tenancy::scope::{Reason, StoredEvent};
use tenancy::{ErrorKind, TenantContext, TenantScoped};

use crate::common::{Fixture, Order, TestBackend};

const PROJECTS: Gauge = Gauge::new("projects");

/// The totals of the orders of acme and of globex.
async fn totals<DB: TestBackend + SupportsRow<Order>>(fixture: &Fixture<DB>) -> [Vec<i64>; 2] {
    let of = async |ctx: &TenantContext| {
        let orders = Order::select().all(&fixture.db.scope(ctx), 100).await.unwrap();
        let mut totals: Vec<_> = orders.into_iter().map(|order| order.total).collect();
        totals.sort_unstable();
        totals
    };
    [of(&fixture.acme).await, of(&fixture.globex).await]
}

async fn what_is_kept_and_what_is_undone<DB: TestBackend + SupportsRow<Order>>() {
    let fixture = Fixture::<DB>::new().await;
    Order::insert(&fixture.db.scope(&fixture.globex), &Order::new(77)).await.unwrap();
    let mut tx = fixture.db.begin(&fixture.acme).await.unwrap();
    Order::insert(&mut tx, &Order::new(1)).await.unwrap();

    let mut kept = tx.begin().await.unwrap();
    Order::insert(&mut *kept, &Order::new(2)).await.unwrap();
    // One inside another.
    let mut undone = kept.begin().await.unwrap();
    Order::insert(&mut *undone, &Order::new(3)).await.unwrap();
    assert_eq!(Order::count(&mut *undone).await.unwrap(), 3, "globex has a row of its own");
    undone.rollback().await.unwrap();
    let mut inner = kept.begin().await.unwrap();
    Order::insert(&mut *inner, &Order::new(4)).await.unwrap();
    inner.commit().await.unwrap();
    kept.commit().await.unwrap();

    let mut outer = tx.begin().await.unwrap();
    Order::insert(&mut *outer, &Order::new(5)).await.unwrap();
    let mut inner = outer.begin().await.unwrap();
    Order::insert(&mut *inner, &Order::new(6)).await.unwrap();
    inner.commit().await.unwrap();
    outer.rollback().await.unwrap();

    let mut dropped = tx.begin().await.unwrap();
    Order::insert(&mut *dropped, &Order::new(7)).await.unwrap();
    let inner = dropped.begin().await.unwrap();
    drop(inner);
    drop(dropped);
    assert_eq!(Order::count(&mut tx).await.unwrap(), 3, "the next statement sees what is left");
    Order::insert(&mut tx, &Order::new(8)).await.unwrap();
    drop(tx.begin().await.unwrap());
    tx.commit().await.unwrap();
    assert_eq!(totals(&fixture).await, [vec![1, 2, 4, 8], vec![77]]);

    // The transaction decides about a savepoint that was committed.
    let mut tx = fixture.db.begin(&fixture.acme).await.unwrap();
    let mut kept = tx.begin().await.unwrap();
    Order::insert(&mut *kept, &Order::new(9)).await.unwrap();
    kept.commit().await.unwrap();
    tx.rollback().await.unwrap();
    assert_eq!(totals(&fixture).await, [vec![1, 2, 4, 8], vec![77]]);
}

async fn a_failed_statement_is_undone_alone<DB: TestBackend + SupportsRow<Order>>() {
    let fixture = Fixture::<DB>::new().await;
    let first = Order::new(1);
    let mut tx = fixture.db.begin(&fixture.acme).await.unwrap();
    Order::insert(&mut tx, &first).await.unwrap();
    for explicit in [true, false] {
        let mut attempt = tx.begin().await.unwrap();
        Order::insert(&mut *attempt, &Order::new(2)).await.unwrap();
        let conflict = Order::insert(&mut *attempt, &first).await.unwrap_err();
        assert_eq!(conflict.kind(), ErrorKind::Conflict);
        if explicit {
            attempt.rollback().await.unwrap();
        } else {
            let failed = attempt.commit().await.unwrap_err();
            assert_eq!(failed.kind(), ErrorKind::RolledBack, "a failed part is not kept");
        }
        Order::insert(&mut tx, &Order::new(10 + i64::from(explicit))).await.unwrap();
    }
    tx.commit().await.unwrap();
    assert_eq!(totals(&fixture).await, [vec![1, 10, 11], vec![]]);

    // Without a savepoint, a failed statement ends the transaction.
    let mut tx = fixture.db.begin(&fixture.acme).await.unwrap();
    Order::insert(&mut tx, &first).await.unwrap_err();
    assert_eq!(tx.begin().await.unwrap_err().kind(), ErrorKind::RolledBack);
}

/// A statement that was cancelled may still run, so nothing of the transaction can be kept.
async fn after_a_cancelled_statement_the_transaction_ends<DB: TestBackend + SupportsRow<Order>>() {
    let fixture = Fixture::<DB>::new().await;
    let mut tx = fixture.db.begin(&fixture.acme).await.unwrap();
    Order::insert(&mut tx, &Order::new(1)).await.unwrap();
    let mut cancelled = tx.begin().await.unwrap();
    // A statement is sent, and its result is not awaited. A fast database has the result at once, seldom.
    let mut is_cancelled = false;
    for total in 0..1_000 {
        let order = Order::new(total);
        let mut insert = pin!(Order::insert(&mut *cancelled, &order));
        is_cancelled = poll_fn(|context| Poll::Ready(insert.as_mut().poll(context).is_pending())).await;
        if is_cancelled {
            break;
        }
    }
    assert!(is_cancelled);
    assert_eq!(cancelled.rollback().await.unwrap_err().kind(), ErrorKind::RolledBack);
    assert_eq!(Order::count(&mut tx).await.unwrap_err().kind(), ErrorKind::RolledBack);
    assert_eq!(tx.commit().await.unwrap_err().kind(), ErrorKind::RolledBack);
    assert_eq!(totals(&fixture).await, [Vec::<i64>::new(), vec![]]);
}

async fn gauges_and_audit_events_are_undone_too<DB: TestBackend + SupportsRow<Order>>() {
    let fixture = Fixture::<DB>::with(AuditPolicy::Required, 8).await;
    let (acme, globex) = (&fixture.acme, &fixture.globex);
    let used = async |ctx| PROJECTS.usage(&fixture.db.scope(ctx)).await.unwrap().used;

    let mut tx = fixture.db.begin(acme).await.unwrap();
    PROJECTS.acquire(&mut tx, 4).await.unwrap();
    tx.record(AuditEvent::new(acme, "kept")).await.unwrap();
    let mut undone = tx.begin().await.unwrap();
    PROJECTS.acquire(&mut undone, 1).await.unwrap();
    undone.record(AuditEvent::new(acme, "undone")).await.unwrap();
    assert_eq!(PROJECTS.acquire(&mut undone, 1).await.unwrap_err().kind(), ErrorKind::LimitReached);
    undone.rollback().await.unwrap();
    PROJECTS.acquire(&mut tx, 1).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!((used(acme).await, used(globex).await), (5, 0));
    let events = StoredEvent::newest(&fixture.db.scope(acme), None, 10).await.unwrap();
    let events = serde_json::to_value(&events).unwrap();
    assert_eq!((events.as_array().unwrap().len(), &events[0]["action"]), (1, &json!("kept")));

    // An event that was undone does not stand for a change that was kept.
    let mut tx = fixture.db.begin(globex).await.unwrap();
    let mut undone = tx.begin().await.unwrap();
    undone.record(AuditEvent::new(globex, "undone")).await.unwrap();
    drop(undone);
    Order::insert(&mut tx, &Order::new(1)).await.unwrap();
    assert_eq!(tx.commit().await.unwrap_err().kind(), ErrorKind::Unaudited);
    // And a change that was undone needs none.
    let mut tx = fixture.db.begin(globex).await.unwrap();
    let mut undone = tx.begin().await.unwrap();
    Order::insert(&mut *undone, &Order::new(1)).await.unwrap();
    undone.rollback().await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(totals(&fixture).await, [Vec::<i64>::new(), vec![]]);
}

#[tokio::test]
async fn a_read_across_tenants_has_no_savepoint() {
    let fixture = Fixture::<sqlx::Sqlite>::new().await;
    let (sink, reason) = (MemorySink::new(), Reason::new("report FIN-12").unwrap());
    let across = fixture.db.cross_tenant(&fixture.directory, &sink, reason, Actor::user("ada")).unwrap();
    let rejected = across.read(async |tenant| tenant.begin().await.map(|_| ())).await.unwrap_err();
    assert_eq!(rejected.kind(), ErrorKind::SqlRejected);
}

crate::in_every_placement!(
    what_is_kept_and_what_is_undone,
    a_failed_statement_is_undone_alone,
    after_a_cancelled_statement_the_transaction_ends,
    gauges_and_audit_events_are_undone_too,
);
