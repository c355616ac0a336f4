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
#[cfg(feature = "tower")]
mod connection;
mod core;
#[cfg(any(feature = "actix-web", feature = "axum"))]
mod extract;
mod peer;
mod problem;
#[cfg(feature = "tower")]
mod response;
#[cfg(feature = "tower")]
mod tower;
#[cfg(all(feature = "stripe", any(feature = "actix-web", feature = "tower")))]
mod webhook;
#[cfg(all(feature = "stripe", feature = "tower"))]
mod webhook_service;

#[cfg(feature = "actix-web")]
pub use self::actix_web::TenantMiddleware;
#[cfg(all(feature = "actix-web", feature = "stripe"))]
pub use self::actix_web::stripe_webhook_route;
#[cfg(any(feature = "actix-web", feature = "axum"))]
pub use self::extract::{FeatureKey, RequireActive, RequireFeature};
pub use self::peer::PeerAddr;
pub use self::problem::Problem;
#[cfg(feature = "tower")]
pub use self::tower::{TenantFuture, TenantLayer, TenantService};
#[cfg(all(feature = "stripe", feature = "tower"))]
pub use self::webhook_service::StripeWebhookService;
