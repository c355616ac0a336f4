//! `I26`: the SNI name and the client certificate of a real handshake hold for each request on the connection.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::Request;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tenancy::ErrorKind;
use tenancy::context::{Actor, TenantDirectory};
use tenancy::plan::Catalog;
use tenancy::resolve::{CertificateSource, HostSource, Identity, Resolver, TlsInfo};
use tenancy::tenant::{Slug, Tenant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::{CryptoProvider, aws_lc_rs};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig, ServerConnection};
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tower::{ServiceExt, service_fn};
use webpki::EndEntityCert;

use crate::fixture::{self, Fixture};

// Generated with openssl for these tests, valid for a hundred years. The authority's key was deleted.
const AUTHORITY: &str = include_str!("tls/authority.crt.pem");
/// For `*.example.com`, with which a browser reuses one connection for both tenants.
const SERVER: Pair = (include_str!("tls/server.crt.pem"), include_str!("tls/server.pem"));
const ACME: Pair = (include_str!("tls/acme-worker.crt.pem"), include_str!("tls/acme-worker.pem"));
const GLOBEX: Pair = (include_str!("tls/globex-worker.crt.pem"), include_str!("tls/globex-worker.pem"));
/// A self-signed certificate with the names of acme's.
const FORGED: Pair = (include_str!("tls/forged-worker.crt.pem"), include_str!("tls/forged-worker.pem"));

type Pair = (&'static str, &'static str);

const HTTP1: &[u8] = b"http/1.1";
const HTTP2: &[u8] = b"h2";

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

fn authority() -> Arc<RootCertStore> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(AUTHORITY.as_bytes()).unwrap()).unwrap();
    Arc::new(roots)
}

fn pair((certificate, key): Pair) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
    let certificate = CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap();
    (vec![certificate], PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap())
}

/// The TLS data that an accept loop provides.
fn info(connection: &ServerConnection) -> TlsInfo {
    let mut info = TlsInfo::new();
    if let Some(name) = connection.server_name() {
        info = info.with_server_name(name);
    }
    // The handshake has verified the certificate.
    let Some(certificate) = connection.peer_certificates().and_then(<[_]>::first) else { return info };
    let certificate = EndEntityCert::try_from(certificate).unwrap();
    let names = certificate.valid_dns_names().chain(certificate.valid_uri_names());
    names.fold(info, TlsInfo::with_name)
}

async fn serve(fixture: &Fixture) -> SocketAddr {
    let verifier = WebPkiClientVerifier::builder_with_provider(authority(), provider());
    let (certificate, key) = pair(SERVER);
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier.allow_unauthenticated().build().unwrap())
        .with_single_cert(certificate, key)
        .unwrap();
    config.alpn_protocols = vec![HTTP2.to_vec(), HTTP1.to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let app = app(fixture);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            let (acceptor, app) = (acceptor.clone(), app.clone());
            tokio::spawn(async move {
                // One test makes the handshake fail.
                let Ok(stream) = acceptor.accept(socket).await else { return };
                let tls = info(stream.get_ref().1);
                let routes = service_fn(move |mut request: Request<Incoming>| {
                    request.extensions_mut().insert(tls.clone());
                    app.clone().oneshot(request)
                });
                let connection = Builder::new(TokioExecutor::new());
                drop(
                    connection.serve_connection(TokioIo::new(stream), TowerToHyperService::new(routes)).await,
                );
            });
        }
    });
    at
}

fn app(fixture: &Fixture) -> Router {
    let catalog =
        "version = 1\n[features]\nsso = { kind = \"flag\" }\n[plans.free]\nfeatures = { sso = false }";
    let directory =
        TenantDirectory::new(fixture.store.clone(), Arc::new(Catalog::from_toml(catalog).unwrap()));
    let certificates = CertificateSource::new(|name| {
        let (tenant, service) = name.strip_prefix("spiffe://example.com/")?.split_once('/')?;
        Some(Identity::new(Actor::service(service)).tenant(Slug::parse(tenant).ok()?))
    });
    let hosts = HostSource::new(["example.com"]).unwrap().require_sni_match();
    fixture::app(Arc::new(Resolver::new(directory).source(hosts).source(certificates)))
}

/// A client with its TLS configuration and its protocol.
struct Client {
    config: ClientConfig,
    at: SocketAddr,
}

impl Client {
    fn new(at: SocketAddr, speaks: &[u8], certificate: Option<Pair>) -> Self {
        let config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(authority());
        let mut config = match certificate.map(pair) {
            Some((certificate, key)) => config.with_client_auth_cert(certificate, key).unwrap(),
            None => config.with_no_client_auth(),
        };
        config.alpn_protocols = vec![speaks.to_vec()];
        Self { config, at }
    }

    fn without_server_name(mut self) -> Self {
        self.config.enable_sni = false;
        self
    }

    /// Requests these hosts in turn on one connection that was made for `host`. Returns status and body of each, or
    /// nothing if the server closed the connection.
    async fn ask(&self, host: &str, path: &str, hosts: &[&str]) -> Vec<(u16, String)> {
        let exchange = async {
            let socket = TcpStream::connect(self.at).await.unwrap();
            let name = ServerName::try_from(host.to_owned()).unwrap();
            let connector = TlsConnector::from(Arc::new(self.config.clone()));
            let stream = connector.connect(name, socket).await.expect("the server's certificate is good");
            let speaks = self.config.alpn_protocols[0].as_slice();
            assert_eq!(stream.get_ref().1.alpn_protocol(), Some(speaks));
            if speaks == HTTP2 {
                by_http2(stream, path, hosts).await
            } else {
                by_http1(stream, path, hosts).await
            }
        };
        timeout(Duration::from_secs(20), exchange).await.expect("the server answers or closes")
    }
}

