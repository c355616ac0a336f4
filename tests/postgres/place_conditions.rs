//! What else is in a place and around it: what would be lost with a place, and what moves with its rows.

use std::time::{Duration, Instant};

use futures_util::StreamExt;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection, PgPool, Postgres};
use tenancy::context::Actor;
use tenancy::isolation::RlsPolicies;
use tenancy::operations::{Move, MoveStep};
use tenancy::placement::{PostgresPlaces, Provisioner};
use tenancy::scope::Schema;
use tenancy::store::SqlStore;
use tenancy::tenant::{NewTenant, Placement, PlacementName, Suspension, Tenant, TenantId};
use tenancy::{ErrorKind, TenantContext, TenantScoped};

use crate::common::{TestBackend, admin_url};
use crate::moves::{OtherServer, data_plane, drop_database, insert, tenant};
use crate::placements::{Project, TABLES, World, migrator};

fn to(provisioner: &Provisioner<Postgres>, tenant: &TenantId, target: Placement) -> Move<Postgres> {
    provisioner.move_to(tenant, target, &Actor::user("ada")).grace(Duration::ZERO)
}

async fn refused(movement: &Move<Postgres>, why: &str) {
    let plan = movement.plan().await.unwrap();
    assert!(plan.refused.iter().any(|one| one.contains(why)), "{why}: {plan}");
    let error = movement.run(|_| {}).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Misconfigured);
    assert!(error.to_string().contains(why), "{error}");
}

async fn admitted(movement: &Move<Postgres>) {
    let plan = movement.plan().await.unwrap();
    assert!(plan.refused.is_empty(), "{plan}");
}

/// As a superuser, in the database of the shared tables.
async fn admin(world: &World) -> PgPool {
    let options: PgConnectOptions = admin_url().parse().unwrap();
    PgPool::connect_with(options.database(world.app.get_database().unwrap())).await.unwrap()
}

async fn suspend(world: &World, tenant: &TenantId) {
    let store = SqlStore::new(world.owner.clone());
    store.suspend(tenant, Suspension::new("closing").unwrap(), &Actor::user("ada")).await.unwrap();
}

async fn resume(world: &World, tenant: &TenantId) {
    SqlStore::new(world.owner.clone()).resume(tenant, "not yet", &Actor::user("ada")).await.unwrap();
}

async fn rows(world: &World, tenant: &TenantId) -> u64 {
    let ctx = world.directory.context(tenant, Actor::user("bob")).await.unwrap();
    Project::count(&data_plane(world).await.scope(&ctx)).await.unwrap()
}

/// A connection of the application's role in this transaction of a tenant.
async fn as_tenant(options: &PgConnectOptions, tenant: &TenantId) -> PgConnection {
    let mut conn = options.connect().await.unwrap();
    let set = sqlx::query("SELECT set_config('app.tenant_id', $1, false)").bind(tenant.to_string());
    set.execute(&mut conn).await.unwrap();
    conn
}

async fn send(conn: &mut PgConnection, sql: &str) -> sqlx::Result<u64> {
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(conn).await.map(|done| done.rows_affected())
}

async fn number(conn: &mut PgConnection, sql: &str) -> i64 {
    sqlx::query_scalar(AssertSqlSafe(sql.to_owned())).fetch_one(conn).await.unwrap()
}

/// A provisioner of an application with more tables, which the shared tables have.
async fn application(world: &World, more: &str) -> Provisioner<Postgres> {
    let places =
        PostgresPlaces::new((*world.owner.connect_options()).clone()).runtime_role(world.app.get_username());
    let store = SqlStore::new(world.owner.clone());
    let provisioner = Provisioner::new(store, places, migrator(&[TABLES, more]));
    let migrated: Vec<_> = provisioner.migrations().run().collect().await;
    assert!(migrated.iter().all(|place| place.as_ref().unwrap().result.is_ok()), "{migrated:?}");
    provisioner
}

fn name_of(ctx: &TenantContext) -> PlacementName {
    PlacementName::of(ctx.tenant_id())
}

