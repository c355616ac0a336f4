//! [`TenantData`]: what reading and writing the rows of one tenant needs from a database. `postgres.rs` and `sqlite.rs`
//! implement it.

use std::future::{Future, ready};
use std::time::Duration;

use futures_util::stream::BoxStream;
use tenancy_sql::Schema;

use super::table::{DataColumn, DataTable};
use crate::error::Result;
use crate::placement::{Provision, TenantLock};
use crate::tenant::{Placement, TenantId};

/// A database whose tenants can be exported, imported, deleted and moved: `sqlx::Postgres` or `sqlx::Sqlite`.
///
/// Sealed: only this crate implements it.
pub trait TenantData: Provision {
    /// What is read of the rows of a statement: a table with FROM for the items of the parameter `$1`, a JSON array.
    #[doc(hidden)]
    const EACH_ROW: &'static str;
    /// Allows values for columns that the database numbers.
    #[doc(hidden)]
    const OVERRIDING: &'static str;
    /// Makes a 64-bit number of a sum.
    #[doc(hidden)]
    const AS_NUMBER: &'static str;
    /// Begins a transaction that only reads, and sees one moment.
    #[doc(hidden)]
    const BEGIN_SNAPSHOT: &'static str;

    /// Whether one statement can delete rows and insert others.
    #[doc(hidden)]
    const DELETES_IN_WITH: bool;

    /// Creates the temporary table of [`LINKS`](super::statement::LINKS), empty.
    #[doc(hidden)]
    const CREATE_LINKS: &'static str;
    /// A row of that table as a text.
    #[doc(hidden)]
    const STORED_ROW: &'static str;
    /// Begins a transaction that writes.
    #[doc(hidden)]
    const BEGIN: &'static str;
    /// Begins a transaction that writes. Foreign keys that can wait are checked at its end.
    #[doc(hidden)]
    const BEGIN_IMPORT: &'static str;

    /// Connects to a place as its owner, without a lock.
    #[doc(hidden)]
    fn connect_to(
        places: &Self::Places,
        placement: &Placement,
    ) -> impl Future<Output = Result<Self::Connection>> + Send;

    /// Keeps other operations away from a tenant. Fails if one is in work.
    #[doc(hidden)]
    fn lock_tenant(
        places: &Self::Places,
        tenant: &TenantId,
    ) -> impl Future<Output = Result<TenantLock>> + Send;

    /// The tables with rows of tenants in a place, each after the tables that it refers to. The library's own tables
    /// are among them.
    #[doc(hidden)]
    fn data_tables(
        conn: &mut Self::Connection,
        placement: &Placement,
        schema: &Schema,
    ) -> impl Future<Output = Result<Vec<DataTable>>> + Send;

    /// What a place has beside the rows of tenants, and what would be lost with it: tables with rows, and sequences.
    #[doc(hidden)]
    fn others(
        conn: &mut Self::Connection,
        placement: &Placement,
        schema: &Schema,
    ) -> impl Future<Output = Result<Vec<String>>> + Send;

    /// What rows refer to and no move copies: why a tenant cannot be moved between databases.
    #[doc(hidden)]
    fn uncopied(
        conn: &mut Self::Connection,
        tables: &[DataTable],
    ) -> impl Future<Output = Result<Vec<String>>> + Send;

    /// What is outside of a place and depends on it, such as a view: it would be dropped with the place.
    #[doc(hidden)]
    fn dependents(
        conn: &mut Self::Connection,
        placement: &Placement,
    ) -> impl Future<Output = Result<Vec<String>>> + Send;

    /// The triggers that run when rows of these tables are copied. Those on DELETE count if rows are deleted too.
    #[doc(hidden)]
    fn triggers(
        conn: &mut Self::Connection,
        tables: &[DataTable],
        deletes: bool,
    ) -> impl Future<Output = Result<Vec<String>>> + Send;

    /// Tells triggers with the right condition that rows are copied, until the session ends.
    #[doc(hidden)]
    const BEGIN_COPY: &'static str;
    /// How a trigger is prevented while rows are copied.
    #[doc(hidden)]
    const TRIGGER_ADVICE: &'static str;

    /// Sets the tenant of the session, so that row-level security shows its rows; `None` sets none.
    #[doc(hidden)]
    fn set_tenant(
        conn: &mut Self::Connection,
        tenant: Option<&TenantId>,
    ) -> impl Future<Output = Result<()>> + Send;

    /// Allows that audit events of a tenant are deleted, until the end of the transaction.
    #[doc(hidden)]
    const ALLOW_DELETES: Option<&'static str>;
    #[doc(hidden)]
    const FORBID_DELETES: Option<&'static str>;

    /// Lets the next generated number of a table be greater than its rows.
    #[doc(hidden)]
    fn advance_numbers(
        conn: &mut Self::Connection,
        table: &DataTable,
        tenant: &TenantId,
        shared: bool,
    ) -> impl Future<Output = Result<()>> + Send;

