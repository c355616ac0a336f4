//! [`ReviewItem`]: what neither the catalog nor the lifecycle decides.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::tenant::TenantStatus;

/// Something that a person should review, because neither the catalog nor the lifecycle decides it. That part of the
/// tenant does not change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "review", rename_all = "snake_case")]
#[non_exhaustive]
pub enum ReviewItem {
    /// None of the subscription's prices is in the catalog.
    UnmappedPrice {
        /// The first price, if there is one.
        price: Option<String>,
    },
    /// The subscription buys seats or add-ons, and no plan.
    MissingPlan,
    /// The subscription's prices belong to several plans.
    SeveralPlans {
        /// The keys of the plans.
        plans: Vec<String>,
    },
    /// The tenant has several subscriptions that are in trial, active or past due.
    SeveralSubscriptions {
        /// The ids of the subscriptions.
        subscriptions: Vec<String>,
    },
    /// A status that this version does not know.
    UnknownStatus {
        /// The status, as the billing system writes it.
        status: String,
    },
    /// An operator granted a plan that the bought one does not cover: the tenant keeps the granted plan.
    PlanHeld {
        /// The plan that an operator granted.
        granted: String,
        /// The plan that the tenant pays for.
        bought: String,
    },
    /// The tenant is being deleted, and still pays.
    OrphanSubscriptions {
        /// The ids of the subscriptions.
        subscriptions: Vec<String>,
    },
    /// Billing may not set the status that follows: an operator closed the tenant, or it is being deleted.
    StatusHeld {
        /// The status that billing may not set.
        wanted: TenantStatus,
    },
}

impl fmt::Display for ReviewItem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnmappedPrice { price: Some(price) } => {
                write!(f, "no plan has the price `{price}`; add it to a plan's prices")
            }
            Self::UnmappedPrice { price: None } => f.write_str("the subscription has no price"),
            Self::MissingPlan => f.write_str("the subscription buys seats or add-ons without a plan"),
            Self::SeveralPlans { plans } => {
                write!(f, "the subscription buys several plans: {}", plans.join(", "))
            }
            Self::SeveralSubscriptions { subscriptions } => {
                write!(f, "the tenant pays for several subscriptions: {}", subscriptions.join(", "))
            }
            Self::UnknownStatus { status } => write!(f, "the subscription's status `{status}` is not known"),
            Self::PlanHeld { granted, bought } => {
                write!(
                    f,
                    "the tenant pays for `{bought}`, and an operator granted `{granted}`, which has more"
                )
            }
            Self::OrphanSubscriptions { subscriptions } => {
                write!(f, "the tenant is being deleted and still pays: cancel {}", subscriptions.join(", "))
            }
            Self::StatusHeld { wanted } => write!(f, "billing may not set the tenant to {wanted}"),
        }
    }
}