/// The rows of a table without the tenant column are never deleted with the rows that they refer to.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_child_without_the_tenant_column_keeps_its_rows() {
    for action in ["CASCADE", "SET NULL", "NO ACTION", "RESTRICT"] {
        let world = World::new().await;
        let (acme, globex) = (tenant(&world, "acme").await, tenant(&world, "globex").await);
        let db = data_plane(&world).await;
        for tenant in [&acme, &globex] {
            let ctx = world.directory.context(tenant.id(), Actor::user("bob")).await.unwrap();
            insert(&db, &ctx, 1).await.unwrap();
        }
        let schema = Placement::schema_of(acme.id());
        let create = format!(
            "CREATE TABLE project_files (owner uuid, project_id bigint, path text, \
                FOREIGN KEY (owner, project_id) REFERENCES projects ON DELETE {action})"
        );
        Postgres::raw(&world.owner, &create).await.unwrap();
        // An empty table, and one with rows of other tenants, forbids nothing.
        let file = |of: &Tenant| format!("INSERT INTO project_files VALUES ('{}', 1, 'a file')", of.id());
        Postgres::raw(&world.owner, &file(&globex)).await.unwrap();
        admitted(&to(&world.provisioner, acme.id(), schema.clone())).await;
        let mut bundle = Vec::new();
        world.provisioner.export(acme.id()).write_to(&mut bundle).await.unwrap();
        Postgres::raw(&world.owner, &file(&acme)).await.unwrap();
        let files = "SELECT count(*) FROM project_files WHERE project_id = 1 AND owner IS NOT NULL";

        let why = "`project_files` has no tenant column, and has rows that refer to rows of the tenant in `projects`";
        refused(&to(&world.provisioner, acme.id(), schema.clone()), why).await;
        suspend(&world, acme.id()).await;
        let restore = world.provisioner.restore(acme.id(), &bundle[..]).await.unwrap();
        let deletion = world.provisioner.deletion(acme.id(), &Actor::user("ada"));
        for error in [
            restore.apply(acme.slug(), &Actor::user("ada")).await.unwrap_err(),
            deletion.plan().await.unwrap_err(),
            deletion.run(acme.slug()).await.unwrap_err(),
        ] {
            assert_eq!(error.kind(), ErrorKind::Misconfigured, "{error}");
            assert!(error.to_string().contains(why), "{error}");
        }
        resume(&world, acme.id()).await;
        assert_eq!(Postgres::number(&world.owner, files).await, 2, "{action}");
        assert_eq!(rows(&world, acme.id()).await, 1);

        // Rows that nobody can count forbid it too.
        let hide = "ALTER TABLE project_files ENABLE ROW LEVEL SECURITY; ALTER TABLE project_files FORCE ROW LEVEL SECURITY";
        Postgres::raw(&world.owner, hide).await.unwrap();
        let why = "its rows cannot be counted";
        refused(&to(&world.provisioner, acme.id(), schema.clone()), why).await;
        let show = format!(
            "ALTER TABLE project_files DISABLE ROW LEVEL SECURITY; DELETE FROM project_files WHERE owner = '{}'",
            acme.id()
        );
        Postgres::raw(&world.owner, &show).await.unwrap();
        for target in [schema, Placement::Shared] {
            to(&world.provisioner, acme.id(), target).run(|_| {}).await.unwrap();
        }
        suspend(&world, acme.id()).await;
        world.provisioner.deletion(acme.id(), &Actor::user("ada")).run(acme.slug()).await.unwrap();
        assert_eq!(Postgres::number(&world.owner, files).await, 1, "the file of the other tenant");
        assert_eq!(rows(&world, globex.id()).await, 1);
    }
}

