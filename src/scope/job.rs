use super::repository::{SupportsRow, TenantScoped};
use super::session::{Backend, TenantDb};
use crate::context::{Job, ReceivedJob, TenantDirectory};
use crate::error::{Error, ErrorKind, Result};

impl<DB: Backend> TenantDb<DB> {
    /// Opens a job that is not signed, together with the row that it is about: for a queue that is a table of your own
    /// database.
    ///
    /// `row` says which row the job names. It is looked up as the tenant's before the job is handed out, so a job
    /// whose tenant and row do not belong together never runs.
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
    /// fn later(ctx: &TenantContext, order: &Order) -> tenancy::Result<String> {
    ///     Envelope::new(ctx, &SendInvoice { order: order.id }).to_json()
    /// }
    ///
    /// async fn work(db: &TenantDb<sqlx::Postgres>, directory: &TenantDirectory, text: &str) -> tenancy::Result<()> {
    ///     let (ReceivedJob { context, .. }, order) =
    ///         db.open_job::<SendInvoice, Order>(directory, text, |job| job.order).await?;
    ///     println!("{} is asked to pay {}", context.tenant().name(), order.id);
    ///     Ok(())
    /// }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if the tenant has no such row; [`ErrorKind::InvalidInput`] if the text is no envelope,
    /// or one of another kind of job; [`ErrorKind::Expired`]; otherwise as [`TenantDirectory::context`] and
    /// [`find`](TenantScoped::find).
    ///
    /// # Security
    /// The row proves that tenant and job belong together. It does not prove who put the job there, nor its actor: let
    /// nobody but your own program write to the queue, or sign the envelopes.
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
        let opened = directory.open_believed::<J>(envelope).await?;
        let id = row(&opened.job);
        let found = T::find(&self.scope(&opened.context), id).await?;
        let row = found.ok_or_else(|| {
            Error::new(
                ErrorKind::NotFound,
                "the job's tenant has no such row; it is gone, or was never the tenant's",
            )
        })?;
        Ok((opened, row))
    }
}
