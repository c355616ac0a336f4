//! Runs the work on deep statements on a thread with a larger stack.

use crate::rejection::{Code, Rejection, explain};

/// Deeper statements run on a separate stack: without optimisation the parser needs more than 100 KiB for each nested
/// query, and the caller may have little stack left.
pub(super) const SHALLOW: usize = 10;

/// The parser's recursion limit on the stack of the caller. Where the estimate of the depth is too low, the parser ends
/// here, and starts again on a separate stack.
pub(super) const SHALLOW_RECURSION: usize = 14;

const STACK: usize = 256 * 1024 * 1024;

/// Runs `work` on a separate stack.
pub(super) fn with_stack<T: Send>(
    sql: &str,
    work: impl FnOnce() -> Result<T, Rejection> + Send,
) -> Result<T, Rejection> {
    on_deep_stack(work).unwrap_or_else(|e| {
        let why = format!("no thread with a stack for this deeply nested statement could be started: {e}");
        Err(Rejection::new(
            Code::TooDeep,
            sql,
            (1, 1, 1),
            explain(why, "try again, or write it in a simpler form"),
        ))
    })
}

pub(super) fn on_deep_stack<T: Send>(work: impl FnOnce() -> T + Send) -> std::io::Result<T> {
    std::thread::scope(|threads| {
        let thread = std::thread::Builder::new().stack_size(STACK).spawn_scoped(threads, work)?;
        Ok(thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })
}