/// Everything that an application creates in a schema is dropped with it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_schema_is_dropped_with_all_that_is_in_it() {
    const EVERYTHING: &str = "
        CREATE TYPE mood AS ENUM ('fine', 'bad day'); CREATE DOMAIN positive AS int CHECK (VALUE > 0);
        CREATE TYPE pair AS (a int, b text); CREATE TYPE span AS RANGE (subtype = float8);
        CREATE TABLE orders (tenant_id uuid NOT NULL, id bigserial PRIMARY KEY, number bigint GENERATED ALWAYS AS IDENTITY,
            mood mood DEFAULT 'fine', pair pair, amount positive, span span, country text REFERENCES public.countries, body text,
            lower text GENERATED ALWAYS AS (lower(body)) STORED, UNIQUE (tenant_id, id));
        CREATE TABLE lines (tenant_id uuid NOT NULL, id int, order_id bigint, at date, PRIMARY KEY (id, at),
            FOREIGN KEY (tenant_id, order_id) REFERENCES orders (tenant_id, id) ON DELETE CASCADE) PARTITION BY RANGE (at);
        CREATE TABLE lines_1 PARTITION OF lines FOR VALUES FROM ('2026-01-01') TO ('2027-01-01') PARTITION BY LIST (id);
        CREATE TABLE lines_2 PARTITION OF lines_1 DEFAULT;
        CREATE INDEX ON lines (order_id); CREATE UNIQUE INDEX ON orders (lower(body));
        CREATE TABLE old_orders () INHERITS (orders);
        CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
        CREATE TRIGGER touch BEFORE INSERT ON lines FOR EACH ROW EXECUTE FUNCTION touch();
        CREATE VIEW report AS SELECT * FROM orders; CREATE MATERIALIZED VIEW countries AS SELECT * FROM public.countries;
        CREATE RULE nothing AS ON INSERT TO report DO INSTEAD NOTHING;
        CREATE STATISTICS both_columns ON id, number FROM orders;
        CREATE FUNCTION first(int, int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1';
        CREATE AGGREGATE firsts(int) (sfunc = first, stype = int);
        CREATE OPERATOR ### (leftarg = int, rightarg = int, function = first);
        CREATE COLLATION german (provider = icu, locale = 'de'); CREATE TEXT SEARCH CONFIGURATION words (COPY = english);
        CREATE TABLE texts (body text COLLATE german, found tsvector);
        CREATE INDEX ON texts USING gin (to_tsvector('words'::regconfig, body));
        CREATE POLICY everybody ON texts USING (true);
        ALTER DEFAULT PRIVILEGES IN SCHEMA \"PLACE\" GRANT SELECT ON TABLES TO CURRENT_USER;
        INSERT INTO texts VALUES ('a')";
    let mut world = World::new().await;
    Postgres::raw(&world.owner, "CREATE TABLE countries (code text PRIMARY KEY)").await.unwrap();
    let (acme, globex) = (
        world.create("acme", NewTenant::own_schema).await,
        world.create("globex", NewTenant::own_schema).await,
    );
    for ctx in [&acme, &globex] {
        let name = name_of(ctx);
        let sql = format!("SET search_path = \"{name}\"; {}", EVERYTHING.replace("PLACE", name.as_str()));
        let mut owner = world.owner.acquire().await.unwrap().detach();
        send(&mut owner, &sql).await.unwrap();
    }
    suspend(&world, acme.tenant_id()).await;
    let deletion = world.provisioner.deletion(acme.tenant_id(), &Actor::user("ada"));
    assert!(deletion.plan().await.unwrap().drops_place);
    deletion.run(acme.tenant().slug()).await.unwrap();
    for (ctx, schemas) in [(&acme, 0), (&globex, 1)] {
        let sql = format!("SELECT count(*) FROM pg_namespace WHERE nspname = '{}'", name_of(ctx));
        assert_eq!(Postgres::number(&world.owner, &sql).await, schemas);
    }
    let texts = format!("SELECT count(*) FROM \"{}\".texts", name_of(&globex));
    assert_eq!(Postgres::number(&world.owner, &texts).await, 1);
    assert_eq!(
        Postgres::number(&world.owner, "SELECT count(*) FROM pg_class WHERE relname = 'countries'").await,
        2
    );
}

/// What is created; how it is named; a count that must stay as it is; what allows the drop.
const OUTSIDE: [(&str, &str, &str, &str); 10] = [
    (
        "CREATE EXTENSION btree_gist SCHEMA ACME; SET search_path = GLOBEX, ACME; \
             CREATE TABLE bookings (room int, during tsrange, EXCLUDE USING gist (room WITH =, during WITH &&))",
        "extension btree_gist",
        "SELECT count(*) FROM pg_constraint WHERE contype = 'x'",
        "ALTER EXTENSION btree_gist SET SCHEMA public",
    ),
    (
        "CREATE COLLATION ACME.german (provider = icu, locale = 'de'); \
             CREATE TABLE GLOBEX.people (id int, name text COLLATE ACME.german)",
        "column name of table",
        "SELECT count(*) FROM pg_attribute WHERE attname = 'name' AND attrelid = 'GLOBEX.people'::regclass",
        "DROP TABLE GLOBEX.people",
    ),
    (
        "CREATE TEXT SEARCH CONFIGURATION ACME.words (COPY = english); CREATE TABLE GLOBEX.docs (body text, \
             found tsvector GENERATED ALWAYS AS (to_tsvector('ACME.words'::regconfig, body)) STORED)",
        "column found of table",
        "SELECT count(*) FROM pg_attribute WHERE attname = 'found' AND attrelid = 'GLOBEX.docs'::regclass",
        "DROP TABLE GLOBEX.docs",
    ),
    (
        "CREATE FUNCTION ACME.guard() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END'; \
             CREATE EVENT TRIGGER guard ON ddl_command_end EXECUTE FUNCTION ACME.guard()",
        "event trigger guard",
        "SELECT count(*) FROM pg_event_trigger",
        "DROP EVENT TRIGGER guard",
    ),
    (
        "CREATE FUNCTION ACME.to_point(int) RETURNS point LANGUAGE sql IMMUTABLE AS 'SELECT point($1, $1)'; \
             CREATE CAST (int AS point) WITH FUNCTION ACME.to_point(int)",
        "cast from integer to point",
        "SELECT count(*) FROM pg_cast WHERE castsource = 'int'::regtype AND casttarget = 'point'::regtype",
        "DROP CAST (int AS point)",
    ),
    (
        "CREATE FUNCTION ACME.first(int, int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1'; \
             CREATE OPERATOR GLOBEX.### (leftarg = int, rightarg = int, function = ACME.first)",
        "operator",
        "SELECT count(*) FROM pg_operator WHERE oprname = '###'",
        "DROP OPERATOR GLOBEX.### (int, int)",
    ),
    (
        "CREATE TABLE public.events (tenant_id text, id int) PARTITION BY LIST (tenant_id); \
             CREATE TABLE ACME.events_globex PARTITION OF public.events FOR VALUES IN ('globex'); \
             INSERT INTO public.events VALUES ('globex', 1)",
        "partition",
        "SELECT count(*) FROM public.events",
        "DROP TABLE public.events",
    ),
    (
        "CREATE TABLE ACME.parted (tenant_id text, id int) PARTITION BY LIST (tenant_id); \
             CREATE TABLE GLOBEX.part PARTITION OF ACME.parted FOR VALUES IN ('globex'); \
             INSERT INTO GLOBEX.part VALUES ('globex', 1); ALTER TABLE ACME.parted OWNER TO OWNER_ROLE",
        "part",
        "SELECT count(*) FROM GLOBEX.part",
        "ALTER TABLE ACME.parted DETACH PARTITION GLOBEX.part",
    ),
    (
        "CREATE TABLE GLOBEX.notes (tenant uuid, project bigint, FOREIGN KEY (tenant, project) REFERENCES ACME.projects)",
        "constraint notes",
        "SELECT count(*) FROM pg_constraint WHERE contype = 'f' AND conrelid = 'GLOBEX.notes'::regclass",
        "DROP TABLE GLOBEX.notes",
    ),
    (
        "CREATE TABLE GLOBEX.ids (id bigint DEFAULT nextval('ACME.tasks_id_seq'))",
        "default value for column id",
        "SELECT count(*) FROM pg_attrdef WHERE adrelid = 'GLOBEX.ids'::regclass",
        "DROP TABLE GLOBEX.ids",
    ),
];

