//! [`Table`]: what the probe tries on a table, and the row that it inserts.

use serde::{Deserialize, Serialize};
use tenancy_sql::Schema;
use uuid::Uuid;

use super::catalog::Catalog;
use super::examined::Examined;
use crate::isolation::catalog::{Column, Ownership};

/// The probe reads a sample of a table with more rows than this.
const SAMPLE_ABOVE: f64 = 100_000.0;
/// About how many rows a sample has.
const SAMPLE_ROWS: f64 = 10_000.0;

/// What `probe.sql` tries on a table.
#[derive(Clone, Serialize)]
#[expect(clippy::struct_excessive_bools, reason = "each is a right of the role")]
pub(super) struct Table {
    pub(super) oid: i64,
    pub(super) name: String,
    /// It is probed, and not only a table whose row others need.
    probed: bool,
    ident: String,
    tenant: String,
    /// The two tenants: as the value of the setting, and as an SQL expression of the column's type.
    a: String,
    b: String,
    value_a: String,
    value_b: String,
    sample: String,
    /// Citus stores it, and the role can read it.
    distributed: bool,
    reads: bool,
    inserts: bool,
    updates: bool,
    deletes: bool,
    insert: String,
    row: Option<String>,
    /// The shared tables that it references.
    shared: Vec<Shared>,
}

#[derive(Clone, Serialize)]
struct Shared {
    oid: i64,
    ident: String,
}

/// A result of a probe for a table.
#[derive(Deserialize)]
pub(super) struct Outcome {
    pub(super) table: String,
    pub(super) kind: String,
    pub(super) detail: String,
}

impl Table {
    /// Only its row is inserted, for the tables that refer to it.
    pub(super) fn unprobed(&self) -> Self {
        Self { probed: false, reads: false, inserts: false, updates: false, deletes: false, ..self.clone() }
    }
}

pub(super) fn table(
    catalog: &Catalog,
    schema: &Schema,
    (relation, column): (&Examined, &Column),
    (a, b): (Uuid, Uuid),
    writes: bool,
) -> Option<Table> {
    let (a, b) = (tenant(column, a)?, tenant(column, b)?);
    let value = |tenant: &str| format!("'{tenant}'::{}", column.r#type);
    let sample = if relation.rows > SAMPLE_ABOVE {
        format!(" TABLESAMPLE SYSTEM ({:.6})", 100.0 * SAMPLE_ROWS / relation.rows)
    } else {
        String::new()
    };
    let may = |right: &str| relation.usable.contains(right);
    let full = values(catalog, relation, column, &value(&a));
    let insert = |values: &[(String, String)]| {
        let list = |of: fn(&(String, String)) -> &str| values.iter().map(of).collect::<Vec<_>>().join(", ");
        format!("INSERT INTO {} AS made ({}) VALUES ({})", relation.ident, list(|v| &v.0), list(|v| &v.1))
    };
    let row = full.as_ref().filter(|_| writes && may("INSERT") && !relation.partition);
    Some(Table {
        oid: relation.oid,
        name: relation.display(),
        ident: relation.ident.clone(),
        tenant: column.ident.clone(),
        sample,
        probed: true,
        distributed: relation.has_shards() && may("SELECT"),
        reads: may("SELECT"),
        inserts: writes && may("INSERT"),
        updates: writes && may("UPDATE") && may("SELECT"),
        deletes: writes && may("DELETE") && may("SELECT"),
        // Citus calls no function in RETURNING.
        row: row.map(|values| {
            format!("WITH made AS ({} RETURNING *) SELECT to_jsonb(made) FROM made", insert(values))
        }),
        shared: shared_parents(catalog, schema, relation),
        insert: insert(&full.unwrap_or_else(|| vec![(column.ident.clone(), value(&a))])),
        value_a: value(&a),
        value_b: value(&b),
        a,
        b,
    })
}

/// The columns that a row needs, each with a value; the tenant column first.
fn values(
    catalog: &Catalog,
    relation: &Examined,
    tenant: &Column,
    id: &str,
) -> Option<Vec<(String, String)>> {
    let mut values = vec![(tenant.ident.clone(), id.to_owned())];
    for column in &relation.columns {
        let given = column.default.is_some() || column.identity || column.generated || !column.not_null;
        if column.name == tenant.name || given {
            continue;
        }
        let value = match referred(catalog, relation, column) {
            Some(value) => value,
            None => plain(column)?,
        };
        values.push((column.ident.clone(), value));
    }
    Some(values)
}

fn shared_parents(catalog: &Catalog, schema: &Schema, relation: &Examined) -> Vec<Shared> {
    let parents = catalog.foreign_keys.iter().filter(|key| key.child == relation.oid);
    parents
        .filter_map(|key| catalog.relations.get(key.parent))
        .filter(|parent| !matches!(catalog.ownership(parent, schema), Ownership::Tenant(_)))
        .map(|parent| Shared { oid: parent.oid, ident: parent.ident.clone() })
        .collect()
}

/// The value of a foreign key column: from the row of tenant A in the parent, or from any row of a shared parent.
fn referred(catalog: &Catalog, relation: &Examined, column: &Column) -> Option<String> {
    catalog.foreign_keys.iter().filter(|key| key.child == relation.oid).find_map(|key| {
        let (_, parent_column) = key.columns.iter().find(|(child_column, _)| *child_column == column.name)?;
        let parent = catalog.relations.get(key.parent)?;
        let of = parent.column(parent_column)?;
        // A row of the tenant, or any row of a shared table. Bound as JSON, so that the value is not part of an SQL text.
        Some(format!("($1->'{}'->>'{}')::{}", parent.oid, of.name.replace('\'', "''"), column.r#type))
    })
}

fn plain(column: &Column) -> Option<String> {
    let kind = &*column.r#type;
    if column.r#enum {
        return Some(format!("(enum_range(NULL::{kind}))[1]"));
    }
    if column.array {
        return Some(format!("'{{}}'::{kind}"));
    }
    let text = column.choice.as_deref().unwrap_or("x");
    Some(match kind {
        "uuid" => format!("'{}'::uuid", Uuid::now_v7()),
        "text" | "character varying" | "character" => format!("'{}'", text.replace('\'', "''")),
        // Small, so that expressions over it do not overflow.
        "bigint" => (1 + (Uuid::now_v7().as_u64_pair().1 & 0xff_ffff)).to_string(),
        "integer" | "smallint" | "numeric" | "real" | "double precision" => "1".to_owned(),
        "boolean" => "false".to_owned(),
        "date" | "timestamp without time zone" | "timestamp with time zone" => "now()".to_owned(),
        "time without time zone" | "time with time zone" => "'00:00'".to_owned(),
        "interval" => "'1 day'".to_owned(),
        "json" | "jsonb" => "'{}'".to_owned(),
        "bytea" => "''".to_owned(),
        "inet" | "cidr" => "'127.0.0.1'".to_owned(),
        _ => return None,
    })
}

/// The id of a tenant that does not exist, in the type of the tenant column.
fn tenant(column: &Column, id: Uuid) -> Option<String> {
    // The low bits are random.
    let low = id.as_u64_pair().1;
    match &*column.r#type {
        "uuid" | "text" | "character varying" | "character" => Some(id.to_string()),
        "bigint" => Some(((1 << 62) | (low >> 3)).to_string()),
        "integer" => Some(((1 << 30) | (low & 0x3fff_ffff)).to_string()),
        _ => None,
    }
}
