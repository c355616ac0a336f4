//! Messages of PostgreSQL: `SqlStore` notifies in the transaction of a change.

use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use sqlx::postgres::{PgConnectOptions, PgConnection, PgListener, PgPoolOptions, PgRow};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Row};

use super::InvalidationListener;
use super::source::{SILENCE, Source, answer, closed};
use crate::database::{NOTIFY, NOTIFY_CHANNEL, database_error};
use crate::error::{Error, ErrorKind, Result};

/// How often the sessions of two connections are compared. A pooler can give out its sessions in turn.
const SESSIONS: u32 = 3;

/// Begins the message by which a listener tests its own connection.
const PROBE: &str = "probe ";

impl InvalidationListener {
    /// Listens to the changes that an `SqlStore` commits in this PostgreSQL database. Does not connect yet.
    ///
    /// The options have the database, and the `search_path` if there is one, of the pool of the `SqlStore`. They connect
    /// to the primary server, directly: a pooler such as PgBouncer with `pool_mode = transaction` gives the connection that
    /// listens to other clients. When the listener connects, it checks that over a second connection, and sends itself a
    /// message. If none arrives, it does not count as connected.
    pub fn postgres(options: PgConnectOptions) -> Self {
        Self::new(Postgres(options))
    }
}

struct Postgres(PgConnectOptions);

#[async_trait]
impl Source for Postgres {
    async fn subscribe(&self) -> Result<BoxStream<'static, Result<String>>> {
        let listener = answer(self.listen()).await?;
        let messages = stream::unfold(Some(listener), |listener| async {
            let mut listener = listener?;
            match next(&mut listener).await {
                Ok(message) => Some((Ok(message), Some(listener))),
                Err(error) => Some((Err(error), None)),
            }
        });
        Ok(messages.boxed())
    }
}

impl Postgres {
    async fn listen(&self) -> Result<PgListener> {
        let failed = |error| database_error(&error);
        let pool = PgPoolOptions::new().max_connections(1).max_lifetime(None).idle_timeout(None);
        let pool = pool.connect_lazy_with(self.0.clone());
        let mut listener = PgListener::connect_with(&pool).await.map_err(failed)?;
        listener.eager_reconnect(false);
        let mut other = self.0.connect().await.map_err(failed)?;
        for _ in 0..SESSIONS {
            check_session(&mut listener, &mut other).await?;
        }
        let row = sqlx::raw_sql(NOTIFY_CHANNEL).fetch_optional(&mut listener).await.map_err(failed)?;
        let channel: String = row.ok_or_else(no_tables)?.try_get(0).map_err(failed)?;
        listener.listen(&channel).await.map_err(failed)?;
        test(&mut listener, &mut other).await?;
        let _ = other.close().await;
        Ok(listener)
    }
}

/// Checks that no other connection gets the session of the listener. If it began to listen in such a session, clients of
/// the pooler would be sent notifications that they do not expect.
async fn check_session(listener: &mut PgListener, other: &mut PgConnection) -> Result<()> {
    const SESSION: &str = "SELECT pg_backend_pid()";
    let pid = |row: PgRow| row.try_get::<i32, _>(0);
    let sessions = async {
        let own = pid(sqlx::raw_sql(SESSION).fetch_one(&mut *listener).await?)?;
        // A pooler keeps a session for a connection until its transaction ends.
        sqlx::raw_sql("BEGIN").execute(&mut *other).await?;
        let others = pid(sqlx::raw_sql(SESSION).fetch_one(&mut *other).await?)?;
        let is_shared =
            own == others || own != pid(sqlx::raw_sql(SESSION).fetch_one(&mut *listener).await?)?;
        sqlx::raw_sql("ROLLBACK").execute(&mut *other).await?;
        Ok(is_shared)
    };
    if sessions.await.map_err(|e: sqlx::Error| database_error(&e))? { Err(pooled()) } else { Ok(()) }
}

/// Sends a message over a second connection, and waits for it.
async fn test(listener: &mut PgListener, other: &mut PgConnection) -> Result<()> {
    let probe = format!("{PROBE}{}", uuid::Uuid::now_v7());
    let notify = NOTIFY.replace("$1", &format!("'{probe}'"));
    sqlx::raw_sql(AssertSqlSafe(notify)).execute(other).await.map_err(|e| database_error(&e))?;
    let arrived = async {
        while receive(listener).await? != probe {}
        Ok(())
    };
    tokio::time::timeout(SILENCE, arrived).await.unwrap_or_else(|_| Err(pooled()))
}

/// The next message. A connection on which nothing arrives is tested.
async fn next(listener: &mut PgListener) -> Result<String> {
    loop {
        match tokio::time::timeout(SILENCE, receive(listener)).await {
            // Another listener tests its connection.
            Ok(Ok(message)) if message.starts_with(PROBE) => {}
            Ok(message) => return message,
            Err(_) => {
                let ping = async {
                    let ping = sqlx::raw_sql("SELECT 1").execute(&mut *listener).await;
                    ping.map_err(|e| database_error(&e))
                };
                answer(ping).await?;
            }
        }
    }
}

/// Waits for a message. It can be cancelled: a message that arrived in part is read by the next call.
async fn receive(listener: &mut PgListener) -> Result<String> {
    let message = listener.try_recv().await.map_err(|e| database_error(&e))?;
    Ok(message.ok_or_else(closed)?.payload().to_owned())
}

fn no_tables() -> Error {
    Error::new(
        ErrorKind::Misconfigured,
        "the tables of `tenancy` do not exist in the database of the listener; run `SqlStore::migrate` first, and give the \
         listener the `search_path` of the store",
    )
}

fn pooled() -> Error {
    Error::new(
        ErrorKind::Misconfigured,
        "the listener's connection has no session of its own, because of a pooler such as PgBouncer; connect it to PostgreSQL \
         directly",
    )
}
