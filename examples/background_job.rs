//! A job that runs once, for the tenant of the request that queued it: `cargo run --example background_job`.
//!
//! The queue is a channel here. Any queue will do, because an envelope is a text.
#![allow(clippy::print_stdout, reason = "the program prints what happens")]

use std::sync::Arc;
use std::time::Duration;

use sqlx::sqlite::{Sqlite, SqlitePoolOptions};
use tenancy::context::{Actor, Envelope, Job, JobKeys, ReceivedJob, TenantDirectory};
use tenancy::plan::Catalog;
use tenancy::store::MemoryStore;
use tenancy::tenant::{NewTenant, Slug, TenantStatus};
use tenancy::{ErrorKind, TenantContext, TenantDb, TenantScoped};
use tokio::sync::mpsc;
use uuid::Uuid;

#[derive(serde::Serialize, serde::Deserialize)]
struct SendInvoice {
    order: i64,
}

impl Job for SendInvoice {
    const NAME: &'static str = "invoice.send";
}

/// The id of an envelope whose job is done.
#[derive(TenantScoped, sqlx::FromRow)]
#[tenant(table = "done_jobs")]
struct DoneJob {
    #[tenant(id)]
    id: Uuid,
}

struct Worker {
    db: TenantDb<Sqlite>,
    directory: TenantDirectory,
    keys: Arc<JobKeys>,
}

impl Worker {
    /// Verifies one text of the queue and does its job; `false` if that was done before.
    async fn work(&self, text: &str) -> tenancy::Result<bool> {
        let ReceivedJob { context, job, id, .. } =
            self.keys.open::<SendInvoice>(&self.directory, text).await?;
        context.in_span(self.run(&context, &job, id)).await
    }

    async fn run(&self, ctx: &TenantContext, job: &SendInvoice, id: Uuid) -> tenancy::Result<bool> {
        let mut tx = self.db.begin(ctx).await?;
        match DoneJob::insert(&mut tx, &DoneJob { id }).await {
            Err(error) if error.kind() == ErrorKind::Conflict => return Ok(false),
            inserted => inserted?,
        }
        println!("the invoice of order {} of {}, queued by {}", job.order, ctx.tenant().slug(), ctx.actor());
        tx.commit().await?;
        Ok(true)
    }
}

/// In a request: the tenant and the actor go with the job, signed.
fn later(ctx: &TenantContext, keys: &JobKeys, order: i64) -> tenancy::Result<String> {
    Envelope::new(ctx, &SendInvoice { order }).valid_for(Duration::from_hours(24)).sign(keys)
}

/// The worker, and the context that a request would have.
async fn app() -> Result<(Worker, TenantContext), Box<dyn std::error::Error>> {
    let plans = Catalog::from_toml("version = 1\n[features]\n[plans.free]\nfeatures = {}")?;
    let directory = TenantDirectory::new(Arc::new(MemoryStore::new()), Arc::new(plans));
    let acme = NewTenant::new(Slug::parse("acme")?, "Acme", "free").status(TenantStatus::Active);
    let acme = directory.store().insert(acme).await?;
    let ctx = directory.context(acme.id(), Actor::user("ada")).await?;
    let one = SqlitePoolOptions::new().max_connections(1).idle_timeout(None).max_lifetime(None);
    let pool = one.connect("sqlite::memory:").await?;
    let table =
        "CREATE TABLE done_jobs (tenant_id BLOB NOT NULL, id BLOB NOT NULL, PRIMARY KEY (tenant_id, id))";
    sqlx::query(table).execute(&pool).await?;
    let db = TenantDb::from_pool(pool).build().await?;
    let keys = Arc::new(JobKeys::new("2026-11", b"at least thirty-two random bytes")?);
    Ok((Worker { db, directory, keys }, ctx))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (worker, ctx) = app().await?;
    let (queue, mut texts) = mpsc::channel(8);
    let text = later(&ctx, &worker.keys, 7)?;
    queue.send(text.clone()).await?;
    queue.send(text).await?; // a queue delivers twice at times
    drop(queue);
    while let Some(text) = texts.recv().await {
        println!("done now: {}", worker.work(&text).await?);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_job_runs_once_and_for_an_open_tenant() {
        let (worker, ctx) = app().await.unwrap();
        let text = later(&ctx, &worker.keys, 7).unwrap();
        assert!(worker.work(&text).await.unwrap());
        assert!(!worker.work(&text).await.unwrap(), "the second delivery");
        let altered = worker.work(&format!("{text}A")).await.unwrap_err();
        assert_eq!(altered.kind(), ErrorKind::SignatureInvalid);
        let suspended = ctx.tenant().with_status(TenantStatus::Suspended).unwrap();
        worker.directory.store().update(&suspended).await.unwrap();
        assert_eq!(worker.work(&text).await.unwrap_err().kind(), ErrorKind::TenantSuspended);
    }
}
