//! Tenant columns that may be null or have a default, and keys that lack the tenant column.

use std::collections::BTreeSet;

use sqlx::{AssertSqlSafe, PgConnection};

use super::catalog::{Catalog, Table};
use super::error::{misconfigured, read_error};
use super::plan::PolicyChange;
use crate::error::Result;
use crate::isolation::foreign_key::{self, ForeignKey, KeyStatus, Side};
use crate::isolation::policy::quoted;

/// The changes to columns and keys.
pub(super) struct KeyChanges {
    /// In the order in which they must run.
    pub(super) keys: Vec<PolicyChange>,
    /// Keys that only a person can change.
    pub(super) advice: Vec<PolicyChange>,
}

impl KeyChanges {
    pub(super) async fn read(conn: &mut PgConnection, catalog: &Catalog) -> Result<Self> {
        let unique = unique_keys(conn, &catalog.oids()).await?;
        let of_tenants = tables_of_tenants(catalog, &unique);
        let mut keys = columns(catalog, &of_tenants);
        let mut advice = Vec::new();
        let (mut dropped, mut added, mut replaced) = (Vec::new(), Vec::new(), BTreeSet::new());
        let mut referred = Vec::new();
        for foreign in foreign_keys(conn).await? {
            // A key from another table to a tenant table is handled with the unique key below.
            let (Some(child), Some(parent)) = (catalog.tenant(foreign.child), catalog.tenant(foreign.parent))
            else {
                continue;
            };
            let object = format!("foreign key {} of {}", foreign.name, child.shown);
            match foreign.judge(side(child), side(parent)) {
                KeyStatus::Right => {}
                KeyStatus::ByHand(reason) => advice.push(PolicyChange::new(object, reason, "")),
                KeyStatus::Wrong { reason, drop, add, needs } => {
                    replaced.insert(foreign.oid);
                    dropped.push(PolicyChange::new(object.clone(), reason, drop));
                    let family = [child, parent].into_iter().flat_map(|table| catalog.family(table.oid));
                    let add = foreign_key::checked(&family.map(|table| table.name.as_str()).collect(), &add);
                    added.push(PolicyChange::new(object, "it is recreated with the tenant column", add));
                    referred.push((foreign.parent, needs));
                }
            }
        }
        keys.extend(dropped);
        let mut made: Vec<(i64, BTreeSet<String>)> = Vec::new();
        for unique in unique {
            let Some(table) = catalog.tenant(unique.table) else { continue };
            let tenant = &table.column().name;
            let mut columns: BTreeSet<String> = unique.columns.iter().cloned().collect();
            if columns.contains(tenant) {
                made.push((unique.table, columns));
                continue;
            }
            if of_tenants.contains(&unique.table) {
                let reason = "each tenant has one row here, so it is unique across tenants: it reveals values of one tenant to another";
                advice.push(PolicyChange::new(unique.object(table), reason, ""));
                continue;
            }
            if unique.referred.iter().any(|by| !replaced.contains(by)) {
                let reason = "it lacks the tenant column, and a foreign key references it that cannot have the tenant column: \
                              two tenants collide in it, and it reveals rows of one to the other";
                advice.push(PolicyChange::new(unique.object(table), reason, ""));
                continue;
            }
            columns.insert(tenant.clone());
            made.push((unique.table, columns));
            let reason = "it lacks the tenant column: two tenants collide in it, and it reveals rows of one to the other";
            keys.push(PolicyChange::new(unique.object(table), reason, unique.with_tenant(table)));
        }
        for (parent, needs) in referred {
            if made.iter().any(|(table, columns)| *table == parent && *columns == needs) {
                continue;
            }
            let Some(table) = catalog.tenant(parent) else { continue };
            let sql = foreign_key::unique(side(table), &needs);
            keys.push(PolicyChange::new(
                table.object(),
                "foreign keys with the tenant column need a unique key to reference",
                sql,
            ));
            made.push((parent, needs));
        }
        keys.extend(added);
        advice.extend(exclusions(conn, catalog).await?);
        Ok(Self { keys, advice })
    }
}

