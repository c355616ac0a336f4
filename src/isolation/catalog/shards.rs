//! [`Shard`]: a part of a table that Citus distributes, with the row-level security that its node applies.

use std::collections::BTreeMap;

use serde::Deserialize;
use sqlx::Row;
use sqlx::postgres::PgConnection;

use super::policy::Policy;
use super::rows;

/// The tables of Citus, as the coordinator lists them.
const TABLES: &str = "SELECT p.logicalrelid::oid::bigint AS oid, n.nspname AS schema, c.relname AS name, \
    p.partmethod = 'n' AND p.repmodel = 's' AS local, \
    (SELECT count(*) FROM pg_dist_shard s JOIN pg_dist_placement USING (shardid) WHERE s.logicalrelid = p.logicalrelid) AS shards \
    FROM pg_dist_partition p JOIN pg_class c ON c.oid = p.logicalrelid JOIN pg_namespace n ON n.oid = c.relnamespace";

#[derive(Debug, Deserialize)]
pub(crate) struct Shard {
    schema: String,
    table: String,
    /// The host and the port of its node.
    #[serde(default)]
    node: String,
    /// The name of the shard.
    name: String,
    pub(super) rls: bool,
    pub(super) forced: bool,
    pub(super) policies: Vec<Policy>,
}

/// The shards of a table.
#[derive(Debug, Default)]
pub(crate) struct Shards {
    pub(crate) local: bool,
    pub(crate) all: Vec<Shard>,
}

#[derive(Deserialize)]
struct Table {
    oid: i64,
    schema: String,
    name: String,
    /// Citus knows the table, and its rows are on the coordinator only.
    local: bool,
    shards: usize,
}

#[derive(Deserialize)]
struct Node {
    address: String,
    success: bool,
    result: String,
}

impl Shard {
    pub(crate) fn display(&self) -> String {
        format!("shard {} on {}", self.name, self.node)
    }
}

/// The shards of each table that Citus distributes or replicates, by the oid of the table. Without Citus there are
/// none.
///
/// # Errors
/// A node that does not answer, or that lacks a shard, is an error: its policies are unknown.
pub(crate) async fn shards(conn: &mut PgConnection) -> sqlx::Result<BTreeMap<i64, Shards>> {
    let citus = "SELECT pg_catalog.to_regclass('pg_catalog.pg_dist_partition') IS NOT NULL";
    if !sqlx::raw_sql(citus).fetch_one(&mut *conn).await?.try_get::<bool, _>(0)? {
        return Ok(BTreeMap::new());
    }
    let tables: Vec<Table> = rows(conn, &[], TABLES).await?;
    let mut found = Vec::new();
    for Node { address, success, result } in
        rows::<Node>(conn, &[], &on_all_nodes(include_str!("shards.sql"))).await?
    {
        if !success {
            return Err(sqlx::Error::Decode(
                format!("the node {address} cannot be examined: {result}").into(),
            ));
        }
        let shards: Vec<Shard> = serde_json::from_str(&result).map_err(|e| sqlx::Error::Decode(e.into()))?;
        found.extend(shards.into_iter().map(|shard| Shard { node: address.clone(), ..shard }));
    }
    let mut by_table = BTreeMap::new();
    for Table { oid, schema, name, local, shards } in tables {
        let (of_table, others): (Vec<_>, Vec<_>) =
            found.into_iter().partition(|shard: &Shard| (&shard.schema, &shard.table) == (&schema, &name));
        // After a move the old shard stays for a while.
        if of_table.is_empty() || of_table.len() < shards {
            let text = format!("{} of {shards} shards of {schema}.{name} were found", of_table.len());
            return Err(sqlx::Error::Decode(text.into()));
        }
        found = others;
        by_table.insert(oid, Shards { local, all: of_table });
    }
    Ok(by_table)
}

/// A query that runs `sql` on the coordinator and on every worker.
fn on_all_nodes(sql: &str) -> String {
    format!(
        "SELECT n.nodename || ':' || n.nodeport AS address, r.success, r.result \
         FROM run_command_on_all_nodes($command$\n{sql}$command$) r JOIN pg_dist_node n USING (nodeid)"
    )
}
