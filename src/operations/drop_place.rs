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
        match self.other_tenant(placement, tenant).await? {
            Some(why) => Err(Error::new(ErrorKind::Conflict, why)),
            None if *placement == Placement::Shared => Ok(()),
            None => DB::drop_place(&self.places, placement).await,
        }
    }

    /// Why a place may not be dropped: another tenant is in it.
    pub(super) async fn other_tenant(
        &self,
        placement: &Placement,
        tenant: &TenantId,
    ) -> Result<Option<String>> {
        if *placement == Placement::Shared {
            return Ok(None);
        }
        let mut after = None;
        loop {
            let page = self.store.list(after.as_ref(), PAGE).await?;
            let Some(last) = page.last() else { return Ok(None) };
            after = Some(last.id().clone());
            if let Some(other) = page.iter().find(|one| one.id() != tenant && one.placement() == placement) {
                return Ok(Some(format!(
                    "the {placement} is the place of `{}` too, so it is not dropped; move that tenant to another place first",
                    other.slug()
                )));
            }
        }
    }
}
