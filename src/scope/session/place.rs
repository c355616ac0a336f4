//! [`Place`]: where a tenant's statements run, by the tenant's placement.

use std::collections::HashSet;
use std::sync::{PoisonError, RwLock};

use super::backend::Backend;
use super::core::Core;
use crate::database::{ConnectionMode, Enforcement, Route, Source};
use crate::error::{Error, ErrorKind, Result};
use crate::tenant::{Placement, PlacementName, Tenant};

/// Where the statements of a tenant run, and how they are sent.
pub(in crate::scope) struct Place<DB: Backend> {
    pub(in crate::scope) source: Source<DB>,
    pub(in crate::scope) route: Route,
    pub(super) enforcement: Enforcement,
    /// Whether the pool is private: no other code can reach it.
    pub(super) owned: bool,
}

impl<DB: Backend> Place<DB> {
    /// Whether the place is in the database of the shared tables.
    pub(in crate::scope) fn is_in_shared_database(&self) -> bool {
        matches!(self.source, Source::Shared(_))
    }

    /// Whether a single statement runs without a transaction.
    ///
    /// `allowed`: it is one statement, and uses no table of the library.
    pub(super) fn allows_autocommit(&self, writes: bool, allowed: bool) -> bool {
        if DB::HAS_RLS {
            // The schema is set for one transaction. The library's own tables always have row-level security. On a
            // shared pool other code may have left a transaction open, and its rollback would undo the change.
            self.owned
                && allowed
                && self.route.schema.is_none()
                && self.enforcement == Enforcement::PredicateOnly
                && self.route.connection_mode != ConnectionMode::PgBouncer
        } else {
            !writes
        }
    }
}

impl<DB: Backend> Core<DB> {
    /// The place of a tenant. The one function that reads a placement.
    pub(in crate::scope) async fn place(&self, tenant: &Tenant) -> Result<Place<DB>> {
        let Place { enforcement, owned, .. } = self.shared;
        match tenant.placement() {
            Placement::Shared => {
                let (source, route) = (self.shared.source.clone(), self.shared.route.clone());
                Ok(Place { source, route, enforcement, owned })
            }
            Placement::Schema { name } if DB::HAS_SCHEMAS => {
                let (schema, own_tables) = (Some(name.clone()), self.own_tables.clone());
                let route = Route { schema, own_tables, ..self.shared.route.clone() };
                Ok(Place { source: self.shared.source.clone(), route, enforcement, owned })
            }
            Placement::Schema { .. } => {
                Err(unsupported("this database has no schemas; give the tenant a file of its own"))
            }
            Placement::Database { name } => {
                let Some(databases) = &self.databases else {
                    return Err(unsupported("name the databases with `TenantDbBuilder::databases`"));
                };
                let database = databases.database(name).await?;
                let (enforcement, route) = (database.enforcement, database.route.clone());
                Ok(Place {
                    source: Source::Tenant(databases.clone(), database),
                    route,
                    enforcement,
                    owned: true,
                })
            }
        }
    }
}

fn unsupported(help: &str) -> Error {
    Error::new(
        ErrorKind::UnsupportedPlacement,
        format!("this `TenantDb` does not serve the placement of this tenant: {help}"),
    )
}

/// The schemas that were found to exist, so that each is looked up once.
///
/// A schema that is dropped later is no empty result: PostgreSQL does not find the table then.
#[derive(Default)]
pub(in crate::scope) struct EnteredSchemas(RwLock<HashSet<PlacementName>>);

impl EnteredSchemas {
    pub(super) fn contains(&self, schema: &PlacementName) -> bool {
        self.0.read().unwrap_or_else(PoisonError::into_inner).contains(schema)
    }

    pub(super) fn insert(&self, schema: PlacementName) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(schema);
    }
}
