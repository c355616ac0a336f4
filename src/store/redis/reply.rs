//! Reads the texts that a script returns.

use crate::error::{Error, ErrorKind, Result};

pub(super) fn number<T: std::str::FromStr>(text: &str) -> Result<T> {
    text.parse().map_err(|_| malformed())
}

pub(super) fn malformed() -> Error {
    Error::new(
        ErrorKind::Database,
        "Redis returned no count; were its keys written by hand, or by a newer version?",
    )
}
