//! The properties of tenant resolution that must hold for every request. Used by the fuzz target and by
//! `tests/identity/requests.rs`.

use std::net::SocketAddr;
use std::sync::Arc;

use tenancy::clock::Timestamp;
use tenancy::context::{Actor, TenantDirectory};
use tenancy::plan::Catalog;
use tenancy::resolve::{
    ApiKeySource, CertificateSource, ForwardedHost, HeaderKeys, HeaderSource, HostSource, HttpVersion,
    Identity, JwtSource, OwnedRequest, PathSource, Resolver, SessionSource, SignedHeaderSource, TlsInfo,
    TrustedPeers,
};
use tenancy::store::MemoryStore;
use tenancy::tenant::{
    ApiKey, ApiKeyFormat, ApiKeyParts, ApiKeyStore, Domain, DomainState, DomainStore, NewTenant, Slug,
    TenantId, TenantStatus, TenantStore,
};

const SECRET: &[u8] = b"a secret of at least thirty-two bytes";
const IDS: [&str; 2] = ["018f3f5e-3a5a-7c3e-9d0a-000000000001", "018f3f5e-3a5a-7c3e-9d0a-000000000002"];
const SLUGS: [&str; 2] = ["acme", "globex"];
/// The custom domain of each tenant.
const DOMAINS: [&str; 2] = ["one.example.net", "two.example.net"];
/// The ids of API keys whose secrets are unknown.
pub(crate) const KEYS: [&str; 2] = ["acmeacmeacmeacme", "globexglobexglob"];

/// A resolver with two tenants and a source of every kind. The requests below contain no valid credential.
pub(crate) async fn resolver() -> Resolver {
    let store = Arc::new(MemoryStore::new());
    for n in 0..2 {
        let (id, slug) = (TenantId::parse(IDS[n]).unwrap(), Slug::parse(SLUGS[n]).unwrap());
        let new = NewTenant::new(slug, SLUGS[n], "free").id(id.clone());
        store.insert(new.status(TenantStatus::Active)).await.unwrap();
        let domain = Domain::parse(DOMAINS[n]).unwrap();
        let claimed = store.claim_domain(&id, &domain).await.unwrap();
        let DomainState::Pending { challenge, .. } = claimed.state else { panic!("the domain is taken") };
        store.verify_domain(&id, &domain, &[challenge.record_text()]).await.unwrap();
        let key = ApiKeyParts {
            id: KEYS[n].to_owned(),
            tenant: id,
            name: "CI".to_owned(),
            hash: [7; 32],
            created: Timestamp::from_seconds(0),
            expires: None,
            revoked: None,
        };
        store.insert_key(&ApiKey::from_stored(key)).await.unwrap();
    }
    let keys = ApiKeyFormat::new("shop", "live").unwrap();
    let catalog =
        "version = 1\n[features]\nsso = { kind = \"flag\" }\n[plans.free]\nfeatures = { sso = false }";
    let proxies = || TrustedPeers::new(["10.0.0.0/8"]).unwrap();
    let tokens = JwtSource::builder()
        .issuer("https://login.example.com")
        .audience("api")
        .hs256(SECRET)
        .ignore_api_keys("shop")
        .build()
        .unwrap();
    let certificate = |name: &str| {
        let slug = name.strip_suffix(".clients.example.com")?;
        Some(Identity::new(Actor::service("sync")).tenant(Slug::parse(slug).ok()?))
    };
    let hosts = HostSource::new(["example.com"]).unwrap().custom_domains(store.clone());
    Resolver::new(TenantDirectory::new(store.clone(), Arc::new(Catalog::from_toml(catalog).unwrap())))
        .source(hosts.trusted_proxies(proxies(), ForwardedHost::Forwarded))
        .source(ApiKeySource::new(keys, store).header("x-api-key").unwrap())
        .source(PathSource::new("/t").unwrap())
        .source(HeaderSource::new("x-tenant-id", proxies()).unwrap())
        .source(SignedHeaderSource::new("x-signed", HeaderKeys::new("a", SECRET).unwrap()).unwrap())
        .source(SessionSource::cookie("sid", async |_| Ok(None)).unwrap())
        .source(CertificateSource::new(certificate))
        .source(tokens)
}

/// Decodes bytes into a request. The first line is the path; the first byte of each further line selects what it
/// sets.
pub(crate) fn request(data: &[u8]) -> OwnedRequest {
    let mut lines = data.split(|b| *b == b'\n');
    let path = String::from_utf8_lossy(lines.next().unwrap_or_default()).into_owned();
    let mut request = OwnedRequest::get(path);
    for line in lines {
        let Some((kind, value)) = line.split_first() else { continue };
        let text = || String::from_utf8_lossy(value).into_owned();
        request = match kind {
            b'h' => request.with_header("host", value),
            b'2' => request.with_version(HttpVersion::Http2).with_authority(text()),
            b'0' => request.with_version(HttpVersion::Http10),
            b'a' => request.with_authority(text()),
            b't' => request.with_header("x-tenant-id", value),
            b'f' => request.with_header("forwarded", value),
            b'x' => request.with_header("x-forwarded-host", value),
            b's' => request.with_header("x-signed", value),
            b'b' => request.with_header("authorization", value),
            b'k' => request.with_header("x-api-key", value),
            b'c' => request.with_header("cookie", value),
            b'n' => request.with_tls(TlsInfo::new().with_server_name(text())),
            b'p' => request.with_peer(SocketAddr::from(([10, 0, 0, 7], 4000))),
            b'q' => request.with_peer(SocketAddr::from(([203, 0, 113, 9], 4000))),
            _ => request.with_header(text(), value),
        };
    }
    request
}

/// Without a credential no request is authenticated. An unauthenticated route resolves a tenant only if the request
/// names that tenant. No error contains a part of the request.
pub(crate) async fn one_tenant_or_none(resolver: &Resolver, data: &[u8]) {
    let request = request(data);
    let input = || String::from_utf8_lossy(data).into_owned();
    let authenticated = resolver.resolve(&request).await;
    let unauthenticated = resolver.resolve_unauthenticated(&request).await;
    assert!(authenticated.is_err(), "authenticated without a credential: {:?}", input());
    if let Ok(ctx) = &unauthenticated {
        let lower = data.to_ascii_lowercase();
        let contains = |text: &str| lower.windows(text.len()).any(|part| part == text.as_bytes());
        let slug = ctx.tenant().slug().as_str();
        let domain = DOMAINS[SLUGS.iter().position(|known| *known == slug).unwrap()];
        let named = contains(slug) || contains(&ctx.tenant_id().to_string()) || contains(domain);
        assert!(named, "{slug} was not named: {:?}", input());
        assert_eq!(*ctx.actor(), Actor::Anonymous, "{:?}", input());
    }
    for error in [authenticated.err(), unauthenticated.err()].into_iter().flatten() {
        let text = error.to_string();
        assert!(text.len() < 300 && !text.contains(char::is_control), "{text:?}");
        let repeats_input =
            data.windows(16).any(|part| std::str::from_utf8(part).is_ok_and(|part| text.contains(part)));
        assert!(!repeats_input, "{text:?} repeats {:?}", input());
    }
}
