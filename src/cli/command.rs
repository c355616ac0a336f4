//! The commands and their options, and what runs them.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use tenancy_sql::Dialect;

use super::embedded::Embedded;
use super::{
    audit, check, completions, config, doctor, migrate, place, plans, policies, recount, snapshot, stripe,
    tenants_command, usage,
};

/// Multi-tenancy for Rust SaaS: check that your SQL and your database isolate tenants.
#[derive(Parser)]
#[command(name = "tenancy", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Check SQL, and write a snapshot of the database for it.
    #[command(subcommand)]
    Sql(SqlCommand),
    /// Check whether a live PostgreSQL database isolates tenants, even if a query does not.
    ///
    /// Connect as the application does. Queries the catalogue for everything that bypasses row-level security, and
    /// tries to read and write rows as two tenants that do not exist; all of it is rolled back. Also checks the
    /// version of sqlx in the nearest Cargo.lock. Exits with 1 if a check fails, and with 2 if the database cannot be
    /// reached.
    Doctor {
        /// The database, `postgres://…`, instead of `DATABASE_URL`.
        #[arg(long)]
        url: Option<String>,
        #[command(flatten)]
        place: place::Options,
        /// Also check what Citus would not distribute, before you distribute the tables.
        #[arg(long, conflicts_with = "places")]
        citus: bool,
        /// The `tenancy.toml`, instead of the one in this directory.
        #[arg(long)]
        config: Option<PathBuf>,
        /// The format of the report: text, or JSON or SARIF for other programs.
        #[arg(long, value_enum, default_value = "text")]
        format: doctor::Format,
        /// A check whose findings are accepted and left out; docs/reference/doctor-checks.md lists the checks.
        #[arg(long, value_name = "CHECK")]
        accept: Vec<String>,
    },
    /// Generate, apply or check the row-level security of a PostgreSQL database.
    ///
    /// Prints the missing parts as SQL for your own migrations, from `tenancy.toml` and the catalogue of the
    /// database: policies, views with the rights of their reader, and the rights of the application's role. Keys that
    /// lack the tenant, and indexes that policies make useless, are printed as comments. Nothing is written to the
    /// database without `--apply`. Exits with 1 if `--check` finds anything, and with 2 if an operation failed.
    Policies(policies::Options),
    /// Run the application's migrations in the shared tables and in the place of every tenant, or compare them.
    #[command(subcommand)]
    Migrate(migrate::MigrateCommand),
    /// List, add, suspend, resume or rename tenants; export, import, delete or move their data.
    ///
    /// Each change is written to the audit log of the tenant, with the actor `tenancy tenants`. Exits with 2 if the tenant
    /// does not exist, or if the change is not possible.
    #[command(subcommand)]
    Tenants(tenants_command::TenantsCommand),
    /// Compare plan catalogs.
    #[command(subcommand)]
    Plans(plans::PlansCommand),
    /// Compare a gauge with the rows of each tenant, or set it to their number.
    ///
    /// Counts the rows of `--table` for each tenant, in the shared tables, in schemas and in databases of tenants, and
    /// prints the stored count, the counted rows and their difference. Tenants of every status are counted, except for
    /// those whose provisioning is not finished. Connect as the application does: row-level security is on. Nothing is
    /// written without `--apply`, which writes an audit event for each change. Exits with 1 if a gauge differs and was
    /// not set, and with 2 if a tenant could not be compared.
    Recount(recount::Options),
    /// Show what each tenant uses: gauges and quotas beside their limits, and metered usage that is not sent yet.
    ///
    /// Gauges and metered usage are read in the place of each tenant, quotas from the database with the list of tenants; those
    /// that the application counts in Redis or in memory are not seen. Tenants of every status are shown, except for those
    /// whose provisioning is not finished. Nothing is written. Exits with 2 if a tenant could not be read.
    Usage(usage::Options),
    /// Show or export audit events.
    #[command(subcommand)]
    Audit(audit::AuditCommand),
    /// Work with the events of Stripe that could not be applied, or compare everything with Stripe.
    #[command(subcommand)]
    Stripe(stripe::StripeCommand),
    /// Print the script that completes the commands and options in a shell.
    ///
    /// For bash: `tenancy completions bash > ~/.local/share/bash-completion/completions/tenancy`.
    Completions {
        /// The shell.
        shell: Shell,
    },
    /// Print the manual page, or write one page for each command into a directory.
    Man {
        /// The directory, which is created, such as `~/.local/share/man/man1`.
        #[arg(value_name = "DIR")]
        directory: Option<PathBuf>,
    },
}

