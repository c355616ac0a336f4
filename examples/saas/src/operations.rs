//! What the application does. Nothing here names a tenant: the context does, and the scope it opens.

use futures_util::{Stream, StreamExt, TryStreamExt, stream};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tenancy::audit::{AuditEvent, AuditSink, Outcome};
use tenancy::plan::Entitlements;
use tenancy::quota::Gauge;
use tenancy::scope::row::SupportsRow;
use tenancy::scope::select::{Page, PageRequest};
use tenancy::scope::{StoredEvent, Tx};
use tenancy::{Error, ErrorKind, Result, TenantContext, TenantScoped};
use uuid::Uuid;

use crate::model::{ORDERS, Order, PROJECTS, Project};
use crate::{App, AppDb};

/// What a client says of a project.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewProject {
    name: String,
}

/// What a client says of an order that is to be.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewOrder {
    project_id: Uuid,
    title: String,
    amount_cents: i64,
}

/// What a client says of an order that is there.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChangedOrder {
    title: String,
    amount_cents: i64,
    status: String,
}

/// Which rows of a list: `?limit=20&after=ID`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Which {
    after: Option<Uuid>,
    #[serde(default = "twenty")]
    limit: u16,
}

fn twenty() -> u16 {
    20
}

impl Which {
    fn page(&self) -> PageRequest<Uuid> {
        match self.after {
            Some(id) => PageRequest::after(id, self.limit),
            None => PageRequest::first(self.limit),
        }
    }
}

impl<DB: AppDb> App<DB> {
    // ---- projects ----

    /// Some of the tenant's projects.
    ///
    /// # Errors
    /// When there is no such page.
    pub async fn list_projects(&self, ctx: &TenantContext, which: &Which) -> Result<Value> {
        Ok(listing(&Project::list(&self.db.scope(ctx), which.page()).await?))
    }

    /// One of the tenant's projects.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`].
    pub async fn read_project(&self, ctx: &TenantContext, id: &str) -> Result<Project> {
        self.find(ctx, id).await
    }

    /// One more, if the plan has a place for it.
    ///
    /// # Errors
    /// [`ErrorKind::LimitReached`].
    pub async fn create_project(&self, ctx: &TenantContext, new: NewProject) -> Result<Project> {
        let project = Project::new(new.name);
        self.create(ctx, PROJECTS, "project", &project).await?;
        Ok(project)
    }

    /// Another name for one.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`].
    pub async fn update_project(&self, ctx: &TenantContext, id: &str, new: NewProject) -> Result<Project> {
        let mut tx = self.db.begin(ctx).await?;
        let mut project = Project::find(&mut tx, parse(id)?).await?.ok_or_else(not_found)?;
        project.name = new.name;
        save(tx, ctx, "project.update", &project).await?;
        Ok(project)
    }

    /// Deletes one, which gives its place in the plan back.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`], or [`ErrorKind::ReferenceViolation`] while it has orders.
    pub async fn delete_project(&self, ctx: &TenantContext, id: &str) -> Result<()> {
        self.delete::<Project>(ctx, PROJECTS, "project", id).await
    }

    // ---- orders ----

    /// Some of the tenant's orders.
    ///
    /// # Errors
    /// When there is no such page.
    pub async fn list_orders(&self, ctx: &TenantContext, which: &Which) -> Result<Value> {
        Ok(listing(&Order::list(&self.db.scope(ctx), which.page()).await?))
    }

    /// One of the tenant's orders.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`].
    pub async fn read_order(&self, ctx: &TenantContext, id: &str) -> Result<Order> {
        self.find(ctx, id).await
    }

    /// One more, if the plan has a place for it.
    ///
    /// # Errors
    /// [`ErrorKind::LimitReached`], or [`ErrorKind::ReferenceViolation`] if the tenant has no such project.
    pub async fn create_order(&self, ctx: &TenantContext, new: NewOrder) -> Result<Order> {
        let order = Order::new(new.project_id, new.title, new.amount_cents);
        self.create(ctx, ORDERS, "order", &order).await?;
        Ok(order)
    }

