//! Tenant stores, their slugs, and the cache over a store.

#[macro_use]
#[path = "../fixture/common.rs"]
mod common;
#[path = "../fixture/suites.rs"]
mod suites;

mod cached;
mod slugs;
mod tenant_store;
