//! [`examine_places`]: examines the shared tables and the places of tenants, as the application uses them.

use std::collections::BTreeMap;

use serde::Deserialize;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection};
use tenancy_sql::Schema;

use super::catalog::{self, Common, Part, TenantSchema};
use super::check::Check;
use super::examination::{examine_error, examined};
use super::place_probe::{self, Origin};
use super::place_role;
use super::report::{Finding, Report};
use super::server::unexamined;
use crate::error::{Error, ErrorKind, Result};
use crate::isolation::catalog::search_path;
use crate::isolation::identifier::literal;
use crate::tenant::{Placement, PlacementName};

/// After how many schemas a new connection is opened: PostgreSQL keeps what it knows about each.
const VISITS: usize = 100;

/// Examines the shared tables, every schema of a tenant in this database, and every database of a tenant on its
/// server that has the same owner as this one. Others belong to other applications; a note names them.
///
/// The options are those of the application: its own role, connected directly to the database of the shared tables. A
/// place is a schema or a database whose name is made by [`PlacementName::of`]. If the role may choose a role with that
/// name, it does, as with [`role_per_tenant`](crate::scope::TenantDbBuilder::role_per_tenant).
///
/// Each finding names its [`placement`](Finding::placement). Beyond [`examine`](super::examine), two tenants that do not
/// exist try to reach each other's rows from one schema into the next. A place that cannot be examined is the finding
/// [`Check::Unexamined`]. The places are examined one after the other, through one connection at a time.
///
/// ```no_run
/// use sqlx::postgres::PgConnectOptions;
/// use tenancy::isolation::doctor;
/// use tenancy::scope::Schema;
///
/// # async fn places_are_isolated(url: &str) -> Result<(), Box<dyn std::error::Error>> {
/// let app: PgConnectOptions = url.parse()?;
/// let schema = Schema::from_toml(&std::fs::read_to_string("tenancy.toml")?)?;
/// let report = doctor::examine_places(&app, &schema).await?;
/// report.assert_clean();
/// assert!(report.places() > 1, "no tenant has a place of its own");
/// # Ok(()) }
/// ```
///
/// # Errors
/// As [`examine`](super::examine), for the database of the shared tables.
pub async fn examine_places(options: &PgConnectOptions, schema: &Schema) -> Result<Report> {
    let mut conn = connect(options, &Placement::Shared).await?;
    let (mut shared, catalog) = examined(&mut conn, schema, Part::WithoutPlaces).await?;
    let schemas = Found::read(&mut conn, SCHEMAS).await?;
    let databases = Found::read(&mut conn, DATABASES).await?;
    let others = of_others(&mut conn).await?;
    if !others.is_empty() {
        let names: Vec<_> = others.iter().map(|name| format!("`{name}`")).collect();
        let note =
            format!("not examined, because another role owns them: the databases {}", names.join(", "));
        shared.notes.push(note);
    }
    if let Some(first) = schemas.first() {
        let from = first.origin();
        place_probe::run(&mut conn, &catalog, schema, from, &mut shared).await.map_err(examine_error)?;
    }
    let common = catalog.common();
    drop(catalog);
    let mut all = Merged::new(shared.within(&Placement::Shared));
    for (at, found) in schemas.iter().enumerate() {
        if at % VISITS == VISITS - 1 {
            let _ = conn.close().await;
            conn = connect(options, &Placement::Shared).await?;
        }
        // Each schema is probed from the next one, and the last one from the shared tables.
        let from = schemas.get(at + 1).map_or(Origin::Shared, Found::origin);
        let report = in_schema(&mut conn, schema, found, Some(&common), from).await;
        all.add(&Placement::Schema { name: found.name.clone() }, report)?;
    }
    let _ = conn.close().await;
    for Found { name, .. } in databases {
        let placement = Placement::Database { name };
        let report = examine_place(options, schema, &placement).await;
        all.add(&placement, report)?;
    }
    Ok(all.finish())
}

