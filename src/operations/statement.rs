//! The statements on a [`DataTable`], for one tenant. What differs between the databases is in [`TenantData`].
//!
//! A row travels as a JSON array with the text of each column, and `null`. Every statement has the tenant in it as a
//! literal, also where row-level security would filter.

use std::fmt::Write as _;

use super::table::{DataColumn, DataTable, Link};
use super::tenant_data::TenantData;
use crate::error::Result;
use crate::tenant::TenantId;

/// `table.tenant_id = '…'`, with `t` as the name of the table.
pub(super) fn of_tenant<DB: TenantData>(table: &DataTable, tenant: &TenantId) -> String {
    DB::is_tenant(&format!("t.{}", table.tenant), &table.tenant_type, tenant)
}

fn from(table: &DataTable) -> String {
    format!("FROM {}{} AS t", table.only, table.ident)
}

fn texts<'a, DB: TenantData>(columns: impl IntoIterator<Item = &'a DataColumn>) -> Vec<String> {
    columns.into_iter().map(|column| DB::text_of(&format!("t.{}", column.ident))).collect()
}

/// The number of rows.
pub(super) fn count<DB: TenantData>(table: &DataTable, tenant: &TenantId) -> String {
    format!("SELECT count(*) {} WHERE {}", from(table), of_tenant::<DB>(table, tenant))
}

/// How many rows a tenant has in a table.
///
/// # Errors
/// What the database returns, with the name of the table.
pub(super) async fn rows_of<DB: TenantData>(
    conn: &mut DB::Connection,
    table: &DataTable,
    tenant: &TenantId,
) -> Result<u64> {
    let rows = DB::read_number(conn, count::<DB>(table, tenant)).await;
    Ok(u64::try_from(rows.map_err(|e| table.failed("counted", &e))?).unwrap_or(0))
}

/// Every row, in the order of the primary key.
pub(super) fn rows<DB: TenantData>(table: &DataTable, tenant: &TenantId) -> String {
    let row = DB::array(&texts::<DB>(&table.columns));
    let order = match &table.key {
        Some(_) => ordered::<DB>(table),
        None => row.clone(),
    };
    let order = if order.is_empty() { String::new() } else { format!(" ORDER BY {order}") };
    format!("SELECT {row} {} WHERE {}{order}", from(table), of_tenant::<DB>(table, tenant))
}

/// The primary key as an order that is the same in every database.
fn ordered<DB: TenantData>(table: &DataTable) -> String {
    let keys: Vec<String> = texts::<DB>(table.key_columns()).iter().map(|text| DB::by_bytes(text)).collect();
    keys.join(", ")
}

