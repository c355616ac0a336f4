//! [`Core`]: the settings of a `TenantDb`, and the one way to a connection of a tenant.

use std::sync::Arc;

use tenancy_sql::{Schema, TenantType};

use super::backend::Backend;
use super::places::{EnteredPlaces, Place, verify_migration};
use super::rewrite_cache::RewriteCache;
use crate::audit::{AuditPolicy, AuditSink};
use crate::context::TenantContext;
use crate::database::{
    Begin, BoundTenant, Bulkhead, BulkheadPermit, Conn, ConnectionMode, Databases, IsMoved, Lease,
    OpenTransaction, OwnTables, TxMode, change_error, statement_error, to_sqlx_error,
};
use crate::error::{Error, ErrorKind, Result};
use crate::tenant::TenantId;

pub(in crate::scope) struct Core<DB: Backend> {
    /// The place of the shared tables.
    pub(super) shared: Place<DB>,
    /// The databases of tenants that have one.
    pub(super) databases: Option<Arc<Databases<DB>>>,
    /// How many connections each tenant uses at a time.
    pub(super) bulkhead: Bulkhead,
    pub(super) own_tables: OwnTables,
    pub(super) entered: EnteredPlaces,
    /// Each place of a tenant has a role of its name.
    pub(super) role_per_tenant: bool,
    /// The migration of the application that each place of a tenant must have.
    pub(super) required_migration: Option<i64>,
    #[cfg_attr(not(feature = "postgres"), expect(dead_code, reason = "only the doctor reads it"))]
    pub(super) schema: Schema,
    #[cfg_attr(not(feature = "postgres"), expect(dead_code, reason = "only the doctor reads it"))]
    pub(super) accepted: DB::Accepted,
    pub(super) audit: AuditPolicy,
    pub(super) audit_mirrors: Vec<Arc<dyn AuditSink>>,
    /// The type of the tenant columns.
    pub(super) tenant_type: Option<TenantType>,
    #[cfg_attr(
        not(feature = "dynamic"),
        expect(dead_code, reason = "only the scoped executor rewrites at run time")
    )]
    pub(in crate::scope) rewrites: RewriteCache,
}

impl<DB: Backend> Core<DB> {
    /// The tenant id with the type of the tenant columns.
    pub(in crate::scope) fn bound(&self, ctx: &TenantContext) -> BoundTenant {
        BoundTenant { id: ctx.tenant_id().clone(), column: self.tenant_type }
    }

    /// The tenant id with the type of the tenant column of the library's own tables.
    pub(super) fn bound_internal(&self, ctx: &TenantContext) -> BoundTenant {
        self.own_tables.bound(ctx.tenant_id())
    }

    /// Opens a transaction of the tenant, within the limits of its plan.
    pub(super) async fn open(&self, ctx: &TenantContext, mode: TxMode) -> sqlx::Result<OpenTransaction<DB>> {
        let place = self.limited_place(ctx).await?;
        let share = self.enter(&place, ctx).await?;
        notice_move(ctx, self.open_at(&place, share, Some(ctx.tenant_id()), mode).await)
    }

    /// Opens a transaction of the tenant for the operator: no limit of a plan applies.
    pub(super) async fn open_unlimited(
        &self,
        ctx: &TenantContext,
        mode: TxMode,
    ) -> sqlx::Result<OpenTransaction<DB>> {
        let place = self.place(ctx.tenant()).await.map_err(to_sqlx_error)?;
        notice_move(ctx, self.open_at(&place, None, Some(ctx.tenant_id()), mode).await)
    }

    /// Opens a transaction that has no tenant yet, and switches between tenants. It is the operator's: no limit of a
    /// plan applies.
    pub(in crate::scope) async fn open_to_switch(
        &self,
        place: &Place<DB>,
        mode: TxMode,
    ) -> sqlx::Result<OpenTransaction<DB>> {
        self.open_at(place, None, None, mode).await
    }

    /// The place of the tenant, with the limits of its plan.
    async fn limited_place(&self, ctx: &TenantContext) -> sqlx::Result<Place<DB>> {
        let mut place = self.place(ctx.tenant()).await.map_err(to_sqlx_error)?;
        place.route.limits = *ctx.entitlements().database_limits();
        Ok(place)
    }

    /// Waits for a part of the tenant's share of the connections. It is asked before the pool.
    async fn enter(&self, place: &Place<DB>, ctx: &TenantContext) -> sqlx::Result<Option<BulkheadPermit>> {
        let of_plan = ctx.entitlements().database_limits().max_connections();
        let waiting = place.source.waiting(&place.route).for_share();
        self.bulkhead.enter(ctx.tenant_id(), of_plan, waiting).await.map_err(to_sqlx_error)
    }

