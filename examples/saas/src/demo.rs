//! The parts that only the demo needs: tenants with data, a token for each, and simulated Stripe events.

use std::fmt::Write;
use std::sync::Arc;

use async_trait::async_trait;
use jsonwebtoken::{EncodingKey, Header};
use serde::Deserialize;
use serde_json::{Value, json};
use tenancy::audit::AuditEvent;
use tenancy::billing::stripe::sign;
use tenancy::billing::{BillingStore, Subscription, SubscriptionStatus};
use tenancy::clock::{Clock, SystemClock};
use tenancy::placement::{Provisioner, Seed};
use tenancy::scope::Tx;
use tenancy::tenant::{NewTenant, Placement, Slug, Tenant, TenantId, TenantStatus};
use tenancy::{Error, ErrorKind, Result, TenantScoped};
use uuid::{Uuid, uuid};

use crate::model::{ORDERS, Order, PROJECTS, Project};
use crate::{App, AppDb, Settings, provisioning};

pub(crate) const ISSUER: &str = "saas";
pub(crate) const AUDIENCE: &str = "saas";

/// The tenants of the demo. Their ids are fixed, so that commands can be copied from the documentation.
///
/// The first two are created when the program starts; the third is created on request, with a place of its own.
static TENANTS: [DemoTenant; 3] = [
    DemoTenant {
        id: uuid!("0198a000-0000-7000-8000-00000000000a"),
        slug: "acme",
        name: "Acme Ltd",
        plan: "free",
        order: uuid!("0198a000-0000-7000-8000-0000000000a1"),
        projects: &["Roadrunner", "Anvil works"],
    },
    DemoTenant {
        id: uuid!("0198a000-0000-7000-8000-00000000000b"),
        slug: "globex",
        name: "Globex Corporation",
        plan: "pro",
        order: uuid!("0198a000-0000-7000-8000-0000000000b1"),
        projects: &["Hank's hammock", "Cypress Creek", "Project Arcturus", "Weather machine"],
    },
    DemoTenant {
        id: uuid!("0198a000-0000-7000-8000-00000000000c"),
        slug: "umbrella",
        name: "Umbrella Corporation",
        plan: "pro",
        order: uuid!("0198a000-0000-7000-8000-0000000000c1"),
        projects: &["Raccoon City", "The Hive", "Arklay laboratory"],
    },
];

struct DemoTenant {
    id: Uuid,
    slug: &'static str,
    name: &'static str,
    plan: &'static str,
    /// An order of the tenant, which the other tenants request and do not find.
    order: Uuid,
    projects: &'static [&'static str],
}

impl DemoTenant {
    fn tenant(&self) -> Result<TenantId> {
        TenantId::from_uuid(self.id)
    }

    /// Creates the tenant in the place that `place` gives it, unless it exists.
    async fn create<DB: AppDb>(
        &self,
        provisioner: &Provisioner<DB>,
        place: fn(NewTenant) -> NewTenant,
    ) -> Result<Arc<Tenant>> {
        let new = |id| Ok(place(NewTenant::new(Slug::parse(self.slug)?, self.name, self.plan).id(id)));
        provisioning::create(provisioner, self.tenant()?, new).await
    }

    /// Reads the tenant. Returns `None` if it is not created, or not open yet.
    async fn read<DB: AppDb>(&self, app: &App<DB>) -> Result<Option<Arc<Tenant>>> {
        let tenant = app.directory.store().by_id(&self.tenant()?).await?;
        Ok(tenant.filter(|tenant| tenant.status() != TenantStatus::Provisioning))
    }
}

/// Writes the rows of a new tenant of the demo, in the place of the tenant.
pub(crate) struct DemoRows;

