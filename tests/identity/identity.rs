//! No host, header or path can forge the tenant of a request.
//!
//! Rows are named as in the list of attacks: `I1`, `I2`, and so on.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderValue, Request, StatusCode, Version};
use tenancy::store::MemoryStore;
use tenancy::tenant::{NewTenant, Slug, TenantStatus, TenantStore};

use crate::fixture::{Fixture, PROXY, UNTRUSTED, app, bearer, from_peer, get_from, resolver};

#[tokio::test]
async fn a_host_reaches_its_own_tenant_or_none() {
    let fixture = Fixture::new().await;
    // row, host with {} for the slug, expected problem; `ok` is the tenant itself.
    let rows: &[(&str, &str, &str)] = &[
        ("I8", "{}.example.com", "ok"),
        ("I8", "{}.EXAMPLE.Com", "ok"),
        ("I9", "{}.example.com.", "ok"),
        ("I9", "{}.example.com..", "invalid-authority"),
        ("I10", "{}.example.com:8443", "ok"),
        ("I10", "{}.localhost:3000", "ok"),
        ("I10", "{}.example.com:0", "invalid-authority"),
        ("I10", "{}.example.com:99999", "invalid-authority"),
        ("I10", "{}.example.com:80:90", "invalid-authority"),
        ("I10", "{}.example.com:abc", "invalid-authority"),
        ("I10", "{}.example.com:", "invalid-authority"),
        ("I12", "x.{}.example.com", "invalid-authority"),
        ("I12", "{}.x.example.com", "invalid-authority"),
        ("I12", "{}.example.com.evil.com", "tenant-missing"),
        ("I12", "{}.evil.com", "tenant-missing"),
        ("I13", ".example.com", "invalid-authority"),
        ("I13", "example.com", "tenant-missing"),
        ("I13", "www.example.com", "tenant-missing"),
        ("I13", "api.example.com", "tenant-missing"),
        ("I13", "127.0.0.1", "tenant-missing"),
        ("I13", "[::1]:80", "tenant-missing"),
        ("I14", "", "invalid-authority"),
        ("I16", "{}\u{ad}.example.com", "invalid-authority"),
        ("I16", "{}\u{200d}.example.com", "invalid-authority"),
        ("I16", "{}\u{ff0e}example.com", "invalid-authority"),
        ("I16", "\u{24d0}{}.example.com", "invalid-authority"),
        ("I17", "{}%2eexample.com", "invalid-authority"),
        ("I17", "{}%00.example.com", "invalid-authority"),
        ("I17", "{}\t.example.com", "invalid-authority"),
        ("I18", "{}_b.example.com", "invalid-authority"),
        ("I18", "-{}.example.com", "invalid-authority"),
        ("I20", "{}.example.com, evil.com", "invalid-authority"),
        ("I20", "{}.example.com evil.com", "invalid-authority"),
        ("I20", "{}.example.com/x", "invalid-authority"),
        ("I20", "{}.example.com?x", "invalid-authority"),
        ("I20", "evil@{}.example.com", "invalid-authority"),
        ("I88", "nobody.example.com", "tenant-unknown"),
    ];
    for (row, host, expected) in rows {
        for (tenant, other) in fixture.both_sides() {
            let host = host.replace("{}", tenant.slug().as_str());
            let value = HeaderValue::from_bytes(host.as_bytes()).unwrap();
            let request = Request::get("/login").header("host", value).body(Body::empty()).unwrap();
            let answer = fixture.send(request).await;
            if *expected == "ok" {
                assert_eq!(answer.status, StatusCode::OK, "{row} {host}");
                assert_eq!(answer.body, format!("{} anonymous host", tenant.slug()), "{row} {host}");
            } else {
                assert_eq!(answer.code(), *expected, "{row} {host}: {answer:?}");
            }
            assert!(!answer.body.contains(other.slug().as_str()), "{row} {host}: {answer:?}");
        }
    }
    let long_label = format!("{}.example.com", "a".repeat(64));
    let long_name = format!("{}example.com", "a.".repeat(122));
    for host in [long_label, long_name] {
        let answer = fixture.send(get_from(&host, "/login").body(Body::empty()).unwrap()).await;
        assert_eq!(answer.code(), "invalid-authority", "I18 {host}");
    }
}

