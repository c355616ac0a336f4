//! [`Route`]: how statements are sent: through a pooler or not, and in which schema.

use std::sync::Arc;

use super::connection_mode::ConnectionMode;
use crate::plan::DatabaseLimits;
use crate::tenant::PlacementName;

/// How statements are sent on a connection.
#[derive(Debug, Clone, Default)]
#[expect(unnameable_types, reason = "part of the sealed traits")]
pub struct Route {
    pub(crate) connection_mode: ConnectionMode,
    /// The schema of the tenant, if the tenant has one.
    pub(crate) schema: Option<PlacementName>,
    /// The role of the tenant, if tenants have roles. It is named like the place.
    pub(crate) role: Option<PlacementName>,
    /// The schema of the library's own tables, quoted where needed. It is `None` where the search path of the connection finds them.
    pub(crate) own_tables: Option<Arc<str>>,
    /// What the tenant's plan allows.
    pub(crate) limits: DatabaseLimits,
    /// Whether the server checks during a statement that the client is still there. It then ends the statement of a
    /// dropped request.
    pub(crate) checks_client: bool,
}

impl Route {
    pub(crate) fn of(connection_mode: ConnectionMode) -> Self {
        Self { connection_mode, ..Self::default() }
    }

    /// The text with the name of the tenant's schema at its end; `None` if that changes nothing.
    pub(crate) fn labelled(&self, sql: &str) -> Option<String> {
        let label = format!(" /* {} */", self.schema.as_ref()?);
        (!sql.ends_with(&label)).then(|| sql.to_owned() + &label)
    }

    /// The SQL of a statement on a table of the library, which is written with `@` before the name of the table.
    ///
    /// In a tenant's schema the search path does not find that table, so it is named with its schema.
    pub(crate) fn own_table(&self, sql: &str) -> String {
        match (&self.schema, &self.own_tables) {
            (Some(_), Some(schema)) => sql.replace('@', &format!("{schema}.")),
            _ => sql.replace('@', ""),
        }
    }
}
