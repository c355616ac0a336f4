//! [`TenantDb`], [`Scope`] and [`Tx`]: connections and transactions of one tenant.
//!
//! `repository` and `own_sql` are built on it.

mod backend;
mod bind;
mod builder;
mod core;
mod db;
mod executor;
mod health;
mod place;
mod places;
mod preflight;
mod progress;
#[cfg(feature = "dynamic")]
mod rewrite_cache;
#[cfg(not(feature = "dynamic"))]
#[path = "no_rewrite_cache.rs"]
mod rewrite_cache;
mod savepoint;
mod scope;
mod statement;
mod tenant_local;
mod tx;

pub use self::backend::Backend;
pub use self::bind::BindArguments;
pub use self::builder::TenantDbBuilder;
pub(crate) use self::builder::default_schema;
pub use self::db::TenantDb;
pub use self::executor::TenantExecutor;
pub use self::health::Health;
pub use self::savepoint::Savepoint;
pub use self::scope::Scope;
pub use self::tx::Tx;

pub(super) use self::core::Core;
#[cfg(feature = "dynamic")]
pub(super) use self::core::{StatementLease, notice_move};
pub(crate) use self::executor::Run;
#[cfg(feature = "dynamic")]
pub(super) use self::progress::State;
#[cfg(feature = "dynamic")]
pub(super) use self::rewrite_cache::{BoundQuery, SqlxQuery};
#[cfg(feature = "macros")]
pub(super) use self::statement::Fetch;
pub(crate) use self::statement::Statement;
pub(super) use self::tenant_local::{decoding, decoding_for, is_encoding_for};
