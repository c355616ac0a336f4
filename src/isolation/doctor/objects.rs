//! What the catalogue has of functions and of rights: read by `catalog.rs`, judged by the files of the same names.

use serde::Deserialize;

#[derive(Debug, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "as the catalogue has them")]
pub(super) struct Routine {
    pub(super) schema: String,
    pub(super) name: String,
    pub(super) signature: String,
    pub(super) procedure: bool,
    pub(super) owner: String,
    pub(super) own: bool,
    /// The extension that it came with.
    pub(super) extension: Option<String>,
    /// Runs as its owner, and the role can make it run.
    pub(super) definer: bool,
    /// Nothing but a person made it so.
    pub(super) leakproof: bool,
    /// The role can make it run, and it has the tenant among its settings, by this name.
    pub(super) sets_tenant: Option<String>,
    /// The tables whose policies call it, though its answer is kept.
    pub(super) frozen: Vec<i64>,
    /// The role can make it run, and it is written in this language, which is not trusted.
    pub(super) language: Option<String>,
    /// Who of the role's roles, and of everybody, may execute it.
    pub(super) to: Vec<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Implicit {
    pub(super) schema: String,
    pub(super) name: String,
    pub(super) signature: String,
    /// By what it is called.
    pub(super) how: Vec<String>,
    /// A function of the server has the same name.
    pub(super) named: bool,
    /// It takes one argument.
    pub(super) scalar: bool,
    /// The server looks at EXECUTE before it calls the function.
    pub(super) checked: bool,
    /// Who of the role's roles, and of everybody, may execute it.
    pub(super) to: Vec<String>,
}

/// A right that is not among `pg_init_privs` or `acldefault()`.
#[derive(Debug, Deserialize)]
pub(super) struct Granted {
    /// As `GRANT` names it: `FUNCTION`, `TABLE`, `FOREIGN SERVER`; of a column with the column in front.
    pub(super) kind: String,
    pub(super) name: String,
    pub(super) rights: Vec<String>,
    pub(super) to: Vec<String>,
    /// Of a foreign server: a user mapping lets the role connect.
    pub(super) mapped: bool,
}
