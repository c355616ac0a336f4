//! The program `tenancy`: its output and its exit codes.

#[path = "../fixture/common.rs"]
mod common;
#[path = "../fixture/doctor_cases/mod.rs"]
mod doctor_cases;

mod adoption;
mod audit_commands;
mod bundles;
mod cli;
mod created;
mod deletions;
mod help;
mod migrate;
mod moves;
mod owner;
mod people;
mod place_roles;
mod places;
mod plans;
mod recount;
mod shop;
mod stripe_commands;
mod tenants;
mod usage_commands;
