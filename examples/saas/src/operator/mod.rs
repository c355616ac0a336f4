//! The operator's page: its requests, without a web framework, and which operation each runs.
//!
//! Every request but the sign-in needs the operator's token: see `session.rs`. `tenants.rs` shows, suspends and resumes
//! tenants, `moves.rs` moves them, `places.rs` compares and migrates their places, and `doctor.rs` examines the database.

mod doctor;
mod moves;
mod places;
mod session;
mod tenants;

use std::fmt;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::Value;
use tenancy::context::Actor;
use tenancy::placement::Provisioner;
use tenancy::web::Problem;
use tenancy::{Error, ErrorKind, Result};

use self::moves::Moves;
use self::places::Migration;
use self::session::{OperatorToken, Session};
use crate::{App, AppDb};

const PAGE: &str = include_str!("page.html");
/// The page loads nothing from another host, is shown in no frame, and sends its forms to this host only.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; \
    img-src data:; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// A request to the operator's page or its API. `Debug` shows no credential.
pub struct OperatorRequest<'a> {
    method: &'a str,
    path: &'a str,
    query: Option<&'a str>,
    body: &'a [u8],
    authorization: Option<String>,
    cookie: Option<String>,
    host: Option<String>,
    origin: Option<String>,
}

impl fmt::Debug for OperatorRequest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OperatorRequest").field("method", &self.method).finish_non_exhaustive()
    }
}

impl<'a> OperatorRequest<'a> {
    /// Reads a request. `header` returns the value of a header.
    pub fn new(
        method: &'a str,
        path: &'a str,
        query: Option<&'a str>,
        header: impl Fn(&str) -> Option<String>,
        body: &'a [u8],
    ) -> Self {
        let (authorization, cookie) = (header("authorization"), header("cookie"));
        let (host, origin) = (header("host"), header("origin"));
        Self { method, path, query, body, authorization, cookie, host, origin }
    }

    fn json<T: DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_slice(self.body)
            .map_err(|e| Error::new(ErrorKind::InvalidInput, format!("the body is not valid: {e}")))
    }
}

/// The response to an [`OperatorRequest`].
#[derive(Debug)]
#[expect(clippy::exhaustive_structs, reason = "each web framework turns it into a response of its own")]
pub struct OperatorResponse {
    /// The status.
    pub status: u16,
    /// Names, in lower case, and values.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: Vec<u8>,
}

/// What the operator's page needs beside the state of the application.
#[derive(Debug)]
pub(crate) struct Operator<DB: AppDb> {
    token: OperatorToken,
    provisioner: Provisioner<DB>,
    migration: Migration,
    moves: Moves,
}

impl<DB: AppDb> Operator<DB> {
    /// Uses this token; without one, a new one.
    pub(crate) fn new(token: Option<&str>, provisioner: Provisioner<DB>) -> Self {
        Self {
            token: OperatorToken::new(token),
            provisioner,
            migration: Migration::default(),
            moves: Moves::default(),
        }
    }

    /// The lines about the page that the program prints after its start.
    pub(crate) fn welcome(&self, port: u16) -> String {
        let token = self.token.printed().unwrap_or("the value of OPERATOR_TOKEN");
        format!("\nOperator: http://127.0.0.1:{port}/operator   Token: {token}\n")
    }
}

/// Who suspends and resumes tenants, in the audit log. A real application has a name for each operator.
fn actor() -> Actor {
    Actor::user("operator")
}

impl<DB: AppDb> App<DB> {
    /// Responds to a request below `/operator`.
    pub async fn operator(&self, request: OperatorRequest<'_>) -> OperatorResponse {
        let session = self.operator.token.session(&request);
        match (request.method, request.path) {
            ("GET", "/operator") => page(&session),
            ("POST", "/operator/session") => self.operator.token.sign_in(&request),
            ("POST", "/operator/session/end") => session::sign_out(&request),
            _ => match self.api(&request, session).await {
                Ok(body) => response(200, "application/json", body.to_string().into_bytes()),
                Err(error) => problem(&error),
            },
        }
    }

    async fn api(&self, request: &OperatorRequest<'_>, session: Session) -> Result<Value> {
        session.authorize()?;
        let path: Vec<&str> =
            request.path.strip_prefix("/operator/api/").unwrap_or_default().split('/').collect();
        match (request.method, &path[..]) {
            ("GET", ["tenants"]) => self.operated_tenants(request.query).await,
            ("POST", ["tenants", id, "suspend"]) => self.suspend(id, request.json()?).await,
            ("POST", ["tenants", id, "resume"]) => self.resume(id, request.json()?).await,
            ("GET", ["tenants", id]) => self.operated_tenant(id).await,
            ("GET", ["tenants", id, "move"]) => self.plan_move(id, request.query).await,
            ("POST", ["tenants", id, "move"]) => self.begin_move(id, request.json()?).await,
            ("POST", ["tenants", id, "move", "go-on"]) => self.go_on_with_move(id).await,
            ("POST", ["tenants", id, "move", "roll-back"]) => self.roll_back_move(id).await,
            ("GET", ["moves"]) => self.moves().await,
            ("GET", ["places"]) => self.places().await,
            ("GET", ["migration"]) => Ok(self.operator.migration.progress()),
            ("POST", ["migration"]) => self.migrate_places().await,
            ("GET", ["doctor"]) => self.examine().await,
            ("GET", ["health"]) => Ok(serde_json::json!(self.db.health(Duration::from_secs(1)).await)),
            _ => Err(Error::new(ErrorKind::NotFound, "the operator's page has no such operation")),
        }
    }
}

/// The page has no data: it reads them with its own requests. So the sign-in form is the same file.
fn page(session: &Session) -> OperatorResponse {
    let (status, state) = match session {
        Session::Open => (200, "open"),
        Session::Rejected(_) => (401, "closed"),
    };
    page_in_state(status, state)
}

fn page_in_state(status: u16, state: &str) -> OperatorResponse {
    let body = PAGE.replacen("data-session=\"\"", &format!("data-session=\"{state}\""), 1);
    let mut response = response(status, "text/html; charset=utf-8", body.into_bytes());
    response.headers.push(("content-security-policy", CONTENT_SECURITY_POLICY.to_owned()));
    if status == 401 {
        response.headers.push(("www-authenticate", "Bearer".to_owned()));
    }
    response
}

fn response(status: u16, content_type: &str, body: Vec<u8>) -> OperatorResponse {
    let headers = vec![
        ("content-type", content_type.to_owned()),
        ("cache-control", "no-store".to_owned()),
        ("x-content-type-options", "nosniff".to_owned()),
    ];
    OperatorResponse { status, headers, body }
}

/// The problem document of an error, as the other routes of the application return it.
fn problem(error: &Error) -> OperatorResponse {
    let problem = Problem::from(error);
    if problem.status() >= 500 {
        tracing::error!(%error, cause = error.cause().map(tracing::field::display), "an operation failed");
    }
    let headers = problem.headers().map(|(name, value)| (name, value.into_owned())).collect();
    OperatorResponse { status: problem.status(), headers, body: problem.into_json() }
}
