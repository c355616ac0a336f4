//! [`Table`]: statements that are built at run time, from names that were checked at compile time. Values are binds,
//! and equal requests have equal texts.

use crate::builder::StatementBuilder;
use crate::dialect::Dialect;
use crate::filter::Filter;
use std::borrow::Cow;

/// A tenant-owned table, its names quoted for one dialect.
///
/// Its methods build the statements whose text depends on filters and orders. `$1` is always the tenant: in a
/// predicate outside of the caller's filter, or in the tenant column of every row of an insert.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "the derive macro generates it as a constant")]
pub struct Table {
    /// The database that the names are quoted for.
    pub dialect: Dialect,
    /// The table's name.
    pub name: Cow<'static, str>,
    /// Its tenant column.
    pub tenant: Cow<'static, str>,
    /// The id, then the other columns, separated by `, `.
    pub columns: Cow<'static, str>,
    /// The index of the soft-delete column, if the table has one.
    pub deleted: Option<usize>,
}

/// Whether a statement includes soft-deleted rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(clippy::exhaustive_enums, reason = "there is no fourth option")]
pub enum Deleted {
    /// Without deleted rows.
    #[default]
    Without,
    /// Deleted rows and others.
    With,
    /// Deleted rows only.
    Only,
}

/// Which of the tenant's rows a statement is about.
#[derive(Debug, Clone, Copy, Default)]
#[expect(clippy::exhaustive_structs, reason = "a selection has these two parts")]
pub struct Rows<'a> {
    /// The condition on the rows. Its binds follow all earlier binds of the statement.
    pub filter: Option<&'a Filter>,
    /// Whether deleted rows are included.
    pub deleted: Deleted,
}

/// A column that rows are sorted by. NULL sorts as greater than every value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "a sort key has these three parts")]
pub struct SortKey {
    /// The index of the column.
    pub column: usize,
    /// Whether the largest value comes first.
    pub descending: bool,
    /// Whether the column can be NULL.
    pub nullable: bool,
}

impl Table {
    /// Selects rows in order. Binds: the values of the filter, those of `after`, then the limit.
    ///
    /// `after` has one entry for each key of the last row of the previous page: true for a value, which is bound, and
    /// false for NULL. The keys must end with the id, so that no two rows are equal.
    pub fn select(&self, rows: Rows<'_>, keys: &[SortKey], after: Option<&[bool]>) -> String {
        let mut text = StatementBuilder::new(format!("SELECT {}", self.columns));
        self.from(rows, &mut text);
        if let Some(given) = after {
            text.push(" AND (");
            self.after(keys, given, &mut text);
            text.push(")");
        }
        let order: Vec<String> = keys.iter().map(|key| self.order(*key)).collect();
        let limit = text.place();
        text.push(&format!(" ORDER BY {} LIMIT {limit}", order.join(", ")));
        text.into_sql()
    }

    /// Counts rows: returns one row with one number.
    pub fn count(&self, rows: Rows<'_>) -> String {
        let mut text = StatementBuilder::new("SELECT count(*)".to_owned());
        self.from(rows, &mut text);
        text.into_sql()
    }

    /// Returns at most one row, without columns of the table.
    pub fn exists(&self, rows: Rows<'_>) -> String {
        let mut text = StatementBuilder::new("SELECT 1".to_owned());
        self.from(rows, &mut text);
        text.push(" LIMIT 1");
        text.into_sql()
    }

    /// Updates columns. Binds: the new values, then the values of the filter.
    pub fn update(&self, rows: Rows<'_>, columns: &[usize]) -> String {
        let mut text = StatementBuilder::new(format!("UPDATE {} SET ", self.name));
        let sets: Vec<String> =
            columns.iter().map(|column| format!("{} = {}", self.column(*column), text.place())).collect();
        text.push(&sets.join(", "));
        self.where_clause(rows, &mut text);
        text.into_sql()
    }

    /// Deletes rows permanently.
    pub fn delete(&self, rows: Rows<'_>) -> String {
        let mut text = StatementBuilder::new("DELETE".to_owned());
        self.from(rows, &mut text);
        text.into_sql()
    }

    /// Inserts rows. Binds, for each row: the id, then the columns in order.
    pub fn insert(&self, rows: usize) -> String {
        let width = self.width();
        let mut text = StatementBuilder::new(format!(
            "INSERT INTO {} ({}, {}) VALUES ",
            self.name, self.tenant, self.columns
        ));
        for row in 0..rows {
            text.push(if row == 0 { "($1" } else { ", ($1" });
            for _ in 0..width {
                let place = text.place();
                text.push(", ");
                text.push(&place);
            }
            text.push(")");
        }
        text.into_sql()
    }

    /// The largest number of rows of one [`insert`](Self::insert).
    pub fn rows_of_an_insert(&self) -> usize {
        ((self.dialect.most_binds() - 1) / self.width()).clamp(1, 1000)
    }

    fn width(&self) -> usize {
        self.columns.split(", ").count()
    }

    pub(crate) fn column(&self, index: usize) -> &str {
        self.columns.split(", ").nth(index).expect("a column of this table")
    }

