//! What arrives when `StripeClient` reads from `/v2`, and what it makes of the responses.

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};

use axum::http::{Method, StatusCode, Uri};
use serde_json::json;
use tenancy::ErrorKind;
use tenancy::billing::stripe::{ApiRequest, StripeApi, StripeClient};

const PATH: &str = "/v2/core/events/evt_1";

/// Serves one response to every request. Returns its URL, and the requests.
async fn server(status: u16, body: &'static str) -> (String, Arc<Mutex<Vec<String>>>) {
    let requests = Arc::<Mutex<Vec<String>>>::default();
    let seen = requests.clone();
    let handler = async move |method: Method, uri: Uri, headers: axum::http::HeaderMap| {
        let header = |name: &str| headers.get(name).map_or("-", |value| value.to_str().unwrap()).to_owned();
        let (key, version) = (header("authorization"), header("stripe-version"));
        seen.lock().unwrap().push(format!("{method} {uri} {key} {version}"));
        (StatusCode::from_u16(status).unwrap(), body)
    };
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let router = axum::Router::new().fallback(handler);
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    (url, requests)
}

#[tokio::test]
async fn a_read_from_v2_arrives_at_its_path() {
    let (url, requests) = server(200, r#"{ "id": "evt_1" }"#).await;
    let client = StripeClient::with_url("sk_test_v2", &url).unwrap();
    let event = client.send(&ApiRequest::get(PATH, json!({}))).await.unwrap();
    assert_eq!(event, json!({ "id": "evt_1" }));
    client.send(&ApiRequest::get("/v1/prices", json!({ "limit": 1 }))).await.unwrap();
    let requests = requests.lock().unwrap().clone();
    assert_eq!(requests[0], format!("GET {PATH} Bearer sk_test_v2 2026-10-28.endive"));
    assert!(requests[1].starts_with("GET /v1/prices?limit=1 Bearer sk_test_v2 "), "{}", requests[1]);
    assert_eq!(requests.len(), 2);
    for request in [
        ApiRequest::get(PATH, json!({ "limit": 1 })),
        ApiRequest::post(PATH, json!({}), "key"),
        ApiRequest::get("/v3/x", json!({})),
    ] {
        assert_eq!(client.send(&request).await.unwrap_err().kind(), ErrorKind::Misconfigured, "{request:?}");
    }
    assert!(!format!("{client:?}").contains("sk_test_v2"));
}

#[tokio::test]
async fn each_failure_of_v2_has_the_kind_of_v1() {
    let error =
        r#"{ "error": { "code": "a_code", "message": "a message", "type": "invalid_request_error" } }"#;
    for (status, body, kind, attempts) in [
        (
            404,
            r#"{ "error": { "code": "resource_missing", "message": "none", "type": "invalid_request_error" } }"#,
            ErrorKind::NotFound,
            1,
        ),
        (401, error, ErrorKind::Misconfigured, 1),
        (403, error, ErrorKind::Misconfigured, 1),
        (400, error, ErrorKind::BillingRejected, 1),
        (429, error, ErrorKind::BillingUnavailable, 3),
        (503, "busy", ErrorKind::BillingUnavailable, 3),
        (200, "no JSON", ErrorKind::BillingUnavailable, 3),
    ] {
        for path in [PATH, "/v1/meters"] {
            let (url, requests) = server(status, body).await;
            let client = StripeClient::with_url("sk_test_v2", url).unwrap();
            let error = client.send(&ApiRequest::get(path, json!({}))).await.unwrap_err();
            assert_eq!(error.kind(), kind, "{status} {path}: {error}");
            assert_eq!(requests.lock().unwrap().len(), attempts, "{status} {path}");
            if kind == ErrorKind::BillingRejected {
                assert!(error.to_string().ends_with("a_code: a message"), "{error}");
            }
        }
    }
    let closed = StripeClient::with_url("sk_test_v2", "http://127.0.0.1:9").unwrap();
    let error = closed.send(&ApiRequest::get(PATH, json!({}))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BillingUnavailable);
}
