//! The parts that only the demo needs: two tenants with data, tokens for both, and simulated Stripe events.

use std::fmt::Write;
use std::sync::Arc;

use jsonwebtoken::{EncodingKey, Header};
use serde::Deserialize;
use serde_json::{Value, json};
use tenancy::audit::AuditEvent;
use tenancy::billing::stripe::sign;
use tenancy::billing::{BillingStore, Subscription, SubscriptionStatus};
use tenancy::clock::{Clock, SystemClock};
use tenancy::context::{Actor, TenantDirectory};
use tenancy::tenant::{NewTenant, Slug, TenantId, TenantStatus};
use tenancy::{Error, ErrorKind, Result, TenantDb, TenantScoped};
use uuid::{Uuid, uuid};

use crate::model::{ORDERS, Order, PROJECTS, Project};
use crate::{App, AppDb, Settings};

pub(crate) const ISSUER: &str = "saas";
pub(crate) const AUDIENCE: &str = "saas";

/// The two tenants of the demo. Their ids are fixed, so that commands can be copied from the documentation.
const TENANTS: [Seed; 2] = [
    Seed {
        id: uuid!("0198a000-0000-7000-8000-00000000000a"),
        slug: "acme",
        name: "Acme Ltd",
        plan: "free",
        order: uuid!("0198a000-0000-7000-8000-0000000000a1"),
        projects: &["Roadrunner", "Anvil works"],
    },
    Seed {
        id: uuid!("0198a000-0000-7000-8000-00000000000b"),
        slug: "globex",
        name: "Globex Corporation",
        plan: "pro",
        order: uuid!("0198a000-0000-7000-8000-0000000000b1"),
        projects: &["Hank's hammock", "Cypress Creek", "Project Arcturus", "Weather machine"],
    },
];

struct Seed {
    id: Uuid,
    slug: &'static str,
    name: &'static str,
    plan: &'static str,
    /// An order of the tenant, which the other tenant requests and does not find.
    order: Uuid,
    projects: &'static [&'static str],
}

impl Seed {
    fn tenant(&self) -> Result<TenantId> {
        TenantId::from_uuid(self.id)
    }
}

/// The demo's secrets.
#[derive(Clone)]
pub struct Demo {
    jwt: EncodingKey,
    stripe_webhook_secret: Arc<str>,
}

impl std::fmt::Debug for Demo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Demo").finish_non_exhaustive()
    }
}

impl Demo {
    /// Inserts the tenants and their data, unless they exist.
    pub(crate) async fn seed<DB: AppDb>(
        db: &TenantDb<DB>,
        directory: &TenantDirectory,
        settings: &Settings,
    ) -> Result<Self> {
        for seed in &TENANTS {
            let tenant = NewTenant::new(Slug::parse(seed.slug)?, seed.name, seed.plan)
                .id(seed.tenant()?)
                .status(TenantStatus::Active);
            match directory.store().insert(tenant).await {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::Conflict => continue,
                Err(error) => return Err(error),
            }
            let ctx = directory.context(&seed.tenant()?, Actor::system("seed")).await?;
            let mut tx = db.begin(&ctx).await?;
            for (n, name) in seed.projects.iter().enumerate() {
                let project = Project::new((*name).to_owned());
                PROJECTS.acquire(&mut tx, 1).await?;
                Project::insert(&mut tx, &project).await?;
                for order in 0..3 {
                    let mut row =
                        Order::new(project.id, format!("{name}: part {}", order + 1), 1_250 * (order + 1));
                    if n == 0 && order == 0 {
                        row.id = seed.order;
                    }
                    ORDERS.acquire(&mut tx, 1).await?;
                    Order::insert(&mut tx, &row).await?;
                }
            }
            tx.record(AuditEvent::new(&ctx, "demo.seed").detail("projects", seed.projects.len())).await?;
            tx.commit().await?;
        }
        Ok(Self {
            jwt: EncodingKey::from_secret(settings.jwt_secret.as_bytes()),
            stripe_webhook_secret: settings.stripe_webhook_secret.as_str().into(),
        })
    }

    /// Signs a token for a user of this tenant, valid for twelve hours.
    fn token(&self, seed: &Seed) -> Result<String> {
        let now = SystemClock.now().seconds();
        let claims = json!({
            "iss": ISSUER, "aud": AUDIENCE, "sub": format!("demo@{}.example", seed.slug),
            "tenant_id": seed.id, "iat": now, "exp": now + 12 * 60 * 60,
        });
        jsonwebtoken::encode(&Header::default(), &claims, &self.jwt).map_err(|e| {
            Error::new(ErrorKind::Misconfigured, "the token of the demo cannot be signed").with_source(e)
        })
    }

