//! [`LoginStateKeys`] and [`LoginNonce`]: the `state` parameter of an OAuth 2.0 or OIDC login (feature `login`).

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

use super::TenantContext;
use crate::clock::{Clock, SystemClock, Timestamp};
use crate::error::{Error, ErrorKind, Result};
use crate::signed::{SigningKeys, signing_key_constructors};
use crate::tenant::TenantId;

/// The keys that sign and verify the `state` parameter of a login at an identity provider (OAuth 2.0, OIDC).
///
/// A state is bound to the tenant on whose host the login started and to the browser that started it. An attacker
/// cannot make another person's browser complete the attacker's login (RFC 6749, section 10.12; RFC 9700, section
/// 4.7). A login that started at one tenant cannot complete at another.
///
/// ```
/// use tenancy::TenantContext;
/// use tenancy::context::{LoginNonce, LoginStateKeys};
///
/// // `GET /login` on the tenant's host, an unauthenticated route: returns the cookie to set and the redirect URL.
/// fn begin(ctx: &TenantContext, keys: &LoginStateKeys) -> tenancy::Result<(String, String)> {
///     let nonce = LoginNonce::random();
///     let state = keys.state(ctx, &nonce)?;
///     let attributes = "Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=600";
///     let authorize = "https://id.example.net/authorize?response_type=code&client_id=shop";
///     Ok((format!("__Host-login={}; {attributes}", nonce.expose()), format!("{authorize}&state={state}")))
/// }
///
/// // `GET /callback?code=..&state=..` on the same host: check the state before you use the code.
/// fn finish(ctx: &TenantContext, keys: &LoginStateKeys, cookie: &str, state: &str) -> tenancy::Result<()> {
///     keys.check(ctx, &LoginNonce::parse(cookie)?, state)
/// }
/// ```
///
/// # Security
/// Nothing is stored, so a state is valid until it expires. The provider must accept each code only once (RFC 6749,
/// section 4.1.2). Remove the cookie when the login is complete; the state is invalid without it.
///
/// A state replaces neither PKCE nor the `iss` check: send a code challenge as well (RFC 7636), and compare `iss` if
/// you have several providers (RFC 9207). Whoever has a key can start a login for anybody: use random bytes, and use
/// the key for nothing else.
#[derive(Debug, Clone)]
pub struct LoginStateKeys {
    keys: SigningKeys,
    lifetime: Duration,
    clock: Arc<dyn Clock>,
}

const TEN_MINUTES: Duration = Duration::from_mins(10);

/// Longer than a state with the longest key id and the longest tenant id.
const MAX_STATE_BYTES: usize = 1024;

/// The contents of a state. They are signed, not encrypted.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Contents {
    tenant: String,
    expires_us: Timestamp,
    /// Makes each state unique.
    nonce: String,
}

impl LoginStateKeys {
    signing_key_constructors!("tenancy-login-1", "states", lifetime: TEN_MINUTES, clock: Arc::new(SystemClock));

    /// Sets how long a state is valid. The default is ten minutes.
    #[must_use]
    pub fn valid_for(self, lifetime: Duration) -> Self {
        Self { lifetime, ..self }
    }

    /// Replaces the clock, for tests. The default is the [`SystemClock`].
    #[must_use]
    pub fn with_clock(self, clock: Arc<dyn Clock>) -> Self {
        Self { clock, ..self }
    }

    /// Creates the state of a login that starts now. It needs no URL encoding: letters, digits, `.`, `-` and `_`.
    ///
    /// # Errors
    /// [`ErrorKind::CrossTenantContext`] if the context belongs to a cross-tenant read.
    pub fn state(&self, ctx: &TenantContext, nonce: &LoginNonce) -> Result<String> {
        ctx.reject_cross_tenant()?;
        let contents = Contents {
            tenant: ctx.tenant_id().to_string(),
            expires_us: self.clock.now().after(self.lifetime),
            nonce: random::<16>(),
        };
        // Strings and a number always serialise.
        let contents = serde_json::to_vec(&contents).unwrap_or_default();
        Ok(self.keys.sign(contents, Some(nonce.expose())))
    }

    /// Checks the state of a callback on the tenant's own host.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] (status 400), always with the same text, unless one of the keys signed this state
    /// for this tenant and this browser, and the state has not expired. The reason is a `tracing` event of level
    /// `DEBUG`.
    pub fn check(&self, ctx: &TenantContext, nonce: &LoginNonce, state: &str) -> Result<()> {
        if self.tenant(nonce, state)? != *ctx.tenant_id() {
            return Err(rejected("the login started at another tenant"));
        }
        Ok(())
    }

    /// The tenant at which the login started, for a callback on a host that all tenants share.
    ///
    /// # Errors
    /// As [`check`](Self::check).
    ///
    /// # Security
    /// The result does not prove that the person belongs to the tenant. Authenticate the person first, call
    /// [`TenantDirectory::context`](super::TenantDirectory::context) second, and check their membership third. A
    /// `__Host-` cookie belongs to one host, so such a login must start on the shared host as well.
    pub fn tenant(&self, nonce: &LoginNonce, state: &str) -> Result<TenantId> {
        self.read(nonce, state).map_err(rejected)
    }

    fn read(&self, nonce: &LoginNonce, state: &str) -> Result<TenantId, &'static str> {
        if state.len() > MAX_STATE_BYTES {
            return Err("longer than any state");
        }
        let text = self.keys.verify(state, Some(nonce.expose()))?;
        let contents: Contents =
            serde_json::from_str(&text).map_err(|_| "the contents have the format of another version")?;
        if self.clock.now() >= contents.expires_us {
            return Err("the state has expired");
        }
        TenantId::parse(&contents.tenant).map_err(|_| "not a tenant id")
    }
}

/// A random secret in a browser cookie that binds a login's state to that browser.
///
/// Store it in a `__Host-` cookie with `Secure`, `HttpOnly` and `SameSite=Lax`. The callback is a navigation from
/// another site, on which a browser does not send a `Strict` cookie. A provider that responds with a form post
/// (`response_mode=form_post`) needs `SameSite=None`.
pub struct LoginNonce(SecretString);

/// 256 bits in base64.
const NONCE_LENGTH: usize = 43;

impl LoginNonce {
    /// Creates a nonce for a new login.
    ///
    /// # Panics
    /// If the operating system cannot provide random bytes.
    pub fn random() -> Self {
        Self(random::<32>().into())
    }

    /// Parses the value of the cookie. Pass the empty string if the request has no such cookie.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`], as [`LoginStateKeys::check`], if the value does not have the form of
    /// [`random`](Self::random).
    pub fn parse(cookie: &str) -> Result<Self> {
        let is_nonce = cookie.len() == NONCE_LENGTH
            && cookie.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        if is_nonce { Ok(Self(cookie.into())) } else { Err(rejected("the request has no login cookie")) }
    }

    /// The value to store in the cookie.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl fmt::Debug for LoginNonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LoginNonce").field(&"..").finish()
    }
}

fn random<const N: usize>() -> String {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the operating system has random numbers");
    URL_SAFE_NO_PAD.encode(bytes)
}

fn rejected(reason: &'static str) -> Error {
    tracing::debug!(reason, "the state of a login was rejected");
    Error::new(
        ErrorKind::InvalidInput,
        "this login did not start here in this browser, or it took too long; start it again",
    )
}
