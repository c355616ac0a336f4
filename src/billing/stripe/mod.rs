//! Stripe's webhooks: [`SigningSecrets`] proves where an event comes from, [`StripeWebhook`] does the rest.
//!
//! No Stripe crate is involved, and any API version reads: the few fields that matter are looked for in every
//! place where Stripe ever put them.
//!
//! ```
//! use std::sync::Arc;
//! use tenancy::billing::EventOutcome;
//! use tenancy::billing::stripe::{Mode, SigningSecrets, StripeWebhook, sign};
//! use tenancy::clock::{Clock, SystemClock};
//! # use tenancy::{plan::Catalog, store::MemoryStore, tenant::{NewTenant, Slug, TenantId, TenantStatus, TenantStore}};
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> tenancy::Result<()> {
//! # let store = Arc::new(MemoryStore::new());
//! # let catalog = Arc::new(Catalog::from_toml("version = 1\n[features]\nsso = { kind = \"flag\" }\n[plans.free]\nfeatures = { sso = false }\n[plans.pro]\nprices = [\"price_pro\"]\nfeatures = { sso = true }")?);
//! # store.insert(NewTenant::new(Slug::parse("acme")?, "Acme", "free").id(TenantId::parse("acme")?).status(TenantStatus::Active)).await?;
//! let secrets = SigningSecrets::new(["whsec_example"])?;
//! let webhook = StripeWebhook::new(secrets, Mode::Test, store.clone(), catalog, store);
//!
//! // What Stripe sends when acme buys the plan, as the bytes that came over the wire.
//! let body = br#"{
//!     "object": "event", "id": "evt_1", "type": "customer.subscription.created",
//!     "created": 1700000000, "livemode": false,
//!     "data": { "object": {
//!         "id": "sub_1", "customer": "cus_1", "status": "active",
//!         "metadata": { "tenant_id": "acme" },
//!         "items": { "data": [{ "price": { "id": "price_pro" }, "quantity": 1 }] }
//!     } }
//! }"#;
//! let signature = sign("whsec_example", body, SystemClock.now());
//! let receipt = webhook.receive(body, &[signature.as_bytes()]).await?;
//! let EventOutcome::Applied { tenant } = receipt else { panic!("{receipt:?}") };
//! assert_eq!(tenant.plan(), "pro");
//! # Ok(()) }
//! ```

mod translate;
mod verify;

use std::sync::Arc;

pub use self::verify::{SigningSecrets, sign};
use super::{BillingEvent, BillingStore, EventOutcome, Fact, Provider, process};
use crate::clock::{Clock, SystemClock};
use crate::error::{Error, ErrorKind, Result};
use crate::plan::Catalog;
use crate::tenant::TenantStore;

/// The longest body that is read.
const LONGEST_BODY: usize = 1 << 20;
/// How often a transaction that lost against another one is run, the first time included.
const ATTEMPTS: usize = 5;

/// Which of Stripe's two worlds this program lives in; events of the other one are ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "`livemode` is true or false")]
pub enum Mode {
    /// Test mode and sandboxes.
    Test,
    /// Real money.
    Live,
}

/// Whose events are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Accounts {
    /// Those of your own account.
    Own,
    /// Those of connected accounts too.
    ///
    /// # Security
    /// A connected account's owner writes its metadata, and so can name any tenant there.
    Connected,
}

/// Reads Stripe's events, once their signature is verified.
#[derive(Debug, Clone, Copy)]
pub struct StripeEvents {
    mode: Mode,
    accounts: Accounts,
}

impl StripeEvents {
    /// Events of your own account in this mode; others are read as [`Fact::Ignored`].
    pub fn new(mode: Mode) -> Self {
        Self { mode, accounts: Accounts::Own }
    }

    /// Events of these accounts.
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
        translate::translate(raw, self.mode, self.accounts)
    }
}

