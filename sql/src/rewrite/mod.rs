//! [`rewrite`]: a statement that a person wrote, scoped to a tenant.

mod allowed;
mod calls;
mod columns;
mod compare;
mod conflict;
mod expr;
mod from;
mod groups;
mod guard;
mod insert;
#[cfg(test)]
mod mutants;
mod names;
mod nulls;
mod prove;
mod query;
mod text;
mod write;

use std::collections::BTreeSet;

pub use nulls::says_what_is_null;
pub use text::{relations, statements};

use sqlparser::ast::{CastKind, DataType, Expr, Ident, ObjectName, ObjectNamePart, Statement, Value};
use sqlparser::parser::{Parser, ParserOptions};
use sqlparser::tokenizer::{Span, Token, TokenWithSpan};

use self::conflict::Target;
use self::names::Names;
use crate::rejection::{Code, Rejection, say};
use crate::schema::TenantType;
use crate::{Dialect, Schema};

/// How deep the parser itself goes, and how much deeper guards may have made the text that it reads again.
const RECURSION: usize = 40;
const GUARDED_RECURSION: usize = 2 * RECURSION;

/// What is deeper gets a stack of its own: without optimisation the parser takes more than 100 KiB for each level
/// of a query in a query, and the caller may have little left.
const SHALLOW: usize = 10;
const STACK: usize = 64 * 1024 * 1024;

/// A statement that reads and writes rows of one tenant only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rewritten {
    text: String,
    binds: Vec<Bind>,
    tables: Vec<String>,
    read_only: bool,
}

/// What is bound at one place of a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Bind {
    /// The caller's parameter of this number, from one.
    Value(usize),
    /// The tenant's id.
    Tenant,
}

impl Rewritten {
    /// The statement to run, the same for all tenants.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What to bind, in order.
    ///
    /// On Postgres and SQLite these are the caller's parameters and then the tenant; on MySQL they follow the
    /// text, in which a parameter can stand more than once. Without [`Bind::Tenant`] the statement reads no
    /// tenant's table.
    pub fn binds(&self) -> &[Bind] {
        &self.binds
    }

    /// The tables that are read or written, as the database names them, each once.
    pub fn tables(&self) -> &[String] {
        &self.tables
    }

    /// Whether nothing is written and nothing locked.
    pub fn is_read_only(&self) -> bool {
        self.read_only
    }

    /// Proves the text once more, from the text and the binds alone. [`rewrite`] has done so before it printed
    /// the places of the parameters; this is for those who test it.
    #[doc(hidden)]
    pub fn reprove(&self, dialect: Dialect, schema: &Schema) -> Result<(), String> {
        let again = || {
            let ((statement, targets), tenant) = self.reread(dialect, schema)?;
            prove::prove(dialect, schema, &statement, &targets, &tenant)
        };
        on_deep_stack(again).map_err(|e| e.to_string())?
    }

    /// The text as the second pass reads it, and the tenant's parameter in it.
    fn reread(&self, dialect: Dialect, schema: &Schema) -> Result<((Statement, Vec<Target>), Expr), String> {
        let mut tokens = text::tokens(dialect, &self.text).map_err(|refused| refused.to_string())?;
        let values = self.binds.iter().map(|bind| if let Bind::Value(n) = bind { *n } else { 0 });
        let last = values.max().unwrap_or(0) + 1;
        if dialect == Dialect::MySql {
            let mut binds = self.binds.iter();
            for token in tokens.iter_mut().filter(|token| matches!(token.token, Token::Placeholder(_))) {
                token.token = Token::Placeholder(match binds.next() {
                    Some(Bind::Value(n)) => text::placeholder(dialect, *n),
                    Some(Bind::Tenant) => text::placeholder(dialect, last),
                    None => return Err("a parameter that nothing is bound to".to_owned()),
                });
            }
            if binds.next().is_some() {
                return Err("a value that has no place".to_owned());
            }
        }
        if dialect == Dialect::Sqlite {
            let mut counted = 0;
            for token in &mut tokens {
                let Token::Placeholder(mark) = &token.token else { continue };
                counted += usize::from(mark == "?");
                let n = if mark == "?" { counted.to_string() } else { mark[1..].to_owned() };
                token.token = Token::Placeholder(format!("?{n}"));
            }
        }
        let (statements, targets) = parse(dialect, tokens, GUARDED_RECURSION)?;
        match <[Statement; 1]>::try_from(statements) {
            Ok([statement]) => Ok(((statement, targets), tenant(dialect, schema, last))),
            Err(statements) => Err(format!("{} statements", statements.len())),
        }
    }
}

