//! Runs the suite `crash`: the server is killed during a hundred writes.

#[path = "../../saas/suite/crash.rs"]
mod suite;

const PROGRAM: &str = env!("CARGO_BIN_EXE_saas-axum");