    fn from(&self, rows: Rows<'_>, text: &mut StatementBuilder) {
        text.push(&format!(" FROM {}", self.name));
        self.where_clause(rows, text);
    }

    /// The predicate on the tenant, followed by the filter in parentheses.
    fn where_clause(&self, rows: Rows<'_>, text: &mut StatementBuilder) {
        text.push(&format!(" WHERE {} = $1", self.tenant));
        if let Some(column) = self.deleted {
            let column = self.column(column);
            match rows.deleted {
                Deleted::Without => text.push(&format!(" AND {column} IS NULL")),
                Deleted::With => {}
                Deleted::Only => text.push(&format!(" AND {column} IS NOT NULL")),
            }
        }
        if let Some(filter) = rows.filter {
            text.push(" AND (");
            filter.write(self, text);
            text.push(")");
        }
    }

    /// The order of one key. The databases sort NULL differently, so the text states its position.
    fn order(&self, key: SortKey) -> String {
        let column = self.column(key.column);
        let direction = if key.descending { " DESC" } else { "" };
        match (key.nullable, self.dialect) {
            (false, _) => format!("{column}{direction}"),
            (true, Dialect::MySql) => format!("{column} IS NULL{direction}, {column}{direction}"),
            (true, _) if key.descending => format!("{column} DESC NULLS FIRST"),
            (true, _) => format!("{column} NULLS LAST"),
        }
    }

    /// The rows after a given row. An index can start from the first half of an `AND`, unless it contains NULL.
    fn after(&self, keys: &[SortKey], given: &[bool], text: &mut StatementBuilder) {
        let (Some((key, keys)), Some((value, given))) = (keys.split_first(), given.split_first()) else {
            return text.push("1 = 0");
        };
        let column = self.column(key.column);
        match (value, key.descending) {
            (true, descending) => {
                let place = text.place();
                let beyond = if descending { "<" } else { ">" };
                let null =
                    if key.nullable && !descending { format!(" OR {column} IS NULL") } else { String::new() };
                if !keys.is_empty() {
                    text.push(&format!("({column} {beyond}= {place}{null}) AND ("));
                }
                text.push(&format!("{column} {beyond} {place}{null}"));
                if !keys.is_empty() {
                    text.push(" OR (");
                    self.after(keys, given, text);
                    text.push("))");
                }
            }
            (false, descending) => {
                text.push(&if descending {
                    format!("{column} IS NOT NULL OR (")
                } else {
                    format!("{column} IS NULL AND (")
                });
                self.after(keys, given, text);
                text.push(")");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Comparison, TableSpec};

    fn orders(dialect: Dialect) -> Table {
        let orders = TableSpec::new("orders", "tenant_id", "id", ["status", "total", "note"]).unwrap();
        orders.statements(dialect).table
    }

    fn key(column: usize, descending: bool, nullable: bool) -> SortKey {
        SortKey { column, descending, nullable }
    }

    #[test]
    fn the_tenant_predicate_is_outside_of_the_filter() {
        let filter = Filter::compare(1, Comparison::Equal).or(Filter::is_null(3)).or(!Filter::is_in(2, 2));
        let rows = Rows { filter: Some(&filter), ..Rows::default() };
        assert_eq!(
            orders(Dialect::Postgres).count(rows),
            "SELECT count(*) FROM \"orders\" WHERE \"tenant_id\" = $1 AND (\"status\" = $2 OR \"note\" IS NULL \
             OR (\"total\" IN ($3, $4)) IS NOT TRUE)"
        );
        assert_eq!(
            orders(Dialect::Sqlite).update(rows, &[2]),
            "UPDATE `orders` SET `total` = $2 WHERE `tenant_id` = $1 AND (`status` = $3 OR `note` IS NULL \
             OR (`total` IN ($4, $5)) IS NOT TRUE)"
        );
        assert_eq!(
            orders(Dialect::Sqlite).delete(Rows::default()),
            "DELETE FROM `orders` WHERE `tenant_id` = $1"
        );
    }

    #[test]
    fn a_page_starts_after_the_previous_one() {
        let keys = [key(3, false, true), key(2, true, false), key(0, false, false)];
        let text = |given: &[bool]| orders(Dialect::Sqlite).select(Rows::default(), &keys, Some(given));
        assert!(text(&[true, true, true]).ends_with(
            " AND ((`note` >= $2 OR `note` IS NULL) AND (`note` > $2 OR `note` IS NULL OR ((`total` <= $3) AND \
             (`total` < $3 OR (`id` > $4))))) ORDER BY `note` NULLS LAST, `total` DESC, `id` LIMIT $5"
        ));
        assert!(text(&[false, true, true]).contains(" AND (`note` IS NULL AND ((`total` <= $2) AND "));
    }

    #[test]
    fn an_insert_of_many_rows_names_the_tenant_in_each() {
        let text = orders(Dialect::Postgres).insert(2);
        assert!(text.ends_with(" VALUES ($1, $2, $3, $4, $5), ($1, $6, $7, $8, $9)"), "{text}");
        for dialect in Dialect::ALL {
            let table = orders(dialect);
            let rows = table.rows_of_an_insert();
            assert!(rows * 4 < dialect.most_binds() && rows > 100, "{rows}");
        }
    }
}
