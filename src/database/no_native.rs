//! Replaces `native.rs` when no feature runs sqlx's own query objects.

#[expect(unnameable_types, reason = "part of a sealed trait")]
pub trait Native: sqlx::Database + sqlx::database::HasStatementCache {}

impl<DB: sqlx::Database + sqlx::database::HasStatementCache> Native for DB {}