/// What another tenant has outside of a schema is never dropped with the schema, whatever connects them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_outside_of_a_schema_is_dropped_with_it() {
    let mut world = World::new().await;
    let admin = admin(&world).await;
    let acme = world.create("acme", NewTenant::own_schema).await;
    let globex = world.create("globex", NewTenant::own_schema).await;
    let owner: String =
        sqlx::query_scalar("SELECT current_user::text").fetch_one(&world.owner).await.unwrap();
    let names = |sql: &str| {
        let [acme, globex] = [&acme, &globex].map(|ctx| format!("\"{}\"", name_of(ctx)));
        sql.replace("ACME", &acme).replace("GLOBEX", &globex).replace("OWNER_ROLE", &owner)
    };
    let deletion = world.provisioner.deletion(acme.tenant_id(), &Actor::user("ada"));
    for (create, what, count, allow) in OUTSIDE {
        let mut conn = admin.acquire().await.unwrap().detach();
        send(&mut conn, &names(create)).await.unwrap();
        let before = number(&mut conn, &names(count)).await;
        assert!(before > 0, "{count}");
        for error in
            [deletion.plan().await.unwrap_err(), deletion.run(acme.tenant().slug()).await.unwrap_err()]
        {
            assert_eq!(error.kind(), ErrorKind::Misconfigured, "{error}");
            assert!(error.to_string().contains(what), "{what}: {error}");
        }
        refused(&to(&world.provisioner, acme.tenant_id(), Placement::Shared), what).await;
        assert_eq!(number(&mut conn, &names(count)).await, before, "{what}");
        send(&mut conn, &names(allow)).await.unwrap();
        deletion.plan().await.unwrap();
    }
    suspend(&world, acme.tenant_id()).await;
    deletion.run(acme.tenant().slug()).await.unwrap();
    let left = "SELECT count(*) FROM pg_constraint WHERE contype = 'x'";
    assert_eq!(Postgres::number(&world.owner, left).await, 1, "the constraint of the other tenant");
    let tables = names(
        "SELECT count(*) FROM pg_class WHERE oid IN ('GLOBEX.part'::regclass, 'GLOBEX.bookings'::regclass)",
    );
    assert_eq!(Postgres::number(&world.owner, &tables).await, 2);
    // The tables of a superuser are not for the owner to drop.
    send(&mut admin.acquire().await.unwrap(), &names("DROP SCHEMA GLOBEX CASCADE")).await.unwrap();
    admin.close().await;
}

const CLICKS: &str = "CREATE TABLE clicks (tenant_id uuid NOT NULL, id bigint NOT NULL, day date NOT NULL, \
        PRIMARY KEY (tenant_id, id, day)) PARTITION BY RANGE (day); \
    CREATE TABLE clicks_old PARTITION OF clicks FOR VALUES FROM (MINVALUE) TO ('2026-01-01') PARTITION BY LIST (id); \
    CREATE TABLE clicks_rest PARTITION OF clicks_old DEFAULT; \
    CREATE TABLE clicks_new PARTITION OF clicks FOR VALUES FROM ('2026-01-01') TO (MAXVALUE)";