/// Examines one place, as the application uses it: the shared tables, the schema of a tenant, or the database of a
/// tenant on the server of these options.
///
/// If the role may choose a role with the name of the place, it does, as in [`examine_places`].
///
/// # Errors
/// [`ErrorKind::PlacementMissing`] if the place does not exist, or if the role may not use it; else as
/// [`examine`](super::examine).
pub async fn examine_place(
    options: &PgConnectOptions,
    schema: &Schema,
    placement: &Placement,
) -> Result<Report> {
    let mut conn = connect(options, placement).await?;
    let report = match placement {
        Placement::Shared => examined(&mut conn, schema, Part::WithoutPlaces).await?.0,
        Placement::Schema { name } => {
            let found = Found::named(&mut conn, name).await?;
            in_schema(&mut conn, schema, &found, None, Origin::Shared).await?
        }
        Placement::Database { name } => {
            let found = Found::named(&mut conn, name).await?;
            if found.role {
                run(&mut conn, format!("SET ROLE \"{name}\"")).await?;
            }
            let (mut report, catalog) = examined(&mut conn, schema, Part::Everything).await?;
            if found.role {
                place_role::run(&mut conn, &catalog, schema, placement, &mut report.findings)
                    .await
                    .map_err(examine_error)?;
            }
            report
        }
    };
    let _ = conn.close().await;
    let mut report = report.within(placement);
    report.sort();
    Ok(report)
}

/// The places of tenants, and the databases with the name of one that another role owns: for the command line.
///
/// # Errors
/// As [`examine`](super::examine).
#[doc(hidden)]
pub async fn list_places(conn: &mut PgConnection) -> Result<(Vec<Placement>, Vec<String>)> {
    let schemas = Found::read(conn, SCHEMAS).await?.into_iter();
    let databases = Found::read(conn, DATABASES).await?.into_iter();
    let places = schemas
        .map(|found| Placement::Schema { name: found.name })
        .chain(databases.map(|found| Placement::Database { name: found.name }));
    Ok((places.collect(), of_others(conn).await?))
}

async fn of_others(conn: &mut PgConnection) -> Result<Vec<String>> {
    let names: Vec<Name> = catalog::rows(conn, OF_OTHERS).await.map_err(examine_error)?;
    Ok(names.into_iter().map(|one| one.name).collect())
}

const SCHEMAS: &str = "SELECT n.nspname, n.oid IN (SELECT pronamespace FROM pg_proc) FROM pg_namespace n \
    WHERE n.nspname ~ '^t_[0-9a-f]{32}$'";
const DATABASES: &str = "SELECT datname, true FROM pg_database \
    WHERE datname ~ '^t_[0-9a-f]{32}$' AND datname <> current_database() \
        AND datdba = (SELECT datdba FROM pg_database WHERE datname = current_database())";

/// Databases with the name of a tenant's place that another role owns.
const OF_OTHERS: &str = "SELECT datname AS name FROM pg_database \
    WHERE datname ~ '^t_[0-9a-f]{32}$' AND datdba <> (SELECT datdba FROM pg_database WHERE datname = current_database()) \
    ORDER BY 1";

#[derive(Deserialize)]
struct Name {
    name: String,
}

/// A schema or a database of a tenant.
#[derive(Deserialize)]
struct Found {
    name: PlacementName,
    /// Policies bind the application's role, and it may choose the role with the name of the place.
    role: bool,
    /// The schema has functions.
    functions: bool,
}

impl Found {
    async fn read(conn: &mut PgConnection, names: &str) -> Result<Vec<Self>> {
        let sql = include_str!("catalog/places.sql").replace("{NAMES}", names);
        catalog::rows(conn, &sql).await.map_err(examine_error)
    }

    fn origin(&self) -> Origin<'_> {
        Origin::Schema(&self.name, self.role)
    }

    /// The place of this name, whether it exists or not.
    async fn named(conn: &mut PgConnection, name: &PlacementName) -> Result<Self> {
        let found = Self::read(conn, &format!("SELECT {}::name, true", literal(name.as_str()))).await?;
        found.into_iter().next().ok_or_else(|| examine_error(sqlx::Error::RowNotFound))
    }
}

