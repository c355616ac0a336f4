//! A tenant is opened when its place is complete, and not before; what was interrupted goes on.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use tenancy::ErrorKind;
use tenancy::placement::Provisioner;
use tenancy::store::SqlStore;
use tenancy::tenant::{
    NewTenant, Placement, PlacementName, Slug, Tenant, TenantId, TenantStatus, TenantStore,
};
use tokio::task::JoinSet;

use crate::common::TestBackend;
use crate::place_fixture::{App, TestPlaces, create_patiently, migrator};

async fn each_kind_of_place_is_provisioned_and_seeded<DB: TestPlaces>() {
    let mut app = App::<DB>::new().await;
    let provisioner = app.provisioner(&[DB::PROJECTS]);
    let mut tenants = vec![app.create(&provisioner, "commons", |new| new).await.unwrap()];
    for (n, kind) in DB::kinds().into_iter().enumerate() {
        for slug in [format!("acme-{n}"), format!("globex-{n}")] {
            tenants.push(app.create(&provisioner, &slug, kind).await.unwrap());
        }
    }
    for tenant in &tenants {
        assert_eq!(tenant.status(), TenantStatus::Active);
        assert_eq!(app.projects(tenant).await.unwrap(), [format!("first of {}", tenant.slug())]);
    }
    assert!(provisioner.unfinished().await.unwrap().is_empty());
    // Everything again: nothing is done twice.
    for tenant in &tenants {
        assert_eq!(provisioner.resume(tenant.id()).await.unwrap().version(), tenant.version());
        assert_eq!(app.projects(tenant).await.unwrap().len(), 1);
    }
}

async fn a_failed_step_leaves_the_tenant_closed_and_is_resumed<DB: TestPlaces>() {
    let mut app = App::<DB>::new().await;
    for (n, kind) in DB::kinds().into_iter().enumerate() {
        let (good, bad) = (format!("good-{n}"), format!("bad-{n}"));
        let good = app.create(&app.provisioner(&[DB::PROJECTS]), &good, kind).await.unwrap();
        let broken = app.provisioner(&[DB::PROJECTS, "CREATE TABLE projects (id bigint)"]);
        let error = app.create(&broken, &bad, kind).await.unwrap_err();
        assert!(error.to_string().contains("the step `migrate` failed: the migration 2 failed"), "{error}");
        let unfinished = broken.unfinished().await.unwrap();
        let [one] = &unfinished[..] else { panic!("{unfinished:?}") };
        assert_eq!(one.tenant.slug().as_str(), bad);
        let (step, why) = one.failed.as_ref().unwrap();
        assert!(step == "migrate" && why.contains("projects"), "{step}: {why}");
        let closed = app.context(&one.tenant).await.unwrap_err();
        assert_eq!(closed.kind(), ErrorKind::TenantInactive);

        let error = broken.resume(one.tenant.id()).await.unwrap_err();
        assert!(error.to_string().contains("`migrate`"), "{error}");
        let corrected = app.provisioner(&[DB::PROJECTS, "CREATE TABLE extra (id bigint)"]);
        let opened = corrected.resume(one.tenant.id()).await.unwrap();
        assert_eq!(opened.status(), TenantStatus::Active);
        assert_eq!(app.projects(&opened).await.unwrap(), [format!("first of {bad}")]);
        assert_eq!(app.projects(&good).await.unwrap().len(), 1);
        assert!(corrected.unfinished().await.unwrap().is_empty());
    }
}

