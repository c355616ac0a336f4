//! [`Savepoint`]: a part of a transaction that can be undone alone.

use std::fmt;
use std::ops::{Deref, DerefMut};

use sqlx::{AssertSqlSafe, SqlSafeStr};

use super::backend::Backend;
use super::progress::State;
use super::tx::Tx;
use crate::database::database_error;
use crate::error::Result;

/// A part of a transaction that can be undone alone, from [`Tx::begin`].
///
/// Use it as the transaction: `&mut *savepoint`. [`commit`](Self::commit) keeps its changes as part of the transaction,
/// whose own commit decides about them. [`rollback`](Self::rollback), or dropping it, undoes what was done since it
/// began: rows, gauges and audit events. The transaction goes on, also after a statement that failed. After a statement
/// that was cancelled the whole transaction is rolled back.
///
/// ```
/// use tenancy::{ErrorKind, TenantScoped, scope::Tx};
///
/// #[derive(TenantScoped, sqlx::FromRow)]
/// #[tenant(table = "tags")]
/// struct Tag {
///     #[tenant(id)]
///     name: String,
/// }
///
/// /// Adds the tag, or keeps the one that exists.
/// async fn add(tx: &mut Tx<'_, sqlx::Sqlite>, tag: &Tag) -> tenancy::Result<()> {
///     let mut attempt = tx.begin().await?;
///     match Tag::insert(&mut *attempt, tag).await {
///         Err(error) if error.kind() == ErrorKind::Conflict => attempt.rollback().await,
///         inserted => {
///             inserted?;
///             attempt.commit().await
///         }
///     }
/// }
/// ```
#[must_use = "a savepoint that is dropped undoes what was done since it began"]
pub struct Savepoint<'t, 'a, DB: Backend> {
    tx: &'t mut Tx<'a, DB>,
    /// 1 for the outermost.
    depth: u32,
    before: Before,
    is_ended: bool,
}

/// What the transaction had done when the savepoint began.
#[derive(Debug, Clone, Copy)]
struct Before {
    changed: bool,
    matched_rows: bool,
    recorded: usize,
}

impl<'a, DB: Backend> Tx<'a, DB> {
    /// Begins a part of the transaction that can be undone alone, by a `SAVEPOINT` of the database.
    ///
    /// # Errors
    /// [`ErrorKind::RolledBack`](crate::ErrorKind::RolledBack) if the transaction can no longer be committed; otherwise as
    /// any write.
    pub async fn begin(&mut self) -> Result<Savepoint<'_, 'a, DB>> {
        self.check_writable()?;
        self.begin_statement().await?;
        let depth = self.progress.savepoints.open + 1;
        self.control(&[format!("SAVEPOINT {}", name(depth))]).await?;
        self.progress.savepoints.open = depth;
        let before = Before {
            changed: self.progress.changed,
            matched_rows: self.progress.matched_rows,
            recorded: self.recorded.len(),
        };
        Ok(Savepoint { tx: self, depth, before, is_ended: false })
    }

    /// Rolls back to a savepoint that was dropped, if there is one.
    pub(super) async fn undo_dropped(&mut self) -> Result<()> {
        let Some(depth) = self.progress.savepoints.dropped else { return Ok(()) };
        self.progress.check_usable()?;
        self.progress.state = State::Running;
        let name = name(depth);
        // The released name can be used again.
        self.control(&[format!("ROLLBACK TO SAVEPOINT {name}"), format!("RELEASE SAVEPOINT {name}")]).await?;
        self.progress.savepoints.dropped = None;
        Ok(())
    }

    /// Runs statements that control the transaction.
    async fn control(&mut self, statements: &[String]) -> Result<()> {
        if self.conn.is_lost() {
            // PostgreSQL would send the rest of a result that is too large first, so nothing but the end is possible.
            self.progress.state = State::Running;
            return self.progress.check_usable();
        }
        for statement in statements {
            let sql = AssertSqlSafe(statement.clone()).into_sql_str();
            let sent = DB::execute(self.conn.conn(), sql, DB::Arguments::default()).await;
            self.progress.record_result(sent).map_err(|error| database_error(&error))?;
        }
        Ok(())
    }
}

fn name(depth: u32) -> String {
    format!("tenancy_{depth}")
}

impl<DB: Backend> Savepoint<'_, '_, DB> {
    /// Keeps the changes as part of the transaction.
    ///
    /// # Errors
    /// [`ErrorKind::RolledBack`](crate::ErrorKind::RolledBack) if a statement since the savepoint failed or was cancelled:
    /// what was done since then is undone. Otherwise as any write.
    pub async fn commit(mut self) -> Result<()> {
        self.tx.begin_statement().await?;
        self.tx.control(&[format!("RELEASE SAVEPOINT {}", name(self.depth))]).await?;
        self.is_ended = true;
        self.tx.progress.savepoints.open = self.depth - 1;
        Ok(())
    }

    /// Undoes what was done since the savepoint began, and waits until that is done.
    ///
    /// # Errors
    /// [`ErrorKind::RolledBack`](crate::ErrorKind::RolledBack) if a statement was cancelled: then the whole transaction is
    /// rolled back. Otherwise as any write.
    pub async fn rollback(mut self) -> Result<()> {
        self.abandon();
        self.tx.undo_dropped().await
    }

    /// Leaves it to the next statement to roll back.
    fn abandon(&mut self) {
        self.is_ended = true;
        let Before { changed, matched_rows, recorded } = self.before;
        let tx = &mut *self.tx;
        tx.progress.savepoints.open = self.depth - 1;
        tx.progress.savepoints.dropped = Some(self.depth);
        tx.recorded.truncate(recorded);
        tx.progress.undone(changed, matched_rows);
    }
}

impl<DB: Backend> Drop for Savepoint<'_, '_, DB> {
    fn drop(&mut self) {
        if !self.is_ended {
            self.abandon();
        }
    }
}

impl<'a, DB: Backend> Deref for Savepoint<'_, 'a, DB> {
    type Target = Tx<'a, DB>;

    fn deref(&self) -> &Tx<'a, DB> {
        self.tx
    }
}

impl<DB: Backend> DerefMut for Savepoint<'_, '_, DB> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        self.tx
    }
}

impl<DB: Backend> fmt::Debug for Savepoint<'_, '_, DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Savepoint").field("depth", &self.depth).field("tx", &self.tx).finish()
    }
}
