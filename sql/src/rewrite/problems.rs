//! [`Problems`]: everything that is wrong with one statement.

use crate::function_reasons::reason;
use crate::rejection::{Code, Explanation, Rejection, explain};
use crate::schema::extension_of_functions;

/// Everything that is wrong with one statement, so that one rejection names it all. A statement with any problem is
/// neither printed nor run.
#[derive(Default)]
pub(super) struct Problems {
    found: Vec<Rejection>,
    /// The functions that nothing is known about, with their positions.
    unknown_functions: Vec<(String, Place)>,
}

/// As many problems are named. A rejection holds the line of each, so a long text with a problem in every word would need
/// much memory.
const MOST: usize = 20;

/// A line, a column and a length.
type Place = (usize, usize, usize);

impl Problems {
    pub(super) fn push(&mut self, problem: Rejection) {
        if !self.is_full() {
            self.found.push(problem);
        }
    }

    /// Whether there are so many problems that no more are named.
    pub(super) fn is_full(&self) -> bool {
        self.found.len() >= MOST
    }

    pub(super) fn contains(&self, code: Code) -> bool {
        self.found.iter().any(|problem| problem.code() == code)
    }

    /// Adds a function that is neither built in nor declared.
    pub(super) fn push_function(&mut self, sql: &str, name: &str, place: Place) {
        match reason(name) {
            Some(_) if self.is_full() => {}
            Some(explanation) => self.push(Rejection::new(Code::Function, sql, place, explanation)),
            None if self.unknown_functions.len() < MOST => {
                self.unknown_functions.push((name.to_owned(), place));
            }
            None => {}
        }
    }

    /// The result, if there is no problem; otherwise one rejection with all of them.
    pub(super) fn end<T>(mut self, sql: &str, result: Result<T, Rejection>) -> Result<T, Rejection> {
        let value = match result {
            Ok(value) => Some(value),
            Err(problem) => {
                self.push(problem);
                None
            }
        };
        let functions = self.functions(sql);
        self.found.extend(functions);
        match (Rejection::of_all(self.found), value) {
            (Some(rejection), _) => Err(rejection),
            (None, Some(value)) => Ok(value),
            (None, None) => unreachable!("an error is one of the problems"),
        }
    }

    /// One rejection for all unknown functions, in their order.
    fn functions(&mut self, sql: &str) -> Option<Rejection> {
        self.unknown_functions.sort_by_key(|(_, place)| *place);
        let place = self.unknown_functions.first()?.1;
        let mut names: Vec<String> = Vec::new();
        for (name, _) in &self.unknown_functions {
            let name = format!("`{name}`");
            if !names.contains(&name) {
                names.push(name);
            }
        }
        let Explanation { why, help } = unknown(&names);
        Some(Rejection::new(Code::Function, sql, place, explain(why, help)))
    }
}

fn unknown(names: &[String]) -> Explanation {
    let of = "`functions` in tenancy.toml, from which the `Schema` of the `TenantDb` is made";
    let last: Vec<&str> =
        names.iter().map(|name| name.trim_matches('`').rsplit('.').next().unwrap_or_default()).collect();
    let of = match extension_of_functions(&last).filter(|_| !names.is_empty()) {
        Some(extension) => {
            format!("{of}; those of the extension `{extension}` are `presets = [\"{extension}\"]`")
        }
        None => of.to_owned(),
    };
    match names {
        [name] => explain(
            format!("the function {name} could read any table"),
            format!("if it reads none, add it to {of}"),
        ),
        [names @ .., last] => explain(
            format!("the functions {} and {last} could read any table", names.join(", ")),
            format!("add those that read none to {of}"),
        ),
        [] => explain("", ""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(code: Code, column: usize, why: &str) -> Rejection {
        Rejection::new(code, "SELECT f(a), g(b)", (1, column, 1), explain(why, "write it in another way"))
    }

    #[test]
    fn a_result_without_a_problem_is_returned() {
        assert_eq!(Problems::default().end("SELECT 1", Ok(7)), Ok(7));
    }

    #[test]
    fn any_problem_takes_the_place_of_the_result() {
        let mut problems = Problems::default();
        problems.push(problem(Code::Construct, 3, "one"));
        assert_eq!(problems.end("SELECT 1", Ok(7)).unwrap_err().why(), "one");
        let mut problems = Problems::default();
        problems.push_function("SELECT f(a)", "f", (1, 8, 1));
        assert_eq!(problems.end("SELECT f(a)", Ok(7)).unwrap_err().code(), Code::Function);
    }

    #[test]
    fn problems_are_in_the_order_of_the_text_and_each_once() {
        let mut problems = Problems::default();
        problems.push(problem(Code::Construct, 14, "last"));
        problems.push(problem(Code::Construct, 14, "the same place"));
        problems.push_function("SELECT f(a), g(b)", "g", (1, 14, 1));
        problems.push_function("SELECT f(a), g(b)", "f", (1, 8, 1));
        problems.push_function("SELECT f(a), g(b)", "f", (1, 8, 1));
        let rejection =
            problems.end("SELECT f(a), g(b)", Err::<(), _>(problem(Code::Name, 1, "first"))).unwrap_err();
        assert_eq!(rejection.why(), "first");
        let others: Vec<&str> = rejection.others().iter().map(Rejection::why).collect();
        assert_eq!(others, ["the functions `f` and `g` could read any table", "last"]);
    }
}