/// Examines a schema, and leaves the connection as it was. With `common`, only the schema.
async fn in_schema(
    conn: &mut PgConnection,
    schema: &Schema,
    found: &Found,
    common: Option<&Common>,
    from: Origin<'_>,
) -> Result<Report> {
    let Found { name, role, functions } = found;
    let choose = if *role { format!("SET ROLE \"{name}\"; ") } else { String::new() };
    run(conn, format!("RESET ROLE; {choose}SET search_path = \"{name}\", pg_temp")).await?;
    let usable = search_path(conn).await.map_err(examine_error)?.contains(&name.to_string());
    let report = if usable {
        let part = common.map_or(Part::SearchPath, |common| {
            Part::Place(TenantSchema { common, functions: *functions, role: *role })
        });
        let (mut report, catalog) = examined(conn, schema, part).await?;
        if *role {
            let placement = Placement::Schema { name: name.clone() };
            place_role::run(conn, &catalog, schema, &placement, &mut report.findings)
                .await
                .map_err(examine_error)?;
        }
        place_probe::run(conn, &catalog, schema, from, &mut report).await.map_err(examine_error)?;
        Ok(report)
    } else {
        Err(Error::new(
            ErrorKind::PlacementMissing,
            format!("the schema `{name}` does not exist, or this role may not use it"),
        ))
    };
    run(conn, "RESET ROLE; RESET search_path".to_owned()).await?;
    report
}

/// The reports on several places as one.
struct Merged {
    report: Report,
    /// The places with a note: the first, and how many more.
    notes: BTreeMap<String, (Placement, usize)>,
}

impl Merged {
    fn new(mut shared: Report) -> Self {
        let notes = std::mem::take(&mut shared.notes);
        let notes = notes.into_iter().map(|note| (note, (Placement::Shared, 0))).collect();
        Self { report: shared, notes }
    }

    /// Adds the report on a place, or a finding if there is none.
    fn add(&mut self, placement: &Placement, report: Result<Report>) -> Result<()> {
        /// Findings about the server, which every one of its databases has.
        const OF_SERVER: [Check; 4] =
            [Check::ExemptRole, Check::PredefinedRole, Check::PlaceRole, Check::ServerVersion];
        let report = match report {
            Ok(report) => report.within(placement),
            // The connection broke; the place is not at fault.
            Err(error)
                if error.kind() == ErrorKind::StoreUnavailable
                    && matches!(placement, Placement::Schema { .. }) =>
            {
                return Err(error);
            }
            Err(error) => {
                let why =
                    error.cause().map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"));
                let name = match placement {
                    Placement::Schema { name } | Placement::Database { name } => name.as_str(),
                    Placement::Shared => "shared tables",
                };
                self.report.findings.push(unexamined(name, &why).within(placement));
                return Ok(());
            }
        };
        self.report.places += 1;
        self.report.tables += report.tables;
        self.report.proven += report.proven;
        let known = |one: &Finding| {
            OF_SERVER.contains(&one.check())
                && self.report.findings.iter().any(|other| {
                    (other.check(), other.object(), other.detail(), other.fix())
                        == (one.check(), one.object(), one.detail(), one.fix())
                })
        };
        let new: Vec<Finding> = report.findings.into_iter().filter(|one| !known(one)).collect();
        self.report.findings.extend(new);
        for note in report.notes {
            self.notes
                .entry(note)
                .and_modify(|(_, more)| *more += 1)
                .or_insert_with(|| (placement.clone(), 0));
        }
        Ok(())
    }

    fn finish(self) -> Report {
        let Self { mut report, notes } = self;
        report.notes = notes
            .into_iter()
            .map(|(note, (first, more))| match more {
                0 => format!("{first}: {note}"),
                more => format!("{first} and {more} more: {note}"),
            })
            .collect();
        report.sort();
        report
    }
}

async fn connect(options: &PgConnectOptions, placement: &Placement) -> Result<PgConnection> {
    // The statements are long, and on a large database slow.
    let options = options.clone().disable_statement_logging();
    let connected = match placement {
        Placement::Database { name } => options.database(name.as_str()).connect().await,
        _ => options.connect().await,
    };
    connected.map_err(|error| {
        let missing = matches!(&error, sqlx::Error::Database(e) if e.code().as_deref() == Some("3D000"));
        let (kind, text) = match placement {
            Placement::Database { name } if missing => {
                (ErrorKind::PlacementMissing, format!("the database `{name}` does not exist"))
            }
            Placement::Database { name } => {
                (ErrorKind::StoreUnavailable, format!("the database `{name}` cannot be reached"))
            }
            _ => (ErrorKind::StoreUnavailable, "the database cannot be reached".to_owned()),
        };
        Error::new(kind, text).with_source(error)
    })
}

async fn run(conn: &mut PgConnection, sql: String) -> Result<()> {
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(conn).await.map(|_| ()).map_err(examine_error)
}
