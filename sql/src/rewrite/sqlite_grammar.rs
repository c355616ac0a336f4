//! SQLite's grammar for the parser: its own, with the operators that the parser does not know there.

use std::any::TypeId;

use sqlparser::ast::{BinaryOperator, Expr, Statement};
use sqlparser::dialect::{Dialect, SQLiteDialect};
use sqlparser::keywords::Keyword;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::Token;

/// The operators that this grammar adds, besides `<<` and `>>`.
pub(super) const OPERATORS: [&str; 4] = ["IS", "IS NOT", "NOT GLOB", "NOT MATCH"];

/// [`SQLiteDialect`], with `a IS b`, `a IS NOT b`, `a NOT GLOB b`, `a NOT MATCH b`, `a << b` and `a >> b`.
#[derive(Debug)]
pub(super) struct SqliteGrammar(pub(super) SQLiteDialect);

impl Dialect for SqliteGrammar {
    fn dialect(&self) -> TypeId {
        TypeId::of::<SQLiteDialect>()
    }

    fn supports_bitwise_shift_operators(&self) -> bool {
        true
    }

    fn parse_infix(
        &self,
        parser: &mut Parser<'_>,
        expr: &Expr,
        precedence: u8,
    ) -> Option<Result<Expr, ParserError>> {
        let Some(operator) = operator(parser) else { return self.0.parse_infix(parser, expr, precedence) };
        for _ in operator.split(' ') {
            parser.next_token();
        }
        Some(parser.parse_subexpr(precedence).map(|right| Expr::BinaryOp {
            left: Box::new(expr.clone()),
            op: BinaryOperator::Custom(operator.to_owned()),
            right: Box::new(right),
        }))
    }

    fn is_delimited_identifier_start(&self, ch: char) -> bool {
        self.0.is_delimited_identifier_start(ch)
    }

    fn identifier_quote_style(&self, identifier: &str) -> Option<char> {
        self.0.identifier_quote_style(identifier)
    }

    fn is_identifier_start(&self, ch: char) -> bool {
        self.0.is_identifier_start(ch)
    }

    fn is_identifier_part(&self, ch: char) -> bool {
        self.0.is_identifier_part(ch)
    }

    fn parse_statement(&self, parser: &mut Parser<'_>) -> Option<Result<Statement, ParserError>> {
        self.0.parse_statement(parser)
    }

    fn supports_filter_during_aggregation(&self) -> bool {
        self.0.supports_filter_during_aggregation()
    }

    fn supports_start_transaction_modifier(&self) -> bool {
        self.0.supports_start_transaction_modifier()
    }

    fn supports_in_empty_list(&self) -> bool {
        self.0.supports_in_empty_list()
    }

    fn supports_limit_comma(&self) -> bool {
        self.0.supports_limit_comma()
    }

    fn supports_asc_desc_in_column_definition(&self) -> bool {
        self.0.supports_asc_desc_in_column_definition()
    }

    fn supports_dollar_placeholder(&self) -> bool {
        self.0.supports_dollar_placeholder()
    }

    fn supports_notnull_operator(&self) -> bool {
        self.0.supports_notnull_operator()
    }

    fn supports_comma_separated_trim(&self) -> bool {
        self.0.supports_comma_separated_trim()
    }

    fn supports_numeric_literal_underscores(&self) -> bool {
        self.0.supports_numeric_literal_underscores()
    }
}

/// The added operator that begins here. The parser knows IS before the words of truth values, NULL and DISTINCT.
fn operator(parser: &Parser<'_>) -> Option<&'static str> {
    let keyword = |n| match &parser.peek_nth_token_ref(n).token {
        Token::Word(word) if word.quote_style.is_none() => word.keyword,
        _ => Keyword::NoKeyword,
    };
    let known = |n| {
        matches!(
            keyword(n),
            Keyword::NULL
                | Keyword::TRUE
                | Keyword::FALSE
                | Keyword::UNKNOWN
                | Keyword::DISTINCT
                | Keyword::JSON
                | Keyword::NORMALIZED
                | Keyword::NFC
                | Keyword::NFD
                | Keyword::NFKC
                | Keyword::NFKD
        )
    };
    match (keyword(0), keyword(1)) {
        (Keyword::IS, Keyword::NOT) if !known(2) => Some("IS NOT"),
        (Keyword::IS, Keyword::NOT) => None,
        (Keyword::IS, _) if !known(1) => Some("IS"),
        (Keyword::NOT, Keyword::GLOB) => Some("NOT GLOB"),
        (Keyword::NOT, Keyword::MATCH) => Some("NOT MATCH"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rewrite::mutants::cases;
    use sqlparser::parser::Parser;

    /// What SQLite's grammar of the parser can read, this grammar reads alike.
    #[test]
    fn every_case_is_parsed_as_without_the_added_operators() {
        let files = [
            include_str!("../../tests/cases/constructs.txt"),
            include_str!("../../tests/cases/leaks.txt"),
            include_str!("../../tests/cases/rejections.txt"),
        ];
        let (mut alike, mut more) = (0, 0);
        for case in files.into_iter().flat_map(cases::read) {
            let plain = Parser::parse_sql(&SQLiteDialect {}, &case.sql);
            let own = Parser::parse_sql(&SqliteGrammar(SQLiteDialect {}), &case.sql);
            match (plain, own) {
                (Ok(plain), own) => {
                    assert_eq!(Ok(plain), own, "{}", case.sql);
                    alike += 1;
                }
                (Err(_), Ok(_)) => more += 1,
                (Err(plain), Err(own)) => assert_eq!(plain, own, "{}", case.sql),
            }
        }
        assert!(alike > 500 && more > 3, "{alike} alike, {more} more");
    }
}
