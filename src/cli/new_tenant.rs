//! [`Options`]: the options that describe a new tenant, of `tenancy tenants create` and `import`.

use std::path::PathBuf;

use clap::Args;
use tenancy_sql::Dialect;

use super::embedded::Embedded;
use super::output::{printable, text};
use crate::placement::Provision;
use crate::tenant::{NewTenant, Region, Slug};

#[derive(Args)]
#[group(skip)]
pub(crate) struct Options {
    /// The display name; without it, the slug.
    #[arg(long, value_name = "TEXT")]
    name: Option<String>,
    /// The plan, by its key in the catalog.
    #[arg(long, value_name = "KEY")]
    plan: String,
    /// The file of the plan catalog, TOML or `.json`, which must have the plan.
    #[arg(long, value_name = "FILE")]
    catalog: Option<PathBuf>,
    /// The region in which the data stays. Without it every process may serve the tenant.
    #[arg(long, value_name = "REGION")]
    region: Option<String>,
    /// Give the tenant a schema of its own, instead of the shared tables. PostgreSQL only.
    #[arg(long, group = "own_place")]
    own_schema: bool,
    /// Give the tenant a database or a file of its own, instead of the shared tables.
    #[arg(long, group = "own_place")]
    own_database: bool,
}

impl Options {
    /// Whether the rows of the tenant are not in the shared tables.
    pub(crate) fn has_own_place(&self) -> bool {
        self.own_schema || self.own_database
    }

    /// The tenant with this slug, whose plan is in the catalog.
    pub(crate) fn new_tenant<DB: Provision>(
        &self,
        slug: &str,
        embedded: &Embedded,
    ) -> Result<NewTenant, String> {
        let refused = |e: crate::Error| text(&e);
        if self.own_schema && DB::DIALECT == Dialect::Sqlite {
            return Err(
                "SQLite has no schemas; give the tenant a file of its own: `--own-database`".to_owned()
            );
        }
        embedded.catalog(self.catalog.as_deref())?.plan(&self.plan).map_err(refused)?;
        let slug = Slug::parse(slug).map_err(|e| format!("`{}`: {}", printable(slug), text(&e)))?;
        let name = self.name.clone().unwrap_or_else(|| slug.to_string());
        let mut new = NewTenant::new(slug, name, self.plan.clone());
        if let Some(region) = &self.region {
            new = new.region(Region::parse(region).map_err(refused)?);
        }
        if self.own_schema {
            new = new.own_schema();
        }
        if self.own_database {
            new = new.own_database();
        }
        Ok(new)
    }
}
