//! [`Placement`]: where a tenant's rows are stored; [`PlacementName`]: the name of its schema or database.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

#[cfg(any(feature = "sqlite", feature = "postgres"))]
use super::id::{TenantId, TenantIdValue};
use crate::error::{Error, ErrorKind, Result};

/// Where a tenant's rows are stored: in shared tables, in a schema or in a database. Queries are the same in each.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Placement {
    /// In the shared tables, where the tenant column identifies the rows.
    Shared,
    /// In a schema of its own, in the database of the shared tables. PostgreSQL only.
    Schema {
        /// The schema's name.
        name: PlacementName,
    },
    /// In a database of its own: another PostgreSQL database, or an SQLite file.
    Database {
        /// The name by which a [`DatabaseRegistry`](crate::placement::DatabaseRegistry) knows the database. Never a URL,
        /// which would contain a password.
        name: PlacementName,
    },
}

/// In words, such as `schema t_018f3f5e3a5a7c3e9d0a000000000001` or `shared tables`.
impl fmt::Display for Placement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shared => f.write_str("shared tables"),
            Self::Schema { name } => write!(f, "schema {name}"),
            Self::Database { name } => write!(f, "database {name}"),
        }
    }
}

#[cfg(any(feature = "sqlite", feature = "postgres"))]
impl Placement {
    /// The placement of a tenant in a schema of its own, whose name is made from the tenant's id.
    ///
    /// ```
    /// use tenancy::tenant::{Placement, TenantId};
    ///
    /// let id = TenantId::parse("018f3f5e-3a5a-7c3e-9d0a-000000000001")?;
    /// let Placement::Schema { name } = Placement::schema_of(&id) else { unreachable!() };
    /// assert_eq!(name.as_str(), "t_018f3f5e3a5a7c3e9d0a000000000001");
    /// # Ok::<(), tenancy::Error>(())
    /// ```
    pub fn schema_of(id: &TenantId) -> Self {
        Self::Schema { name: PlacementName::of(id) }
    }

    /// The placement of a tenant in a database of its own, whose name is made from the tenant's id.
    pub fn database_of(id: &TenantId) -> Self {
        Self::Database { name: PlacementName::of(id) }
    }

    /// The kind of a placement, for logs and metrics. The name of a place contains the id of its tenant.
    #[cfg(any(feature = "sqlite", feature = "postgres"))]
    pub(crate) const fn class(&self) -> &'static str {
        match self {
            Self::Shared => "shared",
            Self::Schema { .. } => "schema",
            Self::Database { .. } => "database",
        }
    }
}

/// The name of a schema or of a database: 1 to 63 lower-case letters, digits, `_` and `-`, the first a letter.
///
/// PostgreSQL cuts a longer name off, so two tenants would get one schema. `public`, `information_schema` and names
/// that begin with `pg_` are not names of a placement.
///
/// ```
/// use tenancy::tenant::PlacementName;
///
/// assert_eq!(PlacementName::parse("cluster-7")?.as_str(), "cluster-7");
/// assert!(PlacementName::parse("public").is_err());
/// assert!(PlacementName::parse("../other").is_err());
/// # Ok::<(), tenancy::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct PlacementName(Arc<str>);

impl PlacementName {
    /// Checks a name.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] for any other text.
    pub fn parse(name: &str) -> Result<Self> {
        let plain =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_' || byte == b'-';
        let reserved = name == "public" || name == "information_schema" || name.starts_with("pg_");
        let starts_well = name.as_bytes().first().is_some_and(u8::is_ascii_lowercase);
        if starts_well && name.len() <= 63 && name.bytes().all(plain) && !reserved {
            return Ok(Self(name.into()));
        }
        Err(Error::new(
            ErrorKind::InvalidInput,
            "not the name of a placement: use 1 to 63 lower-case letters, digits, `_` and `-`, the first a letter; not \
             `public`, `information_schema` or a name that begins with `pg_`",
        ))
    }

    /// The name that is made from a tenant's id, always of the same length.
    ///
    /// It is `t_` and the 32 digits of a UUID; of another kind of id, the first 32 digits of the SHA-256 of its text.
    #[cfg(any(feature = "sqlite", feature = "postgres"))]
    pub fn of(id: &TenantId) -> Self {
        use sha2::{Digest, Sha256};

        let bits = match id.value() {
            TenantIdValue::Uuid(uuid) => uuid.as_u128(),
            TenantIdValue::Int(_) | TenantIdValue::Text(_) => {
                let hash = Sha256::digest(id.to_string());
                hash.iter().take(16).fold(0, |bits, byte| bits << 8 | u128::from(*byte))
            }
        };
        Self(format!("t_{bits:032x}").into())
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for PlacementName {
    type Error = Error;

    fn try_from(name: String) -> Result<Self> {
        Self::parse(&name)
    }
}

impl fmt::Display for PlacementName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for PlacementName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

#[cfg(all(test, any(feature = "sqlite", feature = "postgres")))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_that_a_database_reads_otherwise_are_rejected() {
        let long = "a".repeat(64);
        for bad in [
            "",
            "public",
            "pg_catalog",
            "pg_x",
            "information_schema",
            "$user",
            "Acme",
            "acme corp",
            "a\"b",
            "a'b",
            "a\0b",
            "../x",
            "x/../y",
            "x.db",
            "1a",
            "_a",
            "-a",
            "ä",
            &long,
        ] {
            let error = PlacementName::parse(bad).expect_err(bad);
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{bad}");
            let stored = serde_json::json!({ "kind": "schema", "name": bad });
            assert!(serde_json::from_value::<Placement>(stored).is_err(), "{bad} is read from a store");
        }
    }

    #[test]
    fn a_stored_placement_reads_back() {
        for placement in [
            Placement::Shared,
            Placement::schema_of(&TenantId::random()),
            Placement::Database { name: PlacementName::parse("cluster-7").unwrap() },
        ] {
            let text = serde_json::to_string(&placement).unwrap();
            assert_eq!(serde_json::from_str::<Placement>(&text).unwrap(), placement, "{text}");
        }
    }

    proptest! {
        /// Also for texts that differ only behind the 63 bytes at which PostgreSQL cuts a name off.
        #[test]
        fn two_ids_have_two_names_of_one_length(a in "[a-z][a-z0-9-]{1,61}[a-z0-9]|[1-9][0-9]{0,17}", b in "[a-z][a-z0-9-]{1,61}[a-z0-9]|[1-9][0-9]{0,17}") {
            let (Ok(a), Ok(b)) = (TenantId::parse(&a), TenantId::parse(&b)) else { return Ok(()) };
            let (name, other) = (PlacementName::of(&a), PlacementName::of(&b));
            prop_assert_eq!(name.as_str().len(), 34);
            prop_assert_eq!(PlacementName::parse(name.as_str()).unwrap(), name.clone());
            prop_assert_eq!(name == other, a == b);
        }
    }
}
