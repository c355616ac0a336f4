//! No statement runs under another tenant while requests are dropped and database sessions end.
//!
//! Fifty tasks of three tenants do random work on few connections, and the database records the tenant of each
//! statement. `CHAOS_SECONDS` sets the duration, `CHAOS_SEED` the work.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;

use futures_util::StreamExt;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{ConnectOptions, Connection, Postgres, Row};
use tenancy::context::Actor;
use tenancy::scope::select::PageRequest;
use tenancy::scope::{ConnectionMode, Schema};
use tenancy::tenant::{NewTenant, Slug, TenantStatus};
use tenancy::{TenantContext, TenantDb, TenantScoped};
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::common::{self, Fixture, TestBackend};
use crate::numbers::{Numbers, setting};
use crate::pooler::Pooler;

/// A row contains its tenant three times: from the statement, from the database setting, and from the test. The
/// database rejects a row whose tenants differ.
const NOTES: &str = "
    CREATE TABLE notes (
        tenant_id uuid NOT NULL,
        id uuid NOT NULL,
        meant text NOT NULL CHECK (meant = tenant_id::text),
        said text NOT NULL DEFAULT current_setting('app.tenant_id', true) CHECK (said = tenant_id::text),
        PRIMARY KEY (tenant_id, id));
    ALTER TABLE notes ENABLE ROW LEVEL SECURITY;
    ALTER TABLE notes FORCE ROW LEVEL SECURITY;
    CREATE POLICY own ON notes USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid);
    CREATE FUNCTION runs_as(meant text) RETURNS boolean LANGUAGE plpgsql STABLE AS $$ BEGIN
        IF current_setting('app.tenant_id', true) IS DISTINCT FROM meant THEN
            RAISE EXCEPTION 'ran as % and was meant for %', current_setting('app.tenant_id', true), meant;
        END IF;
        RETURN true;
    END $$";

#[derive(Debug, Clone, TenantScoped, sqlx::FromRow)]
#[tenant(table = "notes")]
struct Note {
    #[tenant(id)]
    id: Uuid,
    meant: String,
}

#[derive(Default)]
struct Tally {
    over: AtomicBool,
    done: AtomicUsize,
    dropped: AtomicUsize,
    failed: AtomicUsize,
    ended: AtomicUsize,
}

/// The errors that an ended session may cause; a row or statement of another tenant is never one of them.
fn is_harmless(words: &str) -> bool {
    const KINDS: [&str; 4] =
        ["kind: StoreUnavailable", "kind: Retryable", "kind: RolledBack", "kind: OutcomeUnknown"];
    // The texts of PostgreSQL, PgBouncer, sqlx and the operating system for a connection that ended.
    const ENDED: [&str; 7] =
        ["code: \"08", "code: \"57p", "closed", "reset", "broken pipe", "eof", "pooltimedout"];
    let lower = words.to_lowercase();
    !lower.contains("was meant for")
        && (KINDS.iter().any(|kind| words.contains(kind)) || ENDED.iter().any(|word| lower.contains(word)))
}

