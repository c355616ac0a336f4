//! [`Core`]: the pool and the settings of a `TenantDb`, and the rule for which statements run in a transaction.

use std::sync::Arc;

use sqlx::Pool;
use tenancy_sql::{Schema, TenantType};

use super::backend::Backend;
use super::enforcement::Enforcement;
use super::rewrite_cache::RewriteCache;
use crate::audit::{AuditPolicy, AuditSink};
use crate::context::TenantContext;
use crate::database::{
    BoundTenant, Conn, ConnectionMode, Lease, OpenTransaction, TxMode, change_error, database_error,
};
use crate::error::{Error, ErrorKind, Result};
use crate::tenant::{Placement, Tenant, TenantId};

pub(in crate::scope) struct Core<DB: Backend> {
    pub(in crate::scope) pool: Pool<DB>,
    /// Whether the pool is private: no other code can reach it.
    pub(super) owned: bool,
    pub(super) enforcement: Enforcement,
    pub(in crate::scope) connection_mode: ConnectionMode,
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

    /// Opens a transaction of `tenant`. With `None` the transaction has no tenant yet, and switches between tenants.
    pub(in crate::scope) async fn open(
        &self,
        tenant: Option<&TenantId>,
        mode: TxMode,
    ) -> sqlx::Result<OpenTransaction<DB>> {
        // On a private pool without a pooler, no other code can have left a transaction or a tenant on a connection.
        let verify_tenant = !(self.owned && self.connection_mode == ConnectionMode::Direct);
        OpenTransaction::open(&self.pool, self.connection_mode, tenant, mode, verify_tenant).await
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
        tenant: &TenantId,
        writes: bool,
        allows_autocommit: bool,
    ) -> sqlx::Result<StatementLease<DB>> {
        if self.autocommit(writes, allows_autocommit) {
            let lease = Lease::Autocommit(self.pool.acquire().await?, self.connection_mode);
            return Ok(StatementLease { lease, writes });
        }
        let mode = if writes { TxMode::Write } else { TxMode::Read };
        let lease = Lease::Transaction(self.open(Some(tenant), mode).await?);
        Ok(StatementLease { lease, writes })
    }

    /// Whether a single statement runs without a transaction.
    fn autocommit(&self, writes: bool, allows_autocommit: bool) -> bool {
        if DB::HAS_RLS {
            // The library's own tables always have row-level security. On a shared pool other code may have left a
            // transaction open, and its rollback would undo the change.
            self.owned
                && allows_autocommit
                && self.enforcement == Enforcement::PredicateOnly
                && self.connection_mode != ConnectionMode::PgBouncer
        } else {
            !writes
        }
    }
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
    pub(super) fn error(&self, error: &sqlx::Error) -> Error {
        match &self.lease {
            Lease::Autocommit(..) if self.writes => change_error(error),
            _ => database_error(error),
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

/// Rejects a context of a cross-tenant read, and a tenant whose rows are not in the shared tables.
pub(in crate::scope) fn check_context(ctx: &TenantContext) -> Result<()> {
    ctx.reject_cross_tenant()?;
    shared_placement(ctx.tenant())
}

/// Rejects a tenant whose rows are not in the shared tables.
pub(in crate::scope) fn shared_placement(tenant: &Tenant) -> Result<()> {
    if *tenant.placement() == Placement::Shared {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::UnsupportedPlacement,
        "this tenant's rows are not in the shared tables, and this `TenantDb` reads only those",
    ))
}
