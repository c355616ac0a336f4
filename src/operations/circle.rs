//! Tables that refer to each other in a circle: their rows are deleted together, in one transaction.

use std::collections::BTreeSet;

use super::erase::{delete_rows, delete_together, nullable, order};
use super::statement::{rows_of, unlink};
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
        if rows_of::<DB>(conn, table, tenant).await? > 0 {
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

/// The keys to tables of the group whose rows are deleted before.
pub(super) fn links_back<'a>(group: &[&'a DataTable]) -> impl Iterator<Item = (&'a DataTable, &'a Link)> {
    group.iter().enumerate().flat_map(move |(at, table)| {
        let is_back = move |link: &&Link| group[..at].iter().any(|one| one.name == link.parent);
        table.links.iter().filter(is_back).map(|link| (*table, link))
    })
}

/// Sets keys to null that refer to tables of the group whose rows are deleted before. Returns whether all of them are null.
async fn unlink_rows<DB: TenantData>(
    conn: &mut DB::Connection,
    group: &[&DataTable],
    tenant: &TenantId,
) -> Result<bool> {
    let mut statements = Vec::new();
    for (table, link) in links_back(group) {
        let columns = nullable(table, link);
        if columns.is_empty() {
            return Ok(false);
        }
        statements.push((table, unlink::<DB>(table, &columns, tenant)));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_circle_is_one_group_between_its_children_and_its_parents() {
        let tables = [
            ("parent", &["elsewhere", "parent"][..]),
            ("a", &["c", "parent"]),
            ("child", &["a"]),
            ("b", &["a"]),
            ("c", &["b"]),
        ];
        let tables = tables.map(|(name, parents)| {
            let parents: Vec<(&str, bool)> = parents.iter().map(|parent| (*parent, true)).collect();
            DataTable::named(name).referring_to(&parents)
        });
        let names: Vec<Vec<&str>> = groups(&tables)
            .into_iter()
            .map(|group| group.into_iter().map(|table| &*table.name).collect())
            .collect();
        assert_eq!(names, [vec!["child"], vec!["c", "b", "a"], vec!["parent"]]);
    }
}
