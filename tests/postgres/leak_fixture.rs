//! Fixture: the tables of `sql/tests/cases/leaks.txt`, with rows of tenant 2 alone or of three tenants.
//!
//! A superuser owns the databases. Each row of the tenants 1 and 3 contains a mark that no row of tenant 2 contains.

use std::fmt::Write;

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, Connection, Row};
use uuid::Uuid;

use crate::common::{Cleanup, admin_url, postgres_url};

/// The mark as a number or a text, as the hexadecimal digits of its bytes, and as a year.
pub(crate) const MARKS: [&str; 3] = ["770077", "373730303737", "7700-07-07"];

/// The number of rows in `docs` on the shared database.
pub(crate) const DOCS: &str = "397";

/// The tables with a policy; `docs_p1` is a partition without one.
const TABLES: [&str; 13] = [
    "docs",
    "secrets",
    "invoices",
    "orders",
    "orders_2026",
    "archive",
    "comments",
    "tags",
    "doc_tags",
    "jobs",
    "a.docs",
    "b.docs",
    "payments",
];

const SCHEMA: &str = "
    CREATE SCHEMA a; CREATE SCHEMA b;
    CREATE TABLE docs (OWNER, id bigint PRIMARY KEY DEFAULT 500, a int, b int, v text, name text,
        deleted_at timestamptz, amount numeric, share float8, raw bytea, body jsonb, code uuid, words text[], open bool);
    CREATE TABLE secrets (OWNER, id bigint PRIMARY KEY, doc_id bigint, b int, c int, v text);
    CREATE TABLE invoices (OWNER, id bigint PRIMARY KEY, total bigint, v text);
    CREATE TABLE payments (OWNER, id bigint PRIMARY KEY, invoice_id bigint REFERENCES invoices ON DELETE CASCADE);
    CREATE TABLE orders (OWNER, id bigint NOT NULL, year int NOT NULL, v text) PARTITION BY RANGE (year);
    CREATE TABLE orders_2026 PARTITION OF orders FOR VALUES FROM (2026) TO (2027);
    CREATE TABLE archive (OWNER, id bigint NOT NULL, v text) PARTITION BY LIST (tenant_id);
    CREATE TABLE docs_p1 PARTITION OF archive FOR VALUES IN (1);
    CREATE TABLE docs_p2 PARTITION OF archive FOR VALUES IN (2);
    CREATE TABLE docs_p3 PARTITION OF archive FOR VALUES IN (3);
    CREATE TABLE comments (OWNER, id bigint PRIMARY KEY, type text, ref bigint);
    CREATE TABLE tags (OWNER, id bigint PRIMARY KEY, name text);
    CREATE TABLE doc_tags (OWNER, doc_id bigint, tag_id bigint);
    CREATE TABLE jobs (OWNER, id bigint PRIMARY KEY, done bool);
    CREATE TABLE a.docs (OWNER, id bigint PRIMARY KEY); CREATE TABLE b.docs (OWNER, id bigint PRIMARY KEY);
    CREATE SEQUENCE docs_id_seq;
    CREATE VIEW open_orders WITH (security_invoker = true) AS SELECT * FROM orders;
    CREATE VIEW all_docs AS SELECT * FROM docs;
    CREATE MATERIALIZED VIEW invoices_now AS SELECT * FROM invoices;
    CREATE FUNCTION all_invoices() RETURNS SETOF text LANGUAGE sql AS 'SELECT v FROM invoices';
    CREATE FUNCTION invoices_of_all() RETURNS SETOF text LANGUAGE sql SECURITY DEFINER AS 'SELECT v FROM public.invoices';
    CREATE PROCEDURE move_rows() LANGUAGE sql AS 'UPDATE invoices SET v = 1; DELETE FROM secrets';
    CREATE FUNCTION spy(seen text) RETURNS bool LANGUAGE plpgsql COST 0.0001 AS
        $$ BEGIN IF seen LIKE '%7700' || '77%' THEN RAISE EXCEPTION 'spy saw %', seen; END IF; RETURN true; END $$;
    CREATE FUNCTION trusted_spy(seen text) RETURNS bool LANGUAGE plpgsql COST 0.0001 LEAKPROOF AS
        $$ BEGIN IF seen LIKE '%7700' || '77%' THEN RAISE EXCEPTION 'spy saw %', seen; END IF; RETURN true; END $$;
    -- The catalogue has `WHERE a OR b` for every engine.
    UPDATE pg_cast SET castcontext = 'i' WHERE castsource = 'int'::regtype AND casttarget = 'bool'::regtype;
    GRANT USAGE ON SCHEMA a, b TO APP;
    GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public, a, b TO APP;
    GRANT USAGE ON SEQUENCE docs_id_seq TO APP";

