//! [`TableSpec`]: one tenant-owned table, and every statement that its repository runs.

use crate::dialect::Dialect;
use crate::name::{SchemaError, not_of_a_guard, plain_name};
use crate::table::Table;
use std::borrow::Cow;

/// A tenant-owned table: its name, its tenant column, its id and its other columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableSpec {
    table: String,
    tenant: String,
    id: String,
    columns: Vec<String>,
    /// The index of the soft-delete column.
    deleted: Option<usize>,
}

/// The statements of one repository in one dialect. `$1` is always the tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "the derive macro generates it as a constant")]
pub struct Statements {
    /// `$2` is the id. Returns at most one row.
    pub find: Cow<'static, str>,
    /// `$2` is the limit. Rows are ordered by id.
    pub first_page: Cow<'static, str>,
    /// `$2` is the id to start after, `$3` the limit. Rows are ordered by id.
    pub next_page: Cow<'static, str>,
    /// Returns one row with one number.
    pub count: Cow<'static, str>,
    /// `$2` is the id. Returns at most one row, without columns of the table.
    pub exists: Cow<'static, str>,
    /// `$2` is the id, followed by the columns in order.
    pub insert: Cow<'static, str>,
    /// `$2` is the id, followed by the columns in order. Changes no row if another tenant or a deleted row has the
    /// key.
    pub upsert: Cow<'static, str>,
    /// `$2` is the id, followed by the columns in order.
    pub update: Cow<'static, str>,
    /// `$2` is the id. With soft delete, `$3` is the deletion mark.
    pub delete: Cow<'static, str>,
    /// The table, for statements that are built at run time.
    pub table: Table,
}

impl TableSpec {
    /// Describes a table by its tenant column, its id column, and its other columns in the order of binds.
    ///
    /// # Errors
    /// - A name is not 1 to 63 of `a-z`, `A-Z`, `0-9` and `_`, or starts with a digit.
    /// - Two columns have the same name, or a column is the tenant column, which only the scope may set.
    /// - A name is reserved (`T015`): a table whose name begins with `tenancy_`, in any schema, or a name that begins
    ///   with `__tnt`.
    pub fn new<C: Into<String>>(
        table: impl Into<String>,
        tenant: impl Into<String>,
        id: impl Into<String>,
        columns: impl IntoIterator<Item = C>,
    ) -> Result<Self, SchemaError> {
        let entity = Self {
            table: table.into(),
            tenant: tenant.into(),
            id: id.into(),
            columns: columns.into_iter().map(Into::into).collect(),
            deleted: None,
        };
        for part in entity.table.split('.') {
            plain_name("table", part)?;
            not_of_a_guard(part)?;
        }
        if entity
            .table
            .rsplit('.')
            .next()
            .is_some_and(|name| name.to_ascii_lowercase().starts_with("tenancy_"))
        {
            return Err(SchemaError(format!(
                "T015: `{}` is a table of `tenancy`; use the methods of the crate for it, and give your own table \
                 another name",
                entity.table
            )));
        }
        plain_name("tenant column", &entity.tenant)?;
        not_of_a_guard(&entity.tenant)?;
        let mut seen: Vec<String> = Vec::new();
        for column in entity.all_columns() {
            plain_name("column", column)?;
            not_of_a_guard(column)?;
            // Unquoted names are folded, so names that differ only in case are one column to a reader.
            let folded = column.to_ascii_lowercase();
            if folded == entity.tenant.to_ascii_lowercase() {
                return Err(SchemaError(format!(
                    "`{column}` is the tenant column, which the scope sets; remove the field"
                )));
            }
            if seen.contains(&folded) {
                return Err(SchemaError(format!(
                    "the column `{column}` is named twice; rename one of the fields"
                )));
            }
            seen.push(folded);
        }
        Ok(entity)
    }

    /// Declares the soft-delete column: a row with a value in it is deleted, and the statements skip it.
    ///
    /// # Errors
    /// The table has no such column besides its id.
    pub fn soft_delete(mut self, column: &str) -> Result<Self, SchemaError> {
        let known = self.columns.iter().position(|known| known == column);
        self.deleted = Some(known.ok_or_else(|| {
            SchemaError(format!(
                "the table has no column `{}`; name one of its columns",
                column.escape_debug()
            ))
        })?);
        Ok(self)
    }

