//! The command line of the `tenancy` crate: `cargo install tenancy --features cli`, then `tenancy help`.

use std::process::ExitCode;

fn main() -> ExitCode {
    tenancy::cli::Program::new().run()
}
