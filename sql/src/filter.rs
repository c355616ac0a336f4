use std::ops::Not;

use crate::table::{Table, Text};

/// A condition on the columns of one table. A value is a place for a bind.
///
/// A filter holds of a row or does not, as in Rust: where SQL would say NULL, it does not hold. So `!filter` holds
/// of exactly the other rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    node: Node,
    size: usize,
}

/// How a column is compared with a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
#[non_exhaustive]
pub enum Comparison {
    Equal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    StartsWith,
    Contains,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Node {
    Compare(usize, Comparison),
    OneOf(usize, usize),
    IsNull(usize),
    All(Vec<Self>),
    Any(Vec<Self>),
    Not(Box<Self>),
    /// What was there is gone, so that nothing recurses into it.
    TooLarge,
}

impl Filter {
    /// How many conditions a filter can have. SQLite takes no expression that is nested more than 1,000 deep.
    pub const LARGEST: usize = 500;

    /// The column compared with one value.
    pub fn compare(column: usize, comparison: Comparison) -> Self {
        Self::of(Node::Compare(column, comparison), 1)
    }

    /// The column is one of so many values.
    pub fn is_in(column: usize, values: usize) -> Self {
        Self::of(Node::OneOf(column, values), 1)
    }

    /// The column has no value.
    pub fn is_null(column: usize) -> Self {
        Self::of(Node::IsNull(column), 1)
    }

    /// Both hold.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        let size = self.size + other.size;
        Self::of(
            match (self.node, other.node) {
                (Node::All(mut all), Node::All(more)) => {
                    all.extend(more);
                    Node::All(all)
                }
                (Node::All(mut all), one) => {
                    all.push(one);
                    Node::All(all)
                }
                (one, other) => Node::All(vec![one, other]),
            },
            size,
        )
    }

    /// One of them holds, or both.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        let size = self.size + other.size;
        Self::of(
            match (self.node, other.node) {
                (Node::Any(mut any), Node::Any(more)) => {
                    any.extend(more);
                    Node::Any(any)
                }
                (Node::Any(mut any), one) => {
                    any.push(one);
                    Node::Any(any)
                }
                (one, other) => Node::Any(vec![one, other]),
            },
            size,
        )
    }

    /// Whether it has more than [`LARGEST`](Self::LARGEST) conditions, and so cannot be asked.
    pub fn is_too_large(&self) -> bool {
        self.node == Node::TooLarge
    }

    fn of(node: Node, size: usize) -> Self {
        Self { node: if size > Self::LARGEST { Node::TooLarge } else { node }, size }
    }

    pub(crate) fn write(&self, table: &Table, text: &mut Text) {
        self.node.write(table, text);
    }
}

impl Not for Filter {
    type Output = Self;

    fn not(self) -> Self {
        match self.node {
            Node::Not(inner) => Self { node: *inner, ..self },
            Node::TooLarge => self,
            node => Self { node: Node::Not(Box::new(node)), ..self },
        }
    }
}

impl Node {
    fn write(&self, table: &Table, text: &mut Text) {
        match self {
            Self::Compare(column, comparison) => {
                let (column, place) = (table.column(*column), text.place());
                text.push(&comparison.write(table, column, &place));
            }
            // `IN ()` is no SQL.
            Self::OneOf(_, 0) | Self::TooLarge => text.push("1 = 0"),
            Self::OneOf(column, values) => {
                let places: Vec<String> = (0..*values).map(|_| text.place()).collect();
                text.push(&format!("{} IN ({})", table.column(*column), places.join(", ")));
            }
            Self::IsNull(column) => text.push(&format!("{} IS NULL", table.column(*column))),
            Self::All(nodes) => Self::join(nodes, " AND ", table, text),
            Self::Any(nodes) => Self::join(nodes, " OR ", table, text),
            Self::Not(node) => {
                text.push("(");
                node.write(table, text);
                text.push(") IS NOT TRUE");
            }
        }
    }

    fn join(nodes: &[Self], word: &str, table: &Table, text: &mut Text) {
        for (i, node) in nodes.iter().enumerate() {
            if i > 0 {
                text.push(word);
            }
            let nested = matches!(node, Self::All(_) | Self::Any(_));
            if nested {
                text.push("(");
            }
            node.write(table, text);
            if nested {
                text.push(")");
            }
        }
    }
}

impl Comparison {
    fn write(self, table: &Table, column: &str, place: &str) -> String {
        use crate::Dialect::{MySql, Postgres, Sqlite};
        // LIKE means another thing on each database, and needs its text escaped.
        match (self, table.dialect) {
            (Self::Equal, _) => format!("{column} = {place}"),
            (Self::Less, _) => format!("{column} < {place}"),
            (Self::LessOrEqual, _) => format!("{column} <= {place}"),
            (Self::Greater, _) => format!("{column} > {place}"),
            (Self::GreaterOrEqual, _) => format!("{column} >= {place}"),
            (Self::StartsWith, Postgres) => format!("starts_with({column}, {place})"),
            (Self::StartsWith, Sqlite) => format!("substr({column}, 1, length({place})) = {place}"),
            (Self::StartsWith, MySql) => format!("left({column}, char_length({place})) = {place}"),
            (Self::Contains, Postgres) => format!("strpos({column}, {place}) > 0"),
            (Self::Contains, Sqlite | MySql) => format!("instr({column}, {place}) > 0"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Dialect, Rows, TableSpec};

    fn text(filter: &Filter) -> String {
        let table =
            TableSpec::new("t", "tenant_id", "id", ["a", "b"]).unwrap().statements(Dialect::Postgres).table;
        let text = table.count(Rows { filter: Some(filter), ..Rows::default() });
        text.split_once(" AND (").unwrap().1.strip_suffix(')').unwrap().to_owned()
    }

    #[test]
    fn mixed_words_are_kept_apart_by_parentheses() {
        let equal = |column| Filter::compare(column, Comparison::Equal);
        assert_eq!(text(&equal(1).and(equal(2)).or(equal(0))), r#"("a" = $2 AND "b" = $3) OR "id" = $4"#);
        assert_eq!(text(&equal(1).and(equal(2).or(equal(0)))), r#""a" = $2 AND ("b" = $3 OR "id" = $4)"#);
        assert_eq!(text(&equal(1).and(equal(2)).and(equal(0))), r#""a" = $2 AND "b" = $3 AND "id" = $4"#);
        assert_eq!(text(&!equal(1).or(equal(2))), r#"("a" = $2 OR "b" = $3) IS NOT TRUE"#);
        assert_eq!(!!equal(1), equal(1));
        assert_eq!(text(&Filter::is_in(1, 0)), "1 = 0");
    }

    #[test]
    fn a_filter_that_is_too_large_keeps_nothing_of_itself() {
        let one = || Filter::is_null(1);
        let mut filter = one();
        for n in 1..1_000_000 {
            assert_eq!(filter.is_too_large(), n > Filter::LARGEST);
            filter = if n % 2 == 0 { filter.and(one()) } else { !filter.or(one()) };
        }
        assert_eq!(text(&filter), "1 = 0");
    }
}
