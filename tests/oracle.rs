//! A rewritten statement on the database of all tenants does what the statement does on a database of one tenant.
//!
//! Statements are made up at random, from a seed that is printed. Each runs as it is on a database that holds one
//! tenant's rows and, rewritten, on two that hold others' rows as well, each time other ones: the same rows, the
//! same count, the same error, the same rows afterwards, and the others' rows as they were. That it is the same on
//! both also shows that nothing of the others' rows can be learnt.

mod common;
mod oracle_statements;

use common::TestBackend;
use oracle_statements::Statements;
use sqlx::{Acquire, AssertSqlSafe, Postgres, Row, Sqlite};
use tenancy_sql::{Bind, Dialect, Schema, rewrite};

/// The tenant that the statements are run as, among three.
const TENANT: i64 = 2;

/// A row, each value as text.
type Values = Vec<Option<String>>;
type Answer = Result<Vec<Values>, String>;

/// What a statement did.
#[derive(Debug, PartialEq)]
struct Effect {
    answer: Answer,
    /// The tenant's rows afterwards.
    own: Vec<Values>,
}

const STATE: &str = "SELECT 'o' AS t, CAST(id AS TEXT) AS a, CAST(customer AS TEXT) AS b, CAST(total AS TEXT) AS c, note AS d \
        FROM orders WHERE tenant_id IN (TENANTS) \
    UNION ALL SELECT 'i', CAST(id AS TEXT), CAST(order_id AS TEXT), CAST(qty AS TEXT), note FROM items WHERE tenant_id IN (TENANTS) \
    UNION ALL SELECT 'c', CAST(id AS TEXT), CAST(score AS TEXT), CAST(tenant_id AS TEXT), name FROM customers \
        WHERE tenant_id IN (TENANTS)";

