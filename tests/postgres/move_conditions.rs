//! What forbids a move, and what a move forbids others to do.

use std::time::{Duration, Instant};

use futures_util::StreamExt;
use sqlx::{PgPool, Postgres};
use tenancy::context::Actor;
use tenancy::operations::{Move, MoveStep};
use tenancy::placement::{PostgresPlaces, Provisioner};
use tenancy::quota::Gauge;
use tenancy::store::SqlStore;
use tenancy::tenant::{NewTenant, Placement, Slug, Suspension, Tenant};
use tenancy::{ErrorKind, TenantScoped};
use tokio::runtime::Handle;

use crate::common::TestBackend;
use crate::moves::{data_plane, drop_database, insert, tenant};
use crate::placements::{Project, TABLES, World, migrator};

/// The plan of a move has this reason, the move is refused for it, and nothing begins.
async fn refused(world: &World, movement: &Move<Postgres>, why: &str) {
    let plan = movement.plan().await.unwrap();
    assert!(plan.refused.iter().any(|one| one.contains(why)), "{why}: {plan}");
    let error = movement.run(|_| {}).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Misconfigured);
    assert!(error.to_string().contains(why), "{error}");
    assert!(world.provisioner.unfinished_moves().await.unwrap().is_empty());
}

fn to(world: &World, tenant: &Tenant, target: &Placement) -> Move<Postgres> {
    world.provisioner.move_to(tenant.id(), target.clone(), &Actor::user("ada")).grace(Duration::ZERO)
}

async fn rows(world: &World, tenant: &Tenant) -> u64 {
    let ctx = world.directory.context(tenant.id(), Actor::user("bob")).await.unwrap();
    Project::count(&data_plane(world).await.scope(&ctx)).await.unwrap()
}

/// What a plan refuses is refused by name, and changes nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plan_names_what_forbids_a_move() {
    let world = World::new().await;
    let acme = tenant(&world, "acme").await;
    let db = data_plane(&world).await;
    let ctx = world.directory.context(acme.id(), Actor::user("bob")).await.unwrap();
    insert(&db, &ctx, 1).await.unwrap();
    let target = Placement::schema_of(acme.id());
    let plan = to(&world, &acme, &target).plan().await.unwrap();
    assert!(plan.refused.is_empty(), "{plan}");
    let projects = plan.tables.iter().find(|table| table.name == "projects").unwrap();
    assert_eq!(projects.rows, 1);
    assert!(projects.bytes > 5);
    refused(&world, &to(&world, &acme, &Placement::Shared), "is there already").await;
    let places = || PostgresPlaces::new((*world.owner.connect_options()).clone());
    let other = async |places, why: &str| {
        let store = SqlStore::new(world.owner.clone());
        let provisioner = Provisioner::new(store, places, migrator(&[TABLES]));
        refused(&world, &provisioner.move_to(acme.id(), target.clone(), &Actor::user("ada")), why).await;
    };
    other(places(), "`PostgresPlaces::runtime_role`").await;
    other(places().runtime_role("postgres"), "does not apply to the role `postgres`").await;
    other(places().runtime_role("nobody_here"), "`nobody_here` does not exist").await;
    let refused_after = async |sql: &str, why: &str| {
        Postgres::raw(&world.owner, sql).await.unwrap();
        refused(&world, &to(&world, &acme, &target), why).await;
    };
    refused_after("ALTER TABLE tasks NO FORCE ROW LEVEL SECURITY", "is not forced on `tasks`").await;
    refused_after(
        "ALTER TABLE tasks FORCE ROW LEVEL SECURITY; CREATE RULE twice AS ON INSERT TO tasks DO ALSO NOTIFY tasks",
        "the rule `twice` of `tasks`",
    )
    .await;
    refused_after(
        "DROP RULE twice ON tasks; ALTER TABLE tasks DROP CONSTRAINT tasks_pkey",
        "`tasks` has no primary key",
    )
    .await;
    assert_eq!(Project::count(&db.scope(&ctx)).await.unwrap(), 1);
}

/// A trigger that fails whenever it runs, with this condition.
async fn trigger(on: &PgPool, table: &str, condition: &str) {
    let sql = format!(
        "CREATE OR REPLACE FUNCTION public.fail() RETURNS trigger LANGUAGE plpgsql AS \
         'BEGIN RAISE EXCEPTION ''the trigger ran''; END'; \
         CREATE OR REPLACE TRIGGER guard BEFORE INSERT OR UPDATE OR DELETE ON {table} FOR EACH ROW {condition} \
         EXECUTE FUNCTION public.fail()"
    );
    Postgres::raw(on, &sql).await.unwrap();
}

const UNLESS_COPIED: &str = "current_setting('app.tenancy_copy', true) IS DISTINCT FROM 'on'";

