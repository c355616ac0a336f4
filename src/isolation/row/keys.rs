//! Tenant columns that may be empty, and keys that lack them.

use std::collections::BTreeSet;

use sqlx::PgConnection;

use super::catalog::{Catalog, Table};
use super::{Step, list, quoted, refused, unread};
use crate::error::Result;

pub(super) struct Keys {
    /// In the order in which they can be done.
    pub(super) keys: Vec<Step>,
    /// What only a person can mend.
    pub(super) advice: Vec<Step>,
}

impl Keys {
    pub(super) async fn read(conn: &mut PgConnection, catalog: &Catalog) -> Result<Self> {
        let unique = unique_keys(conn, &catalog.oids()).await?;
        let of_tenants = tables_of_tenants(catalog, &unique);
        let mut keys = columns(catalog, &of_tenants);
        let mut advice = Vec::new();
        let (mut dropped, mut added, mut replaced) = (Vec::new(), Vec::new(), BTreeSet::new());
        let mut referred = Vec::new();
        for foreign in foreign_keys(conn, &catalog.oids()).await? {
            // What refers to a tenant's key, but is none's, is looked at below.
            let (Some(child), Some(parent)) = (catalog.tenant(foreign.child), catalog.tenant(foreign.parent))
            else {
                continue;
            };
            match foreign.judge(child, parent) {
                Verdict::Right => {}
                Verdict::ByHand(reason) => advice.push(Step::new(foreign.object(child), reason, "")),
                Verdict::Wrong { reason, drop, add, needs } => {
                    replaced.insert(foreign.oid);
                    dropped.push(Step::new(foreign.object(child), reason, drop));
                    let add = unforced(catalog, [child, parent], &add);
                    added.push(Step::new(foreign.object(child), "it is made anew, with the tenant", add));
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
                let reason = "each tenant has one row here, so it is unique among tenants: one learns what another has";
                advice.push(Step::new(unique.object(table), reason, ""));
                continue;
            }
            if unique.referred.iter().any(|by| !replaced.contains(by)) {
                let reason = "it lacks the tenant, and a key refers to it that cannot be given the tenant: two tenants \
                              collide in it, and one learns of the other's rows";
                advice.push(Step::new(unique.object(table), reason, ""));
                continue;
            }
            columns.insert(tenant.clone());
            made.push((unique.table, columns));
            let reason = "it lacks the tenant: two tenants collide in it, and one learns of the other's rows";
            keys.push(Step::new(unique.object(table), reason, unique.with_tenant(table)));
        }
        for (parent, needs) in referred {
            if made.iter().any(|(table, columns)| *table == parent && *columns == needs) {
                continue;
            }
            let Some(table) = catalog.tenant(parent) else { continue };
            let tenant = table.column().name.as_str();
            let names = std::iter::once(tenant)
                .chain(needs.iter().map(String::as_str).filter(|column| *column != tenant));
            let sql = format!("ALTER TABLE {} ADD UNIQUE ({});", table.name, list(names));
            keys.push(Step::new(table.object(), "foreign keys with the tenant need a key to refer to", sql));
            made.push((parent, needs));
        }
        keys.extend(added);
        advice.extend(exclusions(conn, catalog).await?);
        Ok(Self { keys, advice })
    }
}

/// A foreign key that is added while the security of its tables does not bind their owner. Otherwise PostgreSQL asks as
/// the owner whether the rows that are there keep it, sees none of them, and takes it for kept.
fn unforced(catalog: &Catalog, tables: [&Table; 2], add: &str) -> String {
    let names: BTreeSet<&str> =
        tables.iter().flat_map(|table| catalog.family(table.oid)).map(|table| table.name.as_str()).collect();
    let all = |action: &str| {
        names
            .iter()
            .map(|name| format!("ALTER TABLE {name} {action} ROW LEVEL SECURITY;"))
            .collect::<Vec<_>>()
    };
    let (off, on) = (all("NO FORCE"), all("FORCE"));
    [off, vec![add.to_owned()], on].concat().join("\n")
}

/// Tables that have one row for each tenant.
fn tables_of_tenants(catalog: &Catalog, unique: &[Unique]) -> BTreeSet<i64> {
    let by_tenant = |key: &&Unique| {
        catalog.tenant(key.table).is_some_and(|table| key.columns == [table.column().name.as_str()])
    };
    unique.iter().filter(by_tenant).map(|key| key.table).collect()
}

fn columns(catalog: &Catalog, of_tenants: &BTreeSet<i64>) -> Vec<Step> {
    let mut steps = Vec::new();
    // A partition's column is as its parent's is; a child's is its own.
    for table in catalog.tenants.iter().filter(|table| !table.partition) {
        let column = table.column();
        let name = quoted(&column.name);
        let alter = |action: &str| format!("ALTER TABLE {} ALTER COLUMN {name} {action};", table.name);
        if column.nullable {
            let reason =
                "its tenant column may be empty, and a foreign key with an empty part is not checked";
            steps.push(Step::new(table.object(), reason, alter("SET NOT NULL")));
        }
        // The id of a tenant may be given by the database.
        if let Some(action) = column.filled.filter(|_| !of_tenants.contains(&table.oid)) {
            let reason = "its tenant column fills itself, so that a forgotten tenant is not noticed";
            steps.push(Step::new(table.object(), reason, alter(action)));
        }
    }
    steps
}

/// A foreign key of one tenants' table to another.
struct Foreign {
    oid: i64,
    name: String,
    child: i64,
    parent: i64,
    /// What refers to what.
    columns: Vec<(String, String)>,
    /// Whether one of them may be empty.
    nullable: bool,
    on_update: Action,
    on_delete: Action,
    /// Those that `SET NULL` and `SET DEFAULT` are about; all, if there are none.
    on_delete_columns: Vec<String>,
    full: bool,
    /// `DEFERRABLE` and the like.
    rest: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Action {
    No,
    Restrict,
    Cascade,
    SetNull,
    SetDefault,
}

impl Action {
    const fn read(letter: i8) -> Self {
        match letter.cast_unsigned() {
            b'r' => Self::Restrict,
            b'c' => Self::Cascade,
            b'n' => Self::SetNull,
            b'd' => Self::SetDefault,
            _ => Self::No,
        }
    }

