//! [`Suspension`]: why an operator suspended a tenant, and what its users read.

use serde::{Deserialize, Serialize};

use super::{StatusSource, Tenant, TenantParts, TenantStatus};
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
#[must_use = "it suspends nothing by itself; give it to `Tenant::suspend`, or to `suspend` of a store"]
pub struct Suspension {
    reason: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
    /// The status to which the tenant returns, and who had set it.
    #[serde(skip_serializing_if = "Option::is_none")]
    before: Option<(TenantStatus, StatusSource)>,
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
        let reason = checked_text("reason", reason.into())?;
        Ok(Self { reason, message: None, before: None, since: None })
    }

    /// Adds a message, which is part of the `detail` of each response to a request with a credential of the tenant.
    ///
    /// # Errors
    /// As [`new`](Self::new), for the message.
    ///
    /// # Security
    /// The message reaches everyone with a valid credential of the tenant. An anonymous caller does not learn that the
    /// tenant exists. The text is not HTML: a page that shows it must escape it.
    pub fn message(mut self, message: impl Into<String>) -> Result<Self> {
        self.message = Some(checked_text("message", message.into())?);
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

pub(crate) fn checked_text(what: &str, text: String) -> Result<String> {
    let fault = match text.trim() {
        "" => "is empty",
        _ if text.chars().count() > LONGEST => "has more than 500 characters",
        _ if text.chars().any(|c| (c.is_control() && c != '\n') || is_bidirectional(c)) => {
            "has a control character"
        }
        _ => return Ok(text),
    };
    Err(Error::new(ErrorKind::InvalidInput, format!("the {what} {fault}")))
}

/// Signs that show the following text in another order.
fn is_bidirectional(c: char) -> bool {
    matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

impl Tenant {
    /// Why an operator suspended the tenant; `None` if it is not suspended, or was suspended without a reason.
    pub fn suspension(&self) -> Option<&Suspension> {
        self.0.suspension.as_ref()
    }

    /// The error of a request of this suspended tenant.
    pub(crate) fn suspended_error(&self) -> Error {
        let message = self.0.suspension.as_ref().and_then(Suspension::user_message);
        let text = message.map(|message| format!(": {message}")).unwrap_or_default();
        Error::new(ErrorKind::TenantSuspended, format!("this tenant is suspended{text}"))
    }

    /// The tenant, suspended by an operator. A tenant that is suspended already gets the new reason and message.
    ///
    /// # Errors
    /// [`ErrorKind::IllegalTransition`] if the tenant is being set up or deleted, or was deactivated.
    pub fn suspend(&self, suspension: Suspension, now: Timestamp) -> Result<Self> {
        let (before, since) = match (&self.0.suspension, self.0.status) {
            (Some(known), TenantStatus::Suspended) => (known.before, known.since),
            (_, status) if status.is_open() || status == TenantStatus::Suspended => {
                (Some((status, self.0.status_set_by)), Some(now))
            }
            (_, status) => {
                return Err(Error::new(
                    ErrorKind::IllegalTransition,
                    format!("a tenant that is {status} is closed already, and is not suspended"),
                ));
            }
        };
        let suspended = self.with_status_by(TenantStatus::Suspended, StatusSource::Operator)?;
        Ok(Self::from_parts(TenantParts {
            suspension: Some(Suspension { before, since, ..suspension }),
            ..suspended.0
        }))
    }

    /// The tenant as it was before [`suspend`](Self::suspend): if billing had suspended it, it is suspended by billing again.
    /// What billing changed meanwhile is applied by its next event.
    ///
    /// # Errors
    /// [`ErrorKind::IllegalTransition`] if the tenant was not suspended with `suspend`:
    /// [`with_status`](Self::with_status) opens it.
    pub fn resume(&self) -> Result<Self> {
        let before = self.0.suspension.as_ref().and_then(|suspension| suspension.before);
        let Some((status, status_set_by)) = before else {
            return Err(Error::new(
                ErrorKind::IllegalTransition,
                format!(
                    "this tenant is {}, set by {}, and only one that `suspend` suspended can be resumed",
                    self.0.status,
                    self.0.status_set_by.as_str()
                ),
            ));
        };
        Ok(Self::from_parts(TenantParts { status, status_set_by, suspension: None, ..self.0.clone() }))
    }
}
