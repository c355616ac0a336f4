//! [`Texts`]: the texts that an expression of a Rust file can have.

use std::collections::BTreeSet;

/// Texts beyond this number are not read. Each `+` multiplies the texts of its two sides.
const MOST: usize = 64;
/// The texts of an expression.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Texts {
    pub(crate) known: BTreeSet<String>,
    /// Whether the expression can have a text that the file does not show.
    pub(crate) unread: bool,
    /// The files of `include_str!` that cannot be read, with the reasons.
    pub(crate) missing: BTreeSet<String>,
}

impl Texts {
    pub(crate) fn unread() -> Self {
        Self { unread: true, ..Self::default() }
    }

    pub(crate) fn one(text: String) -> Self {
        Self { known: BTreeSet::from([text]), ..Self::default() }
    }

    pub(crate) fn or(mut self, other: Self) -> Self {
        self.known.extend(other.known);
        self.unread |= other.unread;
        self.missing.extend(other.missing);
        if self.known.len() > MOST { Self::unread() } else { self }
    }

    pub(crate) fn then(&self, other: &Self) -> Self {
        if self.known.len() * other.known.len() > MOST {
            return Self::unread();
        }
        let texts = self.known.iter().flat_map(|a| other.known.iter().map(move |b| format!("{a}{b}")));
        Self {
            known: texts.collect(),
            unread: self.unread || other.unread,
            missing: self.missing.union(&other.missing).cloned().collect(),
        }
    }
}
