//! [`Value`]: what the library itself binds.

use super::driver::Driver;
use super::error::encoding_error;
use super::tenant_id::BoundTenant;
use crate::error::Result;

/// A value of the library's own tables, or a tenant id of any table.
#[derive(Debug, Clone, Copy)]
#[expect(unnameable_types, reason = "part of the sealed traits")]
pub enum Value<'a> {
    Int(i64),
    OptionalInt(Option<i64>),
    Text(&'a str),
    OptionalText(Option<&'a str>),
    Bytes(&'a [u8]),
    Tenant(&'a BoundTenant),
}

/// The arguments of a statement of the library, in order.
pub(crate) fn arguments<DB: Driver>(values: &[Value<'_>]) -> Result<DB::Arguments> {
    let mut arguments = DB::Arguments::default();
    for value in values {
        DB::push(&mut arguments, *value).map_err(encoding_error)?;
    }
    Ok(arguments)
}
