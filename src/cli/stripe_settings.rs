//! [`Settings`]: how an application reads Stripe's events, for the commands that apply them.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueEnum};
use uuid::Uuid;

use super::embedded::Embedded;
use super::output::text;
use crate::billing::BillingPolicy;
use crate::billing::stripe::{Accounts, Mode, SigningSecrets, StripeWebhook};
use crate::placement::Provision;
use crate::store::SqlStore;

/// The settings of the application's `StripeWebhook`. With others, an event could be applied to another plan or status.
#[derive(Args)]
pub(crate) struct Settings {
    /// The file of the plan catalog, TOML or `.json`, which has the plan of each price.
    #[arg(long, value_name = "FILE")]
    catalog: Option<PathBuf>,
    /// The name of this installation, if the application sets one: `StripeWebhook::installation`.
    #[arg(long, value_name = "NAME")]
    installation: Option<String>,
    /// Events of connected accounts are used too: `Accounts::Connected`.
    #[arg(long)]
    connected_accounts: bool,
    /// After how many days past due a tenant is suspended: `BillingPolicy::past_due_grace`.
    #[arg(long, value_name = "DAYS")]
    past_due_grace: Option<u32>,
    /// What else closes a tenant, as in the `BillingPolicy` of the application; may be repeated.
    #[arg(long, value_enum)]
    policy: Vec<PolicyOption>,
}

#[derive(Clone, Copy, ValueEnum)]
enum PolicyOption {
    /// A tenant whose subscription is unpaid is deactivated.
    DeactivateUnpaid,
    /// A tenant is suspended while the collection of its payments is paused.
    SuspendPausedCollection,
    /// A tenant with an open or lost dispute is suspended.
    SuspendDisputed,
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum ModeOption {
    Live,
    Test,
}

impl From<ModeOption> for Mode {
    fn from(mode: ModeOption) -> Self {
        match mode {
            ModeOption::Live => Self::Live,
            ModeOption::Test => Self::Test,
        }
    }
}

impl Settings {
    /// The endpoint of the application, without a secret: it receives no request.
    pub(crate) fn webhook<DB: Provision>(
        &self,
        mode: Mode,
        store: &Arc<SqlStore<DB>>,
        embedded: Embedded,
    ) -> Result<StripeWebhook, String> {
        let failed = |e: crate::Error| text(&e);
        let catalog = embedded.catalog(self.catalog.as_deref())?;
        let no_secret = SigningSecrets::new([format!("whsec_{}", Uuid::now_v7())]).map_err(failed)?;
        let mut webhook = StripeWebhook::new(no_secret, mode, store.clone(), catalog, store.clone());
        if let Some(configure) = embedded.stripe_webhook {
            webhook = configure(webhook).map_err(failed)?;
        }
        if let Some(name) = &self.installation {
            webhook = webhook.installation(name).map_err(failed)?;
        }
        if self.connected_accounts {
            webhook = webhook.accounts(Accounts::Connected);
        }
        Ok(match self.policy() {
            Some(policy) => webhook.policy(policy),
            None => webhook,
        })
    }

    /// The policy, if an option sets one.
    fn policy(&self) -> Option<BillingPolicy> {
        let mut policy = BillingPolicy::new();
        if let Some(days) = self.past_due_grace {
            policy = policy.past_due_grace(Duration::from_hours(u64::from(days) * 24));
        }
        for option in &self.policy {
            policy = match option {
                PolicyOption::DeactivateUnpaid => policy.deactivate_unpaid(),
                PolicyOption::SuspendPausedCollection => policy.suspend_paused_collection(),
                PolicyOption::SuspendDisputed => policy.suspend_disputed(),
            };
        }
        (policy != BillingPolicy::new()).then_some(policy)
    }
}
