//! The headers `RateLimit` and `RateLimit-Policy`, as the draft
//! [ratelimit-headers](https://datatracker.ietf.org/doc/draft-ietf-httpapi-ratelimit-headers/) defines them.

use std::borrow::Cow;
use std::fmt::Write;
use std::time::Duration;

use crate::error::{ErrorKind, PlanDenial};
#[cfg(feature = "rates")]
use crate::quota::RateDecision;

/// The values of both headers. A limit that does not exist is not in them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct RateLimit {
    policies: String,
    limits: String,
}

/// The largest integer of structured fields (RFC 9651).
const LARGEST: u64 = 999_999_999_999_999;

impl RateLimit {
    /// Adds one policy: its name, its limit, the length of its window, what is left, and when it starts again.
    pub(super) fn add(
        &mut self,
        name: &str,
        limit: Option<u64>,
        window: Option<Duration>,
        remaining: u64,
        resets: Option<Duration>,
    ) {
        let Some(limit) = limit else { return };
        let name = quoted(name);
        let policy = [("q", Some(limit)), ("w", window.map(whole_seconds))];
        let state = [("r", Some(remaining)), ("t", resets.map(whole_seconds))];
        for (header, parameters) in [(&mut self.policies, policy), (&mut self.limits, state)] {
            let comma = if header.is_empty() { "" } else { ", " };
            let _ = write!(header, "{comma}{name}");
            for (key, value) in parameters.into_iter().filter_map(|(key, value)| Some((key, value?))) {
                let _ = write!(header, ";{key}={}", value.min(LARGEST));
            }
        }
    }

    /// Adds a rate: `limit` in its window. More than that may be allowed at once, where the plan has a burst, so a client
    /// that keeps to these numbers is never rejected.
    #[cfg(feature = "rates")]
    pub(super) fn add_rate(&mut self, rate: &RateDecision) {
        let (Some(limit), Some(remaining)) = (rate.limit.max(), rate.remaining) else { return };
        let window = Duration::from_secs(rate.seconds.into());
        self.add(rate.feature, Some(limit), Some(window), limit.min(remaining.into()), rate.reset_after);
    }

    pub(super) fn of_denial(kind: ErrorKind, denial: &PlanDenial) -> Self {
        let mut headers = Self::default();
        if let Some(feature) = &denial.feature {
            let remaining = denial.limit.unwrap_or(0).saturating_sub(denial.used.unwrap_or(u64::MAX));
            headers.add(feature, denial.limit, denial.window, remaining, denial.retry_after);
            if kind == ErrorKind::ConcurrencyLimit && !headers.policies.is_empty() {
                headers.policies.push_str(";qu=\"concurrent-requests\"");
            }
        }
        headers
    }

    pub(super) fn into_headers(self) -> impl Iterator<Item = (&'static str, Cow<'static, str>)> {
        [("ratelimit-policy", self.policies), ("ratelimit", self.limits)]
            .into_iter()
            .filter(|(_, value)| !value.is_empty())
            .map(|(name, value)| (name, value.into()))
    }
}

/// A time in seconds, rounded up: a client that waits so long does not come too early.
pub(super) fn whole_seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

/// A string of structured fields (RFC 9651): printable ASCII in quotes. Other characters become `?`.
fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            ' '..='~' => quoted.push(c),
            _ => quoted.push('?'),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_as_the_draft_has_them() {
        let mut headers = RateLimit::default();
        let seconds = Duration::from_secs;
        headers.add("api_calls", Some(1_000), Some(seconds(86_400)), 12, Some(Duration::from_millis(1_500)));
        headers.add("free", None, None, 0, None);
        headers.add("a \"b\\ é", Some(3), None, 0, None);
        let headers: Vec<_> = headers.into_headers().collect();
        assert_eq!(
            headers,
            [
                ("ratelimit-policy", r#""api_calls";q=1000;w=86400, "a \"b\\ ?";q=3"#.into()),
                ("ratelimit", r#""api_calls";r=12;t=2, "a \"b\\ ?";r=0"#.into()),
            ]
        );
        assert_eq!(RateLimit::default().into_headers().count(), 0);
    }
}
