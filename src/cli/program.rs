//! [`Program`]: the commands, with the migrations, plan catalog and tables of an application.

use std::ffi::OsString;
use std::process::ExitCode;
use std::sync::Arc;

use sqlx::migrate::Migrator;
use sqlx::{Postgres, Sqlite};
use tenancy_sql::Schema;

use super::command;
use super::embedded::Embedded;
use crate::billing::stripe::StripeWebhook;
use crate::operations::DeletionHook;
use crate::plan::Catalog;

/// The stack of the thread that replaces the main thread: as large as that of a program.
const STACK: usize = 8 << 20;

/// The commands of `tenancy`, as the `main` of a program of yours.
///
/// What the program contains is the default, and an option that names a file replaces it: `--migrations`, `--catalog`
/// and `--config` are not required.
///
/// ```
/// use std::process::ExitCode;
/// use tenancy::{cli::Program, plan::Catalog};
///
/// let catalog = Catalog::from_toml("version = 1\n[plans.free]")?;
/// let code = Program::new().catalog(catalog).run_from(["shop", "tenants", "--help"]);
/// assert_eq!(code, ExitCode::SUCCESS);
/// # Ok::<(), tenancy::Error>(())
/// ```
#[derive(Debug, Default)]
#[must_use = "a program does nothing until it is run"]
pub struct Program {
    embedded: Embedded,
}

impl Program {
    /// The program `tenancy`, which contains nothing of an application.
    pub fn new() -> Self {
        Self::default()
    }

    /// The migrations of the application, `sqlx::migrate!("./migrations")`, instead of `--migrations`.
    pub fn migrations(mut self, migrations: Migrator) -> Self {
        self.embedded.migrations = Some(migrations);
        self
    }

    /// The plans, instead of `--catalog`.
    pub fn catalog(mut self, catalog: impl Into<Arc<Catalog>>) -> Self {
        self.embedded.catalog = Some(catalog.into());
        self
    }

    /// The tables, as for [`TenantDb`](crate::TenantDb), instead of `tenancy.toml` and `--config`.
    pub fn schema(mut self, schema: Schema) -> Self {
        self.embedded.schema = Some(schema);
        self
    }

    /// The settings of the application's endpoint for Stripe's events, for `tenancy stripe`.
    ///
    /// A replayed event is then applied as the application applies it. The mode is an option of the command.
    ///
    /// ```
    /// use tenancy::billing::BillingPolicy;
    /// use tenancy::billing::stripe::StripeWebhook;
    /// use tenancy::cli::Program;
    ///
    /// /// For the endpoint of the application too.
    /// fn configured(webhook: StripeWebhook) -> tenancy::Result<StripeWebhook> {
    ///     webhook.policy(BillingPolicy::new().deactivate_unpaid()).installation("eu")
    /// }
    ///
    /// let program = Program::new().stripe_webhook(configured);
    /// # let _ = program;
    /// ```
    pub fn stripe_webhook(
        mut self,
        configure: impl FnOnce(StripeWebhook) -> crate::Result<StripeWebhook> + Send + 'static,
    ) -> Self {
        self.embedded.stripe_webhook = Some(Box::new(configure));
        self
    }

    /// Adds a hook that `tenancy tenants delete` runs on PostgreSQL, in the order in which the hooks are added.
    ///
    /// ```
    /// use sqlx::PgConnection;
    /// use tenancy::cli::Program;
    /// use tenancy::operations::DeletionHook;
    /// use tenancy::tenant::Tenant;
    ///
    /// struct Search;
    ///
    /// #[async_trait::async_trait]
    /// impl DeletionHook<sqlx::Postgres> for Search {
    ///     fn name(&self) -> &str {
    ///         "search"
    ///     }
    ///
    ///     async fn delete(&self, acme: &Tenant, _: &mut PgConnection) -> tenancy::Result<u64> {
    ///         println!("delete the documents of {}", acme.id());
    ///         Ok(0)
    ///     }
    /// }
    ///
    /// let program = Program::new().postgres_deletion_hook(Search);
    /// # let _ = program;
    /// ```
    pub fn postgres_deletion_hook(mut self, hook: impl DeletionHook<Postgres> + 'static) -> Self {
        self.embedded.hooks.postgres.push(Arc::new(hook));
        self
    }

    /// Adds a hook that `tenancy tenants delete` runs on SQLite, as
    /// [`postgres_deletion_hook`](Self::postgres_deletion_hook) does on PostgreSQL.
    pub fn sqlite_deletion_hook(mut self, hook: impl DeletionHook<Sqlite> + 'static) -> Self {
        self.embedded.hooks.sqlite.push(Arc::new(hook));
        self
    }

    /// Runs the command of the process's arguments, and prints its result.
    ///
    /// The command has a runtime of its own: `main` needs no `#[tokio::main]`. If there is a runtime already, the
    /// thread waits, so call this before other tasks begin.
    ///
    /// # Panics
    /// As [`run_from`](Self::run_from).
    pub fn run(self) -> ExitCode {
        self.run_from(std::env::args_os())
    }

    /// Runs the command of these arguments, the first of which is the name of the program in help texts.
    ///
    /// For tests, and for a program with commands of its own: pass `"shop tenancy"` and the arguments after it.
    ///
    /// # Panics
    /// If the system has no thread left, in a runtime.
    pub fn run_from<A: Into<OsString>>(self, arguments: impl IntoIterator<Item = A>) -> ExitCode {
        let arguments: Vec<OsString> = arguments.into_iter().map(Into::into).collect();
        let run = || command::run(&arguments, self.embedded);
        if tokio::runtime::Handle::try_current().is_err() {
            return run();
        }
        // A thread of a runtime cannot wait for another one.
        std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().stack_size(STACK).spawn_scoped(scope, run);
            let code = thread.expect("the system has one more thread").join();
            code.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}
