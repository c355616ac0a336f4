//! [`Deletion`]: deletes a tenant with all of its data. `deletion_plan.rs` has the plan, `deletion_hook.rs` the hooks,
//! `deletion_record.rs` what a repeat knows of an earlier run.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::de::DeserializeOwned;

use super::circle::{delete_group, groups, links_back};
use super::deletion_hook::DeletionHook;
use super::deletion_plan::{DeletionPlan, check_holds, plan_of};
use super::deletion_record::DeletionRecord;
use super::erase::delete_rows;
use super::fence;
use super::observed::{self, Operation};
use super::receipt::DeletionReceipt;
use super::statement::rows_of;
use super::table::DataTable;
use super::tenant_data::TenantData;
use crate::context::{Actor, unknown_tenant};
use crate::database::database_error;
use crate::error::{Error, ErrorKind, Result};
use crate::placement::{Provisioner, TenantLock};
use crate::tenant::{Placement, Slug, Tenant, TenantId, TenantStatus, TenantStore};

/// Deletes a tenant with all of its data. [`Provisioner::deletion`] creates it.
///
/// What is deleted is read from the catalogue of the database: every table with the tenant column, in the order of the
/// foreign keys. A schema, a database or a file of the tenant's own is dropped as a whole. The slug and the domains stay
/// reserved for their cool-downs, so that nobody takes over links to the tenant.
///
/// Suspend or deactivate the tenant before, and wait until the caches of all processes have expired: the rows of a request
/// that still runs would be left. A deletion that was interrupted is repeated, and goes on.
///
/// ```
/// use tenancy::context::Actor;
/// use tenancy::operations::{ReceiptKeys, TenantData};
/// use tenancy::placement::Provisioner;
/// use tenancy::tenant::Tenant;
///
/// async fn delete<DB: TenantData>(
///     provisioner: &Provisioner<DB>,
///     keys: &ReceiptKeys,
///     acme: &Tenant,
/// ) -> tenancy::Result<String> {
///     let deletion = provisioner.deletion(acme.id(), &Actor::user("ada")).hold("invoices", "kept for 10 years");
///     println!("{}", deletion.plan().await?); // changes nothing
///     let receipt = deletion.run(acme.slug()).await?;
///     Ok(keys.sign(&receipt))
/// }
/// ```
#[must_use = "call `plan` or `run`"]
pub struct Deletion<DB: TenantData> {
    provisioner: Provisioner<DB>,
    tenant: TenantId,
    actor: Actor,
    holds: BTreeMap<String, String>,
    hooks: Vec<Arc<dyn DeletionHook<DB>>>,
    batch: u32,
}

impl<DB: TenantData> fmt::Debug for Deletion<DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deletion")
            .field("tenant", &self.tenant)
            .field("holds", &self.holds)
            .field("hooks", &self.hook_names())
            .finish_non_exhaustive()
    }
}

impl<DB: TenantData> Provisioner<DB> {
    /// Deletes a tenant with all of its data. Nothing happens before [`Deletion::run`].
    pub fn deletion(&self, tenant: &TenantId, actor: &Actor) -> Deletion<DB> {
        Deletion {
            provisioner: self.clone(),
            tenant: tenant.clone(),
            actor: actor.clone(),
            holds: BTreeMap::new(),
            hooks: Vec::new(),
            batch: 1000,
        }
    }
}

impl<DB: TenantData> Deletion<DB> {
    /// Keeps the rows of a table, because a law requires them. The reason is part of the receipt.
    ///
    /// A schema or a database with such a table is not dropped. A repeat needs the holds of the run before.
    pub fn hold(mut self, table: impl Into<String>, reason: impl Into<String>) -> Self {
        self.holds.insert(table.into(), reason.into());
        self
    }

    /// Adds a hook. Hooks run in the order in which they were added, before any row is deleted.
    pub fn hook(mut self, hook: impl DeletionHook<DB> + 'static) -> Self {
        self.hooks.push(Arc::new(hook));
        self
    }

    /// Sets how many rows one transaction deletes. The default is 1000.
    pub fn batch(self, rows: u32) -> Self {
        Self { batch: rows.max(1), ..self }
    }

    /// What would be deleted. Changes nothing.
    ///
    /// # Errors
    /// [`ErrorKind::TenantUnknown`]; [`ErrorKind::Misconfigured`] if a hold names no table, a table that refers to one
    /// whose rows are deleted, or a table of which an earlier run has deleted rows, or if a hold of an earlier run is
    /// missing; [`ErrorKind::PlacementMissing`] if the place does not exist, and no earlier run has dropped it;
    /// [`ErrorKind::Conflict`] if the place is another tenant's too; [`ErrorKind::StoreUnavailable`].
    pub async fn plan(&self) -> Result<DeletionPlan> {
        let tenant = self.provisioner.store.by_id(&self.tenant).await?.ok_or_else(unknown_tenant)?;
        self.prepare(&tenant).await.map(|(plan, _)| plan)
    }

