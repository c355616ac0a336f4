//! The handlers. No handler takes a tenant id: the tenant comes from the [`TenantContext`].

use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE, HeaderValue, IF_NONE_MATCH};
use actix_web::web::{Bytes, Data, Json, Path, Query};
use actix_web::{HttpRequest, HttpResponse};
use futures_util::TryStreamExt;
use saas::members::Invitation;
use saas::operations::{NewOrder, NewProject, OrderChange, PageQuery};
use saas::{App, AppDb, BillingRequest, Member, OperatorRequest, Order, Project};
use serde_json::Value;
use tenancy::web::UsageResponse;
use tenancy::{Error, ErrorKind, Result, TenantContext};

type Shared<DB> = Data<App<DB>>;
type JsonBody<T> = Result<Json<T>, actix_web::Error>;
type Page = Result<Query<PageQuery>, actix_web::Error>;
type Created<T> = (Json<T>, StatusCode);

// ---- projects ----

pub(crate) async fn list_projects<DB: AppDb>(
    app: Shared<DB>,
    ctx: TenantContext,
    page: Page,
) -> Result<Json<Value>> {
    app.list_projects(&ctx, &page_query(page)?).await.map(Json)
}

pub(crate) async fn read_project<DB: AppDb>(
    app: Shared<DB>,
    ctx: TenantContext,
    id: Path<String>,
) -> Result<Json<Project>> {
    app.read_project(&ctx, &id).await.map(Json)
}

pub(crate) async fn create_project<DB: AppDb>(
    app: Shared<DB>,
    ctx: TenantContext,
    body: JsonBody<NewProject>,
) -> Result<Created<Project>> {
    Ok((Json(app.create_project(&ctx, json(body)?).await?), StatusCode::CREATED))
}

pub(crate) async fn update_project<DB: AppDb>(
    app: Shared<DB>,
    ctx: TenantContext,
    id: Path<String>,
    body: JsonBody<NewProject>,
) -> Result<Json<Project>> {
    app.update_project(&ctx, &id, json(body)?).await.map(Json)
}

pub(crate) async fn delete_project<DB: AppDb>(
    app: Shared<DB>,
    ctx: TenantContext,
    id: Path<String>,
) -> Result<HttpResponse> {
    app.delete_project(&ctx, &id).await.map(|()| HttpResponse::NoContent().finish())
}

// ---- members ----

pub(crate) async fn list_members<DB: AppDb>(
    app: Shared<DB>,
    ctx: TenantContext,
    page: Page,
) -> Result<Json<Value>> {
    app.list_members(&ctx, &page_query(page)?).await.map(Json)
}

pub(crate) async fn invite_member<DB: AppDb>(
    app: Shared<DB>,
    ctx: TenantContext,
    body: JsonBody<Invitation>,
) -> Result<Created<Member>> {
    Ok((Json(app.invite_member(&ctx, json(body)?).await?), StatusCode::CREATED))
}

pub(crate) async fn remove_member<DB: AppDb>(
    app: Shared<DB>,
    ctx: TenantContext,
    id: Path<String>,
) -> Result<HttpResponse> {
    app.remove_member(&ctx, &id).await.map(|()| HttpResponse::NoContent().finish())
}

// ---- orders ----

pub(crate) async fn list_orders<DB: AppDb>(
    app: Shared<DB>,
    ctx: TenantContext,
    page: Page,
) -> Result<Json<Value>> {
    app.list_orders(&ctx, &page_query(page)?).await.map(Json)
}

pub(crate) async fn read_order<DB: AppDb>(
    app: Shared<DB>,
    ctx: TenantContext,
    id: Path<String>,
) -> Result<Json<Order>> {
    app.read_order(&ctx, &id).await.map(Json)
}

pub(crate) async fn create_order<DB: AppDb>(
    app: Shared<DB>,
    ctx: TenantContext,
    body: JsonBody<NewOrder>,
) -> Result<Created<Order>> {
    Ok((Json(app.create_order(&ctx, json(body)?).await?), StatusCode::CREATED))
}

pub(crate) async fn update_order<DB: AppDb>(
    app: Shared<DB>,
    ctx: TenantContext,
    id: Path<String>,
    body: JsonBody<OrderChange>,
) -> Result<Json<Order>> {
    app.update_order(&ctx, &id, json(body)?).await.map(Json)
}

pub(crate) async fn delete_order<DB: AppDb>(
    app: Shared<DB>,
    ctx: TenantContext,
    id: Path<String>,
) -> Result<HttpResponse> {
    app.delete_order(&ctx, &id).await.map(|()| HttpResponse::NoContent().finish())
}

pub(crate) async fn export_orders<DB: AppDb>(app: Shared<DB>, ctx: TenantContext) -> Result<HttpResponse> {
    let csv = app.export_orders(ctx).await?.map_ok(Bytes::from);
    Ok(HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, "text/csv; charset=utf-8"))
        .insert_header((CONTENT_DISPOSITION, "attachment; filename=\"orders.csv\""))
        .streaming(csv))
}

// ---- usage, audit log, plan ----

pub(crate) async fn usage<DB: AppDb>(app: Shared<DB>, ctx: TenantContext) -> Result<Json<Value>> {
    app.usage(&ctx).await.map(Json)
}

pub(crate) async fn entitlements<DB: AppDb>(
    app: Shared<DB>,
    ctx: TenantContext,
    request: HttpRequest,
) -> Result<UsageResponse> {
    let known = request.headers().get(IF_NONE_MATCH).map(HeaderValue::as_bytes);
    Ok(UsageResponse::new(&app.entitlements(&ctx).await?, known))
}

pub(crate) async fn audit<DB: AppDb>(app: Shared<DB>, ctx: TenantContext, page: Page) -> Result<Json<Value>> {
    app.audit_log(&ctx, &page_query(page)?).await.map(Json)
}

pub(crate) async fn plan<DB: AppDb>(app: Shared<DB>, ctx: TenantContext) -> Result<Json<Value>> {
    app.plan(&ctx).map(Json)
}

// ---- the demo ----

pub(crate) async fn tenants<DB: AppDb>(app: Shared<DB>) -> Result<Json<Value>> {
    app.tenants().await.map(Json)
}

pub(crate) async fn create_third_tenant<DB: AppDb>(app: Shared<DB>) -> Result<Json<Value>> {
    app.create_third_tenant().await.map(Json)
}

pub(crate) async fn bill<DB: AppDb>(app: Shared<DB>, request: Json<BillingRequest>) -> Result<Json<Value>> {
    app.bill(request.into_inner()).await.map(Json)
}

// ---- the operator ----

pub(crate) async fn operator<DB: AppDb>(app: Shared<DB>, request: HttpRequest, body: Bytes) -> HttpResponse {
    let header = |name: &str| Some(request.headers().get(name)?.to_str().ok()?.to_owned());
    let query = request.uri().query();
    let answer = app
        .operator(OperatorRequest::new(request.method().as_str(), request.path(), query, header, &body))
        .await;
    let mut response = HttpResponse::build(StatusCode::from_u16(answer.status).unwrap_or_default());
    for header in answer.headers {
        response.append_header(header);
    }
    response.body(answer.body)
}

fn page_query(page: Page) -> Result<PageQuery> {
    page.map(Query::into_inner).map_err(|e| Error::new(ErrorKind::InvalidInput, e.to_string()))
}

fn json<T>(body: JsonBody<T>) -> Result<T> {
    body.map(Json::into_inner).map_err(|e| Error::new(ErrorKind::InvalidInput, e.to_string()))
}
