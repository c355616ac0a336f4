//! Stripe: [`StripeWebhook`] receives events, [`StripeBilling`] sends requests.
//!
//! [`SigningSecrets`] verifies the signature of an event, and [`StripeWebhook`] applies it. No Stripe crate is needed for
//! that. [`StripeBilling`] sells plans: checkouts, the portal, changes of subscriptions, reconciliation. It sends its
//! requests through a [`StripeApi`], such as `StripeClient` (feature `stripe-api`). `UsageSender` sends usage to billing
//! meters.
//!
//! Events and objects of every API version are parsed: the few fields that matter are looked up in
//! every place where a version of Stripe's API has put them.
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
//! // The body that Stripe sends when acme buys the plan, byte for byte.
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
//! let outcome = webhook.receive(body, &[signature.as_bytes()]).await?;
//! let EventOutcome::Applied { tenant } = outcome else { panic!("{outcome:?}") };
//! assert_eq!(tenant.plan(), "pro");
//! # Ok(()) }
//! ```

#[macro_use]
mod fields;

mod api;
mod billing;
mod change;
mod checkout;
#[cfg(feature = "stripe-api")]
mod client;
mod envelope;
mod events;
mod grace;
mod invoice;
mod maintenance;
mod mode;
mod notifications;
mod pages;
mod parent;
mod purchase;
mod received;
mod reconcile;
mod recorded;
mod references;
mod refresh;
mod return_urls;
mod stored_id;
mod subscription;
mod tenant_names;
mod thin;
mod translate;
#[cfg(feature = "testing")]
mod unverified;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod usage_attempt;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod usage_batch;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod usage_comparison;
mod usage_errors;
mod usage_identifier;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod usage_sender;
#[cfg(feature = "stripe-api")]
mod v2_client;
mod verify;
mod webhook;

pub use self::api::{ApiMethod, ApiRequest, StripeApi};
pub use self::billing::StripeBilling;
pub use self::change::{Cancellation, Proration};
#[cfg(feature = "stripe-api")]
pub use self::client::StripeClient;
pub use self::events::StripeEvents;
pub use self::mode::{Accounts, Mode};
pub use self::purchase::{Checkout, CheckoutSession};
pub use self::reconcile::Reconciliation;
pub use self::references::CheckoutReferences;
#[cfg(feature = "testing")]
pub use self::unverified::UnverifiedWebhook;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub use self::usage_batch::{UsageBatch, UsageReport};
#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub use self::usage_comparison::UsageComparison;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub use self::usage_sender::UsageSender;
pub use self::verify::{SigningSecrets, sign};
pub use self::webhook::StripeWebhook;
