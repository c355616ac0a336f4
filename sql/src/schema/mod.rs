//! [`Schema`]: which tables are whose.

mod file;

use std::collections::{BTreeMap, BTreeSet};

use crate::{Dialect, InvalidName, plain_name};

/// What the rewriter has to know of a database: the tenant column, and what is not as usual.
///
/// A table that is not named here belongs to tenants. Names are written as the database stores them (on Postgres
/// that is in lower case, unless a table was created with quotes), and a name with its schema is another name:
/// `countries` says nothing about `public.countries`.
///
/// ```
/// use tenancy_sql::{Dialect, Schema};
///
/// let schema = Schema::from_toml(
///     r#"
///     dialects = ["postgres", "sqlite"]
///     column = "tenant_id"
///     columns = { tenants = "id" }        # tables whose tenant column has another name
///     shared = ["countries"]              # everybody reads, nobody writes
///     shared_writable = ["feedback"]      # everybody reads and writes
///     functions = ["crypt"]               # functions that read no table
///     views = { open_orders = ["orders"] }
///     partitions = { orders_2026 = "orders" }
///     global_keys = { users = ["email"] } # unique for all tenants together
///     composite_types = { address = ["street", "city"] }  # `(home).street` reads a field
///     "#,
/// )?;
/// assert_eq!(schema.dialects(), [Dialect::Postgres, Dialect::Sqlite]);
/// # Ok::<(), tenancy_sql::InvalidName>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schema {
    dialects: Vec<Dialect>,
    column: String,
    columns: BTreeMap<String, String>,
    shared: BTreeSet<String>,
    writable: BTreeSet<String>,
    functions: BTreeSet<String>,
    views: BTreeMap<String, Vec<String>>,
    partitions: BTreeMap<String, String>,
    tenant_type: Option<TenantType>,
    snapshot: Option<String>,
    /// Tables that have no tenant column, whatever they should have.
    without: BTreeSet<String>,
    /// The columns of each table, as far as a snapshot lists them.
    table_columns: BTreeMap<String, BTreeSet<String>>,
    /// The unique keys of each table that do not hold the tenant column, each as its sorted elements.
    global_keys: BTreeMap<String, BTreeSet<Vec<String>>>,
    /// The fields of each composite type.
    composite_types: BTreeMap<String, BTreeSet<String>>,
    /// The primary key of each table, as far as a snapshot lists them.
    primary_keys: BTreeMap<String, BTreeSet<String>>,
}

/// The type of the tenant columns in the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TenantType {
    /// `uuid`.
    Uuid,
    /// `bigint`.
    BigInt,
    /// `text`.
    Text,
}

impl TenantType {
    /// The name in `tenancy.toml`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Uuid => "uuid",
            Self::BigInt => "bigint",
            Self::Text => "text",
        }
    }

    fn parse(name: &str) -> Result<Self, InvalidName> {
        [Self::Uuid, Self::BigInt, Self::Text].into_iter().find(|known| known.as_str() == name).ok_or_else(
            || {
                InvalidName(format!(
                    "the type `{}` of the tenant column is not known; write \"uuid\", \"bigint\" or \"text\"",
                    name.escape_debug()
                ))
            },
        )
    }
}

/// What may be done with one table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Access<'a> {
    /// The tenant column; none if the table is shared.
    pub(crate) tenant: Option<&'a str>,
    pub(crate) writable: bool,
}

impl Schema {
    /// Every table belongs to tenants, by this column.
    ///
    /// # Errors
    /// The column is not a plain name.
    pub fn new(column: impl Into<String>) -> Result<Self, InvalidName> {
        let column = column.into();
        plain_name("tenant column", &column)?;
        Ok(Self {
            dialects: Vec::new(),
            column,
            columns: BTreeMap::new(),
            shared: BTreeSet::new(),
            writable: BTreeSet::new(),
            functions: BTreeSet::new(),
            views: BTreeMap::new(),
            partitions: BTreeMap::new(),
            tenant_type: None,
            snapshot: None,
            without: BTreeSet::new(),
            table_columns: BTreeMap::new(),
            global_keys: BTreeMap::new(),
            composite_types: BTreeMap::new(),
            primary_keys: BTreeMap::new(),
        })
    }

    /// The type of the tenant columns, where it is known. On Postgres the tenant is bound as that type, whatever
    /// the kind of its id.
    pub fn tenant_type(&self) -> Option<TenantType> {
        self.tenant_type
    }

    /// The tenant column of a table, given its name as the database resolves it; `None` for a shared one.
    pub fn tenant_column(&self, dialect: Dialect, table: &str) -> Option<&str> {
        self.access(dialect, table).tenant
    }

