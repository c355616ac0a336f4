//! The error of a missing privilege: the table, and the privilege that the role of the database needs on it.

use super::own_tables::{CONTROL_PLANE, own_grants};
use crate::error::{Error, ErrorKind};

/// What the role lacks, from PostgreSQL's message and the command of the statement, if it is known.
///
/// PostgreSQL reports the name of the object in the message only. In any language that message contains the name of one
/// of the library's own tables; that of another table is read from an English one.
pub(super) fn missing_privilege(message: &str, command: Option<&str>) -> Error {
    let text = match (own_table(message), object(message)) {
        (Some(table), _) => of_own_table(table),
        (None, Some((kind, name))) => of_object(kind, &shown(name), command),
        (None, None) => "the database's role lacks a privilege, or does not own what the statement changes: the message of the \
                         database, which is the cause of this error, names the object; grant the privilege to the role"
            .to_owned(),
    };
    Error::new(ErrorKind::Misconfigured, text)
}

/// One of the library's own tables.
fn own_table(message: &str) -> Option<&str> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let is_own = |word: &&str| own_grants(word).is_some() || CONTROL_PLANE.contains(word);
    message.split(|c: char| !is_part(c)).find(is_own)
}

/// The kind and the name of the object of an English message.
fn object(message: &str) -> Option<(&str, &str)> {
    const KINDS: [&str; 8] = [
        "table",
        "view",
        "materialized view",
        "foreign table",
        "sequence",
        "schema",
        "function",
        "procedure",
    ];
    let object = message.strip_prefix("permission denied for ")?;
    KINDS.into_iter().find_map(|kind| Some((kind, object.strip_prefix(kind)?.strip_prefix(' ')?)))
}

fn of_own_table(table: &str) -> String {
    match own_grants(table) {
        Some(needed) => format!(
            "the database's role lacks a privilege on the table `{table}`, on which it needs {}: run `GRANT {} ON {table} TO` \
             that role; for the role of the application, `tenancy policies --role` writes all grants",
            listed(needed),
            needed.join(", ")
        ),
        None => format!(
            "the database's role lacks a privilege on the table `{table}`, which belongs to the control plane: give `SqlStore` \
             a pool whose role has SELECT, INSERT, UPDATE and DELETE on it"
        ),
    }
}

fn of_object(kind: &str, name: &str, command: Option<&str>) -> String {
    let privilege = match (kind, command) {
        ("schema" | "sequence", _) => "USAGE",
        ("function" | "procedure", _) => "EXECUTE",
        (_, Some("SELECT")) => "SELECT",
        (_, Some("INSERT")) => "INSERT, or SELECT for what it returns,",
        (_, Some("UPDATE")) => "UPDATE, or SELECT for its conditions,",
        (_, Some("DELETE")) => "DELETE, or SELECT for its conditions,",
        _ => "the privilege of the statement's command (SELECT, INSERT, UPDATE or DELETE)",
    };
    format!(
        "the database's role lacks {privilege} on the {kind} `{name}`: grant it; `tenancy policies --role` writes the grants of \
         tenant tables, and `tenancy doctor` shows what the role can reach"
    )
}

fn listed(privileges: &[&str]) -> String {
    match privileges {
        [all @ .., last] if !all.is_empty() => format!("{} and {last}", all.join(", ")),
        _ => privileges.join(", "),
    }
}

/// A name from a message of the database, on one line.
fn shown(name: &str) -> String {
    name.escape_debug().to_string().chars().take(63).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(message: &str, command: Option<&str>) -> String {
        let error = missing_privilege(message, command);
        assert_eq!(error.kind(), ErrorKind::Misconfigured);
        error.to_string()
    }

    #[test]
    fn the_table_and_what_it_needs_are_named_in_any_language() {
        for message in [
            "permission denied for table tenancy_gauges",
            "keine Berechtigung f\u{fc}r Tabelle tenancy_gauges",
            "\u{30c6}\u{30fc}\u{30d6}\u{30eb}tenancy_gauges\u{3078}\u{306e}",
        ] {
            let text = text(message, None);
            assert!(
                text.contains("on the table `tenancy_gauges`, on which it needs SELECT, INSERT and UPDATE"),
                "{text}"
            );
            assert!(text.contains("`GRANT SELECT, INSERT, UPDATE ON tenancy_gauges TO`"), "{text}");
        }
        let control = text("permission denied for table tenancy_tenants", Some("SELECT"));
        assert!(control.contains("`tenancy_tenants`, which belongs to the control plane"), "{control}");
    }

    #[test]
    fn the_command_is_the_privilege() {
        let of = |message: &str, command| text(message, command);
        assert!(
            of("permission denied for table orders", Some("SELECT"))
                .contains("lacks SELECT on the table `orders`")
        );
        let update = of("permission denied for view orders", Some("UPDATE"));
        assert!(
            update.contains("lacks UPDATE, or SELECT for its conditions, on the view `orders`"),
            "{update}"
        );
        let unknown = of("permission denied for table orders", None);
        assert!(unknown.contains("(SELECT, INSERT, UPDATE or DELETE) on the table `orders`"), "{unknown}");
        assert!(
            of("permission denied for schema shop", Some("SELECT")).contains("USAGE on the schema `shop`")
        );
        assert!(of("permission denied for sequence s", Some("INSERT")).contains("USAGE on the sequence `s`"));
        assert!(
            of("permission denied for function f", Some("SELECT")).contains("EXECUTE on the function `f`")
        );
        assert!(of("must be owner of table orders", None).contains("does not own"));
        let hostile = of("permission denied for table a\nb`", Some("SELECT"));
        assert!(!hostile.contains('\n'), "{hostile}");
    }
}
