//! The handlers. None of them names a tenant: the context does.

use std::sync::Arc;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use saas::operations::{ChangedOrder, NewOrder, NewProject, Which};
use saas::{App, AppDb, Order, Project, Wanted};
use serde_json::Value;
use tenancy::{Error, ErrorKind, Result, TenantContext};

type Shared<DB> = State<Arc<App<DB>>>;
type Sent<T> = Result<Json<T>, JsonRejection>;
type Page = Result<Query<Which>, QueryRejection>;

// ---- projects ----

pub(crate) async fn list_projects<DB: AppDb>(
    State(app): Shared<DB>,
    ctx: TenantContext,
    page: Page,
) -> Result<Json<Value>> {
    app.list_projects(&ctx, &which(page)?).await.map(Json)
}

pub(crate) async fn read_project<DB: AppDb>(
    State(app): Shared<DB>,
    ctx: TenantContext,
    Path(id): Path<String>,
) -> Result<Json<Project>> {
    app.read_project(&ctx, &id).await.map(Json)
}

pub(crate) async fn create_project<DB: AppDb>(
    State(app): Shared<DB>,
    ctx: TenantContext,
    body: Sent<NewProject>,
) -> Result<(StatusCode, Json<Project>)> {
    Ok((StatusCode::CREATED, Json(app.create_project(&ctx, json(body)?).await?)))
}

pub(crate) async fn update_project<DB: AppDb>(
    State(app): Shared<DB>,
    ctx: TenantContext,
    Path(id): Path<String>,
    body: Sent<NewProject>,
) -> Result<Json<Project>> {
    app.update_project(&ctx, &id, json(body)?).await.map(Json)
}

pub(crate) async fn delete_project<DB: AppDb>(
    State(app): Shared<DB>,
    ctx: TenantContext,
    Path(id): Path<String>,
) -> Result<StatusCode> {
    app.delete_project(&ctx, &id).await.map(|()| StatusCode::NO_CONTENT)
}

// ---- orders ----

pub(crate) async fn list_orders<DB: AppDb>(
    State(app): Shared<DB>,
    ctx: TenantContext,
    page: Page,
) -> Result<Json<Value>> {
    app.list_orders(&ctx, &which(page)?).await.map(Json)
}

pub(crate) async fn read_order<DB: AppDb>(
    State(app): Shared<DB>,
    ctx: TenantContext,
    Path(id): Path<String>,
) -> Result<Json<Order>> {
    app.read_order(&ctx, &id).await.map(Json)
}

pub(crate) async fn create_order<DB: AppDb>(
    State(app): Shared<DB>,
    ctx: TenantContext,
    body: Sent<NewOrder>,
) -> Result<(StatusCode, Json<Order>)> {
    Ok((StatusCode::CREATED, Json(app.create_order(&ctx, json(body)?).await?)))
}

pub(crate) async fn update_order<DB: AppDb>(
    State(app): Shared<DB>,
    ctx: TenantContext,
    Path(id): Path<String>,
    body: Sent<ChangedOrder>,
) -> Result<Json<Order>> {
    app.update_order(&ctx, &id, json(body)?).await.map(Json)
}

pub(crate) async fn delete_order<DB: AppDb>(
    State(app): Shared<DB>,
    ctx: TenantContext,
    Path(id): Path<String>,
) -> Result<StatusCode> {
    app.delete_order(&ctx, &id).await.map(|()| StatusCode::NO_CONTENT)
}

pub(crate) async fn export_orders<DB: AppDb>(State(app): Shared<DB>, ctx: TenantContext) -> Result<Response> {
    let csv = Body::from_stream(app.export_orders(ctx).await?);
    let headers = [
        (header::CONTENT_TYPE, "text/csv; charset=utf-8"),
        (header::CONTENT_DISPOSITION, "attachment; filename=\"orders.csv\""),
    ];
    Ok((headers, csv).into_response())
}

// ---- what a tenant may see of itself ----

pub(crate) async fn usage<DB: AppDb>(State(app): Shared<DB>, ctx: TenantContext) -> Result<Json<Value>> {
    app.usage(&ctx).await.map(Json)
}

pub(crate) async fn audit<DB: AppDb>(
    State(app): Shared<DB>,
    ctx: TenantContext,
    page: Page,
) -> Result<Json<Value>> {
    app.trail(&ctx, &which(page)?).await.map(Json)
}

pub(crate) async fn plan<DB: AppDb>(State(app): Shared<DB>, ctx: TenantContext) -> Result<Json<Value>> {
    app.plan(&ctx).map(Json)
}

// ---- Stripe, and the demo ----

/// The body must reach the verifier byte for byte, so this is the one handler that takes it raw.
pub(crate) async fn stripe_webhook<DB: AppDb>(
    State(app): Shared<DB>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Value>, StatusCode> {
    let signatures: Vec<&[u8]> =
        headers.get_all("stripe-signature").iter().map(HeaderValue::as_bytes).collect();
    let received = app.stripe_webhook(&body, &signatures).await;
    received
        .map(Json)
        .map_err(|status| StatusCode::from_u16(status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE))
}

pub(crate) async fn tenants<DB: AppDb>(State(app): Shared<DB>) -> Result<Json<Value>> {
    app.tenants().await.map(Json)
}

pub(crate) async fn happen<DB: AppDb>(
    State(app): Shared<DB>,
    Json(wanted): Json<Wanted>,
) -> Result<Json<Value>> {
    app.happen(wanted).await.map(Json)
}

fn which(page: Page) -> Result<Which> {
    page.map(|Query(which)| which).map_err(|e| Error::new(ErrorKind::InvalidInput, e.body_text()))
}

fn json<T>(body: Sent<T>) -> Result<T> {
    body.map(|Json(body)| body).map_err(|e| Error::new(ErrorKind::InvalidInput, e.body_text()))
}
