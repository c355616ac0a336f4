//! The two policies of a tenant's table, as `policies` and the doctor both write them.

use std::fmt::Write as _;

use sha2::{Digest, Sha256};

/// The restrictive policy.
pub(super) const FLOOR: &str = "tenancy_floor";
/// The permissive policy.
pub(super) const OWN: &str = "tenancy_own";
/// How the comment of a generated policy begins; the hash of its definition follows.
pub(super) const MARK: &str = "tenancy ";
/// The setting that does not exist, whose name is the error of [`MissingTenant::Error`].
pub(super) const RAISED: &str = "app.tenant_id (no tenant is set)";

/// What a statement sees that runs without a tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum MissingTenant {
    /// No row, as if there were none.
    #[default]
    NoRows,
    /// An error that says so, wherever a row or an index is looked at. A forgotten tenant is noticed at once; a scan
    /// that no index serves takes about a tenth longer.
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
    /// The kind of a type as the database prints it, or why no policy is generated for that type.
    pub(super) fn of(r#type: &str, deterministic: bool) -> Result<Self, String> {
        match r#type {
            "uuid" => Ok(Self::Uuid),
            "bigint" => Ok(Self::BigInt),
            "text" if deterministic => Ok(Self::Text),
            "text" => {
                Err("has a collation by which different ids are equal; give it a deterministic one, such as \
                           \"C\""
                    .to_owned())
            }
            other => Err(format!("is of the type `{other}`; make it `uuid`, `bigint` or `text`")),
        }
    }
}

/// A policy as it should be: for every command and every role.
pub(super) struct Planned {
    pub(super) name: &'static str,
    pub(super) permissive: bool,
    using: String,
    /// The same as the database prints it.
    pub(super) printed: String,
}

impl Planned {
    /// Both policies of a table with this tenant column, whose name the database prints as `printed`.
    pub(super) fn both(column: &str, printed: &str, kind: Kind, unset: MissingTenant) -> [Self; 2] {
        let using = format!("{} = {}", quoted(column), value(kind, unset));
        let printed = format!("({printed} = {})", printed_value(kind, unset));
        let floor = Self { name: FLOOR, permissive: false, using: using.clone(), printed: printed.clone() };
        [floor, Self { name: OWN, permissive: true, using, printed }]
    }

    /// The comment by which the policy is known for a generated one.
    pub(super) fn mark(&self) -> String {
        let definition = format!("{} {} {}", self.name, self.permissive, self.using);
        let mut mark = MARK.to_owned();
        for byte in &Sha256::digest(definition)[..8] {
            // A String takes whatever is written to it.
            let _ = write!(mark, "{byte:02x}");
        }
        mark
    }

    /// The statements that create it, in place of any policy of its name, on a table as SQL names it.
    pub(super) fn create(&self, table: &str) -> String {
        let on = format!("{} ON {table}", quoted(self.name));
        let restrictive = if self.permissive { "" } else { " AS RESTRICTIVE" };
        format!(
            "DROP POLICY IF EXISTS {on};\nCREATE POLICY {on}{restrictive}\n    USING ({});\n{}",
            self.using,
            self.comment(table)
        )
    }

    /// The statement that marks it.
    pub(super) fn comment(&self, table: &str) -> String {
        format!("COMMENT ON POLICY {} ON {table} IS '{}';", quoted(self.name), self.mark())
    }
}

/// The tenant that the transaction is for. After a finished `SET LOCAL` the setting is empty, and not away.
fn value(kind: Kind, unset: MissingTenant) -> String {
    let text = match unset {
        MissingTenant::NoRows => "nullif(current_setting('app.tenant_id', true), '')".to_owned(),
        // There is no such setting, which is what the error says.
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

fn printed_value(kind: Kind, unset: MissingTenant) -> String {
    let text = match unset {
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

/// A name as SQL says it.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

pub(super) fn list<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    names.into_iter().map(quoted).collect::<Vec<_>>().join(", ")
}
