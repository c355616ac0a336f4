//! A [`Filter`] as the text of a condition.

use crate::builder::StatementBuilder;
use crate::filter::{Comparison, Filter, Node};
use crate::table::Table;

impl Filter {
    pub(crate) fn write(&self, table: &Table, text: &mut StatementBuilder) {
        self.node.write(table, text);
    }
}

impl Node {
    fn write(&self, table: &Table, text: &mut StatementBuilder) {
        match self {
            Self::Compare(column, comparison) => {
                let (column, place) = (table.column(*column), text.place());
                text.push(&comparison.write(table, column, &place));
            }
            // `IN ()` is not valid SQL.
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

    fn join(nodes: &[Self], word: &str, table: &Table, text: &mut StatementBuilder) {
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
        use crate::dialect::Dialect::{MySql, Postgres, Sqlite};
        // LIKE differs between the databases, and its pattern would have to be escaped.
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
    fn mixed_and_and_or_get_parentheses() {
        let equal = |column| Filter::compare(column, Comparison::Equal);
        assert_eq!(text(&equal(1).and(equal(2)).or(equal(0))), r#"("a" = $2 AND "b" = $3) OR "id" = $4"#);
        assert_eq!(text(&equal(1).and(equal(2).or(equal(0)))), r#""a" = $2 AND ("b" = $3 OR "id" = $4)"#);
        assert_eq!(text(&equal(1).and(equal(2)).and(equal(0))), r#""a" = $2 AND "b" = $3 AND "id" = $4"#);
        assert_eq!(text(&!equal(1).or(equal(2))), r#"("a" = $2 OR "b" = $3) IS NOT TRUE"#);
        assert_eq!(!!equal(1), equal(1));
        assert_eq!(text(&Filter::is_in(1, 0)), "1 = 0");
    }

    #[test]
    fn a_filter_that_is_too_large_drops_its_conditions() {
        let one = || Filter::is_null(1);
        let mut filter = one();
        for n in 1..1_000_000 {
            assert_eq!(filter.is_too_large(), n > Filter::LARGEST);
            filter = if n % 2 == 0 { filter.and(one()) } else { !filter.or(one()) };
        }
        assert_eq!(text(&filter), "1 = 0");
    }
}
