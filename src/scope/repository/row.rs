//! [`TenantRow`] and [`BindRow`], which `#[derive(TenantScoped)]` implements, and [`SupportsRow`].
//!
//! The methods of a row are in `tenant_scoped.rs`.

use std::any::Any;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::SystemTime;

use sqlx::FromRow;
use tenancy_sql::{Dialect, Statements};

use crate::error::{Error, ErrorKind, Result};
use crate::scope::session::{Backend, BindArguments};

/// The future that repository methods return.
///
/// It is boxed, so that a call without a scope gives one compile error instead of three.
pub type ResultFuture<'s, T> = Pin<Box<dyn Future<Output = Result<T>> + Send + 's>>;

/// A row of a tenant-owned table: its id, its table, and the SQL statements of the table.
///
/// `#[derive(TenantScoped)]` implements it. Every `TenantRow` has the methods of
/// [`TenantScoped`](crate::TenantScoped), and none of them can be overridden.
///
/// To implement it by hand, implement [`BindRow`] as well, and generate the statements with
/// [`TableSpec`](super::TableSpec):
///
/// ```
/// use std::sync::LazyLock;
/// use tenancy::scope::Dialect;
/// use tenancy::scope::row::{BindArguments, BindRow, Statements, TableSpec, TenantRow};
///
/// #[derive(sqlx::FromRow)]
/// struct Note { id: i64, text: String }
///
/// impl TenantRow for Note {
///     type Id = i64;
///     const TABLE: &'static str = "notes";
///
///     fn id(&self) -> &i64 { &self.id }
///
///     fn statements(_: Dialect) -> &'static Statements {
///         static SQLITE: LazyLock<Statements> = LazyLock::new(|| {
///             TableSpec::new("notes", "tenant_id", "id", ["text"]).unwrap().statements(Dialect::Sqlite)
///         });
///         &SQLITE
///     }
/// }
///
/// impl BindRow<sqlx::Sqlite> for Note {
///     fn bind_id(id: &i64, binds: &mut BindArguments<sqlx::Sqlite>) -> tenancy::Result<()> { binds.push(id) }
///     fn bind_columns(&self, binds: &mut BindArguments<sqlx::Sqlite>) -> tenancy::Result<()> { binds.push(&self.text) }
/// }
/// ```
///
/// # Security
/// Generate [`statements`](Self::statements) with `TableSpec` as above. They run unchanged, and SQL that you write
/// into them yourself is not checked.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a row of a tenant-owned table",
    label = "`TenantScoped` is not implemented",
    note = "write `#[derive(TenantScoped, sqlx::FromRow)]` and `#[tenant(table = \"..\")]` on the struct, and `#[tenant(id)]` on its id"
)]
pub trait TenantRow: Sized + Send + Unpin + 'static {
    /// The id of a row within its tenant.
    type Id: Clone + Send + Sync + 'static;

    /// The name of the table.
    const TABLE: &'static str;

    /// This row's id.
    fn id(&self) -> &Self::Id;

    /// The SQL statements of the table.
    fn statements(dialect: Dialect) -> &'static Statements;

    /// The value of the [`SoftDelete`] field for a row that was deleted at this time, or for a row that is not
    /// deleted.
    #[doc(hidden)]
    fn mark(at: Option<SystemTime>) -> Option<Arc<dyn Any + Send + Sync>> {
        let _ = at;
        None
    }
}

/// Binds a row's values for one database.
///
/// `#[derive(TenantScoped)]` implements it for every database whose sqlx driver supports the types of all fields.
pub trait BindRow<DB: Backend>: TenantRow + for<'r> FromRow<'r, DB::Row> {
    /// Binds an id.
    ///
    /// # Errors
    /// If it cannot be encoded.
    fn bind_id(id: &Self::Id, binds: &mut BindArguments<DB>) -> Result<()>;

    /// Binds the other columns, in the order of [`TenantRow::statements`].
    ///
    /// # Errors
    /// If one of them cannot be encoded.
    fn bind_columns(&self, binds: &mut BindArguments<DB>) -> Result<()>;

    /// Binds a value that has the type of one of the fields. Returns `false` if no field has its type.
    ///
    /// Filters and assignments need it. The default implementation returns `false`.
    ///
    /// # Errors
    /// If it cannot be encoded.
    fn bind_value(value: &dyn Any, binds: &mut BindArguments<DB>) -> Result<bool> {
        let _ = (value, binds);
        Ok(false)
    }
}

/// A database that can store rows of type `T`: every `DB` for which `T` implements [`BindRow`].
///
/// Code that is generic over the database needs it as a bound, such as `DB: SupportsRow<Order> +
/// SupportsRow<Project>`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot keep rows of type `{T}`",
    label = "a field of `{T}` has no type in this database, or `{T}` is not an `sqlx::FromRow`",
    note = "each field needs `sqlx::Type`, `sqlx::Encode` and `sqlx::Decode` for `{Self}`, and the struct `#[derive(sqlx::FromRow)]`"
)]
pub trait SupportsRow<T: TenantRow>: Backend + RowCodec<T> {}

#[diagnostic::do_not_recommend]
impl<DB: Backend, T: BindRow<DB>> SupportsRow<T> for DB {}

/// Binds and reads rows of type `T`.
#[expect(unnameable_types, reason = "a sealed trait: `SupportsRow` is its public name")]
pub trait RowCodec<T: TenantRow>: Backend {
    fn bind_id(id: &T::Id, binds: &mut BindArguments<Self>) -> Result<()>;

    fn bind_columns(row: &T, binds: &mut BindArguments<Self>) -> Result<()>;

    fn bind_value(value: &dyn Any, binds: &mut BindArguments<Self>) -> Result<()>;

    fn read(row: &Self::Row) -> sqlx::Result<T>;
}

#[diagnostic::do_not_recommend]
impl<DB: Backend, T: BindRow<DB>> RowCodec<T> for DB {
    fn bind_id(id: &T::Id, binds: &mut BindArguments<Self>) -> Result<()> {
        T::bind_id(id, binds)
    }

    fn bind_columns(row: &T, binds: &mut BindArguments<Self>) -> Result<()> {
        row.bind_columns(binds)
    }

    fn bind_value(value: &dyn Any, binds: &mut BindArguments<Self>) -> Result<()> {
        if T::bind_value(value, binds)? {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Misconfigured,
            format!("no field of a row of `{}` has this type; implement `BindRow::bind_value`", T::TABLE),
        ))
    }

    fn read(row: &Self::Row) -> sqlx::Result<T> {
        T::from_row(row)
    }
}
