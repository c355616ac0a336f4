//! Who is an operator: the token, and the cookie that the page gets for it.
//!
//! The API takes the token as `Authorization: Bearer TOKEN`. The page posts it once, and gets a cookie that is signed with
//! it, for twelve hours. A new token ends every session. Behind TLS, add `Secure` to the cookie.

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;
use tenancy::clock::{Clock, SystemClock};
use tenancy::{Error, ErrorKind, Result};
use url::{Url, form_urlencoded};

use super::{OperatorRequest, OperatorResponse, page_in_state, problem, response};
use crate::settings::new_secret;

const COOKIE: &str = "operator";
/// No token of a tenant has this audience, also if somebody uses one secret for both.
const AUDIENCE: &str = "operator";
const TWELVE_HOURS: i64 = 12 * 60 * 60;

/// The claims of the cookie.
#[derive(Serialize, Deserialize)]
struct Claims {
    aud: String,
    exp: i64,
}

/// Whether a request is an operator's.
#[derive(Debug)]
pub(super) enum Session {
    Open,
    Rejected(Error),
}

impl Session {
    pub(super) fn authorize(self) -> Result<()> {
        match self {
            Self::Open => Ok(()),
            Self::Rejected(error) => Err(error),
        }
    }
}

/// The operator's token. `Debug` does not show it.
pub(super) struct OperatorToken {
    secret: String,
    is_new: bool,
}

impl std::fmt::Debug for OperatorToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OperatorToken").finish_non_exhaustive()
    }
}

impl OperatorToken {
    pub(super) fn new(configured: Option<&str>) -> Self {
        Self { secret: configured.map_or_else(new_secret, str::to_owned), is_new: configured.is_none() }
    }

    /// The token, if the program created it. A configured token is never printed.
    pub(super) fn printed(&self) -> Option<&str> {
        self.is_new.then_some(self.secret.as_str())
    }

    /// Takes as long for every wrong token of the right length.
    fn matches(&self, token: &str) -> bool {
        bool::from(self.secret.as_bytes().ct_eq(token.as_bytes()))
    }

    /// Whether the request has the token, or a cookie that was signed with it.
    pub(super) fn session(&self, request: &OperatorRequest<'_>) -> Session {
        if let Some(authorization) = &request.authorization {
            let token =
                authorization.split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
            if token.is_some_and(|(_, token)| self.matches(token.trim())) {
                return Session::Open;
            }
            return Session::Rejected(Error::new(
                ErrorKind::CredentialInvalid,
                "this is not the operator's token",
            ));
        }
        let Some(cookie) = request.cookie.as_deref().and_then(session_cookie) else {
            let text = "send the operator's token, or sign in at /operator";
            return Session::Rejected(Error::new(ErrorKind::CredentialMissing, text));
        };
        if !self.signed(cookie) {
            let text = "the session has ended; sign in at /operator";
            return Session::Rejected(Error::new(ErrorKind::CredentialInvalid, text));
        }
        // A browser sends the cookie by itself, so a change must come from the page.
        if request.method != "GET" && !is_same_origin(request) {
            return Session::Rejected(foreign());
        }
        Session::Open
    }

    /// Whether a cookie was signed with this token, and is still valid.
    fn signed(&self, cookie: &str) -> bool {
        let mut validation = Validation::new(Algorithm::HS256);
        validation.set_audience(&[AUDIENCE]);
        let Ok(key) = DecodingKey::from_secret(self.secret.as_bytes()) else { return false };
        jsonwebtoken::decode::<Claims>(cookie, &key, &validation).is_ok()
    }

    /// Exchanges the token of the form for a cookie.
    pub(super) fn sign_in(&self, request: &OperatorRequest<'_>) -> OperatorResponse {
        if !is_same_origin(request) {
            return problem(&foreign());
        }
        let token = form_urlencoded::parse(request.body).find(|(name, _)| name == "token");
        if !token.is_some_and(|(_, token)| self.matches(token.trim())) {
            return page_in_state(401, "wrong");
        }
        let claims = Claims { aud: AUDIENCE.to_owned(), exp: SystemClock.now().seconds() + TWELVE_HOURS };
        let key = EncodingKey::from_secret(self.secret.as_bytes());
        match key.and_then(|key| jsonwebtoken::encode(&Header::default(), &claims, &key)) {
            Ok(cookie) => to_page(&cookie, TWELVE_HOURS),
            Err(e) => {
                let text = "the session cannot be signed";
                problem(&Error::new(ErrorKind::Misconfigured, text).with_source(e))
            }
        }
    }
}

/// Removes the cookie.
pub(super) fn sign_out(request: &OperatorRequest<'_>) -> OperatorResponse {
    if is_same_origin(request) { to_page("", 0) } else { problem(&foreign()) }
}

/// Sets the cookie, and sends the browser to the page.
fn to_page(cookie: &str, seconds: i64) -> OperatorResponse {
    let mut response = response(303, "text/plain", Vec::new());
    let cookie = format!("{COOKIE}={cookie}; Path=/operator; Max-Age={seconds}; HttpOnly; SameSite=Strict");
    response.headers.extend([("location", "/operator".to_owned()), ("set-cookie", cookie)]);
    response
}

fn session_cookie(header: &str) -> Option<&str> {
    header.split(';').find_map(|pair| pair.trim().strip_prefix(COOKIE)?.strip_prefix('='))
}

/// Whether the page itself sent the request. `SameSite` does not suffice: it allows other ports and subdomains.
fn is_same_origin(request: &OperatorRequest<'_>) -> bool {
    let origin = request.origin.as_deref().and_then(|origin| Url::parse(origin).ok());
    let authority = origin.as_ref().map(Url::authority).filter(|authority| !authority.is_empty());
    authority.is_some() && authority == request.host.as_deref()
}

fn foreign() -> Error {
    Error::new(ErrorKind::CredentialInvalid, "the session is valid for requests of the operator's page only")
}
