//! What `tenancy recount` counts: the rows of a table, all of them or those that a condition names.

use crate::error::{Error, ErrorKind};
use crate::placement::Provision;
use crate::quota::Existing;
use crate::scope::Tx;
use sqlx::{AssertSqlSafe, Postgres, Row, Sqlite, TypeInfo, ValueRef};
use tenancy_sql::{Dialect, Schema};
use uuid::Uuid;

/// The rows of one tenant that a gauge counts.
pub(crate) struct Counted {
    table: String,
    condition: Option<String>,
    ids: Option<String>,
}

impl Counted {
    /// Checks the names. The condition is proven by the rewriter when it runs.
    pub(crate) fn new(
        table: &str,
        condition: Option<&str>,
        ids: Option<&str>,
        dialect: Dialect,
        schema: &Schema,
    ) -> Result<Self, String> {
        let parts = names(table)
            .filter(|parts| parts.len() <= 2)
            .ok_or("`--table` is the name of one table, such as `projects`")?;
        let column = |ids: &str| match names(ids) {
            Some(parts) if parts.len() == 1 => Ok(ids.to_owned()),
            _ => Err("`--id-column` is the name of one column, such as `id`"),
        };
        let ids = ids.map(column).transpose()?;
        if condition.is_some_and(|text| text.trim().is_empty()) {
            return Err("`--where` is empty; give a condition, or leave the option out".to_owned());
        }
        let known =
            |name: &str| schema.tenant_column(dialect, name).is_some() && !schema.lacks_tenant(dialect, name);
        if !parts.iter().rev().take(1).chain([&parts.join(".")]).all(|name| known(name)) {
            return Err(format!(
                "the table `{table}` has no tenant column in tenancy.toml, so it has no rows of one tenant"
            ));
        }
        Ok(Self { table: table.to_owned(), condition: condition.map(|text| text.trim().to_owned()), ids })
    }

    /// What is counted, in words.
    pub(crate) fn words(&self) -> String {
        let Self { table, condition, ids } = self;
        let rows = match condition {
            Some(condition) => format!("the rows of {table} where {condition}"),
            None => format!("all rows of {table}"),
        };
        match ids {
            Some(column) => format!("{rows}, by id from {column}"),
            None => rows,
        }
    }

    fn sql(&self, selected: &str) -> AssertSqlSafe<String> {
        // The rewriter adds the tenant, and rejects what it cannot prove.
        AssertSqlSafe(match &self.condition {
            Some(condition) => format!("SELECT {selected} FROM {} WHERE ({condition})", self.table),
            None => format!("SELECT {selected} FROM {}", self.table),
        })
    }
}

/// A database on which rows of a tenant are counted.
pub(crate) trait Count: Provision {
    async fn count(tx: &mut Tx<'_, Self>, counted: &Counted) -> crate::Result<Existing>;
}

impl Count for Postgres {
    async fn count(tx: &mut Tx<'_, Self>, counted: &Counted) -> crate::Result<Existing> {
        let Some(column) = &counted.ids else {
            let number = sqlx::query_scalar(counted.sql("count(*)")).fetch_one(tx).await;
            return number.map(number_of).map_err(Error::from_sqlx);
        };
        let texts = sqlx::query_scalar(counted.sql(&format!("CAST({column} AS text)"))).fetch_all(tx).await;
        let texts: Vec<Option<String>> = texts.map_err(Error::from_sqlx)?;
        texts.into_iter().map(|text| text.ok_or_else(no_id)).collect::<crate::Result<_>>().map(Existing::Ids)
    }
}

impl Count for Sqlite {
    async fn count(tx: &mut Tx<'_, Self>, counted: &Counted) -> crate::Result<Existing> {
        let Some(column) = &counted.ids else {
            let number = sqlx::query_scalar(counted.sql("count(*)")).fetch_one(tx).await;
            return number.map(number_of).map_err(Error::from_sqlx);
        };
        let rows = sqlx::query(counted.sql(column)).fetch_all(tx).await.map_err(Error::from_sqlx)?;
        rows.iter().map(id_of).collect::<crate::Result<_>>().map(Existing::Ids)
    }
}

fn number_of(number: i64) -> Existing {
    Existing::Number(number.unsigned_abs())
}

/// The id of a row of SQLite, as the application passes it to the gauge: a number, a text, or a UUID of 16 bytes.
fn id_of(row: &sqlx::sqlite::SqliteRow) -> crate::Result<String> {
    let value = row.try_get_raw(0).map_err(Error::from_sqlx)?;
    if value.is_null() {
        return Err(no_id());
    }
    let kind = value.type_info().name().to_owned();
    let text = match &*kind {
        "INTEGER" => row.try_get_unchecked::<i64, _>(0).map(|number| number.to_string()),
        "BLOB" => row.try_get_unchecked::<Uuid, _>(0).map(|id| id.to_string()),
        _ => row.try_get_unchecked::<String, _>(0),
    };
    text.map_err(Error::from_sqlx)
}

fn no_id() -> Error {
    Error::new(ErrorKind::InvalidInput, "a row has no id: the column of `--id-column` is NULL")
}

/// The names of `schema.table`, each plain or in double quotes, without the quotes.
fn names(text: &str) -> Option<Vec<String>> {
    text.split('.').map(name).collect()
}

fn name(text: &str) -> Option<String> {
    if let Some(quoted) = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        let plain = !quoted.is_empty() && !quoted.contains(|c: char| c == '"' || c.is_control());
        return plain.then(|| quoted.to_owned());
    }
    let starts = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    let plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    (starts && plain).then(|| text.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_plain_or_quoted() {
        for (text, expected) in [
            ("projects", vec!["projects"]),
            ("Shop.Projects", vec!["shop", "projects"]),
            ("\"Odd name\"", vec!["Odd name"]),
        ] {
            assert_eq!(names(text).unwrap(), expected, "{text}");
        }
        for text in ["", "a, b", "a b", "a;", "1a", "\"a", "\"\"", "a.", "a--", "\"a\"b\""] {
            assert_eq!(names(text), None, "{text}");
        }
    }

    #[test]
    fn a_table_without_a_tenant_is_rejected() {
        let schema = Schema::from_toml("shared = [\"countries\", \"public.plans\"]").unwrap();
        for (table, fits) in
            [("projects", true), ("public.projects", true), ("countries", false), ("public.plans", false)]
        {
            let counted = Counted::new(table, None, None, Dialect::Postgres, &schema);
            assert_eq!(counted.is_ok(), fits, "{table}");
        }
        let counted =
            Counted::new("projects", Some(" deleted_at IS NULL "), Some("id"), Dialect::Postgres, &schema);
        let counted = counted.ok().unwrap();
        assert_eq!(counted.words(), "the rows of projects where deleted_at IS NULL, by id from id");
        assert_eq!(counted.sql("count(*)").0, "SELECT count(*) FROM projects WHERE (deleted_at IS NULL)");
        for (condition, ids) in [(Some(" "), None), (None, Some("a.b")), (None, Some("count(*)"))] {
            assert!(Counted::new("projects", condition, ids, Dialect::Postgres, &schema).is_err());
        }
    }
}
