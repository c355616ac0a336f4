//! `Core::place`: finds the place of a tenant, by the tenant's placement. Nothing else reads a placement to run SQL.

use super::backend::Backend;
use super::core::Core;
use super::places::Place;
use crate::database::{Route, Source};
use crate::error::{Error, ErrorKind, Result};
use crate::tenant::{Placement, Tenant};

impl<DB: Backend> Core<DB> {
    /// The place of a tenant. The one function that reads a placement.
    pub(in crate::scope) async fn place(&self, tenant: &Tenant) -> Result<Place<DB>> {
        let Place { enforcement, owned, .. } = self.shared;
        // Only a place of a tenant's own is looked up: the shared tables were checked at the start.
        let unverified =
            || Some(tenant.placement()).filter(|placement| !self.entered.contains(placement)).cloned();
        let placement = tenant.placement().clone();
        match tenant.placement() {
            Placement::Shared => {
                let (source, route) = (self.shared.source.clone(), self.shared.route.clone());
                Ok(Place { source, route, enforcement, owned, placement, unverified: None })
            }
            Placement::Schema { name } if DB::HAS_SCHEMAS => {
                let (schema, own_tables) = (Some(name.clone()), self.own_tables.schema.clone());
                let role = schema.clone().filter(|_| self.role_per_tenant);
                let route = Route { schema, role, own_tables, ..self.shared.route.clone() };
                Ok(Place {
                    source: self.shared.source.clone(),
                    route,
                    enforcement,
                    owned,
                    placement,
                    unverified: unverified(),
                })
            }
            Placement::Schema { .. } => {
                Err(unsupported("this database has no schemas; give the tenant a file of its own"))
            }
            Placement::Database { name } => {
                let Some(databases) = &self.databases else {
                    return Err(unsupported("name the databases with `TenantDbBuilder::databases`"));
                };
                let database = databases.database(name).await?;
                let role = Some(name.clone()).filter(|_| self.role_per_tenant);
                let (enforcement, route) = (database.enforcement, Route { role, ..database.route.clone() });
                let source = Source::Tenant(databases.clone(), database);
                Ok(Place { source, route, enforcement, owned: true, placement, unverified: unverified() })
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
