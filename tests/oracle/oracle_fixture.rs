//! Fixture: three databases on which a statement must do the same: one of a single tenant, two of several tenants.

use std::fmt::{self, Debug};

use futures_util::TryStreamExt;
use sqlx::mysql::MySqlConnection;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::sqlite::SqliteConnection;
use sqlx::{AssertSqlSafe, Connection as _, Either, Executor, Postgres, Row};
use tenancy_sql::{Bind, Dialect, Rewritten, Schema, rewrite};
use uuid::Uuid;

use crate::common::{Cleanup, TestBackend, admin_url, postgres_url};
use crate::mysql::fresh_mysql;
use crate::oracle_statements::{self as statements, COUNT};

/// The tenant of the statements, among three.
const TENANT: i64 = 2;

/// After this many read-only statements the rows are compared all the same.
const READS: usize = 100;

/// The value that an engine sends.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Value(Option<Vec<u8>>);

impl Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            None => f.write_str("NULL"),
            Some(bytes) => write!(f, "{}", bytes.escape_ascii()),
        }
    }
}

/// The sorted rows; without rows, the number of written rows; or the code of the error.
pub(crate) type Answer = Result<Vec<Vec<Value>>, String>;

/// The contents of the tables, one text for each table and tenant.
type State = Vec<Vec<Value>>;

/// The effect of a statement.
#[derive(Debug)]
struct Effect {
    answer: Answer,
    /// The rows afterwards, if the statement may write and did not fail.
    state: Option<State>,
}

/// The layer that separates the tenants of a shared database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layer {
    /// Statements are rewritten.
    Rewriter,
    /// Statements run unchanged, on tables with policies, as a role that does not own the tables.
    Policies,
}

/// The three databases.
pub(crate) struct Databases {
    dialect: Dialect,
    layer: Layer,
    schema: Schema,
    alone: Database,
    shared: [Database; 2],
    reads: usize,
}

impl Databases {
    pub(crate) async fn new(dialect: Dialect, layer: Layer, seed: u64) -> Self {
        let schema = Schema::from_toml(
            r#"
            shared = ["countries"]
            global_keys = { orders = ["customer"] }
            composite_types = { address = ["street", "city"], orders = ["total", "note"] }
            "#,
        )
        .and_then(|schema| {
            let keys = "primary_keys = { orders = [\"tenant_id\", \"id\"], items = [\"tenant_id\", \"id\"] }";
            schema.with_snapshot(keys)
        })
        .unwrap();
        let alone = Database::new(dialect, Layer::Rewriter, &[TENANT], seed, 0).await;
        let shared = [
            Database::new(dialect, layer, &[1, TENANT, 3], seed, 1).await,
            Database::new(dialect, layer, &[1, TENANT, 3], seed, 2).await,
        ];
        let [one, two] = shared.each_ref().map(|database| parted(&database.untouched));
        assert_eq!((&one.0, &two.0), (&alone.untouched, &alone.untouched), "the tenant's rows are the same");
        assert_eq!(one.1.len(), 2 * COUNT, "two other tenants have rows in every table");
        assert_ne!(one.1, two.1, "the others' rows differ");
        Self { dialect, layer, schema, alone, shared, reads: 0 }
    }

    /// Treats this table as one without tenants: a rewriter without its guards, or a table without its policies.
    pub(crate) async fn unguarded(mut self, table: &str) -> Self {
        if self.layer == Layer::Policies {
            for database in &mut self.shared {
                database.connection.run(&format!("ALTER TABLE {table} DISABLE ROW LEVEL SECURITY")).await;
            }
            return self;
        }
        Self { schema: self.schema.shared_writable(table).unwrap(), ..self }
    }

    /// Runs a statement on all three databases and rolls it back. Returns the result, or the difference.
    pub(crate) async fn compare(&mut self, sql: &str, values: &[i64]) -> Result<Answer, String> {
        let own = rewrite(self.dialect, sql, &self.schema).map_err(|refused| format!("{sql}\n{refused}"))?;
        let writes = !own.is_read_only();
        let (text, scoped) = match self.layer {
            Layer::Rewriter => (own.text(), bound(&own, values)),
            Layer::Policies => (sql, values.to_vec()),
        };
        let [one, two] = &mut self.shared;
        let (wanted, one, two) = tokio::join!(
            self.alone.effect(sql, values, writes),
            one.effect(text, &scoped, writes),
            two.effect(text, &scoped, writes),
        );
        let differ = |what: &str, got: &dyn Debug, wanted: &dyn Debug| {
            Err(format!("{sql}\n{text}\n{what} {got:?}\nwanted {wanted:?}"))
        };
        for (got, database) in [one, two].iter().zip(&self.shared) {
            if got.answer != wanted.answer {
                return differ("answered", &got.answer, &wanted.answer);
            }
            let (Some(got), Some(wanted)) = (&got.state, &wanted.state) else { continue };
            let ((own_rows, others), untouched) = (parted(got), parted(&database.untouched).1);
            if own_rows != *wanted {
                return differ("the tenant's rows are", &own_rows, wanted);
            }
            if others != untouched {
                return differ("the others' rows are", &others, &untouched);
            }
        }
        if !writes {
            self.reads += 1;
            if self.reads.is_multiple_of(READS) {
                self.unchanged().await.map_err(|why| format!("{sql}, or one before: {why}"))?;
            }
        }
        Ok(wanted.answer)
    }

