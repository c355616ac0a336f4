//! Views over tenant tables, and the changes that make them read with the rights of their reader.

use sqlx::PgConnection;

use super::catalog::Catalog;
use super::error::read_error;
use super::plan::PolicyChange;
use crate::error::Result;
use crate::isolation::policy::quoted;

pub(super) struct View {
    pub(super) oid: i64,
    /// The name with its schema, quoted.
    pub(super) name: String,
    pub(super) shown: String,
    pub(super) schema: String,
    pub(super) materialized: bool,
    /// `security_invoker`: it reads with the rights of its reader.
    invoker: bool,
}

/// The views that read tenant tables, directly or through other views.
pub(super) async fn views(conn: &mut PgConnection, catalog: &Catalog) -> Result<Vec<View>> {
    let rows: Vec<(i64, String, String, bool, bool)> = sqlx::query_as(
        "WITH RECURSIVE reads AS ( \
             SELECT d.refobjid AS read, r.ev_class AS view FROM pg_rewrite r \
             JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid \
                 AND d.refclassid = 'pg_class'::regclass AND d.refobjid <> r.ev_class), \
         above AS ( \
             SELECT view FROM reads WHERE read::int8 = ANY ($1) \
             UNION SELECT reads.view FROM above JOIN reads ON reads.read = above.view) \
         SELECT c.oid::int8, n.nspname::text, c.relname::text, c.relkind = 'm', \
             coalesce((SELECT o.option_value::bool FROM pg_options_to_table(c.reloptions) o \
                 WHERE o.option_name = 'security_invoker'), false) \
         FROM above JOIN pg_class c ON c.oid = above.view JOIN pg_namespace n ON n.oid = c.relnamespace \
         WHERE c.relkind IN ('v', 'm') AND NOT EXISTS (SELECT 1 FROM pg_depend e \
             WHERE e.classid = 'pg_class'::regclass AND e.objid = c.oid AND e.deptype = 'e') \
         ORDER BY n.nspname, c.relname",
    )
    .bind(catalog.oids())
    .fetch_all(conn)
    .await
    .map_err(read_error)?;
    let view = |(oid, schema, name, materialized, invoker): (i64, String, String, bool, bool)| View {
        oid,
        name: format!("{}.{}", quoted(&schema), quoted(&name)),
        shown: format!("{schema}.{name}"),
        schema,
        materialized,
        invoker,
    };
    Ok(rows.into_iter().map(view).collect())
}

impl View {
    /// Whether it is an ordinary view, which stores no rows.
    pub(super) fn is_plain(&self) -> bool {
        !self.materialized
    }
}

pub(super) fn changes(views: &[View]) -> Vec<PolicyChange> {
    let owners = views.iter().filter(|view| !view.materialized && !view.invoker);
    owners
        .map(|view| {
            let sql = format!("ALTER VIEW {} SET (security_invoker = true);", view.name);
            PolicyChange::new(format!("view {}", view.shown), "it reads with the rights of its owner", sql)
        })
        .collect()
}
