//! No statement runs in another tenant's place while many tenants with shared tables, schemas and databases share few
//! connections and requests are dropped.
//!
//! Each tenant has the same local ids, and the database rejects a row in a place that is not its tenant's.
//! `PLACE_CHAOS_TASKS`, `PLACE_CHAOS_TENANTS` and `CHAOS_SECONDS` set the size, `CHAOS_SEED` the work.

use std::collections::{BTreeSet, HashMap};
use std::fmt::Debug;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{ConnectOptions, PgPool, Postgres, Row};
use tenancy::audit::AuditEvent;
use tenancy::context::{Actor, TenantDirectory};
use tenancy::placement::{ConnectionLimits, DatabaseConfig};
use tenancy::plan::Catalog;
use tenancy::quota::Gauge;
use tenancy::scope::select::PageRequest;
use tenancy::scope::{Schema, Tx};
use tenancy::store::{MemoryStore, SqlStore};
use tenancy::tenant::{NewTenant, Placement, Slug, TenantId, TenantStatus};
use tenancy::{TenantContext, TenantDb, TenantScoped};
use tokio::task::JoinSet;

use crate::chaos::drop_after;
use crate::common::{CATALOG, Cleanup, Placing, TestBackend, postgres_url};
use crate::numbers::{Numbers, setting};

/// As in `chaos.rs`; a constraint for each place follows when its tenant is known.
const NOTES: &str = "
    CREATE TABLE notes (
        tenant_id uuid NOT NULL,
        id bigint NOT NULL,
        meant text NOT NULL CHECK (meant = tenant_id::text),
        said text NOT NULL DEFAULT current_setting('app.tenant_id', true) CHECK (said = tenant_id::text),
        gauged boolean NOT NULL,
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

/// The connections of the shared pool, of all tenants' databases, and of one of these.
const SHARED: u32 = 6;
const DATABASES: u32 = 8;
const PER_DATABASE: u32 = 2;

#[derive(Debug, Clone, TenantScoped, sqlx::FromRow)]
#[tenant(table = "notes")]
struct Note {
    #[tenant(id)]
    id: i64,
    meant: String,
    gauged: bool,
}

struct Member {
    ctx: TenantContext,
    /// The ids count from 1 in each place.
    ids: AtomicI64,
}

impl Member {
    fn note(&self, gauged: bool) -> Note {
        let id = self.ids.fetch_add(1, Ordering::Relaxed);
        Note { id, meant: self.ctx.tenant_id().to_string(), gauged }
    }

    fn own<'n>(&self, notes: impl IntoIterator<Item = &'n Note>) {
        let meant = self.ctx.tenant_id().to_string();
        for note in notes {
            assert_eq!(note.meant, meant, "a row of another tenant");
        }
    }
}

struct App {
    db: TenantDb<Postgres>,
    members: Vec<Member>,
    /// Outside of the limits.
    admin: PgPool,
    /// The name by which the server lists the connections of `db`.
    application: String,
}