/// One unit of work; returns the ids of the notes that were acknowledged.
async fn work(
    db: &TenantDb<Postgres>,
    ctx: &TenantContext,
    what: u64,
    attempted: &mut Vec<Uuid>,
) -> Result<Vec<Uuid>, String> {
    let meant = ctx.tenant_id().to_string();
    let scope = db.scope(ctx);
    let mut note = || {
        let id = Uuid::now_v7();
        attempted.push(id);
        Note { id, meant: meant.clone() }
    };
    let own =
        |notes: &[Note]| assert!(notes.iter().all(|note| note.meant == meant), "{meant} was shown {notes:?}");
    match what {
        0 | 1 => {
            let note = note();
            Note::insert(&scope, &note).await.map_err(words)?;
            Ok(vec![note.id])
        }
        2 => {
            own(&Note::list(&scope, PageRequest::first(50)).await.map_err(words)?.items);
            Ok(vec![])
        }
        3 | 4 => {
            let asked = sqlx::query_as("SELECT id, meant FROM notes WHERE runs_as($1) LIMIT 50").bind(&meant);
            own(&asked.fetch_all(&scope).await.map_err(words)?);
            Ok(vec![])
        }
        5 => {
            let mut stream = sqlx::query("SELECT meant, runs_as($1) FROM notes").bind(&meant).fetch(&scope);
            for _ in 0..3 {
                let Some(row) = stream.next().await else { break };
                assert_eq!(row.map_err(words)?.get::<String, _>(0), meant);
            }
            Ok(vec![])
        }
        6 | 7 => {
            let mut tx = db.begin(ctx).await.map_err(words)?;
            let (one, two) = (note(), note());
            Note::insert(&mut tx, &one).await.map_err(words)?;
            let asked = sqlx::query_as("SELECT id, meant FROM notes WHERE runs_as($1) LIMIT 50").bind(&meant);
            own(&asked.fetch_all(&mut tx).await.map_err(words)?);
            Note::insert(&mut tx, &two).await.map_err(words)?;
            tx.commit().await.map_err(words)?;
            Ok(vec![one.id, two.id])
        }
        _ => {
            let mut tx = db.begin(ctx).await.map_err(words)?;
            Note::insert(&mut tx, &note()).await.map_err(words)?;
            own(&Note::list(&mut tx, PageRequest::first(50)).await.map_err(words)?.items);
            if what == 8 {
                tx.rollback().await.map_err(words)?;
            }
            Ok(vec![])
        }
    }
}

fn words(error: impl Debug) -> String {
    format!("{error:?}")
}

/// Polls a future so often, and then drops it.
pub(crate) async fn drop_after<T>(polls: u64, work: impl Future<Output = T>) -> Option<T> {
    let (mut work, mut left) = (pin!(work), polls);
    poll_fn(|cx| match work.as_mut().poll(cx) {
        Poll::Ready(outcome) => Poll::Ready(Some(outcome)),
        Poll::Pending if left == 0 => Poll::Ready(None),
        Poll::Pending => {
            left -= 1;
            // As a timer or another future in a `select!` would.
            cx.waker().wake_by_ref();
            Poll::Pending
        }
    })
    .await
}

/// Works until the deadline, and drops some work halfway. Returns the attempted and the acknowledged notes.
async fn worker(
    db: TenantDb<Postgres>,
    ctx: TenantContext,
    seed: u64,
    tally: Arc<Tally>,
) -> (Vec<Uuid>, Vec<Uuid>) {
    let mut numbers = Numbers(seed);
    let (mut attempted, mut acknowledged) = (Vec::new(), Vec::new());
    while !tally.over.load(Ordering::Relaxed) {
        let (what, polls) = (numbers.below(10), numbers.below(60));
        let outcome = {
            let work = work(&db, &ctx, what, &mut attempted);
            if numbers.below(3) > 0 { Some(work.await) } else { drop_after(polls, work).await }
        };
        let count = match outcome {
            None => &tally.dropped,
            Some(Ok(ids)) => {
                acknowledged.extend(ids);
                &tally.done
            }
            Some(Err(error)) => {
                assert!(is_harmless(&error), "{} met {error}", ctx.tenant().slug());
                &tally.failed
            }
        };
        count.fetch_add(1, Ordering::Relaxed);
    }
    (attempted, acknowledged)
}

/// Ends random database sessions, as an operator or a failing server does.
async fn terminator(options: PgConnectOptions, seed: u64, tally: Arc<Tally>) {
    let mut numbers = Numbers(seed);
    let mut connection = options.connect().await.unwrap();
    while !tally.over.load(Ordering::Relaxed) {
        let ended = sqlx::query(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() \
             AND backend_type = 'client backend' AND pid <> pg_backend_pid() \
             ORDER BY (pid * $1::bigint) % 1009 LIMIT 1",
        )
        .bind(i64::try_from(numbers.below(1009)).unwrap())
        .execute(&mut connection)
        .await
        .unwrap();
        tally.ended.fetch_add(usize::try_from(ended.rows_affected()).unwrap(), Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(20 + numbers.below(60))).await;
    }
}

