//! Stores of tenants, and the cache before them.

#[macro_use]
#[path = "../fixture/common.rs"]
mod common;
#[path = "../fixture/suites.rs"]
mod suites;

mod cached;
mod slugs;
mod tenant_store;
