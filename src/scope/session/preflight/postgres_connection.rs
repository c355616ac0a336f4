//! [`check_connection`]: a connection for checks, beside those of the pool.

use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::{ConnectOptions, Pool, Postgres};

use crate::database::database_error;
use crate::error::Result;

/// How long a connection of its own is waited for. After that, one of the pool is used.
const WAIT: Duration = Duration::from_secs(5);

/// Opens a connection with the options and the hooks of the pool. sqlx does not log its statements: the queries of the
/// doctor are long, and on a large database slow.
///
/// If the server permits no more connections, it is one of the pool, whose statements are logged. Other code may use the
/// pool too, so the connection is closed when it is dropped: it may be inside a transaction then.
///
/// # Errors
/// That of the pool, if there is no connection.
pub(in crate::scope::session) async fn check_connection(
    pool: &Pool<Postgres>,
) -> Result<PoolConnection<Postgres>> {
    let opened = if pool.is_closed() { None } else { quiet(pool).acquire().await.ok() };
    let mut conn = match opened {
        Some(conn) if !pool.is_closed() => conn,
        _ => pool.acquire().await.map_err(|e| database_error(&e))?,
    };
    conn.close_on_drop();
    Ok(conn)
}

/// A pool for one connection, like that of the caller. It connects when the connection is acquired.
fn quiet(pool: &Pool<Postgres>) -> Pool<Postgres> {
    let options = pool.options().clone().min_connections(0).max_connections(1);
    let wait = options.get_acquire_timeout().min(WAIT);
    let connect = pool.connect_options().as_ref().clone().disable_statement_logging();
    options.acquire_timeout(wait).connect_lazy_with(connect)
}