/// The effect of a statement.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Effect {
    /// The rows as text, or the code of the error.
    pub(crate) answer: Result<Vec<Vec<Option<String>>>, String>,
    /// Everything that the server sent, error texts included, without the numbers that the query contained.
    pub(crate) seen: String,
    /// The rows of tenant 2 and of the other tenants afterwards; none after an error.
    pub(crate) state: Option<(String, String)>,
}

impl Effect {
    /// Whether the result contains a mark.
    pub(crate) fn is_marked(&self) -> bool {
        MARKS.iter().any(|mark| self.seen.contains(mark))
    }
}

/// The tenants whose rows a database contains.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rows {
    Alone,
    Shared,
}

pub(crate) struct Fixture {
    /// A connection of a role that owns no table here.
    pub(crate) app: PgConnection,
    pub(crate) admin: PgConnection,
    /// The rows of tenant 2 and of the other tenants.
    pub(crate) untouched: (String, String),
    _cleanup: Cleanup,
}

impl Fixture {
    /// A database with policies on each table, or with none.
    pub(crate) async fn new(rows: Rows, policies: bool) -> Self {
        let name = format!("tenancy_test_{}", Uuid::now_v7().simple());
        let owner: PgConnectOptions = admin_url().parse().expect("TEST_POSTGRES_ADMIN_URL reads");
        let app: PgConnectOptions = postgres_url().parse().expect("TEST_POSTGRES_URL reads");
        let mut server = PgConnection::connect_with(&owner).await.expect("the superuser logs in");
        run(&mut server, &format!("CREATE DATABASE {name}")).await;
        let at = owner.clone();
        let cleanup = Cleanup::database(name.clone(), async move |name| {
            let mut server = PgConnection::connect_with(&at).await?;
            let drop = format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)");
            sqlx::raw_sql(AssertSqlSafe(drop)).execute(&mut server).await.map(|_| ())
        });
        let mut admin = PgConnection::connect_with(&owner.database(&name)).await.expect("the database opens");
        let role = format!("\"{}\"", app.get_username());
        run(
            &mut admin,
            &SCHEMA.replace("APP", &role).replace(
                "OWNER",
                "tenant_id bigint NOT NULL DEFAULT nullif(current_setting('app.tenant_id', true), '')::bigint",
            ),
        )
        .await;
        run(&mut admin, &state_function()).await;
        run(&mut admin, &inserts(2, 1, 10)).await;
        if rows == Rows::Shared {
            run(&mut admin, &inserts(1, 770_077_001, 770_077_199)).await;
            run(&mut admin, &inserts(3, 770_077_200, 770_077_387)).await;
            run(&mut admin, "SELECT setval('docs_id_seq', 770077500)").await;
        }
        if policies {
            run(&mut admin, &TABLES.map(policy).concat()).await;
        }
        run(&mut admin, "ANALYZE").await;
        // Last, because statistics of a materialized view are visible to every role.
        run(&mut admin, "REFRESH MATERIALIZED VIEW invoices_now").await;
        let untouched = state(&mut admin).await;
        let mut app = PgConnection::connect_with(&app.database(&name)).await.expect("the role logs in");
        // The role that makes a large object owns it, and the application has one role.
        let bytes = if rows == Rows::Shared { "of 770077" } else { "of nobody" };
        run(&mut app, &format!("SELECT lo_from_bytea(1, '{bytes}')")).await;
        Self { app, admin, untouched, _cleanup: cleanup }
    }

    /// Runs a text as the application's role, in a transaction for `tenant` that is rolled back.
    pub(crate) async fn effect(&mut self, tenant: &str, sql: &str, values: &[String]) -> Effect {
        let begin = format!("BEGIN; SET LOCAL app.tenant_id = '{tenant}'");
        run(&mut self.app, &begin).await;
        // Without parameters as a simple query; with parameters, prepared in SQL, so that every value is a text.
        let answered = if values.is_empty() {
            rows(&mut self.app, sql).await
        } else {
            let kind = if sql.to_lowercase().contains("$1::int[]") { "int[]" } else { "bigint" };
            let kinds = values.iter().enumerate().map(|(n, _)| if n == 0 { kind } else { "bigint" });
            let prepare = format!("PREPARE entry ({}) AS {sql}", kinds.collect::<Vec<_>>().join(", "));
            match rows(&mut self.app, &prepare).await {
                Ok(_) => rows(&mut self.app, &format!("EXECUTE entry ({})", values.join(", "))).await,
                Err(error) => Err(error),
            }
        };
        let mut effect = match answered {
            Ok(answer) => Effect {
                seen: format!("{answer:?}"),
                answer: Ok(answer),
                state: Some(state(&mut self.app).await),
            },
            Err(error) => {
                let database = error.as_database_error().unwrap_or_else(|| panic!("{sql}: {error}"));
                Effect {
                    seen: format!("{error:?}"),
                    answer: Err(database.code().expect("Postgres has codes").into_owned()),
                    state: None,
                }
            }
        };
        for number in values.iter().map(String::as_str).chain([sql]).flat_map(numbers) {
            effect.seen = effect.seen.replace(number, "");
        }
        run(&mut self.app, "ROLLBACK; DEALLOCATE ALL; RESET search_path").await;
        effect
    }
}