    async fn open_at(
        &self,
        place: &Place<DB>,
        share: Option<BulkheadPermit>,
        tenant: Option<&TenantId>,
        mode: TxMode,
    ) -> sqlx::Result<OpenTransaction<DB>> {
        // On a private pool without a pooler, no other code can have left a transaction or a tenant on a connection.
        let verify_tenant = !(place.owned && place.route.connection_mode == ConnectionMode::Direct);
        let verify_schema = place.unverified.is_some() && place.route.schema.is_some();
        let begin = Begin { tenant, mode, verify_tenant, verify_schema };
        let mut open = OpenTransaction::open(&place.source, share, place.route.clone(), begin).await?;
        self.verify(place, open.conn()).await?;
        if let Some(tenant) = tenant {
            self.check_fence(open.conn(), tenant, place).await?;
        }
        Ok(open)
    }

    /// Rejects a tenant that is being moved, where the database itself does not.
    pub(super) async fn check_fence(
        &self,
        conn: Conn<'_, DB>,
        tenant: &TenantId,
        place: &Place<DB>,
    ) -> sqlx::Result<()> {
        DB::check_fence(conn, tenant, &place.placement).await
    }

    /// Checks a place that is entered for the first time.
    pub(super) async fn verify(&self, place: &Place<DB>, conn: Conn<'_, DB>) -> sqlx::Result<()> {
        let Some(placement) = &place.unverified else { return Ok(()) };
        if let Some(version) = self.required_migration {
            verify_migration(conn, version).await?;
        }
        self.entered.insert(placement.clone());
        Ok(())
    }

    /// Checks a single statement: its context, and that it does not write without audit where audit is required.
    pub(in crate::scope) fn check_statement(&self, ctx: &TenantContext, writes: bool) -> Result<()> {
        check_context(ctx)?;
        if writes && self.audit == AuditPolicy::Required {
            return Err(Error::new(
                ErrorKind::Unaudited,
                "changes must be recorded here: use `db.begin(&ctx)`, and `tx.record(..)` beside the change",
            ));
        }
        Ok(())
    }

    /// The connection on which a single statement runs, in a transaction of its own or without one.
    ///
    /// `allows_autocommit`: it is one statement, and uses no table of the library.
    pub(in crate::scope) async fn lease(
        &self,
        ctx: &TenantContext,
        writes: bool,
        allows_autocommit: bool,
    ) -> sqlx::Result<StatementLease<DB>> {
        let place = self.limited_place(ctx).await?;
        let share = self.enter(&place, ctx).await?;
        // Where a tenant can be moved to a file, the check of its fence and the statement read the same snapshot.
        let is_checked = !DB::HAS_RLS && self.databases.is_some();
        if !is_checked && place.allows_autocommit(writes, allows_autocommit) {
            let mut conn = place.source.acquire(&place.route).await?;
            conn.hold(share);
            DB::limit(&mut conn, &place.route.limits).await?;
            let mut lease = Lease::Autocommit(conn, place.route.clone());
            self.verify(&place, lease.conn()).await?;
            notice_move(ctx, self.check_fence(lease.conn(), ctx.tenant_id(), &place).await)?;
            return Ok(StatementLease { lease, writes });
        }
        let mode = if writes { TxMode::Write } else { TxMode::Read };
        let open = notice_move(ctx, self.open_at(&place, share, Some(ctx.tenant_id()), mode).await)?;
        Ok(StatementLease { lease: Lease::Transaction(open), writes })
    }
}

/// The result of a statement of the tenant. If the place refused it because of a move, caches read the tenant again.
pub(in crate::scope) fn notice_move<T, E: IsMoved>(
    ctx: &TenantContext,
    result: Result<T, E>,
) -> Result<T, E> {
    result.inspect_err(|error| {
        if error.is_moved() {
            ctx.tenant().set_outdated();
        }
    })
}

/// The connection of a single statement.
pub(in crate::scope) struct StatementLease<DB: Backend> {
    lease: Lease<DB>,
    writes: bool,
}

impl<DB: Backend> StatementLease<DB> {
    pub(in crate::scope) fn conn(&mut self) -> Conn<'_, DB> {
        self.lease.conn()
    }

    /// The error of the statement. Without a transaction, a write may have been committed before the connection
    /// broke.
    pub(super) fn error(&self, error: &sqlx::Error, command: Option<&str>) -> Error {
        match &self.lease {
            Lease::Autocommit(..) if self.writes => change_error(error, command),
            _ => statement_error(error, command),
        }
    }

    /// Commits a write. A transaction that only reads is rolled back when it is dropped.
    pub(in crate::scope) async fn finish(self) -> Result<()> {
        match self.lease {
            Lease::Transaction(open) if self.writes => open.commit().await,
            _ => Ok(()),
        }
    }
}

/// Rejects a context of a cross-tenant read.
pub(in crate::scope) fn check_context(ctx: &TenantContext) -> Result<()> {
    ctx.reject_cross_tenant()
}
