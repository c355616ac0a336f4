//! [`BindArguments`]: the values that a statement binds.

use sqlx::{Arguments, Encode, Type};

use super::backend::Backend;
use super::tenant_local::encoding_for;
use crate::database::{Value, arguments, encoding_error};
use crate::error::Result;
use crate::tenant::TenantId;

/// The values that a statement binds, in order.
pub struct BindArguments<DB: Backend> {
    arguments: DB::Arguments,
    /// The tenant whose foreign keys can be bound. `None` for the library's own statements.
    tenant: Option<TenantId>,
}

impl<DB: Backend> std::fmt::Debug for BindArguments<DB> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The values are tenant data.
        f.debug_struct("BindArguments").field("len", &self.arguments.len()).finish_non_exhaustive()
    }
}

impl<DB: Backend> BindArguments<DB> {
    /// No values yet, for a statement of this tenant.
    pub(in crate::scope) fn of(tenant: &TenantId) -> Self {
        Self { tenant: Some(tenant.clone()), arguments: DB::Arguments::default() }
    }

    /// These values, for one of the library's own statements.
    pub(super) fn internal(values: &[Value<'_>]) -> Result<Self> {
        Ok(Self { arguments: arguments::<DB>(values)?, tenant: None })
    }

    /// Appends a value.
    ///
    /// # Errors
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) if the value cannot be encoded,
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
