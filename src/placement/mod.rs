//! Schemas and databases of tenants: how they are found, and how many connections they get.
//!
//! A tenant's [`Placement`](crate::tenant::Placement) says where its rows are stored. A
//! [`TenantDb`](crate::TenantDb) reads it, and nothing else does: a handler, a repository and a query are the same in
//! each placement.
//!
//! | placement | what it needs |
//! |---|---|
//! | [`Shared`](crate::tenant::Placement::Shared) | nothing more |
//! | [`Schema`](crate::tenant::Placement::Schema) | PostgreSQL, and a schema with the tenant's tables in the same database |
//! | [`Database`](crate::tenant::Placement::Database) | a [`DatabaseRegistry`], on SQLite [`SqliteFiles`], given to [`TenantDbBuilder::databases`](crate::scope::TenantDbBuilder::databases) |

#[cfg(feature = "sqlite")]
pub use crate::database::SqliteFiles;
mod migrations;
mod places;
#[cfg(feature = "postgres")]
mod postgres_places;
mod provisioner;
#[cfg(feature = "sqlite")]
mod sqlite_places;

pub use self::migrations::{Drift, MigratedPlace, Migrations};
pub use self::places::Provision;
#[cfg(feature = "postgres")]
pub use self::postgres_places::PostgresPlaces;
pub use self::provisioner::{Provisioner, Seed, Unfinished};
#[cfg(feature = "sqlite")]
pub use self::sqlite_places::SqlitePlaces;
pub use crate::database::{ConnectionLimits, DatabaseConfig, DatabaseRegistry};