/// Scopes a statement to a tenant: every table of tenants in it is read and written through a guard.
///
/// The text is parsed, rewritten as a tree and printed; what runs is what was analysed. The printed text is parsed
/// again by a second pass that knows nothing of the first and must find every table guarded.
///
/// ```
/// use tenancy_sql::{Bind, Code, Dialect, Schema, rewrite};
///
/// let schema = Schema::new("tenant_id")?;
/// let own = rewrite(Dialect::Postgres, "SELECT id FROM orders WHERE paid OR total > $1", &schema).unwrap();
/// assert_eq!(own.text(), "SELECT id FROM orders WHERE orders.tenant_id = $2 AND (paid OR total > $1)");
/// assert_eq!(own.binds(), [Bind::Value(1), Bind::Tenant]);
///
/// let refused = rewrite(Dialect::Postgres, "TRUNCATE orders", &schema).unwrap_err();
/// assert_eq!(refused.code(), Code::Statement);
/// # Ok::<(), tenancy_sql::InvalidName>(())
/// ```
///
/// # Errors
/// Whatever is not known to stay within the tenant; [`Code`] lists the reasons.
pub fn rewrite(dialect: Dialect, sql: &str, schema: &Schema) -> Result<Rewritten, Rejection> {
    run(dialect, sql, schema, None).map(|(rewritten, _)| rewritten)
}

/// As [`rewrite`], leaving out one guard if `without` says so; and how many guards there were.
fn run(
    dialect: Dialect,
    sql: &str,
    schema: &Schema,
    without: Option<usize>,
) -> Result<(Rewritten, usize), Rejection> {
    let text = text::read(dialect, sql)?;
    if dialect == Dialect::MySql && schema.tenant_type() == Some(TenantType::Text) {
        let why = "MySQL compares a tenant column of type text by its collation, to which `a` and `A` can be one tenant";
        let how = "make the column BINARY(16) or BIGINT, and say so under `type` in tenancy.toml";
        return Err(Rejection::new(Code::Construct, sql, (1, 1, 1), say(why, how)));
    }
    with_stack(sql, text.depth, || scope(dialect, sql, schema, without, text))
}

/// Runs `work` on a text of this depth where there is room for it.
fn with_stack<T: Send>(
    sql: &str,
    depth: usize,
    work: impl FnOnce() -> Result<T, Rejection> + Send,
) -> Result<T, Rejection> {
    if depth <= SHALLOW {
        return work();
    }
    on_deep_stack(work).unwrap_or_else(|e| {
        let why = format!("there is no stack for a statement as deep as this one: {e}");
        Err(Rejection::new(Code::TooDeep, sql, (1, 1, 1), say(why, "try again, or write it more plainly")))
    })
}

