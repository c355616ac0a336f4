//! The type that tenant columns have: a tenant's id is bound as it, and the columns of the database must agree.

use sqlx::error::BoxDynError;
use tenancy_sql::TenantType;
use uuid::Uuid;

use crate::error::{Error, ErrorKind, Result};
use crate::tenant::{TenantId, TenantIdValue};

/// A tenant's id as the tenant columns hold it.
#[derive(Debug, Clone)]
#[doc(hidden)]
#[expect(unnameable_types, reason = "of a sealed trait's hidden methods")]
pub struct BoundTenant {
    pub(crate) id: TenantId,
    /// Where it is not known, the kind of the id decides.
    pub(crate) column: Option<TenantType>,
}

/// What is sent.
pub(crate) enum Sent {
    Uuid(Uuid),
    Int(i64),
    Text(String),
}

impl BoundTenant {
    pub(crate) fn sent(&self) -> Result<Sent, BoxDynError> {
        let (id, column) = (self.id.value(), self.column);
        Ok(match (id, column) {
            (_, Some(TenantType::Text)) => Sent::Text(self.id.to_string()),
            (TenantIdValue::Uuid(id), None | Some(TenantType::Uuid)) => Sent::Uuid(id),
            (TenantIdValue::Int(id), None | Some(TenantType::BigInt)) => Sent::Int(id),
            (TenantIdValue::Text(id), None) => Sent::Text(id.to_owned()),
            (_, Some(column)) => {
                return Err(Box::new(Error::new(
                    ErrorKind::Misconfigured,
                    format!(
                        "the tenant columns have the type `{}`, and this tenant's id is none; use ids of that type, or \
                         columns of the type `text`",
                        column.as_str()
                    ),
                )));
            }
        })
    }
}

/// A tenant's id goes to the database in the type of its column, and by itself in the type of its own kind.
macro_rules! encode_tenant_id {
    ($db:ty) => {
        encode_tenant_id!($db, crate::tenant::TenantId, |id: &crate::tenant::TenantId| {
            crate::scope::backend::BoundTenant { id: id.clone(), column: None }.sent()
        });
        encode_tenant_id!(
            $db,
            crate::scope::backend::BoundTenant,
            |tenant: &crate::scope::backend::BoundTenant| tenant.sent()
        );
    };
    ($db:ty, $id:ty, $sent:expr) => {
        impl sqlx::Type<$db> for $id {
            fn type_info() -> <$db as sqlx::Database>::TypeInfo {
                <str as sqlx::Type<$db>>::type_info()
            }

            fn compatible(ty: &<$db as sqlx::Database>::TypeInfo) -> bool {
                <uuid::Uuid as sqlx::Type<$db>>::compatible(ty)
                    || <i64 as sqlx::Type<$db>>::compatible(ty)
                    || <str as sqlx::Type<$db>>::compatible(ty)
            }
        }

        impl<'q> sqlx::Encode<'q, $db> for $id {
            fn encode_by_ref(
                &self,
                buf: &mut <$db as sqlx::Database>::ArgumentBuffer,
            ) -> Result<sqlx::encode::IsNull, sqlx::error::BoxDynError> {
                use crate::scope::backend::tenant_type::Sent;
                match $sent(self)? {
                    Sent::Uuid(uuid) => sqlx::Encode::<'_, $db>::encode(uuid, buf),
                    Sent::Int(int) => sqlx::Encode::<'_, $db>::encode(int, buf),
                    Sent::Text(text) => sqlx::Encode::<'_, $db>::encode(text, buf),
                }
            }

            fn produces(&self) -> Option<<$db as sqlx::Database>::TypeInfo> {
                use crate::scope::backend::tenant_type::Sent;
                Some(match $sent(self).ok()? {
                    Sent::Uuid(_) => <uuid::Uuid as sqlx::Type<$db>>::type_info(),
                    Sent::Int(_) => <i64 as sqlx::Type<$db>>::type_info(),
                    Sent::Text(_) => <str as sqlx::Type<$db>>::type_info(),
                })
            }
        }
    };
}
pub(super) use encode_tenant_id;

/// A tenant column of the database.
#[derive(Debug, Clone, PartialEq, Eq)]
#[doc(hidden)]
#[expect(unnameable_types, reason = "of a sealed trait's hidden methods")]
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
pub(in crate::scope) fn agreed_type(
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
