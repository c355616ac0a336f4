//! `tenancy tenants create`: adds a tenant, in the shared tables or in a place of its own.

use std::mem::discriminant;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use sqlx::{Postgres, Sqlite};

use super::config::{block_on, is_postgres};
use super::embedded::Embedded;
use super::interrupts::{INTERRUPTED, unless_interrupted};
use super::output::{json, note, show, text};
use super::provisioners::{Migrating, Provisioned};
use super::{new_tenant, tenants};
use crate::placement::Provision;
use crate::store::SqlStore;
use crate::tenant::{Tenant, TenantStatus, TenantStore};

#[derive(Args)]
pub(crate) struct Options {
    /// The name in URLs.
    slug: String,
    #[command(flatten)]
    new: new_tenant::Options,
    /// Go on with the tenant of this slug, whose creation failed or was interrupted. The other options are the same.
    #[arg(long, requires = "own_place")]
    resume: bool,
    #[command(flatten)]
    pub(crate) place: Migrating,
}

impl Options {
    /// Whether a place has to be created, as the owner of the tables.
    pub(crate) fn has_own_place(&self) -> bool {
        self.new.has_own_place()
    }
}

/// Adds a tenant whose rows are in the shared tables. Only the list of tenants is connected to.
pub(crate) fn in_shared_tables(options: &Options, embedded: &Embedded) -> Result<ExitCode, String> {
    if let Some(option) = options.place.only_for_own_places() {
        return Err(format!(
            "`{option}` is for a tenant with a place of its own; add `--own-schema` or `--own-database`"
        ));
    }
    block_on(async {
        let url = options.place.owner.control_url()?;
        let unreachable = |e| format!("the database cannot be reached: {e}");
        if is_postgres(&url)? {
            insert(options, embedded, &tenants::store::<Postgres>(&url).await.map_err(unreachable)?).await
        } else {
            insert(options, embedded, &tenants::store::<Sqlite>(&url).await.map_err(unreachable)?).await
        }
    })
}

async fn insert<DB: Provision>(
    options: &Options,
    embedded: &Embedded,
    store: &SqlStore<DB>,
) -> Result<ExitCode, String> {
    let new = options.new.new_tenant::<DB>(&options.slug, embedded)?.status(TenantStatus::Active);
    shown(options, &*store.create(new, &tenants::actor()).await.map_err(|e| text(&e))?)
}

/// Adds a tenant with a place of its own, or goes on with it.
pub(crate) async fn run<DB: Provision>(
    options: &Options,
    embedded: &Embedded,
    Provisioned { store, provisioner }: &Provisioned<DB>,
) -> Result<ExitCode, String> {
    let new = options.new.new_tenant::<DB>(&options.slug, embedded)?;
    let wanted = new.clone().into_tenant();
    let unfinished = if options.resume { Some(unfinished(store, &wanted).await?) } else { None };
    let created = unless_interrupted(async {
        match &unfinished {
            Some(tenant) => provisioner.resume(tenant.id()).await,
            None => provisioner.create_by(new, &tenants::actor()).await,
        }
    });
    let failed = match created.await {
        Some(Ok(tenant)) => {
            options.place.owner.note_missing_grants::<DB>(tenant.placement());
            return shown(options, &tenant);
        }
        Some(Err(error)) => Some(text(&error)),
        None => None,
    };
    let left = store.by_slug(wanted.slug()).await.map_err(|e| text(&e))?;
    let state = match left.map(|tenant| tenant.status()) {
        None => "no tenant was added",
        Some(TenantStatus::Provisioning) => {
            "a tenant with this slug is not open; if this command added it, run the command again with `--resume`"
        }
        Some(_) => "a tenant with this slug is open",
    };
    if let Some(failed) = failed {
        note(state);
        return Err(failed);
    }
    note(&format!("interrupted: {state}"));
    Ok(ExitCode::from(INTERRUPTED))
}

/// The tenant of an earlier run. Another tenant with the same slug differs in the options, or is open.
async fn unfinished<DB: Provision>(store: &SqlStore<DB>, wanted: &Tenant) -> Result<Arc<Tenant>, String> {
    let slug = wanted.slug();
    let found = store.by_slug(slug).await.map_err(|e| text(&e))?;
    let found = found.ok_or_else(|| format!("no tenant has the slug `{slug}`; leave `--resume` out"))?;
    if found.status() != TenantStatus::Provisioning {
        return Err(format!("the tenant {slug} is {}, so its creation is finished", found.status()));
    }
    let is_same = found.name() == wanted.name()
        && found.plan() == wanted.plan()
        && found.region() == wanted.region()
        && discriminant(found.placement()) == discriminant(wanted.placement());
    if is_same {
        return Ok(found);
    }
    Err(format!(
        "the tenant {slug}, which is not open, has another name, plan, region or kind of place; repeat the options of the \
         command that added it: `tenancy tenants show {slug}` shows the tenant"
    ))
}

fn shown(options: &Options, tenant: &Tenant) -> Result<ExitCode, String> {
    show(&if options.place.owner.json { json(tenant) } else { tenants::described(tenant) })?;
    Ok(ExitCode::SUCCESS)
}