/// The tables with one row for each tenant: the tenant column alone is a unique key.
fn tables_of_tenants(catalog: &Catalog, unique: &[Unique]) -> BTreeSet<i64> {
    let by_tenant = |key: &&Unique| {
        catalog.tenant(key.table).is_some_and(|table| key.columns == [table.column().name.as_str()])
    };
    unique.iter().filter(by_tenant).map(|key| key.table).collect()
}

fn columns(catalog: &Catalog, of_tenants: &BTreeSet<i64>) -> Vec<PolicyChange> {
    let mut changes = Vec::new();
    // A partition shares the column of its parent; a child has its own.
    for table in catalog.tenants.iter().filter(|table| !table.partition) {
        let column = table.column();
        let name = quoted(&column.name);
        let alter = |action: &str| format!("ALTER TABLE {} ALTER COLUMN {name} {action};", table.name);
        if column.nullable {
            let reason = "its tenant column may be null, and PostgreSQL does not check a foreign key with a null column";
            changes.push(PolicyChange::new(table.object(), reason, alter("SET NOT NULL")));
        }
        // The database may generate the id of a tenant, so a default is right in a table of tenants.
        if let Some(action) = column.filled.filter(|_| !of_tenants.contains(&table.oid)) {
            let reason =
                "its tenant column has a default or an identity, so that a missing tenant is not noticed";
            changes.push(PolicyChange::new(table.object(), reason, alter(action)));
        }
    }
    changes
}

async fn foreign_keys(conn: &mut PgConnection) -> Result<Vec<ForeignKey>> {
    let sql = format!("SELECT row_to_json(q)::text FROM ({}) q", foreign_key::READ);
    let rows: Vec<String> =
        sqlx::query_scalar(AssertSqlSafe(sql)).fetch_all(conn).await.map_err(read_error)?;
    let read =
        |row: &String| serde_json::from_str(row).map_err(|e| read_error(sqlx::Error::Decode(e.into())));
    rows.iter().map(read).collect()
}

fn side(table: &Table) -> Side<'_> {
    Side { table: &table.name, tenant: &table.column().name }
}

/// A primary key, a unique constraint, or a unique index.
struct Unique {
    name: String,
    table: i64,
    primary: bool,
    /// Its columns, without expressions.
    columns: Vec<String>,
    /// Of a constraint, its definition such as `UNIQUE (code)`; of an index, the statement that creates it.
    definition: String,
    constraint: bool,
    /// The index with its schema, quoted.
    index: String,
    /// The beginning of an index definition, up to its columns.
    head: String,
    /// The foreign keys that reference it.
    referred: Vec<i64>,
}

impl Unique {
    fn object(&self, table: &Table) -> String {
        let kind = match (self.primary, self.constraint) {
            (true, _) => "primary key",
            (false, true) => "unique constraint",
            (false, false) => "unique index",
        };
        format!("{kind} {} of {}", self.name, table.shown)
    }

    /// The statements that recreate it with the tenant column in front.
    fn with_tenant(&self, table: &Table) -> String {
        let tenant = quoted(&table.column().name);
        let name = quoted(&self.name);
        // The columns begin at the first parenthesis after the head; the head of a constraint is empty.
        let (head, rest) = self.definition.split_at(self.head.len());
        let definition = format!("{head}{}", rest.replacen('(', &format!("({tenant}, "), 1));
        if self.constraint {
            format!(
                "ALTER TABLE {table} DROP CONSTRAINT IF EXISTS {name},\n    ADD CONSTRAINT {name} {definition};",
                table = table.name
            )
        } else {
            format!("DROP INDEX IF EXISTS {};\n{definition};", self.index)
        }
    }
}

