//! [`BoundTenant`]: binds a tenant id in the type of the tenant columns.

use sqlx::error::BoxDynError;
use tenancy_sql::TenantType;
use uuid::Uuid;

use crate::error::{Error, ErrorKind};
use crate::tenant::{TenantId, TenantIdValue};

/// A tenant id with the type of the tenant columns.
#[derive(Debug, Clone)]
#[expect(unnameable_types, reason = "part of the sealed traits")]
pub struct BoundTenant {
    pub(crate) id: TenantId,
    /// If it is `None`, the kind of the id decides.
    pub(crate) column: Option<TenantType>,
}

/// A tenant id as the value that is sent to the database.
pub(crate) enum EncodedId {
    Uuid(Uuid),
    Int(i64),
    Text(String),
}

impl BoundTenant {
    pub(crate) fn encoded(&self) -> Result<EncodedId, BoxDynError> {
        let (id, column) = (self.id.value(), self.column);
        Ok(match (id, column) {
            (_, Some(TenantType::Text)) => EncodedId::Text(self.id.to_string()),
            (TenantIdValue::Uuid(id), None | Some(TenantType::Uuid)) => EncodedId::Uuid(id),
            (TenantIdValue::Int(id), None | Some(TenantType::BigInt)) => EncodedId::Int(id),
            (TenantIdValue::Text(id), None) => EncodedId::Text(id.to_owned()),
            (_, Some(column)) => {
                return Err(Box::new(Error::new(
                    ErrorKind::Misconfigured,
                    format!(
                        "the tenant columns have the type `{}`, and this tenant's id has another type; use ids of that \
                         type, or columns of the type `text`",
                        column.as_str()
                    ),
                )));
            }
        })
    }
}

/// Implements sqlx's `Type` and `Encode`: for [`BoundTenant`] in the type of the tenant columns, for a plain
/// `TenantId` in the type of its own kind.
macro_rules! encode_tenant_id {
    ($db:ty) => {
        encode_tenant_id!($db, crate::tenant::TenantId, |id: &crate::tenant::TenantId| {
            crate::database::BoundTenant { id: id.clone(), column: None }.encoded()
        });
        encode_tenant_id!($db, crate::database::BoundTenant, |tenant: &crate::database::BoundTenant| tenant
            .encoded());
    };
    ($db:ty, $id:ty, $encoded:expr) => {
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
                use crate::database::tenant_id::EncodedId;
                match $encoded(self)? {
                    EncodedId::Uuid(uuid) => sqlx::Encode::<'_, $db>::encode(uuid, buf),
                    EncodedId::Int(int) => sqlx::Encode::<'_, $db>::encode(int, buf),
                    EncodedId::Text(text) => sqlx::Encode::<'_, $db>::encode(text, buf),
                }
            }

            fn produces(&self) -> Option<<$db as sqlx::Database>::TypeInfo> {
                use crate::database::tenant_id::EncodedId;
                Some(match $encoded(self).ok()? {
                    EncodedId::Uuid(_) => <uuid::Uuid as sqlx::Type<$db>>::type_info(),
                    EncodedId::Int(_) => <i64 as sqlx::Type<$db>>::type_info(),
                    EncodedId::Text(_) => <str as sqlx::Type<$db>>::type_info(),
                })
            }
        }
    };
}
pub(super) use encode_tenant_id;