/// A statement that names a partition is refused as one that names its parent; its triggers and its security count.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partition_is_fenced_as_its_parent() {
    let world = World::new().await;
    let provisioner = application(&world, CLICKS).await;
    let (acme, globex) = (tenant(&world, "acme").await, tenant(&world, "globex").await);
    let role = world.app.get_username();
    let grant = format!("GRANT ALL ON clicks_old, clicks_rest, clicks_new TO {role}");
    Postgres::raw(&world.owner, &grant).await.unwrap();
    let insert = |of: &Tenant, into: &str, id: i64| {
        format!("INSERT INTO {into} VALUES ('{}', {id}, '2025-05-05')", of.id())
    };
    for tenant in [&acme, &globex] {
        let mut app = as_tenant(&world.app, tenant.id()).await;
        send(&mut app, &insert(tenant, "clicks", 1)).await.unwrap();
        send(&mut app, &insert(tenant, "clicks_rest", 2)).await.unwrap();
    }
    let movement = to(&provisioner, acme.id(), Placement::schema_of(acme.id()));
    for (forbid, why, allow) in [
        (
            "CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''the trigger ran''; END'; \
             CREATE TRIGGER guard BEFORE DELETE ON clicks_rest FOR EACH ROW EXECUTE FUNCTION fail()",
            "the trigger `guard` of `clicks_rest`",
            "DROP TRIGGER guard ON clicks_rest",
        ),
        (
            "ALTER TABLE clicks_rest NO FORCE ROW LEVEL SECURITY",
            "row-level security is not forced on `clicks_rest`",
            "ALTER TABLE clicks_rest FORCE ROW LEVEL SECURITY",
        ),
    ] {
        Postgres::raw(&world.owner, forbid).await.unwrap();
        refused(&movement, why).await;
        Postgres::raw(&world.owner, allow).await.unwrap();
    }
    // A key can refer to a partition alone.
    let files = "CREATE TABLE files (owner uuid, click bigint, day date, \
        FOREIGN KEY (owner, click, day) REFERENCES clicks_rest ON DELETE CASCADE)";
    Postgres::raw(&world.owner, files).await.unwrap();
    let file = |of: &Tenant| format!("INSERT INTO files VALUES ('{}', 2, '2025-05-05')", of.id());
    Postgres::raw(&world.owner, &file(&globex)).await.unwrap();
    admitted(&movement).await;
    Postgres::raw(&world.owner, &file(&acme)).await.unwrap();
    refused(&movement, "rows that refer to rows of the tenant in `clicks`").await;
    let remove = format!("DELETE FROM files WHERE owner = '{}'", acme.id());
    Postgres::raw(&world.owner, &remove).await.unwrap();
    admitted(&movement).await;
    let mut at_switch = false;
    let checks = movement.run(|progress| {
        if progress.step != MoveStep::Switch {
            return;
        }
        at_switch = true;
        let work = async {
            let (mut ours, mut theirs) =
                (as_tenant(&world.app, acme.id()).await, as_tenant(&world.app, globex.id()).await);
            for table in ["clicks", "clicks_old", "clicks_rest"] {
                for sql in [
                    insert(&acme, table, 3),
                    format!("SELECT * FROM {table} WHERE tenant_id = '{}'", acme.id()),
                ] {
                    let error = send(&mut ours, &sql).await.expect_err(&sql);
                    let code = error.as_database_error().unwrap().code().unwrap().into_owned();
                    assert_eq!(code, "TNMOV", "{sql}");
                }
                send(&mut theirs, &insert(&globex, table, 10 + i64::try_from(table.len()).unwrap()))
                    .await
                    .unwrap();
            }
        };
        tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(work));
    });
    let report = checks.await.unwrap();
    assert!(at_switch);
    assert_eq!(report.tables["clicks"], 2);
    let schema = PlacementName::of(acme.id());
    let place = world.app.clone().options([("search_path", schema.as_str())]);
    for (options, tenant, wanted) in [(&place, &acme, 2), (&world.app, &globex, 5)] {
        let mut app = as_tenant(options, tenant.id()).await;
        assert_eq!(number(&mut app, "SELECT count(*) FROM clicks").await, wanted);
        assert_eq!(number(&mut app, "SELECT count(*) FROM clicks WHERE id = 3").await, 0);
    }
    assert_eq!(Postgres::number(&world.owner, "SELECT count(*) FROM files").await, 1, "of the other tenant");
    // The policies of the fences are no differences.
    let schema = Schema::new("tenant_id").unwrap().shared("files").unwrap();
    let plan = RlsPolicies::new(&schema).plan(&mut world.owner.acquire().await.unwrap()).await.unwrap();
    assert!(plan.changes().is_empty(), "{}", plan.sql());
    // And back, where the partitions have their policies.
    to(&provisioner, acme.id(), Placement::Shared).run(|_| {}).await.unwrap();
    for (tenant, wanted) in [(&acme, 2), (&globex, 5)] {
        let mut app = as_tenant(&world.app, tenant.id()).await;
        assert_eq!(number(&mut app, "SELECT count(*) FROM clicks_rest").await, wanted);
    }
}