/// The endpoint that Stripe calls: verifies, reads, and applies one event in one transaction.
///
/// In Stripe, let it send `checkout.session.completed`, `customer.subscription.created`, `.updated` and
/// `.deleted`, `invoice.paid` and `invoice.payment_failed`. When you make a checkout, stamp the tenant's id on it:
/// as `metadata[tenant_id]` and as `subscription_data[metadata][tenant_id]`.
#[derive(Debug, Clone)]
pub struct StripeWebhook {
    secrets: SigningSecrets,
    events: StripeEvents,
    store: Arc<dyn BillingStore>,
    catalog: Arc<Catalog>,
    tenants: Arc<dyn TenantStore>,
    clock: Arc<dyn Clock>,
}

impl StripeWebhook {
    /// An endpoint that writes to `store` and tells `tenants`, which may be a cache, what was committed.
    pub fn new(
        secrets: SigningSecrets,
        mode: Mode,
        store: Arc<dyn BillingStore>,
        catalog: Arc<Catalog>,
        tenants: Arc<dyn TenantStore>,
    ) -> Self {
        Self {
            secrets,
            events: StripeEvents::new(mode),
            store,
            catalog,
            tenants,
            clock: Arc::new(SystemClock),
        }
    }

    /// With another clock.
    #[must_use]
    pub fn clock(self, clock: Arc<dyn Clock>) -> Self {
        Self { clock, ..self }
    }

    /// For events of these accounts; of your own only, if you do not say.
    #[must_use]
    pub fn accounts(self, accounts: Accounts) -> Self {
        Self { events: self.events.accounts(accounts), ..self }
    }

    /// Takes one request: the body as it came over the wire, and the values of all its `Stripe-Signature` headers.
    ///
    /// What to answer, so that Stripe sends again what may succeed later, and nothing else:
    ///
    /// | result | status |
    /// |---|---|
    /// | `Ok`, whatever the receipt | 200 |
    /// | [`ErrorKind::SignatureInvalid`] | 400, without a text |
    /// | [`ErrorKind::InvalidInput`] | 400; 413 if your server refused the body for its length |
    /// | [`ErrorKind::Misconfigured`] (thin events) | 422 |
    /// | any other error | 503 |
    ///
    /// A [`EventOutcome::Quarantined`] is a 200 as well: the event is kept here, and Stripe would disable an endpoint
    /// that refuses it for days.
    ///
    /// # Errors
    /// [`ErrorKind::SignatureInvalid`] as [`SigningSecrets::verify`]; [`ErrorKind::InvalidInput`] if the body is
    /// longer than 1 MiB or not an event; [`ErrorKind::Misconfigured`] if it is a thin event; and what the store
    /// answers, in which case nothing was changed.
    pub async fn receive(&self, body: &[u8], signatures: &[&[u8]]) -> Result<EventOutcome> {
        if body.len() > LONGEST_BODY {
            return Err(Error::new(ErrorKind::InvalidInput, "the webhook's body is longer than 1 MiB"));
        }
        self.secrets.verify(body, signatures, self.clock.now())?;
        let event = self.events.read(body)?;
        if let Fact::Ignored { reason } = event.fact {
            return Ok(EventOutcome::Ignored { reason });
        }
        let receipt = self.settle(&event).await?;
        if let EventOutcome::Applied { tenant } = &receipt {
            self.tenants.committed(tenant).await;
        }
        Ok(receipt)
    }

    /// Runs the transaction, and again if it lost against another one.
    async fn settle(&self, event: &BillingEvent) -> Result<EventOutcome> {
        let mut attempt = 1;
        loop {
            match self.once(event).await {
                Err(lost)
                    if attempt < ATTEMPTS
                        && matches!(lost.kind(), ErrorKind::Retryable | ErrorKind::StaleVersion) =>
                {
                    attempt += 1;
                }
                settled => return settled,
            }
        }
    }

    async fn once(&self, event: &BillingEvent) -> Result<EventOutcome> {
        let mut tx = self.store.begin().await?;
        let receipt = process(&mut *tx, &self.events, event, &self.catalog, &*self.clock).await?;
        tx.commit().await?;
        Ok(receipt)
    }
}
