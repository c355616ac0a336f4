//! What a client sees: one table from [`ErrorKind`](crate::ErrorKind) to status and title, as [`Problem`] documents; and the
//! middleware in front of your routes.
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
mod core;
#[cfg(any(feature = "actix-web", feature = "axum"))]
mod extract;
mod peer;
#[cfg(feature = "tower")]
mod peer_of;
mod problem;
#[cfg(feature = "tower")]
mod refusal;
#[cfg(feature = "tower")]
mod tower;

#[cfg(feature = "actix-web")]
pub use self::actix_web::TenantMiddleware;
#[cfg(any(feature = "actix-web", feature = "axum"))]
pub use self::extract::{FeatureKey, RequireActive, RequireFeature};
pub use self::peer::PeerAddr;
pub use self::problem::Problem;
#[cfg(feature = "tower")]
pub use self::tower::{TenantFuture, TenantLayer, TenantService};