macro_rules! oracle {
    ($name:ident, $db:ty, $dialect:expr) => {
        mod $name {
            use super::*;

            /// Runs one statement and undoes it. On a database of one tenant the statement is not rewritten.
            async fn effect(pool: &sqlx::Pool<$db>, sql: &str, tenant: Option<i64>) -> (Effect, Vec<Values>) {
                let mut conn = pool.acquire().await.unwrap();
                let mut tx = conn.begin().await.unwrap();
                let mut query = sqlx::query(AssertSqlSafe(sql));
                if let Some(tenant) = tenant {
                    query = query.bind(tenant);
                }
                let reads =
                    sql.starts_with("SELECT") || sql.starts_with("WITH") || sql.contains(" RETURNING ");
                // A savepoint, so that the state can be read after an error.
                let mut inner = tx.begin().await.unwrap();
                let done = if reads {
                    query.fetch_all(&mut *inner).await.map(|rows| rows.iter().map(values).collect())
                } else {
                    let done = query.execute(&mut *inner).await;
                    done.map(|done| vec![vec![Some(done.rows_affected().to_string())]])
                };
                let answer = match done {
                    Ok(rows) => {
                        inner.commit().await.unwrap();
                        Ok(sorted(rows))
                    }
                    Err(e) => {
                        inner.rollback().await.unwrap();
                        let code = e.as_database_error().and_then(|e| e.code().map(|code| code.into_owned()));
                        Err(code.unwrap_or_else(|| e.to_string()))
                    }
                };
                let own = state(&mut tx, &TENANT.to_string()).await;
                let others = state(&mut tx, "1, 3").await;
                tx.rollback().await.unwrap();
                (Effect { answer, own }, others)
            }

            async fn state(tx: &mut sqlx::Transaction<'_, $db>, tenants: &str) -> Vec<Values> {
                let sql = STATE.replace("TENANTS", tenants);
                sorted(
                    sqlx::query(AssertSqlSafe(sql))
                        .fetch_all(&mut **tx)
                        .await
                        .unwrap()
                        .iter()
                        .map(values)
                        .collect(),
                )
            }

            fn values(row: &<$db as sqlx::Database>::Row) -> Values {
                (0..row.len()).map(|i| row.get::<Option<String>, _>(i)).collect()
            }

            /// Returns how many statements failed on either side alike, and how many answered rows.
            pub(super) async fn run(seed: u64, count: usize) -> (usize, usize) {
                let mut worlds = Vec::new();
                for (tenants, salt) in [(vec![TENANT], 0), (vec![1, TENANT, 3], 1), (vec![1, TENANT, 3], 2)] {
                    let (pool, cleanup) = <$db>::fresh(1).await;
                    let alone = tenants.len() == 1;
                    <$db>::raw(&pool, &oracle_statements::tables(alone.then_some(TENANT))).await.unwrap();
                    for tenant in tenants {
                        let salt = if tenant == TENANT { 0 } else { salt };
                        <$db>::raw(&pool, &oracle_statements::rows(tenant, seed ^ (salt * 977)))
                            .await
                            .unwrap();
                    }
                    worlds.push((pool, cleanup));
                }
                let schema = Schema::new("tenant_id").unwrap().shared("countries").unwrap();
                let mut statements = Statements::new($dialect, seed);
                let before = [&worlds[1].0, &worlds[2].0];
                let untouched = [
                    effect(before[0], "SELECT 1 WHERE 1 = 0", None).await.1,
                    effect(before[1], "SELECT 1 WHERE 1 = 0", None).await.1,
                ];
                assert!(untouched.iter().all(|others| others.len() > 20));
                let (mut failed, mut answered) = (0, 0);
                for n in 0..count {
                    let sql = statements.next();
                    let own = rewrite($dialect, &sql, &schema)
                        .unwrap_or_else(|refused| panic!("seed {seed}, statement {n}: {sql}\n{refused}"));
                    let tenant = own.binds().contains(&Bind::Tenant).then_some(TENANT);
                    let (wanted, _) = effect(&worlds[0].0, &sql, None).await;
                    for (world, untouched) in before.iter().zip(&untouched) {
                        let (got, others) = effect(world, own.text(), tenant).await;
                        assert_eq!(got, wanted, "seed {seed}, statement {n}:\n{sql}\n{}", own.text());
                        assert_eq!(&others, untouched, "seed {seed}, statement {n}:\n{sql}\n{}", own.text());
                    }
                    match &wanted.answer {
                        Err(_) => failed += 1,
                        Ok(rows) => answered += usize::from(!rows.is_empty()),
                    }
                }
                (failed, answered)
            }
        }
    };
}

oracle!(sqlite, Sqlite, Dialect::Sqlite);
oracle!(postgres, Postgres, Dialect::Postgres);

fn sorted(mut rows: Vec<Values>) -> Vec<Values> {
    rows.sort();
    rows
}

/// `ORACLE_SEED` and `ORACLE_COUNT` run other statements, and more.
fn wanted(count: usize) -> (u64, usize) {
    let read = |name| std::env::var(name).ok().and_then(|text| text.parse().ok());
    (read("ORACLE_SEED").unwrap_or(1), read("ORACLE_COUNT").map_or(count, |n| usize::try_from(n).unwrap()))
}

#[expect(clippy::print_stdout, reason = "the seed, for whom a statement fails")]
fn check(engine: &str, (seed, count): (u64, usize), (failed, answered): (usize, usize)) {
    println!("{engine}: seed {seed}, {count} statements, {answered} with rows, {failed} failed alike");
    assert!(failed * 6 < count, "{failed} of {count} failed: the statements prove too little");
    assert!(answered * 3 > count, "{answered} of {count} answered rows: the statements prove too little");
}

#[tokio::test]
async fn on_sqlite_the_rewritten_statement_does_what_it_does_for_one_tenant_alone() {
    let (seed, count) = wanted(3_000);
    check("SQLite", (seed, count), sqlite::run(seed, count).await);
}

#[tokio::test]
async fn on_postgres_the_rewritten_statement_does_what_it_does_for_one_tenant_alone() {
    let (seed, count) = wanted(800);
    check("Postgres", (seed, count), postgres::run(seed, count).await);
}
