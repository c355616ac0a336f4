//! `tenancy stripe`: the quarantine of events, and the comparison with Stripe.

use std::process::ExitCode;
use std::sync::Arc;

use clap::Subcommand;
use sqlx::{Postgres, Sqlite};

use super::config::{block_on, is_postgres};
use super::control::Control;
use super::embedded::Embedded;
use super::stripe_options::{Discard, Reconcile, Replay};
use super::stripe_quarantine::{discard, list, replay};
use super::stripe_reconcile::reconcile;
use super::tenants;
use crate::placement::Provision;
use crate::store::SqlStore;

#[derive(Subcommand)]
pub(crate) enum StripeCommand {
    /// List, replay or discard the events of Stripe that could not be applied.
    #[command(subcommand)]
    Quarantine(QuarantineCommand),
    /// Compare the subscriptions with Stripe, and repair what differs.
    ///
    /// Processes the events of the last 30 days that were missed, then reads every subscription of the account. The secret
    /// key is read from `STRIPE_SECRET_KEY`; `STRIPE_API_URL` names another server with Stripe's API. Exits with 1 if something
    /// is left for a person: a subscription of no tenant, one that Stripe does not have, or an event that cannot be used.
    /// Needs a program with the feature `stripe-api`.
    Reconcile(Reconcile),
}

#[derive(Subcommand)]
pub(crate) enum QuarantineCommand {
    /// List the events of the quarantine, those that were received first at the top.
    List {
        /// How many events are listed.
        #[arg(long, value_name = "N", default_value = "100")]
        limit: u16,
        #[command(flatten)]
        control: Control,
    },
    /// Apply events of the quarantine again: after the tenant is known, or the catalog has the price.
    ///
    /// An event that still cannot be applied stays. Exits with 1 if one stays, and with 2 if there is no such event, or if
    /// it failed.
    Replay(Replay),
    /// Remove events from the quarantine without applying them. Each is printed, and asks for a confirmation.
    Discard(Discard),
}

impl StripeCommand {
    fn control(&self) -> &Control {
        match self {
            Self::Quarantine(QuarantineCommand::List { control, .. }) => control,
            Self::Quarantine(QuarantineCommand::Replay(replay)) => &replay.control,
            Self::Quarantine(QuarantineCommand::Discard(discard)) => &discard.control,
            Self::Reconcile(reconcile) => &reconcile.control,
        }
    }
}

pub(crate) fn run(command: &StripeCommand, embedded: Embedded) -> Result<ExitCode, String> {
    block_on(async {
        let url = command.control().url()?;
        let unreachable = |e| format!("the database cannot be reached: {e}");
        if is_postgres(&url)? {
            run_on(command, embedded, tenants::store::<Postgres>(&url).await.map_err(unreachable)?).await
        } else {
            run_on(command, embedded, tenants::store::<Sqlite>(&url).await.map_err(unreachable)?).await
        }
    })
}

async fn run_on<DB: Provision>(
    command: &StripeCommand,
    embedded: Embedded,
    store: SqlStore<DB>,
) -> Result<ExitCode, String> {
    let store = Arc::new(store);
    match command {
        StripeCommand::Quarantine(QuarantineCommand::List { limit, control }) => {
            list(&*store, *limit, control.json).await
        }
        StripeCommand::Quarantine(QuarantineCommand::Replay(options)) => {
            replay(options, options.settings.webhook(options.mode.into(), &store, embedded)?).await
        }
        StripeCommand::Quarantine(QuarantineCommand::Discard(options)) => discard(options, &*store).await,
        StripeCommand::Reconcile(options) => reconcile(options, &store, embedded).await,
    }
}
