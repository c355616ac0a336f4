//! Deletes the rows of a tenant: from one table in batches that do not lock it, and from several in one transaction.

use super::statement::{delete_all, delete_some, link_to_itself, rows_of, unlink};
use super::table::{DataTable, Link};
use super::tenant_data::TenantData;
use crate::error::Result;
use crate::tenant::TenantId;

/// How often the leaves of a table that refers to itself are deleted, before all rows are deleted by one statement.
const PASSES: u32 = 1000;

/// Deletes all rows of a tenant, each batch in a transaction of its own. Returns how many.
pub(super) async fn delete_rows<DB: TenantData>(
    conn: &mut DB::Connection,
    table: &DataTable,
    tenant: &TenantId,
    batch: u32,
) -> Result<u64> {
    let has_leaves = table.refers_to_itself();
    let some = delete_some::<DB>(table, tenant, batch, has_leaves);
    let (mut passes, mut deleted) = (0, 0);
    loop {
        let rows = delete::<DB>(conn, table, tenant, some.clone(), None).await?;
        (passes, deleted) = (passes + 1, deleted + rows);
        if rows == 0 || (has_leaves && passes > PASSES) {
            break;
        }
    }
    if has_leaves {
        // Rows that refer to each other in a circle go together.
        deleted += delete_together::<DB>(conn, &[table], tenant).await?.iter().sum::<u64>();
    }
    Ok(deleted)
}

/// Runs a statement that deletes, in a transaction of its own.
pub(super) async fn delete<DB: TenantData>(
    conn: &mut DB::Connection,
    table: &DataTable,
    tenant: &TenantId,
    sql: String,
    parameter: Option<&str>,
) -> Result<u64> {
    let failed = |e: sqlx::Error| table.failed("deleted", &e);
    DB::run(conn, DB::BEGIN.to_owned(), None).await.map_err(failed)?;
    let deleted = async {
        let allow = DB::ALLOW_DELETES.filter(|_| table.own);
        if let Some(allow) = allow {
            DB::run(conn, allow.to_owned(), Some(&tenant.to_string())).await?;
        }
        let deleted = DB::run(conn, sql, parameter).await?;
        if let Some(forbid) = DB::FORBID_DELETES.filter(|_| allow.is_some()) {
            DB::run(conn, forbid.to_owned(), Some(&tenant.to_string())).await?;
        }
        Ok(deleted)
    };
    let deleted: sqlx::Result<u64> = deleted.await;
    let end = if deleted.is_ok() { "COMMIT" } else { "ROLLBACK" };
    DB::run(conn, end.to_owned(), None).await.map_err(failed)?;
    deleted.map_err(failed)
}

/// Deletes all rows of a group in one transaction. Returns the number of rows of each table.
///
/// # Errors
/// What the database returns, with the name of a table.
pub(super) async fn delete_together<DB: TenantData>(
    conn: &mut DB::Connection,
    group: &[&DataTable],
    tenant: &TenantId,
) -> Result<Vec<u64>> {
    let failed = |e: sqlx::Error| group[0].failed("deleted", &e);
    for statement in DB::BEGIN_IMPORT.split("; ") {
        DB::run(conn, statement.to_owned(), None).await.map_err(failed)?;
    }
    let deleted = async {
        let mut rows = Vec::new();
        // A row that a key of the group deletes is counted too.
        for table in group {
            rows.push(rows_of::<DB>(conn, table, tenant).await?);
        }
        if rows.iter().any(|rows| *rows > 0) {
            erase::<DB>(conn, group, tenant).await?;
        }
        Ok(rows)
    };
    let deleted: Result<Vec<u64>> = deleted.await;
    let end = if deleted.is_ok() { "COMMIT" } else { "ROLLBACK" };
    DB::run(conn, end.to_owned(), None).await.map_err(failed)?;
    deleted
}