#[async_trait]
impl<DB: AppDb> Seed<DB> for DemoRows {
    async fn seed(&self, tx: &mut Tx<'_, DB>) -> Result<()> {
        let ctx = tx.context().clone();
        let Some(tenant) = TENANTS.iter().find(|tenant| tenant.slug == ctx.tenant().slug().as_str()) else {
            return Ok(());
        };
        // An earlier run committed the rows, and was interrupted before it recorded that.
        if Order::exists(&mut *tx, tenant.order).await? {
            return Ok(());
        }
        for (n, name) in tenant.projects.iter().enumerate() {
            let project = Project::new((*name).to_owned());
            PROJECTS.acquire(&mut *tx, 1).await?;
            Project::insert(&mut *tx, &project).await?;
            for order in 0..3 {
                let mut row =
                    Order::new(project.id, format!("{name}: part {}", order + 1), 1_250 * (order + 1));
                if n == 0 && order == 0 {
                    row.id = tenant.order;
                }
                ORDERS.acquire(&mut *tx, 1).await?;
                Order::insert(&mut *tx, &row).await?;
            }
        }
        tx.record(AuditEvent::new(&ctx, "demo.seed").detail("projects", tenant.projects.len())).await
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
    /// Creates the first two tenants in the shared tables, unless they exist.
    pub(crate) async fn new<DB: AppDb>(provisioner: &Provisioner<DB>, settings: &Settings) -> Result<Self> {
        let [acme, globex, _] = &TENANTS;
        for tenant in [acme, globex] {
            tenant.create(provisioner, |new| new).await?;
        }
        Ok(Self {
            jwt: EncodingKey::from_secret(settings.jwt_secret.as_bytes()),
            stripe_webhook_secret: settings.stripe_webhook_secret.as_str().into(),
        })
    }

    /// Signs a token for a user of this tenant, valid for twelve hours.
    fn token(&self, tenant: &DemoTenant) -> Result<String> {
        let now = SystemClock.now().seconds();
        let claims = json!({
            "iss": ISSUER, "aud": AUDIENCE, "sub": format!("demo@{}.example", tenant.slug),
            "tenant_id": tenant.id, "iat": now, "exp": now + 12 * 60 * 60,
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
        let [acme, globex, _] = &TENANTS;
        for tenant in [acme, globex] {
            let token = self.token(tenant).unwrap_or_default();
            let _ = writeln!(text, "  {}={token}", tenant.slug.to_uppercase());
        }
        let token = self.token(acme).unwrap_or_default();
        let _ = write!(
            text,
            "\nTry:\n  \
             curl -H 'Authorization: Bearer {token}' http://127.0.0.1:{port}/api/projects\n  \
             curl -i -H 'Authorization: Bearer {token}' http://127.0.0.1:{port}/api/orders/{}\n  \
             curl http://globex.localhost:{port}/api/usage\n  \
             curl -X POST http://127.0.0.1:{port}/demo/tenants\n\
             The second requests an order of globex with a token of acme: 404.\n\
             The last creates a third tenant, in a place of its own.\n",
            globex.order,
        );
        text
    }
}

impl<DB: AppDb> App<DB> {
    /// Returns the tenants with a token for each, for the page. A real application logs the user in.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn tenants(&self) -> Result<Value> {
        let mut tenants = Vec::new();
        for known in &TENANTS {
            if let Some(tenant) = known.read(self).await? {
                tenants.push(self.shown(known, &tenant)?);
            }
        }
        Ok(Value::Array(tenants))
    }

    /// Creates the third tenant, in a schema or a file of its own, and returns it as [`tenants`](Self::tenants) does.
    ///
    /// If it was interrupted, the next call goes on. If the tenant exists, nothing is changed.
    ///
    /// # Errors
    /// The error of the step that failed. The tenant stays closed until a call succeeds.
    pub async fn create_third_tenant(&self) -> Result<Value> {
        let [_, _, umbrella] = &TENANTS;
        let provisioner = self.provisioner.lock().await;
        let tenant = umbrella.create(&provisioner, DB::own_place).await?;
        self.shown(umbrella, &tenant)
    }

    fn shown(&self, known: &DemoTenant, tenant: &Tenant) -> Result<Value> {
        let place = match tenant.placement() {
            Placement::Shared => "shared tables".to_owned(),
            Placement::Schema { name } => format!("schema {name}"),
            // Only SQLite gives a tenant a database here.
            Placement::Database { name } => format!("file {name}.db"),
            _ => "another place".to_owned(),
        };
        Ok(json!({
            "id": tenant.id(), "slug": tenant.slug(), "name": tenant.name(), "plan": tenant.plan(),
            "status": tenant.status(), "place": place, "token": self.demo.token(known)?,
            "sample_order_id": known.order,
        }))
    }

    /// Builds and signs the event that Stripe would send, and passes it to the webhook, for the page.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] for a tenant that is not of the demo, or an error if the database cannot be read.
    pub async fn simulate(&self, requested: SimulatedEvent) -> Result<Value> {
        let unknown = || Error::new(ErrorKind::NotFound, "the demo has no such tenant");
        let known = TENANTS.iter().find(|known| known.slug == requested.slug).ok_or_else(unknown)?;
        let tenant = known.read(self).await?.ok_or_else(unknown)?;
        let mut tx = self.store.begin().await?;
        let subscriptions = tx.subscriptions(tenant.id()).await?;
        drop(tx);
        let live = subscriptions.iter().find(|sub| !sub.status().is_final());
        let event = event_body(known, live, requested.event).to_string();
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

fn event_body(tenant: &DemoTenant, live: Option<&Subscription>, kind: EventKind) -> Value {
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
                "customer": live.map_or_else(|| format!("cus_{}", tenant.slug), |live| live.customer().to_owned()),
                "status": status,
                "cancel_at": null,
                "cancel_at_period_end": false,
                "ended_at": if status == "canceled" { json!(now) } else { json!(null) },
                "metadata": { "tenant_id": tenant.id },
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
