//! The records of provisioning and of the application's migrations, and the places that are ready for a tenant.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::SqlStore;
use super::query::{execute, fetch, record, text};
use super::tenant_changes::created_event;
use super::tenants::insert_tenant;
use crate::context::Actor;
use crate::database::{OpenTransaction, TxMode, Value, database_error};
use crate::error::Result;
use crate::scope::Backend;
use crate::tenant::{NewTenant, Placement, PlacementName, Tenant, TenantId};

/// What is recorded about a step or a migration: `None` if it is done, else why it failed.
pub(crate) type Recorded = Option<String>;

impl<DB: Backend> SqlStore<DB> {
    /// Records a step of provisioning. What another process did already is not recorded as failed.
    pub(crate) async fn record_step(&self, tenant: &TenantId, step: &str, error: Option<&str>) -> Result<()> {
        let mut tx = self.begin_tx(TxMode::Write).await?;
        self.write_step(&mut tx, tenant, step, error).await?;
        tx.commit().await
    }

    async fn write_step(
        &self,
        tx: &mut OpenTransaction<DB>,
        tenant: &TenantId,
        step: &str,
        error: Option<&str>,
    ) -> Result<()> {
        let now = self.timing.now().micros();
        execute::<DB>(
            tx.conn(),
            "INSERT INTO tenancy_provisioning (tenant_id, step, at_us, error) VALUES ($1, $2, $3, $4) \
             ON CONFLICT (tenant_id, step) DO UPDATE SET at_us = excluded.at_us, error = excluded.error \
             WHERE excluded.error IS NULL OR tenancy_provisioning.error IS NOT NULL",
            &[
                Value::Text(&tenant.to_string()),
                Value::Text(step),
                Value::Int(now),
                Value::OptionalText(error),
            ],
        )
        .await
        .map(|_| ())
    }

    /// The recorded steps of a tenant's provisioning.
    pub(crate) async fn steps(&self, tenant: &TenantId) -> Result<BTreeMap<String, Recorded>> {
        let mut reader = self.reader().await?;
        let rows = fetch::<DB>(
            reader.conn(),
            "SELECT step, error FROM tenancy_provisioning WHERE tenant_id = $1",
            &[Value::Text(&tenant.to_string())],
        )
        .await?;
        let step = |row: &DB::Row| {
            let error = DB::text(row, 1).map_err(|e| database_error(&e))?;
            Ok((text::<DB>(row, 0)?, error))
        };
        rows.iter().map(step).collect()
    }

    /// Records migrations of a place, whose key is a tenant's id or `*`.
    pub(crate) async fn record_migrations(
        &self,
        place: &str,
        migrations: &[(i64, Option<&str>)],
    ) -> Result<()> {
        if migrations.is_empty() {
            return Ok(());
        }
        let now = self.timing.now().micros();
        let mut tx = self.begin_tx(TxMode::Write).await?;
        for (version, error) in migrations {
            execute::<DB>(
                tx.conn(),
                "INSERT INTO tenancy_tenant_migrations (tenant_id, version, at_us, error) VALUES ($1, $2, $3, $4) \
                 ON CONFLICT (tenant_id, version) DO UPDATE SET at_us = excluded.at_us, error = excluded.error",
                &[Value::Text(place), Value::Int(*version), Value::Int(now), Value::OptionalText(*error)],
            )
            .await?;
        }
        tx.commit().await
    }

    /// The recorded migrations of a place.
    pub(crate) async fn recorded_migrations(&self, place: &str) -> Result<BTreeMap<i64, Recorded>> {
        let mut reader = self.reader().await?;
        let rows = fetch::<DB>(
            reader.conn(),
            "SELECT version, error FROM tenancy_tenant_migrations WHERE tenant_id = $1",
            &[Value::Text(place)],
        )
        .await?;
        let migration = |row: &DB::Row| {
            let error = DB::text(row, 1).map_err(|e| database_error(&e))?;
            Ok((DB::int(row, 0).map_err(|e| database_error(&e))?, error))
        };
        rows.iter().map(migration).collect()
    }

    /// Records a place before it is created. It is not ready: its `ready_us` is 0.
    pub(crate) async fn add_place(&self, placement: &Placement) -> Result<()> {
        let Some((kind, name)) = parts(placement) else { return Ok(()) };
        self.change_places(
            "INSERT INTO tenancy_ready_places (name, kind, ready_us) VALUES ($1, $2, 0)",
            &[Value::Text(name.as_str()), Value::Text(kind)],
        )
        .await
    }

