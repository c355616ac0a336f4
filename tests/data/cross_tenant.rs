//! A cross-tenant read returns each row with its tenant, changes nothing, and writes an audit event first.

use std::future::{pending, poll_fn};
use std::pin::pin;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use tenancy::audit::{AuditEvent, AuditSink, MemorySink, Outcome};
use tenancy::context::{Actor, ResolvedBy};
use tenancy::scope::row::SupportsRow;
use tenancy::scope::select::PageRequest;
use tenancy::scope::{CrossTenant, Dialect, PerTenant, Reason, StoredEvent};
use tenancy::tenant::{NewTenant, Placement, PlacementName, Slug, TenantStatus, TenantStore};
use tenancy::{Error, ErrorKind, TenantContext, TenantScoped};
use uuid::Uuid;

use crate::common::{Fixture, Order, TestBackend};

/// A row type whose table does not exist.
#[derive(TenantScoped, sqlx::FromRow)]
#[tenant(table = "missing")]
struct Missing {
    #[tenant(id)]
    id: Uuid,
}

fn reason() -> Reason {
    Reason::new("monthly report FIN-12").unwrap()
}

fn ada() -> Actor {
    Actor::user("ada")
}

/// Two orders of acme, one of globex, and one of a suspended tenant.
async fn seeded<DB: TestBackend + SupportsRow<Order>>() -> Fixture<DB> {
    let fixture = Fixture::<DB>::new().await;
    for (ctx, totals) in [(&fixture.acme, vec![1, 2]), (&fixture.globex, vec![40])] {
        for total in totals {
            Order::insert(&fixture.db.scope(ctx), &Order::new(total)).await.unwrap();
        }
    }
    let initech =
        NewTenant::new(Slug::parse("initech").unwrap(), "Initech", "free").status(TenantStatus::Active);
    let initech = fixture.store.insert(initech).await.unwrap();
    let ctx = fixture.directory.context(initech.id(), ada()).await.unwrap();
    Order::insert(&fixture.db.scope(&ctx), &Order::new(500)).await.unwrap();
    fixture.store.update(&initech.with_status(TenantStatus::Suspended).unwrap()).await.unwrap();
    fixture
}

/// The values by the slug of their tenant, sorted.
fn by_slug<T: Clone>(answers: &[PerTenant<T>]) -> Vec<(String, T)> {
    let mut all: Vec<_> =
        answers.iter().map(|answer| (answer.tenant.slug().to_string(), answer.value.clone())).collect();
    all.sort_by(|one, other| one.0.cmp(&other.0));
    all
}

async fn totals<DB: TestBackend + SupportsRow<Order>>(
    across: &CrossTenant<'_, DB>,
) -> tenancy::Result<Vec<PerTenant<Vec<i64>>>> {
    across
        .read(async |tenant| {
            let orders = Order::list(&mut *tenant, PageRequest::first(10)).await?.items;
            Ok(orders.iter().map(|order| order.total).collect())
        })
        .await
}

async fn every_row_comes_with_its_tenant<DB: TestBackend + SupportsRow<Order>>() {
    let fixture = seeded::<DB>().await;
    let across = fixture.db.cross_tenant(&fixture.directory, &*fixture.store, reason(), ada()).unwrap();
    let wanted =
        [("acme".to_owned(), vec![1, 2]), ("globex".to_owned(), vec![40]), ("initech".to_owned(), vec![500])];
    assert_eq!(by_slug(&totals(&across).await.unwrap()), wanted);
    // A permission allows several reads.
    assert_eq!(by_slug(&totals(&across).await.unwrap()), wanted);
    // Other queries at the same time use their own tenant.
    assert_eq!(Order::count(&fixture.db.scope(&fixture.acme)).await.unwrap(), 2);
    assert_eq!(Order::count(&fixture.db.scope(&fixture.globex)).await.unwrap(), 1);
}

async fn the_audit_log_of_each_tenant_names_the_reader_and_the_reason<
    DB: TestBackend + SupportsRow<Order>,
