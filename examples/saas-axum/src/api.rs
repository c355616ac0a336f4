//! The handlers. None of them names a tenant: the context does, and the scope it opens.

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::{StreamExt, TryStreamExt, stream};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tenancy::audit::{AuditEvent, AuditSink, Outcome};
use tenancy::plan::Entitlements;
use tenancy::quota::Gauge;
use tenancy::scope::{Listing, Page, StoredEvent, Stores, Tx};
use tenancy::{Error, ErrorKind, Result, TenantContext, TenantScoped};
use uuid::Uuid;

use crate::model::{ORDERS, Order, PROJECTS, Project};
use crate::{App, AppDb, Shared};

// ---- projects ----

pub(crate) async fn list_projects<DB: AppDb>(
    State(app): Shared<DB>,
    ctx: TenantContext,
    page: Result<Query<Which>, QueryRejection>,
) -> Result<Json<Value>> {
    Ok(listing(&Project::list(&app.db.scope(&ctx), which(page)?.page()).await?))
}

pub(crate) async fn read_project<DB: AppDb>(
    State(app): Shared<DB>,
    ctx: TenantContext,
    Path(id): Path<String>,
) -> Result<Json<Project>> {
    Ok(Json(find::<DB, Project>(&app, &ctx, &id).await?))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewProject {
    name: String,
}

pub(crate) async fn create_project<DB: AppDb>(
    State(app): Shared<DB>,
    ctx: TenantContext,
    body: Result<Json<NewProject>, JsonRejection>,
) -> Result<(StatusCode, Json<Project>)> {
    let project = Project::new(json(body)?.name);
    create(&app, &ctx, PROJECTS, "project", &project).await?;
    Ok((StatusCode::CREATED, Json(project)))
}

pub(crate) async fn update_project<DB: AppDb>(
    State(app): Shared<DB>,
    ctx: TenantContext,
    Path(id): Path<String>,
    body: Result<Json<NewProject>, JsonRejection>,
) -> Result<Json<Project>> {
    let name = json(body)?.name;
    let mut tx = app.db.begin(&ctx).await?;
    let mut project = Project::find(&mut tx, parse(&id)?).await?.ok_or_else(not_found)?;
    project.name = name;
    save(tx, &ctx, "project.update", &project).await?;
    Ok(Json(project))
}

pub(crate) async fn delete_project<DB: AppDb>(
    State(app): Shared<DB>,
    ctx: TenantContext,
    Path(id): Path<String>,
) -> Result<StatusCode> {
    delete::<DB, Project>(&app, &ctx, PROJECTS, "project", &id).await
}

// ---- orders ----

pub(crate) async fn list_orders<DB: AppDb>(
    State(app): Shared<DB>,
    ctx: TenantContext,
    page: Result<Query<Which>, QueryRejection>,
) -> Result<Json<Value>> {
    Ok(listing(&Order::list(&app.db.scope(&ctx), which(page)?.page()).await?))
}

pub(crate) async fn read_order<DB: AppDb>(
    State(app): Shared<DB>,
    ctx: TenantContext,
    Path(id): Path<String>,
) -> Result<Json<Order>> {
    Ok(Json(find::<DB, Order>(&app, &ctx, &id).await?))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewOrder {
    project_id: Uuid,
    title: String,
    amount_cents: i64,
}

pub(crate) async fn create_order<DB: AppDb>(
    State(app): Shared<DB>,
    ctx: TenantContext,
    body: Result<Json<NewOrder>, JsonRejection>,
) -> Result<(StatusCode, Json<Order>)> {
    let NewOrder { project_id, title, amount_cents } = json(body)?;
    let order = Order::new(project_id, title, amount_cents);
    create(&app, &ctx, ORDERS, "order", &order).await?;
    Ok((StatusCode::CREATED, Json(order)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ChangedOrder {
    title: String,
    amount_cents: i64,
    status: String,
}

pub(crate) async fn update_order<DB: AppDb>(
    State(app): Shared<DB>,
    ctx: TenantContext,
    Path(id): Path<String>,
    body: Result<Json<ChangedOrder>, JsonRejection>,
) -> Result<Json<Order>> {
    let ChangedOrder { title, amount_cents, status } = json(body)?;
    let mut tx = app.db.begin(&ctx).await?;
    let order = Order::find(&mut tx, parse(&id)?).await?.ok_or_else(not_found)?;
    let order = Order { title, amount_cents, status, ..order };
    save(tx, &ctx, "order.update", &order).await?;
    Ok(Json(order))
}

pub(crate) async fn delete_order<DB: AppDb>(
    State(app): Shared<DB>,
    ctx: TenantContext,
    Path(id): Path<String>,
) -> Result<StatusCode> {
    delete::<DB, Order>(&app, &ctx, ORDERS, "order", &id).await
}

/// Only where the plan has it.
pub(crate) async fn export_orders<DB: AppDb>(State(app): Shared<DB>, ctx: TenantContext) -> Result<Response> {
    if let Err(refused) = ctx.entitlements().require("export") {
        denied(&app, AuditEvent::new(&ctx, "order.export"), &refused).await;
        return Err(refused);
    }
    // As many rows as there are, a page at a time, while they are sent.
    let orders = app.db.stream(ctx, |scope| Order::select().stream(scope));
    let head = stream::once(async { Ok("id,project_id,title,amount_cents,status\n".to_owned()) });
    let csv = Body::from_stream(head.chain(orders.map_ok(|order| csv_line(&order))));
    let headers = [
        (header::CONTENT_TYPE, "text/csv; charset=utf-8"),
        (header::CONTENT_DISPOSITION, "attachment; filename=\"orders.csv\""),
    ];
    Ok((headers, csv).into_response())
}

fn csv_line(order: &Order) -> String {
    let Order { id, project_id, title, amount_cents, status, .. } = order;
    // A spreadsheet runs a cell that starts like a formula; the quote in front makes it text.
    let guard = if title.starts_with(['=', '+', '-', '@', '\t', '\r']) { "'" } else { "" };
    let title = title.replace('"', "\"\"");
    format!("{id},{project_id},\"{guard}{title}\",{amount_cents},{status}\n")
}

// ---- what a tenant may see of itself ----

pub(crate) async fn usage<DB: AppDb>(State(app): Shared<DB>, ctx: TenantContext) -> Result<Json<Value>> {
    let scope = app.db.scope(&ctx);
    let mut gauges = Vec::new();
    for gauge in [PROJECTS, ORDERS] {
        let usage = gauge.usage(&scope).await?;
        gauges.push(json!({ "feature": gauge.feature(), "used": usage.used, "limit": usage.cap }));
    }
    Ok(Json(json!({ "gauges": gauges })))
}

pub(crate) async fn audit<DB: AppDb>(
    State(app): Shared<DB>,
    ctx: TenantContext,
    page: Result<Query<Which>, QueryRejection>,
) -> Result<Json<Value>> {
    let Which { after, limit } = which(page)?;
    let items = StoredEvent::newest(&app.db.scope(&ctx), after, limit).await?;
    let next = (items.len() == usize::from(limit)).then(|| items.last().map(StoredEvent::id));
    Ok(Json(json!({ "items": items, "next": next })))
}

pub(crate) async fn plan<DB: AppDb>(State(app): Shared<DB>, ctx: TenantContext) -> Result<Json<Value>> {
    let tenant = ctx.tenant();
    let plan = app.directory.catalog().plan(tenant.plan())?;
    let entitlements: &Entitlements = ctx.entitlements();
    let features: serde_json::Map<String, Value> =
        entitlements.features().map(|(key, feature)| (key.to_owned(), json!(feature))).collect();
    Ok(Json(json!({
        "tenant": { "id": tenant.id(), "slug": tenant.slug(), "name": tenant.name(), "status": tenant.status() },
        "plan": { "key": plan.key(), "title": plan.title() },
        "catalog_version": entitlements.catalog_version(),
        "features": features,
        "upgrade_url": entitlements.upgrade_url(),
    })))
}

// ---- Stripe ----

/// The body must reach the verifier byte for byte, so this is the one handler that takes it raw.
pub(crate) async fn stripe_webhook<DB: AppDb>(
    State(app): Shared<DB>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let signatures: Vec<&[u8]> =
        headers.get_all("stripe-signature").iter().map(HeaderValue::as_bytes).collect();
    match app.stripe.receive(&body, &signatures).await {
        Ok(receipt) => Json(json!({ "received": receipt.as_str() })).into_response(),
        Err(error) => match error.kind() {
            ErrorKind::SignatureInvalid | ErrorKind::InvalidInput => StatusCode::BAD_REQUEST.into_response(),
            ErrorKind::Misconfigured => StatusCode::UNPROCESSABLE_ENTITY.into_response(),
            // Stripe sends it again.
            _ => StatusCode::SERVICE_UNAVAILABLE.into_response(),
        },
    }
}

// ---- what projects and orders share ----

async fn find<DB, T>(app: &App<DB>, ctx: &TenantContext, id: &str) -> Result<T>
where
    DB: AppDb + Stores<T>,
    T: TenantScoped<Id = Uuid>,
{
    T::find(&app.db.scope(ctx), parse(id)?).await?.ok_or_else(not_found)
}

/// The place in the plan, the row and the event: all of them, or none.
async fn create<DB, T>(app: &App<DB>, ctx: &TenantContext, gauge: Gauge, kind: &str, row: &T) -> Result<()>
where
    DB: AppDb + Stores<T>,
    T: TenantScoped<Id = Uuid> + Sync,
{
    let event = AuditEvent::new(ctx, format!("{kind}.create")).target(kind, row.id());
    let mut tx = app.db.begin(ctx).await?;
    if let Err(refused) = gauge.take(&mut tx, 1).await {
        tx.rollback().await?;
        denied(app, event, &refused).await;
        return Err(refused);
    }
    T::insert(&mut tx, row).await?;
    tx.record(event).await?;
    tx.commit().await
}

async fn save<DB, T>(mut tx: Tx<'_, DB>, ctx: &TenantContext, action: &str, row: &T) -> Result<()>
where
    DB: AppDb + Stores<T>,
    T: TenantScoped<Id = Uuid> + Sync,
{
    if !T::update(&mut tx, row).await? {
        return Err(not_found());
    }
    let kind = action.split('.').next().unwrap_or(action);
    tx.record(AuditEvent::new(ctx, action).target(kind, row.id())).await?;
    tx.commit().await
}

async fn delete<DB, T>(
    app: &App<DB>,
    ctx: &TenantContext,
    gauge: Gauge,
    kind: &str,
    id: &str,
) -> Result<StatusCode>
where
    DB: AppDb + Stores<T>,
    T: TenantScoped<Id = Uuid>,
{
    let id = parse(id)?;
    let mut tx = app.db.begin(ctx).await?;
    if !T::delete(&mut tx, id).await? {
        return Err(not_found());
    }
    gauge.give_back(&mut tx, 1).await?;
    tx.record(AuditEvent::new(ctx, format!("{kind}.delete")).target(kind, id)).await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A refusal changes no row, so its event goes to the store directly; a refusal that cannot be recorded is
/// still a refusal.
async fn denied<DB: AppDb>(app: &App<DB>, event: AuditEvent, refused: &Error) {
    let event = event.outcome(Outcome::Denied).detail("reason", refused.kind());
    if let Err(error) = app.store.write(&[event]).await {
        tracing::error!(%error, "a refusal was not recorded");
    }
}

/// Which rows of a list: `?limit=20&after=ID`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Which {
    after: Option<Uuid>,
    #[serde(default = "twenty")]
    limit: u16,
}

fn twenty() -> u16 {
    20
}

impl Which {
    fn page(self) -> Page<Uuid> {
        match self.after {
            Some(id) => Page::after(id, self.limit),
            None => Page::first(self.limit),
        }
    }
}

fn which(query: Result<Query<Which>, QueryRejection>) -> Result<Which> {
    query.map(|Query(which)| which).map_err(|e| Error::new(ErrorKind::InvalidInput, e.body_text()))
}

fn json<T>(body: Result<Json<T>, JsonRejection>) -> Result<T> {
    body.map(|Json(body)| body).map_err(|e| Error::new(ErrorKind::InvalidInput, e.body_text()))
}

fn listing<T: TenantScoped<Id = Uuid> + Serialize>(listing: &Listing<T>) -> Json<Value> {
    Json(json!({ "items": listing.items, "next": listing.next }))
}

/// What is no id at all is a row that is not there.
fn parse(id: &str) -> Result<Uuid> {
    Uuid::try_parse(id).map_err(|_| not_found())
}

/// The one answer for "not there" and "not yours".
fn not_found() -> Error {
    Error::new(ErrorKind::NotFound, "no such row")
}