    /// Returns the text that the program prints after its start.
    pub(crate) fn welcome(&self, settings: &Settings, port: u16) -> String {
        let mut text = format!(
            "\nA small SaaS, listening on http://127.0.0.1:{port}/\n\
             Data: {}   Webhook secret: {}\n\nTokens:\n",
            // The part before `@` can contain a password.
            settings.database_url.split('@').next_back().unwrap_or_default(),
            self.stripe_webhook_secret,
        );
        let [acme, globex] = &TENANTS;
        for seed in [acme, globex] {
            let token = self.token(seed).unwrap_or_default();
            let _ = writeln!(text, "  {}={token}", seed.slug.to_uppercase());
        }
        let token = self.token(acme).unwrap_or_default();
        let _ = write!(
            text,
            "\nTry:\n  \
             curl -H 'Authorization: Bearer {token}' http://127.0.0.1:{port}/api/projects\n  \
             curl -i -H 'Authorization: Bearer {token}' http://127.0.0.1:{port}/api/orders/{}\n  \
             curl http://globex.localhost:{port}/api/usage\n\
             The second requests an order of globex with a token of acme: 404.\n",
            globex.order,
        );
        text
    }
}

impl<DB: AppDb> App<DB> {
    /// Returns both tenants with a token for each, for the page. A real application logs the user in.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn tenants(&self) -> Result<Value> {
        let mut tenants = Vec::new();
        for seed in &TENANTS {
            let tenant = self.directory.store().by_id(&seed.tenant()?).await?;
            let tenant = tenant.ok_or_else(|| {
                Error::new(
                    ErrorKind::TenantUnknown,
                    "the tenants of the demo do not exist; restart the program to create them",
                )
            })?;
            tenants.push(json!({
                "id": tenant.id(), "slug": tenant.slug(), "name": tenant.name(), "plan": tenant.plan(),
                "status": tenant.status(), "token": self.demo.token(seed)?, "sample_order_id": seed.order,
            }));
        }
        Ok(Value::Array(tenants))
    }

    /// Builds and signs the event that Stripe would send, and passes it to the webhook, for the page.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] for a tenant that is not of the demo, or an error if the database cannot be read.
    pub async fn simulate(&self, requested: SimulatedEvent) -> Result<Value> {
        let seed = TENANTS.iter().find(|seed| seed.slug == requested.slug);
        let seed = seed.ok_or_else(|| Error::new(ErrorKind::NotFound, "the demo has no such tenant"))?;
        let mut tx = self.store.begin().await?;
        let subscriptions = tx.subscriptions(&seed.tenant()?).await?;
        drop(tx);
        let live = subscriptions.iter().find(|sub| !sub.status().is_final());
        let event = event_body(seed, live, requested.event).to_string();
        let signature = sign(&self.demo.stripe_webhook_secret, event.as_bytes(), SystemClock.now());
        let outcome = self.stripe.receive(event.as_bytes(), &[signature.as_bytes()]).await?;
        Ok(json!({ "received": outcome.as_str() }))
    }
}

/// A Stripe event to simulate.
#[derive(Debug, Deserialize)]
pub struct SimulatedEvent {
    slug: String,
    event: EventKind,
}

#[derive(Debug, Deserialize, Clone, Copy)]
#[serde(rename_all = "snake_case")]
enum EventKind {
    Upgrade,
    PaymentFailed,
    Unpaid,
    Cancel,
}

fn event_body(seed: &Seed, live: Option<&Subscription>, kind: EventKind) -> Value {
    let now = SystemClock.now().seconds();
    let new = Uuid::new_v4().simple();
    let id = live.map_or_else(|| format!("sub_{new}"), |live| live.id().to_owned());
    let (status, event_type) = match (kind, live) {
        (EventKind::Upgrade, None) => ("active", "customer.subscription.created"),
        (EventKind::Upgrade, Some(_)) => ("active", "customer.subscription.updated"),
        (EventKind::PaymentFailed, _) => ("past_due", "customer.subscription.updated"),
        (EventKind::Unpaid, _) => ("unpaid", "customer.subscription.updated"),
        (EventKind::Cancel, _) => ("canceled", "customer.subscription.deleted"),
    };
    let before = live.map(Subscription::status).filter(|before| before.as_str() != status);
    json!({
        "id": format!("evt_{new}"),
        "object": "event",
        "api_version": "2026-10-28.endive",
        "created": now,
        "livemode": false,
        "type": event_type,
        "data": {
            "object": {
                "id": id,
                "object": "subscription",
                "customer": live.map_or_else(|| format!("cus_{}", seed.slug), |live| live.customer().to_owned()),
                "status": status,
                "cancel_at": null,
                "cancel_at_period_end": false,
                "ended_at": if status == "canceled" { json!(now) } else { json!(null) },
                "metadata": { "tenant_id": seed.id },
                "items": { "object": "list", "has_more": false, "data": [{
                    "id": "si_demo", "object": "subscription_item", "quantity": 1,
                    "current_period_end": now + 30 * 86_400,
                    "price": { "id": "price_pro_monthly", "object": "price", "lookup_key": "pro_monthly" },
                }] },
            },
            "previous_attributes": before.map(|before| json!({ "status": SubscriptionStatus::as_str(before) })),
        },
    })
}