    /// Returns every statement of the repository for one dialect.
    pub fn statements(&self, dialect: Dialect) -> Statements {
        let table = self.table.split('.').map(|part| dialect.quote(part)).collect::<Vec<_>>().join(".");
        let tenant = dialect.quote(&self.tenant);
        let id = dialect.quote(&self.id);
        let names: Vec<String> = self.all_columns().map(|column| dialect.quote(column)).collect();
        let all = names.join(", ");
        let deleted = self.deleted.map(|column| dialect.quote(&self.columns[column]));
        let alive = deleted.as_ref().map_or_else(String::new, |column| format!(" AND {column} IS NULL"));
        let guard = format!("WHERE {tenant} = $1{alive}");
        let own = format!("{table} {guard}");
        let one = format!("{own} AND {id} = $2");
        let places: Vec<String> = (1..=names.len() + 1).map(|n| format!("${n}")).collect();
        let sets = if self.columns.is_empty() {
            // Nothing to set, but the count of changed rows must still show whether the row exists.
            format!("{id} = {id}")
        } else {
            names[1..]
                .iter()
                .zip(3..)
                .map(|(name, n)| format!("{name} = ${n}"))
                .collect::<Vec<_>>()
                .join(", ")
        };
        Statements {
            find: format!("SELECT {all} FROM {one}").into(),
            first_page: format!("SELECT {all} FROM {own} ORDER BY {id} LIMIT $2").into(),
            next_page: format!("SELECT {all} FROM {own} AND {id} > $2 ORDER BY {id} LIMIT $3").into(),
            count: format!("SELECT count(*) FROM {own}").into(),
            exists: format!("SELECT 1 FROM {one}").into(),
            insert: format!("INSERT INTO {table} ({tenant}, {all}) VALUES ({})", places.join(", ")).into(),
            upsert: self.upsert(dialect, &table, &all, &places.join(", ")).into(),
            update: format!("UPDATE {table} SET {sets} {guard} AND {id} = $2").into(),
            delete: match deleted {
                Some(column) => format!("UPDATE {table} SET {column} = $3 {guard} AND {id} = $2").into(),
                None => format!("DELETE FROM {one}").into(),
            },
            table: Table {
                dialect,
                name: table.into(),
                tenant: tenant.into(),
                columns: all.into(),
                deleted: self.deleted.map(|column| column + 1),
            },
        }
    }

    fn upsert(&self, dialect: Dialect, table: &str, all: &str, places: &str) -> String {
        let (tenant, id, held) =
            (dialect.quote(&self.tenant), dialect.quote(&self.id), dialect.quote("held"));
        // A table of ids alone has nothing to set, but the count of changed rows must show that the row exists.
        let columns = if self.columns.is_empty() { std::slice::from_ref(&self.id) } else { &self.columns };
        let columns = columns.iter().map(|column| dialect.quote(column));
        let deleted = self.deleted.map(|column| dialect.quote(&self.columns[column]));
        let into = |name: &str| format!("INSERT INTO {name} ({tenant}, {all}) VALUES ({places})");
        if dialect == Dialect::MySql {
            // Any unique key can conflict, also with a row of another tenant.
            let sets =
                columns.map(|c| format!("{c} = CASE WHEN {tenant} = $1 THEN VALUES({c}) ELSE {c} END"));
            let sets = sets.collect::<Vec<_>>().join(", ");
            return format!("{} ON DUPLICATE KEY UPDATE {sets}", into(table));
        }
        let sets = columns.map(|c| format!("{c} = excluded.{c}")).collect::<Vec<_>>().join(", ");
        let alive = deleted.map_or_else(String::new, |column| format!(" AND {held}.{column} IS NULL"));
        let into = into(&format!("{table} AS {held}"));
        format!("{into} ON CONFLICT ({tenant}, {id}) DO UPDATE SET {sets} WHERE {held}.{tenant} = $1{alive}")
    }

