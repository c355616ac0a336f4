//! Deletion: no table of any place has a row of the tenant afterwards, and other tenants are unchanged.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use sqlx::{AssertSqlSafe, Pool, Postgres, Sqlite};
use tenancy::context::Actor;
use tenancy::operations::{DeletionHook, ReceiptKeys, TenantData};
use tenancy::tenant::{NewTenant, Placement, Slug, Tenant, TenantStore};
use tenancy::{Error, ErrorKind};

use crate::common::{TestBackend, id_text};
use crate::operations_fixture::{Shapes, Shop};
use crate::place_fixture::TestPlaces;

fn shared(tenant: NewTenant) -> NewTenant {
    tenant
}

fn kinds<DB: TestPlaces>() -> Vec<fn(NewTenant) -> NewTenant> {
    [shared as fn(NewTenant) -> NewTenant].into_iter().chain(DB::kinds()).collect()
}

/// Fails the first time, and counts.
struct Files(Arc<AtomicU64>);

#[async_trait]
impl<DB: TenantData> DeletionHook<DB> for Files {
    fn name(&self) -> &'static str {
        "files"
    }

    async fn delete(&self, _: &Tenant, _: &mut DB::Connection) -> tenancy::Result<u64> {
        match self.0.fetch_add(1, Ordering::SeqCst) {
            0 => Err(Error::from_sqlx(sqlx::Error::PoolTimedOut)),
            _ => Ok(3),
        }
    }
}

/// The tables of a place with rows of the tenant, by the catalogue.
trait Catalogue: Shapes {
    async fn tables(pool: &Pool<Self>) -> Vec<(String, String)>;
    /// The rows of the tenant in a table. Row-level security hides none of them.
    async fn rows(pool: &Pool<Self>, tenant: &Tenant, table: &str, column: &str) -> i64;
}

impl Catalogue for Postgres {
    async fn tables(pool: &Pool<Self>) -> Vec<(String, String)> {
        sqlx::query_as(Self::tables_with_tenant_column()).fetch_all(pool).await.unwrap()
    }

    async fn rows(pool: &Pool<Self>, tenant: &Tenant, table: &str, column: &str) -> i64 {
        let id = tenant.id().to_string();
        let mut tx = pool.begin().await.unwrap();
        sqlx::query("SELECT set_config('app.tenant_id', $1, true)")
            .bind(&id)
            .execute(&mut *tx)
            .await
            .unwrap();
        let sql = AssertSqlSafe(format!("SELECT count(*) FROM {table} WHERE {column}::text = $1"));
        sqlx::query_scalar(sql).bind(&id).fetch_one(&mut *tx).await.unwrap()
    }
}

impl Catalogue for Sqlite {
    async fn tables(pool: &Pool<Self>) -> Vec<(String, String)> {
        sqlx::query_as(Self::tables_with_tenant_column()).fetch_all(pool).await.unwrap()
    }

    async fn rows(pool: &Pool<Self>, tenant: &Tenant, table: &str, column: &str) -> i64 {
        let id = id_text(tenant.id());
        let sql =
            format!("SELECT count(*) FROM {table} WHERE {column} IN ('{id}', X'{}')", id.replace('-', ""));
        Self::number(pool, &sql).await
    }
}

/// What the catalogue finds of a tenant in a database: the number of rows, by table.
async fn found<DB: Catalogue>(pool: &Pool<DB>, tenant: &Tenant) -> BTreeMap<String, i64> {
    let mut found = BTreeMap::new();
    for (table, column) in DB::tables(pool).await {
        let rows = DB::rows(pool, tenant, &table, &column).await;
        if rows > 0 {
            found.insert(table, rows);
        }
    }
    found
}

