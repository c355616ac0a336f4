//! The response to each kind of error: its status, title and document. HTTP types are in `response.rs`.

use std::borrow::Cow;
use std::sync::Arc;

use serde::Serialize;
use tracing::error;

use super::rate_limit::{RateLimit, whole_seconds};
use crate::error::{Error, ErrorKind};

/// The `Cache-Control` of responses with tenant data.
pub(super) const PRIVATE_NO_STORE: &str = "private, no-store";

/// The response to an [`Error`]: a status, and a document of RFC 9457 (`application/problem+json`).
///
/// It contains no details of internal errors, such as those of the database. They are written to the log only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    kind: ErrorKind,
    detail: String,
    json: Vec<u8>,
    /// In seconds.
    retry_after: Option<u64>,
    rate_limit: Option<RateLimit>,
    /// The schemes of credentials.
    challenge: Option<Arc<str>>,
}

impl Problem {
    /// The media type of [`json`](Self::json).
    pub const CONTENT_TYPE: &'static str = "application/problem+json";

    /// The status of the response.
    pub fn status(&self) -> u16 {
        status_and_title(self.kind).0
    }

    /// What happened, in one line for the client.
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// The gRPC status code.
    ///
    /// The [`TenantLayer`](crate::web::TenantLayer) sets it for rejected calls. For an error in your own method, with
    /// tonic:
    ///
    /// ```
    /// use tenancy::web::Problem;
    ///
    /// fn status(error: &tenancy::Error) -> tonic::Status {
    ///     let problem = Problem::from(error);
    ///     tonic::Status::new(problem.grpc_code().into(), problem.detail())
    /// }
    /// # let error = tenancy::Error::new(tenancy::ErrorKind::NotFound, "no such order");
    /// # assert_eq!(status(&error).code(), tonic::Code::NotFound);
    /// ```
    pub fn grpc_code(&self) -> i32 {
        match (self.kind, self.status()) {
            (ErrorKind::Conflict, _) => 6,
            (ErrorKind::LimitReached | ErrorKind::RowLimit | ErrorKind::TenantConnectionLimit, _) => 8,
            (ErrorKind::StatementTimeout, _) => 4,
            (ErrorKind::StaleVersion, _) => 10,
            (ErrorKind::OutcomeUnknown, _) => 2,
            (_, 401) => 16,
            (_, 403) => 7,
            (_, 404) => 5,
            (_, 402 | 409 | 421) => 9,
            (_, 429) => 8,
            (_, 503) => 14,
            (_, 500..) => 13,
            _ => 3,
        }
    }

    /// The document.
    pub fn json(&self) -> &[u8] {
        &self.json
    }

    /// The document, as the body of the response.
    pub fn into_json(self) -> Vec<u8> {
        self.json
    }

    /// The problem of the error that ends a request. An error with status 500 and above is logged.
    pub(super) fn logged(error: &Error) -> Self {
        let problem = Self::from(error);
        if problem.status() >= 500 {
            error!(kind = error.kind().code(), %error, cause = error.cause().map(tracing::field::display), "request failed");
        }
        problem
    }

    /// The headers of the response, without `Vary`. With status 401, `WWW-Authenticate` has the schemes of the
    /// [`Resolver`](crate::resolve::Resolver)'s sources, or `Bearer`.
    ///
    /// A rejection by a quota, a rate or a concurrency limit has `Retry-After`, `RateLimit` and `RateLimit-Policy` of
    /// the [draft](https://datatracker.ietf.org/doc/draft-ietf-httpapi-ratelimit-headers/).
    pub fn headers(&self) -> impl Iterator<Item = (&'static str, Cow<'static, str>)> + use<> {
        let retry_after =
            || self.retry_after.map_or(Cow::Borrowed("1"), |seconds| seconds.to_string().into());
        let more = match self.status() {
            401 => {
                Some(("www-authenticate", self.challenge.as_deref().unwrap_or("Bearer").to_owned().into()))
            }
            429 | 503 => Some(("retry-after", retry_after())),
            _ => None,
        };
        let rate_limit = self.rate_limit.clone();
        [("content-type", Cow::Borrowed(Self::CONTENT_TYPE)), ("cache-control", PRIVATE_NO_STORE.into())]
            .into_iter()
            .chain(more)
            .chain(rate_limit.into_iter().flat_map(RateLimit::into_headers))
    }
}