#[derive(Subcommand)]
enum SqlCommand {
    /// Show the rewritten text of each query of a code base, or why it is rejected.
    ///
    /// Reads Rust files and directories of them: the macros and functions `sqlx::query*`, `QueryBuilder`, `raw_sql`,
    /// and the macros of this crate. Reads a `.sql` file if it is an argument, or if a `query_file!` names it. Exits
    /// with 1 if a query is rejected, and with 2 if something could not be read.
    Check {
        /// Files and directories.
        #[arg(required = true)]
        paths: Vec<PathBuf>,
        /// The `tenancy.toml`, instead of the nearest one above each file.
        #[arg(long)]
        config: Option<PathBuf>,
        /// A database that the queries run on, instead of those of `tenancy.toml`.
        #[arg(long, value_enum)]
        dialect: Vec<Database>,
        /// Show only rejected queries, and files that could not be read.
        #[arg(long, short)]
        quiet: bool,
    },
    /// Write a snapshot of the tables of a live database, for `snapshot` in `tenancy.toml`.
    ///
    /// The snapshot lists the tables with the tenant column and its type, the tables without it, the tables that each
    /// view reads, and partitions. A view that calls user-defined functions could read any table and is left out:
    /// declare its tables under `views` in `tenancy.toml`. Nothing is written to the database.
    Snapshot {
        /// The database, `postgres://…` or `sqlite:…`, instead of `DATABASE_URL`.
        #[arg(long)]
        url: Option<String>,
        /// The `tenancy.toml`, instead of the one in this directory; the snapshot is written beside it.
        #[arg(long)]
        config: Option<PathBuf>,
        /// Write nothing, and exit with 1 if the file does not match the database.
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

/// Runs the command of these arguments, the first of which is the name of the program.
pub(crate) fn run(arguments: &[OsString], embedded: Embedded) -> ExitCode {
    let parsed = parser(&embedded).try_get_matches_from(arguments);
    let cli = match parsed.and_then(|matches| Cli::from_arg_matches(&matches)) {
        Ok(cli) => cli,
        Err(error) if error.use_stderr() => {
            let arguments = arguments.iter().map(|argument| argument.to_string_lossy().into_owned());
            #[expect(clippy::print_stderr, reason = "the error output of the program")]
            {
                eprint!("{}", without_urls(&error.to_string(), arguments));
            }
            return ExitCode::from(2);
        }
        // The reader of the help can close the pipe.
        Err(help) => {
            let _ = help.print();
            return ExitCode::SUCCESS;
        }
    };
    let result = match cli.command {
        Command::Policies(options) => policies::run(options, &embedded),
        Command::Migrate(command) => migrate::run(&command, embedded),
        Command::Tenants(command) => tenants_command::run(&command, embedded),
        Command::Plans(command) => plans::run(&command),
        Command::Recount(options) => recount::run(&options, &embedded),
        Command::Usage(options) => usage::run(&options, &embedded),
        Command::Audit(command) => audit::run(&command, &embedded),
        Command::Stripe(command) => stripe::run(&command, embedded),
        Command::Completions { shell } => {
            let program = completions::program(arguments.first());
            completions::completions(shell, parser(&embedded), &program)
        }
        Command::Man { directory } => {
            let program = completions::program(arguments.first());
            completions::man(directory.as_deref(), parser(&embedded), program)
        }
        Command::Sql(SqlCommand::Check { paths, config, dialect, quiet }) => {
            let dialects = dialect.into_iter().map(Dialect::from).collect();
            check::run(&paths, config::Configs::new(config, embedded.schema, dialects), quiet)
        }
        Command::Sql(SqlCommand::Snapshot { url, config, check }) => {
            snapshot::run(url, config, check, &embedded)
        }
        Command::Doctor { url, place, citus, config, format, accept } => {
            doctor::run(url, place, citus, config.as_deref(), format, &accept, &embedded)
        }
    };
    result.unwrap_or_else(|error| {
        #[expect(clippy::print_stderr, reason = "the error output of the program")]
        {
            eprintln!("tenancy: {error}");
        }
        ExitCode::from(2)
    })
}

/// The commands that always need `--migrations`.
const MIGRATIONS: [&[&str]; 4] =
    [&["migrate", "run"], &["migrate", "status"], &["tenants", "import"], &["tenants", "restore"]];
/// The commands with `--catalog`.
const CATALOGS: [&[&str]; 6] = [
    &["recount"],
    &["usage"],
    &["tenants", "create"],
    &["tenants", "import"],
    &["stripe", "quarantine", "replay"],
    &["stripe", "reconcile"],
];

/// The parser in which an option of the command with this path is required.
fn with_required(parser: clap::Command, path: &[&'static str], option: &'static str) -> clap::Command {
    match path {
        [] => parser.mut_arg(option, |arg| arg.required(true)),
        [first, rest @ ..] => parser.mut_subcommand(first, |command| with_required(command, rest, option)),
    }
}

/// The commands. An option is required if the program does not contain what it names.
fn parser(embedded: &Embedded) -> clap::Command {
    let mut parser = Cli::command();
    if embedded.migrations.is_none() {
        for path in MIGRATIONS {
            parser = with_required(parser, path, "migrations");
        }
    }
    if embedded.catalog.is_none() {
        for path in CATALOGS {
            parser = with_required(parser, path, "catalog");
        }
    }
    let contents = embedded.contents();
    if contents.is_empty() {
        return parser;
    }
    parser.after_help(format!("This program contains {contents}. An option that names a file replaces it."))
}

/// The error of the parser without the URLs in the arguments, which can contain a password.
fn without_urls(error: &str, arguments: impl Iterator<Item = String>) -> String {
    let mut text = error.to_owned();
    for argument in arguments {
        if let Some(scheme) = argument.find("://") {
            let is_part = |c: char| c.is_ascii_alphanumeric() || c == '+';
            let start = argument[..scheme].rfind(|c| !is_part(c)).map_or(0, |at| at + 1);
            text = text.replace(&argument[start..], "(a URL)");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use sqlx::migrate::Migrator;
    use tenancy_sql::Schema;

    use super::super::hooks::Hooks;
    use super::*;
    use crate::plan::Catalog;

    fn parse(embedded: &Embedded, arguments: &str) -> Result<clap::ArgMatches, String> {
        let arguments = ["shop"].into_iter().chain(arguments.split(' '));
        parser(embedded).try_get_matches_from(arguments).map_err(|e| e.to_string())
    }

    #[test]
    fn what_a_program_contains_is_not_required() {
        let catalog = Catalog::from_toml("version = 1\n[plans.free]").unwrap();
        let full = Embedded {
            migrations: Some(Migrator::with_migrations(Vec::new())),
            catalog: Some(Arc::new(catalog)),
            schema: Some(Schema::new("tenant_id").unwrap()),
            stripe_webhook: None,
            hooks: Hooks::default(),
        };
        for (arguments, option) in [
            ("migrate run", "--migrations"),
            ("migrate status", "--migrations"),
            ("recount --feature projects --table projects", "--catalog"),
            ("usage", "--catalog"),
            ("tenants create acme --plan free", "--catalog"),
            ("tenants import acme.tar --slug acme --plan free --migrations here", "--catalog"),
            ("tenants import acme.tar --slug acme --plan free --catalog here", "--migrations"),
            ("tenants restore acme acme.tar --dry-run", "--migrations"),
            ("stripe quarantine replay evt_1", "--catalog"),
            ("stripe reconcile", "--catalog"),
        ] {
            let error = parse(&Embedded::default(), arguments).unwrap_err();
            assert!(error.contains("required arguments") && error.contains(option), "{arguments}: {error}");
            let with_option = format!("{arguments} {option} given");
            assert!(parse(&Embedded::default(), &with_option).is_ok(), "{with_option}");
            assert!(parse(&full, arguments).is_ok(), "{arguments}");
            assert!(parse(&full, &with_option).is_ok(), "an option still wins: {with_option}");
        }
        let help = parse(&full, "--help").unwrap_err();
        assert!(help.contains("Usage: shop <COMMAND>"), "{help}");
        let contents = "its migrations (`--migrations`), its plan catalog (`--catalog`) and the";
        assert!(help.replace('\n', " ").contains(contents), "{help}");
        assert!(!parse(&Embedded::default(), "--help").unwrap_err().contains("contains"));
    }

    #[test]
    fn the_commands_are_declared_consistently() {
        Cli::command().debug_assert();
    }
}