#[expect(clippy::print_stdout, reason = "what happened is told")]
async fn chaos(mode: ConnectionMode, connections: u32) {
    let (seconds, seed) = (setting("CHAOS_SECONDS", 8), setting("CHAOS_SEED", 1));
    let fixture = Fixture::<Postgres>::new().await;
    Postgres::raw(&fixture.pool, NOTES).await.unwrap();
    let third =
        NewTenant::new(Slug::parse("initech").unwrap(), "Initech", "free").status(TenantStatus::Active);
    let third = fixture.directory.store().insert(third).await.unwrap();
    let third = fixture.directory.context(third.id(), Actor::user("peter")).await.unwrap();
    let tenants = [fixture.acme.clone(), fixture.globex.clone(), third];

    let name: String =
        sqlx::query_scalar("SELECT current_database()").fetch_one(&fixture.pool).await.unwrap();
    let direct: PgConnectOptions = common::postgres_url().parse().unwrap();
    let direct = direct.database(&name);
    let url = direct.to_url_lossy().to_string();
    let pooler = match mode {
        ConnectionMode::PgBouncer => Some(Pooler::start(&url, "transaction", connections).await),
        _ => None,
    };
    let url = pooler.as_ref().map_or(url, Pooler::url);
    // The sessions of the fixture's pool would be ended too.
    fixture.pool.close().await;
    let options = PgPoolOptions::new().max_connections(connections).acquire_timeout(Duration::from_secs(20));
    let schema = Schema::new("tenant_id").unwrap().function("runs_as").unwrap();
    let db = TenantDb::postgres(options, url).connection_mode(mode).schema(schema).build().await.unwrap();

    let tally = Arc::new(Tally::default());
    let terminating = tokio::spawn(terminator(direct.clone(), seed, tally.clone()));
    let mut tasks = JoinSet::new();
    for task in 0..50_usize {
        let ctx = tenants[task % 3].clone();
        let worker = worker(db.clone(), ctx, seed + 7919 * (task as u64 + 1), tally.clone());
        tasks.spawn(async move { (task % 3, worker.await) });
    }
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    tally.over.store(true, Ordering::Relaxed);
    let (mut attempted, mut acknowledged) = (vec![BTreeSet::new(); 3], vec![BTreeSet::new(); 3]);
    for (tenant, (tried, kept)) in tasks.join_all().await {
        attempted[tenant].extend(tried);
        acknowledged[tenant].extend(kept);
    }
    terminating.await.unwrap();

    // Every acknowledged note exists, no note exists that was not attempted, and each belongs to its own tenant: the
    // table's constraints reject any other.
    let counts =
        [&tally.done, &tally.dropped, &tally.failed, &tally.ended].map(|n| n.load(Ordering::Relaxed));
    let mut connection = direct.connect().await.unwrap();
    let mut kept = 0;
    for (ctx, (tried, acknowledged)) in tenants.iter().zip(attempted.iter().zip(&acknowledged)) {
        let mut tx = connection.begin().await.unwrap();
        let id = ctx.tenant_id().to_string();
        sqlx::query("SELECT set_config('app.tenant_id', $1, true)")
            .bind(&id)
            .execute(&mut *tx)
            .await
            .unwrap();
        let ids: Vec<Uuid> = sqlx::query_scalar("SELECT id FROM notes").fetch_all(&mut *tx).await.unwrap();
        let there: BTreeSet<Uuid> = ids.into_iter().collect();
        assert!(acknowledged.is_subset(&there), "a note that was acknowledged is lost");
        assert!(there.is_subset(tried), "a note is another tenant's");
        kept += acknowledged.len();
        tx.rollback().await.unwrap();
    }
    let [done, dropped, failed, ended] = counts;
    println!(
        "{mode:?}, {connections} connections: {done} done, {dropped} dropped, {failed} failed, {ended} sessions ended, {kept} notes kept"
    );
    assert!(
        done > 500 && dropped > 100 && ended > 20 && kept > 100,
        "too little happened: {counts:?}, {kept} kept"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_statement_runs_under_another_tenant_whatever_goes_wrong() {
    chaos(ConnectionMode::Direct, 4).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nor_behind_a_pooler() {
    chaos(ConnectionMode::PgBouncer, 4).await;
}
