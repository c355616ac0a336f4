//! Two tenants that do not exist try to reach each other's rows; all of it is undone.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Row};
use tenancy_sql::Schema;
use uuid::Uuid;

use super::catalog::{Catalog, Whose};
use super::check::{Check, Severity};
use super::relation::{Column, Relation};
use super::report::{Finding, Fix, Report};
use super::server::unexamined;

/// Of a table with more rows than this, only some are looked at.
const MANY: f64 = 100_000.0;
const LOOKED_AT: f64 = 10_000.0;

/// What is asked of a table.
#[derive(Serialize)]
#[expect(clippy::struct_excessive_bools, reason = "each is a right of the role")]
struct Table {
    oid: i64,
    name: String,
    ident: String,
    tenant: String,
    /// The two tenants, as the setting has them and as the column does.
    a: String,
    b: String,
    value_a: String,
    value_b: String,
    sample: String,
    reads: bool,
    inserts: bool,
    updates: bool,
    deletes: bool,
    insert: String,
    row: Option<String>,
}

#[derive(Deserialize)]
struct Said {
    table: String,
    is: String,
    how: String,
}

pub(super) async fn run(
    conn: &mut PgConnection,
    catalog: &Catalog,
    schema: &Schema,
    report: &mut Report,
) -> sqlx::Result<()> {
    if catalog.bypasses() {
        report.notes.push("no probe was made: no policy is asked for this role".to_owned());
        return Ok(());
    }
    // Of what is known to be open the probe could only say the same.
    let open: BTreeSet<String> = report
        .findings
        .iter()
        .filter(|finding| {
            finding.severity() == Severity::Error
                && matches!(
                    finding.check(),
                    Check::RlsOff | Check::ChildWithoutRls | Check::OpenPolicy | Check::OwnerPastRls
                )
        })
        .map(|finding| finding.object().to_owned())
        .collect();
    let writes = !catalog.server.read_only;
    if !writes {
        report.notes.push("no row was written: the server is read only".to_owned());
    }
    let (a, b) = (Uuid::now_v7(), Uuid::now_v7());
    let mut tables = Vec::new();
    for (relation, column) in ordered(catalog, schema) {
        if relation.kind == 'f' || relation.at_once.is_empty() || open.contains(&relation.display()) {
            continue;
        }
        match table(catalog, schema, (relation, column), (a, b), writes) {
            Some(table) => tables.push(table),
            None => report.findings.push(unexamined(
                &relation.display(),
                &format!("`{}` is {}, of which no tenant can be made up", column.name, column.r#type),
            )),
        }
    }
    if tables.is_empty() {
        return Ok(());
    }
    match ask(conn, &tables).await {
        Ok(said) => tell(said, catalog, schema, report),
        Err(sqlx::Error::Database(error)) => report.findings.push(unexamined("probe", error.message())),
        Err(error) => return Err(error),
    }
    Ok(())
}

async fn ask(conn: &mut PgConnection, tables: &[Table]) -> sqlx::Result<Vec<Said>> {
    let tables = serde_json::to_string(tables).map_err(|e| sqlx::Error::Encode(e.into()))?;
    // No name ends the text that it stands in.
    let tables = tables.replace('\'', "''").replace('$', "\\u0024");
    let sql = format!(
        "SET LOCAL standard_conforming_strings = on; SET LOCAL jit = off; SET LOCAL statement_timeout = '10s'; SET LOCAL lock_timeout = '2s'; \
         {}; SELECT current_setting('tenancy.doctor')",
        include_str!("probe.sql").replace("{TABLES}", &tables)
    );
    // One message without a `BEGIN`: whoever stops waiting for it leaves no transaction behind.
    let rows = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_all(conn).await?;
    let text: &str = rows.first().ok_or(sqlx::Error::RowNotFound)?.try_get(0)?;
    serde_json::from_str(text).map_err(|e| sqlx::Error::Decode(e.into()))
}

fn tell(said: Vec<Said>, catalog: &Catalog, schema: &Schema, report: &mut Report) {
    let counted: BTreeSet<String> = catalog
        .tenants(schema)
        .filter(|(table, _)| !table.partition)
        .map(|(table, _)| table.display())
        .collect();
    let mut open = BTreeMap::<(Check, String), Vec<String>>::new();
    for Said { table, is, how } in said {
        match &*is {
            "made" if counted.contains(&table) => report.proven += 1,
            "made" => {}
            "unmade" => report.notes.push(format!("no row could be made in `{table}`: {how}")),
            "read" => open.entry((Check::ProbeRead, table)).or_default().push(how),
            "write" => open.entry((Check::ProbeWrite, table)).or_default().push(how),
            _ => report.findings.push(unexamined(&table, &how)),
        }
    }
    for ((check, table), mut how) in open {
        how.dedup();
        let fix = "compare its policies with those of a table that is sound, as the database prints them (`\\d`), \
                   and look for operators, functions and rules of the same names in another schema";
        report.findings.push(Finding::new(check, table, how.join("; "), Fix::Step(fix.to_owned())));
    }
}

/// Parents before their children.
fn ordered<'a>(catalog: &'a Catalog, schema: &'a Schema) -> Vec<(&'a Relation, &'a Column)> {
    let mut open: Vec<_> = catalog.tenants(schema).collect();
    let mut done = Vec::new();
    while !open.is_empty() {
        let waits = |(relation, _): &(&Relation, &Column)| {
            catalog.foreign_keys.iter().any(|key| {
                key.child == relation.oid
                    && key.parent != relation.oid
                    && open.iter().any(|(other, _)| other.oid == key.parent)
            })
        };
        let (waiting, mut ready): (Vec<_>, Vec<_>) = open.iter().copied().partition(waits);
        if ready.is_empty() {
            // They refer to each other in a ring.
            done.extend(waiting);
            break;
        }
        done.append(&mut ready);
        open = waiting;
    }
    done
}

