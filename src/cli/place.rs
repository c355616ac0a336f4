//! The options that choose the places of tenants: `--schema`, `--database` and `--all-places`.

use crate::tenant::{Placement, PlacementName};
use clap::Args;
use sqlx::ConnectOptions;
use sqlx::postgres::{PgConnectOptions, PgConnection};

#[derive(Args)]
#[group(id = "places", multiple = false)]
pub(crate) struct Options {
    /// Only this schema, such as the schema of one tenant.
    #[arg(long, value_name = "SCHEMA")]
    schema: Option<String>,
    /// Only this database of a tenant, on the same server and as the same role.
    #[arg(long, value_name = "NAME")]
    database: Option<String>,
    /// The shared tables, every schema `t_…` of this database, and every database `t_…` of its owner.
    #[arg(long)]
    all_places: bool,
}

/// Where a command works.
pub(crate) enum Where {
    /// In the database of the URL.
    Url,
    /// In a schema whose name is that of no tenant.
    Schema(String),
    Place(Placement),
    AllPlaces,
}

impl Options {
    pub(crate) fn chosen(self) -> Result<Where, String> {
        Ok(match self {
            Self { all_places: true, .. } => Where::AllPlaces,
            Self { database: Some(name), .. } => {
                let name = PlacementName::parse(&name).map_err(|e| format!("--database: {e}"))?;
                Where::Place(Placement::Database { name })
            }
            Self { schema: Some(name), .. } => match PlacementName::parse(&name) {
                Ok(name) => Where::Place(Placement::Schema { name }),
                Err(_) => Where::Schema(name),
            },
            _ => Where::Url,
        })
    }
}

/// The connection to a database, which can be that of one tenant.
pub(crate) async fn connect(url: &str, placement: &Placement) -> Result<PgConnection, String> {
    let options = options(url)?;
    let options = match placement {
        Placement::Database { name } => options.database(name.as_str()),
        _ => options,
    };
    options.connect().await.map_err(|e| match placement {
        Placement::Database { name } => format!("the database `{name}` cannot be reached: {e}"),
        _ => format!("the database cannot be reached: {e}"),
    })
}

pub(crate) fn options(url: &str) -> Result<PgConnectOptions, String> {
    url.parse().map_err(|e: sqlx::Error| format!("the database cannot be reached: {e}"))
}
