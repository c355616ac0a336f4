//! Tables that refer to each other in a circle: their rows are deleted together, in one transaction.

use std::collections::BTreeSet;

use super::erase::delete_rows;
use super::statement::{count, delete_all, unlink};
use super::table::{DataTable, Link};
use super::tenant_data::TenantData;
use crate::error::{Error, ErrorKind, Result};
use crate::tenant::TenantId;

/// The tables in the order in which rows are deleted: children before their parents. Tables that refer to each other in a
/// circle are one group. The tables that are given are in the order of parents first.
pub(super) fn groups(tables: &[DataTable]) -> Vec<Vec<&DataTable>> {
    let parents = |table: &DataTable| -> Vec<usize> {
        let at = |link: &Link| tables.iter().position(|table| table.name == link.parent);
        table.links.iter().filter_map(at).collect()
    };
    let parents: Vec<Vec<usize>> = tables.iter().map(parents).collect();
    let reached: Vec<BTreeSet<usize>> = (0..tables.len()).map(|from| reached(from, &parents)).collect();
    let mut left: Vec<usize> = (0..tables.len()).rev().collect();
    let mut groups = Vec::new();
    while let Some(next) = left.iter().copied().find(|at| {
        // Whatever refers to the table is of its circle.
        left.iter().all(|child| !reached[*child].contains(at) || reached[*at].contains(child))
    }) {
        let is_one = |at: &usize| *at == next || (reached[next].contains(at) && reached[*at].contains(&next));
        let (group, others) = left.into_iter().partition(is_one);
        left = others;
        let group: Vec<usize> = group;
        groups.push(group.into_iter().map(|at| &tables[at]).collect());
    }
    groups
}

/// The tables to which a table refers, also through others.
fn reached(from: usize, parents: &[Vec<usize>]) -> BTreeSet<usize> {
    let (mut reached, mut next) = (BTreeSet::new(), parents[from].clone());
    while let Some(at) = next.pop() {
        if reached.insert(at) {
            next.extend(&parents[at]);
        }
    }
    reached
}

/// Refuses tables whose rows no order deletes, before the deletion begins.
///
/// # Errors
/// [`ErrorKind::Misconfigured`] for rows in a circle of keys that may not be null and are checked at once.
pub(super) async fn check_circles<DB: TenantData>(
    conn: &mut DB::Connection,
    tables: &[DataTable],
    tenant: &TenantId,
) -> Result<()> {
    let restricted = DB::restricted_keys(conn).await?;
    for group in groups(tables).into_iter().filter(|group| group.len() > 1) {
        let (_, circle) = order(&group, &restricted);
        let Some(table) = circle.first() else { continue };
        let rows = DB::read_number(conn, count::<DB>(table, tenant)).await;
        if rows.map_err(|e| table.failed("counted", &e))? > 0 {
            let names: Vec<String> = circle.iter().map(|table| format!("`{}`", table.name)).collect();
            return Err(Error::new(
                ErrorKind::Misconfigured,
                format!(
                    "the rows of {} refer to each other by foreign keys that are NOT NULL and ON DELETE RESTRICT, so that no \
                     order deletes them; create one of these keys without RESTRICT, or let its column be null",
                    names.join(" and ")
                ),
            ));
        }
    }
    Ok(())
}

/// Deletes the rows of a group in transactions of their own. Returns the number of rows of each table.
///
/// # Errors
/// What the database returns, with the name of a table.
pub(super) async fn delete_group<DB: TenantData>(
    conn: &mut DB::Connection,
    group: &[&DataTable],
    tenant: &TenantId,
    batch: u32,
) -> Result<Vec<u64>> {
    if group.len() > 1 && !unlink_rows::<DB>(conn, group, tenant).await? {
        return delete_together::<DB>(conn, group, tenant).await;
    }
    let mut deleted = Vec::new();
    for table in group {
        deleted.push(delete_rows::<DB>(conn, table, tenant, batch).await?);
    }
    Ok(deleted)
}

