//! In place of sqlx's own queries, when no feature runs any.

#[expect(unnameable_types, reason = "part of a sealed trait")]
pub trait Streams: sqlx::Database {}

impl<DB: sqlx::Database> Streams for DB {}
