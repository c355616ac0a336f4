//! [`TenantStatus`] and the steps of the tenant lifecycle.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result};

/// The state of a tenant in its lifecycle. Requests of a tenant are served if its status [is open](Self::is_open).
///
/// ```
/// use tenancy::tenant::TenantStatus;
///
/// assert!(TenantStatus::Active.can_become(TenantStatus::PastDue));
/// assert!(!TenantStatus::Deleting.can_become(TenantStatus::Active));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum TenantStatus {
    /// The tenant is being set up and is not open yet.
    Provisioning,
    /// Open, in a trial period.
    Trialing,
    /// Open.
    Active,
    /// Open, but a payment is overdue.
    PastDue,
    /// Closed temporarily; the data is kept.
    Suspended,
    /// Closed; the data is kept until it is deleted.
    Deactivated,
    /// The data is being deleted. This status is final.
    Deleting,
}

/// Who set a tenant's status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum StatusSource {
    /// A person, or a program on a person's behalf.
    Operator,
    /// The billing system.
    Billing,
}

impl TenantStatus {
    /// Every status, in the order of the lifecycle.
    pub const ALL: [Self; 7] = [
        Self::Provisioning,
        Self::Trialing,
        Self::Active,
        Self::PastDue,
        Self::Suspended,
        Self::Deactivated,
        Self::Deleting,
    ];

    /// Whether requests of a tenant with this status are served: trialing, active and past due.
    pub const fn is_open(self) -> bool {
        matches!(self, Self::Trialing | Self::Active | Self::PastDue)
    }

    /// Whether a tenant can change from this status to `next`. No status can change to itself.
    pub const fn can_become(self, next: Self) -> bool {
        use TenantStatus::{Active, Deactivated, Deleting, PastDue, Provisioning, Suspended, Trialing};
        match self {
            Provisioning => matches!(next, Trialing | Active | Suspended | Deactivated | Deleting),
            Trialing => matches!(next, Active | PastDue | Suspended | Deactivated),
            Active => matches!(next, Trialing | PastDue | Suspended | Deactivated),
            PastDue => matches!(next, Trialing | Active | Suspended | Deactivated),
            Suspended => matches!(next, Trialing | Active | PastDue | Deactivated | Deleting),
            Deactivated => matches!(next, Trialing | Active | PastDue | Suspended | Deleting),
            Deleting => false,
        }
    }

    /// The stable name, in snake case.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Provisioning => "provisioning",
            Self::Trialing => "trialing",
            Self::Active => "active",
            Self::PastDue => "past_due",
            Self::Suspended => "suspended",
            Self::Deactivated => "deactivated",
            Self::Deleting => "deleting",
        }
    }

    /// Parses the stable name.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] for any other text.
    pub fn parse(text: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == text).ok_or_else(|| {
            Error::new(
                ErrorKind::InvalidInput,
                "not a tenant status; `TenantStatus::ALL` lists the valid ones",
            )
        })
    }
}

impl fmt::Display for TenantStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl StatusSource {
    /// The stable name, in snake case.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::Billing => "billing",
        }
    }

    /// Parses the stable name.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] for any other text.
    pub fn parse(text: &str) -> Result<Self> {
        match text {
            "operator" => Ok(Self::Operator),
            "billing" => Ok(Self::Billing),
            _ => Err(Error::new(ErrorKind::InvalidInput, "status_set_by is `operator` or `billing`")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lifecycle_has_exactly_these_steps() {
        let steps: Vec<String> = TenantStatus::ALL
            .iter()
            .flat_map(|from| {
                TenantStatus::ALL
                    .iter()
                    .filter(|to| from.can_become(**to))
                    .map(move |to| format!("{from}>{to}"))
            })
            .collect();
        assert_eq!(steps.len(), 5 + 4 + 4 + 4 + 5 + 5, "{steps:?}");
        for status in TenantStatus::ALL {
            assert!(!status.can_become(status), "{status} to itself is not a step");
            assert!(!TenantStatus::Deleting.can_become(status), "deleting is the end");
            assert!(!status.can_become(TenantStatus::Provisioning), "provisioning is the start");
            assert_eq!(TenantStatus::parse(status.as_str()).unwrap(), status);
        }
        assert!(!TenantStatus::Active.can_become(TenantStatus::Deleting), "an open tenant is closed first");
    }
}
