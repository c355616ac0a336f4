//! Binds the values of the library's own statements.

use super::driver::Driver;
use super::error::encoding_error;
use super::value::Value;
use crate::error::Result;

/// The arguments of one of the library's own statements, in order.
pub(crate) fn arguments<DB: Driver>(values: &[Value<'_>]) -> Result<DB::Arguments> {
    let mut arguments = DB::Arguments::default();
    for value in values {
        DB::push(&mut arguments, *value).map_err(encoding_error)?;
    }
    Ok(arguments)
}
