//! A lexer for the comparison of two texts, independent of the parser.

use crate::dialect::Dialect;
use std::iter::Peekable;
use std::str::Chars;

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Lexeme {
    Number(String),
    Text(String),
    Operator(String),
    /// A word without quotes, in upper case.
    Word(String),
    /// A name in quotes.
    Name(String),
}

pub(super) fn lex(dialect: Dialect, text: &str) -> Vec<Lexeme> {
    let found = Vec::with_capacity(text.len() / 4);
    let mut lexer = Lexer { dialect, chars: text.chars().peekable(), found, dot: false };
    while lexer.step() {}
    lexer.found
}

struct Lexer<'a> {
    dialect: Dialect,
    chars: Peekable<Chars<'a>>,
    found: Vec<Lexeme>,
    /// Whether a dot precedes, after which every word is a name.
    dot: bool,
}

impl Lexer<'_> {
    /// Reads one token; false at the end.
    fn step(&mut self) -> bool {
        let Some(c) = self.chars.next() else { return false };
        let next = self.chars.peek().copied();
        let after_dot = std::mem::take(&mut self.dot);
        match c {
            _ if c.is_whitespace() => self.dot = after_dot,
            '-' if next == Some('-') => self.skip_line(),
            '#' if self.dialect == Dialect::MySql => self.skip_line(),
            '/' if next == Some('*') => self.skip_comment(),
            '\'' => {
                let text = self.quoted('\'', false);
                self.found.push(Lexeme::Text(text));
            }
            '"' | '`' => {
                let name = self.quoted(c, false);
                self.found.push(Lexeme::Name(name));
            }
            '[' if self.dialect == Dialect::Sqlite => {
                let name = self.chars.by_ref().take_while(|c| *c != ']').collect();
                self.found.push(Lexeme::Name(name));
            }
            '$' if self.dialect == Dialect::Postgres && !next.is_some_and(|c| c.is_ascii_digit()) => {
                self.dollar();
            }
            '$' | '?' if !(self.dialect == Dialect::Postgres && c == '?') => {
                self.run(|c| c.is_alphanumeric() || c == '_');
            }
            _ if c.is_ascii_digit() || (c == '.' && next.is_some_and(|c| c.is_ascii_digit())) => {
                self.number(c);
            }
            _ if c.is_alphabetic() || c == '_' => self.word(c, after_dot),
            '.' => self.dot = true,
            '(' | ')' | ',' | ';' | '[' | ']' | '{' | '}' | '\\' => {}
            _ => self.operator(c),
        }
        true
    }

    fn run(&mut self, wanted: impl Fn(char) -> bool) -> String {
        let mut run = String::new();
        self.append(&mut run, wanted);
        run
    }

    fn append(&mut self, run: &mut String, wanted: impl Fn(char) -> bool) {
        while let Some(c) = self.chars.next_if(|c| wanted(*c)) {
            run.push(c);
        }
    }

    fn skip_line(&mut self) {
        self.run(|c| c != '\n');
    }

    fn skip_comment(&mut self) {
        let (mut depth, mut last) = (1_usize, ' ');
        self.chars.next();
        for c in self.chars.by_ref() {
            match (last, c) {
                ('*', '/') => depth -= 1,
                ('/', '*') if self.dialect == Dialect::Postgres => depth += 1,
                _ => {
                    last = c;
                    continue;
                }
            }
            last = ' ';
            if depth == 0 {
                return;
            }
        }
    }

    /// The rest of a quotation, in which a doubled quote is one quote.
    fn quoted(&mut self, quote: char, escapes: bool) -> String {
        let mut text = String::new();
        while let Some(c) = self.chars.next() {
            match c {
                '\\' if escapes => self.escape(&mut text),
                '\\' if self.dialect == Dialect::MySql && quote == '\'' => {
                    text.push(c);
                    text.extend(self.chars.next());
                }
                _ if c == quote => match self.chars.next_if_eq(&quote) {
                    Some(quote) => text.push(quote),
                    None => break,
                },
                _ => text.push(c),
            }
        }
        text
    }

    /// PostgreSQL's escapes in `E'..'`.
    fn escape(&mut self, text: &mut String) {
        let Some(c) = self.chars.next() else { return };
        let (base, most) = match c {
            'n' => return text.push('\n'),
            't' => return text.push('\t'),
            'r' => return text.push('\r'),
            'b' => return text.push('\u{8}'),
            'f' => return text.push('\u{c}'),
            'x' => (16, 2),
            'u' => (16, 4),
            'U' => (16, 8),
            '0'..='7' => (8, 2),
            _ => return text.push(c),
        };
        let mut value = if base == 8 { c.to_digit(8).unwrap_or(0) } else { 0 };
        for _ in 0..most {
            let Some(digit) = self.chars.peek().and_then(|c| c.to_digit(base)) else { break };
            value = value.wrapping_mul(base).wrapping_add(digit);
            self.chars.next();
        }
        text.extend(char::from_u32(value));
    }

    /// `$tag$ .. $tag$`
    fn dollar(&mut self) {
        let tag = self.run(|c| c.is_alphanumeric() || c == '_');
        if self.chars.next_if_eq(&'$').is_none() {
            return;
        }
        let end = format!("${tag}$");
        let mut text = String::new();
        for c in self.chars.by_ref() {
            text.push(c);
            if text.ends_with(&end) {
                text.truncate(text.len() - end.len());
                break;
            }
        }
        self.found.push(Lexeme::Text(text));
    }

    fn number(&mut self, first: char) {
        let mut number = String::from(first);
        while let Some(c) = self.chars.peek().copied() {
            let sign = matches!(c, '+' | '-')
                && number.ends_with(['e', 'E'])
                && !number.starts_with("0x")
                && !number.starts_with("0X");
            if !(c.is_alphanumeric() || c == '_' || c == '.' || sign) {
                break;
            }
            number.push(c);
            self.chars.next();
        }
        self.found.push(Lexeme::Number(number.to_ascii_lowercase()));
    }

    fn word(&mut self, first: char, after_dot: bool) {
        let mut word = String::with_capacity(16);
        word.push(first);
        self.append(&mut word, |c| c.is_alphanumeric() || c == '_' || c == '$');
        word.make_ascii_uppercase();
        let prefix = matches!(&*word, "E" | "B" | "X" | "N") && self.chars.next_if_eq(&'\'').is_some();
        if prefix {
            let text = self.quoted('\'', word == "E" && self.dialect == Dialect::Postgres);
            // A text is equal in both forms; bits and bytes are not.
            self.found.push(match &*word {
                "E" => Lexeme::Text(text),
                _ => Lexeme::Number(format!("{word}'{}'", text.to_ascii_uppercase())),
            });
            return;
        }
        let last = self.found.last();
        let after = |before: &str| matches!(last, Some(Lexeme::Word(last)) if last == before);
        match &*word {
            _ if after_dot => self.found.push(Lexeme::Word(word)),
            "NEXT" if after("FETCH") => self.words(&["FIRST"]),
            "DISTINCTROW" if self.dialect == Dialect::MySql => self.words(&["DISTINCT"]),
            // LIMIT ALL is no limit.
            "ALL" if after("LIMIT") => drop(self.found.pop()),
            "ISNULL" if self.dialect != Dialect::MySql => self.words(&["IS", "NULL"]),
            "NOTNULL" if self.dialect != Dialect::MySql => self.words(&["IS", "NOT", "NULL"]),
            _ => self.found.push(Lexeme::Word(word)),
        }
    }

    fn words(&mut self, words: &[&str]) {
        self.found.extend(words.iter().map(|word| Lexeme::Word((*word).to_owned())));
    }

    fn operator(&mut self, first: char) {
        let mut operator = String::from(first);
        if self.dialect == Dialect::Postgres {
            self.longest(&mut operator);
        } else {
            const LONG: [&str; 12] =
                ["->>", "<=>", "||", "<=", ">=", "<>", "!=", "==", "<<", ">>", "->", "&&"];
            while let Some(c) = self.chars.peek().copied() {
                let longer = format!("{operator}{c}");
                if !LONG.iter().any(|long| long.starts_with(&longer)) {
                    break;
                }
                operator = longer;
                self.chars.next();
            }
        }
        let plain = match &*operator {
            "!=" => "<>",
            "==" => "=",
            other => other,
        };
        self.found.push(Lexeme::Operator(plain.to_owned()));
    }

    /// PostgreSQL reads the longest run of operator characters; a sign at its end belongs to the number after it.
    fn longest(&mut self, operator: &mut String) {
        const SIGNS: &str = "+-*/<>=~!@#%^&|`?:";
        loop {
            let mut ahead = self.chars.clone();
            let Some(c) = ahead.next().filter(|c| SIGNS.contains(*c)) else { break };
            let comment = matches!((c, ahead.next()), ('-', Some('-')) | ('/', Some('*')));
            // `*-` is two operators and `@-` is one.
            let special = |run: &str| run.chars().any(|c| "~!@#%^&|`?".contains(c));
            let run: String = self.chars.clone().take_while(|c| SIGNS.contains(*c)).collect();
            if comment || (matches!(c, '+' | '-') && !special(operator) && !special(&run)) {
                break;
            }
            operator.push(c);
            self.chars.next();
        }
    }
}