/// Deletes all rows of a group. A transaction with deferred foreign keys is open.
///
/// # Errors
/// What the database returns, with the name of a table.
pub(super) async fn erase<DB: TenantData>(
    conn: &mut DB::Connection,
    group: &[&DataTable],
    tenant: &TenantId,
) -> Result<()> {
    if DB::DELETES_IN_WITH {
        // In one statement: foreign keys are checked at its end, also those that cannot be deferred.
        let mut parts: Vec<String> = group.iter().map(|table| delete_all::<DB>(table, tenant)).collect();
        let Some(last) = parts.pop() else { return Ok(()) };
        let parts: Vec<String> =
            parts.iter().enumerate().map(|(at, sql)| format!("gone_{at} AS ({sql})")).collect();
        let with = if parts.is_empty() { String::new() } else { format!("WITH {} ", parts.join(", ")) };
        let deleted = DB::run(conn, with + &last, None).await;
        return deleted.map(|_| ()).map_err(|e| group[0].failed("deleted", &e));
    }
    // A key with RESTRICT is not deferred.
    let restricted = DB::restricted_keys(conn).await?;
    for table in group {
        let is_restricted = |link: &&Link| restricts(&restricted, table, &link.parent);
        for link in table.links.iter().filter(is_restricted) {
            let columns = nullable(table, link);
            let in_group = group.iter().any(|one| one.name == link.parent);
            let sql = match &columns[..] {
                [] if link.parent == table.name => link_to_itself::<DB>(table, link, tenant),
                [_, ..] if in_group => unlink::<DB>(table, &columns, tenant),
                _ => continue,
            };
            DB::run(conn, sql, None).await.map_err(|e| table.failed("deleted", &e))?;
        }
    }
    let (ordered, circle) = order(group, &restricted);
    for table in ordered.into_iter().chain(circle) {
        let deleted = DB::run(conn, delete_all::<DB>(table, tenant), None).await;
        deleted.map_err(|e| table.failed("deleted", &e))?;
    }
    Ok(())
}

/// The columns of a key that may be null.
pub(super) fn nullable<'a>(table: &DataTable, link: &'a Link) -> Vec<&'a str> {
    let may_be_null = |column: &&str| table.position(column).is_some_and(|at| !table.columns[at].not_null);
    link.columns.iter().map(|(child, _)| &**child).filter(may_be_null).collect()
}

fn restricts(keys: &[(String, String)], child: &DataTable, parent: &str) -> bool {
    keys.iter().any(|(one, to)| one.eq_ignore_ascii_case(&child.name) && to.eq_ignore_ascii_case(parent))
}

/// The tables of a group in the order of the restricted keys that may not be null, children first; and those that such keys
/// connect in a circle.
pub(super) fn order<'a>(
    group: &[&'a DataTable],
    restricted: &[(String, String)],
) -> (Vec<&'a DataTable>, Vec<&'a DataTable>) {
    let (mut ordered, mut left) = (Vec::new(), group.to_vec());
    while let Some(at) = left.iter().position(|table| {
        let is_child = |child: &&DataTable| {
            let mut links = child.links.iter().filter(|link| link.parent == table.name);
            child.name != table.name
                && restricts(restricted, child, &table.name)
                && links.any(|link| nullable(child, link).is_empty())
        };
        !left.iter().any(is_child)
    }) {
        ordered.push(left.remove(at));
    }
    (ordered, left)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn restricted_keys_decide_the_order_within_a_circle() {
        let [a, b] = [("a", "b"), ("b", "a")]
            .map(|(name, parent)| DataTable::named(name).referring_to(&[(parent, true)]));
        let key = |child: &str, parent: &str| (child.to_owned(), parent.to_owned());
        let names = |keys: &[(String, String)]| {
            let (ordered, circle) = order(&[&a, &b], keys);
            (ordered.iter().map(|t| t.name.clone()).collect::<String>(), circle.len())
        };
        assert_eq!(names(&[key("A", "b")]), ("ab".to_owned(), 0));
        assert_eq!(names(&[key("b", "A")]), ("ba".to_owned(), 0));
        assert_eq!(names(&[key("a", "b"), key("b", "a")]), (String::new(), 2));
    }
}
