//! The commands of `tenancy tenants`, and what runs each.

use std::process::ExitCode;

use clap::Subcommand;
use sqlx::migrate::Migrator;

use super::config::block_on;
use super::embedded::Embedded;
use super::hooks::Hooked;
use super::lifecycle::{self, LifecycleCommand};
use super::provisioners::{Owner, Provisioned};
use super::{create, delete, export, import, movement, moves, receipts, restore};

#[derive(Subcommand)]
pub(crate) enum TenantsCommand {
    #[command(flatten)]
    Lifecycle(LifecycleCommand),
    #[command(flatten)]
    Data(DataCommand),
    /// Check the signature of a deletion's receipt, and show the receipt.
    ///
    /// The key is read from `TENANCY_RECEIPT_KEY_ID` and `TENANCY_RECEIPT_KEY`. `TENANCY_RECEIPT_PREVIOUS_KEYS` adds keys that
    /// signed before, each in a line `ID=KEY`. Exits with 1 if none of the keys signed the receipt, and with 2 if the file or
    /// the keys cannot be read.
    VerifyReceipt(receipts::Verify),
    /// List the moves that are not finished, also those that another process runs now.
    Moves(moves::Options),
}

/// The commands that work in the place of one tenant, as the owner of the tables.
#[derive(Subcommand)]
pub(crate) enum DataCommand {
    /// Add a tenant that is open at once, in the shared tables or in a place of its own.
    ///
    /// In the shared tables, only the list of tenants is written: `--url` names its database. With `--own-schema` or
    /// `--own-database` the place is created, migrated and protected, as the owner of the tables: this needs
    /// `--migrations`, the `tenancy.toml`, on PostgreSQL `--runtime-role` for the rights of the application, and on SQLite
    /// `--files`. If this fails or is interrupted, the tenant is not open, and `--resume` goes on. Exits with 130 after Ctrl-C.
    Create(create::Options),
    /// Write the data of a tenant into a bundle, as of one moment.
    ///
    /// A bundle is a tar archive with the rows of each table and a manifest of hashes. It has the personal data of the
    /// tenant in plain text. The file is `FILE.part` until it is complete. Exits with 130 after Ctrl-C.
    Export(export::Options),
    /// Create a tenant from a bundle, and open it.
    ///
    /// The bundle is from the same kind of database, and from a place with the same migrations. If the import fails or
    /// is interrupted, the new tenant is removed again. Exits with 130 after Ctrl-C.
    Import(import::Options),
    /// Put the rows of a bundle back into the tenant that they are of.
    ///
    /// The bundle is compared with the rows of now, the difference is shown, and the command asks. The tenant is suspended or
    /// deactivated before. All rows are replaced in one transaction; audit events and metered usage stay. Exits with 2 if
    /// nothing was replaced, and with 130 after Ctrl-C.
    Restore(restore::Options),
    /// Delete a tenant with all of its data, and write a receipt.
    ///
    /// The tenant is suspended or deactivated before. The plan is shown, and the command asks. A deletion that was
    /// interrupted is repeated, and goes on. The receipt is signed with the key of `TENANCY_RECEIPT_KEY_ID` and
    /// `TENANCY_RECEIPT_KEY`, if they are set. Exits with 1 if a dry run finds that the deletion is not possible, with 2 if
    /// the tenant was not deleted, and with 130 after Ctrl-C.
    Delete(delete::Options),
    /// Move a tenant to another place while it is used, or roll an unfinished move back.
    ///
    /// The rows are copied and compared. For the last part the tenant is refused with 503 for a moment. A move that was interrupted
    /// is repeated, and goes on; before its switch it can be rolled back. A new schema, database or file needs
    /// `--migrations`. Exits with 1 if a dry run finds that the move is not possible, with 2 if it failed, and with 130 after
    /// Ctrl-C.
    Move(movement::Options),
}

impl DataCommand {
    fn owner(&self) -> &Owner {
        match self {
            Self::Create(options) => &options.place.owner,
            Self::Export(options) => &options.owner,
            Self::Import(options) => &options.place.owner,
            Self::Restore(options) => &options.place.owner,
            Self::Delete(options) => &options.owner,
            Self::Move(options) => &options.place.owner,
        }
    }

    /// The migrations, which only a command that creates a place needs.
    async fn migrations(&self, embedded: &mut Embedded) -> Result<Migrator, String> {
        let place = match self {
            Self::Create(create::Options { place, .. })
            | Self::Import(import::Options { place, .. })
            | Self::Restore(restore::Options { place, .. }) => place,
            Self::Move(options) if options.creates_a_place() => &options.place,
            _ => return Ok(Migrator::with_migrations(Vec::new())),
        };
        embedded.migrations(place.migrations.as_ref()).await
    }
}

pub(crate) fn run(command: &TenantsCommand, embedded: Embedded) -> Result<ExitCode, String> {
    match command {
        TenantsCommand::Lifecycle(command) => lifecycle::run(command),
        TenantsCommand::Data(DataCommand::Create(options)) if !options.has_own_place() => {
            create::in_shared_tables(options, &embedded)
        }
        TenantsCommand::Data(command) => block_on(data(command, embedded)),
        TenantsCommand::VerifyReceipt(options) => receipts::verify(options),
        TenantsCommand::Moves(options) => block_on(moves::run(options)),
    }
}

async fn data(command: &DataCommand, mut embedded: Embedded) -> Result<ExitCode, String> {
    let owner = command.owner();
    let urls = owner.urls()?;
    let settings = owner.settings(&urls);
    let schema = Some(owner.schema(&embedded)?);
    let migrator = command.migrations(&mut embedded).await?;
    if urls.is_postgres {
        Box::pin(work(command, &embedded, &settings.on_postgres(migrator, schema).await?)).await
    } else {
        Box::pin(work(command, &embedded, &settings.on_sqlite(migrator, schema).await?)).await
    }
}

async fn work<DB: Hooked>(
    command: &DataCommand,
    embedded: &Embedded,
    provisioned: &Provisioned<DB>,
) -> Result<ExitCode, String> {
    match command {
        DataCommand::Create(options) => create::run(options, embedded, provisioned).await,
        DataCommand::Export(options) => export::run(options, provisioned).await,
        DataCommand::Import(options) => import::run(options, embedded, provisioned).await,
        DataCommand::Restore(options) => restore::run(options, provisioned).await,
        DataCommand::Delete(options) => delete::run(options, embedded, provisioned).await,
        DataCommand::Move(options) => movement::run(options, provisioned).await,
    }
}
