//! How deep the tree of a statement can become, computed before it is parsed.

use super::stack::SHALLOW;
use crate::rejection::{Explanation, explain};
use sqlparser::keywords::Keyword;
use sqlparser::tokenizer::{Span, Token, TokenWithSpan, Word};

/// The deepest tree that is accepted: chained terms, plus those of nested parentheses, plus a few.
const DEEPEST: usize = 200;

/// The deepest nesting of parentheses and CASE.
const MOST_PARENTHESES: usize = 32;

/// With more operators and keywords than this, a statement gets a large stack, whatever the estimate of its depth.
const FEW_WORDS: usize = 250;

/// The brackets that are open, innermost last.
struct Levels(Vec<Level>);

/// What is between two brackets, or between CASE and END.
#[derive(Default, Clone, Copy)]
struct Level {
    case: bool,
    /// Set operations and joins, which chain across clauses.
    sets: usize,
    /// The AND and OR of this clause, which chain its terms.
    links: usize,
    /// The operators of the current term.
    terms: usize,
    /// Those of the widest term of this clause.
    widest: usize,
    /// The depth of the deepest clause so far.
    most: usize,
    /// The depth of the deepest brackets in it.
    within: usize,
}

impl Level {
    fn clause(self) -> usize {
        self.links + self.widest.max(self.terms)
    }

    /// Without the brackets in it.
    fn own_depth(self) -> usize {
        self.sets + self.most.max(self.clause()) + 1
    }

    fn link(&mut self) {
        self.links += 1;
        self.widest = self.widest.max(self.terms);
        self.terms = 0;
    }

    /// Ends a clause, or an expression before a comma.
    fn end(&mut self) {
        self.most = self.most.max(self.clause());
        (self.links, self.terms, self.widest) = (0, 0, 0);
    }
}

/// How a keyword is used, by the tokens beside it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Use {
    /// Before an operator: a name.
    Name,
    /// After an operator: a name, or CASE.
    Operand,
    /// Neither: it can begin a clause.
    Clause,
}

/// An upper bound of the depth of the tree of these tokens.
///
/// A chain of `n` operators is a tree of depth `n`; the terms between AND and OR are beside each other, and so are the
/// arms of a CASE. So the depth is the number of links, plus the operators of the widest term, plus the deepest of the
/// brackets in it. A keyword beside an operator is a name, and ends no clause. Where that is not certain, the number of
/// all words decides that the statement runs on a large stack.
pub(super) fn depth(tokens: &[TokenWithSpan]) -> Result<usize, (Span, Explanation)> {
    let tokens: Vec<&TokenWithSpan> =
        tokens.iter().filter(|token| !matches!(token.token, Token::Whitespace(_))).collect();
    let mut levels = Levels(vec![Level::default()]);
    let (mut deepest, mut words) = (0, 0);
    for (n, TokenWithSpan { token, span }) in tokens.iter().enumerate() {
        let beside =
            |n: Option<usize>| n.and_then(|n| tokens.get(n)).is_some_and(|token| is_operator(&token.token));
        let infix = tokens.get(n + 1).is_some_and(|next| !is_prefix(&next.token)) && beside(Some(n + 1));
        // Between `*` and a value no clause begins.
        let after_star = n.checked_sub(1).is_some_and(|n| tokens[n].token == Token::Mul);
        let used = match (after_star || beside(n.checked_sub(1)), infix) {
            (_, true) => Use::Name,
            (true, false) => Use::Operand,
            (false, false) => Use::Clause,
        };
        words += usize::from(levels.read(token, used));
        deepest = deepest.max(levels.depth());
        if levels.0.len() > MOST_PARENTHESES || deepest > DEEPEST {
            return Err((*span, levels.explanation()));
        }
    }
    Ok(if words > FEW_WORDS { deepest.max(SHALLOW + 1) } else { deepest })
}

impl Levels {
    /// Reads a token, and returns whether it could make the tree deeper.
    fn read(&mut self, token: &Token, used: Use) -> bool {
        let last = self.0.len() - 1;
        let level = &mut self.0[last];
        match token {
            Token::LParen | Token::LBracket | Token::LBrace => self.0.push(Level::default()),
            Token::RParen | Token::RBracket | Token::RBrace => {
                while self.0.len() > 1 && self.close().case {}
                // A subscript or a call is one more level.
                if let (Token::RBracket, Some(level)) = (token, self.0.last_mut()) {
                    level.terms += 1;
                }
            }
            Token::Comma | Token::SemiColon => level.end(),
            Token::Word(Word { keyword: Keyword::NoKeyword, .. })
            | Token::Period
            | Token::Number(..)
            | Token::SingleQuotedString(_)
            | Token::Placeholder(_) => return false,
            Token::Word(Word { keyword, .. }) => self.keyword(*keyword, used),
            _ => level.terms += 1,
        }
        true
    }