fn on_deep_stack<T: Send>(work: impl FnOnce() -> T + Send) -> std::io::Result<T> {
    std::thread::scope(|threads| {
        let thread = std::thread::Builder::new().stack_size(STACK).spawn_scoped(threads, work)?;
        Ok(thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })
}

fn scope(
    dialect: Dialect,
    sql: &str,
    schema: &Schema,
    without: Option<usize>,
    text: text::Text,
) -> Result<(Rewritten, usize), Rejection> {
    let whole = text.tokens.first().map_or_else(Span::empty, |token| token.span);
    let refuse = |code, span, say| Rejection::new(code, sql, text::place(span), say);
    let (mut statements, targets) = parse(dialect, text.tokens, RECURSION).map_err(|why| {
        let span = located(&why).unwrap_or(whole);
        let code = if is_too_deep(&why) { Code::TooDeep } else { Code::Syntax };
        refuse(code, span, say(why, "write it as the database would take it, or more plainly"))
    })?;
    if statements.len() != 1 {
        let why = format!("{} statements; one at a time is analysed", statements.len());
        return Err(refuse(Code::NotOneStatement, whole, say(why, "run one statement")));
    }
    let mut statement = statements.remove(0);
    let mut pass = Pass {
        dialect,
        schema,
        sql,
        tenant: tenant(dialect, schema, text.binds + 1),
        binds: text.binds,
        names: Names::of(dialect, schema, &statement),
        targets,
        scopes: Vec::new(),
        cte_names: BTreeSet::new(),
        here: whole,
        tables: BTreeSet::new(),
        read: BTreeSet::new(),
        dropped: Vec::new(),
        writes: false,
        sources: 0,
        guards: 0,
        without,
    };
    let call = calls::first(&pass.names, &statement, &pass.targets);
    pass.statement(&mut statement)?;
    pass.no_call(call)?;
    let printed = conflict::put_back(statement.to_string(), &pass.targets);
    let (again, targets) = text::tokens(dialect, &printed)
        .map_err(|e| e.why().to_owned())
        .and_then(|tokens| parse(dialect, tokens, GUARDED_RECURSION))
        .map_err(|why| {
            let code = if is_too_deep(&why) { Code::TooDeep } else { Code::Syntax };
            refuse(code, whole, say("printed again, it cannot be read", "write it more plainly"))
        })?;
    if again != [statement] || targets != pass.targets {
        let say = say("printed again, it would not mean the same", "write it more plainly");
        return Err(refuse(Code::Syntax, whole, say));
    }
    compare::compare(dialect, schema, sql, &printed, std::mem::take(&mut pass.dropped))
        .map_err(|why| refuse(Code::Syntax, whole, say(why, "write it more plainly")))?;
    prove::prove(dialect, schema, &again[0], &targets, &pass.tenant).map_err(|why| {
        refuse(Code::Unproven, whole, say(why, "please report this statement; it is a bug of this crate"))
    })?;
    let has_tenant = pass.guards > 0;
    let (text, binds) = match dialect {
        Dialect::MySql => text::in_order(&printed, text.binds + 1)?,
        _ => (
            if dialect == Dialect::Sqlite { text::in_place(printed, text.binds)? } else { printed },
            (1..=text.binds).map(Bind::Value).chain(has_tenant.then_some(Bind::Tenant)).collect::<Vec<_>>(),
        ),
    };
    let rewritten =
        Rewritten { text, binds, tables: pass.tables.into_iter().collect(), read_only: !pass.writes };
    Ok((rewritten, pass.guards))
}

/// The parameter that the tenant is bound to.
fn tenant(dialect: Dialect, schema: &Schema, n: usize) -> Expr {
    let parameter = Expr::Value(Value::Placeholder(text::placeholder(dialect, n)).into());
    let data_type = match schema.tenant_type() {
        Some(TenantType::Uuid) => DataType::Uuid,
        Some(TenantType::BigInt) => DataType::BigInt(None),
        Some(TenantType::Text) => DataType::Text,
        None => return parameter,
    };
    // SQLite and MySQL know no such casts, and compare what is bound as it is.
    if dialect != Dialect::Postgres {
        return parameter;
    }
    Expr::Cast { kind: CastKind::DoubleColon, expr: Box::new(parameter), data_type, format: None }
}

/// The statements, and the conflict targets beside them.
fn parse(
    dialect: Dialect,
    tokens: Vec<TokenWithSpan>,
    recursion: usize,
) -> Result<(Vec<Statement>, Vec<Target>), String> {
    conflict::take(dialect, tokens, recursion)
        .and_then(|(tokens, targets)| Ok((parser(dialect, tokens, recursion).parse_statements()?, targets)))
        .map_err(|e| e.to_string())
}

fn parser(dialect: Dialect, tokens: Vec<TokenWithSpan>, recursion: usize) -> Parser<'static> {
    Parser::new(text::grammar(dialect))
        .with_recursion_limit(recursion)
        .with_options(ParserOptions::new().with_unescape(false))
        .with_tokens_with_locations(tokens)
}