    /// Changes one.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`].
    pub async fn update_order(&self, ctx: &TenantContext, id: &str, new: ChangedOrder) -> Result<Order> {
        let ChangedOrder { title, amount_cents, status } = new;
        let mut tx = self.db.begin(ctx).await?;
        let order = Order::find(&mut tx, parse(id)?).await?.ok_or_else(not_found)?;
        let order = Order { title, amount_cents, status, ..order };
        save(tx, ctx, "order.update", &order).await?;
        Ok(order)
    }

    /// Deletes one, which gives its place in the plan back.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`].
    pub async fn delete_order(&self, ctx: &TenantContext, id: &str) -> Result<()> {
        self.delete::<Order>(ctx, ORDERS, "order", id).await
    }

    /// All orders as CSV, a page at a time, while they are sent. Only where the plan has it.
    ///
    /// # Errors
    /// [`ErrorKind::FeatureNotInPlan`], which the audit trail hears of.
    pub async fn export_orders(
        &self,
        ctx: TenantContext,
    ) -> Result<impl Stream<Item = Result<String>> + Send + use<DB>> {
        if let Err(refused) = ctx.entitlements().require("export") {
            self.denied(AuditEvent::new(&ctx, "order.export"), &refused).await;
            return Err(refused);
        }
        let orders = self.db.stream(ctx, |scope| Order::select().stream(scope));
        let head = stream::once(async { Ok("id,project_id,title,amount_cents,status\n".to_owned()) });
        Ok(head.chain(orders.map_ok(|order| csv_line(&order))))
    }

    // ---- what a tenant may see of itself ----

