//! Indexes that PostgreSQL cannot use under row-level security.

use sqlx::PgConnection;

use super::catalog::Catalog;
use super::error::read_error;
use super::plan::PolicyChange;
use crate::error::Result;
use crate::isolation::policy::quoted;

/// An index on a tenant table that needs an operator or a function that is not leakproof.
struct Index {
    table: i64,
    shown: String,
    definition: String,
    /// The beginning of the definition, up to the method.
    head: String,
    btree: bool,
    /// The operators and functions that are not leakproof.
    leaky: Vec<String>,
}

/// Lists the indexes that serve no query under a policy.
///
/// Until the policy accepts a row, PostgreSQL passes that row to leakproof operators and functions only.
pub(super) async fn advice(conn: &mut PgConnection, catalog: &Catalog) -> Result<Vec<PolicyChange>> {
    let (tables, numbers): (Vec<i64>, Vec<i16>) =
        catalog.tenants.iter().map(|table| (table.oid, table.column().number)).unzip();
    let led: Vec<i64> = sqlx::query_scalar(
        "SELECT DISTINCT i.indrelid::int8 FROM unnest($1::int8[], $2::int2[]) t (oid, number) \
         JOIN pg_index i ON i.indrelid::int8 = t.oid AND i.indkey[0] = t.number AND i.indpred IS NULL AND i.indisvalid \
         JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am m ON m.oid = c.relam AND m.amname = 'btree'",
    )
    .bind(&tables)
    .bind(&numbers)
    .fetch_all(&mut *conn)
    .await
    .map_err(read_error)?;
    let indexes = leaky(conn, &tables, &numbers).await?;
    Ok(indexes.iter().filter_map(|index| index.advice(catalog, &led)).collect())
}

impl Index {
    fn advice(&self, catalog: &Catalog, led: &[i64]) -> Option<PolicyChange> {
        let table = catalog.tenant(self.table)?;
        let tenant = quoted(&table.column().name);
        let reason = format!(
            "row-level security prevents its use, because these are not leakproof: {}; PostgreSQL filters the rows of the \
             tenant one by one",
            self.leaky.join(", ")
        );
        let sql = match self.definition.strip_prefix(&self.head) {
            // With the tenant column in front it finds the tenant's rows, in the order of the other columns.
            Some(rest) if self.btree => {
                let columns = rest.replacen('(', &format!("({tenant}, "), 1);
                format!("CREATE INDEX ON {}{columns};", table.name)
            }
            _ if led.contains(&self.table) => String::new(),
            _ => format!("CREATE INDEX ON {} ({tenant});", table.name),
        };
        Some(PolicyChange::new(format!("index {} of {}", self.shown, table.shown), reason, sql))
    }
}

async fn leaky(conn: &mut PgConnection, tables: &[i64], numbers: &[i16]) -> Result<Vec<Index>> {
    // A B-tree needs its first column; any other kind can use each of its columns. An operator class is useless if none
    // of its operators is leakproof. A pattern class serves LIKE, whose operator is in no B-tree class. The functions of
    // an expression are found by their oids in the expression tree; a cast through text has none.
    type Row = (i64, String, String, String, bool, Vec<String>);
    let rows: Vec<Row> = sqlx::query_as(
        "WITH ours AS ( \
             SELECT i.*, c.relname, c.relnamespace, m.amname = 'btree' AS btree \
             FROM unnest($1::int8[], $2::int2[]) t (oid, number) JOIN pg_index i ON i.indrelid::int8 = t.oid \
             JOIN pg_class c ON c.oid = i.indexrelid AND NOT c.relispartition JOIN pg_am m ON m.oid = c.relam \
             WHERE NOT i.indisunique AND NOT (m.amname = 'btree' AND i.indkey[0] = t.number)), \
         classes AS ( \
             SELECT o.indexrelid, o.btree, p.opcfamily, p.opcintype \
             FROM ours o, unnest(o.indclass) WITH ORDINALITY u (class, place) JOIN pg_opclass p ON p.oid = u.class \
             WHERE u.place = 1 OR NOT o.btree), \
         operators AS ( \
             SELECT c.indexrelid, c.opcfamily, r.oprname, f.proleakproof FROM classes c \
             JOIN pg_amop a ON a.amopfamily = c.opcfamily AND a.amoppurpose = 's' AND a.amoplefttype = c.opcintype \
             JOIN pg_operator r ON r.oid = a.amopopr JOIN pg_proc f ON f.oid = r.oprcode), \
         leaky AS ( \
             SELECT indexrelid, unnest(array_agg(DISTINCT 'operator ' || oprname)) AS what \
             FROM operators GROUP BY indexrelid, opcfamily HAVING NOT bool_or(proleakproof) \
             UNION SELECT c.indexrelid, 'operator ~~ (LIKE)' FROM classes c JOIN pg_amop a ON a.amopfamily = c.opcfamily \
             JOIN pg_operator r ON r.oid = a.amopopr AND r.oprname = '~<~' WHERE c.btree \
             UNION SELECT o.indexrelid, 'function ' || f.proname FROM ours o, \
                 regexp_matches(o.indexprs::text, ':(?:op)?funcid ([0-9]+)', 'g') u (m) \
             JOIN pg_proc f ON f.oid = u.m[1]::oid AND NOT f.proleakproof WHERE NOT o.btree OR o.indkey[0] = 0 \
             UNION SELECT o.indexrelid, 'a cast through text' FROM ours o \
             WHERE o.indexprs::text LIKE '%{COERCEVIAIO %' AND (NOT o.btree OR o.indkey[0] = 0)) \
         SELECT o.indrelid::int8, o.relname::text, pg_get_indexdef(o.indexrelid), \
             'CREATE INDEX ' || quote_ident(o.relname) || ' ON ' || CASE WHEN t.relkind = 'p' THEN 'ONLY ' ELSE '' END \
                 || quote_ident(n.nspname) || '.' || quote_ident(t.relname), \
             o.btree, array_agg(l.what ORDER BY l.what) \
         FROM ours o JOIN leaky l ON l.indexrelid = o.indexrelid \
         JOIN pg_class t ON t.oid = o.indrelid JOIN pg_namespace n ON n.oid = t.relnamespace \
         GROUP BY o.indrelid, o.indexrelid, o.relname, o.btree, t.relkind, n.nspname, t.relname \
         ORDER BY n.nspname, t.relname, o.relname",
    )
    .bind(tables)
    .bind(numbers)
    .fetch_all(conn)
    .await
    .map_err(read_error)?;
    let index = |(table, shown, definition, head, btree, leaky): Row| Index {
        table,
        shown,
        definition,
        head,
        btree,
        leaky,
    };
    Ok(rows.into_iter().map(index).collect())
}