async fn unique_keys(conn: &mut PgConnection, tables: &[i64]) -> Result<Vec<Unique>> {
    type Row = (String, i64, bool, Vec<String>, String, bool, String, String, String, Vec<i64>);
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT c.relname::text, i.indrelid::int8, i.indisprimary, \
             ARRAY(SELECT a.attname::text FROM unnest(i.indkey[0:i.indnkeyatts - 1]) u (n) \
                 JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = u.n), \
             coalesce(pg_get_constraintdef(k.oid), pg_get_indexdef(c.oid)), k.oid IS NOT NULL, n.nspname::text, \
             CASE WHEN k.oid IS NOT NULL THEN '' ELSE 'CREATE UNIQUE INDEX ' || quote_ident(c.relname) || ' ON ' END, \
             quote_ident(m.nspname) || '.' || quote_ident(t.relname), \
             ARRAY(SELECT f.oid::int8 FROM pg_constraint f \
                 WHERE f.contype = 'f' AND f.conparentid = 0 AND f.conindid = c.oid) \
         FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace \
         JOIN pg_class t ON t.oid = i.indrelid JOIN pg_namespace m ON m.oid = t.relnamespace \
         LEFT JOIN pg_constraint k ON k.conindid = c.oid AND k.contype IN ('p', 'u') \
         WHERE i.indisunique AND NOT c.relispartition AND i.indrelid::int8 = ANY ($1) \
         ORDER BY m.nspname, t.relname, c.relname",
    )
    .bind(tables)
    .fetch_all(conn)
    .await
    .map_err(read_error)?;
    let unique = |row: Row| {
        let (name, table, primary, columns, definition, constraint, schema, start, on, referred) = row;
        let printed = [String::new(), format!("{start}ONLY {on}"), format!("{start}{on}")]
            .into_iter()
            .find(|head| head.is_empty() == constraint && definition.starts_with(head.as_str()))
            .ok_or_else(|| {
                misconfigured(format!("the definition of the index `{name}` has an unknown form"))
            })?;
        // PostgreSQL prints `ONLY` for a partitioned table, which would create no index on the partitions.
        let head = if constraint { String::new() } else { format!("{start}{on}") };
        let definition = format!("{head}{}", &definition[printed.len()..]);
        let index = format!("{}.{}", quoted(&schema), quoted(&name));
        Ok(Unique { name, table, primary, columns, definition, constraint, index, head, referred })
    };
    rows.into_iter().map(unique).collect()
}

/// Exclusion constraints that lack the tenant column.
async fn exclusions(conn: &mut PgConnection, catalog: &Catalog) -> Result<Vec<PolicyChange>> {
    let (tables, numbers): (Vec<i64>, Vec<i16>) =
        catalog.tenants.iter().map(|table| (table.oid, table.column().number)).unzip();
    let rows: Vec<(i64, String)> = sqlx::query_as(
        "SELECT k.conrelid::int8, k.conname::text FROM unnest($1::int8[], $2::int2[]) t (oid, number) \
         JOIN pg_constraint k ON k.conrelid::int8 = t.oid AND k.contype = 'x' AND k.conparentid = 0 \
         WHERE NOT EXISTS (SELECT 1 FROM unnest(k.conkey, k.conexclop) u (a, o) JOIN pg_operator p ON p.oid = u.o \
             WHERE u.a = t.number AND p.oprname = '=') ORDER BY 2",
    )
    .bind(tables)
    .bind(numbers)
    .fetch_all(conn)
    .await
    .map_err(read_error)?;
    let change = |(table, name): (i64, String)| {
        let table = catalog.tenant(table)?;
        let reason = "it lacks the tenant column: two tenants collide in it; recreate it with the tenant column `WITH =`, \
                      which the extension btree_gist supports";
        Some(PolicyChange::new(format!("exclusion constraint {name} of {}", table.shown), reason, ""))
    };
    Ok(rows.into_iter().filter_map(change).collect())
}
