//! Stands in for `native.rs` when no feature runs queries that sqlx built.

#[expect(unnameable_types, reason = "part of a sealed trait")]
pub trait Native: sqlx::Database {}

impl<DB: sqlx::Database> Native for DB {}
