//! The declared type of the tenant column applies everywhere, and a column of another type fails at start.

use sqlx::{AssertSqlSafe, Database, Pool, Postgres, Sqlite};
use tenancy::context::{Actor, TenantDirectory};
use tenancy::isolation::doctor::Check;
use tenancy::plan::Catalog;
use tenancy::scope::select::PageRequest;
use tenancy::scope::{Schema, Scope, TenantDb};
use tenancy::store::SqlStore;
use tenancy::tenant::{NewTenant, Slug, TenantId, TenantStatus};
use tenancy::{Error, ErrorKind, TenantContext, TenantScoped, query, query_checked, query_scalar};
use uuid::Uuid;

use crate::common::{self, CATALOG, Cleanup, TestBackend};

#[derive(Debug, Clone, PartialEq, TenantScoped, sqlx::FromRow)]
#[tenant(table = "notes")]
struct Note {
    #[tenant(id)]
    id: i64,
    text: String,
}

fn schema(declared: Option<&str>) -> Schema {
    Schema::from_toml(&declared.map_or_else(String::new, |name| format!("type = \"{name}\""))).unwrap()
}

/// The table `notes` on each database, with a tenant column of this type.
trait Typed: TestBackend {
    fn notes(column: &str) -> String;
    /// The tenant id as a literal of the column type.
    fn literal(id: &TenantId, column: &str) -> String;
}

impl Typed for Sqlite {
    fn notes(column: &str) -> String {
        format!(
            "CREATE TABLE notes (tenant_id {column} NOT NULL, id INTEGER NOT NULL, text TEXT NOT NULL,
                 PRIMARY KEY (tenant_id, id))"
        )
    }

    fn literal(id: &TenantId, column: &str) -> String {
        match column {
            "BLOB" => format!("X'{}'", id.to_string().replace('-', "")),
            "INTEGER" => id.to_string(),
            _ => format!("'{id}'"),
        }
    }
}

impl Typed for Postgres {
    fn notes(column: &str) -> String {
        format!(
            "CREATE TABLE notes (tenant_id {column} NOT NULL, id bigint NOT NULL, text text NOT NULL,
                 PRIMARY KEY (tenant_id, id));
             ALTER TABLE notes ENABLE ROW LEVEL SECURITY;
             ALTER TABLE notes FORCE ROW LEVEL SECURITY;
             CREATE POLICY own ON notes USING
                 (tenant_id = nullif(current_setting('app.tenant_id', true), '')::{column})"
        )
    }

    fn literal(id: &TenantId, _: &str) -> String {
        format!("'{id}'")
    }
}

struct Tenants<DB: TestBackend> {
    pool: Pool<DB>,
    acme: TenantContext,
    globex: TenantContext,
    _cleanup: Cleanup,
}

/// Two tenants with ids of one kind, on a database with these tables.
async fn tenants<DB: Typed>(ids: [TenantId; 2], tables: &str) -> Tenants<DB> {
    let (pool, cleanup) = DB::fresh(4).await;
    let store = SqlStore::new(pool.clone());
    store.migrate().await.unwrap();
    DB::raw(&pool, tables).await.unwrap();
    let directory = TenantDirectory::new(
        std::sync::Arc::new(store),
        std::sync::Arc::new(Catalog::from_toml(CATALOG).unwrap()),
    );
    let mut contexts = Vec::new();
    for (slug, id) in ["acme", "globex"].into_iter().zip(ids) {
        let new =
            NewTenant::new(Slug::parse(slug).unwrap(), slug, "free").status(TenantStatus::Active).id(id);
        let tenant = directory.store().insert(new).await.unwrap();
        contexts.push(directory.context(tenant.id(), Actor::user("ada")).await.unwrap());
    }
    let [acme, globex] = contexts.try_into().unwrap();
    Tenants { pool, acme, globex, _cleanup: cleanup }
}

fn uuids() -> [TenantId; 2] {
    [TenantId::random(), TenantId::random()]
}

fn ints() -> [TenantId; 2] {
    [TenantId::from_int(100).unwrap(), TenantId::from_int(7).unwrap()]
}