    /// How much of the plan is used.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub async fn usage(&self, ctx: &TenantContext) -> Result<Value> {
        let scope = self.db.scope(ctx);
        let mut gauges = Vec::new();
        for gauge in [PROJECTS, ORDERS] {
            let usage = gauge.usage(&scope).await?;
            gauges.push(json!({ "feature": gauge.feature(), "used": usage.used, "limit": usage.limit }));
        }
        Ok(json!({ "gauges": gauges }))
    }

    /// What was done, the newest first.
    ///
    /// # Errors
    /// When there is no such page.
    pub async fn trail(&self, ctx: &TenantContext, which: &Which) -> Result<Value> {
        let items = StoredEvent::newest(&self.db.scope(ctx), which.after, which.limit).await?;
        let next = (items.len() == usize::from(which.limit)).then(|| items.last().map(StoredEvent::id));
        Ok(json!({ "items": items, "next": next }))
    }

    /// What the tenant bought.
    ///
    /// # Errors
    /// When the catalog no longer has the plan.
    pub fn plan(&self, ctx: &TenantContext) -> Result<Value> {
        let tenant = ctx.tenant();
        let plan = self.directory.catalog().plan(tenant.plan())?;
        let entitlements: &Entitlements = ctx.entitlements();
        let features: serde_json::Map<String, Value> =
            entitlements.features().map(|(key, feature)| (key.to_owned(), json!(feature))).collect();
        Ok(json!({
            "tenant": { "id": tenant.id(), "slug": tenant.slug(), "name": tenant.name(), "status": tenant.status() },
            "plan": { "key": plan.key(), "title": plan.title() },
            "catalog_version": entitlements.catalog_version(),
            "features": features,
            "upgrade_url": entitlements.upgrade_url(),
        }))
    }

    // ---- Stripe ----

    /// An event of Stripe, whose body must come here byte for byte.
    ///
    /// # Errors
    /// The status to answer with: by it Stripe sees whether to send the event again.
    pub async fn stripe_webhook(&self, body: &[u8], signatures: &[&[u8]]) -> Result<Value, u16> {
        match self.stripe.receive(body, signatures).await {
            Ok(receipt) => Ok(json!({ "received": receipt.as_str() })),
            Err(error) => Err(match error.kind() {
                ErrorKind::SignatureInvalid | ErrorKind::InvalidInput => 400,
                ErrorKind::Misconfigured => 422,
                _ => 503,
            }),
        }
    }

    // ---- what projects and orders share ----

    async fn find<T>(&self, ctx: &TenantContext, id: &str) -> Result<T>
    where
        DB: SupportsRow<T>,
        T: TenantScoped<Id = Uuid>,
    {
        T::find(&self.db.scope(ctx), parse(id)?).await?.ok_or_else(not_found)
    }

    /// The place in the plan, the row and the event: all of them, or none.
    async fn create<T>(&self, ctx: &TenantContext, gauge: Gauge, kind: &str, row: &T) -> Result<()>
    where
        DB: SupportsRow<T>,
        T: TenantScoped<Id = Uuid> + Sync,
    {
        let event = AuditEvent::new(ctx, format!("{kind}.create")).target(kind, row.id());
        let mut tx = self.db.begin(ctx).await?;
        if let Err(refused) = gauge.acquire(&mut tx, 1).await {
            tx.rollback().await?;
            self.denied(event, &refused).await;
            return Err(refused);
        }
        T::insert(&mut tx, row).await?;
        tx.record(event).await?;
        tx.commit().await
    }

    async fn delete<T>(&self, ctx: &TenantContext, gauge: Gauge, kind: &str, id: &str) -> Result<()>
    where
        DB: SupportsRow<T>,
        T: TenantScoped<Id = Uuid>,
    {
        let id = parse(id)?;
        let mut tx = self.db.begin(ctx).await?;
        let deleted = T::delete(&mut tx, id).await?;
        if !deleted.found() {
            return Err(not_found());
        }
        gauge.release(&mut tx, deleted).await?;
        tx.record(AuditEvent::new(ctx, format!("{kind}.delete")).target(kind, id)).await?;
        tx.commit().await
    }

    /// A refusal changes no row, so its event goes to the store directly; a refusal that cannot be recorded is
    /// still a refusal.
    async fn denied(&self, event: AuditEvent, refused: &Error) {
        let event = event.outcome(Outcome::Denied).detail("reason", refused.kind());
        if let Err(error) = self.store.write(&[event]).await {
            tracing::error!(%error, "a refusal was not recorded");
        }
    }
}

async fn save<DB, T>(mut tx: Tx<'_, DB>, ctx: &TenantContext, action: &str, row: &T) -> Result<()>
where
    DB: AppDb + SupportsRow<T>,
    T: TenantScoped<Id = Uuid> + Sync,
{
    if !T::update(&mut tx, row).await?.found() {
        return Err(not_found());
    }
    let kind = action.split('.').next().unwrap_or(action);
    tx.record(AuditEvent::new(ctx, action).target(kind, row.id())).await?;
    tx.commit().await
}

fn csv_line(order: &Order) -> String {
    let Order { id, project_id, title, amount_cents, status, .. } = order;
    // A spreadsheet runs a cell that starts like a formula; the quote in front makes it text.
    let guard = if title.starts_with(['=', '+', '-', '@', '\t', '\r']) { "'" } else { "" };
    let title = title.replace('"', "\"\"");
    format!("{id},{project_id},\"{guard}{title}\",{amount_cents},{status}\n")
}

fn listing<T: TenantScoped<Id = Uuid> + Serialize>(listing: &Page<T>) -> Value {
    json!({ "items": listing.items, "next": listing.next })
}

/// What is no id at all is a row that is not there.
fn parse(id: &str) -> Result<Uuid> {
    Uuid::try_parse(id).map_err(|_| not_found())
}

/// The one answer for "not there" and "not yours".
fn not_found() -> Error {
    Error::new(ErrorKind::NotFound, "no such row")
}
