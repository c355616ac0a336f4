//! Rows that are hard to copy while they change: exchanged unique values, and keys to rows that come later.

use std::time::Duration;

use futures_util::StreamExt;
use sqlx::{PgPool, Postgres};
use tenancy::context::Actor;
use tenancy::operations::MoveStep;
use tenancy::placement::{PostgresPlaces, Provisioner};
use tenancy::store::SqlStore;
use tenancy::tenant::{Placement, Tenant};
use tokio::runtime::Handle;
use tokio::task::block_in_place;

use crate::common::TestBackend;
use crate::moves::tenant;
use crate::placements::{TABLES, World, migrator};

/// Slides with a slug and a position that no other slide has; notes refer to slides, and replies to notes or slides.
const SLIDES: &str = "CREATE TABLE slides (tenant_id uuid NOT NULL, id bigint NOT NULL, slug text NOT NULL, \
        position bigint NOT NULL, PRIMARY KEY (tenant_id, id), UNIQUE (tenant_id, slug), \
        UNIQUE (tenant_id, position) DEFERRABLE); \
    CREATE TABLE notes (tenant_id uuid NOT NULL, id bigint NOT NULL, slide bigint, parent bigint, \
        PRIMARY KEY (tenant_id, id), FOREIGN KEY (tenant_id, slide) REFERENCES slides, \
        FOREIGN KEY (tenant_id, parent) REFERENCES notes, CHECK (num_nonnulls(slide, parent) = 1))";

async fn run_as(owner: &PgPool, tenant: &Tenant, sql: &str) {
    let sql = sql.replace("TENANT", &format!("'{}'", tenant.id()));
    let sql = format!("BEGIN; SET LOCAL app.tenant_id = '{}'; {sql}; COMMIT", tenant.id());
    Postgres::raw(owner, &sql).await.unwrap();
}

/// The rows in the shared tables, or in a schema, as texts.
async fn slides(owner: &PgPool, tenant: &Tenant, place: &str) -> Vec<String> {
    let mut tx = owner.begin().await.unwrap();
    let set = sqlx::query("SELECT set_config('app.tenant_id', $1, true)").bind(tenant.id().to_string());
    set.execute(&mut *tx).await.unwrap();
    // The old place refuses the tenant.
    sqlx::query("SET LOCAL app.tenancy_move = 'on'").execute(&mut *tx).await.unwrap();
    let sql = format!(
        "SELECT (s.id, slug, position, n.id, n.slide, n.parent)::text FROM {place}.slides s \
         FULL JOIN {place}.notes n ON n.slide = s.id ORDER BY 1"
    );
    sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).fetch_all(&mut *tx).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_exchange_unique_values_while_they_are_copied_are_moved() {
    let world = World::new().await;
    let places = PostgresPlaces::new((*world.owner.connect_options()).clone());
    let places = places.runtime_role(world.app.get_username());
    let provisioner =
        Provisioner::new(SqlStore::new(world.owner.clone()), places, migrator(&[TABLES, SLIDES]));
    let migrated: Vec<_> = provisioner.migrations().run().collect().await;
    assert!(migrated.iter().all(|place| place.as_ref().unwrap().result.is_ok()), "{migrated:?}");
    let (acme, globex) = (tenant(&world, "acme").await, tenant(&world, "globex").await);
    // More than two batches; the replies come before the notes that they reply to.
    let fill = "INSERT INTO slides SELECT TENANT, n, 'slide-' || n, n FROM generate_series(1, 1200) n; \
        INSERT INTO notes SELECT TENANT, n, n, NULL FROM generate_series(1, 300) n; \
        INSERT INTO notes SELECT TENANT, -n, NULL, n FROM generate_series(1, 100) n";
    for tenant in [&acme, &globex] {
        run_as(&world.owner, tenant, fill).await;
    }
    let theirs = slides(&world.owner, &globex, "public").await;
    let target = Placement::schema_of(acme.id());
    let Placement::Schema { name } = &target else { unreachable!() };
    let movement = provisioner.move_to(acme.id(), target.clone(), &Actor::user("ada")).grace(Duration::ZERO);
    let change = "UPDATE slides SET slug = 'moved' WHERE id = 1; UPDATE slides SET slug = 'slide-1' WHERE id = 1200; \
        UPDATE slides SET slug = 'slide-1200' WHERE id = 1; UPDATE slides SET position = position + 1; \
        INSERT INTO slides VALUES (TENANT, 5000, 'first', 1); \
        UPDATE notes SET slide = NULL, parent = 2 WHERE id = 1; UPDATE notes SET slide = 7, parent = NULL WHERE id = -1";
    let mut changed = false;
    let report = movement
        .run(|progress| {
            // The slides are copied.
            if progress.step == MoveStep::Copy && progress.table.as_deref() == Some("notes") && !changed {
                changed = true;
                block_in_place(|| Handle::current().block_on(run_as(&world.owner, &acme, change)));
            }
        })
        .await
        .unwrap();
    assert!(changed);
    assert_eq!((report.tables["slides"], report.tables["notes"]), (1201, 400));
    let moved = slides(&world.owner, &acme, &format!("\"{name}\"")).await;
    for row in ["(1,slide-1200,2,,,)", "(1200,slide-1,1201,,,)", "(5000,first,1,,,)", "(,,,1,,2)"] {
        assert!(moved.iter().any(|found| found == row), "{row}: {moved:?}");
    }
    assert!(slides(&world.owner, &acme, "public").await.is_empty());
    assert_eq!(slides(&world.owner, &globex, "public").await, theirs);
    let back = provisioner.move_to(acme.id(), Placement::Shared, &Actor::user("ada")).grace(Duration::ZERO);
    back.run(|_| {}).await.unwrap();
    assert_eq!(slides(&world.owner, &acme, "public").await, moved);
}
