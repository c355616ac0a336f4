//! A job that runs once, for the tenant of the request that queued it: `cargo run --example background_job`.
//!
//! Any queue can hold the job, because its envelope is a text.

use std::{sync::Arc, time::Duration};

use tenancy::context::{Actor, Envelope, Job, JobKeys, ReceivedJob, TenantDirectory};
use tenancy::{ErrorKind, TenantContext, TenantDb, TenantScoped, plan::Catalog, store::MemoryStore};
use tenancy::{scope::sqlite_in_memory, tenant::NewTenant};

const TABLE: &str = "CREATE TABLE done_jobs (tenant_id BLOB, id BLOB, PRIMARY KEY (tenant_id, id))";

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
    id: uuid::Uuid,
}

struct Worker {
    db: TenantDb<sqlx::Sqlite>,
    directory: TenantDirectory,
    keys: JobKeys,
}

impl Worker {
    /// Verifies one text of the queue and does its job; `false` if that was done before.
    async fn work(&self, text: &str) -> tenancy::Result<bool> {
        let received: ReceivedJob<SendInvoice> = self.keys.open(&self.directory, text).await?;
        let (ctx, id) = (&received.context, received.id);
        let run = async {
            let mut tx = self.db.begin(ctx).await?;
            match DoneJob::insert(&mut tx, &DoneJob { id }).await {
                Err(error) if error.kind() == ErrorKind::Conflict => return Ok(false),
                inserted => inserted?,
            }
            println!("order {} of {}, queued by {}", received.job.order, ctx.tenant().slug(), ctx.actor());
            tx.commit().await.map(|()| true)
        };
        ctx.in_span(run).await // adds the tenant to each log line of the job
    }

    /// In a request: the signed envelope contains the tenant and the actor.
    fn envelope(&self, ctx: &TenantContext, order: i64) -> tenancy::Result<String> {
        Envelope::new(ctx, &SendInvoice { order }).valid_for(Duration::from_hours(24)).sign(&self.keys)
    }
}

/// The worker, and the context that a request would have.
async fn app() -> tenancy::Result<(Worker, TenantContext)> {
    let plans = Catalog::from_toml("version = 1\n[plans.free]")?;
    let directory = TenantDirectory::new(Arc::new(MemoryStore::new()), plans);
    let acme = directory.store().insert(NewTenant::active("acme", "free")?).await?;
    let ctx = directory.context(acme.id(), Actor::user("ada")).await?;
    let db = TenantDb::from_pool(sqlite_in_memory(TABLE).await?).build().await?;
    Ok((Worker { db, directory, keys: JobKeys::new("2026-11", b"at least thirty-two random bytes")? }, ctx))
}

#[tokio::main]
async fn main() -> tenancy::Result<()> {
    let (worker, ctx) = app().await?;
    let text = worker.envelope(&ctx, 7)?;
    for text in [&text, &text] {
        println!("done now: {}", worker.work(text).await?); // a queue can deliver a text twice
    }
    Ok(())
}

#[tokio::test]
async fn a_job_runs_once_and_for_an_open_tenant() {
    let (worker, ctx) = app().await.unwrap();
    let text = worker.envelope(&ctx, 7).unwrap();
    assert!(worker.work(&text).await.unwrap());
    assert!(!worker.work(&text).await.unwrap(), "the second delivery");
    let altered = worker.work(&format!("{text}A")).await.unwrap_err();
    assert_eq!(altered.kind(), ErrorKind::SignatureInvalid);
    let suspended = ctx.tenant().with_status(tenancy::tenant::TenantStatus::Suspended).unwrap();
    worker.directory.store().update(&suspended).await.unwrap();
    assert_eq!(worker.work(&text).await.unwrap_err().kind(), ErrorKind::TenantSuspended);
}
