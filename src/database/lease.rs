//! [`Lease`]: the connection on which statements run, inside a transaction or without one.

use sqlx::pool::PoolConnection;

use super::conn::Conn;
use super::connection_mode::ConnectionMode;
use super::driver::Driver;
use super::transaction::OpenTransaction;

pub(crate) enum Lease<DB: Driver> {
    Autocommit(PoolConnection<DB>, ConnectionMode),
    Transaction(OpenTransaction<DB>),
}

impl<DB: Driver> Lease<DB> {
    pub(crate) fn conn(&mut self) -> Conn<'_, DB> {
        match self {
            Self::Autocommit(conn, connection_mode) => Conn::on(conn, *connection_mode),
            Self::Transaction(open) => open.conn(),
        }
    }
}
