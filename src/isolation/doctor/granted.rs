//! Judges privileges of the role that neither a fresh server nor the script of an extension grants.

use super::catalog::Catalog;
use super::check::Check;
use super::objects::Granted;
use super::report::{Finding, Fix};

pub(super) fn judge(catalog: &Catalog, found: &mut Vec<Finding>) {
    if catalog.superuser() {
        return;
    }
    for granted in &catalog.granted {
        found.push(granted.finding());
    }
}

impl Granted {
    fn finding(&self) -> Finding {
        let Self { kind, name, rights, to, mapped } = self;
        let word = kind.rsplit(" ON ").next().unwrap_or(kind).to_lowercase();
        let (rights_text, to_text) = (rights.join(", "), to.join(", "));
        if rights == &["OWNER"] {
            return Finding::new(
                Check::ForeignServer,
                name.clone(),
                format!("{to_text} owns this {word}, and can map itself to any user there"),
                Fix::Step(format!(
                    "let another role own it: ALTER {} {name} OWNER TO ..",
                    kind.to_uppercase()
                )),
            );
        }
        let (check, why) = match word.as_str() {
            "function" | "procedure" | "table" | "sequence" => (
                Check::SystemPrivilege,
                format!("on this {word}, which a fresh server or its extension restricts"),
            ),
            "foreign server" if *mapped => (
                Check::ForeignServer,
                "on this foreign server, and a user mapping lets it connect".to_owned(),
            ),
            "foreign server" | "foreign data wrapper" => (
                Check::ForeignServer,
                format!(
                    "on this {word}: a user mapping that the role or a superuser creates lets it connect"
                ),
            ),
            _ => (
                Check::WidePrivilege,
                format!("on this {word}, which a fresh server grants to no ordinary role"),
            ),
        };
        let columns = kind.strip_suffix(" ON TABLE");
        let revoked: Vec<String> = rights
            .iter()
            .map(|right| columns.map_or_else(|| right.clone(), |list| format!("{right} {list}")))
            .collect();
        let kind = if columns.is_some() { "TABLE" } else { kind };
        Finding::new(
            check,
            name.clone(),
            format!("{to_text} has {rights_text} {why}"),
            Fix::Sql(format!("REVOKE {} ON {kind} {name} FROM {to_text}", revoked.join(", "))),
        )
    }
}
