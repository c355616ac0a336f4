//! [`walk`]: visits the nodes of a tree, with one compiled copy of the parser's walk for all visitors.
//!
//! `Visit::visit` is generic over the visitor. Each type of visitor would compile the walk over several hundred types
//! of nodes again, which was most of the build time of this crate.

use sqlparser::ast::{Expr, ObjectName, Query, Select, Statement, TableFactor, Visit, Visitor};
use std::ops::ControlFlow::{self, Break, Continue};

/// Visits `tree` and everything in it, until a hook breaks.
pub(super) fn walk<V: TreeVisitor>(tree: &impl Visit, visitor: &mut V) -> ControlFlow<V::Break> {
    let mut stopping = Stopping { visitor, broke_with: None };
    let _ = tree.visit(&mut AnyVisitor(&mut stopping));
    stopping.broke_with.map_or(Continue(()), Break)
}

/// A visitor, and the value with which one of its hooks broke.
struct Stopping<'a, V: TreeVisitor> {
    visitor: &'a mut V,
    broke_with: Option<V::Break>,
}

/// The visitor that the walk is compiled for.
struct AnyVisitor<'a>(&'a mut dyn TreeVisitor<Break = ()>);

macro_rules! hooks {
    ($($hook:ident($node:ty);)*) => {
        /// The hooks of the parser's `Visitor` that visitors of this crate use. The others do not exist here, so a
        /// hook that the walk does not call cannot be implemented.
        pub(super) trait TreeVisitor {
            type Break;

            $(fn $hook(&mut self, _: &$node) -> ControlFlow<Self::Break> {
                Continue(())
            })*
        }

        impl<V: TreeVisitor> TreeVisitor for Stopping<'_, V> {
            type Break = ();

            $(fn $hook(&mut self, node: &$node) -> ControlFlow<()> {
                self.visitor.$hook(node).map_break(|value| self.broke_with = Some(value))
            })*
        }

        impl Visitor for AnyVisitor<'_> {
            type Break = ();

            $(fn $hook(&mut self, node: &$node) -> ControlFlow<()> {
                self.0.$hook(node)
            })*
        }
    };
}

hooks! {
    pre_visit_query(Query);
    post_visit_query(Query);
    pre_visit_select(Select);
    post_visit_select(Select);
    pre_visit_relation(ObjectName);
    pre_visit_table_factor(TableFactor);
    post_visit_table_factor(TableFactor);
    pre_visit_expr(Expr);
    post_visit_expr(Expr);
    pre_visit_statement(Statement);
    post_visit_statement(Statement);
}

#[cfg(test)]
mod tests {
    use super::*;
    use sqlparser::dialect::PostgreSqlDialect;
    use sqlparser::parser::Parser;

    #[derive(Default)]
    struct Relations {
        visited: Vec<String>,
        last: Option<&'static str>,
    }

    impl TreeVisitor for Relations {
        type Break = String;

        fn pre_visit_relation(&mut self, name: &ObjectName) -> ControlFlow<String> {
            self.visited.push(name.to_string());
            if self.last.is_some_and(|last| name.to_string() == last) {
                Break(name.to_string())
            } else {
                Continue(())
            }
        }
    }

    #[test]
    fn a_hook_that_breaks_ends_the_walk_with_its_value() {
        let sql = "SELECT * FROM a WHERE id IN (SELECT id FROM b) AND EXISTS (SELECT FROM c)";
        let statements = Parser::parse_sql(&PostgreSqlDialect {}, sql).unwrap();
        let mut all = Relations::default();
        assert_eq!(walk(&statements, &mut all), Continue(()));
        assert_eq!(all.visited, ["a", "b", "c"]);
        let mut first = Relations { last: Some("b"), ..Relations::default() };
        assert_eq!(walk(&statements, &mut first), Break("b".to_owned()));
        assert_eq!(first.visited, ["a", "b"]);
    }
}
