#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![warn(clippy::print_stdout, clippy::print_stderr)]

pub mod audit;
#[cfg(feature = "stripe")]
pub mod billing;
#[cfg(feature = "cli")]
pub mod cli;
pub mod clock;
pub mod context;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod database;
mod error;
#[cfg(all(any(doc, doctest), feature = "full"))]
pub mod guide;
#[cfg(feature = "postgres")]
pub mod isolation;
#[cfg(feature = "namespace")]
pub mod namespace;
#[cfg(all(feature = "operations", any(feature = "sqlite", feature = "postgres")))]
pub mod operations;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub mod placement;
pub mod plan;
#[cfg(any(feature = "quota", feature = "sqlite", feature = "postgres"))]
pub mod quota;
pub mod resolve;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub mod scope;
#[cfg(any(
    feature = "jobs",
    feature = "login",
    feature = "signed-header",
    feature = "stripe",
    all(feature = "operations", any(feature = "sqlite", feature = "postgres"))
))]
mod signed;
pub mod store;
pub mod tenant;
#[cfg(feature = "testing")]
pub mod testing;
#[cfg(any(feature = "actix-web", feature = "tower"))]
pub mod web;

pub use self::context::TenantContext;
pub use self::error::{Error, ErrorKind, PlanDenial, Result};
#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub use self::scope::TenantDb;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub use self::scope::repository::TenantScoped;
/// The version of sqlx that this crate uses.
#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub use sqlx;
/// Derives the trait [`trait@TenantScoped`], which maps a struct to the rows of a tenant-owned table.
#[cfg(feature = "macros")]
pub use tenancy_macros::TenantScoped;
#[cfg(feature = "macros")]
pub use tenancy_macros::{
    query, query_as, query_as_checked, query_checked, query_scalar, query_scalar_checked,
};
