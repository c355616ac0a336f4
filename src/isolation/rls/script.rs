//! The steps as a file of SQL.

use std::fmt::Write as _;

use super::{PolicyChange, PolicyPlan};

const HEAD: &str = "\
-- Row-level security for the tables of tenants, written by `tenancy` from tenancy.toml and the database.
-- Run it as the owner of the tables, in one transaction, as tools for migrations do. It may be run again.
";
const KEYS: &str = "\
-- Keys that lack the tenant. PostgreSQL checks keys past row-level security, so these let one tenant collide with
-- another's rows, or refer to them. A person decides on each: it locks its tables while it reads them whole, fails on
-- rows that break it, and what was unique among all tenants is unique within each afterwards. Keep this order.
";
const UNGUARDED: &str = "\
-- What no policy guards. A person decides on each; `tenancy policies --check` fails until then.
";
const ADVICE: &str = "-- Advice.\n";

pub(super) fn write(migration: &PolicyPlan) -> String {
    let mut text = HEAD.to_owned();
    if migration.is_empty() {
        text += "\n-- Nothing is to be done.\n";
    }
    for step in migration.changes() {
        // A String takes whatever is written to it.
        let _ = writeln!(text, "\n{}{}", title(step), step.sql());
    }
    for (head, steps) in
        [(KEYS, migration.keys()), (UNGUARDED, migration.unguarded()), (ADVICE, migration.advice())]
    {
        if !steps.is_empty() {
            let _ = write!(text, "\n\n{head}");
        }
        for step in steps {
            let _ = write!(text, "\n{}{}", title(step), comment(step.sql()));
        }
    }
    text
}

fn title(step: &PolicyChange) -> String {
    comment(&format!("{}: {}", step.object(), step.reason()))
}

/// Whatever a name holds, no line of it stands outside of the comment.
fn comment(text: &str) -> String {
    let mut comment = String::new();
    for line in text.split(['\n', '\r']).filter(|line| !line.is_empty()) {
        let _ = writeln!(comment, "-- {line}");
    }
    comment
}
