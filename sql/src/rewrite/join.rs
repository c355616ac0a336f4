//! Joins: their conditions, and where the guard of a joined table goes.

use super::pass::{Pass, SqlResult};
use crate::dialect::Dialect;
use sqlparser::ast::{Expr, Join, JoinConstraint, JoinOperator};

impl Pass<'_> {
    pub(super) fn join(&mut self, operator: &mut JoinOperator) -> SqlResult {
        let constraint = match operator {
            JoinOperator::Join(constraint)
            | JoinOperator::Inner(constraint)
            | JoinOperator::Left(constraint)
            | JoinOperator::LeftOuter(constraint)
            | JoinOperator::Right(constraint)
            | JoinOperator::RightOuter(constraint)
            | JoinOperator::FullOuter(constraint)
            | JoinOperator::CrossJoin(constraint) => constraint,
            JoinOperator::StraightJoin(constraint) if self.dialect == Dialect::MySql => constraint,
            _ => return self.reject_unknown("this kind of join"),
        };
        match constraint {
            JoinConstraint::On(expr) => self.expr(expr),
            JoinConstraint::Using(names) => names.iter().try_for_each(|name| self.parts(name).map(drop)),
            JoinConstraint::Natural | JoinConstraint::None => Ok(()),
        }
    }
}

/// Where the guard of a table of a join goes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum GuardPosition {
    /// Into the block's WHERE: no join fills the table's columns with NULLs.
    Where,
    /// Into the ON of the table's first join, which drops the rows of the table that do not match.
    On,
    /// The table becomes a derived table.
    Behind,
}

/// The position for the guard of table `n` of a chain of joins; table 0 precedes all joins.
pub(super) fn guard_position(joins: &[Join], n: usize) -> GuardPosition {
    use JoinOperator as J;
    let filled_up =
        |join: &Join| matches!(join.join_operator, J::Right(_) | J::RightOuter(_) | J::FullOuter(_));
    let stays = !joins[n..].iter().any(filled_up);
    let own = match n {
        0 => joins.first(),
        n => joins.get(n - 1),
    };
    let Some(own) = own else { return GuardPosition::Where };
    let on = match &own.join_operator {
        J::Join(JoinConstraint::On(_)) | J::Inner(JoinConstraint::On(_)) => GuardPosition::On,
        J::Left(JoinConstraint::On(_)) | J::LeftOuter(JoinConstraint::On(_)) if n > 0 => GuardPosition::On,
        J::Right(JoinConstraint::On(_)) | J::RightOuter(JoinConstraint::On(_)) if n == 0 => GuardPosition::On,
        _ => GuardPosition::Behind,
    };
    match &own.join_operator {
        _ if n == 0 && stays => GuardPosition::Where,
        J::Join(_) | J::Inner(_) | J::CrossJoin(_) | J::Right(_) | J::RightOuter(_) if n > 0 && stays => {
            GuardPosition::Where
        }
        _ => on,
    }
}

/// The condition of a join.
pub(super) fn condition_of(operator: &mut JoinOperator) -> Option<&mut Expr> {
    match operator {
        JoinOperator::Join(JoinConstraint::On(expr))
        | JoinOperator::Inner(JoinConstraint::On(expr))
        | JoinOperator::Left(JoinConstraint::On(expr))
        | JoinOperator::LeftOuter(JoinConstraint::On(expr))
        | JoinOperator::Right(JoinConstraint::On(expr))
        | JoinOperator::RightOuter(JoinConstraint::On(expr)) => Some(expr),
        _ => None,
    }
}