fn texts() -> [TenantId; 2] {
    ["acme-1e2", "1e2x"].map(|text| TenantId::parse(text).unwrap())
}

/// The tests for one database. A macro, because the trait bounds of sqlx differ per database.
macro_rules! type_tests {
    ($name:ident, $db:ty, $uuid:literal, $bigint:literal, $text:literal) => {
        mod $name {
            use super::*;

            type Db = $db;

            async fn open(tenants: &Tenants<Db>, declared: Option<&str>) -> tenancy::Result<TenantDb<Db>> {
                TenantDb::from_pool(tenants.pool.clone()).schema(schema(declared)).build().await
            }

            async fn refused(tenants: &Tenants<Db>, declared: Option<&str>) -> String {
                let error = open(tenants, declared).await.unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Misconfigured, "{declared:?}: {error}");
                error.to_string()
            }

            /// Each API reads the one existing row and writes another one.
            async fn every_way_in(scope: &Scope<'_, Db>, own: &str) {
                let ours = Note { id: 1, text: own.to_owned() };
                assert_eq!(Note::find(scope, 1).await.unwrap().as_ref(), Some(&ours));
                assert_eq!(
                    Note::list(scope, PageRequest::first(10)).await.unwrap().items,
                    std::slice::from_ref(&ours)
                );
                assert_eq!(Note::select().filter(Note::TEXT.eq(own)).count(scope).await.unwrap(), 1);
                let text = query_scalar!(scope, String, "SELECT text FROM notes WHERE id = $1", 1_i64);
                assert_eq!(text.fetch_one().await.unwrap(), own);
                let text: String = sqlx::query_scalar("SELECT text FROM notes WHERE id = $1")
                    .bind(1_i64)
                    .fetch_one(scope)
                    .await
                    .unwrap();
                assert_eq!(text, own);

                // The existing key is a conflict.
                assert_eq!(Note::insert(scope, &ours).await.unwrap_err().kind(), ErrorKind::Conflict);
                let twice = query!(scope, "INSERT INTO notes (id, text) VALUES (1, 'twice')").execute();
                assert_eq!(twice.await.unwrap_err().kind(), ErrorKind::Conflict);
                let twice = sqlx::query("INSERT INTO notes (id, text) VALUES (1, 'twice')").execute(scope);
                assert_eq!(Error::from_sqlx(twice.await.unwrap_err()).kind(), ErrorKind::Conflict);
                Note::upsert(scope, &ours).await.unwrap();
                assert_eq!(Note::count(scope).await.unwrap(), 1);

                Note::insert(scope, &Note { id: 2, text: own.to_owned() }).await.unwrap();
                Note::insert_many(scope, &[Note { id: 3, text: own.to_owned() }]).await.unwrap();
                query!(scope, "INSERT INTO notes (id, text) VALUES (4, $1)", own).execute().await.unwrap();
                sqlx::query("INSERT INTO notes (id, text) VALUES (5, $1)")
                    .bind(own)
                    .execute(scope)
                    .await
                    .unwrap();
                assert_eq!(Note::count(scope).await.unwrap(), 5);
                assert!(Note::update(scope, &ours).await.unwrap().found());
                assert!(Note::delete(scope, 5).await.unwrap().found());
                let gone = query!(scope, "DELETE FROM notes WHERE id > 1").execute().await.unwrap();
                assert_eq!((gone, Note::count(scope).await.unwrap()), (3, 1));
            }

            /// Rows from another program, with tenant ids of this kind in a column of this type.
            async fn holds(ids: [TenantId; 2], column: &str, declared: Option<&str>) {
                let tenants = tenants::<Db>(ids, &Db::notes(column)).await;
                let db = open(&tenants, declared).await.unwrap();
                for (ctx, own) in [(&tenants.acme, "acme's"), (&tenants.globex, "globex's")] {
                    let id = ctx.tenant_id();
                    let literal = Db::literal(id, column);
                    let mut row = format!(
                        "INSERT INTO notes (tenant_id, id, text) VALUES ({literal}, 1, '{}')",
                        own.replace('\'', "''")
                    );
                    if Db::NAME == "PostgreSQL" {
                        row = format!("BEGIN; SET LOCAL app.tenant_id = '{id}'; {row}; COMMIT");
                    }
                    Db::raw(&tenants.pool, &row).await.unwrap();
                }
                for (ctx, own) in [(&tenants.acme, "acme's"), (&tenants.globex, "globex's")] {
                    every_way_in(&db.scope(ctx), own).await;
                    let mut tx = db.begin(ctx).await.unwrap();
                    assert_eq!(Note::count(&mut tx).await.unwrap(), 1);
                    let count: i64 =
                        sqlx::query_scalar("SELECT count(*) FROM notes").fetch_one(&mut tx).await.unwrap();
                    assert_eq!(count, 1);
                }
            }

            #[tokio::test]
            async fn a_declared_type_holds_for_every_way_in() {
                holds(uuids(), $text, Some("text")).await;
                holds(ints(), $text, Some("text")).await;
                holds(texts(), $text, Some("text")).await;
                holds(uuids(), $uuid, Some("uuid")).await;
                holds(ints(), $bigint, Some("bigint")).await;
            }

            #[tokio::test]
            async fn what_the_columns_are_holds_where_nothing_is_declared() {
                holds(uuids(), $text, None).await;
                holds(ints(), $text, None).await;
                holds(texts(), $text, None).await;
                holds(uuids(), $uuid, None).await;
                holds(ints(), $bigint, None).await;
            }

            #[tokio::test]
            async fn a_column_of_another_type_than_the_declared_one_is_rejected() {
                for (column, own) in [($uuid, "uuid"), ($bigint, "bigint"), ($text, "text")] {
                    let tenants = tenants::<Db>(uuids(), &Db::notes(column)).await;
                    for declared in ["uuid", "bigint", "text"] {
                        if declared == own {
                            open(&tenants, Some(declared)).await.unwrap();
                            continue;
                        }
                        let text = refused(&tenants, Some(declared)).await;
                        for part in [&format!("as `{declared}`"), "notes.tenant_id", column, "tenancy.toml"] {
                            assert!(text.contains(part), "{part}: {text}");
                        }
                    }
                }
            }

            #[tokio::test]
            async fn columns_of_several_types_are_rejected_until_the_odd_one_is_declared_shared() {
                let mixed = format!("{}; {}", Db::notes($text), Db::notes($uuid).replace("notes", "others"));
                let tenants = tenants::<Db>(uuids(), &mixed).await;
                let text = refused(&tenants, None).await;
                assert!(text.contains("notes.tenant_id") && text.contains("others.tenant_id"), "{text}");
                assert!(refused(&tenants, Some("text")).await.contains("others.tenant_id"));
                let shared = Schema::from_toml("type = \"text\"\nshared = [\"others\"]").unwrap();
                TenantDb::from_pool(tenants.pool.clone()).schema(shared).build().await.unwrap();
            }

            #[tokio::test]
            async fn an_id_that_the_columns_cannot_hold_is_an_error_and_no_empty_answer() {
                for (ids, column, declared) in [
                    (texts(), $uuid, "uuid"),
                    (ints(), $uuid, "uuid"),
                    (uuids(), $bigint, "bigint"),
                    (texts(), $bigint, "bigint"),
                ] {
                    let tenants = tenants::<Db>(ids, &Db::notes(column)).await;
                    let db = open(&tenants, Some(declared)).await.unwrap();
                    for ctx in [&tenants.acme, &tenants.globex] {
                        let scope = &db.scope(ctx);
                        let find = Note::find(scope, 1).await.unwrap_err();
                        let checked = query!(scope, "SELECT id FROM notes").execute().await.unwrap_err();
                        let own = sqlx::query("SELECT id FROM notes").fetch_all(scope).await.unwrap_err();
                        for error in [find, checked, Error::from_sqlx(own)] {
                            assert_eq!(error.kind(), ErrorKind::Misconfigured, "{error}");
                            assert!(error.to_string().contains(&format!("`{declared}`")), "{error}");
                        }
                    }
                }
            }
        }
    };
}

