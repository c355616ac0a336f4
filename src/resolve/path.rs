//! The tenant in the path of the request.

use super::candidate::Naming;
use super::source::{Source, SourceOutcome};
use super::view::RequestView;
use crate::context::ResolvedBy;
use crate::error::{Error, ErrorKind, Result};

/// Reads the tenant from the path: the one segment after a prefix, as in `/t/acme/orders`.
///
/// A UUID or an integer is read as an id, any other segment as a slug; [`ids`](Self::ids) and [`slugs`](Self::slugs)
/// restrict the segment to one of them. The segment is never decoded: one with a percent sign is rejected. Every path
/// with a segment `.` or `..`, or with two slashes at its start, is rejected: other programs normalise it to another
/// path.
///
/// The source reads the whole path that the client sent, also inside a nested router of axum. Around any other router
/// that strips a matched prefix, add the middleware outside of that router.
///
/// # Security
/// A path is an unverified hint, not a credential.
///
/// ```
/// use tenancy::resolve::{PathSource, SourceOutcome, Source, OwnedRequest};
///
/// let source = PathSource::new("/t")?;
/// assert!(matches!(source.read(&OwnedRequest::get("/t/acme/orders")), SourceOutcome::Unverified(_)));
/// assert!(matches!(source.read(&OwnedRequest::get("/t/ac%6de")), SourceOutcome::Invalid(_)));
/// assert!(matches!(source.read(&OwnedRequest::get("/health")), SourceOutcome::Absent));
/// # Ok::<(), tenancy::Error>(())
/// ```
#[derive(Debug, Clone)]
#[must_use]
pub struct PathSource {
    prefix: String,
    naming: Naming,
}

impl PathSource {
    /// Reads the segment after `prefix`.
    ///
    /// # Errors
    /// [`ErrorKind::Misconfigured`] if the prefix does not start with a slash, or ends with one.
    pub fn new(prefix: impl Into<String>) -> Result<Self> {
        let prefix = prefix.into();
        let well_formed = prefix.starts_with('/')
            && !prefix.ends_with('/')
            && prefix.bytes().all(|b| b.is_ascii_alphanumeric() || b"/-_.~".contains(&b));
        if !well_formed {
            return Err(Error::new(
                ErrorKind::Misconfigured,
                "the prefix of a path source is written like `/t`, without a slash at the end",
            ));
        }
        Ok(Self { prefix, naming: Naming::Either })
    }

    /// Reads the segment as an id only.
    pub fn ids(self) -> Self {
        Self { naming: Naming::Id, ..self }
    }

    /// Reads the segment as a slug only.
    pub fn slugs(self) -> Self {
        Self { naming: Naming::Slug, ..self }
    }
}

impl Source for PathSource {
    fn read(&self, request: &dyn RequestView) -> SourceOutcome {
        let path = request.path();
        let after = path.strip_prefix(self.prefix.as_str()).and_then(|after| after.strip_prefix('/'));
        match after {
            _ if is_ambiguous(path) => SourceOutcome::Invalid(Error::new(
                ErrorKind::InvalidInput,
                "the path begins with two slashes, or has a segment `.` or `..`; send it without",
            )),
            None | Some("") => SourceOutcome::Absent,
            Some(after) => {
                let segment = after.split('/').next().unwrap_or_default();
                self.naming.parse(segment).map_or_else(SourceOutcome::Invalid, SourceOutcome::Unverified)
            }
        }
    }

    fn resolved_by(&self) -> ResolvedBy {
        ResolvedBy::Path
    }
}

/// Whether a proxy or an upstream service could normalise the path, and find another tenant in it.
fn is_ambiguous(path: &str) -> bool {
    let is_dots = |segment: &str| matches!(&*segment.to_ascii_lowercase().replace("%2e", "."), "." | "..");
    let mut short = path.split('/').filter(|segment| segment.starts_with(['.', '%']) && segment.len() <= 6);
    path.starts_with("//") || short.any(is_dots)
}

#[cfg(test)]
mod tests {
    use super::super::candidate::Candidate;
    use super::super::view::OwnedRequest;
    use super::*;

    #[test]
    fn the_segment_after_the_prefix_names_the_tenant() {
        let source = PathSource::new("/t").unwrap();
        let read = |path: &str| source.read(&OwnedRequest::get(path));
        for good in ["/t/acme", "/t/acme/", "/t/acme/orders/globex", "/t/ACME"] {
            let outcome = read(good);
            assert!(
                matches!(&outcome, SourceOutcome::Unverified(Candidate::Slug(slug)) if slug.as_str() == "acme"),
                "{good}: {outcome:?}"
            );
        }
        for none in ["/", "/t", "/t/", "/T/acme", "/tt/acme", "/x/t/acme", "/x//t/acme", "/t...", "*"] {
            assert!(matches!(read(none), SourceOutcome::Absent), "{none}");
        }
        for bad in [
            "/t//acme",
            "/t/../acme",
            "/t/./acme",
            "/t/acme/../globex",
            "/t/acme/..",
            "/t/acme/%2E./globex",
            "/t/acme/%2e%2e/globex",
            "/x/../t/acme",
            "/./t/acme",
            "//t/acme",
            "/t/%61cme",
            "/t/acme%2fx",
            "/t/acme;a=b",
            "/t/www",
            "/t/*",
        ] {
            assert!(matches!(read(bad), SourceOutcome::Invalid(_)), "{bad}");
        }
        assert!(matches!(read("/t/42"), SourceOutcome::Unverified(Candidate::Id(_))));
    }

    #[test]
    fn the_prefix_is_checked_at_the_start() {
        for bad in ["", "t", "/", "/t/", "/t%41", "/t?x"] {
            assert_eq!(PathSource::new(bad).unwrap_err().kind(), ErrorKind::Misconfigured, "{bad}");
        }
    }
}
