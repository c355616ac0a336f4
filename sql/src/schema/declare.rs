//! Declarations of single tables, functions, keys and types.

use super::Schema;
use super::keys::key_elements;
use crate::dialect::Dialect;
use crate::name::{SchemaError, plain_name, table_name};
use std::collections::BTreeSet;

impl Schema {
    /// Adds a dialect that every statement must run on.
    #[must_use]
    pub fn dialect(mut self, dialect: Dialect) -> Self {
        if !self.dialects.contains(&dialect) {
            self.dialects.push(dialect);
        }
        self
    }

    /// Declares the tenant column of one table. For the table of tenants it is the id.
    ///
    /// # Errors
    /// A name is not plain, or the table is shared.
    pub fn column(
        mut self,
        table: impl Into<String>,
        column: impl Into<String>,
    ) -> Result<Self, SchemaError> {
        let (table, column) = (table.into(), column.into());
        table_name(&table)?;
        plain_name("tenant column", &column)?;
        if self.is_shared(&table) {
            return Err(declared_twice(&table));
        }
        self.columns.insert(table, column);
        Ok(self)
    }

    /// Declares a shared table: every tenant may read it, and no tenant may write to it.
    ///
    /// # Errors
    /// The name is not plain, or the table has another declaration.
    pub fn shared(mut self, table: impl Into<String>) -> Result<Self, SchemaError> {
        let table = self.undeclared(table.into())?;
        self.shared.insert(table);
        Ok(self)
    }

    /// Declares a shared table that every tenant may read and write.
    ///
    /// # Errors
    /// The name is not plain, or the table has another declaration.
    pub fn shared_writable(mut self, table: impl Into<String>) -> Result<Self, SchemaError> {
        let table = self.undeclared(table.into())?;
        self.writable.insert(table);
        Ok(self)
    }

    /// Declares a function of the database that reads no table, so that statements may call it.
    ///
    /// # Errors
    /// The name is not plain, or no declaration can allow the function: it changes the session (and so the tenant of
    /// later statements), ends other sessions, reads files or runs text as SQL.
    pub fn function(mut self, name: impl Into<String>) -> Result<Self, SchemaError> {
        let name = name.into();
        name.split('.').try_for_each(|part| plain_name("function", part))?;
        let lower = name.to_ascii_lowercase();
        if let Some(why) = crate::functions::forbidden_reason(lower.rsplit('.').next().unwrap_or(&lower)) {
            return Err(SchemaError(format!(
                "the function `{name}` {why}, so `functions` cannot allow it; remove it from `functions`, and call it \
                 on a connection of your own that has no tenant"
            )));
        }
        self.functions.insert(name);
        Ok(self)
    }

    /// Declares an operator of the database, such as `<#>`, whose function reads no table. PostgreSQL only.
    ///
    /// # Errors
    /// The text is not an operator of PostgreSQL.
    pub fn operator(mut self, operator: impl Into<String>) -> Result<Self, SchemaError> {
        let operator = operator.into();
        let sign = |c: char| "+-*/<>=~!@#%^&|`?".contains(c);
        let plain = !operator.is_empty() && operator.len() <= 63 && operator.chars().all(sign);
        if !plain || operator.contains("--") || operator.contains("/*") {
            return Err(SchemaError(format!(
                "`{}` is not an operator; write its signs alone, such as \"<#>\"",
                operator.escape_debug()
            )));
        }
        self.operators.insert(operator);
        Ok(self)
    }

    /// Declares the functions and operators of an extension of PostgreSQL that read nothing but their arguments:
    /// `pgcrypto`, `uuid-ossp`, `pg_trgm`, `unaccent`, `citext`, `ltree`, `pgvector` or `postgis`. A schema before the
    /// name allows calls with that schema too: `extensions.pg_trgm`.
    ///
    /// # Errors
    /// The extension is not known, or the schema is not a plain name.
    ///
    /// # Security
    /// Functions are known by their names: have no function of your own with the name of one of the extension.
    pub fn preset(mut self, extension: &str) -> Result<Self, SchemaError> {
        let (schema, name) = match extension.split_once('.') {
            Some((schema, name)) => (Some(schema), name),
            None => (None, extension),
        };
        let (functions, operators) = super::presets::preset(name)?;
        for function in functions {
            if let Some(schema) = schema {
                self = self.function(format!("{schema}.{function}"))?;
            }
            self = self.function(function)?;
        }
        for operator in operators {
            self = self.operator(operator)?;
        }
        Ok(self)
    }

