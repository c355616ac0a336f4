//! Reads a [`Schema`] from `tenancy.toml`, and from the snapshot of a database beside it.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::{Schema, TenantType};
use crate::dialect::Dialect;
use crate::name::{SchemaError, table_name};

impl Schema {
    /// Reads the text of a `tenancy.toml`. Every key is optional; the default column is `tenant_id`.
    ///
    /// # Errors
    /// The text is not TOML, a key or a dialect is unknown, a name is not plain, or a table has two declarations.
    pub fn from_toml(text: &str) -> Result<Self, SchemaError> {
        let file: TenancyToml =
            toml::from_str(text).map_err(|e| SchemaError(format!("tenancy.toml: {e}")))?;
        let TenancyToml {
            dialects,
            column,
            r#type,
            columns,
            shared,
            shared_writable,
            functions,
            operators,
            presets,
            views,
            partitions,
            snapshot,
            global_keys,
            composite_types,
        } = file;
        let mut schema = Self::new(column.unwrap_or_else(|| "tenant_id".to_owned()))?;
        schema.tenant_type = r#type.as_deref().map(TenantType::parse).transpose()?;
        schema.snapshot = snapshot;
        for name in dialects {
            schema = schema.dialect(match name.as_str() {
                "postgres" => Dialect::Postgres,
                "sqlite" => Dialect::Sqlite,
                "mysql" => Dialect::MySql,
                _ => {
                    return Err(SchemaError(format!(
                        "the dialect `{}` is not known; write \"postgres\", \"sqlite\" or \"mysql\"",
                        name.escape_debug()
                    )));
                }
            });
        }
        for (table, column) in columns {
            schema = schema.column(table, column)?;
        }
        for table in shared {
            schema = schema.shared(table)?;
        }
        for table in shared_writable {
            schema = schema.shared_writable(table)?;
        }
        for name in functions {
            schema = schema.function(name)?;
        }
        for operator in operators {
            schema = schema.operator(operator)?;
        }
        for extension in presets {
            schema = schema.preset(&extension)?;
        }
        for (view, tables) in views {
            schema = schema.view(view, tables)?;
        }
        for (child, parent) in partitions {
            schema = schema.partition(child, parent)?;
        }
        for (table, keys) in global_keys {
            for key in keys {
                schema = schema.global_key(&table, &key)?;
            }
        }
        for (name, fields) in composite_types {
            schema = schema.composite_type(name, fields)?;
        }
        Ok(schema)
    }

    /// Returns the file name of the snapshot of the database: the key `snapshot`, relative to `tenancy.toml`.
    pub fn snapshot_file(&self) -> Option<&str> {
        self.snapshot.as_deref()
    }