#[tokio::test]
async fn a_request_has_one_authority() {
    let fixture = Fixture::new().await;
    for (tenant, other) in fixture.both_sides() {
        let (mine, theirs) =
            (format!("{}.example.com", tenant.slug()), format!("{}.example.com", other.slug()));
        let absolute = |host: &str| format!("http://{host}/login");
        let get = |uri: &str| Request::get(uri.to_owned());
        let rows = [
            ("I1", get("/login").header("host", &mine).header("host", &theirs)),
            ("I2", get("/login").header("host", &mine).header("host", &mine)),
            ("I4", get(&absolute(&theirs)).header("host", &mine)),
            ("I4", get(&absolute("evil.com")).header("host", &mine)),
            ("I4", get(&absolute(&mine)).header("host", "evil.com")),
            ("I5", get(&absolute(&format!("{}@{theirs}", tenant.slug()))).header("host", &mine)),
            ("I6", get(&absolute(&mine)).version(Version::HTTP_2).header("host", &theirs)),
            ("I6", get("/login").version(Version::HTTP_2).header("host", &mine)),
            (
                "I2",
                get(&absolute(&mine)).version(Version::HTTP_2).header("host", &mine).header("host", &mine),
            ),
            ("no Host", get("/login")),
            ("no Host", get("/login").version(Version::HTTP_10)),
        ];
        for (row, request) in rows {
            let answer = fixture.send(request.body(Body::empty()).unwrap()).await;
            assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{row}");
            assert_eq!(answer.code(), "invalid-authority", "{row}");
        }
        let two = get(&absolute(&mine)).version(Version::HTTP_2).body(Body::empty()).unwrap();
        assert!(fixture.send(two).await.body.starts_with(tenant.slug().as_str()));
    }
}

#[tokio::test]
async fn forwarded_hosts_and_look_alike_headers_are_never_read() {
    let fixture = Fixture::new().await;
    let headers = [
        ("I21", "x-forwarded-host"),
        ("I22", "forwarded"),
        ("I24", "x-original-host"),
        ("I24", "x-host"),
        ("I24", "x-http-host-override"),
        ("I24", "x-forwarded-server"),
        ("I36", "x_tenant_id"),
        ("I36", "x-tenant"),
    ];
    for (tenant, other) in fixture.both_sides() {
        let host = format!("{}.example.com", tenant.slug());
        for (row, name) in headers {
            for peer in [UNTRUSTED, PROXY] {
                let theirs = match name {
                    "forwarded" => format!("host={}.example.com", other.slug()),
                    "x_tenant_id" | "x-tenant" => other.slug().to_string(),
                    _ => format!("{}.example.com", other.slug()),
                };
                let request = get_from(&host, "/login").header(name, theirs);
                let answer = fixture.send(from_peer(request, peer)).await;
                assert_eq!(answer.body, format!("{} anonymous host", tenant.slug()), "{row} {name}");
            }
        }
        // I42: the query is not read either.
        let request = get_from(&host, &format!("/login?tenant={0}&tenant_id={0}", other.slug()));
        let answer = fixture.send(request.body(Body::empty()).unwrap()).await;
        assert_eq!(answer.body, format!("{} anonymous host", tenant.slug()), "I42");
    }
}