fn table(
    catalog: &Catalog,
    schema: &Schema,
    (relation, column): (&Relation, &Column),
    (a, b): (Uuid, Uuid),
    writes: bool,
) -> Option<Table> {
    let (a, b) = (tenant(column, a)?, tenant(column, b)?);
    let value = |tenant: &str| format!("'{tenant}'::{}", column.r#type);
    let sample = if relation.rows > MANY {
        format!(" TABLESAMPLE SYSTEM ({:.6})", 100.0 * LOOKED_AT / relation.rows)
    } else {
        String::new()
    };
    let may = |right: &str| relation.at_once.contains(right);
    let full = values(catalog, schema, relation, column, &value(&a));
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
        reads: may("SELECT"),
        inserts: writes && may("INSERT"),
        updates: writes && may("UPDATE") && may("SELECT"),
        deletes: writes && may("DELETE") && may("SELECT"),
        row: row.map(|values| insert(values) + " RETURNING to_jsonb(made)"),
        insert: insert(&full.unwrap_or_else(|| vec![(column.ident.clone(), value(&a))])),
        value_a: value(&a),
        value_b: value(&b),
        a,
        b,
    })
}

/// The columns that a row must have, with values for them; the tenant's first.
fn values(
    catalog: &Catalog,
    schema: &Schema,
    relation: &Relation,
    tenant: &Column,
    id: &str,
) -> Option<Vec<(String, String)>> {
    let mut values = vec![(tenant.ident.clone(), id.to_owned())];
    for column in &relation.columns {
        let given = column.default.is_some() || column.identity || column.generated || !column.not_null;
        if column.name == tenant.name || given {
            continue;
        }
        let value = match referred(catalog, schema, relation, column) {
            Some(value) => value,
            None => plain(column)?,
        };
        values.push((column.ident.clone(), value));
    }
    Some(values)
}

/// The value of a foreign key: of the row that A has in the parent, or of any row that is everybody's.
fn referred(catalog: &Catalog, schema: &Schema, relation: &Relation, column: &Column) -> Option<String> {
    catalog.foreign_keys.iter().filter(|key| key.child == relation.oid).find_map(|key| {
        let (_, theirs) = key.columns.iter().find(|(own, _)| *own == column.name)?;
        let parent = catalog.relations.get(&key.parent)?;
        let of = parent.column(theirs)?;
        Some(match catalog.whose(parent, schema) {
            Whose::Tenant(_) => {
                // Bound as JSON, so that the value is in nobody's text.
                format!("($1->'{}'->>'{}')::{}", parent.oid, of.name.replace('\'', "''"), column.r#type)
            }
            _ => format!("(SELECT {} FROM {} LIMIT 1)", of.ident, parent.ident),
        })
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
        // Small enough for what is reckoned from it.
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

/// A tenant that nobody has, in the type of its column.
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