    const fn as_sql(self) -> &'static str {
        match self {
            Self::No => "NO ACTION",
            Self::Restrict => "RESTRICT",
            Self::Cascade => "CASCADE",
            Self::SetNull => "SET NULL",
            Self::SetDefault => "SET DEFAULT",
        }
    }

    const fn sets(self) -> bool {
        matches!(self, Self::SetNull | Self::SetDefault)
    }
}

enum Verdict {
    Right,
    /// What a person has to decide.
    ByHand(&'static str),
    Wrong {
        reason: &'static str,
        drop: String,
        add: String,
        /// The columns of the key that it refers to.
        needs: BTreeSet<String>,
    },
}

impl Foreign {
    fn object(&self, child: &Table) -> String {
        format!("foreign key {} of {}", self.name, child.shown)
    }

    fn judge(&self, child: &Table, parent: &Table) -> Verdict {
        let (own, theirs) = (child.column().name.as_str(), parent.column().name.as_str());
        let is_tenant = |(a, b): &&(String, String)| a == own && b == theirs;
        let paired = self.columns.iter().any(|pair| is_tenant(&pair));
        let rest: Vec<&(String, String)> = self.columns.iter().filter(|pair| !is_tenant(pair)).collect();
        if rest.iter().any(|(a, b)| a == own || b == theirs) {
            return Verdict::ByHand(
                "it compares the tenant with what is no tenant, and can refer to another's rows",
            );
        }
        if self.on_update.sets() {
            return Verdict::ByHand(if paired {
                "ON UPDATE it takes the tenant from its rows; choose another action"
            } else {
                "it can refer to another tenant's rows; its ON UPDATE would take the tenant away once it has one: \
                 choose another action"
            });
        }
        let emptied =
            self.on_delete_columns.is_empty() || self.on_delete_columns.iter().any(|column| column == own);
        let reason = match (paired, self.on_delete.sets() && emptied) {
            (true, false) => return Verdict::Right,
            (true, true) if rest.is_empty() => {
                return Verdict::ByHand("ON DELETE it takes the tenant from its rows; choose another action");
            }
            (true, true) => "ON DELETE it takes the tenant from its rows",
            (false, _) => "it lacks the tenant: a row can refer to another tenant's, and be deleted with it",
        };
        if self.full && self.nullable {
            return Verdict::ByHand(
                "it is MATCH FULL with columns that may be empty, which a key with the tenant cannot be; say by a \
                 CHECK which are empty together, and make it MATCH SIMPLE",
            );
        }
        let from = std::iter::once(own).chain(rest.iter().map(|(a, _)| a.as_str()));
        let to: Vec<&str> = std::iter::once(theirs).chain(rest.iter().map(|(_, b)| b.as_str())).collect();
        let set: Vec<&str> = if self.on_delete_columns.is_empty() {
            rest.iter().map(|(a, _)| a.as_str()).collect()
        } else {
            self.on_delete_columns.iter().map(String::as_str).filter(|column| *column != own).collect()
        };
        let columns = if self.on_delete.sets() { format!(" ({})", list(set)) } else { String::new() };
        let (table, name) = (&child.name, quoted(&self.name));
        Verdict::Wrong {
            reason,
            drop: format!("ALTER TABLE {table} DROP CONSTRAINT IF EXISTS {name};"),
            add: format!(
                "ALTER TABLE {table} ADD CONSTRAINT {name} FOREIGN KEY ({}) REFERENCES {} ({})\n    \
                 ON UPDATE {} ON DELETE {}{columns}{};",
                list(from),
                parent.name,
                list(to.iter().copied()),
                self.on_update.as_sql(),
                self.on_delete.as_sql(),
                self.rest
            ),
            needs: to.into_iter().map(str::to_owned).collect(),
        }
    }
}

async fn foreign_keys(conn: &mut PgConnection, tables: &[i64]) -> Result<Vec<Foreign>> {
    type Row =
        (i64, String, i64, i64, Vec<String>, Vec<String>, bool, i8, i8, Vec<String>, bool, bool, bool, bool);
    // One that a partition has from its parent is the parent's.
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT k.oid::int8, k.conname::text, k.conrelid::int8, k.confrelid::int8, \
             ARRAY(SELECT a.attname::text FROM unnest(k.conkey) WITH ORDINALITY u (n, o) \
                 JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.n ORDER BY u.o), \
             ARRAY(SELECT a.attname::text FROM unnest(k.confkey) WITH ORDINALITY u (n, o) \
                 JOIN pg_attribute a ON a.attrelid = k.confrelid AND a.attnum = u.n ORDER BY u.o), \
             EXISTS (SELECT 1 FROM pg_attribute a \
                 WHERE a.attrelid = k.conrelid AND a.attnum = ANY (k.conkey) AND NOT a.attnotnull), \
             k.confupdtype, k.confdeltype, \
             ARRAY(SELECT a.attname::text FROM unnest(k.confdelsetcols) WITH ORDINALITY u (n, o) \
                 JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.n ORDER BY u.o), \
             k.confmatchtype = 'f' AND cardinality(k.conkey) > 1, k.condeferrable, k.condeferred, k.convalidated \
         FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace \
         WHERE k.contype = 'f' AND k.conparentid = 0 AND k.conrelid::int8 = ANY ($1) AND k.confrelid::int8 = ANY ($1) \
         ORDER BY n.nspname, c.relname, k.conname",
    )
    .bind(tables)
    .fetch_all(conn)
    .await
    .map_err(unread)?;
    let foreign = |row: Row| {
        let (
            oid,
            name,
            child,
            parent,
            from,
            to,
            nullable,
            update,
            delete,
            set,
            full,
            deferrable,
            deferred,
            valid,
        ) = row;
        let mut rest = String::new();
        rest += if deferrable { " DEFERRABLE" } else { "" };
        rest += if deferred { " INITIALLY DEFERRED" } else { "" };
        rest += if valid { "" } else { " NOT VALID" };
        Foreign {
            oid,
            name,
            child,
            parent,
            columns: from.into_iter().zip(to).collect(),
            nullable,
            on_update: Action::read(update),
            on_delete: Action::read(delete),
            on_delete_columns: set,
            full,
            rest,
        }
    };
    Ok(rows.into_iter().map(foreign).collect())
}

/// A primary key, a unique constraint, or a unique index.
struct Unique {
    name: String,
    table: i64,
    primary: bool,
    /// Its columns; of an expression there is none.
    columns: Vec<String>,
    /// Of a constraint what it is, such as `UNIQUE (code)`; of an index the statement that makes it.
    definition: String,
    constraint: bool,
    /// The index with its schema, quoted.
    index: String,
    /// How the definition of an index begins, up to its columns.
    head: String,
    /// The foreign keys that need it.
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

