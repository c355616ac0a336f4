//! The handlers. No handler takes a tenant id: the tenant comes from the [`TenantContext`].

use std::sync::Arc;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use saas::members::Invitation;
use saas::operations::{NewOrder, NewProject, OrderChange, PageQuery};
use saas::{App, AppDb, BillingRequest, Member, OperatorRequest, Order, Project};
use serde_json::Value;
use tenancy::web::UsageResponse;
use tenancy::{Error, ErrorKind, Result, TenantContext};

type Shared<DB> = State<Arc<App<DB>>>;
type JsonBody<T> = Result<Json<T>, JsonRejection>;
type Page = Result<Query<PageQuery>, QueryRejection>;

// ---- projects ----

pub(crate) async fn list_projects<DB: AppDb>(
    State(app): Shared<DB>,
    ctx: TenantContext,
    page: Page,
) -> Result<Json<Value>> {
    app.list_projects(&ctx, &page_query(page)?).await.map(Json)
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
    body: JsonBody<NewProject>,
) -> Result<(StatusCode, Json<Project>)> {
    Ok((StatusCode::CREATED, Json(app.create_project(&ctx, json(body)?).await?)))
}

pub(crate) async fn update_project<DB: AppDb>(
    State(app): Shared<DB>,
    ctx: TenantContext,
    Path(id): Path<String>,
    body: JsonBody<NewProject>,
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

// ---- members ----

pub(crate) async fn list_members<DB: AppDb>(
    State(app): Shared<DB>,
    ctx: TenantContext,
    page: Page,
) -> Result<Json<Value>> {
    app.list_members(&ctx, &page_query(page)?).await.map(Json)
}

pub(crate) async fn invite_member<DB: AppDb>(
    State(app): Shared<DB>,
    ctx: TenantContext,
    body: JsonBody<Invitation>,
) -> Result<(StatusCode, Json<Member>)> {
    Ok((StatusCode::CREATED, Json(app.invite_member(&ctx, json(body)?).await?)))
}

pub(crate) async fn remove_member<DB: AppDb>(
    State(app): Shared<DB>,
    ctx: TenantContext,
    Path(id): Path<String>,
) -> Result<StatusCode> {
    app.remove_member(&ctx, &id).await.map(|()| StatusCode::NO_CONTENT)
}

// ---- orders ----

pub(crate) async fn list_orders<DB: AppDb>(
    State(app): Shared<DB>,
    ctx: TenantContext,
    page: Page,
) -> Result<Json<Value>> {
    app.list_orders(&ctx, &page_query(page)?).await.map(Json)
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
    body: JsonBody<NewOrder>,
) -> Result<(StatusCode, Json<Order>)> {
    Ok((StatusCode::CREATED, Json(app.create_order(&ctx, json(body)?).await?)))
}

pub(crate) async fn update_order<DB: AppDb>(
    State(app): Shared<DB>,
    ctx: TenantContext,
    Path(id): Path<String>,
    body: JsonBody<OrderChange>,
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

// ---- usage, audit log, plan ----

pub(crate) async fn usage<DB: AppDb>(State(app): Shared<DB>, ctx: TenantContext) -> Result<Json<Value>> {
    app.usage(&ctx).await.map(Json)
}

pub(crate) async fn entitlements<DB: AppDb>(
    State(app): Shared<DB>,
    ctx: TenantContext,
    headers: HeaderMap,
) -> Result<UsageResponse> {
    let known = headers.get(header::IF_NONE_MATCH).map(HeaderValue::as_bytes);
    Ok(UsageResponse::new(&app.entitlements(&ctx).await?, known))
}

pub(crate) async fn audit<DB: AppDb>(
    State(app): Shared<DB>,
    ctx: TenantContext,
    page: Page,
) -> Result<Json<Value>> {
    app.audit_log(&ctx, &page_query(page)?).await.map(Json)
}

pub(crate) async fn plan<DB: AppDb>(State(app): Shared<DB>, ctx: TenantContext) -> Result<Json<Value>> {
    app.plan(&ctx).map(Json)
}

// ---- the demo ----

pub(crate) async fn tenants<DB: AppDb>(State(app): Shared<DB>) -> Result<Json<Value>> {
    app.tenants().await.map(Json)
}

pub(crate) async fn create_third_tenant<DB: AppDb>(State(app): Shared<DB>) -> Result<Json<Value>> {
    app.create_third_tenant().await.map(Json)
}

pub(crate) async fn bill<DB: AppDb>(
    State(app): Shared<DB>,
    Json(request): Json<BillingRequest>,
) -> Result<Json<Value>> {
    app.bill(request).await.map(Json)
}

// ---- the operator ----

pub(crate) async fn operator<DB: AppDb>(
    State(app): Shared<DB>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let header = |name: &str| Some(headers.get(name)?.to_str().ok()?.to_owned());
    let request = OperatorRequest::new(method.as_str(), uri.path(), uri.query(), header, &body);
    let answer = app.operator(request).await;
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = (status, answer.body).into_response();
    for (name, value) in answer.headers {
        let value = HeaderValue::try_from(value).unwrap_or(HeaderValue::from_static(""));
        response.headers_mut().insert(name, value);
    }
    response
}

fn page_query(page: Page) -> Result<PageQuery> {
    page.map(|Query(which)| which).map_err(|e| Error::new(ErrorKind::InvalidInput, e.body_text()))
}

fn json<T>(body: JsonBody<T>) -> Result<T> {
    body.map(|Json(body)| body).map_err(|e| Error::new(ErrorKind::InvalidInput, e.body_text()))
}
