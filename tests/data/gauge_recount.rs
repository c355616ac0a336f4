//! `GaugeRecount` compares and sets gauges of tenants of every status, in every placement, one tenant at a time.

use sqlx::{Postgres, Sqlite};
use tenancy::audit::AuditPolicy;
use tenancy::context::{Actor, TenantDirectory};
use tenancy::plan::Catalog;
use tenancy::quota::{Existing, Gauge, GaugeRecount};
use tenancy::scope::row::SupportsRow;
use tenancy::scope::{StoredEvent, Tx};
use tenancy::tenant::TenantStatus;
use tenancy::{Error, ErrorKind, TenantScoped};
use uuid::Uuid;

use crate::common::{Fixture, Order, TestBackend};

const ORDERS: Gauge = Gauge::new("orders");

/// No statement of a tenant returns several rows.
const CATALOG: &str = r#"
version = 1
[features]
orders = { kind = "gauge" }
[plans.free]
features = { orders = 2 }
database = { max_rows = 1 }
[plans.pro]
features = { orders = 20 }
database = { max_rows = 1 }
"#;

trait Orders: TestBackend + SupportsRow<Order> {
    /// The ids of all orders, by SQL of the application.
    async fn ids(tx: &mut Tx<'_, Self>) -> tenancy::Result<Vec<String>>;
}

const IDS: &str = "SELECT id FROM orders";

impl Orders for Sqlite {
    async fn ids(tx: &mut Tx<'_, Self>) -> tenancy::Result<Vec<String>> {
        let ids: Vec<Uuid> = sqlx::query_scalar(IDS).fetch_all(tx).await.map_err(Error::from_sqlx)?;
        Ok(ids.iter().map(Uuid::to_string).collect())
    }
}

impl Orders for Postgres {
    async fn ids(tx: &mut Tx<'_, Self>) -> tenancy::Result<Vec<String>> {
        let ids: Vec<Uuid> = sqlx::query_scalar(IDS).fetch_all(tx).await.map_err(Error::from_sqlx)?;
        Ok(ids.iter().map(Uuid::to_string).collect())
    }
}

/// `acme` has 3 orders and `globex` 1, from before the gauge.
async fn with_orders<DB: Orders>() -> (Fixture<DB>, TenantDirectory) {
    let fixture = Fixture::<DB>::with(AuditPolicy::Required, 8).await;
    for (ctx, orders) in [(&fixture.acme, 3), (&fixture.globex, 1)] {
        let mut tx = fixture.db.begin(ctx).await.unwrap();
        Order::insert_many(&mut tx, &(0..orders).map(Order::new).collect::<Vec<_>>()).await.unwrap();
        tx.commit_unaudited("rows from before the gauge").await.unwrap();
    }
    let catalog = Catalog::from_toml(CATALOG).unwrap();
    let directory = TenantDirectory::new(fixture.directory.store().clone(), catalog);
    (fixture, directory)
}

async fn both<DB: Orders>(fixture: &Fixture<DB>, gauges: &GaugeRecount<'_, DB>) -> [(u64, u64, u64); 2] {
    let mut found = [(0, 0, 0); 2];
    for (ctx, one) in [&fixture.acme, &fixture.globex].into_iter().zip(&mut found) {
        let drift =
            gauges.compare(ctx.tenant(), async |tx| Ok(Existing::Ids(DB::ids(tx).await?))).await.unwrap();
        *one = (drift.used, drift.missing_ids, drift.extra_ids);
    }
    found
}

/// The numbers of audit events of the two tenants.
async fn events<DB: Orders>(fixture: &Fixture<DB>) -> [usize; 2] {
    let mut found = [0; 2];
    for (ctx, one) in [&fixture.acme, &fixture.globex].into_iter().zip(&mut found) {
        *one = StoredEvent::newest(&fixture.db.scope(ctx), None, 9).await.unwrap().len();
    }
    found
}

async fn a_suspended_tenant_is_recounted_without_the_limits_of_its_plan<DB: Orders>() {
    let (fixture, directory) = with_orders::<DB>().await;
    let gauges = GaugeRecount::new(ORDERS, &fixture.db, &directory, Actor::system("deploy")).unwrap();
    let suspended = fixture.acme.tenant().with_status(TenantStatus::Suspended).unwrap();
    let acme = directory.store().update(&suspended).await.unwrap();
    assert_eq!(both(&fixture, &gauges).await, [(0, 3, 0), (0, 1, 0)]);
    let drift = gauges
        .recount(&acme, "the gauge is new", async |tx| Ok(Existing::Ids(DB::ids(tx).await?)))
        .await
        .unwrap();
    assert_eq!((drift.used, drift.counted, drift.drift(), drift.missing_ids), (0, 3, -3, 3));
    assert_eq!(both(&fixture, &gauges).await, [(3, 0, 0), (0, 1, 0)]);
    // A gauge that is exact needs no event.
    assert_eq!(events(&fixture).await, [2, 1], "with that of the rows");
    let same =
        gauges.recount(&acme, "again", async |tx| Ok(Existing::Ids(DB::ids(tx).await?))).await.unwrap();
    assert!(same.is_exact());
    assert_eq!(events(&fixture).await, [2, 1]);
    // Ids that are not counted, and counted ids that do not exist.
    let other =
        async |_: &mut Tx<'_, DB>| Ok(Existing::Ids(vec!["a".to_owned(), "a".to_owned(), "b".to_owned()]));
    let drift = gauges.compare(&acme, other).await.unwrap();
    assert_eq!((drift.used, drift.counted, drift.missing_ids, drift.extra_ids), (3, 2, 2, 3));
}

async fn a_closure_counts_and_changes_nothing<DB: Orders>() {
    let (fixture, directory) = with_orders::<DB>().await;
    let gauges = GaugeRecount::new(ORDERS, &fixture.db, &directory, Actor::system("deploy")).unwrap();
    let acme = fixture.acme.tenant();
    let add = async |tx: &mut Tx<'_, DB>| {
        Order::insert(&mut *tx, &Order::new(1)).await?;
        Ok(Existing::Number(Order::count(tx).await?))
    };
    for error in [
        gauges.compare(acme, add).await.unwrap_err(),
        gauges.recount(acme, "the gauge is new", add).await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::SqlRejected, "{error}");
    }
    let count = async |tx: &mut Tx<'_, DB>| Ok(Existing::Number(Order::count(tx).await?));
    let blank = gauges.recount(acme, " ", count).await.unwrap_err();
    assert_eq!(blank.kind(), ErrorKind::InvalidInput);
    let failed = gauges.recount(acme, "x", async |_| Err(Error::from_sqlx(sqlx::Error::RowNotFound))).await;
    assert!(failed.is_err());
    for (ctx, orders) in [(&fixture.acme, 3), (&fixture.globex, 1)] {
        assert_eq!(Order::count(&fixture.db.scope(ctx)).await.unwrap(), orders);
    }
    assert_eq!(both(&fixture, &gauges).await, [(0, 3, 0), (0, 1, 0)]);
    for actor in [Actor::Anonymous, Actor::user(" ")] {
        let error = GaugeRecount::new(ORDERS, &fixture.db, &directory, actor).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    }
}