async fn by_http1(mut stream: TlsStream<TcpStream>, path: &str, hosts: &[&str]) -> Vec<(u16, String)> {
    let head = |host: &&str| format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n");
    let requests: Vec<String> = hosts.iter().map(head).collect();
    let requests = requests.join("\r\n") + "Connection: close\r\n\r\n";
    let mut answers = Vec::new();
    // A server that rejects the certificate closes the connection at any point.
    let _ = stream.write_all(requests.as_bytes()).await;
    let _ = stream.read_to_end(&mut answers).await;
    let answers = String::from_utf8(answers).unwrap();
    let answer = |text: &str| {
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        (head[..3].parse().unwrap(), body.to_owned())
    };
    answers.split("HTTP/1.1 ").skip(1).map(answer).collect()
}

async fn by_http2(stream: TlsStream<TcpStream>, path: &str, hosts: &[&str]) -> Vec<(u16, String)> {
    let Ok((mut client, connection)) = h2::client::handshake(stream).await else {
        return Vec::new();
    };
    tokio::spawn(connection);
    let mut answers = Vec::new();
    for host in hosts {
        let request = Request::get(format!("https://{host}{path}")).body(()).unwrap();
        if std::future::poll_fn(|context| client.poll_ready(context)).await.is_err() {
            break;
        }
        let Ok((response, _)) = client.send_request(request, true) else { break };
        let Ok(response) = response.await else { break };
        let (parts, mut incoming) = response.into_parts();
        let mut body = Vec::new();
        while let Some(chunk) = incoming.data().await {
            body.extend_from_slice(&chunk.unwrap());
        }
        answers.push((parts.status.as_u16(), String::from_utf8(body).unwrap()));
    }
    answers
}

fn host_of(tenant: &Tenant) -> String {
    format!("{}.example.com", tenant.slug())
}

fn assert_code((status, body): &(u16, String), expected: u16, kind: ErrorKind) {
    assert_eq!(*status, expected, "{body}");
    assert!(body.contains(&format!("urn:problem-type:tenancy:{}\"", kind.code())), "{body}");
}

#[tokio::test]
async fn i26_a_request_for_another_host_than_that_of_the_handshake_is_misdirected() {
    let fixture = Fixture::new().await;
    let at = serve(&fixture).await;
    for speaks in [HTTP1, HTTP2] {
        let client = Client::new(at, speaks, None);
        for (tenant, other) in fixture.both_sides() {
            let (mine, theirs) = (host_of(tenant), host_of(other));
            let with_port = format!("{mine}:8443");
            let hosts = [&*mine, &theirs, &mine, &with_port, "nobody.example.com", &mine];
            let answers = client.ask(&mine, "/login", &hosts).await;
            assert_eq!(answers.len(), hosts.len(), "I26: {answers:?}");
            for (host, answer) in hosts.iter().zip(&answers) {
                if host.starts_with(&mine) {
                    assert_eq!(*answer, (200, format!("{} anonymous host", tenant.slug())), "I26");
                } else {
                    assert_code(answer, 421, ErrorKind::Misdirected);
                }
                assert!(!answer.1.contains(other.slug().as_str()), "I26: {answer:?}");
            }
        }
    }
}

#[tokio::test]
async fn without_a_name_in_the_handshake_the_host_alone_decides() {
    let fixture = Fixture::new().await;
    let at = serve(&fixture).await;
    for speaks in [HTTP1, HTTP2] {
        let client = Client::new(at, speaks, None).without_server_name();
        for (tenant, other) in fixture.both_sides() {
            let (mine, theirs) = (host_of(tenant), host_of(other));
            let answers = client.ask(&mine, "/login", &[&mine, &theirs]).await;
            let expected = [tenant, other].map(|tenant| (200, format!("{} anonymous host", tenant.slug())));
            assert_eq!(answers, expected);
        }
    }
}

#[tokio::test]
async fn a_certificate_proves_its_own_tenant() {
    let fixture = Fixture::new().await;
    let at = serve(&fixture).await;
    for speaks in [HTTP1, HTTP2] {
        for ((tenant, other), certificate) in fixture.both_sides().into_iter().zip([ACME, GLOBEX]) {
            let (mine, theirs) = (host_of(tenant), host_of(other));
            let client = Client::new(at, speaks, Some(certificate));
            let answers = client.ask(&mine, "/orders", &[&mine, &theirs]).await;
            assert_eq!(answers[0], (200, format!("{} service:worker certificate", tenant.slug())));
            assert_code(&answers[1], 421, ErrorKind::Misdirected);
            // The other tenant's host, over a connection that was made for it.
            assert_code(&client.ask(&theirs, "/orders", &[&theirs]).await[0], 403, ErrorKind::TenantConflict);
            // A client without a certificate is unauthenticated, also right after a client with one.
            let nobody = Client::new(at, speaks, None).ask(&mine, "/orders", &[&mine]).await;
            assert_code(&nobody[0], 401, ErrorKind::CredentialMissing);
        }
    }
}

#[tokio::test]
async fn a_certificate_of_an_unknown_authority_reaches_no_route() {
    let fixture = Fixture::new().await;
    let at = serve(&fixture).await;
    for speaks in [HTTP1, HTTP2] {
        for tenant in [&fixture.acme, &fixture.globex] {
            let host = host_of(tenant);
            let forged = Client::new(at, speaks, Some(FORGED));
            assert_eq!(forged.ask(&host, "/login", &[&host]).await, [], "{host}");
        }
    }
}
