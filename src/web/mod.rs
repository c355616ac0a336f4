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

#[cfg(feature = "axum")]
mod axum;
mod peer;
mod problem;
mod refusal;
mod tower;

pub use self::peer::PeerAddr;
pub use self::problem::Problem;
pub use self::tower::{TenantFuture, TenantLayer, TenantService};
