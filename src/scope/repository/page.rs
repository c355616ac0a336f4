//! [`PageRequest`] and [`Page`].

use super::row::TenantRow;

/// Which page of a list: its size, and where it starts.
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

    /// The `limit` rows after this place; its row need not exist any more.
    pub fn after(place: After, limit: u16) -> Self {
        Self { after: Some(place), limit }
    }
}

/// A page of rows.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Page<T: TenantRow, After = <T as TenantRow>::Id> {
    /// The rows, in order.
    pub items: Vec<T>,
    /// Where the next page starts: give it to [`PageRequest::after`]. `None` on the last page.
    pub next: Option<After>,
}
