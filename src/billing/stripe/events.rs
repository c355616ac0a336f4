//! [`StripeEvents`]: the [`Provider`] of Stripe.

use super::mode::{Accounts, Mode};
use super::translate::translate;
use crate::billing::{BillingEvent, Provider};
use crate::error::Result;

/// Parses Stripe's events, after their signature is verified.
#[derive(Debug, Clone, Copy)]
pub struct StripeEvents {
    mode: Mode,
    accounts: Accounts,
}

impl StripeEvents {
    /// Uses events of your own account in this mode. All others become
    /// [`Fact::Ignored`](crate::billing::Fact::Ignored).
    pub fn new(mode: Mode) -> Self {
        Self { mode, accounts: Accounts::Own }
    }

    /// Sets the accounts whose events are used.
    #[must_use]
    pub fn accounts(self, accounts: Accounts) -> Self {
        Self { accounts, ..self }
    }
}

impl Provider for StripeEvents {
    fn name(&self) -> &'static str {
        "stripe"
    }

    fn read(&self, raw: &[u8]) -> Result<BillingEvent> {
        translate(raw, self.mode, self.accounts)
    }
}