const BILLS: &str = "CREATE DOMAIN bill_id AS bigint; CREATE DOMAIN short_id AS bill_id; CREATE SEQUENCE bill_numbers; \
    CREATE SEQUENCE downward INCREMENT -1; \
    CREATE TABLE bills (tenant_id uuid NOT NULL, id short_id NOT NULL DEFAULT nextval('bill_numbers'), \
        number text NOT NULL DEFAULT 'B-' || nextval('bill_numbers'), below int NOT NULL DEFAULT nextval('downward'), \
        PRIMARY KEY (tenant_id, id)); \
    CREATE TABLE letters (tenant_id uuid NOT NULL, id bigint GENERATED ALWAYS AS IDENTITY, PRIMARY KEY (tenant_id, id))";

/// Numbers of rows that were deleted before a move are not given out after it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_number_is_given_out_once_across_moves() {
    let world = World::new().await;
    let provisioner = application(&world, BILLS).await;
    let (acme, globex) = (tenant(&world, "acme").await, tenant(&world, "globex").await);
    let _database = drop_database(&acme);
    let name = PlacementName::of(acme.id());
    let (schema, database) = (
        world.app.clone().options([("search_path", name.as_str())]),
        world.app.clone().database(name.as_str()),
    );
    let mut seen = std::collections::BTreeSet::new();
    for (options, target) in [
        (&world.app, Placement::schema_of(acme.id())),
        (&schema, Placement::database_of(acme.id())),
        (&database, Placement::Shared),
        (&world.app, Placement::schema_of(acme.id())),
    ] {
        let mut app = as_tenant(options, acme.id()).await;
        for _ in 0..3 {
            let sql = format!(
                "INSERT INTO bills (tenant_id) VALUES ('{}') RETURNING id::bigint, number, below",
                acme.id()
            );
            let (id, number, below): (i64, String, i32) =
                sqlx::query_as(AssertSqlSafe(sql)).fetch_one(&mut app).await.unwrap();
            for one in [format!("id {id}"), format!("id {}", &number[2..]), format!("below {below}")] {
                assert!(seen.insert(one), "{id} {number} {below}: {seen:?}");
            }
            let letter = format!("INSERT INTO letters (tenant_id) VALUES ('{}') RETURNING id", acme.id());
            assert!(seen.insert(format!("letter {}", number_of(&mut app, &letter).await)), "{seen:?}");
        }
        // The last ones are deleted.
        send(&mut app, "DELETE FROM bills; DELETE FROM letters").await.unwrap();
        to(&provisioner, acme.id(), target).run(|_| {}).await.unwrap();
    }
    // The other tenant got none of these in the shared tables.
    let mut app = as_tenant(&world.app, globex.id()).await;
    let sql = format!("INSERT INTO letters (tenant_id) VALUES ('{}') RETURNING id", globex.id());
    assert!(seen.insert(format!("letter {}", number_of(&mut app, &sql).await)), "{seen:?}");
}

async fn number_of(conn: &mut PgConnection, sql: &str) -> i64 {
    number(conn, sql).await
}

/// A sequence that no column has is found in every schema of a place, and forbids that the place is dropped.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_used_sequence_forbids_a_move_out_of_its_place() {
    let mut world = World::new().await;
    let acme = world.create("acme", NewTenant::own_database).await;
    let globex = world.create("globex", NewTenant::own_schema).await;
    let owner = (*world.owner.connect_options()).clone();
    let acme_owner = PgPool::connect_with(owner.clone().database(name_of(&acme).as_str())).await.unwrap();
    Postgres::raw(&acme_owner, "CREATE SCHEMA extra; CREATE SEQUENCE extra.bills; CREATE SEQUENCE unused")
        .await
        .unwrap();
    let move_out = to(&world.provisioner, acme.tenant_id(), Placement::Shared);
    admitted(&move_out).await;
    assert_eq!(Postgres::number(&acme_owner, "SELECT nextval('extra.bills')").await, 1);
    refused(&move_out, "the sequence `extra.bills`").await;
    Postgres::raw(&acme_owner, "DROP SEQUENCE extra.bills").await.unwrap();
    // A function hides from the catalogue that it uses a sequence.
    let mut theirs = owner.options([("search_path", name_of(&globex).as_str())]).connect().await.unwrap();
    let hidden = "CREATE SEQUENCE bills; CREATE FUNCTION bill() RETURNS text LANGUAGE plpgsql AS \
        $$BEGIN RETURN 'B-' || nextval('bills'); END$$; ALTER TABLE projects ALTER name SET DEFAULT bill(); SELECT bill()";
    send(&mut theirs, hidden).await.unwrap();
    refused(&to(&world.provisioner, globex.tenant_id(), Placement::Shared), "the sequence `bills`").await;
    acme_owner.close().await;
    move_out.run(|_| {}).await.unwrap();
    assert_eq!((rows(&world, acme.tenant_id()).await, rows(&world, globex.tenant_id()).await), (0, 0));
}

