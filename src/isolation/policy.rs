//! The two generated policies of a tenant table: their SQL, and how PostgreSQL prints them. `rls/` and `doctor/` use
//! both.

use std::fmt::Write as _;

use sha2::{Digest, Sha256};

/// The restrictive policy.
pub(super) const FLOOR: &str = "tenancy_floor";
/// The permissive policy.
pub(super) const OWN: &str = "tenancy_own";
/// The prefix of a generated policy's comment; the hash of the definition follows.
pub(super) const MARK: &str = "tenancy ";
/// The name of a setting that does not exist: reading it is the error of [`MissingTenant::Error`].
pub(super) const RAISED: &str = "app.tenant_id (no tenant is set)";

/// What a policy does for a statement that runs without a tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum MissingTenant {
    /// The statement sees no rows.
    #[default]
    NoRows,
    /// The statement fails as soon as it reads a row or an index. A missing tenant is then noticed at once; a scan
    /// that uses no index takes about a tenth longer.
    Error,
}

/// The type of a tenant column.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Uuid,
    BigInt,
    Text,
}

impl Kind {
    /// The kind of a type as PostgreSQL prints it, or why no policy is generated for that type.
    pub(super) fn of(r#type: &str, deterministic: bool) -> Result<Self, String> {
        match r#type {
            "uuid" => Ok(Self::Uuid),
            "bigint" => Ok(Self::BigInt),
            "text" if deterministic => Ok(Self::Text),
            "text" => {
                Err("has a collation that treats different ids as equal; use a deterministic one, such as \
                           \"C\""
                    .to_owned())
            }
            other => Err(format!("is of the type `{other}`; make it `uuid`, `bigint` or `text`")),
        }
    }
}

/// A generated policy, for every command and every role.
pub(super) struct Planned {
    pub(super) name: &'static str,
    pub(super) permissive: bool,
    using: String,
    /// The expression as PostgreSQL prints it.
    pub(super) printed: String,
}

impl Planned {
    /// Both policies of a table with this tenant column, whose name PostgreSQL prints as `printed`.
    pub(super) fn both(column: &str, printed: &str, kind: Kind, missing_tenant: MissingTenant) -> [Self; 2] {
        let using = format!("{} = {}", quoted(column), value(kind, missing_tenant));
        let printed = format!("({printed} = {})", printed_value(kind, missing_tenant));
        let floor = Self { name: FLOOR, permissive: false, using: using.clone(), printed: printed.clone() };
        [floor, Self { name: OWN, permissive: true, using, printed }]
    }

    /// The comment that marks the policy as generated.
    pub(super) fn mark(&self) -> String {
        let definition = format!("{} {} {}", self.name, self.permissive, self.using);
        let mut mark = MARK.to_owned();
        for byte in &Sha256::digest(definition)[..8] {
            // Writing to a String cannot fail.
            let _ = write!(mark, "{byte:02x}");
        }
        mark
    }

    /// The statements that create it on a table, and replace a policy with the same name.
    pub(super) fn create(&self, table: &str) -> String {
        let on = format!("{} ON {table}", quoted(self.name));
        let restrictive = if self.permissive { "" } else { " AS RESTRICTIVE" };
        format!(
            "DROP POLICY IF EXISTS {on};\nCREATE POLICY {on}{restrictive}\n    USING ({});\n{}",
            self.using,
            self.comment(table)
        )
    }

    /// The statement that writes the mark.
    pub(super) fn comment(&self, table: &str) -> String {
        format!("COMMENT ON POLICY {} ON {table} IS '{}';", quoted(self.name), self.mark())
    }
}

/// The tenant of the transaction, as SQL. After a finished `SET LOCAL` the setting is an empty string, and not unset.
fn value(kind: Kind, missing_tenant: MissingTenant) -> String {
    let text = match missing_tenant {
        MissingTenant::NoRows => "nullif(current_setting('app.tenant_id', true), '')".to_owned(),
        // Reading a setting that does not exist is an error with its name.
        MissingTenant::Error => format!(
            "current_setting(CASE WHEN current_setting('app.tenant_id', true) <> '' THEN 'app.tenant_id' \
             ELSE '{RAISED}' END)"
        ),
    };
    match kind {
        Kind::Uuid => format!("{text}::uuid"),
        Kind::BigInt => format!("{text}::bigint"),
        Kind::Text => text,
    }
}

/// The same expression as PostgreSQL prints it.
fn printed_value(kind: Kind, missing_tenant: MissingTenant) -> String {
    let text = match missing_tenant {
        MissingTenant::NoRows => "NULLIF(current_setting('app.tenant_id'::text, true), ''::text)".to_owned(),
        MissingTenant::Error => format!(
            "current_setting(\nCASE\n    WHEN (current_setting('app.tenant_id'::text, true) <> ''::text) \
             THEN 'app.tenant_id'::text\n    ELSE '{RAISED}'::text\nEND)"
        ),
    };
    match kind {
        Kind::Uuid => format!("({text})::uuid"),
        Kind::BigInt => format!("({text})::bigint"),
        Kind::Text => text,
    }
}

/// A name as a quoted SQL identifier.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Names as a comma-separated list of quoted identifiers.
pub(super) fn list<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    names.into_iter().map(quoted).collect::<Vec<_>>().join(", ")
}
