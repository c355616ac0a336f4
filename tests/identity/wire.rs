//! One table of raw requests has the same result on every server.
//!
//! Rows are named as in the list of attacks: `I1`, `I2`, and so on.

use std::collections::BTreeSet;
use std::sync::Arc;

use tenancy::resolve::TlsInfo;
use tenancy::tenant::Tenant;
use tenancy::web::Problem;
use tenancy::{Error, ErrorKind};
use tonic::codegen::http::uri::PathAndQuery;

use crate::fixture::{Fixture, bearer, resolver, resolver_behind};
use crate::http_servers::{self, RunningServer, Speaks, start_all};
use crate::socket_client::{self, Answer, Headers, Outcome, http1, http2};

/// A request, for one version of HTTP or for both.
enum Ask {
    /// `Host` in HTTP/1.1, `:authority` in HTTP/2.
    Both { method: &'static str, path: String, host: Vec<u8>, headers: Vec<(&'static str, String)> },
    /// The head of a request of HTTP/1.
    Bytes(Vec<u8>),
    /// A GET request of HTTP/2.
    Frames { path: &'static str, headers: Vec<(&'static str, String)> },
}

/// The expected result.
#[derive(Debug, Clone, PartialEq)]
enum Expected {
    /// The tenant, and its source.
    Tenant(String),
    /// This error, or an error of the server itself before any code of this crate runs.
    Rejection(ErrorKind),
    /// Anything but a tenant.
    Nobody,
    /// The route without a tenant.
    Open,
}

use Expected::{Nobody, Open, Rejection};

struct Row {
    name: &'static str,
    ask: Ask,
    expected: Expected,
}

fn from(host: impl AsRef<[u8]>) -> Ask {
    get("/login", host)
}

fn get(path: impl Into<String>, host: impl AsRef<[u8]>) -> Ask {
    Ask::Both { method: "GET", path: path.into(), host: host.as_ref().to_vec(), headers: Vec::new() }
}

impl Ask {
    fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        match &mut self {
            Self::Both { headers, .. } | Self::Frames { headers, .. } => headers.push((name, value.into())),
            Self::Bytes(_) => panic!("bytes are whole"),
        }
        self
    }

    fn method(self, method: &'static str) -> Self {
        match self {
            Self::Both { path, host, headers, .. } => Self::Both { method, path, host, headers },
            other => other,
        }
    }

    fn http1(&self) -> Option<Vec<u8>> {
        match self {
            Self::Both { method, path, host, headers } => {
                let mut bytes = [format!("{method} {path} HTTP/1.1\r\nHost: ").as_bytes(), host].concat();
                for (name, value) in headers {
                    bytes.extend(format!("\r\n{name}: {value}").bytes());
                }
                Some([bytes.as_slice(), b"\r\nConnection: close\r\n\r\n"].concat())
            }
            Self::Bytes(head) => Some([head.as_slice(), b"Connection: close\r\n\r\n"].concat()),
            Self::Frames { .. } => None,
        }
    }

    fn http2(&self, grpc: bool) -> Option<Headers> {
        let (method, path, mut fields) = match self {
            Self::Both { method, path, host, .. } => {
                (*method, path.as_str(), vec![(":authority".to_owned(), host.clone())])
            }
            Self::Frames { path, .. } => ("GET", *path, Vec::new()),
            Self::Bytes(_) => return None,
        };
        let (route, query) =
            path.split_once('?').map_or((path, String::new()), |(route, query)| (route, format!("?{query}")));
        let (method, path) = match (grpc, method) {
            (true, "GET") => ("POST", format!("{route}/Who{query}")),
            (true, method) => (method, format!("{route}/Who{query}")),
            (false, method) => (method, path.to_owned()),
        };
        let pseudo = [(":method", method), (":scheme", "http"), (":path", &path)];
        fields.splice(0..0, pseudo.map(|(name, value)| (name.to_owned(), value.as_bytes().to_vec())));
        let (Self::Both { headers, .. } | Self::Frames { headers, .. }) = self else { return None };
        let owned = |(name, value): &(&str, String)| (name.to_lowercase(), value.as_bytes().to_vec());
        fields.extend(headers.iter().map(owned));
        // Pseudo-headers come first.
        fields.sort_by_key(|(name, _)| !name.starts_with(':'));
        if grpc {
            fields.push(("content-type".to_owned(), b"application/grpc".to_vec()));
            fields.push(("te".to_owned(), b"trailers".to_vec()));
        }
        Some(fields)
    }
}

