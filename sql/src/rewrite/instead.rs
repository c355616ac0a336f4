//! What to write instead of a statement that is not about rows (T005), by its first words.

use crate::rejection::{Explanation, explain};
use sqlparser::keywords::Keyword;
use sqlparser::tokenizer::{Token, TokenWithSpan};

/// The explanation for a kind of statement that is known not to be about rows; `None` for any other text, such as one
/// with a syntax error.
pub(super) fn instead(tokens: &[TokenWithSpan]) -> Option<Explanation> {
    const ROWS: [Keyword; 6] =
        [Keyword::SELECT, Keyword::WITH, Keyword::INSERT, Keyword::UPDATE, Keyword::DELETE, Keyword::MERGE];
    let first = tokens.iter().find(|token| !matches!(token.token, Token::Whitespace(_)))?;
    if matches!(&first.token, Token::Word(word) if ROWS.contains(&word.keyword)) {
        return None;
    }
    let mut words =
        tokens.iter().filter(|token| !matches!(token.token, Token::Whitespace(_))).map(|token| match &token
            .token
        {
            Token::Word(word) if word.quote_style.is_none() => word.value.to_ascii_uppercase(),
            _ => String::new(),
        });
    let first = words.next()?;
    let kind = match &*first {
        "ROLLBACK" if words.any(|word| word == "TO") => "SAVEPOINT",
        "SET" => match words.next().as_deref() {
            Some("TRANSACTION") => "TRANSACTION",
            Some("CONSTRAINTS") => "CONSTRAINTS",
            _ => "SET",
        },
        _ => &*first,
    };
    let (_, why, help) = KINDS.iter().find(|(names, ..)| names.split(' ').any(|name| name == kind))?;
    Some(explain(why.replace("{}", &first), *help))
}

/// The explanation for a statement that is not about rows and not listed.
pub(super) fn not_about_rows() -> Explanation {
    explain(
        "not a statement about the rows of a tenant",
        "run it on a connection of your own that has no tenant",
    )
}

/// The first words of statements, what these do, and what to write instead. `{}` is the first word.
const KINDS: &[(&str, &str, &str)] = &[
    (
        "BEGIN START COMMIT END ROLLBACK ABORT",
        "{} is a step of a transaction, and the transactions of a tenant belong to the crate",
        "begin with `db.begin(&ctx).await?`, run statements on `&mut tx`, and end with `tx.commit().await?`; a dropped \
         `tx` rolls back",
    ),
    (
        "SAVEPOINT RELEASE",
        "a savepoint is a step of a transaction, and the transactions of a tenant belong to the crate",
        "begin a part that can be undone alone with `tx.begin().await?`, and end it with `commit` or `rollback`; if only a \
         conflict can fail, write INSERT .. ON CONFLICT DO NOTHING",
    ),
    (
        "TRANSACTION",
        "SET TRANSACTION changes a transaction, and the transactions of a tenant belong to the crate",
        "set `default_transaction_isolation` in the connect options of the pool, or for the role by ALTER ROLE .. SET",
    ),
    (
        "CONSTRAINTS",
        "SET CONSTRAINTS changes a transaction, and the transactions of a tenant belong to the crate",
        "declare the constraint as DEFERRABLE INITIALLY DEFERRED",
    ),
    (
        "PRAGMA",
        "PRAGMA changes or reads the settings of the connection, which other tenants use later",
        "set it in the connect options of the pool: `SqliteConnectOptions::pragma`",
    ),
    (
        "SET RESET DISCARD",
        "{} changes the settings of the session, which other tenants use later",
        "set it in the connect options of the pool, or for the role by ALTER ROLE .. SET; time limits of a plan are \
         `statement_timeout_ms` and `lock_timeout_ms` under `[plans.KEY.database]`",
    ),
    (
        "SHOW USE DESCRIBE DESC",
        "{} is about the session or the catalogue, which belong to no tenant",
        "run it on a connection of your own that has no tenant",
    ),
    (
        "EXPLAIN",
        "a query plan contains statistics about the rows of all tenants",
        "run EXPLAIN on a connection of your own, with the text that `tenancy sql check` prints",
    ),
    (
        "LISTEN UNLISTEN",
        "a channel of the database has no tenant, and LISTEN stays in the session",
        "listen with sqlx's `PgListener` on a connection of your own, on the name `ctx.channel(..)?.notify_name()`",
    ),
    (
        "NOTIFY",
        "a channel of the database has no tenant",
        "write SELECT pg_notify($1, $2) with the name `ctx.channel(..)?.notify_name()`, and add `pg_notify` to \
         `functions` in tenancy.toml",
    ),
    (
        "COPY",
        "COPY reads and writes rows without their tenant",
        "write many rows by `insert_many`, or by INSERT INTO t (a, b) SELECT * FROM unnest($1::int[], $2::text[]); read \
         many by `fetch`",
    ),
    (
        "LOCK UNLOCK",
        "a lock on a table makes all tenants wait",
        "lock rows by SELECT .. FOR UPDATE; or add `pg_advisory_xact_lock` to `functions` in tenancy.toml, and call it \
         with the number `ctx.lock_key(..)?.advisory()`",
    ),
    (
        "PREPARE EXECUTE DEALLOCATE",
        "a prepared statement stays in the session, which other tenants use later",
        "run its text as a query: sqlx prepares it and keeps it for the connection",
    ),
    (
        "DECLARE FETCH MOVE CLOSE HANDLER",
        "a cursor is a part of the session and not a statement about rows",
        "read the rows one by one by `fetch`, or page by page by WHERE id > $1 ORDER BY id LIMIT 100",
    ),
    (
        "CALL DO",
        "{} runs code of the database, which can do anything",
        "write its statements one by one; or run it on a connection of your own that has no tenant",
    ),
    (
        "TRUNCATE",
        "TRUNCATE removes the rows of all tenants",
        "write DELETE FROM the table, which removes the rows of the tenant; empty the table in a migration",
    ),
    (
        "GRANT REVOKE REASSIGN",
        "{} changes privileges, which belong to no tenant",
        "run it as the owner of the database; `tenancy policies --role` writes what the role of the application needs",
    ),
    (
        "ATTACH DETACH",
        "{} changes which databases the connection reaches",
        "open the other database by a pool of its own",
    ),
    (
        "CREATE ALTER DROP RENAME COMMENT SECURITY IMPORT",
        "{} changes the schema, which belongs to no tenant",
        "put it into a migration, which runs as the owner of the database",
    ),
    (
        "REFRESH REINDEX CLUSTER VACUUM ANALYZE ANALYSE OPTIMIZE REPAIR CHECKPOINT FLUSH",
        "{} maintains tables for all tenants at once",
        "run it as the owner of the database, on a connection of your own that has no tenant",
    ),
    (
        "LOAD KILL PURGE SHUTDOWN INSTALL UNINSTALL",
        "{} is a command to the server, which belongs to no tenant",
        "run it on a connection of your own that has no tenant",
    ),
];
