//! [`TenantDb::stream`] and [`Select::stream`]: rows of one tenant as a stream.

use async_stream::{stream, try_stream};
use futures_util::stream::{BoxStream, StreamExt, poll_fn};

use super::repository::{PageRequest, Select, Sortable, SupportsRow, TenantRow};
use super::session::{Backend, Scope, TenantDb};
use crate::context::TenantContext;
use crate::database::row_limit;
use crate::error::Result;

/// How many rows are read in one statement.
const PAGE: u16 = 500;

impl<DB: Backend> TenantDb<DB> {
    /// Streams one tenant's data, for a response body that is sent after its handler has returned.
    ///
    /// The stream owns its scope. `read` is called when the stream is first polled, and each poll runs in the
    /// [span](TenantContext::span) of the context. If the stream is dropped, for example because the client
    /// disconnects, its connection goes back to the pool without a tenant setting.
    ///
    /// ```
    /// use axum::body::Body;
    /// use axum::extract::State;
    /// use futures_util::TryStreamExt;
    /// use tenancy::{TenantContext, TenantDb, TenantScoped};
    ///
    /// #[derive(TenantScoped, sqlx::FromRow)]
    /// #[tenant(table = "orders")]
    /// struct Order {
    ///     #[tenant(id)]
    ///     id: i64,
    ///     total: i64,
    /// }
    ///
    /// async fn export(State(db): State<TenantDb<sqlx::Postgres>>, ctx: TenantContext) -> Body {
    ///     let orders = db.stream(ctx, |scope| Order::select().stream(scope));
    ///     Body::from_stream(orders.map_ok(|order| format!("{},{}\n", order.id, order.total)))
    /// }
    /// ```
    ///
    /// With the feature `dynamic` a query of sqlx can be streamed as well: `db.stream(ctx, |scope|
    /// sqlx::query_as("SELECT id, total FROM orders").fetch(scope))`. Its rows are from one snapshot. The stream
    /// holds a connection until the last row is sent. If the client disconnects, the remaining rows are read and
    /// discarded; if PostgreSQL makes sqlx wait for them longer than a moment, the connection is closed.
    pub fn stream<T, F>(&self, ctx: TenantContext, read: F) -> BoxStream<'static, T>
    where
        F: for<'s> FnOnce(&'s Scope<'s, DB>) -> BoxStream<'s, T> + Send + 'static,
        T: Send + 'static,
    {
        let (db, span) = (self.clone(), ctx.span());
        let mut items = Box::pin(stream! {
            let scope = db.scope(&ctx);
            let mut items = read(&scope);
            while let Some(item) = items.next().await {
                yield item;
            }
        });
        Box::pin(poll_fn(move |context| span.in_scope(|| items.poll_next_unpin(context))))
    }
}

impl<T: TenantRow> Select<T> {
    /// Streams all rows.
    ///
    /// The rows are read in [pages](Self::page), and no connection is held between two pages. A slow client therefore
    /// occupies no connection. The rows are not from one snapshot: a row that changes while the stream runs is
    /// returned in its old or its new state. If its place in the order changes, it can be missing or come twice.
    ///
    /// # Errors
    /// Each item as [`page`](Self::page). [`RowLimit`](crate::ErrorKind::RowLimit) after as many rows as the plan allows
    /// for one statement, if there are more. The stream ends with the first error.
    pub fn stream<'s, DB>(self, scope: &'s Scope<'s, DB>) -> BoxStream<'s, Result<T>>
    where
        DB: SupportsRow<T>,
        T: 's,
        T::Id: Sortable,
    {
        Box::pin(try_stream! {
            let max = scope.context().entitlements().database_limits().max_rows();
            let mut left = max.unwrap_or(u64::MAX);
            let mut page = PageRequest::first(page_size(left));
            loop {
                let rows = self.clone().page(scope, page).await?;
                left -= rows.items.len() as u64;
                for row in rows.items {
                    yield row;
                }
                let Some(next) = rows.next else { return };
                if let Some(max) = max.filter(|_| left == 0) {
                    Err(row_limit(max))?;
                }
                page = PageRequest::after(next, page_size(left));
            }
        })
    }
}

/// A page as large as the rows that the plan still allows.
fn page_size(left: u64) -> u16 {
    u16::try_from(left).map_or(PAGE, |left| left.min(PAGE))
}
