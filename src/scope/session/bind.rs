//! [`BindArguments`]: the values of a statement, in order.

use sqlx::{Arguments, Encode, Type};

use super::backend::Backend;
use super::tenant_local::encoding_for;
use crate::database::{Value, arguments, encoding_error};
use crate::error::Result;
use crate::tenant::TenantId;

/// The values that a statement binds, in order.
pub struct BindArguments<DB: Backend> {
    arguments: DB::Arguments,
    /// The tenant whose foreign keys can be bound.
    tenant: Option<TenantId>,
}

impl<DB: Backend> std::fmt::Debug for BindArguments<DB> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The values are a tenant's data.
        f.debug_struct("BindArguments").field("len", &self.arguments.len()).finish_non_exhaustive()
    }
}

impl<DB: Backend> BindArguments<DB> {
    /// For a statement of this tenant, without a value so far.
    pub(in crate::scope) fn of(tenant: &TenantId) -> Self {
        Self { tenant: Some(tenant.clone()), arguments: DB::Arguments::default() }
    }

    /// For a statement of the library, with these values.
    pub(super) fn internal(values: &[Value<'_>]) -> Result<Self> {
        Ok(Self { arguments: arguments::<DB>(values)?, tenant: None })
    }

    /// Adds a value.
    ///
    /// # Errors
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) if the value does not encode,
    /// [`Misconfigured`](crate::ErrorKind::Misconfigured) if it is a
    /// [`ForeignKey`](crate::scope::row::ForeignKey) of another tenant.
    pub fn push<'t, T: Encode<'t, DB> + Type<DB>>(&mut self, value: T) -> Result<()> {
        let arguments = &mut self.arguments;
        let added = match &self.tenant {
            Some(tenant) => encoding_for(tenant, || arguments.add(value)),
            None => arguments.add(value),
        };
        added.map_err(encoding_error)
    }

    pub(in crate::scope) fn push_value(&mut self, value: Value<'_>) -> Result<()> {
        DB::push(&mut self.arguments, value).map_err(encoding_error)
    }

    pub(super) fn into_arguments(self) -> DB::Arguments {
        self.arguments
    }
}