impl App {
    async fn new(tenants: usize) -> (Self, Vec<Cleanup>) {
        let (url, cleanup) = Postgres::fresh_url().await;
        let shared: PgConnectOptions = url.parse().unwrap();
        let application = format!("chaos_{}", shared.get_database().unwrap());
        let owner = PgPoolOptions::new().max_connections(2).connect_with(shared.clone()).await.unwrap();
        let store = SqlStore::new(owner.clone());
        store.migrate().await.unwrap();
        Postgres::raw(&owner, NOTES).await.unwrap();
        let (template, template_cleanup) = Postgres::fresh(1).await;
        SqlStore::new(template.clone()).migrate().await.unwrap();
        Postgres::raw(&template, NOTES).await.unwrap();
        let template_name = template.connect_options().get_database().unwrap().to_owned();
        template.close().await;

        let admin = PgPoolOptions::new().max_connections(1).connect(&postgres_url()).await.unwrap();
        let catalog = Arc::new(Catalog::from_toml(CATALOG).unwrap());
        let directory = TenantDirectory::new(Arc::new(store), catalog);
        let (mut members, mut registry, mut cleanup) =
            (vec![], HashMap::new(), vec![template_cleanup, cleanup]);
        let mut in_shared = Vec::new();
        for n in 0..tenants {
            let id = TenantId::random();
            let placement = [Placing::Shared, Placing::Schema, Placing::Database][n % 3].of(&id);
            let own = format!("ALTER TABLE notes ADD CONSTRAINT own_place CHECK (tenant_id = '{id}')");
            match &placement {
                Placement::Schema { name } => {
                    let create = format!(
                        "CREATE SCHEMA {name}; SET search_path = {name}; {NOTES}; {own}; RESET search_path"
                    );
                    Postgres::raw(&owner, &create).await.unwrap();
                }
                Placement::Database { name } => {
                    let create = format!("CREATE DATABASE {name} TEMPLATE {template_name}");
                    Postgres::raw(&admin, &create).await.unwrap();
                    cleanup.insert(0, drop_database(name.to_string()));
                    let options = shared.clone().database(name.as_str());
                    let mut conn = options.clone().connect().await.unwrap();
                    sqlx::raw_sql(sqlx::AssertSqlSafe(own)).execute(&mut conn).await.unwrap();
                    registry
                        .insert(name.clone(), DatabaseConfig::new(options.application_name(&application)));
                }
                _ => in_shared.push(format!("'{id}'")),
            }
            members.push(Member {
                ctx: context(&directory, &format!("tenant-{n}"), id, placement).await,
                ids: AtomicI64::new(1),
            });
        }
        let own = format!(
            "ALTER TABLE public.notes ADD CONSTRAINT own_place CHECK (tenant_id IN ({}))",
            in_shared.join(", ")
        );
        Postgres::raw(&owner, &own).await.unwrap();
        let options = PgPoolOptions::new().max_connections(SHARED).acquire_timeout(Duration::from_secs(30));
        let limits = ConnectionLimits::new(SHARED + DATABASES).per_database(PER_DATABASE);
        let mut url = shared.to_url_lossy();
        url.query_pairs_mut().append_pair("application_name", &application);
        let schema = Schema::new("tenant_id").unwrap().function("runs_as").unwrap();
        let db = TenantDb::postgres(options, url.as_str()).schema(schema).databases(registry, limits);
        let db = db.build().await.unwrap();
        (Self { db, members, admin, application }, cleanup)
    }

    async fn open(&self) -> u32 {
        let sql = "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1";
        let open: i64 = sqlx::query_scalar(sql).bind(&self.application).fetch_one(&self.admin).await.unwrap();
        u32::try_from(open).unwrap()
    }

    /// Watches the connections until `over`, and returns the highest number. A connection that was closed ends a
    /// moment later, so only an excess that stays is one.
    async fn watch(&self, over: &AtomicBool) -> u32 {
        let (mut most, mut fine) = (0, Instant::now());
        let mut ticks = tokio::time::interval(Duration::from_millis(10));
        while !over.load(Ordering::Relaxed) {
            ticks.tick().await;
            let open = self.open().await;
            most = most.max(open);
            if open <= SHARED + DATABASES {
                fine = Instant::now();
            }
            assert!(fine.elapsed() < Duration::from_secs(5), "{open} connections are open, and stay open");
        }
        most
    }

    fn placed(&self, placing: Placing) -> Vec<&TenantContext> {
        let is = |ctx: &&TenantContext| *ctx.tenant().placement() == placing.of(ctx.tenant_id());
        self.members.iter().map(|member| &member.ctx).filter(is).collect()
    }

    /// Holds every connection at once, which works if none was lost; one more has to wait until one is free.
    async fn every_connection_is_back(&self) {
        let shared = self.placed(Placing::Schema).into_iter().chain(self.placed(Placing::Shared));
        let databases = self.placed(Placing::Database);
        let databases = databases.iter().cycle().take((PER_DATABASE * 5) as usize).copied();
        let groups: [(Vec<&TenantContext>, u32); 2] =
            [(shared.cycle().take(SHARED as usize + 1).collect(), SHARED), (databases.collect(), DATABASES)];
        for (mut tenants, limit) in groups {
            let last = tenants.split_off(limit as usize)[0];
            let mut held: Vec<Tx<'_, Postgres>> = Vec::new();
            for ctx in tenants {
                held.push(self.db.begin(ctx).await.unwrap());
            }
            let mut waiting = pin!(self.db.begin(last));
            for _ in 0..50 {
                assert!(futures_util::poll!(&mut waiting).is_pending(), "{} connections", limit + 1);
                tokio::task::yield_now().await;
            }
            held.pop().unwrap().commit().await.unwrap();
            waiting.await.unwrap().commit().await.unwrap();
        }
    }
}