    /// Declares a unique key of this table that is unique across all tenants: its columns (or expressions), separated
    /// by commas. An upsert that names the key keeps it as written; any other conflict target gets the tenant column.
    ///
    /// # Errors
    /// The table's name is not plain, or the key has no element.
    pub fn global_key(mut self, table: &str, key: &str) -> Result<Self, SchemaError> {
        table_name(table)?;
        let key = key_elements(key);
        if key.iter().any(String::is_empty) {
            return Err(SchemaError(format!(
                "a global key of the table `{table}` names no column; write the columns, separated by commas"
            )));
        }
        self.global_keys.entry(table.to_owned()).or_default().insert(key);
        Ok(self)
    }

    /// Declares a composite type of the database and its fields. Statements may read `(expr).field` for declared
    /// names only.
    ///
    /// # Errors
    /// A name is not plain, or a field has the name of a function that no declaration allows.
    pub fn composite_type<T: Into<String>>(
        mut self,
        name: impl Into<String>,
        fields: impl IntoIterator<Item = T>,
    ) -> Result<Self, SchemaError> {
        let name = name.into();
        name.split('.').try_for_each(|part| plain_name("composite type", part))?;
        let fields: BTreeSet<String> = fields.into_iter().map(Into::into).collect();
        for field in &fields {
            plain_name("field", field)?;
            if crate::functions::forbidden_reason(field).is_some() {
                return Err(SchemaError(format!(
                    "the field `{field}` of `{name}` has the name of a function, which `(..).{field}` would call; rename it"
                )));
            }
        }
        self.composite_types.entry(name).or_default().extend(fields);
        Ok(self)
    }

    /// Declares the tables that a view reads. A view over shared tables only is shared. Any other view must have the
    /// tenant column, and its definition must not join rows of different tenants. Views cannot be written to.
    ///
    /// # Errors
    /// A name is not plain, `tables` is empty, or the view has another declaration.
    pub fn view<T: Into<String>>(
        mut self,
        view: impl Into<String>,
        tables: impl IntoIterator<Item = T>,
    ) -> Result<Self, SchemaError> {
        let view = self.undeclared(view.into())?;
        let tables: Vec<String> = tables.into_iter().map(Into::into).collect();
        tables.iter().try_for_each(|table| table_name(table))?;
        if tables.is_empty() || tables.contains(&view) {
            return Err(SchemaError(format!("the view `{view}` must name the tables that it reads")));
        }
        self.views.insert(view, tables);
        Ok(self)
    }

    /// Declares a partition (or an inheriting child) of a table. It has the tenant column, or is shared, as its
    /// parent.
    ///
    /// # Errors
    /// A name is not plain, or the table has another declaration.
    pub fn partition(
        mut self,
        child: impl Into<String>,
        parent: impl Into<String>,
    ) -> Result<Self, SchemaError> {
        let child = self.undeclared(child.into())?;
        let parent = parent.into();
        table_name(&parent)?;
        if child == parent || self.partitions.contains_key(&parent) {
            return Err(SchemaError(format!("the partition `{child}` must name the table at the root")));
        }
        self.partitions.insert(child, parent);
        Ok(self)
    }

    pub(super) fn is_shared(&self, table: &str) -> bool {
        self.shared.iter().chain(&self.writable).any(|other| other.eq_ignore_ascii_case(table))
    }

    /// Checks that a table has no declaration yet.
    fn undeclared(&self, table: String) -> Result<String, SchemaError> {
        table_name(&table)?;
        if self.is_declared(&table) {
            return Err(declared_twice(&table));
        }
        Ok(table)
    }

    pub(super) fn is_declared(&self, table: &str) -> bool {
        let said = self.columns.keys().chain(self.views.keys()).chain(self.partitions.keys());
        self.is_shared(table) || said.into_iter().any(|other| other.eq_ignore_ascii_case(table))
    }
}

fn declared_twice(table: &str) -> SchemaError {
    SchemaError(format!("the table `{table}` is declared twice; name it in one place"))
}
