//! [`TenantDb::open_job`]: opens a job of a queue table together with the row that it names.

use super::repository::{SupportsRow, TenantScoped};
use super::session::{Backend, TenantDb};
use crate::context::{Job, ReceivedJob, TenantDirectory};
use crate::error::{Error, ErrorKind, Result};

impl<DB: Backend> TenantDb<DB> {
    /// Opens an unsigned job together with the row that it names, for a queue that is a table of your own database.
    ///
    /// `row` returns the id of the row. The row is looked up in the job's tenant before the job is returned, so a job
    /// whose row belongs to another tenant never runs.
    ///
    /// ```
    /// use tenancy::context::{TenantDirectory, Envelope, Job, ReceivedJob};
    /// use tenancy::{TenantContext, TenantDb, TenantScoped};
    ///
    /// #[derive(TenantScoped, sqlx::FromRow)]
    /// #[tenant(table = "orders")]
    /// struct Order {
    ///     #[tenant(id)]
    ///     id: i64,
    /// }
    ///
    /// #[derive(serde::Serialize, serde::Deserialize)]
    /// struct SendInvoice {
    ///     order: i64,
    /// }
    ///
    /// impl Job for SendInvoice {
    ///     const NAME: &'static str = "invoice.send";
    /// }
    ///
    /// fn envelope(ctx: &TenantContext, order: &Order) -> tenancy::Result<String> {
    ///     Envelope::new(ctx, &SendInvoice { order: order.id }).to_json()
    /// }
    ///
    /// async fn run(
    ///     db: &TenantDb<sqlx::Postgres>,
    ///     directory: &TenantDirectory,
    ///     envelope: &str,
    /// ) -> tenancy::Result<()> {
    ///     let (ReceivedJob { context, .. }, order) =
    ///         db.open_job::<SendInvoice, Order>(directory, envelope, |job| job.order).await?;
    ///     println!("{}: invoice for order {}", context.tenant().name(), order.id);
    ///     Ok(())
    /// }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if the tenant has no such row, [`ErrorKind::InvalidInput`] if the text is not an
    /// envelope or contains another kind of job, [`ErrorKind::Expired`]; otherwise as [`TenantDirectory::context`]
    /// and [`find`](TenantScoped::find).
    ///
    /// # Security
    /// The row proves that the tenant and the row belong together. It proves neither who enqueued the job nor its
    /// actor. Let only your own program write to the queue, or sign the envelopes with `JobKeys`.
    pub async fn open_job<J, T>(
        &self,
        directory: &TenantDirectory,
        envelope: &str,
        row: impl FnOnce(&J) -> T::Id,
    ) -> Result<(ReceivedJob<J>, T)>
    where
        J: Job,
        T: TenantScoped,
        DB: SupportsRow<T>,
    {
        let opened = directory.open_unverified::<J>(envelope).await?;
        let id = row(&opened.job);
        let found = T::find(&self.scope(&opened.context), id).await?;
        let row = found.ok_or_else(|| {
            Error::new(
                ErrorKind::NotFound,
                "the job's tenant has no such row; it was deleted, or belongs to another tenant",
            )
        })?;
        Ok((opened, row))
    }
}