/// The statements of a text that is only looked at.
fn statements_of(dialect: Dialect, sql: &str, text: text::Text) -> Result<Vec<Statement>, Rejection> {
    with_stack(sql, text.depth, || {
        parse(dialect, text.tokens, RECURSION).map(|(statements, _)| statements).map_err(|why| {
            let say = say(why, "write it as the database would take it, or more plainly");
            Rejection::new(Code::Syntax, sql, (1, 1, 1), say)
        })
    })
}

fn is_too_deep(why: &str) -> bool {
    why.contains("recursion limit exceeded")
}

/// The place that a message of the parser ends with.
fn located(why: &str) -> Option<Span> {
    let (_, at) = why.rsplit_once(" at Line: ")?;
    let (line, column) = at.split_once(", Column: ")?;
    let start = sqlparser::tokenizer::Location::new(line.trim().parse().ok()?, column.trim().parse().ok()?);
    Some(Span::new(start, start))
}

/// The first pass: checks and rewrites one statement in place.
struct Pass<'a> {
    dialect: Dialect,
    schema: &'a Schema,
    sql: &'a str,
    /// The tenant's parameter, in the type of its column where that was said.
    tenant: Expr,
    /// The caller's highest parameter.
    binds: usize,
    /// What the names before a dot stand for.
    names: Names<'a>,
    /// The conflict targets that stand beside the tree.
    targets: Vec<Target>,
    /// The CTEs in sight, innermost last.
    scopes: Vec<Vec<String>>,
    /// Every CTE of the statement, in lower case.
    cte_names: BTreeSet<String>,
    /// What was read last, to point at.
    here: Span,
    tables: BTreeSet<String>,
    /// The tables that are read, the target of a write not among them.
    read: BTreeSet<String>,
    /// The schemas that were left out before the names of columns.
    dropped: Vec<String>,
    writes: bool,
    /// How many tables were read so far.
    sources: usize,
    guards: usize,
    without: Option<usize>,
}

type SqlResult<T = ()> = Result<T, Rejection>;

impl Pass<'_> {
    fn refuse<T>(&self, code: Code, why: impl Into<String>, mend: impl Into<String>) -> SqlResult<T> {
        Err(Rejection::new(code, self.sql, text::place(self.here), say(why, mend)))
    }

    fn unknown<T>(&self, what: &str) -> SqlResult<T> {
        self.refuse(
            Code::Construct,
            format!("{what} is not known to stay within a tenant"),
            "write it another way",
        )
    }

    fn allow(&self, known: bool, what: &str) -> SqlResult {
        if known { Ok(()) } else { self.unknown(what) }
    }

    fn see(&mut self, span: Span) {
        if span != Span::empty() {
            self.here = span;
        }
    }

    fn see_ident(&mut self, ident: &Ident) {
        self.see(ident.span);
    }

    /// Whether this guard is to be made; only a test leaves one out.
    fn guarding(&mut self) -> bool {
        self.guards += 1;
        self.without != Some(self.guards - 1)
    }

    fn tenant(&self) -> Expr {
        self.tenant.clone()
    }

    /// A name as the database resolves it.
    fn fold(&self, ident: &Ident) -> String {
        fold(self.dialect, ident)
    }

    /// The parts of a plain name.
    fn parts(&mut self, name: &ObjectName) -> SqlResult<Vec<Ident>> {
        let ObjectName(parts) = name;
        let mut idents = Vec::new();
        for part in parts {
            match part {
                ObjectNamePart::Identifier(ident) => idents.push(ident.clone()),
                ObjectNamePart::Function(_) => return self.unknown("a name made by a function"),
            }
        }
        if let (Some(first), Some(last)) = (idents.first(), idents.last()) {
            self.see(Span::new(first.span.start, last.span.end));
        }
        Ok(idents)
    }
}

fn fold(dialect: Dialect, ident: &Ident) -> String {
    match (dialect, ident.quote_style) {
        (Dialect::Postgres, None) | (Dialect::Sqlite, _) => ident.value.to_ascii_lowercase(),
        _ => ident.value.clone(),
    }
}