/// The attacks that a server can observe, for one tenant against the other.
#[expect(clippy::too_many_lines, reason = "one table")]
fn rows(tenant: &Tenant, other: &Tenant) -> Vec<Row> {
    let (mine, theirs) = (format!("{}.example.com", tenant.slug()), format!("{}.example.com", other.slug()));
    let slug = tenant.slug().as_str();
    let here = |by: &str| Expected::Tenant(format!("{slug} {by}"));
    let bad = || Rejection(ErrorKind::InvalidAuthority);
    let bytes = |text: String| Ask::Bytes(text.into_bytes());
    let frames = |fields: &[(&'static str, &str)]| Ask::Frames {
        path: "/login",
        headers: fields.iter().map(|(name, value)| (*name, (*value).to_owned())).collect(),
    };
    let mut rows = vec![
        ("I1", bytes(format!("GET /login HTTP/1.1\r\nHost: {mine}\r\nHost: {theirs}\r\n")), bad()),
        ("I1", bytes(format!("GET /login HTTP/1.1\r\nHost: {theirs}\r\nHost: {mine}\r\n")), bad()),
        ("I1", from(&mine).with("host", &theirs).with("host", &mine), bad()),
        ("I2", bytes(format!("GET /login HTTP/1.1\r\nHost: {mine}\r\nHost: {mine}\r\n")), bad()),
        ("I2", frames(&[(":authority", &mine), ("host", &mine), ("host", &mine)]), bad()),
        ("no host", bytes("GET /login HTTP/1.1\r\n".to_owned()), bad()),
        ("no host", bytes("GET /login HTTP/1.0\r\n".to_owned()), bad()),
        ("no host", frames(&[]), bad()),
        ("I4", bytes(format!("GET http://{theirs}/login HTTP/1.1\r\nHost: {mine}\r\n")), bad()),
        ("I4", bytes(format!("GET http://{mine}/login HTTP/1.1\r\nHost: {theirs}\r\n")), bad()),
        ("I4", bytes(format!("GET http://{mine}/login HTTP/1.1\r\n")), bad()),
        (
            "I4 same",
            bytes(format!("GET http://{mine}/login HTTP/1.1\r\nHost: {mine}\r\n")),
            here("anonymous host"),
        ),
        ("I5", bytes(format!("GET http://{slug}@{theirs}/login HTTP/1.1\r\nHost: {mine}\r\n")), bad()),
        ("I6", frames(&[(":authority", &mine), ("host", &theirs)]), bad()),
        ("I6", frames(&[(":authority", &theirs), ("host", &mine)]), bad()),
        ("I6", frames(&[("host", &mine)]), bad()),
        ("I6 twice", frames(&[(":authority", &mine), (":authority", &theirs)]), bad()),
        ("I6 same", frames(&[(":authority", &mine), ("host", &mine)]), here("anonymous host")),
        ("I8", from(mine.to_uppercase()), here("anonymous host")),
        ("I9", from(format!("{mine}.")), here("anonymous host")),
        ("I9 twice", from(format!("{mine}..")), bad()),
        ("I10", from(format!("{mine}:8443")), here("anonymous host")),
        ("I10", from(format!("{slug}.localhost:3000")), here("anonymous host")),
        ("I13", from("example.com"), Rejection(ErrorKind::TenantMissing)),
        ("I13", from("www.example.com"), Rejection(ErrorKind::TenantMissing)),
        ("I13", from("127.0.0.1"), Rejection(ErrorKind::TenantMissing)),
        ("I13", from("[::1]:80"), Rejection(ErrorKind::TenantMissing)),
        ("I14", from(""), bad()),
        ("I16 raw", from(b"acm\xc3\xa9.example.com"), bad()),
        ("I17 control", from(format!("{mine}\0")), bad()),
        ("I17 control", from(format!("{slug}\t.example.com")), bad()),
        ("I17 control", from(format!("{mine}\r.evil.com")), bad()),
        ("folded", bytes(format!("GET /login HTTP/1.1\r\nHost: {mine}\r\n .evil.com\r\n")), bad()),
        ("I18 long", from(format!("{}.example.com", "a".repeat(64))), bad()),
        ("I18 long", from(format!("{}example.com", "a.".repeat(122))), bad()),
        ("I34", from(&mine).with("X-Tenant-Id", other.slug().as_str()), here("anonymous host")),
        (
            "I34",
            from("example.com").with("x-tenant-id", other.slug().as_str()),
            Rejection(ErrorKind::TenantMissing),
        ),
        (
            "I36 space",
            bytes(format!("GET /login HTTP/1.1\r\nHost: {mine}\r\nx-tenant-id : {}\r\n", other.slug())),
            Nobody,
        ),
        ("I36 space", from(&mine).with("x-tenant-id ", other.slug().as_str()), Nobody),
        (
            "I38",
            get("/orders", &theirs).with("authorization", bearer(tenant)),
            Rejection(ErrorKind::TenantConflict),
        ),
        ("I40", get("/orders", &mine), Rejection(ErrorKind::CredentialMissing)),
        ("I41", get("/orders", &mine).with("authorization", bearer(tenant)), here("user:ada jwt")),
        ("I42", get(format!("/login?tenant={0}&tenant_id={0}", other.slug()), &mine), here("anonymous host")),
        ("path", get(format!("/t/{slug}/login"), &mine), here("anonymous host")),
        ("path", get(format!("/t/{slug}/login"), "example.com"), here("anonymous path")),
        ("path", get(format!("/t/{}/login", other.slug()), &mine), Rejection(ErrorKind::TenantConflict)),
        ("path escaped", get(format!("/%74/{}/login", other.slug()), &mine), Nobody),
        ("path escaped", get(format!("/t%2F{}/login", other.slug()), &mine), Nobody),
        ("path escaped", get(format!("/t/%{:x}{}/login", slug.as_bytes()[0], &slug[1..]), &mine), Nobody),
        ("path escaped", get("/%6cogin", &mine), Nobody),
        ("path odd", get(format!("//t/{}/login", other.slug()), &mine), Nobody),
        ("path odd", get(format!("/t/{}/../{slug}/login", other.slug()), &mine), Nobody),
        ("I88", from("nobody.example.com"), Rejection(ErrorKind::TenantUnknown)),
        ("I98 slash", get("/orders/", &mine).with("authorization", bearer(other)), Nobody),
        ("I100", get("/health", &mine), Open),
        ("I100", get("/health", "nobody@evil.com"), Open),
        ("I100", get("/health", "evil.com").with("x-tenant-id", slug), Open),
    ];
    for port in [":0", ":99999", ":80:90", ":abc", ":"] {
        rows.push(("I10 port", from(format!("{mine}{port}")), bad()));
    }
    for host in
        [format!("x.{mine}"), format!("{slug}.x.example.com"), format!(".{mine}"), ".example.com".to_owned()]
    {
        rows.push(("I12", from(host), bad()));
    }
    for host in [format!("{mine}.evil.com"), format!("{slug}.evil.com")] {
        rows.push(("I12", from(host), Rejection(ErrorKind::TenantMissing)));
    }
    for label in ["{}\u{ad}", "{}\u{200d}", "{}\u{ff0e}example.com", "\u{24d0}{}"] {
        rows.push(("I16", from(format!("{}.example.com", label.replace("{}", slug))), bad()));
    }
    for host in ["{}%2eexample.com", "{}%00.example.com", "{}_b.example.com", "-{}.example.com"] {
        rows.push(("I17 I18", from(host.replace("{}", slug)), bad()));
    }
    for host in [", {}", " {}", "/x", "?x", "#x", "\\", ";{}", ",{}"] {
        rows.push(("I20", from(format!("{mine}{}", host.replace("{}", &theirs))), bad()));
    }
    for host in [format!("{theirs}@{mine}"), format!("{mine}@{theirs}"), format!("http://{mine}")] {
        rows.push(("I20", from(host), bad()));
    }
    for (name, header) in [
        ("I21", "X-Forwarded-Host"),
        ("I22", "Forwarded"),
        ("I24", "X-Original-Host"),
        ("I24", "X-Host"),
        ("I24", "X-HTTP-Host-Override"),
        ("I24", "X-Forwarded-Server"),
        ("I36", "X_Tenant_Id"),
        ("I36", "X-Tenant"),
    ] {
        let value = match header {
            "Forwarded" => format!("for=10.0.0.7;host={theirs}"),
            "X_Tenant_Id" | "X-Tenant" => other.slug().to_string(),
            _ => theirs.clone(),
        };
        rows.push((name, from(&mine).with(header, value), here("anonymous host")));
    }
    // A peer that claims to be the proxy is still untrusted.
    let claims = from("example.com").with("x-forwarded-for", "10.0.0.7").with("forwarded", "for=10.0.0.7");
    rows.push(("I34", claims.with("x-tenant-id", slug), Rejection(ErrorKind::TenantMissing)));
    for method in ["HEAD", "OPTIONS", "POST", "PUT", "DELETE", "PATCH"] {
        let ask = get("/orders", &mine).with("x-http-method-override", "GET").method(method);
        rows.push(("I98", ask, Rejection(ErrorKind::CredentialMissing)));
    }
    rows.into_iter().map(|(name, ask, expected)| Row { name, ask, expected }).collect()
}

/// An empty gRPC message.
const EMPTY: &[u8] = &[0; 5];

impl RunningServer {
    /// The server's result, if it can receive the request at all: the path of a gRPC call names no tenant.
    async fn ask(&self, ask: &Ask) -> Option<Outcome> {
        if self.speaks == Speaks::Grpc && matches!(ask, Ask::Both { path, .. } if path.starts_with("/t/")) {
            return None;
        }
        Some(match self.speaks {
            Speaks::Http1 => http1(self.at, &ask.http1()?).await,
            Speaks::Http2 => http2(self.at, vec![ask.http2(false)?], None).await.remove(0),
            Speaks::Grpc => http2(self.at, vec![ask.http2(true)?], Some(EMPTY)).await.remove(0),
        })
    }

    /// The message of a response without the gRPC framing.
    fn text<'a>(&self, answer: &'a Answer) -> &'a str {
        match self.speaks {
            Speaks::Grpc => answer.body.get(EMPTY.len()..).unwrap_or_default(),
            _ => &answer.body,
        }
    }

    /// Whether a response is this error of the crate.
    fn refuses(&self, answer: &Answer, kind: ErrorKind, method: &str) -> bool {
        let problem = Problem::from(&Error::new(kind, ""));
        // A gRPC call is a POST, also for a GET in the table.
        if self.speaks == Speaks::Grpc && matches!(method, "GET" | "POST") {
            let status = answer.header("grpc-status").parse().ok();
            return (answer.status, status) == (200, Some(problem.grpc_code())) && answer.body.is_empty();
        }
        let typed = answer.header("content-type") == Problem::CONTENT_TYPE;
        answer.status == problem.status() && typed && (method == "HEAD" || answer.code() == kind.code())
    }

    /// Checks one row; `true` if the server itself rejected it.
    fn check(&self, row: &Row, outcome: &Outcome, tenant: &Tenant, other: &Tenant) -> bool {
        let told = format!("{}, {}: {outcome:?}", self.name, row.name);
        let Outcome::Answer(answer) = outcome else {
            assert!(matches!(row.expected, Rejection(_) | Nobody), "{told}");
            return true;
        };
        let text = self.text(answer);
        assert!(!text.contains(other.slug().as_str()), "{told}");
        // Responses of this crate stay out of shared caches.
        let unshared = || {
            assert_eq!(answer.header("cache-control"), "private, no-store", "{told}");
            assert_eq!(answer.header("vary"), "host, x-tenant-id, authorization", "{told}");
        };
        match &row.expected {
            Expected::Tenant(who) => {
                assert_eq!((answer.status, text), (200, who.as_str()), "{told}");
                unshared();
            }
            Rejection(kind) => {
                let method = if let Ask::Both { method, .. } = row.ask { method } else { "GET" };
                if !self.refuses(answer, *kind, method) {
                    assert!((400..500).contains(&answer.status) && answer.code().is_empty(), "{told}");
                    assert!(!text.contains(tenant.slug().as_str()), "{told}");
                    return true;
                }
                unshared();
            }
            Nobody => assert!(!text.contains(tenant.slug().as_str()), "{told}"),
            Open => assert_eq!((answer.status, text, answer.header("vary")), (200, "up", ""), "{told}"),
        }
        false
    }
}

