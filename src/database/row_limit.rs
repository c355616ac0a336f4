//! [`RowCount`]: counts the rows of one statement, and rejects the first one over the limit of the plan.

use futures_util::TryStreamExt;
use futures_util::stream::BoxStream;

use super::error::to_sqlx_error;
use crate::error::{Error, ErrorKind};

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

/// Reads all rows, and stops at the first one over the limit.
pub(crate) async fn read_rows<R>(
    mut rows: BoxStream<'_, sqlx::Result<R>>,
    max: Option<u64>,
) -> sqlx::Result<Vec<R>> {
    let (mut read, mut count) = (Vec::new(), RowCount::new(max));
    while let Some(row) = rows.try_next().await? {
        count.add()?;
        read.push(row);
    }
    Ok(read)
}

#[cfg(test)]
mod tests {
    use futures_util::stream::{self, StreamExt};

    use super::*;

    #[tokio::test]
    async fn a_result_up_to_the_limit_is_whole_and_one_row_more_is_an_error() {
        let rows = |count: u64| stream::iter(0..count).map(sqlx::Result::Ok).boxed();
        assert_eq!(read_rows(rows(3), Some(3)).await.unwrap(), [0, 1, 2]);
        assert_eq!(read_rows(rows(4), None).await.unwrap().len(), 4);
        let endless = stream::iter(0_u64..).map(sqlx::Result::Ok).boxed();
        let error = Error::from_sqlx(read_rows(endless, Some(3)).await.unwrap_err());
        assert_eq!(error.kind(), ErrorKind::RowLimit);
        assert!(error.to_string().contains("more than 3 rows"), "{error}");
    }
}
