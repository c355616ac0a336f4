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
use crate::signed::SigningKeys;
use crate::tenant::TenantId;

/// The keys that make and check the `state` of a login elsewhere: OAuth 2.0, OIDC.
///
/// The state is bound to the tenant at whose host the login began and to the browser in which it did. So nobody ends a
/// login that somebody else began (RFC 6749, section 10.12; RFC 9700, section 4.7), and a login that was begun at one
/// tenant does not end at another.
///
/// ```
/// use tenancy::TenantContext;
/// use tenancy::context::{LoginNonce, LoginStateKeys};
///
/// // `GET /login` at the tenant's host, a public route: the cookie to set, and where to send the browser.
/// fn begin(ctx: &TenantContext, keys: &LoginStateKeys) -> tenancy::Result<(String, String)> {
///     let browser = LoginNonce::random();
///     let state = keys.state(ctx, &browser)?;
///     let kept = "Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=600";
///     let to = "https://id.example.net/authorize?response_type=code&client_id=shop";
///     Ok((format!("__Host-login={}; {kept}", browser.expose()), format!("{to}&state={state}")))
/// }
///
/// // `GET /callback?code=..&state=..` at the same host, before the code is looked at.
/// fn finish(ctx: &TenantContext, keys: &LoginStateKeys, cookie: &str, state: &str) -> tenancy::Result<()> {
///     keys.check(ctx, &LoginNonce::parse(cookie)?, state)
/// }
/// ```
///
/// # Security
/// Nothing is kept here, so a state is good for its whole time. That a code is taken once is the provider's to see to
/// (RFC 6749, section 4.1.2); remove the cookie when the login is done, and the state is of no use any more.
///
/// Send a code challenge as well (PKCE, RFC 7636), and compare `iss` where there is more than one provider (RFC 9207): a
/// state is no stand-in for either. Who has a key can begin a login for anybody: take random bytes for it, and share it
/// with no other use.
#[derive(Debug)]
pub struct LoginStateKeys {
    keys: SigningKeys,
    time: Duration,
    clock: Arc<dyn Clock>,
}

const TEN_MINUTES: Duration = Duration::from_mins(10);

/// A state of the longest key id and tenant id is shorter.
const LONGEST: usize = 1024;

/// What is in a state. It is signed and not encrypted.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Contents {
    tenant: String,
    expires_us: Timestamp,
    /// Two states are never the same text.
    nonce: String,
}

impl LoginStateKeys {
    /// The key that signs, under the id by which its states name it.
    ///
    /// # Errors
    /// [`ErrorKind::Misconfigured`] for a secret under 32 bytes, or an id that is not 1 to 32 letters, digits and `-`.
    pub fn new(id: impl Into<String>, secret: impl AsRef<[u8]>) -> Result<Self> {
        let keys = SigningKeys::new("tenancy-login-1", id.into(), secret.as_ref())?;
        Ok(Self { keys, time: TEN_MINUTES, clock: Arc::new(SystemClock) })
    }

    /// With another key, whose states are still good.
    ///
    /// # Errors
    /// As [`new`](Self::new), and for an id that is there already.
    pub fn with_previous_key(self, id: impl Into<String>, secret: impl AsRef<[u8]>) -> Result<Self> {
        Ok(Self { keys: self.keys.also(id.into(), secret.as_ref())?, ..self })
    }

    /// Lets a login take so long; ten minutes if nothing is said.
    #[must_use]
    pub fn valid_for(self, time: Duration) -> Self {
        Self { time, ..self }
    }

    /// With another clock.
    #[must_use]
    pub fn with_clock(self, clock: Arc<dyn Clock>) -> Self {
        Self { clock, ..self }
    }

    /// The state of a login that begins now: letters, digits, `.`, `-` and `_`, as it stands in a URL.
    ///
    /// # Errors
    /// [`ErrorKind::CrossTenantContext`] if the context belongs to a cross-tenant read.
    pub fn state(&self, ctx: &TenantContext, browser: &LoginNonce) -> Result<String> {
        ctx.not_lent()?;
        let contents = Contents {
            tenant: ctx.tenant_id().to_string(),
            expires_us: self.clock.now().after(self.time),
            nonce: random::<16>(),
        };
        // Texts and a number always serialise.
        let contents = serde_json::to_vec(&contents).unwrap_or_default();
        Ok(self.keys.sign(contents, Some(browser.expose())))
    }

    /// Checks the state of a callback that came to the tenant's own host.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] (status 400), always with the same text, unless one of the keys made this state for this
    /// tenant and this browser, and its time is not over; the reason is a `tracing` event of level `DEBUG`.
    pub fn check(&self, ctx: &TenantContext, browser: &LoginNonce, state: &str) -> Result<()> {
        if self.tenant(browser, state)? != *ctx.tenant_id() {
            return Err(refused("it was begun at another tenant"));
        }
        Ok(())
    }

    /// The tenant of a callback that came to a host which all tenants share.
    ///
    /// # Errors
    /// As [`check`](Self::check).
    ///
    /// # Security
    /// This tells at which tenant the login began, and not that the person belongs to it: ask who they are, then enter by
    /// [`TenantDirectory::context`](super::TenantDirectory::context), then ask whether they are a member. A `__Host-` cookie is kept for one
    /// host, so such a login begins at the shared host as well.
    pub fn tenant(&self, browser: &LoginNonce, state: &str) -> Result<TenantId> {
        self.read(browser, state).map_err(refused)
    }

    fn read(&self, browser: &LoginNonce, state: &str) -> Result<TenantId, &'static str> {
        if state.len() > LONGEST {
            return Err("it is longer than any state");
        }
        let text = self.keys.verify(state, Some(browser.expose()))?;
        let contents: Contents =
            serde_json::from_str(&text).map_err(|_| "its contents are not those of this version")?;
        if self.clock.now() >= contents.expires_us {
            return Err("its time is over");
        }
        TenantId::parse(&contents.tenant).map_err(|_| "not a tenant's id")
    }
}

/// The secret that a browser keeps in a cookie while its login is under way; its state is of no use in any other browser.
///
/// Keep it in a `__Host-` cookie with `Secure`, `HttpOnly` and `SameSite=Lax`: the callback is a navigation from another
/// site, on which `Strict` would not send it. A provider that answers by a form (`response_mode=form_post`) needs
/// `SameSite=None`.
pub struct LoginNonce(SecretString);

/// 256 bits in base64.
const NONCE_LENGTH: usize = 43;

impl LoginNonce {
    /// A new one, for a login that begins.
    ///
    /// # Panics
    /// If the operating system has no random numbers.
    pub fn random() -> Self {
        Self(random::<32>().into())
    }

    /// Reads the value of the cookie. If there is none, give the empty text.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`], as [`LoginStateKeys::check`], for anything that [`random`](Self::random) does not make.
    pub fn parse(cookie: &str) -> Result<Self> {
        let is_nonce = cookie.len() == NONCE_LENGTH
            && cookie.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        if is_nonce { Ok(Self(cookie.into())) } else { Err(refused("the browser has no cookie of a login")) }
    }

    /// The value for the cookie.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl fmt::Debug for LoginNonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("BrowserNonce").field(&"..").finish()
    }
}

fn random<const N: usize>() -> String {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the operating system has random numbers");
    URL_SAFE_NO_PAD.encode(bytes)
}

fn refused(reason: &'static str) -> Error {
    tracing::debug!(reason, "the state of a login was refused");
    Error::new(
        ErrorKind::InvalidInput,
        "this login was not begun here in this browser, or too long ago; begin it again",
    )
}