    /// Whether statements may write to a table, given its name as the database resolves it: not to one that is only
    /// shared, nor to a view.
    pub fn is_writable(&self, dialect: Dialect, table: &str) -> bool {
        self.access(dialect, table).writable
    }

    /// Whether a table's tenant column has this name, in upper or lower case.
    #[cfg(feature = "rewrite")]
    pub(crate) fn is_tenant_column(&self, name: &str) -> bool {
        std::iter::once(&self.column)
            .chain(self.columns.values())
            .any(|column| column.eq_ignore_ascii_case(name))
    }

    /// The name that tenant columns have where nothing else was said.
    pub fn column_name(&self) -> &str {
        &self.column
    }

    /// Whether the database says that a table has no tenant column.
    pub fn lacks_tenant(&self, dialect: Dialect, name: &str) -> bool {
        self.without.iter().any(|listed| match dialect {
            Dialect::Sqlite => listed.eq_ignore_ascii_case(name),
            _ => listed == name,
        })
    }

    /// A dialect that every statement is written for.
    #[must_use]
    pub fn dialect(mut self, dialect: Dialect) -> Self {
        if !self.dialects.contains(&dialect) {
            self.dialects.push(dialect);
        }
        self
    }

    /// The dialects that every statement is written for, in the order they were named.
    pub fn dialects(&self) -> &[Dialect] {
        &self.dialects
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

    /// What may be done with a table, given its name as the database resolves it.
    pub(crate) fn access(&self, dialect: Dialect, name: &str) -> Access<'_> {
        let same = |listed: &str| match dialect {
            Dialect::Sqlite => listed.eq_ignore_ascii_case(name),
            _ => listed == name,
        };
        if let Some((_, parent)) = self.partitions.iter().find(|(child, _)| same(child)) {
            return self.root(dialect, parent);
        }
        if let Some((view, tables)) = self.views.iter().find(|(view, _)| same(view)) {
            let tenant = tables.iter().any(|table| self.root(dialect, table).tenant.is_some());
            return Access { tenant: tenant.then(|| self.column_of(dialect, view)), writable: false };
        }
        self.root(dialect, name)
    }

    fn root(&self, dialect: Dialect, name: &str) -> Access<'_> {
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

    /// Whether a function of the database was declared, so that statements may call it. A declared name counts as
    /// written and in lower case, which is how PostgreSQL reads it without quotes.
    pub fn allows_function(&self, name: &str) -> bool {
        self.functions.iter().any(|listed| {
            listed == name
                || (listed.eq_ignore_ascii_case(name) && !name.bytes().any(|b| b.is_ascii_uppercase()))
        })
    }

    /// The columns of a table, given its name as the database resolves it, where a snapshot lists them.
    pub fn columns_of(&self, table: &str) -> Option<&BTreeSet<String>> {
        self.table_columns.get(table)
    }

    /// The columns of a table's primary key, where a snapshot lists them.
    #[cfg(feature = "rewrite")]
    pub(crate) fn primary_key(&self, table: &str) -> Option<&BTreeSet<String>> {
        self.primary_keys.get(table)
    }

    /// Whether a composite type was declared that has this field.
    pub fn has_field(&self, field: &str) -> bool {
        self.composite_types.values().any(|fields| fields.contains(field))
    }

    /// Whether a unique key of the table holds for all tenants together.
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

    fn is_shared(&self, table: &str) -> bool {
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

    fn is_declared(&self, table: &str) -> bool {
        let said = self.columns.keys().chain(self.views.keys()).chain(self.partitions.keys());
        self.is_shared(table) || said.into_iter().any(|other| other.eq_ignore_ascii_case(table))
    }
}

fn table_name(name: &str) -> Result<(), InvalidName> {
    name.split('.').try_for_each(|part| plain_name("table", part))
}

/// The elements of a key, sorted, each in lower case, without spaces, quotes, parentheses and casts: PostgreSQL writes
/// `lower((email)::text)` for `lower(email)`.
pub(crate) fn key_elements(key: &str) -> Vec<String> {
    let (mut elements, mut depth, mut cast) = (vec![String::new()], 0_usize, false);
    let mut chars = key.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            ':' if chars.peek() == Some(&':') => {
                chars.next();
                cast = true;
                continue;
            }
            _ if cast && (c.is_alphanumeric() || c == '_') => continue,
            _ => {}
        }
        cast = false;
        match elements.last_mut() {
            _ if c == ',' && depth == 0 => elements.push(String::new()),
            Some(last) if !c.is_whitespace() && !"()\"`".contains(c) => last.push(c.to_ascii_lowercase()),
            _ => {}
        }
    }
    elements.sort_unstable();
    elements
}

fn twice(table: &str) -> InvalidName {
    InvalidName(format!("the table `{table}` is declared twice; name it in one place"))
}
