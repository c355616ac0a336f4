//! [`Region`]: the name of a part of the world in which a tenant's data stays.

use std::fmt;
use std::sync::Arc;

use serde::{Serialize, Serializer};

use crate::error::{Error, ErrorKind, Result};

/// The name of a region, such as `eu` or `us-east-1`: 1 to 32 lower-case letters, digits and hyphens.
///
/// A tenant with a region is served only by processes that declare the same one: see
/// [`TenantDirectory::region`](crate::context::TenantDirectory::region).
///
/// ```
/// use tenancy::tenant::{NewTenant, Region, Slug};
///
/// let new = NewTenant::new(Slug::parse("acme")?, "Acme", "free").region(Region::parse("eu")?);
/// # let _ = new; Ok::<(), tenancy::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Region(Arc<str>);

impl Region {
    /// Checks a name.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] for any other text.
    pub fn parse(name: &str) -> Result<Self> {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if (1..=32).contains(&name.len()) && name.bytes().all(plain) {
            return Ok(Self(name.into()));
        }
        Err(Error::new(
            ErrorKind::InvalidInput,
            "not the name of a region: use 1 to 32 lower-case letters, digits and hyphens",
        ))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

impl Serialize for Region {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}