impl From<&Error> for Problem {
    fn from(error: &Error) -> Self {
        let kind = error.kind();
        let (status, title) = status_and_title(kind);
        let detail = match status {
            503 => "The request could not be served; try again later.".to_owned(),
            504 => "The request took longer than its time limit; ask for less at once.".to_owned(),
            500.. => "The request could not be served; the reason is in the log.".to_owned(),
            _ => error.to_string(),
        };
        let denial = error.plan_denial();
        let document = Document {
            kind: problem_type(kind),
            title,
            status,
            detail: &detail,
            feature: denial.and_then(|denial| denial.feature.as_deref()),
            plan: denial.map(|denial| denial.plan.as_str()).filter(|plan| !plan.is_empty()),
            required_plan: denial.and_then(|denial| denial.required_plan.as_deref()),
            limit: denial.and_then(|denial| denial.limit),
            used: denial.and_then(|denial| denial.used),
            upgrade_url: denial.and_then(|denial| denial.upgrade_url.as_deref()),
            violated_policies: is_rate(kind)
                .then(|| denial.and_then(|denial| denial.feature.as_deref()))
                .map(Vec::from_iter),
        };
        // Strings and numbers always serialise.
        let json = serde_json::to_vec(&document).unwrap_or_default();
        let retry_after = denial.and_then(|denial| denial.retry_after).map(whole_seconds);
        let rate_limit = denial.filter(|_| is_rate(kind)).map(|denial| RateLimit::of_denial(kind, denial));
        Self { kind, detail, json, retry_after, rate_limit, challenge: error.challenge().cloned() }
    }
}

/// Whether the kind is a rejection that a later request does not get.
pub(super) fn is_rate(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::QuotaExceeded | ErrorKind::RateLimited | ErrorKind::ConcurrencyLimit)
}

/// The `type` of the document. The draft of the `RateLimit` headers registers one for quotas and rates.
fn problem_type(kind: ErrorKind) -> String {
    if is_rate(kind) {
        return "https://iana.org/assignments/http-problem-types#quota-exceeded".to_owned();
    }
    format!("urn:problem-type:tenancy:{}", kind.code())
}

/// The status and title of each kind. The match is exhaustive, so a new kind needs a row to compile.
fn status_and_title(kind: ErrorKind) -> (u16, &'static str) {
    match kind {
        ErrorKind::TenantMissing => (400, "No tenant named"),
        ErrorKind::TenantUnknown => (404, "No such tenant"),
        ErrorKind::TenantConflict => (403, "Several tenants named"),
        ErrorKind::TenantSuspended => (403, "Tenant suspended"),
        ErrorKind::TenantInactive => (403, "Tenant not open"),
        ErrorKind::CredentialMissing => (401, "Credential missing"),
        ErrorKind::CredentialInvalid => (401, "Credential not valid"),
        ErrorKind::InvalidAuthority => (400, "Host not valid"),
        ErrorKind::Misdirected => (421, "Wrong connection"),
        ErrorKind::WrongRegion => (421, "Served in another region"),
        ErrorKind::InvalidInput => (400, "Input not valid"),
        ErrorKind::NotFound => (404, "Not found"),
        ErrorKind::Conflict => (409, "Exists already"),
        ErrorKind::ReferenceViolation => (409, "Reference not possible"),
        ErrorKind::StaleVersion => (409, "Changed meanwhile"),
        ErrorKind::IllegalTransition => (409, "Transition not allowed"),
        ErrorKind::PaymentOverdue => (402, "Payment overdue"),
        ErrorKind::FeatureNotInPlan => (403, "Not in the plan"),
        ErrorKind::LimitReached => (403, "Plan limit reached"),
        ErrorKind::PlanTooLow => (403, "Higher plan needed"),
        ErrorKind::QuotaExceeded => (429, "Quota used up"),
        ErrorKind::RateLimited => (429, "Too many requests"),
        ErrorKind::ConcurrencyLimit => (429, "Too much in work"),
        ErrorKind::StoreUnavailable => (503, "Temporarily unavailable"),
        ErrorKind::Retryable => (503, "Try again"),
        ErrorKind::ConnectionLimit => (503, "No free connection"),
        ErrorKind::TenantConnectionLimit => (429, "Too many requests at once"),
        ErrorKind::StatementTimeout => (504, "Took too long"),
        ErrorKind::RowLimit => (403, "Too many rows for the plan"),
        ErrorKind::MigrationPending => (503, "Being upgraded"),
        ErrorKind::TenantMoving => (503, "Being moved"),
        ErrorKind::BillingUnavailable => (503, "Billing not reachable"),
        ErrorKind::BillingRejected => (502, "Billing rejected the request"),
        ErrorKind::SignatureInvalid => (400, "Signature not valid"),
        ErrorKind::OutcomeUnknown => (500, "Outcome unknown"),
        ErrorKind::UnknownPlan
        | ErrorKind::UnknownFeature
        | ErrorKind::Unaudited
        | ErrorKind::RolledBack
        | ErrorKind::SqlRejected
        | ErrorKind::CrossTenantContext
        | ErrorKind::UnsupportedPlacement
        | ErrorKind::PlacementMissing
        | ErrorKind::Misconfigured
        | ErrorKind::Expired
        | ErrorKind::Database => (500, "Internal error"),
    }
}

