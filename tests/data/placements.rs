//! What is special to a tenant's schema: its name, its search path, its prepared statements.
//!
//! Everything else runs in every placement: see `in_every_placement!`.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use sqlx::Postgres;
use tenancy::audit::AuditPolicy;
use tenancy::context::Actor;
use tenancy::placement::ConnectionLimits;
use tenancy::quota::Gauge;
use tenancy::store::SqlStore;
use tenancy::tenant::{NewTenant, Placement, PlacementName, Slug, TenantId, TenantStatus, TenantStore};
use tenancy::{ErrorKind, TenantContext, TenantDb, TenantScoped};
use uuid::Uuid;

use crate::common::{Fixture, Order, Placing, TestBackend, placed};

async fn schemas() -> Fixture<Postgres> {
    placed(Placing::Schema, Fixture::new()).await
}

fn schema(ctx: &TenantContext) -> String {
    match ctx.tenant().placement() {
        Placement::Schema { name } => format!("\"{name}\""),
        other => panic!("{other:?}"),
    }
}

async fn counts(fixture: &Fixture<Postgres>) -> (u64, u64) {
    let count = async |ctx| Order::count(&fixture.db.scope(ctx)).await.unwrap();
    (count(&fixture.acme).await, count(&fixture.globex).await)
}

/// `D01`: a table that the schema lacks is not looked up in `public`, neither for a read nor for a write.
#[tokio::test]
async fn d01_a_table_that_a_schema_lacks_is_not_that_of_public() {
    let fixture = schemas().await;
    Order::insert(&fixture.db.scope(&fixture.acme), &Order::new(1)).await.unwrap();
    let drop = format!("DROP TABLE {}.orders", schema(&fixture.globex));
    Postgres::raw(&fixture.pool, &drop).await.unwrap();

    let scope = fixture.db.scope(&fixture.globex);
    assert_eq!(Order::count(&scope).await.unwrap_err().kind(), ErrorKind::Misconfigured);
    assert_eq!(Order::insert(&scope, &Order::new(2)).await.unwrap_err().kind(), ErrorKind::Misconfigured);
    let sql =
        sqlx::query("INSERT INTO orders (id, status, total) VALUES ($1, 'open', 3)").bind(Uuid::now_v7());
    sql.execute(&scope).await.unwrap_err();
    assert_eq!(Order::count(&fixture.db.scope(&fixture.acme)).await.unwrap(), 1);
    assert_eq!(Postgres::number(&fixture.pool, "SELECT count(*) FROM public.orders").await, 0);
}

/// `D02`: PostgreSQL ignores a schema in the search path that does not exist, or that the role may not use.
#[tokio::test]
async fn d02_a_schema_that_does_not_exist_is_an_error_by_name() {
    let fixture = schemas().await;
    let id = TenantId::random();
    let tenant = NewTenant::new(Slug::parse("initech").unwrap(), "Initech", "free")
        .placement(Placement::schema_of(&id))
        .id(id)
        .status(TenantStatus::Active);
    let tenant = fixture.store.insert(tenant).await.unwrap();
    let ctx = fixture.directory.context(tenant.id(), Actor::user("ada")).await.unwrap();
    for _ in 0..3 {
        let error = Order::count(&fixture.db.scope(&ctx)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PlacementMissing, "{error:?}");
        assert!(error.to_string().contains(PlacementName::of(tenant.id()).as_str()), "{error}");
        assert_eq!(fixture.db.begin(&ctx).await.unwrap_err().kind(), ErrorKind::PlacementMissing);
    }
    // It is looked up again, so a schema that is created now is found.
    let create = format!(
        "CREATE SCHEMA {0}; SET search_path = {0}; {1}; RESET search_path",
        schema(&ctx),
        Postgres::ORDERS
    );
    Postgres::raw(&fixture.pool, &create).await.unwrap();
    assert_eq!(Order::count(&fixture.db.scope(&ctx)).await.unwrap(), 0);
    assert_eq!(counts(&fixture).await, (0, 0));
}

