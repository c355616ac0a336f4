//! Drops the place of one tenant.

use super::tenant_data::TenantData;
use crate::error::{Error, ErrorKind, Result};
use crate::placement::Provisioner;
use crate::tenant::{Placement, TenantId, TenantStore};

/// How many tenants are read at once.
const PAGE: u16 = 200;

impl<DB: TenantData> Provisioner<DB> {
    /// Drops a schema, a database or a file, unless another tenant is in it as well.
    pub(super) async fn drop_place(&self, placement: &Placement, tenant: &TenantId) -> Result<()> {
        if *placement == Placement::Shared {
            return Ok(());
        }
        let mut after = None;
        loop {
            let page = self.store.list(after.as_ref(), PAGE).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.id().clone());
            if let Some(other) = page.iter().find(|one| one.id() != tenant && one.placement() == placement) {
                return Err(Error::new(
                    ErrorKind::Conflict,
                    format!(
                        "the {placement} is the place of `{}` too, so it is not dropped; move one of them",
                        other.slug()
                    ),
                ));
            }
        }
        DB::drop_place(&self.places, placement).await
    }
}
