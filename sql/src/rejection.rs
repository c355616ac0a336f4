//! [`Rejection`]: why a statement is rejected, where, and how to fix it.

use std::fmt;

/// The kind of a rejection. Its text form (`T001`) is stable; `docs/reference/sql-rejections.md` explains each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Code {
    /// `T001`: the text is too long, or names too many tables or CTEs.
    TooLong,
    /// `T002`: terms or parentheses are nested too deeply.
    TooDeep,
    /// `T003`: the text cannot be parsed, or cannot be printed without a change of its meaning.
    Syntax,
    /// `T004`: not exactly one statement.
    NotOneStatement,
    /// `T005`: a kind of statement that is not about rows: DDL, SET, COPY, EXPLAIN and the like.
    Statement,
    /// `T006`: a clause or expression that the rewriter does not know.
    Construct,
    /// `T007`: a function that is not on the list.
    Function,
    /// `T008`: an operator that could call a user-defined function.
    Operator,
    /// `T009`: a table of the database's catalogue.
    Catalog,
    /// `T010`: a write to a table that is declared as read-only.
    ReadOnlyTable,
    /// `T011`: a statement that sets the tenant column.
    TenantColumn,
    /// `T012`: an INSERT without a list of columns.
    ColumnList,
    /// `T013`: REPLACE, which deletes any conflicting row.
    Replace,
    /// `T014`: a name that is a CTE in one part of the statement and could be a table in another.
    CteName,
    /// `T015`: a name that begins with `__tnt`, the prefix of the guards' names, or a table of `tenancy` itself.
    Reserved,
    /// `T016`: a parameter in a form that cannot be numbered.
    Placeholder,
    /// `T017`: a literal whose end depends on a setting of the session.
    Literal,
    /// `T018`: an ambiguous or unsafe name.
    Name,
    /// `T019`: a system column of the database, which a guarded table does not have.
    SystemColumn,
    /// `T020`: a comment that the database executes, or an optimizer hint.
    Comment,
    /// `T021`: a column that an outer join could make null, which sqlx cannot see.
    Nullability,
    /// `T022`: a table that has no tenant column in the snapshot of the database.
    NoTenantColumn,
    /// `T099`: the second pass could not prove the rewritten text. A bug in this crate: please report it.
    Unproven,
}

impl Code {
    /// Every code.
    pub const ALL: [Self; 23] = [
        Self::TooLong,
        Self::TooDeep,
        Self::Syntax,
        Self::NotOneStatement,
        Self::Statement,
        Self::Construct,
        Self::Function,
        Self::Operator,
        Self::Catalog,
        Self::ReadOnlyTable,
        Self::TenantColumn,
        Self::ColumnList,
        Self::Replace,
        Self::CteName,
        Self::Reserved,
        Self::Placeholder,
        Self::Literal,
        Self::Name,
        Self::SystemColumn,
        Self::Comment,
        Self::Nullability,
        Self::NoTenantColumn,
        Self::Unproven,
    ];

    /// The stable text: `T` and three digits.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TooLong => "T001",
            Self::TooDeep => "T002",
            Self::Syntax => "T003",
            Self::NotOneStatement => "T004",
            Self::Statement => "T005",
            Self::Construct => "T006",
            Self::Function => "T007",
            Self::Operator => "T008",
            Self::Catalog => "T009",
            Self::ReadOnlyTable => "T010",
            Self::TenantColumn => "T011",
            Self::ColumnList => "T012",
            Self::Replace => "T013",
            Self::CteName => "T014",
            Self::Reserved => "T015",
            Self::Placeholder => "T016",
            Self::Literal => "T017",
            Self::Name => "T018",
            Self::SystemColumn => "T019",
            Self::Comment => "T020",
            Self::Nullability => "T021",
            Self::NoTenantColumn => "T022",
            Self::Unproven => "T099",
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A position in the text of a statement. Lines and columns count from one, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Spot {
    /// The line.
    pub line: usize,
    /// The column of the first character.
    pub column: usize,
    /// The number of characters on that line, at least one.
    pub length: usize,
}

/// A rejected statement: the [`Code`], the position, the reason, and how to fix it; and the same of everything else that
/// is wrong with the statement, in [`others`](Self::others).
///
/// `Display` shows each line with a caret under the position. It contains lines of the statement, so show it to the
/// developer and not to the caller of a request.
///
/// ```
/// use tenancy_sql::{Code, Dialect, Schema, rewrite};
///
/// let schema = Schema::new("tenant_id")?;
/// let sql = "SELECT spy(note), ctid FROM orders WHERE f(a) = g(b)";
/// let rejection = rewrite(Dialect::Postgres, sql, &schema).unwrap_err();
/// assert_eq!(rejection.why(), "the functions `spy`, `f` and `g` could read any table");
/// let others: Vec<Code> = rejection.others().iter().map(|other| other.code()).collect();
/// assert_eq!(others, [Code::SystemColumn]);
/// # Ok::<(), tenancy_sql::SchemaError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    code: Code,
    spot: Spot,
    line: Box<str>,
    why: Box<str>,
    help: Box<str>,
    others: Vec<Self>,
}