    /// Checks that the rows are unchanged: every write was rolled back, and read-only statements wrote nothing.
    pub(crate) async fn unchanged(&mut self) -> Result<(), String> {
        let [one, two] = &mut self.shared;
        for database in [&mut self.alone, one, two] {
            let state = database.connection.state(self.dialect, "", "").await;
            if state != database.untouched {
                return Err(format!("what only reads has written: {state:?}"));
            }
        }
        Ok(())
    }
}

/// The values for a rewritten text, in its order.
fn bound(own: &Rewritten, values: &[i64]) -> Vec<i64> {
    let value = |bind: &Bind| match bind {
        Bind::Value(n) => values[n - 1],
        Bind::Tenant => TENANT,
        other => panic!("{other:?} is new"),
    };
    own.binds().iter().map(value).collect()
}

/// The rows of the tenant, and those of the others.
fn parted(state: &State) -> (State, State) {
    let own = Value(Some(TENANT.to_string().into_bytes()));
    state.iter().cloned().partition(|row| row[0] == own)
}

struct Database {
    dialect: Dialect,
    /// SQL that switches to the application's role for one statement, and SQL that switches back.
    enter: String,
    leave: &'static str,
    connection: Connection,
    untouched: State,
    _cleanup: Option<Cleanup>,
}

impl Database {
    async fn new(dialect: Dialect, layer: Layer, tenants: &[i64], seed: u64, salt: u64) -> Self {
        let (mut connection, cleanup) = match layer {
            Layer::Rewriter => Connection::fresh(dialect).await,
            Layer::Policies => Connection::as_owner().await,
        };
        let alone = (tenants.len() == 1).then_some(TENANT);
        connection.run(&statements::tables(dialect, alone)).await;
        let (enter, leave) = match layer {
            Layer::Rewriter => (String::new(), ""),
            Layer::Policies => {
                let options: PgConnectOptions = postgres_url().parse().expect("TEST_POSTGRES_URL reads");
                let role = options.get_username();
                connection.run(&statements::policies(role)).await;
                let enter = format!("; SET LOCAL ROLE \"{role}\"; SET LOCAL app.tenant_id = '{TENANT}'");
                (enter, "RESET ROLE; ")
            }
        };
        for &tenant in tenants {
            let salt = if tenant == TENANT { 0 } else { salt };
            connection.run(&statements::rows(dialect, tenant, seed ^ (salt * 977))).await;
        }
        let untouched = connection.state(dialect, "", "").await;
        Self { dialect, enter, leave, connection, untouched, _cleanup: cleanup }
    }

    /// Runs one statement; a write runs in a transaction that is rolled back.
    async fn effect(&mut self, sql: &str, values: &[i64], writes: bool) -> Effect {
        if !writes && self.enter.is_empty() {
            return Effect { answer: self.connection.answer(sql, values, writes).await, state: None };
        }
        self.connection.run(&format!("BEGIN{}", self.enter)).await;
        let answer = self.connection.answer(sql, values, writes).await;
        if !writes {
            self.connection.run("ROLLBACK").await;
            return Effect { answer, state: None };
        }
        // After an error PostgreSQL has aborted the transaction and runs nothing else in it.
        if answer.is_err() && self.dialect == Dialect::Postgres {
            self.connection.run("ROLLBACK").await;
            return Effect { answer, state: None };
        }
        let state = self.connection.state(self.dialect, self.leave, "; ROLLBACK").await;
        Effect { answer, state: Some(state) }
    }
}

enum Connection {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
    MySql(MySqlConnection),
}

macro_rules! on {
    ($self:ident, $connection:ident => $body:expr) => {
        match $self {
            Connection::Sqlite($connection) => $body,
            Connection::Postgres($connection) => $body,
            Connection::MySql($connection) => $body,
        }
    };
}

