//! How tenants are created: the migrations of each place, and the steps to an open tenant.

use std::pin::pin;
use std::sync::Arc;

use futures_util::StreamExt;
use tenancy::placement::Provisioner;
use tenancy::tenant::{NewTenant, Tenant, TenantId};
use tenancy::{Error, ErrorKind, Result};

use crate::AppDb;

/// Creates or upgrades the application's tables: the shared ones, and those of each tenant with a place of its own.
///
/// A tenant whose tables cannot be upgraded does not stop the others.
pub(crate) async fn migrate<DB: AppDb>(provisioner: &Provisioner<DB>) -> Result<()> {
    let mut places = pin!(provisioner.migrations().run());
    while let Some(place) = places.next().await {
        let place = place?;
        match (&place.tenant, &place.result) {
            (_, Ok(_)) => {}
            (Some(_), Err(error)) => tracing::error!(%place, %error, "a tenant's tables are not upgraded"),
            (None, Err(error)) => {
                let text = format!("the application's tables cannot be upgraded: {error}");
                return Err(Error::new(error.kind(), text));
            }
        }
    }
    Ok(())
}

/// Goes on with the tenants whose creation was interrupted, when the program starts.
///
/// A tenant that cannot be opened stays closed. It does not stop the others.
pub(crate) async fn resume_all<DB: AppDb>(provisioner: &Provisioner<DB>) -> Result<()> {
    for unfinished in provisioner.unfinished().await? {
        if let Err(error) = provisioner.resume(unfinished.tenant.id()).await {
            tracing::error!(tenant = %unfinished.tenant.id(), %error, "a tenant is not open yet");
        }
    }
    Ok(())
}

/// Creates and opens a tenant with this id, or goes on where that was interrupted. An open tenant is unchanged.
pub(crate) async fn create<DB: AppDb>(
    provisioner: &Provisioner<DB>,
    id: TenantId,
    new: impl FnOnce(TenantId) -> Result<NewTenant>,
) -> Result<Arc<Tenant>> {
    match provisioner.resume(&id).await {
        Err(error) if error.kind() == ErrorKind::TenantUnknown => provisioner.create(new(id)?).await,
        resumed => resumed,
    }
}
