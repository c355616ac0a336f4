//! Citus: whether it is declared, and whether it propagates the tenant to its workers.

use sqlx::Row;
use sqlx::postgres::PgConnection;

use super::connection_mode::ConnectionMode;
use super::error::database_error;
use crate::error::{Error, ErrorKind, Result};

const READ: &str = "SELECT EXISTS (SELECT FROM pg_extension WHERE extname = 'citus'), \
    coalesce(current_setting('citus.propagate_set_commands', true) = 'local', false)";

/// Rejects a database that is Citus and not declared so, or the other way round, and a role whose tenant setting does
/// not reach the workers.
pub(super) async fn check(conn: &mut PgConnection, connection_mode: ConnectionMode) -> Result<()> {
    let row = sqlx::raw_sql(READ).fetch_one(conn).await.map_err(|e| database_error(&e))?;
    let flag = |column: usize| row.try_get::<bool, _>(column).map_err(|e| database_error(&e));
    let text = match (connection_mode, flag(0)?, flag(1)?) {
        (ConnectionMode::Citus, true, true)
        | (ConnectionMode::Direct | ConnectionMode::PgBouncer, false, _) => return Ok(()),
        (ConnectionMode::Citus, true, false) => {
            "Citus does not propagate the tenant to its workers: run `ALTER ROLE .. SET citus.propagate_set_commands = 'local'` \
             for this role"
        }
        (ConnectionMode::Citus, false, _) => {
            "`ConnectionMode::Citus` is set, and this database has no extension `citus`; set `ConnectionMode::Direct`"
        }
        (ConnectionMode::Direct | ConnectionMode::PgBouncer, true, _) => {
            "this database has the extension `citus`, whose workers get the tenant only with `ConnectionMode::Citus`; set it"
        }
    };
    Err(Error::new(ErrorKind::Misconfigured, text))
}
