//! What is declared about single tables, functions, keys and types.

use super::Schema;
use super::keys::key_elements;
use crate::dialect::Dialect;
use crate::name::{InvalidName, plain_name, table_name};
use std::collections::BTreeSet;

impl Schema {
    /// A dialect that every statement is written for.
    #[must_use]
    pub fn dialect(mut self, dialect: Dialect) -> Self {
        if !self.dialects.contains(&dialect) {
            self.dialects.push(dialect);
        }
        self
    }

    /// This table's tenant column has another name; for the table of tenants it is its id.
    ///
    /// # Errors
    /// A name is not plain, or the table is shared.
    pub fn column(
        mut self,
        table: impl Into<String>,
        column: impl Into<String>,
    ) -> Result<Self, InvalidName> {
        let (table, column) = (table.into(), column.into());
        table_name(&table)?;
        plain_name("tenant column", &column)?;
        if self.is_shared(&table) {
            return Err(twice(&table));
        }
        self.columns.insert(table, column);
        Ok(self)
    }

    /// This table has no tenant: everybody may read it, and nobody may write to it.
    ///
    /// # Errors
    /// The name is not plain, or the table was said to be something else.
    pub fn shared(mut self, table: impl Into<String>) -> Result<Self, InvalidName> {
        let table = self.free(table.into())?;
        self.shared.insert(table);
        Ok(self)
    }

    /// This table has no tenant: everybody may read it and write to it.
    ///
    /// # Errors
    /// The name is not plain, or the table was said to be something else.
    pub fn shared_writable(mut self, table: impl Into<String>) -> Result<Self, InvalidName> {
        let table = self.free(table.into())?;
        self.writable.insert(table);
        Ok(self)
    }

    /// This function of the database reads no table, so statements may call it.
    ///
    /// # Errors
    /// The name is not plain, or the function is one that no declaration allows: it changes the session (and so
    /// the tenant of what follows), ends other sessions, reads files or runs text as SQL.
    pub fn function(mut self, name: impl Into<String>) -> Result<Self, InvalidName> {
        let name = name.into();
        name.split('.').try_for_each(|part| plain_name("function", part))?;
        let lower = name.to_ascii_lowercase();
        if let Some(why) = crate::functions::never(lower.rsplit('.').next().unwrap_or(&lower)) {
            return Err(InvalidName(format!(
                "the function `{name}` {why}, so `functions` cannot allow it; take it out of `functions`, and call it \
                 on a connection of your own that carries no tenant"
            )));
        }
        self.functions.insert(name);
        Ok(self)
    }

    /// A unique key of this table that holds for all tenants together: its columns (or expressions), separated by
    /// commas. An upsert that names it keeps it as written; any other conflict target gets the tenant column.
    ///
    /// # Errors
    /// The table's name is not plain, or the key has no element.
    pub fn global_key(mut self, table: &str, key: &str) -> Result<Self, InvalidName> {
        table_name(table)?;
        let key = key_elements(key);
        if key.iter().any(String::is_empty) {
            return Err(InvalidName(format!(
                "a global key of the table `{table}` names no column; write the columns, separated by commas"
            )));
        }
        self.global_keys.entry(table.to_owned()).or_default().insert(key);
        Ok(self)
    }

    /// A composite type of the database, with its fields: `(expr).field` is read for these names only.
    ///
    /// # Errors
    /// A name is not plain, or a field is called like a function that no declaration allows.
    pub fn composite_type<T: Into<String>>(
        mut self,
        name: impl Into<String>,
        fields: impl IntoIterator<Item = T>,
    ) -> Result<Self, InvalidName> {
        let name = name.into();
        name.split('.').try_for_each(|part| plain_name("composite type", part))?;
        let fields: BTreeSet<String> = fields.into_iter().map(Into::into).collect();
        for field in &fields {
            plain_name("field", field)?;
            if crate::functions::never(field).is_some() {
                return Err(InvalidName(format!(
                    "the field `{field}` of `{name}` is called like a function, which `(..).{field}` would call; rename it"
                )));
            }
        }
        self.composite_types.entry(name).or_default().extend(fields);
        Ok(self)
    }

    /// This view reads these tables. Over shared tables alone it is shared; otherwise it must have the tenant
    /// column, and the view itself must not join rows of several tenants. It cannot be written to.
    ///
    /// # Errors
    /// A name is not plain, there is no table, or the view was said to be something else.
    pub fn view<T: Into<String>>(
        mut self,
        view: impl Into<String>,
        tables: impl IntoIterator<Item = T>,
    ) -> Result<Self, InvalidName> {
        let view = self.free(view.into())?;
        let tables: Vec<String> = tables.into_iter().map(Into::into).collect();
        tables.iter().try_for_each(|table| table_name(table))?;
        if tables.is_empty() || tables.contains(&view) {
            return Err(InvalidName(format!("the view `{view}` must name the tables that it reads")));
        }
        self.views.insert(view, tables);
        Ok(self)
    }

    /// This table is a partition (or a child) of that one, and is whose that one is.
    ///
    /// # Errors
    /// A name is not plain, or the table was said to be something else.
    pub fn partition(
        mut self,
        child: impl Into<String>,
        parent: impl Into<String>,
    ) -> Result<Self, InvalidName> {
        let child = self.free(child.into())?;
        let parent = parent.into();
        table_name(&parent)?;
        if child == parent || self.partitions.contains_key(&parent) {
            return Err(InvalidName(format!("the partition `{child}` must name the table at the root")));
        }
        self.partitions.insert(child, parent);
        Ok(self)
    }

    pub(super) fn is_shared(&self, table: &str) -> bool {
        self.shared.iter().chain(&self.writable).any(|other| other.eq_ignore_ascii_case(table))
    }

    /// A table of which nothing was said yet.
    fn free(&self, table: String) -> Result<String, InvalidName> {
        table_name(&table)?;
        if self.is_declared(&table) {
            return Err(twice(&table));
        }
        Ok(table)
    }

    pub(super) fn is_declared(&self, table: &str) -> bool {
        let said = self.columns.keys().chain(self.views.keys()).chain(self.partitions.keys());
        self.is_shared(table) || said.into_iter().any(|other| other.eq_ignore_ascii_case(table))
    }
}

fn twice(table: &str) -> InvalidName {
    InvalidName(format!("the table `{table}` is declared twice; name it in one place"))
}
