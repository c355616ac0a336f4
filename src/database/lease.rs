//! [`Lease`]: the connection on which statements run, inside a transaction or without one.

use super::conn::Conn;
use super::driver::Driver;
use super::pooled::Pooled;
use super::route::Route;
use super::transaction::OpenTransaction;
#[cfg(feature = "quota")]
use crate::error::Result;

pub(crate) enum Lease<DB: Driver> {
    Autocommit(Pooled<DB>, Route),
    Transaction(OpenTransaction<DB>),
}

impl<DB: Driver> Lease<DB> {
    pub(crate) fn conn(&mut self) -> Conn<'_, DB> {
        match self {
            Self::Autocommit(conn, route) => conn.conn(route),
            Self::Transaction(open) => open.conn(),
        }
    }

    /// Commits the transaction, if there is one.
    #[cfg(feature = "quota")]
    pub(crate) async fn commit(self) -> Result<()> {
        match self {
            Self::Autocommit(..) => Ok(()),
            Self::Transaction(open) => open.commit().await,
        }
    }
}
