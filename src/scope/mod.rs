//! Read and write the rows of one tenant: the data plane.
//!
//! - [`TenantDb`] owns the connection pool.
//! - A [`Scope`] runs single statements of one tenant, and a [`Tx`] is a transaction of one tenant.
//! - `#[derive(TenantScoped)]` maps a struct to a tenant-owned table. Its methods take `&scope` or `&mut tx` first.
//!
//! No method takes a tenant id. The tenant comes from the [`TenantContext`](crate::TenantContext) that opened the
//! scope. A predicate such as `tenant_id = $1` restricts every statement to that tenant. On PostgreSQL, row-level
//! security checks the tenant again by default: the transaction of each statement sets the tenant in the database.
//!
//! | I want to | item |
//! |---|---|
//! | connect, and configure the data plane | `TenantDb::postgres`, `TenantDb::sqlite`, [`TenantDb::from_pool`] |
//! | test on a database in memory | `sqlite_in_memory` (feature `sqlite`) |
//! | run a single statement | [`TenantDb::scope`] |
//! | run several statements in a transaction, and record an audit event | [`TenantDb::begin`], [`Tx::record`] |
//! | map a struct to a table | [`TenantScoped`], [`row`] |
//! | filter, sort and page rows | [`TenantScoped::select`], [`select`] |
//! | run my own SQL | [`query!`](crate::query) and the feature `dynamic`, [`query`] |
//! | write a function that takes a scope or a transaction | [`TenantExecutor`] |
//! | stream rows in a response body | `TenantDb::stream` (feature `streaming`) |
//! | run a job of a queue table | [`TenantDb::open_job`] |
//! | read the rows of all tenants, for a report | [`TenantDb::cross_tenant`] |
//! | read a tenant's audit events | [`StoredEvent::newest`], [`oldest`](StoredEvent::oldest) |
//! | use PgBouncer or Citus | [`ConnectionMode`] |
//! | use tables without row-level security | [`Enforcement`] |
//!
//! [`TenantScoped`]: trait@crate::TenantScoped
//! [`TenantScoped::select`]: trait@crate::TenantScoped#method.select
//!
//! # Example
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
//! assert!(!pay(&db, &globex, 7).await?); // the order belongs to acme: globex has no such row
//! assert_eq!(Order::list(&db.scope(&globex), PageRequest::first(20)).await?.items, []);
//! # Ok(()) }
//! ```
//!
//! # The tenant column
//!
//! Each tenant-owned table has a tenant column, which comes first in its keys. Its type matches the tenant ids.
//! Building the [`TenantDb`] fails if a table has another type:
//!
//! | tenant ids | `type` in tenancy.toml | PostgreSQL | SQLite |
//! |---|---|---|---|
//! | UUIDs | `uuid` | `uuid` | `BLOB` |
//! | integers | `bigint` | `bigint` | `INTEGER` |
//! | text, or any of these as text | `text` | `text` | `TEXT` |
//!
//! # Filters and pages
//!
//! The derive adds a constant for each column, such as `Order::STATUS`. Filters and sort orders are built from them
//! and checked at compile time. A filter is always combined with the tenant predicate:
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
//! # Your own SQL
//!
//! Your own SQL runs on a scope too, and is rewritten so that it reaches only this tenant's rows.
//! [`query!`](crate::query) rewrites it at compile time. With the feature `dynamic`, `&scope` and `&mut tx` are sqlx
//! executors, which rewrite it at run time. SQL for which this cannot be proven is rejected. See [`query`].
//!
//! # What does not compile
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
#[cfg(feature = "sqlite")]
mod in_memory;
mod job;
mod own_sql;
pub(crate) mod repository;
mod session;
mod stored_event;
#[cfg(feature = "streaming")]
mod stream;

pub use tenancy_sql::{Dialect, Schema, TenantType};

pub use self::cross_tenant::{CrossTenant, PerTenant, Reason};
#[cfg(feature = "sqlite")]
pub use self::in_memory::sqlite_in_memory;
pub(crate) use self::session::default_schema;
pub use self::session::{Backend, Health, Savepoint, Scope, TenantDb, TenantDbBuilder, TenantExecutor, Tx};
pub use self::stored_event::StoredEvent;
pub use crate::database::{ConnectionCount, ConnectionMode, Enforcement};

pub(crate) use self::session::{Run, Statement};

pub mod row {
    //! Rows of tenant-owned tables: foreign keys, soft deletion, and the results of updates and deletes.
    //!
    //! `#[derive(TenantScoped)]` gives a struct the methods of [`TenantScoped`](trait@crate::TenantScoped):
    //!
    //! ```
    //! use tenancy::TenantScoped;
    //! use tenancy::scope::Tx;
    //! use tenancy::scope::row::{Deleted, ForeignKey, Updated};
    //! # #[derive(TenantScoped, sqlx::FromRow)]
    //! # #[tenant(table = "customers")]
    //! # struct Customer { #[tenant(id)] id: i64 }
    //!
    //! #[derive(TenantScoped, sqlx::FromRow)]
    //! #[tenant(table = "orders")]
    //! struct Order {
    //!     #[tenant(id)]
    //!     id: i64,
    //!     #[sqlx(rename = "customer_id")]
    //!     customer: ForeignKey<Customer>,
    //!     status: String,
    //! }
    //!
    //! async fn replace(tx: &mut Tx<'_, sqlx::Sqlite>, order: &Order, old: i64) -> tenancy::Result<()> {
    //!     let updated: Updated = Order::update(&mut *tx, order).await?;
    //!     updated.or_not_found()?;
    //!     let deleted: Deleted = Order::delete(tx, old).await?;
    //!     deleted.or_not_found()
    //! }
    //! ```
    //!
    //! | I want to | item |
    //! |---|---|
    //! | refer to a row of the same tenant | [`ForeignKey`] |
    //! | know whether an update or a delete found its row | [`Updated`], [`Deleted`], [`Restored`] |
    //! | mark rows as deleted before they are removed | [`SoftDelete`] |
    //! | be generic over the database | [`SupportsRow`] |
    //! | return the future of a repository method | [`ResultFuture`] |
    //! | implement a row by hand, without the derive | [`TenantRow`], [`BindRow`], [`TableSpec`], [`BindArguments`] |

