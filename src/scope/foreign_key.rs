use std::cell::RefCell;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::thread::LocalKey;

use serde::{Serialize, Serializer};
use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::{Decode, Encode, Type};

use super::backend::Backend;
use super::entity::TenantScoped;
use crate::error::{Error, ErrorKind};
use crate::tenant::TenantId;

/// A foreign key: the id of a row of type `T` that was seen by a scope, and the tenant that scope was of.
///
/// It comes from [`TenantScoped::reference`], which looks the row up, or as a field of a row that the repository
/// read. It can be bound for its own tenant only; for another it is an error before anything is sent. An id that
/// came with a request is no reference, so it cannot be written into a row before the row it names was looked up.
///
/// ```
/// use tenancy::scope::{ForeignKey, Tx};
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
/// async fn order(tx: &mut Tx<'_, sqlx::Sqlite>, id: i64, customer: i64) -> tenancy::Result<()> {
///     let customer = Customer::reference(&mut *tx, customer).await?;
///     let customer = customer.ok_or_else(|| Error::new(ErrorKind::NotFound, "no such customer"))?;
///     Order::insert(tx, &Order { id, customer }).await
/// }
/// ```
///
/// Its column holds the plain id. A field of the plain type works as well, and is checked by the database alone.
///
/// # Security
/// There is no way from an id to a `ForeignKey`: no constructor, no `From`, no `Deserialize`. The repository alone reads
/// it from a row, because only there is it known that the value comes from a column of the tenant's own row; SQL of
/// your own reads the plain id.
///
/// It says that the row was there when it was looked up, not that it still is. That, and that the column never held
/// anything else, is for the database to say: `FOREIGN KEY (tenant_id, customer_id) REFERENCES customers`.
pub struct ForeignKey<T: TenantScoped> {
    id: T::Id,
    tenant: TenantId,
}

impl<T: TenantScoped> ForeignKey<T> {
    pub(super) fn new(id: T::Id, tenant: TenantId) -> Self {
        Self { id, tenant }
    }

    /// The id of the row.
    pub fn id(&self) -> &T::Id {
        &self.id
    }
}

impl<T: TenantScoped> Clone for ForeignKey<T> {
    fn clone(&self) -> Self {
        Self { id: self.id.clone(), tenant: self.tenant.clone() }
    }
}

impl<T: TenantScoped> PartialEq for ForeignKey<T>
where
    T::Id: PartialEq,
{
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id && self.tenant == other.tenant
    }
}

impl<T: TenantScoped> Eq for ForeignKey<T> where T::Id: Eq {}

impl<T: TenantScoped> Hash for ForeignKey<T>
where
    T::Id: Hash,
{
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.id.hash(state);
        self.tenant.hash(state);
    }
}

impl<T: TenantScoped> fmt::Debug for ForeignKey<T>
where
    T::Id: fmt::Debug,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Ref").field(&self.id).finish()
    }
}

/// As the plain id.
impl<T: TenantScoped> Serialize for ForeignKey<T>
where
    T::Id: Serialize,
{
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.id.serialize(serializer)
    }
}

impl<DB: Backend, T: TenantScoped> Type<DB> for ForeignKey<T>
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

impl<'r, DB: Backend, T: TenantScoped> Decode<'r, DB> for ForeignKey<T>
where
    T::Id: Decode<'r, DB>,
{
    fn decode(value: DB::ValueRef<'r>) -> Result<Self, BoxDynError> {
        let tenant = READING.with_borrow(Clone::clone).ok_or(
            "only the repository reads a `ForeignKey`; read the plain id here, and get one with `reference(&scope, id)`",
        )?;
        Ok(Self { id: T::Id::decode(value)?, tenant })
    }
}

impl<'q, DB: Backend, T: TenantScoped> Encode<'q, DB> for ForeignKey<T>
where
    T::Id: Encode<'q, DB>,
{
    fn encode_by_ref(&self, buf: &mut DB::ArgumentBuffer) -> Result<IsNull, BoxDynError> {
        let text = match BINDING.with_borrow(|tenant| tenant.as_ref().map(|tenant| *tenant == self.tenant)) {
            Some(true) => return self.id.encode_by_ref(buf),
            Some(false) => {
                "this reference is of another tenant than the scope; get one with `reference(&scope, id)`"
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

type Tenant = RefCell<Option<TenantId>>;

// sqlx tells a value neither the row's tenant nor the statement's. Decoding and encoding are not async, so the
// thread can: each is set around the repository's own calls, and nothing else runs between.
thread_local! {
    static READING: Tenant = const { RefCell::new(None) };
    static BINDING: Tenant = const { RefCell::new(None) };
}

/// Rows of this tenant are decoded in `work`.
pub(super) fn reading<R>(tenant: &TenantId, work: impl FnOnce() -> R) -> R {
    within(&READING, tenant, work)
}

/// Values of a statement of this tenant are encoded in `work`.
pub(super) fn binding<R>(tenant: &TenantId, work: impl FnOnce() -> R) -> R {
    within(&BINDING, tenant, work)
}

fn within<R>(place: &'static LocalKey<Tenant>, tenant: &TenantId, work: impl FnOnce() -> R) -> R {
    struct Restore(&'static LocalKey<Tenant>, Option<TenantId>);
    impl Drop for Restore {
        fn drop(&mut self) {
            self.0.set(self.1.take());
        }
    }
    let _restore = Restore(place, place.replace(Some(tenant.clone())));
    work()
}
