//! Look-ups of one table, function or type.

use super::{Access, Schema, TenantType};
use crate::dialect::Dialect;
use std::collections::BTreeSet;

impl Schema {
    /// Returns the type of the tenant columns, if it is known. On Postgres the tenant is bound as that type.
    pub fn tenant_type(&self) -> Option<TenantType> {
        self.tenant_type
    }

    /// Returns the tenant column of a table, given its name as the database resolves it; `None` for a shared table.
    pub fn tenant_column(&self, dialect: Dialect, table: &str) -> Option<&str> {
        self.access(dialect, table).tenant
    }

    /// Whether statements may write to a table, given its name as the database resolves it. Shared tables that are
    /// not declared as writable are read-only, and so are views.
    pub fn is_writable(&self, dialect: Dialect, table: &str) -> bool {
        self.access(dialect, table).writable
    }

    /// Whether any tenant column has this name, ignoring case.
    #[cfg(feature = "rewrite")]
    pub(crate) fn is_tenant_column(&self, name: &str) -> bool {
        std::iter::once(&self.column)
            .chain(self.columns.values())
            .any(|column| column.eq_ignore_ascii_case(name))
    }

    /// Returns the default name of tenant columns.
    pub fn column_name(&self) -> &str {
        &self.column
    }

    /// Whether a table has no tenant column in the snapshot of the database.
    pub fn lacks_tenant(&self, dialect: Dialect, name: &str) -> bool {
        self.without.iter().any(|listed| match dialect {
            Dialect::Sqlite => listed.eq_ignore_ascii_case(name),
            _ => listed == name,
        })
    }

    /// Whether a table is unknown: a snapshot of the database was added, and neither the snapshot nor a declaration
    /// names the table. Without a snapshot every table may exist.
    ///
    /// ```
    /// use tenancy_sql::{Dialect, Schema};
    ///
    /// let schema = Schema::new("tenant_id")?;
    /// assert!(!schema.is_unknown(Dialect::Postgres, "ordrs"));
    /// let schema = schema.with_snapshot("tenants = [\"orders\"]")?;
    /// assert!(schema.is_unknown(Dialect::Postgres, "ordrs"));
    /// assert!(!schema.is_unknown(Dialect::Postgres, "orders"));
    /// # Ok::<(), tenancy_sql::SchemaError>(())
    /// ```
    pub fn is_unknown(&self, dialect: Dialect, table: &str) -> bool {
        let same = |listed: &String| match dialect {
            Dialect::Sqlite => listed.eq_ignore_ascii_case(table),
            _ => listed == table,
        };
        let listed = self.listed.as_ref();
        listed.is_some_and(|tables| !tables.iter().any(same)) && !self.is_declared(table)
    }

    /// Returns the dialects that every statement must run on, in the order of their declaration.
    pub fn dialects(&self) -> &[Dialect] {
        &self.dialects
    }

    /// Returns how statements may use a table, given its name as the database resolves it.
    pub(crate) fn access(&self, dialect: Dialect, name: &str) -> Access<'_> {
        let same = |listed: &str| match dialect {
            Dialect::Sqlite => listed.eq_ignore_ascii_case(name),
            _ => listed == name,
        };
        if let Some((_, parent)) = self.partitions.iter().find(|(child, _)| same(child)) {
            return self.base_access(dialect, parent);
        }
        if let Some((view, tables)) = self.views.iter().find(|(view, _)| same(view)) {
            let tenant = tables.iter().any(|table| self.base_access(dialect, table).tenant.is_some());
            return Access { tenant: tenant.then(|| self.column_of(dialect, view)), writable: false };
        }
        self.base_access(dialect, name)
    }

    pub(super) fn base_access(&self, dialect: Dialect, name: &str) -> Access<'_> {
        let same = |listed: &String| match dialect {
            Dialect::Sqlite => listed.eq_ignore_ascii_case(name),
            _ => listed == name,
        };
        if self.writable.iter().any(same) {
            Access { tenant: None, writable: true }
        } else if self.shared.iter().any(same) {
            Access { tenant: None, writable: false }
        } else {
            Access { tenant: Some(self.column_of(dialect, name)), writable: true }
        }
    }

    fn column_of(&self, dialect: Dialect, name: &str) -> &str {
        self.columns
            .iter()
            .find(|(listed, _)| match dialect {
                Dialect::Sqlite => listed.eq_ignore_ascii_case(name),
                _ => *listed == name,
            })
            .map_or(&self.column, |(_, column)| column)
    }

    /// Whether a function of the database was declared, so that statements may call it. A declared name matches as
    /// written and in lower case, since PostgreSQL folds unquoted names.
    pub fn allows_function(&self, name: &str) -> bool {
        self.functions.iter().any(|listed| {
            listed == name
                || (listed.eq_ignore_ascii_case(name) && !name.bytes().any(|b| b.is_ascii_uppercase()))
        })
    }

    /// Whether an operator was declared, so that statements may use it.
    #[cfg(feature = "rewrite")]
    pub(crate) fn allows_operator(&self, operator: &str) -> bool {
        self.operators.contains(operator)
    }

    /// Returns the columns of a table, given its name as the database resolves it, if a snapshot lists them.
    pub fn columns_of(&self, table: &str) -> Option<&BTreeSet<String>> {
        self.table_columns.get(table)
    }

    /// Returns the columns of a table's primary key, if a snapshot lists them.
    #[cfg(feature = "rewrite")]
    pub(crate) fn primary_key(&self, table: &str) -> Option<&BTreeSet<String>> {
        self.primary_keys.get(table)
    }

    /// Whether any declared composite type has this field.
    pub fn has_field(&self, field: &str) -> bool {
        self.composite_types.values().any(|fields| fields.contains(field))
    }

    /// Whether this is a unique key of the table across all tenants.
    #[cfg(feature = "rewrite")]
    pub(crate) fn is_global_key(&self, dialect: Dialect, table: &str, key: &[String]) -> bool {
        self.global_keys.iter().any(|(listed, keys)| {
            let same = match dialect {
                Dialect::Sqlite => listed.eq_ignore_ascii_case(table),
                _ => listed == table,
            };
            same && keys.iter().any(|listed| listed == key)
        })
    }
}