/// Polls a future once, and again each time that it is woken, and drops it after so many polls.
async fn drop_after(polls: u32, future: impl Future) {
    let (mut future, mut left) = (pin!(future), polls);
    poll_fn(|cx| {
        if left == 0 || future.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        left -= 1;
        if left == 0 { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

/// Provisioning that is cancelled at any point is resumed to the same result, in a new place and in one that was ready.
async fn an_interrupted_provisioning_goes_on<DB: TestPlaces>() {
    let mut app = App::<DB>::new().await;
    let provisioner = app.provisioner(&[DB::PROJECTS]);
    for (n, kind) in DB::kinds().into_iter().enumerate() {
        for ready in [false, true] {
            let mut interrupted = 0;
            for polls in (0..24).chain([34, 55, 89]) {
                if ready {
                    let like = App::<DB>::new_tenant("like", kind).into_tenant();
                    provisioner.prepare(like.placement(), 1).await.unwrap();
                }
                let slug = format!("tenant-{n}-{ready}-{polls}");
                drop_after(polls, provisioner.create(App::<DB>::new_tenant(&slug, kind))).await;
                let slug = Slug::parse(&slug).unwrap();
                let Some(tenant) = app.store.by_slug(&slug).await.unwrap() else { continue };
                app.forget(tenant.placement());
                interrupted += u32::from(tenant.status() == TenantStatus::Provisioning);
                let deadline = Instant::now() + Duration::from_secs(20);
                let opened = loop {
                    match provisioner.resume(tenant.id()).await {
                        Ok(opened) => break opened,
                        // The server has not noticed yet that the connection which holds the lock was closed.
                        Err(error) if error.is_transient() && Instant::now() < deadline => {
                            tokio::task::yield_now().await;
                        }
                        Err(error) => panic!("{slug}: {error:?}"),
                    }
                };
                assert_eq!(app.projects(&opened).await.unwrap(), [format!("first of {slug}")]);
            }
            assert!(interrupted >= 2, "only {interrupted} were interrupted");
        }
    }
    // A place that was made ready and is still there belongs to nobody.
    let left = "SELECT count(*) FROM tenancy_ready_places";
    assert!(DB::number(&app.pool, left).await <= i64::try_from(DB::kinds().len()).unwrap());
}

/// A store in which another writer is always a moment earlier: it opens the tenant, or renames it.
#[derive(Debug)]
struct Earlier<DB: TestPlaces> {
    store: SqlStore<DB>,
    opens: bool,
    updates: AtomicU32,
}

#[async_trait]
impl<DB: TestPlaces> TenantStore for Earlier<DB> {
    async fn by_id(&self, id: &TenantId) -> tenancy::Result<Option<Arc<Tenant>>> {
        self.store.by_id(id).await
    }

    async fn by_slug(&self, slug: &Slug) -> tenancy::Result<Option<Arc<Tenant>>> {
        self.store.by_slug(slug).await
    }

    async fn list(&self, after: Option<&TenantId>, limit: u16) -> tenancy::Result<Vec<Arc<Tenant>>> {
        self.store.list(after, limit).await
    }

    async fn insert(&self, tenant: NewTenant) -> tenancy::Result<Arc<Tenant>> {
        self.store.insert(tenant).await
    }

    async fn update(&self, tenant: &Tenant) -> tenancy::Result<Arc<Tenant>> {
        if self.updates.fetch_add(1, Ordering::SeqCst) == 0 {
            let now = self.store.by_id(tenant.id()).await?.unwrap();
            let earlier =
                if self.opens { now.with_status(TenantStatus::Active)? } else { now.with_name("Renamed") };
            self.store.update(&earlier).await?;
        }
        self.store.update(tenant).await
    }
}

/// The last step of a run that was cancelled can be committed late: after the next run has read the tenant.
async fn a_tenant_that_another_run_opened_is_open<DB: TestPlaces>() {
    let mut app = App::<DB>::new().await;
    for (n, kind) in DB::kinds().into_iter().enumerate() {
        for opens in [true, false] {
            let earlier = Earlier { store: app.store.clone(), opens, updates: AtomicU32::new(0) };
            let earlier = Arc::new(earlier);
            let provisioner = app.provisioner(&[DB::PROJECTS]).notify(earlier.clone());
            let slug = format!("tenant-{n}-{opens}");
            let tenant = app.create(&provisioner, &slug, kind).await.unwrap();
            assert_eq!(tenant.status(), TenantStatus::Active);
            assert_eq!(earlier.updates.load(Ordering::SeqCst), if opens { 1 } else { 2 });
            assert_eq!(app.store.by_id(tenant.id()).await.unwrap(), Some(tenant.clone()));
            assert_eq!(tenant.name() == "Renamed", !opens);
            assert_eq!(app.projects(&tenant).await.unwrap(), [format!("first of {slug}")]);
            assert!(provisioner.unfinished().await.unwrap().is_empty());
        }
    }
}

/// As above, where the server is slow with the last commit of the run that was cancelled.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_late_commit_of_a_cancelled_run_opens_the_tenant() {
    use sqlx::Postgres;

    let mut app = App::<Postgres>::new().await;
    let slow = "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS \
        'BEGIN PERFORM pg_sleep(0.5); RETURN NULL; END'; \
        CREATE CONSTRAINT TRIGGER slow AFTER UPDATE ON tenancy_tenants DEFERRABLE INITIALLY DEFERRED \
        FOR EACH ROW EXECUTE FUNCTION slow()";
    Postgres::raw(&app.pool, slow).await.unwrap();
    let committing = async || {
        let sql = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'";
        while Postgres::number(&app.pool, sql).await == 0 {}
    };
    let provisioner = app.provisioner(&[Postgres::PROJECTS]);
    let mut created = Vec::new();
    for (n, kind) in Postgres::kinds().into_iter().enumerate() {
        let slug = format!("tenant-{n}");
        tokio::select! {
            created = provisioner.create(App::<Postgres>::new_tenant(&slug, kind)) => panic!("{created:?}"),
            () = committing() => {}
        }
        let tenant = app.store.by_slug(&Slug::parse(&slug).unwrap()).await.unwrap().unwrap();
        let opened = provisioner.resume(tenant.id()).await.unwrap();
        assert_eq!((opened.status(), opened.version()), (TenantStatus::Active, 2));
        created.push(opened);
    }
    for tenant in created {
        app.forget(tenant.placement());
        assert_eq!(app.projects(&tenant).await.unwrap(), [format!("first of {}", tenant.slug())]);
    }
}

/// `B05`: of many buyers at once, each gets a place that is ready, and no two get the same.
async fn b05_a_ready_place_goes_to_one_tenant<DB: TestPlaces>() {
    let mut app = App::<DB>::new().await;
    for (n, kind) in DB::kinds().into_iter().enumerate() {
        let provisioner = Arc::new(app.provisioner(&[DB::PROJECTS]));
        let like = App::<DB>::new_tenant("like", kind).into_tenant();
        provisioner.prepare(like.placement(), 3).await.unwrap();
        provisioner.prepare(like.placement(), 2).await.unwrap();
        let mut buyers = JoinSet::new();
        for buyer in 0..5 {
            let (provisioner, slug) = (provisioner.clone(), format!("buyer-{n}-{buyer}"));
            let new = App::<DB>::new_tenant(&slug, kind);
            buyers.spawn(async move { create_patiently(&provisioner, new).await });
        }
        let tenants: Vec<_> = buyers.join_all().await.into_iter().map(Result::unwrap).collect();
        let mut names = std::collections::HashSet::new();
        let mut ready = 0;
        for tenant in &tenants {
            app.forget(tenant.placement());
            let (Placement::Schema { name } | Placement::Database { name }) = tenant.placement() else {
                panic!()
            };
            ready += u32::from(*name != PlacementName::of(tenant.id()));
            assert!(names.insert(name.clone()), "{name} was given twice");
            assert_eq!(app.projects(tenant).await.unwrap(), [format!("first of {}", tenant.slug())]);
        }
        assert_eq!(ready, 3);
    }
}

/// Two deployments can have a tenant of the same id on one server. The second does not get the place of the first.
async fn the_place_of_another_deployment_is_not_used<DB: TestPlaces>() {
    let (mut first, mut second) = (App::<DB>::new().await, App::<DB>::new().await);
    for (n, kind) in DB::kinds().into_iter().enumerate() {
        let acme =
            first.create(&first.provisioner(&[DB::PROJECTS]), &format!("acme-{n}"), kind).await.unwrap();
        let places = DB::places(&first.pool, first.files.path());
        let same_server = Provisioner::new(second.store.clone(), places, migrator(&[DB::PROJECTS]));
        let new = NewTenant::new(Slug::parse("globex").unwrap(), "globex", "free").id(acme.id().clone());
        let error = same_server.create(kind(new)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
        assert!(error.to_string().contains("another deployment"), "{error}");
        // Neither does a second attempt.
        let error = same_server.resume(acme.id()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
        assert_eq!(first.projects(&acme).await.unwrap(), [format!("first of acme-{n}")]);
        let globex = second.store.by_id(acme.id()).await.unwrap().unwrap();
        assert_eq!(globex.status(), TenantStatus::Provisioning);
        second = App::new().await;
    }
}

/// A migration that sets the search path would put its tables where every tenant is.
#[tokio::test]
async fn a_migration_that_leaves_its_schema_is_an_error() {
    use sqlx::Postgres;

    let mut app = App::<Postgres>::new().await;
    Postgres::raw(&app.pool, "CREATE SCHEMA elsewhere").await.unwrap();
    for (slug, leave, why) in [
        // Where the record of the migration does not fit either.
        ("acme", "SET search_path = elsewhere", "names an object that is not in the database"),
        (
            "globex",
            "SELECT set_config('search_path', 'public', false)",
            "a migration changed the `search_path`",
        ),
    ] {
        let leaving = app.provisioner(&[Postgres::PROJECTS, leave]);
        let error = app.create(&leaving, slug, NewTenant::own_schema).await.unwrap_err();
        assert!(error.to_string().contains("the step `migrate` failed"), "{error}");
        assert!(error.to_string().contains(why), "{error}");
    }
}

/// A place whose preparation broke off is given to nobody, and the next run finishes it.
async fn an_interrupted_preparation_goes_on<DB: TestPlaces>() {
    let mut app = App::<DB>::new().await;
    for (n, kind) in DB::kinds().into_iter().enumerate() {
        let broken = app.provisioner(&[DB::PROJECTS, "CREATE TABLE projects (id bigint)"]);
        let like = App::<DB>::new_tenant("like", kind).into_tenant();
        for _ in 0..2 {
            broken.prepare(like.placement(), 1).await.unwrap_err();
        }
        let count = "SELECT count(*) FROM tenancy_ready_places";
        assert_eq!(DB::number(&app.pool, count).await, 1);
        let corrected = app.provisioner(&[DB::PROJECTS]);
        let early = app.create(&corrected, &format!("early-{n}"), kind).await.unwrap();
        assert_eq!(DB::number(&app.pool, count).await, 1);
        corrected.prepare(like.placement(), 1).await.unwrap();
        assert_eq!(DB::number(&app.pool, count).await, 1);
        let late = app.create(&corrected, &format!("late-{n}"), kind).await.unwrap();
        assert_eq!(DB::number(&app.pool, count).await, 0);
        for (tenant, own) in [(&early, true), (&late, false)] {
            let (Placement::Schema { name } | Placement::Database { name }) = tenant.placement() else {
                panic!()
            };
            assert_eq!(*name == PlacementName::of(tenant.id()), own);
            assert_eq!(app.projects(tenant).await.unwrap(), [format!("first of {}", tenant.slug())]);
        }
    }
}

/// A new database is a copy of the template, also of an old one: the missing migrations run in the copy.
async fn a_new_database_is_copied_from_the_template<DB: TestPlaces>() {
    let mut app = App::<DB>::new().await;
    let name = PlacementName::parse(&format!("template-{}", uuid::Uuid::now_v7().simple())).unwrap();
    app.forget(&Placement::Database { name: name.clone() });
    let old = app.provisioner(&[DB::PROJECTS]).template(name.clone());
    old.update_template().await.unwrap();
    let one = app.create(&old, "one", NewTenant::own_database).await.unwrap();
    let new = app.provisioner(&[DB::PROJECTS, "CREATE TABLE extra (id bigint)"]).template(name);
    let two = app.create(&new, "two", NewTenant::own_database).await.unwrap();
    for tenant in [&one, &two] {
        assert_eq!(app.projects(tenant).await.unwrap(), [format!("first of {}", tenant.slug())]);
    }
    assert_eq!(
        app.provisioner(&[DB::PROJECTS]).update_template().await.unwrap_err().kind(),
        ErrorKind::Misconfigured
    );
    let drift = new.migrations().drift().await.unwrap();
    let missing: Vec<_> =
        drift.iter().filter_map(|d| Some((d.tenant.as_ref()?.slug().as_str(), &d.missing[..]))).collect();
    assert_eq!(missing, [("one", &[2][..])]);
}

/// A copy of the template has everything that was committed to it, also while another process is changing it.
#[tokio::test]
async fn a_copy_of_a_template_in_use_is_complete() {
    use sqlx::{Connection, Executor, Sqlite, SqliteConnection};

    let mut app = App::<Sqlite>::new().await;
    let name = PlacementName::parse("template").unwrap();
    let provisioner = app.provisioner(&[Sqlite::PROJECTS]).template(name.clone());
    provisioner.update_template().await.unwrap();
    let options = tenancy::placement::SqliteFiles::new(app.files.path()).unwrap().connect_options(&name);
    let mut writer = SqliteConnection::connect_with(&options).await.unwrap();
    writer.execute("CREATE TABLE table_2 (id); CREATE TABLE table_3 (id)").await.unwrap();
    let (kind, in_template) = (NewTenant::own_database, 1 << 2 | 1 << 3);
    let during = app.create(&provisioner, "during", kind).await.unwrap();
    writer.close().await.unwrap();
    let after = app.create(&provisioner, "after", kind).await.unwrap();
    for tenant in [&during, &after] {
        let found = Sqlite::number(&app.place(tenant), Sqlite::TABLES).await;
        assert_eq!(found, in_template, "{}", tenant.slug());
        assert_eq!(app.projects(tenant).await.unwrap(), [format!("first of {}", tenant.slug())]);
    }
}

on_every_database!(
    each_kind_of_place_is_provisioned_and_seeded,
    a_failed_step_leaves_the_tenant_closed_and_is_resumed,
    an_interrupted_provisioning_goes_on,
    a_tenant_that_another_run_opened_is_open,
    the_place_of_another_deployment_is_not_used,
    b05_a_ready_place_goes_to_one_tenant,
    an_interrupted_preparation_goes_on,
    a_new_database_is_copied_from_the_template,
);
