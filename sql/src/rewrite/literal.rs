//! Literals and parameters.

use super::parameters::numbered;
use super::pass::{Pass, SqlResult};
use crate::dialect::Dialect;
use crate::rejection::Code;
use sqlparser::ast::Value;

impl Pass<'_> {
    pub(super) fn value(&mut self, value: &mut Value) -> SqlResult {
        let literal = |this: &Self, why: &str, help: &str| this.reject(Code::Literal, why, help);
        match value {
            Value::Number(text, _) => {
                let plain = text.bytes().all(|b| b.is_ascii_alphanumeric() || b".+-_".contains(&b));
                self.allow(plain, "this number");
                Ok(())
            }
            Value::HexStringLiteral(text) => {
                self.allow(text.bytes().all(|b| b.is_ascii_hexdigit()), "this hexadecimal text");
                Ok(())
            }
            Value::Placeholder(text) => {
                let sign = if self.dialect == Dialect::Postgres { '$' } else { '?' };
                if numbered(text, sign).is_some_and(|n| n <= self.binds) {
                    return Ok(());
                }
                let why = format!("the parameter `{text}` has no number");
                self.reject(Code::Placeholder, why, "write $1, $2 and so on")
            }
            // Only E'..' has the same value under every setting of `standard_conforming_strings`.
            Value::SingleQuotedString(text) if self.dialect == Dialect::Postgres => {
                if text.contains('\\') {
                    *value = Value::EscapedStringLiteral(text.replace("''", "'"));
                }
                Ok(())
            }
            Value::Boolean(_) | Value::Null | Value::SingleQuotedString(_) => Ok(()),
            Value::EscapedStringLiteral(_) if self.dialect == Dialect::Postgres => Ok(()),
            Value::DollarQuotedString(text) if self.dialect == Dialect::Postgres => {
                let tag = text.tag.as_deref().unwrap_or_default();
                let plain = !text.value.contains('$') && tag.bytes().all(|b| b.is_ascii_alphabetic());
                if plain { Ok(()) } else { literal(self, "a dollar within this text", "quote it with '") }
            }
            _ => literal(self, "this kind of literal is not known", "quote text with '"),
        }
    }
}