/// A trigger forbids a move, an import and a restore, unless its condition is false while rows are copied.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trigger_does_not_run_for_copied_rows() {
    let world = World::new().await;
    let (acme, globex) = (tenant(&world, "acme").await, tenant(&world, "globex").await);
    let db = data_plane(&world).await;
    for (tenant, count) in [(&acme, 3), (&globex, 2)] {
        let ctx = world.directory.context(tenant.id(), Actor::user("bob")).await.unwrap();
        for id in 1..=count {
            insert(&db, &ctx, id).await.unwrap();
        }
    }
    let (schema, shared) = (Placement::schema_of(acme.id()), Placement::Shared);
    let mut bundle = Vec::new();
    world.provisioner.export(acme.id()).write_to(&mut bundle).await.unwrap();
    let new = |slug: &str| NewTenant::new(Slug::parse(slug).unwrap(), slug, "enterprise");
    let conditions = [
        String::new(),
        format!("WHEN (NOT {UNLESS_COPIED})"),
        format!("WHEN ({UNLESS_COPIED} OR current_user = 'nobody')"),
        format!("WHEN ({UNLESS_COPIED} AND true OR current_user = 'nobody')"),
    ];
    for condition in conditions {
        trigger(&world.owner, "public.projects", &condition).await;
        refused(&world, &to(&world, &acme, &schema), "the trigger `guard` of `projects`").await;
        let error =
            world.provisioner.import(&bundle[..], new("copy"), &Actor::user("ada")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Misconfigured, "{condition}");
        assert!(error.to_string().contains("app.tenancy_copy"), "{error}");
    }
    for condition in [
        format!("WHEN ({UNLESS_COPIED})"),
        format!("WHEN ({UNLESS_COPIED} AND (current_user <> 'nobody' OR current_user <> 'somebody'))"),
    ] {
        trigger(&world.owner, "public.projects", &condition).await;
        // The trigger works for the application.
        let theirs = world.directory.context(globex.id(), Actor::user("bob")).await.unwrap();
        assert_eq!(insert(&db, &theirs, 9).await.unwrap_err().kind(), ErrorKind::Database);
        to(&world, &acme, &schema).run(|_| {}).await.unwrap();
        assert_eq!(rows(&world, &acme).await, 3);
        to(&world, &acme, &shared).run(|_| {}).await.unwrap();
        assert_eq!((rows(&world, &acme).await, rows(&world, &globex).await), (3, 2));
    }
    let copy = world.provisioner.import(&bundle[..], new("copy"), &Actor::user("ada")).await.unwrap().tenant;
    assert_eq!(rows(&world, &copy).await, 3);
    let store = SqlStore::new(world.owner.clone());
    store.suspend(acme.id(), Suspension::new("a restore").unwrap(), &Actor::user("ada")).await.unwrap();
    let restore = world.provisioner.restore(acme.id(), &bundle[..]).await.unwrap();
    restore.apply(acme.slug(), &Actor::user("ada")).await.unwrap();
    store.resume(acme.id(), "restored", &Actor::user("ada")).await.unwrap();
    assert_eq!(rows(&world, &acme).await, 3);
    // What the shared tables refuse is found before a move out of a schema begins.
    to(&world, &acme, &schema).run(|_| {}).await.unwrap();
    trigger(&world.owner, "public.projects", "").await;
    refused(&world, &to(&world, &acme, &shared), "the trigger `guard` of `projects`").await;
}

/// A view over the schema of a tenant is never dropped with it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_schema_on_which_a_view_depends_is_not_dropped() {
    let world = World::new().await;
    let acme = tenant(&world, "acme").await;
    let target = Placement::schema_of(acme.id());
    to(&world, &acme, &target).run(|_| {}).await.unwrap();
    let Placement::Schema { name } = &target else { unreachable!() };
    let create = format!("CREATE VIEW public.report AS SELECT * FROM \"{name}\".projects");
    Postgres::raw(&world.owner, &create).await.unwrap();
    refused(&world, &to(&world, &acme, &Placement::Shared), "the view public.report depends on").await;
    let store = SqlStore::new(world.owner.clone());
    store.suspend(acme.id(), Suspension::new("closing").unwrap(), &Actor::user("ada")).await.unwrap();
    let deletion = world.provisioner.deletion(acme.id(), &Actor::user("ada"));
    for error in [deletion.plan().await.unwrap_err(), deletion.run(acme.slug()).await.unwrap_err()] {
        assert_eq!(error.kind(), ErrorKind::Misconfigured);
        assert!(error.to_string().contains("the view public.report depends on"), "{error}");
    }
    store.resume(acme.id(), "not yet", &Actor::user("ada")).await.unwrap();
    // One that is created during the move stops the end of it.
    Postgres::raw(&world.owner, "DROP VIEW public.report").await.unwrap();
    let back = to(&world, &acme, &Placement::Shared);
    let mut last = MoveStep::Prepare;
    let moved = back.run(|progress| {
        if progress.step == MoveStep::Fence && last < MoveStep::Fence {
            tokio::task::block_in_place(|| Handle::current().block_on(Postgres::raw(&world.owner, &create)))
                .unwrap();
        }
        last = progress.step;
    });
    let error = moved.await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    assert_eq!(last, MoveStep::CleanUp);
    let unfinished = world.provisioner.unfinished_moves().await.unwrap();
    assert!(unfinished[0].error.as_deref().unwrap().contains("report"), "{unfinished:?}");
    let views: i64 = sqlx::query_scalar("SELECT count(*) FROM pg_views WHERE viewname = 'report'")
        .fetch_one(&world.owner)
        .await
        .unwrap();
    assert_eq!(views, 1);
    Postgres::raw(&world.owner, "DROP VIEW public.report").await.unwrap();
    back.run(|_| {}).await.unwrap();
    assert!(world.provisioner.unfinished_moves().await.unwrap().is_empty());
}

