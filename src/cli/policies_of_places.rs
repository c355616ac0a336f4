//! `tenancy policies --all-places`: the row-level security of the shared tables and of every place of a tenant.

use std::fmt::Write as _;
use std::process::ExitCode;

use crate::isolation::{PolicyPlan, RlsPolicies, doctor};
use crate::tenant::Placement;
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection};

use super::output::show;
use super::place;

/// After how many schemas a new connection is opened: PostgreSQL keeps what it knows about each.
const VISITS: usize = 100;

/// What is done with the differences.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Output {
    Sql,
    Check,
    Apply,
}

/// What was found in the places so far.
#[derive(Default)]
struct Sum {
    places: usize,
    tables: usize,
    changes: usize,
    unguarded: usize,
    /// The places that differ from the plan, or where nothing was compared.
    differing: usize,
    failed: usize,
}

pub(crate) async fn run(
    url: &str,
    policies: &RlsPolicies<'_>,
    with_role: bool,
    output: Output,
) -> Result<ExitCode, String> {
    let mut conn = place::connect(url, &Placement::Shared).await?;
    let (places, others) =
        doctor::list_places(&mut conn).await.map_err(|e| format!("the places cannot be listed: {e}"))?;
    if !others.is_empty() {
        #[expect(clippy::print_stderr, reason = "a note beside the output of the program")]
        {
            eprintln!("tenancy: left out, because another role owns them: {}", others.join(", "));
        }
    }
    let mut sum = Sum::default();
    let alone = places.is_empty();
    for (visits, placement) in [Placement::Shared].into_iter().chain(places).enumerate() {
        if visits % VISITS == VISITS - 1 {
            let _ = conn.close().await;
            conn = place::connect(url, &Placement::Shared).await?;
        }
        let plan = if let Placement::Database { .. } = placement {
            in_database(url, policies, with_role, output, &placement).await
        } else {
            in_place(&mut conn, policies, with_role, output, &placement).await
        };
        match plan {
            Ok(plan) => sum.add(&placement, &plan, output, alone)?,
            Err(error) => {
                sum.failed += 1;
                #[expect(clippy::print_stderr, reason = "the error output of the program")]
                {
                    eprintln!("tenancy: {placement}: {error}");
                }
            }
        }
    }
    // All results are read, so an error while closing does not matter.
    let _ = conn.close().await;
    sum.finish(output)
}

/// A connection in one place, and the policies of that place.
pub(crate) async fn enter<'a>(
    url: &str,
    policies: &RlsPolicies<'a>,
    with_role: bool,
    placement: &Placement,
) -> Result<(PgConnection, RlsPolicies<'a>), String> {
    let mut conn = place::connect(url, placement).await?;
    let policies = set_place(&mut conn, policies, with_role, placement).await?;
    Ok((conn, policies))
}

async fn in_database(
    url: &str,
    policies: &RlsPolicies<'_>,
    with_role: bool,
    output: Output,
    placement: &Placement,
) -> Result<PolicyPlan, String> {
    let mut conn = place::connect(url, placement).await?;
    let plan = in_place(&mut conn, policies, with_role, output, placement).await;
    let _ = conn.close().await;
    plan
}

async fn in_place(
    conn: &mut PgConnection,
    policies: &RlsPolicies<'_>,
    with_role: bool,
    output: Output,
    placement: &Placement,
) -> Result<PolicyPlan, String> {
    let policies = set_place(conn, policies, with_role, placement).await?;
    let plan = if output == Output::Apply { policies.apply(conn).await } else { policies.plan(conn).await };
    plan.map_err(|e| e.to_string())
}

/// Sets the search path to the place. A place with a role of its own is compared with that role.
async fn set_place<'a>(
    conn: &mut PgConnection,
    policies: &RlsPolicies<'a>,
    with_role: bool,
    placement: &Placement,
) -> Result<RlsPolicies<'a>, String> {
    let policies = policies.clone().search_path_only();
    let (name, path) = match placement {
        Placement::Schema { name } => (name, format!("SET search_path = \"{name}\"")),
        Placement::Database { name } => (name, "RESET search_path".to_owned()),
        _ => {
            run_sql(conn, "RESET search_path".to_owned()).await?;
            return Ok(policies);
        }
    };
    run_sql(conn, path).await?;
    let sql = "SELECT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = $1), \
               pg_catalog.cardinality(pg_catalog.current_schemas(false)) > 0";
    let (role, usable): (bool, bool) = sqlx::query_as(sql)
        .bind(name.as_str())
        .fetch_one(conn)
        .await
        .map_err(|e| format!("the place cannot be read: {e}"))?;
    if !usable {
        return Err(format!("the schema `{name}` does not exist, or this role may not use it"));
    }
    Ok(if role && with_role { policies.runtime_role(name.as_str()) } else { policies })
}

async fn run_sql(conn: &mut PgConnection, sql: String) -> Result<(), String> {
    let done = sqlx::raw_sql(AssertSqlSafe(sql)).execute(conn).await;
    done.map(|_| ()).map_err(|e| format!("the place cannot be used: {e}"))
}

impl Sum {
    /// Shows the differences of a place at once: there can be thousands of places.
    fn add(
        &mut self,
        placement: &Placement,
        plan: &PolicyPlan,
        output: Output,
        alone: bool,
    ) -> Result<(), String> {
        // Where every tenant has a place of its own, there are no shared tables.
        let nothing = plan.tables() == 0 && (alone || *placement != Placement::Shared);
        self.places += 1;
        self.tables += plan.tables();
        self.changes += plan.changes().len();
        self.unguarded += plan.unguarded().len();
        self.differing += usize::from(nothing || !plan.is_empty() || !plan.unguarded().is_empty());
        if output == Output::Sql {
            // In any other program than psql this line is an error, and no statement runs in the wrong database.
            let connect = match placement {
                Placement::Database { name } => format!("\\connect \"{name}\"\n"),
                _ => String::new(),
            };
            return show(&format!("-- {placement}\n{connect}{}\n", plan.sql()));
        }
        let mut text = String::new();
        for step in plan.changes().iter().chain(plan.unguarded()) {
            // Writing to a String cannot fail. Names can contain any character, so they are escaped.
            let _ = writeln!(
                text,
                "{placement}: {}: {}",
                step.object().escape_debug(),
                step.reason().escape_debug()
            );
        }
        if nothing {
            let _ = writeln!(text, "{placement}: nothing was compared: no table has a tenant column");
        }
        show(&text)
    }

    fn finish(self, output: Output) -> Result<ExitCode, String> {
        let Self { places, tables, changes, unguarded, differing, failed } = self;
        let count = |n: usize, word: &str| format!("{n} {word}{}", if n == 1 { "" } else { "s" });
        let compared = format!("{} in {} compared", count(tables, "table"), count(places, "place"));
        if output != Output::Sql {
            let what = if output == Output::Apply { "done" } else { "missing" };
            let mut text = if differing == 0 {
                format!("the policies are as planned: {compared}\n")
            } else {
                let differing = count(differing, "place");
                format!("{changes} {what}, {unguarded} without a policy, in {differing}; {compared}\n")
            };
            if failed > 0 {
                let _ = writeln!(text, "{} failed", count(failed, "place"));
            }
            show(&text)?;
        }
        Ok(match (failed, differing) {
            (1.., _) => ExitCode::from(2),
            (_, 1..) if output == Output::Check => ExitCode::from(1),
            _ => ExitCode::SUCCESS,
        })
    }
}