    /// Adds the snapshot of a database, which `tenancy sql snapshot` writes: the type of the tenant columns, views
    /// with their tables, partitions, and which tables have no tenant column. Declarations in `tenancy.toml` take
    /// precedence.
    ///
    /// ```
    /// use tenancy_sql::{Code, Dialect, Schema, rewrite};
    ///
    /// let schema = Schema::from_toml("shared = [\"countries\"]")?.with_snapshot(
    ///     r#"
    ///     type = "uuid"
    ///     tenants = ["orders"]
    ///     others = ["countries", "secrets"]
    ///     views = { open_orders = ["orders"] }
    ///     "#,
    /// )?;
    /// let rewritten = rewrite(Dialect::Postgres, "SELECT id FROM open_orders", &schema).unwrap();
    /// assert_eq!(rewritten.text(), "SELECT id FROM open_orders WHERE open_orders.tenant_id = $1::UUID");
    /// let rejection = rewrite(Dialect::Postgres, "SELECT key FROM secrets", &schema).unwrap_err();
    /// assert_eq!(rejection.code(), Code::NoTenantColumn);
    /// # Ok::<(), tenancy_sql::SchemaError>(())
    /// ```
    ///
    /// # Errors
    /// The text is not a snapshot, or a table that has the tenant column is declared as shared.
    pub fn with_snapshot(mut self, text: &str) -> Result<Self, SchemaError> {
        let Snapshot {
            r#type,
            tenants,
            others,
            views,
            partitions,
            table_columns,
            primary_keys,
            global_keys,
            composite_types,
        } = toml::from_str(text).map_err(|e| SchemaError(format!("the snapshot of the database: {e}")))?;
        let names = tenants.iter().chain(&others).chain(views.keys()).chain(partitions.keys());
        for name in names.chain(table_columns.keys()) {
            table_name(name)?;
        }
        let names = tenants.iter().chain(&others).chain(views.keys()).chain(partitions.keys());
        let listed = names.chain(table_columns.keys()).cloned();
        self.listed.get_or_insert_default().extend(listed);
        self.table_columns.extend(table_columns);
        self.primary_keys.extend(primary_keys);
        for (table, keys) in global_keys {
            for key in keys {
                self = self.global_key(&table, &key)?;
            }
        }
        for (name, fields) in composite_types {
            self = self.composite_type(name, fields)?;
        }
        if self.tenant_type.is_none() {
            self.tenant_type = r#type.as_deref().map(TenantType::parse).transpose()?;
        }
        for (child, parent) in partitions {
            if !self.is_declared(&child) {
                self = self.partition(child, parent)?;
            }
        }
        for (view, tables) in views {
            // A view with the tenant column is not shared, even if the tables that it reads are.
            let seen = !tenants.contains(&view)
                || tables.iter().any(|table| self.base_access(Dialect::Sqlite, table).tenant.is_some());
            if seen && !self.is_declared(&view) {
                self = self.view(view, tables)?;
            }
        }
        // SQLite ignores case, so this finds every match of the other databases too.
        if let Some(table) = tenants
            .iter()
            .find(|table| self.is_shared(table) || self.access(Dialect::Sqlite, table).tenant.is_none())
        {
            let parent =
                self.partitions.get(table).map_or_else(String::new, |parent| format!(" with `{parent}`"));
            return Err(SchemaError(format!(
                "the table `{table}` is declared as shared{parent}, but it has the tenant column in the database; \
                 take it out of `shared` in tenancy.toml"
            )));
        }
        self.without = others.into_iter().filter(|table| !self.is_shared(table)).collect();
        Ok(self)
    }

    /// Adds the snapshot that `tenancy.toml` names, if any. `read` returns the text of a file beside `tenancy.toml`.
    ///
    /// # Errors
    /// The file cannot be read; otherwise as [`with_snapshot`](Self::with_snapshot).
    pub fn with_named_snapshot(
        self,
        read: impl FnOnce(&str) -> std::io::Result<String>,
    ) -> Result<Self, SchemaError> {
        let Some(file) = &self.snapshot else { return Ok(self) };
        let text = read(file).map_err(|e| {
            SchemaError(format!(
                "the snapshot `{file}` that tenancy.toml names cannot be read: {e}; write it with `tenancy sql snapshot`"
            ))
        })?;
        self.with_snapshot(&text)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TenancyToml {
    #[serde(default)]
    dialects: Vec<String>,
    column: Option<String>,
    r#type: Option<String>,
    #[serde(default)]
    columns: BTreeMap<String, String>,
    #[serde(default)]
    shared: Vec<String>,
    #[serde(default)]
    shared_writable: Vec<String>,
    #[serde(default)]
    functions: Vec<String>,
    #[serde(default)]
    operators: Vec<String>,
    #[serde(default)]
    presets: Vec<String>,
    #[serde(default)]
    views: BTreeMap<String, Vec<String>>,
    #[serde(default)]
    partitions: BTreeMap<String, String>,
    snapshot: Option<String>,
    #[serde(default)]
    global_keys: BTreeMap<String, Vec<String>>,
    #[serde(default)]
    composite_types: BTreeMap<String, Vec<String>>,
}

/// The file that `tenancy sql snapshot` writes.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Snapshot {
    r#type: Option<String>,
    /// The tables and views that have their tenant column.
    #[serde(default)]
    tenants: Vec<String>,
    /// The tables and views that have none.
    #[serde(default)]
    others: Vec<String>,
    #[serde(default)]
    views: BTreeMap<String, Vec<String>>,
    #[serde(default)]
    partitions: BTreeMap<String, String>,
    /// The columns of each table and view.
    #[serde(default)]
    table_columns: BTreeMap<String, BTreeSet<String>>,
    /// The columns of each table's primary key.
    #[serde(default)]
    primary_keys: BTreeMap<String, BTreeSet<String>>,
    /// The unique keys without the tenant column.
    #[serde(default)]
    global_keys: BTreeMap<String, Vec<String>>,
    #[serde(default)]
    composite_types: BTreeMap<String, Vec<String>>,
}
