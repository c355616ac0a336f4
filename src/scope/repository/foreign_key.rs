//! [`ForeignKey`]: a reference to a row of the same tenant.

use std::fmt;
use std::hash::{Hash, Hasher};

use serde::{Serialize, Serializer};
use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::{Decode, Encode, Type};

use super::row::TenantRow;
use crate::error::{Error, ErrorKind};
use crate::scope::session::{Backend, decoding, is_encoding_for};
use crate::tenant::TenantId;

/// A reference to a row of type `T` in the same tenant: the id of the row, and its tenant.
///
/// [`TenantScoped::foreign_key`](crate::TenantScoped::foreign_key) looks the row up and returns it. A row that the
/// repository reads contains it in its fields. Binding it for another tenant is an error before anything is sent. An
/// id from a request is not a `ForeignKey`, so it cannot be written into a row before its row was looked up.
///
/// ```
/// use tenancy::scope::Tx;
/// use tenancy::scope::row::ForeignKey;
/// use tenancy::{Error, ErrorKind, TenantScoped};
///
/// #[derive(TenantScoped, sqlx::FromRow)]
/// #[tenant(table = "customers")]
/// struct Customer {
///     #[tenant(id)]
///     id: i64,
/// }
///
/// #[derive(TenantScoped, sqlx::FromRow)]
/// #[tenant(table = "orders")]
/// struct Order {
///     #[tenant(id)]
///     id: i64,
///     #[sqlx(rename = "customer_id")]
///     customer: ForeignKey<Customer>,
/// }
///
/// async fn insert_order(tx: &mut Tx<'_, sqlx::Sqlite>, id: i64, customer: i64) -> tenancy::Result<()> {
///     let customer = Customer::foreign_key(&mut *tx, customer).await?;
///     let customer = customer.ok_or_else(|| Error::new(ErrorKind::NotFound, "no such customer"))?;
///     Order::insert(tx, &Order { id, customer }).await
/// }
/// ```
///
/// The column contains the plain id. A field of the plain type works as well; then only the database checks it.
///
/// # Security
/// An id cannot be converted into a `ForeignKey`: there is no constructor, no `From` and no `Deserialize`. Only the
/// repository decodes it, because there the row is known to belong to the tenant. Your own SQL reads the plain id.
///
/// A `ForeignKey` does not guarantee that the row still exists. Add a constraint to the table as well:
/// `FOREIGN KEY (tenant_id, customer_id) REFERENCES customers`.
pub struct ForeignKey<T: TenantRow> {
    id: T::Id,
    tenant: TenantId,
}

impl<T: TenantRow> ForeignKey<T> {
    pub(super) fn new(id: T::Id, tenant: TenantId) -> Self {
        Self { id, tenant }
    }

    /// The id of the row.
    pub fn id(&self) -> &T::Id {
        &self.id
    }
}

impl<T: TenantRow> Clone for ForeignKey<T> {
    fn clone(&self) -> Self {
        Self { id: self.id.clone(), tenant: self.tenant.clone() }
    }
}

impl<T: TenantRow> PartialEq for ForeignKey<T>
where
    T::Id: PartialEq,
{
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id && self.tenant == other.tenant
    }
}

impl<T: TenantRow> Eq for ForeignKey<T> where T::Id: Eq {}

impl<T: TenantRow> Hash for ForeignKey<T>
where
    T::Id: Hash,
{
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.id.hash(state);
        self.tenant.hash(state);
    }
}

impl<T: TenantRow> fmt::Debug for ForeignKey<T>
where
    T::Id: fmt::Debug,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ForeignKey").field(&self.id).finish()
    }
}

/// Serializes the plain id.
impl<T: TenantRow> Serialize for ForeignKey<T>
where
    T::Id: Serialize,
{
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.id.serialize(serializer)
    }
}

impl<DB: Backend, T: TenantRow> Type<DB> for ForeignKey<T>
where
    T::Id: Type<DB>,
{
    fn type_info() -> DB::TypeInfo {
        T::Id::type_info()
    }

    fn compatible(ty: &DB::TypeInfo) -> bool {
        T::Id::compatible(ty)
    }
}

impl<'r, DB: Backend, T: TenantRow> Decode<'r, DB> for ForeignKey<T>
where
    T::Id: Decode<'r, DB>,
{
    fn decode(value: DB::ValueRef<'r>) -> Result<Self, BoxDynError> {
        let tenant = decoding().ok_or(
            "only the repository reads a `ForeignKey`; read the plain id here, and get one with `foreign_key(&scope, id)`",
        )?;
        Ok(Self { id: T::Id::decode(value)?, tenant })
    }
}

impl<'q, DB: Backend, T: TenantRow> Encode<'q, DB> for ForeignKey<T>
where
    T::Id: Encode<'q, DB>,
{
    fn encode_by_ref(&self, buf: &mut DB::ArgumentBuffer) -> Result<IsNull, BoxDynError> {
        let text = match is_encoding_for(&self.tenant) {
            Some(true) => return self.id.encode_by_ref(buf),
            Some(false) => {
                "this foreign key belongs to another tenant than the scope; get one with `foreign_key(&scope, id)`"
            }
            None => "a `ForeignKey` is bound by the repository and by `query!`; bind its `id()` here",
        };
        Err(Error::new(ErrorKind::Misconfigured, text).into())
    }

    fn produces(&self) -> Option<DB::TypeInfo> {
        self.id.produces()
    }

    fn size_hint(&self) -> usize {
        self.id.size_hint()
    }
}
