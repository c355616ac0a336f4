//! [`Schema`]: which tables belong to tenants, and by which column.

mod declare;
mod file;
mod keys;
mod lookup;
mod presets;
mod tenant_type;

use std::collections::{BTreeMap, BTreeSet};

#[cfg(feature = "rewrite")]
pub(crate) use keys::key_elements;
#[cfg(feature = "rewrite")]
pub(crate) use presets::{extension_of_functions, extensions_of_operator};
pub use tenant_type::TenantType;

use crate::dialect::Dialect;
use crate::name::{SchemaError, plain_name};

/// What the rewriter knows about a database: the tenant column, and the tables that are exceptions.
///
/// A table that is not declared belongs to tenants. Names are written as the database stores them: on Postgres in
/// lower case, unless a table was created with quotes. A name with its schema is another name: `countries` does not
/// declare `public.countries`.
///
/// ```
/// use tenancy_sql::{Dialect, Schema};
///
/// let schema = Schema::from_toml(
///     r#"
///     dialects = ["postgres", "sqlite"]
///     column = "tenant_id"
///     columns = { tenants = "id" }        # tables whose tenant column has another name
///     shared = ["countries"]              # every tenant reads, no tenant writes
///     shared_writable = ["feedback"]      # every tenant reads and writes
///     functions = ["price"]               # functions that read no table
///     operators = ["<#>"]                 # operators whose functions read no table
///     presets = ["pgcrypto"]              # the functions and operators of an extension
///     views = { open_orders = ["orders"] }
///     partitions = { orders_2026 = "orders" }
///     global_keys = { users = ["email"] } # unique for all tenants together
///     composite_types = { address = ["street", "city"] }  # `(home).street` reads a field
///     "#,
/// )?;
/// assert_eq!(schema.dialects(), [Dialect::Postgres, Dialect::Sqlite]);
/// # Ok::<(), tenancy_sql::SchemaError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schema {
    dialects: Vec<Dialect>,
    column: String,
    columns: BTreeMap<String, String>,
    shared: BTreeSet<String>,
    writable: BTreeSet<String>,
    functions: BTreeSet<String>,
    operators: BTreeSet<String>,
    views: BTreeMap<String, Vec<String>>,
    partitions: BTreeMap<String, String>,
    tenant_type: Option<TenantType>,
    snapshot: Option<String>,
    /// The tables and views of the snapshot, if there is one.
    listed: Option<BTreeSet<String>>,
    /// Tables without a tenant column, by the snapshot.
    without: BTreeSet<String>,
    /// The columns of each table that a snapshot lists.
    table_columns: BTreeMap<String, BTreeSet<String>>,
    /// The unique keys of each table that do not contain the tenant column, each as its sorted elements.
    global_keys: BTreeMap<String, BTreeSet<Vec<String>>>,
    /// The fields of each composite type.
    composite_types: BTreeMap<String, BTreeSet<String>>,
    /// The primary key of each table that a snapshot lists.
    primary_keys: BTreeMap<String, BTreeSet<String>>,
}

/// How statements may use one table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Access<'a> {
    /// The tenant column; `None` for a shared table.
    pub(crate) tenant: Option<&'a str>,
    pub(crate) writable: bool,
}

impl Schema {
    /// Creates a schema in which every table belongs to tenants by this column.
    ///
    /// # Errors
    /// The column is not a plain name.
    pub fn new(column: impl Into<String>) -> Result<Self, SchemaError> {
        let column = column.into();
        plain_name("tenant column", &column)?;
        Ok(Self {
            dialects: Vec::new(),
            column,
            columns: BTreeMap::new(),
            shared: BTreeSet::new(),
            writable: BTreeSet::new(),
            functions: BTreeSet::new(),
            operators: BTreeSet::new(),
            views: BTreeMap::new(),
            partitions: BTreeMap::new(),
            tenant_type: None,
            snapshot: None,
            listed: None,
            without: BTreeSet::new(),
            table_columns: BTreeMap::new(),
            global_keys: BTreeMap::new(),
            composite_types: BTreeMap::new(),
            primary_keys: BTreeMap::new(),
        })
    }
}
