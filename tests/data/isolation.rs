//! A tenant never reads, changes, counts or detects rows of another tenant.

use std::sync::Mutex;

use futures_util::StreamExt;
use proptest::prelude::*;
use sqlx::{Executor, SqlStr};
use tenancy::audit::MemorySink;
use tenancy::context::{Actor, LoginNonce, LoginStateKeys};
use tenancy::quota::Gauge;
use tenancy::scope::row::SupportsRow;
use tenancy::scope::select::PageRequest;
use tenancy::scope::{Dialect, Reason, StoredEvent};
use tenancy::tenant::{NewTenant, Placement, PlacementName, Slug, TenantId, TenantStatus, TenantStore};
use tenancy::{Error, ErrorKind, TenantContext, TenantScoped, query};
use uuid::Uuid;

use crate::common::{Fixture, Order, TestBackend};

async fn a_foreign_row_looks_like_a_missing_one<DB: TestBackend + SupportsRow<Order>>() {
    let fixture = Fixture::<DB>::new().await;
    let (acme, globex) = (fixture.db.scope(&fixture.acme), fixture.db.scope(&fixture.globex));
    let order = Order::new(100);
    Order::insert(&globex, &order).await.unwrap();

    for id in [order.id, Uuid::now_v7()] {
        assert_eq!(Order::find(&acme, id).await.unwrap(), None);
        assert!(!Order::exists(&acme, id).await.unwrap());
        assert!(
            !Order::update(&acme, &Order { id, status: "stolen".to_owned(), total: 0 })
                .await
                .unwrap()
                .found()
        );
        assert!(!Order::delete(&acme, id).await.unwrap().found());
        let mut tx = fixture.db.begin(&fixture.acme).await.unwrap();
        assert_eq!(Order::find(&mut tx, id).await.unwrap(), None);
        assert!(!Order::delete(&mut tx, id).await.unwrap().found());
        tx.commit().await.unwrap();
    }
    assert_eq!(Order::count(&acme).await.unwrap(), 0);
    assert_eq!(Order::list(&acme, PageRequest::first(10)).await.unwrap().items, []);

    assert_eq!(Order::find(&globex, order.id).await.unwrap(), Some(order.clone()));
    assert_eq!(Order::count(&globex).await.unwrap(), 1);
    assert_eq!(Order::list(&globex, PageRequest::first(10)).await.unwrap().items, [order]);
}

async fn the_owner_reads_and_changes_its_own<DB: TestBackend + SupportsRow<Order>>() {
    let fixture = Fixture::<DB>::new().await;
    let globex = fixture.db.scope(&fixture.globex);
    let mut order = Order::new(100);
    Order::insert(&globex, &order).await.unwrap();
    "paid".clone_into(&mut order.status);
    assert!(Order::update(&globex, &order).await.unwrap().found());
    assert_eq!(Order::find(&globex, order.id).await.unwrap(), Some(order.clone()));
    assert!(Order::exists(&globex, &order.id).await.unwrap());
    assert!(Order::delete(&globex, order.id).await.unwrap().found());
    assert!(!Order::delete(&globex, order.id).await.unwrap().found());
    assert_eq!(Order::count(&globex).await.unwrap(), 0);
}

async fn two_tenants_may_use_the_same_id<DB: TestBackend + SupportsRow<Order>>() {
    let fixture = Fixture::<DB>::new().await;
    let (acme, globex) = (fixture.db.scope(&fixture.acme), fixture.db.scope(&fixture.globex));
    let ours = Order::new(1);
    let theirs = Order { total: 2, ..ours.clone() };
    Order::insert(&acme, &ours).await.unwrap();
    Order::insert(&globex, &theirs).await.unwrap();

    // A duplicate key within a tenant is a conflict, and the error contains no value of the row.
    let error = Order::insert(&acme, &ours).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(!format!("{error:?}").contains(&ours.id.to_string()), "{error:?}");

    assert!(Order::update(&acme, &Order { total: 10, ..ours.clone() }).await.unwrap().found());
    assert_eq!(Order::find(&globex, ours.id).await.unwrap().unwrap().total, 2);
    assert!(Order::delete(&acme, ours.id).await.unwrap().found());
    assert_eq!(Order::find(&globex, ours.id).await.unwrap(), Some(theirs));
}