/// Large objects are in no table, so no move takes them to another database.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_objects_forbid_a_move_between_databases() {
    let mut world = World::new().await;
    let acme = world.create("acme", NewTenant::own_database).await;
    let globex = tenant(&world, "globex").await;
    let owner = (*world.owner.connect_options()).clone();
    let acme_owner = PgPool::connect_with(owner.database(name_of(&acme).as_str())).await.unwrap();
    let (theirs, shared) = (Placement::database_of(globex.id()), Placement::Shared);
    let (out, into) =
        (to(&world.provisioner, acme.tenant_id(), shared), to(&world.provisioner, globex.id(), theirs));
    let schema = to(&world.provisioner, globex.id(), Placement::schema_of(globex.id()));
    for (pool, movement) in [(&acme_owner, &out), (&world.owner, &into)] {
        admitted(movement).await;
        let object = Postgres::number(pool, "SELECT lo_from_bytea(0, 'a')::bigint").await;
        refused(movement, "the database has large objects").await;
        admitted(&schema).await;
        let content = format!("SELECT length(lo_get({object}))::bigint");
        assert_eq!(Postgres::number(pool, &content).await, 1);
        assert_eq!(Postgres::number(pool, &format!("SELECT lo_unlink({object})::bigint")).await, 1);
        admitted(movement).await;
        for column in ["file oid", "file lo", "file oid[]"] {
            let add = format!("CREATE DOMAIN lo AS oid; ALTER TABLE tasks ADD {column}");
            Postgres::raw(pool, &add).await.unwrap();
            refused(movement, "`tasks.file` has the type `oid`").await;
            Postgres::raw(pool, "ALTER TABLE tasks DROP file; DROP DOMAIN lo").await.unwrap();
        }
    }
    acme_owner.close().await;
    out.run(|_| {}).await.unwrap();
    assert_eq!((rows(&world, acme.tenant_id()).await, rows(&world, globex.id()).await), (0, 0));
}

/// An owner that may not end the sessions of the application drops a database when they have ended, also after a first attempt
/// was interrupted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_is_dropped_when_the_application_has_left_it() {
    let mut world = World::new().await;
    let (acme, globex) = (
        world.create("acme", NewTenant::own_database).await,
        world.create("globex", NewTenant::own_database).await,
    );
    let admin = admin(&world).await;
    let owner = "SELECT session_user::text";
    let owner: String = sqlx::query_scalar(owner).fetch_one(&world.owner).await.unwrap();
    let role = world.app.get_username();
    Postgres::raw(&admin, &format!("REVOKE {role} FROM {owner}")).await.unwrap();
    let pool = async |ctx: &TenantContext| {
        let options = world.app.clone().database(name_of(ctx).as_str());
        let pool = PgPoolOptions::new().max_connections(2).connect_with(options).await.unwrap();
        assert_eq!(Postgres::number(&pool, "SELECT 1::bigint").await, 1);
        pool
    };
    let (ours, theirs) = (pool(&acme).await, pool(&globex).await);
    let movement = to(&world.provisioner, acme.tenant_id(), Placement::Shared);
    // The drop waits from here on.
    let waits = async || {
        let sql = format!("SELECT has_database_privilege('{role}', '{}', 'CONNECT')", name_of(&acme));
        let deadline = Instant::now() + Duration::from_secs(50);
        while sqlx::query_scalar::<_, bool>(AssertSqlSafe(sql.clone())).fetch_one(&admin).await.unwrap() {
            assert!(Instant::now() < deadline, "the drop does not begin");
            tokio::task::yield_now().await;
        }
    };
    // The process ends while it waits.
    tokio::select! {
        moved = movement.run(|_| {}) => panic!("a session is open: {moved:?}"),
        () = waits() => {}
    }
    assert_eq!(Postgres::number(&ours, "SELECT 1::bigint").await, 1, "no session was ended");
    let error = world.app.clone().database(name_of(&acme).as_str()).connect().await.unwrap_err();
    assert_eq!(error.as_database_error().unwrap().code().as_deref(), Some("42501"), "{error}");
    // The next one goes on; the pool is closed during the wait.
    let again = async {
        let deadline = Instant::now() + Duration::from_mins(1);
        loop {
            match movement.run(|_| {}).await {
                // The session of the process that ended.
                Err(error) if error.kind() == ErrorKind::Retryable && Instant::now() < deadline => {}
                moved => return moved,
            }
        }
    };
    let leaves = async {
        let step = async || world.provisioner.unfinished_moves().await.unwrap();
        assert_eq!(step().await[0].step, MoveStep::CleanUp);
        ours.close().await;
    };
    let (moved, ()) = tokio::join!(again, leaves);
    moved.unwrap();
    for (ctx, databases) in [(&acme, 0), (&globex, 1)] {
        let sql = format!("SELECT count(*) FROM pg_database WHERE datname = '{}'", name_of(ctx));
        assert_eq!(Postgres::number(&admin, &sql).await, databases);
    }
    assert_eq!(Postgres::number(&theirs, "SELECT 1::bigint").await, 1, "the other tenant keeps its sessions");
    assert!(world.provisioner.unfinished_moves().await.unwrap().is_empty());
    theirs.close().await;
    admin.close().await;
}

