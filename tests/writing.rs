//! Many rows at once, and rows that may be there already: all or none, and never another tenant's.

mod common;

use common::{Order, TestBackend, World};
use sqlx::{Postgres, Sqlite};
use tenancy::audit::AuditPolicy;
use tenancy::scope::Stores;
use tenancy::{ErrorKind, TenantScoped};
use uuid::Uuid;

/// Of a table whose ids are unique among all tenants.
#[derive(Debug, Clone, PartialEq, TenantScoped, sqlx::FromRow)]
#[tenant(table = "tickets")]
struct Ticket {
    #[tenant(id)]
    id: i64,
    title: String,
}

trait Tables: TestBackend + Stores<Order> + Stores<Ticket> {
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
    let world = World::<DB>::new().await;
    let (acme, globex) = (world.db.scope(&world.acme), world.db.scope(&world.globex));
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
    // The last of three statements fails: nothing of the first two is kept.
    let before = Order::count(&acme).await.unwrap();
    let mut rows = orders(2500);
    rows[2400].total = -1;
    assert_eq!(Order::insert_many(&acme, &rows).await.unwrap_err().kind(), ErrorKind::InvalidInput);
    rows[2400].total = 1;
    rows[2400].id = rows[0].id;
    assert_eq!(Order::insert_many(&acme, &rows).await.unwrap_err().kind(), ErrorKind::Conflict);
    let mut tx = world.db.begin(&world.acme).await.unwrap();
    assert!(Order::insert_many(&mut tx, &rows).await.is_err());
    assert_eq!(tx.commit().await.unwrap_err().kind(), ErrorKind::RolledBack);
    assert_eq!(Order::count(&acme).await.unwrap(), before);
    assert_eq!(Order::count(&globex).await.unwrap(), 3);
}

async fn of_no_rows_nothing_is_done<DB: Tables>() {
    let world = World::<DB>::with(AuditPolicy::Required, 2).await;
    let acme = world.db.scope(&world.acme);
    assert_eq!(Order::insert_many(&acme, &[]).await.unwrap(), 0);
    let mut tx = world.db.begin(&world.acme).await.unwrap();
    assert_eq!(Order::insert_many(&mut tx, &[]).await.unwrap(), 0);
    tx.commit().await.unwrap();
    assert_eq!(Order::insert_many(&acme, &orders(1)).await.unwrap_err().kind(), ErrorKind::Unaudited);
}

async fn an_upsert_adds_or_writes_the_tenants_own_row<DB: Tables>() {
    let world = World::<DB>::new().await;
    let (acme, globex) = (world.db.scope(&world.acme), world.db.scope(&world.globex));
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
    let world = World::<DB>::new().await;
    let (acme, globex) = (world.db.scope(&world.acme), world.db.scope(&world.globex));
    let columns = format!("tenant_id {} NOT NULL, id bigint PRIMARY KEY, title text NOT NULL", DB::TENANT);
    DB::raw(&world.pool, &format!("CREATE TABLE tickets ({columns}, UNIQUE (tenant_id, id))")).await.unwrap();
    let ticket = |title: &str| Ticket { id: 7, title: title.to_owned() };
    Ticket::upsert(&globex, &ticket("theirs")).await.unwrap();
    let error = Ticket::upsert(&acme, &ticket("stolen")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    // What the tenant sees is what it sees of a key of its own that is taken.
    let own = Ticket::insert(&globex, &ticket("again")).await.unwrap_err();
    assert_eq!(format!("{error:?}"), format!("{own:?}"));
    assert_eq!(Ticket::count(&acme).await.unwrap(), 0);
    assert_eq!(Ticket::find(&globex, 7).await.unwrap(), Some(ticket("theirs")));
    Ticket::upsert(&globex, &ticket("changed")).await.unwrap();
    assert_eq!(Ticket::find(&globex, 7).await.unwrap(), Some(ticket("changed")));

    // Without the index there is no telling whose row it would be, so nothing is written.
    DB::raw(&world.pool, "DROP TABLE tickets").await.unwrap();
    DB::raw(&world.pool, &format!("CREATE TABLE tickets ({columns})")).await.unwrap();
    Ticket::insert(&globex, &ticket("theirs")).await.unwrap();
    for scope in [&acme, &globex] {
        let error = Ticket::upsert(scope, &ticket("stolen")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Misconfigured);
        assert!(error.to_string().contains("unique index"), "{error}");
    }
    assert_eq!(Ticket::find(&globex, 7).await.unwrap(), Some(ticket("theirs")));
}

on_every_database!(
    many_rows_are_added_or_none,
    of_no_rows_nothing_is_done,
    an_upsert_adds_or_writes_the_tenants_own_row,
    an_upsert_cannot_take_another_tenants_id,
);
