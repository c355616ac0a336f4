//! [`PageRequest`] and [`Page`]: keyset pagination.

use super::row::TenantRow;

/// The size of a page, and its start.
///
/// The start is an id in [`list`](crate::TenantScoped::list), and a [`Cursor`](super::sort::Cursor) in
/// [`Select::page`](super::select::Select::page).
#[derive(Debug, Clone)]
pub struct PageRequest<After> {
    pub(super) after: Option<After>,
    pub(super) limit: u16,
}

impl<After> PageRequest<After> {
    /// The first `limit` rows.
    pub fn first(limit: u16) -> Self {
        Self { after: None, limit }
    }

    /// The `limit` rows after this position. The row at the position may be deleted in the meantime.
    pub fn after(position: After, limit: u16) -> Self {
        Self { after: Some(position), limit }
    }
}

/// A page of rows.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Page<T: TenantRow, After = <T as TenantRow>::Id> {
    /// The rows, in order.
    pub items: Vec<T>,
    /// The start of the next page, for [`PageRequest::after`]. `None` on the last page.
    pub next: Option<After>,
}
