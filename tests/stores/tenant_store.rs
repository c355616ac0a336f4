//! Every tenant store passes the suite of `tenancy::testing`, and the suite rejects each deliberately broken store.

use std::sync::Arc;

use async_trait::async_trait;
use tenancy::context::{Actor, TenantDirectory};
use tenancy::plan::{Catalog, Limit, NewOverride};
use tenancy::scope::StoredEvent;
use tenancy::store::{CacheOptions, CachedStore, MemoryStore, SqlStore};
use tenancy::tenant::{NewTenant, Slug, Tenant, TenantId, TenantParts, TenantStore};
use tenancy::testing::tenant_store;
use tenancy::{ErrorKind, Result, TenantDb};

use crate::common::TestBackend;
use crate::suites;

#[tokio::test]
async fn the_memory_store_keeps_every_promise() {
    tenant_store(async || MemoryStore::new()).await;
}

#[tokio::test]
async fn a_cached_store_keeps_every_promise() {
    Box::pin(tenant_store(async || CachedStore::new(MemoryStore::new(), CacheOptions::new()))).await;
    // Also with a capacity of zero, and with a cache over a cache.
    let none = || CacheOptions::new().capacity(0).negative_capacity(0);
    Box::pin(tenant_store(async || CachedStore::new(MemoryStore::new(), none()))).await;
    let twice =
        || CachedStore::new(CachedStore::new(MemoryStore::new(), CacheOptions::new()), CacheOptions::new());
    Box::pin(tenant_store(async || twice())).await;
}

async fn the_sql_store_keeps_every_promise<DB: TestBackend>() {
    let cleanups = std::sync::Mutex::new(Vec::new());
    let fresh = async || {
        let (pool, cleanup) = DB::fresh(8).await;
        cleanups.lock().unwrap().push(cleanup);
        let store = SqlStore::new(pool);
        store.migrate().await.unwrap();
        store.migrate().await.expect("tables that are there stay as they are");
        store
    };
    tenant_store(fresh).await;
    tenant_store(async || CachedStore::new(fresh().await, CacheOptions::new())).await;
}

/// A malformed row is not reported as a malformed request.
async fn a_malformed_row_is_a_database_error<DB: TestBackend>() {
    let (pool, _cleanup) = DB::fresh(4).await;
    let store = SqlStore::new(pool.clone());
    store.migrate().await.unwrap();
    let [acme, globex] =
        ["acme", "globex"].map(|name| NewTenant::new(Slug::parse(name).unwrap(), name, "free"));
    let (acme, globex) = (store.insert(acme).await.unwrap(), store.insert(globex).await.unwrap());
    DB::raw(&pool, "UPDATE tenancy_tenants SET slug = 'www' WHERE slug = 'acme'").await.unwrap();
    assert_eq!(store.by_id(acme.id()).await.unwrap_err().kind(), ErrorKind::Database);
    assert_eq!(store.by_id(globex.id()).await.unwrap(), Some(globex));
}

on_every_database!(
    the_sql_store_keeps_every_promise,
    a_malformed_row_is_a_database_error,
    an_override_is_stored_with_its_event
);

/// A memory store with one deliberate fault.
#[derive(Debug)]
struct Broken {
    inner: MemoryStore,
    fault: Fault,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Fault {
    /// Overwrites a newer version.
    IgnoresVersions,
    /// Returns the first tenant for every slug.
    LeaksBySlug,
    /// Returns another tenant for an unknown id.
    LeaksById,
    /// Discards updates.
    LosesUpdates,
    /// Accepts a slug that is in use, and does nothing.
    SwallowsConflicts,
    /// Returns no second page.
    ListsTheFirstPageOnly,
    /// Repeats the last tenant of a page on the next page.
    ListsTheLastAgain,
}

#[async_trait]
impl TenantStore for Broken {
    async fn by_id(&self, id: &TenantId) -> Result<Option<Arc<Tenant>>> {
        match self.inner.by_id(id).await? {
            None if self.fault == Fault::LeaksById => self.inner.by_slug(&slug("acme")).await,
            found => Ok(found),
        }
    }

    async fn by_slug(&self, name: &Slug) -> Result<Option<Arc<Tenant>>> {
        match self.fault {
            Fault::LeaksBySlug => self.inner.by_slug(&slug("acme")).await,
            _ => self.inner.by_slug(name).await,
        }
    }

    async fn list(&self, after: Option<&TenantId>, limit: u16) -> Result<Vec<Arc<Tenant>>> {
        match self.fault {
            Fault::ListsTheFirstPageOnly if after.is_some() => Ok(Vec::new()),
            Fault::ListsTheLastAgain if limit > 1 && after.is_some() => {
                let last = self.inner.by_id(after.unwrap()).await?;
                Ok(last.into_iter().collect())
            }
            _ => self.inner.list(after, limit).await,
        }
    }