#[tokio::test]
async fn a_header_counts_only_from_a_trusted_peer_and_only_once() {
    let fixture = Fixture::new().await;
    for (tenant, other) in fixture.both_sides() {
        let get = || get_from("example.com", "/login");
        let slug = tenant.slug().as_str();

        let answer = fixture.send(from_peer(get().header("x-tenant-id", slug), PROXY)).await;
        assert_eq!(answer.body, format!("{slug} anonymous header"));
        let by_id = get().header("X-Tenant-ID", tenant.id().to_string());
        assert_eq!(fixture.send(from_peer(by_id, PROXY)).await.body, format!("{slug} anonymous header"));

        // I34: the header is ignored from an untrusted peer and from an unknown address.
        let answer = fixture.send(from_peer(get().header("x-tenant-id", slug), UNTRUSTED)).await;
        assert_eq!(answer.code(), "tenant-missing", "I34");
        let unknown = get().header("x-tenant-id", slug).body(Body::empty()).unwrap();
        assert_eq!(fixture.send(unknown).await.code(), "tenant-missing", "I34");
        let mine =
            get_from(&format!("{slug}.example.com"), "/login").header("x-tenant-id", other.slug().as_str());
        assert!(fixture.send(from_peer(mine, UNTRUSTED)).await.body.starts_with(slug), "I34");

        let twice = get().header("x-tenant-id", slug).header("x-tenant-id", slug);
        assert_eq!(fixture.send(from_peer(twice, PROXY)).await.code(), "invalid-input");
        for bad in [
            "acme'--",
            "acme\"; drop schema",
            "../globex",
            "%0d%0a",
            "${jndi}",
            "",
            "null",
            "undefined",
            "0",
            "-1",
            "NaN",
            "true",
            "*",
            "__proto__",
            "public",
            "pg_catalog",
            "information_schema",
            "acme,globex",
            "00000000-0000-0000-0000-000000000000",
            "ffffffff-ffff-ffff-ffff-ffffffffffff",
            "{018f3f5e-3a5a-7c3e-9d0a-000000000001}",
            "urn:uuid:018f3f5e-3a5a-7c3e-9d0a-000000000001",
            &"a".repeat(10_000),
        ] {
            let answer = fixture.send(from_peer(get().header("x-tenant-id", bad), PROXY)).await;
            assert_eq!(answer.code(), "invalid-input", "I45/I46 {bad}");
            assert!(bad.len() < 5 || !answer.body.contains(bad), "I48: the input is repeated: {bad}");
        }
    }
}

#[tokio::test]
async fn a_selection_never_wins_against_a_credential() {
    let fixture = Fixture::new().await;
    for (tenant, other) in fixture.both_sides() {
        let token = bearer(tenant);
        let mine = format!("{}.example.com", tenant.slug());
        let theirs = format!("{}.example.com", other.slug());
        let authorized = |host: &str, path: &str| get_from(host, path).header("authorization", &token);

        // I41: the same tenant, by id in the token, and by slug in every other source.
        let path = format!("/t/{}/orders", tenant.slug());
        let same = authorized(&mine, &path).header("x-tenant-id", tenant.slug().as_str());
        let answer = fixture.send(from_peer(same, PROXY)).await;
        assert_eq!(answer.body, format!("{} user:ada jwt", tenant.slug()), "I41");

        // I38: another tenant or a missing one, by host, header or path.
        let path_of_other = format!("/t/{}/orders", other.slug());
        let conflicts = [
            authorized(&theirs, "/orders"),
            authorized("nobody.example.com", "/orders"),
            authorized("initech.example.com", "/orders"),
            authorized("example.com", &path_of_other),
            authorized("example.com", "/t/nobody/orders"),
            authorized("example.com", "/orders").header("x-tenant-id", other.id().to_string()),
            authorized("example.com", "/orders").header("x-tenant-id", other.slug().as_str()),
            authorized("example.com", "/orders").header("x-tenant-id", "424242"),
        ];
        let mut answers = Vec::new();
        for request in conflicts {
            let answer = fixture.send(from_peer(request, PROXY)).await;
            assert_eq!(
                (answer.status, answer.code().as_str()),
                (StatusCode::FORBIDDEN, "tenant-conflict"),
                "I38"
            );
            answers.push(answer);
        }
        answers.dedup();
        assert_eq!(answers.len(), 1, "a foreign tenant and one that does not exist look alike: {answers:?}");

        // I40: an unverified hint alone opens no protected route, whether the tenant exists or not.
        for host in [mine.as_str(), "nobody.example.com", "initech.example.com"] {
            let answer = fixture.send(get_from(host, "/orders").body(Body::empty()).unwrap()).await;
            let found = (answer.status, answer.code());
            assert_eq!(found, (StatusCode::UNAUTHORIZED, "credential-missing".to_owned()), "I40 {host}");
            assert_eq!(answer.headers["www-authenticate"], "Bearer");
        }
        // I98: with every method.
        for method in ["HEAD", "OPTIONS", "POST", "PUT", "DELETE", "PATCH"] {
            let request = Request::builder().method(method).uri("/orders").header("host", &mine);
            let request = request.header("x-http-method-override", "GET").body(Body::empty()).unwrap();
            assert_eq!(fixture.send(request).await.status, StatusCode::UNAUTHORIZED, "I98 {method}");
        }
    }
}

