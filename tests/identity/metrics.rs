//! Metrics count each request and each lookup once, and no label names a tenant.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Body;
use metrics::set_default_local_recorder;
use metrics_util::debugging::{DebugValue, DebuggingRecorder, Snapshotter};
use tenancy::ErrorKind;
use tenancy::resolve::{OwnedRequest, Resolver};
use tenancy::store::{CacheOptions, CachedStore, MemoryStore};
use tenancy::tenant::{NewTenant, Slug, Tenant, TenantId, TenantStatus, TenantStore};

use crate::fixture::{self, Fixture, bearer, get_from, resolver};

/// A resolver over an empty cache, and two tenants in the store behind it.
async fn fresh() -> (Arc<Resolver>, Arc<Tenant>, Arc<Tenant>) {
    let store = MemoryStore::new();
    let insert = async |slug: &str, id: &str| {
        let new = NewTenant::new(Slug::parse(slug).unwrap(), slug, "free");
        let new = new.id(TenantId::parse(id).unwrap()).status(TenantStatus::Active);
        store.insert(new).await.unwrap()
    };
    let (acme, globex) = (insert("acme", "4711").await, insert("globex", "4712").await);
    (Arc::new(resolver(Arc::new(CachedStore::new(store, CacheOptions::new())))), acme, globex)
}

/// Every counter, as `name{label=value,..}`, with its value. Each snapshot resets the counters.
fn counts(snapshotter: &Snapshotter) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for (key, _, _, value) in snapshotter.snapshot().into_vec() {
        let labels: Vec<String> =
            key.key().labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
        let DebugValue::Counter(count) = value else { panic!("{key:?} is no counter") };
        if count > 0 {
            counts.insert(format!("{}{{{}}}", key.key().name(), labels.join(",")), count);
        }
    }
    counts
}

fn expected(counts: &[(&str, u64)]) -> BTreeMap<String, u64> {
    counts.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
}

/// A request that names no tenant.
fn bare() -> OwnedRequest {
    OwnedRequest::get("/").with_header("host", "example.com")
}

fn host(tenant: &str) -> OwnedRequest {
    OwnedRequest::get("/").with_header("host", format!("{tenant}.example.com"))
}

#[tokio::test]
async fn every_request_and_every_lookup_is_counted_once() {
    let (resolver, acme, globex) = fresh().await;
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let _guard = set_default_local_recorder(&recorder);

    for tenant in [&acme, &globex] {
        // The first lookup queries the store, the second does not.
        for _ in 0..2 {
            resolver.resolve_unauthenticated(&host(tenant.slug().as_str())).await.unwrap();
        }
        assert_eq!(
            counts(&snapshotter),
            expected(&[
                ("tenancy_resolutions_total{by=host}", 2),
                ("tenancy_cache_lookups_total{cache=tenants,outcome=miss}", 1),
                ("tenancy_cache_lookups_total{cache=tenants,outcome=hit}", 1),
            ])
        );
    }
    // From a warm cache: a token alone, a token with its own host, a token with the other host, a host alone.
    for (tenant, other) in [(&acme, &globex), (&globex, &acme)] {
        let token = |request: OwnedRequest| request.with_header("authorization", bearer(tenant));
        resolver.resolve(&token(bare())).await.unwrap();
        resolver.resolve(&token(host(tenant.slug().as_str()))).await.unwrap();
        resolver.resolve(&token(host(other.slug().as_str()))).await.unwrap_err();
        resolver.resolve(&host(tenant.slug().as_str())).await.unwrap_err();
        assert_eq!(
            counts(&snapshotter),
            expected(&[
                ("tenancy_resolutions_total{by=jwt}", 2),
                ("tenancy_rejections_total{code=tenant-conflict}", 1),
                ("tenancy_rejections_total{code=credential-missing}", 1),
                ("tenancy_cache_lookups_total{cache=tenants,outcome=hit}", 5),
            ])
        );
    }

    for _ in 0..3 {
        let error = resolver.resolve_unauthenticated(&host("nobody")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TenantUnknown);
    }
    resolver.resolve_unauthenticated(&host("a..b")).await.unwrap_err();
    resolver.resolve(&bare()).await.unwrap_err();
    let counts = counts(&snapshotter);
    assert_eq!(counts.get("tenancy_rejections_total{code=tenant-unknown}"), Some(&3), "{counts:?}");
    assert_eq!(counts.get("tenancy_rejections_total{code=invalid-authority}"), Some(&1), "{counts:?}");
    assert_eq!(counts.get("tenancy_rejections_total{code=tenant-missing}"), Some(&1), "{counts:?}");
    assert_eq!(counts.get("tenancy_cache_lookups_total{cache=tenants,outcome=miss}"), Some(&1), "{counts:?}");
    assert_eq!(
        counts.get("tenancy_cache_lookups_total{cache=tenants,outcome=absent}"),
        Some(&2),
        "{counts:?}"
    );
    assert_eq!(counts.len(), 5, "{counts:?}");
}

#[tokio::test]
async fn no_label_names_a_tenant_and_there_are_few_of_them() {
    let (resolver, acme, globex) = fresh().await;
    let app = fixture::app(resolver.clone());
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let _guard = set_default_local_recorder(&recorder);

    let fixture = Fixture { app, ..Fixture::new().await };
    for tenant in [&acme, &globex] {
        let request = get_from("example.com", "/orders").header("authorization", bearer(tenant));
        assert!(fixture.send(request.body(Body::empty()).unwrap()).await.status.is_success());
    }
    for n in 0..500 {
        resolver.resolve_unauthenticated(&host(&format!("nobody-{n}"))).await.unwrap_err();
        let path = OwnedRequest::get(format!("/t/{n}/x")).with_header("host", "example.com");
        resolver.resolve_unauthenticated(&path).await.unwrap_err();
        resolver.resolve(&host("x").with_header("authorization", format!("Bearer {n}"))).await.unwrap_err();
    }
    let counts = counts(&snapshotter);
    assert_eq!(counts.get("tenancy_resolutions_total{by=jwt}"), Some(&2), "{counts:?}");
    assert!((4..10).contains(&counts.len()), "X20: {counts:?}");
    for name in counts.keys() {
        for said in ["acme", "globex", "4711", "4712", "nobody", "example", "ada"] {
            assert!(!name.contains(said), "X20: {name}");
        }
    }
}