    /// The id, then the other columns.
    fn all_columns(&self) -> impl Iterator<Item = &str> {
        std::iter::once(self.id.as_str()).chain(self.columns.iter().map(String::as_str))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(s: &Statements) -> [&str; 9] {
        let Statements {
            find,
            first_page,
            next_page,
            count,
            exists,
            insert,
            upsert,
            update,
            delete,
            table: _,
        } = s;
        [find, first_page, next_page, count, exists, insert, upsert, update, delete]
    }

    #[test]
    fn every_statement_names_the_tenant_and_no_other_table() {
        let orders = TableSpec::new("orders", "tenant_id", "id", ["status", "total"]).unwrap();
        for dialect in Dialect::ALL {
            let tenant = dialect.quote("tenant_id");
            let statements = orders.statements(dialect);
            for text in texts(&statements) {
                assert!(
                    text.contains(&format!("WHERE {tenant} = $1")) || text.contains(&format!("({tenant}, ")),
                    "{text}"
                );
                assert_eq!(text.matches(&dialect.quote("orders")).count(), 1, "{text}");
                assert!(!text.contains(" OR "), "{text}");
            }
        }
        let s = orders.statements(Dialect::Sqlite);
        assert_eq!(
            s.insert,
            "INSERT INTO `orders` (`tenant_id`, `id`, `status`, `total`) VALUES ($1, $2, $3, $4)"
        );
        assert_eq!(
            s.upsert,
            "INSERT INTO `orders` AS `held` (`tenant_id`, `id`, `status`, `total`) VALUES ($1, $2, $3, $4) \
             ON CONFLICT (`tenant_id`, `id`) DO UPDATE SET `status` = excluded.`status`, \
             `total` = excluded.`total` WHERE `held`.`tenant_id` = $1"
        );
        assert_eq!(
            s.update,
            "UPDATE `orders` SET `status` = $3, `total` = $4 WHERE `tenant_id` = $1 AND `id` = $2"
        );
    }

    #[test]
    fn the_tenant_column_is_never_written_by_a_field() {
        for name in ["tenant_id", "TENANT_ID"] {
            let rejection = TableSpec::new("orders", "tenant_id", "id", [name]).unwrap_err();
            assert!(rejection.to_string().contains("which the scope sets"));
        }
        assert!(TableSpec::new("orders", "tenant_id", "tenant_id", ["status"]).is_err());
        let statements =
            TableSpec::new("orders", "org", "id", ["status"]).unwrap().statements(Dialect::Postgres);
        assert!(!statements.update.contains("SET \"org\""));
    }

    #[test]
    fn names_that_could_contain_sql_are_rejected() {
        for bad in ["", "a b", "a\"b", "a`b", "a;b", "a--", "1a", "ä", "a'b", &"a".repeat(64)] {
            assert!(TableSpec::new(bad, "tenant_id", "id", ["x"]).is_err(), "{bad}");
            assert!(TableSpec::new("t", bad, "id", ["x"]).is_err(), "{bad}");
            assert!(TableSpec::new("t", "tenant_id", bad, ["x"]).is_err(), "{bad}");
            assert!(TableSpec::new("t", "tenant_id", "id", [bad]).is_err(), "{bad}");
        }
        assert!(TableSpec::new("shop.orders", "tenant_id", "id", ["x"]).is_ok());
        assert!(TableSpec::new("t", "tenant_id", "id", ["x", "X"]).is_err());
    }

    #[test]
    fn names_of_the_library_are_rejected_as_in_sql() {
        for table in
            ["tenancy_gauges", "TENANCY_audit_events", "app.tenancy_tenants", "__tnt_orders", "__TNT.orders"]
        {
            let rejection = TableSpec::new(table, "tenant_id", "id", ["x"]).unwrap_err();
            assert!(rejection.to_string().starts_with("T015: "), "{rejection}");
        }
        assert!(TableSpec::new("t", "__tnt_id", "id", ["x"]).is_err());
        assert!(TableSpec::new("t", "tenant_id", "__tnt_id", ["x"]).is_err());
        assert!(TableSpec::new("t", "tenant_id", "id", ["__tnt_x"]).is_err());
        for table in ["tenancy", "tenancy_shop.orders", "my_tenancy_notes", "_tnt"] {
            assert!(TableSpec::new(table, "tenant_id", "id", ["tenancy_x"]).is_ok(), "{table}");
        }
    }

    #[test]
    fn a_deleted_row_is_skipped_beside_the_tenant() {
        let orders = TableSpec::new("orders", "tenant_id", "id", ["status", "gone"]).unwrap();
        assert!(orders.clone().soft_delete("id").is_err());
        let s = orders.soft_delete("gone").unwrap().statements(Dialect::Sqlite);
        let guard = "WHERE `tenant_id` = $1 AND `gone` IS NULL";
        for text in texts(&s).iter().filter(|text| !text.starts_with("INSERT")) {
            assert!(text.contains(guard), "{text}");
        }
        assert_eq!(s.delete, format!("UPDATE `orders` SET `gone` = $3 {guard} AND `id` = $2"));
        assert!(
            s.upsert.ends_with(" WHERE `held`.`tenant_id` = $1 AND `held`.`gone` IS NULL"),
            "{}",
            s.upsert
        );
        assert_eq!(s.table.deleted, Some(2));
    }

    #[test]
    fn a_table_of_ids_alone_can_still_be_updated_in_place() {
        let s = TableSpec::new("tags", "tenant_id", "id", [""; 0]).unwrap().statements(Dialect::Postgres);
        assert_eq!(s.update, r#"UPDATE "tags" SET "id" = "id" WHERE "tenant_id" = $1 AND "id" = $2"#);
    }
}
