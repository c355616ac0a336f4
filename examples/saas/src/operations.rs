//! The operations of the application. No function takes a tenant id: the tenant comes from the [`TenantContext`].

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tenancy::audit::{AuditEvent, AuditSink, Outcome};
use tenancy::billing::stripe::StripeWebhook;
use tenancy::plan::Entitlements;
use tenancy::quota::Gauge;
use tenancy::scope::row::SupportsRow;
use tenancy::scope::select::{Page, PageRequest};
use tenancy::scope::{StoredEvent, Tx};
use tenancy::{Error, ErrorKind, Result, TenantContext, TenantScoped};
use uuid::Uuid;

use crate::model::{ORDERS, Order, PROJECTS, Project};
use crate::{App, AppDb};

/// The body of a request that creates or renames a project.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewProject {
    name: String,
}

/// The body of a request that creates an order.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewOrder {
    project_id: Uuid,
    title: String,
    amount_cents: i64,
}

/// The body of a request that changes an order.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OrderChange {
    title: String,
    amount_cents: i64,
    status: String,
}

/// The page of a list: `?limit=20&after=ID`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PageQuery {
    after: Option<Uuid>,
    #[serde(default = "default_limit")]
    limit: u16,
}

fn default_limit() -> u16 {
    20
}

impl PageQuery {
    pub(crate) fn request(&self) -> PageRequest<Uuid> {
        match self.after {
            Some(id) => PageRequest::after(id, self.limit),
            None => PageRequest::first(self.limit),
        }
    }
}

impl<DB: AppDb> App<DB> {
    // ---- projects ----

    /// Returns a page of the tenant's projects.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] for an invalid page.
    pub async fn list_projects(&self, ctx: &TenantContext, page: &PageQuery) -> Result<Value> {
        Ok(listing(&Project::list(&self.db.scope(ctx), page.request()).await?))
    }

    /// Returns one of the tenant's projects.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`].
    pub async fn read_project(&self, ctx: &TenantContext, id: &str) -> Result<Project> {
        self.find(ctx, id).await
    }

    /// Creates a project, unless the limit of the plan is reached.
    ///
    /// # Errors
    /// [`ErrorKind::LimitReached`].
    pub async fn create_project(&self, ctx: &TenantContext, new: NewProject) -> Result<Project> {
        let project = Project::new(new.name);
        self.create(ctx, PROJECTS, "project", &project).await?;
        Ok(project)
    }

    /// Renames a project.
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

    /// Deletes a project and decrements its gauge.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`], or [`ErrorKind::ReferenceViolation`] while it has orders.
    pub async fn delete_project(&self, ctx: &TenantContext, id: &str) -> Result<()> {
        self.delete::<Project>(ctx, PROJECTS, "project", id).await
    }

    // ---- orders ----

    /// Returns a page of the tenant's orders.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] for an invalid page.
    pub async fn list_orders(&self, ctx: &TenantContext, page: &PageQuery) -> Result<Value> {
        Ok(listing(&Order::list(&self.db.scope(ctx), page.request()).await?))
    }

    /// Returns one of the tenant's orders.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`].
    pub async fn read_order(&self, ctx: &TenantContext, id: &str) -> Result<Order> {
        self.find(ctx, id).await
    }

    /// Creates an order, unless the limit of the plan is reached.
    ///
    /// # Errors
    /// [`ErrorKind::LimitReached`], or [`ErrorKind::ReferenceViolation`] if the tenant has no such project.
    pub async fn create_order(&self, ctx: &TenantContext, new: NewOrder) -> Result<Order> {
        let order = Order::new(new.project_id, new.title, new.amount_cents);
        self.create(ctx, ORDERS, "order", &order).await?;
        Ok(order)
    }

    /// Changes an order.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`].
    pub async fn update_order(&self, ctx: &TenantContext, id: &str, change: OrderChange) -> Result<Order> {
        let OrderChange { title, amount_cents, status } = change;
        let mut tx = self.db.begin(ctx).await?;
        let order = Order::find(&mut tx, parse(id)?).await?.ok_or_else(not_found)?;
        let order = Order { title, amount_cents, status, ..order };
        save(tx, ctx, "order.update", &order).await?;
        Ok(order)
    }

    /// Deletes an order and decrements its gauge.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`].
    pub async fn delete_order(&self, ctx: &TenantContext, id: &str) -> Result<()> {
        self.delete::<Order>(ctx, ORDERS, "order", id).await
    }

    // ---- audit log, plan ----

    /// Returns a page of the audit log, newest first.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] for an invalid page.
    pub async fn audit_log(&self, ctx: &TenantContext, page: &PageQuery) -> Result<Value> {
        let items = StoredEvent::newest(&self.db.scope(ctx), page.after, page.limit).await?;
        let next = (items.len() == usize::from(page.limit)).then(|| items.last().map(StoredEvent::id));
        Ok(json!({ "items": items, "next": next }))
    }

    /// Returns the tenant's plan and its features.
    ///
    /// # Errors
    /// If the catalog does not contain the plan.
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

    /// The webhook that receives Stripe's events.
    pub fn stripe(&self) -> &StripeWebhook {
        self.billing.webhook()
    }

    // ---- what projects and orders share ----

    async fn find<T>(&self, ctx: &TenantContext, id: &str) -> Result<T>
    where
        DB: SupportsRow<T>,
        T: TenantScoped<Id = Uuid>,
    {
        T::find(&self.db.scope(ctx), parse(id)?).await?.ok_or_else(not_found)
    }

    /// Increments the gauge, inserts the row and records the event in one transaction.
    async fn create<T>(&self, ctx: &TenantContext, gauge: Gauge, kind: &str, row: &T) -> Result<()>
    where
        DB: SupportsRow<T>,
        T: TenantScoped<Id = Uuid> + Sync,
    {
        let event = AuditEvent::new(ctx, format!("{kind}.create")).target(kind, row.id());
        let mut tx = self.db.begin(ctx).await?;
        if let Err(rejection) = gauge.acquire(&mut tx, 1).await {
            return Err(self.rejected(tx, event, rejection).await);
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

    /// Rolls back, and records the rejection.
    pub(crate) async fn rejected(&self, tx: Tx<'_, DB>, event: AuditEvent, rejection: Error) -> Error {
        if let Err(error) = tx.rollback().await {
            return error;
        }
        self.denied(event, &rejection).await;
        rejection
    }

    /// Records a rejection. It changes no row, so its event is written without a transaction. If the write fails, the
    /// request is rejected all the same.
    pub(crate) async fn denied(&self, event: AuditEvent, rejection: &Error) {
        let event = event.outcome(Outcome::Denied).detail("reason", rejection.kind());
        if let Err(error) = self.store.write(&[event]).await {
            tracing::error!(%error, "a rejection was not recorded");
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

pub(crate) fn listing<T: TenantScoped<Id = Uuid> + Serialize>(listing: &Page<T>) -> Value {
    json!({ "items": listing.items, "next": listing.next })
}

/// What is no id at all is a row that is not there.
pub(crate) fn parse(id: &str) -> Result<Uuid> {
    Uuid::try_parse(id).map_err(|_| not_found())
}

/// The one answer for "not there" and "not yours".
pub(crate) fn not_found() -> Error {
    Error::new(ErrorKind::NotFound, "no such row")
}
