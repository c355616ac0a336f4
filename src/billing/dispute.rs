//! [`Dispute`]: a dispute of a tenant's customer, as it is stored.

use crate::clock::Timestamp;
use crate::tenant::TenantId;

/// A dispute of a tenant's customer, as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_structs,
    reason = "a store must save every field, so a new field must break its build"
)]
pub struct Dispute {
    /// The dispute's id.
    pub id: String,
    /// The tenant.
    pub tenant: TenantId,
    /// The status, as the billing system writes it: `needs_response`, `won`.
    pub status: String,
    /// When the billing system created the event that the status comes from.
    pub created: Timestamp,
}

impl Dispute {
    /// Whether the dispute is open or lost.
    pub fn is_against(&self) -> bool {
        !matches!(&*self.status, "won" | "warning_closed" | "prevented")
    }

    /// Whether the status never changes again.
    fn is_final(&self) -> bool {
        !self.is_against() || self.status == "lost"
    }

    /// The one of two states of a dispute that counts, in whatever order their events arrive.
    pub(super) fn or_newer(self, other: Self) -> Self {
        let order = |one: &Self| (one.is_final(), one.created, one.status.clone());
        if order(&other) > order(&self) { other } else { self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_final_state_counts_and_then_the_newest() {
        let dispute = |status: &str, second| Dispute {
            id: "dp_1".to_owned(),
            tenant: TenantId::parse("acme").unwrap(),
            status: status.to_owned(),
            created: Timestamp::from_seconds(second),
        };
        for (one, other) in [
            (dispute("won", 3), dispute("needs_response", 9)),
            (dispute("lost", 3), dispute("under_review", 3)),
            (dispute("warning_closed", 1), dispute("warning_needs_response", 1)),
            (dispute("under_review", 2), dispute("needs_response", 1)),
            (dispute("won", 4), dispute("lost", 3)),
        ] {
            assert_eq!(one.clone().or_newer(other.clone()), one);
            assert_eq!(other.or_newer(one.clone()), one);
        }
        assert!(dispute("lost", 1).is_against() && dispute("brand_new", 1).is_against());
        assert!(!dispute("won", 1).is_against());
    }
}
