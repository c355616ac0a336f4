//! Which names of tables and columns are accepted.

use std::fmt;

/// A name or declaration that this crate does not accept: the reason, and how to fix it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchemaError(pub(crate) String);

impl fmt::Display for SchemaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for SchemaError {}

pub(crate) fn plain_name(what: &str, name: &str) -> Result<(), SchemaError> {
    let plain = !name.is_empty()
        && name.len() <= 63
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        && !name.as_bytes()[0].is_ascii_digit();
    if plain {
        return Ok(());
    }
    Err(SchemaError(format!(
        "the {what} `{}` is not a plain name; use 1 to 63 letters, digits and underscores, not a digit first",
        name.escape_debug()
    )))
}

#[cfg(feature = "schema")]
pub(crate) fn table_name(name: &str) -> Result<(), SchemaError> {
    name.split('.').try_for_each(|part| plain_name("table", part))
}

/// Rejects names that are reserved for the guards of the rewriter.
pub(crate) fn not_of_a_guard(name: &str) -> Result<(), SchemaError> {
    if !name.to_ascii_lowercase().starts_with("__tnt") {
        return Ok(());
    }
    Err(SchemaError(format!(
        "T015: the name `{name}` begins with `__tnt`, which is reserved; choose another"
    )))
}