async fn a_deleted_tenant_leaves_no_row<DB: Catalogue>() {
    let mut shop = Shop::<DB>::new().await;
    let keys = ReceiptKeys::new("2026", [7; 32]).unwrap();
    let ada = Actor::user("ada");
    let mut others = Vec::new();
    for (at, kind) in kinds::<DB>().into_iter().enumerate() {
        let other = shop.tenant(&format!("other-{at}"), kind).await;
        let hashes = shop.hashes(&other).await;
        others.push((other, hashes));
    }
    for (at, kind) in kinds::<DB>().into_iter().enumerate() {
        let slug = format!("acme-{at}");
        let acme = shop.tenant(&slug, kind).await;
        let calls = Arc::new(AtomicU64::new(0));
        let deletion = shop.provisioner.deletion(acme.id(), &ada).hook(Files(calls.clone())).batch(400);

        let plan = deletion.plan().await.unwrap();
        assert!(plan.is_open);
        assert_eq!(plan.drops_place, at > 0);
        let projects = plan.tables.iter().find(|table| table.name == "projects").unwrap();
        assert_eq!((projects.rows, &projects.hold), (1500, &None));
        assert!(plan.to_string().contains("suspend or deactivate it first"), "{plan}");

        // Nothing is deleted of an open tenant, without the right slug, and before the hooks are done.
        let before = shop.hashes(&acme).await;
        let error = deletion.run(acme.slug()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::IllegalTransition, "{error}");
        shop.close(&acme).await;
        let error = deletion.run(&Slug::parse("other-0").unwrap()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
        let error = deletion.run(acme.slug()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::StoreUnavailable, "{error}");
        let mut kept = shop.hashes(&acme).await;
        // The event that the deletion began.
        assert!(kept.remove("tenancy_audit_events").is_some() || at > 0);
        let mut wanted = before.clone();
        wanted.remove("tenancy_audit_events");
        assert_eq!(kept, wanted);

        let receipt = deletion.run(acme.slug()).await.unwrap();
        assert_eq!(receipt.tables["projects"], 1500, "{receipt:?}");
        assert_eq!(receipt.tables["comments"], 700);
        assert_eq!(receipt.tables["tenancy_tenants"], 1);
        assert!(receipt.tables["tenancy_audit_events"] > 0);
        assert_eq!(receipt.hooks["files"], 3);
        assert_eq!(calls.load(Ordering::SeqCst), 2);
        let signed = keys.sign(&receipt);
        assert_eq!(keys.verify(&signed).unwrap(), receipt);
        assert!(
            keys.verify(&signed.replace("tenancy-deletion-1.2026.e", "tenancy-deletion-1.2026.f")).is_err()
        );
        // A second run returns the same receipt.
        assert_eq!(deletion.run(acme.slug()).await.unwrap(), receipt);

        let left = found(&shop.app.pool, &acme).await;
        let left: Vec<&str> = left.keys().map(String::as_str).collect();
        assert_eq!(left, ["tenancy_deletions", "tenancy_slugs"], "the record, and the reserved slug");
        let again =
            shop.provisioner.create(NewTenant::new(acme.slug().clone(), "Acme", "free")).await.unwrap_err();
        assert_eq!(again.kind(), ErrorKind::Conflict, "the slug is reserved");
        if *acme.placement() != Placement::Shared {
            let error = shop.provisioner.export(acme.id()).write_to(&mut Vec::new()).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::TenantUnknown);
        }
        for (other, hashes) in &others {
            assert_eq!(shop.hashes(other).await, *hashes, "{} is unchanged", other.slug());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_tenant_leaves_no_row_on_sqlite() {
    a_deleted_tenant_leaves_no_row::<Sqlite>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_tenant_leaves_no_row_on_postgres() {
    a_deleted_tenant_leaves_no_row::<Postgres>().await;
}

async fn rows_on_hold_are_kept<DB: Catalogue>() {
    let mut shop = Shop::<DB>::new().await;
    let ada = Actor::user("ada");
    for (at, kind) in kinds::<DB>().into_iter().enumerate() {
        let acme = shop.tenant(&format!("acme-{at}"), kind).await;
        shop.close(&acme).await;
        for (table, reason, why) in [
            ("bills", "a law", "names no table"),
            ("comments", " ", "has no reason"),
            ("attachments", "a law", "refer to rows of `comments`"),
        ] {
            let error = shop
                .provisioner
                .deletion(acme.id(), &ada)
                .hold(table, reason)
                .run(acme.slug())
                .await
                .unwrap_err();
            assert!(error.to_string().contains(why), "{error}");
        }
        let held =
            shop.provisioner.deletion(acme.id(), &ada).hold("comments", "a law").hold("attachments", "a law");
        assert!(!held.plan().await.unwrap().drops_place);
        let receipt = held.run(acme.slug()).await.unwrap();
        assert_eq!(receipt.holds.len(), 2);
        assert!(!receipt.tables.contains_key("comments"), "{receipt:?}");
        let pool = shop.app.place(&acme);
        let left = found(&pool, &acme).await;
        let own = |(table, rows): (&String, &i64)| (table.rsplit('.').next().unwrap().to_owned(), *rows);
        let left: BTreeMap<String, i64> =
            left.iter().map(own).filter(|(table, _)| !table.starts_with("tenancy_")).collect();
        assert_eq!(left.len(), 2, "{left:?}");
        assert_eq!(left["comments"], 700);
        assert!(shop.app.store.by_id(acme.id()).await.unwrap().is_none());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_on_hold_are_kept_on_sqlite() {
    rows_on_hold_are_kept::<Sqlite>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_on_hold_are_kept_on_postgres() {
    rows_on_hold_are_kept::<Postgres>().await;
}
