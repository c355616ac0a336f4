//! Reads the case files: statements and their expected results, as plain text.
//!
//! ```text
//! # a remark
//! == a name of the case
//! postgres sqlite
//! SELECT ..
//! -> SELECT .. rewritten
//! ```
//!
//! For a rejection, `!! T005` replaces the last line. Lines below it give the position and the text, as far as the case
//! checks them: `at: 2:8` (line and column), `why: ..`, `help: ..`, and `also: T006 T019` for the codes of the others. `(same)` after the arrow is the statement itself. A line
//! `mysql: ..` under the arrow is the text of one dialect, if it differs.
#![allow(dead_code, reason = "each test uses a part of it")]
#![allow(unreachable_pub, reason = "this is not a library")]

use tenancy_sql::{Dialect, Schema};

/// The schema of the cases.
pub fn schema() -> Schema {
    Schema::from_toml(
        r#"
        dialects = ["postgres", "sqlite", "mysql"]
        columns = { tenants = "id" }
        shared = ["countries", "public.plans"]
        shared_writable = ["feedback"]
        functions = ["crypt", "shop.price", "ST_Distance"]
        views = { open_orders = ["orders"], all_countries = ["countries"] }
        partitions = { orders_2026 = "orders", countries_eu = "countries" }
        global_keys = { users = ["email", "lower(name), kind"] }
        composite_types = { address = ["street", "city"] }
        "#,
    )
    .and_then(|schema| {
        schema.with_snapshot(
            r#"
            others = ["countries", "exchange_rates"]
            [table_columns]
            ledger = ["tenant_id", "id", "amount", "tags", "home"]
            "app.ledger" = ["tenant_id", "id", "amount"]
            [primary_keys]
            accounts = ["tenant_id", "id", "kind"]
            [global_keys]
            ledger = ["id"]
            "#,
        )
    })
    .unwrap()
}

/// One statement in one dialect.
#[derive(Debug, Clone)]
pub struct Case {
    pub name: String,
    pub dialect: Dialect,
    pub sql: String,
    /// The rewritten text, or the code of the rejection.
    pub wanted: Result<String, String>,
    /// The parts of the rejection that the case checks.
    pub text: Text,
}

/// The position and the text of a rejection.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Text {
    pub at: Option<String>,
    pub why: Option<String>,
    pub help: Option<String>,
    pub also: Option<String>,
}

/// Every case of a file.
pub fn read(file: &str) -> Vec<Case> {
    let mut cases = Vec::new();
    for block in file.split("\n== ").skip(1) {
        let mut lines = block.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        let name = lines.next().expect("a name").to_owned();
        let dialects: Vec<Dialect> =
            lines.next().expect("dialects").split_whitespace().map(dialect).collect();
        let rest: Vec<&str> = lines.collect();
        let result = rest
            .iter()
            .position(|line| line.starts_with("-> ") || line.starts_with("!! "))
            .unwrap_or_else(|| panic!("no result: {name}"));
        let sql = rest[..result].join("\n");
        let part =
            |prefix| rest[result + 1..].iter().find_map(|line| line.strip_prefix(prefix)).map(str::to_owned);
        let text = Text { at: part("at: "), why: part("why: "), help: part("help: "), also: part("also: ") };
        for dialect in dialects {
            let wanted = match rest[result].split_at(3) {
                ("!! ", code) => Err(code.trim().to_owned()),
                (_, text) => {
                    let text = if text == "(same)" { &sql } else { text };
                    let prefix = format!("{}: ", word(dialect));
                    let special = rest[result + 1..].iter().find_map(|line| line.strip_prefix(&prefix));
                    Ok(special.map_or_else(|| translated(dialect, text), str::to_owned))
                }
            };
            cases.push(Case { name: name.clone(), dialect, sql: sql.clone(), wanted, text: text.clone() });
        }
    }
    cases
}

/// Replaces `$2` by this dialect's placeholder.
fn translated(dialect: Dialect, text: &str) -> String {
    let sign = match dialect {
        Dialect::Postgres => return text.to_owned(),
        Dialect::Sqlite => "?",
        _ => "",
    };
    let mut out = String::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if c == '$' && chars.peek().is_some_and(char::is_ascii_digit) {
            out.push_str(if sign.is_empty() { "?" } else { sign });
            while sign.is_empty() && chars.peek().is_some_and(char::is_ascii_digit) {
                chars.next();
            }
        } else {
            out.push(c);
        }
    }
    out
}

fn dialect(word: &str) -> Dialect {
    match word {
        "postgres" => Dialect::Postgres,
        "sqlite" => Dialect::Sqlite,
        "mysql" => Dialect::MySql,
        other => panic!("no dialect: {other}"),
    }
}

pub fn word(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Postgres => "postgres",
        Dialect::Sqlite => "sqlite",
        _ => "mysql",
    }
}
