//! The check of an amount.

use crate::error::{Error, ErrorKind, Result};
use crate::plan::MAX_NUMBER;

/// An amount to count, from 1 to 2^53 − 1.
pub(super) fn checked_amount(n: u64) -> Result<u64> {
    match n {
        1..=MAX_NUMBER => Ok(n),
        _ => Err(Error::new(ErrorKind::InvalidInput, "the amount must be 1 to 2^53 - 1")),
    }
}
