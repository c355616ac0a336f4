//! Statements that depend on what is asked: put together when the program runs, from names that were checked when
//! it was compiled. Values are binds, and equal questions have equal texts.

use std::borrow::Cow;
use std::fmt::Write;

use crate::{Dialect, Filter};

/// A tenant-owned table, its names quoted for one dialect.
///
/// Its methods write the statements whose text depends on what is asked. `$1` is the tenant in each of them: in a
/// predicate outside of the caller's, or in the tenant column of every row of an insert.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "the derive macro writes it as a constant")]
pub struct Table {
    /// Whose text it is.
    pub dialect: Dialect,
    /// The table.
    pub name: Cow<'static, str>,
    /// Its tenant column.
    pub tenant: Cow<'static, str>,
    /// The id and then the other columns, with `, ` between them.
    pub columns: Cow<'static, str>,
    /// Which column says that a row is deleted, if rows are only marked.
    pub deleted: Option<usize>,
}

/// Whether rows that are marked as deleted count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(clippy::exhaustive_enums, reason = "there is no fourth way")]
pub enum Deleted {
    /// They do not.
    #[default]
    Without,
    /// They do.
    With,
    /// Only they do.
    Only,
}

/// Which of the tenant's rows.
#[derive(Debug, Clone, Copy, Default)]
#[expect(clippy::exhaustive_structs, reason = "two questions, and their answers")]
pub struct Rows<'a> {
    /// Those of which this holds; its values come after all that stands before it.
    pub filter: Option<&'a Filter>,
    /// Whether deleted ones.
    pub deleted: Deleted,
}

/// A column that rows are sorted by. NULL stands above every value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "all there is to say of a key")]
pub struct SortKey {
    /// Which column.
    pub column: usize,
    /// The largest first.
    pub descending: bool,
    /// Whether the column can be NULL.
    pub nullable: bool,
}

impl Table {
    /// Rows in order: the filter's values, those of `after`, then how many.
    ///
    /// `after` says of each key of the last row seen whether it has a value, which is bound, or is NULL. The keys
    /// must end with the id, so that no two rows are equal.
    pub fn select(&self, rows: Rows<'_>, keys: &[SortKey], after: Option<&[bool]>) -> String {
        let mut text = Text::new(format!("SELECT {}", self.columns));
        self.from(rows, &mut text);
        if let Some(given) = after {
            text.push(" AND (");
            self.after(keys, given, &mut text);
            text.push(")");
        }
        let order: Vec<String> = keys.iter().map(|key| self.order(*key)).collect();
        let limit = text.place();
        text.push(&format!(" ORDER BY {} LIMIT {limit}", order.join(", ")));
        text.sql
    }

    /// One row with one number.
    pub fn count(&self, rows: Rows<'_>) -> String {
        let mut text = Text::new("SELECT count(*)".to_owned());
        self.from(rows, &mut text);
        text.sql
    }

    /// One row or none, with nothing of the table in it.
    pub fn exists(&self, rows: Rows<'_>) -> String {
        let mut text = Text::new("SELECT 1".to_owned());
        self.from(rows, &mut text);
        text.push(" LIMIT 1");
        text.sql
    }

    /// The new values of the columns, then the filter's.
    pub fn update(&self, rows: Rows<'_>, columns: &[usize]) -> String {
        let mut text = Text::new(format!("UPDATE {} SET ", self.name));
        let sets: Vec<String> =
            columns.iter().map(|column| format!("{} = {}", self.column(*column), text.place())).collect();
        text.push(&sets.join(", "));
        self.own(rows, &mut text);
        text.sql
    }

    /// Removes rows for good.
    pub fn delete(&self, rows: Rows<'_>) -> String {
        let mut text = Text::new("DELETE".to_owned());
        self.from(rows, &mut text);
        text.sql
    }

    /// Adds rows: for each the id, then the columns in order.
    pub fn insert(&self, rows: usize) -> String {
        let width = self.width();
        let mut text =
            Text::new(format!("INSERT INTO {} ({}, {}) VALUES ", self.name, self.tenant, self.columns));
        for row in 0..rows {
            text.push(if row == 0 { "($1" } else { ", ($1" });
            for _ in 0..width {
                let place = text.place();
                text.push(", ");
                text.push(&place);
            }
            text.push(")");
        }
        text.sql
    }

    /// How many rows one [`insert`](Self::insert) can take.
    pub fn rows_of_an_insert(&self) -> usize {
        ((self.dialect.most_binds() - 1) / self.width()).clamp(1, 1000)
    }

    fn width(&self) -> usize {
        self.columns.split(", ").count()
    }

    pub(crate) fn column(&self, index: usize) -> &str {
        self.columns.split(", ").nth(index).expect("a column of this table")
    }

    fn from(&self, rows: Rows<'_>, text: &mut Text) {
        text.push(&format!(" FROM {}", self.name));
        self.own(rows, text);
    }

    /// The tenant's rows, and of them those that are asked for: the parentheses keep the filter inside.
    fn own(&self, rows: Rows<'_>, text: &mut Text) {
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

    /// The databases disagree where NULL stands, so it is said.
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

    /// What comes after a row. The first half of an `AND` is what an index can start from, if NULL is not in it.
    fn after(&self, keys: &[SortKey], given: &[bool], text: &mut Text) {
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

/// A statement in the making; `$1` is the tenant's.
pub(crate) struct Text {
    sql: String,
    places: usize,
}

impl Text {
    fn new(sql: String) -> Self {
        Self { sql, places: 1 }
    }

    pub(crate) fn push(&mut self, text: &str) {
        self.sql.push_str(text);
    }

    /// The place of the next value.
    pub(crate) fn place(&mut self) -> String {
        self.places += 1;
        let mut place = String::new();
        write!(place, "${}", self.places).expect("a string takes text");
        place
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
    fn the_tenant_stands_outside_of_the_filter() {
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
    fn a_page_starts_where_the_last_one_ended() {
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
