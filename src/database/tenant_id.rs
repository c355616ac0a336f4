//! Binds a tenant id in the type of the tenant columns.

use sqlx::error::BoxDynError;
use tenancy_sql::TenantType;
use uuid::Uuid;

use crate::error::{Error, ErrorKind};
use crate::tenant::{TenantId, TenantIdValue};

/// A tenant's id as the tenant columns hold it.
#[derive(Debug, Clone)]
#[expect(unnameable_types, reason = "part of the sealed traits")]
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
            crate::database::BoundTenant { id: id.clone(), column: None }.sent()
        });
        encode_tenant_id!($db, crate::database::BoundTenant, |tenant: &crate::database::BoundTenant| tenant
            .sent());
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
                use crate::database::tenant_id::Sent;
                match $sent(self)? {
                    Sent::Uuid(uuid) => sqlx::Encode::<'_, $db>::encode(uuid, buf),
                    Sent::Int(int) => sqlx::Encode::<'_, $db>::encode(int, buf),
                    Sent::Text(text) => sqlx::Encode::<'_, $db>::encode(text, buf),
                }
            }

            fn produces(&self) -> Option<<$db as sqlx::Database>::TypeInfo> {
                use crate::database::tenant_id::Sent;
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
