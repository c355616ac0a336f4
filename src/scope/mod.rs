//! The data plane: [`TenantDb`] owns the connections, a [`Scope`] or [`Tx`] reaches one tenant's rows, and
//! [`TenantScoped`] makes a struct a row of a tenant-owned table.
//!
//! No method here takes a tenant id: the tenant comes with the [`TenantContext`](crate::TenantContext) that
//! opened the scope. On Postgres every statement also runs inside a transaction that tells the database which
//! tenant it is for, so that row-level security refuses on its own what a query should not have asked.
//!
//! ```
//! use tenancy::scope::select::PageRequest;
//! use tenancy::{TenantContext, TenantDb, TenantScoped};
//! use sqlx::sqlite::SqlitePoolOptions;
//!
//! #[derive(Debug, PartialEq, TenantScoped, sqlx::FromRow)]
//! #[tenant(table = "orders")]
//! struct Order {
//!     #[tenant(id)]
//!     id: i64,
//!     status: String,
//! }
//!
//! async fn pay(db: &TenantDb<sqlx::Sqlite>, ctx: &TenantContext, id: i64) -> tenancy::Result<bool> {
//!     let mut tx = db.begin(ctx).await?;
//!     let Some(mut order) = Order::find(&mut tx, id).await? else { return Ok(false) };
//!     order.status = "paid".to_owned();
//!     Order::update(&mut tx, &order).await?.or_not_found()?;
//!     tx.commit().await?;
//!     Ok(true)
//! }
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> tenancy::Result<()> {
//! # use std::sync::Arc;
//! # use tenancy::{context::{Actor, TenantDirectory}, plan::Catalog, store::MemoryStore, tenant::{NewTenant, Slug, TenantStatus, TenantStore}};
//! # let store = Arc::new(MemoryStore::new());
//! # let catalog = Arc::new(Catalog::from_toml("version = 1\n[features]\nsso = { kind = \"flag\" }\n[plans.free]\nfeatures = { sso = false }")?);
//! # let mut ids = Vec::new();
//! # for slug in ["acme", "globex"] {
//! #     ids.push(store.insert(NewTenant::new(Slug::parse(slug)?, slug, "free").status(TenantStatus::Active)).await?.id().clone());
//! # }
//! # let directory = TenantDirectory::new(store, catalog);
//! # let acme = directory.context(&ids[0], Actor::user("ada")).await?;
//! # let globex = directory.context(&ids[1], Actor::user("bob")).await?;
//! # let pool = SqlitePoolOptions::new().max_connections(1).connect("sqlite::memory:").await.unwrap();
//! # sqlx::raw_sql("CREATE TABLE orders (tenant_id, id INTEGER, status TEXT, PRIMARY KEY (tenant_id, id))").execute(&pool).await.unwrap();
//! let db = TenantDb::from_pool(pool).build().await?;
//! Order::insert(&db.scope(&acme), &Order { id: 7, status: "open".to_owned() }).await?;
//!
//! assert!(pay(&db, &acme, 7).await?);
//! assert!(!pay(&db, &globex, 7).await?); // not globex's: there is no such row
//! assert_eq!(Order::list(&db.scope(&globex), PageRequest::first(20)).await?.items, []);
//! # Ok(()) }
//! ```
//!
//! Each table has the tenant column, first in its keys. Its type is that of the tenants' ids, and a database that holds
//! another one is refused when the [`TenantDb`] is built:
//!
//! | ids | `type` in tenancy.toml | PostgreSQL | SQLite |
//! |---|---|---|---|
//! | UUIDs | `uuid` | `uuid` | `BLOB` |
//! | integers | `bigint` | `bigint` | `INTEGER` |
//! | texts, or any of these as text | `text` | `text` | `TEXT` |
//!
//! Filters and orders are made of the columns that the derive names, in capitals; they are checked while compiling,
//! and no filter can reach past the tenant:
//!
//! ```
//! # use tenancy::TenantScoped;
//! # use tenancy::scope::{Scope, select::{Cursor, Page, PageRequest}};
//! # #[derive(TenantScoped, sqlx::FromRow)]
//! # #[tenant(table = "orders")]
//! # struct Order { #[tenant(id)] id: i64, status: String, total: i64, note: Option<String> }
//! # async fn run(scope: Scope<'_, sqlx::Sqlite>) -> tenancy::Result<()> {
//! let open = Order::STATUS.eq("open").and(Order::TOTAL.gt(100).or(!Order::NOTE.contains("gift")));
//! let largest = Order::select().filter(open).order_by(Order::TOTAL.desc());
//! let page: Page<Order, Cursor> = largest.clone().page(&scope, PageRequest::first(20)).await?;
//! if let Some(next) = page.next {
//!     largest.page(&scope, PageRequest::after(next, 20)).await?;
//! }
//! # Ok(()) }
//! ```
//!
//! Your own SQL runs on a scope as well. [`query!`](crate::query) and its siblings prove it while compiling, and
//! [`query_checked!`](crate::query_checked) and its siblings give it to sqlx's own macros after that; with the
//! feature `dynamic`, `&scope` and `&mut tx` are executors of sqlx, and every query is proven when it runs. Either way
//! it reaches this tenant's rows only, or is refused; `docs/refusals.md` lists the reasons.
//!
//! Reading across tenants has one name, [`TenantDb::cross_tenant`], and leaves a trail.
//!
//! A call without a scope does not compile:
//!
//! ```compile_fail
//! # use tenancy::TenantScoped;
//! # #[derive(TenantScoped, sqlx::FromRow)]
//! # #[tenant(table = "orders")]
//! # struct Order { #[tenant(id)] id: i64 }
//! async fn any_order(pool: &sqlx::SqlitePool) {
//!     Order::find(pool, 7).await;
//! }
//! ```

mod cross_tenant;
mod job;
mod own_sql;
pub(crate) mod repository;
mod session;
mod stored_event;
#[cfg(feature = "streaming")]
mod stream;

pub use tenancy_sql::{Dialect, Schema};

pub use self::cross_tenant::{CrossTenant, PerTenant, Reason};
pub use self::session::{Backend, Enforcement, Scope, TenantDb, TenantDbBuilder, TenantExecutor, Tx};
pub use self::stored_event::StoredEvent;
pub use crate::database::ConnectionMode;

pub(crate) use self::session::{Run, Statement};

pub mod row {
    //! What a row is, and what its writes return: the contract behind `#[derive(TenantScoped)]`.
    //!
    //! A handler needs [`ForeignKey`], [`Updated`], [`Deleted`] and [`SoftDelete`]. The other items are for rows that
    //! implement [`TenantRow`] by hand, and for code that is generic over the database.

    pub use tenancy_sql::{Statements, Table, TableSpec};

    pub use super::repository::{
        BindRow, Deleted, DeletedAt, ForeignKey, ResultFuture, SoftDelete, SupportsRow, TenantRow, Updated,
    };
    #[doc(hidden)]
    pub use super::repository::{FieldType, NoOption};
    pub use super::session::BindArguments;
}

pub mod select {
    //! Filters, orders and pages: what [`TenantScoped::select`](crate::TenantScoped::select) is made of.

    pub use super::repository::{
        Assignment, Column, Cursor, Filter, Page, PageRequest, Select, Sort, Sortable,
    };
}

#[cfg(any(feature = "dynamic", feature = "macros"))]
pub mod query {
    //! SQL of your own: what [`query!`](crate::query) and its siblings return, and why a statement was rejected.

    #[cfg(feature = "dynamic")]
    pub use tenancy_sql::{Code, Rejection};

    #[cfg(feature = "macros")]
    #[doc(hidden)]
    pub use super::own_sql::Variants;
    #[cfg(feature = "macros")]
    pub use super::own_sql::{CheckedQuery, Query, ScalarQuery};
}