/// The rows that a server rejects before any code of this crate runs.
fn rejected_by_itself(server: &RunningServer) -> &'static [&'static str] {
    match (server.speaks, server.name) {
        (Speaks::Http1, "actix-web") => &["I1", "I17 control", "I2", "I4", "folded", "no host"],
        (Speaks::Http1, _) => &["I17 control", "folded"],
        _ => &["I10 port", "I14", "I16", "I16 raw", "I17 I18", "I17 control", "I20", "I36 space", "I6 twice"],
    }
}

#[tokio::test]
async fn every_server_reaches_the_one_tenant_or_none() {
    let fixture = Fixture::new().await;
    let resolver = Arc::new(resolver(fixture.store.clone()));
    for server in start_all(&resolver, &TlsInfo::new()).await {
        let (mut asked, mut alone) = (0, BTreeSet::new());
        for (tenant, other) in fixture.both_sides() {
            for row in rows(tenant, other) {
                if let Some(outcome) = server.ask(&row.ask).await {
                    asked += 1;
                    if server.check(&row, &outcome, tenant, other) {
                        alone.insert(row.name);
                    }
                }
            }
        }
        assert!(asked > 150, "{}: only {asked} requests", server.name);
        assert_eq!(alone, rejected_by_itself(&server).iter().copied().collect(), "{}", server.name);
    }
}