/// The vacuum of the server is no transaction that could write rows of a tenant. It can last for hours.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_move_does_not_wait_for_an_autovacuum() {
    let world = World::new().await;
    let (acme, globex) = (tenant(&world, "acme").await, tenant(&world, "globex").await);
    let db = data_plane(&world).await;
    for tenant in [&acme, &globex] {
        let ctx = world.directory.context(tenant.id(), Actor::user("bob")).await.unwrap();
        insert(&db, &ctx, 1).await.unwrap();
    }
    // A server of its own, because its settings change.
    let other = OtherServer::start();
    let admin: PgConnectOptions = other.admin.parse().unwrap();
    let there: PgConnectOptions = other.url.parse().unwrap();
    let role = world.app.get_username().to_owned();
    let server = PgPool::connect_with(admin.clone()).await.unwrap();
    let create = format!("CREATE ROLE {role} LOGIN NOINHERIT ROLE {}", there.get_username());
    Postgres::raw(&server, &create).await.unwrap();
    for sql in ["ALTER SYSTEM SET autovacuum_naptime = '1s'", "SELECT pg_reload_conf()"] {
        Postgres::raw(&server, sql).await.unwrap();
    }
    let places = PostgresPlaces::new((*world.owner.connect_options()).clone())
        .runtime_role(&role)
        .servers(move |_| Some(there.clone()));
    let provisioner = Provisioner::new(SqlStore::new(world.owner.clone()), places, migrator(&[TABLES]));
    to(&provisioner, acme.id(), Placement::database_of(acme.id())).run(|_| {}).await.unwrap();
    let name = PlacementName::of(acme.id());
    let mut place = admin.clone().database(name.as_str()).connect().await.unwrap();
    let large = "CREATE SCHEMA extra; CREATE TABLE extra.tenancy_large WITH (autovacuum_vacuum_cost_delay = 100, \
        autovacuum_vacuum_cost_limit = 1, autovacuum_vacuum_threshold = 1, autovacuum_vacuum_scale_factor = 0) \
        AS SELECT n AS id, repeat('x', 500) AS text FROM generate_series(1, 60000) n; \
        DELETE FROM extra.tenancy_large WHERE id % 2 = 0";
    send(&mut place, large).await.unwrap();
    place.close().await.unwrap();
    let workers = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'autovacuum worker' AND datname = current_database() \
        AND query LIKE '%tenancy_large'";
    let worker = async || {
        // The pool of a superuser would keep the database in use.
        let mut conn = admin.clone().database(name.as_str()).connect().await.unwrap();
        sqlx::query_scalar::<_, i32>(workers).fetch_optional(&mut conn).await.unwrap()
    };
    let deadline = Instant::now() + Duration::from_mins(1);
    let before = loop {
        if let Some(worker) = worker().await {
            break worker;
        }
        assert!(Instant::now() < deadline, "no autovacuum begins");
        tokio::task::yield_now().await;
    };
    let movement = to(&provisioner, acme.id(), Placement::Shared).wait(Duration::from_secs(10));
    let mut after = None;
    let moved = movement.run(|progress| {
        if progress.step == MoveStep::Verify {
            after = tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(worker()));
        }
    });
    moved.await.unwrap();
    assert_eq!(after, Some(before), "it was open all the time");
    assert_eq!((rows(&world, acme.id()).await, rows(&world, globex.id()).await), (1, 1));
    server.close().await;
}
