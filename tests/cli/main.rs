//! The program `tenancy`: its output and its exit codes.

#[path = "../fixture/common.rs"]
mod common;
#[path = "../fixture/doctor_cases/mod.rs"]
mod doctor_cases;

mod adoption;
mod cli;
mod migrate;
mod places;
mod plans;
mod recount;
mod tenants;
