//! The HTTP side: authentication, idempotency keys, planned faults, and the forms of the pages.

use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::extract::{Request, State as Extract};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{Html, IntoResponse, Redirect, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::deliveries::Shared;
use super::events::API_VERSION;
use super::failure::{Failure, Reply};
use super::options::Fault;
use super::pages::message;
use super::params::Params;
use super::purchases::PaidWith;
use super::routes::route;
use super::state::{State, StoredReply};

/// The longest body of a request.
const MAX_BODY: usize = 1 << 20;

/// A call of the API or of a page.
struct Call {
    method: Method,
    path: String,
    query: String,
    body: String,
    headers: HeaderMap,
}

impl Call {
    async fn read(request: Request) -> Option<Self> {
        let (parts, body) = request.into_parts();
        let body = to_bytes(body, MAX_BODY).await.ok()?;
        Some(Self {
            method: parts.method,
            path: parts.uri.path().to_owned(),
            query: parts.uri.query().unwrap_or_default().to_owned(),
            body: String::from_utf8(body.to_vec()).ok()?,
            headers: parts.headers,
        })
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    fn params(&self) -> Result<Params, Failure> {
        let both = [self.query.as_str(), self.body.as_str()];
        Params::parse(&both.into_iter().filter(|form| !form.is_empty()).collect::<Vec<_>>().join("&"))
    }

    /// Whether the call has a test key, as a bearer token or as the user name of basic authentication.
    fn is_authorized(&self) -> bool {
        let is_key = |key: &str| key.starts_with("sk_test_") || key.starts_with("rk_test_");
        let Some((scheme, value)) = self.header("authorization").and_then(|value| value.split_once(' '))
        else {
            return false;
        };
        match scheme {
            "Bearer" => is_key(value.trim()),
            "Basic" => STANDARD.decode(value.trim()).is_ok_and(|user| user.starts_with(b"sk_test_")),
            _ => false,
        }
    }
}

/// Handles every request.
pub(super) async fn serve(Extract(shared): Extract<Arc<Shared>>, request: Request) -> Response {
    let Some(call) = Call::read(request).await else {
        return json(
            400,
            &Failure::invalid("The body is too long or not UTF-8.").body(),
            "req_unread",
            false,
        );
    };
    let parts: Vec<&str> = call.path.trim_matches('/').split('/').collect();
    match parts[..] {
        ["c", "pay", id] => checkout(&shared, &call, id),
        ["p", "session", id] => portal(&shared, &call, id),
        _ => api(&shared, &call, &parts),
    }
}

fn api(shared: &Arc<Shared>, call: &Call, path: &[&str]) -> Response {
    shared.change(|state| {
        let request = state.id("req");
        if !call.is_authorized() {
            return json(401, &Failure::unauthorized().body(), &request, false);
        }
        let fault = planned(state, &call.path);
        if fault == Some(Fault::BeforeEffect) {
            return json(500, &Failure::planned().body(), &request, false);
        }
        let (status, body, replayed) = match idempotent(state, call, path, &request) {
            Ok(reply) => reply,
            Err(failure) => (failure.status, failure.body(), false),
        };
        if fault.is_some() {
            return json(500, &Failure::planned().body(), &request, false);
        }
        json(status, &body, &request, replayed)
    })
}

/// The stored reply of the idempotency key, or the reply of the call.
fn idempotent(
    state: &mut State,
    call: &Call,
    path: &[&str],
    request: &str,
) -> Result<(u16, Value, bool), Failure> {
    let params = call.params()?;
    let key = call.header("idempotency-key").filter(|_| call.method == Method::POST).map(str::to_owned);
    let fingerprint = format!("{} {}", call.path, params.fingerprint());
    if let Some(key) = &key
        && let Some(stored) = state.replies.get(key)
    {
        if stored.call != fingerprint {
            return Err(Failure::idempotency(key));
        }
        return Ok((stored.status, stored.body.clone(), true));
    }
    state.request = Some((request.to_owned(), key.clone()));
    let reply: Reply = route(state, call.method.as_str(), path, &params).and_then(|mut reply| {
        state.expand(&mut reply, &params)?;
        Ok(reply)
    });
    state.request = None;
    let (status, body) = match reply {
        Ok(body) => (200, body),
        Err(failure) => (failure.status, failure.body()),
    };
    // As at Stripe, a call that failed its validation can be corrected and repeated with the same key.
    if let Some(key) = key.filter(|_| status == 200 || status == 402) {
        state.store_reply(key, StoredReply { call: fingerprint, status, body: body.clone() });
    }
    Ok((status, body, false))
}

/// Uses up one planned fault of this path.
fn planned(state: &mut State, path: &str) -> Option<Fault> {
    let planned = state.faults.iter_mut().find(|fault| fault.left > 0 && path.starts_with(&fault.path))?;
    planned.left -= 1;
    Some(planned.fault)
}

fn json(status: u16, body: &Value, request: &str, replayed: bool) -> Response {
    let response = Response::builder()
        .status(status)
        .header(header::CONTENT_TYPE, "application/json")
        .header("request-id", request)
        .header("stripe-version", API_VERSION)
        .header("stripe-should-retry", if status >= 500 { "true" } else { "false" });
    let response = if replayed { response.header("idempotent-replayed", "true") } else { response };
    response.body(Body::from(body.to_string())).unwrap_or_default()
}

fn checkout(shared: &Arc<Shared>, call: &Call, id: &str) -> Response {
    if call.method != Method::POST {
        return page(shared.change(|state| state.checkout_page(id)));
    }
    let paid = shared.change(|state| {
        let form = call.params()?;
        let session = state.find("checkout.session", id, "id")?;
        let target =
            |field: &str| session[field].as_str().map(|url| url.replace("{CHECKOUT_SESSION_ID}", id));
        let (success, cancel) = (target("success_url"), target("cancel_url"));
        let with = match form.required("action")? {
            "card" => PaidWith::Card,
            "later" => PaidWith::FailingLater,
            "debit" => PaidWith::Debit { succeeds: true },
            "debit_fails" => PaidWith::Debit { succeeds: false },
            "cancel" => return Ok(cancel),
            _ => return Err(Failure::invalid("The checkout has no such button.").param("action")),
        };
        state.pay_session(id, with)?;
        Ok(success)
    });
    match paid {
        Ok(Some(url)) => Redirect::to(&url).into_response(),
        Ok(None) => {
            Html(message("The payment was canceled. The checkout session stays open.")).into_response()
        }
        Err(failure) => page(Err(failure)),
    }
}

fn portal(shared: &Arc<Shared>, call: &Call, id: &str) -> Response {
    if call.method != Method::POST {
        return page(shared.change(|state| state.portal_page(id)));
    }
    match shared.change(|state| call.params().and_then(|form| state.use_portal(id, &form))) {
        Ok(()) => Redirect::to(&call.path).into_response(),
        Err(failure) => page(Err(failure)),
    }
}

fn page(page: Result<String, Failure>) -> Response {
    match page {
        Ok(page) => Html(page).into_response(),
        Err(failure) => {
            let text = failure.body()["error"]["message"].as_str().unwrap_or_default().to_owned();
            let status = StatusCode::from_u16(failure.status).unwrap_or(StatusCode::BAD_REQUEST);
            (status, Html(message(&text))).into_response()
        }
    }
}