/// `D06`: a name with a schema reaches another schema's table, whose rows stay those of their tenant.
#[tokio::test]
async fn d06_a_name_with_a_schema_shows_no_row_of_another_tenant() {
    let fixture = schemas().await;
    for (ctx, total) in [(&fixture.acme, 1), (&fixture.globex, 2)] {
        Order::insert(&fixture.db.scope(ctx), &Order::new(total)).await.unwrap();
    }
    for (ctx, other) in [(&fixture.acme, &fixture.globex), (&fixture.globex, &fixture.acme)] {
        let scope = fixture.db.scope(ctx);
        for (schema, expected) in [(schema(ctx), 1), (schema(other), 0), ("public".to_owned(), 0)] {
            let sql = format!("SELECT count(*) FROM {schema}.orders");
            let found: i64 = sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).fetch_one(&scope).await.unwrap();
            assert_eq!(found, expected, "{schema}");
            let sql = format!("UPDATE {schema}.orders SET total = 7");
            let changed =
                sqlx::query(sqlx::AssertSqlSafe(sql)).execute(&scope).await.unwrap().rows_affected();
            assert_eq!(changed, u64::try_from(expected).unwrap(), "{schema}");
        }
    }
    assert_eq!(
        fixture.number("SELECT coalesce(sum(total), 0)::bigint FROM orders").await,
        0,
        "rows hide from raw SQL"
    );
}

/// `D20`: a function that sets a search path of its own reads another table, and no row of another tenant there.
#[tokio::test]
async fn d20_a_function_with_a_search_path_of_its_own_shows_no_row_of_another_tenant() {
    let fixture = schemas().await;
    let function = format!(
        "CREATE FUNCTION public.elsewhere() RETURNS bigint LANGUAGE sql SET search_path = {} \
         AS 'SELECT count(*) FROM orders'",
        schema(&fixture.globex)
    );
    Postgres::raw(&fixture.pool, &function).await.unwrap();
    for (ctx, total) in [(&fixture.acme, 1), (&fixture.globex, 2)] {
        Order::insert(&fixture.db.scope(ctx), &Order::new(total)).await.unwrap();
    }
    for (ctx, expected) in [(&fixture.acme, 0), (&fixture.globex, 1)] {
        // The rewriter rejects a function that it does not know; row-level security is what stands behind it.
        let scope = fixture.db.scope(ctx);
        let rejected = sqlx::query("SELECT public.elsewhere()").fetch_all(&scope).await.unwrap_err();
        assert_eq!(tenancy::Error::from_sqlx(rejected).kind(), ErrorKind::SqlRejected);
        let mut conn = fixture.pool.acquire().await.unwrap();
        let set = format!("SET app.tenant_id = '{}'", ctx.tenant_id());
        sqlx::raw_sql(sqlx::AssertSqlSafe(set)).execute(&mut *conn).await.unwrap();
        let found: i64 = sqlx::query_scalar("SELECT public.elsewhere()").fetch_one(&mut *conn).await.unwrap();
        assert_eq!(found, expected);
        sqlx::raw_sql("RESET app.tenant_id").execute(&mut *conn).await.unwrap();
    }
}

/// `D05`: a temporary table of the session is not found before the tenant's table.
#[tokio::test]
async fn a_temporary_table_hides_no_table_of_the_schema() {
    let fixture = placed(Placing::Schema, Fixture::<Postgres>::with(AuditPolicy::Optional, 1)).await;
    Order::insert(&fixture.db.scope(&fixture.acme), &Order::new(1)).await.unwrap();
    Postgres::raw(&fixture.pool, "CREATE TEMP TABLE orders (LIKE public.orders)").await.unwrap();
    assert_eq!(counts(&fixture).await, (1, 0));
}

