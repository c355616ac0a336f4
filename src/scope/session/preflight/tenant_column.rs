//! The types of the tenant columns, and whether they agree with each other and with the declared type.

use tenancy_sql::TenantType;

use crate::error::{Error, ErrorKind, Result};

/// A tenant column of the database.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(unnameable_types, reason = "part of the sealed traits")]
pub struct TenantColumn {
    /// `orders.tenant_id`.
    pub(crate) name: String,
    /// The type, as the database writes it.
    pub(crate) written: String,
    pub(crate) is: ColumnType,
}

/// What a column can hold of a tenant's id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(not(feature = "sqlite"), expect(dead_code, reason = "the columns of PostgreSQL are typed"))]
pub(crate) enum ColumnType {
    /// Ids of this type, and the database rejects or converts others.
    Typed(TenantType),
    /// A bare value: those of another type are kept, and are another tenant's.
    Stored(TenantType),
    /// Any id.
    Any,
    /// Texts that look like numbers become numbers.
    Numeric,
}

/// The type of the tenant columns: the declared one, which every column must have; if none is declared, the one that
/// the columns have.
pub(in crate::scope::session) fn agreed_type(
    declared: Option<TenantType>,
    columns: &[TenantColumn],
) -> Result<Option<TenantType>> {
    let mut seen: Option<(&TenantColumn, TenantType, bool)> = None;
    for column in columns {
        let (is, typed) = match column.is {
            ColumnType::Typed(is) => (is, true),
            ColumnType::Stored(is) => (is, false),
            ColumnType::Any => continue,
            ColumnType::Numeric => {
                return Err(misconfigured(format!(
                    "the tenant column `{}` has the type `{}`, in which `1e2` and `100` are one value; give it the type \
                     TEXT, INTEGER or BLOB",
                    column.name, column.written
                )));
            }
        };
        if let Some(declared) = declared
            && declared != is
        {
            return Err(misconfigured(format!(
                "tenancy.toml declares the tenant columns as `{}`, and `{}` has the type `{}`; change `type` in \
                 tenancy.toml, or the column",
                declared.as_str(),
                column.name,
                column.written
            )));
        }
        match seen {
            Some((other, known, other_typed)) if known != is && (typed || other_typed) => {
                return Err(misconfigured(format!(
                    "the tenant columns `{}` (`{}`) and `{}` (`{}`) have different types, and a tenant's id is sent in \
                     one; give both the same type, or declare a table without tenants as `shared` in tenancy.toml",
                    other.name, other.written, column.name, column.written
                )));
            }
            Some((.., true)) => {}
            _ => seen = Some((column, is, typed)),
        }
    }
    // A column that stores every type does not determine the type of the ids.
    Ok(declared.or(seen.and_then(|(_, is, typed)| typed.then_some(is))))
}

fn misconfigured(text: String) -> Error {
    Error::new(ErrorKind::Misconfigured, text)
}