impl Rejection {
    pub(crate) fn new(
        code: Code,
        sql: &str,
        (line, column, length): (usize, usize, usize),
        explanation: Explanation,
    ) -> Self {
        let text = sql.lines().nth(line.saturating_sub(1)).unwrap_or_default();
        let left = text.chars().count().saturating_sub(column.saturating_sub(1)).max(1);
        let spot = Spot { line: line.max(1), column: column.max(1), length: length.clamp(1, left) };
        Self {
            code,
            spot,
            line: text.into(),
            why: explanation.why.into(),
            help: explanation.help.into(),
            others: Vec::new(),
        }
    }

    /// One rejection for all problems of a statement, in the order of the text; `None` if there is none.
    pub(crate) fn of_all(mut all: Vec<Self>) -> Option<Self> {
        all.sort_by_key(|one| (one.spot.line, one.spot.column));
        // A problem of a part can be found in the whole again.
        let mut seen = std::collections::HashSet::new();
        all.retain(|one| seen.insert((one.code, one.spot)));
        let others = all.split_off(1.min(all.len()));
        all.pop().map(|first| Self { others, ..first })
    }

    /// Returns what else is wrong with the statement, in the order of the text.
    pub fn others(&self) -> &[Self] {
        &self.others
    }

    /// Returns the stable code.
    pub fn code(&self) -> Code {
        self.code
    }

    /// Returns the position in the statement. Of several problems it is the first.
    pub fn spot(&self) -> Spot {
        self.spot
    }

    /// Returns the reason, in one sentence.
    pub fn why(&self) -> &str {
        &self.why
    }

    /// Returns how to fix it, in one sentence.
    pub fn help(&self) -> &str {
        &self.help
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Only a part of a long line is shown.
        const BEFORE: usize = 60;
        const SHOWN: usize = 120;
        let Spot { line, column, length } = self.spot;
        let skipped = (column - 1).saturating_sub(BEFORE);
        let shown: String = self
            .line
            .chars()
            .skip(skipped)
            .take(SHOWN)
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect();
        let number = line.to_string();
        let margin = " ".repeat(number.len());
        let indent = " ".repeat(column - 1 - skipped);
        let carets = "^".repeat(length.min(SHOWN - indent.len().min(SHOWN - 1)));
        writeln!(f, "{}: {}", self.code, self.why)?;
        writeln!(f, "{margin} |")?;
        writeln!(f, "{number} | {shown}")?;
        writeln!(f, "{margin} | {indent}{carets}")?;
        write!(f, "help: {}", self.help)?;
        self.others.iter().try_for_each(|other| write!(f, "\n\n{other}"))
    }
}

impl std::error::Error for Rejection {}

/// The reason of a rejection, and how to fix it.
#[derive(Debug)]
pub(crate) struct Explanation {
    pub(crate) why: String,
    pub(crate) help: String,
}

pub(crate) fn explain(why: impl Into<String>, help: impl Into<String>) -> Explanation {
    Explanation { why: why.into(), help: help.into() }
}