/// `D09`: two schemas whose tables have different columns share connections, and do not break each other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d09_a_migration_of_one_schema_fails_no_statement_of_another() {
    #[derive(TenantScoped, sqlx::FromRow)]
    #[tenant(table = "orders")]
    struct Row {
        #[tenant(id)]
        id: Uuid,
    }
    let fixture = placed(Placing::Schema, Fixture::<Postgres>::with(AuditPolicy::Optional, 3)).await;
    for ctx in [&fixture.acme, &fixture.globex] {
        Order::insert(&fixture.db.scope(ctx), &Order::new(1)).await.unwrap();
    }
    let done = Arc::new(AtomicBool::new(false));
    let read = async |db: TenantDb<Postgres>, ctx: TenantContext, done: Arc<AtomicBool>, acme: bool| {
        let (mut reads, mut retries) = (0_u32, 0_u32);
        while !done.load(Ordering::Acquire) || reads < 50 {
            let scope = db.scope(&ctx);
            // All columns: their types are what a prepared statement remembers.
            let all = sqlx::query("SELECT * FROM orders")
                .fetch_all(&scope)
                .await
                .map_err(tenancy::Error::from_sqlx);
            for result in
                [all.map(|rows| rows.len()), Row::count(&scope).await.map(|n| usize::try_from(n).unwrap())]
            {
                match result {
                    Ok(rows) => assert_eq!(rows, 1),
                    Err(error) if error.kind() == ErrorKind::Retryable && acme => retries += 1,
                    Err(error) => panic!("acme {acme}: {error:?}"),
                }
            }
            reads += 1;
        }
        (reads, retries)
    };
    let mut tasks = Vec::new();
    for acme in [true, false, true, false] {
        let ctx = if acme { fixture.acme.clone() } else { fixture.globex.clone() };
        tasks.push(tokio::spawn(read(fixture.db.clone(), ctx, done.clone(), acme)));
    }
    for (n, kind) in ["text", "bigint", "numeric", "text", "bigint"].into_iter().enumerate() {
        let alter = format!(
            "ALTER TABLE {0}.orders ALTER COLUMN total TYPE {kind} USING total::{kind}, ADD COLUMN extra{n} int",
            schema(&fixture.acme)
        );
        Postgres::raw(
            &fixture.places[1],
            &format!("ALTER TABLE orders DROP CONSTRAINT IF EXISTS orders_total_check; {alter}"),
        )
        .await
        .unwrap();
    }
    done.store(true, Ordering::Release);
    for task in tasks {
        let (reads, retries) = task.await.unwrap();
        assert!(reads >= 50);
        assert!(retries <= 5 * 3 * 2, "{retries} retries: a statement stays stale on its connection");
    }
}

/// The statements of two schemas are prepared apart, also where a query object of sqlx is run.
#[tokio::test]
async fn statements_of_two_schemas_are_prepared_apart() {
    let fixture = placed(Placing::Schema, Fixture::<Postgres>::with(AuditPolicy::Optional, 1)).await;
    for ctx in [&fixture.acme, &fixture.globex] {
        let mut tx = fixture.db.begin(ctx).await.unwrap();
        Order::insert(&mut tx, &Order::new(1)).await.unwrap();
        Gauge::new("projects").acquire(&mut tx, 1).await.unwrap();
        tx.commit().await.unwrap();
        let mut tx = fixture.db.begin(ctx).await.unwrap();
        sqlx::query("SELECT * FROM orders").fetch_all(&mut tx).await.unwrap();
        let total: Vec<i64> =
            tenancy::query_scalar!(&mut tx, i64, "SELECT total FROM orders").fetch_all().await.unwrap();
        assert_eq!(total, [1]);
        let prepared = sqlx::Executor::prepare(&mut tx, sqlx::SqlStr::from_static("SELECT id FROM orders"))
            .await
            .unwrap();
        sqlx::Statement::query(&prepared).fetch_all(&mut tx).await.unwrap();
        tx.commit().await.unwrap();
    }
    let texts: Vec<String> = sqlx::query_scalar("SELECT statement FROM pg_prepared_statements")
        .fetch_all(&fixture.pool)
        .await
        .unwrap();
    let of = |ctx: &TenantContext| {
        let label = format!(" /* {} */", schema(ctx).trim_matches('"'));
        let mut all: Vec<_> = texts.iter().filter_map(|text| text.strip_suffix(&label)).collect();
        all.sort_unstable();
        all
    };
    assert!(of(&fixture.acme).len() >= 4, "{texts:#?}");
    assert_eq!(of(&fixture.acme), of(&fixture.globex));
    for text in texts.iter().filter(|text| text.contains("orders") && !text.contains("pg_")) {
        assert!(text.ends_with("*/"), "prepared without its schema: {text}");
    }
}