fn drop_database(name: String) -> Cleanup {
    Cleanup::database(name, async |name| {
        let server = PgPool::connect(&postgres_url()).await?;
        let drop = format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)");
        sqlx::raw_sql(sqlx::AssertSqlSafe(drop)).execute(&server).await.map(|_| ())
    })
}

async fn context(
    directory: &TenantDirectory,
    slug: &str,
    id: TenantId,
    placement: Placement,
) -> TenantContext {
    let tenant = NewTenant::new(Slug::parse(slug).unwrap(), slug, "enterprise").id(id).placement(placement);
    let tenant = directory.store().insert(tenant.status(TenantStatus::Active)).await.unwrap();
    directory.context(tenant.id(), Actor::user("ada")).await.unwrap()
}

fn words(error: impl Debug) -> String {
    format!("{error:?}")
}

/// One unit of work; returns the ids of the notes that were acknowledged.
async fn work(db: &TenantDb<Postgres>, member: &Member, what: u64) -> Result<Vec<i64>, String> {
    let (ctx, meant) = (&member.ctx, member.ctx.tenant_id().to_string());
    let scope = db.scope(ctx);
    match what {
        0 | 1 => {
            let note = member.note(false);
            Note::insert(&scope, &note).await.map_err(words)?;
            return Ok(vec![note.id]);
        }
        2 => member.own(&Note::list(&scope, PageRequest::first(50)).await.map_err(words)?.items),
        3 => member.own(&Note::find(&scope, 1).await.map_err(words)?),
        4 => {
            let own = sqlx::query_as("SELECT id, meant, gauged FROM notes WHERE runs_as($1) LIMIT 50");
            let notes: Vec<Note> = own.bind(&meant).fetch_all(&scope).await.map_err(words)?;
            member.own(&notes);
        }
        5 => {
            let mut stream = sqlx::query("SELECT meant, runs_as($1) FROM notes").bind(&meant).fetch(&scope);
            for _ in 0..3 {
                let Some(row) = stream.next().await else { break };
                assert_eq!(row.map_err(words)?.get::<String, _>(0), meant);
            }
        }
        6 | 7 => {
            let mut tx = db.begin(ctx).await.map_err(words)?;
            let note = member.note(true);
            Note::insert(&mut tx, &note).await.map_err(words)?;
            Gauge::new("projects").acquire(&mut tx, 1).await.map_err(words)?;
            tx.record(AuditEvent::new(ctx, "note.add")).await.map_err(words)?;
            tx.commit().await.map_err(words)?;
            return Ok(vec![note.id]);
        }
        _ => {
            let mut tx = db.begin(ctx).await.map_err(words)?;
            Note::insert(&mut tx, &member.note(true)).await.map_err(words)?;
            Gauge::new("projects").acquire(&mut tx, 1).await.map_err(words)?;
            member.own(&Note::list(&mut tx, PageRequest::first(50)).await.map_err(words)?.items);
            if what == 8 {
                tx.rollback().await.map_err(words)?;
            }
        }
    }
    Ok(vec![])
}

/// Works for random tenants until `over`, and drops some work halfway. Returns the acknowledged notes.
async fn worker(
    app: Arc<App>,
    seed: u64,
    over: Arc<AtomicBool>,
    dropped: Arc<AtomicUsize>,
) -> Vec<(usize, i64)> {
    let (mut numbers, mut acknowledged) = (Numbers(seed), Vec::new());
    while !over.load(Ordering::Relaxed) {
        let tenant = usize::try_from(numbers.below(app.members.len() as u64)).unwrap();
        let (what, polls) = (numbers.below(10), numbers.below(60));
        let work = work(&app.db, &app.members[tenant], what);
        let outcome = if numbers.below(3) > 0 { Some(work.await) } else { drop_after(polls, work).await };
        match outcome {
            // No session ends here, so nothing may fail: no pool is closed in use, and nobody waits for too long.
            Some(done) => acknowledged.extend(done.unwrap().into_iter().map(|id| (tenant, id))),
            None => _ = dropped.fetch_add(1, Ordering::Relaxed),
        }
    }
    acknowledged
}