/// Inserts the rows of the parameter, a JSON array of rows. The columns at the positions `left_out` are null.
pub(super) fn insert<DB: TenantData>(table: &DataTable, tenant: &TenantId, left_out: &[usize]) -> String {
    let names: Vec<&str> =
        [&*table.tenant].into_iter().chain(table.columns.iter().map(|column| &*column.ident)).collect();
    // A column that was not named would get its default.
    let text = |at: usize| if left_out.contains(&at) { "NULL".to_owned() } else { DB::item(at) };
    let values = table.columns.iter().enumerate();
    let values = values.map(|(at, column)| DB::value_of(&text(at), &column.r#type));
    let values: Vec<String> =
        [DB::tenant_value(&table.tenant_type, tenant)].into_iter().chain(values).collect();
    format!(
        "INSERT INTO {} ({}) {}SELECT {} {}",
        table.ident,
        names.join(", "),
        DB::OVERRIDING,
        values.join(", "),
        DB::EACH_ROW,
    )
}

/// Stores the rows of the parameter whose columns at these positions are not all null, in the table of [`LINKS`].
pub(super) fn keep_links<DB: TenantData>(table: usize, columns: &[usize]) -> String {
    let set: Vec<String> = columns.iter().map(|at| format!("({}) IS NOT NULL", DB::item(*at))).collect();
    let set = if set.is_empty() { "false".to_owned() } else { set.join(" OR ") };
    format!("INSERT INTO {LINKS} (of_table, value) SELECT {table}, r.value {} AND ({set})", DB::EACH_ROW)
}

/// Sets the columns at these positions as the rows have them that were stored for the table.
pub(super) fn set_links<DB: TenantData>(
    table: &DataTable,
    tenant: &TenantId,
    number: usize,
    columns: &[usize],
) -> String {
    let value = |at: usize| DB::value_of(&DB::item(at), &table.columns[at].r#type);
    let set: Vec<String> =
        columns.iter().map(|at| format!("{} = {}", table.columns[*at].ident, value(*at))).collect();
    let key = table.key.iter().flatten().map(|at| format!("t.{} = {}", table.columns[*at].ident, value(*at)));
    let stored = format!("r.of_table = {number}");
    let condition: Vec<String> = [of_tenant::<DB>(table, tenant), stored].into_iter().chain(key).collect();
    format!(
        "UPDATE {}{} AS t SET {} FROM {LINKS} AS r WHERE {}",
        table.only,
        table.ident,
        set.join(", "),
        condition.join(" AND ")
    )
}

/// The temporary table of rows that are written later, such as rows that refer to rows after them.
pub(super) const LINKS: &str = "tenancy_links";

/// The highest value of a primary key that is one whole number; `None` for any other key.
pub(super) fn highest<DB: TenantData>(table: &DataTable, tenant: &TenantId) -> Option<String> {
    let [at] = table.key.as_deref()? else { return None };
    let column = &table.columns[*at];
    DB::is_whole_number(&column.r#type).then(|| {
        let of_tenant = of_tenant::<DB>(table, tenant);
        format!(
            "SELECT coalesce(max(t.{}), 0){} {} WHERE {of_tenant}",
            column.ident,
            DB::AS_NUMBER,
            from(table)
        )
    })
}

/// Deletes up to `limit` rows. With `leaves_only`, rows to which another row of the table refers are left out.
pub(super) fn delete_some<DB: TenantData>(
    table: &DataTable,
    tenant: &TenantId,
    limit: u32,
    leaves_only: bool,
) -> String {
    let row = |of: &str| {
        let columns: Vec<String> = table.row.iter().map(|column| format!("{of}.{column}")).collect();
        columns.join(", ")
    };
    let of_tenant = of_tenant::<DB>(table, tenant);
    let mut condition = of_tenant.clone();
    for link in table.links.iter().filter(|link| leaves_only && link.parent == table.name) {
        let pairs = link.columns.iter().map(|(child, parent)| format!("child.{child} = t.{parent}"));
        let own = format!("child.{0} = t.{0}", table.tenant);
        let other = format!("({}) <> ({})", row("child"), row("t"));
        let pairs: Vec<String> = [own, other].into_iter().chain(pairs).collect();
        let (only, ident, pairs) = (table.only, &table.ident, pairs.join(" AND "));
        // Writing to a String cannot fail.
        let _ = write!(condition, " AND NOT EXISTS (SELECT 1 FROM {only}{ident} AS child WHERE {pairs})");
    }
    let (only, ident, own) = (table.only, &table.ident, row("t"));
    format!(
        "DELETE FROM {only}{ident} AS t WHERE {of_tenant} AND ({own}) IN \
         (SELECT {own} FROM {only}{ident} AS t WHERE {condition} LIMIT {limit})"
    )
}

/// Deletes every row.
pub(super) fn delete_all<DB: TenantData>(table: &DataTable, tenant: &TenantId) -> String {
    format!("DELETE FROM {}{} AS t WHERE {}", table.only, table.ident, of_tenant::<DB>(table, tenant))
}

/// Sets the columns of a foreign key to null, where they are not, so that the parent can be deleted first.
pub(super) fn unlink<DB: TenantData>(table: &DataTable, columns: &[&str], tenant: &TenantId) -> String {
    let set: Vec<String> = columns.iter().map(|column| format!("{column} = NULL")).collect();
    let linked: Vec<String> = columns.iter().map(|column| format!("t.{column} IS NOT NULL")).collect();
    format!(
        "UPDATE {}{} AS t SET {} WHERE {} AND ({})",
        table.only,
        table.ident,
        set.join(", "),
        of_tenant::<DB>(table, tenant),
        linked.join(" OR ")
    )
}

/// Lets each row refer to itself, where the key to its own table may not be null.
pub(super) fn link_to_itself<DB: TenantData>(table: &DataTable, link: &Link, tenant: &TenantId) -> String {
    let set: Vec<String> = link.columns.iter().map(|(child, parent)| format!("{child} = {parent}")).collect();
    let of_tenant = of_tenant::<DB>(table, tenant);
    format!("UPDATE {}{} AS t SET {} WHERE {of_tenant}", table.only, table.ident, set.join(", "))
}

/// The number of bytes of all rows as texts.
pub(super) fn size<DB: TenantData>(table: &DataTable, tenant: &TenantId) -> String {
    let row = DB::array(&texts::<DB>(&table.columns));
    let of_tenant = of_tenant::<DB>(table, tenant);
    format!("SELECT coalesce(sum(octet_length({row})), 0){} {} WHERE {of_tenant}", DB::AS_NUMBER, from(table))
}

/// The primary key of every row with the fingerprint of the row, in the order of the primary key.
pub(super) fn fingerprints<DB: TenantData>(table: &DataTable, tenant: &TenantId) -> String {
    let row = DB::array(&texts::<DB>(&table.columns));
    let mut parts = texts::<DB>(table.key_columns());
    parts.push(DB::fingerprint(&row));
    let order = ordered::<DB>(table);
    let order = if order.is_empty() { String::new() } else { format!(" ORDER BY {order}") };
    let of_tenant = of_tenant::<DB>(table, tenant);
    format!("SELECT {} {} WHERE {of_tenant}{order}", DB::array(&parts), from(table))
}

/// What is hashed of all rows: parts of them, each with its number of rows; or each row, if the database cannot hash.
pub(super) fn digests<DB: TenantData>(table: &DataTable, tenant: &TenantId) -> String {
    let row = DB::array(&texts::<DB>(&table.columns));
    let rows = format!("{} WHERE {}", from(table), of_tenant::<DB>(table, tenant));
    DB::digests(&row, &rows).unwrap_or_else(|| fingerprints::<DB>(table, tenant))
}

/// Changes rows to those of the parameter, a JSON array of rows, by their primary keys, without the columns at the
/// positions `left_out`. `None` if there is no other column.
pub(super) fn update<DB: TenantData>(
    table: &DataTable,
    tenant: &TenantId,
    left_out: &[usize],
) -> Option<String> {
    let key = table.key.as_deref().unwrap_or_default();
    let value = |at: usize| DB::value_of(&DB::item(at), &table.columns[at].r#type);
    let set = table
        .columns
        .iter()
        .enumerate()
        .filter(|(at, column)| !key.contains(at) && !left_out.contains(at) && !column.identity);
    let set: Vec<String> = set.map(|(at, column)| format!("{} = {}", column.ident, value(at))).collect();
    let same = key.iter().map(|at| format!("t.{} = {}", table.columns[*at].ident, value(*at)));
    let condition: Vec<String> = [of_tenant::<DB>(table, tenant)].into_iter().chain(same).collect();
    let (only, ident, condition) = (table.only, &table.ident, condition.join(" AND "));
    (!set.is_empty())
        .then(|| format!("UPDATE {only}{ident} AS t SET {} {} AND {condition}", set.join(", "), DB::EACH_ROW))
}

/// Deletes the rows whose primary keys are in the parameter, a JSON array of keys.
pub(super) fn delete_keys<DB: TenantData>(table: &DataTable, tenant: &TenantId) -> String {
    delete_by_key::<DB>(table, tenant, 0..table.key_columns().count())
}

/// Deletes rows by their primary keys. `items` are the positions of the key in each array of the parameter.
fn delete_by_key<DB: TenantData>(
    table: &DataTable,
    tenant: &TenantId,
    items: impl IntoIterator<Item = usize>,
) -> String {
    let columns: Vec<String> = table.key_columns().map(|column| format!("t.{}", column.ident)).collect();
    let values = table.key_columns().zip(items);
    let values: Vec<String> =
        values.map(|(column, at)| DB::value_of(&DB::item(at), &column.r#type)).collect();
    let (only, ident, of_tenant) = (table.only, &table.ident, of_tenant::<DB>(table, tenant));
    if columns.is_empty() {
        return format!("DELETE FROM {only}{ident} AS t WHERE {of_tenant} AND $1 <> ''");
    }
    format!(
        "DELETE FROM {only}{ident} AS t WHERE {of_tenant} AND ({}) IN (SELECT {} {})",
        columns.join(", "),
        values.join(", "),
        DB::EACH_ROW
    )
}

/// Deletes the rows of the parameter, a JSON array of rows, by their primary keys, and inserts them anew.
pub(super) fn exchanges<DB: TenantData>(
    table: &DataTable,
    tenant: &TenantId,
    left_out: &[usize],
) -> Vec<String> {
    let delete = delete_by_key::<DB>(table, tenant, table.key.iter().flatten().copied());
    let insert = insert::<DB>(table, tenant, left_out);
    if DB::DELETES_IN_WITH {
        // In one statement: foreign keys to these rows are checked at its end. The count is read before the first insert.
        return vec![format!(
            "WITH gone AS ({delete} RETURNING 1) {insert} AND (SELECT count(*) FROM gone) >= 0"
        )];
    }
    vec![delete, insert]
}

/// Stores all rows of the parameter for a table, in the table of [`LINKS`].
pub(super) fn stage<DB: TenantData>(table: usize) -> String {
    format!("INSERT INTO {LINKS} (of_table, value) SELECT {table}, r.value {}", DB::EACH_ROW)
}

/// The rows that were stored for a table, in the order of a bundle.
pub(super) fn staged<DB: TenantData>(table: usize) -> String {
    format!("SELECT {} FROM {LINKS} AS r WHERE of_table = {table} ORDER BY position", DB::STORED_ROW)
}

/// The number of rows that were stored for a table.
pub(super) fn staged_count(table: usize) -> String {
    format!("SELECT count(*) FROM {LINKS} WHERE of_table = {table}")
}
