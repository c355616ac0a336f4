//! [`Catalog`]: what the generator reads from PostgreSQL's catalogue, as the owner of the tables.

use serde::de::DeserializeOwned;
use sqlx::PgConnection;

use super::error::{misconfigured, read_error};
use crate::error::Result;
use crate::isolation::catalog::{
    self, Extent, FOREIGN_KEYS, ForeignKey, INDEXES, Index, READS, RELATIONS, Reads, Relations, rows,
    search_path,
};

/// The oldest supported `server_version_num`.
const OLDEST: i32 = 150_000;

pub(super) struct Catalog {
    pub(super) relations: Relations,
    pub(super) indexes: Vec<Index>,
    pub(super) foreign_keys: Vec<ForeignKey>,
    pub(super) reads: Reads,
}

impl Catalog {
    /// Reads the catalogue. For the rest of the transaction the search path is `pg_catalog`.
    ///
    /// With `search_path_only`, tables in other schemas are not read. The `shards` of Citus are read on connections of
    /// its own, which do not see the changes of this transaction and can wait for its locks.
    pub(super) async fn read(conn: &mut PgConnection, search_path_only: bool, shards: bool) -> Result<Self> {
        let version: i32 = sqlx::query_scalar("SELECT current_setting('server_version_num')::int")
            .fetch_one(&mut *conn)
            .await
            .map_err(read_error)?;
        if version < OLDEST {
            return Err(misconfigured(format!(
                "PostgreSQL 15 or later is required, for views with `security_invoker`; this is {version}"
            )));
        }
        let search_path = search_path(conn).await.map_err(read_error)?;
        let extent = if search_path_only { Extent::Schemas(search_path.clone()) } else { Extent::Everything };
        let mut relations = Relations::new(all(conn, &extent.limit(RELATIONS)).await?, &search_path);
        if shards {
            relations.set_shards(catalog::shards(conn).await.map_err(read_error)?);
        }
        Ok(Self {
            relations,
            indexes: all(conn, &extent.limit(INDEXES)).await?,
            foreign_keys: all(conn, &extent.limit(FOREIGN_KEYS)).await?,
            reads: Reads::new(all(conn, READS).await?),
        })
    }
}

async fn all<T: DeserializeOwned>(conn: &mut PgConnection, sql: &str) -> Result<Vec<T>> {
    rows(conn, &[], sql).await.map_err(read_error)
}
