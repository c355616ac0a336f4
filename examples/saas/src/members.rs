//! The people of a tenant. Each holds a seat of the plan, from the invitation on.

use serde::Deserialize;
use serde_json::Value;
use tenancy::audit::AuditEvent;
use tenancy::{Error, ErrorKind, Result, TenantContext, TenantScoped};

use crate::model::{Member, SEATS};
use crate::operations::{PageQuery, listing, not_found, parse};
use crate::{App, AppDb};

/// The body of a request that invites a member.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Invitation {
    email: String,
}

impl<DB: AppDb> App<DB> {
    /// Returns a page of the tenant's members.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] for an invalid page.
    pub async fn list_members(&self, ctx: &TenantContext, page: &PageQuery) -> Result<Value> {
        Ok(listing(&Member::list(&self.db.scope(ctx), page.request()).await?))
    }

    /// Invites a member, unless all seats of the plan are taken.
    ///
    /// # Errors
    /// [`ErrorKind::LimitReached`]; [`ErrorKind::Conflict`] if the person is a member already;
    /// [`ErrorKind::InvalidInput`] for what is no e-mail address.
    pub async fn invite_member(&self, ctx: &TenantContext, invitation: Invitation) -> Result<Member> {
        let email = invitation.email.trim().to_lowercase();
        if !(3..=254).contains(&email.len()) || !email.contains('@') {
            return Err(Error::new(ErrorKind::InvalidInput, "this is no e-mail address"));
        }
        let member = Member::new(email);
        let event = AuditEvent::new(ctx, "member.invite").target("member", member.id);
        let mut tx = self.db.begin(ctx).await?;
        // By the address: a person who is invited twice at the same time holds one seat.
        if let Err(rejection) = SEATS.acquire_for(&mut tx, &member.email).await {
            return Err(self.rejected(tx, event, rejection).await);
        }
        Member::insert(&mut tx, &member).await?;
        tx.record(event).await?;
        tx.commit().await?;
        Ok(member)
    }

    /// Removes a member, whose seat is free again.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`].
    pub async fn remove_member(&self, ctx: &TenantContext, id: &str) -> Result<()> {
        let mut tx = self.db.begin(ctx).await?;
        let member = Member::find(&mut tx, parse(id)?).await?.ok_or_else(not_found)?;
        if !Member::delete(&mut tx, member.id).await?.found() {
            return Err(not_found());
        }
        SEATS.release_for(&mut tx, &member.email).await?;
        tx.record(AuditEvent::new(ctx, "member.remove").target("member", member.id)).await?;
        tx.commit().await
    }
}
