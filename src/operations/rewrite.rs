//! [`Rewrite`]: new ids for the rows of a bundle, where the ids are unique over all tenants.

use std::collections::{BTreeMap, HashMap};

use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::bundle::TableHead;
use super::table::{DataColumn, DataTable};
use super::tenant_data::TenantData;
use crate::error::{Error, ErrorKind, Result};
use crate::tenant::TenantId;

/// How the ids of one table become new ones.
#[derive(Debug, Clone)]
enum NewId {
    /// A UUID that is derived from the tenant, the table and the old id.
    Uuid(String),
    /// A number, by adding to the old one. The old one is between 1 and the highest.
    Offset { add: i64, highest: i64 },
}

/// The columns whose values change: those of primary keys, and those of the foreign keys that refer to them.
#[derive(Debug, Default)]
pub(super) struct Rewrite {
    /// By the name of a table, each such column by its name in SQL.
    columns: HashMap<String, BTreeMap<String, NewId>>,
    tenant: String,
}

impl Rewrite {
    /// Finds the columns. The tables are those of the place into which the rows are written, parents first.
    ///
    /// # Errors
    /// [`ErrorKind::Misconfigured`] for a primary key that has no tenant column, and of which no new ids can be made.
    pub(super) async fn new<DB: TenantData>(
        conn: &mut DB::Connection,
        tables: &[(DataTable, TableHead)],
        tenant: &TenantId,
    ) -> Result<Self> {
        let mut rewrite = Self { columns: HashMap::new(), tenant: tenant.to_string() };
        for (table, head) in tables.iter().filter(|(table, _)| !table.own) {
            let mut columns = rewrite.linked(table);
            let key: &[usize] = table.key.as_deref().unwrap_or_default();
            let is_global = table.key.is_some() && !table.key_has_tenant;
            if is_global && !table.key_columns().any(|column| columns.contains_key(&column.ident)) {
                let new = match key {
                    [at] if DB::is_whole_number(&table.columns[*at].r#type) => {
                        let highest = head.highest.unwrap_or(0);
                        let add = DB::reserve_numbers(conn, table, &table.columns[*at], highest).await?;
                        NewId::Offset { add, highest }
                    }
                    [_] => NewId::Uuid(table.name.clone()),
                    _ => return Err(no_new_ids(table)),
                };
                columns.extend(table.key_columns().map(|column| (column.ident.clone(), new.clone())));
            }
            rewrite.columns.insert(table.name.clone(), columns);
        }
        // A row can refer to its own table, and to a table after it.
        for (table, _) in tables.iter().filter(|(table, _)| !table.own) {
            let linked = rewrite.linked(table);
            let columns = rewrite.columns.entry(table.name.clone()).or_default();
            for (column, new) in linked {
                columns.entry(column).or_insert(new);
            }
        }
        Ok(rewrite)
    }

    /// Whether any id changes.
    pub(super) fn changes_ids(&self) -> bool {
        self.columns.values().any(|columns| !columns.is_empty())
    }

    /// The columns of a table that refer to changed ids.
    fn linked(&self, table: &DataTable) -> BTreeMap<String, NewId> {
        let pairs = table.links.iter().flat_map(|link| {
            let parent = self.columns.get(&link.parent);
            link.columns.iter().filter_map(move |(child, to)| Some((child.clone(), parent?.get(to)?.clone())))
        });
        pairs.collect()
    }

    /// The row with new ids.
    ///
    /// # Errors
    /// [`ErrorKind::Misconfigured`] for an id that is neither a UUID nor a whole number.
    pub(super) fn row(&self, table: &DataTable, mut row: Vec<Option<String>>) -> Result<Vec<Option<String>>> {
        for (column, new) in self.columns.get(&table.name).into_iter().flatten() {
            let at = table.position(column);
            if let Some(text) = at.and_then(|at| row.get_mut(at)).and_then(Option::as_mut) {
                *text = self.new_id(new, text).ok_or_else(|| no_new_ids(table))?;
            }
        }
        Ok(row)
    }

    fn new_id(&self, new: &NewId, text: &str) -> Option<String> {
        match new {
            NewId::Offset { add, highest } => {
                // On SQLite a number has an `i` before it.
                let digits = text.strip_prefix('i').unwrap_or(text);
                let number = digits.parse::<i64>().ok().filter(|number| (1..=*highest).contains(number))?;
                let number = number.checked_add(*add)?;
                Some(format!("{}{number}", &text[..text.len() - digits.len()]))
            }
            NewId::Uuid(table) => {
                // On SQLite a UUID is a text, `t`, or 16 bytes, `x`.
                let digits = text.strip_prefix(['t', 'x']).unwrap_or(text);
                let old = Uuid::try_parse(digits).ok()?;
                let hash = Sha256::digest(format!("{} {table} {old}", self.tenant));
                let bytes = hash.iter().take(16).fold(0_u128, |bits, byte| bits << 8 | u128::from(*byte));
                let id = uuid::Builder::from_custom_bytes(bytes.to_be_bytes()).into_uuid();
                let written = if digits.contains('-') { id.to_string() } else { id.simple().to_string() };
                Some(format!("{}{written}", &text[..text.len() - digits.len()]))
            }
        }
    }
}

fn no_new_ids(table: &DataTable) -> Error {
    Error::new(
        ErrorKind::Misconfigured,
        format!(
            "the primary key of `{}` is unique over all tenants, and no new ids can be made for it; import into a schema or \
             a database of its own, or add the tenant column to the key",
            table.name
        ),
    )
}

/// The error of a bundle with a very high number, which would use up the numbers of all tenants.
pub(super) fn used_up(table: &DataTable, column: &DataColumn) -> Error {
    Error::new(
        ErrorKind::InvalidInput,
        format!(
            "the ids of `{}` in the bundle are so high that new ones would use up more than half of the numbers of `{}`; \
             import into a schema or a database of its own",
            table.name, column.name
        ),
    )
}