async fn pages_hold_every_own_row_once_and_no_other<DB: TestBackend + SupportsRow<Order>>() {
    let fixture = Fixture::<DB>::new().await;
    let (acme, globex) = (fixture.db.scope(&fixture.acme), fixture.db.scope(&fixture.globex));
    let mut ours = Vec::new();
    for total in 0..23 {
        let order = Order::new(total);
        Order::insert(&acme, &order).await.unwrap();
        ours.push(order);
        Order::insert(&globex, &Order::new(1000 + total)).await.unwrap();
    }
    for limit in [1, 5, 22, 23, 24, 1000] {
        let mut seen = Vec::new();
        let mut page = PageRequest::first(limit);
        loop {
            let listing = Order::list(&acme, page).await.unwrap();
            assert!(listing.items.len() <= usize::from(limit));
            seen.extend(listing.items);
            match listing.next {
                Some(next) => page = PageRequest::after(next, limit),
                None => break,
            }
        }
        assert_eq!(seen, ours, "in pages of {limit}");
    }
    // A cursor carries no authority: after a cursor of another tenant, a list returns the caller's own rows.
    let theirs = Order::list(&globex, PageRequest::first(1)).await.unwrap().items.remove(0);
    let after = Order::list(&acme, PageRequest::after(theirs.id, 1000)).await.unwrap();
    assert!(after.items.iter().all(|order| ours.contains(order)));
    for limit in [0, 1001] {
        let error = Order::list(&acme, PageRequest::first(limit)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    }
}

async fn what_is_not_committed_is_not_there<DB: TestBackend + SupportsRow<Order>>() {
    let fixture = Fixture::<DB>::new().await;
    let order = Order::new(5);
    let mut tx = fixture.db.begin(&fixture.acme).await.unwrap();
    Order::insert(&mut tx, &order).await.unwrap();
    assert!(Order::exists(&mut tx, order.id).await.unwrap());
    drop(tx);
    assert!(!Order::exists(&fixture.db.scope(&fixture.acme), order.id).await.unwrap());

    let mut tx = fixture.db.begin(&fixture.acme).await.unwrap();
    Order::insert(&mut tx, &order).await.unwrap();
    tx.rollback().await.unwrap();
    assert!(!Order::exists(&fixture.db.scope(&fixture.acme), order.id).await.unwrap());

    let mut tx = fixture.db.begin(&fixture.acme).await.unwrap();
    Order::insert(&mut tx, &order).await.unwrap();
    tx.commit().await.unwrap();
    assert!(Order::exists(&fixture.db.scope(&fixture.acme), order.id).await.unwrap());
}

async fn a_value_that_breaks_a_rule_is_rejected_by_name<DB: TestBackend + SupportsRow<Order>>() {
    let fixture = Fixture::<DB>::new().await;
    let error = Order::insert(&fixture.db.scope(&fixture.acme), &Order::new(-1)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
}

async fn after_a_failed_statement_a_commit_keeps_nothing_and_fails<DB: TestBackend + SupportsRow<Order>>() {
    let fixture = Fixture::<DB>::new().await;
    let order = Order::new(1);
    let mut tx = fixture.db.begin(&fixture.acme).await.unwrap();
    Order::insert(&mut tx, &order).await.unwrap();
    assert_eq!(Order::insert(&mut tx, &order).await.unwrap_err().kind(), ErrorKind::Conflict);
    assert_eq!(Order::count(&mut tx).await.unwrap_err().kind(), ErrorKind::RolledBack);
    assert_eq!(tx.commit().await.unwrap_err().kind(), ErrorKind::RolledBack);
    assert_eq!(Order::count(&fixture.db.scope(&fixture.acme)).await.unwrap(), 0);
}

/// The errors of each API for a context that it must reject.
async fn refusals<DB: TestBackend + SupportsRow<Order>>(
    fixture: &Fixture<DB>,
    ctx: &TenantContext,
) -> Vec<(&'static str, ErrorKind)> {
    let scope = &fixture.db.scope(ctx);
    let mut seen = Vec::new();
    macro_rules! refused {
        ($way:literal, $answer:expr) => {
            seen.push(($way, $answer.err().unwrap_or_else(|| panic!("{} is open", $way)).kind()));
        };
        ($way:literal, sqlx $answer:expr) => {
            refused!($way, $answer.map_err(Error::from_sqlx));
        };
    }
    refused!("find", Order::find(scope, Uuid::now_v7()).await);
    refused!("insert", Order::insert(scope, &Order::new(1)).await);
    refused!("page", Order::list(scope, PageRequest::first(1)).await);
    refused!("select", Order::select().all(scope, 10).await);
    refused!("delete", Order::select().delete(scope).await);
    refused!("query!", query!(scope, "SELECT id FROM orders").execute().await);
    refused!("query! that writes", query!(scope, "DELETE FROM orders").execute().await);
    refused!("executor", sqlx scope.fetch_optional("SELECT id FROM orders").await);
    refused!("executor that writes", sqlx scope.execute("DELETE FROM orders").await);
    refused!("prepare", sqlx scope.prepare(SqlStr::from_static("SELECT id FROM orders")).await);
    refused!("describe", sqlx scope.describe(SqlStr::from_static("SELECT id FROM orders")).await);
    let mut pages = fixture.db.stream(ctx.clone(), |scope| Order::select().stream(scope));
    refused!("stream", pages.next().await.expect("it answers"));
    let mut rows = fixture.db.stream(ctx.clone(), |scope| scope.fetch("SELECT id FROM orders"));
    refused!("stream of a query", sqlx rows.next().await.expect("it answers").map(|_| ()));
    refused!("gauge", Gauge::new("projects").usage(scope).await);
    refused!("events", StoredEvent::newest(scope, None, 10).await);
    refused!("old events", StoredEvent::oldest(scope, None, 10).await);
    refused!("begin", fixture.db.begin(ctx).await);
    seen
}

/// The place of the tenant's rows does not exist: no other one is read or written.
async fn a_tenant_whose_place_is_missing_opens_no_other<DB: TestBackend + SupportsRow<Order>>() {
    let fixture = Fixture::<DB>::new().await;
    for ctx in [&fixture.acme, &fixture.globex] {
        Order::insert(&fixture.db.scope(ctx), &Order::new(7)).await.unwrap();
    }
    let name = |name| PlacementName::parse(name).unwrap();
    let no_schema = match DB::DIALECT {
        Dialect::Sqlite => ErrorKind::UnsupportedPlacement,
        _ => ErrorKind::PlacementMissing,
    };
    for (slug, placement, expected) in [
        ("umbrella", Placement::Database { name: name("cluster-7") }, ErrorKind::PlacementMissing),
        ("initech", Placement::Schema { name: name("initech") }, no_schema),
    ] {
        let tenant = NewTenant::new(Slug::parse(slug).unwrap(), slug, "free").status(TenantStatus::Active);
        let tenant = fixture.store.insert(tenant.placement(placement)).await.unwrap();
        let ctx = fixture.directory.context(tenant.id(), Actor::user("ada")).await.unwrap();
        for (way, kind) in refusals(&fixture, &ctx).await {
            assert_eq!(kind, expected, "{way}");
        }
    }
    for ctx in [&fixture.acme, &fixture.globex] {
        assert_eq!(Order::count(&fixture.db.scope(ctx)).await.unwrap(), 1);
    }
}

/// A context from a cross-tenant read reads through that read only.
async fn a_cross_tenant_context_opens_nothing_by_itself<DB: TestBackend + SupportsRow<Order>>() {
    let fixture = Fixture::<DB>::new().await;
    for ctx in [&fixture.acme, &fixture.globex] {
        Order::insert(&fixture.db.scope(ctx), &Order::new(7)).await.unwrap();
    }
    let (audit, reason) = (MemorySink::new(), Reason::new("monthly report FIN-12").unwrap());
    let across = fixture.db.cross_tenant(&fixture.directory, &audit, reason, Actor::user("ada")).unwrap();
    let kept: Mutex<Vec<TenantContext>> = Mutex::default();
    let reading = across.read(async |tenant| {
        kept.lock().unwrap().push(tenant.context().clone());
        Order::count(tenant).await
    });
    assert_eq!(reading.await.unwrap().iter().map(|count| count.value).sum::<u64>(), 2);

    let (keys, browser) = (LoginStateKeys::new("one", [7; 32]).unwrap(), LoginNonce::random());
    let kept = kept.into_inner().unwrap();
    assert_eq!(kept.len(), 2);
    for ctx in &kept {
        for (way, kind) in refusals(&fixture, ctx).await {
            assert_eq!(kind, ErrorKind::CrossTenantContext, "{way}");
        }
        assert_eq!(keys.state(ctx, &browser).unwrap_err().kind(), ErrorKind::CrossTenantContext);
        assert_eq!(fixture.directory.refresh(ctx).await.unwrap_err().kind(), ErrorKind::CrossTenantContext);
    }
    for ctx in [&fixture.acme, &fixture.globex] {
        assert_eq!(Order::count(&fixture.db.scope(ctx)).await.unwrap(), 1);
        keys.state(ctx, &browser).unwrap();
    }
}

in_every_placement!(
    a_tenant_whose_place_is_missing_opens_no_other,
    a_cross_tenant_context_opens_nothing_by_itself,
    after_a_failed_statement_a_commit_keeps_nothing_and_fails,
    a_foreign_row_looks_like_a_missing_one,
    the_owner_reads_and_changes_its_own,
    two_tenants_may_use_the_same_id,
    pages_hold_every_own_row_once_and_no_other,
    what_is_not_committed_is_not_there,
    a_value_that_breaks_a_rule_is_rejected_by_name,
);

/// `I50`: statements contain the tenant id between quotes, so an id contains no character that ends a quoted text.
#[tokio::test]
async fn what_would_be_read_as_sql_is_no_id() {
    let fixture = Fixture::<sqlx::Sqlite>::new().await;
    for id in
        [fixture.acme.tenant_id().to_string(), fixture.globex.tenant_id().to_string(), "acme".to_owned()]
    {
        assert!(TenantId::parse(&id).is_ok(), "{id}");
        for hostile in [
            "'",
            "''",
            "\\'",
            "'; RESET ROLE; --",
            "\"",
            ";",
            "\\",
            "$$",
            "\0",
            "\n",
            " ",
            "/*",
            "\u{2019}",
            "\u{ff07}",
        ] {
            for text in [format!("{id}{hostile}"), format!("{hostile}{id}"), format!("{id}{hostile}{id}")] {
                assert_eq!(TenantId::parse(&text).unwrap_err().kind(), ErrorKind::InvalidInput, "{text:?}");
            }
        }
    }
}

proptest! {
    #[test]
    fn an_id_is_letters_digits_and_hyphens(text in "\\PC{0,64}|[a-z0-9'\";\\\\ -]{1,40}|[a-z0-9-]{2,40}") {
        if let Ok(id) = TenantId::parse(&text) {
            prop_assert!(id.to_string().bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'), "{id}");
        }
    }
}

/// Row-level security without the tenant predicate: SQL without a tenant reads and changes no row.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_rejects_a_query_that_forgot_its_tenant() {
    let fixture = Fixture::<sqlx::Postgres>::new().await;
    Order::insert(&fixture.db.scope(&fixture.acme), &Order::new(1)).await.unwrap();
    Order::insert(&fixture.db.scope(&fixture.globex), &Order::new(2)).await.unwrap();

    assert_eq!(sqlx::Postgres::number(&fixture.pool, "SELECT count(*) FROM orders").await, 0);
    for table in [
        "tenancy_gauges",
        "tenancy_gauge_resources",
        "tenancy_audit_events",
        "tenancy_usage",
        "tenancy_usage_batches",
    ] {
        assert_eq!(sqlx::Postgres::number(&fixture.pool, &format!("SELECT count(*) FROM {table}")).await, 0);
    }
    sqlx::Postgres::raw(&fixture.pool, "DELETE FROM orders").await.unwrap();
    assert_eq!(Order::count(&fixture.db.scope(&fixture.acme)).await.unwrap(), 1);
    assert_eq!(Order::count(&fixture.db.scope(&fixture.globex)).await.unwrap(), 1);
}

/// A request that is dropped during BEGIN leaves no tenant on the connection.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_begin_that_is_dropped_in_flight_leaves_no_tenant_behind() {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Waker};

    let fixture = Fixture::<sqlx::Postgres>::with(tenancy::audit::AuditPolicy::Optional, 1).await;
    Order::insert(&fixture.db.scope(&fixture.acme), &Order::new(1)).await.unwrap();
    let mut cancelled = 0;
    for polls in 1..60 {
        {
            let mut begin = pin!(fixture.db.begin(&fixture.acme));
            let mut done = false;
            for _ in 0..polls {
                if begin.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready() {
                    done = true;
                    break;
                }
                tokio::task::yield_now().await;
            }
            cancelled += usize::from(!done);
        }
        let now = "SELECT nullif(current_setting('app.tenant_id', true), ''), now()::text";
        let first: (Option<String>, String) = sqlx::query_as(now).fetch_one(&fixture.pool).await.unwrap();
        let second: (Option<String>, String) = sqlx::query_as(now).fetch_one(&fixture.pool).await.unwrap();
        assert_eq!(first.0, None, "after {polls} polls the next user of the connection has a tenant");
        // The transaction timestamp is constant within one transaction.
        assert_ne!(first.1, second.1, "after {polls} polls the next user is inside a transaction");
        assert_eq!(sqlx::Postgres::number(&fixture.pool, "SELECT count(*) FROM orders").await, 0);
    }
    assert!(cancelled > 5, "the test must cancel a begin to show anything; it did so {cancelled} times");
}
