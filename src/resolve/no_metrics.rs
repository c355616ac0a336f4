//! Without the feature `metrics`, nothing is counted.

use crate::context::TenantContext;
use crate::error::Result;

pub(super) fn resolved(_: &Result<TenantContext>) {}
