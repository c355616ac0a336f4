//! No scope inherits a tenant, a role or a transaction from a pooled connection.
//!
//! The tests make the application's role a member of an exempt role, which affects every database of the server. They
//! have their own process, so that no other test runs meanwhile.

#[path = "../fixture/common.rs"]
mod common;

mod naive_pool;
