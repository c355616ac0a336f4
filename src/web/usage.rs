//! [`UsageResponse`]: a [`UsageSnapshot`] as JSON with an `ETag`.

use crate::plan::fnv1a;
use crate::quota::UsageSnapshot;

/// The response to `GET` of a tenant's plan and usage: JSON with an `ETag`, or 304 if the client has it already.
///
/// With axum; in actix-web, `request.headers().get("if-none-match")` is the second argument.
///
/// ```
/// # #[cfg(feature = "axum")] {
/// use axum::{extract::State, http::HeaderMap};
/// use tenancy::{TenantContext, quota::Quotas, web::UsageResponse};
///
/// async fn usage(
///     State(quotas): State<Quotas>,
///     ctx: TenantContext,
///     headers: HeaderMap,
/// ) -> tenancy::Result<UsageResponse> {
///     let if_none_match = headers.get("if-none-match").map(|value| value.as_bytes());
///     Ok(UsageResponse::new(&quotas.snapshot(&ctx).await?, if_none_match))
/// }
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct UsageResponse {
    etag: String,
    /// `None` if the client has it already.
    json: Option<Vec<u8>>,
}

impl UsageResponse {
    /// The response to a request with this `If-None-Match`.
    pub fn new(snapshot: &UsageSnapshot, if_none_match: Option<&[u8]>) -> Self {
        let json = serde_json::json!(snapshot).to_string();
        let etag = etag(&json);
        let is_known = if_none_match.is_some_and(|value| matches(value, &etag));
        Self { etag, json: (!is_known).then(|| json.into_bytes()) }
    }

    /// 200, or 304 if the client has the snapshot already.
    pub fn status(&self) -> u16 {
        if self.json.is_some() { 200 } else { 304 }
    }

    /// The body; `None` with 304.
    pub fn json(&self) -> Option<&[u8]> {
        self.json.as_deref()
    }

    pub(super) fn into_json(self) -> Vec<u8> {
        self.json.unwrap_or_default()
    }

    /// The headers.
    ///
    /// The response is for this tenant alone: `Cache-Control: private, no-cache` lets the browser keep it, and ask with
    /// its `ETag` each time.
    pub fn headers(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let kind = self.json.as_ref().map(|_| ("content-type", "application/json"));
        [("etag", self.etag.as_str()), ("cache-control", "private, no-cache")].into_iter().chain(kind)
    }
}

/// A strong tag: the hash of the body. Only the tenant itself decides what is hashed.
fn etag(json: &str) -> String {
    format!("\"{:016x}-{:x}\"", fnv1a(json), json.len())
}

/// Whether an `If-None-Match` has the tag. It compares weakly, as RFC 9110 says (section 13.1.2).
fn matches(value: &[u8], etag: &str) -> bool {
    let Ok(value) = std::str::from_utf8(value) else { return false };
    let tag = |part: &str| part.trim() == "*" || part.trim().trim_start_matches("W/") == etag;
    value.split(',').any(tag)
}
