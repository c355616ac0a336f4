//! [`examined`]: reads the catalogue of one part of a database, judges it, and probes it.

use sqlx::postgres::PgConnection;
use tenancy_sql::Schema;

use super::catalog::{Catalog, Part};
use super::report::Report;
use super::{broken, code, granted, implicit, keys, place_role, probe, routine, server, tables};
use crate::error::{Error, ErrorKind, Result};

/// The report on a part of a database, and the catalogue that it is from.
pub(super) async fn examined(
    conn: &mut PgConnection,
    schema: &Schema,
    part: Part<'_>,
) -> Result<(Report, Catalog)> {
    let catalog = Catalog::read(conn, schema, part).await.map_err(examine_error)?;
    let mut findings = Vec::new();
    server::judge(&catalog, schema, &mut findings);
    place_role::judge(&catalog, &mut findings);
    tables::judge(&catalog, schema, &mut findings);
    keys::judge(&catalog, schema, &mut findings);
    code::judge(&catalog, schema, &mut findings);
    routine::judge(&catalog, schema, &mut findings);
    implicit::judge(&catalog, schema, &mut findings);
    granted::judge(&catalog, &mut findings);
    let mut report = Report {
        role: catalog.server.role.clone(),
        database: catalog.server.database.clone(),
        places: 1,
        tables: catalog.tenants(schema).filter(|(table, _)| !table.partition).count(),
        proven: 0,
        findings,
        notes: Vec::new(),
    };
    probe::run(conn, &catalog, schema, &mut report).await.map_err(examine_error)?;
    broken::run(conn, &catalog, schema, &mut report).await.map_err(examine_error)?;
    report.sort();
    Ok((report, catalog))
}

pub(super) fn examine_error(error: sqlx::Error) -> Error {
    let kind = match error {
        sqlx::Error::Database(_) | sqlx::Error::Decode(_) | sqlx::Error::RowNotFound => ErrorKind::Database,
        _ => ErrorKind::StoreUnavailable,
    };
    Error::new(kind, "the database does not answer the doctor").with_source(error)
}