/// Every value of a row, as it was sent.
macro_rules! row {
    ($row:expr, $bytes:expr) => {
        (0..$row.len()).map(|i| Value($row.get_unchecked::<Option<_>, _>(i).map($bytes))).collect::<Vec<_>>()
    };
}

impl Connection {
    async fn fresh(dialect: Dialect) -> (Self, Option<Cleanup>) {
        match dialect {
            Dialect::Sqlite => {
                let connection = SqliteConnection::connect("sqlite::memory:").await.expect("SQLite opens");
                (Self::Sqlite(connection), None)
            }
            Dialect::Postgres => {
                let (url, cleanup) = Postgres::fresh_url().await;
                let mut connection = PgConnection::connect(&url).await.expect("the new database opens");
                // PostgreSQL overestimates the small tables, and would compile most statements to machine code.
                connection.execute("SET jit = off").await.expect("Postgres has a jit");
                (Self::Postgres(connection), Some(cleanup))
            }
            _ => {
                let (mut connection, cleanup) = fresh_mysql().await;
                // MariaDB 10.11 merges a derived table into an outer join with a constant or a coalesce() where the
                // join has NULLs. That is wrong for any query with a derived table, rewritten or not.
                let exact = "SET SESSION optimizer_switch = 'derived_merge=off'";
                connection.execute(exact).await.expect("MariaDB knows derived_merge");
                (Self::MySql(connection), Some(cleanup))
            }
        }
    }

    /// A new database that a superuser owns.
    async fn as_owner() -> (Self, Option<Cleanup>) {
        let owner: PgConnectOptions = admin_url().parse().expect("TEST_POSTGRES_ADMIN_URL reads");
        let mut server = PgConnection::connect_with(&owner).await.expect("the superuser logs in");
        let name = format!("tenancy_test_{}", Uuid::now_v7().simple());
        let create = format!("CREATE DATABASE {name}");
        server.execute(AssertSqlSafe(create)).await.expect("a superuser can make databases");
        let mut connection =
            PgConnection::connect_with(&owner.clone().database(&name)).await.expect("the new database opens");
        connection.execute("SET jit = off").await.expect("Postgres has a jit");
        let cleanup = Cleanup::database(name, async move |name| {
            let mut server = PgConnection::connect_with(&owner).await?;
            let drop = format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)");
            server.execute(AssertSqlSafe(drop)).await.map(|_| ())
        });
        (Self::Postgres(connection), Some(cleanup))
    }

    async fn run(&mut self, sql: &str) {
        on!(self, connection => {
            let done = sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut *connection).await;
            done.unwrap_or_else(|e| panic!("{sql}: {e}"));
        });
    }

    /// The contents of every table; runs `before` and `then` in the same message.
    async fn state(&mut self, dialect: Dialect, before: &str, then: &str) -> State {
        let sql = format!("{before}{}{then}", statements::state(dialect));
        on!(self, connection => {
            let rows = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_all(&mut *connection).await;
            sorted(rows.expect("the state reads").iter().map(|row| row!(row, String::into_bytes)).collect())
        })
    }

    async fn answer(&mut self, sql: &str, values: &[i64], writes: bool) -> Answer {
        let answered = on!(self, connection => {
            let mut query = sqlx::query(AssertSqlSafe(sql));
            for value in values {
                query = query.bind(*value);
            }
            let (mut rows, mut count) = (Vec::new(), 0);
            let mut answers = (&mut *connection).fetch_many(query);
            loop {
                match answers.try_next().await {
                    Ok(Some(Either::Left(done))) => count += done.rows_affected(),
                    Ok(Some(Either::Right(row))) => rows.push(row!(row, |bytes: Vec<u8>| bytes)),
                    Ok(None) => break Ok((rows, count)),
                    Err(e) => break Err(e),
                }
            }
        });
        match answered {
            Ok((rows, count)) if writes && rows.is_empty() => {
                Ok(vec![vec![Value(Some(format!("{count} written").into_bytes()))]])
            }
            Ok((rows, _)) => Ok(sorted(rows)),
            Err(e) => {
                let code = e.as_database_error().and_then(sqlx::error::DatabaseError::code);
                let code = code.unwrap_or_else(|| panic!("{sql}: {e}"));
                // SQLite distinguishes a primary key from another key, and a database of one tenant has one of each.
                Err(if code == "1555" { "2067".to_owned() } else { code.into_owned() })
            }
        }
    }
}

fn sorted(mut rows: Vec<Vec<Value>>) -> Vec<Vec<Value>> {
    rows.sort();
    rows
}
