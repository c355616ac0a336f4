//! The one error of the crate: an opaque [`Error`] with a public [`ErrorKind`].
//!
//! Every way in which the crate can say no has a name. The text of an error says what happened and how to
//! mend it; it never holds another tenant's data, a secret, or raw input.
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

/// A result with the crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, in one word. Match on this; the text is for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// No source of the request named a tenant.
    TenantMissing,
    /// A tenant was named that does not exist.
    TenantUnknown,
    /// Two sources of one request name different tenants.
    TenantConflict,
    /// The tenant is suspended.
    TenantSuspended,
    /// The tenant is not open for requests: still provisioning, deactivated, or being deleted.
    TenantInactive,
    /// The route needs proof of who is calling, and the request holds none.
    CredentialMissing,
    /// A credential was presented and is not valid.
    CredentialInvalid,
    /// The host of the request is malformed or ambiguous.
    InvalidAuthority,
    /// The host of the request is not the one that its TLS connection was made for.
    Misdirected,
    /// A value has a form that cannot be accepted.
    InvalidInput,
    /// No such row, or not one of this tenant: from outside both are the same.
    NotFound,
    /// The write collides with a row that exists.
    Conflict,
    /// The write refers to a row that does not exist, or is still referred to.
    ReferenceViolation,
    /// A row was changed by somebody else since it was read.
    StaleVersion,
    /// A change of state that the lifecycle does not allow.
    IllegalTransition,
    /// The catalog has no plan of that name.
    UnknownPlan,
    /// The catalog has no feature of that name.
    UnknownFeature,
    /// A payment of the tenant is overdue, and what was asked for waits for it.
    PaymentOverdue,
    /// The tenant's plan does not include the feature.
    FeatureNotInPlan,
    /// The tenant has used up what its plan allows.
    LimitReached,
    /// The store or database cannot be reached; trying again later may help.
    StoreUnavailable,
    /// The transaction lost against another one; running it again may help.
    Retryable,
    /// The connection broke while a change was being made to last: it is not known whether it was. Look before you
    /// make it again.
    OutcomeUnknown,
    /// A statement of the transaction failed or was cancelled, or its rows were not all read, so nothing of the transaction
    /// is kept.
    RolledBack,
    /// The transaction changed rows and recorded no audit event.
    Unaudited,
    /// A signature does not prove what came with it: a webhook's body, or a job.
    SignatureInvalid,
    /// The SQL could reach another tenant's rows, or it is not known that it could not.
    SqlRejected,
    /// The context belongs to a cross-tenant read, and opens nothing else.
    CrossTenantContext,
    /// What was opened for a time is used after it.
    Expired,
    /// The tenant lives where this data plane does not reach.
    UnsupportedPlacement,
    /// The program is put together wrongly; the text says how to mend it.
    Misconfigured,
    /// The database refused for a reason that has no kind of its own.
    Database,
}

impl ErrorKind {
    /// The stable name of the kind, in kebab case; part of problem documents and log lines.
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

/// What the plan allows, beside what was asked: the facts of a
/// [`LimitReached`](ErrorKind::LimitReached) or [`FeatureNotInPlan`](ErrorKind::FeatureNotInPlan) error.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PlanDenial {
    /// The key of the feature that was asked for.
    pub feature: String,
    /// The plan that said no.
    pub plan: String,
    /// How much the plan allows; `None` for a feature that is simply not in the plan.
    pub limit: Option<u64>,
    /// How much is used; `None` for a feature that is simply not in the plan.
    pub used: Option<u64>,
    /// Where a person can change the plan, when the catalog says so.
    pub upgrade_url: Option<String>,
}

/// Anything that can go wrong in this crate.
#[derive(thiserror::Error)]
#[error("{}", .0.message)]
pub struct Error(Box<Repr>);

struct Repr {
    kind: ErrorKind,
    message: Cow<'static, str>,
    denial: Option<PlanDenial>,
    constraint: Option<Box<str>>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// An error of this kind, with one lower-case line for people: what happened and how to mend it.
    ///
    /// For your own [`TenantStore`](crate::tenant::TenantStore), [`Source`](crate::resolve::Source) or
    /// [`AuditSink`](crate::audit::AuditSink).
    pub fn new(kind: ErrorKind, message: impl Into<Cow<'static, str>>) -> Self {
        Self(Box::new(Repr { kind, message: message.into(), denial: None, constraint: None, source: None }))
    }

    /// The same error, carrying what caused it. The cause is for logs; it is not part of the text.
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

    #[cfg(any(feature = "sqlite", feature = "postgres"))]
    pub(crate) fn with_constraint(mut self, name: Option<String>) -> Self {
        self.0.constraint = name.map(Into::into);
        self
    }

    /// What went wrong, in one word.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// What the plan allows, when a plan said no.
    pub fn plan_denial(&self) -> Option<&PlanDenial> {
        self.0.denial.as_ref()
    }

    /// The constraint that a write violates, so that "the user name is taken" and "the e-mail is taken" are told apart.
    ///
    /// On PostgreSQL it is the constraint's name, such as `users_email_key`; a NOT NULL has none. SQLite gives the columns
    /// of a key (`users.tenant_id, users.email`) or the index, the column of a NOT NULL, the name or the text of a CHECK,
    /// and nothing for a foreign key. An `upsert` whose id is taken has none.
    ///
    /// ```
    /// use tenancy::{Error, ErrorKind};
    ///
    /// fn answer(error: &Error) -> &'static str {
    ///     match (error.kind(), error.constraint()) {
    ///         (ErrorKind::Conflict, Some("users_email_key")) => "this e-mail is taken",
    ///         (ErrorKind::Conflict, _) => "this is taken",
    ///         _ => "it did not work",
    ///     }
    /// }
    /// ```
    ///
    /// # Security
    /// Never a value. It is a name of your tables, and no part of the text: what the caller of a request reads is for you to
    /// choose.
    pub fn constraint(&self) -> Option<&str> {
        self.0.constraint.as_deref()
    }

    /// What caused this, when something else did.
    pub fn cause(&self) -> Option<&(dyn StdError + Send + Sync + 'static)> {
        self.0.source.as_deref()
    }

    /// Whether the same call may succeed later without any change: the store was down, or a transaction lost.
    ///
    /// A call that writes, and lost its connection, may have succeeded all the same: before it is made again, look, or give
    /// it a key that is unique.
    pub fn is_transient(&self) -> bool {
        matches!(self.kind(), ErrorKind::StoreUnavailable | ErrorKind::Retryable)
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
        let error = Error::new(ErrorKind::Database, "the write was refused")
            .with_source(std::io::Error::other("key (acme, 7)"));
        assert_eq!(error.to_string(), "the write was refused");
        assert_eq!(error.cause().unwrap().to_string(), "key (acme, 7)");
    }
}