    /// Deletes the tenant, whose slug confirms that it is the right one.
    ///
    /// The tables are not locked: each transaction deletes one batch of rows. At the end no table has a row of the tenant,
    /// except for those on hold.
    ///
    /// # Errors
    /// [`ErrorKind::TenantUnknown`]; [`ErrorKind::InvalidInput`] if the slug is not the tenant's;
    /// [`ErrorKind::IllegalTransition`] if the tenant is open: suspend or deactivate it first; [`ErrorKind::Conflict`] if a
    /// move of it is not finished; [`ErrorKind::Retryable`] if another process works on its data; as [`plan`](Self::plan),
    /// and what a hook returns. Repeat the deletion after an error.
    pub async fn run(&self, confirm: &Slug) -> Result<DeletionReceipt> {
        observed::operation(Operation::Delete, &self.tenant, None, Box::pin(self.delete(confirm))).await
    }

    async fn delete(&self, confirm: &Slug) -> Result<DeletionReceipt> {
        let store = &self.provisioner.store;
        let mut lock = DB::lock_tenant(&self.provisioner.places, &self.tenant).await?;
        let Some(tenant) = store.by_id(&self.tenant).await? else {
            return self.ended(confirm).await;
        };
        if tenant.slug() != confirm {
            return Err(wrong_slug());
        }
        self.provisioner.check_not_moving(&self.tenant).await?;
        // A mistake in the holds is found before anything changes.
        let (_, mut record) = self.prepare(&tenant).await?;
        let tenant = if tenant.status() == TenantStatus::Deleting {
            tenant
        } else {
            let tenant = store.set_deleting(tenant.id(), &self.actor).await?;
            self.provisioner.tenants.committed(&tenant).await;
            tenant
        };
        self.record(&record).await?;
        if !record.may_be_gone {
            self.delete_data(&tenant, &mut lock, &mut record).await?;
        }
        let beside = self.delete_beside(&tenant, &mut record).await?;
        lock.check().await?;
        let mut receipt = record.receipt;
        receipt.ended_us = store.now_us();
        let own = Some(&self.holds).filter(|_| !beside);
        let receipt = store
            .remove_tenant(tenant.id(), own, |removed| {
                for (table, rows) in removed {
                    *receipt.tables.entry((*table).to_owned()).or_default() += rows;
                }
                let record = receipt.text();
                (receipt, Some(record))
            })
            .await?;
        Ok(receipt)
    }

    fn hook_names(&self) -> Vec<String> {
        self.hooks.iter().map(|hook| hook.name().to_owned()).collect()
    }

    /// What would be deleted, and how far an earlier run came. Changes nothing.
    async fn prepare(&self, tenant: &Tenant) -> Result<(DeletionPlan, DeletionRecord)> {
        let store = &self.provisioner.store;
        let (plan, exists) = plan_of(&self.provisioner, &self.holds, self.hook_names(), tenant).await?;
        // A tenant can have had the same id before.
        let unfinished = store.deletion(tenant.id()).await?.filter(|(_, ended)| !ended);
        let mut record = match unfinished {
            Some((record, _)) => stored(&record)?,
            None => DeletionRecord::new(self.begin(tenant)),
        };
        if !exists && !record.may_be_gone {
            // The step is recorded without an error when the place exists.
            let never_created = match store.steps(tenant.id()).await?.get("create") {
                Some(error) => error.is_some(),
                None => tenant.status() == TenantStatus::Provisioning,
            };
            if !never_created {
                return Err(missing_place(tenant));
            }
        }
        record.settle(exists.then_some(&*plan.tables));
        record.check_holds(&self.holds)?;
        record.hold(&self.holds);
        Ok((plan, record))
    }

    /// The receipt of a deletion that has ended. Deletes nothing.
    pub(crate) async fn ended(&self, confirm: &Slug) -> Result<DeletionReceipt> {
        match self.provisioner.store.deletion(&self.tenant).await? {
            Some((record, true)) => {
                let receipt: DeletionReceipt = stored(&record)?;
                if receipt.slug == confirm.as_str() { Ok(receipt) } else { Err(wrong_slug()) }
            }
            _ => Err(unknown_tenant()),
        }
    }

    fn begin(&self, tenant: &Tenant) -> DeletionReceipt {
        DeletionReceipt {
            tenant: tenant.id().to_string(),
            slug: tenant.slug().to_string(),
            placement: tenant.placement().clone(),
            actor: self.actor.to_string(),
            started_us: self.provisioner.store.now_us(),
            ended_us: 0,
            tables: BTreeMap::new(),
            hooks: BTreeMap::new(),
            holds: BTreeMap::new(),
        }
    }

    async fn record(&self, record: &DeletionRecord) -> Result<()> {
        self.provisioner.store.record_deletion(&self.tenant, &record.text()).await
    }

