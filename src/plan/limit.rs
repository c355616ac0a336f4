//! [`Limit`]: a number, or none.

use std::fmt;

use serde::Serialize;

/// How much of something a plan allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "a limit is a number or none, for good")]
pub enum Limit {
    /// No limit. What is used is still counted.
    Unlimited,
    /// At most this number; `AtMost(0)` allows none.
    AtMost(u64),
}

/// 2^53 − 1: the largest integer that every database and every JSON parser represents exactly.
pub(crate) const MAX_NUMBER: u64 = (1 << 53) - 1;

impl Limit {
    /// Whether `total` is within the limit.
    pub const fn allows(self, total: u64) -> bool {
        match self {
            Self::Unlimited => true,
            Self::AtMost(max) => total <= max,
        }
    }

    /// The number, or `None` for unlimited.
    pub const fn max(self) -> Option<u64> {
        match self {
            Self::Unlimited => None,
            Self::AtMost(max) => Some(max),
        }
    }

    /// The limit plus a number, which may be negative. It does not fall below 0 and does not rise above 2^53 − 1.
    pub(super) fn plus(self, more: i64) -> Self {
        match self {
            Self::Unlimited => Self::Unlimited,
            Self::AtMost(max) => Self::AtMost(max.saturating_add_signed(more).min(MAX_NUMBER)),
        }
    }
}

/// Serialises as a number, or as `null` for unlimited.
impl Serialize for Limit {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.max().serialize(serializer)
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unlimited => f.write_str("unlimited"),
            Self::AtMost(max) => max.fmt(f),
        }
    }
}
