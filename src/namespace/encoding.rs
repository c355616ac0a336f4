//! The encoding of names, as the docs of the parent module describe it.

use std::fmt::{Display, Write};

use crate::tenant::TenantId;

/// The start of every name. Each version of the encoding has its own.
const VERSION: &str = "t1";

/// Writes the names of one tenant as length-prefixed fields.
pub(super) struct NameWriter {
    text: String,
    separator: char,
}

impl NameWriter {
    pub(super) fn new(tenant: &TenantId, separator: char) -> Self {
        let mut writer = Self { text: VERSION.to_owned(), separator };
        writer.push(tenant);
        writer
    }

    pub(super) fn push(&mut self, field: &dyn Display) {
        let field = escape(&field.to_string(), self.separator);
        write!(self.text, "{}{}-{field}", self.separator, field.len())
            .expect("writing to a `String` never fails");
    }

    pub(super) fn into_name(self) -> String {
        self.text
    }

    /// The common prefix of all names that continue these fields.
    pub(super) fn into_prefix(mut self) -> String {
        self.text.push(self.separator);
        self.text
    }
}

/// A name whose tenant is a hash tag of Redis Cluster: all names of a tenant are on one node.
#[cfg(all(feature = "quota", feature = "redis"))]
pub(crate) fn hash_tagged(tenant: &TenantId, fields: &[&dyn Display]) -> String {
    let mut writer = NameWriter::new(tenant, ':');
    writer.text = format!("{{{}}}", writer.text);
    for field in fields {
        writer.push(field);
    }
    writer.into_name()
}

fn escape(field: &str, separator: char) -> String {
    let mut escaped = String::with_capacity(field.len());
    let mut bytes = field.bytes().peekable();
    while let Some(byte) = bytes.next() {
        let is_plain = match byte {
            b'-' => true,
            // No name contains `..` or ends with a dot, which some stores and proxies interpret.
            b'.' => separator != '.' && bytes.peek().is_some_and(u8::is_ascii_alphanumeric),
            _ => byte.is_ascii_alphanumeric(),
        };
        if is_plain {
            escaped.push(char::from(byte));
        } else {
            write!(escaped, "_{byte:02x}").expect("writing to a `String` never fails");
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(tenant: &TenantId, separator: char, fields: &[String]) -> String {
        let mut writer = NameWriter::new(tenant, separator);
        for field in fields {
            writer.push(field);
        }
        writer.into_name()
    }

    /// The tenant and the fields of a name. If each name decodes to its input, no two inputs have the same name.
    fn decode(name: &str, separator: char) -> Option<Vec<String>> {
        let mut rest = name.strip_prefix(VERSION)?;
        let mut fields = Vec::new();
        while !rest.is_empty() {
            let (length, text) = rest.strip_prefix(separator)?.split_once('-')?;
            let (field, after) = text.split_at_checked(length.parse().ok()?)?;
            fields.push(unescape(field)?);
            rest = after;
        }
        Some(fields)
    }

    fn unescape(field: &str) -> Option<String> {
        let mut bytes = Vec::new();
        let mut rest = field.bytes();
        while let Some(byte) = rest.next() {
            bytes.push(if byte == b'_' {
                let hex = [char::from(rest.next()?), char::from(rest.next()?)];
                u8::from_str_radix(&String::from_iter(hex), 16).ok()?
            } else {
                byte
            });
        }
        String::from_utf8(bytes).ok()
    }

    /// Input that breaks naive encodings: separators, lengths and escapes as text, the empty string, other scripts.
    fn hostile() -> impl Strategy<Value = String> {
        prop_oneof![
            "[:/.,_%0-9a-]{0,8}",
            "(1-a|2-|0-|:|/|\\.|_2e|_5f|%2f|\\.\\.|t1){0,4}",
            "\\PC{0,6}",
            any::<String>(),
        ]
    }

    fn tenant() -> impl Strategy<Value = TenantId> {
        prop_oneof![
            "[a-z]([a-z0-9-]{0,6}[a-z0-9])".prop_filter_map("not an id", |text| TenantId::parse(&text).ok()),
            (1..200_i64).prop_map(|id| TenantId::from_int(id).unwrap()),
            (1..u128::MAX).prop_map(|id| TenantId::from_uuid(uuid::Uuid::from_u128(id)).unwrap()),
        ]
    }

    fn separator() -> impl Strategy<Value = char> {
        prop_oneof![Just(':'), Just('/'), Just('.')]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn a_name_decodes_to_its_fields(
            tenant in tenant(), separator in separator(), fields in prop::collection::vec(hostile(), 0..5)
        ) {
            let name = written(&tenant, separator, &fields);
            let expected: Vec<String> = std::iter::once(tenant.to_string()).chain(fields).collect();
            prop_assert_eq!(decode(&name, separator), Some(expected), "{}", name);
        }

        #[test]
        fn a_name_has_no_special_characters(
            tenant in tenant(), separator in separator(), fields in prop::collection::vec(hostile(), 0..5)
        ) {
            let name = written(&tenant, separator, &fields);
            let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c) || c == separator;
            prop_assert!(name.chars().all(plain), "{}", name);
            prop_assert!(!name.contains("..") && !name.ends_with(['.', separator]), "{}", name);
            prop_assert!(name.split(separator).all(|part| !part.is_empty() && part != "."), "{}", name);
        }

        #[test]
        fn a_prefix_selects_the_names_of_its_tenant(
            tenant in tenant(), other in tenant(), longer in "[a-z0-9]{1,3}", separator in separator(),
            fields in prop::collection::vec(hostile(), 1..4)
        ) {
            let prefix = NameWriter::new(&tenant, separator).into_prefix();
            prop_assert!(written(&tenant, separator, &fields).starts_with(&prefix));
            // A tenant whose id starts with this tenant's id.
            let longer = TenantId::parse(&format!("{tenant}{longer}"));
            for other in longer.into_iter().chain([other]).filter(|other| *other != tenant) {
                prop_assert!(!written(&other, separator, &fields).starts_with(&prefix), "{} {}", tenant, other);
            }
        }
    }
}
