//! [`Filter`]: a condition on the columns of one table, as data. `filter_sql.rs` writes it as SQL.

use std::ops::Not;

/// A condition on the columns of one table, with a bind for each value.
///
/// A filter is true or false for a row, as in Rust: a condition that SQL evaluates to NULL is false. So `!filter`
/// matches exactly the other rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    pub(crate) node: Node,
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
pub(crate) enum Node {
    Compare(usize, Comparison),
    OneOf(usize, usize),
    IsNull(usize),
    All(Vec<Self>),
    Any(Vec<Self>),
    Not(Box<Self>),
    /// Replaces a filter that is too large, so that nothing recurses into it.
    TooLarge,
}

impl Filter {
    /// The largest number of conditions of a filter. SQLite rejects expressions nested more than 1,000 deep.
    pub const LARGEST: usize = 500;

    /// Compares the column with one value.
    pub fn compare(column: usize, comparison: Comparison) -> Self {
        Self::of(Node::Compare(column, comparison), 1)
    }

    /// The column equals one of `values` values.
    pub fn is_in(column: usize, values: usize) -> Self {
        Self::of(Node::OneOf(column, values), 1)
    }

    /// The column is NULL.
    pub fn is_null(column: usize) -> Self {
        Self::of(Node::IsNull(column), 1)
    }

    /// Both conditions are true.
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

    /// At least one of the conditions is true.
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

    /// Whether it has more than [`LARGEST`](Self::LARGEST) conditions. Such a filter matches no row.
    pub fn is_too_large(&self) -> bool {
        self.node == Node::TooLarge
    }

    fn of(node: Node, size: usize) -> Self {
        Self { node: if size > Self::LARGEST { Node::TooLarge } else { node }, size }
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