>() {
    let fixture = seeded::<DB>().await;
    let across = fixture.db.cross_tenant(&fixture.directory, &*fixture.store, reason(), ada()).unwrap();
    totals(&across).await.unwrap();
    for ctx in [&fixture.acme, &fixture.globex] {
        let events = StoredEvent::newest(&fixture.db.scope(ctx), None, 10).await.unwrap();
        let mut events: Vec<serde_json::Value> =
            events.iter().map(|event| serde_json::from_str(event.json()).unwrap()).collect();
        events.reverse();
        let outcomes: Vec<_> = events.iter().map(|event| event["outcome"].clone()).collect();
        assert_eq!(outcomes, ["unknown", "success"]);
        for event in &events {
            assert_eq!(event["action"], "tenancy.cross_tenant");
            assert_eq!(event["actor"], serde_json::json!({"kind": "user", "id": "ada"}));
            assert_eq!(event["details"]["reason"], "monthly report FIN-12");
            assert_eq!(event["tenant"], ctx.tenant_id().to_string());
            assert_eq!(event["request_id"], events[0]["request_id"]);
        }
    }
}

async fn nothing_can_be_changed<DB: TestBackend + SupportsRow<Order>>() {
    let fixture = seeded::<DB>().await;
    let sink = MemorySink::new();
    let across = fixture.db.cross_tenant(&fixture.directory, &sink, reason(), ada()).unwrap();
    let order =
        Order::list(&fixture.db.scope(&fixture.acme), PageRequest::first(1)).await.unwrap().items.remove(0);
    let refused = |error: Error| {
        assert_eq!(error.kind(), ErrorKind::SqlRejected, "{error}");
        assert!(error.to_string().contains("cannot change rows"), "{error}");
    };
    refused(across.read(async |tenant| Order::insert(tenant, &order).await).await.unwrap_err());
    refused(across.read(async |tenant| Order::update(tenant, &order).await).await.unwrap_err());
    refused(across.read(async |tenant| Order::delete(tenant, order.id).await).await.unwrap_err());
    let record = async |tenant: &mut tenancy::scope::Tx<'_, DB>| {
        let event = AuditEvent::new(tenant.context(), "order.read");
        tenant.record(event).await
    };
    refused(across.read(record).await.unwrap_err());
    let query = async |tenant: &mut tenancy::scope::Tx<'_, DB>| {
        tenancy::query!(tenant, "UPDATE orders SET total = 0").execute().await
    };
    refused(across.read(query).await.unwrap_err());
    assert_eq!(by_slug(&totals(&across).await.unwrap())[0].1, [1, 2]);
}

async fn a_cross_tenant_context_opens_nothing_else<DB: TestBackend + SupportsRow<Order>>() {
    let fixture = seeded::<DB>().await;
    let sink = MemorySink::new();
    let across = fixture.db.cross_tenant(&fixture.directory, &sink, reason(), ada()).unwrap();
    let kept: Mutex<Vec<TenantContext>> = Mutex::default();
    across
        .read(async |tenant| {
            kept.lock().unwrap().push(tenant.context().clone());
            Ok(())
        })
        .await
        .unwrap();
    let kept = kept.into_inner().unwrap();
    assert_eq!(kept.len(), 3);
    for ctx in &kept {
        assert_eq!(ctx.resolved_by(), ResolvedBy::CrossTenant);
        let scope = fixture.db.scope(ctx);
        assert_eq!(Order::count(&scope).await.unwrap_err().kind(), ErrorKind::CrossTenantContext);
        assert_eq!(
            Order::insert(&scope, &Order::new(1)).await.unwrap_err().kind(),
            ErrorKind::CrossTenantContext
        );
        assert_eq!(fixture.db.begin(ctx).await.unwrap_err().kind(), ErrorKind::CrossTenantContext);
    }
}

