//! What SQLite has beside the rows of tenants: tables that refer to them, the types of tenant columns, and the numbers of rows.

use sqlx::sqlite::{Sqlite, SqliteConnection};

use super::rewrite::used_up;
use super::table::{ChildTable, DataColumn, DataTable};
use super::tenant_data::TenantData;
use crate::database::database_error;
use crate::error::{Error, ErrorKind, Result};

/// A column: its table, its name and type, whether it is `NOT NULL`, its position in the primary key, and whether it is hidden.
pub(super) type ColumnRow = (String, String, String, bool, i64, i64);

/// A column of a foreign key: the child, the number of the key, the parent, a column of each, and the action.
pub(super) type KeyRow = (String, i64, String, String, Option<String>, String);

/// Adds the tables without the tenant column that refer to the tables.
pub(super) fn add_children(tables: &mut [DataTable], keys: &[KeyRow]) {
    let names: Vec<String> = tables.iter().map(|table| table.name.clone()).collect();
    for (name, id, parent, ..) in keys.iter().filter(|key| !names.contains(&key.0)) {
        let Some(table) = tables.iter_mut().find(|table| table.name.eq_ignore_ascii_case(parent)) else {
            continue;
        };
        let pairs: Vec<&KeyRow> = keys.iter().filter(|key| key.0 == *name && key.1 == *id).collect();
        let by_name = pairs.iter().map(|key| Some((quoted(&key.3), quoted(key.4.as_deref()?))));
        let columns: Option<Vec<(String, String)>> = by_name.collect();
        let child = ChildTable {
            name: name.clone(),
            ident: quoted(name),
            columns: columns.unwrap_or_default(),
            hidden: false,
        };
        // A key of several columns is in the list several times.
        if !table.children.contains(&child) {
            table.children.push(child);
        }
    }
}

/// Whether any table has `AUTOINCREMENT`.
async fn has_numbers(conn: &mut SqliteConnection) -> Result<bool> {
    let sql = "SELECT count(*) > 0 FROM sqlite_master WHERE name = 'sqlite_sequence'";
    sqlx::query_scalar(sql).fetch_one(conn).await.map_err(|e| database_error(&e))
}

/// The highest number that a table with `AUTOINCREMENT` has given out; `None` for any other table.
async fn last_number(conn: &mut SqliteConnection, table: &DataTable) -> Result<Option<i64>> {
    if !has_numbers(conn).await? {
        return Ok(None);
    }
    let last = sqlx::query_scalar("SELECT max(seq) FROM sqlite_sequence WHERE name = $1").bind(&table.name);
    last.fetch_one(conn).await.map_err(|e| database_error(&e))
}

/// The number that is added to the ids of a bundle. Nobody else writes until the transaction ends.
pub(super) async fn reserve_numbers(
    conn: &mut SqliteConnection,
    table: &DataTable,
    column: &DataColumn,
    highest: i64,
) -> Result<i64> {
    let sql = format!("SELECT coalesce(max({}), 0) FROM {}", column.ident, table.ident);
    let stored = Sqlite::read_number(conn, sql).await.map_err(|e| database_error(&e))?;
    let last = last_number(conn, table).await?.unwrap_or(0).max(stored).max(0);
    // One bundle must not use up the numbers of all tenants.
    match last.checked_add(highest).filter(|end| *end <= i64::MAX / 2) {
        Some(_) => Ok(last),
        None => Err(used_up(table, column)),
    }
}

/// Lets the numbers of a table with `AUTOINCREMENT` continue after those of the same table in another place, so that the
/// number of a deleted row is not given out again.
pub(super) async fn copy_numbers(
    source: &mut SqliteConnection,
    from: &DataTable,
    target: &mut SqliteConnection,
    to: &DataTable,
) -> Result<()> {
    let Some(last) = last_number(source, from).await? else { return Ok(()) };
    if !has_numbers(target).await? {
        return Ok(());
    }
    let update = "UPDATE sqlite_sequence SET seq = max(seq, $1) WHERE name = $2";
    let insert = "INSERT INTO sqlite_sequence (seq, name) SELECT $1, $2 \
        WHERE NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = $2)";
    for sql in [update, insert] {
        let done = sqlx::query(sql).bind(last).bind(&to.name).execute(&mut *target).await;
        done.map_err(|e| database_error(&e))?;
    }
    Ok(())
}

/// The foreign keys with RESTRICT, which is checked at once.
pub(super) async fn restricted_keys(conn: &mut SqliteConnection) -> Result<Vec<(String, String)>> {
    let sql = "SELECT m.name, k.\"table\" FROM sqlite_master m JOIN pragma_foreign_key_list(m.name) k \
        WHERE m.type = 'table' AND k.on_delete = 'RESTRICT' AND k.seq = 0";
    sqlx::query_as(sql).fetch_all(conn).await.map_err(|e| database_error(&e))
}

/// A name as an identifier in SQL.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Whether a column of this type has texts.
pub(super) fn is_text(r#type: &str) -> bool {
    let r#type = r#type.to_ascii_uppercase();
    ["CHAR", "CLOB", "TEXT"].iter().any(|word| r#type.contains(word))
}

/// What identifies a row: its number, or its primary key in a table `WITHOUT ROWID`.
///
/// A primary key alone does not: it can be null. A column can have the name of the number.
pub(super) fn row_of(name: &str, rows: &[ColumnRow], without_rowid: &[String]) -> Result<Vec<String>> {
    if without_rowid.iter().any(|one| one == name) {
        return Ok(rows.iter().filter(|row| row.4 > 0).map(|row| quoted(&row.1)).collect());
    }
    let is_column = |number: &&&str| rows.iter().any(|row| row.1.eq_ignore_ascii_case(number));
    match ["rowid", "_rowid_", "oid"].iter().find(|number| !is_column(number)) {
        Some(number) => Ok(vec![(*number).to_owned()]),
        None => Err(Error::new(
            ErrorKind::Misconfigured,
            format!(
                "`{name}` has columns of the names `rowid`, `_rowid_` and `oid`, so its rows have no number; rename one of them"
            ),
        )),
    }
}

/// Whether a text of a bundle is a value: SQLite would read another text as 0, as NULL, or in part.
pub(super) fn is_value(text: &str) -> bool {
    let Some(rest) = text.get(1..) else { return false };
    match text.as_bytes()[0] {
        b'i' => rest.parse::<i64>().is_ok(),
        b'r' => matches!(rest, "Inf" | "-Inf") || (rest.parse::<f64>().is_ok_and(f64::is_finite)),
        b't' => true,
        b'x' => rest.len().is_multiple_of(2) && rest.bytes().all(|digit| digit.is_ascii_hexdigit()),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::is_value;

    #[test]
    fn a_value_has_its_class_and_its_form() {
        for value in
            ["i-5", "i9223372036854775807", "r1.5e-300", "rInf", "r-Inf", "t", "ti5", "tab\0c", "x", "x00Ff"]
        {
            assert!(is_value(value), "{value}");
        }
        for other in [
            "",
            "i",
            "iabc",
            "i9223372036854775808",
            "r",
            "rnan",
            "rinf",
            "r1e999",
            "x0",
            "xzz",
            "5",
            "é",
            "n",
        ] {
            assert!(!is_value(other), "{other}");
        }
    }
}