/// A row and its count that are committed between the two reads are no drift, and a recount waits for them.
async fn concurrent_changes_are_no_drift<DB: Orders>() {
    let (fixture, directory) = with_orders::<DB>().await;
    let gauges = GaugeRecount::new(ORDERS, &fixture.db, &directory, Actor::system("deploy")).unwrap();
    let (db, acme) = (&fixture.db, fixture.acme.tenant());
    let pro = directory.context(fixture.globex.tenant_id(), Actor::user("ada")).await.unwrap();
    let globex = pro.tenant();
    let count = async |tx: &mut Tx<'_, DB>| Ok(Existing::Number(Order::count(tx).await?));
    for tenant in [acme, globex] {
        let _ = gauges.recount(tenant, "the gauge is new", count).await.unwrap();
    }
    let create = async || {
        let mut tx = db.begin(&pro).await?;
        ORDERS.acquire(&mut tx, 1).await?;
        Order::insert(&mut tx, &Order::new(1)).await?;
        tx.commit_unaudited("a test").await
    };
    let drift = gauges
        .compare(globex, async |tx| {
            let rows = Order::count(&mut *tx).await?;
            create().await?;
            Ok(Existing::Number(rows))
        })
        .await
        .unwrap();
    assert_eq!((drift.used, drift.counted), (1, 1));
    let (mut created, mut recounted) = (Box::pin(create()), Box::pin(gauges.recount(globex, "x", count)));
    let (created, recounted) = futures_util::join!(&mut created, &mut recounted);
    created.unwrap();
    assert!(recounted.unwrap().is_exact());
    let drift = gauges.compare(globex, count).await.unwrap();
    assert_eq!((drift.used, drift.counted), (3, 3));
    assert!(gauges.compare(acme, count).await.unwrap().is_exact());
}

in_every_placement!(
    a_suspended_tenant_is_recounted_without_the_limits_of_its_plan,
    a_closure_counts_and_changes_nothing,
    concurrent_changes_are_no_drift,
);
