//! The generated numbers of tables on PostgreSQL.

use sqlx::postgres::{PgConnection, Postgres};
use sqlx::{AssertSqlSafe, Row};

use super::rewrite::used_up;
use super::statement::of_tenant;
use super::sync::differing;
use super::table::{DataColumn, DataTable};
use super::tenant_data::TenantData;
use crate::database::database_error;
use crate::error::{Error, ErrorKind, Result};
use crate::isolation::{literal, quoted};
use crate::tenant::TenantId;

/// How many numbers are left to other transactions that take some at the same time.
const MARGIN: i64 = 1000;

/// The type of the column `a`, as `base.oid`, with domains resolved.
pub(super) const BASE_TYPE: &str = "LATERAL (WITH RECURSIVE types (oid, below) AS ( \
        SELECT oid, typbasetype FROM pg_type WHERE oid = a.atttypid \
        UNION ALL SELECT t.oid, t.typbasetype FROM types JOIN pg_type t ON t.oid = types.below AND types.below <> 0) \
    SELECT oid FROM types WHERE below = 0) AS base";

/// The sequences of the columns of a table: those that a default reads, and those that belong to the column.
const SEQUENCES: &str = "SELECT a.attname::text, format_type(base.oid, NULL), s.ident, s.rises, s.last FROM pg_attribute a CROSS JOIN BASE \
    CROSS JOIN LATERAL (SELECT format('%I.%I', n.nspname, c.relname) AS ident, q.seqincrement > 0 AS rises, c.relname, \
            CASE WHEN q.seqincrement > 0 THEN q.seqmax ELSE q.seqmin END AS last, \
            bool_or(p.classid = 'pg_attrdef'::regclass) AS reads \
        FROM pg_depend p \
        LEFT JOIN pg_attrdef d ON p.classid = 'pg_attrdef'::regclass AND d.oid = p.objid \
        JOIN pg_class c ON c.relkind = 'S' AND c.oid = CASE WHEN d.oid IS NULL THEN p.objid ELSE p.refobjid END \
        JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_sequence q ON q.seqrelid = c.oid \
        WHERE p.refclassid = 'pg_class'::regclass AND ((d.adrelid = a.attrelid AND d.adnum = a.attnum) \
            OR (p.classid = 'pg_class'::regclass AND p.deptype IN ('a', 'i') \
                AND p.refobjid = a.attrelid AND p.refobjsubid = a.attnum)) \
        GROUP BY 1, 2, 3, 4) s \
    WHERE a.attrelid = TABLE::regclass AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum, s.reads DESC, s.relname";

/// A sequence of a column.
struct Sequence {
    /// The column in SQL.
    column: String,
    /// The type of the column, with domains resolved.
    r#type: String,
    /// The sequence in SQL, with its schema.
    ident: String,
    /// Whether its numbers rise.
    rises: bool,
    /// The last number that it can generate.
    limit: i64,
}

impl Sequence {
    /// Sets the last number to that of a table `found`, unless the sequence is there already: it can be one of all tenants.
    ///
    /// Other transactions take a few numbers between the two steps of the statement: in `shared` tables, some are left to
    /// them, if there are enough.
    fn advance(&self, found: &str, shared: bool) -> String {
        let Self { ident, rises, limit, .. } = self;
        let (sign, order, left) = if *rises { ('+', '>', "") } else { ('-', '<', "-") };
        let margin = if shared { MARGIN } else { 0 };
        let is_possible = self.is_possible("found.last", shared);
        let set = format!(
            "SELECT setval({}, found.last {sign} least({margin}, {left}(({limit})::bigint / 2 - found.last / 2))) \
             FROM {found}, {ident} AS now WHERE {is_possible} \
             AND (found.last {order} now.last_value OR (found.last = now.last_value AND NOT now.is_called))",
            literal(ident)
        );
        format!("{}; {set}; {}", self.lock(), self.unlock())
    }

    /// Whether the sequence can generate a number. In `shared` tables the last thousandth of its numbers is left out: one
    /// row must not use up the numbers of all tenants.
    fn is_possible(&self, number: &str, shared: bool) -> String {
        let last = if shared { self.limit - self.limit / 1000 } else { self.limit };
        format!("{number} {} ({last})::bigint", if self.rises { "<=" } else { ">=" })
    }

    /// Keeps other operations away from the sequence. The lock is released at once, because a sequence has no transaction;
    /// after an error it ends with the session.
    fn lock(&self) -> String {
        format!("SELECT pg_advisory_lock({})", self.lock_key())
    }

    fn unlock(&self) -> String {
        format!("SELECT pg_advisory_unlock({})", self.lock_key())
    }

    fn lock_key(&self) -> String {
        format!("hashtextextended({}, 0)", literal(&format!("tenancy numbers {}", self.ident)))
    }
}

