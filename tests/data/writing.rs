//! Batch inserts and upserts write all rows or none, and never a row of another tenant.

use serde_json::json;
use sqlx::{Postgres, Sqlite};
use tenancy::audit::AuditPolicy;
use tenancy::scope::row::SupportsRow;
use tenancy::{ErrorKind, TenantScoped};
use uuid::Uuid;

use crate::common::{Fixture, Order, TestBackend};

/// A row of a table whose ids are unique across all tenants.
#[derive(Debug, Clone, PartialEq, TenantScoped, sqlx::FromRow)]
#[tenant(table = "tickets")]
struct Ticket {
    #[tenant(id)]
    id: i64,
    title: String,
}

/// An order as a client sends it.
#[derive(Debug, Clone, PartialEq, TenantScoped, sqlx::FromRow, serde::Deserialize)]
#[tenant(table = "orders")]
struct Sent {
    #[tenant(id)]
    id: Uuid,
    status: String,
    total: i64,
}

trait Tables: TestBackend + SupportsRow<Order> + SupportsRow<Sent> + SupportsRow<Ticket> {
    const TENANT: &'static str;
}

impl Tables for Sqlite {
    const TENANT: &'static str = "BLOB";
}

impl Tables for Postgres {
    const TENANT: &'static str = "uuid";
}

fn orders(count: i64) -> Vec<Order> {
    (0..count).map(|total| Order { id: Uuid::now_v7(), status: "open".to_owned(), total }).collect()
}

async fn many_rows_are_added_or_none<DB: Tables>() {
    let fixture = Fixture::<DB>::new().await;
    let (acme, globex) = (fixture.db.scope(&fixture.acme), fixture.db.scope(&fixture.globex));
    Order::insert_many(&globex, &orders(3)).await.unwrap();
    for count in [0, 1, 2, 999, 1000, 1001, 2500] {
        let rows = orders(count);
        let before = Order::count(&acme).await.unwrap();
        let count = u64::try_from(count).unwrap();
        assert_eq!(Order::insert_many(&acme, &rows).await.unwrap(), count);
        assert_eq!(Order::count(&acme).await.unwrap(), before + count);
        if let Some(last) = rows.last() {
            assert_eq!(Order::find(&acme, last.id).await.unwrap().as_ref(), Some(last));
        }
    }
    // The last of three statements fails, and nothing of the first two is kept.
    let before = Order::count(&acme).await.unwrap();
    let mut rows = orders(2500);
    rows[2400].total = -1;
    assert_eq!(Order::insert_many(&acme, &rows).await.unwrap_err().kind(), ErrorKind::InvalidInput);
    rows[2400].total = 1;
    rows[2400].id = rows[0].id;
    assert_eq!(Order::insert_many(&acme, &rows).await.unwrap_err().kind(), ErrorKind::Conflict);
    let mut tx = fixture.db.begin(&fixture.acme).await.unwrap();
    assert!(Order::insert_many(&mut tx, &rows).await.is_err());
    assert_eq!(tx.commit().await.unwrap_err().kind(), ErrorKind::RolledBack);
    assert_eq!(Order::count(&acme).await.unwrap(), before);
    assert_eq!(Order::count(&globex).await.unwrap(), 3);
}

async fn of_no_rows_nothing_is_done<DB: Tables>() {
    let fixture = Fixture::<DB>::with(AuditPolicy::Required, 2).await;
    let acme = fixture.db.scope(&fixture.acme);
    assert_eq!(Order::insert_many(&acme, &[]).await.unwrap(), 0);
    let mut tx = fixture.db.begin(&fixture.acme).await.unwrap();
    assert_eq!(Order::insert_many(&mut tx, &[]).await.unwrap(), 0);
    tx.commit().await.unwrap();
    assert_eq!(Order::insert_many(&acme, &orders(1)).await.unwrap_err().kind(), ErrorKind::Unaudited);
}

async fn an_upsert_adds_or_writes_the_tenants_own_row<DB: Tables>() {
    let fixture = Fixture::<DB>::new().await;
    let (acme, globex) = (fixture.db.scope(&fixture.acme), fixture.db.scope(&fixture.globex));
    let mut order = orders(1).remove(0);
    Order::upsert(&globex, &order).await.unwrap();
    let theirs = order.clone();
    for total in [1, 2, 2] {
        order.total = total;
        Order::upsert(&acme, &order).await.unwrap();
        assert_eq!(Order::find(&acme, order.id).await.unwrap().as_ref(), Some(&order));
        assert_eq!(Order::find(&globex, order.id).await.unwrap().as_ref(), Some(&theirs));
    }
    assert_eq!((Order::count(&acme).await.unwrap(), Order::count(&globex).await.unwrap()), (1, 1));
    order.total = -1;
    assert_eq!(Order::upsert(&acme, &order).await.unwrap_err().kind(), ErrorKind::InvalidInput);
}

