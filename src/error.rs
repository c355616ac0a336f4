//! The error type of the crate: an opaque [`Error`] with a public [`ErrorKind`].
//!
//! Every failure of the crate has a kind. The text of an error states what happened and how to fix it; it never
//! contains another tenant's data, a secret, or raw input.
//!
//! ```
//! use tenancy::{ErrorKind, tenant::TenantId};
//!
//! let error = TenantId::parse("*").unwrap_err();
//! assert_eq!(error.kind(), ErrorKind::InvalidInput);
//! ```

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Timestamp;

/// A result with the crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The category of an [`Error`]. Match on the kind; the text is for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// No source found a tenant in the request.
    TenantMissing,
    /// The tenant that the request or the caller names does not exist.
    TenantUnknown,
    /// Two sources of one request name different tenants, or an issuer may not act for the tenant that it names.
    TenantConflict,
    /// The tenant is suspended.
    TenantSuspended,
    /// The tenant is not open for requests: it is provisioning, deactivated, or being deleted.
    TenantInactive,
    /// The route requires a credential, and the request has none.
    CredentialMissing,
    /// The credential of the request is not valid.
    CredentialInvalid,
    /// The host of the request is malformed or ambiguous.
    InvalidAuthority,
    /// The host of the request differs from the server name (SNI) of its TLS connection.
    Misdirected,
    /// A value has an invalid format.
    InvalidInput,
    /// The row does not exist or belongs to another tenant. The caller cannot distinguish the two cases.
    NotFound,
    /// The write conflicts with an existing row, such as on a unique key.
    Conflict,
    /// The write violates a foreign key: it refers to a missing row, or other rows still refer to this one.
    ReferenceViolation,
    /// Another writer changed the row since it was read.
    StaleVersion,
    /// The tenant lifecycle does not allow this change of status.
    IllegalTransition,
    /// The catalog has no plan of that name.
    UnknownPlan,
    /// The catalog has no feature of that name.
    UnknownFeature,
    /// A payment of the tenant is overdue, and the route requires a tenant without overdue payments.
    PaymentOverdue,
    /// The tenant's plan does not include the feature.
    FeatureNotInPlan,
    /// The operation needs a higher plan than that of the tenant.
    PlanTooLow,
    /// The tenant has used up a quota of its plan for this period.
    QuotaExceeded,
    /// The tenant makes requests more often than its plan allows.
    RateLimited,
    /// The tenant has as much in work as its plan allows at a time.
    ConcurrencyLimit,
    /// The tenant has reached a limit of its plan.
    LimitReached,
    /// The store or database cannot be reached; a later retry may succeed.
    StoreUnavailable,
    /// The transaction lost a conflict with another transaction, or another process is changing the tenant's place;
    /// running it again may succeed.
    Retryable,
    /// The connection broke while a change was being committed, so it is unknown whether the change was kept.
    /// Read the rows before you repeat the change.
    OutcomeUnknown,
    /// A statement of the transaction failed or was cancelled, or not all of its rows were read. The whole
    /// transaction is rolled back.
    RolledBack,
    /// The transaction changed rows and recorded no audit event.
    Unaudited,
    /// The signature of a webhook's body or of a job is not valid.
    SignatureInvalid,
    /// The SQL can reach another tenant's rows, or the check cannot rule that out. Also a write in a cross-tenant
    /// read, and a row that row-level security rejects.
    SqlRejected,
    /// The context belongs to a cross-tenant read and is valid for nothing else.
    CrossTenantContext,
    /// A job or a cross-tenant permission is used after its time limit.
    Expired,
    /// The tenant's rows are in a placement that this data plane does not serve.
    UnsupportedPlacement,
    /// The schema, the database or the file that holds the tenant's rows does not exist.
    PlacementMissing,
    /// The tenant is pinned to a region that this process does not serve.
    WrongRegion,
    /// The tenant's schema or database lacks a migration of the application; it may be there soon.
    MigrationPending,
    /// The tenant is being moved to another place, or was moved and this process still has the old placement. Try again: the
    /// next lookup of the tenant finds the new one.
    TenantMoving,
    /// No connection became free in time: all connections are in use, by all tenants together.
    ConnectionLimit,
    /// The tenant uses all connections that it may use at a time, and none of them became free in time. Other tenants
    /// are not affected.
    TenantConnectionLimit,
    /// The statement ran longer than its time limit, and was ended. A retry takes as long again.
    StatementTimeout,
    /// The statement returned more rows than the tenant's plan allows for one statement.
    RowLimit,
    /// The billing system cannot be reached, or accepts no more requests for now; a later retry may succeed.
    BillingUnavailable,
    /// The billing system rejected a request; the text contains its reason.
    BillingRejected,
    /// The program is configured wrongly; the text states how to fix it.
    Misconfigured,
    /// The database returned an error that has no kind of its own.
    Database,
}