/// While the old place is kept, migrations run in the new one; a second process leaves the running move alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_move_keeps_others_away_from_the_place_that_it_drops() {
    let world = World::new().await;
    let acme = tenant(&world, "acme").await;
    let _database = drop_database(&acme);
    let target = Placement::database_of(acme.id());
    to(&world, &acme, &Placement::schema_of(acme.id())).run(|_| {}).await.unwrap();
    let movement = to(&world, &acme, &target).grace(Duration::from_mins(1));
    let (send, mut steps) = tokio::sync::mpsc::unbounded_channel();
    let run = movement.run(move |progress| send.send(progress.step).unwrap());
    let deletion = world.provisioner.deletion(acme.id(), &Actor::user("ada"));
    let others = async {
        while steps.recv().await.unwrap() != MoveStep::CleanUp {}
        let deadline = Instant::now() + Duration::from_mins(1);
        // Its place is locked until the rows of the old one are deleted.
        loop {
            let migrated: Vec<_> = world.provisioner.migrations().run().collect().await;
            if migrated.iter().all(|place| place.as_ref().unwrap().result.is_ok()) {
                break;
            }
            assert!(Instant::now() < deadline, "{migrated:?}");
        }
        let error = to(&world, &acme, &target).run(|_| {}).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Retryable, "{error}");
        let unfinished = world.provisioner.unfinished_moves().await.unwrap();
        assert_eq!((unfinished[0].step, &unfinished[0].error), (MoveStep::CleanUp, &None));
        assert_eq!(deletion.run(acme.slug()).await.unwrap_err().kind(), ErrorKind::Retryable);
    };
    tokio::select! {
        moved = run => panic!("the grace period is over: {moved:?}"),
        () = others => {}
    }
    // The process ended during the grace period. Its session can still hold the lock.
    let deadline = Instant::now() + Duration::from_mins(1);
    let mut refused = deletion.run(acme.slug()).await.unwrap_err();
    while refused.kind() == ErrorKind::Retryable {
        assert!(Instant::now() < deadline, "{refused}");
        refused = deletion.run(acme.slug()).await.unwrap_err();
    }
    assert_eq!(refused.kind(), ErrorKind::Conflict, "{refused}");
    let mut moved = to(&world, &acme, &target).run(|_| {}).await;
    let deadline = Instant::now() + Duration::from_mins(1);
    while moved.as_ref().is_err_and(|e| e.kind() == ErrorKind::Retryable) {
        assert!(Instant::now() < deadline, "{moved:?}");
        moved = to(&world, &acme, &target).run(|_| {}).await;
    }
    moved.unwrap();
}

/// A tenant that was moved is deleted with the fences at its old places.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_that_was_moved_is_deleted_without_a_trace() {
    let world = World::new().await;
    let (acme, globex) = (tenant(&world, "acme").await, tenant(&world, "globex").await);
    let db = data_plane(&world).await;
    for tenant in [&acme, &globex] {
        let ctx = world.directory.context(tenant.id(), Actor::user("bob")).await.unwrap();
        insert(&db, &ctx, 1).await.unwrap();
        to(&world, tenant, &Placement::schema_of(tenant.id())).run(|_| {}).await.unwrap();
    }
    let fences = async || -> Vec<String> {
        let sql = "SELECT DISTINCT tenant_id FROM tenancy_fences";
        sqlx::query_scalar(sql).fetch_all(&world.owner).await.unwrap()
    };
    assert_eq!(fences().await.len(), 2);
    let store = SqlStore::new(world.owner.clone());
    store.suspend(acme.id(), Suspension::new("closing").unwrap(), &Actor::user("ada")).await.unwrap();
    let receipt = world.provisioner.deletion(acme.id(), &Actor::user("ada")).run(acme.slug()).await.unwrap();
    assert_eq!(receipt.tables["projects"], 1);
    assert_eq!(fences().await, [globex.id().to_string()]);
    let schemas: Vec<String> =
        sqlx::query_scalar("SELECT nspname::text FROM pg_namespace WHERE nspname LIKE 't!_%' ESCAPE '!'")
            .fetch_all(&world.owner)
            .await
            .unwrap();
    let Placement::Schema { name } = Placement::schema_of(globex.id()) else { unreachable!() };
    assert_eq!(schemas, [name.to_string()]);
    assert_eq!(rows(&world, &globex).await, 1);
    let ctx = world.directory.context(globex.id(), Actor::user("bob")).await.unwrap();
    assert_eq!(Gauge::new("projects").usage(&db.scope(&ctx)).await.unwrap().used, 1);
}