    pub use tenancy_sql::{Statements, Table, TableSpec};

    pub use super::repository::{
        BindRow, Deleted, DeletedAt, ForeignKey, Restored, ResultFuture, SoftDelete, SupportsRow, TenantRow,
        Updated,
    };
    #[doc(hidden)]
    pub use super::repository::{FieldType, NoOption};
    pub use super::session::BindArguments;
}

pub mod select {
    //! Filter, sort, page, update and delete several rows: the types of [`TenantScoped::select`].
    //!
    //! ```
    //! use tenancy::TenantScoped;
    //! use tenancy::scope::Scope;
    //! use tenancy::scope::select::PageRequest;
    //!
    //! #[derive(TenantScoped, sqlx::FromRow)]
    //! #[tenant(table = "orders")]
    //! struct Order {
    //!     #[tenant(id)]
    //!     id: i64,
    //!     status: String,
    //!     total: i64,
    //! }
    //!
    //! async fn examples(scope: &Scope<'_, sqlx::Sqlite>) -> tenancy::Result<()> {
    //!     let open = Order::select().filter(Order::STATUS.eq("open"));
    //!     let count = open.clone().count(scope).await?;
    //!     let page = open.clone().order_by(Order::TOTAL.desc()).page(scope, PageRequest::first(20)).await?;
    //!     let closed = open.update(scope, [Order::STATUS.set("closed")]).await?;
    //! #   let _ = (count, page, closed);
    //!     Ok(())
    //! }
    //! ```
    //!
    //! | I want to | item |
    //! |---|---|
    //! | start with all rows of the tenant | [`TenantScoped::select`] |
    //! | name a column | [`Column`]: `Order::STATUS` |
    //! | filter | [`Filter`]: `Order::STATUS.eq("open").and(..)`, given to [`Select::filter`] |
    //! | sort | [`Sort`]: `Order::TOTAL.desc()`, given to [`Select::order_by`] |
    //! | read page by page | [`Select::page`], [`PageRequest`], [`Page`], [`Cursor`] |
    //! | read all rows, or the first row | [`Select::all`], [`Select::first`] |
    //! | count the rows | [`Select::count`] |
    //! | write columns of all rows | [`Assignment`]: `Order::STATUS.set("closed")`, given to [`Select::update`] |
    //! | delete all rows | [`Select::delete`] |
    //!
    //! [`TenantScoped::select`]: trait@crate::TenantScoped#method.select

    pub use super::repository::{
        Assignment, Column, Cursor, Filter, Page, PageRequest, Select, Sort, Sortable,
    };
}

#[cfg(any(feature = "dynamic", feature = "macros"))]
pub mod query {
    //! Your own SQL on a scope: the types that the query macros return, and the reasons for a rejection.
    //!
    //! The SQL does not mention the tenant. It is rewritten so that each tenant-owned table is restricted to the
    //! tenant of the scope. If that cannot be proven, the SQL is rejected.
    //!
    //! | I want to | use |
    //! |---|---|
    //! | check SQL at compile time (feature `macros`) | [`query!`](crate::query), [`query_as!`](crate::query_as) |
    //! | read one column | [`query_scalar!`](crate::query_scalar) |
    //! | also check the types against a database | [`query_checked!`](crate::query_checked) and its siblings |
    //! | build SQL at run time (feature `dynamic`) | any sqlx query, with `&scope` or `&mut tx` as its executor |
    //! | convert the error of such a query | [`Error::from_sqlx`](crate::Error::from_sqlx) |
    //! | find out why SQL was rejected | `Rejection` and `Code` (feature `dynamic`) |
    //!
    //! ```
    //! use tenancy::Error;
    //! use tenancy::scope::Scope;
    //!
    //! async fn examples(scope: &Scope<'_, sqlx::Sqlite>) -> tenancy::Result<()> {
    //!     // Rewritten at compile time. `tenancy.toml` declares the tables and the dialects.
    //!     let ids: Vec<i64> = tenancy::query_scalar!(scope, i64, "SELECT id FROM orders WHERE total > $1", 100_i64)
    //!         .fetch_all()
    //!         .await?;
    //!
    //!     // Rewritten at run time.
    //!     let large: i64 = sqlx::query_scalar("SELECT count(*) FROM orders WHERE total > $1")
    //!         .bind(100_i64)
    //!         .fetch_one(scope)
    //!         .await
    //!         .map_err(Error::from_sqlx)?;
    //! #   let _ = (ids, large);
    //!     Ok(())
    //! }
    //! ```

    #[cfg(feature = "dynamic")]
    pub use tenancy_sql::{Code, Rejection};

    #[cfg(feature = "macros")]
    #[doc(hidden)]
    pub use super::own_sql::Variants;
    #[cfg(feature = "macros")]
    pub use super::own_sql::{CheckedQuery, Query, ScalarQuery};
}