async fn an_upsert_cannot_take_another_tenants_id<DB: Tables>() {
    let fixture = Fixture::<DB>::new().await;
    let (acme, globex) = (fixture.db.scope(&fixture.acme), fixture.db.scope(&fixture.globex));
    let columns = format!("tenant_id {} NOT NULL, id bigint PRIMARY KEY, title text NOT NULL", DB::TENANT);
    fixture.raw(&format!("CREATE TABLE tickets ({columns}, UNIQUE (tenant_id, id))")).await.unwrap();
    let ticket = |title: &str| Ticket { id: 7, title: title.to_owned() };
    Ticket::upsert(&globex, &ticket("theirs")).await.unwrap();
    let error = Ticket::upsert(&acme, &ticket("stolen")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    // The error equals the error for a key of the tenant's own that is in use.
    let own = Ticket::insert(&globex, &ticket("again")).await.unwrap_err();
    assert_eq!(format!("{error:?}"), format!("{own:?}"));
    assert_eq!(Ticket::count(&acme).await.unwrap(), 0);
    assert_eq!(Ticket::find(&globex, 7).await.unwrap(), Some(ticket("theirs")));
    Ticket::upsert(&globex, &ticket("changed")).await.unwrap();
    assert_eq!(Ticket::find(&globex, 7).await.unwrap(), Some(ticket("changed")));

    // Without the index the owner of the row is unknown, so nothing is written.
    fixture.raw("DROP TABLE tickets").await.unwrap();
    fixture.raw(&format!("CREATE TABLE tickets ({columns})")).await.unwrap();
    Ticket::insert(&globex, &ticket("theirs")).await.unwrap();
    for scope in [&acme, &globex] {
        let error = Ticket::upsert(scope, &ticket("stolen")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Misconfigured);
        assert!(error.to_string().contains("unique index"), "{error}");
    }
    assert_eq!(Ticket::find(&globex, 7).await.unwrap(), Some(ticket("theirs")));
}

/// `I44`: the request body names the other tenant; the row is written for the caller's tenant.
async fn a_body_that_names_another_tenant_is_written_for_its_own<DB: Tables>() {
    let fixture = Fixture::<DB>::new().await;
    for (ctx, other) in [(&fixture.acme, &fixture.globex), (&fixture.globex, &fixture.acme)] {
        let (own, foreign) = (fixture.db.scope(ctx), fixture.db.scope(other));
        let (before, theirs) = (Order::count(&own).await.unwrap(), Order::count(&foreign).await.unwrap());
        let id = Uuid::now_v7();
        for total in [1, 2] {
            let body = json!({
                "id": id, "status": "open", "total": total,
                "tenant_id": other.tenant_id().to_string(), "tenant": other.tenant().slug().as_str(),
            });
            let sent: Sent = serde_json::from_value(body).unwrap();
            match total {
                1 => Sent::insert(&own, &sent).await.unwrap(),
                _ => assert!(Sent::update(&own, &sent).await.unwrap().found()),
            }
            Sent::upsert(&own, &sent).await.unwrap();
            assert_eq!(Sent::find(&own, id).await.unwrap(), Some(sent));
            assert_eq!(Sent::find(&foreign, id).await.unwrap(), None);
        }
        assert_eq!(Order::count(&own).await.unwrap(), before + 1);
        assert_eq!(Order::count(&foreign).await.unwrap(), theirs);
    }
}

/// `I97`: one request names rows of both tenants, in several operations.
async fn each_operation_of_a_batch_reaches_its_own_rows_only<DB: Tables>() {
    let fixture = Fixture::<DB>::new().await;
    for (ctx, other) in [(&fixture.acme, &fixture.globex), (&fixture.globex, &fixture.acme)] {
        let (own, foreign) = (fixture.db.scope(ctx), fixture.db.scope(other));
        let (ours, theirs) = (orders(4), orders(4));
        Order::insert_many(&own, &ours).await.unwrap();
        Order::insert_many(&foreign, &theirs).await.unwrap();
        let mixed: Vec<_> = ours.iter().zip(&theirs).flat_map(|(own, foreign)| [own, foreign]).collect();

        let mut tx = fixture.db.begin(ctx).await.unwrap();
        for (at, order) in mixed.into_iter().enumerate() {
            let mine = at % 2 == 0;
            let taken = Order { status: "taken".to_owned(), ..order.clone() };
            assert_eq!(Order::find(&mut tx, order.id).await.unwrap().is_some(), mine, "operation {at}");
            assert_eq!(Order::exists(&mut tx, order.id).await.unwrap(), mine, "operation {at}");
            assert_eq!(Order::update(&mut tx, &taken).await.unwrap().found(), mine, "operation {at}");
            if order.total == 3 {
                assert_eq!(Order::delete(&mut tx, order.id).await.unwrap().found(), mine, "operation {at}");
            }
        }
        tx.commit().await.unwrap();
        for (ours, theirs) in ours.iter().zip(&theirs) {
            let status = Order::find(&own, ours.id).await.unwrap().map(|order| order.status);
            assert_eq!(status.as_deref(), (ours.total < 3).then_some("taken"));
            assert_eq!(Order::find(&foreign, theirs.id).await.unwrap().as_ref(), Some(theirs));
        }
    }
}

in_every_placement!(
    a_body_that_names_another_tenant_is_written_for_its_own,
    each_operation_of_a_batch_reaches_its_own_rows_only,
    many_rows_are_added_or_none,
    of_no_rows_nothing_is_done,
    an_upsert_adds_or_writes_the_tenants_own_row,
);

// In places of their own, two tenants' ids do not meet.
on_every_database!(an_upsert_cannot_take_another_tenants_id);
