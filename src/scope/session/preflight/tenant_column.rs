//! [`TenantColumn`]: a tenant column with its type; [`agreed_type`]: the one type that all of them have.

use tenancy_sql::TenantType;

use crate::error::{Error, ErrorKind, Result};

/// A tenant column of the database.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(unnameable_types, reason = "part of the sealed traits")]
pub struct TenantColumn {
    /// The table and the column: `orders.tenant_id`.
    pub(crate) name: String,
    /// The type, as the database names it.
    pub(crate) type_name: String,
    pub(crate) column_type: ColumnType,
}

/// Which tenant ids a column can contain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(not(feature = "sqlite"), expect(dead_code, reason = "the columns of PostgreSQL are typed"))]
pub(crate) enum ColumnType {
    /// Ids of this type. The database rejects or converts other values.
    Typed(TenantType),
    /// Ids of this type. The database stores values of other types unchanged, and they belong to another tenant.
    Stored(TenantType),
    /// Any id.
    Any,
    /// Numbers. The database converts text that looks like a number.
    Numeric,
}

/// The type of all tenant columns.
///
/// It is the declared type, which every column must have. If no type is declared, it is the type of the columns,
/// which must agree.
pub(in crate::scope::session) fn agreed_type(
    declared: Option<TenantType>,
    columns: &[TenantColumn],
) -> Result<Option<TenantType>> {
    let mut seen: Option<(&TenantColumn, TenantType, bool)> = None;
    for column in columns {
        let (found, typed) = match column.column_type {
            ColumnType::Typed(found) => (found, true),
            ColumnType::Stored(found) => (found, false),
            ColumnType::Any => continue,
            ColumnType::Numeric => {
                return Err(misconfigured(format!(
                    "the tenant column `{}` has the type `{}`, in which `1e2` and `100` are one value; give it the type \
                     TEXT, INTEGER or BLOB",
                    column.name, column.type_name
                )));
            }
        };
        if let Some(declared) = declared
            && declared != found
        {
            return Err(misconfigured(format!(
                "tenancy.toml declares the tenant columns as `{}`, and `{}` has the type `{}`; change `type` in \
                 tenancy.toml, or the column",
                declared.as_str(),
                column.name,
                column.type_name
            )));
        }
        match seen {
            Some((other, known, other_typed)) if known != found && (typed || other_typed) => {
                return Err(misconfigured(format!(
                    "the tenant columns `{}` (`{}`) and `{}` (`{}`) have different types, and a tenant id is bound with \
                     one type; give both the same type, or declare a table without tenants as `shared` in tenancy.toml",
                    other.name, other.type_name, column.name, column.type_name
                )));
            }
            Some((.., true)) => {}
            _ => seen = Some((column, found, typed)),
        }
    }
    // A column that stores values of every type does not determine the type of the ids.
    Ok(declared.or(seen.and_then(|(_, found, typed)| typed.then_some(found))))
}

fn misconfigured(text: String) -> Error {
    Error::new(ErrorKind::Misconfigured, text)
}
