//! [`MovePlan`]: what a move would copy, and what forbids it.

use std::fmt;

use tenancy_sql::Schema;

use super::fence::{moved, moves_own};
use super::reach::{outside, referring};
use super::statement::{rows_of, size};
use super::table::{DataTable, check_reach};
use super::tenant_data::TenantData;
use crate::error::{Error, ErrorKind, Result};
use crate::placement::Provisioner;
use crate::tenant::{Placement, Tenant, TenantId, TenantStatus};

/// What a move would copy, and what forbids it. Its `Display` is a table for people.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct MovePlan {
    /// Where the rows are.
    pub source: Placement,
    /// Where they would be.
    pub target: Placement,
    /// The tables, parents first.
    pub tables: Vec<MovedTable>,
    /// What forbids the move, each with what to do. Empty if the move is possible.
    pub refused: Vec<String>,
    /// What to know before the move, such as ids that could be taken in the target.
    pub notes: Vec<String>,
}

/// A table of a [`MovePlan`].
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct MovedTable {
    /// The name.
    pub name: String,
    /// The number of rows of the tenant.
    pub rows: u64,
    /// The size of these rows as text, in bytes.
    pub bytes: u64,
}

impl fmt::Display for MovePlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "from the {} to the {}", self.source, self.target)?;
        for table in &self.tables {
            writeln!(f, "{:<40} {:>12} rows {:>14} bytes", table.name, table.rows, table.bytes)?;
        }
        for note in &self.notes {
            writeln!(f, "note: {note}")?;
        }
        for refused in &self.refused {
            writeln!(f, "not possible: {refused}")?;
        }
        Ok(())
    }
}

/// What a move would leave behind and lose, or change beside the tenant's rows. The tenant is set.
pub(super) async fn left_behind<DB: TenantData>(
    conn: &mut DB::Connection,
    schema: &Schema,
    (source, target): (&Placement, &Placement),
    tables: &[DataTable],
    tenant: &TenantId,
) -> Result<Vec<String>> {
    let mut found = referring::<DB>(conn, tables, tenant).await?;
    if moves_own(source, target) {
        found.extend(DB::uncopied(conn, tables).await?);
    }
    if *source != Placement::Shared {
        let others = DB::others(conn, source, schema).await?.into_iter();
        found.extend(others.map(|other| {
            format!("{other} has no tenant column, so it is not moved, and would be dropped with the place")
        }));
    }
    Ok(found)
}

pub(super) async fn plan_of<DB: TenantData>(
    provisioner: &Provisioner<DB>,
    target: &Placement,
    tenant: &Tenant,
) -> Result<MovePlan> {
    let (source, target) = (tenant.placement().clone(), target.clone());
    let (mut refused, mut notes, mut planned) = (Vec::new(), Vec::new(), Vec::new());
    if source == target {
        refused.push("the tenant is there already".to_owned());
    }
    if let TenantStatus::Provisioning | TenantStatus::Deleting = tenant.status() {
        refused.push(format!("the tenant is {}", tenant.status()));
    }
    refused.extend(provisioner.other_tenant(&source, tenant.id()).await?);
    let mut conn = DB::connect_to(&provisioner.places, &source).await?;
    let tables = DB::data_tables(&mut conn, &source, &provisioner.schema).await?;
    DB::set_tenant(&mut conn, Some(tenant.id())).await?;
    DB::pass_fences(&mut conn).await?;
    let names = moved(&tables, &source, &target);
    let tables: Vec<_> = tables.into_iter().filter(|table| names.contains(&table.name)).collect();
    refused.extend(DB::unfenceable(&provisioner.places, &mut conn, &source, &tables).await?);
    for trigger in DB::triggers(&mut conn, &tables, true).await? {
        refused.push(triggered::<DB>(&trigger));
    }
    for dependent in DB::dependents(&mut conn, &source).await? {
        refused.push(format!(
            "the {dependent} depends on the {source}, and would be dropped with it; drop it, detach it or move it to \
             another schema before"
        ));
    }
    if target == Placement::Shared && source != target {
        let there = refused_by_shared(provisioner).await?;
        refused.extend(there.into_iter().filter(|why| !refused.contains(why)).collect::<Vec<_>>());
    }
    if let Err(error) = check_reach(&tables) {
        refused.push(error.to_string());
    }
    let (schema, places) = (&provisioner.schema, (&source, &target));
    refused.extend(left_behind::<DB>(&mut conn, schema, places, &tables, tenant.id()).await?);
    refused.extend(outside(provisioner, &mut conn, tenant).await?);
    if source == Placement::Shared {
        let others = DB::others(&mut conn, &source, schema).await?;
        notes.extend(
            others.iter().map(|one| format!("{one} stays in the shared tables: it has no tenant column")),
        );
    }
    for table in &tables {
        let rows = rows_of::<DB>(&mut conn, table, tenant.id()).await?;
        let bytes = DB::read_number(&mut conn, size::<DB>(table, tenant.id())).await;
        let bytes = u64::try_from(bytes.map_err(|e| table.failed("measured", &e))?).unwrap_or(0);
        planned.push(MovedTable { name: table.name.clone(), rows, bytes });
        if table.key.is_none() {
            refused.push(format!(
                "`{}` has no primary key, by which its rows could be compared; add one",
                table.name
            ));
        } else if target == Placement::Shared && !table.key_has_tenant && rows > 0 {
            notes.push(format!(
                "the primary key of `{}` lacks the tenant column: the move stops if an id is taken in the shared tables",
                table.name
            ));
        }
    }
    Ok(MovePlan { source, target, tables: planned, refused, notes })
}

/// What forbids a move into the shared tables. Every other target is created by the move.
async fn refused_by_shared<DB: TenantData>(provisioner: &Provisioner<DB>) -> Result<Vec<String>> {
    let (places, shared) = (&provisioner.places, Placement::Shared);
    let mut conn = match DB::connect_to(places, &shared).await {
        Err(error) if error.kind() == ErrorKind::Misconfigured => return Ok(vec![error.to_string()]),
        conn => conn?,
    };
    let tables = DB::data_tables(&mut conn, &shared, &provisioner.schema).await?;
    let mut refused = Vec::from_iter(DB::unfenceable(places, &mut conn, &shared, &tables).await?);
    refused.extend(DB::triggers(&mut conn, &tables, true).await?.iter().map(|one| triggered::<DB>(one)));
    Ok(refused)
}

/// Why a trigger forbids the move.
pub(super) fn triggered<DB: TenantData>(trigger: &str) -> String {
    format!("{trigger} would run again for copied rows; {}", DB::TRIGGER_ADVICE)
}

/// The error of a plan that is not possible.
pub(super) fn refuse(plan: &MovePlan) -> Result<()> {
    if plan.refused.is_empty() {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Misconfigured,
        format!("the tenant cannot be moved: {}", plan.refused.join("; ")),
    ))
}