/// `I88`: a caller that tries hosts finds only active tenants, whose public pages are visible anyway.
#[tokio::test]
async fn to_an_outsider_a_closed_tenant_looks_like_none() {
    let fixture = Fixture::new().await;
    let answer = async |host: &str| fixture.send(get_from(host, "/login").body(Body::empty()).unwrap()).await;
    let unknown = answer("nobody.example.com").await;
    assert_eq!(unknown.status, StatusCode::NOT_FOUND);
    assert_eq!(answer("initech.example.com").await, unknown);
    // A second, unknown name does not distinguish a suspended tenant from a missing one either.
    let beside = async |path: &str| {
        fixture.send(get_from("nobody.example.com", path).body(Body::empty()).unwrap()).await
    };
    assert_eq!(beside("/t/initech/login").await, beside("/t/no-one/login").await);

    // Authenticated users of the tenant get the reason.
    let request = get_from("example.com", "/orders").header("authorization", bearer(&fixture.suspended));
    let answer = fixture.send(request.body(Body::empty()).unwrap()).await;
    assert_eq!((answer.status, answer.code().as_str()), (StatusCode::FORBIDDEN, "tenant-suspended"));
}

#[tokio::test]
async fn a_token_follows_the_tenant_and_a_host_the_slug() {
    let mut fixture = Fixture::new().await;
    // I92: acme and globex swap slugs after the cool-down. A token stays with its tenant, a host follows the slug.
    let slug = |text: &str| Slug::parse(text).unwrap();
    let between = fixture.store.update(&fixture.acme.with_slug(slug("between"))).await.unwrap();
    let early = fixture.store.update(&fixture.globex.with_slug(slug("acme"))).await.unwrap_err();
    assert_eq!(early.kind(), tenancy::ErrorKind::Conflict, "the slug of {between:?} rests");

    let store = Arc::new(MemoryStore::new().slug_cooldown(Duration::ZERO));
    let insert = async |name| {
        store.insert(NewTenant::new(slug(name), name, "free").status(TenantStatus::Active)).await.unwrap()
    };
    (fixture.acme, fixture.globex) = (insert("acme").await, insert("globex").await);
    fixture.app = app(Arc::new(resolver(store.clone())));
    let acme = store.update(&fixture.acme.with_slug(slug("between"))).await.unwrap();
    store.update(&fixture.globex.with_slug(slug("acme"))).await.unwrap();
    store.update(&acme.with_slug(slug("globex"))).await.unwrap();
    for (tenant, old, new) in [(&fixture.acme, "acme", "globex"), (&fixture.globex, "globex", "acme")] {
        let at = |host: String| get_from(&host, "/orders").header("authorization", bearer(tenant));
        let here = fixture.send(at(format!("{new}.example.com")).body(Body::empty()).unwrap()).await;
        assert_eq!(here.body, format!("{new} user:ada jwt"));
        let there = fixture.send(at(format!("{old}.example.com")).body(Body::empty()).unwrap()).await;
        assert_eq!(there.code(), "tenant-conflict");
    }
}

#[tokio::test]
async fn responses_stay_out_of_shared_caches() {
    let fixture = Fixture::new().await;
    for path in ["/login", "/orders"] {
        let answer = fixture.send(get_from("acme.example.com", path).body(Body::empty()).unwrap()).await;
        assert_eq!(answer.headers["cache-control"], "private, no-store", "I85 {path}");
        assert_eq!(answer.headers["vary"], "host, x-tenant-id, authorization", "I85 {path}");
    }
    // A route's own `cache-control` is kept. I100: a route without tenants is not changed.
    let logo = fixture.send(get_from("acme.example.com", "/logo").body(Body::empty()).unwrap()).await;
    assert_eq!(logo.headers["cache-control"], "public, max-age=60");
    let health = fixture.send(get_from("acme.example.com", "/health").body(Body::empty()).unwrap()).await;
    assert_eq!((health.body.as_str(), health.headers.contains_key("vary")), ("up", false));
}
