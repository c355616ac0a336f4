//! [`Value`]: a value that the library itself binds.

use super::tenant_id::BoundTenant;

/// A value in one of the library's own tables, or the tenant id in any table.
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
