//! How deep the tree of a statement can become, computed before it is parsed.

use crate::rejection::{Explanation, explain};
use sqlparser::keywords::Keyword;
use sqlparser::tokenizer::{Span, Token, TokenWithSpan, Word};

/// The deepest tree that is accepted: chained terms, plus those of nested parentheses, plus a few.
const DEEPEST: usize = 200;

/// The deepest nesting of parentheses.
const MOST_PARENTHESES: usize = 32;

/// An upper bound of the depth of the tree of these tokens.
///
/// A chain of `n` operators is a tree of depth `n`. So the depth is the number of operators side by side, plus the
/// deepest of the parentheses between them.
pub(super) fn depth(tokens: &[TokenWithSpan]) -> Result<usize, (Span, Explanation)> {
    #[derive(Default, Clone, Copy)]
    struct Level {
        /// Set operations and joins, which chain across clauses.
        sets: usize,
        /// Operators since the last comma or clause.
        terms: usize,
        most_terms: usize,
        within: usize,
    }
    impl Level {
        fn depth(self) -> usize {
            self.sets + self.most_terms.max(self.terms) + self.within + 1
        }
    }
    let mut open = vec![Level::default()];
    let mut deepest = 0;
    for TokenWithSpan { token, span } in tokens {
        let last = open.len() - 1;
        let level = &mut open[last];
        let deep = || (*span, explain("the terms are nested too deeply", "use `IN (..)` or bind an array"));
        match token {
            Token::LParen | Token::LBracket | Token::LBrace => open.push(Level::default()),
            Token::RParen | Token::RBracket | Token::RBrace if last > 0 => {
                let inner = open.pop().map_or(0, Level::depth);
                open[last - 1].within = open[last - 1].within.max(inner);
                // A subscript or a call is one more level.
                open[last - 1].terms += usize::from(*token == Token::RBracket);
            }
            Token::Comma | Token::SemiColon => {
                level.most_terms = level.most_terms.max(level.terms);
                level.terms = 0;
            }
            Token::Word(Word { keyword, .. }) => match keyword {
                Keyword::NoKeyword => {}
                Keyword::UNION | Keyword::EXCEPT | Keyword::INTERSECT | Keyword::MINUS => level.sets += 1,
                Keyword::SELECT
                | Keyword::JOIN
                | Keyword::ON
                | Keyword::WHERE
                | Keyword::HAVING
                | Keyword::SET
                | Keyword::VALUES
                | Keyword::RETURNING => {
                    level.most_terms = level.most_terms.max(level.terms);
                    level.terms = 0;
                    level.sets += usize::from(*keyword == Keyword::JOIN);
                }
                _ => level.terms += 1,
            },
            Token::Whitespace(_)
            | Token::Period
            | Token::Number(..)
            | Token::SingleQuotedString(_)
            | Token::Placeholder(_) => {}
            _ => level.terms += 1,
        }
        // Depths add up along the open parentheses; each level counts with its widest clause so far.
        deepest =
            deepest.max(open.iter().map(|level| level.sets + level.terms.max(level.most_terms) + 1).sum());
        deepest = deepest.max(open.last().map_or(0, |level| level.depth()));
        if open.len() > MOST_PARENTHESES || deepest > DEEPEST {
            return Err(deep());
        }
    }
    Ok(deepest)
}
