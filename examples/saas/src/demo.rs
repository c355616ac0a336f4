//! The parts that only the demo needs: tenants with data, and a token for each.

use std::fmt::Write;
use std::sync::Arc;

use async_trait::async_trait;
use jsonwebtoken::{EncodingKey, Header};
use serde_json::{Value, json};
use tenancy::audit::AuditEvent;
use tenancy::billing::BillingStore;
use tenancy::clock::{Clock, SystemClock, Timestamp};
use tenancy::context::TenantDirectory;
use tenancy::placement::{Provisioner, Seed};
use tenancy::scope::Tx;
use tenancy::store::SqlStore;
use tenancy::tenant::{NewTenant, Placement, Slug, Tenant, TenantId, TenantStatus};
use tenancy::{Error, ErrorKind, Result, TenantScoped};
use uuid::{Uuid, uuid};

use crate::billing::live;
use crate::model::{Member, ORDERS, Order, PROJECTS, Project, SEATS};
use crate::{App, AppDb, BillingRequest, Settings, provisioning, usage};

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

    /// The user of the demo's token.
    fn user(&self) -> String {
        format!("demo@{}.example", self.slug)
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
        let member = Member::new(tenant.user());
        SEATS.acquire_for(&mut *tx, &member.email).await?;
        Member::insert(&mut *tx, &member).await?;
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
            jwt: EncodingKey::from_secret(settings.jwt_secret.as_bytes()).map_err(|e| {
                Error::new(ErrorKind::Misconfigured, "JWT_SECRET is not a usable secret").with_source(e)
            })?,
            stripe_webhook_secret: settings.stripe_webhook_secret.as_str().into(),
        })
    }

    /// Gives the first two tenants a history of usage, unless they have one.
    pub(crate) async fn seed_history<DB: AppDb>(
        &self,
        store: &Arc<SqlStore<DB>>,
        directory: &TenantDirectory,
    ) -> Result<()> {
        let [acme, globex, _] = &TENANTS;
        for tenant in [acme, globex] {
            let stored = directory.store().by_id(&tenant.tenant()?).await?;
            // A closed tenant gets its history when it is open again.
            if stored.is_some_and(|tenant| tenant.status().is_open()) {
                usage::seed_history(store.clone(), directory, &tenant.tenant()?).await?;
            }
        }
        Ok(())
    }

    /// Signs a token for a user of this tenant, valid for twelve hours.
    fn token(&self, tenant: &DemoTenant) -> Result<String> {
        let now = SystemClock.now().seconds();
        let claims = json!({
            "iss": ISSUER, "aud": AUDIENCE, "sub": tenant.user(),
            "tenant_id": tenant.id, "iat": now, "exp": now + 12 * 60 * 60,
        });
        jsonwebtoken::encode(&Header::default(), &claims, &self.jwt).map_err(|e| {
            Error::new(ErrorKind::Misconfigured, "the token of the demo cannot be signed").with_source(e)
        })
    }

    /// Returns the text that the program prints after its start.
    pub(crate) fn welcome(&self, settings: &Settings, fake_stripe: Option<&str>) -> String {
        let port = settings.port;
        let stripe = fake_stripe.map_or_else(|| "Stripe".to_owned(), |url| format!("a fake Stripe at {url}"));
        let mut text = format!(
            "\nA small SaaS, listening on http://127.0.0.1:{port}/\n\
             Data: {}   Webhook secret: {}   Billing: {stripe}\n\nTokens:\n",
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

/// Where the rows of a tenant are, for a person.
pub(crate) fn place_of<DB: AppDb>(placement: &Placement) -> String {
    match placement {
        Placement::Shared => "shared tables".to_owned(),
        Placement::Schema { name } => format!("schema {name}"),
        Placement::Database { name } => DB::database(name),
        _ => "another place".to_owned(),
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
                tenants.push(self.shown(known, &tenant).await?);
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
        self.shown(umbrella, &tenant).await
    }

    async fn shown(&self, known: &DemoTenant, tenant: &Tenant) -> Result<Value> {
        let subscriptions = self.store.begin().await?.subscriptions(tenant.id()).await?;
        let subscription = live(&subscriptions)
            .map(|live| json!({ "status": live.status(), "ends": live.cancel_at().map(Timestamp::seconds) }));
        Ok(json!({
            "id": tenant.id(), "slug": tenant.slug(), "name": tenant.name(), "plan": tenant.plan(),
            "status": tenant.status(), "place": place_of::<DB>(tenant.placement()), "token": self.demo.token(known)?,
            "sample_order_id": known.order, "subscription": subscription,
        }))
    }

    /// Sells a plan to a tenant, or opens its portal, for the page. A real application takes the tenant from the login.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] for a tenant that is not of the demo; otherwise as the methods of `StripeBilling`.
    pub async fn bill(&self, request: BillingRequest) -> Result<Value> {
        let unknown = || Error::new(ErrorKind::NotFound, "the demo has no such tenant");
        let known = TENANTS.iter().find(|known| known.slug == request.slug).ok_or_else(unknown)?;
        let tenant = known.read(self).await?.ok_or_else(unknown)?;
        self.billing.handle(&tenant, &request).await
    }
}
