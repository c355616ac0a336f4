use super::view::RequestView;
use super::{Naming, Source, SourceOutcome};
use crate::context::ResolvedBy;
use crate::error::{Error, ErrorKind, Result};

/// Reads the tenant from the path: the one segment after a prefix, as in `/t/acme/orders`.
///
/// A UUID or an integer in it is an id, anything else a slug; [`ids`](Self::ids) and [`slugs`](Self::slugs)
/// settle it. The segment is never decoded: a percent sign in it is refused. So is a path with a segment `.` or `..`, or
/// two slashes at its start, wherever it leads: others would read another path there.
///
/// The path is the whole one that was sent, also where the middleware stands within a nested router of axum. Under any
/// other that strips what it matched, the middleware must stand outside.
///
/// # Security
/// A path is a selection, not evidence.
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
    /// A source over the segment after `prefix`.
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

    /// The segment is always an id.
    pub fn ids(self) -> Self {
        Self { naming: Naming::Id, ..self }
    }

    /// The segment is always a slug.
    pub fn slugs(self) -> Self {
        Self { naming: Naming::Slug, ..self }
    }
}

impl Source for PathSource {
    fn read(&self, request: &dyn RequestView) -> SourceOutcome {
        let path = request.path();
        let rest = path.strip_prefix(self.prefix.as_str()).and_then(|rest| rest.strip_prefix('/'));
        match rest {
            _ if is_untidy(path) => SourceOutcome::Invalid(Error::new(
                ErrorKind::InvalidInput,
                "the path begins with two slashes, or has a segment `.` or `..`; send it without",
            )),
            None | Some("") => SourceOutcome::Absent,
            Some(rest) => {
                let segment = rest.split('/').next().unwrap_or_default();
                self.naming.read(segment).map_or_else(SourceOutcome::Invalid, SourceOutcome::Unverified)
            }
        }
    }

    fn resolved_by(&self) -> ResolvedBy {
        ResolvedBy::Path
    }
}

/// Whether a proxy, or what stands behind us, would make another path of it, and find another tenant there.
fn is_untidy(path: &str) -> bool {
    let is_dots = |segment: &str| matches!(&*segment.to_ascii_lowercase().replace("%2e", "."), "." | "..");
    let mut short = path.split('/').filter(|segment| segment.starts_with(['.', '%']) && segment.len() <= 6);
    path.starts_with("//") || short.any(is_dots)
}

#[cfg(test)]
mod tests {
    use super::super::Candidate;
    use super::super::view::OwnedRequest;
    use super::*;

    #[test]
    fn the_one_segment_after_the_prefix_counts() {
        let source = PathSource::new("/t").unwrap();
        let read = |path: &str| source.read(&OwnedRequest::get(path));
        for good in ["/t/acme", "/t/acme/", "/t/acme/orders/globex", "/t/ACME"] {
            let signal = read(good);
            assert!(
                matches!(&signal, SourceOutcome::Unverified(Candidate::Slug(slug)) if slug.as_str() == "acme"),
                "{good}: {signal:?}"
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
