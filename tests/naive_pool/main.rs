//! Tests that make the application's role a member of an exempt one, which every database of the server sees. They
//! have a process of their own, so that no other test runs meanwhile.

#[path = "../fixture/common.rs"]
mod common;

mod naive_pool;
