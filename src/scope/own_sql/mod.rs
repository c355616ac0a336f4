//! The application's own SQL on a scope: proven at compile time (`query.rs`, `checked.rs`) or at run time
//! (`dynamic.rs`).

#[cfg(feature = "macros")]
mod checked;
#[cfg(feature = "dynamic")]
mod dynamic;
#[cfg(feature = "macros")]
mod query;

#[cfg(feature = "macros")]
pub use self::checked::CheckedQuery;
#[cfg(feature = "macros")]
pub use self::query::{Query, ScalarQuery, Variants};
