//! SQL of your own on a scope: proven while compiling (`query.rs`, `checked.rs`), or when it runs (`dynamic.rs`).

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
