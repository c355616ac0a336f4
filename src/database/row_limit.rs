//! [`RowCount`]: counts the rows of one statement, and rejects the first one over the limit of the plan.

use std::time::Duration;

use futures_util::stream::BoxStream;
use futures_util::{StreamExt, TryStreamExt};

use super::error::to_sqlx_error;
use crate::error::{Error, ErrorKind};

/// How many rows over the limit are read and discarded.
const SMALL_REST: usize = 1_000;

/// How long rows over the limit are waited for.
const READS_REST_FOR: Duration = Duration::from_millis(100);

/// The rows of one statement so far. No row is dropped silently: the first one over the limit is an error.
pub(crate) struct RowCount {
    rows: u64,
    max: Option<u64>,
}

impl RowCount {
    pub(crate) fn new(max: Option<u64>) -> Self {
        Self { rows: 0, max }
    }

    /// Counts one more row.
    ///
    /// # Errors
    /// An error of kind [`ErrorKind::RowLimit`], for [`Error::from_sqlx`].
    pub(crate) fn add(&mut self) -> sqlx::Result<()> {
        self.rows += 1;
        match self.max {
            Some(max) if self.rows > max => Err(to_sqlx_error(row_limit(max))),
            _ => Ok(()),
        }
    }
}

/// The error of a statement that returns more rows than the plan allows.
pub(crate) fn row_limit(max: u64) -> Error {
    Error::new(
        ErrorKind::RowLimit,
        format!("more than {max} rows were found, and the plan allows no more at once; ask for fewer rows"),
    )
}

/// Reads all rows, and stops at the first one over the limit. Sets `too_large` as [`is_small`] says.
pub(crate) async fn read_rows<R>(
    mut rows: BoxStream<'_, sqlx::Result<R>>,
    max: Option<u64>,
    too_large: &mut bool,
) -> sqlx::Result<Vec<R>> {
    let (mut read, mut count) = (Vec::new(), RowCount::new(max));
    while let Some(row) = rows.try_next().await? {
        if let Err(error) = count.add() {
            *too_large = !is_small(rows).await;
            return Err(error);
        }
        read.push(row);
    }
    Ok(read)
}

/// Reads and discards the rest of a result, unless it is large. After a small rest the connection can be used again.
///
/// PostgreSQL sends the whole result before it answers anything else on the connection, and sqlx reads all of it in one
/// poll while rows keep coming, so that no timeout can end that.
pub(super) async fn is_small<T>(rest: BoxStream<'_, sqlx::Result<T>>) -> bool {
    let mut over = rest.skip(SMALL_REST);
    matches!(sqlx_core::rt::timeout(READS_REST_FOR, over.next()).await, Ok(None))
}

#[cfg(test)]
mod tests {
    use futures_util::stream;

    use super::*;

    #[tokio::test]
    async fn a_result_up_to_the_limit_is_whole_and_one_row_more_is_an_error() {
        let rows = |count: u64| stream::iter(0..count).map(sqlx::Result::Ok).boxed();
        let mut too_large = false;
        assert_eq!(read_rows(rows(3), Some(3), &mut too_large).await.unwrap(), [0, 1, 2]);
        assert_eq!(read_rows(rows(4), None, &mut too_large).await.unwrap().len(), 4);
        let error = Error::from_sqlx(read_rows(rows(5), Some(3), &mut too_large).await.unwrap_err());
        assert!(!too_large, "the rest was read");
        assert_eq!(error.kind(), ErrorKind::RowLimit);
        assert!(error.to_string().contains("more than 3 rows"), "{error}");
    }

    #[tokio::test]
    async fn a_large_rest_and_one_that_does_not_come_are_not_read() {
        let endless = stream::iter(0_u64..).map(sqlx::Result::Ok);
        let stuck = stream::iter(0_u64..9).chain(stream::pending()).map(sqlx::Result::Ok);
        for rows in [endless.boxed(), stuck.boxed()] {
            let mut too_large = false;
            read_rows(rows, Some(3), &mut too_large).await.unwrap_err();
            assert!(too_large);
        }
    }
}