/// Lets the next generated number of a table be greater than its rows.
pub(super) async fn advance(
    conn: &mut PgConnection,
    table: &DataTable,
    tenant: &TenantId,
    shared: bool,
) -> Result<()> {
    for sequence in sequences(conn, table).await? {
        if !Postgres::is_whole_number(&sequence.r#type) || table.position(&sequence.column).is_none() {
            continue;
        }
        let (column, only, ident) = (&sequence.column, table.only, &table.ident);
        let last = if sequence.rises { "max" } else { "min" };
        let of_tenant = of_tenant::<Postgres>(table, tenant);
        let is_possible = sequence.is_possible(&format!("t.{column}"), shared);
        let found = format!(
            "(SELECT {last}(t.{column})::bigint AS last FROM {only}{ident} AS t WHERE {of_tenant} AND {is_possible}) AS found"
        );
        send(conn, sequence.advance(&found, shared)).await?;
    }
    Ok(())
}

/// Lets the sequences of a table be at least as far as those of the same table in another place, so that the number of a
/// deleted row is not given out again.
pub(super) async fn copy(
    source: &mut PgConnection,
    from: &DataTable,
    target: &mut PgConnection,
    to: &DataTable,
    shared: bool,
) -> Result<()> {
    let (own, theirs) = (sequences(source, from).await?, sequences(target, to).await?);
    if !own.iter().map(|one| &one.column).eq(theirs.iter().map(|one| &one.column)) {
        return Err(differing(&from.name));
    }
    for (own, theirs) in own.iter().zip(&theirs) {
        let sql = format!("SELECT last_value, is_called FROM {}", own.ident);
        let row = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_one(&mut *source).await;
        let row = row.map_err(|e| database_error(&e))?;
        let last: i64 = row.try_get(0).map_err(|e| database_error(&e))?;
        if row.try_get(1).map_err(|e| database_error(&e))? {
            let found = format!("(SELECT '{last}'::bigint AS last) AS found");
            send(target, theirs.advance(&found, shared)).await?;
        }
    }
    Ok(())
}

/// Reserves the numbers up to `highest` above those of a column, and returns how much is added to each.
pub(super) async fn reserve(
    conn: &mut PgConnection,
    table: &DataTable,
    column: &DataColumn,
    highest: i64,
) -> Result<i64> {
    let sequences = sequences(conn, table).await?;
    let Some(sequence) = sequences.into_iter().find(|one| one.column == column.ident && one.rises) else {
        return Err(Error::new(
            ErrorKind::Misconfigured,
            format!(
                "`{}.{}` has no sequence from which new ids could be taken; import into a schema or a database of its own",
                table.name, column.name
            ),
        ));
    };
    send(conn, sequence.lock()).await?;
    let reserved = reserve_of(conn, &sequence, (table, column), highest).await;
    let unlocked = send(conn, sequence.unlock()).await;
    reserved.and_then(|offset| unlocked.map(|()| offset))
}

/// The sequence is locked.
async fn reserve_of(
    conn: &mut PgConnection,
    sequence: &Sequence,
    (table, column): (&DataTable, &DataColumn),
    highest: i64,
) -> Result<i64> {
    let last = format!("SELECT last_value FROM {}", sequence.ident);
    let last = Postgres::read_number(conn, last).await.map_err(|e| database_error(&e))?;
    let max = match &*sequence.r#type {
        "smallint" => i64::from(i16::MAX),
        "integer" => i64::from(i32::MAX),
        _ => i64::MAX,
    };
    let offset = last.saturating_add(MARGIN);
    let end = offset.saturating_add(highest.max(1));
    // One bundle must not use up the numbers of all tenants.
    if end > max.min(sequence.limit) / 2 {
        return Err(used_up(table, column));
    }
    send(conn, format!("SELECT setval({}, {end})", literal(&sequence.ident))).await?;
    Ok(offset)
}

async fn sequences(conn: &mut PgConnection, table: &DataTable) -> Result<Vec<Sequence>> {
    let sql = SEQUENCES.replace("BASE", BASE_TYPE).replace("TABLE", &literal(&table.ident));
    let rows = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_all(conn).await.map_err(|e| database_error(&e))?;
    let sequences = rows.iter().map(|row| {
        let column: String = row.try_get(0)?;
        let column = quoted(&column);
        Ok(Sequence {
            column,
            r#type: row.try_get(1)?,
            ident: row.try_get(2)?,
            rises: row.try_get(3)?,
            limit: row.try_get(4)?,
        })
    });
    sequences.collect::<sqlx::Result<_>>().map_err(|e| database_error(&e))
}

pub(super) async fn send(conn: &mut PgConnection, sql: String) -> Result<()> {
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(conn).await.map(|_| ()).map_err(|e| database_error(&e))
}
