//! What must hold of every request, however it is put together. Used by the fuzz target and by `tests/requests.rs`.

use std::net::SocketAddr;
use std::sync::Arc;

use tenancy::context::{Actor, Directory};
use tenancy::plan::Catalog;
use tenancy::resolve::{
    CertificateSource, ForwardedHost, HeaderKeys, HeaderSource, HostSource, HttpVersion, Identity, JwtSource,
    PathSource, Resolver, SessionSource, SignedHeaderSource, StaticRequest, TlsInfo, TrustedPeers,
};
use tenancy::store::MemoryStore;
use tenancy::tenant::{NewTenant, Slug, TenantId, TenantStatus, TenantStore};

const SECRET: &[u8] = b"a secret of at least thirty-two bytes";
const IDS: [&str; 2] = ["018f3f5e-3a5a-7c3e-9d0a-000000000001", "018f3f5e-3a5a-7c3e-9d0a-000000000002"];
const SLUGS: [&str; 2] = ["acme", "globex"];

/// Two tenants behind every source there is. Who holds no credential of theirs proves nothing.
pub(crate) async fn world() -> Resolver {
    let store = Arc::new(MemoryStore::new());
    for (id, slug) in IDS.into_iter().zip(SLUGS) {
        let new = NewTenant::new(Slug::parse(slug).unwrap(), slug, "free").id(TenantId::parse(id).unwrap());
        store.insert(new.status(TenantStatus::Active)).await.unwrap();
    }
    let catalog =
        "version = 1\n[features]\nsso = { kind = \"flag\" }\n[plans.free]\nfeatures = { sso = false }";
    let proxies = || TrustedPeers::new(["10.0.0.0/8"]).unwrap();
    let tokens = JwtSource::builder()
        .issuer("https://login.example.com")
        .audience("api")
        .hs256(SECRET)
        .build()
        .unwrap();
    let certificate = |name: &str| {
        let slug = name.strip_suffix(".clients.example.com")?;
        Some(Identity::new(Actor::service("sync")).tenant(Slug::parse(slug).ok()?))
    };
    Resolver::new(Directory::new(store, Arc::new(Catalog::from_toml(catalog).unwrap())))
        .source(HostSource::new(["example.com"]).unwrap().forwarded_by(proxies(), ForwardedHost::Forwarded))
        .source(PathSource::new("/t").unwrap())
        .source(HeaderSource::new("x-tenant-id", proxies()).unwrap())
        .source(SignedHeaderSource::new("x-signed", HeaderKeys::new("a", SECRET).unwrap()).unwrap())
        .source(SessionSource::cookie("sid", async |_| Ok(None)).unwrap())
        .source(CertificateSource::new(certificate))
        .source(tokens)
}

/// A request out of bytes: lines, of which the first letter says what they are. What is left out is there in good order.
pub(crate) fn request(data: &[u8]) -> StaticRequest {
    let mut lines = data.split(|b| *b == b'\n');
    let path = String::from_utf8_lossy(lines.next().unwrap_or_default()).into_owned();
    let mut request = StaticRequest::get(path);
    for line in lines {
        let Some((what, value)) = line.split_first() else { continue };
        let text = || String::from_utf8_lossy(value).into_owned();
        request = match what {
            b'h' => request.with_header("host", value),
            b'2' => request.with_version(HttpVersion::Http2).with_authority(text()),
            b'0' => request.with_version(HttpVersion::Http10),
            b'a' => request.with_authority(text()),
            b't' => request.with_header("x-tenant-id", value),
            b'f' => request.with_header("forwarded", value),
            b'x' => request.with_header("x-forwarded-host", value),
            b's' => request.with_header("x-signed", value),
            b'b' => request.with_header("authorization", value),
            b'c' => request.with_header("cookie", value),
            b'n' => request.with_tls(TlsInfo::new().with_server_name(text())),
            b'p' => request.with_peer(SocketAddr::from(([10, 0, 0, 7], 4000))),
            b'q' => request.with_peer(SocketAddr::from(([203, 0, 113, 9], 4000))),
            _ => request.with_header(text(), value),
        };
    }
    request
}

/// Nobody without a credential gets in; a public route shows a tenant only to a request that names it, and to one that
/// names another as well, it shows none; and no error repeats what came in.
pub(crate) async fn one_tenant_or_none(resolver: &Resolver, data: &[u8]) {
    let request = request(data);
    let shown = || String::from_utf8_lossy(data).into_owned();
    let proven = resolver.resolve(&request).await;
    let selected = resolver.resolve_public(&request).await;
    assert!(proven.is_err(), "let in without a credential: {:?}", shown());
    if let Ok(ctx) = &selected {
        let lower = data.to_ascii_lowercase();
        let names = |text: &str| lower.windows(text.len()).any(|part| part == text.as_bytes());
        let slug = ctx.tenant().slug().as_str();
        assert!(names(slug) || names(&ctx.tenant_id().to_string()), "{slug} was not named: {:?}", shown());
        assert_eq!(*ctx.actor(), Actor::Anonymous, "{:?}", shown());
    }
    for error in [proven.err(), selected.err()].into_iter().flatten() {
        let text = error.to_string();
        assert!(text.len() < 300 && !text.contains(char::is_control), "{text:?}");
        let odd =
            data.windows(16).any(|part| std::str::from_utf8(part).is_ok_and(|part| text.contains(part)));
        assert!(!odd, "{text:?} repeats {:?}", shown());
    }
}