#[tokio::test]
async fn a_trusted_peer_is_known_behind_every_server() {
    let fixture = Fixture::new().await;
    let resolver = Arc::new(resolver_behind(fixture.store.clone(), "127.0.0.0/8"));
    for server in start_all(&resolver, &TlsInfo::new()).await {
        for (tenant, other) in fixture.both_sides() {
            let slug = tenant.slug().as_str();
            let named = |host: &str| from(host).with("x-tenant-id", slug);
            let rows = [
                (named("example.com"), Expected::Tenant(format!("{slug} anonymous header"))),
                (named(&format!("{}.example.com", other.slug())), Rejection(ErrorKind::TenantConflict)),
                (named("example.com").with("x-tenant-id", slug), Rejection(ErrorKind::InvalidInput)),
            ];
            for (ask, expected) in rows {
                let row = Row { name: "trusted", ask, expected };
                let outcome = server.ask(&row.ask).await.unwrap();
                assert!(!server.check(&row, &outcome, tenant, other), "{}: {outcome:?}", server.name);
            }
        }
    }
}

#[tokio::test]
async fn one_connection_carries_no_tenant_over() {
    let fixture = Fixture::new().await;
    let resolver = Arc::new(resolver(fixture.store.clone()));
    for server in start_all(&resolver, &TlsInfo::new()).await {
        for (tenant, other) in fixture.both_sides() {
            let (mine, theirs) =
                (format!("{}.example.com", tenant.slug()), format!("{}.example.com", other.slug()));
            // I25, I90: nothing of one request is left for the next.
            let asks = [
                get("/orders", &mine).with("authorization", bearer(tenant)),
                from(&theirs),
                get("/orders", &mine),
                from(&mine),
            ];
            let expected = [
                format!("{} user:ada jwt", tenant.slug()),
                format!("{} anonymous host", other.slug()),
                "credential-missing".to_owned(),
                format!("{} anonymous host", tenant.slug()),
            ];
            let texts: Vec<String> = if server.speaks == Speaks::Http1 {
                let mut bytes: Vec<u8> = asks.iter().flat_map(|ask| ask.http1().unwrap()).collect();
                let text = String::from_utf8(bytes).unwrap();
                let (kept, last) = text.rsplit_once("GET").unwrap();
                bytes = format!("{}GET{last}", kept.replace("Connection: close\r\n", "")).into_bytes();
                let answer = socket_client::send(server.at, &bytes).await;
                answer.split("HTTP/1.1 ").skip(1).map(str::to_owned).collect()
            } else {
                let grpc = server.speaks == Speaks::Grpc;
                let requests = asks.iter().map(|ask| ask.http2(grpc).unwrap()).collect();
                let outcomes = http2(server.at, requests, grpc.then_some(EMPTY)).await;
                let text = |outcome| match outcome {
                    Outcome::Answer(answer) if answer.header("grpc-status") == "16" => {
                        "credential-missing".to_owned()
                    }
                    Outcome::Answer(answer) => answer.body,
                    Outcome::Broken => String::new(),
                };
                outcomes.into_iter().map(text).collect()
            };
            assert_eq!(texts.len(), 4, "{}: {texts:?}", server.name);
            for (text, expected) in texts.iter().zip(&expected) {
                assert!(text.contains(expected), "{}: {texts:?}", server.name);
            }
        }
    }
}

