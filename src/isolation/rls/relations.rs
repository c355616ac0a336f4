//! Reads tables, their parents, tenant columns and policies from PostgreSQL's catalogue.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use sqlx::PgConnection;
use tenancy_sql::{Dialect, Schema};

use super::error::read_error;
use crate::error::Result;
use crate::isolation::policy::Kind;

/// Whether row-level security is enabled, and forced for the owner of the table.
#[derive(Clone, Copy)]
pub(super) struct Security {
    pub(super) enabled: bool,
    pub(super) forced: bool,
}

/// A tenant column.
#[derive(Clone)]
pub(super) struct Column {
    pub(super) name: String,
    /// The name as PostgreSQL prints it, quoted where needed.
    pub(super) printed: String,
    pub(super) kind: Kind,
    pub(super) number: i16,
    pub(super) nullable: bool,
    /// The action that removes its default or identity, if it has one.
    pub(super) filled: Option<&'static str>,
}

/// A policy in the database.
pub(super) struct Policy {
    pub(super) name: String,
    pub(super) permissive: bool,
    /// It is for every command and every role.
    pub(super) of_all: bool,
    pub(super) using: Option<String>,
    pub(super) check: Option<String>,
    pub(super) comment: Option<String>,
}

#[expect(clippy::struct_excessive_bools, reason = "as the catalogue has them")]
pub(super) struct Relation {
    pub(super) schema: String,
    pub(super) name: String,
    pub(super) kind: i8,
    pub(super) partition: bool,
    pub(super) security: Security,
    /// Whether a statement finds it without its schema.
    pub(super) visible: bool,
    /// Whether its schema is in the search path.
    pub(super) in_search_path: bool,
    /// Whether it belongs to an extension.
    pub(super) member: bool,
}

impl Relation {
    pub(super) fn shown(&self) -> String {
        format!("{}.{}", self.schema, self.name)
    }

    /// Every name by which a statement can name it.
    pub(super) fn names(&self) -> Vec<String> {
        self.visible.then(|| self.name.clone()).into_iter().chain([self.shown()]).collect()
    }
}

pub(super) async fn relations(conn: &mut PgConnection) -> Result<BTreeMap<i64, Relation>> {
    type Row = (i64, String, String, i8, bool, bool, bool, bool, bool, bool);
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT c.oid::int8, n.nspname::text, c.relname::text, c.relkind, c.relispartition, c.relrowsecurity, \
             c.relforcerowsecurity, pg_table_is_visible(c.oid), n.nspname = ANY (current_schemas(false)), \
             EXISTS (SELECT 1 FROM pg_depend e \
                 WHERE e.classid = 'pg_class'::regclass AND e.objid = c.oid AND e.deptype = 'e') \
         FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
         WHERE c.relkind IN ('r', 'p', 'f') AND c.relpersistence <> 't' \
             AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'",
    )
    .fetch_all(conn)
    .await
    .map_err(read_error)?;
    let relation =
        |(oid, schema, name, kind, partition, enabled, forced, visible, in_search_path, member): Row| {
            let security = Security { enabled, forced };
            (oid, Relation { schema, name, kind, partition, security, visible, in_search_path, member })
        };
    Ok(rows.into_iter().map(relation).collect())
}

pub(super) async fn parents(conn: &mut PgConnection) -> Result<HashMap<i64, Vec<i64>>> {
    let rows: Vec<(i64, i64)> =
        sqlx::query_as("SELECT inhrelid::int8, inhparent::int8 FROM pg_inherits ORDER BY inhrelid, inhseqno")
            .fetch_all(conn)
            .await
            .map_err(read_error)?;
    let mut parents: HashMap<i64, Vec<i64>> = HashMap::new();
    for (child, parent) in rows {
        parents.entry(child).or_default().push(parent);
    }
    Ok(parents)
}

/// A column before its type is checked.
pub(super) struct RawColumn {
    pub(super) column: Column,
    pub(super) kind: String,
    pub(super) deterministic: bool,
}

/// The columns with the name of a tenant column, by table and name.
pub(super) async fn columns(
    conn: &mut PgConnection,
    schema: &Schema,
    relations: &BTreeMap<i64, Relation>,
) -> Result<HashMap<(i64, String), RawColumn>> {
    type Row = (i64, String, String, String, i16, bool, bool, bool, bool);
    let declared = relations.values().flat_map(|relation| {
        [relation.name.clone(), relation.shown()]
            .into_iter()
            .filter_map(|name| schema.tenant_column(Dialect::Postgres, &name))
    });
    let names: BTreeSet<&str> = declared.chain([schema.column_name()]).collect();
    let names: Vec<&str> = names.into_iter().collect();
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT a.attrelid::int8, a.attname::text, quote_ident(a.attname), format_type(a.atttypid, NULL), a.attnum, \
             NOT a.attnotnull, a.atthasdef AND a.attgenerated = '', a.attidentity <> '', coalesce(l.collisdeterministic, true) \
         FROM pg_attribute a LEFT JOIN pg_collation l ON l.oid = a.attcollation \
         WHERE a.attname = ANY ($1) AND a.attnum > 0 AND NOT a.attisdropped",
    )
    .bind(names)
    .fetch_all(conn)
    .await
    .map_err(read_error)?;
    let found = |(table, name, printed, kind, number, nullable, default, identity, deterministic): Row| {
        let filled = match (default, identity) {
            (_, true) => Some("DROP IDENTITY"),
            (true, false) => Some("DROP DEFAULT"),
            (false, false) => None,
        };
        let column = Column { name: name.clone(), printed, kind: Kind::Text, number, nullable, filled };
        ((table, name), RawColumn { column, kind, deterministic })
    };
    Ok(rows.into_iter().map(found).collect())
}

pub(super) async fn policies(conn: &mut PgConnection) -> Result<HashMap<i64, Vec<Policy>>> {
    type Row = (i64, String, bool, bool, Option<String>, Option<String>, Option<String>);
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT polrelid::int8, polname::text, polpermissive, polcmd = '*' AND polroles = '{0}', \
             pg_get_expr(polqual, polrelid), pg_get_expr(polwithcheck, polrelid), obj_description(oid, 'pg_policy') \
         FROM pg_policy ORDER BY polname",
    )
    .fetch_all(conn)
    .await
    .map_err(read_error)?;
    let mut policies: HashMap<i64, Vec<Policy>> = HashMap::new();
    for (table, name, permissive, of_all, using, check, comment) in rows {
        policies.entry(table).or_default().push(Policy { name, permissive, of_all, using, check, comment });
    }
    Ok(policies)
}