    fn with_tenant(&self, table: &Table) -> String {
        let tenant = quoted(&table.column().name);
        let name = quoted(&self.name);
        // The columns begin at the first parenthesis: of an index after its names, of a constraint at once.
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
    .map_err(unread)?;
    let unique = |row: Row| {
        let (name, table, primary, columns, definition, constraint, schema, start, on, referred) = row;
        let printed = [String::new(), format!("{start}ONLY {on}"), format!("{start}{on}")]
            .into_iter()
            .find(|head| head.is_empty() == constraint && definition.starts_with(head.as_str()))
            .ok_or_else(|| refused(format!("what the database says of the index `{name}` does not read")))?;
        // Of a partitioned table it is printed with `ONLY`, which would make none on the partitions.
        let head = if constraint { String::new() } else { format!("{start}{on}") };
        let definition = format!("{head}{}", &definition[printed.len()..]);
        let index = format!("{}.{}", quoted(&schema), quoted(&name));
        Ok(Unique { name, table, primary, columns, definition, constraint, index, head, referred })
    };
    rows.into_iter().map(unique).collect()
}

/// Exclusion constraints, which could be about anything.
async fn exclusions(conn: &mut PgConnection, catalog: &Catalog) -> Result<Vec<Step>> {
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
    .map_err(unread)?;
    let step = |(table, name): (i64, String)| {
        let table = catalog.tenant(table)?;
        let reason = "it lacks the tenant: two tenants collide in it; make it anew with the tenant column `WITH =`, \
                      which the extension btree_gist has for every type";
        Some(Step::new(format!("exclusion constraint {name} of {}", table.shown), reason, ""))
    };
    Ok(rows.into_iter().filter_map(step).collect())
}
