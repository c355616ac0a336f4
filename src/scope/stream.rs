use async_stream::{stream, try_stream};
use futures_util::stream::{BoxStream, StreamExt, poll_fn};

use super::repository::{PageRequest, Select, Sortable, SupportsRow, TenantRow};
use super::session::{Backend, Scope, TenantDb};
use crate::context::TenantContext;
use crate::error::Result;

/// How many rows are read at once.
const PAGE: u16 = 500;

impl<DB: Backend> TenantDb<DB> {
    /// A stream of one tenant's data that owns its scope, for a response that is still sent when its handler has
    /// returned.
    ///
    /// `read` is called when the stream is first polled, and each poll runs in the [span](TenantContext::span) of the
    /// context. A stream that is dropped, as when the client goes away, gives its connection back with nothing of the
    /// tenant on it.
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
    /// With the feature `dynamic` the rows of one query of sqlx can be streamed as well, with
    /// `db.stream(ctx, |scope| sqlx::query_as("SELECT id, total FROM orders").fetch(scope))`. They are rows of one
    /// moment, and hold a connection until the last one is sent; if the client goes away, until the server's are all
    /// read and thrown away.
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
    /// The rows, one after the other, however many there are.
    ///
    /// They are read in [pages](Self::page), and no connection is held between two of them: a client that reads slowly
    /// costs none. So they are not rows of one moment: one that is changed while the stream runs is met as it was, as
    /// it is, or, if it moves in the order, not at all or twice.
    ///
    /// # Errors
    /// Each item as [`page`](Self::page); the stream ends with the first error.
    pub fn stream<'s, DB>(self, scope: &'s Scope<'s, DB>) -> BoxStream<'s, Result<T>>
    where
        DB: SupportsRow<T>,
        T: 's,
        T::Id: Sortable,
    {
        Box::pin(try_stream! {
            let mut page = PageRequest::first(PAGE);
            loop {
                let listing = self.clone().page(scope, page).await?;
                for row in listing.items {
                    yield row;
                }
                let Some(next) = listing.next else { return };
                page = PageRequest::after(next, PAGE);
            }
        })
    }
}
