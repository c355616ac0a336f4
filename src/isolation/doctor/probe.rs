//! The probe: two tenants that do not exist try to reach each other's rows, and every change is rolled back.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Row};
use tenancy_sql::Schema;
use uuid::Uuid;

use super::catalog::{Catalog, TIME_LIMITS};
use super::check::{Check, Severity};
use super::examined::Examined;
use super::report::{Finding, Fix, Report};
use super::server::unexamined;
use crate::isolation::catalog::{Column, Ownership, Setting, set_local};

/// The probe reads a sample of a table with more rows than this.
const SAMPLE_ABOVE: f64 = 100_000.0;
/// About how many rows a sample has.
const SAMPLE_ROWS: f64 = 10_000.0;

/// With one connection for each worker, Citus opens no connection after the probe has set a savepoint.
const SETTINGS: [Setting; 3] =
    [("standard_conforming_strings", "on"), ("jit", "off"), ("citus.max_adaptive_executor_pool_size", "1")];

/// What `probe.sql` tries on a table.
#[derive(Serialize)]
#[expect(clippy::struct_excessive_bools, reason = "each is a right of the role")]
pub(super) struct Table {
    oid: i64,
    name: String,
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

#[derive(Serialize)]
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

pub(super) async fn run(
    conn: &mut PgConnection,
    catalog: &Catalog,
    schema: &Schema,
    report: &mut Report,
) -> sqlx::Result<()> {
    if catalog.bypasses() {
        report.notes.push("the probe did not run: no policy applies to this role".to_owned());
        return Ok(());
    }
    let open = open(report);
    let writes = !catalog.server.read_only;
    if !writes {
        report.notes.push("the probe wrote no row: the server is read-only".to_owned());
    }
    let (a, b) = (Uuid::now_v7(), Uuid::now_v7());
    let mut tables = Vec::new();
    for (relation, column) in ordered(catalog, schema) {
        if relation.kind == 'f' || relation.usable.is_empty() || open.contains(&relation.display()) {
            continue;
        }
        match table(catalog, schema, (relation, column), (a, b), writes) {
            Some(table) => tables.push(table),
            None => report.findings.push(unexamined(
                &relation.display(),
                &format!(
                    "`{}` is of the type {}, for which the probe has no tenant ids",
                    column.name, column.r#type
                ),
            )),
        }
    }
    if tables.is_empty() {
        return Ok(());
    }
    match execute(conn, include_str!("probe.sql"), &tables).await {
        Ok(outcomes) => record(outcomes, catalog, schema, report),
        Err(sqlx::Error::Database(error)) => report.findings.push(unexamined("probe", error.message())),
        Err(error) => return Err(error),
    }
    Ok(())
}

/// The tables that are already known to be open. A probe skips them.
pub(super) fn open(report: &Report) -> BTreeSet<String> {
    const OPEN: [Check; 6] = [
        Check::RlsOff,
        Check::ChildWithoutRls,
        Check::OpenPolicy,
        Check::OwnerPastRls,
        Check::ProbeRead,
        Check::ProbeWrite,
    ];
    let errors = report.findings.iter().filter(|finding| finding.severity() == Severity::Error);
    errors
        .filter(|finding| OPEN.contains(&finding.check()))
        .map(|finding| finding.object().to_owned())
        .collect()
}

/// Runs a block that tries something on each table, and leaves the results in the setting `tenancy.doctor`.
pub(super) async fn execute(
    conn: &mut PgConnection,
    block: &str,
    tables: &[Table],
) -> sqlx::Result<Vec<Outcome>> {
    let tables = serde_json::to_string(tables).map_err(|e| sqlx::Error::Encode(e.into()))?;
    // No table name can end the SQL string or the dollar quote around it.
    let tables = tables.replace('\'', "''").replace('$', "\\u0024");
    let sql = format!(
        "{}; {}; SELECT current_setting('tenancy.doctor')",
        set_local(&[&SETTINGS[..], &TIME_LIMITS].concat()),
        block.replace("{SHARED}", include_str!("probe_shared.sql")).replace("{TABLES}", &tables)
    );
    // One message without `BEGIN`: a dropped future leaves no transaction open.
    let rows = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_all(conn).await?;
    let text: &str = rows.first().ok_or(sqlx::Error::RowNotFound)?.try_get(0)?;
    serde_json::from_str(text).map_err(|e| sqlx::Error::Decode(e.into()))
}

fn record(outcomes: Vec<Outcome>, catalog: &Catalog, schema: &Schema, report: &mut Report) {
    let counted: BTreeSet<String> = catalog
        .tenants(schema)
        .filter(|(table, _)| !table.partition)
        .map(|(table, _)| table.display())
        .collect();
    let mut open = BTreeMap::<(Check, String), Vec<String>>::new();
    for Outcome { table, kind, detail } in outcomes {
        match &*kind {
            "made" if counted.contains(&table) => report.proven += 1,
            "made" => {}
            "unmade" => report.notes.push(format!("could not insert a row into `{table}`: {detail}")),
            "read" => open.entry((Check::ProbeRead, table)).or_default().push(detail),
            "write" => open.entry((Check::ProbeWrite, table)).or_default().push(detail),
            _ => report.findings.push(unexamined(&table, &detail)),
        }
    }
    for ((check, table), mut details) in open {
        details.dedup();
        let fix = "compare its policies with those of a table without this finding, as the database prints them (`\\d`), \
                   and look for operators, functions and rules with the same names in another schema";
        report.findings.push(Finding::new(check, table, details.join("; "), Fix::Step(fix.to_owned())));
    }
}

/// The tenant tables, each after the tables that it references.
pub(super) fn ordered<'a>(catalog: &'a Catalog, schema: &'a Schema) -> Vec<(&'a Examined, &'a Column)> {
    let mut open: Vec<_> = catalog.tenants(schema).collect();
    let mut done = Vec::new();
    while !open.is_empty() {
        let waits = |(relation, _): &(&Examined, &Column)| {
            catalog.foreign_keys.iter().any(|key| {
                key.child == relation.oid
                    && key.parent != relation.oid
                    && open.iter().any(|(other, _)| other.oid == key.parent)
            })
        };
        let (waiting, mut ready): (Vec<_>, Vec<_>) = open.iter().copied().partition(waits);
        if ready.is_empty() {
            // These tables reference each other in a circle.
            done.extend(waiting);
            break;
        }
        done.append(&mut ready);
        open = waiting;
    }
    done
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
