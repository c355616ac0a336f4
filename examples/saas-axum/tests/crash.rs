//! The server is killed in the middle of a hundred writes: see the suite.

#[path = "../../saas/suite/crash.rs"]
mod suite;

const PROGRAM: &str = env!("CARGO_BIN_EXE_saas-axum");
