//! [`owner`]: finds the tenant of an event.

use super::event::EventSubjects;
use super::store::BillingTx;
use crate::error::Result;
use crate::tenant::TenantId;

/// The tenant that an event belongs to.
pub(super) enum Owner {
    Stored(TenantId),
    /// The event names the tenant, and nothing is stored yet.
    Named(TenantId),
    Unknown,
    Contradiction,
}

/// Finds the tenant of an event, from the strongest evidence to the weakest.
pub(super) async fn owner<T: BillingTx + ?Sized>(
    tx: &mut T,
    subjects: EventSubjects<'_>,
    ended: bool,
) -> Result<Owner> {
    let by_subscription = match subjects.subscription {
        Some(id) => tx.tenant_of_subscription(id).await?,
        None => None,
    };
    let by_customer = match subjects.customer {
        Some(id) => tx.tenant_of_customer(id).await?,
        None => None,
    };
    if let (Some(a), Some(b)) = (&by_subscription, &by_customer)
        && a != b
    {
        return Ok(Owner::Contradiction);
    }
    // What is stored about a subscription outranks what its last event says: the end must not be missed.
    if let (Some(stored), true) = (&by_subscription, ended) {
        return Ok(Owner::Stored(stored.clone()));
    }
    let stored = by_subscription.or(by_customer);
    if let (Some(stored), Some(metadata)) = (&stored, subjects.tenant)
        && TenantId::parse(metadata).ok().as_ref() != Some(stored)
    {
        return Ok(Owner::Contradiction);
    }
    // What is stored agrees with the metadata already.
    let by_metadata = if stored.is_some() { None } else { existing(tx, subjects.tenant).await? };
    let by_reference = existing(tx, subjects.reference).await?;
    let by_checkout = match subjects.checkout {
        Some(id) => tx.tenant_of_checkout(id).await?,
        None => None,
    };
    let mut named = None;
    for evidence in [by_checkout, by_metadata, by_reference].into_iter().flatten() {
        if *named.get_or_insert_with(|| evidence.clone()) != evidence {
            return Ok(Owner::Contradiction);
        }
    }
    Ok(match (stored, named) {
        (Some(stored), Some(named)) if stored != named => Owner::Contradiction,
        (Some(stored), _) => Owner::Stored(stored),
        (None, Some(named)) => Owner::Named(named),
        (None, None) => Owner::Unknown,
    })
}

/// The existing tenant with this id, if the text is one.
async fn existing<T: BillingTx + ?Sized>(tx: &mut T, text: Option<&str>) -> Result<Option<TenantId>> {
    let Some(id) = text.and_then(|text| TenantId::parse(text).ok()) else { return Ok(None) };
    Ok(tx.lock_tenant(&id).await?.map(|tenant| tenant.id().clone()))
}

/// Whether another customer pays for a live subscription of the tenant.
pub(super) async fn has_other_payer<T: BillingTx + ?Sized>(
    tx: &mut T,
    tenant: &TenantId,
    customer: &str,
) -> Result<bool> {
    let subscriptions = tx.subscriptions(tenant).await?;
    Ok(subscriptions.iter().any(|sub| sub.customer() != customer && sub.status().is_live()))
}
