//! Exports, imports, restores, moves and deletes the data of a tenant, in every placement.
//!
//! | task | function |
//! |---|---|
//! | write the data of a tenant into a file | [`Provisioner::export`], [`Export`] |
//! | create a tenant from such a file | [`Provisioner::import`], [`Imported`] |
//! | put such a file back into its tenant | [`Provisioner::restore`], [`Restore`] |
//! | move a tenant to another placement while it is used | [`Provisioner::move_to`], [`Move`] |
//! | delete a tenant with its data | [`Provisioner::deletion`], [`Deletion`] |
//! | prove what was deleted | [`DeletionReceipt`], [`ReceiptKeys`] |
//!
//! What belongs to a tenant is read from the catalogue of the database: each table with the tenant column that
//! `tenancy.toml` declares, and the library's own tables. A new migration needs no change here. Connect as the owner of the
//! tables, as for the [`Provisioner`].
//!
//! # The format of a bundle
//! A bundle is a tar archive. It is written and read from its first byte to its last, so it can be the body of a request.
//!
//! | file | contents |
//! |---|---|
//! | `bundle.json` | the format, the kind of database, the tenant, its migrations, and the tables with their columns and types |
//! | `rows/0001-projects.jsonl` | one file for each table, parents before children: a line for each row, in the order of its primary key |
//! | `manifest.json` | the version of the last migration; for each table the number of rows and the SHA-256 of its file |
//!
//! A row is a JSON array with a text for each column, or `null`. The tenant column and generated columns are left out. On
//! PostgreSQL a text is what `column::text` returns under `DateStyle = ISO`, `IntervalStyle = iso_8601` and `TimeZone = UTC`.
//! On SQLite its first letter is the storage class: `i` a whole number, `r` a real number, `t` a text, `x` the bytes of a
//! BLOB in hexadecimal digits.
//!
//! The same rows have the same hash, whichever place they are in.
//!
//! # Security
//! A bundle has the personal data of a tenant in plain text. Encrypt it where it is stored.
//!
//! [`Provisioner`]: crate::placement::Provisioner
//! [`Provisioner::export`]: crate::placement::Provisioner::export
//! [`Provisioner::import`]: crate::placement::Provisioner::import
//! [`Provisioner::restore`]: crate::placement::Provisioner::restore
//! [`Provisioner::move_to`]: crate::placement::Provisioner::move_to
//! [`Provisioner::deletion`]: crate::placement::Provisioner::deletion

mod bundle;
mod circle;
mod deletion;
mod deletion_hook;
mod deletion_plan;
mod deletion_record;
mod drop_place;
mod erase;
mod export;
mod fence;
mod import;
#[cfg(feature = "metrics")]
mod metrics;
#[cfg(not(feature = "metrics"))]
#[path = "no_metrics.rs"]
mod metrics;
mod move_end;
mod move_plan;
mod move_run;
mod move_step;
mod movement;
mod observed;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "postgres")]
mod postgres_beside;
#[cfg(feature = "postgres")]
mod postgres_children;
#[cfg(feature = "postgres")]
mod postgres_fence;
#[cfg(feature = "postgres")]
mod postgres_numbers;
mod reach;
mod read;
mod receipt;
mod restore;
mod rewrite;
mod row_writer;
#[cfg(feature = "sqlite")]
mod sqlite;
#[cfg(feature = "sqlite")]
mod sqlite_beside;
mod stage;
mod statement;
mod sync;
mod table;
mod tenant_data;
mod write_rows;

pub use self::bundle::{Manifest, TableManifest};
pub use self::deletion::Deletion;
pub use self::deletion_hook::DeletionHook;
pub use self::deletion_plan::{DeletionPlan, PlannedTable};
pub use self::export::Export;
pub use self::import::Imported;
pub use self::move_plan::{MovePlan, MovedTable};
pub use self::move_step::{MoveProgress, MoveReport, MoveStep, UnfinishedMove};
pub use self::movement::Move;
pub use self::receipt::{DeletionReceipt, ReceiptKeys};
pub use self::restore::{Restore, RestoredTable};
pub use self::tenant_data::TenantData;