/// Sets keys to null that refer to tables of the group whose rows are deleted before. Returns whether all of them are null.
async fn unlink_rows<DB: TenantData>(
    conn: &mut DB::Connection,
    group: &[&DataTable],
    tenant: &TenantId,
) -> Result<bool> {
    let mut statements = Vec::new();
    for (at, table) in group.iter().enumerate() {
        for link in table.links.iter().filter(|link| group[..at].iter().any(|one| one.name == link.parent)) {
            let columns = nullable(table, link);
            if columns.is_empty() {
                return Ok(false);
            }
            statements.push((table, unlink::<DB>(table, &columns, tenant)));
        }
    }
    for (table, sql) in statements {
        match DB::run(conn, sql, None).await.map_err(|e| table.failed("deleted", &e)) {
            // A CHECK forbids it.
            Err(error) if error.kind() == ErrorKind::InvalidInput => return Ok(false),
            unlinked => unlinked?,
        };
    }
    Ok(true)
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
            let number = DB::read_number(conn, count::<DB>(table, tenant)).await;
            rows.push(u64::try_from(number.map_err(|e| table.failed("counted", &e))?).unwrap_or(0));
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
                [] if link.parent == table.name => to_itself::<DB>(table, link, tenant),
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

/// Lets each row refer to itself, where the key to its own table may not be null.
fn to_itself<DB: TenantData>(table: &DataTable, link: &Link, tenant: &TenantId) -> String {
    let set: Vec<String> = link.columns.iter().map(|(child, parent)| format!("{child} = {parent}")).collect();
    let of_tenant = DB::is_tenant(&table.tenant, &table.tenant_type, tenant);
    format!("UPDATE {} SET {} WHERE {of_tenant}", table.ident, set.join(", "))
}

/// The columns of a key that may be null.
fn nullable<'a>(table: &DataTable, link: &'a Link) -> Vec<&'a str> {
    let may_be_null = |column: &&str| table.position(column).is_some_and(|at| !table.columns[at].not_null);
    link.columns.iter().map(|(child, _)| &**child).filter(may_be_null).collect()
}

fn restricts(keys: &[(String, String)], child: &DataTable, parent: &str) -> bool {
    keys.iter().any(|(one, to)| one.eq_ignore_ascii_case(&child.name) && to.eq_ignore_ascii_case(parent))
}

/// The tables of a group in the order of the restricted keys that may not be null, children first; and those that such keys
/// connect in a circle.
fn order<'a>(
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

    fn table(name: &str, parents: &[&str]) -> DataTable {
        let link = |parent: &&str| Link {
            parent: (*parent).to_owned(),
            columns: Vec::new(),
            required: true,
            reaches_others: false,
        };
        DataTable {
            name: name.to_owned(),
            ident: name.to_owned(),
            only: "",
            tenant: "tenant_id".to_owned(),
            tenant_type: "uuid".to_owned(),
            columns: Vec::new(),
            key: None,
            key_has_tenant: false,
            row: Vec::new(),
            links: parents.iter().map(link).collect(),
            children: Vec::new(),
            own: false,
        }
    }

    #[test]
    fn a_circle_is_one_group_between_its_children_and_its_parents() {
        let tables = [
            table("parent", &["elsewhere", "parent"]),
            table("a", &["c", "parent"]),
            table("child", &["a"]),
            table("b", &["a"]),
            table("c", &["b"]),
        ];
        let names: Vec<Vec<&str>> = groups(&tables)
            .into_iter()
            .map(|group| group.into_iter().map(|table| &*table.name).collect())
            .collect();
        assert_eq!(names, [vec!["child"], vec!["c", "b", "a"], vec!["parent"]]);
    }

    #[test]
    fn restricted_keys_decide_the_order_within_a_circle() {
        let (a, b) = (table("a", &["b"]), table("b", &["a"]));
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