/// The foreign ids that a text contains.
fn numbers(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_ascii_digit()).filter(|number| number.len() > MARKS[0].len())
}

/// The policies of the guide: a restrictive floor, and a permissive policy.
fn policy(table: &str) -> String {
    let own = "tenant_id = nullif(current_setting('app.tenant_id', true), '')::bigint";
    format!(
        "ALTER TABLE {table} ENABLE ROW LEVEL SECURITY; ALTER TABLE {table} FORCE ROW LEVEL SECURITY;
         CREATE POLICY floor ON {table} AS RESTRICTIVE USING ({own}) WITH CHECK ({own});
         CREATE POLICY own ON {table} USING ({own}) WITH CHECK ({own});"
    )
}

/// One tenant's rows, with ids in a range.
fn inserts(tenant: i64, first: i64, last: i64) -> String {
    let foreign = tenant != 2;
    let (word, time, bytes, code) = if foreign {
        ("770077 ", "7700-07-07", "770077", "00000000-0000-4000-8000-770077000000")
    } else {
        ("own ", "2026-01-01", "own", "00000000-0000-4000-8000-000000000002")
    };
    // A total that shows how many rows a LIMIT with it returns.
    let total = if tenant == 1 { 2 } else { first };
    let few = last.min(first + 19);
    let mut sql = format!(
        "INSERT INTO docs SELECT {tenant}, n, n, n, '{word}' || n, '{word}name', CASE WHEN n % 2 = 0 THEN timestamptz \
         '{time}' END, n + 0.5, n, '{bytes}', jsonb_build_object('v', n), '{code}', ARRAY['{word}'], n % 2 = 0 \
         FROM generate_series({first}, {last}) n;
         INSERT INTO invoices VALUES ({tenant}, {first}, {total}, '{word}invoice');
         INSERT INTO payments VALUES ({tenant}, {first}, {first});"
    );
    for (table, columns) in [
        ("secrets", "n, n, n, n, v"),
        ("orders", "n, 2026, v"),
        ("archive", "n, v"),
        ("comments", "n, 'doc', n"),
        ("tags", "n, v"),
        ("doc_tags", "n, n"),
        ("jobs", "n, false"),
        ("a.docs", "n"),
        ("b.docs", "n"),
    ] {
        let columns = columns.replace('v', &format!("'{word}' || n"));
        writeln!(
            sql,
            "INSERT INTO {table} SELECT {tenant}, {columns} FROM generate_series({first}, {few}) n;"
        )
        .unwrap();
    }
    sql
}

/// The contents of all tables, of tenant 2 and of the others, for any caller.
fn state_function() -> String {
    let tables = TABLES.map(|table| {
        format!("SELECT tenant_id = 2 AS own, '{table} ' || t::text AS held FROM {}", qualified(table) + " t")
    });
    format!(
        "CREATE FUNCTION public.state() RETURNS TABLE (own text, others text) LANGUAGE sql SECURITY DEFINER
             SET search_path = pg_catalog AS $$
         SELECT coalesce(string_agg(held, ';' ORDER BY held) FILTER (WHERE own), ''),
                coalesce(md5(string_agg(held, ';' ORDER BY held) FILTER (WHERE NOT own)), '')
         FROM ({}) AS t $$",
        tables.join(" UNION ALL ")
    )
}

fn qualified(table: &str) -> String {
    if table.contains('.') { table.to_owned() } else { format!("public.{table}") }
}

async fn state(conn: &mut PgConnection) -> (String, String) {
    let mut rows = rows(conn, "SELECT * FROM public.state()").await.expect("the state reads");
    let [own, others] = <[_; 2]>::try_from(rows.remove(0)).expect("two columns");
    (own.unwrap_or_default(), others.unwrap_or_default())
}

/// Every value as text, with the rows sorted.
async fn rows(conn: &mut PgConnection, sql: &str) -> sqlx::Result<Vec<Vec<Option<String>>>> {
    let rows = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_all(&mut *conn).await?;
    let value = |row: &sqlx::postgres::PgRow, n| row.get_unchecked::<Option<String>, _>(n);
    let mut rows: Vec<Vec<_>> =
        rows.iter().map(|row| (0..row.len()).map(|n| value(row, n)).collect()).collect();
    rows.sort();
    Ok(rows)
}

pub(crate) async fn run(conn: &mut PgConnection, sql: &str) {
    rows(conn, sql).await.unwrap_or_else(|e| panic!("{sql}: {e}"));
}