impl ErrorKind {
    /// The stable name of the kind, in kebab case, as used in problem documents and log lines.
    pub const fn code(self) -> &'static str {
        match self {
            Self::TenantMissing => "tenant-missing",
            Self::TenantUnknown => "tenant-unknown",
            Self::TenantConflict => "tenant-conflict",
            Self::TenantSuspended => "tenant-suspended",
            Self::TenantInactive => "tenant-inactive",
            Self::CredentialMissing => "credential-missing",
            Self::CredentialInvalid => "credential-invalid",
            Self::InvalidAuthority => "invalid-authority",
            Self::Misdirected => "misdirected",
            Self::InvalidInput => "invalid-input",
            Self::NotFound => "not-found",
            Self::Conflict => "conflict",
            Self::ReferenceViolation => "reference-violation",
            Self::StaleVersion => "stale-version",
            Self::IllegalTransition => "illegal-transition",
            Self::UnknownPlan => "unknown-plan",
            Self::UnknownFeature => "unknown-feature",
            Self::PaymentOverdue => "payment-overdue",
            Self::FeatureNotInPlan => "feature-not-in-plan",
            Self::PlanTooLow => "plan-too-low",
            Self::QuotaExceeded => "quota-exceeded",
            Self::RateLimited => "rate-limited",
            Self::ConcurrencyLimit => "concurrency-limit",
            Self::LimitReached => "plan-limit-reached",
            Self::StoreUnavailable => "store-unavailable",
            Self::Retryable => "retryable",
            Self::OutcomeUnknown => "outcome-unknown",
            Self::RolledBack => "rolled-back",
            Self::Unaudited => "unaudited",
            Self::SignatureInvalid => "signature-invalid",
            Self::SqlRejected => "sql-rejected",
            Self::CrossTenantContext => "cross-tenant-context",
            Self::Expired => "expired",
            Self::UnsupportedPlacement => "unsupported-placement",
            Self::PlacementMissing => "placement-missing",
            Self::WrongRegion => "wrong-region",
            Self::MigrationPending => "migration-pending",
            Self::TenantMoving => "tenant-moving",
            Self::ConnectionLimit => "connection-limit",
            Self::TenantConnectionLimit => "tenant-connection-limit",
            Self::StatementTimeout => "statement-timeout",
            Self::RowLimit => "row-limit",
            Self::BillingUnavailable => "billing-unavailable",
            Self::BillingRejected => "billing-rejected",
            Self::Misconfigured => "misconfigured",
            Self::Database => "database",
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// The details of a rejection by the tenant's plan: the feature, the plan and its limit.
///
/// Errors of the kinds [`LimitReached`](ErrorKind::LimitReached), [`FeatureNotInPlan`](ErrorKind::FeatureNotInPlan),
/// [`PlanTooLow`](ErrorKind::PlanTooLow), [`QuotaExceeded`](ErrorKind::QuotaExceeded),
/// [`RateLimited`](ErrorKind::RateLimited) and [`ConcurrencyLimit`](ErrorKind::ConcurrencyLimit) have them.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PlanDenial {
    /// The key of the requested feature; `None` if a whole plan is required.
    pub feature: Option<String>,
    /// The key of the tenant's plan.
    pub plan: String,
    /// The lowest plan that the operation needs; `None` if it needs a feature.
    pub required_plan: Option<String>,
    /// How much the plan allows; `None` for a flag, which has no limit.
    pub limit: Option<u64>,
    /// How much is in use; `None` for a flag.
    pub used: Option<u64>,
    /// The length of the period or the window in which the limit holds; `None` if it always holds.
    pub window: Option<Duration>,
    /// When the count of a quota starts again; `None` if it never does.
    pub resets_at: Option<Timestamp>,
    /// After which time a retry can succeed; `None` if waiting does not help.
    pub retry_after: Option<Duration>,
    /// The URL where a person can change the plan, if the catalog has one.
    pub upgrade_url: Option<String>,
}

/// The error of every fallible operation in this crate. Its [`kind`](Error::kind) is the part to match on.
#[derive(thiserror::Error)]
#[error("{}", .0.message)]
pub struct Error(Box<Repr>);

struct Repr {
    kind: ErrorKind,
    message: Cow<'static, str>,
    denial: Option<PlanDenial>,
    constraint: Option<Box<str>>,
    challenge: Option<Arc<str>>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// Creates an error of this kind, with one lower-case line for people: what happened and how to fix it.
    ///
    /// Use it in your own [`TenantStore`](crate::tenant::TenantStore), [`Source`](crate::resolve::Source) or
    /// [`AuditSink`](crate::audit::AuditSink).
    ///
    /// ```
    /// use tenancy::{Error, ErrorKind};
    ///
    /// fn read(path: &str) -> tenancy::Result<String> {
    ///     std::fs::read_to_string(path).map_err(|e| {
    ///         Error::new(ErrorKind::StoreUnavailable, "the tenant file cannot be read").with_source(e)
    ///     })
    /// }
    /// assert!(read("/does/not/exist").unwrap_err().is_transient());
    /// ```
    pub fn new(kind: ErrorKind, message: impl Into<Cow<'static, str>>) -> Self {
        let message = message.into();
        Self(Box::new(Repr { kind, message, denial: None, constraint: None, challenge: None, source: None }))
    }

