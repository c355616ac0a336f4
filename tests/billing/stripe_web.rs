//! The webhook over HTTP: axum, a plain service of tower and actix-web give the same responses.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use actix_web::test::{TestRequest, call_service, init_service, read_body};
use actix_web::web::resource;
use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full, StreamBody};
use serde_json::{Value, json};
use sqlx::Postgres;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use tenancy::billing::stripe::{Mode, SigningSecrets, StripeWebhook, sign};
use tenancy::clock::Clock;
use tenancy::plan::Catalog;
use tenancy::store::SqlStore;
use tenancy::tenant::{NewTenant, Slug, TenantId, TenantStatus, TenantStore};
use tenancy::web::{StripeWebhookService, stripe_webhook_route};
use tower::ServiceExt;

use crate::common::TestBackend;
use crate::stripe_fixture::{Fixture, PLANS, SECRET, created, event, stamped, subscription};

/// A request: its method, the values of the signature header, and its body.
#[derive(Clone)]
struct Sent {
    method: &'static str,
    signatures: Vec<String>,
    body: Vec<u8>,
}

/// The status, the content type and the body of a response.
type Got = (u16, Option<String>, String);

async fn got<B: http_body::Body<Data = Bytes>>(response: Response<B>) -> Got
where
    B::Error: std::fmt::Debug,
{
    let kind = content_type(response.headers());
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, kind, String::from_utf8(body.to_vec()).unwrap())
}

fn content_type(headers: &HeaderMap) -> Option<String> {
    headers.get("content-type").map(|kind| kind.to_str().unwrap().to_owned())
}

fn request<B>(sent: &Sent, body: B) -> Request<B> {
    let mut request = Request::builder().method(sent.method).uri("/webhooks/stripe");
    for signature in &sent.signatures {
        request = request.header("stripe-signature", signature);
    }
    request.body(body).unwrap()
}

async fn by_axum(webhook: &StripeWebhook, sent: &Sent) -> Got {
    let service = StripeWebhookService::new(webhook.clone());
    let router = axum::Router::new().route_service("/webhooks/stripe", service);
    got(router.oneshot(request(sent, Body::from(sent.body.clone()))).await.unwrap()).await
}

/// In pieces, as a body arrives.
async fn by_tower(webhook: &StripeWebhook, sent: &Sent) -> Got {
    let pieces: Vec<_> = sent
        .body
        .chunks(1000)
        .map(|piece| Ok::<_, Infallible>(http_body::Frame::data(Bytes::copy_from_slice(piece))))
        .collect();
    let body = StreamBody::new(futures_util::stream::iter(pieces));
    got(StripeWebhookService::new(webhook.clone()).oneshot(request(sent, body)).await.unwrap()).await
}

async fn by_actix(webhook: &StripeWebhook, sent: &Sent) -> Got {
    let route = resource("/webhooks/stripe").route(stripe_webhook_route(webhook.clone()));
    let app = init_service(actix_web::App::new().service(route)).await;
    let mut request = TestRequest::with_uri("/webhooks/stripe").method(sent.method.parse().unwrap());
    for signature in &sent.signatures {
        request = request.append_header(("stripe-signature", signature.as_str()));
    }
    let response = call_service(&app, request.set_payload(sent.body.clone()).to_request()).await;
    let kind = response.headers().get("content-type").map(|kind| kind.to_str().unwrap().to_owned());
    (response.status().as_u16(), kind, String::from_utf8(read_body(response).await.to_vec()).unwrap())
}

fn signed(fixture: &Fixture, body: Vec<u8>) -> Sent {
    Sent { method: "POST", signatures: vec![sign(SECRET, &body, fixture.clock.now())], body }
}

fn received(outcome: &str) -> Got {
    (200, Some("application/json".to_owned()), json!({ "received": outcome }).to_string())
}

#[tokio::test]
async fn each_framework_gives_the_same_response() {
    let empty = |status| (status, None, String::new());
    let mut seen = BTreeMap::<&str, Vec<Got>>::new();
    for framework in ["axum", "tower", "actix"] {
        let fixture = Fixture::new().await;
        let webhook = &fixture.webhook;
        let send = async |sent: &Sent| match framework {
            "axum" => by_axum(webhook, sent).await,
            "tower" => by_tower(webhook, sent).await,
            _ => by_actix(webhook, sent).await,
        };
        let object = stamped(subscription("sub_1", "cus_1", "active", "price_pro"), "acme");
        let good = signed(&fixture, created("e1", 1, &object).to_string().into_bytes());
        let unknown = signed(
            &fixture,
            created("e2", 1, &subscription("sub_9", "cus_9", "active", "price_pro")).to_string().into_bytes(),
        );
        let other = signed(&fixture, event("e3", 1, "payout.paid", &json!({})).to_string().into_bytes());
        let thin =
            json!({ "id": "evt_1", "object": "v2.core.event", "type": "v1.customer.subscription.updated" });
        let twice = Sent { signatures: vec![good.signatures[0].clone(); 2], ..good.clone() };
        let cases: Vec<(&str, Sent, Got)> = vec![
            ("applied", good.clone(), received("applied")),
            ("duplicate", good.clone(), received("duplicate")),
            ("quarantined", unknown, received("quarantined")),
            ("ignored", other, received("ignored")),
            ("without a signature", Sent { signatures: Vec::new(), ..good.clone() }, empty(400)),
            ("two signatures", twice, empty(400)),
            ("a changed body", Sent { body: b"{}".to_vec(), ..good.clone() }, empty(400)),
            ("a thin event", signed(&fixture, thin.to_string().into_bytes()), empty(422)),
            ("a long body", signed(&fixture, vec![b' '; (1 << 20) + 1]), empty(413)),
        ];
        for (name, sent, wanted) in cases {
            let got = send(&sent).await;
            assert_eq!(got, wanted, "{framework}: {name}");
            seen.entry(name).or_default().push(got);
        }
        let (status, ..) = send(&Sent { method: "GET", ..good.clone() }).await;
        // actix-web has no such route.
        assert!(matches!((framework, status), ("actix", 404 | 405) | (_, 405)), "{framework}: {status}");
        assert_eq!(fixture.acme().await.0, "pro");
    }
    assert!(seen.values().all(|all| all.len() == 3 && all.iter().all(|one| *one == all[0])), "{seen:?}");
}