#[expect(clippy::print_stdout, reason = "what happened is told")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_statement_runs_in_another_tenants_place_whatever_is_dropped() {
    let (tasks, tenants) = (setting("PLACE_CHAOS_TASKS", 24), setting("PLACE_CHAOS_TENANTS", 30));
    let (seconds, seed) = (setting("CHAOS_SECONDS", 8), setting("CHAOS_SEED", 1));
    let (app, _cleanup) = App::new(usize::try_from(tenants).unwrap()).await;
    let app = Arc::new(app);
    let (over, dropped) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let mut working = JoinSet::new();
    for task in 0..tasks {
        working.spawn(worker(app.clone(), seed + 7919 * (task + 1), over.clone(), dropped.clone()));
    }
    let watching = tokio::spawn({
        let (app, over) = (app.clone(), over.clone());
        async move { app.watch(&over).await }
    });
    // A worker that ends before has panicked.
    let early = tokio::time::timeout(Duration::from_secs(seconds), working.join_next()).await;
    over.store(true, Ordering::Relaxed);
    assert!(early.is_err(), "a worker ended: {:?}", early.map(|ended| ended.map(|notes| notes.is_ok())));
    let acknowledged = working.join_all().await.into_iter().flatten().collect::<BTreeSet<_>>();
    let most = watching.await.unwrap();

    app.every_connection_is_back().await;
    let mut kept = 0;
    for (n, member) in app.members.iter().enumerate() {
        let scope = app.db.scope(&member.ctx);
        let notes: Vec<Note> =
            sqlx::query_as("SELECT id, meant, gauged FROM notes").fetch_all(&scope).await.unwrap();
        member.own(&notes);
        let there: BTreeSet<i64> = notes.iter().map(|note| note.id).collect();
        assert!(there.iter().all(|id| (1..member.ids.load(Ordering::Relaxed)).contains(id)));
        let mine = acknowledged.range((n, 0)..(n + 1, 0)).map(|(_, id)| *id).collect::<BTreeSet<_>>();
        assert!(mine.is_subset(&there), "a note that was acknowledged is lost");
        let gauged = notes.iter().filter(|note| note.gauged).count() as u64;
        let used = Gauge::new("projects").usage(&scope).await.unwrap().used;
        assert_eq!(
            used,
            gauged,
            "the gauge counts what was committed: {:?}",
            member.ctx.tenant().placement()
        );
        kept += mine.len();
    }
    let deadline = Instant::now() + Duration::from_secs(20);
    while app.open().await > SHARED + DATABASES {
        assert!(Instant::now() < deadline, "{} connections stay open", app.open().await);
    }
    let (dropped, places) = (dropped.load(Ordering::Relaxed), app.placed(Placing::Database).len());
    println!(
        "{tasks} tasks, {tenants} tenants, {places} of them with a database: {kept} notes kept, {dropped} dropped, \
         at most {most} of {} connections seen",
        SHARED + DATABASES
    );
    assert!(kept > 100 && dropped > 100, "too little happened: {kept} kept, {dropped} dropped");
    assert!(most > SHARED + DATABASES / 2, "the connections are counted: {most}");
}

/// The other side: a statement in another tenant's place is seen, and shows no row.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_statement_in_another_tenants_place_is_seen() {
    let (app, _cleanup) = App::new(6).await;
    for member in &app.members {
        assert_eq!(work(&app.db, member, 0).await.unwrap(), [1]);
    }
    let catalog = Arc::new(Catalog::from_toml(CATALOG).unwrap());
    let mut forged = 0;
    for one in &app.members {
        for other in &app.members {
            if one.ctx.tenant().placement() == other.ctx.tenant().placement() {
                continue;
            }
            // A context as no store has it: the id of one tenant, and the placement of another.
            let directory = TenantDirectory::new(Arc::new(MemoryStore::new()), catalog.clone());
            let placement = other.ctx.tenant().placement().clone();
            let ctx = context(&directory, "forged", one.ctx.tenant_id().clone(), placement).await;
            let forgery = Member { ctx, ids: AtomicI64::new(1) };
            let error = work(&app.db, &forgery, 0).await.unwrap_err();
            assert!(error.contains("breaks a rule of its column"), "{error}");
            assert!(Note::find(&app.db.scope(&forgery.ctx), 1).await.unwrap().is_none());
            forged += 1;
        }
    }
    assert_eq!(forged, 28, "the two tenants in the shared tables have the same placement");
}