type_tests!(sqlite, Sqlite, "BLOB", "INTEGER", "TEXT");
type_tests!(postgres, Postgres, "uuid", "bigint", "text");

/// sqlx's own macros also bind the tenant with the declared type.
#[tokio::test]
async fn a_checked_query_binds_the_declared_type() {
    let orders = Postgres::ORDERS.replace("tenant_id uuid", "tenant_id text").replace("'')::uuid", "'')");
    let tenants = tenants::<Postgres>(uuids(), &orders).await;
    let db = TenantDb::from_pool(tenants.pool.clone()).schema(schema(Some("text"))).build().await.unwrap();
    for (ctx, total) in [(&tenants.acme, 7_i64), (&tenants.globex, 8)] {
        let (scope, id) = (db.scope(ctx), Uuid::now_v7());
        let added = query_checked!(
            &scope,
            "INSERT INTO orders (id, status, total) VALUES ($1, $2, $3)",
            id,
            "open",
            total
        );
        assert_eq!(added.execute().await.unwrap(), 1);
        let own = common::Order { id, status: "open".to_owned(), total };
        assert_eq!(common::Order::select().all(&scope, 10).await.unwrap(), [own]);
    }
}

/// Tables that the role cannot use are ignored; a table is declared with its schema or without.
#[tokio::test]
async fn of_tables_elsewhere_only_those_that_the_role_can_use_count() {
    let withheld = Postgres::notes("text").replace("notes", "withheld");
    let other =
        "CREATE SCHEMA legacy; CREATE TABLE legacy.others (org text NOT NULL, tenant_id bigint NOT NULL)";
    let tables =
        format!("{}; {withheld}; REVOKE ALL ON withheld FROM CURRENT_USER; {other}", Postgres::notes("uuid"));
    let tenants = tenants::<Postgres>(uuids(), &tables).await;
    let build = async |toml: &str| {
        let schema = Schema::from_toml(toml).unwrap();
        let db = TenantDb::from_pool(tenants.pool.clone()).accept(Check::RlsOff).schema(schema).build().await;
        db.map(|_| ()).map_err(|error| error.to_string())
    };
    let error = build("").await.unwrap_err();
    assert!(error.contains("legacy.others.tenant_id") && !error.contains("withheld"), "{error}");
    build("shared = [\"legacy.others\"]").await.unwrap();
    // The declared column of the table is text, which contradicts the declared type.
    let error = build("columns = { \"legacy.others\" = \"org\" }").await.unwrap_err();
    assert!(error.contains("legacy.others.org"), "{error}");
}

