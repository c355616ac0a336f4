//! [`TenantId`]: the identity of a tenant.

use std::fmt;
use std::sync::Arc;

use serde::{Serialize, Serializer};
use uuid::Uuid;

use super::slug::slug_fault;
use crate::error::{Error, ErrorKind, Result};

/// The permanent id of a tenant. It never changes and is never reused.
///
/// The id is a UUID, a positive integer, or a slug-like text of at most 63 bytes, whichever your tables use. Parsing
/// normalises it: two ids are equal if and only if their texts are equal.
///
/// In a statement of your own, an id binds as `uuid`, `bigint` or `text`, according to its kind. If your tenant
/// columns are declared as `text`, bind `id.to_string()`. The tenant value that a scope adds has the declared type.
///
/// # Security
/// There is no `Default`, no `From<&str>` and no `Deserialize`, so an id cannot come from a request body by
/// accident. Nil and max UUIDs, `0`, the empty text, `*` and the like are not ids.
///
/// ```
/// use tenancy::tenant::TenantId;
///
/// let id = TenantId::parse("018f3f5e-3a5a-7c3e-9d0a-000000000001")?;
/// assert_eq!(id, TenantId::parse("018F3F5E-3A5A-7C3E-9D0A-000000000001")?);
/// assert_eq!(TenantId::parse("42")?.to_string(), "42");
/// assert!(TenantId::parse("acme'--").is_err());
/// # Ok::<(), tenancy::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TenantId(Repr);

#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Repr {
    /// The halves of the UUID: two numbers are copied and compared faster than 16 bytes.
    Uuid(u64, u64),
    Int(i64),
    Text(Arc<str>),
}

impl Repr {
    fn of(uuid: Uuid) -> Self {
        let (high, low) = uuid.as_u64_pair();
        Self::Uuid(high, low)
    }
}

/// The value of a [`TenantId`], in the type of the column that holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum TenantIdValue<'a> {
    /// For a `uuid` column (SQLite: a 16-byte blob, as sqlx stores a `Uuid`).
    Uuid(Uuid),
    /// For a `bigint` column.
    Int(i64),
    /// For a `text` column.
    Text(&'a str),
}

impl TenantId {
    /// Creates a random id: a UUID of version 7, which sorts by time of creation.
    pub fn random() -> Self {
        Self(Repr::of(Uuid::now_v7()))
    }

    /// Parses an id: a hyphenated UUID, a positive decimal integer, or a slug-like text.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] for any other text. The error does not contain the text.
    pub fn parse(text: &str) -> Result<Self> {
        let invalid = |why: &str| {
            Error::new(
                ErrorKind::InvalidInput,
                format!(
                    "not a tenant id: {why}; use a hyphenated UUID, a positive integer, or a slug-like text"
                ),
            )
        };
        if text.is_empty() || text.len() > 63 {
            return Err(invalid("it must be 1 to 63 bytes long"));
        }
        if text.bytes().all(|b| b.is_ascii_digit()) {
            if text.starts_with('0') {
                return Err(invalid("an integer starts with 1 to 9"));
            }
            return text.parse().map(|n| Self(Repr::Int(n))).map_err(|_| invalid("it is too large"));
        }
        if text.len() == 36
            && let Ok(uuid) = Uuid::try_parse(text)
        {
            return Self::from_uuid(uuid);
        }
        match slug_fault(text) {
            Some(why) => Err(invalid(why)),
            None => Ok(Self(Repr::Text(text.into()))),
        }
    }

    /// Creates an id from a UUID.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] for the nil and the max UUID.
    pub fn from_uuid(uuid: Uuid) -> Result<Self> {
        if uuid.is_nil() || uuid.is_max() {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                "not a tenant id: the nil and the max UUID name no tenant",
            ));
        }
        Ok(Self(Repr::of(uuid)))
    }

    /// Creates an id from an integer.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] for zero and negative numbers.
    pub fn from_int(id: i64) -> Result<Self> {
        if id < 1 {
            return Err(Error::new(ErrorKind::InvalidInput, "not a tenant id: an integer id is 1 or more"));
        }
        Ok(Self(Repr::Int(id)))
    }

    /// The id in the type of its database column.
    #[inline]
    pub fn value(&self) -> TenantIdValue<'_> {
        match &self.0 {
            Repr::Uuid(high, low) => TenantIdValue::Uuid(Uuid::from_u64_pair(*high, *low)),
            Repr::Int(int) => TenantIdValue::Int(*int),
            Repr::Text(text) => TenantIdValue::Text(text),
        }
    }
}

/// The canonical text: lower-case hyphenated UUID, decimal integer, or the text itself.
impl fmt::Display for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.value() {
            TenantIdValue::Uuid(uuid) => uuid.hyphenated().fmt(f),
            TenantIdValue::Int(int) => int.fmt(f),
            TenantIdValue::Text(text) => text.fmt(f),
        }
    }
}

impl fmt::Debug for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TenantId({self})")
    }
}

impl Serialize for TenantId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn hostile_and_empty_ids_are_rejected() {
        for bad in [
            "",
            "0",
            "-1",
            "007",
            "*",
            "acme'--",
            "acme\"; drop schema",
            "../beta",
            "a\nb",
            "%0d%0a",
            "${jndi}",
            "null",
            "undefined",
            "NaN",
            "true",
            "__proto__",
            "public",
            "pg_catalog",
            "information_schema",
            "Acme",
            "a",
            "-acme",
            "acme-",
            "xn--acme",
            "a_b",
            " acme",
            "acme ",
            "9223372036854775808",
            "00000000-0000-0000-0000-000000000000",
            "ffffffff-ffff-ffff-ffff-ffffffffffff",
            "018f3f5e3a5a7c3e9d0a000000000001",
            "{018f3f5e-3a5a-7c3e-9d0a-000000000001}",
            "urn:uuid:018f3f5e-3a5a-7c3e-9d0a-000000000001",
        ] {
            let error = TenantId::parse(bad).expect_err(bad);
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
            assert!(bad.len() < 4 || !error.to_string().contains(bad), "the input is repeated: {error}");
        }
        assert!(TenantId::parse(&"a".repeat(64)).is_err());
        assert!(TenantId::from_int(0).is_err());
        assert!(TenantId::from_uuid(Uuid::nil()).is_err());
    }

    proptest! {
        #[test]
        fn the_text_of_an_id_reads_back_as_that_id(text in "\\PC{0,40}|[a-z0-9-]{1,64}|[0-9]{1,20}") {
            if let Ok(id) = TenantId::parse(&text) {
                prop_assert_eq!(TenantId::parse(&id.to_string()).unwrap(), id);
            }
        }

        #[test]
        fn every_uuid_but_two_is_an_id(bits: u128) {
            prop_assume!(bits != 0 && bits != u128::MAX);
            let id = TenantId::from_uuid(Uuid::from_u128(bits)).unwrap();
            prop_assert_eq!(TenantId::parse(&id.to_string().to_uppercase()).unwrap(), id);
        }
    }
}
