//! [`TenantType`]: the type of the tenant columns in the database.

use crate::name::SchemaError;

/// The type of the tenant columns in the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TenantType {
    /// `uuid`.
    Uuid,
    /// `bigint`.
    BigInt,
    /// `text`.
    Text,
}

impl TenantType {
    /// The name in `tenancy.toml`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Uuid => "uuid",
            Self::BigInt => "bigint",
            Self::Text => "text",
        }
    }

    pub(crate) fn parse(name: &str) -> Result<Self, SchemaError> {
        [Self::Uuid, Self::BigInt, Self::Text].into_iter().find(|known| known.as_str() == name).ok_or_else(
            || {
                SchemaError(format!(
                    "the type `{}` of the tenant column is not known; write \"uuid\", \"bigint\" or \"text\"",
                    name.escape_debug()
                ))
            },
        )
    }
}
