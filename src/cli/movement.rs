//! `tenancy tenants move`: moves a tenant to another place while it is used, or rolls an unfinished move back.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueEnum};
use serde::Serialize;
use tenancy_sql::Dialect;

use super::interrupts::{INTERRUPTED, unless_interrupted};
use super::move_progress::Progress;
use super::output::{counted, json, note, show, text};
use super::provisioners::{Migrating, Provisioned};
use super::table::{Align, Table};
use super::tenants;
use crate::operations::{Move, MovePlan, MoveReport, MoveStep, TenantData, UnfinishedMove};
use crate::placement::Provisioner;
use crate::tenant::{Placement, Tenant, TenantId};

#[derive(Args)]
pub(crate) struct Options {
    /// The tenant, by its slug or its id.
    #[arg(value_name = "SLUG_OR_ID")]
    tenant: String,
    /// Where the rows go: a schema and a database are named by the id of the tenant.
    #[arg(long, value_enum, required_unless_present = "roll_back")]
    to: Option<Target>,
    /// Only show what would be moved, and what forbids the move.
    #[arg(long)]
    dry_run: bool,
    /// How long the old schema, database or file is kept after the switch, empty: at least the time to live of your caches.
    #[arg(long, value_name = "SECONDS", default_value = "60")]
    grace: u64,
    /// How long to wait for the lock of a table, and for transactions that are open when the tenant is fenced. Then the move
    /// fails, and can be repeated. At most a day.
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = clap::value_parser!(u64).range(..=86_400))]
    wait: u64,
    /// Undo the unfinished move of the tenant, before its switch.
    #[arg(long, conflicts_with_all = ["dry_run", "grace", "wait"])]
    roll_back: bool,
    #[command(flatten)]
    pub(crate) place: Migrating,
}

impl Options {
    /// Whether the move creates a place, which gets its tables from the migrations.
    pub(crate) fn creates_a_place(&self) -> bool {
        !self.dry_run && !self.roll_back && self.to != Some(Target::Shared)
    }
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Target {
    /// The shared tables.
    Shared,
    /// A schema of its own. PostgreSQL only.
    Schema,
    /// A database of its own, or a file of its own on SQLite.
    Database,
}

impl Target {
    fn of(self, tenant: &TenantId) -> Placement {
        match self {
            Self::Shared => Placement::Shared,
            Self::Schema => Placement::schema_of(tenant),
            Self::Database => Placement::database_of(tenant),
        }
    }
}

pub(crate) async fn run<DB: TenantData>(
    options: &Options,
    Provisioned { store, provisioner }: &Provisioned<DB>,
) -> Result<ExitCode, String> {
    if options.to == Some(Target::Schema) && DB::DIALECT == Dialect::Sqlite {
        return Err("SQLite has no schemas; move the tenant to `database`, a file of its own".to_owned());
    }
    let tenant = tenants::find(store, &options.tenant, "SLUG_OR_ID").await?;
    let to = options.to.map(|to| to.of(tenant.id()));
    let movement = |target: Placement| {
        let [grace, wait] = [options.grace, options.wait].map(Duration::from_secs);
        provisioner.move_to(tenant.id(), target, &tenants::actor()).grace(grace).wait(wait)
    };
    if options.roll_back {
        let target = match to {
            Some(target) => target,
            None => unfinished(provisioner, &tenant).await?.ok_or(NO_MOVE)?.target,
        };
        return roll_back(options, &tenant, &target, &movement(target.clone())).await;
    }
    let target = to.ok_or("name the target: `--to`")?;
    let movement = movement(target.clone());
    if options.dry_run {
        let plan = movement.plan().await.map_err(|e| text(&e))?;
        show(&if options.place.owner.json { json(&Planned::of(&tenant, &plan)) } else { planned(&plan) })?;
        return Ok(ExitCode::from(u8::from(!plan.refused.is_empty())));
    }
    let mut progress = Progress::new();
    let moved = unless_interrupted(movement.run(|now| progress.show(now))).await;
    progress.end();
    match moved {
        Some(Ok(report)) => {
            show(&moved_to(options, &tenant, &target, &report))?;
            Ok(ExitCode::SUCCESS)
        }
        Some(Err(error)) => {
            if let Some(left) = unfinished(provisioner, &tenant).await? {
                note(&go_on(&tenant, &left));
            }
            Err(text(&error))
        }
        None => {
            let left = unfinished(provisioner, &tenant).await?;
            let state = left.map_or_else(|| "nothing was begun".to_owned(), |left| go_on(&tenant, &left));
            note(&format!("interrupted: {state}"));
            Ok(ExitCode::from(INTERRUPTED))
        }
    }
}

const NO_MOVE: &str = "no move of this tenant is unfinished; `tenancy tenants moves` lists unfinished moves";

async fn unfinished<DB: TenantData>(
    provisioner: &Provisioner<DB>,
    tenant: &Arc<Tenant>,
) -> Result<Option<UnfinishedMove>, String> {
    let moves = provisioner.unfinished_moves().await.map_err(|e| text(&e))?;
    Ok(moves.into_iter().find(|one| one.tenant == *tenant.id()))
}

/// In which state an unfinished move is, and what to run.
fn go_on(tenant: &Tenant, left: &UnfinishedMove) -> String {
    let slug = tenant.slug();
    let state = match left.step {
        MoveStep::Prepare | MoveStep::Copy => "the tenant is served as before",
        MoveStep::Fence | MoveStep::Verify | MoveStep::Switch => "the tenant can be refused until then",
        MoveStep::CleanUp => {
            return format!(
                "the tenant is in the {}, and its old place is not removed; run the same command again",
                left.target
            );
        }
    };
    format!(
        "the move is in the step {}, and {state}; run the same command again to go on, or \
         `tenancy tenants move {slug} --roll-back` with the same databases",
        left.step
    )
}

async fn roll_back<DB: TenantData>(
    options: &Options,
    tenant: &Tenant,
    target: &Placement,
    movement: &Move<DB>,
) -> Result<ExitCode, String> {
    let Some(done) = unless_interrupted(movement.roll_back()).await else {
        note("interrupted: the move is not rolled back; run the same command again");
        return Ok(ExitCode::from(INTERRUPTED));
    };
    done.map_err(|e| text(&e))?;
    let place = tenant.placement();
    show(&if options.place.owner.json {
        json(&Undone { tenant: tenants::named(tenant), target, rolled_back: true })
    } else {
        format!("{}: the move to the {target} is rolled back; the tenant is in the {place}\n", tenant.slug())
    })?;
    Ok(ExitCode::SUCCESS)
}

#[derive(Serialize)]
struct Undone<'a> {
    #[serde(flatten)]
    tenant: tenants::Named<'a>,
    target: &'a Placement,
    rolled_back: bool,
}

