//! Runs the case files: each statement has its expected text, or is rejected with its expected code.
#![cfg(feature = "rewrite")]

mod cases;
mod notation;

use cases::{Case, Text, read, schema, word};
use tenancy_sql::{Bind, Dialect, Schema, relations, rewrite};

const CONSTRUCTS: &str = include_str!("cases/constructs.txt");
const REJECTIONS: &str = include_str!("cases/rejections.txt");
const LEAKS: &str = include_str!("cases/leaks.txt");
const TEXTS: &str = include_str!("cases/texts.txt");

fn check(file: &str, at_least: usize) {
    let schema = schema();
    let cases = read(file);
    let mut wrong = Vec::new();
    for Case { name, dialect, sql, wanted, text } in &cases {
        let got = rewrite(*dialect, sql, &schema);
        if let Err(rejected) = &got {
            let spot = rejected.spot();
            let got = Text {
                at: text.at.as_ref().map(|_| format!("{}:{}", spot.line, spot.column)),
                why: text.why.as_ref().map(|_| rejected.why().to_owned()),
                help: text.help.as_ref().map(|_| rejected.help().to_owned()),
                also: text.also.as_ref().map(|_| {
                    let codes = rejected.others().iter().map(|other| other.code().as_str());
                    codes.collect::<Vec<_>>().join(" ")
                }),
            };
            if got != *text {
                wrong.push(format!(
                    "{name} ({})\n  {sql}\n  wanted {text:?}\n  got    {got:?}",
                    word(*dialect)
                ));
            }
        }
        let got =
            got.map(|rewritten| rewritten.text().to_owned()).map_err(|rejected| rejected.code().to_string());
        if got != *wanted {
            wrong
                .push(format!("{name} ({})\n  {sql}\n  wanted {wanted:?}\n  got    {got:?}", word(*dialect)));
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
    assert!(cases.len() >= at_least, "only {} cases were read", cases.len());
}

#[test]
fn every_construct_has_the_expected_text() {
    check(CONSTRUCTS, 320);
}

#[test]
fn every_rejection_has_the_expected_code() {
    check(REJECTIONS, 140);
}

#[test]
fn every_rejection_has_the_expected_text() {
    check(TEXTS, 90);
}

#[test]
fn every_known_leak_is_rejected_or_harmless() {
    check(LEAKS, 120);
}

#[test]
fn binds_are_in_the_order_of_each_dialect() {
    let schema = schema();
    let sql = "SELECT id FROM orders WHERE a = $2 AND b = $1 AND c = $2";
    let rewritten = rewrite(Dialect::Postgres, sql, &schema).unwrap();
    assert_eq!(rewritten.binds(), [Bind::Value(1), Bind::Value(2), Bind::Tenant]);
    let rewritten = rewrite(Dialect::MySql, sql, &schema).unwrap();
    assert_eq!(rewritten.binds(), [Bind::Tenant, Bind::Value(2), Bind::Value(1), Bind::Value(2)]);
    let rewritten = rewrite(Dialect::MySql, "UPDATE orders SET a = ? WHERE b = ?", &schema).unwrap();
    assert_eq!(rewritten.binds(), [Bind::Value(1), Bind::Tenant, Bind::Value(2)]);
    let rewritten = rewrite(Dialect::Sqlite, "SELECT name FROM countries WHERE id = ?", &schema).unwrap();
    assert_eq!(rewritten.binds(), [Bind::Value(1)]);
    // A question mark in a string is not a parameter.
    let rewritten = rewrite(Dialect::MySql, "SELECT '?1', `a?1` FROM orders WHERE b = ?", &schema).unwrap();
    assert_eq!(rewritten.text(), "SELECT '?1', `a?1` FROM orders WHERE orders.tenant_id = ? AND (b = ?)");
    assert_eq!(rewritten.binds(), [Bind::Tenant, Bind::Value(1)]);
}

/// SQLite searches a numbered parameter among all others, which takes quadratic time.
#[test]
fn many_parameters_have_no_numbers_on_sqlite() {
    let schema = schema();
    let many = |n: usize, of: fn(usize) -> String| (1..=n).map(of).collect::<Vec<_>>().join(", ");
    for mark in [|_| "?".to_owned(), |n| format!("?{n}"), |n| format!("${n}")] {
        let rewritten = rewrite(
            Dialect::Sqlite,
            &format!("SELECT id FROM orders WHERE id IN ({})", many(40, mark)),
            &schema,
        )
        .unwrap();
        let wanted = format!(
            "SELECT id FROM orders WHERE orders.tenant_id = $41 AND (id IN ({}))",
            many(40, |_| "?".to_owned())
        );
        assert_eq!(rewritten.text(), wanted);
        assert_eq!((rewritten.binds().len(), rewritten.binds().last()), (41, Some(&Bind::Tenant)));
        assert_eq!(rewritten.reprove(Dialect::Sqlite, &schema), Ok(()));
    }
    // Parameters out of order, repeated, or few keep their numbers.
    for list in [
        format!("?2, ?1, {}", many(40, |n| format!("?{}", n + 2))),
        format!("?1, {}", many(40, |n| format!("?{n}"))),
        many(31, |_| "?".to_owned()),
    ] {
        let rewritten =
            rewrite(Dialect::Sqlite, &format!("SELECT id FROM orders WHERE id IN ({list})"), &schema)
                .unwrap();
        assert!(rewritten.text().contains("?1"), "{}", rewritten.text());
        assert_eq!(rewritten.reprove(Dialect::Sqlite, &schema), Ok(()));
    }
    let rewritten = rewrite(
        Dialect::Sqlite,
        &format!("SELECT 'a''?' WHERE 1 IN ({})", many(32, |_| "?".to_owned())),
        &schema,
    );
    assert!(rewritten.unwrap().text().starts_with("SELECT 'a''?' WHERE 1 IN (?, ?"));
}

#[test]
fn functions_that_change_the_session_cannot_be_declared() {
    for name in [
        "set_config",
        "pg_catalog.set_config",
        "SET_CONFIG",
        "pg_advisory_lock",
        "pg_try_advisory_lock",
        "pg_advisory_unlock_all",
        "lastval",
        "pg_terminate_backend",
        "pg_read_file",
        "pg_ls_waldir",
        "lo_get",
        "query_to_xml_and_xmlschema",
        "dblink_connect_u",
        "load_extension",
        "get_lock",
    ] {
        let rejection = Schema::new("tenant_id").unwrap().function(name).unwrap_err().to_string();
        assert!(rejection.contains("`functions` cannot allow it"), "{name}: {rejection}");
        assert!(Schema::from_toml(&format!("functions = [\"{name}\"]")).is_err(), "{name}");
    }
    for name in
        ["crypt", "nextval", "pg_notify", "pg_advisory_xact_lock", "lo_total", "app.price", "similarity"]
    {
        assert!(Schema::new("tenant_id").unwrap().function(name).is_ok(), "{name}");
    }
}

#[test]
fn reads_and_writes_are_distinguished() {
    let schema = schema();
    let reads = |sql| rewrite(Dialect::Postgres, sql, &schema).unwrap().is_read_only();
    assert!(reads("WITH a AS (SELECT * FROM orders) SELECT * FROM a, countries"));
    assert!(!reads("SELECT id FROM orders FOR UPDATE"));
    assert!(!reads("WITH d AS (DELETE FROM orders RETURNING id) SELECT id FROM d"));
    assert!(!reads("INSERT INTO feedback (a) SELECT id FROM orders"));
    let rewritten = rewrite(
        Dialect::Postgres,
        "WITH a AS (SELECT * FROM Orders) SELECT * FROM a, public.items, countries c",
        &schema,
    );
    assert_eq!(rewritten.unwrap().tables(), ["countries", "orders", "public.items"]);
}

#[test]
fn a_rejection_shows_the_line_with_a_caret() {
    let rejected =
        rewrite(Dialect::Postgres, "SELECT id,\n       spy(name)\nFROM orders", &schema()).unwrap_err();
    assert_eq!((rejected.spot().line, rejected.spot().column, rejected.spot().length), (2, 8, 3));
    assert_eq!(
        rejected.to_string(),
        "T007: the function `spy` could read any table\n  \
           |\n\
         2 |        spy(name)\n  \
           |        ^^^\n\
         help: if it reads none, add it to `functions` in tenancy.toml, from which the `Schema` of the `TenantDb` is made"
    );
    // The first line of a text in a program is often empty.
    let rejected = rewrite(Dialect::Postgres, "\n    SAVEPOINT a\n", &schema()).unwrap_err();
    assert_eq!((rejected.spot().line, rejected.spot().column, rejected.spot().length), (2, 5, 9));
    assert!(rejected.to_string().contains("2 |     SAVEPOINT a\n  |     ^^^^^^^^^\n"), "{rejected}");
}

#[test]
fn a_rejection_shows_everything_that_is_wrong() {
    let sql = "SELECT spy(note), ctid\nFROM orders o\nJOIN pg_class c ON f(o.id) = 1";
    let rejected = rewrite(Dialect::Postgres, sql, &schema()).unwrap_err();
    assert_eq!(
        rejected.to_string(),
        "T007: the functions `spy` and `f` could read any table\n  \
           |\n\
         1 | SELECT spy(note), ctid\n  \
           |        ^^^\n\
         help: add those that read none to `functions` in tenancy.toml, from which the `Schema` of the `TenantDb` is made\n\
         \n\
         T019: `ctid` is not a column of the tenant's rows\n  \
           |\n\
         1 | SELECT spy(note), ctid\n  \
           |                   ^^^^\n\
         help: identify the rows by a column of your own\n\
         \n\
         T009: the database's catalogue contains data of other tenants\n  \
           |\n\
         3 | JOIN pg_class c ON f(o.id) = 1\n  \
           |      ^^^^^^^^\n\
         help: read it outside of a scope, as the database's owner"
    );
    assert_eq!(rejected.others().len(), 2);
    assert!(rejected.others().iter().all(|other| other.others().is_empty()));
}

/// Wherever a statement has a number, an unknown function in its place is a rejection: no part is left unchecked
/// because a problem of another part was collected.
#[test]
fn one_problem_anywhere_rejects_the_statement() {
    let schema = schema();
    let mut rejected = 0;
    for Case { dialect, sql, wanted, .. } in [CONSTRUCTS, LEAKS].into_iter().flat_map(read) {
        if wanted.is_err() {
            continue;
        }
        for (at, _) in sql.match_indices(|c: char| c.is_ascii_digit()) {
            let before = sql[..at].chars().next_back();
            let after = sql[at + 1..].chars().next();
            let alone = |c: Option<char>| c.is_none_or(|c| " (),".contains(c));
            if !(alone(before) && alone(after)) {
                continue;
            }
            let spoilt = format!("{}spy(1){}", &sql[..at], &sql[at + 1..]);
            // Some numbers are a part of the grammar, such as the length of a type, or a part of a string.
            match rewrite(dialect, &spoilt, &schema) {
                Ok(rewritten) => {
                    assert!(!rewritten.text().replace(['\'', '"'], "").contains("spy("), "{spoilt}");
                }
                Err(why) => rejected += usize::from(why.to_string().contains("`spy`")),
            }
        }
    }
    assert!(rejected > 120, "only {rejected}");
}

/// The text of a rejected length depends on whether parameters or values make the statement long.
#[test]
fn a_text_that_is_too_long_says_how_to_shorten_it() {
    let help = |dialect, one: &dyn Fn(usize) -> String| {
        let list = (1..30_000).map(one).collect::<Vec<_>>().join(", ");
        let sql = format!("SELECT id FROM orders WHERE id IN ({list})");
        let rejected = rewrite(dialect, &sql, &schema()).unwrap_err();
        assert_eq!(rejected.code().as_str(), "T001");
        assert!(rejected.why().ends_with("bytes; at most 65536 are accepted"), "{}", rejected.why());
        rejected.help().to_owned()
    };
    for dialect in Dialect::ALL {
        assert_eq!(help(dialect, &|n| n.to_string()), "bind the values instead of writing them out");
    }
    let arrays = help(Dialect::Postgres, &|n| format!("${n}"));
    assert!(arrays.starts_with("bind one array instead of many values: `= ANY($1)`"), "{arrays}");
    let json = help(Dialect::Sqlite, &|_| "?".to_owned());
    assert!(json.contains("`IN (SELECT value FROM json_each($1))`"), "{json}");
    assert_eq!(help(Dialect::MySql, &|_| "?".to_owned()), "run it in parts, with fewer values each");
    // What the texts say to write is accepted.
    for (dialect, sql) in [
        (Dialect::Postgres, "SELECT id FROM orders WHERE id = ANY($1)"),
        (Dialect::Postgres, "INSERT INTO orders (a, b) SELECT * FROM unnest($1::int[], $2::text[])"),
        (Dialect::Sqlite, "SELECT id FROM orders WHERE id IN (SELECT value FROM json_each($1))"),
    ] {
        assert!(rewrite(dialect, sql, &schema()).is_ok(), "{sql}");
    }
}

/// Functions and operators of an extension are accepted only if `tenancy.toml` declares them.
#[test]
fn presets_and_operators_declare_what_extensions_have() {
    let plain = Schema::new("tenant_id").unwrap();
    let with = |text: &str| Schema::from_toml(text).unwrap();
    for (file, sql) in [
        ("presets = [\"pgcrypto\"]", "SELECT id FROM users WHERE hash = crypt($1, hash)"),
        ("presets = [\"uuid-ossp\"]", "INSERT INTO users (id) VALUES (uuid_generate_v4())"),
        (
            "presets = [\"pg_trgm\"]",
            "SELECT name, similarity(name, $1) FROM users WHERE $1 <% name ORDER BY name <-> $1",
        ),
        ("presets = [\"pg_trgm\"]", "SELECT name FROM users WHERE name %> $1"),
        (
            "presets = [\"extensions.pg_trgm\"]",
            "SELECT extensions.similarity(name, $1), similarity(name, $1) FROM users",
        ),
        ("presets = [\"unaccent\"]", "SELECT id FROM users WHERE unaccent(name) ILIKE unaccent($1)"),
        (
            "presets = [\"ltree\"]",
            "SELECT subpath(path, 0, 1), nlevel(path) FROM nodes WHERE path <@ $1 AND path ~ $2",
        ),
        ("presets = [\"pgvector\"]", "SELECT id FROM items ORDER BY embedding <=> $1 LIMIT 5"),
        (
            "presets = [\"pgvector\"]",
            "SELECT id FROM items ORDER BY embedding <#> $1, l2_distance(embedding, $1)",
        ),
        (
            "presets = [\"postgis\"]",
            "SELECT id FROM places WHERE ST_DWithin(geom, ST_SetSRID(ST_MakePoint($1, $2), 4326), 10)",
        ),
        ("operators = [\"<#>\"]", "SELECT id FROM items ORDER BY embedding <#> $1"),
    ] {
        let declared = with(file);
        let rewritten =
            rewrite(Dialect::Postgres, sql, &declared).unwrap_or_else(|why| panic!("{sql}\n{why}"));
        assert_eq!(rewritten.reprove(Dialect::Postgres, &declared), Ok(()));
        assert!(rewrite(Dialect::Postgres, sql, &plain).is_err(), "accepted without a declaration: {sql}");
        assert!(rewritten.reprove(Dialect::Postgres, &plain).is_err(), "the second pass: {sql}");
    }
    // An operator is declared by its signs, for PostgreSQL, and not for another schema.
    let declared = with("operators = [\"<#>\", \"=\"]");
    for (dialect, sql) in [
        (Dialect::Postgres, "SELECT a OPERATOR(public.<#>) b FROM items"),
        (Dialect::Postgres, "SELECT a OPERATOR(public.=) b FROM items"),
        (Dialect::Postgres, "SELECT a <##> b FROM items"),
        (Dialect::Sqlite, "SELECT a <#> b FROM items"),
        (Dialect::Postgres, "SELECT set_limit(0.1)"),
    ] {
        assert!(rewrite(dialect, sql, &declared).is_err(), "{sql}");
    }
    let mistake = |text: &str| Schema::from_toml(text).unwrap_err().to_string();
    for operator in ["", "a", "<a>", "--", "</*", "(", "public.=", ":=", "$", "'"] {
        let text = format!("operators = [\"{operator}\"]");
        assert!(mistake(&text).contains("is not an operator; write its signs alone"), "{operator}");
    }
    assert!(mistake("presets = [\"postgres\"]").contains("write one of pgcrypto, uuid-ossp"));
    assert!(mistake("presets = [\"a b.pg_trgm\"]").contains("is not a plain name"));
}

/// A function that writes does not run in a transaction that only reads.
#[test]
fn a_declared_function_that_writes_makes_the_statement_a_write() {
    let mut schema = schema();
    for name in ["nextval", "setval", "pg_catalog.nextval", "pg_notify", "pg_advisory_xact_lock", "price"] {
        schema = schema.function(name).unwrap();
    }
    let reads = |sql| rewrite(Dialect::Postgres, sql, &schema).unwrap().is_read_only();
    for sql in [
        "SELECT nextval('numbers')",
        "SELECT NextVal('numbers')",
        "SELECT pg_catalog.nextval('numbers')",
        "SELECT id FROM orders WHERE id > nextval('numbers')",
        "SELECT setval('numbers', 1)",
        "SELECT pg_notify($1, $2)",
        "SELECT * FROM pg_notify($1, $2)",
    ] {
        assert!(!reads(sql), "{sql}");
    }
    assert!(reads("SELECT price(id), pg_advisory_xact_lock($1) FROM orders"));
}

/// A known type of the tenant column changes only the cast of the tenant.
#[test]
fn every_bind_of_the_tenant_has_the_type_of_its_column() {
    let plain = schema();
    let (mut texts, mut casts) = (0, 0);
    for (name, written) in [("uuid", "UUID"), ("bigint", "BIGINT"), ("text", "TEXT")] {
        let typed = schema().with_snapshot(&format!("type = \"{name}\"")).unwrap();
        for Case { dialect, sql, .. } in [CONSTRUCTS, LEAKS].into_iter().flat_map(read) {
            let Ok(rewritten) = rewrite(dialect, &sql, &plain) else { continue };
            let typed = rewrite(dialect, &sql, &typed);
            if (dialect, name) == (Dialect::MySql, "text") {
                // On MySQL a collation would decide which tenants are equal.
                assert_eq!(typed.unwrap_err().code().as_str(), "T006");
                continue;
            }
            let typed = typed.unwrap();
            assert_eq!(typed.binds(), rewritten.binds());
            let wanted = if dialect == Dialect::Postgres && rewritten.binds().contains(&Bind::Tenant) {
                let tenant = format!("${}", rewritten.binds().len());
                casts += typed.text().matches(&format!("{tenant}::{written}")).count();
                typed.text().replace(&format!("{tenant}::{written}"), &tenant)
            } else {
                typed.text().to_owned()
            };
            assert_eq!(wanted, rewritten.text());
            texts += 1;
        }
    }
    assert!(texts > 900 && casts > 400, "{texts} texts, {casts} casts");
}

#[test]
fn a_snapshot_is_added_to_the_declarations() {
    let file = "column = \"org\"\nshared = [\"countries\"]\nviews = { mine = [\"countries\"] }\nsnapshot = \"db.toml\"";
    let schema = Schema::from_toml(file).unwrap();
    assert_eq!((schema.snapshot_file(), schema.tenant_type()), (Some("db.toml"), None));
    let schema = schema
        .with_snapshot(
            "type = \"bigint\"\ntenants = [\"orders\"]\nothers = [\"countries\", \"jobs\"]\n\
             views = { mine = [\"orders\"], all_orders = [\"orders\"], names = [\"countries\"] }\n\
             partitions = { orders_2026 = \"orders\" }",
        )
        .unwrap();
    let column = |table| schema.tenant_column(Dialect::Postgres, table);
    assert_eq!(["orders", "all_orders", "orders_2026", "unheard_of"].map(column), [Some("org"); 4]);
    assert_eq!(["countries", "names", "mine"].map(column), [None; 3], "declarations take precedence");
    let run = |sql| rewrite(Dialect::Postgres, sql, &schema).map(|rewritten| rewritten.text().to_owned());
    assert_eq!(
        run("SELECT 1 FROM orders_2026").unwrap(),
        "SELECT 1 FROM orders_2026 WHERE orders_2026.org = $1::BIGINT"
    );
    for sql in [
        "SELECT id FROM jobs",
        "SELECT 1 FROM orders WHERE id IN (SELECT id FROM jobs)",
        "DELETE FROM jobs",
        "INSERT INTO jobs (id) VALUES (1)",
        "UPDATE orders SET a = 1 FROM jobs",
    ] {
        assert_eq!(run(sql).unwrap_err().code().as_str(), "T022", "{sql}");
    }
    assert!(
        run("WITH jobs AS (SELECT id FROM orders) SELECT id FROM jobs").is_ok(),
        "a CTE is not that table"
    );
    assert_eq!(run("DELETE FROM all_orders").unwrap_err().code().as_str(), "T010");

    // A view with the tenant column is not shared, even if the tables that it reads are.
    let seen = "tenants = [\"visits\"]\nviews = { visits = [\"countries\"] }";
    let seen = Schema::from_toml(file).unwrap().with_snapshot(seen).unwrap();
    assert_eq!(seen.tenant_column(Dialect::Postgres, "visits"), Some("org"));

    let mistake = |text: &str| Schema::from_toml(file).unwrap().with_snapshot(text).unwrap_err().to_string();
    assert!(mistake("tenants = [\"countries\"]").contains("take it out of `shared`"));
    // A read of a table includes the tables that inherit from it.
    let inherits = mistake("tenants = [\"visits\"]\npartitions = { visits = \"countries\" }");
    assert!(inherits.contains("`visits` is declared as shared with `countries`"), "{inherits}");
    assert!(mistake("tenants = [\"mine\"]").contains("`mine` is declared as shared"));
    assert!(mistake("type = \"int4\"").contains("`int4` of the tenant column is not known"));
    assert!(mistake("tables = []").contains("unknown field"));
    assert!(mistake("others = [\"a b\"]").contains("not a plain name"));
}

#[test]
fn mistakes_in_a_configuration_are_explained() {
    let mistake = |text: &str| Schema::from_toml(text).unwrap_err().to_string();
    assert!(mistake("shred = []").contains("unknown field `shred`"));
    assert!(mistake("dialects = [\"oracle\"]").contains("`oracle` is not known"));
    assert!(mistake("column = \"a b\"").contains("not a plain name"));
    assert!(mistake("shared = [\"a\"]\nshared_writable = [\"A\"]").contains("declared twice"));
    assert!(mistake("shared = [\"a\"]\ncolumns = { a = \"b\" }").contains("declared twice"));
    assert!(mistake("views = { v = [] }").contains("must name the tables"));
    assert!(mistake("partitions = { b = \"a\", c = \"b\" }").contains("at the root"));
    assert!(mistake("column = 1").contains("invalid type"));
    assert!(Schema::from_toml("").is_ok());
}

/// The limits of tables and CTEs: the largest accepted number, and one more.
#[test]
fn statements_of_too_many_tables_are_rejected() {
    let schema = schema();
    let many = |n: usize, one: &dyn Fn(usize) -> String| (0..n).map(one).collect::<Vec<_>>().join(", ");
    for dialect in Dialect::ALL {
        let fits = |sql: &str| match rewrite(dialect, sql, &schema) {
            Ok(_) => true,
            Err(rejected) => {
                assert_eq!(rejected.code().as_str(), "T001", "{rejected}");
                false
            }
        };
        for (n, wanted) in [(256, true), (257, false), (3_000, false)] {
            assert_eq!(
                fits(&format!("SELECT 1 FROM {}", many(n, &|i| format!("orders o{i}")))),
                wanted,
                "{n}"
            );
            let subqueries = many(n, &|_| "(SELECT 1 FROM a)".to_owned());
            assert_eq!(fits(&format!("SELECT {subqueries}")), wanted, "{n}");
        }
        for (n, wanted) in [(64, true), (65, false), (2_000, false)] {
            let ctes = many(n, &|i| format!("c{i} AS (SELECT 1)"));
            assert_eq!(fits(&format!("WITH {ctes} SELECT 1 FROM orders")), wanted, "{n}");
        }
    }
}

/// Bulk statements are wide and not deep: their terms and arms are beside each other.
#[test]
fn wide_statements_are_accepted() {
    let schema = schema();
    let many =
        |n: usize, link: &str, one: &dyn Fn(usize) -> String| (1..=n).map(one).collect::<Vec<_>>().join(link);
    let where_ = |terms: String| format!("SELECT id FROM orders WHERE {terms}");
    let case = |arms: String| format!("UPDATE orders SET a = CASE {arms} ELSE a END WHERE id = ANY($1)");
    for (sql, fits) in [
        (where_(many(190, " OR ", &|n| format!("id = {n}"))), true),
        (where_(many(190, " OR ", &|n| format!("name ILIKE '%' || ${n} || '%'"))), true),
        (where_(many(190, " OR ", &|n| format!("(status = {n} AND type = ${n}::int)"))), true),
        (where_(many(250, " OR ", &|n| format!("id = {n}"))), false),
        (case(many(500, " ", &|n| format!("WHEN id = {n} THEN ${n}::int"))), true),
        (case(format!("id {}", many(500, " ", &|n| format!("WHEN {n} THEN ${n}::int + 1")))), true),
        (format!("SELECT {}", many(150, " || ", &|n| format!("${n}::text"))), false),
        (format!("SELECT {}", many(90, " || ", &|n| format!("${n}::text"))), true),
        (
            format!(
                "INSERT INTO orders (id, note) VALUES {}",
                many(900, ", ", &|n| format!("(${n}::int, 'a' || {n})"))
            ),
            true,
        ),
    ] {
        let got = rewrite(Dialect::Postgres, &sql, &schema);
        assert_eq!(
            got.as_ref().map_err(|e| e.code().as_str()).err(),
            (!fits).then_some("T002"),
            "{}",
            &sql[..80]
        );
    }
    let help = |sql: &str| rewrite(Dialect::Postgres, sql, &schema).unwrap_err().help().to_owned();
    assert!(help(&where_(many(250, " OR ", &|n| format!("id = {n}")))).contains("`= ANY($1)`"));
    assert!(help(&format!("SELECT {}1{}", "(".repeat(40), ")".repeat(40))).contains("WITH"));
    assert!(
        help(&format!("SELECT {}", many(250, " || ", &|n| format!("${n}")))).contains("unnest($1::int[]")
    );
}

/// Words of clauses are also names in these databases. A chain of them is as deep as any other.
#[test]
fn chains_of_names_that_are_words_of_clauses_do_not_overflow_the_stack() {
    let schema = schema();
    for dialect in Dialect::ALL {
        for word in [
            "on",
            "set",
            "values",
            "having",
            "join",
            "returning",
            "when",
            "then",
            "x.on",
            "values(a)",
            "set 'x'",
        ] {
            for link in [
                "*",
                " * ",
                " + ",
                " AND ",
                " || ",
                " OPERATOR(a.+) ",
                " COLLATE ",
                " IS DISTINCT FROM ",
                " + INTERVAL ",
            ] {
                let chain = vec![word; 2_000].join(link);
                let _ = rewrite(dialect, &format!("SELECT {chain} FROM orders"), &schema);
            }
        }
        let chain = vec!["when"; 2_000].join(" + ");
        let _ = rewrite(dialect, &format!("SELECT CASE WHEN {chain} THEN 1 END FROM orders"), &schema);
    }
}

/// Words that begin a statement inside another, and queries inside queries, on a stack of 1.5 MiB: the caller may have used
/// a part of its own.
#[test]
fn nested_statements_do_not_overflow_a_small_stack() {
    let nested = |open: &str, n: usize, inner: &str, close: &str| {
        format!("{}{inner}{}", open.repeat(n), close.repeat(n))
    };
    let mut texts = Vec::new();
    for n in [1, 5, 12, 13, 14, 20, 25, 39, 45, 500] {
        for open in [
            "EXPLAIN ",
            "DESC ",
            "DESCRIBE ",
            "EXPLAIN ANALYZE VERBOSE ",
            "IF a THEN ",
            "INSERT INTO a ",
            "REPLACE INTO a ",
            "WITH x AS (SELECT 1) ",
            "PREPARE x AS ",
            "BEGIN; ",
        ] {
            texts.push(nested(open, n, "SELECT 1", ""));
        }
        texts.push(format!("SELECT {} FROM orders", nested("ARRAY(SELECT ", n, "1", " FROM t)")));
        texts.push(format!("SELECT {} FROM orders", nested("(SELECT ", n, "1", " FROM t)")));
        texts.push(nested("SELECT 1 FROM (", n, "SELECT 1 FROM t", ") AS x"));
        texts.push(format!("SELECT CASE{} WHEN 1 THEN 2 END FROM orders", " CASE MOD(a, 2)".repeat(n)));
        texts.push(format!("SELECT 1{} FROM orders", "*set".repeat(n * 10)));
    }
    let schema = schema();
    let small = std::thread::Builder::new().stack_size(3 << 19);
    let rewritten = move || {
        for dialect in Dialect::ALL {
            for text in &texts {
                let _ = rewrite(dialect, text, &schema);
                let _ = relations(dialect, text);
            }
        }
    };
    small.spawn(rewritten).unwrap().join().unwrap();
}

/// A problem in every word of a long text is named a few times, and takes no memory for each.
#[test]
fn not_every_problem_of_a_long_text_is_named() {
    let schema = schema();
    for item in ["ctid", "f()", "pg_sleep(1)", "pg_catalog.x.y"] {
        let sql = format!("SELECT {} FROM orders", vec![item; 4_000].join(","));
        let rejection = rewrite(Dialect::Postgres, &sql, &schema).unwrap_err();
        assert!(rejection.others().len() <= 20, "{}", rejection.others().len());
    }
    // The function is rejected, however many other problems come before it.
    let sql = format!("SELECT {}, spy(1) FROM orders", vec!["ctid"; 100].join(","));
    rewrite(Dialect::Postgres, &sql, &schema).unwrap_err();
}

/// The deepest accepted statements and far deeper ones, on the 2 MiB stack of a test thread, unoptimised.
#[test]
fn deep_statements_are_rejected_before_a_stack_overflow() {
    let schema = schema();
    let chain = |n: usize, link: &str| format!("SELECT id FROM orders WHERE {}", vec!["a = 1"; n].join(link));
    for dialect in Dialect::ALL {
        for (terms, fits) in [(60, true), (500, false), (5_000, false)] {
            for link in [" OR ", " AND "] {
                let got = rewrite(dialect, &chain(terms, link), &schema);
                assert_eq!(
                    got.as_ref().map_err(|e| e.code().as_str()).err(),
                    (!fits).then_some("T002"),
                    "{terms}"
                );
            }
        }
        for (open, close) in
            [("(", ")"), ("lower(", ")"), ("(SELECT ", ")"), ("NOT ", ""), ("- ", ""), ("CASE WHEN ", "")]
        {
            for n in [5, 8, 9, 10, 25, 31, 100, 2_000] {
                let sql = format!("SELECT {}1{} FROM orders", open.repeat(n), close.repeat(n));
                let _ = rewrite(dialect, &sql, &schema);
                let sql = format!("SELECT 1 FROM {}orders{}", open.repeat(n), close.repeat(n));
                let _ = rewrite(dialect, &sql, &schema);
            }
        }
        // Queries within conditions, on the stack of the caller as far as these are few.
        for n in [3, 4, 5, 6, 10, 15] {
            let open = "SELECT id FROM orders WHERE note LIKE 'a' AND id IN (".repeat(n);
            let got = rewrite(dialect, &format!("{open}SELECT 1{}", ")".repeat(n)), &schema);
            assert!(got.is_ok() || n > 5, "{n}: {}", got.unwrap_err());
        }
        for link in [
            "::int",
            "[1]",
            " COLLATE x",
            " IS NULL",
            ".a",
            " UNION SELECT 1",
            " -> 'x'",
            " AT TIME ZONE 'x'",
        ] {
            for n in [50, 150, 3_000] {
                let _ = rewrite(dialect, &format!("SELECT a{} FROM orders", link.repeat(n)), &schema);
                let _ = rewrite(dialect, &format!("SELECT 1{}", link.repeat(n)), &schema);
            }
        }
        for n in [20, 100, 2_000] {
            let joins = " JOIN b".repeat(n) + &" ON true".repeat(n);
            let _ = rewrite(dialect, &format!("SELECT 1 FROM a{joins}"), &schema);
        }
        let long = format!("SELECT id FROM orders WHERE id IN ({})", vec!["1"; 40_000].join(","));
        assert_eq!(rewrite(dialect, &long, &schema).unwrap_err().code().as_str(), "T001");
        let wide = format!("SELECT id FROM orders WHERE id IN ({})", vec!["1"; 10_000].join(","));
        assert!(rewrite(dialect, &wide, &schema).is_ok());
    }
}
