//! [`Suspension`]: why an operator suspended a tenant, and what its users read.

use serde::{Deserialize, Serialize};

use super::{StatusSource, Tenant, TenantStatus};
use crate::clock::Timestamp;
use crate::error::{Error, ErrorKind, Result};

/// Why an operator suspended a tenant, and what its users read meanwhile.
///
/// ```
/// use tenancy::tenant::Suspension;
///
/// let moving = Suspension::new("moves to its own database, ticket 17")?
///     .message("We are moving your data. Please come back at 14:00 UTC.")?;
/// assert_eq!(moving.reason(), "moves to its own database, ticket 17");
/// # Ok::<(), tenancy::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[must_use = "it suspends nothing by itself; give it to `Tenant::suspend`, or to `suspend` of a store"]
pub struct Suspension {
    reason: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
    /// The status to which the tenant returns.
    #[serde(skip_serializing_if = "Option::is_none")]
    before: Option<TenantStatus>,
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<Timestamp>,
}

/// The most characters of a reason or a message.
const LONGEST: usize = 500;

impl Suspension {
    /// A suspension for this reason, which operators read in the list of tenants and in the audit log.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if the reason is empty, or has more than 500 characters or a control character.
    pub fn new(reason: impl Into<String>) -> Result<Self> {
        let reason = checked("reason", reason.into())?;
        Ok(Self { reason, message: None, before: None, since: None })
    }

    /// Adds a message, which the response to every refused request has as its `detail`.
    ///
    /// # Errors
    /// As [`new`](Self::new), for the message.
    ///
    /// # Security
    /// The message reaches everyone with a valid credential of the tenant. An anonymous caller does not learn that the
    /// tenant exists. The text is not HTML: a page that shows it must escape it.
    pub fn message(mut self, message: impl Into<String>) -> Result<Self> {
        self.message = Some(checked("message", message.into())?);
        Ok(self)
    }

    /// The reason, for operators.
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// The message, for the users of the tenant.
    pub fn user_message(&self) -> Option<&str> {
        self.message.as_deref()
    }

    /// When the tenant was suspended.
    pub fn since(&self) -> Option<Timestamp> {
        self.since
    }
}

fn checked(what: &str, text: String) -> Result<String> {
    let fault = match text.trim() {
        "" => "is empty",
        _ if text.chars().count() > LONGEST => "has more than 500 characters",
        _ if text.chars().any(|c| c.is_control() && c != '\n') => "has a control character",
        _ => return Ok(text),
    };
    Err(Error::new(ErrorKind::InvalidInput, format!("the {what} of a suspension {fault}")))
}

impl Tenant {
    /// Why an operator suspended the tenant; `None` if it is not suspended, or was suspended without a reason.
    pub fn suspension(&self) -> Option<&Suspension> {
        self.suspension.as_ref()
    }

    /// The error of a request of this suspended tenant.
    pub(crate) fn suspended_error(&self) -> Error {
        let message = self.suspension.as_ref().and_then(Suspension::user_message);
        let text = message.map(|message| format!(": {message}")).unwrap_or_default();
        Error::new(ErrorKind::TenantSuspended, format!("this tenant is suspended{text}"))
    }

    /// The tenant, suspended by an operator. A tenant that is suspended already gets the new reason and message.
    ///
    /// # Errors
    /// [`ErrorKind::IllegalTransition`] if the tenant is being set up or deleted, or was deactivated.
    pub fn suspend(&self, suspension: Suspension, now: Timestamp) -> Result<Self> {
        let (before, since) = match &self.suspension {
            Some(known) => (known.before, known.since),
            None if self.status.is_open() => (Some(self.status), Some(now)),
            None if self.status == TenantStatus::Suspended => (None, Some(now)),
            None => {
                return Err(Error::new(
                    ErrorKind::IllegalTransition,
                    format!("a tenant that is {} is closed already, and is not suspended", self.status),
                ));
            }
        };
        let suspended = self.with_status_by(TenantStatus::Suspended, StatusSource::Operator)?;
        Ok(Self { suspension: Some(Suspension { before, since, ..suspension }), ..suspended })
    }

    /// The tenant in the status that it had before it was suspended; active, if nobody knows which that was.
    ///
    /// # Errors
    /// [`ErrorKind::IllegalTransition`] if the tenant is not suspended.
    pub fn resume(&self) -> Result<Self> {
        if self.status != TenantStatus::Suspended {
            return Err(Error::new(
                ErrorKind::IllegalTransition,
                format!("this tenant is {}, and only one that is suspended can be resumed", self.status),
            ));
        }
        let before = self.suspension.as_ref().and_then(|suspension| suspension.before);
        self.with_status(before.unwrap_or(TenantStatus::Active))
    }
}