#[tokio::test]
async fn a_host_that_the_connection_was_not_made_for_is_misdirected() {
    let fixture = Fixture::new().await;
    let resolver = Arc::new(resolver(fixture.store.clone()));
    // I26: the TLS data of the connection applies to both tenants in turn.
    for (tenant, other) in fixture.both_sides() {
        let (mine, theirs) =
            (format!("{}.example.com", tenant.slug()), format!("{}.example.com", other.slug()));
        for server in start_all(&resolver, &TlsInfo::new().with_server_name(mine.clone())).await {
            let rows = [
                (from(&mine), Expected::Tenant(format!("{} anonymous host", tenant.slug()))),
                (from(&theirs), Rejection(ErrorKind::Misdirected)),
                (
                    get("/orders", &theirs).with("authorization", bearer(other)),
                    Rejection(ErrorKind::Misdirected),
                ),
            ];
            for (ask, expected) in rows {
                let row = Row { name: "I26", ask, expected };
                let outcome = server.ask(&row.ask).await.unwrap();
                assert!(!server.check(&row, &outcome, tenant, other), "{}: {outcome:?}", server.name);
            }
        }
    }
}

#[tokio::test]
async fn a_client_of_grpc_is_rejected_with_a_status_it_knows() {
    let fixture = Fixture::new().await;
    let routes = http_servers::grpc::routes(Arc::new(resolver(fixture.store.clone())));
    let ask = async |origin: &str, path: &'static str, token: Option<String>| {
        let mut client = tonic::client::Grpc::with_origin(routes.clone(), origin.parse().unwrap());
        client.ready().await.unwrap();
        let mut request = tonic::Request::new(String::new());
        if let Some(token) = token {
            request.metadata_mut().insert("authorization", token.parse().unwrap());
        }
        let path = PathAndQuery::from_static(path);
        client.unary(request, path, http_servers::grpc::Text).await.map(tonic::Response::into_inner)
    };
    for (tenant, other) in fixture.both_sides() {
        let origin = format!("http://{}.example.com", tenant.slug());
        let answer = ask(&origin, "/orders/Who", Some(bearer(tenant))).await;
        assert_eq!(answer.unwrap(), format!("{} user:ada jwt", tenant.slug()));
        let rows = [
            (ask(&origin, "/orders/Who", None).await, tonic::Code::Unauthenticated),
            (
                ask(&origin, "/orders/Who", Some("Bearer x.y.z".to_owned())).await,
                tonic::Code::Unauthenticated,
            ),
            (ask(&origin, "/orders/Who", Some(bearer(other))).await, tonic::Code::PermissionDenied),
            (ask("http://nobody.example.com", "/login/Who", None).await, tonic::Code::NotFound),
            (ask("http://example.com", "/login/Who", None).await, tonic::Code::InvalidArgument),
        ];
        for (answer, code) in rows {
            let status = answer.unwrap_err();
            assert_eq!(status.code(), code, "{status:?}");
            assert!(
                !status.message().is_empty() && !status.message().contains(other.slug().as_str()),
                "{status:?}"
            );
        }
    }
}