#[derive(Serialize)]
struct Planned<'a> {
    tenant: &'a TenantId,
    source: &'a Placement,
    target: &'a Placement,
    tables: Vec<PlannedRows<'a>>,
    refused: &'a [String],
    notes: &'a [String],
}

#[derive(Serialize)]
struct PlannedRows<'a> {
    name: &'a str,
    rows: u64,
    bytes: u64,
}

impl<'a> Planned<'a> {
    fn of(tenant: &'a Tenant, plan: &'a MovePlan) -> Self {
        let MovePlan { source, target, tables, refused, notes } = plan;
        let rows = tables.iter().map(|table| PlannedRows {
            name: &table.name,
            rows: table.rows,
            bytes: table.bytes,
        });
        Self { tenant: tenant.id(), source, target, tables: rows.collect(), refused, notes }
    }
}

/// A plan for people.
fn planned(plan: &MovePlan) -> String {
    let table = Table::new([(40, Align::Left), (12, Align::Right), (14, Align::Right)]);
    let mut lines = table.line([&"table", &"rows", &"bytes"], "");
    lines.extend(plan.tables.iter().map(|one| table.line([&one.name, &one.rows, &one.bytes], "")));
    lines.extend([format!("from the {} to the {}\n", plan.source, plan.target)]);
    lines.extend(plan.notes.iter().map(|note| format!("note: {note}\n")));
    lines.extend(plan.refused.iter().map(|why| format!("not possible: {why}\n")));
    lines
}

#[derive(Serialize)]
struct Moved<'a> {
    tenant: &'a TenantId,
    slug: &'a str,
    place: &'a Placement,
    tables: &'a std::collections::BTreeMap<String, u64>,
    copied: u64,
    fenced_ms: u64,
}

fn moved_to(options: &Options, tenant: &Tenant, place: &Placement, report: &MoveReport) -> String {
    let MoveReport { tables, copied, fenced_ms } = report;
    if options.place.owner.json {
        let (copied, fenced_ms) = (*copied, *fenced_ms);
        let (slug, tenant) = (tenant.slug().as_str(), tenant.id());
        return json(&Moved { tenant, slug, place, tables, copied, fenced_ms });
    }
    let table = Table::new([(40, Align::Left), (12, Align::Right)]);
    let mut lines = String::new();
    if !tables.is_empty() {
        lines += &table.line([&"table", &"rows"], "");
        lines.extend(tables.iter().map(|(name, rows)| table.line([name, rows], "")));
    }
    let rows = counted(tables.values().sum(), "row");
    let slug = tenant.slug();
    lines + &format!("{slug} is in the {place}: {rows} compared; refused for {fenced_ms} ms\n")
}