    fn keyword(&mut self, keyword: Keyword, used: Use) {
        let last = self.0.len() - 1;
        let level = &mut self.0[last];
        match keyword {
            Keyword::AND | Keyword::OR => level.link(),
            // An operator by its name is rejected, so it is no part of a long chain.
            Keyword::UNION | Keyword::EXCEPT | Keyword::INTERSECT | Keyword::MINUS | Keyword::OPERATOR => {
                level.sets += 1;
            }
            Keyword::CASE if used != Use::Name => self.0.push(Level { case: true, ..Level::default() }),
            Keyword::END if level.case => drop(self.close()),
            Keyword::WHEN | Keyword::THEN | Keyword::ELSE if level.case && used == Use::Clause => level.end(),
            Keyword::SELECT
            | Keyword::JOIN
            | Keyword::ON
            | Keyword::WHERE
            | Keyword::HAVING
            | Keyword::SET
            | Keyword::VALUES
            | Keyword::RETURNING
                if used == Use::Clause =>
            {
                level.end();
                level.sets += usize::from(keyword == Keyword::JOIN);
            }
            _ if is_operator_word(keyword) => level.terms += 1,
            _ => {}
        }
    }

    /// Closes the innermost level.
    fn close(&mut self) -> Level {
        let closed = self.0.pop().unwrap_or_default();
        if let Some(level) = self.0.last_mut() {
            level.within = level.within.max(closed.own_depth() + closed.within);
        }
        closed
    }

    /// Depths add up along the open brackets; each level counts with its widest clause so far.
    fn depth(&self) -> usize {
        let open = self.0.iter().map(|level| level.own_depth()).sum();
        self.0.last().map_or(0, |level| level.own_depth() + level.within).max(open)
    }

    fn explanation(&self) -> Explanation {
        let linked = self.0.iter().any(|level| level.links > DEEPEST / 2);
        if linked {
            return explain(
                "too many terms are chained by AND or OR",
                "write a list of values as `IN (..)`, or bind an array: `= ANY($1)`",
            );
        }
        if self.0.len() > MOST_PARENTHESES {
            return explain(
                "the parentheses are nested too deeply",
                "name the inner queries in WITH, and leave out parentheses",
            );
        }
        explain(
            "the terms are nested too deeply",
            "compute a part of it in WITH, or join the values: FROM unnest($1::int[], $2::text[]) AS v (id, name)",
        )
    }
}

/// Whether this token is an operator, or a word that stands before or after a value.
fn is_operator(token: &Token) -> bool {
    match token {
        Token::Word(word) => {
            word.quote_style.is_none()
                && (is_operator_word(word.keyword)
                    || matches!(
                        word.keyword,
                        Keyword::AND | Keyword::OR | Keyword::FROM | Keyword::ZONE | Keyword::OPERATOR
                    ))
        }
        Token::Number(..)
        | Token::Placeholder(_)
        | Token::LParen
        | Token::RParen
        | Token::RBracket
        | Token::LBrace
        | Token::RBrace
        | Token::Comma
        | Token::SemiColon
        // `SELECT *` and `count(*)`
        | Token::Mul
        | Token::SingleQuotedString(_)
        | Token::NationalStringLiteral(_)
        | Token::EscapedStringLiteral(_)
        | Token::DollarQuotedString(_)
        | Token::HexStringLiteral(_) => false,
        _ => true,
    }
}

/// Whether this operator can stand before its only operand.
fn is_prefix(token: &Token) -> bool {
    match token {
        Token::Word(word) => matches!(
            word.keyword,
            Keyword::NOT | Keyword::EXISTS | Keyword::INTERVAL | Keyword::BINARY | Keyword::PRIOR
        ),
        token => matches!(token, Token::Minus | Token::Plus | Token::Tilde | Token::AtSign),
    }
}

fn is_operator_word(keyword: Keyword) -> bool {
    matches!(
        keyword,
        Keyword::NOT
            | Keyword::IS
            | Keyword::IN
            | Keyword::LIKE
            | Keyword::ILIKE
            | Keyword::RLIKE
            | Keyword::REGEXP
            | Keyword::SIMILAR
            | Keyword::MATCH
            | Keyword::GLOB
            | Keyword::BETWEEN
            | Keyword::OVERLAPS
            | Keyword::ESCAPE
            | Keyword::COLLATE
            | Keyword::AT
            | Keyword::DIV
            | Keyword::MOD
            | Keyword::XOR
            | Keyword::NOTNULL
            | Keyword::EXISTS
            | Keyword::INTERVAL
            | Keyword::BINARY
            | Keyword::PRIOR
            | Keyword::MEMBER
            | Keyword::PIVOT
            | Keyword::UNPIVOT
            | Keyword::MATCH_RECOGNIZE
    )
}