    async fn delete_data(
        &self,
        tenant: &Tenant,
        tenant_lock: &mut TenantLock,
        record: &mut DeletionRecord,
    ) -> Result<()> {
        let placement = tenant.placement();
        // Neither a migration nor a move works on the place meanwhile.
        let lock = match placement {
            Placement::Shared => None,
            _ => Some(self.provisioner.lock_place(placement, false).await?),
        };
        let mut conn = DB::connect_to(&self.provisioner.places, placement).await?;
        let tables = DB::data_tables(&mut conn, placement, &self.provisioner.schema).await?;
        check_holds(&tables, &self.holds)?;
        DB::set_tenant(&mut conn, Some(tenant.id())).await?;
        DB::pass_fences(&mut conn).await?;
        for hook in &self.hooks {
            let done = hook.delete(tenant, &mut conn).await?;
            *record.receipt.hooks.entry(hook.name().to_owned()).or_default() += done;
            self.record(record).await?;
        }
        let drops = *placement != Placement::Shared && self.holds.is_empty();
        let is_deleted = |table: &&DataTable| {
            // The library's own tables of a schema are outside of it.
            !self.holds.contains_key(&table.name)
                && (!drops || (table.own && matches!(placement, Placement::Schema { .. })))
        };
        let deleted: Vec<&DataTable> = tables.iter().filter(is_deleted).collect();
        for mut group in groups(&tables) {
            group.retain(is_deleted);
            record.unlinked.extend(links_back(&group).map(|(table, _)| table.name.clone()));
            for table in &group {
                record.begin(&table.name, rows_of::<DB>(&mut conn, table, tenant.id()).await?);
            }
            self.record(record).await?;
            let rows = delete_group::<DB>(&mut conn, &group, tenant.id(), self.batch).await?;
            for (table, rows) in group.iter().zip(rows) {
                record.end(&table.name, rows);
            }
            self.record(record).await?;
        }
        for table in &deleted {
            let left = rows_of::<DB>(&mut conn, table, tenant.id()).await?;
            if left > 0 {
                return Err(Error::new(
                    ErrorKind::Conflict,
                    format!(
                        "`{}` has {left} rows of the tenant again: something still writes them, or a policy or a trigger keeps \
                         them; stop it, and repeat the deletion",
                        table.name
                    ),
                ));
            }
        }
        if !drops {
            return Ok(());
        }
        for table in tables.iter().filter(|table| !is_deleted(table)) {
            record.begin(&table.name, rows_of::<DB>(&mut conn, table, tenant.id()).await?);
        }
        record.may_be_gone = true;
        self.record(record).await?;
        drop(conn);
        tenant_lock.check().await?;
        self.provisioner.drop_place(placement, tenant.id()).await?;
        record.settle(None);
        self.record(record).await?;
        drop(lock);
        Ok(())
    }

    /// Deletes the rows of the library's own tables beside the shared tables, where the control plane writes audit events of
    /// every tenant. Returns whether the control plane is in that database.
    async fn delete_beside(&self, tenant: &Tenant, record: &mut DeletionRecord) -> Result<bool> {
        let mut conn = match DB::connect_to(&self.provisioner.places, &Placement::Shared).await {
            Err(error) if error.kind() == ErrorKind::Misconfigured => return Ok(false), // It is not named.
            conn => conn?,
        };
        let tables = DB::data_tables(&mut conn, &Placement::Shared, &self.provisioner.schema).await?;
        DB::set_tenant(&mut conn, Some(tenant.id())).await?;
        DB::pass_fences(&mut conn).await?;
        fence::clear::<DB>(&mut conn, &tables, tenant.id()).await?;
        for table in tables.iter().filter(|table| table.own && !self.holds.contains_key(&table.name)) {
            let deleted = delete_rows::<DB>(&mut conn, table, tenant.id(), self.batch).await?;
            if deleted > 0 {
                record.add(&table.name, deleted);
                self.record(record).await?;
            }
        }
        let records = format!(
            "SELECT count(*) FROM tenancy_deletions WHERE tenant_id = '{}'",
            tenant.id().to_string().replace('\'', "''")
        );
        match DB::read_number(&mut conn, records).await {
            // The table is missing in a database of another version, and in one without a control plane. A role of its own
            // may own it.
            Err(sqlx::Error::Database(_)) => Ok(false),
            records => Ok(records.map_err(|e| database_error(&e))? > 0),
        }
    }
}

fn stored<T: DeserializeOwned>(record: &str) -> Result<T> {
    serde_json::from_str(record).map_err(|e| {
        Error::new(
            ErrorKind::Database,
            "the record of a deletion is malformed; was it written by a newer version?",
        )
        .with_source(e)
    })
}

fn wrong_slug() -> Error {
    Error::new(
        ErrorKind::InvalidInput,
        "the slug that confirms the deletion is not the tenant's; nothing was deleted",
    )
}

fn missing_place(tenant: &Tenant) -> Error {
    Error::new(
        ErrorKind::PlacementMissing,
        format!(
            "the {} does not exist, and no run of this deletion has dropped it; name the server or the directory in which it \
             is; if it is lost, create it without tables, and repeat the deletion",
            tenant.placement()
        ),
    )
}
