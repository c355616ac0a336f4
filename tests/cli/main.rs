//! The program `tenancy`.

#[path = "../fixture/common.rs"]
mod common;
#[path = "../fixture/doctor_cases/mod.rs"]
mod doctor_cases;

mod adoption;
mod cli;
