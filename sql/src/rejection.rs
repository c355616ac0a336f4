//! [`Rejection`]: why a statement is not run, where, and how to mend it.

use std::fmt;

/// The kind of a refusal. Its text form (`T001`) is stable; each is explained in `docs/refusals.md`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Code {
    /// `T001`: the text is longer than any statement that a person writes, or names more tables or CTEs.
    TooLong,
    /// `T002`: too many terms or parentheses within each other.
    TooDeep,
    /// `T003`: the text cannot be parsed, or does not mean the same when printed.
    Syntax,
    /// `T004`: not exactly one statement.
    NotOneStatement,
    /// `T005`: a kind of statement that is not about rows: DDL, SET, COPY, EXPLAIN and the like.
    Statement,
    /// `T006`: a clause or expression that the rewriter does not know.
    Construct,
    /// `T007`: a function that is not on the list.
    Function,
    /// `T008`: an operator that could be anybody's function.
    Operator,
    /// `T009`: a table of the database's own catalogue.
    Catalog,
    /// `T010`: a write to a table that is declared as read-only.
    ReadOnlyTable,
    /// `T011`: a statement that sets the tenant column by itself.
    TenantColumn,
    /// `T012`: an INSERT without a list of columns.
    ColumnList,
    /// `T013`: REPLACE, which deletes whatever row is in the way.
    Replace,
    /// `T014`: a name that is a CTE in one place and could be a table in another.
    CteName,
    /// `T015`: a name that begins with `__tnt`, which is how the guards' names begin, or a table of `tenancy` itself.
    Reserved,
    /// `T016`: a parameter in a form that cannot be numbered.
    Placeholder,
    /// `T017`: a literal whose end depends on a setting of the session.
    Literal,
    /// `T018`: a name that can be read in two ways.
    Name,
    /// `T019`: a column that the database adds by itself and that a guarded table does not have.
    SystemColumn,
    /// `T020`: a comment that the database would run, or that changes how it runs.
    Comment,
    /// `T021`: a column of which an outer join hides from sqlx that it may be null.
    Nullability,
    /// `T022`: a table of which the database says that it has no tenant column.
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

/// A place in the text of a statement. Lines and columns count from one, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Spot {
    /// The line.
    pub line: usize,
    /// The column of the first character.
    pub column: usize,
    /// How many characters of that line, at least one.
    pub length: usize,
}

/// A statement that is not run: its [`Code`], the spot, why, and how to mend it.
///
/// `Display` shows the line with a caret under the spot. The text holds a line of the statement, so show it to
/// the developer and not to the caller of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    code: Code,
    spot: Spot,
    line: String,
    why: String,
    mend: String,
}

impl Rejection {
    pub(crate) fn new(
        code: Code,
        sql: &str,
        (line, column, length): (usize, usize, usize),
        say: Say,
    ) -> Self {
        let text = sql.lines().nth(line.saturating_sub(1)).unwrap_or_default();
        let left = text.chars().count().saturating_sub(column.saturating_sub(1)).max(1);
        let spot = Spot { line: line.max(1), column: column.max(1), length: length.clamp(1, left) };
        Self { code, spot, line: text.to_owned(), why: say.why, mend: say.mend }
    }

    /// The stable code.
    pub fn code(&self) -> Code {
        self.code
    }

    /// Where in the statement.
    pub fn spot(&self) -> Spot {
        self.spot
    }

    /// Why, in one sentence.
    pub fn why(&self) -> &str {
        &self.why
    }

    /// How to mend it, in one sentence.
    pub fn mend(&self) -> &str {
        &self.mend
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A window of the line, so that a line of a generated statement does not fill the screen.
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
        write!(f, "help: {}", self.mend)
    }
}

impl std::error::Error for Rejection {}

/// What a refusal says.
#[derive(Debug)]
pub(crate) struct Say {
    pub(crate) why: String,
    pub(crate) mend: String,
}

pub(crate) fn say(why: impl Into<String>, mend: impl Into<String>) -> Say {
    Say { why: why.into(), mend: mend.into() }
}