    async fn insert(&self, tenant: NewTenant) -> Result<Arc<Tenant>> {
        let copy = tenant.clone().into_tenant();
        match self.inner.insert(tenant).await {
            Err(_) if self.fault == Fault::SwallowsConflicts => Ok(Arc::new(copy)),
            result => result,
        }
    }

    async fn update(&self, tenant: &Tenant) -> Result<Arc<Tenant>> {
        match self.fault {
            Fault::LosesUpdates => Ok(Arc::new(tenant.next_version())),
            Fault::IgnoresVersions => {
                let stored = self.inner.by_id(tenant.id()).await?;
                let version = stored.map_or(tenant.version(), |stored| stored.version());
                self.inner.update(&at_version(tenant, version)).await
            }
            _ => self.inner.update(tenant).await,
        }
    }
}

fn at_version(tenant: &Tenant, version: u64) -> Tenant {
    Tenant::from_stored(TenantParts {
        granted_plan: None,
        terms: tenant.terms().clone(),
        suspension: tenant.suspension().cloned(),
        id: tenant.id().clone(),
        slug: tenant.slug().clone(),
        name: tenant.name().to_owned(),
        status: tenant.status(),
        status_set_by: tenant.status_set_by(),
        plan: tenant.plan().to_owned(),
        placement: tenant.placement().clone(),
        region: tenant.region().cloned(),
        version,
    })
}

#[tokio::test]
async fn the_suite_rejects_broken_stores() {
    for fault in [
        Fault::IgnoresVersions,
        Fault::LeaksBySlug,
        Fault::LeaksById,
        Fault::LosesUpdates,
        Fault::SwallowsConflicts,
        Fault::ListsTheFirstPageOnly,
        Fault::ListsTheLastAgain,
    ] {
        let run = tenant_store(async || Broken { inner: MemoryStore::new(), fault });
        let text = Box::pin(suites::panic_of(run)).await;
        assert!(text.contains("promise broken: "), "{fault:?}: {text}");
    }
}

fn slug(text: &str) -> Slug {
    Slug::parse(text).unwrap()
}

/// An override is stored with its audit event, for one tenant, and nothing is stored if one of the two is not.
async fn an_override_is_stored_with_its_event<DB: TestBackend>() {
    let (pool, _cleanup) = DB::fresh(4).await;
    let store = SqlStore::new(pool.clone());
    store.migrate().await.unwrap();
    let catalog =
        "version = 1\n[features]\nseats = { kind = \"gauge\" }\n[plans.free]\nfeatures = { seats = 3 }";
    let catalog = Catalog::from_toml(catalog).unwrap();
    let acme = store.insert(NewTenant::active("acme", "free").unwrap()).await.unwrap();
    let globex = store.insert(NewTenant::active("globex", "free").unwrap()).await.unwrap();
    let ada = Actor::user("ada");
    let adds = (0..8)
        .map(|_| store.add_override(&catalog, acme.id(), NewOverride::add("seats", 2, "contract"), &ada));
    for added in futures_util::future::join_all(adds).await {
        added.unwrap();
    }
    let directory = TenantDirectory::new(Arc::new(store.clone()), catalog.clone());
    let seats = async |id: &TenantId| {
        let ctx = directory.context(id, Actor::system("test")).await.unwrap();
        ctx.entitlements().limit("seats").unwrap()
    };
    assert_eq!(seats(acme.id()).await, Limit::AtMost(3 + 8 * 2), "no concurrent override is lost");
    assert_eq!(seats(globex.id()).await, Limit::AtMost(3));
    let first = store.by_id(acme.id()).await.unwrap().unwrap().terms().overrides()[0].id();
    store.end_override(acme.id(), first, "contract ended", &ada).await.unwrap();
    assert_eq!(seats(acme.id()).await, Limit::AtMost(3 + 7 * 2));
    for (tenant, new, kind) in [
        (acme.id(), NewOverride::add("seets", 2, "contract"), ErrorKind::UnknownFeature),
        (acme.id(), NewOverride::add("seats", 2, ""), ErrorKind::InvalidInput),
        (&TenantId::random(), NewOverride::add("seats", 2, "contract"), ErrorKind::TenantUnknown),
    ] {
        assert_eq!(store.add_override(&catalog, tenant, new, &ada).await.unwrap_err().kind(), kind);
    }
    let foreign = store.end_override(globex.id(), first, "not theirs", &ada).await.unwrap_err();
    assert_eq!(foreign.kind(), ErrorKind::NotFound);
    let db = TenantDb::from_pool(pool).build().await.unwrap();
    let ctx = directory.context(acme.id(), Actor::system("test")).await.unwrap();
    let events = StoredEvent::newest(&db.scope(&ctx), None, 50).await.unwrap();
    let with = |text: &str| events.iter().filter(|event| event.json().contains(text)).count();
    assert_eq!((with("plan.override.add"), with("plan.override.end"), with("\"id\":\"ada\"")), (8, 1, 9));
}
