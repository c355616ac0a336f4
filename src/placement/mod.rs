//! Tenants in a schema or a database of their own: how their places are found, created and migrated.
//!
//! A *place* is where one tenant's rows are: its schema, its database or its SQLite file. The tenant's
//! [`Placement`](crate::tenant::Placement) names it. Only [`TenantDb`](crate::TenantDb) reads the placement: handlers,
//! repositories and queries are the same in each.
//!
//! | placement | needs |
//! |---|---|
//! | [`Shared`](crate::tenant::Placement::Shared) | nothing more |
//! | [`Schema`](crate::tenant::Placement::Schema) | PostgreSQL, and a schema with the tenant's tables in the same database |
//! | [`Database`](crate::tenant::Placement::Database) | a [`DatabaseRegistry`], on SQLite [`SqliteFiles`], given to [`TenantDbBuilder::databases`](crate::scope::TenantDbBuilder::databases) |
//!
//! | task | type |
//! |---|---|
//! | create a tenant with its place, and go on after a failure | [`Provisioner`], with [`PostgresPlaces`] or [`SqlitePlaces`] |
//! | write the first rows of a tenant | [`Seed`] |
//! | migrate every place, and find those that differ | [`Migrations`], [`Drift`] |
//! | find the database of a tenant | [`DatabaseRegistry`], [`DatabaseConfig`] |
//! | bound the number of connections | [`ConnectionLimits`] |

#[cfg(feature = "sqlite")]
pub use crate::database::SqliteFiles;
pub(crate) mod applied;
#[cfg(feature = "operations")]
mod closed;
#[cfg(feature = "metrics")]
mod metrics;
#[cfg(not(feature = "metrics"))]
#[path = "no_metrics.rs"]
mod metrics;
mod migration_error;
mod migrations;
mod observed;
#[cfg(feature = "postgres")]
mod own_table_grants;
mod place_migrations;
#[cfg(feature = "postgres")]
mod place_role;
mod places;
#[cfg(all(feature = "postgres", feature = "operations"))]
mod postgres_drop;
#[cfg(feature = "postgres")]
mod postgres_places;
mod provisioner;
#[cfg(feature = "sqlite")]
mod sqlite_places;
mod steps;
#[cfg(feature = "operations")]
mod tenant_lock;

pub use self::migrations::{Drift, MigratedPlace, MigrationRun, Migrations};
pub use self::places::Provision;
#[cfg(feature = "operations")]
pub(crate) use self::places::Worker;
#[cfg(all(feature = "postgres", feature = "operations"))]
pub(crate) use self::postgres_drop::dependents;
#[cfg(feature = "postgres")]
pub use self::postgres_places::PostgresPlaces;
pub use self::provisioner::{Provisioner, Seed};
#[cfg(feature = "sqlite")]
pub use self::sqlite_places::SqlitePlaces;
pub use self::steps::Unfinished;
#[cfg(feature = "operations")]
pub(crate) use self::tenant_lock::TenantLock;
#[cfg(all(feature = "postgres", feature = "operations"))]
pub(crate) use self::tenant_lock::try_lock;
pub use crate::database::{ConnectionLimits, DatabaseConfig, DatabaseRegistry};