/// A sink that accepts `takes` writes and rejects the later ones.
#[derive(Debug)]
struct Failing {
    takes: usize,
    seen: AtomicUsize,
    kept: MemorySink,
}

impl Failing {
    fn after(takes: usize) -> Self {
        Self { takes, seen: AtomicUsize::new(0), kept: MemorySink::new() }
    }
}

#[async_trait]
impl AuditSink for Failing {
    async fn write(&self, events: &[AuditEvent]) -> tenancy::Result<()> {
        if self.seen.fetch_add(1, Ordering::SeqCst) >= self.takes {
            return Err(store_down());
        }
        self.kept.write(events).await
    }
}

fn store_down() -> Error {
    // This error stands in for a failure: tests cannot construct an `Error` of their own.
    tenancy::tenant::TenantId::parse("").unwrap_err()
}

async fn without_an_audit_event_nothing_is_read<DB: TestBackend + SupportsRow<Order>>() {
    let fixture = seeded::<DB>().await;
    let reads = AtomicUsize::new(0);
    let reading = async |tenant: &mut tenancy::scope::Tx<'_, DB>| {
        reads.fetch_add(1, Ordering::SeqCst);
        Order::count(tenant).await
    };
    let sink = Failing::after(0);
    let across = fixture.db.cross_tenant(&fixture.directory, &sink, reason(), ada()).unwrap();
    assert!(across.read(reading).await.is_err());
    assert_eq!(reads.load(Ordering::SeqCst), 0, "the intent was not written, and rows were read");

    // If the outcome cannot be written, the read returns no rows; the event with the intent stays.
    let sink = Failing::after(1);
    let across = fixture.db.cross_tenant(&fixture.directory, &sink, reason(), ada()).unwrap();
    assert!(across.read(reading).await.is_err());
    assert_eq!(reads.load(Ordering::SeqCst), 3);
    let outcomes: Vec<_> = sink.kept.events().iter().map(AuditEvent::ended).collect();
    assert_eq!(outcomes, [Outcome::Unknown; 3]);
}

async fn a_failure_ends_the_read_and_is_in_the_audit_log<
    DB: TestBackend + SupportsRow<Order> + SupportsRow<Missing>,
>() {
    let fixture = seeded::<DB>().await;
    let sink = MemorySink::new();
    let across = fixture.db.cross_tenant(&fixture.directory, &sink, reason(), ada()).unwrap();
    let turns = AtomicUsize::new(0);
    let failing = across.read(async |tenant| match turns.fetch_add(1, Ordering::SeqCst) {
        0 => Order::count(tenant).await,
        _ => Err(store_down()),
    });
    assert_eq!(failing.await.unwrap_err().kind(), store_down().kind());
    assert_eq!(turns.load(Ordering::SeqCst), 2);
    let events = sink.events();
    let outcomes: Vec<_> = events.iter().map(AuditEvent::ended).collect();
    assert_eq!(outcomes[..3], [Outcome::Unknown; 3]);
    assert_eq!(outcomes[3..], [Outcome::Success, Outcome::Failed, Outcome::Failed]);
    assert_eq!(events[4].details()["error"], store_down().kind().code());

    // A failed statement also ends the read if the closure ignores its error.
    let quiet = across.read(async |tenant| {
        let missing = Missing::count(tenant).await;
        Ok(missing.is_err())
    });
    assert_eq!(quiet.await.unwrap_err().kind(), ErrorKind::RolledBack);
}

