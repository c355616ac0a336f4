//! The caller of a session cookie. Sessions themselves are created and stored by your application.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use tracing::debug;

use super::identity::Identity;
use super::source::{Source, SourceOutcome, span_without_tenant};
use super::syntax::is_token;
use super::view::{HeaderField, RequestView};
use crate::context::ResolvedBy;
use crate::error::{Error, ErrorKind, Result};

/// Reads the caller from a session cookie. Your hook looks up the session.
///
/// A session for which the hook returns `None`, because it ended or was signed out, counts as absent. So a client
/// with an old cookie can still reach the login page. A repeated cookie is rejected: another subdomain can set a
/// cookie for the whole domain.
///
/// # Security
/// This is a verified credential. Give the cookie a name with the prefix `__Host-`, which browsers bind to one host:
/// then the pages of one tenant cannot set the cookie of another. A session without a tenant reaches every tenant of
/// which its user is a member ([`Resolver::members`]). Protect requests that change data against cross-site request
/// forgery (`SameSite`, `Origin`), as with every cookie.
///
/// [`Resolver::members`]: super::Resolver::members
///
/// ```
/// use tenancy::context::Actor;
/// use tenancy::resolve::{Identity, SessionSource};
///
/// # #[derive(Clone)] struct Sessions;
/// # impl Sessions { async fn user_of(&self, _: &str) -> tenancy::Result<Option<String>> { Ok(None) } }
/// # fn sessions(sessions: Sessions) -> tenancy::Result<SessionSource> {
/// SessionSource::cookie("__Host-session", move |id: String| {
///     let sessions = sessions.clone();
///     async move { Ok(sessions.user_of(&id).await?.map(|user| Identity::new(Actor::user(user)))) }
/// })
/// # }
/// ```
#[derive(Clone)]
#[must_use]
pub struct SessionSource {
    name: String,
    hook: Hook,
}

type Hook =
    Arc<dyn Fn(String) -> Pin<Box<dyn Future<Output = Result<Option<Identity>>> + Send>> + Send + Sync>;

/// In bytes: longer than any session id, and shorter than the limit of browsers.
const MAX_LENGTH: usize = 4096;

impl SessionSource {
    /// Reads the cookie `name`, and looks up its value with `hook`.
    ///
    /// # Errors
    /// [`ErrorKind::Misconfigured`] if `name` is not the name of a cookie (RFC 6265, section 4.1.1).
    pub fn cookie<F, Fut>(name: impl Into<String>, hook: F) -> Result<Self>
    where
        F: Fn(String) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Option<Identity>>> + Send + 'static,
    {
        let name = name.into();
        if name.is_empty() || !name.bytes().all(is_token) {
            return Err(Error::new(
                ErrorKind::Misconfigured,
                "a session's cookie has a name of letters, digits and hyphens, such as `__Host-session`",
            ));
        }
        Ok(Self { name, hook: Arc::new(move |id| Box::pin(hook(id))) })
    }

    /// The cookie's value; `None` if there is no such cookie.
    fn value(&self, request: &dyn RequestView) -> Result<Option<String>, &'static str> {
        if request.header("cookie") == HeaderField::Absent {
            return Ok(None);
        }
        // HTTP/2 may send each cookie in a separate line (RFC 9113, section 8.2.3).
        let lines = request.lines("cookie");
        if lines.is_empty() {
            return Err("several Cookie headers, which the server does not distinguish");
        }
        let mut found = None;
        for pair in lines.into_iter().flat_map(|line| line.split(|b| *b == b';')) {
            let pair = pair.trim_ascii();
            let Some(value) =
                pair.strip_prefix(self.name.as_bytes()).and_then(|after| after.strip_prefix(b"="))
            else {
                continue;
            };
            if found.replace(value).is_some() {
                return Err("the session cookie is repeated");
            }
        }
        let Some(value) = found else { return Ok(None) };
        let is_cookie_octet = |b: &u8| b.is_ascii_graphic() && !b"\",;\\".contains(b);
        if value.is_empty() || value.len() > MAX_LENGTH || !value.iter().all(is_cookie_octet) {
            return Err("not the value of a session cookie");
        }
        Ok(Some(value.iter().map(|b| char::from(*b)).collect()))
    }
}

impl Source for SessionSource {
    fn read(&self, request: &dyn RequestView) -> SourceOutcome {
        match self.value(request) {
            Ok(None) => SourceOutcome::Absent,
            Ok(Some(id)) => {
                let lookup = (self.hook)(id);
                SourceOutcome::Pending(Box::pin(async move {
                    match lookup.await {
                        Ok(Some(identity)) => identity.into(),
                        Ok(None) => SourceOutcome::Absent,
                        Err(error) => SourceOutcome::Invalid(error),
                    }
                }))
            }
            Err(reason) => {
                span_without_tenant().in_scope(|| debug!(reason, "session rejected"));
                SourceOutcome::not_valid()
            }
        }
    }

    fn resolved_by(&self) -> ResolvedBy {
        ResolvedBy::Session
    }

    fn vary(&self) -> Option<&str> {
        Some("cookie")
    }
}

impl fmt::Debug for SessionSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionSource").field("name", &self.name).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::super::view::OwnedRequest;
    use super::*;

    fn value(lines: &[&str]) -> Result<Option<String>, &'static str> {
        let source = SessionSource::cookie("sid", async |_| Ok(None)).unwrap();
        let request =
            lines.iter().fold(OwnedRequest::get("/"), |request, line| request.with_header("Cookie", line));
        source.value(&request)
    }

    #[test]
    fn there_is_one_cookie_or_none() {
        let found = |text: &str| Ok(Some(text.to_owned()));
        assert_eq!(value(&[]), Ok(None));
        assert_eq!(value(&["a=1; sid=s3cret; b=2"]), found("s3cret"));
        assert_eq!(value(&["sid=a=b"]), found("a=b"));
        assert_eq!(value(&["a=1", "sid=s3cret"]), found("s3cret"), "as HTTP/2 sends them");
        for none in ["a=1", "xsid=1", "SID=1", "sid", "a=sid=1", "sid2=1"] {
            assert_eq!(value(&[none]), Ok(None), "{none}");
        }
        let long = format!("sid={}", "a".repeat(MAX_LENGTH + 1));
        for bad in ["sid=a; sid=b", "sid=a; sid=a", "sid=", "sid=\"a\"", "sid=a b", "sid=ä", &long] {
            assert!(value(&[bad]).is_err(), "{bad}");
        }
        assert!(value(&["sid=a", "sid=b"]).is_err());
    }

    #[test]
    fn the_name_is_checked_at_the_start() {
        for bad in ["", "a b", "a;b", "a=b", "ä"] {
            let kind = SessionSource::cookie(bad, async |_| Ok(None)).unwrap_err().kind();
            assert_eq!(kind, ErrorKind::Misconfigured, "{bad}");
        }
    }
}
