//! Functions and privileges as the catalogue has them: read by `catalog.rs`, judged by `routine.rs`, `implicit.rs`
//! and `granted.rs`.

use serde::Deserialize;

/// A function or procedure that the doctor may report.
#[derive(Debug, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "as the catalogue has them")]
pub(super) struct Routine {
    pub(super) schema: String,
    pub(super) name: String,
    pub(super) signature: String,
    pub(super) procedure: bool,
    pub(super) owner: String,
    /// The role, or a role that it is a member of, owns it.
    pub(super) own: bool,
    /// The extension that it belongs to.
    pub(super) extension: Option<String>,
    /// Runs as its owner, and the role can make it run.
    pub(super) definer: bool,
    /// A person marked it LEAKPROOF, not the server or an extension.
    pub(super) leakproof: bool,
    /// The role can make it run, and its `SET` clause has the tenant setting, under this name.
    pub(super) sets_tenant: Option<String>,
    /// The tables whose policies call it although it is IMMUTABLE.
    pub(super) frozen: Vec<i64>,
    /// The role can make it run, and it is written in this untrusted language.
    pub(super) language: Option<String>,
    /// The roles of the role, and PUBLIC, that may execute it.
    pub(super) to: Vec<String>,
}

/// A function that a statement can run without a call in its text.
#[derive(Debug, Deserialize)]
pub(super) struct Implicit {
    pub(super) schema: String,
    pub(super) name: String,
    pub(super) signature: String,
    /// What calls it.
    pub(super) how: Vec<String>,
    /// A function of the server has the same name.
    pub(super) named: bool,
    /// It takes one argument.
    pub(super) scalar: bool,
    /// The server checks EXECUTE before it calls the function.
    pub(super) checked: bool,
    /// The roles of the role, and PUBLIC, that may execute it.
    pub(super) to: Vec<String>,
}

/// A privilege that is in neither `pg_init_privs` nor `acldefault()`.
#[derive(Debug, Deserialize)]
pub(super) struct Granted {
    /// The kind as `GRANT` writes it: `FUNCTION`, `TABLE`, `FOREIGN SERVER`; for a column, `(column) ON TABLE`.
    pub(super) kind: String,
    pub(super) name: String,
    pub(super) rights: Vec<String>,
    pub(super) to: Vec<String>,
    /// A foreign server to which the role can connect through a user mapping.
    pub(super) mapped: bool,
}
