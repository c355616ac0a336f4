use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use tracing::debug;

use super::identity::Identity;
use super::view::{HeaderField, RequestView, is_token};
use super::{Source, SourceOutcome};
use crate::context::ResolvedBy;
use crate::error::{Error, ErrorKind, Result};

/// Reads who is calling from a session: a cookie, and a hook of yours that knows the sessions.
///
/// A session that the hook does not know (it ended, it was signed out) counts as none, so that who has an old cookie
/// can still reach the login page. A cookie that is there twice is refused: a neighbour's subdomain can set one for the
/// whole domain.
///
/// # Security
/// This proves. Name the cookie `__Host-…`, which browsers keep to one host; then one tenant's pages cannot set
/// another's. A session without a tenant reaches those of which its user is a member ([`Resolver::members`]). Requests
/// that change something need a guard against forgery from other sites (`SameSite`, `Origin`), as with every cookie.
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

/// More than any session's id, and less than browsers keep.
const LONGEST: usize = 4096;

impl SessionSource {
    /// A source over the cookie `name`; the hook is asked for its value.
    ///
    /// # Errors
    /// [`ErrorKind::Misconfigured`] if `name` is not the name of a cookie (RFC 6265, section 4.1.1).
    pub fn cookie<F, A>(name: impl Into<String>, hook: F) -> Result<Self>
    where
        F: Fn(String) -> A + Send + Sync + 'static,
        A: Future<Output = Result<Option<Identity>>> + Send + 'static,
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
        // HTTP/2 may send each cookie in a line of its own (RFC 9113, section 8.2.3).
        let lines = request.lines("cookie");
        if lines.is_empty() {
            return Err("several Cookie headers, which the server does not tell apart");
        }
        let mut found = None;
        for pair in lines.into_iter().flat_map(|line| line.split(|b| *b == b';')) {
            let pair = pair.trim_ascii();
            let Some(value) =
                pair.strip_prefix(self.name.as_bytes()).and_then(|rest| rest.strip_prefix(b"="))
            else {
                continue;
            };
            if found.replace(value).is_some() {
                return Err("the session's cookie is there twice");
            }
        }
        let Some(value) = found else { return Ok(None) };
        let octet = |b: &u8| b.is_ascii_graphic() && !b"\",;\\".contains(b);
        if value.is_empty() || value.len() > LONGEST || !value.iter().all(octet) {
            return Err("not the value of a session's cookie");
        }
        Ok(Some(value.iter().map(|b| char::from(*b)).collect()))
    }
}

impl Source for SessionSource {
    fn read(&self, request: &dyn RequestView) -> SourceOutcome {
        match self.value(request) {
            Ok(None) => SourceOutcome::Absent,
            Ok(Some(id)) => {
                let asked = (self.hook)(id);
                SourceOutcome::Pending(Box::pin(async move {
                    match asked.await {
                        Ok(Some(identity)) => identity.into(),
                        Ok(None) => SourceOutcome::Absent,
                        Err(error) => SourceOutcome::Invalid(error),
                    }
                }))
            }
            Err(reason) => {
                debug!(reason, "session refused");
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
        let long = format!("sid={}", "a".repeat(LONGEST + 1));
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