/// `D16`: the placement is read from the context for every statement and transaction. A context that is refreshed after
/// the placement changed works in the new place, in every program, and never in the old one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d16_a_refreshed_context_works_in_the_new_place_only() {
    let fixture = schemas().await;
    Order::insert(&fixture.db.scope(&fixture.globex), &Order::new(100)).await.unwrap();
    let (mut databases, mut cleanup) = (HashMap::new(), Vec::new());
    let mut places = vec![(fixture.acme.tenant().placement().clone(), fixture.places[1].clone())];
    for placement in [Placement::schema_of(&TenantId::random()), Placement::database_of(&TenantId::random())]
    {
        let (pool, gone) = Postgres::place(&fixture.pool, &placement).await;
        if let Placement::Database { name } = &placement {
            databases.insert(name.clone(), Postgres::config(&pool));
            SqlStore::new(pool.clone()).migrate().await.unwrap();
        }
        Postgres::raw(&pool, Postgres::ORDERS).await.unwrap();
        places.push((placement, pool));
        cleanup.push(gone);
    }
    places.push((Placement::Shared, fixture.pool.clone()));
    let mut programs = Vec::new();
    for _ in 0..2 {
        let limits = ConnectionLimits::new(40).per_database(4);
        let db = TenantDb::from_pool(fixture.pool.clone()).databases(databases.clone(), limits);
        programs.push(db.build().await.unwrap());
    }
    let mut ctx = fixture.acme.clone();
    for (at, (placement, _)) in places.iter().enumerate() {
        fixture.store.update(&ctx.tenant().with_placement(placement.clone())).await.unwrap();
        ctx = fixture.directory.refresh(&ctx).await.unwrap();
        assert_eq!(ctx.tenant().placement(), placement);
        for db in &programs {
            let before = Order::count(&db.scope(&ctx)).await.unwrap();
            Order::insert(&db.scope(&ctx), &Order::new(1)).await.unwrap();
            let mut tx = db.begin(&ctx).await.unwrap();
            Order::insert(&mut tx, &Order::new(1)).await.unwrap();
            tx.commit().await.unwrap();
            assert_eq!(Order::count(&db.scope(&ctx)).await.unwrap(), before + 2);
        }
        // Four rows in each place that the tenant had so far, none in the next ones.
        for (place, (_, pool)) in places.iter().enumerate() {
            let found = totals(pool, &ctx).await;
            assert_eq!(found, if place <= at { 4 } else { 0 }, "{placement}: {place}");
        }
        let globex = programs[0].scope(&fixture.globex);
        assert_eq!(Order::count(&globex).await.unwrap(), 1);
    }
}

/// The sum of the tenant's orders in one place, past the library.
async fn totals(pool: &sqlx::PgPool, ctx: &TenantContext) -> i64 {
    let mut tx = pool.begin().await.unwrap();
    let set = format!("SET LOCAL app.tenant_id = '{}'", ctx.tenant_id());
    sqlx::raw_sql(sqlx::AssertSqlSafe(set)).execute(&mut *tx).await.unwrap();
    let sum = "SELECT coalesce(sum(total), 0)::bigint FROM orders";
    sqlx::query_scalar(sum).fetch_one(&mut *tx).await.unwrap()
}
