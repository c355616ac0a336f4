//! [`Control`]: the options of commands that work on the tables of the control plane.

use clap::Args;

use super::config::database;

/// Where the list of tenants is, and how the result is printed.
#[derive(Args)]
pub(crate) struct Control {
    /// The database that has the list of tenants, `postgres://…` or `sqlite:…`, instead of `DATABASE_URL`.
    #[arg(long)]
    url: Option<String>,
    /// Print JSON: a line for each object.
    #[arg(long)]
    pub(crate) json: bool,
}

impl Control {
    pub(crate) fn url(&self) -> Result<String, String> {
        database(self.url.clone())
    }
}