    /// Adds the underlying error. The cause is for logs; it is not part of the text.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    pub(crate) fn denied(kind: ErrorKind, message: String, denial: PlanDenial) -> Self {
        let mut error = Self::new(kind, message);
        error.0.denial = Some(denial);
        error
    }

    /// Sets the schemes of credentials, for `WWW-Authenticate`.
    pub(crate) fn with_challenge(mut self, challenge: Arc<str>) -> Self {
        self.0.challenge = Some(challenge);
        self
    }

    #[cfg(any(feature = "actix-web", feature = "tower"))]
    pub(crate) fn challenge(&self) -> Option<&Arc<str>> {
        self.0.challenge.as_ref()
    }

    #[cfg(any(feature = "sqlite", feature = "postgres"))]
    pub(crate) fn with_constraint(mut self, name: Option<String>) -> Self {
        self.0.constraint = name.map(Into::into);
        self
    }

    /// The same rejection for a caller who may not know what the tenant has and uses.
    #[cfg(any(feature = "actix-web", feature = "tower"))]
    pub(crate) fn without_numbers(self) -> Self {
        let Some(denial) = self.0.denial else { return self };
        let retry_after = denial.retry_after;
        let denial = PlanDenial {
            feature: None,
            plan: String::new(),
            required_plan: None,
            limit: None,
            used: None,
            window: None,
            resets_at: None,
            retry_after,
            upgrade_url: None,
        };
        Self::denied(self.0.kind, "this tenant accepts no more such requests for now".to_owned(), denial)
    }

    /// The category of the error.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The details of a rejection by the tenant's plan; `None` for errors of other kinds.
    pub fn plan_denial(&self) -> Option<&PlanDenial> {
        self.0.denial.as_ref()
    }

    /// The constraint that a write violates. It distinguishes "the user name is taken" from "the e-mail is taken".
    ///
    /// On PostgreSQL it is the constraint's name, such as `users_email_key`; a NOT NULL has none. On SQLite it is the
    /// columns of a key (`users.tenant_id, users.email`) or the index, the column of a NOT NULL, or the name or the
    /// text of a CHECK; a foreign key has none. An `upsert` whose id is taken has none.
    ///
    /// ```
    /// use tenancy::{Error, ErrorKind};
    ///
    /// fn message(error: &Error) -> &'static str {
    ///     match (error.kind(), error.constraint()) {
    ///         (ErrorKind::Conflict, Some("users_email_key")) => "the e-mail is taken",
    ///         (ErrorKind::Conflict, _) => "the value is taken",
    ///         _ => "the change failed",
    ///     }
    /// }
    /// ```
    ///
    /// # Security
    /// The constraint never contains a value of a row. It names parts of your schema, so it is not part of the
    /// error's text: you choose what the caller of a request reads.
    pub fn constraint(&self) -> Option<&str> {
        self.0.constraint.as_deref()
    }

    /// The underlying error, if there is one.
    pub fn cause(&self) -> Option<&(dyn StdError + Send + Sync + 'static)> {
        self.0.source.as_deref()
    }

    /// Whether a retry of the same call may succeed: the store was down, a transaction lost a conflict, no connection
    /// was free, a migration is still missing, or the billing system was down.
    ///
    /// [`ErrorKind::StatementTimeout`] is not: the same statement needs the same time again.
    ///
    /// A write that lost its connection may have succeeded. Before you repeat it, read the rows, or give the write a
    /// unique key.
    pub fn is_transient(&self) -> bool {
        matches!(
            self.kind(),
            ErrorKind::StoreUnavailable
                | ErrorKind::Retryable
                | ErrorKind::ConnectionLimit
                | ErrorKind::TenantConnectionLimit
                | ErrorKind::MigrationPending
                | ErrorKind::TenantMoving
                | ErrorKind::BillingUnavailable
        )
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut s = f.debug_struct("Error");
        s.field("kind", &self.0.kind).field("message", &self.0.message);
        if let Some(denial) = &self.0.denial {
            s.field("denial", denial);
        }
        if let Some(source) = &self.0.source {
            s.field("source", source);
        }
        s.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_one_pointer_and_crosses_threads() {
        fn crosses<T: Send + Sync + 'static>() {}
        crosses::<Error>();
        assert_eq!(size_of::<Error>(), size_of::<usize>());
    }

    #[test]
    fn the_cause_is_kept_out_of_the_text() {
        let error = Error::new(ErrorKind::Database, "the write was rejected")
            .with_source(std::io::Error::other("key (acme, 7)"));
        assert_eq!(error.to_string(), "the write was rejected");
        assert_eq!(error.cause().unwrap().to_string(), "key (acme, 7)");
    }
}