async fn a_permission_expires<DB: TestBackend + SupportsRow<Order>>() {
    let fixture = seeded::<DB>().await;
    let sink = MemorySink::new();
    let across = || fixture.db.cross_tenant(&fixture.directory, &sink, reason(), ada()).unwrap();
    let error = totals(&across().valid_for(Duration::ZERO)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Expired);
    assert_eq!(sink.events(), [], "nothing was read, and nothing is told");

    // The permission also expires between two tenants.
    let turns = AtomicUsize::new(0);
    let time = Duration::from_secs(2);
    let until = Instant::now() + time;
    let slow = across().valid_for(time);
    let error = slow
        .read(async |_| {
            turns.fetch_add(1, Ordering::SeqCst);
            while Instant::now() < until + Duration::from_millis(100) {
                tokio::task::yield_now().await;
            }
            Ok(())
        })
        .await
        .unwrap_err();
    assert_eq!((error.kind(), turns.load(Ordering::SeqCst)), (ErrorKind::Expired, 1));
    assert_eq!(sink.events().last().unwrap().ended(), Outcome::Failed);

    // The permission also expires while the last tenant is read.
    let (turns, until) = (AtomicUsize::new(0), Instant::now() + time);
    let slow = across().valid_for(time);
    let error = slow
        .read(async |_| {
            while turns.load(Ordering::SeqCst) == 2 && Instant::now() < until + Duration::from_millis(100) {
                tokio::task::yield_now().await;
            }
            turns.fetch_add(1, Ordering::SeqCst);
            Ok(())
        })
        .await
        .unwrap_err();
    assert_eq!((error.kind(), turns.load(Ordering::SeqCst)), (ErrorKind::Expired, 3));
    // The longest duration is valid.
    assert_eq!(totals(&across().valid_for(Duration::MAX)).await.unwrap().len(), 3);
}

/// One connection serves the rows and the audit log. A dropped read leaves no tenant on the connection.
async fn a_dropped_read_leaves_no_tenant_behind<DB: TestBackend + SupportsRow<Order>>() {
    let fixture = Fixture::<DB>::with(tenancy::audit::AuditPolicy::Optional, 1).await;
    for (ctx, total) in [(&fixture.acme, 1), (&fixture.globex, 40)] {
        Order::insert(&fixture.db.scope(ctx), &Order::new(total)).await.unwrap();
    }
    let across = fixture.db.cross_tenant(&fixture.directory, &*fixture.store, reason(), ada()).unwrap();
    let (mut dropped, turns) = (0, AtomicUsize::new(0));
    // Half of the reads stop within a statement or after it. The others stop after some polls, in any place, or end: on a
    // busy machine a read needs few polls, and on a quiet one many.
    for (polls, stops) in (0..30_u32).map(|n| (n, true)).chain((1..=30).map(|n| (n * 40, false))) {
        {
            let (before, mut left) = (turns.load(Ordering::SeqCst), polls);
            let mut reading = pin!(across.read(async |tenant| {
                turns.fetch_add(1, Ordering::SeqCst);
                let (mut count, mut left) = (pin!(Order::count(tenant)), polls);
                let counted = poll_fn(|context| {
                    if stops && left == 0 {
                        return Poll::Pending;
                    }
                    left = left.saturating_sub(1);
                    count.as_mut().poll(context)
                });
                let counted = counted.await;
                if stops {
                    pending::<()>().await;
                }
                counted
            }));
            while reading.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending() {
                if turns.load(Ordering::SeqCst) > before {
                    if left == 0 {
                        dropped += 1;
                        break;
                    }
                    left -= 1;
                }
                tokio::task::yield_now().await;
            }
        }
        let all = fixture.number("SELECT count(*) FROM orders").await;
        assert_eq!(all, if DB::DIALECT == Dialect::Postgres { 0 } else { 2 }, "after {polls} polls");
        for ctx in [&fixture.acme, &fixture.globex] {
            assert_eq!(Order::count(&fixture.db.scope(ctx)).await.unwrap(), 1, "after {polls} polls");
        }
    }
    assert!(dropped >= 30, "only {dropped} reads were dropped on the way");
    assert_eq!(by_slug(&totals(&across).await.unwrap())[1].1, [40]);
}

