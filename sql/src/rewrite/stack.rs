//! A stack of its own for deep statements.

use crate::rejection::{Code, Rejection, say};

/// What is deeper gets a stack of its own: without optimisation the parser takes more than 100 KiB for each level
/// of a query in a query, and the caller may have little left.
const SHALLOW: usize = 10;

const STACK: usize = 64 * 1024 * 1024;

/// Runs `work` on a text of this depth where there is room for it.
pub(super) fn with_stack<T: Send>(
    sql: &str,
    depth: usize,
    work: impl FnOnce() -> Result<T, Rejection> + Send,
) -> Result<T, Rejection> {
    if depth <= SHALLOW {
        return work();
    }
    on_deep_stack(work).unwrap_or_else(|e| {
        let why = format!("there is no stack for a statement as deep as this one: {e}");
        Err(Rejection::new(Code::TooDeep, sql, (1, 1, 1), say(why, "try again, or write it more plainly")))
    })
}

pub(super) fn on_deep_stack<T: Send>(work: impl FnOnce() -> T + Send) -> std::io::Result<T> {
    std::thread::scope(|threads| {
        let thread = std::thread::Builder::new().stack_size(STACK).spawn_scoped(threads, work)?;
        Ok(thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })
}
