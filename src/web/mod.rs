//! Middleware and extractors for axum, tower, tonic and actix-web, and the response to each error.
//!
//! - The middleware finds the tenant of each request:
//!   [`TenantLayer`](https://docs.rs/tenancy/latest/tenancy/web/struct.TenantLayer.html) for tower, axum and tonic,
//!   [`TenantMiddleware`](https://docs.rs/tenancy/latest/tenancy/web/struct.TenantMiddleware.html) for actix-web.
//! - A handler takes a [`TenantContext`](crate::TenantContext) as an argument.
//! - A [`Problem`] is the response to an [`ErrorKind`](crate::ErrorKind): its status, and a document of RFC 9457.
//!
//! ```
//! use tenancy::web::Problem;
//! use tenancy::{Error, ErrorKind};
//!
//! let problem = Problem::from(&Error::new(ErrorKind::NotFound, "no such order"));
//! assert_eq!(problem.status(), 404);
//! assert!(problem.json().starts_with(br#"{"type":"urn:problem-type:tenancy:not-found""#));
//! ```

#[cfg(feature = "actix-web")]
mod actix_web;
#[cfg(feature = "axum")]
mod axum;
#[cfg(all(feature = "quota", any(feature = "actix-web", feature = "axum")))]
mod charged;
#[cfg(feature = "tower")]
mod connection;
mod core;
#[cfg(any(feature = "actix-web", feature = "axum"))]
mod extract;
mod missing;
mod peer;
#[cfg(feature = "tower")]
mod plan_layer;
mod plan_rules;
mod problem;
mod rate_limit;
#[cfg(feature = "tower")]
mod response;
#[cfg(feature = "tower")]
mod tower;
#[cfg(all(feature = "quota", any(feature = "actix-web", feature = "axum")))]
mod usage;
#[cfg(all(feature = "stripe", any(feature = "actix-web", feature = "tower")))]
mod webhook;
#[cfg(all(feature = "stripe", feature = "tower"))]
mod webhook_service;

#[cfg(all(feature = "actix-web", feature = "stripe"))]
pub use self::actix_web::stripe_webhook_route;
#[cfg(feature = "actix-web")]
pub use self::actix_web::{PlanMiddleware, TenantMiddleware};
#[cfg(all(feature = "quota", any(feature = "actix-web", feature = "axum")))]
pub use self::charged::{Charged, QuotaKey};
#[cfg(any(feature = "actix-web", feature = "axum"))]
pub use self::extract::{FeatureKey, PlanKey, RequireActive, RequireFeature, RequirePlan};
pub use self::peer::PeerAddr;
#[cfg(feature = "tower")]
pub use self::plan_layer::{PlanLayer, PlanService};
pub use self::plan_rules::{Decisions, PlanRules};
pub use self::problem::Problem;
#[cfg(feature = "tower")]
pub use self::tower::{TenantFuture, TenantLayer, TenantService};
#[cfg(all(feature = "quota", any(feature = "actix-web", feature = "axum")))]
pub use self::usage::UsageResponse;
#[cfg(all(feature = "stripe", feature = "tower"))]
pub use self::webhook_service::StripeWebhookService;
