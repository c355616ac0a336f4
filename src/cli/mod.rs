//! The command line: the program `tenancy`, or the same commands in a program of your own.
//!
//! `cargo install tenancy --features cli` installs the program `tenancy`, which reads migrations, plan catalog and
//! tables from files. A [`Program`] of your own contains them, so that it needs no file where it runs:
//!
//! ```no_run
//! use std::process::ExitCode;
//!
//! use tenancy::cli::Program;
//! use tenancy::plan::Catalog;
//! use tenancy::scope::Schema;
//!
//! # const PLANS: &str = "version = 1\n[plans.free]";
//! # const TABLES: &str = "shared = [\"countries\"]";
//! fn main() -> ExitCode {
//!     // const PLANS: &str = include_str!("../plans.toml");
//!     // const TABLES: &str = include_str!("../tenancy.toml");
//!     let catalog = Catalog::from_toml(PLANS).expect("the plan catalog is valid");
//!     let schema = Schema::from_toml(TABLES).expect("tenancy.toml is valid");
//!     # let migrations = sqlx::migrate::Migrator::with_migrations(Vec::new());
//!     // let migrations = sqlx::migrate!("./migrations");
//!     Program::new().migrations(migrations).catalog(catalog).schema(schema).run()
//! }
//! ```
//!
//! [The command line](https://github.com/tenancy-rs/tenancy/blob/main/docs/reference/cli.md) has every command, option
//! and exit code.

mod audit;
mod audit_line;
mod audit_log;
mod bundle_input;
mod check;
mod command;
mod completions;
mod config;
mod confirm;
mod control;
mod create;
mod databases;
mod delete;
mod doctor;
mod embedded;
mod export;
mod expression;
mod hooks;
mod import;
mod interrupts;
mod lifecycle;
mod migrate;
mod migrate_report;
mod move_progress;
mod movement;
mod moves;
mod new_file;
mod new_tenant;
mod output;
mod place;
mod plans;
mod policies;
mod policies_of_places;
mod program;
mod progress;
mod provisioners;
mod receipts;
mod recount;
mod recount_report;
mod recount_rows;
mod restore;
mod scope;
mod snapshot;
mod source;
mod stripe;
#[cfg(feature = "stripe-api")]
mod stripe_client;
#[cfg(not(feature = "stripe-api"))]
#[path = "no_stripe_client.rs"]
mod stripe_client;
mod stripe_options;
mod stripe_quarantine;
mod stripe_reconcile;
mod stripe_settings;
mod table;
mod tenants;
mod tenants_command;
mod texts;
mod tokens;
mod urls;
mod usage;
mod usage_report;

pub use self::program::Program;