    /// Lets the generated numbers of a table continue after those of the same table in another place.
    #[doc(hidden)]
    fn copy_numbers(
        source: &mut Self::Connection,
        from: &DataTable,
        target: &mut Self::Connection,
        to: &DataTable,
        shared: bool,
    ) -> impl Future<Output = Result<()>> + Send;

    /// Reserves the numbers up to `highest` above those of a column, and returns how much is added to each.
    #[doc(hidden)]
    fn reserve_numbers(
        conn: &mut Self::Connection,
        table: &DataTable,
        column: &DataColumn,
        highest: i64,
    ) -> impl Future<Output = Result<i64>> + Send;

    /// Why a process with the old placement could not be refused in these tables; `None` if it can.
    #[doc(hidden)]
    fn unfenceable(
        places: &Self::Places,
        conn: &mut Self::Connection,
        placement: &Placement,
        tables: &[DataTable],
    ) -> impl Future<Output = Result<Option<String>>> + Send;

    /// Lets statements on these tables read the table of fences, for a key of the place.
    #[doc(hidden)]
    fn prepare_fence(
        conn: &mut Self::Connection,
        tables: &[&DataTable],
        fences: &str,
        place: &str,
        wait: Duration,
    ) -> impl Future<Output = Result<()>> + Send;

    /// Waits until every transaction has ended that began before.
    #[doc(hidden)]
    fn wait_for_older(conn: &mut Self::Connection, wait: Duration)
    -> impl Future<Output = Result<()>> + Send;

    /// Lets one session at a time write the rows of a tenant in a place.
    #[doc(hidden)]
    fn hold_writer(conn: &mut Self::Connection, key: String) -> impl Future<Output = Result<()>> + Send;

    /// Lets the session read and write where the tenant is refused.
    #[doc(hidden)]
    fn pass_fences(conn: &mut Self::Connection) -> impl Future<Output = Result<()>> + Send;

    /// What two equal rows have in common, in SQL and in Rust.
    #[doc(hidden)]
    fn fingerprint(row: &str) -> String;
    #[doc(hidden)]
    fn fingerprint_of(row: &str) -> String;

    /// A query for arrays of two texts, the number of rows and a hash over them. `None` if the database cannot hash.
    #[doc(hidden)]
    fn digests(row: &str, rows: &str) -> Option<String>;

    /// Removes the schema, the database or the file of a placement, with all that is in it.
    #[doc(hidden)]
    fn drop_place(places: &Self::Places, placement: &Placement) -> impl Future<Output = Result<()>> + Send;

    /// Whether a column of this type has whole numbers.
    #[doc(hidden)]
    fn is_whole_number(r#type: &str) -> bool;

    /// Whether a column has the tenant.
    #[doc(hidden)]
    fn is_tenant(column: &str, r#type: &str, tenant: &TenantId) -> String;

    /// The tenant as a value of a column.
    #[doc(hidden)]
    fn tenant_value(r#type: &str, tenant: &TenantId) -> String;

    /// The text of a column's value, from which `value_of` makes the same value.
    #[doc(hidden)]
    fn text_of(column: &str) -> String;

    /// Whether `value_of` makes a value of a text, or the database refuses it.
    #[doc(hidden)]
    fn is_value(text: &str) -> bool;

    /// The value of a text.
    #[doc(hidden)]
    fn value_of(text: &str, r#type: &str) -> String;

    /// A JSON array of texts.
    #[doc(hidden)]
    fn array(texts: &[String]) -> String;

    /// The text at a position of the row that `EACH_ROW` yields.
    #[doc(hidden)]
    fn item(at: usize) -> String;

    /// A text as an order by its bytes.
    #[doc(hidden)]
    fn by_bytes(text: &str) -> String;

    /// The foreign keys that are checked at once, though the transaction defers them: the names of the child and the parent.
    #[doc(hidden)]
    fn restricted_keys(
        _: &mut Self::Connection,
    ) -> impl Future<Output = Result<Vec<(String, String)>>> + Send {
        ready(Ok(Vec::new()))
    }

    /// Runs a statement, with a text as its parameter, and returns how many rows it changed.
    #[doc(hidden)]
    fn run(
        conn: &mut Self::Connection,
        sql: String,
        parameter: Option<&str>,
    ) -> impl Future<Output = sqlx::Result<u64>> + Send;

    /// The first column of each row, a text.
    #[doc(hidden)]
    fn texts(conn: &mut Self::Connection, sql: String) -> BoxStream<'_, sqlx::Result<String>>;

    /// The first column of the only row, a number.
    #[doc(hidden)]
    fn read_number(
        conn: &mut Self::Connection,
        sql: String,
    ) -> impl Future<Output = sqlx::Result<i64>> + Send;
}