    /// Records that a place is ready for a tenant.
    pub(crate) async fn set_place_ready(&self, placement: &Placement) -> Result<()> {
        let Some((_, name)) = parts(placement) else { return Ok(()) };
        let now = self.timing.now().micros();
        self.change_places(
            "UPDATE tenancy_ready_places SET ready_us = $2 WHERE name = $1",
            &[Value::Text(name.as_str()), Value::Int(now)],
        )
        .await
    }

    async fn change_places(&self, sql: &'static str, values: &[Value<'_>]) -> Result<()> {
        let mut tx = self.begin_tx(TxMode::Write).await?;
        execute::<DB>(tx.conn(), sql, values).await?;
        tx.commit().await
    }

    /// How many places of this kind are ready.
    pub(crate) async fn ready_places(&self, like: &Placement) -> Result<u64> {
        let Some((kind, _)) = parts(like) else { return Ok(0) };
        let mut reader = self.reader().await?;
        let sql = "SELECT count(*) FROM tenancy_ready_places WHERE kind = $1 AND ready_us > 0";
        let rows = fetch::<DB>(reader.conn(), sql, &[Value::Text(kind)]).await?;
        let count = rows.first().map_or(Ok(0), |row| DB::int(row, 0)).map_err(|e| database_error(&e))?;
        Ok(u64::try_from(count).unwrap_or(0))
    }

    /// A place of this kind that was recorded and is not ready.
    pub(crate) async fn unfinished_place(&self, like: &Placement) -> Result<Option<Placement>> {
        let Some((kind, _)) = parts(like) else { return Ok(None) };
        let mut reader = self.reader().await?;
        let sql =
            "SELECT name FROM tenancy_ready_places WHERE kind = $1 AND ready_us = 0 ORDER BY name LIMIT 1";
        let rows = fetch::<DB>(reader.conn(), sql, &[Value::Text(kind)]).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        Ok(Some(placement(kind, PlacementName::parse(&text::<DB>(row, 0)?)?)))
    }

    /// Inserts a tenant, and gives it a place of its kind that is ready, if there is one. A place goes to one tenant:
    /// the row of the place is deleted in the transaction that inserts the tenant, and that records the step `created` as
    /// done. Otherwise nobody would know whose place it is. With an actor it records `tenant.create` too.
    pub(crate) async fn insert_in_ready_place(
        &self,
        tenant: NewTenant,
        created: &str,
        begun: Option<(&str, &str)>,
        actor: Option<&Actor>,
    ) -> Result<Arc<Tenant>> {
        let mut tenant = tenant.into_tenant();
        let recorded = match actor {
            Some(actor) => Some((actor, self.own_tables().await?)),
            None => None,
        };
        let mut tx = self.begin_tx(TxMode::Write).await?;
        let mut ready = false;
        if let Some((kind, _)) = parts(tenant.placement()) {
            let rows = fetch::<DB>(tx.conn(), DB::CLAIM_PLACE, &[Value::Text(kind)]).await?;
            if let Some(row) = rows.first() {
                tenant = tenant.with_placement(placement(kind, PlacementName::parse(&text::<DB>(row, 0)?)?));
                ready = true;
            }
        }
        let tenant = insert_tenant::<DB>(&mut tx, tenant, &self.timing).await?;
        if ready {
            self.write_step(&mut tx, tenant.id(), created, None).await?;
        }
        if let Some((step, error)) = begun {
            self.write_step(&mut tx, tenant.id(), step, Some(error)).await?;
        }
        if let Some((actor, own_tables)) = recorded {
            record::<DB>(&mut tx, own_tables, &created_event(&tenant, actor)).await?;
        }
        tx.commit().await?;
        Ok(tenant)
    }
}

fn parts(placement: &Placement) -> Option<(&'static str, &PlacementName)> {
    match placement {
        Placement::Shared => None,
        Placement::Schema { name } => Some(("schema", name)),
        Placement::Database { name } => Some(("database", name)),
    }
}

fn placement(kind: &str, name: PlacementName) -> Placement {
    if kind == "schema" { Placement::Schema { name } } else { Placement::Database { name } }
}
