//! [`DeletionPlan`]: what would be deleted of a tenant, read from the catalogue of its place.

use std::collections::BTreeMap;
use std::fmt;

use super::circle::check_circles;
use super::reach::{check_children, check_outside};
use super::statement::rows_of;
use super::table::{DataTable, check_reach};
use super::tenant_data::TenantData;
use crate::error::{Error, ErrorKind, Result};
use crate::placement::Provisioner;
use crate::tenant::{Placement, Slug, Tenant, TenantStatus};

/// What would be deleted of a tenant. Its `Display` is a table for people.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct DeletionPlan {
    /// The slug, which confirms the deletion.
    pub slug: Slug,
    /// Where the rows are.
    pub placement: Placement,
    /// Whether the schema, the database or the file is dropped as a whole.
    pub drops_place: bool,
    /// Whether the tenant is still open: it must be suspended or deactivated first.
    pub is_open: bool,
    /// The tables with rows of the tenant, in the order in which rows are deleted.
    pub tables: Vec<PlannedTable>,
    /// The hooks, in the order in which they run.
    pub hooks: Vec<String>,
}

/// A table of a [`DeletionPlan`].
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PlannedTable {
    /// The name.
    pub name: String,
    /// The number of rows of the tenant.
    pub rows: u64,
    /// Why the rows are kept; `None` if they are deleted.
    pub hold: Option<String>,
}

impl fmt::Display for DeletionPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}, in the {}", self.slug, self.placement)?;
        for table in &self.tables {
            write!(f, "{:<40} {:>12} rows", table.name, table.rows)?;
            match &table.hold {
                Some(reason) => writeln!(f, "  kept: {reason}")?,
                None => writeln!(f)?,
            }
        }
        for hook in &self.hooks {
            writeln!(f, "hook {hook}")?;
        }
        if self.drops_place {
            writeln!(f, "the {} is dropped", self.placement)?;
        }
        if self.is_open {
            writeln!(f, "the tenant is open: suspend or deactivate it first")?;
        }
        Ok(())
    }
}

/// The plan, and whether the place exists.
pub(super) async fn plan_of<DB: TenantData>(
    provisioner: &Provisioner<DB>,
    holds: &BTreeMap<String, String>,
    hooks: Vec<String>,
    tenant: &Tenant,
) -> Result<(DeletionPlan, bool)> {
    let places = &provisioner.places;
    let drops = *tenant.placement() != Placement::Shared && holds.is_empty();
    if drops && let Some(why) = provisioner.other_tenant(tenant.placement(), tenant.id()).await? {
        return Err(Error::new(ErrorKind::Conflict, why));
    }
    let mut planned = Vec::new();
    let exists =
        *tenant.placement() == Placement::Shared || DB::place_exists(places, tenant.placement()).await?;
    if exists {
        let mut conn = DB::connect_to(places, tenant.placement()).await?;
        let schema = &provisioner.schema;
        let tables = DB::data_tables(&mut conn, tenant.placement(), schema).await?;
        check_holds(&tables, holds)?;
        check_reach(&tables)?;
        if drops && let Some(dependent) = DB::dependents(&mut conn, tenant.placement()).await?.first() {
            return Err(Error::new(
                ErrorKind::Misconfigured,
                format!(
                    "the {dependent} depends on the {}, and would be dropped with it; drop it, detach it or move it to \
                     another schema before",
                    tenant.placement()
                ),
            ));
        }
        DB::set_tenant(&mut conn, Some(tenant.id())).await?;
        DB::pass_fences(&mut conn).await?;
        check_outside(provisioner, &mut conn, tenant).await?;
        if !drops {
            let deleted = tables.iter().filter(|table| !holds.contains_key(&table.name));
            let deleted: Vec<DataTable> = deleted.cloned().collect();
            check_children::<DB>(&mut conn, &deleted, tenant.id()).await?;
            check_circles::<DB>(&mut conn, &deleted, tenant.id()).await?;
        }
        for table in tables.iter().rev() {
            let rows = rows_of::<DB>(&mut conn, table, tenant.id()).await?;
            let hold = holds.get(&table.name).cloned();
            planned.push(PlannedTable { name: table.name.clone(), rows, hold });
        }
    }
    let plan = DeletionPlan {
        slug: tenant.slug().clone(),
        placement: tenant.placement().clone(),
        drops_place: drops,
        is_open: tenant.status() != TenantStatus::Deleting
            && !tenant.status().can_become(TenantStatus::Deleting),
        tables: planned,
        hooks,
    };
    Ok((plan, exists))
}

/// A hold names a table with rows of tenants, and such a table refers to no rows that are deleted.
pub(super) fn check_holds(tables: &[DataTable], holds: &BTreeMap<String, String>) -> Result<()> {
    let misconfigured = |text| Err(Error::new(ErrorKind::Misconfigured, text));
    for (name, reason) in holds {
        let Some(table) = tables.iter().find(|table| table.name == *name) else {
            return misconfigured(format!("the hold on `{name}` names no table with rows of tenants"));
        };
        if reason.trim().is_empty() {
            return misconfigured(format!(
                "the hold on `{name}` has no reason; name the law that requires it"
            ));
        }
        if let Some(link) = table.links.iter().find(|link| !holds.contains_key(&link.parent)) {
            return misconfigured(format!(
                "the rows of `{name}` are on hold and refer to rows of `{}`, which would be deleted; put a hold on both",
                link.parent
            ));
        }
    }
    Ok(())
}
