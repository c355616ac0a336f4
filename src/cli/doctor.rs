//! `tenancy doctor`: checks whether a live database isolates tenants.

use std::path::Path;
use std::process::ExitCode;

use crate::isolation::doctor::{self, Check, Finding, Fix, Report};
use clap::ValueEnum;
use serde::Deserialize;
use sqlx::Connection;
use tenancy_sql::Schema;

use super::config::{block_on, database, postgres};
use super::embedded::Embedded;
use super::place::{self, Where};

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Format {
    Text,
    Json,
    Sarif,
}

pub(crate) fn run(
    url: Option<String>,
    place: place::Options,
    for_citus: bool,
    config: Option<&Path>,
    format: Format,
    accept: &[String],
    embedded: &Embedded,
) -> Result<ExitCode, String> {
    let accepted: Vec<Check> =
        accept.iter().map(|id| Check::parse(id)).collect::<Result<_, _>>().map_err(|e| e.to_string())?;
    let url = database(url)?;
    let place = place.chosen()?;
    let schema = embedded.schema(config)?;

    let mut report = block_on(examine(&url, &place, for_citus, &schema))?;
    if let Some(finding) = sqlx_finding(config)? {
        report = report.with(finding);
    }
    let report = report.accepting(&accepted);
    let text = match format {
        Format::Text => report.to_string(),
        Format::Json => serde_json::to_string_pretty(&report).map_err(|e| e.to_string())?,
        Format::Sarif => serde_json::to_string_pretty(&report.to_sarif()).map_err(|e| e.to_string())?,
    };
    super::output::show(&(text + "\n"))?;
    Ok(ExitCode::from(u8::from(!report.failures(&[]).is_empty())))
}

async fn examine(url: &str, place: &Where, for_citus: bool, schema: &Schema) -> Result<Report, String> {
    match url.split(':').next().unwrap_or_default() {
        "postgres" | "postgresql" => {}
        _ => return Err("the doctor examines PostgreSQL only; use a URL of the form postgres://…".to_owned()),
    }
    let in_schema = match place {
        Where::Place(placement) => {
            let report = doctor::examine_place(&place::options(url)?, schema, placement).await;
            return report.map_err(|e| with_cause(&e));
        }
        Where::AllPlaces => {
            let report = doctor::examine_places(&place::options(url)?, schema).await;
            return report.map_err(|e| with_cause(&e));
        }
        Where::Schema(name) => Some(&**name),
        Where::Url => None,
    };
    let mut conn = postgres(url, in_schema).await?;
    let report = match in_schema {
        Some(_) => doctor::examine_search_path(&mut conn, schema).await,
        None if for_citus => doctor::examine_for_citus(&mut conn, schema).await,
        None => doctor::examine(&mut conn, schema).await,
    };
    let report = report.map_err(|e| match e.cause() {
        Some(cause) => format!("the database cannot be examined: {cause}"),
        None => e.to_string(),
    })?;
    conn.close().await.map_err(|e| format!("the database cannot be reached: {e}"))?;
    Ok(report)
}

fn with_cause(error: &crate::Error) -> String {
    error.cause().map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"))
}

#[derive(Deserialize)]
struct Lock {
    #[serde(default)]
    package: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    version: String,
}

/// A finding if the nearest `Cargo.lock` has a version of sqlx with a known fault.
fn sqlx_finding(config: Option<&Path>) -> Result<Option<Finding>, String> {
    let directory = config.and_then(Path::parent).filter(|path| !path.as_os_str().is_empty());
    let directory = directory.unwrap_or(Path::new("."));
    let directory = directory.canonicalize().map_err(|e| format!("{}: {e}", directory.display()))?;
    let Some(path) = directory.ancestors().map(|dir| dir.join("Cargo.lock")).find(|path| path.is_file())
    else {
        return Ok(None);
    };
    let text = std::fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    let lock: Lock = toml::from_str(&text).map_err(|e| format!("{}: {e}", path.display()))?;
    let found = lock
        .package
        .into_iter()
        .find(|package| package.name == "sqlx-core" && leaves_transaction_open(&package.version));
    Ok(found.map(|package| {
        Finding::new(
            Check::SqlxBegin,
            format!("sqlx {}", package.version),
            "sqlx 0.8.4 to 0.9.0 have this fault",
            Fix::Step(
                "never call `pool.begin()` yourself, since only `TenantDb` prevents this fault; or use a later sqlx"
                    .to_owned(),
            ),
        )
    }))
}

/// Whether this version, 0.8.4 to 0.9.0, can leave a transaction open.
fn leaves_transaction_open(version: &str) -> bool {
    let mut parts = version.split(['.', '-', '+']).map_while(|part| part.parse::<u32>().ok());
    let version = [parts.next(), parts.next(), parts.next()].map(|part| part.unwrap_or(0));
    ([0, 8, 4]..=[0, 9, 0]).contains(&version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_that_leave_a_transaction_open() {
        for version in ["0.8.4", "0.8.6", "0.9.0"] {
            assert!(leaves_transaction_open(version), "{version}");
        }
        for version in ["0.7.4", "0.8.3", "0.9.1", "0.10.0", "1.0.0"] {
            assert!(!leaves_transaction_open(version), "{version}");
        }
    }
}
