//! Repositories: read and write rows of tenant-owned tables without SQL.
//!
//! `row.rs` contains the traits that the derive macro implements, and `tenant_scoped.rs` the methods of a row.

mod affected;
mod column;
mod cursor;
mod filter;
mod foreign_key;
mod page;
mod row;
mod select;
mod soft_delete;
mod sort;
mod statements;
mod tenant_scoped;

pub use self::affected::{Deleted, Restored, Updated};
pub use self::column::{Assignment, Column};
#[doc(hidden)]
pub use self::column::{FieldType, NoOption};
pub use self::cursor::Cursor;
pub use self::filter::Filter;
pub use self::foreign_key::ForeignKey;
pub use self::page::{Page, PageRequest};
pub use self::row::{BindRow, ResultFuture, SupportsRow, TenantRow};
pub use self::select::Select;
pub use self::soft_delete::{DeletedAt, SoftDelete};
pub use self::sort::{Sort, Sortable};
pub use self::tenant_scoped::TenantScoped;