#[derive(Serialize)]
struct Document<'a> {
    #[serde(rename = "type")]
    kind: String,
    title: &'a str,
    status: u16,
    detail: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    feature: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    plan: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    required_plan: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    used: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    upgrade_url: Option<&'a str>,
    #[serde(rename = "violated-policies", skip_serializing_if = "Option::is_none")]
    violated_policies: Option<Vec<&'a str>>,
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::error::PlanDenial;

    fn document(error: &Error) -> Value {
        serde_json::from_slice(Problem::from(error).json()).unwrap()
    }

    #[test]
    fn a_denied_plan_names_the_limit() {
        let denial = PlanDenial {
            feature: Some("projects".to_owned()),
            plan: "free".to_owned(),
            required_plan: None,
            window: None,
            resets_at: None,
            retry_after: None,
            limit: Some(3),
            used: Some(3),
            upgrade_url: Some("/upgrade".to_owned()),
        };
        let error = Error::denied(ErrorKind::LimitReached, "3 of 3 projects are used".to_owned(), denial);
        assert_eq!(
            document(&error),
            json!({
                "type": "urn:problem-type:tenancy:plan-limit-reached",
                "title": "Plan limit reached",
                "status": 403,
                "detail": "3 of 3 projects are used",
                "feature": "projects",
                "plan": "free",
                "limit": 3,
                "used": 3,
                "upgrade_url": "/upgrade",
            })
        );
    }

    #[test]
    fn internal_details_are_not_in_the_document() {
        for kind in [
            ErrorKind::Database,
            ErrorKind::Misconfigured,
            ErrorKind::StoreUnavailable,
            ErrorKind::Retryable,
            ErrorKind::OutcomeUnknown,
            ErrorKind::UnknownPlan,
            ErrorKind::Unaudited,
        ] {
            let error = Error::new(kind, "role app at 10.0.0.5 lacks table orders").with_source("secret");
            let problem = Problem::from(&error);
            let text = String::from_utf8(problem.json().to_vec()).unwrap();
            assert!(problem.status() >= 500, "{kind}");
            assert!(!text.contains("orders") && !text.contains("secret") && !text.contains("10.0"), "{text}");
        }
    }

    #[test]
    fn statuses_that_need_a_header_have_it() {
        let headers = |kind| Problem::from(&Error::new(kind, "no")).headers().collect::<Vec<_>>();
        assert!(headers(ErrorKind::CredentialMissing).contains(&("www-authenticate", "Bearer".into())));
        assert!(headers(ErrorKind::CredentialInvalid).contains(&("www-authenticate", "Bearer".into())));
        assert!(headers(ErrorKind::StoreUnavailable).contains(&("retry-after", "1".into())));
        assert!(headers(ErrorKind::Retryable).contains(&("retry-after", "1".into())));
        assert!(headers(ErrorKind::ConnectionLimit).contains(&("retry-after", "1".into())));
        assert!(headers(ErrorKind::TenantConnectionLimit).contains(&("retry-after", "1".into())));
        assert_eq!(headers(ErrorKind::TenantUnknown).len(), 2);
    }
}