async fn a_read_that_would_be_incomplete_is_rejected<DB: TestBackend + SupportsRow<Order>>() {
    let fixture = seeded::<DB>().await;
    let sink = MemorySink::new();
    let far = NewTenant::new(Slug::parse("umbrella").unwrap(), "Umbrella", "free")
        .placement(Placement::Database { name: PlacementName::parse("cluster-7").unwrap() });
    fixture.store.insert(far).await.unwrap();
    let across = fixture.db.cross_tenant(&fixture.directory, &sink, reason(), ada()).unwrap();
    assert_eq!(totals(&across).await.unwrap_err().kind(), ErrorKind::PlacementMissing);
    assert_eq!(sink.events(), []);
}

async fn an_actor_and_a_reason_are_required<DB: TestBackend + SupportsRow<Order>>() {
    let fixture = seeded::<DB>().await;
    let sink = MemorySink::new();
    for nobody in [Actor::Anonymous, Actor::user(" "), Actor::system("")] {
        let error = fixture.db.cross_tenant(&fixture.directory, &sink, reason(), nobody).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    }
    for text in ["", "        ", "report", "two\nlines of text", &"long".repeat(200)] {
        assert_eq!(Reason::new(text).unwrap_err().kind(), ErrorKind::InvalidInput, "{text}");
    }
    assert_eq!(Reason::new(" incident 4711 ").unwrap().as_str(), "incident 4711");
}

// It reads the events where the sink of the control plane wrote them.
on_every_database!(the_audit_log_of_each_tenant_names_the_reader_and_the_reason);

in_every_placement!(
    every_row_comes_with_its_tenant,
    nothing_can_be_changed,
    a_cross_tenant_context_opens_nothing_else,
    without_an_audit_event_nothing_is_read,
    a_failure_ends_the_read_and_is_in_the_audit_log,
    a_permission_expires,
    a_dropped_read_leaves_no_tenant_behind,
    a_read_that_would_be_incomplete_is_rejected,
    an_actor_and_a_reason_are_required,
);

/// A cross-tenant read can be spawned as a task, and the closure can run any query.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_runs_on_a_task_with_any_query() {
    let fixture = seeded::<sqlx::Postgres>().await;
    let sums = tokio::spawn(async move {
        let across = fixture.db.cross_tenant(&fixture.directory, &*fixture.store, reason(), ada())?;
        let checked = across
            .read(async |tenant| {
                tenancy::query_scalar!(tenant, i64, "SELECT CAST(sum(total) AS bigint) FROM orders")
                    .fetch_one()
                    .await
            })
            .await?;
        let dynamic = across
            .read(async |tenant| {
                let sum: i64 = sqlx::query_scalar("SELECT CAST(sum(total) AS bigint) FROM orders")
                    .fetch_one(&mut *tenant)
                    .await
                    .expect("the query runs");
                let write = sqlx::query("DELETE FROM orders").execute(&mut *tenant).await.unwrap_err();
                assert!(write.to_string().contains("cannot change rows"), "{write}");
                Ok(sum)
            })
            .await?;
        assert_eq!(by_slug(&checked), by_slug(&dynamic));
        Ok::<_, Error>(by_slug(&checked))
    });
    let sums: Vec<i64> = sums.await.unwrap().unwrap().into_iter().map(|(_, sum)| sum).collect();
    assert_eq!(sums, [3, 40, 500]);
}

/// More tenants than one page of the directory or one batch of the audit log holds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_tenants_are_all_read_and_all_audited() {
    let fixture = Fixture::<sqlx::Sqlite>::new().await;
    for n in 0..450 {
        let slug = Slug::parse(&format!("tenant-{n}")).unwrap();
        fixture.store.insert(NewTenant::new(slug, "Tenant", "free")).await.unwrap();
    }
    let sink = MemorySink::new();
    let across = fixture.db.cross_tenant(&fixture.directory, &sink, reason(), ada()).unwrap();
    assert_eq!(across.read(async |tenant| Order::count(tenant).await).await.unwrap().len(), 452);
    let events = sink.events();
    assert_eq!(events.iter().filter(|event| event.ended() == Outcome::Unknown).count(), 452);
    assert_eq!(events.iter().filter(|event| event.ended() == Outcome::Success).count(), 452);
}