/// A body that breaks off was not received: nothing is stored, and the sender repeats it.
#[tokio::test]
async fn a_body_that_breaks_off_changes_nothing() {
    let fixture = Fixture::new().await;
    let body =
        created("e1", 1, &stamped(subscription("sub_1", "cus_1", "active", "price_pro"), "acme")).to_string();
    let sent = signed(&fixture, body.into_bytes());
    let broken = StreamBody::new(futures_util::stream::iter([
        Ok(http_body::Frame::data(Bytes::copy_from_slice(&sent.body[..20]))),
        Err(std::io::Error::other("the connection broke")),
    ]));
    let service = StripeWebhookService::new(fixture.webhook.clone());
    let response = service.oneshot(request(&sent, broken)).await.unwrap();
    assert_eq!(response.status(), 400);
    assert_eq!((fixture.acme().await.0.as_str(), fixture.quarantined()), ("free", 0));
    let whole = StripeWebhookService::new(fixture.webhook.clone());
    let response = whole.oneshot(request(&sent, Full::new(Bytes::from(sent.body.clone())))).await.unwrap();
    assert_eq!(response.status(), 200);
    let _: Value = serde_json::from_slice(&response.into_body().collect().await.unwrap().to_bytes()).unwrap();
}

/// Passes connections on to a server, until it is dropped.
struct Link(tokio::task::JoinHandle<()>);

impl Link {
    async fn new(from: std::net::SocketAddr, to: String) -> (Self, std::net::SocketAddr) {
        let listener = tokio::net::TcpListener::bind(from).await.unwrap();
        let at = listener.local_addr().unwrap();
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let (mut client, _) = listener.accept().await.unwrap();
                let to = to.clone();
                connections.spawn(async move {
                    let mut server = tokio::net::TcpStream::connect(to).await.unwrap();
                    let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
                });
            }
        });
        (Self(task), at)
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// While PostgreSQL cannot be reached, the response is 503, and Stripe sends the event again. Then it is applied, once.
#[tokio::test]
async fn an_event_during_an_outage_is_applied_by_a_later_delivery() {
    let fixture = Fixture::new().await;
    let (url, _cleanup) = Postgres::fresh_url().await;
    let options: PgConnectOptions = url.parse().unwrap();
    let server = format!("{}:{}", options.get_host(), options.get_port());
    let (link, at) = Link::new(([127, 0, 0, 1], 0).into(), server.clone()).await;
    let pool = PgPoolOptions::new()
        .acquire_timeout(Duration::from_secs(1))
        .connect_with(options.host("127.0.0.1").port(at.port()))
        .await
        .unwrap();
    let store = Arc::new(SqlStore::new(pool));
    store.migrate().await.unwrap();
    for name in ["acme", "globex"] {
        let id = TenantId::parse(name).unwrap();
        let tenant = NewTenant::new(Slug::parse(name).unwrap(), name, "free").id(id);
        store.insert(tenant.status(TenantStatus::Active)).await.unwrap();
    }
    let webhook = StripeWebhook::new(
        SigningSecrets::new([SECRET]).unwrap(),
        Mode::Test,
        store.clone(),
        Catalog::from_toml(PLANS).unwrap(),
        store.clone(),
    )
    .with_clock(fixture.clock.clone());
    let object = stamped(subscription("sub_1", "cus_1", "active", "price_pro"), "acme");
    let event = signed(&fixture, created("e1", 1, &object).to_string().into_bytes());
    drop(link);
    for send in 0..3 {
        let got = match send {
            0 => by_axum(&webhook, &event).await,
            1 => by_tower(&webhook, &event).await,
            _ => by_actix(&webhook, &event).await,
        };
        assert_eq!(got, (503, None, String::new()), "{send}");
    }
    let (_link, _) = Link::new(at, server).await;
    assert_eq!(by_axum(&webhook, &event).await, received("applied"));
    assert_eq!(by_axum(&webhook, &event).await, received("duplicate"));
    let plans = ["acme", "globex"].map(|name| TenantId::parse(name).unwrap());
    let mut seen = Vec::new();
    for id in &plans {
        seen.push(store.by_id(id).await.unwrap().unwrap().plan().to_owned());
    }
    assert_eq!(seen, ["pro", "free"]);
}
