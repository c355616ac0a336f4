//! The command line of the `tenancy` crate: `cargo install tenancy --features cli`, then `tenancy help`.

mod check;
mod config;
mod doctor;
mod policies;
mod snapshot;
mod source;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};
use tenancy_sql::Dialect;

/// Multi-tenancy for Rust SaaS: find out what your SQL and your database do, and keep it within one tenant.
#[derive(Parser)]
#[command(name = "tenancy", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Work on SQL.
    #[command(subcommand)]
    Sql(Sql),
    /// Examine a live PostgreSQL: whether it would keep tenants apart if a query did not.
    ///
    /// Connect as the application does. Asks the catalogue for all that opens row-level security, and lets two tenants
    /// that do not exist try to reach each other's rows; all of it is undone. Also looks for the version of sqlx in the
    /// nearest Cargo.lock. Exits with 1 if something is found that fails, and with 2 if the database does not answer.
    Doctor {
        /// The database, `postgres://…`, in place of `DATABASE_URL`.
        #[arg(long)]
        url: Option<String>,
        /// The `tenancy.toml`, in place of the one in this directory.
        #[arg(long)]
        config: Option<PathBuf>,
        /// How to say it: to people, or as JSON or SARIF to programs.
        #[arg(long, value_enum, default_value = "text")]
        format: doctor::Format,
        /// A check whose findings are known, and left out; docs/reference/doctor-checks.md lists them.
        #[arg(long, value_name = "CHECK")]
        accept: Vec<String>,
    },
    /// Write the row-level security of a PostgreSQL database, or see that it is there.
    ///
    /// Prints what the database lacks as SQL for migrations of your own, by `tenancy.toml` and what the database says
    /// of its tables: policies, views with the rights of their reader, the rights of the application's role; and, as
    /// comments, keys that lack the tenant and indexes that policies take out of use. Nothing is written to the
    /// database without `--apply`. Exits with 1 if `--check` finds anything, and with 2 if something could not be read
    /// or done.
    Policies(policies::Options),
}

#[derive(Subcommand)]
enum Sql {
    /// Show what each query of a code base becomes on a tenant's scope, or why it is rejected.
    ///
    /// Reads Rust files, and the directories that hold them: `sqlx::query*`, macros and functions, `QueryBuilder`,
    /// `raw_sql`, and the macros of this crate. A `.sql` file is read if it is named, or if a `query_file!` names it.
    /// Exits with 1 if a query is rejected, and with 2 if something could not be read.
    Check {
        /// Files and directories.
        #[arg(required = true)]
        paths: Vec<PathBuf>,
        /// The `tenancy.toml` to use, in place of the nearest one above each file.
        #[arg(long)]
        config: Option<PathBuf>,
        /// A database that the queries are written for, in place of those of `tenancy.toml`.
        #[arg(long, value_enum)]
        dialect: Vec<Database>,
        /// Show only what is rejected or could not be read.
        #[arg(long, short)]
        quiet: bool,
    },
    /// Write down what a live database says of its tables, for `snapshot` in `tenancy.toml`.
    ///
    /// Which tables have the tenant column and of which type, which have none, which tables each view reads, and
    /// which are partitions. A view that calls functions of yours could read anything, and is left out: say under
    /// `views` in `tenancy.toml` what it reads. Nothing is written to the database.
    Snapshot {
        /// The database, `postgres://…` or `sqlite:…`, in place of `DATABASE_URL`.
        #[arg(long)]
        url: Option<String>,
        /// The `tenancy.toml`, in place of the one in this directory; the snapshot is written beside it.
        #[arg(long)]
        config: Option<PathBuf>,
        /// Write nothing, and exit with 1 if the file is not what the database says.
        #[arg(long)]
        check: bool,
    },
}

#[derive(Clone, Copy, ValueEnum)]
enum Database {
    Postgres,
    Sqlite,
    Mysql,
}

impl From<Database> for Dialect {
    fn from(database: Database) -> Self {
        match database {
            Database::Postgres => Self::Postgres,
            Database::Sqlite => Self::Sqlite,
            Database::Mysql => Self::MySql,
        }
    }
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Policies(options) => policies::run(options),
        Command::Sql(Sql::Check { paths, config, dialect, quiet }) => {
            let dialects = dialect.into_iter().map(Dialect::from).collect();
            check::run(&paths, config::Configs::new(config, dialects), quiet)
        }
        Command::Sql(Sql::Snapshot { url, config, check }) => snapshot::run(url, config, check),
        Command::Doctor { url, config, format, accept } => doctor::run(url, config, format, &accept),
    };
    done.unwrap_or_else(|error| {
        #[expect(clippy::print_stderr, reason = "the program's own words")]
        {
            eprintln!("tenancy: {error}");
        }
        ExitCode::from(2)
    })
}
