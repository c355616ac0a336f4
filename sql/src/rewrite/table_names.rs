//! The names of tables and their aliases, and what may be done with the table of a name.

use super::identifiers::alias_of;
use super::pass::{Pass, SqlResult};
use crate::dialect::Dialect;
use crate::rejection::Code;
use crate::schema::Access;
use sqlparser::ast::{Ident, TableAlias, TableAliasColumnDef, TableWithJoins};
use std::collections::BTreeSet;

/// Keywords that the parser reads as a table's name and Postgres never does: `FROM ONLY t` reads `t`.
const RESERVED_WORDS: [&str; 30] = [
    "all",
    "analyze",
    "any",
    "array",
    "as",
    "both",
    "case",
    "cast",
    "check",
    "collate",
    "column",
    "constraint",
    "default",
    "distinct",
    "do",
    "end",
    "fetch",
    "for",
    "from",
    "group",
    "lateral",
    "limit",
    "only",
    "order",
    "select",
    "table",
    "union",
    "user",
    "where",
    "with",
];

impl<'a> Pass<'a> {
    /// Returns how the statement may use a table, given its name as the database resolves it.
    pub(super) fn access(&self, name: &str) -> SqlResult<Access<'a>> {
        if name.rsplit('.').next().is_some_and(|last| last.to_ascii_lowercase().starts_with("tenancy_")) {
            return self.reject(
                Code::Reserved,
                format!("`{name}` is a table of `tenancy`, which your own SQL cannot use"),
                "use the methods of the crate for it; your own tables need other names",
            );
        }
        let access = self.schema.access(self.dialect, name);
        if let (Some(column), true) = (access.tenant, self.schema.lacks_tenant(self.dialect, name)) {
            return self.reject(
                Code::NoTenantColumn,
                format!("`{name}` has no column `{column}`, so the tenant of its rows is unknown"),
                "add the column; or, if every tenant may read all of it, declare it under `shared` in tenancy.toml",
            );
        }
        Ok(access)
    }
}

impl Pass<'_> {
    pub(super) fn not_a_cte(&self, folded: &str) -> SqlResult {
        if self.cte_names.contains(&folded.to_ascii_lowercase()) {
            return self.reject(
                Code::CteName,
                format!("`{folded}` is a CTE elsewhere in this statement and would be a table here"),
                "rename the CTE",
            );
        }
        Ok(())
    }

    /// The name of a table as the database resolves it. Rejects catalogues and keywords.
    pub(super) fn table_name(&self, parts: &[Ident]) -> SqlResult<String> {
        self.no_dot(parts)?;
        self.no_text(parts)?;
        for (n, part) in parts.iter().enumerate() {
            self.not_a_catalog(&part.value.to_ascii_lowercase())?;
            let lower = part.value.to_ascii_lowercase();
            let reserved =
                lower == "select" || (self.dialect == Dialect::Postgres && RESERVED_WORDS.contains(&&*lower));
            // After a dot any word of PostgreSQL is a name.
            let reserved = reserved && (n == 0 || self.dialect != Dialect::Postgres);
            if part.quote_style.is_none() && reserved {
                let why = format!("`{lower}` is a keyword of the database and not a table's name");
                return self.reject(Code::Name, why, "remove it; if it is a name, quote it");
            }
        }
        if parts.is_empty() || parts.len() > 2 {
            return self.reject(
                Code::Name,
                "a table's name of more than two parts",
                "remove the database's name",
            );
        }
        Ok(parts.iter().map(|part| self.fold(part)).collect::<Vec<_>>().join("."))
    }

    pub(super) fn no_text(&self, parts: &[Ident]) -> SqlResult {
        if parts.iter().any(|part| part.quote_style == Some('\'')) {
            return self.reject(Code::Name, "a table's name in quotes for text", "quote it as a name");
        }
        Ok(())
    }

    /// Rejects a dot within a name: `"public.plans"` is not the table `plans` of the schema `public`.
    pub(super) fn no_dot(&self, parts: &[Ident]) -> SqlResult {
        if parts.iter().any(|part| part.value.contains('.')) {
            return self.reject(Code::Name, "a name with a dot in it", "quote each part on its own");
        }
        Ok(())
    }

    pub(super) fn not_a_catalog(&self, lower: &str) -> SqlResult {
        let system = match self.dialect {
            Dialect::Postgres => lower.starts_with("pg_") || lower == "information_schema",
            Dialect::Sqlite => {
                lower.starts_with("sqlite_") || lower.starts_with("pragma_") || lower.starts_with("dbstat")
            }
            Dialect::MySql => {
                matches!(lower, "information_schema" | "mysql" | "performance_schema" | "sys")
            }
        };
        if system {
            return self.reject(
                Code::Catalog,
                "the database's catalogue contains data of other tenants",
                "read it outside of a scope, as the database's owner",
            );
        }
        Ok(())
    }

    /// Rejects two tables of one name in one FROM: which of them a column belongs to depends on the database.
    pub(super) fn distinct_aliases(&mut self, from: &[TableWithJoins]) -> SqlResult {
        let mut seen = BTreeSet::new();
        for item in from {
            for factor in std::iter::once(&item.relation).chain(item.joins.iter().map(|join| &join.relation))
            {
                let Some(alias) = alias_of(factor) else { continue };
                if !seen.insert(alias.value.to_ascii_lowercase()) {
                    self.point_at_ident(&alias);
                    let why = format!("two tables have the name `{}` here", alias.value);
                    return self.reject(Code::Name, why, "give one of them an alias");
                }
            }
        }
        Ok(())
    }

    pub(super) fn optional_alias(&mut self, alias: Option<&TableAlias>) {
        if let Some(alias) = alias {
            self.alias(alias);
        }
    }

    pub(super) fn alias(&mut self, alias: &TableAlias) {
        let TableAlias { explicit: _, name, columns, at } = alias;
        self.point_at_ident(name);
        self.allow(at.is_none(), "AT");
        self.allow(name.quote_style != Some('\''), "a name in quotes for text");
        for TableAliasColumnDef { name: _, data_type } in columns {
            if let Some(data_type) = data_type {
                self.data_type(data_type);
            }
        }
    }
}