/// SQLite compares a column of numeric affinity as numbers, so two tenants could be equal.
#[tokio::test]
async fn a_column_that_makes_numbers_of_texts_is_rejected() {
    for (column, refuses) in [
        ("NUMERIC", true),
        ("DECIMAL(10, 5)", true),
        ("STRING", true),
        ("REAL", true),
        ("", false),
        ("UUID", false),
    ] {
        let tenants = tenants::<Sqlite>(uuids(), &Sqlite::notes(column)).await;
        let built = TenantDb::from_pool(tenants.pool.clone()).build().await;
        assert_eq!(built.is_err(), refuses, "{column}");
        if let Err(error) = built {
            assert_eq!(error.kind(), ErrorKind::Misconfigured);
            assert!(
                error.to_string().contains("`1e2` and `100`") && error.to_string().contains(column),
                "{error}"
            );
        }
    }
    // The comparison that the check prevents.
    let (pool, _cleanup) = Sqlite::fresh(1).await;
    Sqlite::raw(&pool, "CREATE TABLE t (tenant_id NUMERIC); INSERT INTO t VALUES ('1e2')").await.unwrap();
    let one: i64 =
        sqlx::query_scalar(AssertSqlSafe("SELECT count(*) FROM t WHERE tenant_id = '100'".to_owned()))
            .fetch_one(&pool)
            .await
            .unwrap();
    assert_eq!(one, 1);
}
